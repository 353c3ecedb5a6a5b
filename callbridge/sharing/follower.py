"""A switch that another daemon follows: what that one writes, as readers of this one see it.

Pure: `now` is seconds of the clock of the mirror's writers. What is doubted is said to be stale: when the writer has
given the switch up, while it says nothing for longer than its lease lasts (it writes every few seconds, if only that it
is there), or Redis is away. Where the writer has removed the switch and nobody else follows it by then, or nobody has
for as long as a switch may stay away, its calls are gone.
"""

from typing import Final, Literal, get_args

from callbridge.mirror import FORGET_AFTER, Mirror
from callbridge.sharing.ledger import Entry, Snapshot, State

SwitchState = Literal["live", "syncing", "stale", "down"]

NOBODY: Final = "no callbridge follows this switch"
REWRITTEN: Final = "the calls are being written again"


class Follower:
    """Brings one switch in the mirror to what Redis says."""

    def __init__(self, switch: str, mirror: Mirror, lease: float) -> None:
        self._switch = switch
        self._mirror = mirror
        self._status = mirror.switches[switch]
        self._lease = lease
        self._run = ""
        self._writes = -1
        """The number of the last write that was taken over; -1: the next one says nothing, the hash is to be read."""
        self._heard = 0.0
        """When whoever writes last did."""
        self._whole = False
        self._removed = False
        """Whether whoever wrote last has removed the switch."""
        self.core_uuid = ""
        """The run of the switch that the calls are of; "" before any are known."""

    def __repr__(self) -> str:
        return f"<Follower {self._status!r} run {self._run}, {self._writes} writes>"

    def is_outdated(self, snapshot: Snapshot) -> bool:
        """Whether it lacks writes that were taken over already: Redis was replaced by a replica that lagged behind."""
        return snapshot.run == self._run and snapshot.writes < self._writes

    def begin(self, now: float) -> None:
        """What is shown is this daemon's own, and was right until now."""
        self._heard = now

    def load(self, snapshot: Snapshot, now: float) -> None:
        """Everything was read."""
        if self.is_outdated(snapshot):
            self._whole = False
            self.doubt(REWRITTEN, now)
            return
        self._run, self._writes, self._whole = snapshot.run, snapshot.writes, snapshot.whole
        if snapshot.state is None:
            self.doubt(NOBODY, now)
            return
        self._heard = now - snapshot.silent
        self.core_uuid = snapshot.core_uuid or self.core_uuid
        self._removed = False
        if not snapshot.whole:
            # What is known is nearer to the truth than what is half written.
            self.doubt(REWRITTEN, now)
            return
        self._mirror.replace(self._switch, snapshot.records, snapshot.run, snapshot.seq, now)
        self._tell(snapshot.state, self._heard)
        self.check(now)

    def take(self, entry: Entry, now: float) -> bool:
        """Take over an entry of the stream. False: something before it is missing, so everything is to be read."""
        if entry.removed:
            self._removed, self._heard = True, now
        if entry.released:
            self.doubt(NOBODY, now)
            return True
        self._heard = now
        if entry.reset or (entry.run, entry.writes) != (self._run, self._writes + 1) or not self._whole:
            return entry.run == self._run and entry.writes <= self._writes and self._whole
        self._writes = entry.writes
        if entry.updated or entry.gone or entry.ended or entry.seq != self._status.seq:
            self._mirror.apply(self._switch, entry.updated, entry.gone, entry.ended, now, entry.seq)
        assert entry.state is not None
        self._tell(entry.state, now)
        return True

    def check(self, now: float) -> None:
        """Doubt the calls if nothing has been heard for too long."""
        if now - self._heard > self._lease:
            self.doubt(NOBODY, now)

    def doubt(self, reason: str, now: float) -> None:
        """The calls are as they were last known, and why; or gone by now."""
        silent = now - self._heard
        if self.core_uuid and silent > (self._lease if self._removed else FORGET_AFTER):
            self.core_uuid, self._status.seen, self._whole = "", None, False
            self._mirror.replace(self._switch, (), self._status.run, self._status.seq + 1, now)
        self._become("stale" if self.core_uuid else "down", reason, now)

    def _tell(self, state: State, said: float) -> None:
        status = self._status
        status.seen = None if state.age is None else said - state.age
        status.corrections, status.zombies = dict(state.corrections), state.zombies
        since = said if state.since is None else said - state.since
        for name in get_args(SwitchState):
            if name == state.state:
                self._become(name, state.error, since)

    def _become(self, state: SwitchState, error: str | None, since: float) -> None:
        if state != self._status.state:
            self._status.since = since
        self._status.state, self._status.error = state, error
