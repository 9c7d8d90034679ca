# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that signers use already, and the inventory that is written."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.postmaster.mail.plugins.filter.adopted_domains import adopted_domains
from ansible_collections.postmaster.mail.plugins.filter.adopted_groups import adopted_groups
from ansible_collections.postmaster.mail.plugins.filter.adopted_host import adopted_host
from ansible_collections.postmaster.mail.plugins.filter.adopted_report import adopted_report
from ansible_collections.postmaster.mail.plugins.filter.wanted_keys import wanted_keys
from ansible_collections.postmaster.mail.plugins.module_utils import _adopt as ad
from ansible_collections.postmaster.mail.plugins.module_utils import _adopt_dkim as dk
from ansible_collections.postmaster.mail.plugins.module_utils._adopt_dkim import DkimFound, KeyFile, Listed, Signing
from hypothesis import given
from hypothesis import strategies as st

A = Signing("a.test", "mail", "/etc/dkimkeys/mail.private")

OPENDKIM = [
    (
        "Domain a.test\nSelector mail\nKeyFile /etc/postfix/dkim.key\n",
        {},
        [("a.test", "mail", "/etc/postfix/dkim.key")],
        [],
    ),
    (
        "# Domain x\nDomain a.test, b.test # both\nSelector s\nKeyFile /k\n",
        {},
        [("a.test", "s", "/k"), ("b.test", "s", "/k")],
        ["KeyFile"],
    ),
    ("Domain refile:/etc/x\nSelector s\nKeyFile /k\n", {}, [], ["Domain"]),
    (
        "KeyTable refile:/k\nSigningTable refile:/s\n",
        {"/k": "one a.test:mail:/etc/dkimkeys/mail.private\n", "/s": "# x\n*@a.test one\n"},
        [("a.test", "mail", "/etc/dkimkeys/mail.private")],
        [],
    ),
    (
        "KeyTable /k\nSigningTable /s\n",
        {"/k": "one a.test:mail:MIIEsecret\n", "/s": "*@a.test one\n"},
        [],
        ["KeyTable", "SigningTable"],
    ),
    (
        "KeyTable /k\nSigningTable /s\n",
        {"/k": "one b.test:s:/b\n", "/s": "*@a.test one\n"},
        [("b.test", "s", "/b")],
        ["SigningTable"],
    ),
    ("KeyTable /k\nSigningTable /s\n", {"/k": "one %:s:/b\n", "/s": "*@a.test one\n"}, [("a.test", "s", "/b")], []),
    ("KeyTable csl:one=a.test:s:/b\nSigningTable /s\n", {}, [], ["KeyTable"]),
]


@pytest.mark.parametrize(("text", "tables", "signings", "told"), OPENDKIM)
def test_opendkim(text: str, tables: dict[str, str], signings: list[tuple[str, str, str]], told: list[str]) -> None:
    draft = ad.Description()
    found = dk.opendkim_signings(draft, dk.parse_opendkim(text), tables)
    assert found == [Signing(*one) for one in signings]
    assert [note.item for note in draft.notes] == told
    assert "MIIE" not in str(draft)


def test_settings_of_opendkim_that_the_role_has_not() -> None:
    draft = ad.Description()
    text = "Mode sv\nCanonicalization simple\nOversignHeaders From\nRequireSafeKeys false\nStatistics /x\n"
    dk.opendkim_leftovers(draft, dk.parse_opendkim(text))
    told = [f"opendkim.conf {name}" for name in ("canonicalization", "requiresafekeys", "statistics", "mode")]
    assert [note.item for note in draft.notes] == told


RSPAMD = [
    ({"domain": {"a.test": {"selectors": [{"selector": "mail", "path": "/k"}]}}}, [("a.test", "mail", "/k")]),
    ({"domain": {"a.test": {"selector": "mail", "path": "/$domain/$selector"}}}, [("a.test", "mail", "/a.test/mail")]),
    ({"dkim_signing": {"domain": {"a.test": {"path": "/k"}}}}, [("a.test", "dkim", "/k")]),
    ({"path": "/d/$domain.$selector.key", "selector": "dkim"}, [("b.test", "dkim", "/d/b.test.dkim.key")]),
    (
        {"path": "/d/$domain.$selector.key", "selector_map": "/m"},
        [("a.test", "s1", "/d/a.test.s1.key"), ("b.test", "dkim", "/d/b.test.dkim.key")],
    ),
    ({"path": "/d/$domain.$selector.key", "try_fallback": False}, []),
    ([], []),
    ({"domain": "x"}, []),
]


