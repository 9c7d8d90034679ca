# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""No relay signs with a key that an authoritative server does not hold, however the run was limited.

Mail goes on under the old key meanwhile, and the key signs once the servers have it.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab.plays import ESTATE, Played, play
from lab.probe import Lab

from .test_5_keys import PLAYBOOKS, dkim_key, signed_with

RELAY = PLAYBOOKS / "relay.yml"
RECORDS = PLAYBOOKS / "records.yml"
DOMAIN = "corp.example"


def active_key(lab: Lab) -> dict[str, Any]:
    """The key that relay1's manifest lets sign for the domain."""
    manifest = json.loads(lab.run("relay1", ["cat", f"/etc/dkimkeys/{DOMAIN}.json"]).stdout)
    return dict(next(key for key in manifest["keys"] if key["state"] == "active"))


def pasted(run: Played, name: str) -> str:
    """The value that the table shows for a record, as a person would copy it."""
    lines = [line for line in run.output.splitlines() if line.startswith(name)]
    assert lines and lines[0].split()[1:4] == ["TXT", "60", "missing"], run.output
    return " ".join(lines[0].split()[4:])


def stopped(lab: Lab, run: Played) -> str:
    """What a run said that must have left relay1's signer as it was."""
    assert set(run.failures) == {"relay1"}, run.output[-4000:]
    assert "relay1" not in run.changed
    return " ".join(run.failures["relay1"].split())


