# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of a zone that the secondary serves under the primary's serial number, so that no transfer mends it."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import dns.dnssec
import dns.name
import dns.query
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.tsigkeyring
import dns.zone
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from lab.probe import Lab

TTL = 60


@dataclass
class Copy:
    """A zone as the primary has it, to change; ``key`` signs what is changed."""

    zone: dns.zone.Zone
    key: EllipticCurvePrivateKey

    @classmethod
    def of(cls, lab: Lab, name: str) -> Copy:
        """The zone as it is now."""
        facts = lab.known["dns"]
        ring = dns.tsigkeyring.from_text({"lab.": facts["tsig"]["lab."]})
        transfer = dns.query.xfr(
            facts["primary"], name, keyring=ring, keyname="lab.", keyalgorithm=facts["algorithm"], relativize=False
        )
        key = load_pem_private_key(lab.run("ns1", "cat /etc/knot/zone-key.pem").stdout.encode(), None)
        assert isinstance(key, EllipticCurvePrivateKey)
        return cls(dns.zone.from_xfr(transfer, relativize=False), key)

    def put(self, label: str, rdtype: str, *rdatas: str, signed: Sequence[str] = ()) -> None:
        """Hold other records; the signature is that of ``signed`` instead, if given."""
        assert self.zone.origin is not None
        owner = dns.name.from_text(label, self.zone.origin)
        records, others = (dns.rdataset.from_text("IN", rdtype, TTL, *texts) for texts in (rdatas, signed or rdatas))
        apex = self.zone.get_rdataset(self.zone.origin, dns.rdatatype.DNSKEY)
        assert apex is not None
        now = int(time.time())
        signature = dns.dnssec.sign(
            (owner, others), self.key, self.zone.origin, apex[0], inception=now - 3600, expiration=now + 86400
        )
        self.zone.replace_rdataset(owner, records)
        self.zone.replace_rdataset(owner, dns.rdataset.from_rdata(TTL, signature))

    def text(self) -> str:
        """A zone file."""
        return str(self.zone.to_text(relativize=False))


def serve(lab: Lab, copies: Iterable[Copy]) -> None:
    """Have ns2 serve the copies, as its own."""
    script = ["set -eu", "systemctl stop knot"]
    for copy in copies:
        assert copy.zone.origin is not None
        path = f"/var/lib/knot/{copy.zone.origin.to_text(omit_final_dot=True)}.zone"
        script.append(f"echo {base64.b64encode(copy.text().encode()).decode()} | base64 -d > {path}")
    answers = "kdig +short @127.0.0.1 stranger.test SOA | grep -q ."
    script += ["systemctl start knot", f"for n in $(seq 100); do {answers} && exit; sleep 0.2; done; exit 1"]
    lab.run("ns2", "sh", input="\n".join(script))


def leave(lab: Lab, name: str) -> None:
    """Have ns1 serve a zone no more, of which it serves the parent: it passes on to whom that names."""
    lab.run("ns1", f"sed -i '/domain: {name}[.]$/,+2d' /etc/knot/knot.conf && knotc reload")
