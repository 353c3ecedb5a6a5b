"""Whether generated steps find what was planted: the same search for every model."""

from collections.abc import Callable

from hypothesis import HealthCheck, Phase, find, settings
from hypothesis.errors import NoSuchExample
from hypothesis.strategies import SearchStrategy

Steps = list[tuple[str, int]]


def found(steps: SearchStrategy[Steps], fails: Callable[[Steps], bool], examples: int) -> Steps | None:
    """A series of steps after which something is wrong, if one is found."""
    how = settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    try:
        return find(steps, fails, settings=how)
    except NoSuchExample:
        return None
