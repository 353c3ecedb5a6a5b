"""The configuration of commands: where recordings and the audit log go, and what a tenant allows."""

from pathlib import Path

import pytest

from callbridge.config import load
from tests.test_config import SWITCH, load_text, refusal
from tests.test_config_mistakes import TENANT, marked


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ("", "audit.jsonl"),
        ("[audit]\npath = 'log/a.jsonl'", "log/a.jsonl"),
        ("[audit]\npath = '/x/a.jsonl'", "/x/a.jsonl"),
    ],
)
def test_the_audit_log_is_beside_the_configuration_unless_it_is_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, path: str
) -> None:
    assert load_text(tmp_path, SWITCH + said).audit.path == str(tmp_path / path)
    # Whatever folder the daemon is started in.
    monkeypatch.chdir(tmp_path)
    assert load(Path("callbridge.toml"), {}).audit.path == str(tmp_path / path)
    assert load(Path("callbridge.toml"), {"CALLBRIDGE_AUDIT__PATH": "b"}).audit.path == str(tmp_path / "b")


def test_under_systemd_the_audit_log_is_in_its_folder_for_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("callbridge.toml").write_text(SWITCH)
    assert (
        load(Path("callbridge.toml"), {"LOGS_DIRECTORY": "/var/log/a:/var/log/b"}).audit.path
        == "/var/log/a/audit.jsonl"
    )


def test_a_recording_may_have_every_part_more_than_once_and_none_at_all(tmp_path: Path) -> None:
    for template in ("/rec/{call_id}", "/{date}/{tenant}/{tenant}-{call_id}_{time}@x+y:z.wav", ""):
        text = SWITCH + f"[commands]\nrecording = '{template}'"
        assert load_text(tmp_path, text).commands.recording == template


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("rec/{call_id}.wav", "is no absolute path without blanks; write one like /var/lib/"),
        ("{call_id}", "is no absolute path"),
        ("/a b/{call_id}", "is no absolute path"),
        ("/rec/../{call_id}", "is no absolute path"),
        ("/rec/.{date}./{call_id}", "is no absolute path"),
        ("/rec/{call_id}/$x", "is no absolute path"),
        ("/rec/{call_id}/é", "is no absolute path"),
        ("/rec/{call_id", "is no absolute path"),
        ("/rec/{{call_id}}", "is no absolute path"),
        ("/rec/{call_id!r}", "is no absolute path"),
        ("/rec/{call_id:x}", "is no absolute path"),
        ("/rec/{call_id.__class__}", "is no absolute path"),
        ("/rec/{call_id[0]}", "is no absolute path"),
        ("/rec/{}", "there is no {}; there are {tenant}, {call_id}, {date}, {time}"),
        ("/rec/{uuid}", "there is no {uuid}; there are {tenant}, {call_id}, {date}, {time}"),
        ("/rec/{tenant}/{date}-{time}.wav", "needs {call_id}, or two calls have one file; write /var/lib/"),
        ("/rec/a.wav", "needs {call_id}"),
        ("/{call_id}/" + "a" * 400, "has more than 250 characters"),
    ],
)
def test_a_recording_that_would_go_astray_is_refused(tmp_path: Path, template: str, message: str) -> None:
    text = SWITCH + f"[commands]\nrecording = '{template}'  #!"
    place = f"{tmp_path}/callbridge.toml:{marked(text)}: commands.recording: "
    assert refusal(tmp_path, text).startswith(place + message)


def test_a_pattern_that_is_none_is_shown(tmp_path: Path) -> None:
    said = refusal(tmp_path, SWITCH + TENANT + "destinations = ['[0-9']")
    assert "tenant[0].destinations: '[0-9' is no regular expression (unterminated character set" in said


def test_a_number_can_come_from_the_environment(tmp_path: Path) -> None:
    config = load_text(tmp_path, SWITCH, CALLBRIDGE_COMMANDS__RING_SECONDS="45", CALLBRIDGE_COMMANDS__PARK_SECONDS="1")
    assert (config.commands.ring_seconds, config.commands.park_seconds) == (45, 1)


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("COMMANDS__PARK_SECONDS", "soon", "commands.park_seconds: Expected `int`"),
        ("COMMANDS__RING_SECONDS", "4", "commands.ring_seconds: Expected `int` >= 5"),
        ("COMMANDS__RECORDING", "{call_id}", "commands.recording: is no absolute path"),
        ("AUDIT__PATH", "", "audit.path: Expected `str` of length >= 1"),
        ("TENANT__0__NAME", "a", "'tenant' needs a number"),
        ("COMMANDS__RING_SECONDS", "-45", "commands.ring_seconds: Expected `int`"),
        ("COMMANDS__RING_SECONDS", "9" * 5000, "commands.ring_seconds: Expected `int`"),
    ],
)
def test_a_wrong_variable_of_the_commands_is_named(tmp_path: Path, variable: str, text: str, message: str) -> None:
    said = refusal(tmp_path, SWITCH, **{f"CALLBRIDGE_{variable}": text})
    assert said.startswith(f"environment variable CALLBRIDGE_{variable}: {message}")
