"""A user with several phones: whoever listens or calls has all of them ring, and is one monitor or one call."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from callbridge.config import AuditConfig, Commands, Config, Http, Switch, Tenant, Token
from callbridge.simulator.bridging import RINGS_FOR
from tests import daemonkit
from tests.daemonkit import SECRET, Pbx, make_quick
from tests.service import TOKEN
from tests.simulator.kit import PATIENCE

TENANT = "test.tel4vn.com"
SUPERVISOR = "150"
"""Of an extension that no simulated call is of."""

MOBILE = "0899123456"
ANSWERS_AFTER = 10.0
SOON = 1.0
"""Seconds: what the switch has to do of its own is due within less, and no phone answers."""


class Answer(NamedTuple):
    status: int
    body: dict[str, Any]

    @property
    def data(self) -> Any:
        return self.body["data"]


class Stage:
    """callbridge before a switch at which nobody answers before the test wants it."""

    def __init__(self, pbx: Pbx, config: Config) -> None:
        self.pbx = pbx
        self._config = config
        self._url = ""
        self._client: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def callbridge(self) -> AsyncIterator[None]:
        """callbridge runs, and knows all calls."""
        async with daemonkit.serving(self._config) as service, aiohttp.ClientSession() as self._client:
            self._url = service.daemon.url
            await self.eventually(self._live)
            yield

    def phones(self, does: str) -> None:
        """What the phones of the supervisor do."""
        line = f"simulator phone {SUPERVISOR}@{TENANT} {does} {ANSWERS_AFTER}"
        assert self.pbx.switch.api(line) == "+OK\n"

    def ringing(self) -> list[str]:
        """The supervisor's channels that live."""
        channels = self.pbx.switch.channels.values()
        return [c.uuid for c in channels if c.presence_id == f"{SUPERVISOR}@{TENANT}" and not c.dead]

    async def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """The answer. With `wait=answer` phones answer, or are no longer rung, before it comes."""
        within = RINGS_FOR if "wait=answer" in path else SOON
        task = asyncio.ensure_future(self._ask(method, path, body))
        async with asyncio.timeout(PATIENCE):
            while not task.done():
                self.pbx.come_due(within)
                await asyncio.sleep(0)
        return await task

    async def call(self, call_id: str) -> Any:
        return (await self.ask("GET", f"/v1/call/{call_id}")).data

    async def rows(self) -> list[Any]:
        return list((await self.ask("GET", "/v1/call")).data)

    async def monitor(self, monitor_id: str) -> Any:
        return (await self.ask("GET", f"/v1/monitor/{monitor_id}")).data

    async def eventually(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Wait until it holds; phones answer meanwhile."""
        async with asyncio.timeout(PATIENCE):
            while not await condition():
                self.pbx.come_due(ANSWERS_AFTER)

    async def _ask(self, method: str, path: str, body: Any) -> Answer:
        assert self._client is not None
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with self._client.request(method, self._url + path, json=body, headers=headers) as response:
            return Answer(response.status, await response.json())

    async def _live(self) -> bool:
        return bool((await self._ask("GET", "/v1/call", None)).body["complete"])


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """A switch with an event socket, before callbridge follows it."""
    make_quick(monkeypatch)
    pbx = Pbx()
    async with pbx.listen() as port:
        yield Stage(pbx, configuration(port, tmp_path))


def configuration(port: int, folder: Path) -> Config:
    return Config(
        switch=(Switch("pbx", f"127.0.0.1:{port}", password=SECRET),),
        token=(Token("t", sha256(TOKEN.encode()).hexdigest(), ("read", "control", "monitor"), TENANT),),
        tenant=(Tenant(TENANT, destinations=("0[0-9]{8,10}",)),),
        commands=Commands(ring_seconds=20),
        audit=AuditConfig(f"{folder}/audit.jsonl"),
        http=Http(listen="127.0.0.1:0"),
    )


async def listen(stage: Stage, query: str = "") -> tuple[str, Answer]:
    """A call, and what comes of a supervisor's wish to listen to it."""
    call_id = stage.pbx.call(TENANT)

    async def known() -> bool:
        return [row["call_id"] for row in await stage.rows()] == [call_id]

    await stage.eventually(known)
    path = f"/v1/call/{call_id}/listen{query}"
    return call_id, await stage.ask("POST", path, {"ext": SUPERVISOR})


async def only_monitor(stage: Stage) -> Any:
    (monitor,) = (await stage.ask("GET", "/v1/monitor")).data
    return monitor


async def nobody_rings(stage: Stage) -> None:
    async def quiet() -> bool:
        return not stage.ringing()

    await stage.eventually(quiet)


async def test_all_phones_of_a_supervisor_ring_and_are_one_monitor(stage: Stage) -> None:
    stage.phones("ring,answer,ring")
    async with stage.callbridge():
        call_id, answer = await listen(stage)
        assert answer.status == 200, answer
        assert len(stage.ringing()) == 3
        ringing = await only_monitor(stage)
        assert (ringing["call_id"], ringing["ext"], ringing["state"]) == (call_id, SUPERVISOR, "ringing")
        (monitor,) = (await stage.call(call_id))["monitors"]
        assert monitor["uuid"] == ringing["monitor_id"]
        assert len(await stage.rows()) == 1

        async def active() -> bool:
            return bool((await only_monitor(stage))["state"] == "active" and len(stage.ringing()) == 1)

        await stage.eventually(active)
        monitor_id = (await only_monitor(stage))["monitor_id"]
        assert monitor_id == ringing["monitor_id"]
        (monitor,) = (await stage.call(call_id))["monitors"]
        assert (monitor["uuid"], [monitor["channel"]]) == (monitor_id, stage.ringing())
        answer = await stage.ask("PATCH", f"/v1/monitor/{monitor_id}", {"mode": "barge"})
        assert (answer.status, (await stage.monitor(monitor_id))["mode"]) == (200, "barge"), answer
        assert (await stage.ask("DELETE", f"/v1/monitor/{monitor_id}")).status == 200
        assert (await stage.monitor(monitor_id))["state"] == "ended"
        assert (stage.ringing(), len(await stage.rows())) == ([], 1)


async def test_the_answer_that_is_waited_for_is_that_of_any_phone(stage: Stage) -> None:
    stage.phones("busy,ring,answer")
    async with stage.callbridge():
        _, answer = await listen(stage, "?wait=answer")
        assert (answer.status, (await only_monitor(stage))["state"]) == (200, "active"), answer


async def test_a_monitor_is_stopped_while_its_phones_ring(stage: Stage) -> None:
    stage.phones("ring,ring")
    async with stage.callbridge():
        call_id, _ = await listen(stage)
        monitor_id = (await only_monitor(stage))["monitor_id"]
        assert (await stage.ask("PATCH", f"/v1/monitor/{monitor_id}", {"mode": "barge"})).body[
            "error"
        ] == "NOT_ANSWERED"
        assert (await stage.ask("DELETE", f"/v1/monitor/{monitor_id}")).status == 200
        await nobody_rings(stage)
        assert [row["call_id"] for row in await stage.rows()] == [call_id]
        assert (await stage.monitor(monitor_id))["state"] == "ended"


async def test_when_the_call_ends_all_phones_stop_ringing(stage: Stage) -> None:
    stage.phones("ring,ring")
    async with stage.callbridge():
        call_id, _ = await listen(stage)
        monitor_id = (await only_monitor(stage))["monitor_id"]
        assert (await stage.ask("POST", f"/v1/call/{call_id}/hangup")).status == 200
        await nobody_rings(stage)

        async def told() -> bool:
            return bool((await stage.monitor(monitor_id))["error"] == "CALL_ENDED")

        await stage.eventually(told)
        assert await stage.rows() == []


@pytest.mark.parametrize(
    ("does", "code"),
    [
        ("busy,busy", "USER_BUSY"),
        ("reject,busy", "CALL_REJECTED"),
        ("busy,ring", "NO_ANSWER"),
        ("ring,ring", "NO_ANSWER"),
        ("away,away", "USER_NOT_REGISTERED"),
    ],
)
async def test_why_none_of_the_phones_has_answered(stage: Stage, does: str, code: str) -> None:
    stage.phones(does)
    async with stage.callbridge():
        call_id, answer = await listen(stage, "?wait=answer")
        assert (answer.status, answer.body["error"]) == (409, code)
        body = {"ext": SUPERVISOR, "destination": MOBILE}
        placed = await stage.ask("POST", "/v1/call?wait=answer", body)
        assert (placed.status, placed.body["error"]) == (409, code)
        await nobody_rings(stage)
        assert (await stage.ask("GET", "/v1/monitor")).data == []
        assert [row["call_id"] for row in await stage.rows()] == [call_id]


@pytest.mark.parametrize("does", ["ring,answer", "answer,ring", "busy,answer", "answer,answer"])
async def test_a_placed_call_rings_all_phones_and_is_one_call(stage: Stage, does: str) -> None:
    stage.phones(does)
    async with stage.callbridge():
        answer = await stage.ask("POST", "/v1/call", {"ext": SUPERVISOR, "destination": MOBILE})
        assert answer.status == 200, answer
        call_id = answer.body["call_id"]
        assert [row["call_id"] for row in await stage.rows()] == [call_id]
        sides = [(leg["side"], leg["number"]) for leg in (await stage.call(call_id))["legs"]]
        assert sides == [("aleg", SUPERVISOR)] * (2 - does.count("busy"))

        async def talks() -> bool:
            call = await stage.call(call_id)
            return [leg["answered"] for leg in call["legs"]] == [True, True]

        await stage.eventually(talks)
        (row,) = await stage.rows()
        assert (row["call_id"], row["source"], row["destination"]) == (call_id, SUPERVISOR, MOBILE)
        legs = (await stage.call(call_id))["legs"]
        assert [(leg["side"], leg["number"]) for leg in legs] == [("aleg", SUPERVISOR), ("bleg", MOBILE)]
        assert [legs[0]["uuid"]] == stage.ringing()
        assert (await stage.ask("POST", f"/v1/call/{call_id}/hangup")).status == 200
        assert (await stage.ask("GET", f"/v1/call/{call_id}")).status == 410
        await nobody_rings(stage)


async def test_a_placed_call_is_hung_up_while_its_phones_ring(stage: Stage) -> None:
    stage.phones("ring,ring")
    async with stage.callbridge():
        answer = await stage.ask("POST", "/v1/call", {"ext": SUPERVISOR, "destination": MOBILE})
        assert (await stage.ask("POST", f"/v1/call/{answer.body['call_id']}/hangup")).status == 200
        assert (await stage.rows(), stage.ringing()) == ([], [])


async def test_after_a_restart_calls_and_monitors_are_known_by_their_ids(stage: Stage) -> None:
    stage.phones("ring,ring")
    async with stage.callbridge():
        call_id, _ = await listen(stage)
        monitor_id = (await only_monitor(stage))["monitor_id"]
        placed = (await stage.ask("POST", "/v1/call", {"ext": SUPERVISOR, "destination": MOBILE})).body["call_id"]
    assert len(stage.ringing()) == 4
    # The rows of the channels appear.
    stage.pbx.pass_time(SOON)
    async with stage.callbridge():
        assert {row["call_id"] for row in await stage.rows()} == {call_id, placed}
        monitor = await only_monitor(stage)
        assert (monitor["monitor_id"], monitor["call_id"], monitor["state"]) == (monitor_id, call_id, "ringing")
        assert (await stage.ask("DELETE", f"/v1/monitor/{monitor_id}")).status == 200
        assert (await stage.ask("POST", f"/v1/call/{placed}/hangup")).status == 200
        await nobody_rings(stage)
