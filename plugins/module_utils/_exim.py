# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's Exim configuration: settings, macros, fragments and lookup files as values, and a plan. Private.

``update-exim4.conf`` makes Exim's configuration out of shell assignments (``dc_*``), of macros and
of a template, whole or split. It takes a misspelt value for what it is not and lets wrong
characters become underscores, so every value is judged here before the script sees it.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.postmaster.mail.plugins.module_utils._files import FileState

DIRECTORY = "/etc/exim4"
SETTINGS_FILE = f"{DIRECTORY}/update-exim4.conf.conf"
TEMPLATE_FILE = f"{DIRECTORY}/exim4.conf.template"
FRAGMENT_DIRECTORY = f"{DIRECTORY}/conf.d"
MACROS_WHOLE = f"{DIRECTORY}/exim4.conf.localmacros"
MACROS_SPLIT = f"{FRAGMENT_DIRECTORY}/main/000_localmacros"
MAILNAME_FILE = "/etc/mailname"
SECTIONS = ("main", "acl", "router", "transport", "retry", "rewrite", "auth")
SECRET_MODE, SECRET_GROUP = 0o640, "Debian-exim"

_MACRO = re.compile(r"[A-Z][A-Za-z0-9_]*$")
_MACRO_LINE = re.compile(r"[ \t]*([A-Z][A-Za-z0-9_]*)[ \t]*==?[ \t]*(.*)$")
_ASSIGNMENT = re.compile(r"[ \t]*([A-Za-z_][A-Za-z0-9_]*)=(.*)$")
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*\.?$", re.IGNORECASE)
# What update-exim4.conf lets through; the rest it turns into underscores.
_PLAIN = re.compile(r"[-0-9A-Za-z/.!*@_~:;< \[\]]*$")
_FRAGMENT_NAME = re.compile(r"[A-Za-z0-9_-]+$")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SINGLE_COLON = re.compile(r"(?<!:):(?!:)")


class EximError(ValueError):
    """Something wanted will not do; the message names it and the remedy."""


# --- settings (update-exim4.conf.conf) ---------------------------------------------------------


def _one_of(*choices: str) -> Callable[[str, str], None]:
    def judge(name: str, value: str) -> None:
        if value not in choices:
            near = difflib.get_close_matches(value, choices, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            shown = ", ".join(choice or "nothing" for choice in choices)
            raise EximError(f"settings: {name} is {value!r}{hint}: choose from {shown}")

    return judge


def _items(value: str) -> list[str]:
    """The items of an Exim list as update-exim4.conf reads one, without doubled colons."""
    parts = value.removeprefix("<;").split(";") if ";" in value else _SINGLE_COLON.split(value)
    return [part.strip().replace("::", ":") if ";" not in value else part.strip() for part in parts if part.strip()]


def _interfaces(name: str, value: str) -> None:
    for item in _items(value):
        bracketed = re.fullmatch(r"\[([^\]]+)\](:\d+)?", item)
        dotted = re.fullmatch(r"(\d+\.\d+\.\d+\.\d+)\.\d+", item)
        text = bracketed[1] if bracketed else dotted[1] if dotted else item
        try:
            ipaddress.ip_address(text)
        except ValueError as err:
            raise EximError(f"settings: {name} holds {item!r}, which is no address such as 127.0.0.1 or ::1") from err


def _networks(name: str, value: str) -> None:
    for item in _items(value):
        if item in ("*", "0.0.0.0", "::") or item.endswith("/0"):
            raise EximError(f"settings: {name} holds {item!r}, which would make an open relay: name your own networks")
        try:
            ipaddress.ip_network(item, strict=False)
        except ValueError as err:
            if re.fullmatch(r"[\d./:]+", item) or not _DOMAIN.match(item.removeprefix("*.")):
                raise EximError(
                    f"settings: {name} holds {item!r}, which is no network such as 192.0.2.0/24 or 2001:db8::/64"
                ) from err


def _domains(name: str, value: str) -> None:
    for item in _items(value):
        if item == "*" and name == "dc_relay_domains":
            raise EximError(f"settings: {name} holds '*', which would make an open relay: name the domains")
        if not _DOMAIN.match(item.removeprefix("*.")):
            raise EximError(f"settings: {name} holds {item!r}, which is no domain name")


def _domain(name: str, value: str) -> None:
    if value and not _DOMAIN.match(value):
        raise EximError(f"settings: {name} is {value!r}, which is no domain name")


def _hosts(name: str, value: str) -> None:
    # Here a colon is doubled in any case: semicolons become single colons, and a port follows two.
    for item in _SINGLE_COLON.split(value.replace(";", ":")):
        text = item.strip().replace("::", ":")
        if text and not _is_host(text):
            raise EximError(f"settings: {name} holds {item.strip()!r}: write host or host::port")


def _is_host(text: str) -> bool:
    if _is_address(text):
        return True
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(\d{1,5}))?", text)
    if match is None or (match[2] is not None and not 1 <= int(match[2]) <= 65535):
        return False
    host = match[1]
    if host.startswith("[") or re.fullmatch(r"[\d.]+", host):
        return _is_address(host.strip("[]"))
    return _DOMAIN.match(host.removesuffix("/mx")) is not None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _word(name: str, value: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_]+", value):
        raise EximError(f"settings: {name} is {value!r}: give the name of a transport, such as mail_spool")


