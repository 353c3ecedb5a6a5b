"""The stream: what a client is told, and what it is not."""

from typing import Any

import pytest

from callbridge.http import stream as stream_module
from callbridge.mirror import Mirror
from tests.http.kit import EVERYTHING, NO_READER, OF_A, OF_B, Api, live, serving
from tests.http.samples import change, ended, filled, record
from tests.http.streaming import Reader

STREAM = "/v1/call/stream"


def of_a(call_id: str, second: int = 0, **changes: Any) -> Any:
    return record(call_id, second, tenant="a.example", **changes)


async def shown(api: Api, token: str = EVERYTHING, query: str = "") -> dict[str, Any]:
    return {row["call_id"]: row for row in (await api.get(f"/v1/call{query}", token)).data}


async def begun(reader: Reader) -> None:
    """It has got what it gets at first."""
    await reader.next("switch")
    reader.events.clear()


async def test_it_begins_with_the_list_and_the_states_of_the_switches() -> None:
    mirror = live(filled(of_a("a"), of_a("b", 1)))
    async with serving(mirror) as api, api.stream() as reader:
        assert reader.response.status == 200
        assert reader.response.headers["Content-Type"] == "text/event-stream"
        assert reader.response.headers["Cache-Control"] == "no-store"
        assert reader.response.headers["X-Accel-Buffering"] == "no"
        await reader.next("switch")
        snapshot, switch = reader.events
        assert (snapshot.name, snapshot.data) == ("snapshot", (await api.get("/v1/call")).json)
        assert switch.data == {"complete": True, "data": [{"name": "pbx", "state": "live"}]}
        assert snapshot.id == switch.id != ""
        assert 1000 <= reader.retry < 2000


async def test_calls_that_come_change_and_end_are_told() -> None:
    mirror = live(filled(of_a("a")))
    async with serving(mirror) as api, api.stream() as reader:
        await begun(reader)
        change(mirror, of_a("b", 1))
        created = await reader.next("call.created")
        assert created.data == (await shown(api))["b"]
        assert list(created.data) == list((await shown(api))["b"])
        change(mirror, of_a("b", 1, state="CS_PARK", destination="9"))
        updated = await reader.next("call.updated")
        assert updated.data == {"call_id": "b", "state": "CS_PARK", "destination": "9"}
        change(mirror, gone=["b"], ended=[ended("b")])
        over = await reader.next("call.ended")
        assert over.data == {
            "call_id": "b",
            "reason": "ended",
            "ended_time": "2021-06-08 17:40:00",
            "cause": "NORMAL_CLEARING",
        }
        assert len({created.id, updated.id, over.id}) == 3
        assert [event.name for event in reader.events] == ["call.created", "call.updated", "call.ended"]
        assert reader.rows == await shown(api)


async def test_a_call_that_is_gone_without_an_end_says_so() -> None:
    mirror = live(filled(of_a("a"), of_a("b", 1), of_a("c", 2)))
    async with serving(mirror) as api, api.stream() as reader:
        await begun(reader)
        change(mirror, of_a("a", ids=("b",)), gone=["b"])
        joined = await reader.next("call.ended")
        assert joined.data == {"call_id": "b", "reason": "joined", "ended_time": None, "cause": None}
        change(mirror, gone=["c"])
        assert (await reader.next("call.ended")).data["reason"] == "gone"


async def test_what_no_client_sees_is_not_told() -> None:
    mirror = live(filled(of_a("a")))
    async with serving(mirror) as api, api.stream() as reader, api.stream("?fields=call_id,callstate") as other:
        await begun(reader)
        await begun(other)
        change(mirror, of_a("a", callstate="HELD"))
        change(mirror, of_a("a", callstate="HELD", state="CS_PARK"))
        change(mirror, of_a("x"))
        await reader.next("call.created")
        assert reader.events[0].data == {"call_id": "a", "state": "CS_PARK"}
        await other.next("call.created")
        assert [event.data for event in other.events] == [
            {"call_id": "a", "callstate": "HELD"},
            {"call_id": "x", "callstate": "ACTIVE"},
        ]


