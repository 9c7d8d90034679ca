# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan and port together: who reaches a relay's port 25, in the kernel and in what is loaded at boot. Private."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _files, _iptables
from ansible_collections.postmaster.mail.plugins.module_utils import _smtp_dnat_rules as rules
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError
from ansible_collections.postmaster.mail.plugins.module_utils._etckeeper_client import Etckeeper
from ansible_collections.postmaster.mail.plugins.module_utils._firewall_client import Firewall, program
from ansible_collections.postmaster.mail.plugins.module_utils._iptables import Ruleset
from ansible_collections.postmaster.mail.plugins.module_utils._smtp_dnat import Entry, Request, SmtpDnatError, request
from ansible_collections.postmaster.mail.plugins.module_utils._smtp_dnat_plan import Chains, entries, in_scope, plan

NFTABLES = "nftables"
LOADER = "/usr/share/netfilter-persistent/plugins.d"
DEFAULT_FILES = ("/etc/iptables/rules.v4", "/etc/iptables/rules.v6")


@dataclass
class Work:
    """What one place has to be told: the kernel's rules of one version, or nftables' of both, or a file."""

    header: str
    before: Chains
    after: Chains
    commit: Callable[[], None]
    test: Callable[[], None] = lambda: None
    changed: bool = False
    path: str | None = None


@dataclass
class Found:
    """What a run collects beside its work."""

    handwritten: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def run(
    params: Mapping[str, Any],
    *,
    check_mode: bool,
    firewall: Firewall | None = None,
    etckeeper: Etckeeper | None = None,
    clock: Callable[[], float] = time.time,
) -> dict[str, Any]:
    """What the module returns, and ``warnings``. Raises :class:`SmtpDnatError`, CommandError or FileError.

    Everything is read, planned and tested before the first thing is written.
    """
    firewall = firewall or Firewall()
    now = int(clock())
    asked = request(params, firewall.resolve, now=now)
    backend, saved = choose(params["backend"], firewall, asked.versions, check_mode=check_mode)
    found = Found()
    if backend == NFTABLES:
        work = _nftables_work(asked, params, firewall, found, now=now, check_mode=check_mode)
    else:
        work = _iptables_work(asked, params, firewall, backend, saved, found, now=now, check_mode=check_mode)
    changing = [one for one in work if one.changed]
    if changing and not check_mode:
        _apply(changing, asked, backend, firewall, etckeeper or Etckeeper())
    if not asked.client and not asked.absent:
        found.warnings += [
            f"this host does not forward IPv{version}, so nothing reaches the relay: set {_SYSCTL[version]} to 1"
            for version in asked.versions
            if not firewall.forwards(version)
        ]
    return _result(backend, work, found)


_SYSCTL = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}


# -- which back end -----------------------------------------------------------------------------


def choose(
    wanted: str, firewall: Firewall, versions: Sequence[int], *, check_mode: bool = False
) -> tuple[str, dict[int, str]]:
    """The back end, and what its iptables-save said if it was asked already. Raises :class:`SmtpDnatError`.

    In check mode a host that has neither may get one before the real run.
    """
    if wanted != "auto":
        if not firewall.has("nft" if wanted == NFTABLES else f"{wanted}-restore") and not check_mode:
            package = "nftables" if wanted == NFTABLES else "iptables"
            raise SmtpDnatError(f"backend: {wanted} is not installed: install {package}, or say another back end")
        return wanted, {}
    saved = {}
    if firewall.has("iptables-nft-save"):
        saved = {version: firewall.save("iptables-nft", version) for version in versions}
    if any(_has_ours(text) for text in saved.values()):
        return "iptables-nft", saved
    native = _native_tables(firewall) if firewall.has("nft") else set()
    if rules.TABLE in native:
        return NFTABLES, {}
    by_nft = any(Ruleset(text).has_rules() for text in saved.values())
    legacy = _legacy(firewall, versions)
    by_legacy = any(Ruleset(text).has_rules() for text in legacy)
    if by_nft and by_legacy and not any(_has_ours(text) for text in legacy):
        raise SmtpDnatError(
            "backend: both iptables-nft and iptables-legacy hold rules here: say which of them is to be used, "
            "and move the rules of the other"
        )
    if by_legacy:
        return "iptables-legacy", {}
    if by_nft:
        return "iptables-nft", saved
    if native:
        return NFTABLES, {}
    if firewall.has("iptables"):
        default = firewall.default()
        return default, saved if default == "iptables-nft" else {}
    if firewall.has("nft") or check_mode:
        return NFTABLES, {}
    raise SmtpDnatError("backend: neither iptables nor nft is installed here: install nftables")


