# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of this folder have in common: the mailers, an application that hands mail in, and its endpoint."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import yaml
from lab import ready
from lab.plays import Played, play
from lab.probe import Lab, Message

SCENARIO = Path(__file__).resolve().parent.parent
CONVERGE = SCENARIO / "converge.yml"
ESTATE = SCENARIO / "estate"
REMOTE = Path(__file__).resolve().parent / "remote"
DOMAINS = {"mail-12": "shop.example", "mail-13": "corp.example"}
MAILERS = tuple(DOMAINS)
PASSWORDS = {"mail-12": "pa55 of the 12th", "mail-13": "pa55 of the 13th"}
STAGES = ("redis", "backdata", "mxserver", "postfix", "transformer", "receiver", "http-receiver")
APPLICATION = "stranger"
ENDPOINT = "stranger"
GONE, FULL = "gone@outside.test", "full@outside.test"
PORTS = {stage: 9090 + number for number, stage in enumerate(STAGES)}
RCPT = "victim@outside.test"
RESOLVER = "postfix-mta-sts-resolver.service"
# Domains of outside, and the server that each one's policy of MTA-STS names. Mail for both goes to mx.outside.test.
POLICIES = {"right.outside.test": "mx.outside.test", "wrong.outside.test": "mx.stranger.test"}


def converge(lab: Lab, **options: Any) -> Played:
    """Run the scenario's playbook."""
    return play(lab, CONVERGE, inventories=[ESTATE], **options)


def unit(stage: str, number: int = 1) -> str:
    """The service of a stage."""
    return f"postmaster-mailer-{stage}@{number}.service"


def variables() -> dict[str, Any]:
    """The variables of all mailers, as they stand in the inventory."""
    known = yaml.safe_load((ESTATE / "hosts.yml").read_text(encoding="utf-8"))
    found: dict[str, Any] = known["all"]["children"]["mailers"]["vars"]
    return found


def remote(lab: Lab, host: str, script: str, options: Mapping[str, Any], *, timeout: float = 600) -> Any:
    """Run a script of the folder remote on a host, with options that it reads as JSON; the JSON that it prints."""
    program = (REMOTE / script).read_text(encoding="utf-8")
    return json.loads(lab.run(host, ["python3", "-c", program], input=json.dumps(options), timeout=timeout).stdout)


# -- the application ----------------------------------------------------------------------------------
def fresh(token: str, name: str = "") -> str:
    """A uuid of the form that the mailer takes, with the token in it."""
    return token.replace("token-", "")[:24] + name


def letter(mailer: str, uuid: str, *, to: str = RCPT, extra: str = "") -> str:
    """A message as an application writes it."""
    return (
        f"X-Uuid: {uuid}\nX-Priority: 0\nX-Stream-Id: orders\n{extra}"
        f"From: Shop <shop@{DOMAINS[mailer]}>\nTo: {to}\nSubject: {uuid}\n\nHello {uuid}\n"
    )


def hand_in(
    lab: Lab,
    mailer: str,
    messages: Sequence[tuple[str, Sequence[str], Any]] = (),
    *,
    by: str = "smtp",
    timeout: float = 600,
    **options: Any,
) -> dict[str, Any]:
    """Messages are handed in by an application; what it reports. HTTP comes from the host itself, as from a proxy."""
    known = {
        "by": by,
        "server": lab.fqdn(mailer) if by == "smtp" else "127.0.0.1",
        "user": "app",
        "password": PASSWORDS[mailer],
        "sender": f"shop@{DOMAINS[mailer]}",
        "patience": 0,
        **({"messages": messages} if messages else {}),
        **options,
    }
    host = APPLICATION if by == "smtp" else mailer
    found: dict[str, Any] = remote(lab, host, "application.py", known, timeout=timeout)
    return found


