# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan: what a Postfix configuration shall be, and what brings the present one there. Pure, private."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _postfix_guard
from ansible_collections.postmaster.mail.plugins.module_utils._file_options import ModeError, parse_mode
from ansible_collections.postmaster.mail.plugins.module_utils._postfix import (
    ALIAS,
    INDEXED,
    ORDERED,
    Entry,
    MainCf,
    MapSource,
    MasterCf,
    MasterService,
    PostfixError,
    check_option,
    check_text,
    fold,
    parse_entries,
    parse_name,
    parse_value,
    split_options,
    split_words,
    squeeze,
)

NEEDS_RESTART = frozenset(
    {
        "inet_interfaces",
        "inet_protocols",
        "proxy_interfaces",
        "queue_directory",
        "data_directory",
        "daemon_directory",
        "mail_owner",
        "setgid_group",
        "syslog_name",
        "maillog_file",
    }
)
"""Parameters that a reload does not bring into force everywhere (postconf(5))."""

MAIN_MODE = 0o644
_SERVICE = re.compile(r"[^\s{}#=,][^\s{}=,]*\Z")


# ---------------------------------------------------------------- what is asked for


@dataclass(frozen=True)
class Attributes:
    """Owner, group and permission bits; None leaves as it is."""

    mode: int | None = None
    owner: str | None = None
    group: str | None = None

    def __str__(self) -> str:
        mode = "" if self.mode is None else f"{self.mode:04o}"
        return f"mode {mode}, owner {self.owner or ''}, group {self.group or ''}"


def parse_path(raw: object, what: str) -> str:
    """An absolute path in its plain form."""
    if not isinstance(raw, str) or not re.match(r"/[^/]", raw) or re.search(r"(/\.{0,2}(/|\Z))", raw):
        raise PostfixError(f"{what}: {raw!r} is no absolute path in its plain form")
    check_text(raw, f"{what}: the path {raw!r}")
    if re.search(r"[\s,#{}$:]", raw):
        raise PostfixError(f"{what}: the path {raw!r} has characters that Postfix's configuration cannot hold")
    return raw