async def test_the_fields_are_those_asked_for_and_always_the_id() -> None:
    mirror = live(filled(of_a("a", monitors=())))
    async with serving(mirror) as api, api.stream("?fields=state,legs") as reader:
        assert (await reader.next("snapshot")).data["data"] == [{"call_id": "a", "state": "CS_EXECUTE", "legs": []}]
        change(mirror, of_a("b"))
        assert (await reader.next("call.created")).data == {"call_id": "b", "state": "CS_EXECUTE", "legs": []}


async def test_a_call_that_begins_to_match_is_created_and_one_that_ceases_to_has_ended() -> None:
    mirror = live(filled(of_a("a", state="CS_PARK"), of_a("b", 1)))
    async with serving(mirror) as api, api.stream("?state=CS_PARK&q=101") as reader:
        await begun(reader)
        assert list(reader.rows) == ["a"]
        change(mirror, of_a("b", 1, state="CS_PARK"))
        assert (await reader.next("call.created")).data == (await shown(api))["b"]
        change(mirror, of_a("a", state="CS_EXECUTE"))
        assert (await reader.next("call.ended")).data == {
            "call_id": "a",
            "reason": "unmatched",
            "ended_time": None,
            "cause": None,
        }
        change(mirror, of_a("a", state="CS_HIBERNATE"))
        change(mirror, gone=["a"], ended=[ended("a")])
        change(mirror, of_a("b", 1, state="CS_PARK", source="1010"))
        assert (await reader.next("call.updated")).data == {"call_id": "b", "source": "1010"}
        assert len(reader.events) == 3


async def test_nothing_of_another_tenant_is_told_not_even_an_id() -> None:
    mirror = live(filled(of_a("mine")))
    async with serving(mirror) as api, api.stream(token=OF_A) as reader:
        await begun(reader)
        secret = record("theirs", 1, tenant="b.example")
        change(mirror, secret)
        change(mirror, record("nobodys", 1, tenant=None))
        change(mirror, record("theirs", 1, tenant="b.example", state="CS_PARK"), of_a("mine", state="CS_PARK"))
        change(mirror, gone=["theirs"], ended=[ended("theirs", tenant="b.example")])
        change(mirror, gone=["unseen"], ended=[ended("unseen", tenant="b.example")])
        change(mirror, of_a("last"))
        await reader.next("call.created")
        assert [event.data["call_id"] for event in reader.events] == ["mine", "last"]
        assert not any(word in repr(reader.events) for word in ("theirs", "nobodys", "unseen", "b.example"))


async def test_a_call_whose_tenant_becomes_known_is_created_for_it() -> None:
    mirror = live(filled(record("a", tenant=None)))
    async with serving(mirror) as api, api.stream(token=OF_A) as mine, api.stream(token=OF_B) as theirs:
        await begun(mine)
        await begun(theirs)
        change(mirror, of_a("a"))
        assert (await mine.next("call.created")).data == (await shown(api, OF_A))["a"]
        change(mirror, record("a", tenant="b.example"))
        assert (await mine.next("call.ended")).data["reason"] == "unmatched"
        assert (await theirs.next("call.created")).data == (await shown(api, OF_B))["a"]
        assert [event.name for event in theirs.events] == ["call.created"]


async def test_it_is_told_when_the_list_cannot_be_trusted() -> None:
    mirror = live(Mirror(["east", "west"]))
    async with serving(mirror) as api, api.stream() as reader, api.stream("?switch=west") as western:
        await begun(reader)
        await begun(western)
        mirror.switches["east"].state = "stale"
        assert (await reader.next("switch")).data["complete"] is False
        assert reader.states == {"east": "stale", "west": "live"}
        mirror.switches["east"].state = "live"
        await reader.next("switch")
        assert reader.complete
        mirror.switches["west"].state = "down"
        await western.next("switch")
        assert [event.data for event in western.events] == [
            {"complete": False, "data": [{"name": "west", "state": "down"}]}
        ]


# Coming back.


async def test_who_comes_back_is_told_what_it_has_missed_and_no_more() -> None:
    mirror = live(filled(of_a("a"), of_a("b", 1)))
    async with serving(mirror) as api, api.stream() as reader:
        await begun(reader)
        reader.cut()
        change(mirror, of_a("a", state="CS_PARK"))
        change(mirror, of_a("c", 2))
        change(mirror, gone=["b"], ended=[ended("b")])
        await reader.connect()
        await reader.next("switch")
        assert [(event.name, event.data.get("call_id")) for event in reader.events[:3]] == [
            ("call.updated", "a"),
            ("call.created", "c"),
            ("call.ended", "b"),
        ]
        assert reader.rows == await shown(api)
        assert reader.snapshots == 1


