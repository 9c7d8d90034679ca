# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Between the rotation's plan and a playbook: what comes in, what each host is to do, a table. Private."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._dkim import ALGORITHMS, DkimError, check_domain
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_plan import ACTIVE, PENDING, REVOKED, WITHDRAWN
from ansible_collections.postmaster.mail.plugins.module_utils._rotation import ORDER, Domain, Held, Signer, Step

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_TIMES = ("created", "published", "activated", "retired", "revoked", "withdrawn")
_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
# One word each: where lines are folded, a table stays one.
_NEXT = {
    "generate": "renew",
    "rest": "renew",
    "bring": "share",
    "publish": "publish",
    "switch": "sign",
    "keep": "revoke",
    "revoke": "revoke",
    "withdraw": "withdraw",
    "remove": "forget",
    "blocked": "blocked",
}
_WAITS = {PENDING: "sign", REVOKED: "withdraw", WITHDRAWN: "forget"}


class InputError(ValueError):
    """Something that was given cannot be used; the message names it and says what is right."""


def seconds(text: object, what: str) -> int:
    """A duration such as ``14d``, ``12h`` or ``30`` (seconds)."""
    match = re.fullmatch(r"([0-9]{1,9})([smhdw]?)", str(text).strip())
    if match is None:
        raise InputError(f"{what} {str(text)!r} is no duration such as 14d, 12h or 30s")
    return int(match[1]) * _UNITS[match[2] or "s"]


def show_time(time: int | None) -> str:
    """A time as manifests have it; empty for None."""
    return "" if time is None else datetime.fromtimestamp(time, tz=UTC).strftime(_FORMAT)


def read_time(text: str) -> int | None:
    """The reverse of :func:`show_time`."""
    if not text:
        return None
    try:
        return int(datetime.strptime(text, _FORMAT).replace(tzinfo=UTC).timestamp())
    except ValueError as err:
        raise InputError(f"{text!r} is no time such as 2026-11-20T11:00:00Z: mend the manifest") from err


# What comes in


def domains(given: Iterable[Mapping[str, Any]]) -> list[Domain]:
    """The domains of ``mail_domains`` as far as their keys are concerned."""
    return [_domain(item) for item in given]


def _domain(item: Mapping[str, Any]) -> Domain:
    try:
        name = check_domain(str(item.get("name") or "").rstrip("."))
    except DkimError as err:
        raise InputError(f"mail_domains: {err}") from err
    dkim = item.get("dkim") or {}
    if not isinstance(dkim, Mapping):
        raise InputError(f"dkim of {name} must be a mapping as {{algorithms: [rsa]}}, not {dkim!r}")
    algorithms = tuple(dkim.get("algorithms", ALGORITHMS[:1]))
    unknown = [one for one in algorithms if one not in ALGORITHMS]
    if unknown:
        raise InputError(f"dkim.algorithms of {name}: {unknown[0]!r} is none of {', '.join(ALGORITHMS)}")
    target = str(dkim.get("target") or "")
    ttl = item.get("ttl")
    domain = Domain(
        name,
        algorithms,
        dkim.get("bits"),
        3600 if ttl is None else int(ttl),
        tuple(map(str, dkim.get("selectors") or ())),
        target,
    )
    try:
        domain.owner("selector")
    except (KeyError, ValueError, IndexError) as err:
        raise InputError(f"dkim.target of {name}: write {{selector}} and {{domain}}, nothing else in braces") from err
    if target and not domain.selectors:
        raise InputError(f"dkim.target of {name} needs dkim.selectors, the selectors that are CNAMEs")
    return domain


def signers(given: Iterable[Mapping[str, Any]], *, now: int) -> list[Signer]:
    """The hosts that sign, with their keys as ``dkim_key`` returns them."""
    return [_signer(item, now) for item in given]


