# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs all rows of the mail check on many domains at once, and tells faults from changes under way. Private.

Each row runs as often as it waits for answers; the collector behind it asks every question once. What a row looked
at in the domain's own zone is then asked of every name server there. Where one of them says something else than the
resolver, the row is judged as that server sees it, too: what only some see is propagating.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from ansible_collections.postmaster.mail.plugins.module_utils import (
    _check_dkim,
    _check_dmarc,
    _check_dns,
    _check_host,
    _check_message,
    _check_mx,
    _check_spf,
    _check_tls,
)
from ansible_collections.postmaster.mail.plugins.module_utils._check import (
    BY_ID,
    PROPAGATING,
    ROWS,
    UNKNOWN,
    WRONG,
    CheckError,
    Finding,
    Found,
    Report,
    settled,
    unknown,
)
from ansible_collections.postmaster.mail.plugins.module_utils._check_view import (
    Answer,
    Dns,
    DnsAnswer,
    Options,
    Pending,
    Question,
    Server,
    View,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DomainError, check_name, is_under

Judge = Callable[[View], Iterator[Found]]

JUDGES: Mapping[str, Judge] = {
    **_check_host.ROWS,
    **_check_mx.ROWS,
    **_check_spf.ROWS,
    **_check_dkim.ROWS,
    **_check_dmarc.ROWS,
    **_check_message.ROWS,
    **_check_tls.ROWS,
    **_check_dns.ROWS,
}
DOMAIN_LIMIT = 1000
QUESTION_LIMIT = 3000  # for one domain; a large one with four name servers takes some 300
COMMON = ("", "_dmarc", "_mta-sts", "_smtp._tls")  # names with TXT records that most rows look at
# These rows compare the servers themselves, or look at things that no name server of the domain tells.
ONE_VIEW = frozenset(("dns.consistency", "dnssec"))


class Collector(Protocol):
    """Answers questions, and keeps the answers."""

    @property
    def facts(self) -> Mapping[Question, Answer]:
        """Those that are known."""

    async def ask(self, questions: Iterable[Question]) -> None:
        """Come back when each of ``questions`` has its answer in ``facts``. Never raises."""


def domain_names(names: Iterable[str]) -> list[str]:
    """The domains to check, absolute and each once. Raises :class:`CheckError`."""
    found = []
    for name in names:
        text = name.strip()
        if not text.isascii():
            try:
                text = text.encode("idna").decode("ascii")
            except UnicodeError as err:
                raise CheckError(f"{name!r} is no domain name: write it in its xn-- form") from err
        try:
            found.append(check_name(text, what="domain"))
        except DomainError as err:
            raise CheckError(str(err)) from err
        if "." not in found[-1].rstrip(".") or found[-1].startswith("*"):
            raise CheckError(f"{name!r} is no mail domain: write a name such as example.org")
    if not found:
        raise CheckError("no domain is named: give domains: [example.org]")
    if len(set(found)) > DOMAIN_LIMIT:
        raise CheckError(f"{len(set(found))} domains are too many for one call: give {DOMAIN_LIMIT} at most")
    return list(dict.fromkeys(found))


async def check(
    domains: Iterable[str],
    collector: Collector,
    options: Options,
    *,
    ignore: Iterable[str] = (),
    timeout: float = 300,
) -> Report:
    """All rows of all ``domains`` but those that ``ignore`` names, within ``timeout`` seconds.

    Raises :class:`CheckError` for a request that makes no sense.
    """
    names = domain_names(domains)
    left_out = frozenset(ignore)
    for row in left_out - set(BY_ID):
        raise CheckError(f"ignore names {row!r}, which is no check; see the table in the guide on checks")
    rows = [row.id for row in ROWS if row.id not in left_out]
    runs = [_Domain(name, rows, collector, options) for name in names]
    done, late = await asyncio.wait([asyncio.ensure_future(run.judge()) for run in runs], timeout=timeout)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late)
    for task in done:
        task.result()
    why = unknown(f"not answered within the {timeout:g} seconds for all", "raise timeout, or check fewer domains")
    found = [
        Finding.of(BY_ID[row], run.domain.rstrip("."), one)
        for run in runs
        for row in rows
        for one in run.found.get(row, [why])
    ]
    return Report(tuple(name.rstrip(".") for name in names), tuple(found), left_out)


