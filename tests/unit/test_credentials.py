# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of users and hashes: whose hash stays, whose goes, and that nothing secret is shown."""

from __future__ import annotations

import fcntl
import grp
import json
import os
import pwd
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _credentials as values
from ansible_collections.postmaster.mail.plugins.module_utils import _credentials_client as client
from ansible_collections.postmaster.mail.plugins.module_utils import _hashes
from ansible_collections.postmaster.mail.plugins.module_utils._crypt_client import Crypt, CryptError
from ansible_collections.postmaster.mail.plugins.modules import mail_credentials
from hypothesis import given
from hypothesis import strategies as st

OWNER, GROUP = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
ANN, BOB = "ann@post.example", "bob@post.example"


class Fake:
    """Hashes that can be read in a test: of the form of SHA512-CRYPT, with the password and a number inside."""

    def __init__(self) -> None:
        self.made = 0

    @staticmethod
    def of(password: str, number: int = 0) -> str:
        return f"$6$salt{number}$" + password.ljust(86, ".")

    def make(self, password: str) -> str:
        self.made += 1
        return self.of(password, self.made)

    def verify(self, password: str, hashed: str) -> bool:
        return hashed.rpartition("$")[2] == password.ljust(86, ".")


def item(address: str, **more: Any) -> dict[str, Any]:
    local, dummy, domain = address.partition("@")
    return {
        "address": address,
        "password": None,
        "hash": None,
        "home": f"/var/vmail/{domain}/{local}",
        "quota": 0,
        **more,
    }