def _signer(item: Mapping[str, Any], now: int) -> Signer:
    name, lifetimes, signed = str(item["name"]), item.get("queue_lifetimes") or (), item.get("signed")
    last = seconds(item.get("last_attempt") or 0, f"the last attempt of {name}")
    time = read_time(str(item.get("time") or ""))
    return Signer(
        name,
        tuple(held for key in item.get("keys") or () if (held := _held(key, name)) is not None),
        share=str(item.get("share") or ""),
        algorithms=tuple(item.get("algorithms") or ALGORITHMS),
        queue_lifetime=max((seconds(text, f"a queue lifetime of {name}") + last for text in lifetimes), default=0),
        program=str(item.get("program") or "its signer"),
        reached=bool(item.get("reached", True)),
        signs=None if signed is None else {str(one["domain"]): tuple(one["selectors"]) for one in signed},
        ahead=0 if time is None else time - now,
        one_key=bool(item.get("one_key")),
        left_out=bool(item.get("left_out")),
        silence="".join(f" ({one['problem']})" for one in (signed or ())[:1] if one["problem"]),
    )


def _held(key: Mapping[str, Any], signer: str) -> Held | None:
    """One key; None for one that does not exist yet, as check mode tells it."""
    record = key.get("record")
    if record is None and key["state"] != WITHDRAWN:
        return None
    try:
        times = {what: read_time(key.get(what) or "") for what in _TIMES}
    except InputError as err:
        raise InputError(f"the key {key['selector']} of {key['domain']} on {signer}: {err}") from err
    return Held(
        domain=key["domain"],
        selector=key["selector"],
        algorithm=key["algorithm"],
        state=key["state"],
        record=str(record["value"]) if record is not None else "",
        public=b64decode(key["public_key"]) if key.get("public_key") else None,
        path=key["path"],
        settle=int(key.get("settle") or 0),
        **times,
    )


# What goes out

Items = dict[str, list[dict[str, Any]]]  # by host, as the option keys of dkim_key takes them


@dataclass
class Work:
    """What is to be done in one round, each part by host. ``publish`` and ``attempted`` are for DNS."""

    notes: Items = field(default_factory=dict)
    make: Items = field(default_factory=dict)
    bring: Items = field(default_factory=dict)
    activate: Items = field(default_factory=dict)
    revoke: Items = field(default_factory=dict)
    withdraw: Items = field(default_factory=dict)
    remove: Items = field(default_factory=dict)
    signing: Items = field(default_factory=dict)  # what a host that switches signs with afterwards
    current: Items = field(default_factory=dict)  # and what it signs with now
    proof: Items = field(default_factory=dict)  # the records by which its signatures are verified afterwards
    publish: list[dict[str, Any]] = field(default_factory=list)
    attempted: list[list[str]] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    again: bool = False  # whether there may be more to do afterwards

    @property
    def any(self) -> bool:
        """Whether there is anything to do."""
        parts = (self.notes, self.make, self.bring, self.activate, self.revoke, self.withdraw, self.remove)
        return bool(self.publish) or any(parts)


def work(steps: Sequence[Step], hosts: Sequence[Signer], described: Sequence[Domain]) -> Work:
    """The steps as what each host is to do."""
    done = Work()
    by_name = {host.name: host for host in hosts}
    of = {domain.name: domain for domain in described}
    done.again = any(_goes_on(step) for step in steps)
    for step in steps:
        _add(done, step, by_name, of[step.domain])
    for name, items in done.activate.items():
        after = _signing(by_name[name], items)
        done.signing[name] = [_fields(key, "domain", "selector", "algorithm", "path") for key in after]
        done.proof[name] = [_fields(key, "domain", "selector", "record") for key in after]
        before = _signing(by_name[name], ())
        done.current[name] = [_fields(key, "domain", "selector", "algorithm", "path") for key in before]
    return done


def _fields(key: Held, *names: str) -> dict[str, Any]:
    return {name: getattr(key, name) for name in names}


