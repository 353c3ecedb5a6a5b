"""The time as a switch's clock on the wall shows it, in its events and in `show channels`: `2021-06-08 17:37:37`."""

from datetime import UTC, datetime
from functools import lru_cache


def local_time(us: int, offset: int) -> str:
    """That many microseconds since 1970 on a clock that is `offset` seconds ahead of UTC."""
    return _text(us // 1_000_000 + offset)


def utc_offset(text: str, us: int) -> int | None:
    """Seconds by which the clock is ahead of UTC that shows `text` at that many microseconds since 1970; None where the
    text is no time."""
    shown = _seconds(text)
    return None if shown is None else shown - us // 1_000_000


@lru_cache(maxsize=256)
def _text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


@lru_cache(maxsize=256)
def _seconds(text: str) -> int | None:
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None
