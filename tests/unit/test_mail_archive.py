# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives of a mail server: what they hold, what of them goes into a host that has mail already, and which are refused."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import re
import socket
import stat
import tarfile
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _archive as values
from ansible_collections.postmaster.mail.plugins.module_utils import _archive_client as client
from ansible_collections.postmaster.mail.plugins.module_utils import _archive_run as work
from ansible_collections.postmaster.mail.plugins.module_utils import _maildir_client as mail
from ansible_collections.postmaster.mail.plugins.module_utils import _redis_client as redis
from ansible_collections.postmaster.mail.plugins.module_utils._archive import ArchiveError
from ansible_collections.postmaster.mail.plugins.modules import mail_archive

HASH, OTHER, THIRD = (f"$6$salt{number}$" + "x" * 86 for number in range(3))


class FakeRedis:
    """Enough of redis for what rspamd learns."""

    def __init__(self) -> None:
        self.hashes: dict[str, dict[str, str]] = {}
        self.sets: dict[str, set[str]] = {}

    def keys(self, pattern: str) -> list[str]:
        start = pattern.rstrip("*").partition("*")[0]
        return sorted(key for key in [*self.hashes, *self.sets] if key.startswith(start) and key != redis.MARK)

    def ask(self, commands: Sequence[Sequence[str]]) -> list[object]:
        return [getattr(self, command[0].lower())(*command[1:]) for command in commands]

    def type(self, key: str) -> str:
        return "hash" if key in self.hashes else "set"

    def hgetall(self, key: str) -> list[str]:
        return [word for pair in self.hashes[key].items() for word in pair]

    def smembers(self, key: str) -> list[str]:
        return sorted(self.sets[key])

    def sismember(self, key: str, member: str) -> int:
        return int(member in self.sets.get(key, set()))

    def sadd(self, key: str, member: str) -> str:
        self.sets.setdefault(key, set()).add(member)
        return "QUEUED"

    def hincrby(self, key: str, name: str, count: str) -> str:
        values_ = self.hashes.setdefault(key, {})
        values_[name] = str(int(values_.get(name, "0")) + int(count))
        return "QUEUED"

    def hsetnx(self, key: str, name: str, value: str) -> str:
        self.hashes.setdefault(key, {}).setdefault(name, value)
        return "QUEUED"

    def multi(self) -> str:
        return "OK"

    def exec(self) -> list[object]:
        return []


