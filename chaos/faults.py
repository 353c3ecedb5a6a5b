"""The classes of fault: what is done, within how many seconds everything has to be right after it, and why so many.

An injection returns when the fault is over; from then on the time is taken. What is still on then is taken back by
`World.calm` once everything is right.
"""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from signal import SIGCONT, SIGSTOP
from typing import Final

import msgspec

from callbridge.sharing.share import LEASE
from chaos.link import byte_by_byte, garbage, held, inside_frame, silent, slow, trickling
from chaos.pbx import Kind, until
from chaos.world import World

Inject = Callable[[World, Random], Awaitable[None]]

AGAIN: Final = 10.0
"""Seconds to connect, list, probe every channel and list again: some 3 on an idle machine, of which 0.5 are the first
pause and 1.0 lies between the lists."""

SILENCE: Final = 15.0 + AGAIN
"""Seconds after which a switch without a word is asked for one, has not answered, and is connected again."""

STORE: Final = 8.0
"""Seconds to reach Redis again, which is tried every 5 s at least, and to write all calls."""

STORE_SILENCE: Final = 5.0 + STORE
"""And before that, those that an answer may take."""

ROUND: Final = 135.0
"""Seconds of two rounds of probes, and some more: who comes while one round goes on has its turn in the next, and what
differs is asked for a second time."""


BOTH: Final[tuple[Kind, ...]] = ("simulated", "real")
SIMULATED: Final[tuple[Kind, ...]] = ("simulated",)
REAL: Final[tuple[Kind, ...]] = ("real",)


class Fault(msgspec.Struct, frozen=True):
    """One class. `keeps`: whether no list may lose a live call, not even while the fault lasts. `on`: the switches that
    allow it."""

    name: str
    inject: Inject
    limit: float
    why: str
    keeps: bool
    on: tuple[Kind, ...] = BOTH


FAULTS: Final[dict[str, Fault]] = {}


def _fault(
    name: str, limit: float, why: str, *, keeps: bool = True, on: tuple[Kind, ...] = BOTH
) -> Callable[[Inject], Inject]:
    def register(inject: Inject) -> Inject:
        FAULTS[name] = Fault(name, inject, limit, why, keeps, on)
        return inject

    return register


# The link to the switch.


@_fault("cut", AGAIN, "connect, list, probe, list")
async def _cut(world: World, chance: Random) -> None:  # noqa: ARG001
    world.to_switch.cut()


@_fault("reset", AGAIN, "connect, list, probe, list")
async def _reset(world: World, chance: Random) -> None:  # noqa: ARG001
    world.to_switch.reset()


@_fault("flapping", AGAIN + 8, "each attempt in vain doubles the pause: 4 s and its jitter")
async def _flapping(world: World, chance: Random) -> None:
    for _ in range(4):
        world.to_switch.reset()
        await asyncio.sleep(chance.uniform(0.1, 0.6))


@_fault("blackhole", SILENCE, "5 s of silence, 10 s for an answer, then connect")
async def _blackhole(world: World, chance: Random) -> None:  # noqa: ARG001
    world.to_switch.change(silent)


@_fault("unanswered", AGAIN, "commands go nowhere while events come: once that is seen, connect, list, probe, list")
async def _unanswered(world: World, chance: Random) -> None:  # noqa: ARG001
    commands = {pair for pair in world.to_switch.pairs if b"event plain BACKGROUND_JOB" in pair.said}
    for pair in commands:
        pair.mood = silent
    await until(lambda: not world.to_switch.pairs & commands)


@_fault("slow", 5.0, "what has waited comes at once")
async def _slow(world: World, chance: Random) -> None:
    await _for_a_while(world, slow(chance.uniform(50e3, 400e3)), chance.uniform(1, 3))


@_fault("one-byte", AGAIN, "the piece that was begun is passed on so to its end; what has waited comes at once")
async def _one_byte(world: World, chance: Random) -> None:
    await _for_a_while(world, byte_by_byte, chance.uniform(1, 2))


@_fault("mid-frame", AGAIN, "connect, list, probe, list")
async def _mid_frame(world: World, chance: Random) -> None:
    pairs = set(world.to_switch.pairs)
    world.to_switch.change(inside_frame(chance))
    await until(lambda: not pairs <= world.to_switch.pairs)


@_fault("garbage", AGAIN, "what cannot be read ends the connection: connect, list, probe, list")
async def _garbage(world: World, chance: Random) -> None:
    noise = garbage(chance)
    world.to_switch.change(noise)
    pairs = set(world.to_switch.pairs)
    await until(lambda: any(pair.mood is not noise for pair in pairs))


async def _for_a_while(world: World, mood: Callable[..., Awaitable[None]], seconds: float) -> None:
    world.to_switch.change(mood)
    await asyncio.sleep(seconds)
    await world.calm()


