# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads suites of SPF cases that are kept elsewhere: the dialect of the SPF community, and that of mail-auth."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml
from ansible_collections.postmaster.mail.plugins.module_utils._spf import DnsTimeout, SpfResult, check_host

TYPES = ("A", "AAAA", "MX", "PTR", "TXT")


class Zone:
    """DNS in memory: a resolver port. A name or a name's type may be out of reach."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.aliases: dict[str, str] = {}
        self.silent: set[tuple[str, str]] = set()
        self.failing: tuple[str, ...] = ()  # how names begin that no server answers for

    def add(self, name: str, rdtype: str, text: str) -> None:
        self.records.setdefault((key(name), rdtype), []).append(text)

    def query(self, name: str, rdtype: str) -> list[str]:
        wanted = key(name)
        for dummy in range(8):
            if (wanted, rdtype) in self.silent or (self.failing and wanted.startswith(self.failing)):
                raise DnsTimeout(f"{name} {rdtype}")
            if wanted not in self.aliases:
                return self.records.get((wanted, rdtype), [])
            wanted = self.aliases[wanted]
        raise DnsTimeout(f"{name} is an alias of itself")


def key(name: str) -> str:
    return name.rstrip(".").lower()


@dataclass
class Case:
    """One case: who asks, and what may come out. ``identities`` are tried in order, as a receiver does."""

    file: str
    title: str
    zone: Zone
    ip: str
    helo: str
    senders: tuple[str, ...]
    results: tuple[str, ...]
    explanation: str | None = None
    options: dict[str, int] = field(default_factory=dict)

    def run(self) -> SpfResult:
        """The verdict of the last identity, or of the first that neither passes nor has a record."""
        for sender in self.senders:
            found = check_host(ip=self.ip, sender=sender, helo=self.helo, resolver=self.zone, **self.options)
            if found.result not in ("pass", "none"):
                break
        return found

    def fault(self) -> str:
        """What is wrong, empty where nothing is."""
        found = self.run()
        if found.result not in self.results:
            return (
                f"{self.file}: {self.title}: {found.result} (by {found.term!r}) instead of {' or '.join(self.results)}"
            )
        if self.explanation is not None and found.explanation != self.explanation:
            return f"{self.file}: {self.title}: explained as {found.explanation!r} instead of {self.explanation!r}"
        return ""


# -- the dialect of the SPF community: YAML documents of tests and zonedata ---------------------


def community(path: Path, *, suffix: str = "") -> Iterator[Case]:
    """The cases of a file; names of a single label get ``suffix``, where a suite is made of such names."""
    for document in yaml.load_all(path.read_bytes(), _OnlyText):
        if not document or "tests" not in document:
            continue
        zone = _community_zone(document["zonedata"], suffix)
        for title, test in document["tests"].items():
            results = test["result"] if isinstance(test["result"], list) else [test["result"]]
            told = test.get("explanation")
            yield Case(
                path.name,
                f"{document.get('description') or path.stem}: {title}",
                zone,
                str(test["host"]),
                str(test.get("helo") or ""),
                (_suffixed_sender(str(test.get("mailfrom") or ""), suffix),),
                tuple(results),
                "" if told == "DEFAULT" else told,
            )


class _OnlyText(yaml.SafeLoader):
    """Reads every scalar as text: addresses such as 1:2:3 are no numbers, 1.2 is no fraction."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


def _suffixed(name: str, suffix: str) -> str:
    return name + suffix if suffix and "." not in name.rstrip(".") else name


def _suffixed_sender(sender: str, suffix: str) -> str:
    local, at, domain = sender.rpartition("@")
    return local + at + _suffixed(domain, suffix) if at else sender


def _community_zone(data: dict[str, Any], suffix: str) -> Zone:
    zone = Zone()
    for owner, entries in data.items():
        name = _suffixed(owner, suffix)
        own_txt = any(isinstance(entry, dict) and "TXT" in entry for entry in entries)
        held = set()
        for entry in entries:
            if not isinstance(entry, dict) or "TIMEOUT" in entry or "SERVFAIL" in entry:
                # What stands before is answered; the other types are not.
                zone.silent |= {(key(name), rdtype) for rdtype in TYPES if rdtype not in held}
                continue
            ((rdtype, value),) = entry.items()
            if rdtype == "SPF" and own_txt:
                continue
            rdtype = "TXT" if rdtype == "SPF" else rdtype
            _community_record(zone, name, rdtype, value, suffix)
            if value != "NONE":
                held.add(rdtype)
    return zone


