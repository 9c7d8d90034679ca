# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that run mail already, described in the variables of our roles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.postmaster.mail.plugins.module_utils import _adopt as ad
from ansible_collections.postmaster.mail.plugins.module_utils import _adopt_exim as exim
from ansible_collections.postmaster.mail.plugins.module_utils import _adopt_postfix as postfix
from ansible_collections.postmaster.mail.plugins.module_utils import _postfix as pf
from ansible_collections.postmaster.mail.plugins.module_utils import _satellite
from hypothesis import given
from hypothesis import strategies as st

ROLES = Path(__file__).resolve().parents[2] / "roles"
HOST = ad.HostFacts(
    "web1.example.org",
    "example.org",
    aliases="postmaster: root\nroot: ops@example.net\n",
    addresses=("192.0.2.25",),
)
BUILT_IN = {
    "inet_interfaces": "all",
    "inet_protocols": "all",
    "myhostname": "web1.example.org",
    "myorigin": "web1.example.org",
    "mydestination": "web1.example.org, localhost.example.org, localhost",
    "mynetworks": "127.0.0.0/8 [::1]/128",
    "maximal_queue_lifetime": "5d",
    "bounce_queue_lifetime": "5d",
    "smtp_sasl_auth_enable": "no",
    "milter_default_action": "tempfail",
    "message_size_limit": "10240000",
    "header_size_limit": "102400",
    "smtpd_recipient_limit": "1000",
    "smtpd_client_connection_count_limit": "50",
    "smtpd_client_connection_rate_limit": "0",
    "smtpd_client_message_rate_limit": "0",
    "smtpd_client_recipient_rate_limit": "0",
    "smtpd_client_event_limit_exceptions": "127.0.0.0/8 [::1]/128",
}
SATELLITE = {"relayhost": "[relay.example.org]:25", "inet_interfaces": "loopback-only", "myorigin": "example.org"}
GATEWAY = {"mynetworks": "127.0.0.0/8 192.0.2.0/28 [2001:db8::]/64"}


def found(given_: dict[str, str], **more: Any) -> postfix.PostfixFound:
    """A Postfix whose main.cf holds ``given_``."""
    return postfix.PostfixFound(given_, {**BUILT_IN, **given_}, defaults=BUILT_IN, **more)


def items(description: ad.Description) -> list[str]:
    return [note.item for note in description.notes]


# ---------------------------------------------------------------- the tables are those of the roles


def role_vars(role: str, name: str) -> dict[str, Any]:
    """A role's variables as they are written."""
    path = ROLES / role / "vars" / name
    return dict(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    ("role", "defaults", "others"),
    [
        (
            "satellite_postfix",
            ad.SATELLITE_DEFAULTS,
            {"satellite_username", "satellite_password", "satellite_replace_mta"},
        ),
        (
            "satellite_exim",
            ad.SATELLITE_DEFAULTS,
            {"satellite_username", "satellite_password", "satellite_replace_mta"},
        ),
        (
            "relay",
            ad.RELAY_DEFAULTS,
            {
                "relay_domain",
                "relay_replace_mta",
                "relay_dkim_keys",
                "relay_last_attempt",
                "relay_smarthost_username",
                "relay_smarthost_password",
                "relay_probe_host",
                "relay_public_addresses",
                "relay_preflight_warn_only",
                "relay_min_free_mb",
            },
        ),
    ],
)
def test_defaults_are_those_of_the_role(role: str, defaults: dict[str, Any], others: set[str]) -> None:
    written = yaml.safe_load((ROLES / role / "defaults/main.yml").read_text())
    assert {name: value for name, value in written.items() if name not in others} == defaults
    assert others <= written.keys()


@pytest.mark.parametrize(
    ("main", "fixed"),
    [
        (role_vars("satellite_postfix", "main.yml")["__satellite_postfix_main"], postfix.SATELLITE_FIXED),
        (role_vars("relay", "main/postfix.yml")["__relay_main"], postfix.RELAY_FIXED),
    ],
    ids=["satellite_postfix", "relay"],
)
def test_every_parameter_of_a_role_is_known(main: dict[str, Any], fixed: dict[str, str]) -> None:
    """One that a role begins to set must be translated, or be compared with what the role sets."""
    source = Path(postfix.__file__).read_text()
    assert [name for name in main if name not in fixed and f'"{name}"' not in source] == []
    constant = {name: value for name, value in main.items() if value is not None and "{{" not in str(value)}
    written = {name: pf.parse_value(value, name) for name, value in constant.items()}
    assert {name: fixed.get(name, text) for name, text in written.items()} == written


