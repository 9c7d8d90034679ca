# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The check finds each fault that was planted in DNS and at real mail servers, and nothing else."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dkim
import pytest
import yaml
from lab.plays import Played, play
from lab.probe import Lab

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *os.environ.get("ANSIBLE_COLLECTIONS_PATH", "").split(":")]

from ansible_collections.postmaster.mail.plugins.module_utils import _public_suffix  # noqa: E402
from ansible_collections.postmaster.mail.plugins.module_utils._check import BY_ID  # noqa: E402
from faults import (  # noqa: E402
    BOGUS_SET,
    KEY,
    SELECTOR,
    Domain,
    Planter,
    after_certificates,
    copies,
    in_dns,
    options,
    surroundings,
)
from mailhosts import ALSO_SOUND, HOST, SERVERS, MailHosts  # noqa: E402
from zonecopy import leave, serve  # noqa: E402

PLAYBOOK = HERE.parents[2] / "playbooks" / "check.yml"
SOUND, STRANGE, GATE = "sound.stranger.test", "strange.stranger.test", "gate.stranger.test"
# Rows whose fault is no daemon's, and why; the option alone makes it.
NOT_PLANTED = {"bulk.spamrate": "how many recipients complain is a number that a provider tells the user, and no host"}
FORGED = "forged.invalid"
UNFILTERED, GATEWAY = 2525, 2526  # ports: outside's Postfix without its filter; a way to outside that hides the client


@dataclass(frozen=True)
class Planted:
    """Everything that was planted, and who planted it."""

    planter: Planter
    domains: list[Domain]
    ca_file: Path

    @property
    def sound(self) -> Domain:
        return self.domains[0]

    def named(self, row: str) -> Domain:
        """The first domain with a fault."""
        return next(domain for domain in self.domains if domain.row == row)


