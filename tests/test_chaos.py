"""Some classes of fault, each once and with few calls, against a real daemon and a real Redis; and whether the check
itself sees what is wrong. `make chaos` does all of it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chaos import truth
from chaos.faults import FAULTS
from chaos.report import Measured, table
from tests.daemonkit import Pbx
from tests.redis_server import needs_redis

HERE = Path(__file__).parent.parent
SHORT = ("garbage", "switch-restarted", "redis-cut", "redis-flushed", "redis-failover", "daemon-killed")

Rows = list[dict[str, str]]


def chaos(*arguments: str, seconds: float = 110) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "chaos", "--live", "60", "--rate", "3", "--times", "1", *arguments]
    return subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=seconds, check=False)


class TestShort:
    pytestmark = needs_redis

    def test_after_each_fault_every_list_is_the_switchs_again(self) -> None:
        # The limit guards against hanging alone: how fast it is, is for a machine that does nothing else.
        done = chaos("--limit", "60", *(word for name in SHORT for word in ("--only", name)))
        assert done.returncode == 0, done.stdout + done.stderr
        lines = done.stdout.splitlines()
        for name in SHORT:
            (line,) = [line for line in lines if line.split()[:2] == [name, "1"]]
            assert " ok " in line

    def test_a_limit_that_is_passed_ends_with_1_and_tells_how_to_do_it_again(self) -> None:
        done = chaos("--only", "cut", "--seed", "7", "--limit", "0")
        assert done.returncode == 1, done.stdout + done.stderr
        assert "FAILED cut, seed 7: injection 0: right after " in done.stdout
        assert "python -m chaos --seed 7 --times 1 --only cut" in done.stdout


def rows(pbx: Pbx) -> Rows:
    """A right list."""
    return [{"direction": "inbound", **truth.row(leg)} for leg in truth.calls(pbx.switch).values()]


def test_the_calls_of_the_switch_are_the_truth() -> None:
    pbx = Pbx(5)
    assert truth.calls(pbx.switch).keys() == pbx.calls
    assert truth.differences(rows(pbx), truth.told(pbx.switch)) == []


def _ghost(listed: Rows) -> str:
    listed.append(listed[0] | {"call_id": "somebody-else"})
    return "ghost somebody-else"


def _lost(listed: Rows) -> str:
    return f"lost {listed.pop()['call_id']}"


def _field(name: str) -> Callable[[Rows], str]:
    def spoil(listed: Rows) -> str:
        was, listed[0][name] = listed[0][name], "wrong"
        return f"{listed[0]['call_id']}: {name} is 'wrong', not {was!r}"

    return spoil


_FIELDS = ("context", "created_time", "destination", "direction", "ip", "source", "state")
SPOILT: dict[str, Callable[[Rows], str]] = {
    "a ghost": _ghost,
    "a lost call": _lost,
    **{name: _field(name) for name in _FIELDS},
}
"""What spoils a list, and says how that is told."""


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_list_that_is_wrong_is_seen(spoil: Callable[[Rows], str]) -> None:
    pbx = Pbx(5)
    listed = rows(pbx)
    said = spoil(listed)
    assert truth.differences(listed, truth.told(pbx.switch)) == [said]


def test_a_call_that_is_ending_may_be_listed_or_not() -> None:
    pbx = Pbx(5)
    listed = rows(pbx)
    ending = listed[0]["call_id"]
    pbx.switch.channels[ending].number = 10
    true = truth.told(pbx.switch)
    assert truth.differences(listed, true) == truth.differences(listed[1:], true) == []


def test_the_table_has_the_times_of_each_class() -> None:
    measured = [Measured(FAULTS["cut"], [0.5, 1.0, 2.5]), Measured(FAULTS["reset"], [1.0], ["it was lost"])]
    _, _, cut, reset = table(measured).splitlines()
    assert cut.split()[:7] == ["cut", "3", "1.00", "2.50", "2.50", "10", "ok"]
    assert reset.split()[6] == "FAILED"


def test_there_are_enough_classes_and_each_says_why_its_limit_is_what_it_is() -> None:
    assert len(FAULTS) >= 20
    assert all(fault.why and fault.limit > 0 for fault in FAULTS.values())
