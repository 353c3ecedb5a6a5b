"""Who asks: bearer tokens, of which the config holds only the SHA-256."""

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec
from aiohttp import web

from callbridge.config import Scope, Token
from callbridge.http.failures import Failure

_UNAUTHORIZED_HEADERS: Final = {"WWW-Authenticate": 'Bearer realm="callbridge"'}


class Caller(msgspec.Struct, frozen=True):
    """Who makes a request, by the token of which `digest` is the SHA-256. `tenant` None: every tenant's calls."""

    digest: str
    name: str
    tenant: str | None
    scopes: frozenset[Scope]


class Authenticator:
    """Knows the tokens of the config."""

    def __init__(self, tokens: Iterable[Token]) -> None:
        self.replace(tokens)

    def replace(self, tokens: Iterable[Token]) -> None:
        """Know these tokens from now on, and no others."""
        self._callers = {
            token.sha256: Caller(token.sha256, token.name, token.tenant, frozenset(token.scopes)) for token in tokens
        }

    def may_read(self, caller: Caller) -> bool:
        """Whether who asked earlier may still see the same calls."""
        now = self._callers.get(caller.digest)
        return now is not None and now.tenant == caller.tenant and "read" in now.scopes

    def authenticate(self, request: web.Request) -> Caller:
        """Who asks. Raises Failure 401.

        The token is looked up by its digest, so how long the look-up takes says nothing about any token.
        """
        header = request.headers.get("Authorization", "")
        scheme, _, token = header.partition(" ")
        token = token.strip()
        if not header:
            raise _unauthorized("send the header `Authorization: Bearer TOKEN`")
        if scheme.lower() != "bearer" or not token:
            raise _unauthorized("the Authorization header is not of the form `Bearer TOKEN`")
        caller = self._callers.get(hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest())
        if caller is None:
            raise _unauthorized("this token is not known; ask the operator for one")
        return caller


def demand(caller: Caller, scope: Scope) -> None:
    """Raises Failure 403 where the caller's token lacks `scope`."""
    if scope not in caller.scopes:
        raise Failure(403, "FORBIDDEN", f"the token {caller.name!r} lacks the scope {scope!r}")


def _unauthorized(message: str) -> Failure:
    return Failure(401, "UNAUTHORIZED", message, headers=_UNAUTHORIZED_HEADERS)
