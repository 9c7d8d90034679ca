# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host on which the tasks of the rotation run as ansible-playbook runs them, with name servers and a clock of ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _rotation_work as working
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_plan import Want
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_run import Options, ensure
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_store import Access, KeyStore
from ansible_collections.postmaster.mail.plugins.module_utils._rotation import Policy, Sight, plan

NAMES = ("a.example", "b.example")
PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars: {variables}
  tasks:
    - ansible.builtin.include_tasks: tasks/signer_{kind}.yml
      vars: {{signer_action: describe}}
{more}
    - ansible.builtin.include_tasks: tasks/bring_keys.yml
      vars: {{bring_keys: "{{{{ rotate_plan.work.bring.localhost }}}}", bring_directory: "{{{{ signer_facts.directory }}}}", bring_state: rotated}}
      when: rotate_plan.work.bring | length > 0
    - ansible.builtin.include_tasks: tasks/rotate_switch.yml
      when: rotate_plan.work.activate | length > 0
    - ansible.builtin.import_tasks: tasks/rotate_proof.yml
    - ansible.builtin.copy:
        content: "{{{{ ['localhost'] | postmaster.mail.rotation_signers(hostvars, reached=['localhost']) | to_json }}}}"
        dest: "{{{{ place }}}}/told.json"
        mode: "0600"
"""


class Estate:
    """Two domains, their keys in ``place``/keys, and what is published of them."""

    settle = 0  # seconds that a record is visible before it counts

    def __init__(self, place: Path, kind: str, *, variables: dict[str, Any] | None = None, more: str = "") -> None:
        self.place, self.now = place, int(time.time())
        self.published: dict[str, str] = {}
        self.store = KeyStore(str(place / "keys"), Access())
        for folder in ("tasks", "files"):
            shutil.copytree(PLAYBOOKS / folder, place / folder)
        (place / "bin").mkdir()
        described = {"mail_signer": kind, "mail_domains": [{"name": name} for name in NAMES], **(variables or {})}
        (place / "play.yml").write_text(PLAY.format(variables=json.dumps(described), kind=kind, more=more))

    def program(self, name: str, text: str) -> None:
        """A Python program that the tasks find in their PATH."""
        path = self.place / "bin" / name
        path.write_text(f"#!{sys.executable}\n{text}")
        path.chmod(0o755)

    def do(self, state: str, *wants: Want) -> None:
        ensure(self.store, wants, Options(state=state, now=working.show_time(self.now)))

    def keys(self) -> list[dict[str, Any]]:
        options = Options(state="present", check=True, now=working.show_time(self.now))
        return list(ensure(self.store, [Want(name) for name in NAMES], options).keys)

    def states(self, selector: str) -> list[str]:
        return [key["state"] for key in self.keys() if key["selector"] == selector]

    def publish(self, records: Sequence[dict[str, Any]] = ()) -> None:
        """Publish the records, by default those of all keys."""
        for record in records or [key["record"] for key in self.keys()]:
            if record.get("state") == "absent":
                self.published.pop(record["name"], None)
            else:
                self.published[record["name"]] = record["value"]

    def play(
        self,
        work: working.Work | None = None,
        *,
        fails: bool = False,
        within: Sequence[str] = (),
        extra: dict[str, Any] | None = None,
    ) -> str:
        """Run the tasks, by the program ``within`` if one is given, and return what was said."""
        variables = {
            "ansible_python_interpreter": sys.executable, "place": str(self.place),
            "rotate_plan": {"work": asdict(work or working.Work())}, **(extra or {}),
        }  # fmt: skip
        program = str(Path(sys.executable).parent / "ansible-playbook")
        command = [*within, program, "-i", "localhost,", "-e", json.dumps(variables), "play.yml"]
        environment = {
            **os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "false", "PATH": f"{self.place}/bin:{os.environ['PATH']}",
        }  # fmt: skip
        done = subprocess.run(command, cwd=self.place, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode != 0) is fails, done.stdout[-4000:] + done.stderr[-1000:]
        return done.stdout

    def told(self) -> dict[str, Any]:
        """What the tasks handed over when they ran last."""
        (told,) = json.loads((self.place / "told.json").read_text())
        return dict(told)

    def work(self) -> working.Work:
        """What is next, by what the tasks told of the host, its keys and what is published now."""
        keys = self.keys()
        signers = working.signers([{**self.told(), "keys": keys, "time": ""}], now=self.now)
        described = working.domains([{"name": name} for name in NAMES])
        names = [f"{key['selector']}._domainkey.{key['domain']}." for key in keys]
        seen = {name: [Sight("ns1", (self.published[name],) if name in self.published else ())] for name in names}
        policy = Policy(rotate_now=True, settle=self.settle)
        return working.work(plan(signers, described, seen, now=self.now, policy=policy), signers, described)

    def note(self, work: working.Work) -> None:
        """Write into the manifests since when the records are visible."""
        noted = work.notes["localhost"]
        self.do(
            "present", *(Want(item["domain"], selector=item["selector"], published=item["published"]) for item in noted)
        )
