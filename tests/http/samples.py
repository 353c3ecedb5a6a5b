"""Calls as tests make them up, and a mirror that holds them."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from callbridge.mirror import Mirror
from callbridge.records import Ended, Record

SAMPLE_ID = "01b7d166-b564-42ec-80a1-4ad343225934"
BEGAN = datetime(2021, 6, 8, 17, 37, 37, tzinfo=UTC)
SAMPLE = Record(
    SAMPLE_ID,
    "test.tel4vn.com",
    "2021-06-08 17:37:37",
    "0899123456",
    "outbound",
    "1.2.3.4",
    "101",
    "CS_EXECUTE",
    tenant="test.tel4vn.com",
    switch="pbx",
    callstate="ACTIVE",
    source_name="Agent 101",
    answered_time=None,
    parked_until=None,
    recording=None,
    recorded_leg="",
    queue=None,
    legs=(),
    monitors=(),
    ids=(),
    created_us=int(BEGAN.timestamp()) * 1_000_000,
    answered_us=0,
    hold_us=0,
    hold_since_us=0,
)
"""The call that stands in the contract."""


def record(call_id: str, second: int = 0, **changes: Any) -> Record:
    """A call that began `second` seconds after the sample; what `changes` does not say is as there."""
    if "tenant" in changes:
        changes.setdefault("context", changes["tenant"] or "public")
    changes.setdefault("created_us", SAMPLE.created_us + second * 1_000_000)
    changes.setdefault("created_time", f"{BEGAN + timedelta(seconds=second):%Y-%m-%d %H:%M:%S}")
    return msgspec.structs.replace(SAMPLE, call_id=call_id, **changes)


def ended(call_id: str, tenant: str | None = "a.example", ids: tuple[str, ...] = ()) -> Ended:
    return Ended(call_id, tenant, ids, "2021-06-08 17:40:00", "NORMAL_CLEARING")


def change(
    mirror: Mirror,
    *updated: Record,
    gone: Iterable[str] = (),
    ended: Iterable[Ended] = (),
    switch: str = "pbx",
    now: float = 0.0,
) -> None:
    mirror.apply(switch, updated, gone, ended, now)


def filled(*records: Record) -> Mirror:
    mirror = Mirror(["pbx"])
    change(mirror, *records)
    return mirror
