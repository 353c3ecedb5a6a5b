"""The whole daemon before what is no good switch: what it says over HTTP and in its log, and that it recovers."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from callbridge.esl import connection as connection_module
from callbridge.esl.connection import Connection
from tests.daemonkit import SECRET, Logged, Pbx, config, logged, make_quick, serving
from tests.esl.test_protocol import ACCEPTED, ACL, GOODBYE, GREETING, REFUSED, output
from tests.redis_server import free_port

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

SHORT: Final = 0.02
"""Seconds for a timeout that is to pass; the good switch that follows has the usual ones."""

MOST: Final = 32 * 1024 * 1024
"""Bytes of memory that no peer may cost."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    make_quick(monkeypatch)


@pytest.fixture
def log() -> Iterator[Logged]:
    with logged() as log:
        yield log


def says(*pieces: bytes, stays: bool = False) -> Script:
    """Greets with these bytes; then closes, or stays and says no more."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
        await writer.drain()
        if stays:
            await reader.read()

    return script


def answers(to_password: bytes, to_command: bytes = b"", *, stays: bool = False) -> Script:
    """Asks for the password and answers it, then the first command; then closes, or says no more."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING)
        for answer in (to_password, to_command):
            await reader.readuntil(b"\n\n")
            if not (answer or stays):
                return
            writer.write(answer)
            await writer.drain()
        if stays:
            await reader.read()

    return script


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Asks for the password, and gives it back."""
    writer.write(GREETING)
    writer.write(await reader.readuntil(b"\n\n"))
    await reader.read()


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Logs in, and answers with a header that never ends, for as long as somebody reads it."""
    await answers(ACCEPTED, b"Content-Type: api/response\nX: ")(reader, writer)
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


@asynccontextmanager
async def peer(script: Script, port: int) -> AsyncIterator[None]:
    """What listens on the port where a switch should; it plays the script to each who connects."""
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            # Not close, which would wait for somebody to read what is left.
            writer.transport.abort()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield
    finally:
        # Python 3.11 never closes a connection that is being taken while the server closes; so none is taken any more,
        # and the last one has its turns.
        for sock in server.sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())
        for _ in range(5):
            await asyncio.sleep(0)
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def frame(length: str) -> bytes:
    return f"Content-Type: api/response\nContent-Length: {length}\n\nand some of it".encode()


BAD: dict[str, tuple[Script, str]] = {
    "a wrong password": (answers(REFUSED + GOODBYE), "refused the password (-ERR invalid)"),
    "a refusal that repeats the password": (
        answers(f"Content-Type: command/reply\nReply-Text: -ERR no, {SECRET} is wrong\n\n".encode()),
        "refused the password and repeated it",
    ),
    "an echo": (echo, "what asked for the password there is no event socket"),
    "an access list": (says(ACL), "access list refuses this address (Access Denied, go away.)"),
    "one that closes at once": (says(), "ended without a word"),
    "one that closes on the password": (answers(b""), "closed the connection instead of taking the password"),
    "one that closes after the password": (answers(ACCEPTED), "ended without a word"),
    "one that closes in mid-frame": (answers(ACCEPTED, frame("200")), "ended in the middle of a frame"),
    "an HTTP server": (says(b"HTTP/1.1 400 Bad Request\r\n\r\n", stays=True), "no event socket: it greets with 'HTTP"),
    "an SSH server": (says(b"SSH-2.0-OpenSSH_9.2p1\r\n", stays=True), "no event socket: it greets with 'SSH-2.0"),
    "a web page": (says(b"Content-Type: text/html\n\n", stays=True), "a frame of kind 'text/html' came"),
    "garbage": (answers(ACCEPTED, b"\x00\xff\x1b[2J\n\n", stays=True), "a header line without a colon came"),
    "a length of 100 MB": (answers(ACCEPTED, frame("104857600"), stays=True), "Content-Length is 104857600 bytes"),
    "a negative length": (answers(ACCEPTED, frame("-1"), stays=True), "Content-Length is '-1', which is no length"),
    "a header without an end": (endless, "came without its"),
    "a list that is none": (answers(ACCEPTED, output("-ERR not now\n"), stays=True), "the switch refused"),
}


