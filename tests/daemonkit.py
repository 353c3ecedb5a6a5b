"""A whole daemon in this process, as tests start it, and a simulated switch with calls for it to follow."""

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha256
from typing import Any

import aiohttp
import pytest
import structlog

from callbridge import logs
from callbridge import reflector as reflector_module
from callbridge.config import Config, Http, StoreConfig, Switch, Token
from callbridge.daemon import Daemon
from callbridge.sharing import share
from callbridge.simulator.server import EventSocket
from callbridge.simulator.switch import Switch as SimulatedSwitch
from callbridge.simulator.traffic import Load, Traffic
from callbridge.systemd import Notifier
from tests.service import TOKEN, Clock, until

SECRET = "Hush-5ecret"
"""The password of the event sockets here. "ClueCon" would not do: a switch says that word in its goodbye."""


def make_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the daemon, whose clock is the real one, wait next to nothing before a further list or attempt."""
    monkeypatch.setattr(reflector_module, "LIST_AT", (0.0, 0.001, 0.002))
    for module in (reflector_module, share):
        monkeypatch.setattr(module, "FIRST_RETRY", 0.001)
        monkeypatch.setattr(module, "LAST_RETRY", 0.01)


class Pbx:
    """A simulated switch with calls on it, whose time passes only for what a test does to it."""

    def __init__(self, live: int = 0, password: str = SECRET, seed: int = 1) -> None:
        self._clock = Clock()
        self._password = password
        self.switch = SimulatedSwitch(seed, clock=self._clock)
        self._traffic = Traffic(self.switch, Load(rate=0, duration=10_000, live=live), self._clock, seed)
        self.originated = 0
        """How often it was told to ring phones."""
        originate = self.switch.slow_commands["originate"]

        def counted(argument: str, reply: Any) -> None:
            self.originated += 1
            originate(argument, reply)

        self.switch.slow_commands["originate"] = counted
        # Its rows appear some time after its channels.
        self._clock.pass_time(1.0)

    @property
    def calls(self) -> set[str]:
        """The calls as the switch itself would count them: one for each leg that came in."""
        return {uuid for uuid, channel in self.switch.channels.items() if channel.inbound}

    def listen(self, port: int = 0) -> EventSocket:
        """Its event socket."""
        return EventSocket(self.switch, self._password, port=port)

    def call(self, tenant: str = "") -> str:
        """One more call."""
        call = self._traffic.place("outbound", talk=10_000, tenant=tenant)
        self.pass_time()
        return call.a.uuid

    def come_due(self, within: float) -> None:
        """Let all happen that is due, and all that is due within so many seconds of that."""
        while (due := self._traffic.advance()) is not None and due <= within:
            self._clock.pass_time(due)

    def hang_up(self, call_id: str) -> None:
        """End a call."""
        assert self.switch.api(f"uuid_kill {call_id}") == "+OK\n"
        self.pass_time()
        assert call_id not in self.calls

    def transfer(self, uuid: str) -> None:
        """Send the called leg of a call elsewhere; the leg that began the call ends."""
        assert self.switch.api(f"uuid_transfer {uuid} 102").startswith("+OK")
        self.pass_time()

    def pass_time(self, seconds: float = 5.0) -> None:
        """Let all happen that happens in that time."""
        for _ in range(round(seconds / 0.05)):
            self._clock.pass_time(0.05)
            self._traffic.advance()


def config(*ports: int, **more: Any) -> Config:
    """Follow the switches on these ports of loopback, pbx0, pbx1 and so on; listen on a free port."""
    return Config(
        switch=tuple(Switch(f"pbx{n}", f"127.0.0.1:{port}", password=SECRET) for n, port in enumerate(ports)),
        token=(Token("everything", sha256(TOKEN.encode()).hexdigest(), ("read",)),),
        http=Http(listen=more.pop("listen", "127.0.0.1:0"), reuse_port=more.pop("reuse_port", False)),
        store=StoreConfig(url=more.pop("store", "memory://")),
        **more,
    )


class Service:
    """A daemon that serves, and a client of its API."""

    def __init__(self, daemon: Daemon, running: "asyncio.Task[None]", client: aiohttp.ClientSession) -> None:
        self.daemon = daemon
        self.running = running
        self._client = client

    async def get(self, path: str) -> dict[str, Any]:
        """The body of an answer that is a success."""
        async with self._client.get(f"{self.daemon.url}{path}") as response:
            assert response.status == 200
            body: dict[str, Any] = await response.json()
            return body

    async def ids(self) -> set[str]:
        """The calls that are listed."""
        return {row["call_id"] for row in (await self.get("/v1/call"))["data"]}

    async def lists(self, pbx: Pbx) -> None:
        """Wait until exactly the calls of a switch are listed."""
        async with asyncio.timeout(20):
            while await self.ids() != pbx.calls:
                pass

    async def switch(self, state: str, error: str = "", name: str = "pbx0") -> dict[str, Any]:
        """Wait until a switch is said to be in that state, with these words in the reason; gives what is said."""
        async with asyncio.timeout(20):
            while True:
                (said,) = [row for row in (await self.get("/v1/switch"))["data"] if row["name"] == name]
                if said["state"] == state and error in (said["error"] or ""):
                    return dict(said)

    async def store(self, state: str) -> None:
        """Wait until the store is said to be in that state."""
        async with asyncio.timeout(20):
            while (await self.get("/v1/switch"))["store"]["state"] != state:
                pass


@asynccontextmanager
async def serving(config: Config, notifier: Notifier | None = None) -> AsyncIterator[Service]:
    """A daemon that serves; it is stopped at the end, and a failure of its own fails the test."""
    daemon = Daemon(config, notifier)
    running = asyncio.create_task(daemon.run())
    try:
        await until(lambda: daemon.serving.is_set() or running.done())
        if running.done():
            running.result()
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as client:
            yield Service(daemon, running, client)
    finally:
        daemon.stop()
        async with asyncio.timeout(20):
            await running


class Logged:
    """A log in the form of JSON, while it is written."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        """All of it."""
        return self.stream.getvalue()

    @property
    def records(self) -> list[dict[str, Any]]:
        """What is in it so far."""
        return [json.loads(line) for line in self.text.splitlines()]

    def errors(self, event: str) -> list[str]:
        """The reasons in the records of that event."""
        return [record["error"] for record in self.records if record["event"] == event]


@contextmanager
def restored_logging() -> Iterator[None]:
    """Undo at the end what `logs.set_up` does to the whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    try:
        yield
    finally:
        root.handlers = handlers
        root.setLevel(level)
        structlog.reset_defaults()


@contextmanager
def logged() -> Iterator[Logged]:
    """The log of what is done in here."""
    with restored_logging():
        log = Logged()
        logs.set_up("debug", "json", log.stream)
        yield log
