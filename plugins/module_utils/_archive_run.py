# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes an archive of a mail server, and brings one onto a host. Private to this collection."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _archive as values
from ansible_collections.postmaster.mail.plugins.module_utils import _archive_client as client
from ansible_collections.postmaster.mail.plugins.module_utils import _credentials, _credentials_client, _files
from ansible_collections.postmaster.mail.plugins.module_utils import _maildir_client as mail
from ansible_collections.postmaster.mail.plugins.module_utils import _redis_client as redis
from ansible_collections.postmaster.mail.plugins.module_utils._archive import ArchiveError

MIB = 1 << 20


@dataclass(frozen=True)
class Settings:
    """Where things are on the host."""

    parts: tuple[str, ...]
    mail_directory: str
    uid: int
    gid: int
    credentials: str
    files: tuple[str, ...]
    redis: str
    differing: str = "refuse"


# -- making -------------------------------------------------------------------------------------
def make(path: str, about: values.About, settings: Settings, owner: tuple[int, int]) -> dict[str, int]:
    """Make an archive. Returns how many members each part has."""
    _check_room(path, settings)
    counts = dict.fromkeys(settings.parts, 0)
    with client.writing(path, owner) as writer:
        writer.add(client.Member(values.ABOUT, about.render().encode()))
        for part in settings.parts:
            for member in _READERS[part](settings):
                writer.add(member)
                counts[part] += 1
    return counts


def _check_room(path: str, settings: Settings) -> None:
    folder = os.path.dirname(path)
    if "mail" not in settings.parts:
        return
    needed, free = mail.size_of(settings.mail_directory), shutil.disk_usage(folder).free
    if needed > free:
        raise ArchiveError(
            f"{folder} has {free // MIB} MiB free and mail takes {needed // MIB}: make room, or name another directory"
        )


def _read_files(settings: Settings) -> Iterator[client.Member]:
    return client.files_below(settings.files)


def _read_accounts(settings: Settings) -> Iterator[client.Member]:
    paths = {values.CREDENTIALS: settings.credentials, values.GIVEN: f"{settings.credentials}.given"}
    with _credentials_client.locked(settings.credentials):
        for name, path in paths.items():
            state = _files.read(path)
            if state is None:
                raise ArchiveError(f"{path} does not exist: is this a host that the role mail_server has set up?")
            yield client.Member(name, state.content)


def _read_bayes(settings: Settings) -> Iterator[client.Member]:
    with redis.connected(settings.redis) as connection:
        text = values.bayes_lines(*redis.learned(connection))
    yield client.Member(values.BAYES, text.encode("utf-8", "surrogateescape"))


def _read_mail(settings: Settings) -> Iterator[client.Member]:
    with mail.as_user(settings.uid, settings.gid):
        names = mail.homes(settings.mail_directory)
    for home in names:
        members = mail.read_home(os.path.join(settings.mail_directory, home), f"{values.MAIL}{home}/")
        while True:
            with mail.as_user(settings.uid, settings.gid):
                member = next(members, None)
            if member is None:
                break
            yield member


_READERS = {"files": _read_files, "accounts": _read_accounts, "bayes": _read_bayes, "mail": _read_mail}


# -- restoring ----------------------------------------------------------------------------------
@dataclass
class Restored:
    """What came of it."""

    changes: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def left(digest: str, settings: Settings) -> list[str]:
    """Parts of an archive that have not arrived yet."""
    done = client.Journal(digest).parts
    found = [part for part in settings.parts if part not in done]
    if "bayes" in found and is_ready(settings):
        with redis.connected(settings.redis) as connection:
            if redis.was_added(connection, digest):
                found.remove("bayes")
    return found


def is_ready(settings: Settings) -> bool:
    """Whether the host has what takes mail and what was learned."""
    return os.path.isdir(settings.mail_directory)


