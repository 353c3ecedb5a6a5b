"""Probes over a connection whose other end is the test."""

import asyncio
import re
from collections.abc import Callable

import pytest

from callbridge import probes as probes_module
from callbridge.errors import Disconnected, SwitchSilent
from callbridge.esl.connection import Connection
from callbridge.probes import AT_ONCE, Answers, Probes
from tests.esl.test_protocol import ACCEPTED, GREETING, output
from tests.service import until


class Wire(asyncio.Transport):
    """Notes what is written, one list a write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[list[str]] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(re.findall(r"uuid_dump (.*) json\n\n", bytes(data).decode()))

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        """Nobody is there."""


class Rig:
    """Probes, and what their switch says."""

    def __init__(self, take: Callable[[Answers], None] = lambda _: None) -> None:
        self.wire, self.taken, self._then = Wire(), list[Answers](), take
        self.connection = Connection("ClueCon", lambda _: None)
        self.connection.connection_made(self.wire)
        self.connection.data_received(GREETING + ACCEPTED)
        self.wire.writes.clear()
        self.probes = Probes(self.connection, self._take)
        self.running = asyncio.ensure_future(self.probes.run())

    def _take(self, answers: Answers) -> None:
        self.taken.append(answers)
        self._then(answers)

    def answer(self, *texts: str) -> None:
        """What comes in one read."""
        self.connection.data_received(b"".join(map(output, texts)))

    async def end(self) -> None:
        self.running.cancel()
        await asyncio.wait([self.running])
        self.connection.close()


async def test_what_one_read_answers_is_taken_at_once_and_as_many_follow_in_one_write() -> None:
    rig, names = Rig(), [f"u{number}" for number in range(AT_ONCE + 5)]
    rig.probes.ask(names)
    await until(lambda: bool(rig.wire.writes))
    assert rig.wire.writes == [names[:AT_ONCE]]
    rig.answer("a", "b", "c")
    await until(lambda: len(rig.wire.writes) == 2)
    assert rig.taken == [[("u0", "a"), ("u1", "b"), ("u2", "c")]]
    assert rig.wire.writes[1] == names[AT_ONCE : AT_ONCE + 3]
    await rig.end()


async def test_it_has_joined_when_also_what_the_answers_gave_reason_to_ask_is_answered() -> None:
    def doubt(answers: Answers) -> None:
        rig.probes.ask(uuid + "+" for uuid, answer in answers if answer == "old")

    rig = Rig(doubt)
    rig.probes.ask(["u"])
    joined = asyncio.ensure_future(rig.probes.join())
    await until(lambda: rig.wire.writes == [["u"]])
    rig.answer("old")
    await until(lambda: rig.wire.writes == [["u"], ["u+"]])
    assert not joined.done()
    rig.answer("new")
    await joined
    await rig.end()


async def test_nothing_to_ask_is_joined_at_once() -> None:
    rig = Rig()
    rig.probes.ask([])
    await rig.probes.join()
    await rig.end()


async def test_what_is_no_uuid_is_not_sent_and_has_no_answer() -> None:
    rig = Rig()
    rig.probes.ask(["a b", "u"])
    await until(lambda: bool(rig.taken))
    assert rig.taken == [[("a b", "")]]
    rig.answer("x")
    await rig.probes.join()
    assert rig.wire.writes == [["u"]]
    assert rig.taken[1:] == [[("u", "x")]]
    await rig.end()


async def test_an_answer_that_does_not_come_ends_it_and_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes_module, "ANSWER_TIMEOUT", 0.01)
    rig = Rig()
    rig.probes.ask(["u"])
    with pytest.raises(SwitchSilent, match="uuid_dump"):
        await rig.running
    other = asyncio.ensure_future(rig.connection.command("api status"))
    await until(lambda: len(rig.wire.writes) == 2)
    rig.answer("late", "up")
    assert await other == "up"
    assert rig.taken == []
    rig.connection.close()


async def test_the_end_of_the_connection_ends_it() -> None:
    rig = Rig()
    rig.probes.ask(["u"])
    await until(lambda: bool(rig.wire.writes))
    rig.connection.close(Disconnected("gone"))
    with pytest.raises(Disconnected, match="gone"):
        await rig.running


async def test_a_failure_on_an_answer_is_not_hidden() -> None:
    def fail(_: Answers) -> None:
        raise RuntimeError("a bug")

    rig = Rig(fail)
    rig.probes.ask(["u"])
    await until(lambda: bool(rig.wire.writes))
    rig.answer("x")
    with pytest.raises(RuntimeError, match="a bug"):
        await rig.running
    rig.connection.close()