def _has_ours(text: str) -> bool:
    ruleset = Ruleset(text)
    return any(ruleset.has_chain(chain.table, chain.name) for chain in rules.IPTABLES_CHAINS.values())


def _legacy(firewall: Firewall, versions: Sequence[int]) -> list[str]:
    """What iptables-legacy holds, asked only where the kernel has its tables."""
    if not firewall.has("iptables-legacy-save"):
        return []
    return [firewall.save("iptables-legacy", version) for version in versions if firewall.legacy_loaded(version)]


def _native_tables(firewall: Firewall) -> set[object]:
    """Tables with chains that are not those that iptables-nft makes by itself."""
    made = {("ip", table) for table in ("nat", "filter", "mangle", "raw", "security")}
    made |= {("ip6", table) for dummy, table in made}
    chains = firewall.nft_chains()
    return {chain.get("table") for chain in chains if (chain.get("family"), chain.get("table")) not in made}


# -- iptables -----------------------------------------------------------------------------------


def _iptables_work(
    asked: Request,
    params: Mapping[str, Any],
    firewall: Firewall,
    backend: str,
    saved: Mapping[int, str],
    found: Found,
    *,
    now: int,
    check_mode: bool,
) -> list[Work]:
    dialect = rules.Iptables()
    there = firewall.has(f"{backend}-save")
    work: list[Work] = []
    files: list[Work] = []
    for version in asked.versions:
        text = saved.get(version) if version in saved else firewall.save(backend, version) if there else ""
        text = text or ""
        for table in _iptables.incompatible(text):
            raise SmtpDnatError(
                f"the table {table} has rules that nft put there, which {backend} cannot show: say backend: nftables"
            )
        docker = Ruleset(text).has_chain("filter", "DOCKER-USER")
        work.append(_kernel(asked, dialect, firewall, backend, version, text, found, docker=docker, now=now))
        if params["persist"] and asked.seconds is None:
            path = params[f"rules_v{version}"]
            files.append(_file(asked, dialect, firewall, backend, version, path, docker=docker, now=now, there=there))
    _loaded_at_boot(files, firewall, found, check_mode=check_mode)
    return work + files


def _kernel(
    asked: Request,
    dialect: rules.Iptables,
    firewall: Firewall,
    backend: str,
    version: int,
    text: str,
    found: Found,
    *,
    docker: bool,
    now: int,
) -> Work:
    ruleset = Ruleset(text)
    by_hand = _by_hand(asked, dialect, ruleset, found)
    gone = [("nat", "PREROUTING", rule) for rule, dummy in by_hand] if asked.adopt else []
    adopted = [entry for dummy, entry in by_hand] if asked.adopt else []
    before = _chains(ruleset)
    after = plan(asked, [version], dialect, before, adopted=adopted, docker=docker, now=now)
    lines = _iptables.restore_lines(
        ruleset, [(rules.IPTABLES_CHAINS[name], after[name]) for name in _ours(asked, docker)], gone
    )
    return Work(
        f"{backend}, IPv{version}",
        before,
        after,
        commit=lambda: firewall.restore(backend, version, lines),
        test=lambda: firewall.restore(backend, version, lines, test=True),
        changed=bool(lines),
    )


def _ours(asked: Request, docker: bool) -> Sequence[str]:
    if not asked.client:
        return rules.EDGE_CHAINS
    return rules.CLIENT_CHAINS if docker else (rules.CLIENT,)


def _chains(ruleset: Ruleset) -> Chains:
    return {name: ruleset.rules(chain.table, chain.name) for name, chain in rules.IPTABLES_CHAINS.items()}


def _by_hand(
    asked: Request, dialect: rules.Iptables, ruleset: Ruleset, found: Found | None = None
) -> list[tuple[str, Entry]]:
    """Rules of others that do what ours do, with what they translate."""
    pairs = []
    for rule in ruleset.rules("nat", "PREROUTING"):
        entry = dialect.entry(rule)
        if entry is not None and in_scope(entry, asked):
            pairs.append((rule, entry))
        everybody = dialect.entry(f"-s 0.0.0.0/0 {rule}") or dialect.entry(f"-s ::/0 {rule}")
        if found is not None and everybody is not None and in_scope(everybody, asked):
            found.warnings.append(
                f"a rule of others has everybody reach the relay, whatever sources says: -A PREROUTING {rule}; "
                "remove it with iptables -t nat -D and these words"
            )
    if found is not None:
        found.handwritten += [f"-A PREROUTING {rule}" for rule, dummy in pairs]
    return pairs