def _octal(name: str, value: str) -> None:
    if not re.fullmatch(r"0?[0-7]{3}", value):
        raise EximError(f"settings: {name} is {value!r}: give a mode such as 644")


_TRUTH = _one_of("true", "false")
SETTINGS: Mapping[str, Callable[[str, str], None]] = {
    "dc_eximconfig_configtype": _one_of("internet", "smarthost", "satellite", "local"),
    "dc_other_hostnames": _domains,
    "dc_local_interfaces": _interfaces,
    "dc_readhost": _domain,
    "dc_relay_domains": _domains,
    "dc_minimaldns": _TRUTH,
    "dc_relay_nets": _networks,
    "dc_smarthost": _hosts,
    "CFILEMODE": _octal,
    "dc_use_split_config": _TRUTH,
    "dc_hide_mailname": _one_of("true", "false", ""),
    "dc_mailname_in_oh": _TRUTH,
    "dc_localdelivery": _word,
}


def setting_text(name: str, value: object) -> str:
    """A checked value of one setting: booleans as true and false, lists with semicolons between."""
    if name not in SETTINGS:
        near = difflib.get_close_matches(name, SETTINGS, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise EximError(f"settings: there is no {name!r}{hint}: choose from {', '.join(SETTINGS)}")
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif isinstance(value, (list, tuple)):
        value = " ; ".join(str(item) for item in value)
    text = "" if value is None else str(value).strip()
    if not _PLAIN.match(text):
        raise EximError(f"settings: {name} is {text!r}, which holds characters that update-exim4.conf does not take")
    SETTINGS[name](name, text)
    return text


def parse_settings(text: str) -> dict[str, str]:
    """The assignments of an update-exim4.conf.conf, quotes removed; as in the shell, the last one counts."""
    values = {}
    for line in text.splitlines():
        match = _ASSIGNMENT.match(line)
        if match:
            values[match[1]] = _unquote(match[2].strip())
    return values


def _unquote(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text.split("#", maxsplit=1)[0].strip() if text[:1] not in ("'", '"') else text


def with_settings(text: str, wanted: Mapping[str, str]) -> str:
    """``text`` in which ``wanted`` holds; comments and other assignments stay where they are."""
    left = dict(wanted)
    lines = []
    for line in text.splitlines():
        match = _ASSIGNMENT.match(line)
        if match is None or match[1] not in wanted:
            lines.append(line)
        elif match[1] in left:
            name, value = match[1], left.pop(match[1])
            lines.append(line if _unquote(match[2].strip()) == value else f"{name}='{value}'")
    lines += [f"{name}='{value}'" for name, value in left.items()]
    return "".join(f"{line}\n" for line in lines)


def judge_together(values: Mapping[str, str]) -> None:
    """What only several settings together can get wrong."""
    kind = values.get("dc_eximconfig_configtype", "")
    if kind in ("smarthost", "satellite") and not values.get("dc_smarthost"):
        raise EximError(f"settings: dc_eximconfig_configtype is {kind}, but dc_smarthost names no host to send to")
    if values.get("dc_hide_mailname") == "true" and not values.get("dc_readhost"):
        raise EximError("settings: dc_hide_mailname is true, but dc_readhost names no domain to show instead")


# --- macros ------------------------------------------------------------------------------------


def macro_text(name: str, value: object) -> str | None:
    """A checked macro value on one line; None removes the macro."""
    if not _MACRO.match(name):
        raise EximError(f"macros: {name!r} is no macro name: begin with a capital, then letters, digits, underscores")
    if value is None:
        return None
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif isinstance(value, (list, tuple)):
        value = " : ".join(str(item) for item in value)
    text = str(value).strip()
    if _CONTROL.search(text) or text.endswith("\\"):
        raise EximError(f"macros: the value of {name} must be on one line and not end with a backslash")
    return text


def parse_macros(text: str) -> dict[str, str]:
    """The macros a file defines, continued lines joined; the first definition counts."""
    values: dict[str, str] = {}
    for name, lines in _macro_blocks(text):
        if name is not None:
            joined = "".join(
                re.sub(r"\\\s*$", "", line if index == 0 else line.lstrip()) for index, line in enumerate(lines)
            )
            match = _MACRO_LINE.match(joined)
            values.setdefault(name, match[2].strip() if match else "")
    return values


def _macro_blocks(text: str) -> list[tuple[str | None, list[str]]]:
    """The lines of a file, grouped: a definition with its continued lines, any other line alone."""
    blocks: list[tuple[str | None, list[str]]] = []
    continued = False
    for line in text.splitlines():
        if continued and not line.lstrip().startswith("#"):
            blocks[-1][1].append(line)
        else:
            match = _MACRO_LINE.match(line)
            blocks.append((match[1] if match else None, [line]))
        continued = line.rstrip().endswith("\\") and not line.lstrip().startswith("#")
    return blocks


def with_macros(text: str, wanted: Mapping[str, str | None]) -> str:
    """``text`` in which ``wanted`` holds, each macro defined once; the rest stays."""
    now = parse_macros(text)
    left = dict(wanted)
    lines: list[str] = []
    for name, block in _macro_blocks(text):
        if name is None or name not in wanted:
            lines += block
        elif name in left:
            value = left.pop(name)
            if value is not None:
                lines += block if now[name] == value else [f"{name} = {value}"]
    lines += [f"{name} = {value}" for name, value in left.items() if value is not None]
    return "".join(f"{line}\n" for line in lines)


def judge_macros(names: Iterable[str], configuration: str) -> None:
    """Every macro must be used somewhere, else its name is misspelt and it has no effect at all.

    A comment is no use of it, nor is its own definition.
    """
    known: set[str] = set()
    for line in configuration.splitlines():
        match = _MACRO_LINE.match(line)
        text = match[2] if match else "" if line.lstrip().startswith("#") else line
        known.update(re.findall(r"\b[A-Z][A-Za-z0-9_]*\b", text))
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, [item for item in known if "_" in item], 1)
            hint = f": did you mean {near[0]}?" if near else "."
            raise EximError(f"macros: nothing in Exim's configuration uses {name}{hint}")


# --- lookup files (lsearch and its kin) ---------------------------------------------------------


@dataclass(frozen=True)
class Item:
    """A key with its lines, or a comment or empty line without one. ``value`` is joined and stripped."""

    key: str | None
    value: str
    lines: tuple[str, ...]


def parse_lookup(path: str, text: str) -> list[Item]:
    """The lines of a linearly searched file. Raises :class:`EximError` with the number of a bad line."""
    items: list[Item] = []
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], 1):
        if _CONTROL.search(line.replace("\t", " ")):
            raise EximError(f"{path}, line {number}: there is a control character")
        if not line.strip() or line.startswith("#"):
            items.append(Item(None, "", (line,)))
        elif line[0] in " \t":
            last = next((index for index in reversed(range(len(items))) if items[index].key is not None), None)
            if last is None:
                raise EximError(f"{path}, line {number}: it continues nothing: begin it with a key or a #")
            items[last] = _continued(items, last, line)
            del items[last + 1 :]
        else:
            key, value = _split_line(path, number, line)
            items.append(Item(key, value, (line,)))
    return items


