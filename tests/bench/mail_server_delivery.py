# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages a second from another organisation into an INBOX of mail_server, with rspamd and without.

The yardstick is Postfix in front of the same Dovecot in the same container, set up by hand. Start it with ./dev bench, or
with molecule/shared on PYTHONPATH. It puts up a lab of its own (index 27) and takes it down again. Every message that was
answered 250 must be in the mailbox before the clock stops.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule" / "shared"))

from lab import control  # noqa: E402
from lab.hosts import Plan  # noqa: E402
from lab.plays import play  # noqa: E402
from lab.probe import Lab  # noqa: E402

NAME, INDEX, HOST, DOMAIN = "benchdeliver", 27, "mail-13", "m13.post.example"
MESSAGES, CLIENTS, SIZE, ROUNDS = 500, 20, 10_000, 3
SCENARIO = ROOT / "molecule" / "mail_server"
INBOX = f"/var/vmail/{DOMAIN}/bob/Maildir"
SEND = r"""
import concurrent.futures, json, smtplib, sys
given = json.load(sys.stdin)
filler = "\n".join(["This is a line of a letter that says nothing at all, again and again"] * (given["size"] // 70))

def send(client):
    taken = 0
    with smtplib.SMTP(given["host"], 25, local_hostname=given["name"], timeout=120) as server:
        for number in range(client, given["count"], given["clients"]):
            text = (
                f"From: Joe <joe@outside.test>\r\nTo: {given['to']}\r\nSubject: {given['token']} {number}\r\n"
                f"Message-ID: <{given['token']}.{number}@outside.test>\r\nDate: {given['date']}\r\n\r\n{filler}\n"
            )
            server.sendmail("joe@outside.test", [given["to"]], text)
            taken += 1
    return taken

with concurrent.futures.ThreadPoolExecutor(given["clients"]) as pool:
    print(json.dumps(sum(pool.map(send, range(given["clients"])))))
"""
POSTFIX = f"""
set -e
systemctl stop opensmtpd
DEBIAN_FRONTEND=noninteractive apt-get -qq -y install postfix </dev/null >/dev/null 2>&1
postconf -e 'mydestination=' 'virtual_mailbox_domains={DOMAIN}' 'virtual_mailbox_maps=static:all' 'inet_interfaces=all' \
    'virtual_transport=lmtp:unix:/run/dovecot/lmtp' 'smtpd_tls_security_level=may' 'smtpd_milters=inet:127.0.0.1:11332' \
    'smtpd_tls_chain_files=/etc/ssl/private/lab-host.key,/etc/ssl/certs/lab-host.pem'
postconf -F lmtp/unix/chroot=n
chmod 0666 /run/dovecot/lmtp
systemctl restart postfix
"""


def wait(lab: Lab, count: int) -> None:
    """Until the mailbox holds so many messages."""
    end = time.monotonic() + 120
    # The count is taken where the mail is, so that asking costs little.
    while int(lab.run(HOST, f"find {INBOX}/new {INBOX}/cur -type f 2>/dev/null | wc -l").stdout) < count:
        if time.monotonic() > end:
            raise SystemExit(f"{HOST} lost mail, or is very slow")
        time.sleep(0.2)


def rate(lab: Lab, token: str) -> float:
    """Messages a second, by the median of some rounds."""
    found = []
    for number in range(ROUNDS):
        lab.run(HOST, f"doveadm expunge -u bob@{DOMAIN} mailbox INBOX all; redis-cli flushall >/dev/null")
        given = {
            "host": lab.address(HOST), "to": f"bob@{DOMAIN}", "name": lab.fqdn("outside"), "token": f"{token}{number}",
            "count": MESSAGES, "clients": CLIENTS, "size": SIZE,
            "date": time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime()),
        }  # fmt: skip
        start = time.monotonic()
        taken = json.loads(lab.run("outside", ["python3", "-c", SEND], input=json.dumps(given), timeout=900).stdout)
        wait(lab, taken)
        found.append(taken / (time.monotonic() - start))
    return statistics.median(found)


def report(lab: Lab) -> None:
    """Measure and print."""
    play(lab, SCENARIO / "prepare.yml", inventories=(), limit=HOST)
    lab.run(HOST, "rm /etc/rspamd/local.d/options.inc")  # which spares the tests time
    play(lab, SCENARIO / "converge.yml", inventories=(), limit=HOST, timeout=1800)
    found = {"OpenSMTPD with rspamd": rate(lab, "a")}
    lab.run(HOST, "sed -i 's/, rspamd }/ }/' /etc/smtpd.conf && smtpd -n && systemctl restart opensmtpd")
    found["OpenSMTPD without"] = rate(lab, "b")
    lab.run(HOST, POSTFIX, timeout=600)
    found["Postfix with rspamd"] = rate(lab, "c")
    lab.run(HOST, "postconf -X smtpd_milters && systemctl restart postfix")
    found["Postfix without"] = rate(lab, "d")
    for name, value in found.items():
        print(f"{name}: {value:.0f} messages of {SIZE // 1000} kB a second into Dovecot, {CLIENTS} clients")
    for kind in ("with rspamd", "without"):
        print(f"ratio {kind}: {found[f'OpenSMTPD {kind}'] / found[f'Postfix {kind}']:.2f}")


def main() -> None:
    """Put the lab up, measure, take it down."""
    say = control.narrator()
    control.up(Plan(NAME, INDEX), hosts=control.choose([HOST]), engine_name="auto", say=say)
    try:
        print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
        report(Lab.load(NAME))
    finally:
        control.down(NAME, engine_name="auto", say=say)


if __name__ == "__main__":
    main()
