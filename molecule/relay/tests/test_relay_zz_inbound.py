# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail from outside: SpamAssassin, postgrey and postscreen, or rspamd; then the other way round. Last of all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lab import plays, ready
from lab.probe import Dialogue, Lab
from relays import (
    CLIENTS,
    RESTORE,
    SIGNERS,
    VICTIM,
    answers,
    assert_signed,
    converge,
    letter,
    post,
    postconf,
    stopped,
    wait_for_listeners,
)

LMTP_SINK = (Path(__file__).parent / "lmtp_sink.py").read_text(encoding="utf-8")
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
KEY = "a1b2c3d4e5f6g7h8"
LISTS = {"open": "bl.stranger.test", "keyed": f"{KEY}.keyed.stranger.test"}
SINK = "lmtp:inet:127.0.0.1:2424"
FILTERS = {"relay1": "spamassassin", "relay2": "rspamd"}
SWAPPED = {"relay1": "rspamd", "relay2": "spamassassin"}
BLOCKED = {
    "rspamd": (".", 554, "5.7.1 Gtube pattern"),
    "spamassassin": (".", 550, "5.7.1 Blocked by SpamAssassin"),
}
SQUATTER = "import socket, sys, time; held = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(3600)"
UNITS = {"rspamd": {"rspamd-inbound"}, "spamassassin": {"spamass-milter", "postgrey"}}
# What Postfix waits for when it starts, what is stopped in turn (spamd takes its milter along), and Postfix's own unit.
BEFORE = {"rspamd": {"rspamd-inbound"}, "spamassassin": {"spamd", "spamass-milter", "postgrey"}}
DOWN = {"rspamd": ("rspamd-inbound",), "spamassassin": ("spamd", "postgrey")}
PROGRAMS = {"rspamd": {("11336", "rspamd")}, "spamassassin": {("783", "SpamAssassin"), ("10023", "Postgrey")}}
SERVICES = {"relay1": "postfix", "relay2": "postfix@-"}


def arrangement(filters: dict[str, str], **more: Any) -> dict[str, Any]:
    """The variables with which each relay has the filter named; with SpamAssassin go postscreen and a greylist."""
    return {
        "inbound_filters": filters,
        "relay_inbound_filter": "{{ inbound_filters[inventory_hostname] }}",
        "relay_inbound_postscreen": "{{ relay_inbound_filter == 'spamassassin' }}",
        "relay_inbound_greylist": "{{ relay_inbound_filter == 'spamassassin' }}",
        "relay_inbound_greylist_delay": 1,
        "relay_inbound_domains": ["post.example"],
        "relay_transports": {"post.example": SINK, "lists.corp.example": SINK},
        "relay_inbound_dnsbls": [{"zone": LISTS["open"]}, {"zone": "keyed.stranger.test", "key": KEY}],
        "relay_postfix_settings": {"postscreen_greet_wait": "1s"},
        **more,
    }


FIRST = arrangement(FILTERS)
SECOND = arrangement(
    SWAPPED,
    relay_inbound_dnsbls=[{"zone": LISTS["open"]}],
    relay_inbound_recipients=["joe@post.example", "Ann@post.example"],
    relay_inbound_filter_failure="tempfail",
    relay_inbound_greylist_failure="tempfail",
    relay_inbound_header_checks=[{"pattern": "/^Subject: casino/", "action": "REJECT no casinos"}],
    relay_sender_domains=["corp.example"],
)


@pytest.fixture(scope="module")
def inbound(lab: Lab) -> Iterator[None]:
    """Both relays take mail in. The run before says what it would do on hosts that have none of the daemons yet."""
    for zone in LISTS.values():
        lab.update(f"2.0.0.127.{zone}.", "A", ["127.0.0.2"])
    for relay in FILTERS:
        lab.run(relay, "systemctl stop lmtp-sink 2>/dev/null; true")
        lab.run(relay, ["systemd-run", "--quiet", "--collect", "--unit=lmtp-sink", "python3", "-c", LMTP_SINK])
    before = {
        relay: lab.run(relay, "sha256sum /etc/postfix/*.cf; systemctl list-unit-files").stdout for relay in FILTERS
    }
    foreseen = converge(lab, extra=FIRST, check=True)
    assert set(foreseen.changed) == set(FILTERS)
    assert before == {
        relay: lab.run(relay, "sha256sum /etc/postfix/*.cf; systemctl list-unit-files").stdout for relay in FILTERS
    }
    done = converge(lab, extra=FIRST)
    assert KEY not in done.output and KEY not in foreseen.output
    yield
    for relay in FILTERS:
        lab.run(relay, "systemctl stop lmtp-sink")


