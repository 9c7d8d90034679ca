# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the tables of OpenDKIM and rspamd to the keys that a host signs with. Pure, private.

Only domains, selectors and paths: a key itself never comes here. A table may hold a key in the place
of its path; such an entry is told of without its content. Sources: opendkim.conf(5), rspamd's
dkim_signing module.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _adopt as ad
from ansible_collections.postmaster.mail.plugins.module_utils._adopt import Description
from ansible_collections.postmaster.mail.plugins.module_utils._dkim import DkimError, check_domain, check_selector

RSPAMD, OPENDKIM = "rspamd", "opendkim"
SOCKETS = {RSPAMD: ("11332", "rspamd"), OPENDKIM: ("8891", "opendkim")}
DEFAULT_DIRECTORY = "/etc/dkimkeys"
OPENDKIM_USUAL: Mapping[str, tuple[str, ...]] = {
    "mode": ("s", "sv"),
    "canonicalization": ("relaxed/relaxed",),
    "subdomains": ("no", "false"),
    "oversignheaders": ("from",),
    "multiplesignatures": ("yes",),
    "requiresafekeys": ("yes", "true"),
    "signheaders": ("*,+message-id,+sender,+list-unsubscribe-post",),
}
_OPENDKIM_PLAIN = frozenset(
    "domain selector keyfile keytable signingtable socket userid umask syslog syslogsuccess logwhy pidfile "
    "trustanchorfile internalhosts externalignorelist autorestart autorestartrate background "
    "softwareheader temporarydirectory nameservers resolverconfiguration".split()
)
"""What the role sets in its own way without a change of meaning, or what its variables tell."""


@dataclass(frozen=True)
class Signing:
    """One key in use: ``path`` as the signer names it."""

    domain: str
    selector: str
    path: str


@dataclass(frozen=True)
class KeyFile:
    """What is known of a key's file: ``path`` without symbolic links, ``problem`` if it is no key we can use."""

    path: str
    algorithm: str = ""
    bits: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Listed:
    """A key in a manifest of ours: its path, and whether it is active."""

    path: str
    active: bool


@dataclass(frozen=True)
class DkimFound:
    """What a host signs with, the files of it by the signer's path, and the manifests' keys by domain and selector."""

    signings: Sequence[Signing] = ()
    files: Mapping[str, KeyFile] = field(default_factory=dict)
    listed: Mapping[tuple[str, str], Listed] = field(default_factory=dict)


# ---------------------------------------------------------------- OpenDKIM


def parse_opendkim(text: str) -> dict[str, str]:
    """The settings of an opendkim.conf by name in lower case; the last one counts."""
    settings = {}
    for line in text.splitlines():
        parts = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip().split(None, 1)
        if parts:
            settings[parts[0].lower()] = parts[1].strip() if len(parts) > 1 else ""
    return settings


def table_path(value: str) -> str:
    """The file of a table such as ``refile:/etc/opendkim/key.table``, or an empty string for another kind."""
    match = re.fullmatch(r"(?:(?:re)?file:)?(/\S+)", value.strip())
    return match[1] if match else ""


def table_lines(text: str) -> list[list[str]]:
    """The entries of a table as key and value."""
    lines = (line.partition("#")[0].strip().split(None, 1) for line in text.splitlines())
    return [line for line in lines if len(line) == 2]


def opendkim_signings(draft: Description, settings: Mapping[str, str], tables: Mapping[str, str]) -> list[Signing]:
    """The keys that OpenDKIM signs with; ``tables`` holds the texts of its files by path."""
    if not settings.get("keytable"):
        return _opendkim_single(draft, settings)
    keys = {}
    for name, value in table_lines(tables.get(table_path(settings["keytable"]), "")):
        parts = value.split(":", 2)
        if len(parts) == 3 and parts[2].startswith("/"):
            keys[name] = Signing(parts[0], parts[1], parts[2].strip())
        else:
            reason = "names no file, or holds the key itself"
            draft.note("KeyTable", name, reason, "put the key into a file and name that")
    if not table_path(settings["keytable"]) or not table_path(settings.get("signingtable", "/")):
        draft.note("KeyTable", settings["keytable"], "only tables in files are read", "name the keys by hand")
    return _opendkim_signed(draft, keys, table_lines(tables.get(table_path(settings.get("signingtable", "")), "")))


