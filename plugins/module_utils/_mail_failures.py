# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: what went wrong with mail, by a line of a log: a failed attempt, a refusal of ours, an error. Private, pure.

Attempts are those of :mod:`_mail_log`. Here are the lines beside them, and what a reply says once the words around it
are gone: Postfix's "host ... said:", Exim's "SMTP error from remote mail server after ...:", OpenSMTPD's lines in one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.postmaster.mail.plugins.module_utils._mail_log import (
    BOUNCED,
    DEFERRED,
    DELIVERED,
    EXIM_ID,
    NOT_TRIED,
    POSTFIX_ID,
    Event,
    Line,
    event,
)

REPLY_LIMIT = 1000  # characters of a reply that are looked at
REFUSED, ERROR = "refused", "error"  # by this host's own server; in a program of this host

# A line that tells of no attempt of Postfix or OpenSMTPD, and has none of these, tells of no failure. The last two are
# the journal's, for what is no plain text.
MARKS = (
    b" == ", b" ** ", b"reject", b"fatal", b"panic", b"error", b"warn", b"fail", b"refused", b"annot ", b"nable to",
    b"Failed", b"Warning", b"ALERT", b"PANIC", b'"MESSAGE":[', b'"MESSAGE" : [',
)  # fmt: skip
_POSTFIX_REJECT = re.compile(rf"(?:NOQUEUE|({POSTFIX_ID})): (?:milter-)?reject: .{{1,80}}? from (\S+?):? (.*)$")
_ENVELOPE = re.compile(r"; from=<[^<>]*>,? to=<([^<>]*)>.*$|; (?:from|to|client|proto|helo|sasl_username)=.*$")
_EXIM_REJECT = re.compile(
    rf"(?:({EXIM_ID}) )?H=(\S{{1,300}}(?: \(\S{{1,300}}\))?(?: \[[0-9A-Fa-f.:]+\])?)(?: .{{0,600}}?)?"
    r" (?:temporarily )?rejected ([A-Za-z]\w*.{0,400}?): (.*)$"
)
_EXIM_LOGIN = re.compile(r"\S{1,60} authenticator failed for (.{1,300}?): (.*)$")
_EXIM_TROUBLE = re.compile(
    r"(?:TLS error|socket bind|[Ff]ailed to |[Uu]nable to |[Cc]annot |SMTP protocol |ALERT|PANIC|daemon: |Warning: )"
)
_SMTPD_REJECT = re.compile(r'[0-9a-f]{16} smtp failed-command command="(.{0,400}?)" result="(.*?)"?$')
_SMTPD_TROUBLE = re.compile(r"[0-9a-f]{16} mta error reason=(.*)$")
_RECIPIENT = re.compile(r"(?i)RCPT(?: TO:)? ?<([^<>]{0,320})>")
_LOGIN = re.compile(r"warning: (\S+\[[0-9A-Fa-f.:]+\]): SASL \S+ authentication failed")
_TROUBLE = re.compile(r"(?:fatal|panic|error|warning|warn|crit): ")
_EXPIRED = re.compile(rf"({POSTFIX_ID}): from=<[^<>]*>, status=(?:force-)?expired, (.*)$")


def failure(line: Line) -> Event | None:
    """What a line tells of a failure, None where of none. The recipient of a refusal or an error may be empty."""
    found = event(line)
    if found:
        return None if found.outcome == DELIVERED or NOT_TRIED in found.reply else found
    if line.program.startswith("postfix"):
        return _postfix(line)
    if line.program == "smtpd":
        return _smtpd(line)
    return _exim(line)


def _postfix(line: Line) -> Event | None:
    if match := _POSTFIX_REJECT.match(line.text):
        rest = _ENVELOPE.search(match[3])
        reply = match[3][: rest.start()] if rest else match[3]
        return Event(line.time, match[1] or "", REFUSED, (rest and rest[1]) or "", match[2], reply)
    if match := _EXPIRED.match(line.text):
        return Event(line.time, match[1], BOUNCED, "", "", match[2])
    if match := _LOGIN.match(line.text):
        return Event(line.time, "", REFUSED, "", match[1], line.text.removeprefix("warning: "))
    if _TROUBLE.match(line.text):
        return Event(line.time, "", ERROR, "", "", line.text)
    return None


def _smtpd(line: Line) -> Event | None:
    if match := _SMTPD_REJECT.match(line.text):
        recipient = _RECIPIENT.search(match[1])
        return Event(line.time, "", REFUSED, recipient[1] if recipient else "", "", match[2])
    if match := _SMTPD_TROUBLE.match(line.text):
        return Event(line.time, "", ERROR, "", "", match[1])
    if _TROUBLE.match(line.text) and "injecting failure report" not in line.text:
        return Event(line.time, "", ERROR, "", "", line.text)
    return None


