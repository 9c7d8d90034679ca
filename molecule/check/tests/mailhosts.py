# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail servers on the host of the stranger: a sound one, and others with one fault each, all Postfix, each with
addresses of its own; and the web server that has everybody's MTA-STS policy."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from lab.probe import Lab
from lab.render import ACME_PORT, ACME_ROOTS_PORT

HOST = "stranger"
# Number of its addresses, and what it does differently from a sound server.
SERVERS: Mapping[str, tuple[int, str]] = {
    "mx.stranger.test": (101, ""),
    "mx-plain.stranger.test": (102, "-o smtpd_tls_security_level=none"),
    "mx-old.stranger.test": (103, "-o smtpd_tls_protocols=<=TLSv1.1 -o smtpd_tls_ciphers=low"),
    "mx-cert.stranger.test": (
        104,
        "-o smtpd_tls_cert_file=/etc/ssl/certs/lab-host.pem -o smtpd_tls_key_file=/etc/ssl/private/lab-host.key",
    ),
    "mx-role.stranger.test": (105, "-o smtpd_recipient_restrictions=$no_roles"),
    "mx-open.stranger.test": (106, "-o mynetworks=0.0.0.0/0"),
    "mx-bare.stranger.test": (107, "-o smtpd_forbid_bare_newline=no"),
}
# Names of the sound server in other zones, and of one that has no address of the other family.
ALSO_SOUND = ("mx-dane.stranger.test", "mx-four.stranger.test", "mx-deaf.stranger.test", "mx.lab.test")
MAIN_CF = r"""compatibility_level = 3.10
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.stranger.test
inet_protocols = all
mynetworks = 127.0.0.0/8
mydestination =
alias_maps =
alias_database =
virtual_mailbox_domains = regexp:{{/\.test$$/ 1}}
virtual_mailbox_maps = static:all
virtual_transport = discard:
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_forbid_bare_newline = normalize
smtpd_forbid_unauth_pipelining = no
smtpd_tls_security_level = may
smtpd_tls_cert_file = /etc/postfix/check.pem
smtpd_tls_key_file = /etc/postfix/check.key
tls_low_cipherlist = ALL:@SECLEVEL=0
tls_high_cipherlist = ALL:@SECLEVEL=0
tls_medium_cipherlist = ALL:@SECLEVEL=0
no_roles = check_recipient_access regexp:{{/^(postmaster|abuse)@/ 550 5.1.1 no such user}}
"""
WEB = """import http.server, json, ssl, sys
policies = json.load(open("/root/policies.json"))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, kind, text = policies.get(self.headers.get("Host", ""), [404, "text/plain", ""])
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())
http.server.ThreadingHTTPServer.request_queue_size = 128
server = http.server.ThreadingHTTPServer((sys.argv[1], 443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/etc/postfix/check.pem", "/etc/postfix/check.key")
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
"""


@dataclass(frozen=True)
class Certificate:
    """A certificate with its chain and key, and the ``root`` that vouches for it."""

    pem: str
    key: str
    root: str

    @property
    def digest(self) -> str:
        """What a TLSA record 3 1 1 holds of its key."""
        public = x509.load_pem_x509_certificate(self.pem.encode()).public_key()
        spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(spki).hexdigest()


@dataclass
class MailHosts:
    """The servers, once started; ``policies`` are status, type and text by web host."""

    lab: Lab
    policies: dict[str, tuple[int, str, str]] = field(default_factory=dict)

    def address(self, name: str, version: int = 4) -> str:
        """The address of a server, or that of the sound one for its other names."""
        number = SERVERS.get(name, SERVERS["mx.stranger.test"])[0]
        base = ipaddress.ip_network(self.lab.known["networks"]["internet"][f"v{version}"]).network_address
        if version == 4:
            return str(base + number)
        return str(base + int(str(number), 16))

    def certify(self, names: Iterable[str]) -> Certificate:
        """A certificate from the lab's authority, which looks for the proof (HTTP-01) at each of the names."""
        script = ["set -eu", *self._own_addresses(), "systemctl stop check-proofs 2>&1 || true"]
        serve = "python3 -m http.server 80 --bind :: --directory /root/proofs"
        wanted = " ".join(f"-d {name}" for name in names)
        script += [
            "mkdir -p /root/proofs",
            f"systemd-run -q --unit=check-proofs {serve}",
            "for n in $(seq 50); do ss -ltn | grep -q ':80 ' && break; sleep 0.2; done",
            f"certbot certonly -q --non-interactive --agree-tos --register-unsafely-without-email --cert-name check"
            f" --server https://acme.lab.test:{ACME_PORT}/dir --webroot -w /root/proofs {wanted}",
        ]
        self.lab.run(HOST, "sh", input="\n".join(script), timeout=240)
        root = f"import urllib.request as u; print(u.urlopen('https://acme.lab.test:{ACME_ROOTS_PORT}/roots/0').read().decode())"
        live = "/etc/letsencrypt/live/check"
        told = [f"cat {live}/fullchain.pem", f"cat {live}/privkey.pem", f'python3 -c "{root}"']
        return Certificate(*(self.lab.run(HOST, command).stdout for command in told))

    def _own_addresses(self) -> list[str]:
        """Commands that give the host all addresses of its servers."""
        script = ["device=$(ip -o -4 addr show to 198.18.0.0/16 | awk '{print $2; exit}')"]
        for name in SERVERS:
            for version, length in ((4, 24), (6, 64)):
                nodad = " nodad" if version == 6 else ""
                script.append(f"ip addr replace {self.address(name, version)}/{length} dev $device{nodad}")
        return script

    def start(self, certificate: Certificate) -> None:
        """Start Postfix and the web server."""
        master = ["pickup unix n - n 60 1 pickup", "cleanup unix n - n - 0 cleanup", "qmgr unix n - n 300 1 qmgr"]
        master += ["tlsmgr unix - - n 1000? 1 tlsmgr", "rewrite unix - - n - - trivial-rewrite"]
        master += ["discard unix - - n - - discard", "anvil unix - - n - 1 anvil", "proxymap unix - - n - - proxymap"]
        master += [f"{kind} unix - - n - 0 bounce" for kind in ("bounce", "defer", "trace")]
        script = ["set -eu"]
        for name, (dummy, options) in SERVERS.items():
            for version in (4, 6):
                address = self.address(name, version)
                place = f"[{address}]" if version == 6 else address
                master.append(f"{place}:25 inet n - n - - smtpd {options}")
        files = {
            "/etc/postfix/main.cf": MAIN_CF,
            "/etc/postfix/master.cf": "\n".join(master) + "\n",
            "/etc/postfix/check.pem": certificate.pem,
            "/etc/postfix/check.key": certificate.key,
            "/root/policies.json": json.dumps(self.policies),
            "/root/web.py": WEB,
        }
        for path, content in files.items():
            script.append(f"echo {base64.b64encode(content.encode()).decode()} | base64 -d > {path}")
        script += [
            "chmod 600 /etc/postfix/check.key",
            "postfix check",
            "systemctl restart postfix",
            "systemctl stop check-web 2>&1 || true",
        ]
        web = f"systemd-run -q --unit=check-web python3 /root/web.py {self.address('mx.stranger.test')}"
        self.lab.run(HOST, "sh", input="\n".join([*script, web]))
        listen = "ss -ltn | grep -q ':443 ' && ss -ltn | grep -q '107:25 '"
        self.lab.run(HOST, f"for n in $(seq 100); do {listen} && exit; sleep 0.2; done; exit 1")
