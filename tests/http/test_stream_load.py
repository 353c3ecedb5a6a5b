"""Many clients of the stream, and bad ones. What counts is what they have in the end; nothing here measures time."""

import asyncio
import random
import resource
from typing import Any, Final

import aiohttp
import pytest

from callbridge.http import stream as stream_module
from callbridge.http.views import View
from callbridge.mirror import EVERY_TENANT, Mirror
from callbridge.records import Record
from tests.http.kit import EVERYTHING, OF_A, OF_B, Api, live, serving
from tests.http.samples import change, ended, filled, record
from tests.http.streaming import Reader
from tests.service import until

TENANTS: Final = ("a.example", "b.example", None)
STATES: Final = ("CS_EXECUTE", "CS_PARK")
PARKED: Final = "?state=CS_PARK"
STATES_ONLY: Final = "?fields=call_id,state"
VIEWS: Final = ((EVERYTHING, ""), (OF_A, ""), (OF_B, ""), (OF_A, PARKED), (EVERYTHING, STATES_ONLY))
MOST: Final = 16 * 1024
"""Bytes that may wait for a client in tests of those that do not read."""


class Traffic:
    """Calls that begin, change and end by chance, with a seed."""

    def __init__(self, mirror: Mirror, seed: int) -> None:
        self._mirror = mirror
        self._chance = random.Random(seed)
        self._calls: dict[str, Record] = {}
        self._number = 0

    @property
    def snapshot(self) -> int:
        """Bytes of the list."""
        return sum(map(len, self._mirror.listing(EVERY_TENANT).pieces(complete=True)))

    def change(self, padding: str = "") -> None:
        """One change."""
        what = self._chance.random()
        if what < 0.35 or not self._calls:
            self._number += 1
            call = record(
                f"{self._number}", self._number, tenant=self._chance.choice(TENANTS), state=self._chance.choice(STATES)
            )
            self._put(call)
        elif what < 0.7:
            call = self._chance.choice(list(self._calls.values()))
            self._put(
                record(
                    call.call_id,
                    int(call.call_id),
                    tenant=call.tenant,
                    state=self._chance.choice(STATES),
                    source=f"{self._chance.randrange(1000)}{padding}",
                )
            )
        else:
            call = self._calls.pop(self._chance.choice(list(self._calls)))
            change(self._mirror, gone=[call.call_id], ended=[ended(call.call_id, call.tenant)])

    def _put(self, call: Record) -> None:
        self._calls[call.call_id] = call
        change(self._mirror, call)


async def listed(api: Api, token: str, query: str) -> dict[str, Any]:
    return {row["call_id"]: row for row in (await api.get(f"/v1/call{query}", token)).data}


async def settled(api: Api, reader: Reader, token: str, query: str) -> None:
    """It has been told everything."""
    right = await listed(api, token, query)
    await reader.until(lambda: reader.rows == right)


