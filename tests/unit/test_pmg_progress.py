# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A long list of a gateway is written with a word on how far it is, and else nothing is different."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _pmg_run
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Session
from ansible_collections.postmaster.mail.plugins.plugin_utils._pmg_progress import together
from fake_pmg import certificate
from pmg_gateway import gateway_of, needs_schema

COUNT = 60
PLAY = """
- hosts: gateway
  connection: local
  gather_facts: false
  module_defaults:
    group/postmaster.mail.pmg: {api_host: 127.0.0.1, api_port: PORT, ca_path: "PEM", api_password: secret}
  vars:
    wanted: WANTED
  tasks:
    - postmaster.mail.pmg_network: {networks: "{{ wanted }}", purge: true}
      check_mode: true
      register: foreseen
    - postmaster.mail.pmg_network: {networks: "{{ wanted }}", purge: true}
      register: done
    - postmaster.mail.pmg_network: {networks: "{{ wanted }}", purge: true}
      register: again
    - postmaster.mail.pmg_network: {state: absent, networks: "{{ wanted[:30] }}", progress: 0}
      register: quiet
    - postmaster.mail.pmg_network: {networks: "{{ wanted }}", purge: true}
      async: 60
      poll: 1
      register: background
    - ansible.builtin.copy:
        content: "{{ [foreseen, done, again, quiet, background] | to_json }}"
        dest: "PLACE/told.json"
        mode: "0600"
"""


@needs_schema
def test_it_says_how_far_it_is(tmp_path: Path) -> None:
    with gateway_of("9.1", certificate(tmp_path)) as gateway:
        gateway.networks = {f"198.51.100.{number}/32": "" for number in range(5)}
        wanted = json.dumps([{"cidr": f"192.0.2.{number}", "comment": "host"} for number in range(COUNT)])
        text = PLAY
        for name, value in {
            "PORT": str(gateway.port),
            "PEM": gateway.ca_path,
            "PLACE": str(tmp_path),
            "WANTED": wanted,
        }.items():
            text = text.replace(name, value)
        (tmp_path / "play.yml").write_text(text)
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "gateway,", "-D", "-vvv", "play.yml"]
        environment = {
            **os.environ,
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "True",
            "ANSIBLE_REMOTE_TMP": str(tmp_path / "remote"),
        }
        extra = ["-e", json.dumps({"ansible_python_interpreter": sys.executable})]
        done = subprocess.run(
            [*command, *extra], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
        said = [line for line in done.stdout.splitlines() if "changes are done" in line]
        assert said == ["[gateway] 25 of 65 changes are done", "[gateway] 50 of 65 changes are done"]
        foreseen, first, again, quiet, background = json.loads((tmp_path / "told.json").read_text())
        # As if all had been done at once, but for two more looks.
        for name in ("changed", "changed_entries", "entries", "diff"):
            assert foreseen[name] == first[name]
        assert (len(first["changed_entries"]), first["requests"], "left" in first) == (65, 65 + 3, False)
        assert (again["changed"], again["requests"]) == (False, 1)
        assert (len(quiet["changed_entries"]), quiet["requests"]) == (30, 31)
        assert (len(background["changed_entries"]), background["requests"]) == (30, 31)
        # One login each, however many slices there are, and nobody is told the ticket.
        assert (gateway.fake.logins, len(gateway.networks)) == (5, COUNT)
        shown = done.stdout + done.stderr + (tmp_path / "told.json").read_text()
        assert not [ticket for ticket in gateway.fake.tickets if ticket in shown or quote(ticket, safe="") in shown]
        assert [*(tmp_path / "remote").rglob("*session*")] == []


@needs_schema
@pytest.mark.parametrize("fault", ["596 after", "drop before"])
def test_a_slice_ends_where_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Also where answers are lost; what is told is what was done."""
    monkeypatch.setattr(_pmg_run, "WAITS", (0, 0, 0))
    with gateway_of("9.1", certificate(tmp_path)) as gateway:
        wanted = [{"cidr": f"192.0.2.{number}"} for number in range(5)]
        gateway.fake.faults.extend(["", fault])
        told = gateway.run(networks=wanted, progress=3)
        assert (told["left"], len(told["changed_entries"]), sorted(gateway.networks)) == (2, 3, told["changed_entries"])
        assert [entry["cidr"] for entry in told["entries"]] == told["changed_entries"]
        last = gateway.run(networks=wanted, progress=3)
        assert ("left" in last, len(gateway.networks)) == (False, 5)
        assert gateway.fake.count("POST") == 5 + (fault == "drop before")


HEADERS = {"Cookie": "PMGAuthCookie=x", "CSRFPreventionToken": "y"}


def test_a_ticket_is_handed_on_once(tmp_path: Path) -> None:
    session = Session(str(tmp_path))
    for whose, taken in (("root@pam https://a", HEADERS), ("root@pam https://b", {})):
        session.leave("root@pam https://a", HEADERS)
        (file,) = tmp_path.iterdir()
        assert file.stat().st_mode & 0o777 == 0o600
        assert Session(str(tmp_path)).take(whose) == taken
        assert [*tmp_path.iterdir()] == []
        assert session.take("root@pam https://a") == {}


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'["a"]', b"\xff\xfe", b"null"])
def test_what_is_no_session_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pmg-session").write_bytes(content)
    assert Session(str(tmp_path)).take("a") == {}
    assert [*tmp_path.iterdir()] == []


def test_no_session_goes_where_somebody_else_would_have_it(tmp_path: Path) -> None:
    """Neither through a link nor into a file that is there, and a directory that is none costs a login."""
    theirs, mine = tmp_path / "theirs", tmp_path / "mine"
    theirs.write_text(json.dumps(["a", HEADERS]))
    theirs.chmod(0o666)
    mine.mkdir()
    (mine / "pmg-session").symlink_to(theirs)
    assert Session(str(mine)).take("a") == {}
    (mine / "pmg-session").hardlink_to(theirs)
    Session(str(mine)).leave("b", HEADERS)
    assert Session(str(mine)).take("b") == HEADERS
    assert json.loads(theirs.read_text()) == ["a", HEADERS]
    Session(str(tmp_path / "nowhere")).leave("a", HEADERS)
    assert Session(str(tmp_path / "nowhere")).take("a") == {}


def result(*keys: str, **more: Any) -> dict[str, Any]:
    return {
        "changed": True,
        "changed_entries": list(keys),
        "requests": 1 + len(keys),
        "diff": {"before": "", "after": "".join(keys)},
        **more,
    }


def test_slices_are_told_as_one() -> None:
    told = together([result("a", "b", left=1), result("c", changed=True)])
    assert told == {
        "changed": True,
        "changed_entries": ["a", "b", "c"],
        "requests": 5,
        "diff": {"before": "", "after": "c"},
    }
    failed = together(
        [result("a", "b", left=1), {"failed": True, "msg": "the network c: no (0 of 1 changes are done)"}]
    )
    assert (failed["changed"], failed["msg"]) == (True, "the network c: no (0 of 1 changes are done) (after 2 others)")
    assert together([{"failed": True, "msg": "no"}]) == {"failed": True, "msg": "no"}
