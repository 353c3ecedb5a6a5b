"""Traffic: repeatable, as much as was asked for, of all kinds, and ended by commands at any moment."""

import json
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callbridge.simulator import rows
from callbridge.simulator.legs import SETUP
from callbridge.simulator.scenarios import KINDS, parties
from callbridge.simulator.traffic import SHARES, Load
from tests.simulator.kit import START, World

LOAD = Load(rate=4, duration=3)
NOTHING: frozenset[str] = frozenset()


async def played(seed: int, load: Load = LOAD) -> tuple[list[bytes], list[bytes], str]:
    """Everything that half a minute of traffic says, in both forms, and the list at its end."""
    world = World(load, seed)
    await world.run(30)
    return world.json.bodies, world.plain.bodies, world.switch.api("show channels as json")


async def test_the_same_seed_gives_the_same_bytes() -> None:
    first, again = await played(7), await played(7)
    assert len(first[0]) > 1000
    assert first == again


async def test_another_seed_gives_other_calls() -> None:
    first, other = await played(7), await played(8)
    assert {json.loads(body)["Core-UUID"] for body in first[0]} != {json.loads(body)["Core-UUID"] for body in other[0]}
    assert first[2] != other[2]


async def test_calls_are_begun_at_the_rate_that_was_asked_for() -> None:
    world = World(Load(rate=20, duration=1), names=frozenset(("CHANNEL_CREATE",)))
    await world.run(100)
    begun = [event for event in world.json.events if event.call_direction == "inbound"]
    assert len(begun) == pytest.approx(2000, rel=0.1)
    by_second = Counter(int(event.profile.created_us / 1e6 - START) // 10 for event in begun)
    assert min(by_second.values()) > 100, "the calls are spread over the whole time"


async def test_rate_times_duration_is_about_how_many_calls_are_up() -> None:
    world = World(Load(rate=20, duration=10), names=NOTHING)
    await world.run(40)
    up = []
    for _ in range(20):
        await world.run(2)
        up.append(len(world.switch.channels) / 2)
    # Before it is answered a call rings for a second or two.
    assert sum(up) / len(up) == pytest.approx(20 * (10 + 1.5), rel=0.15)


async def test_no_rate_is_no_calls_but_heartbeats() -> None:
    world = World(Load(rate=0))
    await world.run(65)
    assert [event.name for event in world.json.events] == ["HEARTBEAT"] * 3
    assert [round(event.timestamp / 1e6 - START) for event in world.json.events] == [20, 40, 60]


# Of what kinds.


def test_all_kinds_tenants_and_directions_are_there_in_their_shares() -> None:
    world = World(Load(rate=0, tenants=("a.example.com", "b.example.com", "c.example.com")), names=NOTHING)
    calls = [world.traffic.place() for _ in range(3000)]
    kinds = Counter(call.kind for call in calls)
    assert set(kinds) == set(KINDS)
    for kind, share in SHARES.items():
        assert kinds[kind] == pytest.approx(len(calls) * share / sum(SHARES.values()), rel=0.3)
    tenants = Counter(call.who.domain for call in calls)
    assert set(tenants) == {"a.example.com", "b.example.com", "c.example.com"}
    assert min(tenants.values()) > 900


def test_the_directions_are_those_that_the_dialplan_sets() -> None:
    world = World(names=frozenset(("CHANNEL_ANSWER",)))
    for kind in KINDS:
        world.traffic.place(kind)
    world.finish()
    assert {event.variables.call_direction for event in world.json.events} == {"outbound", "inbound", "local"}


def test_callers_and_destinations_vary() -> None:
    world = World(names=NOTHING)
    calls = [world.traffic.place() for _ in range(3000)]
    to_phones = Counter(call.who.destination for call in calls if call.kind in ("inbound", "local"))
    from_phones = Counter(call.who.caller_number for call in calls if call.kind != "inbound")
    for extensions in (to_phones, from_phones):
        assert set(extensions) == {str(number) for number in range(101, 200)}
        assert max(extensions.values()) < 3 * sum(extensions.values()) / len(extensions)
    outside = [call.who.caller_number for call in calls if call.kind == "inbound"]
    outside += [call.who.destination for call in calls if call.kind not in ("inbound", "local")]
    assert len(set(outside)) > 0.99 * len(outside)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_calls_himself(kind: str) -> None:
    chance = random.Random(0)
    for _ in range(500):
        who = parties(kind, "a.example.com", chance)
        assert who.caller_number not in (who.destination, who.dialled)
        assert who.domain == "a.example.com"


def test_what_is_said_of_a_call_is_so() -> None:
    world = World()
    call = world.traffic.place("inbound", talk=40, tenant="c.example.com")
    assert (call.kind, call.talk, call.who.domain) == ("inbound", 40, "c.example.com")
    world.wait(5)
    assert repr(world.traffic) == "<Traffic 1 calls under way>"
    assert repr(call) == f"<Call inbound {call.who.caller_number} to {call.who.destination}>"
    assert call.bridged
    world.wait(35)
    assert world.switch.channels != {}
    world.finish()
    assert world.switch.channels == {}
    assert repr(world.traffic) == "<Traffic 0 calls under way>"


# Live calls.


def test_ten_thousand_calls_can_be_up_from_the_start() -> None:
    world = World(Load(rate=0, duration=60, live=10_000), names=NOTHING)
    world.wait(0.5)
    channels = world.switch.channels.values()
    assert len(channels) == pytest.approx(20_000, rel=0.02), "some of them have ended by now"
    assert Counter(channel.state for channel in channels if channel.inbound).most_common(1)[0][0] == "EXECUTE"
    listed = {line.partition("|")[0] for line in world.switch.api("show channels as delim |").split("\n")}
    assert set(world.switch.channels) <= listed


def test_live_calls_are_of_the_shares_and_end_one_after_the_other() -> None:
    world = World(Load(rate=0, duration=10, live=900), names=frozenset(("CHANNEL_DESTROY",)))
    assert len(world.switch.channels) == 1800
    dumps = [json.loads(world.switch.api(f"uuid_dump {uuid} json")) for uuid in world.switch.channels]
    kinds = Counter(dump["variable_call_direction"] for dump in dumps if dump["Call-Direction"] == "inbound")
    assert kinds["outbound"] == pytest.approx(450, rel=0.15)
    assert kinds["inbound"] == pytest.approx(300, rel=0.15)
    assert kinds["local"] == pytest.approx(150, rel=0.25)
    world.finish()
    ends = Counter(int(event.timestamp / 1e6 - START) for event in world.json.events)
    assert sum(ends.values()) == 1800
    assert len(ends) > 15


def test_rows_that_nobody_looks_at_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_GONE", 100)
    world = World(names=NOTHING)
    for _ in range(300):
        world.traffic.place("busy")
        world.wait(0.05)
    assert int(repr(world.switch.rows).removeprefix("<Rows ").split()[0]) < 120


# Commands.


def test_a_killed_call_ends_with_the_leg_that_was_killed_first() -> None:
    for side in (0, 1):
        world = World(names=frozenset(("CHANNEL_HANGUP",)))
        call = world.traffic.place("outbound", talk=60)
        world.wait(10)
        assert call.b is not None
        legs = [call.a.uuid, call.b.uuid]
        assert world.switch.api(f"uuid_kill {legs[side]} USER_BUSY") == "+OK\n"
        world.finish()
        assert [event.uuid for event in world.json.events] == [legs[side], legs[1 - side]]
        # Whom the killed caller talked to sees an ordinary end (measured).
        other = "NORMAL_CLEARING" if side == 0 else "USER_BUSY"
        assert [event.hangup_cause for event in world.json.events] == ["USER_BUSY", other]
        assert world.switch.channels == {}


def test_what_was_due_of_a_call_is_no_longer_due_when_it_is_killed() -> None:
    world = World()
    call = world.traffic.place("outbound", talk=10)
    while not call.bridged:
        # The last of these takes it to where the talk begins.
        world.clock.now += world.traffic.advance() or 0
    world.wait(10 - 0.005)
    # Its own end would be due in 5 ms; leg B follows leg A after one step of the clock.
    assert call.b is not None
    world.switch.api(f"uuid_kill {call.a.uuid}")
    world.wait(SETUP - 0.005)
    assert world.switch.api(f"uuid_exists {call.b.uuid}") == "true"
    world.wait(SETUP)
    assert world.switch.api(f"uuid_exists {call.b.uuid}") == "false"


def test_a_killed_channel_is_not_found_any_more_before_its_end_is_told_of() -> None:
    world = World(names=frozenset(("CHANNEL_HANGUP_COMPLETE", "CHANNEL_DESTROY")))
    call = world.traffic.place("outbound", talk=60)
    world.wait(10)
    world.switch.api(f"uuid_kill {call.a.uuid}")
    for question in ("uuid_dump", "uuid_kill"):
        assert world.switch.api(f"{question} {call.a.uuid}") == "-ERR No such channel!\n"
    assert world.switch.api(f"uuid_exists {call.a.uuid}") == "false"
    assert world.json.events == []


def test_a_channel_that_is_not_there_cannot_be_killed() -> None:
    assert World().switch.api("uuid_kill 00000000-0000-4000-8000-000000000000") == "-ERR No such channel!\n"


def test_all_calls_can_be_ended_at_once() -> None:
    world = World(Load(rate=0, live=50), names=frozenset(("CHANNEL_HANGUP",)))
    assert world.switch.api("hupall") == "+OK hangup all channels with cause MANAGER_REQUEST\n"
    world.wait(0.1)
    assert world.switch.channels == {}
    assert Counter(event.hangup_cause for event in world.json.events) == {"MANAGER_REQUEST": 100}


def check_told_once(world: World) -> None:
    """However a call ended, each leg was told of in order, once, and nothing is left of it."""
    told: dict[str, list[str]] = {}
    for event in world.json.events:
        name = f"{event.name} {event.state}" if event.name == "CHANNEL_STATE" else event.name
        told.setdefault(event.uuid, []).append(name)
    ends = ["CHANNEL_HANGUP", "CHANNEL_STATE CS_HANGUP", "CHANNEL_STATE CS_REPORTING", "CHANNEL_HANGUP_COMPLETE"]
    ends += ["CHANNEL_DESTROY", "CHANNEL_STATE CS_DESTROY"]
    for names in told.values():
        assert [name for name in names if name in ends] == ends
        assert names[-1] == ends[-1]
        assert names.count("CHANNEL_CREATE") == ("CHANNEL_STATE CS_INIT" in names)
    assert world.switch.channels == {}
    assert repr(world.traffic) == "<Traffic 0 calls under way>"
    world.wait(1)
    assert world.rows() == []


ORDERS = st.tuples(st.sampled_from(["uuid_kill", "hupall"]), st.floats(0, 1), st.integers(0, 1))


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(KINDS), st.integers(0, 20), st.lists(ORDERS, min_size=1, max_size=3))
def test_a_call_can_be_ended_at_any_moment(kind: str, seed: int, orders: list[tuple[str, float, int]]) -> None:
    world = World(Load(rate=0, duration=1), seed)
    call = world.traffic.place(kind)
    for command, pause, side in orders:
        # Half of them come in the first tenth of a second, where most happens.
        world.wait(pause / 5 if pause < 0.5 else 4 * pause - 1.9)
        leg = call.b if side and call.b is not None else call.a
        world.switch.api(f"{command} {leg.uuid}" if command == "uuid_kill" else command)
    world.finish()
    check_told_once(world)


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_that_nobody_ends_comes_to_its_end(kind: str) -> None:
    world = World(Load(rate=0, duration=2))
    world.traffic.place(kind)
    world.finish()
    check_told_once(world)
