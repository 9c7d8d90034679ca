# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the way of a mail role on a host: values, parsers and judgements. Private.

Everything here is pure. What the host is like comes from an object with the methods of
:class:`Host`; every judgement is one :class:`Check`, whose message is a sentence with its remedy.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import struct
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from ansible_collections.postmaster.mail.plugins.module_utils import _dnsbl
from ansible_collections.postmaster.mail.plugins.module_utils._networks import PRIVATE

IPAddress: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

CHECK_NAMES = ("release", "mta", "port", "space", "outbound_25", "ptr", "name", "address", "dnsbl")
OK, WARNING, OBSTACLE = "ok", "warning", "obstacle"
MTA_PACKAGES = {
    "postfix": re.compile(r"postfix$"),
    "exim": re.compile(r"exim4-daemon-\w+$"),
    "opensmtpd": re.compile(r"opensmtpd$"),
}
_LISTEN = "0A"
_HOSTNAME = re.compile(r"(?=.{1,253}$)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)+[A-Za-z0-9-]{2,63}$")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\][A-Za-z0-9:_.\\@-]*$")


class PreflightError(ValueError):
    """The request itself makes no sense; the message names the item and what it should be."""


@dataclass(frozen=True)
class Check:
    """One judgement. ``verdict`` is ok, warning or obstacle; ``message`` a sentence."""

    name: str
    verdict: str
    message: str

    def as_dict(self) -> dict[str, str]:
        """The shape a module returns."""
        return {"name": self.name, "verdict": self.verdict, "message": self.message}


