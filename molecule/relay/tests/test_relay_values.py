# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each variable does, seen from outside; and what must be seen nowhere."""

from __future__ import annotations

import ipaddress
import time

import pytest
from lab.probe import Lab
from relays import (
    CLIENTS,
    SIGNERS,
    VICTIM,
    answers,
    assert_signed,
    converge,
    letter,
    post,
    settings,
    signatures,
    stopped,
)

LIMITS = {"relay_recipient_limit": 3, "relay_header_size_limit": 4096, "relay_client_message_rate": 20}
MANY = """
import smtplib, sys
client = smtplib.SMTP(sys.argv[1], timeout=30)
client.ehlo("host")
for dummy in range(25):
    print(client.docmd("MAIL FROM:<joe@corp.example>")[0])
    client.docmd("RSET")
"""


def long_header(token: str) -> str:
    """A message with a header of 8 KB."""
    return letter(token, extra="X-Long: " + "\n ".join(["y" * 60] * 130) + "\n")


def test_limits(lab: Lab, token: str) -> None:
    """Each seen before, where it is not reached, and after."""
    recipients = [f"{number}-{VICTIM}" for number in range(4)]
    many = ["python3", "-c", MANY, lab.address("relay1")]
    assert post(lab, "relay1", f"before-{token}", message=long_header(f"before-{token}")).accepted
    assert len(str(lab.wait_for_message(f"before-{token}").parsed["X-Long"])) > 7800
    assert answers(post(lab, "relay1", "", recipients=recipients, message=None), "RCPT") == [250] * 4
    assert lab.run(CLIENTS["relay1"], many).stdout.split() == ["250"] * 25
    converge(lab, limit="relay1", extra=LIMITS)
    assert answers(post(lab, "relay1", "", recipients=recipients, message=None), "RCPT") == [250, 250, 250, 452]
    assert post(lab, "relay1", f"after-{token}", message=long_header(f"after-{token}")).accepted
    assert 3000 < len(str(lab.wait_for_message(f"after-{token}").parsed["X-Long"])) < 4200
    codes = lab.run(CLIENTS["relay1"], many).stdout.split()
    assert codes[-1] == "450"
    # Another client, the relay itself among them, is not meant.
    assert set(lab.run("relay1", [*many[:-1], "127.0.0.1"]).stdout.split()) == {"250"}


@pytest.mark.from_any_state
def test_no_signer(lab: Lab, token: str) -> None:
    converge(lab, limit="relay1", extra={"relay_signer": "none"})
    try:
        assert lab.run("relay1", ["systemctl", "is-active", "rspamd"], check=False).stdout == "inactive\n"
        assert post(lab, "relay1", token).accepted
        message = lab.wait_for_message(token)
        assert signatures(message) == []
        assert message.verdicts == {"spf": "pass", "dkim": "none", "dmarc": "pass"}
        assert converge(lab, limit="relay1", extra={"relay_signer": "none"}).changed == {}
    finally:
        converge(lab, limit="relay1")
    assert post(lab, "relay1", f"again-{token}", message=letter(f"again-{token}")).accepted
    assert_signed(lab.wait_for_message(f"again-{token}"), "rspamd")


@pytest.mark.from_any_state
@pytest.mark.parametrize("action", ["accept", "reject"])
def test_what_is_done_without_the_signer(lab: Lab, token: str, action: str) -> None:
    """The default, to have the client come back, has a test of its own."""
    converge(lab, extra={"relay_signer_failure": action})
    for relay, signer in SIGNERS.items():
        name = f"{relay}-{token}"
        with stopped(lab, relay, signer):
            dialogue = post(lab, relay, name, message=letter(name), starttls=False)
        assert dialogue.accepted == (action == "accept")
        if action == "reject":
            assert dialogue.refusal is not None and 500 <= dialogue.refusal[1] < 600, dialogue.steps
        else:
            assert signatures(lab.wait_for_message(name)) == []


