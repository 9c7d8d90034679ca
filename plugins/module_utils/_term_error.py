# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The error that all record parsers raise: which piece of the text, where, and the rule it breaks. Private."""

from __future__ import annotations


def shown(text: str, limit: int = 60) -> str:
    """``text`` quoted for a message, control characters made visible, long ones cut."""
    return ascii(text if len(text) <= limit else text[: limit - 3] + "...")


class TermError(ValueError):
    """A record or name breaks a rule.

    ``term`` is the piece that does, as written, ``position`` its offset in the text given (from 0),
    ``rule`` the sentence with its section. The message shows all three, after ``what`` kind of piece it is.
    """

    what = ""

    def __init__(self, term: str, position: int, rule: str) -> None:
        super().__init__(f"{self.what} {shown(term)} at character {position + 1}: {rule}".lstrip())
        self.term = term
        self.position = position
        self.rule = rule
