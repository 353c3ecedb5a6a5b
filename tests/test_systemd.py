"""What systemd is told, read from a socket of the kind that it listens on."""

import asyncio
import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from callbridge import daemon as daemon_module
from callbridge.reflector import Reflector
from callbridge.systemd import Notifier
from tests.daemonkit import Pbx, config, make_quick, serving
from tests.redis_server import free_port

OFTEN = {"WATCHDOG_USEC": "3000"}
"""A watchdog that wants to be fed every three milliseconds, which no test has to wait for."""


class Systemd:
    """The socket, and what has come in on it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)

    def notifier(self, **environment: str) -> Notifier:
        return Notifier({"NOTIFY_SOCKET": self.address, **environment})

    async def next(self) -> str:
        """The next message."""
        async with asyncio.timeout(20):
            return (await asyncio.get_running_loop().sock_recv(self.socket, 4096)).decode()

    async def until(self, start: str) -> list[str]:
        """The messages up to and with the next that begins so."""
        messages = [await self.next()]
        while not messages[-1].startswith(start):
            messages.append(await self.next())
        return messages

    def read(self) -> list[str]:
        """What is there now."""
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages


@pytest.fixture(params=["a path", "an abstract name"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    path = f"{tmp_path}/notify"
    listening = Systemd(path if request.param == "a path" else f"@callbridge-test{path}")
    yield listening
    listening.socket.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    make_quick(monkeypatch)


# The messages.


def test_each_message_is_a_datagram_of_its_own(systemd: Systemd) -> None:
    notifier = systemd.notifier()
    notifier.ready()
    notifier.status("3 calls; 1 of 2 switches live")
    notifier.alive()
    notifier.stopping()
    assert systemd.read() == ["READY=1", "STATUS=3 calls; 1 of 2 switches live", "WATCHDOG=1", "STOPPING=1"]
    notifier.reloading()
    (message,) = systemd.read()
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=[0-9]+", message)


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/there/is/no/such/socket"}])
def test_without_a_systemd_nothing_happens(environment: dict[str, str]) -> None:
    notifier = Notifier(environment)
    for tell in (notifier.ready, notifier.alive, notifier.stopping):
        tell()
    notifier.status("fine")
    assert notifier.watchdog_seconds == 0


def test_the_environment_is_that_of_the_process(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", systemd.address)
    monkeypatch.setenv("WATCHDOG_USEC", "90000000")
    monkeypatch.setenv("WATCHDOG_PID", f"{os.getpid()}")
    notifier = Notifier()
    notifier.ready()
    assert systemd.read() == ["READY=1"]
    assert notifier.watchdog_seconds == 90


@pytest.mark.parametrize("text", ["", "soon", "-1", "1.5", "²"])
def test_a_time_that_is_none_is_no_watchdog(text: str) -> None:
    assert Notifier({"WATCHDOG_USEC": text}).watchdog_seconds == 0


def test_a_watchdog_of_another_process_is_not_ours() -> None:
    assert Notifier({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": f"{os.getppid()}"}).watchdog_seconds == 0


def test_a_systemd_that_does_not_read_holds_nothing_up(systemd: Systemd) -> None:
    notifier = systemd.notifier()

    def tell() -> None:
        # More than any kernel keeps for a reader.
        for _ in range(10_000):
            notifier.alive()

    # In a thread, so that a failure does not hang the tests as well.
    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


# The daemon.


async def test_it_says_that_it_is_ready_when_it_listens_and_that_it_stops(systemd: Systemd) -> None:
    pbx = Pbx(7)
    async with pbx.listen() as port, serving(config(port), systemd.notifier(**OFTEN)) as service:
        assert await systemd.next() == "READY=1"
        await service.switch("live")
        await systemd.until("STATUS=7 calls; 1 of 1 switches live")
        service.daemon.stop()
        await service.running
        assert [message for message in systemd.read() if not message.startswith(("STATUS", "WATCHDOG"))] == [
            "STOPPING=1"
        ]


async def test_the_watchdog_is_fed_while_a_switch_is_away(systemd: Systemd) -> None:
    async with serving(config(free_port()), systemd.notifier(**OFTEN)):
        assert "STATUS=0 calls; 0 of 1 switches live" in await systemd.until("WATCHDOG=1")
        await systemd.until("WATCHDOG=1")


async def test_the_watchdog_starves_while_the_task_of_a_switch_is_stuck(
    systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(_: Reflector) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Reflector, "run", hang)
    async with serving(config(free_port(), free_port()), systemd.notifier(**OFTEN)) as service:
        moving, stuck = service.daemon.fleet.reflectors.values()
        now = stuck.turned
        service.daemon.clock = lambda: now
        await systemd.until("WATCHDOG=1")
        now += daemon_module.STUCK_AFTER
        moving.turned = now
        # What was sent before the clock moved, and the last round with the old time.
        await systemd.until("STATUS")
        systemd.read()
        await systemd.until("STATUS")
        messages = [message for _ in range(3) for message in await systemd.until("STATUS")]
        assert all(message.startswith("STATUS") for message in messages)
        stuck.turned = now
        await systemd.until("WATCHDOG=1")
