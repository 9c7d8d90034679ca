# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Proxmox Mail Gateway needs for certificates by ACME: accounts, plugins, and the domains of a node. Private.

Facts: pmg-api 8.2 and 9.1. A node's configuration has six places for domains, each a text of parts with commas between
them. The credentials of a plugin are lines ``NAME=value`` in base64.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from ansible_collections.postmaster.mail.plugins.module_utils import _pmg, _pmg_run
from ansible_collections.postmaster.mail.plugins.module_utils._pmg import PmgError
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Api, Forbidden
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_tasks import Node, listed

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
USES = ("api", "smtp")
STANDALONE = "standalone"
PLACES = tuple(f"acmedomain{number}" for number in range(6))
DELAY = 30  # seconds between a record and the question for it, unless told otherwise
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABEL = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})+")
_ALIAS = re.compile(rf"_?{_LABEL}(?:\._?{_LABEL})+")
_URL = re.compile(r"https://[!-~]+")
_ADDRESS = re.compile(r"[^@\s,;]+@[^@\s,;]+")
_API = re.compile(r"[a-z0-9_]+")


@dataclass(frozen=True)
class Account:
    """An account at an authority. An empty contact stays as it is."""

    name: str
    contact: tuple[str, ...]
    directory: str
    terms_accepted: bool = False
    key_id: str = ""
    key: str = field(default="", repr=False)


@dataclass(frozen=True)
class Plugin:
    """How it is proven that names are one's own; without ``api`` by answering on port 80.

    ``data`` of None stays as it is.
    """

    name: str
    api: str = ""
    data: Mapping[str, str] | None = field(default=None, repr=False)
    delay: int = DELAY
    disabled: bool = False

    @property
    def kind(self) -> str:
        """What the gateway calls it."""
        return "dns" if self.api else STANDALONE


@dataclass(frozen=True)
class Domain:
    """A name for the node's certificates, and which of them."""

    name: str
    uses: tuple[str, ...]
    plugin: str = STANDALONE
    alias: str = ""

    def __str__(self) -> str:
        parts = {"domain": self.name, "usage": ";".join(self.uses), "plugin": self.plugin, "alias": self.alias}
        return ",".join(f"{name}={text}" for name, text in parts.items() if text)


@dataclass(frozen=True)
class Wanted:
    """What is asked for; None is what nobody asked about."""

    account: Account | None = None
    plugins: Sequence[Plugin] | None = None
    domains: Sequence[Domain] | None = None
    purge: bool = False
    absent: bool = False


