# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values and plan: an archive of a mail server, and how what it holds goes into a host that has mail already. Private.

An archive is a tar file: ``about.json`` first, ``sums.json`` last, and between them ``files/`` (keys, certificates),
``accounts/``, ``bayes.lines`` and ``mail/<domain>/<local part>/``. Of a home it holds what Dovecot cannot make anew:
messages, which are named by where they came in and never change, the lists of their numbers (UIDs) and keywords,
subscriptions, and the user's own Sieve scripts. Indexes are left out, as each release makes its own.

Everything here is pure.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

FORMAT, VERSION = "postmaster.mail archive of a mail server", 1
ABOUT, SUMS = "about.json", "sums.json"
FILES, MAIL, ACCOUNTS, BAYES = "files/", "mail/", "accounts/", "bayes.lines"
CREDENTIALS, GIVEN = ACCOUNTS + "credentials", ACCOUNTS + "given"
PARTS = ("files", "accounts", "bayes", "mail")
# These wait until the host has what takes them: Dovecot's directory, and redis.
LATE = ("bayes", "mail")
MAILDIR, SCRIPTS, ACTIVE = "Maildir", "sieve", ".dovecot.sieve"
UIDLIST, KEYWORDS, SUBSCRIPTIONS = "dovecot-uidlist", "dovecot-keywords", "subscriptions"
CONTROL = (UIDLIST, KEYWORDS, "dovecot-acl", "maildirfolder")
MAX_KEYWORDS = 26
_NUMBER = re.compile(r"[0-9]{1,9}\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


class ArchiveError(Exception):
    """The archive cannot be made or used; the message is a sentence with the remedy."""


@dataclass(frozen=True)
class About:
    """What an archive says of itself."""

    host: str
    release: str
    made: str
    parts: tuple[str, ...]

    def render(self) -> str:
        """As it stands in the archive."""
        known = {"format": FORMAT, "version": VERSION, "host": self.host, "release": self.release}
        return json.dumps({**known, "made": self.made, "parts": list(self.parts)}, indent=1) + "\n"


def parse_about(text: str, where: str) -> About:
    """What an archive says of itself. Raises :class:`ArchiveError`."""
    try:
        known = json.loads(text)
        same = known["format"] == FORMAT
        version, (host, release, made) = known["version"], (str(known[name]) for name in ("host", "release", "made"))
        parts = tuple(str(part) for part in known["parts"])
    except (ValueError, KeyError, TypeError, RecursionError):
        same = False
    if not same:
        raise ArchiveError(f"{where} is no archive that mail_backup made: name one that it left")
    if version != VERSION or not set(parts) <= set(PARTS):
        raise ArchiveError(
            f"{where} is of form {version}, which this release of the collection does not know: update it"
        )
    return About(host, release, made, parts)


def parse_sums(text: str, where: str) -> dict[str, str]:
    """What each member is to be. Raises :class:`ArchiveError`."""
    try:
        found = json.loads(text)
        if all(isinstance(name, str) and _DIGEST.match(digest) for name, digest in found.items()):
            return dict(found)
    except (ValueError, AttributeError, TypeError, RecursionError):
        pass
    raise ArchiveError(f"{where} is damaged: its list of sums cannot be read, so take another archive")


# -- names --------------------------------------------------------------------------------------
def is_plain(name: str) -> bool:
    """Whether a member's name leads nowhere else."""
    return (
        bool(name)
        and "\0" not in name
        and not name.startswith("/")
        and posixpath.normpath(name) == name
        and (".." not in name.split("/"))
    )


def home_of(name: str) -> tuple[str, str]:
    """The mailbox of a member as ``domain/local``, and the rest of its name; both empty if it is of none."""
    if not name.startswith(MAIL):
        return "", ""
    parts = name[len(MAIL) :].split("/", 2)
    return (f"{parts[0]}/{parts[1]}", parts[2]) if len(parts) == 3 else ("", "")


def is_of_home(rest: str) -> bool:
    """Whether a path in a home is one that archives hold."""
    parts = rest.split("/")
    if parts[0] == MAILDIR and len(parts) in (3, 4):
        folder = parts[1:-2]
        return (parts[-2] in ("cur", "new") and all(is_folder(name) for name in folder)) or is_control(parts)
    if parts[0] == MAILDIR and len(parts) == 2:
        return is_control(parts)
    return rest == ACTIVE or (parts[0] == SCRIPTS and len(parts) > 1 and parts[-1].endswith(".sieve"))


def is_control(parts: Collection[str]) -> bool:
    """Whether the path is one of the small files of a folder."""
    names = list(parts)
    if len(names) == 2:
        return names[1] in (*CONTROL, SUBSCRIPTIONS)
    return len(names) == 3 and is_folder(names[1]) and names[2] in CONTROL


def is_folder(name: str) -> bool:
    """Whether a directory in a Maildir is a folder."""
    return name.startswith(".") and name.strip(".") != ""


def is_wanted_file(path: str, allowed: Iterable[str]) -> bool:
    """Whether a file belongs to one of the paths that are asked for."""
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in allowed)


