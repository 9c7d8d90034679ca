# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""On the lab's hosts, each Python keeps what it compiled of a zip archive.

Ansible sends a module and what it imports as an archive of sources, which Python compiles anew for each task: two
thirds of the processor time of a task on a host. This file is imported at each start of Python (lab_bytecode.pth).
"""

from __future__ import annotations

import _imp
import marshal
import os
import zipimport
from types import CodeType

# Root's own; what it is named after is a hash of the source alone, as a path names a new archive each time.
KEPT = "/var/cache/lab-bytecode"
KEY = 0x6C61622D62797465

_compile = zipimport._compile_source  # type: ignore[attr-defined]


def _kept_or_compiled(path: str, source: bytes) -> CodeType:
    name = f"{KEPT}/{_imp.source_hash(KEY, source).hex()}"
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
