"""The queue of replies against a model of a switch that answers each command with that command's own words.

Commands, events, answers, refusals and the bytes they come in are cut and mixed as chance wants; whoever asked may have
given up long ago. What the switch answered to a command is what that command gets, or the connection has ended.
"""

import re
from typing import Any

import pytest
from hypothesis import strategies as st

from callbridge.errors import SwitchError
from callbridge.esl.events import Event
from callbridge.esl.frames import Frame
from callbridge.esl.protocol import Item, Opened, Protocol, Reply
from tests.esl.test_protocol import ACCEPTED, EVENT, GREETING, output, reply
from tests.planted import found

STEPS = st.lists(
    st.tuples(st.sampled_from("send send answer answer refuse event read read".split()), st.integers(1, 5))
)


class Model:
    """A switch, the bytes on their way from it, and what the protocol has made of them."""

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self.asked: list[bytes] = []
        """What the switch has been sent and has not answered."""
        self.wire = b""
        self.sent: dict[int, str] = {}
        """serial -> the command, without the `api ` before it"""
        self.got: dict[int, str] = {}
        self.events = 0
        assert list(protocol.receive(GREETING + ACCEPTED)) == [Opened()]
        protocol.data_to_send()

    def send(self, number: int) -> None:
        for _ in range(number):
            word = f"echo {len(self.sent)}"
            self.sent[self.protocol.send(f"api {word}")] = word

    def answer(self, number: int) -> None:
        self._answer(number, lambda word: output(word.decode()))

    def refuse(self, number: int) -> None:
        self._answer(number, lambda word: reply(f"-ERR {word.decode()}"))

    def _answer(self, number: int, form: Any) -> None:
        self.asked += re.findall(rb"api (.*)\n\n", self.protocol.data_to_send())
        for word in self.asked[:number]:
            self.wire += form(word)
        del self.asked[:number]

    def event(self, number: int) -> None:
        self.wire += EVENT * number
        self.events += number

    def read(self, number: int) -> None:
        size = len(self.wire) * number // 5
        self._take(self.wire[:size])
        self.wire = self.wire[size:]

    def _take(self, data: bytes) -> None:
        for item in self.protocol.receive(data):
            if type(item) is Reply:
                self.got[item.serial] = item.text.removeprefix("-ERR ")
            elif type(item) is Event:
                self.events -= 1

    def end(self) -> None:
        self.answer(len(self.sent))
        self.read(5)
        assert self.got == self.sent, "a command has another's answer, or none"
        assert self.events == 0
        assert self.protocol.unanswered == 0


def fails(make: Any, steps: list[tuple[str, int]]) -> bool:
    model = Model(make("ClueCon"))
    try:
        for what, number in steps:
            getattr(model, what)(number)
        model.end()
    except (AssertionError, SwitchError):
        return True
    return False


def test_each_command_gets_its_own_answer_whatever_comes_between() -> None:
    assert found(STEPS, lambda steps: fails(Protocol, steps), 300) is None


class ShiftedByOne(Protocol):
    """Gives the answer to the command after the one that it belongs to."""

    def _take_reply(self, frame: Frame) -> Item:
        if len(self._unanswered) > 1:
            self._unanswered.rotate(-1)
        return super()._take_reply(frame)


class NewestFirst(Protocol):
    """Takes an answer for one to the last command."""

    def _take_reply(self, frame: Frame) -> Item:
        self._unanswered.rotate(1)
        return super()._take_reply(frame)


class LeavingOut(Protocol):
    """Gives up the place of a command when the next one is sent, as if nobody waited for it any more."""

    def send(self, line: str, headers: Any = None) -> int:
        if self._unanswered:
            self._unanswered.popleft()
        return super().send(line, headers)


class WithoutRefusals(Protocol):
    """Does not count a refusal as an answer."""

    def _take(self, frame: Frame) -> Item | None:
        if frame.headers.get("reply-text", "").startswith("-ERR"):
            return None
        return super()._take(frame)


@pytest.mark.parametrize(
    "make",
    [ShiftedByOne, NewestFirst, LeavingOut, WithoutRefusals],
    ids=["shifted by one", "newest first", "a place is given up", "refusals are no answers"],
)
def test_the_model_finds_a_planted_bug(make: Any) -> None:
    assert found(STEPS, lambda steps: fails(make, steps), 300) is not None
