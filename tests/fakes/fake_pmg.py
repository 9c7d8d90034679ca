# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake of the API of a Proxmox Mail Gateway, as none can be had where the tests run.

It keeps state, and judges parameters by the schema of pmg-api, which it is given. How it words what the schema does not
say is held to requests and answers that were recorded from the real daemon (test_fake_pmg.py); it never reads those
itself. It knows logging in, the version, the lists of the mail proxy and the sections of the configuration. Other files
beside this one add parts (PARTS); of anything else it says that it does not know it.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import ipaddress
import json
import re
import secrets
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

BASE = "/api2/json"
WELCOME = "/config/welcomelist"
MISSING = "property is missing and it is not optional"
UNKNOWN = "property is not defined in schema and the schema does not allow additional properties"
LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
DOMAIN = re.compile(rf"\.?(?:{LABEL}\.)*{LABEL}")
TLS_LEVELS = ("none", "may", "encrypt", "dane", "dane-only", "fingerprint", "verify", "secure")


@dataclass(frozen=True)
class Words:
    """How one list speaks of itself: its key, what failed, what an entry is called; and whether its errors are wrapped."""

    key: str
    failed: Mapping[str, str]
    entry: str
    wrapped: bool = False


NEW_IN_9 = ("accept-broken-mime", "log-headers", "queue-lifetime", "consent-text")
SECTIONS = ("mail", "admin", "spam", "spamquar", "virusquar", "clamav")


def _words(title: str) -> dict[str, str]:
    return {"POST": f"add {title}", "PUT": f"update {title}", "DELETE": f"delete {title}"}


LISTS = {
    "/config/mynetworks": Words("cidr", _words("trusted network"), "trusted network '{}'"),
    "/config/domains": Words("domain", _words("relay domain"), "Domain '{}'"),
    "/config/dkim/domains": Words("domain", _words("DKIM-sign domain"), "Domain '{}'"),
    "/config/transport": Words("domain", _words("transport map entry"), "Transport map entry '{}'"),
    "/config/tlspolicy": Words(
        "destination", _words("tls_policy entry"), "DestinationTLSPolicy entry for '{}'", wrapped=True
    ),
    "/config/tls-inbound-domains": Words(
        "domain",
        {"POST": "adding tls_inbound_domains entry", "DELETE": "deleting tls_inbound_domains entry"},
        "InboundTLSDomains entry for '{}'",
        wrapped=True,
    ),
}


@dataclass(frozen=True)
class Said:
    """Status, reason phrase and body of an answer; a text is sent as it is. One that is late waits to be released."""

    status: int
    reason: str
    body: Any = ""
    late: bool = False


def good(data: Any = None) -> Said:
    """The answer to what went well."""
    return Said(200, "OK", {"data": data})


def died(text: str) -> Said:
    """The answer of a handler that gave up."""
    return Said(500, text.partition("\n")[0], {"data": None, "message": f"{text}\n"})


class Part(Protocol):
    """A part of the API with a state of its own. Its file puts it into PARTS; tests find it in ``fake.parts``."""

    def handle(self, method: str, path: str, given: dict[str, Any], user: str) -> Said | None:
        """Answer a request that the schema allows; None for one that is not this part's.

        ``path`` is the schema's, with names in braces, whose values are in ``given`` beside the parameters. ``user`` is
        who asks.
        """


PARTS: dict[str, Callable[[FakePmg], Part]] = {}


