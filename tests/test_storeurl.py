"""What a URL of the store says."""

import re

import pytest

from callbridge.storeurl import StoreUrl, Tls, parse


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("memory://", StoreUrl("memory")),
        ("redis://127.0.0.1:6379/0", StoreUrl("single")),
        ("rediss://user:secret@redis.example", StoreUrl("single", tls=Tls())),
        ("rediss://redis.example/1?ca=/etc/ca%20.pem", StoreUrl("single", tls=Tls("/etc/ca .pem"))),
        (
            "rediss+cluster://one?ca=/ca&cert=/cert&key=/key",
            StoreUrl("cluster", (("one", 6379),), tls=Tls("/ca", "/cert", "/key")),
        ),
        (
            "redis+sentinel://one/mymaster?sentinel_password=secret+%26",
            StoreUrl("sentinel", (("one", 26379),), "mymaster", sentinel_password="secret+&"),
        ),
        (
            "rediss+sentinel://:a@one/mymaster/1?ca=/ca&sentinel_username=u&sentinel_password=secret",
            StoreUrl("sentinel", (("one", 26379),), "mymaster", 1, None, "a", Tls("/ca"), "u", "secret"),
        ),
        ("unix:///run/redis/redis.sock", StoreUrl("single")),
        (
            "redis+sentinel://one:26380,two.example,[::1]:26381/my-master_1.a",
            StoreUrl("sentinel", (("one", 26380), ("two.example", 26379), ("::1", 26381)), "my-master_1.a"),
        ),
        (
            "redis+sentinel://user:p%40ss@one/mymaster/3",
            StoreUrl("sentinel", (("one", 26379),), "mymaster", 3, "user", "p@ss"),
        ),
        (
            "redis+sentinel://:secret@one/mymaster/",
            StoreUrl("sentinel", (("one", 26379),), "mymaster", 0, None, "secret"),
        ),
        ("redis+cluster://one,two:7001", StoreUrl("cluster", (("one", 6379), ("two", 7001)))),
        ("redis+cluster://:secret@one:7000/0", StoreUrl("cluster", (("one", 7000),), password="secret")),
    ],
)
def test_a_url_is_read(url: str, says: StoreUrl) -> None:
    assert parse(url) == says
    assert "secret" not in repr(parse(url))


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("redis+sentinel://:secret@one:26379", "needs the master's name"),
        ("redis+sentinel://:secret@one:26379/", "needs the master's name"),
        ("redis+sentinel://:secret@one:26379/mymaster/zero", "needs the master's name"),
        ("redis+sentinel:///mymaster", "is HOST:PORT"),
        ("redis+sentinel://:secret@one,/mymaster", "is HOST:PORT"),
        ("redis+sentinel://:secret@one:0/mymaster", "is HOST:PORT"),
        ("redis+sentinel://:secret@one:99999/mymaster", "is HOST:PORT"),
        ("redis+cluster://:secret@one:7000/1", "a cluster has no databases"),
        ("redis+cluster://:secret@one two:7000", "is HOST:PORT"),
        ("redis+cluster://:secret@one?ssl=true", "takes no options"),
        ("redis+sentinel://:secret@one/mymaster?ca=/ca", "takes only these options"),
        ("redis+sentinel://:sec?ret@one/mymaster", "takes only these options"),
        ("redis+sentinel://one/mymaster?sentinel_password=secret&sentinel_password=secret", "each once"),
        ("redis+sentinel://one/mymaster?sentinel_password=", "takes only these options"),
        ("redis://:secret@one/0?ca=/ca", "after the host comes only the number"),
        ("rediss://:secret@one/0?password=secret", "takes only these options, each once: ca, cert, key"),
        ("rediss://:secret@one/0?ca=ca.pem", "absolute paths"),
        ("rediss+cluster://:secret@one?key=/key", "needs the certificate that it is of"),
        ("redis+sentinel://one/mymaster?sentinel_username=secret", "needs sentinel_password"),
        ("redis+cluster://user:secret", "is HOST:PORT"),
        ("redis://one/1234", "three digits at most"),
        ("unix:///run/redis.sock?timeout=secret", "takes only these options, each once: db, username, password"),
        ("unix:///run/redis.sock?db=secret", "the option db is the number of the database"),
        ("redis+clusters://:secret@one", "'redis+clusters' is no store"),
        ("Redis+cluster://:secret@one", "'Redis+cluster' is no store"),
    ],
)
def test_what_is_wrong_is_named_without_the_password(url: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=re.escape(wrong)) as error:
        parse(url)
    assert "secret" not in str(error.value)
