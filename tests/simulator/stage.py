"""Where deeds are done on the simulated switch: the phones of the real one, and the same calls."""

from typing import Final

from callbridge.simulator.channel import Parties
from callbridge.simulator.phones import Phones
from callbridge.simulator.scenarios import Call
from callbridge.simulator.traffic import Load
from tests.simulator.deeds import LEGS, SETTLE, TENANT
from tests.simulator.kit import WHO, World

RINGING: Final = Parties(TENANT, "101", "101", "0899000180", "0899000180")


def stage() -> World:
    """A world with the phones of the real switch's: twenty users, ten of them registered, four with habits."""
    phones = Phones([TENANT], range(101, 121))
    for extension, does in {107: "busy", 108: "ring", 109: "reject"}.items():
        phones.set(f"{extension}@{TENANT}", does)
    phones.set(f"110@{TENANT}", "answer", 2.0)
    for extension in range(111, 121):
        phones.set(f"{extension}@{TENANT}", "away")
    return World(Load(rate=0, tenants=[TENANT], duration=1e6, ring=(0.3, 0.3)), phones=phones)


def set_up(world: World, kind: str) -> None:
    if kind == "none":
        return
    who = RINGING if kind == "ringing" else WHO[kind]
    call = Call(world.traffic.machine, "outbound" if kind == "ringing" else kind, who, talk=1e6)
    world.traffic.timeline.start(call.run())
    world.wait(SETTLE)


def roles(world: World) -> dict[str, str]:
    created = [frame.event["Unique-ID"] for frame in world.json.frames if frame.event["Event-Name"] == "CHANNEL_CREATE"]
    return dict(zip(created, LEGS, strict=False))
