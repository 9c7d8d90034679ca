# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the steps of a test part: each with a log, a time limit and one line that says how it went."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Lock
from typing import TextIO
from xml.etree import ElementTree

from .places import LOGS, ROOT, DevError

LAST_LINES = 60
SHORT = 300  # characters of a reason, where all that failed is told once more
# Logs are read in editors and on build servers: no colours, no terminal links.
PLAIN = {"NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1", "PY_COLORS": "0", "TERM": "dumb"}
_FAILED = ("failure", "error")  # the elements of a JUnit report
_printing = Lock()
_running: set[subprocess.Popen[bytes]] = set()
_interrupted = Event()


class StepFailed(Exception):
    """A step's program said no; the log has the details."""


class NotRun(Exception):
    """A step cannot run here; the message says why."""


class Shell:
    """Starts programs for one step; what they say goes into the step's log."""

    def __init__(self, log: TextIO, env: Mapping[str, str]) -> None:
        self._log = log
        self.env = env

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        timeout: float = 900,
    ) -> None:
        """Run ``argv`` to its end (``timeout`` in seconds). Raises StepFailed unless it exits with 0."""
        words = [str(word) for word in argv]
        self.say(f"$ {' '.join(words)}")
        try:
            process = subprocess.Popen(
                words,
                cwd=cwd,
                env={**self.env, **PLAIN, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as err:
            raise StepFailed(f"{words[0]} cannot be started: {err.strerror}") from err
        _running.add(process)
        try:
            if interrupted():
                raise StepFailed("interrupted")
            code = process.wait(timeout)
        except subprocess.TimeoutExpired as err:
            raise StepFailed(f"{words[0]} did not end within {timeout:g} seconds") from err
        finally:
            _end(process)
            _running.discard(process)
        if code:
            raise StepFailed(f"{Path(words[0]).name} exited with {code}")

    def capture(self, argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> str:
        """Like :meth:`run`, for short programs whose standard output is wanted."""
        words = [str(word) for word in argv]
        self.say(f"$ {' '.join(words)}")
        done = subprocess.run(
            words, cwd=cwd, env={**self.env, **PLAIN, **(env or {})}, capture_output=True, text=True, check=False
        )
        self.say(done.stderr)
        if done.returncode:
            self.say(done.stdout)
            raise StepFailed(f"{Path(words[0]).name} exited with {done.returncode}")
        return done.stdout

    def said(self) -> list[str]:
        """The lines of the log so far."""
        self._log.flush()
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace").splitlines()

    def say(self, line: str) -> None:
        """Write a line of our own into the log."""
        print(line, file=self._log, flush=True)


def interrupt() -> None:
    """End the programs of all steps, and start no others.

    They have sessions of their own, so the terminal's signal does not reach them.
    """
    _interrupted.set()
    for process in list(_running):
        _end(process)


def interrupted() -> bool:
    """Whether everything is to come to an end."""
    return _interrupted.is_set()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program that is still there, with all it started."""
    if process.poll() is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
            return


@dataclass(frozen=True)
class Step:
    """One thing to try. ``junit``: a file in which pytest counts its tests, if it got that far."""

    name: str
    action: Callable[[Shell], None]
    env: Mapping[str, str]
    junit: Path | None = None
    announce: bool = False  # say that it starts: for steps that take minutes


@dataclass(frozen=True)
class Outcome:
    """How a step went: its tests, or 1 for a step that does not count any."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    not_run: str = ""
    failures: tuple[str, ...] = field(default=(), compare=False)  # a line each: what failed, and why


def _read_junit(path: Path) -> Outcome:
    """The tests that pytest counted in its report; none where there is no readable report."""
    passed = failed = skipped = 0
    failures: list[str] = []
    try:
        for suite in ElementTree.parse(path).iter("testsuite"):
            number = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
            failed += number["failures"] + number["errors"]
            skipped += number["skipped"]
            passed += number["tests"] - number["failures"] - number["errors"] - number["skipped"]
            for case in suite.iter("testcase"):
                name = f"{case.get('classname')}::{case.get('name')}"
                failures += [f"{name}: {_short(one.get('message', ''))}" for one in case if one.tag in _FAILED]
    except (OSError, ElementTree.ParseError, ValueError):
        return Outcome()
    return Outcome(passed, failed, skipped, failures=tuple(failures))


def _short(text: str) -> str:
    """A text as one line that is not long."""
    words = " ".join(text.split())
    return words if len(words) <= SHORT else f"{words[:SHORT]} ..."


def _count(step: Step, *, ok: bool) -> Outcome:
    """Count the tests of a step; a failed step has at least one failure."""
    counted = _read_junit(step.junit) if step.junit is not None else Outcome()
    if not ok:
        return replace(counted, failed=counted.failed or 1)
    if counted.skipped and not counted.passed and not counted.failed:
        return replace(counted, not_run=f"all {counted.skipped} tests of {step.name} were skipped")
    return replace(counted, passed=counted.passed or (0 if counted.failed else 1))


def run_step(part: str, step: Step) -> Outcome:
    """Run one step and print its line."""
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / f"{part}-{step.name.replace(' ', '-').replace('/', '-')}.log"
    if step.junit is not None:
        step.junit.parent.mkdir(parents=True, exist_ok=True)
        step.junit.unlink(missing_ok=True)
    if step.announce:
        _line(part, step.name, f"started, log in {path.relative_to(ROOT)}")
    began = time.monotonic()
    problem = ""
    with path.open("w", encoding="utf-8") as log:
        try:
            step.action(Shell(log, step.env))
        except NotRun as err:
            _line(part, step.name, f"not run: {err}")
            return Outcome(not_run=str(err))
        except (StepFailed, DevError) as err:
            problem = str(err)
    outcome = _count(step, ok=not problem)
    seconds = time.monotonic() - began
    if outcome.not_run:
        _line(part, step.name, f"not run: {outcome.not_run}")
        return outcome
    if not outcome.failed:
        skipped = f", {outcome.skipped} skipped" if outcome.skipped else ""
        count = f" ({outcome.passed} tests{skipped})" if step.junit is not None else ""
        _line(part, step.name, f"ok {seconds:7.1f} s{count}")
        return outcome
    reasons = outcome.failures or tuple(_short(f"{problem}: {line}") for line in excerpt(path, 3)[:3])
    outcome = replace(outcome, failures=tuple(f"{part} {step.name}: {reason}" for reason in reasons))
    words = [f"FAILED {seconds:.1f} s: {problem}", *(f"    {line}" for line in excerpt(path)), f"    log: {path}"]
    _line(part, step.name, "\n".join(words))
    return outcome


def excerpt(log: Path, count: int = LAST_LINES) -> list[str]:
    """The log's last ``count`` lines, and from above them as many that call themselves errors."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    earlier = [line for line in lines[:-count] if line.startswith(("ERROR", "FATAL", "fatal:", "FAILED"))]
    return [*earlier[:count], *lines[-count:]]


def _line(part: str, name: str, text: str) -> None:
    with _printing:
        print(f"{part + ':':<10} {name:<24} {text}", flush=True)


def run_part(part: str, steps: Sequence[Step], *, workers: int = 1, spare: Event | None = None) -> list[Outcome]:
    """Run the steps of a part, ``workers`` at a time, and print the part's line.

    With ``spare`` one worker more comes to help once that is set.
    """
    began = time.monotonic()
    waiting = deque(enumerate(steps))
    outcomes: dict[int, Outcome] = {}

    def work(helps: Event | None) -> None:
        if helps is not None:
            helps.wait()
        while True:
            try:
                number, step = waiting.popleft()
            except IndexError:
                return
            outcomes[number] = run_step(part, step)

    crew = [None] * workers + ([spare] if spare is not None else [])
    with ThreadPoolExecutor(max_workers=len(crew)) as pool:
        try:
            list(pool.map(work, crew))
        except KeyboardInterrupt:
            interrupt()
            raise
    found = [outcomes[number] for number in sorted(outcomes)]
    _line(part, "", f"{summary(found)} in {time.monotonic() - began:.0f} s")
    return found


def summary(outcomes: Sequence[Outcome]) -> str:
    """The plain form ``N passed, N failed``."""
    return f"{sum(o.passed for o in outcomes)} passed, {sum(o.failed for o in outcomes)} failed"


def call(argv: Sequence[str | Path], *, timeout: float = 900) -> Callable[[Shell], None]:
    """An action that runs a single program."""
    return lambda shell: shell.run(argv, timeout=timeout)


def not_run(name: str, reason: str) -> Step:
    """A step that cannot be tried here, so that the summary says so."""

    def action(shell: Shell) -> None:
        raise NotRun(reason)

    return Step(name, action, {})
