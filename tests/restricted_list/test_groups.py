# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is in a group, by whatever source."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import ldap3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from postmaster_restricted_list.config import FileGroup, Group, HttpGroup, LdapGroup, SqlGroup
from postmaster_restricted_list.groups import GroupError, Person, members, recipients
from postmaster_restricted_list.message import address

from .conftest import eventually, host, made_certificate

EXPECTED = [Person("one@a.example"), Person("two@b.example", True)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.yaml", "- one@a.example\n- {address: two@b.example, opted_out: true}\n"),
        ("m.yml", "- {address: one@a.example, name: One}\n- {address: two@b.example, opted_out: 'yes'}\n"),
        ("m.json", '["one@a.example", {"address": "two@b.example", "opted_out": 1}]'),
        ("m.csv", "address,opted_out\none@a.example,\ntwo@b.example,yes\n"),
        ("m.csv", "\ufeffname,opted_out,address\r\nOne,0,one@a.example\r\n\"Two, B\",TRUE,two@b.example\r\n"),
    ],
)  # fmt: skip
def test_files(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert members("g", FileGroup(kind="file", path=tmp_path / name)) == EXPECTED


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.yaml", "address: x\n", "the group g cannot be read (file): it must be a list of addresses, or of mappings with the key address"),
        ("m.yaml", "- one@a.example\n- 7\n", "the group g cannot be read (file): entry 2 has no address"),
        ("m.yaml", "- [\n", "the group g cannot be read (file): while parsing a flow node"),
        ("m.csv", "mail\none@a.example\n", "the group g cannot be read (file): entry 1 has no address"),
        ("none.csv", None, "the group g cannot be read (file): [Errno 2] No such file or directory: '{folder}/none.csv'"),
    ],
)  # fmt: skip
def test_files_that_say_nothing(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(GroupError) as caught:
        members("g", FileGroup(kind="file", path=tmp_path / name))
    assert str(caught.value).replace(str(tmp_path), "{folder}") == message


def test_sql(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "people.db")) as database:
        database.executescript(
            "CREATE TABLE p (mail, quiet); INSERT INTO p VALUES ('one@a.example', 0), ('two@b.example', 1);"
        )
    url = f"sqlite:///{tmp_path}/people.db"
    assert members("g", SqlGroup(kind="sql", url=url, query="SELECT mail, quiet FROM p ORDER BY mail")) == EXPECTED
    assert members("g", SqlGroup(kind="sql", url=url, query="SELECT mail FROM p WHERE quiet = 0")) == EXPECTED[:1]
    with pytest.raises(GroupError, match=r"^the group g cannot be read \(sql\): .*no such table: q$"):
        members("g", SqlGroup(kind="sql", url=url, query="SELECT * FROM q"))


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        right = self.headers["Authorization"] == "Bearer open sesame"
        self.send_response(200 if right else 403)
        self.end_headers()
        self.wfile.write(json.dumps(["one@a.example", {"address": "two@b.example", "opted_out": True}]).encode())

    def log_message(self, *dummy: Any) -> None:
        pass