@pytest.mark.from_any_state
def test_what_stands_in_the_way(lab: Lab) -> None:
    """A list that does not answer this resolver, and a port that somebody has: each is told, and nothing is touched."""
    lab.update(f"2.0.0.127.{LISTS['open']}.", "A", ["127.255.255.254"])
    lab.update(f"2.0.0.127.{LISTS['keyed']}.", "A", ["127.0.0.2"])
    ports = {"relay1": 10023, "relay2": 11336}
    for relay, port in ports.items():
        lab.run(relay, ["systemd-run", "--quiet", "--collect", "--unit=squatter", "python3", "-c", SQUATTER, str(port)])
        wait_for_listeners(lab, relay, {f"127.0.0.1:{port}"}, port)
    try:
        said = converge(lab, extra=FIRST, must_pass=False).failures
    finally:
        for relay in ports:
            lab.run(relay, ["systemctl", "stop", "squatter"])
    for relay, port in ports.items():
        assert f"Port {port} on 127.0.0.1 is taken by python3" in said[relay]
        assert "bl.stranger.test answers 127.255.255.254: it does not answer public or open resolvers" in said[relay]
        assert "keyed.stranger.test" not in said[relay] and KEY not in said[relay]
        assert postconf(lab, relay, "relay_domains") == ""


def knock(lab: Lab, relay: str, *, token: str = "", body: str = "Hello", **options: Any) -> Dialogue:
    """A stranger's mail for joe@post.example; without a token it ends after RCPT."""
    text = f"From: A <a@stranger.test>\nTo: joe@post.example\nSubject: {token}\nMessage-ID: <{token}@stranger.test>\n"
    text += f"Date: Fri, 20 Nov 2026 12:00:00 +0000\n\n{body}\n"
    known = {
        "sender": "a@stranger.test",
        "recipients": "joe@post.example",
        "message": text if token else None,
        **options,
    }
    return lab.smtp("stranger", relay, **known)


def insist(lab: Lab, relay: str, **options: Any) -> Dialogue:
    """As servers do: come back while the answer is that one should."""
    said: list[Dialogue] = []

    def done() -> bool:
        said.append(knock(lab, relay, **options))
        return said[-1].refusal is None or said[-1].refusal[1] >= 500

    ready.wait("an answer that is not to come back later", done)
    return said[-1]


def forget(lab: Lab, relay: str) -> None:
    """Postfix knows no client any more: postscreen keeps those it let in, and smtpd what lists said."""
    # On Debian 12 systemd is done before the last process is gone, and a new master would not start beside it.
    gone = "for i in $(seq 600); do postfix status 2>/dev/null || break; sleep 0.1; done"
    lab.run(relay, f"systemctl stop postfix; {gone}; rm -f /var/lib/postfix/postscreen_cache*; systemctl start postfix")


def received(lab: Lab, relay: str, token: str) -> str:
    """What the server with the mailboxes got, once it has the message."""
    kept = partial(lab.run, relay, f"grep -q 'Subject: {token}' /run/lmtp-sink", check=False)
    ready.wait("the message at the LMTP server", lambda: kept().returncode == 0)
    sessions = lab.run(relay, ["cat", "/run/lmtp-sink"]).stdout.split("\nLHLO")
    return next(session for session in sessions if f"Subject: {token}" in session)


def active(lab: Lab, relay: str) -> set[str]:
    units = sorted(set().union(*UNITS.values()))
    states = lab.run(relay, ["systemctl", "is-active", *units], check=False).stdout.split()
    return {unit for unit, state in zip(units, states, strict=True) if state == "active"}


def both_ways(lab: Lab, token: str, filters: dict[str, str]) -> None:
    """Ham arrives with the filter's word on it, spam is refused by the filter, whichever it is."""
    for relay, kind in filters.items():
        assert active(lab, relay) == UNITS[kind]
        assert insist(lab, relay, token=f"ham-{relay}-{token}").accepted
        arrived = received(lab, relay, f"ham-{relay}-{token}")
        assert "RCPT TO:<joe@post.example>" in arrived and "X-Spam-Status: No" in arrived
        assert ("X-Spam-Checker-Version: SpamAssassin" in arrived) == (kind == "spamassassin")
        assert insist(lab, relay, token=f"spam-{relay}-{token}", body=GTUBE).refusal == BLOCKED[kind]
        assert f"spam-{relay}-{token}" not in lab.run(relay, ["cat", "/run/lmtp-sink"]).stdout


@pytest.mark.from_any_state
def test_spam_and_ham(lab: Lab, inbound: None, token: str) -> None:
    both_ways(lab, token, FILTERS)
    assert converge(lab, extra=FIRST).changed == {}


