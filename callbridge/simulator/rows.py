"""The switch's own `channels` table, as `show channels` reads it: right in its values, late in its rows.

The values follow switch_core_sqldb.c (`core_event_handler`). A row appears some time after its channel and goes some
time after it, because the table is fed through a second queue (measured: 150 to 360 ms and 65 to 270 ms).
"""

import json
import random
from collections.abc import Callable, Mapping
from typing import Final

from callbridge.simulator.channel import STATES, Channel, stamp
from callbridge.simulator.faults import Faults
from callbridge.simulator.forms import Pairs

COLUMNS: Final = (
    "uuid direction created created_epoch name state cid_name cid_num ip_addr dest application application_data"
    " dialplan context read_codec read_rate read_bit_rate write_codec write_rate write_bit_rate secure hostname"
    " presence_id presence_data accountcode callstate callee_name callee_num callee_direction call_uuid"
    " sent_callee_name sent_callee_num initial_cid_name initial_cid_num initial_ip_addr initial_dest"
    " initial_dialplan initial_context"
).split()

APPEARS_AFTER: Final = (0.15, 0.36)
GOES_AFTER: Final = (0.065, 0.27)
"""Seconds, from the least to the most measured."""

MAX_GONE: Final = 10_000
"""Rows of gone channels that are kept until somebody looks; past them they are cleared away unseen."""

_UNSEEN_STATES: Final = frozenset(STATES[name] for name in ("NEW", "INIT", "HANGUP", "REPORTING", "DESTROY"))
_CALLER: Final = {"cid_name": "Caller-ID-Name", "cid_num": "Caller-ID-Number"}
_CALLEE: Final = {"callee_name": "Callee-ID-Name", "callee_num": "Callee-ID-Number"}
_PROFILE: Final = _CALLER | {
    "ip_addr": "Network-Addr",
    "dest": "Destination-Number",
    "dialplan": "Dialplan",
    "context": "Context",
}
_SENT: Final = {
    "sent_callee_name": "Sent-Callee-ID-Name",
    "sent_callee_num": "Sent-Callee-ID-Number",
    "callee_direction": "Direction",
}
_CODEC: Final = {
    f"{way}_{column}": value
    for way in ("read", "write")
    for column, value in (("codec", "PCMU"), ("rate", "8000"), ("bit_rate", "64000"))
}


def _from_profile(channel: Channel, columns: Mapping[str, str]) -> dict[str, str]:
    return {column: channel.profile.values.get(name, "") for column, name in columns.items()}


def _note_state(row: dict[str, str], channel: Channel) -> None:
    if channel.number == STATES["ROUTING"]:
        row |= _from_profile(channel, _PROFILE | _CALLEE)
        # This event has no variables to take it from.
        row |= {"presence_id": channel.presence_id, "accountcode": ""}
    if channel.number not in _UNSEEN_STATES:
        row["state"] = f"CS_{channel.state}"


def _note_details(row: dict[str, str], channel: Channel, event: str, headers: Mapping[str, str]) -> None:
    match event:
        case "CHANNEL_ANSWER" | "CODEC":
            row |= _CODEC
        case "CALL_UPDATE":
            row |= _from_profile(channel, _CALLER | _CALLEE)
            row |= {column: headers.get(name, "") for column, name in _SENT.items()}
        case "CHANNEL_EXECUTE" | "CHANNEL_HOLD" | "CHANNEL_UNHOLD":
            # A hold has no application, so it takes that of the row away.
            row["application"] = headers.get("Application", "")
            row["application_data"] = headers.get("Application-Data", "")
            row |= {"presence_id": channel.presence_id, "accountcode": channel.variable("accountcode")}
        case "CHANNEL_ORIGINATE":
            row |= {"presence_id": channel.presence_id, "accountcode": channel.variable("accountcode")}
            row["call_uuid"] = channel.call_uuid


_WITHOUT_EFFECT: Final = frozenset(
    "CHANNEL_EXECUTE_COMPLETE CHANNEL_OUTGOING CHANNEL_PROGRESS CHANNEL_PROGRESS_MEDIA CHANNEL_HANGUP"
    " CHANNEL_HANGUP_COMPLETE CHANNEL_PARK CHANNEL_UNPARK".split()
)
"""Events from which the switch takes nothing into its table (switch_core_sqldb.c, `core_event_handler`)."""


