# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tasks of the rotation with a gateway, a fake of one: at no time does it sign with a key that is not published.

The tasks run as on a gateway, in a mount namespace of their own with /etc/pmg in it, and programs of the name of a gateway's.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from _rotation_estate import NAMES, Estate
from ansible_collections.postmaster.mail.plugins.module_utils import _rotation_work as working
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_plan import Want
from fake_pmg import FakePmg, Said, certificate, serving
from fake_pmg_lists import Dkim
from pmg_gateway import DATA, needs_schema

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
FIRST = """
    - ansible.builtin.include_tasks: tasks/pmg_keys.yml
      when: first
    - ansible.builtin.include_tasks: tasks/signer_pmg.yml
      vars: {signer_action: switch, signer_keys: "{{ mail_dkim['keys'] | postmaster.mail.signing_keys }}"}
      when: first and switch
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


class Node(Estate):
    """A gateway, and a judge of what it signs with."""

    settle = 100

    def __init__(self, place: Path, fake: FakePmg, port: int) -> None:
        described = [{"name": NAMES[0]}, {"name": NAMES[1], "dkim": {"algorithms": ["rsa", "ed25519"]}}]
        variables = {"mail_domains": described, "pmg_dkim_directory": f"{place}/keys"}
        super().__init__(place, "pmg", variables=variables, more=FIRST)
        self.fake = fake
        self.dkim: Dkim = fake.parts["dkim"]
        self.wrong: list[str] = []
        (place / "tasks" / "keys_need.yml").write_text("---\n[]\n")
        (place / "etc").mkdir()
        api = API.replace("PORT", str(port))
        self.program("pmgsh", api + PMGSH)
        self.program("runuser", api + SIGN)
        self.program("postconf", "print('5d\\n1')\n")
        self.program("systemctl", "print('pmg-smtp-filter')\n")
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

    def run(
        self, work: working.Work | None = None, *, first: bool = False, switch: bool = False, fails: bool = False
    ) -> str:
        enter = [*unshare(), "sh", "-ec", ENTER, "enter", str(self.place), str(self.dkim.folder)]
        said = self.play(work, fails=fails, within=enter, extra={"first": first, "switch": switch})
        self.judge()
        return said


@pytest.fixture
def estate(tmp_path: Path) -> Iterator[Node]:
    fake = FakePmg(json.loads((DATA / "pmg_api_schema.json").read_text())["methods"])
    with serving(fake, certificate(tmp_path)) as port:
        yield Node(tmp_path, fake, port)


needs_namespace = pytest.mark.skipif(not can_enter(), reason="not run: no mount namespaces here")


def begin(estate: Node, *, signs_for: list[str]) -> str:
    """One key for both domains, published before the gateway hears of it; its selector."""
    domains = estate.fake.lists["/config/dkim/domains"]
    estate.run(first=True)
    keys = estate.keys()
    (selector,) = {key["selector"] for key in keys}
    assert [key["state"] for key in keys] == ["active", "active"] and len({key["public_key"] for key in keys}) == 1
    assert sorted(domains) == signs_for
    estate.publish([key["record"] for key in keys])
    estate.run(first=True, switch=True)
    assert (estate.fake.sections["admin"], sorted(domains)) == (
        {"dkim_selector": selector, "dkim_sign": 1},
        list(NAMES),
    )
    return str(selector)


@needs_schema
@needs_namespace
def test_a_gateway_keeps_the_key_that_it_made_itself(estate: Node) -> None:
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
def test_the_key_of_a_gateway_turns(estate: Node) -> None:
    first, admin = begin(estate, signs_for=[]), estate.fake.sections["admin"]

    # The next: made for one domain, brought to the other, published, waited for, and signed with.
    assert [item["domain"] for item in estate.work().make["localhost"]] == ["a.example"]
    estate.do("rotated", Want("a.example", selector="next"))
    estate.run(estate.work())
    assert estate.states("next") == ["pending", "pending"] and admin["dkim_selector"] == first
    assert not (estate.dkim.file("next")).exists()
    publishing = estate.work()
    assert len(publishing.publish) == 2 and not publishing.activate
    estate.publish(publishing.publish)
    estate.note(noted := estate.work())
    assert not noted.activate and not estate.work().activate  # caches may hold that there is none
    estate.now += 4000
    switching = estate.work()
    assert len(switching.activate["localhost"]) == 2

    # One that goes on with the key from before is taken back, and its manifests say so.
    (estate.place / "bin" / "stubborn").write_text(first)
    assert "no signature was made with next" in estate.run(switching, fails=True)
    assert (estate.fake.sections["admin"]["dkim_selector"], estate.states("next")) == (first, ["pending", "pending"])
    (estate.place / "bin" / "stubborn").unlink()
    estate.run(estate.work())
    assert estate.fake.sections["admin"]["dkim_selector"] == "next"
    assert (estate.states(first), estate.states("next")) == (["retired", "retired"], ["active", "active"])
    assert estate.dkim.file("next").read_bytes() == (estate.place / "keys" / "a.example.next.key").read_bytes()
    # The record of the key from before stays; nothing is due.
    assert not estate.work().any and f"{first}._domainkey.b.example." in estate.published
    assert estate.wrong == []


@needs_schema
@needs_namespace
def test_it_would_be_seen(estate: Node) -> None:
    """The judge of the tests above: a gateway that is told too early."""
    estate.run(first=True, switch=True)
    assert {name.partition("._domainkey.")[2] for name in estate.wrong} == {"a.example.", "b.example."}
