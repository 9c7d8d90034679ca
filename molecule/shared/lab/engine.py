# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: the container engine, podman or docker, and what this machine demands of it.

Nothing about the machine is assumed: whether its root may raise resource limits and whether
systemd runs on it are looked up, and podman gets a ``containers.conf`` of the lab's own only
where one is needed.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CAP_SYS_RESOURCE = 24  # capability(7)
LABEL = "postmaster.mail.lab"
ACCEPT_LAB = "-A FORWARD -s 198.18.0.0/15 -d 198.18.0.0/15 -j ACCEPT"
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_INSTANCES = 2048


class LabError(Exception):
    """Something stands in the way; the text is one sentence for a person to act on."""


@dataclass(frozen=True)
class Machine:
    """What was found out about the machine the engine runs on."""

    can_raise_limits: bool
    has_systemd: bool

    @classmethod
    def look(cls, *, root: Path = Path("/")) -> Machine:
        """Read the answers from ``root``'s /proc, /sys and /run."""
        status = (root / "proc/self/status").read_text(encoding="ascii", errors="replace")
        bounding = next((line.split()[1] for line in status.splitlines() if line.startswith("CapBnd:")), "0")
        return cls(
            can_raise_limits=bool(int(bounding, 16) >> CAP_SYS_RESOURCE & 1),
            has_systemd=(root / "run/systemd/system").is_dir(),
        )


def containers_conf(machine: Machine) -> str:
    """The containers.conf this machine needs; empty if podman's defaults will do."""
    own = [] if machine.has_systemd else ['cgroup_manager = "cgroupfs"', 'events_logger = "file"']
    limits = []
    if not machine.can_raise_limits:
        # crun gives up where it may not raise rlimits; runc starts with limits that need no raising.
        own.append('runtime = "runc"')
        limits = ["[containers]", 'default_ulimits = ["nofile=1024:20000", "nproc=30000:30000"]']
    if not own:
        return ""
    return "\n".join(["[engine]", *own, *limits, "[network]", 'network_backend = "netavark"', ""])


@dataclass(frozen=True)
class Mount:
    """A file or folder of the controller shown inside a container."""

    source: Path
    target: str
    read_only: bool = True

    def __str__(self) -> str:
        return f"{self.source}:{self.target}{':ro' if self.read_only else ''}"


@dataclass(frozen=True)
class Link:
    """A container's place on one network."""

    network: str
    v4: str = ""
    v6: str = ""


