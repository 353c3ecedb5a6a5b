"""Several `callbridge run` on one Redis, as processes: killed, stopped, paused, and put to work."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from callbridge.sharing.share import LEASE
from tests.daemonkit import SECRET, Pbx
from tests.redis_server import RedisServer, needs_redis
from tests.service import TOKEN, until
from tests.storekit import CHANGES, HEAD, KEY, OWNER
from tests.test_cli_program import Program, program

pytestmark = needs_redis

TAKES_OVER_WITHIN = 15.0
STOPS_WITHIN = 2.0
"""Seconds: what is promised."""

TENANT = "test.tel4vn.com"
OF_TENANT = "a token of a tenant"


class Running:
    """A callbridge process and its API."""

    def __init__(self, process: Program, client: aiohttp.ClientSession, url: str) -> None:
        self.process = process
        self.url = url
        self._client = client

    @property
    def pid(self) -> int:
        return self.process.process.pid

    def send(self, number: signal.Signals) -> None:
        self.process.process.send_signal(number)

    async def get(self, path: str) -> Any:
        async with self._client.get(f"{self.url}{path}") as response:
            return await response.json()

    async def post(self, path: str, body: dict[str, str]) -> Any:
        async with self._client.post(f"{self.url}{path}", json=body) as response:
            return await response.json()

    async def place(self, key: str) -> tuple[int, Any]:
        """Click to call, under a key. Gives the status and the body."""
        headers = {"Authorization": f"Bearer {OF_TENANT}", "Idempotency-Key": key}
        body = {"ext": "101", "destination": "102"}
        async with self._client.post(f"{self.url}/v1/call", json=body, headers=headers) as response:
            return response.status, await response.json()

    async def serves(self, calls: set[str], seconds: float = 30.0) -> None:
        """Wait until exactly these calls are listed, and the list is said to be complete."""
        async with asyncio.timeout(seconds):
            while True:
                listed = await self.get("/v1/call")
                if listed["complete"] and {row["call_id"] for row in listed["data"]} == calls:
                    return


class Site:
    """A switch, a Redis, and callbridges on both."""

    def __init__(
        self, folder: Path, port: int, redis: RedisServer, client: "Redis", stack: AsyncExitStack, http: str
    ) -> None:
        self.redis = client
        self._stack = stack
        self.config = folder / "callbridge.toml"
        self.config.write_text(f"""