@pytest.mark.from_any_state
def test_addresses_to_send_from(lab: Lab, token: str) -> None:
    """The relay gets a second address of each kind, with a name, and sends from these."""
    name = lab.fqdn("relay1") + "."
    known = {version: ipaddress.ip_address(lab.address("relay1", version=version)) for version in (4, 6)}
    fresh = {version: address + 64 for version, address in known.items()}
    device = lab.run("relay1", "ip -o route get " + lab.address("outside")).stdout.split(" dev ")[1].split()[0]
    kinds = {4: "A", 6: "AAAA"}
    for version, address in fresh.items():
        # One of IPv6 that is not marked so would be preferred to the first.
        options = "nodad preferred_lft 0" if version == 6 else ""
        lab.run("relay1", f"ip addr add {address}/{address.max_prefixlen} dev {device} {options}")
        lab.update(address.reverse_pointer + ".", "PTR", [name])
        lab.update(name, kinds[version], [str(known[version]), str(address)])
    bound = {"relay_bind_address": str(fresh[4]), "relay_bind_address_ipv6": str(fresh[6])}
    try:
        for when, expected, extra in (("before", known, {}), ("after", fresh, bound)):
            converge(lab, limit="relay1", extra=extra)
            for version in (4, 6):
                word = f"{when}-{version}-{token}"
                with settings(lab, "relay1", {"smtp_address_preference": f"ipv{version}"}):
                    assert post(lab, "relay1", word, message=letter(word)).accepted
                    client = lab.wait_for_message(word).client["address"]
                assert ipaddress.ip_address(client) == expected[version]
    finally:
        for version, address in fresh.items():
            lab.update(name, kinds[version], [str(known[version])])
            lab.update(address.reverse_pointer + ".", "PTR", [])
            lab.run("relay1", f"ip addr del {address}/{address.max_prefixlen} dev {device}")


@pytest.mark.from_any_state
def test_addresses_to_listen_on(lab: Lab) -> None:
    address = lab.address("relay1")
    converge(lab, limit="relay1", extra={"relay_listen": ["127.0.0.1", address]})
    try:
        assert lab.listeners("relay1") == {"127.0.0.1:25", f"{address}:25"}
        assert post(lab, "relay1", "", message=None).refusal is None
        assert post(lab, "relay1", "", version=6, message=None, timeout=5).steps[0][1] == 0
    finally:
        converge(lab, limit="relay1")
    assert post(lab, "relay1", "", version=6, message=None).refusal is None


@pytest.mark.from_any_state
def test_an_unsupported_release(lab: Lab) -> None:
    kept = "cp -P /etc/os-release /run/os-release.kept"
    spoil = "cp --remove-destination /usr/lib/os-release /etc/os-release"
    edit = "sed -i -e s/trixie/bullseye/ -e 's/^PRETTY_NAME=.*/PRETTY_NAME=\"Debian 11\"/' /etc/os-release"
    lab.run("relay1", f"{kept} && {spoil} && {edit}")
    try:
        said = converge(lab, limit="relay1", must_pass=False).failures["relay1"]
    finally:
        lab.run("relay1", "cp -P --remove-destination /run/os-release.kept /etc/os-release")
    assert "Debian 11 is not supported: use a host with Debian bookworm or trixie" in said
    assert converge(lab, limit="relay1").failures == {}


@pytest.mark.from_any_state
def test_the_password_is_shown_nowhere(lab: Lab) -> None:
    """Neither in the most talkative output of the run that writes it, nor in the relay's journal."""
    password, since = lab.known["provider"]["password"], time.time()
    converge(lab, limit="relay2", extra={"relay_through": {}})
    played = converge(lab, limit="relay2", options=["-vvv"])
    assert "Configure Postfix" in played.changed["relay2"]
    assert password in lab.run("relay2", ["cat", "/etc/postfix/sasl_passwd"]).stdout
    journal = lab.journal("relay2", since=f"@{int(since)}")
    # What stands beside it is shown, so that it could be there.
    assert "sasl_passwd" in played.output and "smtp_sasl_password_maps" in played.output
    assert "Invoked with" in journal and "smtp_sasl_password_maps" in journal
    assert password not in played.output
    assert password not in journal
