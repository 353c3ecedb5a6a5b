"""Calls on the real switches: who calls whom, and what the switch itself says of it.

The event-socket client here is a few lines of its own, so that callbridge is not judged by itself.
"""

import asyncio
import json
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from tests.real.hearing import tones_in
from tests.real.switches import PASSWORD, REGISTRATIONS, TENANTS, TONES, RealSwitch, tone

LISTEN_SECONDS: Final = 2
"""How long at most is listened to what a phone hears; the switch counts whole seconds of its own clock."""

AUDIBLE: Final = 40.0
"""Strength of a tone that is there; what is not there is below 1 (measured)."""


class Console:
    """Runs commands on a switch, one at a time."""

    def __init__(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.port = port
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> "Console":
        console = cls(port, *await asyncio.open_connection("127.0.0.1", port, limit=2**20))
        try:
            await console._reader.readuntil(b"\n\n")
            assert "+OK" in await console._ask(f"auth {PASSWORD}")
        except (OSError, asyncio.IncompleteReadError):
            console.close()
            raise
        return console

    async def api(self, line: str) -> str:
        """What the command gives."""
        return (await self._ask(f"api {line}")).strip()

    async def ok(self, line: str) -> str:
        """What the command gives after +OK; anything else fails the test."""
        answer = await self.api(line)
        assert answer.startswith("+OK"), f"{line}: {answer}"
        return answer.removeprefix("+OK").strip()

    async def listen(self, event: str) -> None:
        """Have events of that name come."""
        assert "+OK" in await self._ask(f"event plain {event}")

    async def fire(self, event: str, times: int) -> None:
        """Have the switch make an event of that name, again and again."""
        self._writer.write(f"sendevent {event}\n\n".encode() * times)
        for _ in range(times):
            await self._reader.readuntil(b"\n\n")

    async def ended(self) -> None:
        """Wait until the switch has closed the connection."""
        with suppress(ConnectionError):
            while await self._reader.read(4096):
                pass

    async def value(self, uuid: str, name: str) -> str:
        return await self.api(f"uuid_getvar {uuid} {name}")

    async def _ask(self, line: str) -> str:
        self._writer.write(line.encode() + b"\n\n")
        head = (await self._reader.readuntil(b"\n\n")).decode()
        headers = dict(header.split(": ", 1) for header in head.strip().split("\n"))
        if headers["Content-Type"] == "text/disconnect-notice":
            raise ConnectionResetError("the switch ends the connection: its event socket is being unloaded")
        if "Content-Length" in headers:
            return (await self._reader.readexactly(int(headers["Content-Length"]))).decode("utf-8", "replace")
        return headers["Reply-Text"]

    async def keys(self, uuid: str, number: int) -> str:
        """The next keys that come to a channel, of a console that does nothing else."""
        keys = ""
        while len(keys) < number:
            frame = dict(
                line.split(": ", 1) for line in (await self._reader.readuntil(b"\n\n")).decode().split("\n") if line
            )
            body = (await self._reader.readexactly(int(frame["Content-Length"]))).decode()
            event = dict(line.split(": ", 1) for line in body.split("\n") if line)
            if event.get("Unique-ID") == uuid:
                keys += unquote(event["DTMF-Digit"])
        self.close()
        return keys

    def close(self) -> None:
        self._writer.close()


def talk(who: str) -> str:
    """What a calling phone does once it is answered."""
    return f"'m:^:playback:{tone(who)}' inline"


class Rig:
    """Both switches, and the calls between them. A call is named by the calling phone's channel on `phones`."""

    def __init__(self, pbx: Console, phones: Console, folder: Path) -> None:
        self.pbx = pbx
        self.phones = phones
        self._folder = folder
        self._heard = count()

    @classmethod
    async def open(cls, pbx: RealSwitch, phones: RealSwitch) -> "Rig":
        return cls(await Console.open(pbx.port), await Console.open(phones.port), phones.folder / "recordings")

    def close(self) -> None:
        self.pbx.close()
        self.phones.close()

    async def registered(self) -> bool:
        text = await self.phones.api("sofia status gateway")
        # Not "UNREGED".
        return text.split().count("REGED") == REGISTRATIONS

    async def channels(self) -> dict[str, dict[str, Any]]:
        """uuid -> row of `show channels`."""
        rows = json.loads(await self.pbx.api("show channels as json")).get("rows", [])
        return {row["uuid"]: row for row in rows}

    async def hang_up_all(self) -> None:
        await self.phones.api("hupall")
        await self.pbx.api("hupall")

    async def extension_calls(self, extension: int, number: str, tenant: str = TENANTS[0]) -> str:
        """An extension's phone dials a number."""
        caller = f"{{origination_caller_id_number={extension},origination_caller_id_name='Agent {extension}'}}"
        return await self.phones.ok(
            f"originate {caller}sofia/gateway/{extension}-{tenant}/{number} {talk(str(extension))}"
        )

    async def outsider_calls(self, extension: str, tenant: str = TENANTS[0], number: str = "0911222333") -> str:
        """Somebody outside calls an extension through the trunk."""
        dialled = f"{'02' if tenant == TENANTS[0] else '03'}12345678{extension}"
        caller = f"{{origination_caller_id_number={number}}}"
        return await self.phones.ok(f"originate {caller}sofia/gateway/pbx/{dialled} {talk('outside')}")

    async def extension_begins(self, extension: int, number: str, tenant: str = TENANTS[0]) -> None:
        """An extension's phone dials, and nobody waits until it is answered."""
        caller = f"{{origination_caller_id_number={extension}}}"
        await self.phones.api(
            f"bgapi originate {caller}sofia/gateway/{extension}-{tenant}/{number} {talk(str(extension))}"
        )

    async def phone_of(self, extension: str) -> str:
        """The channel, on `phones`, of the phone that was called as `extension`."""
        rows = json.loads(await self.phones.api("show channels as json")).get("rows", [])
        return str(next(row["uuid"] for row in rows if row["dest"] == extension and row["direction"] == "inbound"))

    async def caller(self) -> str:
        """The channel, on `phones`, of the only phone that has called."""
        rows = json.loads(await self.phones.api("show channels as json")).get("rows", [])
        (uuid,) = [str(row["uuid"]) for row in rows if row["direction"] == "outbound"]
        return uuid

    async def keys(self, phone: str, number: int) -> asyncio.Task[str]:
        """Waits from now on for keys that come to a phone."""
        console = await Console.open(self.phones.port)
        await console.listen("DTMF")
        return asyncio.create_task(console.keys(phone, number))

    async def hears(self, phone: str) -> set[str]:
        """Whose tones the phone with that channel on `phones` hears now."""
        path = self._folder / f"{phone}-{next(self._heard)}.wav"
        await self.phones.ok(f"uuid_setvar {phone} RECORD_READ_ONLY true")
        await self.phones.ok(f"uuid_record {phone} start {path} {LISTEN_SECONDS}")
        give_up = time.monotonic() + 2 * LISTEN_SECONDS
        while (heard := tones_in(path, list(TONES.values()), LISTEN_SECONDS / 4)) is None:
            if time.monotonic() > give_up:
                # To a phone on hold nothing is sent at all, and what is not sent is not recorded.
                return set()
            await asyncio.sleep(0.05)
        return {who for who, hz in TONES.items() if heard[hz] > AUDIBLE}
