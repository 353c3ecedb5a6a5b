"""What readers see of the calls, and what of it stays as it was while nothing changes."""

import itertools
import json
from typing import Any

import msgspec
import pytest

from callbridge import mirror as mirror_module
from callbridge.mirror import EVERY_TENANT, MAX_ENDED, REMEMBER_ENDED_FOR, Mirror
from callbridge.records import Row
from tests.http.samples import SAMPLE, change, ended, filled, record


def listed(mirror: Mirror, tenant: str | None) -> list[str]:
    return [entry.record.call_id for entry in mirror.listing(tenant)]


def sent(mirror: Mirror, tenant: str | None, complete: bool = True) -> bytes:
    return b"".join(mirror.listing(tenant).pieces(complete))


def body(mirror: Mirror, tenant: str | None) -> Any:
    return json.loads(sent(mirror, tenant))


def versions(mirror: Mirror, tenant: str | None) -> tuple[int, int]:
    listing = mirror.listing(tenant)
    return listing.version, listing.digest


# What is listed.


def test_a_call_is_listed_for_its_tenant_and_for_all_and_for_nobody_else() -> None:
    mirror = filled(record("a", tenant="a.example"), record("b", tenant="b.example"))
    assert listed(mirror, "a.example") == ["a"]
    assert listed(mirror, "b.example") == ["b"]
    assert listed(mirror, EVERY_TENANT) == ["a", "b"]
    assert listed(mirror, "c.example") == []


def test_a_call_of_no_tenant_is_in_the_list_of_all_only() -> None:
    mirror = filled(record("a", tenant=None))
    assert listed(mirror, EVERY_TENANT) == ["a"]
    assert listed(mirror, "public") == []
    assert listed(mirror, "") == []


def test_the_body_is_the_one_of_the_contract() -> None:
    mirror = filled(SAMPLE)
    assert sent(mirror, "test.tel4vn.com") == (
        b'{"data":[{"call_id":"01b7d166-b564-42ec-80a1-4ad343225934","context":"test.tel4vn.com",'
        b'"created_time":"2021-06-08 17:37:37","destination":"0899123456","direction":"outbound","ip":"1.2.3.4",'
        b'"source":"101","state":"CS_EXECUTE"}],"total":1,"complete":true}'
    )
    assert sent(mirror, "nobody", complete=False) == b'{"data":[],"total":0,"complete":false}'


def test_an_update_takes_the_place_of_what_was_there() -> None:
    mirror = filled(record("a", 1), record("b", 2))
    change(mirror, record("a", 1, state="CS_PARK"))
    assert [(row["call_id"], row["state"]) for row in body(mirror, EVERY_TENANT)["data"]] == [
        ("a", "CS_PARK"),
        ("b", "CS_EXECUTE"),
    ]
    assert len(mirror.listing(EVERY_TENANT)) == 2


def test_a_call_that_is_gone_is_nowhere() -> None:
    mirror = filled(record("a", 1, ids=("a2",)), record("b", 2))
    change(mirror, gone=["a"])
    assert listed(mirror, EVERY_TENANT) == listed(mirror, "test.tel4vn.com") == ["b"]
    assert body(mirror, "test.tel4vn.com")["total"] == 1
    assert mirror.find("a", EVERY_TENANT) is None
    assert mirror.find("a2", EVERY_TENANT) is None
    assert mirror.calls("pbx") == 1


def test_a_call_that_was_never_there_may_go() -> None:
    mirror = filled(record("a"))
    before = versions(mirror, EVERY_TENANT)
    change(mirror, gone=["x"])
    assert listed(mirror, EVERY_TENANT) == ["a"]
    assert versions(mirror, EVERY_TENANT) == before


def test_a_call_that_went_may_come_again_in_the_same_change() -> None:
    mirror = filled(record("a", state="CS_EXECUTE"))
    change(mirror, record("a", state="CS_PARK"), gone=["a"])
    assert [row["state"] for row in body(mirror, EVERY_TENANT)["data"]] == ["CS_PARK"]


# The order.


