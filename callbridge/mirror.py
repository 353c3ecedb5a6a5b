"""What readers see: every tenant's calls as encoded rows, kept up to date change by change.

No I/O and no clock: whoever writes tells the time.
"""

import secrets
from collections.abc import Callable, Collection, Iterable
from typing import Final, Literal

from callbridge.lately import Lately
from callbridge.listing import Entry, Listing
from callbridge.records import Ended, Monitor, Record, encode_row

EVERY_TENANT: Final = None
"""The name of the list that holds the calls of all tenants, and those that belong to none yet."""

REMEMBER_ENDED_FOR: Final = 300.0
"""Seconds for which an ended call is answered with its end instead of "not found"."""

FORGET_AFTER: Final = 600.0
"""Seconds that a switch may stay away, or whoever follows it for this daemon, until its calls are dropped. Most of them
are over by then; who reads the list has been told all the time that it is not complete."""

MAX_ENDED: Final = 50_000
"""Ended calls that are remembered, the newest; a bound for the memory, some 40 MB, at 1,000 calls a second."""

MAX_ENDED_MONITORS: Final = 5_000
"""Ended monitors that are remembered, the newest."""


State = Literal["live", "syncing", "stale", "down"]


class SwitchStatus:
    """How far a switch's calls can be trusted, and how far its changes have come.

    `state`: *live*: the list is right; *syncing*: connected, being made right; *stale*: the connection is lost, the
    calls are as they were last known, for a while; *down*: nothing is known. `seen` is when the switch last said
    anything, `since` when the state began, on the writer's clock. `error`: why it is not live. `corrections` are what
    was found while it was live although no event had said so: channels that were gone, alive or changed. `zombies` are
    rows of its list whose channels are gone. `run` names whoever writes, and `seq` counts the changes applied so far in
    that run: together they are a position, and where two are the same, so are the calls.
    """

    __slots__ = ("_on_state", "_state", "corrections", "error", "name", "run", "seen", "seq", "since", "zombies")

    def __init__(self, name: str, on_state: Callable[[], None]) -> None:
        self.name = name
        self._on_state = on_state
        self._state: State = "down"
        self.run = secrets.token_hex(8)
        self.seq = 0
        self.seen: float | None = None
        self.since: float | None = None
        self.error: str | None = "not connected yet"
        self.corrections: dict[str, int] = {"gone": 0, "alive": 0, "changed": 0}
        self.zombies = 0

    def __repr__(self) -> str:
        return f"<SwitchStatus {self.name} {self.state}>"

    @property
    def state(self) -> State:
        """How far the calls can be trusted; whoever has subscribed to the states hears of another one."""
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        if state != self._state:
            self._state = state
            self._on_state()


_EMPTY: Final = Listing()
"""The list of a tenant that has never had a call."""


Subscriber = Callable[[str, Iterable[Record], Iterable[str], Iterable[Ended]], None]
"""Gets a switch's changes after readers can see them: updated calls, ids that are gone, calls that ended."""


