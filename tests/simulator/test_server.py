"""The event socket over TCP, spoken to by a client that knows frames and nothing else: getting in and out, commands."""

import asyncio
import json

import pytest

from callbridge.esl.events import decode_json, decode_plain
from callbridge.simulator.server import EventSocket
from tests.eventkit import read
from tests.simulator.kit import World, connected, logged_in

GOODBYE = b"Content-Type: text/disconnect-notice\nContent-Length: 67\n\nDisconnected, goodbye.\nSee you at ClueCon! "
GOODBYE += b"http://www.cluecon.com/\n"
JOB = "7f0e6f5c-5a1b-4c27-9f0e-0f3a9a0c1d2e"


# Getting in.


async def test_it_greets_and_takes_the_right_password(port: int) -> None:
    async with connected(port) as client:
        assert (await client.frame()).wire == b"Content-Type: auth/request\n\n"
        client.send("auth ClueCon\n\n")
        assert (await client.frame()).wire == b"Content-Type: command/reply\nReply-Text: +OK accepted\n\n"
        assert await client.command("api echo in") == "in"


@pytest.mark.parametrize("password", ["wrong", "", "ClueCon2", "cluecon"])
async def test_a_wrong_password_is_told_so_and_shown_out(port: int, password: str) -> None:
    async with connected(port) as client:
        await client.frame()
        client.send(f"auth {password}\n\n")
        assert await client.rest() == b"Content-Type: command/reply\nReply-Text: -ERR invalid\n\n" + GOODBYE


@pytest.mark.parametrize("command", ["api status", "event json ALL", "bgapi status", "filter a b", "nonsense"])
async def test_before_the_password_no_command_is_known(world: World, port: int, command: str) -> None:
    async with connected(port) as client:
        await client.frame()
        assert await client.command(command) == "-ERR command not found"
        world.switch.heartbeat()
        assert await client.command("auth ClueCon") == "+OK accepted"
        assert await client.heard() == []


async def test_whom_the_access_list_refuses_is_told_so_and_shown_out(world: World) -> None:
    async with EventSocket(world.switch, refuse=True) as port, connected(port) as client:
        refusal = b"Content-Type: text/rude-rejection\nContent-Length: 24\n\nAccess Denied, go away.\n"
        assert await client.rest() == refusal + GOODBYE


async def test_another_password_can_be_set(world: World) -> None:
    async with EventSocket(world.switch, "a secret") as port, connected(port) as client:
        await client.frame()
        assert await client.command("auth a secret") == "+OK accepted"


@pytest.mark.parametrize("word", ["exit", "...", "EXIT"])
async def test_exit_is_answered_before_the_end(port: int, word: str) -> None:
    async with logged_in(port) as client:
        client.send(f"{word}\n\n")
        assert await client.rest() == b"Content-Type: command/reply\nReply-Text: +OK bye\n\n" + GOODBYE


async def test_a_client_that_has_gone_is_a_listener_no_more(world: World, port: int) -> None:
    async with logged_in(port, "event json HEARTBEAT") as client:
        assert len(world.switch.listeners) == 3
        client.send("exit\n\n")
        await client.rest()
        assert len(world.switch.listeners) == 2
        world.switch.heartbeat()


async def test_the_end_of_the_server_is_the_end_of_its_connections(world: World) -> None:
    socket = EventSocket(world.switch)
    async with socket as port:
        async with logged_in(port) as client, logged_in(port) as other:
            socket.disconnect("The system is being shut down.\n")
            notice = b"Content-Type: text/disconnect-notice\nContent-Length: 31\n\nThe system is being shut down.\n"
            assert [await client.rest(), await other.rest()] == [notice, notice]
        async with logged_in(port) as late:
            await socket.__aexit__()
            assert await late.rest() == b""


# Commands, however they arrive.


async def test_a_command_may_come_byte_by_byte(port: int) -> None:
    async with logged_in(port) as client:
        for letter in "\n\napi echo in pieces\r\n\r\n":
            client.send(letter)
            await asyncio.sleep(0)
        assert await client.answer() == "in pieces"


async def test_many_commands_may_come_at_once(port: int) -> None:
    async with logged_in(port) as client:
        client.send("".join(f"api echo {number}\n\n" for number in range(500)) + "nonsense\n\napi echo last\n\n")
        assert [await client.answer() for _ in range(500)] == [str(number) for number in range(500)]
        assert await client.answer() == "-ERR command not found"
        assert await client.answer() == "last"


async def test_an_unknown_command_is_answered_and_forgotten(port: int) -> None:
    async with logged_in(port) as client:
        assert await client.command("sing a song") == "-ERR command not found"
        assert await client.command("auth ClueCon") == "-ERR command not found"
        assert await client.command("api echo still here") == "still here"


async def test_logging_is_accepted(port: int) -> None:
    async with logged_in(port, "log debug", "nolog") as client:
        assert await client.command("api echo still here") == "still here"


# What is asked.


