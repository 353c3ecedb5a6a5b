"""What goes wrong for a consumer: always a status, a code and one sentence that says what to do."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

JSON: Final = "application/json"

MAX_BODY: Final = 16 * 1024
"""Bytes of a body; those of the contract are some fifty."""


class Answer(msgspec.Struct, frozen=True):
    """An answer in JSON that can be given more than once."""

    status: int
    body: bytes
    headers: dict[str, str]

    def response(self) -> web.Response:
        """The answer as aiohttp sends it."""
        return web.Response(status=self.status, body=self.body, content_type=JSON, headers=self.headers)


class Failure(Exception):
    """An answer that is no success. `more` are further keys of the body."""

    def __init__(
        self, status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers
        self.more = more

    def answer(self) -> Answer:
        """`{"status":"fail","error":CODE,"message":"…"}`"""
        body = {"status": "fail", "error": self.code, "message": self.message, **self.more}
        # Browsers keep a 410 for ever where nothing forbids it.
        headers = {"Cache-Control": "no-store", **(self.headers or {})}
        return Answer(self.status, msgspec.json.encode(body), headers)

    def response(self) -> web.Response:
        """The answer as aiohttp sends it."""
        return self.answer().response()


def invalid_parameter(name: str, message: str) -> Failure:
    """A parameter of the query, a field of the body or a header that cannot be."""
    return Failure(400, "INVALID_PARAMETER", f"{name}: {message}", parameter=name)


def of_http(error: web.HTTPException) -> Failure:
    """What aiohttp itself refuses, in our form."""
    match error.status:
        case 404:
            return Failure(404, "NOT_FOUND", "there is no such path; see the API's description in docs/http.md")
        case 405:
            allowed = error.headers.get("Allow", "")
            message = f"this path does not take that method; it takes {allowed}"
            return Failure(405, "NOT_FOUND", message, headers={"Allow": allowed})
        case 413:
            message = f"the body of the request is too large; a body has some fifty bytes, and at most {MAX_BODY}"
            return Failure(413, "BODY_TOO_LARGE", message)
        case status if status < 500:
            return Failure(status, "INVALID_BODY", error.reason)
        case status:
            return Failure(status, "INTERNAL_ERROR", error.reason)
