"""Every mistake in a configuration file is named with the file, the line and the key."""

from pathlib import Path

import pytest

from tests.test_config import HASH, OTHER_HASH, SECRET, SWITCH, SWITCH_WITHOUT_PASSWORD, TOKEN, refusal

# `#!` stands in the line that is to be named.

TENANT = """
[[tenant]]
name = 'a.example'
"""

WRONG_KEYS = {
    # No such key.
    "htttp": SWITCH + "[htttp]  #!\nlisten = '127.0.0.1:80'",
    "listen": "listen = '127.0.0.1:80'  #!" + SWITCH,
    "http.port": SWITCH + "[http]\nlisten = '127.0.0.1:80'\nport = 80  #!",
    "store.host": SWITCH + "[store]\nhost = 'x'  #!",
    "log.file": SWITCH + "[log]\nlevel = 'info'\n\n  file = 'x'  #!",
    "switch[0].host": SWITCH + "host = 'x'  #!",
    "switch[1].host": SWITCH + "[[switch]]\nname = 'b'\naddress = 'b:1'\nhost = 'b'  #!",
    "token[0].scope": SWITCH + TOKEN + "scope = 'read'  #!",
    "tenant[1].destination": SWITCH + TENANT + "[[tenant]]\nname = 'b'\ndestination = ['1']  #!",
    "commands.park": SWITCH + "[commands]\npark_seconds = 10\npark = 1  #!",
    "audit.file": SWITCH + "[audit]\nfile = 'x'  #!",
}
WRONG_TYPES = {
    "http": "http = 3  #!" + SWITCH,
    "http.listen": SWITCH + "[http]\nlisten = 8080  #!",
    "http.cors_origins": SWITCH + "[http]\ncors_origins = '*'  #!",
    "http.cors_origins[1]": SWITCH + "[http]\ncors_origins = [  #!\n  '*',\n  1,\n]",
    "store": "store = 'memory://'  #!" + SWITCH,
    "store.url": SWITCH + "[store]\nurl = true  #!",
    "store.prefix": SWITCH + "[store]\nurl = 'memory://'\nprefix = 1.5  #!",
    "log.level": SWITCH + "[log]\nlevel = 10  #!",
    "log.format": SWITCH + "[log]\nformat = []  #!",
    "switch": "[switch]  #!\nname = 'pbx'",
    "switch[0]": "log = {}\nswitch = [1]  #!",
    "switch[0].name": SWITCH.replace('name = "pbx"', "name = 1  #!"),
    "switch[0].address": SWITCH.replace('"127.0.0.1:8021"', "8021  #!"),
    "switch[0].password": SWITCH_WITHOUT_PASSWORD + "password = 1234  #!",
    "switch[0].password_file": SWITCH_WITHOUT_PASSWORD + "password_file = 1  #!",
    "switch[0].events": SWITCH + "events = 1  #!",
    "switch[0].shared_contexts": SWITCH + "shared_contexts = 'public'  #!",
    "switch[0].shared_contexts[0]": SWITCH + "shared_contexts = [1]  #!",
    "token": SWITCH + "[token]  #!\nname = 'crm'",
    "token[0].name": SWITCH + TOKEN.replace('"crm"', "1  #!"),
    "token[0].sha256": SWITCH + TOKEN.replace(f'"{HASH}"', "1  #!"),
    "token[0].scopes": SWITCH + TOKEN.replace('["read"]', '"read"  #!'),
    "token[0].tenant": SWITCH + TOKEN + "tenant = 1  #!",
    "tenant": SWITCH + "[tenant]  #!\nname = 'a.example'",
    "tenant[0].name": SWITCH + TENANT.replace("'a.example'", "1  #!"),
    "tenant[0].context": SWITCH + TENANT + "context = 1  #!",
    "tenant[0].destinations": SWITCH + TENANT + "destinations = '0.*'  #!",
    "tenant[0].destinations[1]": SWITCH + TENANT + "destinations = ['0.*', 1]  #!",
    "commands": "commands = 3  #!" + SWITCH,
    "commands.ring_seconds": SWITCH + "[commands]\nring_seconds = 1.5  #!",
    "commands.park_seconds": SWITCH + "[commands]\npark_seconds = '10'  #!",
    "commands.recording": SWITCH + "[commands]\nrecording = false  #!",
    "audit": "audit = 'audit.jsonl'  #!" + SWITCH,
    "audit.path": SWITCH + "[audit]\npath = 1  #!",
}
WRONG_VALUES = [
    ("http.listen", SWITCH + "[http]\nlisten = ''  #!"),
    ("http.listen", SWITCH + "[http]\nlisten = '8080'  #!"),
    ("http.listen", "http.listen = ':8080'  #!" + SWITCH),
    ("http.listen", '"http".listen = "127.0.0.1:65536"  #!' + SWITCH),
    ("http.listen", "http = { listen = '::1:8080' }  #!" + SWITCH),
    ("http.cors_origins[0]", SWITCH + "[http]\ncors_origins = ['https://a.example/']  #!"),
    ("http.cors_origins[1]", SWITCH + "[ http ]  # a comment\n cors_origins = ['*', 'a.example']  #!"),
    ("http.cors_origins[0]", SWITCH + '[http]\ncors_origins = ["https://a.example\\n"]  #!'),
    ("store.url", SWITCH + "[store]\nurl = ''  #!"),
    ("store.prefix", SWITCH + "[store]\nprefix = 'a:b'  #!"),
    ("store.prefix", SWITCH + "[store]\nprefix = ''  #!"),
    ("store.url", SWITCH + "[store]\nurl = 'redis+sentinel://127.0.0.1:26379'  #!"),
    ("store.url", SWITCH + "[store]\nurl = 'redis+cluster://127.0.0.1:7000/1'  #!"),
    ("store.url", SWITCH + "[store]\nurl = 'rediss://127.0.0.1?ca=/nowhere/ca.pem'  #!"),
    ("store.url", SWITCH + f"[store]\nurl = 'rediss://127.0.0.1?ca={__file__}'  #!"),
    ("store.url", SWITCH + f"[store]\nurl = 'rediss://127.0.0.1?cert={__file__}'  #!"),
    ("store.role", SWITCH + "[store]\nurl = 'redis://127.0.0.1'\nrole = 'owner'  #!"),
    ("store.role", SWITCH + "[store]\nrole = 'reader'  #!"),
    ("http.reuse_port", SWITCH + "[http]\nreuse_port = true  #!"),
    ("http.reuse_port", SWITCH + "[http]\nreuse_port = 1  #!"),
    (
        "http.reuse_port",
        SWITCH + "[store]\nurl = 'redis://127.0.0.1'\n[http]\nlisten = '127.0.0.1:0'\nreuse_port = true  #!",
    ),
    ("log.level", SWITCH + "[log]\nlevel = 'INFO'  #!"),
    ("log.format", SWITCH + "[log]\nlevel = 'info'\nformat = 'xml'  #!"),
    ("switch[0].name", SWITCH.replace('"pbx"', "'p b x'  #!")),
    ("switch[0].name", "log = {}\nswitch = [{ name = '.', address = 'b:1' }]  #!"),
    ("switch[0].name", SWITCH.replace('"pbx"', "''  #!")),
    ("switch[0].name", SWITCH.replace('"pbx"', "'{pbx}'  #!")),
    ("switch[0].name", SWITCH.replace('"pbx"', '"pbx\\n"  #!')),
    ("switch[0].name", SWITCH.replace('"pbx"', f"'{'p' * 65}'  #!")),
    ("switch[1].name", SWITCH + SWITCH.replace('"pbx"', '"pbx"  #!')),
    ("switch[0].address", SWITCH.replace('"127.0.0.1:8021"', "'127.0.0.1'  #!")),
    ("switch[0].address", SWITCH.replace('"127.0.0.1:8021"', "'127.0.0.1:0'  #!")),
    ("switch[1].address", SWITCH + SWITCH.replace('"pbx"', '"b"').replace('"127.0.0.1:8021"', "'b:x'  #!")),
    ("switch[0].password", SWITCH_WITHOUT_PASSWORD + "password = ''  #!"),
    ("switch[0].password", SWITCH_WITHOUT_PASSWORD + f'password = "{SECRET}\\n"  #!'),
    ("switch[0].password", SWITCH_WITHOUT_PASSWORD + f'password = "{SECRET}\\u0000"  #!'),
    ("switch[0].password_file", SWITCH_WITHOUT_PASSWORD + "password_file = ''  #!"),
    ("switch[0]", "[[switch]]  #!\nname = 'pbx'\naddress = 'b:1'"),
    ("switch[1]", SWITCH + SWITCH.replace("[[switch]]", "[[switch]]  #!").replace("pbx", "b") + "password_file = 'x'"),
    ("switch[0].events", SWITCH + "events = 'xml'  #!"),
    ("switch[0].shared_contexts[1]", SWITCH + "shared_contexts = ['a', '']  #!"),
    ("token[0].name", SWITCH + TOKEN.replace('"crm"', "'c r m'  #!")),
    ("token[1].name", SWITCH + TOKEN + TOKEN.replace(HASH, OTHER_HASH).replace('"crm"', '"crm"  #!')),
    ("token[0].sha256", SWITCH + TOKEN.replace(f'"{HASH}"', f"'{HASH[1:]}'  #!")),
    ("token[0].sha256", SWITCH + TOKEN.replace(f'"{HASH}"', f"'{HASH}a'  #!")),
    ("token[0].sha256", SWITCH + TOKEN.replace(f'"{HASH}"', f'"{HASH}\\n"  #!')),
    ("token[0].sha256", SWITCH + TOKEN.replace(f'"{HASH}"', f"'{'g' * 64}'  #!")),
    ("token[1].sha256", SWITCH + TOKEN + TOKEN.replace('"crm"', '"b"').replace(f'{HASH}"', f'{HASH}"  #!')),
    ("token[0].scopes", SWITCH + TOKEN.replace('["read"]', "[]  #!")),
    ("token[0].scopes[1]", SWITCH + TOKEN.replace('["read"]', "['read', 'admin']  #!")),
    ("token[0].tenant", SWITCH + TOKEN + "tenant = ''  #!"),
    ("tenant[0].name", SWITCH + TENANT.replace("'a.example'", "'a example'  #!")),
    ("tenant[0].name", SWITCH + TENANT.replace("'a.example'", '"a\\n"  #!')),
    ("tenant[0].name", SWITCH + TENANT.replace("'a.example'", "''  #!")),
    ("tenant[1].name", SWITCH + TENANT + TENANT.replace("'a.example'", "'a.example'  #!")),
    ("tenant[0].context", SWITCH + TENANT + "context = 'a XML b'  #!"),
    ("tenant[0].context", SWITCH + TENANT + "context = ''  #!"),
    ("tenant[0].destinations", SWITCH + TENANT + "destinations = ['1', '(']  #!"),
    ("tenant[0].destinations[0]", SWITCH + TENANT + "destinations = ['']  #!"),
    ("commands.ring_seconds", SWITCH + "[commands]\nring_seconds = 4  #!"),
    ("commands.ring_seconds", SWITCH + "[commands]\nring_seconds = 301  #!"),
    ("commands.park_seconds", SWITCH + "[commands]\npark_seconds = 0  #!"),
    ("commands.park_seconds", SWITCH + "[commands]\npark_seconds = 86401  #!"),
    ("audit.path", SWITCH + "[audit]\npath = ''  #!"),
]
MISSING = [
    ("switch[0]", "'name'", "[[switch]]  #!\naddress = 'b:1'\npassword = 'x'"),
    ("switch[1]", "'address'", SWITCH + "[[switch]]  #!\nname = 'b'\npassword = 'x'"),
    ("token[0]", "'name'", SWITCH + f"[[token]]  #!\nsha256 = '{HASH}'\nscopes = ['read']"),
    ("token[0]", "'sha256'", SWITCH + "[[token]]  #!\nname = 'crm'\nscopes = ['read']"),
    ("tenant[0]", "'name'", SWITCH + "[[tenant]]  #!\ncontext = 'a'"),
    ("token[1]", "'scopes'", SWITCH + TOKEN + f"[[token]]  #!\nname = 'b'\nsha256 = '{OTHER_HASH}'"),
]


