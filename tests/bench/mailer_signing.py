# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DKIM signatures a second and processor: the mailer's, dkimpy's over the same fields, and RSA-2048 alone.

python tests/bench/mailer_signing.py [rounds]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import _mailer_room as room

SIZE, SECONDS, ROUNDS = 10_000, 0.5, 5
GOALS = {"dkimpy": 10.0, "RSA-2048 alone": 0.5}


def signers() -> dict[str, Callable[[], object]]:
    """Each signs the same message with the same key."""
    import dkim
    from _mailer_load import message
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256
    from postmaster_mailer.dkim import SIGNED, read_key, sign
    from postmaster_mailer.message import Message

    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.TraditionalOpenSSL, form.NoEncryption())
    raw = message(1, SIZE, token="a").removesuffix(b".\r\n")
    ours = [read_key(pem, domain="example.org", selector="bench", where="key")]
    fields = [one.encode() for one in SIGNED]

    def own() -> bytes:
        parsed = Message.parse(raw)
        sign(parsed, ours)
        return bytes(parsed)

    assert dkim.verify(own(), dnsfunc=lambda *dummy, **more: _record(key))  # or the rate means nothing
    return {
        "the mailer": own,
        "dkimpy": lambda: dkim.sign(
            raw, b"bench", b"example.org", pem, canonicalize=(b"relaxed", b"relaxed"), include_headers=fields
        ),
        "RSA-2048 alone": lambda: key.sign(raw[:500], PKCS1v15(), SHA256()),
    }


def _record(key: object) -> bytes:
    import base64
    from typing import Any, cast

    from cryptography.hazmat.primitives import serialization as form

    public = cast("Any", key).public_key().public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
    return b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)


def rate(work: Callable[[], object]) -> float:
    """Times a second of processor time."""
    done, start = 0, time.process_time()
    while time.process_time() - start < SECONDS:
        work()
        done += 1
    return done / (time.process_time() - start)


def main() -> None:
    """Measure and print."""
    if not room.with_libraries(__file__):
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    print(f"{room.about()}; messages of {SIZE // 1000} kB, {rounds} rounds")
    named = signers()
    found = [{name: rate(work) for name, work in named.items()} for dummy in range(rounds)]
    for name in named:
        line = f"{name:16}{statistics.median(one[name] for one in found):6.0f} signatures a second and processor"
        if name in GOALS:
            ratio = statistics.median(one["the mailer"] / one[name] for one in found)
            line += f"; the mailer's rate is {ratio:.2f} of it (goal: {GOALS[name]:g}): "
            line += "met" if ratio >= GOALS[name] else "missed"
        print(line)


if __name__ == "__main__":
    main()
