# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What certbot's hooks do for a certificate: open and close port 80, have services take it up, prove that they did.

    python3 certificate.py open|close|deploy|prove <name>

It needs nothing but Python. What it has to know of a certificate lies in a file of its own, which the role writes.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SETTINGS = Path("/etc/postmaster.mail/certificates")
LIVE = Path("/etc/letsencrypt/live")
PAUSE = 0.5  # seconds between two looks at a service that has not taken a certificate up yet
ANSWER = 10.0  # seconds for a service to answer
LINE_LIMIT = 4096

# How each port gets from plain text to TLS: how the last line of the greeting begins, what the server is told, and how
# the last line of each answer begins. All other ports speak TLS from the first byte on.
GREETINGS = {25: b"220 ", 587: b"220 ", 143: b"* OK", 110: b"+OK", 4190: b"OK"}
STEPS = {
    25: ((b"EHLO localhost", b"250 "), (b"STARTTLS", b"220 ")),
    587: ((b"EHLO localhost", b"250 "), (b"STARTTLS", b"220 ")),
    143: ((b"a STARTTLS", b"a OK"),),
    110: ((b"STLS", b"+OK"),),
    4190: ((b"STARTTLS", b"OK"),),
}


class HookError(Exception):
    """Something did not go as it should; the message is one sentence."""


def settings_of(name: str) -> dict[str, Any]:
    """What the role has left for the certificate."""
    try:
        return dict(json.loads((SETTINGS / f"{name}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as err:
        raise HookError(f"{SETTINGS / name}.json cannot be read ({err}): run the role again") from err


def held(name: str) -> bytes:
    """The newest certificate itself, without its chain."""
    try:
        text = (LIVE / name / "cert.pem").read_text(encoding="ascii")
        return ssl.PEM_cert_to_DER_cert(text)
    except (OSError, ValueError) as err:
        raise HookError(f"the certificate {name} cannot be read: {err}") from err


def _await(stream: Any, ending: bytes) -> None:
    """Read lines up to the one that begins with ``ending``."""
    while True:
        line = stream.readline(LINE_LIMIT)
        if line.upper().startswith(ending.upper()):
            return
        # An answer of several lines goes on with a hyphen, with quotes (ManageSieve) or with a star (IMAP).
        if not line or not (line[3:4] == b"-" or line.startswith((b'"', b"* "))):
            raise HookError(f"says {line[:80].decode('ascii', 'replace').strip()!r} instead of starting TLS")


def served(address: str, port: int, name: str) -> bytes:
    """The certificate that a port shows to whoever asks for ``name``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # it is compared with the one that is held
    try:
        with socket.create_connection((address, port), timeout=ANSWER) as plain:
            if port in GREETINGS:
                with plain.makefile("rb", buffering=0) as stream:
                    _await(stream, GREETINGS[port])
                    for said, ending in STEPS[port]:
                        plain.sendall(said + b"\r\n")
                        _await(stream, ending)
            with context.wrap_socket(plain, server_hostname=name) as client:
                return client.getpeercert(binary_form=True) or b""
    except OSError as err:
        raise HookError(f"cannot be reached: {err}") from err


def fault(address: str, port: int, name: str, wanted: bytes) -> str:
    """What is wrong with a port, if anything is."""
    try:
        found = served(address, port, name)
    except HookError as err:
        return f"port {port} {err}"
    return "" if found == wanted else f"port {port} serves another certificate than {name}"


def first(name: str) -> bool:
    """Whether it is the first certificate of its name: services are told of it later, so none serves it yet."""
    return (LIVE / name / "cert.pem").resolve().name == "cert1.pem"


def running(service: str) -> bool:
    """Whether a service is there and runs, so that it has a certificate to take up."""
    argv = ["systemctl", "is-active", "--quiet", service]
    return subprocess.run(argv, check=False, stdin=subprocess.DEVNULL).returncode == 0


def told(argv: list[str]) -> str:
    """Run a command; what it said if it failed."""
    try:
        done = subprocess.run(argv, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except OSError as err:
        return f"{argv[0]} cannot be started: {err.strerror}"
    if done.returncode == 0:
        return ""
    return f"{' '.join(argv)} failed: {(done.stderr or done.stdout).strip()}"


def commands(name: str, which: str) -> Iterator[str]:
    """Open or close port 80; what went wrong."""
    for argv in settings_of(name)[which]:
        if problem := told(argv):
            yield problem


def take_up(services: list[dict[str, Any]]) -> Iterator[str]:
    """Have services that run take the certificate up; what went wrong."""
    for service in services:
        verb = "restart" if service.get("state") == "restarted" else "reload"
        if problem := told(["systemctl", verb, service["name"]]):
            yield problem


def prove(name: str, services: list[dict[str, Any]], settings: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the ports of these services, each given time to come up."""
    wanted = held(name)
    until = time.monotonic() + settings["wait"]
    for port in (port for service in services for port in service.get("ports", ())):
        while (
            problem := fault(settings["address"], port, settings["server_name"], wanted)
        ) and time.monotonic() < until:
            time.sleep(PAUSE)
        if problem:
            yield problem


def run(command: str, name: str) -> list[str]:
    """Do what the command says; every sentence that comes back is a fault."""
    if command in ("open", "close"):
        return list(commands(name, command))
    settings = settings_of(name)
    services = [service for service in settings["services"] if running(service["name"])]
    if command == "deploy":
        problems = list(take_up(services))
        if first(name):
            return problems
    else:
        problems = [f"{service['name']} does not run" for service in settings["services"] if service not in services]
    problems += prove(name, services, settings)
    if command == "prove" and not problems:  # what a renewal has left as failed is mended
        told(["systemctl", "reset-failed", f"certificate-deploy@{name}.service"])
    ports = " and ".join(str(port) for service in services for port in service.get("ports", ())) or "no port"
    if not problems:
        print(f"the certificate {name} is served on {ports}")
    return problems


def main() -> int:
    """Run the command; faults go to standard error, which is the journal for a service."""
    if len(sys.argv) != 3 or sys.argv[1] not in ("open", "close", "deploy", "prove"):
        print(str(__doc__).splitlines()[2].strip(), file=sys.stderr)
        return 2
    problems: list[str] = []
    with contextlib.suppress(KeyboardInterrupt):
        try:
            problems = run(sys.argv[1], sys.argv[2])
        except HookError as err:
            problems = [str(err)]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