def answer(lab: Lab, mailer: str, uuid: str, recipients: Sequence[str] = (RCPT,), **options: Any) -> tuple[int, str]:
    """What the mailer answers to one message."""
    content = options.pop("content", None) or letter(mailer, uuid, to=", ".join(recipients))
    code, said = hand_in(lab, mailer, [(uuid, list(recipients), content)], **options)["answers"][uuid]
    return code, said


# -- the endpoint -------------------------------------------------------------------------------------
UNIT = """[Service]
ExecStart=/usr/bin/python3 /run/endpoint.py
"""


def start_endpoint(lab: Lab) -> None:
    """Have an endpoint that takes all."""
    lab.run(ENDPOINT, "cat > /run/endpoint.py", input=(REMOTE / "endpoint.py").read_text(encoding="utf-8"))
    lab.run(ENDPOINT, "cat > /run/systemd/system/endpoint.service", input=UNIT)
    lab.run(ENDPOINT, "systemctl daemon-reload && systemctl restart endpoint")


def start_policies(lab: Lab) -> None:
    """Have a web server with the policies of MTA-STS."""
    lab.run("outside", "cat > /run/policies.json", input=json.dumps(POLICIES))
    lab.run("outside", "cat > /run/policies.py", input=(REMOTE / "policies.py").read_text(encoding="utf-8"))
    lab.run("outside", "cat > /run/systemd/system/policies.service", input=UNIT.replace("endpoint", "policies"))
    lab.run("outside", "systemctl daemon-reload && systemctl restart policies")


def answers(lab: Lab, mailer: str, status: int | None) -> None:
    """What the endpoint answers this mailer from now on; None for 200."""
    path = f"/run/endpoint/{mailer}.answer"
    lab.run(ENDPOINT, f"rm -f {path}" if status is None else f"echo {status} > {path}.new && mv {path}.new {path}")


def posts(lab: Lab, mailer: str) -> list[dict[str, Any]]:
    """All requests of a mailer: status, headers, body."""
    text = lab.run(ENDPOINT, f"cat /run/endpoint/{mailer}.jsonl 2>/dev/null || true").stdout
    # The last line may still be under way.
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def told(lab: Lab, mailer: str) -> list[dict[str, Any]]:
    """All events that the endpoint took from a mailer."""
    return [event for one in posts(lab, mailer) if one["status"] == 200 for event in json.loads(one["body"])]


def events(lab: Lab, mailer: str, uuid: str, count: int = 1) -> list[dict[str, Any]]:
    """The first so many events about a message, without their ids and times, or more if there are more."""
    found: list[dict[str, Any]] = []

    def there() -> bool:
        found[:] = [one for one in told(lab, mailer) if one.get("uuid") == uuid]
        return len(found) >= count

    ready.wait(f"{count} events about {uuid} from {mailer}", there, timeout=90)
    return [{name: value for name, value in one.items() if name not in ("id", "timestamp")} for one in found]


def signed(post: Mapping[str, Any], secret: str) -> bool:
    """Whether a request is signed as Standard Webhooks has it."""
    headers = post["headers"]
    text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{post['body']}".encode()
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mark = "v1," + base64.b64encode(hmac.digest(key, text, hashlib.sha256)).decode()
    return mark in headers["webhook-signature"].split()


def arrived(lab: Lab, mailer: str, uuid: str) -> Message:
    """A message to somebody of its own, who has it."""
    assert answer(lab, mailer, uuid, [f"{uuid}@outside.test"])[0] == 250
    message = lab.wait_for_message(uuid)
    assert events(lab, mailer, uuid)[0]["event"] == "delivered"
    return message


@contextlib.contextmanager
def room(lab: Lab) -> Iterator[None]:
    """For whose mailbox was full."""
    before = lab.run("outside", ["postconf", "-h", "smtpd_recipient_restrictions"]).stdout.strip()
    restrict = ["postconf", "-e", f"smtpd_recipient_restrictions = {before.replace('452 4.2.2 full', 'OK')}"]
    lab.run("outside", restrict)
    lab.run("outside", "postfix reload")
    try:
        yield
    finally:
        lab.run("outside", [*restrict[:2], f"smtpd_recipient_restrictions = {before}"])
        lab.run("outside", "postfix reload")


