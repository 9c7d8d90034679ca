# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role queue_monitor tells of a host, for tests."""

from __future__ import annotations

import re

from .probe import Lab

METRICS = "/var/lib/prometheus/node-exporter/mail_queue.prom"
DROP_IN = "/run/systemd/system/mail-queue-metrics.service.d"
# systemd 257 needs CAP_SYS_ADMIN to set a seccomp filter for a user, which the lab's containers lack.
NO_FILTERS = """[Service]
SystemCallFilter=
SystemCallArchitectures=
RestrictAddressFamilies=
RestrictNamespaces=no
RestrictRealtime=no
RestrictSUIDSGID=no
MemoryDenyWriteExecute=no
LockPersonality=no
PrivateDevices=no
ProtectClock=no
ProtectHostname=no
ProtectKernelLogs=no
ProtectKernelModules=no
ProtectKernelTunables=no
"""


def without_filters(lab: Lab, host: str) -> None:
    """Take the unit's filters back where the lab's containers cannot have them."""
    if host.endswith("-13"):
        lab.run(host, f"mkdir -p {DROP_IN} && cat > {DROP_IN}/lab.conf && systemctl daemon-reload", input=NO_FILTERS)


def metrics(lab: Lab, host: str) -> dict[str, int]:
    """Samples, made anew, by name and labels but that of the program; a name alone has the sum of its samples."""
    lab.run(host, "systemctl start mail-queue-metrics.service")
    found: dict[str, int] = {}
    for line in lab.run(host, ["cat", METRICS]).stdout.splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            name = re.sub(r'mta="\w+",?', "", name).replace("{}", "")
            found[name] = int(value)
            family = name.partition("{")[0]
            if family != name:
                found[family] = found.get(family, 0) + int(value)
    return found
