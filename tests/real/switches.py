"""Two real FreeSWITCHes on loopback: their configuration, their start and their end."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import sample
from typing import Final

TENANTS: Final = ("test.tel4vn.com", "acme.example.com")
EXTENSIONS: Final = range(101, 121)
REGISTERED: Final = range(101, 111)
BUSY, RINGS_FOR_EVER, REJECTS, WAITS_LONG = 107, 108, 109, 110
"""Registered phones that do not answer at once: refuse as busy, ring, decline, answer after two seconds."""
PLAYS_BEFORE: Final = 130
"""A number of `phones` that rings for ever and is heard meanwhile (183 with SDP)."""

PHONES_OF: Final[dict[int, tuple[int, ...]]] = {number: (number,) for number in REGISTERED} | {
    111: (RINGS_FOR_EVER, WAITS_LONG),
    112: (BUSY, WAITS_LONG),
    113: (BUSY, REJECTS),
    114: (RINGS_FOR_EVER, BUSY),
    116: (WAITS_LONG, 103),
    117: (PLAYS_BEFORE, WAITS_LONG),
    118: (RINGS_FOR_EVER, PLAYS_BEFORE),
}
"""Registered user -> the numbers of `phones` that calls to it come to. Some have two phones."""

REGISTRATIONS: Final = len(TENANTS) * sum(map(len, PHONES_OF.values()))
TONES: Final = {str(number): 500 + 40 * (number - 100) for number in REGISTERED} | {"outside": 470}
"""Hz of the tone that each phone sends while it talks; none is a harmonic of another."""
PASSWORD: Final = "s3cr3t-ClueCon"
MODULES: Final = (
    "mod_console mod_logfile mod_event_socket mod_commands mod_dptools mod_dialplan_xml mod_sofia mod_loopback mod_hash"
    " mod_conference mod_valet_parking mod_spy mod_tone_stream mod_sndfile"
).split()
RTP_PORTS: Final = 3000
"""That one switch may use."""

SIP_PORTS: Final = range(24000, 24300)

STARTS_WITHIN: Final = 60.0
"""Seconds."""

Xml = str


def param(**values: object) -> Xml:
    return "".join(f'<param name="{name.replace("_", "-")}" value="{value}"/>' for name, value in values.items())


def action(application: str, data: object = "") -> Xml:
    return f'<action application="{application}" data="{data}"/>'


def extension(pattern: str, *actions: Xml) -> Xml:
    test = f'<condition field="destination_number" expression="^{pattern}$">{"".join(actions)}</condition>'
    return f'<extension name="{pattern}">{test}</extension>'


def configuration(name: str, inside: Xml) -> Xml:
    return f'<configuration name="{name}.conf">{inside}</configuration>'


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def free_sip_ports(number: int) -> list[int]:
    """Ports for UDP and TCP, of those that the system gives nobody by chance, and that no RTP uses here."""
    return [port for port in sample(SIP_PORTS, len(SIP_PORTS)) if _is_free(port)][:number]


def _is_free(port: int) -> bool:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        try:
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class RealSwitch:
    """One FreeSWITCH process, its folder and its event socket."""

    def __init__(self, prefix: Path, folder: Path, first_rtp: int) -> None:
        self.folder = folder
        self.port = free_port()
        self._prefix = prefix
        self._first_rtp = first_rtp

    def write(self, profiles: Xml, dialplan: Xml, directory: Xml) -> None:
        modules = "".join(f'<load module="{module}"/>' for module in MODULES)
        listen = param(listen_ip="127.0.0.1", listen_port=self.port, password=PASSWORD)
        rtp = param(rtp_start_port=self._first_rtp, rtp_end_port=self._first_rtp + RTP_PORTS)
        limits = param(max_sessions=20000, sessions_per_second=2000, loglevel="warning")
        log = f'<mappings><map name="all" value="warning,err,crit,alert"/></mappings>{param(loglevel="warning")}'
        file = (
            f'<profile name="default"><settings>{param(logfile=self.folder / "switch.log")}</settings>{log}</profile>'
        )
        sections = {
            "configuration": "".join(
                (
                    configuration("switch", f"<settings>{limits}{rtp}</settings>"),
                    configuration("modules", f"<modules>{modules}</modules>"),
                    configuration("event_socket", f"<settings>{listen}</settings>"),
                    configuration("logfile", f"<settings/><profiles>{file}</profiles>"),
                    configuration("acl", "<network-lists/>"),
                    configuration("hash", "<remotes/>"),
                    configuration("loopback", "<settings/>"),
                    configuration("timezones", "<timezones/>"),
                    configuration("post_load_modules", "<modules/>"),
                    configuration(
                        "conference", f'<profiles><profile name="default">{param(rate=8000)}</profile></profiles>'
                    ),
                    configuration("sofia", f"<global_settings>{param(log_level=0)}</global_settings>{profiles}"),
                )
            ),
            "dialplan": dialplan,
            "directory": directory,
        }
        body = "".join(f'<section name="{name}">{inside}</section>' for name, inside in sections.items())
        folder = self.folder / "conf"
        folder.mkdir(parents=True)
        (folder / "freeswitch.xml").write_text(f'<document type="freeswitch/xml">{body}</document>')

    def start(self) -> None:
        options = ["-nc", "-nonat", "-mod", str(self._prefix / "lib/freeswitch/mod")]
        for name in "conf log db run scripts sounds storage recordings grammar cache certs temp htdocs".split():
            (self.folder / name).mkdir(exist_ok=True)
            options += [f"-{name}", str(self.folder / name)]
        command = [str(self._prefix / "bin/freeswitch"), *options]
        with (self.folder / "output").open("w") as output:
            subprocess.run(command, cwd=self.folder, stdout=output, stderr=output, check=True)
        give_up = time.monotonic() + STARTS_WITHIN
        while not self._listens():
            assert time.monotonic() < give_up, f"no event socket; see {self.folder}"
            os.sched_yield()

    def stop(self) -> None:
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        try:
            os.kill(self._pid(), number)
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return

    def ended(self) -> bool:
        """Whether its process has gone."""
        try:
            status = Path(f"/proc/{self._pid()}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return True
        # One that nobody waits for stays there as a zombie (proc(5)).
        return status.rpartition(")")[2].split()[0] == "Z"

    def _pid(self) -> int:
        return int((self.folder / "run" / "freeswitch.pid").read_text())

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def running_pair(
    folder: Path, first_rtp: int, adapt: "Callable[[RealSwitch, RealSwitch], None] | None" = None
) -> Iterator[tuple["RealSwitch", "RealSwitch"]]:
    """Both switches, running, with RTP from that port on; `adapt` changes what was written before they start."""
    prefix = Path(os.environ["FREESWITCH_PREFIX"])
    pbx = RealSwitch(prefix, folder / "pbx", first_rtp)
    phones = RealSwitch(prefix, folder / "phones", first_rtp + RTP_PORTS + 100)
    write_both(pbx, phones)
    if adapt is not None:
        adapt(pbx, phones)
    try:
        pbx.start()
        phones.start()
        yield pbx, phones
    finally:
        pbx.stop()
        phones.stop()


def write_both(pbx: RealSwitch, phones: RealSwitch) -> None:
    """A PBX with two tenants, and the switch that plays its phones and the world outside."""
    inside, trunk, phone = free_sip_ports(3)
    sip = {"sip_ip": "127.0.0.1", "rtp_ip": "127.0.0.1", "dialplan": "XML", "rtp_timer_name": "soft"}
    codecs = {"inbound_codec_prefs": "PCMU", "outbound_codec_prefs": "PCMU", "manage_presence": "false"}
    internal = param(**sip, **codecs, sip_port=inside, context="public", auth_calls="true", challenge_realm="auto_from")
    internal += param(inbound_reg_force_matching_username="true", multiple_registrations="contact")
    external = param(**sip, **codecs, sip_port=trunk, context="public", auth_calls="false")
    gateway = param(username="trunk", password="x", realm="127.0.0.1", proxy=f"127.0.0.1:{phone}", register="false")
    gateway += param(caller_id_in_from="true")
    pbx.write(
        f'<profiles><profile name="internal"><settings>{internal}</settings></profile>'
        f'<profile name="external"><gateways><gateway name="pstn">{gateway}</gateway></gateways>'
        f"<settings>{external}</settings></profile></profiles>",
        "".join(map(tenant_dialplan, TENANTS)) + public_dialplan(),
        "".join(map(tenant_directory, TENANTS)),
    )
    outside = param(username="out", password="x", realm="127.0.0.1", proxy=f"127.0.0.1:{trunk}", register="false")
    outside += param(caller_id_in_from="true")
    accounts = f'<gateway name="pbx">{outside}</gateway>'
    accounts += "".join(
        account(user, number, tenant, inside)
        for tenant in TENANTS
        for user, numbers in PHONES_OF.items()
        for number in numbers
    )
    settings = param(**sip, **codecs, sip_port=phone, context="phones", auth_calls="false")
    profile = f'<profile name="phones"><gateways>{accounts}</gateways><settings>{settings}</settings></profile>'
    phones.write(f"<profiles>{profile}</profiles>", phones_dialplan(), '<domain name="127.0.0.1"/>')


def tenant_directory(domain: str) -> Xml:
    def user(number: int) -> Xml:
        variables = {"user_context": domain, "effective_caller_id_number": number, "accountcode": domain}
        rows = "".join(f'<variable name="{name}" value="{value}"/>' for name, value in variables.items())
        password = param(password=f"pw{number}")
        return f'<user id="{number}"><params>{password}</params><variables>{rows}</variables></user>'

    dial = param(
        dial_string="{^^:sip_invite_domain=${dialed_domain}:presence_id=${dialed_user}@${dialed_domain}}"
        "${sofia_contact(*/${dialed_user}@${dialed_domain})}"
    )
    users = "".join(map(user, EXTENSIONS))
    groups = f'<groups><group name="all"><users>{users}</users></group></groups>'
    return f'<domain name="{domain}"><params>{dial}</params>{groups}</domain>'


def tenant_dialplan(domain: str) -> Xml:
    known = '<condition field="${call_direction}" expression="^(inbound|outbound|local)$" break="never">'
    local = f'{known}<anti-action application="export" data="call_direction=local"/></condition>'
    settle = action("set", f"domain_name={domain}") + action("set", "hangup_after_bridge=true")
    outbound = action("export", "call_direction=outbound")
    return f"""<context name="{domain}"><extension name="direction" continue="true">{local}</extension>
{extension("(1[0-9][0-9])", settle, action("bridge", f"user/$1@{domain}"))}
{extension("(0[0-9]{8,10})", outbound, settle, action("bridge", "sofia/gateway/pstn/$1"))}
{extension("2000", settle, action("bridge", f"loopback/101/{domain},loopback/102/{domain}"))}
{extension("(3[0-9][0-9][0-9])", action("answer"), action("conference", f"$1-{domain}@default"))}
{extension("(59[0-9][0-9])", action("answer"), action("valet_park", f"lot-{domain} $1"))}
{extension("5000", action("answer"), action("sleep", 1500), action("transfer", f"101 XML {domain}"))}
{extension("88(1[0-9][0-9])", action("answer"), action("eavesdrop", "${hash(select/watched/$1)}"))}
</context>"""


def public_dialplan() -> Xml:
    def numbers(prefix: str, domain: str) -> Xml:
        steps = action("export", "call_direction=inbound") + action("set", f"domain_name={domain}")
        return extension(f"{prefix}[0-9]{{8}}([0-9]{{3,4}})", steps + action("transfer", f"$1 XML {domain}"))

    return f'<context name="public">{numbers("02", TENANTS[0])}{numbers("03", TENANTS[1])}</context>'


def account(user: int, number: int, domain: str, port: int) -> Xml:
    """A registration of a user, with which calls to it come in as calls to a number of `phones`."""
    who = param(username=user, password=f"pw{user}", realm=domain, from_domain=domain, extension=number)
    how = param(proxy=f"127.0.0.1:{port}", register="true", expire_seconds=3600, retry_seconds=3)
    # Two tenants have the same numbers at the same address; the contacts differ.
    contact = param(contact_params=f"t={domain}", extension_in_contact="true")
    name = f"{user}-{domain}" if user == number else f"{user}-{number}-{domain}"
    return f'<gateway name="{name}">{who}{how}{contact}</gateway>'


def tone(who: str) -> str:
    """What a phone plays into its call, until it hangs up."""
    # Quiet enough that three of them mixed are not clipped, which would make tones of its own.
    return f"tone_stream://v=-15;%(1000000,0,{TONES[who]});loops=-1"


def phones_dialplan() -> Xml:
    def talks(who: str, after_ms: int) -> Xml:
        rings = action("ring_ready") + action("sleep", after_ms)
        return rings + action("answer") + action("playback", tone(who))

    odd = {
        BUSY: action("hangup", "USER_BUSY"),
        RINGS_FOR_EVER: action("ring_ready") + action("sleep", 60000),
        REJECTS: action("hangup", "CALL_REJECTED"),
        WAITS_LONG: talks(str(WAITS_LONG), 2000),
    }
    early = extension(str(PLAYS_BEFORE), action("pre_answer"), action("sleep", 60000))
    phones = (extension(str(number), odd.get(number, talks(str(number), 300))) for number in REGISTERED)
    return f"""<context name="phones">{"".join(phones)}{early}
{extension("0.*486", action("hangup", "USER_BUSY"))}
{extension("0.*180", odd[RINGS_FOR_EVER])}
{extension("0[0-9]+", talks("outside", 300))}</context>"""
