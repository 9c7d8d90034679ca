# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan: which services of master.cf set aside what main.cf says of access. Pure, private."""

from __future__ import annotations

import os
import re
from collections.abc import Collection

from ansible_collections.postmaster.mail.plugins.module_utils import _postfix

SERVERS = frozenset({"smtpd", "postscreen", "qmqpd"})
"""Programs that take mail from the network."""
_LOOPBACK = re.compile(r"(127(\.\d+){1,3}|\[?::1\]?|localhost):[^:]+\Z")


def overrides(main_text: str, master_text: str, protected: Collection[str]) -> list[str]:
    """A sentence for each ``-o`` by which a service that others can reach overrides a parameter of ``protected``.

    One that says the same as main.cf does no harm.
    """
    main = _postfix.MainCf.parse(main_text).as_dict()
    return [
        f"master.cf: the service {service.service}/{service.type} overrides {name} (-o {name}={value}): remove this"
        " option, or the service, so that main.cf decides who may send"
        for service in _postfix.MasterCf.parse(master_text).services().values()
        if _reachable(service)
        for name, value in service.options
        if name in protected and _words(value) != _words(main.get(name))
    ]


def _reachable(service: _postfix.MasterService) -> bool:
    """Whether somebody on another host may come to talk to the service: postscreen hands connections to type pass."""
    if os.path.basename(service.command[0]) not in SERVERS:
        return False
    return service.type == "pass" or (service.type == "inet" and not _LOOPBACK.match(service.service))


def _words(value: str | None) -> list[str] | None:
    return None if value is None else re.split(r"[\s,]+", value.strip(" \t\n,"))
