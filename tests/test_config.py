"""The configuration: what a right one says, and where a wrong one is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbridge import config as c
from callbridge.config import Config, Http, Log, StoreConfig, Switch, Token, load, split_address
from callbridge.errors import ConfigError

SECRET = "Hush-5ecret"
HASH = "a" * 64
OTHER_HASH = "b" * 64

SWITCH = f"""
[[switch]]
name = "pbx"
address = "127.0.0.1:8021"
password = "{SECRET}"
"""
SWITCH_WITHOUT_PASSWORD = SWITCH.replace(f'password = "{SECRET}"\n', "")
TOKEN = f"""
[[token]]
name = "crm"
sha256 = "{HASH}"
scopes = ["read"]
"""
COMPLETE = f"""
[http]
listen = "[::1]:8443"
cors_origins = ["https://crm.example", "http://127.0.0.1:3000"]
[store]
url = "rediss://callbridge:{SECRET}@redis.example:6380/2"
prefix = "cb.test"
[log]
level = "warning"
format = "json"
[[switch]]
name = "east"
address = "192.0.2.1:8021"
password = "{SECRET}"
events = "plain"
shared_contexts = ["public", "from-trunk"]
[[switch]]
name = "west"
address = "west.example:8022"
password_file = "west.password"
[[token]]
name = "crm"
sha256 = "{HASH}"
tenant = "a.example"
scopes = ["read", "control"]
[[token]]
name = "wallboard"
sha256 = "{OTHER_HASH}"
scopes = ["monitor"]
[[tenant]]
name = "a.example"
context = "from-a"
destinations = ["0[0-9]{{8,10}}", "2000"]
[[tenant]]
name = "b.example"
[commands]
ring_seconds = 45
park_seconds = 60
recording = "/rec/{{tenant}}/{{date}}/{{call_id}}-{{time}}.wav"
[audit]
path = "/var/log/callbridge/audit.jsonl"
"""


def load_text(tmp_path: Path, text: str | bytes, **environment: str) -> Config:
    """Load a text as the file `callbridge.toml`, with only such an environment as the test gives."""
    path = tmp_path / "callbridge.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load(path, environment)


def refusal(tmp_path: Path, text: str | bytes, **environment: str) -> str:
    """What is said of a wrong configuration, which never gives away the password."""
    with pytest.raises(ConfigError) as failure:
        load_text(tmp_path, text, **environment)
    assert SECRET not in str(failure.value)
    assert "\n" not in str(failure.value)
    return str(failure.value)


def with_password_file(tmp_path: Path, content: bytes = SECRET.encode(), mode: int = 0o600) -> str:
    """Write `west.password`; gives the text of a configuration that names it."""
    path = tmp_path / "west.password"
    path.write_bytes(content)
    path.chmod(mode)
    return SWITCH_WITHOUT_PASSWORD + 'password_file = "west.password"\n'


# What is right.


def test_a_complete_configuration_says_what_stands_in_it(tmp_path: Path) -> None:
    with_password_file(tmp_path, b"W3st\n")
    assert load_text(tmp_path, COMPLETE) == Config(
        http=Http("[::1]:8443", ("https://crm.example", "http://127.0.0.1:3000")),
        store=StoreConfig(f"rediss://callbridge:{SECRET}@redis.example:6380/2", "cb.test"),
        log=Log("warning", "json"),
        switch=(
            Switch("east", "192.0.2.1:8021", SECRET, None, "plain", ("public", "from-trunk")),
            Switch("west", "west.example:8022", "W3st", "west.password", "json", ("public", "default")),
        ),
        token=(
            Token("crm", HASH, ("read", "control"), "a.example"),
            Token("wallboard", OTHER_HASH, ("monitor",), None),
        ),
        tenant=(c.Tenant("a.example", "from-a", ("0[0-9]{8,10}", "2000")), c.Tenant("b.example", None, ())),
        commands=c.Commands(45, 60, "/rec/{tenant}/{date}/{call_id}-{time}.wav"),
        audit=c.AuditConfig("/var/log/callbridge/audit.jsonl"),
    )


def test_what_is_not_said_has_the_documented_value(tmp_path: Path) -> None:
    config = load_text(tmp_path, SWITCH)
    assert (config.http, config.store, config.log) == (
        Http("127.0.0.1:8080", ()),
        StoreConfig("memory://", "callbridge"),
        Log("info", "auto"),
    )
    assert (config.token, config.tenant) == ((), ())
    assert config.commands == c.Commands(30, 10, "")


@pytest.mark.parametrize(
    "url",
    [
        "memory://",
        "redis://127.0.0.1",
        "redis://127.0.0.1:6379/0",
        "redis://:secret@[::1]:6379/15",
        "rediss://user:secret@redis.example",
        "unix:///run/redis/redis.sock",
    ],
)
def test_a_store_that_there_is_is_taken(tmp_path: Path, url: str) -> None:
    assert load_text(tmp_path, SWITCH, CALLBRIDGE_STORE__URL=url).store.url == url


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"W3st", "W3st"),
        (b"W3st\n", "W3st"),
        (b"W3st\r\n", "W3st"),
        (b" W3 st ", " W3 st "),
        ("Wést".encode(), "Wést"),
    ],
)
def test_a_password_file_holds_the_password_and_perhaps_a_line_end(
    tmp_path: Path, content: bytes, password: str
) -> None:
    assert load_text(tmp_path, with_password_file(tmp_path, content)).switch[0].password == password


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o660])
def test_a_password_file_may_be_its_groups(tmp_path: Path, mode: int) -> None:
    assert load_text(tmp_path, with_password_file(tmp_path, mode=mode)).switch[0].password == SECRET


def test_a_password_file_may_be_anywhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with_password_file(elsewhere)
    config = load_text(tmp_path, SWITCH_WITHOUT_PASSWORD + f"password_file = '{elsewhere / 'west.password'}'")
    assert config.switch[0].password == SECRET


def test_no_secret_is_in_a_repr(tmp_path: Path) -> None:
    with_password_file(tmp_path)
    config = load_text(tmp_path, COMPLETE)
    assert config.switch[1].password == SECRET
    for shown in (config, config.store, *config.switch, *config.token):
        assert SECRET not in repr(shown)
        assert SECRET not in f"{shown}"
    assert repr(config.switch[0]) == "<Switch east at 192.0.2.1:8021>"
    assert repr(config.store) == "<StoreConfig rediss, prefix cb.test>"


# What is wrong with the files.


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.toml"
    with pytest.raises(ConfigError, match=r"nowhere\.toml: there is no such file"):
        load(path, {})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{tmp_path}: cannot be read"):
        load(tmp_path, {})
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"callbridge\.toml: cannot be read"):
        load(tmp_path / "file" / "callbridge.toml", {})


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    message = refusal(tmp_path, SWITCH.encode() + b"# \xfc\n")
    assert message.startswith(f"{tmp_path}/callbridge.toml: cannot be read ('utf-8' codec can't decode byte 0xfc")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[[switch]\n", 1),
        ("\n\nname = \n", 3),
        ("\nname = 'a'\nname = 'b'\n", 3),
        (SWITCH + "[http]\n[http]\n", SWITCH.count("\n") + 2),
    ],
)
def test_a_file_that_is_no_toml_is_named_with_the_line(tmp_path: Path, text: str, line: int) -> None:
    message = refusal(tmp_path, text)
    assert message.startswith(f"{tmp_path}/callbridge.toml: is no TOML: ")
    assert f"(at line {line}, " in message


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644, 0o666])
def test_a_password_that_everybody_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    message = refusal(tmp_path, with_password_file(tmp_path, mode=mode))
    place = f"{tmp_path}/callbridge.toml:5: switch[0].password_file"
    assert message == f"{place}: every user of this machine can read it; chmod 600 {tmp_path}/west.password"


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n", b"one\ntwo\n", b"\x00", b"a\x7f", b"tab\t"])
def test_a_password_that_the_event_socket_cannot_carry_is_refused(tmp_path: Path, content: bytes) -> None:
    message = refusal(tmp_path, with_password_file(tmp_path, content))
    assert message.startswith(f"{tmp_path}/callbridge.toml:5: switch[0].password_file: is empty or holds a control")


def test_a_password_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    place = f"{tmp_path}/callbridge.toml:5: switch[0].password_file: cannot be read"
    assert refusal(tmp_path, SWITCH_WITHOUT_PASSWORD + "password_file = 'nowhere'").startswith(place)
    assert refusal(tmp_path, SWITCH_WITHOUT_PASSWORD + "password_file = '.'").startswith(place)
    assert refusal(tmp_path, SWITCH_WITHOUT_PASSWORD + 'password_file = "a\\u0000"').startswith(place)
    message = refusal(tmp_path, with_password_file(tmp_path, b"Pas\xdfword"))
    assert message == f"{place} (it is not UTF-8)"


# What the environment says.


@pytest.mark.parametrize(
    ("variable", "text", "read", "value"),
    [
        ("HTTP__LISTEN", "0.0.0.0:80", lambda config: config.http.listen, "0.0.0.0:80"),
        ("HTTP__CORS_ORIGINS", "*", lambda config: config.http.cors_origins, ("*",)),
        (
            "HTTP__CORS_ORIGINS",
            "https://a.example, https://b.example,",
            lambda config: config.http.cors_origins,
            ("https://a.example", "https://b.example"),
        ),
        ("HTTP__CORS_ORIGINS", "", lambda config: config.http.cors_origins, ()),
        ("HTTP__REUSE_PORT", "false", lambda config: config.http.reuse_port, False),
        ("STORE__PREFIX", "cb", lambda config: config.store.prefix, "cb"),
        ("LOG__LEVEL", "debug", lambda config: config.log.level, "debug"),
        ("SWITCH__0__PASSWORD", "1234", lambda config: config.switch[0].password, "1234"),
        ("SWITCH__0__PASSWORD", " a=b,c ", lambda config: config.switch[0].password, " a=b,c "),
        ("SWITCH__1__NAME", "west", lambda config: config.switch[1].name, "west"),
        ("SWITCH__1__SHARED_CONTEXTS", "a,b", lambda config: config.switch[1].shared_contexts, ("a", "b")),
        ("TOKEN__0__SCOPES", "read,monitor", lambda config: config.token[0].scopes, ("read", "monitor")),
        ("TOKEN__0__TENANT", "b.example", lambda config: config.token[0].tenant, "b.example"),
    ],
)
def test_a_variable_wins_over_the_file(
    tmp_path: Path, variable: str, text: str, read: Callable[[Config], Any], value: Any
) -> None:
    http = "{ listen = '[::1]:1', cors_origins = ['http://x'], reuse_port = true }"
    store = "{ url = 'redis://127.0.0.1' }"
    file = f"http = {http}\nstore = {store}\n{SWITCH}{SWITCH.replace('pbx', 'b')}{TOKEN}"
    assert read(load_text(tmp_path, file)) != value
    assert read(load_text(tmp_path, file, **{f"CALLBRIDGE_{variable}": text})) == value


def test_a_variable_gives_what_the_file_lacks(tmp_path: Path) -> None:
    config = load_text(
        tmp_path, SWITCH_WITHOUT_PASSWORD, CALLBRIDGE_SWITCH__0__PASSWORD="12", CALLBRIDGE_LOG__FORMAT="text"
    )
    assert (config.switch[0].password, config.log.format) == ("12", "text")


def test_the_environment_is_that_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "callbridge.toml").write_text(SWITCH)
    monkeypatch.setenv("CALLBRIDGE_HTTP__LISTEN", "[::1]:1")
    assert load(tmp_path / "callbridge.toml").http.listen == "[::1]:1"
    assert load(tmp_path / "callbridge.toml", {}).http.listen == "127.0.0.1:8080"


def test_variables_that_are_not_for_the_configuration_are_passed_over(tmp_path: Path) -> None:
    others = {"CALLBRIDGE_CONFIG": "x", "CALLBRIDGE": "x", "HTTP__LISTEN": "x", "MY_CALLBRIDGE_HTTP__LISTEN": "x"}
    assert load_text(tmp_path, SWITCH, **others) == load_text(tmp_path, SWITCH)


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("HTTP__PORT", "80", "there is no key 'port'; there are cors_origins, listen, reuse_port"),
        ("HTPP__LISTEN", "x", "there is no key 'htpp'; there are audit, commands, http, log"),
        ("_HTTP__LISTEN", "x", "there is no key '_http'; there are"),
        ("HTTP__", "x", "there is no key ''; there are"),
        ("HTTP__LISTEN__HOST", "x", "'listen' has no keys of its own"),
        ("HTTP__CORS_ORIGINS__0", "*", "'cors_origins' has no keys of its own"),
        ("SWITCH__PASSWORD", SECRET, "'switch' needs a number from 0 to 1 and a key, like switch__0__name"),
        ("SWITCH__2__PASSWORD", SECRET, "'switch' needs a number from 0 to 1"),
        ("SWITCH__-1__PASSWORD", SECRET, "'switch' needs a number from 0 to 1"),
        ("SWITCH__0", SECRET, "'switch' needs a number from 0 to 1 and a key"),
        ("SWITCH__0__PASSWORT", SECRET, "there is no key 'passwort'; there are address, events, name, password"),
        ("HTTP__LISTEN", "8080", "http.listen: '8080' is no address"),
        ("HTTP__LISTEN", "", "http.listen: Expected `str` of length >= 1"),
        ("HTTP__CORS_ORIGINS", "*,a.example", "http.cors_origins[1]: has the wrong form"),
        ("HTTP__REUSE_PORT", "yes", "http.reuse_port: Expected `bool`, got `str`; write true or false"),
        ("HTTP__REUSE_PORT", "true", "http.reuse_port: processes that share a port share the calls through Redis"),
        ("STORE__URL", f"http://:{SECRET}@127.0.0.1", "store.url: 'http' is no store"),
        ("LOG__LEVEL", "10", "log.level: Invalid enum value '10'; there are debug, info, warning, error"),
        ("SWITCH__0__ADDRESS", "pbx", "switch[0].address: 'pbx' is no address"),
        ("SWITCH__1__PASSWORD", f"{SECRET}\n", "switch[1].password: is empty or holds a control character"),
        ("SWITCH__1__NAME", "pbx", "switch[1].name: two switches are named 'pbx'"),
        ("TOKEN__0__SCOPES", "read,everything", "token[0].scopes[1]: Invalid enum value 'everything'; there are read"),
        ("TOKEN__0__SHA256", SECRET, "token[0].sha256: has the wrong form"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, variable: str, text: str, message: str) -> None:
    file = SWITCH + SWITCH.replace("pbx", "b") + TOKEN
    said = refusal(tmp_path, file, **{f"CALLBRIDGE_{variable}": text})
    assert said.startswith(f"environment variable CALLBRIDGE_{variable}: {message}")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("http = 3" + SWITCH, "http"),
        ("switch = 3", "switch"),
        ("switch = [3]", "switch[0]"),
        ("[switch]\nname = 'a'", "switch"),
    ],
)
def test_a_variable_does_not_hide_what_is_wrong_in_the_file(tmp_path: Path, text: str, key: str) -> None:
    variables = {"CALLBRIDGE_HTTP__LISTEN": "127.0.0.1:80", "CALLBRIDGE_SWITCH__0__NAME": "b"}
    message = refusal(tmp_path, text, **variables)
    assert message.startswith(f"{tmp_path}/callbridge.toml:1: {key}: Expected ")


# Addresses.


@given(st.sampled_from(["127.0.0.1", "pbx", "pbx-1.example.com", "[::1]", "[fe80::1%eth0]"]), st.integers(0, 65535))
def test_an_address_is_a_host_and_a_port(host: str, port: int) -> None:
    assert split_address(f"{host}:{port}") == (host.strip("[]"), port)


@pytest.mark.parametrize(
    "address",
    [
        "",
        ":",
        "pbx",
        "pbx:",
        ":8021",
        "pbx:-1",
        "pbx:65536",
        "pbx:0x50",
        "pbx: 80",
        "pbx:80 ",
        "p bx:80",
        "pbx:80\n",
        "pbx:" + "8" * 5000,
        "pbx:\u0668\u0660",
        "[]:80",
        "[::1:80",
        "::1]:80",
        "[[::1]]:80",
        "[::1]80",
        "http://pbx:80",
        "me@pbx:80",
    ],
)
def test_what_is_no_address_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(ValueError, match=r"is no address; write HOST:PORT, like 127\.0\.0\.1:8080"):
        split_address(address)


@pytest.mark.parametrize("address", ["::1:8080", "::1", "fe80::1:80", "2001:db8::5:8021"])
def test_the_brackets_of_ipv6_are_asked_for(address: str) -> None:
    with pytest.raises(ValueError, match=r"an IPv6 address stands in brackets, like \[::1\]:8080"):
        split_address(address)
