"""A simulated switch without calls, and the port of its event socket."""

from collections.abc import AsyncIterator

import pytest

from callbridge.simulator.server import EventSocket
from tests.simulator.kit import World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def port(world: World) -> AsyncIterator[int]:
    async with EventSocket(world.switch) as port:
        yield port
