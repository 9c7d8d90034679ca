# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates from an authority, by HTTP-01 on one host and by DNS-01 on the other, and what is served with them."""

from __future__ import annotations

import hashlib
import http.client
import imaplib
import json
import smtplib
import socket
import ssl
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import plays
from lab.probe import Lab, ProbeError
from lab.render import ACME_PORT, ACME_ROOTS_PORT
from servers import BARE, CONVERGE, DOMAINS, HOSTS, arrive, converge, of, send

ESTATE = CONVERGE.parent / "estate"
PLAYBOOKS = CONVERGE.parents[2] / "playbooks"
PORTS = (25, 143, 443, 465, 587, 993)
LIVE = "/etc/letsencrypt/live"
WEB, POLICY = "/var/www/mail_web", ".well-known/mta-sts.txt"
GONE = f"{WEB}/mta-sts.gone.example"
NEXT = {"certificate_next_name": "{{ lab_fqdn }}-next"}
OUTLOOK = "{http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a}"
QUESTION = (
    '<?xml version="1.0"?><Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006">'
    "<Request><EMailAddress>{}</EMailAddress></Request></Autodiscover>"
)


def run(lab: Lab, **options: Any) -> plays.Played:
    """Run the playbook of the whole estate, of which the mail servers are meant."""
    return plays.play(lab, PLAYBOOKS / "site.yml", inventories=[ESTATE], limit="mail_servers,localhost", **options)


@pytest.fixture(scope="module", autouse=True)
def certified(lab: Lab) -> Iterator[plays.Played]:
    """Both servers with certificates of the authority, each with the next; the ones of before come back afterwards."""
    for host in HOSTS:  # what a domain has left that is no more, and something of another's
        lab.run(host, f"mkdir -p {GONE}/.well-known {WEB}/notes; echo x >{GONE}/{POLICY}")
    yield run(lab, extra=NEXT)
    converge(lab)


@pytest.fixture(scope="module")
def roots(lab: Lab) -> str:
    """The authority's own root, which nobody else trusts."""
    asked = f"import urllib.request as u; print(u.urlopen('https://acme.lab.test:{ACME_ROOTS_PORT}/roots/0').read().decode())"
    return lab.run("stranger", ["python3", "-c", asked]).stdout


class Smtp(smtplib.SMTP):
    """SMTP that asks for TLS by the name of the host."""

    def __init__(self, address: str, port: int, name: str) -> None:
        super().__init__(address, port, local_hostname="client.stranger.test", timeout=60)
        self._host = name


def served(lab: Lab, host: str, port: int, roots: str, name: str = "") -> bytes:
    """The certificate that a port shows, which has to hold the name and to come from the authority."""
    name, address = name or lab.fqdn(host), lab.address(host)
    context = ssl.create_default_context(cadata=roots)
    if port in (25, 587):
        with Smtp(address, port, name) as client:
            client.starttls(context=context)
            assert client.sock is not None
            return client.sock.getpeercert(binary_form=True)  # type: ignore[attr-defined, no-any-return]
    if port == 143:
        context.check_hostname = False  # the library would ask for the address
        with imaplib.IMAP4(address, port, timeout=60) as client:
            client.starttls(context)
            return client.sock.getpeercert(binary_form=True)  # type: ignore[attr-defined, no-any-return]
    with (
        socket.create_connection((address, port), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname=name) as client,
    ):
        return client.getpeercert(binary_form=True) or b""


def held(lab: Lab, host: str, file: str = "cert") -> bytes:
    """The newest certificate that certbot holds."""
    return ssl.PEM_cert_to_DER_cert(lab.run(host, ["cat", f"{LIVE}/{lab.fqdn(host)}/{file}.pem"]).stdout)


def digest(lab: Lab, host: str, which: str = "") -> str:
    """What a TLSA record says of the key."""
    path = f"{LIVE}/{lab.fqdn(host)}{which}/cert.pem"
    said = f"openssl x509 -in {path} -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum"
    return lab.run(host, said).stdout.split(maxsplit=1)[0]