@dataclass(frozen=True)
class Package:
    """An installed package: its version and the virtual packages it provides."""

    version: str
    provides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket."""

    address: IPAddress
    port: int
    inode: int


@dataclass(frozen=True)
class Holder:
    """A process that holds a socket; ``unit`` is its systemd service or empty."""

    pid: int
    names: tuple[str, ...]
    exe: str = ""
    unit: str = ""

    @property
    def known_as(self) -> set[str]:
        """Its names and its service's: what starts itself anew in place may go by its interpreter's from then on."""
        return {*self.names, re.split(r"[@.]", self.unit)[0]} - {""}


@dataclass(frozen=True)
class Space:
    """Room on the file system that holds a path, in mebibytes, and whether it takes new files."""

    free_mb: int
    writable: bool = True
    inodes_left: bool = True


@dataclass(frozen=True)
class WantedPort:
    """A TCP port a role is going to listen on, ``address`` None for all addresses."""

    port: int
    address: IPAddress | None
    programs: tuple[str, ...]


@dataclass(frozen=True)
class Outbound:
    """A connection out that must work; ``required`` False turns a failure into a warning."""

    host: str
    port: int = 25
    required: bool = True
    timeout: float = 4.0


@dataclass(frozen=True)
class Ptr:
    """Public addresses whose PTR must be ``hostname`` and map back; none: those the host sends from."""

    addresses: tuple[str, ...]
    hostname: str


@dataclass(frozen=True)
class PublicName:
    """A name that must lead to exactly these addresses of the host; none of a family: it has no record of it."""

    hostname: str
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Unit:
    """What systemd knows of a unit: ``active``, ``inactive`` or ``absent``, and the state of its file."""

    state: str = "absent"
    file_state: str = ""


@dataclass(frozen=True)
class Request:
    """All that one preflight asks about."""

    releases: tuple[str, ...] = ()
    mta: str | None = None
    replace_mta: bool = False
    packages: tuple[str, ...] = ()
    ports: tuple[WantedPort, ...] = ()
    min_free_mb: Mapping[str, int] = field(default_factory=dict)
    outbound: Outbound | None = None
    ptr: Ptr | None = None
    public_name: PublicName | None = None
    dnsbls: tuple[_dnsbl.Dnsbl, ...] = ()
    services: tuple[str, ...] = ()
    warn_only: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Report:
    """The judgements, and what a role needs to know of the host."""

    checks: tuple[Check, ...]
    facts: Mapping[str, object]

    def messages(self, verdict: str) -> list[str]:
        """The messages of all checks with this verdict."""
        return [check.message for check in self.checks if check.verdict == verdict]


class Host(Protocol):
    """What a preflight needs to learn of a host."""

    def os_release(self) -> Mapping[str, str]: ...
    def packages(self) -> Mapping[str, Package]: ...
    def package_files(self, package: str) -> frozenset[str]: ...
    def listeners(self) -> Sequence[Listener]: ...
    def holders(self, inodes: Iterable[int]) -> Mapping[int, Sequence[Holder]]: ...
    def space(self, path: str) -> Space: ...
    def connect(self, host: str, port: int, timeout: float) -> str: ...
    def query(self, name: str, rdtype: str) -> list[str]: ...
    def source_addresses(self) -> Mapping[str, str]: ...
    def has_global_ipv6(self) -> bool: ...
    def advertised_routes(self) -> Sequence[str]: ...
    def owns(self, address: str) -> bool: ...
    def etckeeper_ready(self) -> bool: ...
    def services(self, names: Sequence[str]) -> Mapping[str, Unit]: ...
    def in_runlevel(self, name: str) -> bool: ...
    def names(self) -> tuple[str, str]: ...


# --- parsers ---------------------------------------------------------------------------------


def parse_os_release(text: str) -> dict[str, str]:
    """Keys and unquoted values of an os-release file (os-release(5)); other lines are passed over."""
    values = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and re.fullmatch(r"[A-Z0-9_]+", key):
            if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
                value = value[1:-1]
            values[key] = re.sub(r"\\([\"$`\\'])", r"\1", value)
    return values


def parse_dpkg_status(text: str) -> dict[str, Package]:
    """The installed packages of a dpkg status file by name; removed ones with left-over files are not."""
    packages = {}
    for paragraph in text.split("\n\n"):
        status = re.search(r"^Status: (.*)$", paragraph, re.MULTILINE)
        name = re.search(r"^Package: *(\S+)", paragraph, re.MULTILINE)
        if name is None or status is None or not status[1].split() or status[1].split()[-1] != "installed":
            continue
        version = re.search(r"^Version: *(\S+)", paragraph, re.MULTILINE)
        provides = re.search(r"^Provides: *(.*)$", paragraph, re.MULTILINE)
        provided = tuple(entry.split()[0] for entry in provides[1].split(",") if entry.split()) if provides else ()
        packages[name[1]] = Package(version[1] if version else "", provided)
    return packages


def parse_proc_net_tcp(text: str, *, byteorder: str = sys.byteorder) -> list[Listener]:
    """The listening sockets of /proc/net/tcp or tcp6; broken lines are passed over.

    The kernel prints addresses as 32-bit words in the byte order of the machine.
    """
    found = []
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) < 10 or words[3] != _LISTEN:
            continue
        address, _colon, port = words[1].partition(":")
        try:
            raw = bytes.fromhex(address)
            count = len(raw) // 4
            big = struct.pack(f"{'<' if byteorder == 'little' else '>'}{count}I", *struct.unpack(f">{count}I", raw))
            found.append(Listener(_plain(ipaddress.ip_address(big)), int(port, 16), int(words[9])))
        except (ValueError, struct.error):
            continue
    return found


def _plain(address: IPAddress) -> IPAddress:
    """An IPv4 address mapped into IPv6 as the IPv4 address it means."""
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if mapped is not None else address


def parse_if_inet6(text: str) -> bool:
    """Whether /proc/net/if_inet6 lists an address of global scope that is neither tentative nor failed."""
    tentative, failed = 0x40, 0x08
    for line in text.splitlines():
        words = line.split()
        if len(words) < 6:
            continue
        try:
            scope, flags = int(words[3], 16), int(words[4], 16)
        except ValueError:
            continue
        if scope == 0 and not flags & (tentative | failed):
            return True
    return False


def parse_ipv6_route(text: str) -> list[str]:
    """Interfaces of /proc/net/ipv6_route whose default route the kernel learned by router advertisements (RFC 4861)."""
    learned = 0x00040000  # RTF_ADDRCONF
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) == 10 and set(words[0] + words[1]) == {"0"} and words[9] != "lo":
            with contextlib.suppress(ValueError):
                if int(words[8], 16) & learned:
                    found.append(words[9])
    return list(dict.fromkeys(found))


def parse_systemctl_show(text: str, names: Sequence[str]) -> dict[str, Unit]:
    """``systemctl show -p LoadState -p ActiveState -p UnitFileState`` of ``names``."""
    units = dict.fromkeys(names, Unit())
    blocks = [block for block in text.strip().split("\n\n") if block.strip()]
    for name, block in zip(names, blocks, strict=False):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if values.get("LoadState") in ("not-found", None):
            continue
        state = "active" if values.get("ActiveState") in ("active", "reloading") else "inactive"
        units[name] = Unit(state, values.get("UnitFileState", ""))
    return units


# --- the request -----------------------------------------------------------------------------


def wanted_port(port: int, address: str | None, programs: Sequence[str]) -> WantedPort:
    """A checked :class:`WantedPort`; an empty address, ``*``, ``all`` and wildcards mean all addresses."""
    if not 1 <= port <= 65535:
        raise PreflightError(f"ports: {port} is no port: give a number from 1 to 65535")
    if address in (None, "", "*", "all", "0.0.0.0", "::"):
        return WantedPort(port, None, tuple(programs))
    return WantedPort(port, parse_address(str(address), "ports"), tuple(programs))


def parse_address(text: str, item: str) -> IPAddress:
    """An address without prefix or brackets, else a :class:`PreflightError` that names ``item``."""
    try:
        return ipaddress.ip_address(text)
    except ValueError as err:
        raise PreflightError(f"{item}: {text!r} is no IP address: give one such as 192.0.2.25") from err


def validate(request: Request) -> None:
    """Raise :class:`PreflightError` for the first thing in ``request`` that makes no sense."""
    for name in sorted(request.warn_only):
        if name not in CHECK_NAMES:
            raise PreflightError(f"warn_only: there is no check {name!r}: choose from {', '.join(CHECK_NAMES)}")
    for path, need in request.min_free_mb.items():
        if not path.startswith("/"):
            raise PreflightError(f"min_free_mb: {path!r} is no absolute path")
        if need < 0:
            raise PreflightError(f"min_free_mb: {path} needs a number of MiB that is not negative, not {need}")
    for name in request.services:
        if not _UNIT.match(name):
            raise PreflightError(f"services: {name!r} is no unit name")
    if request.outbound is not None and not 1 <= request.outbound.port <= 65535:
        raise PreflightError(f"outbound_25: {request.outbound.port} is no port: give a number from 1 to 65535")
    for item, wanted in (("ptr", request.ptr), ("public_name", request.public_name)):
        if wanted is not None:
            if not _HOSTNAME.match(wanted.hostname.rstrip(".")):
                raise PreflightError(
                    f"{item}: {wanted.hostname!r} is no full host name: give one such as relay.example.org"
                )
            for address in wanted.addresses:
                parse_address(address, item)


# --- judgements ------------------------------------------------------------------------------


def judge_release(os_release: Mapping[str, str], releases: Sequence[str]) -> Check:
    """Debian, and one of ``releases`` (code names)."""
    found = os_release.get("PRETTY_NAME") or os_release.get("ID") or "This system"
    codename = os_release.get("VERSION_CODENAME", "")
    if os_release.get("ID") == "debian" and codename in releases:
        return Check("release", OK, f"{found} is supported.")
    wanted = " or ".join(releases)
    return Check(
        "release", OBSTACLE, f"{found} is not supported: use a host with Debian {wanted}, or upgrade this one."
    )


def other_mtas(packages: Mapping[str, Package], mta: str) -> list[str]:
    """Installed mail transport agents that are not ``mta``."""
    own = MTA_PACKAGES[mta]
    return sorted(
        name for name, package in packages.items() if "mail-transport-agent" in package.provides and not own.match(name)
    )


def judge_mta(packages: Mapping[str, Package], mta: str, *, replace: bool) -> Check:
    """No other mail transport agent, unless it may be replaced."""
    others = other_mtas(packages, mta)
    if not others:
        return Check("mta", OK, f"No mail transport agent but {mta} is installed.")
    names = ", ".join(others)
    if replace:
        return Check("mta", OK, f"{names} is going to be replaced by {mta}.")
    return Check(
        "mta",
        OBSTACLE,
        f"Another mail transport agent is installed ({names}): remove it with"
        f" `apt-get purge {' '.join(others)}`, or have it replaced by {mta}"
        " with `satellite_replace_mta: true` (on a relay `relay_replace_mta: true`).",
    )


def clashes(wanted: WantedPort, listener: Listener) -> bool:
    """Whether ``listener`` keeps a program from binding ``wanted``."""
    if wanted.port != listener.port:
        return False
    if wanted.address is None or wanted.address == listener.address:
        return True
    if not listener.address.is_unspecified:
        return False
    # "::" takes IPv4 as well unless the program asked otherwise, which /proc does not tell.
    return listener.address.version == 6 or wanted.address.version == 4


def judge_port(
    wanted: WantedPort,
    listeners: Sequence[Listener],
    holders: Mapping[int, Sequence[Holder]],
    *,
    replaceable: frozenset[str] = frozenset(),
) -> Check:
    """The port is free, or held by the program that is meant to, or by one that is to be replaced.

    Where several processes might hold it, one that may is enough. ``replaceable`` holds the files of
    the packages that are going to be replaced.
    """
    where = f"Port {wanted.port}" + (f" on {wanted.address}" if wanted.address else "")
    for listener in listeners:
        if not clashes(wanted, listener):
            continue
        suspects = holders.get(listener.inode, ())
        if any(holder.known_as & set(wanted.programs) or holder.exe in replaceable for holder in suspects):
            continue
        return Check("port", OBSTACLE, f"{where} is taken by {_describe(suspects)}")
    return Check("port", OK, f"{where} is free or ours.")


def _describe(suspects: Sequence[Holder]) -> str:
    if not suspects:
        return "a program that this user cannot see: find it as root with `ss -ltnp` and stop it."
    names = [f"{holder.names[0] if holder.names else 'a program'} (process {holder.pid})" for holder in suspects]
    if len(names) > 1:
        return f"one of {', '.join(names)}: stop it, or give it another port or address."
    unit = suspects[0].unit
    remedy = f"with `systemctl disable --now {unit}`" if unit else "and keep it from starting again"
    return f"{names[0]}: stop it {remedy}, or give it another port or address."


def judge_space(path: str, space: Space, need_mb: int) -> Check:
    """Room for new files at ``path``."""
    if not space.writable:
        return Check("space", OBSTACLE, f"The file system of {path} is mounted read-only: mount it for writing.")
    if not space.inodes_left:
        return Check("space", OBSTACLE, f"The file system of {path} has no inodes left: remove files there.")
    if space.free_mb < need_mb:
        return Check(
            "space",
            OBSTACLE,
            f"{path} has {space.free_mb} MiB free of the {need_mb} MiB needed: free some or enlarge its file system.",
        )
    return Check("space", OK, f"{path} has {space.free_mb} MiB free.")


def judge_outbound(outbound: Outbound, trouble: str, sources: Mapping[str, str]) -> Check:
    """``trouble`` is empty after a connection, else the reason there was none."""
    target = f"{outbound.host} port {outbound.port}"
    if not trouble:
        return Check("outbound_25", OK, f"{target} can be reached.")
    verdict = OBSTACLE if outbound.required else WARNING
    if trouble.startswith("name:"):
        reason = trouble.removeprefix("name:").strip()
        return Check(
            "outbound_25", verdict, f"{outbound.host} has no address ({reason}): check the name and /etc/resolv.conf."
        )
    who = " and ".join(sources.values()) or "this host"
    return Check(
        "outbound_25",
        verdict,
        f"{target} cannot be reached ({trouble}): ask the provider of this host to open outgoing TCP"
        f" port {outbound.port} for {who}, look for a rule of the host's own firewall, or send through a smarthost.",
    )


def is_public(address: str) -> bool:
    """Whether receivers elsewhere could see this address as the client's."""
    value = ipaddress.ip_address(address)
    return not any(value in network for network in PRIVATE if network.version == value.version)


