# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``./dev demo``: the lab, the estate converged by site.yml, and proof that its mail is believed.

Runs in the virtual environment, with the lab's code on its path.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from lab.probe import Lab, Message, ProbeError

from .places import LAB_CODE, ROOT, DevError

ESTATE = LAB_CODE / "estate"
VISITOR = "visitor@outside.test"
DOMAIN = "corp.example"
ROOT_ADDRESS = "ops@outside.test"
WAIT = 90  # seconds for a message to arrive
COLUMNS = ("who sent", "to", "path", "arrived at", "SPF", "DKIM", "DMARC", "TLS")
AFTER = """\

The lab is up; look around:
  ./dev demo --enter relay1         a root shell on a host
  ./dev demo --read                 what arrived at {outside}
  ./dev demo --read WORD            the messages that hold WORD, whole
  ./dev demo --play --check --diff  site.yml once more, with options of ansible-playbook
  ./dev demo --down                 tear it down
hosts: {hosts}"""


@dataclass(frozen=True)
class Row:
    """One line of the table; ``problem`` is empty if all is as it should be."""

    cells: tuple[str, ...]
    problem: str = ""


@dataclass(frozen=True)
class Sending:
    """A message to send: from which host, to whom, and where it must arrive."""

    host: str
    to: str
    arrives: str
    token: str


def sendings(lab: Lab) -> list[Sending]:
    """A person's mail from every host of the estate, and mail to root from every satellite."""
    hosts = [*lab.hosts("satellites"), *lab.hosts("relays")]
    people = [(host, VISITOR, VISITOR) for host in hosts]
    roots = [(host, "root", ROOT_ADDRESS) for host in lab.hosts("satellites")]
    return [Sending(host, to, arrives, f"demo-{uuid.uuid4().hex[:12]}") for host, to, arrives in people + roots]


def send(lab: Lab, sending: Sending) -> str:
    """Hand the message to the host's sendmail; returns what went wrong, or nothing."""
    sender = f"demo@{lab.fqdn(sending.host)}"
    text = f"From: Demo <{sender}>\nTo: {sending.to}\nSubject: {sending.token}\n\nFrom {sending.host}.\n"
    try:
        lab.run(sending.host, ["sendmail", "-t", "-f", sender], input=text)
    except (ProbeError, subprocess.TimeoutExpired) as err:
        return str(err)
    return ""


def path(lab: Lab, sending: Sending, message: Message) -> str:
    """The hosts that say in a Received header that they had the message, the sender first."""
    names = {lab.fqdn(host): host for host in lab.known["hosts"]}
    hops = [sending.host]
    for line in reversed(message.received):
        words = line.split()
        by = words[words.index("by") + 1] if "by" in words[:-1] else "?"
        hop = names.get(by, by)
        if hop != hops[-1]:
            hops.append(hop)
    return " > ".join(hops)


def judge(lab: Lab, sending: Sending, message: Message) -> Row:
    """The row of a message that arrived: what the receiver said, and whether that is what we want."""
    said = message.verdicts
    problems = [f"{method} is {verdict}" for method, verdict in said.items() if verdict != "pass"]
    if not message.tls:
        problems.append("the last hop was not encrypted")
    if message.recipient != sending.arrives:
        problems.append(f"it arrived at {message.recipient}")
    sender = str(message.parsed["From"].addresses[0].addr_spec)
    if not sender.endswith(f"@{DOMAIN}"):
        problems.append(f"its sender is {sender}")
    verdicts = (said["spf"], said["dkim"], said["dmarc"], message.tls or "none")
    cells = (sending.host, sending.to, path(lab, sending, message), message.recipient, *verdicts)
    return Row(cells, ", ".join(problems))


