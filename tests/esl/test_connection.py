"""The connection over real sockets, against a switch that says what the test tells it to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from callbridge.errors import (
    AccessRefused,
    AuthenticationFailed,
    CommandRefused,
    Disconnected,
    LocalProtocolError,
    RemoteProtocolError,
    SwitchSilent,
    SwitchUnreachable,
)
from callbridge.esl import connection as connection_module
from callbridge.esl.connection import Connection
from callbridge.esl.events import Event
from tests.esl.test_protocol import ACCEPTED, ACL, EVENT, GOODBYE, GREETING, REFUSED, output, reply
from tests.service import until

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def switch(script: Script) -> AsyncIterator[int]:
    """A server on a port of its own that plays `script` to each who connects, then closes."""
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def read_command(reader: asyncio.StreamReader) -> str:
    return (await reader.readuntil(b"\n\n")).decode().rstrip("\n")


async def log_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(GREETING)
    assert await read_command(reader) == "auth ClueCon"
    writer.write(ACCEPTED)


def plays(*pieces: bytes) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
        await writer.drain()
        if GREETING in pieces:
            await read_command(reader)

    return script


async def forever(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


async def test_it_logs_in_and_commands_are_answered() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await log_in(reader, writer)
        while True:
            match await read_command(reader):
                case "api status":
                    writer.write(output("up\n"))
                case "event json ALL":
                    writer.write(reply("+OK event listener enabled json"))
                case "api nonsense":
                    writer.write(output("-ERR nonsense Command not found!\n"))
                case _:
                    return

    async with switch(script) as port:
        connection = await Connection.open("127.0.0.1", port, "ClueCon")
        status, enabled = await asyncio.gather(connection.api("status"), connection.command("event json ALL"))
        assert (status, enabled) == ("up", "+OK event listener enabled json")
        with pytest.raises(CommandRefused, match="nonsense Command not found"):
            await connection.api("nonsense")
        connection.close()
        assert str(await connection.closed) == "callbridge closed the connection"
        with pytest.raises(Disconnected):
            await connection.api("status")


async def test_events_come_in_order_and_none_is_lost_however_they_are_cut() -> None:
    wire = b"".join(
        b"Content-Length: %d\nContent-Type: text/event-json\n\n%s" % (len(body), body)
        for body in (b'{"Event-Name":"HEARTBEAT","Event-Sequence":"%d"}' % n for n in range(500))
    )

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await log_in(reader, writer)
        for position in range(0, len(wire), 997):
            writer.write(wire[position : position + 997])
            await writer.drain()

    seen: list[int] = []
    async with switch(script) as port:
        connection = await Connection.open(
            "127.0.0.1", port, "ClueCon", lambda events: seen.extend(event.sequence for event in events)
        )
        await connection.closed
    assert seen == list(range(500))


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (plays(GREETING, REFUSED, GOODBYE), AuthenticationFailed),
        (plays(GREETING), AuthenticationFailed),
        (plays(ACL), AccessRefused),
        (plays(b"SSH-2.0-OpenSSH\r\n"), RemoteProtocolError),
        (plays(), Disconnected),
    ],
    ids=["wrong password", "closes on the password", "access list", "no event socket", "closes at once"],
)
async def test_why_a_login_failed_is_told(script: Script, error: type[Exception]) -> None:
    async with switch(script) as port:
        with pytest.raises(error):
            await Connection.open("127.0.0.1", port, "ClueCon")


async def test_a_switch_that_is_away_is_unreachable() -> None:
    async with switch(plays()) as port:
        pass
    with pytest.raises(SwitchUnreachable, match=f"127.0.0.1:{port} cannot be reached"):
        await Connection.open("127.0.0.1", port, "ClueCon")


async def test_a_switch_that_never_greets_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "CONNECT_TIMEOUT", 0.01)
    async with switch(lambda reader, _: forever(reader)) as port:
        with pytest.raises(SwitchUnreachable, match="did not greet"):
            await Connection.open("127.0.0.1", port, "ClueCon")


class Wire(asyncio.Transport):
    """Notes every write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        """Nobody is there."""


async def test_commands_of_one_turn_leave_in_one_write_and_in_their_order() -> None:
    wire, connection = Wire(), Connection("ClueCon", lambda _: None)
    connection.connection_made(wire)
    connection.data_received(GREETING)
    connection.data_received(ACCEPTED)
    wire.writes.clear()
    answers = [asyncio.ensure_future(connection.command(f"api uuid_dump {number} json")) for number in range(3)]
    await until(lambda: bool(wire.writes))
    assert wire.writes == [b"api uuid_dump 0 json\n\napi uuid_dump 1 json\n\napi uuid_dump 2 json\n\n"]
    connection.data_received(output("zero") + output("one") + output("two"))
    assert await asyncio.gather(*answers) == ["zero", "one", "two"]
    connection.close()


async def test_a_late_reply_never_reaches_another_command() -> None:
    late = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await log_in(reader, writer)
        assert await read_command(reader) == "api slow"
        await late.wait()
        writer.write(output("the slow one"))
        assert await read_command(reader) == "api quick"
        writer.write(output("the quick one"))
        await forever(reader)

    async with switch(script) as port:
        connection = await Connection.open("127.0.0.1", port, "ClueCon")
        with pytest.raises(SwitchSilent, match=r"has not answered 'slow' within 0\.01 s"):
            await connection.api("slow", timeout=0.01)
        quick = asyncio.ensure_future(connection.api("quick"))
        await asyncio.sleep(0)
        late.set()
        assert await quick == "the quick one"
        connection.close()


