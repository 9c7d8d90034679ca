# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: the public suffix list, by which readers of RFC 7489 find organizational domains. Private to this collection.

Sources: https://wiki.mozilla.org/Public_Suffix_List for the rules, RFC 7489 section 3.2 for their use. No list comes
with the collection: it takes that of Debian's package publicsuffix or of the Python packages publicsuffixlist and
publicsuffix2, whichever is there. All of it counts, the private part too, as in OpenDMARC.
"""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path

LIST_FILE = "public_suffix_list.dat"
DEBIAN_FILE = Path("/usr/share/publicsuffix", LIST_FILE)
PACKAGES = ("publicsuffixlist", "publicsuffix2")


class SuffixListMissing(LookupError):
    """There is no public suffix list on this host; the message says how to get one."""


@dataclass(frozen=True)
class SuffixList:
    """The rules in ASCII form: plain ones, those of ``*.`` without it, and exceptions without their ``!``."""

    plain: frozenset[str]
    wildcards: frozenset[str]
    exceptions: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> SuffixList:
        """The list that the content of the file is; comments and empty lines are left out."""
        rules = [line.split()[0] for line in text.splitlines() if line.strip() and not line.startswith("//")]
        return cls(
            frozenset(ascii_name(rule) for rule in rules if not rule.startswith(("*.", "!"))),
            frozenset(ascii_name(rule[2:]) for rule in rules if rule.startswith("*.")),
            frozenset(ascii_name(rule[1:]) for rule in rules if rule.startswith("!")),
        )

    def public_suffix(self, domain: str) -> str:
        """The longest public suffix of ``domain``; its last label where no rule says more."""
        labels = ascii_name(domain).split(".")
        for start in range(len(labels)):
            name, above = ".".join(labels[start:]), ".".join(labels[start + 1 :])
            if name in self.exceptions:
                return above
            if name in self.plain or (above and above in self.wildcards):
                return name
        return labels[-1]

    def organizational_domain(self, domain: str) -> str | None:
        """The public suffix and one label more; None for a name that is a public suffix itself."""
        labels = ascii_name(domain).split(".")
        size = self.public_suffix(domain).count(".") + 2
        return ".".join(labels[-size:]) if len(labels) >= size and all(labels) else None


def ascii_name(text: str) -> str:
    """A name in lower case, without its final dot, labels beyond ASCII in their A-form (RFC 5890)."""
    labels = text.lower().rstrip(".").split(".")
    return ".".join(label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii") for label in labels)


def _places() -> list[Path]:
    specs = [importlib.util.find_spec(package) for package in PACKAGES]
    return [DEBIAN_FILE, *(Path(spec.origin).with_name(LIST_FILE) for spec in specs if spec and spec.origin)]


@functools.cache
def installed() -> SuffixList:
    """The list of this host. Raises :class:`SuffixListMissing`."""
    for path in _places():
        try:
            return SuffixList.parse(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
    raise SuffixListMissing(
        "there is no public suffix list on this host; install Debian's package publicsuffix "
        "or the Python package publicsuffixlist"
    )


def organizational_domain(domain: str) -> str | None:
    """By the list of this host; see :meth:`SuffixList.organizational_domain`. Raises :class:`SuffixListMissing`."""
    return installed().organizational_domain(domain)