class Rows:
    """The table. `clock` gives seconds."""

    def __init__(self, hostname: str, clock: Callable[[], float], faults: Faults, chance: random.Random) -> None:
        self._hostname = hostname
        self._clock = clock
        self._faults = faults
        self._chance = chance
        self._rows: dict[str, dict[str, str]] = {}
        self._appears: dict[str, float] = {}
        self._goes: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<Rows {len(self._rows)} held>"

    def note(self, channel: Channel, event: str, us: int, own: Pairs) -> None:
        """Take over what the switch takes from one of its events; `own` are the headers of this event alone."""
        if event == "CHANNEL_CREATE":
            self._insert(channel, us)
            return
        row = self._rows.get(channel.uuid)
        if row is None or event in _WITHOUT_EFFECT or channel.uuid in self._goes:
            return
        match event:
            case "CHANNEL_DESTROY":
                if self._chance.random() >= self._faults.stale_rows:
                    self._goes[channel.uuid] = self._clock() + self._chance.uniform(*GOES_AFTER)
                    if len(self._goes) > MAX_GONE:
                        self._forget()
            case "CHANNEL_STATE":
                _note_state(row, channel)
            case "CHANNEL_CALLSTATE" if channel.callstate not in ("DOWN", "HANGUP"):
                row["callstate"] = channel.callstate
            case "CHANNEL_BRIDGE" | "CHANNEL_UNBRIDGE":
                ends = [uuid for name, uuid in own if name in ("Bridge-A-Unique-ID", "Bridge-B-Unique-ID")]
                for uuid in [uuid for uuid in ends if uuid in self._rows]:
                    self._rows[uuid]["call_uuid"] = channel.call_uuid if event == "CHANNEL_BRIDGE" else uuid
            case _:
                _note_details(row, channel, event, dict(own))

    def _insert(self, channel: Channel, us: int) -> None:
        row = self._rows[channel.uuid] = dict.fromkeys(COLUMNS, "")
        row |= {"uuid": channel.uuid, "direction": "inbound" if channel.inbound else "outbound", "name": channel.name}
        row |= {"created": stamp(us), "created_epoch": str(us // 1_000_000), "hostname": self._hostname}
        row |= {"state": f"CS_{channel.state}", "callstate": channel.callstate}
        profile = _from_profile(channel, _PROFILE)
        row |= {f"initial_{column}": value for column, value in profile.items()}
        row |= {"context": profile["context"], "dialplan": profile["dialplan"]}
        if channel.codec:
            row |= _CODEC
        channel.created_stamp = row["created"]
        late = self._chance.uniform(*APPEARS_AFTER) + self._faults.late_rows
        self._appears[channel.uuid] = self._clock() + late

    def visible(self) -> list[dict[str, str]]:
        """The rows that can be seen now, oldest first."""
        self._forget()
        now = self._clock()
        for uuid in [uuid for uuid, at in self._appears.items() if at <= now]:
            del self._appears[uuid]
        rows = [row for uuid, row in self._rows.items() if uuid not in self._appears]
        return sorted(rows, key=lambda row: int(row["created_epoch"]))

    def _forget(self) -> None:
        now = self._clock()
        for uuid in [uuid for uuid, at in self._goes.items() if at <= now]:
            del self._goes[uuid], self._rows[uuid]
            self._appears.pop(uuid, None)

    def show(self, words: list[str]) -> str:
        """What `show channels …` prints: `count`, `as json`, `as delim X`, or rows with commas."""
        rows = self.visible()
        if "count" in words:
            return f"\n{len(rows)} total.\n"
        form = words[words.index("as") + 1] if "as" in words[:-1] else "delim"
        if form == "json":
            error = "-ERR SQL Error [database is locked]\n" if self._faults.sql_error else ""
            if error or not rows:
                return f'{error}{{"row_count": 0}}\n'
            return json.dumps({"row_count": len(rows), "rows": rows}, ensure_ascii=False, separators=(",", ":"))
        if form not in ("delim", "csv"):
            return f"-ERR Cannot find format {form}\n"
        if self._faults.sql_error:
            return "-ERR SQL error [database is locked]\n"
        delimiter = words[words.index("as") + 2] if "as" in words[:-2] else ","
        lines = [delimiter.join(COLUMNS)] if rows else []
        lines += [delimiter.join(row.values()) for row in rows]
        return "".join(f"{line}\n" for line in lines) + f"\n{len(rows)} total.\n"
