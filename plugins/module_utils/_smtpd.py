# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenSMTPD's configuration and tables for an organisation's own mail server. Private to this collection.

What is written here was tried with `smtpd -n` of 6.8.0p2 and 7.6.0p1: both take the same text.

Everything here is pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

CONFIGURATION = "/etc/smtpd.conf"
TABLES = "/etc/mail"
# By check: the condition, and what a client hears that is sent away.
CHECKS = {
    "rdns": ("!rdns", "550 5.7.25 Your address has no name: give it a PTR record"),
    "fcrdns": ("!fcrdns", "550 5.7.25 The name of your address does not have your address: mend its PTR record"),
    "dyndns": ("rdns regex", "550 5.7.1 Mail from dynamic addresses is not taken: send through your provider"),
}
SENDERSCORE = 'filter senderscore proc-exec "filter-senderscore -junkBelow 70 -slowFactor 5000"'
_HOST = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_FQDN = re.compile(rf"{_HOST}(?:\.{_HOST})+\Z", re.IGNORECASE)
_LISTEN = re.compile(r"[A-Za-z0-9_.:-]+\Z")
_LIFETIME = re.compile(r"[0-9]{1,6}[smhdw]\Z")
_PATH = re.compile(r"(?:/[A-Za-z0-9_@=+.,-]+)+\Z")
_PATTERN = re.compile(r"[^'\"\x00-\x1f\x7f]+\Z")
# A target that begins with these is a program, a file or a list of addresses to OpenSMTPD; '#' begins a comment.
_UNSAFE_TARGET = re.compile(r"[/|:\"#]|.*[#,\s]")
# The table of secrets is split at blanks and the first colon.
_SECRET = re.compile(r"[\x21-\x7e]+\Z")


def _problems_of_names(given: Mapping[str, Any]) -> Iterator[str]:
    if not _FQDN.match(given["hostname"]):
        yield f"hostname: {given['hostname']} is no full host name: give one such as mail.example.org"
    if not given["listen"]:
        yield "listen is empty, so nobody could reach the server: list addresses or interfaces, or 0.0.0.0 and ::"
    for item in given["listen"]:
        if not _LISTEN.match(item):
            yield f"listen: {item!r} is neither an address nor an interface: give one such as 192.0.2.25 or eth0"
    for name in ("certificate", "key", "directory"):
        if not _PATH.match(given[name]):
            yield f"{name}: {given[name]} is no plain absolute path: use letters, digits, and . _ - between slashes"
    if not _LIFETIME.match(given["lifetime"]):
        yield f"lifetime: {given['lifetime']} is no time: write it as 5d or 12h"
    if not 65536 <= given["size"] <= 2**31:
        yield f"size: {given['size']} bytes is no size for messages: give one from 65536 to 2147483648"


def _problems_of_checks(given: Mapping[str, Any]) -> Iterator[str]:
    for name, action in given["checks"].items():
        if name not in CHECKS:
            yield f"checks: there is no {name}: choose from {', '.join(CHECKS)}"
        if action not in ("junk", "disconnect", "none"):
            yield f"checks: {name} cannot be {action}: choose junk, disconnect or none"
    for pattern in given["dyndns_patterns"]:
        try:
            re.compile(pattern)
        except re.error as err:
            yield f"dyndns_patterns: {pattern!r} is no regular expression ({err}): mend it"
            continue
        if not _PATTERN.match(pattern):
            yield f"dyndns_patterns: {pattern!r} holds a quote or a control character: write it without"
    if given["checks"].get("dyndns", "none") != "none" and not given["dyndns_patterns"]:
        yield "dyndns_patterns is empty: name patterns, or set the check dyndns to none"


