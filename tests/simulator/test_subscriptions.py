"""Events over the event socket: who gets which, in what form, through which filters, and what becomes of a reader
that does not read."""

import asyncio

import pytest

from callbridge.simulator import server
from callbridge.simulator.server import EventSocket
from tests.eventkit import read
from tests.simulator.kit import Client, World, connected, logged_in


def say(world: World, number: int, size: int = 0) -> None:
    """Make an event with a number."""
    world.switch.announce("HEARTBEAT", [("Up-Time", "x" * size), ("Job-UUID", str(number))])


async def numbers(client: Client) -> list[int]:
    return [int(event.job_uuid) for event in await client.heard()]


# Events.


@pytest.mark.parametrize("form", ["plain", "json"])
async def test_a_subscriber_gets_its_events_in_its_form(world: World, port: int, form: str) -> None:
    async with logged_in(port) as client:
        assert (
            await client.command(f"event {form} CHANNEL_CREATE CHANNEL_DESTROY") == f"+OK event listener enabled {form}"
        )
        world.traffic.place("local")
        world.finish()
        frames = [await client.frame() for _ in range(4)]
        assert {frame.headers["Content-Type"] for frame in frames} == {f"text/event-{form}"}
        wanted = [b"CHANNEL_CREATE", b"CHANNEL_DESTROY"]
        heard = [body for body in world.heard(form).bodies if any(name in body[:30] for name in wanted)]
        assert [frame.body for frame in frames] == heard
        assert await client.heard() == []


async def test_two_subscribers_get_the_same_events_each_in_its_own_form(world: World, port: int) -> None:
    async with logged_in(port, "event plain ALL") as one, logged_in(port, "event json ALL") as other:
        world.traffic.place("inbound")
        world.finish()
        events = await one.heard()
        assert len(events) > 50
        assert [read(event) for event in events] == [read(event) for event in await other.heard()]
        assert [read(event) for event in events] == [read(event) for event in world.json.events]


async def test_names_add_up_and_their_case_does_not_matter(world: World, port: int) -> None:
    async with logged_in(port, "event json channel_create", "event Channel_Destroy") as client:
        world.traffic.place("local")
        world.finish()
        names = [event.name for event in await client.heard()]
        assert sorted(names) == ["CHANNEL_CREATE"] * 2 + ["CHANNEL_DESTROY"] * 2


async def test_names_that_no_switch_knows_are_passed_over(world: World, port: int) -> None:
    async with logged_in(port, "event json NO_SUCH_EVENT HEARTBEAT") as client:
        say(world, 1)
        assert await numbers(client) == [1]


@pytest.mark.parametrize(
    "command", ["event", "event json", "event plain NO_SUCH_EVENT", "nixevent", "nixevent NO_SUCH"]
)
async def test_a_subscription_without_a_name_that_is_known_is_refused(world: World, port: int, command: str) -> None:
    async with logged_in(port) as client:
        assert await client.command(command) == "-ERR no keywords supplied"
        say(world, 1)
        assert await client.heard() == []


async def test_nixevent_takes_names_away(world: World, port: int) -> None:
    async with logged_in(port, "event json HEARTBEAT CHANNEL_CREATE") as client:
        assert await client.command("nixevent HEARTBEAT") == "+OK events nixed"
        say(world, 1)
        world.traffic.place("local")
        world.finish()
        assert {event.name for event in await client.heard()} == {"CHANNEL_CREATE"}
        assert await client.command("nixevent ALL") == "+OK events nixed"
        world.traffic.place("local")
        world.finish()
        assert await client.heard() == []


async def test_nixevent_takes_one_name_out_of_all(world: World, port: int) -> None:
    async with logged_in(port, "event json ALL", "nixevent CHANNEL_STATE") as client:
        say(world, 1)
        world.traffic.place("local")
        world.finish()
        every = {event.name for event in world.json.events}
        assert {event.name for event in await client.heard()} == every - {"CHANNEL_STATE"}


