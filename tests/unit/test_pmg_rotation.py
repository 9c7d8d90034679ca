# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tasks of the rotation with a gateway, a fake of one: at no time does it sign with a key that is not published.

The tasks run as on a gateway, in a mount namespace of their own with /etc/pmg in it, and programs of the name of a gateway's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _rotation_work as working
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_plan import Want
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_run import Options, ensure
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_store import Access, KeyStore
from ansible_collections.postmaster.mail.plugins.module_utils._rotation import Policy, Sight, plan
from fake_pmg import FakePmg, Said, certificate, serving
from fake_pmg_lists import Dkim
from pmg_gateway import DATA, needs_schema

PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"
NAMES = ("a.example", "b.example")
# Within a namespace of its own: a gateway's folder of keys, which is that of the fake.
ENTER = """
mount -t tmpfs none "$1/etc" && mkdir -p "$1/etc/upper/pmg/dkim" "$1/etc/work"
mount -t overlay none -o "lowerdir=/etc,upperdir=$1/etc/upper,workdir=$1/etc/work" /etc
mount --bind "$2" /etc/pmg/dkim
shift 2
exec "$@"
"""
API = """
import json, ssl, sys, urllib.error, urllib.parse, urllib.request
CONTEXT = ssl._create_unverified_context()
HEADERS = {}

def ask(method, path, **params):
    text = urllib.parse.urlencode(params)
    url = "https://127.0.0.1:PORT/api2/json" + urllib.parse.quote(path) + ("?" + text if text and method == "DELETE" else "")
    body = text.encode() if method in ("POST", "PUT") else None
    request = urllib.request.Request(url, body, HEADERS, method=method)
    return json.load(urllib.request.urlopen(request, context=CONTEXT))["data"]

ticket = ask("POST", "/access/ticket", username="root@pam", password="secret")
HEADERS["Cookie"] = "PMGAuthCookie=" + urllib.parse.quote(ticket["ticket"], safe="")
HEADERS["CSRFPreventionToken"] = ticket["CSRFPreventionToken"]
"""
PMGSH = """
verb, path, *words = sys.argv[1:]
method = {"get": "GET", "create": "POST", "set": "PUT", "delete": "DELETE"}[verb]
try:
    data = ask(method, path, **{word[2:]: text for word, text in zip(words[::2], words[1::2])})
except urllib.error.HTTPError as err:
    sys.exit(err.reason)
print("" if data is None else json.dumps(data))
print("200 OK", file=sys.stderr)
"""
# What has messages signed by the gateway's own code; ``stubborn`` is one that goes on with a selector from before.
SIGN = """
import dkim, os
assert sys.argv[1:6] == ["-u", "pmg-smtp-filter", "--", "perl", "-"] and "PMG::DKIMSign::sign_entity" in sys.stdin.read()
admin, listed, told = ask("GET", "/config/admin"), [one["domain"] for one in ask("GET", "/config/dkim/domains")], []
stubborn = os.path.join(os.path.dirname(sys.argv[0]), "stubborn")
selector = open(stubborn).read() if os.path.exists(stubborn) else admin.get("dkim_selector")
for domain in sys.argv[6:]:
    raw = f"From: a@{domain}\\r\\nTo: b@{domain}\\r\\nSubject: x\\r\\n\\r\\nx\\r\\n".encode()
    signs = admin.get("dkim_sign") and selector and domain in listed
    key = open(f"/etc/pmg/dkim/{selector}.private", "rb").read() if signs else b""
    made = dkim.sign(raw, selector.encode(), domain.encode(), key, include_headers=[b"from"]) if signs else b""
    told.append({"domain": domain, "selectors": [selector] if signs else [], "text": (made + raw).decode(), "problem": ""})
print(json.dumps(told))
"""
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars:
    mail_signer: pmg
    mail_domains: [{name: a.example}, {name: b.example, dkim: {algorithms: [rsa, ed25519]}}]
    pmg_dkim_directory: "{{ place }}/keys"
  tasks:
    - ansible.builtin.include_tasks: tasks/signer_pmg.yml
      vars: {signer_action: describe}
    - ansible.builtin.include_tasks: tasks/pmg_keys.yml
      when: first
    - ansible.builtin.include_tasks: tasks/signer_pmg.yml
      vars: {signer_action: switch, signer_keys: "{{ mail_dkim['keys'] | postmaster.mail.signing_keys }}"}
      when: first and switch
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


