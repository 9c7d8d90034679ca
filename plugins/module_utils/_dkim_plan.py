# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan: how the DKIM keys of a domain go from one state to the next. Pure; private to this collection.

A domain's manifest lists its keys. At most one key of each algorithm is active (it signs) and at most
one is pending (made, to be published, signing nothing); any number is retired (signs nothing any
more, stays published for mail under way), revoked (its record says so by an empty p=, RFC 6376 section
3.6.1) or withdrawn (its record is to be gone from DNS). The functions here take a manifest and a want
and give the manifest afterwards with what must be done to files first: nothing here touches a file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, product
from string import ascii_lowercase
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._dkim import (
    ALGORITHMS,
    SOUND_BITS,
    DkimError,
    check_selector,
)
from ansible_collections.postmaster.mail.plugins.module_utils._term_error import shown

ACTIVE, PENDING, RETIRED, REVOKED, WITHDRAWN = "active", "pending", "retired", "revoked", "withdrawn"
STATES = (ACTIVE, PENDING, RETIRED, REVOKED, WITHDRAWN)
_TIMES = ("created", "published", "activated", "retired", "revoked", "withdrawn")
_TEXTS = ("selector", "algorithm", "state", *_TIMES, "path")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", re.ASCII)


class PlanError(ValueError):
    """What is wanted cannot be done; the message is a sentence with the remedy."""


class ManifestError(ValueError):
    """A manifest's text is no manifest; the message completes "the file ..."."""


@dataclass(frozen=True)
class Entry:
    """One key of a domain. Times are UTC as ``2026-11-20T11:00:00Z``; "" means unknown or never."""

    selector: str
    algorithm: str
    state: str
    created: str = ""
    activated: str = ""
    retired: str = ""
    path: str = ""  # where the file lies when it is not the directory's own
    published: str = ""  # since when all name servers answer as the state asks for
    settle: int = 0  # seconds for which resolvers may keep what was there before
    revoked: str = ""
    withdrawn: str = ""
    more: tuple[tuple[str, Any], ...] = field(default=(), hash=False)  # what later versions wrote

    def as_dict(self) -> dict[str, Any]:
        """The shape in the manifest; what is empty is left out."""
        return {
            **{name: getattr(self, name) for name in (*_TEXTS, "settle") if getattr(self, name)},
            **dict(self.more),
        }

    @classmethod
    def from_dict(cls, given: object) -> Entry:
        """The entry ``given`` describes. Raises :class:`ManifestError`."""
        if not isinstance(given, dict):
            raise ManifestError("lists a key that is no object")
        known = {name: given[name] for name in _TEXTS if name in given}
        settle = given.get("settle", 0)
        if not all(isinstance(value, str) for value in known.values()):
            raise ManifestError("describes a key by something else than text")
        if not isinstance(settle, int) or isinstance(settle, bool) or settle < 0:
            raise ManifestError("describes a key by a time to settle that is no number of seconds")
        if not known.get("selector") or known.get("algorithm") not in ALGORITHMS or known.get("state") not in STATES:
            raise ManifestError("lists a key without a selector, a known algorithm or a known state")
        try:
            check_selector(known["selector"])
        except DkimError as err:
            raise ManifestError(f"lists a key under {shown(known['selector'])}, which is no selector") from err
        if not known.get("path", "/").startswith("/"):
            raise ManifestError("lists a key under a path that is not absolute")
        more = tuple((name, value) for name, value in given.items() if name not in (*_TEXTS, "settle"))
        return cls(**known, settle=settle, more=more)


