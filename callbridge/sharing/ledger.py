"""What Redis has of one switch: who may write, the calls, and the changes for those who follow. docs/redis.md has the
layout.

Every write is one script: it refuses whoever does not hold the lease, and says so when something of what was written
before is missing. So a writer that was stopped for an hour in the middle of a command can do no harm, and one whose
Redis was emptied, evicted or replaced by a replica that lags finds out with its next write.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from callbridge.records import Ended, Record
from callbridge.sharing.noted import Batch

STREAM_LENGTH: Final = 2_000
"""Entries of the stream that are kept, roughly: at 200 a second, the most there are, ten seconds. Who is further behind
reads the whole hash. More would be for nobody, and an entry of a busy switch may have 100 KB."""

_CLAIM: Final = """
local held = redis.call('GET', KEYS[1])
if held then
    if held ~= ARGV[1] then return false end
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    return held
end
local time = redis.call('TIME')
local token = time[1] * 1000000 + time[2]
local last = tonumber(redis.call('HGET', KEYS[2], 'token') or '0')
if token <= last then token = last + 1 end
token = string.format('%.0f', token)
held = token .. ' ' .. ARGV[2]
redis.call('SET', KEYS[1], held, 'PX', ARGV[3])
redis.call('HSET', KEYS[2], 'token', token)
redis.call('PERSIST', KEYS[3])
return held
"""
"""KEYS owner, head, changes; ARGV the lease that is held so far, the daemon, milliseconds. Gives the lease, or nothing
if it is another's. The token is the time, so that it grows even if Redis has lost the last one."""

_WRITE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
if ARGV[3] ~= '' then
    local head = redis.call('HMGET', KEYS[2], 'run', 'writes', 'calls')
    if head[1] ~= ARGV[5] or head[2] ~= ARGV[3] or tonumber(head[3]) ~= redis.call('HLEN', KEYS[3]) then return -2 end