def _continued(items: Sequence[Item], last: int, line: str) -> Item:
    """An item with a further line, and with the comments between them."""
    between = [text for item in items[last + 1 :] for text in item.lines]
    item = items[last]
    return Item(item.key, f"{item.value} {line.strip()}".strip(), (*item.lines, *between, line))


def _split_line(path: str, number: int, line: str) -> tuple[str, str]:
    if line.startswith('"'):
        match = re.match(r'"((?:[^"\\]|\\.)*)"[ \t]*(:?)(.*)$', line)
        if match is None:
            raise EximError(f"{path}, line {number}: the quoted key does not end")
        key = re.sub(r"\\(.)", r"\1", match[1])
    else:
        match = re.match(r"([^:\s]*)[ \t]*(:?)(.*)$", line)
        key = match[1] if match is not None else ""
    if match is None or not key:
        raise EximError(f"{path}, line {number}: there is no key before the colon")
    value = match[3].strip()
    if not value and not match[2]:
        raise EximError(f"{path}, line {number}: there is nothing after {key!r}: write `{key}: value`")
    return key, value


def lookup_value(path: str, key: object, value: object) -> str | None:
    """A checked value of one entry; lists are joined by commas, None removes the entry."""
    name = str(key)
    if not name or _CONTROL.search(name) or name != name.strip() or name.startswith("#"):
        raise EximError(f"{path}: {name!r} will not do as a key: no control characters, outer spaces or leading #")
    if value is None:
        return None
    text = ", ".join(str(item) for item in value) if isinstance(value, (list, tuple)) else str(value)
    if isinstance(value, (dict, bool)):
        raise EximError(f"{path}: the value of {name!r} must be a text or a list of texts")
    if not text or _CONTROL.search(text) or text != text.strip():
        raise EximError(f"{path}: the value of {name!r} must be one line of text without spaces around it")
    return text