@dataclass(frozen=True)
class Container:
    """All that is needed to create one container that boots systemd.

    With ``mounting`` its systemd may mount, and so shuts services in as it does on a real host; Docker's always may.
    """

    name: str
    hostname: str
    image: str
    lab: str
    links: tuple[Link, ...]
    mounts: tuple[Mount, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    mounting: bool = False


class Engine:
    """Starts the engine's command line and knows the differences between the two engines."""

    name = ""
    changes: tuple[str, ...] = (
        'CMD ["/lib/systemd/systemd"]',
        "STOPSIGNAL SIGRTMIN+3",
    )  # what a committed image is told

    def __init__(self, *, env: Mapping[str, str] | None = None, prefix: Sequence[str] = ()) -> None:
        self.env = dict(env or {})
        self.prefix = [*prefix, *(["env", *(f"{k}={v}" for k, v in self.env.items())] if prefix and env else [])]

    def argv(self, *args: str) -> list[str]:
        """The full command line for ``args``."""
        return [*self.prefix, self.name, *args]

    def run(
        self, *args: str, stdin: bytes | None = None, check: bool = True, timeout: float = 600
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the engine; with ``check`` a failure is a :class:`LabError` with the engine's last words."""
        try:
            done = subprocess.run(
                self.argv(*args),
                input=stdin if stdin is not None else b"",
                capture_output=True,
                env={**os.environ, **self.env},
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as err:
            raise LabError(f"{self.name} {args[0]} did not end within {timeout:g} seconds") from err
        except OSError as err:
            raise LabError(f"{self.name} cannot be started: {err.strerror}") from err
        if check and done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip() or done.stdout.decode(errors="replace").strip()
            raise LabError(f"{self.name} {' '.join(args[:2])} failed: {said}")
        return done

    def text(self, *args: str) -> str:
        """Standard output of a successful run, stripped."""
        return self.run(*args).stdout.decode(errors="replace").strip()

    def obstacle(self) -> str:
        """A sentence on what would keep the lab's hosts from reaching each other; empty if nothing does."""
        return ""

    # -- images ---------------------------------------------------------------------------------
    def has_image(self, tag: str) -> bool:
        """Whether an image of that name is stored."""
        return self.run("image", "inspect", tag, check=False).returncode == 0

    def images(self, name: str) -> list[str]:
        """All stored tags of the image ``name``."""
        lines = self.text("images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", f"reference={name}:*")
        return [line for line in lines.splitlines() if not line.endswith(":<none>")]

    # -- containers -----------------------------------------------------------------------------
    def create(self, wanted: Container) -> None:
        """Create a container on its networks, not started."""
        raise NotImplementedError

    def put(self, container: str, tar: bytes) -> None:
        """Unpack a tar archive at the container's root, owners and modes kept."""
        self.run("cp", *self.cp_options, "-", f"{container}:/", stdin=tar)

    cp_options: tuple[str, ...] = ()

    def start(self, container: str) -> None:
        """Start a created container."""
        self.run("start", container)

    def containers(self, lab: str) -> list[dict[str, str]]:
        """Name and status of every container of a lab, stopped ones too."""
        lines = self.text("ps", "-a", "--filter", f"label={LABEL}={lab}", "--format", "{{.Names}}\t{{.Status}}")
        return [dict(zip(("name", "status"), line.split("\t"), strict=False)) for line in lines.splitlines()]

    def remove(self, names: Sequence[str]) -> None:
        """Remove containers at once, whatever state they are in."""
        if names:
            self.run("rm", "-f", "-v", *self.rm_options, *names)

    rm_options: tuple[str, ...] = ()

    # -- networks -------------------------------------------------------------------------------
    uplink = ""

    def create_network(self, name: str, lab: str, *, v4: str, v6: str, gateways: tuple[str, str]) -> None:
        """Create a bridge that neither translates addresses nor leads anywhere but to its members and the host."""
        raise NotImplementedError

    def networks(self, lab: str = "") -> list[str]:
        """Names of the networks of a lab, or of all labs."""
        label = f"{LABEL}={lab}" if lab else LABEL
        return self.text("network", "ls", "--filter", f"label={label}", "--format", "{{.Name}}").split()

    def remove_networks(self, names: Sequence[str]) -> None:
        """Remove networks; nothing may be connected to them any more."""
        if names:
            self.run("network", "rm", *names)


class Podman(Engine):
    """Rootful podman, 4.3 or later."""

    name = "podman"
    uplink = "podman"
    rm_options = ("-t", "0")

    def obstacle(self) -> str:
        # Docker sets this policy where it finds forwarding off; its own networks are excepted, ours are not.
        calls = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
        if not calls.exists() or calls.read_text(encoding="ascii").strip() != "1":
            return ""
        try:
            argv = [*self.prefix[:2], "iptables", "-w", "-S", "FORWARD"]
            rules = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines()
        except OSError:
            return ""
        if "-P FORWARD DROP" not in rules or ACCEPT_LAB in rules:
            return ""
        return f"this machine's firewall drops what passes its bridges: allow the lab with iptables {ACCEPT_LAB}"

    def create(self, wanted: Container) -> None:
        # SYS_PTRACE: start-stop-daemon knows another user's daemon by its /proc/PID/exe.
        args = ["--systemd=always", "--cap-add", "NET_ADMIN", "--cap-add", "SYS_PTRACE", "--no-hosts"]
        args += ["--cap-add", "SYS_ADMIN"] if wanted.mounting else []
        for number, link in enumerate(wanted.links):
            # Else both would be others after a restart, which is not what happens to a real host.
            options = f"interface_name=eth{number}"
            if link.v4:
                options += f",ip={link.v4},ip6={link.v6},mac={_mac(link.v4)}"
            args += ["--network", f"{link.network}:{options}"]
        self.run("create", *args, *_common(wanted), wanted.image)

    def create_network(self, name: str, lab: str, *, v4: str, v6: str, gateways: tuple[str, str]) -> None:
        # An internal network has no masquerading: addresses arrive as they were sent, even with br_netfilter.
        args = ["--internal", "--disable-dns", "--subnet", v4, "--gateway", gateways[0]]
        args += ["--ipv6", "--subnet", v6, "--gateway", gateways[1], "--label", f"{LABEL}={lab}"]
        self.run("network", "create", *args, name)


class Docker(Engine):
    """Docker 20.10 or later."""

    name = "docker"
    uplink = "bridge"
    cp_options = ("-a",)
    changes: tuple[str, ...] = ('CMD ["/lib/systemd/systemd"]',)  # the signal is given when a container is created

    def create(self, wanted: Container) -> None:
        args = ["--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--cap-add", "SYS_PTRACE", "--cgroupns=host"]
        args += ["--stop-signal", "SIGRTMIN+3"]
        args += ["-v", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--tmpfs", "/run", "--tmpfs", "/run/lock"]
        args += ["--tmpfs", "/tmp:exec", "-e", "container=docker"]
        if "apparmor" in self.text("info", "--format", "{{.SecurityOptions}}"):
            args += ["--security-opt", "apparmor=unconfined"]  # its profile forbids the mounts systemd makes
        first, *others = wanted.links
        args += ["--network", first.network, *_docker_addresses(first)]
        self.run("create", *args, *_common(wanted), wanted.image, "/lib/systemd/systemd")
        for link in others:
            self.run("network", "connect", *_docker_addresses(link), link.network, wanted.name)

    def create_network(self, name: str, lab: str, *, v4: str, v6: str, gateways: tuple[str, str]) -> None:
        # Docker's internal networks drop what the edge routes in; one that does not masquerade is what we mean.
        args = ["--opt", "com.docker.network.bridge.enable_ip_masquerade=false"]
        args += ["--subnet", v4, "--gateway", gateways[0]]
        args += ["--ipv6", "--subnet", v6, "--gateway", gateways[1], "--label", f"{LABEL}={lab}"]
        self.run("network", "create", *args, name)


def make_room(engine: Engine, say: Callable[[str], None], *, setting: Path = INOTIFY) -> None:
    """Raise the kernel's limit of inotify instances: each systemd takes several, 128 are few."""
    try:
        if int(setting.read_text(encoding="ascii")) >= INOTIFY_INSTANCES:
            return
    except OSError:
        return
    say(f"raising fs.inotify.max_user_instances to {INOTIFY_INSTANCES} until the next boot, for many systemds")
    argv = [*engine.prefix[:2], "tee", str(setting)]
    try:
        subprocess.run(argv, input=f"{INOTIFY_INSTANCES}\n", text=True, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as err:
        raise LabError(
            f"the lab's hosts need fs.inotify.max_user_instances of {INOTIFY_INSTANCES}, and it cannot be set: "
            f"run sysctl -w fs.inotify.max_user_instances={INOTIFY_INSTANCES} as root"
        ) from err


def _mac(v4: str) -> str:
    """A locally administered address (IEEE 802c) made of an IPv4 one, as docker makes them."""
    return ":".join(["02", "42", *(f"{part:02x}" for part in ipaddress.IPv4Address(v4).packed)])


def _docker_addresses(link: Link) -> list[str]:
    return [*(["--ip", link.v4] if link.v4 else []), *(["--ip6", link.v6] if link.v6 else [])]


def _common(wanted: Container) -> list[str]:
    args = ["--name", wanted.name, "--hostname", wanted.hostname, "--label", f"{LABEL}={wanted.lab}"]
    for mount in wanted.mounts:
        args += ["-v", str(mount)]
    for key, value in wanted.sysctls.items():
        args += ["--sysctl", f"{key}={value}"]
    return args


def find(name: str, *, state: Path) -> Engine:
    """The engine called ``name``, ready to use, or a :class:`LabError` that says what is missing.

    ``auto`` takes podman if it is installed, else docker. ``state`` is the folder where a
    containers.conf is kept if podman needs one.
    """
    if name == "auto":
        name = next((each for each in ("podman", "docker") if shutil.which(each)), "podman")
    if shutil.which(name) is None:
        raise LabError(f"{name} is not installed: apt-get install {'podman' if name == 'podman' else 'docker.io'}")
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if name == "docker" and os.access("/var/run/docker.sock", os.W_OK):
        return _usable(Docker())
    if prefix and shutil.which("sudo") is None:
        raise LabError(f"{name} needs root, and there is no sudo")
    if name == "docker":
        return _usable(Docker(prefix=prefix))
    env: dict[str, str] = {}
    if given := os.environ.get("CONTAINERS_CONF"):
        env["CONTAINERS_CONF"] = given
    else:
        conf = containers_conf(Machine.look())
        if 'runtime = "runc"' in conf and shutil.which("runc", path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
            raise LabError("root may not raise resource limits here, so podman needs runc: apt-get install runc")
        if conf:
            state.mkdir(parents=True, exist_ok=True)
            (state / "containers.conf").write_text(conf, encoding="ascii")
            env["CONTAINERS_CONF"] = str(state / "containers.conf")
    return _usable(Podman(env=env, prefix=prefix))


def _usable(engine: Engine) -> Engine:
    done = engine.run("info", "--format", "json", check=False, timeout=60)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        hint = "is its daemon running?" if engine.name == "docker" else "is this user root or allowed to use sudo?"
        raise LabError(f"{engine.name} does not answer ({said[-1] if said else 'no message'}); {hint}")
    info: dict[str, Any] = json.loads(done.stdout)
    if info.get("host", {}).get("security", {}).get("rootless"):
        raise LabError("podman runs rootless here, the lab needs its networks: run it as root or allow sudo")
    return engine
