# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: DMARC policy records after RFC 9989. Private to this collection.

Section numbers in this file are of RFC 9989. The tags pct, rf and ri of RFC 7489 are gone from it
(appendices A.6 and C.5.2): they are read and reported, and never written. What readers of that older
RFC make of a record stands in ``_dmarc_7489``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.postmaster.mail.plugins.module_utils._dns import Resolver, check_name, exists
from ansible_collections.postmaster.mail.plugins.module_utils._term_error import TermError
from ansible_collections.postmaster.mail.plugins.module_utils._uri import is_report_uri

VERSION = "v=DMARC1"
POLICIES = ("none", "quarantine", "reject")
REMOVED_TAGS = ("pct", "rf", "ri")
# Printed in this order: readers after RFC 7489 want p right behind v.
TAGS = ("p", "sp", "np", "adkim", "aspf", "t", "psd", "fo", "rua", "ruf")
CHOICES: Mapping[str, tuple[str, ...]] = {
    "p": POLICIES,
    "sp": POLICIES,
    "np": POLICIES,
    "adkim": ("r", "s"),
    "aspf": ("r", "s"),
    "t": ("y", "n"),
    "psd": ("y", "n", "u"),
}
WALK_LIMIT = 8  # queries of one tree walk, section 4.10

_VERSION = re.compile(r"[vV][ \t]*=[ \t]*DMARC1[ \t]*(?:;|$)")
_TAG = re.compile(r"[ \t]*([A-Za-z]+)[ \t]*=([\t\x20-\x3a\x3c-\x7e]*)")
# No report has more octets than 64 bits can count; some write white space around the size.
_SIZE = re.compile(r"[0-9]{1,19}[ \t]*[kmgt]?", re.IGNORECASE)


class DmarcError(TermError):
    """A text is no DMARC record, or a value is none of its tag."""

    what = "the DMARC tag"


def _check_choice(tag: str, value: str) -> str:
    if value.lower() not in CHOICES[tag]:
        raise ValueError(f"{tag} is one of {', '.join(CHOICES[tag])} (section 4.7)")
    return value.lower()


def _check_fo(values: Iterable[str]) -> tuple[str, ...]:
    options = tuple(value.lower() for value in values)
    if not options or any(option not in ("0", "1", "d", "s") for option in options):
        raise ValueError("fo is a list of 0, 1, d and s, with colons between them (section 4.8)")
    if len(set(options)) != len(options) or {"0", "1"} <= set(options):
        raise ValueError("fo has each value once, and not both 0 and 1 (section 4.7)")
    return options


def _check_uri(tag: str, uri: str) -> str:
    if not is_report_uri(uri):
        raise ValueError(
            f"{uri[:80]!r} in {tag} is no URI such as mailto:dmarc@example.org; "
            "commas and exclamation marks in it are written %2C and %21 (section 4.8)"
        )
    return uri


