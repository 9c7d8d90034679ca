# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tasks of the rotation with the mailer: it signs with what the manifests call active, and reads them when they change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from _rotation_estate import NAMES, Estate
from ansible_collections.postmaster.mail.plugins.module_utils import _rotation_work as working
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_plan import Want

# What ``mailerctl sign`` does; ``stubborn`` is a transformer that goes on with the selector it had.
SIGN = """
import json, os, sys
import dkim
here = os.path.dirname(sys.argv[0])
user, *command = sys.argv[2:]
stages = "/etc/postmaster-mailer/stages/transformer"
expected = ["--", "mailerctl", "--config", stages + ".yaml", "--config", stages + ".secret.yaml", "sign", "--json"]
assert (user, command[:8]) == ("postmaster-mailer-transformer", expected), sys.argv
told = []
for domain in command[8:]:
    keys = [key for key in json.load(open(f"{here}/../keys/{domain}.json"))["keys"] if key["state"] == "active"]
    raw = f"From: a@{domain}\\r\\nTo: b@{domain}\\r\\nSubject: x\\r\\n\\r\\nx\\r\\n".encode()
    signed, selectors = raw, []
    stubborn = f"{here}/stubborn"
    for selector in [open(stubborn).read()] if os.path.exists(stubborn) else [key["selector"] for key in keys]:
        private = open(f"{here}/../keys/{domain}.{selector}.key", "rb").read()
        signed = dkim.sign(raw, selector.encode(), domain.encode(), private, include_headers=[b"from"]) + signed
        selectors.append(selector)
    told.append({"domain": domain, "selectors": selectors, "text": signed.decode(), "problem": ""})
print(json.dumps(told))
"""


class Mailer(Estate):
    """A host with the mailer's keys."""

    def __init__(self, place: Path) -> None:
        super().__init__(place, "mailer", variables={"mailer_dkim_directory": f"{place}/keys"})
        self.program("runuser", SIGN)
        self.do("present", *(Want(name, selector="m1") for name in NAMES))
        self.publish()
        self.play()

    def ready(self) -> working.Work:
        """The work of the switch to the next keys, which are made, published and seen."""
        assert [item["domain"] for item in self.work().make["localhost"]] == list(NAMES)
        self.do("rotated", *(Want(name, selector="m2") for name in NAMES))
        self.publish(self.work().publish)
        self.note(self.work())
        self.now += 100_000
        work = self.work()
        assert len(work.activate["localhost"]) == 2
        return work


@pytest.fixture
def mailer(tmp_path: Path) -> Mailer:
    return Mailer(tmp_path)


def test_what_it_says_of_itself(mailer: Mailer) -> None:
    told = mailer.told()
    assert (told["program"], told["algorithms"], told["queue_lifetimes"]) == ("the mailer", ["rsa", "ed25519"], ["12h"])


def test_the_keys_of_a_mailer_turn(mailer: Mailer) -> None:
    work = mailer.ready()
    mailer.play(work)
    assert (mailer.states("m1"), mailer.states("m2")) == (["retired", "retired"], ["active", "active"])
    mailer.play(work)  # once more
    assert (mailer.states("m1"), mailer.states("m2")) == (["retired", "retired"], ["active", "active"])
    mailer.play()
    assert not mailer.work().activate


def test_one_that_does_not_take_them_goes_back(mailer: Mailer) -> None:
    work = mailer.ready()
    (mailer.place / "bin" / "stubborn").write_text("m1")
    assert "no signature was made with m2" in mailer.play(work, fails=True)
    assert (mailer.states("m1"), mailer.states("m2")) == (["active", "active"], ["retired", "retired"])
    # It is mended: the next keys come, and the others stay published for as long as a message may wait.
    (mailer.place / "bin" / "stubborn").unlink()
    mailer.play()
    assert mailer.states("m1") == ["active", "active"]


@pytest.mark.skipif(os.getuid() != 0, reason="not run: only root gives files away")
def test_the_transformer_may_read_what_the_switch_has_written(mailer: Mailer) -> None:
    for one in (mailer.place / "keys", *(mailer.place / "keys").iterdir()):
        os.chown(one, 0, 1)
    work = mailer.ready()
    mailer.play(work)
    groups = {
        one.name: one.stat().st_gid for one in (mailer.place / "keys").iterdir() if one.suffix in (".key", ".json")
    }
    assert {groups[f"{name}.{kind}"] for name in NAMES for kind in ("json", "m2.key")} == {1}