@pytest.mark.parametrize("order", [(1, 2, 3, 4), (4, 3, 2, 1), (3, 1, 4, 2), (2, 4, 1, 3)])
def test_the_oldest_call_comes_first_in_whatever_order_calls_become_known(order: tuple[int, ...]) -> None:
    mirror = Mirror(["pbx"])
    for place, second in enumerate(order, 1):
        change(mirror, record(f"{second}", second))
        assert listed(mirror, EVERY_TENANT) == [f"{known}" for known in sorted(order[:place])]
    assert listed(mirror, "test.tel4vn.com") == ["1", "2", "3", "4"]


def test_calls_that_began_at_once_are_listed_by_their_ids_in_whatever_order_they_become_known() -> None:
    for calls in itertools.permutations([record("b", 1), record("a", 1), record("c", 0)]):
        assert listed(filled(*calls), EVERY_TENANT) == ["c", "a", "b"]


def test_a_call_that_turns_out_to_be_older_moves_up() -> None:
    mirror = filled(record("a", 1), record("b", 2))
    assert [row["call_id"] for row in body(mirror, "test.tel4vn.com")["data"]] == ["a", "b"]
    change(mirror, record("b", 0))
    assert listed(mirror, EVERY_TENANT) == ["b", "a"]
    assert [row["call_id"] for row in body(mirror, "test.tel4vn.com")["data"]] == ["b", "a"]


def test_it_moves_up_also_where_the_seconds_that_are_shown_stay_the_same() -> None:
    mirror = filled(record("a", created_us=SAMPLE.created_us + 5), record("b", created_us=SAMPLE.created_us + 9))
    assert [row["call_id"] for row in body(mirror, EVERY_TENANT)["data"]] == ["a", "b"]
    change(mirror, record("b", created_us=SAMPLE.created_us))
    assert [row["call_id"] for row in body(mirror, EVERY_TENANT)["data"]] == ["b", "a"]


def test_after_the_newest_has_gone_the_order_still_holds() -> None:
    mirror = filled(record("a", 1), record("z", 9))
    change(mirror, gone=["z"])
    change(mirror, record("c", 3), record("b", 2))
    assert listed(mirror, EVERY_TENANT) == ["a", "b", "c"]


# What is kept, and the versions.


def test_the_body_says_at_once_whether_it_is_complete() -> None:
    mirror = filled(record("a"))
    said = [json.loads(sent(mirror, EVERY_TENANT, complete))["complete"] for complete in (True, False, True)]
    assert said == [True, False, True]


@pytest.mark.parametrize("field", [*Row.__struct_fields__[1:], "created_us"])
def test_the_digest_is_another_one_with_every_field_of_the_row_and_with_its_place(field: str) -> None:
    mirror = filled(record("a"), record("b", 1))
    before = {tenant: versions(mirror, tenant) for tenant in ("test.tel4vn.com", EVERY_TENANT)}
    changed = {field: 7 if field == "created_us" else "another"}
    change(mirror, msgspec.structs.replace(record("a"), **changed))
    for tenant, (version, digest) in before.items():
        assert versions(mirror, tenant)[0] > version
        assert versions(mirror, tenant)[1] != digest


@pytest.mark.parametrize(
    "more",
    [{"callstate": "HELD"}, {"source_name": "B"}, {"queue": "q"}, {"ids": ("x",)}, {"answered_us": 7}, {"hold_us": 7}],
)
def test_what_no_row_shows_moves_only_the_version(more: dict[str, Any]) -> None:
    mirror = filled(record("a"))
    version, digest = versions(mirror, "test.tel4vn.com")
    change(mirror, record("a", **more))
    assert versions(mirror, "test.tel4vn.com") == (version + 1, digest)
    assert versions(mirror, EVERY_TENANT) == (version + 1, digest)


def test_a_call_that_came_and_went_leaves_the_digest_but_not_the_version() -> None:
    mirror = Mirror(["pbx"])
    seen = [versions(mirror, EVERY_TENANT)]
    change(mirror, record("a"))
    seen.append(versions(mirror, EVERY_TENANT))
    change(mirror, gone=["a"])
    seen.append(versions(mirror, EVERY_TENANT))
    assert len({version for version, _ in seen}) == 3
    assert seen[0][1] == seen[2][1] != seen[1][1]


def test_another_tenants_changes_move_no_version_of_this_one() -> None:
    mirror = filled(record("a", tenant="a.example"), record("b", tenant="b.example"))
    before = versions(mirror, "a.example")
    change(mirror, record("b", tenant="b.example", state="CS_PARK"), record("c", tenant="c.example"))
    change(mirror, record("d", tenant=None), gone=["b", "c"])
    assert versions(mirror, "a.example") == before


