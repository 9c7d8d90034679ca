# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of the fake of a Proxmox Mail Gateway: its users, its key for DKIM, and its welcome list."""

from __future__ import annotations

import base64
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from fake_pmg import PARTS, WELCOME, FakePmg, Said, died, good

USERS = "/access/users"


@dataclass
class Users:
    """Accounts. Whom the fake lets in follows from them: who is enabled, has a password and has not expired."""

    fake: FakePmg
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)
    changed_passwords: int = 0

    def __post_init__(self) -> None:
        for userid, (password, role) in self.fake.users.items():
            self.entries[userid] = {"enable": 1, "expire": 0, "role": role}
            self.passwords[userid] = password
        self.entries["root@pam"]["comment"] = "Unix Superuser"

    def handle(self, method: str, path: str, given: dict[str, Any], user: str) -> Said | None:
        """See Part."""
        if path == "/access/password":
            return self._password(given, user)
        if path not in (USERS, f"{USERS}/{{userid}}"):
            return None
        if (method, path) == ("GET", USERS):
            return good([self._shown(userid) for userid in sorted(self.entries)])
        userid = given.pop("userid")
        said = self._change(method, userid, given)
        self._let_in()
        return said

    def _shown(self, userid: str) -> dict[str, Any]:
        """With all that is set, and no hash of a password."""
        entry = {name: value for name, value in self.entries[userid].items() if name != "crypt_pass"}
        name, dummy, realm = userid.rpartition("@")
        return {"userid": userid, "username": name, "realm": realm, **entry}

    def _change(self, method: str, userid: str, given: dict[str, Any]) -> Said:
        failed = {"POST": "create user failed: ", "PUT": "update user failed: ", "DELETE": "delete user failed: "}
        if (userid in self.entries) is (method == "POST"):
            no = f"User '{userid}' already exists" if method == "POST" else f"no such user ('{userid}')"
            return died(failed.get(method, "") + no)
        if method == "GET":
            return good(self._shown(userid))
        if method == "DELETE":
            del self.entries[userid]
            self.passwords.pop(userid, None)
        elif method == "POST":
            if userid.endswith("@pam"):
                return died(f"{failed[method]}You cannot create user in the PAM realm")
            self.passwords[userid] = given.pop("password", "")
            self._store(userid, {"enable": 0, "expire": 0, **given})
        elif "password" in given:
            return died(f"{failed[method]}use /access/password for password changes")
        elif not given:
            return died(f"{failed[method]}no options specified")
        else:
            leaving = given.pop("delete", "").split(",")
            kept = {name: value for name, value in self.entries[userid].items() if name not in leaving}
            self._store(userid, {**kept, **given})
        if "root@pam" not in self.entries:
            self._store("root@pam", {})
        return good()

    def _store(self, userid: str, entry: dict[str, Any]) -> None:
        """As it comes back from a file of lines: what is empty or 0 is as good as absent."""
        fixed = {"enable": 1, "expire": 0, "role": "root", "comment": "Unix Superuser"} if userid == "root@pam" else {}
        stored = {**entry, **fixed}
        numbers = {name: int(stored.pop(name, 0)) for name in ("enable", "expire")}
        self.entries[userid] = {
            **{name: str(text).partition("\n")[0] for name, text in stored.items() if str(text) not in ("", "0")},
            **numbers,
        }

    def _password(self, given: dict[str, Any], user: str) -> Said:
        userid, password = given["userid"], given["password"]
        if user not in ("root@pam", userid):
            return Said(403, "Permission check failed", {"data": None, "message": "Permission check failed\n"})
        if userid not in self.entries:
            return died(f"no such user ('{userid}')")
        self.passwords[userid] = password
        self.changed_passwords += 1
        self._let_in()
        return good()

    def _let_in(self) -> None:
        self.fake.users = {
            userid: (self.passwords[userid], entry["role"])
            for userid, entry in self.entries.items()
            if self.passwords.get(userid, "").isascii()  # else its hash is that of other bytes than those at a login
            and self.passwords.get(userid)
            and entry["enable"]
            and not 0 < entry["expire"] < time.time()
        }


