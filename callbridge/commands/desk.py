"""Takes what consumers ask for, has it carried out on the call's own switch, and writes down who did what.

One command at a time on one call (`turns`); hang-ups wait for nobody. A consumer that goes away does not stop a command
half-way.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, nullcontext
from typing import Any, Final, TypeVar
from uuid import uuid4

import msgspec
import structlog

from callbridge.audit import Audit
from callbridge.commands.console import Console
from callbridge.commands.directory import Directory
from callbridge.commands.outcome import Code, Refused
from callbridge.commands.requests import ChangeMonitor, OnCall, Place, Request, StopMonitor
from callbridge.commands.turns import Turns
from callbridge.commands.watch import Sleep, Watch
from callbridge.commands.work import Later, Settings, Work
from callbridge.mirror import EVERY_TENANT, Mirror
from callbridge.records import Record
from callbridge.sharing.claims import Claims

T = TypeVar("T")

MAX_UNDER_WAY: Final = 1000
"""Commands under way at once on one switch; more are told to come again."""

MAX_FAILED: Final = 5_000
"""Phones that rang and did not answer of which is remembered why, the newest."""

log = structlog.get_logger("callbridge.commands")


class Asker(msgspec.Struct, frozen=True):
    """Who asks: the token's name, the address of the consumer, and the tenant (None: every tenant's calls)."""

    name: str
    address: str
    tenant: str | None


class Desk:
    """All commands of all switches."""

    def __init__(
        self,
        mirror: Mirror,
        consoles: Mapping[str, Console],
        directory: Directory,
        settings: Settings,
        audit: Audit,
        clock: Callable[[], float],
        sleep: Sleep = asyncio.sleep,
        claims: Claims | None = None,
    ) -> None:
        self.mirror = mirror
        self._consoles = consoles
        self._directory = directory
        self._settings = settings
        self._audit = audit
        self._clock = clock
        self._watch = Watch(mirror, sleep)
        self._turns = Turns(mirror, claims)
        self._under_way: Counter[str] = Counter()
        self._commands: set[asyncio.Task[Any]] = set()
        self._later: set[asyncio.Task[Any]] = set()
        self._failed: dict[str, Code] = {}

    def __repr__(self) -> str:
        return f"<Desk {sum(self._under_way.values())} commands under way>"

    async def carry_out(self, asker: Asker, call_id: str, request: OnCall, switch: str | None = None) -> str:
        """Do to a call (of that switch, where several have one of this id) what was asked. Gives the id of the call.

        Raises Refused; where it says CALL_NOT_FOUND the call may have ended lately.
        """
        record = self._find(asker, call_id, switch)
        return await self._see_through(self._carry_out(asker, self._work(record.switch), record, request))

    async def place(self, asker: Asker, request: Place) -> str:
        """Click to call. Gives the id of the new call. Raises Refused."""
        if asker.tenant is None:
            message = "a call is placed for one tenant; this token is for every tenant's calls, use one of that tenant"
            raise Refused("FORBIDDEN", message)
        return await self._see_through(self._place(asker, asker.tenant, request))

    async def change_monitor(self, asker: Asker, request: ChangeMonitor | StopMonitor) -> str:
        """Change or stop a monitor. Raises Refused MONITOR_NOT_FOUND and others."""
        found = self.mirror.find_monitor(request.monitor_id, asker.tenant)
        if found is None:
            raise Refused("MONITOR_NOT_FOUND", "there is no monitor of this id; GET /v1/monitor lists them")
        return await self._see_through(self._carry_out(asker, self._work(found[0].switch), found[0], request))

    def why_not(self, monitor_id: str) -> Code | None:
        """Why the phone of a monitor that rang did not answer, where that is known."""
        return self._failed.get(monitor_id)

    def reconfigure(self, directory: Directory, settings: Settings, audit: Audit) -> None:
        """Go by these from the next command on."""
        self._directory = directory
        self._settings = settings
        if audit.path != self._audit.path:
            self._audit = audit

    async def finish(self, seconds: float) -> None:
        """Wait until the commands under way have ended, that long at most. What one has left to be done later is not
        waited for."""
        if self._commands:
            await asyncio.wait(self._commands, timeout=seconds)

    async def close(self) -> None:
        """Let go of what is under way."""
        # What the end of a connection has begun in this very turn must have started before it can be cancelled.
        await asyncio.sleep(0)
        tasks = self._commands | self._later
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._audit.flush()

    # How it is done.

    def _find(self, asker: Asker, call_id: str, switch: str | None) -> Record:
        record = self.mirror.find(call_id, asker.tenant, switch)
        if record is None:
            raise Refused("CALL_NOT_FOUND", "there is no live call of this id; GET /v1/call lists them")
        return record

    async def _carry_out(self, asker: Asker, work: Work, record: Record, request: OnCall) -> str:
        fields = _described(asker, record, request)
        turn = self._turns.of(work, record.call_id) if request.waits_its_turn else nullcontext()
        async with self._audited(fields), self._counted(record.switch), turn:
            # Whoever came before may have changed everything.
            now = work.record(record.call_id)
            if now is None or asker.tenant not in (EVERY_TENANT, now.tenant):
                raise Refused("CALL_ENDED", "the call ended meanwhile")
            await request.do(work, now)
        return now.call_id

    async def _place(self, asker: Asker, tenant: str, request: Place) -> str:
        fields = {"token": asker.name, "address": asker.address, "tenant": tenant, **request.described()}
        async with self._audited(fields):
            work = await self._work_for(request.ext, tenant)
            async with self._counted(work.switch):
                fields["switch"] = work.switch
                await request.do(work, tenant)
                return request.call_id

    async def _work_for(self, extension: str, tenant: str) -> Work:
        """The switch at which the extension's phone is registered. Raises Refused."""
        refusals: dict[Code, Refused] = {}
        # All at once: there may be a switch less while one is asked.
        for work in [self._work(switch) for switch in self._consoles]:
            try:
                await self._directory.demand_phone(work.console, extension, tenant)
            except Refused as refused:
                refusals[refused.code] = refused
            else:
                return work
        # That an extension does not exist can be said only when every switch has said so.
        for code in ("USER_NOT_REGISTERED", "SWITCH_UNAVAILABLE"):
            if code in refusals:
                raise refusals[code]
        raise next(iter(refusals.values()))

    def _work(self, switch: str) -> Work:
        console = self._consoles[switch]
        later = Later(self._in_background, self._note_failure)
        return Work(console, self.mirror, self._watch, self._directory, self._settings, later)

    def _note_failure(self, rung_id: str, code: Code) -> None:
        self._failed[rung_id] = code
        if len(self._failed) > MAX_FAILED:
            del self._failed[next(iter(self._failed))]

    @asynccontextmanager
    async def _audited(self, fields: dict[str, Any]) -> AsyncIterator[None]:
        fields["id"] = str(uuid4())
        began, outcome, audit = self._clock(), "OUTCOME_UNKNOWN", self._audit
        try:
            await audit.write("asked", fields)
        except OSError as error:
            log.error("audit.failed", path=str(audit.path), error=f"{error}")
            message = "the audit log cannot be written, so nothing was done; the operator finds why in callbridge's log"
            raise Refused("SWITCH_UNAVAILABLE", message) from None
        try:
            yield
            outcome = "success"
        except Refused as refused:
            outcome = refused.code
            fields["reason"] = f"{refused}"
            raise
        finally:
            await self._write_done(audit, {**fields, "outcome": outcome, "seconds": round(self._clock() - began, 3)})

    async def _write_done(self, audit: Audit, fields: dict[str, Any]) -> None:
        try:
            await asyncio.shield(audit.write("done", fields))
        except OSError as error:
            # The switch has done it by now, and the consumer is to know.
            log.error("audit.failed", path=str(audit.path), error=f"{error}")

    @asynccontextmanager
    async def _counted(self, switch: str) -> AsyncIterator[None]:
        if self._under_way[switch] >= MAX_UNDER_WAY:
            raise Refused("TOO_MANY_REQUESTS", f"{MAX_UNDER_WAY} commands are under way on {switch}; try again")
        self._under_way[switch] += 1
        try:
            yield
        finally:
            self._under_way[switch] -= 1

    async def _see_through(self, command: Coroutine[Any, Any, T]) -> T:
        return await asyncio.shield(_task(command, self._commands))

    def _in_background(self, command: Coroutine[Any, Any, None]) -> None:
        _task(_quietly(command), self._later)


def _task(command: Coroutine[Any, Any, T], among: set[asyncio.Task[Any]]) -> "asyncio.Task[T]":
    task = asyncio.get_running_loop().create_task(command)
    among.add(task)
    task.add_done_callback(among.discard)
    return task


async def _quietly(command: Awaitable[None]) -> None:
    try:
        await command
    except Refused as refused:
        log.info("command.refused_later", code=refused.code, reason=f"{refused}")
    except Exception:
        log.exception("command.failed")


def _described(asker: Asker, record: Record, request: Request) -> dict[str, Any]:
    numbers = {f"{leg.side}": leg.number for leg in reversed(record.legs)}
    return {
        "token": asker.name,
        "address": asker.address,
        "tenant": record.tenant,
        "switch": record.switch,
        "call_id": record.call_id,
        **numbers,
        **request.described(),
    }