def test_two_lists_are_never_taken_for_each_other() -> None:
    mirror = filled(record("a", tenant="a.example"), record("b", tenant="b.example"))
    assert versions(mirror, "a.example")[0] == versions(mirror, "b.example")[0]
    serials = {mirror.listing(tenant).serial for tenant in ("a.example", "b.example", "nobody", EVERY_TENANT)}
    assert len(serials) == 4


def test_a_call_that_moves_to_another_tenant_leaves_the_first_one() -> None:
    mirror = filled(record("a", tenant=None), record("b", 1, tenant="a.example"))
    change(mirror, record("a", tenant="a.example"))
    assert listed(mirror, "a.example") == listed(mirror, EVERY_TENANT) == ["a", "b"]
    before, kept = versions(mirror, "a.example"), sent(mirror, "a.example")
    change(mirror, record("a", tenant="b.example"))
    assert listed(mirror, "a.example") == ["b"]
    assert listed(mirror, "b.example") == ["a"]
    assert listed(mirror, EVERY_TENANT) == ["a", "b"]
    assert all(after != then for after, then in zip(versions(mirror, "a.example"), before, strict=True))
    assert sent(mirror, "a.example") != kept
    assert mirror.find("a", "a.example") is None
    assert mirror.find("a", "b.example") == record("a", tenant="b.example")


# By which ids a call is found.


def test_a_call_is_found_by_its_id_and_by_every_other_one() -> None:
    mirror = filled(record("a", ids=("a2", "a3")), record("b"))
    assert {mirror.find(call_id, EVERY_TENANT) for call_id in ("a", "a2", "a3")} == {record("a", ids=("a2", "a3"))}
    assert mirror.find("x", EVERY_TENANT) is None


def test_an_id_that_a_call_has_no_more_finds_nothing() -> None:
    mirror = filled(record("a", ids=("a2", "a3")))
    change(mirror, record("a", ids=("a3", "a4")))
    assert mirror.find("a2", EVERY_TENANT) is None
    assert mirror.find("a3", EVERY_TENANT) == mirror.find("a4", EVERY_TENANT) == record("a", ids=("a3", "a4"))


@pytest.mark.parametrize("first", ["giver", "taker"])
def test_a_leg_that_moves_to_another_call_finds_that_one(first: str) -> None:
    mirror = filled(record("a", ids=("x",)), record("b"))
    moved = [record("a"), record("b", ids=("x",))]
    change(mirror, *(moved if first == "giver" else reversed(moved)))
    assert mirror.find("x", EVERY_TENANT) == record("b", ids=("x",))
    change(mirror, gone=["a"])
    assert mirror.find("x", EVERY_TENANT) == record("b", ids=("x",))


def test_calls_that_become_one_are_found_by_both_ids_and_a_split_parts_them_again() -> None:
    mirror = filled(record("a", ids=("a2",)), record("b", 1, ids=("b2",)))
    change(mirror, record("a", ids=("a2", "b2", "b")), gone=["b"])
    assert listed(mirror, EVERY_TENANT) == ["a"]
    assert {mirror.find(call_id, EVERY_TENANT) for call_id in ("a", "a2", "b", "b2")} == {
        record("a", ids=("a2", "b2", "b"))
    }
    change(mirror, record("b", 1, ids=("b2",)), record("a", ids=("a2",)))
    assert {mirror.find(call_id, EVERY_TENANT) for call_id in ("b", "b2")} == {record("b", 1, ids=("b2",))}


def test_no_id_finds_another_tenants_call() -> None:
    mirror = filled(record("a", ids=("a2",), tenant="a.example"), record("n", ids=("n2",), tenant=None))
    for call_id in ("a", "a2", "n", "n2"):
        assert mirror.find(call_id, EVERY_TENANT) is not None
        assert mirror.find(call_id, "b.example") is None
    assert mirror.find("n", "public") is None
    assert mirror.find("a2", "a.example") is not None


# Calls that ended.


