"""Ringing a user's phones for something: until one rings, until one answers, until what they ring for is no more."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Literal

from callbridge.commands.orders import Originate, StopPhones
from callbridge.commands.outcome import Refused
from callbridge.commands.work import EFFECT_TIMEOUT, Work

RINGS_WITHIN: Final = 20.0
"""Seconds within which one must ring. One on a slow mobile network takes some ten."""

STOP_AGAIN: Final = 0.1
"""Seconds after which phones that are to stop ringing, and have not, are hung up again."""

State = Literal["rings", "up"]


async def ring(work: Work, order: Originate, needed: str, state: Callable[[], State | None], wait: bool) -> None:
    """Ring the phones of an order. Comes back when one rings or, with `wait`, has answered.

    `state` says how far they are, as readers see it. When the leg `needed` ends first ("" for none), they stop ringing.
    Raises Refused with the reason why none rings or has answered.
    """
    watched = needed or order.id
    job = asyncio.ensure_future(work.originate(order))
    job.add_done_callback(_read)

    def far_enough() -> State | None:
        seen = state()
        return seen if seen == "up" or not wait else None

    seen = asyncio.ensure_future(work.until(watched, far_enough, order.ring_seconds if wait else RINGS_WITHIN))
    gone = asyncio.ensure_future(_gone(work, needed))
    waited: list[asyncio.Future[Any]] = [job, seen, gone]
    try:
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if job.done():
            await _finished(work, order, job, needed)
            if await work.until(watched, state, EFFECT_TIMEOUT) is None:
                raise Refused("CALL_ENDED", "the phone answered, and the call ended at once")
        elif seen.done() and seen.result() is not None:
            work.later.run(_attend(work, order, job, needed))
        else:
            await _stop(work, order.id, job)
            if gone.done():
                raise Refused("CALL_ENDED", "the call ended before the phone answered")
            raise Refused("NO_ANSWER", f"the phone of {order.extension} has not {'answered' if wait else 'rung'}")
    finally:
        seen.cancel()
        gone.cancel()


async def _attend(work: Work, order: Originate, job: "asyncio.Future[str]", needed: str) -> None:
    """See phones that ring through to the answer: nothing is left ringing for a call that is no more."""
    gone = asyncio.ensure_future(_gone(work, needed))
    waited: list[asyncio.Future[Any]] = [job, gone]
    try:
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not job.done():
            await _stop(work, order.id, job)
        await _finished(work, order, job, needed)
    except Refused as refused:
        work.later.failed(order.id, "CALL_ENDED" if gone.done() else refused.code)
    finally:
        gone.cancel()


async def _finished(work: Work, order: Originate, job: "asyncio.Future[str]", needed: str) -> None:
    try:
        await job
    except Refused as refused:
        if refused.code == "OUTCOME_UNKNOWN" and needed:
            # Only the connection is lost: the switch goes on ringing.
            work.later.run(_guard(work, order, needed))
        raise


async def _guard(work: Work, order: Originate, needed: str) -> None:
    """For as long as phones may ring of which nothing is heard: when the leg they ring for ends, hang them up."""
    gone = asyncio.ensure_future(_gone(work, needed))
    await asyncio.wait([gone], timeout=order.ring_seconds)
    if gone.done():
        await work.end(StopPhones(order.id))
    gone.cancel()


async def _stop(work: Work, rung_id: str, job: "asyncio.Future[str]") -> None:
    """Have phones ring no longer. Their channels may not be there yet, because the switch makes them in a thread of its
    own, and then there are none to hang up. So once is not enough."""
    while not job.done():
        await work.end(StopPhones(rung_id))
        await asyncio.wait([job], timeout=STOP_AGAIN)
    if job.exception() is None:
        await work.end(StopPhones(rung_id))


async def _gone(work: Work, leg_uuid: str) -> None:
    if not leg_uuid:
        await asyncio.Event().wait()
    while await work.until(leg_uuid, lambda: work.leg(leg_uuid) is None or None, 3600.0) is None:
        continue


def _read(job: "asyncio.Future[str]") -> None:
    """Whoever waited for it may have had the truth another way."""
    if not job.cancelled():
        job.exception()