def marked(text: str) -> int:
    """The number of the line with the mark."""
    (number,) = [number for number, line in enumerate(text.split("\n"), 1) if "#!" in line]
    return number


@pytest.mark.parametrize(("key", "text"), WRONG_KEYS.items())
def test_a_key_that_there_is_not_is_named(tmp_path: Path, key: str, text: str) -> None:
    place = f"{tmp_path}/callbridge.toml:{marked(text)}: {key}"
    assert refusal(tmp_path, text).startswith(f"{place}: there is no such key; there are ")


@pytest.mark.parametrize(("key", "text"), WRONG_TYPES.items())
def test_a_value_of_the_wrong_type_is_named(tmp_path: Path, key: str, text: str) -> None:
    place = f"{tmp_path}/callbridge.toml:{marked(text)}: {key}"
    assert refusal(tmp_path, text).startswith(f"{place}: Expected ")


@pytest.mark.parametrize(("key", "text"), WRONG_VALUES)
def test_a_value_that_cannot_be_is_named(tmp_path: Path, key: str, text: str) -> None:
    place = f"{tmp_path}/callbridge.toml:{marked(text)}: {key}: "
    assert refusal(tmp_path, text).startswith(place)


@pytest.mark.parametrize(("table", "key", "text"), MISSING)
def test_a_key_that_is_missing_is_named(tmp_path: Path, table: str, key: str, text: str) -> None:
    place = f"{tmp_path}/callbridge.toml:{marked(text)}: {table}"
    assert refusal(tmp_path, text) == f"{place}: the key {key} is missing"


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:6379",
        "http://127.0.0.1",
        "memory:",
        "Memory://",
        "REDIS://127.0.0.1",
        "redis:127.0.0.1",
        "redis://",
        "redis://:6379/0",
        "redis://127.0.0.1:0",
        "redis://127.0.0.1:65536",
        "redis://127.0.0.1:port",
        "redis://[::1",
        "redis://127.0.0.1/zero",
        "redis://127.0.0.1/0/1",
        "redis://127.0.0.1/0?db=1",
        "unix://",
        "unix:/run/redis/redis.sock",
    ],
)
def test_a_store_that_there_is_not_is_refused(tmp_path: Path, url: str) -> None:
    text = SWITCH + f"[store]\nprefix = 'x'\nurl = '{url}'  #!"
    assert refusal(tmp_path, text).startswith(f"{tmp_path}/callbridge.toml:{marked(text)}: store.url: ")


