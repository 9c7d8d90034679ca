# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan and port together: what a call has to do in the kernel and in files, and what it would say of it. Private.

Nothing is written here: each piece of work knows how to test itself and how to be carried out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _files, _iptables, _nftables
from ansible_collections.postmaster.mail.plugins.module_utils import _smtp_dnat_rules as rules
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError
from ansible_collections.postmaster.mail.plugins.module_utils._firewall_client import Firewall, program
from ansible_collections.postmaster.mail.plugins.module_utils._iptables import Ruleset
from ansible_collections.postmaster.mail.plugins.module_utils._smtp_dnat import Entry, Request, SmtpDnatError
from ansible_collections.postmaster.mail.plugins.module_utils._smtp_dnat_plan import Chains, in_scope, plan

DEFAULT_FILES = ("/etc/iptables/rules.v4", "/etc/iptables/rules.v6")
# Both are loaded with the plain command iptables-restore, whatever that is.
LOADED_BY_DEFAULT = (*DEFAULT_FILES, "/etc/ufw/before.rules", "/etc/ufw/before6.rules")


@dataclass
class Call:
    """One call of the module, and what it collects for people."""

    asked: Request
    params: Mapping[str, Any]
    firewall: Firewall
    now: int
    check_mode: bool
    handwritten: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def saves(self) -> bool:
        """Whether rules are written for the next boot, too."""
        return bool(self.params["persist"]) and self.asked.seconds is None

    def complain(self, said: str) -> None:
        """Raise :class:`SmtpDnatError`; in check mode only warn, as a play may put right before what it lacks."""
        if not self.check_mode:
            raise SmtpDnatError(said)
        self.warnings.append(said)


def _nothing() -> None:
    """There is nothing to test."""


@dataclass
class Work:
    """What one place has to be told: the kernel's rules of one version, or nftables' of both, or a file (``path``)."""

    header: str
    before: Chains
    after: Chains
    commit: Callable[[], None]
    test: Callable[[], None] = _nothing
    changed: bool = False
    path: str | None = None

    @property
    def holds(self) -> bool:
        """Whether there will be any rule of ours."""
        return any(self.after.values())


# -- iptables -----------------------------------------------------------------------------------

DIALECT = rules.Iptables()


def of_iptables(call: Call, backend: str, saved: Mapping[int, str]) -> list[Work]:
    """The kernel's tables, then the files; ``saved`` is what iptables-save said already, by version of IP."""
    installed = call.firewall.has(f"{backend}-save")
    kernel, files = [], []
    for version in call.asked.versions:
        text = saved.get(version)
        if text is None:
            text = call.firewall.save(backend, version) if installed else ""
        for table in _iptables.incompatible(text):
            raise SmtpDnatError(
                f"the table {table} has rules that nft put there, which {backend} cannot show: say backend: nftables"
            )
        ruleset = Ruleset(text)
        docker = ruleset.has_chain("filter", "DOCKER-USER")
        kernel.append(_kernel(call, backend, version, ruleset, docker=docker))
        if call.saves:
            files.append(_file(call, backend, version, docker=docker))
            call.warnings += _loaded_elsewhere(call, backend, version, files[-1])
    _loaded_at_boot(call, files)
    return kernel + files


def _kernel(call: Call, backend: str, version: int, ruleset: Ruleset, *, docker: bool) -> Work:
    by_hand = _by_hand(call.asked, ruleset)
    call.handwritten += [f"-A PREROUTING {rule}" for rule, dummy in by_hand]
    call.warnings += _for_everybody(call.asked, ruleset)
    adopted = by_hand if call.asked.adopt else []
    before, after = _before_and_after(call, version, ruleset, adopted, docker=docker)
    gone = [("nat", "PREROUTING", rule) for rule, dummy in adopted]
    wanted = [(_chain(name, ruleset, version), after[name]) for name in _minded(call.asked, docker)]
    lines = _iptables.restore_lines(ruleset, wanted, gone)
    return Work(
        f"{backend}, IPv{version}",
        before,
        after,
        commit=lambda: call.firewall.restore(backend, version, lines),
        test=lambda: call.firewall.restore(backend, version, lines, test=True),
        changed=bool(lines),
    )