def test_a_call_that_ended_is_remembered_by_every_id_for_the_time_it_says() -> None:
    mirror = Mirror(["pbx"])
    change(mirror, ended=[ended("a", ids=("a2",))], now=1000.0)
    until = 1000.0 + REMEMBER_ENDED_FOR
    for call_id in ("a", "a2"):
        assert mirror.find_ended(call_id, "a.example", 1000.0) == ended("a", ids=("a2",))
        assert mirror.find_ended(call_id, EVERY_TENANT, until) == ended("a", ids=("a2",))
        assert mirror.find_ended(call_id, EVERY_TENANT, until + 0.001) is None
    assert mirror.find_ended("x", EVERY_TENANT, 1000.0) is None


def test_a_later_end_does_not_bring_an_earlier_one_back_nor_cut_it_short() -> None:
    mirror = Mirror(["pbx"])
    change(mirror, ended=[ended("a")], now=0.0)
    change(mirror, ended=[ended("b")], now=200.0)
    assert mirror.find_ended("a", EVERY_TENANT, 250.0) == ended("a")
    change(mirror, ended=[ended("c")], now=400.0)
    assert mirror.find_ended("a", EVERY_TENANT, 400.0) is None
    assert mirror.find_ended("b", EVERY_TENANT, 400.0) == ended("b")


def test_a_call_that_ended_again_is_remembered_from_then_on() -> None:
    mirror = Mirror(["pbx"])
    change(mirror, ended=[ended("a"), ended("b")], now=0.0)
    change(mirror, ended=[ended("a", tenant="b.example")], now=200.0)
    change(mirror, ended=[ended("c")], now=400.0)
    assert mirror.find_ended("a", "b.example", 400.0) == ended("a", tenant="b.example")
    assert mirror.find_ended("a", "a.example", 400.0) is None
    assert mirror.find_ended("b", EVERY_TENANT, 400.0) is None


def test_no_tenant_learns_of_the_end_of_anothers_call() -> None:
    mirror = Mirror(["pbx"])
    change(mirror, ended=[ended("a"), ended("n", tenant=None)])
    assert mirror.find_ended("a", "b.example", 0.0) is None
    assert mirror.find_ended("n", "b.example", 0.0) is None
    assert mirror.find_ended("n", EVERY_TENANT, 0.0) == ended("n", tenant=None)


def test_only_so_many_ends_are_remembered_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_ENDED >= 10_000
    monkeypatch.setattr(mirror_module, "MAX_ENDED", 3)
    mirror = Mirror(["pbx"])
    for number in range(10):
        change(mirror, ended=[ended(f"{number}")], now=number / 1000)
    known = [number for number in range(10) if mirror.find_ended(f"{number}", EVERY_TENANT, 1.0)]
    assert known == [7, 8, 9]


# Switches.


def test_the_calls_of_each_switch_come_and_go_by_themselves() -> None:
    mirror = Mirror(["east", "west"])
    change(mirror, record("a", switch="east", tenant="a.example", ids=("a2",)), switch="east")
    change(mirror, record("b", 1, switch="west", tenant="a.example"), switch="west")
    change(mirror, record("c", 2, switch="west", tenant="b.example"), switch="west")
    change(mirror, gone=["a", "a2"], switch="west")
    assert listed(mirror, "a.example") == ["a", "b"]
    assert mirror.find("a2", "a.example") is not None
    assert (mirror.calls("east"), mirror.calls("west"), mirror.calls("north")) == (1, 2, 0)
    assert [mirror.calls_of("west", tenant) for tenant in ("a.example", "b.example", "c", EVERY_TENANT)] == [1, 1, 0, 2]
    assert mirror.calls_of("east", "b.example") == 0


def test_the_lists_are_complete_only_while_every_switch_is_live() -> None:
    mirror = Mirror(["east", "west"])
    assert not mirror.complete
    mirror.switches["east"].state = "live"
    assert not mirror.complete
    mirror.switches["west"].state = "live"
    assert mirror.complete
    mirror.switches["east"].state = "stale"
    assert not mirror.complete


# Positions.


def position(mirror: Mirror, switch: str = "pbx") -> tuple[str, int]:
    return mirror.switches[switch].run, mirror.switches[switch].seq


def test_every_change_moves_the_position_of_its_switch_before_anybody_is_told() -> None:
    mirror = Mirror(["east", "west"])
    (run, seq), west = position(mirror, "east"), position(mirror, "west")
    told: list[tuple[str, int]] = []
    mirror.subscribe(lambda *_: told.append(position(mirror, "east")))
    change(mirror, record("a", switch="east"), switch="east")
    mirror.apply("east", (), ["a"], (), 0.0, seq=41)
    change(mirror, record("b", switch="east"), switch="east")
    assert told == [(run, seq + 1), (run, 41), (run, 42)]
    assert position(mirror, "west") == west
    assert run != west[0] != Mirror(["west"]).switches["west"].run


