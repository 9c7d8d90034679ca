# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the logs that were asked for, and has their failures explained. Private."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ansible_collections.postmaster.mail.plugins.module_utils._log_client import LogError, LogHost, given
from ansible_collections.postmaster.mail.plugins.module_utils._log_explain import Explainer, Report, Wish
from ansible_collections.postmaster.mail.plugins.module_utils._mail_causes import CATALOGUE, own_causes

DAYS = 7  # of the logs that are found


class ExplainError(ValueError):
    """The request makes no sense; the message names the item and the remedy."""


@dataclass(frozen=True)
class Request:
    """What a person may say. ``days`` of log count, 0 for all, None for a week of what is found, all of what is named.

    ``journal`` None reads it where there is no file that tells the same. ``text`` is read instead of all logs.
    """

    paths: tuple[str, ...] = ()
    journal: bool | None = None
    text: str = ""
    days: float | None = None
    recipients: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    causes: tuple[Mapping[str, str], ...] = ()
    examples: int = 3
    limit: int = 30

    def since(self, now: datetime) -> datetime | None:
        """The beginning of the time that counts."""
        days = self.days if self.days is not None else 0 if self.paths or self.text else DAYS
        return now - timedelta(days=days) if days else None


def validate(request: Request) -> None:
    """Raises :class:`ExplainError` for the first thing that makes no sense."""
    for name, low in (("examples", 1), ("limit", 1)):
        if not low <= getattr(request, name) <= 1000:
            raise ExplainError(f"{name}: {getattr(request, name)} is out of range: give {low} to 1000")
    if request.days is not None and not 0 <= request.days <= 36_500:
        raise ExplainError(f"days: {request.days:g} is out of range: give a number of days, or 0 for all")
    for name in request.recipients:
        if not name or any(char.isspace() for char in name) or name.count("@") > 1:
            raise ExplainError(f"recipients: {name!r} is neither an address nor a domain such as example.org")
    if request.text and (request.paths or request.journal):
        raise ExplainError("text: is read instead of logs: leave out paths and journal")


@dataclass(frozen=True)
class Explained:
    """The report, and what was read for it and what could not be."""

    report: Report
    sources: tuple[str, ...]
    unseen: tuple[str, ...]

    def table(self, host: str) -> list[str]:
        """All of it as lines for people."""
        title = f"{host}: {', '.join(self.sources)}" if self.sources else host
        return [*self.report.table(title), *(f"not seen: {one}" for one in self.unseen), ""]


def explain(request: Request, host: LogHost) -> Explained:
    """Read and explain. Raises :class:`ExplainError`, :class:`CauseError`, and :class:`LogError` for what was named."""
    validate(request)
    now = host.now()
    since = request.since(now)
    wish = Wish(
        tuple(name.lower().rstrip(".").removeprefix("@") for name in request.recipients),
        since,
        frozenset(request.outcomes) if request.outcomes else Wish().outcomes,
        request.examples,
        now.tzinfo,
    )
    explainer = Explainer({**own_causes(request.causes), **CATALOGUE}, wish)
    if request.text:
        for line in given(request.text, now):
            explainer.lines += 1
            explainer.take(line, reply=True)
        return Explained(explainer.report(request.limit), ("text",), ())
    unseen = _read(request, host, since, explainer)
    return Explained(explainer.report(request.limit), tuple(host.sources), tuple(unseen))


def _read(request: Request, host: LogHost, since: datetime | None, explainer: Explainer) -> Sequence[str]:
    """What was named must be there; of what is found it is told what cannot be read."""
    for path in host.named(request.paths):
        host.read_file(path, explainer)
    if request.journal:
        host.read_journal(since, explainer)
    if request.paths or request.journal:
        return ()
    unseen = []
    for path in host.find(since):
        try:
            host.read_file(path, explainer)
        except LogError as err:
            unseen.append(str(err))
    if request.journal is None and not host.has_syslog():
        try:
            host.read_journal(since, explainer)
        except LogError as err:
            unseen.append(str(err))
    if not host.sources and not unseen:
        unseen.append("there is neither a journal nor a file such as /var/log/mail.log: name the files with paths")
    return unseen
