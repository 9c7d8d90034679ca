# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets one user change the password in the file that the mail daemons share, by the protocol of poppassd.

Started by systemd for each connection, with the connection as standard input and output. Arguments: the file, and
how many characters a new password needs. Says on standard error who did what, never a password.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hmac
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import BinaryIO

PATIENCE = 60  # seconds for a whole dialogue
PENALTY = 3  # seconds after a wrong password
MAX_LINE, MAX_PASSWORD = 1024, 255
PREFIX, ROUNDS = b"$6$", 20000
# Of no password: compared with where there is no such user, so that the time tells nothing.
NOBODY = "$6$rounds=20000$nobodynobodynobo$" + "." * 86
NAME = re.compile(r"[a-z0-9._+-]+@[a-z0-9.-]+\Z")


class Refused(Exception):
    """What the user is told, as an answer of the protocol."""


class Library:
    """crypt(3)."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcrypt.so.1")
        for name in ("crypt", "crypt_gensalt"):
            getattr(self._library, name).restype = ctypes.c_char_p

    def crypt(self, password: bytes, setting: bytes) -> str:
        """The hash, or something that is none."""
        return (self._library.crypt(password, setting) or b"*0").decode("ascii", "replace")

    def make(self, password: bytes) -> str:
        """A new hash."""
        setting = self._library.crypt_gensalt(PREFIX, ctypes.c_ulong(ROUNDS), os.urandom(16), 16) or b""
        made = self.crypt(password, setting)
        if not made.startswith("$6$"):
            raise Refused("500 The server cannot hash passwords, ask its administrator.")
        return made

    def verify(self, password: bytes, hashed: str) -> bool:
        """Whether the hash was made from that password."""
        return hashed.startswith("$") and hmac.compare_digest(self.crypt(password, hashed.encode()), hashed)


def log(text: str) -> None:
    """A line for the journal."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Keep others from changing the file meanwhile; the role's module holds the same lock."""
    handle = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def read_hash(path: str, user: str) -> str:
    """The user's hash, or an empty text."""
    with open(path, encoding="utf-8", errors="surrogateescape") as stream:
        for line in stream:
            name, dummy, tail = line.partition(":")
            if name == user:
                return tail.partition(":")[0]
    return ""


def replace_hash(path: str, user: str, old: str, new: str) -> None:
    """Put the new hash in the place of the old one, with nobody ever seeing half a file."""
    with locked(path):
        info = os.stat(path)
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            lines = stream.readlines()
        start = f"{user}:{old}:"
        if sum(line.startswith(start) for line in lines) != 1:
            raise Refused("500 The password was changed by somebody else meanwhile, try again.")
        text = "".join(f"{user}:{new}:{line[len(start) :]}" if line.startswith(start) else line for line in lines)
        handle, temporary = tempfile.mkstemp(prefix=".credentials.", dir=os.path.dirname(path))
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as stream:
                stream.write(text)
                stream.flush()
                os.fchown(stream.fileno(), info.st_uid, info.st_gid)
                os.fchmod(stream.fileno(), info.st_mode & 0o7777)
                os.fsync(stream.fileno())
            # Dovecot reads the file again when its size or its time in seconds has changed.
            later = max(int(time.time()), int(info.st_mtime) + 1)
            os.utime(temporary, (later, later))
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise


def new_password(word: bytes, old: bytes, minimum: int) -> bytes:
    """The new password, if it will do. Raises :class:`Refused`."""
    try:
        text = word.decode()
    except UnicodeDecodeError:
        raise Refused("500 The new password is not in UTF-8.") from None
    if len(text) < minimum:
        raise Refused(f"500 The new password needs at least {minimum} characters.")
    if len(word) > MAX_PASSWORD or any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise Refused("500 The new password is too long or holds control characters.")
    if word == old:
        raise Refused("500 The new password is the old one.")
    return word


class Dialogue:
    """One connection."""

    def __init__(self, path: str, minimum: int, library: Library, lines: BinaryIO, answers: BinaryIO) -> None:
        self.path, self.minimum, self.library = path, minimum, library
        self.lines, self.answers = lines, answers
        self.user, self.old, self.hash = "", b"", ""

    def say(self, text: str) -> None:
        """Answer."""
        self.answers.write(text.encode() + b"\r\n")
        self.answers.flush()

    def run(self) -> None:
        """Until the user is done."""
        self.say("200 Change the mail password here.")
        while line := self.lines.readline(MAX_LINE):
            command, dummy, argument = line.rstrip(b"\r\n").partition(b" ")
            if command.lower() == b"quit":
                self.say("200 Bye.")
                return
            try:
                self.say(self.obey(command.lower(), argument))
            except Refused as err:
                self.say(str(err))
                return

    def obey(self, command: bytes, argument: bytes) -> str:
        """Do as told and answer. Raises :class:`Refused`, which ends the dialogue."""
        if command == b"user" and not self.hash:
            self.user = argument.decode("utf-8", "replace").lower()
            return "300 The password, please."
        if command == b"pass" and self.user and not self.hash:
            return self.check(argument)
        if command == b"newpass" and self.hash:
            return self.change(argument)
        raise Refused("500 Say user, pass and newpass, in this order.")

    def check(self, password: bytes) -> str:
        """Whether it is the user's password."""
        known = read_hash(self.path, self.user) if NAME.match(self.user) else ""
        right = self.library.verify(password, known or NOBODY)
        if not known or not right:
            log(f"wrong password for {self.user if NAME.match(self.user) else 'a name that is no address'}")
            time.sleep(PENALTY)
            raise Refused("500 The name or the password is wrong.")
        self.old, self.hash = password, known
        return "200 Right. The new password, please."

    def change(self, word: bytes) -> str:
        """Put the new password in the place of the old one."""
        fresh = self.library.make(new_password(word, self.old, self.minimum))
        replace_hash(self.path, self.user, self.hash, fresh)
        log(f"{self.user} changed the password")
        self.old, self.hash = word, fresh
        return "200 The password is changed."


def main() -> None:
    """Serve the connection that systemd hands over."""
    signal.alarm(PATIENCE)
    path, minimum = sys.argv[1], int(sys.argv[2])
    Dialogue(path, minimum, Library(), sys.stdin.buffer, sys.stdout.buffer).run()


if __name__ == "__main__":
    main()
