# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inside a container of :mod:`collect`: a daemon sends to the servers of :mod:`cases`, and its log is written to stdout.

    unshare -n python3 _stage.py postfix|exim|opensmtpd

The servers, and a name server that knows their domains, are in a network namespace of their own at the other end of
a pair of virtual interfaces. Nothing leaves the container.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from cases import BY_DOMAIN, CASES, DATA, DNS, GREETING, HELLO, MAIL, MESSAGE, RCPT, TLS, Case

OURS, THEIRS = "198.51.100.2", "198.51.100.1"
NAMESERVER = THEIRS
HOSTNAME = "mail.sender.example"
PATIENCE = 90  # seconds for all messages to be tried


def address(case: Case) -> str:
    return f"192.0.2.{CASES.index(case) + 1}"


def sh(line: str) -> None:
    subprocess.run(line, shell=True, check=True)


# --- the other side --------------------------------------------------------------------------------


def name_server() -> None:
    """A, MX and nothing else, for the domains of the cases; RFC 1035."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind((NAMESERVER, 53))
        while True:
            query, client = door.recvfrom(4096)
            door.sendto(dns_answer(query), client)


def dns_answer(query: bytes) -> bytes:
    labels, place = [], 12
    while query[place]:
        labels.append(query[place + 1 : place + 1 + query[place]].decode().lower())
        place += query[place] + 1
    question, kind = query[12 : place + 5], int.from_bytes(query[place + 1 : place + 3], "big")
    name = ".".join(labels)
    case = BY_DOMAIN.get(name) or BY_DOMAIN.get(name.removeprefix("mx."))
    code, data = 0, b""
    if case is None or (case.stage, case.replies) == (DNS, ("NXDOMAIN",)):
        code = 0 if name in ("sender.example", HOSTNAME) else 3
    elif (case.stage, case.replies) == (DNS, ("SERVFAIL",)):
        code = 2
    elif kind == 15 and name in BY_DOMAIN:
        data = b"\0\0\0" if case.replies == ("NULLMX",) else b"\0\x0a\2mx\xc0\x0c"
    elif kind == 1 and case.replies != ("NULLMX",):
        data = socket.inet_aton(address(case))
    answer = b"\xc0\x0c" + kind.to_bytes(2, "big") + b"\0\1\0\0\0\x3c" + len(data).to_bytes(2, "big") + data
    flags = (0x8580 | code).to_bytes(2, "big")
    return (
        query[:2]
        + flags
        + b"\0\1"
        + (b"\0\1" if data else b"\0\0")
        + b"\0\0\0\0"
        + question
        + (answer if data else b"")
    )


def server(case: Case) -> None:
    if case.replies == ("closed",) or case.stage == DNS:
        return
    door = socket.create_server((address(case), 25))
    while True:
        session, dummy = door.accept()
        threading.Thread(target=talk, args=(case, session), daemon=True).start()


def talk(case: Case, session: socket.socket) -> None:
    with contextlib.suppress(OSError), session, session.makefile("rwb") as wire:
        step(case, GREETING, wire, f"220 mx.{case.name}.example ESMTP")
        while line := wire.readline():
            word = line[:4].upper().strip().decode("latin-1")
            if word in ("EHLO", "HELO"):
                more = ["STARTTLS"] if case.stage == TLS else []
                lines = [f"mx.{case.name}.example", *more, "SIZE 10000000"]
                step(case, HELLO, wire, *(f"250{' ' if one is lines[-1] else '-'}{one}" for one in lines))
            elif word == "STAR":
                step(case, TLS, wire, "454 4.7.0 no")
            elif word == "MAIL":
                step(case, MAIL, wire, "250 2.1.0 Ok")
            elif word == "RCPT":
                step(case, RCPT, wire, "250 2.1.5 Ok")
            elif word == "DATA":
                step(case, DATA, wire, "354 go on")
                while wire.readline().strip() != b".":
                    pass
                step(case, MESSAGE, wire, "250 2.0.0 Ok: queued")
            elif word == "QUIT":
                say(wire, "221 2.0.0 Bye")
                return
            else:
                say(wire, "250 2.0.0 Ok")


def step(case: Case, stage: str, wire: object, *usual: str) -> None:
    if stage != case.stage:
        say(wire, *usual)
    elif not case.replies:
        raise OSError("hung up")
    else:
        say(wire, *case.replies)


def say(wire: object, *lines: str) -> None:
    wire.write("".join(f"{line}\r\n" for line in lines).encode())  # type: ignore[attr-defined]
    wire.flush()  # type: ignore[attr-defined]


def other_side() -> None:
    """This process becomes the world: its address, and those of all servers, on its end of the pair."""
    sys.stdin.readline()  # until the pair is there
    sh(f"ip link set lo up; ip addr add {THEIRS}/30 dev theirs; ip link set theirs up")
    sh("".join(f"ip addr add {address(case)}/32 dev theirs; " for case in CASES))
    for case in CASES:
        threading.Thread(target=server, args=(case,), daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    name_server()


def world() -> subprocess.Popen[str]:
    here = ["unshare", "-n", sys.executable, __file__, "world"]
    child = subprocess.Popen(here, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None and child.stdout is not None
    wait(lambda: os.readlink(f"/proc/{child.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
    sh(f"ip link set lo up; ip link add ours type veth peer name theirs netns {child.pid}")
    sh(f"ip addr add {OURS}/30 dev ours; ip link set ours up; ip route add default via {THEIRS}")
    child.stdin.write("go\n")
    child.stdin.flush()
    assert child.stdout.readline() == "ready\n"
    return child


# --- our side --------------------------------------------------------------------------------------


def wait(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.2)
    return False


def send_all() -> None:
    for case in CASES:
        argv = ["sendmail", "-f", "alex@sender.example", f"sam@{case.name}.example"]
        subprocess.run(argv, input="From: alex@sender.example\nSubject: x\n\nx\n", text=True, check=False)


def told(log: Path, mark: str) -> bool:
    """Whether the log has an outcome for every recipient."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return all(re.search(mark.format(re.escape(case.name)), text) for case in CASES)