def tlsa(lab: Lab, host: str) -> set[str]:
    """The records of port 25, without blanks."""
    return {record.replace(" ", "").lower() for record in lab.query(f"_25._tcp.{lab.fqdn(host)}.", "TLSA")}


def fetch(lab: Lab, host: str, name: str, path: str, roots: str, body: str = "") -> tuple[int, str, str]:
    """Status, type and text at an address, over HTTPS by its name."""
    with socket.create_connection((lab.address(host), 443), timeout=60) as plain:
        client = http.client.HTTPSConnection(name)
        client.sock = ssl.create_default_context(cadata=roots).wrap_socket(plain, server_hostname=name)
        client.request("POST" if body else "GET", path, body or None, {"Content-Type": "text/xml"})
        answer = client.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read().decode()


# -- certificates -------------------------------------------------------------------------------
def test_what_the_run_did(lab: Lab, certified: plays.Played) -> None:
    for host in HOSTS:
        assert "Have the certificate" in certified.changed[host]
        assert lab.run(
            host, "systemctl is-enabled certbot.timer; systemctl is-active certbot.timer"
        ).stdout.split() == ["enabled", "active"]
    assert "standalone" in lab.run("mail-12", f"cat /etc/letsencrypt/renewal/{lab.fqdn('mail-12')}.conf").stdout
    assert "dns-rfc2136" in lab.run("mail-13", f"cat /etc/letsencrypt/renewal/{lab.fqdn('mail-13')}.conf").stdout


@pytest.mark.parametrize("host", HOSTS)
def test_every_port_serves_it(lab: Lab, host: str, roots: str, token: str) -> None:
    for port in PORTS:
        name = f"mta-sts.{DOMAINS[host]}" if port == 443 else ""
        assert served(lab, host, port, roots, name) == held(lab, host), port
    assert arrive(lab, host, f"{token}-1").accepted
    assert send(lab, host, f"{token}-2").accepted
    assert lab.wait_for_message(f"{token}-2").verdicts == {"spf": "pass", "dkim": "pass", "dmarc": "pass"}


def test_port_80_is_open_only_while_it_is_needed(lab: Lab) -> None:
    for host in HOSTS:
        assert lab.listeners(host, 80) == set()
    assert lab.run("mail-12", "cat /run/port80").stdout.split() == ["opened", "closed"] * versions(lab, "mail-12")
    assert lab.run("mail-13", "ls /run/port80", check=False).returncode != 0


def versions(lab: Lab, host: str) -> int:
    """How often a certificate has come."""
    return len(lab.run(host, "ls /etc/letsencrypt/archive/*/cert*").stdout.split())


@pytest.mark.parametrize("host", HOSTS)
def test_nobody_but_root_reads_keys_and_secrets(lab: Lab, host: str) -> None:
    for path in (f"{LIVE}/{lab.fqdn(host)}/privkey.pem", "/etc/postmaster.mail/certificates/dns.ini"):
        there = lab.run(host, ["cat", path], check=False).returncode == 0
        assert there == (host == "mail-13" or "privkey" in path)
        assert lab.run(host, ["runuser", "-u", "nobody", "--", "cat", path], check=False).returncode != 0


# -- renewal ------------------------------------------------------------------------------------
def renew(lab: Lab, host: str) -> None:
    """What certbot's own timer does, in its own service, but now."""
    runtime = "/run/systemd/system/certbot.service.d"
    forced = f"certbot -q renew --no-random-sleep-on-renew --force-renewal --cert-name {lab.fqdn(host)}"
    drop_in = f"[Service]\nExecStart=\nExecStart={forced}\n"
    lab.run(host, f"mkdir -p {runtime}; cat >{runtime}/forced.conf; systemctl daemon-reload", input=drop_in)
    try:
        lab.run(host, "systemctl start certbot", timeout=240)
    finally:
        lab.run(host, f"rm {runtime}/forced.conf; systemctl daemon-reload")


