# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fake of a Proxmox Mail Gateway, the node's part: tasks, services, queues, certificates, ACME, backups.

Nothing of this was recorded: it follows the source of pmg-api 9.1 (Certificates.pm, ACME.pm, ACMEPlugin.pm, NodeConfig.pm,
Postfix.pm, Services.pm, Tasks.pm, Backup.pm), and that of 8.2 where it says so.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import fake_pmg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fake_pmg import FakePmg, Said, died, good

SERVICES = (
    "clamav-daemon",
    "fetchmail",
    "pmg-smtp-filter",
    "pmgdaemon",
    "pmgpolicy",
    "pmgproxy",
    "postfix",
    "pmg-daily",
)
FILES = {"api": "pmg-api.pem", "smtp": "pmg-tls.pem"}
CERTIFICATE = re.compile(r"\s*(-----BEGIN CERTIFICATE-----\n(?:[0-9A-Za-z+/]+=*\s*\n)+-----END CERTIFICATE-----\s*)+")
ANY_PEM = re.compile(r"\s*-----BEGIN [A-Z ]+-----\n(?:[0-9A-Za-z+/]+=*\s*\n)+-----END [A-Z ]+-----\s*")
QUEUES = ("deferred", "active", "incoming", "hold")
AGES = ("5m", "10m", "20m", "40m", "80m", "160m", "320m", "640m", "1280m")


def issue(
    names: Sequence[str], *, issuer: str = "", begins: float = -1, days: float = 90, key: Any = None
) -> tuple[str, str]:
    """A certificate of names and addresses with its key, both PEM; it is self-made where nobody is said to issue it.

    It holds from ``begins`` days from now on.
    """
    private = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0] if names else "pmg")])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]) if issuer else subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=begins))
        .not_valid_after(now + datetime.timedelta(days=days))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
    made = builder.sign(ec.generate_private_key(ec.SECP256R1()) if issuer else private, hashes.SHA256())
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), pem.decode()


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@dataclass
class Task:
    """Something that goes on in the background; it is done when it was asked for ``polls`` times."""

    upid: str
    kind: str
    polls: int
    exitstatus: str
    log: list[str]


