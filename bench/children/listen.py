"""Clients of the stream in one process: the first one notes how long after its event a call was told, the others read
and throw away.

The first line is the authorization and how many clients; when all have their snapshot it says `ready` with the bytes
that each was sent so far. Then comes `UUID WRITTEN` for each call that began (nanoseconds of the clock that all
processes of a machine share), then `end`; answered with all the delays in milliseconds.
"""

import json
import re
import selectors
import socket
import sys
import time
from typing import Final

_CREATED: Final = re.compile(rb'event: call\.created\n[^\n]*\ndata: \{"call_id":"([^"]+)"')
_REQUEST: Final = "GET /v1/call/stream HTTP/1.1\r\nHost: bench\r\nAuthorization: {}\r\n\r\n"


def _connect(port: int, authorization: str) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(_REQUEST.format(authorization).encode())
    unread = b""
    while b"event: switch" not in unread:
        unread = unread[-20:] + client.recv(1 << 20)
    client.setblocking(False)
    return client


def main(port: int) -> None:
    """Follow what the standard input tells."""
    authorization, _, many = sys.stdin.readline().strip().rpartition(" ")
    clients = [_connect(port, authorization) for _ in range(int(many))]
    selector = selectors.DefaultSelector()
    for client in clients:
        selector.register(client, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    print("ready", flush=True)
    seen: dict[str, int] = {}
    unread, first, told = b"", clients[0], b""
    while b"end\n" not in told:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                told += sys.stdin.buffer.raw.read(1 << 16)  # type: ignore[attr-defined]
                continue
            assert isinstance(key.fileobj, socket.socket)
            data = key.fileobj.recv(1 << 18)
            if key.fileobj is first:
                now, unread = time.monotonic_ns(), unread + data
                for found in _CREATED.finditer(unread):
                    seen.setdefault(found[1].decode(), now)
                unread = unread[unread.rfind(b"event: ") :]
    written = dict(line.split() for line in told.decode().split("\n") if " " in line)
    delays = [(seen[uuid] - int(at)) / 1e6 for uuid, at in written.items() if uuid in seen]
    print("done", json.dumps(delays), flush=True)
    sys.stdin.read()


main(int(sys.argv[1]))