def _problems_of_smarthost(given: Mapping[str, Any]) -> Iterator[str]:
    host = given["smarthost"]
    if not host["host"]:
        return
    if not re.fullmatch(r"[A-Za-z0-9.-]+|\[[0-9a-f:.]+\]", host["host"]):
        yield f"smarthost: {host['host']} is neither a host name nor an address: write an IPv6 address in brackets"
    if bool(host["username"]) != bool(host["password"]):
        yield "smarthost_username and smarthost_password go together: set both or neither"
    if host["username"] and host["tls"] == "may":
        yield "smarthost_tls: may would send the password in the clear when TLS fails: choose verify or encrypt"
    if host["username"] and not (_SECRET.match(host["username"]) and ":" not in host["username"]):
        yield "smarthost_username holds a blank, a colon or what is not ASCII, which OpenSMTPD cannot read"
    if host["password"] and not _SECRET.match(host["password"]):
        yield "smarthost_password holds a blank or what is not ASCII, which OpenSMTPD cannot read: choose another"


def _problems_of_targets(plan: Mapping[str, Any], root: str) -> Iterator[str]:
    for name, goals in plan["virtuals"].items():
        for goal in goals:
            if _UNSAFE_TARGET.match(goal):
                yield f"aliases: {name} leads to {goal}, which OpenSMTPD would not take for an address: choose another"
    if not root:
        yield "root_address: nobody would get the host's own mail: name an address, or set role_address in the accounts"
    elif _UNSAFE_TARGET.match(root) or not re.fullmatch(r"[^@\s]+@[^@\s]+", root):
        yield f"root_address: {root} is no address: write it as name@example.org"


def problems(given: Mapping[str, Any]) -> list[str]:
    """What cannot be, each as a sentence that names the item and the remedy."""
    plan = given["plan"]
    found = [f"accounts: {problem}" for problem in plan["problems"]]
    found += [*_problems_of_names(given), *_problems_of_checks(given), *_problems_of_smarthost(given)]
    return found if plan["problems"] else [*found, *_problems_of_targets(plan, given["root"])]


def _filters(given: Mapping[str, Any]) -> tuple[list[str], list[str], list[str]]:
    """The definitions, the names of those that judge strangers, and of those that everybody passes."""
    lines, names = [], []
    for name, (condition, text) in CHECKS.items():
        action = given["checks"].get(name, "none")
        if action == "none":
            continue
        patterns = ", ".join(f"'{pattern}'" for pattern in given["dyndns_patterns"])
        match = f"{condition} {{ {patterns} }}" if name == "dyndns" else condition
        decision = "junk" if action == "junk" else f'disconnect "{text}"'
        lines.append(f"filter check_{name} phase connect match {match} {decision}")
        names.append(f"check_{name}")
    if given["senderscore"]:
        lines.append(SENDERSCORE)
        names.append("senderscore")
    content = ["rspamd"]
    # Past Dovecot there is no quota.
    if given["quota"] and given["delivery"] == "lmtp":
        lines.append(f'filter quota proc-exec "{given["quota"]}"')
        content.insert(0, "quota")
    lines.append(f'filter rspamd proc-exec "{given["rspamd"]}"')
    return lines, names, content


def _listeners(given: Mapping[str, Any], names: Sequence[str], content: Sequence[str]) -> list[str]:
    shown = f'pki "{given["hostname"]}" hostname "{given["hostname"]}"'
    # What a user may write as the sender; the address of the client stays out of Received.
    login = "auth <credentials>" + (" senders <users>" if given["own_from"] and given["plan"]["users"] else "")
    strangers = f"{{ {', '.join([*names, *content])} }}"
    users = f"{{ {', '.join(content)} }}" if len(content) > 1 else content[0]
    lines = [f"listen on socket filter {users}"]
    for item in given["listen"]:
        lines.append(f"listen on {item} port 25 tls {shown} filter {strangers}")
        if given["submission"]:
            lines.append(f"listen on {item} port 587 tls-require {shown} {login} mask-src filter {users}")
        if given["smtps"]:
            lines.append(f"listen on {item} port 465 smtps {shown} {login} mask-src filter {users}")
    return lines


def _relay(given: Mapping[str, Any]) -> str:
    host = given["smarthost"]
    if not host["host"]:
        return f'action "outbound" relay helo "{given["hostname"]}"'
    scheme = "smtps" if host["port"] == 465 else "smtp" if host["tls"] == "may" else "smtp+tls"
    label, auth = ("smarthost@", " auth <secrets>") if host["username"] else ("", "")
    loose = " tls no-verify" if host["tls"] == "encrypt" else ""
    url = f"{scheme}://{label}{host['host']}:{host['port']}"
    return f'action "outbound" relay host "{url}"{auth}{loose} helo "{given["hostname"]}"'