end
redis.call('HSET', KEYS[2], 'whole', ARGV[9])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local at, set, updated = 15, {}, {}
for number = 1, tonumber(ARGV[12]) do
    set[#set + 1], set[#set + 2], updated[number] = ARGV[at], ARGV[at + 1], ARGV[at + 1]
    at = at + 2
end
local del = {unpack(ARGV, at)}
if #del > 0 then redis.call('HDEL', KEYS[3], unpack(del)) end
if #set > 0 then redis.call('HSET', KEYS[3], unpack(set)) end
local time = redis.call('TIME')
local head = {'run', ARGV[5], 'writes', ARGV[4], 'seq', ARGV[6], 'status', ARGV[7], 'core_uuid', ARGV[8]}
for _, part in ipairs({'calls', redis.call('HLEN', KEYS[3]), 'at', time[1] .. '.' .. time[2]}) do
    head[#head + 1] = part
end
if ARGV[9] == '1' then
    head[#head + 1] = 'entry'
    head[#head + 1] = redis.call(
        'XADD', KEYS[4], 'MAXLEN', '~', ARGV[11], '*', 'run', ARGV[5], 'writes', ARGV[4], 'seq', ARGV[6],
        'status', ARGV[7], 'reset', ARGV[10], 'updated', '[' .. table.concat(updated, ',') .. ']',
        'gone', ARGV[13], 'ended', ARGV[14])
end
redis.call('HSET', KEYS[2], unpack(head))
return 1
"""
"""KEYS owner, head, calls, changes; ARGV the lease, its milliseconds, the number of the write before ('': whatever is
there), that of this one, the run, the count of changes, the status, the Core-UUID, whether the hash is whole with it,
whether it is to be read anew, the length of the stream, how many are updated, JSON of the gone and of
the ended; then id and JSON of the updated, ids of the gone. Gives 1, -1: the lease is not held, -2: what was written
before is not there. A Redis that is out of memory refuses only the first command that writes, so that is one that needs
some."""

_RELEASE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'released', '1')
return 1
"""
"""KEYS owner, changes; ARGV the lease, the length of the stream. Those who follow wake up at once."""

_REMOVE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('XADD', KEYS[4], 'MAXLEN', '1', '*', 'released', '1', 'removed', '1')
redis.call('PEXPIRE', KEYS[4], ARGV[2])
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
return 1
"""
"""KEYS owner, head, calls, changes; ARGV the lease, milliseconds for which those who follow can find out."""

_SNAPSHOT: Final = """
return {redis.call('HGETALL', KEYS[1]), redis.call('HVALS', KEYS[2]), redis.call('TIME')}
"""
"""KEYS head, calls. No transaction: redis-py gives that a second connection, and makes it anew by itself."""

REMEMBERED_MS: Final = 60_000
"""How long it is told that a switch was removed."""


class LeaseLost(Exception):
    """Another daemon may write by now, so nothing was written."""


class GapFound(Exception):
    """Redis has lost what was written before, so nothing was written: everything is to be written again."""


class Garbled(RedisError):
    """What stands in a key is not what a callbridge of this version writes."""


class State(msgspec.Struct, frozen=True):
    """How far the switch's calls could be trusted, as whoever writes said it (mirror.SwitchStatus). Seconds before
    that: `age` since the switch last said anything, `since` since the state began."""

    state: str
    error: str | None
    corrections: dict[str, int]
    zombies: int
    age: float | None
    since: float | None


class Snapshot(msgspec.Struct, frozen=True):
    """Everything at one moment. `run` is "" where nobody has written; `silent`: seconds since somebody did. `entry` is
    the last of the stream that is in it. Not `whole`: somebody is about to write everything again."""

    run: str
    writes: int
    seq: int
    whole: bool
    silent: float
    entry: str
    core_uuid: str
    state: State | None
    records: list[Record]


class Entry(msgspec.Struct, frozen=True):
    """One entry of the stream. `released`: who wrote gives up the lease, and that is all it says, but for `removed`: it
    has taken out of Redis what it had written. `reset`: the whole hash is to be read again."""

    id: str
    released: bool
    removed: bool
    reset: bool
    run: str
    writes: int
    seq: int
    state: State | None
    updated: list[Record]
    gone: list[str]
    ended: list[Ended]


class Head(msgspec.Struct, frozen=True):
    """What is said of a write besides the changes. `before` is the number of the write before it; None: whatever was
    there is to be overwritten."""

    before: int | None
    number: int
    run: str
    state: State
    core_uuid: str
    whole: bool = True
    reset: bool = False


_encode: Final = msgspec.json.Encoder().encode
_decode_record: Final = msgspec.json.Decoder(Record).decode
_decode_records: Final = msgspec.json.Decoder(list[Record]).decode
_decode_gone: Final = msgspec.json.Decoder(list[str]).decode
_decode_ended: Final = msgspec.json.Decoder(list[Ended]).decode
_decode_state: Final = msgspec.json.Decoder(State).decode


class Ledger:
    """The keys of one switch over one connection. Everything raises RedisError or OSError, and then the connection is
    of no more use."""

    def __init__(self, client: "Redis", prefix: str, switch: str, lease_ms: int) -> None:
        self._client = client
        self._lease_ms = lease_ms
        self._owner, self._head, self._calls, self._changes = keys(prefix, switch)
        self._claim = client.register_script(_CLAIM)
        self._write = client.register_script(_WRITE)
        self._release = client.register_script(_RELEASE)
        self._remove = client.register_script(_REMOVE)
        self._snapshot = client.register_script(_SNAPSHOT)

    async def claim(self, lease: str, daemon: str) -> str | None:
        """Get the lease, or hold on to the one that is held; None while it is another's."""
        held = await self._claim([self._owner, self._head, self._changes], [lease, daemon, self._lease_ms])
        return None if held is None else _text(held)

    async def is_free(self) -> bool:
        """Whether nobody holds the lease."""
        return not await self._client.exists(self._owner)

    async def is_written(self) -> bool:
        """Whether whoever holds the lease has written everything. Before that the hash is of an earlier one."""
        lease = await self._client.get(self._owner)
        run, whole = await self._client.hmget(self._head, ["run", "whole"])
        return lease is not None and run is not None and (_text(lease).split()[0], _text(whole)) == (_text(run), "1")

    async def release(self, lease: str) -> None:
        """Give the lease up, if it is still held."""
        await self._release([self._owner, self._changes], [lease, STREAM_LENGTH])

    async def remove(self, lease: str) -> None:
        """Take everything of the switch out of Redis, and give the lease up, if it is still held."""
        await self._remove([self._owner, self._head, self._calls, self._changes], [lease, REMEMBERED_MS])

    async def write(self, lease: str, head: Head, batch: Batch) -> None:
        """Write changes, all or none, and hold on to the lease. Raises LeaseLost or GapFound."""
        before = "" if head.before is None else head.before
        arguments: list[Any] = [lease, self._lease_ms, before, head.number, head.run, batch.seq, _encode(head.state)]
        arguments += [head.core_uuid, int(head.whole), int(head.reset), STREAM_LENGTH]
        arguments += [len(batch.updated), _encode(batch.gone), _encode(batch.ended)]
        for record in batch.updated:
            arguments += [record.call_id, _encode(record)]
        arguments += batch.gone
        answer = await self._write([self._owner, self._head, self._calls, self._changes], arguments)
        if answer == -1:
            raise LeaseLost
        if answer == -2:
            raise GapFound

    async def strangers(self, calls: Iterable[str]) -> list[Any]:
        """The fields of the hash that are none of these calls'."""
        # As bytes, because what somebody else wrote need not be text.
        own = {call_id.encode() for call_id in calls}
        return [name for name in await self._client.hkeys(self._calls) if name not in own]

    async def snapshot(self) -> Snapshot:
        """Everything, as it is at one moment."""
        head, values, (seconds, us) = await self._snapshot([self._head, self._calls])
        fields = dict(zip(head[::2], head[1::2], strict=True))
        return _snapshot(_texts(fields), values, int(seconds) + int(us) / 1e6)

    async def changes(self, after: str, block_ms: int) -> list[Entry]:
        """The entries of the stream after that one, as soon as there are any; none after `block_ms`."""
        answer: Any = await self._client.xread({self._changes: after}, count=100, block=block_ms)
        if not answer:
            return []
        return [_entry(entry_id, fields) for entry_id, fields in answer[0][1]]


def keys(prefix: str, switch: str) -> tuple[str, str, str, str]:
    """A switch's keys: owner, head, calls, changes. The braces put them into one slot of a Redis Cluster."""
    owner, head, calls, changes = (f"{prefix}:{{{switch}}}:{name}" for name in ("owner", "head", "calls", "changes"))
    return owner, head, calls, changes


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _record(value: bytes) -> Record | None:
    """A call; None for what somebody else has put into the hash."""
    try:
        return _decode_record(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _texts(fields: Mapping[Any, Any]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in fields.items()}


def _snapshot(head: Mapping[str, str], values: Iterable[bytes], now: float) -> Snapshot:
    records = [record for record in map(_record, values) if record is not None]
    if "run" not in head:
        return Snapshot("", 0, 0, False, 0.0, "0-0", "", None, records)
    try:
        seconds, _, us = head["at"].partition(".")
        return Snapshot(
            head["run"],
            int(head["writes"]),
            int(head["seq"]),
            head["whole"] == "1",
            max(0.0, now - int(seconds) - int(us) / 1e6),
            head.get("entry", "0-0"),
            head["core_uuid"],
            _decode_state(head["status"]),
            records,
        )
    except (KeyError, ValueError) as error:
        raise Garbled(f"the head cannot be read ({type(error).__name__})") from None


def _entry(entry_id: Any, fields: Mapping[Any, Any]) -> Entry:
    said = _texts(fields)
    if "released" in said:
        return Entry(_text(entry_id), True, "removed" in said, False, "", 0, 0, None, [], [], [])
    try:
        return Entry(
            _text(entry_id),
            False,
            False,
            said["reset"] == "1",
            said["run"],
            int(said["writes"]),
            int(said["seq"]),
            _decode_state(said["status"]),
            _decode_records(said["updated"]),
            _decode_gone(said["gone"]),
            _decode_ended(said["ended"]),
        )
    except (KeyError, ValueError) as error:
        raise Garbled(f"an entry of the changes cannot be read ({type(error).__name__})") from None