async def test_noevents_takes_all_away(world: World, port: int) -> None:
    async with logged_in(port, "event json ALL") as client:
        assert await client.command("noevents") == "+OK no longer listening for events"
        assert await client.command("noevents") == "-ERR not listening for events"
        say(world, 1)
        assert await client.heard() == []
        assert await client.command("event json HEARTBEAT") == "+OK event listener enabled json"
        say(world, 2)
        assert await numbers(client) == [2]


async def test_who_subscribes_is_told_of_with_its_subscription(world: World) -> None:
    seen = []
    told = EventSocket(world.switch, on_subscribed=lambda session: seen.append(session.wants("CHANNEL_CREATE")))
    async with told as port, logged_in(port, "event json BACKGROUND_JOB", "event json CHANNEL_CREATE"):
        assert seen == [False, True]


# Filters.


async def heard_with(world: World, port: int, form: str, *commands: str) -> list[int]:
    """Which of three events come through the filters."""
    async with logged_in(port, f"event {form} HEARTBEAT", *commands) as client:
        for number, text in ((1, "Agent 101"), (2, "agent 101"), (3, "Agent 102: 50 %")):
            world.switch.announce("HEARTBEAT", [("Job-UUID", str(number)), ("Caller-Name", text)])
        world.switch.announce("HEARTBEAT", [("Job-UUID", "4")])
        return await numbers(client)


@pytest.mark.parametrize("form", ["plain", "json"])
@pytest.mark.parametrize(
    ("commands", "wanted"),
    [
        ([], [1, 2, 3, 4]),
        (["filter Caller-Name Agent 101"], [1, 2]),
        (["filter caller-name AGENT 101"], [1, 2]),
        (["filter add Caller-Name Agent 102: 50 %"], [3]),
        (["filter Caller-Name Agent 101", "filter Job-UUID 4"], [1, 2, 4]),
        (["filter Caller-Name /^Agent/"], [1, 3]),
        (["filter Caller-Name /nobody/"], []),
        (["filter Job-UUID /./", "filter Caller-Name -Agent 101"], [3, 4]),
        (["filter Caller-Name - Agent 101", "filter Job-UUID /./"], [3, 4]),
        (["filter Caller-Name + Agent 101"], [1, 2]),
        (["filter Caller-Name -/Agent/", "filter Job-UUID /./"], [1, 2, 3, 4]),
        (["filter No-Such-Header x"], []),
        (["filter Job-UUID 1", "filter Job-UUID 3", "filter delete Job-UUID 1"], [3]),
        (["filter Job-UUID 1", "filter Caller-Name x", "filter delete Caller-Name"], [1]),
        (["filter Job-UUID 1", "filter Caller-Name x", "filter delete all"], [1, 2, 3, 4]),
    ],
)
async def test_filters_let_through_what_they_say(
    world: World, port: int, form: str, commands: list[str], wanted: list[int]
) -> None:
    assert await heard_with(world, port, form, *commands) == wanted


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("filter Unique-ID abc", "+OK filter added. [Unique-ID]=[abc]"),
        ("filter add Unique-ID a b", "+OK filter added. [Unique-ID]=[a b]"),
        ("filter delete Unique-ID abc", "+OK filter deleted. [Unique-ID][abc]"),
        ("filter delete Unique-ID", "+OK filter deleted. [Unique-ID][]"),
        ("filter delete all", "+OK filter deleted. [all][]"),
        ("filter Unique-ID", "-ERR invalid syntax"),
        ("filter delete", "-ERR invalid syntax"),
    ],
)
async def test_filters_are_answered_as_a_switch_answers(port: int, command: str, answer: str) -> None:
    async with logged_in(port) as client:
        assert await client.command(command) == answer


# A reader that does not read.


