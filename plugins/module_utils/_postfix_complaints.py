# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Postfix's programs say, made into sentences that name the parameter. Pure, private."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ansible_collections.postmaster.mail.plugins.module_utils import _postfix, _postfix_plan

PROBLEM_LIMIT = 8
"""More complaints than this help nobody."""

_LACKING = re.compile(r"No such file or directory|unsupported dictionary type|has no program")
_TROUBLE = re.compile(r"\b(warning|error|fatal|panic):")
_LOG_HEAD = re.compile(r"\A\w{3} [ \d]\d [\d:]{8} \S+ ([^\s\[]+)\[\d+\]: ")
_ENVIRONMENT = re.compile(
    r"connect to Milter service .*(Connection refused|No such file|timed out|unreachable)"
    r"|bounce: warning: malformed request"
    r"|NIS domain name not set"
    r"|inet_protocols: disabling IPv[46] name/address support"
    r"|warning: process \S+ pid \d+ exit status"
    r"|warning: \S+: bad command startup -- throttling"
)
"""What says nothing about the configuration: signers that are not up yet, and echoes of our own doing."""


def complaints(text: str) -> list[str]:
    """The lines of ``text`` that are warnings or worse, without time and process number."""
    lines = (_LOG_HEAD.sub(r"\1: ", line.strip()) for line in text.splitlines())
    return [line for line in lines if _TROUBLE.search(line) and not _ENVIRONMENT.search(line)]


_PLACE = re.compile(r" \[(main|master)\.cf .*\]\Z")


def explain(problem: str, plan: _postfix_plan.Plan) -> str:
    """``problem`` with the parameter and the line of the file it is about, where that can be told."""
    if "unsupported dictionary type" in problem:
        problem = f"{problem} (install the package of this map type, such as postfix-lmdb or postfix-pcre)"
    if problem.startswith("map ") or _PLACE.search(problem):
        return problem
    found = _postfix.settings(plan.main_text, plan.master_text)
    changed = [item for item in found if _is_changed(item, plan)]
    said = re.sub(r"\A\S+: ", "", problem)
    for candidates in (changed, found):
        named = [item.where for item in candidates if re.search(rf"(?<![\w-]){re.escape(item.name)}(?![\w-])", said)]
        whole = [item.where for item in candidates if len(item.value) > 3 and item.value in said]
        words = [item.where for item in candidates if _mentions(said, item.value)]
        places = whole if len(whole) == 1 else named or words[:1]
        if places:
            return f"{problem} [{'; '.join(dict.fromkeys(places))}]"
    return problem


def _is_changed(item: _postfix.Setting, plan: _postfix_plan.Plan) -> bool:
    if item.where.startswith("main.cf"):
        return item.name in plan.changed_parameters
    return item.where.split(":")[0].removeprefix("master.cf ") in plan.changed_parameters


def _mentions(said: str, value: str) -> bool:
    """Whether a quoted or final word of ``said``, or a file or map type in it, occurs in ``value``."""
    words = {*re.findall(r"[\"'<]([^\"'<>]+)[\"'>]", said), re.split(r"[\s:]+", said)[-1]} - {""}
    if any(word == value or word in re.split(r"[\s,]+", value) for word in words):
        return True
    if any(re.search(rf"\$[{{(]?{re.escape(word)}\b", value) for word in words):
        return True
    files = re.findall(r"(/[\w./-]+?)(?:\.lmdb|\.db)?(?=[\s:;,()]|\Z)", said)
    kinds = re.findall(r"unsupported dictionary type: (\w+)", said)
    return any(word in value for word in (*files, *(f"{kind}:" for kind in kinds)))


_ECHO = re.compile(
    r"TLS library problem|is unavailable|lookup (error|problem|failure)|smtpd_client_event_limit_exceptions"
    r"|smtpd answers with an error"
)


def condense(problems: Sequence[str]) -> list[str]:
    """Each sentence once, whichever daemons say it, and echoes only where nothing else is said."""
    kept: dict[str, str] = {}
    for problem in problems:
        sentence = re.sub(r"\A\S+/([\w-]+): ", r"\1: ", problem)
        kept.setdefault(_PLACE.sub("", sentence), problem)
    plain = [problem for problem in kept.values() if not _ECHO.search(problem)]
    placed = [problem for problem in kept.values() if _PLACE.search(problem)]
    return (plain or placed or list(kept.values()))[:PROBLEM_LIMIT]


def lacking(problems: Sequence[str]) -> bool:
    """Whether every program that complains does so because something is not there."""
    speakers: dict[str, list[str]] = {}
    for problem in problems:
        speakers.setdefault(problem.split(": ")[0], []).append(problem)
    speakers.pop("master.cf", None)
    return bool(speakers) and all(any(_LACKING.search(line) for line in lines) for lines in speakers.values())
