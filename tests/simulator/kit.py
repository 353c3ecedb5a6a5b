"""What the tests of the simulator share: a clock that stands still, a listener without a socket, a raw client."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from callbridge.esl.events import Event, decode
from callbridge.simulator.channel import Parties
from callbridge.simulator.machine import Machine
from callbridge.simulator.phones import Phones
from callbridge.simulator.scenarios import Call
from callbridge.simulator.switch import Switch
from callbridge.simulator.timeline import Timeline
from callbridge.simulator.traffic import Load, Traffic
from tests.recorded import Frame

START: Final = 1_795_458_117.0
"""2026-11-23 18:21:57 UTC, when the recordings were made."""

PATIENCE: Final = 20.0
"""Seconds after which a test that waits for a frame has failed."""

WHO: Final = {
    "outbound": Parties("test.tel4vn.com", "101", "Agent 101", "0899123456", "0899123456"),
    "inbound": Parties("test.tel4vn.com", "0911222333", "0911222333", "0212345678101", "101"),
    "local": Parties("test.tel4vn.com", "101", "Agent 101", "102", "102"),
    "busy": Parties("test.tel4vn.com", "101", "Agent 101", "0899123486", "0899123486"),
    "cancelled": Parties("test.tel4vn.com", "101", "Agent 101", "0899123180", "0899123180"),
    "hold": Parties("test.tel4vn.com", "101", "Agent 101", "0899123456", "0899123456"),
}
"""Who calls whom in the recording of each kind of call."""


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now

    def us(self) -> int:
        return round(self.now * 1e6)


class Heard:
    """A listener that keeps what it is given. `names`: what it has subscribed to, None for everything."""

    def __init__(self, form: str, names: frozenset[str] | None = None) -> None:
        self.form = form
        self.bodies: list[bytes] = []
        self._names = names

    def wants(self, name: str) -> bool:
        return self._names is None or name in self._names

    def deliver(self, form: str, event: bytes) -> None:
        assert form == self.form
        self.bodies.append(event)

    @property
    def frames(self) -> list[Frame]:
        return [Frame({"Content-Type": f"text/event-{self.form}"}, body, b"") for body in self.bodies]

    @property
    def events(self) -> list[Event]:
        return [decode(f"text/event-{self.form}", body) for body in self.bodies]


class World:
    """A switch with its traffic and two listeners, one for each form, on a clock that stands still."""

    def __init__(
        self,
        load: Load | None = None,
        seed: int = 0,
        names: frozenset[str] | None = None,
        phones: Phones | None = None,
    ) -> None:
        self.clock = Clock()
        self.switch = Switch(seed, self.clock.us, self.clock)
        self.json, self.plain = Heard("json", names), Heard("plain", names)
        self.switch.listeners += [self.json, self.plain]
        self.traffic = Traffic(self.switch, load or Load(rate=0), self.clock, seed, phones)

    def heard(self, form: str) -> Heard:
        return self.json if form == "json" else self.plain

    def wait(self, seconds: float) -> None:
        """Let time pass for the calls that are under way."""
        end = self.clock.now + seconds
        while (due := self.traffic.advance()) is not None and self.clock.now + due <= end:
            self.clock.now += due
        self.clock.now = end

    def finish(self) -> None:
        """Let every call come to its end."""
        while (due := self.traffic.advance()) is not None:
            self.clock.now += due

    async def run(self, seconds: float) -> None:
        """Let the traffic itself place calls, for that time."""
        end = self.clock.now + seconds

        async def sleep(pause: float) -> None:
            if self.clock.now + pause > end:
                raise TimeIsUp
            self.clock.now += pause

        try:
            await self.traffic.run(sleep)
        except TimeIsUp:
            self.clock.now = end

    def rows(self) -> list[dict[str, str]]:
        """The rows that the switch shows."""
        answer: dict[str, list[dict[str, str]]] = json.loads(self.switch.api("show channels as json"))
        return answer.get("rows", [])


class TimeIsUp(Exception):
    """Ends a traffic that would run for ever."""


def simulate(kind: str, form: str, names: frozenset[str] | None = None, *, caller_hangs_up: bool = True) -> list[Frame]:
    """All events of one simulated call between the parties of the recording of that kind."""
    clock, heard = Clock(), Heard(form, names)
    switch = Switch(0, clock.us, clock)
    switch.listeners.append(heard)
    machine = Machine(switch, Timeline(clock), Phones())
    for pause in Call(machine, kind, WHO[kind], caller_hangs_up=caller_hangs_up).run():
        clock.now += pause
    return heard.frames


class Client:
    """A bare client of an event socket, which knows frames and nothing else."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.events: list[Frame] = []
        """Events that came while an answer was waited for."""

    def send(self, text: str) -> None:
        """Send bytes as they are."""
        self._writer.write(text.encode())

    def leave(self) -> None:
        """Close the connection."""
        self._writer.close()

    async def frame(self) -> Frame:
        """The next frame. Raises IncompleteReadError at the end of the connection."""
        async with asyncio.timeout(PATIENCE):
            head = await self._reader.readuntil(b"\n\n")
            headers = dict(line.split(": ", 1) for line in head.decode().strip("\n").split("\n"))
            body = await self._reader.readexactly(int(headers.get("Content-Length", 0)))
        return Frame(headers, body, head + body)

    async def rest(self) -> bytes:
        """What comes before the server closes."""
        async with asyncio.timeout(PATIENCE):
            return await self._reader.read()

    async def answer(self) -> str:
        """The next answer: the words of a reply, or the output of a command. Events before it are kept."""
        while (frame := await self.frame()).is_event:
            self.events.append(frame)
        return frame.headers.get("Reply-Text", frame.body.decode())

    async def command(self, text: str) -> str:
        """Send a command and wait for its answer."""
        self.send(f"{text}\n\n")
        return await self.answer()

    async def heard(self) -> list[Event]:
        """The events that have come up to now."""
        assert await self.command("nonsense") == "-ERR command not found"
        frames, self.events = self.events, []
        return [decode(frame.headers["Content-Type"], frame.body) for frame in frames]


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    """A connection that nobody has said anything on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def logged_in(port: int, *commands: str) -> AsyncIterator[Client]:
    """A connection that is logged in and has sent these commands."""
    async with connected(port) as client:
        assert (await client.frame()).wire == b"Content-Type: auth/request\n\n"
        assert await client.command("auth ClueCon") == "+OK accepted"
        for command in commands:
            assert (await client.command(command)).startswith("+OK")
        yield client