def _file(
    asked: Request,
    dialect: rules.Iptables,
    firewall: Firewall,
    backend: str,
    version: int,
    path: str,
    *,
    docker: bool,
    now: int,
    there: bool,
) -> Work:
    state = _files.read(path)
    text = state.text if state else ""
    ruleset = Ruleset(text)
    try:
        by_hand = _by_hand(asked, dialect, ruleset) if asked.adopt else []
        before = _chains(ruleset)
        after = plan(
            asked,
            [version],
            dialect,
            before,
            adopted=[one for dummy, one in by_hand],
            saved=True,
            docker=docker,
            now=now,
        )
        ruleset.remove("nat", "PREROUTING", [rule for rule, dummy in by_hand])
        for name in _ours(asked, docker):
            ruleset.keep(rules.IPTABLES_CHAINS[name], after[name])
    except _iptables.IptablesError as err:
        raise SmtpDnatError(f"{path}: {err}, so it is not loaded at boot: repair it first") from err
    made = str(ruleset)

    def test() -> None:
        if there and made:
            _tested(firewall, backend, version, path, made)

    def commit() -> None:
        if made:
            _write(path, made, mode=None if state else 0o640)
        elif state:
            os.unlink(path)

    return Work(path, before, after, commit=commit, test=test, changed=made != text, path=path)


def _tested(firewall: Firewall, backend: str, version: int, path: str, text: str) -> None:
    try:
        firewall.restore(backend, version, text, test=True, flush=True)
    except CommandError as err:
        raise SmtpDnatError(f"{path} would not be loaded at boot: {err}") from err


def _write(path: str, text: str, *, mode: int | None = None) -> None:
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    except OSError as err:
        raise _files.FileError(f"{path} cannot be written: {err.strerror}") from err
    _files.write_atomic(path, text, mode=mode)


def _loaded_at_boot(files: Sequence[Work], firewall: Firewall, found: Found, *, check_mode: bool) -> None:
    """Raise :class:`SmtpDnatError` if nothing on this host loads files that are to hold rules."""
    missing = [one.path for one in files if one.path in DEFAULT_FILES and any(one.after.values())]
    if not missing or firewall.has("netfilter-persistent") or os.path.isdir(LOADER):
        return
    said = (
        f"nothing here loads {missing[0]} at boot: install iptables-persistent, name the file that is loaded in "
        "rules_v4 and rules_v6, or say persist: false"
    )
    if not check_mode:
        raise SmtpDnatError(said)
    found.warnings.append(said)


# -- nftables -----------------------------------------------------------------------------------


def _nftables_work(
    asked: Request, params: Mapping[str, Any], firewall: Firewall, found: Found, *, now: int, check_mode: bool
) -> list[Work]:
    dialect = rules.Nftables()
    there = firewall.has("nft")
    docker = firewall.has_interface("docker0")
    before = rules.nft_chains(firewall.nft_table(rules.TABLE)) if there else {}
    after = plan(asked, asked.versions, dialect, before, docker=docker, now=now)
    text = rules.nft_text(after, dialect)
    work = [
        Work(
            "nftables",
            before,
            after,
            commit=lambda: firewall.nft(text),
            test=lambda: firewall.nft(text, test=True),
            changed=_held(before) != _held(after),
        )
    ]
    if there and not asked.client and not asked.absent:
        found.warnings += _droppers(asked, firewall)
    if params["persist"] and asked.seconds is None:
        work += _nftables_files(asked, dialect, firewall, params["nftables_conf"], docker=docker, now=now)
        _conf_is_there(work[-2:], params["nftables_conf"], found, check_mode=check_mode)
    return work


def _held(chains: Chains) -> Chains:
    return {name: held for name, held in chains.items() if held}


def _droppers(asked: Request, firewall: Firewall) -> list[str]:
    """Chains of others that may drop what is translated, which our table cannot overrule."""
    if not asked.forward:
        return []
    families = {"inet", *("ip" if version == 4 else "ip6" for version in asked.versions)}
    return [
        f"the chain {one.get('name')} of the table {one.get('family')} {one.get('table')} drops what it does not know: "
        "have it forward what is translated (ct status dnat accept) and the relay's own mail, or say forward: false"
        for one in firewall.nft_chains()
        if one.get("hook") == "forward" and one.get("policy") == "drop" and one.get("family") in families
    ]


def _conf_is_there(work: Sequence[Work], conf: str, found: Found, *, check_mode: bool) -> None:
    """Raise :class:`SmtpDnatError` if nothing would load the rules at boot."""
    if os.path.exists(conf) or not any(any(one.after.values()) for one in work):
        return
    said = (
        f"{conf}, which would load the rules at boot, is not there: install nftables, name another in nftables_conf, "
        "or say persist: false"
    )
    if not check_mode:
        raise SmtpDnatError(said)
    found.warnings.append(said)