@pytest.fixture(scope="module")
def planted(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    hosts = MailHosts(lab)
    planter = Planter(lab, hosts)
    domains = [planter.sound(SOUND), *in_dns(planter)]
    records = surroundings(planter)
    for domain in domains:
        records |= domain.absolute()
        hosts.policies[f"mta-sts.{domain.name}"] = domain.policy
    planter.update(records)
    served = [name for name in hosts.policies if (f"{name}.", "A") in records]
    certificate = hosts.certify([*SERVERS, *ALSO_SOUND, "alias.stranger.test", *served])
    held = copies(planter)
    planter.update(after_certificates(planter, certificate.digest))
    planter.update({(f"{BOGUS_SET}.", "NS"): ["ns2.lab.test."]}, parent="example")
    leave(lab, BOGUS_SET)
    serve(lab, held)
    hosts.start(certificate)
    ca_file = tmp_path_factory.mktemp("check") / "ca.pem"
    ca_file.write_text(Path(lab.known["ca_file"]).read_text() + certificate.root)
    return Planted(planter, domains, ca_file)


def run_check(lab: Lab, folder: Path, wanted: dict[str, Any]) -> tuple[Played, dict[str, Any]]:
    """The playbook with these options, as a person in CI runs it, and its report."""
    path = folder / "report.json"
    extra = {f"check_{name}": value for name, value in wanted.items()} | {"check_report_file": str(path)}
    played = play(lab, PLAYBOOK, inventories=[], extra=extra, must_pass=False)
    assert path.exists(), played.output[-4000:]
    return played, json.loads(path.read_text())


@pytest.fixture(scope="module")
def found(lab: Lab, planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> tuple[Played, dict[str, Any]]:
    """What one call says of all domains."""
    wanted = options(planted.planter, planted.domains, str(planted.ca_file))
    return run_check(lab, tmp_path_factory.mktemp("all"), wanted)


def suffixes_known() -> bool:
    """Whether this machine has a public suffix list."""
    try:
        _public_suffix.installed()
    except _public_suffix.SuffixListMissing:
        return False
    return True


def by_domain(report: dict[str, Any]) -> dict[str, set[str]]:
    ids: dict[str, set[str]] = {domain: set() for domain in report["domains"]}
    for item in report["findings"]:
        ids[item["domain"]].add(item["id"])
    return ids


def test_each_fault_in_dns_and_at_servers_is_found_and_nothing_else(
    found: tuple[Played, dict[str, Any]], planted: Planted
) -> None:
    played, report = found
    wanted = {domain.name: {domain.row} if domain.row else set() for domain in planted.domains}
    if not suffixes_known():
        wanted[planted.named("dmarc.walk").name] = set()  # what readers of RFC 7489 find is then unknown
    different = {name: (ids, wanted[name]) for name, ids in by_domain(report).items() if ids != wanted[name]}
    assert not different, (different, [item for item in report["findings"] if item["domain"] in different])
    assert played.code == 2 and "of severity F or graver" in played.output


def test_the_sound_domain_has_no_finding_and_no_unknown_but_for_messages(found: tuple[Played, dict[str, Any]]) -> None:
    verdicts = found[1]["verdicts"][SOUND]
    assert {row for row, verdict in verdicts.items() if verdict != "ok"} == {
        *("egress.ip", "ingress.src", "port25.out", "dkim.sig", "dmarc.align", "bulk.both", "bulk.oneclick"),
        *("bulk.spamrate", "msg.format", "relay+smuggling", "ar.trust"),
    }
    assert set(verdicts.values()) == {"ok", "unknown"}


# -- what takes a message, a number or a server of one's own --------------------------------------------

LETTER = (
    "From: News <news@{domain}>\r\nTo: someone@outside.test\r\nSubject: Hello\r\nDate: {date}\r\n"
    "Message-ID: <1@{domain}>\r\n"
    "List-Unsubscribe: <https://{domain}/u/1>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\r\nHello\r\n"
)
FIELDS = ("from", "from", "to", "subject", "date", "message-id", "list-unsubscribe", "list-unsubscribe-post")


@dataclass(frozen=True)
class Letters:
    """Messages in files: from the sound domain as outside stored them, and from outside as its own server did."""

    lab: Lab
    planted: Planted
    folder: Path

    def real(
        self,
        name: str,
        *,
        sender: str = f"news@{SOUND}",
        source: str = "",
        text: str = "",
        fields: tuple[str, ...] = FIELDS,
        starttls: bool | None = None,
    ) -> str:
        """A message that went to outside by SMTP and was read from its mailbox; the path."""
        date = self.lab.run(HOST, ["date", "-R"]).stdout.strip()
        letter = (text or LETTER).format(domain=SOUND, date=date).encode()
        headers = [field.encode() for field in fields]
        signature = dkim.sign(letter, SELECTOR.encode(), SOUND.encode(), KEY.pem, include_headers=headers)
        token = f"{name}-{date.replace(' ', '')}"
        source = source or self.planted.planter.v4
        dialogue = self.lab.smtp(
            HOST, "outside", sender=sender, recipients="someone@outside.test", source=source, helo="mx.stranger.test",
            starttls=starttls, message=f"X-Token: {token}\r\n".encode() + signature + letter,
        )  # fmt: skip
        assert dialogue.accepted, dialogue
        path = self.folder / f"{name}.eml"
        path.write_bytes(self.lab.wait_for_message(token).raw)
        return str(path)

    def made(self, name: str, text: str) -> str:
        """A message as text; the path."""
        path = self.folder / f"{name}.eml"
        path.write_text(text, newline="")
        return str(path)

    def inbound(self, name: str, *, to: str = "outside", port: int = 25) -> str:
        """A message to outside with a verdict in outside's name that the sender forged, as outside stored it."""
        token = f"{name}-{time.time_ns()}"
        dialogue = self.lab.smtp(
            HOST, to, port=port, sender="someone@stranger.test", recipients="someone@outside.test",
            message=f"X-Token: {token}\r\nFrom: someone@stranger.test\r\nSubject: {FORGED}\r\n"
            f"Authentication-Results: mx.outside.test; spf=pass smtp.mailfrom=a@{FORGED}\r\n\r\nHello\r\n",
        )  # fmt: skip
        assert dialogue.accepted, dialogue
        path = self.folder / f"{name}.eml"
        path.write_bytes(self.lab.wait_for_message(token).raw)
        return str(path)


def open_ways(lab: Lab) -> None:
    """Ways to outside that nobody should have: past its filter, and through a gateway that puts its own address in."""
    unfiltered = f"{UNFILTERED}/inet='{UNFILTERED} inet n - n - - smtpd -o smtpd_milters='"
    listen = "for n in $(seq 50); do ss -ltn | grep -q ':{} ' && exit; sleep 0.2; done; exit 1"
    lab.run("outside", f"postconf -M {unfiltered} && postfix reload && {listen.format(UNFILTERED)}")
    target = f"{lab.address('outside')}:25"
    gateway = f"/usr/lib/systemd/systemd-socket-proxyd {target}"
    socket = f"--socket-property=ListenStream={lab.address('provider')}:{GATEWAY}"
    lab.run("provider", f"systemd-run -q --unit=gateway {socket} {gateway}")
    lab.run("provider", listen.format(GATEWAY))


@dataclass(frozen=True)
class Case:
    """One call for the domain ``named``: the options that differ, and the checks that find a fault."""

    row: str
    options: dict[str, Any]
    named: str = SOUND


def cases(lab: Lab, planted: Planted, letters: Letters) -> Iterator[Case]:
    planter = planted.planter
    whole = letters.real("sound")
    everything = {
        "message_file": whole,
        "inbound_message_file": letters.inbound("inbound"),
        "authserv_id": "mx.outside.test",
        "bulk": True,
        "spam_rate": 0.05,
        "outbound_25": "mx.stranger.test",
        "test_host": "mx.stranger.test",
        "intrusive": True,
    }
    yield Case("", everything)
    strange = [
        {"address": lab.nameless(HOST)},
        {"address": planter.hosts.address("mx-bare.stranger.test"), "helo": "gone.stranger.test"},
        {"address": planter.v4, "helo": "localhost"},
    ]
    yield Case("ptr.exists ptr.fcrdns helo.name", {"outbound": strange}, named=STRANGE)
    ways = {
        "message_file": letters.real("egress", source=lab.address(HOST)),
        "outbound_25": "ns1.lab.test",
        "spam_rate": 0.31,
    }
    yield Case("egress.ip port25.out bulk.spamrate", ways)
    hidden = letters.inbound("gateway", to="provider", port=GATEWAY)
    gate = [{"address": lab.address("provider"), "helo": "smtp.provider.test"}]
    yield Case("ingress.src", {"inbound_message_file": hidden, "outbound": gate}, named=GATE)
    changed = letters.made("changed", Path(whole).read_bytes().decode().replace("\nHello", "\nChanged"))
    forged = letters.inbound("forged", port=UNFILTERED)
    trusting = {"message_file": changed, "inbound_message_file": forged, "authserv_id": "mx.outside.test"}
    yield Case("dkim.sig dmarc.align ar.trust", trusting)
    relay = {"test_host": "mx-open.stranger.test", "intrusive": True}
    foreign = letters.real("foreign", sender="news@provider.test")
    yield Case("bulk.both relay+smuggling", relay | {"message_file": foreign, "bulk": True})
    smuggled = {"test_host": "mx-bare.stranger.test", "intrusive": True}
    plain = LETTER.replace("List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n", "")
    once = letters.real("unsubscribe", text=plain, fields=FIELDS[:-1])
    yield Case("bulk.oneclick relay+smuggling", smuggled | {"message_file": once, "bulk": True})
    twice = LETTER.replace("Subject: Hello\r\n", "Subject: Hello\r\nSubject: again\r\n")
    yield Case("msg.format", {"message_file": letters.real("twice", text=twice)})
    yield Case("tls.starttls", {"message_file": letters.real("clear", starttls=False)})


def test_what_takes_a_message_or_a_server(lab: Lab, planted: Planted, tmp_path: Path) -> None:
    planter = planted.planter
    gone = planter.hosts.address("mx-bare.stranger.test")
    strange = planter.sound(STRANGE).say("", f"v=spf1 ip4:{gone} ip4:{lab.nameless(HOST)} ip4:{planter.v4} -all")
    moved = {(f"{'.'.join(reversed(gone.split('.')))}.in-addr.arpa.", "PTR"): ["gone.stranger.test."]}
    gate = planter.sound(GATE).say("", f"v=spf1 ip4:{lab.address('provider')} -all")
    # The web server has no policy for these; it is not what the test is about.
    planter.update(strange.absolute() | gate.absolute() | moved | {("gone.stranger.test.", "A"): [planter.v4]})
    open_ways(lab)
    planned = list(cases(lab, planted, Letters(lab, planted, tmp_path)))
    tasks = []
    for number, case in enumerate(planned):
        domain = {SOUND: planted.sound, STRANGE: strange, GATE: gate}[case.named]
        wanted = options(planter, [domain], str(planted.ca_file))
        wanted["ignore"] = [] if domain is planted.sound else ["mtasts.dns+policy"]
        wanted |= case.options | {"report_file": str(tmp_path / f"{number}.json")}
        tasks.append({"name": f"Check {number} {case.row}", "postmaster.mail.mail_check": wanted})
    book = tmp_path / "cases.yml"
    variables = {"ansible_python_interpreter": sys.executable}
    start = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables}
    book.write_text(yaml.safe_dump([start | {"tasks": tasks}]))
    play(lab, book, inventories=[])
    for number, case in enumerate(planned):
        report = json.loads((tmp_path / f"{number}.json").read_text())
        assert {item["id"] for item in report["findings"]} == set(case.row.split()), (case, report["findings"])
    first = json.loads((tmp_path / "0.json").read_text())
    assert first["unknown"] == []
    found = {row for case in planned for row in case.row.split()} | {domain.row for domain in planted.domains}
    assert found == {*BY_ID, ""} and set(NOT_PLANTED) <= found


def test_certificates_count_as_far_as_their_authority_is_trusted(lab: Lab, planted: Planted, tmp_path: Path) -> None:
    """The twin of the sound domain: all is the same, but pebble's root is not among those that are trusted."""
    wanted = options(planted.planter, [planted.sound], lab.known["ca_file"])
    played, report = run_check(lab, tmp_path, wanted)
    told = {(item["id"], item["severity"]) for item in report["findings"]}
    assert told == {("mtasts.dns+policy", "F"), ("tls.starttls", "W")}
    assert all("certificate does not hold" in item["seen"] for item in report["findings"])
    assert played.code == 2


# -- servers that do not agree or do not answer --------------------------------------------------------


def test_a_change_that_one_server_does_not_have_yet_is_propagating(lab: Lab, planted: Planted, tmp_path: Path) -> None:
    planter = planted.planter
    routes = [f"blackhole {lab.address('ns1', version=version)}" for version in (4, 6)]
    lab.run("ns2", "; ".join(f"ip route add {route}" for route in routes))
    try:
        changed = planter.sound(SOUND).say("_dmarc", "v=DMARC1; p=none; rua=mailto:reports@stranger.test")
        key = (f"_dmarc.{SOUND}.", "TXT")
        planter.settle = lambda *dummy: None  # type: ignore[method-assign]
        planter.update({key: changed.absolute()[key]})
        dummy, report = run_check(lab, tmp_path, options(planter, [planted.sound], str(planted.ca_file)))
    finally:
        lab.run("ns2", "; ".join(f"ip route del {route}" for route in routes))
        del planter.settle
        planter.update({key: planted.sound.absolute()[key]})
    told = {(item["id"], item["verdict"]) for item in report["findings"]}
    assert told == {("dmarc.policy", "propagating"), ("dns.consistency", "propagating")}


def test_a_name_server_that_never_answers_costs_one_timeout(lab: Lab, planted: Planted, tmp_path: Path) -> None:
    """lame.provider.test lists a host that is none: with 4 seconds for an answer, all is told within 15."""
    domain = planted.named("dns.consistency")
    wanted = options(planted.planter, [domain], str(planted.ca_file), query_timeout=4, timeout=15)
    dummy, report = run_check(lab, tmp_path, wanted)
    assert {item["id"] for item in report["findings"]} == {"dns.consistency"}
    assert not any("not answered within" in item["seen"] for item in report["unknown"])
