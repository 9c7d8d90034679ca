# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From descriptions of hosts to the files of an inventory, and to what people are told. Pure, private.

This runs on the controller. A description comes from the host it is about, and a host may lie: only
names of variables that we know and texts without templates get into a file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import yaml
from ansible_collections.postmaster.mail.plugins.module_utils import _adopt as ad
from ansible_collections.postmaster.mail.plugins.module_utils._dkim import ALGORITHMS

HEADER = "# Written by postmaster.mail.adopt"
FREE = ("satellite_domain", "satellite_relay", "satellite_root_address")
FREE_RELAY = ("relay_hostname", "relay_domain", "relay_networks", "mail_addresses", "mail_dkim_adopted")
"""Variables without a default."""
KNOWN = frozenset({*ad.SATELLITE_DEFAULTS, *ad.RELAY_DEFAULTS, *FREE, *FREE_RELAY})
SECRETS = re.compile(r"(satellite|relay_smarthost)_(username|password)")
_ADOPTED_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]*")
_GROUPED = {"satellites_postfix": "satellites", "satellites_exim": "satellites"}
_REMARK_WIDTH = 100


class AdoptionError(ValueError):
    """A description or a file is not what it should be; the message names the host or file."""


def _plain(value: Any) -> Any:
    """``value`` of plain Python types, whatever Ansible hung on it."""
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError, RecursionError) as err:
        raise AdoptionError("a description of mail_adopt_info holds something that is no plain value") from err


def checked(found: Mapping[str, Any]) -> dict[str, Any]:
    """A description in plain types, proven harmless. Raises :class:`AdoptionError`."""
    plain = _plain({name: found.get(name) for name in ("mta", "role", "variables", "secrets", "keys", "untranslated")})
    shapes = {"mta": str, "role": str, "variables": dict, "secrets": dict, "keys": list, "untranslated": list}
    if any(not isinstance(plain[name], shape) for name, shape in shapes.items()) or plain["role"] not in ad.GROUPS:
        raise AdoptionError("this is no description that mail_adopt_info returns")
    for name, value in plain["variables"].items():
        if name not in KNOWN or not all(ad.is_harmless(text) for text in ad.texts(value)):
            raise AdoptionError(f"the variable {ad.show(name)} is not one to take from a host: is the host sound?")
    for name, vault in plain["secrets"].items():
        if not SECRETS.fullmatch(name) or vault != f"vault_{name}":
            raise AdoptionError(f"the secret {ad.show(name)} is not one to take from a host: is the host sound?")
    return dict(plain)


# ---------------------------------------------------------------- files


def host_file(found: Mapping[str, Any], host: str, defined: Collection[str]) -> str:
    """The text of ``host_vars/<host>/mail.yml``, empty for a host without a role.

    Values that the roles take for granted are left out, unless the variable is ``defined`` in the
    inventory already: a value for a whole group must not hit a host that has another one.
    """
    plain = checked(found)
    if not plain["role"]:
        return ""
    lines = [
        f"{HEADER} from what {ad.show(host)} says of itself. It is yours: nothing",
        "# is written over it without -e adopt_overwrite=true.",
        "---",
    ]
    written = {name: value for name, value in plain["variables"].items() if _is_needed(plain, name, value, defined)}
    body = [_dump(written).rstrip("\n")] if written else []
    if plain["secrets"]:
        body.append("# Stayed on the host: put them into the vault under these names.")
        body += [f'{name}: "{{{{ {vault} }}}}"' for name, vault in plain["secrets"].items()]
    if plain["untranslated"]:
        body.append("\n# What these variables do not say:")
        body += [line for text in _remarks(plain) for line in _wrapped(text)]
    return "\n".join([*lines, *body]) + "\n"


def _is_needed(plain: Mapping[str, Any], name: str, value: Any, defined: Collection[str]) -> bool:
    if name == "mail_addresses":
        return name not in defined
    usual: object
    if name == "relay_domain":
        usual = ad.parent_domain(str(plain["variables"].get("relay_hostname")))
    else:
        usual = {**ad.SATELLITE_DEFAULTS, **ad.RELAY_DEFAULTS}.get(name)
    return bool(value != usual or name in defined)


