"""Asks for a call until it is there, and notes how long after its event that was.

The first line is the authorization and what to ask for (`list` or `one`), then comes `UUID WRITTEN` for each call
(nanoseconds of the clock that all processes of a machine share), then `end`; answered with all the delays in
milliseconds.
"""

import sys
import time

from bench.processes import Client

GIVE_UP: float = 5.0
"""Seconds after which a call is taken for lost."""


def main(port: int) -> None:
    """Follow what the standard input tells."""
    authorization, _, kind = sys.stdin.readline().strip().rpartition(" ")
    client = Client(port, {"Authorization": authorization})
    client.get("/v1/call")
    print("ready", flush=True)
    delays = []
    for line in sys.stdin:
        if line.strip() == "end":
            break
        uuid, written = line.split()
        began = time.monotonic_ns()
        while time.monotonic_ns() - began < GIVE_UP * 1e9:
            if _is_there(client, uuid, kind):
                delays.append((time.monotonic_ns() - int(written)) / 1e6)
                break
    print("done", *(f"{delay:.3f}" for delay in delays), flush=True)
    sys.stdin.read()


def _is_there(client: Client, uuid: str, kind: str) -> bool:
    if kind == "list":
        return f'"{uuid}"'.encode() in client.get("/v1/call").body
    return client.get(f"/v1/call/{uuid}").status == 200


main(int(sys.argv[1]))