@dataclass(frozen=True)
class ServiceRequest:
    """What of a service is asked for; None leaves a field as it is. ``absent`` removes one that is so."""

    service: str
    type: str
    fields: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] | None = None
    options: Mapping[str, str | None] = field(default_factory=dict)
    absent: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What identifies the service."""
        return self.service, self.type

    def apply(self, current: MasterService | None, *, bare: bool) -> MasterService | None:
        """The service as it shall be. ``bare``: there is no master.cf yet to complete it from."""
        if self.absent:
            return current if current is not None and self._is_another(current) else None
        if current is None and self.command is None and not bare:
            raise PostfixError(
                f"master: there is no service {self.service}/{self.type} in master.cf; give its command to add it"
            )
        base = current or MasterService(self.service, self.type, command=("?",))
        options = {name: value for name, value in base.options if self.options.get(name, "") is not None}
        options.update({name: value for name, value in self.options.items() if value is not None})
        return replace(base, **self.fields, command=self.command or base.command, options=tuple(options.items()))

    def _is_another(self, current: MasterService) -> bool:
        """Whether a service of that name differs from what is said of the one that goes."""
        wanted = replace(self, absent=False).apply(current, bare=False)
        return wanted != current or bool(self.options and dict(current.options) != dict(self.options))


@dataclass(frozen=True)
class MapRequest:
    """A map: its source, how it is compiled, and who may read it."""

    path: str
    type: str
    entries: tuple[Entry, ...] = ()
    removed: tuple[str, ...] = ()
    alias_type: str = "lmdb"
    keep_foreign: bool = False
    secret: bool = False
    attributes: Attributes = Attributes()
    absent: bool = False

    @property
    def table(self) -> str:
        """The type that Postfix opens the map by."""
        return self.alias_type if self.type == ALIAS else self.type

    @property
    def compiled(self) -> str | None:
        """The path of the compiled file, or None for types that are read as text."""
        suffix = INDEXED.get(self.table)
        return f"{self.path}{suffix}" if suffix else None


@dataclass(frozen=True)
class FileRequest:
    """A plain file beside the configuration."""

    path: str
    content: str
    attributes: Attributes = Attributes()
    secret: bool = False


@dataclass(frozen=True)
class Request:
    """All that one call asks for. ``main`` maps names to values, None removes."""

    config_directory: str = "/etc/postfix"
    main: Mapping[str, str | None] = field(default_factory=dict)
    master: tuple[ServiceRequest, ...] = ()
    maps: tuple[MapRequest, ...] = ()
    files: tuple[FileRequest, ...] = ()
    protected: frozenset[str] = frozenset()
    """Parameters that no service in master.cf may override."""

    @property
    def main_path(self) -> str:
        """Where main.cf lies."""
        return f"{self.config_directory}/main.cf"

    @property
    def master_path(self) -> str:
        """Where master.cf lies."""
        return f"{self.config_directory}/master.cf"


_FLAGS = {"yes": "y", "no": "n", "default": "-"}


def parse_service(raw: Mapping[str, Any]) -> ServiceRequest:
    """A request for one master.cf service from the module's suboptions."""
    service, kind = raw["service"], raw["type"]
    what = f"master: {service}/{kind}"
    if not isinstance(service, str) or not _SERVICE.match(check_text(service, what)):
        raise PostfixError(f"master: {service!r} is no service name")
    fields: dict[str, str] = {}
    for name in ("private", "unprivileged", "chroot"):
        if raw.get(name) is not None:
            fields[name] = _FLAGS[raw[name]]
    for name, pattern in (("wakeup", r"\d+\??|-"), ("maxproc", r"\d+|-")):
        if raw.get(name) is not None:
            fields[name] = str(raw[name])
            if not re.fullmatch(pattern, fields[name]):
                raise PostfixError(f"{what}: {name} {raw[name]!r} is neither a number nor '-'")
    command = None
    if raw.get("command") is not None:
        words = split_words(check_text(raw["command"], f"{what}: command"), what)
        if not words or not re.match(r"[A-Za-z0-9_./-]+\Z", words[0]):
            raise PostfixError(f"{what}: the command {raw['command']!r} does not begin with a program")
        command, given = split_options(words, what)
        if given:
            raise PostfixError(f"{what}: put '-o {given[0][0]}=...' under options, not into the command")
    options: dict[str, str | None] = {}
    for name, value in (raw.get("options") or {}).items():
        where = f"{what}: option {name}"
        parse_name(name, f"{what}: options")
        options[name] = None if value is None else check_option(parse_value(value, where), where)
    return ServiceRequest(service, kind, fields, command, options, raw.get("state") == "absent")


def _parse_attributes(raw: Mapping[str, Any], what: str, default: int) -> Attributes:
    try:
        mode = parse_mode(raw.get("mode"), what)
    except ModeError as err:
        raise PostfixError(str(err)) from err
    owner, group = raw.get("owner") or "root", raw.get("group") or "root"
    return Attributes(default if mode is None else mode, owner, group)


def parse_map(raw: Mapping[str, Any]) -> MapRequest:
    """A request for one map from the module's suboptions."""
    path = parse_path(raw["path"], "maps")
    what = f"map {path}"
    kind, secret = raw["type"], bool(raw.get("secret"))
    attributes = _parse_attributes(raw, what, 0o600 if secret else 0o644)
    if secret and (attributes.mode or 0) & 0o077:
        raise PostfixError(f"{what}: a secret map must not be readable by others; leave the mode out, or use '0600'")
    entries, removed = parse_entries(raw.get("entries"), type=kind, what=what)
    if raw.get("keep_foreign") and kind in ORDERED:
        raise PostfixError(f"{what}: the order of a {kind} map matters, so keep_foreign cannot be used with it")
    return MapRequest(
        path=path,
        type=kind,
        entries=tuple(entries),
        removed=tuple(removed),
        alias_type=raw.get("alias_type") or "lmdb",
        keep_foreign=bool(raw.get("keep_foreign")),
        secret=secret,
        attributes=attributes,
        absent=raw.get("state") == "absent",
    )


