"""The users of a simulated switch, what their phones do, and how that is chosen."""

import json

import pytest

from callbridge.simulator.causes import cause_of
from callbridge.simulator.dialplan import inline, route
from callbridge.simulator.phones import FarEnd, Phones
from callbridge.simulator.scenarios import KINDS, parties
from callbridge.simulator.timeline import FOREVER
from tests.simulator.kit import World

DOMAIN = "test.tel4vn.com"


@pytest.mark.parametrize(
    ("extension", "domain", "exists"),
    [
        ("101", DOMAIN, True),
        ("199", DOMAIN, True),
        ("100", DOMAIN, False),
        ("200", DOMAIN, False),
        ("x", DOMAIN, False),
        ("101", "nowhere.example.com", False),
        ("", DOMAIN, False),
    ],
)
def test_of_each_tenant_the_users_101_to_199_exist(extension: str, domain: str, exists: bool) -> None:
    assert World().switch.api(f"user_exists id {extension} {domain}") == str(exists).lower()


def test_who_is_registered_has_a_contact() -> None:
    switch = World().switch
    assert switch.api(f"sofia_contact */101@{DOMAIN}").startswith("sofia/internal/sip:101@127.0.0.1:")
    assert switch.api(f"simulator phone 101@{DOMAIN} away") == "+OK\n"
    assert switch.api(f"sofia_contact */101@{DOMAIN}") == "error/user_not_registered"
    assert switch.api(f"simulator phone 101@{DOMAIN} answer") == "+OK\n"
    assert switch.api(f"sofia_contact */101@{DOMAIN}").startswith("sofia/internal/sip:101@")


@pytest.mark.parametrize(
    ("does", "wanted"),
    [
        ("answer", FarEnd("101")),
        ("answer 2.5", FarEnd("101", after=2.5)),
        ("busy", FarEnd("101", "USER_BUSY")),
        ("reject", FarEnd("101", "CALL_REJECTED")),
        ("ring", FarEnd("101", after=FOREVER)),
        ("away", FarEnd("101", "USER_NOT_REGISTERED", leg=False)),
    ],
)
def test_a_phone_does_what_it_is_told_to(does: str, wanted: FarEnd) -> None:
    world = World()
    assert world.switch.api(f"simulator phone 101@{DOMAIN} {does}") == "+OK\n"
    assert world.traffic.phones.find(f"user/101@{DOMAIN}") == wanted


@pytest.mark.parametrize(
    ("does", "contacts", "reached", "bridged"),
    [
        ("ring,answer", 2, [FarEnd("101", after=FOREVER), FarEnd("101")], FarEnd("101")),
        ("busy,ring", 2, [FarEnd("101", "USER_BUSY"), FarEnd("101", after=FOREVER)], FarEnd("101", after=FOREVER)),
        ("busy,away", 1, [FarEnd("101", "USER_BUSY")], FarEnd("101", "USER_BUSY")),
    ],
)
def test_a_user_may_have_several_phones(does: str, contacts: int, reached: list[FarEnd], bridged: FarEnd) -> None:
    world = World()
    assert world.switch.api(f"simulator phone 101@{DOMAIN} {does}") == "+OK\n"
    registered = world.switch.api(f"sofia_contact */101@{DOMAIN}").split(",")
    assert (len(registered), len(set(registered))) == (contacts, contacts)
    assert world.traffic.phones.find_all(f"user/101@{DOMAIN}") == reached
    assert world.traffic.phones.find(f"user/101@{DOMAIN}") == bridged


def forked(does: str, pairs: str = "callbridge_id=x", seconds: float = 3.0) -> tuple[World, list[str]]:
    """What became of ringing a user with several phones, and what `originate` has said."""
    world, said = World(phones=Phones([DOMAIN])), list[str]()
    world.switch.api(f"simulator phone 101@{DOMAIN} {does}")
    world.switch.ask(f"originate {{{pairs}}}user/101@{DOMAIN} &park()", said.append)
    world.wait(seconds)
    return world, said