@dataclass(frozen=True)
class Manifest:
    """The keys of a domain in the order they came, and the selectors of keys that are gone."""

    domain: str
    keys: tuple[Entry, ...] = ()
    used: tuple[str, ...] = ()  # resolvers may still hold their records, so no new key takes these by itself
    more: tuple[tuple[str, Any], ...] = field(default=(), hash=False)

    @classmethod
    def parse(cls, domain: str, text: str) -> Manifest:
        """The manifest in a file's ``text``. Raises :class:`ManifestError`."""
        try:
            given = json.loads(text)
        except (ValueError, RecursionError) as err:
            raise ManifestError("is not valid JSON") from err
        keys, used = (given.get("keys"), given.get("used", [])) if isinstance(given, dict) else (None, None)
        if not isinstance(keys, list) or not isinstance(used, list) or not all(isinstance(name, str) for name in used):
            raise ManifestError("is not a manifest of keys")
        entries = tuple(Entry.from_dict(key) for key in keys)
        if len({entry.selector for entry in entries}) != len(entries):
            raise ManifestError("lists a selector twice")
        singles = [(entry.algorithm, entry.state) for entry in entries if entry.state in (ACTIVE, PENDING)]
        if len(set(singles)) != len(singles):
            raise ManifestError("lists two active or two pending keys of one algorithm")
        more = tuple((name, value) for name, value in given.items() if name not in ("keys", "used"))
        return cls(domain, entries, tuple(used), more)

    def __str__(self) -> str:
        """The file's text."""
        used = {"used": list(self.used)} if self.used else {}
        whole = {"keys": [entry.as_dict() for entry in self.keys], **used, **dict(self.more)}
        return json.dumps(whole, indent=2) + "\n"

    def find(self, selector: str) -> Entry | None:
        """The key under ``selector``."""
        return next((entry for entry in self.keys if entry.selector == selector), None)

    def one(self, algorithm: str, state: str) -> Entry | None:
        """The key of ``algorithm`` that is active or pending."""
        return next((entry for entry in self.keys if (entry.algorithm, entry.state) == (algorithm, state)), None)

    def put(self, entry: Entry) -> Manifest:
        """The manifest with ``entry`` in the place of the one with its selector, or at the end."""
        if self.find(entry.selector) is None:
            return replace(self, keys=(*self.keys, entry))
        return replace(self, keys=tuple(entry if old.selector == entry.selector else old for old in self.keys))


@dataclass(frozen=True)
class Want:
    """One item of a call, its names checked; ``label`` says which one it is, if there are several."""

    domain: str
    selector: str = ""
    algorithm: str = ""
    bits: int = SOUND_BITS
    path: str = ""
    label: str = ""
    suffix: str = ""  # ends the selector of a new key that names none
    selectors: tuple[str, ...] = ()  # what a new key that names none is to be called, the first that is free
    published: str | None = None  # to be noted of a key that exists
    settle: int | None = None
    retired: str | None = None

    def says(self, text: object) -> str:
        """A message about this item."""
        return f"{self.label}: {text}" if self.label else str(text)

    @property
    def kind(self) -> str:
        """The algorithm to make a key of."""
        return self.algorithm or ALGORITHMS[0]


@dataclass(frozen=True)
class Found:
    """A key file that no manifest lists; ``problem`` says why it cannot be used."""

    selector: str
    algorithm: str = ""
    bits: int = 0
    created: str = ""
    path: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Step:
    """What a transition comes to. ``make``: the file of ``key`` is to be generated before ``after`` is stored.
    ``remove``: their files are to be deleted before."""

    after: Manifest
    key: Entry | None = None
    make: bool = False
    remove: tuple[Entry, ...] = ()
    warnings: tuple[str, ...] = ()


def selectors(algorithm: str, now: str, suffix: str = "") -> Iterator[str]:
    """Names for a new key: algorithm and month, then with a letter, then with two; each with the suffix."""
    stem, end = f"{algorithm}-{now[:4]}{now[5:7]}", f"-{suffix}" if suffix else ""
    letters = chain([()], product(ascii_lowercase, repeat=1), product(ascii_lowercase, repeat=2))
    return (stem + "".join(some) + end for some in letters)


def adopt(manifest: Manifest, wants: Sequence[Want], found: Mapping[str, Found]) -> Manifest:
    """A domain seen for the first time: the key that lies there for an algorithm is its active one.

    Where several lie there, a want must say which of them signs.
    """
    named = [want.selector for want in wants if want.selector in found]
    for selector in named or sorted(found):
        if found[selector].problem:
            raise PlanError(found[selector].problem)
    for algorithm in ALGORITHMS:
        lying = [found[selector] for selector in sorted(found) if found[selector].algorithm == algorithm]
        chosen = [found[selector] for selector in named if found[selector].algorithm == algorithm] or lying
        if not chosen:
            continue
        asked = any(want.kind == algorithm for want in wants)
        if len(chosen) > 1 and chosen is lying:
            if not asked:
                continue
            names = ", ".join(one.selector for one in lying)
            raise PlanError(
                f"{manifest.domain} has several {algorithm} keys ({names}): say by selector which one signs"
            )
        manifest = manifest.put(_adopted(chosen[0], ACTIVE))
    return manifest


def _adopted(file: Found, state: str) -> Entry:
    return Entry(
        file.selector,
        file.algorithm,
        state,
        created=file.created,
        activated=file.created if state == ACTIVE else "",
        path=file.path,
    )


def _resumable(want: Want, file: Found) -> bool:
    """Whether a file under a name of ours is what an interrupted run made of the same want."""
    return not file.problem and file.algorithm == want.kind and (want.kind != "rsa" or file.bits == want.bits)


