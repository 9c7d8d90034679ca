# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what spam filters and the greylist are told to ``relay_inbound_*``. Pure, private.

Sources: Mail::SpamAssassin::Conf(3), spamass-milter(1), postgrey(8), rspamd's actions.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.postmaster.mail.plugins.module_utils._adopt import Description

RSPAMD, SPAMASSASSIN = "rspamd", "spamassassin"
REQUIRED = 5.0  # points from which SpamAssassin marks by itself
DELAY = 300  # seconds for which postgrey lets somebody new wait by itself
POSTGREY = re.compile(r":(10023|[^\s,{}]*postgrey[^\s,{}]*)(?=[\s,{}]|\Z)")  # where Postfix asks it
LINE_LIMIT = 4096  # characters of a daemon's command line
NEVER = 10_000  # points that no message gets


@dataclass(frozen=True)
class Scores:
    """Points from which a message is marked, and refused; None where that is not done."""

    tag: float | None
    reject: float | None


@dataclass(frozen=True)
class FilterFacts:
    """What the daemons are told. ``whole_rspamd``: what is known as the signer is an rspamd that filters as well."""

    scores: Mapping[str, Scores] = field(default_factory=dict)
    delay: int | None = None
    whole_rspamd: bool = False


def options(units: Iterable[str], default: str, name: str) -> list[str]:
    """The words a daemon is started with: by the last unit that says so, else by a variable in /etc/default."""
    said = ""
    for line in default.splitlines():
        match = re.match(rf"\s*{name}=(.*)", line)
        words = _words(match[1]) if match else []
        said = _filled(words[0], name, said) if words else said
    started = re.findall(r"^ExecStart=(.+)$", "\n".join(units).replace("\\\n", " "), re.MULTILINE)
    return _words(_filled(started[-1] if started else f"daemon ${name}", name, said))[1:]


def _filled(text: str, name: str, value: str) -> str:
    """With the value of a variable in its places; it may stand in its own value, time and again."""
    return re.sub(r"\$\{?" + name + r"\}?", lambda _match: value, text)[:LINE_LIMIT]


def _words(line: str) -> list[str]:
    shown = line[:LINE_LIMIT]
    try:
        return shlex.split(shown, comments=True)
    except ValueError:
        return shown.split()


def spamassassin(configurations: Sequence[str], words: Sequence[str]) -> Scores:
    """``configurations`` are the texts of /etc/spamassassin/*.cf in their order, ``words`` those of spamass-milter."""
    found = re.findall(r"^[ \t]*required_(?:score|hits)[ \t]+(\d+(?:\.\d+)?)", "\n".join(configurations), re.MULTILINE)
    tag = float(found[-1]) if found else REQUIRED
    own = list(words[: words.index("--")] if "--" in words else words)  # the rest is spamc's
    reject = _number(_value(own, "-r"))
    return Scores(tag, tag if reject is not None and reject < 0 else reject)


def rspamd(dump: str) -> Scores | None:
    """What ``rspamadm configdump -j actions`` prints; None where it says nothing."""
    try:
        section = json.loads(dump or "{}")
    except (ValueError, RecursionError):
        return None
    section = section.get("actions", section) if isinstance(section, dict) else {}
    if not isinstance(section, dict) or not section:
        return None
    tag, reject = (_number(str(section.get(name))) for name in ("add_header", "reject"))
    return Scores(tag, reject)


def postgrey(words: Sequence[str]) -> int:
    """Seconds for which somebody new waits."""
    delay = _number(_value(words, "--delay"))
    return DELAY if delay is None or delay < 0 else int(delay)


def _value(words: Sequence[str], name: str) -> str:
    """The value of an option, in a word of its own or in the same; the last one counts."""
    found = ""
    for number, word in enumerate(words):
        if word == name:
            found = words[number + 1] if number + 1 < len(words) else ""
        elif word.startswith(f"{name}=" if name.startswith("--") else name):
            found = word[len(name) :].lstrip("=")
    return found


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"-?\d{1,6}(\.\d{1,6})?", text) else None


def describe(draft: Description, kind: str, facts: FilterFacts) -> None:
    """The variables of scores and of the greylist's delay, as far as they are known."""
    if facts.delay is not None:
        draft.put("relay_inbound_greylist_delay", facts.delay)
    scores = facts.scores.get(kind)
    if scores is None:
        return
    reject = NEVER if scores.reject is None else math.ceil(scores.reject)
    tag = reject - 1 if scores.tag is None or scores.tag >= reject else scores.tag
    draft.put("relay_inbound_tag_score", int(tag) if tag == int(tag) else tag)
    draft.put("relay_inbound_reject_score", reject)
    shown = f"{_points(scores.tag)}, {_points(scores.reject)}"
    if scores.reject is None:
        reason = f"{kind} refused nothing by its score; {NEVER} points are more than a message gets"
        draft.note(
            "relay_inbound_reject_score", shown, reason, "give a score such as 15 to have spam refused", harmless=True
        )
    elif (tag, reject) != (scores.tag, scores.reject):
        reason = "the role marks from fewer points on than it refuses, and refuses from a whole number on"
        draft.note("relay_inbound_tag_score", shown, reason, "see that the two scores are as you like them")


def _points(score: float | None) -> str:
    return "none" if score is None else f"{score:g}"
