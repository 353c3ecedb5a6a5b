"""How far an answer can be trusted: whether every switch asked for is in sync, and how old the oldest data can be."""

from collections.abc import Sequence
from typing import Final

from callbridge.http.failures import Failure
from callbridge.mirror import Mirror

AGE_HEADER: Final = "Callbridge-Age"
"""Seconds since the switch asked for that has been silent longest last spoke: how old the oldest data can be."""


def not_live(mirror: Mirror, switches: Sequence[str]) -> list[str]:
    """Which of these switches are not live; none named: of all. One that is not known is not."""
    known = mirror.switches
    return [name for name in switches or known if name not in known or known[name].state != "live"]


def is_complete(mirror: Mirror, switches: Sequence[str], *, required: bool = False) -> bool:
    """Whether all of these switches are live. Raises Failure 503 where that is `required` and not so."""
    late = not_live(mirror, switches)
    if required and late:
        message = f"not every switch is live ({', '.join(late)}); try again, or ask without require=live"
        raise Failure(503, "SWITCH_UNAVAILABLE", message, headers={"Retry-After": "2"})
    return not late


def age_headers(mirror: Mirror, switches: Sequence[str], now: float) -> dict[str, str]:
    """The header that says how old an answer from these switches can be; none named: from all."""
    known = mirror.switches
    asked = [known[name] for name in switches or known if name in known]
    seen = [switch.seen for switch in asked if switch.seen is not None]
    return {AGE_HEADER: f"{max(0.0, now - min(seen)):.3f}"} if seen else {}
