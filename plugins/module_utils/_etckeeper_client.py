# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: /etc under version control by etckeeper. Private.

Only git is spoken here, etckeeper's default: with another system there is no telling how to keep
keys out of it, so nothing is committed then.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from ansible_collections.postmaster.mail.plugins.module_utils._command import Runner
from ansible_collections.postmaster.mail.plugins.module_utils._files import read, write_atomic
from ansible_collections.postmaster.mail.plugins.module_utils._snapshot import with_ignore_block

_TIMEOUT = 300  # seconds: a first commit of a large /etc on a slow disk takes long


class Etckeeper:
    """etckeeper's repository in ``top``."""

    def __init__(self, *, top: str = "/etc", runner: Runner | None = None) -> None:
        self.top = top
        self._runner = runner or Runner()
        self._ignore_file = os.path.join(top, ".gitignore")

    def ready(self) -> bool:
        """Whether etckeeper and git are installed and the repository is there."""
        has_programs = shutil.which("etckeeper") is not None and shutil.which("git") is not None
        return has_programs and os.path.isdir(os.path.join(self.top, ".git"))

    def _git(self, *argv: str, stdin: str | None = None) -> str:
        return self._runner.check(["git", "-C", self.top, *argv], stdin=stdin, timeout=_TIMEOUT).stdout

    def ignore_text(self, name: str, lines: Sequence[str]) -> tuple[str, str]:
        """The ignore file as it is and as it is going to be."""
        state = read(self._ignore_file)
        before = state.text if state is not None else ""
        return before, with_ignore_block(before, name, lines)

    def write_ignore_text(self, text: str) -> None:
        """Replace the ignore file."""
        write_atomic(self._ignore_file, text)

    def sees(self, path: str) -> bool:
        """Whether a file at ``path``, there already or not, would be committed if it were new."""
        argv = ["git", "-C", self.top, "check-ignore", "--quiet", "--no-index", "--", path]
        return self._runner.run(argv, timeout=_TIMEOUT).code != 0

    def tracked(self, lines: Sequence[str]) -> list[str]:
        """Files under version control that ``lines`` want ignored, relative to the top."""
        if not lines:
            return []
        options = [word for line in lines for word in ("-x", line)]
        listed = self._git("ls-files", "-z", "--cached", "--ignored", *options)
        return sorted(path for path in listed.split("\0") if path)

    def untrack(self, paths: Sequence[str]) -> None:
        """Take files out of version control and leave them where they are."""
        if paths:
            names = "\0".join(f":(literal){path}" for path in paths)
            self._git("rm", "--cached", "--quiet", "--pathspec-from-file=-", "--pathspec-file-nul", stdin=names)

    def unclean(self) -> bool:
        """Whether there is something to commit."""
        return bool(self._git("status", "--porcelain").strip())

    def commit(self, message: str) -> None:
        """Commit all of /etc the way etckeeper does, with the owners and modes it keeps track of."""
        self._runner.check(["etckeeper", "commit", message], timeout=_TIMEOUT)
