# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The set of configuration files: what changes, what the checker sees, and that a failure leaves no trace."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _config_files as cf
from ansible_collections.postmaster.mail.plugins.module_utils._command import Result, Runner
from ansible_collections.postmaster.mail.plugins.modules import config_files

OWNER, GROUP = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name


class Checker(Runner):
    """Remembers what each check found in the file its last argument names."""

    def __init__(self, code: int = 0, says: str = "") -> None:
        self.code, self.says, self.seen = code, says, []

    def run(self, argv: Any, **options: Any) -> Result:
        path = Path(argv[-1])
        self.seen.append((str(path), path.read_text() if path.exists() else None))
        return Result(tuple(argv), self.code, "", self.says.format(path=path))


def params(*files: dict[str, Any], checks: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Module parameters with the defaults filled in."""
    base = {"content": "", "mode": "0644", "owner": OWNER, "group": GROUP, "secret": False, "state": "present"}
    items = [{"complaint": "", "always": False, **item} for item in checks or []]
    return {"files": [{**base, **item} for item in files], "checks": items, "others_absent": []}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a /etc/x b", "a /R/etc/x b"),
        ("/etc/x.d/y /etc/x", "/R/etc/x.d/y /R/etc/x"),
        ("/etc/z", "/etc/z"),
        ("refile:/etc/x,/etc/x", "refile:/R/etc/x,/R/etc/x"),
    ],
)
def test_staged_text(text: str, expected: str) -> None:
    assert cf.staged_text(text, ["/etc/x", "/etc/x.d/y"], "/R") == expected


def test_first_run_second_run_and_drift(tmp_path: Path) -> None:
    main, table = str(tmp_path / "d" / "main"), str(tmp_path / "d" / "table")
    wanted = params({"path": main, "content": f"table {table}\n"}, {"path": table, "content": "x\n", "mode": "0600"})
    wanted["checks"] = [{"argv": ["checker", main], "complaint": "", "always": False}]
    checker = Checker()
    predicted = config_files.run(wanted, check_mode=True, runner=checker)
    assert predicted["changed"] and not os.path.exists(main)
    first = config_files.run(wanted, check_mode=False, runner=checker)
    assert first == predicted
    assert Path(main).read_text() == f"table {table}\n"
    assert stat.S_IMODE(os.stat(table).st_mode) == 0o600
    staged, text = checker.seen[0]
    assert staged != main and staged.endswith(main) and text == f"table {staged.removesuffix(main)}{table}\n"
    assert config_files.run(wanted, check_mode=False, runner=checker)["changed"] is False
    assert len(checker.seen) == 2
    os.chmod(table, 0o644)
    mended = config_files.run(wanted, check_mode=False, runner=checker)
    assert mended["changed_files"] == [table]
    assert mended["diff"][0]["before"].startswith(f"{OWNER}:{GROUP} 0644\n")


def test_a_change_is_pending_until_the_mark_is_removed(tmp_path: Path) -> None:
    first, second, mark = (str(tmp_path / name) for name in ("first", "second", "run/mark"))

    def run(content: str, **options: Any) -> dict[str, Any]:
        files = params({"path": first, "content": "same\n"}, {"path": second, "content": content})
        return config_files.run({**files, "pending_file": mark}, runner=Checker(), check_mode=False, **options)

    assert run("a\n")["pending_files"] == [first, second]
    os.unlink(mark)
    assert (run("a\n")["changed"], os.path.exists(mark)) == (False, False)
    assert run("b\n")["pending_files"] == [second]
    again = run("b\n")
    assert (again["changed"], again["changed_files"], again["pending_files"]) == (True, [], [second])
    assert again["diff"][-1]["before"] == f"{second} (of an earlier run, not done yet)\n"
    os.unlink(mark)
    assert not run("b\n")["changed"]


def test_refused_leaves_all_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "main"
    path.write_text("good\n")
    wanted = params({"path": str(path), "content": "bad\n"}, checks=[{"argv": ["c", str(path)], "complaint": "No"}])
    with pytest.raises(cf.ConfigFilesError, match=f"^No: {path}: line 1 is bad$"):
        config_files.run(wanted, check_mode=False, runner=Checker(1, "{path}: line 1 is bad"))
    assert path.read_text() == "good\n"


def test_always_runs_without_a_change(tmp_path: Path) -> None:
    path = tmp_path / "main"
    path.write_text("same\n")
    path.chmod(0o644)
    wanted = params({"path": str(path), "content": "same\n"}, checks=[{"argv": ["c", "x"], "always": True}])
    checker = Checker(1, "key gone")
    with pytest.raises(cf.ConfigFilesError, match="^key gone$"):
        config_files.run(wanted, check_mode=True, runner=checker)


def test_failure_half_way_puts_back(tmp_path: Path) -> None:
    first, blocked = tmp_path / "first", tmp_path / "file" / "second"
    first.write_text("old\n")
    (tmp_path / "file").write_text("no directory\n")
    changes = [
        cf.Change(cf._files.read(str(first)), cf.Wanted(str(first), b"new\n", 0o644, OWNER, GROUP)),
        cf.Change(None, cf.Wanted(str(blocked), b"x\n", 0o644, OWNER, GROUP)),
    ]
    with pytest.raises(cf.ConfigFilesError):
        cf.apply(changes)
    assert first.read_text() == "old\n"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([{"path": "etc/x"}], "files: 'etc/x' is no plain absolute path"),
        ([{"path": "/etc/../x"}], "files: '/etc/../x' is no plain absolute path"),
        ([{"path": "/nowhere/x"}, {"path": "/nowhere/x"}], "files: /nowhere/x is given twice: give it once"),
        ([{"path": "/nowhere/x", "mode": "0999"}], "files: /nowhere/x: '0999' is no mode in octal digits"),
        ([{"path": "/etc"}], "/etc cannot be read: Is a directory"),
    ],
)
def test_bad_requests(files: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(cf.ConfigFilesError) as caught:
        config_files.run(params(*files), check_mode=True, runner=Checker())
    assert str(caught.value) == message


def test_unknown_owner_is_named(tmp_path: Path) -> None:
    wanted = params({"path": str(tmp_path / "x"), "owner": "nobody-here"})
    with pytest.raises(cf.ConfigFilesError, match="no such user or group.*nobody-here"):
        config_files.run(wanted, check_mode=False, runner=Checker())


def test_secret_stays_out_of_the_diff(tmp_path: Path) -> None:
    result = config_files.run(
        params({"path": str(tmp_path / "x"), "content": "hunter2", "secret": True}), check_mode=True, runner=Checker()
    )
    assert "hunter2" not in str(result)


def test_absent(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old\n")
    wanted = params({"path": str(path), "content": None, "state": "absent"})
    assert config_files.run(wanted, check_mode=False, runner=Checker())["changed"] is True
    assert not path.exists()
    assert config_files.run(wanted, check_mode=False, runner=Checker())["changed"] is False


def test_others_go_with_their_directories(tmp_path: Path) -> None:
    def run(*names: str, check_mode: bool = False) -> list[str]:
        wanted = params(*({"path": f"{tmp_path}/web/{name}/a/x"} for name in names))
        patterns = [f"{tmp_path}/web/mail.*/a/x", f"{tmp_path}/conf"]
        result = config_files.run({**wanted, "others_absent": patterns}, check_mode=check_mode, runner=Checker())
        assert result["changed"] is bool(result["changed_files"])
        return [path.removeprefix(f"{tmp_path}/") for path in result["changed_files"]]

    (tmp_path / "conf").write_text("x")
    assert run("mail.b", "mail.c", "other") == ["web/mail.b/a/x", "web/mail.c/a/x", "web/other/a/x", "conf"]
    (tmp_path / "web/mail.c/kept").write_text("somebody's")
    (tmp_path / "web/mail.d/a/x").mkdir(parents=True)
    assert run("mail.b", check_mode=True) == ["web/mail.c/a/x"]
    assert (tmp_path / "web/mail.c/a/x").exists()
    assert run("mail.b") == ["web/mail.c/a/x"]
    assert run("mail.b") == []
    assert run() == ["web/mail.b/a/x"]
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert [path for path in left if not path.startswith("web/other")] == [
        "web", "web/mail.c", "web/mail.c/kept", "web/mail.d", "web/mail.d/a", "web/mail.d/a/x"
    ]  # fmt: skip


@pytest.mark.parametrize("pattern", ["web/*", "/*/x", "/web/../*", "/web/"])
def test_a_pattern_names_where_it_begins(pattern: str) -> None:
    with pytest.raises(cf.ConfigFilesError, match="is no absolute path below a directory that it names"):
        config_files.run({**params(), "others_absent": [pattern]}, check_mode=True, runner=Checker())
