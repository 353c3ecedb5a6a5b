"""Who is at the other end: the users of each tenant, which of their phones are registered and what these do, and the
world outside.

Of every tenant the users 101 to 199 exist, each with one registered phone that answers. `Phones.set`, or
`simulator phone EXT@DOMAIN answer|busy|reject|ring|away` on the event socket, has it do something else, or gives the
user several phones (`ring,answer`). A number outside answers, unless it ends in 486 (busy) or 180 (rings for ever).
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from callbridge.simulator.timeline import FOREVER

EXTENSIONS: Final = range(101, 200)
"""The users that exist, in every tenant, unless others are asked for."""

DOES: Final = ("answer", "busy", "reject", "ring", "away")
"""What a phone can do when it is called; away: it is not registered."""

ONE_PHONE: Final[tuple[list[str], float | None]] = (["answer"], None)
"""What a user has of whom nothing else was said."""

BUSY_SUFFIX: Final = "486"
RINGING_SUFFIX: Final = "180"
"""By what a number outside is known to be busy, or to ring for ever."""

PHONES_PORT: Final = 16060
"""Where the phones are, on loopback."""


class FarEnd(msgspec.Struct, frozen=True):
    """What comes of calling somebody. `cause`: of a refusal, with a leg that is refused or, without `leg`, before one
    comes up. `after`: seconds until it answers; None where that is left to the call."""

    number: str
    cause: str = ""
    leg: bool = True
    after: float | None = None


class Phones:
    """The directory of a simulated switch, and what is behind it."""

    def __init__(self, tenants: Iterable[str] = (), extensions: range = EXTENSIONS) -> None:
        self._tenants = set(tenants)
        self._extensions = extensions
        self._does: dict[str, tuple[list[str], float | None]] = {}
        """EXT@DOMAIN -> what each of the registered phones does, and seconds until they answer"""

    def __repr__(self) -> str:
        return f"<Phones of {len(self._tenants)} tenants, {len(self._does)} set>"

    def add_tenant(self, domain: str) -> None:
        """One more tenant with its users."""
        self._tenants.add(domain)

    def serves(self, domain: str) -> bool:
        """Whether this is a tenant's domain."""
        return domain in self._tenants

    def exists(self, extension: str, domain: str) -> bool:
        """Whether there is such a user."""
        return domain in self._tenants and extension.isdecimal() and int(extension) in self._extensions

    def contact(self, address: str) -> str:
        """Where the phones of `EXT@DOMAIN` are registered, as `sofia_contact` says."""
        extension, _, domain = address.removeprefix("*/").partition("@")
        does, _ = self._does.get(f"{extension}@{domain}", ONE_PHONE)
        if not self.exists(extension, domain) or not does:
            return "error/user_not_registered"
        where = (
            f"sofia/internal/sip:{extension}@127.0.0.1:{PHONES_PORT};t={domain};transport=udp;gw={extension}-{domain}"
        )
        return ",".join([where, *(f"{where}-{number}" for number in range(2, len(does) + 1))])

    def set(self, address: str, does: str, after: float | None = None) -> None:
        """Have the phones of `EXT@DOMAIN`, with commas between them, do something; `after`: seconds until they answer.

        Raises ValueError with what is wrong.
        """
        each = does.split(",")
        for wrong in (one for one in each if one not in DOES):
            raise ValueError(f"a phone can {', '.join(DOES)}, not {wrong}")
        extension, _, domain = address.partition("@")
        if not self.exists(extension, domain):
            raise ValueError(f"there is no user {address}")
        self._does[address] = ([one for one in each if one != "away"], after)

    def find(self, target: str) -> FarEnd:
        """Whom a bridge to a dial string reaches. It rings only one phone of a user: the one that answers first."""
        return min(self.find_all(target), key=lambda far: (far.cause != "", far.after or 0.0))

    def find_all(self, target: str) -> list[FarEnd]:
        """Every phone that a dial string reaches: `user/EXT@DOMAIN`, or `sofia/gateway/NAME/NUMBER`. At least one."""
        kind, _, address = target.partition("/")
        if kind == "sofia":
            return [self._outside(address)]
        if kind == "error":
            return [FarEnd("", address.upper(), leg=False)]
        extension, _, domain = address.partition("@")
        if kind != "user" or not self.exists(extension, domain):
            return [FarEnd(extension, "SUBSCRIBER_ABSENT" if kind == "user" else "CHAN_NOT_IMPLEMENTED", leg=False)]
        does, after = self._does.get(address, ONE_PHONE)
        phones = [self._phone(extension, one, after) for one in does]
        return phones or [FarEnd(extension, "USER_NOT_REGISTERED", leg=False)]

    def _phone(self, extension: str, does: str, after: float | None) -> FarEnd:
        match does:
            case "busy":
                return FarEnd(extension, "USER_BUSY")
            case "reject":
                return FarEnd(extension, "CALL_REJECTED")
            case "ring":
                return FarEnd(extension, after=FOREVER)
        return FarEnd(extension, after=after)

    def _outside(self, address: str) -> FarEnd:
        gateway, _, number = address.rpartition("/")
        if gateway != "gateway/pstn":
            return FarEnd(number, "INVALID_GATEWAY", leg=False)
        if number.endswith(BUSY_SUFFIX):
            return FarEnd(number, "USER_BUSY")
        return FarEnd(number, after=FOREVER if number.endswith(RINGING_SUFFIX) else None)
