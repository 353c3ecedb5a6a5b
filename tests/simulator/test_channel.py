"""The values of a channel, whatever a caller puts into them: read to the same from both forms."""

import re

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from callbridge.esl.events import decode_json, decode_plain
from callbridge.simulator.channel import Parties
from callbridge.simulator.scenarios import KINDS, Call
from tests.eventkit import read
from tests.simulator.kit import WHO, World

# A header of a switch holds no NUL; `%41` in event-plain cannot be told from an encoded A, and `_undef_` is empty.
NAME = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda text: text != "_undef_" and not re.search("%[0-9A-F]{2}", text)
)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(KINDS), NAME)
def test_any_name_of_a_caller_is_read_to_the_same_from_both_forms(kind: str, name: str) -> None:
    world = World()
    call = Call(world.traffic.machine, kind, msgspec.structs.replace(WHO[kind], caller_name=name))
    for pause in call.run():
        world.clock.now += pause
    assert [read(event) for event in world.json.events] == [read(event) for event in world.plain.events]
    told = [event for event in world.json.events if event.profile.caller_number]
    assert len(told) > 30
    assert {event.profile.caller_name for event in told} == {name}


@settings(deadline=None, max_examples=30)
@given(NAME)
def test_a_dump_is_read_to_the_same_from_both_forms(name: str) -> None:
    world = World()
    call = Call(world.traffic.machine, "outbound", Parties("a.example.com", "101", name, "102", "102"))
    steps = call.run()
    while not call.bridged:
        world.clock.now += next(steps)
    for uuid in world.switch.channels:
        plain = decode_plain(world.switch.api(f"uuid_dump {uuid} plain").encode())
        event = decode_json(world.switch.api(f"uuid_dump {uuid} json").encode())
        assert (event.profile.caller_name, event.sequence) == (name, plain.sequence + 1)
        plain.sequence = event.sequence
        assert read(plain) == read(event)


def test_a_per_cent_sign_in_a_variable_stands_as_it_is() -> None:
    world = World()
    call = Call(world.traffic.machine, "outbound", Parties("a.example.com", "101", "100 %(uuid)s %s %", "102", "102"))
    for pause in call.run():
        world.clock.now += pause
    for form in ("json", "plain"):
        events = [frame.event for frame in world.heard(form).frames]
        names = {event["variable_effective_caller_id_name"] for event in events if "variable_user_name" in event}
        assert names == {"100 %(uuid)s %s %"}