@pytest.mark.parametrize(("section", "signings"), RSPAMD)
def test_rspamd(section: object, signings: list[tuple[str, str, str]]) -> None:
    files = ["/d/b.test.dkim.key", "/d/README"]
    found = dk.rspamd_signings(ad.Description(), json.dumps(section), maps={"/m": "a.test s1\n"}, files=files)
    assert found == [Signing(*one) for one in signings]


JSON = st.recursive(
    st.none() | st.text(max_size=9) | st.integers(),
    lambda some: (
        st.lists(some) | st.dictionaries(st.sampled_from(["domain", "selectors", "path", "selector", "a.test"]), some)
    ),
    max_leaves=12,
)


@given(JSON, st.text(max_size=80), st.text(max_size=80))
def test_any_signer_is_read(section: object, conf: str, table: str) -> None:
    draft = ad.Description(role="relay")
    signings = dk.rspamd_signings(draft, json.dumps(section), maps={}, files=["/a.test"])
    dk.map_files(json.dumps(section))
    settings = {**dk.parse_opendkim(conf), "keytable": "/k", "signingtable": "/s"}
    signings += dk.opendkim_signings(draft, settings, {"/k": table, "/s": table})
    dk.opendkim_leftovers(draft, settings)
    files = {one.path: KeyFile(one.path, "rsa", 2048) for one in signings}
    dk.describe(draft, DkimFound(signings, files))
    assert all(ad.is_harmless(text) for text in ad.texts(draft.variables))


MILTERS = [
    ("inet:127.0.0.1:11332", "", "rspamd"),
    ("unix:/run/rspamd/milter.sock", "", "rspamd"),
    ("inet:8891@localhost", "", "opendkim"),
    ("local:opendkim/opendkim.sock", "", "opendkim"),
    ("inet:localhost:12301", "inet:12301@localhost", "opendkim"),
    ("inet:localhost:18891", "", ""),
    ("", "local:/run/opendkim.sock", ""),
]


@pytest.mark.parametrize(("milters", "socket", "signer"), MILTERS)
def test_which_signer(milters: str, socket: str, signer: str) -> None:
    assert dk.signer_of(milters, socket) == signer


PLACES = [
    ("/etc/dkimkeys/mail.private", "/etc/dkimkeys", "/etc/dkimkeys/mail.private"),
    ("/etc/opendkim/keys/mail.private", "/etc/opendkim/keys", "/etc/opendkim/keys/mail.private"),
    ("/etc/postfix/mail.private", "/etc/dkimkeys", "/etc/dkimkeys/a.test.mail.key"),
    ("/etc/opendkim/keys/a.test/mail.private", "/etc/dkimkeys", "/etc/dkimkeys/a.test.mail.key"),
    ("/etc/dkimkeys/my key.private", "/etc/dkimkeys", "/etc/dkimkeys/a.test.mail.key"),
]


@pytest.mark.parametrize(("path", "directory", "target"), PLACES)
def test_where_a_key_lies(path: str, directory: str, target: str) -> None:
    draft = ad.Description(role="relay")
    dk.describe(draft, DkimFound([A], {A.path: KeyFile(path, "rsa", 2048)}))
    assert draft.variables["relay_dkim_directory"] == directory
    assert [key["path"] for key in draft.variables["mail_dkim_adopted"]] == [target]
    assert bool(draft.notes) == (path != target)


def test_keys_of_ours_need_no_words() -> None:
    draft = ad.Description(role="relay")
    listed = {("a.test", "mail"): Listed("/etc/dkimkeys/mail.private", True)}
    dk.describe(draft, DkimFound([A], {A.path: KeyFile(A.path, "rsa", 2048)}, listed))
    assert "mail_dkim_adopted" not in draft.variables and draft.notes == [] and draft.keys[0]["listed"]


