# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: run a program and read what it says. Private to this collection.

Everything that starts a process goes through one ``Runner``, so that a test can put a
scripted one in its place. No shell is ever involved.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """What a finished program left behind."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Both streams, standard error last, without surrounding white space."""
        return "\n".join(part for part in (self.stdout.strip(), self.stderr.strip()) if part)


class CommandError(Exception):
    """A program could not be started, took too long, or failed where it must not."""

    def __init__(self, message: str, result: Result | None = None) -> None:
        super().__init__(message)
        self.result = result


class Runner:
    """Starts programs with a fixed locale, a time limit and no inherited input."""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        timeout: float = 60,
    ) -> Result:
        """Run ``argv`` and return its result whatever its exit code.

        ``env`` is laid over the process's own environment; ``timeout`` is in seconds.
        Raises :class:`CommandError` when it cannot be started or does not end in time.
        """
        environment = _environment(env)
        try:
            done = subprocess.run(
                list(argv),
                input=stdin if stdin is not None else "",
                capture_output=True,
                text=True,
                errors="surrogateescape",
                env=environment,
                cwd=cwd,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as err:
            raise CommandError(f"{argv[0]} did not end within {timeout:g} seconds") from err
        except OSError as err:
            raise CommandError(f"{argv[0]} cannot be started: {err.strerror}") from err
        return Result(tuple(argv), done.returncode, done.stdout, done.stderr)

    def check(self, argv: Sequence[str], **options: object) -> Result:
        """Like :meth:`run`, but a non-zero exit raises :class:`CommandError` with what was said."""
        result = self.run(argv, **options)  # type: ignore[arg-type]
        if result.code != 0:
            raise CommandError(f"{' '.join(argv)} failed (exit {result.code}): {result.output}", result)
        return result

    def stream(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, timeout: float = 60
    ) -> Generator[bytes, None, Result]:
        """Run ``argv`` and yield what it prints, in pieces, as it comes; for output that no memory should hold.

        What the generator returns is the result, without that output. Whoever reads no further ends the program.
        Raises :class:`CommandError` as :meth:`run` does.
        """
        with tempfile.TemporaryFile() as errors:
            try:
                process = subprocess.Popen(
                    list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=_environment(env)
                )
            except OSError as err:
                raise CommandError(f"{argv[0]} cannot be started: {err.strerror}") from err
            late = threading.Event()

            def end() -> None:
                late.set()
                process.kill()

            timer = threading.Timer(timeout, end)
            timer.daemon = True
            timer.start()
            try:
                while process.stdout and (piece := os.read(process.stdout.fileno(), _PIECE)):
                    yield piece
                process.wait()
            finally:
                timer.cancel()
                process.kill()
                process.communicate()
            if late.is_set():
                raise CommandError(f"{argv[0]} did not end within {timeout:g} seconds")
            errors.seek(0)
            return Result(tuple(argv), process.returncode, "", errors.read(_PIECE).decode("utf-8", "replace"))


_PIECE = 1 << 20  # bytes


def _environment(more: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8", "LANGUAGE": "", **(more or {})}
