"""The files in deploy/: what they say is what callbridge takes and does."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from callbridge import cli, daemon, reflector
from callbridge.config import Commands, load
from callbridge.esl import connection

DEPLOY = Path(__file__).parent.parent / "deploy"
UNIT = DEPLOY / "callbridge.service"
READER = DEPLOY / "callbridge-reader@.service"
CONFIG = DEPLOY / "callbridge.toml"


@pytest.fixture
def unit() -> configparser.RawConfigParser:
    return parsed(UNIT)


def parsed(unit: Path) -> configparser.RawConfigParser:
    # Some keys stand there twice, and systemd takes each.
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(unit)
    return parser


def test_the_configuration_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check-config", "--config", str(CONFIG)]) == cli.OK
    out = capsys.readouterr().out
    assert "pbx at 127.0.0.1:8021" in out
    assert "callbridge token new" in out


def test_the_example_of_a_token_in_it_is_right_once_it_has_a_hash(tmp_path: Path) -> None:
    text = CONFIG.read_text(encoding="utf-8")
    start = text.index("# [[token]]")
    example = text[start : text.index("\n\n", start)].replace("# ", "", 1).replace("\n# ", "\n")
    path = tmp_path / "callbridge.toml"
    path.write_text(text + "\n" + example.replace('"..."', f'"{"a" * 64}"'), encoding="utf-8")
    (token,) = load(path, {}).token
    assert token.tenant == "test.tel4vn.com"


def test_the_example_of_a_tenant_in_it_is_right(tmp_path: Path) -> None:
    text = CONFIG.read_text(encoding="utf-8")
    start = text.index("# [[tenant]]")
    example = text[start : text.index("\n\n", start)].replace("# ", "", 1).replace("\n# ", "\n")
    path = tmp_path / "callbridge.toml"
    path.write_text(text + "\n" + example, encoding="utf-8")
    config = load(path, {})
    (tenant,) = config.tenant
    assert (tenant.name, tenant.context, len(tenant.destinations)) == ("test.tel4vn.com", "from-tel4vn", 2)


def test_what_stands_in_it_of_commands_is_what_there_is_without_it() -> None:
    assert load(CONFIG, {}).commands == Commands()


def test_the_audit_log_is_where_the_unit_lets_it_be_written(unit: configparser.RawConfigParser) -> None:
    folder = Path("/var/log") / unit["Service"]["LogsDirectory"]
    assert Path(load(CONFIG, {}).audit.path).parent == folder


def test_the_unit_starts_a_command_that_there_is(unit: configparser.RawConfigParser) -> None:
    program, *arguments = unit["Service"]["ExecStart"].split()
    options = cli._parser().parse_args(arguments)
    assert Path(program).name == "callbridge"
    assert options.command is cli._run
    assert options.config == Path("/etc/callbridge/callbridge.toml")


def test_a_reload_is_the_signal_that_callbridge_takes(unit: configparser.RawConfigParser) -> None:
    # Not notify-reload, which systemd 252 does not know.
    assert unit["Service"]["Type"] == "notify"
    assert unit["Service"]["ExecReload"] == "/bin/kill -HUP $MAINPID"


def test_a_wrong_configuration_is_not_started_again_and_again(unit: configparser.RawConfigParser) -> None:
    assert unit["Service"]["RestartPreventExitStatus"] == str(cli.WRONG_CONFIG)
    # systemd looks at the exit status of the main process alone: after that of a check before it, it starts again.
    assert "ExecStartPre" not in unit["Service"]


def test_the_times_of_the_unit_leave_callbridge_its_own(unit: configparser.RawConfigParser) -> None:
    longest = max(connection.REPLY_TIMEOUT, connection.CONNECT_TIMEOUT) + reflector.LAST_RETRY
    assert longest < daemon.STUCK_AFTER
    assert float(unit["Service"]["WatchdogSec"]) > daemon.STUCK_AFTER + daemon.STATUS_EVERY
    assert float(unit["Service"]["TimeoutStopSec"]) > daemon.LINGER + daemon.SHUTDOWN_TIMEOUT


def test_a_reader_is_run_and_shut_in_as_the_others_are() -> None:
    def service(path: Path) -> list[str]:
        return path.read_text(encoding="utf-8").partition("[Service]")[2].splitlines()

    assert [line.replace(" --role reader", "") for line in service(READER)] == service(UNIT)
    _, *arguments = parsed(READER)["Service"]["ExecStart"].split()
    assert cli._parser().parse_args(arguments).role == "reader"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze on the PATH")
@pytest.mark.parametrize("path", [UNIT, READER], ids=str)
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path, path: Path) -> None:
    copy = tmp_path / path.name.replace("@", "@1")
    # It also looks whether the program is there.
    copy.write_text(path.read_text(encoding="utf-8").replace("/opt/callbridge/bin/callbridge", sys.executable))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=60, check=False
    )
    assert [line for line in checked.stderr.splitlines() if copy.name in line] == []
