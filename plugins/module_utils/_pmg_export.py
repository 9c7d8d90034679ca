# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running Proxmox Mail Gateway as the variables of the role ``pmg``, without its secrets. Private.

What the modules would refuse or the gateway does not tell is left out, and said with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import (
    _pmg,
    _pmg_acme,
    _pmg_certificate,
    _pmg_sections,
    _pmg_users,
    _pmg_welcome,
)
from ansible_collections.postmaster.mail.plugins.module_utils._pmg import Kind, PmgError
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Api, Forbidden, Unknown
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_run import read_list
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_tasks import Node

DKIM_OPTIONS = {"dkim_sign": "sign", "dkim_sign_all_mail": "sign_all_mail", "dkim-use-domain": "use_domain"}
USER_TEXTS = ("email", "firstname", "lastname", "comment")


@dataclass
class Export:
    """The variables, and sentences on what is not among them."""

    variables: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def export(node: Node) -> Export:
    """What a gateway is like. Raises :class:`PmgError`."""
    made, api = Export(), node.api
    for section in _pmg_sections.SECTIONS:
        _section(made, api, section)
    _networks(made, api)
    _list(made, api, "pmg_transports", _pmg.TRANSPORTS, _transport)
    _list(made, api, "pmg_domains", _pmg.DOMAINS, lambda one: _commented("domain", _pmg.domain_key(one["domain"]), one))
    _list(
        made,
        api,
        "pmg_tls_policies",
        _pmg.TLS_POLICIES,
        lambda one: {"destination": _pmg.destination_key(one["destination"]), "policy": one["policy"]},
    )
    _list(made, api, "pmg_tls_inbound_domains", _pmg.TLS_INBOUND_DOMAINS, lambda one: _pmg.domain_key(one["domain"]))
    _list(made, api, "pmg_users", _pmg_users.USERS, _user)
    _welcome(made, api)
    _dkim(made, api)
    _acme(made, node)
    return made


def _section(made: Export, api: Api, section: str) -> None:
    found = api.get(f"/config/{section}")
    if not isinstance(found, dict):
        raise PmgError(f"the gateway's section {section} cannot be read: is this a Proxmox Mail Gateway?")
    known, options = _pmg_sections.SECTIONS[section], dict[str, Any]()
    for name, value in sorted(found.items()):
        if section == "admin" and name in DKIM_OPTIONS:
            made.variables.setdefault("pmg_dkim", {})[DKIM_OPTIONS[name]] = _typed(known[name].kind, value)
        elif name in known:
            try:
                _pmg_sections.read(section, {name: value})
            except PmgError as err:  # one that has a password in it, say, which the error does not quote
                made.left_out.append(f"{section}.{name}: {err}")
                continue
            try:
                options[name] = _typed(known[name].kind, value)
            except (ValueError, TypeError):
                made.left_out.append(f"{section}.{name}: what the gateway has there is no number")
        elif name not in ("digest", "dkim_selector"):
            made.left_out.append(f"{section}.{name} is not known to pmg_config")
    made.variables[f"pmg_{section}"] = options


def _typed(kind: str, value: Any) -> Any:
    if kind == "bool":
        return str(value) in ("1", "True")
    return int(value) if kind == "int" else str(value)


def _list(made: Export, api: Api, variable: str, kind: Kind, read: Callable[[Mapping[str, Any]], Any]) -> None:
    """Each entry once: of several spellings that which the modules would keep, theirs or else the first."""
    found: dict[Any, Any] = {}
    for one in read_list(api, kind):
        key = str(one[kind.key])
        try:
            entry = read({kind.key: key, **kind.values(one)})
        except (ValueError, TypeError):
            raise PmgError(f"the gateway's list {kind.path} cannot be read: is this a Proxmox Mail Gateway?") from None
        except PmgError as err:
            made.left_out.append(f"{kind.title} {key}: {err}")
            continue
        spelling = entry[kind.key] if isinstance(entry, dict) else entry
        if kind.meaning(key) not in found or spelling == key:
            found[kind.meaning(key)] = entry
    made.variables[variable] = sorted(found.values(), key=str)


def _commented(key: str, value: str, entry: Mapping[str, str]) -> dict[str, Any]:
    comment = _pmg.check_text("the comment", entry["comment"])
    return {key: value, **({"comment": comment} if comment else {})}


def _networks(made: Export, api: Api) -> None:
    def read(one: Mapping[str, Any]) -> dict[str, Any]:
        meaning = _pmg.NETWORKS.meaning(one["cidr"])  # bits beyond the prefix mean nothing to the gateway
        return _commented("cidr", _pmg.network_key(str(meaning)), one)

    _list(made, api, "pmg_networks", _pmg.NETWORKS, read)
    made.variables["pmg_reachable_from_outside"] = not any(
        _is_too_much(one["cidr"]) for one in made.variables["pmg_networks"]
    )


def _is_too_much(cidr: str) -> bool:
    try:
        _pmg.check_trust(cidr)
    except PmgError:
        return True
    return False