def _opendkim_signed(draft: Description, keys: Mapping[str, Signing], signed: Sequence[Sequence[str]]) -> list[Signing]:
    result = []
    for pattern, names in signed:
        domain = pattern.removeprefix("*@").lower()
        for name in re.split(r"[\s,]+", names.strip()):
            key = keys.get(name)
            own = key.domain.replace("%", domain).lower() if key else ""
            if key is None or own != domain:
                reason = "the roles sign all mail of a domain with keys of that domain"
                draft.note("SigningTable", f"{pattern} {name}", reason, "see which mail is unsigned then")
            if key is not None and ad.is_domain(own):
                result.append(Signing(own, key.selector, key.path))
    return list(dict.fromkeys(result))


def _opendkim_single(draft: Description, settings: Mapping[str, str]) -> list[Signing]:
    """``Domain``, ``Selector`` and ``KeyFile``: one key for all domains."""
    domains = [item.lower() for item in re.split(r"[\s,]+", settings.get("domain", "")) if item]
    selector, path = settings.get("selector", ""), settings.get("keyfile", "")
    plain = [item for item in domains if ad.is_domain(item)]
    if len(plain) != len(domains):
        draft.note("Domain", settings.get("domain", ""), "only a list of domains is read", "name the keys by hand")
    if not selector or not path.startswith("/"):
        return []
    if len(plain) > 1:
        reason = "one key signs for several domains, which a manifest cannot say of a file"
        draft.note("KeyFile", path, reason, "make a copy of the file for each domain")
    return [Signing(domain, selector, path) for domain in plain]


def opendkim_leftovers(draft: Description, settings: Mapping[str, str]) -> None:
    """Settings that the role's opendkim.conf does not have. It replaces the file."""
    for name, value in settings.items():
        usual = [item.lower() for item in OPENDKIM_USUAL.get(name, ())]
        if name not in _OPENDKIM_PLAIN and value.lower() not in usual:
            reason = (
                "the role writes opendkim.conf anew, without it"
                if name not in OPENDKIM_USUAL
                else (f"the role sets it to {OPENDKIM_USUAL[name][0]}")
            )
            draft.note(f"opendkim.conf {name}", value, reason, "see whether that will do")
    if "v" in settings.get("mode", ""):
        reason = "the role signs only; a relay gets no mail from elsewhere to verify"
        draft.note("opendkim.conf mode", settings["mode"], reason, "nothing, if nobody reads the verdicts")


# ---------------------------------------------------------------- rspamd


def rspamd_signings(draft: Description, dump: str, *, maps: Mapping[str, str], files: Iterable[str]) -> list[Signing]:
    """The keys in rspamd's dkim_signing section as ``rspamadm configdump -j`` prints it.

    ``maps`` are the texts of selector_map and path_map by path, ``files`` the names of files in the
    directories that a path with ``$domain`` leads to.
    """
    try:
        section = json.loads(dump or "{}")
    except (ValueError, RecursionError):
        draft.note("dkim_signing", "", "rspamd's configuration cannot be read", "run rspamadm configtest")
        return []
    section = section.get("dkim_signing", section) if isinstance(section, dict) else {}
    if not isinstance(section, dict):
        return []
    pattern = str(section.get("path") or "")
    selector = str(section.get("selector") or "dkim")
    result = _by_domain(section.get("domain"), pattern, selector)
    selectors = dict(table_lines(maps.get(_map_file(section.get("selector_map")), "")))
    paths = dict(table_lines(maps.get(_map_file(section.get("path_map")), "")))
    for domain, one in selectors.items():
        result.append(_fill(domain, one, paths.get(domain, pattern)))
    known = {signing.domain for signing in result}
    if pattern and section.get("try_fallback", True):
        result += [one for one in _by_files(pattern, selector, files) if one.domain not in known]
    return [one for one in dict.fromkeys(result) if one.path.startswith("/") and ad.is_domain(one.domain)]


def _map_file(value: object) -> str:
    return value.removeprefix("file://") if isinstance(value, str) else ""


def _fill(domain: str, selector: str, path: str) -> Signing:
    return Signing(domain.lower(), selector, path.replace("$domain", domain).replace("$selector", selector))


def _by_domain(section: object, pattern: str, selector: str) -> list[Signing]:
    result = []
    for domain, value in section.items() if isinstance(section, dict) else ():
        listed = value.get("selectors") if isinstance(value, dict) else None
        for one in listed if isinstance(listed, list) else [value]:
            if isinstance(one, dict):
                name, path = str(one.get("selector") or selector), str(one.get("path") or pattern)
                result.append(_fill(str(domain), name, path))
    return result


def _by_files(pattern: str, selector: str, files: Iterable[str]) -> list[Signing]:
    """Keys that rspamd finds by the name of their file."""
    expression = re.escape(pattern).replace(r"\$domain", "(?P<domain>[a-z0-9.-]+)", 1)
    expression = expression.replace(r"\$domain", "(?P=domain)").replace(r"\$selector", re.escape(selector))
    found = []
    for path in files:
        match = re.fullmatch(expression, path)
        if match and "domain" in match.groupdict():
            found.append(Signing(match["domain"], selector, path))
    return found


