# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long one play takes to publish 1,000 DKIM records, against dnspython alone with one update for each.

    python tests/bench/publish_records.py [number of records]

Both talk to a Knot DNS of their own on the loopback (Debian package knot), with the same TSIG key and the same empty,
signed zone. The play has one task, ``dns_records``; its time includes the start of ansible-playbook and that it
reads every record before and after. A second play, that finds all of them, follows. dnspython sends its updates one
after the other over one connection and reads nothing. The goal is half its time.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import dns.tsigkeyring
import dns.update

ADDRESS = "127.0.0.1"
KEY, SECRET = "estate.", "c2VjcmV0IG9mIHRoZSBlc3RhdGUgZm9yIHRlc3RzIQ=="
ZONE = "corp.example."
GOAL = 0.5
CONF = """
server:
  rundir: {dir}
  listen: {address}@{port}
database:
  storage: {dir}
key:
  - id: {key}
    algorithm: hmac-sha256
    secret: {secret}
acl:
  - id: updates
    key: {key}
    action: update
zone:
  - domain: {zone}
    file: {dir}/zone
    dnssec-signing: on
    acl: updates
"""
CONTENT = """$TTL 60
@ SOA ns1.corp.example. hostmaster.corp.example. 1 3600 600 86400 30
@ NS ns1.corp.example.
ns1 A 127.0.0.1
"""
PLAYBOOK = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - postmaster.mail.dns_records:
        server: {address}
        port: {port}
        tsig_name: {key}
        tsig_secret: {secret}
        records: "{{{{ records }}}}"
"""


def records(count: int) -> list[dict[str, object]]:
    """As many DKIM records, of the size that RSA-2048 keys have."""
    return [
        {"name": f"rsa-{n}._domainkey.{ZONE}", "type": "TXT", "ttl": 60, "value": f"v=DKIM1; k=rsa; p={n:0392d}"}
        for n in range(count)
    ]


@contextlib.contextmanager
def name_server(directory: Path) -> Iterator[int]:
    """A Knot DNS with an empty zone; its port."""
    program = shutil.which("knotd", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None:
        sys.exit("knotd is needed: apt-get install knot")
    directory.mkdir()
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        port: int = probe.getsockname()[1]
    (directory / "zone").write_text(CONTENT)
    conf = CONF.format(dir=directory, address=ADDRESS, port=port, key=KEY, secret=SECRET, zone=ZONE)
    (directory / "conf").write_text(conf)
    with (directory / "log").open("wb") as log:
        daemon = subprocess.Popen([program, "-c", str(directory / "conf")], stdout=log, stderr=log)
    try:
        _wait_for(port, directory / "log")
        yield port
    finally:
        daemon.terminate()
        daemon.wait(30)


def _wait_for(port: int, log: Path) -> None:
    question = dns.message.make_query(ZONE, "SOA")
    for _attempt in range(200):
        with contextlib.suppress(OSError, EOFError):
            if dns.query.tcp(question, ADDRESS, port=port, timeout=2).answer:
                return
        time.sleep(0.1)
    sys.exit(f"knotd does not answer:\n{log.read_text()}")


def one_by_one(port: int, wanted: list[dict[str, object]]) -> float:
    """Seconds that dnspython takes with one update for each record."""
    keyring = dns.tsigkeyring.from_text({KEY: SECRET})
    start = time.monotonic()
    with socket.create_connection((ADDRESS, port)) as connection:
        for record in wanted:
            value = str(record["value"])
            strings = " ".join(f'"{value[at : at + 255]}"' for at in range(0, len(value), 255))
            update = dns.update.UpdateMessage(ZONE, keyring=keyring, keyalgorithm="hmac-sha256")
            update.replace(str(record["name"]), 60, "TXT", strings)
            answer = dns.query.tcp(update, ADDRESS, sock=connection, timeout=30)
            if answer.rcode() != dns.rcode.NOERROR:
                sys.exit(f"the update of {record['name']} was refused: {dns.rcode.to_text(answer.rcode())}")
    return time.monotonic() - start


def play(directory: Path, port: int) -> tuple[float, bool]:
    """Seconds that the play takes, and whether it changed anything."""
    playbook = directory / "play.yml"
    playbook.write_text(PLAYBOOK.format(address=ADDRESS, port=port, key=KEY, secret=SECRET))
    env = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
    program = Path(sys.executable).parent / "ansible-playbook"
    start = time.monotonic()
    done = subprocess.run(
        [program, "-e", f"@{directory}/records.json", str(playbook)],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.monotonic() - start
    if done.returncode != 0:
        sys.exit(f"the play failed; ANSIBLE_COLLECTIONS_PATH must name the collections:\n{done.stdout}{done.stderr}")
    return seconds, "changed=1" in done.stdout


def held(port: int, wanted: list[dict[str, object]]) -> int:
    """How many of the records the server answers with."""
    found = 0
    with socket.create_connection((ADDRESS, port)) as connection:
        for record in wanted:
            wire = dns.message.make_query(str(record["name"]), "TXT").to_wire()
            connection.sendall(struct.pack("!H", len(wire)) + wire)
            found += bool(dns.query.receive_tcp(connection)[0].answer)
    return found


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    wanted = records(count)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        (directory / "records.json").write_text(json.dumps({"records": wanted}))
        with name_server(directory / "one") as port:
            bare = one_by_one(port, wanted)
            assert held(port, wanted) == count
        with name_server(directory / "two") as port:
            first, changed = play(directory, port)
            assert held(port, wanted) == count
            second, again = play(directory, port)
            assert changed and not again
    ratio = first / bare
    print(f"dns_records, {count} records in a signed zone of Knot DNS")
    print(f"  dnspython, {count} updates  {bare:7.2f} s")
    verdict = "reached" if ratio <= GOAL else "missed"
    print(f"  one play               {first:7.2f} s   ratio {ratio:.3f}, goal {GOAL} {verdict}")
    print(f"  second play            {second:7.2f} s   ratio {second / bare:.3f}")


if __name__ == "__main__":
    main()
