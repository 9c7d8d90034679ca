# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets stand nowhere."""

from __future__ import annotations

import pytest
from lab.probe import Lab
from mailers import (
    MAILERS,
    PASSWORDS,
    variables,
)


@pytest.mark.parametrize("mailer", MAILERS)
def test_secrets_stand_nowhere(lab: Lab, token: str, mailer: str) -> None:
    """Neither in the journal nor in command lines, environments or what others can read below /etc."""
    kept = lab.run(
        mailer, "cat /etc/postmaster-mailer/*.secret /etc/postmaster-mailer/*password* 2>/dev/null", check=False
    )
    secrets = [PASSWORDS[mailer], variables()["mailer_hook_secret"], *kept.stdout.split()]
    assert len(secrets) >= 3
    patterns = "\n".join(secret for secret in secrets if len(secret) > 8) + "\n"
    lab.run(mailer, "umask 077; cat > /run/patterns", input=patterns)
    look = "journalctl --no-pager -o export | grep -acF -f /run/patterns"
    assert lab.run(mailer, look, check=False).stdout.strip() == "0"
    seen = lab.run(mailer, "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | grep -acF -f /run/patterns", check=False)
    assert seen.stdout.strip() == "0"
    readable = lab.run(
        mailer, "find /etc /var/lib /opt -xdev -type f -perm -o=r -exec grep -lF -f /run/patterns {} + || true"
    )
    assert readable.stdout == ""
    twin = lab.run(mailer, "grep -lrF -f /run/patterns /etc/postmaster-mailer").stdout
    assert twin, "the search finds what is there"
