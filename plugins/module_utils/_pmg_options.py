# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules for a Proxmox Mail Gateway share: the way to it, and how they keep one of its lists. Private.

The options are documented in the fragments ``pmg``, ``pmg.list`` and ``pmg.tasks``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule, env_fallback
from ansible_collections.postmaster.mail.plugins.module_utils import _pmg, _pmg_tasks
from ansible_collections.postmaster.mail.plugins.module_utils._command import Runner
from ansible_collections.postmaster.mail.plugins.module_utils._pmg import Change, Item, Kind, PmgError
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Api, Https, Session, Shell
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_run import Outcome, bring_about

CONNECTION: dict[str, Any] = {
    "api_transport": {"type": "str", "choices": ["https", "pmgsh"], "default": "https"},
    "api_host": {"type": "str"},
    "api_port": {"type": "int", "default": 8006},
    "api_user": {"type": "str", "default": "root@pam"},
    "api_password": {"type": "str", "no_log": True, "fallback": (env_fallback, ["PMG_PASSWORD"])},
    "ca_path": {"type": "path"},
    "validate_certs": {"type": "bool", "default": True},
    "api_timeout": {"type": "int", "default": 30},
    "backup": {"type": "bool", "default": False},
}
TASKS: dict[str, Any] = {
    "node": {"type": "str", "default": "localhost"},
    "task_timeout": {"type": "int", "default": 300},
}
LIST: dict[str, Any] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "purge": {"type": "bool", "default": False},
}
PROGRESS: dict[str, Any] = {"progress": {"type": "int"}}


def api_of(params: Mapping[str, Any], session: Session | None = None) -> Api:
    """The way to the gateway that the options name; raises :class:`PmgError`."""
    before_write = _pmg_tasks.back_up if params["backup"] else None
    if params["api_transport"] == "pmgsh":  # which waits for tasks itself, of which the backup is one
        patience = _pmg_tasks.PATIENCE if before_write else 0
        timeout = max(params["api_timeout"], params.get("task_timeout", 0), patience)
        return Api(Shell(Runner(), timeout=timeout), before_write=before_write)
    return Api(
        Https(
            params["api_host"],
            params["api_user"],
            params["api_password"],
            port=params["api_port"],
            ca_path=params["ca_path"],
            validate_certs=params["validate_certs"],
            timeout=params["api_timeout"],
            session=session,
        ),
        before_write=before_write,
    )


def node_of(params: Mapping[str, Any], api: Api) -> _pmg_tasks.Node:
    """The node that the options name."""
    return _pmg_tasks.Node(api, params["node"], params["task_timeout"])


def items_of(kind: Kind, option: str, given: Iterable[Any], read: Callable[[Any], Item]) -> list[Item]:
    """The items that an option asks for, each once; raises :class:`PmgError`, which says which one is wrong."""
    items = []
    for index, one in enumerate(given):
        try:
            items.append(read(one))
        except PmgError as err:
            raise PmgError(f"{option}[{index}]: {err}") from err
    _pmg.once_each(kind, [item.key for item in items])
    return items


def comment_of(one: Mapping[str, Any]) -> dict[str, str]:
    """The comment, if one is given; raises :class:`PmgError`."""
    comment = one.get("comment")
    return {} if comment is None else {"comment": _pmg.check_latin("the comment", comment)}


def keep(kind: Kind, items: Sequence[Item], params: Mapping[str, Any], api: Api, *, check_mode: bool) -> dict[str, Any]:
    """Have the list be as the options say, and tell what changed; raises :class:`PmgError`."""
    return told(kind, outcome_of(kind, items, params, api, check_mode=check_mode))


def outcome_of(
    kind: Kind,
    items: Sequence[Item],
    params: Mapping[str, Any],
    api: Api,
    *,
    check_mode: bool,
    judge: Callable[[Change], None] = lambda dummy: None,
) -> Outcome:
    """Have the list be as the options say; raises :class:`PmgError`, as ``judge`` may for a change."""
    absent = params["state"] == "absent"
    if absent and params["purge"]:
        raise PmgError("purge goes with state present: name those that stay, or none")
    return bring_about(
        api,
        kind,
        wanted=() if absent else items,
        unwanted=[item.key for item in items] if absent else (),
        purge=params["purge"],
        check_mode=check_mode,
        judge=judge,
        at_most=max(0, params.get("progress") or 0),
    )


def told(kind: Kind, outcome: Outcome) -> dict[str, Any]:
    """What a module says of a list."""
    before, after = _before(kind, outcome), _after(kind, outcome)
    return {
        "changed": bool(outcome.changes),
        "changed_entries": [change.key for change in outcome.changes],
        "entries": after,
        "requests": outcome.requests,
        **({"left": outcome.left} if outcome.left else {}),  # for the action plugin, which goes on
        "diff": {"before": _lines(kind, before), "after": _lines(kind, after)},
    }


def _before(kind: Kind, outcome: Outcome) -> list[dict[str, str]]:
    found = [_shown(kind, entry) for entry in outcome.before]
    return sorted(found, key=lambda entry: entry[kind.key])


def _after(kind: Kind, outcome: Outcome) -> list[dict[str, str]]:
    found: dict[str, Mapping[str, Any]] = {str(entry[kind.key]): entry for entry in outcome.before}
    for change in outcome.changes:
        found.pop(change.key, None)
        if change.after is not None:
            found[change.key] = change.after
    return [_shown(kind, {**found[key], kind.key: key}) for key in sorted(found)]


def _shown(kind: Kind, entry: Mapping[str, Any]) -> dict[str, str]:
    fields = {name: text for name, text in kind.values(entry).items() if name not in kind.hidden}
    return {kind.key: str(entry[kind.key]), **fields}


def _lines(kind: Kind, entries: Iterable[Mapping[str, str]]) -> str:
    """A list for people to compare."""
    return "".join("  ".join(filter(None, entry.values())) + "\n" for entry in entries)


def run_module(options: Mapping[str, Any], run: Callable[[dict[str, Any], Api, bool], dict[str, Any]]) -> None:
    """Start a module with these options beside those of the connection, and end it with what ``run`` returns.

    What it returns as ``warnings`` is said as such.
    """
    module = AnsibleModule(
        argument_spec={**CONNECTION, **options},
        required_if=[("api_transport", "https", ["api_host", "api_password"])],
        supports_check_mode=True,
    )
    session = Session(module.tmpdir) if module.params.get("progress") else None
    try:
        api = api_of(module.params, session)
        result = run(module.params, api, module.check_mode)
        if session and result.get("left"):
            api.leave(session)
        for sentence in result.pop("warnings", []):
            module.warn(sentence)
        module.exit_json(**result)
    except PmgError as err:
        module.fail_json(msg=str(err))
