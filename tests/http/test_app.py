"""What every path has in common: who may read it from where, and what is answered when something is wrong."""

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from callbridge.mirror import Mirror
from tests.http.kit import EVERYTHING, OPERATOR, Answer, Api, live, serving
from tests.http.samples import filled, record

PAGE = "https://wallboard.example"
NO_PATH = "there is no such path; see the API's description in docs/http.md"
NO_METHOD = "this path does not take that method; it takes "
TOO_LARGE = "the body of the request is too large; a body has some fifty bytes, and at most 16384"
ASKED_WITH = "Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID"
EXPOSED = "ETag, Location, Retry-After, Callbridge-Age"

TAKES = {
    "/v1/call": "GET,HEAD,POST",
    "/v1/call/count": "GET,HEAD",
    "/v1/call/a": "GET,HEAD",
    "/v1/call/a/park": "POST",
    "/v1/call/a/whisper": "POST",
    "/v1/monitor": "GET,HEAD",
    "/v1/monitor/m": "DELETE,GET,HEAD,PATCH",
    "/v1/switch": "GET,HEAD",
}
"""Every form of path -> its methods."""

PATHS = ("/v1/call", "/v1/call/count", "/v1/call/a", "/v1/switch")
PREFLIGHT = {"Origin": PAGE, "Access_Control_Request_Method": "GET", "Access_Control_Request_Headers": "authorization"}


def one_call() -> Mirror:
    return live(filled(record("a")))


async def ask_all(api: Api, method: str) -> list[Answer]:
    return [await api.get(path, method=method) for path in PATHS]


def cors(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.lower().startswith("access-control-")}


# Pages of other origins.


async def test_without_origins_in_the_config_no_page_is_told_anything() -> None:
    async with serving(one_call()) as api:
        answer = await api.get("/v1/call", Origin=PAGE)
        assert (answer.status, cors(answer)) == (200, {})
        assert "Vary" not in answer.headers
        preflight = await api.get("/v1/call", None, method="OPTIONS", **PREFLIGHT)
        preflight.fails(405, "NOT_FOUND", NO_METHOD + TAKES["/v1/call"])
        assert cors(preflight) == {}


async def test_a_page_of_an_allowed_origin_may_read_the_answer_and_its_headers() -> None:
    async with serving(one_call(), origins=("https://other.example", PAGE)) as api:
        answer = await api.get("/v1/call", Origin=PAGE)
        assert answer.ids == ["a"]
        assert cors(answer) == {"Access-Control-Allow-Origin": PAGE, "Access-Control-Expose-Headers": EXPOSED}
        assert answer.headers["Vary"] == "Origin, Authorization"


async def test_a_page_of_an_allowed_origin_may_read_failures_too() -> None:
    async with serving(one_call(), origins=(PAGE,)) as api:
        for answer in (
            await api.get("/v1/call", None, Origin=PAGE),
            await api.get("/v1/call?limit=x", Origin=PAGE),
            await api.get("/v1/call/x", Origin=PAGE),
            await api.get("/nothing", Origin=PAGE),
            await api.get("/v1/call", method="PUT", Origin=PAGE),
            await api.get("/v1/call", method="POST", Origin=PAGE),
        ):
            assert answer.status >= 400
            assert answer.headers["Access-Control-Allow-Origin"] == PAGE
            assert answer.headers["Access-Control-Expose-Headers"] == EXPOSED


async def test_a_page_of_an_allowed_origin_may_read_that_nothing_has_changed() -> None:
    async with serving(one_call(), origins=(PAGE,)) as api:
        answer = await api.get("/v1/call", Origin=PAGE, If_None_Match="*")
        assert answer.status == 304
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE


@pytest.mark.parametrize("origin", ["https://evil.example", "http://wallboard.example", f"{PAGE}.evil.example", "null"])
async def test_a_page_of_another_origin_may_not(origin: str) -> None:
    async with serving(one_call(), origins=(PAGE,)) as api:
        answer = await api.get("/v1/call", Origin=origin)
        assert cors(answer) == {}
        assert answer.headers["Vary"] == "Origin, Authorization"
        preflight = await api.get("/v1/call", None, method="OPTIONS", **(PREFLIGHT | {"Origin": origin}))
        assert (preflight.status, cors(preflight)) == (405, {})