def _file(call: Call, backend: str, version: int, *, docker: bool) -> Work:
    path = call.params[f"rules_v{version}"]
    state = _files.read(path)
    text = state.text if state else ""
    ruleset = Ruleset(text)
    try:
        adopted = _by_hand(call.asked, ruleset) if call.asked.adopt else []
        before, after = _before_and_after(call, version, ruleset, adopted, docker=docker, saved=True)
        ruleset.remove("nat", "PREROUTING", [rule for rule, dummy in adopted])
        for name in _minded(call.asked, docker):
            ruleset.keep(_chain(name, ruleset, version), after[name])
    except _iptables.IptablesError as err:
        raise SmtpDnatError(f"{path}: {err}, so it is not loaded at boot: repair it first") from err
    made = str(ruleset)

    def test() -> None:
        try:
            call.firewall.restore(backend, version, _as_loaded(made), test=True, flush=True)
        except CommandError as err:
            raise SmtpDnatError(f"{path} would not be loaded at boot: {err}") from err

    mode = None if state else 0o640
    return Work(
        path,
        before,
        after,
        commit=lambda: write_or_remove(path, made, mode=mode),
        test=test if made else _nothing,
        changed=made != text,
        path=path,
    )


def _as_loaded(text: str) -> str:
    """The text of a file with the chains that ufw makes before it loads it."""
    known = set(re.findall(r"^:(\S+)", text, re.MULTILINE))
    named = dict.fromkeys(re.findall(r"^-A .* -[jg] (ufw6?-\S+)", text, re.MULTILINE))
    made = "".join(f":{name} - [0:0]\n" for name in named if name not in known)
    return re.sub(r"^\*filter\n", f"*filter\n{made}", text, count=1, flags=re.MULTILINE)


def _chain(name: str, ruleset: Ruleset, version: int) -> _iptables.Chain:
    """A chain of ours, asked in time: ufw loads its file when its own jumps are there, of which some end all."""
    chain = rules.IPTABLES_CHAINS[name]
    ufw = f"ufw{'6' if version == 6 else ''}-before-{chain.hook.lower()}"
    return replace(chain, hook=ufw, elsewhere=chain.hook) if ruleset.has_chain(chain.table, ufw) else chain


def _before_and_after(
    call: Call,
    version: int,
    ruleset: Ruleset,
    adopted: Sequence[tuple[str, Entry]],
    *,
    docker: bool,
    saved: bool = False,
) -> tuple[Chains, Chains]:
    before = {name: ruleset.rules(chain.table, chain.name) for name, chain in rules.IPTABLES_CHAINS.items()}
    moving = [entry for dummy, entry in adopted]
    after = plan(call.asked, [version], DIALECT, before, adopted=moving, saved=saved, docker=docker, now=call.now)
    return before, after


def _minded(asked: Request, docker: bool) -> Sequence[str]:
    """The chains that a call minds."""
    if not asked.client:
        return rules.EDGE_CHAINS
    return rules.CLIENT_CHAINS if docker else (rules.CLIENT,)


def _by_hand(asked: Request, ruleset: Ruleset) -> list[tuple[str, Entry]]:
    """Rules of others that do what ours do, and what they translate."""
    found = [(rule, DIALECT.entry(rule)) for rule in ruleset.rules("nat", "PREROUTING")]
    return [(rule, entry) for rule, entry in found if entry is not None and in_scope(entry, asked)]


def _for_everybody(asked: Request, ruleset: Ruleset) -> list[str]:
    """A sentence on each rule of others that makes the list of sources void."""
    found = []
    for rule in ruleset.rules("nat", "PREROUTING"):
        entry = DIALECT.entry(f"-s 0.0.0.0/0 {rule}")
        if entry is not None and in_scope(entry, asked):
            found.append(
                f"a rule of others has everybody reach the relay, whatever sources says: -A PREROUTING {rule}; "
                "remove it with iptables -t nat -D and these words"
            )
    return found


