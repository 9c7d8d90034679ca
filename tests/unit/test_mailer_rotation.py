# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tasks of the rotation with the mailer: it signs with what the manifests call active, and reads them when they change."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _rotation_work as working
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_plan import Want
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_run import Options, ensure
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_store import Access, KeyStore
from ansible_collections.postmaster.mail.plugins.module_utils._rotation import Policy, Sight, plan

NAMES = ("a.example", "b.example")
TASKS = Path(__file__).resolve().parents[2] / "playbooks" / "tasks"
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
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars:
    mail_signer: mailer
    mail_domains: [{name: a.example}, {name: b.example}]
    mailer_dkim_directory: "{{ place }}/keys"
  tasks:
    - ansible.builtin.include_tasks: tasks/signer_mailer.yml
      vars: {signer_action: describe}
    - ansible.builtin.include_tasks: tasks/rotate_switch.yml
      when: rotate_plan.work.activate | length > 0
    - ansible.builtin.import_tasks: tasks/rotate_proof.yml
    - ansible.builtin.copy:
        content: "{{ ['localhost'] | postmaster.mail.rotation_signers(hostvars, reached=['localhost']) | to_json }}"
        dest: "{{ place }}/told.json"
        mode: "0600"
"""


class Mailer:
    """A host with the mailer's keys, name servers that say what was published, and a clock."""

    def __init__(self, place: Path) -> None:
        self.place, self.now = place, 1_800_000_000
        self.published: dict[str, str] = {}
        shutil.copytree(TASKS, place / "tasks")
        (place / "play.yml").write_text(PLAY)
        (place / "bin").mkdir()
        (place / "bin" / "runuser").write_text(f"#!{sys.executable}\n{SIGN}")
        (place / "bin" / "runuser").chmod(0o755)
        self.store = KeyStore(str(place / "keys"), Access())
        self.do("present", *(Want(name, selector="m1") for name in NAMES))
        self.publish([dict(key["record"]) for key in self.keys()])
        self.play()

    def do(self, state: str, *wants: Want) -> None:
        ensure(self.store, wants, Options(state=state, now=working.show_time(self.now)))

    def keys(self) -> list[dict[str, Any]]:
        options = Options(state="present", check=True, now=working.show_time(self.now))
        return list(ensure(self.store, [Want(name) for name in NAMES], options).keys)

    def states(self, selector: str) -> list[str]:
        return [key["state"] for key in self.keys() if key["selector"] == selector]

    def publish(self, records: list[dict[str, Any]]) -> None:
        for record in records:
            self.published[record["name"]] = record["value"]

    def play(self, work: working.Work | None = None, *, fails: bool = False) -> str:
        extra = {
            "ansible_python_interpreter": sys.executable,
            "place": str(self.place),
            "rotate_plan": {"work": asdict(work or working.Work())},
        }
        program = str(Path(sys.executable).parent / "ansible-playbook")
        environment = {
            **os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "false", "PATH": f"{self.place}/bin:{os.environ['PATH']}",
        }  # fmt: skip
        command = [program, "-i", "localhost,", "-e", json.dumps(extra), "play.yml"]
        done = subprocess.run(command, cwd=self.place, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode != 0) is fails, done.stdout[-4000:] + done.stderr[-1000:]
        return done.stdout

    def told(self) -> dict[str, Any]:
        (told,) = json.loads((self.place / "told.json").read_text())
        return dict(told)

    def work(self) -> working.Work:
        """What is next, by what the tasks told of the host."""
        signers = working.signers([{**self.told(), "keys": self.keys(), "time": ""}], now=self.now)
        described = working.domains([{"name": name} for name in NAMES])
        names = [f"{key['selector']}._domainkey.{key['domain']}." for key in self.keys()]
        seen = {name: [Sight("ns1", (self.published[name],) if name in self.published else ())] for name in names}
        policy = Policy(rotate_now=True, settle=0)
        return working.work(plan(signers, described, seen, now=self.now, policy=policy), signers, described)

    def ready(self) -> working.Work:
        """The work of the switch to the next keys, which are made, published and seen."""
        assert [item["domain"] for item in self.work().make["localhost"]] == list(NAMES)
        self.do("rotated", *(Want(name, selector="m2") for name in NAMES))
        self.publish(self.work().publish)
        for item in self.work().notes["localhost"]:
            self.do("present", Want(item["domain"], selector=item["selector"], published=item["published"]))
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
