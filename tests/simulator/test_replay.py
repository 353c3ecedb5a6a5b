"""A recording played by the simulator: the switch's own bytes, at their own time, and answers that fit them."""

import json
import lzma
from pathlib import Path

import pytest

from callbridge.esl.events import decode, decode_json
from callbridge.simulator.replay import Replay, read_recording
from callbridge.simulator.server import EventSocket
from tests import recorded
from tests.recorded import Frame
from tests.simulator.kit import logged_in


def path_of(name: str) -> Path:
    return recorded.FOLDER / f"{name}.esl.xz"


def events_of(name: str) -> list[Frame]:
    return [frame for frame in recorded.load(name).frames if frame.is_event]


def listed(replay: Replay) -> dict[str, str]:
    """uuid -> created, of the channels that it says there are."""
    answer = replay.api("show channels as delim |")
    if answer == "\n0 total.\n":
        return {}
    header, *lines = answer.partition("\n\n")[0].split("\n")
    rows = [dict(zip(header.split("|"), line.split("|"), strict=True)) for line in lines]
    return {row["uuid"]: row["created"] for row in rows}


# Reading.


@pytest.mark.parametrize("name", ["outbound_answered", "json_outbound_answered", "odd_bytes.plain", "odd_bytes.json"])
def test_a_recording_is_read_whole(name: str) -> None:
    events, frames = read_recording(path_of(name)), events_of(name)
    assert [event.wire for event in events] == [frame.wire for frame in frames]
    assert [event.headers["Event-Name"] for event in events] == [frame.event["Event-Name"] for frame in frames]
    assert [event.sequence for event in events] == [int(frame.event["Event-Sequence"]) for frame in frames]


def test_a_recording_need_not_be_compressed(tmp_path: Path) -> None:
    plain = tmp_path / "local.esl"
    plain.write_bytes(lzma.decompress(path_of("local_answered").read_bytes()))
    assert read_recording(plain) == read_recording(path_of("local_answered"))
    assert repr(Replay.load(plain)) == repr(Replay.load(path_of("local_answered"))) == "<Replay 0 of 62 events>"