def _loaded_at_boot(call: Call, files: Sequence[Work]) -> None:
    missing = [one.path for one in files if one.path in DEFAULT_FILES and one.holds]
    if missing and not call.firewall.loads_rules():
        call.complain(
            f"nothing here loads {missing[0]} at boot: install iptables-persistent, name the file that is loaded in "
            "rules_v4 and rules_v6, or say persist: false"
        )


def _loaded_elsewhere(call: Call, backend: str, version: int, file: Work) -> list[str]:
    """A sentence if the file is loaded with the other variant, into tables that the kernel would ask as well."""
    command = "iptables" if version == 4 else "ip6tables"
    if not (file.holds and file.path in LOADED_BY_DEFAULT and call.firewall.has(command)):
        return []
    default = call.firewall.default(version)
    if default == backend:
        return []
    own = f"/usr/sbin/{program(backend, version)}"
    return [
        f"at boot {file.path} is loaded into the tables of {default}, which {command} is here, and not into those of "
        f"{backend}: run update-alternatives --set {command} {own}, or say backend: {default}"
    ]


# -- nftables -----------------------------------------------------------------------------------

NFT_DIALECT = rules.Nftables()


def of_nftables(call: Call) -> list[Work]:
    """The kernel's table, then the file with it and the one that includes it."""
    installed = call.firewall.has("nft")
    before = rules.nft_chains(call.firewall.nft_table(rules.TABLE)) if installed else {}
    others = _nftables.prerouting(call.firewall.nft_ruleset()) if installed and not call.asked.client else []
    by_hand = _nft_by_hand(call, "", others)
    call.handwritten += [str(rule) for rule in by_hand]
    call.warnings += _nft_for_everybody(call.asked, others)
    adopted = by_hand if call.asked.adopt else {}
    after = _nft_plan(call, before, adopted)
    text = "".join(f"{rule.deletion}\n" for rule in adopted) + rules.nft_text(after, NFT_DIALECT)
    kernel = Work(
        "nftables",
        {**before, **_by_place(adopted)},
        after,
        commit=lambda: call.firewall.nft(text),
        test=lambda: call.firewall.nft(text, test=True),
        changed=bool(adopted) or _held(before) != _held(after),
    )
    if installed and not call.asked.client and not call.asked.absent:
        call.warnings += _droppers(call)
    return [kernel, *(_nft_files(call, adopted) if call.saves else [])]


_ByHand = dict[_nftables.Rule, list[Entry]]


def _nft_by_hand(call: Call, path: str, others: Sequence[_nftables.Rule]) -> _ByHand:
    """Rules of others that do what ours do, and what they translate. ``path`` is empty for the kernel's."""
    asked = call.asked
    found = {}
    for rule in others:
        mine = [one for one in _nftables.entries(rule) if in_scope(one, asked) and one.source.version in asked.versions]
        if mine and all(one.source.prefixlen for one in mine):
            found[rule] = mine
        elif asked.adopt and _nftables.unclear(
            rule, {str(one) for one in (*asked.destinations, *asked.relays.values())}
        ):
            call.complain(
                f"adopt: a rule{f' in {path}' if path else ''} is of no form that can be taken over: {rule}; write it "
                "as ip saddr X ip daddr Y tcp dport 25 dnat to Z, or take it out"
            )
    return found


def _by_place(found: _ByHand) -> Chains:
    """For people: the rules by table and chain."""
    made: Chains = {}
    for rule in found:
        made.setdefault(rule.place, []).append(rule.text)
    return made


def _nft_for_everybody(asked: Request, others: Sequence[_nftables.Rule]) -> list[str]:
    return [
        f"a rule of others has everybody reach the relay, whatever sources says: {rule}; remove it with "
        f"nft {rule.deletion}"
        for rule in others
        if any(in_scope(one, asked) and not one.source.prefixlen for one in _nftables.entries(rule))
    ]