@pytest.mark.from_any_state
@pytest.mark.parametrize("version", [4, 6])
def test_the_greylist_defers_once(lab: Lab, inbound: None, token: str, version: int) -> None:
    """Somebody new at first, the same sender not again; nobody where there is no greylist."""
    ask = partial(knock, lab, "relay1", sender=f"{token}@stranger.test", version=version)
    first = ask().refusal
    assert first is not None and first[:2] == ("RCPT", 450) and "Greylisted" in first[2]
    assert insist(lab, "relay1", sender=f"{token}@stranger.test", version=version).refusal is None
    assert ask().refusal is None
    assert knock(lab, "relay2", sender=f"{token}@stranger.test", version=version).refusal is None


@pytest.mark.from_any_state
@pytest.mark.parametrize("relay", FILTERS)
@pytest.mark.parametrize("kind", LISTS)
def test_a_listed_client(lab: Lab, inbound: None, relay: str, kind: str) -> None:
    """The same client, of which the list says that it is on it, that it does not answer here, and nothing."""
    name = f"{'.'.join(reversed(lab.address('stranger').split('.')))}.{LISTS[kind]}."
    seen = {}
    for answer in (["127.0.0.4"], ["127.255.255.254"], []):
        lab.update(name, "A", answer)
        ready.wait("the resolver's own memory", lambda wanted=answer: lab.query(name, "A") == wanted)  # type: ignore[misc]
        forget(lab, relay)
        seen["".join(answer)] = insist(lab, relay)
    refused = seen.pop("127.0.0.4").refusal
    assert refused is not None and refused[0] == "RCPT" and refused[1] in (550, 554)
    assert "stranger.test" in refused[2] and KEY not in refused[2]
    assert {said: dialogue.refusal for said, dialogue in seen.items()} == {"127.255.255.254": None, "": None}


@pytest.mark.from_any_state
@pytest.mark.parametrize("relay", FILTERS)
def test_who_gets_in(lab: Lab, inbound: None, relay: str) -> None:
    """Recipients that exist, and no others; a name that is one; and nothing that goes on to somebody else."""
    assert insist(lab, relay).refusal is None
    forms = [VICTIM, "@post.example:victim@outside.test", "outside.test!victim"]
    forms += [f"victim@outside.test@{lab.fqdn(relay)}", '"victim@outside.test"@post.example', "joe@sub.post.example"]
    asked = knock(lab, relay, recipients=["joe@post.example", "nobody@post.example", *forms])
    first, unknown, *others = answers(asked, "RCPT")
    assert (first, unknown) == (250, 550) and "no such user" in str(asked.steps), asked
    assert len(others) == len(forms) and all(code >= 500 for code in others), asked
    for wrong, code in (({"helo": "nodots"}, 504), ({"sender": "a@nowhere.invalid"}, 450)):
        refused = knock(lab, relay, **wrong).refusal
        assert refused is not None and refused[:2] == ("RCPT", code), refused
    assert post(lab, relay, "", message=None).refusal is None, "the twin: to somebody else from a host of ours"


@pytest.mark.from_any_state
@pytest.mark.parametrize("relay", FILTERS)
def test_our_own_mail_is_not_filtered(lab: Lab, inbound: None, token: str, relay: str) -> None:
    """It is signed and goes out as before; under our name from outside it is looked at and comes in unsigned."""
    assert post(lab, relay, token).accepted
    message = lab.wait_for_message(token)
    assert_signed(message, SIGNERS[relay])
    assert message.parsed["X-Spam-Status"] is None
    text = letter(f"back-{token}").replace(f"To: {VICTIM}", "To: joe@post.example")
    assert insist(lab, relay, token="list", message=text).accepted
    arrived = received(lab, relay, f"back-{token}")
    assert "DKIM-Signature" not in arrived and "X-Spam-Status" in arrived


@pytest.mark.from_any_state
def test_without_the_daemons_mail_is_taken(lab: Lab, inbound: None, token: str) -> None:
    """As the variables say by default, SECOND says otherwise. From the moment that they are started they are asked."""
    for relay, kind in FILTERS.items():
        for unit in DOWN[kind]:
            name = f"{unit}-{relay}-{token}"
            with stopped(lab, relay, unit):
                assert insist(lab, relay, token=name).accepted
                assert ("X-Spam-Status" in received(lab, relay, name)) == (unit == "postgrey")
            lab.run(relay, ["systemctl", "start", *BEFORE[kind]])
        assert insist(lab, relay, token=f"back-{name}", body=GTUBE).refusal == BLOCKED[kind]