def _new_selector(manifest: Manifest, want: Want, now: str, found: Mapping[str, Found]) -> str:
    """The first name that is free, or whose file an interrupted run left."""
    for selector in want.selectors or selectors(want.kind, now, want.suffix):
        # Whoever names selectors uses them in turn, and waits until nobody remembers the key before.
        if manifest.find(selector) or (selector in manifest.used and not want.selectors):
            continue
        if selector not in found or _resumable(want, found[selector]):
            return selector
    raise PlanError(f"{manifest.domain} has no free selector left{'' if want.selectors else ' this month'}: name one")


def _add(manifest: Manifest, want: Want, state: str, now: str, found: Mapping[str, Found]) -> Step:
    """A further key: its file adopted where it lies, else to be made."""
    selector = want.selector or _new_selector(manifest, want, now, found)
    warnings: tuple[str, ...] = ()
    if selector in manifest.used and selector not in want.selectors:
        warnings = (
            f"the selector {selector} of {manifest.domain} had a key before: resolvers may hold its old record",
        )
    manifest = replace(manifest, used=tuple(name for name in manifest.used if name != selector))
    file = found.get(selector)
    if file is None:
        entry = Entry(selector, want.kind, state, created=now, activated=now if state == ACTIVE else "")
        return Step(manifest.put(entry), entry, make=True, warnings=warnings)
    if file.problem:
        raise PlanError(file.problem)
    if file.algorithm != want.kind:
        raise PlanError(_mismatch(manifest.domain, selector, file.algorithm, want.kind))
    entry = _adopted(file, state)
    return Step(manifest.put(entry), entry, warnings=warnings)


def _mismatch(domain: str, selector: str, algorithm: str, wanted: str) -> str:
    return f"the key {selector} of {domain} is {algorithm}, not {wanted}: choose another selector"


def _known(manifest: Manifest, want: Want) -> Entry | None:
    """The key a want names by its selector, proven to be of the kind wanted."""
    entry = manifest.find(want.selector) if want.selector else None
    if entry is None:
        return None
    if want.algorithm and want.algorithm != entry.algorithm:
        raise PlanError(_mismatch(manifest.domain, entry.selector, entry.algorithm, want.algorithm))
    if want.path and want.path != entry.path:
        where = entry.path or "the key directory"
        raise PlanError(f"the key {entry.selector} of {manifest.domain} lies in {where}, not at {want.path}")
    return entry


def _as_found(want: Want, found: Mapping[str, Found]) -> Want:
    """A want that names a file that lies there, but no algorithm, means the file's."""
    file = found.get(want.selector)
    return replace(want, algorithm=file.algorithm) if file is not None and not want.algorithm else want


def present(manifest: Manifest, want: Want, *, now: str, found: Mapping[str, Found]) -> Step:
    """A key exists. The first of an algorithm is active at once; a further selector becomes pending."""
    entry = _known(manifest, want)
    if entry is not None:
        noted = _noted(entry, want)
        return Step(manifest.put(noted), noted)
    if (want.published, want.settle, want.retired) != (None, None, None):
        raise PlanError(f"{manifest.domain} has no key {want.selector!r} of which anything could be noted")
    want = _as_found(want, found)
    active, pending = manifest.one(want.kind, ACTIVE), manifest.one(want.kind, PENDING)
    if not want.selector:
        if active is not None:
            return Step(manifest, active)
        if pending is not None:  # nothing signs, so nothing that signs is taken away
            return activated(manifest, replace(want, selector=pending.selector), now=now)
    if active is not None and pending is not None:
        raise PlanError(_busy(manifest.domain, pending, want.selector))
    return _add(manifest, want, PENDING if active is not None else ACTIVE, now, found)


def _noted(entry: Entry, want: Want) -> Entry:
    """The key with what ``want`` has learnt of its record."""
    published = entry.published if want.published is None else want.published
    settle = entry.settle if want.settle is None else want.settle
    late = want.retired is not None and entry.state == RETIRED
    return replace(entry, published=published, settle=settle, retired=want.retired or "" if late else entry.retired)


def is_time(text: str) -> bool:
    """Whether ``text`` is a time as manifests have it."""
    return _TIME.fullmatch(text) is not None


def _busy(domain: str, pending: Entry, wanted: str) -> str:
    return (
        f"{domain} already has the pending {pending.algorithm} key {pending.selector}:"
        f" activate or remove it before {wanted} is made"
    )


def rotated(manifest: Manifest, want: Want, *, now: str, found: Mapping[str, Found]) -> Step:
    """A next key is pending; nothing changes while there is one."""
    entry, want = _known(manifest, want), _as_found(want, found)
    pending = manifest.one(entry.algorithm if entry is not None else want.kind, PENDING)
    if pending is not None:
        other = want.selector not in ("", pending.selector)
        return Step(manifest, pending, warnings=(_busy(manifest.domain, pending, want.selector),) if other else ())
    if entry is not None:
        rule = "the next key needs a selector of its own"
        raise PlanError(f"{entry.selector} of {manifest.domain} is the selector of its {entry.state} key: {rule}")
    return _add(manifest, want, PENDING, now, found)


