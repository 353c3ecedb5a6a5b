"""The command line, called as a function and as the program that users start."""

import asyncio
import hashlib
import json
import os
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from callbridge import __version__, cli
from callbridge.config import load
from callbridge.daemon import Daemon
from callbridge.errors import StartError
from callbridge.simulator.traffic import Traffic
from tests.daemonkit import SECRET, restored_logging

SWITCH = f"""[http]
listen = "127.0.0.1:0"
[[switch]]
name = "pbx"
address = "127.0.0.1:8021"
password = "{SECRET}"
"""

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for variable in [name for name in os.environ if name.startswith("CALLBRIDGE_")]:
        monkeypatch.delenv(variable)
    with restored_logging():
        yield


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "callbridge.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def refused(capsys: Captured, *arguments: str) -> str:
    """What is said to arguments that are none: how it is used, and the last line."""
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    out, err = capsys.readouterr()
    assert end.value.code == 2
    assert out == ""
    assert err.startswith("usage: callbridge")
    return err.splitlines()[-1]


def failed(capsys: Captured) -> str:
    """The one sentence that a failure is told in."""
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("callbridge: ")
    return line


# Arguments.


def test_it_says_its_version(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"callbridge {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "required: COMMAND"),
        ("nonsense", "invalid choice: 'nonsense'"),
        ("run --nonsense", "unrecognized arguments: --nonsense"),
        ("run --config", "--config: expected one argument"),
        ("token", "required: COMMAND"),
        ("demo --listen 8080", "--listen: '8080' is no address; write HOST:PORT"),
        ("demo --listen ::1:8080", "an IPv6 address stands in brackets"),
        ("demo --rate -1", "--rate: '-1' is no number from 0 up"),
        ("demo --rate nan", "--rate: 'nan' is no number from 0 up"),
        ("demo --rate inf", "--rate: 'inf' is no number from 0 up"),
        ("demo --duration long", "--duration: 'long' is no number from 0 up"),
        ("demo --live 1.5", "--live: '1.5' is no whole number from 0 up"),
        ("demo --live -1", "--live: '-1' is no whole number from 0 up"),
        ("demo --tenants ''", "--tenants: '' is no tenant"),
        ("demo --tenants a.example,,b.example", "--tenants: '' is no tenant"),
        ("simulate --fault nonsense=1", "nonsense=1: "),
        ("simulate --fault late_rows", "there are late_rows, stale_rows"),
        ("simulate --replay /no/such/file", "--replay: there is no file /no/such/file"),
        ("token new", "required: name"),
        ("token new 'a b'", "'a b' is no name"),
        ("token new 'a\"\nb'", "is no name"),
        ("token new crm --scope everything", "invalid choice: 'everything'"),
        ("token new crm --tenant ''", "'' is no tenant"),
        ("token new crm --tenant ' '", "' ' is no tenant"),
        ("token new crm --tenant 'a\nb'", "is no tenant"),
    ],
)
def test_wrong_arguments_are_named(capsys: Captured, arguments: str, words: str) -> None:
    assert words in refused(capsys, *shlex.split(arguments))


# The configuration.


def test_a_right_configuration_is_told_in_one_line(tmp_path: Path, capsys: Captured) -> None:
    token = f'[[token]]\nname = "crm"\nsha256 = "{"a" * 64}"\nscopes = ["read"]\n'
    path = written(tmp_path, SWITCH + token)
    assert cli.main(["check-config", "--config", path]) == cli.OK
    out, err = capsys.readouterr()
    assert out == f"{path} is right: pbx at 127.0.0.1:8021; listens on 127.0.0.1:0; 1 tokens\n"
    assert err == ""


def test_that_nobody_can_use_the_api_is_said(tmp_path: Path, capsys: Captured) -> None:
    assert cli.main(["check-config", "--config", written(tmp_path, SWITCH)]) == cli.OK
    assert "nobody can use the API" in capsys.readouterr().out


def test_a_folder_for_the_audit_log_that_is_not_there_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "log"
    path = written(tmp_path, f'{SWITCH}[audit]\npath = "{nowhere}/audit.jsonl"\n')
    assert cli.main(["check-config", "--config", path]) == cli.OK
    assert f"no folder {nowhere} for the audit log" in capsys.readouterr().out
    nowhere.mkdir()
    assert cli.main(["check-config", "--config", path]) == cli.OK
    assert "audit" not in capsys.readouterr().out.removeprefix(path)


@pytest.mark.parametrize("command", ["run", "check-config"])
def test_a_wrong_configuration_is_told_with_key_file_and_line(tmp_path: Path, capsys: Captured, command: str) -> None:
    path = written(tmp_path, SWITCH + 'events = "xml"\n')
    assert cli.main([command, "--config", path]) == cli.WRONG_CONFIG
    line = failed(capsys)
    assert line.startswith(f"callbridge: {path}:7: switch[0].events: ")
    assert SECRET not in line


