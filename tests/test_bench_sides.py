"""What of the benchmark needs no clock: what is claimed of figures, how a peer is had, what the floor counts."""

import sys
from collections.abc import Callable
from functools import partial
from math import nan
from pathlib import Path

import pytest

from bench import ingest, peers
from bench.eventsocket import EventSocket, Played
from bench.ingest import AT_LEAST, FLOOR, JSON, PLAIN, ratios
from bench.listing import Side, Sides
from bench.listing import lines as listing_lines
from bench.peers import Missing, Peer
from bench.processes import Child
from callbridge.esl.events import decode_json
from callbridge.esl.frames import FrameReader
from callbridge.table import CallTable


def measured(name: str, rounds: list[float], beside: list[float]) -> ingest.Side:
    """A side that took so many seconds, and callbridge around it."""
    side = ingest.Side(name, float)
    side.rounds, side.beside = rounds, beside
    return side


def test_the_floor_bounds_the_cpu_from_above_and_peers_from_below() -> None:
    took = {FLOOR: [4.0, 8.0, 4.0], "libesl": [18.0, nan, 18.0], "Genesis": [600.0] * 3}
    lines = {line.what: line for line in ratios([measured(name, took[name], [12.0, 24.0, 12.0]) for name in took])}
    assert lines[f"ingest: {JSON}, CPU of {FLOOR}"].ratio == "3.0"
    assert lines[f"ingest: {JSON}, CPU of {FLOOR}"].ok is True
    assert lines[f"ingest: {JSON}, against libesl"].ratio == "1.5"
    assert lines[f"ingest: {JSON}, against libesl"].ok is False
    assert lines[f"ingest: {JSON}, against Genesis"].ok is True


def test_nothing_is_claimed_of_a_peer_that_was_not_measured() -> None:
    assert ratios([]) == []
    took = {FLOOR: 4.0, "libesl": 18.0, "greenswitch": nan}
    lines = ratios([measured(name, [took[name]], [12.0]) for name in took])
    assert len(lines) == 2
    assert not any("greenswitch" in line.what for line in lines)


def test_a_machine_that_is_slower_in_some_rounds_changes_no_ratio() -> None:
    (line,) = ratios([measured("libesl", [2.0, 6.0, 2.0, 6.0, 4.0], [1.0, 3.0, 1.0, 3.0, 2.0])])
    assert line.ratio == "2.0"


def test_the_other_form_is_held_against_the_same_round() -> None:
    sides = [measured("libesl", [6.0, 12.0], [1.0, 2.0]), measured(PLAIN, [2.0, 4.0], [1.0, 2.0])]
    assert [(line.what, line.ratio, line.ok) for line in ratios(sides)] == [
        (f"ingest: {JSON}, against libesl", "6.0", True),
        (f"ingest: {PLAIN}, against libesl", "3.0", None),
    ]


def test_each_peer_with_a_target_is_one_that_is_installed() -> None:
    assert AT_LEAST.keys() <= {peer.name for peer in peers.PEERS}


def _peer(recipe: str, make: Callable[[], None]) -> Peer:
    return Peer("libother", "1.0", ("libother",), recipe, make)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(peers, "FOLDER", tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_a_peer_is_made_once_and_again_when_its_recipe_changes() -> None:
    made: list[str] = []
    for recipe in ("one", "one", "two", "two"):
        _peer(recipe, partial(made.append, recipe)).install()
    assert made == ["one", "two"]


@pytest.mark.usefixtures("folder")
def test_a_peer_that_could_not_be_made_is_tried_again() -> None:
    tries: list[str] = []

    def fail() -> None:
        tries.append("tried")
        raise Missing("there is no cc here")

    for _ in range(2):
        with pytest.raises(Missing, match="no cc"):
            _peer("one", fail).install()
    assert len(tries) == 2


@pytest.mark.parametrize("size", [7, 10_000])
def test_the_floor_cuts_out_as_many_frames_as_were_sent(size: int) -> None:
    body = b'{"Event-Name":"CHANNEL_CREATE"}' * 3 + b"\n\n"
    wire = b"Content-Length: %d\nContent-Type: text/event-json\n\n%b" % (len(body), body) * 40
    command = [sys.executable, "-m", "bench.children.floor", "frames"]
    with EventSocket() as server, Child([*command, str(server.port), "40"]) as client:
        client.wait_for("ready")
        for at in range(0, len(wire) - 1, size):
            server.play(wire[at : min(at + size, len(wire) - 1)])
        server.play(wire[-1:])
        client.wait_for("done")


def _sides(**cpu: float) -> Sides:
    return {name.replace("_", " "): Side([seconds], [1.0]) for name, seconds in cpu.items()}


def test_a_list_is_bounded_where_it_has_ten_thousand_calls_and_304_and_count_by_the_fewest() -> None:
    small = _sides(list_at_0=1e-4, constant=1e-4, count=1e-4) | {"304": Side([1e-4], [1.0])}
    large = _sides(list_at_0=12e-4, list_at_1000=21e-4, constant=10e-4, count=1.4e-4) | {
        "304": Side([1.2e-4], [1.0]),
        "HGETALL, json": Side([0.1], [100.0]),
    }
    verdicts = {line.what: line.ok for line in listing_lines({100: small, 10_000: large})}
    assert verdicts["listing: 100 calls, 0 changes/s"] is None
    assert verdicts["listing: 10,000 calls, 0 changes/s"] is True
    assert verdicts["listing: 10,000 calls, 1,000 changes/s"] is False
    assert verdicts["listing: 10,000 calls, HGETALL, json, against the list"] is False
    assert verdicts["listing: 304, 10,000 calls against 100"] is True
    assert verdicts["listing: count, 10,000 calls against 100"] is False


def test_a_list_is_held_against_the_constant_of_the_same_turn() -> None:
    took = {"constant": [1e-4, 3e-4, 1e-4], "list at 0": [2e-4, 6e-4, 9e-4], "304": [1e-4] * 3, "count": [1e-4] * 3}
    lines = listing_lines({100: {name: Side(slices, [1.0]) for name, slices in took.items()}})
    assert {line.what: line.ratio for line in lines}["listing: 100 calls, 0 changes/s"] == "2.00"


def test_without_a_redis_server_the_list_says_that_the_hash_was_not_measured() -> None:
    sides = _sides(list_at_0=1e-4, constant=1e-4, count=1e-4) | {"304": Side([1e-4], [1.0])}
    told = [line for line in listing_lines({100: sides}) if "could not be measured" in line.figure]
    assert [line.what for line in told] == ["listing: 100 calls, HGETALL"]


def test_every_move_of_a_played_call_changes_its_row() -> None:
    played = Played("json")
    table = CallTable("pbx")
    table.begin(same_run=False)
    uuid, begins = played.another(1)
    states = []
    for wire in (begins, *(move.replace(played.calls[0].encode(), uuid.encode()) for move in played.moves() * 2)):
        (frame,) = FrameReader().feed(wire)
        table.apply(decode_json(frame.body), 0.0)
        changes = table.take_changes()
        assert changes is not None
        states += [(record.call_id, record.state) for record in changes.updated]
    assert states == [(uuid, f"CS_{state}") for state in "INIT ROUTING EXECUTE ROUTING EXECUTE".split()]