async def test_the_id_may_be_in_the_query_and_the_header_is_newer() -> None:
    mirror = live(filled(of_a("a")))
    async with serving(mirror) as api, api.stream() as first:
        await begun(first)
        old = first.last_id
        change(mirror, of_a("b", 1))
        await first.next("call.created")
        async with api.stream(f"?last_event_id={old}") as reader:
            assert (await reader.next("call.created")).data["call_id"] == "b"
            assert not reader.snapshots
        async with api.stream(f"?last_event_id={old}", last_id=first.last_id) as reader:
            await reader.next("switch")
            assert [event.name for event in reader.events] == ["switch"]


@pytest.mark.parametrize(
    "last", ["x", "~", "~~~", "pbx~0~1", "a~pbx~b~c", "9" * 40, "%E2%9C%93", "-1", "00000000~pbx~aa~1"]
)
async def test_an_id_that_is_none_gets_a_snapshot(last: str) -> None:
    async with serving(live(filled(of_a("a")))) as api, api.stream(f"?last_event_id={last}") as reader:
        await begun(reader)
        assert (reader.snapshots, list(reader.rows)) == (1, ["a"])


async def test_an_id_of_another_question_or_tenant_gets_a_snapshot() -> None:
    mirror = live(filled(of_a("a"), of_a("b", 1, state="CS_PARK")))
    async with serving(mirror) as api, api.stream() as reader:
        await begun(reader)
        for token, query in ((OF_A, ""), (EVERYTHING, "?state=CS_PARK"), (EVERYTHING, "?fields=state")):
            async with api.stream(query, token, last_id=reader.last_id) as other:
                await begun(other)
                assert other.snapshots == 1
        async with api.stream("?require=live", last_id=reader.last_id) as same:
            await begun(same)
            assert not same.snapshots


async def test_who_has_missed_more_than_is_kept_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callbridge.feed.MAX_CHANGES", 3)
    mirror = live(filled(of_a("a")))
    async with serving(mirror) as api, api.stream() as stays, api.stream() as reader:
        await begun(stays)
        await begun(reader)
        reader.cut()
        for number in range(4):
            change(mirror, of_a(f"{number}", number))
            await stays.next("call.created")
        await reader.connect()
        await begun(reader)
        assert reader.snapshots == 2
        assert stays.snapshots == 1
        assert reader.rows == stays.rows == await shown(api)


async def test_more_changes_at_once_than_are_kept_are_a_snapshot_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callbridge.feed.MAX_CHANGES", 3)
    mirror = live(filled(of_a("a")))
    async with serving(mirror) as api, api.stream() as reader:
        await begun(reader)
        change(mirror, *[of_a(f"{number}", number) for number in range(9)])
        await reader.next("snapshot")
        assert reader.rows == await shown(api)
        change(mirror, gone=["a"])
        await reader.next("call.ended")
        assert reader.rows == await shown(api)


async def test_who_is_cut_off_within_a_batch_is_told_all_of_it_again() -> None:
    mirror = live(filled(of_a("a")))
    async with serving(mirror) as api, api.stream() as reader:
        await begun(reader)
        before = reader.last_id
        change(mirror, of_a("b", 1), of_a("c", 2))
        await reader.until(lambda: len(reader.events) == 2)
        assert [event.id for event in reader.events] == [before, reader.last_id]
        async with api.stream(last_id=reader.events[0].id) as again:
            await again.next("switch")
            assert [event.data for event in again.events[:2]] == [event.data for event in reader.events]


# On another daemon, which follows the same switch.


def same_calls(mirror: Mirror, run: str, seq: int, *records: Any) -> None:
    mirror.replace("pbx", records, run, seq, 0.0)


def apply(mirror: Mirror, seq: int, *records: Any, gone: tuple[str, ...] = ()) -> None:
    mirror.apply("pbx", records, gone, [ended(call_id) for call_id in gone], 0.0, seq)


async def moved(api: Api, reader: Reader) -> Reader:
    """The same client, at another daemon."""
    return api.stream(rows=reader.rows, last_id=reader.last_id)


