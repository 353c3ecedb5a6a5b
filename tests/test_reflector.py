"""A reflector and a simulated switch over real sockets: starting in the middle, losing the switch, finding it again."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbridge import reflector as reflector_module
from callbridge.answers import parse_list
from callbridge.callset import SPLIT_AFTER
from callbridge.errors import RemoteProtocolError
from callbridge.esl.events import Event
from callbridge.records import Row
from callbridge.reflector import LIST_AT
from callbridge.simulator.server import EventSocket, Session
from callbridge.simulator.switch import Switch
from callbridge.simulator.traffic import Load, Traffic
from tests import truth
from tests.esl.test_protocol import EVENT, GREETING
from tests.service import PASSWORD, Clock, Followed, following, until

T0_US = 1_795_458_117_000_000


class Pbx:
    """A simulated switch with calls on it, on a clock that the test moves."""

    def __init__(self, clock: Clock, live: int = 0, seed: int = 1) -> None:
        self.clock = clock
        self.switch = Switch(seed, lambda: T0_US + int(clock() * 1e6), clock)
        self.faults = self.switch.faults
        self.traffic = Traffic(self.switch, Load(rate=0, duration=10_000, live=live), clock, seed)
        self.server = EventSocket(self.switch)
        # Its rows appear some time after its channels.
        clock.pass_time(1.0)

    @property
    def calls(self) -> set[str]:
        """The calls as the switch itself would count them: one for each leg that came in."""
        return {uuid for uuid, channel in self.switch.channels.items() if channel.inbound}

    def call(self) -> str:
        """One more call, answered and talking."""
        call = self.traffic.place("outbound", talk=10_000)
        for _ in range(1000):
            if call.bridged:
                break
            self.clock.pass_time(0.05)
            self.traffic.advance()
        assert call.bridged
        return call.a.uuid

    def begin(self) -> str:
        """One more call, of which no more is said than that it is there."""
        call = self.traffic.place("outbound", talk=10_000)
        while call.a.state == "NEW":
            self.clock.pass_time(0.02)
            self.traffic.advance()
        return call.a.uuid

    def hang_up(self, call_id: str) -> None:
        assert self.switch.api(f"uuid_kill {call_id}") == "+OK\n"
        for _ in range(20):
            self.clock.pass_time(0.05)
            self.traffic.advance()
        assert call_id not in self.calls

    @property
    def listener(self) -> Session:
        """The connection that the events go to."""
        (session,) = [session for session in self.server.sessions if session.wants("CHANNEL_CREATE")]
        return session


@asynccontextmanager
async def followed_pbx(live: int = 0, events: str = "json") -> AsyncIterator[tuple[Pbx, Followed]]:
    """A switch with calls and a reflector that has come live on it."""
    clock = Clock()
    pbx = Pbx(clock, live)
    async with pbx.server as port, following(port, clock=clock, events=events) as followed:
        await followed.live()
        yield pbx, followed


async def back(followed: Followed) -> None:
    """Let the time pass until the switch has been found again and its calls are right."""
    async with asyncio.timeout(20):
        while followed.status.state != "live":
            followed.clock.pass_time(0.01)
            await asyncio.sleep(0)


# The beginning.


@pytest.mark.parametrize("events", ["json", "plain"])
async def test_a_start_in_the_middle_of_a_thousand_calls_gives_each_as_the_switch_shows_it(events: str) -> None:
    async with followed_pbx(1000, events) as (pbx, followed):
        assert followed.ids == pbx.calls
        assert len(followed.ids) == 1000
        shown = {row["uuid"]: row for row in json.loads(pbx.switch.api("show channels as json"))["rows"]}
        for entry in followed.mirror.listing(None):
            row = {name: getattr(entry.record, name) for name in Row.__struct_fields__}
            truth.check_row(row, shown[row["call_id"]])
            (other,) = entry.record.ids
            assert followed.mirror.find(other, None) is entry.record


async def test_what_happens_after_the_start_comes_by_events_alone() -> None:
    async with followed_pbx(3) as (pbx, followed):
        new = pbx.call()
        await until(lambda: followed.ids == pbx.calls and new in followed.ids)
        pbx.hang_up(new)
        await until(lambda: new not in followed.ids)
        assert followed.ids == pbx.calls
        assert sum(followed.status.corrections.values()) == 0


async def test_it_is_not_live_before_the_second_list() -> None:
    clock = Clock()
    pbx = Pbx(clock, 5)
    async with pbx.server as port, following(port, clock=clock) as followed:
        await until(lambda: followed.ids == pbx.calls)
        assert followed.status.state == "syncing"
        assert not followed.mirror.complete
        clock.pass_time(LIST_AT[1])
        await followed.state("live")
        assert followed.mirror.complete


async def test_a_call_whose_row_is_late_is_found_by_the_second_list() -> None:
    clock = Clock()
    pbx = Pbx(clock, 5)
    late = pbx.begin()
    async with pbx.server as port, following(port, clock=clock) as followed:
        await until(lambda: len(followed.ids) == 5)
        assert late not in followed.ids
        await followed.live()
        assert late in followed.ids


async def test_a_call_whose_row_is_very_late_is_found_by_the_third_list() -> None:
    clock = Clock()
    pbx = Pbx(clock, 5)
    pbx.faults.late_rows = 3.0
    late = pbx.begin()
    async with pbx.server as port, following(port, clock=clock) as followed:
        await followed.live()
        assert late not in followed.ids
        clock.pass_time(LIST_AT[2])
        await until(lambda: followed.status.corrections["alive"] == len(pbx.switch.channels) - 10)
        assert late in followed.ids


async def test_a_row_of_a_channel_that_is_gone_is_no_call() -> None:
    clock = Clock()
    pbx = Pbx(clock, 5)
    pbx.faults.stale_rows = 1.0
    stale = pbx.call()
    pbx.hang_up(stale)
    assert stale in pbx.switch.api("show channels as delim |")
    async with pbx.server as port, following(port, clock=clock) as followed:
        await followed.live()
        assert followed.ids == pbx.calls
        clock.pass_time(LIST_AT[2])
        await followed.settled()
        assert stale not in followed.ids


async def test_a_call_whose_first_event_was_lost_is_found_by_its_next() -> None:
    async with followed_pbx(2) as (pbx, followed):
        pbx.faults.lost_events = 1.0
        call = pbx.traffic.place("outbound", talk=10_000)
        pbx.faults.lost_events = 0.0
        for _ in range(200):
            pbx.clock.pass_time(0.05)
            pbx.traffic.advance()
        await until(lambda: call.a.uuid in followed.ids)
        assert followed.ids == pbx.calls


async def test_events_and_commands_have_a_connection_each() -> None:
    async with followed_pbx() as (pbx, _):
        assert len(pbx.server.sessions) == 2
        (commands,) = pbx.server.sessions - {pbx.listener}
        assert commands.wants("BACKGROUND_JOB")
        assert not pbx.listener.wants("BACKGROUND_JOB")


# A list that does not come.


async def test_an_error_instead_of_a_list_is_said_and_ends_nothing() -> None:
    async with followed_pbx(5) as (pbx, followed):
        pbx.faults.sql_error = True
        pbx.server.disconnect("")
        await until(lambda: followed.status.state == "stale")
        before = followed.ids
        async with asyncio.timeout(20):
            while "SQL error" not in (followed.status.error or ""):
                followed.clock.pass_time(0.05)
                await asyncio.sleep(0)
        assert followed.status.state == "syncing"
        assert followed.ids == before == pbx.calls
        pbx.faults.sql_error = False
        await back(followed)
        assert followed.ids == pbx.calls
        assert followed.status.error is None


# The switch is lost, and comes back.


async def test_while_the_connection_is_lost_the_calls_are_shown_as_stale() -> None:
    async with followed_pbx(5) as (pbx, followed):
        pbx.server.disconnect("Disconnected, goodbye.\n")
        await followed.state("stale")
        assert followed.ids == pbx.calls
        assert not followed.mirror.complete
        assert "goodbye" in (followed.status.error or "")


async def test_what_happened_while_the_connection_was_lost_is_made_good() -> None:
    async with followed_pbx(20) as (pbx, followed):
        kept = sorted(followed.ids)
        pbx.server.disconnect("")
        await followed.state("stale")
        for call_id in kept[:7]:
            pbx.hang_up(call_id)
        new = pbx.call()
        assert followed.ids == set(kept)
        await back(followed)
        assert followed.ids == pbx.calls == {new, *kept[7:]}
        assert followed.mirror.find_ended(kept[0], None, followed.clock()) is not None


async def test_calls_of_an_earlier_run_of_the_switch_are_gone() -> None:
    async with followed_pbx(5) as (pbx, followed):
        before = followed.ids
        restarted = Pbx(pbx.clock, 3, seed=2)
        pbx.server.switch = restarted.switch
        pbx.server.disconnect("")
        await followed.state("stale")
        assert followed.ids == before
        await back(followed)
        assert followed.ids == restarted.calls
        assert not followed.ids & before


async def test_a_switch_that_is_away_at_the_start_is_found_when_it_comes() -> None:
    clock = Clock()
    pbx = Pbx(clock, 3)
    async with pbx.server as port:
        pass
    async with following(port, clock=clock) as followed:
        await until(lambda: "cannot be reached" in (followed.status.error or ""))
        assert followed.status.state == "down"
        late = EventSocket(pbx.switch, port=port)
        async with late:
            await back(followed)
            assert followed.ids == pbx.calls


async def test_a_wrong_password_is_said_and_tried_again() -> None:
    clock = Clock()
    pbx = Pbx(clock, 3)
    async with pbx.server as port, following(port, clock=clock, password="wrong") as followed:
        await until(lambda: "password" in (followed.status.error or ""))
        assert followed.status.state == "down"
        pbx.server.password = "wrong"
        await back(followed)
        assert followed.ids == pbx.calls


async def test_an_access_list_that_refuses_is_told_from_a_wrong_password() -> None:
    clock = Clock()
    pbx = Pbx(clock, 3)
    pbx.server.refuse = True
    async with pbx.server as port, following(port, clock=clock) as followed:
        await until(lambda: "access list refuses" in (followed.status.error or ""))
        pbx.server.refuse = False
        await back(followed)
        assert followed.ids == pbx.calls


BAD_BYTES = {
    "garbage": b"\x00\xff\x17 this is no event socket\n\n",
    "an HTTP server": b"HTTP/1.1 400 Bad Request\nContent-Length: 0\n\n",
    "a length of 100 MB": b"Content-Length: 104857600\nContent-Type: text/event-json\n\n",
    "a negative length": b"Content-Length: -1\nContent-Type: text/event-json\n\n",
    "a length that is no number": b"Content-Length: lots\nContent-Type: text/event-json\n\n",
    "a header without an end": b"Content-Type: " + b"x" * 200_000,
    "headers without an end": b"X-Header: x\n" * 50_000,
    "an event that is no JSON": b"Content-Length: 9\nContent-Type: text/event-json\n\n{{{{{{{{{",
    "half a frame, then the end": b"",
}


@pytest.mark.parametrize("what", BAD_BYTES)
async def test_bad_bytes_cost_the_connection_and_no_call(what: str) -> None:
    async with followed_pbx(5) as (pbx, followed):
        if BAD_BYTES[what]:
            pbx.listener.send(BAD_BYTES[what])
        else:
            pbx.faults.cut = True
            pbx.begin()
        await followed.state("stale")
        assert followed.status.error
        await back(followed)
        assert followed.ids == pbx.calls


@pytest.mark.parametrize("what", [what for what in BAD_BYTES if what.startswith(("garbage", "an HTTP", "a "))])
async def test_a_peer_that_is_no_switch_is_said_to_be_none(what: str) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(BAD_BYTES[what])
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, following(server.sockets[0].getsockname()[1]) as followed:
        await until(lambda: followed.status.error not in (None, "not connected yet"))
        assert followed.status.state == "down"
        assert followed.ids == set()


async def test_a_switch_that_stalls_is_given_up_and_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflector_module, "PING_TIMEOUT", 0.05)
    async with followed_pbx(5) as (pbx, followed):
        # In the middle of a frame it sends no more and takes no more.
        monkeypatch.setattr(pbx.listener, "data_received", lambda _: None)
        pbx.listener.send(EVENT[:-10])
        async with asyncio.timeout(20):
            while followed.status.state != "stale":
                followed.clock.pass_time(0.5)
                await asyncio.sleep(0)
        assert "has not answered" in (followed.status.error or "")
        await back(followed)
        assert followed.ids == pbx.calls


async def test_a_quiet_switch_stays_live() -> None:
    async with followed_pbx(5) as (_, followed):
        clock = followed.clock
        for _ in range(40):
            clock.pass_time(2.5)
            await until(lambda: clock() - (followed.status.seen or 0.0) < 7.6)
        assert followed.status.state == "live"
        assert clock() - followed.reflector.turned < 7.6


async def test_a_greeting_that_never_comes_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callbridge.esl.connection.CONNECT_TIMEOUT", 0.05)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING[:-3])
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, following(server.sockets[0].getsockname()[1]) as followed:
        await until(lambda: "did not greet" in (followed.status.error or ""))


async def test_a_failure_of_callbridge_itself_is_not_taken_for_one_of_the_switch() -> None:
    clock = Clock()
    pbx = Pbx(clock)
    async with pbx.server as port:
        followed = Followed(port, "json", PASSWORD, clock)
        await followed.live()

        def fail(_: Event, __: float) -> None:
            raise ZeroDivisionError

        followed.reflector.table.apply = fail  # type: ignore[assignment]
        pbx.call()
        await until(followed.running.done)
        assert isinstance(followed.running.exception(), ZeroDivisionError)


async def test_a_call_that_comes_apart_is_shown_as_two_when_it_has_stayed_so() -> None:
    async with followed_pbx(1) as (pbx, followed):
        (call_id,) = followed.ids
        (other,) = pbx.switch.channels.keys() - {call_id}
        tell: Callable[..., None] = pbx.switch.fire
        tell(
            pbx.switch.channels[call_id],
            "CHANNEL_UNBRIDGE",
            after=[("Bridge-A-Unique-ID", call_id), ("Bridge-B-Unique-ID", other)],
        )
        await until(lambda: followed.reflector.table.next_deadline() is not None)
        assert followed.ids == {call_id}
        followed.clock.pass_time(SPLIT_AFTER)
        await until(lambda: followed.ids == {call_id, other})


# The list.

HEAD = "uuid|direction|created|created_epoch|name\n"
ROW = "{}|inbound|2026-11-23 18:21:57|1795458117|sofia/internal/101\n"


def test_only_uuids_and_times_are_read_from_a_list() -> None:
    text = HEAD + ROW.format("a-1") + ROW.format("b-2").replace("inbound", "outbound") + "\n2 total.\n"
    assert parse_list(text, str) == {"a-1": "2026-11-23 18:21:57", "b-2": "2026-11-23 18:21:57"}
    assert parse_list("\n0 total.\n", str) == {}


def test_the_legs_that_began_calls_are_asked_about_first() -> None:
    rows = [
        ROW.format(uuid) if uuid < "b" else ROW.format(uuid).replace("inbound", "outbound")
        for uuid in ("b-1", "a-1", "b-2", "a-2")
    ]
    assert list(parse_list(f"{HEAD}{''.join(rows)}\n4 total.\n", str)) == ["a-1", "a-2", "b-1", "b-2"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "-ERR SQL error [database is locked]\n",
        "-ERR SQL Error [x]\n0 total.\n",
        HEAD + ROW.format("a-1"),
        HEAD + ROW.format("a-1") + "\n1 tot",
        '{"row_count": 0}',
        "-USAGE: channels\n",
    ],
)
def test_what_is_no_whole_list_is_none(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match="gave no list"):
        parse_list(text, str)


@given(st.text(max_size=40))
def test_a_name_with_anything_in_it_hides_no_row(name: str) -> None:
    rows = "".join(ROW.format(uuid).rstrip("\n") + f"|{name}\n" for uuid in ("a-1", "b-2"))
    assert {"a-1", "b-2"} <= parse_list(f"{HEAD}{rows}\n2 total.\n", str).keys()
