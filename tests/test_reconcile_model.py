"""A table against a model of a switch: whatever is lost, late, stale or failed, in the end they have the same channels.

The model has channels and a queue of events that have not come yet; its lists may be late, stale, cut short or none at
all, its answers to probes come whenever they like, past the events that wait. What the table may never do is checked at
every step; that it is right, once the anti-entropy has had its two minutes without losses.
"""

from typing import Any

import pytest
from hypothesis import strategies as st

from callbridge.calls import Channel
from callbridge.doubts import Doubts
from callbridge.entropy import ROUND
from callbridge.esl.events import Event
from callbridge.table import CallTable
from tests.eventkit import NUMBERS, T0, event_of
from tests.planted import found

STATES = ("CS_EXECUTE", "CS_EXCHANGE_MEDIA", "CS_PARK")
SHAPES: dict[str, Any] = {"call_direction": "inbound", "context": "acme.example.com", "callstate": "ACTIVE"}
STEPS = st.sampled_from(
    (
        "create create change destroy destroy deliver deliver lose list late stale partial fail probe probe probe"
        " answer odd time beat cut cut restart race silent"
    ).split()
)
SEQUENCES = st.lists(st.tuples(STEPS, st.integers(0, 4)), min_size=10, max_size=60)


class Model:
    """A switch, what is under way between it and the table, and the table."""

    def __init__(self, table: CallTable) -> None:
        self.table = table
        self.now = 0.0
        self.sequence = 0
        self.made = 0
        self.live: dict[str, str] = {}
        """uuid -> state"""
        self.dead: list[str] = []
        self.late: list[str] = []
        """Live, but not in a list yet."""
        self.stale: set[str] = set()
        self.waiting: list[Event] = []
        self.asked: list[str] = []
        self.answers: list[tuple[str, Event | None]] = []
        """Given, and on their way."""
        self.proof: set[str] = set()
        """What the table was told to be dead."""
        self.destroyed: set[str] = set()
        """What its own event told to be dead."""
        table.begin(same_run=False)

    def event(self, name: str, uuid: str, state: str) -> Event:
        self.sequence += 1
        stamp = {"timestamp": T0 + int(self.now * 1e6), "sequence": self.sequence, "created_us": T0}
        own = SHAPES | stamp | {"state": state, "state_number": NUMBERS[state], "var_uuid": uuid}
        return event_of(name, uuid, channel_name=f"sofia/internal/{uuid}", **own)

    def pick(self, number: int) -> str | None:
        return list(self.live)[number % len(self.live)] if self.live else None

    # What can happen.

    def create(self, _: int) -> None:
        uuid = f"c{self.made}"
        self.made += 1
        self.live[uuid] = "CS_ROUTING"
        self.late.append(uuid)
        self.waiting += [self.event("CHANNEL_CREATE", uuid, "CS_INIT"), self.event("CHANNEL_STATE", uuid, "CS_ROUTING")]

    def change(self, number: int) -> None:
        if (uuid := self.pick(number)) is not None:
            self.live[uuid] = STATES[number % len(STATES)]
            self.waiting.append(self.event("CHANNEL_STATE", uuid, self.live[uuid]))

    def destroy(self, number: int) -> None:
        if (uuid := self.pick(number)) is not None:
            del self.live[uuid]
            self.dead.append(uuid)
            self.waiting.append(self.event("CHANNEL_DESTROY", uuid, "CS_DESTROY"))
            if number == 4:
                self.waiting.append(self.event("CHANNEL_STATE", uuid, "CS_EXECUTE"))
            self.waiting.append(self.event("CHANNEL_STATE", uuid, "CS_DESTROY"))

    def deliver(self, number: int) -> None:
        for _ in range(min(number + 1, len(self.waiting))):
            event = self.waiting.pop(0)
            if event.name == "CHANNEL_DESTROY":
                self.proof.add(event.uuid)
                self.destroyed.add(event.uuid)
            self.table.apply(event, self.now)

    def lose(self, number: int) -> None:
        if self.waiting:
            self.waiting.pop(number % len(self.waiting))

    def silent(self, number: int) -> None:
        """What happens, no event says."""
        said = len(self.waiting)
        (self.create, self.change, self.destroy)[number % 3](number)
        del self.waiting[said:]

    def show(self, uuids: "set[str]") -> None:
        self.table.compare(dict.fromkeys(sorted(uuids), "2026-11-23 18:21:57"), self.now)

    def list(self, _: int) -> None:
        self.show(set(self.live) | self.stale)

    def list_late(self, _: int) -> None:
        self.show((set(self.live) - set(self.late)) | set(self.dead[-2:]) | self.stale)
        self.late.clear()

    def list_stale(self, number: int) -> None:
        self.stale |= set(self.dead[-number:])
        self.list(number)

    def list_partial(self, number: int) -> None:
        self.show(set(list(self.live)[:number]))

    def fail(self, _: int) -> None:
        self.table.census.failed()

    def probe(self, number: int) -> None:
        """The switch answers some of the probes, in any order."""
        self.asked += self.table.take_probes()
        for _ in range(min(number + 1, len(self.asked))):
            uuid = self.asked.pop(number % len(self.asked))
            dump = self.event("CHANNEL_DATA", uuid, self.live[uuid]) if uuid in self.live else None
            self.answers.append((uuid, dump))

    def answer(self, number: int) -> None:
        """Some of the answers come, before or after events that are older."""
        for _ in range(min(number + 1, len(self.answers))):
            uuid, dump = self.answers.pop(0)
            if dump is not None:
                self.table.apply(dump, self.now)
            else:
                self.proof.add(uuid)
                self.table.absent(uuid, self.now)

    def race(self, number: int) -> None:
        """A channel ends after its probe was answered, and the answer comes last."""
        self.list_partial(0)
        self.probe(100)
        self.destroy(number)
        self.deliver(100)
        self.answer(100)

    def odd(self, _: int) -> None:
        self.asked += self.table.take_probes()
        if self.asked:
            self.table.unanswered(self.asked.pop())

    def time(self, number: int) -> None:
        self.now += number / 2
        self.table.settle(self.now)
        self.table.review(self.now)

    def beat(self, _: int) -> None:
        """HEARTBEAT: comes after all that was said before it."""
        self.deliver(len(self.waiting))
        self.table.apply(Event(name="HEARTBEAT", session_count=str(len(self.live))), self.now)
        if self.table.census.due(self.now):
            self.table.census.listed(self.now)
            self.list(0)

    def cut(self, _: int) -> None:
        """The connection is lost and made again."""
        self.waiting.clear()
        self.asked.clear()
        self.answers.clear()
        self.table.begin(same_run=True)

    def restart(self, _: int) -> None:
        """Another run: its numbers begin anew, and rows of the one before are still in its list."""
        self.proof.update(self.known)
        self.stale.update(list(self.live)[:2])
        self.live.clear()
        self.waiting.clear()
        self.asked.clear()
        self.answers.clear()
        self.sequence = 0
        self.table.begin(same_run=False)

    def mend(self) -> None:
        """Two rounds and a few HEARTBEATs in which nothing is lost."""
        until = self.now + 2 * ROUND + 10
        while self.now < until:
            if int(self.now) % 20 == 0:
                self.beat(0)
            self.time(2)
            self.deliver(len(self.waiting))
            self.probe(100)
            self.answer(100)

    def step(self, what: str, number: int) -> None:
        how = {"late": "list_late", "stale": "list_stale", "partial": "list_partial"}.get(what, what)
        before = set(self.known)
        getattr(self, how)(number)
        self.table.take_changes()
        self.table.take_corrections()
        gone = before - set(self.known)
        assert gone <= self.proof, "a channel has gone that nothing has proven to be dead"
        assert not set(self.known) & self.destroyed, "a dead channel is back"

    @property
    def known(self) -> dict[str, str]:
        return {uuid: channel.state for uuid, channel in self.table._channels.items()}


