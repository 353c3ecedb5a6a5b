"""What a switch answers: the list of its channels, and the dump of one."""

import re
from collections.abc import Callable
from typing import Final

from callbridge.calls import shared
from callbridge.errors import RemoteProtocolError
from callbridge.esl.events import Event, decode_json

_LIST_ROW: Final = re.compile(
    r"([A-Za-z0-9_.:@+-]{1,255})\|(in|out)bound\|(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\|", re.ASCII
)
_LIST_END: Final = re.compile(r"\d+ total\.")


def parse_list(text: str, known: Callable[[str], str]) -> dict[str, str]:
    """uuid -> created, from `show channels as delim |`. Nothing else of a row is used, so a delimiter in a caller's
    name does no harm, nor does a row that a line break in one makes up: what is listed is probed. Inbound legs come
    first: nearly every call has one that leads it, so when half of the probes are answered every call is there.

    `known` gives a uuid as the string that there is of it already; a second one of each would take room for good, in
    pages that hold other things by the time that it goes.

    Raises RemoteProtocolError for what is no whole list: an error, or rows without the line that counts them.
    """
    end = len(text.rstrip())
    if text.startswith("-") or not _LIST_END.fullmatch(text, text.rfind("\n", 0, end) + 1, end):
        raise RemoteProtocolError(f"`show channels` gave no list: {' '.join(text[-200:].split())!r}")
    inbound: dict[str, str] = {}
    others: dict[str, str] = {}
    start = 0
    while start < end:
        # Line by line, because a search would try every place of some eight megabytes.
        if row := _LIST_ROW.match(text, start):
            (inbound if row[2] == "in" else others)[known(row[1])] = shared(row[3])
        start = text.find("\n", start, end) + 1 or end
    return inbound | others


def dump_of(uuid: str, answer: str) -> Event | None:
    """The answer to `uuid_dump UUID json`, if it is one."""
    if not answer.startswith("{"):
        return None
    try:
        event = decode_json(answer.encode("utf-8", "replace"))
    except RemoteProtocolError:
        return None
    return event if event.uuid == uuid and event.name == "CHANNEL_DATA" and event.sequence else None