async def test_a_star_allows_every_origin_by_its_name() -> None:
    async with serving(one_call(), origins=("*",)) as api:
        for origin in (PAGE, "https://any.example", "null"):
            answer = await api.get("/v1/call", Origin=origin)
            assert answer.headers["Access-Control-Allow-Origin"] == origin
        assert cors(await api.get("/v1/call")) == {}


@pytest.mark.parametrize("path", [*PATHS, "/v1/call/a/transfer"])
async def test_a_browser_may_ask_without_a_token_whether_it_may_ask(path: str) -> None:
    async with serving(one_call(), origins=(PAGE,)) as api:
        answer = await api.get(path, None, method="OPTIONS", **PREFLIGHT)
        assert (answer.status, answer.body) == (204, b"")
        assert cors(answer) == {
            "Access-Control-Allow-Origin": PAGE,
            "Access-Control-Allow-Methods": "GET, HEAD, POST, PATCH, DELETE",
            "Access-Control-Allow-Headers": ASKED_WITH,
            "Access-Control-Expose-Headers": EXPOSED,
            "Access-Control-Max-Age": "600",
        }


async def test_options_that_asks_for_no_method_is_no_question_of_a_browser() -> None:
    async with serving(one_call(), origins=(PAGE,)) as api:
        answer = await api.get("/v1/call", None, method="OPTIONS", Origin=PAGE)
        answer.fails(405, "NOT_FOUND", NO_METHOD + TAKES["/v1/call"])


# Paths and methods.


NO_PATHS = (
    "/ /v1 /v1/ /v1/calls /v1/call/ /v1/call/a/ /v1/call/a/b /v1/call/count/ /v1/switch/ /v1/switch/pbx /V1/call "
    "/v1/Call //v1/call /v1//call /v1/call;x=1 /v2/call /v1/call/../switch /v1/call/%2e%2e/switch /v1%2Fcall /%00 /%ff"
)


@pytest.mark.parametrize("path", NO_PATHS.split())
async def test_a_path_that_is_not_there(path: str) -> None:
    async with serving(one_call()) as api:
        for token in (EVERYTHING, None):
            (await api.get(path, token)).fails(404, "NOT_FOUND", NO_PATH)


@pytest.mark.parametrize("line", [b"OPTIONS *", b"CONNECT api:80", b"GET /v1/call/{a}", b"GET /v1/call%3Fa"])
async def test_a_target_that_no_client_would_send_is_no_path(line: bytes) -> None:
    async with serving(one_call()) as api:
        (await api.send(line + b" HTTP/1.1")).fails(404, "NOT_FOUND", NO_PATH)


@pytest.mark.parametrize("path", TAKES)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "TRACE", "PURGE"])
async def test_a_method_that_a_path_does_not_take(method: str, path: str) -> None:
    async with serving(one_call()) as api:
        answer = await api.get(path, OPERATOR, method=method)
        if method in TAKES[path].split(","):
            assert answer.status != 405
        else:
            answer.fails(405, "NOT_FOUND", NO_METHOD + TAKES[path])
            assert answer.headers["Allow"] == TAKES[path]


async def test_head_is_get_without_the_body() -> None:
    async with serving(one_call()) as api:
        got, heads = await ask_all(api, "GET"), await ask_all(api, "HEAD")
        for answer, head in zip(got, heads, strict=True):
            assert (answer.status, head.status, head.body) == (200, 200, b"")
            assert head.headers["Content-Length"] == str(len(answer.body))
            for name in ("ETag", "Callbridge-Age", "Content-Type", "Cache-Control"):
                assert head.headers.get(name) == answer.headers.get(name)


async def test_head_says_by_its_status_what_is_wrong() -> None:
    async with serving(one_call()) as api:
        for path, token, status in (
            ("/v1/call", None, 401),
            ("/v1/call?limit=x", EVERYTHING, 400),
            ("/v1/call/x", EVERYTHING, 404),
            ("/nothing", EVERYTHING, 404),
        ):
            answer = await api.get(path, token, method="HEAD")
            assert (answer.status, answer.body) == (status, b"")
        assert (await api.get("/v1/call", method="HEAD", If_None_Match="*")).status == 304