def lookup_line(key: str, value: str) -> str:
    """One line of a lookup file; the key in quotes where it would end too early."""
    if re.search(r'[\s:"\\]', key):
        key = '"' + re.sub(r'(["\\])', r"\\\1", key) + '"'
    return f"{key}: {value}"


def with_entries(path: str, text: str, wanted: Mapping[str, str | None], *, keep_foreign: bool) -> str:
    """``text`` in which ``wanted`` holds. Comments stay, other entries if ``keep_foreign``.

    Exim takes keys without regard to case and stops at the first that fits.
    """
    left = {key.lower(): (key, value) for key, value in wanted.items()}
    names = set(left)
    lines: list[str] = []
    for item in parse_lookup(path, text):
        if item.key is None:
            lines += item.lines
        elif item.key.lower() not in names:
            lines += item.lines if keep_foreign else ()
        elif item.key.lower() in left:
            key, value = left.pop(item.key.lower())
            if value is not None:
                lines += item.lines if item.value == value else (lookup_line(key, value),)
    lines += [lookup_line(key, value) for key, value in left.values() if value is not None]
    return "".join(f"{line}\n" for line in lines)


def lookup_keys(path: str, text: str) -> str:
    """A lookup file with its keys alone, for the diff of a secret one."""
    return "".join(f"{item.key}: ...\n" for item in parse_lookup(path, text) if item.key is not None)


# --- the plan ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lookup:
    """A lookup file as it should be; values are checked texts, None removes a key."""

    path: str
    entries: Mapping[str, str | None]
    keep_foreign: bool = False
    secret: bool = False
    mode: int | None = None
    owner: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class PlainFile:
    """A file given whole; ``content`` None means it should not exist."""

    path: str
    content: str | None
    mode: int | None = None
    owner: str | None = None
    group: str | None = None
    secret: bool = False


@dataclass(frozen=True)
class Desired:
    """All that one call wants; values are checked."""

    settings: Mapping[str, str] = field(default_factory=dict)
    macros: Mapping[str, str | None] = field(default_factory=dict)
    lookups: tuple[Lookup, ...] = ()
    fragments: tuple[PlainFile, ...] = ()
    files: tuple[PlainFile, ...] = ()


