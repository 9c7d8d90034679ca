# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tasks of the rotation with a signer that is none of the relay role's: a file says with which key it signs.

It has one key for all its domains, as a gateway may; docs/keys.md tells what signer_<kind>.yml takes and gives.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from _rotation_estate import NAMES, Estate
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_plan import Want

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


class Gate(Estate):
    """A host with such a signer, which signs with one key for both domains."""

    def __init__(self, place: Path) -> None:
        super().__init__(place, "file")
        (place / "tasks" / "signer_file.yml").write_text(SIGNER)
        (place / "sign.py").write_text(SIGN)
        self.do("present", Want(NAMES[0], selector="g1"))
        shutil.copy(place / "keys" / "a.example.g1.key", place / "keys" / "b.example.g1.key")
        self.do("present", Want(NAMES[1], selector="g1"))
        paths = [{"domain": name, "selector": "g1", "path": f"{place}/keys/{name}.g1.key"} for name in NAMES]
        (place / "signer.json").write_text(json.dumps(paths))
        self.play()

    def signs_with(self) -> list[tuple[str, str]]:
        return [(key["domain"], key["selector"]) for key in json.loads((self.place / "signer.json").read_text())]


def test_a_key_for_all_domains_turns(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    gate.publish()
    assert gate.told()["one_key"] is True
    assert [item["domain"] for item in gate.work().make["localhost"]] == ["a.example"]
    gate.do("rotated", Want("a.example", selector="g2"))
    gate.publish()
    brought = gate.work()
    assert [item["domain"] for item in brought.bring["localhost"]] == ["b.example"] and not brought.activate
    gate.play(brought)
    keys = [(tmp_path / "keys" / f"{domain}.g2.key").read_bytes() for domain in NAMES]
    assert keys[0] == keys[1] and gate.states("g2") == ["pending", "pending"]
    gate.publish()
    gate.note(gate.work())
    gate.now += 10
    switching = gate.work()
    new, old = [("a.example", "g2"), ("b.example", "g2")], [("a.example", "g1"), ("b.example", "g1")]
    # A signer that does not take it is back where it was, and its manifests say so.
    (tmp_path / "signer.json").write_text(json.dumps(switching.current["localhost"]))
    shutil.copy(tmp_path / "signer.json", tmp_path / "stubborn.json")
    assert "no signature was made with g2" in gate.play(switching, fails=True)
    assert gate.signs_with() == old
    (tmp_path / "stubborn.json").unlink()
    gate.play(switching)
    assert gate.signs_with() == new
    assert (gate.states("g1"), gate.states("g2")) == (["retired", "retired"], ["active", "active"])
