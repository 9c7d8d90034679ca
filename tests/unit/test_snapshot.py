# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import io
import json
import os
import random
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _snapshot as sn
from ansible_collections.postmaster.mail.plugins.module_utils import _snapshot_client as client
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError, Result, Runner
from ansible_collections.postmaster.mail.plugins.module_utils._etckeeper_client import Etckeeper
from ansible_collections.postmaster.mail.plugins.module_utils._pending import Pending
from ansible_collections.postmaster.mail.plugins.module_utils._snapshot_keeper import Keeper
from hypothesis import given
from hypothesis import strategies as st

SCOPE = sn.make_scope(["/etc/postfix", "/etc/mailname"], ["*.tmp"], [["postfix", "check"]])


def entry(path: str, kind: str = sn.FILE, content: bytes = b"", **more: object) -> sn.Entry:
    values: dict = {"mode": 0o755 if kind == sn.DIRECTORY else 0o644, "owner": "root", "group": "root", **more}
    return sn.Entry(path=path, kind=kind, content=content, **values)


def state(*entries: sn.Entry) -> sn.State:
    return sn.State(SCOPE, {item.path: item for item in entries})


# --- values ---


@pytest.mark.parametrize("path", ["", "etc", "/", "//", "/etc/../..", "/etc/../etc/x", "/a\0b"])
def test_bad_paths(path: str) -> None:
    with pytest.raises(sn.SnapshotError, match=r"^paths: .* will not do"):
        sn.make_scope([path])


@pytest.mark.parametrize("name", ["", "..", ".x", "a/b", "a b", "x" * 65])
def test_bad_names(name: str) -> None:
    with pytest.raises(sn.SnapshotError, match=r"^name: "):
        sn.check_name(name)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/etc/postfix", "/etc/postfix"),
        ("/etc/postfix/maps/x", "/etc/postfix"),
        ("/etc/postfix-old/x", None),
        ("/etc/mailname", "/etc/mailname"),
        ("/etc/mailname2", None),
        ("/etc/postfix/a.tmp", None),
        ("/etc/postfix/dir.tmp/x", None),
    ],
)
def test_root_of(path: str, expected: str | None) -> None:
    assert SCOPE.root_of(path) == expected


def test_archive_round_trip() -> None:
    whole = state(
        entry("/etc/postfix", sn.DIRECTORY),
        entry("/etc/postfix/main.cf", content=b"a = b\n", mtime=1700000000.25, mode=0o640, group="postfix"),
        entry("/etc/postfix/link", sn.LINK, target="../x", mode=0o777),
        entry("/etc/postfix/n\u00e4me \udcff", content=b"\0\xff"),
    )
    back = sn.unpack(sn.pack(whole))
    assert back == whole
    assert back.entries["/etc/postfix/main.cf"].mtime == 1700000000.25


def archive(*members: tuple[tarfile.TarInfo, bytes], leader: object = None) -> bytes:
    buffer = io.BytesIO()
    text = json.dumps({"paths": ["/etc/postfix"]} if leader is None else leader).encode()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        first = tarfile.TarInfo(sn.LEADER)
        first.size = len(text)
        tar.addfile(first, io.BytesIO(text))
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the archive cannot be read"),
        (b"x" * 1024, "the archive cannot be read"),
        (archive((member("etc/shadow"), b"x")), "lies outside of what it covers"),
        (archive((member("/etc/shadow"), b"x")), "lies outside of what it covers"),
        (archive((member("etc/postfix/../shadow"), b"x")), "lies outside of what it covers"),
        (archive((member("../etc/postfix/x"), b"x")), "lies outside of what it covers"),
        (archive((member("etc/postfix/./x"), b"x")), "lies outside of what it covers"),
        (archive((member("etc/postfix/x", tarfile.LNKTYPE, "etc/shadow"), b"")), "neither a file, a directory"),
        (archive((member("etc/postfix/x", tarfile.CHRTYPE), b"")), "neither a file, a directory"),
        (archive((member("etc/postfix/x", tarfile.FIFOTYPE), b"")), "neither a file, a directory"),
        (
            archive((member("etc/postfix/x", tarfile.SYMTYPE, "/etc"), b""), (member("etc/postfix/x/shadow"), b"x")),
            "the archive holds /etc/postfix/x/shadow below /etc/postfix/x, which is no directory",
        ),
        (archive(leader={"paths": ["/"]}), "paths: '/' will not do"),
        (archive(leader={"paths": "/etc"}), "the archive does not say what it covers"),
        (archive(leader={"paths": [1]}), "the archive does not say what it covers"),
        (archive(leader=[]), "the archive does not say what it covers"),
        (archive(leader={"paths": ["/etc/postfix"], "verify": [{}]}), "the archive does not say what it covers"),
    ],
)
def test_hostile_archive(data: bytes, message: str) -> None:
    with pytest.raises(sn.SnapshotError) as caught:
        sn.unpack(data)
    assert message in str(caught.value)