# The switch.


@_fault("overflow", AGAIN, "the switch says that events were lost, and closes: connect, list, probe, list")
async def _overflow(world: World, chance: Random) -> None:
    go_on = asyncio.Event()
    world.to_switch.change(trickling(go_on))
    try:
        await world.pbx.overflow(chance)
    finally:
        go_on.set()
        await world.calm()


@_fault(
    "lost-events",
    ROUND,
    "of a lost change nothing tells but the channel's turn to be probed",
    keeps=False,
    on=SIMULATED,
)
async def _lost_events(world: World, chance: Random) -> None:
    world.simulated.switch.faults.lost_events = 0.002
    await asyncio.sleep(chance.uniform(3, 8))
    world.simulated.switch.faults.lost_events = 0.0


@_fault(
    "late-rows",
    AGAIN,
    "connect, and the third list, 5 s after the first, which has the rows that were late",
    on=SIMULATED,
)
async def _late_rows(world: World, chance: Random) -> None:
    world.simulated.switch.faults.late_rows = chance.uniform(0.5, 3.0)
    await asyncio.sleep(3)
    world.to_switch.cut()


@_fault("stale-rows", AGAIN, "connect, list, probe what is listed and is not there, list", on=SIMULATED)
async def _stale_rows(world: World, chance: Random) -> None:
    world.simulated.switch.faults.stale_rows = 1.0
    await asyncio.sleep(chance.uniform(1, 3))
    world.simulated.switch.faults.stale_rows = 0.0
    world.to_switch.cut()


@_fault("sql-error", 6.0, "a list that was none is asked for again after 2 s, the second a second later", on=SIMULATED)
async def _sql_error(world: World, chance: Random) -> None:
    world.simulated.switch.faults.sql_error = True
    world.to_switch.cut()
    await asyncio.sleep(chance.uniform(2, 6))
    world.simulated.switch.faults.sql_error = False


@_fault("switch-killed", AGAIN + 8, "connecting is tried after 0.5, 1, 2 and 4 s, with jitter")
async def _switch_killed(world: World, chance: Random) -> None:
    world.to_switch.reset()
    await world.pbx.kill()
    await asyncio.sleep(chance.uniform(0.5, 4))
    await world.pbx.start()


@_fault("switch-restarted", AGAIN, "SHUTDOWN begins the pauses anew: connect, list, probe, list")
async def _switch_restarted(world: World, chance: Random) -> None:
    await world.pbx.shut_down()
    await asyncio.sleep(chance.uniform(0.0, 0.5))
    await world.pbx.start()


@_fault("switch-hangs", AGAIN, "what has waited comes at once, or the connection was given up and made again")
async def _switch_hangs(world: World, chance: Random) -> None:
    go_on = asyncio.Event()
    world.to_switch.change(held(go_on))
    try:
        await asyncio.sleep(chance.uniform(2, 14))
    finally:
        go_on.set()
        await world.calm()


@_fault("switch-frozen", AGAIN, "what has waited comes at once, or the connection is made again", on=REAL)
async def _switch_frozen(world: World, chance: Random) -> None:
    world.real.freeze()
    try:
        await asyncio.sleep(chance.uniform(2, 14))
    finally:
        world.real.thaw()


@_fault("socket-reloaded", AGAIN, "connecting is tried after 0.5, 1 and 2 s; connect, list, probe, list", on=REAL)
async def _socket_reloaded(world: World, chance: Random) -> None:  # noqa: ARG001
    await world.real.reload()


@_fault("port-closed", AGAIN + 8, "connecting is tried after 0.5, 1, 2 and 4 s, with jitter")
async def _port_closed(world: World, chance: Random) -> None:
    world.to_switch.shut()
    world.to_switch.reset()
    try:
        await asyncio.sleep(chance.uniform(0.5, 4))
    finally:
        await world.to_switch.open()


@_fault("refused", AGAIN + 8, "connecting is tried after 0.5, 1, 2 and 4 s, with jitter", on=SIMULATED)
async def _refused(world: World, chance: Random) -> None:
    world.simulated.server.refuse = True
    world.to_switch.reset()
    await asyncio.sleep(chance.uniform(0.5, 4))
    world.simulated.server.refuse = False


@_fault("clock-jump", 2.0, "nothing is to be mended: no decision depends on the switch's clock", on=SIMULATED)
async def _clock_jump(world: World, chance: Random) -> None:
    world.simulated.jump_us += chance.choice((-1, 1)) * chance.randint(1, 86_400) * 1_000_000


# Redis.


@_fault("redis-cut", STORE, "reach Redis, write all")
async def _redis_cut(world: World, chance: Random) -> None:  # noqa: ARG001
    world.to_redis.reset()


