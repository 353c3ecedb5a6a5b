"""What happens on a single leg, event by event, in the order in which a real switch tells it."""

from collections.abc import Callable
from typing import Final

from msgspec.structs import asdict

from callbridge.simulator.channel import STATES, Channel, Habits, Parties
from callbridge.simulator.phones import PHONES_PORT, Phones
from callbridge.simulator.switch import Switch
from callbridge.simulator.timeline import Timeline

SETUP: Final = 0.02
"""Seconds between the switch's own steps: one step of its clock, and one frame of media, after which a thread that
bridges, rings or waits sees what a command has set."""

_NOT_YET: Final = {
    f"{time}_{unit}": "0"
    for time in ("created", "answered", "progress", "bridged", "hangup")
    for unit in ("us", "s", "stamp")
}
"""The parameters of what need not have happened to a leg yet."""


class Legs:
    """The legs of a switch."""

    def __init__(
        self, switch: Switch, timeline: Timeline, phones: Phones, habits: Callable[[], Habits] = Habits
    ) -> None:
        self.switch = switch
        self.timeline = timeline
        self.phones = phones
        self.habits = habits
        """How those behave whom a command brings together."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.timeline!r}>"

    # The beginning.

    def make(self, leg: str, uuid: str, profile: dict[str, str], who: Parties, other_uuid: str = "") -> Channel:
        """A leg that is learned from `leg` (see `Channel`)."""
        parameters = {
            **asdict(who),
            "uuid": uuid,
            "other_uuid": other_uuid,
            "core_uuid": self.switch.core_uuid,
            "sip_id": uuid[::-1],
            "duration": "0",
            "billsec": "0",
            **_NOT_YET,
        }
        channel = Channel(uuid, leg, who, profile, parameters)
        self.switch.channels[uuid] = channel
        self.switch.started += 1
        return channel

    def caller(self, kind: str, who: Parties) -> Channel:
        """The leg of somebody who calls in: a phone, or, for an inbound call, somebody outside."""
        outside = kind == "inbound"
        uuid = self.switch.new_uuid()
        host = "external" if outside else "internal"
        name = f"sofia/{host}/{who.caller_number}@{'127.0.0.1' if outside else who.domain}"
        profile = {
            "Direction": "inbound",
            "Logical-Direction": "inbound",
            "Username": who.caller_number,
            "Dialplan": "XML",
            "Caller-ID-Name": who.caller_name,
            "Caller-ID-Number": who.caller_number,
            "Orig-Caller-ID-Name": who.caller_name,
            "Orig-Caller-ID-Number": who.caller_number,
            "Callee-ID-Name": "",
            "Callee-ID-Number": "",
            "Network-Addr": "127.0.0.1",
            "ANI": who.caller_number,
            "Destination-Number": who.dialled,
            "Unique-ID": uuid,
            "Source": "mod_sofia",
            "Context": "public" if outside else who.domain,
            "Channel-Name": name,
        }
        return self.make(f"{kind}.a", uuid, profile, who)

    def callee(self, a: Channel, leg: str, who: Parties, *, to_phone: bool) -> Channel:
        """The leg with which `a` calls somebody."""
        uuid, number = self.switch.new_uuid(), who.destination
        phone, trunk = f"sofia/internal/{number}@127.0.0.1:{PHONES_PORT}", f"sofia/external/{number}"
        inherited = {name: value for name, value in a.profile.values.items() if name != "Transfer-Source"}
        profile = inherited | {
            "Direction": "outbound",
            "Logical-Direction": "outbound",
            "Callee-ID-Name": "Outbound Call",
            "Callee-ID-Number": number,
            "Destination-Number": number,
            "Unique-ID": uuid,
            "Channel-Name": phone if to_phone else trunk,
        }
        channel = self.make(leg, uuid, profile, who, a.uuid)
        channel.led_by, channel.habits, a.called = a, a.habits, channel
        self.begin(channel)
        return channel

    def begin(self, leg: Channel) -> None:
        """Its caller profile is there."""
        us = self.switch.now_us()
        leg.mark("Profile-Created", us)
        leg.mark("Channel-Created", us)

    def take_codec(self, leg: Channel) -> None:
        """It has media."""
        leg.codec = True
        read = [("channel-read-codec-name", "PCMU"), ("channel-read-codec-rate", "8000")]
        self.switch.fire(leg, "CODEC", middle=[*read, ("channel-read-codec-bit-rate", "64000")])
        write = [("Channel-Write-Codec-Name", "PCMU"), ("Channel-Write-Codec-Rate", "8000")]
        self.switch.fire(leg, "CODEC", middle=[*write, ("Channel-Write-codec-bit-rate", "64000")])

    # The middle.

    def pick_up(self, leg: Channel) -> None:
        """It is answered."""
        leg.answer = "answered"
        leg.mark("Channel-Answered", self.switch.now_us())
        self.switch.fire(leg, "CHANNEL_ANSWER")
        self.switch.call_state(leg, "ACTIVE")

    def tell_of(self, leg: Channel, other: Channel, name: str, number: str) -> None:
        """The phone of a leg is told whom it talks to, unless it knows that already."""
        known = [leg.variable(f"last_sent_callee_id_{what}") for what in ("name", "number")]
        if known == [name, number]:
            return
        leg.say("last_sent_callee_id_name", name)
        leg.say("last_sent_callee_id_number", number)
        sent = [("Sent-Callee-ID-Name", name), ("Sent-Callee-ID-Number", number)]
        self.switch.fire(leg, "CALL_UPDATE", before=[("Direction", "SEND"), *sent, ("Bridged-To", other.uuid)])

    def begins_to_call(self, leg: Channel) -> None:
        """A leg that was called executes a dialplan: from now on it is the one that calls."""
        if leg.inbound or leg.flipped:
            return
        leg.flipped = True
        leg.profile.flip()
        leg.changed()
        self.switch.fire(leg, "CALL_UPDATE", before=[("Direction", "RECV")])

    def hold(self, leg: Channel) -> None:
        """It is put on hold. One that is not answered says so, but is not held."""
        if leg.answered:
            self.switch.call_state(leg, "HELD")
            leg.profile.last_hold_us = self.switch.now_us()
            leg.changed()
        self.switch.fire(leg, "CHANNEL_HOLD")

    def release(self, leg: Channel) -> None:
        """It is on hold no longer."""
        if leg.callstate == "HELD":
            self.switch.call_state(leg, "UNHELD")
            leg.profile.hold_us += self.switch.now_us() - leg.profile.last_hold_us
            leg.changed()
            self.switch.fire(leg, "CHANNEL_UNHOLD")

    def unhold(self, leg: Channel) -> None:
        """It is taken back, and its media flow again."""
        if leg.callstate == "HELD":
            self.release(leg)
            self.switch.call_state(leg, "ACTIVE")

    def send(self, leg: Channel, state: str) -> None:
        """A command sends it elsewhere; its thread follows when it sees that."""
        leg.number = STATES[state]
        leg.sent = True
        leg.go_astray()
        self.wake(leg)

    def transfer(self, leg: Channel, destination: str, dialplan: str, context: str) -> None:
        """It gets its next caller profile, and is to go where that says (switch_ivr.c,
        `switch_ivr_session_transfer`)."""
        self.unhold(leg)
        us = self.switch.now_us()
        source = f"{us // 1_000_000}:{self.switch.new_uuid()}:bl_xfer:{destination}/{context}/{dialplan}"
        leg.profile.transfer(destination, dialplan, context, source)
        leg.profile.times |= {"Profile-Created": us, "Channel-Bridged": 0}
        leg.changed()
        leg.part()
        leg.number = STATES["ROUTING"]

    def wake(self, leg: Channel) -> None:
        """Its thread, or the one that leads it, sees in its next step what has been set."""
        task = (leg.led_by or leg).task
        if task is not None:
            self.timeline.wake(task, SETUP)

    def begin_application(self, leg: Channel, application: str, data: str) -> None:
        """It executes an application."""
        leg.execution = (application, data, self.switch.new_uuid())
        leg.say("current_application", application)
        leg.say("current_application_data", data)
        headers = [("Application", application), ("Application-Data", data)]
        self.switch.fire(leg, "CHANNEL_EXECUTE", after=[*headers, ("Application-UUID", leg.execution[2])])

    def end_application(self, leg: Channel) -> None:
        """The application has come to its end."""
        application, data, execution = leg.execution
        headers = [("Application", application), ("Application-Data", data), ("Application-Response", "_none_")]
        self.switch.fire(leg, "CHANNEL_EXECUTE_COMPLETE", after=[*headers, ("Application-UUID", execution)])

    # The end.

    def hang_up(self, leg: Channel, cause: str) -> None:
        """It is to end. From now on no command finds it."""
        if leg.dead:
            return
        self.release(leg)
        us = self.switch.now_us()
        leg.number, leg.answer, leg.cause = STATES["HANGUP"], "hangup", cause
        created, answered = (leg.profile.times[f"Channel-{what}"] for what in ("Created", "Answered"))
        for name, since in (("duration", created), ("billsec", answered)):
            leg.parameter(name, str((us - since) // 1_000_000 if since else 0))
        self.switch.fire(leg, "CHANNEL_HANGUP")
        for watcher in leg.watchers:
            self.wake(watcher)

    def see_hangup(self, leg: Channel) -> None:
        """The leg's own thread has seen the hangup: only now the profile says when."""
        for path in leg.recordings:
            self.stop_recording(leg, path)
        leg.mark("Channel-Hangup", self.switch.now_us())
        self.switch.call_state(leg, "HANGUP")

    def complete(self, leg: Channel) -> None:
        """All that can be known of it is known."""
        # In this event the cause stands twice.
        self.switch.fire(leg, "CHANNEL_HANGUP_COMPLETE", before=[("Hangup-Cause", leg.cause)])

    def finish(self, leg: Channel) -> None:
        """From the hangup to the end."""
        self.wind_up(leg)
        self.complete(leg)
        self.destroy(leg)

    def wind_up(self, leg: Channel) -> None:
        """All that its own thread does about the hangup, unless it has. Of several phones that are rung, one that is
        busy waits so until the others are over (measured)."""
        if leg.state != "REPORTING":
            self.switch.enter(leg, "HANGUP")
            self.see_hangup(leg)
            self.switch.enter(leg, "REPORTING")

    def destroy(self, leg: Channel) -> None:
        """The very last of it."""
        # What refers to each other would stay until the garbage is collected, which stops everything for a while.
        leg.led_by = leg.task = None
        self.switch.destroy(leg)

    # Recording.

    def give_media(self, leg: Channel) -> None:
        """A caller who is not answered yet hears something."""
        if leg.inbound and not leg.answered and leg.callstate != "EARLY":
            leg.answer = "early"
            leg.mark("Channel-Progress-Media", self.switch.now_us())
            self.switch.fire(leg, "CHANNEL_PROGRESS_MEDIA")
            self.switch.call_state(leg, "EARLY")

    def start_recording(self, leg: Channel, path: str) -> None:
        """Its media are written to a file from now on."""
        self.switch.fire(leg, "RECORD_START", after=[("Record-File-Path", path)])
        self.switch.fire(leg, "MEDIA_BUG_START")

    def stop_recording(self, leg: Channel, path: str) -> None:
        """They are no longer."""
        leg.recordings = tuple([other for other in leg.recordings if other != path])
        self.switch.fire(leg, "RECORD_STOP", after=[("Record-File-Path", path)])
        self.switch.fire(leg, "MEDIA_BUG_STOP")
