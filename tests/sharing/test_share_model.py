"""Daemons, a Redis that loses what it likes and a switch, in any order of steps: in the end all show the same calls.

The steps of the daemons are taken one by one, against a real Redis. That nobody writes who does not hold the lease is
checked at every step. Bugs that are planted are found.
"""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from callbridge.records import Record
from callbridge.sharing import ledger as ledger_module
from callbridge.sharing.follower import Follower
from callbridge.sharing.ledger import LeaseLost, Ledger
from callbridge.sharing.share import LEASE
from tests.redis_server import RedisServer, needs_redis
from tests.service import Clock
from tests.storekit import CHANGES, HEAD, KEY, OWNER, PREFIX, Daemon, make

pytestmark = needs_redis

STEPS = "call call change hang-up tell tell write write claim claim read read expire flush empty trim lag".split()


class Member(Daemon):
    """A daemon whose steps a test takes."""

    def __init__(self, name: str, client: "Redis", clock: Clock, switch: "Truth") -> None:
        async def find_client() -> "Redis":
            return client

        super().__init__(find_client, name, clock=clock)
        self.ledger = Ledger(client, PREFIX, "pbx", round(LEASE * 1000))
        self.switch = switch
        self.follower = self.share._follower
        self.after = ""
        """The last entry of the stream that was read; "" before the hash was."""

    async def claim(self) -> None:
        """Get the lease if it is free, and write everything; or follow whoever has it."""
        if not await self.share._claim(self.ledger):
            self.share._noting = False
            self.after = await self.share._load(self.ledger)
            return
        self.after = ""
        self.tell()
        self.share._noting = True
        await self.guarded(lambda: self.share._write_all(self.ledger))

    def tell(self) -> None:
        """What has happened on the switch is heard by who follows it."""
        if self.source.leading:
            calls = self.switch.calls
            gone = [call_id for call_id in self.source.calls if call_id not in calls]
            self.change(*[r for r in calls.values() if self.source.calls.get(r.call_id) != r], gone=gone)

    async def write(self) -> None:
        if self.share._noting:
            await self.guarded(lambda: self.share._write_noted(self.ledger))

    async def guarded(self, write: Callable[[], Any]) -> None:
        try:
            await write()
        except LeaseLost:
            self.share._noting = False

    async def read(self) -> None:
        """Take over what is new."""
        if self.source.leading or not self.after:
            return
        whole = True
        for entry in await self.ledger.changes(self.after, 1):
            self.after = entry.id
            whole = whole and self.follower.take(entry, self.clock())
        if not whole:
            self.after = await self.share._load(self.ledger)


class Truth:
    """The switch."""

    def __init__(self) -> None:
        self.calls: dict[str, Record] = {}
        self.made = 0


