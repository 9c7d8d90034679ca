# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mailing lists from what is wanted to what was done. Private."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ansible_collections.postmaster.mail.plugins.module_utils import _mailman as mm


class Api(Protocol):
    """What is needed of the port."""

    requests: int

    def get(self, path: str) -> dict[str, Any] | None:
        """The object at ``path``, None if there is none."""

    def entries(self, path: str, key: str) -> list[str]:
        """What the members of a collection have under ``key``."""

    def change(self, method: str, path: str, form: Mapping[str, Any], *, does: str) -> None:
        """Have something changed."""


def look(api: Api, wanted: mm.Wanted) -> mm.Current:
    """A list that is there, with the rosters that are wanted. Raises :class:`MailmanError`."""
    path = f"/lists/{wanted.list_id}"
    settings = (api.get(f"{path}/config") or {}) if wanted.settings else {}
    rosters = {role: api.entries(f"{path}/roster/{role}", "email") for role in wanted.rosters}
    return mm.Current(settings, rosters)


def _send(api: Api, requests: Sequence[mm.Request]) -> None:
    for request in requests:
        api.change(request.method, request.path, request.form, does=request.does)


def _make(api: Api, wanted: mm.Wanted, creation: Sequence[mm.Request]) -> None:
    """Make a list whole, or leave none behind."""
    _send(api, creation)
    try:
        _send(api, mm.changes(wanted, look(api, wanted)))
    except mm.MailmanError:
        _send(api, [mm.removal(wanted.name)])
        raise


def run(api: Api | None, items: Sequence[Mapping[str, Any]], *, purge: bool, check_mode: bool) -> dict[str, Any]:
    """What the module returns; without ``api`` as on a host without lists. Raises :class:`MailmanError`.

    All is read, and judged as far as it can be, before the first change.
    """
    wanted = mm.wanted_lists(items)
    there = set(api.entries("/lists", "fqdn_listname")) if api else set()
    domains = set(api.entries("/domains", "mail_host")) if api else set()
    named = {one.name for one in wanted}
    wanted += [mm.Wanted(name, absent=True) for name in sorted(there - named) if purge]
    current = {one.name: look(api, one) for one in wanted if api and one.name in there}
    planned: list[tuple[mm.Wanted, list[mm.Request]]] = []
    for one in wanted:
        if one.name in there:
            planned.append((one, [mm.removal(one.name)] if one.absent else mm.changes(one, current[one.name])))
        elif not one.absent:
            planned.append((one, mm.creation(one, domains)))
            domains.add(one.domain)
    planned = [(one, requests) for one, requests in planned if requests]
    if api and not check_mode:
        for one, requests in planned:
            if one.name in there:
                _send(api, requests)
            else:
                _make(api, one, requests)
    return {
        "changed": bool(planned),
        "changed_lists": [one.name for one, dummy in planned],
        "actions": [request.does for dummy, requests in planned for request in requests],
        "diff": [_diff(one, current.get(one.name)) for one, dummy in planned],
    }


def _diff(wanted: mm.Wanted, current: mm.Current | None) -> dict[str, str]:
    before, after = mm.shown(wanted, current), mm.shown(wanted, mm.after(wanted, current))
    return {"before_header": wanted.name, "after_header": wanted.name, "before": before, "after": after}
