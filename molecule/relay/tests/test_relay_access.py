# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may send through a relay that had been set up by hand before, and through a second port."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from lab.probe import Dialogue, Lab
from relays import (
    CLIENTS,
    SIGNERS,
    VICTIM,
    answers,
    assert_signed,
    converge,
    letter,
    post,
    postconf,
    settings,
)

BY_HAND = CLIENTS["relay1"]
INSTALL = """
    export DEBIAN_FRONTEND=noninteractive
    echo 'postfix postfix/main_mailer_type select Internet Site' | debconf-set-selections
    apt-get -qq purge postfix postfix-lmdb exim4-base exim4-config exim4-daemon-light
    rm -rf /etc/postfix
    apt-get -qq update && apt-get -qq install postfix postfix-lmdb
    cp -p /etc/postfix/master.cf /run/master.cf.kept
    systemctl restart postfix"""
OVERRIDES = {
    "smtpd_client_restrictions": "smtp/inet/smtpd_client_restrictions=permit",
    "smtpd_relay_restrictions": "smtp/inet/smtpd_relay_restrictions=check_client_access,static:OK,reject",
    "mynetworks": "smtp/inet/mynetworks=0.0.0.0/0",
    "smtpd_sasl_auth_enable": "smtp/inet/smtpd_sasl_auth_enable=yes",
    "smtpd_authorized_xclient_hosts": "smtp/inet/smtpd_authorized_xclient_hosts=0.0.0.0/0",
    "smtpd_upstream_proxy_protocol": "smtp/inet/smtpd_upstream_proxy_protocol=haproxy",
}
XCLIENT = """
import smtplib, sys
client = smtplib.SMTP(sys.argv[1], timeout=30)
client.ehlo("stranger")
codes = [client.docmd("XCLIENT ADDR=127.0.0.1 NAME=localhost")[0], client.docmd("EHLO stranger")[0]]
codes += [client.docmd("MAIL FROM:<a@stranger.test>")[0], client.docmd("RCPT TO:<victim@outside.test>")[0]]
print(*codes)
"""


@pytest.fixture(scope="module")
def by_hand(lab: Lab) -> Iterator[str]:
    """A host whose Postfix somebody set up by hand, without the role."""
    lab.run(BY_HAND, INSTALL, timeout=600)
    lab.run(BY_HAND, "postconf -e inet_interfaces=all 'mynetworks=127.0.0.0/8' && systemctl restart postfix")
    yield BY_HAND
    lab.run(BY_HAND, "systemctl disable --now postfix rspamd 2>/dev/null; true")


def as_relay(lab: Lab, host: str, *, must_pass: bool = True) -> dict[str, str]:
    """Make a relay of it; what it said if that failed."""
    extra = {"relay_hosts": host, "relay_preflight_warn_only": ["ptr"], "relay_dkim_keys": []}
    return converge(lab, extra=extra, must_pass=must_pass).failures


def forged(lab: Lab, host: str) -> list[int]:
    """What a stranger gets who says that it is the host itself."""
    said = lab.run("stranger", ["python3", "-c", XCLIENT, lab.address(host)]).stdout
    return [int(code) for code in said.split()]


def test_a_host_set_up_by_hand_is_no_open_relay_afterwards(lab: Lab, by_hand: str) -> None:
    """What main.cf held there, the role sets right; what master.cf holds, it names and leaves to its owner."""
    lab.run(by_hand, "postconf -e smtpd_authorized_xclient_hosts=0.0.0.0/0 && postfix reload")
    assert forged(lab, by_hand) == [220, 250, 250, 250], "the witness: an address can be forged"
    lab.run(by_hand, f"postconf -P {OVERRIDES['smtpd_relay_restrictions']} && postfix reload")
    assert post(lab, by_hand, "", client="stranger", message=None).refusal is None, "the witness: an open relay"
    before = lab.run(by_hand, "sha256sum /etc/postfix/*.cf").stdout
    said = as_relay(lab, by_hand, must_pass=False)[by_hand]
    assert "master.cf: the service smtp/inet overrides smtpd_relay_restrictions" in said
    assert "remove this option, or the service" in said
    assert lab.run(by_hand, "sha256sum /etc/postfix/*.cf").stdout == before
    assert post(lab, by_hand, "", client="relay1", recipients="root@[127.0.0.1]", message=None).steps[0][1] == 220
    lab.run(by_hand, "cp /run/master.cf.kept /etc/postfix/master.cf")
    as_relay(lab, by_hand)
    refused = post(lab, by_hand, "", client="stranger", message=None).refusal
    assert refused is not None and refused[:2] == ("RCPT", 554)
    assert forged(lab, by_hand)[-1] == 554
    assert post(lab, by_hand, "", client="relay1", message=None).refusal is None