@dataclass
class Dkim:
    """The key for DKIM and those from before, each a file ``<selector>.private`` in ``folder``."""

    fake: FakePmg
    place: TemporaryDirectory[str] = field(default_factory=TemporaryDirectory)
    made: int = 0  # how many keys it has made

    @property
    def folder(self) -> Path:
        """What is /etc/pmg/dkim on a gateway."""
        return Path(self.place.name)

    def handle(self, method: str, path: str, given: dict[str, Any], user: str) -> Said | None:
        """See Part."""
        if path == "/config/dkim/selectors":
            return good([{"selector": one.stem} for one in sorted(self.folder.glob("*.private"))])
        if path != "/config/dkim/selector":
            return None
        if method == "POST":
            return self._set(given["selector"], int(given["keysize"]), str(given.get("force", 0)) in ("1", "True"))
        selector = self.fake.sections["admin"].get("dkim_selector")
        if selector is None:
            return good({})
        try:
            size = self.key(selector).key_size
        except (OSError, ValueError):
            return good({"selector": selector})
        return good({"selector": selector, "keysize": size, "record": self._record(selector)})

    def file(self, selector: str) -> Path:
        """The private key of a selector."""
        return self.folder / f"{selector}.private"

    def key(self, selector: str) -> rsa.RSAPrivateKey:
        """The key in that file."""
        key = serialization.load_pem_private_key(self.file(selector).read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        return key

    def public(self, selector: str) -> str:
        """The public key as a record has it after p=."""
        public = self.key(selector).public_key()
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return base64.b64encode(public.public_bytes(serialization.Encoding.DER, form)).decode()

    def _set(self, selector: str, size: int, force: bool) -> Said:
        if force or not self.file(selector).exists():
            key = rsa.generate_private_key(65537, size)
            form = serialization.PrivateFormat.PKCS8
            pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
            self.file(selector).write_bytes(pem)
            self.made += 1
        elif (found := self.key(selector).key_size) != size:
            return died(
                f"unable to set DKIM key ({selector} - {size} bits): /etc/pmg/dkim/{selector}.private already exists, "
                f"but has different size ({found} bits)"
            )
        self.fake.sections["admin"]["dkim_selector"] = selector
        return good()

    def _record(self, selector: str) -> str:
        """As a zone file has it, in strings of 250 characters."""
        public = self.public(selector)
        strings = [public[start : start + 250] for start in range(0, len(public), 250)]
        key = '"\n\t  "'.join(strings)
        head = f'{selector}._domainkey\tIN\tTXT\t( "v=DKIM1; h=sha256; k=rsa; "\n\t  "p='
        return f'{head}{key}" )  ; ----- DKIM key {selector}'


# By the name in the path: the number of the type, what it is called, its field, and whether it is about receivers.
TYPES = {
    "regex": (1000, "Regular Expression", "regex", 0),
    "email": (1001, "Mail address", "email", 0),
    "domain": (1002, "Domain", "domain", 0),
    "ip": (1003, "IP Address", "ip", 0),
    "network": (1004, "IP Network", "cidr", 0),
    "receiver": (1007, "Mail address", "email", 1),
    "receiver_domain": (1008, "Domain", "domain", 1),
    "receiver_regex": (1009, "Regular Expression", "regex", 1),
}


@dataclass
class Welcome:
    """The welcome list: the type and the value of each object, by its number."""

    fake: FakePmg
    objects: dict[int, tuple[str, str]] = field(default_factory=dict)
    last: int = 100

    def add(self, kind: str, value: str) -> int:
        """A new object; its number."""
        self.last += 1
        self.objects[self.last] = (kind, value)
        return self.last

    def values(self) -> list[tuple[str, str]]:
        """What the list says, sorted."""
        return sorted(self.objects.values())

    def handle(self, method: str, path: str, given: dict[str, Any], user: str) -> Said | None:
        """See Part."""
        if not path.startswith(f"{WELCOME}/"):
            return None
        if path == f"{WELCOME}/objects":
            return good([self._shown(number) for number in sorted(self.objects)])
        kind = path.removeprefix(f"{WELCOME}/").partition("/")[0]
        number = int(given["id"]) if "id" in given else 0
        if number and (number not in self.objects or kind not in ("objects", self.objects[number][0])):
            return died(f"object '{number}' does not exists")
        if kind == "objects":
            del self.objects[number]
            return good()
        if method == "GET":
            return good(self._shown(number))
        value = str(given[TYPES[kind][2]])
        try:
            re.compile(f"^{value}$")  # whatever it is: the gateway has Perl look at it
        except re.error as err:
            return died(f"invalid regex: {err}")
        if number:
            self.objects[number] = (kind, value)
            return good()
        there = next((one for one, pair in self.objects.items() if pair == (kind, value)), 0)
        return good(there or self.add(kind, value))

    def _shown(self, number: int) -> dict[str, Any]:
        kind, value = self.objects[number]
        otype, text, name, receivers = TYPES[kind]
        about = {"otype": otype, "otype_text": text, "receivertest": receivers, "descr": value, "ogroup": 1}
        return {"id": number, **about, name: value}


PARTS.update({"users": Users, "dkim": Dkim, "welcome": Welcome})