def sent(lab: Lab, mailer: str, uuid: str) -> bool:
    """Whether a message that was put off has arrived. Postfix is told to try now, which it may do once too early."""
    lab.run(mailer, ["postqueue", "-f"])
    return bool(lab.messages(uuid))


# -- what the world answers ---------------------------------------------------------------------------
def bounce(mailer: str, *, status: str = "5.1.1", said: str = "550 5.1.1 unknown", to: str = RCPT) -> str:
    """A bounce (RFC 3464) as another server sends it some time later."""
    return (
        "From: MAILER-DAEMON@mx.outside.test\nSubject: Undelivered Mail\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
        "--b\nContent-Type: text/plain\n\nIt could not be delivered.\n\n"
        "--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.outside.test\n\n"
        f"Final-Recipient: rfc822; {to}\nAction: failed\nStatus: {status}\nDiagnostic-Code: smtp; {said}\n\n--b--\n"
    )


def complaint(to: str = RCPT) -> str:
    """A complaint (RFC 5965) as a provider sends it."""
    return (
        "From: fbl@outside.test\nSubject: complaint\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\n\n'
        "--b\nContent-Type: text/plain\n\nA complaint.\n\n"
        "--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\nUser-Agent: Test/1\nVersion: 1\n"
        f"Original-Rcpt-To: {to}\n\n--b\nContent-Type: message/rfc822\n\nSubject: x\n\nx\n\n--b--\n"
    )


AUTOREPLY = (
    "From: victim@outside.test\nSubject: I am away\nAuto-Submitted: auto-replied\nMIME-Version: 1.0\n"
    "Content-Type: text/plain\n\nI am away until Monday.\n"
)


# -- what stands in a message -------------------------------------------------------------------------
def tags(message: EmailMessage) -> list[dict[str, str]]:
    """The tags of each DKIM-Signature."""
    found = []
    for header in message.get_all("DKIM-Signature") or []:
        pairs = (tag.strip().partition("=") for tag in "".join(str(header).split()).split(";") if tag.strip())
        found.append({name: value for name, dummy, value in pairs})
    return found


def metrics(lab: Lab, mailer: str, stage: str) -> dict[str, float]:
    """What a stage shows, by name; those with labels are left out."""
    fetch = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=20).read().decode())"
    shown = lab.run(mailer, ["python3", "-c", fetch, f"http://127.0.0.1:{PORTS[stage]}/metrics"]).stdout
    pairs = re.findall(r"^([a-z_]+) (\S+)$", shown, re.MULTILINE)
    return {name: float(value) for name, value in pairs}


def wait_for_stages(lab: Lab, mailers: Iterable[str] = MAILERS) -> None:
    """Until all stages are up."""
    units = " ".join(unit(stage) for stage in STAGES)
    for mailer in mailers:
        active = f"systemctl is-active {units} | sort -u"
        ready.wait(f"all stages on {mailer}", lambda: lab.run(mailer, active, check=False).stdout == "active\n")  # noqa: B023


COUNT = """
import collections, json, os, re, sys
found = collections.Counter()
for name in os.listdir(sys.argv[1]):
    with open(os.path.join(sys.argv[1], name), "rb") as file:
        match = re.search(rb"^Message-ID: <(%s[a-z0-9]*)@" % sys.argv[2].encode(), file.read(8192), re.MULTILINE)
    if match:
        found[match[1].decode()] += 1
print(json.dumps(found))
"""


def arrivals(lab: Lab, token: str) -> Counter[str]:
    """How often each message whose uuid begins so lies at outside."""
    folder = f"{lab.known['outside']['maildir']}/new"
    return Counter(json.loads(lab.run("outside", ["python3", "-", folder, token], input=COUNT).stdout))