def _exim(line: Line) -> Event | None:
    if match := _EXIM_REJECT.match(line.text):
        recipient = _RECIPIENT.search(match[3])
        return Event(line.time, match[1] or "", REFUSED, recipient[1] if recipient else "", match[2], match[4])
    if match := _EXIM_LOGIN.match(line.text):
        return Event(line.time, "", REFUSED, "", match[1], line.text)
    if _EXIM_TROUBLE.match(line.text):
        return Event(line.time, "", ERROR, "", "", line.text)
    return None


# --- what is said ----------------------------------------------------------------------------------

_SUSPENDED = re.compile(r"^delivery temporarily suspended: ")
_SAID = re.compile(
    r"(?:\bhost \S{1,300} (?:said|refused to talk to me):|"
    r"SMTP error from remote mail(?:er| server) after .{1,500}?:|[A-Z]{4,10} rejected:|\bsmtp;) ?(?=[245]\d\d)"
)
_STAGE = re.compile(r" \(in reply to [^()]{1,60}\)\s*$")
_CODES = re.compile(r"([245]\d\d)(?:[- ]|$)(?:#?([245]\.\d{1,3}\.\d{1,3})\b)?|#?([245]\.\d{1,3}\.\d{1,3})(?= )")
_HOST = r"(?:[A-Za-z0-9_-]{1,63}\.){1,10}[A-Za-z][A-Za-z0-9-]{0,62}"
_ADDRESS = r"[^\s@<>()\[\],;:]{1,64}@[A-Za-z0-9.-]{1,255}"
_WHO = re.compile(rf"<[^<>\s]{{0,64}}@[^<>\s]{{0,255}}>|{_ADDRESS}")
_WHERE = re.compile(rf"{_HOST}\.?(?:\[[0-9A-Fa-f.:]{{2,45}}\])?(?::\d{{1,5}}\b)?")
_IP = r"\[[0-9A-Fa-f.:]{2,45}[^\]\[]{0,20}\]|\b(?:\d{1,3}\.){3}\d{1,3}\b|(?:\b[0-9A-Fa-f]{1,4}:){2,7}:?[0-9A-Fa-f]{0,4}"
_ALIKE = re.compile(rf"{_IP}|\b(?=[A-Za-z0-9-]{{0,60}}\d)[A-Za-z0-9-]{{10,}}\b|\b\d{{5,}}\b|\?\S+")
_UNLIKE = re.compile(rf"https?://\S+|{_HOST}|\b(?=\w{{0,60}}\d)\w+\b|\*")


@dataclass(frozen=True)
class Said:
    """A reply without what its reporter put around it: its codes, empty where there are none, its words on one line.

    Addresses of people are ``*`` in ``words``; in what this host says itself, names of hosts too. ``remote`` tells
    whether another server said it.
    """

    code: str
    enhanced: str
    words: str
    remote: bool

    def __str__(self) -> str:
        return " ".join(part for part in (self.code, self.enhanced, self.words) if part)

    @property
    def outcome(self) -> str:
        """What a reply means for the message, where nothing else tells: a code of 4 is a delay (RFC 5321 4.2.1)."""
        return DEFERRED if (self.code or self.enhanced).startswith("4") else BOUNCED

    @property
    def alike(self) -> str:
        """The text with what differs from message to message masked: addresses, long numbers and ids; codes stay."""
        return _ALIKE.sub("*", str(self))

    @property
    def bare(self) -> str:
        """Words alone: no codes, names of hosts, numbers, or anything with a digit in it."""
        return " ".join(_UNLIKE.sub("*", _ALIKE.sub("*", self.words)).split())


def said(reply: str) -> Said:
    """What a reply says, whichever program reports it."""
    text = _STAGE.sub("", _SUSPENDED.sub("", reply))
    start = _SAID.search(text)
    text = (text[start.end() :] if start else text)[:REPLY_LIMIT]
    codes = _CODES.match(text)
    code = enhanced = ""
    if codes:
        code, enhanced = codes[1] or "", codes[2] or codes[3] or ""
        text = text[codes.end() :]
    if code:  # the code stands at the beginning of each of a reply's lines (RFC 5321 section 4.2.1)
        text = re.sub(rf"(?:\\n|\s){code}(?:[- ]|$)(?:#?[245]\.\d{{1,3}}\.\d{{1,3}}(?= ))?", " ", text)
    remote = bool(start or code)
    text = _WHO.sub("*", text.replace("\\n", " "))
    return Said(code, enhanced, " ".join((text if remote else _WHERE.sub("*", text)).split()), remote)