def _transport(one: Mapping[str, str]) -> dict[str, Any]:
    key = _pmg.address_key(one["domain"])
    found = {"host": _pmg.host(one["host"]), "port": int(one["port"]), "protocol": one["protocol"]}
    return {"domain": key, **found, "use_mx": one["use_mx"] == "1", **_commented("domain", key, one)}


def _user(one: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {name: one[name] for name in USER_TEXTS if one[name]}
    if one["userid"] != _pmg_users.ROOT:
        found |= {"role": one["role"], "enable": one["enable"] == "1", "expire": int(one["expire"])}
    else:
        found.pop("comment", None)
    _pmg_users.read({"userid": one["userid"], **found})
    return {"userid": one["userid"], **found}


def _welcome(made: Export, api: Api) -> None:
    try:
        listed = read_list(api, _pmg_welcome.WELCOME_LIST)
    except Unknown:
        listed = read_list(api, _pmg_welcome.WHITELIST)
    found: dict[str, list[str]] = {}
    for entry in sorted({str(one["entry"]) for one in listed}):
        kind, value = _pmg_welcome.split_key(entry)
        try:
            read = _pmg_welcome.split_key(_pmg_welcome.key_of(kind, _whole(kind, value)))[1]
        except PmgError as err:
            made.left_out.append(f"welcome list: {err}")
            continue
        values = found.setdefault(_pmg_welcome.KINDS[kind][0], [])
        if read not in values:
            values.append(read)
    made.variables["pmg_welcomelist"] = found


def _whole(kind: str, value: str) -> str:
    return str(_pmg.NETWORKS.meaning(value)) if kind == "network" else value


def _dkim(made: Export, api: Api) -> None:
    dkim = made.variables.setdefault("pmg_dkim", {})
    kind = Kind("DKIM domain", "/config/dkim/domains", "domain", str.lower)
    _list(made, api, "dkim", kind, lambda one: _commented("domain", _pmg.domain_key(one["domain"]), one))
    dkim["domains"] = made.variables.pop("dkim")
    try:
        found = api.get("/config/dkim/selector")
    except Forbidden:
        made.left_out.append("the selector for DKIM: only the role admin may see it")
        return
    if isinstance(found, dict) and found.get("selector"):
        dkim["selector"] = str(found["selector"])
        made.left_out.append("the private key for DKIM stays on the gateway: its backup has it")


def _acme(made: Export, node: Node) -> None:
    config, api = node.get("/config"), node.api
    domains = list(_pmg_acme.domains_of(config if isinstance(config, dict) else {}).values())
    made.variables["pmg_acme_domains"] = [
        {
            "domain": one.name,
            "usage": list(one.uses),
            "plugin": one.plugin,
            **({"alias": one.alias} if one.alias else {}),
        }
        for one in domains
    ]
    accounts = _pmg_acme.accounts(api)
    name = _pmg_acme.account_of(config if isinstance(config, dict) else {})
    made.variables["pmg_acme_account"] = _account(made, api, name) if name in accounts else {}
    made.left_out += [f"ACME account {one} is not used by the node" for one in accounts if one != name]
    made.variables["pmg_acme_plugins"] = _plugins(made, api)
    made.variables["pmg_certificates"] = _certificates(made, node, domains)


def _account(made: Export, api: Api, name: str) -> dict[str, Any]:
    try:
        found = api.get(_pmg_acme.account_path(name))
    except Forbidden:
        made.left_out.append(f"ACME account {name}: the gateway lets root@pam alone see more than its name")
        return {"name": name}
    known = found if isinstance(found, dict) else {}
    contact = [str(one).removeprefix("mailto:") for one in (known.get("account") or {}).get("contact") or []]
    directory = str(known.get("directory") or _pmg_acme.LETS_ENCRYPT)
    return {"name": name, "contact": contact, "directory": directory}


def _plugins(made: Export, api: Api) -> list[dict[str, Any]]:
    try:
        present = _pmg_acme.plugins(api)
    except Forbidden:
        made.left_out.append("ACME plugins: only the role admin may see them")
        return []
    found = []
    for name, one in sorted(present.items()):
        if one.get("type") != "dns":
            continue  # there is nothing to say of it
        found.append(
            {
                "id": name,
                "api": str(one.get("api") or ""),
                "validation_delay": int(one.get("validation-delay") or _pmg_acme.DELAY)
                if str(one.get("validation-delay")) != "0"
                else 0,
                "disable": str(one.get("disable") or 0) == "1",
            }
        )
        if one.get("data"):
            made.left_out.append(f"ACME plugin {name}: its credentials")
    return found


def _certificates(made: Export, node: Node, domains: Iterable[_pmg_acme.Domain]) -> list[dict[str, Any]]:
    found, listed = [], node.listed("/certificates/info", "certificates")
    for kind in _pmg_certificate.FILES:
        held = _pmg_certificate.held_of(listed, kind)
        if held is None or held.is_self_made:
            continue
        if held.names == {one.name for one in domains if kind in one.uses}:
            found.append({"type": kind, "source": "acme"})
        else:
            made.left_out.append(
                f"the certificate for {kind} ({', '.join(sorted(held.names))}, until {held.ends:%Y-%m-%d}): the "
                "gateway does not tell its key, so give it with the key where it should be renewed"
            )
    return found
