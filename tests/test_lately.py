"""What happened lately: found by any key, for its time, the newest."""

from hypothesis import given
from hypothesis import strategies as st

from callbridge.lately import Lately


def test_it_is_found_by_every_key_for_its_time() -> None:
    lately = Lately[int](10.0)
    lately.put(("a", "b"), 1, 0.0)
    assert [lately.get(key, 10.0) for key in ("a", "b", "c")] == [1, 1, None]
    assert lately.get("a", 10.1) is None
    assert lately.get("a") == 1


def test_no_more_than_so_many_are_kept_the_newest() -> None:
    lately = Lately[int](10.0, 2)
    for number in range(3):
        lately.put((str(number),), number, 0.0)
    assert [lately.get(str(number), 0.0) for number in range(3)] == [None, 1, 2]


def test_what_happens_again_is_kept_for_its_own_time() -> None:
    lately = Lately[int](10.0)
    lately.put(("a", "b"), 1, 0.0)
    lately.put(("b",), 2, 5.0)
    lately.put(("c",), 3, 12.0)
    assert [lately.get(key) for key in ("a", "b", "c")] == [None, 2, 3]
    lately.drop("b")
    assert lately.get("b") is None


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.floats(0.0, 4.0), st.booleans())))
def test_it_remembers_as_a_list_of_everything_would(steps: list[tuple[str, float, bool]]) -> None:
    lately, everything, now = Lately[int](10.0), dict[str, tuple[float, int]](), 0.0
    for number, (key, pause, goes) in enumerate(steps):
        now += pause
        if goes:
            lately.drop(key)
            everything.pop(key, None)
        else:
            lately.put((key,), number, now)
            everything[key] = now, number
        for name in "abcde":
            at, value = everything.get(name, (-11.0, -1))
            assert lately.get(name, now) == (value if now - at <= 10.0 else None)
