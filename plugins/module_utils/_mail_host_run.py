# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at a host's mail as a whole, and tells it as plain values and as lines for people. Private."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _mail_host as mh
from ansible_collections.postmaster.mail.plugins.module_utils._check import visible
from ansible_collections.postmaster.mail.plugins.module_utils._diagnose import duration
from ansible_collections.postmaster.mail.plugins.module_utils._mail_host_client import MailHost


@dataclass(frozen=True)
class View:
    """What was seen of a host; ``queue`` is None where it cannot be seen."""

    name: str
    now: datetime
    program: str
    version: str
    doors: Sequence[mh.Door]
    queue: mh.Waiting | None
    settings: Sequence[mh.Setting]
    sender: Sequence[mh.Rewrite]
    unseen: Sequence[str]

    def as_dict(self) -> dict[str, Any]:
        """The shape a module returns."""
        told: dict[str, Any] = {
            "host": self.name,
            "mta": self.program,
            "version": self.version,
            "listeners": [self._door(door) for door in self.doors],
            "settings": {
                one.name: {"value": visible(one.value, 1000), "default": one.default} for one in self.settings
            },
            "sender": [{"address": visible(one.address), "why": visible(one.why)} for one in self.sender],
            "unseen": list(self.unseen),
        }
        return told | ({"queue": self.queue.as_dict()} if self.queue is not None else {})

    def _door(self, door: mh.Door) -> dict[str, Any]:
        holder = door.holders[0] if door.holders else None
        answer = door.answer or mh.Answer()
        certificate = answer.certificate
        return {
            "port": door.port,
            "addresses": list(door.addresses),
            "program": door.program,
            "pid": holder.pid if holder else 0,
            "unit": holder.unit if holder else "",
            "protocol": answer.protocol,
            "banner": visible(answer.banner),
            "tls": answer.tls,
            "tls_version": answer.version,
            "names": [visible(name) for name in certificate.names] if certificate else [],
            "expires": certificate.expires.isoformat() if certificate and certificate.expires else "",
            "issuer": visible(certificate.issuer) if certificate else "",
            "chain": visible(answer.chain),
            "error": visible(answer.error),
            "troubles": [visible(one, 300) for one in mh.troubles(door, self.name, self.now)],
        }

    # --- lines -------------------------------------------------------------------------------

    def table(self) -> list[str]:
        """All of it as lines for people."""
        names = {"postfix": "Postfix", "exim": "Exim", "opensmtpd": "OpenSMTPD"}
        program = f"{names.get(self.program, 'no mail program')} {self.version}".strip()
        made = [f"{self.name}: {program}", "", "Listening ports"]
        made += _columns([self._row(self._door(door)) for door in self.doors]) or ["  none"]
        for door in self.doors:
            shown = self._door(door)
            made += [f"  -> port {door.port}: {trouble}" for trouble in shown["troubles"]]
            made += [f"  -> port {door.port}: {shown['error']}" for dummy in [1] if shown["error"]]
        made += ["", *self._queue()]
        if self.sender:
            made += ["", "From of a local mail"]
            made += _columns([(visible(one.address), visible(one.why)) for one in self.sender])
        if self.settings:
            made += ["", "Not at the default"]
            made += _columns([(one.name, visible(one.value, 150), _default(one)) for one in self.settings])
        return [*made, *([""] if self.unseen else []), *(f"not seen: {one}" for one in self.unseen), ""]

    @staticmethod
    def _row(one: dict[str, Any]) -> tuple[str, ...]:
        where = ", ".join({"0.0.0.0": "*", "::": "[*]"}.get(address, address) for address in one["addresses"])
        owner = f"{one['program'] or '?'}{' (' + one['unit'] + ')' if one['unit'] else ''}"
        tls = f"{one['tls']} {one['tls_version']}".strip()
        until = f"until {one['expires'][:10]}" if one["expires"] else ""
        return (
            str(one["port"]),
            where,
            owner,
            one["protocol"],
            tls,
            " ".join(one["names"][:4]),
            until,
            one["banner"][:60],
        )

    def _queue(self) -> list[str]:
        if self.queue is None:
            return ["Queue: not seen" if self.program else "Queue: there is no mail program"]
        if not self.queue.count:
            return ["Queue: empty"]
        held = f", {self.queue.held} held" if self.queue.held else ""
        made = [f"Queue: {self.queue.count} waiting, the oldest for {duration(self.queue.oldest)}{held}"]
        made += _columns([(str(count), f"for up to {word}") for word, count in self.queue.ages.items()])
        for one in self.queue.as_dict()["causes"]:
            made.append(f"  {one['count']} x {one['cause']}: {one['title'] or one['reason']}")
            made += [f"      -> {one['mend']}"] if one["mend"] else []
        return [line.replace("for up to longer", "for longer") for line in made]


def _default(one: mh.Setting) -> str:
    return f"default: {visible(one.default, 60)}" if one.default else ""


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows under each other, without columns that are empty in all of them."""
    if not rows:
        return []
    used = [number for number in range(len(rows[0])) if any(row[number] for row in rows)]
    widths = [min(60, max(len(row[number]) for row in rows)) for number in used]
    return [
        "  " + "  ".join(f"{row[number]:<{width}}" for number, width in zip(used, widths, strict=True)).rstrip()
        for row in rows
    ]


def look(host: MailHost, *, user: str, probe: bool) -> View:
    """See it all. Raises :class:`HostError` for a user that can be none."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}", user):
        raise mh.HostError(f"user: {user!r} is no name of a user: give one of this host, such as root")
    program, version = host.program()
    doors = host.doors()
    queue = host.queue(program) if program else None
    return View(
        host.name(),
        host.now(),
        program,
        version,
        host.ask(doors) if probe else doors,
        mh.waiting(queue, host.now()) if queue is not None else None,
        host.settings(program),
        host.sender(program, user),
        host.unseen,
    )