def complaint(name: str, allowed: Iterable[str]) -> str:
    """Why a member cannot be one of an archive that is to be brought here, or an empty text."""
    if not is_plain(name):
        return f"holds the name {name!r}, which would lead out of it"
    if name in (ABOUT, SUMS, CREDENTIALS, GIVEN, BAYES):
        return ""
    if name.startswith(FILES):
        path = name[len(FILES) - 1 :]
        return "" if is_wanted_file(path, allowed) else f"holds {path}, which is not one of the paths to be restored"
    home, rest = home_of(name)
    return "" if home and is_of_home(rest) else f"holds {name}, which no archive of a mail server has"


# -- messages and folders -----------------------------------------------------------------------
def base(name: str) -> str:
    """What stays of a message's name when its flags change."""
    return name.partition(":")[0]


def listed(text: str) -> int:
    """How many messages a list of UIDs names."""
    return max(0, len(text.splitlines()) - 1)


def parse_keywords(text: str) -> dict[int, str]:
    """Keywords by the number of their letter."""
    found = {}
    for line in text.splitlines():
        number, dummy, word = line.partition(" ")
        if _NUMBER.match(number) and word:
            found[int(number)] = word
    return found


def render_keywords(words: Mapping[int, str]) -> str:
    """The file of keywords."""
    return "".join(f"{number} {word}\n" for number, word in sorted(words.items()))


def join_keywords(here: Mapping[int, str], there: Mapping[int, str]) -> tuple[dict[int, str], dict[str, str]]:
    """Keywords of a folder that gets messages of another one, and which letter becomes which.

    A folder has room for 26; what does not fit any more is dropped from the messages.
    """
    words, letters = dict(here), {}
    for number, word in sorted(there.items()):
        known = [held for held, name in words.items() if name.lower() == word.lower()]
        place = known[0] if known else next((free for free in range(MAX_KEYWORDS) if free not in words), None)
        if place is not None:
            words[place] = word if not known else words[place]
        if number < MAX_KEYWORDS:
            letters[chr(97 + number)] = "" if place is None else chr(97 + place)
    return words, letters


def renamed(name: str, letters: Mapping[str, str]) -> str:
    """A message's name with the letters of its keywords replaced."""
    stem, mark, flags = name.partition(":2,")
    if not mark:
        return name
    changed = sorted(set("".join(letters.get(flag, "") if flag.islower() else flag for flag in flags)))
    return f"{stem}{mark}{''.join(changed)}"


def join_lines(here: str, there: str) -> str:
    """Subscriptions of both, those that are here first."""
    lines = here.splitlines()
    return "".join(f"{line}\n" for line in [*lines, *(line for line in there.splitlines() if line not in lines)])


# -- accounts -----------------------------------------------------------------------------------
@dataclass(frozen=True)
class Chosen:
    """Whose own password comes along: hashes by address, and who keeps the one chosen here."""

    hashes: Mapping[str, str] = field(repr=False)
    kept: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def own_hashes(hashes: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Hashes that users chose themselves."""
    return {name: held for name, held in hashes.items() if held != given.get(name, "")}


def choose(
    there: tuple[Mapping[str, str], Mapping[str, str]], here: tuple[Mapping[str, str], Mapping[str, str]]
) -> Chosen:
    """Which hashes of an archive go into the accounts of a host; both as all hashes, and those that were given.

    What a user chose at the old host is newer than what the inventory gave, and what was chosen here newer than both.
    """
    old, new = own_hashes(*there), own_hashes(*here)
    wanted = {name: held for name, held in old.items() if name in here[0] and here[0][name] != held}
    return Chosen(
        {name: held for name, held in wanted.items() if name not in new},
        kept=tuple(sorted(name for name in wanted if name in new)),
        unknown=tuple(sorted(name for name in there[0] if name not in here[0])),
    )


# -- what rspamd has learned --------------------------------------------------------------------
def bayes_lines(hashes: Mapping[str, Mapping[str, str]], sets: Mapping[str, Collection[str]]) -> str:
    """What rspamd has learned, a line for each value."""
    lines = [
        ["h", key, name, value] for key, values in sorted(hashes.items()) for name, value in sorted(values.items())
    ]
    lines += [["s", key, member] for key, members in sorted(sets.items()) for member in sorted(members)]
    return "".join(json.dumps(line) + "\n" for line in lines)


def is_count(key: str, name: str, value: str) -> bool:
    """Whether a value counts something, so that those of two hosts are added."""
    named = name.startswith("learns_") or (name in ("S", "H") and key.startswith("RS_"))
    return named and re.fullmatch(r"-?\d+", value) is not None


def bayes_commands(text: str, where: str) -> list[tuple[str, ...]]:
    """Commands for redis that add what was learned elsewhere. Raises :class:`ArchiveError`."""
    commands: list[tuple[str, ...]] = []
    for line in text.splitlines():
        try:
            kind, *words = (str(word) for word in json.loads(line))
            if kind == "h" and len(words) == 3:
                commands.append(("HINCRBY" if is_count(*words) else "HSETNX", *words))
            elif kind == "s" and len(words) == 2:
                commands.append(("SADD", *words))
            else:
                raise ValueError(kind)
        except (ValueError, TypeError, RecursionError):
            raise ArchiveError(f"{where} is damaged: what the filter learned cannot be read, so take another") from None
    return commands