async def test_it_goes_on_at_another_daemon_also_with_coarser_batches() -> None:
    leader, follower = live(Mirror(["pbx"])), live(Mirror(["pbx"]))
    for mirror in (leader, follower):
        same_calls(mirror, "run", 10, of_a("a"), of_a("b", 1), of_a("c", 2))
    async with serving(leader) as one, serving(follower) as two, one.stream() as reader, two.stream() as other:
        await begun(reader)
        await begun(other)
        apply(leader, 11, of_a("a", source="109"))
        apply(leader, 12, gone=("b",))
        await reader.next("call.ended")
        # What the leader did in four steps, the follower hears at once; in the end "a" is as it was.
        apply(follower, 14, of_a("a"), of_a("d", 3), gone=("b",))
        async with await moved(two, reader) as again:
            await begun(again)
            assert not again.snapshots
            assert again.rows == await shown(two)


async def test_where_calls_may_have_come_and_gone_unseen_it_begins_anew() -> None:
    leader, follower = live(Mirror(["pbx"])), live(Mirror(["pbx"]))
    for mirror in (leader, follower):
        same_calls(mirror, "run", 10, of_a("a"))
    async with serving(leader) as one, serving(follower) as two, one.stream() as reader, two.stream() as other:
        await begun(reader)
        await begun(other)
        apply(leader, 11, of_a("ghost", 1))
        await reader.next("call.created")
        same_calls(follower, "run", 13, of_a("a"))
        async with await moved(two, reader) as again:
            await begun(again)
            assert again.snapshots == 1
            assert again.rows == await shown(two)


async def test_a_follower_that_lags_takes_nothing_back_and_goes_on_when_it_has_come_up() -> None:
    leader, follower = live(Mirror(["pbx"])), live(Mirror(["pbx"]))
    for mirror in (leader, follower):
        same_calls(mirror, "run", 10, of_a("a"))
    async with serving(leader) as one, serving(follower) as two, one.stream() as reader, two.stream() as other:
        await begun(reader)
        await begun(other)
        apply(leader, 11, of_a("b", 1))
        apply(leader, 12, of_a("a", source="109"))
        await reader.next("call.updated")
        async with await moved(two, reader) as again:
            await again.next("switch")
            assert (again.snapshots, again.rows, again.last_id) == (0, reader.rows, reader.last_id)
            apply(follower, 11, of_a("b", 1))
            await other.next("call.created")
            apply(follower, 14, of_a("a"))
            await again.next("call.created")
            assert again.rows == await shown(two)
            apply(follower, 15, gone=("b",))
            await again.next("call.ended")
            assert again.rows == await shown(two)


async def test_a_position_that_never_comes_gets_a_snapshot_in_the_end() -> None:
    mirror = live(filled(of_a("a")))
    async with serving(mirror) as api, api.stream() as reader:
        await begun(reader)
        mark, switch, run, _ = reader.last_id.split("~")
        async with api.stream(last_id=f"{mark}~{switch}~{run}~999999") as other:
            await other.next("switch")
            assert not other.snapshots
            api.clock.pass_time(stream_module.HEARTBEAT)
            await other.next("snapshot")
            assert other.rows == await shown(api)


async def test_another_run_is_told_to_those_who_are_there_and_begun_anew_by_the_others() -> None:
    mirror = live(filled(of_a("a"), of_a("b", 1)))
    async with serving(mirror) as api, api.stream() as reader:
        await begun(reader)
        before = reader.last_id
        same_calls(mirror, "another", 500, of_a("a"), of_a("c", 2))
        await reader.until(lambda: len(reader.events) == 2)
        assert reader.rows == await shown(api)
        assert reader.snapshots == 1
        mark = before.split("~")[0]
        async with api.stream(last_id=f"{mark}~pbx~another~499") as other:
            await begun(other)
            assert other.snapshots == 1


# Heartbeats and ends.


async def test_a_heartbeat_is_no_event_but_moves_the_id_on() -> None:
    mirror = live(filled(of_a("a")))
    async with serving(mirror) as api, api.stream(token=OF_A) as reader, api.stream(token=OF_B) as other:
        await begun(reader)
        await begun(other)
        change(mirror, of_a("b", 1))
        await reader.next("call.created")
        before, known = other.last_id, other.beats
        api.clock.pass_time(stream_module.HEARTBEAT)
        await other.until(lambda: other.beats > known)
        assert not other.events
        assert other.last_id.split("~")[1:] == reader.last_id.split("~")[1:]
        assert other.last_id != before