@_fault("redis-blackhole", STORE_SILENCE, "an answer may take 5 s; then reach Redis, write all")
async def _redis_blackhole(world: World, chance: Random) -> None:  # noqa: ARG001
    world.to_redis.change(silent)


@_fault("redis-killed", STORE, "reach Redis, write all")
async def _redis_killed(world: World, chance: Random) -> None:
    await world.redis.kill()
    await asyncio.sleep(chance.uniform(0.1, 4))
    await world.redis.start()


@_fault(
    "redis-flushed",
    STORE,
    "the next write finds that the one before is gone; write all",
)
async def _redis_flushed(world: World, chance: Random) -> None:  # noqa: ARG001
    async with world.redis.client() as client:
        await client.flushall()


@_fault("redis-paused", STORE_SILENCE, "an answer may take 5 s; then reach Redis, write all")
async def _redis_paused(world: World, chance: Random) -> None:
    world.redis.freeze()
    try:
        await asyncio.sleep(chance.uniform(1, 12))
    finally:
        world.redis.thaw()


@_fault("redis-failover", STORE, "reach the new primary, write all: it lacks the last writes")
async def _redis_failover(world: World, chance: Random) -> None:
    old, new = world.redis, world.another_redis()
    await new.start()
    async with new.client() as client:
        await client.replicaof("127.0.0.1", old.port)
        while (await client.info("replication"))["master_link_status"] != "up":  # noqa: ASYNC110 - nothing tells it
            await asyncio.sleep(0.02)
        # From here on it misses what the primary is told.
        await client.replicaof("NO", "ONE")
    await asyncio.sleep(chance.uniform(0.5, 2))
    world.redis, world.to_redis.target = new, new.port
    await old.kill()


@_fault("redis-read-only", STORE, "reach Redis, write all")
async def _redis_read_only(world: World, chance: Random) -> None:
    # A replica of a primary that cannot be reached keeps what it has, and takes nothing.
    async with world.redis.client() as client:
        await client.replicaof("127.0.0.1", 1)
        await asyncio.sleep(chance.uniform(0.5, 4))
        await client.replicaof("NO", "ONE")


@_fault("redis-full", STORE, "reach Redis, write all")
async def _redis_full(world: World, chance: Random) -> None:
    async with world.redis.client() as client:
        await client.config_set("maxmemory", 1)
        await asyncio.sleep(chance.uniform(0.5, 4))
        await client.config_set("maxmemory", 0)


# The daemon.


@_fault("daemon-killed", LEASE + AGAIN, "its lease ends; connect, list, probe, list", keeps=False)
async def _daemon_killed(world: World, chance: Random) -> None:
    daemon = chance.choice(world.daemons)
    await daemon.kill()
    await asyncio.sleep(chance.uniform(0.0, 1.0))
    await daemon.start()


@_fault("owner-killed", AGAIN, "the other one connects, lists, probes, lists; it has had the lease for some seconds")
async def _owner_killed(world: World, chance: Random) -> None:
    owner = await world.owner()
    await owner.kill()
    await asyncio.sleep(LEASE + chance.uniform(0.0, 3.0))
    await owner.start()


@_fault("daemon-stopped", AGAIN, "the lease is given back; the other one connects, lists, probes, lists", keeps=False)
async def _daemon_stopped(world: World, chance: Random) -> None:
    daemon = chance.choice(world.daemons)
    await daemon.stop()
    await asyncio.sleep(chance.uniform(0.0, 1.0))
    await daemon.start()


@_fault("daemon-paused", AGAIN, "what has waited is read at once, or the connection is made again")
async def _daemon_paused(world: World, chance: Random) -> None:
    daemon = chance.choice(world.daemons)
    daemon.signal(SIGSTOP)
    try:
        await asyncio.sleep(LEASE + chance.uniform(1.0, 6.0))
    finally:
        daemon.signal(SIGCONT)


# All of it.

_AT_ONCE: Final = (
    (
        *("cut", "reset", "flapping", "switch-killed", "switch-restarted", "switch-hangs", "refused"),
        *("switch-frozen", "socket-reloaded"),
    ),
    ("redis-cut", "redis-killed", "redis-paused", "redis-failover", "redis-read-only", "redis-full"),
    ("daemon-killed", "daemon-paused", "daemon-stopped"),
)


@_fault("three-at-once", AGAIN + 8 + STORE, "the longest of a switch that was away and of Redis", keeps=False)
async def _three_at_once(world: World, chance: Random) -> None:
    allowed = [[name for name in names if world.pbx.kind in FAULTS[name].on] for names in _AT_ONCE]
    injections = [FAULTS[chance.choice(names)].inject(world, Random(chance.random())) for names in allowed]
    await asyncio.gather(*injections)
