"""`python -m chaos.watched run --config FILE`: callbridge, which tells at SIGUSR1 how many tasks it has."""

import asyncio
import signal
import sys

from callbridge.cli import main


def _tell(*_: object) -> None:
    print(f"tasks {len(asyncio.all_tasks())}", flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _tell)
    sys.exit(main())
