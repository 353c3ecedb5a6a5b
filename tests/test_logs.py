"""What stands in the log, as text and as JSON, and what does not."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import structlog

from callbridge import logs
from callbridge.config import Config, StoreConfig, Switch
from tests.daemonkit import SECRET, restored_logging

Form = Literal["json", "text"]
FORMS: tuple[Form, ...] = ("json", "text")
log = structlog.get_logger("callbridge.test")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    with restored_logging():
        yield


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def only(stream: io.StringIO) -> dict[str, Any]:
    """The one record of a log in JSON."""
    (line,) = stream.getvalue().splitlines()
    record: dict[str, Any] = json.loads(line)
    return record


def fail_with_a_secret_at_hand() -> None:
    password = SECRET
    try:
        raise ZeroDivisionError("the reason" if password else "")
    except ZeroDivisionError:
        log.exception("test.failed")


def test_a_record_is_one_object_on_one_line(stream: io.StringIO) -> None:
    logs.set_up("info", "json", stream)
    log.info("test.happened", switch="pbx", calls=3, words="Nguyễn\nAn")
    record = only(stream)
    assert record.pop("timestamp").endswith("Z")
    assert record == {"event": "test.happened", "level": "info", "switch": "pbx", "calls": 3, "words": "Nguyễn\nAn"}


def test_text_has_the_level_the_event_and_the_fields_and_no_colours_for_a_file(stream: io.StringIO) -> None:
    logs.set_up("info", "text", stream)
    log.warning("test.happened", switch="pbx", calls=3)
    text = stream.getvalue()
    assert "[warning  ] test.happened" in text
    assert "calls=3" in text
    assert "switch=pbx" in text
    assert "\x1b" not in text
    assert text.count("\n") == 1


@pytest.mark.parametrize(("kind", "is_text"), [(Terminal, True), (io.StringIO, False)])
def test_auto_is_text_on_a_terminal_and_json_elsewhere(kind: type[io.StringIO], is_text: bool) -> None:
    stream = kind()
    logs.set_up("info", "auto", stream)
    log.info("test.happened")
    assert stream.getvalue().startswith("{") is not is_text


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_what_is_below_the_level_is_not_logged(stream: io.StringIO, level: Any, shown: list[str]) -> None:
    logs.set_up(level, "json", stream)
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("test.own")
        getattr(logging.getLogger("aiohttp.server"), name)("theirs")
    levels = [json.loads(line)["level"] for line in stream.getvalue().splitlines()]
    assert levels == [name for name in shown for _ in range(2)]


@pytest.mark.parametrize("form", FORMS)
def test_to_set_it_up_again_doubles_nothing(form: Form) -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.set_up("info", form, first)
    logs.set_up("info", form, second)
    log.info("test.happened")
    assert first.getvalue() == ""
    assert second.getvalue().count("test.happened") == 1


async def test_what_asyncio_says_is_in_it_with_its_trace(stream: io.StringIO) -> None:
    logs.set_up("info", "json", stream)
    loop = asyncio.get_running_loop()
    loop.call_exception_handler({"message": "nobody took it", "exception": ZeroDivisionError("the reason")})
    record = only(stream)
    assert record["event"].startswith("nobody took it")
    assert record["level"] == "error"
    assert record["timestamp"]
    assert record["exception"][0]["exc_value"] == "the reason"


@pytest.mark.parametrize("form", FORMS)
def test_what_aiohttp_says_is_in_it(stream: io.StringIO, form: Form) -> None:
    logs.set_up("info", form, stream)
    logging.getLogger("aiohttp.server").error("Error handling request from %s", "192.0.2.7")
    assert "Error handling request from 192.0.2.7" in stream.getvalue()
    assert "error" in stream.getvalue()


@pytest.mark.parametrize("form", FORMS)
def test_a_trace_has_the_reason_and_no_local_variable(stream: io.StringIO, form: Form) -> None:
    logs.set_up("info", form, stream)
    fail_with_a_secret_at_hand()
    text = stream.getvalue()
    assert "ZeroDivisionError" in text
    assert "the reason" in text
    assert "fail_with_a_secret_at_hand" in text
    assert SECRET not in text


@pytest.mark.parametrize("form", FORMS)
def test_a_configuration_that_is_logged_by_mistake_gives_no_password_away(stream: io.StringIO, form: Form) -> None:
    logs.set_up("info", form, stream)
    switch = Switch("pbx", "127.0.0.1:8021", password=SECRET)
    store = StoreConfig(f"redis://:{SECRET}@127.0.0.1/0")
    log.info("test.happened", switch=switch, store=store, config=Config((switch,), store=store))
    assert "127.0.0.1:8021" in stream.getvalue()
    assert SECRET not in stream.getvalue()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("words", ["a\nb", "\x1b[2Jgone", "a\r\x9b2Jb", "a\u2028b", "\x00"])
def test_what_a_peer_says_makes_no_line_of_its_own_and_moves_no_cursor(
    stream: io.StringIO, form: Form, words: str
) -> None:
    logs.set_up("info", form, stream)
    log.info("test.happened", error=words)
    logging.getLogger("aiohttp.server").error("refused: %s", words)
    text = stream.getvalue()
    assert text.count("\n") == 2
    if form == "text":
        assert all(c.isprintable() for c in text.replace("\n", ""))
