"""The dialogue, without any I/O."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbridge.errors import (
    AccessRefused,
    AuthenticationFailed,
    Disconnected,
    LocalProtocolError,
    RemoteProtocolError,
    SwitchError,
)
from callbridge.esl.events import Event
from callbridge.esl.protocol import MAX_COMMAND, Item, Opened, Protocol, Reply, State, encode_command

GREETING = b"Content-Type: auth/request\n\n"
ACCEPTED = b"Content-Type: command/reply\nReply-Text: +OK accepted\n\n"
REFUSED = b"Content-Type: command/reply\nReply-Text: -ERR invalid\n\n"
ACL = b"Content-Type: text/rude-rejection\nContent-Length: 24\n\nAccess Denied, go away.\n"
GOODBYE = b"Content-Type: text/disconnect-notice\nContent-Length: 67\n\nDisconnected, goodbye.\nSee you at ClueCon! http://www.cluecon.com/\n"
EVENT = b'Content-Length: 26\nContent-Type: text/event-json\n\n{"Event-Name":"HEARTBEAT"}'


def reply(text: str) -> bytes:
    return b"Content-Type: command/reply\nReply-Text: %s\n\n" % text.encode()


def output(text: str) -> bytes:
    return b"Content-Type: api/response\nContent-Length: %d\n\n%s" % (len(text.encode()), text.encode())


def feed(protocol: Protocol, pieces: Iterable[bytes]) -> tuple[list[Item], SwitchError | None]:
    items: list[Item] = []
    try:
        for piece in pieces:
            items.extend(protocol.receive(piece))
    except SwitchError as error:
        return items, error
    return items, None


def opened() -> Protocol:
    protocol = Protocol("ClueCon")
    assert feed(protocol, [GREETING, ACCEPTED]) == ([Opened()], None)
    assert protocol.data_to_send() == b"auth ClueCon\n\n"
    return protocol


def test_it_logs_in_when_asked_and_not_before() -> None:
    protocol = Protocol("s3cr3t")
    assert protocol.state is State.GREETING
    assert protocol.data_to_send() == b""
    assert feed(protocol, [GREETING]) == ([], None)
    assert protocol.state is State.AUTHENTICATING
    assert protocol.data_to_send() == b"auth s3cr3t\n\n"
    assert protocol.data_to_send() == b""
    assert feed(protocol, [ACCEPTED]) == ([Opened()], None)
    assert protocol.state is State.OPEN


@pytest.mark.parametrize(
    ("wire", "kind", "words"),
    [
        (GREETING + REFUSED, AuthenticationFailed, "refused the password"),
        (GREETING + REFUSED + GOODBYE, AuthenticationFailed, "refused the password"),
        (ACL, AccessRefused, "access list refuses this address (Access Denied, go away"),
        (GREETING + ACCEPTED + GOODBYE, Disconnected, "closed the connection: Disconnected, goodbye. See you"),
        (GREETING + GREETING, RemoteProtocolError, "asked for the password twice"),
        (GREETING + ACCEPTED + GREETING, RemoteProtocolError, "asked for the password twice"),
        (GREETING + ACCEPTED + reply("+OK"), RemoteProtocolError, "belongs to no command"),
        (reply("+OK"), RemoteProtocolError, "belongs to no command"),
        (EVENT, RemoteProtocolError, "before the password was accepted"),
        (GREETING + EVENT, RemoteProtocolError, "before the password was accepted"),
        (b"HTTP/1.1 400 Bad Request\r\n", RemoteProtocolError, "no event socket: it greets with 'H"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", RemoteProtocolError, "no event socket: it greets with 'S"),
        (b"\x16\x03\x01\x02", RemoteProtocolError, "no event socket"),
        (b"Content-Type: text/html\n\n", RemoteProtocolError, "a frame of kind 'text/html' came"),
        (GREETING + ACCEPTED + b"garbage\n\n", RemoteProtocolError, "without a colon"),
    ],
)
def test_the_ways_to_fail_are_told_apart(wire: bytes, kind: type[SwitchError], words: str) -> None:
    for pieces in ([wire], [wire[i : i + 1] for i in range(len(wire))]):
        protocol = Protocol("ClueCon")
        _, error = feed(protocol, pieces)
        assert type(error) is kind
        assert words in str(error)
        assert protocol.state is State.FINISHED
        assert protocol.failure is error
        assert protocol.eof() is error
        assert feed(protocol, [GREETING]) == ([], None)


@pytest.mark.parametrize(
    ("wire", "kind", "words"),
    [
        (b"", Disconnected, "without a word"),
        (GREETING, AuthenticationFailed, "instead of taking the password"),
        (GREETING + ACCEPTED, Disconnected, "without a word (reset by peer)"),
        (GREETING + ACCEPTED + b"Content-Le", Disconnected, "in the middle of a frame"),
        (GREETING + ACCEPTED + output("+OK")[:-1], Disconnected, "in the middle of a frame"),
    ],
)
def test_end_of_file_says_where_it_came(wire: bytes, kind: type[SwitchError], words: str) -> None:
    protocol = Protocol("ClueCon")
    assert feed(protocol, [wire])[1] is None
    error = protocol.eof("reset by peer")
    assert type(error) is kind
    assert words in str(error)
    assert protocol.state is State.FINISHED


def test_replies_belong_to_their_commands_in_order_whatever_comes_between() -> None:
    protocol = opened()
    serials = [protocol.send("api status"), protocol.send("event json ALL"), protocol.send("api version")]
    assert protocol.data_to_send() == b"api status\n\nevent json ALL\n\napi version\n\n"
    assert protocol.unanswered == 3
    items, error = feed(protocol, [EVENT + output("up\n") + EVENT + reply("+OK event listener enabled json") + EVENT])
    assert error is None
    assert [item for item in items if type(item) is Reply] == [
        Reply(serials[0], "up"),
        Reply(serials[1], "+OK event listener enabled json"),
    ]
    assert sum(type(item) is Event for item in items) == 3
    assert feed(protocol, [output("FreeSWITCH")]) == ([Reply(serials[2], "FreeSWITCH")], None)
    assert protocol.unanswered == 0


def test_a_command_out_of_turn_is_not_sent() -> None:
    protocol = Protocol("ClueCon")
    with pytest.raises(LocalProtocolError, match="waits for the greeting"):
        protocol.send("api status")
    protocol.eof()
    with pytest.raises(LocalProtocolError, match="finished"):
        protocol.send("api status")
    assert protocol.data_to_send() == b""


def test_logs_and_events_in_xml_are_passed_over() -> None:
    protocol = opened()
    log = b"Content-Type: log/data\nContent-Length: 4\nLog-Level: 7\n\nhey\n"
    assert feed(protocol, [log + EVENT.replace(b"json", b"xml")]) == ([], None)


def test_its_state_can_be_seen() -> None:
    protocol = opened()
    protocol.send("api status")
    assert repr(protocol) == "<Protocol open, 1 unanswered>"
    assert "ClueCon" not in repr(protocol)


@given(st.text(max_size=60), st.text(max_size=20))
def test_a_command_is_sent_exactly_or_not_at_all(argument: str, header: str) -> None:
    line = f"api uuid_setvar 1 x {argument}"
    try:
        data = encode_command(line, {"Job-UUID": header} if header else {})
    except LocalProtocolError:
        assert any(c < " " or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in argument + header)
    else:
        assert data == f"{line}\n{f'Job-UUID: {header}' + chr(10) if header else ''}\n".encode()
        assert data.count(b"\n") == (3 if header else 2)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "api status\n\napi hupall",
        "api status\rX: y",
        "api a\0b",
        "api \x7f",
        "api \ud800",
        "api " + "x" * MAX_COMMAND,
        "api unload mod_event_socket",
        "bgapi reload MOD_EVENT_SOCKET",
        "api uuid_setvar 1 name mod_event_socket reload",
    ],
)
def test_a_command_that_would_not_arrive_as_itself_is_not_sent(line: str) -> None:
    protocol = opened()
    with pytest.raises(LocalProtocolError):
        protocol.send(line)
    assert protocol.data_to_send() == b""
    assert protocol.unanswered == 0
