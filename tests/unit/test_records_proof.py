# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Derived SPF records, judged before they are published: by what is derived with them, and by DNS for all else."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.postmaster.mail.plugins.module_utils import _dns_watch
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsError, DnsTimeout
from ansible_collections.postmaster.mail.plugins.module_utils._dns_client import DnsServer
from ansible_collections.postmaster.mail.plugins.module_utils._records import derive
from ansible_collections.postmaster.mail.plugins.module_utils._records_domain import RecordsError
from ansible_collections.postmaster.mail.plugins.module_utils._records_proof import Proof, prove
from ansible_collections.postmaster.mail.plugins.module_utils._spf_plan import REFUSALS
from ansible_collections.postmaster.mail.plugins.modules import mail_records

sys.path.insert(0, str(Path(__file__).parent))

import _spf_cases as cases

HOSTS = {"relays": ["198.51.100.25", "2001:db8::25"]}
RELAYS = {"hosts": "relays"}
DNS = {
    "_spf.provider.test": [("TXT", "v=spf1 ip4:203.0.113.0/28 -all")],
    "deep.test": [("TXT", "v=spf1 " + " ".join(f"include:d{n}.test" for n in range(10)) + " -all")],
    **{f"d{n}.test": [("TXT", "v=spf1 -all")] for n in range(10)},
    "broken.test": [("TXT", "v=spf1 nonsense -all")],
    "open.test": [("TXT", "v=spf1 +all")],
    "four1.test": [("A", "192.0.2.1")],
    "four2.test": [("A", "192.0.2.2")],
    "four3.test": [("A", "192.0.2.3")],
    "mx.corp.example": [("A", "192.0.2.30"), ("AAAA", "2001:db8::30")],
    "crowd.test": [("MX", f"10 h{n}.crowd.test.") for n in range(12)],
}


