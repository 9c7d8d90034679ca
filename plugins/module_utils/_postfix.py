# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: Postfix's main.cf, master.cf and map sources. Private.

Parsing keeps every byte of what is not ours to change: comments, blank lines, continuation
lines and the order of entries. Sources: postconf(5), master(5), postmap(1), aliases(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

INDEXED = {"lmdb": ".lmdb", "hash": ".db", "btree": ".db"}
"""Map types that are compiled by postmap, and the suffix of the compiled file."""
ORDERED = frozenset({"regexp", "pcre", "cidr"})
PLAIN = frozenset({"texthash"})
ALIAS = "alias"

HEADER = "# Managed by Ansible: changes made here are lost.\n"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
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


def check_text(text: str, what: str) -> str:
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
    text = check_text(value, what).strip()
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
        return self.all_values().get(name, ())

    def all_values(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for chunk in self.chunks:
            pair = _name_and_value(chunk) if chunk.is_entry else None
            if pair:
                found[pair[0]] = (*found.get(pair[0], ()), pair[1])
        return found

    def as_dict(self) -> dict[str, str]:
        """The values in force."""
        return {name: values[-1] for name, values in self.all_values().items()}

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
        command, options = split_options(words[7:], what)
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


def split_options(words: Sequence[str], what: str) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
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


def check_option(value: str, what: str) -> str:
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
    key, dummy, value = text.partition(":")
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
    key = check_text(str(raw), f"{what}: the key {str(raw)!r}")
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
