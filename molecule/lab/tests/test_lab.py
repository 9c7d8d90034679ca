# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab proves itself: every refusal has a twin that differs in that point alone and is accepted."""

from __future__ import annotations

import ipaddress
from functools import partial

import pytest
from lab import ready
from lab.probe import Dialogue, Lab

ZONES = ("corp.example", "shop.example", "outside.test", "provider.test", "stranger.test", "lab.test")
FORGED = "Authentication-Results: mx.outside.test; spf=pass; dkim=pass header.d=stranger.test; dmarc=pass\n"


def letter(token: str, *, sender: str = "someone@stranger.test", extra: str = "") -> str:
    """A plain message."""
    head = f"{extra}From: {sender}\nTo: anyone@outside.test\nSubject: {token}\nMessage-ID: <{token}@test>\n"
    return f"{head}\n.dot\nHello\n"


def post(lab: Lab, token: str, *, sender: str = "someone@stranger.test", **options: object) -> Dialogue:
    """Send from the stranger to outside."""
    text = letter(token, sender=sender, extra=str(options.pop("extra", "")))
    recipient = "anyone@outside.test"
    return lab.smtp("stranger", "outside", sender=sender, recipients=recipient, message=text, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("server", ["ns1", "ns2"])
@pytest.mark.parametrize("zone", ZONES)
def test_name_servers_answer_signed_data(lab: Lab, server: str, zone: str) -> None:
    assert ready.serves(lab.address(server), zone)


@pytest.mark.parametrize("zone", ZONES)
def test_resolver_validates(lab: Lab, zone: str) -> None:
    assert ready.validates(lab.address("resolver"), zone)


def test_resolver_refuses_a_bogus_zone(lab: Lab) -> None:
    assert ready.ask(lab.address("ns1"), "www.bogus.test", "A").rcode == 0
    assert ready.ask(lab.address("resolver"), "www.bogus.test", "A").rcode == 2  # SERVFAIL


def test_resolver_denies_public_names(lab: Lab) -> None:
    answer = ready.ask(lab.address("resolver"), "example.com", "A")
    assert (answer.rcode, answer.authenticated) == (3, True)  # NXDOMAIN, proven


def holds(lab: Lab, name: str, server: str, text: str) -> bool:
    """Whether a server answers with that one text."""
    return lab.query(name, "TXT", server=server) == [f'"{text}"']


@pytest.mark.parametrize("key", ["estate.", "lab."])
def test_update_reaches_both_servers_and_the_resolver(lab: Lab, token: str, key: str) -> None:
    name = f"{token}.corp.example."
    lab.update(name, "TXT", [f'"{token}"'], key=key)
    try:
        for server in ("ns1", "ns2", "resolver"):
            ready.wait(f"{name} at {server}", partial(holds, lab, name, server, token))
        assert ready.ask(lab.address("resolver"), name, "TXT").authenticated
    finally:
        lab.update(name, "TXT", [], key=key)
    ready.wait(f"{name} to vanish", lambda: lab.query(name, "TXT") == [])


def test_update_with_the_estates_key_is_refused_elsewhere(lab: Lab, token: str) -> None:
    with pytest.raises(AssertionError, match="refuses the update"):
        lab.update(f"{token}.outside.test.", "TXT", ['"no"'], key="estate.")


def test_reverse_names_agree(lab: Lab) -> None:
    for name, host in lab.known["hosts"].items():
        for address in host["addresses"]:
            rdtype = "A" if ipaddress.ip_address(address).version == 4 else "AAAA"
            pointer = ipaddress.ip_address(address).reverse_pointer
            assert lab.query(pointer, "PTR") == [f"{host['fqdn']}."], name
            assert address in lab.query(host["fqdn"], rdtype), name


def test_hosts_find_each_other_across_the_edge(lab: Lab) -> None:
    for version in (4, 6):
        answer = lab.smtp(
            "relay1", "outside", sender="a@corp.example", recipients="b@outside.test", version=version, starttls=False
        )
        assert answer.refusal is None, answer
    log = lab.journal("outside", "postfix")
    for address in lab.known["hosts"]["relay1"]["addresses"]:
        assert f"connect from relay1.corp.example[{address}]" in log  # nobody translates addresses on the way


def test_packages_come_through_the_resolver(lab: Lab) -> None:
    lab.run("relay1", ["apt-get", "-q", "update"], timeout=120)
    lab.run("relay1", "cd /tmp && apt-get -q download hello", timeout=120)


@pytest.mark.parametrize("version", [4, 6])
def test_outside_accepts_and_judges(lab: Lab, token: str, version: int) -> None:
    dialogue = post(lab, token, version=version, extra=FORGED)
    assert dialogue.accepted, dialogue
    message = lab.wait_for_message(token)
    assert message.verdicts == {"spf": "pass", "dkim": "none", "dmarc": "none"}
    assert message.tls == "TLSv1.3"
    assert message.client["name"] == "host.stranger.test"
    assert message.client["address"] == lab.address("stranger", version=version)
    assert (message.sender, message.recipient) == ("someone@stranger.test", "anyone@outside.test")
    assert len(message.parsed.get_all("Authentication-Results")) == 1  # the forged one is gone
    assert message.parsed.get_content().splitlines() == [".dot", "Hello"]


def test_outside_takes_plain_text_too(lab: Lab, token: str) -> None:
    assert post(lab, token, starttls=False).accepted
    assert lab.wait_for_message(token).tls == ""


@pytest.mark.parametrize("version", [4, 6])
def test_outside_refuses_a_client_without_ptr(lab: Lab, token: str, version: int) -> None:
    dialogue = post(lab, token, version=version, source=lab.nameless(version=version))
    assert dialogue.refusal is not None
    assert (dialogue.refusal[0], dialogue.refusal[1]) == ("RCPT", 550)


def test_outside_sees_spf_fail(lab: Lab, token: str) -> None:
    assert post(lab, token, sender="someone@spf-fail.stranger.test").accepted
    assert lab.wait_for_message(token).verdicts == {"spf": "fail", "dkim": "none", "dmarc": "none"}


def test_outside_enforces_dmarc(lab: Lab, token: str) -> None:
    dialogue = post(lab, token, sender="someone@dmarc-reject.stranger.test")
    assert dialogue.refusal is not None
    assert (dialogue.refusal[0], dialogue.refusal[1]) == (".", 554)


def test_outside_forgets_policies_at_once(lab: Lab, token: str) -> None:
    name = "changing.stranger.test."
    for verdict, terms in (("fail", "-all"), ("pass", f"ip4:{lab.address('stranger')} -all"), ("softfail", "~all")):
        lab.update(name, "TXT", [f'"v=spf1 {terms}"'])
        assert post(lab, f"{token}-{verdict}", sender="someone@changing.stranger.test").accepted
        assert lab.wait_for_message(f"{token}-{verdict}").verdicts["spf"] == verdict


def test_outside_relays_for_nobody(lab: Lab) -> None:
    elsewhere = lab.smtp("stranger", "outside", sender="a@stranger.test", recipients="b@corp.example")
    assert elsewhere.refusal is not None and elsewhere.refusal[:2] == ("RCPT", 554)
    here = lab.smtp("stranger", "outside", sender="a@stranger.test", recipients="postmaster@outside.test")
    assert here.refusal is None


def submit(lab: Lab, token: str, *, host: str = "relay2", **options: object) -> Dialogue:
    """Hand a message to the provider's submission port, as relay2 would."""
    text = letter(token, sender="corp@corp.example")
    ends = {"sender": "corp@corp.example", "recipients": "x@outside.test"}
    return lab.smtp(host, "provider", port=587, message=text, **ends, **options)  # type: ignore[arg-type]


def test_provider_relays_for_its_customer(lab: Lab, token: str) -> None:
    provider = lab.known["provider"]
    assert submit(lab, token, login=(provider["username"], provider["password"])).accepted
    message = lab.wait_for_message(token)
    assert message.client["name"] == "smtp.provider.test"
    assert message.tls == "TLSv1.3"


@pytest.mark.parametrize("version", [4, 6])
def test_provider_knows_a_customer_by_its_address(lab: Lab, token: str, version: int) -> None:
    assert submit(lab, token, host="relay1", version=version).accepted
    assert lab.wait_for_message(token).client["name"] == "smtp.provider.test"
    refusal = submit(lab, token, host="relay2", version=version).refusal
    assert refusal is not None and refusal[:2] == ("RCPT", 554)


@pytest.mark.parametrize(
    ("options", "step"),
    [({}, "RCPT"), ({"login": ("corp", "wrong")}, "AUTH"), ({"starttls": False}, "MAIL")],
    ids=["no login", "wrong password", "no TLS"],
)
def test_provider_refuses_all_others(lab: Lab, token: str, options: dict[str, object], step: str) -> None:
    dialogue = submit(lab, token, **options)
    assert dialogue.refusal is not None
    assert dialogue.refusal[0] == step


def test_every_daemon_runs(lab: Lab) -> None:
    for host in lab.hosts():
        assert lab.run(host, ["systemctl", "--failed", "--no-legend"]).stdout == "", host
