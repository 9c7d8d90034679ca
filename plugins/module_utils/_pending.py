# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: a mark that a configuration was written and is not in force yet. Private.

A handler that a play did not get to is forgotten with the play, and the next run finds files that are as they should
be. So the mark is set before the first file is replaced and stays until the role has seen the daemon take it up. It
lies below /run: a restart of the host takes it away together with the daemon that knew the old configuration.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.postmaster.mail.plugins.module_utils import _files

RELOAD, RESTART, CHECK = "reload", "restart", "check"
"""What a mark asks for where it does not list files."""


@dataclass(frozen=True)
class Pending:
    """The mark at ``path`` and what it held when it was read; without a path nothing is ever pending."""

    path: str | None = None
    earlier: tuple[str, ...] = ()

    @classmethod
    def at(cls, path: str | None) -> Pending:
        """Read the mark, one item on each line. Raises :class:`_files.FileError`."""
        state = _files.read(path) if path else None
        return cls(path, () if state is None else tuple(state.text.splitlines()) or (CHECK,))

    def add(self, items: Iterable[str]) -> None:
        """Set the mark, beside what waits already. Raises :class:`_files.FileError`."""
        if not self.path:
            return
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
        except OSError as err:
            raise _files.FileError(f"{self.path} cannot be written: {err.strerror}") from err
        known = dict.fromkeys((*self.earlier, *items))
        _files.write_atomic(self.path, "".join(f"{item}\n" for item in known), mode=0o644)

    def add_steps(self, *, reload: bool, restart: bool) -> None:
        """Set the mark for a daemon that has to be reloaded or restarted, or at least checked."""
        self.add([CHECK, *([RELOAD] if reload else []), *([RESTART] if restart else [])])

    def remove(self) -> None:
        """Take the mark away. Raises :class:`_files.FileError`."""
        if not self.path:
            return
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            return
        except OSError as err:
            raise _files.FileError(f"{self.path} cannot be removed: {err.strerror}") from err

    @property
    def reload(self) -> bool:
        """Whether an earlier call asked for a reload or more."""
        return RELOAD in self.earlier or self.restart

    @property
    def restart(self) -> bool:
        """Whether an earlier call asked for a restart."""
        return RESTART in self.earlier

    def diff(self) -> list[dict[str, str]]:
        """What waits from earlier calls, as an entry of a diff."""
        if not self.earlier:
            return []
        before = "".join(f"{item} (of an earlier run, not done yet)\n" for item in self.earlier)
        return [{"before_header": str(self.path), "after_header": str(self.path), "before": before, "after": ""}]


NOTHING = Pending()
"""No mark at all."""