@pytest.mark.parametrize("name", OVERRIDES)
def test_each_override_is_named(lab: Lab, by_hand: str, name: str) -> None:
    """On a host that is a relay already: the twin is the run in the test before, and the one at the end."""
    lab.run(by_hand, f"postconf -P '{OVERRIDES[name]}'")
    try:
        said = as_relay(lab, by_hand, must_pass=False)[by_hand]
        assert f"the service smtp/inet overrides {name} (-o {name}=" in said
        assert said.count("overrides") == 1
    finally:
        lab.run(by_hand, "cp /run/master.cf.kept /etc/postfix/master.cf")


def test_a_service_that_only_this_host_reaches_is_left_alone(lab: Lab, by_hand: str) -> None:
    lab.run(by_hand, "echo '127.0.0.1:10026 inet n - y - - smtpd -o mynetworks=127.0.0.0/8' >> /etc/postfix/master.cf")
    try:
        assert as_relay(lab, by_hand) == {}
    finally:
        lab.run(by_hand, "cp /run/master.cf.kept /etc/postfix/master.cf && postfix reload")


# -- port 465 -----------------------------------------------------------------------------------
def over_tls(lab: Lab, relay: str, **options: object) -> Dialogue:
    """A session on the port where TLS comes first."""
    return post(lab, relay, "", port=465, wrapped=True, **options)


@pytest.mark.from_any_state
def test_mail_by_tls_from_the_first_byte(lab: Lab, token: str) -> None:
    ours = partial(over_tls, lab, message=None)
    for relay in SIGNERS:
        assert ours(relay).steps[0][1] == 0, "nobody listens there before"
    converge(lab, extra={"relay_smtps": True})
    try:
        for relay in SIGNERS:
            name = f"{relay}-{token}"
            assert over_tls(lab, relay, message=letter(name)).accepted
            assert_signed(lab.wait_for_message(name), SIGNERS[relay])
            assert post(lab, relay, "", port=465, client="stranger", message=None, timeout=5).steps[0][1] == 0
            refused = ours(relay, client="stranger").refusal
            assert refused is not None and refused[:2] == ("RCPT", 554)
            assert ours(relay, client="stranger", version=6).refusal is not None
            assert ours(relay, version=6).refusal is None
        assert converge(lab, extra={"relay_smtps": True}).changed == {}
    finally:
        converge(lab)
    assert all(lab.listeners(relay, 465) == set() for relay in SIGNERS)
    assert all(postconf(lab, relay, "smtpd_tls_wrappermode") == "no" for relay in SIGNERS)


# -- the two lists ------------------------------------------------------------------------------
FORMS = [
    VICTIM,
    "victim%outside.test@{relay}",
    "@{relay}:victim@outside.test",
    '"victim@outside.test"@{relay}',
    '"victim%outside.test"@{relay}',
    "outside.test!victim@{relay}",
    "outside.test!victim",
    "victim@outside.test@{relay}",
    "victim%outside.test@[{address}]",
]
# With these Postfix understands all forms, so that each is a request to send to the victim.
UNDERSTANDING = {"allow_percent_hack": "yes", "swap_bangpath": "yes"}
LISTS = {
    "clients alone": {"smtpd_relay_restrictions": "check_client_access static:OK, reject"},
    "recipients alone": {"smtpd_client_restrictions": ""},
    "none": {"smtpd_relay_restrictions": "check_client_access static:OK, reject", "smtpd_client_restrictions": ""},
}


@pytest.mark.parametrize("relay", SIGNERS)
@pytest.mark.parametrize("lists", LISTS)
def test_each_list_would_be_enough(lab: Lab, relay: str, lists: str) -> None:
    """Without both, which is the twin, a stranger gets everything through."""
    known = {"relay": lab.fqdn(relay), "address": lab.address(relay)}
    asked = partial(post, lab, relay, "", recipients=[form.format(**known) for form in FORMS], message=None)
    with settings(lab, relay, {**UNDERSTANDING, **LISTS[lists]}):
        assert answers(asked(), "RCPT") == [250] * len(FORMS)
        theirs = answers(asked(client="stranger"), "RCPT")
    assert theirs == [250 if lists == "none" else 554] * len(FORMS)
