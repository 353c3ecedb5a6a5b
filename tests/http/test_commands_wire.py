"""Whatever a consumer writes, the switch is told exactly what was meant, or nothing."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any, Final
from urllib.parse import quote_from_bytes
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callbridge.commands.simple import CAUSES
from callbridge.http.bodies import COMMANDS
from tests.commands.kit import CALL, CALLED, PHONE, SUPERVISOR, TENANT, Bench, bench, talking, watching
from tests.http.kit import MAY_ALL, Answer, Api, serving
from tests.service import until

LETTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
LEGS: Final = {"aleg": CALL, "bleg": CALLED}


class Rig:
    """A scripted switch at which every user exists, and the API before it, for many requests one after the other."""

    def __init__(self, runner: asyncio.Runner, bench: Bench, api: Api) -> None:
        self.runner, self.bench, self.api = runner, bench, api

    def ask(self, method: str, path: bytes, body: bytes, key: bytes | None) -> tuple[Answer, bytes]:
        """The answer, and what the switch was told."""
        return self.runner.run(self._ask(method, path, body, key))

    async def _ask(self, method: str, path: bytes, body: bytes, key: bytes | None) -> tuple[Answer, bytes]:
        bench = self.bench
        # What was said under a key is forgotten, and the call is as it was.
        bench.clock.pass_time(10_000)
        for entry in list(bench.mirror.listing(None)):
            bench.mirror.apply("pbx", (), [entry.record.call_id], (), 0.0)
        bench.mirror.apply("pbx", [talking(monitors=(watching(),))], (), (), 0.0)
        bench.switch.received.clear()
        head = b"%s %s HTTP/1.1\r\nAuthorization: Bearer %s" % (method.encode(), path, MAY_ALL.encode())
        head += b"\r\nContent-Length: %d" % len(body)
        if key is not None:
            head += b"\r\nIdempotency-Key: " + key
        answer = await self.api.send(head, body)
        received = bytes(bench.switch.received)
        if bench.calls.job is not None and not bench.calls.job.done():
            bench.calls.job.set_result("-ERR ORIGINATOR_CANCEL")
        await until(lambda: not (bench.desk._commands or bench.desk._later))
        return answer, received


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    stack = AsyncExitStack()

    async def opened() -> tuple[Bench, Api]:
        b = await stack.enter_async_context(bench(tmp_path_factory.mktemp("wire")))
        b.switch.says("user_exists", "true")
        b.switch.says("sofia_contact", "sofia/internal/sip:x@192.0.2.7")
        return b, await stack.enter_async_context(serving(b.mirror, desk=b.desk, clock=b.clock))

    with asyncio.Runner() as runner:
        yield Rig(runner, *runner.run(opened()))
        runner.run(stack.aclose())


# What is meant by a request, said once more and in another way.


def is_extension(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 32 and set(value) <= set(LETTERS + "_+*#.")


def is_side(value: Any) -> bool:
    return value in ("aleg", "bleg")


def is_keys(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 64 and set(value) <= set("0123456789ABCDw*#")


FIELDS: dict[str, Callable[[Any], bool]] = {
    "ext": is_extension,
    "destination": is_extension,
    "legs": is_side,
    "digits": is_keys,
    "cause": lambda value: isinstance(value, str) and value in CAUSES,
    "mode": lambda value: value in ("listen", "whisper", "barge"),
    "action": lambda value: value in ("start", "stop"),
}
RIGHT = {
    "ext": ["102", "*97#", "+8490", "a.b_c"],
    "destination": ["103", "0899123456"],
    "legs": ["aleg", "bleg"],
    "digits": ["42#", "wwD*"],
    "cause": list(CAUSES),
    "mode": ["listen", "whisper", "barge"],
    "action": ["start", "stop"],
}
TAKES: dict[str, tuple[str, str]] = {
    "transfer": ("ext legs", ""),
    "park": ("legs", ""),
    "listen": ("ext", "legs"),
    "whisper": ("ext", "legs"),
    "barge": ("ext", "legs"),
    "hangup": ("", "cause"),
    "hold": ("", "legs"),
    "unhold": ("", "legs"),
    "mute": ("legs", ""),
    "unmute": ("legs", ""),
    "dtmf": ("legs digits", ""),
    "record": ("action", ""),
    "call": ("ext destination", ""),
    "PATCH": ("mode", ""),
    "DELETE": ("", ""),
}
"""Request -> fields that must be there, fields that may."""


def is_meant(name: str, fields: Any) -> bool:
    needed, allowed = (set(names.split()) for names in TAKES[name])
    return (
        isinstance(fields, dict)
        and needed <= set(fields) <= needed | allowed
        and all(FIELDS[field](value) for field, value in fields.items())
    )


def of_user(ext: str) -> list[str]:
    return [f"api user_exists id {ext} {TENANT}", f"api sofia_contact */{ext}@{TENANT}"]


def hears(aleg: str, bleg: str, leg: str) -> list[str]:
    """The supervisor watches that leg; the partner of the leg hears it, and the leg does."""
    return [
        f"api uuid_setvar {PHONE} eavesdrop_whisper_aleg {aleg}",
        f"api uuid_setvar {PHONE} eavesdrop_whisper_bleg {bleg}",
        f"api uuid_setvar {PHONE} callbridge_watches {leg}",
        f"api uuid_setvar {PHONE} callbridge_to_whisper",
        f"api uuid_transfer {PHONE} eavesdrop:{leg} inline",
    ]


def ringing(variables: str, ext: str, then: str, new: str) -> str:
    pairs = f"callbridge_id={new},originate_timeout=30,ignore_early_media=true,{variables}"
    return f"bgapi originate {{{pairs}}}user/{ext}@{TENANT} {then}"


HEARD: Final = {"listen": ("false", "false"), "whisper": ("false", "true"), "barge": ("true", "true")}


class Meant:
    """What the switch is to be told of each request: of the legs that it is about, and the channel made for it."""

    def __init__(self, fields: dict[str, str], new: str) -> None:
        self.fields, self.new = fields, new
        self.leg = LEGS[fields.get("legs", "aleg")]
        self.other = CALLED if self.leg == CALL else CALL
        # The supervisor watches the calling leg, and goes where the call goes on.
        self.follow = hears("false", "false", self.leg) if self.other == CALL else []

    def transfer(self) -> list[str]:
        ext, leg = self.fields["ext"], self.leg
        return [
            *of_user(ext),
            *self.follow,
            f"api uuid_setvar {leg} originate_disposition",
            f"api uuid_setvar {leg} callbridge_park_seconds",
            f"api uuid_transfer {leg} {ext} XML {TENANT}",
            f"api uuid_kill {self.other} NORMAL_CLEARING",
        ]

    def park(self) -> list[str]:
        return [
            *self.follow,
            f"api uuid_setvar {self.leg} park_timeout 10:NORMAL_CLEARING",
            f"api uuid_setvar {self.leg} callbridge_park_seconds 10",
            f"api uuid_park {self.leg}",
            f"api uuid_kill {self.other} NORMAL_CLEARING",
        ]

    def monitor(self, mode: str) -> list[str]:
        ext, (aleg, bleg) = self.fields["ext"], HEARD[mode]
        variables = (
            f"callbridge_watches={self.leg},eavesdrop_enable_dtmf=false,"
            f"eavesdrop_whisper_aleg={aleg},eavesdrop_whisper_bleg={bleg},"
            f"origination_caller_id_name={mode.capitalize()},"
            f"origination_caller_id_number={'0899123456' if self.leg == CALLED else '101'}"
        )
        return [*of_user(ext), ringing(variables, ext, f"&eavesdrop({self.leg})", self.new)]

    def call(self) -> list[str]:
        ext, destination = self.fields["ext"], self.fields["destination"]
        variables = f"origination_caller_id_number={ext},origination_caller_id_name={ext}"
        then = f"{destination} XML {TENANT}"
        return [*of_user(ext), *of_user(destination), ringing(variables, ext, then, self.new)]


MEANT: dict[str, Callable[[Meant], list[str]]] = {
    "transfer": Meant.transfer,
    "park": Meant.park,
    "listen": lambda meant: meant.monitor("listen"),
    "whisper": lambda meant: meant.monitor("whisper"),
    "barge": lambda meant: meant.monitor("barge"),
    "hangup": lambda meant: [
        f"api uuid_kill {CALL} {meant.fields.get('cause', 'NORMAL_CLEARING')}",
        f"api uuid_kill {CALLED} {meant.fields.get('cause', 'NORMAL_CLEARING')}",
    ],
    "hold": lambda meant: [f"api uuid_hold {meant.leg}"],
    "unhold": lambda _: [],
    "mute": lambda meant: [f"api uuid_audio {meant.leg} start read mute -1"],
    "unmute": lambda meant: [f"api uuid_audio {meant.leg} stop"],
    "dtmf": lambda meant: [f"api uuid_send_dtmf {meant.leg} {meant.fields['digits']}"],
    "record": lambda meant: (
        [f"api uuid_record {CALL} start /rec/{TENANT}/{CALL}.wav"] if meant.fields["action"] == "start" else []
    ),
    "call": Meant.call,
    "PATCH": lambda meant: hears(*HEARD[meant.fields["mode"]], CALL),
    "DELETE": lambda _: [f"api hupall NORMAL_CLEARING callbridge_id {SUPERVISOR}"],
}


def told(received: bytes) -> list[str]:
    """The commands that came out of the socket, each of one line; a job has its name as well."""
    assert received == b"" or received.endswith(b"\n\n")
    lines = []
    for block in received.decode("ascii").split("\n\n")[:-1]:
        line, *headers = block.split("\n")
        assert len(headers) == line.startswith("bgapi ")
        assert all(len(header) == 46 and header.startswith("Job-UUID: ") for header in headers)
        assert all(" " <= character <= "~" for character in line)
        lines.append(line)
    return lines


def check(name: str, fields: Any, reachable: bool, answer: Answer, received: bytes) -> None:
    lines = told(received)
    if not (reachable and is_meant(name, fields)):
        assert lines == []
        assert answer.status in (400, 404, 409, 410, 413), answer
        return
    rings = next((line for line in lines if line.startswith("bgapi originate ")), "")
    new = rings.partition("=")[2][:36]
    assert not new or f"{UUID(new)}" == new
    wanted = MEANT[name](Meant(fields, new))
    if answer.status == 200:
        assert lines == wanted
    else:
        # An extension that is a party, an outside party that is whispered to; and `mod_event_socket.unload`.
        assert answer.status in (409, 502), answer
        assert lines == wanted[: len(lines)]


SPECIAL = [
    "", " ", "all", "-both", "-bleg", "&park()", "${hangup()}", "101 XML public", "102\n\nexit\n\n", "102\napi status",
    "1,2", "1}2", "1|2", "^^:1", "'1'", '"', "\\", "\r\n", "\x00", "\x7f", "1\u2028", "\ud800", "١٢", "102 ", "\u0662",
    "mod_event_socket.unload", "MOD_EVENT_SOCKET.reload", "x" * 33, "9" * 65, "x" * 20_000, "user/102", "102@b.example",
    "aleg ", "ALEG", "NORMAL_CLEARING\n", "off", "toggle", "{a=b}102", "[a=b]102", "<a>", "102;rm", "`id`", "%0a", "é",
]  # fmt: skip
texts = st.one_of(st.sampled_from(SPECIAL), st.text(max_size=40), st.text("102*#+._ \n,|}{$&()-\\'\"@/:", max_size=36))
anything = st.one_of(texts, st.none(), st.integers(-9, 10**20), st.booleans(), st.lists(texts, max_size=2))


@st.composite
def bodies(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """Mostly right with one thing in it that is not, so that it comes as far as it can."""
    needed, allowed = (names.split() for names in TAKES[name])
    fields: dict[str, Any] = {
        field: draw(st.sampled_from(RIGHT[field])) for field in (*needed, *(f for f in allowed if draw(st.booleans())))
    }
    known = (*needed, *allowed)
    match draw(st.sampled_from(["one", "right", "more", "less"])):
        case "one" if known:
            fields[draw(st.sampled_from(known))] = draw(anything)
        case "more":
            fields[draw(st.one_of(texts, st.sampled_from(list(FIELDS))))] = draw(anything)
        case "less" if needed:
            del fields[draw(st.sampled_from(needed))]
    return fields


def encoded(fields: Any, ascii_only: bool) -> bytes:
    return json.dumps(fields, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


def path_of(name: str, target: bytes) -> tuple[str, bytes]:
    part = quote_from_bytes(target, safe="").encode()
    if name in ("PATCH", "DELETE"):
        return name, b"/v1/monitor/" + part
    return "POST", b"/v1/call" if name == "call" else b"/v1/call/%s/%s" % (part, name.encode())


WIRE = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_every_command_is_looked_at() -> None:
    assert set(TAKES) == {*COMMANDS, "call", "PATCH", "DELETE"}


@pytest.mark.parametrize("name", TAKES)
@WIRE
@given(data=st.data())
def test_whatever_is_in_the_body(rig: Rig, name: str, data: st.DataObject) -> None:
    fields, ascii_only = data.draw(bodies(name)), data.draw(st.booleans())
    method, path = path_of(name, (SUPERVISOR if name in ("PATCH", "DELETE") else CALL).encode())
    answer, received = rig.ask(method, path, encoded(fields, ascii_only), None)
    check(name, fields, True, answer, received)


@pytest.mark.parametrize("name", TAKES)
def test_each_field_alone_may_be_anything(rig: Rig, name: str) -> None:
    needed, allowed = (names.split() for names in TAKES[name])
    method, path = path_of(name, (SUPERVISOR if name in ("PATCH", "DELETE") else CALL).encode())
    right = {field: RIGHT[field][0] for field in needed}
    for field in (*needed, *allowed):
        for special in SPECIAL:
            fields = right | {field: special}
            check(name, fields, True, *rig.ask(method, path, encoded(fields, True), None))


@WIRE
@given(data=st.one_of(st.binary(max_size=60), st.recursive(anything, st.lists).map(lambda value: encoded(value, True))))
def test_a_body_that_is_no_object_does_nothing(rig: Rig, data: bytes) -> None:
    answer, received = rig.ask("POST", b"/v1/call/%s/transfer" % CALL.encode(), data, None)
    assert (answer.status, received) in ((400, b""), (413, b""))


IDS = [
    CALL,
    CALLED,
    SUPERVISOR,
    CALL.upper(),
    f"{CALL}\n",
    f"{CALL} {CALLED}",
    f" {CALL}",
    "all",
    "off",
    "..",
    "x" * 4000,
]


@WIRE
@given(
    name=st.sampled_from(list(TAKES)),
    target=st.one_of(st.sampled_from(IDS), texts.filter(bool)).map(lambda text: text.encode("utf-8", "surrogatepass")),
)
def test_whatever_is_in_the_path(rig: Rig, name: str, target: bytes) -> None:
    fields = {field: RIGHT[field][0] for field in TAKES[name][0].split()}
    of_call = [CALL.encode(), CALLED.encode()]
    reachable = name == "call" or target in ([SUPERVISOR.encode()] if name in ("PATCH", "DELETE") else of_call)
    answer, received = rig.ask(*path_of(name, target[:2500]), encoded(fields, True), None)
    check(name, fields, reachable, answer, received)


keys = st.one_of(
    st.binary(max_size=40),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x17F), max_size=40).map(str.encode),
    st.sampled_from([b"k", b"x" * 255, b"x" * 256, b"a b", b"", b"\t", "ključ".encode(), b"a,b|c}${d}"]),
).filter(lambda key: b"\r" not in key and b"\n" not in key)


@WIRE
@given(key=keys, name=st.sampled_from([name for name in TAKES if name not in ("PATCH", "DELETE")]))
def test_whatever_is_in_the_key(rig: Rig, key: bytes, name: str) -> None:
    fields = {field: RIGHT[field][0] for field in TAKES[name][0].split()}
    answer, received = rig.ask(*path_of(name, CALL.encode()), encoded(fields, True), key)
    said = key.strip(b" \t")
    right = 0 < len(said) <= 255 and all(0x21 <= byte <= 0x7E for byte in said)
    check(name, fields, right, answer, received)
