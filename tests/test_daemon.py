"""The whole daemon in this process: a simulated switch on one side, HTTP and a real Redis on the other."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from callbridge.commands.desk import Asker
from callbridge.commands.outcome import Refused
from callbridge.commands.requests import Place
from callbridge.config import AuditConfig, Config, Switch, Tenant, Token
from callbridge.daemon import Daemon
from callbridge.errors import StartError
from callbridge.esl.events import Event
from callbridge.mirror import Mirror
from callbridge.records import Record
from callbridge.simulator.traffic import Load
from callbridge.store import MemoryStore
from tests.daemonkit import Pbx, Service, config, make_quick, serving
from tests.http.streaming import Reader
from tests.redis_server import RedisServer, free_port, needs_redis
from tests.service import TOKEN, until

CRM = "a token that may place calls"
KEY = "callbridge:{pbx0}:calls"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    make_quick(monkeypatch)


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with RedisServer(tmp_path) as server:
        yield server


async def holds(redis: RedisServer, calls: set[str]) -> None:
    """Wait until Redis has exactly these calls."""
    async with asyncio.timeout(20), redis.client() as client:
        while {str(name, "utf-8") for name in await client.hkeys(KEY) if isinstance(name, bytes)} != calls:
            pass


# It serves.


async def test_calls_of_a_switch_are_served_and_followed() -> None:
    pbx = Pbx(20)
    async with pbx.listen() as port, serving(config(port)) as service:
        await service.switch("live")
        assert await service.ids() == pbx.calls
        assert (await service.get("/v1/call"))["complete"] is True
        assert (await service.get("/v1/switch"))["store"] == {"state": "embedded", "error": None}
        new = pbx.call()
        pbx.hang_up(min(pbx.calls - {new}))
        await service.lists(pbx)
        assert new in await service.ids()
        assert repr(service.daemon).startswith("<Daemon http://127.0.0.1:")


async def test_a_switch_that_is_away_does_not_keep_the_calls_of_another_from_being_served() -> None:
    here, away = Pbx(5), Pbx(3, seed=2)
    late = free_port()
    async with here.listen() as port, serving(config(port, late)) as service:
        said = await service.switch("down", "cannot be reached", "pbx1")
        assert str(late) in said["error"]
        await service.switch("live", name="pbx0")
        assert await service.ids() == here.calls
        assert (await service.get("/v1/call"))["complete"] is False
        async with away.listen(late):
            said = await service.switch("live", name="pbx1")
            assert said["error"] is None
            assert await service.ids() == here.calls | away.calls
            assert (await service.get("/v1/call"))["complete"] is True


async def test_a_switch_whose_name_cannot_be_looked_up_ends_nothing() -> None:
    wrong = Switch("pbx0", "pbx..example:8021", password="x")
    async with serving(msgspec.structs.replace(config(8021), switch=(wrong,))) as service:
        await service.switch("down", "pbx..example:8021 cannot be reached: this is no name of a host")


# Redis.


@pytest.mark.redis
@needs_redis[1]
async def test_redis_has_the_calls_that_are_served(redis: RedisServer) -> None:
    await redis.start()
    pbx = Pbx(20)
    async with pbx.listen() as port, serving(config(port, store=redis.url)) as service:
        await service.switch("live")
        await holds(redis, pbx.calls)
        await service.store("up")
        pbx.hang_up(min(pbx.calls))
        pbx.call()
        await holds(redis, pbx.calls)


@pytest.mark.redis
@needs_redis[1]
async def test_calls_are_served_while_redis_is_away_and_written_when_it_comes(redis: RedisServer) -> None:
    pbx = Pbx(20)
    async with pbx.listen() as port, serving(config(port, store=redis.url)) as service:
        await service.switch("live")
        await service.store("down")
        pbx.call()
        await service.lists(pbx)
        assert (await service.get("/v1/call"))["complete"] is True
        await redis.start()
        await service.store("up")
        await holds(redis, pbx.calls)


@pytest.mark.redis
@needs_redis[1]
async def test_the_next_one_takes_over_the_port_and_makes_redis_right(redis: RedisServer) -> None:
    await redis.start()
    pbx = Pbx(10)
    listen = f"127.0.0.1:{free_port()}"
    async with pbx.listen() as port:
        async with serving(config(port, store=redis.url, listen=listen)) as first:
            await first.switch("live")
            await holds(redis, pbx.calls)
            before = pbx.calls
            # Its client keeps the connection; that is no reason to keep the port.
            first.daemon.stop()
            await first.running
        pbx.hang_up(min(before))
        await holds(redis, before)
        async with serving(config(port, store=redis.url, listen=listen)) as second:
            await second.switch("live")
            await holds(redis, pbx.calls)
            assert await second.ids() == pbx.calls


@pytest.mark.redis
@needs_redis[1]
async def test_a_call_keeps_its_id_when_another_takes_over_and_when_all_start_anew(redis: RedisServer) -> None:
    await redis.start()
    pbx = Pbx(3)
    call_id = min(pbx.calls)
    async with pbx.listen() as port:
        async with serving(config(port, store=redis.url)) as first:
            await first.switch("live")
            left = (await first.get(f"/v1/call/{call_id}"))["data"]["legs"][1]["uuid"]
            pbx.transfer(left)
            assert call_id not in pbx.switch.channels
            mirror = first.daemon.mirror
            await until(lambda: [leg.uuid for leg in _found(mirror, call_id).legs][:1] == [left])
            async with serving(config(port, store=redis.url)) as second:
                await second.switch("live")
                assert not second.daemon.fleet.reflectors["pbx0"].leading
                first.daemon.stop()
                await first.running
                await until(lambda: second.daemon.fleet.reflectors["pbx0"].sure)
                assert _found(second.daemon.mirror, left) == _found(mirror, left)
                known = _found(second.daemon.mirror, left)
        async with serving(config(port, store=redis.url)) as anew:
            await until(lambda: anew.daemon.fleet.reflectors["pbx0"].sure)
            for uuid in (call_id, left):
                assert _found(anew.daemon.mirror, uuid) == known
            assert known.call_id == call_id


def _found(mirror: Mirror, uuid: str) -> Record:
    found = mirror.find(uuid, None)
    assert found is not None
    return found


# Another configuration.


@asynccontextmanager
async def reloading(first: Config) -> AsyncIterator[tuple[Daemon, Callable[[Config], Awaitable[None]]]]:
    """A daemon that serves, and a way to have it take over another configuration."""
    current = first
    daemon = Daemon(first, read=lambda: current)
    running = asyncio.create_task(daemon.run())
    await until(daemon.serving.is_set)

    async def take_over(config: Config) -> None:
        nonlocal current
        current = config
        before = daemon._config
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: daemon._config is not before and not daemon._reload.is_set())

    try:
        yield daemon, take_over
    finally:
        daemon.stop()
        await running


async def test_a_switch_s_entry_that_leads_to_another_switch_drops_the_calls_of_the_first() -> None:
    one, other = Pbx(3), Pbx(2, seed=2)
    async with one.listen() as port, other.listen() as another, reloading(config(port)) as (daemon, take_over):
        await until(lambda: daemon.mirror.complete)
        call_id = min(one.calls)
        await take_over(config(another))
        await until(lambda: daemon.mirror.complete and call_id not in _listed(daemon))
        assert _listed(daemon) == other.calls
        assert daemon.mirror.find_ended(call_id, None, daemon.clock()) is None


async def test_commands_go_by_the_new_tenants_and_are_written_to_the_new_audit_log(tmp_path: Path) -> None:
    pbx = Pbx(3)
    asker, wanted = Asker("crm", "192.0.2.9", Load().tenants[0]), Place("101", "0899123456", wait=True)
    async with pbx.listen() as port, reloading(control(port, tmp_path)) as (daemon, take_over):
        await until(lambda: daemon.mirror.complete)
        with pytest.raises(Refused, match="no extension 0899123456"):
            await daemon.desk.place(asker, wanted)
        allowed = (Tenant(Load().tenants[0], destinations=("0[0-9]+",)),)
        await take_over(
            msgspec.structs.replace(control(port, tmp_path), tenant=allowed, audit=AuditConfig(f"{tmp_path}/second"))
        )
        placing = asyncio.create_task(daemon.desk.place(asker, wanted))
        await passes_time(pbx, placing)
        assert await placing == wanted.call_id
    assert len((tmp_path / "audit").read_text().splitlines()) == 2
    assert '"success"' in (tmp_path / "second").read_text()


@pytest.mark.redis
@needs_redis[1]
async def test_the_lease_of_a_switch_that_leaves_is_given_up(redis: RedisServer) -> None:
    await redis.start()
    one, other = Pbx(3), Pbx(2, seed=2)
    async with (
        one.listen() as port,
        other.listen() as another,
        reloading(config(port, another, store=redis.url)) as (daemon, take_over),
        redis.client() as client,
    ):
        await until(lambda: daemon.mirror.complete)
        assert await client.exists("callbridge:{pbx0}:owner", "callbridge:{pbx1}:owner") == 2
        await take_over(config(port, store=redis.url))
        await until(lambda: list(daemon.mirror.switches) == ["pbx0"])
        assert await client.exists("callbridge:{pbx0}:owner") == 1
        assert await client.exists("callbridge:{pbx1}:owner") == 0
        assert _listed(daemon) == one.calls


def _listed(daemon: Daemon) -> set[str]:
    return {entry.record.call_id for entry in daemon.mirror.listing(None)}


# Its end.


async def test_at_its_end_it_leaves_the_switch_and_the_port() -> None:
    pbx = Pbx(3)
    server = pbx.listen()
    async with server as port:
        async with serving(config(port)) as service:
            await service.switch("live")
            assert len(server.sessions) == 2
            api = int(service.daemon.url.rpartition(":")[2])
        await until(lambda: not server.sessions)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", api)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_and_is_then_the_process_s_own_again(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    async with serving(config(free_port())) as service:
        os.kill(os.getpid(), number)
        await until(service.running.done)
    assert signal.getsignal(number) in (before, signal.SIG_DFL, signal.default_int_handler)


async def test_one_that_is_stopped_before_it_serves_ends_at_once() -> None:
    daemon = Daemon(config(free_port()))
    daemon.stop()
    async with asyncio.timeout(20):
        await daemon.run()


@pytest.mark.parametrize("turns", range(8))
async def test_it_ends_even_if_the_switch_goes_in_the_same_moment(turns: int) -> None:
    pbx = Pbx(3)
    server = pbx.listen()
    async with server as port, serving(config(port)) as service:
        await service.switch("live")
        server.disconnect("")
        for _ in range(turns):
            await asyncio.sleep(0)
        service.daemon.stop()
        await until(service.running.done)


def control(port: int, tmp_path: Path) -> Config:
    """The switch on that port, and a token that may place calls."""
    own = config(port, audit=AuditConfig(f"{tmp_path}/audit"))
    token = Token("crm", sha256(CRM.encode()).hexdigest(), ("control",), Load().tenants[0])
    return msgspec.structs.replace(own, token=(*own.token, token))


async def begins_to_stop(service: Service, stop: Callable[[], None]) -> None:
    """Stop it: it closes connections on which nothing is under way, and takes no new ones."""
    address = ("127.0.0.1", int(service.daemon.url.rpartition(":")[2]))
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET /v1/call HTTP/1.1\r\nHost: api\r\n\r\n")
    assert b"UNAUTHORIZED" in await reader.readuntil(b"}")
    stop()
    async with asyncio.timeout(20):
        assert await reader.read() == b""
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)


async def passes_time(pbx: Pbx, until_done: "asyncio.Task[Any]") -> None:
    """Let time pass at the switch until that is done."""
    async with asyncio.timeout(20):
        while not until_done.done():
            pbx.call()
            await asyncio.sleep(0)


async def test_what_is_under_way_ends_before_it_does_and_nothing_new_begins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("callbridge.daemon.SHUTDOWN_TIMEOUT", 600.0)
    pbx = Pbx(3)
    async with pbx.listen() as port, serving(control(port, tmp_path)) as service, aiohttp.ClientSession() as client:
        await service.switch("live")
        asked = {"ext": "101", "destination": "102"}
        url, headers = f"{service.daemon.url}/v1/call", {"Authorization": f"Bearer {CRM}"}
        placing = asyncio.create_task(client.post(f"{url}?wait=answer", json=asked, headers=headers))
        # No time passes at the switch, so the phone does not answer.
        await until((tmp_path / "audit").exists)
        await begins_to_stop(service, service.daemon.stop)
        assert not service.running.done()
        await passes_time(pbx, placing)
        async with await placing as response:
            assert response.status == 200, await response.text()
        await service.running


async def test_a_command_whose_consumer_has_gone_ends_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("callbridge.daemon.SHUTDOWN_TIMEOUT", 600.0)
    pbx = Pbx(3)
    async with pbx.listen() as port, serving(control(port, tmp_path)) as service:
        await service.switch("live")
        asker, wanted = Asker("crm", "192.0.2.9", Load().tenants[0]), Place("101", "102", wait=True)
        placing = asyncio.create_task(service.daemon.desk.place(asker, wanted))
        await until((tmp_path / "audit").exists)
        placing.cancel()
        service.daemon.stop()
        await passes_time(pbx, service.running)
        outcomes = [json.loads(line).get("outcome") for line in (tmp_path / "audit").read_text().splitlines()]
        assert outcomes == [None, "success"]


async def test_a_second_signal_ends_it_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("callbridge.daemon.SHUTDOWN_TIMEOUT", 600.0)
    async with serving(control(free_port(), tmp_path)) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(service.daemon.url.rpartition(":")[2]))
        head = f"POST /v1/call HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {CRM}\r\nContent-Length: 2"
        # What it waits for never comes.
        writer.write(f"{head}\r\nExpect: 100-continue\r\n\r\n".encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await begins_to_stop(service, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert not service.running.done()
        os.kill(os.getpid(), signal.SIGTERM)
        await until(service.running.done)
        assert await reader.read() == b""
        writer.close()


async def test_the_kernel_is_told_to_drop_a_client_that_takes_nothing() -> None:
    async with serving(config(free_port())) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(service.daemon.url.rpartition(":")[2]))
        writer.write(b"GET / HTTP/1.1\r\nHost: api\r\n\r\n")
        await reader.readline()
        with other_end(writer.get_extra_info("sockname")) as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        writer.close()


def other_end(of: object) -> socket.socket:
    """The connection of this process whose peer has that address."""
    for number in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found = socket.socket(fileno=os.dup(int(number.name)))
            with suppress(OSError):
                if found.getpeername() == of:
                    return found
            found.close()
    raise AssertionError(f"nobody is connected to {of}")


@pytest.mark.redis
@needs_redis[1]
async def test_a_redis_that_hangs_does_not_hold_up_the_end(redis: RedisServer) -> None:
    await redis.start()
    pbx = Pbx(3)
    async with pbx.listen() as port:
        async with serving(config(port, store=redis.url)) as service:
            await service.store("up")
            redis.freeze()
            pbx.call()
            await service.lists(pbx)
            service.daemon.stop()
            await until(service.running.done, seconds=3.0)
        redis.thaw()


# Behind one port with others.


@pytest.mark.redis
@needs_redis[1]
async def test_one_that_shares_its_port_listens_when_it_has_the_calls(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callbridge.daemon.KNOWN_WITHIN", 600.0)
    pbx = Pbx(3)
    port = free_port()
    async with pbx.listen() as switch, asyncio.TaskGroup() as tasks:
        daemon = Daemon(config(switch, store=redis.url, listen=f"127.0.0.1:{port}", reuse_port=True))
        running = tasks.create_task(daemon.run())
        await until(lambda: daemon.fleet.store.status.error not in (None, "not connected yet"))
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await redis.start()
        await until(lambda: daemon.serving.is_set() or running.done())
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        daemon.stop()


@pytest.mark.redis
@needs_redis[1]
async def test_one_that_shares_its_port_listens_after_a_while_without_redis(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callbridge.daemon.KNOWN_WITHIN", 0.1)
    pbx = Pbx(3)
    listen = f"127.0.0.1:{free_port()}"
    async with (
        pbx.listen() as switch,
        serving(config(switch, store=redis.url, listen=listen, reuse_port=True)) as service,
    ):
        await service.store("down")


async def test_a_client_is_told_that_its_connection_ends_before_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callbridge.daemon.LINGER", 600.0)
    async with serving(config(free_port())) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(service.daemon.url.rpartition(":")[2]))
        request = b"GET /v1/call HTTP/1.1\r\nHost: api\r\n\r\n"
        writer.write(request)
        assert b"Connection: close" not in await reader.readuntil(b"}")
        service.daemon.stop()
        writer.write(request)
        assert b"\r\nConnection: close\r\n" in await reader.read()
        writer.close()
        # With the last connection, and not when its time is up.
        await until(service.running.done)


# Failures of its own.


async def test_a_failure_on_an_event_ends_it_with_the_reason() -> None:
    def fail(_: Event, __: float) -> None:
        raise ZeroDivisionError("a bug")

    async def run_into(pbx: Pbx, port: int) -> None:
        async with serving(config(port)) as service:
            await service.switch("live")
            service.daemon.fleet.reflectors["pbx0"].table.apply = fail  # type: ignore[assignment]
            pbx.call()
            await until(service.running.done)

    pbx = Pbx(3)
    async with pbx.listen() as port:
        with pytest.raises(ExceptionGroup) as failure:
            await run_into(pbx, port)
    assert failure.group_contains(ZeroDivisionError, match="a bug")


async def test_a_failure_of_the_store_ends_it_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(_: MemoryStore, __: str) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(MemoryStore, "run", run)
    daemon = Daemon(config(free_port()))
    with pytest.raises(ExceptionGroup) as failure:
        await daemon.run()
    assert failure.group_contains(ZeroDivisionError, match="a bug")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", int(daemon.url.rpartition(":")[2]))


@pytest.mark.parametrize("host", ["pbx..example", "host.invalid", "192.0.2.1"])
async def test_an_address_that_is_not_this_machine_s_cannot_be_listened_on(host: str) -> None:
    with pytest.raises(StartError, match=f"cannot listen on {host}:8080: .*[a-z]$"):
        await Daemon(config(free_port(), listen=f"{host}:8080")).run()


async def test_a_port_that_is_taken_is_said_and_no_switch_is_bothered() -> None:
    pbx = Pbx()
    server = pbx.listen()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        async with server as port:
            with pytest.raises(StartError, match=f"^cannot listen on {address}: Address already in use$"):
                await Daemon(config(port, listen=address)).run()
            assert not server.sessions


async def test_streams_end_with_the_daemon_and_not_when_its_time_is_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("callbridge.daemon.SHUTDOWN_TIMEOUT", 600.0)
    pbx = Pbx(live=3)
    async with pbx.listen() as port, aiohttp.ClientSession() as client:
        async with serving(config(port)) as service:
            await service.switch("live")
            reader = Reader(client, f"{service.daemon.url}/v1/call/stream", TOKEN)
            await reader.connect()
            await reader.next("switch")
            assert set(reader.rows) == pbx.calls
            service.daemon.stop()
        # It has stopped by now.
        while not reader.ended:
            await reader.read()
        reader.cut()
