# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call on a key directory: check the wants, plan every domain, then make, write and mend. Private.

Nothing is written before the whole call has been planned, so that one bad item of a thousand leaves
the directory as it was.
"""

from __future__ import annotations

import multiprocessing
import os
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace

from ansible_collections.postmaster.mail.plugins.module_utils import _dkim_plan as plan
from ansible_collections.postmaster.mail.plugins.module_utils._dkim import (
    ALGORITHMS,
    MAX_BITS,
    MIN_BITS,
    SOUND_BITS,
    DkimError,
    DkimKey,
    check_domain,
    check_selector,
    generate,
    record_name,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_plan import (
    Entry,
    Found,
    Manifest,
    PlanError,
    Step,
    Want,
    show_path,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_store import (
    KEY,
    KEY_MODES,
    Access,
    Change,
    KeyStore,
    StoreError,
)
from ansible_collections.postmaster.mail.plugins.module_utils._files import set_attributes
from ansible_collections.postmaster.mail.plugins.module_utils._record import Record

TO_BE_MADE = "(key not made yet)"
NO_RECORD = "(no record)"


class CallError(Exception):
    """The call cannot be done; the message names the item and the remedy."""


@dataclass(frozen=True)
class Options:
    """What holds for all items of a call."""

    state: str = "present"
    force: bool = False
    allow_weak: bool = False
    ed25519_format: str = "rspamd"
    ttl: int = 3600
    check: bool = False
    now: str = ""  # UTC, 2026-11-20T11:00:00Z


@dataclass
class Outcome:
    """What a call found and did, or would do."""

    changed: bool = False
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    keys: list[dict[str, object]] = field(default_factory=list)
    named: list[dict[str, object] | None] = field(default_factory=list)  # per want: the key it came to
    warnings: list[str] = field(default_factory=list)


# Making keys


def _make(job: tuple[int, str, int]) -> tuple[int, DkimKey]:
    number, algorithm, bits = job
    return number, generate(algorithm, bits)


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


def make_all(jobs: Sequence[tuple[str, int]]) -> Iterator[tuple[int, DkimKey]]:
    """Keys for all ``jobs`` (algorithm, bits) with their index, in the order they get ready.

    Processes, not threads: cryptography 43 keeps Python's lock while it searches primes. Forked after
    the library is loaded, so that none has to load it again.
    """
    numbered = [(number, algorithm, bits) for number, (algorithm, bits) in enumerate(jobs)]
    workers = min(cores(), sum(algorithm == "rsa" for algorithm, _bits in jobs))
    if workers < 2:
        yield from map(_make, numbered)
        return
    import cryptography.hazmat.primitives.asymmetric.rsa  # noqa: F401

    try:
        pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"))
    except (OSError, ImportError, NotImplementedError):  # no shared memory for the pool's semaphores
        yield from map(_make, numbered)
        return
    with pool:
        waiting = [pool.submit(_make, job) for job in numbered]
        try:
            for done in as_completed(waiting):
                yield done.result()
        except BrokenProcessPool as err:
            remedy = "is there memory enough? The keys made so far stay; run this again"
            raise CallError(f"a process that made keys was ended: {remedy}") from err
        finally:
            pool.shutdown(cancel_futures=True)


# Checking what is asked for


def check_wants(wants: Sequence[Want], directory: str, options: Options) -> list[Want]:
    """The wants with their names in lower case. Raises :class:`CallError` for the first bad one."""
    checked = [_check_want(want, directory, options) for want in wants]
    seen: dict[tuple[str, ...], Want] = {}
    for want in checked:
        marks: list[tuple[str, ...]] = [("the same key", want.domain, want.selector or f"({want.kind})")]
        if want.path or want.selector:
            path = want.path or os.path.join(directory, f"{want.domain}.{want.selector}{KEY}")
            marks.append((f"the file {show_path(path)}", path))
        for mark in marks:
            if mark in seen:
                raise CallError(f"{want.label} and {seen[mark].label} name {mark[0]}: give each key its own")
            seen[mark] = want
    return checked


def _check_want(want: Want, directory: str, options: Options) -> Want:
    try:
        domain = check_domain(want.domain)
    except DkimError as err:
        raise CallError(want.says(f"domain {err}")) from err
    selector, path = want.selector, want.path
    if path:
        if not os.path.isabs(path) or os.path.normpath(path) != path:
            raise CallError(want.says(f"path {show_path(path)} is not an absolute path without . and .."))
        selector = selector or _selector_of(path, domain)
        if not selector:
            raise CallError(want.says(f"the file name {show_path(path)} does not tell the selector: give it"))
    try:
        selector = check_selector(selector, domain) if selector else ""
    except DkimError as err:
        raise CallError(want.says(f"selector {err}")) from err
    try:
        named = tuple(check_selector(name, domain) for name in want.selectors)
    except DkimError as err:
        raise CallError(want.says(f"selectors {err}")) from err
    if path == os.path.join(directory, f"{domain}.{selector}{KEY}"):
        path = ""
    for what, time in (("published", want.published), ("retired", want.retired)):
        if (time or (what == "retired" and time is not None)) and not plan.is_time(time):
            raise CallError(want.says(f"{what} {time!r} is no time such as 2026-11-20T11:00:00Z"))
    if want.settle is not None and not 0 <= want.settle < 2**31:
        raise CallError(want.says(f"settle {want.settle} is not between 0 and {2**31 - 1}"))
    making = options.state in ("present", "rotated")
    if making and want.kind == "rsa" and not MIN_BITS <= want.bits <= MAX_BITS:
        rule = f"an RSA key has {MIN_BITS} to {MAX_BITS} bits (RFC 8301 section 3.2)"
        raise CallError(want.says(f"bits is {want.bits}: {rule}"))
    if making and want.kind == "rsa" and want.bits < SOUND_BITS and not options.allow_weak:
        rule = f"less than {SOUND_BITS} bits is weak (RFC 8301 section 3.2); say allow_weak=true if you must"
        raise CallError(want.says(f"bits is {want.bits}: {rule}"))
    return replace(want, domain=domain, selector=selector, path=path, suffix=want.suffix.lower(), selectors=named)


def _selector_of(path: str, domain: str) -> str:
    """The selector that a file's name tells: <domain>.<selector>.key, or <selector>.private of opendkim-genkey."""
    name = os.path.basename(path)
    if name.startswith(domain + ".") and name.endswith(KEY):
        return name[len(domain) + 1 : -len(KEY)]
    return name.removesuffix(".private") if name.endswith(".private") else ""


