# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of this folder have in common: the two relays, mail through them, and what is to be seen of both."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lab import plays, ready
from lab.probe import Dialogue, Lab, Message

CONVERGE = Path(__file__).parent.parent / "converge.yml"
RESTORE = CONVERGE.resolve().parents[2] / "playbooks" / "restore.yml"
SIGNERS = {"relay1": "rspamd", "relay2": "opendkim"}
CLIENTS = {"relay1": "sat-postfix-12", "relay2": "sat-postfix-13"}
VICTIM = "victim@outside.test"


# Relays that are not as the scenario's own variables want them.
_unsettled: set[str] = set()


def converge(lab: Lab, **options: Any) -> plays.Played:
    """Run the scenario's playbook; what it leaves otherwise than usual, the next test that needs it settles."""
    extra = options.get("extra") or {}
    meant = set(SIGNERS) & set(options.get("limit", "").split(",")) if options.get("limit") else set(SIGNERS)
    relays = set() if "relay_hosts" in extra or options.get("check") else meant
    _unsettled.update(relays)
    played = plays.play(lab, CONVERGE, inventories=(), **options)
    if not extra and played.code == 0:
        _unsettled.difference_update(relays)
    return played


def settle(lab: Lab) -> None:
    """Have both relays as the scenario's variables want them."""
    if _unsettled:
        converge(lab, limit=",".join(sorted(_unsettled)))


def letter(token: str, *, sender: str = "joe@corp.example", extra: str = "") -> str:
    """A message as a mailing programme writes it."""
    return (
        f"From: Joe <{sender}>\nTo: {VICTIM}\nSubject: {token}\nMessage-ID: <{token}@corp.example>\n"
        f"Date: Fri, 20 Nov 2026 12:00:00 +0000\nList-Unsubscribe: <https://corp.example/u>\n"
        f"List-Unsubscribe-Post: List-Unsubscribe=One-Click\n{extra}\nHello\n"
    )


def post(lab: Lab, relay: str, token: str, *, client: str = "", **options: Any) -> Dialogue:
    """Send through a relay from a host of the estate, or from ``client``."""
    known = {"sender": "joe@corp.example", "recipients": VICTIM, "message": letter(token), **options}
    return lab.smtp(client or CLIENTS[relay], relay, **known)


def signatures(message: Message) -> list[dict[str, str]]:
    """The tags of each DKIM-Signature."""
    found = []
    for header in message.parsed.get_all("DKIM-Signature") or []:
        pairs = (tag.strip().partition("=") for tag in "".join(str(header).split()).split(";") if tag.strip())
        found.append({name: value for name, dummy, value in pairs})
    return found


def assert_signed(message: Message, signer: str) -> None:
    """Signed once with each key the signer can use, over the headers that matter, and believed by the receiver."""
    algorithms = ["ed25519-sha256", "rsa-sha256"] if signer == "rspamd" else ["rsa-sha256"]
    made = signatures(message)
    assert sorted(tags["a"] for tags in made) == algorithms, made
    for tags in made:
        headers = tags["h"].lower().split(":")
        assert tags["d"] == "corp.example"
        assert headers.count("from") == 2, "From can be added without breaking the signature"
        assert {"subject", "date", "to"} <= set(headers)
        if message.parsed["List-Unsubscribe"]:
            assert {"list-unsubscribe", "list-unsubscribe-post"} <= set(headers)
    assert message.verdicts == {"spf": "pass", "dkim": "pass", "dmarc": "pass"}


@contextlib.contextmanager
def stopped(lab: Lab, host: str, unit: str) -> Iterator[None]:
    """With a unit stopped."""
    lab.run(host, ["systemctl", "stop", unit])
    try:
        yield
    finally:
        lab.run(host, ["systemctl", "start", unit])
        if unit in ("rspamd", "opendkim"):
            wait_for_signer(lab, host)


def wait_for_signer(lab: Lab, host: str) -> None:
    """Until the signer listens."""
    listens = "ss -Hlnt | grep -qE '127.0.0.1:(11332|8891) '"
    lab.run(host, f"for i in $(seq 500); do {listens} && exit; sleep 0.1; done; exit 1")


def postconf(lab: Lab, host: str, name: str) -> str:
    """What Postfix says of a parameter."""
    return lab.run(host, ["postconf", "-hx", name]).stdout.strip()


@contextlib.contextmanager
def settings(lab: Lab, relay: str, values: Mapping[str, str]) -> Iterator[None]:
    """With parameters set by hand, past the role."""
    lab.run(relay, "cp -p /etc/postfix/main.cf /run/main.cf.kept")
    pairs = " ".join(shlex.quote(f"{name}={value}") for name, value in values.items())
    try:
        lab.run(relay, f"postconf -e {pairs} && postfix reload")
        yield
    finally:
        lab.run(relay, "cp -p /run/main.cf.kept /etc/postfix/main.cf && postfix reload")


def answers(dialogue: Dialogue, said: str) -> list[int]:
    """The codes of all answers to one command."""
    return [code for what, code, dummy in dialogue.steps if what == said]


def wait_for_listeners(lab: Lab, host: str, wanted: set[str], port: int = 25) -> None:
    """Until somebody listens on exactly these."""
    ready.wait(f"{wanted} on {host}", lambda: lab.listeners(host, port) == wanted)
