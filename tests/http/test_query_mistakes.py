"""A question that cannot be is refused: it names the parameter and says what would be right."""

from urllib.parse import quote

import pytest

from callbridge.http.query import FIELDS, SINGLE_FIELDS
from callbridge.mirror import Mirror
from tests.http.kit import EVERYTHING, live, serving
from tests.http.samples import filled, record

SINGLE = ", ".join(SINGLE_FIELDS)
OF_THE_LIST = f"there are q, require, sort, limit, offset, fields, wait, {SINGLE}"
OF_THE_COUNT = f"there are q, require, by, {SINGLE}"
NO_SUCH = "there is no such parameter"
LIMITS = "must be a whole number from 0 to 100000"
OFFSETS = "must be a whole number from 0 to 10000000"


def one_call() -> Mirror:
    return live(filled(record("a", source="\ufffd")))


async def refused(path: str, parameter: str, message: str) -> None:
    async with serving(one_call()) as api:
        answer = await api.get(path)
        answer.fails(400, "INVALID_PARAMETER", f"{parameter}: {message}", parameter=parameter)


@pytest.mark.parametrize(
    "value", ["", "x", "-1", "+1", "1.5", "1e3", "0x10", " 1", "1_0", "\u0661", "²", "100001", "9" * 5000]
)
async def test_a_limit_that_is_none(value: str) -> None:
    await refused(f"/v1/call?limit={quote(value)}", "limit", LIMITS)


@pytest.mark.parametrize("value", ["", "x", "-1", "10000001", "99999999999", "1;limit=1"])
async def test_an_offset_that_is_none(value: str) -> None:
    await refused(f"/v1/call?offset={quote(value)}", "offset", OFFSETS)


async def test_a_parameter_without_a_value_is_an_empty_one() -> None:
    await refused("/v1/call?limit", "limit", LIMITS)


@pytest.mark.parametrize(
    ("value", "echoed"),
    [
        ("", "''"),
        ("-", "''"),
        ("--state", "'-state'"),
        ("nonsense", "'nonsense'"),
        ("legs", "'legs'"),
        ("monitors", "'monitors'"),
        ("state,source", "'state,source'"),
        ("State", "'State'"),
        (" state", "' state'"),
        ("x" * 50, f"'{'x' * 40}'"),
    ],
)
async def test_what_the_list_cannot_be_sorted_by(value: str, echoed: str) -> None:
    await refused(f"/v1/call?sort={quote(value)}", "sort", f"there is no field {echoed}; there are {SINGLE}")


NO_FIELDS = {"": "", "state,": "", ",": "", "state,,source": "", "state,created_us": "created_us", "-state": "-state"}
NO_FIELDS |= {name: name for name in ("nonsense", "*", "ids", "__class__", "State")}


@pytest.mark.parametrize(("value", "echoed"), NO_FIELDS.items())
async def test_fields_that_are_none(value: str, echoed: str) -> None:
    message = f"there is no field {echoed!r}; there are {', '.join(FIELDS)}"
    await refused(f"/v1/call?fields={quote(value)}", "fields", message)


@pytest.mark.parametrize("value", ["", "nonsense", "legs", "-state", "state,source"])
async def test_what_calls_cannot_be_counted_by(value: str) -> None:
    await refused(f"/v1/call/count?by={quote(value)}", "by", f"there is no field {value!r}; there are {SINGLE}")


@pytest.mark.parametrize("path", ["/v1/call", "/v1/call/count"])
async def test_a_search_for_nothing(path: str) -> None:
    for value in ("", "%20", "+%09"):
        await refused(f"{path}?q={value}", "q", "is empty; leave it out to get every call")


@pytest.mark.parametrize("path", ["/v1/call", "/v1/call/count"])
@pytest.mark.parametrize("value", ["", "LIVE", "true", "live,live", "stale"])
async def test_requiring_something_else_than_live(path: str, value: str) -> None:
    await refused(f"{path}?require={value}", "require", "can only be `live`")


NEAR = {
    "stat": "state",
    "State": "state",
    "directon": "direction",
    "limits": "limit",
    "field": "fields",
    "created": "created_time",
    "created_us": "created_time",
}