class Host:
    """A host's files in a folder."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self._patch, self.redis = root, monkeypatch, FakeRedis()
        for name in ("vmail", "keys", "etc"):
            (root / name).mkdir(parents=True)

    def use(self) -> None:
        """From here on the module runs on this host."""

        @contextlib.contextmanager
        def connected(dummy: str) -> Iterator[FakeRedis]:
            yield self.redis

        self._patch.setattr(client, "JOURNAL", str(self.root / "journal"))
        self._patch.setattr(redis, "connected", connected)

    def message(self, home: str, folder: str, name: str, text: str = "Hello\n") -> Path:
        maildir = self.root / "vmail" / home / "Maildir" / folder
        for part in ("cur", "new", "tmp"):
            (maildir / part).mkdir(parents=True, exist_ok=True)
        path = maildir / ("cur" if ":" in name else "new") / name
        path.write_text(text)
        os.utime(path, (1_000_000, 1_000_000))
        return path

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def names(self, home: str) -> list[str]:
        """Messages of a home."""
        base = self.root / "vmail" / home / "Maildir"
        return sorted(str(path.relative_to(base)) for path in base.rglob("*") if path.parent.name in ("cur", "new"))

    def run(self, check_mode: bool = False, **options: Any) -> dict[str, Any]:
        """The module."""
        self.use()
        params: dict[str, Any] = {
            "parts": list(values.PARTS), "mail_directory": str(self.root / "vmail"), "uid": os.getuid(),
            "gid": os.getgid(), "credentials": str(self.root / "etc/credentials"), "files": [str(KEYS)],
            "redis": "127.0.0.1:6379", "differing": "refuse", "again": False, "path": None, "digest": None, **options,
        }  # fmt: skip
        return mail_archive.run(params, check_mode=check_mode)

    def restore(self, archive: Path, **options: Any) -> dict[str, Any]:
        return self.run(state="restored", path=str(archive), digest=client.digest_of(str(archive)), **options)


KEYS = Path("/nowhere")


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Host, Host]:
    """An old host that was used, and a new one. They share the folder of keys."""
    monkeypatch.setitem(globals(), "KEYS", tmp_path / "keys")
    (tmp_path / "keys").mkdir()
    old, new = Host(tmp_path / "old", monkeypatch), Host(tmp_path / "new", monkeypatch)
    old.message("a.example/ann", "", "1.M1.old:2,S", "one\n")
    old.message("a.example/ann", "", "2.M2.old", "two\n")
    old.message("a.example/ann", ".Work", "3.M3.old:2,Sab", "three\n")
    old.write("vmail/a.example/ann/Maildir/.Work/dovecot-keywords", "0 Blue\n1 $Forwarded\n")
    old.write("vmail/a.example/ann/Maildir/.Work/dovecot-uidlist", "3 V7 N2 Gx\n1 :3.M3.old\n")
    old.write("vmail/a.example/ann/Maildir/.Work/dovecot.index.cache", "binary")
    old.write("vmail/a.example/ann/Maildir/subscriptions", "V\t2\n\nWork\n")
    old.write("vmail/a.example/ann/sieve/mine.sieve", "keep;\n")
    (old.root / "vmail/a.example/ann/.dovecot.sieve").symlink_to("sieve/mine.sieve")
    old.message("a.example/bob", "", "4.M4.old:2,", "four\n")
    old.write("etc/credentials", f"ann@a.example:{OTHER}:1:1::/h::\nbob@a.example:{HASH}:1:1::/h::\n")
    old.write("etc/credentials.given", f"ann@a.example:{HASH}\nbob@a.example:{HASH}\n")
    old.redis.hashes = {"RS": {"version": "2", "learns_ham": "3"}, "RS_17": {"H": "3"}, "learned_ids": {"abc": "1"}}
    old.redis.sets = {"BAYES_HAM_keys": {"RS"}}
    (tmp_path / "keys" / "a.key").write_text("secret")
    (tmp_path / "keys" / "a.key").chmod(0o400)
    return old, new


@pytest.fixture
def archive(hosts: tuple[Host, Host], tmp_path: Path) -> Path:
    """An archive of the old host; the keys are gone then."""
    path = tmp_path / "archive.tar.gz"
    said = hosts[0].run(state="made", path=str(path))
    assert said["counts"] == {"files": 1, "accounts": 2, "bayes": 1, "mail": 9}
    (tmp_path / "keys" / "a.key").unlink()
    return path


def test_all_of_it_comes_to_a_host_that_has_nothing(hosts: tuple[Host, Host], archive: Path, tmp_path: Path) -> None:
    old, new = hosts
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    said = new.restore(archive)
    assert said["changed"]
    assert said["left"] == []
    assert "secret" not in str(said)
    assert "$6$" not in str(said)
    for home in ("a.example/ann", "a.example/bob"):
        assert new.names(home) == old.names(home) != []
    folder = new.root / "vmail/a.example/ann"
    assert (folder / "Maildir/cur/1.M1.old:2,S").read_text() == "one\n"
    assert (folder / "Maildir/cur/1.M1.old:2,S").stat().st_mtime == 1_000_000
    assert (folder / "Maildir/.Work/dovecot-uidlist").exists()
    assert not (folder / "Maildir/.Work/dovecot.index.cache").exists()
    assert (folder / ".dovecot.sieve").read_text() == "keep;\n"
    assert stat.S_IMODE((tmp_path / "keys/a.key").stat().st_mode) == 0o400
    assert (new.root / "etc/credentials").read_text() == (old.root / "etc/credentials").read_text()
    assert new.redis.hashes == old.redis.hashes
    assert not (new.root / "vmail/.restore").exists()


def test_a_second_run_changes_nothing_whatever_users_did_since(hosts: tuple[Host, Host], archive: Path) -> None:
    new = hosts[1]
    new.restore(archive)
    (new.root / "vmail/a.example/bob/Maildir/cur/4.M4.old:2,").unlink()
    assert new.restore(archive) == {"changed": False, "left": [], "waiting": []}
    assert new.run(state="known", digest=client.digest_of(str(archive)))["left"] == []
    assert new.names("a.example/bob") == []
    assert new.restore(archive, again=True, parts=["mail"])["changed"]
    assert new.names("a.example/bob") == ["cur/4.M4.old:2,"]


def test_what_arrived_meanwhile_stays(hosts: tuple[Host, Host], archive: Path) -> None:
    new = hosts[1]
    new.message("a.example/ann", "", "9.M9.new", "nine\n")
    new.message("a.example/ann", "", "1.M1.old:2,FS", "one\n")
    new.message("a.example/ann", ".Work", "8.M8.new:2,a", "eight\n")
    new.write("vmail/a.example/ann/Maildir/.Work/dovecot-keywords", "0 Red\n")
    new.write("vmail/a.example/ann/Maildir/subscriptions", "V\t2\n\nPlay\n")
    new.write("vmail/a.example/ann/sieve/mine.sieve", "discard;\n")
    new.redis.hashes = {"RS": {"version": "2", "learns_ham": "1"}, "RS_17": {"S": "1"}}
    said = new.restore(archive)
    # Blue and $Forwarded are the second and the third keyword here.
    assert new.names("a.example/ann") == [
        ".Work/cur/3.M3.old:2,Sbc", ".Work/cur/8.M8.new:2,a", "cur/1.M1.old:2,FS", "new/2.M2.old", "new/9.M9.new",
    ]  # fmt: skip
    folder = new.root / "vmail/a.example/ann"
    assert (folder / "Maildir/.Work/dovecot-keywords").read_text() == "0 Red\n1 Blue\n2 $Forwarded\n"
    assert (folder / "Maildir/subscriptions").read_text() == "V\t2\n\nPlay\nWork\n"
    assert (folder / "sieve/mine.sieve").read_text() == "discard;\n"
    assert said["kept"] == [str(folder / "sieve/mine.sieve")]
    assert new.redis.hashes["RS"] == {"version": "2", "learns_ham": "4"}
    assert new.redis.hashes["RS_17"] == {"S": "1", "H": "3"}


def test_an_empty_folder_gets_the_numbers_of_the_old_one(hosts: tuple[Host, Host], archive: Path) -> None:
    new = hosts[1]
    new.message("a.example/ann", ".Work", "8.M8.new:2,").unlink()
    new.write("vmail/a.example/ann/Maildir/.Work/dovecot-uidlist", "3 V9 N5 Gy\n")
    new.write("vmail/a.example/ann/Maildir/.Work/dovecot.index.log", "binary")
    new.restore(archive)
    folder = new.root / "vmail/a.example/ann/Maildir/.Work"
    assert (folder / "dovecot-uidlist").read_text() == "3 V7 N2 Gx\n1 :3.M3.old\n"
    assert sorted(os.listdir(folder)) == ["cur", "dovecot-keywords", "dovecot-uidlist", "new", "tmp"]


def test_a_run_that_ended_early_is_completed(
    hosts: tuple[Host, Host], archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = hosts
    merge = mail.merge
    calls: list[str] = []

    def ends(place: str, home: str) -> list[str]:
        calls.append(home)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return merge(place, home)

    monkeypatch.setattr(mail, "merge", ends)
    with pytest.raises(KeyboardInterrupt):
        new.restore(archive)
    assert new.names("a.example/ann") == old.names("a.example/ann")
    assert not (new.root / "vmail/a.example/bob").exists()
    learned = json.dumps(new.redis.hashes)
    monkeypatch.setattr(mail, "merge", merge)
    said = new.restore(archive)
    assert said["diff"]["after"] == f"{new.root}/vmail/a.example/bob\n"
    assert new.names("a.example/bob") == old.names("a.example/bob")
    assert json.dumps(new.redis.hashes) == learned
    assert not (new.root / "vmail/.restore").exists()


def test_mail_waits_for_the_role(hosts: tuple[Host, Host], archive: Path) -> None:
    new = hosts[1]
    (new.root / "vmail").rmdir()
    said = new.restore(archive)
    assert said["waiting"] == said["left"] == ["bayes", "mail"]
    assert (new.root / "etc/credentials").exists()
    assert new.redis.hashes == {}
    (new.root / "vmail").mkdir()
    assert new.restore(archive)["left"] == []
    assert new.names("a.example/bob") != []


def test_check_mode_writes_nothing(hosts: tuple[Host, Host], archive: Path) -> None:
    new = hosts[1]
    said = new.restore(archive, check_mode=True)
    assert said["changed"]
    assert said["left"] == list(values.PARTS)
    known = {"state": "restored", "path": "/nowhere/archive", "digest": "0" * 64}
    assert new.run(check_mode=True, **known)["changed"]
    assert sorted(str(path.relative_to(new.root)) for path in new.root.rglob("*")) == ["etc", "keys", "vmail"]


def test_a_message_that_is_moved_while_it_is_read_is_found(hosts: tuple[Host, Host]) -> None:
    home = hosts[0].root / "vmail/a.example/ann"
    reader = mail.read_home(str(home), "mail/a.example/ann/")
    first = next(reader)
    inbox = home / "Maildir"
    (inbox / "cur/1.M1.old:2,S").rename(inbox / "cur/1.M1.old:2,FS")
    (inbox / ".Work/cur/3.M3.old:2,Sab").rename(inbox / "cur/7.M7.old:2,S")
    found = [first.name, *(member.name for member in reader)]
    assert {values.base(name.rpartition("/")[2]) for name in found} >= {"1.M1.old", "2.M2.old", "7.M7.old"}


# -- accounts and files -------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("here", "given", "expected", "kept"),
    [
        (THIRD, THIRD, OTHER, []),  # what ann chose there comes
        (THIRD, HASH, THIRD, ["the password of ann@a.example"]),  # but not over what she chose here
        (OTHER, HASH, OTHER, []),
    ],
)
def test_a_password_that_was_chosen_comes_along(
    hosts: tuple[Host, Host], archive: Path, here: str, given: str, expected: str, kept: list[str]
) -> None:
    new = hosts[1]
    new.write("etc/credentials", f"ann@a.example:{here}:1:1::/n::\n")
    new.write("etc/credentials.given", f"ann@a.example:{given}\n")
    said = new.restore(archive, parts=["accounts"])
    assert (new.root / "etc/credentials").read_text() == f"ann@a.example:{expected}:1:1::/n::\n"
    assert (new.root / "etc/credentials.given").read_text() == f"ann@a.example:{given}\n"
    assert (said["kept"], said["unknown"]) == (kept, ["bob@a.example"])


@pytest.mark.parametrize(("differing", "expected"), [("keep", "another"), ("replace", "secret")])
def test_a_key_of_that_name_is_no_accident(
    hosts: tuple[Host, Host], archive: Path, tmp_path: Path, differing: str, expected: str
) -> None:
    new, key = hosts[1], tmp_path / "keys/a.key"
    key.write_text("another")
    with pytest.raises(ArchiveError) as caught:
        new.restore(archive)
    assert str(caught.value) == (
        f"{key}: another file is here already. Say which one is to stay by mail_restore_differing=keep (this host's) "
        "or =replace (the archive's)"
    )
    assert not (new.root / "etc/credentials").exists()
    new.restore(archive, differing=differing)
    assert key.read_text() == expected


# -- what is refused ----------------------------------------------------------------------------
def forged(path: Path, *members: tuple[str, str], kind: bytes = tarfile.REGTYPE) -> Path:
    """An archive of somebody else's."""
    with tarfile.open(path, "w:gz") as tar:
        for name, text in members:
            info = tarfile.TarInfo(name)
            info.size, info.type = len(text.encode()), kind
            if kind == tarfile.SYMTYPE:
                info.size, info.linkname = 0, "/etc"
            tar.addfile(info, io.BytesIO(text.encode()))
    return path


