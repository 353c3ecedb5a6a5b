"""What a right list says at a checkpoint of a recording: what the switch's own `show channels` said then."""

from typing import Any

from tests.recorded import Recording

SHARED_CONTEXTS = ("public", "default")
TENANTS = ("test.tel4vn.com", "acme.example.com")
ROW = ("call_id", "context", "created_time", "destination", "direction", "ip", "source", "state")


def check(rows: list[dict[str, Any]], checkpoint: dict[str, Any], recording: Recording) -> None:
    """Hold rows of the contract against a checkpoint."""
    expect = checkpoint["expect"]
    channels = {row["uuid"]: row for row in checkpoint.get("show_channels", {}).get("rows", [])}
    supervisors = expect.get("supervisors", [])
    assert len(rows) == expect["calls"], f"{checkpoint['note']}: {rows}"
    assert [row["created_time"] for row in rows] == sorted(row["created_time"] for row in rows)
    first = recording.about.get("first_channels", [None])[0]
    began = first in channels or (first is not None and expect.get("aleg") == first)
    for row in rows:
        assert tuple(row) == ROW
        own = channels.get(row["call_id"])
        if own is None:
            # The leg that began the call is gone: the oldest of those that are left leads it.
            assert row["call_id"] == expect["aleg"]
            own = next(channel for channel in channels.values() if channel["cid_num"] not in supervisors)
        check_row(row, own)
    if expect["calls"] and began:
        assert rows[0]["call_id"] == first
    if expect["calls"] == 1:
        for field in ("source", "destination", "direction", "context", "state"):
            assert rows[0][field] == expect.get(field, rows[0][field])
    if "contexts" in expect:
        assert [row["context"] for row in rows] == expect["contexts"]


def check_row(row: dict[str, Any], channel: dict[str, Any]) -> None:
    """A row against the `show channels` row of the leg that leads its call."""
    assert row["created_time"] == channel["created"] or row["call_id"] != channel["uuid"]
    assert row["destination"] == channel["dest"]
    assert row["source"] == channel["cid_num"]
    assert row["ip"] == channel["ip_addr"]
    assert row["state"] == channel["state"]
    assert row["direction"] in ("inbound", "outbound", "local")
    if channel["context"] in SHARED_CONTEXTS:
        assert row["context"] in TENANTS
    else:
        assert row["context"] == channel["context"]