@pytest.mark.parametrize(("name", "near"), NEAR.items())
async def test_a_parameter_that_is_nearly_one_and_the_one_that_may_be_meant(name: str, near: str) -> None:
    await refused(f"/v1/call?{name}=1", name, f"{NO_SUCH}; do you mean {near!r}?")


@pytest.mark.parametrize("name", ["order", "legs", "page", "dst", "_", "", "x" * 3000])
async def test_a_parameter_that_is_none_and_those_that_there_are(name: str) -> None:
    await refused(f"/v1/call?{name}=1", name, f"{NO_SUCH}; {OF_THE_LIST}")
    await refused(f"/v1/call/count?{name}=1", name, f"{NO_SUCH}; {OF_THE_COUNT}")


@pytest.mark.parametrize("name", ["limit", "offset", "sort", "fields"])
async def test_what_only_the_list_takes_is_sent_there(name: str) -> None:
    await refused(f"/v1/call/count?{name}=1", name, f"{NO_SUCH} here; it is one of /v1/call")


async def test_what_only_the_count_takes_is_sent_there() -> None:
    await refused("/v1/call?by=state", "by", f"{NO_SUCH} here; it is one of /v1/call/count")


@pytest.mark.parametrize(
    "query", ["limit=1&limit=1", "sort=state&sort=source", "fields=state&fields=ip", "q=a&q=b", "limit=1&%6Cimit=2"]
)
async def test_what_can_be_said_only_once(query: str) -> None:
    await refused(f"/v1/call?{query}", query.partition("=")[0], "is given more than once")


@pytest.mark.parametrize("query", ["by=state&by=state", "require=live&require=live"])
async def test_what_can_be_said_only_once_of_the_count(query: str) -> None:
    await refused(f"/v1/call/count?{query}", query.partition("=")[0], "is given more than once")


@pytest.mark.parametrize("value", ["%ff", "%C3", "a%ffb", "%ED%A0%80", "%EF%BF%BD%ff", "%C0%AF"])
@pytest.mark.parametrize("name", ["source", "q", "limit"])
async def test_a_value_that_is_no_utf8_is_refused(name: str, value: str) -> None:
    """It would be read as U+FFFD, and match a call that really has one."""
    await refused(f"/v1/call?{name}={value}", name, "is not UTF-8")
    await refused(f"/v1/call?state=x&{name}={value}&direction=y", name, "is not UTF-8")


async def test_a_name_that_is_no_utf8_is_refused() -> None:
    await refused("/v1/call?sour%ffce=1", "sour\ufffdce", "is not UTF-8")


async def test_the_replacement_character_itself_may_be_asked_for() -> None:
    async with serving(one_call()) as api:
        assert (await api.get("/v1/call?source=%EF%BF%BD")).ids == ["a"]
        assert (await api.get("/v1/call?q=%EF%BF%BD")).ids == ["a"]


@pytest.mark.parametrize("value", ["%", "%zz", "%f", "50%"])
async def test_a_percent_sign_that_encodes_nothing_stands_for_itself(value: str) -> None:
    async with serving(live(filled(record("a", source=value)))) as api:
        head = f"GET /v1/call?source={value} HTTP/1.1\r\nAuthorization: Bearer {EVERYTHING}"
        assert (await api.send(head.encode())).ids == ["a"]


async def test_of_several_mistakes_the_first_is_told() -> None:
    await refused("/v1/call?limit=x&nonsense=1", "limit", LIMITS)
    await refused("/v1/call?stat=1&limit=x", "stat", f"{NO_SUCH}; do you mean 'state'?")


async def test_a_mistake_is_told_also_where_the_rows_are_not_live() -> None:
    mirror = one_call()
    mirror.switches["pbx"].state = "down"
    async with serving(mirror) as api:
        answer = await api.get("/v1/call?require=live&limit=x")
        answer.fails(400, "INVALID_PARAMETER", f"limit: {LIMITS}", parameter="limit")


async def test_nothing_of_a_mistake_is_a_page_for_a_browser() -> None:
    async with serving(one_call()) as api:
        answer = await api.get("/v1/call?%3Cscript%3E=1", Accept="text/html")
        assert answer.status == 400
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json["parameter"] == "<script>"
