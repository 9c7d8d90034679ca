# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nobody else gets anything through a mailer, and nothing answers strangers but what must. Each refusal has a twin."""

from __future__ import annotations

from typing import Any

import pytest
from lab.probe import Dialogue, Lab
from mailers import (
    DOMAINS,
    MAILERS,
    PASSWORDS,
    PORTS,
    RCPT,
    RESOLVER,
    STAGES,
    answer,
    arrived,
    fresh,
    hand_in,
    letter,
    unit,
)

KNOCK = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5); print('open')"

GREETED = """
import socket
with socket.socket(socket.AF_UNIX) as one:
    one.connect("/var/spool/postfix/public/mailer")
    print(one.recv(99).decode())
"""


def submit(lab: Lab, mailer: str, uuid: str, **options: Any) -> Dialogue:
    """A stranger hands a message in."""
    known = {"sender": f"shop@{DOMAINS[mailer]}", "recipients": RCPT, "message": letter(mailer, uuid), "port": 587}
    return lab.smtp("stranger", mailer, **{**known, **options})


@pytest.mark.parametrize("mailer", MAILERS)
def test_without_a_login_nothing_is_taken(lab: Lab, token: str, mailer: str) -> None:
    login = ("app", PASSWORDS[mailer])
    for options, refusal in (
        ({"starttls": False}, ("MAIL", 530)),
        ({"starttls": True}, ("MAIL", 530)),
        ({"starttls": True, "login": ("app", "another")}, ("AUTH", 535)),
        ({"starttls": True, "login": ("nobody", PASSWORDS[mailer])}, ("AUTH", 535)),
        ({"starttls": True, "login": login}, None),
        ({"port": 465, "wrapped": True, "starttls": False}, ("MAIL", 530)),
        ({"port": 465, "wrapped": True, "starttls": False, "login": login}, None),
    ):
        dialogue = submit(lab, mailer, fresh(token, str(len(options))), **options)
        found = dialogue.refusal
        assert (found and found[:2], dialogue.accepted) == (refusal, refusal is None), (options, dialogue)


@pytest.mark.parametrize("mailer", MAILERS)
def test_no_password_is_asked_for_without_tls(lab: Lab, mailer: str) -> None:
    plain = submit(lab, mailer, "", message=None, starttls=False).steps[1][2]
    behind = next(step for step in reversed(submit(lab, mailer, "", starttls=True).steps) if step[0] == "EHLO")[2]
    assert ("AUTH" in plain, "AUTH" in behind) == (False, True)
    assert "AUTH" not in submit(lab, mailer, "", message=None, port=25).steps[-2][2]


@pytest.mark.parametrize("mailer", MAILERS)
def test_http_asks_for_the_password_too(lab: Lab, token: str, mailer: str) -> None:
    uuid = fresh(token)
    assert answer(lab, mailer, uuid, by="http", password="another")[0] == 401
    assert answer(lab, mailer, uuid, by="http")[0] == 200


@pytest.mark.parametrize("mailer", MAILERS)
def test_the_mx_relays_nothing(lab: Lab, token: str, mailer: str) -> None:
    """What it takes is for its return domains, and made here."""
    domain, name = DOMAINS[mailer], lab.fqdn(mailer)
    forms = [RCPT, f"victim%outside.test@{name}", f"@rp.{domain}:{RCPT}", f'"{RCPT}"@rp.{domain}', f"root@{name}"]
    forms += [f"x@{domain}", f"x@rp.{domain}", f"postmaster@{name}", "postmaster"]
    for form in forms:
        for sender in ("", f"shop@{domain}", "spammer@stranger.test"):
            refusal = lab.smtp("stranger", mailer, sender=sender, recipients=form).refusal
            assert refusal is not None and refusal[0] == "RCPT" and refusal[1] >= 500, (form, sender)
    uuid = fresh(token)
    for good in (f"postmaster@rp.{domain}", arrived(lab, mailer, uuid).sender):
        assert lab.smtp("stranger", mailer, sender="", recipients=good).refusal is None


@pytest.mark.parametrize("mailer", MAILERS)
def test_postfix_and_all_else_is_closed(lab: Lab, mailer: str) -> None:
    """Each port answers on the host itself. To strangers the receiver and the MX alone do, on both families."""
    lines = lab.run(mailer, "ss -Hlntp").stdout.splitlines()
    assert [line for line in lines if '"master"' in line] == [], "Postfix listens at no port"
    public, private = {25, 465, 587}, {8080, 8081, 8461, *PORTS.values()}
    assert not public & private
    for port in sorted(private):
        assert lab.run(mailer, ["python3", "-c", KNOCK, "localhost", str(port)], check=False).stdout == "open\n", port
    script = "\n".join(
        f"python3 -c '{KNOCK}' {lab.address(mailer, version=version)} {port} >/dev/null 2>&1 && echo {version} {port}"
        for version in (4, 6)
        for port in sorted(public | private)
    )
    seen = {tuple(line.split()) for line in lab.run("stranger", script, check=False).stdout.splitlines()}
    assert seen == {(version, str(port)) for version in "46" for port in public}
    remote = {line.split()[3] for line in lines if '"redis' in line or '"valkey' in line}
    assert remote == set(), "Redis listens on a socket alone"