@cache
def can_enter() -> bool:
    """Whether this machine lets us mount something in a namespace of our own."""
    script = "mount -t tmpfs none /mnt && mkdir /mnt/u /mnt/w && mount -t overlay none -o lowerdir=/etc,upperdir=/mnt/u,workdir=/mnt/w /etc"
    try:
        return subprocess.run([*unshare(), "sh", "-c", script], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def unshare() -> list[str]:
    return ["unshare", "-m" if os.getuid() == 0 else "-rm"]


class Estate:
    """A gateway, name servers that say what was published, and a clock."""

    def __init__(self, place: Path, fake: FakePmg, port: int) -> None:
        self.place, self.fake, self.now = place, fake, int(time.time())
        self.dkim: Dkim = fake.parts["dkim"]
        self.published: dict[str, str] = {}
        self.wrong: list[str] = []
        shutil.copytree(PLAYBOOKS / "tasks", place / "tasks")
        shutil.copytree(PLAYBOOKS / "files", place / "files")
        (place / "tasks" / "keys_need.yml").write_text("---\n[]\n")
        (place / "play.yml").write_text(PLAY)
        for folder in ("bin", "etc"):
            (place / folder).mkdir()
        head = f"#!{sys.executable}\n"
        api = head + API.replace("PORT", str(port))
        for name, text in {
            "pmgsh": api + PMGSH,
            "runuser": api + SIGN,
            "postconf": head + "print('5d\\n1')\n",
            "systemctl": head + "print('pmg-smtp-filter')\n",
        }.items():
            (place / "bin" / name).write_text(text)
            (place / "bin" / name).chmod(0o755)
        handle = fake.handle

        def watched(*given: Any, **options: Any) -> Said | None:
            said = handle(*given, **options)
            self.judge()
            return said

        fake.handle = watched  # type: ignore[method-assign]

    def judge(self) -> None:
        """Note what the gateway would sign with now that nobody can verify."""
        admin, listed = self.fake.sections["admin"], self.fake.lists["/config/dkim/domains"]
        for domain in listed if admin.get("dkim_sign") else ():
            name = f"{admin['dkim_selector']}._domainkey.{domain}."
            if self.dkim.public(admin["dkim_selector"]) not in self.published.get(name, ""):
                self.wrong.append(name)

    def play(
        self, work: working.Work | None = None, *, first: bool = False, switch: bool = False, fails: bool = False
    ) -> str:
        extra = {
            "ansible_python_interpreter": sys.executable, "place": str(self.place), "first": first, "switch": switch,
            "rotate_plan": {"work": asdict(work or working.Work())},
        }  # fmt: skip
        playbook = [
            str(Path(sys.executable).parent / "ansible-playbook"),
            "-i",
            "localhost,",
            "-e",
            json.dumps(extra),
            "play.yml",
        ]
        environment = {
            **os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "false", "PATH": f"{self.place}/bin:{os.environ['PATH']}",
        }  # fmt: skip
        command = [*unshare(), "sh", "-ec", ENTER, "enter", str(self.place), str(self.dkim.folder), *playbook]
        done = subprocess.run(command, cwd=self.place, env=environment, capture_output=True, text=True, check=False)
        self.judge()
        assert (done.returncode != 0) is fails, done.stdout[-4000:] + done.stderr[-1000:]
        return done.stdout

    @property
    def store(self) -> KeyStore:
        return KeyStore(str(self.place / "keys"), Access())

    def do(self, state: str, *wants: Want) -> None:
        ensure(self.store, wants, Options(state=state, now=working.show_time(self.now)))

    def keys(self) -> list[dict[str, Any]]:
        options = Options(state="present", check=True, now=working.show_time(self.now))
        return list(ensure(self.store, [Want(name) for name in NAMES], options).keys)

    def publish(self, records: list[dict[str, Any]]) -> None:
        for record in records:
            if record.get("state") == "absent":
                self.published.pop(record["name"], None)
            else:
                self.published[record["name"]] = record["value"]

    def work(self) -> working.Work:
        """What is next, by what the tasks told of the gateway."""
        (told,) = json.loads((self.place / "told.json").read_text())
        signers = working.signers([{**told, "keys": self.keys(), "time": ""}], now=self.now)
        described = working.domains([{"name": name} for name in NAMES])
        names = [f"{key['selector']}._domainkey.{key['domain']}." for key in self.keys()]
        seen = {name: [Sight("ns1", (self.published[name],) if name in self.published else ())] for name in names}
        policy = Policy(rotate_now=True, settle=100)
        return working.work(plan(signers, described, seen, now=self.now, policy=policy), signers, described)

    def state(self, selector: str) -> list[str]:
        return [key["state"] for key in self.keys() if key["selector"] == selector]


@pytest.fixture
def estate(tmp_path: Path) -> Iterator[Estate]:
    fake = FakePmg(json.loads((DATA / "pmg_api_schema.json").read_text())["methods"])
    with serving(fake, certificate(tmp_path)) as port:
        yield Estate(tmp_path, fake, port)


needs_namespace = pytest.mark.skipif(not can_enter(), reason="not run: no mount namespaces here")


def begin(estate: Estate, *, signs_for: list[str]) -> str:
    """One key for both domains, published before the gateway hears of it; its selector."""
    domains = estate.fake.lists["/config/dkim/domains"]
    estate.play(first=True)
    keys = estate.keys()
    (selector,) = {key["selector"] for key in keys}
    assert [key["state"] for key in keys] == ["active", "active"] and len({key["public_key"] for key in keys}) == 1
    assert sorted(domains) == signs_for
    estate.publish([key["record"] for key in keys])
    estate.play(first=True, switch=True)
    assert (estate.fake.sections["admin"], sorted(domains)) == (
        {"dkim_selector": selector, "dkim_sign": 1},
        list(NAMES),
    )
    return str(selector)


@needs_schema
@needs_namespace
def test_a_gateway_keeps_the_key_that_it_made_itself(estate: Estate) -> None:
    """And the second domain has the same."""
    estate.dkim._set("own", 2048, False)
    estate.fake.sections["admin"] = {"dkim_selector": "own", "dkim_sign": 1}
    estate.fake.lists["/config/dkim/domains"] = {"a.example": {}}
    estate.publish(
        [{"name": "own._domainkey.a.example.", "value": f"v=DKIM1; h=sha256; k=rsa; p={estate.dkim.public('own')}"}]
    )
    assert begin(estate, signs_for=["a.example"]) == "own"
    assert (estate.wrong, estate.dkim.made) == ([], 1)


@needs_schema
@needs_namespace
def test_the_key_of_a_gateway_turns(estate: Estate) -> None:
    first, admin = begin(estate, signs_for=[]), estate.fake.sections["admin"]

    # The next: made for one domain, brought to the other, published, waited for, and signed with.
    assert [item["domain"] for item in estate.work().make["localhost"]] == ["a.example"]
    estate.do("rotated", Want("a.example", selector="next"))
    estate.play(estate.work())
    assert estate.state("next") == ["pending", "pending"] and admin["dkim_selector"] == first
    assert not (estate.dkim.file("next")).exists()
    publishing = estate.work()
    assert len(publishing.publish) == 2 and not publishing.activate
    estate.publish(publishing.publish)
    for item in (noted := estate.work()).notes["localhost"]:
        estate.do("present", Want(item["domain"], selector=item["selector"], published=item["published"]))
    assert not noted.activate and not estate.work().activate  # caches may hold that there is none
    estate.now += 4000
    switching = estate.work()
    assert len(switching.activate["localhost"]) == 2

    # One that goes on with the key from before is taken back, and its manifests say so.
    (estate.place / "bin" / "stubborn").write_text(first)
    assert "no signature was made with next" in estate.play(switching, fails=True)
    assert (estate.fake.sections["admin"]["dkim_selector"], estate.state("next")) == (first, ["pending", "pending"])
    (estate.place / "bin" / "stubborn").unlink()
    estate.play(estate.work())
    assert estate.fake.sections["admin"]["dkim_selector"] == "next"
    assert (estate.state(first), estate.state("next")) == (["retired", "retired"], ["active", "active"])
    assert estate.dkim.file("next").read_bytes() == (estate.place / "keys" / "a.example.next.key").read_bytes()
    # The record of the key from before stays; nothing is due.
    assert not estate.work().any and f"{first}._domainkey.b.example." in estate.published
    assert estate.wrong == []


@needs_schema
@needs_namespace
def test_it_would_be_seen(estate: Estate) -> None:
    """The judge of the tests above: a gateway that is told too early."""
    estate.play(first=True, switch=True)
    assert {name.partition("._domainkey.")[2] for name in estate.wrong} == {"a.example.", "b.example."}