@pytest.fixture
def page() -> Iterator[str]:
    where = host()
    server = http.server.ThreadingHTTPServer((where, 8099), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{where}:8099/people"
    server.shutdown()
    server.server_close()


def test_http(page: str) -> None:
    assert members("g", HttpGroup(kind="http", url=page, bearer="open sesame")) == EXPECTED
    with pytest.raises(GroupError, match=r"^the group g cannot be read \(http\): Client error '403 Forbidden'"):
        members("g", HttpGroup(kind="http", url=page, bearer="wrong"))


def test_ldap(monkeypatch: pytest.MonkeyPatch) -> None:
    group = LdapGroup(
        kind="ldap",
        url="ldap://ldap.example",
        base="dc=example",
        filter="(mail=*)",
        user="cn=me,dc=example",
        password="p",
    )
    real = ldap3.Connection

    def connection(server: Any, auto_bind: str, **more: Any) -> Any:
        link = real(server, client_strategy=ldap3.MOCK_SYNC, **more)
        link.strategy.add_entry("cn=me,dc=example", {"userPassword": "p", "sn": "me"})
        link.strategy.add_entry("cn=one,dc=example", {"mail": ["one@a.example", "uno@a.example"], "sn": "one"})
        link.strategy.add_entry("cn=none,dc=example", {"sn": "none"})
        return link

    monkeypatch.setattr(ldap3, "Connection", functools.wraps(real)(connection))
    assert sorted(one.address for one in members("g", group)) == ["one@a.example", "uno@a.example"]
    monkeypatch.undo()
    with pytest.raises(GroupError, match=r"^the group g cannot be read \(ldap\): "):
        members("g", LdapGroup(kind="ldap", url=f"ldap://{host()}:3", base="dc=example"))


PEOPLE = [f"person{number}@a.example" for number in range(1100)]
SLAPD = """
{schemas}
modulepath {root}/usr/lib/ldap
moduleload back_mdb
TLSCertificateFile {certificate}
TLSCertificateKeyFile {certificate}
database mdb
suffix dc=example
directory {folder}
maxsize 104857600
limits dn.exact="cn=reader,dc=example" size=unlimited
access to attrs=userPassword by anonymous auth by * none
access to * by users read by * none
"""
ENTRY = """dn: cn={name},dc=example
objectClass: inetOrgPerson
cn: {name}
sn: {name}
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A server with more people than it gives at once: the keys of a group, which all its readers have in common."""
    programs = {name: shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in ("slapd", "slapadd")}
    # Beside what starts it lies what it was unpacked to.
    roots = [Path("/"), *(Path(one).parent.parent / "root" for one in programs.values() if one)]
    root = next((one for one in roots if (one / "etc/ldap/schema/core.schema").exists()), None)
    if root is None or None in programs.values():
        pytest.skip("no slapd here")
    folder, where = tmp_path_factory.mktemp("ldap"), host()
    (folder / "data").mkdir()
    schemas = "\n".join(f"include {root}/etc/ldap/schema/{one}.schema" for one in ("core", "cosine", "inetorgperson"))
    certificate = made_certificate(folder / "pem", where)
    config = SLAPD.format(schemas=schemas, root=root, certificate=certificate, folder=folder / "data")
    (folder / "slapd.conf").write_text(config)
    entries = ["dn: dc=example\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example\n"]
    entries += [f"{ENTRY.format(name=one)}userPassword: open sesame\n" for one in ("reader", "guest")]
    entries += [f"{ENTRY.format(name='twice')}ou: office\nmail: one@a.example\nmail: uno@a.example\n"]
    entries += [f"{ENTRY.format(name=one.partition('@')[0])}ou: all\nmail: {one}\n" for one in PEOPLE]
    words = ["-f", str(folder / "slapd.conf")]
    text = "\n".join(entries)
    subprocess.run([str(programs["slapadd"]), "-q", *words], input=text, text=True, check=True, capture_output=True)
    urls = f"ldap://{where}:3890 ldaps://{where}:6360"
    server = subprocess.Popen([str(programs["slapd"]), "-d", "0", "-h", urls, *words], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: server.poll() is not None or _listens(where, 6360), "slapd")
        assert server.poll() is None, "slapd has ended"
        yield {
            "kind": "ldap",
            "url": f"ldaps://{where}:6360",
            "base": "dc=example",
            "user": "cn=reader,dc=example",
            "password": "open sesame",
            "ca_file": certificate,
        }
    finally:
        server.terminate()
        server.wait(60)


def _listens(where: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((where, port), 5):
        return True
    return False


def test_a_real_directory(directory: dict[str, Any]) -> None:
    everybody = members("g", LdapGroup(**directory))
    assert sorted(one.address for one in everybody) == sorted([*PEOPLE, "one@a.example", "uno@a.example"])
    office = members("g", LdapGroup(**directory, filter="(ou=office)"))
    assert [one.address for one in office] == ["one@a.example", "uno@a.example"]
    assert [one.address for one in members("g", LdapGroup(**directory, filter="(ou=office)", attribute="cn"))] == [
        "twice"
    ]
    assert members("g", LdapGroup(**directory, filter="(ou=nowhere)")) == []


@pytest.mark.parametrize("starttls", [True, False])
def test_a_real_directory_without_tls_from_the_start(directory: dict[str, Any], starttls: bool) -> None:
    url = directory["url"].replace("ldaps:", "ldap:").replace("6360", "3890")
    group = LdapGroup(**{**directory, "url": url, "starttls": starttls, "filter": "(ou=office)"})
    assert len(members("g", group)) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"password": "open up"}, "LDAPInvalidCredentialsResult - 49 - invalidCredentials"),
        ({"user": "", "password": ""}, "LDAPNoSuchObjectResult - 32 - noSuchObject"),
        ({"user": "cn=guest,dc=example"}, "LDAPSizeLimitExceededResult - 4 - sizeLimitExceeded"),
        ({"base": "dc=elsewhere"}, "LDAPNoSuchObjectResult - 32 - noSuchObject"),
        ({"filter": "(mail"}, "invalid filter"),
        ({"ca_file": None}, "certificate verify failed"),
        ({"ca_file": None, "url": "ldap://{host}:3890", "starttls": True}, "certificate verify failed"),
    ],
)
def test_a_real_directory_that_says_nothing(directory: dict[str, Any], change: dict[str, Any], message: str) -> None:
    where = directory["url"].split("/")[2].partition(":")[0]
    changed = {name: value.format(host=where) if isinstance(value, str) else value for name, value in change.items()}
    with pytest.raises(GroupError) as caught:
        members("g", LdapGroup(**{**directory, **changed}))
    said = str(caught.value)
    assert said.startswith("the group g cannot be read (ldap): ") and message in said
    assert "open" not in said


def _groups(tmp_path: Path, *texts: str) -> dict[str, Group]:
    found: dict[str, Group] = {}
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.yaml").write_text(text)
        found[f"g{number}"] = FileGroup(kind="file", path=tmp_path / f"{number}.yaml")
    return found


def test_everybody_once_and_nobody_who_wants_none(tmp_path: Path) -> None:
    groups = _groups(
        tmp_path,
        "[A@a.example, ' a@A.Example ', b@b.example, {address: c@c.example, opted_out: true}, d@bücher.example]",
        "[B@b.example, c@c.example, e@e.example, 'no', '', \"x@y.example\\nBcc: z\"]",
    )
    found = recipients(groups, ["f@f.example", "a@a.example"], {"E@e.example"})
    assert found.addresses == ["A@a.example", "b@b.example", "d@xn--bcher-kva.example", "f@f.example"]
    assert found.opted_out == 2
    assert [one for one, dummy in found.faults] == ["no", "", "x@y.example\nBcc: z"]


@given(st.text(max_size=40))
def test_whatever_is_an_address_stays_in_its_line(text: str) -> None:
    try:
        found = address(text)
    except ValueError:
        return
    assert found.isascii() and found.isprintable() and not set(found) & set(' <>,;:"\\')