http = {{ {http} }}
store = {{ url = "{redis.url}" }}
switch = [{{ name = "pbx", address = "127.0.0.1:{port}", password = "{SECRET}" }}]
[[token]]
name = "all"
sha256 = "{sha256(TOKEN.encode()).hexdigest()}"
scopes = ["read", "control"]
[[token]]
name = "tenant"
sha256 = "{sha256(OF_TENANT.encode()).hexdigest()}"
scopes = ["control"]
tenant = "{TENANT}"
""")

    async def start(self, role: str = "all") -> Running:
        process = await self._stack.enter_async_context(program("run", "--role", role, "--config", str(self.config)))
        url = (await process.logs("daemon.listening"))["url"]
        headers = {"Authorization": f"Bearer {TOKEN}"}
        client = await self._stack.enter_async_context(aiohttp.ClientSession(headers=headers))
        return Running(process, client, url)

    async def pair(self, pbx: Pbx) -> tuple[Running, Running]:
        """An owner, and one that follows it."""
        owner = await self.start()
        await self.owner(owner)
        follower = await self.start()
        await follower.serves(pbx.calls)
        return owner, follower

    async def owner(self, running: Running, seconds: float = 30.0) -> None:
        """Wait until that one is the owner."""
        async with asyncio.timeout(seconds):
            while not str(await self.redis.get(OWNER)).endswith(f":{running.pid}'"):
                pass


@asynccontextmanager
async def site(folder: Path, pbx: Pbx, http: str = 'listen = "127.0.0.1:0"') -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(RedisServer(folder))
        await redis.start()
        client = await stack.enter_async_context(redis.client())
        yield Site(folder, await stack.enter_async_context(pbx.listen()), redis, client, stack, http)


async def test_all_serve_the_same_list_and_carry_out_every_command(tmp_path: Path) -> None:
    pbx = Pbx(10)
    async with site(tmp_path, pbx) as here:
        owner = await here.start()
        await here.owner(owner)
        follower, reader = await here.start(), await here.start("reader")
        for number, running in enumerate((owner, follower, reader)):
            await running.serves(pbx.calls)
            call = min(pbx.calls) if number else max(pbx.calls)
            assert await running.post(f"/v1/call/{call}/hold", {}) == {"status": "success", "call_id": call}
            pbx.hang_up(call)
            for other in (owner, follower, reader):
                await other.serves(pbx.calls)
                ended = await other.get(f"/v1/call/{call}")
                assert (ended["error"], bool(ended["cause"])) == ("CALL_ENDED", True)
        said = [(await running.get("/v1/switch"))["data"][0] for running in (owner, follower, reader)]
        assert {row["state"] for row in said} == {"live"}
        assert all(row["age"] < LEASE for row in said)


async def test_when_the_owner_is_killed_another_takes_over(tmp_path: Path) -> None:
    pbx = Pbx(10)
    async with site(tmp_path, pbx) as here:
        owner, follower = await here.pair(pbx)
        owner.send(signal.SIGKILL)
        pbx.hang_up(min(pbx.calls))
        pbx.call()
        await here.owner(follower, TAKES_OVER_WITHIN)
        await follower.serves(pbx.calls)
        assert set(await here.redis.hkeys(KEY)) == {call.encode() for call in pbx.calls}


async def test_when_the_owner_is_stopped_another_takes_over_before_its_lease_is_over(tmp_path: Path) -> None:
    pbx = Pbx(10)
    async with site(tmp_path, pbx) as here:
        owner, follower = await here.pair(pbx)
        owner.send(signal.SIGTERM)
        await here.owner(follower, STOPS_WITHIN)
        assert await owner.process.ends() == 0
        pbx.call()
        await follower.serves(pbx.calls)


async def test_one_that_was_paused_past_its_lease_never_writes_as_the_owner_again(tmp_path: Path) -> None:
    pbx = Pbx(10)
    async with site(tmp_path, pbx) as here:
        first, second = await here.pair(pbx)
        head: Any = await here.redis.hgetall(HEAD)
        first.send(signal.SIGSTOP)
        # What it hears of when it goes on, and would write.
        pbx.hang_up(min(pbx.calls))
        await here.owner(second, TAKES_OVER_WITHIN)
        await second.serves(pbx.calls)
        entries: Any = await here.redis.xrevrange(CHANGES, count=1)
        since = entries[0][0]
        first.send(signal.SIGCONT)
        await first.process.logs("switch.no_commands")
        for _ in range(5):
            pbx.call()
            await first.serves(pbx.calls)
            await second.serves(pbx.calls)
        written: Any = await here.redis.xrange(CHANGES, min=since)
        assert head[b"run"] not in {fields[b"run"] for _, fields in written}
        await here.owner(second)


async def test_a_request_that_is_repeated_at_another_daemon_is_carried_out_once(tmp_path: Path) -> None:
    pbx = Pbx(1)
    async with site(tmp_path, pbx) as here:
        daemons = await here.pair(pbx)
        asking = [asyncio.ensure_future(daemon.place("k")) for daemon in daemons * 3]
        async with asyncio.timeout(30):
            while not all(request.done() for request in asking):
                await asyncio.sleep(0)
                pbx.pass_time(0.05)
        (answer,) = {(status, body["call_id"]) for status, body in [await request for request in asking]}
        assert answer[0] == 200
        assert pbx.originated == 1


async def test_a_request_whose_daemon_was_killed_is_not_carried_out_by_another(tmp_path: Path) -> None:
    pbx = Pbx(1)
    async with site(tmp_path, pbx) as here:
        # Time stands still there, so no phone ever rings.
        one, two = await here.pair(pbx)
        first = asyncio.ensure_future(one.place("k"))
        await until(lambda: pbx.originated == 1, 30.0)
        one.send(signal.SIGKILL)
        with pytest.raises(aiohttp.ClientError):
            await first
        status, body = await two.place("k")
        assert (status, body["error"]) == (504, "OUTCOME_UNKNOWN")
        assert pbx.originated == 1


async def test_a_writer_serves_no_api_and_a_reader_serves_what_it_writes(tmp_path: Path) -> None:
    pbx = Pbx(10)
    async with site(tmp_path, pbx) as here, program("run", "--role", "writer", "--config", str(here.config)) as writer:
        await writer.logs("switch.live")
        reader = await here.start("reader")
        await reader.serves(pbx.calls)
        assert await writer.ends(signal.SIGTERM) == 0
        assert "daemon.listening" not in writer.err


@pytest.mark.parametrize("role", ["reader", "writer"])
async def test_a_role_is_nothing_without_a_redis(tmp_path: Path, role: str) -> None:
    config = tmp_path / "callbridge.toml"
    config.write_text('switch = [{ name = "pbx", address = "127.0.0.1:8021", password = "x" }]')
    async with program("run", "--role", role, "--config", str(config)) as running:
        assert await running.ends() == 78
    assert f"callbridge: the option --role: store.role: a {role} needs the Redis" in running.err