def map_files(dump: str) -> tuple[list[str], str]:
    """The files that rspamd's dkim_signing section refers to, and its pattern of key files."""
    try:
        section = json.loads(dump or "{}")
    except (ValueError, RecursionError):
        return [], ""
    section = section.get("dkim_signing", section) if isinstance(section, dict) else {}
    if not isinstance(section, dict):
        return [], ""
    named = [_map_file(section.get(name)) for name in ("selector_map", "path_map")]
    return [path for path in named if path.startswith("/")], str(section.get("path") or "")


# ---------------------------------------------------------------- keys


def signer_of(milters: str, opendkim_socket: str = "") -> str:
    """Which signer a list of milters leads to."""
    for signer, marks in SOCKETS.items():
        if any(re.search(rf"(?<![A-Za-z0-9]){re.escape(mark)}(?![A-Za-z0-9])", milters) for mark in marks):
            return signer
    port = re.match(r"inet:(\d+)", opendkim_socket)
    if port and re.search(rf":{port[1]}(?!\d)", milters):
        return OPENDKIM
    return ""


def is_dedicated(directory: str) -> bool:
    """Whether a directory looks like one that holds keys and nothing else: the role makes it the signer's."""
    return re.fullmatch(r"(/[A-Za-z0-9_.-]+)+/[A-Za-z0-9_.-]*(dkim|keys?)[A-Za-z0-9_.-]*", directory) is not None


def describe(draft: Description, found: DkimFound) -> None:
    """``keys``, ``relay_dkim_directory`` and ``mail_dkim_adopted``, which has playbooks take the keys as they are."""
    usable = [(signing, found.files[signing.path]) for signing in found.signings if _is_usable(draft, signing, found)]
    directory = _directory([file.path for _signing, file in usable])
    if draft.role == ad.RELAY:
        draft.put("relay_dkim_directory", directory or DEFAULT_DIRECTORY)
    adopted: list[dict[str, Any]] = []
    taken: set[tuple[str, str]] = set()
    for signing, file in usable:
        listed = found.listed.get((signing.domain, signing.selector))
        ours = listed is not None and listed.path == file.path
        target = file.path if ours or directory else f"{DEFAULT_DIRECTORY}/{signing.domain}.{signing.selector}.key"
        entry = {"domain": signing.domain, "selector": signing.selector, "algorithm": file.algorithm}
        draft.keys.append({**entry, "bits": file.bits, "path": file.path, "target": target, "listed": ours})
        if (signing.domain, file.algorithm) in taken:
            reason = "a second key of one domain and algorithm signs; ours is one of each"
            draft.note("DKIM key", f"{signing.selector} of {signing.domain}", reason, "remove it later from DNS")
            draft.keys.pop()
            continue
        taken.add((signing.domain, file.algorithm))
        if not ours:
            adopted.append({**entry, "path": target})
        if target != file.path:
            _note_move(draft, signing, file, target)
    if adopted:
        draft.put("mail_dkim_adopted", adopted)


def _is_usable(draft: Description, signing: Signing, found: DkimFound) -> bool:
    file = found.files.get(signing.path, KeyFile(signing.path, problem="was not read"))
    what = f"{signing.selector} of {signing.domain}"
    try:
        check_domain(signing.domain)
        check_selector(signing.selector, signing.domain)
    except DkimError as err:
        draft.note("DKIM key", what, str(err), "sign with another selector before the host is adopted")
        return False
    if file.problem:
        draft.note("DKIM key", f"{what} {signing.path}", file.problem, "mend it, then adopt again")
    elif not ad.is_harmless(file.path):
        draft.note("DKIM key", f"{what} {signing.path}", "lies under a name with strange characters", "rename the file")
    return not file.problem and ad.is_harmless(file.path)


def _directory(paths: Sequence[str]) -> str:
    """The directory of all keys if the role may have it."""
    directories = {os.path.dirname(path) for path in paths}
    plain = all(re.fullmatch(r"[A-Za-z0-9_.-]+", os.path.basename(path)) for path in paths)
    one = next(iter(directories)) if len(directories) == 1 and plain else ""
    return one if is_dedicated(one) else ""


def _note_move(draft: Description, signing: Signing, file: KeyFile, target: str) -> None:
    draft.note(
        "DKIM key",
        f"{signing.selector} of {signing.domain} {file.path}",
        "lies among other files, or apart from the other keys, where the role does not take it",
        f"copy it to {target}: run adopt with -e adopt_keys=true, which does that",
    )
