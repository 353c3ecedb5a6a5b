"""Waiting for what becomes of a call."""

import asyncio
from collections.abc import Callable

from callbridge.commands.watch import Watch
from callbridge.mirror import Mirror
from callbridge.records import Ended
from tests.commands.kit import CALL, CALLED, talking
from tests.http.samples import change
from tests.service import Clock

T = str | None


class Looking:
    """A watch, and how often was looked."""

    def __init__(self) -> None:
        self.mirror = Mirror(["pbx", "east"])
        change(self.mirror, talking())
        self.clock = Clock()
        self.watch = Watch(self.mirror, self.clock.sleep)
        self.looks = 0

    def until(self, look: Callable[[], T], call_id: str = CALL, switch: str = "pbx") -> "asyncio.Task[T]":
        def counted() -> T:
            self.looks += 1
            return look()

        return asyncio.ensure_future(self.watch.until(switch, call_id, counted, 5.0))

    def destination(self) -> T:
        record = self.mirror.find_on("pbx", CALL)
        return "there" if record is not None and record.destination == "102" else None


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_so_already_is_found_at_once() -> None:
    looking = Looking()
    assert await looking.until(lambda: "so") == "so"
    assert looking.looks == 1


async def test_it_looks_again_when_the_call_changes_and_never_in_between() -> None:
    looking = Looking()
    waiting = looking.until(looking.destination)
    await turn()
    change(looking.mirror, talking(destination="101"))
    await turn()
    assert looking.looks == 2
    looking.clock.pass_time(4.9)
    change(looking.mirror, talking(destination="102"))
    assert await waiting == "there"
    assert looking.looks == 3


async def test_the_changes_of_other_calls_and_other_switches_are_none() -> None:
    looking = Looking()
    waiting = looking.until(looking.destination)
    await turn()
    change(looking.mirror, talking(call_id="other", ids=(), legs=()))
    looking.mirror.apply("east", [talking()], (), (), 0.0)
    await turn()
    assert looking.looks == 1
    waiting.cancel()


async def test_when_the_time_is_up_it_has_found_nothing() -> None:
    looking = Looking()
    waiting = looking.until(lambda: None)
    await turn()
    looking.clock.pass_time(4.9)
    await turn()
    assert not waiting.done()
    looking.clock.pass_time(0.1)
    assert await waiting is None


async def test_what_becomes_true_in_the_last_moment_counts() -> None:
    looking = Looking()
    waiting = looking.until(looking.destination)
    await turn()
    change(looking.mirror, talking(destination="102"))
    looking.clock.pass_time(5.0)
    assert await waiting == "there"


async def test_any_id_of_the_call_will_do() -> None:
    looking = Looking()
    waiting = looking.until(looking.destination, CALLED)
    await turn()
    change(looking.mirror, talking(destination="102"))
    assert await waiting == "there"


async def test_the_end_of_the_call_is_a_change() -> None:
    looking = Looking()
    for ids in ((CALLED,), ()):
        waiting = looking.until(lambda: "over" if looking.mirror.find_on("pbx", CALLED) is None else None, CALLED)
        await turn()
        ended = [Ended(CALL, "a.example", ids, "2021-06-08 17:40:00", "NORMAL_CLEARING")]
        change(looking.mirror, gone=[CALL], ended=ended)
        assert await waiting == "over"
        change(looking.mirror, talking())


async def test_a_call_that_becomes_part_of_another_is_watched_there() -> None:
    looking = Looking()
    looks: list[str] = []

    def look() -> T:
        record = looking.mirror.find_on("pbx", CALLED)
        assert record is not None
        looks.append(record.call_id)
        return "there" if record.destination == "102" else None

    waiting = looking.until(look, CALLED)
    await turn()
    older = talking(call_id="older", ids=(CALL, CALLED), legs=())
    over = Ended(CALL, "a.example", (CALLED,), "2021-06-08 17:40:00", "")
    looking.mirror.apply("pbx", [older], [CALL], [over], 0.0)
    await turn()
    change(looking.mirror, talking(call_id="older", ids=(CALL, CALLED), legs=(), destination="102"))
    assert await waiting == "there"
    assert looks == [CALL, "older", "older"]


async def test_a_call_that_is_not_there_yet_is_waited_for() -> None:
    looking = Looking()
    waiting = looking.until(lambda: "here" if looking.mirror.find_on("pbx", "new") else None, "new")
    await turn()
    change(looking.mirror, talking(call_id="new", ids=(), legs=()))
    assert await waiting == "here"


async def test_nothing_is_kept_of_who_waits_no_more() -> None:
    looking = Looking()
    waiting = [looking.until(lambda: None, call_id) for call_id in (CALL, CALLED, "x")]
    await turn()
    assert f"{looking.watch!r}" == "<Watch 2 calls watched>"
    waiting[0].cancel()
    looking.clock.pass_time(5.0)
    await asyncio.gather(*waiting, return_exceptions=True)
    assert f"{looking.watch!r}" == "<Watch 0 calls watched>"
    change(looking.mirror, talking(destination="102"))


async def test_many_wait_for_one_call() -> None:
    mirror = Mirror(["pbx"])
    watch = Watch(mirror, Clock().sleep)
    look: Callable[[], T] = lambda: "here" if mirror.find_on("pbx", CALL) else None  # noqa: E731
    waiting = [asyncio.ensure_future(watch.until("pbx", CALL, look, 5.0)) for _ in range(50)]
    await turn()
    change(mirror, talking())
    assert set(await asyncio.gather(*waiting)) == {"here"}
