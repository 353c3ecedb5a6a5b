"""greenswitch reads events and counts them. Runs where greenswitch is installed (bench/peers.py)."""

import sys
from typing import Any

import gevent.event
from greenswitch import InboundESL


def main(port: int, wanted: int) -> None:
    """Count `wanted` events."""
    left = wanted
    ended = gevent.event.Event()

    def count(_: Any) -> None:
        nonlocal left
        left -= 1
        if not left:
            ended.set()

    client = InboundESL(host="127.0.0.1", port=port, password="ClueCon")
    client.connect()
    client.register_handle("*", count)
    client.send("event plain ALL")
    print("ready", flush=True)
    ended.wait()
    print("done", flush=True)
    gevent.sleep(3600)


main(int(sys.argv[1]), int(sys.argv[2]))
