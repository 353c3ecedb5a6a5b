"""Some classes of fault, each once, against two daemons in front of a real switch; and whether the check itself sees
what is wrong. `python -m chaos --real` does all of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from callbridge.simulator.traffic import Load
from chaos.pbx import Seen
from chaos.real import Real, calls
from tests.real.conftest import eventually
from tests.real.driver import Console
from tests.redis_server import needs_redis
from tests.test_chaos import SPOILT, Rows, chaos

SHORT = ("cut", "mid-frame", "redis-killed", "owner-killed")

CALLS = 6
"""That live while the test lasts."""


class TestShort:
    pytestmark = needs_redis

    @pytest.mark.timeout(300)  # two switches, two daemons and a lease that has to end
    def test_after_each_fault_every_list_is_the_switchs_again(self) -> None:
        # The limit guards against hanging alone: how fast it is, is for a machine that does nothing else.
        load = ("--live", "12", "--rate", "1", "--limit", "60")
        done = chaos("--real", *load, *(word for name in SHORT for word in ("--only", name)), seconds=280)
        assert done.returncode == 0, done.stdout + done.stderr
        for name in SHORT:
            (line,) = [line for line in done.stdout.splitlines() if line.split()[:2] == [name, "1"]]
            assert " ok " in line


def test_a_class_that_a_real_switch_does_not_allow_is_refused() -> None:
    done = chaos("--real", "--only", "clock-jump")
    assert done.returncode == 2
    assert "a real switch does not allow clock-jump" in done.stderr


@pytest.fixture
async def real(tmp_path: Path) -> AsyncIterator[Real]:
    pbx = Real(tmp_path, Load(0.001, 600.0, CALLS), 1)
    try:
        await pbx.start()
        yield pbx
    finally:
        await pbx.close()


async def test_a_list_that_is_wrong_is_seen(real: Real) -> None:
    right: Rows = []

    async def differences(listed: Rows) -> list[str]:
        async def look() -> Seen:
            return Seen({"list": listed}, [])

        return await real.compare(look)

    async def settled() -> bool:
        # Some phones refuse: a call that ends meanwhile is a difference.
        nonlocal right
        right = list((await calls(console)).values())
        return bool(right) and all("direction" in row for row in right) and await differences(right) == []

    console = await Console.open(real.port)
    await eventually(settled, 60)
    console.close()
    assert await real.living() == {row["call_id"] for row in right}
    for spoil in SPOILT.values():
        listed = [dict(row) for row in right]
        assert f"list: {spoil(listed)}" in await differences(listed)