@given(st.data())
def test_spoilt_archives_give_nothing_but_a_clear_error(data: st.DataObject) -> None:
    whole = bytearray(sn.pack(state(entry("/etc/mailname", content=b"example.org\n"))))
    for _index in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, 3000))] = data.draw(st.integers(0, 255))
    try:
        back = sn.unpack(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    except sn.SnapshotError:
        return
    assert all(back.scope.root_of(path) for path in back.entries)


def steps(current: sn.State, wanted: sn.State) -> list[tuple[str, str]]:
    return [(action.verb, action.entry.path) for action in sn.plan(current, wanted).actions]


DIR = entry("/etc/postfix", sn.DIRECTORY)
SUB = entry("/etc/postfix/x", sn.DIRECTORY)
DEEP = entry("/etc/postfix/x/y", content=b"1")
FLAT = entry("/etc/postfix/x", content=b"1")


@pytest.mark.parametrize(
    ("current", "wanted", "expected"),
    [
        (state(), state(), []),
        (state(DIR, DEEP), state(DIR, DEEP), []),
        (state(), state(DIR, SUB, DEEP), [("create", DIR.path), ("create", SUB.path), ("create", DEEP.path)]),
        (state(DIR, SUB, DEEP), state(), [("remove", DEEP.path), ("remove", SUB.path), ("remove", DIR.path)]),
        (state(DIR, SUB, DEEP), state(DIR, FLAT), [("remove", DEEP.path), ("remove", SUB.path), ("create", FLAT.path)]),
        (state(DIR, FLAT), state(DIR, SUB, DEEP), [("remove", FLAT.path), ("create", SUB.path), ("create", DEEP.path)]),
        (state(FLAT), state(entry(FLAT.path, content=b"2")), [("replace", FLAT.path)]),
        (state(FLAT), state(entry(FLAT.path, content=b"1", mode=0o600)), [("attributes", FLAT.path)]),
        (state(FLAT), state(entry(FLAT.path, sn.LINK, target="a")), [("replace", FLAT.path)]),
        (state(entry("/etc/other")), state(), []),
    ],
)
def test_plan(current: sn.State, wanted: sn.State, expected: list[tuple[str, str]]) -> None:
    assert steps(current, wanted) == expected


def test_diff_shows_no_content() -> None:
    plan = sn.plan(
        state(entry("/etc/postfix/sasl", content=b"secret one", mode=0o600), entry("/etc/mailname")),
        state(entry("/etc/postfix/sasl", content=b"secret two", mode=0o640), entry("/etc/postfix/new")),
    )
    assert plan.before == "/etc/mailname file 0644 root:root\n/etc/postfix/sasl file 0600 root:root, old content\n"
    assert plan.after == ("/etc/postfix/new file 0644 root:root\n/etc/postfix/sasl file 0640 root:root, new content\n")
    assert "secret" not in repr(plan)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ([], []),
        (["/etc/postfix/sasl_passwd*", "*.key", "/var/lib/x", "*.key"], ["/postfix/sasl_passwd*", "*.key"]),
    ],
)
def test_ignore_lines(patterns: list[str], expected: list[str]) -> None:
    assert sn.ignore_lines(patterns) == expected


