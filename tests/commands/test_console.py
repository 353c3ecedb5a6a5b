"""Orders to a switch: nothing is sent twice, and what is not known is never said to be."""

import asyncio
from pathlib import Path

import pytest

from callbridge.commands import console as console_module
from callbridge.commands.orders import GetVariable, Kill, Order, Originate, UserExists
from tests.commands.kit import CALL, NO_CHANNEL, PHONE, SUPERVISOR, Bench, bench, refused

RING = Originate(SUPERVISOR, "104", "a.example", 30, {}, target=CALL)


def silent() -> asyncio.Future[str]:
    """An answer that never comes."""
    return asyncio.get_running_loop().create_future()


async def give(bench: Bench, order: Order) -> str:
    if isinstance(order, Originate):
        return await bench.console.originate(order)
    return await bench.console.tell(order)


async def test_an_answer_comes_without_its_line_end(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.switch.says("user_exists", "true")
        assert await b.console.tell(UserExists("101", "a.example")) == "true"
        assert bytes(b.switch.received) == b"api user_exists id 101 a.example\n\n"


async def test_a_phone_that_answers_gives_its_channel(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.switch.says("originate", f"+OK {PHONE}")
        assert await b.console.originate(RING) == PHONE
        assert b.switch.received.startswith(b"bgapi originate {callbridge_id=")


@pytest.mark.parametrize("order", [Kill(CALL), UserExists("101", "a.example"), RING])
async def test_without_a_connection_nothing_was_done(tmp_path: Path, order: Order) -> None:
    async with bench(tmp_path, connected=False) as b:
        refusal = await refused(give(b, order))
        assert refusal.code == "SWITCH_UNAVAILABLE"
        assert "pbx is not connected; nothing was done" in f"{refusal}"
        await b.connect()
        b.switch.cut()
        assert b.console.connection is not None
        await b.console.connection.closed
        assert (await refused(give(b, order))).code == "SWITCH_UNAVAILABLE"
        assert not b.switch.received


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (Kill(CALL), "OUTCOME_UNKNOWN"),
        (RING, "OUTCOME_UNKNOWN"),
        (UserExists("101", "a.example"), "SWITCH_UNAVAILABLE"),
        (GetVariable(CALL, "originate_disposition"), "SWITCH_UNAVAILABLE"),
    ],
)
async def test_of_a_lost_answer_only_questions_are_said_to_have_done_nothing(
    tmp_path: Path, order: Order, code: str
) -> None:
    async with bench(tmp_path) as b:
        b.switch.says(order.name, None)
        refusal = await refused(give(b, order))
        assert refusal.code == code
        assert ("nothing was done" in f"{refusal}") == (code == "SWITCH_UNAVAILABLE")
        # And it is not sent again when the switch is back.
        await b.connect()
        assert len(b.switch.told(order.name)) == 1


@pytest.mark.parametrize("order", [Kill(CALL), RING])
async def test_an_answer_that_does_not_come_in_time_leaves_the_outcome_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Order
) -> None:
    monkeypatch.setattr(console_module, "ANSWER_TIMEOUT", 0.02 if isinstance(order, Kill) else -29.98)
    async with bench(tmp_path) as b:
        late = silent()
        b.switch.says(order.name, late)
        refusal = await refused(give(b, order))
        assert refusal.code == "OUTCOME_UNKNOWN"
        assert "look at the call before you try again" in f"{refusal}"
        # A late answer is nobody's, and the next one finds its own command.
        monkeypatch.undo()
        late.set_result("+OK late")
        b.switch.says("user_exists", "true")
        assert await b.console.tell(UserExists("101", "a.example")) == "true"
        assert len(b.switch.told(order.name)) == 1


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        (NO_CHANNEL, "CALL_ENDED", "the leg hung up before"),
        ("-ERR Cannot locate session!", "CALL_ENDED", "the leg hung up before"),
        ("-ERR Invalid session", "CALL_ENDED", "the leg hung up before"),
        ("-ERR Operation Failed", "SWITCH_REFUSED", "the switch refused uuid_kill: Operation Failed"),
        ("-USAGE: <uuid> [cause]", "SWITCH_REFUSED", "-USAGE: <uuid> [cause]"),
        ("-ERR", "SWITCH_REFUSED", "it gave no reason"),
        ("-ERR a\n b\t  c " + "x" * 300, "SWITCH_REFUSED", "uuid_kill: a b c xxx"),
    ],
)
async def test_what_the_switch_refuses_is_told_in_its_words(tmp_path: Path, reply: str, code: str, words: str) -> None:
    async with bench(tmp_path) as b:
        b.switch.says("uuid_kill", reply)
        refusal = await refused(b.console.tell(Kill(CALL)))
        assert refusal.code == code
        assert words in f"{refusal}"
        assert len(f"{refusal}") < 300


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("-ERR USER_BUSY", "USER_BUSY"),
        ("-ERR NO_ANSWER", "NO_ANSWER"),
        ("-ERR CALL_REJECTED", "CALL_REJECTED"),
        ("-ERR USER_NOT_REGISTERED", "USER_NOT_REGISTERED"),
        ("-ERR SUBSCRIBER_ABSENT", "USER_NOT_REGISTERED"),
        ("-ERR DESTINATION_OUT_OF_ORDER", "SWITCH_REFUSED"),
        ("-ERR", "SWITCH_REFUSED"),
    ],
)
async def test_why_a_phone_was_not_reached(tmp_path: Path, reply: str, code: str) -> None:
    async with bench(tmp_path) as b:
        b.switch.says("originate", reply)
        assert (await refused(b.console.originate(RING))).code == code


@pytest.mark.parametrize(
    "order",
    [
        UserExists("mod_event_socket.unload", "a.example"),
        UserExists("reload", "mod_event_socket"),
        Kill("MOD_EVENT_SOCKET@reload"),
        Originate(CALL, "mod_event_socket.unload", "a.example", 30, {}, target=CALL),
        Kill("all"),
        UserExists("101", "two words"),
    ],
)
async def test_what_no_command_can_carry_is_refused_and_not_sent(tmp_path: Path, order: Order) -> None:
    async with bench(tmp_path) as b:
        assert (await refused(give(b, order))).code == "SWITCH_REFUSED"
        assert not b.switch.received