def _community_record(zone: Zone, name: str, rdtype: str, value: Any, suffix: str) -> None:
    if rdtype == "CNAME":
        zone.aliases[key(name)] = key(value)
    elif rdtype == "MX":
        zone.add(name, "MX", f"{value[0]} {_suffixed(value[1], suffix).rstrip('.')}.")
    elif rdtype == "TXT" and value != "NONE":
        text = "".join(value) if isinstance(value, list) else value
        if suffix:
            text = re.sub(r"\b((?:include|mx|a|redirect)[:=])([a-z0-9]+)(?=\s|$)", rf"\1\2{suffix}", text)
        zone.add(name, "TXT", text)
    elif rdtype in TYPES and value != "NONE":
        zone.add(name, rdtype, value)


# -- the dialect of mail-auth: it looks like YAML, but its keys repeat --------------------------


@dataclass
class _Reader:
    """What holds for the next case while a file is read line by line."""

    file: str
    zone: Zone = field(default_factory=Zone)
    title: str = ""
    current: dict[str, str] = field(default_factory=dict)

    def record(self, kind: str, value: str) -> None:
        owner, dummy, rest = value.strip().partition(" ")
        items = [item.strip() for item in rest.split(",")]
        if kind in ("spf", "exp"):
            self.zone.records[key(owner), "TXT"] = [rest]
        elif kind in ("a", "aaaa"):
            self.zone.records[key(owner), kind.upper()] = items
        elif kind == "mx":
            self.zone.records[key(owner), "MX"] = [f"10 mx{number}.{owner}." for number in range(len(items))]
            for number, item in enumerate(items):
                rdtype = "AAAA" if ":" in item else "A"
                self.zone.records[key(f"mx{number}.{owner}"), rdtype] = [item]
        else:
            name = ipaddress.ip_address(owner).reverse_pointer
            self.zone.records[key(name), "PTR"] = [item.rstrip(".") + "." for item in items]

    def case(self, expected: str) -> Case:
        result, dummy, told = expected.strip().partition(" ")
        sender = self.current.get("sender", "").strip()
        return Case(
            self.file,
            f"{self.title}: {self.current}",
            self.zone,
            self.current["ip"].strip(),
            self.current["domain"].strip(),
            ("", sender) if sender else ("",),  # the HELO name is judged first, RFC 7208 section 2.3
            (result,),
            told.strip() or None,
            {"void_limit": 10},  # the suite knows no such limit, and RFC 7208 section 4.6.4 lets it be configured
        )


def mail_auth(path: Path) -> Iterator[Case]:
    """The cases of a file. The zone is copied for each, since later lines change it."""
    reader = _Reader(path.name)
    for line in path.read_text().splitlines():
        text = line.strip().removeprefix("- ").strip()
        if text.startswith("---"):
            reader = _Reader(path.name)
        kind, colon, value = text.partition(":")
        if text.startswith("#") or not colon:
            continue
        if kind == "name":
            reader.title = value.strip()
        elif kind in ("spf", "exp", "a", "aaaa", "mx", "ptr"):
            reader.record(kind, value)
        elif kind == "expect":
            case = reader.case(value)
            case.zone = Zone()
            case.zone.records = dict(reader.zone.records)
            case.zone.failing = ("_dns_error.",)
            yield case
        elif kind in ("ip", "domain", "sender"):
            reader.current[kind] = value


def given(folder: Path) -> dict[str, list[Case]]:
    """The suites in ``folder`` by name: the one in the community's dialect, and all others."""
    theirs = folder / "blitirispf-tests.yml"
    others = sorted(path for path in folder.glob("*.yml") if path != theirs)
    return {
        "blitirispf": list(community(theirs, suffix=".test")),
        "mail-auth": [case for path in others for case in mail_auth(path)],
    }
