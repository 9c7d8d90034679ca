# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Postfix that takes mail from outside and hands it on, described in the variables of the role relay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _adopt as ad
from ansible_collections.postmaster.mail.plugins.module_utils import _adopt_filter as af
from ansible_collections.postmaster.mail.plugins.module_utils import _adopt_postfix as postfix
from ansible_collections.postmaster.mail.plugins.module_utils import _postfix as pf
from ansible_collections.postmaster.mail.plugins.plugin_utils import _adopt_inventory

# As a students' association published it, word for word.
GUIDE = (Path(__file__).parents[1] / "integration" / "postconf" / "guide.cf").read_text(encoding="utf-8")
TABLES = {
    "hash:/etc/postfix/tls_policy": {"[smtp-relay.gmail.com]:587": "encrypt"},
    "hash:/etc/postfix/transport": {"restricted@abakus.no": "lmtp:[127.0.0.1]:8024", "*": "smtp:[smtp-relay.gmail.com]:587"},
}  # fmt: skip
DEFAULTS = {
    "myhostname": "luke.abakus.no",
    "myorigin": "luke.abakus.no",
    "maximal_queue_lifetime": "5d",
    "bounce_queue_lifetime": "5d",
    "message_size_limit": "10240000",
    "smtpd_recipient_limit": "1000",
    "smtpd_client_connection_count_limit": "50",
    "smtpd_client_connection_rate_limit": "0",
    "smtpd_client_message_rate_limit": "0",
    "smtpd_client_recipient_rate_limit": "0",
    "milter_default_action": "tempfail",
}
HOST = ad.HostFacts("luke.abakus.no", "abakus.no", aliases="root: webkom@abakus.no\n", addresses=("129.241.208.5",))


def described(text: str, *, tables: dict[str, dict[str, str]] | None = None, **more: Any) -> ad.Description:
    given = {name: pf.squeeze(value) for name, value in pf.MainCf.parse(text).as_dict().items()}
    exempt = {"smtpd_client_event_limit_exceptions": given.get("mynetworks", "")}
    found = postfix.PostfixFound(
        given, {**DEFAULTS, **exempt, **given}, DEFAULTS, tables=TABLES if tables is None else tables, **more
    )
    return postfix.describe(found, HOST)


def test_the_guide_as_it_stands() -> None:
    said = described(GUIDE)
    assert said.role == "relay" and said.secrets == {}
    usual = {name: value for name, value in said.variables.items() if ad.RELAY_DEFAULTS.get(name, "") == value}
    assert {name: value for name, value in said.variables.items() if name not in usual} == {
        "relay_hostname": "luke.abakus.no",
        "relay_domain": "abakus.no",
        "mail_addresses": ["129.241.208.5"],
        "relay_networks": ["129.241.208.0/23"],
        "relay_inet_protocols": "ipv4",
        "relay_signer": "none",
        "relay_signer_failure": "accept",
        "relay_smarthost": "smtp-relay.gmail.com",
        "relay_smarthost_tls": "encrypt",
        "relay_transports": {"restricted@abakus.no": "lmtp:[127.0.0.1]:8024"},
        "relay_tls_cert_file": "/etc/ssl/abakus/star.abakus.no.bundle.crt",
        "relay_tls_key_file": "/etc/ssl/abakus/star.abakus.no.key",
        "relay_inbound_domains": ["abakus.no", "nyitrondheim.no", "hs.abakus.no"],
        "relay_inbound_postscreen": False,
        "relay_inbound_dnsbls": [
            {"zone": "bl.spamcop.net"},
            {"zone": "zen.spamhaus.org", "replies": "127.0.0.[2..11]"},
            {"zone": "b.barracudacentral.org"},
        ],
        "relay_inbound_greylist": True,
        "relay_inbound_greylist_failure": "tempfail",
        "relay_inbound_filter": "spamassassin",
        "relay_root_address": "webkom@abakus.no",
        "relay_message_size_limit": 10240000,
        "relay_header_size_limit": 4096000,
        "relay_client_connection_limit": 0,
    }  # fmt: skip
    assert _adopt_inventory.host_file(said.as_dict(), "luke", ())