class Dns(cases.Zone):
    """Some names of the world; ``asked`` is what was asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str]] = []
        self.failing = ("silent.",)
        for name, records in DNS.items():
            for rdtype, text in records:
                self.add(name, rdtype, text)

    def query(self, name: str, rdtype: str) -> list[str]:
        self.asked.append((name, rdtype))
        return super().query(name, rdtype)


def proven(*domains: dict[str, Any], accept: bool = False, dns: Any = None) -> list[Proof]:
    derived = derive(domains, hosts=HOSTS)
    return prove(derived.spf, derived.records, dns or Dns(), accept_unanswered=accept)


def corp(*senders: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"name": "corp.example", "senders": [RELAYS, *senders], **options}


# What is refused, the refusal that allows it, and a neighbour that is not refused.
CASES: list[tuple[list[dict[str, Any]], str, str, list[dict[str, Any]]]] = [
    ([{"include": "deep.test"}], "lookups", "it needs 11 lookups with those of its includes", [{"include": "d1.test"}]),
    (
        # What comes after lets somebody in over IPv6, who would get an error instead.
        [{"a": name} for name in ("four1.test", "four2.test", "four3.test", "mx.corp.example")],
        "voids",
        "3 of its terms have no answer for clients of IPv6",
        [{"a": name} for name in ("four1.test", "four2.test", "mx.corp.example")],
    ),
    ([{"include": "none.test"}], "broken_target", "none.test has no SPF record", [{"include": "d1.test"}]),
    ([{"include": "broken.test"}], "broken_target", "there is no mechanism 'nonsense'", [{"include": "d1.test"}]),
    ([{"term": "mx:crowd.test"}], "broken_target", "crowd.test has 12 MX records", [{"a": "mx.corp.example"}]),
    ([{"include": "open.test"}], "stranger", "198.18.0.1 must not pass", [{"include": "d1.test"}]),
    (
        [{"term": "-ip4:198.51.100.0/24"}],
        "unreached",
        "198.51.100.25 has to pass, and the result is fail by -ip4:198.51.100.0/24",
        [{"term": "-ip4:198.51.100.128/25"}],
    ),
]


@pytest.mark.parametrize(("senders", "allow", "message", "sound"), CASES)
def test_what_receivers_would_not_take_is_refused(
    senders: list[dict[str, Any]], allow: str, message: str, sound: list[dict[str, Any]]
) -> None:
    def domain(terms: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
        return {"name": "corp.example", "senders": [*terms, RELAYS], **options}

    with pytest.raises(RecordsError) as caught:
        proven(domain(senders))
    said = str(caught.value)
    assert said.startswith("the domain corp.example: its SPF record 'v=spf1 ") and "must not be published" in said
    assert message in said and f"(or add {allow} to its spf_allow)" in said
    assert len(said.splitlines()) == (2 if allow == "stranger" else 1)  # one of each family
    assert proven(domain(sound))[0].judged
    assert proven(domain(senders, spf_allow=[allow]))[0].judged
    others = [one for one in REFUSALS if one not in (allow, "two_records")]
    with pytest.raises(RecordsError):
        proven(domain(senders, spf_allow=others))


def test_every_refusal_is_shown_by_a_case_and_documented() -> None:
    elsewhere = {"pass_all", "unanswered", "two_records"}
    assert {allow for dummy, allow, *dummy in CASES} | elsewhere == set(REFUSALS)
    options = yaml.safe_load(mail_records.DOCUMENTATION)["options"]["domains"]["suboptions"]
    assert options["spf_allow"]["choices"] == [one for one in REFUSALS if one != "two_records"]


def test_pass_all_is_refused_without_dns_and_can_be_allowed() -> None:
    with pytest.raises(RecordsError, match=r"lets the whole world send.*\(or add pass_all to its spf_allow\)"):
        derive([corp(spf_all="+all")], hosts=HOSTS)
    assert proven(corp(spf_all="+all", spf_allow=["pass_all", "stranger"]))


def test_all_that_is_wrong_is_said_in_one_run() -> None:
    with pytest.raises(RecordsError) as caught:
        proven(corp({"include": "none.test"}), {"name": "shop.example", "senders": [RELAYS, {"include": "open.test"}]})
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("the domain corp.example: ") and lines[-1].startswith("the domain shop.example: ")


def test_a_record_of_addresses_alone_asks_nobody() -> None:
    dns = Dns()
    (proof,) = proven(corp({"ip4": "192.0.2.0/24"}), dns=dns)
    assert dns.asked == []
    assert [(one["ip"], one["result"]) for one in proof.as_dict()["probes"]] == [
        ("198.51.100.25", "pass"),
        ("2001:db8::25", "pass"),
        ("198.18.0.1", "softfail"),
        ("100::1", "softfail"),
    ]


def test_records_of_the_same_run_count_as_published() -> None:
    """An include of a domain that is described here, and MX hosts that DNS does not know of yet."""
    senders = {"name": "_spf.corp.example", "senders": [RELAYS]}
    mx = {"mx": [{"host": "mx.corp.example"}]}
    domain = {"name": "corp.example", "senders": [{"include": "_spf.corp.example"}, {"mx": True}], **mx}
    dns = Dns()
    proof = proven(domain, senders, dns=dns)[0]
    assert (proof.as_dict()["lookups"], proof.as_dict()["voids"]) == (2, [])
    assert set(dns.asked) <= {("mx.corp.example", "A"), ("mx.corp.example", "AAAA")}
    with pytest.raises(RecordsError, match=r"_spf\.corp\.example has no SPF record"):
        proven(domain)
    # What DNS has now is not what counts.
    dns.add("corp.example", "TXT", "v=spf1 +all")
    assert proven(domain, senders, dns=dns)


def test_each_question_is_asked_once_for_all_domains() -> None:
    dns = Dns()
    proven(
        *({"name": f"{n}.example", "senders": [RELAYS, {"include": "_spf.provider.test"}]} for n in range(20)), dns=dns
    )
    assert dns.asked == [("_spf.provider.test", "TXT")]


class Unreachable:
    """A resolver that is out of reach."""

    def query(self, name: str, rdtype: str) -> list[str]:
        raise DnsError("the resolver (192.0.2.53) cannot be reached over TCP: Connection refused")


@pytest.mark.parametrize(
    ("include", "dns", "reason"),
    [
        (
            "_spf.provider.test",
            Unreachable(),
            "the resolver (192.0.2.53) cannot be reached over TCP: Connection refused",
        ),
        ("silent.test", None, "no answer for silent.test TXT (section 2.6.6)"),
    ],
)
def test_without_an_answer_a_person_decides(include: str, dns: Any, reason: str) -> None:
    domains = [{"name": f"{name}.example", "senders": [RELAYS, {"include": include}]} for name in ("corp", "shop")] + [
        {"name": "plain.example", "senders": [RELAYS]}
    ]
    with pytest.raises(RecordsError) as caught:
        proven(*domains, dns=dns)
    said = str(caught.value)
    assert said.startswith(
        f"the SPF record of corp.example, shop.example cannot be proven before it is published: {reason}. "
    )
    assert "unanswered: accept" in said and "mail_spf_proof" in said and "\n" not in said
    told = [(proof.domain, proof.unproven) for proof in proven(*domains, dns=dns, accept=True)]
    assert told == [("corp.example", reason), ("shop.example", reason), ("plain.example", "")]
    allowed = [{**domain, "spf_allow": ["unanswered"]} for domain in domains]
    assert proven(*allowed, dns=dns)


def test_what_is_wrong_for_certain_is_refused_without_an_answer_too() -> None:
    with pytest.raises(RecordsError, match=r"none\.test has no SPF record"):
        proven(corp({"include": "none.test"}, {"include": "silent.test"}), accept=True)


# -- the module ---------------------------------------------------------------------------------


def run(args: dict[str, Any]) -> dict[str, Any]:
    """The module's answer."""
    testing = pytest.importorskip("ansible.module_utils.testing", reason="not run: ansible-core is too old")
    stream = io.StringIO()
    with testing.patch_module_args(args), contextlib.redirect_stdout(stream), contextlib.suppress(SystemExit):
        mail_records.main()
    result: dict[str, Any] = json.loads(stream.getvalue().strip().splitlines()[-1])
    return result


