# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan and port together: who reaches a relay's port 25, in the kernel and in what is loaded at boot. Private."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _files, _iptables
from ansible_collections.postmaster.mail.plugins.module_utils import _smtp_dnat_rules as rules
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError
from ansible_collections.postmaster.mail.plugins.module_utils._etckeeper_client import Etckeeper
from ansible_collections.postmaster.mail.plugins.module_utils._firewall_client import Firewall, program
from ansible_collections.postmaster.mail.plugins.module_utils._iptables import Ruleset
from ansible_collections.postmaster.mail.plugins.module_utils._smtp_dnat import SmtpDnatError, request
from ansible_collections.postmaster.mail.plugins.module_utils._smtp_dnat_plan import Chains, entries
from ansible_collections.postmaster.mail.plugins.module_utils._smtp_dnat_work import (
    DIALECT,
    NFT_DIALECT,
    Call,
    Work,
    of_iptables,
    of_nftables,
)

NFTABLES = "nftables"
_SYSCTL = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}


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
    call = Call(request(params, firewall.resolve, now=now), params, firewall, now, check_mode)
    backend, saved = choose(params["backend"], firewall, call.asked.versions, check_mode=check_mode)
    work = of_nftables(call) if backend == NFTABLES else of_iptables(call, backend, saved)
    changing = [one for one in work if one.changed]
    if changing and not check_mode:
        _apply(call, backend, changing, etckeeper or Etckeeper())
    call.warnings += _not_forwarding(call)
    return _result(call, backend, work)


def _not_forwarding(call: Call) -> list[str]:
    if call.asked.client or call.asked.absent:
        return []
    return [
        f"this host does not forward IPv{version}, so nothing reaches the relay: set {_SYSCTL[version]} to 1"
        for version in call.asked.versions
        if not call.firewall.forwards(version)
    ]


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


# -- carrying out -------------------------------------------------------------------------------


def _apply(call: Call, backend: str, work: Sequence[Work], etckeeper: Etckeeper) -> None:
    if len(work) > 1:  # a single one changes all or nothing by itself
        for one in work:
            one.test()
    _set_timer(call, backend, work)
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


def _set_timer(call: Call, backend: str, work: Sequence[Work]) -> None:
    """Have what is for a time be undone. Before the rules, so that they never stand without it."""
    seconds, until = call.asked.seconds, call.asked.until
    if seconds is None or until is None:
        return
    undone = [argv for one in work for argv in _undoing(one, until, backend)]
    call.firewall.later(seconds, f"postmaster-smtp-dnat-{until}-{os.getpid()}", undone)


def _undoing(work: Work, until: int, backend: str) -> list[list[str]]:
    """The commands that take out what ends then."""
    if backend == NFTABLES:
        chain = f"inet {rules.TABLE} {rules.temporary_chain(until)}"
        return [["nft", f"flush chain {chain}; delete chain {chain}"]]
    own = rules.IPTABLES_CHAINS[rules.INCOMING]
    ending = [entry for entry in entries(DIALECT, work.after) if entry.until == until]
    own_rule = ["-w", "-t", own.table, "-D", own.name]
    return [
        [program(backend, entry.source.version), *own_rule, *_iptables.words(DIALECT.translation(entry))]
        for entry in ending
    ]


# -- what is told -------------------------------------------------------------------------------


def _result(call: Call, backend: str, work: Sequence[Work]) -> dict[str, Any]:
    dialect: rules.Dialect = NFT_DIALECT if backend == NFTABLES else DIALECT
    kernel = [one for one in work if one.path is None]
    before = [entry.told() for one in kernel for entry in entries(dialect, one.before)]
    after = [entry.told() for one in kernel for entry in entries(dialect, one.after)]
    return {
        "changed": any(one.changed for one in work),
        "backend": backend,
        "entries": after,
        "added": _sources(after, before),
        "removed": _sources(before, after),
        "handwritten": call.handwritten,
        "changed_files": [one.path for one in work if one.changed and one.path],
        "diff": [_diff(one) for one in work if one.changed],
        "warnings": call.warnings,
    }


def _sources(some: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sources that some have and others do not."""
    known = {one["source"] for one in others}
    return list(dict.fromkeys(one["source"] for one in some if one["source"] not in known))


def _diff(work: Work) -> dict[str, str]:
    header = {"before_header": work.header, "after_header": work.header}
    return {**header, "before": _told(work.before), "after": _told(work.after)}


def _told(chains: Chains) -> str:
    return "".join(f"{name}: {rule}\n" if name else f"{rule}\n" for name, held in chains.items() for rule in held)
