"""`python -m chaos.fuzz [-max_total_time=300]`: the parser of the event socket under atheris, guided by coverage.

The first byte of an input says whether the dialogue is open, the second how the rest is cut into reads. Whatever comes:
nothing but a SwitchError is raised, it is the same items and the same kind of error wherever the network cuts, replies
come in the order of their commands, and after an error nothing comes any more. Options are libFuzzer's.
"""

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["callbridge.esl"]):
    from callbridge.errors import SwitchError
    from callbridge.esl.events import Event, Variables
    from callbridge.esl.protocol import Item, Opened, Protocol, Reply, State

import msgspec

from tests.recorded import Frame, load

OPEN = b"Content-Type: auth/request\n\nContent-Type: command/reply\nReply-Text: +OK accepted\n\n"
COMMANDS = 3
"""That wait for their replies while the input comes."""

RECORDED = ("odd_names", "odd_bytes.json", "odd_bytes.plain", "json_outbound_answered", "outbound_answered")
SEEDS_OF_EACH = 40
WANTED = {field.encode_name for wanted in (Event, Variables) for field in msgspec.structs.fields(wanted)}


def one_input(data: bytes) -> None:
    """Read one input in one piece and in many, and hold what comes out against each other."""
    if len(data) < 2:
        return
    opened, size, wire = data[0] & 1, data[1] + 1, data[2:]
    whole = _read([wire], opened=bool(opened))
    cut = _read((wire[at : at + size] for at in range(0, len(wire), size)), opened=bool(opened))
    assert whole == cut, f"cut into {size} bytes: {cut} instead of {whole}"
    replies = [item.serial for item in whole[0] if type(item) is Reply]
    assert replies == list(range(1, len(replies) + 1)), f"replies out of their order: {replies}"


def _read(pieces: Iterable[bytes], *, opened: bool) -> tuple[list[Item], type[SwitchError] | None]:
    protocol = Protocol("ClueCon")
    if opened:
        assert list(protocol.receive(OPEN)) == [Opened()]
        for _ in range(COMMANDS):
            protocol.send("api status")
    items: list[Item] = []
    try:
        for piece in pieces:
            items += protocol.receive(piece)
    except SwitchError as error:
        assert protocol.state is State.FINISHED
        assert list(protocol.receive(OPEN)) == []
        return items, type(error)
    return items, None


def seeds() -> Iterator[bytes]:
    """What a real switch sent, without the headers that nobody reads: they would only make the inputs long."""
    for name in RECORDED:
        frames = [frame for frame in load(name).frames if not frame.headers["Content-Type"].startswith("auth")]
        for frame in frames[:SEEDS_OF_EACH]:
            yield b"\x01\xff" + _shortened(frame)
    yield b"\x00\x07" + OPEN


def _shortened(frame: Frame) -> bytes:
    kind = frame.headers["Content-Type"]
    if not frame.is_event:
        return frame.wire[:2000]
    if kind == "text/event-json":
        body = json.dumps({name: value for name, value in frame.event.items() if name in WANTED}).encode()
    else:
        lines = frame.body.split(b"\n")
        body = b"\n".join(line for line in lines if line.partition(b":")[0].decode() in WANTED) + b"\n\n"
    return b"Content-Length: %d\nContent-Type: %s\n\n%s" % (len(body), kind.encode(), body)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="callbridge-fuzz-") as corpus:
        for number, seed in enumerate(seeds()):
            Path(corpus, f"{number:04}").write_bytes(seed)
        # Before the corpora that are named: new inputs go into the first.
        options = [word for word in sys.argv[1:] if word.startswith("-")]
        named = [word for word in sys.argv[1:] if not word.startswith("-")]
        atheris.Setup([sys.argv[0], "-max_len=8000", *options, *named, corpus], one_input)
        atheris.Fuzz()