def _goes_on(step: Step) -> bool:
    """Whether a step is followed by another at once: a note on what is blocked is not."""
    return step.kind in ORDER and (step.kind != "wait" or bool(step.note))


def _add(done: Work, step: Step, hosts: Mapping[str, Signer], domain: Domain) -> None:
    item = {"domain": step.domain, "selector": step.selector}
    note: dict[str, Any] = {what: value if what == "settle" else show_time(value) for what, value in step.note}
    if step.kind in ("revoke", "withdraw", "remove"):
        for name in step.signers:
            getattr(done, step.kind).setdefault(name, []).append({**item, **note})
        return
    for name in step.holders if note else ():
        done.notes.setdefault(name, []).append({**item, **note})
    if step.kind == "generate":
        # To name it a second time says that its having been used before is known.
        more = {"selector": step.chosen, "selectors": [step.chosen]} if step.chosen else {}
        bits = {"bits": domain.bits} if domain.bits and step.algorithm == "rsa" else {}
        made = {"domain": step.domain, "algorithm": step.algorithm, **bits, **more}
        done.make.setdefault(step.signers[0], []).append(made)
    elif step.kind == "bring":
        source = hosts[step.holders[0]]
        sought = (step.source or step.domain, step.selector)
        held = next(key for key in source.keys if (key.domain, key.selector) == sought)
        listed = {**item, "algorithm": step.algorithm}
        for name in step.signers:
            # One key for all domains is brought from one of them to the others where it lies.
            brought = {**item, "listed": listed, "source": name if step.source else source.name, "path": held.path}
            done.bring.setdefault(name, []).append(brought)
    elif step.kind == "publish":
        _publish(done, step, hosts, domain)
    elif step.kind == "switch":
        for name in step.signers:
            done.activate.setdefault(name, []).append(item)
    elif step.kind == "blocked":
        where = f"{step.domain} {step.selector or step.algorithm}".strip()
        done.blocked.append(f"{where}: {step.why}")


def _publish(done: Work, step: Step, hosts: Mapping[str, Signer], domain: Domain) -> None:
    held = next(
        key
        for name in step.holders
        for key in hosts[name].keys
        if (key.domain, key.selector, key.state) == (step.domain, step.selector, step.state)
    )
    record: dict[str, Any] = {"name": domain.owner(step.selector), "type": "TXT", "ttl": domain.ttl}
    record |= {"value": held.record, "state": "present"} if held.record else {"state": "absent"}
    done.publish.append(record)
    done.attempted.append([str(record["name"]), step.state])


def _signing(host: Signer, activated: Iterable[Mapping[str, Any]]) -> list[Held]:
    """What a host signs with when the keys ``activated`` have taken the place of those they follow."""
    chosen = {(item["domain"], item["selector"]) for item in activated}
    new = [key for key in host.keys if (key.domain, key.selector) in chosen]
    replaced = {(key.domain, key.algorithm) for key in new}
    kept = [key for key in host.keys if key.state == ACTIVE and (key.domain, key.algorithm) not in replaced]
    return sorted([*kept, *new], key=lambda key: (key.domain, key.selector))


# What a person reads


def table(steps: Sequence[Step]) -> list[str]:
    """One line for each key, in columns, and a sentence for each that is blocked."""
    head = ("domain", "selector", "state", "since", "on", "next", "when")
    rows: list[tuple[str, ...]] = [head, *(_row(step) for step in steps)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(step: Step) -> tuple[str, ...]:
    following = _WAITS.get(step.state, "") if step.kind == "wait" else _NEXT[step.kind]
    now = "-" if step.kind in ("blocked", "rest", "keep") else "now"
    when = show_time(step.until) if step.until is not None else now
    on = ",".join(step.holders or step.signers)
    following = "-" if step.kind == "rest" and step.until is None else following
    return (step.domain, step.selector or step.algorithm, step.state or "-", show_time(step.since), on, following, when)
