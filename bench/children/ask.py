"""Asks a server over one connection, request after request. `python -m bench.children.ask PORT AUTHORIZATION`.

Each line that it is told is `SECONDS PATH [ETAG]`: so long it asks, three times at least. It says `done` and how many
milliseconds each answer took to be read, or what went wrong.
"""

import sys
import time
from typing import Final

from bench.processes import Client

AT_LEAST: Final = 3


def main(port: int, authorization: str) -> None:
    """Ask as told, until there is nobody who tells."""
    client = Client(port, {"Authorization": authorization})
    print("ready", flush=True)
    for line in sys.stdin:
        seconds, path, *etag = line.split()
        took: list[float] = []
        end = time.monotonic() + float(seconds)
        while time.monotonic() < end or len(took) < AT_LEAST:
            began = time.monotonic()
            status = client.get(path, *etag).status
            took.append((time.monotonic() - began) * 1000)
            if status != (304 if etag else 200):
                print("failed with", status, flush=True)
                return
        print("done", *(f"{milliseconds:.4f}" for milliseconds in took), flush=True)


main(int(sys.argv[1]), sys.argv[2])
