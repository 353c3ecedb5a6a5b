"""A list that is never wrong for long: events are lost, rows lie, switches end, stay away, begin anew."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from callbridge.doubts import TOMBSTONE_FOR
from callbridge.entropy import ROUND
from callbridge.mirror import FORGET_AFTER
from callbridge.reflector import LIST_AT, SHUTDOWN_TAKES
from callbridge.simulator.switch import HEARTBEAT_EVERY
from tests.service import Followed, until
from tests.test_reflector import Pbx, back, followed_pbx

MENDED = ROUND + HEARTBEAT_EVERY + 10.0
"""Seconds after which nothing is wrong any more: a round, a HEARTBEAT, and the last words of the dead."""

TURNS = 40
"""Turns of the loop in which a command goes to a switch in this process, and its answer comes back."""


async def go_on(pbx: Pbx, followed: Followed, seconds: float, step: float = 0.25) -> None:
    """Let the time pass, with calls and HEARTBEATs."""
    end = pbx.clock() + seconds
    beat = pbx.clock() + HEARTBEAT_EVERY / 2
    while pbx.clock() < end:
        pbx.clock.pass_time(step)
        pbx.traffic.advance()
        if pbx.clock() >= beat:
            pbx.switch.heartbeat()
            beat += HEARTBEAT_EVERY
        followed.reflector.table.settle(pbx.clock())
        for _ in range(TURNS):
            await asyncio.sleep(0)


@asynccontextmanager
async def calm_pbx(live: int) -> AsyncIterator[tuple[Pbx, Followed]]:
    """A switch that has been followed since before the last of the lists that come with a connection."""
    async with followed_pbx(live) as (pbx, followed):
        await go_on(pbx, followed, LIST_AT[-1])
        yield pbx, followed


def found(followed: Followed) -> dict[str, int]:
    return {what: number for what, number in followed.status.corrections.items() if number}


def dumps(pbx: Pbx, answer: Callable[[str], str] | None = None) -> list[str]:
    """What is probed from now on; `answer` answers instead of the switch."""
    asked: list[str] = []
    dump = answer or pbx.switch.commands["uuid_dump"]

    def noting(argument: str) -> str:
        asked.append(argument.partition(" ")[0])
        return dump(argument)

    pbx.switch.commands["uuid_dump"] = noting
    return asked


async def test_where_nothing_is_lost_nothing_is_corrected() -> None:
    async with calm_pbx(10) as (pbx, followed):
        for number in range(20):
            pbx.traffic.place(("outbound", "inbound", "local")[number % 3], talk=10 + 7 * number)
            await go_on(pbx, followed, 7.0)
        await go_on(pbx, followed, 2 * ROUND)
        assert followed.ids == pbx.calls
        assert found(followed) == {}
        assert followed.status.state == "live"


async def test_a_call_whose_end_was_lost_is_gone_within_a_round() -> None:
    async with calm_pbx(5) as (pbx, followed):
        ended = min(followed.ids)
        pbx.faults.lost_events = 1.0
        pbx.hang_up(ended)
        pbx.faults.lost_events = 0.0
        assert ended in followed.ids
        await go_on(pbx, followed, MENDED)
        assert followed.ids == pbx.calls
        assert found(followed) == {"gone": 2}
        assert followed.mirror.find_ended(ended, None, followed.clock()) is not None


async def test_a_call_of_which_every_event_was_lost_is_found_by_the_count() -> None:
    async with calm_pbx(5) as (pbx, followed):
        pbx.faults.lost_events = 1.0
        new = pbx.call()
        pbx.faults.lost_events = 0.0
        await go_on(pbx, followed, 2.0)
        assert new not in followed.ids
        await go_on(pbx, followed, 2 * HEARTBEAT_EVERY)
        assert followed.ids == pbx.calls
        assert found(followed) == {"alive": 2}


async def test_a_state_that_was_lost_is_found_within_a_round() -> None:
    async with calm_pbx(5) as (pbx, followed):
        call_id = min(followed.ids)
        pbx.faults.lost_events = 1.0
        pbx.switch.call_state(pbx.switch.channels[call_id], "HELD")
        pbx.faults.lost_events = 0.0
        await go_on(pbx, followed, MENDED)
        record = followed.mirror.find(call_id, None)
        assert record is not None
        assert record.callstate == "HELD"
        assert found(followed) == {"changed": 1}


@pytest.mark.parametrize("share", [0.002, 0.05])
async def test_a_share_of_events_is_lost_all_the_time(share: float) -> None:
    async with calm_pbx(10) as (pbx, followed):
        pbx.faults.lost_events = share
        pbx.faults.late_rows = 1.0
        pbx.faults.stale_rows = 0.1
        for number in range(30):
            pbx.traffic.place(("outbound", "inbound", "local")[number % 3], talk=3 + number)
            await go_on(pbx, followed, 1.0)
        pbx.faults.lost_events = 0.0
        await go_on(pbx, followed, 2 * MENDED)
        assert followed.ids == pbx.calls
        shown = {uuid for entry in followed.mirror.listing(None) for uuid in (leg.uuid for leg in entry.record.legs)}
        assert shown == set(pbx.switch.channels)
        assert followed.status.state == "live"


async def test_a_row_that_stays_for_ever_is_asked_about_once() -> None:
    async with calm_pbx(3) as (pbx, followed):
        pbx.faults.stale_rows = 1.0
        stale = pbx.call()
        pbx.hang_up(stale)
        await go_on(pbx, followed, TOMBSTONE_FOR + 1)
        asked = dumps(pbx)
        listed: list[str] = []
        show = pbx.switch.commands["show"]

        def noting(text: str) -> str:
            listed.append(text)
            return show(text)

        pbx.switch.commands["show"] = noting
        for _ in range(4):
            followed.reflector.table.census.failed()
            await go_on(pbx, followed, HEARTBEAT_EVERY)
        assert len(listed) > 1
        assert asked.count(stale) == 1
        assert followed.status.zombies == 2
        assert followed.ids == pbx.calls
        assert found(followed) == {}


async def test_a_switch_whose_third_list_fails_is_live_again_when_it_gives_one() -> None:
    async with followed_pbx(5) as (pbx, followed):
        pbx.faults.sql_error = True
        await go_on(pbx, followed, LIST_AT[-1])
        assert followed.status.state == "syncing"
        pbx.faults.sql_error = False
        await back(followed)
        assert followed.ids == pbx.calls


async def test_a_list_that_fails_changes_nothing() -> None:
    async with calm_pbx(5) as (pbx, followed):
        pbx.faults.lost_events = 1.0
        new = pbx.call()
        pbx.faults.lost_events = 0.0
        pbx.faults.sql_error = True
        before = followed.ids
        await go_on(pbx, followed, MENDED)
        assert followed.ids == before
        assert followed.status.state == "live"
        pbx.faults.sql_error = False
        await go_on(pbx, followed, 2 * HEARTBEAT_EVERY)
        assert followed.ids == pbx.calls == before | {new}


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "{",
        "{}",
        "-ERR no reply\n",
        "-USAGE: <uuid> [format]\n",
        '{"Event-Name":"CHANNEL_DATA","Event-Sequence":"9"}',
    ],
)
async def test_an_odd_answer_to_a_probe_ends_no_call(answer: str) -> None:
    async with calm_pbx(5) as (pbx, followed):
        asked = dumps(pbx, lambda _: answer)
        await go_on(pbx, followed, 2 * ROUND + 1)
        assert {*asked} == {*pbx.switch.channels}
        assert 2 <= len(asked) / len({*asked}) <= 3
        assert followed.ids == pbx.calls
        assert found(followed) == {}


# Another run, an end, a long absence.


async def test_an_event_of_another_run_begins_anew_and_no_call_is_said_to_have_ended() -> None:
    async with calm_pbx(5) as (pbx, followed):
        before = followed.ids
        pbx.server.switch = Pbx(pbx.clock, 3, seed=2).switch
        pbx.switch.core_uuid = pbx.switch.new_uuid()
        pbx.switch.heartbeat()
        await followed.state("stale")
        assert "another run" in (followed.status.error or "")
        assert followed.ids == before
        await back(followed)
        assert len(followed.ids) == 3
        assert not followed.ids & before
        for call_id in before:
            assert followed.mirror.find_ended(call_id, None, followed.clock()) is None


async def test_a_switch_that_ends_is_stale_at_once_and_the_ends_of_its_calls_are_still_heard() -> None:
    async with calm_pbx(5) as (pbx, followed):
        pbx.switch.announce("SHUTDOWN", [("Event-Info", "System Shutting Down")])
        await followed.state("stale")
        assert "shutting down" in (followed.status.error or "")
        ended = min(followed.ids)
        pbx.hang_up(ended)
        await until(lambda: ended not in followed.ids)
        assert followed.mirror.find_ended(ended, None, followed.clock()) is not None
        assert followed.status.state == "stale"
        # It does not end after all.
        await go_on(pbx, followed, SHUTDOWN_TAKES + 1)
        await back(followed)
        assert followed.ids == pbx.calls


async def test_a_switch_that_stays_away_is_stale_and_then_down_without_calls() -> None:
    async with calm_pbx(5) as (pbx, followed):
        before = followed.ids
        pbx.server.refuse = True
        pbx.server.disconnect("")
        await followed.state("stale")
        await go_on(pbx, followed, FORGET_AFTER - 10)
        assert (followed.status.state, followed.ids) == ("stale", before)
        await go_on(pbx, followed, 40)
        assert (followed.status.state, followed.ids) == ("down", set())
        assert all(followed.mirror.find_ended(uuid, None, followed.clock()) is None for uuid in before)
        pbx.server.refuse = False
        await back(followed)
        assert followed.ids == pbx.calls <= before


async def test_one_that_returns_in_time_is_asked_about_every_call_before_any_goes() -> None:
    async with calm_pbx(20) as (pbx, followed):
        before = followed.ids
        pbx.server.refuse = True
        pbx.server.disconnect("")
        await followed.state("stale")
        for call_id in sorted(before)[:15]:
            pbx.hang_up(call_id)
        await go_on(pbx, followed, FORGET_AFTER / 2)
        pbx.server.refuse = False
        asked = dumps(pbx)
        unasked: list[str] = []
        followed.mirror.subscribe(lambda _, __, gone, ___: unasked.extend(set(gone) - set(asked)))
        await back(followed)
        assert followed.ids == pbx.calls
        assert before <= set(asked)
        assert unasked == []


async def test_a_cut_in_the_middle_of_an_event_loses_nothing() -> None:
    async with calm_pbx(5) as (pbx, followed):
        pbx.faults.cut = True
        pbx.switch.heartbeat()
        await followed.state("stale")
        pbx.hang_up(min(followed.ids))
        await back(followed)
        assert followed.ids == pbx.calls


async def test_a_switch_whose_socket_says_byte_by_byte_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callbridge.reflector.PING_TIMEOUT", 0.05)
    async with calm_pbx(5) as (pbx, followed):
        monkeypatch.setattr(pbx.listener, "data_received", lambda _: None)
        pbx.listener.send(b"Content-Length: 900000\nContent-Type: text/event-json\n\n{")
        async with asyncio.timeout(20):
            while followed.status.state != "stale":
                if pbx.server.sessions:
                    for session in pbx.switch.listeners:
                        if session.wants("CHANNEL_CREATE"):
                            session.send(b" ")  # type: ignore[attr-defined]
                pbx.clock.pass_time(0.5)
                await asyncio.sleep(0)
        assert "has not answered" in (followed.status.error or "")