@pytest.mark.parametrize("host", HOSTS)
def test_a_renewal_reaches_every_port_and_keeps_the_key(lab: Lab, host: str, roots: str) -> None:
    name, before, key = lab.fqdn(host), held(lab, host), digest(lab, host)
    renew(lab, host)
    after = held(lab, host)
    assert after != before
    assert digest(lab, host) == key
    for port in PORTS:
        assert served(lab, host, port, roots, f"autoconfig.{DOMAINS[host]}" if port == 443 else "") == after, port
    assert f"the certificate {name} is served on 25" in lab.journal(host, f"certificate-deploy@{name}")
    assert lab.run(host, f"systemctl is-failed certificate-deploy@{name}", check=False).returncode != 0


def test_a_renewal_goes_through_a_firewall_that_is_shut(lab: Lab, roots: str) -> None:
    """By HTTP-01, and not without the program that opens port 80 for a moment."""
    host, port80 = "mail-12", "/usr/local/lib/postmaster.mail/port80"
    extra: dict[str, Any] = {"mail_server_firewall": "nftables", **NEXT}
    for when in ("open", "close"):
        extra |= {f"certificate_{when}_port": [["sh", "-c", f"{port80} {when}"]]}
    only = {"inventories": [ESTATE], "limit": f"{host},localhost"}
    try:
        plays.play(lab, PLAYBOOKS / "site.yml", extra=extra, **only)
        before = held(lab, host)
        lab.run(host, ["chmod", "-x", port80])
        with pytest.raises(ProbeError, match="certbot"):
            renew(lab, host)
        assert held(lab, host) == before
        lab.run(host, ["chmod", "+x", port80])
        renew(lab, host)
        after = held(lab, host)
        assert after != before and served(lab, host, 25, roots) == after
        assert " 80 " not in lab.run(host, "nft list set inet postmaster_mail for_a_moment").stdout
    finally:
        plays.play(lab, PLAYBOOKS / "site.yml", extra=NEXT, **only)


@pytest.mark.parametrize("host", HOSTS)
def test_a_service_that_keeps_the_old_one_is_told(lab: Lab, host: str) -> None:
    name, bits = lab.fqdn(host), CONVERGE.parent / "certificates.yml"
    path = f"/etc/postmaster.mail/certificates/{name}.json"
    whole = lab.run(host, ["cat", path]).stdout
    settings = json.loads(whole)
    settings["wait"] = 2
    # Dovecot is not told, but still asked.
    for service in settings["services"]:
        if service["name"] == "dovecot":
            service |= {"name": "unbound", "state": "restarted"}
    lab.run(host, f"cat >{path}", input=json.dumps(settings))
    renew(lab, host)
    sentence = f"port 993 serves another certificate than {name}"
    assert sentence in lab.journal(host, f"certificate-deploy@{name}")
    assert lab.run(host, f"systemctl is-failed certificate-deploy@{name}", check=False).stdout.strip() == "failed"
    played = plays.play(lab, bits, inventories=(), extra={"proof_hosts": host}, must_pass=False)
    assert sentence in played.failures[host], played.output
    lab.run(host, f"cat >{path}", input=whole)
    lab.run(host, f"systemctl start certificate-deploy@{name}")
    assert plays.play(lab, bits, inventories=(), extra={"proof_hosts": host}).failures == {}


# -- web ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("host", HOSTS)
def test_the_policy_is_the_one_whose_number_is_published(lab: Lab, host: str, roots: str) -> None:
    domain = DOMAINS[host]
    status, kind, text = fetch(lab, host, f"mta-sts.{domain}", "/.well-known/mta-sts.txt", roots)
    assert (status, kind.partition(";")[0]) == (200, "text/plain")
    assert text.splitlines()[:3] == ["version: STSv1", "mode: enforce", f"mx: {lab.fqdn(host)}"]
    number = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert lab.query(f"_mta-sts.{domain}", "TXT") == [f'"v=STSv1; id={number};"']
    assert fetch(lab, host, f"mta-sts.{domain}", "/mail/config-v1.1.xml", roots)[0] == 404


