# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's images: a bare Debian 12 and 13 with sshd, and Debian 13 with all daemons of the internet.

An image's tag is derived from its recipe, so that a changed recipe is a new image and an
unchanged one is never built again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .engine import Engine, LabError

Say = Callable[[str], None]

MIRROR = os.environ.get("LAB_MIRROR", "http://deb.debian.org/debian")
SECURITY_MIRROR = os.environ.get("LAB_SECURITY_MIRROR", "http://deb.debian.org/debian-security")
REGISTRY = os.environ.get("LAB_REGISTRY", "docker.io/library")
BUILD = 3600  # seconds for the packages of an image, also over a slow line
NUMBERS = {"bookworm": "12", "trixie": "13"}

BASE_PACKAGES = (
    "systemd systemd-sysv dbus python3 python3-apt ca-certificates iproute2 procps sudo openssh-server netbase"
).split()
INTERNET_PACKAGES = (
    "knot knot-dnsutils unbound apt-cacher-ng postfix libsasl2-modules sasl2-bin rspamd swaks libnet-ssleay-perl "
    "dovecot-imapd bind9-dnsutils python3-dnspython python3-dkim pebble certbot"
).split()
# Each host of the internet enables its own.
INTERNET_SERVICES = "knot unbound apt-cacher-ng postfix rspamd saslauthd dovecot certbot.timer".split()

SOURCES = """\
deb {mirror} {release} main
deb {mirror} {release}-updates main
deb {security} {release}-security main
"""
APT_CONF = """\
Acquire::Languages "none";
Acquire::Retries "3";
APT::Install-Recommends "true";
"""
# The scripts replace a whole system's settings, and an engine that was started in a chroot runs them outside of it.
GUARD = """\
if ! grep -qx "$CONTAINER" /etc/hostname; then
    echo 'commands for a container do not run inside it here; is this a chroot? Start the lab outside of it' >&2
    exit 1
fi
"""
# Nothing may take apt's lock behind our back, and every run brings its own ssh host key.
BASE_SCRIPT = """\
set -eu
export DEBIAN_FRONTEND=noninteractive
printf '%s' "$SOURCES" > /etc/apt/sources.list
rm -f /etc/apt/sources.list.d/* /etc/apt/apt.conf.d/docker-*
printf '%s' "$APT_CONF" > /etc/apt/apt.conf.d/80lab
apt-get -q update
apt-get -q -y --no-install-recommends install $PACKAGES
mkdir -m 0700 /var/cache/lab-bytecode
printf '%s' "$BYTECODE" > /usr/lib/python3/dist-packages/lab_bytecode.py
echo 'import lab_bytecode' > /usr/lib/python3/dist-packages/lab_bytecode.pth
mkdir /usr/local/lib/lab-python
printf '%s' "$SERVER" > /usr/local/lib/lab-python/server.py
printf '#!/usr/bin/perl\\n%s' "$CLIENT" > /usr/local/bin/lab-python
chmod 0755 /usr/local/bin/lab-python
printf '%s' "$SOCKET" > /etc/systemd/system/lab-python.socket
printf '%s' "$SERVICE" > /etc/systemd/system/lab-python.service
rm -f /usr/sbin/policy-rc.d /etc/ssh/ssh_host_*_key* /etc/machine-id /etc/dpkg/dpkg.cfg.d/docker*
: > /etc/machine-id
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
    systemd-journal-catalog-update.service ldconfig.service; do
    ln -sf /dev/null /etc/systemd/system/$unit
done
systemctl enable ssh.service lab-python.socket
apt-get clean
rm -rf /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log /tmp/* /var/tmp/*
"""
# What every Python of a host loads when it starts.
BYTECODE = (Path(__file__).parent / "bytecode" / "sitecustomize.py").read_text(encoding="utf-8")
# What forks for Ansible's modules where tests are in a hurry.
INTERPRETER = {
    variable: (Path(__file__).parent / "interpreter" / name).read_text(encoding="utf-8")
    for variable, name in {
        "SERVER": "server.py",
        "CLIENT": "client.pl",
        "SOCKET": "lab-python.socket",
        "SERVICE": "lab-python.service",
    }.items()
}
INTERNET_SCRIPT = """\
set -eu
export DEBIAN_FRONTEND=noninteractive
echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
apt-get -q -y --no-install-recommends install $PACKAGES
systemctl disable $SERVICES
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log /tmp/* /var/tmp/*
"""


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def base_tag(release: str) -> str:
    """Name of the bare image of a Debian release, e.g. ``localhost/pml-base-trixie:0123456789ab``."""
    files = (BYTECODE, *INTERPRETER.values())
    recipe = _digest(release, BASE_SCRIPT, *files, SOURCES, APT_CONF, MIRROR, SECURITY_MIRROR, *BASE_PACKAGES)
    return f"localhost/pml-base-{release}:{recipe}"


