# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first runs: what check mode foresees on bare hosts, what the first one makes, that the second changes nothing."""

from __future__ import annotations

from conftest import First
from lab.probe import Lab
from mailers import DOMAINS, MAILERS, STAGES, unit, variables


def test_check_mode_on_bare_hosts_foresees_the_first_run(first: First) -> None:
    assert (first.foreseen.failures, first.left) == ({}, "")
    for mailer in MAILERS:
        # Packages are named in check mode, and installed else.
        assert set(first.foreseen.changed[mailer]) - {"Say what would be installed"} <= set(first.done.changed[mailer])
        assert "Configure the mailer" in first.foreseen.changed[mailer], first.foreseen.changed


def test_the_second_run_changes_nothing(first: First) -> None:
    assert (first.done.failures, first.second.changed) == ({}, {})


def test_the_check_finds_no_fault_in_the_records(first: First) -> None:
    """Domains of authors have no mailboxes here, so no MX. What is left else is advice that concerns no mailer."""
    found, advice = first.checked["findings"], {"mtasts.dns+policy", "tlsrpt", "caa/bimi/ipv6"}
    graver = [(one["domain"], one["id"]) for one in found if one["severity"] != "I"]
    assert graver == [(domain, "mx.exists") for domain in DOMAINS.values()], graver
    assert {one["id"] for one in found if one["severity"] == "I"} <= advice
    assert all("CAA" in one["seen"] for one in found if one["id"] == "caa/bimi/ipv6")
    right = {
        **dict.fromkeys(DOMAINS.values(), ("spf.covers-ip", "dkim.present", "dkim.match", "dmarc.policy")),
        **{f"rp.{domain}": ("mx.exists", "mx.target", "tls.starttls", "spf.all") for domain in DOMAINS.values()},
    }
    for domain, ids in right.items():
        assert {first.checked["verdicts"][domain][one] for one in ids} == {"ok"}, domain


def test_all_stages_run_and_start_with_the_host(lab: Lab) -> None:
    for mailer in MAILERS:
        said = lab.run(mailer, ["systemctl", "is-active", *map(unit, STAGES)], check=False).stdout.split()
        assert said == ["active"] * len(STAGES), (mailer, said)
        target = "postmaster-mailer.target"
        assert lab.run(mailer, ["systemctl", "is-enabled", target], check=False).stdout.strip() == "enabled"
        wanted = lab.run(mailer, ["systemctl", "show", "--value", "-p", "Wants", target]).stdout.split()
        assert set(map(unit, STAGES)) <= set(wanted), (mailer, wanted)


def test_no_run_shows_a_secret(first: First) -> None:
    secret = variables()["mailer_hook_secret"]
    for played in (first.foreseen, first.done, first.second):
        assert secret not in played.output and "$argon2id$" not in played.output
