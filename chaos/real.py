"""The real switch of `python -m chaos --real`: two FreeSWITCHes, calls between them, and what the one in front says.

What it says is asked over a connection of its own, never through a link that can be spoilt.
"""

import asyncio
import heapq
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from random import Random
from signal import SIGCONT, SIGSTOP, SIGTERM
from typing import Any, Final

from callbridge.simulator.traffic import Load
from chaos.pbx import Failed, Kind, Look, until
from chaos.truth import Truth
from tests.real.driver import Console, Rig, talk
from tests.real.switches import PASSWORD, RINGS_FOR_EVER, TENANTS, RealSwitch, running_pair
from tests.truth import SHARED_CONTEXTS

FIRST_RTP: Final = 46000

LATE: Final = 0.8
"""Seconds for which a difference has to last to be one. A row of `show channels` comes up to 0.36 s after its event and
goes up to 0.27 s after it (measured): until then a list that is right differs from it."""

COMES_UP: Final = 60.0
"""Seconds until the phones are registered, or the switch has ended in order."""

AT_ONCE: Final = 1000
"""So many events are asked for before the replies are read, to fill the queue of one who reads nothing. It takes
100,000 (mod_event_socket.c, MAX_QUEUE_LEN)."""

FLOODS: Final = 3
"""So many ask at once: one takes longer than a minute on a busy machine."""

LOST: Final = b"Max queue size reached"
"""What the switch logs of each event that such a queue does not take, and after so many in a row it throws the listener
out (mod_event_socket.c, MAX_MISSED)."""

MISSED: Final = 500

_SILENT: Final = (OSError, asyncio.IncompleteReadError)
"""What a console raises whose switch has gone, or is not there yet."""

SHARES: Final = {"outbound": 45, "inbound": 30, "local": 25}
"""Of a hundred calls, how many are of which kind."""

CALLERS: Final = range(101, 107)
CALLED: Final = (*range(101, 111), RINGS_FOR_EVER)
"""The extensions that dial, and those that are dialled: some refuse, one rings until the caller gives up."""