def internet_tag() -> str:
    """Name of the image that all hosts of the internet share."""
    recipe = _digest(base_tag("trixie"), INTERNET_SCRIPT, *INTERNET_PACKAGES, *INTERNET_SERVICES)
    return f"localhost/pml-internet:{recipe}"


def public_image(release: str) -> str:
    """What a registry calls a Debian release; empty where none is to be asked."""
    return "" if os.environ.get("LAB_NO_REGISTRY") else f"{REGISTRY}/debian:{NUMBERS[release]}-slim"


class Images:
    """Builds what is missing; ``cache`` keeps root file systems made without a registry."""

    def __init__(self, engine: Engine, *, cache: Path, say: Say) -> None:
        self.engine = engine
        self.cache = cache
        self.say = say

    def ensure(self, releases: set[str]) -> None:
        """Have the internet image and the bare ones of ``releases``; missing ones are built side by side."""
        with self._lock():
            self._ensure(releases | {"trixie"})

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Two labs that start at once build an image once."""
        self.cache.mkdir(parents=True, exist_ok=True)
        with (self.cache / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _ensure(self, wanted: set[str]) -> None:
        missing = [release for release in sorted(wanted) if not self.engine.has_image(base_tag(release))]
        if missing:
            self.say(f"building base images: {', '.join(missing)} (once, about a minute)")
            with ThreadPoolExecutor() as pool:
                list(pool.map(self._base, missing))
        if not self.engine.has_image(internet_tag()):
            self.say("building the internet image (once, about a minute)")
            env = {"PACKAGES": " ".join(INTERNET_PACKAGES), "SERVICES": " ".join(INTERNET_SERVICES)}
            self._build(base_tag("trixie"), internet_tag(), INTERNET_SCRIPT, env)

    def _base(self, release: str) -> None:
        sources = SOURCES.format(mirror=MIRROR, security=SECURITY_MIRROR, release=release)
        env = {
            "PACKAGES": " ".join(BASE_PACKAGES), "SOURCES": sources, "APT_CONF": APT_CONF, "BYTECODE": BYTECODE,
            **INTERPRETER,
        }  # fmt: skip
        self._build(self._root(release), base_tag(release), BASE_SCRIPT, env)

    def _build(self, parent: str, tag: str, script: str, env: dict[str, str]) -> None:
        """Run ``script`` in a container of ``parent`` and keep the result as ``tag``."""
        name = f"pml-build-{uuid.uuid4().hex[:8]}"
        proxies = {key: os.environ[key] for key in ("http_proxy", "https_proxy", "no_proxy") if key in os.environ}
        known = {**proxies, **env, "CONTAINER": name}
        options = [part for key, value in known.items() for part in ("-e", f"{key}={value}")]
        place = ["--name", name, "--hostname", name, "--network", self.engine.uplink]
        self.engine.run("run", "-d", *place, parent, "sleep", "infinity")
        try:
            self.engine.run("exec", *options, name, "sh", "-c", GUARD + script, timeout=BUILD)
            self.engine.run("commit", *(part for change in self.engine.changes for part in ("-c", change)), name, tag)
        finally:
            self.engine.remove([name])
        repository = tag.rpartition(":")[0]
        for old in self.engine.images(repository):
            if old != tag:
                self.engine.run("rmi", old, check=False)  # fails if a running lab still uses it: then it stays
        self.say(f"built {tag}")

    def _root(self, release: str) -> str:
        """A minimal Debian: from a registry where one answers, else from the mirror."""
        tag = f"localhost/pml-root-{release}:{_digest(release, MIRROR)}"
        if self.engine.has_image(tag):
            return tag
        if official := public_image(release):
            with contextlib.suppress(LabError):
                self.engine.run("pull", "-q", official, timeout=300)
                return official
            self.say(f"no registry answers for {official}: bootstrapping Debian {NUMBERS[release]} from {MIRROR}")
        archive = self.cache / f"root-{release}.tar"
        if not archive.exists():
            self._bootstrap(release, archive)
        self.engine.run("import", str(archive), tag)
        return tag

    def _bootstrap(self, release: str, archive: Path) -> None:
        tool = shutil.which("mmdebstrap")
        if tool is None:
            raise LabError("no container registry answers and mmdebstrap is not installed: apt-get install mmdebstrap")
        part = archive.with_suffix(".part.tar")
        # To standard output, so that the file is ours also where mmdebstrap is root's.
        argv = [*self.engine.prefix[:2], tool, "--variant=minbase", "--quiet", release, "-", MIRROR]
        with part.open("wb") as file:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            part.unlink(missing_ok=True)
            said = done.stderr.decode(errors="replace").strip()
            raise LabError(f"mmdebstrap could not make Debian {release}: {said}")
        part.rename(archive)