@pytest.mark.parametrize("pattern", ["", " ", " x", "x\n!x", "!x", "#x"])
def test_bad_ignore_pattern(pattern: str) -> None:
    with pytest.raises(sn.SnapshotError, match=r"^ignore: "):
        sn.ignore_lines([pattern])


OWN = "# begin section managed by etckeeper (do not edit this section by hand)\n*.dpkg-*\n# end section\n"


@pytest.mark.parametrize(
    ("text", "lines", "expected"),
    [
        ("", ["/a"], "# begin postmaster.mail relay\n/a\n# end postmaster.mail relay\n"),
        (OWN, ["/a"], f"{OWN}# begin postmaster.mail relay\n/a\n# end postmaster.mail relay\n"),
        (
            f"# begin postmaster.mail relay\n/b\n# end postmaster.mail relay\n{OWN}x",
            ["/a"],
            f"{OWN}x\n# begin postmaster.mail relay\n/a\n# end postmaster.mail relay\n",
        ),
        (f"# begin postmaster.mail relay\n/b\n# end postmaster.mail relay\n{OWN}", [], OWN),
        ("# begin postmaster.mail other\n/b\n# end postmaster.mail other\n", [], None),
    ],
)
def test_ignore_block(text: str, lines: list[str], expected: str | None) -> None:
    once = sn.with_ignore_block(text, "relay", lines)
    assert once == (text if expected is None else expected)
    assert sn.with_ignore_block(once, "relay", lines) == once


def test_ignore_block_without_end_is_left_alone() -> None:
    with pytest.raises(sn.SnapshotError, match="mend it by hand"):
        sn.with_ignore_block("# begin postmaster.mail relay\n/mine\n", "relay", ["/a"])


# --- on disk ---


class FakeDaemon(Runner):
    """`check DIR` refuses a main.cf that says bad; nothing else is installed."""

    def run(self, argv: Sequence[str], **options: object) -> Result:  # type: ignore[override]
        if argv[0] != "check":
            raise CommandError(f"{argv[0]} cannot be started: No such file or directory")
        bad = b"bad" in Path(argv[1], "main.cf").read_bytes()
        return Result(tuple(argv), int(bad), "", "fatal: bad" if bad else "")


class NoEtckeeper(Etckeeper):
    def ready(self) -> bool:
        return False


class Host:
    """A tree below a temporary directory, and what keeps its states."""

    def __init__(self, top: Path) -> None:
        self.etc = top / "etc" / "postfix"
        self.etc.mkdir(parents=True)
        self.main = self.etc / "main.cf"
        self.main.write_text("one\n")
        self.store = client.Store(str(top / "store"))
        self.scope = sn.make_scope([str(self.etc)], ["*/skip"], [["check", str(self.etc)]])

    def keeper(self, **more: bool) -> Keeper:
        return Keeper(self.store, etckeeper=NoEtckeeper(), runner=FakeDaemon(), **more)

    def keep(self, **more: object):
        return self.keeper().keep("relay", self.scope, message="m", **more)  # type: ignore[arg-type]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_keep_is_idempotent_and_private(host: Host) -> None:
    first, second = host.keep(), host.keep()
    assert (first.changed, first.snapshot, second.changed, second.snapshot) == (True, 1, False, 1)
    assert str(host.main) in first.paths
    archive_path = Path(host.store.path("relay", 1))
    assert archive_path.stat().st_mode & 0o777 == 0o600
    assert archive_path.parent.stat().st_mode & 0o777 == 0o700
    assert archive_path.parent.parent.stat().st_mode & 0o777 == 0o700


def test_keep_counts_modes_and_links(host: Host) -> None:
    host.keep()
    host.main.chmod(0o600)
    assert host.keep().paths == (str(host.main),)
    (host.etc / "link").symlink_to("main.cf")
    assert host.keep().snapshot == 3


