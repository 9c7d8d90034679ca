# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys and etckeeper, with a real git: a commit at any moment holds none of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_plan import Want
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_run import Options, Outcome, ensure
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_store import KeyStore, StoreError
from ansible_collections.postmaster.mail.plugins.module_utils._etckeeper_client import Etckeeper

WANT = Want("corp.example", bits=1024, label="corp.example")


class Etc(Etckeeper):
    """A repository with or without etckeeper, and a key store below it."""

    installed = True

    def ready(self) -> bool:
        return self.installed and (Path(self.top) / ".git").is_dir()

    def git(self, *argv: str) -> str:
        """What git says."""
        return subprocess.run(["git", "-C", self.top, *argv], capture_output=True, text=True, check=True).stdout

    def would_commit(self) -> set[str]:
        """Paths that a commit of everything would hold."""
        self.git("add", "--all")
        return set(self.git("ls-files").split())

    def call(self, *wants: Want, state: str = "present", check: bool = False) -> Outcome:
        """dkim_key on this tree."""
        options = Options(state=state, check=check, allow_weak=True, now="2026-11-20T11:00:00Z")
        return ensure(KeyStore(f"{self.top}/dkimkeys", etckeeper=self), wants, options)

    @property
    def ignored(self) -> str:
        """The ignore file."""
        path = Path(self.top, ".gitignore")
        return path.read_text() if path.exists() else ""


@pytest.fixture
def etc(tmp_path: Path) -> Etc:
    keeper = Etc(top=str(tmp_path))
    keeper.git("init", "--quiet")
    return keeper


def test_a_new_key_is_never_seen(etc: Etc, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []
    write = KeyStore.write_key

    def watched(store: KeyStore, *args: object) -> None:
        write(store, *args)  # type: ignore[arg-type]
        seen.append(etc.would_commit())

    monkeypatch.setattr(KeyStore, "write_key", watched)
    done = etc.call(WANT)
    assert f"etckeeper ignores {etc.top}/dkimkeys/" in done.after
    assert seen == [{".gitignore"}]
    assert not etc.call(WANT).changed
    etc.call(WANT, state="rotated")
    assert seen[1:] == [{".gitignore"}]


def test_without_etckeeper_it_would_be(etc: Etc) -> None:
    etc.installed = False
    etc.call(WANT)
    assert len([path for path in etc.would_commit() if path.endswith(".key")]) == 1
    assert etc.ignored == ""


def test_check_mode_only_tells(etc: Etc) -> None:
    done = etc.call(check=True)
    assert done.changed and done.after == [f"etckeeper ignores {etc.top}/dkimkeys/"]
    assert etc.ignored == ""


def test_an_empty_list_prepares_the_place(etc: Etc) -> None:
    assert etc.call().changed
    Path(etc.top, "dkimkeys", "copied.key").write_text("secret")
    assert etc.would_commit() == {".gitignore"}
    assert not etc.call().changed


@pytest.mark.parametrize("line", ["/dkimkeys\n", "dkimkeys/\n", "*.key\n"])
def test_what_others_ignore_already_is_left_alone(etc: Etc, line: str) -> None:
    Path(etc.top, ".gitignore").write_text(line)
    etc.call(WANT)
    assert etc.ignored == line


def test_a_directory_elsewhere_is_nothing_to_etckeeper(etc: Etc, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = KeyStore(str(tmp_path_factory.mktemp("keys")), etckeeper=etc)
    ensure(other, [WANT], Options(allow_weak=True, now="2026-11-20T11:00:00Z"))
    assert etc.ignored == ""


def test_an_ignore_file_that_cannot_be_mended_stops_it(etc: Etc) -> None:
    Path(etc.top, ".gitignore").write_text(f"# begin postmaster.mail keys in {etc.top}/dkimkeys\n")
    with pytest.raises(StoreError, match=r"kept from committing the keys .* without its end"):
        etc.call(WANT)
    assert list(Path(etc.top, "dkimkeys").iterdir()) == []