def parse_file(raw: Mapping[str, Any]) -> FileRequest:
    """A request for one plain file from the module's suboptions."""
    path = parse_path(raw["path"], "files")
    content = str(raw["content"])
    if "\0" in content:
        raise PostfixError(f"file {path}: the content contains a NUL")
    secret = bool(raw.get("secret"))
    attributes = _parse_attributes(raw, f"file {path}", 0o600 if secret else 0o644)
    return FileRequest(path, content, attributes, secret)


def parse_request(raw: Mapping[str, Any]) -> Request:
    """The whole request from the module's parameters; raises :class:`PostfixError` with the first fault."""
    main: dict[str, str | None] = {}
    for name, value in (raw.get("main") or {}).items():
        parse_name(name)
        main[name] = None if value is None else parse_value(value, f"main: {name}")
    request = Request(
        config_directory=parse_path(raw["config_directory"], "config_directory"),
        main=main,
        master=tuple(parse_service(item) for item in raw.get("master") or ()),
        maps=tuple(parse_map(item) for item in raw.get("maps") or ()),
        files=tuple(parse_file(item) for item in raw.get("files") or ()),
        protected=frozenset(parse_name(name, "protected") for name in raw.get("protected") or ()),
    )
    _refuse_twins([f"{s.service}/{s.type}" for s in request.master], "master: the service {} is given twice")
    paths = [request.main_path, request.master_path]
    paths += [path for item in request.maps for path in (item.path, item.compiled) if path]
    paths += [item.path for item in request.files]
    _refuse_twins(paths, "the path {} is given twice, or is main.cf or master.cf itself")
    return request


def _refuse_twins(items: Sequence[str], message: str) -> None:
    for item in items:
        if items.count(item) > 1:
            raise PostfixError(message.format(item))


# ---------------------------------------------------------------- plan


@dataclass(frozen=True)
class OnDisk:
    """A file as it lies there. ``content`` is left empty for compiled maps."""

    content: str
    attributes: Attributes
    mtime: int = 0
    sound: bool = True


@dataclass(frozen=True)
class Current:
    """All files the plan looks at, None for those that do not exist."""

    files: Mapping[str, OnDisk | None]

    def text(self, path: str) -> str:
        """The content at ``path``, empty where there is none."""
        found = self.files.get(path)
        return found.content if found else ""


@dataclass(frozen=True)
class Change:
    """One thing that changes: a parameter, a service, a map or a file, as texts for people."""

    path: str
    item: str
    before: str
    after: str


@dataclass(frozen=True)
class Write:
    """A file to replace."""

    path: str
    content: str
    attributes: Attributes


@dataclass(frozen=True)
class Build:
    """A map to check and, if it is compiled, to compile."""

    request: MapRequest
    compile: bool


@dataclass(frozen=True)
class Plan:
    """What to do, in the order in which it is safe: files, maps, master.cf, main.cf, removals.

    Maps come before the main.cf that refers to them. master.cf comes before main.cf because
    nothing reads it before a reload, while every new process reads main.cf.
    """

    request: Request
    main_text: str
    master_text: str
    changes: tuple[Change, ...] = ()
    files: tuple[Write, ...] = ()
    maps: tuple[Write, ...] = ()
    builds: tuple[Build, ...] = ()
    configuration: tuple[Write, ...] = ()
    attributes: tuple[tuple[str, Attributes], ...] = ()
    removals: tuple[str, ...] = ()
    changed_parameters: tuple[str, ...] = ()
    changed_maps: tuple[str, ...] = ()
    reload_required: bool = False
    restart_required: bool = False

    @property
    def changed(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.changes)

    @property
    def needs_check(self) -> bool:
        """Whether Postfix's own programs must judge the result: more than modes and removals."""
        return bool(self.files or self.maps or self.builds or self.configuration or self.removals)

    def diff(self) -> list[dict[str, str]]:
        """One entry for every file, as Ansible prints it; parameters one a line."""
        grouped: dict[str, list[Change]] = {}
        for change in self.changes:
            grouped.setdefault(change.path, []).append(change)
        return [
            {
                "before_header": path,
                "after_header": path,
                "before": "".join(change.before for change in changes),
                "after": "".join(change.after for change in changes),
            }
            for path, changes in grouped.items()
        ]