BAD_KEYS = [
    (Signing("a.test", "mail", "/k"), KeyFile("/k", problem="the file is no private key in PEM")),
    (Signing("a.test", "-x-", "/k"), KeyFile("/k", "rsa", 2048)),
    (Signing("a.test", "mail", "/k"), KeyFile("/{{ x }}", "rsa", 2048)),
]


@pytest.mark.parametrize(("signing", "file"), BAD_KEYS)
def test_keys_that_cannot_be_taken_are_told(signing: Signing, file: KeyFile) -> None:
    draft = ad.Description(role="relay")
    dk.describe(draft, DkimFound([signing], {"/k": file}))
    assert "mail_dkim_adopted" not in draft.variables and [note.item for note in draft.notes] == ["DKIM key"]


def test_a_second_key_of_a_domain_is_told() -> None:
    draft = ad.Description(role="relay")
    two = [A, Signing("a.test", "old", "/etc/dkimkeys/old.private")]
    dk.describe(draft, DkimFound(two, {one.path: KeyFile(one.path, "rsa", 2048) for one in two}))
    assert [key["selector"] for key in draft.variables["mail_dkim_adopted"]] == ["mail"]
    assert draft.notes[0].value == "old of a.test"


# ---------------------------------------------------------------- the files

FOUND: dict[str, Any] = {
    "mta": "postfix",
    "role": "satellite_postfix",
    "variables": {
        "satellite_domain": "a.test",
        "satellite_relay": "r.a.test",
        "satellite_relay_port": 25,
        "satellite_tls": "may",
    },
    "secrets": {"satellite_password": "vault_satellite_password"},
    "keys": [],
    "untranslated": [{"item": "x", "value": "1", "reason": "why\n---\nevil: 1", "remedy": "do"}],
}


def test_a_host_file() -> None:
    text = adopted_host(FOUND, "web1", [])
    assert yaml.safe_load(text) == {
        "satellite_domain": "a.test",
        "satellite_relay": "r.a.test",
        "satellite_tls": "may",
        "satellite_password": "{{ vault_satellite_password }}",
    }
    assert "# - x (1): why --- evil: 1; do." in text
    assert "satellite_relay_port: 25" in adopted_host(FOUND, "web1", ["satellite_relay_port"])
    assert adopted_host({**FOUND, "role": ""}, "web1") == ""


LIES = [
    {"variables": {"ansible_connection": "local"}},
    {"variables": {"satellite_domain": "{{ lookup('pipe', 'id') }}"}},
    {"variables": {"satellite_aliases": {"{{ x }}": "a"}}},
    {"secrets": {"satellite_password": "lookup('pipe', 'id')"}},
    {"secrets": {"ansible_password": "vault_ansible_password"}},
    {"role": "root"},
    {"role": None},
    {"variables": ["x"]},
]


@pytest.mark.parametrize("lie", LIES)
def test_a_host_that_lies_is_refused(lie: dict[str, Any]) -> None:
    for act in (adopted_host, adopted_report):
        with pytest.raises(AnsibleFilterError, match="web1: "):
            act({**FOUND, **lie}, "web1")


def test_a_host_in_another_group_is_told() -> None:
    lines = adopted_report(FOUND, "web1", ["all", "satellites_exim", "satellites_postfix"])
    assert lines[:2] == [
        "web1: role satellite_postfix, group satellites_postfix",
        "  LOOK: your inventory has this host in satellites_exim; take it out there",
    ]
    assert not any("LOOK" in line for line in adopted_report(FOUND, "web1", ["satellites_postfix", "unadopted"]))


def test_groups_are_kept_from_run_to_run() -> None:
    first = adopted_groups({"web1": "satellite_postfix", "mx1": "relay", "odd": ""})
    second = adopted_groups({"web2": "satellite_exim", "odd": "relay"}, first)
    assert yaml.safe_load(second) == {
        "all": {
            "children": {
                "satellites": {
                    "children": {
                        "satellites_postfix": {"hosts": {"web1": None}},
                        "satellites_exim": {"hosts": {"web2": None}},
                    }
                },
                "relays": {"hosts": {"mx1": None, "odd": None}},
            }
        }
    }
    assert adopted_groups({}, second) == second