class Model:
    """All of it."""

    def __init__(self, clients: list["Redis"]) -> None:
        self.clock = Clock(1000.0)
        self.switch = Truth()
        self.redis, *others = clients
        self.members = [Member(str(number), client, self.clock, self.switch) for number, client in enumerate(others)]
        self.lagging: dict[str, bytes] = {}

    async def step(self, what: str, number: int) -> None:
        calls, member = self.switch.calls, self.members[number % len(self.members)]
        if what == "call":
            calls[f"c{self.switch.made}"] = make(f"c{self.switch.made}")
            self.switch.made += 1
        elif what == "change" and calls:
            call_id = list(calls)[number % len(calls)]
            calls[call_id] = make(call_id, state=f"state {self.switch.made}")
            self.switch.made += 1
        elif what == "hang-up" and calls:
            del calls[list(calls)[number % len(calls)]]
        elif what == "tell":
            member.tell()
        elif what in ("write", "claim", "read"):
            holds: Any = await self.redis.get(OWNER)
            before = await self.content() if what == "write" else {}
            await getattr(member, what)()
            if what == "write" and holds is not None and holds.decode() != member.share._lease:
                assert await self.content() == before, "one has written who does not hold the lease"
        else:
            await self.lose(what)

    async def lose(self, what: str) -> None:
        if what == "expire":
            await self.redis.delete(OWNER)
        elif what == "flush":
            await self.redis.flushall()
        elif what == "empty":
            await self.redis.delete(KEY)
        elif what == "trim":
            await self.redis.xtrim(CHANGES, maxlen=0, approximate=False)
        elif self.lagging:
            # A failover to a replica that had not heard of everything; who reads there begins anew.
            for key in (OWNER, HEAD, KEY, CHANGES):
                await self.redis.delete(key)
            for key, value in self.lagging.items():
                await self.redis.restore(key, 0, value)
            self.lagging = {}
            for member in self.members:
                if not member.source.leading and member.after:
                    member.after = await member.share._load(member.ledger)
        else:
            self.lagging = await self.content()

    async def content(self) -> dict[str, bytes]:
        dumps = {key: await self.redis.dump(key) for key in (HEAD, KEY, CHANGES, OWNER)}
        return {key: value for key, value in dumps.items() if isinstance(value, bytes)}

    async def settle(self) -> None:
        """Nothing is lost any more: each does what it does every few seconds."""
        held: Any = await self.redis.get(OWNER)
        if held is not None and held.decode() not in {member.share._lease for member in self.members}:
            # That of nobody who knows of it is over some time.
            await self.redis.delete(OWNER)
        for _ in range(3):
            for member in self.members:
                if not (member.share._noting and member.source.leading) and (
                    member.source.leading or not member.after or await member.ledger.is_free()
                ):
                    await member.claim()
                member.tell()
                await member.write()
            for member in self.members:
                await member.read()
        owners = [member for member in self.members if member.share._noting]
        assert len(owners) == 1, "there is one owner"
        stored = {record.call_id: record for record in (await owners[0].ledger.snapshot()).records}
        assert stored == self.switch.calls, "Redis has the switch's calls"
        for member in self.members:
            assert member.calls == self.switch.calls, "all show the switch's calls"
            assert (member.status.run, member.status.seq) == (owners[0].status.run, owners[0].status.seq)


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    async with RedisServer(tmp_path) as server:
        await server.start()
        yield server.url


async def found(url: str, *, examples: int) -> list[tuple[str, int]] | None:
    """A series of steps after which something is wrong, if one is found."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Redis.from_url(url)) for _ in range(4)]
        for seed in range(examples):
            chance = random.Random(seed)
            steps = [(chance.choice(STEPS), chance.randrange(3)) for _ in range(chance.randrange(5, 40))]
            await clients[0].flushall()
            model = Model(clients)
            try:
                for what, number in steps:
                    await model.step(what, number)
                await model.settle()
            except AssertionError:
                return steps
    return None


async def test_whatever_redis_loses_all_show_the_switch_s_calls_in_the_end(url: str) -> None:
    assert await found(url, examples=100) is None


class Deaf(Follower):
    """Takes whatever comes for the next change."""

    def take(self, entry: Any, now: float) -> bool:
        self._run, self._writes = entry.run, entry.writes - 1
        return super().take(entry, now)


FENCE = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end\n"
COUNT = "head[1] ~= ARGV[5] or head[2] ~= ARGV[3] or "
SIZE = " or tonumber(head[3]) ~= redis.call('HLEN', KEYS[3])"


@pytest.mark.parametrize("left_out", [FENCE, COUNT, SIZE], ids=["no fence", "no count", "calls may be lost"])
async def test_the_model_finds_a_bug_that_is_planted_in_the_script(
    url: str, monkeypatch: pytest.MonkeyPatch, left_out: str
) -> None:
    assert left_out in ledger_module._WRITE
    monkeypatch.setattr(ledger_module, "_WRITE", ledger_module._WRITE.replace(left_out, ""))
    assert await found(url, examples=400) is not None


async def test_the_model_finds_a_follower_that_misses_what_is_missing(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callbridge.sharing.share.Follower", Deaf)
    assert await found(url, examples=400) is not None