def test_the_module_fails_warns_or_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    monkeypatch.setattr(mail_records.AnsibleModule, "warn", lambda module, text: warned.append(text))
    args: dict[str, Any] = {"domains": [corp({"include": "_spf.provider.test"})], "hosts": HOSTS}
    assert run(args)["spf"] == []
    failed = run({**args, "prove": {"resolver": "127.0.0.1@1", "timeout": 2}})
    assert failed["failed"] and "port 1) cannot be reached over TCP" in failed["msg"]
    passed = run({**args, "prove": {"resolver": "127.0.0.1@1", "timeout": 2, "unanswered": "accept"}})
    assert not passed.get("failed") and passed["spf"][0]["proven"] is False
    assert any("the SPF record of corp.example is not proven: the resolver (127.0.0.1 port 1)" in one for one in warned)
    alone = run({"domains": [corp()], "hosts": HOSTS, "prove": {"resolver": "127.0.0.1@1"}})
    assert alone["spf"][0]["proven"] is True


def test_a_resolver_out_of_reach_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def answers(server: DnsServer, keys: object) -> dict[Any, Any]:
        tried.append(server.address)
        if server.address == "192.0.2.1":
            raise DnsTimeout("it is down")
        return {}

    monkeypatch.setattr(DnsServer, "answers", answers)
    monkeypatch.setattr(DnsServer, "query", lambda server, name, rdtype: [f"{name} {rdtype}"])
    down = _dns_watch.LateResolver("192.0.2.1", timeout=1)
    assert tried == []
    for dummy in range(2):
        with pytest.raises(DnsError, match="it is down") as caught:
            down.query("a.test", "A")
        assert not isinstance(caught.value, DnsTimeout)
    up = _dns_watch.LateResolver("192.0.2.2", timeout=1)
    assert [up.query("a.test", "A") for dummy in range(2)] == [["a.test A"], ["a.test A"]]
    assert tried == ["192.0.2.1", "192.0.2.2"]