class World:
    """The module on a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.path, self.given = folder / "etc/credentials", folder / "etc/credentials.given"
        self.hasher = Fake()

    def run(self, *users: dict[str, Any], check_mode: bool = False, **more: Any) -> dict[str, Any]:
        fixed = {
            "path": str(self.path),
            "uid": 2000,
            "gid": 2000,
            "dovecot": "2.4",
            "reset": [],
            "mail_directory": None,
        }
        params = {**fixed, "mode": "0640", "owner": OWNER, "group": GROUP, "users": list(users), **more}
        return mail_credentials.run(params, self.hasher, check_mode=check_mode)

    def hashes(self) -> dict[str, str]:
        return {name: entry.hash for name, entry in values.parse(self.path.read_text()).items()}

    def choose(self, address: str, password: str) -> None:
        """What a user does."""
        entries = values.parse(self.path.read_text())
        entries[address] = values.Entry(self.hasher.make(password), entries[address].rest)
        self.path.write_text(values.render(entries))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_lines_and_modes(world: World) -> None:
    hashed = Fake.of("bobs")
    told = world.run(item(BOB, hash="{SHA512-CRYPT}" + hashed, quota=1 << 30), item(ANN, password="anns"))
    assert world.path.read_text() == (
        f"ann@post.example:{Fake.of('anns', 1)}:2000:2000::/var/vmail/post.example/ann::\n"
        f"bob@post.example:{hashed}:2000:2000::/var/vmail/post.example/bob::userdb_quota_storage_size=1073741824B\n"
    )
    assert stat.S_IMODE(world.path.stat().st_mode) == 0o640 and stat.S_IMODE(world.given.stat().st_mode) == 0o600
    assert (told["changed"], told["added"], told["updated"], told["removed"], told["own"]) == (
        True,
        [ANN, BOB],
        [],
        [],
        [],
    )


def test_the_quota_of_the_older_release(world: World) -> None:
    world.run(item(ANN, password="anns", quota=10), dovecot="2.3")
    assert world.path.read_text().endswith("::userdb_quota_rule=*:storage=10B\n")


def test_a_second_run_changes_nothing_and_makes_no_hash(world: World) -> None:
    users = item(ANN, password="anns"), item(BOB, hash=Fake.of("bobs"))
    world.run(*users)
    before = world.path.stat().st_mtime_ns, world.hasher.made
    told = world.run(*users)
    assert (told["changed"], told["diff"]) == (False, [])
    assert (world.path.stat().st_mtime_ns, world.hasher.made) == before


@pytest.mark.parametrize("kind", ["password", "hash"])
def test_whose_password_stands(world: World, kind: str) -> None:
    def of(word: str) -> dict[str, Any]:
        return item(ANN, **{kind: word if kind == "password" else Fake.of(word)})

    world.run(of("first"))
    world.choose(ANN, "own")
    kept = world.run(of("first"))
    assert (kept["changed"], kept["own"]) == (False, [ANN])
    assert world.hasher.verify("own", world.hashes()[ANN])
    anew = world.run(of("second"))
    assert (anew["updated"], anew["own"]) == ([ANN], [])
    assert world.hasher.verify("second", world.hashes()[ANN])
    world.choose(ANN, "own")
    back = world.run(of("second"), reset=[ANN])
    assert (back["updated"], back["own"]) == ([ANN], [])
    assert world.hasher.verify("second", world.hashes()[ANN])
    assert world.run(of("second"), reset=[ANN])["changed"] is False


def test_who_is_removed_and_comes_back(world: World) -> None:
    world.run(item(ANN, password="anns"), item(BOB, password="bobs"))
    told = world.run(item(BOB, password="bobs"))
    assert (told["removed"], list(world.hashes())) == ([ANN], [BOB])
    assert ANN not in world.given.read_text()
    assert world.run(item(ANN, password="anns"), item(BOB, password="bobs"))["added"] == [ANN]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text(path.read_text().replace(":2000:", ":0:")),
        lambda path: path.write_text(path.read_text() + "# a note\n"),
        lambda path: path.write_text(path.read_text()[:-30]),
        lambda path: path.write_text(""),
        lambda path: path.write_text(path.read_text().replace("$6$", "$5$")),
        lambda path: path.chmod(0o644),
        lambda path: path.unlink(),
    ],
)
def test_drift_is_mended_and_shown(world: World, spoil: Any) -> None:
    world.run(item(ANN, password="anns"))
    whole = world.path.read_text()
    spoil(world.path)
    told = world.run(item(ANN, password="anns"))
    assert told["changed"] and [part["after_header"] for part in told["diff"]] == [str(world.path)]
    assert told["diff"][0]["before"] != told["diff"][0]["after"] or told["diff"][0]["before"] == ""
    assert world.path.read_text() == whole and world.path.stat().st_mode & 0o777 == 0o640
    assert world.run(item(ANN, password="anns"))["changed"] is False


def test_a_lost_record_of_what_was_given_is_made_again(world: World) -> None:
    world.run(item(ANN, password="anns"))
    hashes = world.hashes()
    world.given.unlink()
    told = world.run(item(ANN, password="anns"))
    assert [part["after_header"] for part in told["diff"]] == [str(world.given)]
    assert world.hashes() == hashes


def test_check_mode_writes_nothing(world: World) -> None:
    told = world.run(item(ANN, password="anns"), check_mode=True, owner="nobody-there", group="nobody-there")
    assert (told["changed"], told["added"], world.path.parent.exists()) == (True, [ANN], False)


def test_no_secret_is_told(world: World) -> None:
    users = item(ANN, password="hunter2"), item(BOB, hash=Fake.of("bobs"))
    told = [world.run(*users)]
    world.choose(ANN, "swordfish")
    told += [world.run(*users), world.run(*users, reset=[ANN]), world.run(item(ANN, password="hunter3")), world.run()]
    text = json.dumps(told)
    assert not [word for word in ("hunter", "swordfish", "bobs.", "$6$") if word in text]
    assert told[2]["diff"][0]["before"] != told[2]["diff"][0]["after"]


def test_the_time_of_the_file_grows_with_each_change(world: World) -> None:
    world.run(item(ANN, password="a"))
    times = [int(world.path.stat().st_mtime)]
    for word in ("b", "c"):
        world.run(item(ANN, password=word))
        times.append(int(world.path.stat().st_mtime))
    assert times[0] < times[1] < times[2]


def test_two_writers_take_turns(world: World) -> None:
    world.run(item(ANN, password="a"))
    other = os.open(world.path.parent, os.O_RDONLY)
    with client.locked(str(world.path)), pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


def test_mailboxes_without_an_owner(world: World, tmp_path: Path) -> None:
    for name in ("post.example/ann", "post.example/zoe", "old.example/max", ".trash/x"):
        (tmp_path / "vmail" / name).mkdir(parents=True)
    told = world.run(
        item(ANN, password="a", home=str(tmp_path / "vmail/post.example/ann")), mail_directory=str(tmp_path / "vmail")
    )
    assert told["unowned"] == [str(tmp_path / "vmail" / name) for name in ("old.example/max", "post.example/zoe")]
    assert world.run(item(ANN, password="a"), mail_directory="/no/such/place")["unowned"] == []


@pytest.mark.parametrize(
    ("users", "more", "expected"),
    [
        ([item(ANN, password="a"), item(ANN, password="b")], {}, "ann@post.example is given twice: take one of them out"),
        ([item(ANN)], {}, "ann@post.example: give either a password or a hash"),
        ([item(ANN, password="a", hash=Fake.of("a"))], {}, "ann@post.example: give either a password or a hash"),
        ([item(ANN, hash="{SSHA}x")], {},
         "ann@post.example: Dovecot alone reads a hash of the scheme SSHA: make one with `doveadm pw -s BLF-CRYPT`"),
        ([item("a:n@post.example", password="a")], {},
         "'a:n@post.example' with the home '/var/vmail/post.example/a:n' cannot stand in the file: take out blanks and colons"),
        ([item(ANN, password="a")], {"reset": [BOB]},
         "bob@post.example is to get its given password back, but is no user: take it out of the list"),
        ([item(ANN, password="a")], {"mode": "rw"}, "mode: 'rw' is no mode in octal digits"),
    ],
)  # fmt: skip
def test_what_is_refused_leaves_the_file_alone(
    world: World, users: list[dict[str, Any]], more: dict[str, Any], expected: str
) -> None:
    world.run(item(BOB, password="bobs"))
    before = world.path.read_text()
    with pytest.raises(values.CredentialsError) as caught:
        world.run(*users, **more)
    assert str(caught.value) == expected
    assert world.path.read_text() == before


WORDS = st.sampled_from(["one", "two", "three"])
STEPS = st.lists(st.tuples(st.sampled_from(["give", "choose", "reset"]), WORDS), max_size=8)


@given(STEPS)
def test_the_last_word_stands(steps: list[tuple[str, str]]) -> None:
    """A model: what was given anew or chosen last is the password; the same thing given again changes nothing."""
    hasher = Fake()
    entries: dict[str, values.Entry] = {}
    records: dict[str, str] = {}
    word, expected = "start", "start"
    for kind, value in [("give", "start"), *steps]:
        if kind == "choose":
            entries = {ANN: values.Entry(hasher.make(value), entries[ANN].rest)}
            expected = value
            continue
        if kind == "reset" or value != word:
            word = word if kind == "reset" else value
            expected = word
        wanted = [values.Wanted(ANN, password=word, rest="x")]
        plan = values.plan(entries, records, wanted, hasher, reset=[ANN] if kind == "reset" else [])
        entries, records = dict(plan.entries), dict(plan.given)
        assert hasher.verify(expected, entries[ANN].hash)
        again = values.plan(entries, records, wanted, hasher)
        assert (again.entries, again.given, again.changed) == (entries, records, ())


@pytest.mark.parametrize("password", ["hunter2", "pässwörd €", "x" * 255, " leading", 'quote"s\\'])
def test_real_hashes(password: str) -> None:
    crypt = Crypt()
    one, two = crypt.make(password), crypt.make(password)
    assert one != two and one.startswith("$6$rounds=20000$") and _hashes.is_readable(one)
    assert crypt.verify(password, one) and crypt.verify(password, two)
    assert not crypt.verify(password + "x", one) and not crypt.verify(
        password, one[:-1] + ("." if one[-1] != "." else "/")
    )


@pytest.mark.parametrize(
    "hashed",
    [  # of the password "hunter2", made by other programs
        "$2y$05$abcdefghijklmnopqrstuuoXuKqgZXLiJqzfmMXDDhSFPIvxV7t8.",
        "$5$saltsalt$OIdfjX.u4Y3SJ4I2bX8w5BMf1VAUhHABNUirScDzZi3",
    ],
)
def test_other_schemes(hashed: str) -> None:
    crypt = Crypt()
    assert crypt.verify("hunter2", hashed) and not crypt.verify("hunter3", hashed)


@pytest.mark.parametrize("hashed", ["", "*0", "!", "$1$x$y", "hunter2"])
def test_what_is_no_hash_matches_nothing(hashed: str) -> None:
    assert not Crypt().verify("hunter2", hashed)


def test_a_missing_library_is_named() -> None:
    with pytest.raises(CryptError, match="libnone.so.9 cannot be loaded: install the package libcrypt1"):
        Crypt("libnone.so.9")
