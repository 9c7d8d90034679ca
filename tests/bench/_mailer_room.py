# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the mailer's benchmarks run: namespaces of their own, in which Postfix and its like are there without being installed.

Debian's packages are fetched and unpacked once. Over ``/usr`` and ``/etc`` lies a layer in memory that holds them, which
nobody else sees and which is gone with the last process; the network is a loopback of its own, so that nothing of it can
be reached, and no other server is in the way. Queues and Redis's files lie on the disk.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tools.dev import debian  # noqa: E402
from tools.dev.places import CACHE  # noqa: E402

PACKAGE = ROOT / "roles" / "mailer" / "files" / "package"
HOME = CACHE / "bench"
PYTHON = CACHE / "venv" / "mailer" / "bin" / "python"
PACKAGES = ("postfix", "opendkim", "rspamd")
PROCESSORS = 2
INSIDE, LAYER = "MAIL_BENCH_ROOM", Path("/mnt")
PASSWD = {"postfix": 940, "postdrop": 941, "opendkim": 942, "_rspamd": 943}


def enter(script: str) -> Path | None:
    """Begin anew inside, or, where that is done, give a folder on the disk; None (and why) where it cannot be."""
    if os.environ.get(INSIDE):
        _furnish()
        HOME.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="run-", dir=HOME))
    if reason := _hindrance():
        print(f"not run ({reason})")
        return None
    server = debian.folder("redis-server")
    if server is None:
        print("not run (neither this machine nor Debian's mirror has redis-server)")
        return None
    _unpack()
    env = {**_environment(), "PATH": os.pathsep.join([str(server), "/usr/sbin", "/usr/bin", "/sbin", "/bin"])}
    words = ["unshare", "--mount", "--net", "--ipc", "--pid", "--fork", "--mount-proc", "--kill-child"]
    sys.stdout.flush()
    os.execvpe("unshare", [*words, str(PYTHON), "-u", script, *sys.argv[1:]], env)


def with_libraries(script: str) -> bool:
    """Begin anew with the mailer's libraries, where nothing else is needed; False (and why) where they are missing."""
    if os.environ.get(INSIDE):
        return True
    if not PYTHON.exists():
        print(f"not run ({PYTHON} is missing: ./dev bench makes it)")
        return False
    os.execve(PYTHON, [str(PYTHON), "-u", script, *sys.argv[1:]], _environment())


def _environment() -> dict[str, str]:
    return {**os.environ, INSIDE: "1", "PYTHONPATH": os.pathsep.join([str(PACKAGE), str(ROOT)])}


def _hindrance() -> str | None:
    if os.geteuid() != 0:
        return "namespaces with a Postfix in them need root: start it as root"
    if not PYTHON.exists():
        return f"{PYTHON} is missing: ./dev bench makes it"
    missing = [name for name in ("apt-get", "dpkg", "unshare", "ip") if not shutil.which(name)]
    return f"{missing[0]} is missing: it takes Debian's packages apart" if missing else None


def _unpack() -> None:
    """Fetch what this machine lacks; what Debian does not have is left out."""
    root = HOME / "root"
    if root.exists():
        return
    root.mkdir(parents=True)
    for package in PACKAGES:
        words = ["apt-get", "install", "--simulate", "--no-install-recommends", package]
        said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
        names = [line.split()[1] for line in said.splitlines() if line.startswith("Inst ")]
        with tempfile.TemporaryDirectory() as fetched:
            done = subprocess.run(["apt-get", "download", *names], cwd=fetched, capture_output=True, check=False)
            for one in Path(fetched).glob("*.deb") if done.returncode == 0 else ():
                subprocess.run(["dpkg", "-x", one, root], check=True)


def _furnish() -> None:
    """Lay the packages over what is there, and wake the loopback. Only the first two processors count."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:PROCESSORS])
    _call("mount", "--make-rprivate", "/")
    _call("mount", "-t", "tmpfs", "-o", "mode=755", "bench", LAYER)
    for name in ("usr", "etc"):
        upper, work = LAYER / name, LAYER / f"work-{name}"
        work.mkdir()
        upper.mkdir()
        _call("cp", "-a", f"{HOME / 'root' / name}/.", upper)
        options = f"lowerdir=/{name},upperdir={upper},workdir={work}"
        _call("mount", "-t", "overlay", "-o", options, "overlay", f"/{name}")
    for file, line in (("passwd", "{0}:x:{1}:{1}::/:/usr/sbin/nologin\n"), ("group", "{0}:x:{1}:\n")):
        with Path("/etc", file).open("a", encoding="ascii") as to:
            known = {one.partition(":")[0] for one in Path("/etc", file).read_text(encoding="utf-8").splitlines()}
            to.writelines(line.format(*user) for user in PASSWD.items() if user[0] not in known)
    _call("ip", "link", "set", "lo", "up")


def _call(*words: str | Path) -> None:
    subprocess.run(words, check=True)


def about() -> str:
    """The machine, as figures must be read with it."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "unknown",
    )
    return f"{PROCESSORS} of {os.cpu_count()} processors ({model}), load {os.getloadavg()[0]:.1f}"