def judge_ptr(address: str, hostname: str, pointers: Sequence[str], forward: Mapping[str, Sequence[str]]) -> Check:
    """Forward-confirmed reverse DNS: the PTR of ``address`` is ``hostname``, which has ``address``.

    ``pointers`` are the PTR names, ``forward`` the addresses of each name, all as DNS gives them.
    """
    value = ipaddress.ip_address(address)
    host = hostname.rstrip(".")
    wanted = f"`{value.reverse_pointer}. PTR {host}.`"
    names = [pointer.rstrip(".") for pointer in pointers]
    if not names:
        message = f"{address} has no PTR record: ask whoever provides this address for {wanted}."
        return Check("ptr", OBSTACLE, message)
    if host.lower() not in [name.lower() for name in names]:
        message = f"The PTR of {address} is {', '.join(names)}, not {host}: ask its provider for {wanted}."
        return Check("ptr", OBSTACLE, message)
    known = {ipaddress.ip_address(text) for text in forward.get(host.lower(), ())}
    if value not in known:
        rdtype = "A" if value.version == 4 else "AAAA"
        seen = f"has {', '.join(str(item) for item in sorted(known, key=str))}" if known else "has no address"
        message = f"The PTR of {address} is {host}, but {host} {seen}: publish `{host}. {rdtype} {address}`."
        return Check("ptr", OBSTACLE, message)
    return Check("ptr", OK, f"{address} and {host} name each other.")


