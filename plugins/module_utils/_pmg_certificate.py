# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates of a Proxmox Mail Gateway: which are fit, which may be replaced, and having them there. Private.

A gateway has two, one for its API and one for SMTP, and makes some itself. It takes any text that looks like a
certificate and a key, whether they belong together or not. Facts: pmg-api 8.2 and 9.1.

Reading certificates takes the ``cryptography`` library, which is imported where it is needed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ansible_collections.postmaster.mail.plugins.module_utils import _pmg_run
from ansible_collections.postmaster.mail.plugins.module_utils._pmg import PmgError
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Interrupted
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_tasks import PAUSE, Node

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

FILES = {"api": "pmg-api.pem", "smtp": "pmg-tls.pem"}
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
MONTH = timedelta(days=30)  # the gateway renews none that holds longer, unless it is told to


@dataclass(frozen=True)
class Held:
    """A certificate that the gateway has. The fingerprint is that of SHA-256, in small letters without colons."""

    fingerprint: str
    names: frozenset[str]
    subject: str
    issuer: str
    begins: datetime
    ends: datetime

    @property
    def is_self_made(self) -> bool:
        """Whether nobody but its owner stands for it, as with those that the gateway makes."""
        return self.subject == self.issuer

    @property
    def lines(self) -> str:
        """It for people to compare."""
        by = "itself" if self.is_self_made else self.issuer
        return (
            f"names: {', '.join(sorted(self.names)) or 'none'}\nissued by: {by}\n"
            f"valid until: {self.ends:%Y-%m-%d %H:%M} UTC\nfingerprint: {self.fingerprint}\n"
        )


@dataclass(frozen=True)
class Pair:
    """A certificate with its chain and its key, as they are sent."""

    held: Held
    chain: str
    key: str

    def __repr__(self) -> str:
        return f"Pair({self.held})"


def held_of(listed: Iterable[Mapping[str, Any]], kind: str) -> Held | None:
    """The certificate of a kind among those that the gateway lists. Raises :class:`PmgError`."""
    for entry in listed:
        if entry.get("filename") != FILES[kind]:
            continue
        try:
            return Held(
                str(entry["fingerprint"]).replace(":", "").lower(),
                frozenset(str(name).lower() for name in entry.get("san") or []),
                _name(str(entry.get("subject") or "")),
                _name(str(entry.get("issuer") or "")),
                datetime.fromtimestamp(int(entry["notbefore"]), UTC),
                datetime.fromtimestamp(int(entry["notafter"]), UTC),
            )
        except (KeyError, TypeError, ValueError, OverflowError, OSError):
            raise PmgError(f"the gateway's certificate for {kind} cannot be read: look at it on the gateway") from None
    return None


def _name(text: str) -> str:
    """A name that OpenSSL writes ``/C=US/O=One/CN=Two``, as it is written elsewhere (RFC 4514)."""
    return ",".join(reversed(re.split(r"/(?=[A-Za-z0-9.]+=)", text)[1:])) or text


# -- one's own ----------------------------------------------------------------------------------


def read_pair(certificates: str, key: str, names: Sequence[str], now: datetime) -> Pair:
    """A certificate that may be sent: with its key, valid now, and for the names that are wanted.

    Raises :class:`PmgError`, which quotes nothing of the key.
    """
    try:
        from cryptography.hazmat.primitives.serialization import Encoding
    except ImportError:
        raise PmgError(
            "reading a certificate takes the Python library cryptography where the module runs: install it"
        ) from None
    chain = _chain(certificates)
    key_text, public = _key(key)
    places = [number for number, one in enumerate(chain) if _public(one) == public]
    if not places:
        raise PmgError("the key does not belong to the certificate: give the key that it was made with")
    if places[0] != 0:
        raise PmgError(
            f"the certificate of the key comes as number {places[0] + 1}: put it first, and those of authorities after "
            "it"
        )
    held = _held(chain[0])
    _check_time(held, now)
    _check_names(held, names)
    return Pair(held, "".join(one.public_bytes(Encoding.PEM).decode() for one in chain), key_text)


def _chain(text: str) -> list[Certificate]:
    """Each for itself, as the library of Debian 12 reads no more than one."""
    from cryptography.x509 import load_pem_x509_certificate

    try:
        chain = [load_pem_x509_certificate(block.encode()) for block in _CERTIFICATE.findall(text)]
    except ValueError:
        chain = []
    if not chain:
        raise PmgError("the certificate is no PEM: give the text with -----BEGIN CERTIFICATE----- and all that follows")
    return chain