class _Domain:
    """One domain while it is judged: what the resolver's view and each server's have in common for all rows."""

    def __init__(self, domain: str, rows: Sequence[str], collector: Collector, options: Options) -> None:
        self.domain = domain
        self.found: dict[str, list[Found]] = {}
        self._rows = rows
        self._collector = collector
        self._options = options
        self._asked = 0
        self._servers: list[Server] = []
        self._odd: dict[tuple[str, str], frozenset[Server]] = {}  # by name and type, who differs from the resolver
        self._resolved: dict[str, tuple[list[Found], View]] = {}  # by row, what it finds by the resolver's word
        self._memos: dict[Server | None, dict[str, tuple[object, frozenset[tuple[str, str]]]]] = {}

    def _view(self, server: Server | None = None) -> View:
        return View(self.domain, self._collector.facts, self._options, server, memo=self._memos.setdefault(server, {}))

    async def judge(self) -> None:
        """Judge all rows, each again whenever what it waits for is answered; what they find is in ``found``."""
        await self._prepare()
        waiting = list(self._rows)
        while waiting:
            missing: set[Question] = set()
            still = []
            for row in waiting:
                try:
                    self.found[row] = self._row(row)
                except Pending as pending:
                    missing |= pending.questions
                    still.append(row)
            waiting = still
            # A session takes long, and most rows wait for DNS alone.
            questions = {question for question in missing if isinstance(question, Dns)} or missing
            if waiting and not await self._ask(questions):
                why = unknown(f"it takes more than {QUESTION_LIMIT} questions", "look at its records by hand")
                self.found |= {row: [why] for row in waiting}
                return

    async def _ask(self, questions: Collection[Question]) -> bool:
        """Get answers; False where a domain wants too many, which only a hostile one does."""
        self._asked += len(questions)
        if self._asked > QUESTION_LIMIT:
            return False
        await self._collector.ask(questions)
        return True

    async def _prepare(self) -> None:
        """Have what nearly every row looks at answered before the first runs, which else waits for each by itself."""
        selectors = [f"{selector}._domainkey" for selector in self._options.selectors]
        names = [f"{label}.{self.domain}".lstrip(".") for label in (*COMMON, *selectors)]
        keys = [(name, "TXT") for name in names] + [(self.domain, "MX")]
        view = self._view()
        while True:
            try:
                steps: list[Callable[[], object]] = [lambda: view.prefetch(keys), lambda: view.voices]
                view.each(lambda step: step(), steps)
                view.all([Dns(*key, server.address) for server in view.voices for key in keys])
                self._servers = view.voices
                return
            except Pending as pending:
                if not await self._ask(pending.questions):
                    return

    def _row(self, row: str) -> list[Found]:
        """What the row finds, in all views. Raises :class:`Pending`."""
        if row not in self._resolved:
            view = self._view()
            self._resolved[row] = list(settled(JUDGES[row](view))), view
        found, view = self._resolved[row]
        if row in ONE_VIEW:
            return found
        told = [list(settled(JUDGES[row](self._view(server)))) for server in self._dissenters(view)]
        return merge([found, *told])

    def _dissenters(self, view: View) -> list[Server]:
        """The name servers that say something else than the resolver of what ``view`` looked at, one of each kind."""
        new = [key for key in view.used if key not in self._odd]
        inside = [key for key in new if is_under(key[0], view.zone)] if self._servers else []
        view.all([Dns(*key, server.address) for key in inside for server in self._servers])
        self._odd |= {key: frozenset() for key in new}
        for key in inside:
            self._odd[key] = frozenset(server for server in self._servers if self._differs(server, key))
        odd = {server for key in view.used for server in self._odd[key]}
        return [server for server in self._servers if server in odd]

    def _differs(self, server: Server, key: tuple[str, str]) -> bool:
        answer, seen = self._collector.facts[Dns(*key, server.address)], self._collector.facts[Dns(*key)]
        if not isinstance(answer, DnsAnswer) or not isinstance(seen, DnsAnswer):
            return False
        if not answer.usable or not answer.authoritative or answer.referral or answer.same(seen):
            return False
        # A server tells the first part of a chain of aliases only, where the rest lies in other zones.
        return not (answer.chain and not answer.values and answer.chain == seen.chain[: len(answer.chain)])


def _subject(found: Found) -> tuple[str, str]:
    return found.subject, found.remedy


def merge(views: list[list[Found]]) -> list[Found]:
    """One list out of those of several views: what not all of them have is propagating."""
    # Where one view can be judged, another that cannot has nothing to add.
    views = [found for found in views if not found or any(item.verdict != UNKNOWN for item in found)] or views[:1]
    if len(views) == 1:
        return views[0]
    known: dict[tuple[str, str], Found] = {}
    counts: dict[tuple[str, str], int] = {}
    for found in views:
        for key, one in {_subject(item): item for item in found}.items():
            known.setdefault(key, one)
            counts[key] = counts.get(key, 0) + 1
    some_are_content = any(all(item.verdict != WRONG for item in found) for found in views)
    merged = []
    for key, one in known.items():
        partial = counts[key] < len(views)
        if partial and one.verdict == WRONG and some_are_content:
            one = replace(one, verdict=PROPAGATING, seen=f"only some servers say so: {one.seen}")
        if not (partial and one.verdict == UNKNOWN):
            merged.append(one)
    return merged
