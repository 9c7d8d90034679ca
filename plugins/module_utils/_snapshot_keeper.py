# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the last working configuration, and bring it back. Private.

Ties together the store, the disk, the daemons' own checkers and etckeeper; knows no Ansible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.postmaster.mail.plugins.module_utils import _snapshot as sn
from ansible_collections.postmaster.mail.plugins.module_utils import _snapshot_client as client
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError, Runner
from ansible_collections.postmaster.mail.plugins.module_utils._etckeeper_client import Etckeeper
from ansible_collections.postmaster.mail.plugins.module_utils._pending import NOTHING, Pending


@dataclass(frozen=True)
class Outcome:
    """What was done, or would be. ``reason`` says why a state was not stored."""

    changed: bool = False
    name: str = ""
    snapshot: int | None = None
    paths: tuple[str, ...] = ()
    reason: str = ""
    committed: bool = False
    diff: tuple[dict[str, str], ...] = ()
    warnings: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Verdict:
    """Whether a configuration works; ``started`` is False where a checker is not even installed."""

    message: str = ""
    started: bool = True


class Keeper:
    """Everything that one module call needs. Nothing is written if ``dry_run``."""

    def __init__(
        self,
        store: client.Store,
        *,
        etckeeper: Etckeeper | None = None,
        runner: Runner | None = None,
        dry_run: bool = False,
    ) -> None:
        self.store = store
        self.etckeeper = etckeeper or Etckeeper()
        self.runner = runner or Runner()
        self.dry_run = dry_run

    # --- keeping ---

    def keep(
        self,
        name: str,
        scope: sn.Scope,
        *,
        message: str,
        ignore: Sequence[str] | None = None,
        number: int = 5,
        notified: bool = False,
    ) -> Outcome:
        """Store the state of now if it works and is new, and have etckeeper commit it.

        ``notified`` says that the caller knows of a change: in a dry run nothing of it is on disk yet.
        """
        sn.check_name(name)
        lines = None if ignore is None else sn.ignore_lines(ignore)
        stored = self._store(name, scope, number=number)
        commit = self._commit(name, message, lines)
        outcome = replace(
            stored,
            changed=stored.changed or commit.committed or (notified and self.dry_run),
            committed=commit.committed,
            diff=stored.diff + commit.diff,
            warnings=stored.warnings + commit.warnings,
        )
        return outcome

    def _store(self, name: str, scope: sn.Scope, *, number: int) -> Outcome:
        current = client.read_state(scope)
        numbers = self.store.numbers(name)
        newest, warnings = self._newest(name, numbers)
        if newest == current:
            self._forget_pending(name)
            return Outcome(name=name, snapshot=numbers[0])
        if not current.entries:
            return Outcome(name=name, reason="there is no configuration yet")
        verdict = self._verify(scope)
        if verdict.message:
            troubles = (f"The configuration is not kept: {verdict.message}",) if verdict.started else ()
            return Outcome(name=name, reason=verdict.message, warnings=warnings + troubles)
        plan = sn.plan(newest or sn.State(scope, {}), current)
        diff = {
            "before_header": f"{name}, snapshot {numbers[0]}" if numbers else f"{name}, no snapshot",
            "after_header": f"{name}, now",
            "before": plan.before,
            "after": plan.after,
        }
        stored = (numbers or [0])[0] + 1
        if not self.dry_run:
            with self.store.lock(name):
                stored = self.store.save(name, current, keep=number)
                self.store.set_pending(name, None)
        return Outcome(True, name, stored, tuple(plan.paths), diff=(diff,), warnings=warnings)

    def _newest(self, name: str, numbers: Sequence[int]) -> tuple[sn.State | None, tuple[str, ...]]:
        if not numbers:
            return None, ()
        try:
            return self.store.load(name, numbers[0]), ()
        except sn.SnapshotError as err:
            return None, (str(err),)

    def _forget_pending(self, name: str) -> None:
        if not self.dry_run and self.store.pending(name) is not None:
            self.store.set_pending(name, None)

    def _verify(self, scope: sn.Scope) -> Verdict:
        for argv in scope.verify:
            try:
                result = self.runner.run(argv)
            except CommandError as err:
                return Verdict(str(err), started=False)
            if result.code != 0:
                return Verdict(f"`{' '.join(argv)}` refuses it: {result.output or f'exit {result.code}'}")
        return Verdict()

    # --- bringing back ---

    def restore(self, name: str | None, *, message: str = "", mark: Pending = NOTHING) -> Outcome:
        """Bring back the newest stored state that differs from the one of now.

        A return that was cut short is finished first. So is one that the daemons have not taken up: ``mark`` is set
        before anything is touched, and as long as it is there, what it names counts as not brought back. Raises
        :class:`SnapshotError` if there is no such state, or if the checkers refuse what was brought back.
        """
        name = sn.check_name(name) if name else self._only_name()
        pending = self.store.pending(name)
        if pending is None:
            pending = self._not_in_force(name, mark)
        number, wanted, plan, current, warnings = self._choose(name, pending)
        diff = {
            "before_header": f"{name}, now",
            "after_header": f"{name}, snapshot {number}",
            "before": plan.before,
            "after": plan.after,
        }
        outcome = Outcome(True, name, number, tuple(plan.paths), diff=(diff,), warnings=warnings)
        if self.dry_run:
            return outcome
        saved = self._commit(name, f"saving uncommitted changes before restoring {name}", None)
        with self.store.lock(name):
            if pending is None and not self._is_stored(name, current):
                self.store.save_replaced(name, current)
            # In this order a crash anywhere leads to the same state when the call is repeated.
            number = self.store.promote(name, number)
            self.store.set_pending(name, number)
            mark.add([f"{name} {number}"])
            client.apply(plan, wanted.scope)
            self.store.set_pending(name, None)
        verdict = self._verify(wanted.scope)
        if verdict.message:
            # No daemon is to take this up, and the next call is to choose anew.
            mark.remove()
            raise sn.SnapshotError(f"Snapshot {number} of {name} was brought back, but {verdict.message}")
        restored = self._commit(name, message or f"restored the configuration of {name}", None)
        return replace(outcome, snapshot=number, committed=saved.committed or restored.committed)

    def _not_in_force(self, name: str, mark: Pending) -> int | None:
        """The number of a state that was brought back, is still what is on disk, and waits for the daemons."""
        newest = next(iter(self.store.numbers(name)), None)
        if newest is None or f"{name} {newest}" not in mark.earlier:
            return None
        try:
            state = self.store.load(name, newest)
        except sn.SnapshotError:
            return None
        return newest if client.read_state(state.scope) == state else None

    def _only_name(self) -> str:
        names = self.store.names()
        if len(names) == 1:
            return names[0]
        if not names:
            raise sn.SnapshotError(f"There is no snapshot in {self.store.directory}: no role has kept one here yet.")
        raise sn.SnapshotError(f"There are snapshots of {', '.join(names)}: say which of them to bring back.")

    def _choose(self, name: str, pending: int | None) -> tuple[int, sn.State, sn.Plan, sn.State, tuple[str, ...]]:
        numbers = [pending] if pending is not None else self.store.numbers(name)
        if not numbers:
            known = ", ".join(self.store.names()) or "none"
            raise sn.SnapshotError(f"There is no snapshot of {name} in {self.store.directory}: there is {known}.")
        warnings = []
        for number in numbers:
            try:
                wanted = self.store.load(name, number)
            except sn.SnapshotError as err:
                warnings.append(str(err))
                continue
            current = client.read_state(wanted.scope)
            plan = sn.plan(current, wanted)
            if plan.actions or pending is not None:
                return number, wanted, plan, current, tuple(warnings)
        reasons = "".join(f" {warning}." for warning in warnings)
        raise sn.SnapshotError(f"No snapshot of {name} differs from what is there now.{reasons}")

    def _is_stored(self, name: str, current: sn.State) -> bool:
        for number in self.store.numbers(name):
            try:
                if self.store.load(name, number).entries == current.entries:
                    return True
            except sn.SnapshotError:
                continue
        return False

    # --- etckeeper ---

    def _commit(self, name: str, message: str, lines: Sequence[str] | None) -> Outcome:
        """Write the ignore lines, drop keys that are tracked already, and commit if anything changed."""
        keeper = self.etckeeper
        if not keeper.ready():
            return Outcome()
        diff: tuple[dict[str, str], ...] = ()
        tracked: list[str] = []
        if lines is not None:
            before, after = keeper.ignore_text(name, lines)
            if before != after:
                header = f"{keeper.top}/.gitignore"
                diff = ({"before_header": header, "after_header": header, "before": before, "after": after},)
            tracked = keeper.tracked(lines)
            if not self.dry_run:
                if before != after:
                    keeper.write_ignore_text(after)
                keeper.untrack(tracked)
        warnings = tuple(
            f"{keeper.top}/{path} was under version control and stays in its history: replace the secrets it holds."
            for path in tracked
        )
        if not (diff or tracked or keeper.unclean()):
            return Outcome()
        if not self.dry_run:
            keeper.commit(message)
        return Outcome(committed=True, diff=diff, warnings=warnings)