# ---------------------------------------------------------------- Postfix


def test_a_satellite() -> None:
    said = postfix.describe(found(SATELLITE), HOST)
    assert (said.role, said.notes, said.secrets) == ("satellite_postfix", [], {})
    assert said.variables == {
        "satellite_domain": "example.org",
        "satellite_hostname": "",
        "satellite_relay": "relay.example.org",
        "satellite_relay_port": 25,
        "satellite_inet_protocols": "all",
        "satellite_masquerade": True,
        "satellite_masquerade_exceptions": [],
        "satellite_tls": "none",
        "satellite_tls_ca_file": "",
        "satellite_queue_lifetime": "5d",
        "satellite_mailx": False,
        "satellite_root_address": "ops@example.net",
    }


ROLE_OF = [
    (SATELLITE, "satellite_postfix"),
    ({**SATELLITE, "inet_interfaces": "all"}, "satellite_postfix"),
    ({**SATELLITE, "smtpd_milters": "inet:localhost:8891"}, "relay"),
    (GATEWAY, "relay"),
    ({**GATEWAY, "relayhost": "relay.example.org"}, "relay"),
    ({**GATEWAY, **SATELLITE}, "satellite_postfix"),
    ({}, ""),
    ({"default_transport": "error: local only"}, ""),
    ({**GATEWAY, "virtual_mailbox_domains": "example.org"}, ""),
    ({**GATEWAY, "smtpd_sasl_auth_enable": "yes"}, ""),
    ({**GATEWAY, "relay_domains": "example.net"}, ""),
    ({**GATEWAY, "relay_domains": "example.net", "relayhost": "[mx.example.net]"}, "relay"),
    ({**GATEWAY, "relay_domains": "hash:/etc/postfix/domains", "relayhost": "[mx.example.net]"}, ""),
    ({"mynetworks": "0.0.0.0/0"}, ""),
    ({"mynetworks": "cidr:/etc/postfix/networks"}, ""),
]


@pytest.mark.parametrize(("given_", "role"), ROLE_OF)
def test_which_role_fits(given_: dict[str, str], role: str) -> None:
    said = postfix.describe(found(given_), HOST)
    assert said.role == role
    assert role or said.notes, "a host without a role must be told why"


def test_people_who_log_in_at_a_port_of_their_own() -> None:
    master = "submission inet n - y - - smtpd\n  -o smtpd_sasl_auth_enable=yes\n"
    assert postfix.describe(found(SATELLITE, master=master), HOST).role == ""


VARIABLE_OF = [
    ({"relayhost": "relay.example.org"}, "satellite_relay", "relay.example.org", ["relayhost"]),
    ({"relayhost": "[192.0.2.1]:submission"}, "satellite_relay_port", 587, []),
    ({"relayhost": "[2001:db8::1]:26"}, "satellite_relay", "2001:db8::1", []),
    ({"relayhost": "10.1.0.2"}, "satellite_relay", "10.1.0.2", []),
    ({"relayhost": "[relay.example.org]:465"}, "satellite_relay_port", 465, ["smtp_tls_wrappermode"]),
    ({"relayhost": "[a.example.org], [b.example.org]"}, "satellite_relay", "a.example.org", ["relayhost"]),
    ({"smtp_tls_security_level": "secure"}, "satellite_tls", "verify", []),
    ({"smtp_tls_security_level": "dane"}, "satellite_tls", "may", ["smtp_tls_security_level"]),
    ({"smtp_use_tls": "yes"}, "satellite_tls", "may", []),
    ({"smtp_tls_CAfile": "/etc/ssl/own.pem"}, "satellite_tls_ca_file", "/etc/ssl/own.pem", []),
    ({"inet_protocols": "ipv4"}, "satellite_inet_protocols", "ipv4", []),
    ({"inet_protocols": "ipv6, ipv4"}, "satellite_inet_protocols", "all", []),
    ({"maximal_queue_lifetime": "36h", "bounce_queue_lifetime": "36h"}, "satellite_queue_lifetime", "36h", []),
    ({"maximal_queue_lifetime": "2"}, "satellite_queue_lifetime", "2d", ["bounce_queue_lifetime"]),
    (
        {"masquerade_domains": "!news.example.org example.org"},
        "satellite_masquerade_exceptions",
        ["@news.example.org"],
        [],
    ),
    ({"myorigin": "/etc/mailname"}, "satellite_domain", "example.org", []),
    ({"myorigin": "web1.example.org"}, "satellite_masquerade", False, []),
    (
        {"myhostname": "batch.example.org", "mydestination": "batch.example.org"},
        "satellite_hostname",
        "batch.example.org",
        [],
    ),
    ({"mydestination": "web1.example.org old.example.net"}, "satellite_relay_port", 25, ["mydestination"]),
    ({"mynetworks": "127.0.0.0/8 192.0.2.0/28"}, "satellite_relay_port", 25, ["mynetworks"]),
    ({"always_bcc": "archive@example.org"}, "satellite_relay_port", 25, ["always_bcc"]),
    ({"sender_canonical_maps": "hash:/etc/postfix/x"}, "satellite_relay_port", 25, ["sender_canonical_maps"]),
    (
        {"compatibility_level": "3.6", "biff": "no", "smtpd_banner": "$myhostname ESMTP $mail_name (Debian)"},
        "satellite_relay_port",
        25,
        [],
    ),
]