@dataclass
class _Draft:
    changes: list[Change] = field(default_factory=list)
    files: list[Write] = field(default_factory=list)
    maps: list[Write] = field(default_factory=list)
    builds: list[Build] = field(default_factory=list)
    configuration: list[Write] = field(default_factory=list)
    attributes: list[tuple[str, Attributes]] = field(default_factory=list)
    removals: list[str] = field(default_factory=list)
    parameters: list[str] = field(default_factory=list)
    map_paths: list[str] = field(default_factory=list)
    reload: bool = False
    restart: bool = False


def plan(current: Current, request: Request) -> Plan:
    """What brings ``current`` to ``request``; raises :class:`PostfixError` when that is not possible."""
    draft = _Draft()
    for item in request.files:
        _plan_file(draft, current, item)
    for table in request.maps:
        _plan_map(draft, current, table)
    master_text = _plan_master(draft, current, request)
    main_text = _plan_main(draft, current, request)
    overridden = _postfix_guard.overrides(main_text, master_text, request.protected) if request.protected else ()
    if overridden:
        raise PostfixError("; ".join(overridden))
    return Plan(
        request=request,
        main_text=main_text,
        master_text=master_text,
        changes=tuple(draft.changes),
        files=tuple(draft.files),
        maps=tuple(draft.maps),
        builds=tuple(draft.builds),
        configuration=tuple(draft.configuration),
        attributes=tuple(draft.attributes),
        removals=tuple(draft.removals),
        changed_parameters=tuple(draft.parameters),
        changed_maps=tuple(dict.fromkeys(draft.map_paths)),
        reload_required=draft.reload or draft.restart,
        restart_required=draft.restart,
    )


def _plan_attributes(draft: _Draft, path: str, found: OnDisk | None, wanted: Attributes) -> bool:
    if found is None or found.attributes == wanted:
        return False
    draft.changes.append(Change(path, path, f"{found.attributes}\n", f"{wanted}\n"))
    draft.attributes.append((path, wanted))
    return True


def _plan_file(draft: _Draft, current: Current, item: FileRequest) -> None:
    found = current.files.get(item.path)
    _plan_attributes(draft, item.path, found, item.attributes)
    if found is not None and found.content == item.content:
        return
    before = found.content if found else ""
    texts = (before, item.content)
    if item.secret:
        texts = ("(secret)\n" if found else "", "(secret, changed)\n")
    draft.changes.append(Change(item.path, item.path, *texts))
    draft.files.append(Write(item.path, item.content, item.attributes))
    draft.reload = True


def _plan_map(draft: _Draft, current: Current, table: MapRequest) -> None:
    if table.absent:
        _plan_removal(draft, current, table)
        return
    found = current.files.get(table.path)
    drifted = _plan_attributes(draft, table.path, found, table.attributes)
    before = found.content if found else ""
    source = MapSource.parse(before, table.type)
    after = (
        source.with_entries(table.entries, table.removed)
        if table.keep_foreign
        else MapSource.of(table.entries, table.type)
    )
    text = str(after)
    stale = _plan_compiled(draft, current, table)
    if found is None or before != text:
        draft.changes.append(_map_change(table, found is not None, source, after))
        draft.maps.append(Write(table.path, text, table.attributes))
        draft.builds.append(Build(table, table.compiled is not None))
        # Processes look for a newer compiled file themselves, but read a text map only when they start.
        draft.reload = draft.reload or table.compiled is None
    elif stale:
        draft.builds.append(Build(table, True))
    elif not drifted and not any(path == table.compiled for path, dummy in draft.attributes):
        return
    draft.map_paths.append(table.path)