def test_only_some_are_kept(host: Host) -> None:
    for index in range(8):
        host.main.write_text(f"{index}\n")
        host.keep(number=5)
    assert host.store.numbers("relay") == [8, 7, 6, 5, 4]


def test_what_does_not_work_is_not_kept(host: Host) -> None:
    host.keep()
    host.main.write_text("bad\n")
    outcome = host.keep()
    assert not outcome.changed
    assert outcome.reason == f"`check {host.etc}` refuses it: fatal: bad"
    assert outcome.warnings == (f"The configuration is not kept: {outcome.reason}",)
    assert host.store.numbers("relay") == [1]


def test_a_daemon_that_is_not_there_yet_is_no_warning(host: Host) -> None:
    host.scope = sn.make_scope([str(host.etc)], [], [["postfix", "check"]])
    outcome = host.keep()
    assert (outcome.changed, outcome.warnings) == (False, ())
    assert outcome.reason == "postfix cannot be started: No such file or directory"


def test_a_bare_host(tmp_path: Path) -> None:
    keeper = Keeper(client.Store(str(tmp_path / "store")), etckeeper=NoEtckeeper(), runner=FakeDaemon())
    outcome = keeper.keep("relay", sn.make_scope([str(tmp_path / "none")]), message="m")
    assert (outcome.changed, outcome.reason) == (False, "there is no configuration yet")
    assert not (tmp_path / "store").exists()


def test_dry_run_writes_nothing(host: Host, tmp_path: Path) -> None:
    outcome = host.keeper(dry_run=True).keep("relay", host.scope, message="m")
    assert (outcome.changed, outcome.snapshot) == (True, 1)
    assert not (tmp_path / "store").exists()
    host.keep()
    assert not host.keeper(dry_run=True).keep("relay", host.scope, message="m").changed
    assert host.keeper(dry_run=True).keep("relay", host.scope, message="m", notified=True).changed


def test_restore_brings_back_content_modes_links_and_absence(host: Host) -> None:
    host.main.chmod(0o640)
    os.utime(host.main, (1700000000, 1700000000))
    (host.etc / "link").symlink_to("main.cf")
    (host.etc / "maps").mkdir(mode=0o750)
    (host.etc / "maps" / "x").write_bytes(b"\0\xff")
    host.keep()
    before = client.read_state(host.scope)
    host.main.write_text("two\n")
    host.main.chmod(0o600)
    (host.etc / "link").unlink()
    (host.etc / "link").write_text("no link")
    (host.etc / "maps" / "x").unlink()
    (host.etc / "maps").rmdir()
    (host.etc / "maps").write_text("no directory")
    (host.etc / "new").mkdir()
    (host.etc / "new" / "file").write_text("new")
    (host.etc / "skip").write_text("not ours")
    host.keep()
    outcome = host.keeper().restore("relay")
    assert client.read_state(host.scope) == before
    assert host.main.stat().st_mtime == 1700000000
    assert (host.etc / "skip").read_text() == "not ours"
    assert outcome.snapshot == 3
    assert not host.keep().changed
    assert host.keeper().restore(None).changed
    assert host.main.read_text() == "two\n"


def test_restore_keeps_what_was_stored_nowhere(host: Host) -> None:
    host.keep()
    host.main.write_text("bad, and not kept\n")
    assert host.keeper().restore("relay").paths == (str(host.main),)
    assert host.main.read_text() == "one\n"
    replaced = sn.unpack(Path(host.store.directory, "relay", "replaced.tar").read_bytes())
    assert replaced.entries[str(host.main)].content == b"bad, and not kept\n"


def test_restore_in_a_dry_run(host: Host) -> None:
    host.keep()
    host.main.write_text("two\n")
    outcome = host.keeper(dry_run=True).restore("relay")
    assert (outcome.changed, outcome.paths) == (True, (str(host.main),))
    assert host.main.read_text() == "two\n"


