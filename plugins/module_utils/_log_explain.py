# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan: the failures of a log in groups of one cause each, in bounded memory. Private, pure.

Lines are read as they come and not kept: of each group remain its counts, some examples and the ends of its time. What
is refused in words that nobody has foreseen is grouped by these words, without numbers, addresses and ids.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _mail_failures as mf
from ansible_collections.postmaster.mail.plugins.module_utils import _mail_log as ml
from ansible_collections.postmaster.mail.plugins.module_utils._check import visible
from ansible_collections.postmaster.mail.plugins.module_utils._mail_causes import UNKNOWN, Cause, find

FOLLOWED = 50_000  # recipients whose message waits, until it is told what became of it
GROUPS = 500  # of unknown words; what comes after is counted together
DOMAINS = 2_000  # destinations of all
DOMAINS_OF_GROUP, CODES, RELAYS, IDS, DAYS = 100, 10, 5, 5, 1_000
REPLIES = 20_000  # texts whose cause is remembered
EARLIER = "expired"  # the cause of what is given up, where the log does not hold the tries before
OTHER = "(others)"
_OTHER_ID = re.compile(rb"[\s\"]([0-9A-Za-z-]{16,40}) (?:=>|->|>>) |evpid=([0-9a-f]{16})")
_DELIVERED = re.compile(rb"^[^()]*\bstatus=sent \(|^[^()]*\bresult=\\?\"Ok\\?\" ")
_EXPIRED = re.compile(
    r"retry time(?:out)? exceeded|returned to sender|message is too old|envelope expired", re.IGNORECASE
)

Parse = Callable[[str], "ml.Line | None"]


