"""Every command, whatever comes of it: the simulated switch says and does what a real one was seen to.

`deeds` says what is done, `commands.json` what a real switch made of it (`observe` wrote that).
"""

from pathlib import Path
from typing import Final

import msgspec
import pytest

from tests.simulator.deeds import DEEDS, Deed, Outcome, anonymous, line, written
from tests.simulator.stage import roles, set_up, stage

SEEN: Final = msgspec.json.decode(Path(__file__).with_name("commands.json").read_bytes(), type=dict[str, Outcome])


def played(deed: Deed) -> Outcome:
    """What comes of a deed on the simulated switch."""
    world, answers, jobs = stage(), [], list[str]()
    set_up(world, deed.call)
    already = len(world.json.frames)
    for step in deed.steps:
        if not isinstance(step, str):
            world.wait(step)
        elif step.startswith("bgapi "):
            world.switch.ask(line(step, roles(world)).removeprefix("bgapi "), jobs.append)
        else:
            answers.append(anonymous(world.switch.api(line(step, roles(world))), roles(world)))
    events = [frame.event for frame in world.json.frames[already:]]
    told = {leg: [events] for leg, events in written(events, roles(world)).items()}
    return Outcome(answers, [anonymous(job, roles(world)) for job in jobs], told)


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.name)
def test_a_deed_has_the_outcome_that_it_has_on_a_real_switch(deed: Deed) -> None:
    seen, made = SEEN[deed.name], played(deed)
    assert (made.answers, made.jobs) == (seen.answers, seen.jobs)
    assert set(made.legs) == set(seen.legs)
    for leg, (told,) in made.legs.items():
        if told not in seen.legs[leg]:
            assert told == seen.legs[leg][0]