class _Dumper(yaml.SafeDumper):
    """Lists are indented below their key, as yamllint likes them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _represent_text(dumper: _Dumper, text: str) -> yaml.Node:
    """A text as it is: what looks like a template, DNS may hold anything, must not become one when it is read."""
    if any(mark in text for mark in ("{{", "{%", "{#")):
        return dumper.represent_scalar("!unsafe", text, style="'")
    return dumper.represent_str(text)


_Dumper.add_representer(str, _represent_text)
# What modules return comes in kinds of its own, which behave like these.
_Dumper.add_multi_representer(str, _represent_text)
_Dumper.add_multi_representer(dict, yaml.SafeDumper.represent_dict)
_Dumper.add_multi_representer(list, yaml.SafeDumper.represent_list)


def _dump(value: Any) -> str:
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110))


def _remarks(plain: Mapping[str, Any]) -> Iterator[str]:
    """One sentence for each thing that was not translated."""
    for note in plain["untranslated"]:
        told = {name: ad.show(note.get(name, ""), 600) if isinstance(note, dict) else "" for name in NOTE_FIELDS}
        value = f" ({told['value']})" if told["value"] else ""
        yield f"{told['item']}{value}: {told['reason']}; {told['remedy']}."


NOTE_FIELDS = ("item", "value", "reason", "remedy")


def _wrapped(text: str) -> list[str]:
    lines, line = [], "# -"
    for word in text.split():
        if len(line) + len(word) > _REMARK_WIDTH and len(line) > 3:
            lines.append(line)
            line = "#  "
        line += f" {word}"
    return [*lines, line]


def groups_file(existing: str, roles: Mapping[str, str]) -> str:
    """The text of ``hosts-adopted.yml``: hosts in the groups that the playbooks know.

    ``roles`` are the hosts of this run; those that ``existing`` lists besides stay where they are.
    Raises :class:`AdoptionError` where ``existing`` is not a file of ours.
    """
    given = _plain(dict(roles))
    members = {host: group for host, group in _listed(existing).items() if host not in given}
    for host, role in given.items():
        if role not in ad.GROUPS or not _ADOPTED_NAME.fullmatch(host):
            raise AdoptionError(f"the host {ad.show(host)} cannot be put into a group")
        members[host] = ad.GROUPS[role]
    tree: dict[str, Any] = {}
    for group in ad.GROUPS.values():
        hosts = {host: None for host, one in sorted(members.items()) if one == group}
        if hosts and group in _GROUPED:
            tree.setdefault(_GROUPED[group], {"children": {}})["children"][group] = {"hosts": hosts}
        elif hosts:
            tree[group] = {"hosts": hosts}
    text = _dump({"all": {"children": tree}}).replace(": null\n", ":\n")
    return f"{HEADER}, which also keeps it: edit the hosts elsewhere.\n---\n{text}"


def _listed(text: str) -> dict[str, str]:
    """The group of each host in an earlier ``hosts-adopted.yml``."""
    if not text.strip():
        return {}
    problem = "hosts-adopted.yml was written by somebody else: move it away first"
    try:
        children = yaml.safe_load(text)["all"]["children"]
        groups = {**children, **children.get("satellites", {}).get("children", {})}
        listed = {
            str(host): group
            for group, one in groups.items()
            if group in ad.GROUPS.values()
            for host in one.get("hosts") or ()
        }
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise AdoptionError(problem) from err
    if not text.startswith(HEADER):
        raise AdoptionError(problem)
    return listed


def signed_domains(results: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The domains that hosts sign for, each with the ``algorithms`` and ``selectors`` of its keys."""
    domains: dict[str, dict[str, Any]] = {}
    for found in results.values():
        for key in checked(found)["keys"]:
            told = key if isinstance(key, dict) else {}
            domain, algorithm, selector = (str(told.get(name)) for name in ("domain", "algorithm", "selector"))
            if ad.is_domain(domain) and algorithm in ALGORITHMS:
                one = domains.setdefault(domain, {"algorithms": set(), "selectors": set()})
                one["algorithms"].add(algorithm)
                one["selectors"].add(selector)
    return dict(sorted(domains.items()))


def domains_file(results: Mapping[str, Mapping[str, Any]], dns: Mapping[str, Any] | None = None) -> str:
    """The text of ``group_vars/all/adopted.yml``: the domains that relays sign for; empty without any.

    ``dns`` is what the module ``mail_domain_info`` returned of them. Without it the file is a beginning to be
    completed.
    """
    signed = signed_domains(results)
    told = {one["name"]: one for one in (dns or {}).get("mail_domains", ())}
    domains = [_domain(name, signed.get(name), told.get(name, {})) for name in sorted({*signed, *told})]
    if not domains:
        return ""
    if not told:
        return (
            f"{HEADER}: the domains that your relays sign for. What DNS says of them besides\n"
            "# (other senders, DMARC, MX) is not known here: add it before anything is published.\n"
            f"---\n{_dump({'mail_domains': domains})}"
        )
    left = "".join(
        f"# {ad.show(one['domain'])}: {ad.show(one['item'])}\n#   {ad.show(one['remedy'])}\n"
        for one in (dns or {}).get("untranslated", ())
    )
    rest = f"\n# What no option describes, or would be published differently:\n{left}" if left else ""
    body = _dump({"mail_domains": domains})
    return f"{HEADER} from the keys that your relays hold and what DNS says.\n---\n{body}{rest}"


def _domain(name: str, signed: Mapping[str, Any] | None, told: Mapping[str, Any]) -> dict[str, Any]:
    """A domain by its DNS; where that says nothing of senders, the relays that sign for it send."""
    dkim = {"dkim": {"algorithms": sorted(signed["algorithms"], reverse=True)}} if signed else {}
    if told.get("senders"):
        return {**told, **dkim}
    senders = {"senders": [{"hosts": "relays"}], "spf_all": "~all"} if signed else {}
    return {"name": name, **{key: value for key, value in told.items() if key != "spf_all"}, **senders, **dkim}


# ---------------------------------------------------------------- what people are told


def report(found: Mapping[str, Any], host: str, groups: Collection[str] = ()) -> list[str]:
    """A host's description in lines for the screen; ``groups`` are those that it is in already."""
    plain = checked(found)
    group = ad.GROUPS[plain["role"]]
    others = [name for name in ad.GROUPS.values() if name in groups and name not in (group, "unadopted")]
    if plain["role"]:
        lines = [f"{ad.show(host)}: role {plain['role']}, group {group}"]
    else:
        lines = [f"{ad.show(host)}: no role fits; the host is left alone"]
    lines += [f"  LOOK: your inventory has this host in {name}; take it out there" for name in others]
    lines += [
        f"  {name}: {ad.show(json.dumps(value))}" for name, value in plain["variables"].items() if _tells(name, value)
    ]
    lines += [f"  {name}: put it into the vault as {vault}" for name, vault in plain["secrets"].items()]
    if plain["untranslated"]:
        lines.append("  not translated:")
    lines += [f"  - {text}" for text in _remarks(plain)]
    return lines


def _tells(name: str, value: Any) -> bool:
    return bool(value != {**ad.SATELLITE_DEFAULTS, **ad.RELAY_DEFAULTS}.get(name))
