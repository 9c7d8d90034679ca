# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The check of the estate's own domains, told by the inventory: in a sound estate it finds nothing."""

from __future__ import annotations

import base64
import datetime
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from lab.plays import ESTATE, play
from lab.probe import Lab

PLAYBOOKS = Path(__file__).resolve().parents[3] / "playbooks"
DOMAINS = ("corp.example", "shop.example")
MX = "mx.outside.test"  # takes the estate's mail, and serves its policies here
# What the inventory tells the check, so that nobody has to.
TOLD = ("ptr.exists", "ptr.fcrdns", "helo.name", "spf.covers-ip", "dkim.present", "dkim.match", "dkim.rotation")
POLICY = f"version: STSv1\r\nmode: enforce\r\nmx: {MX}\r\nmax_age: 1209600\r\n"
WEB = """import http.server, ssl
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(open("/root/policy.txt", "rb").read())
http.server.ThreadingHTTPServer.address_family = 10
server = http.server.ThreadingHTTPServer(("::", 443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/root/policy.pem")
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
"""


def _certificate(names: list[str]) -> tuple[str, str]:
    """A certificate that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "policies")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


@pytest.fixture(scope="module")
def ca_file(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Policies at the web server that the estate's domains name; the authorities to trust."""
    certificate, key = _certificate([f"mta-sts.{domain}" for domain in DOMAINS])
    files = {"/root/policy.pem": certificate + key, "/root/policy.txt": POLICY, "/root/policy.py": WEB}
    script = ["set -eu", "systemctl stop policies 2>&1 || true"]
    script += [f"echo {base64.b64encode(text.encode()).decode()} | base64 -d > {path}" for path, text in files.items()]
    script += [
        "systemd-run -q --unit=policies python3 /root/policy.py",
        "for n in $(seq 100); do ss -ltn | grep -q ':443 ' && exit; sleep 0.2; done; exit 1",
    ]
    lab.run("outside", "sh", input="\n".join(script))
    path = tmp_path_factory.mktemp("check") / "ca.pem"
    path.write_text(Path(lab.known["ca_file"]).read_text() + certificate)
    return str(path)


@pytest.fixture(scope="module")
def domains(lab: Lab) -> list[dict[str, Any]]:
    """The estate's domains with all that a careful owner publishes, and DNS with it."""
    held = yaml.safe_load((ESTATE / "group_vars" / "all" / "mail.yml").read_text())["mail_domains"]
    for domain in held:
        domain["dmarc"]["policy"] = "reject"
        domain["mta_sts"] = {"mode": "enforce", "mx": [MX], "max_age": 1209600, "host": MX}
        domain["tls_rpt"] = {"rua": [f"mailto:tls@{domain['name']}"]}
    assert [domain["name"] for domain in held] == list(DOMAINS)
    play(
        lab,
        PLAYBOOKS / "records.yml",
        extra={"mail_domains": held, "mail_records_replace": True},
        limit="relays,localhost",
    )
    return list(held)


def check(lab: Lab, folder: Path, ca_file: str, **extra: Any) -> dict[str, Any]:
    """check.yml with the inventory, told only what the lab has instead of the internet; its report."""
    path = folder / "report.json"
    lists = {"check_dnsbl_ip": [], "check_dnsbl_domain": []}
    told = {"check_resolver": [lab.address("resolver")], "check_trust_ad": True, "check_ca_file": ca_file}
    extra = {"check_report_file": str(path), "check_fail_on": "I", "check_query_timeout": 8, **told, **lists, **extra}
    played = play(lab, PLAYBOOKS / "check.yml", extra=extra, limit="relays,localhost", must_pass=False)
    assert path.exists(), played.output[-4000:]
    report: dict[str, Any] = json.loads(path.read_text())
    assert played.changed == {} and played.code == (2 if report["findings"] else 0), played.output[-4000:]
    return report


def test_in_the_sound_estate_the_check_finds_nothing(
    lab: Lab, domains: list[dict[str, Any]], ca_file: str, tmp_path: Path
) -> None:
    report = check(lab, tmp_path, ca_file, mail_domains=domains)
    assert report["findings"] == []
    assert report["domains"] == list(DOMAINS)
    for domain in DOMAINS:
        verdicts = report["verdicts"][domain]
        assert {row: verdicts[row] for row in TOLD} == dict.fromkeys(TOLD, "ok")
        # What takes a message, a number, a list or a server to try; and outside has no postmaster for the estate.
        assert {row for row, verdict in verdicts.items() if verdict != "ok"} == {
            *("egress.ip", "ingress.src", "port25.out", "dkim.sig", "dmarc.align", "bulk.both", "bulk.oneclick"),
            *("bulk.spamrate", "msg.format", "dnsbl.ip/domain", "relay+smuggling", "ar.trust", "addr.role"),
        }


def test_a_key_that_dns_holds_otherwise_is_found_by_what_the_inventory_tells(
    lab: Lab, domains: list[dict[str, Any]], ca_file: str, tmp_path: Path
) -> None:
    """The twin: one relay's key is another one in DNS, and the domain of somebody else is told nothing."""
    names = lab.run("relay1", "ls /etc/dkimkeys").stdout.split()
    selector = next(name for name in names if name.startswith("shop.example.rsa") and name.endswith(".key"))
    owner = f"{selector.removeprefix('shop.example.').removesuffix('.key')}._domainkey.shop.example"
    before = lab.query(owner, "TXT")
    other = lab.query(owner.replace("shop", "corp"), "TXT") or ['"v=DKIM1; p=AAAA"']
    lab.update(owner, "TXT", other)
    try:
        report = check(lab, tmp_path, ca_file, mail_domains=domains, domain="shop.example,provider.test")
    finally:
        lab.update(owner, "TXT", before)
    found = {(item["domain"], item["id"]) for item in report["findings"]}
    assert {row for domain, row in found if domain == "shop.example"} & {"dkim.match", "dkim.syntax"}
    assert report["verdicts"]["provider.test"]["dkim.match"] == "unknown"
    assert {report["verdicts"][name]["ptr.exists"] for name in ("shop.example", "provider.test")} == {"unknown"}