def judge_name(hostname: str, rdtype: str, found: Sequence[str], wanted: Sequence[str]) -> Check:
    """The records of one family are the wanted ones, and no others. Both are addresses."""
    host = hostname.rstrip(".")
    has, needs = ({ipaddress.ip_address(text) for text in texts} for texts in (found, wanted))
    if has == needs:
        return Check("name", OK, f"{host} has the {rdtype} records it needs.")
    missing, stray = (sorted(map(str, some)) for some in (needs - has, has - needs))
    steps = [f"publish `{host}. {rdtype} {address}`" for address in missing]
    steps += [f"remove `{host}. {rdtype} {address}`" for address in stray]
    seen = f"leads to {', '.join(sorted(map(str, has)))}" if has else f"has no {rdtype} record"
    only = f" but should to {', '.join(sorted(map(str, needs)))}" if has and needs else ""
    here = f", where this host takes nothing by {'IPv4' if rdtype == 'A' else 'IPv6'}" if not needs else ""
    return Check("name", OBSTACLE, f"{host} {seen}{only}{here}: {' and '.join(steps)}.")


def judge_address(address: str, *, owned: bool) -> Check:
    """The address is one of the host's own."""
    if owned:
        return Check("address", OK, f"{address} is an address of this host.")
    message = f"{address} is no address of this host: add it to an interface, or name the one the host is reached at."
    return Check("address", OBSTACLE, message)