ABOUT = values.About("old", "bookworm", "2026-11-28", values.PARTS).render()
FOREIGN: dict[str, tuple[list[tuple[str, str]], str]] = {
    "empty": ([], "is no archive that mail_backup made: name one that it left"),
    "another": ([("readme", "x")], "is no archive that mail_backup made: name one that it left"),
    "version": (
        [("about.json", ABOUT.replace('"version": 1', '"version": 2'))],
        "is of form 2, which this release of the collection does not know: update it",
    ),
    "outside": ([("about.json", ABOUT), ("mail/../../etc/passwd", "x")],
                "holds the name 'mail/../../etc/passwd', which would lead out of it"),
    "absolute": ([("about.json", ABOUT), ("/etc/passwd", "x")], "holds the name '/etc/passwd', which would lead out of it"),
    "stranger": ([("about.json", ABOUT), ("mail/a/b/.ssh/authorized_keys", "x")],
                 "holds mail/a/b/.ssh/authorized_keys, which no archive of a mail server has"),
    "file": ([("about.json", ABOUT), ("files/etc/shadow", "x")],
             "holds /etc/shadow, which is not one of the paths to be restored"),
    "no end": ([("about.json", ABOUT)], "is damaged: it ends early, so take another archive"),
    "sums": ([("about.json", ABOUT), ("sums.json", "[]")],
             "is damaged: its list of sums cannot be read, so take another archive"),
    "changed": ([("about.json", ABOUT), ("bayes.lines", "x"), ("sums.json", json.dumps({"bayes.lines": "0" * 64}))],
                "is damaged: about.json is not what it was, so take another archive"),
    "more": ([("about.json", ABOUT), ("sums.json", "{}"), ("bayes.lines", "x")],
             "does not end where it says: it was not made by mail_backup"),
}  # fmt: skip


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_archive_is_refused(hosts: tuple[Host, Host], tmp_path: Path, what: str) -> None:
    members, expected = FOREIGN[what]
    path = forged(tmp_path / "forged.tar.gz", *members)
    with pytest.raises(ArchiveError) as caught:
        hosts[1].restore(path)
    assert str(caught.value) == f"{path} {expected}"
    assert sorted(item.name for item in hosts[1].root.rglob("*")) == ["etc", "keys", "vmail"]


