"""`show channels` of a simulated switch: the values of a real one, and its lateness."""

import json
from typing import Any

import pytest

from callbridge.simulator import learn
from callbridge.simulator.rows import APPEARS_AFTER, COLUMNS, GOES_AFTER
from callbridge.simulator.scenarios import Call
from callbridge.simulator.switch import HOSTNAME
from tests import recorded
from tests.simulator.kit import WHO, World

PAUSES = ["ringing", "talking", "held", "back"]
"""What a call does in each of its long pauses; a checkpoint of a recording is named after it."""

MOMENTS = [
    (kind, checkpoint["note"])
    for kind, name in learn.RECORDINGS.items()
    for checkpoint in recorded.load(name).about["checkpoints"]
    if checkpoint["note"] in PAUSES
]

NAMELESS = {"cid_name": "101", "cid_num": "0000000000", "initial_cid_name": "101", "initial_cid_num": "0000000000"}
"""The phone of the cancelled call gives no display name; a simulated phone always has one."""

EARLIEST, LATEST = APPEARS_AFTER
FIRST_GOES, LAST_GOES = GOES_AFTER
TICK = 0.02
"""A step of the switch's clock."""


def recorded_rows(kind: str, note: str) -> list[dict[str, Any]]:
    checkpoints = recorded.load(learn.RECORDINGS[kind]).about["checkpoints"]
    rows: list[dict[str, Any]] = next(c["show_channels"]["rows"] for c in checkpoints if c["note"] == note)
    return rows


def with_roles(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Rows whose uuids, times and host are replaced by what they stand for."""
    roles = {row["uuid"]: "AB"[index] for index, row in enumerate(rows)}
    given = {"created": "a time", "created_epoch": "a time", "hostname": "a host"}
    return [row | given | {name: roles.get(row[name], row[name]) for name in ("uuid", "call_uuid")} for row in rows]


def rows_at(kind: str, note: str) -> list[dict[str, str]]:
    """The rows of a simulated call in that pause."""
    world = World()
    call = Call(world.traffic.machine, kind, WHO[kind], ring=10, talk=30)
    pauses = PAUSES[:]
    for pause in call.run():
        if pause >= 10 and pauses.pop(0) == note:
            world.clock.now += 1
            return world.rows()
        world.clock.now += pause
    raise AssertionError(f"{kind} has no moment {note}")


def test_the_recordings_show_every_moment_of_a_call() -> None:
    assert {note for _, note in MOMENTS} == {"ringing", "talking", "held", "back"}


@pytest.mark.parametrize(("kind", "note"), MOMENTS)
def test_every_column_says_what_the_switch_said(kind: str, note: str) -> None:
    real, made = with_roles(recorded_rows(kind, note)), with_roles(rows_at(kind, note))
    if kind == "cancelled":
        phone = real[0]
        assert NAMELESS.items() <= phone.items()
        phone |= {name: made[0][name] for name in NAMELESS}
    assert made == real
    assert [list(row) for row in made] == [COLUMNS] * 2


def test_a_row_says_when_its_channel_was_made_and_where() -> None:
    world = World()
    world.traffic.place("local", talk=60)
    world.wait(10)
    for row in world.rows():
        assert (row["created"], row["created_epoch"]) == ("2026-11-23 18:21:57", "1795458117")
        assert row["hostname"] == HOSTNAME


@pytest.mark.parametrize("seed", range(20))
def test_a_row_comes_after_its_channel_and_within_the_measured_time(seed: int) -> None:
    world = World(seed=seed, names=frozenset(("CHANNEL_CREATE",)))
    call = world.traffic.place("outbound", talk=60)
    world.wait(TICK)
    assert world.json.events[0].uuid == call.a.uuid
    world.wait(EARLIEST - 0.001)
    assert world.rows() == []
    world.wait(LATEST - EARLIEST + 0.002)
    assert call.a.uuid in {row["uuid"] for row in world.rows()}


@pytest.mark.parametrize("seed", range(20))
def test_a_row_goes_after_its_channel_and_within_the_measured_time(seed: int) -> None:
    world = World(seed=seed)
    call = world.traffic.place("outbound", talk=60)
    world.wait(10)
    world.switch.api(f"uuid_kill {call.a.uuid}")
    world.wait(TICK)
    assert world.switch.channels == {}
    world.wait(FIRST_GOES - 0.001)
    assert len(world.rows()) == 2
    world.wait(LAST_GOES - FIRST_GOES + 0.002)
    assert world.rows() == []


def test_a_channel_shorter_than_the_lateness_may_never_be_listed() -> None:
    world = World()
    world.traffic.place("busy")
    seen = 0
    for _ in range(200):
        world.wait(0.01)
        seen = max(seen, len(world.rows()))
    assert world.rows() == []
    assert seen < 2


def test_rows_come_oldest_first() -> None:
    world = World()
    for _ in range(10):
        world.traffic.place("local", talk=600)
        world.wait(3)
    created = [row["created"] for row in world.rows()]
    assert created == sorted(created)
    assert len(set(created)) == 10


def test_commas_part_the_columns_unless_another_mark_is_asked_for() -> None:
    world = World()
    world.traffic.place("local", talk=60)
    world.wait(10)
    rows = json.loads(world.switch.api("show channels as json"))["rows"]
    for command, mark in (("", ","), ("as delim ;", ";"), ("as delim ||", "||"), ("as csv", ",")):
        lines = [mark.join(row.values()) for row in rows]
        wanted = "".join(f"{line}\n" for line in [mark.join(COLUMNS), *lines]) + "\n2 total.\n"
        assert world.switch.api(f"show channels {command}") == wanted