@pytest.mark.parametrize("command", ["run", "check-config"])
def test_a_configuration_that_is_not_there_is_named(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main([command]) == cli.WRONG_CONFIG
    assert failed(capsys).startswith("callbridge: callbridge.toml: there is no such file")


def test_a_wrong_variable_of_the_environment_is_named(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLBRIDGE_HTTP__LISTEN", "everywhere")
    assert cli.main(["run", "--config", written(tmp_path, SWITCH)]) == cli.WRONG_CONFIG
    assert "CALLBRIDGE_HTTP__LISTEN: http.listen: 'everywhere' is no address" in failed(capsys)


# Tokens.


@pytest.mark.parametrize(
    ("arguments", "tenant", "scopes"),
    [
        ([], None, ("read",)),
        (
            ["--tenant", "test.tel4vn.com", "--scope", "read", "--scope", "control"],
            "test.tel4vn.com",
            ("read", "control"),
        ),
        (["--scope", "monitor", "--scope", "monitor"], None, ("monitor",)),
        (["--tenant", 'an "odd" \\ tenant ü'], 'an "odd" \\ tenant ü', ("read",)),
    ],
)
def test_the_entry_of_a_new_token_is_one_for_the_configuration(
    tmp_path: Path, capsys: Captured, arguments: list[str], tenant: str | None, scopes: tuple[str, ...]
) -> None:
    assert cli.main(["token", "new", "crm", *arguments]) == cli.OK
    first, entry = capsys.readouterr().out.split("\n\nFor the configuration:\n\n")
    secret = first.rpartition(" ")[2]
    (token,) = load(Path(written(tmp_path, SWITCH + entry)), {}).token
    assert (token.name, token.tenant, token.scopes) == ("crm", tenant, scopes)
    assert token.sha256 == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in entry
    assert len(secret) >= 40


def test_no_token_is_like_another(capsys: Captured) -> None:
    cli.main(["token", "new", "crm"])
    first = capsys.readouterr().out
    cli.main(["token", "new", "crm"])
    assert capsys.readouterr().out != first


# What cannot start, and what fails.


@pytest.mark.parametrize("command", ["run", "demo", "simulate"])
def test_a_port_that_is_taken_is_told_in_one_sentence(tmp_path: Path, capsys: Captured, command: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        path = written(tmp_path, SWITCH.replace("127.0.0.1:0", address))
        arguments = ["--config", path] if command == "run" else ["--listen", address]
        assert cli.main([command, *arguments]) == cli.FAILED
    assert failed(capsys) == f"callbridge: cannot listen on {address}: Address already in use"


@pytest.mark.parametrize(("content", "words"), [(b"", "holds no events"), (b"nonsense", "is no recording")])
def test_a_file_that_is_no_recording_is_told(tmp_path: Path, capsys: Captured, content: bytes, words: str) -> None:
    path = tmp_path / "nonsense.esl"
    path.write_bytes(content)
    assert cli.main(["simulate", "--listen", "127.0.0.1:0", "--replay", str(path)]) == cli.FAILED
    assert words in failed(capsys)


def test_a_failure_of_callbridge_ends_the_service_with_its_reason_in_the_log(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise ZeroDivisionError("a bug")

    async def run(_: Daemon) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())

    monkeypatch.setattr(Daemon, "run", run)
    assert cli.main(["run", "--config", written(tmp_path, SWITCH)]) == cli.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    record = json.loads(line)
    assert record["event"] == "callbridge.failed"
    assert record["error"] == "ZeroDivisionError: a bug"


def test_a_failure_of_the_traffic_ends_the_demo(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: Traffic) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Traffic, "run", fail)
    assert cli.main(["demo", "--listen", "127.0.0.1:0"]) == cli.FAILED
    assert "ZeroDivisionError: a bug" in capsys.readouterr().err


def test_a_start_that_fails_is_no_failure_of_callbridge(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(_: Daemon) -> None:
        raise StartError("not today")

    monkeypatch.setattr(Daemon, "run", run)
    assert cli.main(["demo"]) == cli.FAILED
    assert failed(capsys) == "callbridge: not today"


def test_why_it_cannot_start_is_one_line_also_where_a_task_found_out(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    async def fails() -> None:
        raise StartError("there is no room")

    async def starts(*_: object) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fails())

    monkeypatch.setattr("callbridge.demo.run", starts)
    assert cli.main(["demo"]) == cli.FAILED
    out, err = capsys.readouterr()
    assert (out, err) == ("", "callbridge: there is no room\n")
