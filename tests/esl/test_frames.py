"""Bytes to frames, wherever the network cuts them."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbridge.errors import RemoteProtocolError
from callbridge.esl.frames import MAX_BODY, MAX_HEADER_BLOCK, MAX_HEADER_LINE, Frame, FrameReader
from tests import recorded


def read(pieces: Iterable[bytes]) -> list[Frame]:
    reader = FrameReader()
    return [frame for piece in pieces for frame in reader.feed(piece)]


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


STREAM = (
    b"Content-Type: auth/request\n\n"
    b"Content-Type: command/reply\nReply-Text: +OK accepted\n\n"
    b"Content-Length: 5\nContent-Type: text/event-json\n\n{a\n\nb"
    b"Content-Type: api/response\nContent-Length: 3\n\n+OK"
    b"Content-Length: 0\nContent-Type: text/event-plain\n\n"
)
FRAMES = [
    ("auth/request", b""),
    ("command/reply", b""),
    ("text/event-json", b"{a\n\nb"),
    ("api/response", b"+OK"),
    ("text/event-plain", b""),
]


@pytest.mark.parametrize("pieces", [[STREAM], byte_by_byte(STREAM)], ids=["whole", "byte by byte"])
def test_a_stream_is_cut_at_its_lengths(pieces: list[bytes]) -> None:
    assert [(frame.kind, frame.body) for frame in read(pieces)] == FRAMES


@given(st.lists(st.integers(1, len(STREAM)), max_size=12).map(sorted))
def test_it_does_not_matter_where_the_network_cuts(cuts: list[int]) -> None:
    pieces = [STREAM[a:b] for a, b in zip([0, *cuts], [*cuts, len(STREAM)], strict=True)]
    assert [(frame.kind, frame.body) for frame in read(pieces)] == FRAMES


@pytest.mark.parametrize("name", recorded.SMALL)
def test_a_recording_byte_by_byte_gives_the_frames_of_the_whole(name: str) -> None:
    recording = recorded.load(name)
    frames = read(byte_by_byte(recording.wire))
    assert [frame.body for frame in frames] == [frame.body for frame in recording.frames]
    assert [frame.kind for frame in frames] == [frame.headers["Content-Type"] for frame in recording.frames]


def test_header_names_vary_in_case_and_lines_in_spacing() -> None:
    (frame,) = read([b"content-length:2\nCONTENT-TYPE:  API/Response\nX: a: b\n\nhi"])
    assert (frame.kind, frame.body, frame.headers["x"]) == ("api/response", b"hi", "a: b")


def test_bytes_that_are_no_utf8_in_a_header_are_read() -> None:
    (frame,) = read([b"Content-Type: command/reply\nReply-Text: +OK Jos\xe9\n\n"])
    assert frame.headers["reply-text"] == "+OK Jos\N{REPLACEMENT CHARACTER}"


def test_empty_lines_between_frames_are_passed_over() -> None:
    assert [frame.kind for frame in read([b"\n\nContent-Type: auth/request\n\n\n"])] == ["auth/request"]


def test_it_knows_whether_a_frame_has_begun() -> None:
    reader = FrameReader()
    assert not reader.mid_frame
    assert list(reader.feed(b"Content-Type: api/response\nContent-Length: 3\n\n+O")) == []
    assert reader.mid_frame
    assert [frame.body for frame in reader.feed(b"K")] == [b"+OK"]
    assert not reader.mid_frame


@pytest.mark.parametrize(
    ("wire", "words"),
    [
        (b"Content-Type: x\nContent-Length: 104857600\n\n", "104857600 bytes; the limit is"),
        (b"Content-Length: 99999999\nContent-Type: text/event-json\n\n", "99999999 bytes; the limit is"),
        (b"Content-Type: x\nContent-Length: -1\n\n", "'-1', which is no length"),
        (b"Content-Type: x\nContent-Length: 1e3\n\n", "'1e3', which is no length"),
        ("Content-Type: x\nContent-Length: \N{ARABIC-INDIC DIGIT ONE}\n\n".encode(), "which is no length"),
        (b"Content-Length: " + b"9" * 40 + b"\n\n", "which is no length"),
        (b"Content-Length: 5\ncontent-length: 6\n\n", "two lengths in one frame: '5' and '6'"),
        (b"GET / HTTP/1.1\n\n", "without a colon"),
        (b"A: " + b"a" * MAX_HEADER_LINE + b"\n\n", "the limit is 8192"),
        (b"A: b\n" * (MAX_HEADER_BLOCK // 5 + 1) + b"\n", "the limit is 65536"),
        (b"\x16\x03\x01" + b"\x00" * MAX_HEADER_LINE, "without its end"),
        (b"A: b\n" * (MAX_HEADER_BLOCK // 5 + 1), "without its blank line"),
    ],
)
def test_what_breaks_the_framing_is_said_and_ends_the_reader(wire: bytes, words: str) -> None:
    reader = FrameReader()
    frames = reader.feed(b"Content-Type: auth/request\n\n" + wire)
    assert next(frames).kind == "auth/request"
    with pytest.raises(RemoteProtocolError, match=words):
        next(frames)
    with pytest.raises(RemoteProtocolError, match="already broken"):
        list(reader.feed(b"Content-Type: auth/request\n\n"))


def test_a_header_without_an_end_is_noticed_before_it_ends_also_byte_by_byte() -> None:
    with pytest.raises(RemoteProtocolError, match="without its end"):
        read([b"a"] * (MAX_HEADER_LINE + 2))


def test_the_largest_body_is_taken_whole() -> None:
    reader = FrameReader()
    assert list(reader.feed(b"Content-Type: api/response\nContent-Length: %d\n\n" % MAX_BODY)) == []
    piece = b"x" * (MAX_BODY // 8)
    frames = [frame for _ in range(8) for frame in reader.feed(piece)]
    assert [len(frame.body) for frame in frames] == [MAX_BODY]
    assert repr(reader) == "<FrameReader holds 0 bytes>"
