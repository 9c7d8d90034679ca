# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make tests/logs/*.log anew: real daemons send to servers that refuse as :mod:`cases` says, and their logs are kept.

    python tests/logs/collect.py [postfix|postfix-own|exim|opensmtpd ...]

Needs root, podman, the lab's base image, which any lab makes (docs/lab.md), and a mirror of Debian; some two minutes for
each. Where the lab has made a containers.conf of its own, CONTAINERS_CONF must name it. The daemons
are those of Debian 13. What became of bounces is left out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
IMAGE = "localhost/pml-base-trixie"  # of any tag
ENGINE = os.environ.get("LAB_ENGINE") or "podman"
PACKAGES = {"postfix": "postfix", "postfix-own": "postfix", "exim": "exim4-daemon-light", "opensmtpd": "opensmtpd"}
BOUNCE = re.compile(r"(?:to=<|(?:\*\*|=>|==) |RCPT TO: <|to <)alex@|<= <>|from=<>|sender non-delivery|: removed$")
RECORD = re.compile(r"\d{4}-|[A-Z][a-z]{2} [ \d]\d ")
INSIDE = """
export DEBIAN_FRONTEND=noninteractive
printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d
{ apt-get update -qq && apt-get install -y -qq --no-install-recommends $1 rsyslog iproute2; } >&2
exec unshare -n -u python3 /logs/_stage.py $2 2>/tmp/err || { cat /tmp/err >&2; exit 1; }
"""


def image() -> str:
    """The lab's newest base image."""
    argv = [ENGINE, "images", "--format", "{{.Repository}}:{{.Tag}}", IMAGE]
    found = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    if not found:
        raise SystemExit(f"there is no image {IMAGE}: start a lab once, see docs/lab.md")
    return found[0]


def collect(daemon: str) -> str:
    """The log of one daemon, with the shell's own messages on our standard error."""
    argv = [ENGINE, "run", "--rm", "--network=host", "--cap-add=SYS_ADMIN,NET_ADMIN", f"--volume={HERE}:/logs:ro"]
    argv += ["--entrypoint=/bin/sh", image(), "-euc", INSIDE, "sh", PACKAGES[daemon], daemon]
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, timeout=600).stdout


def main(argv: list[str]) -> None:
    for daemon in argv or PACKAGES:
        lines = [line for line in collect(daemon).splitlines() if RECORD.match(line) and not BOUNCE.search(line)]
        (HERE / f"{daemon}.log").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{daemon}: {len(lines)} lines")


if __name__ == "__main__":
    main(sys.argv[1:])