def _plan_compiled(draft: _Draft, current: Current, table: MapRequest) -> bool:
    """Whether the compiled file is missing, no database, or older than its source."""
    if table.compiled is None:
        return False
    built, source = current.files.get(table.compiled), current.files.get(table.path)
    state = "missing" if built is None else "not readable" if not built.sound else ""
    if not state and built and source and built.mtime < source.mtime:
        state = "older than its source"
    if state:
        draft.changes.append(Change(table.compiled, table.path, f"{state}\n", "compiled\n"))
        return True
    _plan_attributes(draft, table.compiled, built, table.attributes)
    return False


def _plan_removal(draft: _Draft, current: Current, table: MapRequest) -> None:
    for path in (table.path, table.compiled):
        if path and current.files.get(path) is not None:
            draft.changes.append(Change(path, table.path, "present\n", "absent\n"))
            draft.removals.append(path)
            draft.map_paths.append(table.path)
            draft.reload = True


def _map_change(table: MapRequest, existed: bool, before: MapSource, after: MapSource) -> Change:
    if not table.secret:
        return Change(table.path, table.path, str(before), str(after))
    old = {fold(entry.key, table.type): entry for entry in before.entries()} if existed else {}
    new = {fold(entry.key, table.type): entry for entry in after.entries()}
    lines = ["".join(f"{entry.key} (secret)\n" for entry in old.values())]
    lines.append(
        "".join(
            f"{entry.key} (secret{'' if key in old and old[key].value == entry.value else ', changed'})\n"
            for key, entry in new.items()
        )
    )
    if lines[0] == lines[1]:
        lines[1] += "(comments, order or spaces changed)\n"
    return Change(table.path, table.path, *lines)


def _configuration_attributes() -> Attributes:
    return Attributes(MAIN_MODE, "root", "root")


def _plan_main(draft: _Draft, current: Current, request: Request) -> str:
    path = request.main_path
    old_text = current.text(path)
    old = MainCf.parse(old_text)
    new = old.with_values(request.main)
    if not request.main:
        return old_text
    _plan_attributes(draft, path, current.files.get(path), _configuration_attributes())
    before, after = old.all_values(), new.all_values()
    for name in request.main:
        if [squeeze(v) for v in before.get(name, ())] == [squeeze(v) for v in after.get(name, ())]:
            continue
        texts = ["".join(f"{name} = {v}".rstrip() + "\n" for v in side.get(name, ())) for side in (before, after)]
        draft.changes.append(Change(path, name, *texts))
        draft.parameters.append(name)
        draft.reload = True
        draft.restart = draft.restart or name in NEEDS_RESTART
    if str(new) == str(old):
        return old_text
    draft.configuration.append(Write(path, str(new), _configuration_attributes()))
    return str(new)


def _plan_master(draft: _Draft, current: Current, request: Request) -> str:
    path = request.master_path
    old_text = current.text(path)
    if not request.master:
        return old_text
    bare = current.files.get(path) is None
    old = new = MasterCf.parse(old_text)
    _plan_attributes(draft, path, current.files.get(path), _configuration_attributes())
    services = old.services()
    for item in request.master:
        wanted = item.apply(services.get(item.key), bare=bare)
        stays = item.absent and wanted is not None
        if stays or (len(old.texts(item.key)) == (wanted is not None) and services.get(item.key) == wanted):
            continue
        new = new.with_service(item.key, wanted)
        before = "".join(f"{text}\n" for text in old.texts(item.key))
        after = f"{squeeze(str(wanted))}\n" if wanted else ""
        draft.changes.append(Change(path, f"{item.service}/{item.type}", before, after))
        draft.parameters.append(f"{item.service}/{item.type}")
        draft.restart = True
    if new is old:
        return old_text
    draft.configuration.append(Write(path, str(new), _configuration_attributes()))
    return str(new)
