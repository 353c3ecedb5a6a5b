"""Processes that are started, watched and measured from outside, all in the same way."""

import http.client
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

START_TIMEOUT: Final = 180.0
"""Seconds until a process has done what it is waited for; the longest is a daemon that probes 100,000 channels."""

FOREVER: Final = 1e9
"""Seconds that calls last which are not to end while something is measured."""

TOKEN: Final = "bench"
CONFIG: Final = """
[http]
listen = "127.0.0.1:0"
[[switch]]
name = "bench"
address = "127.0.0.1:{port}"
password = "ClueCon"
events = "{events}"
[[token]]
name = "bench"
sha256 = "{digest}"
scopes = ["read", "monitor"]
[commands]
# Longer than anything is measured: a command that waits for a phone is under way all the time.
ring_seconds = 300
"""


class Failed(Exception):
    """A process did not do its part, so there is nothing to measure."""


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used, with the resolution of the scheduler's clock."""
    # The kernel's name for the CPU clock of another process (clock_getcpuclockid); exact where /proc counts ticks.
    return time.clock_gettime((~pid << 3) | 2)


class Child:
    """A process. As a context manager it ends when the block does."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._command = command
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._said: list[str] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self._process.kill()
        self._process.wait()
        self._listener.join()
        assert self._process.stdin is not None
        self._process.stdin.close()

    @property
    def cpu(self) -> float:
        """Seconds of CPU that it has used, in user and system mode."""
        return cpu_of(self._process.pid)

    @property
    def rss(self) -> int:
        """Bytes of memory that are resident."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
        return int(kilobytes) * 1024

    def wait_for(self, words: str, timeout: float = START_TIMEOUT) -> str:
        """The next line that holds `words`."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise self._failure(f"has not said {words!r} in {timeout:.0f} s") from None
            if line is None:
                raise self._failure(f"ended before it said {words!r}")
            self._said.append(line)
            if words in line:
                return line

    def tell(self, line: str) -> None:
        """Give it one line."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line.decode("utf-8", "replace").rstrip("\n"))
        self._lines.put(None)

    def _failure(self, what: str) -> Failed:
        return Failed("\n  ".join([f"{' '.join(self._command[:4])} … {what}; its last lines:", *self._said[-8:]]))


def python(module: str, *arguments: object) -> Child:
    """A process of this Python that runs a module."""
    return Child([sys.executable, "-m", module, *map(str, arguments)])


class Answer(NamedTuple):
    """One answer over HTTP."""

    status: int
    body: bytes
    etag: str


class Client:
    """One connection that is kept open."""

    def __init__(self, port: int, headers: Mapping[str, str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = dict(headers)

    def get(self, path: str, etag: str = "") -> Answer:
        """Ask, and read the whole answer."""
        headers = self._headers | {"If-None-Match": etag} if etag else self._headers
        self._connection.request("GET", path, headers=headers)
        response = self._connection.getresponse()
        return Answer(response.status, response.read(), response.headers.get("ETag", ""))


AUTHORIZATION: Final = {"Authorization": f"Bearer {TOKEN}"}


class Daemon(Child):
    """`callbridge run` as an operator runs it, following one switch; it is up when that switch is live, or, if nobody
    wants to wait for that, when it listens."""

    def __init__(self, switch_port: int, events: str = "json", *, live: bool = True) -> None:
        self._folder = tempfile.TemporaryDirectory()
        config = Path(self._folder.name, "callbridge.toml")
        digest = sha256(TOKEN.encode()).hexdigest()
        config.write_text(CONFIG.format(port=switch_port, events=events, digest=digest))
        super().__init__([sys.executable, "-m", "callbridge.cli", "run", "--config", str(config)])
        url: str = json.loads(self.wait_for("daemon.listening"))["url"]
        self.port = int(url.rpartition(":")[2])
        self.client = Client(self.port, AUTHORIZATION)
        if live:
            self.wait_for("switch.live")

    def __exit__(self, *failure: Any) -> None:
        super().__exit__(*failure)
        self._folder.cleanup()


class Simulator(Child):
    """`callbridge simulate`; it is up when it listens."""

    def __init__(self, *, live: int, rate: float, duration: float) -> None:
        traffic = ["--live", str(live), "--rate", str(rate), "--duration", str(duration)]
        super().__init__([sys.executable, "-m", "callbridge.cli", "simulate", "--listen", "127.0.0.1:0", *traffic])
        address: str = json.loads(self.wait_for("simulator.listening"))["address"]
        self.port = int(address.rpartition(":")[2])
