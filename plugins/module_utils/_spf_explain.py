# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure: why SPF passes or fails an address: every term that was tried, as values and as lines for people. Private.

Section numbers are of RFC 7208. The evaluation is that of ``check_host``, one term at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any, TypeVar

from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsTimeout, Resolver
from ansible_collections.postmaster.mail.plugins.module_utils._spf_check import (
    Check,
    Evaluated,
    Hit,
    SpfResult,
    Stop,
    Target,
    step_of,
)
from ansible_collections.postmaster.mail.plugins.module_utils._spf_record import (
    LOOKUP_LIMIT,
    VOID_LIMIT,
    Directive,
    parse,
)

Result = TypeVar("Result")

SHOWN = 8  # answers of one question that a line shows
RUN = 4  # so many networks in a row without a match, or more, are one line


@dataclass
class Question:
    """What DNS was asked, and its answers; None where it gave none in time."""

    name: str
    type: str
    answers: list[str] | None


@dataclass
class Tried:
    """One term that was tried.

    ``outcome`` is ``match``, ``no match``, ``temperror`` or ``permerror``, for a redirect the result of its target;
    ``lookups`` and ``voids`` are those of the whole evaluation up to here (section 4.6.4). ``path`` is what happened
    at the target of an include or redirect.
    """

    term: str
    outcome: str = "no match"
    reason: str = ""
    lookups: int = 0
    voids: int = 0
    questions: list[Question] = field(default_factory=list)
    path: Path | None = None


@dataclass
class Path:
    """What happened at one domain: its record, sound or not (None where it has no single one), and the terms tried."""

    domain: str
    record: str | None = None
    tried: list[Tried] = field(default_factory=list)
    result: str = "none"


