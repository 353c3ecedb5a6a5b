"""The command line: `callbridge run`, `check-config`, `demo`, `simulate`, `token new`."""

import argparse
import asyncio
import contextlib
import ctypes
import gc
import hashlib
import importlib
import json
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
import structlog

from callbridge import __version__, demo, logs
from callbridge.config import Config, Name, Role, load, split_address
from callbridge.daemon import Daemon
from callbridge.errors import ConfigError, StartError
from callbridge.listener import cannot_listen
from callbridge.simulator.faults import Faults
from callbridge.simulator.replay import Replay
from callbridge.simulator.server import EventSocket
from callbridge.simulator.switch import Switch
from callbridge.simulator.traffic import Load, Traffic
from callbridge.systemd import Notifier

OK: Final = 0
FAILED: Final = 1
"""Something went wrong at run time: the port is taken, a failure of callbridge itself."""
WRONG_CONFIG: Final = 78
"""EX_CONFIG of sysexits.h; systemd does not restart a service that ends so (deploy/callbridge.service)."""

LARGE: Final = 4 * 1024 * 1024
"""Bytes from which a block of memory goes back to the system when it is free, and how many free ones are kept."""

TRIM_AFTER: Final = 6.0
"""Seconds after the list has become complete at which free memory goes back: the last list of a start has come."""

log = structlog.get_logger("callbridge")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give the exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except ConfigError as error:
        print(f"callbridge: {error}", file=sys.stderr)
        return WRONG_CONFIG
    except StartError as error:
        print(f"callbridge: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return OK
    return code


def _run(options: argparse.Namespace) -> int:
    def read() -> Config:
        config = load(options.config, role=options.role)
        logs.set_up(config.log.level, config.log.format)
        return config

    config = read()
    _give_memory_back()
    # What is loaded stays: to look through all of it again and again would hold up events, for 20 ms and more.
    gc.freeze()
    return _in_loop(_serve(config, read))


async def _serve(config: Config, read: Callable[[], Config]) -> None:
    daemon = Daemon(config, Notifier(), read)
    loop = asyncio.get_running_loop()

    def on_state() -> None:
        if daemon.mirror.complete:
            loop.call_later(TRIM_AFTER, _trim)

    daemon.mirror.subscribe_to_states(on_state)
    await daemon.run()


def _give_memory_back() -> None:
    """Have glibc keep little of what is free. By itself it keeps twice the largest block that it has ever seen, and a
    list of 20,000 channels is one of 8 MB; one of 2 MB, a snapshot of 10,000 calls, is to be kept for the next one."""
    trim_threshold, mmap_threshold = -1, -3
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, LARGE)
        libc.mallopt(trim_threshold, LARGE)