@pytest.mark.parametrize(("given_", "name", "value", "told"), VARIABLE_OF)
def test_satellite_variables(given_: dict[str, str], name: str, value: object, told: list[str]) -> None:
    said = postfix.describe(found({**SATELLITE, **given_}), HOST)
    assert (said.variables.get(name), items(said)) == (value, told)


ALIASES = [
    (
        "root: alex\nalex: alex@example.org\n",
        {"satellite_root_address": "alex@example.org", "satellite_aliases": {"alex": ["alex@example.org"]}},
        [],
    ),
    ("root: alex\nalex: alex@b.test\n", {"satellite_root_address": "alex@b.test"}, ["/etc/aliases"]),
    ("root: a@example.org, b@example.org\n", {"satellite_root_address": "a@example.org"}, ["/etc/aliases root"]),
    ("root: alex\n", {}, ["/etc/aliases root"]),
    ("", {}, ["/etc/aliases root"]),
    ("root: a@web1.example.org\n", {}, ["/etc/aliases root"]),
    (
        "root: a@b.test\nabuse: c@d.test\n",
        {"satellite_root_address": "a@b.test", "satellite_aliases": {"abuse": ["c@d.test"]}},
        [],
    ),
    ("root: a@b.test\nnobody: /dev/null\n", {"satellite_root_address": "a@b.test"}, ["/etc/aliases nobody"]),
    ("root: a@b.test\nroot: c@d.test\n", {"satellite_root_address": "c@d.test"}, []),
    ("a: b\nb: a\nroot: a\n", {}, ["/etc/aliases root", "/etc/aliases"]),
]


@pytest.mark.parametrize(("text", "variables", "told"), ALIASES)
def test_aliases_of_a_satellite(text: str, variables: dict[str, object], told: list[str]) -> None:
    said = ad.Description(variables={"satellite_domain": "example.org"})
    ad.describe_satellite_aliases(said, text, [], {"web1.example.org"})
    assert ({k: v for k, v in said.variables.items() if k != "satellite_domain"}, items(said)) == (variables, told)


def test_a_command_shows_its_name_only() -> None:
    said = postfix.describe(
        found(GATEWAY), replace(HOST, aliases='root: a@b.test\nfilter: "|/usr/bin/filter --key 12345"\n')
    )
    notes = {note.item: note.value for note in said.notes}
    assert notes["/etc/aliases filter"] == "|/usr/bin/filter ..."