@dataclass(frozen=True)
class Change:
    """One file that differs. ``content`` None removes it; ``shown`` is what a diff may show of both."""

    path: str
    before: FileState | None
    content: str | None
    mode: int
    owner: str
    group: str
    shown: tuple[str, str]


@dataclass(frozen=True)
class Plan:
    """The files that change, and in the words of the request what changes."""

    changes: tuple[Change, ...]
    values: Mapping[str, str]
    settings: tuple[str, ...] = ()
    macros: tuple[str, ...] = ()
    lookups: tuple[str, ...] = ()

    @property
    def split(self) -> bool:
        """Whether the configuration comes from conf.d rather than from one template."""
        return self.values.get("dc_use_split_config") == "true"


def files_of(desired: Desired) -> list[str]:
    """The paths of which a plan must know the content."""
    named = [item.path for group in (desired.lookups, desired.fragments, desired.files) for item in group]
    return [SETTINGS_FILE, MACROS_WHOLE, MACROS_SPLIT, *named]


def judge_paths(desired: Desired) -> None:
    """Absolute, each named once, and fragments where update-exim4.conf looks for them."""
    seen: set[str] = set()
    for path in files_of(desired):
        if not path.startswith("/") or "/../" in path or _CONTROL.search(path):
            raise EximError(f"{path!r} is no absolute path")
        if path in seen:
            raise EximError(f"{path} is named twice, or is written by this module itself")
        seen.add(path)
    for fragment in desired.fragments:
        section, _slash, name = fragment.path.removeprefix(f"{FRAGMENT_DIRECTORY}/").partition("/")
        if section not in SECTIONS or not _FRAGMENT_NAME.match(name):
            raise EximError(
                f"fragments: {fragment.path} would be ignored: it must be {FRAGMENT_DIRECTORY}/SECTION/NAME with a"
                f" section out of {', '.join(SECTIONS)} and a name of letters, digits, dashes and underscores"
            )


def plan(current: Mapping[str, FileState | None], desired: Desired) -> Plan:
    """What has to be written. ``current`` holds every path of :func:`files_of`."""
    judge_paths(desired)
    changes: list[Change | None] = []
    old = _text(current[SETTINGS_FILE])
    text = with_settings(old, desired.settings)
    before, values = parse_settings(old), parse_settings(text)
    judge_together(values)
    if desired.fragments and values.get("dc_use_split_config") != "true":
        raise EximError("fragments: they take effect only if dc_use_split_config is true")
    if desired.settings:
        changes.append(_change(PlainFile(SETTINGS_FILE, text), current))
    macros_path = MACROS_SPLIT if values.get("dc_use_split_config") == "true" else MACROS_WHOLE
    old_macros = _text(current[macros_path])
    new_macros = with_macros(old_macros, desired.macros)
    if desired.macros and (new_macros or current[macros_path] is not None):
        changes.append(_change(PlainFile(macros_path, new_macros), current))
    lookups = [_lookup_change(lookup, current) for lookup in desired.lookups]
    changes += lookups
    changes += [_change(item, current) for item in (*desired.fragments, *desired.files)]
    was, now = parse_macros(old_macros), parse_macros(new_macros)
    return Plan(
        changes=tuple(change for change in changes if change is not None),
        values=values,
        settings=tuple(name for name in desired.settings if before.get(name) != values.get(name)),
        macros=tuple(name for name in desired.macros if was.get(name) != now.get(name)),
        lookups=tuple(change.path for change in lookups if change is not None),
    )


def _text(state: FileState | None) -> str:
    return "" if state is None else state.text


def _lookup_change(lookup: Lookup, current: Mapping[str, FileState | None]) -> Change | None:
    old = _text(current[lookup.path])
    text = with_entries(lookup.path, old, lookup.entries, keep_foreign=lookup.keep_foreign)
    mode, group = lookup.mode, lookup.group
    if lookup.secret:
        mode = SECRET_MODE if mode is None else mode
        group = group or SECRET_GROUP
        shown = lookup_keys(lookup.path, old), lookup_keys(lookup.path, text)
    else:
        shown = old, text
    return _change(PlainFile(lookup.path, text, mode, lookup.owner, group), current, shown)


