# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A domain is added to an estate that runs: foreseen by check mode, then signed for."""

from __future__ import annotations

from pathlib import Path

import yaml
from lab.plays import ESTATE, play
from lab.probe import Lab

SITE = Path(__file__).resolve().parents[3] / "playbooks" / "site.yml"
NEW = "news.shop.example"


def test_a_new_domain_is_foreseen_and_then_signed_for(lab: Lab, token: str) -> None:
    domains = yaml.safe_load((ESTATE / "group_vars/all/mail.yml").read_text(encoding="utf-8"))["mail_domains"]
    shop = next(domain for domain in domains if domain["name"] == "shop.example")
    # Whatever tests before this one have left behind.
    play(lab, SITE)
    extra = {"mail_domains": [*domains, {**shop, "name": NEW}]}
    foreseen = play(lab, SITE, check=True, extra=extra)
    assert lab.run("relay1", f"ls /etc/dkimkeys/{NEW}*", check=False).stdout == ""
    done = play(lab, SITE, extra=extra)
    assert foreseen.changed == done.changed
    assert set(done.changed) == {"localhost", "relay1", "relay2"}
    for relay in ("relay1", "relay2"):
        assert done.changed[relay][0] == "Make the keys that are missing"
    assert play(lab, SITE, extra=extra).changed == {}
    for host in ("sat-postfix-12", "sat-exim-12"):  # one through each relay
        text = f"From: news@{NEW}\nSubject: {token}-{host}\n\nNews.\n"
        lab.run(host, ["sendmail", "-f", f"news@{NEW}", "someone@outside.test"], input=text)
        message = lab.wait_for_message(f"{token}-{host}")
        assert message.verdicts["dkim"] == message.verdicts["dmarc"] == "pass"
        assert f"d={NEW};" in "".join(message.parsed["DKIM-Signature"].split())
        assert lab.dkim_verifies(message)
