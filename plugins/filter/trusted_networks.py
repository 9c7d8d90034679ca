# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter: networks that may send, checked, in the notation a daemon wants."""

from __future__ import annotations

DOCUMENTATION = r"""
name: trusted_networks
short_description: Check the networks that may send through a server
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Takes networks and addresses, fails with a sentence for one that is malformed, has bits set beyond its prefix, or
    is public and so wide that it would make an open relay (wider than /16 in IPv4, /32 in IPv6).
  - Gives them back in one notation, each once.
positional: _input
options:
  _input:
    description: Networks or addresses, IPv4 and IPv6.
    type: list
    elements: str
    required: true
  notation:
    description: V(plain) is C(2001:db8::/64), V(postfix) is C([2001:db8::]/64).
    type: str
    choices: [plain, postfix]
    default: plain
"""

EXAMPLES = r"""
- name: Show what Postfix takes
  ansible.builtin.debug:
    msg: "{{ ['192.0.2.0/28', '2001:db8::/64'] | postmaster.mail.trusted_networks(notation='postfix') }}"
"""

RETURN = r"""
_value:
  description: The networks, each once, in the order given.
  type: list
  elements: str
"""

from collections.abc import Iterable
from typing import Any

from ansible.errors import AnsibleFilterError


def trusted_networks(texts: Iterable[str], *, notation: str = "plain") -> list[str]:
    """The networks in the notation asked for; see DOCUMENTATION."""

    from ansible_collections.postmaster.mail.plugins.module_utils import _networks

    if isinstance(texts, str):
        raise AnsibleFilterError(f"networks must be a list, not the text {texts!r}")
    writers = {"plain": str, "postfix": _networks.for_postfix}
    if notation not in writers:
        raise AnsibleFilterError(f"there is no notation {notation!r}: choose plain or postfix")
    try:
        return [writers[notation](network) for network in _networks.trusted(texts)]  # type: ignore[operator]
    except _networks.NetworkError as err:
        raise AnsibleFilterError(str(err)) from None


class FilterModule:
    """The filters of this file, by name."""

    def filters(self) -> dict[str, Any]:
        return {"trusted_networks": trusted_networks}
