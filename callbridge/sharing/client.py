"""A connection to the Redis that has a switch's keys: the one of the URL, a sentinel's master, a node of a cluster.

However it is found, it is one connection to one server, and the first error ends it; who comes next looks it up again.
It never sends anything twice by itself, and never connects again by itself, as a pool or a cluster client would: behind
the second connection there may be a Redis that was restarted and is empty.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError, RedisError

from callbridge.storeurl import StoreUrl, Tls, parse

ANSWER_TIMEOUT: Final = 5.0
"""Seconds that Redis may take for a connection or an answer."""

SENTINEL_TIMEOUT: Final = 1.0
"""Seconds that a sentinel may take for each: there are others, and while one is asked nothing is written."""

CANCEL_AGAIN: Final = 0.05
"""Seconds that a task has to end before it is cancelled again."""


async def connect(url: str, key: str) -> "Client":
    """A client of the server that has `key`. Raises RedisError or OSError where it cannot be found; whether a single
    Redis is there, only the first command tells."""
    where = parse(url)
    if where.kind == "sentinel":
        return _client(where, *await find_master(where))
    if where.kind == "cluster":
        return await _holder(where, key)
    # A class method gives what it is called on, which its type does not say.
    url = url.partition("?")[0] if where.tls else url
    return cast(Client, Client.from_url(url, **_options(where.tls, ANSWER_TIMEOUT)))


async def close(client: "Redis | None") -> None:
    """Let go of a client, whatever state it is in."""
    if client is not None:
        with suppress(RedisError, OSError):
            await client.aclose()


async def endable(work: Coroutine[Any, Any, None]) -> None:
    """Await what uses a client. Cancelled, it cancels that again and again until it ends.

    redis-py writes with `asyncio.wait_for`, which until Python 3.12 forgets a cancellation that comes as the writing
    ends (github.com/python/cpython/issues/86296), and then waits for the answer.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait([task])
    finally:
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=CANCEL_AGAIN)
        failure = None if task.cancelled() else task.exception()
    if failure is not None:
        raise failure


def _options(tls: Tls | None, timeout: float) -> dict[str, Any]:
    # The protocol that every Redis knows; one that wants a password answers the newer one's HELLO with a riddle instead
    # of "Authentication required".
    options = {
        "single_connection_client": True,
        "protocol": 2,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
    }
    if tls is not None:
        files = {"ssl_ca_certs": tls.ca, "ssl_certfile": tls.cert, "ssl_keyfile": tls.key}
        # Before redis-py 6 it was not checked whose certificate it is.
        options |= {"ssl_check_hostname": True, **{name: path for name, path in files.items() if path}}
    return options


class Client(Redis):
    """Tells of every connection that is lost by a RedisError. Where Redis has reset it, uvloop ends the transport at
    once and raises RuntimeError from the next write, and redis-py lets that through."""

    _superseded = False

    def expect(self, master: tuple[str, int]) -> None:
        """Fail from now on, unless this is the server that it is connected to."""
        here = self.connection_pool.connection_kwargs
        self._superseded = self._superseded or (here["host"], here["port"]) != master

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if self._superseded:
            raise RedisConnectionError("the sentinels name another master")
        try:
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise RedisConnectionError(f"the connection was lost ({error})") from None


def _client(where: StoreUrl, host: str, port: int) -> "Client":
    login: dict[str, Any] = {"db": where.database, "username": where.username, "password": where.password}
    return Client(host=host, port=port, ssl=where.tls is not None, **login, **_options(where.tls, ANSWER_TIMEOUT))


async def find_master(where: StoreUrl) -> tuple[str, int]:
    """Whom the sentinels call the master: the first that knows one is believed (redis.io/docs, "Guidelines for Redis
    clients with support for Redis Sentinel")."""
    login: dict[str, Any] = {"username": where.sentinel_username, "password": where.sentinel_password}
    reasons = []
    for host, port in where.nodes:
        options = login | _options(where.tls, SENTINEL_TIMEOUT)
        client = Client(host=host, port=port, ssl=where.tls is not None, **options)
        try:
            found: Any = await client.sentinel_get_master_addr_by_name(where.master)
        except (RedisError, OSError) as error:
            reasons.append(f"{error}" or type(error).__name__)
        else:
            if found is not None:
                return found[0].decode(), int(found[1])
            reasons.append(f"{host}:{port} knows none")
        finally:
            await close(client)
    words = f"no sentinel can be reached that knows a master {where.master!r}"
    raise RedisConnectionError(f"{words}: {'; '.join(reasons)}")


async def _holder(where: StoreUrl, key: str) -> "Client":
    """The node of a cluster that has the key's slot: the one that is asked, or whom it names."""
    failure: RedisError | OSError = RedisConnectionError("no node of the cluster can be reached")
    for node in where.nodes:
        host, port = node
        for _ in range(3):
            client = _client(where, host, port)
            try:
                await client.exists(key)
            except MovedError as moved:
                await client.aclose()
                # A node that does not know its own address names none.
                host, port = moved.host or host, moved.port
            except (RedisError, OSError) as error:
                failure = error
                await client.aclose()
                break
            else:
                return client
    raise failure