async def test_a_cancelled_command_keeps_its_place_too() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await log_in(reader, writer)
        for _ in range(2):
            writer.write(output(f"answer to {await read_command(reader)}"))
        await forever(reader)

    async with switch(script) as port:
        connection = await Connection.open("127.0.0.1", port, "ClueCon")
        first = asyncio.ensure_future(connection.api("first"))
        await asyncio.sleep(0)
        first.cancel()
        assert await connection.api("second") == "answer to api second"
        connection.close()


@pytest.mark.parametrize(
    "ending", [b"", GOODBYE, b"garbage\n\n", b"Content-Type: api/response\nContent-Length: 9\n\n+O"]
)
async def test_the_end_fails_all_that_wait(ending: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await log_in(reader, writer)
        for _ in range(3):
            await read_command(reader)
        writer.write(ending)
        await writer.drain()

    async with switch(script) as port:
        connection = await Connection.open("127.0.0.1", port, "ClueCon")
        waiting = [connection.api("one"), connection.command("event json ALL"), connection.job("two")]
        errors = await asyncio.gather(*waiting, return_exceptions=True)
        reason = await connection.closed
        assert errors == [reason, reason, reason]
        assert isinstance(reason, Disconnected | RemoteProtocolError)


async def test_only_a_whole_frame_is_a_sign_of_life() -> None:
    now = 0.0
    more = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await log_in(reader, writer)
        await more.wait()
        for byte in EVENT[:-1]:
            writer.write(bytes([byte]))
            await writer.drain()
        assert await read_command(reader) == "noop"
        writer.write(EVENT[-1:])
        await forever(reader)

    seen: list[Event] = []
    async with switch(script) as port:
        connection = await Connection.open("127.0.0.1", port, "ClueCon", seen.extend, lambda: now)
        heard: list[bytes] = []
        receive = connection.data_received

        def noting(data: bytes) -> None:
            heard.append(data)
            receive(data)

        connection.data_received = noting  # type: ignore[method-assign]
        now = 7.0
        more.set()
        await until(lambda: sum(map(len, heard)) == len(EVENT) - 1)
        assert connection.last_received == 0.0
        waiting = asyncio.ensure_future(connection.command("noop"))
        await until(lambda: len(seen) == 1)
        assert connection.last_received == 7.0
        connection.close()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_a_job_waits_for_its_own_result() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await log_in(reader, writer)
        jobs = []
        for _ in range(2):
            command = await read_command(reader)
            jobs.append(command.rpartition(": ")[2])
            assert command.startswith("bgapi ")
            writer.write(reply(f"+OK Job-UUID: {jobs[-1]}"))
        for job in ["somebody-else", *reversed(jobs)]:
            body = f"result of {job}"
            event = f"Event-Name: BACKGROUND_JOB\nJob-UUID: {job}\nContent-Length: {len(body)}\n\n{body}"
            writer.write(b"Content-Length: %d\nContent-Type: text/event-plain\n\n%s" % (len(event), event.encode()))
        assert await read_command(reader) == "bgapi third\nJob-UUID: " + "third"
        await forever(reader)

    async with switch(script) as port:
        seen: list[Event] = []
        connection = await Connection.open("127.0.0.1", port, "ClueCon", seen.extend)
        first, second = await asyncio.gather(connection.job("first"), connection.job("second"))
        assert first.startswith("result of ")
        assert second.startswith("result of ")
        assert first != second
        assert len(seen) == 3
        connection.close()


async def test_a_job_that_is_refused_fails() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await log_in(reader, writer)
        await read_command(reader)
        writer.write(reply("-ERR permission denied"))
        await forever(reader)

    async with switch(script) as port:
        connection = await Connection.open("127.0.0.1", port, "ClueCon")
        with pytest.raises(CommandRefused, match="permission denied"):
            await connection.job("show channels")
        connection.close()


async def test_nothing_leaves_for_a_command_with_a_line_break() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await log_in(reader, writer)
        writer.write(output(await read_command(reader)))
        await forever(reader)

    async with switch(script) as port:
        connection = await Connection.open("127.0.0.1", port, "ClueCon")
        with pytest.raises(LocalProtocolError):
            await connection.api("status\n\napi hupall")
        assert await connection.api("status") == "api status"
        connection.close()


async def test_a_switch_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "MAX_UNWRITTEN", 1000)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await log_in(reader, writer)
        await asyncio.Event().wait()

    async with switch(script) as port:
        connection = await Connection.open("127.0.0.1", port, "ClueCon")
        waiting = []
        while not connection.closed.done():
            waiting.append(asyncio.ensure_future(connection.api("x" * 60_000)))
            await asyncio.sleep(0)
        assert isinstance(await connection.closed, SwitchSilent)
        assert all(isinstance(r, SwitchSilent) for r in await asyncio.gather(*waiting, return_exceptions=True))


async def test_a_failure_of_ours_on_an_event_is_not_blamed_on_the_switch() -> None:
    def fail(events: list[Event]) -> None:
        raise KeyError("a bug")

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await log_in(reader, writer)
        writer.write(EVENT)
        await forever(reader)

    async with switch(script) as port:
        connection = await Connection.open("127.0.0.1", port, "ClueCon", fail)
        with pytest.raises(KeyError, match="a bug"):
            await connection.closed