def run(table: CallTable, steps: list[tuple[str, int]]) -> None:
    model = Model(table)
    for what, number in steps:
        model.step(what, number)
    model.mend()
    assert model.known == model.live
    model.table.take_changes()
    assert {record.call_id for record in model.table.records()} == set(model.live)


def fails(make: Any, steps: list[tuple[str, int]]) -> bool:
    try:
        run(make(), steps)
    except AssertionError:
        return True
    return False


def test_whatever_happens_the_table_has_the_switchs_channels_in_the_end() -> None:
    assert found(SEQUENCES, lambda steps: fails(lambda: CallTable("pbx"), steps), 1500) is None


class WithoutTombstones(Doubts):
    def is_dead(self, uuid: str, now: float) -> bool:
        return False

    def last_words(self, uuid: str, now: float) -> int:
        return 0


class Forgetful(CallTable):
    """Does not know the dead."""

    def forget(self) -> None:
        super().forget()
        self._doubts = WithoutTombstones()


class Believing(CallTable):
    """Takes what a list names for channels."""

    def compare(self, listed: Any, now: float) -> None:
        super().compare(listed, now)
        for uuid in listed:
            if uuid not in self._channels:
                row = Channel(event_of("CHANNEL_DATA", uuid, state="CS_EXECUTE", created_us=T0))
                row.epoch = self._epoch
                self._set.add(row, "", now)


class Replacing(CallTable):
    """Takes what a list does not name for gone, so an error is an empty list."""

    def compare(self, listed: Any, now: float) -> None:
        super().compare(listed, now)
        for channel in list(self._channels.values()):
            if channel.uuid not in listed:
                self._remove(channel, now)


class WithoutRounds(CallTable):
    def review(self, now: float) -> None:
        pass


@pytest.mark.parametrize(
    "make",
    [Forgetful, Believing, Replacing, WithoutRounds],
    ids=["no tombstones", "rows are believed", "an error is an empty list", "no rounds"],
)
def test_the_model_finds_a_planted_bug(make: Any) -> None:
    assert found(SEQUENCES, lambda steps: fails(lambda: make("pbx"), steps), 1500) is not None
