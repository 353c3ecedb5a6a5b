"""The service: everything put together, started, watched over and stopped. The only module that knows all others."""

import asyncio
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web
from msgspec.structs import replace

from callbridge.audit import Audit
from callbridge.commands.console import Console
from callbridge.commands.desk import Desk
from callbridge.commands.directory import Directory
from callbridge.commands.work import Settings
from callbridge.config import Config
from callbridge.errors import ConfigError
from callbridge.fleet import Fleet
from callbridge.http.app import SERVER_LOG, make_app, reconfigure, say_goodbye
from callbridge.listener import Listener
from callbridge.mirror import EVERY_TENANT, Mirror
from callbridge.sharing.claims import Claims
from callbridge.systemd import Notifier

SHUTDOWN_TIMEOUT: Final = 5.0
"""Seconds that requests under way have to end when the service stops."""

LINGER: Final = 0.5
"""Seconds in which clients hear with their next answer that the connection ends, before it does: what one sends at the
moment in which an idle connection is closed is lost."""

KNOWN_WITHIN: Final = 10.0
"""Seconds after which a process that shares its port listens although it has nothing from Redis yet."""

LOOK_EVERY: Final = 0.01
"""Seconds between two looks whether there is still something to wait for, at a start and at the end."""

AT_ONCE: Final = 0.01
"""Seconds that they have when it is told to stop a second time, or fails. To aiohttp 0 is for ever."""

STUCK_AFTER: Final = 60.0
"""Seconds after which a switch's task that has not gone round counts as stuck: its longest wait is some 45, an
answer that never comes and the pause before the next attempt."""

STATUS_EVERY: Final = 5.0
"""Seconds between two lines for `systemctl status`."""

log = structlog.get_logger("callbridge")