@pytest.mark.parametrize("mailer", MAILERS)
def test_nobody_on_the_host_hands_mail_to_postfix(lab: Lab, mailer: str) -> None:
    """The stage's group opens its socket, and nothing else does; what users hand to sendmail is refused."""
    stage, other = "postmaster-mailer-postfix", "postmaster-mailer-receiver"
    for user, groups, greeted in ((stage, "postdrop", True), (stage, "nogroup", False), (other, other, False)):
        who = ["setpriv", f"--reuid={user}", f"--regid={user}", f"--groups={groups}"]
        done = lab.run(mailer, [*who, "python3", "-c", GREETED], check=False)
        assert done.stdout.startswith("220 ") is greeted, (user, groups, done)
        assert ("PermissionError" in done.stderr) is not greeted, (user, groups, done)
    for user, taken in (("nobody", False), ("root", True)):
        send = ["runuser", "-u", user, "--", "sendmail", "-f", "", RCPT]
        done = lab.run(mailer, send, input="Subject: unsigned\n\nx\n", check=False)
        assert ((done.returncode == 0), "not allowed to submit mail" in done.stderr) == (taken, not taken), (user, done)


@pytest.mark.parametrize("mailer", MAILERS)
def test_hostile_messages_are_refused_whole(lab: Lab, token: str, mailer: str) -> None:
    """Smuggling, NUL, a header by JSON. Their twins are taken."""
    known = {"login": ("app", PASSWORDS[mailer]), "starttls": True}
    good = letter(mailer, fresh(token, "good")).replace("\n", "\r\n").encode()
    for name, bad in {"lf": b"\n.\r\n", "cr": b"\r.\r", "nul": b"\0"}.items():
        inner = b"MAIL FROM:<x@stranger.test>\r\nRCPT TO:<victim@outside.test>\r\nDATA\r\nSubject: inner\r\n\r\nx"
        data = good.replace(b"good", name.encode()) + b"x" + bad + inner + b"\r\n.\r\n"
        dialogue = submit(lab, mailer, "", message=data, raw=True, **known)
        assert next(code for said, code, dummy in dialogue.steps if said == ".") >= 500, dialogue
    assert submit(lab, mailer, "", message=good + b"x\r\n.\r\n", raw=True, **known).steps[-1][1] in (0, 250)
    mail = {"from": f"shop@{DOMAINS[mailer]}", "to": [RCPT], "text": "x"}
    for name, subject, expected in (
        ("bad", "x\r\nBcc: spam@stranger.test", 422),
        ("fine", "x Bcc: spam@stranger.test", 202),
    ):
        content = {**mail, "uuid": fresh(token, name), "subject": subject}
        assert answer(lab, mailer, content["uuid"], by="http", content=content)[0] == expected
    lab.wait_for_message(fresh(token, "good"))
    assert len(lab.messages("inner")) == 0
    reported = hand_in(lab, mailer, [(fresh(token, "last"), [RCPT], letter(mailer, fresh(token, "last")))])
    assert reported["again"] == reported["silent"] == 0


@pytest.mark.parametrize("mailer", MAILERS)
def test_stages_are_shut_in(lab: Lab, mailer: str) -> None:
    """No capability but that for low ports, no new ones, and a filter for system calls, on both releases.

    Of its mounts nothing is seen: systemd leaves them out where root lacks CAP_SYS_ADMIN, as in the lab.
    """
    units = {stage: unit(stage) for stage in STAGES} | {"the resolver of MTA-STS": RESOLVER}
    pids = lab.run(mailer, ["systemctl", "show", "--value", "-p", "MainPID", *units.values()]).stdout.split()
    filters = int(in_status(lab, mailer, "1")["Seccomp_filters"])
    low = 1 << 10  # CAP_NET_BIND_SERVICE
    for stage, pid in zip(units, pids, strict=True):
        status = in_status(lab, mailer, pid)
        assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1"), stage
        assert int(status["Seccomp_filters"]) > filters, stage
        held = {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")}
        assert held == ({low} if stage in ("receiver", "mxserver") else {0}), (stage, status)
        assert status["Uid"].split()[0] != "0", stage
    said = lab.run(
        mailer, ["systemd-analyze", "security", "--no-pager", "--threshold=20", *units.values()], check=False
    )
    assert said.returncode == 0, said.stdout


def in_status(lab: Lab, mailer: str, pid: str) -> dict[str, str]:
    """What the kernel says of a process."""
    lines = lab.run(mailer, ["cat", f"/proc/{pid}/status"]).stdout.splitlines()
    return {name: value.strip() for name, dummy, value in (line.partition(":") for line in lines)}
