"""A scripted switch that writes down every byte it is sent, one call on it, and a desk before both."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from callbridge.audit import Audit
from callbridge.commands.console import Console
from callbridge.commands.desk import Asker, Desk
from callbridge.commands.directory import Directory
from callbridge.commands.outcome import Refused
from callbridge.commands.work import Settings
from callbridge.esl.connection import Connection
from callbridge.mirror import Mirror
from callbridge.records import Ended, Leg, Monitor, Record
from callbridge.sharing.claims import Claims
from tests.esl.test_protocol import ACCEPTED, GREETING, output, reply
from tests.http.samples import record
from tests.service import PASSWORD, Clock, until

TENANT: Final = "a.example"
CALL: Final = "01b7d166-b564-42ec-80a1-4ad343225934"
"""The call, and its calling leg."""

CALLED: Final = "11b7d166-b564-42ec-80a1-4ad343225934"
ARRIVED: Final = "21b7d166-b564-42ec-80a1-4ad343225934"
"""The leg that appears where a transfer goes."""

SUPERVISOR: Final = "31b7d166-b564-42ec-80a1-4ad343225934"
"""A monitor."""

PHONE: Final = "41b7d166-b564-42ec-80a1-4ad343225934"
"""The channel of a phone that was rung, as a monitor or as a call."""

USERS: Final = ("101", "102", "103", "104")
NO_PHONE: Final = "115"
NO_CHANNEL: Final = "-ERR No such channel!"
AGENT: Final = Asker("crm", "192.0.2.9", TENANT)
OPERATOR: Final = Asker("operator", "192.0.2.9", None)

Answer = str | None | Awaitable[str]
"""What the switch says; None: it cuts the connection instead."""


def accepts(_: str) -> Answer:
    return "+OK"


class ScriptedSwitch:
    """An event socket that answers each command by its name as `answers` says, else with `+OK`."""

    def __init__(self) -> None:
        self.received = bytearray()
        """Every byte after the password."""
        self.answers: dict[str, Callable[[str], Answer]] = {}
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def lines(self) -> list[str]:
        """What it was told to do, without the names of jobs."""
        blocks = bytes(self.received).decode().split("\n\n")
        return [block.partition("\n")[0].partition(" ")[2] for block in blocks if block]

    def told(self, name: str) -> list[str]:
        """What it was told by the command of that name."""
        return [line for line in self.lines if line.partition(" ")[0] == name]

    def says(self, name: str, *answers: Answer) -> None:
        """Answer the command of that name so: each answer once, the last one from then on."""
        left = list(answers)

        def next_answer(_: str) -> Answer:
            return left.pop(0) if len(left) > 1 else left[0]

        self.answers[name] = next_answer

    def cut(self) -> None:
        """End all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            writer.write(GREETING)
            await reader.readuntil(b"\n\n")
            writer.write(ACCEPTED)
            while True:
                block = await reader.readuntil(b"\n\n")
                self.received += block
                await self._answer(block.decode(), writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _answer(self, block: str, writer: asyncio.StreamWriter) -> None:
        line, *headers = block.rstrip("\n").split("\n")
        verb, _, order = line.partition(" ")
        answer = self.answers.get(order.partition(" ")[0], accepts)(order)
        if answer is None:
            writer.transport.abort()
            raise ConnectionAbortedError
        if verb == "bgapi":
            (job,) = headers
            job = job.removeprefix("Job-UUID: ")
            writer.write(reply(f"+OK Job-UUID: {job}"))
            task = asyncio.get_running_loop().create_task(self._finish(job, answer, writer))
            self._tasks.add(task)
        else:
            writer.write(output((answer if isinstance(answer, str) else await answer) + "\n"))

    async def _finish(self, job: str, answer: str | Awaitable[str], writer: asyncio.StreamWriter) -> None:
        text = answer if isinstance(answer, str) else await answer
        body = msgspec.json.encode({"Event-Name": "BACKGROUND_JOB", "Job-UUID": job, "_body": f"{text}\n"})
        writer.write(b"Content-Length: %d\nContent-Type: text/event-json\n\n%s" % (len(body), body))


def leg(uuid: str, side: Any, number: str, *, kind: Any = "extension", **changes: Any) -> Leg:
    """A leg that talks."""
    talking = Leg(uuid, side, number, "", "CS_EXECUTE", kind, "ACTIVE", True)
    return msgspec.structs.replace(talking, **changes)


def talking(**changes: Any) -> Record:
    """Extension 101 talks to a mobile phone that it has called."""
    legs = (leg(CALL, "aleg", "101"), leg(CALLED, "bleg", "0899123456", kind="outside"))
    call_id = changes.pop("call_id", CALL)
    return record(call_id, **({"tenant": TENANT, "legs": legs, "ids": (CALLED,)} | changes))


def watching(
    mode: Any = "listen", state: Any = "active", watches: str = CALL, uuid: str = SUPERVISOR, channel: str = PHONE
) -> Monitor:
    return Monitor(uuid, "104", mode, state, watches, "2021-06-08 17:38:00", channel)


class Calls:
    """What the switch's calls become by what it is told: just so much that every command can succeed."""

    def __init__(self, switch: ScriptedSwitch, mirror: Mirror) -> None:
        self.mirror = mirror
        self.job: asyncio.Future[str] | None = None
        """Of the phones that were rung last."""
        self.rings = True
        """Whether a phone that is rung does."""
        self.arrives = True
        """Whether a phone rings where a call is transferred to."""
        for name in ("user_exists", "sofia_contact", "originate", "uuid_getvar"):
            switch.answers[name] = getattr(self, name)
        for name in ("hupall", "uuid_kill", "uuid_transfer", "uuid_park", "uuid_hold", "uuid_record", "uuid_setvar"):
            switch.answers[name] = getattr(self, name)
        self._variables: dict[tuple[str, str], str] = {}
        self._causes: list[tuple[str, str]] = []

    # What it is asked.

    def user_exists(self, line: str) -> str:
        _, extension, domain = line.split(" ")[1:]
        return "true" if extension in (*USERS, NO_PHONE) and domain == TENANT else "false"

    def sofia_contact(self, line: str) -> str:
        extension = line.removeprefix("sofia_contact */").partition("@")[0]
        return "error/user_not_registered" if extension == NO_PHONE else f"sofia/internal/sip:{extension}@192.0.2.7"

    def uuid_getvar(self, line: str) -> str:
        _, uuid, name = line.split(" ")
        return self._variables.get((uuid, name)) or "_undef_"

    # What it does.

    def uuid_setvar(self, line: str) -> str:
        _, uuid, name, value = [*line.split(" "), ""][:4]
        self._variables[uuid, name] = value
        return "+OK"

    def uuid_kill(self, line: str) -> str:
        uuid = line.split(" ")[1]
        found = self.mirror.find_on("pbx", uuid)
        if monitor := self.monitor_of(uuid):
            self.show_monitor(monitor.uuid, None)
        elif found is None or all(leg.uuid != uuid for leg in found.legs):
            return NO_CHANNEL
        else:
            self.drop(uuid, line.split(" ")[2])
        return "+OK"

    def hupall(self, line: str) -> str:
        _, cause, variable, rung_id = line.split(" ")
        assert variable == "callbridge_id"
        if self.job is not None and not self.job.done():
            self.job.set_result("-ERR ORIGINATOR_CANCEL")
        if self.mirror.find_monitor(rung_id, None):
            self.show_monitor(rung_id, None)
        elif self.mirror.find_on("pbx", rung_id):
            self.drop(PHONE, cause)
        return "+OK"

    def uuid_transfer(self, line: str) -> str:
        _, uuid, destination, *_ = line.split(" ")
        if destination.startswith("eavesdrop:"):
            modes: dict[tuple[str, str], Any] = {("false", "true"): "whisper", ("true", "true"): "barge"}
            heard = (self._variables[uuid, f"eavesdrop_whisper_{side}"] for side in ("aleg", "bleg"))
            mode = modes.get((next(heard), next(heard)), "listen")
            monitor = self.monitor_of(uuid)
            assert monitor is not None
            target = destination.removeprefix("eavesdrop:")
            self.show_monitor(monitor.uuid, watching(mode, watches=target, uuid=monitor.uuid, channel=uuid))
        elif self.arrives:
            now = self.of(uuid)
            side: Any = "bleg" if next(leg for leg in now.legs if leg.uuid == uuid).side == "aleg" else "aleg"
            arrived = leg(ARRIVED, side, destination, callstate="RINGING", answered=False)
            self.show(now, legs=(*now.legs, arrived), destination=destination)
        return "+OK"

    def uuid_park(self, line: str) -> str:
        self.change_leg(line.split(" ")[1], state="CS_PARK")
        return "+OK"

    def uuid_hold(self, line: str) -> str:
        *off, uuid = line.split(" ")[1:]
        self.change_leg(uuid, callstate="ACTIVE" if off else "HELD")
        return "+OK"

    def uuid_record(self, line: str) -> str:
        _, uuid, action, path = line.split(" ")
        on = action == "start"
        self.show(self.of(uuid), recording=path if on else None, recorded_leg=uuid if on else "")
        return "+OK"

    def originate(self, line: str) -> Awaitable[str]:
        self.job = asyncio.get_running_loop().create_future()
        if self.rings:
            self.ring(line)
        return self.job

    def ring(self, line: str) -> None:
        """One of the phones rings."""
        inside = line[line.index("{") + 1 : line.index("}")]
        variables = dict(pair.split("=") for pair in inside.split(","))
        rung_id = variables["callbridge_id"]
        if (watched := variables.get("callbridge_watches")) is not None:
            self.show_monitor(rung_id, watching("listen", "ringing", watched, rung_id))
        else:
            phone = leg(PHONE, "aleg", "101", callstate="RINGING", answered=False)
            self.show(talking(), call_id=rung_id, legs=(phone,), ids=())

    # How it shows.

    def of(self, uuid: str) -> Record:
        found = self.mirror.find_on("pbx", uuid)
        assert found is not None
        return found

    def monitor_of(self, channel: str) -> Monitor | None:
        """The monitor of a supervisor's channel."""
        return next((m for _, m in self.mirror.monitors(None) if m.channel == channel), None)

    def show(self, now: Record, **changes: Any) -> None:
        now = msgspec.structs.replace(now, **changes)
        ids = [leg.uuid for leg in now.legs if leg.uuid != now.call_id]
        now = msgspec.structs.replace(now, ids=tuple(dict.fromkeys((*now.ids, *ids))))
        self.mirror.apply("pbx", [now], (), (), 0.0)

    def show_monitor(self, uuid: str, monitor: Monitor | None) -> None:
        found = self.mirror.find_monitor(uuid, None)
        now = found[0] if found is not None else self.of(monitor.watches if monitor is not None else uuid)
        kept = tuple(other for other in now.monitors if other.uuid != uuid)
        self.show(now, monitors=(*kept, monitor) if monitor is not None else kept)

    def change_leg(self, uuid: str, **changes: Any) -> None:
        now = self.of(uuid)
        legs = [msgspec.structs.replace(leg, **changes) if leg.uuid == uuid else leg for leg in now.legs]
        self.show(now, legs=tuple(legs), state=changes.get("state", now.state))

    def join(self, younger: str, older: str) -> None:
        """Two calls become the older one."""
        joined, now = self.of(younger), self.of(older)
        now = msgspec.structs.replace(now, legs=now.legs + joined.legs, ids=(*now.ids, younger, *joined.ids))
        self.mirror.apply("pbx", [now], [younger], (), 0.0)

    def drop(self, uuid: str, cause: str = "NORMAL_CLEARING") -> None:
        """A leg ends; with the last one the call does."""
        now = self.of(uuid)
        legs = tuple(leg for leg in now.legs if leg.uuid != uuid)
        if legs:
            self._causes.append((uuid, cause))
            self.show(now, legs=legs)
        else:
            over = Ended(now.call_id, now.tenant, now.ids, "2021-06-08 17:40:00", cause, tuple(self._causes))
            self.mirror.apply("pbx", (), [now.call_id], [over], 0.0)


class Bench:
    """The desk, and everything before and behind it."""

    def __init__(self, audit: Path, recording: str, calls: tuple[Record, ...]) -> None:
        self.clock = Clock()
        self.mirror = Mirror(["pbx"])
        self.mirror.apply("pbx", calls, (), (), 0.0)
        self.switch = ScriptedSwitch()
        self.calls = Calls(self.switch, self.mirror)
        self.console = Console("pbx")
        self.audit = Audit(audit)
        self.directory = Directory({TENANT: ["0[0-9]{8,10}", "2000"]})
        self.settings = Settings(30, 10, recording, {"context.example": "from-context"})
        self.desk = self.make_desk(None)

    def make_desk(self, claims: Claims | None) -> Desk:
        """A desk before the switch; with claims, that of one daemon of several."""
        chosen = (self.directory, self.settings, self.audit)
        return Desk(self.mirror, {"pbx": self.console}, *chosen, self.clock, self.clock.sleep, claims)

    async def connect(self) -> None:
        """As a reflector does that has found the switch."""
        self.console.connection = await Connection.open("127.0.0.1", self.switch.port, PASSWORD)

    async def told(self, name: str, times: int = 1) -> None:
        """Wait until the switch has been told so."""
        await until(lambda: len(self.switch.told(name)) >= times)

    async def over_time(self, command: Coroutine[Any, Any, Any], seconds: float = 0.25) -> Any:
        """What becomes of a command while time passes in steps of so many seconds."""
        task = asyncio.ensure_future(command)
        async with asyncio.timeout(20):
            while not task.done():
                await asyncio.sleep(0)
                self.clock.pass_time(seconds)
        return await task


@asynccontextmanager
async def bench(
    tmp_path: Path, *calls: Record, connected: bool = True, recording: str = "/rec/{tenant}/{call_id}.wav"
) -> AsyncIterator[Bench]:
    """A bench with one call on it, unless others are given."""
    bench = Bench(tmp_path / "audit.jsonl", recording, calls or (talking(),))
    server = await asyncio.start_server(bench.switch.serve, "127.0.0.1", 0)
    bench.switch.port = server.sockets[0].getsockname()[1]
    try:
        if connected:
            await bench.connect()
        yield bench
    finally:
        await bench.desk.close()
        if bench.console.connection is not None:
            bench.console.connection.close()
        server.close()
        await bench.switch.close()


async def refused(command: Coroutine[Any, Any, Any]) -> Refused:
    """Why a command was not carried out."""
    try:
        done = await command
    except Refused as refusal:
        return refusal
    raise AssertionError(f"it was carried out: {done}")
