"""How far each switch's calls can be trusted, as operators and tenants are told."""

from typing import Any

import pytest

from callbridge.mirror import Mirror
from callbridge.store import MemoryStore, StoreStatus
from tests.http.kit import NOW, OF_A, OF_B, live, serving
from tests.http.samples import change, filled, record


class StoreThatIsDown(MemoryStore):
    status = StoreStatus("down", "10.0.0.9:6379 refuses")


def two_switches() -> Mirror:
    mirror = Mirror(["west", "east"])
    change(mirror, record("a", switch="east", tenant="a.example"), switch="east")
    change(mirror, record("b", switch="east", tenant="b.example"), switch="east")
    change(mirror, record("c", switch="west", tenant="a.example"), switch="west")
    change(mirror, record("n", switch="west", tenant=None), switch="west")
    east, west = mirror.switches["east"], mirror.switches["west"]
    live(mirror)
    east.seen, east.since, east.zombies = NOW - 0.1234, NOW - 3600.0, 3
    east.corrections |= {"gone": 4, "alive": 2, "changed": 1}
    west.state, west.seen, west.since, west.error = "stale", NOW - 61.0, NOW - 60.5, "10.0.0.1:8021 closed it"
    return mirror


async def test_each_switch_is_told_in_the_order_of_the_config() -> None:
    async with serving(two_switches()) as api:
        answer = await api.get("/v1/switch")
        assert answer.status == 200
        assert answer.body == (
            b'{"data":['
            b'{"name":"west","state":"stale","state_seconds":60.5,"age":61.0,"calls":2,"corrections":0,'
            b'"found":{"gone":0,"alive":0,"changed":0},"zombies":0,"error":"10.0.0.1:8021 closed it"},'
            b'{"name":"east","state":"live","state_seconds":3600.0,"age":0.123,"calls":2,"corrections":7,'
            b'"found":{"gone":4,"alive":2,"changed":1},"zombies":3,"error":null}'
            b'],"total":2,"complete":false,"store":{"state":"embedded","error":null}}'
        )
        assert answer.headers["Cache-Control"] == "private, no-cache"


async def test_a_tenant_is_told_neither_reasons_nor_the_store_and_only_its_calls_are_counted() -> None:
    async with serving(two_switches(), store=StoreThatIsDown()) as api:
        answer = await api.get("/v1/switch", OF_A)
        assert answer.body == (
            b'{"data":['
            b'{"name":"west","state":"stale","state_seconds":60.5,"age":61.0,"calls":1,"corrections":0,'
            b'"found":{"gone":0,"alive":0,"changed":0},"zombies":0},'
            b'{"name":"east","state":"live","state_seconds":3600.0,"age":0.123,"calls":1,"corrections":7,'
            b'"found":{"gone":4,"alive":2,"changed":1},"zombies":3}'
            b'],"total":2,"complete":false}'
        )
        assert [switch["calls"] for switch in (await api.get("/v1/switch", OF_B)).data] == [0, 1]


async def test_a_switch_that_was_never_heard_of_has_no_age() -> None:
    async with serving(Mirror(["pbx"])) as api:
        assert (await api.get("/v1/switch")).data == [
            {
                "name": "pbx",
                "state": "down",
                "state_seconds": None,
                "age": None,
                "calls": 0,
                "corrections": 0,
                "found": {"gone": 0, "alive": 0, "changed": 0},
                "zombies": 0,
                "error": "not connected yet",
            }
        ]


@pytest.mark.parametrize("state", ["live", "syncing", "stale", "down"])
async def test_every_state_is_told_by_its_name(state: Any) -> None:
    mirror = live(filled(record("a")))
    mirror.switches["pbx"].state = state
    async with serving(mirror) as api:
        answer = await api.get("/v1/switch")
        assert answer.data[0]["state"] == state
        assert answer.json["complete"] is (state == "live")


async def test_its_seconds_pass() -> None:
    async with serving(live(Mirror(["pbx"]))) as api:
        api.clock.pass_time(1.5)
        [switch] = (await api.get("/v1/switch")).data
        assert (switch["age"], switch["state_seconds"]) == (1.5, 1.5)


async def test_a_store_that_is_away_is_told_with_the_reason() -> None:
    async with serving(live(Mirror(["pbx"])), store=StoreThatIsDown()) as api:
        answer = await api.get("/v1/switch")
        assert answer.json["store"] == {"state": "down", "error": "10.0.0.9:6379 refuses"}
        assert answer.json["complete"] is True