@pytest.mark.parametrize("host", HOSTS)
def test_thunderbird_finds_its_servers(lab: Lab, host: str, roots: str) -> None:
    name = f"autoconfig.{DOMAINS[host]}"
    first = fetch(lab, host, name, f"/mail/config-v1.1.xml?emailaddress={of(host, 'ann')}", roots)
    assert fetch(lab, host, name, "/.well-known/autoconfig/mail/config-v1.1.xml", roots) == first
    assert (first[0], first[1].partition(";")[0]) == (200, "text/xml")
    provider = ET.fromstring(first[2]).find("emailProvider")
    assert provider is not None and provider.findtext("domain") == DOMAINS[host]
    found = [
        (one.get("type"), one.findtext("hostname"), one.findtext("port"), one.findtext("socketType"))
        for one in provider
        if one.get("type")
    ]
    at = lab.fqdn(host)
    assert found == [
        ("imap", at, "993", "SSL"), ("imap", at, "143", "STARTTLS"),
        ("smtp", at, "465", "SSL"), ("smtp", at, "587", "STARTTLS"),
    ]  # fmt: skip
    assert fetch(lab, host, name, "/", roots)[0] == 404


@pytest.mark.parametrize("host", HOSTS)
def test_outlook_is_answered_by_address(lab: Lab, host: str, roots: str) -> None:
    name = f"autodiscover.{DOMAINS[host]}"
    for path in ("/autodiscover/autodiscover.xml", "/Autodiscover/Autodiscover.xml"):
        status, kind, text = fetch(lab, host, name, path, roots, QUESTION.format(of(host, "ann")))
        assert (status, kind.partition(";")[0]) == (200, "text/xml")
        protocols = [
            tuple(one.findtext(f"{OUTLOOK}{field}") for field in ("Type", "Server", "Port", "LoginName", "SSL"))
            for one in ET.fromstring(text).iter(f"{OUTLOOK}Protocol")
        ]
        assert protocols == [
            ("IMAP", lab.fqdn(host), "993", of(host, "ann"), "on"),
            ("SMTP", lab.fqdn(host), "465", of(host, "ann"), "on"),
        ]  # fmt: skip
    for body in (QUESTION.format("ann@third.example"), QUESTION.format("<b>@" + DOMAINS[host]), "nonsense", ""):
        assert (
            "<ErrorCode>600</ErrorCode>" in fetch(lab, host, name, "/autodiscover/autodiscover.xml", roots, body)[2]
        ), body
    assert fetch(lab, host, name, "/autodiscover/autodiscover.xml", roots, QUESTION.format("a" * 20_000))[0] == 413


def test_sheets_for_the_people(lab: Lab) -> None:
    for host in HOSTS:
        text = (Path(lab.known["ca_file"]).parent / "sheets" / f"{DOMAINS[host]}.txt").read_text(encoding="utf-8")
        lines = [" ".join(line.split()) for line in text.splitlines()]
        start = lines.index("To read mail (IMAP)")
        assert lines[start + 1 : start + 4] == [f"Server {lab.fqdn(host)}", "Port 993", "Security SSL/TLS"]
        assert f"such as {of(host, 'ann')}" in text
        assert "To change rules for incoming mail (ManageSieve)" in lines


@pytest.mark.parametrize("host", HOSTS)
def test_the_answers_of_a_domain_that_is_gone_are_gone(lab: Lab, host: str) -> None:
    there = lab.run(host, ["ls", WEB]).stdout.split()
    assert sorted(there) == ["autoconfig." + DOMAINS[host], "autodiscover", "mta-sts." + DOMAINS[host], "notes"]


# -- records ------------------------------------------------------------------------------------
@pytest.mark.parametrize("host", HOSTS)
def test_the_records(lab: Lab, host: str) -> None:
    domain, at = DOMAINS[host], f"{lab.fqdn(host)}."
    keys = {digest(lab, host), digest(lab, host, "-next")}
    assert len(keys) == 2
    assert tlsa(lab, host) == {f"311{key}" for key in keys}
    for name in ("autoconfig", "autodiscover", "mta-sts"):
        assert lab.query(f"{name}.{domain}", "CNAME") == [at]
    assert lab.query(f"_imaps._tcp.{domain}", "SRV") == [f"0 1 993 {at}"]
    assert lab.query(f"_submissions._tcp.{domain}", "SRV") == [f"0 1 465 {at}"]
    assert lab.query(f"_submission._tcp.{domain}", "SRV") == [f"10 1 587 {at}"]
    assert lab.query(f"_sieve._tcp.{domain}", "SRV") == ([f"0 1 4190 {at}"] if host == "mail-12" else [])
    assert lab.query(domain, "MX") == [f"10 {at}"]
    v4 = ".".join(reversed(lab.address(host).split(".")))
    assert lab.query(f"{v4}.in-addr.arpa.", "PTR") == [at]


