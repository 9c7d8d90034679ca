# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan and port together: have lists and sections of a Proxmox Mail Gateway be as they should. Private."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._pmg import Change, Item, Kind, PmgError, plan
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Api, Interrupted
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_sections import (
    SectionChange,
    change,
    check_version,
    since,
)

# Seconds before each look at what became of a request whose answer was lost; concurrent writers make that happen.
WAITS = (1, 3, 9)


@dataclass(frozen=True)
class Outcome:
    """What a list was, what it is (or would be), and what made the difference; ``left`` are changes that remain."""

    changes: tuple[Change, ...]
    before: tuple[Mapping[str, Any], ...]
    requests: int
    left: int = 0


def bring_about(
    api: Api,
    kind: Kind,
    *,
    wanted: Sequence[Item] = (),
    unwanted: Iterable[str] = (),
    purge: bool = False,
    check_mode: bool = False,
    judge: Callable[[Change], None] = lambda dummy: None,
    at_most: int = 0,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Send what differs, and nothing twice. Raises :class:`PmgError`, which says how many changes are done.

    ``judge`` sees each change before the first is sent, and raises :class:`PmgError` for one that must not be. If
    ``at_most`` is not 0, no more changes than that are made.

    Where an answer is lost, the list is read again: what was carried out is not asked for once more. A run that was cut
    off is completed by the next, as each begins with what is there.
    """
    unwanted = list(unwanted)
    before = read_list(api, kind)
    first = todo = plan(kind, before, wanted=wanted, unwanted=unwanted, purge=purge)
    for one in first:
        judge(one)
    rest = max(0, len(first) - at_most) if at_most and not check_mode else 0
    if check_mode:
        todo = []
    waits, left = iter(WAITS), len(todo)
    while len(todo) > rest:
        try:
            _send(api, kind, todo[: len(todo) - rest], len(first) - rest)
            todo = []
        except Interrupted as err:
            wait = next(waits, None)
            if wait is None:
                raise PmgError(f"{err}; the next run goes on from there") from err
            sleep(wait)
            try:
                there = read_list(api, kind)
            except Interrupted:
                raise PmgError(f"{err}; the next run goes on from there") from err
            todo = plan(kind, there, wanted=wanted, unwanted=unwanted, purge=purge)
            if len(todo) < left:  # it goes on, if by fits and starts
                waits, left = iter(WAITS), len(todo)
    return Outcome(tuple(first[: len(first) - rest]), tuple(before), api.requests, rest)


CHANGED_MEANWHILE = "detected modified configuration"


def configure(
    api: Api,
    wanted: Mapping[str, Mapping[str, str]],
    *,
    check_mode: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> list[SectionChange]:
    """Have sections of the configuration say what is wanted of them; what was changed. Raises :class:`PmgError`.

    Each is read before it is written, and written only if nobody has changed it since; else it is read again.
    """
    if newer := since(wanted):  # before anything is written
        about = api.get("/version")
        check_version(newer, str(about.get("version") or "") if isinstance(about, dict) else "")
    done: list[SectionChange] = []
    for section, options in wanted.items():
        waits, found = iter(WAITS), None
        while (todo := change(section, _section(api, section), options)) is not None:
            found = found or todo
            if check_mode:
                break
            try:
                api.call("PUT", f"/config/{section}", todo.params)
                break
            except PmgError as err:
                wait = next(waits, None)
                if wait is None or not is_passing(err):
                    told = ", ".join(one.section for one in done) or "none"
                    raise PmgError(f"the section {section}: {err} (sections that are done: {told})") from err
                sleep(wait)
        if found:
            done.append(found)
    return done


def is_passing(err: PmgError) -> bool:
    """Whether what was read and is to be written should be read again: the answer is lost, or somebody was faster."""
    return isinstance(err, Interrupted) or CHANGED_MEANWHILE in str(err)


def _section(api: Api, section: str) -> Mapping[str, Any]:
    present = api.get(f"/config/{section}")
    if not isinstance(present, dict):
        raise PmgError(f"the gateway's section {section} cannot be read: is this a Proxmox Mail Gateway?")
    return present


def read_list(api: Api, kind: Kind) -> list[Mapping[str, Any]]:
    """What a list holds. Raises :class:`PmgError`."""
    listed = api.get(kind.path)
    try:
        found = [kind.listed(one) for one in listed]
        for one in found:
            kind.values(one)  # what could not be compared either
        return found
    except (KeyError, TypeError, ValueError, AttributeError):
        raise PmgError(f"the gateway's list {kind.path} cannot be read: is this a Proxmox Mail Gateway?") from None


def insist(
    send: Callable[[], object], done: Callable[[], bool], *, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Send one request that stands by itself; where its answer is lost, see whether it is done, else send it again.

    Raises :class:`PmgError`.
    """
    for wait in (*WAITS, None):
        try:
            send()
            return
        except Interrupted:
            if wait is None:
                raise
            sleep(wait)
            if done():
                return


def _send(api: Api, kind: Kind, changes: Sequence[Change], total: int) -> None:
    done = total - len(changes)
    for one in changes:
        try:
            api.call(one.method, one.path, one.params)
        except PmgError as err:
            said = f"the {kind.title} {one.key}: {err} ({done} of {total} changes are done)"
            raise type(err)(said) from err
        done += 1


def change_passwords(
    api: Api, wanted: Mapping[str, str], *, check_mode: bool = False, sleep: Callable[[float], None] = time.sleep
) -> list[str]:
    """Give users their passwords where they have others; who was given one. Raises :class:`PmgError`."""
    done = []
    for user, password in wanted.items():
        try:
            if _lets_in(api, user, password, sleep):
                continue
            if not check_mode:
                insist(
                    partial(api.call, "PUT", "/access/password", {"userid": user, "password": password}),
                    partial(api.lets_in, user, password),
                    sleep=sleep,
                )
        except PmgError as err:
            raise PmgError(f"the password of {user}: {err}") from err
        done.append(user)
    return done


def _lets_in(api: Api, user: str, password: str, sleep: Callable[[float], None]) -> bool:
    found: list[bool] = []
    insist(lambda: found.append(api.lets_in(user, password)), lambda: False, sleep=sleep)
    return found[0]