def test_a_relay_with_all_it_has() -> None:
    tables = {
        "hash:/etc/postfix/transport": {"lists.example.org": "lmtp:inet:[192.0.2.40]:24"},
        "lmdb:/etc/postfix/tls": {"[smtp.example.net]:587": "secure match=nexthop", "example.net": "encrypt"},
    }
    given_ = {
        **GATEWAY,
        "relayhost": "[smtp.example.net]:587",
        "transport_maps": "hash:/etc/postfix/transport",
        "smtp_tls_policy_maps": "lmdb:/etc/postfix/tls",
        "smtp_sasl_auth_enable": "yes",
        "smtp_sasl_password_maps": "hash:/etc/postfix/sasl_passwd",
        "smtpd_milters": "inet:127.0.0.1:11332",
        "message_size_limit": "20000000",
        "delay_warning_time": "4h",
        "bounce_queue_lifetime": "1d",
        "smtp_tls_security_level": "may",
    }
    said = postfix.describe(found(given_, tables=tables, login_keys=["[smtp.example.net]:587"], signer="rspamd"), HOST)
    assert said.notes == []
    assert said.secrets == {
        "relay_smarthost_username": "vault_relay_smarthost_username",
        "relay_smarthost_password": "vault_relay_smarthost_password",
    }
    wanted = {
        "relay_hostname": "web1.example.org",
        "relay_domain": "example.org",
        "relay_networks": ["192.0.2.0/28", "2001:db8::/64"],
        "relay_smarthost": "smtp.example.net",
        "relay_smarthost_port": 587,
        "relay_smarthost_tls": "verify",
        "relay_tls_policies": {"example.net": "encrypt"},
        "relay_transports": {"lists.example.org": "lmtp:inet:[192.0.2.40]:24"},
        "relay_signer": "rspamd",
        "relay_message_size_limit": 20000000,
        "relay_bounce_queue_lifetime": "1d",
        "relay_client_connection_limit": 50,
        "relay_postfix_settings": {"delay_warning_time": "4h"},
        "relay_root_address": "ops@example.net",
        "mail_addresses": ["192.0.2.25"],
    }
    assert {name: said.variables[name] for name in wanted} == wanted


def test_clients_that_postfix_exempts_stay_exempt() -> None:
    exempt = {"smtpd_client_event_limit_exceptions": GATEWAY["mynetworks"]}
    assert postfix.describe(found({**GATEWAY, **exempt}), HOST).variables["relay_client_connection_limit"] == 0


# ---------------------------------------------------------------- Exim

SETTINGS = {
    "dc_eximconfig_configtype": "satellite",
    "dc_other_hostnames": "",
    "dc_local_interfaces": "127.0.0.1",
    "dc_readhost": "example.org",
    "dc_smarthost": "relay.example.org",
    "dc_use_split_config": "false",
    "dc_hide_mailname": "true",
}
RETRY = "x\nbegin retry\n\n*  *  F,2h,15m; G,16h,1h,1.5; F,4d,6h\n\nbegin rewrite\n"


def exim_found(**more: Any) -> exim.EximFound:
    settings = {**SETTINGS, **more.pop("settings", {})}
    return exim.EximFound(settings, generated=RETRY, **more)


EXIM = [
    ({}, {"satellite_relay": "relay.example.org", "satellite_tls": "may", "satellite_queue_lifetime": "4d"}, []),
    ({"settings": {"dc_smarthost": "relay.example.org::587"}}, {"satellite_relay_port": 587}, []),
    (
        {"settings": {"dc_smarthost": "[2001::db8::::25]::26"}},
        {"satellite_relay": "2001:db8::25", "satellite_relay_port": 26},
        [],
    ),
    (
        {"settings": {"dc_smarthost": "2001::db8::::25"}},
        {"satellite_relay": "2001:db8::25", "satellite_relay_port": 25},
        [],
    ),
    (
        {"settings": {"dc_smarthost": "a.example.org;b.example.org"}},
        {"satellite_relay": "a.example.org"},
        ["dc_smarthost"],
    ),
    ({"settings": {"dc_other_hostnames": "old.example.net"}}, {}, ["dc_other_hostnames"]),
    ({"settings": {"dc_local_interfaces": ""}}, {}, ["dc_local_interfaces"]),
    ({"login_hosts": ["relay.example.org"]}, {"satellite_tls": "encrypt"}, ["passwd.client"]),
    ({"macros": {"REMOTE_SMTP_SMARTHOST_HOSTS_REQUIRE_TLS": "*"}}, {"satellite_tls": "encrypt"}, []),
    ({"macros": {"MAIN_LOG_SELECTOR": "+all"}}, {}, ["macro MAIN_LOG_SELECTOR"]),
    ({"email_addresses": ["alex"]}, {}, ["/etc/email-addresses"]),
    ({"changed_files": ["/etc/exim4/exim4.conf.template"]}, {}, ["/etc/exim4/exim4.conf.template"]),
    ({"changed_files": ["/etc/exim4/conf.d/acl/30_x"]}, {}, []),
    ({"added_files": ["/etc/exim4/conf.d/router/999_own"]}, {}, ["/etc/exim4/conf.d/router/999_own"]),
]


@pytest.mark.parametrize(("more", "variables", "told"), EXIM)
def test_exim(more: dict[str, Any], variables: dict[str, object], told: list[str]) -> None:
    said = exim.describe(exim_found(**more), HOST)
    assert said.role == "satellite_exim"
    assert ({name: said.variables[name] for name in variables}, items(said)) == (variables, told)


