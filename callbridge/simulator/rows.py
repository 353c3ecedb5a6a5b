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

_UNSEEN_STATES: Final = frozenset(STATES[name] for name in ("NEW", "INIT", "HANGUP", "REPORTING", "DESTROY"))
_PROFILE: Final = {
    "cid_name": "Caller-ID-Name",
    "cid_num": "Caller-ID-Number",
    "ip_addr": "Network-Addr",
    "dest": "Destination-Number",
    "dialplan": "Dialplan",
    "context": "Context",
}


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

    def note(self, channel: Channel, event: str, us: int, headers: Mapping[str, str]) -> None:
        """Take over what the switch takes from one of its events."""
        if event == "CHANNEL_CREATE":
            self._insert(channel, us)
            return
        row = self._rows.get(channel.uuid)
        if row is None or channel.uuid in self._goes:
            return
        values = channel.profile.values
        match event:
            case "CHANNEL_DESTROY":
                if self._chance.random() >= self._faults.stale_rows:
                    self._goes[channel.uuid] = self._clock() + self._chance.uniform(*GOES_AFTER)
            case "CHANNEL_STATE":
                self._note_state(row, channel)
            case "CHANNEL_CALLSTATE" if channel.callstate not in ("DOWN", "HANGUP"):
                row["callstate"] = channel.callstate
            case "CALL_UPDATE":
                row |= {column: values.get(_PROFILE[column], "") for column in ("cid_name", "cid_num")}
            case "CHANNEL_EXECUTE":
                row["application"] = headers.get("Application", "")
                row["application_data"] = headers.get("Application-Data", "")
            case "CHANNEL_BRIDGE" | "CHANNEL_UNBRIDGE" | "CHANNEL_ORIGINATE":
                row["call_uuid"] = channel.call_uuid

    def _note_state(self, row: dict[str, str], channel: Channel) -> None:
        if channel.number == STATES["ROUTING"]:
            row |= {column: channel.profile.values.get(name, "") for column, name in _PROFILE.items()}
            row["presence_id"] = channel.presence_id
        if channel.number not in _UNSEEN_STATES:
            row["state"] = f"CS_{channel.state}"

    def _insert(self, channel: Channel, us: int) -> None:
        values = channel.profile.values
        row = self._rows[channel.uuid] = dict.fromkeys(COLUMNS, "")
        row |= {"uuid": channel.uuid, "direction": "inbound" if channel.inbound else "outbound", "name": channel.name}
        row |= {"created": stamp(us), "created_epoch": str(us // 1_000_000), "hostname": self._hostname}
        row |= {"state": f"CS_{channel.state}", "callstate": channel.callstate, "call_uuid": channel.call_uuid}
        row |= {f"initial_{column}": values.get(name, "") for column, name in _PROFILE.items()}
        row |= {"context": values.get("Context", ""), "dialplan": values.get("Dialplan", "")}
        channel.created_stamp = row["created"]
        late = self._chance.uniform(*APPEARS_AFTER) + self._faults.late_rows
        self._appears[channel.uuid] = self._clock() + late

    def visible(self) -> list[dict[str, str]]:
        """The rows that can be seen now, oldest first."""
        now = self._clock()
        for uuid in [uuid for uuid, at in self._goes.items() if at <= now]:
            del self._goes[uuid], self._rows[uuid]
            self._appears.pop(uuid, None)
        for uuid in [uuid for uuid, at in self._appears.items() if at <= now]:
            del self._appears[uuid]
        rows = [row for uuid, row in self._rows.items() if uuid not in self._appears]
        return sorted(rows, key=lambda row: int(row["created_epoch"]))

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
