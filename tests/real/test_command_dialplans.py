"""Commands on calls as others' dialplans make them: what follows a bridge, forwarding, groups, queues, two phones.

The habits are those of FusionPBX and of the examples that FreeSWITCH brings along.
"""

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.real.conftest import Service, eventually
from tests.real.driver import Rig
from tests.real.switches import (
    REGISTRATIONS,
    TENANTS,
    RealSwitch,
    action,
    extension,
    running_pair,
    tone,
)
from tests.real.test_transfer_park import MOBILE, refused, talking

DOMAIN: Final = TENANTS[0]
SUPERVISOR = "104"
TWO_PHONES = "106"


def habits() -> str:
    """What comes before the dialplan of the first tenant."""
    outside = action("bridge", "sofia/gateway/pstn/0899123456")
    goes_on = action("set", "hangup_after_bridge=false") + action("set", "continue_on_fail=true")
    voicemail = action("answer") + action("playback", tone("105"))
    return "".join(
        (
            # Busy, and a voicemail answers.
            extension("107", goes_on, action("bridge", f"user/107@{DOMAIN}"), voicemail),
            # Calls that go on after their bridge: with the dialplan, a park, elsewhere.
            extension("4001", goes_on, outside, voicemail),
            extension("4002", action("set", "park_after_bridge=true"), outside),
            extension("4003", action("set", f"transfer_after_bridge=3001 XML {DOMAIN}"), outside),
            extension("4004", action("export", "nolocal:park_after_bridge=true"), outside),
            # Follow me: the user's own phone and a mobile, through loopback; and forwarding.
            extension("4010", action("bridge", f"loopback/{MOBILE}/{DOMAIN},user/101@{DOMAIN}")),
            extension("105", action("bridge", f"loopback/{MOBILE}/{DOMAIN}")),
            # One-leg calls.
            extension("3201", action("answer"), action("playback", tone("105"))),
            extension("3202", action("answer"), action("transfer", f"3201 XML {DOMAIN}")),
            extension("3203", action("answer"), action("sleep", 600000)),
            # A group one after the other; all at once without loopback.
            extension("4020", goes_on, action("bridge", f"user/107@{DOMAIN}|user/108@{DOMAIN}")),
            extension("4021", action("bridge", f"user/108@{DOMAIN},user/110@{DOMAIN}")),
        )
    )


def phones_habits() -> str:
    """Early media, and a phone that answers by itself."""
    return extension("0.*183", action("pre_answer"), action("playback", tone("outside"))) + extension(
        "103", action("answer"), action("playback", tone("103"))
    )


def with_habits(pbx: RealSwitch, phones: RealSwitch) -> None:
    """The habits before what the dialplans have, and a second phone of 106."""
    file = pbx.folder / "conf" / "freeswitch.xml"
    text = file.read_text()
    start = f'<context name="{DOMAIN}">'
    assert start in text
    file.write_text(text.replace(start, start + habits()))
    file = phones.folder / "conf" / "freeswitch.xml"
    text = file.read_text().replace('<context name="phones">', '<context name="phones">' + phones_habits())
    begin = text.index(f'<gateway name="{TWO_PHONES}-{DOMAIN}">')
    account = text[begin : text.index("</gateway>", begin) + len("</gateway>")]
    second = account.replace(f'name="{TWO_PHONES}-{DOMAIN}"', f'name="second-{TWO_PHONES}"')
    second = second.replace(f"t={DOMAIN}", "t=second")
    file.write_text(text.replace(account, account + second))


@pytest.fixture(scope="module")
def switches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealSwitch, RealSwitch]]:
    """A pair with these dialplans."""

    async def registered(rig: Rig) -> bool:
        # One phone more than elsewhere.
        text = await rig.phones.api("sofia status gateway")
        return text.split().count("REGED") == REGISTRATIONS + 1

    folder = tmp_path_factory.mktemp("habits")
    with running_pair(folder, 16200, with_habits) as pair, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rig, "registered", registered)
        yield pair


async def outsider_at(service: Service, number: str) -> str:
    """Somebody outside has called a number and talks to one; the call's id."""
    await service.rig.outsider_calls(number)
    return (await talking(service))[0]


async def channels_are(service: Service, number: int) -> None:
    async def so() -> bool:
        return len(await service.rig.channels()) == number

    await eventually(so)