NO_SATELLITE = [
    {"settings": {"dc_eximconfig_configtype": "internet"}},
    {"settings": {"dc_relay_nets": "192.0.2.0/24"}},
    {"overridden": True},
    {"macros": {"DKIM_SELECTOR": "mail"}},
    {"settings": {"dc_eximconfig_configtype": ""}},
]


@pytest.mark.parametrize("more", NO_SATELLITE)
def test_an_exim_that_is_no_satellite_is_left_alone(more: dict[str, Any]) -> None:
    said = exim.describe(exim_found(**more), HOST)
    assert said.role == "" and said.notes and said.variables == {}


LABEL = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True)


@given(users=st.lists(LABEL, unique=True, max_size=3), below=st.lists(LABEL, unique=True, max_size=3))
def test_rewriting_is_read_back(users: list[str], below: list[str]) -> None:
    domains = [f"{name}.example.org" for name in below]
    settings = _satellite.Settings(
        domain="example.org",
        relay="r.example.org",
        hostname="web1.example.org",
        root_address="a@b.test",
        masquerade_exceptions=(*users, *(f"@{one}" for one in domains)),
    )
    assert exim.read_rewrites(_satellite.exim_rewrites(settings)) == (users, domains)


# ---------------------------------------------------------------- hostile hosts

TEXT = st.text(alphabet=st.characters(codec=None), max_size=60)
NAMES = sorted(
    {*BUILT_IN, *postfix.RELAY_FIXED, *postfix.SATELLITE_FIXED, "relayhost", "transport_maps", "masquerade_domains"}
)


@given(st.dictionaries(st.sampled_from(NAMES), TEXT, max_size=12), TEXT, TEXT, TEXT)
def test_any_postfix_is_described(given_: dict[str, str], aliases: str, mailname: str, master: str) -> None:
    for base in ({}, SATELLITE, {**GATEWAY, "smtpd_milters": "inet:127.0.0.1:8891"}):
        host = replace(HOST, aliases=aliases, mailname=mailname)
        judge(postfix.describe(found({**base, **given_}, master=master, master_stock="x", signer="opendkim"), host))


@given(
    st.dictionaries(st.sampled_from(sorted(SETTINGS)), TEXT, max_size=6),
    TEXT,
    TEXT,
    st.dictionaries(TEXT, TEXT, max_size=3),
)
def test_any_exim_is_described(settings: dict[str, str], aliases: str, text: str, macros: dict[str, str]) -> None:
    texts = dict.fromkeys(exim.FRAGMENTS.values(), text)
    for more in ({}, {"texts": texts}):
        given_ = exim.EximFound({**SETTINGS, **settings}, macros=macros, generated=text, **more)
        judge(exim.describe(given_, replace(HOST, aliases=aliases)))


def judge(said: ad.Description) -> None:
    """Nothing of a description can do harm on the controller or on a screen."""
    assert all(ad.is_harmless(text) for text in ad.texts(said.variables)), said.variables
    for note in said.notes:
        assert all(text.isprintable() for text in note.as_dict().values()), note
        assert note.item and note.reason and note.remedy


HARMFUL = ["{{ lookup('pipe', 'id') }}", "{% raw %}", "{# x #}", "a\nb", "a\x1b[31m", "\ud800"]


@pytest.mark.parametrize("text", HARMFUL)
def test_templates_never_become_variables(text: str) -> None:
    said = ad.Description()
    said.put("relay_aliases", {"a": [text]}, "/etc/aliases")
    assert said.variables == {} and items(said) == ["/etc/aliases"]


SECRETS = [
    ("smtp_sasl_password_maps", "static:corp:pa55"),
    ("smtp_sasl_password_maps", "inline:{ relay=corp:pa55 }"),
    ("my_secret", "pa55"),
    ("x", "mysql://user:pa55@db/x"),
    ("x", "[relay]:587 corp:pa55word"),
    ("x", "run --password pa55"),
]


@pytest.mark.parametrize(("item", "value"), SECRETS)
def test_secrets_are_not_shown(item: str, value: str) -> None:
    assert ad.show_value(item, value) == ad.HIDDEN


@pytest.mark.parametrize(
    ("item", "value"), [("smtp_sasl_password_maps", "hash:/etc/postfix/sasl"), ("mydestination", "a.test")]
)
def test_what_is_no_secret_is_shown(item: str, value: str) -> None:
    assert ad.show_value(item, value) == value
