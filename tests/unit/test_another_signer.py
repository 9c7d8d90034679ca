# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tasks of the rotation with a signer that is none of the relay role's: a file says with which key it signs.

It has one key for all its domains, as a gateway may; docs/keys.md tells what signer_<kind>.yml takes and gives.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _rotation_work as working
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_plan import Want
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_run import Options, ensure
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_store import Access, KeyStore
from ansible_collections.postmaster.mail.plugins.module_utils._rotation import Policy, Sight, plan

DOMAINS = ("a.example", "b.example")
TASKS = Path(__file__).resolve().parents[2] / "playbooks" / "tasks"
SIGNER = """
- name: Describe it
  ansible.builtin.set_fact:
    signer_facts: {program: the file, algorithms: [rsa], directory: "{{ place }}/keys", queue_lifetimes: [1d], one_key: true}
  when: signer_action == 'describe'
- name: Switch it
  ansible.builtin.copy:
    content: "{{ signer_keys | to_json }}"
    dest: "{{ place }}/signer.json"
    mode: "0600"
  when: signer_action == 'switch'
- name: Have it sign
  ansible.builtin.command: {argv: ["{{ ansible_playbook_python }}", "{{ place }}/sign.py", "{{ place }}/signer.json"]}
  register: file_signed
  changed_when: false
  check_mode: false
  when: signer_action == 'prove'
- name: Hand over what it signed
  ansible.builtin.set_fact:
    signer_signed: "{{ file_signed.stdout | from_json }}"
  when: signer_action == 'prove'
"""
# What it is told; ``stubborn`` is a signer that goes on with the key it has read once.
SIGN = """
import json, os, sys
import dkim
keys = json.load(open(sys.argv[1])) if os.path.exists(sys.argv[1]) else []
old = os.path.join(os.path.dirname(sys.argv[1]), "stubborn.json")
keys = json.load(open(old)) if os.path.exists(old) else keys
told = []
for key in keys:
    raw = f"From: a@{key['domain']}\\r\\nTo: b@{key['domain']}\\r\\nSubject: x\\r\\n\\r\\nx\\r\\n".encode()
    made = dkim.sign(raw, key["selector"].encode(), key["domain"].encode(), open(key["path"], "rb").read(), include_headers=[b"from"])
    told.append({"domain": key["domain"], "selectors": [key["selector"]], "text": (made + raw).decode(), "problem": ""})
print(json.dumps(told))
"""
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars:
    mail_signer: file
    mail_domains: [{name: a.example}, {name: b.example}]
  tasks:
    - ansible.builtin.include_tasks: tasks/signer_file.yml
      vars: {signer_action: describe}
    - ansible.builtin.include_tasks: tasks/bring_keys.yml
      vars: {bring_keys: "{{ rotate_plan.work.bring.localhost }}", bring_directory: "{{ signer_facts.directory }}", bring_state: rotated}
      when: rotate_plan.work.bring | length > 0
    - ansible.builtin.include_tasks: tasks/rotate_switch.yml
      when: rotate_plan.work.activate | length > 0
    - ansible.builtin.import_tasks: tasks/rotate_proof.yml
    - ansible.builtin.copy:
        content: "{{ ['localhost'] | postmaster.mail.rotation_signers(hostvars, reached=['localhost']) | to_json }}"
        dest: "{{ place }}/told.json"
        mode: "0600"