async def test_the_end_of_the_service_ends_every_stream_and_every_wait_at_once() -> None:
    mirror = live(filled(of_a("a")))
    async with serving(mirror) as api:
        reader = api.stream()
        await reader.connect()
        await begun(reader)
        await api.shut_down()
        assert await reader.read() == []
        assert reader.ended
        reader.cut()


async def test_one_who_has_gone_is_forgotten_and_harms_nobody() -> None:
    mirror = live(filled(of_a("a")))
    async with serving(mirror) as api, api.stream() as stays, api.stream("?state=CS_PARK") as goes:
        await begun(stays)
        await begun(goes)
        goes.cut()
        for number in range(5):
            change(mirror, of_a(f"{number}", state="CS_PARK"))
            await stays.next("call.created")
        assert stays.rows == await shown(api)


# What it is asked.


@pytest.mark.parametrize("name", ["limit", "offset", "sort", "wait", "by"])
async def test_what_makes_no_sense_of_a_stream_is_refused(name: str) -> None:
    async with serving(live(filled())) as api:
        answer = await api.get(f"{STREAM}?{name}=1")
        path = "/v1/call/count" if name == "by" else "/v1/call"
        message = f"{name}: there is no such parameter here; it is one of {path}"
        answer.fails(400, "INVALID_PARAMETER", message, parameter=name)


@pytest.mark.parametrize(("query", "name"), [("duration=5", "duration"), ("fields=call_id,billsec", "fields")])
async def test_what_changes_by_itself_is_refused(query: str, name: str) -> None:
    async with serving(live(filled())) as api:
        answer = await api.get(f"{STREAM}?{query}")
        message = f"{name}: duration, billsec, hold_seconds change every second, which is no event; leave them out here"
        answer.fails(400, "INVALID_PARAMETER", message, parameter=name)


async def test_its_failures_are_those_of_the_list() -> None:
    mirror = filled()
    async with serving(mirror) as api:
        for query in ("?stat=x", "?state=%ff", "?q=", "?require=yes", "?fields=nonsense"):
            answer, of_the_list = await api.get(STREAM + query), await api.get("/v1/call" + query)
            assert (answer.status, answer.json["parameter"]) == (400, of_the_list.json["parameter"])
        assert (await api.get(STREAM, None)).json["error"] == "UNAUTHORIZED"
        assert (await api.get(STREAM, NO_READER)).json["error"] == "FORBIDDEN"
        assert (await api.get(f"{STREAM}?require=live")).json == (await api.get("/v1/call?require=live")).json


async def test_only_so_many_may_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "MAX_CLIENTS", 1)
    async with serving(live(filled())) as api, api.stream() as reader:
        await begun(reader)
        answer = await api.get(STREAM)
        answer.fails(429, "TOO_MANY_REQUESTS", "there are 1 streams already; try again later")
        assert answer.headers["Retry-After"] == "10"


async def test_head_gives_the_headers_and_ends() -> None:
    async with serving(live(filled())) as api:
        answer = await api.get(STREAM, method="HEAD")
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["Content-Type"] == "text/event-stream"


async def test_pages_of_allowed_origins_may_read_it() -> None:
    async with serving(live(filled()), origins=("https://page.example",)) as api:
        for origin, allowed in (("https://page.example", "https://page.example"), ("https://other.example", None)):
            answer = await api.get(STREAM, method="HEAD", Origin=origin)
            assert answer.headers.get("Access-Control-Allow-Origin") == allowed


async def test_a_client_of_http_1_0_gets_it_without_chunks() -> None:
    mirror = live(filled(of_a("a")))
    async with serving(mirror) as api:
        answer = await api.send_until(
            f"GET {STREAM} HTTP/1.0\r\nAuthorization: Bearer {EVERYTHING}\r\n\r\n".encode(), b"event: switch"
        )
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"chunked" not in head
        assert [block.partition(b"\n")[0] for block in body.split(b"\n\n")[1:3]] == [
            b"event: snapshot",
            b"event: switch",
        ]
