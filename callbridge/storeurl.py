"""`store.url`: which Redis, and how it is found. Pure: nothing is looked up here."""

import re
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

import msgspec

FORMS: Final = (
    "memory://, redis://HOST:PORT/DB, rediss://…, unix://PATH, redis+sentinel://HOST:PORT,HOST:PORT/MASTER/DB"
    " or redis+cluster://HOST:PORT,HOST:PORT"
)
SENTINEL_PORT: Final = 26379
REDIS_PORT: Final = 6379

_NODE: Final = re.compile(r"(?:\[(?P<ipv6>[^\s/@\[\]]+)\]|(?P<host>[^\s:/@\[\],]+))(?::(?P<port>[0-9]{1,5}))?")


class StoreUrl(msgspec.Struct, frozen=True):
    """What a URL says. `nodes` are the sentinels or some nodes of the cluster; of a single Redis the URL says it all.
    The login is that of the Redis servers; sentinels are asked without one."""

    kind: Literal["memory", "single", "sentinel", "cluster"]
    nodes: tuple[tuple[str, int], ...] = ()
    master: str = ""
    database: int = 0
    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        # Without the password: a repr ends up in a log some day.
        return f"<StoreUrl {self.kind} {self.nodes}>"


def parse(url: str) -> StoreUrl:
    """Read a URL. Raises ValueError with what is wrong with it, without its password."""
    # Schemes are taken in lower case only, and with both slashes, as redis-py takes them.
    if url.startswith("redis+sentinel://"):
        return _sentinel(url)
    if url.startswith("redis+cluster://"):
        return _cluster(url)
    return _single(url)


def _single(url: str) -> StoreUrl:
    try:
        parts = urlsplit(url)
        port_is_right = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError(f"is no URL; write {FORMS}") from None
    if not url.startswith(("memory://", "redis://", "rediss://", "unix://")) or not port_is_right:
        raise ValueError(f"{parts.scheme or 'this'!r} is no store; write {FORMS}")
    if parts.scheme in ("redis", "rediss"):
        if not parts.hostname:
            raise ValueError("names no host; write redis://127.0.0.1:6379/0")
        if not re.fullmatch(r"/?[0-9]*", parts.path) or parts.query:
            raise ValueError("after the host comes only the number of the database, like /0")
    if parts.scheme == "unix" and not parts.path:
        raise ValueError("names no socket; write unix:///run/redis/redis.sock")
    return StoreUrl("memory" if parts.scheme == "memory" else "single")


def _sentinel(url: str) -> StoreUrl:
    username, password, hosts, path = _split(url)
    found = re.fullmatch(r"/([A-Za-z0-9._-]+)(?:/([0-9]{1,3})?)?", path)
    if found is None:
        raise ValueError("needs the master's name after the sentinels, like redis+sentinel://HOST:26379/mymaster/0")
    return StoreUrl("sentinel", _nodes(hosts, SENTINEL_PORT), found[1], int(found[2] or 0), username, password)


def _cluster(url: str) -> StoreUrl:
    username, password, hosts, path = _split(url)
    if path not in ("", "/", "/0"):
        raise ValueError("a cluster has no databases; write redis+cluster://HOST:PORT,HOST:PORT")
    return StoreUrl("cluster", _nodes(hosts, REDIS_PORT), username=username, password=password)


def _split(url: str) -> tuple[str | None, str | None, str, str]:
    """The user, the password, the hosts and what comes after them. urlsplit knows no list of hosts."""
    rest = url.partition("://")[2]
    if "?" in rest or "#" in rest:
        raise ValueError("takes no options; nothing comes after a ? or a #")
    authority, slash, path = rest.partition("/")
    login, at, hosts = authority.rpartition("@")
    username, _, password = login.partition(":")
    return unquote(username) or None, (unquote(password) or None) if at else None, hosts, slash + path


def _nodes(hosts: str, port: int) -> tuple[tuple[str, int], ...]:
    nodes = []
    for text in hosts.split(","):
        found = _NODE.fullmatch(text)
        if found is None or not 0 < int(found["port"] or port) <= 65535:
            raise ValueError(f"{text!r} is no HOST:PORT; several stand with commas in between")
        nodes.append((found["ipv6"] or found["host"], int(found["port"] or port)))
    return tuple(nodes)
