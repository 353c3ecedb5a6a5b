"""Calls on the real switches: who calls whom, and what the switch itself says of it.

The event-socket client here is a few lines of its own, so that callbridge is not judged by itself.
"""

import asyncio
import json
from typing import Any, Final

from tests.real.switches import PASSWORD, TENANTS, RealSwitch

TALK: Final = "'m:^:playback:tone_stream://%(1000000,0,500);loops=-1' inline"
"""What a calling phone does once it is answered."""


class Console:
    """Runs commands on a switch, one at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> "Console":
        console = cls(*await asyncio.open_connection("127.0.0.1", port, limit=2**20))
        await console._reader.readuntil(b"\n\n")
        assert "+OK" in await console._ask(f"auth {PASSWORD}")
        return console

    async def api(self, line: str) -> str:
        """What the command gives."""
        return (await self._ask(f"api {line}")).strip()

    async def ok(self, line: str) -> str:
        """What the command gives after +OK; anything else fails the test."""
        answer = await self.api(line)
        assert answer.startswith("+OK"), f"{line}: {answer}"
        return answer.removeprefix("+OK").strip()

    async def value(self, uuid: str, name: str) -> str:
        return await self.api(f"uuid_getvar {uuid} {name}")

    async def _ask(self, line: str) -> str:
        self._writer.write(line.encode() + b"\n\n")
        head = (await self._reader.readuntil(b"\n\n")).decode()
        headers = dict(header.split(": ", 1) for header in head.strip().split("\n"))
        if "Content-Length" in headers:
            return (await self._reader.readexactly(int(headers["Content-Length"]))).decode("utf-8", "replace")
        return headers["Reply-Text"]

    def close(self) -> None:
        self._writer.close()


class Rig:
    """Both switches, and the calls between them. A call is named by the calling phone's channel on `phones`."""

    def __init__(self, pbx: Console, phones: Console) -> None:
        self.pbx = pbx
        self.phones = phones

    @classmethod
    async def open(cls, pbx: RealSwitch, phones: RealSwitch) -> "Rig":
        return cls(await Console.open(pbx.port), await Console.open(phones.port))

    def close(self) -> None:
        self.pbx.close()
        self.phones.close()

    async def registered(self) -> bool:
        text = await self.phones.api("sofia status gateway")
        return text.count("REGED") == 12

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
        return await self.phones.ok(f"originate {caller}sofia/gateway/{extension}-{tenant}/{number} {TALK}")

    async def outsider_calls(self, extension: str, tenant: str = TENANTS[0], number: str = "0911222333") -> str:
        """Somebody outside calls an extension through the trunk."""
        dialled = f"{'02' if tenant == TENANTS[0] else '03'}12345678{extension}"
        caller = f"{{origination_caller_id_number={number}}}"
        return await self.phones.ok(f"originate {caller}sofia/gateway/pbx/{dialled} {TALK}")

    async def extension_begins(self, extension: int, number: str, tenant: str = TENANTS[0]) -> None:
        """An extension's phone dials, and nobody waits until it is answered."""
        caller = f"{{origination_caller_id_number={extension}}}"
        await self.phones.api(f"bgapi originate {caller}sofia/gateway/{extension}-{tenant}/{number} {TALK}")

    async def phone_of(self, extension: str) -> str:
        """The channel, on `phones`, of the phone that was called as `extension`."""
        rows = json.loads(await self.phones.api("show channels as json")).get("rows", [])
        return str(next(row["uuid"] for row in rows if row["dest"] == extension and row["direction"] == "inbound"))
