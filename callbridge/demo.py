"""Everything to try callbridge in one command: a simulated switch with traffic, and the service in front of it."""

import asyncio
import secrets
from collections.abc import Callable
from hashlib import sha256
from tempfile import TemporaryDirectory

from callbridge.config import AuditConfig, Config, Http, Switch, Tenant, Token
from callbridge.daemon import Daemon
from callbridge.simulator.server import EventSocket
from callbridge.simulator.switch import Switch as SimulatedSwitch
from callbridge.simulator.traffic import Load, Traffic


async def run(listen: str, load: Load, seed: int, say: Callable[[str], None]) -> None:
    """Run the demo until it is stopped. `say` gets what there is to read."""
    everybody, tenant = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    switch = SimulatedSwitch(seed)
    traffic = Traffic(switch, load, asyncio.get_running_loop().time, seed)
    with TemporaryDirectory(prefix="callbridge-demo-") as folder:
        async with EventSocket(switch) as port:
            daemon = Daemon(_configuration(port, listen, everybody, tenant, load, folder))
            await _serve(daemon, traffic, lambda: say(_welcome(daemon.url, everybody, tenant, load, folder)))


def _configuration(port: int, listen: str, everybody: str, tenant: str, load: Load, folder: str) -> Config:
    def token(name: str, text: str, tenant: str | None) -> Token:
        return Token(name, sha256(text.encode()).hexdigest(), ("read", "control", "monitor"), tenant)

    return Config(
        switch=(Switch("demo", f"127.0.0.1:{port}", password="ClueCon"),),  # noqa: S106 - the simulator's own
        token=(token("everybody", everybody, None), token("tenant", tenant, load.tenants[0])),
        tenant=tuple(Tenant(name, destinations=("0[0-9]{8,10}",)) for name in load.tenants),
        audit=AuditConfig(f"{folder}/audit.jsonl"),
        http=Http(listen=listen, cors_origins=("*",)),
    )


async def _serve(daemon: Daemon, traffic: Traffic, ready: Callable[[], None]) -> None:
    calls = asyncio.create_task(traffic.run())
    serving = asyncio.create_task(daemon.run())
    try:
        await asyncio.wait({asyncio.create_task(daemon.serving.wait()), serving}, return_when="FIRST_COMPLETED")
        if daemon.serving.is_set():
            ready()
        done, _ = await asyncio.wait({serving, calls}, return_when="FIRST_COMPLETED")
        for task in done:
            task.result()
    finally:
        for task in (serving, calls):
            task.cancel()
        await asyncio.gather(serving, calls, return_exceptions=True)


def _welcome(url: str, everybody: str, tenant: str, load: Load, folder: str) -> str:
    return f"""
callbridge demo: a simulated FreeSWITCH with {load.rate:g} new calls a second in {len(load.tenants)} tenants.

  {url}/v1/call

  curl -s -H 'Authorization: Bearer {everybody}' {url}/v1/call

  also: /v1/call?direction=inbound&limit=5     /v1/call/count?by=state     /v1/switch     /v1/monitor

Do something to a call (CALL_ID is one of the list's); who did what is in {folder}/audit.jsonl:

  curl -s -H 'Authorization: Bearer {everybody}' -d '{{"ext":"150","legs":"aleg"}}' {url}/v1/call/CALL_ID/transfer

  also: listen, whisper, barge {{"ext":"151"}}     park {{"legs":"aleg"}}     hold     hangup

Have extension 101 of {load.tenants[0]} call a mobile:

  curl -s -H 'Authorization: Bearer {tenant}' -d '{{"ext":"101","destination":"0899123456"}}' {url}/v1/call

Ctrl-C ends it.
"""