def check_access(access: Access) -> None:
    """Modes that keep a key private."""
    if access.mode is None:
        return
    if access.mode not in KEY_MODES:
        allowed = ", ".join(f"{mode:04o}" for mode in KEY_MODES)
        raise CallError(f"mode {access.mode:04o} is not one a private key may have: use one of {allowed}")
    if access.mode & 0o040 and access.group is None:
        raise CallError(f"mode {access.mode:04o} lets a group read: say which with group")


# Planning


@dataclass
class _Domain:
    """What is planned for one domain. ``stored`` is None while it has no manifest."""

    stored: Manifest | None
    adopted: Manifest
    after: Manifest
    steps: list[tuple[Want, Step]] = field(default_factory=list)

    @property
    def before(self) -> Manifest:
        return self.stored if self.stored is not None else Manifest(self.after.domain)

    @property
    def made(self) -> list[tuple[Want, Entry]]:
        return [(want, step.key) for want, step in self.steps if step.make and step.key is not None]

    @property
    def removed(self) -> list[Entry]:
        return [entry for _want, step in self.steps for entry in step.remove]

    @property
    def changed(self) -> bool:
        return self.after != self.before or bool(self.removed)


def _candidates(names: Sequence[str]) -> dict[str, list[str]]:
    """For every domain that key files may belong to, the selectors their names leave for it."""
    result: dict[str, list[str]] = {}
    for name in names:
        if name.endswith(KEY) and not name.startswith("."):
            labels = name.removesuffix(KEY).split(".")
            for cut in range(2, len(labels)):
                result.setdefault(".".join(labels[:cut]), []).append(".".join(labels[cut:]))
    return result


def _plan_domain(
    store: KeyStore, wants: Sequence[Want], options: Options, candidates: Mapping[str, list[str]]
) -> _Domain:
    """All wants on one domain, one after the other."""
    domain = wants[0].domain
    stored = store.manifest(domain)
    manifest = stored if stored is not None else Manifest(domain)
    found = store.found(domain, [want.selector for want in wants], manifest, candidates)
    for want in wants:
        if want.path and manifest.find(want.selector) is None:
            found[want.selector] = store.look_at(want.selector, want.path, own=False)
    if stored is None:
        manifest = plan.adopt(manifest, wants, found)
    result = _Domain(stored, manifest, manifest)
    for want in wants:
        try:
            step = _step(manifest, want, options, found)
        except PlanError as err:
            raise CallError(want.says(err)) from err
        result.steps.append((want, step))
        manifest = step.after
    result.after = manifest
    return result


def _step(manifest: Manifest, want: Want, options: Options, found: Mapping[str, Found]) -> Step:
    left = {selector: file for selector, file in found.items() if manifest.find(selector) is None}
    if options.state == "present":
        return plan.present(manifest, want, now=options.now, found=left)
    if options.state == "rotated":
        return plan.rotated(manifest, want, now=options.now, found=left)
    if options.state == "activated":
        return plan.activated(manifest, want, now=options.now)
    if options.state == "revoked":
        return plan.revoked(manifest, want, now=options.now, force=options.force)
    if options.state == "withdrawn":
        return plan.withdrawn(manifest, want, now=options.now)
    return plan.absent(manifest, want, force=options.force, found=left)


