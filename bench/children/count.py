"""Reads the events of a switch as fast as they come and counts them. Says `ready` when the warm-up is over and `done`
with events a second, megabytes a second, new calls a second, live calls at the end and how late calls are (p99, ms).
"""

import re
import socket
import sys
import time
from typing import Final

from callbridge.table import EVENTS

STEP_MS: Final = 20.0
"""What the simulator waits between the first event of a call and its CHANNEL_CREATE."""

_FRAME: Final = re.compile(rb"Content-Length: (\d+)\nContent-Type: text/event-json\n\n")
_NEW: Final = re.compile(rb'"Channel-State":"CS_NEW".*?"Unique-ID":"([^"]+)"')
_UUID: Final = re.compile(rb'"Unique-ID":"([^"]+)"')


class Counter:
    """What has come since it was made. `began` outlives it: when each call had its first event."""

    def __init__(self, began: dict[bytes, float]) -> None:
        self.began = began
        self.events = 0
        self.bytes = 0
        self.calls = 0
        self.late: list[float] = []

    def take(self, event: bytes, now: float) -> None:
        """One event. Only what begins calls is looked at."""
        self.events += 1
        self.bytes += len(event)
        if event.startswith(b'{"Event-Name":"CHANNEL_STATE"') and (found := _NEW.search(event, 0, 1200)):
            self.began[found[1]] = now
        elif event.startswith(b'{"Event-Name":"CHANNEL_CREATE"') and (uuid := _UUID.search(event, 0, 1500)):
            began = self.began.pop(uuid[1], None)
            if began is not None:
                self.calls += 1
                self.late.append((now - began) * 1000 - STEP_MS)


def _ask(connection: socket.socket, command: str, until: bytes) -> bytes:
    connection.sendall(f"{command}\n\n".encode())
    answer = b""
    while until not in answer:
        answer += connection.recv(65536)
    return answer


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    _ask(connection, "auth ClueCon", b"+OK accepted\n\n")
    return connection


def _read(connection: socket.socket, counter: Counter, unread: bytes, seconds: float) -> bytes:
    """Read for so long. Gives what is left of an unfinished event."""
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        data = unread + connection.recv(1 << 20)
        position = 0
        while (head := _FRAME.match(data, position)) and head.end() + int(head[1]) <= len(data):
            position = head.end() + int(head[1])
            counter.take(data[head.end() : position], now)
        unread = data[position:]
    return unread


def main(port: int, warm_up: float, seconds: float) -> None:
    """Warm up, then count."""
    commands, connection = _connect(port), _connect(port)
    answer = _ask(connection, f"event json {' '.join(EVENTS)}", b"listener enabled json\n\n")
    unread = answer.partition(b"listener enabled json\n\n")[2]
    began: dict[bytes, float] = {}
    unread = _read(connection, Counter(began), unread, warm_up)
    print("ready", flush=True)
    counter = Counter(began)
    _read(connection, counter, unread, seconds)
    found = re.search(rb"(\d+) total", _ask(commands, "api show calls count", b" total.\n"))
    live = int(found[1]) if found else 0
    late = sorted(counter.late) or [float("inf")]
    figures = (counter.events / seconds, counter.bytes / seconds / 1e6, counter.calls / seconds, live)
    print("done", *figures, late[int(len(late) * 0.99)], flush=True)
    sys.stdin.read()


main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
