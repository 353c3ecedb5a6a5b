"""Where a call may be sent."""

from pathlib import Path

import pytest

from callbridge.commands.directory import Directory
from tests.commands.kit import NO_PHONE, TENANT, Bench, bench, refused


async def code_of(b: Bench, destination: str, tenant: str = TENANT, directory: Directory | None = None) -> str:
    refusal = await refused((directory or b.directory).demand_destination(b.console, destination, tenant))
    assert destination in f"{refusal}"
    return refusal.code


async def test_an_extension_with_a_phone_can_be_reached(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        assert await b.directory.demand_destination(b.console, "102", TENANT)
        await b.directory.demand_phone(b.console, "102", TENANT)
        assert b.switch.lines == [f"user_exists id 102 {TENANT}", f"sofia_contact */102@{TENANT}"] * 2


async def test_an_extension_without_a_phone_is_not_registered_whatever_patterns_allow(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        everything = Directory({TENANT: [".*"]})
        assert await code_of(b, NO_PHONE, directory=everything) == "USER_NOT_REGISTERED"
        assert (await refused(b.directory.demand_phone(b.console, NO_PHONE, TENANT))).code == "USER_NOT_REGISTERED"


@pytest.mark.parametrize("contact", ["", "error/user_not_registered", "error/facility_not_subscribed"])
async def test_what_is_no_contact_is_no_phone(tmp_path: Path, contact: str) -> None:
    async with bench(tmp_path) as b:
        b.switch.says("sofia_contact", contact)
        assert await code_of(b, "102") == "USER_NOT_REGISTERED"


@pytest.mark.parametrize("answer", ["false", "", "TRUE", "+OK true", "true\nfalse"])
async def test_only_true_is_a_user(tmp_path: Path, answer: str) -> None:
    async with bench(tmp_path) as b:
        b.switch.says("user_exists", answer)
        assert await code_of(b, "102") == "INVALID_DESTINATION"
        assert not b.switch.told("sofia_contact")


async def test_a_destination_that_is_no_user_must_match_a_pattern_of_its_tenant_as_a_whole(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        for allowed in ("0899123456", "2000"):
            assert not await b.directory.demand_destination(b.console, allowed, TENANT)
        for number in ("20001", "12000", "0899", "00899123456789", "999"):
            assert await code_of(b, number) == "INVALID_DESTINATION"
        assert await code_of(b, "2000", "b.example") == "INVALID_DESTINATION"


async def test_a_pattern_lets_nobody_ring_a_phone_that_is_no_users(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        assert (await refused(b.directory.demand_phone(b.console, "2000", TENANT))).code == "INVALID_DESTINATION"


async def test_while_the_switch_does_not_answer_nobody_is_said_to_be_missing(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.switch.says("sofia_contact", None)
        assert (await refused(b.directory.demand_phone(b.console, "102", TENANT))).code == "SWITCH_UNAVAILABLE"
        assert (await refused(b.directory.demand_phone(b.console, "102", TENANT))).code == "SWITCH_UNAVAILABLE"
