# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The queues of a Proxmox Mail Gateway: which messages are meant, and deleting or delivering them. Private.

Facts: pmg-api lists a queue by recipient, at most 50 entries unless told otherwise. Deleting a message that is not
there answers as if it had been. A request for many messages at once came after 8.2; without it they go one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ansible_collections.postmaster.mail.plugins.module_utils import _pmg, _pmg_run
from ansible_collections.postmaster.mail.plugins.module_utils._pmg import PmgError
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Unknown
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_tasks import Node

QUEUES = ("deferred", "active", "incoming", "hold")
NOBODY = "<>"  # the sender of bounces, which Postfix lists as follows
POSTFIX_NOBODY = "MAILER-DAEMON"
LOOK_LIMIT = 100_000  # entries that are looked at
BATCH = 500  # messages in one request: the API takes bodies of 64 kB
ROUNDS = 3  # looks at what is left: a message that is being delivered is in no queue for a while, and comes back


@dataclass(frozen=True)
class Message:
    """A message in a queue. ``arrived`` is in seconds since 1970, ``size`` in bytes; reasons are by recipient."""

    queue_id: str
    sender: str
    reasons: Mapping[str, str]
    arrived: int
    size: int

    @property
    def recipients(self) -> list[str]:
        """Those who have not got it yet."""
        return list(self.reasons)


