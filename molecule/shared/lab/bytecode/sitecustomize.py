# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""On the lab's hosts, each Python keeps what it compiled of a zip archive.

Ansible sends a module and what it imports as an archive of sources, which Python compiles anew for each task: two
thirds of the processor time of a task on a host. Each start of Python imports this file: on the hosts by a .pth file,
and for what a play runs on the controller itself as what it is named after.
"""

from __future__ import annotations

import _imp
import marshal
import os
import sys
import zipimport
from types import CodeType

KEPT = os.environ.get("LAB_BYTECODE", "/var/cache/lab-bytecode")  # root's own
KEY = 0x6C61622D62797465

_compile = zipimport._compile_source  # type: ignore[attr-defined]


def _kept_or_compiled(path: str, source: bytes) -> CodeType:
    # The path names a new archive each time, so it tells nothing.
    name = f"{KEPT}/{sys.implementation.cache_tag}-{_imp.source_hash(KEY, source).hex()}"
    try:
        with open(name, "rb") as file:
            code: CodeType = marshal.load(file)
    except (OSError, ValueError, EOFError, TypeError):
        code = _compile(path, source)
        part = f"{name}.{os.getpid()}"
        try:
            with open(part, "wb") as file:
                marshal.dump(code, file)
            os.rename(part, name)
        except OSError:
            pass
    else:
        _imp._fix_co_filename(code, path)  # type: ignore[attr-defined]
    return code


zipimport._compile_source = _kept_or_compiled  # type: ignore[attr-defined]