def _nftables_files(
    asked: Request, dialect: rules.Nftables, firewall: Firewall, conf: str, *, docker: bool, now: int
) -> list[Work]:
    path = os.path.join(os.path.dirname(conf), "nftables.d", "postmaster-smtp-dnat.nft")
    state, main = _files.read(path), _files.read(conf)
    before = rules.nft_chains(state.text) if state else {}
    after = plan(asked, asked.versions, dialect, before, saved=True, docker=docker, now=now)
    wanted = any(after.values())
    text = rules.nft_text(after, dialect) if wanted else ""
    line = f'include "{path}"\n'
    old = main.text if main else ""
    new = old if line.strip() in old.splitlines() else f"{_ended(old)}{line}"
    if not wanted:
        new = old.replace(line, "")
    fragment = Work(path, before, after, commit=lambda: _write_or_remove(path, text), path=path)
    fragment.test = lambda: firewall.nft(text, test=True) if text else None
    fragment.changed = text != (state.text if state else "")
    lines: tuple[Chains, Chains] = ({"": old.splitlines()}, {"": new.splitlines()})
    including = Work(conf, *lines, commit=lambda: _write_or_remove(conf, new), path=conf, changed=new != old)
    return [fragment, including] if wanted else [including, fragment]


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"


def _write_or_remove(path: str, text: str) -> None:
    if text:
        _write(path, text)
    elif os.path.exists(path):
        os.unlink(path)


# -- carrying out -------------------------------------------------------------------------------


def _apply(work: Sequence[Work], asked: Request, backend: str, firewall: Firewall, etckeeper: Etckeeper) -> None:
    if len(work) > 1:  # a single one changes all or nothing by itself
        for one in work:
            one.test()
    if asked.seconds is not None and asked.until is not None:
        # Before the rules, so that they never stand without it.
        undone = [argv for one in work for argv in _undoing(one, asked.until, backend)]
        if undone:
            firewall.later(asked.seconds, f"postmaster-smtp-dnat-{asked.until}-{os.getpid()}", undone)
    keeping = any(one.path for one in work) and etckeeper.ready()
    if keeping and etckeeper.unclean():
        etckeeper.commit("saving uncommitted changes before the rules for SMTP to the relay")
    done: list[str] = []
    for one in work:
        try:
            one.commit()
        except (CommandError, _files.FileError, OSError) as err:
            told = ", ".join(done) or "nothing"
            raise SmtpDnatError(f"{one.header}: {err} (done before: {told}; the next run goes on from there)") from err
        done.append(one.header)
    if keeping and etckeeper.unclean():
        etckeeper.commit("rules for SMTP to the relay")


def _undoing(work: Work, until: int, backend: str) -> list[list[str]]:
    """The commands that take out what ends then."""
    if backend == NFTABLES:
        chain = f"inet {rules.TABLE} {rules.temporary_chain(until)}"
        return [["nft", f"flush chain {chain}; delete chain {chain}"]]
    dialect = rules.Iptables()
    own = rules.IPTABLES_CHAINS[rules.INCOMING]
    ending = [entry for entry in entries(dialect, work.after) if entry.until == until]
    own_rule = ["-w", "-t", own.table, "-D", own.name]
    return [
        [program(backend, entry.source.version), *own_rule, *_iptables.words(dialect.translation(entry))]
        for entry in ending
    ]


# -- what is told -------------------------------------------------------------------------------


def _result(backend: str, work: Sequence[Work], found: Found) -> dict[str, Any]:
    dialect: rules.Dialect = rules.Nftables() if backend == NFTABLES else rules.Iptables()
    kernel = [one for one in work if one.path is None]
    before = [entry for one in kernel for entry in entries(dialect, one.before)]
    after = [entry for one in kernel for entry in entries(dialect, one.after)]
    return {
        "changed": any(one.changed for one in work),
        "backend": backend,
        "entries": [entry.told() for entry in after],
        "added": _sources(after, before),
        "removed": _sources(before, after),
        "handwritten": found.handwritten,
        "changed_files": [one.path for one in work if one.changed and one.path],
        "diff": [_diff(one) for one in work if one.changed],
        "warnings": found.warnings,
    }


def _sources(some: Sequence[Entry], others: Sequence[Entry]) -> list[str]:
    known = {str(entry.source) for entry in others}
    return list(dict.fromkeys(str(entry.source) for entry in some if str(entry.source) not in known))


def _diff(work: Work) -> dict[str, str]:
    header = {"before_header": work.header, "after_header": work.header}
    return {**header, "before": _told(work.before), "after": _told(work.after)}


def _told(chains: Chains) -> str:
    return "".join(f"{name}: {rule}\n" if name else f"{rule}\n" for name, held in chains.items() for rule in held)
