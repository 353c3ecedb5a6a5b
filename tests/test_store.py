"""The embedded store."""

import asyncio

import pytest

from callbridge.store import MemoryStore, StoreStatus
from tests.storekit import SAMPLE


async def test_the_embedded_store_keeps_nothing_and_runs_on() -> None:
    store = MemoryStore()
    running = asyncio.create_task(store.run("pbx"))
    store.publish("pbx", [SAMPLE], ["gone"], [])
    store.touch("pbx")
    await asyncio.sleep(0)
    assert not running.done()
    assert store.status == StoreStatus("embedded")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