"""


class Gate:
    """A host with such a signer, and a world in which every name server says what it should."""

    def __init__(self, place: Path) -> None:
        self.place, self.now, self.described = (
            place,
            1_800_000_000,
            working.domains([{"name": name} for name in DOMAINS]),
        )
        shutil.copytree(TASKS, place / "tasks")
        (place / "tasks" / "signer_file.yml").write_text(SIGNER)
        (place / "sign.py").write_text(SIGN)
        (place / "play.yml").write_text(PLAY)
        self.store = KeyStore(str(place / "keys"), Access())
        self.do("present", Want(DOMAINS[0], selector="g1"))
        shutil.copy(place / "keys" / "a.example.g1.key", place / "keys" / "b.example.g1.key")
        self.do("present", Want(DOMAINS[1], selector="g1"))
        paths = [{"domain": name, "selector": "g1", "path": f"{place}/keys/{name}.g1.key"} for name in DOMAINS]
        (place / "signer.json").write_text(json.dumps(paths))
        first = self.play()
        assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-1000:]

    def do(self, state: str, *wants: Want) -> None:
        ensure(self.store, wants, Options(state=state, now=working.show_time(self.now)))

    def play(self, work: working.Work | None = None) -> subprocess.CompletedProcess[str]:
        extra = {
            "ansible_python_interpreter": sys.executable,
            "place": str(self.place),
            "rotate_plan": {"work": asdict(work or working.Work())},
        }
        command = [
            str(Path(sys.executable).parent / "ansible-playbook"),
            "-i",
            "localhost,",
            "-e",
            json.dumps(extra),
            "play.yml",
        ]
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "false"}
        return subprocess.run(command, cwd=self.place, env=environment, capture_output=True, text=True, check=False)

    def told(self) -> list[dict[str, Any]]:
        """What the tasks handed over at first, with the keys as they are now."""
        given: list[dict[str, Any]] = json.loads((self.place / "told.json").read_text())
        options = Options(state="present", check=True, now=working.show_time(self.now))
        return [{**given[0], "keys": ensure(self.store, [Want(name) for name in DOMAINS], options).keys}]

    def work(self) -> working.Work:
        """What is next, by what the tasks told of the host."""
        signers = working.signers([{**one, "time": ""} for one in self.told()], now=self.now)
        seen = {f"{key.selector}._domainkey.{key.domain}.": [Sight("ns1", (key.record,))] for key in signers[0].keys}
        policy = Policy(rotate_now=True, settle=0)
        return working.work(plan(signers, self.described, seen, now=self.now, policy=policy), signers, self.described)

    def states(self) -> dict[tuple[str, str], str]:
        return {(key["domain"], key["selector"]): key["state"] for key in self.told()[0]["keys"]}

    def signs_with(self) -> list[tuple[str, str]]:
        return [(key["domain"], key["selector"]) for key in json.loads((self.place / "signer.json").read_text())]


def test_a_key_for_all_domains_turns(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    assert gate.told()[0]["one_key"] is True
    made = gate.work().make["localhost"]
    assert [item["domain"] for item in made] == ["a.example"]
    gate.do("rotated", Want("a.example", selector="g2"))
    brought = gate.work()
    assert [item["domain"] for item in brought.bring["localhost"]] == ["b.example"] and not brought.activate
    assert gate.play(brought).returncode == 0
    keys = [(tmp_path / "keys" / f"{domain}.g2.key").read_bytes() for domain in DOMAINS]
    assert keys[0] == keys[1] and gate.states()["b.example", "g2"] == "pending"
    noted = gate.work().notes["localhost"]
    gate.do(
        "present", *(Want(item["domain"], selector=item["selector"], published=item["published"]) for item in noted)
    )
    gate.now += 10
    switching = gate.work()
    new, old = [("a.example", "g2"), ("b.example", "g2")], [("a.example", "g1"), ("b.example", "g1")]
    # A signer that does not take it is back where it was, and its manifests say so.
    (tmp_path / "signer.json").write_text(json.dumps(switching.current["localhost"]))
    shutil.copy(tmp_path / "signer.json", tmp_path / "stubborn.json")
    refused = gate.play(switching)
    assert refused.returncode != 0 and "no signature was made with g2" in refused.stdout
    assert gate.signs_with() == old
    (tmp_path / "stubborn.json").unlink()
    done = gate.play(switching)
    assert done.returncode == 0, done.stdout[-3000:]
    assert gate.signs_with() == new
    assert gate.states() == {**dict.fromkeys(old, "retired"), **dict.fromkeys(new, "active")}
