"""Two switches for the whole run, and callbridge in front of one of them for each test."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
import pytest

from callbridge.config import AuditConfig, Commands, Config, Http, Switch, Tenant, Token
from callbridge.daemon import Daemon
from tests import truth
from tests.real.driver import Rig
from tests.real.switches import PASSWORD, TENANTS, RealSwitch, running_pair

POLL: Final = 0.02
"""Seconds between two looks at what a switch does in its own time."""

TOKEN: Final = "everything"
TENANT_TOKENS: Final = dict(zip(TENANTS, ("first", "second"), strict=True))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a switch these are skipped, and the report says why."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.switch)
            if "FREESWITCH_PREFIX" not in os.environ:
                item.add_marker(pytest.mark.skip("needs FreeSWITCH; FREESWITCH_PREFIX says where it is installed"))


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> None:
    """Wait until `condition` holds; what the switch does, it does in its own time."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - a switch sets no event
            await asyncio.sleep(POLL)


@pytest.fixture(scope="session")
def switches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealSwitch, RealSwitch]]:
    with running_pair(tmp_path_factory.mktemp("switches"), 30000) as pair:
        yield pair


@pytest.fixture
async def rig(switches: tuple[RealSwitch, RealSwitch]) -> AsyncIterator[Rig]:
    """The switches with registered phones and without any call."""
    rig = await Rig.open(*switches)
    await eventually(rig.registered, 60)

    async def quiet() -> bool:
        await rig.hang_up_all()
        return not await rig.channels()

    await eventually(quiet)
    yield rig
    await rig.hang_up_all()
    rig.close()


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: dict[str, Any]
    location: str


class Service:
    """callbridge before the switch, as a consumer sees it."""

    def __init__(self, rig: Rig, client: aiohttp.ClientSession, url: str) -> None:
        self.rig = rig
        self._client = client
        self._url = url

    async def get(self, path: str, token: str = TOKEN) -> dict[str, Any]:
        async with self._client.get(self._url + path, headers={"Authorization": f"Bearer {token}"}) as response:
            body: dict[str, Any] = await response.json()
            return body | {"status_code": response.status}

    async def ask(self, method: str, path: str, body: Any = None, token: str = TOKEN) -> Answer:
        headers = {"Authorization": f"Bearer {token}"}
        async with self._client.request(method, self._url + path, json=body, headers=headers) as response:
            return Answer(response.status, await response.json(), response.headers.get("Location", ""))

    async def post(self, path: str, **body: str) -> Answer:
        return await self.ask("POST", path, body)

    async def rows(self, token: str = TOKEN) -> list[dict[str, Any]]:
        return list((await self.get("/v1/call", token))["data"])

    async def call(self, call_id: str) -> dict[str, Any]:
        return dict((await self.get(f"/v1/call/{call_id}"))["data"])

    async def shows(self, calls: int, **fields: str) -> list[dict[str, Any]]:
        """Wait until the list has that many calls, each right by what the switch says, the first with these fields."""
        rows: list[dict[str, Any]] = []

        async def right() -> bool:
            nonlocal rows
            rows = await self.rows()
            if len(rows) != calls or any(rows[0][name] != value for name, value in fields.items()):
                return False
            return all([await self.agrees(row) for row in rows])

        try:
            await eventually(right)
        except TimeoutError:
            channels = await self.rig.channels()
            pytest.fail(f"wanted {calls} calls {fields}; the list has {rows}; the switch says {channels}")
        return rows

    async def agrees(self, row: dict[str, Any]) -> bool:
        """Whether a row says what the switch says of one of its call's channels."""
        call = (await self.get(f"/v1/call/{row['call_id']}")).get("data", {"legs": []})
        channels = await self.rig.channels()
        for uuid in dict.fromkeys([row["call_id"], *(leg["uuid"] for leg in call["legs"])]):
            if uuid in channels:
                try:
                    truth.check_row(row, channels[uuid])
                except AssertionError:
                    continue
                return True
        return False


def configuration(port: int, folder: Path, events: Any = "json") -> Config:
    def token(name: str, text: str, tenant: str | None) -> Token:
        return Token(name, sha256(text.encode()).hexdigest(), ("read", "control", "monitor"), tenant)

    tokens = [token("all", TOKEN, None), *(token(text, text, tenant) for tenant, text in TENANT_TOKENS.items())]
    switch = Switch("pbx", f"127.0.0.1:{port}", password=PASSWORD, events=events)
    return Config(
        switch=(switch,),
        token=tuple(tokens),
        tenant=tuple(Tenant(name, destinations=("0[0-9]{8,10}", "2000", "3[0-9]{3}")) for name in TENANTS),
        commands=Commands(ring_seconds=10, park_seconds=3, recording=f"{folder}/{{tenant}}/{{call_id}}.wav"),
        audit=AuditConfig(f"{folder}/audit.jsonl"),
        http=Http(listen="127.0.0.1:0"),
    )


Serve = Callable[..., Awaitable[Service]]


@pytest.fixture
async def serve(rig: Rig, switches: tuple[RealSwitch, RealSwitch], tmp_path: Path) -> AsyncIterator[Serve]:
    """Starts callbridge when the test says so, and waits until the switch is live."""
    running: list[tuple[Daemon, asyncio.Task[None]]] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:

        async def start(events: str = "json") -> Service:
            daemon = Daemon(configuration(switches[0].port, tmp_path, events))
            running.append((daemon, asyncio.create_task(daemon.run())))
            async with asyncio.timeout(10):
                await daemon.serving.wait()
            service = Service(rig, client, daemon.url)

            async def live() -> bool:
                return bool((await service.get("/v1/call"))["complete"])

            await eventually(live)
            return service

        yield start
    for daemon, task in running:
        daemon.stop()
        await task


@pytest.fixture
async def service(serve: Serve) -> Service:
    """callbridge, live, before any call."""
    return await serve()
