# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scores one message with what DNS says of its sender; nothing else of the world is asked. Private."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from ansible_collections.postmaster.mail.plugins.module_utils._check import CheckError
from ansible_collections.postmaster.mail.plugins.module_utils._check_mail import MESSAGE_LIMIT, Mail
from ansible_collections.postmaster.mail.plugins.module_utils._check_run import Collector, domain_names
from ansible_collections.postmaster.mail.plugins.module_utils._check_view import Dns, Options, Outbound, Pending, View
from ansible_collections.postmaster.mail.plugins.module_utils._score import ROWS, Judged, Loss, Row, Score, judge

QUESTION_LIMIT = 1000  # that one row may ask; a sound message takes some 30 in all


async def score(mail: Mail, collector: Collector, options: Options, *, timeout: float = 60) -> Score:
    """All rows of ``mail``. Raises :class:`CheckError` where it does not tell its author."""
    if len(mail.raw) > MESSAGE_LIMIT:
        raise CheckError(f"{mail.path} is longer than {MESSAGE_LIMIT} octets")
    if not mail.from_domain:
        raise CheckError(f"{mail.path} has no From with one address: give a message as its receiver stored it")
    (domain,) = domain_names([mail.from_domain])
    outbound = (Outbound(mail.client, mail.helo),) if mail.client else ()
    options = replace(options, mail=mail, outbound=outbound)
    rows: Sequence[Judged] = await asyncio.gather(*(_row(row, domain, collector, options, timeout) for row in ROWS))
    return Score(domain.rstrip("."), tuple(rows))


async def _row(row: Row, domain: str, collector: Collector, options: Options, timeout: float) -> Judged:
    try:
        async with asyncio.timeout(timeout):
            return await _settle(row, domain, collector, options)
    except TimeoutError:
        loss = Loss(0, f"not answered within {timeout:g} seconds", "raise timeout, or name another resolver")
        return Judged(row, (loss,))


async def _settle(row: Row, domain: str, collector: Collector, options: Options) -> Judged:
    """The row, judged again until nothing is pending."""
    asked = 0
    while True:
        try:
            return judge(row, View(domain, collector.facts, options))
        except Pending as pending:
            # Rows of other checks talk to servers; none of these does.
            asked += len(pending.questions)
            if asked > QUESTION_LIMIT or not all(isinstance(one, Dns) for one in pending.questions):
                return Judged(row, (Loss(0, "it takes too many questions", "look at the sender's records by hand"),))
            await collector.ask(pending.questions)
