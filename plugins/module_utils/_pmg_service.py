# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services of a Proxmox Mail Gateway's node: what has to be done, and doing it. Private."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _pmg_run
from ansible_collections.postmaster.mail.plugins.module_utils._pmg import PmgError
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Interrupted
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_tasks import Node

SERVICES = (
    "chrony",
    "clamav-daemon",
    "clamav-freshclam",
    "fetchmail",
    "pmg-daily",
    "pmg-hourly",
    "pmg-smtp-filter",
    "pmgdaemon",
    "pmgmirror",
    "pmgpolicy",
    "pmgproxy",
    "pmgreport",
    "pmgspamreport",
    "pmgtunnel",
    "postfix",
    "postgres",
    "rsyslog",
    "ssh",
    "systemd-timesyncd",
)
ESSENTIAL = ("pmgdaemon", "pmgproxy")  # the gateway refuses to stop what serves its API
VERBS = {"started": "start", "stopped": "stop", "restarted": "restart", "reloaded": "reload"}


@dataclass(frozen=True)
class ServiceOutcome:
    """The states before and after (or as they would be), and the services that something was done to."""

    before: Mapping[str, str]
    after: Mapping[str, str]
    changed: tuple[str, ...]


def check(services: Sequence[str], state: str) -> None:
    """Raise :class:`PmgError` for what the gateway would refuse."""
    for name in services:
        if state == "stopped" and name in ESSENTIAL:
            raise PmgError(f"{name} serves the gateway's API, and the gateway refuses to stop it: restart it instead")


def to_do(found: Mapping[str, Mapping[str, Any]], services: Sequence[str], state: str) -> list[str]:
    """The services that are not as they should be; one that is to be restarted or reloaded never is.

    ``found`` is what the gateway says of its services, by name. Raises :class:`PmgError` for one that it does not have.
    """
    for name in services:
        if name not in found or found[name].get("unit-state") == "not-found":
            raise PmgError(f"the gateway has no service {name}; it has {', '.join(sorted(found)) or 'none'}")
    wanted = dict.fromkeys(services)
    if state == "started":
        return [name for name in wanted if not _is_active(found[name])]
    if state == "stopped":
        return [name for name in wanted if _is_active(found[name])]
    return list(wanted)


def _is_active(entry: Mapping[str, Any]) -> bool:
    active = entry.get("active-state")
    return active in ("active", "activating", "reloading") if active else entry.get("state") == "running"


def bring_about(node: Node, services: Sequence[str], state: str, *, check_mode: bool = False) -> ServiceOutcome:
    """Have services be as they should. Raises :class:`PmgError`, which names the service and says what is done."""
    check(services, state)
    found = _found(node)
    todo = to_do(found, services, state)
    before = {name: str(found[name].get("state") or "unknown") for name in dict.fromkeys(services)}
    if check_mode or not todo:
        likely = "dead" if state == "stopped" else "running"
        return ServiceOutcome(before, {**before, **dict.fromkeys(todo, likely)}, tuple(todo))
    for done, name in enumerate(todo):
        try:
            _act(node, name, state)
        except PmgError as err:
            raise PmgError(f"{err} ({done} of {len(todo)} services are done)") from err
    now = _found(node)
    for name in todo:
        if now.get(name, {}).get("active-state") == "failed":
            raise PmgError(f"the service {name} has failed after it was {state}: look at its log on the gateway")
    after = {name: str(now.get(name, {}).get("state") or "unknown") for name in before}
    return ServiceOutcome(before, after, tuple(todo))


def _found(node: Node) -> dict[str, dict[str, Any]]:
    return {str(one.get("service")): one for one in node.listed("/services", "services")}


def _act(node: Node, name: str, state: str) -> None:
    """Where the answer is lost, it looks first; what is to be restarted is then restarted once more."""
    what, path = f"the service {name}", node.path(f"/services/{name}/{VERBS[state]}")
    try:
        _pmg_run.insist(
            lambda: node.run(what, "POST", path, {}), lambda: not to_do(_found(node), [name], state), sleep=node.sleep
        )
    except Interrupted as err:
        raise PmgError(f"{what}: {err}") from err