def causes(world: World) -> list[str]:
    """Why the legs that are over have ended."""
    ended = [frame.event for frame in world.json.frames if frame.event["Event-Name"] == "CHANNEL_DESTROY"]
    return [event["Hangup-Cause"] for event in ended]


def test_the_first_phone_that_answers_is_taken_and_the_others_stop() -> None:
    world, said = forked("ring,answer,busy 1")
    (leg,) = world.switch.channels.values()
    assert said == [f"+OK {leg.uuid}\n"]
    assert (leg.answered, leg.variable("callbridge_id")) == (True, "x")
    assert sorted(causes(world)) == ["LOSE_RACE", "USER_BUSY"]


@pytest.mark.parametrize(
    ("does", "cause", "all_causes"),
    [
        ("busy,reject", "USER_BUSY", ["CALL_REJECTED", "USER_BUSY"]),
        ("reject,busy", "CALL_REJECTED", ["CALL_REJECTED", "USER_BUSY"]),
        ("busy,ring", "NO_ANSWER", ["NO_ANSWER", "USER_BUSY"]),
        ("ring,ring", "NO_ANSWER", ["NO_ANSWER", "NO_ANSWER"]),
    ],
)
def test_where_no_phone_answers_the_cause_is_of_one(does: str, cause: str, all_causes: list[str]) -> None:
    world, said = forked(does, "originate_timeout=2")
    assert (said, sorted(causes(world)), world.switch.channels) == ([f"-ERR {cause}\n"], all_causes, {})


def test_a_uuid_of_ones_own_is_for_one_phone() -> None:
    world, _ = forked("ring,ring", "origination_uuid=mine")
    assert list(world.switch.channels) == ["mine"]


def test_all_phones_with_a_variable_are_hung_up() -> None:
    world, said = forked("ring,ring")
    other = world.traffic.place("local", tenant=DOMAIN)
    answer = "+OK hangup all channels matching [callbridge_id]=[x] with cause: NORMAL_CLEARING\n"
    assert world.switch.api("hupall NORMAL_CLEARING callbridge_id x") == answer
    world.wait(0.1)
    assert other.a.uuid in world.switch.channels
    assert (said, causes(world)) == (["-ERR NORMAL_CLEARING\n"], ["NORMAL_CLEARING"] * 2)


@pytest.mark.parametrize(
    ("argument", "answer"),
    [
        (f"101@{DOMAIN} ring,sleep", "-ERR a phone can answer, busy, reject, ring, away, not sleep\n"),
        (f"101@{DOMAIN} sleep", "-ERR a phone can answer, busy, reject, ring, away, not sleep\n"),
        (f"200@{DOMAIN} busy", f"-ERR there is no user 200@{DOMAIN}\n"),
        (f"101@{DOMAIN} answer soon", "-ERR could not convert string to float: 'soon'\n"),
        (f"101@{DOMAIN}", "-USAGE: phone <ext>@<domain> answer|busy|reject|ring|away [<seconds>]\n"),
    ],
)
def test_what_a_phone_cannot_do_is_refused(argument: str, answer: str) -> None:
    assert World().switch.api(f"simulator phone {argument}") == answer


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ("sofia/gateway/pstn/0899123456", FarEnd("0899123456")),
        ("sofia/gateway/pstn/0899123486", FarEnd("0899123486", "USER_BUSY")),
        ("sofia/gateway/pstn/0899123180", FarEnd("0899123180", after=FOREVER)),
        ("sofia/gateway/other/0899123456", FarEnd("0899123456", "INVALID_GATEWAY", leg=False)),
        ("user/101@nowhere.example.com", FarEnd("101", "SUBSCRIBER_ABSENT", leg=False)),
        ("error/user_busy", FarEnd("", "USER_BUSY", leg=False)),
        ("loopback/101", FarEnd("101", "CHAN_NOT_IMPLEMENTED", leg=False)),
    ],
)
def test_whom_a_dial_string_reaches(target: str, wanted: FarEnd) -> None:
    assert Phones([DOMAIN]).find(target) == wanted


