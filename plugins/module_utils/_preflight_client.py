# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: what a host is like, read from files rather than asked of programs. Private.

A preflight runs at the start of every role at every run, so it starts one process at most
(systemctl, for all services at once) and reads every file once.
"""

from __future__ import annotations

import glob
import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.postmaster.mail.plugins.module_utils import _preflight as pf
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError, Runner
from ansible_collections.postmaster.mail.plugins.module_utils._dns_stub import StubError, StubResolver

# Connecting a datagram socket sends nothing: it only makes the kernel choose a source address.
# The targets are those of a root name server, which lie behind every default route.
_ROUTE_PROBES = {"ipv4": (socket.AF_INET, "198.41.0.4"), "ipv6": (socket.AF_INET6, "2001:503:ba3e::2:30")}
_CONNECT_LIMIT = 4  # addresses of one name that are tried


class LocalHost:
    """The host this process runs on; ``root`` lets a test point at a made-up tree."""

    def __init__(self, *, root: str = "/", runner: Runner | None = None) -> None:
        self._root = root
        self._runner = runner or Runner()

    def _path(self, path: str) -> str:
        return os.path.join(self._root, path.lstrip("/"))

    def _read(self, path: str) -> str:
        try:
            with open(self._path(path), encoding="utf-8", errors="replace") as handle:
                return handle.read()
        except OSError:
            return ""

    def os_release(self) -> Mapping[str, str]:
        return pf.parse_os_release(self._read("/etc/os-release") or self._read("/usr/lib/os-release"))

    def packages(self) -> Mapping[str, pf.Package]:
        return pf.parse_dpkg_status(self._read("/var/lib/dpkg/status"))

    def package_files(self, package: str) -> frozenset[str]:
        return frozenset(self._read(f"/var/lib/dpkg/info/{package}.list").splitlines())

    def listeners(self) -> Sequence[pf.Listener]:
        return [
            listener
            for table in ("/proc/net/tcp", "/proc/net/tcp6")
            for listener in pf.parse_proc_net_tcp(self._read(table))
        ]

    def holders(self, inodes: Iterable[int]) -> Mapping[int, Sequence[pf.Holder]]:
        """The process that holds each socket; the oldest, where several share it.

        Without CAP_SYS_PTRACE (as in most containers) even root may not see the open files of some
        processes. A socket found nowhere else is then held by one of those, all of which are returned.
        """
        wanted = {f"socket:[{inode}]": inode for inode in inodes}
        found: dict[int, tuple[pf.Holder, ...]] = {}
        try:
            pids = sorted(int(name) for name in os.listdir(self._path("/proc")) if name.isdigit())
        except OSError:
            return found
        hidden = []
        for pid in pids:
            try:
                for inode in self._sockets(pid, wanted):
                    found.setdefault(inode, (self._holder(pid),))
            except PermissionError:
                hidden.append(self._holder(pid))
            if len(found) == len(wanted):
                break
        for inode in set(wanted.values()) - set(found):
            found[inode] = tuple(hidden)
        return found

    def _sockets(self, pid: int, wanted: Mapping[str, int]) -> list[int]:
        """Those of ``wanted`` that the process holds. Raises PermissionError where it may not be looked at."""
        folder = self._path(f"/proc/{pid}/fd")
        found = []
        try:
            for name in os.listdir(folder):
                link = os.readlink(os.path.join(folder, name))
                if link in wanted:
                    found.append(wanted[link])
        except PermissionError:
            raise
        except OSError:
            pass  # the process ended meanwhile
        return found

    def _holder(self, pid: int) -> pf.Holder:
        try:
            exe = os.readlink(self._path(f"/proc/{pid}/exe")).removesuffix(" (deleted)")
        except OSError:
            # What it was started as is for everybody to see.
            exe = self._read(f"/proc/{pid}/cmdline").partition("\0")[0]
        names = [self._read(f"/proc/{pid}/comm").strip(), os.path.basename(exe)]
        # One line for each hierarchy; on older layouts only that of systemd names the unit.
        groups = [os.path.basename(line) for line in self._read(f"/proc/{pid}/cgroup").splitlines()]
        units = [group for group in groups if group.endswith((".service", ".socket"))]
        return pf.Holder(
            pid=pid,
            names=tuple(dict.fromkeys(name for name in names if name)),
            exe=exe,
            unit=units[0] if units else "",
        )

    def space(self, path: str) -> pf.Space:
        """Room at ``path`` or, before it exists, at the nearest directory above it."""
        place = self._path(path)
        while not os.path.exists(place) and os.path.dirname(place) != place:
            place = os.path.dirname(place)
        info = os.statvfs(place)
        # Some file systems (btrfs) make inodes as needed and report none at all.
        inodes_left = info.f_files == 0 or info.f_favail > 0
        return pf.Space(info.f_bavail * info.f_frsize >> 20, not info.f_flag & os.ST_RDONLY, inodes_left)

    def connect(self, host: str, port: int, timeout: float) -> str:
        """Open and close a TCP connection within ``timeout`` seconds in all; empty text if that worked."""
        deadline = time.monotonic() + timeout
        try:
            targets = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as err:
            return pf.explain_socket_error(err) if isinstance(err, OSError) else "name: it is no host name"
        # IPv4 first: where only IPv6 is broken, mail still goes out.
        targets.sort(key=lambda info: info[0] != socket.AF_INET)
        trouble = "no address"
        for index, (family, kind, proto, _name, address) in enumerate(targets[:_CONNECT_LIMIT]):
            left = deadline - time.monotonic()
            share = left / (min(len(targets), _CONNECT_LIMIT) - index)
            if share <= 0:
                break
            with socket.socket(family, kind, proto) as sock:
                sock.settimeout(share)
                try:
                    sock.connect(address)
                    return ""
                except OSError as err:
                    trouble = pf.explain_socket_error(err)
        return trouble

    def query(self, name: str, rdtype: str) -> list[str]:
        """Records as the name servers of this host give them. Raises OSError when none answers."""
        try:
            return StubResolver.of_host(self._path("/etc/resolv.conf")).query(name, rdtype)
        except StubError as err:
            raise OSError(str(err)) from err

    def source_addresses(self) -> Mapping[str, str]:
        found = {}
        for name, (family, target) in _ROUTE_PROBES.items():
            try:
                with socket.socket(family, socket.SOCK_DGRAM) as sock:
                    sock.connect((target, 9))
                    found[name] = str(sock.getsockname()[0])
            except OSError:
                continue  # no route: the host does not speak this family to the outside
        return found

    def has_global_ipv6(self) -> bool:
        return pf.parse_if_inet6(self._read("/proc/net/if_inet6"))

    def advertised_routes(self) -> Sequence[str]:
        return pf.parse_ipv6_route(self._read("/proc/net/ipv6_route"))

    def owns(self, address: str) -> bool:
        """Whether a program on this host can be reached at the address: the kernel gives a socket no other."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            try:
                sock.bind((address, 0))
            except OSError:
                return False
        return True

    def etckeeper_ready(self) -> bool:
        """Whether /etc is under version control, whichever of etckeeper's systems it is."""
        return any(os.path.isdir(self._path(f"/etc/{name}")) for name in (".git", ".hg", ".bzr", "_darcs"))

    def services(self, names: Sequence[str]) -> Mapping[str, pf.Unit]:
        try:
            argv = ["systemctl", "show", "-p", "LoadState", "-p", "ActiveState", "-p", "UnitFileState", "--", *names]
            return pf.parse_systemctl_show(self._runner.run(argv, timeout=20).stdout, names)
        except CommandError:
            return dict.fromkeys(names, pf.Unit())

    def in_runlevel(self, name: str) -> bool:
        """Whether an init script starts in a runlevel that is for use, as ``systemctl is-enabled`` finds it."""
        pattern = f"etc/rc[2-5].d/S[0-9][0-9]{glob.escape(name.removesuffix('.service'))}"
        return bool(glob.glob(pattern, root_dir=self._root))

    def names(self) -> tuple[str, str]:
        """The host's short and full name, the full one as ``hostname -f`` finds it."""
        name = socket.gethostname()
        if "." in name:
            return name.partition(".")[0], name
        full = pf.fqdn_from_hosts(self._read("/etc/hosts"), name)
        if full is None:
            try:
                info = socket.getaddrinfo(name, None, flags=socket.AI_CANONNAME)
                full = info[0][3] or name
            except (OSError, UnicodeError):
                full = name
        return name, full if "." in full else name