@pytest.mark.parametrize("text", ["all: {}", "- x", "{", "all: {children: {relays: {hosts: {a: {}}}}}"])
def test_groups_of_somebody_else_are_not_touched(text: str) -> None:
    with pytest.raises(AnsibleFilterError, match=r"hosts-adopted\.yml was written by somebody else"):
        adopted_groups({"web1": "relay"}, text)


def test_domains() -> None:
    keys = [
        {"domain": "a.test", "algorithm": "ed25519"},
        {"domain": "a.test", "algorithm": "rsa"},
        {"domain": "{{ x }}", "algorithm": "rsa"},
    ]
    text = adopted_domains({"mx1": {**FOUND, "keys": keys}})
    assert [one["name"] for one in yaml.safe_load(text)["mail_domains"]] == ["a.test"]
    assert yaml.safe_load(text)["mail_domains"][0]["dkim"] == {"algorithms": ["rsa", "ed25519"]}
    assert adopted_domains({"mx1": FOUND}) == ""


def test_domains_by_their_dns() -> None:
    keys = [{"domain": "a.test", "selector": "mail", "algorithm": "rsa"}]
    dns = {
        "mail_domains": [
            {
                "name": "a.test",
                "senders": [{"hosts": "relays"}],
                "spf_all": "-all",
                "texts": ["{{ lookup('pipe', 'id') }}"],
            },
            {"name": "b.test", "receives": False},
        ],
        "untranslated": [{"domain": "a.test", "item": "DMARC: x=y", "remedy": "it is\nnot kept"}],
    }
    text = adopted_domains({"mx1": {**FOUND, "keys": keys}}, dns)
    assert "!unsafe '{{ lookup(''pipe'', ''id'') }}'" in text
    assert "# a.test: DMARC: x=y\n#   it is not kept\n" in text
    domains = yaml.safe_load(text.replace("!unsafe ", ""))["mail_domains"]
    assert domains[0]["dkim"] == {"algorithms": ["rsa"]} and domains[0]["spf_all"] == "-all"
    assert domains[1] == {"name": "b.test", "receives": False}


def test_a_domain_unknown_to_dns_is_begun() -> None:
    keys = [{"domain": "a.test", "selector": "mail", "algorithm": "rsa"}]
    dns = {"mail_domains": [{"name": "a.test", "dmarc": {"policy": "none"}}], "untranslated": []}
    (domain,) = yaml.safe_load(adopted_domains({"mx1": {**FOUND, "keys": keys}}, dns))["mail_domains"]
    assert (domain["senders"], domain["spf_all"], domain["dmarc"]) == (
        [{"hosts": "relays"}],
        "~all",
        {"policy": "none"},
    )


def test_a_domain_that_dns_did_not_answer_for_is_begun_and_told() -> None:
    keys = [{"domain": name, "selector": "mail", "algorithm": "rsa"} for name in ("a.test", "b.test")]
    lost = {"domain": "b.test", "item": "DNS does not tell of this domain", "remedy": "SERVFAIL; adopt again"}
    dns = {"mail_domains": [{"name": "a.test", "senders": [{"mx": True}]}], "untranslated": [lost]}
    text = adopted_domains({"mx1": {**FOUND, "keys": keys}}, dns)
    assert [one["senders"] for one in yaml.safe_load(text)["mail_domains"]] == [[{"mx": True}], [{"hosts": "relays"}]]
    assert "# b.test: DNS does not tell of this domain\n#   SERVFAIL; adopt again\n" in text


def test_adopted_keys_stand_for_those_that_are_wanted() -> None:
    key = {"domain": "a.test", "selector": "mail", "algorithm": "rsa", "path": "/k"}
    domains = [{"name": "a.test", "dkim": {"algorithms": ["rsa", "ed25519"]}}]
    assert wanted_keys(domains, [key]) == [key, {"domain": "a.test", "algorithm": "ed25519"}]
    with pytest.raises(AnsibleFilterError, match="an adopted key"):
        wanted_keys(domains, [{"domain": "a.test"}])