@dataclass
class Explanation:
    """The verdict and the path to it.

    ``reason`` says why a ``none``, ``temperror`` or ``permerror`` is one, ``fault`` the kind of the errors among them:
    ``unanswered``, ``lookups``, ``voids`` or ``broken_target``.
    """

    ip: str
    sender: str
    helo: str
    result: SpfResult
    reason: str = ""
    path: Path | None = None
    fault: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The same for modules to return."""
        return {
            "ip": self.ip,
            "sender": self.sender,
            "helo": self.helo,
            **self.result._asdict(),
            "reason": self.reason,
            "path": _path_dict(self.path) if self.path is not None else None,
        }

    def lines(self) -> list[str]:
        """Text for people, one line for each term, indented by include."""
        who = self.sender or f"postmaster@{self.helo}"
        lines = [f"{self.ip} sends as {who}"]
        if self.path is not None:
            lines += _path_lines(self.path, "")
        found = self.result
        decided = f" by {found.term}" if found.term else ""
        reason = f": {self.reason}" if self.reason else ""
        counted = f"{found.lookups} of {LOOKUP_LIMIT} lookups, {found.voids} of {VOID_LIMIT} without an answer"
        lines.append(f"{found.result}{decided}{reason} ({counted})")
        if found.explanation:
            lines.append(f"the domain says: {found.explanation}")
        return [_visible(line) for line in lines]


def explain(
    *,
    ip: str | IPv4Address | IPv6Address,
    sender: str,
    helo: str,
    resolver: Resolver,
    receiver: str = "unknown",
    void_limit: int = VOID_LIMIT,
) -> Explanation:
    """Why :func:`check_host` says what it says; the arguments and the result are the same."""
    check = _Watched(ip, sender, helo, resolver.query, receiver)
    check.void_limit = void_limit
    told = Explanation(check.text, sender, helo, SpfResult("none"))
    if check.domain is None:
        told.reason = "the domain is malformed, or not below a top-level domain (section 4.3)"
        return told
    try:
        result, term, program, domain = check.evaluate(check.domain)
        says = check.explanation(program.exp, domain) if result == "fail" and program and program.exp else ""
        told.result = SpfResult(result, says, term, check.lookups, check.voids)
        if result == "none":
            told.reason = f"{check.domain} has no SPF record (section 4.5)"
    except Stop as stop:
        told.result = SpfResult(stop.result, "", stop.term, check.lookups, check.voids)
        told.reason, told.fault = stop.rule, stop.fault
    told.path = check.path
    return told


class _Watched(Check):
    """An evaluation that notes every term and question. Answers are kept, so that nothing is asked twice."""

    __slots__ = ("current", "kept", "path", "resolve")

    def __init__(
        self, ip: object, sender: str, helo: str, query: Callable[[str, str], list[str]], receiver: str
    ) -> None:
        super().__init__(ip, sender, helo, self.note, receiver)
        self.resolve = query
        self.kept: dict[tuple[str, str], list[str] | None] = {}
        self.current: Tried | None = None
        self.path: Path | None = None

    def note(self, name: str, rdtype: str) -> list[str]:
        """Ask, and note the question at the term that asks."""
        if (name, rdtype) not in self.kept:
            try:
                self.kept[name, rdtype] = self.resolve(name, rdtype)
            except DnsTimeout:
                self.kept[name, rdtype] = None
        answers = self.kept[name, rdtype]
        if self.current is not None:
            self.current.questions.append(Question(name, rdtype, answers))
        if answers is None:
            raise DnsTimeout(f"no answer for {name} {rdtype}")
        return answers

    def evaluate(self, domain: str, term: str = "") -> Evaluated:
        path = Path(domain)
        if self.current is not None:
            self.current.path = path
        elif self.path is None:
            self.path = path
        try:
            found = self._walk(path, term)
            path.result = found[0]
            return found
        except Stop as stop:
            path.result = stop.result
            raise

    def _walk(self, path: Path, term: str) -> Evaluated:
        texts = self.texts(path.domain, term)
        path.record = texts[0] if len(texts) == 1 else None
        found = self.single(texts, path.domain, term)
        if found is None:
            return "none", "", None, path.domain
        for item in parse(found.text).reached:
            hit = self._try(path, item)
            if hit is not None:
                return hit[0], hit[1], found, path.domain
        if found.redirect is None:
            return "neutral", "", found, path.domain
        return self._redirect(path, found.redirect)

    def _try(self, path: Path, item: Directive) -> Hit | None:
        step = step_of(item, self.six)
        return self._noted(path, item.text, lambda: step.run(self, step, path.domain), _matched)

    def _redirect(self, path: Path, target: Target) -> Evaluated:
        def go() -> Evaluated:
            name, dummy = self.redirected(target, path.domain)
            return self.evaluate(name, target.text)

        return self._noted(path, target.text, go, lambda found: found[0])

    def _noted(self, path: Path, term: str, run: Callable[[], Result], outcome: Callable[[Result], str]) -> Result:
        """Run one term, and note under its name what came of it."""
        outer, self.current = self.current, Tried(term)
        tried = self.current
        path.tried.append(tried)
        try:
            result = run()
            tried.outcome = outcome(result)
            return result
        except Stop as stop:
            tried.outcome, tried.reason = stop.result, stop.rule
            raise
        finally:
            tried.lookups, tried.voids = self.lookups, self.voids
            self.current = outer


def _matched(hit: Hit | None) -> str:
    return "no match" if hit is None else "match"


# -- telling ------------------------------------------------------------------------------------


def _path_dict(path: Path) -> dict[str, Any]:
    return {
        "domain": path.domain,
        "record": path.record,
        "result": path.result,
        "tried": [
            {
                "term": tried.term,
                "outcome": tried.outcome,
                "reason": tried.reason,
                "lookups": tried.lookups,
                "voids": tried.voids,
                "questions": [vars(question) for question in tried.questions],
                "path": _path_dict(tried.path) if tried.path is not None else None,
            }
            for tried in path.tried
        ],
    }


def _path_lines(path: Path, indent: str) -> Iterator[str]:
    yield f"{indent}{path.domain}: {path.record or 'not one SPF record'}"
    for run in _runs(path.tried):
        if len(run) >= RUN:
            yield f"{indent}  {run[0].term} to {run[-1].term}, {len(run)} networks: no match"
            continue
        for tried in run:
            so = f", so {path.result}" if tried.outcome == "match" else ""
            yield f"{indent}  {tried.term}: {tried.outcome}{so}{_details(tried)}"
            if tried.path is not None:
                yield from _path_lines(tried.path, indent + "    ")


def _runs(every: list[Tried]) -> Iterator[list[Tried]]:
    """Neighbouring networks without a match together, everything else alone."""
    run: list[Tried] = []
    for tried in every:
        if tried.term.lstrip("+-~?")[:3].lower() in ("ip4", "ip6") and tried.outcome == "no match":
            run.append(tried)
            continue
        if run:
            yield run
            run = []
        yield [tried]
    if run:
        yield run


def _details(tried: Tried) -> str:
    """The answers and the count of lookups of a term that asked DNS."""
    said = [f", {one.name} {one.type} is {_answers(one)}" for one in tried.questions if one.type != "TXT"]
    reason = f", {tried.reason}" if tried.reason and tried.path is None else ""
    count = f" (lookup {tried.lookups}, {tried.voids} void)" if tried.questions and tried.path is None else ""
    return "".join(said[:SHOWN]) + reason + count


def _answers(question: Question) -> str:
    if question.answers is None:
        return "not answered"
    more = len(question.answers) - SHOWN
    return (", ".join(question.answers[:SHOWN]) or "empty") + (f" and {more} more" if more > 0 else "")


def _visible(line: str) -> str:
    """Whatever DNS or a client said, a line stays one line of ASCII."""
    if line.isascii() and line.isprintable():
        return line
    return "".join(c if " " <= c <= "~" else ascii(c)[1:-1] for c in line)