@dataclass
class FakeNode:
    """The state of a node, and what requests do to it.

    ``fails`` has tasks of a kind fail with a text; ``polls`` is how often tasks are asked for before they are done.
    """

    gateway: FakePmg
    polls: int = 1
    fails: dict[str, str] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    services: dict[str, str] = field(default_factory=lambda: dict.fromkeys(SERVICES, "running"))
    actions: list[str] = field(default_factory=list)  # what was done to services, and by whose tasks
    certificates: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    issuer: str = "A fake ACME authority"
    terms: str = "https://acme.example/terms"
    contacts: dict[str, dict[str, Any]] = field(default_factory=dict)  # the accounts
    plugins: dict[str, dict[str, Any]] = field(default_factory=lambda: {"standalone": {"type": "standalone"}})
    config: dict[str, str] = field(default_factory=dict)
    queues: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {name: [] for name in QUEUES})
    stubborn: set[str] = field(default_factory=set)  # messages that no deletion finds
    flushed: list[str] = field(default_factory=list)
    backups: list[str] = field(default_factory=list)
    clock: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self.certificates.setdefault("api", issue(["pmg.fake.example"])[0])

    def queue_message(
        self, queue_id: str, sender: str, recipients: Sequence[str], *, queue: str = "deferred", reason: str = ""
    ) -> None:
        """Put a message into a queue."""
        self.queues[queue].append({
            "queue_id": queue_id, "sender": sender, "recipients": list(recipients), "reason": reason, "arrival_time": int(self.clock) - 600,
            "message_size": 1000,
        })  # fmt: skip

    def handle(self, method: str, path: str, given: dict[str, Any], user: str) -> Said | None:
        """See :class:`fake_pmg.Part`."""
        if (method, path) == ("GET", "/nodes"):
            return good([{"node": "pmg"}])
        if path.startswith("/config/acme"):
            return self._acme(method, path.removeprefix("/config/acme"), given, user)
        if not path.startswith("/nodes/{node}"):
            return None
        if given.pop("node") not in ("localhost", "pmg"):
            return died("no such cluster node")
        below = path.removeprefix("/nodes/{node}")
        parts: dict[str, Callable[[str, str, dict[str, Any], str], Said | None]] = {
            "/services": self._services, "/tasks": self._tasks, "/certificates": self._certificates,
            "/config": self._node_config, "/postfix": self._postfix, "/backup": self._backup, "/time": self._time,
        }  # fmt: skip
        for base, part in parts.items():
            if below == base or below.startswith(f"{base}/"):
                return part(method, below.removeprefix(base), given, user)
        return None

    # -- tasks ----------------------------------------------------------------------------------
    def _start(self, kind: str, what: str, user: str, effect: Callable[[], None], log: Sequence[str] = ()) -> Said:
        upid = f"UPID:pmg:{4000 + len(self.tasks):08X}:{1234:08X}:{int(self.clock):08X}:{kind}:{what}:{user}:"
        failure = self.fails.get(kind, "")
        end = f"TASK ERROR: {failure}" if failure else "TASK OK"
        self.tasks[upid] = Task(upid, kind, self.polls, failure or "OK", [*log, end])
        if not failure:
            effect()
        return good(upid)

    def _tasks(self, method: str, below: str, given: dict[str, Any], user: str) -> Said | None:
        if (method, below) == ("GET", ""):
            kinds = given.get("typefilter")
            done = [one for one in self.tasks.values() if one.polls <= 0 and kinds in (None, one.kind)]
            return good([{"upid": one.upid, "type": one.kind, "status": one.exitstatus} for one in reversed(done)])
        task = self.tasks.get(given["upid"])
        if task is None:
            failed = "Parameter verification failed."
            return Said(400, failed, {"data": None, "errors": {"upid": "no such task"}, "message": f"{failed}\n"})
        if below.endswith("/log"):
            start, limit = int(given.get("start", 0)), int(given.get("limit", 50))
            return good([{"n": n + 1, "t": text} for n, text in enumerate(task.log)][start : start + limit])
        if below.endswith("/status"):
            task.polls -= 1
            said = {"upid": task.upid, "node": "pmg", "type": task.kind, "pid": 4000}
            return good({**said, "status": "running"} if task.polls >= 0 else {**said, "status": "stopped", "exitstatus": task.exitstatus})  # fmt: skip
        return None

    # -- services -------------------------------------------------------------------------------
    def _services(self, method: str, below: str, given: dict[str, Any], user: str) -> Said | None:
        if (method, below) == ("GET", ""):
            return good([self._service(name) for name in sorted(self.services)])
        name, verb = given["service"], below.rpartition("/")[2]
        if (method, verb) == ("GET", "state"):
            return good(self._service(name))
        if method != "POST":
            return None

        def act() -> None:
            self.actions.append(f"{verb} {name}")
            if verb != "reload":
                self.services[name] = "dead" if verb == "stop" else "running"

        if verb == "stop" and name in ("pmgdaemon", "pmgproxy"):
            self.fails.setdefault("srvstop", f"invalid service cmd '{name} stop': refusing to stop essential service!")
        return self._start(f"srv{verb}", name, user, act)

    def _service(self, name: str) -> dict[str, str]:
        state = self.services.get(name)
        if state is None:
            return {
                "service": name,
                "name": name,
                "state": "dead",
                "active-state": "inactive",
                "unit-state": "not-found",
            }
        active = {"running": "active", "exited": "active", "dead": "inactive", "failed": "failed"}[state]
        return {
            "service": name, "name": name, "desc": f"the fake {name}", "state": state, "active-state": active, "unit-state": "enabled",
        }  # fmt: skip

    # -- certificates ---------------------------------------------------------------------------
    def _certificates(self, method: str, below: str, given: dict[str, Any], user: str) -> Said | None:
        if (method, below) == ("GET", "/info"):
            return good([self._info(kind) for kind in FILES if kind in self.certificates])
        kind = given.get("type", "")
        if below == "/custom/{type}":
            return self._custom(method, kind, given)
        if below == "/acme/{type}":
            return self._order(method, kind, given, user)
        return None

    def _info(self, kind: str) -> dict[str, Any]:
        found = x509.load_pem_x509_certificate(self.certificates[kind].encode())
        try:
            names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            san = [str(name.value) for name in names]
        except x509.ExtensionNotFound:
            san = []
        return {
            "filename": FILES[kind], "fingerprint": found.fingerprint(hashes.SHA256()).hex(":").upper(), "san": san,
            "subject": f"/CN={_common(found.subject)}", "issuer": f"/CN={_common(found.issuer)}", "pem": self.certificates[kind],
            "notbefore": _seconds(found, "not_valid_before"), "notafter": _seconds(found, "not_valid_after"),
        }  # fmt: skip

    def _custom(self, method: str, kind: str, given: dict[str, Any]) -> Said:
        if method == "DELETE":
            self._set(kind, "")
            return good()
        wrong = {}
        if not CERTIFICATE.fullmatch(given["certificates"]):
            wrong["certificates"] = "invalid format - not a valid PEM-formatted string.\n"
        if not ANY_PEM.fullmatch(given["key"]):
            wrong["key"] = "invalid format - not a valid PEM-formatted string.\n"
        if wrong:
            failed = "Parameter verification failed."
            return Said(400, failed, {"data": None, "errors": wrong, "message": f"{failed}\n"})
        if kind in self.certificates and str(given.get("force", 0)) not in ("1", "True"):
            return died("Custom certificate file exists but force flag is not set.")
        self._set(kind, given["certificates"], given["key"])
        return good(self._info(kind))

    def _set(self, kind: str, certificate: str, key: str = "") -> None:
        if certificate:
            self.certificates[kind], self.keys[kind] = certificate, key
        else:
            self.certificates.pop(kind, None)
            self.keys.pop(kind, None)
        if kind == "api" and not certificate:
            self.certificates["api"] = issue(["pmg.fake.example"])[0]
        if kind == "smtp":
            self.gateway.sections["mail"]["tls"] = int(bool(certificate))

    def _order(self, method: str, kind: str, given: dict[str, Any], user: str) -> Said:
        force, failed = str(given.get("force", 0)) in ("1", "True"), "Parameter verification failed."
        if method == "POST" and kind in self.certificates and not force:
            why = "Custom certificate exists but 'force' is not set."
            return Said(400, failed, {"data": None, "errors": {"force": why}, "message": f"{failed}\n"})
        if method == "PUT" and kind not in self.certificates:
            return died("No current (custom) certificate found, please order a new certificate!")
        if method == "PUT" and not force and self._info(kind)["notafter"] > self.clock + 30 * 86400:
            why = "Certificate does not expire within the next 30 days, and 'force' is not set."
            return Said(400, failed, {"data": None, "errors": {"force": why}, "message": f"{failed}\n"})
        domains = [one["domain"] for one in self._domains() if kind in re.split("[;, ]", one["usage"])]
        if not domains:
            text = f"No domains configured for type '{kind}'"
            return Said(400, text, {"data": None, "message": f"{text}\n"})
        what = {"POST": "acmenewcert", "PUT": "acmerenew", "DELETE": "acmerevoke"}[method]
        if self._account() not in self.contacts:
            self.fails.setdefault(what, f"ACME account config file '{self._account()}' does not exist.")
        pem, key = ("", "") if method == "DELETE" else issue(domains, issuer=self.issuer)
        log = [
            "Loading ACME account details",
            "Placing ACME order",
            f"Order URL: https://acme.example/order/{len(self.tasks)}",
        ]
        return self._start(what, "", user, lambda: self._set(kind, pem, key), log)

    # -- ACME -----------------------------------------------------------------------------------
    def _acme(self, method: str, below: str, given: dict[str, Any], user: str) -> Said | None:
        if (method, below) == ("GET", "/meta"):
            return good({"termsOfService": self.terms} if self.terms else {})
        if below.startswith("/plugins"):
            return self._plugin(method, given)
        if (method, below) == ("GET", "/account"):
            return good([{"name": name} for name in sorted(self.contacts)])
        if below.startswith("/account"):
            return self._account_request(method, given, user)
        return None

    def _account_request(self, method: str, given: dict[str, Any], user: str) -> Said:
        name, failed = given.get("name", "default"), "Parameter verification failed."
        if (name in self.contacts) is (method == "POST"):
            there = "already exists" if method == "POST" else "does not exist"
            errors = {"name": f"ACME account config file '{name}' {there}."}
            return Said(400, failed, {"data": None, "errors": errors, "message": f"{failed}\n"})
        if method == "GET":
            return good(self.contacts[name])
        if method == "DELETE":
            return self._start("acmedeactivate", "", user, lambda: self.contacts.pop(name, None) and None)
        contact = [f"mailto:{one}" for one in re.split("[,; ]+", given.get("contact", "")) if one]
        if method == "PUT":
            account = self.contacts[name]["account"]
            return self._start(
                "acmeupdate" if contact else "acmerefresh",
                "",
                user,
                lambda: account.update(contact=contact or account["contact"]),
            )
        if self.terms and "tos_url" not in given:
            self.fails.setdefault("acmeregister", "Registration failed: urn:ietf:params:acme:error:userActionRequired")
        made = {
            "account": {"contact": contact, "status": "valid"},
            "directory": given.get("directory", "https://acme-v02.api.letsencrypt.org/directory"),
            "location": "https://acme.example/account/1", "tos": given.get("tos_url"),
        }  # fmt: skip
        return self._start(
            "acmeregister", "", user, lambda: self.contacts.update({name: made}), ["Registering new ACME account.."]
        )

    def _plugin(self, method: str, given: dict[str, Any]) -> Said:
        name = given.pop("id", None)
        if name is None:
            return good([{"plugin": one, "digest": "x", **self.plugins[one]} for one in sorted(self.plugins)])
        if method == "DELETE":  # of what is not there, too
            self.plugins.pop(name, None)
            return good()
        if (name in self.plugins) is (method == "POST"):
            there = "already exists" if method == "POST" else "does not exist"
            return died(f"ACME plugin ID '{name}' {there}")
        if method == "GET":
            return good({"plugin": name, **self.plugins[name]})
        given.pop("digest", None)
        gone = [one for one in given.pop("delete", "").split(",") if one]
        kept = {key: value for key, value in self.plugins.get(name, {}).items() if key not in gone}
        self.plugins[name] = {
            **kept,
            **{key: fake_pmg._as_shown(value) if key != "data" else value for key, value in given.items()},
        }
        return good()

    def _account(self) -> str:
        return _property(self.config.get("acme", "account=default"), "account").get("account", "default")

    def _domains(self) -> list[dict[str, str]]:
        found = [
            _property(text, "domain") for name, text in sorted(self.config.items()) if name.startswith("acmedomain")
        ]
        return [{"plugin": "standalone", "usage": "", **one} for one in found]

    @property
    def config_digest(self) -> str:
        """What the node's configuration is known by."""
        return f"{abs(hash(tuple(sorted(self.config.items())))):040x}"[:40]

    def _node_config(self, method: str, below: str, given: dict[str, Any], user: str) -> Said | None:
        if method == "GET":
            return good({**self.config, "digest": self.config_digest})
        if given.pop("digest", self.config_digest) != self.config_digest:
            return died("detected modified configuration - file changed by other user? Try again.")
        gone = [one for one in given.pop("delete", "").split(",") if one]
        before = self.config
        self.config = {**{name: text for name, text in before.items() if name not in gone}, **given}
        complaint = self._config_complaint()
        if complaint:
            self.config = before
            return died(complaint)
        return good()

    def _config_complaint(self) -> str:
        seen: set[str] = set()
        for one in self._domains():
            name = one.get("domain", "").lower()
            if not re.fullmatch(r"(\*\.)?[a-z0-9][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)+", name):
                return f"format error\ndomain: value '{name}' does not look like a valid domain name!"
            if name in seen:
                return f"duplicate domain '{name}' in ACME config properties"
            if not one["usage"] or set(re.split("[;, ]", one["usage"])) - set(FILES):
                return "format error\nusage: property is missing and it is not optional"
            if one["plugin"] not in self.plugins:
                return f"plugin '{one['plugin']}' for domain '{name}' not found!"
            if name.startswith("*.") and self.plugins[one["plugin"]]["type"] != "dns":
                return f"wildcard domain validation for '{name}' needs a dns-01 plugin."
            seen.add(name)
        return ""

    # -- queues ---------------------------------------------------------------------------------
    def _postfix(self, method: str, below: str, given: dict[str, Any], user: str) -> Said | None:
        if (method, below) == ("GET", "/qshape"):
            return good(self._shape(given.get("queue", "deferred")))
        if (method, below) == ("POST", "/flush_queues"):
            self.flushed.append("all")
            return good()
        if below == "/queue" and method == "DELETE":
            self.queues = {name: [] for name in QUEUES}
            return good()
        if below == "/queue/{queue}":
            return self._queue(method, given)
        if below == "/queue/{queue}/{queue_id}" and method in ("POST", "DELETE"):
            return self._on_messages("deliver" if method == "POST" else "delete", given["queue"], [given["queue_id"]])
        return None

    def _queue(self, method: str, given: dict[str, Any]) -> Said:
        queue = given["queue"]
        if method == "DELETE":
            self.queues[queue] = [one for one in self.queues[queue] if one["queue_id"] in self.stubborn]
            return good()
        if method == "POST":
            if self.gateway.release.startswith("8."):  # came after 8.2.3
                text = f"Method 'POST /nodes/localhost/postfix/queue/{queue}' not implemented"
                return Said(501, text, {"data": None, "message": text})
            return self._on_messages(given["action"], queue, re.split("[,; ]+", given["ids"]))
        entries = [
            {**{name: one[name] for name in ("queue_id", "sender", "arrival_time", "message_size", "reason")}, "queue_name": queue, "receiver": to}
            for one in self.queues[queue] for to in one["recipients"]
        ]  # fmt: skip
        if pattern := given.get("filter"):
            entries = [
                one
                for one in entries
                if re.search(pattern, one["receiver"], re.I) or re.search(pattern, one["sender"], re.I)
            ]
        start, limit = int(given.get("start", 0)), int(given.get("limit", 0)) or 50
        return Said(200, "OK", {"data": entries[start : start + limit], "total": len(entries)})

    def _on_messages(self, action: str, queue: str, ids: Sequence[str]) -> Said:
        """An unknown message is no error."""
        if action == "deliver":
            self.flushed.extend(ids)
        else:
            gone = set(ids) - self.stubborn
            self.queues[queue] = [one for one in self.queues[queue] if one["queue_id"] not in gone]
        return good()

    def _shape(self, queue: str) -> list[dict[str, Any]]:
        counts: dict[str, int] = {}
        for one in self.queues[queue]:
            for to in one["recipients"]:
                counts[to.rpartition("@")[2]] = counts.get(to.rpartition("@")[2], 0) + 1
        rows = [("TOTAL", sum(counts.values())), *sorted(counts.items(), key=lambda item: -item[1])]
        return [
            {"domain": domain, "total": str(n), **dict.fromkeys(AGES, "0"), "20m": str(n), "1280m+": "0"} for domain, n in rows
        ]  # fmt: skip

    # -- the rest -------------------------------------------------------------------------------
    def _backup(self, method: str, below: str, given: dict[str, Any], user: str) -> Said | None:
        if (method, below) == ("GET", ""):
            return good([
                {"filename": name, "size": 10240, "timestamp": int(name.rpartition("_")[2].removesuffix(".tgz"), 16)} for name in self.backups
            ])  # fmt: skip
        if (method, below) != ("POST", ""):
            return None
        name = f"pmg-backup_{time.strftime('%Y_%m_%d', time.gmtime(self.clock))}_{int(self.clock):08X}.tgz"
        return self._start(
            "backup", "", user, lambda: self.backups.append(name), [f"starting backup to: /var/lib/pmg/backup/{name}"]
        )

    def _time(self, method: str, below: str, given: dict[str, Any], user: str) -> Said | None:
        return (
            good({"time": int(self.clock), "localtime": int(self.clock), "timezone": "UTC"})
            if method == "GET"
            else None
        )


def _seconds(certificate: x509.Certificate, name: str) -> int:
    """The library of Debian 12 knows no name with _utc."""
    aware = getattr(certificate, f"{name}_utc", None)
    return int((aware or getattr(certificate, name).replace(tzinfo=datetime.UTC)).timestamp())


def _common(name: x509.Name) -> str:
    return str(name.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def _property(text: str, default: str) -> dict[str, str]:
    """A property string: texts by name, with commas between them; one that has no name is the default's."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    return {name if is_named else default: value if is_named else name for name, is_named, value in pairs}


fake_pmg.PARTS["node"] = FakeNode
