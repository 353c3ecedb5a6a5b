"""What is sent is exactly the command that was meant, with exactly its arguments, or nothing at all."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbridge.commands.orders import (
    Contact,
    GetVariable,
    Hold,
    Kill,
    Mute,
    Order,
    Originate,
    Park,
    RecordCall,
    SendDtmf,
    SetVariable,
    StopPhones,
    Transfer,
    UserExists,
    Watch,
)
from callbridge.errors import LocalProtocolError

A = "01b7d166-b564-42ec-80a1-4ad343225934"
B = "11b7d166-b564-42ec-80a1-4ad343225934"

SILENT = "originate_timeout=30,ignore_early_media=true"
LINES = [
    (UserExists("101", "a.example"), "user_exists id 101 a.example"),
    (Contact("101", "a.example"), "sofia_contact */101@a.example"),
    (GetVariable(A, "originate_disposition"), f"uuid_getvar {A} originate_disposition"),
    (SetVariable(A, "park_timeout", "10:NORMAL_CLEARING"), f"uuid_setvar {A} park_timeout 10:NORMAL_CLEARING"),
    (SetVariable(A, "callbridge_park_seconds", ""), f"uuid_setvar {A} callbridge_park_seconds"),
    (Transfer(A, "*97#", "a.example"), f"uuid_transfer {A} *97# XML a.example"),
    (Watch(A, B), f"uuid_transfer {A} eavesdrop:{B} inline"),
    (Park(A), f"uuid_park {A}"),
    (Kill(A), f"uuid_kill {A} NORMAL_CLEARING"),
    (Kill(A, "USER_BUSY"), f"uuid_kill {A} USER_BUSY"),
    (StopPhones(A), f"hupall NORMAL_CLEARING callbridge_id {A}"),
    (Hold(A, True), f"uuid_hold {A}"),
    (Hold(A, False), f"uuid_hold off {A}"),
    (Mute(A, True), f"uuid_audio {A} start read mute -1"),
    (Mute(A, False), f"uuid_audio {A} stop"),
    (SendDtmf(A, "42#w*D"), f"uuid_send_dtmf {A} 42#w*D"),
    (RecordCall(A, True, "/rec/a.wav"), f"uuid_record {A} start /rec/a.wav"),
    (RecordCall(A, False, "/rec/a.wav"), f"uuid_record {A} stop /rec/a.wav"),
    (
        Originate(A, "104", "a.example", 30, {"eavesdrop_enable_dtmf": "false"}, target=B),
        f"originate {{callbridge_id={A},{SILENT},eavesdrop_enable_dtmf=false}}user/104@a.example &eavesdrop({B})",
    ),
    (
        Originate(A, "101", "a.example", 5, {}, destination="0899", context="out"),
        f"originate {{callbridge_id={A},originate_timeout=5,ignore_early_media=true}}user/101@a.example 0899 XML out",
    ),
]


@pytest.mark.parametrize(("order", "line"), LINES, ids=lambda value: value if isinstance(value, str) else "")
def test_the_line_of_each_order(order: Order, line: str) -> None:
    assert order.line() == line
    assert line.startswith(f"{order.name} ")


def test_only_what_asks_may_be_said_to_have_done_nothing() -> None:
    asking = {type(order) for order, _ in LINES if not order.acts}
    assert asking == {UserExists, Contact, GetVariable}


# What an argument may be, said once more and in another way: the characters of it, never a pattern.

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = "0123456789"
MEANT = {
    "uuid": LETTERS + DIGITS + "_.@+-",
    "extension": LETTERS + DIGITS + "_+*#.",
    "domain": LETTERS + DIGITS + "_.-",
    "cause": LETTERS[26:] + DIGITS + "_",
    "digits": DIGITS + "ABCDw*#",
    "path": LETTERS + DIGITS + "_./@+:-",
    "value": LETTERS + DIGITS + "_.:@+*#-",
    "variable": LETTERS[:26] + DIGITS + "_",
}
SPECIAL = [
    "", " ", "all", "ALL", "off", "Off", "toggle", "-both", "-bleg", "&park()", "${hangup()}", "101 XML public", "a,b",
    "a}b", "a|b", "^^:a", "'a'", '"a"', "a\\,b", "\n", "a\n\nexit\n\n", "\r", "\x00", "a\x7f", "a\u2028b", "\ud800",
    "\u0661", "a ", " a", "/a b", "/a", "a" * 300, "0" * 33, "café", "101\n", "[a=b]", "<a>", "a;b", "a=b", "a%20b",
    "+1*#.", "a@b",
]  # fmt: skip
texts = st.one_of(
    st.text(max_size=40),
    st.sampled_from(SPECIAL),
    *(st.text(alphabet=alphabet, max_size=20) for alphabet in MEANT.values()),
    st.text(alphabet=st.sampled_from(" \n\r\t\x00,|}{$&()'\"\\-/@:ab1"), max_size=12),
)


def meant(kind: str, value: str) -> str:
    """The argument, which must be one: nothing in it that the switch takes for something else."""
    assert value or kind == "value", f"an empty {kind}"
    assert set(value) <= set(MEANT[kind]), f"{value!r} is no {kind}"
    # Options begin so, and a switch takes some words for something else than a channel.
    assert kind == "value" or not value.startswith("-"), f"{value!r} is an option"
    assert kind != "uuid" or value.lower() not in ("all", "off", "toggle"), f"{value!r} is a word of the switch's own"
    return value


def user(extension: str, domain: str) -> str:
    return f"{meant('extension', extension)}@{meant('domain', domain)}"


def uuid(value: str) -> str:
    return meant("uuid", value)


def variable(name: str, value: str) -> str:
    return f"{meant('variable', name)}={meant('value', value)}"


ORDERS: dict[str, tuple[Callable[..., Order], int, Callable[..., list[str]]]] = {
    "user_exists": (UserExists, 2, lambda e, d: ["user_exists", "id", *user(e, d).split("@")]),
    "sofia_contact": (Contact, 2, lambda e, d: ["sofia_contact", f"*/{user(e, d)}"]),
    "uuid_getvar": (GetVariable, 2, lambda u, n: ["uuid_getvar", uuid(u), meant("variable", n)]),
    "uuid_setvar": (
        SetVariable,
        3,
        lambda u, n, v: ["uuid_setvar", uuid(u), meant("variable", n), *([meant("value", v)] if v else [])],
    ),
    "transfer": (
        Transfer,
        3,
        lambda u, e, c: ["uuid_transfer", uuid(u), meant("extension", e), "XML", meant("domain", c)],
    ),
    "watch": (Watch, 2, lambda u, t: ["uuid_transfer", uuid(u), f"eavesdrop:{uuid(t)}", "inline"]),
    "park": (Park, 1, lambda u: ["uuid_park", uuid(u)]),
    "kill": (Kill, 2, lambda u, c: ["uuid_kill", uuid(u), meant("cause", c)]),
    "stop": (StopPhones, 1, lambda u: ["hupall", "NORMAL_CLEARING", "callbridge_id", uuid(u)]),
    "hold": (lambda u: Hold(u, True), 1, lambda u: ["uuid_hold", uuid(u)]),
    "unhold": (lambda u: Hold(u, False), 1, lambda u: ["uuid_hold", "off", uuid(u)]),
    "mute": (lambda u: Mute(u, True), 1, lambda u: ["uuid_audio", uuid(u), "start", "read", "mute", "-1"]),
    "unmute": (lambda u: Mute(u, False), 1, lambda u: ["uuid_audio", uuid(u), "stop"]),
    "dtmf": (SendDtmf, 2, lambda u, d: ["uuid_send_dtmf", uuid(u), meant("digits", d)]),
    "record": (
        lambda u, p: RecordCall(u, True, p),
        2,
        lambda u, p: ["uuid_record", uuid(u), "start", meant("path", p)],
    ),
    "monitor": (
        lambda u, e, d, n, v, t: Originate(u, e, d, 30, {n: v}, target=t),
        6,
        lambda u, e, d, n, v, t: [
            "originate",
            f"{{callbridge_id={uuid(u)},{SILENT},{variable(n, v)}}}user/{user(e, d)}",
            f"&eavesdrop({uuid(t)})",
        ],
    ),
    "click": (
        lambda u, e, d, x, c: Originate(u, e, d, 30, {}, destination=x, context=c),
        5,
        lambda u, e, d, x, c: [
            "originate",
            f"{{callbridge_id={uuid(u)},{SILENT}}}user/{user(e, d)}",
            meant("extension", x),
            "XML",
            meant("domain", c),
        ],
    ),
}


def check(name: str, arguments: list[str]) -> None:
    make, _, words = ORDERS[name]
    line = refusal = ""
    try:
        line = make(*arguments).line()
    except LocalProtocolError as error:
        refusal = f"{error}"
    if refusal:
        # Without the argument, which may be a caller's number.
        assert re.fullmatch(r"(what was to be|a word of) [a-z' ]+; nothing was sent", refusal)
    else:
        assert line.split(" ") == words(*arguments)
        assert re.fullmatch(r"[!-~]+( [!-~]+)*", line)


@pytest.mark.parametrize("name", ORDERS)
@given(data=st.data())
def test_whatever_the_arguments_are_nothing_else_is_sent(name: str, data: st.DataObject) -> None:
    check(name, [data.draw(st.one_of(st.just(right), texts)) for right in RIGHT[name].split()])


@pytest.mark.parametrize("name", ORDERS)
def test_each_argument_alone_may_be_anything_and_nothing_else_is_sent(name: str) -> None:
    right = RIGHT[name].split()
    check(name, right)
    assert ORDERS[name][0](*right).line(), "no wrong one would be the only one"
    for place in range(len(right)):
        for special in SPECIAL:
            # Alone, and in the middle of what is right.
            for wrong in (special, right[place][:1] + special, right[place] + special + right[place]):
                check(name, [*right[:place], wrong, *right[place + 1 :]])


RIGHT = {
    "user_exists": "101 a.example",
    "sofia_contact": "101 a.example",
    "uuid_getvar": "abc park_timeout",
    "uuid_setvar": "abc park_timeout 10:NORMAL_CLEARING",
    "transfer": "abc 101 a.example",
    "watch": "abc def",
    "park": "abc",
    "kill": "abc USER_BUSY",
    "stop": "abc",
    "hold": "abc",
    "unhold": "abc",
    "mute": "abc",
    "unmute": "abc",
    "dtmf": "abc 42#",
    "record": "abc /rec/a.wav",
    "monitor": "abc 101 a.example callbridge_watches def def",
    "click": "abc 101 a.example 102 a.example",
}


def _right(kind: str, value: str) -> bool:
    try:
        meant(kind, value)
    except AssertionError:
        return False
    return True


@given(st.text(alphabet=MEANT["extension"], min_size=1, max_size=32), st.text(alphabet=MEANT["uuid"], min_size=1))
def test_every_extension_and_every_channel_can_be_reached(extension: str, channel: str) -> None:
    if _right("uuid", channel):
        assert Transfer(channel, extension, "c").line() == f"uuid_transfer {channel} {extension} XML c"