def test_what_the_guide_is_told() -> None:
    """Each old name, each retired list, and what would not have worked, in words."""
    told = {(note.item, note.value): note.reason for note in described(GUIDE).notes}
    assert {item for item, _value in told} == {
        "transport_maps *", "reject_rbl_client", "zen.spamhaus.org", "relay_recipient_maps", "smtpd_relay_restrictions", "smtpd_use_tls",
        "smtpd_tls_session_cache_database", "smtp_sasl_auth_enable", "smtp_sasl_security_options", "smtp_tls_security_level",
    }  # fmt: skip
    retired = "the list has been retired; zen.spamhaus.org holds what was in it and is asked in its place"
    assert told["reject_rbl_client", "sbl-xbl.spamhaus.org"] == told["reject_rbl_client", "cbl.abuseat.org"] == retired
    assert told["smtpd_relay_restrictions", "reject_invalid_hostname"] == "the role says reject_invalid_helo_hostname"
    assert told["smtpd_relay_restrictions", "defer_unauth_destination"] == "the role says reject_unauth_destination"
    assert "takes the words for restrictions" in told["smtpd_relay_restrictions", "#"]
    assert "without smtp_sasl_password_maps Postfix's client would stop" in told["smtp_sasl_auth_enable", "yes"]
    assert "registered hosts only" in told["reject_rbl_client", "b.barracudacentral.org"]
    assert told["transport_maps *", "smtp:[smtp-relay.gmail.com]:587"].startswith("it takes the host's own mail")


NARROW = {"zone": "bl.example.net", "replies": "127.0.0.[2;4]"}
FRIENDS = "smtpd_recipient_restrictions = check_sender_access hash:/etc/postfix/friends, reject_unknown_client"
VARIABLES = [
    ("relay_domains = example.net\nrelayhost = [mx.example.net]", "relay_inbound_domains", ["example.net"]),
    ("mydestination = luke.abakus.no, abakus.no\nmynetworks = 192.0.2.0/28", "relay_inbound_domains", None),
    ("smtpd_client_restrictions = reject_rbl_client bl.example.net=127.0.0.[2;4]", "relay_inbound_dnsbls", [NARROW]),
    ("smtpd_client_restrictions = reject_rbl_client dnsbl.sorbs.net", "relay_inbound_dnsbls", []),
    ("postscreen_dnsbl_sites = bl.example.net=127.0.0.[2;4]*2, other.example.net", "relay_inbound_dnsbls", [NARROW, {"zone": "other.example.net"}]),
    ("smtpd_recipient_restrictions = check_policy_service { inet:127.0.0.1:10023, default_action=DUNNO }", "relay_inbound_greylist_failure", "accept"),
    ("smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:10023", "relay_inbound_greylist_failure", "tempfail"),
    ("smtpd_recipient_restrictions = check_policy_service unix:private/spf", "relay_inbound_greylist", False),
    ("smtpd_milters = { inet:127.0.0.1:11336, default_action=tempfail }", "relay_inbound_filter", "rspamd"),
    ("smtpd_milters = { inet:127.0.0.1:11336, default_action=tempfail }", "relay_inbound_filter_failure", "tempfail"),
    ("smtpd_milters =", "relay_inbound_filter", "none"),
    ("relay_recipient_maps = lmdb:/etc/postfix/inbound_recipients", "relay_inbound_recipients", ["joe@example.net"]),
    ("relay_recipient_maps = ldap:/etc/postfix/ldap.cf", "relay_inbound_recipients", []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "name", "value"), VARIABLES)
def test_variables(text: str, name: str, value: object) -> None:
    whole = text if "mydestination" in text else f"relay_domains = example.net\nrelayhost = [mx.example.net]\n{text}\n"
    said = described(whole, tables={"lmdb:/etc/postfix/inbound_recipients": {"joe@example.net": "OK"}})
    assert said.variables.get(name) == value


def test_postscreen_is_what_listens() -> None:
    text = "relay_domains = example.net\nrelayhost = [mx.example.net]"
    assert described(text, master="smtp inet n - y - 1 postscreen\n").variables["relay_inbound_postscreen"] is True
    assert (
        described(text, master="#smtp inet n - y - 1 postscreen\nsmtp inet n - y - - smtpd\n").variables[
            "relay_inbound_postscreen"
        ]
        is False
    )


def test_what_no_variable_says_is_told() -> None:
    text = f"relay_domains = example.net\nrelayhost = [mx.example.net]\n{FRIENDS}"
    told = [
        (note.item, note.value, note.reason)
        for note in described(text).notes
        if note.item.startswith("smtpd_recipient")
    ]
    assert told == [
        ("smtpd_recipient_restrictions", "check_sender_access hash:/etc/postfix/friends", "no variable says this"),
        ("smtpd_recipient_restrictions", "reject_unknown_client", "the role says reject_unknown_client_hostname"),
        ("smtpd_recipient_restrictions", "reject_unknown_client", "no variable says this"),
    ]


# ---------------------------------------------------------------- what the daemons are told