def _trim() -> None:
    """Give back what a start has left free between what stays: 4 MB with 10,000 calls (measured)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _check_config(options: argparse.Namespace) -> int:
    config = load(options.config)
    switches = ", ".join(f"{switch.name} at {switch.address}" for switch in config.switch)
    print(f"{options.config} is right: {switches}; listens on {config.http.listen}; {len(config.token)} tokens")
    if not config.token:
        print("There is no [[token]]: nobody can use the API. `callbridge token new NAME` makes one.")
    if not (folder := Path(config.audit.path).parent).is_dir():
        print(f"There is no folder {folder} for the audit log: commands are refused until there is.")
    return OK


def _demo(options: argparse.Namespace) -> int:
    logs.set_up("warning", "auto")
    return _in_loop(demo.run(options.listen, _load(options), options.seed, lambda text: print(text, flush=True)))


def _simulate(options: argparse.Namespace) -> int:
    logs.set_up("info", "auto")
    return _in_loop(_simulator(options))


async def _simulator(options: argparse.Namespace) -> None:
    if options.replay is not None:
        await _play(options)
        return
    switch = Switch(options.seed)
    traffic = Traffic(switch, _load(options), asyncio.get_running_loop().time, options.seed)
    async with _event_socket(options, switch) as address:
        log.info("simulator.listening", address=address, live=options.live, rate=options.rate)
        # Of twenty thousand channels most stay: looking through all of them again and again is wasted.
        gc.freeze()
        gc.set_threshold(200_000, 50, 100)
        await traffic.run()


async def _play(options: argparse.Namespace) -> None:
    try:
        replay = Replay.load(options.replay)
    except (OSError, ValueError, KeyError) as error:
        raise StartError(f"{options.replay} cannot be played: {error}") from None
    began = asyncio.Event()
    async with _event_socket(options, replay, lambda session: _begin(session, began)) as address:
        log.info("simulator.listening", address=address, replay=str(options.replay))
        await began.wait()
        await replay.run(options.speed)
        log.info("simulator.played", replay=str(options.replay))
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def _event_socket(
    options: argparse.Namespace, switch: Switch | Replay, on_subscribed: Callable[[Any], None] = lambda _: None
) -> AsyncIterator[str]:
    """The event socket before a switch or a recording, with the faults that were asked for; gives its address."""
    for name, value in options.fault:
        switch.faults.set(name, value)
    host, port = split_address(options.listen)
    server = EventSocket(switch, options.password, host, port, refuse=options.refuse, on_subscribed=on_subscribed)
    async with contextlib.AsyncExitStack() as stack:
        try:
            port = await stack.enter_async_context(server)
        except (OSError, UnicodeError) as error:
            raise cannot_listen(options.listen, error) from None
        yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _begin(session: Any, began: asyncio.Event) -> None:
    """A recording begins when somebody listens to channels, not to the results of jobs alone."""
    if session.wants("CHANNEL_CREATE"):
        began.set()


def _new_token(options: argparse.Namespace) -> int:
    token = secrets.token_urlsafe(32)
    # What JSON makes of a text without control characters is a string of TOML, quotes and backslashes included.
    tenant = "" if options.tenant is None else f"\ntenant = {json.dumps(options.tenant, ensure_ascii=False)}"
    scopes = ", ".join(f'"{scope}"' for scope in dict.fromkeys(options.scope or ["read"]))
    print(f"The token, shown this once: {token}\n\nFor the configuration:\n")
    print(f'[[token]]\nname = "{options.name}"\nsha256 = "{hashlib.sha256(token.encode()).hexdigest()}"{tenant}')
    print(f"scopes = [{scopes}]")
    return OK


def _in_loop(service: Coroutine[Any, Any, None]) -> int:
    try:
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(_until_told(service))
    except StartError:
        raise
    except Exception as error:
        cause: BaseException = error
        while isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        if isinstance(cause, StartError):
            raise cause from None
        log.exception("callbridge.failed", error=f"{type(cause).__name__}: {cause}")
        return FAILED
    return OK


async def _until_told(service: Coroutine[Any, Any, None]) -> None:
    """Run it until a signal tells to end. While the daemon serves, it takes the signals itself."""
    loop = asyncio.get_running_loop()
    running = loop.create_task(service)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        loop: asyncio.AbstractEventLoop = importlib.import_module("uvloop").new_event_loop()
    except ImportError:
        return asyncio.new_event_loop()
    return loop


# What the command line takes.


def _address(text: str) -> str:
    try:
        split_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _fault(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    try:
        Faults().set(name, value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return name, value


def _at_least_zero(text: str) -> float:
    with contextlib.suppress(ValueError):
        value = float(text)
        if 0 <= value < float("inf"):
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 up")


def _count(text: str) -> int:
    with contextlib.suppress(ValueError):
        value = int(text)
        if value >= 0:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 up")


def _tenant(text: str) -> str:
    # An empty one would be no tenant at all, and a token without a tenant is for every tenant's calls.
    if not text.strip() or not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text!r} is no tenant; it is a domain, like test.tel4vn.com")
    return text


def _tenants(text: str) -> tuple[str, ...]:
    return tuple(_tenant(part.strip()) for part in text.split(","))


def _token_name(text: str) -> str:
    try:
        return msgspec.convert(text, Name)
    except msgspec.ValidationError:
        words = "is no name; it is up to 64 letters, digits, dots, dashes and underscores"
        raise argparse.ArgumentTypeError(f"{text!r} {words}") from None


def _existing(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path


def _load(options: argparse.Namespace) -> Load:
    return Load(options.rate, options.duration, options.live, options.tenants)


def _add_traffic(parser: argparse.ArgumentParser, rate: float) -> None:
    parser.add_argument("--rate", type=_at_least_zero, default=rate, help="new calls a second (%(default)s)")
    parser.add_argument("--duration", type=_at_least_zero, default=30.0, help="mean seconds of talk (%(default)s)")
    parser.add_argument("--live", type=_count, default=0, help="calls that are up from the start (%(default)s)")
    tenants = "test.tel4vn.com,acme.example.com"
    parser.add_argument("--tenants", type=_tenants, default=tenants, help="domains, with commas (%(default)s)")
    parser.add_argument("--seed", type=_count, default=0, help="the same seed gives the same calls (%(default)s)")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("callbridge", description="The live calls of FreeSWITCH servers.")
    parser.add_argument("--version", action="version", version=f"callbridge {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    for name, function, help_text in (
        ("run", _run, "serve, as the configuration says"),
        ("check-config", _check_config, "check a configuration and say what is wrong with it"),
    ):
        command = commands.add_parser(name, help=help_text, description=help_text)
        command.add_argument("--config", type=Path, default=Path("callbridge.toml"), help="the file (%(default)s)")
        command.set_defaults(command=function)
        if function is _run:
            help_text = "all, or, of several that share a Redis, only the readers' or the writers' part"
            command.add_argument("--role", choices=get_args(Role), help=help_text)

    demo_command = commands.add_parser("demo", help="a simulated switch with traffic, and the service before it")
    demo_command.add_argument("--listen", type=_address, default="127.0.0.1:8080", help="the API (%(default)s)")
    _add_traffic(demo_command, 1.0)
    demo_command.set_defaults(command=_demo)

    simulate = commands.add_parser("simulate", help="a simulated switch, to develop against")
    simulate.add_argument("--listen", type=_address, default="127.0.0.1:8021", help="event socket (%(default)s)")
    simulate.add_argument("--password", default="ClueCon", help="of the event socket (%(default)s)")
    simulate.add_argument("--refuse", action="store_true", help="refuse everybody, as an access list does")
    simulate.add_argument("--fault", type=_fault, action="append", default=[], help="NAME=VALUE, like late_rows=2")
    simulate.add_argument("--replay", type=_existing, help="play this recording (.esl, .esl.xz) instead of traffic")
    simulate.add_argument("--speed", type=_at_least_zero, default=1.0, help="of a recording; 0: as fast as it goes")
    _add_traffic(simulate, 5.0)
    simulate.set_defaults(command=_simulate)

    token = commands.add_parser("token", help="tokens of the API").add_subparsers(metavar="COMMAND", required=True)
    new = token.add_parser("new", help="make a token and its entry for the configuration")
    new.add_argument("name", type=_token_name, help="who it is for")
    new.add_argument("--tenant", type=_tenant, help="only this tenant's calls")
    new.add_argument("--scope", action="append", choices=["read", "control", "monitor"], help="read, if none is given")
    new.set_defaults(command=_new_token)
    return parser


if __name__ == "__main__":
    sys.exit(main())
