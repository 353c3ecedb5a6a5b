"""What a `Type=notify` service tells systemd: sd_notify(3), a datagram on the socket in NOTIFY_SOCKET.

Done here because it is a dozen lines and the packages for it are not kept any more.
"""

import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Tells systemd; does nothing where there is none."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_seconds = _watchdog_seconds(environment)
        """Within how many seconds `alive` is wanted again and again; 0: not at all."""

    def ready(self) -> None:
        """The service has started."""
        self._send("READY=1")

    def reloading(self) -> None:
        """The configuration is being read again; `ready` says that it has been."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The service is going down."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={text}")

    def alive(self) -> None:
        """The service makes progress."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            # Where systemd has not read the last ones yet, this one is lost; waiting would hold up every call.
            sock.setblocking(False)
            try:
                sock.connect(self._address)
                sock.sendall(message.encode())
            except OSError:
                # A systemd that does not listen is no reason to stop serving.
                return


def _watchdog_seconds(environment: Mapping[str, str]) -> float:
    """See sd_watchdog_enabled(3): it may be meant for another process, from which the environment is inherited."""
    if environment.get("WATCHDOG_PID", f"{os.getpid()}") != f"{os.getpid()}":
        return 0.0
    microseconds = environment.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isascii() and microseconds.isdecimal() else 0.0
