"""Does the deeds on a real switch, and writes down what came of them.

    FREESWITCH_PREFIX=… python -m tests.simulator.observe RUNS [DEED ...]

The deeds, all or those named, are done that often, because the order of some events is a race of two threads. What is
seen is added to `commands.json`; remove that file to begin anew.
"""

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.real.driver import Rig
from tests.real.switches import PASSWORD, RealSwitch, write_both
from tests.simulator.deeds import DEEDS, LEGS, SETTLE, Deed, Outcome, anonymous, line, written

FILE: Final = Path(__file__).with_name("commands.json")

FIRST_RTP: Final = (38000, 41000)
"""Where the media of the two switches begin."""


class Ear:
    """Hears every event of a switch and runs lines on it, one at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._answers: asyncio.Queue[str] = asyncio.Queue()
        self.events: list[dict[str, Any]] = []
        self.roles: dict[str, str] = {}

    @classmethod
    async def open(cls, port: int) -> "Ear":
        ear = cls(*await asyncio.open_connection("127.0.0.1", port, limit=2**22))
        await ear._frame()
        for command in (f"auth {PASSWORD}", "event json ALL"):
            ear._writer.write(f"{command}\n\n".encode())
            await ear._frame()
        return ear

    async def listen(self) -> None:
        while True:
            headers, body = await self._frame()
            if headers["Content-Type"] == "text/event-json":
                event = json.loads(body.decode("utf-8", "replace"))
                if event["Event-Name"] == "CHANNEL_CREATE":
                    self.roles.setdefault(event["Unique-ID"], LEGS[len(self.roles)])
                self.events.append(event)
            else:
                self._answers.put_nowait(headers.get("Reply-Text") or body.decode())

    async def run(self, command: str) -> str:
        self._writer.write(f"{command}\n\n".encode())
        return await self._answers.get()

    async def _frame(self) -> tuple[dict[str, str], bytes]:
        head = (await self._reader.readuntil(b"\n\n")).decode()
        headers = dict(header.split(": ", 1) for header in head.strip().split("\n"))
        return headers, await self._reader.readexactly(int(headers.get("Content-Length", 0)))

    def close(self) -> None:
        self._writer.close()


async def call(rig: Rig, kind: str) -> None:
    match kind:
        case "outbound":
            await rig.extension_calls(101, "0899123456")
        case "inbound":
            await rig.outsider_calls("101")
        case "local":
            await rig.extension_calls(101, "102")
        case "ringing":
            await rig.extension_begins(101, "0899000180")
        case _:
            return
    await asyncio.sleep(SETTLE)


async def do(rig: Rig, port: int, deed: Deed, outcome: Outcome) -> None:
    while await rig.channels():
        await rig.hang_up_all()
        await asyncio.sleep(0.1)
    ear = await Ear.open(port)
    listening = asyncio.create_task(ear.listen())
    await call(rig, deed.call)
    already, answers = len(ear.events), []
    for step in deed.steps:
        if not isinstance(step, str):
            await asyncio.sleep(step)
        elif step.startswith("bgapi "):
            await ear.run(line(step, ear.roles))
        else:
            answers.append(anonymous(await ear.run(f"api {line(step, ear.roles)}"), ear.roles))
    events = ear.events[already:]
    listening.cancel()
    ear.close()
    outcome.answers = answers
    outcome.jobs = [anonymous(event["_body"], ear.roles) for event in events if event["Event-Name"] == "BACKGROUND_JOB"]
    for leg, told in written(events, ear.roles).items():
        seen = outcome.legs.setdefault(leg, [])
        if told not in seen:
            seen.append(told)


async def observe(rig: Rig, port: int, runs: int, deeds: list[Deed]) -> dict[str, Outcome]:
    while not await rig.registered():  # noqa: ASYNC110 - a switch sets no event
        await asyncio.sleep(0.2)
    seen = msgspec.json.decode(FILE.read_bytes(), type=dict[str, Outcome]) if FILE.exists() else {}
    outcomes = {deed.name: seen.get(deed.name, Outcome()) for deed in DEEDS}
    for deed in deeds * runs:
        await do(rig, port, deed, outcomes[deed.name])
        print(deed.name, flush=True)
    return outcomes


async def main(runs: int, *names: str) -> None:
    deeds = [deed for deed in DEEDS if not names or deed.name in names]
    prefix = Path(os.environ["FREESWITCH_PREFIX"])
    with tempfile.TemporaryDirectory() as folder:
        pbx, phones = (
            RealSwitch(prefix, Path(folder) / name, rtp) for name, rtp in zip(("pbx", "phones"), FIRST_RTP, strict=True)
        )
        write_both(pbx, phones)
        try:
            pbx.start()
            phones.start()
            rig = await Rig.open(pbx, phones)
            outcomes = await observe(rig, pbx.port, runs, deeds)
            rig.close()
        finally:
            pbx.stop()
            phones.stop()
    FILE.write_bytes(msgspec.json.format(msgspec.json.encode(outcomes), indent=1) + b"\n")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))