class Real:
    """The real switch, with traffic. See Pbx."""

    kind: Kind = "real"

    def __init__(self, folder: Path, load: Load, seed: int) -> None:
        self.port = 0
        self.password = PASSWORD
        self._folder = folder / "switches"
        self._load = load
        self._chance = Random(seed)
        self._stack = ExitStack()
        self._pair: tuple[RealSwitch, RealSwitch] | None = None
        self._running: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Real {self.port}>"

    @property
    def _pbx(self) -> RealSwitch:
        assert self._pair is not None
        return self._pair[0]

    async def start(self) -> None:
        """See Pbx."""
        if self._pair is None:
            begin = running_pair(self._folder, FIRST_RTP)
            self._pair = await asyncio.to_thread(self._stack.enter_context, begin)
            self.port = self._pbx.port
        else:
            await asyncio.to_thread(self._pbx.start)
        rig = await Rig.open(*self._pair)
        try:
            async with asyncio.timeout(COMES_UP):
                while not await rig.registered():  # noqa: ASYNC110 - nothing tells it
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise Failed(f"the phones are not registered after {COMES_UP:.0f} s") from None
        finally:
            rig.close()
        self._running = asyncio.create_task(self._traffic())

    async def kill(self) -> None:
        """See Pbx."""
        self._pbx.stop()
        await until(self._pbx.ended)
        await self._end_calls()

    async def shut_down(self) -> None:
        """See Pbx."""
        self._pbx.signal(SIGTERM)
        await until(self._pbx.ended, COMES_UP)
        await self._end_calls()

    async def _end_calls(self) -> None:
        # The phones do not hear that the switch has gone.
        assert self._pair is not None
        assert self._running is not None
        self._running.cancel()
        with suppress(asyncio.CancelledError):
            await self._running
        async with _console(self._pair[1].port) as phones:
            await phones.api("hupall")

    async def close(self) -> None:
        """See Pbx."""
        if self._running is not None:
            self._running.cancel()
        self._stack.close()

    def freeze(self) -> None:
        """It does nothing any more, and keeps its connections."""
        self._pbx.signal(SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._pbx.signal(SIGCONT)

    async def reload(self) -> None:
        """The event socket is loaded anew, and takes all its connections with it."""
        async with _console(self.port) as console:
            await console.api("bgapi reload mod_event_socket")
            await console.ended()

    async def overflow(self, chance: Random) -> None:  # noqa: ARG002
        """See Pbx. It is done when the listener reads again."""
        log = self._pbx.folder / "switch.log"
        heard = log.stat().st_size
        floods = [asyncio.create_task(self._flood()) for _ in range(FLOODS)]
        try:
            await until(lambda: log.read_bytes()[heard:].count(LOST) > MISSED)
        finally:
            # It closes the connection only when what it has sent is read, and answers nobody before (seen).
            for flood in floods:
                flood.cancel()
            await asyncio.wait(floods)

    async def _flood(self) -> None:
        async with _console(self.port) as console:
            while True:
                await console.fire("HEARTBEAT", AT_ONCE)

    async def living(self) -> set[str]:
        """See Pbx. Without an answer of the switch none lives."""
        try:
            async with _console(self.port) as console:
                return set(await calls(console))
        except _SILENT:
            return set()

    async def compare(self, look: Look) -> list[str]:
        """See Pbx. It cannot hold its breath: what differs has to differ so in every look of LATE seconds."""
        assert self._running is not None
        if self._running.done():
            raise Failed(f"no calls are begun any more: {self._running.exception()!r}")
        try:
            return await self._lasting(look)
        except _SILENT as error:
            return [f"the switch does not answer ({type(error).__name__})"]

    async def _lasting(self, look: Look) -> list[str]:
        async with _console(self.port) as console:
            found = await _compared(console, look)
            give_up = time.monotonic() + LATE
            while found and time.monotonic() < give_up:
                await asyncio.sleep(0.05)
                again = await _compared(console, look)
                found = [what for what in found if what in again]
        return found

    def calm(self) -> None:
        """See Pbx."""
        if self._pair is not None:
            self.thaw()

    async def _traffic(self) -> None:
        """Calls begin, and end by whoever began them."""
        assert self._pair is not None
        async with _console(self._pair[1].port) as phones:
            ends: list[tuple[float, str]] = []
            begins = time.monotonic()
            for _ in range(self._load.live):
                heapq.heappush(ends, (begins + self._lasts() * self._chance.random(), await self._begin(phones)))
            while True:
                now = time.monotonic()
                while ends and ends[0][0] <= now:
                    await phones.api(f"uuid_kill {heapq.heappop(ends)[1]}")
                while begins <= now:
                    begins += self._chance.expovariate(self._load.rate)
                    heapq.heappush(ends, (now + self._lasts(), await self._begin(phones)))
                due = min([begins, *(when for when, _ in ends[:1])])
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _lasts(self) -> float:
        return self._load.duration * self._chance.uniform(0.5, 1.5)

    async def _begin(self, phones: Console) -> str:
        """A phone dials, or somebody outside; nobody waits for what becomes of it. Returns the caller's channel."""
        chance = self._chance
        kind = chance.choices(list(SHARES), list(SHARES.values()))[0]
        tenant = chance.choice(TENANTS)
        uuid = f"{chance.getrandbits(32):08x}-0000-4000-8000-{chance.getrandbits(48):012x}"
        number, called = f"09{chance.randrange(10**8):08}", chance.choice(CALLED)
        if kind == "inbound":
            caller, way = number, f"pbx/{'02' if tenant == TENANTS[0] else '03'}12345678{called}"
        else:
            caller = str(chance.choice(CALLERS))
            way = f"{caller}-{tenant}/{called if kind == 'local' else number}"
        variables = f"{{origination_uuid={uuid},origination_caller_id_number={caller}}}"
        speaks = talk("outside" if kind == "inbound" else caller)
        await phones.api(f"bgapi originate {variables}sofia/gateway/{way} {speaks}")
        return uuid


@asynccontextmanager
async def _console(port: int) -> AsyncIterator[Console]:
    console = await Console.open(port)
    try:
        yield console
    finally:
        console.close()


async def _compared(console: Console, look: Look) -> list[str]:
    """What is wrong by all that the switch says before and after a look."""
    before = await calls(console)
    seen = await look()
    if seen.wrong:
        return seen.wrong
    after = await calls(console)
    both = {uuid: dict(before[uuid].items() & after[uuid].items()) for uuid in before.keys() & after.keys()}
    maybe = before.keys() ^ after.keys()
    listed = {str(row["call_id"]) for rows in seen.lists.values() for row in rows}
    for uuid in listed - both.keys() - maybe:
        if await _exists(console, uuid):
            # Its row is still to come.
            maybe.add(uuid)
    return seen.against(Truth(both, maybe))


async def calls(console: Console) -> dict[str, dict[str, str]]:
    """The calls that live: id -> its row, by what the switch says in its list and, to each id, of it."""
    rows = json.loads(await console.api("show channels as json")).get("rows", [])
    second = {row["call_uuid"] for row in rows if row["direction"] == "outbound"}
    first = [row for row in rows if row["direction"] == "inbound"]
    return {row["uuid"]: _row(row, row["uuid"] in second) for row in first if await _exists(console, row["uuid"])}


async def _exists(console: Console, uuid: str) -> bool:
    return await console.api(f"uuid_exists {uuid}") == "true"


def _row(channel: Mapping[str, Any], has_second: bool) -> dict[str, str]:
    """The row of the list. Without what is not settled yet: its context, before it is a tenant's; its direction, which
    depends on a leg that is not there yet."""
    row = {
        "call_id": channel["uuid"],
        "created_time": channel["created"],
        "destination": channel["dest"],
        "ip": channel["ip_addr"],
        "source": channel["cid_num"],
        "state": channel["state"],
    }
    if channel["context"] not in SHARED_CONTEXTS:
        row["context"] = channel["context"]
    if has_second:
        within = "outbound" if channel["dest"].startswith("0") else "local"
        row["direction"] = "inbound" if channel["name"].startswith("sofia/external/") else within
    return row
