# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role relay: what is written about it is true, and what it says to Postfix about mail from outside."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.postmaster.mail.plugins.module_utils import _adopt as ad
from ansible_collections.postmaster.mail.plugins.module_utils import _adopt_postfix as adopt_postfix
from ansible_collections.postmaster.mail.plugins.module_utils import _postfix as pf
from ansible_collections.postmaster.mail.plugins.module_utils._adopt_dkim import signer_of
from ansible_collections.postmaster.mail.plugins.module_utils._adopt_inbound import CLIENTS, HEADER_CHECKS
from ansible_collections.postmaster.mail.plugins.module_utils._postfix_plan import parse_map
from jinja2.nativetypes import NativeEnvironment

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles/relay"
OPTIONS: dict[str, dict[str, Any]] = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text(encoding="utf-8"))[
    "argument_specs"
]["main"]["options"]


# ---------------------------------------------------------------- what is written about it


def row(name: str, option: dict[str, Any]) -> str:
    """A variable as a row of the README's table."""
    text = option["description"]
    text = " ".join(" ".join(text if isinstance(text, list) else [text]).split())
    text = re.sub(r"\b[CVOM]\((?:main:)?([^)]*)\)", r"`\1`", text)
    kind = " or ".join(f"`{choice}`" for choice in option["choices"]) if "choices" in option else option["type"]
    default = yaml.safe_dump(option.get("default"), default_flow_style=True, width=200).split("\n", maxsplit=1)[0]
    shown = "required" if option.get("required") else "from `relay_hostname`" if "{{" in default else f"`{default}`"
    return f"| `{name}` | {kind} | {shown} | {text} |"


def test_defaults_are_those_of_the_specification() -> None:
    stated = {name: option["default"] for name, option in OPTIONS.items() if "default" in option}
    assert yaml.safe_load((ROLE / "defaults/main.yml").read_text(encoding="utf-8")) == stated
    assert all("default" in option or option["required"] for option in OPTIONS.values())