# --- all of it -------------------------------------------------------------------------------


def examine(request: Request, host: Host) -> Report:
    """Ask ``host`` all that ``request`` wants to know. Raises :class:`PreflightError` for a bad request."""
    validate(request)
    packages = host.packages()
    os_release = host.os_release()
    sources = host.source_addresses()
    checks: list[Check] = []
    if request.releases:
        checks.append(judge_release(os_release, request.releases))
    if request.mta is not None:
        checks.append(judge_mta(packages, request.mta, replace=request.replace_mta))
    checks += _ports(request, host, packages)
    checks += [judge_space(path, host.space(path), need) for path, need in request.min_free_mb.items()]
    if request.outbound is not None:
        out = request.outbound
        checks.append(judge_outbound(out, host.connect(out.host, out.port, out.timeout), sources))
    if request.ptr is not None:
        checks += _pointers(request.ptr, host, sources)
    if request.public_name is not None:
        checks += _public_name(request.public_name, host)
    checks += [_dnsbl_answers(dnsbl, host) for dnsbl in request.dnsbls]
    softened = tuple(_soften(check, request.warn_only) for check in checks)
    return Report(softened, _facts(request, host, os_release, packages, sources))


def _soften(check: Check, warn_only: frozenset[str]) -> Check:
    if check.verdict == OBSTACLE and check.name in warn_only:
        return Check(check.name, WARNING, check.message)
    return check


def _ports(request: Request, host: Host, packages: Mapping[str, Package]) -> list[Check]:
    if not request.ports:
        return []
    listeners = host.listeners()
    taken = [item for item in listeners if any(clashes(wanted, item) for wanted in request.ports)]
    # To find who holds a socket means to look at every open file of the host: only if one is in question.
    holders = host.holders({item.inode for item in taken}) if taken else {}
    replaceable: frozenset[str] = frozenset()
    if taken and request.replace_mta and request.mta is not None:
        replaceable = frozenset().union(*(host.package_files(name) for name in other_mtas(packages, request.mta)))
    return [judge_port(wanted, listeners, holders, replaceable=replaceable) for wanted in request.ports]