def prove(lab: Lab) -> list[Row]:
    """Send everything at once, then wait for each message."""
    sent = [(sending, send(lab, sending)) for sending in sendings(lab)]
    deadline = time.monotonic() + WAIT
    rows = []
    for sending, problem in sent:
        lost = (sending.host, sending.to, "", "-", "-", "-", "-", "-")
        if problem:
            rows.append(Row(lost, f"could not be sent: {problem}"))
            continue
        try:
            left = max(1.0, deadline - time.monotonic())
            rows.append(judge(lab, sending, lab.wait_for_message(sending.token, timeout=left)))
        except ProbeError as err:
            rows.append(Row(lost, str(err)))
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows under their headings, with the problems of the bad ones beneath."""
    lines = [COLUMNS, *(row.cells for row in rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(COLUMNS))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    shown.insert(1, "  ".join("-" * width for width in widths))
    bad = [f"FAILED {row.cells[0]} to {row.cells[1]}: {row.problem}" for row in rows if row.problem]
    return "\n".join([*shown, *bad])


def _lab(*words: str) -> None:
    """Run the lab's command line, which heeds LAB_NAME and LAB_INDEX. Raises DevError if it says no, and why."""
    if subprocess.run([sys.executable, "-m", "lab", *words], cwd=ROOT, check=False).returncode:
        raise DevError(f"the lab could not do: {' '.join(words)}")


def play(lab: Lab, options: Sequence[str] = ()) -> int:
    """Run the whole estate's playbook, in the open; returns its exit code."""
    argv = ["ansible-playbook", "-i", lab.known["inventory"], "-i", str(ESTATE), "playbooks/site.yml", *options]
    env = {"ANSIBLE_FORKS": "6", "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false", "ANSIBLE_LOCALHOST_WARNING": "false"}
    print(f"$ {' '.join(argv)}", flush=True)
    return subprocess.run(argv, cwd=ROOT, env={**os.environ, **env}, check=False).returncode


def build() -> int:
    """The whole demo; 0 if every row is good."""
    began = time.monotonic()
    _lab("up", "--hosts", "all")
    lab = Lab.load()
    up = time.monotonic()
    if play(lab):
        raise DevError("playbooks/site.yml failed; the lab is left up: ./dev demo --enter HOST, ./dev demo --down")
    converged = time.monotonic()
    print("Sending mail from every kind of host ...", flush=True)
    rows = prove(lab)
    done = time.monotonic()
    print(f"\n{table(rows)}\n")
    times = f"lab {up - began:.0f} s, site.yml {converged - up:.0f} s, mail {done - converged:.0f} s"
    good = sum(not row.problem for row in rows)
    print(f"{good} of {len(rows)} messages arrived as they should ({times}, {os.cpu_count()} processors)")
    print(AFTER.format(hosts=", ".join(lab.hosts()), outside=lab.fqdn("outside")))
    return 0 if rows and good == len(rows) else 1


def read(word: str) -> None:
    """List what arrived outside; with a word, show the messages that hold it."""
    found = Lab.load().messages(word)
    for message in found:
        if word:
            print(message.raw.decode("utf-8", "replace"), end="\n\n")
        else:
            parsed = message.parsed
            print(f"{message.recipient:24} from {parsed['From']!s:32} {parsed['Subject']}")
    if not found:
        print(f"no message holds {word}" if word else "nothing has arrived")


def main(argv: Sequence[str]) -> int:
    """Do what the words after ``./dev demo`` say."""
    usage = "./dev demo [--yes] [--down | --enter HOST | --read [WORD] | --play [OPTION ...]]"
    parser = argparse.ArgumentParser(prog="./dev demo", usage=usage)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--down", action="store_true")
    choice.add_argument("--enter", metavar="HOST")
    choice.add_argument("--read", metavar="WORD", nargs="?", const="")
    choice.add_argument("--play", metavar="OPTION", nargs=argparse.REMAINDER)
    options = parser.parse_args(argv)
    if options.down:
        _lab("down", "--missing-ok")
    elif options.enter:
        os.execv(sys.executable, [sys.executable, "-m", "lab", "enter", options.enter])
    elif options.play is not None:
        return play(Lab.load(), options.play)
    elif options.read is not None:
        read(options.read)
    else:
        return build()
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # "--read | head" is no error
    try:
        sys.exit(main(sys.argv[1:]))
    except (DevError, ProbeError) as err:
        sys.exit(f"dev: {err}")
    except KeyboardInterrupt:
        sys.exit("dev: interrupted; ./dev demo --down removes what is there")