@pytest.fixture(scope="module")
def no_server(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The estate of people who publish by hand; the controller asks the lab's resolver who is to be asked."""
    folder = tmp_path_factory.mktemp("estate")
    shutil.copytree(ESTATE, folder, dirs_exist_ok=True)
    path = folder / "group_vars/all/mail.yml"
    lines = [line for line in path.read_text().splitlines() if not line.startswith("mail_dns_")]
    lines.append('mail_dns_wait: {resolver: "{{ lab_dns_resolver }}", timeout: 2}')
    path.write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def unpublished(lab: Lab) -> Iterator[tuple[str, str]]:
    """relay1's old key, that signs, and a new active one that nobody has published."""
    old = active_key(lab)["selector"]
    dkim_key(lab, "rotated")
    dkim_key(lab, "activated")
    new = active_key(lab)["selector"]
    assert new != old
    yield old, new


def test_a_run_for_the_relay_alone_stops_before_it_signs(lab: Lab, unpublished: tuple[str, str], token: str) -> None:
    old, new = unpublished
    said = stopped(lab, play(lab, RELAY, limit="relay1", must_pass=False))
    assert f"relay1 would sign for {DOMAIN} with the key {new}" in said
    assert re.search(rf"ns1\.lab\.test\. \([\d.]+\).* have no TXT record {new}\._domainkey\.{DOMAIN}\.", said), said
    assert "run again with --limit relay1,localhost" in said
    assert f"The record is: {new}._domainkey.{DOMAIN}. 3600 IN TXT " in said
    assert signed_with(lab, token) == old


def test_site_limited_to_a_group_stops_as_well(lab: Lab, unpublished: tuple[str, str]) -> None:
    run = play(lab, PLAYBOOKS / "site.yml", limit="relays", must_pass=False)
    assert unpublished[1] in stopped(lab, run)
    assert run.changed == {}


def test_check_mode_only_tells(lab: Lab, unpublished: tuple[str, str]) -> None:
    run = play(lab, RELAY, limit="relay1", check=True)
    assert f"relay1 would sign for {DOMAIN} with the key {unpublished[1]}" in " ".join(run.output.split())


def test_without_a_server_to_update_it_stops_too(
    lab: Lab, unpublished: tuple[str, str], no_server: Path, token: str
) -> None:
    old, new = unpublished
    run = play(lab, RELAY, limit="relay1,localhost", inventories=[no_server], must_pass=False)
    said = stopped(lab, run)
    assert f"the key {new}" in said and "publish it and run again" in said
    assert pasted(run, f"{new}._domainkey.{DOMAIN}.").startswith("v=DKIM1; h=sha256; k=rsa; p=MII")
    assert signed_with(lab, token) == old


def test_name_servers_out_of_reach_stop_it_too(lab: Lab, unpublished: tuple[str, str]) -> None:
    extra = {"mail_dns_wait": {"servers": ["127.0.0.1@1"]}}
    said = stopped(lab, play(lab, RELAY, limit="relay1", extra=extra, must_pass=False))
    assert "whether DNS holds it is not known: 127.0.0.1 port 1 cannot be reached over TCP" in said


def test_a_server_that_lags_stops_it(lab: Lab, unpublished: tuple[str, str]) -> None:
    """What one server holds and another does not is not published."""
    extra = {"mail_dns_wait": {"servers": [lab.address("ns1"), lab.address("stranger")]}}
    said = stopped(lab, play(lab, RELAY, limit="relay1", extra=extra, must_pass=False))
    assert unpublished[1] in said


def test_a_table_is_shown_and_waited_for(lab: Lab, unpublished: tuple[str, str], no_server: Path) -> None:
    """Published by hand while records.yml waits."""
    name = f"{unpublished[1]}._domainkey.{DOMAIN}."
    extra = {"domain": DOMAIN, "mail_dns_wait": {"resolver": lab.address("resolver"), "timeout": 0}}
    first = play(lab, RECORDS, inventories=[no_server], extra=extra)
    assert "shop.example" not in first.output
    text = pasted(first, name)
    extra["mail_dns_wait"] = {"resolver": lab.address("resolver"), "timeout": 120}
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(play, lab, RECORDS, inventories=[no_server], extra=extra)
        time.sleep(15)
        assert not waiting.done(), waiting.result().output
        strings = " ".join(f'"{text[start : start + 255]}"' for start in range(0, len(text), 255))
        lab.update(name, "TXT", [strings], key="estate.")
        assert waiting.result().changed == {}


def test_then_it_signs(lab: Lab, unpublished: tuple[str, str], no_server: Path, token: str) -> None:
    run = play(lab, RELAY, limit="relay1", inventories=[no_server])
    assert "relay1" in run.changed
    assert signed_with(lab, token) == unpublished[1]


def test_with_the_controller_in_the_limit_it_publishes_and_signs(lab: Lab, token: str) -> None:
    dkim_key(lab, "rotated")
    dkim_key(lab, "activated")
    new = active_key(lab)["selector"]
    assert new in stopped(lab, play(lab, RELAY, limit="relay1", must_pass=False))
    play(lab, RELAY, limit="relay1,localhost")
    assert signed_with(lab, token) == new


def test_a_domain_that_is_not_described_is_refused(lab: Lab) -> None:
    run = play(lab, RECORDS, extra={"domain": "other.example"}, must_pass=False)
    assert "other.example is not in mail_domains, which has corp.example, shop.example" in run.failures["localhost"]


def test_what_somebody_put_into_a_record_is_not_taken_away(lab: Lab) -> None:
    """An SPF record that was changed by hand: shown and kept, until someone says that it may go."""
    ours = lab.query("shop.example", "TXT", server="ns1")
    theirs = [text.replace("v=spf1 ", "v=spf1 include:_spf.provider.test ") for text in ours]
    assert theirs != ours
    lab.update("shop.example.", "TXT", theirs, key="estate.")
    assert "lost  include:_spf.provider.test" in play(lab, RECORDS, check=True).output
    run = play(lab, RECORDS, must_pass=False)
    assert "shop.example. would lose include:_spf.provider.test" in " ".join(run.failures["localhost"].split())
    shown = [line.split()[0] for line in run.output.splitlines() if "v=spf1" in line]
    assert shown == ["now", "then"]
    assert lab.query("shop.example", "TXT", server="ns1") == theirs
    play(lab, RECORDS, extra={"mail_records_replace": True})
    assert lab.query("shop.example", "TXT", server="ns2") == ours


def test_records_of_others_stay(lab: Lab) -> None:
    """Verification codes beside SPF, and names that no domain of the estate asks for."""
    ours = lab.query("shop.example", "TXT", server="ns1")
    lab.update("shop.example.", "TXT", [*ours, '"some-verification=1"'], key="estate.")
    lab.update("theirs._domainkey.shop.example.", "TXT", ['"v=DKIM1; p="'], key="estate.")
    assert play(lab, RECORDS).changed == {}
    assert '"some-verification=1"' in lab.query("shop.example", "TXT", server="ns2")
    assert lab.query("theirs._domainkey.shop.example", "TXT", server="ns2") == ['"v=DKIM1; p="']


# -- SPF records that receivers would not take -----------------------------------------------------


def described(**shop: Any) -> dict[str, Any]:
    """The estate's domains, with more senders or other options of shop.example."""
    domains = yaml.safe_load((ESTATE / "group_vars/all/mail.yml").read_text())["mail_domains"]
    for domain in domains:
        if domain["name"] == "shop.example":
            domain["senders"] += shop.pop("senders", [])
            domain |= shop
    return {"mail_domains": domains, "domain": "shop.example"}


def spf_of_shop(lab: Lab) -> str:
    (found,) = [text for text in lab.query("shop.example", "TXT", server="ns1") if "v=spf1" in text]
    return found


def test_an_spf_record_that_receivers_would_not_take_is_not_published(lab: Lab) -> None:
    """An include that leads nowhere is a permanent error for the domain's mail; one that leads somewhere is none."""
    before = spf_of_shop(lab)
    nowhere, somewhere = [{"include": "nowhere.outside.test"}], [{"include": "_spf.provider.test"}]
    run = play(lab, RECORDS, extra=described(senders=nowhere), must_pass=False)
    said = " ".join(run.failures["localhost"].split())
    assert "include:nowhere.outside.test: nowhere.outside.test has no SPF record" in said
    assert "(or add broken_target to its spf_allow)" in said
    assert spf_of_shop(lab) == before
    play(lab, RECORDS, extra=described(senders=somewhere))
    assert "include:_spf.provider.test" in spf_of_shop(lab)
    allowed = described(senders=nowhere, spf_allow=["broken_target"])
    play(lab, RECORDS, extra={**allowed, "mail_records_replace": True})
    assert "include:nowhere.outside.test" in spf_of_shop(lab)
    play(lab, RECORDS, extra={"mail_records_replace": True})
    assert spf_of_shop(lab) == before


def test_without_a_resolver_nothing_is_published_unless_a_person_says_so(lab: Lab) -> None:
    before = spf_of_shop(lab)
    sender = described(senders=[{"include": "_spf.provider.test"}])
    silent: dict[str, Any] = {"resolver": "127.0.0.1@1"}
    run = play(lab, RECORDS, extra={**sender, "mail_spf_proof": silent}, must_pass=False)
    said = " ".join(run.failures["localhost"].split())
    assert "of shop.example cannot be proven before it is published: the resolver (127.0.0.1 port 1)" in said
    assert spf_of_shop(lab) == before
    play(lab, RECORDS, extra={**sender, "mail_spf_proof": {**silent, "unanswered": "accept"}})
    assert "include:_spf.provider.test" in spf_of_shop(lab)
    play(lab, RECORDS, extra={"mail_records_replace": True})
    assert spf_of_shop(lab) == before
