# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The script dev: what it chooses to run, how it counts, and that a failure never looks like success."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

import dns.message
import dns.query
import pytest

# The tools are started from the clone's root, not through Ansible's names.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.dev import __main__ as dev
from tools.dev import molecule, nameserver, steps
from tools.dev.places import DevError
from tools.dev.steps import Outcome, Shell, Step

REPORT = (
    '<testsuites><testsuite tests="{tests}" failures="{failures}" errors="{errors}" skipped="{skipped}"/></testsuites>'
)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", dev.Choice(dev.PARTS, (), False)),
        ("full", dev.Choice(dev.PARTS, (), True)),
        ("unit lint", dev.Choice(("lint", "unit"), (), False)),
        ("molecule relay site", dev.Choice(("molecule",), ("relay", "site"), False)),
        ("molecule relay full", dev.Choice(("molecule",), ("relay",), True)),
    ],
)
def test_choice(words: str, expected: dev.Choice) -> None:
    assert dev.choose(words.split()) == expected


@pytest.mark.parametrize("words", ["units", "relay", "unit relay"])
def test_unknown_part(words: str) -> None:
    with pytest.raises(DevError, match="^there is no part (units|relay); there are: lint, sanity, unit, "):
        dev.choose(words.split())


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Run a step that starts a shell command; its report, if any, is there beforehand in effect."""
    monkeypatch.setattr(steps, "LOGS", tmp_path)
    monkeypatch.setattr(steps, "ROOT", tmp_path)

    def go(command: str, report: str | None = None, timeout: float = 60) -> Outcome:
        junit = tmp_path / "report.xml" if report is not None else None

        def action(shell: Shell) -> None:
            if junit is not None and report is not None:
                junit.write_text(report)
            shell.run(["sh", "-c", command], cwd=tmp_path, timeout=timeout)

        return steps.run_step("part", Step("step", action, {"PATH": "/usr/bin:/bin"}, junit=junit))

    return go


@pytest.mark.parametrize(
    ("command", "report", "expected"),
    [
        ("exit 0", None, Outcome(passed=1)),
        ("exit 3", None, Outcome(failed=1)),
        ("exit 0", REPORT.format(tests=9, failures=0, errors=0, skipped=2), Outcome(passed=7, skipped=2)),
        ("exit 1", REPORT.format(tests=9, failures=2, errors=1, skipped=0), Outcome(passed=6, failed=3)),
        # Tests that passed do not hide a program that failed, nor the other way round.
        ("exit 1", REPORT.format(tests=9, failures=0, errors=0, skipped=0), Outcome(passed=9, failed=1)),
        ("exit 0", REPORT.format(tests=9, failures=1, errors=0, skipped=0), Outcome(passed=8, failed=1)),
        ("exit 1", "<no report", Outcome(failed=1)),
        (
            "exit 0",
            REPORT.format(tests=2, failures=0, errors=0, skipped=2),
            Outcome(skipped=2, not_run="all 2 tests of step were skipped"),
        ),
    ],
)
def test_outcome(run, command: str, report: str | None, expected: Outcome) -> None:  # type: ignore[no-untyped-def]
    assert run(command, report) == expected


def test_failures_are_told_once_more_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A build server shows the last lines alone."""
    outcomes = [Outcome(passed=3, failed=1, failures=("unit step: a::b: no",)), Outcome(passed=1)]
    monkeypatch.setattr(dev, "_run_all", lambda choice, engine: outcomes)
    assert dev.test(["unit"], yes=True) == 1
    first, dummy, last = capsys.readouterr().out.splitlines()
    assert (first, last) == ("failed: unit step: a::b: no", "4 passed, 1 failed")


FAILING = """<testsuites><testsuite tests="2" failures="1" errors="0" skipped="0">
<testcase classname="unit.test_a" name="test_b"><failure message="assert 1&#10; == 2">at length</failure></testcase>
<testcase classname="unit.test_a" name="test_c"/></testsuite></testsuites>"""


@pytest.mark.parametrize(
    ("command", "report", "expected"),
    [
        ("exit 1", FAILING, ["part step: unit.test_a::test_b: assert 1 == 2"]),
        ("echo well; echo no; exit 1", None, ["part step: sh exited with 1: well", "part step: sh exited with 1: no"]),
        ("exit 0", None, []),
    ],
)
def test_a_failure_is_a_line(run, command: str, report: str | None, expected: list[str]) -> None:  # type: ignore[no-untyped-def]
    found = run(command, report).failures
    assert [line for line in found if ": $ " not in line] == expected