def stall(world: World, socket: EventSocket) -> int:
    """Send until the connection takes no more and an event waits; gives how many were sent before that one. Nothing
    here lets the event loop turn, so that the client cannot read."""
    (session,) = socket.sessions
    sent = 0
    while ", 0 waiting" in repr(session):
        sent += 1
        assert sent < 1000
        say(world, sent, 200_000)
    return sent - 1


async def test_events_past_a_full_queue_are_dropped_without_a_word(world: World) -> None:
    world.switch.faults.max_queue = 10
    socket = EventSocket(world.switch)
    async with socket as port, logged_in(port, "event plain HEARTBEAT") as client:
        last = stall(world, socket) + 10
        for number in range(last - 9 + 1, last + 30):
            say(world, number)
        (session,) = socket.sessions
        assert repr(session) == "<Session plain, 1 events subscribed, 10 waiting>"
        for number in range(1, last + 1):
            assert (await client.frame()).event["Job-UUID"] == str(number)
        say(world, 9999)
        assert await numbers(client) == [9999]


async def test_a_reader_that_misses_too_many_in_a_row_is_thrown_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.switch.faults.max_queue = 10
    monkeypatch.setattr(server, "MAX_MISSED", 5)
    socket = EventSocket(world.switch)
    async with socket as port, logged_in(port, "event plain HEARTBEAT") as client:
        stall(world, socket)
        for number in range(9 + 5):
            say(world, number)
        assert len(socket.sessions) == 1
        say(world, 0)
        assert len(socket.sessions) == 0
        assert len(world.switch.listeners) == 2
        words = b"killed listener because of lost events\n"
        notice = b"Content-Type: text/disconnect-notice\nContent-Length: %d\n\n%s" % (len(words), words)
        assert (await client.rest()).endswith(notice)


@pytest.mark.parametrize("leaves", [False, True])
async def test_nobody_hears_anything_while_the_switch_cannot_tell_a_reader_that_it_is_thrown_out(
    world: World, monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    world.switch.faults.max_queue = 10
    monkeypatch.setattr(server, "MAX_MISSED", 5)
    socket = EventSocket(world.switch)
    async with socket as port, logged_in(port, "event plain HEARTBEAT") as slow:
        (session,) = socket.sessions
        async with logged_in(port, "event plain HEARTBEAT") as other:
            session.pause_writing()
            for number in range(10 + 5 + 1):
                say(world, number)
                await asyncio.sleep(0)
            assert socket.waits_for is session
            say(world, 16)
            # What is held is older than this filter, which would keep it out.
            answer = asyncio.create_task(other.command("filter Job-UUID 99"))
            async with connected(port) as newcomer:
                greeting = asyncio.create_task(newcomer.frame())
                for _ in range(100):
                    await asyncio.sleep(0)
                assert len(socket.sessions) == 3
                assert not answer.done()
                assert not greeting.done()
                if leaves:
                    slow.leave()
                else:
                    session.resume_writing()
                assert await answer == "+OK filter added. [Job-UUID]=[99]"
                assert (await greeting).headers["Content-Type"] == "auth/request"
            assert await numbers(other) == list(range(17))


async def test_a_reader_that_catches_up_starts_afresh(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.switch.faults.max_queue = 10
    monkeypatch.setattr(server, "MAX_MISSED", 5)
    socket = EventSocket(world.switch)
    async with socket as port, logged_in(port, "event plain HEARTBEAT") as client:
        for _ in range(2):
            last = stall(world, socket) + 10
            for _ in range(9 + 5):
                say(world, 0)
            for _ in range(last):
                await client.frame()
        assert len(socket.sessions) == 1


async def test_an_answer_overtakes_the_events_that_wait(world: World) -> None:
    socket = EventSocket(world.switch)
    async with socket as port, logged_in(port, "event plain HEARTBEAT") as client:
        (session,) = socket.sessions
        session.pause_writing()
        say(world, 1)
        assert await client.command("api echo first") == "first"
        assert client.events == []
        session.resume_writing()
        assert await numbers(client) == [1]
