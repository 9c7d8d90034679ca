# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan and ports together: have a Proxmox Mail Gateway sign with DKIM as it should, in the safe order. Private."""

from __future__ import annotations

import grp
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _files, _pmg, _pmg_sections
from ansible_collections.postmaster.mail.plugins.module_utils._dkim import (
    DkimKey,
    DkimKeyError,
    DkimRecord,
    read_private,
)
from ansible_collections.postmaster.mail.plugins.module_utils._pmg import Item, PmgError
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Api, Forbidden
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_dkim import (
    Signing,
    Wish,
    check_published,
    domains_of,
    is_set,
    record_of,
)
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_run import Outcome, bring_about, configure, insist

SELECTOR = "/config/dkim/selector"
MODE = 0o640  # the gateway gives it to a key that it makes


class KeyFiles:
    """The private keys that lie where the gateway itself looks for them; this host has to be the gateway.

    The directory's group is that of the filter which signs: root in release 8, pmg in 9.
    """

    def __init__(self, directory: str = "/etc/pmg/dkim") -> None:
        self.directory = directory

    def path(self, selector: str) -> str:
        """The file of a selector's key."""
        return f"{self.directory}/{selector}.private"

    def holds(self, selector: str, key: DkimKey) -> bool:
        """Whether that file holds this key. Raises :class:`PmgError`."""
        try:
            found = _files.read(self.path(selector))
            return found is not None and read_private(found.content).public == key.public
        except DkimKeyError:
            return False
        except _files.FileError as err:
            raise PmgError(str(err)) from err

    def place(self, selector: str, key: DkimKey) -> None:
        """Write that file. Raises :class:`PmgError`."""
        try:
            group = grp.getgrgid(os.stat(self.directory).st_gid).gr_name
        except (OSError, KeyError):
            raise PmgError(
                f"there is no {self.directory} here, of a known group: give a key where the gateway itself runs"
            ) from None
        try:
            _files.write_atomic(self.path(selector), key.pem, mode=MODE, group=group)
        except _files.FileError as err:
            raise PmgError(str(err)) from err


@dataclass(frozen=True)
class Done:
    """What became of a wish, or would become of it. ``options`` are what changed beside the list of domains."""

    outcome: Outcome
    options: Mapping[str, tuple[str, str]]
    after: Signing


class Signer:
    """A gateway as a signer."""

    def __init__(
        self,
        api: Api,
        files: KeyFiles,
        *,
        check_mode: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api, self._files, self._check, self._sleep = api, files, check_mode, sleep

    def bring_about(self, wanted: Wish, items: Sequence[Item], unwanted: Sequence[str], *, purge: bool) -> Done:
        """Have the gateway sign as is wished. Raises :class:`PmgError`.

        What ends comes first (signing at all, domains), then the key, then what begins: at no time is mail signed in a
        way that is neither that of before nor that of after.
        """
        outcome = bring_about(
            self._api, _pmg.DKIM_DOMAINS, wanted=items, unwanted=unwanted, purge=purge, check_mode=True
        )
        admin = self._admin()
        before = self._before(outcome, admin)
        placed = wanted.key is not None and not self._files.holds(str(wanted.selector), wanted.key)
        chosen = wanted.selector is not None and wanted.selector != before.selector
        after = _after(wanted, before, outcome, admin)
        check_published(before, after, published=wanted.published, new_key=placed)
        if chosen and after.signs and wanted.key is None:
            self._check_there(after.selector)
        changed = _pmg_sections.change("admin", admin, wanted.options)
        options = {
            **({"key": ("", self._files.path(after.selector))} if placed else {}),
            **({"selector": (before.selector, after.selector)} if chosen else {}),
            **(changed.options if changed else {}),
        }
        if not self._check:
            self._apply(wanted, items, outcome, chosen=chosen, placed=placed, ends=before.signs and not after.signs)
            if chosen or placed:
                after = replace(after, record=self._proven(wanted))
        return Done(outcome, options, after)

    def _apply(
        self, wanted: Wish, items: Sequence[Item], outcome: Outcome, *, chosen: bool, placed: bool, ends: bool
    ) -> None:
        options = {"admin": wanted.options} if wanted.options else {}
        if ends:
            configure(self._api, options, sleep=self._sleep)
        if gone := [change.key for change in outcome.changes if change.after is None]:
            bring_about(self._api, _pmg.DKIM_DOMAINS, unwanted=gone, sleep=self._sleep)
        if placed and wanted.key is not None:
            self._files.place(str(wanted.selector), wanted.key)
        if chosen:
            self._choose(wanted)
        if any(change.after is not None for change in outcome.changes):
            bring_about(self._api, _pmg.DKIM_DOMAINS, wanted=items, sleep=self._sleep)
        if not ends:
            configure(self._api, options, sleep=self._sleep)

    def _admin(self) -> Mapping[str, Any]:
        found = self._api.get("/config/admin")
        if not isinstance(found, dict):
            raise PmgError("the gateway's section admin cannot be read: is this a Proxmox Mail Gateway?")
        return found

    def _before(self, outcome: Outcome, admin: Mapping[str, Any]) -> Signing:
        listed = [str(entry["domain"]) for entry in outcome.before]
        selector = str(admin.get("dkim_selector") or "")
        record = self._record() if selector else None
        return Signing(is_set(admin, "dkim_sign"), selector, domains_of(listed, admin), record)

    def _selected(self) -> Mapping[str, Any]:
        found = self._api.get(SELECTOR)
        return found if isinstance(found, dict) else {}

    def _record(self) -> DkimRecord | None:
        """Of the key that the gateway signs with; None where it has none, or the account may not look."""
        try:
            text = str(self._selected().get("record") or "")
        except Forbidden:
            return None
        return record_of(text) if text else None

    def _check_there(self, selector: str) -> None:
        listed = self._api.get("/config/dkim/selectors")
        if selector not in {str(one.get("selector")) for one in listed or []}:
            raise PmgError(
                f"the gateway has no key of the selector {selector}, and would sign at once with one that it makes: "
                "have it made while sign is false, or give the key that is published"
            )

    def _choose(self, wanted: Wish) -> None:
        bits = wanted.key.bits if wanted.key is not None else wanted.bits
        params = {"selector": str(wanted.selector), "keysize": str(bits)}
        try:
            insist(
                lambda: self._api.call("POST", SELECTOR, params),
                lambda: self._selected().get("selector") == wanted.selector,
                sleep=self._sleep,
            )
        except PmgError as err:
            raise type(err)(f"the selector {wanted.selector}: {err}") from err

    def _proven(self, wanted: Wish) -> DkimRecord | None:
        """The record of the key that it signs with now. Raises :class:`PmgError` if that is not the one given."""
        record = self._record()
        if wanted.key is not None and (record is None or record.public_key != wanted.key.public):
            raise PmgError(
                f"the gateway does not sign with the key given: look at {self._files.path(str(wanted.selector))} there"
            )
        return record


def _after(wanted: Wish, before: Signing, outcome: Outcome, admin: Mapping[str, Any]) -> Signing:
    options = {**admin, **wanted.options}
    keys = {str(entry["domain"]) for entry in outcome.before}
    for change in outcome.changes:
        keys = keys - {change.key} if change.after is None else keys | {change.key}
    selector = wanted.selector or before.selector
    record = wanted.key.record if wanted.key is not None else before.record if selector == before.selector else None
    return Signing(is_set(options, "dkim_sign"), selector, domains_of(sorted(keys), options), record)
