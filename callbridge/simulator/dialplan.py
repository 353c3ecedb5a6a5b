"""Where a number leads: the dialplan of the recordings' switch.

In a tenant's context three digits from 100 to 199 are a user, nine to eleven with a leading 0 go out through the
gateway. Context `public` takes what comes in to the tenant. Whatever else is dialled leads nowhere.
"""

import re
from collections.abc import Callable
from typing import Final

Action = tuple[str, str]
"""An application and its argument."""

_USER: Final = re.compile(r"1[0-9]{2}")
_OUTSIDE: Final = re.compile(r"0[0-9]{8,10}")
_INCOMING: Final = re.compile(r"0[0-9]{9}([0-9]{3,4})")
_DIRECTIONS: Final = frozenset(("inbound", "outbound", "local"))


def route(destination: str, context: str, tenant: str, variable: Callable[[str], str]) -> list[Action]:
    """What to execute; empty for a number without a route. `tenant`: whose calls come in to `public`."""
    if context == "public":
        incoming = _INCOMING.fullmatch(destination)
        if incoming is None:
            return []
        transfer = ("transfer", f"{incoming[1]} XML {tenant}")
        return [("export", "call_direction=inbound"), ("set", f"domain_name={tenant}"), transfer]
    actions: list[Action] = []
    if variable("call_direction") not in _DIRECTIONS:
        actions.append(("export", "call_direction=local"))
    settle = [("set", f"domain_name={context}"), ("set", "hangup_after_bridge=true")]
    if _OUTSIDE.fullmatch(destination):
        actions += [("export", "call_direction=outbound"), *settle]
        actions.append(("bridge", f"sofia/gateway/pstn/{destination}"))
    elif _USER.fullmatch(destination):
        actions += [*settle, ("set", "continue_on_fail=false"), ("bridge", f"user/{destination}@{context}")]
    return actions


def inline(destination: str) -> list[Action]:
    """The dialplan `inline`: `APPLICATION:ARGUMENT`, several with commas."""
    pairs = (part.partition(":") for part in destination.split(","))
    return [(application, argument) for application, _, argument in pairs]