def test_who_is_told_no_more_is_not_told_and_may_go_while_others_are() -> None:
    mirror = Mirror(["pbx"])
    told: list[str] = []

    def once(*_: Any) -> None:
        told.append("once")
        mirror.unsubscribe(once)

    mirror.subscribe(once)
    mirror.subscribe(lambda *_: told.append("always"))
    change(mirror, record("a"))
    change(mirror, record("b"))
    assert told == ["once", "always", "always"]


def test_the_calls_of_a_switch_are_replaced_by_what_they_were_at_a_position() -> None:
    stays, changed = record("a", tenant="a.example"), record("b", 1, tenant="a.example")
    mirror = filled(stays, changed, record("c", 2, tenant="a.example"))
    told: list[tuple[list[str], list[str], int, tuple[str, int], bool]] = []
    mirror.subscribe(
        lambda _, updated, gone, ended: told.append(
            ([call.call_id for call in updated], list(gone), len(list(ended)), position(mirror), mirror.replacing)
        )
    )
    calls = [stays, record("b", 1, tenant="a.example", state="CS_PARK"), record("d", 3, tenant="b.example")]
    mirror.replace("pbx", calls, "another", 7, 0.0)
    assert told == [(["b", "d"], ["c"], 0, ("another", 7), True)]
    assert [entry.record for entry in mirror.listing(EVERY_TENANT)] == calls
    assert not mirror.replacing
    assert mirror.find_ended("c", EVERY_TENANT, 0.0) is None


def test_who_subscribes_to_the_states_hears_of_another_one_only() -> None:
    mirror = Mirror(["east", "west"])
    told: list[str] = []
    mirror.subscribe_to_states(lambda: told.append(mirror.switches["east"].state))
    for state in ("syncing", "syncing", "live"):
        mirror.switches["east"].state = state
    assert told == ["syncing", "live"]


def test_what_it_is_shows_in_a_debugger() -> None:
    mirror = filled(record("a", tenant="a.example"), record("b", tenant="b.example"))
    assert repr(mirror) == "<Mirror 2 calls of 2 tenants>"
    assert repr(mirror.listing("a.example")) == "<Listing 1 calls, version 1>"
    assert [repr(entry) for entry in mirror.listing("a.example")] == ["<Entry a>"]
    assert repr(mirror.switches["pbx"]) == "<SwitchStatus pbx down>"


# Runs and counts.


def test_every_change_is_counted_before_it_is_told() -> None:
    mirror = Mirror(["pbx"])
    status, told = mirror.switches["pbx"], list[int]()
    mirror.subscribe(lambda *_: told.append(status.seq))
    mirror.apply("pbx", [record("a")], (), (), 0.0)
    mirror.apply("pbx", [], ["a"], (), 0.0)
    mirror.apply("pbx", [record("b")], (), (), 0.0, 41)
    mirror.apply("pbx", [record("c")], (), (), 0.0)
    assert told == [1, 2, 41, 42]
    assert status.run != Mirror(["pbx"]).switches["pbx"].run


def test_a_list_that_replaces_another_is_told_as_what_differs() -> None:
    mirror = Mirror(["pbx", "other"])
    told: list[tuple[str, list[str], list[str], list[Any]]] = []
    mirror.subscribe(
        lambda switch, up, gone, end: told.append((switch, [r.call_id for r in up], list(gone), list(end)))
    )
    mirror.apply("other", [record("x", switch="other")], (), (), 0.0)
    mirror.apply("pbx", [record("a"), record("b"), record("c")], (), (), 0.0)
    mirror.replace("pbx", [record("a"), record("b", state="newer"), record("d")], "7", 40, 1.0)
    assert told[-1] == ("pbx", ["b", "d"], ["c"], [])
    assert {r.call_id for r in mirror.records("pbx")} == {"a", "b", "d"}
    assert (mirror.switches["pbx"].run, mirror.switches["pbx"].seq) == ("7", 40)
    assert mirror.find_ended("c", None, 1.0) is None
    assert {r.call_id for r in mirror.records("other")} == {"x"}