@dataclass
class Done:
    """What was changed (or would be): what it is called, and its texts before and after, without secrets."""

    changes: list[tuple[str, str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, what: str, before: str, after: str) -> None:
        """Note a change."""
        self.changes.append((what, before, after))


# -- what may be asked for ----------------------------------------------------------------------


def check_name(what: str, text: str) -> str:
    """The name of an account or a plugin. Raises :class:`PmgError`."""
    if not _NAME.fullmatch(text):
        raise PmgError(f"{what} {text!r} cannot be a name: use letters, digits, - and _, and a letter first")
    return text


def read_account(given: Mapping[str, Any]) -> Account:
    """An account as it is asked for. Raises :class:`PmgError`."""
    name = check_name("account", given["name"])
    for one in given["contact"]:
        if not _ADDRESS.fullmatch(one):
            raise PmgError(f"account: {one!r} is no mail address: write one such as hostmaster@example.org")
    if not _URL.fullmatch(given["directory"]):
        raise PmgError(f"account: {given['directory']!r} is no https address: give the directory of the authority")
    if bool(given["eab_kid"]) is not bool(given["eab_hmac_key"]):
        raise PmgError("account: eab_kid and eab_hmac_key go together: give both or neither")
    return Account(
        name,
        tuple(given["contact"]),
        given["directory"],
        given["terms_accepted"],
        _pmg.check_text("account: eab_kid", given["eab_kid"] or ""),
        _pmg.check_text("account: eab_hmac_key", given["eab_hmac_key"] or ""),
    )


def read_plugin(given: Mapping[str, Any]) -> Plugin:
    """A plugin as it is asked for. Raises :class:`PmgError`, which quotes no value of its data."""
    name, api, data = check_name("plugin", given["id"]), given["api"] or "", given["data"]
    if api and not _API.fullmatch(api):
        raise PmgError(
            f"plugin {name}: {api!r} is no provider: use the name of acme.sh's script without dns_, such as cf"
        )
    if data and not api:
        raise PmgError(f"plugin {name}: data goes with api: name the provider that it is for")
    for variable, text in (data or {}).items():
        if not _VARIABLE.fullmatch(variable):
            raise PmgError(f"plugin {name}: {variable!r} cannot be a variable: write one such as CF_Token")
        _pmg.check_text(f"plugin {name}: {variable}", str(text))
    if name == STANDALONE and api:
        raise PmgError(f"plugin {STANDALONE} is the gateway's own, without a provider: give another name")
    if not 0 <= given["validation_delay"] <= 172800:
        raise PmgError(f"plugin {name}: validation_delay is from 0 to 172800 seconds")
    texts = None if data is None else {variable: str(text) for variable, text in data.items()}
    return Plugin(name, api, texts, given["validation_delay"], given["disable"])


def read_domain(given: Mapping[str, Any]) -> Domain:
    """A domain as it is asked for. Raises :class:`PmgError`."""
    name, alias = given["domain"].strip().lower(), (given["alias"] or "").strip().lower()
    if not _DOMAIN.fullmatch(name) or len(name) > _pmg.NAME_LIMIT:
        raise PmgError(f"domain {given['domain']!r} is no full host name: write one such as mail.example.org")
    if alias and not _ALIAS.fullmatch(alias):
        raise PmgError(f"domain {name}: the alias {given['alias']!r} is no domain: write one such as acme.example.org")
    plugin = check_name(f"domain {name}: plugin", given["plugin"])
    if name.startswith("*.") and plugin == STANDALONE:
        raise PmgError(f"domain {name} stands for many names, which takes a plugin for DNS: name one")
    uses = tuple(use for use in USES if use in given["usage"])
    if not uses:
        raise PmgError(f"domain {name} has no usage: say api, smtp or both")
    return Domain(name, uses, plugin, alias)


def parse_domain(text: str) -> Domain:
    """A domain as the gateway keeps it."""
    parts = {}
    for part in text.split(","):
        name, is_named, value = part.strip().partition("=")
        parts[name if is_named else "domain"] = value if is_named else name
    used = re.split(r"[,;\s]+", parts.get("usage", ""))
    uses = tuple(use for use in USES if use in used)
    return Domain(
        parts.get("domain", "").lower(), uses, parts.get("plugin", STANDALONE), parts.get("alias", "").lower()
    )


def domains_of(config: Mapping[str, Any]) -> dict[str, Domain]:
    """The domains of a node by their places."""
    return {place: parse_domain(str(config[place])) for place in PLACES if config.get(place)}


def encode(data: Mapping[str, str]) -> str:
    """The credentials of a plugin as the gateway takes them."""
    return base64.b64encode("\n".join(f"{name}={text}" for name, text in data.items()).encode()).decode()


def decode(text: str) -> dict[str, str]:
    """The reverse; what cannot be read is nothing."""
    plain = text.strip().translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        lines = base64.b64decode(plain + "=" * (-len(plain) % 4)).decode().splitlines()
    except (binascii.Error, ValueError):
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {name.strip(): value.strip() for name, dummy, value in pairs}


# -- the plan -----------------------------------------------------------------------------------


def plugin_changes(present: Mapping[str, Any] | None, wanted: Plugin) -> dict[str, str]:
    """The parameters that a plugin lacks, or all if there is none. Raises :class:`PmgError`."""
    meant = {"api": wanted.api, "disable": str(int(wanted.disabled))}
    if wanted.api:
        meant["validation-delay"] = str(wanted.delay)
    if present is None:
        made = {name: text for name, text in meant.items() if text and (name, text) != ("disable", "0")}
        return {**made, **({"data": encode(wanted.data)} if wanted.data else {})}
    if present.get("type", STANDALONE) != wanted.kind:
        raise PmgError(
            f"the plugin {wanted.name} is one for {present.get('type')}: remove it first, or give another name"
        )
    there = {"api": "", "disable": 0, "validation-delay": DELAY, **{k: v for k, v in present.items() if v is not None}}
    found = {name: text for name, text in meant.items() if str(there[name]) != text}
    if wanted.data is not None and dict(wanted.data) != decode(str(present.get("data") or "")):
        found["data"] = encode(wanted.data)
    return found


def config_changes(
    config: Mapping[str, Any], wanted: Sequence[Domain] | None, *, account: str = "", purge: bool, absent: bool
) -> tuple[dict[str, str], list[str]]:
    """The texts that a node's configuration lacks by place, and the places to be emptied. Raises :class:`PmgError`."""
    there, made, gone = domains_of(config), dict[str, str](), list[str]()
    places = {domain.name: place for place, domain in there.items()}
    names = {domain.name for domain in wanted or ()}
    if absent:
        gone = [places[name] for name in names if name in places]
    else:
        free = [place for place in PLACES if place not in there]
        if purge and wanted is not None:
            gone = [place for place, domain in there.items() if domain.name not in names]
        for domain in wanted or ():
            place = places.get(domain.name) or next(iter(free), None) or next(iter(gone), None)
            if place is None:
                raise PmgError(
                    f"the domain {domain.name} is one too many: a gateway has certificates for {len(PLACES)}"
                )
            free, gone = ([one for one in some if one != place] for some in (free, gone))
            if there.get(place) != domain:
                made[place] = str(domain)
        if account and account_of(config) != account:
            made["acme"] = f"account={account}"
    return made, sorted(gone)


def account_of(config: Mapping[str, Any]) -> str:
    """The account that a node orders certificates with."""
    parts = dict(part.strip().partition("=")[::2] for part in str(config.get("acme") or "").split(","))
    return parts.get("account") or "default"


# -- doing it -----------------------------------------------------------------------------------


def names_for(node: Node, use: str) -> list[str]:
    """The names that a node's certificate of a kind is to have. Raises :class:`PmgError`."""
    return sorted(domain.name for domain in domains_of(_config(node)).values() if use in domain.uses)


def bring_about(node: Node, wanted: Wanted, *, check_mode: bool = False) -> Done:
    """Have accounts, plugins and domains be as they should, in an order in which each finds what it needs.

    Raises :class:`PmgError`, which says what is done.
    """
    done = Done()
    steps = [_keep_account, _keep_plugins, _keep_domains]
    for step in reversed(steps) if wanted.absent else steps:
        try:
            step(node, wanted, done, check_mode)
        except PmgError as err:
            told = ", ".join(what for what, dummy, dummy2 in done.changes) or "nothing"
            raise type(err)(f"{err} (done: {told})" if not check_mode else str(err)) from err
    return done


def _keep_account(node: Node, wanted: Wanted, done: Done, check_mode: bool) -> None:
    account = wanted.account
    if account is None:
        return
    there = account.name in accounts(node.api)
    if wanted.absent:
        if there:
            done.add(f"account {account.name}", f"account {account.name}\n", "")
            if not check_mode:
                _on_account(node, account.name, "DELETE", {}, lambda: account.name not in accounts(node.api))
    elif there:
        _update(node, account, done, check_mode)
    else:
        _register(node, account, done, check_mode)


def _register(node: Node, account: Account, done: Done, check_mode: bool) -> None:
    if not account.contact:
        raise PmgError(f"the account {account.name} has no contact: give an address that the authority may write to")
    if not account.terms_accepted:
        terms = _terms(node.api, account.directory)
        raise PmgError(
            f"the authority {account.directory} has terms of service{f', {terms}' if terms else ''}: read them, and "
            "say terms_accepted: true if you agree"
        )
    done.add(f"account {account.name}", "", f"account {account.name}: {', '.join(account.contact)}\n")
    if check_mode:
        return
    params = {"name": account.name, "contact": ",".join(account.contact), "directory": account.directory}
    params["tos_url"] = _terms(node.api, account.directory) or account.directory  # any text says yes
    if account.key_id:
        params |= {"eab-kid": account.key_id, "eab-hmac-key": account.key}

    def register() -> None:
        node.run(f"registering the account {account.name}", "POST", "/config/acme/account", params)

    _pmg_run.insist(register, lambda: account.name in accounts(node.api), sleep=node.sleep)


def _update(node: Node, account: Account, done: Done, check_mode: bool) -> None:
    try:
        found = node.api.get(account_path(account.name))
    except Forbidden:
        done.warnings.append(
            f"the account {account.name} is there, and the gateway lets root@pam alone see more of it: its contact is "
            "not compared"
        )
        return
    known = found if isinstance(found, dict) else {}
    directory = str(known.get("directory") or account.directory)
    if directory != account.directory:
        raise PmgError(
            f"the account {account.name} is one at {directory}: give another name for one at {account.directory}"
        )
    contact = tuple(str(one).removeprefix("mailto:") for one in (known.get("account") or {}).get("contact") or [])
    if not account.contact or sorted(contact) == sorted(account.contact):
        return
    texts = [f"account {account.name}: {', '.join(some)}\n" for some in (contact, account.contact)]
    done.add(f"account {account.name}", *texts)
    if not check_mode:
        _on_account(node, account.name, "PUT", {"contact": ",".join(account.contact)}, lambda: False)


def _on_account(node: Node, name: str, method: str, params: Mapping[str, str], is_done: Any) -> None:
    _pmg_run.insist(
        lambda: node.run(f"the account {name}", method, account_path(name), params), is_done, sleep=node.sleep
    )


def account_path(name: str) -> str:
    """The path of an account."""
    return f"/config/acme/account/{quote(name, safe='')}"


def accounts(api: Api) -> list[str]:
    """The names of a gateway's accounts. Raises :class:`PmgError`."""
    return [str(one.get("name")) for one in listed(api, "/config/acme/account", "ACME accounts")]


def _terms(api: Api, directory: str) -> str:
    """Where the terms of an authority are, as far as the gateway can find out."""
    try:
        found = api.call("GET", "/config/acme/meta", {"directory": directory})
    except PmgError:
        return ""
    return str(found.get("termsOfService") or "") if isinstance(found, dict) else ""


def _keep_plugins(node: Node, wanted: Wanted, done: Done, check_mode: bool) -> None:
    if wanted.plugins is None:
        return
    there = plugins(node.api)
    names = [plugin.name for plugin in wanted.plugins]
    if wanted.absent:
        _remove(node.api, [name for name in names if name in there], done, check_mode)
        return
    for plugin in wanted.plugins:
        todo = plugin_changes(there.get(plugin.name), plugin)
        if not todo and plugin.name in there:
            continue
        before = f"plugin {plugin.name}\n" if plugin.name in there else ""
        told = ", ".join(f"{name} (hidden)" if name == "data" else f"{name} {text}" for name, text in todo.items())
        done.add(f"plugin {plugin.name}", before, f"plugin {plugin.name}: {told or plugin.kind}\n")
        if not check_mode:
            _put_plugin(node, plugin, todo, made=plugin.name not in there)
    if wanted.purge:
        _remove(node.api, sorted(set(there) - {*names, STANDALONE}), done, check_mode)


def _put_plugin(node: Node, plugin: Plugin, todo: Mapping[str, str], *, made: bool) -> None:
    def is_so() -> bool:
        found = plugins(node.api).get(plugin.name)
        return found is not None and not plugin_changes(found, plugin)

    def send() -> None:
        if made:
            node.api.call("POST", "/config/acme/plugins", {"id": plugin.name, "type": plugin.kind, **todo})
        else:
            node.api.call("PUT", _plugin_path(plugin.name), todo)

    _pmg_run.insist(send, is_so, sleep=node.sleep)


def _remove(api: Api, names: Sequence[str], done: Done, check_mode: bool) -> None:
    for name in names:
        if name == STANDALONE:
            raise PmgError(f"the plugin {STANDALONE} is the gateway's own and cannot be removed: leave it out")
        done.add(f"plugin {name}", f"plugin {name}\n", "")
        if not check_mode:
            _remove_plugin(api, name)


def _remove_plugin(api: Api, name: str) -> None:
    """Doing it twice does no harm: of one that is not there, too, the gateway says that it is done."""
    _pmg_run.insist(lambda: api.call("DELETE", _plugin_path(name), {}), lambda: False)


def _plugin_path(name: str) -> str:
    return f"/config/acme/plugins/{quote(name, safe='')}"


def plugins(api: Api) -> dict[str, dict[str, Any]]:
    """The plugins of a gateway by name. Raises :class:`PmgError`."""
    return {str(one.get("plugin")): one for one in listed(api, "/config/acme/plugins", "ACME plugins")}


def _keep_domains(node: Node, wanted: Wanted, done: Done, check_mode: bool) -> None:
    account = wanted.account.name if wanted.account and not wanted.absent else ""
    if wanted.domains is None and not account:
        return
    noted = False
    waits = iter(_pmg_run.WAITS)
    while True:
        config = _config(node)
        made, gone = config_changes(config, wanted.domains, account=account, purge=wanted.purge, absent=wanted.absent)
        if not made and not gone:
            return
        if not noted:
            noted = True
            for place in sorted({*made, *gone}):
                _note(done, config, place, made.get(place, ""))
        if check_mode:
            return
        params = {**made, **({"delete": ",".join(gone)} if gone else {})}
        if digest := str(config.get("digest") or ""):
            params["digest"] = digest
        try:
            node.api.call("PUT", node.path("/config"), params)
            return
        except PmgError as err:
            wait = next(waits, None)
            if wait is None or not _pmg_run.is_passing(err):
                raise
            node.sleep(wait)


def _note(done: Done, config: Mapping[str, Any], place: str, after: str) -> None:
    before = str(config.get(place) or "")
    named = "the node's account" if place == "acme" else f"domain {parse_domain(after or before).name}"
    done.add(named, f"{before}\n" if before else "", f"{after}\n" if after else "")


def _config(node: Node) -> Mapping[str, Any]:
    found = node.get("/config")
    if not isinstance(found, dict):
        raise PmgError("the configuration of the gateway's node cannot be read: is this a Proxmox Mail Gateway?")
    return found
