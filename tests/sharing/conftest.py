"""A real Redis for one test. Modules that need it otherwise have fixtures of their own of these names."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.redis_server import RedisServer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """It runs, and is empty."""
    async with RedisServer(tmp_path) as server:
        await server.start()
        yield server


@pytest.fixture
async def client(server: RedisServer) -> AsyncIterator["Redis"]:
    """To look into it, and to do things to it."""
    async with server.client() as client:
        yield client
