"""The waits between attempts: their bounds, and the chance in them."""

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from callbridge.backoff import delays

seconds = st.floats(0.001, 1000.0)
chance = st.floats(0.0, 1.0, exclude_max=True)


def test_without_chance_it_doubles_up_to_the_limit_and_stays_there() -> None:
    assert list(islice(delays(0.5, 5.0, lambda: 0.0), 7)) == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]


def test_chance_takes_away_up_to_a_half() -> None:
    chances = iter([0.5, 0.0, 0.25, 0.75])
    assert list(islice(delays(1.0, 8.0, lambda: next(chances)), 4)) == [0.75, 2.0, 3.5, 5.0]


def test_what_chance_took_away_is_not_missing_from_the_next_wait() -> None:
    chances = iter([0.999, 0.0])
    assert list(islice(delays(1.0, 8.0, lambda: next(chances)), 2))[1] == 2.0


def test_those_who_begin_at_once_do_not_stay_in_step() -> None:
    assert len({tuple(islice(delays(1.0, 8.0), 5)) for _ in range(20)}) == 20


@given(seconds, seconds, st.lists(chance, min_size=1, max_size=100))
def test_every_wait_is_between_a_half_and_the_whole_of_what_it_would_be(
    a: float, b: float, chances: list[float]
) -> None:
    first, limit = sorted((a, b))
    drawn = iter(chances)
    waits = list(islice(delays(first, limit, lambda: next(drawn)), len(chances)))
    full = list(islice(delays(first, limit, lambda: 0.0), len(chances)))
    assert len(waits) == len(chances)
    assert all(whole / 2 <= wait <= whole for wait, whole in zip(waits, full, strict=True))
    assert full == sorted(full)
    assert full[0] == first
    assert all(whole <= limit for whole in full)


@given(seconds)
def test_the_chance_of_this_machine_keeps_the_bounds(first: float) -> None:
    assert all(first / 2 <= wait <= first * 4 for wait in islice(delays(first, first * 4), 50))
