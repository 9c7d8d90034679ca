# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A receiver everywhere at once: verifies each message that arrives outside by dkimpy, with keys from every place.

Keys come directly from ns1, directly from ns2, and from a validating resolver on the stranger that keeps answers for as
long as their TTLs allow and is asked all the time, also for keys that no server publishes yet. Each message is looked
at again and again for as long as it could have waited in a queue.
"""

from __future__ import annotations

import base64
import email.utils
import json
import re
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from .probe import Lab, ProbeError

DIRECT = ("ns1", "ns2")
WARM = "stranger"
FETCH = """
import base64, json, os, sys
found = []
# The first message makes the folder.
for name in sorted(os.listdir(sys.argv[1]) if os.path.isdir(sys.argv[1]) else [])[:500]:
    path = os.path.join(sys.argv[1], name)
    with open(path, "rb") as file:
        found.append(base64.b64encode(file.read()).decode())
    os.unlink(path)
print(json.dumps(found))
"""
SIGNATURE = re.compile(rb"^dkim-signature:((?:.|\r?\n[ \t])*)", re.IGNORECASE | re.MULTILINE)


@dataclass
class Letter:
    """A message with the names of its keys, when it was sent, and by which text each place has verified it."""

    raw: bytes
    keys: list[str]
    sent: float
    proven: dict[tuple[str, int], bytes] = field(default_factory=dict)
    number: tuple[str, int] | None = None

    @classmethod
    def parse(cls, raw: bytes) -> Letter:
        keys = []
        for match in SIGNATURE.finditer(raw):
            tags = dict(re.findall(rb"(?:^|;)\s*([a-z]+)\s*=\s*([^;\s]*)", match[1]))
            keys.append(f"{tags[b's'].decode()}._domainkey.{tags[b'd'].decode()}.")
        date = re.search(rb"^date:\s*(.*?)\r?$", raw, re.IGNORECASE | re.MULTILINE)
        sent = email.utils.parsedate_to_datetime(date[1].decode()).timestamp() if date else time.time()
        steady = re.search(rb"^subject: steady (\S+) ([0-9]+)\r?$", raw, re.IGNORECASE | re.MULTILINE)
        return cls(raw, keys, sent, number=(steady[1].decode(), int(steady[2])) if steady else None)


class Witness(threading.Thread):
    """Fetches and verifies until it is stopped; ``failures`` has a line for each message that failed somewhere."""

    def __init__(self, lab: Lab, *, lifetime: float, signers: tuple[str, ...]) -> None:
        super().__init__(daemon=True)
        self.lab, self.lifetime, self.signers = lab, lifetime, signers
        self.failures: list[str] = []
        self.verified: Counter[str] = Counter()  # by place
        self.signed: Counter[tuple[str, ...]] = Counter()  # by the names of the keys
        self.arrived: dict[str, set[int]] = {}  # numbers of steady messages, by who sent them
        self.error: BaseException | None = None
        self._letters: list[Letter] = []
        self._guesses: set[str] = set()
        self._stop_now = threading.Event()

    def start(self) -> None:
        """Begin, with a resolver of its own."""
        config = self.lab.run("resolver", ["cat", "/etc/unbound/unbound.conf"]).stdout
        config = re.sub(r"(?m)^\s*(cache-max-\S+|aggressive-nsec|val-bogus-ttl):.*\n", "", config)
        config = config.replace("server:\n", "server:\n    aggressive-nsec: yes\n", 1)
        hints = self.lab.run("resolver", ["cat", "/etc/unbound/lab-root.hints"]).stdout
        self.lab.run(WARM, "cat > /etc/unbound/lab-root.hints", input=hints)
        self.lab.run(WARM, "cat > /etc/unbound/warm.conf", input=config)
        self.lab.run(WARM, "systemd-run --unit=warm-resolver --collect unbound -d -c /etc/unbound/warm.conf")
        super().start()

    def stop(self) -> None:
        """End."""
        self._stop_now.set()
        self.join(60)
        self.lab.run(WARM, ["systemctl", "stop", "warm-resolver"], check=False)

    def check(self, *, more: int = 0, patience: float = 60) -> None:
        """No message has failed, and ``more`` have been verified at each place since the call."""
        goal = {place: self.verified[place] + more for place in (*DIRECT, WARM)}
        end = time.monotonic() + patience
        while any(self.verified[place] < count for place, count in goal.items()):
            if self.error is not None or time.monotonic() > end:
                raise ProbeError(f"the witness saw too little: {dict(self.verified)} of {goal}, {self.error!r}")
            time.sleep(0.5)
        assert not self.failures, "\n".join(self.failures[:20])

    def numbers(self, sender: str) -> set[int]:
        """Of the steady messages of one sender those that arrived."""
        return set(self.arrived.get(sender, ()))

    def run(self) -> None:
        """One look a second."""
        try:
            while not self._stop_now.wait(1):
                self._look()
        except BaseException as err:
            self.error = err

    def _look(self) -> None:
        self._guess()
        for content in self._fetch():
            letter = Letter.parse(base64.b64decode(content))
            self.signed[tuple(sorted(letter.keys))] += 1
            self._letters.append(letter)
            if letter.number:
                self.arrived.setdefault(letter.number[0], set()).add(letter.number[1])
        names = sorted({*self._guesses, *(name for letter in self._letters for name in letter.keys)})
        texts = self._texts(names)
        for letter in self._letters:
            self._verify(letter, texts)
        self._letters = [letter for letter in self._letters if time.time() - letter.sent < self.lifetime]

    def _fetch(self) -> list[str]:
        folder = f"{self.lab.known['outside']['maildir']}/new"
        found: list[str] = json.loads(self.lab.run("outside", ["python3", "-", folder], input=FETCH).stdout)
        return found

    def _guess(self) -> None:
        """Names of keys that lie on the signers, published or not."""
        for host in self.signers:
            for name in self.lab.run(host, "ls /etc/dkimkeys").stdout.split():
                match = re.fullmatch(r"((?:[a-z]+\.)+example)\.(.+)\.key", name)
                if match:
                    self._guesses.add(f"{match[2]}._domainkey.{match[1]}.")

    def _texts(self, names: list[str]) -> dict[tuple[str, str], bytes | None]:
        """What each place says of each name; None where it does not answer."""
        asked = [(place, name) for place in (*DIRECT, WARM) for name in names]
        with ThreadPoolExecutor(12) as pool:
            return dict(zip(asked, pool.map(lambda one: self._ask(*one), asked), strict=True))

    def _ask(self, place: str, name: str) -> bytes | None:
        import dns.exception
        import dns.resolver

        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.lifetime = [self.lab.address(place)], 6
        try:
            return b"".join(resolver.resolve(name, "TXT", search=False)[0].strings)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return b""
        except dns.exception.DNSException:
            return None

    def _verify(self, letter: Letter, texts: dict[tuple[str, str], bytes | None]) -> None:
        if not letter.keys:
            self.failures.append(f"a message is not signed: {letter.raw[:400]!r}")
        for place in (*DIRECT, WARM):
            for index, name in enumerate(letter.keys):
                text = texts[(place, name)]
                if text is None or letter.proven.get((place, index)) == text:
                    continue
                if self._good(letter, index, text):
                    letter.proven[(place, index)] = text
                    self.verified[place] += 1
                else:
                    age = time.time() - letter.sent
                    self.failures.append(f"{name} at {place} after {age:.1f} s: {text!r}")

    @staticmethod
    def _good(letter: Letter, index: int, text: bytes) -> bool:
        import dkim

        def answer(name: Any, timeout: int = 5) -> bytes:
            return text

        try:
            return bool(dkim.DKIM(letter.raw).verify(index, dnsfunc=answer))
        except dkim.DKIMException:
            return False
