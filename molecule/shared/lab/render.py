# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders each host's files on the controller and packs them, so that a host is complete before it starts."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from . import zones
from .credentials import CA_NAME, Credentials, openssl_hash
from .hosts import BY_NAME, ESTATE, HOSTS, INTERNET, SIDES, Host, Plan

UNITS = "/usr/lib/systemd/system"
WANTS = "/etc/systemd/system/multi-user.target.wants"
PROVIDER_USER = "corp"
MAILBOX_USER = "inbox"  # outside's one mailbox, by IMAP
ACME_PORT, ACME_ROOTS_PORT = 14000, 15000  # pebble: its directory, and where its own root certificate is had
PROVIDER_CUSTOMERS = ("relay1",)  # known to the provider by their addresses; all others need the password
RESOLV_CONF = "nameserver {}\noptions edns0 trust-ad timeout:2 attempts:3\n"


@dataclass(frozen=True)
class File:
    """One file of a host; ``link`` makes it a symbolic link."""

    path: str
    content: str = ""
    mode: int = 0o644
    link: str = ""


def pack(files: Iterable[File]) -> bytes:
    """A tar archive of the files, all owned by root; folders that the image lacks come with 0755."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for file in files:
            info = tarfile.TarInfo(file.path.lstrip("/"))
            info.mode = file.mode
            data = file.content.encode()
            if file.link:
                info.type, info.linkname = tarfile.SYMTYPE, file.link
            elif file.path.endswith("/"):
                info.type = tarfile.DIRTYPE
            else:
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


class Renderer:
    """Knows what lies on every host of a lab."""

    def __init__(self, plan: Plan, credentials: Credentials) -> None:
        self.proxy = os.environ.get("http_proxy", "")
        self.plan = plan
        self.credentials = credentials
        self.zones = zones.build(plan, credentials.zone_key)
        self._jinja = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
            undefined=jinja2.StrictUndefined,
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
            autoescape=False,
        )

    def template(self, name: str, **values: Any) -> str:
        """Render a template with the values every template may use."""
        common = {
            "plan": self.plan,
            "hosts": BY_NAME,
            "address": {host.name: self.plan.control(host) for host in HOSTS},
            "address6": {host.name: self.plan.v6(host.number, host.sides[0]) for host in HOSTS},
            "networks": [str(net) for side in SIDES for net in (self.plan.net4(side), self.plan.net6(side))],
            "credentials": self.credentials,
            "zones": self.zones,
            "provider_user": PROVIDER_USER,
        }
        return self._jinja.get_template(name).render(**common, **values)

    def hosts_file(self, host: Host) -> str:
        """/etc/hosts: the host knows itself, all else is DNS."""
        lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
        lines += [f"{address} {host.fqdn} {host.name}" for address in self.plan.addresses(host)]
        return "\n".join(lines) + "\n"

    def resolv_conf(self, host: Host) -> str:
        """/etc/resolv.conf; the resolver keeps the engine's, its way out."""
        return "" if host.name == "resolver" else RESOLV_CONF.format(self.plan.control(BY_NAME["resolver"]))

    def files(self, host: Host) -> list[File]:
        """All files of a host."""
        special = {
            "ns1": self._primary,
            "ns2": self._secondary,
            "resolver": self._resolver,
            "provider": self._provider,
            "outside": self._outside,
            "acme": self._acme,
        }
        return self._common(host) + (special[host.name]() if host.name in special else [])

    def _common(self, host: Host) -> list[File]:
        authority = self.credentials.authority
        names = [host.fqdn, *host.also]
        certificate, key = authority.issue(names, self.plan.addresses(host))
        proxy = f"http://{self.plan.control(BY_NAME['resolver'])}:3142"
        ca_file = "/usr/local/share/ca-certificates/postmaster-mail-lab.crt"
        return [
            File("/root/.ssh/", mode=0o700),
            File("/root/.ssh/authorized_keys", self.credentials.client.public, 0o600),
            File("/etc/ssh/ssh_host_ed25519_key", self.credentials.host.private, 0o600),
            File("/etc/ssh/ssh_host_ed25519_key.pub", self.credentials.host.public),
            File("/etc/apt/apt.conf.d/90lab-proxy", f'Acquire::http::Proxy "{proxy}";\n'),
            File(ca_file, authority.pem),
            File(f"/etc/ssl/certs/{openssl_hash(CA_NAME)}.0", link=ca_file),
            File("/etc/ssl/certs/lab-host.pem", certificate),
            File("/etc/ssl/private/", mode=0o710),
            File("/etc/ssl/private/lab-host.key", key, 0o600),
            File("/usr/local/sbin/lab-network", self._network_script(host, ca_file), 0o755),
            File("/etc/systemd/system/lab-network.service", self.template("lab-network.service.j2")),
            File("/etc/systemd/system/sysinit.target.wants/lab-network.service", link="../lab-network.service"),
        ]

    def _network_script(self, host: Host, ca_file: str) -> str:
        edge = BY_NAME["edge"]
        routes: list[tuple[str, str]] = []
        extra: list[str] = []
        if host.sides == (ESTATE,):
            routes = [("default", self.plan.v4(edge.number, ESTATE)), ("default", self.plan.v6(edge.number, ESTATE))]
        elif host.sides == (INTERNET,):
            nets = (str(self.plan.net4(ESTATE)), str(self.plan.net6(ESTATE)))
            vias = (self.plan.v4(edge.number, INTERNET), self.plan.v6(edge.number, INTERNET))
            routes = list(zip(nets, vias, strict=True))
            for number in host.nameless:
                extra += [f"{self.plan.v4(number, INTERNET)}/24", f"{self.plan.v6(number, INTERNET)}/64"]
        net = str(self.plan.net4(host.sides[0]))
        # The engines mount files of their own there, so the host writes these as it boots.
        names = {"/etc/hosts": self.hosts_file(host), "/etc/resolv.conf": self.resolv_conf(host)}
        return self.template("lab-network.sh.j2", routes=routes, extra=extra, net=net, ca_file=ca_file, names=names)

    def _enabled(self, *services: str) -> list[File]:
        return [File(f"{WANTS}/{name}.service", link=f"{UNITS}/{name}.service") for name in services]

    def _primary(self) -> list[File]:
        return [
            File("/etc/knot/knot.conf", self.template("knot-primary.conf.j2"), 0o600),
            File("/etc/knot/zone-key.pem", self.credentials.zone_key.pem, 0o600),
            *(File(f"/var/lib/knot/{z.file}", self.template("zone.j2", zone=z, ttl=zones.TTL)) for z in self.zones),
            File("/etc/systemd/system/knot.service.d/lab.conf", self.template("knot.service.j2")),
            File("/usr/local/sbin/lab-knot", self.template("lab-knot.sh.j2"), 0o755),
            *self._enabled("knot"),
        ]

    def _secondary(self) -> list[File]:
        return [
            File("/etc/knot/knot.conf", self.template("knot-secondary.conf.j2"), 0o600),
            File("/etc/systemd/system/knot.service.d/lab.conf", self.template("knot.service.j2")),
            File("/usr/local/sbin/lab-knot", self.template("lab-knot.sh.j2"), 0o755),
            *self._enabled("knot"),
        ]

    def _resolver(self) -> list[File]:
        anchor = f". IN DS {self.credentials.zone_key.ds('.')}"
        return [
            File("/etc/unbound/unbound.conf", self.template("unbound.conf.j2", anchor=anchor)),
            File("/etc/unbound/lab-root.hints", self.template("root.hints.j2")),
            File("/etc/systemd/system/unbound.service.d/lab.conf", self.template("unbound.service.j2")),
            File("/etc/apt-cacher-ng/acng.conf", self.template("acng.conf.j2", upstream_proxy=self.proxy)),
            File(
                "/etc/systemd/system/apt-cacher-ng.service.d/lab.conf",
                self.template("acng.service.j2", user=os.getuid(), group=os.getgid()),
            ),
            *self._enabled("unbound", "apt-cacher-ng"),
        ]

    def _acme(self) -> list[File]:
        unit = "/etc/systemd/system/pebble.service"
        ports = {"listen": ACME_PORT, "manage": ACME_ROOTS_PORT}
        return [
            File("/etc/pebble.json", self.template("pebble.json.j2", **ports)),
            File(unit, self.template("pebble.service.j2")),
            File(f"{WANTS}/pebble.service", link=unit),
        ]

    def _postfix(self, main: str) -> list[File]:
        return [
            File("/etc/postfix/main.cf", self.template(f"{main}.main.cf.j2")),
            File("/etc/postfix/master.cf", self.template("master.cf.j2", submission=main == "provider")),
            File("/etc/systemd/system/postfix.service.d/lab.conf", self.template("postfix.service.j2")),
            File("/usr/local/sbin/lab-postfix", self.template(f"lab-postfix-{main}.sh.j2"), 0o700),
            *self._enabled("postfix"),
        ]

    def _provider(self) -> list[File]:
        customers = [a for name in PROVIDER_CUSTOMERS for a in self.plan.addresses(BY_NAME[name])]
        return [
            *self._postfix("provider"),
            File("/etc/postfix/customers", "".join(f"{address} OK\n" for address in customers)),
            File("/etc/postfix/sasl/smtpd.conf", self.template("sasl-smtpd.conf.j2")),
        ]

    def _outside(self) -> list[File]:
        return [
            *self._postfix("outside"),
            File("/etc/rspamd/rspamd.conf", self.template("rspamd.conf.j2")),
            File("/etc/rspamd/lab-suffixes", "example\ntest\n"),
            File("/etc/dovecot/dovecot.conf", self.template("dovecot.conf.j2"), 0o600),
            *self._enabled("rspamd", "dovecot"),
        ]