# A program that a signal has ended, such as mail.lmtp by SIGPIPE when Dovecot goes away while it writes, looks to
# OpenSMTPD like one that refuses the message for good. 75 is EX_TEMPFAIL: the message is tried again.
WRAPPER = 'mda wrapper "again" "%{mda}; code=$?; test $code -lt 128 || exit 75; exit $code"'


def _rules(given: Mapping[str, Any]) -> list[str]:
    delivery = f'maildir "{given["directory"]}/%{{dest.domain:lowercase}}/%{{dest.user:lowercase}}/Maildir" junk'
    if given["delivery"] == "lmtp":
        delivery = 'lmtp "/run/dovecot/lmtp" rcpt-to'
    return [
        'action "local" expand-only virtual <aliases>',
        f'action "mailbox" {delivery} virtual <virtuals> wrapper "again"',
        _relay(given),
        "",
        "# The first rule that fits is the one that counts.",
        'match from local for local action "local"',
        'match from local for domain <domains> action "mailbox"',
        'match from local for any action "outbound"',
        *(["match from any !auth mail-from <own> for any reject"] if given["own_senders"] else []),
        'match from any for domain <domains> action "mailbox"',
        'match from any auth for any action "outbound"',
    ]


def configuration(given: Mapping[str, Any]) -> str:
    """The text of smtpd.conf, without a first line of Ansible's."""
    names = ["domains", "virtuals", "aliases"]
    names += ["users"] if given["own_from"] and given["plan"]["users"] else []
    names += ["own"] if given["own_senders"] else []
    names += ["secrets"] if given["smarthost"]["host"] and given["smarthost"]["username"] else []
    definitions, judges, content = _filters(given)
    tables = [f"table {name} file:{TABLES}/{'senders' if name == 'users' else name}" for name in names]
    lines = [
        f'pki "{given["hostname"]}" cert "{given["certificate"]}"',
        f'pki "{given["hostname"]}" key "{given["key"]}"',
        "",
        f"smtp max-message-size {given['size']}",
        f"queue ttl {given['lifetime']}",
        "",
        *tables,
        f"table credentials passwd:{given['credentials']}",
        "",
        *definitions,
        "",
        *_listeners(given, judges, content),
        "",
        WRAPPER,
        *_rules(given),
    ]
    return "\n".join(lines) + "\n"


def tables(given: Mapping[str, Any]) -> dict[str, str]:
    """The tables by their paths."""
    plan = given["plan"]
    # A mailbox is the mail user's; whose it is, is told by the address that was resolved last.
    virtuals = {name: [given["user"]] if name in plan["senders"] else goals for name, goals in plan["virtuals"].items()}
    host = given["smarthost"]
    secret = f"smarthost {host['username']}:{host['password']}\n" if host["host"] and host["username"] else ""
    return {
        f"{TABLES}/domains": "".join(f"{name}\n" for name in plan["domains"]),
        f"{TABLES}/virtuals": "".join(f"{name}: {', '.join(goals)}\n" for name, goals in sorted(virtuals.items())),
        f"{TABLES}/senders": "".join(f"{name} {', '.join(may)}\n" for name, may in sorted(plan["senders"].items())),
        f"{TABLES}/own": "".join(f"@{name}\n" for name in plan["domains"]),
        # Every account of the host, as nobody reads their mailboxes; only a virtual table knows the name for all.
        f"{TABLES}/aliases": f"root: {given['root']}\n@: {given['root']}\n",
        f"{TABLES}/secrets": secret,
    }


def render(given: Mapping[str, Any]) -> dict[str, Any]:
    """Problems, or the files."""
    found = problems(given)
    if found:
        return {"problems": found, "files": {}}
    return {"problems": [], "files": {CONFIGURATION: configuration(given), **tables(given)}}