def _pointers(ptr: Ptr, host: Host, sources: Mapping[str, str]) -> list[Check]:
    addresses = list(ptr.addresses)
    if not addresses:
        addresses = [address for address in sources.values() if is_public(address)]
    if not addresses:
        message = (
            "This host has no public address of its own: name the one it is seen with, so that its PTR is checked."
        )
        return [Check("ptr", WARNING, message)]
    return [_pointer(address, ptr.hostname.rstrip("."), host) for address in addresses]


def _pointer(address: str, hostname: str, host: Host) -> Check:
    value = ipaddress.ip_address(address)
    try:
        pointers = host.query(value.reverse_pointer, "PTR")
        rdtype = "A" if value.version == 4 else "AAAA"
        forward = {hostname.lower(): host.query(hostname, rdtype)} if pointers else {}
    except OSError as err:
        message = f"The PTR of {address} cannot be looked up ({err}): check the name servers in /etc/resolv.conf."
        return Check("ptr", OBSTACLE, message)
    return judge_ptr(address, hostname, pointers, forward)


def _public_name(wanted: PublicName, host: Host) -> list[Check]:
    addresses = [ipaddress.ip_address(text) for text in wanted.addresses]
    checks = [judge_address(str(address), owned=host.owns(str(address))) for address in addresses]
    for version, rdtype in ((4, "A"), (6, "AAAA")):
        try:
            found = host.query(wanted.hostname.rstrip("."), rdtype)
        except OSError as err:
            message = f"{wanted.hostname} cannot be looked up ({err}): check the name servers in /etc/resolv.conf."
            return [*checks, Check("name", OBSTACLE, message)]
        needed = [str(address) for address in addresses if address.version == version]
        checks.append(judge_name(wanted.hostname, rdtype, found, needed))
    return checks


def _dnsbl_answers(dnsbl: _dnsbl.Dnsbl, host: Host) -> Check:
    """Whether the name servers of this host get answers from a list. The name that is asked may hold a key."""
    try:
        listed, harmless = (host.query(f"{number}.0.0.127.{dnsbl.domain}", "A") for number in (2, 1))
    except OSError:
        message = f"{dnsbl.zone} cannot be looked up: check the name servers in /etc/resolv.conf."
        return Check("dnsbl", OBSTACLE, message)
    trouble = _dnsbl.judge(listed, harmless)
    if trouble:
        return Check("dnsbl", OBSTACLE, f"{dnsbl.zone} {trouble}.")
    return Check("dnsbl", OK, f"{dnsbl.zone} answers.")


def _facts(
    request: Request,
    host: Host,
    os_release: Mapping[str, str],
    packages: Mapping[str, Package],
    sources: Mapping[str, str],
) -> dict[str, object]:
    provided = {name for package in packages.values() for name in package.provides}
    hostname, fqdn = host.names()
    units = host.services(request.services) if request.services else {}
    return {
        "distribution": os_release.get("ID", ""),
        "release": os_release.get("VERSION_CODENAME", ""),
        "hostname": hostname,
        "fqdn": fqdn,
        "ipv6": host.has_global_ipv6(),
        "advertised_routes": list(host.advertised_routes()),
        "addresses": dict(sources),
        "missing_packages": [name for name in request.packages if name not in packages and name not in provided],
        "versions": {name: packages[name].version for name in request.packages if name in packages},
        "mtas": sorted(name for name, package in packages.items() if "mail-transport-agent" in package.provides),
        "etckeeper": "etckeeper" in packages and host.etckeeper_ready(),
        "services": {name: unit.state for name, unit in units.items()},
        "enabled_services": [name for name, unit in units.items() if _starts_at_boot(name, unit, host)],
    }


def _starts_at_boot(name: str, unit: Unit, host: Host) -> bool:
    # A unit made of an init script has no file of its own to be enabled.
    return unit.file_state == "enabled" or (unit.file_state == "generated" and host.in_runlevel(name))


def fqdn_from_hosts(text: str, hostname: str) -> str | None:
    """The full name an /etc/hosts file gives the host ``hostname``, or None."""
    for line in text.splitlines():
        names = line.partition("#")[0].split()[1:]
        if hostname in names:
            full = [name for name in names if name.startswith(f"{hostname}.") and "." in name]
            if full:
                return full[0]
    return None


def explain_socket_error(err: OSError) -> str:
    """A failed connection in a few words."""
    if isinstance(err, TimeoutError):
        return "no answer"
    if isinstance(err, socket.gaierror):
        return f"name: {err.strerror}"
    return (err.strerror or str(err)).lower()
