# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values and plan: Postfix's main.cf, master.cf and map sources. Private.

Parsing keeps every byte of what is not ours to change: comments, blank lines, continuation
lines and the order of entries. Sources: postconf(5), master(5), postmap(1), aliases(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

INDEXED = {"lmdb": ".lmdb", "hash": ".db", "btree": ".db"}
"""Map types that are compiled by postmap, and the suffix of the compiled file."""
ORDERED = frozenset({"regexp", "pcre", "cidr"})
PLAIN = frozenset({"texthash"})
ALIAS = "alias"

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
HEADER = "# Managed by Ansible: changes made here are lost.\n"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
_SERVICE = re.compile(r"[^\s{}#=,][^\s{}=,]*\Z")
_WORD_END = re.compile(r"\s+")


class PostfixError(ValueError):
    """A value that Postfix could not read back as it is meant; the message names the item."""


# ---------------------------------------------------------------- logical lines


@dataclass(frozen=True)
class Chunk:
    """One logical line with its continuation lines, or one line of comment or white space.

    ``lines`` are the physical lines without their newline, ``number`` is the first one's, from 1.
    """

    lines: tuple[str, ...]
    number: int = 0
    is_entry: bool = False

    @property
    def text(self) -> str:
        """The logical line: physical lines joined, comments between them left out (postconf(5))."""
        return "".join(line for line in self.lines if not _is_comment(line))

    @property
    def comments(self) -> tuple[str, ...]:
        """Comment and blank lines that stand between the continuation lines."""
        return tuple(line for line in self.lines if _is_comment(line))


def _is_comment(line: str) -> bool:
    stripped = line.strip(" \t\r\f\v")
    return stripped == "" or stripped.startswith("#")


def split_chunks(text: str) -> list[Chunk]:
    """Cut ``text`` into chunks; ``join_chunks`` gives it back byte for byte (but for a final newline)."""
    chunks: list[Chunk] = []
    entry: list[str] = []
    pending: list[str] = []
    start = 0

    def close(before: int) -> None:
        if entry:
            chunks.append(Chunk(tuple(entry), start, True))
        for offset, line in enumerate(pending):
            chunks.append(Chunk((line,), before - len(pending) + offset))
        entry.clear()
        pending.clear()

    number = 0
    for number, line in enumerate(_physical_lines(text), 1):
        if _is_comment(line):
            pending.append(line)
        elif line[0] in " \t" and entry:
            entry.extend((*pending, line))
            pending.clear()
        else:
            close(number)
            entry.append(line)
            start = number
    close(number + 1)
    return chunks


def _physical_lines(text: str) -> list[str]:
    if not text:
        return []
    return text.removesuffix("\n").split("\n")


def join_chunks(chunks: Iterable[Chunk]) -> str:
    """The text of ``chunks``; every line ends with a newline."""
    return "".join(f"{line}\n" for chunk in chunks for line in chunk.lines)


def squeeze(text: str) -> str:
    """``text`` with runs of white space made one space: how values are compared."""
    return " ".join(text.split())


def _check_text(text: str, what: str) -> str:
    for char, name in (("\n", "a line feed"), ("\r", "a carriage return"), ("\0", "a NUL")):
        if char in text:
            raise PostfixError(f"{what} contains {name}; write it as one line of plain text")
    if any((ord(char) < 32 and char != "\t") or ord(char) == 127 for char in text):
        raise PostfixError(f"{what} contains a control character; write it as one line of plain text")
    if any(0xD800 <= ord(char) <= 0xDFFF for char in text):
        raise PostfixError(f"{what} contains bytes that are not UTF-8")
    return text


# ---------------------------------------------------------------- main.cf


def parse_name(name: object, what: str = "main") -> str:
    """A parameter name; raises :class:`PostfixError` when Postfix could not read it."""
    if not isinstance(name, str) or not _NAME.match(name):
        raise PostfixError(f"{what}: {name!r} is no parameter name; use letters, digits and underscores")
    return name


def parse_value(value: object, what: str) -> str:
    """A value as main.cf holds it: bool as yes or no, a list joined by commas.

    Raises :class:`PostfixError` for shapes and characters that a line of main.cf cannot hold.
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        raise PostfixError(f"{what}: {value!r} is a number with a point; put it in quotes to keep its digits")
    if isinstance(value, (list, tuple)):
        if any(item is None or isinstance(item, (list, tuple, dict)) for item in value):
            raise PostfixError(f"{what}: a list may hold only texts and numbers")
        return ", ".join(parse_value(item, what) for item in value)
    if not isinstance(value, str):
        raise PostfixError(f"{what}: {type(value).__name__} is no value; give a text, a number, a boolean or a list")
    text = _check_text(value, what).strip()
    if text.startswith("#"):
        raise PostfixError(f"{what}: the value begins with '#', which reads as a comment; null removes a parameter")
    return text


def _name_and_value(chunk: Chunk) -> tuple[str, str] | None:
    name, equals, value = chunk.text.partition("=")
    if not equals:
        return None
    return name.strip(), value.strip()


@dataclass(frozen=True)
class MainCf:
    """main.cf with everything between the parameters kept. A later entry overrides an earlier one."""

    chunks: tuple[Chunk, ...] = ()

    @classmethod
    def parse(cls, text: str) -> MainCf:
        """Read ``text``; lines that are no ``name = value`` are kept and left to Postfix to judge."""
        return cls(tuple(split_chunks(text)))

    def __str__(self) -> str:
        return join_chunks(self.chunks)

    def values(self, name: str) -> tuple[str, ...]:
        """All values given for ``name`` in order; the last one is in force."""
        return self._index().get(name, ())

    def _index(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for chunk in self.chunks:
            pair = _name_and_value(chunk) if chunk.is_entry else None
            if pair:
                found[pair[0]] = (*found.get(pair[0], ()), pair[1])
        return found

    def as_dict(self) -> dict[str, str]:
        """The values in force."""
        return {name: values[-1] for name, values in self._index().items()}

    def with_values(self, values: Mapping[str, str | None]) -> MainCf:
        """A copy where each name has exactly this value once, or (None) does not appear."""
        last: dict[str, int] = {}
        for position, chunk in enumerate(self.chunks):
            pair = _name_and_value(chunk) if chunk.is_entry else None
            if pair and pair[0] in values:
                last[pair[0]] = position
        kept: list[Chunk] = []
        for position, chunk in enumerate(self.chunks):
            pair = _name_and_value(chunk) if chunk.is_entry else None
            if not pair or pair[0] not in values:
                kept.append(chunk)
                continue
            name, new = pair[0], values[pair[0]]
            if new is not None and last[name] == position:
                if squeeze(new) == squeeze(pair[1]):
                    kept.append(chunk)
                    continue
                kept.extend(Chunk((line,)) for line in chunk.comments)
                kept.append(_main_chunk(name, new))
            else:
                kept.extend(Chunk((line,)) for line in chunk.comments)
        kept.extend(_main_chunk(name, new) for name, new in values.items() if new is not None and name not in last)
        return MainCf(tuple(kept))


def _main_chunk(name: str, value: str) -> Chunk:
    return Chunk((f"{name} = {value}".rstrip(),), 0, True)


# ---------------------------------------------------------------- master.cf

MASTER_FIELDS = ("private", "unprivileged", "chroot", "wakeup", "maxproc")
MASTER_TYPES = ("inet", "unix", "unix-dgram", "fifo", "pass")
_MASTER_WIDTHS = (10, 6, 8, 8, 8, 8, 8)


@dataclass(frozen=True)
class MasterService:
    """One service; flags as master(5) writes them (``y``, ``n``, ``-``), options in order."""

    service: str
    type: str
    private: str = "-"
    unprivileged: str = "-"
    chroot: str = "-"
    wakeup: str = "-"
    maxproc: str = "-"
    command: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """What identifies a service in master.cf."""
        return self.service, self.type

    @classmethod
    def parse(cls, text: str, what: str = "master.cf") -> MasterService:
        """Read one logical line. Raises :class:`PostfixError` when it has too few fields."""
        words = split_words(text, what)
        if len(words) < 8:
            raise PostfixError(f"{what}: {squeeze(text)!r} has {len(words)} fields; a service needs 8")
        command, options = _split_options(words[7:], what)
        service, kind, *flags = words[:7]
        return cls(service, kind, **dict(zip(MASTER_FIELDS, flags, strict=True)), command=command, options=options)

    def __str__(self) -> str:
        """The entry as it is written: one line, then one line for every option."""
        fields = (self.service, self.type, *(getattr(self, name) for name in MASTER_FIELDS))
        head = "".join(f"{text:<{width - 1}} " for text, width in zip(fields, _MASTER_WIDTHS, strict=True))
        lines = [head + " ".join(self.command[:1])]
        lines += [f"  -o {_option_text(name, value)}" for name, value in self.options]
        arguments = " ".join(self.command[1:])
        if arguments and self.options:
            lines.append(f"  {arguments}")
        elif arguments:
            lines[0] += f" {arguments}"
        return "\n".join(line.rstrip() for line in lines)


def split_words(text: str, what: str) -> list[str]:
    """Words parted by white space; ``{ ... }`` is one word, braces included (master(5))."""
    words: list[str] = []
    rest = text.strip()
    while rest:
        if rest.startswith("{"):
            end = _closing_brace(rest, what)
        else:
            found = _WORD_END.search(rest)
            end = found.start() if found else len(rest)
        words.append(rest[:end])
        rest = rest[end:].lstrip()
    return words


def _closing_brace(text: str, what: str) -> int:
    depth = 0
    for position, char in enumerate(text):
        depth += {"{": 1, "}": -1}.get(char, 0)
        if depth == 0:
            return position + 1
    raise PostfixError(f"{what}: no '}}' closes {squeeze(text)[:60]!r}")


def _split_options(words: Sequence[str], what: str) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Part a command into its words and its ``-o`` options; those end at the first bare word."""
    command, options = list(words[:1]), dict[str, str]()
    position = 1
    while position < len(words) and words[position].startswith("-"):
        word = words[position]
        position += 1
        if not word.startswith("-o"):
            command.append(word)
            continue
        if word == "-o":
            if position >= len(words):
                raise PostfixError(f"{what}: '-o' without name=value at the end")
            setting = words[position]
            position += 1
        else:
            setting = word[2:]
        if setting.startswith("{"):
            setting = setting[1:-1]
        name, equals, value = setting.partition("=")
        if not equals:
            raise PostfixError(f"{what}: '-o {setting}' is no name=value")
        options.pop(name.strip(), None)
        options[name.strip()] = value.strip()
    return (*command, *words[position:]), tuple(options.items())


def _option_text(name: str, value: str) -> str:
    if value.startswith("{") or _WORD_END.search(value):
        return f"{{ {name} = {value} }}"
    return f"{name}={value}"


def _check_option(value: str, what: str) -> str:
    depth = 0
    for char in value:
        depth += {"{": 1, "}": -1}.get(char, 0)
        if depth < 0:
            break
    if depth != 0 and (value.startswith("{") or _WORD_END.search(value)):
        raise PostfixError(f"{what}: the braces of {value!r} do not match")
    return value


@dataclass(frozen=True)
class MasterCf:
    """master.cf with everything between the services kept."""

    chunks: tuple[Chunk, ...] = ()

    @classmethod
    def parse(cls, text: str) -> MasterCf:
        """Read ``text``; entries are parsed when they are asked for."""
        return cls(tuple(split_chunks(text)))

    def __str__(self) -> str:
        return join_chunks(self.chunks)

    def services(self) -> dict[tuple[str, str], MasterService]:
        """All services by name and type; a later one wins."""
        found = (MasterService.parse(c.text, f"master.cf line {c.number}") for c in self.chunks if c.is_entry)
        return {service.key: service for service in found}

    def texts(self, key: tuple[str, str]) -> tuple[str, ...]:
        """The logical lines that define ``key``."""
        return tuple(squeeze(chunk.text) for chunk in self.chunks if _master_key(chunk) == key)

    def with_service(self, key: tuple[str, str], service: MasterService | None) -> MasterCf:
        """A copy where ``key`` is defined exactly once, as ``service``, or (None) not at all."""
        places = [position for position, chunk in enumerate(self.chunks) if _master_key(chunk) == key]
        kept: list[Chunk] = []
        for position, chunk in enumerate(self.chunks):
            if position not in places:
                kept.append(chunk)
                continue
            kept.extend(Chunk((line,)) for line in chunk.comments)
            if service is not None and position == places[-1]:
                kept.append(Chunk(tuple(str(service).split("\n")), 0, True))
        if service is not None and not places:
            kept.append(Chunk(tuple(str(service).split("\n")), 0, True))
        return MasterCf(tuple(kept))


def _master_key(chunk: Chunk) -> tuple[str, str] | None:
    words = chunk.text.split(None, 2) if chunk.is_entry else []
    return (words[0], words[1]) if len(words) > 1 else None


# ---------------------------------------------------------------- judging values


@dataclass(frozen=True)
class Setting:
    """A parameter with its value, from main.cf or from a service's options; ``where`` is for people."""

    name: str
    value: str
    where: str


def settings(main_text: str, master_text: str) -> list[Setting]:
    """All parameters that are set, with the file and the line or service that sets them."""
    found = []
    for chunk in MainCf.parse(main_text).chunks:
        pair = _name_and_value(chunk) if chunk.is_entry else None
        if pair:
            found.append(Setting(*pair, f"main.cf line {chunk.number}: {pair[0]} = {pair[1]}"))
    for service in MasterCf.parse(master_text).services().values():
        for name, value in service.options:
            found.append(Setting(name, value, f"master.cf {service.service}/{service.type}: {name} = {value}"))
    return found


_RESTRICTIONS = re.compile(r"smtpd_(client|helo|sender|relay|recipient|data|end_of_data|etrn)_restrictions\Z")


def restriction_words(found: Sequence[Setting]) -> list[tuple[Setting, str]]:
    """Every word in the place of an access restriction (SMTPD_ACCESS_README).

    Tables, policy services, domains, numbers and references to other parameters are left out,
    and so are the restriction classes that are defined.
    """
    listed = " ".join(item.value for item in found if item.name == "smtpd_restriction_classes")
    classes = set(re.split(r"[\s,]+", listed))
    words = []
    for item in found:
        if _RESTRICTIONS.match(item.name) or item.name in classes:
            words += [(item, word) for word in re.split(r"[\s,]+", _without_braces(item.value))]
    return [(item, word) for item, word in words if re.fullmatch(r"[A-Za-z]\w*", word) and word not in classes]


def _without_braces(text: str) -> str:
    kept, depth = "", 0
    for char in text:
        depth += {"{": 1, "}": -1}.get(char, 0)
        kept += char if depth == 0 and char != "}" else ""
    return kept


_PROTOCOL = r"(!|>=|<=)?(SSLv[23]|TLSv1(\.[0-3])?|[0-9a-fA-F]{4})"
_SASL_OPTION = "noplaintext|noactive|nodictionary|noanonymous|mutual_auth|forward_secrecy|pass_credentials|maximum"
_WORDS_OF = {
    r"(smtp|lmtp)_sasl(_tls|_tls_verified)?_security_options": _SASL_OPTION,
    r"(smtp|lmtp)_tls(_mandatory)?_ciphers": "export|low|medium|high|null",
    r"(smtp|lmtp)_tls(_mandatory)?_protocols": _PROTOCOL,
    r"(smtp|lmtp)_bind_address6?": r"[0-9a-fA-F:]*:[0-9a-fA-F:.]*|\d+\.\d+\.\d+\.\d+",
    r"relayhost": r"\[[^\[\]]+\](:[\w-]+)?|[^\[\]]+",
}
"""What the smtp client looks at only in the middle of a delivery, when it is too late to say so."""


def bad_words(found: Sequence[Setting]) -> list[tuple[Setting, str]]:
    """Words that the smtp client would stumble over, for parameters with a fixed vocabulary."""
    bad = []
    for item in found:
        for names, words in _WORDS_OF.items():
            if re.fullmatch(names, item.name) and "$" not in item.value:
                listed = [
                    word for word in re.split(r"[\s,:]+" if "_protocols" in names else r"[\s,]+", item.value) if word
                ]
                bad += [(item, word) for word in listed if not re.fullmatch(words, word, re.IGNORECASE)]
    return bad


# ---------------------------------------------------------------- map sources


@dataclass(frozen=True)
class Entry:
    """One line of a map; ``value`` is empty only for ``if`` and ``endif`` of the ordered types."""

    key: str
    value: str = ""


@dataclass(frozen=True)
class MapSource:
    """The text of a map with its comments. ``type`` is the map type, or ``alias``."""

    type: str
    chunks: tuple[Chunk, ...] = ()

    @classmethod
    def parse(cls, text: str, type: str) -> MapSource:
        """Read ``text``; a line that is no entry is kept and left to postmap to judge."""
        return cls(type, tuple(split_chunks(text)))

    @classmethod
    def of(cls, entries: Iterable[Entry], type: str) -> MapSource:
        """A source that is managed whole: a header and the entries, unordered types sorted by key."""
        listed = list(entries) if type in ORDERED else sorted(entries, key=lambda entry: entry.key)
        header = Chunk((HEADER.rstrip("\n"),))
        return cls(type, (header, *(_map_chunk(entry, type) for entry in listed)))

    def __str__(self) -> str:
        return join_chunks(self.chunks)

    def entries(self) -> list[Entry]:
        """All entries in order, duplicates included."""
        return [_map_entry(chunk.text, self.type) for chunk in self.chunks if chunk.is_entry]

    def with_entries(self, entries: Iterable[Entry], removed: Iterable[str] = ()) -> MapSource:
        """A copy where each entry's key appears once with this value and ``removed`` keys not at all."""
        wanted = {self._fold(entry.key): entry for entry in entries}
        gone = {self._fold(key) for key in removed}
        kept: list[Chunk] = []
        done: set[str] = set()
        for chunk in self.chunks:
            old = _map_entry(chunk.text, self.type) if chunk.is_entry else None
            key = self._fold(old.key) if old else ""
            if old is None or (key not in wanted and key not in gone):
                kept.append(chunk)
            elif key in wanted and key not in done and squeeze(old.value) == squeeze(wanted[key].value):
                kept.append(chunk)
                done.add(key)
            else:
                kept.extend(Chunk((line,)) for line in chunk.comments)
                if key in wanted and key not in done:
                    kept.append(_map_chunk(wanted[key], self.type))
                    done.add(key)
        kept.extend(_map_chunk(entry, self.type) for key, entry in wanted.items() if key not in done)
        return MapSource(self.type, tuple(kept))

    def _fold(self, key: str) -> str:
        return fold(key, self.type)


def fold(key: str, type: str) -> str:
    """What two keys are compared by: postmap and postalias fold the case, ordered types do not."""
    return key if type in ORDERED else key.casefold()


def _map_entry(text: str, type: str) -> Entry:
    stripped = text.strip()
    if type == ALIAS:
        return _alias_entry(stripped)
    if type in ORDERED:
        key, value = _split_pattern(stripped)
        return Entry(key, value)
    parts = stripped.split(None, 1)
    return Entry(parts[0], parts[1] if len(parts) > 1 else "")


def _alias_entry(text: str) -> Entry:
    quoted = re.match(r'"((?:[^"\\]|\\.)*)"\s*:', text)
    if quoted:
        return Entry(re.sub(r"\\(.)", r"\1", quoted[1]), text[quoted.end() :].strip())
    key, _, value = text.partition(":")
    return Entry(key.strip(), value.strip())


def _split_pattern(text: str) -> tuple[str, str]:
    """The pattern of a regexp, pcre or cidr line and the rest; ``if`` takes its pattern along."""
    lead = re.match(r"(if|endif)\b\s*", text, re.IGNORECASE)
    start = lead.end() if lead else 0
    delimiter = text[start : start + 1] if not text[start : start + 1].isalnum() else ""
    negated = re.match(r"!\s*", text[start:])
    if negated:
        start += negated.end()
        delimiter = text[start : start + 1]
    end = start
    if delimiter and delimiter not in "[:":
        end = start + 1
        while end < len(text) and text[end] != delimiter:
            end += 2 if text[end] == "\\" else 1
    found = _WORD_END.search(text, min(end, len(text)))
    if not found:
        return text, ""
    return text[: found.start()], text[found.end() :]


def _map_chunk(entry: Entry, type: str) -> Chunk:
    if type == ALIAS:
        plain = re.fullmatch(r"[A-Za-z0-9._+=/@!%&*?^~|$-]+", entry.key)
        escaped = entry.key.replace("\\", "\\\\").replace('"', '\\"')
        line = f"{entry.key if plain else chr(34) + escaped + chr(34)}: {entry.value}"
    else:
        line = f"{entry.key} {entry.value}".rstrip()
    return Chunk((line,), 0, True)


def parse_entries(raw: object, *, type: str, what: str) -> tuple[list[Entry], list[str]]:
    """Entries from a dictionary or a list of ``key`` and ``value``; null values are keys to remove.

    Raises :class:`PostfixError` for keys or values that a line cannot hold, and for keys that are
    the same once their case is folded.
    """
    entries: list[Entry] = []
    removed: list[str] = []
    seen: dict[str, str] = {}
    for raw_key, raw_value in _pairs(raw, what):
        key = _parse_key(raw_key, type, what)
        folded = fold(key, type)
        if type not in ORDERED and folded in seen:
            raise PostfixError(f"{what}: the keys {seen[folded]!r} and {key!r} are the same to Postfix; keep one")
        seen[folded] = key
        if raw_value is None and not _is_block(key, type):
            removed.append(key)
        else:
            value = "" if raw_value is None else parse_value(raw_value, f"{what}: the value of {key!r}")
            if type == ALIAS and len(re.findall(r'(?<!\\)"', value)) % 2:
                raise PostfixError(f"{what}: the value of {key!r} has a quotation mark that nothing closes")
            if not value and not _is_block(key, type):
                raise PostfixError(f"{what}: the value of {key!r} is empty; Postfix needs one, null leaves the key out")
            entries.append(Entry(key, value))
    return entries, removed


def _is_block(key: str, type: str) -> bool:
    return type in ORDERED and re.match(r"(if|endif)\b", key, re.IGNORECASE) is not None


def _pairs(raw: object, what: str) -> list[tuple[Any, Any]]:
    if raw is None:
        return []
    if isinstance(raw, Mapping):
        return list(raw.items())
    if not isinstance(raw, (list, tuple)):
        raise PostfixError(f"{what}: entries must be a dictionary, or a list of key and value")
    pairs = []
    for item in raw:
        if not isinstance(item, Mapping) or not {"key"} <= set(item) <= {"key", "value"}:
            raise PostfixError(f"{what}: every entry of the list needs key and value, and nothing else")
        pairs.append((item["key"], item.get("value")))
    return pairs


def _parse_key(raw: object, type: str, what: str) -> str:
    if isinstance(raw, bool) or not isinstance(raw, (str, int)):
        raise PostfixError(f"{what}: {raw!r} is no key; put it in quotes")
    key = _check_text(str(raw), f"{what}: the key {str(raw)!r}")
    if key != key.strip() or not key:
        raise PostfixError(f"{what}: the key {key!r} is empty or has white space at its end")
    if key.startswith("#"):
        raise PostfixError(f"{what}: the key {key!r} begins with '#', which makes it a comment")
    if type == ALIAS:
        return key
    if type in ORDERED:
        if _split_pattern(key)[1] or (_is_block(key, type) is False and _split_pattern(f"{key} x") != (key, "x")):
            raise PostfixError(f"{what}: {key!r} is no pattern; white space belongs inside its delimiters")
        return key
    if _WORD_END.search(key) or key.startswith('"'):
        raise PostfixError(
            f"{what}: the key {key!r} contains white space or begins with a quote, which Postfix cannot hold"
        )
    return key


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


def parse_mode(raw: object, what: str) -> int | None:
    """Permission bits from ``"0640"`` or a YAML octal number."""
    if raw is None:
        return None
    if isinstance(raw, str) and re.fullmatch(r"0?o?[0-7]{3,4}", raw):
        return int(raw.replace("o", ""), 8)
    if isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw <= 0o777:
        return raw
    raise PostfixError(f"{what}: {raw!r} is no mode; write it in quotes, such as '0640'")


def parse_path(raw: object, what: str) -> str:
    """An absolute path in its plain form."""
    if not isinstance(raw, str) or not re.match(r"/[^/]", raw) or re.search(r"(/\.{0,2}(/|\Z))", raw):
        raise PostfixError(f"{what}: {raw!r} is no absolute path in its plain form")
    _check_text(raw, f"{what}: the path {raw!r}")
    if re.search(r"[\s,#{}$:]", raw):
        raise PostfixError(f"{what}: the path {raw!r} has characters that Postfix's configuration cannot hold")
    return raw


@dataclass(frozen=True)
class ServiceRequest:
    """What of a service is asked for; None leaves a field as it is, ``absent`` removes the service."""

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
            return None
        if current is None and self.command is None and not bare:
            raise PostfixError(
                f"master: there is no service {self.service}/{self.type} in master.cf; give its command to add it"
            )
        base = current or MasterService(self.service, self.type, command=("?",))
        options = {name: value for name, value in base.options if self.options.get(name, "") is not None}
        options.update({name: value for name, value in self.options.items() if value is not None})
        return replace(base, **self.fields, command=self.command or base.command, options=tuple(options.items()))


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
    if not isinstance(service, str) or not _SERVICE.match(_check_text(service, what)):
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
        words = split_words(_check_text(raw["command"], f"{what}: command"), what)
        if not words or not re.match(r"[A-Za-z0-9_./-]+\Z", words[0]):
            raise PostfixError(f"{what}: the command {raw['command']!r} does not begin with a program")
        command, given = _split_options(words, what)
        if given:
            raise PostfixError(f"{what}: put '-o {given[0][0]}=...' under options, not into the command")
    options: dict[str, str | None] = {}
    for name, value in (raw.get("options") or {}).items():
        where = f"{what}: option {name}"
        parse_name(name, f"{what}: options")
        options[name] = None if value is None else _check_option(parse_value(value, where), where)
    return ServiceRequest(service, kind, fields, command, options, raw.get("state") == "absent")


def _parse_attributes(raw: Mapping[str, Any], what: str, default: int) -> Attributes:
    mode = parse_mode(raw.get("mode"), what)
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
    elif not drifted and not any(path == table.compiled for path, _ in draft.attributes):
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
    before, after = old._index(), new._index()
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
        if len(old.texts(item.key)) == (wanted is not None) and services.get(item.key) == wanted:
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