@pytest.mark.parametrize("damage", ["start", "half", "end"])
def test_a_damaged_archive_is_refused(hosts: tuple[Host, Host], archive: Path, tmp_path: Path, damage: str) -> None:
    path, whole = tmp_path / "part.tar.gz", archive.read_bytes()
    path.write_bytes({"start": whole[:10], "half": whole[: len(whole) // 2], "end": whole[:-100]}[damage])
    with pytest.raises(ArchiveError, match=r"is damaged or no archive \(.+\): take another one"):
        hosts[1].restore(path)
    assert sorted(item.name for item in hosts[1].root.rglob("*")) == ["etc", "keys", "vmail"]
    assert hosts[1].restore(archive)["changed"]


def test_a_changed_byte_is_found(hosts: tuple[Host, Host], archive: Path, tmp_path: Path) -> None:
    """What it spoils, and so what is said, depends on where it stands: the packing, a header, a text."""
    path, whole = tmp_path / "part.tar.gz", archive.read_bytes()
    begin = whole.index(b"\0", 10) + 1  # gzip's own header, which names a file, is under no sum
    for place in [*range(begin, len(whole), max(1, len(whole) // 60)), len(whole) - 1]:
        changed = whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :]
        with contextlib.suppress(OSError, EOFError, zlib.error):
            if gzip.decompress(changed) == gzip.decompress(whole):
                continue  # bits between two blocks, which mean nothing (RFC 1951 section 3.2.4)
        path.write_bytes(changed)
        with pytest.raises(ArchiveError, match=f"^{re.escape(str(path))} "):
            hosts[1].restore(path)
        assert sorted(item.name for item in hosts[1].root.rglob("*")) == ["etc", "keys", "vmail"]


def test_a_directory_is_no_member(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    path = forged(tmp_path / "forged.tar.gz", ("about.json", ""), kind=tarfile.DIRTYPE)
    with pytest.raises(ArchiveError, match="holds about.json, which is no file: it was not made by mail_backup"):
        hosts[1].restore(path)


def test_no_room_is_said_before(hosts: tuple[Host, Host], archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 3})
    monkeypatch.setattr(work.shutil, "disk_usage", lambda dummy: usage)
    with pytest.raises(ArchiveError, match="has 0 MiB free and the archive holds 0: make room there"):
        hosts[1].restore(archive)
    with pytest.raises(ArchiveError, match="has 0 MiB free and mail takes 0: make room, or name another directory"):
        hosts[0].run(state="made", path=str(archive))


# -- values -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("here", "there", "words", "letters"),
    [
        ({}, {0: "A"}, {0: "A"}, {"a": "a"}),
        ({0: "B"}, {0: "A", 1: "b"}, {0: "B", 1: "A"}, {"a": "b", "b": "a"}),
        (
            {number: str(number) for number in range(26)},
            {3: "X"},
            {number: str(number) for number in range(26)},
            {"d": ""},
        ),
    ],
)
def test_keywords(here: dict[int, str], there: dict[int, str], words: dict[int, str], letters: dict[str, str]) -> None:
    assert values.join_keywords(here, there) == (words, letters)
    assert values.parse_keywords(values.render_keywords(words)) == words


@pytest.mark.parametrize(
    ("name", "expected"), [("1.x:2,Sab", "1.x:2,Sbc"), ("1.x", "1.x"), ("1.x:2,", "1.x:2,"), ("1.x:2,Sz", "1.x:2,S")]
)
def test_flags(name: str, expected: str) -> None:
    assert values.renamed(name, {"a": "b", "b": "c"}) == expected


@pytest.mark.parametrize("line", ["x", "[]", '["h", "a"]', '["x", "a", "b"]', "{}"])
def test_what_was_learned_must_be_readable(line: str) -> None:
    with pytest.raises(
        ArchiveError, match="a.tar.gz is damaged: what the filter learned cannot be read, so take another"
    ):
        values.bayes_commands(line, "a.tar.gz")


def test_redis_protocol() -> None:
    ours, theirs = socket.socketpair()
    asked: list[bytes] = []

    def serve() -> None:
        asked.append(theirs.recv(4096))
        theirs.sendall(b"*2\r\n$1\r\n0\r\n*2\r\n$3\r\na\xff\n\r\n$-1\r\n:7\r\n+OK\r\n")
        asked.append(theirs.recv(4096))
        theirs.sendall(b"-LOADING not yet\r\n")

    server = threading.Thread(target=serve)
    server.start()
    with ours, ours.makefile("rb") as lines:
        connection = redis.Redis(lines, ours)
        said = connection.ask([("SCAN", "ä"), ("A",), ("B",)])
        assert said == [["0", ["a\udcff\n", None]], 7, "OK"]
        with pytest.raises(
            ArchiveError, match="redis says LOADING not yet: see that it runs and that rspamd can use it"
        ):
            connection.ask([("C",)])
    server.join()
    theirs.close()
    assert asked[0] == b"*2\r\n$4\r\nSCAN\r\n$2\r\n\xc3\xa4\r\n*1\r\n$1\r\nA\r\n*1\r\n$1\r\nB\r\n"