def _change(
    item: PlainFile, current: Mapping[str, FileState | None], shown: tuple[str, str] | None = None
) -> Change | None:
    """The change that brings one file to what is wanted; owner and mode not asked for stay as they are."""
    state = current[item.path]
    if item.content is None and state is None:
        return None
    mode = item.mode if item.mode is not None else state.mode if state is not None else 0o644
    owner = item.owner or (state.owner if state is not None else "root")
    group = item.group or (state.group if state is not None else "root")
    if state is not None and item.content is not None:
        same_content = state.text == item.content
        if same_content and (state.mode, state.owner, state.group) == (mode, owner, group):
            return None
    if shown is None:
        hidden = "(secret)\n"
        shown = (
            (hidden if state else "", hidden if item.content else "")
            if item.secret
            else (_text(state), item.content or "")
        )
    before = f"{state.owner}:{state.group} {state.mode:04o}\n" if state is not None else ""
    after = f"{owner}:{group} {mode:04o}\n" if item.content is not None else ""
    if before == after:
        before = after = ""
    if shown[0] == shown[1] and state is not None and state.text != item.content:
        shown = f"{shown[0]}(old values)\n", f"{shown[1]}(new values)\n"
    return Change(item.path, state, item.content, mode, owner, group, (before + shown[0], after + shown[1]))


# --- the generated configuration -----------------------------------------------------------------


def mailname_word(text: str) -> str:
    """What update-exim4.conf takes from /etc/mailname."""
    first = text.split("\n", 1)[0]
    match = re.search(r"[-A-Za-z0-9@.]+", first)
    return (first[: match.start()] + match[0] if match else first).lower()


def with_mailname(configuration: str, name: str) -> str:
    """A generated configuration as if /etc/mailname held ``name``."""
    pattern = re.compile(r"^(\.ifndef ETC_MAILNAME\nETC_MAILNAME=).*$", re.MULTILINE)
    return pattern.sub(lambda match: match[1] + name, configuration, count=1)


def judge_transport(values: Mapping[str, str], configuration: str) -> None:
    """The transport for local delivery must be there even where nothing is delivered locally today."""
    name = values.get("dc_localdelivery")
    if name and not re.search(rf"^{name}:\s*$", configuration, re.MULTILINE):
        raise EximError(f"settings: dc_localdelivery is {name}, but Exim's configuration has no such transport")


def quote_line(fault: str, configuration: FileState | None) -> str:
    """What Exim said, without the time, and with the line it means: the generated file is in nobody's mind."""
    text = re.sub(r"^[0-9]{4}-[0-9-]+ [0-9:]+ ", "", fault.strip())
    match = re.search(r"in line (\d+) of", text)
    lines = configuration.text.splitlines() if configuration is not None else []
    if match and 0 < int(match[1]) <= len(lines):
        text += f", which is `{lines[int(match[1]) - 1].strip()}`"
    return text


def needs_restart(before: str, after: str) -> bool:
    """Whether the sockets the daemon listens on differ between two generated configurations."""
    pattern = re.compile(
        r"^\s*(?:MAIN_LOCAL_INTERFACES|local_interfaces|daemon_smtp_ports|tls_on_connect_ports)\b.*$", re.MULTILINE
    )
    return pattern.findall(before) != pattern.findall(after)


def redirected(configuration: str, paths: Mapping[str, str]) -> str:
    """A generated configuration that names other places: each path or directory of ``paths`` by its stand-in."""
    for path in sorted(paths, key=len, reverse=True):
        configuration = re.sub(rf"(?<![\w/.-]){re.escape(path)}(?![\w.-])", lambda _m, p=path: paths[p], configuration)  # type: ignore[misc]
    return configuration


_TROUBLE = re.compile(
    r"error in redirect data|syntax error|failed to expand|expansion of .* failed|failed to open|Permission denied"
    r"|malformed address|local problem|[Cc]onfiguration error|unknown (?:expansion|option)|missing or malformed",
)


def trouble_in(output: str) -> list[str]:
    """Lines of Exim's test modes that tell of a fault in the configuration, as against one in the network."""
    return [line.removeprefix("> ").strip() for line in output.splitlines() if _TROUBLE.search(line)]