class Restore:
    """One archive on its way onto a host."""

    def __init__(self, path: str, digest: str, settings: Settings, *, again: bool = False) -> None:
        self.path, self.digest, self.settings, self.again = path, digest, settings, again
        self.journal = client.Journal(digest)
        self.done = Restored()

    def run(self, parts: Sequence[str], *, check_mode: bool) -> Restored:
        """Bring these parts. Nothing is written before all of the archive was read and found right."""
        checked = client.check(self.path, self.settings.files)
        if "mail" in parts and checked.size > (free := shutil.disk_usage(self.settings.mail_directory).free):
            raise ArchiveError(
                f"{self.settings.mail_directory} has {free // MIB} MiB free and the archive holds "
                f"{checked.size // MIB}: make room there"
            )
        wanted = [part for part in checked.about.parts if part in parts]
        missing = [part for part in parts if part not in checked.about.parts]
        # They come first, so that this need not read all of the archive once more.
        small = list(itertools.takewhile(lambda it: not it.name.startswith(values.MAIL), client.members(self.path)))
        placed = self._differing(small) if "files" in wanted else []
        homes = self._homes(checked.names) if "mail" in wanted else []
        if check_mode:
            self.done.changes += [f"{part} (to be restored)" for part in wanted]
            return self.done
        if "files" in wanted:
            self._place(placed)
        if "accounts" in wanted:
            self._accounts(small)
        if "bayes" in wanted:
            self._bayes(small)
        if "mail" in wanted:
            self._mail(homes)
        for part in [*missing, *wanted]:
            self.journal.note(part=part)
        return self.done

    def _differing(self, small: Sequence[client.Member]) -> list[client.Member]:
        found = [(member, client.differs(member)) for member in small if member.name.startswith(values.FILES)]
        others = [member for member, differs in found if differs]
        paths = [member.name[len(values.FILES) - 1 :] for member in others]
        if others and self.settings.differing == "refuse":
            raise ArchiveError(
                f"{', '.join(paths)}: another file is here already. Say which one is to stay by "
                "mail_restore_differing=keep (this host's) or =replace (the archive's)"
            )
        if self.settings.differing == "keep":
            self.done.kept += paths
            others = []
        return [member for member, differs in found if differs is None or member in others]

    def _place(self, members: Sequence[client.Member]) -> None:
        for member in members:
            client.place(member)
            self.done.changes.append(member.name[len(values.FILES) - 1 :])

    def _accounts(self, small: Sequence[client.Member]) -> None:
        path = self.settings.credentials
        texts = {member.name: member.text for member in small}
        with _credentials_client.locked(path):
            state, given = _files.read(path), _files.read(f"{path}.given")
            if state is None:
                secret = _credentials_client.Attributes(0o600, "root", "root")
                # The role that comes next gives both to whom they belong, and keeps what users chose.
                _credentials_client.write(f"{path}.given", texts[values.GIVEN], secret)
                _credentials_client.write(path, texts[values.CREDENTIALS], secret)
                self.done.changes.append(path)
                return
            here = _credentials.parse(state.text)
            chosen = values.choose(
                (_hashes(texts[values.CREDENTIALS]), _credentials.parse_given(texts[values.GIVEN])),
                (_hashes(state.text), _credentials.parse_given(given.text if given else "")),
            )
            self.done.kept += [f"the password of {name}" for name in chosen.kept]
            self.done.unknown += chosen.unknown
            if chosen.hashes:
                entries = {
                    name: _credentials.Entry(chosen.hashes.get(name, it.hash), it.rest) for name, it in here.items()
                }
                attributes = _credentials_client.Attributes(state.mode, state.owner, state.group)
                _credentials_client.write(path, _credentials.render(entries), attributes)
                self.done.changes += [f"the password of {name}" for name in sorted(chosen.hashes)]

    def _bayes(self, small: Sequence[client.Member]) -> None:
        text = next(member.text for member in small if member.name == values.BAYES)
        commands = values.bayes_commands(text, self.path)
        with redis.connected(self.settings.redis) as connection:
            if not redis.was_added(connection, self.digest):
                redis.add(connection, commands, self.digest)
                self.done.changes.append("what rspamd has learned")

    def _homes(self, names: Sequence[str]) -> list[str]:
        found = sorted({home for home, dummy in map(values.home_of, names) if home})
        return [home for home in found if self.again or home not in self.journal.homes]

    def _mail(self, homes: Sequence[str]) -> None:
        settings = self.settings
        for home, members in itertools.groupby(client.members(self.path), key=lambda it: values.home_of(it.name)[0]):
            if home not in homes:
                continue
            goal = os.path.join(settings.mail_directory, home)
            with mail.as_user(settings.uid, settings.gid):
                self.done.kept += mail.merge(mail.stage(settings.mail_directory, home, members), goal)
            os.sync()
            self.journal.note(home=home)
            self.done.changes.append(goal)
        with mail.as_user(settings.uid, settings.gid):
            mail.unstage(settings.mail_directory)


def _hashes(text: str) -> dict[str, str]:
    return {name: entry.hash for name, entry in _credentials.parse(text).items()}


def settings_of(params: dict[str, Any]) -> Settings:
    """From the options of the module. Raises :class:`ArchiveError`."""
    for name in ("path", "mail_directory", "credentials", "files"):
        for path in params[name] if isinstance(params[name], list) else [params[name]]:
            if path and (not os.path.isabs(path) or os.path.normpath(path) != path):
                raise ArchiveError(f"{name}: {path} is no plain absolute path: write it out")
    names = ("mail_directory", "uid", "gid", "credentials", "redis", "differing")
    parts = tuple(part for part in values.PARTS if part in params["parts"])
    return Settings(parts=parts, files=tuple(params["files"]), **{name: params[name] for name in names})
