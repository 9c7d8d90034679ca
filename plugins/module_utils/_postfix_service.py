# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of the postconf module, from its parameters to its result. Private."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _files, _postfix, _postfix_plan
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError
from ansible_collections.postmaster.mail.plugins.module_utils._pending import NOTHING, Pending
from ansible_collections.postmaster.mail.plugins.module_utils._postfix_client import CheckFailed, PostfixClient
from ansible_collections.postmaster.mail.plugins.module_utils._postfix_trial import Trial

ERRORS = (_postfix.PostfixError, _files.FileError, CommandError, CheckFailed, OSError)


@dataclass(frozen=True)
class Outcome:
    """What the call did, or would do."""

    plan: _postfix_plan.Plan
    checked: bool
    warnings: tuple[str, ...] = ()
    pending: Pending = NOTHING

    def as_result(self) -> dict[str, Any]:
        """The module's return value."""
        return {
            "changed": self.plan.changed or bool(self.pending.earlier),
            "diff": self.plan.diff() + self.pending.diff(),
            "changed_parameters": list(self.plan.changed_parameters),
            "changed_maps": list(self.plan.changed_maps),
            "reload_required": self.plan.reload_required or self.pending.reload,
            "restart_required": self.plan.restart_required or self.pending.restart,
            "checked": self.checked,
        }


def secrets(params: Mapping[str, Any]) -> set[str]:
    """The values that must not be shown: those of secret maps and files, and no others."""
    found: set[str] = set()
    for table in params.get("maps") or ():
        if table.get("secret"):
            found.update(_texts(table.get("entries")))
    for item in params.get("files") or ():
        if item.get("secret"):
            found.update(line for line in str(item["content"]).splitlines() if line.strip())
    return found


def _texts(raw: object) -> Iterator[str]:
    """All values in ``raw``; of a list of key and value, not the keys."""
    if isinstance(raw, Mapping):
        if set(raw) == {"key", "value"}:
            raw = {"value": raw["value"]}
        for value in raw.values():
            yield from _texts(value)
    elif isinstance(raw, (list, tuple)):
        for item in raw:
            yield from _texts(item)
    elif isinstance(raw, (str, int)) and not isinstance(raw, bool) and str(raw):
        yield str(raw)


def run(params: Mapping[str, Any], *, check_mode: bool, client: PostfixClient | None = None) -> Outcome:
    """Bring the host to what ``params`` say, or (check mode) find out what that would change.

    Raises one of :data:`ERRORS`; then nothing was written.
    """
    client = client or PostfixClient()
    request = client.named(_postfix_plan.parse_request(params))
    pending = Pending.at(params.get("pending_file"))
    if check_mode:
        return replace(_predict(client, request), pending=pending)
    if not client.installed():
        raise CommandError("Postfix is not installed on this host; install the package postfix first")
    client.refuse_user()
    client.refuse(request)
    with client.lock(request.config_directory):
        plan = _postfix_plan.plan(client.read(request), request)
        if not plan.needs_check:
            _commit(client, None, plan, pending)
            return Outcome(plan, False, pending=pending)
        with client.staged(plan) as trial:
            client.check(trial, plan)
            _commit(client, trial, plan, pending)
    return Outcome(plan, True, pending=pending)


def _commit(client: PostfixClient, trial: Trial | None, plan: _postfix_plan.Plan, pending: Pending) -> None:
    if plan.changed:
        pending.add_steps(reload=plan.reload_required, restart=plan.restart_required)
    client.commit(trial, plan)


def _predict(client: PostfixClient, request: _postfix_plan.Request) -> Outcome:
    plan = _postfix_plan.plan(client.read(request), request)
    if not plan.needs_check or not client.installed():
        return Outcome(plan, False)
    client.refuse_user()
    try:
        with client.staged(plan) as trial:
            client.check(trial, plan)
    except CheckFailed as err:
        # An earlier task of the play would have brought it, had it not run in check mode only.
        if not err.lacking:
            raise
        return Outcome(plan, True, err.problems)
    return Outcome(plan, True)