def _nft_plan(call: Call, before: Chains, adopted: _ByHand, *, saved: bool = False) -> Chains:
    docker = call.firewall.has_interface("docker0")
    moving = [entry for found in adopted.values() for entry in found]
    return plan(
        call.asked,
        call.asked.versions,
        NFT_DIALECT,
        before,
        adopted=moving,
        saved=saved,
        docker=docker,
        now=call.now,
    )


def _held(chains: Chains) -> Chains:
    return {name: held for name, held in chains.items() if held}


def _droppers(call: Call) -> list[str]:
    """A sentence on each chain of others that may drop what is translated, which our table cannot overrule."""
    if not call.asked.forward:
        return []
    families = {"inet", *("ip" if version == 4 else "ip6" for version in call.asked.versions)}
    return [
        f"the chain {one.get('name')} of the table {one.get('family')} {one.get('table')} drops what it does not know: "
        "have it forward what is translated (ct status dnat accept) and the relay's own mail, or say forward: false"
        for one in call.firewall.nft_chains()
        if one.get("hook") == "forward" and one.get("policy") == "drop" and one.get("family") in families
    ]


def _nft_files(call: Call, moved: _ByHand) -> list[Work]:
    """``moved`` are the kernel's rules that are taken over."""
    conf = call.params["nftables_conf"]
    path = os.path.join(os.path.dirname(conf), "nftables.d", "postmaster-smtp-dnat.nft")
    state, main = _files.read(path), _files.read(conf)
    adopted = _nft_by_hand(call, conf, _nftables.prerouting(main.text)) if main and call.asked.adopt else {}
    call.warnings += _not_in_file(conf, moved, adopted)
    before = rules.nft_chains(state.text) if state else {}
    after = _nft_plan(call, before, {**moved, **adopted}, saved=True)
    text = rules.nft_text(after, NFT_DIALECT) if any(after.values()) else ""
    fragment = Work(path, before, after, commit=lambda: write_or_remove(path, text), path=path)
    fragment.changed = text != (state.text if state else "")
    if text:
        fragment.test = lambda: call.firewall.nft(text, test=True)
    if text and main is None:
        call.complain(
            f"{conf}, which would load the rules at boot, is not there: install nftables, name another in "
            "nftables_conf, or say persist: false"
        )
    line = f'include "{path}"\n'
    including = _including(conf, main.text if main else "", line, leaving=list(adopted), wanted=bool(text))
    # A line that names a file which is not there would keep all of it from being loaded.
    return [fragment, including] if text else [including, fragment]


def _not_in_file(conf: str, moved: _ByHand, adopted: _ByHand) -> list[str]:
    """A sentence on each rule that may be back after the next boot."""
    written = {entry for found in adopted.values() for entry in found}
    return [
        f"the rule {rule} is taken over, but {conf} has no such line: if another file or form loads it at boot, take "
        "it out there"
        for rule, found in moved.items()
        if not written.issuperset(found)
    ]


def _including(conf: str, old: str, line: str, *, leaving: Sequence[_nftables.Rule], wanted: bool) -> Work:
    """The file that nftables loads, with the line or without it, and without rules that move to ours."""
    left = _nftables.without(old, leaving)
    ended = left if not left or left.endswith("\n") else f"{left}\n"
    new = left.replace(line, "")
    if wanted:
        new = left if line.strip() in left.splitlines() else ended + line
    before, after = {"": old.splitlines()}, {"": new.splitlines()}
    return Work(conf, before, after, commit=lambda: write_or_remove(conf, new), changed=new != old, path=conf)


# -- files --------------------------------------------------------------------------------------


def write_or_remove(path: str, text: str, *, mode: int | None = None) -> None:
    """Replace a file, or remove one that would be empty. Raises FileError or OSError."""
    if text:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _files.write_atomic(path, text, mode=mode)
    elif os.path.exists(path):
        os.unlink(path)