@dataclass
class FakePmg:
    """The state, and what each request does to it.

    ``faults`` are taken by the next writes, one each: "596 before" and "596 after" (the write), "drop before" and "drop
    after" (no answer at all), "slow" (an answer that waits until ``released``), or a function that is called before the
    write and may change the state. ``read_faults`` are taken by the next requests that read or log in.
    """

    schema: Sequence[Mapping[str, Any]]
    release: str = "9.1"
    users: dict[str, tuple[str, str]] = field(  # the password and the role of each
        default_factory=lambda: {"root@pam": ("secret", "root"), "auditor@pmg": ("reads", "audit")}
    )
    second_factor: bool = False
    lists: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {path: {} for path in LISTS})
    sections: dict[str, dict[str, Any]] = field(default_factory=lambda: {name: {} for name in SECTIONS})
    tickets: dict[str, tuple[str, str]] = field(default_factory=dict)  # the user and the second secret of each
    faults: deque[Any] = field(default_factory=deque)
    read_faults: deque[Any] = field(default_factory=deque)
    released: threading.Event = field(default_factory=threading.Event)
    log: list[tuple[str, str, dict[str, str], int]] = field(default_factory=list)
    parts: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.parts = {name: make(self) for name, make in PARTS.items()}

    def count(self, method: str) -> int:
        """How many requests of a method came, logging in not counted."""
        return sum(one[0] == method and one[1] != "/access/ticket" for one in self.log)

    @property
    def logins(self) -> int:
        """How often somebody logged in."""
        return sum(path == "/access/ticket" and status == 200 for dummy, path, dummy2, status in self.log)

    def handle(
        self, method: str, path: str, params: dict[str, str], headers: Mapping[str, str], *, body: bool = False
    ) -> Said | None:
        """Answer one request; None drops the connection."""
        lower = {name.lower(): text for name, text in headers.items()}
        said = self._judged(method, path, params, lower, body=body)
        self.log.append((method, path, params, said.status if said else 0))
        return said

    def _judged(
        self, method: str, path: str, params: dict[str, str], headers: Mapping[str, str], *, body: bool
    ) -> Said | None:
        if method == "DELETE" and body:
            return Said(501, "Unexpected content for method 'DELETE'", "Unexpected content for method 'DELETE'")
        entry, named = self._find(method, path)
        if entry is None:
            text = f"Method '{method} {path}' not implemented"
            return Said(501, text, {"data": None, "message": text})
        user = "" if entry["user"] == "world" else self._user(method, headers)
        if isinstance(user, Said):
            return user
        if (barred := self._barred(entry, user)) is not None:
            return barred
        given = {**params, **named}
        twice = {name: "duplicate parameter (already defined in URI)" for name in params if name in named}
        if wrong := twice or {**self._violations(entry, given), **self._too_new(entry, given)}:
            failed = "Parameter verification failed."
            return Said(400, failed, {"data": None, "errors": wrong, "message": f"{failed}\n"})
        writes = method != "GET" and entry["path"] != "/access/ticket"
        faults = self.faults if writes else self.read_faults
        fault = faults.popleft() if faults else ""
        if callable(fault):
            fault()
            fault = ""
        if fault.endswith("before"):
            return None if fault.startswith("drop") else Said(596, "Broken pipe")
        said = self._carry_out(method, entry["path"], given, user)
        if fault == "slow":
            return replace(said, late=True)
        if fault.endswith("after"):
            return None if fault.startswith("drop") else Said(596, "Broken pipe")
        return said

    # -- the schema -----------------------------------------------------------------------------
    def _find(self, method: str, path: str) -> tuple[Mapping[str, Any] | None, dict[str, str]]:
        """The schema's entry of a request, and what its path names. The name of a network alone may hold slashes."""
        if path.startswith(f"{WELCOME}/") and self.release.startswith("8."):
            return None, {}
        path = path.replace("/config/whitelist", WELCOME)  # the name of release 8, which 9 still knows
        path = unquote(path)  # once, and before it is split
        for entry in self.schema:
            if entry["method"] == method and (found := _path_pattern(entry["path"]).fullmatch(path)):
                return entry, found.groupdict()
        return None, {}

    @staticmethod
    def _violations(entry: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
        listed = entry["parameters"].get("properties", {})
        known = {name.replace("[n]", number): rule for name, rule in listed.items() for number in _numbers(name)}
        wrong = {name: UNKNOWN for name in given if name not in known}
        for name, rule in known.items():
            if name not in given:
                if not rule.get("optional"):
                    wrong[name] = MISSING
            elif complaint := _complaint(rule, given[name]):
                wrong[name] = complaint
        return wrong

    def _too_new(self, entry: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
        """What the schema of release 9 has, and 8 has not."""
        if not self.release.startswith("8.") or not entry["path"].startswith("/config/"):
            return {}
        wrong = {name: UNKNOWN for name in NEW_IN_9 if name in given}
        if given.get("viewimages") == "on-demand":
            wrong["viewimages"] = "type check ('boolean') failed - got 'on-demand'"
        return wrong

    # -- who asks -------------------------------------------------------------------------------
    def _barred(self, entry: Mapping[str, Any], user: str) -> Said | None:
        """The answer to a user who may not do this; root@pam may do all, and what names no role is for it alone."""
        if entry["user"] in ("world", "all") or user == "root@pam":
            return None
        role = self.users.get(user, ("", ""))[1]
        roles = {role, "audit", "qmanager"} if role == "helpdesk" else {role}
        if entry["roles"] and roles & set(entry["roles"]):
            return None
        why = "Permission check failed" if entry["roles"] else "Permission check failed (user != root@pam)"
        return Said(403, why, {"data": None, "message": f"{why}\n"})

    def _user(self, method: str, headers: Mapping[str, str]) -> str | Said:
        cookie = SimpleCookie(headers.get("cookie", ""))
        if headers.get("authorization", "").startswith("PVEAPIToken"):
            return Said(401, "API tokens not implemented")
        if "PMGAuthCookie" not in cookie:
            return Said(401, "No ticket")
        known = self.tickets.get(unquote(cookie["PMGAuthCookie"].value))
        if known is None:
            return Said(401, "permission denied - invalid PMG ticket")
        if method != "GET" and headers.get("csrfpreventiontoken") != known[1]:
            return Said(401, "Permission denied - invalid csrf token")
        return known[0]

    def _log_in(self, given: Mapping[str, str]) -> Said:
        user = f"{given['username']}@{given['realm']}" if "realm" in given else given["username"]
        password, role = self.users.get(user, ("", ""))
        if not password or given["password"] != password:
            return Said(401, "authentication failure", {"data": None, "message": "authentication failure\n"})
        if self.second_factor:
            return good({"username": user, "NeedTFA": 1, "ticket": "PMG:!tfa!"})
        ticket, second = f"PMG:{user}:{secrets.token_hex(8)}::{secrets.token_urlsafe(24)}==", secrets.token_hex(16)
        self.tickets[ticket] = (user, second)
        return good({"ticket": ticket, "CSRFPreventionToken": second, "username": user, "role": role})

    # -- what is done ---------------------------------------------------------------------------
    def _carry_out(self, method: str, path: str, given: Mapping[str, str], user: str = "root@pam") -> Said:
        if (method, path) == ("POST", "/access/ticket"):
            return self._log_in(given)
        if (method, path) == ("GET", "/version"):
            return good({"release": self.release, "version": f"{self.release}.0", "repoid": "fake"})
        for base, words in LISTS.items():
            if path in (base, f"{base}/{{{words.key}}}"):
                return self._list(method, base, words, dict(given))
        section = path.removeprefix("/config/")
        if section in SECTIONS:
            return self._section(method, section, dict(given))
        for part in self.parts.values():
            if (said := part.handle(method, path, dict(given), user)) is not None:
                return said
        return Said(501, "this fake does not know it")

    @property
    def digest(self) -> str:
        """What the whole configuration is known by."""
        return hashlib.sha1(json.dumps(self.sections, sort_keys=True).encode(), usedforsecurity=False).hexdigest()

    def _section(self, method: str, section: str, given: dict[str, Any]) -> Said:
        if method == "GET":
            return good({**self.sections[section], "digest": self.digest})
        failed, digest = f"update config section '{section}' failed: ", given.pop("digest", "")
        if not given:
            return died(f"{failed}no options specified")
        if digest and digest != self.digest:
            return died(f"{failed}detected modified configuration - file changed by other user? Try again.")
        leaving = [name for name in given.pop("delete", "").split(",") if name]
        if any("\n" in str(value) for value in given.values()):
            return died(f"{failed}property contains a line feed")
        changed = {**self.sections[section], **{name: _as_shown(_as_stored(value)) for name, value in given.items()}}
        self.sections[section] = {k: v for k, v in changed.items() if v != "" and k not in leaving}
        return good()

    def _list(self, method: str, base: str, words: Words, given: dict[str, Any]) -> Said:
        entries, key = self.lists[base], given.pop(words.key, None)
        if key is None:
            return good([self._shown(base, words, one) for one in sorted(entries)])
        if method == "PUT" and base == "/config/transport" and not given:
            return died(f"{words.failed[method]} failed: no options specified")
        if (key in entries) is (method == "POST"):
            return self._no(method, base, words, key)
        if method == "GET":
            return good(self._shown(base, words, key))
        if method == "DELETE":
            del entries[key]
        else:
            entries[key] = {**entries.get(key, {}), **{name: _as_stored(value) for name, value in given.items()}}
        return good()

    @staticmethod
    def _no(method: str, base: str, words: Words, key: str) -> Said:
        entry, there = words.entry.format(key), "already exists" if method == "POST" else "does not exist"
        if (base, method) == ("/config/transport", "PUT"):
            entry = words.entry.format("")
        if (base, method) == ("/config/tls-inbound-domains", "DELETE"):
            entry = f"tls_inbound_domains entry for '{key}'"
        if words.wrapped and method == "GET":
            failed = "Parameter verification failed."
            return Said(
                400, failed, {"data": None, "errors": {words.key: f"{entry} {there}"}, "message": f"{failed}\n"}
            )
        if words.wrapped:
            return died(
                f"{words.failed[method]} failed: 400 Parameter verification failed.\n{words.key}: {entry} {there}"
            )
        return died(f"{words.failed[method]} failed: {entry} {there}" if method != "GET" else f"{entry} {there}")

    def _shown(self, base: str, words: Words, key: str) -> dict[str, Any]:
        entry = self.lists[base][key]
        found: dict[str, Any] = {words.key: key, **entry}
        if words.wrapped:
            return found
        found["comment"] = entry.get("comment", "")
        if base == "/config/mynetworks" and self.release.startswith("8."):
            address, dummy, size = key.partition("/")
            found |= {"network_address": address, "prefix_size": int(size)}
        if base == "/config/transport":
            protocol = entry.get("protocol", "smtp")
            direct = protocol == "lmtp" or _is_address(entry["host"]) or str(entry.get("use_mx", 1)) in ("0", "False")
            found |= {"port": str(entry.get("port", 25)), "protocol": protocol, "use_mx": int(not direct)}
        return found


# -- the schema's formats, as far as the fake needs them ------------------------------------------


def _complaint(rule: Mapping[str, Any], value: Any) -> str:
    """What pmg-api says of a value that breaks a rule of the schema; empty if it does not."""
    text, kind = str(value), rule.get("type")
    if kind == "boolean" and text not in ("0", "1", "True", "False"):
        return f"type check ('boolean') failed - got '{text}'"
    if kind == "integer" and not re.fullmatch(r"-?\d+", text):
        return f"type check ('integer') failed - got '{text}'"
    if "pattern" in rule and not re.fullmatch(_pattern(rule["pattern"]), text):
        return "value does not match the regex pattern"
    if len(text) > rule.get("maxLength", len(text)):
        return f"value may only be {rule['maxLength']} characters long"
    if len(text) < rule.get("minLength", 0):
        return f"value must be at least {rule['minLength']} characters long"
    if "minimum" in rule and int(text) < rule["minimum"]:
        return f"value must have a minimum value of {rule['minimum']}"
    if "maximum" in rule and int(text) > rule["maximum"]:
        return f"value must have a maximum value of {rule['maximum']}"
    if "enum" in rule and text not in rule["enum"]:
        return f"value '{text}' does not have a value in the enumeration '{', '.join(rule['enum'])}'"
    if not isinstance(rule.get("format", ""), str):  # a text of parts, which is for those who know them
        return ""
    if rule.get("format") == "tls-policy-strict" and text not in TLS_LEVELS:
        return f"invalid format - value '{text}' does not look like a valid tls policy\n"
    if rule.get("format") == "address" and not _is_server(text):
        return f"invalid format - value does not look like a valid address: {text}\n"
    if rule.get("format") == "pmg-userid" and not _is_userid(text):
        return f"invalid format - value '{text}' does not look like a valid user name\n"
    fits, title = FORMATS.get(rule.get("format", ""), (None, ""))
    return "" if fits is None or fits(text) else f"invalid format - value does not look like a valid {title}\n"


def _pattern(text: str) -> str:
    """A pattern of Perl as Python has it."""
    return text.replace("(?^:", "(?:").replace(r"\p{PosixPrint}", r"[^\x00-\x1f\x7f]")


@functools.cache
def _path_pattern(path: str) -> re.Pattern[str]:
    pattern = re.escape(path)
    if path.startswith("/config/mynetworks/"):
        pattern = re.sub(r"\\\{(\w+)\\\}$", r"(?P<\1>.+)", pattern)
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", pattern))


def _numbers(name: str) -> Sequence[str]:
    """What stands for the n of a parameter such as acmedomain[n]."""
    return "012345" if name.endswith("[n]") else "-"


def _is_cidr(text: str) -> bool:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text and network.prefixlen >= 8


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_domain(text: str) -> bool:
    return DOMAIN.fullmatch(text) is not None


def _is_server(text: str) -> bool:
    return _is_address(text) or (_is_domain(text) and not text.startswith("."))


def _is_next_hop(text: str) -> bool:
    return _is_domain(text) or _is_server(text[1:-1] if text.startswith("[") and text.endswith("]") else text)


def _is_domain_or_email(text: str) -> bool:
    local, at, domain = text.rpartition("@")
    if at:
        return re.fullmatch(r"[^\s/@]+", local) is not None and not domain.startswith(".") and _is_domain(domain)
    return _is_domain(text)


def _as_shown(value: Any) -> Any:
    """Numbers and truth come back as numbers, whatever they came as."""
    return int(value) if isinstance(value, bool) or re.fullmatch(r"-?\d+", str(value)) else value


def _as_stored(value: Any) -> Any:
    """What is read back of a file that Perl writes in UTF-8 where Latin-1 does not do, and always reads as bytes."""
    if isinstance(value, str) and not all(ord(char) < 256 for char in value):
        return value.encode().decode("latin-1")
    return value


def _is_email(text: str) -> bool:
    return re.fullmatch(r"[\w+~-]+(?:\.[\w+~-]+)*@[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)*", text) is not None


def _is_userid(text: str) -> bool:
    return re.fullmatch(r"[^\s:/]+@[A-Za-z][A-Za-z0-9._-]+", text) is not None


def _is_dns_name(text: str) -> bool:
    return _is_domain(text) and not text.startswith(".")


FORMATS = {
    "email": (_is_email, "email address"),
    "dns-name": (_is_dns_name, "DNS name"),
    "ip": (_is_address, "IP address"),
    "CIDR": (_is_cidr, "CIDR network"),
    "transport-domain": (_is_domain, "transport domain"),
    "transport-domain-or-email": (_is_domain_or_email, "transport domain or email address"),
    "transport-domain-or-nexthop": (_is_next_hop, "domain or next-hop"),
    "transport-address": (_is_server, "address"),
}


# -- over HTTPS ---------------------------------------------------------------------------------


def certificate(folder: Path) -> Path:
    """A certificate of 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fake")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "fake.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


@contextmanager
def serving(fake: FakePmg, pem: Path) -> Iterator[int]:
    """The fake on a port of 127.0.0.1, which is given."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            url = urlsplit(self.path)
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            given = dict(parse_qsl(url.query, keep_blank_values=True))
            if content and "json" in self.headers.get("Content-Type", ""):
                given |= json.loads(content)
            elif content:
                given |= dict(parse_qsl(content.decode(), keep_blank_values=True))
            headers = dict(self.headers.items())
            said = fake.handle(self.command, url.path.removeprefix(BASE), given, headers, body=bool(content))
            self.close_connection = True
            if said is None:
                return
            if said.late:
                fake.released.wait(60)
            sent = said.body.encode() if isinstance(said.body, str) else json.dumps(said.body).encode()
            # Who was kept waiting may have gone.
            with contextlib.suppress(OSError) if said.late else contextlib.nullcontext():
                self.send_response(said.status, said.reason)
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

        do_GET = do_POST = do_PUT = do_DELETE = answer

        def log_message(self, format: str, *args: Any) -> None:
            """Tests look at the fake's own log."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