def test_what_is_wrong_with_a_store_does_not_give_its_password_away(tmp_path: Path) -> None:
    for url in (f"redis://:{SECRET}@127.0.0.1/x", f"http://:{SECRET}@127.0.0.1", f"redis://{SECRET}:{SECRET}"):
        assert "store.url" in refusal(tmp_path, SWITCH + f"[store]\nurl = '{url}'")


def test_a_configuration_without_a_switch_is_none(tmp_path: Path) -> None:
    assert refusal(tmp_path, TOKEN) == f"{tmp_path}/callbridge.toml: switch: the key 'switch' is missing"
    assert "there is no [[switch]]" in refusal(tmp_path, "switch = []")
    assert refusal(tmp_path, "\n\nswitch = []").startswith(f"{tmp_path}/callbridge.toml:3: switch: ")


@pytest.mark.parametrize("between", ["# \u2028 one line \x85 still \n", "", "\r\n\r\n", "# [http]\n"])
def test_lines_are_counted_as_an_editor_does(tmp_path: Path, between: str) -> None:
    line = between.count("\n") + 1
    message = refusal(tmp_path, f"{between}htttp = 1\n{SWITCH}")
    known = "audit, commands, http, log, store, switch, tenant, token"
    assert message == f"{tmp_path}/callbridge.toml:{line}: htttp: there is no such key; there are {known}"