def _plan_all(store: KeyStore, wants: Sequence[Want], options: Options) -> dict[str, _Domain]:
    """The plan of every domain, in the order the call names them."""
    names = store.names()
    candidates = _candidates(names)
    claimed = store.claimed_paths(names) if any(want.path for want in wants) else {}
    groups: dict[str, list[Want]] = {}
    for want in wants:
        owner = claimed.get(want.path, want.domain) if want.path else want.domain
        if owner != want.domain:
            raise CallError(want.says(f"the file {show_path(want.path)} already is a key of {owner}"))
        groups.setdefault(want.domain, []).append(want)
    plans = {}
    for domain, group in groups.items():
        try:
            plans[domain] = _plan_domain(store, group, options, candidates)
        except (PlanError, StoreError) as err:
            raise CallError(group[0].says(err)) from err
    return plans


# Telling


@dataclass
class _Teller:
    """Turns keys into what a module returns. Reads each key's file, for the file is the truth on it."""

    store: KeyStore
    options: Options
    making: Mapping[tuple[str, str], Want]  # keys that this call makes, by domain and selector

    def key(self, domain: str, entry: Entry) -> dict[str, object]:
        """A key as the module returns it; its record is None while the key is not made."""
        want = self.making.get((domain, entry.selector))
        path = self.store.key_path(domain, entry)
        record, public = None, ""
        bits = want.bits if want is not None and entry.algorithm == "rsa" else 256
        if want is None or os.path.exists(path):
            key = self._read(domain, entry, path)
            bits, public = key.bits, b64encode(key.record.public_key).decode()
            text = str(key.record if entry.state != plan.REVOKED else replace(key.record, public_key=b""))
            if entry.state != plan.WITHDRAWN:
                record = Record.txt(record_name(entry.selector, domain), text, self.options.ttl)
        return {
            "domain": domain,
            "selector": entry.selector,
            "algorithm": entry.algorithm,
            "bits": bits,
            "state": entry.state,
            "path": path,
            "created": entry.created,
            "published": entry.published,
            "settle": entry.settle,
            "activated": entry.activated,
            "retired": entry.retired,
            "revoked": entry.revoked,
            "withdrawn": entry.withdrawn,
            "public_key": public,
            "record": record.as_dict() if record is not None else None,
            "bind": str(record) if record is not None else None,
        }

    def _read(self, domain: str, entry: Entry, path: str) -> DkimKey:
        if not os.path.lexists(path):
            remedy = "restore it from a backup, or remove the key with state=absent"
            raise StoreError(f"the file {path} of the key {entry.selector} is gone: {remedy}")
        key = self.store.read_key(path)
        if key.algorithm != entry.algorithm:
            raise StoreError(f"the file {path} holds an {key.algorithm} key, the manifest says {entry.algorithm}")
        return key

    def lines(self, manifest: Manifest) -> list[str]:
        """The keys of a domain for a diff: public parts only."""
        details = {}
        for entry in manifest.keys:
            told = self.key(manifest.domain, entry) if self._is_there(manifest.domain, entry) else None
            record = told["record"] if told is not None else None
            untold = NO_RECORD if entry.state == plan.WITHDRAWN else TO_BE_MADE
            details[entry.selector] = str(record["value"]) if isinstance(record, dict) else untold
        return plan.describe(manifest, details)

    def _is_there(self, domain: str, entry: Entry) -> bool:
        return (domain, entry.selector) in self.making or os.path.lexists(self.store.key_path(domain, entry))


# Doing


def ensure(store: KeyStore, wants: Sequence[Want], options: Options) -> Outcome:
    """Bring the keys that ``wants`` name to the state of ``options``; in check mode only say what that means.

    Raises :class:`CallError`, :class:`StoreError`, :class:`FileError`, and ImportError when
    ``cryptography`` is needed and missing.
    """
    wants = check_wants(wants, store.directory, options)
    check_access(store.access)
    missing = store.check_people()
    if missing and not options.check:
        raise CallError(missing[0])
    there = store.exists()
    if options.check or (not there and options.state in ("absent", "activated", "revoked", "withdrawn")):
        outcome = _ensure(store, wants, options)
        outcome.warnings += missing
        return outcome
    if not there:
        _load_library(_plan_all(store, wants, options))
        store.make_directory()
    with store.locked():
        return _ensure(store, wants, options)


