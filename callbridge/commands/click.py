"""Click to call: ring an extension, then dial for it."""

from callbridge.commands.legs import RINGING
from callbridge.commands.orders import Originate
from callbridge.commands.outcome import Refused
from callbridge.commands.ring import State, ring
from callbridge.commands.work import Work


async def place(work: Work, tenant: str, extension: str, destination: str, call_id: str, wait: bool) -> None:
    """Ring the extension's phones as the call `call_id`; the first that answers dials the destination, through the
    dialplan.

    Success is that a phone of the extension rings, or, with `wait`, that it has answered. The extension was checked.
    Raises Refused.
    """
    if destination == extension:
        raise Refused("INVALID_DESTINATION", f"destination: {extension} cannot call itself")
    await work.directory.demand_destination(work.console, destination, tenant)
    # The row says who calls, so the phone that rings shows its own number.
    variables = {"origination_caller_id_number": extension, "origination_caller_id_name": extension}
    order = Originate(
        call_id,
        extension,
        tenant,
        work.settings.ring_seconds,
        variables,
        destination=destination,
        context=work.context(tenant),
    )

    def state() -> State | None:
        record = work.record(call_id)
        legs = record.legs if record is not None else ()
        if any(leg.answered for leg in legs):
            return "up"
        return "rings" if any(leg.callstate in RINGING for leg in legs) else None

    await ring(work, order, "", state, wait)
