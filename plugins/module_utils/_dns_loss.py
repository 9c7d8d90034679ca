# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan replaces, and what is lost by it: terms, tags, hosts that someone may have put there. Private, pure.

Sources: RFC 7208 section 4.6.1 (terms of an SPF record), RFC 9989 section 4.7 and RFC 6376 section 3.2 (tags).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ansible_collections.postmaster.mail.plugins.module_utils._dns import TextError, txt_value
from ansible_collections.postmaster.mail.plugins.module_utils._dns_plan import Key, Plan, RRset, Wanted, comparable
from ansible_collections.postmaster.mail.plugins.module_utils._dns_verdict import cut, mail_key

# These follow from certificates and files, and nobody writes them by hand.
DERIVED_LABELS = ("_mta-sts",)
DERIVED_TYPES = ("TLSA",)
LISTS = ("rua", "ruf")  # tags whose value is a list, between commas


@dataclass(frozen=True)
class Replacement:
    """Values of one record set that go, those that come, and which parts are in no new one, as they were written."""

    key: Key
    before: tuple[str, ...]
    after: tuple[str, ...]
    lost: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """The shape that modules return."""
        name, rdtype = self.key
        return {
            "name": name,
            "type": rdtype,
            "before": list(self.before),
            "after": list(self.after),
            "lost": list(self.lost),
        }

    def __str__(self) -> str:
        """A clause for a message."""
        name, rdtype = self.key
        there, then = (" and ".join(map(cut, values)) for values in (self.before, self.after))
        lost = " and ".join(map(cut, self.lost))
        return f"{name} {rdtype} is {there} at DNS, and {then or 'what is left of it'} would lose {lost}"


def parts(key: Key, value: str) -> list[str]:
    """The pieces of a record that may have an author each: terms, tags, list members; else the whole."""
    rdtype = key[1]
    if rdtype != "TXT":
        return [value]
    try:
        text = txt_value(value).decode("ascii")
    except (TextError, UnicodeError):
        return [value]
    if text.lower().split(" ", maxsplit=1)[0] == "v=spf1":
        return text.lower().split()[1:]
    if _holds_key(key, [value]):
        key_ = mail_key(text)
        return [] if key_ is None or not key_[1] else [f"p={text.partition('p=')[2].split(';')[0].strip()}"]
    if not text.lower().startswith("v="):
        return [text]
    tags = [tag.partition("=") for tag in text.split(";") if tag.strip()]
    return [piece for name_, dummy, content in tags[1:] for piece in _pieces(name_.strip().lower(), content.strip())]


def _holds_key(key: Key, values: Sequence[str]) -> bool:
    """Whether a record is a DKIM key: by its name, or, where a selector is an alias, by how it begins."""
    name, rdtype = key
    if rdtype != "TXT":
        return False
    return "_domainkey" in name.split(".") or any(str(value).lower().startswith('"v=dkim1') for value in values)


def _pieces(name: str, content: str) -> list[str]:
    values = content.split(",") if name in LISTS else [content]
    return [f"{name}={value.strip()}" for value in values]


def _lost(key: Key, gone: Sequence[str], after: Sequence[str]) -> tuple[str, ...]:
    name, rdtype = key
    if rdtype in DERIVED_TYPES or any(label in DERIVED_LABELS for label in name.split(".")):
        return ()
    if _holds_key(key, after):
        keys = {mail_key(comparable(rdtype, value)) for value in after}
        if any(found is not None and not found[1] for found in keys):
            return ()  # the key is revoked, on purpose
        gone = [value for value in gone if mail_key(comparable(rdtype, value)) not in keys]
    kept = {part for value in after for part in parts(key, value)}
    return tuple(dict.fromkeys(part for value in gone for part in parts(key, value) if part not in kept))


def replacements(plan: Plan, wanted: Iterable[Wanted]) -> list[Replacement]:
    """What of the sets in ``plan`` is displaced by other values. What is asked to be absent is not told."""
    asked: set[tuple[Key, object]] = set()
    whole: set[Key] = set()
    for item in wanted:
        key = (item.record.name, item.record.type)
        if not item.present and item.record.rdata:
            asked.add((key, comparable(key[1], item.record.rdata)))
        elif not item.present:
            whole.add(key)
    before = {(rrset.name, rrset.type): rrset for rrset in plan.before}
    after = {(rrset.name, rrset.type): rrset for rrset in plan.after}
    found = [
        _replacement(key, before[key], after[key], asked)
        for key in plan.keys
        if key in before and key in after and key not in whole
    ]
    return [one for one in found if one.before]


def _replacement(key: Key, before: RRset, after: RRset, asked: set[tuple[Key, object]]) -> Replacement:
    there = {comparable(key[1], value): value for value in before.values}
    then = {comparable(key[1], value): value for value in after.values}
    gone = [text for value, text in there.items() if value not in then and (key, value) not in asked]
    new = [text for value, text in then.items() if value not in there]
    return Replacement(key, tuple(gone), tuple(new), _lost(key, gone, list(then.values())))
