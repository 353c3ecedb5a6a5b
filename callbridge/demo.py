"""Everything to try callbridge in one command: a simulated switch with traffic, and the service in front of it."""

import asyncio
import hashlib
import secrets
from collections.abc import Callable

from callbridge.config import Config, Http, Switch, Token
from callbridge.daemon import Daemon
from callbridge.simulator.server import EventSocket
from callbridge.simulator.switch import Switch as SimulatedSwitch
from callbridge.simulator.traffic import Load, Traffic


async def run(listen: str, load: Load, seed: int, say: Callable[[str], None]) -> None:
    """Run the demo until it is stopped. `say` gets what there is to read."""
    token = secrets.token_urlsafe(24)
    switch = SimulatedSwitch(seed)
    traffic = Traffic(switch, load, asyncio.get_running_loop().time, seed)
    async with EventSocket(switch) as port:
        everything = Token("demo", hashlib.sha256(token.encode()).hexdigest(), ("read", "control", "monitor"))
        config = Config(
            switch=(Switch("demo", f"127.0.0.1:{port}", password="ClueCon"),),  # noqa: S106 - the simulator's own
            token=(everything,),
            http=Http(listen=listen, cors_origins=("*",)),
        )
        daemon = Daemon(config)
        calls = asyncio.create_task(traffic.run())
        serving = asyncio.create_task(daemon.run())
        try:
            await asyncio.wait({asyncio.create_task(daemon.serving.wait()), serving}, return_when="FIRST_COMPLETED")
            if daemon.serving.is_set():
                say(_welcome(daemon.url, token, load))
            done, _ = await asyncio.wait({serving, calls}, return_when="FIRST_COMPLETED")
            for task in done:
                task.result()
        finally:
            for task in (serving, calls):
                task.cancel()
            await asyncio.gather(serving, calls, return_exceptions=True)


def _welcome(url: str, token: str, load: Load) -> str:
    return f"""
callbridge demo: a simulated FreeSWITCH with {load.rate:g} new calls a second in {len(load.tenants)} tenants.

  {url}/v1/call

  curl -s -H 'Authorization: Bearer {token}' {url}/v1/call

  also: /v1/call?direction=inbound&limit=5     /v1/call/count?by=state     /v1/switch

Ctrl-C ends it.
"""
