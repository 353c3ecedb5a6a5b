"""Where a call may be sent: extensions of its tenant that exist and are registered, and what the operator allows."""

import re
from collections.abc import Mapping, Sequence

from callbridge.commands.console import Console
from callbridge.commands.orders import Contact, UserExists
from callbridge.commands.outcome import Refused


class Directory:
    """Asks a switch about users. `allowed`: tenant -> patterns of destinations that are no users."""

    def __init__(self, allowed: Mapping[str, Sequence[str]]) -> None:
        self._allowed = {tenant: [re.compile(text) for text in texts] for tenant, texts in allowed.items()}

    async def demand_phone(self, console: Console, extension: str, tenant: str) -> None:
        """Raises Refused: INVALID_DESTINATION where there is no such user, USER_NOT_REGISTERED without a phone."""
        if not await self.is_user(console, extension, tenant):
            raise Refused("INVALID_DESTINATION", f"ext: {tenant} has no extension {extension}")
        await self._demand_registration(console, extension, tenant)

    async def demand_destination(self, console: Console, destination: str, tenant: str) -> bool:
        """Whether a call may be sent there; gives whether it is a user. Raises Refused as `demand_phone` does."""
        if await self.is_user(console, destination, tenant):
            await self._demand_registration(console, destination, tenant)
            return True
        if any(pattern.fullmatch(destination) for pattern in self._allowed.get(tenant, ())):
            return False
        message = f"{tenant} has no extension {destination}, and no pattern of its [[tenant]] allows that number"
        raise Refused("INVALID_DESTINATION", message)

    async def is_user(self, console: Console, extension: str, tenant: str) -> bool:
        """Whether the tenant has this user, registered or not."""
        return await console.tell(UserExists(extension, tenant)) == "true"

    async def is_registered(self, console: Console, extension: str, tenant: str) -> bool:
        """Whether a phone of this user is registered."""
        # All that is no contact begins so (mod_sofia.c, `sofia_contact_function`).
        contact = await console.tell(Contact(extension, tenant))
        return bool(contact) and not contact.startswith("error/")

    async def _demand_registration(self, console: Console, extension: str, tenant: str) -> None:
        if not await self.is_registered(console, extension, tenant):
            raise Refused("USER_NOT_REGISTERED", f"no phone of extension {extension} is registered")
