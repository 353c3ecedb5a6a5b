"""The switches that are followed, each with all that it needs. They may change while the service runs."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterable
from typing import NamedTuple

from callbridge.commands.console import Console
from callbridge.config import StoreConfig, Switch
from callbridge.mirror import Mirror
from callbridge.reflector import Reflector
from callbridge.sharing.claims import Claims, slot
from callbridge.sharing.ledger import keys
from callbridge.sharing.masters import Masters
from callbridge.sharing.share import Share, SharedStore
from callbridge.store import MemoryStore, Store


class Changed(NamedTuple):
    """The names of switches of which the configuration says something else now."""

    added: list[str]
    removed: list[str]
    changed: list[str]


class Fleet:
    """All switches. `begin` has them followed, `follow` has others followed from then on."""

    def __init__(self, switches: Iterable[Switch], store: StoreConfig, clock: Callable[[], float]) -> None:
        self.mirror = Mirror(())
        self.consoles: dict[str, Console] = {}
        self.reflectors: dict[str, Reflector] = {}
        self.store: Store
        self.claims: Claims | None = None
        """What commands claim among all daemons, if there is a Redis for it."""
        self._masters = Masters(store.url)
        self._shares: dict[str, Share] | None = None
        if store.url.startswith("memory:"):
            self.store = MemoryStore()
        else:
            self._shares = {}
            self.claims = Claims(store.prefix, lambda: self._masters.connect(slot(store.prefix)))
            self.store = SharedStore(self._shares, self.claims)
        self._store_config = store
        self._clock = clock
        self._switches: dict[str, Switch] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._following: dict[str, asyncio.Task[None]] = {}
        self._keeping: dict[str, asyncio.Task[None]] = {}
        self._for_all: list[asyncio.Task[None]] = []
        """What is there once, not for each switch."""
        for switch in switches:
            self._add(switch)

    def __repr__(self) -> str:
        return f"<Fleet {list(self.reflectors.values())}>"

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Have every switch followed, and what is known of it kept in the store, by tasks of that group."""
        self._tasks = tasks
        if self.claims is not None:
            self._for_all = [tasks.create_task(work) for work in (self.claims.run(), self._masters.run())]
        for name in self._switches:
            self._start(name)

    def end(self) -> None:
        """Have no switch followed any more."""
        for task in (*self._following.values(), *self._keeping.values(), *self._for_all):
            task.cancel()

    async def follow(self, switches: Iterable[Switch]) -> Changed:
        """Follow exactly these from now on. Only what is said of a switch anew makes it connected anew; one that is no
        more named leaves with its calls, which are not said to have ended."""
        wanted = {switch.name: switch for switch in switches}
        known = self._switches
        removed = [name for name in known if name not in wanted]
        changed = [name for name, switch in wanted.items() if name in known and known[name] != switch]
        added = [name for name in wanted if name not in known]
        for name in removed:
            await self._remove(name)
        for name in changed:
            await _stopped(self._following[name])
            known[name] = wanted[name]
            self.reflectors[name].reconfigure(wanted[name])
            self._start_following(name)
        for name in added:
            self._add(wanted[name])
            self._start(name)
        return Changed(added, removed, changed)

    def _add(self, switch: Switch) -> None:
        name = switch.name
        self._switches[name] = switch
        self.mirror.add(name)
        self.consoles[name] = Console(name)
        self.reflectors[name] = Reflector(switch, self.mirror, self.store, self.consoles[name], self._clock)
        if self._shares is None:
            self.reflectors[name].lead()
        else:
            self._shares[name] = self._share(name)

    async def _remove(self, name: str) -> None:
        if self._shares is not None:
            self._shares[name].remove()
        await _stopped(self._following.pop(name), self._keeping.pop(name))
        del self._switches[name], self.consoles[name], self.reflectors[name]
        self.mirror.remove(name, self._clock())
        if self._shares is not None:
            del self._shares[name]

    def _start(self, name: str) -> None:
        self._start_following(name)
        assert self._tasks is not None
        self._keeping[name] = self._tasks.create_task(self.store.run(name))

    def _start_following(self, name: str) -> None:
        assert self._tasks is not None
        self._following[name] = self._tasks.create_task(self.reflectors[name].run())

    def _share(self, name: str) -> Share:
        store = self._store_config
        owner_key = keys(store.prefix, name)[0]
        return Share(
            name,
            store.prefix,
            f"{socket.gethostname()}:{os.getpid()}",
            lambda: self._masters.connect(owner_key),
            self.mirror,
            self.reflectors[name],
            self._clock,
            writes=store.role != "reader",
        )


async def _stopped(*tasks: asyncio.Task[None]) -> None:
    """Cancel these and wait until they have ended. Their failures are for the group."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
