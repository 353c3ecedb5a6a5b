"""The peers: installed beside callbridge, in a folder of their own, and never copied.

Each is installed for itself. One that cannot be had here is told of in the report, and the others are measured.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

CHILDREN: Final = Path(__file__).parent / "children"
FOLDER: Final = Path(__file__).parent.parent / ".venv-peers"
PYTHON: Final = FOLDER / "bin" / "python"

LIBESL: Final = os.environ.get("LIBESL", "")
"""A folder with libesl's sources, such as `libs/esl` of a FreeSWITCH; without it those that python-ESL carries."""

PYTHON_ESL: Final = "python-ESL==1.4.18"
"""The events' way through libesl is the same in it as in that of FreeSWITCH 1.10.12."""

FSOCK: Final = "2024-03-22"
"""Later ones need a newer Go than Debian 12 has, and read events as this one does."""

ESLGO: Final = "1.4.1"


class Missing(Exception):
    """A peer that cannot be had here, and why, in one line."""


class Peer(msgspec.Struct, frozen=True):
    """Another client of the event socket. Its command takes a port and how many events to read."""

    name: str
    version: str
    command: tuple[str, ...]
    recipe: str
    """What it is made of: it is made again when this changes."""
    make: Callable[[], None]
    """Raises Missing."""

    def install(self) -> None:
        """Make it, unless it is there. Raises Missing."""
        ready = FOLDER / f"{self.name}.ready"
        if ready.exists() and ready.read_text() == self.recipe:
            return
        print(f"installing {self.name} {self.version} into {FOLDER.name} …", end=" ", file=sys.stderr, flush=True)
        (FOLDER / "bin").mkdir(parents=True, exist_ok=True)
        self.make()
        ready.write_text(self.recipe)


def _run(*command: str | Path, folder: Path | None = None) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Missing(f"there is no {command[0]} here") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        wrong = next(
            (line for line in said if "error" in line.lower()), said[-1] if said else f"exit {done.returncode}"
        )
        raise Missing(f"{Path(command[0]).name}: {wrong.strip()}")


def _pip(*arguments: str) -> None:
    if not PYTHON.exists():
        venv.create(FOLDER, with_pip=True, symlinks=True)
    _run(PYTHON, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def _from_pypi(name: str, *wanted: str) -> Peer:
    """A library of Python, and the module of ours that uses it."""
    command = (str(PYTHON), "-m", f"bench.children.peer_{name.lower()}")
    version = wanted[0].partition("==")[2]
    return Peer(name, version, command, "\n".join(wanted), lambda: _pip("install", *wanted))


def _libesl() -> Peer:
    program, client = FOLDER / "bin" / "peer_libesl", CHILDREN / "peer_libesl.c"

    def make() -> None:
        with tempfile.TemporaryDirectory() as folder:
            sources = Path(LIBESL or folder)
            if not LIBESL:
                _pip("download", "--no-deps", "--no-binary", ":all:", "--dest", folder, PYTHON_ESL)
                _run("tar", "-xzf", next(sources.glob("*.tar.gz")), "-C", folder)
            library = next(sources.glob("**/esl.c"), None)
            headers = next(sources.glob("**/esl.h"), None)
            if library is None or headers is None:
                raise Missing(f"{sources} holds no esl.c and esl.h")
            # Without the C++ and the programs around it: the client alone has a `main`.
            parts = [*library.parent.glob("esl*.c"), *library.parent.glob("cJSON*.c")]
            _run("cc", "-w", "-O2", f"-I{headers.parent}", client, *parts, "-lpthread", "-lm", "-o", program)

    version = "of " + (LIBESL or PYTHON_ESL.replace("==", " "))
    return Peer("libesl", version, (str(program),), f"{version}\n{client.read_text()}", make)


def _go(name: str, version: str) -> Peer:
    """A library of Go, and the program of ours that uses it."""
    program, module = FOLDER / "bin" / f"peer_{name}", CHILDREN / "go"
    recipe = "\n".join(path.read_text() for path in (module / "go.mod", module / name / "main.go"))

    def make() -> None:
        if shutil.which("go") is None:
            raise Missing("there is no go here")
        _run("go", "build", "-o", program, f"./{name}", folder=module)

    return Peer(name, version, (str(program),), recipe, make)


PEERS: Final = (
    _libesl(),
    _go("fsock", FSOCK),
    _go("eslgo", ESLGO),
    _from_pypi("greenswitch", "greenswitch==0.0.19"),
    _from_pypi("switchio", "switchio==0.1.0a1", "six", "uvloop"),
    _from_pypi("Genesis", "genesis==2026.10.18"),
)
"""What callbridge is measured against: the versions of these figures."""
