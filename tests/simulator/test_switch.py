"""The simulated switch itself: its clock, its count of events, its heartbeat."""

import re

import pytest

from callbridge.simulator.switch import HEARTBEAT_EVERY, Switch
from callbridge.simulator.traffic import Load
from tests import recorded
from tests.simulator.kit import START, World


def test_events_are_counted_whether_or_not_somebody_wants_them() -> None:
    all_of_them, some = World(), World(names=frozenset(("CHANNEL_DESTROY",)))
    for world in (all_of_them, some):
        world.traffic.place("local", talk=1)
        world.finish()
    sequences = [event.sequence for event in all_of_them.json.events]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
    destroyed = [event.sequence for event in all_of_them.json.events if event.name == "CHANNEL_DESTROY"]
    assert [event.sequence for event in some.json.events] == destroyed


def test_its_clock_goes_in_steps_as_a_real_ones_does() -> None:
    world = World(Load(rate=0))
    for _ in range(30):
        world.traffic.place()
        world.wait(0.0137)
    world.finish()
    assert {event.timestamp % 20_000 for event in world.json.events} == {0}
    assert {event.date_local for event in world.json.events} >= {"2026-11-23 18:21:57", "2026-11-23 18:21:58"}


@pytest.mark.parametrize(("live", "count"), [(0, "0"), (7, "14")])
def test_a_heartbeat_counts_the_channels_that_are_up(live: int, count: str) -> None:
    world = World(Load(rate=0, live=live))
    world.switch.heartbeat()
    event = world.json.frames[-1].event
    assert (event["Event-Name"], event["Session-Count"]) == ("HEARTBEAT", count)
    assert event["Core-UUID"] == world.switch.core_uuid


def test_a_heartbeat_does_not_count_channels_on_their_way_out() -> None:
    world = World()
    call = world.traffic.place("local", talk=60)
    world.wait(10)
    world.switch.api(f"uuid_kill {call.a.uuid}")
    assert len(world.switch.channels) == 2
    world.switch.heartbeat()
    assert world.json.frames[-1].event["Session-Count"] == "1"


def test_a_heartbeat_has_the_headers_of_a_real_one() -> None:
    frames = (frame for frame in recorded.load("hold_unhold").frames if frame.is_event)
    real = next(frame.event for frame in frames if frame.event["Event-Name"] == "HEARTBEAT")
    world = World()
    world.wait(90_061.5)
    world.switch.heartbeat()
    made = world.plain.frames[-1].event
    assert list(made) == list(real)
    assert made["Up-Time"] == "0 years, 1 day, 1 hour, 1 minute, 1 second, 500 milliseconds, 0 microseconds"
    units = [[word.removesuffix("s") for word in re.findall("[a-z]+", event["Up-Time"])] for event in (made, real)]
    assert units[0] == units[1]
    assert made["Uptime-msec"] == "90061500"


async def test_heartbeats_come_every_twenty_seconds() -> None:
    world = World(Load(rate=1, duration=1), names=frozenset(("HEARTBEAT",)))
    await world.run(205)
    at = [event.timestamp / 1e6 - START for event in world.json.events]
    assert at == pytest.approx([HEARTBEAT_EVERY * beat for beat in range(1, 11)], abs=0.05)


def test_a_switch_that_starts_anew_is_another() -> None:
    assert Switch(1).core_uuid != Switch(2).core_uuid
    assert re.fullmatch(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", Switch(1).core_uuid)


def test_it_shows_what_it_holds() -> None:
    world = World(Load(rate=0, live=2))
    assert repr(world.switch) == "<Switch 4 channels, 2 listeners>"
    a, b = list(world.switch.channels.values())[:2]
    assert repr(a) == f"<Channel {a.uuid[:8]} {a.name} CS_EXECUTE>"
    assert repr(b) == f"<Channel {b.uuid[:8]} {b.name} CS_EXCHANGE_MEDIA>"
