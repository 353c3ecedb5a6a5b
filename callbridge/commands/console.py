"""The way of commands to one switch: orders in, the switch's words out, and the truth where there are none."""

from typing import Final

from callbridge.commands.orders import Order, Originate
from callbridge.commands.outcome import Refused, refused_by
from callbridge.errors import CommandRefused, LocalProtocolError, SwitchError
from callbridge.esl.connection import Connection

ANSWER_TIMEOUT: Final = 10.0
"""Seconds that the switch may take to answer an order; on loopback it takes 0.1 ms (measured)."""

_GONE: Final = ("No such channel", "Cannot locate session", "Invalid session")


class Console:
    """One switch, as commands see it. Whoever follows the switch lends it a connection while there is one.

    Nothing is ever sent twice. An order whose answer was lost has an unknown outcome, and says so.
    """

    def __init__(self, switch: str) -> None:
        self.switch = switch
        self.connection: Connection | None = None

    def __repr__(self) -> str:
        return f"<Console {self.switch} {'connected' if self.connection else 'not connected'}>"

    async def tell(self, order: Order) -> str:
        """Give an order and get the switch's answer.

        Raises Refused: SWITCH_UNAVAILABLE (nothing was done), CALL_ENDED (there is no such channel), SWITCH_REFUSED
        with its words, OUTCOME_UNKNOWN.
        """
        connection = self._connected()
        try:
            return (await connection.api(order.line(), timeout=ANSWER_TIMEOUT)).strip()
        except LocalProtocolError as error:
            raise _unsent(error) from None
        except CommandRefused as refusal:
            raise _refusal(order, refusal.reply) from None
        except SwitchError as error:
            raise _lost(order, error) from None

    async def originate(self, order: Originate) -> str:
        """Ring a phone. Comes back when it has answered, with its channel's uuid.

        Raises Refused as `tell` does, and with the reason why the phone has not answered.
        """
        connection = self._connected()
        try:
            answer = await connection.job(order.line(), timeout=order.ring_seconds + ANSWER_TIMEOUT)
        except LocalProtocolError as error:
            raise _unsent(error) from None
        except CommandRefused as refusal:
            cause = refusal.reply.removeprefix("-ERR").strip()
            raise refused_by(cause, order.extension) from None
        except SwitchError as error:
            raise _lost(order, error) from None
        return answer.removeprefix("+OK").strip()

    def _connected(self) -> Connection:
        if self.connection is None or self.connection.closed.done():
            raise Refused("SWITCH_UNAVAILABLE", f"{self.switch} is not connected; nothing was done, try again")
        return self.connection


def _unsent(error: LocalProtocolError) -> Refused:
    """A tenant or a number of the switch's own that no command can carry, or a line that no connection sends."""
    return Refused("SWITCH_REFUSED", f"{error}")


def _refusal(order: Order, reply: str) -> Refused:
    words = " ".join(reply.removeprefix("-ERR").split())
    if any(gone in reply for gone in _GONE):
        return Refused("CALL_ENDED", "the leg hung up before the switch could carry this out")
    return Refused("SWITCH_REFUSED", f"the switch refused {order.name}: {words[:200] or 'it gave no reason'}")


def _lost(order: Order, error: SwitchError) -> Refused:
    if order.acts:
        message = f"the switch's answer to {order.name} was lost ({error}); look at the call before you try again"
        return Refused("OUTCOME_UNKNOWN", message)
    return Refused("SWITCH_UNAVAILABLE", f"the switch does not answer ({error}); nothing was done, try again")
