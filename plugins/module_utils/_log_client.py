# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: logs of mail as lines, out of files, rotated ones too, and of the journal. Private to this collection.

Nothing is read into memory as a whole: a file is taken in pieces, packed or not, and of a line that has no end the
beginning counts. What unpacks gets UNPACK_MEMORY, which is what the strongest level of each program makes it need.
"""

from __future__ import annotations

import bz2
import glob
import gzip
import lzma
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, TypeAlias

from ansible_collections.postmaster.mail.plugins.module_utils import _mail_log as ml
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError, Runner
from ansible_collections.postmaster.mail.plugins.module_utils._log_explain import Explainer, Parse

SYSLOG_FILES = ("mail.log", "maillog")  # below /var/log; where one is, the journal tells the same
OWN_FILES = ("exim4/mainlog",)
JOURNAL = ("journalctl", "-o", "json", "--output-fields=MESSAGE,SYSLOG_IDENTIFIER", "--no-pager", "--quiet")
MAIL_FACILITY = "SYSLOG_FACILITY=2"  # syslog(3)
PIECE = 1 << 20  # bytes that are read at a time
READ_TIME = 1800  # seconds that a program may take to print a log
UNPACK_MEMORY = 128 << 20  # bytes
ZSTD = ("zstd", "--decompress", "--stdout", "--quiet", f"--memory={UNPACK_MEMORY >> 20}MB", "--")
_ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
_BEFORE = "what stood before that has been read"
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_Decoder: TypeAlias = "bz2.BZ2Decompressor | lzma.LZMADecompressor"
_DECODERS: Mapping[bytes, Callable[[], _Decoder]] = {
    b"\xfd7zXZ": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=UNPACK_MEMORY),
    b"BZh": bz2.BZ2Decompressor,
}


class LogError(Exception):
    """A log cannot be read; the message names it and the remedy."""


def split_lines(pieces: Iterator[bytes]) -> Iterator[list[bytes]]:
    """The lines of what comes in pieces, those of a piece together; of one without end its beginning."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        if whole:
            yield whole
        if len(rest) > PIECE:
            rest = rest[: 4 * ml.LINE_LIMIT]
    if rest:
        yield [rest]


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(PIECE):
        yield piece


def _unpacked(stream: IO[bytes], make: Callable[[], _Decoder]) -> Iterator[bytes]:
    """What a file of xz or bzip2 holds, even several of them joined. Raises EOFError where an end misses."""
    decoder, rest = None, b""
    while True:
        if decoder is None or decoder.needs_input:
            rest = rest or stream.read(PIECE)
            if not rest:
                break
        decoder = decoder or make()
        yield decoder.decompress(rest, PIECE)
        rest = b""
        if decoder.eof:
            rest, decoder = decoder.unused_data.lstrip(b"\0"), None  # zeros fill an xz file up
    if decoder is not None:
        raise EOFError("Compressed file ended before the end-of-stream marker was reached")