def test_restore_that_the_daemon_refuses(host: Host) -> None:
    host.main.write_text("bad\n")
    host.store.directory = str(host.store.directory)
    with host.store.lock("relay"):
        host.store.save("relay", client.read_state(host.scope), keep=5)
    host.main.write_text("one\n")
    with pytest.raises(sn.SnapshotError, match="was brought back, but `check .*` refuses it: fatal: bad"):
        host.keeper().restore("relay")


def test_a_restore_that_no_daemon_has_taken_up_is_not_undone(host: Host, tmp_path: Path) -> None:
    mark = tmp_path / "run" / "pending"

    def restore(**more: bool) -> str:
        outcome = host.keeper(**more).restore("relay", mark=Pending.at(str(mark)))
        assert outcome.changed
        return host.main.read_text()

    host.keep()
    host.main.write_text("two\n")
    host.keep()
    assert restore(dry_run=True) == "two\n" and not mark.exists()
    assert restore() == "one\n" and mark.read_text() == "relay 3\n"
    # The play ended here: nobody has restarted the daemon and removed the mark.
    assert restore(dry_run=True) == "one\n"
    assert restore() == "one\n" and mark.exists()
    mark.unlink()
    assert restore() == "two\n"
    # The mark means one state of one name, and only as long as that is what is there.
    host.main.write_text("three\n")
    assert restore() == "two\n"
    mark.write_text("other 5\n")
    assert restore() == "one\n"


def test_what_the_daemon_refuses_is_not_waited_for(host: Host, tmp_path: Path) -> None:
    mark = tmp_path / "pending"
    host.main.write_text("bad\n")
    with host.store.lock("relay"):
        host.store.save("relay", client.read_state(host.scope), keep=5)
    host.main.write_text("one\n")
    with pytest.raises(sn.SnapshotError, match="was brought back, but"):
        host.keeper().restore("relay", mark=Pending.at(str(mark)))
    assert not mark.exists()