def test_the_domains_are_sound(lab: Lab, roots: str, tmp_path: Path) -> None:
    bundle, report = tmp_path / "roots.pem", tmp_path / "report.json"
    bundle.write_text(roots)
    wanted = {
        "domains": list(DOMAINS.values()), "resolver": [lab.known["dns"]["resolver"]], "trust_ad": True,
        "ca_file": str(bundle), "query_timeout": 8, "report_file": str(report),
    }  # fmt: skip
    plays.play(lab, PLAYBOOKS / "check.yml", inventories=(), must_pass=False,
               extra={f"check_{name}": value for name, value in wanted.items()})  # fmt: skip
    told = json.loads(report.read_text())
    assert {item["id"] for item in told["findings"] if item["severity"] == "F"} == set(), told["findings"]
    # A server with another name than the policy has would be told, and so would a certificate of somebody else.
    assert {"mtasts.dns+policy", "tls.starttls", "dane.tlsa"} & {item["id"] for item in told["findings"]} == set()


def test_a_certificate_that_cannot_be_read_keeps_its_records(lab: Lab) -> None:
    before = {host: tlsa(lab, host) for host in HOSTS}
    extra = {"mail_server_tls_certificate": "/etc/hostname"}
    played = plays.play(lab, PLAYBOOKS / "records.yml", inventories=[ESTATE], extra=extra, must_pass=False)
    assert set(played.failures) == set(HOSTS), played.output
    assert {host: tlsa(lab, host) for host in HOSTS} == before


# -- runs ---------------------------------------------------------------------------------------
def test_a_certificate_that_does_not_come_leaves_what_runs(lab: Lab, roots: str) -> None:
    renewal = "cat /etc/letsencrypt/renewal/*.conf"
    before = {host: (held(lab, host), lab.run(host, renewal).stdout) for host in HOSTS}
    away = f"https://acme.lab.test:{ACME_PORT + 1}/dir"
    played = run(lab, extra={"certificate_server": away}, must_pass=False)
    for host in HOSTS:
        sentence = f"no certificate {lab.fqdn(host)}: the authority at {away} does not answer"
        assert sentence in played.failures[host]
        assert (held(lab, host), lab.run(host, renewal).stdout) == before[host]
        assert served(lab, host, 465, roots) == before[host][0]
        # The next one is not asked for any more, and DNS forgets it.
        assert tlsa(lab, host) == {f"311{digest(lab, host)}"}


def test_a_second_run_changes_nothing(lab: Lab) -> None:
    before = {host: held(lab, host) for host in HOSTS}
    # A site that somebody made of Debian's welcome is theirs.
    enabled, available = "/etc/nginx/sites-enabled/default", "/etc/nginx/sites-available/default"
    lab.run("mail-13", f"cp -p {available} /root/welcome; echo '# ours' >>{available}; ln -s {available} {enabled}")
    try:
        assert run(lab).changed == {}
    finally:
        left = lab.run("mail-13", f"ls {enabled}; rm {enabled}; mv /root/welcome {available}").stdout
    assert left.strip() == enabled
    assert {host: held(lab, host) for host in HOSTS} == before


def test_check_mode_on_bare_hosts(lab: Lab) -> None:
    bits = CONVERGE.parent / "certificates.yml"
    played = plays.play(lab, bits, inventories=(), extra={"bare_hosts": BARE}, check=True)
    for host in BARE.split(","):
        assert {"Have the certificate", "Configure nginx"} <= set(played.changed[host])
        assert lab.listeners(host, 443) == set()
        assert lab.run(host, "ls /etc/letsencrypt /etc/nginx /etc/postmaster.mail", check=False).stdout == ""
