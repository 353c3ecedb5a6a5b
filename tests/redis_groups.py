"""Several redis-servers on loopback that are one Redis: under Sentinel, or as a Cluster."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from redis.exceptions import RedisError

from tests.redis_server import RedisServer

MASTER: Final = "mymaster"
PATIENCE: Final = 60.0
"""Seconds that servers may take to find each other; it takes one or two."""


class Watched:
    """A master, its replica and a sentinel over them."""

    def __init__(self, master: RedisServer, replica: RedisServer, sentinel: RedisServer) -> None:
        self.master = master
        self.replica = replica
        self.sentinel = sentinel

    @property
    def url(self) -> str:
        # The first one is never there.
        return f"redis+sentinel://127.0.0.1:1,127.0.0.1:{self.sentinel.port}/{MASTER}/0"

    async def fail_over(self) -> None:
        """The replica is the master from now on."""
        async with self.sentinel.client() as client:
            await client.execute_command("SENTINEL", "FAILOVER", MASTER)  # type: ignore[no-untyped-call]
        await self.failed_over()

    async def failed_over(self) -> None:
        """Wait until the replica is the master."""

        async def is_master() -> bool:
            # Whoever asks in that moment is cut off by the sentinel.
            with suppress(RedisError):
                async with self.replica.client() as client:
                    return bool((await client.info("replication"))["role"] == "master")
            return False

        await eventually(is_master)


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[Watched]:
    """Redis under Sentinel."""
    async with AsyncExitStack() as stack:
        servers = []
        for name in ("master", "replica"):
            (folder / name).mkdir()
            servers.append(await stack.enter_async_context(RedisServer(folder / name)))
        master, replica = servers
        replica.options = ("--replicaof", f"127.0.0.1 {master.port}")
        for server in servers:
            await server.start()
        (folder / "sentinel").mkdir()
        config = folder / "sentinel" / "sentinel.conf"
        lines = [f"sentinel monitor {MASTER} 127.0.0.1 {master.port} 1"]
        lines += [f"sentinel down-after-milliseconds {MASTER} 1000", f"sentinel failover-timeout {MASTER} 10000"]
        config.write_text("\n".join(lines) + "\n")
        sentinel = await stack.enter_async_context(RedisServer(folder / "sentinel", config=config))
        await sentinel.start()
        group = Watched(master, replica, sentinel)

        async def complete() -> bool:
            async with master.client() as client, sentinel.client() as asked:
                known = await asked.execute_command("SENTINEL", "REPLICAS", MASTER)  # type: ignore[no-untyped-call]
                synced = (await client.info("replication")).get("slave0", {}).get("state") == "online"
                return len(known) == 1 and synced

        await eventually(complete)
        yield group


@asynccontextmanager
async def clustered(folder: Path, size: int = 3) -> AsyncIterator[list[RedisServer]]:
    """The nodes of a Redis Cluster, all masters, each with its part of the slots."""
    async with AsyncExitStack() as stack:
        nodes = []
        for number in range(size):
            (folder / str(number)).mkdir()
            options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
            nodes.append(await stack.enter_async_context(RedisServer(folder / str(number), *options)))
            await nodes[-1].start()
        bounds = [16384 * number // size for number in range(size + 1)]
        for number, node in enumerate(nodes):
            async with node.client() as client:
                ask: Callable[..., Coroutine[Any, Any, Any]] = client.execute_command
                await ask("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
                await ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                if number:
                    await ask("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)

        async def complete() -> bool:
            for node in nodes:
                async with node.client() as client:
                    said = await client.execute_command("CLUSTER", "INFO")  # type: ignore[no-untyped-call]
                    if "cluster_state:ok" not in str(said) or f"cluster_known_nodes:{size}" not in str(said):
                        return False
            return True

        await eventually(complete)
        yield nodes


async def eventually(condition: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    """Ask until it is so."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            pass