async def test_show_channels_lists_what_the_switch_holds(world: World, port: int) -> None:
    async with logged_in(port) as client:
        assert await client.command("api show channels as delim |") == "\n0 total.\n"
        assert await client.command("api show channels as json") == '{"row_count": 0}\n'
        assert await client.command("api show channels count") == "\n0 total.\n"
        call = world.traffic.place("local", talk=60)
        world.wait(10)
        header, *lines, empty, total = (await client.command("api show channels as delim |")).strip("\n").split("\n")
        rows = [dict(zip(header.split("|"), line.split("|"), strict=True)) for line in lines]
        assert (empty, total) == ("", "2 total.")
        assert call.b is not None
        assert [row["uuid"] for row in rows] == [call.a.uuid, call.b.uuid]
        assert json.loads(await client.command("api show channels as json")) == {"row_count": 2, "rows": rows}
        assert (await client.command("api show channels")).startswith("uuid,direction,created,")
        assert await client.command("api show channels count") == "\n2 total.\n"
        assert await client.command("api show calls count") == "\n1 total.\n"
        assert await client.command("api show channels as soup") == "-ERR Cannot find format soup\n"
        assert (await client.command("api show registrations")).startswith("-USAGE: ")


async def test_a_channel_can_be_asked_for(world: World, port: int) -> None:
    async with logged_in(port) as client:
        call = world.traffic.place("local", talk=60)
        world.wait(10)
        uuid = call.a.uuid
        assert await client.command(f"api uuid_exists {uuid}") == "true"
        event = decode_json((await client.command(f"api uuid_dump {uuid} json")).encode())
        assert (event.name, event.uuid, event.state) == ("CHANNEL_DATA", uuid, "CS_EXECUTE")
        assert event.variables.uuid == uuid
        assert event.sequence > max(heard.sequence for heard in world.json.events)
        plain = decode_plain((await client.command(f"api uuid_dump {uuid} plain")).encode())
        assert plain.sequence == event.sequence + 1
        plain.sequence = event.sequence
        assert read(plain) == read(event)
        unknown = "00000000-0000-4000-8000-000000000000"
        assert await client.command(f"api uuid_exists {unknown}") == "false"
        assert await client.command(f"api uuid_dump {unknown} json") == "-ERR No such channel!\n"
        assert (await client.command("api uuid_dump")).startswith("-USAGE: ")


async def test_the_switch_says_who_it_is(world: World, port: int) -> None:
    async with logged_in(port) as client:
        assert await client.command("api global_getvar core_uuid") == world.switch.core_uuid
        assert await client.command("api global_getvar nothing") == "-ERR no reply\n"
        assert await client.command("api status") == "UP\n0 session(s)\n"
        world.traffic.place("local")
        world.wait(0.2)
        assert await client.command("api status") == "UP\n2 session(s)\n"
        assert await client.command("api hostname") == "simulator"
        assert (await client.command("api version")).startswith("FreeSWITCH Version 1.10.12")
        assert await client.command("api sing a song") == "-ERR sing Command not found!\n"


# Jobs.


async def test_a_job_answers_twice_under_the_id_it_was_given(port: int) -> None:
    async with logged_in(port, "event plain BACKGROUND_JOB") as client:
        client.send(f"bgapi echo 100 % of\nJob-UUID: {JOB}\n\n")
        reply = await client.frame()
        assert reply.headers == {
            "Content-Type": "command/reply",
            "Reply-Text": f"+OK Job-UUID: {JOB}",
            "Job-UUID": JOB,
        }
        event = (await client.frame()).event
        assert (event["Event-Name"], event["Job-UUID"]) == ("BACKGROUND_JOB", JOB)
        assert (event["Job-Command"], event["Job-Command-Arg"]) == ("echo", "100 % of")
        assert event["_body"] == "100 % of"


async def test_a_job_without_an_id_gets_one(port: int) -> None:
    async with logged_in(port, "event json BACKGROUND_JOB") as client:
        words = [await client.command("bgapi sing"), await client.command("bgapi sing")]
        jobs = [text.removeprefix("+OK Job-UUID: ") for text in words]
        assert len({*jobs}) == 2
        assert [len(job) for job in jobs] == [36, 36]
        while len(client.events) < 2:
            client.events.append(await client.frame())
        events = [frame.event for frame in client.events]
        assert [event["Job-UUID"] for event in events] == jobs
        assert {event["_body"] for event in events} == {"-ERR sing Command not found!\n"}
        assert "Job-Command-Arg" not in events[0]


async def test_the_result_of_a_job_reaches_every_subscriber_even_when_the_asker_has_gone(port: int) -> None:
    async with logged_in(port, "event json BACKGROUND_JOB") as other:
        async with logged_in(port) as asker:
            asker.send(f"bgapi status\nJob-UUID: {JOB}\n\nexit\n\n")
            assert b"BACKGROUND_JOB" not in await asker.rest()
        event = (await other.frame()).event
        assert (event["Job-UUID"], event["_body"]) == (JOB, "UP\n0 session(s)\n")
