# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts say of themselves describes them: run with it, the roles find nothing to change.

Hosts of our roles and hosts made by hand are all adopted once.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab.plays import Played, play
from lab.probe import Lab

HERE = Path(__file__).resolve().parent
PLAYBOOKS = HERE.parents[2] / "playbooks"
GUIDE = HERE.parents[2] / "docs" / "adopt.md"
OURS = ("sat-postfix-12", "sat-exim-13", "relay1")
BY_HAND = ("sat-postfix-13", "sat-exim-12", "relay2")
EXTRA = {"relay_probe_host": "mx.outside.test"}


@dataclass(frozen=True)
class Adopted:
    """A directory that adopt.yml filled, and the run that did it."""

    directory: Path
    run: Played

    def variables(self, host: str) -> dict[str, Any]:
        """What was written about a host."""
        return dict(yaml.safe_load((self.directory / "host_vars" / host / "mail.yml").read_text()))


def plain(text: str) -> str:
    """What a run printed, without the colours that it has under molecule."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def unwrapped(text: str) -> str:
    """The same on one line."""
    return " ".join(plain(text).split())


def limit(hosts: tuple[str, ...]) -> str:
    """The hosts, and the controller on which records are derived."""
    return ",".join((*hosts, "localhost"))


def adopt(lab: Lab, directory: Path, hosts: tuple[str, ...], **extra: object) -> Adopted:
    """Runs adopt.yml as a person would who has no inventory but addresses."""
    run = play(
        lab,
        PLAYBOOKS / "adopt.yml",
        limit=",".join(hosts),
        inventories=[],
        extra={"adopt_directory": str(directory), "adopt_resolver": lab.address("resolver"), **extra},
    )
    return Adopted(directory, run)


def dns(lab: Lab) -> dict[str, object]:
    """Where records are published: what a relay signs with must be there."""
    known = lab.known["dns"]
    return {
        "mail_dns_server": known["primary"],
        "mail_dns_tsig_name": "estate.",
        "mail_dns_tsig_secret": known["tsig"]["estate."],
        "mail_spf_proof": {"resolver": known["resolver"]},
    }


def site(lab: Lab, directory: Path, hosts: tuple[str, ...], *, check: bool = False) -> Played:
    """Runs site.yml with what was adopted, and with what the vault would hold.

    Adoption knows nothing of DNS, so check mode has no server to compare records with. The real run may replace
    what the other half of the hosts has published, of which the draft of mail_domains knows nothing.
    """
    provider = {key: lab.known["provider"][key] for key in ("username", "password")}
    vault = {
        f"vault_{role}_{key}": value for role in ("satellite", "relay_smarthost") for key, value in provider.items()
    }
    proof = {"mail_spf_proof": {"resolver": lab.known["dns"]["resolver"]}}
    extra = {**EXTRA, **vault, **proof, **({} if check else {**dns(lab), "mail_records_replace": True})}
    return play(lab, PLAYBOOKS / "site.yml", limit=limit(hosts), inventories=[directory], extra=extra, check=check)


@pytest.fixture(scope="session", autouse=True)
def hosts(lab: Lab) -> None:
    """Half of the hosts by our roles, half as guides on the net would have them."""
    ours = {"inventories": [HERE.parent / "estate"], "limit": limit(OURS), "extra": dns(lab)}
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(play, lab, PLAYBOOKS / "site.yml", **ours),  # type: ignore[arg-type]
            pool.submit(play, lab, HERE.parent / "foreign.yml", inventories=[]),
        ]
        for run in runs:
            run.result()


@pytest.fixture(scope="session")
def ours(lab: Lab, hosts: None, tmp_path_factory: pytest.TempPathFactory) -> Adopted:
    """The hosts that our roles set up, adopted into an empty directory."""
    return adopt(lab, tmp_path_factory.mktemp("ours"), OURS)


@pytest.fixture(scope="session")
def by_hand(lab: Lab, hosts: None, tmp_path_factory: pytest.TempPathFactory) -> Adopted:
    """The others, with their keys copied to where a role can take them."""
    return adopt(lab, tmp_path_factory.mktemp("by_hand"), BY_HAND, adopt_keys=True)


# ---------------------------------------------------------------- hosts of our roles


def test_what_was_adopted_changes_nothing(lab: Lab, ours: Adopted) -> None:
    assert site(lab, ours.directory, OURS, check=True).changed == {}


def test_our_own_hosts_are_told_whole(ours: Adopted) -> None:
    for host in OURS:
        text = (ours.directory / "host_vars" / host / "mail.yml").read_text()
        assert "What these variables do not say" not in text, text


def test_variables_come_back(ours: Adopted) -> None:
    batch, till, relay = (ours.variables(host) for host in OURS)
    assert batch["satellite_password"] == "{{ vault_satellite_password }}"
    assert batch["satellite_masquerade_exceptions"] == ["root", "@news.corp.example"]
    assert batch["satellite_hostname"] == "batch.corp.example"
    assert batch["satellite_aliases"]["munin"] == ["monitoring@outside.test", "ops"]
    assert till["satellite_masquerade_exceptions"] == ["backup", "@lists.shop.example", "@news.shop.example"]
    assert (till["satellite_relay_port"], till["satellite_tls"], till["satellite_queue_lifetime"]) == (26, "none", "2w")
    assert relay["relay_postfix_settings"] == {"delay_warning_time": "4h", "smtp_helo_timeout": "120s"}
    assert relay["relay_transports"] == {"lists.corp.example": "lmtp:inet:127.0.0.1:2424"}
    assert sorted(relay["relay_sender_domains"]) == ["corp.example", "shop.example"]
    assert "relay_signer" not in relay and "mail_dkim_adopted" not in relay  # the default, and keys in manifests


def test_secrets_stay_on_the_host(lab: Lab, ours: Adopted) -> None:
    provider = lab.known["provider"]
    written = "".join(path.read_text() for path in ours.directory.rglob("*.yml")) + plain(ours.run.output)
    assert provider["password"] not in written
    assert "PRIVATE KEY" not in written


def test_groups_and_domains(ours: Adopted) -> None:
    groups = yaml.safe_load((ours.directory / "hosts-adopted.yml").read_text())["all"]["children"]
    assert list(groups["relays"]["hosts"]) == ["relay1"]
    assert list(groups["satellites"]["children"]["satellites_exim"]["hosts"]) == ["sat-exim-13"]
    domains = yaml.safe_load((ours.directory / "group_vars/all/adopted.yml").read_text())["mail_domains"]
    assert [(one["name"], one["dkim"]["algorithms"]) for one in domains] == [
        ("corp.example", ["rsa", "ed25519"]),
        ("shop.example", ["rsa"]),
    ]


def test_what_dns_says_of_a_domain_is_adopted(ours: Adopted) -> None:
    described = yaml.safe_load((HERE.parent / "estate/hosts.yml").read_text())["all"]["vars"]["mail_domains"]
    adopted = yaml.safe_load((ours.directory / "group_vars/all/adopted.yml").read_text())["mail_domains"]
    for ours_, theirs in zip(adopted, described, strict=True):
        assert ours_["name"] == theirs["name"]
        assert ours_["dmarc"]["policy"] == "none"  # what the records module writes where nothing is said
        assert {"hosts": "relays"} in ours_["senders"]


# ---------------------------------------------------------------- hosts made by hand


def test_what_people_made_by_hand_is_understood(by_hand: Adopted) -> None:
    postfix, exim, relay = (by_hand.variables(host) for host in BY_HAND)
    assert postfix == {
        "satellite_domain": "corp.example",
        "satellite_relay": "relay1.corp.example",
        "satellite_tls": "none",
        "satellite_mailx": True,
        "satellite_root_address": "ops@outside.test",
    }
    assert exim == {
        "satellite_domain": "corp.example",
        "satellite_relay": "relay1.corp.example",
        "satellite_tls": "may",
        "satellite_queue_lifetime": "4d",
        "satellite_root_address": "ops@outside.test",
    }
    assert (relay["relay_hostname"], relay["relay_networks"]) == ("relay2.corp.example", ["127.0.0.0/8"])
    assert (relay["relay_signer"], relay["relay_signer_failure"]) == ("opendkim", "accept")
    assert relay["mail_dkim_adopted"] == [
        {
            "domain": "corp.example",
            "selector": "mail",
            "algorithm": "rsa",
            "path": "/etc/dkimkeys/corp.example.mail.key",
        }
    ]


UNTRANSLATED = [
    ("sat-postfix-13", "munin"),
    ("sat-exim-12", "web.elsewhere.test"),
    ("relay2", "mydestination (corp.example)"),
    ("relay2", "opendkim.conf canonicalization (relaxed/simple)"),
]


@pytest.mark.parametrize(("host", "item"), UNTRANSLATED)
def test_what_was_not_translated_is_told(by_hand: Adopted, host: str, item: str) -> None:
    assert item in (by_hand.directory / "host_vars" / host / "mail.yml").read_text()
    assert item in unwrapped(by_hand.run.output)


@pytest.fixture(scope="session")
def foreseen(lab: Lab, by_hand: Adopted) -> Played:
    """What check mode says of hosts made by hand, with the inventory that describes them."""
    return site(lab, by_hand.directory, BY_HAND, check=True)


def test_every_change_is_in_the_guide(foreseen: Played) -> None:
    """Parameters and settings in the diff, and what docs/adopt.md says of them (names there may end with a star)."""
    named = set(re.findall(r"`([^`\s]+)", GUIDE.read_text()))
    patterns = [name.partition("=")[0] for name in named]
    changed = set(re.findall(r"^[-+]([a-z]\w+) ?=", plain(foreseen.output), re.MULTILINE))
    assert len(changed) > 40, "check mode has shown no diff"
    assert sorted(name for name in changed if not any(fnmatch(name, one) for one in patterns)) == []


def test_a_published_key_is_taken_as_it_is(lab: Lab, by_hand: Adopted, foreseen: Played, token: str) -> None:
    """What signs afterwards is the key from before, under its selector."""
    assert "mail._domainkey.corp.example." in unwrapped(foreseen.output)
    done = site(lab, by_hand.directory, BY_HAND)
    assert set(done.changed) >= set(BY_HAND)
    sums = lab.run("relay2", ["sha256sum", "/etc/postfix/mail.private", "/etc/dkimkeys/corp.example.mail.key"]).stdout
    assert len({line.split()[0] for line in sums.splitlines()}) == 1
    lab.run("relay2", ["sendmail", "-f", "alex@corp.example", "ops@outside.test"], input=f"Subject: {token}\n\nHello\n")
    signature = str(lab.wait_for_message(token).parsed["DKIM-Signature"])
    assert re.search(r"\bd=corp\.example;.*\bs=mail;", " ".join(signature.split()))
    assert "munin: monitoring@outside.test" in lab.run("sat-postfix-13", ["cat", "/etc/aliases"]).stdout
    again = adopt(lab, by_hand.directory / "again", BY_HAND)
    assert site(lab, again.directory, BY_HAND, check=True).changed == {}


# ---------------------------------------------------------------- files of people


def test_a_file_that_is_there_stays(lab: Lab, tmp_path: Path) -> None:
    host = "sat-exim-13"
    theirs = tmp_path / "host_vars" / host / "mail.yml"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("satellite_domain: mine.example\n")
    said = adopt(lab, tmp_path, (host,)).run.output
    assert theirs.read_text() == "satellite_domain: mine.example\n"
    assert "KEPT: host_vars/sat-exim-13/mail.yml" in unwrapped(said)
    adopt(lab, tmp_path, (host,), adopt_overwrite=True)
    assert "satellite_domain: shop.example" in theirs.read_text()


def test_a_file_beside_is_not_put_out_of_force(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars/sat-exim-13.yml").write_text("satellite_domain: mine.example\n")
    said = adopt(lab, tmp_path, ("sat-exim-13",)).run.output
    assert "sat-exim-13.yml was not touched" in unwrapped(said)
    assert not (tmp_path / "host_vars/sat-exim-13").exists()


def test_a_key_that_is_not_there_is_not_made_anew(lab: Lab, ours: Adopted) -> None:
    extra = {
        "mail_dkim_adopted": [{"domain": "corp.example", "selector": "old", "algorithm": "rsa", "path": "/etc/none"}]
    }
    failed = play(
        lab,
        PLAYBOOKS / "records.yml",
        check=True,
        limit=limit(("relay1",)),
        inventories=[ours.directory],
        extra=extra,
        must_pass=False,
    )
    assert "mail_dkim_adopted names /etc/none, where no file is" in failed.failures["relay1"]
