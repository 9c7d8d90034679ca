# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: the URIs that reports go to. Private to this collection.

Sources: RFC 3986 (URI), RFC 6068 (mailto), RFC 9989 section 4.8 and RFC 8460 section 3 (characters that
must be encoded in a record).
"""

from __future__ import annotations

import re

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#\[\]@$&'()*+;=-]|%[0-9A-Fa-f]{2})+", re.ASCII)
_MAILTO = re.compile(r"mailto:[^@?]+@[^@?]+(?:\?.*)?", re.IGNORECASE)
_AUTHORITY = re.compile(r"//(?:[^/?#@]*@)?(\[[^\]/?#]*\]|[^:/?#]*)")


def is_report_uri(text: str) -> bool:
    """Whether ``text`` is a URI as records hold it: no comma or exclamation mark, an address behind mailto."""
    return bool(_URI.fullmatch(text)) and (scheme(text) != "mailto" or bool(_MAILTO.fullmatch(text)))


def scheme(uri: str) -> str:
    """What stands before the colon, in lower case."""
    return uri.partition(":")[0].lower()


def host(uri: str) -> str:
    """The host that a URI leads to, in lower case and without a final dot; empty where there is none."""
    rest = uri.partition(":")[2]
    if scheme(uri) == "mailto":
        return rest.partition("?")[0].rpartition("@")[2].lower().rstrip(".")
    match = _AUTHORITY.match(rest)
    return match.group(1).lower().rstrip(".") if match else ""