def test_they_show_how_many_there_are() -> None:
    phones = Phones([DOMAIN])
    phones.set(f"101@{DOMAIN}", "busy")
    assert repr(phones) == "<Phones of 1 tenants, 1 set>"


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_of_each_kind_ends_as_that_kind_does(kind: str) -> None:
    world = World()
    for _ in range(40):
        world.traffic.place(kind, talk=1)
    world.finish()
    ended = [frame.event for frame in world.json.frames if frame.event["Event-Name"] == "CHANNEL_DESTROY"]
    causes = {event["Hangup-Cause"] for event in ended}
    assert causes == {{"busy": "USER_BUSY", "cancelled": "ORIGINATOR_CANCEL"}.get(kind, "NORMAL_CLEARING")}
    assert len(ended) == 80


def test_who_calls_a_phone_that_is_busy_hears_so() -> None:
    world = World()
    call = world.traffic.place("local", tenant=DOMAIN)
    world.traffic.phones.set(f"{call.who.destination}@{DOMAIN}", "busy")
    world.finish()
    ended = [frame.event for frame in world.json.frames if frame.event["Event-Name"] == "CHANNEL_DESTROY"]
    assert [event["Hangup-Cause"] for event in ended] == ["USER_BUSY", "USER_BUSY"]


# Where numbers lead.


def applications(destination: str, context: str, direction: str = "") -> list[str]:
    return [f"{name} {data}" for name, data in route(destination, context, DOMAIN, lambda _: direction)]


def test_a_users_number_rings_his_phone() -> None:
    settled = [f"set domain_name={DOMAIN}", "set hangup_after_bridge=true", "set continue_on_fail=false"]
    assert applications("101", DOMAIN, "inbound") == [*settled, f"bridge user/101@{DOMAIN}"]
    assert applications("101", DOMAIN)[0] == "export call_direction=local"


def test_a_number_with_a_leading_zero_goes_out() -> None:
    steps = applications("0899123456", DOMAIN)
    assert steps[:2] == ["export call_direction=local", "export call_direction=outbound"]
    assert steps[-1] == "bridge sofia/gateway/pstn/0899123456"


def test_what_comes_in_goes_to_the_tenant() -> None:
    assert applications("0212345678101", "public")[-1] == f"transfer 101 XML {DOMAIN}"


@pytest.mark.parametrize(("number", "context"), [("777", DOMAIN), ("101", "public"), ("x", DOMAIN)])
def test_other_numbers_lead_nowhere(number: str, context: str) -> None:
    assert applications(number, context, "local") == []


def test_the_inline_dialplan_is_its_own_destination() -> None:
    assert inline("set:a=b,park") == [("set", "a=b"), ("park", "")]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("USER_BUSY", "USER_BUSY"),
        ("user_busy", "USER_BUSY"),
        ("17", "USER_BUSY"),
        ("0", ""),
        ("", "NORMAL_CLEARING"),
        ("FOO", "NORMAL_CLEARING"),
        ("16 x", "NORMAL_CLEARING"),
    ],
)
def test_the_cause_that_a_command_means(text: str, cause: str) -> None:
    assert cause_of(text) == cause


def test_parties_of_a_kind_are_such_that_the_world_outside_does_what_belongs_to_it() -> None:
    world = World()
    for kind, cause in (("busy", "USER_BUSY"), ("outbound", ""), ("hold", "")):
        for _ in range(300):
            number = parties(kind, DOMAIN, world.switch.chance).destination
            far = world.traffic.phones.find(f"sofia/gateway/pstn/{number}")
            assert (far.cause, far.after) == (cause, None)


def test_a_dump_tells_what_a_command_has_set() -> None:
    world = World()
    call = world.traffic.place("outbound", talk=60)
    world.wait(10)
    world.switch.api(f"uuid_setvar {call.a.uuid} call_direction other")
    world.switch.api(f"uuid_setvar {call.a.uuid} mine a b")
    dump = json.loads(world.switch.api(f"uuid_dump {call.a.uuid} json"))
    assert (dump["variable_call_direction"], dump["variable_mine"]) == ("other", "a b")
