# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab leaves on the controller: keys, the inventory for Ansible, lab.json for programs."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from .credentials import Credentials
from .hosts import BY_NAME, ESTATE, HOSTS, INTERNET, SIDES, Host, Plan
from .render import MAILBOX_USER, PROVIDER_USER

REPOSITORY = Path(__file__).resolve().parents[3]
CACHE = REPOSITORY / ".cache" / "lab"
PYTHON = "/usr/bin/python3"


def folder(name: str) -> Path:
    """The state folder of a lab."""
    return CACHE / name


def names() -> list[str]:
    """All labs that have state on this controller."""
    return sorted(path.parent.name for path in CACHE.glob("*/lab.json"))


def load(name: str) -> dict[str, Any]:
    """lab.json of a lab; ``FileNotFoundError`` if there is none."""
    loaded: dict[str, Any] = json.loads((folder(name) / "lab.json").read_text(encoding="utf-8"))
    return loaded


def write(path: Path, content: str, mode: int = 0o600) -> None:
    """Write a file that is never readable by others for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(content)


def sockets(name: str) -> Path:
    """A short folder for ssh's control sockets (a socket's path has 108 bytes at most); made if needed."""
    path = Path(tempfile.gettempdir()) / f"pml-{os.getuid()}-{name}"
    path.mkdir(mode=0o700, exist_ok=True)
    if path.stat().st_uid != os.getuid() or path.is_symlink():
        raise PermissionError(f"{path} belongs to somebody else")
    return path


def forget(name: str) -> None:
    """Remove all state of a lab."""
    shutil.rmtree(folder(name), ignore_errors=True)
    shutil.rmtree(sockets(name), ignore_errors=True)


def ssh_options(name: str) -> list[str]:
    """Options for ssh to any host of the lab: its key, its host key, one connection kept open."""
    base = folder(name)
    options = {
        "UserKnownHostsFile": str(base / "known_hosts"),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
        "ControlMaster": "auto",
        "ControlPersist": "600",
        "ControlPath": f"{sockets(name)}/%C",
        "LogLevel": "ERROR",
    }
    return ["-F", "none", *(part for key, value in options.items() for part in ("-o", f"{key}={value}"))]


def facts(plan: Plan, credentials: Credentials, *, engine: str, running: Sequence[Host]) -> dict[str, Any]:
    """The content of lab.json."""
    base = folder(plan.name)
    return {
        "name": plan.name,
        "index": plan.index,
        "engine": engine,
        "networks": {side: {"v4": str(plan.net4(side)), "v6": str(plan.net6(side))} for side in SIDES},
        "hosts": {host.name: _host(plan, host, host in running) for host in HOSTS},
        "dns": {
            "primary": plan.control(BY_NAME["ns1"]),
            "secondary": plan.control(BY_NAME["ns2"]),
            "resolver": plan.control(BY_NAME["resolver"]),
            "algorithm": "hmac-sha256",
            "tsig": {name: credentials.tsig[name] for name in ("estate.", "lab.")},
        },
        "provider": {
            "host": BY_NAME["provider"].fqdn,
            "port": 587,
            "username": PROVIDER_USER,
            "password": credentials.provider_password,
            "spf_include": "_spf.provider.test",
        },
        "outside": {
            "host": BY_NAME["outside"].fqdn,
            "maildir": "/var/mail/inbox",
            "username": MAILBOX_USER,
            "password": credentials.mailbox_password,
        },
        "ca_file": str(base / "ca.pem"),
        "ssh_key": str(base / "ssh_key"),
        "known_hosts": str(base / "known_hosts"),
        "inventory": str(base / "inventory.yml"),
    }


def _host(plan: Plan, host: Host, running: bool) -> dict[str, Any]:
    return {
        "fqdn": host.fqdn,
        "control": plan.control(host),
        "addresses": plan.addresses(host),
        "nameless": [a for n in host.nameless for a in (plan.v4(n, INTERNET), plan.v6(n, INTERNET))],
        "container": plan.container(host),
        "release": host.release,
        "groups": list(host.groups),
        "running": running,
    }


def inventory(known: dict[str, Any]) -> dict[str, Any]:
    """Ansible's inventory of the running hosts; variables named ``lab_*`` say what a play cannot guess."""
    hosts = {name: host for name, host in known["hosts"].items() if host["running"]}
    groups: dict[str, Any] = {"lab": {"hosts": dict.fromkeys(hosts)}}
    for group in sorted({group for host in known["hosts"].values() for group in host["groups"]}):
        groups[group] = {"hosts": dict.fromkeys(name for name, host in hosts.items() if group in host["groups"])}
    options = ssh_options(known["name"])
    dns, provider = known["dns"], known["provider"]
    variables = {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": known["ssh_key"],
        "ansible_ssh_args": " ".join(options),
        "ansible_ssh_pipelining": True,
        # Tests are in a hurry; a person's lab is as a person's hosts are.
        "ansible_python_interpreter": "/usr/local/bin/lab-python" if os.environ.get("LAB_PRELOADED") else PYTHON,
        "lab_name": known["name"],
        "lab_estate_networks": list(known["networks"][ESTATE].values()),
        "lab_internet_networks": list(known["networks"][INTERNET].values()),
        "lab_dns_primary": dns["primary"],
        "lab_dns_secondary": dns["secondary"],
        "lab_dns_resolver": dns["resolver"],
        "lab_tsig_name": "estate.",
        "lab_tsig_algorithm": dns["algorithm"],
        "lab_tsig_secret": dns["tsig"]["estate."],
        "lab_provider_host": provider["host"],
        "lab_provider_port": provider["port"],
        "lab_provider_username": provider["username"],
        "lab_provider_password": provider["password"],
        "lab_ca_file": known["ca_file"],
    }
    everything = {
        name: {"ansible_host": host["control"], "lab_fqdn": host["fqdn"], "lab_addresses": host["addresses"]}
        for name, host in hosts.items()
    }
    return {"all": {"hosts": everything, "vars": variables, "children": groups}}


def save(known: dict[str, Any], credentials: Credentials) -> None:
    """Write lab.json, the inventory, ssh's files and the CA."""
    base = folder(known["name"])
    write(base / "ssh_key", credentials.client.private)
    write(base / "ssh_key.pub", credentials.client.public, 0o644)
    write(base / "known_hosts", f"* {credentials.host.public}", 0o644)
    write(base / "ca.pem", credentials.authority.pem, 0o644)
    write(base / "inventory.yml", "---\n" + yaml.safe_dump(inventory(known), sort_keys=False))
    write(base / "lab.json", json.dumps(known, indent=2) + "\n")