def test_the_readme_has_every_variable() -> None:
    lines = (ROLE / "README.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("| `relay_")] == [row(*item) for item in OPTIONS.items()]


def test_secrets_are_marked() -> None:
    """The keys of lists as well as the smarthost's password."""
    inner = {f"{name}.{key}": one for name, option in OPTIONS.items() for key, one in option.get("options", {}).items()}
    marked = [name for name, option in {**OPTIONS, **inner}.items() if option.get("no_log")]
    assert marked == ["relay_smarthost_password", "relay_inbound_dnsbls.key"]


@pytest.mark.parametrize(
    ("asked", "restarted"),
    [
        ("inet:127.0.0.1:11332\n", []),
        ("inet:127.0.0.1:11332, inet:127.0.0.1:11336\n", ["rspamd-inbound"]),
        # The milter alone would go on with a spamd that knows the later configuration.
        (
            "unix:spamass/spamass.sock\ncheck_policy_service inet:127.0.0.1:10023",
            ["spamd", "spamass-milter", "postgrey"],
        ),
    ],
)
def test_a_configuration_that_is_brought_back_is_known_to_all_that_filter(asked: str, restarted: list[str]) -> None:
    known = yaml.safe_load((ROLE / "vars/main/role.yml").read_text(encoding="utf-8"))
    template = NativeEnvironment().from_string(known["__relay_named_filters"].strip())
    assert template.render(__relay_milters={"stdout": asked}) == restarted


# ---------------------------------------------------------------- what it says to Postfix

KEY = "a1b2c3d4e5f6g7h8"
USUAL = {
    "relay_hostname": "relay1.example.org",
    "relay_networks": ["192.0.2.0/28", "2001:db8::/64"],
    "relay_inbound_domains": ["example.org"],
    "relay_transports": {"example.org": "lmtp:inet:[192.0.2.40]:24"},
}
WANTED = ("complaints", "settings", "maps", "inbound_maps", "inbound_master", "inbound_services", "inbound_packages")
CASES: dict[str, dict[str, Any]] = {
    "usual": {},
    "private": {"relay_inbound_domains": []},
    "all": {
        "relay_inbound_recipients": ["Joe@example.org"],
        "relay_inbound_clients": {"192.0.2.77": "permit", "203.0.113.0/24": "reject"},
        "relay_inbound_dnsbls": [{"zone": "bl.example.net"}, {"zone": "dq.example.net", "key": KEY}],
        "relay_inbound_greylist": True,
        "relay_inbound_filter": "spamassassin",
        "relay_inbound_header_checks": [{"pattern": "/^Subject: x/", "action": "REJECT no"}],
        "relay_sender_domains": ["example.org"],
        "relay_signer": "none",
    },
    "plain": {
        "relay_inbound_postscreen": False,
        "relay_inbound_filter": "none",
        "relay_inbound_dnsbls": [{"zone": "bl.example.net", "replies": "127.0.0.2"}],
        "relay_inbound_greylist": True,
        "relay_inbound_greylist_failure": "tempfail",
    },
    "nowhere": {"relay_transports": {}},
    "smarthost": {"relay_transports": {}, "relay_smarthost": "mx.example.net"},
    "itself": {"relay_inbound_domains": ["relay1.example.org", "example.org"], "relay_smarthost": "mx.example.net"},
    "no domain": {"relay_inbound_domains": ["example.org, permit"], "relay_smarthost": "mx.example.net"},
    "stray": {"relay_inbound_recipients": ["joe@example.org", "joe@sub.example.org"]},
    "clients": {"relay_inbound_clients": {"192.0.2.1": "OK"}},
    "scores": {"relay_inbound_tag_score": 15},
    "claimed": {"relay_postfix_settings": {"postscreen_greet_action": "ignore", "postscreen_greet_wait": "2s"}},
    "claimed by nobody": {"relay_inbound_domains": [], "relay_postfix_settings": {"postscreen_greet_action": "ignore"}},
}  # fmt: skip


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The role's own variables in each case, as Ansible makes them."""
    folder = tmp_path_factory.mktemp("relay")
    files = ["defaults/main.yml", *(f"vars/main/{name}.yml" for name in ("postfix", "role", "inbound"))]
    preflight = {"release": "trixie", "missing_packages": [], "services": {}, "enabled_services": []}
    asked = ", ".join(f"'{name}': __relay_{name}" for name in WANTED)
    plays = [
        {
            "hosts": "localhost", "connection": "local", "gather_facts": False,
            "vars_files": [str(ROLE / path) for path in files],
            "tasks": [{
                # In base64, so that no callback breaks it up.
                "ansible.builtin.debug": {"msg": f"said {number} {{{{ {{{asked}}} | to_json | b64encode }}}}"},
                # Above vars_files, as an inventory's variables are above a role's defaults.
                "vars": {**USUAL, **given, "__relay_preflight": preflight},
            }],
        }
        for number, given in enumerate(CASES.values())
    ]  # fmt: skip
    (folder / "play.yml").write_text(yaml.safe_dump(plays))
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "play.yml"]
    around = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(command, cwd=folder, env=around, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    told = dict(re.findall(r"said (\d+) ([A-Za-z0-9+/=]+)", done.stdout))
    return {case: json.loads(base64.b64decode(told[str(number)])) for number, case in enumerate(CASES)}


def parameter(said: dict[str, Any], name: str) -> str | None:
    value = said["settings"].get(name)
    return None if value is None else pf.parse_value(value, name)


def entries(said: dict[str, Any], path: str) -> Any:
    """What a table holds, None where it is not to be there."""
    (table,) = [one for one in said["inbound_maps"] if one["path"] == f"/etc/postfix/{path}"]
    return table["entries"] if table["state"] == "present" else None


FIRST = "reject_unlisted_recipient, permit_mynetworks, reject_unauth_destination, reject_non_fqdn_recipient"
POSTGREY = "check_policy_service { inet:127.0.0.1:10023,"
EXCEPTIONS = "check_client_access cidr:/etc/postfix/inbound_clients"
KEYED = "check_client_access cidr:/etc/postfix/inbound_dnsbls"
DEFER = "{ default_action = DEFER_IF_PERMIT greylisting is out of order }"
PARAMETERS = [
    ("usual", "relay_domains", "example.org"),
    ("usual", "smtpd_relay_restrictions", "permit_mynetworks, reject_unauth_destination"),
    ("usual", "smtpd_client_restrictions", "permit_mynetworks"),
    ("usual", "postscreen_dnsbl_sites", "zen.spamhaus.org=127.0.0.[2..11]"),
    ("usual", "smtpd_recipient_restrictions", f"{FIRST}, reject_unverified_recipient"),
    ("usual", "smtpd_sender_restrictions", "permit_mynetworks, reject_non_fqdn_sender, reject_unknown_sender_domain"),
    ("usual", "smtpd_milters", "{ inet:127.0.0.1:11336, default_action=accept }, inet:127.0.0.1:11332"),
    ("usual", "non_smtpd_milters", "inet:127.0.0.1:11332"),
    ("usual", "milter_connect_macros", None),
    ("private", "relay_domains", ""),
    ("private", "smtpd_client_restrictions", "permit_mynetworks, reject"),
    ("private", "smtpd_milters", "inet:127.0.0.1:11332"),
    ("private", "non_smtpd_milters", "$smtpd_milters"),
    ("all", "smtpd_relay_restrictions", "permit_mynetworks, reject_unauth_destination"),
    ("all", "smtpd_client_restrictions", f"permit_mynetworks, {EXCEPTIONS}, {KEYED}"),
    ("all", "postscreen_dnsbl_sites", "bl.example.net=127.0.0.[2..254]"),
    ("all", "postscreen_access_list", "permit_mynetworks, cidr:/etc/postfix/inbound_clients"),
    ("all", "smtpd_recipient_restrictions", f"{FIRST}, {EXCEPTIONS}, {POSTGREY} default_action=DUNNO }}"),
    ("all", "relay_recipient_maps", "lmdb:/etc/postfix/inbound_recipients"),
    ("all", "smtpd_sender_restrictions", "check_client_access cidr:/etc/postfix/inbound_networks, reject_non_fqdn_sender, reject_unknown_sender_domain"),
    ("all", "own_senders", "check_sender_access lmdb:/etc/postfix/senders, reject"),
    ("all", "smtpd_milters", "{ unix:spamass/spamass.sock, default_action=accept }"),
    ("all", "non_smtpd_milters", None),
    ("all", "milter_connect_macros", "i j {daemon_name} v {if_name} _"),
    ("all", "header_checks", "regexp:/etc/postfix/inbound_header_checks"),
    ("plain", "smtpd_client_restrictions", "permit_mynetworks, reject_rbl_client bl.example.net=127.0.0.2"),
    ("plain", "smtpd_recipient_restrictions", f"{FIRST}, reject_unverified_recipient, {POSTGREY} {DEFER} }}"),
    ("plain", "smtpd_milters", "inet:127.0.0.1:11332"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "name", "value"), PARAMETERS)
def test_parameters(said: dict[str, dict[str, Any]], case: str, name: str, value: str | None) -> None:
    assert parameter(said[case], name) == value


def test_a_private_relay_has_nothing_of_it(said: dict[str, dict[str, Any]]) -> None:
    """So that a relay that exists stays as it is."""
    private = said["private"]
    assert private["inbound_services"] == private["inbound_packages"] == []
    strange = [
        name
        for name in private["settings"]
        if name.startswith("postscreen_") and name != "postscreen_upstream_proxy_protocol"
    ]
    assert (
        strange == []
        and "smtpd_helo_restrictions" not in private["settings"]
        and "header_checks" not in private["settings"]
    )


def test_nobody_is_let_through_before_the_destination_is_judged(said: dict[str, dict[str, Any]]) -> None:
    """In every case: who may relay is said by the same two words, and for recipients by them before all that asks somebody else."""
    for case, known in said.items():
        assert parameter(known, "smtpd_relay_restrictions") == "permit_mynetworks, reject_unauth_destination"
        words = (parameter(known, "smtpd_recipient_restrictions") or "").split(", ")
        if case not in ("private", "claimed by nobody"):
            assert words[:3] == ["reject_unlisted_recipient", "permit_mynetworks", "reject_unauth_destination"]


def test_tables(said: dict[str, dict[str, Any]]) -> None:
    known = said["all"]
    assert entries(known, "inbound_recipients") == {"joe@example.org": "OK"}
    assert entries(known, "inbound_clients") == [
        {"key": "192.0.2.77", "value": "permit"},
        {"key": "203.0.113.0/24", "value": "reject"},
    ]
    assert entries(known, "inbound_header_checks") == [{"key": "/^Subject: x/", "value": "REJECT no"}]
    assert [one["key"] for one in entries(known, "inbound_networks")] == [
        "127.0.0.0/8",
        "::1/128",
        "192.0.2.0/28",
        "2001:db8::/64",
    ]
    asked = f"reject_rbl_client {KEY}.dq.example.net=127.0.0.[2..254]"
    assert entries(known, "inbound_dnsbls") == [{"key": "0.0.0.0/0", "value": asked}, {"key": "::/0", "value": asked}]
    (reply,) = entries(known, "inbound_dnsbl_replies")
    pattern = reply["key"].strip("/")  # as Postfix 3.10 and 3.7 look for it
    for asked in (f"{KEY}.dq.example.net", f"{KEY}.dq.example.net=127.0.0.[2..254]"):
        assert re.search(pattern, asked)
    assert not re.search(pattern, "dq.example.net")
    assert reply["value"].startswith("$$rbl_code 5.7.1 ") and "on the list dq.example.net" in reply["value"]
    unneeded = [one["path"] for one in said["usual"]["inbound_maps"] if one["state"] == "present"]
    assert unneeded == []


@pytest.mark.parametrize("case", CASES)
def test_each_table_is_one_that_postconf_takes(said: dict[str, dict[str, Any]], case: str) -> None:
    """One that is not to be there, too."""
    for table in said[case]["maps"] + said[case]["inbound_maps"]:
        assert parse_map(table).absent is (table.get("state") == "absent")


def test_a_key_is_in_one_table_that_is_secret(said: dict[str, dict[str, Any]]) -> None:
    known = said["all"]
    assert KEY not in json.dumps([known["settings"], known["inbound_master"], known["complaints"]])
    assert [one["path"] for one in known["inbound_maps"] if KEY in json.dumps(one)] == ["/etc/postfix/inbound_dnsbls"]
    (table,) = [one for one in known["inbound_maps"] if KEY in json.dumps(one)]
    assert (
        table["secret"] is True
        and table["mode"] == "0600"
        and KEY not in json.dumps([one["key"] for one in table["entries"]])
    )


def test_who_listens(said: dict[str, dict[str, Any]]) -> None:
    for case, command, processes, state in (("usual", "postscreen", "1", "present"), ("plain", "smtpd", "-", "absent")):
        first, *others = said[case]["inbound_master"]
        assert (first["service"], first["type"], first["command"], first["maxproc"]) == (
            "smtp",
            "inet",
            command,
            processes,
        )
        assert [(one["service"], one["state"]) for one in others] == [
            ("smtpd", state),
            ("dnsblog", state),
            ("tlsproxy", state),
        ]


DAEMONS = [
    ("usual", ["rspamd-inbound"], ["rspamd"]),
    ("all", ["spamd", "spamass-milter", "postgrey"], ["spamassassin", "spamd", "spamc", "spamass-milter", "postgrey"]),
    ("plain", ["postgrey"], ["postgrey"]),
]


@pytest.mark.parametrize(("case", "services", "packages"), DAEMONS)
def test_daemons(said: dict[str, dict[str, Any]], case: str, services: list[str], packages: list[str]) -> None:
    assert said[case]["inbound_services"] == services
    assert said[case]["inbound_packages"] == packages


COMPLAINTS = {
    "nowhere": "relay_inbound_domains: nothing says where mail for example.org goes, and by its MX record it would come back here:"
    " name its server in relay_transports, or a relay_smarthost",
    "itself": "relay_inbound_domains: relay1.example.org is the host itself, whose mail is local: leave it out",
    "no domain": 'relay_inbound_domains: "example.org, permit" is no domain: give one such as example.org',
    "stray": "relay_inbound_recipients: joe@sub.example.org is no address in one of relay_inbound_domains: mend it, or list its domain there",
    "clients": "relay_inbound_clients: 192.0.2.1 must be permit or reject",
    "scores": "relay_inbound_reject_score is not above relay_inbound_tag_score, so that nothing would be tagged: raise it",
    "claimed": "relay_postfix_settings: postscreen_greet_action is set by this role: use the variable of the role, or leave it out",
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_complaints(said: dict[str, dict[str, Any]], case: str) -> None:
    assert said[case]["complaints"] == ([COMPLAINTS[case]] if case in COMPLAINTS else [])


# ---------------------------------------------------------------- and back: what adopt.yml makes of such a relay

READ_BACK = {
    "usual": [],
    "plain": [],
    "all": [
        ("cidr:/etc/postfix/inbound_dnsbls", "", "lists with a key: what they are stays on the host, as the key does")
    ],
}


@pytest.mark.parametrize("case", READ_BACK)
def test_such_a_relay_describes_itself(said: dict[str, dict[str, Any]], case: str) -> None:
    given = {name: pf.parse_value(value, name) for name, value in said[case]["settings"].items() if value is not None}
    names = {"$myhostname": "relay1.example.org", "$mydomain": "example.org"}
    values = {
        name: re.sub(r"\$my(hostname|domain)", lambda found: names[found[0]], value) for name, value in given.items()
    }
    tables = {
        f"{one['type']}:{one['path']}": one["entries"] for one in said[case]["inbound_maps"] if one["type"] == "lmdb"
    }
    tables["lmdb:/etc/postfix/transport"] = USUAL["relay_transports"]
    tables["lmdb:/etc/postfix/senders"] = {"example.org": "OK", "<>": "OK"}
    read = {
        f"{one['type']}:{one['path']}": one["entries"]
        for one in said[case]["inbound_maps"]
        if one["type"] in ("cidr", "regexp")
    }
    tables |= {
        name: {one["key"]: one["value"] for one in lines}
        for name, lines in read.items()
        if name in (CLIENTS, HEADER_CHECKS)
    }
    master = "\n".join(
        f"{one['service']} {one['type']} - - - - - {one['command']}"
        for one in said[case]["inbound_master"]
        if one.get("state") != "absent"
    )
    found = adopt_postfix.PostfixFound(
        given, values, {}, tables=tables, master=master, signer=signer_of(values.get("smtpd_milters", ""))
    )
    host = ad.HostFacts("relay1.example.org", "example.org", addresses=("192.0.2.25",))
    told = adopt_postfix.describe(found, host)
    known = {**{name: option.get("default") for name, option in OPTIONS.items()}, **USUAL, **CASES[case]}
    unread = {"relay_inbound_greylist_delay", "relay_inbound_tag_score", "relay_inbound_reject_score"}
    wanted = {name: value for name, value in known.items() if name.startswith("relay_inbound_") and name not in unread}
    if case == "all":
        wanted |= {
            "relay_inbound_recipients": ["joe@example.org"],
            "relay_inbound_dnsbls": [{"zone": "bl.example.net", "replies": "127.0.0.[2..254]"}],
        }
    assert {name: told.variables.get(name) for name in wanted} == wanted
    assert told.variables.get("relay_sender_domains", []) == known["relay_sender_domains"]
    assert told.variables["relay_postfix_settings"] == {}
    assert [(note.item, note.value, note.reason) for note in told.notes] == READ_BACK[case]
