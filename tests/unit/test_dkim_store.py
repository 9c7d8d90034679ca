# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls on a real directory of keys."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _dkim_run, _dkim_store
from ansible_collections.postmaster.mail.plugins.module_utils._dkim import DkimRecord, generate, read_private
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_plan import Want
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_run import (
    CallError,
    Options,
    Outcome,
    ensure,
    make_all,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_store import Access, KeyStore, StoreError
from ansible_collections.postmaster.mail.plugins.module_utils._files import FileError

NOW = "2026-11-20T11:00:00Z"
D = "corp.example"
PEMS = [generate("rsa", 1024).pem for dummy in range(4)]  # small ones, for speed
ERRORS = (CallError, StoreError, FileError)

Call = Callable[..., Outcome]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def call(keys: Path) -> Call:
    """Brings wants to a state; small keys unless something else is said."""

    def _call(*wants: Want, state: str = "present", access: Access | None = None, **options: object) -> Outcome:
        wants = tuple(want if want.label else replace(want, label=want.domain) for want in wants)
        wants = tuple(replace(want, bits=1024) if want.bits == 2048 else want for want in wants)
        chosen = Options(**{"state": state, "now": NOW, "allow_weak": True, **options})  # type: ignore[arg-type]
        return ensure(KeyStore(str(keys), access), wants, chosen)

    return _call


def tree(directory: Path) -> dict[str, tuple[int, bytes]]:
    """All that lies under a directory: modes and contents."""
    return {
        str(path.relative_to(directory)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(directory.rglob("*"))
    }


def mode(path: Path) -> str:
    return f"{stat.S_IMODE(path.stat().st_mode):04o}"


def states(outcome: Outcome) -> list[str]:
    return [f"{key['selector']} {key['state']}" for key in outcome.keys]


def lay(directory: Path, name: str, content: bytes = PEMS[0]) -> Path:
    """A file that was there before."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / name
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def test_four_steps(call: Call, keys: Path, tmp_path: Path) -> None:
    """Check, apply, check again, apply again."""
    want = Want(D)
    predicted = call(want, check=True)
    assert predicted.changed
    assert (predicted.keys[0]["selector"], predicted.keys[0]["record"], predicted.keys[0]["bind"]) == (
        "rsa-202611",
        None,
        None,
    )
    assert predicted.after == ["corp.example rsa-202611 rsa active (key not made yet)"]
    assert not keys.exists()
    done = call(want)
    assert done.changed
    record = done.keys[0]["record"]
    assert isinstance(record, dict)
    assert record["name"] == "rsa-202611._domainkey.corp.example."
    assert "".join(record["strings"]) == record["value"]
    key = read_private((keys / "corp.example.rsa-202611.key").read_bytes())
    assert DkimRecord.parse(record["value"]) == key.record
    assert done.after == [f"corp.example rsa-202611 rsa active {record['value']}"]
    assert (mode(keys), mode(keys / "corp.example.rsa-202611.key"), mode(keys / "corp.example.json")) == (
        "0700",
        "0600",
        "0600",
    )
    before = tree(tmp_path)
    for check in (True, False):
        again = call(want, check=check)
        assert (again.changed, again.before, again.after, again.keys) == (False, [], [], done.keys)
    assert tree(tmp_path) == before


def test_rotation(call: Call, keys: Path) -> None:
    first = call(Want(D)).keys[0]
    assert states(call(Want(D), state="rotated")) == ["rsa-202611 active", "rsa-202611a pending"]
    before = tree(keys)
    assert not call(Want(D), state="rotated").changed
    assert tree(keys) == before
    assert states(call(Want(D), state="activated", check=True)) == ["rsa-202611 retired", "rsa-202611a active"]
    assert tree(keys) == before
    done = call(Want(D), state="activated")
    assert states(done) == ["rsa-202611 retired", "rsa-202611a active"]
    assert done.keys[0]["record"] == first["record"], "a retired key stays published"
    assert not call(Want(D), state="activated").changed
    with pytest.raises(CallError, match="rsa-202611a is the active key of corp.example"):
        call(Want(D, "rsa-202611a"), state="absent")
    gone = call(Want(D, "rsa-202611"), state="absent")
    assert gone.changed
    assert states(gone) == ["rsa-202611a active"]
    assert sorted(os.listdir(keys)) == ["corp.example.json", "corp.example.rsa-202611a.key"]
    assert not call(Want(D, "rsa-202611"), state="absent").changed


def test_nothing_to_remove(call: Call, keys: Path) -> None:
    for check in (True, False):
        assert not call(Want(D), state="absent", check=check).changed
    assert not keys.exists()


def test_many_in_one_call(call: Call, keys: Path) -> None:
    wants = [Want(f"d{number}.example", label=f"keys[{number}]") for number in range(12)]
    wants += [Want("d1.example", algorithm="ed25519", label="keys[12]")]
    done = call(*wants)
    assert len({str(key["record"]) for key in done.keys}) == 13
    assert [key["domain"] for key in done.named if key] == [want.domain for want in wants]
    assert len(list(keys.glob("*.key"))) == 13
    assert len(list(keys.glob("*.json"))) == 12
    assert not call(*wants).changed


@pytest.mark.parametrize(("form", "start"), [("rspamd", b""), ("pem", b"-----BEGIN PRIVATE KEY-----")])
def test_forms_of_ed25519(call: Call, keys: Path, form: str, start: bytes) -> None:
    done = call(Want(D, algorithm="ed25519"), ed25519_format=form)
    content = (keys / "corp.example.ed25519-202611.key").read_bytes()
    assert content.startswith(start)
    assert (b"BEGIN" in content) == (form == "pem")
    record = done.keys[0]["record"]
    assert isinstance(record, dict)
    assert read_private(content).record == DkimRecord.parse(record["value"])
    assert not call(Want(D, algorithm="ed25519"), ed25519_format=form).changed


# Keys made elsewhere


def test_adopt_what_lies_there(call: Call, keys: Path) -> None:
    path = lay(keys, "corp.example.mail.key")
    done = call(Want(D))
    assert states(done) == ["mail active"]
    assert path.read_bytes() == PEMS[0]
    assert not call(Want(D)).changed
    assert states(call(Want(D), state="rotated")) == ["mail active", "rsa-202611 pending"]


def test_rotate_what_lies_there(call: Call, keys: Path) -> None:
    lay(keys, "corp.example.mail.key")
    assert states(call(Want(D), state="rotated")) == ["mail active", "rsa-202611 pending"]


def test_adopt_a_path(call: Call, keys: Path, tmp_path: Path) -> None:
    path = lay(tmp_path / "opendkim", "mail.private")
    path.chmod(0o640)
    want = Want(D, path=str(path))
    done = call(want)
    assert states(done) == ["mail active"]
    assert done.keys[0]["path"] == str(path)
    assert sorted(os.listdir(keys)) == ["corp.example.json"]
    assert mode(path) == "0640", "its signer may read it by its group"
    assert not call(want).changed
    assert not call(Want(D)).changed
    with pytest.raises(CallError, match="already is a key of corp.example"):
        call(Want("shop.example", path=str(path)))


def test_a_subdomain_is_not_a_selector(call: Call, keys: Path) -> None:
    lay(keys, "corp.example.shop.mail.key")
    assert states(call(Want(D))) == ["rsa-202611 active"]
    assert states(call(Want("corp.example.shop"))) == ["mail active"]
    with pytest.raises(CallError, match=r"corp\.example\.shop\.mail\.key, which holds a key of corp\.example\.shop"):
        call(Want(D, "shop.mail"))


# What is refused, with nothing written

LABEL = "keys[1]"


def _two(first: Want, second: Want) -> tuple[Want, Want]:
    return replace(first, label="keys[0]"), replace(second, label="keys[1]")


GOOD = Want("good.example")
BAD_WANTS = [
    (_two(GOOD, Want("corp.example ")), "keys[1]: domain 'corp.example ' at character 13: a domain holds no white space; remove it (RFC 6376 section 3.5)"),
    (_two(GOOD, Want("b\u00fccher.example")), "keys[1]: domain 'b\\xfccher.example' at character 2: a domain is ASCII; write it as its "
        "A-label, xn--bcher-kva.example (RFC 5890 section 2.3.2.1)"),
    (_two(GOOD, Want(D, "a_b")), "keys[1]: selector 'a_b' at character 1: labels of a selector are letters, digits and inner hyphens (RFC 6376 section 3.1)"),
    (_two(GOOD, Want(D, "../../x")), "keys[1]: selector '../../x' at character 1: a selector has no empty label and "
        "no dot at its ends (RFC 6376 section 3.1)"),
    (_two(GOOD, Want("GOOD.example")), "keys[1] and keys[0] name the same key: give each key its own"),
    (_two(Want("a.example", path="/x/k.key", selector="k"), Want("b.example", path="/x/k.key", selector="k")),
        "keys[1] and keys[0] name the file /x/k.key: give each key its own"),
    (_two(Want("a.example", "b.c"), Want("a.example.b", "c")), "keys[1] and keys[0] name the file {keys}/a.example.b.c.key: give each key its own"),
    (_two(GOOD, Want(D, path="/etc/../x")), "keys[1]: path /etc/../x is not an absolute path without . and .."),
    (_two(GOOD, Want(D, path="/etc/x.pem")), "keys[1]: the file name /etc/x.pem does not tell the selector: give it"),
    (_two(GOOD, Want(D, "s", path="/nowhere/x.pem")), "keys[1]: directory /nowhere cannot be used: No such file or directory"),
    (_two(GOOD, Want(D, bits=512)), "keys[1]: bits is 512: an RSA key has 1024 to 4096 bits (RFC 8301 section 3.2)"),
    (_two(GOOD, Want(D, bits=16384)), "keys[1]: bits is 16384: an RSA key has 1024 to 4096 bits (RFC 8301 section 3.2)"),
]  # fmt: skip


@pytest.mark.parametrize(("wants", "message"), BAD_WANTS)
@pytest.mark.parametrize("check", [False, True])
def test_bad_wants(call: Call, keys: Path, wants: tuple[Want, ...], message: str, check: bool) -> None:
    with pytest.raises(ERRORS) as caught:
        call(*wants, check=check)
    assert str(caught.value) == message.replace("{keys}", str(keys))
    assert not keys.exists()


def test_weak_keys_need_a_word(call: Call, keys: Path) -> None:
    with pytest.raises(CallError) as caught:
        call(Want(D), allow_weak=False)
    assert str(caught.value) == (
        "corp.example: bits is 1024: less than 2048 bits is weak (RFC 8301 section 3.2); say allow_weak=true if you must"
    )
    assert not keys.exists()


def _no_key(keys: Path) -> str:
    lay(keys, "corp.example.mail.key", b"hello")
    return "corp.example: the file {keys}/corp.example.mail.key is no private key in PEM"


def _link(keys: Path) -> str:
    lay(keys.parent / "far", "k")
    lay(keys, "x").unlink()
    (keys / "corp.example.mail.key").symlink_to(keys.parent / "far" / "k")
    return (
        "corp.example: the file {keys}/corp.example.mail.key is a symbolic link: signers must find the key itself there"
    )


def _pipe(keys: Path) -> str:
    lay(keys, "x")
    os.mkfifo(keys / "corp.example.mail.key", 0o600)
    return "corp.example: {keys}/corp.example.mail.key is not a file"


def _endless(keys: Path) -> str:
    lay(keys, "corp.example.mail.key", b"A" * 70000)
    return "corp.example: the file {keys}/corp.example.mail.key is far too long for a private key"


def _folder(keys: Path) -> str:
    (keys / "corp.example.mail.key").mkdir(parents=True)
    keys.chmod(0o700)
    return "corp.example: {keys}/corp.example.mail.key is not a file"


def _open_directory(keys: Path) -> str:
    lay(keys, "x")
    keys.chmod(0o777)
    return "directory {keys} can be written by others: chmod go-w it first"


def _group_directory(keys: Path) -> str:
    lay(keys, "x")
    keys.chmod(0o770)
    return "directory {keys} can be written by others: chmod go-w it first"


def _open_parent(keys: Path) -> str:
    lay(keys, "x")
    keys.parent.chmod(0o777)
    return "directory {keys.parent} can be written by others: chmod go-w it first"


def _linked_directory(keys: Path) -> str:
    (keys.parent / "far").mkdir(mode=0o700)
    keys.symlink_to(keys.parent / "far")
    return "directory {keys} is a symbolic link: name the directory it leads to"


def _file_as_directory(keys: Path) -> str:
    keys.write_text("")
    return "directory {keys} is not a directory"


def _two_keys(keys: Path) -> str:
    lay(keys, "corp.example.a.key")
    lay(keys, "corp.example.b.key", PEMS[1])
    return "corp.example: corp.example has several rsa keys (a, b): say by selector which one signs"


def _bad_manifest(keys: Path) -> str:
    lay(keys, "corp.example.json", b"{")
    return "corp.example: the file {keys}/corp.example.json is not valid JSON: restore it, or move it away to have key files adopted"


def _lost_key(keys: Path) -> str:
    lay(keys, "corp.example.json", b'{"keys": [{"selector": "a", "algorithm": "rsa", "state": "active"}]}')
    return "the file {keys}/corp.example.a.key of the key a is gone: restore it from a backup, or remove the key with state=absent"


def _other_kind(keys: Path) -> str:
    lay(keys, "corp.example.a.key")
    lay(keys, "corp.example.json", b'{"keys": [{"selector": "a", "algorithm": "ed25519", "state": "active"}]}')
    return "the file {keys}/corp.example.a.key holds an rsa key, the manifest says ed25519"


SETTINGS = [
    _no_key, _link, _folder, _pipe, _endless, _open_directory, _group_directory, _open_parent, _linked_directory, _file_as_directory,
    _two_keys, _bad_manifest, _lost_key, _other_kind,
]  # fmt: skip


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("check", [False, True])
def test_bad_directories(call: Call, keys: Path, tmp_path: Path, setting: Callable[[Path], str], check: bool) -> None:
    tmp_path.chmod(0o700)
    message = setting(keys)
    before = tree(tmp_path)
    with pytest.raises(ERRORS) as caught:
        call(Want("good.example"), Want(D, label="corp.example"), check=check)
    assert str(caught.value) == message.replace("{keys.parent}", str(tmp_path)).replace("{keys}", str(keys))
    assert tree(tmp_path) == before


def test_a_lost_key_can_be_removed(call: Call, keys: Path) -> None:
    _lost_key(keys)
    assert states(call(Want(D, "a"), state="absent", force=True)) == []
    assert sorted(os.listdir(keys)) == ["corp.example.json"]


NOBODY = 65534


def refusal_to_nobody(action: Callable[[], object]) -> str:
    """What ``action`` raises in a process without root's rights; nothing if it succeeds there."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said = "the process could not become nobody"
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
            action()
            said = ""
        except Exception as err:
            said = f"{type(err).__name__}: {err}"
        finally:
            os.write(writer, said.encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


def test_a_directory_without_rights() -> None:
    want, options = Want(D, bits=1024, label=D), Options(now=NOW, allow_weak=True)
    # Not pytest's own folder, which is closed to others: they would not get as far as what is meant.
    with tempfile.TemporaryDirectory() as name:
        place, keys = Path(name), Path(name, "keys")

        def said() -> str:
            return refusal_to_nobody(lambda: ensure(KeyStore(str(keys)), [want], options))

        place.chmod(0o555)
        assert said() == f"StoreError: directory {keys} cannot be made: no right to write in {place}"
        place.chmod(0o755)
        keys.mkdir(0o500)
        assert said() == f"StoreError: directory {keys} cannot be read and written: run this as its owner or root"
        keys.chmod(0o700)
        if os.geteuid() == 0:
            os.chown(keys, NOBODY, NOBODY)
        assert said() == ""
        assert (keys / f"{D}.json").exists()


@pytest.mark.parametrize(
    ("access", "message"),
    [
        (Access(mode=0o644), "mode 0644 is not one a private key may have: use one of 0400, 0440, 0600, 0640"),
        (Access(mode=0o640), "mode 0640 lets a group read: say which with group"),
        (Access(owner="no-such-user"), "there is no user no-such-user on this host: install its package first"),
        (Access(group="no-such-group"), "there is no group no-such-group on this host: install its package first"),
    ],
)
def test_bad_access(call: Call, keys: Path, access: Access, message: str) -> None:
    with pytest.raises(CallError) as caught:
        call(Want(D), access=access)
    assert str(caught.value) == message
    assert not keys.exists()


def test_check_mode_on_a_host_without_the_signer(call: Call, keys: Path) -> None:
    done = call(Want(D), access=Access(group="no-such-group"), check=True)
    assert done.changed
    assert done.warnings == ["there is no group no-such-group on this host: install its package first"]


# Modes


def test_a_spoilt_mode_is_mended(call: Call, keys: Path) -> None:
    call(Want(D))
    path = keys / "corp.example.rsa-202611.key"
    path.chmod(0o644)
    predicted = call(Want(D), check=True)
    assert predicted.changed
    assert [line.split()[-1] for line in predicted.before + predicted.after] == ["0644", "0600"]
    assert mode(path) == "0644"
    mended = call(Want(D))
    assert mended.changed
    assert mended.warnings == [f"{path} could be read or written by others: rotate this key"]
    assert mode(path) == "0600"
    assert not call(Want(D)).changed


def test_a_group_may_read(call: Call, keys: Path) -> None:
    access = Access(group=str(os.getgid()))
    call(Want(D), access=access)
    path = keys / "corp.example.rsa-202611.key"
    assert (mode(keys), mode(path)) == ("0750", "0640")
    call(Want(D), state="rotated")
    assert mode(keys / "corp.example.rsa-202611a.key") == "0640", "made ad hoc, like the active one"
    assert not call(Want(D)).changed
    assert not call(Want(D), access=access).changed
    assert call(Want(D), access=Access(group=str(os.getgid()), mode=0o440)).changed
    assert mode(path) == "0440"
    assert call(Want(D), access=Access(mode=0o600)).changed
    assert (mode(keys), mode(path)) == ("0700", "0600")


# Runs that are cut short, and two at a time


def test_a_run_cut_before_the_manifest_is_continued(call: Call, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_args: object) -> None:
        raise KeyboardInterrupt

    for state, expected in (("present", "rsa-202611 active"), ("rotated", "rsa-202611a pending")):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(KeyStore, "write_manifest", stop)
            call(Want(D), state=state)
        lying = tree(keys)
        done = call(Want(D), state=state)
        assert done.changed
        assert states(done)[-1] == expected
        assert {name: it for name, it in tree(keys).items() if name.endswith(".key")} == {
            name: it for name, it in lying.items() if name.endswith(".key")
        }, "the key that was made is the key that is used"


def test_a_first_rotation_cut_short_activates_nothing(call: Call, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, written = KeyStore.write_manifest, []

    def once(self: KeyStore, *args: object) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(True)
        real(self, *args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(KeyStore, "write_manifest", once)
        call(Want(D), state="rotated")
    assert sorted(os.listdir(keys)) == ["corp.example.json", "corp.example.rsa-202611.key"]
    assert states(call(Want(D), state="rotated")) == ["rsa-202611 pending"]


KILLED = """
import sys
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_plan import Want
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_run import Options, ensure
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_store import KeyStore
wants = [Want(f"d{n}.example", bits=1024, label=str(n)) for n in range(200)]
ensure(KeyStore(sys.argv[1]), wants, Options(allow_weak=True, now="2026-11-20T11:00:00Z"))
"""


def test_a_killed_run_leaves_whole_keys_only(call: Call, keys: Path) -> None:
    made: dict[str, bytes] = {}
    for round_number in range(3):
        child = subprocess.Popen([sys.executable, "-c", KILLED, str(keys)], start_new_session=True)
        wanted = len(made) + 5
        while child.poll() is None and (not keys.exists() or len(list(keys.glob("*.key"))) < wanted):
            time.sleep(0.01)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        now = {path.name: path.read_bytes() for path in keys.glob("*.key")}
        assert len(now) >= wanted, f"round {round_number} was killed too early to test anything"
        assert len(now) < 200, f"round {round_number} was killed too late to test anything"
        assert all(now[name] == content for name, content in made.items())
        for content in now.values():
            read_private(content)
        made = now
    wants = [Want(f"d{n}.example", label=str(n)) for n in range(200)]
    done = call(*wants)
    assert len(done.keys) == 200
    assert all((keys / name).read_bytes() == content for name, content in made.items())
    assert not [name for name in os.listdir(keys) if name.startswith(".")], "unfinished files are swept away"
    assert not call(*wants).changed


def test_a_key_that_fails_leaves_the_rest_usable(call: Call, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = KeyStore.write_key

    def full(self: KeyStore, domain: str, *args: object) -> None:
        if domain == "d2.example":
            raise FileError(f"{domain} cannot be written: No space left on device")
        real(self, domain, *args)  # type: ignore[arg-type]

    wants = [Want(f"d{number}.example") for number in range(4)]
    with monkeypatch.context() as patch, pytest.raises(FileError):
        patch.setattr(KeyStore, "write_key", full)
        call(*wants)
    assert len(call(*wants).keys) == 4
    assert not call(*wants).changed


def test_two_runs_do_not_meet(call: Call, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(keys, "x")
    monkeypatch.setattr(_dkim_store, "LOCK_WAIT", 0.2)
    handle = os.open(keys, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(StoreError, match="another run is at work"):
        call(Want(D))
    assert call(Want(D), check=True).changed
    os.close(handle)
    assert call(Want(D)).changed


def test_keys_are_made_without_a_pool_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_args: object, **_options: object) -> None:
        raise OSError("no shared memory")

    monkeypatch.setattr(_dkim_run, "cores", lambda: 2)
    jobs = [("rsa", 1024), ("ed25519", 256), ("rsa", 1024)]
    pooled = dict(make_all(jobs))
    monkeypatch.setattr(_dkim_run, "ProcessPoolExecutor", none)
    single = dict(make_all(jobs))
    for made in (pooled, single):
        assert [made[number].algorithm for number in range(3)] == ["rsa", "ed25519", "rsa"]
        assert len({key.public for key in made.values()}) == 3


def test_nothing_secret_is_told(call: Call, keys: Path) -> None:
    done = call(Want(D), Want(D, algorithm="ed25519"))
    told = json.dumps([done.before, done.after, done.keys, done.named, done.warnings])
    for path in keys.glob("*.key"):
        for line in path.read_text().splitlines():
            if "-----" not in line:
                assert line not in told
    assert "PRIVATE" not in told
