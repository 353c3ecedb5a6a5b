"""Whatever calls do, and however often it is cut off: what a client has been told is the list."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.http.kit import EVERYTHING, OF_A, OF_B, Api, live, serving
from tests.http.samples import change, ended, filled
from tests.http.streaming import Reader
from tests.test_mirror_model import Model, a_step

VIEWS = (
    (EVERYTHING, ""),
    (EVERYTHING, "?state=CS_PARK&fields=source_name,tenant"),
    (OF_A, ""),
    (OF_A, "?source_name=Anna"),
    (OF_B, "?q=anna&fields=call_id,state,tenant"),
)

a_batch = st.tuples(st.just("batch"), st.lists(a_step, min_size=1, max_size=4), st.booleans())
a_replacement = st.tuples(st.just("replace"), st.lists(a_step, max_size=3))
a_state = st.tuples(st.just("state"), st.sampled_from(["live", "stale"]))
a_cut = st.tuples(st.just("cut"), st.integers(0, len(VIEWS) - 1))
a_look = st.tuples(st.just("look"))


class Followed:
    """A mirror, what should be in it, and a client for each view."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.model = Model()
        self.readers = [api.stream(query, token) for token, query in VIEWS]
        self.cut: set[int] = set()
        self.markers = 0
        self.runs = 0

    async def do(self, step: tuple[Any, ...]) -> None:
        mirror = self.api.mirror
        if step[0] == "batch":
            tenants = {call_id: known.tenant for call_id, known in self.model.records.items()}
            updated, gone = self.model.take(step[1], step[2])
            over = [ended(call_id, tenants[call_id]) for call_id in gone if step[2]]
            change(mirror, *updated, gone=gone, ended=over)
        elif step[0] == "replace":
            self.model.take(step[1], False)
            self.runs += 1
            mirror.replace("pbx", list(self.model.records.values()), f"run{self.runs}", 5 * self.runs, 0.0)
        elif step[0] == "state":
            mirror.switches["pbx"].state = step[1]
        elif step[0] == "cut":
            self.readers[step[1]].cut()
            self.cut.add(step[1])
        else:
            await self.look()

    async def look(self) -> None:
        """Everyone is connected, and has been told everything up to here."""
        for number in sorted(self.cut):
            await self.readers[number].connect()
        self.cut.clear()
        self.markers += 1
        marker = f"marker-{self.markers}"
        step = {"second": self.markers, "state": "CS_PARK", "source_name": "Anna"}
        steps = [(f"{marker}-{tenant}", {"tenant": f"{tenant}.example", **step}) for tenant in "ab"]
        change(self.api.mirror, *self.model.take(steps, False)[0])
        for reader, (token, query) in zip(self.readers, VIEWS, strict=True):
            await self.is_right(reader, token, query, marker)

    async def is_right(self, reader: Reader, token: str, query: str, marker: str) -> None:
        await reader.until(lambda: any(call_id.startswith(marker) for call_id in reader.rows))
        if "fields=s" in query:
            query = query.replace("fields=", "fields=call_id,")
        listed = (await self.api.get(f"/v1/call{query}", token)).json
        complete = listed["complete"]
        # Both markers are of one batch, and so may come in two pieces; so may what a switch has become.
        await reader.until(lambda: len(reader.rows) >= listed["total"] and reader.complete == complete)
        assert reader.rows == {row["call_id"]: row for row in listed["data"]}


@settings(deadline=None, max_examples=60)
@given(st.lists(a_batch | a_replacement | a_state | a_cut | a_look, max_size=25), st.sampled_from([4, 1000]))
async def test_what_a_client_has_been_told_is_the_list(steps: list[tuple[Any, ...]], kept: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("callbridge.feed.MAX_CHANGES", kept)
        async with serving(live(filled())) as api:
            followed = Followed(api)
            for reader in followed.readers:
                await reader.connect()
            for step in [*steps, ("look",)]:
                await followed.do(step)
            for reader in followed.readers:
                reader.cut()