async def test_two_hundred_clients_that_stall_and_are_cut_off_have_the_right_list_in_the_end() -> None:
    mirror = live(Mirror(["pbx"]))
    traffic, over = Traffic(mirror, 1), asyncio.Event()

    async def be_a_client(api: Api, number: int) -> Reader:
        token, query = VIEWS[number % len(VIEWS)]
        chance, reader = random.Random(number), api.stream(query, token)
        while not over.is_set():
            await reader.connect()
            # Some read little, some much, and some not at all for a while.
            for _ in range(chance.randrange(1, 40)):
                if over.is_set():
                    break
                if number % 10 == 0 and chance.random() < 0.3:
                    seen = mirror.switches["pbx"].seq
                    await until(lambda seen=seen: over.is_set() or mirror.switches["pbx"].seq >= seen + 50)  # type: ignore[misc]
                reading = asyncio.ensure_future(reader.read())
                ended = asyncio.ensure_future(over.wait())
                await asyncio.wait({reading, ended}, return_when=asyncio.FIRST_COMPLETED)
                ended.cancel()
                if not reading.done():
                    reading.cancel()
            reader.cut()
        await reader.connect()
        await settled(api, reader, token, query)
        reader.cut()
        return reader

    async with serving(mirror) as api:
        clients = [asyncio.ensure_future(be_a_client(api, number)) for number in range(200)]
        for number in range(1500):
            traffic.change()
            if number % 5 == 0:
                await asyncio.sleep(0)
        over.set()
        readers = await asyncio.gather(*clients)
    assert sum(reader.snapshots for reader in readers) < sum(len(reader.events) for reader in readers)


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many bytes may wait for a client."""
    for module in ("clients", "stream"):
        monkeypatch.setattr(f"callbridge.http.{module}.MAX_UNSENT", MOST)


async def leave_behind(api: Api, reader: Reader, traffic: Traffic, changes: int) -> None:
    """Have so many changes while somebody does not read and `reader` does."""
    behind = 0
    while behind < changes:
        traffic.change("x" * 2000)
        await reader.read()
        # The system takes some before there is more waiting.
        behind = behind + 1 if max(api.unsent) > MOST else 0
        # On top comes what was sent before it was seen to be behind, a piece of what it has missed, or a snapshot, and
        # a round; each ends with a whole event.
        assert max(api.unsent) < 4 * MOST + traffic.snapshot


@pytest.mark.usefixtures("little")
async def test_a_client_that_does_not_read_is_told_to_start_again_and_harms_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("callbridge.feed.MAX_CHANGES", 100)
    mirror = live(Mirror(["pbx"]))
    async with serving(mirror) as api, api.stream() as reader, api.stream() as stalled:
        await reader.next("switch")
        await stalled.next("switch")
        await leave_behind(api, reader, Traffic(mirror, 2), 200)
        await settled(api, stalled, EVERYTHING, "")
        assert 2 <= stalled.snapshots < 10
        await settled(api, reader, EVERYTHING, "")
        assert reader.snapshots == 1


@pytest.mark.usefixtures("little")
async def test_a_client_that_has_fallen_behind_a_little_is_told_what_it_has_missed() -> None:
    mirror = live(Mirror(["pbx"]))
    async with serving(mirror) as api, api.stream() as reader, api.stream() as stalled:
        await reader.next("switch")
        await stalled.next("switch")
        await leave_behind(api, reader, Traffic(mirror, 3), 200)
        await settled(api, stalled, EVERYTHING, "")
        assert stalled.snapshots == 1


@pytest.mark.usefixtures("little")
async def test_a_client_that_never_reads_is_disconnected() -> None:
    mirror = live(Mirror(["pbx"]))
    traffic = Traffic(mirror, 4)
    async with serving(mirror) as api, api.stream() as reader, api.stream() as stalled:
        await reader.next("switch")
        await stalled.next("switch")
        await leave_behind(api, reader, traffic, 200)
        while len(api.unsent) == 2:
            # Not once: the system may have taken some more just now, and a minute begins anew.
            api.clock.pass_time(stream_module.STALLED_AFTER)
            await asyncio.sleep(0)
        with pytest.raises(aiohttp.ClientError):
            await stalled.until(lambda: stalled.ended)
        traffic.change()
        await settled(api, reader, EVERYTHING, "")


async def test_those_who_come_back_at_once_are_served_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "MAX_REPLAYED", 1)
    mirror = live(Mirror(["pbx"]))
    traffic = Traffic(mirror, 5)
    async with serving(mirror) as api:
        readers = [api.stream() for _ in range(20)]
        for reader in readers:
            await reader.connect()
            await reader.next("switch")
            reader.cut()
        for _ in range(50):
            traffic.change()
        await asyncio.gather(*[reader.connect() for reader in readers])
        for reader in readers:
            await settled(api, reader, EVERYTHING, "")
            assert reader.snapshots == 1
            reader.cut()


async def test_a_thousand_clients_cost_no_more_encoding_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip("not so many files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
    encoded, snapshots = 0, 0
    events, snapshot = View.events, View.snapshot

    def counting(self: View, changes: Any, *, in_full: bool = False) -> Any:
        nonlocal encoded
        encoded += len(changes)
        return events(self, changes, in_full=in_full)

    def counting_snapshots(*arguments: Any) -> bytes:
        nonlocal snapshots
        snapshots += 1
        return snapshot(*arguments)

    monkeypatch.setattr(View, "events", counting)
    monkeypatch.setattr(View, "snapshot", counting_snapshots)
    mirror = live(filled(*[record(f"{number}", number) for number in range(100)]))
    async with serving(mirror) as api:
        readers = [api.stream() for _ in range(1000)]
        await asyncio.gather(*[reader.connect() for reader in readers])
        await asyncio.gather(*[reader.next("switch") for reader in readers])
        assert snapshots == 1
        for number in range(20):
            change(mirror, record(f"{number}", number, state="CS_PARK"))
            await readers[0].next("call.updated")
        right = await listed(api, EVERYTHING, "")
        for reader in readers:
            await reader.until(lambda reader=reader: reader.rows == right)
            assert [event.name for event in reader.events[2:]] == ["call.updated"] * 20
            assert reader.snapshots == 1
            reader.cut()
        assert encoded == 20