async def test_an_absolute_target_as_proxies_send_it_is_understood() -> None:
    async with serving(one_call()) as api:
        head = f"GET http://api/v1/call?limit=1 HTTP/1.1\r\nAuthorization: Bearer {EVERYTHING}"
        assert (await api.send(head.encode())).ids == ["a"]


NO_HTTP = {
    "unknown method": b"FOO /v1/call HTTP/1.1",
    "small letters": b"get /v1/call HTTP/1.1",
    "raw byte in the path": b"GET /v1/call/\xff HTTP/1.1",
    "raw byte in the query": b"GET /v1/call?q=\xff HTTP/1.1",
    "unknown version": b"GET /v1/call HTTP/9.9",
    "no target": b"GET",
    "huge target": b"GET /v1/call?q=" + b"a" * 9000 + b" HTTP/1.1",
    "huge header": b"GET /v1/call HTTP/1.1\r\nX: " + b"a" * 9000,
    "wrong length": b"GET /v1/call HTTP/1.1\r\nContent-Length: x",
}


@pytest.mark.parametrize("head", NO_HTTP.values(), ids=NO_HTTP)
async def test_what_is_no_http_is_refused_and_the_next_one_served(head: bytes) -> None:
    async with serving(one_call()) as api:
        answer = await api.send(head)
        assert answer.status == 400
        assert b"Traceback" not in answer.body
        assert (await api.get("/v1/call")).ids == ["a"]


async def test_no_answer_says_on_what_software_it_runs() -> None:
    async with serving(one_call()) as api:
        for answer in (*await ask_all(api, "GET"), await api.get("/nothing"), await api.get("/v1/call", None)):
            assert answer.headers["Server"] == "callbridge"


# Failures of our own, and bodies.


class Broken(Mirror):
    """A mirror that fails as only a mistake in the code would."""

    def listing(self, tenant: str | None) -> None:  # type: ignore[override]
        raise RuntimeError("a secret of the code")


async def test_a_failure_of_callbridge_is_told_to_the_log_and_not_to_the_client() -> None:
    async with serving(live(Broken(["pbx"])), origins=(PAGE,)) as api:
        with capture_logs() as logs:
            answer = await api.get("/v1/call", Origin=PAGE)
        answer.fails(500, "INTERNAL_ERROR", "callbridge failed; the operator finds why in its log")
        assert b"secret" not in answer.body
        assert cors(answer)["Access-Control-Allow-Origin"] == PAGE
        [entry] = logs
        assert (entry["event"], entry["log_level"]) == ("http.failed", "error")
        assert (entry["method"], entry["path"], entry["exc_info"]) == ("GET", "/v1/call", True)
        assert (await api.get("/v1/call/x")).status == 404


async def read_body(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await request.read())))


async def refuse(_: web.Request) -> web.Response:
    raise web.HTTPUnsupportedMediaType


async def break_off(_: web.Request) -> web.Response:
    raise web.HTTPServiceUnavailable


def with_more_paths(app: web.Application) -> None:
    app.router.add_post("/body", read_body)
    app.router.add_get("/refuse", refuse)
    app.router.add_get("/break-off", break_off)


async def test_a_body_of_more_than_16_kibibytes_is_too_large() -> None:
    async with serving(one_call(), prepare=with_more_paths) as api:
        head = b"POST /body HTTP/1.1\r\nContent-Length: "
        assert (await api.send(head + b"16384", b"x" * 16384)).body == b"16384"
        answer = await api.send(head + b"16385", b"x" * 16385)
        answer.fails(413, "BODY_TOO_LARGE", TOO_LARGE)


async def test_a_body_where_none_is_expected_does_no_harm() -> None:
    async with serving(one_call()) as api:
        head = f"GET /v1/call HTTP/1.1\r\nAuthorization: Bearer {EVERYTHING}\r\nContent-Length: 2000000"
        assert (await api.send(head.encode(), b"x" * 2_000_000)).ids == ["a"]


async def test_what_the_server_itself_refuses_has_the_same_form() -> None:
    async with serving(one_call(), prepare=with_more_paths) as api:
        (await api.get("/refuse")).fails(415, "INVALID_BODY", "Unsupported Media Type")
        (await api.get("/break-off")).fails(503, "INTERNAL_ERROR", "Service Unavailable")