@dataclass
class LogHost:
    """The host this process runs on; ``root`` lets a test point at a made-up tree."""

    root: str = "/"
    runner: Runner = field(default_factory=Runner)
    sources: list[str] = field(default_factory=list)

    def now(self) -> datetime:
        """The time, with the host's zone."""
        return datetime.now().astimezone()

    def name(self) -> str:
        """The host's name."""
        return os.uname().nodename

    # --- what there is -----------------------------------------------------------------------

    def find(self, since: datetime | None) -> list[str]:
        """The logs of mail below /var/log, with those put aside, the oldest first; none that ended before ``since``."""
        found = []
        for name in (*SYSLOG_FILES, *OWN_FILES):
            folder, base = os.path.split(os.path.join(self.root, "var/log", name))
            names = os.listdir(folder) if os.path.isdir(folder) else []
            found += [os.path.join(folder, one) for one in names if _is_of(base, one)]
        return self._ordered([path for path in found if since is None or _mtime(path) >= since.timestamp()])

    def named(self, patterns: Sequence[str]) -> list[str]:
        """Files by name or shell pattern, each once, the oldest first. Raises :class:`LogError` for what is none."""
        found: dict[str, str] = {}
        for pattern in patterns:
            paths = [pattern] if os.path.lexists(pattern) else sorted(glob.glob(pattern))
            if not paths:
                raise LogError(f"paths: {pattern} is not there: give a file of this host, or a pattern that fits one")
            for path in paths:
                if os.path.isdir(path):
                    raise LogError(f"paths: {path} is a folder: name the files in it, such as {path.rstrip('/')}/*.log")
                found.setdefault(os.path.realpath(path), path)
        return self._ordered(list(found.values()))

    def _ordered(self, paths: Sequence[str]) -> list[str]:
        return sorted(paths, key=lambda path: (_mtime(path), path))

    def has_syslog(self) -> bool:
        """Whether syslog writes files of mail here."""
        return any(os.path.exists(os.path.join(self.root, "var/log", name)) for name in SYSLOG_FILES)

    # --- reading -----------------------------------------------------------------------------

    def read_file(self, path: str, explainer: Explainer) -> None:
        """Hand all lines of a file on. Raises :class:`LogError`."""
        try:
            with open(path, "rb") as stream:
                # What has no year was written before the file was last changed.
                written = min(datetime.fromtimestamp(_mtime(path)).astimezone(), self.now())
                explainer.read(split_lines(self._opened(path, stream)), _parser(written))
        except (EOFError, zlib.error, lzma.LZMAError) as err:
            raise LogError(f"{path} is broken: {err}; {_BEFORE}") from err
        except OSError as err:
            if err.errno is None:  # as gzip and bz2 say that a file is none of theirs
                raise LogError(f"{path} is broken: {err}; {_BEFORE}") from err
            raise LogError(f"{path} cannot be read: {(err.strerror or str(err)).lower()}") from err
        self.sources.append(path)

    def _opened(self, path: str, stream: IO[bytes]) -> Iterator[bytes]:
        """What a file holds, unpacked, in pieces. Raises :class:`LogError` where a program for that is not there."""
        magic = stream.read(6)
        stream.seek(0)
        if magic.startswith(_ZSTD):
            return self._zstd(path)
        for start, make in _DECODERS.items():
            if magic.startswith(start):
                return _unpacked(stream, make)
        return _pieces(gzip.GzipFile(fileobj=stream) if magic.startswith(_GZIP) else stream)  # type: ignore[arg-type]

    def _zstd(self, path: str) -> Iterator[bytes]:
        """Python has it from 3.14 on only, so that the program of that name unpacks."""
        try:
            result = yield from self.runner.stream([*ZSTD, path], env=_ENV, timeout=READ_TIME)
        except CommandError as err:
            raise LogError(f"{path} is packed with zstd, and {err}: install zstd, or unpack the file") from err
        if result.code:
            reason = result.stderr.strip().removeprefix(f"{path} : ").removeprefix("zstd: ")
            raise LogError(f"{path} is broken: {' '.join(reason.split())[:200]}; {_BEFORE}")

    def read_journal(self, since: datetime | None, explainer: Explainer) -> None:
        """Hand on what the journal has on mail. Raises :class:`LogError`."""
        argv = [*JOURNAL, *([f"--since=@{int(since.timestamp())}"] if since else []), MAIL_FACILITY]
        outcome: list[str] = []

        def pieces() -> Iterator[bytes]:
            result = yield from self.runner.stream(argv, env=_ENV, timeout=READ_TIME)
            if result.code or "not seeing messages" in result.stderr or "ermission" in result.stderr:
                outcome.append(" ".join(result.stderr.split())[:200] or f"journalctl ended with {result.code}")

        try:
            explainer.read(split_lines(pieces()), ml.parse_journal_line)
        except CommandError as err:
            raise LogError(f"the journal cannot be read: {err}") from err
        if outcome:
            raise LogError(f"the journal cannot be read: {outcome[0]}")
        self.sources.append("journal")


def _is_of(base: str, name: str) -> bool:
    """Whether a name is that of a log, or of one of its put aside: .1, .2.gz, -20261129.gz."""
    rest = name.removeprefix(base)
    return name.startswith(base) and (not rest or (rest[0] in ".-" and rest[1:2].isdigit()))


def _mtime(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _parser(now: datetime) -> Parse:
    return lambda text: ml.parse_line(text, now)


# --- texts given by hand ---------------------------------------------------------------------------


def given(text: str, now: datetime) -> list[ml.Line]:
    """Lines of any log, or a reply as a bounce holds it; a line that begins as none belongs to the one before."""
    found: list[ml.Line] = []
    for one in text.splitlines():
        if line := ml.parse_line(one, now) or ml.parse_journal_line(one):
            found.append(line)
        elif found:
            found[-1] = ml.Line(found[-1].time, found[-1].program, f"{found[-1].text} {one.strip()}"[: ml.LINE_LIMIT])
        elif one.strip():
            found.append(ml.Line(None, "", one.strip()[: ml.LINE_LIMIT]))
    return found
