# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: hashes of passwords that every daemon of a mail server reads, through crypt(3) of the host. Private.

No message here holds a password or a hash: only the name of a scheme.
"""

from __future__ import annotations

import re

MAX_PASSWORD = 255  # octets; crypt(3) of Debian takes 511
_CHARS = r"[./0-9A-Za-z]"
# By the name of the scheme as Dovecot writes it: what begins such a hash, and all of it.
SCHEMES = {
    "SHA512-CRYPT": ("$6$", re.compile(rf"\$6\$(?:rounds=[1-9][0-9]{{3,8}}\$)?{_CHARS}{{1,16}}\${_CHARS}{{86}}\Z")),
    "SHA256-CRYPT": ("$5$", re.compile(rf"\$5\$(?:rounds=[1-9][0-9]{{3,8}}\$)?{_CHARS}{{1,16}}\${_CHARS}{{43}}\Z")),
    "BLF-CRYPT": ("$2", re.compile(rf"\$2[aby]\$(?:0[4-9]|[12][0-9]|3[01])\${_CHARS}{{53}}\Z")),
    "YESCRYPT": ("$y$", re.compile(rf"\$y\${_CHARS}+\${_CHARS}{{1,86}}\${_CHARS}{{43}}\Z")),
}
_REMEDY = "make one with `doveadm pw -s BLF-CRYPT`"
_PREFIX = re.compile(r"\{([A-Za-z0-9.-]+)\}")


class HashError(ValueError):
    """A hash or a password that cannot be used; the message names the scheme and the remedy, never the text."""


def readable(text: str) -> str:
    """The hash as crypt(3) writes it, without the scheme that Dovecot puts in front. Raises :class:`HashError`."""
    prefix = _PREFIX.match(text)
    named, bare = (prefix[1].upper(), text[prefix.end() :]) if prefix else ("", text)
    if named and named != "CRYPT" and named not in SCHEMES:
        raise HashError(f"Dovecot alone reads a hash of the scheme {named}: {_REMEDY}")
    scheme = next((name for name, (start, dummy) in SCHEMES.items() if bare.startswith(start)), "")
    if not scheme and bare.startswith("$1$"):
        raise HashError(f"MD5-CRYPT is too weak, and Dovecot 2.4 refuses it: {_REMEDY}")
    if not scheme:
        raise HashError(f"its hash is of no scheme that the daemons read ({', '.join(SCHEMES)}): {_REMEDY}")
    if named not in ("", "CRYPT", scheme):
        raise HashError(f"its hash is said to be of the scheme {named}, but looks like {scheme}: {_REMEDY}")
    if not SCHEMES[scheme][1].match(bare):
        raise HashError(f"its hash of the scheme {scheme} is damaged, perhaps cut off: {_REMEDY}")
    return bare


def is_readable(text: str) -> bool:
    """Whether the daemons can read it as it is."""
    try:
        return readable(text) == text
    except HashError:
        return False


def usable(password: str) -> str:
    """A password in plain text that every client can send. Raises :class:`HashError`."""
    if not password:
        raise HashError("its password is empty: give one")
    if any(ord(char) < 32 or ord(char) == 127 for char in password):
        raise HashError("its password holds a line end or another control character: take it out")
    if len(password.encode("utf-8", "surrogateescape")) > MAX_PASSWORD:
        raise HashError(f"its password has more than {MAX_PASSWORD} octets: shorten it")
    return password