STARTED = [
    ("", 'OPTIONS="-u spamass-milter -i 127.0.0.1"\n#OPTIONS="${OPTIONS} -r 15"\n', ["-u", "spamass-milter", "-i", "127.0.0.1"]),
    ("", 'OPTIONS="-u x"\n# Refuse it.\nOPTIONS="${OPTIONS} -r 15"  # all of it\n', ["-u", "x", "-r", "15"]),
    ("[Service]\nExecStart=\nExecStart=/usr/sbin/x -r 9\n", 'OPTIONS="-r 15"\n', ["-r", "9"]),
    ("[Service]\nExecStart=/usr/sbin/x \\\n -m $OPTIONS\n", 'OPTIONS="-r 15"\n', ["-m", "-r", "15"]),
    ("", "OPTIONS=\"-r 15\n", ['"-r']),
    ("", "", []),
]  # fmt: skip


@pytest.mark.parametrize(("unit", "default", "expected"), STARTED)
def test_words_that_a_daemon_is_started_with(unit: str, default: str, expected: list[str]) -> None:
    assert af.options([unit], default, "OPTIONS") == expected


SPAMASSASSIN = [
    ([], "", (5, None)),
    (["# required_score 3\n", "required_hits 4\nrequired_score 6.5\n"], "-r 15", (6.5, 15)),
    (["required_score 7\n"], "-r -1", (7, 7)),
    (["required_score seven\n"], "-r15 -- -r 99", (5, 15)),
    (["  required_score 7  # points\n"], "-r", (7, None)),
]


@pytest.mark.parametrize(("texts", "words", "expected"), SPAMASSASSIN)
def test_scores_of_spamassassin(texts: list[str], words: str, expected: tuple[float, float | None]) -> None:
    found = af.spamassassin(texts, words.split())
    assert (found.tag, found.reject) == expected


RSPAMD = [
    ('{"reject": 12, "add_header": 4.5, "greylist": 3}', af.Scores(4.5, 12)),
    ('{"actions": {"reject": null, "add_header": 7}}', af.Scores(7, None)),
    ('{"actions": {"reject": {"x": 1}, "add_header": true}}', af.Scores(None, None)),
    ("{}", None), ("", None), ("no JSON", None), ("[1]", None), ('{"actions": []}', None), ("[" * 5000, None),
]  # fmt: skip


@pytest.mark.parametrize(("dump", "expected"), RSPAMD)
def test_scores_of_rspamd(dump: str, expected: af.Scores | None) -> None:
    assert af.rspamd(dump) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--inet=10023", 300),
        ("--inet=10023 --delay=60", 60),
        ("--delay 90 -d", 90),
        ("--delay=soon", 300),
        ("--delay=0", 0),
    ],
)
def test_how_long_the_greylist_lets_wait(words: str, expected: int) -> None:
    assert af.postgrey(words.split()) == expected


TAKEN = "the role marks from fewer points on than it refuses, and refuses from a whole number on"
NOTHING = "{} refused nothing by its score; 10000 points are more than a message gets"
SCORES = [
    (af.Scores(6, 15), (6, 15), []),
    (af.Scores(6.5, 15), (6.5, 15), []),
    (af.Scores(5, 12.5), (5, 13), [("5, 12.5", TAKEN)]),
    (af.Scores(7, 7), (6, 7), [("7, 7", TAKEN)]),
    (af.Scores(None, 7), (6, 7), [("none, 7", TAKEN)]),
    (af.Scores(5, None), (5, 10_000), [("5, none", NOTHING)]),
]


@pytest.mark.parametrize("kind", ["spamassassin", "rspamd"])
@pytest.mark.parametrize(("scores", "expected", "told"), SCORES)
def test_scores_become_variables(
    kind: str, scores: af.Scores, expected: tuple[float, int], told: list[tuple[str, str]]
) -> None:
    milter = {"spamassassin": "unix:spamass/spamass.sock", "rspamd": "inet:127.0.0.1:11336"}[kind]
    text = f"relay_domains = example.net\nrelayhost = [mx.example.net]\nsmtpd_milters = {milter}\n"
    said = described(text, filters=af.FilterFacts({kind: scores}))
    assert (said.variables["relay_inbound_tag_score"], said.variables["relay_inbound_reject_score"]) == expected
    notes = [(note.value, note.reason) for note in said.notes if note.item.endswith("_score")]
    assert notes == [(value, reason.format(kind)) for value, reason in told]


def test_an_rspamd_that_filters_and_signs_becomes_the_two() -> None:
    """The twin is one that signs and does nothing else, as the role has it."""
    text = "relay_domains = example.net\nrelayhost = [mx.example.net]\nsmtpd_milters = inet:localhost:11332\n"
    text += "milter_default_action = tempfail\n"
    for whole, expected in ((True, ("rspamd", "tempfail", "rspamd", 4)), (False, ("none", "accept", "rspamd", None))):
        facts = af.FilterFacts({"rspamd": af.Scores(4, 9)}, whole_rspamd=whole)
        said = described(text, signer="rspamd", filters=facts).variables
        names = ("inbound_filter", "inbound_filter_failure", "signer", "inbound_tag_score")
        assert tuple(said.get(f"relay_{name}") for name in names) == expected