def test_a_program_that_hangs_is_ended(run, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    assert run("sleep 60", timeout=0.2) == Outcome(failed=1)
    assert "sh did not end within 0.2 seconds" in capsys.readouterr().out


def test_an_interrupt_ends_what_runs_and_lets_nothing_start(
    run, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(steps, "_interrupted", Event())
    with ThreadPoolExecutor() as pool:
        hanging = pool.submit(run, "touch started; sleep 600", timeout=500)
        while not steps._running:
            assert not hanging.done()
        steps.interrupt()
        assert hanging.result(timeout=60) == Outcome(failed=1)
    assert run("exit 0") == Outcome(failed=1)
    assert "interrupted" in capsys.readouterr().out


def test_scenarios_run_beside_the_other_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    both_run = Barrier(2, timeout=60)

    def part(name: str, *_rest: object) -> list[Outcome]:
        if name in ("molecule", "unit"):
            both_run.wait()
        return [Outcome(passed=1)]

    monkeypatch.setattr(dev, "_run", part)
    monkeypatch.setattr(dev.checks, "prepare", Path)
    monkeypatch.setattr(dev.os, "cpu_count", lambda: 2)
    assert dev._run_all(dev.choose([]), "podman") == [Outcome(passed=1)] * len(dev.PARTS)


def test_one_more_helps_when_the_other_parts_have_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "LOGS", tmp_path)
    monkeypatch.setattr(steps, "ROOT", tmp_path)
    others_ended, both_run = Event(), Barrier(2, timeout=60)
    second_began = Event()

    def first(shell: Shell) -> None:
        assert not second_began.wait(0.2)
        others_ended.set()
        both_run.wait()

    def second(shell: Shell) -> None:
        second_began.set()
        both_run.wait()

    chosen = [Step("first", first, {}), Step("second", second, {})]
    assert steps.run_part("part", chosen, spare=others_ended) == [Outcome(passed=1)] * 2


@pytest.mark.parametrize("error", [IndexError, RuntimeError])
def test_a_step_that_breaks_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    monkeypatch.setattr(steps, "LOGS", tmp_path)
    monkeypatch.setattr(steps, "ROOT", tmp_path)

    def broken(shell: Shell) -> None:
        raise error("a mistake of ours")

    with pytest.raises(error, match="a mistake of ours"):
        steps.run_part("part", [Step("broken", broken, {}), Step("sound", lambda shell: None, {})])


def test_what_a_failed_program_said_is_shown(run, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    run("echo ERROR: the first; seq 100; exit 1")
    shown = capsys.readouterr().out
    assert "sh exited with 1" in shown
    assert "ERROR: the first" in shown
    assert "\n    41\n" in shown and "\n    40\n" not in shown


def test_summary_is_the_plain_form() -> None:
    assert (
        steps.summary([Outcome(passed=3), Outcome(failed=1, passed=2), Outcome(skipped=4, not_run="x")])
        == "5 passed, 1 failed"
    )


@pytest.mark.parametrize(
    ("name", "rdtype", "said"),
    [
        ("example.org", "MX", ["10 mx.example.org."]),
        ("EXAMPLE.org", "TXT", ['"v=spf1 +all"']),
        ("example.org", "SOA", []),
        ("example.net", "MX", []),
    ],
)
def test_a_name_server_without_a_network(name: str, rdtype: str, said: list[str]) -> None:
    table = {("example.org", "MX"): "10 mx.example.org", ("example.org", "TXT"): "v=spf1 +all"}
    with nameserver.serving(table) as server:
        address, port = server.split("@")
        answer = dns.query.udp(dns.message.make_query(name, rdtype, use_edns=True), address, timeout=60, port=int(port))
    assert [rdata.to_text() for found in answer.answer for rdata in found] == said


def test_a_lab_passes_networks_that_are_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def route(address: str) -> str:
        number = int.from_bytes(bytes(map(int, address.split("."))), sys.byteorder)
        return f"br-1\t{number:08X}\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"

    routes = tmp_path / "route"
    head = "Iface\tDestination\tGateway\n"
    monkeypatch.setattr(molecule, "ROUTES", routes)
    routes.write_text(head + route("192.0.2.0"))
    assert [molecule.free_index(place) for place in range(3)] == [20, 21, 22]
    routes.write_text(head + route("198.18.22.0") + route("198.19.25.0"))
    assert [molecule.free_index(place) for place in range(3)] == [20, 21, 28]
    routes.write_text(head + "".join(route(f"198.18.{index}.0") for index in range(20, 255)))
    with pytest.raises(DevError, match=r"198\.18\.0\.0/15"):
        molecule.free_index(0)