class Daemon:
    """One callbridge. `run` serves until `stop` is called or a signal comes.

    `read` gives the configuration as it is now; without it SIGHUP is none of its business.
    """

    def __init__(
        self, config: Config, notifier: Notifier | None = None, read: Callable[[], Config] | None = None
    ) -> None:
        loop = asyncio.get_running_loop()
        self.clock: Callable[[], float] = loop.time
        self.fleet = Fleet(config.switch, config.store, self.clock)
        self.mirror = self.fleet.mirror
        self.desk = make_desk(config, self.mirror, self.fleet.consoles, self.clock, self.fleet.claims)
        self.serving = asyncio.Event()
        self._config = config
        self._notifier = notifier or Notifier({})
        self._listener: Listener | None = None
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._read = read
        self._reload = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Daemon {self.url or 'not serving'} {self.mirror!r}>"

    @property
    def url(self) -> str:
        """Where the API listens, once it does."""
        return "" if self._listener is None else self._listener.url

    def stop(self) -> None:
        """End `run`, once what is under way has ended; called a second time, at once."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def run(self) -> None:
        """Serve. Raises StartError where it cannot begin; any other exception is a failure of callbridge."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        if self._read is not None:
            loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        app = make_app(self._config, self.mirror, self.fleet.store, self.desk, self.clock, claims=self.fleet.claims)
        runner = web.AppRunner(app, access_log=None, logger=SERVER_LOG, shutdown_timeout=SHUTDOWN_TIMEOUT)
        await runner.setup()
        try:
            if self._config.store.role != "writer":
                await self._bind(runner)
            async with asyncio.TaskGroup() as tasks:
                self.fleet.begin(tasks)
                if self._config.http.reuse_port:
                    await self._listen_when_known()
                running = [tasks.create_task(self._tell_systemd())]
                if self._read is not None:
                    running.append(tasks.create_task(self._keep_up(app, self._read)))
                self._notifier.ready()
                self.serving.set()
                await self._stop.wait()
                self._notifier.stopping()
                log.info("daemon.stopping")
                # The switches are followed until then: commands under way wait for what becomes of their calls.
                draining, hurry = tasks.create_task(self._drain(app, runner)), tasks.create_task(self._hurry.wait())
                await asyncio.wait((draining, hurry), return_when=asyncio.FIRST_COMPLETED)
                for task in (*running, draining, hurry):
                    task.cancel()
                self.fleet.end()
        finally:
            if self._listener is not None:
                self._listener.close()
            if runner.server is not None:
                # Streams end with a last chunk, however little time there is.
                await runner.shutdown()
                await runner.server.shutdown(AT_ONCE)
            await runner.cleanup()
            await self.desk.close()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)

    async def _bind(self, runner: web.AppRunner) -> None:
        assert runner.server is not None
        self._listener = Listener(self._config.http, runner.server)
        await self._listener.bind()
        if not self._config.http.reuse_port:
            await self._listen(self._listener)

    async def _listen_when_known(self) -> None:
        """Listen once this process has what the others that share its port have: until then they answer."""
        await _while(lambda: self.fleet.store.status.state != "up" and not self._stop.is_set(), KNOWN_WITHIN)
        if self._listener is not None and not self._stop.is_set():
            await self._listen(self._listener)

    async def _listen(self, listener: Listener) -> None:
        await listener.listen()
        log.info("daemon.listening", url=self.url, switches=len(self.fleet.reflectors), tokens=len(self._config.token))

    async def _drain(self, app: web.Application, runner: web.AppRunner) -> None:
        """Take nothing new, end the streams, and let requests and commands under way end, for a while."""
        if self._listener is not None:
            await self._listener.leave()
        say_goodbye(app)
        await _while(lambda: runner.server is not None and bool(runner.server.connections), LINGER)
        end = self.clock() + SHUTDOWN_TIMEOUT
        await runner.cleanup()
        await self.desk.finish(max(0.0, end - self.clock()))

    async def _keep_up(self, app: web.Application, read: Callable[[], Config]) -> None:
        """Take over the configuration whenever SIGHUP says that it may be another one."""
        while True:
            await self._reload.wait()
            self._reload.clear()
            self._notifier.reloading()
            try:
                await self._take_over(app, read())
            except ConfigError as error:
                log.error("daemon.config_wrong", error=f"{error}", message="nothing has changed")
            self._notifier.ready()

    async def _take_over(self, app: web.Application, config: Config) -> None:
        before = self._config
        http = replace(config.http, listen=before.http.listen, reuse_port=before.http.reuse_port)
        self._config = replace(config, store=before.store, http=http)
        of_store = (("store", key) for key in config.store.__struct_fields__)
        fixed = [("http", "listen"), ("http", "reuse_port"), *of_store]
        wanted = [
            f"{table}.{key}"
            for table, key in fixed
            if getattr(getattr(config, table), key) != getattr(getattr(before, table), key)
        ]
        if wanted:
            log.warning("daemon.needs_restart", keys=wanted)
        # First who may do what: a switch takes a moment to be left.
        reconfigure(app, config)
        self.desk.reconfigure(*_chosen(config))
        changed = await self.fleet.follow(config.switch)
        log.info("daemon.reloaded", tokens=len(config.token), **changed._asdict())

    async def _tell_systemd(self) -> None:
        """Tell how it is, and that there is progress: this loop turns, and so does every switch's."""
        while True:
            switches = self.mirror.switches.values()
            live = sum(switch.state == "live" for switch in switches)
            calls = len(self.mirror.listing(EVERY_TENANT))
            self._notifier.status(f"{calls} calls; {live} of {len(switches)} switches live")
            if all(self.clock() - reflector.turned < STUCK_AFTER for reflector in self.fleet.reflectors.values()):
                self._notifier.alive()
            await asyncio.sleep(min(STATUS_EVERY, self._notifier.watchdog_seconds / 3 or STATUS_EVERY))


async def _while(condition: Callable[[], bool], seconds: float) -> None:
    """Wait while that is so, and for so long at most."""
    for _ in range(round(seconds / LOOK_EVERY)):
        if not condition():
            return
        await asyncio.sleep(LOOK_EVERY)


def make_desk(
    config: Config,
    mirror: Mirror,
    consoles: Mapping[str, Console],
    clock: Callable[[], float],
    claims: Claims | None = None,
) -> Desk:
    """The commands, as the configuration has them."""
    return Desk(mirror, consoles, *_chosen(config), clock, claims=claims)


def _chosen(config: Config) -> tuple[Directory, Settings, Audit]:
    """What commands go by."""
    commands = config.commands
    settings = Settings(
        commands.ring_seconds,
        commands.park_seconds,
        commands.recording,
        {tenant.name: tenant.context for tenant in config.tenant if tenant.context is not None},
    )
    directory = Directory({tenant.name: tenant.destinations for tenant in config.tenant})
    return directory, settings, Audit(Path(config.audit.path))
