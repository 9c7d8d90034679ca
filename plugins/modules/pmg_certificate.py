#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: pmg_certificate
short_description: Certificates of a Proxmox Mail Gateway
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Has a gateway show a certificate of yours for its API or for SMTP, or has it obtain one from an ACME server and
    renew it.
  - A certificate is compared by its fingerprint, so that the same one is sent once.
  - The gateway takes whatever looks like a certificate and a key. Before anything is sent, this module refuses a key
    that does not belong to the certificate, a certificate that does not hold now, and one for other names.
  - With a certificate for SMTP the gateway begins to offer TLS (C(mail.tls)), and with its removal it stops.
  - The services take a new certificate up at once. Whoever trusts the old one by O(ca_path) has to have the new one's
    authority there too.
  - Made for Proxmox Mail Gateway 8 and 9.
requirements:
  - cryptography, where O(source=custom)
extends_documentation_fragment:
  - postmaster.mail.pmg
  - postmaster.mail.pmg.tasks
options:
  type:
    description: What it is for. V(api) is the web interface and the API, V(smtp) the mail proxy.
    type: str
    required: true
    choices: [api, smtp]
  state:
    description:
      - V(absent) removes it. The API then gets one that the gateway makes itself.
    type: str
    choices: [present, absent]
    default: present
  source:
    description:
      - V(custom) sends O(certificate) and O(key).
      - V(acme) has the gateway obtain one for the domains that M(postmaster.mail.pmg_acme) gave it for this use, where
        it has none from an authority, one for other names, or one that ends soon.
    type: str
    choices: [custom, acme]
    default: custom
  certificate:
    description: The certificate in PEM, followed by those of the authorities between it and a known one.
    type: str
  key:
    description: Its private key in PEM, without a passphrase. Needs O(api_transport=https), as C(pmgsh) would show it.
    type: str
  names:
    description: Names and addresses that the certificate has to be for. Without it, O(api_host).
    type: list
    elements: str
  force:
    description:
      - Whether O(certificate) may replace one of an authority that holds longer, or has names that the new one does not
        have. One that the gateway made itself, one that has expired and one that is renewed are replaced without it.
    type: bool
    default: false
  renew_before:
    description: Days before its end from which on a certificate by ACME is renewed.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: The gateway shows its own certificate to other mail servers
  postmaster.mail.pmg_certificate:
    api_host: pmg.example.org
    api_password: "{{ vault_pmg_password }}"
    type: smtp
    certificate: "{{ lookup('ansible.builtin.file', 'pmg.example.org.pem') }}"
    key: "{{ vault_pmg_key }}"
    names: [mx.example.org]
  delegate_to: localhost

- name: And obtains that of its web interface itself
  postmaster.mail.pmg_certificate:
    api_host: pmg.example.org
    api_password: "{{ vault_pmg_password }}"
    type: api
    source: acme
  delegate_to: localhost
"""

RETURN = r"""
held:
  description: The certificate after the run, nothing where there is none. In check mode one by ACME has names alone.
  returned: success
  type: dict
  contains:
    fingerprint:
      description: That of SHA-256, in small letters.
      type: str
    names:
      description: Names and addresses that it is for.
      type: list
      elements: str
    issuer:
      description: Who stands for it.
      type: str
    not_after:
      description: Until when it holds, in ISO 8601 (UTC).
      type: str
reasons:
  description: For O(source=acme), why it was (in check mode - would be) ordered.
  returned: success
  type: list
  elements: str
  sample: [it does not hold mx.example.org]
requests:
  description: How many requests that took, logging in not counted.
  returned: success
  type: int
  sample: 3
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _pmg_acme, _pmg_certificate
from ansible_collections.postmaster.mail.plugins.module_utils._pmg import PmgError
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_certificate import Held
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Api
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_options import TASKS, node_of, run_module
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_tasks import Node

OPTIONS: dict[str, Any] = {
    "type": {"type": "str", "required": True, "choices": list(_pmg_certificate.FILES)},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "source": {"type": "str", "choices": ["custom", "acme"], "default": "custom"},
    "certificate": {"type": "str"},
    "key": {"type": "str", "no_log": True},
    "names": {"type": "list", "elements": "str"},
    "force": {"type": "bool", "default": False},
    "renew_before": {"type": "int", "default": 30},
    **TASKS,
}
FORESEEN = "names: {names}\nissued by: an ACME server\n"


def run(params: dict[str, Any], api: Api, check_mode: bool) -> dict[str, Any]:
    """What the module returns; raises :class:`PmgError`."""
    node, way = node_of(params, api), "absent" if params["state"] == "absent" else params["source"]
    return {"absent": _removed, "custom": _sent, "acme": _ordered}[way](params, node, check_mode)


def _sent(params: dict[str, Any], node: Node, check_mode: bool) -> dict[str, Any]:
    if not params["certificate"] or not params["key"]:
        raise PmgError("a certificate of your own takes certificate and key: give both, or say source: acme")
    names = [params["api_host"]] if params["names"] is None and params["api_host"] else params["names"]
    if not names:
        raise PmgError("which names the certificate has to be for is not known: give names")
    now = datetime.now(UTC)
    pair = _pmg_certificate.read_pair(params["certificate"], params["key"], names, now)
    before = _pmg_certificate.look(node, params["type"])
    differs = before is None or before.fingerprint != pair.held.fingerprint
    if differs:
        _pmg_certificate.check_replaceable(before, pair, now, force=params["force"])
        if not check_mode:
            _pmg_certificate.install(node, params["type"], pair)
    return _result(node, before, pair.held if differs else before)


def _removed(params: dict[str, Any], node: Node, check_mode: bool) -> dict[str, Any]:
    kind = params["type"]
    before = _pmg_certificate.look(node, kind)
    if before is None or (kind == "api" and before.is_self_made):
        return _result(node, before, before)
    if not check_mode:
        _pmg_certificate.remove(node, kind)
    return _result(node, before, None)


def _ordered(params: dict[str, Any], node: Node, check_mode: bool) -> dict[str, Any]:
    kind, now = params["type"], datetime.now(UTC)
    names = _pmg_acme.names_for(node, kind)
    before = _pmg_certificate.look(node, kind)
    if not names and not check_mode:
        raise PmgError(f"no domain is to be used for {kind}: name one with pmg_acme")
    why = _pmg_certificate.reasons(before, names, now, renew_before=timedelta(days=params["renew_before"]))
    if not names:
        why = ["no domain is to be used for it yet"]
    if not why or check_mode:
        told = FORESEEN.format(names=", ".join(names) or "those that it will have") if why else None
        return _result(node, before, before, reasons=why, foreseen=told)
    return _result(node, before, _pmg_certificate.order(node, kind, before, names, now), reasons=why)


def _result(
    node: Node,
    before: Held | None,
    after: Held | None,
    *,
    reasons: list[str] | None = None,
    foreseen: str | None = None,
) -> dict[str, Any]:
    changed = before != after or foreseen is not None
    lines = [found.lines if found else "" for found in (before, after)] if changed else ["", ""]
    return {
        "changed": changed,
        "held": _shown(after) if after else {},
        "reasons": reasons or [],
        "requests": node.api.requests,
        "diff": {"before": lines[0], "after": lines[1] if foreseen is None else foreseen},
    }


def _shown(held: Held) -> dict[str, Any]:
    return {
        "fingerprint": held.fingerprint,
        "names": sorted(held.names),
        "issuer": held.issuer,
        "not_after": held.ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def main() -> None:
    """Run the module."""
    run_module(OPTIONS, run)


if __name__ == "__main__":
    main()