def _key(text: str) -> tuple[str, bytes]:
    """A private key as PKCS#8, and its public half."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

    try:
        private = load_pem_private_key(text.encode(), None)
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        return pem, _spki(private.public_key())
    except TypeError:
        raise PmgError("the key is locked with a passphrase, for which nobody is there: unlock it") from None
    except (ValueError, UnsupportedAlgorithm):
        raise PmgError("the key is no private key in PEM: give the text with -----BEGIN PRIVATE KEY-----") from None


def _spki(public: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return bytes(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _public(certificate: Certificate) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return _spki(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):
        return b""


def _held(certificate: Certificate) -> Held:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509 import DNSName, ExtensionNotFound, IPAddress, SubjectAlternativeName

    try:
        found = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
        names = [*found.get_values_for_type(DNSName), *map(str, found.get_values_for_type(IPAddress))]
    except (ExtensionNotFound, ValueError):
        names = []
    return Held(
        certificate.fingerprint(SHA256()).hex(),
        frozenset(name.lower() for name in names),
        certificate.subject.rfc4514_string(),
        certificate.issuer.rfc4514_string(),
        _utc(certificate, "not_valid_before"),
        _utc(certificate, "not_valid_after"),
    )


def _utc(certificate: Certificate, name: str) -> datetime:
    """A time of a certificate; the library of Debian 12 knows it without the time zone alone."""
    aware: datetime | None = getattr(certificate, f"{name}_utc", None)
    naive: datetime | None = None if aware else getattr(certificate, name)
    return aware or (naive.replace(tzinfo=UTC) if naive else datetime.min.replace(tzinfo=UTC))


def _check_time(held: Held, now: datetime) -> None:
    if held.ends <= now:
        raise PmgError(f"the certificate has expired on {held.ends:%Y-%m-%d}: give one that holds")
    if held.begins > now:
        raise PmgError(f"the certificate does not hold before {held.begins:%Y-%m-%d %H:%M} UTC: wait, or give another")


def _check_names(held: Held, names: Iterable[str]) -> None:
    for name in names:
        if not any(_covers(one, name.lower()) for one in held.names):
            raise PmgError(
                f"the certificate is not for {name} but for {', '.join(sorted(held.names)) or 'no name'}: give one for "
                "it, or name in names what it is for"
            )


def _covers(held: str, name: str) -> bool:
    """Whether a name in a certificate stands for another (RFC 6125 section 6.4.3; addresses by value)."""
    try:
        return ipaddress.ip_address(held) == ipaddress.ip_address(name)
    except ValueError:
        return held == name or (held.startswith("*.") and name.partition(".")[2] == held[2:])


def check_replaceable(before: Held | None, pair: Pair, now: datetime, *, force: bool) -> None:
    """Raise :class:`PmgError` where the certificate that is there should stay unless somebody says otherwise.

    One that nobody stands for may go, one that has expired, and one for whose names the new one is valid longer.
    """
    if before is None or force or before.is_self_made or before.ends <= now:
        return
    after = pair.held
    if after.ends >= before.ends and all(any(_covers(one, name) for one in after.names) for name in before.names):
        return
    raise PmgError(
        f"the gateway has a certificate for {', '.join(sorted(before.names)) or 'no name'} by {before.issuer}, valid "
        f"until {before.ends:%Y-%m-%d}, which the new one does not renew: say force: true to replace it"
    )


def install(node: Node, kind: str, pair: Pair) -> None:
    """Send a certificate, and see that it is there. Raises :class:`PmgError`."""
    params = {"certificates": pair.chain, "key": pair.key, "force": "1", "restart": "1"}

    def is_there() -> bool:
        found = look(node, kind)
        return found is not None and found.fingerprint == pair.held.fingerprint

    _pmg_run.insist(lambda: node.api.call("POST", _custom(node, kind), params), is_there, sleep=node.sleep)
    if not is_there():
        raise PmgError(f"the gateway took the certificate for {kind} and shows another: look at it on the gateway")


def remove(node: Node, kind: str) -> None:
    """Have the gateway give a certificate up. Raises :class:`PmgError`."""

    def is_gone() -> bool:
        found = look(node, kind)
        return found is None or (kind == "api" and found.is_self_made)

    _pmg_run.insist(lambda: node.api.call("DELETE", _custom(node, kind), {"restart": "1"}), is_gone, sleep=node.sleep)
    if not is_gone():
        raise PmgError(f"the gateway was told to remove the certificate for {kind} and still has it: look at it there")


def _custom(node: Node, kind: str) -> str:
    return node.path(f"/certificates/custom/{kind}")


def look(node: Node, kind: str) -> Held | None:
    """The certificate of a kind that the gateway has. Raises :class:`PmgError`."""
    return held_of(node.listed("/certificates/info", "certificates"), kind)


# -- from an authority --------------------------------------------------------------------------


def reasons(before: Held | None, names: Iterable[str], now: datetime, *, renew_before: timedelta) -> list[str]:
    """Why a certificate has to be ordered; none where the one that is there will do."""
    if before is None:
        return ["there is none"]
    if before.is_self_made:
        return ["nobody but the gateway stands for it"]
    wanted = frozenset(name.lower() for name in names)
    found = [f"it does not hold {name}" for name in sorted(wanted - before.names)]
    found += [f"it holds {name}, which is not wanted" for name in sorted(before.names - wanted)]
    if before.ends - now < renew_before:
        found.append(f"it ends on {before.ends:%Y-%m-%d}")
    return found


def order(node: Node, kind: str, before: Held | None, names: Iterable[str], now: datetime) -> Held:
    """Order or renew a certificate, and wait for it; the new one. Raises :class:`PmgError` with what the task said.

    Where the answer is lost, nothing is ordered a second time, as authorities count.
    """
    wanted = frozenset(name.lower() for name in names)
    renews = before is not None and not before.is_self_made and before.names == wanted
    force = before is not None and (not renews or before.ends - now >= MONTH)
    what, path = f"the certificate for {kind}", node.path(f"/certificates/acme/{kind}")
    try:
        node.run(what, "PUT" if renews else "POST", path, {"force": "1"} if force else {})
    except Interrupted as err:
        found = _awaited(node, kind, before)
        if found is None:
            raise PmgError(
                f"{what}: {err}, and none has come since: look at the gateway's tasks, then run again"
            ) from err
    found = look(node, kind)
    if found is None or (before is not None and found.fingerprint == before.fingerprint) or found.names != wanted:
        raise PmgError(f"{what} was ordered, and the gateway shows another: look at its tasks")
    return found


def _awaited(node: Node, kind: str, before: Held | None) -> Held | None:
    """A certificate that comes without a task that could be asked."""
    deadline = node.clock() + node.patience
    while True:
        try:
            found = look(node, kind)
        except Interrupted:
            found = before
        if found is not None and (before is None or found.fingerprint != before.fingerprint):
            return found
        if node.clock() >= deadline:
            return None
        node.sleep(PAUSE)