def _load_library(plans: Mapping[str, _Domain]) -> None:
    """Raise ImportError before anything is written if keys are to be made and cannot be."""
    if any(one.made for one in plans.values()):
        import cryptography.hazmat.primitives.asymmetric.rsa  # noqa: F401


def _ensure(store: KeyStore, wants: Sequence[Want], options: Options) -> Outcome:
    plans = _plan_all(store, wants, options)
    making = {(domain, entry.selector): want for domain, one in plans.items() for want, entry in one.made}
    teller = _Teller(store, options, making)
    changed = [one for one in plans.values() if one.changed]
    outcome = Outcome(changed=bool(changed))
    for one in changed:
        outcome.before += teller.lines(one.before)
        outcome.before += [f"file {store.key_path(one.after.domain, entry)}" for entry in one.removed]
    for one in plans.values():  # every key that stays must be readable before anything is done
        for entry in one.after.keys:
            teller.key(one.after.domain, entry)
    mends = _mends(store, plans) if os.path.isdir(store.directory) else []
    if not options.check:
        _load_library(plans)
    # Before a key is there to be committed, by whomever.
    hidden = store.hide(dry_run=options.check) if options.state in ("present", "rotated") else ""
    if not options.check:
        _apply(store, plans, options, mends)
    for change in mends:
        outcome.before.append(change.before)
        outcome.after.append(change.after)
        if change.exposed:
            outcome.warnings.append(f"{change.path} could be read or written by others: rotate this key")
    for one in changed:
        outcome.after += teller.lines(one.after)
    outcome.after += [hidden] if hidden else []
    outcome.changed = outcome.changed or bool(mends) or bool(hidden)
    _tell(outcome, plans, teller, wants)
    return outcome


def _mends(store: KeyStore, plans: Mapping[str, _Domain]) -> list[Change]:
    """Owners and modes to be put right, of the directory first."""
    changes = [store.mend_directory()]
    for one in plans.values():
        made = {entry.selector for _want, entry in one.made}
        for entry in one.after.keys:
            if entry.selector not in made:
                changes.append(store.mend(store.key_path(one.after.domain, entry)))
    return [change for change in changes if change is not None]


def _apply(store: KeyStore, plans: Mapping[str, _Domain], options: Options, mends: Sequence[Change]) -> None:
    for change in mends:
        set_attributes(change.path, mode=change.mode, owner=change.owner, group=change.group)
    work = [one for one in plans.values() if one.changed]
    if not work:
        return
    store.sweep()
    access = {one.after.domain: _access(store, one) for one in work}
    for one in work:
        if one.stored is None and any(entry.state != plan.ACTIVE for _want, entry in one.made):
            # Else a run that is killed here leaves a file that the next one takes for a key in use.
            store.write_manifest(one.adopted, access[one.after.domain])
        for entry in one.removed:
            store.remove_key(one.after.domain, entry)
    jobs = [(one, want, entry) for one in work for want, entry in one.made]
    left = {one.after.domain: len(one.made) for one in work}
    for one in work:
        if not one.made:
            store.write_manifest(one.after, access[one.after.domain])
    for number, key in make_all([(entry.algorithm, want.bits) for _one, want, entry in jobs]):
        one, _want, entry = jobs[number]
        domain = one.after.domain
        raw = key.algorithm == "ed25519" and options.ed25519_format == "rspamd"
        store.write_key(domain, entry, key.seed_and_public if raw else key.pem, access[domain])
        left[domain] -= 1
        if not left[domain]:
            store.write_manifest(one.after, access[domain])


def _access(store: KeyStore, one: _Domain) -> Access:
    """For new files of a domain: like its active key, where it has one."""
    active = [entry for entry in one.adopted.keys if entry.state == plan.ACTIVE]
    return store.access_for_new(store.key_path(one.after.domain, active[0]) if active else None)


def _tell(outcome: Outcome, plans: Mapping[str, _Domain], teller: _Teller, wants: Sequence[Want]) -> None:
    """Fill in the keys of all domains, the one each want came to, and what deserves a word."""
    steps = {want: step for one in plans.values() for want, step in one.steps}
    told: dict[tuple[str, str], dict[str, object]] = {}
    for domain, one in plans.items():
        for entry in one.after.keys:
            told[domain, entry.selector] = teller.key(domain, entry)
    outcome.keys = list(told.values())
    for want in wants:
        step = steps[want]
        key = told.get((want.domain, step.key.selector)) if step.key is not None else None
        outcome.named.append(key)
        outcome.warnings += [want.says(warning) for warning in step.warnings]
        if key is not None and want.kind == key["algorithm"] == ALGORITHMS[0] and int(str(key["bits"])) < want.bits:
            size = f"the key {key['selector']} of {want.domain} has {key['bits']} bits, not {want.bits}"
            outcome.warnings.append(want.says(f"{size}: rotate it to get a larger one"))
