"""Every recording of a real switch: sent over TCP as the switch sent it, and read through HTTP at every checkpoint."""

import asyncio
import itertools
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from callbridge import reflector as reflector_module
from callbridge.callset import SPLIT_AFTER
from callbridge.simulator.replay import RecordedEvent, Replay, read_recording
from callbridge.simulator.server import EventSocket
from callbridge.table import EVENTS
from tests import recorded, truth
from tests.service import Clock, Followed, api, following, until

PAUSE = 0.1
"""Seconds without an event that tell two bursts of a recording apart; nothing is settled within one."""


@pytest.fixture(autouse=True)
def _quick_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recording's time passes as fast as it goes; so do the looks at what it brings."""
    monkeypatch.setattr(reflector_module, "TICK", 0.001)


def bursts(events: list[RecordedEvent], stops: set[int | None]) -> list[list[RecordedEvent]]:
    """The events as they came: in bursts, each of which ends at a pause or at a checkpoint."""
    parts: list[list[RecordedEvent]] = [[]]
    for before, event in itertools.pairwise([events[0], *events]):
        if event.us - before.us > PAUSE * 1e6 or before.sequence in stops:
            parts.append([])
        parts[-1].append(event)
    return [part for part in parts if part]


async def rows(client: TestClient[Any, Any]) -> list[dict[str, Any]]:
    response = await client.get("/v1/call")
    body = await response.json()
    assert body["total"] == len(body["data"])
    return list(body["data"])


async def show(path: Path, recording: recorded.Recording, port: int, replay: Replay) -> Followed:
    """Play the recording and hold what HTTP says against every checkpoint."""
    events = read_recording(path)
    checkpoints = recording.checkpoints
    form = "json" if b"text/event-json" in recording.wire else "plain"
    clock = Clock(events[0].us / 1e6 - 2.0)
    async with following(port, events=form, clock=clock) as followed, api(followed) as client:
        await followed.live()
        for burst in bursts(events, set(checkpoints)):
            clock.move_to(burst[0].us / 1e6)
            await followed.settled()
            last = burst[-1].sequence
            replay.play(last)
            # The last that is asked for: what comes after it in the burst is not sent at all.
            wanted = max((e.sequence for e in burst if e.headers.get("Event-Name") in EVENTS), default=0)
            await until(lambda wanted=wanted: followed.sequence >= wanted, 100.0)  # type: ignore[misc]
            if last in checkpoints:
                # Each was taken when the switch had been quiet for a while.
                clock.move_to(burst[-1].us / 1e6 + SPLIT_AFTER)
                await followed.settled()
                truth.check(await rows(client), checkpoints.pop(last), recording)
        if None in checkpoints:
            truth.check(await rows(client), checkpoints.pop(None), recording)
        assert not checkpoints
        assert (await rows(client)) == []
        assert repr(followed.reflector.table) == "<CallTable pbx: <CallSet 0 calls, 0 channels>>"
        ends = any(event.headers.get("Event-Name") == "SHUTDOWN" for event in events)
        assert followed.status.state == ("stale" if ends else "live")
    return followed


async def byte_by_byte(port: int) -> asyncio.Server:
    """A way to the switch on `port` that hands on every byte by itself."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, step: int) -> None:
        try:
            # Either side may reset its connection at the end, while a byte is still on its way.
            with suppress(ConnectionError):
                while data := await reader.read(65536):
                    for start in range(0, len(data), step):
                        writer.write(data[start : start + step])
                        await asyncio.sleep(0)
        finally:
            writer.close()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(relay(reader, far_writer, 65536))
            tasks.create_task(relay(far_reader, writer, 1))

    return await asyncio.start_server(join, "127.0.0.1", 0)


@pytest.mark.parametrize("name", recorded.NAMES)
async def test_a_recording_gives_the_right_list_at_every_checkpoint(name: str) -> None:
    path = recorded.FOLDER / f"{name}.esl.xz"
    replay = Replay.load(path)
    async with EventSocket(replay) as port:
        await show(path, recorded.load(name), port, replay)


@pytest.mark.parametrize("name", [name for name in recorded.SMALL if not name.startswith(("json_", "odd_bytes"))])
async def test_so_does_the_same_recording_as_event_json(name: str, tmp_path: Path) -> None:
    recording = recorded.load(name).as_json()
    path = tmp_path / f"{name}.esl"
    path.write_bytes(recording.wire)
    (tmp_path / f"{name}.json").write_text((recorded.FOLDER / f"{name}.json").read_text())
    replay = Replay.load(path)
    async with EventSocket(replay) as port:
        await show(path, recording, port, replay)


@pytest.mark.parametrize("name", ["outbound_answered", "json_outbound_answered", "switch_shutdown"])
async def test_so_does_a_recording_that_comes_byte_by_byte(name: str) -> None:
    path = recorded.FOLDER / f"{name}.esl.xz"
    replay = Replay.load(path)
    async with EventSocket(replay) as port, await byte_by_byte(port) as slow:
        await show(path, recorded.load(name), slow.sockets[0].getsockname()[1], replay)