async def test_a_transfer_to_a_busy_user_whose_voicemail_answers(service: Service) -> None:
    """He was not reached, and the call lives: both are said, and it can be sent elsewhere."""
    call_id = await outsider_at(service, "101")
    path = f"/v1/call/{call_id}/transfer"
    message = await refused(service, 409, "USER_BUSY", path, ext="107", legs="aleg")
    assert "went on" in message
    await service.shows(1, call_id=call_id, destination="107", state="CS_EXECUTE")
    assert (await service.post(path, ext="102", legs="aleg")).status == 200
    await service.shows(1, call_id=call_id, destination="102")


@pytest.mark.parametrize("command", ["transfer", "park"])
@pytest.mark.parametrize("side", ["aleg", "bleg"])
@pytest.mark.parametrize("number", ["4001", "4002", "4003", "4004"])
async def test_the_other_leg_ends_whatever_its_dialplan_does_after_a_bridge(
    service: Service, number: str, side: str, command: str
) -> None:
    await service.rig.extension_calls(101, number)
    call_id, legs = await talking(service)
    body = {"ext": "102"} if command == "transfer" else {}
    answer = await service.post(f"/v1/call/{call_id}/{command}", legs=side, **body)
    assert answer.status == 200, answer
    (row,) = await service.rows()
    assert row["call_id"] == call_id
    await channels_are(service, 2 if command == "transfer" else 1)
    assert legs[side]["uuid"] in await service.rig.channels()
    assert (await service.post(f"/v1/call/{call_id}/hangup")).status == 200
    await channels_are(service, 0)


@pytest.mark.parametrize("command", ["transfer", "park", "hangup"])
@pytest.mark.parametrize("side", ["aleg", "bleg"])
@pytest.mark.parametrize("number", ["105", "4010", "2000"])
async def test_a_call_through_loopback_channels(service: Service, number: str, side: str, command: str) -> None:
    """Forwarding, follow me and a ring group, before and after the loopback channels have bowed out."""
    call_id = await outsider_at(service, number)
    _, legs = await talking(service)
    body = {"transfer": {"ext": "102", "legs": side}, "park": {"legs": side}}.get(command, {})
    answer = await service.post(f"/v1/call/{call_id}/{command}", **body)
    assert answer.status == 200, answer
    await channels_are(service, {"transfer": 2, "park": 1, "hangup": 0}[command])
    if command != "hangup":
        assert legs[side]["uuid"] in await service.rig.channels()
        assert [row["call_id"] for row in await service.rows()] == [call_id]


async def test_nobody_outside_is_whispered_to_where_a_user_has_forwarded_his_calls(service: Service) -> None:
    call_id = await outsider_at(service, "105")
    for side in ({}, {"legs": "aleg"}, {"legs": "bleg"}):
        await refused(service, 409, "NOT_BRIDGED", f"/v1/call/{call_id}/whisper", ext=SUPERVISOR, **side)
    await channels_are(service, 2)


@pytest.mark.parametrize("mode", ["listen", "whisper", "barge"])
async def test_who_hears_a_supervisor_of_a_ring_group(service: Service, mode: str) -> None:
    caller = await service.rig.outsider_calls("2000")
    call_id, legs = await talking(service)
    answered_by = legs["bleg"]["number"]
    assert (await service.post(f"/v1/call/{call_id}/{mode}?wait=answer", ext=SUPERVISOR)).status == 200
    rig = service.rig
    assert await rig.hears(await rig.phone_of(SUPERVISOR)) == {"outside", answered_by}
    extension = await rig.hears(await rig.phone_of(answered_by))
    assert extension == ({"outside"} if mode == "listen" else {"outside", SUPERVISOR})
    assert await rig.hears(caller) == ({answered_by, SUPERVISOR} if mode == "barge" else {answered_by})


@pytest.mark.parametrize("mode", ["listen", "whisper", "barge"])
async def test_who_hears_a_supervisor_after_a_phone_has_transferred_the_call(service: Service, mode: str) -> None:
    """By REFER: the outside party talks to 102 then."""
    rig = service.rig
    caller = await rig.outsider_calls("101")
    call_id, _ = await talking(service)
    await rig.phones.ok(f"uuid_deflect {await rig.phone_of('101')} sip:102@{DOMAIN}")
    await service.shows(1, call_id=call_id, destination="102")
    await talking(service)
    assert (await service.post(f"/v1/call/{call_id}/{mode}?wait=answer", ext=SUPERVISOR)).status == 200
    assert await rig.hears(await rig.phone_of(SUPERVISOR)) == {"outside", "102"}
    assert await rig.hears(await rig.phone_of("102")) == ({"outside"} if mode == "listen" else {"outside", SUPERVISOR})
    assert await rig.hears(caller) == ({"102", SUPERVISOR} if mode == "barge" else {"102"})