@pytest.mark.parametrize(
    ("name", "wire", "words"),
    [
        ("empty.esl", b"", "holds no events of an event socket"),
        ("greeting.esl", b"Content-Type: auth/request\n\n", "holds no events of an event socket"),
        ("text.esl", b"Once upon a time", "is no recording of an event socket"),
        ("text.esl.xz", b"Once upon a time", "cannot be unpacked"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, name: str, wire: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(wire)
    with pytest.raises(ValueError, match=words) as caught:
        read_recording(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["local_answered", "json_outbound_answered"])
def test_a_recording_that_was_cut_off_is_refused(tmp_path: Path, name: str) -> None:
    whole = lzma.decompress(path_of(name).read_bytes())
    path = tmp_path / "cut.esl"
    for length in (len(whole) - 1, len(whole) // 2, 100, 10):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut\.esl ends in the middle of a frame"):
            read_recording(path)


# Playing.


@pytest.mark.parametrize("name", ["two_tenants", "json_transfer_outbound_bleg", "odd_bytes.plain", "odd_bytes.json"])
async def test_a_subscriber_to_everything_gets_the_switchs_own_bytes(name: str) -> None:
    replay, frames = Replay.load(path_of(name)), events_of(name)
    async with EventSocket(replay) as port, logged_in(port, "event plain ALL") as client:
        replay.play()
        assert [(await client.frame()).wire for _ in frames] == [frame.wire for frame in frames]
        assert await client.heard() == []
    assert repr(replay) == f"<Replay {len(frames)} of {len(frames)} events>"


async def test_everybody_gets_what_he_has_subscribed_to() -> None:
    replay, frames = Replay.load(path_of("inbound_answered")), events_of("inbound_answered")
    async with (
        EventSocket(replay) as port,
        logged_in(port, "event plain CHANNEL_CREATE CHANNEL_DESTROY") as calls,
        logged_in(port, "event plain BACKGROUND_JOB") as jobs,
        logged_in(port) as nobody,
    ):
        replay.play()
        wanted = [frame for frame in frames if frame.event["Event-Name"] in ("CHANNEL_CREATE", "CHANNEL_DESTROY")]
        assert len(wanted) == 4
        assert [(await calls.frame()).wire for _ in wanted] == [frame.wire for frame in wanted]
        assert [await calls.heard(), await jobs.heard(), await nobody.heard()] == [[], [], []]


async def test_it_plays_up_to_and_with_an_event_and_goes_on_from_there() -> None:
    replay, frames = Replay.load(path_of("outbound_answered")), events_of("outbound_answered")
    async with EventSocket(replay) as port, logged_in(port, "event plain ALL") as client:
        replay.play(8226)
        first = await client.heard()
        assert first[-1].sequence == 8226
        assert repr(replay) == f"<Replay {len(first)} of {len(frames)} events>"
        replay.play()
        rest = await client.heard()
        assert first + rest == [decode(frame.headers["Content-Type"], frame.body) for frame in frames]
        replay.play()
        assert await client.heard() == []


@pytest.mark.parametrize("speed", [1, 4, 0.5])
async def test_it_plays_at_so_many_times_the_speed_of_the_recording(speed: float) -> None:
    replay = Replay.load(path_of("outbound_answered"))
    events = read_recording(path_of("outbound_answered"))
    passed, seen = [0.0], []

    async def sleep(seconds: float) -> None:
        assert seconds >= 0
        passed[0] += seconds
        seen.append(f"{replay!r} after {passed[0] * speed:.2f} s")

    await replay.run(speed, sleep)
    wanted = [(event.us - events[0].us) / 1e6 for event in events]
    assert seen == [f"<Replay {n} of {len(events)} events> after {at:.2f} s" for n, at in enumerate(wanted)]


async def test_speed_zero_is_as_fast_as_it_goes_and_lets_others_run() -> None:
    replay = Replay.load(path_of("outbound_answered"))
    pauses = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    await replay.run(0, sleep)
    assert repr(replay) == "<Replay 57 of 57 events>"
    assert pauses == [0] * 57


# Answering.


@pytest.mark.parametrize("name", recorded.SMALL)
def test_at_each_checkpoint_it_lists_what_the_switch_listed(name: str) -> None:
    recording, replay = recorded.load(name), Replay.load(path_of(name))
    for sequence, checkpoint in recording.checkpoints.items():
        replay.play(sequence)
        rows = checkpoint.get("show_channels", {}).get("rows", [])
        wanted = {row["uuid"]: row["created"] for row in rows}
        found = listed(replay)
        assert found == wanted, checkpoint["note"]
        assert replay.api("show channels as delim |").endswith(f"\n{len(wanted)} total.\n")
        assert all(replay.api(f"uuid_exists {uuid}") == "true" for uuid in wanted)


def test_channels_that_were_there_before_are_listed_from_the_start() -> None:
    about = recorded.load("switch_shutdown").about["joined_with"]["show_channels"]
    replay = Replay.load(path_of("switch_shutdown"))
    assert about
    assert listed(replay) == {row["uuid"]: row["created"] for row in about}
    for row in about:
        dump = decode_json(replay.api(f"uuid_dump {row['uuid']} json").encode())
        assert (dump.uuid, dump.state, dump.sequence) == (row["uuid"], row["state"], 1)


@pytest.mark.parametrize("name", ["transfer_both", "json_transfer_outbound_bleg"])
def test_a_dump_says_what_the_events_up_to_then_said(name: str) -> None:
    replay = Replay.load(path_of(name))
    known: set[str] = set()
    variables: dict[str, set[str]] = {}
    highest = 0
    for frame in events_of(name):
        event = frame.event
        replay.play(int(event["Event-Sequence"]))
        highest = max(highest, int(event["Event-Sequence"]))
        uuid = event.get("Unique-ID", "")
        known |= {uuid} if event["Event-Name"] == "CHANNEL_CREATE" else set()
        known -= {uuid} if event["Event-Name"] == "CHANNEL_DESTROY" else set()
        if uuid not in known:
            assert replay.api(f"uuid_dump {uuid} json") == "-ERR No such channel!\n"
            assert replay.api(f"uuid_exists {uuid}") == "false"
        else:
            if "variable_uuid" in event:
                variables[uuid] = {name for name in event if name.startswith("variable_")}
            dump = json.loads(replay.api(f"uuid_dump {uuid} json"))
            assert (dump["Event-Name"], dump["Event-Sequence"]) == ("CHANNEL_DATA", str(highest + 1))
            for header in ("Unique-ID", "Channel-State", "Channel-Call-State", "Caller-Destination-Number"):
                assert dump.get(header) == event.get(header)
            assert {name for name in dump if name.startswith("variable_")} == variables[uuid]
    assert len(variables) > 2


async def test_it_answers_over_the_socket_what_the_reader_of_a_switch_asks() -> None:
    replay = Replay.load(path_of("outbound_answered"))
    replay.play(8226)
    core = events_of("outbound_answered")[0].event["Core-UUID"]
    async with EventSocket(replay) as port, logged_in(port, "event json BACKGROUND_JOB") as client:
        assert await client.command("api global_getvar core_uuid") == core
        assert await client.command("api sing") == "-ERR sing Command not found!\n"
        assert await client.command("api uuid_dump 123 json") == "-ERR No such channel!\n"
        await client.command("bgapi show channels as delim |")
        while not client.events:
            client.events.append(await client.frame())
        event = client.events[0].event
        assert event["Event-Name"] == "BACKGROUND_JOB"
        assert event["_body"] == replay.api("show channels as delim |")
        assert event["_body"].endswith("\n2 total.\n")