class Bounded(Counter[str]):
    """Counts of no more than ``limit`` names; what comes after counts as ``(others)``."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def note(self, name: str) -> None:
        """Count one."""
        self[name if name in self or len(self) < self.limit else OTHER] += 1

    def top(self, number: int) -> dict[str, int]:
        """The most frequent, those of the same number by name."""
        return dict(sorted(self.items(), key=lambda item: (item[0] == OTHER, -item[1], item[0]))[:number])


@dataclass
class Group:
    """Failures of one cause. Of its lines the first and the last ``examples`` are kept."""

    name: str
    examples: int
    count: int = 0
    messages: int = 0
    delivered: int = 0
    given_up: int = 0
    waiting: int = 0
    first: datetime | None = None
    last: datetime | None = None
    reply: str = ""
    outcomes: Counter[str] = field(default_factory=Counter)
    codes: Bounded = field(default_factory=lambda: Bounded(CODES))
    domains: Bounded = field(default_factory=lambda: Bounded(DOMAINS_OF_GROUP))
    relays: dict[str, None] = field(default_factory=dict)
    ids: dict[str, None] = field(default_factory=dict)
    opening: ml.Line | None = None
    lines: deque[ml.Line] = field(init=False)

    def __post_init__(self) -> None:
        self.lines = deque(maxlen=max(0, self.examples - 1))

    def add(self, line: ml.Line, one: ml.Event, words: mf.Said, domain: str) -> None:
        """Count a failure."""
        self.count += 1
        self.outcomes[one.outcome] += 1
        if one.time:
            self.first = one.time if self.first is None else min(self.first, one.time)
            self.last = one.time if self.last is None else max(self.last, one.time)
        if code := " ".join(part for part in (words.code, words.enhanced) if part):
            self.codes.note(code)
        if domain:
            self.domains.note(domain)
        for value, kept, limit in ((one.relay, self.relays, RELAYS), (one.id, self.ids, IDS)):
            if value and len(kept) < limit:
                kept.setdefault(value)
        if self.opening is None:
            self.opening, self.reply = line, one.reply
        else:
            self.lines.append(line)


@dataclass(frozen=True)
class Wish:
    """What is asked for: recipients and domains (``@`` in front or not), all where empty; nothing before ``since``.

    ``outcomes`` are those that count; of each group ``examples`` lines are kept; ``zone`` is that of the days.
    """

    recipients: tuple[str, ...] = ()
    since: datetime | None = None
    outcomes: frozenset[str] = frozenset((ml.DEFERRED, ml.BOUNCED, mf.REFUSED, mf.ERROR))
    examples: int = 3
    zone: tzinfo | None = None

    def wants(self, recipient: str, domain: str) -> bool:
        """Whether a recipient is asked for."""
        return not self.recipients or recipient.lower() in self.recipients or domain in self.recipients


class Explainer:
    """Takes lines, keeps groups."""

    def __init__(self, catalogue: Mapping[str, Cause], wish: Wish) -> None:
        self._catalogue, self._wish = catalogue, wish
        self._known: dict[str, tuple[str, str]] = {}
        self._open: dict[str, dict[str, str]] = {}
        self._followed = 0
        self.groups: dict[str, Group] = {}
        self.domains: dict[str, Counter[str]] = {}
        self.days: dict[str, Counter[str]] = {}
        self.lines = self.failures = self.old = 0
        self.first: datetime | None = None
        self.last: datetime | None = None

    # --- lines -------------------------------------------------------------------------------

    def read(self, groups: Iterable[Sequence[bytes]], parse: Parse) -> None:
        """Take lines as they lie in a file, many at a time. Most tell of nothing that failed, and are only counted."""
        for raws in groups:
            self.lines += len(raws)
            text = b"\n".join(raws)
            marks = [mark for mark in mf.MARKS if mark in text]  # few of them are, and none need be sought in each line
            for raw in raws:
                self._look(raw, marks, parse)

    def _look(self, raw: bytes, marks: Sequence[bytes], parse: Parse) -> None:
        if b"status=" in raw or b"result=" in raw:
            if _DELIVERED.search(raw):
                self._end(raw, parse)
                return
        else:
            for mark in marks:
                if mark in raw:
                    break
            else:
                if b" => " in raw or b" -> " in raw:
                    self._end(raw, parse)
                return
        line = parse(raw.decode("utf-8", "replace"))
        if line is not None:
            self.take(line)

    def _end(self, raw: bytes, parse: Parse) -> None:
        """What became of a message that waited."""
        if not self._followed:
            return
        end = raw.find(b": to=<")  # Postfix's; the most frequent line of all
        if end > 0:
            number = raw[raw.rfind(b" ", 0, end) + 1 : end].rpartition(b'"')[2]
        else:
            found = _OTHER_ID.search(raw)
            number = found[found.lastindex or 0] if found else b""
        if number.decode("latin-1") not in self._open:
            return
        line = parse(raw.decode("utf-8", "replace"))
        one = ml.event(line) if line else None
        if one and one.outcome == ml.DELIVERED and (group := self._let_go(one.id, one.recipient)):
            group.delivered += 1

    def take(self, line: ml.Line, *, reply: bool = False) -> None:
        """Count the failure that a line tells of, if it does; one that is no line of a log may be a ``reply``."""
        one = mf.failure(line)
        if one is None and reply:
            one = ml.Event(line.time, "", mf.said(line.text).outcome, "", "", line.text)
        if one is None:
            return
        if self._wish.since and one.time and one.time < self._wish.since:
            self.old += 1
            return
        domain = one.recipient.rpartition("@")[2].lower().rstrip(".>")
        if one.outcome == ml.BOUNCED and _EXPIRED.search(one.reply) and self._give_up(one):
            return
        if one.outcome in self._wish.outcomes and self._wish.wants(one.recipient, domain):
            self._count(line, one, domain)

    def _count(self, line: ml.Line, one: ml.Event, domain: str) -> None:
        words = mf.said(one.reply)
        name, key = self._cause(words)
        if name == UNKNOWN and one.outcome == mf.ERROR and not one.reply.startswith(("fatal: ", "panic: ")):
            return  # a warning that nobody knows is no reason why mail does not arrive
        group = self.groups.get(key)
        if group is None:
            if len(self.groups) >= GROUPS + len(self._catalogue) and name == UNKNOWN:
                key = UNKNOWN
            group = self.groups.setdefault(key, Group(name, self._wish.examples))
        group.add(line, one, words, domain)
        self._note(one, domain, name)
        if one.outcome == ml.DEFERRED:
            self._follow(one, group, key)
        else:
            group.messages += one.outcome != mf.ERROR
            if one.outcome == ml.BOUNCED:
                self._let_go(one.id, one.recipient)

    def _cause(self, words: mf.Said) -> tuple[str, str]:
        """The cause of a reply, and the key of its group."""
        alike = words.alike
        known = self._known.get(alike)
        if known is None:
            name = find(str(words), self._catalogue)
            known = name, name if name != UNKNOWN else f"{UNKNOWN} {words.bare[:200]}"
            if len(self._known) >= REPLIES:
                self._known.clear()
            self._known[alike] = known
        return known

    def _note(self, one: ml.Event, domain: str, name: str) -> None:
        self.failures += 1
        if domain:
            place = domain if domain in self.domains or len(self.domains) < DOMAINS else OTHER
            self.domains.setdefault(place, Counter())[name] += 1
        if one.time:
            self.first = one.time if self.first is None else min(self.first, one.time)
            self.last = one.time if self.last is None else max(self.last, one.time)
            day = (
                one.time.astimezone(self._wish.zone).strftime("%Y-%m-%d") if self._wish.zone else f"{one.time:%Y-%m-%d}"
            )
            place = day if day in self.days or len(self.days) < DAYS else OTHER
            self.days.setdefault(place, Counter())[name] += 1

    # --- messages ----------------------------------------------------------------------------

    def _follow(self, one: ml.Event, group: Group, key: str) -> None:
        waits = self._open.setdefault(one.id, {})
        before = waits.get(one.recipient)
        if before != key:
            if before is None:
                self._followed += 1
            else:
                self.groups[before].waiting -= 1
            waits[one.recipient] = key
            group.messages += 1
            group.waiting += 1
        while self._followed > FOLLOWED:  # those that came first are the likeliest to be gone
            for forgotten in self._open.pop(next(iter(self._open))).values():
                self._followed -= 1
                self.groups[forgotten].waiting -= 1

    def _let_go(self, number: str, recipient: str) -> Group | None:
        """The group that a message waited in, which no longer waits."""
        waits = self._open.get(number)
        key = waits.pop(recipient, None) if waits is not None else None
        if key is None:
            return None
        self._followed -= 1
        if not waits:
            del self._open[number]
        self.groups[key].waiting -= 1
        return self.groups[key]

    def _give_up(self, one: ml.Event) -> bool:
        """Whether it is known why a message that is given up was not delivered; it counts there."""
        recipients = [one.recipient] if one.recipient else list(self._open.get(one.id, ()))
        groups = [group for recipient in recipients if (group := self._let_go(one.id, recipient))]
        for group in groups:
            group.given_up += 1
        return bool(groups)

    # --- what is told ------------------------------------------------------------------------

    def report(self, limit: int) -> Report:
        """What was found; of groups and destinations the ``limit`` most frequent."""
        ordered = sorted(self.groups.values(), key=lambda one: (-one.count, one.name, one.reply))
        destinations = sorted(self.domains.items(), key=lambda item: (item[0] == OTHER, -item[1].total(), item[0]))
        return Report(self, self._catalogue, self._wish.zone, tuple(ordered[:limit]), tuple(destinations[:limit]))


@dataclass(frozen=True)
class Report:
    """The groups, the destinations and the days, as plain values and as lines for people."""

    seen: Explainer
    catalogue: Mapping[str, Cause]
    zone: tzinfo | None
    groups: Sequence[Group]
    destinations: Sequence[tuple[str, Counter[str]]]

    def as_dict(self) -> dict[str, Any]:
        """The shape that a module returns."""
        return {
            "groups": [self._group(one) for one in self.groups],
            "destinations": [
                {"domain": visible(domain), "count": causes.total(), "causes": _ranked(causes)}
                for domain, causes in self.destinations
            ],
            "days": [
                {"day": day, "count": causes.total(), "causes": _ranked(causes)}
                for day, causes in sorted(self.seen.days.items())
            ],
            "lines": self.seen.lines,
            "failures": self.seen.failures,
            "older": self.seen.old,
            "more_groups": len(self.seen.groups) - len(self.groups),
        }

    def _cause(self, name: str) -> Cause:
        return self.catalogue.get(name, _NOT_KNOWN)

    def _group(self, one: Group) -> dict[str, Any]:
        cause = self._cause(one.name)
        kept = [line for line in (one.opening, *one.lines) if line is not None]
        return {
            "cause": one.name,
            "kind": cause.kind,
            "by": cause.by,
            "title": cause.title,
            "mend": cause.mend,
            "page": cause.page,
            "reply": _shown(one.reply),
            "count": one.count,
            "messages": one.messages,
            "delivered": one.delivered,
            "given_up": one.given_up,
            "waiting": one.waiting,
            "outcomes": dict(sorted(one.outcomes.items())),
            "codes": one.codes.top(CODES),
            "first": self._moment(one.first),
            "last": self._moment(one.last),
            "domains": {visible(name): number for name, number in one.domains.top(10).items()},
            "relays": [visible(name) for name in one.relays],
            "queue_ids": list(one.ids),
            "lines": [_shown(str(line)) for line in kept],
        }

    def _moment(self, moment: datetime | None) -> str:
        return moment.astimezone(self.zone).isoformat(timespec="seconds") if moment else ""

    def table(self, title: str) -> list[str]:
        """All of it as lines for people."""
        made = [f"{title}: {self._summary()}"]
        for one in self.groups:
            made += ["", *self._rows(self._group(one))]
        if more := len(self.seen.groups) - len(self.groups):
            made += ["", f"{more} more groups of fewer failures are not shown: raise limit"]
        made += _counts("By destination", [(visible(name), causes) for name, causes in self.destinations])
        made += _counts("By day", sorted(self.seen.days.items()))
        return made

    def _summary(self) -> str:
        seen = self.seen
        old = f", {seen.old} older ones left out" if seen.old else ""
        lines = _some(seen.lines, "line")
        if not seen.failures:
            return f"{lines}, no failures{old}"
        times = f" from {_minute(self._moment(seen.first))} to {_minute(self._moment(seen.last))}" if seen.first else ""
        return f"{lines}, {_some(seen.failures, 'failure')} in {_some(len(seen.groups), 'group')}{times}{old}"

    @staticmethod
    def _rows(one: Mapping[str, Any]) -> list[str]:
        by = f" ({one['by']})" if one["by"] else ""
        outcomes = ", ".join(f"{number} {name}" for name, number in one["outcomes"].items())
        fate = [f"{one[name]} {word}" for name, word in _FATES if one[name]]
        messages = f"; {_some(one['messages'], 'message')}" if one["messages"] else ""
        rows = [
            f"{one['count']:>7} x {one['cause']}{by}: {one['title']}",
            "          " + ", ".join([outcomes + messages, *fate]),
        ]
        if one["first"]:
            rows.append(f"          from {_minute(one['first'])} to {_minute(one['last'])}")
        if one["domains"]:
            rows.append("          to " + ", ".join(f"{name} ({number})" for name, number in one["domains"].items()))
        if one["queue_ids"]:
            rows.append(f"          ids {', '.join(one['queue_ids'])}")
        rows.append(f"          said: {one['reply']}")
        rows.append(f"          -> {one['mend']}")
        if one["page"]:
            rows.append(f"          -> {one['page']}")
        return rows


_FATES = (("delivered", "delivered later"), ("given_up", "given up"), ("waiting", "still wait"))
_NOT_KNOWN = Cause(
    "",
    "refused in words that no cause is known for",
    "read what was said; give it a cause of your own with the option causes",
    (),
)


def _some(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _shown(text: str) -> str:
    return visible(ml.redact(text), 1000)


def _ranked(causes: Counter[str]) -> dict[str, int]:
    return dict(sorted(causes.items(), key=lambda item: (-item[1], item[0])))


def _minute(moment: str) -> str:
    return moment[:16].replace("T", " ")


def _counts(title: str, rows: Sequence[tuple[str, Counter[str]]]) -> list[str]:
    if not rows:
        return []
    width = max(len(name) for name, dummy in rows)
    shown = [
        f"{causes.total():>7}  {name:<{width}}  "
        + ", ".join(f"{cause} {count}" for cause, count in _ranked(causes).items())
        for name, causes in rows
    ]
    return ["", title, *shown]
