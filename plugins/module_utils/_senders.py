# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data: services that send mail for others, and the records they ask for. Private to this collection.

To add one, add an entry to ``CATALOGUE``. In names and targets ``{domain}`` stands for the mail
domain without its final dot, ``{dashed}`` for the same with dashes instead of dots.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Alias:
    """A CNAME that delegates a DKIM selector: ``selector._domainkey`` of the domain points to ``target``."""

    selector: str
    target: str


@dataclass(frozen=True)
class KnownSender:
    """A service: its terms for SPF, its DKIM aliases, and what only its own console can tell.

    ``spf_lookups`` counts the DNS queries that its include costs, itself included (RFC 7208 section
    4.6.4). ``txt_selector`` is the selector of a TXT key that the service makes; ``verification`` how
    its proof of ownership begins.
    """

    title: str
    spf: tuple[str, ...] = ()
    spf_lookups: int = 0
    aliases: tuple[Alias, ...] = ()
    txt_selector: str = ""
    verification: str = ""
    source: str = ""


CATALOGUE: dict[str, KnownSender] = {
    "google_workspace": KnownSender(
        title="Google Workspace",
        spf=("include:_spf.google.com",),
        spf_lookups=4,
        txt_selector="google",
        verification="google-site-verification=",
        source="https://support.google.com/a/answer/33786",
    ),
    "brevo": KnownSender(
        title="Brevo",
        spf=("include:spf.brevo.com",),
        spf_lookups=1,
        aliases=(
            Alias("brevo1", "b1.{dashed}.dkim.brevo.com."),
            Alias("brevo2", "b2.{dashed}.dkim.brevo.com."),
        ),
        txt_selector="mail",
        verification="brevo-code:",
        source="https://help.brevo.com/hc/en-us/articles/12163873383186",
    ),
}
