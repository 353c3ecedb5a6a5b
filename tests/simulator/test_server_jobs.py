"""A command that takes its time: `bgapi` answers at once and tells of the end later, `api` has its connection wait."""

from tests.service import until
from tests.simulator.kit import World, logged_in

UUID = "5eed0000-0000-4000-8000-000000000001"
JOB = "5eed0000-0000-4000-8000-0000000000aa"
ORIGINATE = f"originate {{origination_uuid={UUID}}}user/101@test.tel4vn.com 0899123456 XML test.tel4vn.com"


async def test_a_job_ends_when_the_phone_has_answered(world: World, port: int) -> None:
    async with logged_in(port, "event json BACKGROUND_JOB") as client:
        assert await client.command(f"bgapi {ORIGINATE}\nJob-UUID: {JOB}") == f"+OK Job-UUID: {JOB}"
        world.wait(0.25)
        assert await client.heard() == []
        assert await client.command(f"api uuid_exists {UUID}") == "true"
        world.wait(5)
        (event,) = await client.heard()
        assert (event.job_uuid, event.body) == (JOB, f"+OK {UUID}\n")


async def test_the_result_of_a_job_reaches_others_when_the_asker_has_gone(world: World, port: int) -> None:
    async with logged_in(port, "event plain BACKGROUND_JOB") as other:
        async with logged_in(port) as asker:
            await asker.command(f"bgapi {ORIGINATE}\nJob-UUID: {JOB}")
        world.wait(5)
        (event,) = await other.heard()
        assert (event.job_uuid, event.body) == (JOB, f"+OK {UUID}\n")


async def test_a_connection_waits_for_a_command_and_only_that_connection(world: World, port: int) -> None:
    async with logged_in(port) as client, logged_in(port) as other:
        client.send(f"api {ORIGINATE}\n\napi uuid_exists {UUID}\n\n")
        await until(lambda: len(world.traffic.timeline) > 0)
        assert await other.command(f"api uuid_exists {UUID}") == "false"
        world.wait(0.25)
        assert await other.command(f"api uuid_exists {UUID}") == "true"
        world.wait(5)
        assert await client.answer() == f"+OK {UUID}\n"
        assert await client.answer() == "true"


async def test_who_has_gone_is_not_answered(world: World, port: int) -> None:
    async with logged_in(port) as client:
        client.send(f"api {ORIGINATE}\n\n")
        await until(lambda: len(world.traffic.timeline) > 0)
    async with logged_in(port) as other:
        world.wait(5)
        assert await other.command(f"api uuid_exists {UUID}") == "true"