class Mirror:
    """The live calls of all switches, by tenant and by id, and the calls that ended in the last minutes."""

    def __init__(self, switches: Iterable[str]) -> None:
        self.switches = {name: SwitchStatus(name, self._tell_state) for name in switches}
        self.replacing = False
        """Whether what subscribers are told comes of `replace`: other calls may have come and gone since."""
        self._listings: dict[str | None, Listing] = {EVERY_TENANT: Listing()}
        self._entries: dict[str, dict[str, Entry]] = {}
        """switch -> call id -> entry"""
        self._aliases: dict[str, dict[str, Entry]] = {}
        """switch -> any other id of a live call -> entry"""
        self._monitored: dict[str, dict[str, Entry]] = {}
        """switch -> id of a monitor -> the call that it is of"""
        self._ended = Lately[tuple[str, Ended]](REMEMBER_ENDED_FOR, MAX_ENDED)
        """any id of a call that ended -> its switch, and the call"""
        self._ended_monitors = Lately[tuple[Record, Monitor]](REMEMBER_ENDED_FOR, MAX_ENDED_MONITORS)
        self._subscribers: list[Subscriber] = []
        self._state_subscribers: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<Mirror {len(self.listing(EVERY_TENANT))} calls of {len(self._listings) - 1} tenants>"

    @property
    def complete(self) -> bool:
        """Whether every switch is live: only then a list holds all calls and no others."""
        return all(switch.state == "live" for switch in self.switches.values())

    def add(self, switch: str) -> None:
        """One switch more, of which nothing is known yet."""
        self.switches[switch] = SwitchStatus(switch, self._tell_state)
        self._tell_state()

    def remove(self, switch: str, now: float) -> None:
        """One switch less. Its calls are gone, and not said to have ended."""
        self.replace(switch, (), self.switches[switch].run, self.switches[switch].seq + 1, now)
        del self.switches[switch], self._entries[switch], self._aliases[switch], self._monitored[switch]
        self._tell_state()

    def listing(self, tenant: str | None) -> Listing:
        """The calls of a tenant; of all with EVERY_TENANT."""
        return self._listings.get(tenant, _EMPTY)

    def find(self, call_id: str, tenant: str | None, switch: str | None = None) -> Record | None:
        """The live call that this id, one of its legs' or an earlier one finds; only the tenant's own. Where several
        switches have one, that of `switch`, or of any."""
        return next((call for call in self.find_all(call_id, tenant) if switch in (None, call.switch)), None)

    def find_all(self, call_id: str, tenant: str | None) -> list[Record]:
        """As `find`, of every switch: a channel that another switch took over has its uuid on both for a while."""
        found = (self.find_on(switch, call_id) for switch in self._entries)
        return [record for record in found if record is not None and tenant in (EVERY_TENANT, record.tenant)]

    def find_on(self, switch: str, call_id: str) -> Record | None:
        """The live call of that switch which this id finds, whosever it is."""
        entry = self._entries.get(switch, {}).get(call_id) or self._aliases.get(switch, {}).get(call_id)
        return None if entry is None else entry.record

    def find_monitor(self, monitor_id: str, tenant: str | None) -> tuple[Record, Monitor] | None:
        """The call that this monitor is of, and the monitor; only of the tenant's own calls."""
        for monitored in self._monitored.values():
            entry = monitored.get(monitor_id)
            if entry is not None and tenant in (EVERY_TENANT, entry.record.tenant):
                return next((entry.record, m) for m in entry.record.monitors if m.uuid == monitor_id)
        return None

    def find_ended_monitor(self, monitor_id: str, tenant: str | None, now: float) -> tuple[Record, Monitor] | None:
        """The call that this monitor was of, and the monitor, where that ended in the last minutes."""
        known = self._ended_monitors.get(monitor_id, now)
        return None if known is None or tenant not in (EVERY_TENANT, known[0].tenant) else known

    def monitors(self, tenant: str | None) -> list[tuple[Record, Monitor]]:
        """Every monitor of a tenant's calls, with the call."""
        entries = {id(entry): entry for monitored in self._monitored.values() for entry in monitored.values()}
        records = [entry.record for entry in entries.values() if tenant in (EVERY_TENANT, entry.record.tenant)]
        return [(record, monitor) for record in records for monitor in record.monitors]

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber` after every change, from now on."""
        # Another list, because whoever goes through this one may be calling a subscriber.
        self._subscribers = [*self._subscribers, subscriber]

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Call it no more: what nobody waits for costs nothing."""
        self._subscribers = [known for known in self._subscribers if known != subscriber]

    def subscribe_to_states(self, subscriber: Callable[[], None]) -> None:
        """Call `subscriber` whenever a switch has come into another state, from now on."""
        self._state_subscribers.append(subscriber)

    def _tell_state(self) -> None:
        for subscriber in self._state_subscribers:
            subscriber()

    def ended_on(self, switch: str, call_id: str) -> Ended | None:
        """The call of that switch which ended lately and had this id."""
        known = self._ended.get(call_id)
        return None if known is None or known[0] != switch else known[1]

    def find_ended(self, call_id: str, tenant: str | None, now: float) -> Ended | None:
        """The call of this id that ended in the last minutes; only the tenant's own."""
        known = self._ended.get(call_id, now)
        return None if known is None or tenant not in (EVERY_TENANT, known[1].tenant) else known[1]

    def calls(self, switch: str) -> int:
        """How many live calls a switch has."""
        return len(self._entries.get(switch, ()))

    def calls_of(self, switch: str, tenant: str | None) -> int:
        """How many live calls of a tenant a switch has."""
        if tenant is EVERY_TENANT:
            return self.calls(switch)
        return sum(entry.record.switch == switch for entry in self.listing(tenant))

    def records(self, switch: str) -> list[Record]:
        """The live calls of a switch."""
        return [entry.record for entry in self._entries.get(switch, {}).values()]

    def apply(
        self,
        switch: str,
        updated: Iterable[Record],
        gone: Iterable[str],
        ended: Iterable[Ended],
        now: float,
        seq: int | None = None,
    ) -> None:
        """Take over the changes of one switch; readers see all of them at once. `seq` is what its count of changes
        comes to with them; None: one more."""
        entries = self._entries.setdefault(switch, {})
        aliases = self._aliases.setdefault(switch, {})
        monitored = self._monitored.setdefault(switch, {})
        for call_id in gone:
            entry = entries.pop(call_id, None)
            if entry is not None:
                self._unlist(entry)
                self._note_monitors(monitored, entry, entry.record, (), now)
                self._drop_aliases(aliases, entry, entry.record.ids)
        for record in updated:
            before = entries[record.call_id].record if record.call_id in entries else record
            self._put(entries, aliases, record)
            if before.monitors or record.monitors:
                self._note_monitors(monitored, entries[record.call_id], before, record.monitors, now)
        for call in ended:
            self._ended.put((call.call_id, *call.ids), (switch, call), now)
        status = self.switches[switch]
        status.seq = status.seq + 1 if seq is None else seq
        for subscriber in self._subscribers:
            subscriber(switch, updated, gone, ended)

    def replace(self, switch: str, records: Collection[Record], run: str, seq: int, now: float) -> None:
        """Make a switch's calls exactly these, which are what they were at that position. The calls that are no more
        there are gone, and not said to have ended."""
        entries = self._entries.get(switch, {})
        kept = {record.call_id for record in records}
        updated = [record for record in records if (e := entries.get(record.call_id)) is None or e.record != record]
        self.switches[switch].run = run
        self.replacing = True
        try:
            self.apply(switch, updated, [call_id for call_id in entries if call_id not in kept], (), now, seq)
        finally:
            self.replacing = False

    def _put(self, entries: dict[str, Entry], aliases: dict[str, Entry], record: Record) -> None:
        entry = entries.get(record.call_id)
        if entry is None:
            entry = entries[record.call_id] = Entry(record)
            self._list(entry)
        else:
            before, row = entry.record, encode_row(record)
            if (before.tenant, before.created_us) != (record.tenant, record.created_us):
                # Its place in the lists is another one.
                self._unlist(entry)
                entry.record, entry.row = record, row
                self._list(entry)
            else:
                difference = 0
                if row != entry.row:
                    difference = -entry.digest()
                    entry.row = row
                    difference += entry.digest()
                entry.record = record
                self._listings[EVERY_TENANT].note(entry, difference)
                if record.tenant is not None:
                    self._listings[record.tenant].note(entry, difference)
            if before.ids != record.ids:
                self._drop_aliases(aliases, entry, before.ids)
        for other_id in record.ids:
            aliases[other_id] = entry

    def _note_monitors(
        self, monitored: dict[str, Entry], entry: Entry, before: Record, monitors: Iterable[Monitor], now: float
    ) -> None:
        for monitor in before.monitors:
            if monitored.get(monitor.uuid) is entry:
                del monitored[monitor.uuid]
                self._ended_monitors.put((monitor.uuid,), (before, monitor), now)
        for monitor in monitors:
            monitored[monitor.uuid] = entry
            self._ended_monitors.drop(monitor.uuid)

    def _drop_aliases(self, aliases: dict[str, Entry], entry: Entry, ids: Iterable[str]) -> None:
        for other_id in ids:
            if aliases.get(other_id) is entry:
                del aliases[other_id]

    def _list(self, entry: Entry) -> None:
        digest = entry.digest()
        self._listings[EVERY_TENANT].add(entry, digest)
        if entry.record.tenant is not None:
            self._listings.setdefault(entry.record.tenant, Listing()).add(entry, digest)

    def _unlist(self, entry: Entry) -> None:
        digest = entry.digest()
        self._listings[EVERY_TENANT].remove(entry, digest)
        if entry.record.tenant is not None:
            self._listings[entry.record.tenant].remove(entry, digest)