@dataclass(frozen=True)
class Selection:
    """Messages that are meant: from one of the senders and to none but the recipients, each any where none is named.

    Both are addresses and domains; a domain with a dot before it stands for all below it.
    """

    senders: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    reason: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether every message is meant."""
        return not (self.senders or self.recipients or self.reason)

    def holds(self, message: Message) -> bool:
        """Whether a message is meant."""
        return self._could_hold(message) and (
            not self.recipients or all(_fits(one, self.recipients) for one in message.recipients)
        )

    def spares(self, message: Message) -> bool:
        """Whether a message would be meant, did it not go to others too."""
        return (
            bool(self.recipients)
            and self._could_hold(message)
            and not self.holds(message)
            and any(_fits(one, self.recipients) for one in message.recipients)
        )

    def _could_hold(self, message: Message) -> bool:
        told = self.reason.lower()
        return (not self.senders or _fits(message.sender, self.senders)) and (
            not told or any(told in text.lower() for text in message.reasons.values())
        )


def _fits(address: str, wanted: Iterable[str]) -> bool:
    plain = address.lower()
    domain = plain.rpartition("@")[2]
    return any(
        plain == one
        or ("@" not in one and one != NOBODY and (domain == one or (one[0] == "." and domain.endswith(one))))
        for one in wanted
    )


def read_selection(senders: Sequence[str], recipients: Sequence[str], reason: str) -> Selection:
    """A selection as it is asked for. Raises :class:`PmgError`, which names the entry that is wrong."""
    return Selection(
        tuple(_whom("senders", index, one) for index, one in enumerate(senders)),
        tuple(_whom("recipients", index, one) for index, one in enumerate(recipients)),
        _pmg.check_text("reason", reason),
    )


def _whom(option: str, index: int, text: str) -> str:
    plain = text.strip().lower()
    if plain in (NOBODY, POSTFIX_NOBODY.lower()):
        return NOBODY
    local, at, domain = plain.rpartition("@")
    try:
        if at and (not local or any(char.isspace() or not char.isprintable() for char in local)):
            raise PmgError(f"{text!r} is no mail address: write user@example.org, or example.org for all of them")
        return f"{local}{at}{_pmg.domain_key(domain)}"
    except PmgError as err:
        raise PmgError(f"{option}[{index}]: {err}") from err


def messages_of(entries: Iterable[Mapping[str, Any]]) -> list[Message]:
    """The messages of a list that has an entry for each recipient. Raises :class:`PmgError` where it is none."""
    found: dict[str, Message] = {}
    for entry in entries:
        try:
            sender = str(entry["sender"])
            one = found.setdefault(
                str(entry["queue_id"]),
                Message(
                    str(entry["queue_id"]),
                    NOBODY if sender in ("", POSTFIX_NOBODY) else sender,
                    {},
                    int(entry.get("arrival_time") or 0),
                    int(entry.get("message_size") or 0),
                ),
            )
            one.reasons[str(entry["receiver"])] = " ".join(str(entry.get("reason") or "").split())  # type: ignore[index]
        except (KeyError, TypeError, ValueError):
            raise PmgError("the gateway's queue cannot be read: is this a Proxmox Mail Gateway?") from None
    return list(found.values())


def by_sender(messages: Iterable[Message]) -> dict[str, int]:
    """How many messages each sender has, the most first."""
    return dict(sorted(Counter(one.sender for one in messages).items(), key=lambda item: (-item[1], item[0])))


# -- doing it -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Queue:
    """A queue of a node."""

    node: Node
    name: str

    def look(self) -> list[Message]:
        """The messages that are there. Raises :class:`PmgError`."""
        params = {"limit": str(LOOK_LIMIT)}
        entries = self.node.api.call("GET", self._path(), params)
        if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
            raise PmgError("the gateway's queue cannot be read: is this a Proxmox Mail Gateway?")
        return messages_of(entries)

    def shape(self) -> list[dict[str, Any]]:
        """How many messages for which domain are how old. Raises :class:`PmgError`."""
        shaped = self.node.api.call("GET", self.node.path("/postfix/qshape"), {"queue": self.name})
        return list(shaped) if isinstance(shaped, list) else []

    def delete(self, chosen: Callable[[Message], bool], found: Sequence[Message]) -> tuple[int, list[Message]]:
        """Delete messages that were found, and what of them comes back; how many are gone, and what is left.

        Raises :class:`PmgError`, which says how many are gone.
        """
        asked = {one.queue_id for one in found if chosen(one)}
        left = list(found)
        for dummy in range(ROUNDS):
            todo = [one.queue_id for one in left if one.queue_id in asked]
            if not todo:
                break
            self._each("delete", todo)
            left = self.look()
        there = {one.queue_id for one in left}
        if stays := asked & there:
            raise PmgError(
                f"{len(stays)} of {len(asked)} messages are still in the queue {self.name}, though the gateway says "
                "that they are deleted: they may be on their way, so try again"
            )
        return len(asked), left

    def delete_all(self, found: Sequence[Message]) -> tuple[int, list[Message]]:
        """Delete whatever there is; how many of those found are gone, and what is left. Raises :class:`PmgError`."""
        self._insist("DELETE", self._path(), {})
        left = self.look()
        return len({one.queue_id for one in found} - {one.queue_id for one in left}), left

    def deliver(self, messages: Iterable[Message]) -> None:
        """Have the gateway try to deliver messages now. Raises :class:`PmgError`."""
        self._each("deliver", [one.queue_id for one in messages])

    def deliver_all(self) -> None:
        """Have the gateway try to deliver everything now. Raises :class:`PmgError`."""
        self._insist("POST", self.node.path("/postfix/flush_queues"), {})

    def _path(self, message: str = "") -> str:
        below = f"/{quote(message, safe='')}" if message else ""
        return self.node.path(f"/postfix/queue/{self.name}{below}")

    def _each(self, action: str, ids: Sequence[str]) -> None:
        try:
            for some in _batches(ids):
                self._insist("POST", self._path(), {"action": action, "ids": ",".join(some)})
        except Unknown:
            for one in ids:
                self._insist("DELETE" if action == "delete" else "POST", self._path(one), {})

    def _insist(self, method: str, path: str, params: Mapping[str, str]) -> None:
        """None of these does harm when it is done twice."""
        _pmg_run.insist(lambda: self.node.api.call(method, path, params), lambda: False, sleep=self.node.sleep)


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]