@pytest.mark.parametrize("seed", range(25))
def test_a_restore_cut_short_anywhere_is_finished_by_the_next(
    host: Host, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(6):
        (host.etc / f"f{index}").write_text("old")
    host.keep()
    wanted = client.read_state(host.scope)
    for index in range(3):
        (host.etc / f"f{index}").write_text("new")
        (host.etc / f"f{index + 3}").unlink()
        (host.etc / f"g{index}").write_text("new")
    host.keep()
    chance = random.Random(seed)
    whole = len(sn.plan(client.read_state(host.scope), wanted).actions)
    left = chance.randrange(whole)
    plain = client._apply_one

    def cut_short(action: sn.Action, root: str) -> None:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        plain(action, root)

    monkeypatch.setattr(client, "_apply_one", cut_short)
    with pytest.raises(KeyboardInterrupt):
        host.keeper().restore("relay")
    monkeypatch.setattr(client, "_apply_one", plain)
    host.keeper().restore("relay")
    assert client.read_state(host.scope) == wanted
    assert not host.keep().changed


def test_restore_does_not_follow_a_link_that_took_the_place_of_a_directory(host: Host, tmp_path: Path) -> None:
    (host.etc / "maps").mkdir()
    (host.etc / "maps" / "x").write_text("one")
    host.keep()
    plan = sn.plan(sn.State(host.scope, {}), client.read_state(host.scope))
    (host.etc / "maps" / "x").unlink()
    (host.etc / "maps").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (host.etc / "maps").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(sn.SnapshotError, match="maps cannot be brought back"):
        client.apply(plan, host.scope)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_restore_without_anything_to_restore(host: Host) -> None:
    with pytest.raises(sn.SnapshotError, match=r"^There is no snapshot in .*: no role has kept one here yet\.$"):
        host.keeper().restore(None)
    host.keep()
    with pytest.raises(sn.SnapshotError, match=r"^No snapshot of relay differs from what is there now\.$"):
        host.keeper().restore(None)
    with pytest.raises(sn.SnapshotError, match=r"^There is no snapshot of other in .*: there is relay\.$"):
        host.keeper().restore("other")
    host.keeper().keep("other", host.scope, message="m")
    with pytest.raises(sn.SnapshotError, match=r"^There are snapshots of other, relay: say which"):
        host.keeper().restore(None)


def test_a_spoilt_archive_is_passed_over(host: Host) -> None:
    host.keep()
    host.main.write_text("two\n")
    host.keep()
    Path(host.store.path("relay", 2)).write_bytes(b"spoilt")
    host.main.write_text("three\n")
    outcome = host.keeper().restore("relay")
    assert host.main.read_text() == "one\n"
    assert "000002.tar: the archive cannot be read" in outcome.warnings[0]


def test_too_much_to_be_configuration(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sn, "SIZE_LIMIT", 3)
    with pytest.raises(sn.SnapshotError, match="exclude what is no configuration"):
        host.keep()


# --- etckeeper, with a real git ---


class GitEtckeeper(Etckeeper):
    """etckeeper's part of a commit, done by git itself."""

    def ready(self) -> bool:
        return (Path(self.top) / ".git").is_dir()

    def commit(self, message: str) -> None:
        self._git("add", "--all")
        self._git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", message)


@pytest.fixture
def etc(tmp_path: Path) -> GitEtckeeper:
    top = tmp_path / "tracked"
    (top / "dkimkeys").mkdir(parents=True)
    (top / "hosts").write_text("x")
    (top / "dkimkeys" / "a b.key").write_text("secret")
    (top / ".gitignore").write_text(OWN)
    keeper = GitEtckeeper(top=str(top))
    keeper._git("init", "--quiet")
    return keeper


def tracked(etc: GitEtckeeper) -> list[str]:
    return etc._git("ls-files").split("\n")[:-1]


def test_keys_are_ignored_before_anything_is_committed(host: Host, etc: GitEtckeeper) -> None:
    keeper = Keeper(host.store, etckeeper=etc, runner=FakeDaemon())
    first = keeper.keep("relay", host.scope, message="before", ignore=["dkimkeys/"])
    assert (first.changed, first.committed, first.warnings) == (True, True, ())
    assert tracked(etc) == [".gitignore", "hosts"]
    assert etc._git("log", "--format=%s").strip() == "before"
    second = keeper.keep("relay", host.scope, message="after", ignore=["dkimkeys/"])
    assert (second.changed, second.committed) == (False, False)


def test_keys_that_are_tracked_already_are_taken_out(host: Host, etc: GitEtckeeper) -> None:
    etc.commit("all of it")
    keeper = Keeper(host.store, etckeeper=etc, runner=FakeDaemon())
    outcome = keeper.keep("relay", host.scope, message="before", ignore=["dkimkeys/*.key"])
    assert outcome.warnings == (
        f"{etc.top}/dkimkeys/a b.key was under version control and stays in its history: replace the secrets it holds.",
    )
    assert tracked(etc) == [".gitignore", "hosts"]
    assert (Path(etc.top) / "dkimkeys" / "a b.key").read_text() == "secret"


def test_etckeeper_in_a_dry_run(host: Host, etc: GitEtckeeper) -> None:
    etc.commit("all of it")
    keeper = Keeper(host.store, etckeeper=etc, runner=FakeDaemon(), dry_run=True)
    outcome = keeper.keep("relay", host.scope, message="before", ignore=["dkimkeys/"])
    assert (outcome.changed, outcome.committed) == (True, True)
    assert "dkimkeys/a b.key" in tracked(etc)
    assert (Path(etc.top) / ".gitignore").read_text() == OWN


def test_restore_commits_before_and_after(host: Host, etc: GitEtckeeper) -> None:
    keeper = Keeper(host.store, etckeeper=etc, runner=FakeDaemon())
    keeper.keep("relay", host.scope, message="first", ignore=["dkimkeys/"])
    host.main.write_text("two\n")
    (Path(etc.top) / "hosts").write_text("dirty")
    assert keeper.restore("relay").committed
    assert etc._git("log", "--format=%s").strip().split("\n") == [
        "saving uncommitted changes before restoring relay",
        "first",
    ]