@dataclass(frozen=True)
class DmarcRecord:
    """A DMARC policy record; None and () stand for tags that are absent (section 4.7).

    ``removed`` and ``unknown`` hold tags that were read and mean nothing, ``problems`` what a reader
    must overlook (section 4.8). Bad values raise :class:`DmarcError`.
    """

    p: str = "none"
    sp: str | None = None
    np: str | None = None
    adkim: str | None = None
    aspf: str | None = None
    t: str | None = None
    psd: str | None = None
    fo: tuple[str, ...] = ()
    rua: tuple[str, ...] = ()
    ruf: tuple[str, ...] = ()
    removed: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    unknown: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    problems: tuple[DmarcError, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        for tag in TAGS:
            value = getattr(self, tag)
            try:
                if tag in CHOICES and value is not None:
                    object.__setattr__(self, tag, _check_choice(tag, value))
                elif tag == "fo" and value:
                    object.__setattr__(self, tag, _check_fo(value))
                elif tag in ("rua", "ruf"):
                    object.__setattr__(self, tag, tuple(_check_uri(tag, uri) for uri in value))
            except ValueError as err:
                text = value if isinstance(value, str) else ",".join(map(str, value))
                raise DmarcError(f"{tag}={text}", 0, str(err)) from None

    def __str__(self) -> str:
        parts = [VERSION]
        for tag in TAGS:
            value = getattr(self, tag)
            if value:
                text = value if isinstance(value, str) else (":" if tag == "fo" else ",").join(value)
                parts.append(f"{tag}={text}")
        return "; ".join(parts)

    @property
    def subdomain_policy(self) -> str:
        """The policy for subdomains that exist."""
        return self.sp or self.p

    @property
    def nonexistent_policy(self) -> str:
        """The policy for subdomains that do not exist."""
        return self.np or self.sp or self.p

    @classmethod
    def parse(cls, text: str) -> DmarcRecord:
        """The record, every tag of which has a value that the formal definition allows (section 4.8).

        Raises :class:`DmarcError` at the first that has not. What the RFC itself tells readers to live
        with stands in ``problems``: pieces that are no tag, removed tags, obsolete size limits, one bad
        URI among others, and a policy that is missing or wrong where rua is right (section 4.10.1).
        """
        record, faults = cls._read(text)
        if faults:
            raise faults[0]
        return record

    @classmethod
    def read(cls, text: str) -> DmarcRecord:
        """The record as receivers take it: bad values count as absent (section 4.8), told in ``problems``.

        Raises :class:`DmarcError` where there is no policy at all: another version, a tag given
        twice, or no valid p and nowhere to report to (section 4.10.1).
        """
        return cls._read(text)[0]

    @classmethod
    def _read(cls, text: str) -> tuple[DmarcRecord, list[DmarcError]]:
        """The record, and its faults by the formal definition."""
        start = _VERSION.match(text)
        if not start:
            raise DmarcError(text[:20], 0, "a record begins with v=DMARC1, in this case, and a semicolon (section 4.7)")
        found = _tags(text, start.end())
        for tag, (value, position) in found.tags.items():
            if tag in TAGS:
                _read_tag(tag, value, position, found)
            elif tag in REMOVED_TAGS:
                rule = f"{tag} was removed, delete it (appendix {'A.6' if tag == 'pct' else 'C.5.2'})"
                found.notes.append(DmarcError(f"{tag}={value}"[:80], position, rule))
        _settle_policy(found, len(text))
        pairs = [(tag, value) for tag, (value, _at) in found.tags.items() if tag not in TAGS]
        record = cls(
            **found.values,  # type: ignore[arg-type]
            removed=tuple(pair for pair in pairs if pair[0] in REMOVED_TAGS),
            unknown=tuple(pair for pair in pairs if pair[0] not in REMOVED_TAGS),
            problems=tuple(sorted(found.faults + found.notes, key=lambda problem: problem.position)),
        )
        return record, sorted(found.faults, key=lambda fault: fault.position)


@dataclass
class _Found:
    """What stands in a text: tags as written, the values read from them, faults, and what readers live with."""

    tags: dict[str, tuple[str, int]] = field(default_factory=dict)
    values: dict[str, object] = field(default_factory=dict)
    faults: list[DmarcError] = field(default_factory=list)
    notes: list[DmarcError] = field(default_factory=list)


def _tags(text: str, position: int) -> _Found:
    """The tags after the version, each with its value and offset."""
    found = _Found()
    if not text[position:].strip(" \t"):
        return found
    parts = text[position:].split(";")
    if not parts[-1].strip(" \t"):
        parts.pop()  # one final semicolon is part of the grammar
    for part in parts:
        match = _TAG.fullmatch(part)
        value = match.group(2).strip(" \t") if match else ""
        if match and value and "\t" not in value:
            tag = match.group(1).lower()
            if tag in found.tags or tag == "v":
                raise DmarcError(part.strip(), position, f"{tag} is given twice, so the list is void (RFC 6376, 3.2)")
            found.tags[tag] = (value, position + match.start(1))
        else:
            rule = "this is not of the form tag=value (section 4.8)"
            found.notes.append(DmarcError(part.strip()[:80], position, rule))
        position += len(part) + 1
    return found


def _read_tag(tag: str, value: str, position: int, found: _Found) -> None:
    """Put the value into ``found.values``, or what is wrong with it into its faults or notes."""
    term = f"{tag}={value}"[:80]
    try:
        if tag in CHOICES:
            found.values[tag] = _check_choice(tag, value)
        elif tag == "fo":
            found.values[tag] = _check_fo(option.strip(" \t") for option in value.split(":"))
        else:
            found.values[tag] = _uris(tag, value, position, found)
    except ValueError as err:
        # RFC 7489 allowed fo=0:1. A wrong policy has an effect of its own (section 4.10.1).
        old_fo = tag == "fo" and not set(value.lower()) - set("01ds: \t") and {"0", "1"} <= set(value)
        (found.notes if old_fo or tag in ("p", "sp", "np") else found.faults).append(
            DmarcError(term, position, str(err))
        )


def _settle_policy(found: _Found, end: int) -> None:
    """What holds where a policy is missing or wrong; ``end`` is the length of the text (section 4.10.1)."""
    invalid = [tag for tag in ("p", "sp", "np") if tag in found.tags and tag not in found.values]
    if "p" in found.values and not invalid:
        return
    if not found.values.get("rua"):
        tag = invalid[0] if invalid else "p"
        value, position = found.tags.get(tag, ("", end))
        raise DmarcError(f"{tag}={value}"[:80], position, "without valid policy and rua it is void (section 4.10.1)")
    if "p" not in found.tags:
        found.notes.append(DmarcError("p", end, "p is missing: read as p=none (section 4.7)"))
    # The whole record counts as p=none then, whatever the other policies say.
    found.values |= {"p": "none", "sp": None, "np": None}


def _without_size(uri: str) -> str:
    """``uri`` without an obsolete limit on the size of reports (section 4.8)."""
    before, mark, size = uri.rpartition("!")
    return before.rstrip(" \t") if mark and _SIZE.fullmatch(size.strip(" \t")) else uri


def _uris(tag: str, value: str, position: int, found: _Found) -> tuple[str, ...]:
    """The URIs that can be read; a fault where there is none at all."""
    uris, bad = [], []
    for uri in (part.strip(" \t") for part in value.split(",")):
        bare = _without_size(uri)
        try:
            uris.append(_check_uri(tag, bare))
        except ValueError as err:
            bad.append(DmarcError(uri[:80], position, str(err)))
            continue
        if bare != uri:
            rule = "the size limit after ! is obsolete, delete it (section 4.8)"
            found.notes.append(DmarcError(uri[:80], position, rule))
    (found.notes if uris else found.faults).extend(bad)
    return tuple(uris)


# -- discovery ----------------------------------------------------------------------------------


def is_dmarc(text: str) -> bool:
    """Whether a TXT record is a DMARC record at all: others are discarded (section 4.10)."""
    return _VERSION.match(text) is not None


def lowered(policy: str) -> str:
    """The policy one level below, which t=y asks for (section 4.7)."""
    return POLICIES[max(POLICIES.index(policy) - 1, 0)]


@dataclass(frozen=True)
class Step:
    """One query of a tree walk: the records found at ``_dmarc.`` + ``domain``, and the one that counts.

    ``error`` says why none does though there are some: two of them, or one without a policy.
    """

    domain: str
    texts: tuple[str, ...] = ()
    record: DmarcRecord | None = None
    error: str = ""


@dataclass(frozen=True)
class Discovery:
    """What receivers find for an author domain (section 4.10); names without the final dot.

    ``record`` is the one that applies, from ``record_domain``; its tag ``tag`` (p, sp or np) gives
    ``declared``, and ``policy`` is what remains of that with t=y. They are None where DMARC does not
    apply. ``exists`` says whether the domain does, None where nothing depends on it.
    """

    domain: str
    steps: tuple[Step, ...]
    organizational_domain: str
    record: DmarcRecord | None = None
    record_domain: str | None = None
    tag: str | None = None
    exists: bool | None = None

    @property
    def declared(self) -> str | None:
        """The policy that the record asks for."""
        return getattr(self.record, self.tag) if self.tag else None

    @property
    def policy(self) -> str | None:
        """The policy that receivers apply to mail that fails."""
        declared = self.declared
        return lowered(declared) if declared and self.record is not None and self.record.t == "y" else declared


def _bare(domain: str) -> str:
    """``domain`` in lower case without its final dot, or DomainError."""
    return check_name(domain, what="domain").rstrip(".")


def _targets(domain: str) -> list[str]:
    """The domains that a tree walk from ``domain`` asks (section 4.10, steps 3, 4 and 7)."""
    labels = domain.split(".")
    above = min(len(labels) - 1, WALK_LIMIT - 1)
    return [domain, *(".".join(labels[-count:]) for count in range(above, 0, -1))]


def _step(domain: str, resolver: Resolver) -> Step:
    texts = tuple(text for text in resolver.query(f"_dmarc.{domain}", "TXT") if is_dmarc(text))
    if len(texts) > 1:
        return Step(domain, texts, error=f"{len(texts)} DMARC records at one name are all discarded (section 4.10)")
    try:
        return Step(domain, texts, DmarcRecord.read(texts[0]) if texts else None)
    except DmarcError as err:
        return Step(domain, texts, error=str(err))


def walk(domain: str, resolver: Resolver) -> tuple[Step, ...]:
    """The tree walk from ``domain`` on, at most eight queries (section 4.10).

    Raises ``DnsTimeout`` as the resolver does, and DomainError where ``domain`` is no name.
    """
    steps: list[Step] = []
    for target in _targets(_bare(domain)):
        steps.append(_step(target, resolver))
        if steps[-1].record is not None and steps[-1].record.psd in ("y", "n"):
            break
    return tuple(steps)


def organizational_domain(steps: Sequence[Step]) -> str:
    """The organizational domain that a tree walk finds (section 4.10.2)."""
    start = steps[0].domain
    found = [(step.domain, step.record.psd) for step in steps if step.record is not None]
    for domain, psd in found:
        if psd == "n":
            return domain
        if psd == "y" and domain != start:
            return ".".join(start.split(".")[-domain.count(".") - 2 :])
    return found[-1][0] if found else start


def discover(domain: str, resolver: Resolver) -> Discovery:
    """Which record and policy receivers apply to mail from ``domain`` (section 4.10.1).

    Raises ``DnsTimeout`` as the resolver does: receivers decide themselves what to do then.
    """
    steps = walk(domain, resolver)
    author, above = steps[0], organizational_domain(steps)
    if author.texts and len(author.texts) == 1:
        # A record without a policy is no reason to look further: DMARC does not apply.
        used = author
    else:
        suffix = steps[-1] if steps[-1].record is not None and steps[-1].record.psd == "y" else author
        used = next((step for step in steps if step.domain == above and step.record is not None), suffix)
    if used.record is None:
        return Discovery(author.domain, steps, above)
    if used is author:
        return Discovery(author.domain, steps, above, used.record, used.domain, "p")
    record = used.record
    # Only where it matters: one more query for each message would be much.
    there = exists(author.domain, resolver) if record.nonexistent_policy != record.subdomain_policy else None
    tag = "np" if there is False else "sp" if record.sp else "p"
    return Discovery(author.domain, steps, above, record, used.domain, tag, there)


def aligned(identifier: str, from_domain: str, mode: str, resolver: Resolver) -> bool:
    """Whether an authenticated domain aligns with the author domain (section 4.4).

    ``mode`` is r (relaxed: the same organizational domain) or s (strict: the same domain), as adkim and
    aspf have it. Raises ``DnsTimeout`` as the resolver does.
    """
    one, other = _bare(identifier), _bare(from_domain)
    if _check_choice("adkim", mode) == "s" or one == other:
        return one == other
    if one.rpartition(".")[2] != other.rpartition(".")[2]:
        return False
    first, second = walk(one, resolver), walk(other, resolver)
    return organizational_domain(first) == organizational_domain(second)