@pytest.mark.from_any_state
@pytest.mark.parametrize("relay", FILTERS)
def test_a_boot_starts_them_before_postfix(lab: Lab, inbound: None, relay: str) -> None:
    waits = lab.run(relay, ["systemctl", "show", "-P", "After", SERVICES[relay]]).stdout.split()
    assert {f"{unit}.service" for unit in BEFORE[FILTERS[relay]]} <= set(waits)


@pytest.mark.from_any_state
def test_host_and_log_tell_of_it(lab: Lab, inbound: None) -> None:
    """The playbooks host and explain, in one run: who listens on each relay, and whom it has refused and why."""
    for relay in FILTERS:
        assert answers(knock(lab, relay, recipients=["nobody@post.example", VICTIM]), "RCPT") == [550, 554]
    explain = str(RESTORE.parent / "explain.yml")
    said = plays.play(
        lab, RESTORE.parent / "host.yml", inventories=(), options=[explain], extra={"explain_outcomes": ["refused"]}
    )
    assert said.changed == {}
    for relay, kind in FILTERS.items():
        title = f"{re.escape(lab.fqdn(relay))}: "
        log, host = re.findall(rf"^{title}.*?(?=^\S+\.example: |^ok: )", said.output, re.MULTILINE | re.DOTALL)
        listens = re.findall(r"^  (\d+) .* (\S+) \([\w@.-]+\.service\)", host, re.MULTILINE)
        assert PROGRAMS[kind] <= set(listens)
        assert re.search(
            rf"^  25 .* Postfix \({SERVICES[relay]}\.service\) +smtp +starttls TLSv1\.3", host, re.MULTILINE
        )
        assert re.search(r"^  root@corp\.example +sender_canonical_maps: inline:", host, re.MULTILINE)
        assert "not seen" not in host + log
        for cause, domain in (("no_such_user", "post.example"), ("relay_denied", "outside.test")):
            assert re.search(rf"^ +\d+ x {cause}: ", log, re.MULTILINE)
            assert re.search(rf"^ +\d+  {domain} .*{cause}", log, re.MULTILINE)


@pytest.mark.from_any_state
@pytest.mark.parametrize("relay", FILTERS)
def test_the_key_of_a_list_is_roots_alone(lab: Lab, inbound: None, relay: str) -> None:
    seen = lab.run(relay, "postconf -n; postconf -M; ps axww; journalctl -b | grep -v 'RBL lookup error'").stdout
    assert KEY not in seen
    assert (
        lab.run(
            relay,
            ["find", "/etc", "/run", "-type", "f", "-perm", "-o=r", "-exec", "grep", "-l", KEY, "{}", "+"],
            check=False,
        ).stdout
        == ""
    )
    held = lab.run(relay, f"grep -rl {KEY} /etc/postfix | xargs stat -c '%U %a %n' | sort").stdout.splitlines()
    assert held and all(line.startswith("root 600 ") for line in held)


@pytest.mark.from_any_state
def test_the_other_way_round(lab: Lab, inbound: None, token: str) -> None:
    """Each release with the other filter; all addresses and no keyed list; nobody gets in while a daemon is down."""
    converge(lab, extra=SECOND)
    for relay in SWAPPED:
        forget(lab, relay)
        assert lab.run(relay, "ls /etc/postfix | grep dnsbl", check=False).stdout == ""
    both_ways(lab, token, SWAPPED)
    new = {"sender": f"{token}@stranger.test"}
    assert knock(lab, "relay1", **new).refusal is None
    asked = [knock(lab, "relay2", **new).refusal, insist(lab, "relay2", **new).refusal]
    assert asked[0] is not None and asked[0][:2] == ("RCPT", 450) and "Greylisted" in asked[0][2] and asked[1] is None
    for relay, kind in SWAPPED.items():
        assert insist(lab, relay, recipients="ann@post.example").refusal is None
        refused = insist(lab, relay, recipients="bob@post.example").refusal
        assert refused is not None and refused[:2] == ("RCPT", 550)
        casino = insist(lab, relay, token="casino").refusal
        assert casino is not None and casino[:2] == (".", 550) and "no casinos" in casino[2]
        own = post(lab, relay, "", sender="joe@shop.example", message=None).refusal
        assert own is not None and own[:2] == ("RCPT", 554), "a sender that our hosts may not have"
        assert post(lab, relay, "", message=None).refusal is None
        assert "own_senders" in postconf(lab, relay, "smtpd_restriction_classes")
        for unit in DOWN[kind]:
            with stopped(lab, relay, unit):
                # Postfix offers TLS and puts that off, too.
                later = knock(lab, relay, token="down", starttls=False).refusal
                assert later is not None and later[1] in (450, 451), (unit, later)
    assert converge(lab, extra=SECOND).changed == {}
    assert answers(post(lab, "relay1", "", client=CLIENTS["relay2"], message=None), "RCPT") == [250]
