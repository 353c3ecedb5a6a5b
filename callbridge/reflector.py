"""One switch: connect, subscribe, list, probe, watch; and begin again.

Two connections: events come on one, commands and their answers go over the other, so that neither delays the other.
While another daemon follows the switch there is only the one for commands, and the mirror is left alone.

Only one order is right: subscribe first, then list, then probe what the list names. What happens after the subscription
is in the stream, what happened before it is in a list; but the list is late (a row of `show channels` appears up to
360 ms after its channel), so it is asked for again after one second, and only then the calls are said to be complete.
From then on every channel is probed in turn, and the channels are listed again when their number seems wrong
(`entropy`).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal

import structlog

from callbridge.answers import dump_of, parse_list
from callbridge.backoff import delays
from callbridge.commands.console import Console
from callbridge.config import Switch, split_address
from callbridge.errors import CallbridgeError, CommandRefused, Disconnected, RemoteProtocolError, SwitchError
from callbridge.esl.connection import Connection
from callbridge.esl.events import Event
from callbridge.lateness import WORDS, Lateness
from callbridge.mirror import FORGET_AFTER, Mirror
from callbridge.probes import Answers, Probes
from callbridge.records import Record
from callbridge.store import Store
from callbridge.table import EVENTS, SWITCH_EVENTS, CallTable

LIST_AT: Final = (0.0, 1.0, 5.0)
"""Seconds after the subscription at which the channels are listed. The list is complete after the second time, the
third is for a switch under load."""

LIST_AGAIN: Final = 2.0
"""Seconds after which a list is asked for again that did not come or was none."""

LIST_TIMEOUT: Final = 60.0
"""Seconds that a list may take: 76 ms for 10,000 channels on an idle switch (measured)."""

TICK: Final = 0.25
"""Seconds between looks at what time alone brings, while there is something to come."""

PING_AFTER: Final = 5.0
"""Seconds without a word from the switch after which it is asked for one; a quiet switch sends nothing by itself."""

PING_TIMEOUT: Final = 10.0
"""Seconds that it has to answer. After that the connection is given up."""

FIRST_RETRY: Final = 0.5
LAST_RETRY: Final = 15.0
"""Seconds between attempts to connect: doubling, with jitter."""

REVIEW_EVERY: Final = 0.5
"""Seconds between looks at whose turn it is to be probed, and whether it is time for a list."""

SHUTDOWN_TAKES: Final = 10.0
"""Seconds that a switch has to end its calls and close the connection after it has said that it ends. Its calls are
stale from that word on; how they end is still heard."""

log = structlog.get_logger("callbridge.switch")


class Reflector:
    """Keeps one switch's calls in the mirror and in the store, and lends its connection to commands. `run` does not
    end."""

    def __init__(
        self,
        switch: Switch,
        mirror: Mirror,
        store: Store,
        console: Console,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.table = CallTable(switch.name, switch.shared_contexts)
        self.status = mirror.switches[switch.name]
        self.sure = False
        """Whether the calls were right once since it follows the switch: then all that there are are known."""
        self.core_uuid = ""
        """The run of the switch that the calls are of."""
        self.turned = clock()
        """When this last went round, on the clock: every wait in here ends by itself, so this moves on."""
        self._switch = switch
        self._mirror = mirror
        self._store = store
        self._console = console
        self._clock = clock
        self._sleep = sleep
        self._leading = asyncio.Event()
        self._away_since: float | None = None
        self._events: Connection | None = None
        self._probes: Probes | None = None
        self._lateness = Lateness()
        self._ticking: asyncio.TimerHandle | None = None
        self._log = log.bind(switch=switch.name)

    def __repr__(self) -> str:
        return f"<Reflector {self.status!r} {self.table!r}>"

    @property
    def leading(self) -> bool:
        """Whether it follows the switch, and not another daemon for it."""
        return self._leading.is_set()

    def records(self) -> list[Record]:
        """The calls, as they were last published."""
        return self.table.records()

    def lead(self, known: Sequence[Record] = (), core_uuid: str = "", silent: float = 0.0) -> None:
        """Follow the switch from now on. `known` are its calls as they were published last, of that run of the switch,
        `silent` seconds after it was last heard of; they are of use only if it is still the same run."""
        if core_uuid and self.core_uuid in ("", core_uuid):
            self.table.restore(known, int((time.time() - silent) * 1e6))
            if not self.core_uuid:
                self.core_uuid, self._away_since = core_uuid, self._clock() - silent
        if not self.leading:
            self._leading.set()
            self._become("stale" if self.core_uuid else "down", "not connected yet")
        self._ask()

    def resign(self) -> None:
        """Another daemon follows the switch."""
        self._leading.clear()
        self.table = CallTable(self._switch.name, self._switch.shared_contexts)
        self.sure, self.core_uuid, self._away_since = False, "", None
        if self._events is not None:
            self._events.close(Disconnected("another callbridge follows the switch"))

    def reconfigure(self, switch: Switch) -> None:
        """Go by this entry of the configuration, while `run` does not run. What it leads to may be the same switch, and
        its calls are kept until that is known."""
        self._switch = switch
        self._lost(Disconnected("its configuration has changed"))
        self.table.reconfigure(switch.shared_contexts)
        self._publish()

    async def run(self) -> None:
        """Follow the switch for ever. Only a failure of callbridge itself ends it, by an exception."""
        waits, own = delays(FIRST_RETRY, LAST_RETRY), asyncio.current_task()
        while True:
            self.turned = self._clock()
            try:
                # As a task of its own, whose TaskGroup may forget, before Python 3.13, that it has been cancelled: when
                # one of its tasks fails in the same moment. This task remembers.
                await asyncio.create_task(self._session())
            except (SwitchError, CommandRefused) as error:
                if own is not None and own.cancelling():
                    raise asyncio.CancelledError from None
                if self.status.state == "live" or self.table.shut_down_at is not None:
                    waits = delays(FIRST_RETRY, LAST_RETRY)
                self._lost(error)
            await self._sleep(next(waits))

    # One pair of connections, from its beginning to its end.

    async def _session(self) -> None:
        host, port = split_address(self._switch.address)
        password = self._switch.password or ""
        commands = await Connection.open(host, port, password, clock=self._clock)
        self.turned = self._clock()
        try:
            core_uuid = await commands.api("global_getvar core_uuid")
            self.turned = self._clock()
            await commands.command("event plain BACKGROUND_JOB")
            self.turned = self._clock()
            self._console.connection = commands
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._until_closed(commands))
                tasks.create_task(self._keep_alive(commands))
                tasks.create_task(self._listen(commands, core_uuid))
        except ExceptionGroup as group:
            raise _cause(group) from None
        finally:
            self._console.connection = None
            commands.close()
            if self._ticking is not None:
                self._ticking.cancel()
                self._ticking = None

    async def _listen(self, commands: Connection, core_uuid: str) -> None:
        """Follow the switch, as soon as that is for this daemon to do."""
        await self._leading.wait()
        host, port = split_address(self._switch.address)
        events = await Connection.open(host, port, self._switch.password or "", self._on_events, self._clock)
        self.turned = self._clock()
        self._events, self._probes = events, Probes(commands, self._take_answers)
        self._lateness = Lateness()
        try:
            await self._follow(commands, events, self._probes, core_uuid)
        finally:
            self._events = self._probes = None
            events.close()

    async def _follow(self, commands: Connection, events: Connection, probes: Probes, core_uuid: str) -> None:
        if not self.leading:
            raise Disconnected("another callbridge follows the switch")
        self.table.begin(same_run=core_uuid == self.core_uuid)
        self.core_uuid = core_uuid
        self._away_since = None
        self.table.census.listed(self._clock())
        self._publish()
        self._become("syncing", None)
        answer = await events.command(f"event {self._switch.events} {' '.join(EVENTS + SWITCH_EVENTS)}")
        if not answer.startswith("+OK"):
            raise CommandRefused("event", answer)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._until_closed(events))
            tasks.create_task(self._keep_alive(events))
            tasks.create_task(probes.run())
            tasks.create_task(self._synchronise(commands, probes))
            tasks.create_task(self._review())
            tasks.create_task(self._count(commands))

    async def _until_closed(self, connection: Connection) -> None:
        raise await connection.closed

    async def _keep_alive(self, connection: Connection) -> None:
        while True:
            await self._sleep(PING_AFTER)
            self.turned = self._clock()
            if self._clock() - connection.last_received >= PING_AFTER:
                # Whatever it answers, it answers.
                await connection.command("api uuid_exists callbridge", timeout=PING_TIMEOUT)
            if self.leading:
                self.status.seen = max(self.status.seen or 0.0, connection.last_received)

    async def _synchronise(self, commands: Connection, probes: Probes) -> None:
        began = self._clock()
        for number, at in enumerate(LIST_AT):
            await self._sleep(max(0.0, began + at - self._clock()))
            listed = await self._list(commands)
            self._compare(listed)
            await probes.join()
            if number >= 1 and self.status.state == "syncing":
                self.sure = True
                self._become("live", None)
                self._log.info("switch.live", calls=len(self.table), seconds=round(self._clock() - began, 2))
                self._doubt_late(self._clock())

    async def _review(self) -> None:
        """Have every channel probed in its turn, and end with a switch that ends."""
        while True:
            await self._sleep(REVIEW_EVERY)
            now, ends_since = self._clock(), self.table.shut_down_at
            self._doubt_late(now)
            if ends_since is not None and now - ends_since >= SHUTDOWN_TAKES:
                raise Disconnected("the switch has shut down")
            if self.status.state == "live" or self.status.error is not None:
                # Not while every channel is probed anyway; but where the list does not come, until it does.
                self.table.review(now)
                self._ask()

    async def _count(self, commands: Connection) -> None:
        """List the channels again when it is time to. What the list says is doubted; where it is none, the time comes
        again."""
        while True:
            await self._sleep(REVIEW_EVERY)
            if self.status.state != "live" or not self.table.census.due(self._clock()):
                continue
            self.table.census.listed(self._clock())
            try:
                listed = parse_list(
                    await commands.job("show channels as delim |", timeout=LIST_TIMEOUT), self.table.known
                )
            except (CommandRefused, RemoteProtocolError) as error:
                self._log.warning("switch.no_list", error=str(error))
                self.table.census.failed()
                continue
            self._compare(listed)

    def _compare(self, listed: dict[str, str]) -> None:
        self.table.compare(listed, self._clock())
        self.status.zombies = self.table.zombies
        self._ask()

    async def _list(self, commands: Connection) -> dict[str, str]:
        while True:
            try:
                return parse_list(
                    await commands.job("show channels as delim |", timeout=LIST_TIMEOUT), self.table.known
                )
            except (CommandRefused, RemoteProtocolError) as error:
                # It says nothing about any call; without a list there is just no saying that all are known.
                self._become("syncing", str(error))
                await self._sleep(LIST_AGAIN)

    def _take_answers(self, answers: Answers) -> None:
        if not self.leading:
            return
        now = self._clock()
        for uuid, answer in answers:
            if (event := dump_of(uuid, answer)) is not None:
                self._lateness.answered(event.sequence, now)
                self.table.apply(event, now)
            elif answer.startswith("-ERR No such channel"):
                self.table.absent(uuid, now)
            else:
                self.table.unanswered(uuid)
        for channel, found in self.table.take_corrections():
            if self.status.state == "live":
                self.status.corrections[found] += 1
                self._log.info("switch.correction", channel=channel, found=found)
        self.status.zombies = self.table.zombies
        self._publish()

    # What comes in.

    def _on_events(self, events: list[Event]) -> None:
        if not self.leading:
            return
        now = self._clock()
        self.status.seen = now
        apply = self.table.apply
        if events[-1].core_uuid not in ("", self.core_uuid) and self._events is not None:
            # One of a read is as good as all of them, and none of them is of the channels that are known.
            self._events.close(Disconnected("the switch has begun another run"))
            return
        for event in events:
            apply(event, now)
        self._publish()
        self._lateness.came(events[-1].sequence, now)
        self._doubt_late(now)
        if self.table.shut_down_at is not None:
            self._become("stale", "the switch is shutting down")

    def _publish(self) -> None:
        if not self.leading:
            return
        changes = self.table.take_changes()
        if changes is not None:
            self._mirror.apply(self._switch.name, changes.updated, changes.gone, changes.ended, self._clock())
            self._store.publish(self._switch.name, changes.updated, changes.gone, changes.ended)
        self._ask()
        if self._ticking is None and self.table.next_deadline() is not None:
            self._ticking = asyncio.get_running_loop().call_later(TICK, self._tick)

    def _ask(self) -> None:
        if self._probes is not None:
            self._probes.ask(self.table.take_probes())

    def _tick(self) -> None:
        self._ticking = None
        self.table.settle(self._clock())
        self._publish()

    # What is said of it.

    def _become(self, state: Literal["live", "syncing", "stale", "down"], error: str | None) -> None:
        now = self._clock()
        if not self.leading or (state in ("live", "syncing") and self.table.shut_down_at is not None):
            return
        if error is not None and error != self.status.error:
            self._log.warning(f"switch.{state}", error=error)
        if state != self.status.state:
            self.status.since = now
        if state in ("live", "syncing"):
            self.status.seen = now
        self.status.state = state
        self.status.error = error
        self._store.touch(self._switch.name)

    def _doubt_late(self, now: float) -> None:
        """The list is what it was some seconds ago while the events come late."""
        late = self._lateness.is_late(now)
        if late and self.status.state == "live":
            self._become("syncing", WORDS)
        elif not late and self.status.error == WORDS:
            self._become("live", None)

    def _lost(self, error: Exception) -> None:
        if not self.leading:
            self._log.warning("switch.no_commands", error=f"{error}")
            return
        now = self._clock()
        if self._away_since is None:
            self._away_since = now
        if now - self._away_since >= FORGET_AFTER:
            self.core_uuid = ""
            self.table.forget()
            self._publish()
            self.status.zombies = 0
        self._become("stale" if self.core_uuid else "down", f"{error}")


def _cause(group: ExceptionGroup[Exception]) -> Exception:
    """What ended the tasks of a session: a failure of ours if there is one, else the first of the switch's."""
    errors = [_cause(error) if isinstance(error, ExceptionGroup) else error for error in group.exceptions]
    return next((error for error in errors if not isinstance(error, CallbridgeError)), errors[0])