@pytest.mark.parametrize("number", ["3201", "3202", "3203", "3001"])
async def test_a_transfer_to_where_no_phone_rings(service: Service, number: str) -> None:
    """An announcement, one that sends the call on, a queue, a conference."""
    call_id = await outsider_at(service, "101")
    answer = await service.post(f"/v1/call/{call_id}/transfer", ext=number, legs="aleg")
    assert answer.status == 200, answer
    await service.shows(1, call_id=call_id, destination="3201" if number == "3202" else number)
    await channels_are(service, 1)


@pytest.mark.parametrize("command", ["transfer", "park", "listen", "whisper", "barge", "hangup"])
@pytest.mark.parametrize("number", ["3201", "3203", "3001"])
async def test_a_call_of_one_leg(service: Service, number: str, command: str) -> None:
    await service.rig.extension_calls(101, number)
    (row,) = await service.shows(1)
    bodies: dict[str, dict[str, Any]] = {
        "transfer": {"ext": "102", "legs": "bleg"},
        "park": {"legs": "bleg"},
        "hangup": {},
    }
    answer = await service.post(f"/v1/call/{row['call_id']}/{command}", **bodies.get(command, {"ext": SUPERVISOR}))
    assert answer.status == 200, answer
    await channels_are(service, {"park": 1, "hangup": 0}.get(command, 2))
    if command != "hangup":
        assert [now["call_id"] for now in await service.rows()] == [row["call_id"]]


@pytest.mark.parametrize("number", ["4020", "4021"])
async def test_a_group_that_rings_is_sent_elsewhere(service: Service, number: str) -> None:
    await service.rig.extension_begins(101, number)

    async def rings() -> bool:
        calls = [await service.call(row["call_id"]) for row in await service.rows()]
        return len(calls) == 1 and "108" in [leg["number"] for leg in calls[0]["legs"]]

    await eventually(rings)
    (row,) = await service.rows()
    path = f"/v1/call/{row['call_id']}"
    await refused(service, 409, "NOT_ANSWERED", f"{path}/listen", ext=SUPERVISOR)
    assert (await service.post(f"{path}/transfer", ext="102", legs="aleg")).status == 200
    await service.shows(1, call_id=row["call_id"], destination="102")
    await channels_are(service, 2)


async def test_both_phones_of_a_user_ring_for_a_transfer(service: Service) -> None:
    call_id = await outsider_at(service, "101")
    contact = await service.rig.pbx.api(f"sofia_contact */{TWO_PHONES}@{DOMAIN}")
    assert contact.count("sip:") == 2
    assert (await service.post(f"/v1/call/{call_id}/transfer", ext=TWO_PHONES, legs="aleg")).status == 200
    await service.shows(1, call_id=call_id, destination=TWO_PHONES)
    # One has answered, the other rings no more.
    await channels_are(service, 2)
    assert (await service.post(f"/v1/call/{call_id}/listen?wait=answer", ext="102")).status == 200
    assert (await service.post(f"/v1/call/{call_id}/hangup")).status == 200
    await channels_are(service, 0)


async def test_a_call_of_early_media(service: Service) -> None:
    await service.rig.extension_begins(101, "0899000183")

    async def early() -> bool:
        calls = [await service.call(row["call_id"]) for row in await service.rows()]
        return bool(calls) and "EARLY" in [leg["callstate"] for leg in calls[0]["legs"]]

    await eventually(early)
    (row,) = await service.rows()
    path = f"/v1/call/{row['call_id']}"
    for command, body in (("park", {"legs": "bleg"}), ("transfer", {"ext": "102", "legs": "bleg"})):
        await refused(service, 409, "NOT_ANSWERED", f"{path}/{command}", **body)
    answer = await service.post(f"{path}/transfer", ext="103", legs="aleg")
    assert answer.status == 200, answer
    await service.shows(1, call_id=row["call_id"], destination="103")
    await channels_are(service, 2)
