# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines a second and memory of the log's reader, beside pflogsumm on the same log of Postfix.

    python tests/bench/mail_log_info.py [megabytes of log, 100 if left out]

The log is made up: of ten messages eight are delivered at once, one waits for a while, one is refused, with words, names
and numbers of their own. pflogsumm is Debian's: the one that is installed, else its package is unpacked into a folder
that goes away. The two do not tell the same, but both must read each line.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

PACKAGES = ("pflogsumm", "libdate-calc-perl", "libdate-calc-xs-perl", "libbit-vector-perl", "libcarp-clan-perl")
READER = """
import resource, sys
from ansible_collections.postmaster.mail.plugins.module_utils._log_client import LogHost
from ansible_collections.postmaster.mail.plugins.module_utils._log_run import Request, explain
found = explain(Request(paths=(sys.argv[1],)), LogHost()).report
print(found.seen.lines, found.seen.failures, len(found.seen.groups), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
REFUSALS = (
    "550 5.1.1 <{who}>: Recipient address rejected: User unknown",
    "554 5.7.1 Service unavailable; Client host [192.0.2.{n}] blocked using zen.spamhaus.org",
    "550-5.7.26 Unauthenticated email from d{n}.example is not accepted due to domain's 550-5.7.26 DMARC policy. k{n}12345si - gsmtp",
    "552 5.2.2 Mailbox of {who} is full",
    "550 Something that nobody knows, number {n}",
)
DELAYS = (
    "host mx.d{n}.example[192.0.2.{n}] said: 450 4.2.0 <{who}>: Recipient address rejected: Greylisted (in reply to RCPT TO command)",
    "connect to mx.d{n}.example[192.0.2.{n}]:25: Connection timed out",
)


def lines(size: int) -> Iterator[str]:
    """Some ``size`` bytes of log."""
    chance = random.Random(7)
    moment, written, number = datetime(2026, 11, 1, tzinfo=UTC), 0, 0
    while written < size:
        number += 1
        moment += timedelta(milliseconds=40)
        head = f"{moment.isoformat()} relay postfix/"
        ident, n = f"{number:010X}", chance.randrange(250)
        who = f"sam{chance.randrange(5000)}@d{n}.example"
        tried = (
            f"{head}smtp[2]: {ident}: to=<{who}>, relay=mx.d{n}.example[192.0.2.{n}]:25, delay=0.4, delays=0/0/0.1/0.3,"
        )
        made = [
            f"{head}smtpd[1]: connect from web{n}.example[198.51.100.{n}]",
            f"{head}smtpd[1]: {ident}: client=web{n}.example[198.51.100.{n}]",
            f"{head}cleanup[3]: {ident}: message-id=<{number}.{n}@web{n}.example>",
            f"{head}qmgr[4]: {ident}: from=<app@web{n}.example>, size={chance.randrange(90000)}, nrcpt=1 (queue active)",
            f"{head}smtpd[1]: disconnect from web{n}.example[198.51.100.{n}] ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5",
        ]
        if number % 10 == 9:
            reply = chance.choice(REFUSALS).format(who=who, n=n)
            said = f"host mx.d{n}.example[192.0.2.{n}] said: {reply} (in reply to RCPT TO command)"
            made.append(f"{tried} dsn=5.0.0, status=bounced ({said})")
        else:
            if number % 10 == 8:
                made.append(f"{tried} dsn=4.0.0, status=deferred ({chance.choice(DELAYS).format(who=who, n=n)})")
            made.append(f"{tried} dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as {number:09X})")
        made.append(f"{head}qmgr[4]: {ident}: removed")
        for text in made:
            written += len(text) + 1
            yield f"{text}\n"


def pflogsumm(folder: Path) -> tuple[list[str], dict[str, str]] | None:
    """How to call it, and its environment; None where it cannot be had."""
    if found := shutil.which("pflogsumm"):
        return [found], dict(os.environ)
    if not shutil.which("perl"):
        return None
    fetched = subprocess.run(["apt-get", "-q", "download", *PACKAGES], cwd=folder, capture_output=True, check=False)
    if fetched.returncode:
        return None
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    libraries = [str(path) for path in (*folder.glob("usr/share/perl5"), *folder.glob("usr/lib/*/perl5/*"))]
    return ["perl", str(folder / "usr/sbin/pflogsumm")], os.environ | {"PERL5LIB": ":".join(libraries)}


def seconds(argv: list[str], env: dict[str, str] | None = None) -> tuple[float, str]:
    """The processor time of a program, and what it printed."""
    before = os.times()
    done = subprocess.run(argv, env=env, stdout=subprocess.PIPE, text=True, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system, done.stdout


def main() -> None:
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "mail.log"
        start = time.monotonic()
        with log.open("w", encoding="utf-8") as stream:
            stream.writelines(lines(size * 1_000_000))
        print(
            f"{log.stat().st_size / 1e6:,.0f} MB of log, written in {time.monotonic() - start:.0f} s; load {os.getloadavg()[0]:.1f}"
        )
        taken, told = seconds([sys.executable, "-c", READER, str(log)])
        count, failures, groups, memory = map(int, told.split())
        print(
            f"  mail_log_info {taken:6.1f} s, {count / taken:9,.0f} lines a second, at most {memory / 1024:.0f} MiB;",
            end=" ",
        )
        print(f"{count:,} lines, {failures:,} failures, {groups} groups")
        peer = pflogsumm(Path(name))
        if peer is None:
            print("  pflogsumm not run: neither it nor its package can be had")
            return
        argv, env = peer
        other, told = seconds([*argv, str(log)], env)
        print(
            f"  pflogsumm     {other:6.1f} s, {count / other:9,.0f} lines a second; {len(told.splitlines())} lines of report"
        )
        print(f"  {other / taken:.1f} times as fast as pflogsumm")


if __name__ == "__main__":
    main()
