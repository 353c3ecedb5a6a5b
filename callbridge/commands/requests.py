"""What a consumer can ask for: checked values, and which command carries them out."""

from typing import Any, ClassVar, Literal
from uuid import uuid4

import msgspec

from callbridge.calls import Side
from callbridge.commands import click, monitors, simple, transfer
from callbridge.commands.legs import Wanted
from callbridge.commands.work import Work
from callbridge.records import Mode, Record


def _new_id() -> str:
    return str(uuid4())


class Request(msgspec.Struct, frozen=True, tag_field="command"):
    """One thing asked for. `waits_its_turn`: whether it must not begin while another command is under way."""

    waits_its_turn: ClassVar[bool] = True

    def described(self) -> dict[str, Any]:
        """As it stands in the audit log."""
        return {name: value for name, value in msgspec.to_builtins(self).items() if value != ""}


class OnCall(Request, frozen=True):
    """Something to be done to a call."""

    async def do(self, work: Work, record: Record) -> None:
        """Do it. Raises Refused."""
        raise NotImplementedError


class Transfer(OnCall, frozen=True, tag="transfer"):
    """See `transfer.transfer`."""

    ext: str
    legs: Side

    async def do(self, work: Work, record: Record) -> None:
        await transfer.transfer(work, record, self.ext, self.legs)


class Park(OnCall, frozen=True, tag="park"):
    """See `transfer.park`."""

    legs: Side

    async def do(self, work: Work, record: Record) -> None:
        await transfer.park(work, record, self.legs)


class Monitor(OnCall, frozen=True, tag="monitor"):
    """See `monitors.start`. `monitor_id`: what the monitor is to be called."""

    waits_its_turn = False
    mode: Mode
    ext: str
    legs: Wanted = ""
    wait: bool = False
    monitor_id: str = msgspec.field(default_factory=_new_id)

    async def do(self, work: Work, record: Record) -> None:
        await monitors.start(work, record, self.mode, self.ext, self.legs, self.monitor_id, self.wait)


class ChangeMonitor(OnCall, frozen=True, tag="change_monitor"):
    """See `monitors.change`."""

    monitor_id: str
    mode: Mode

    async def do(self, work: Work, record: Record) -> None:
        await monitors.change(work, record, self.monitor_id, self.mode)


class StopMonitor(OnCall, frozen=True, tag="stop_monitor"):
    """See `monitors.stop`."""

    waits_its_turn = False
    monitor_id: str

    async def do(self, work: Work, record: Record) -> None:
        await monitors.stop(work, record, self.monitor_id)


class HangUp(OnCall, frozen=True, tag="hangup"):
    """See `simple.hang_up`."""

    waits_its_turn = False
    cause: str

    async def do(self, work: Work, record: Record) -> None:
        await simple.hang_up(work, record, self.cause)


class Hold(OnCall, frozen=True, tag="hold"):
    """See `simple.hold`."""

    on: bool
    legs: Wanted = ""

    async def do(self, work: Work, record: Record) -> None:
        await simple.hold(work, record, self.legs, self.on)


class Mute(OnCall, frozen=True, tag="mute"):
    """See `simple.mute`."""

    on: bool
    legs: Side

    async def do(self, work: Work, record: Record) -> None:
        await simple.mute(work, record, self.legs, self.on)


class Dtmf(OnCall, frozen=True, tag="dtmf"):
    """See `simple.send_dtmf`."""

    legs: Side
    digits: str

    def described(self) -> dict[str, Any]:
        # The keys may be a PIN.
        return {"command": "dtmf", "legs": self.legs, "digits": len(self.digits)}

    async def do(self, work: Work, record: Record) -> None:
        await simple.send_dtmf(work, record, self.legs, self.digits)


class RecordCall(OnCall, frozen=True, tag="record"):
    """See `simple.record_call`."""

    action: Literal["start", "stop"]

    async def do(self, work: Work, record: Record) -> None:
        await simple.record_call(work, record, self.action == "start")


class Place(Request, frozen=True, tag="call"):
    """See `click.place`. `call_id`: what the call is to be called."""

    ext: str
    destination: str
    wait: bool = False
    call_id: str = msgspec.field(default_factory=_new_id)

    async def do(self, work: Work, tenant: str) -> None:
        """Place the call. Raises Refused."""
        await click.place(work, tenant, self.ext, self.destination, self.call_id, self.wait)