async def is_shown_and_got_over(
    bad: Script, words: str, log: Logged, recover: Callable[[], None] = lambda: None
) -> None:
    """Before a bad peer the reason is in /v1/switch and once in the log; before a good one all is well again."""
    port = free_port()
    async with serving(config(port)) as service:
        async with peer(bad, port):
            said = await service.switch("down", words)
            assert said["calls"] == 0
            assert (await service.get("/v1/call")) == {"data": [], "total": 0, "complete": False}
            # However often it is tried.
            await service.switch("down", words)
            assert [error for error in log.errors("switch.down") if words in error] == [said["error"]]
        recover()
        pbx = Pbx(3)
        async with pbx.listen(port):
            said = await service.switch("live")
            assert said["error"] is None
            assert await service.ids() == pbx.calls
        assert not service.running.done()
    assert [record["calls"] for record in log.records if record["event"] == "switch.live"] == [3]
    assert "exception" not in log.text
    assert SECRET not in log.text


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_peer_is_shown_and_got_over(what: str, log: Logged) -> None:
    await is_shown_and_got_over(*BAD[what], log)


@pytest.mark.parametrize(
    "bad",
    [says(stays=True), says(GREETING[:-4], stays=True), answers(b"", stays=True), answers(ACCEPTED[:-4], stays=True)],
    ids=["no word", "half a greeting", "no answer to the password", "half an answer to the password"],
)
async def test_a_peer_that_stalls_before_it_lets_in_is_given_up(
    bad: Script, log: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = connection_module.CONNECT_TIMEOUT
    monkeypatch.setattr(connection_module, "CONNECT_TIMEOUT", SHORT)
    await is_shown_and_got_over(
        bad, "did not greet", log, lambda: monkeypatch.setattr(connection_module, "CONNECT_TIMEOUT", usual)
    )


@pytest.mark.parametrize("answer", [b"", frame("200"), frame(f"{MOST}")], ids=["no answer", "half", "a long one"])
async def test_a_peer_that_stalls_on_a_command_is_given_up(
    answer: bytes, log: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts = Connection.api.__kwdefaults__
    assert timeouts is not None
    usual = timeouts["timeout"]
    monkeypatch.setitem(timeouts, "timeout", SHORT)
    words = "the switch has not answered 'global_getvar' within 0.02 s"
    bad = answers(ACCEPTED, answer, stays=True)
    await is_shown_and_got_over(bad, words, log, lambda: monkeypatch.setitem(timeouts, "timeout", usual))


async def test_the_calls_of_a_switch_stay_while_something_else_has_its_port(log: Logged) -> None:
    port, pbx = free_port(), Pbx(3)
    async with serving(config(port)) as service:
        async with pbx.listen(port):
            await service.switch("live")
        async with peer(BAD["an HTTP server"][0], port):
            await service.switch("stale", BAD["an HTTP server"][1])
            assert await service.ids() == pbx.calls
            assert (await service.get("/v1/call"))["complete"] is False
        pbx.hang_up(min(pbx.calls))
        async with pbx.listen(port):
            await service.switch("live")
            await service.lists(pbx)
    assert BAD["an HTTP server"][1] in " ".join(log.errors("switch.stale"))


@pytest.mark.parametrize("what", ["a header without an end", "a length of 100 MB"])
async def test_no_peer_costs_more_memory_than_a_frame_may(what: str) -> None:
    flooded = asyncio.Event()
    sent = connections = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Sends all that is taken, well over 100 MB if nobody stops it, and counts it."""
        nonlocal sent, connections
        head = b"Content-Type: api/response\nX: " if what == "a header without an end" else frame("104857600")
        await answers(ACCEPTED, head)(reader, writer)
        try:
            for _ in range(2000):
                writer.write(b"x" * 65536)
                await writer.drain()
                sent += 65536
        finally:
            connections += 1
            if connections == 10:
                flooded.set()

    port = free_port()
    async with serving(config(port)) as service, peer(flood, port):
        tracemalloc.start()
        try:
            async with asyncio.timeout(20):
                await flooded.wait()
            assert tracemalloc.get_traced_memory()[1] < MOST
        finally:
            tracemalloc.stop()
        await service.switch("down", BAD[what][1])
    # What the kernel's buffers on the way hold has been taken as well.
    assert sent / connections < MOST