def postfix(*, syslog: bool) -> Path:
    log = Path("/var/log/mail.log")
    settings = [
        f"myhostname = {HOSTNAME}", "myorigin = sender.example", "mydestination =", "inet_interfaces = loopback-only",
        "inet_protocols = ipv4", "smtp_tls_security_level = may", "compatibility_level = 3.6", "smtp_helo_timeout = 5s",
        "smtp_tls_policy_maps = inline:{tls-broken.example=encrypt}", "minimal_backoff_time = 600s", "smtpd_tls_security_level = none",
        "mynetworks = 127.0.0.0/8",
        "smtpd_relay_restrictions = reject_unauth_destination", "transport_maps = inline:{port.example=smtp:[192.0.2.1]:25x}",
    ]  # fmt: skip
    if not syslog:
        settings.append(f"maillog_file = {log}")
    for setting in settings:
        subprocess.run(["postconf", "-e", setting], check=True)
    sh(
        "for i in resolv.conf hosts services nsswitch.conf; do install -D -m 644 /etc/$i /var/spool/postfix/etc/$i; done"
    )
    if syslog:
        sh("rsyslogd")
    # No alias database is asked for here, so none is made.
    subprocess.run(["postconf", "-e", "alias_maps ="], check=True)
    sh("postfix start")
    send_all()
    refuse()
    wait(lambda: told(log, r"to=<sam@{}\.example>.*status="))
    # A port with a letter: what delivers there ends at once, and is started again a minute later.
    argv = ["sendmail", "-f", "alex@sender.example", "sam@port.example"]
    subprocess.run(argv, input="Subject: x\n\nx\n", text=True, check=True)
    wait(lambda: "garbage after" in log.read_text(encoding="utf-8", errors="replace"))
    return log


def exim() -> Path:
    log = Path("/var/log/exim4/mainlog")
    Path("/etc/exim4/update-exim4.conf.conf").write_text(
        "dc_eximconfig_configtype='internet'\ndc_other_hostnames=''\ndc_local_interfaces='127.0.0.1'\ndc_readhost=''\n"
        "dc_relay_domains=''\ndc_minimaldns='false'\ndc_relay_nets=''\ndc_smarthost=''\nCFILEMODE='644'\n"
        "dc_use_split_config='false'\ndc_hide_mailname=''\ndc_mailname_in_oh='true'\ndc_localdelivery='mail_spool'\n"
    )
    Path("/etc/exim4/exim4.conf.localmacros").write_text("REMOTE_SMTP_HOSTS_REQUIRE_TLS = mx.tls-broken.example\n")
    Path("/etc/mailname").write_text("sender.example\n")
    sh("update-exim4.conf && exim4 -bd -q30m")
    send_all()
    refuse()
    wait(lambda: told(log, r"(==|\*\*|=>) sam@{}\.example"))
    return log


def opensmtpd() -> Path:
    log = Path("/var/log/mail.log")
    Path("/etc/smtpd.conf").write_text(
        'table aliases { "root" = "root" }\nlisten on lo port 25\naction "out" relay\naction "here" maildir "/tmp/m" alias <aliases>\n'
        'match from local for local action "here"\nmatch from local for domain { '
        + ", ".join(f'"{case.name}.example"' for case in CASES) + ' } action "out"\n'
    )  # fmt: skip
    Path("/etc/mailname").write_text("sender.example\n")
    sh("rsyslogd; smtpd")
    wait(lambda: Path("/var/run/smtpd.sock").exists())
    send_all()
    refuse()
    wait(lambda: told(log, r"to=<sam@{}\.example>.*result="))
    return log


def refuse() -> None:
    """What our own server refuses: a stranger who wants to relay."""
    wait(lambda: not socket.socket().connect_ex(("127.0.0.1", 25)))
    with socket.create_connection(("127.0.0.1", 25)) as session, session.makefile("rwb") as wire:
        wire.readline()
        for line in (
            "HELO host.stranger.example",
            "MAIL FROM:<eve@stranger.example>",
            "RCPT TO:<sam@elsewhere.example>",
            "QUIT",
        ):
            say(wire, line)
            wire.readline()


def main(argv: list[str]) -> int:
    if argv == ["world"]:
        other_side()
    side = world()
    sh(f"hostname {HOSTNAME}")
    Path("/etc/hosts").write_text(f"127.0.0.1 localhost\n{OURS} {HOSTNAME} mail\n")
    Path("/etc/resolv.conf").write_text(f"nameserver {NAMESERVER}\noptions timeout:1 attempts:1\n")
    daemons = {
        "postfix": lambda: postfix(syslog=True),
        "postfix-own": lambda: postfix(syslog=False),
        "exim": exim,
        "opensmtpd": opensmtpd,
    }
    log = daemons[argv[0]]()
    time.sleep(1)  # the last lines
    sys.stdout.write(log.read_text(encoding="utf-8", errors="replace"))
    side.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