def activated(manifest: Manifest, want: Want, *, now: str) -> Step:
    """The pending key, or the one named, becomes active and the one that was is retired.

    A retired key that is named becomes active again: the way back.
    """
    entry = _known(manifest, want)
    if entry is None and want.selector:
        raise PlanError(f"{manifest.domain} has no key {want.selector} to activate")
    if entry is None:
        entry = manifest.one(want.kind, PENDING) or manifest.one(want.kind, ACTIVE)
    if entry is None:
        raise PlanError(f"{manifest.domain} has no {want.kind} key to activate: make one with state=present or rotated")
    if entry.state == ACTIVE:
        return Step(manifest, entry)
    if entry.state in (REVOKED, WITHDRAWN):
        raise PlanError(f"{entry.selector} of {manifest.domain} is {entry.state}, no receiver takes it: make a new key")
    former = manifest.one(entry.algorithm, ACTIVE)
    if former is not None:
        manifest = manifest.put(replace(former, state=RETIRED, retired=now))
    entry = replace(entry, state=ACTIVE, activated=now, retired="")
    return Step(manifest.put(entry), entry)


def revoked(manifest: Manifest, want: Want, *, now: str, force: bool) -> Step:
    """The key named is revoked: receivers are told to accept nothing that it signed (RFC 6376 section 3.6.1)."""
    entry = _to_end(manifest, want)
    if entry.state in (REVOKED, WITHDRAWN):
        return Step(manifest, entry)
    if entry.state != RETIRED and not force:
        rule = "activate another key first, or say force=true"
        raise PlanError(f"{entry.selector} is the {entry.state} key of {manifest.domain}: {rule}")
    settle = entry.settle if want.settle is None else want.settle
    entry = replace(entry, state=REVOKED, revoked=now, published="", settle=settle)
    return Step(manifest.put(entry), entry)


def withdrawn(manifest: Manifest, want: Want, *, now: str) -> Step:
    """The record of the revoked key named is to be taken out of DNS."""
    entry = _to_end(manifest, want)
    if entry.state == WITHDRAWN:
        return Step(manifest, entry)
    if entry.state != REVOKED:
        raise PlanError(f"{entry.selector} of {manifest.domain} is {entry.state}: revoke it before it is withdrawn")
    settle = entry.settle if want.settle is None else want.settle
    entry = replace(entry, state=WITHDRAWN, withdrawn=now, published="", settle=settle)
    return Step(manifest.put(entry), entry)


def _to_end(manifest: Manifest, want: Want) -> Entry:
    """The key that a want on the end of one names."""
    entry = _known(manifest, want)
    if entry is None:
        if want.selector:
            raise PlanError(f"{manifest.domain} has no key {want.selector}")
        raise PlanError(f"name by its selector which key of {manifest.domain} comes to its end")
    return entry


def absent(manifest: Manifest, want: Want, *, force: bool, found: Mapping[str, Found]) -> Step:
    """The key named is gone, or without a selector all keys of the domain (of the algorithm, if one is given)."""
    entry = _known(manifest, want)
    if want.selector:
        gone: tuple[Entry, ...] = (entry,) if entry is not None else ()
    else:
        gone = tuple(key for key in manifest.keys if want.algorithm in ("", key.algorithm))
    active = [key.selector for key in gone if key.state == ACTIVE]
    if active and not force:
        rule = "activate another key first, or say force=true"
        raise PlanError(f"{active[0]} is the active key of {manifest.domain}, signers use it: {rule}")
    left = tuple(key for key in manifest.keys if key not in gone)
    used = tuple(dict.fromkeys((*manifest.used, *(key.selector for key in gone))))
    after = replace(manifest, keys=left, used=used)
    if not gone and want.selector in found:  # an interrupted run, or a file that was never listed
        file = found[want.selector]
        return Step(manifest, remove=(Entry(file.selector, file.algorithm, RETIRED, path=file.path),))
    return Step(after, remove=gone)


def describe(manifest: Manifest, details: Mapping[str, str]) -> list[str]:
    """The lines of a diff: each key with what ``details`` knows of it by selector."""
    return [
        f"{manifest.domain} {key.selector} {key.algorithm} {key.state} {details.get(key.selector, '')}".rstrip()
        for key in manifest.keys
    ]


def show_path(path: str) -> str:
    """A path for a message: as it is, or quoted when it holds what a terminal must not see."""
    return path if path.isprintable() else shown(path)
