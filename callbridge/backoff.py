"""How long to wait before the next attempt: pure, so that tests need no clock."""

import random
from collections.abc import Callable, Iterator


def delays(first: float, limit: float, jitter: Callable[[], float] = random.random) -> Iterator[float]:
    """Seconds to wait before each next attempt: doubling from `first` to `limit`, less up to a half by chance, so that
    many who lost the same peer do not come back in step. `jitter` gives numbers in [0, 1). Never ends."""
    delay = first
    while True:
        yield delay * (1 - jitter() / 2)
        delay = min(limit, delay * 2)
