#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: pmg_dkim
short_description: How a Proxmox Mail Gateway signs mail with DKIM
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Keeps the domains for which a gateway signs, the selector of its key, and whether it signs - what its web interface
    shows under Configuration, Mail Proxy, DKIM. Returns the DNS records to publish.
  - A gateway has one RSA key under one selector for all its domains, and signs with a selector from the moment it is
    told of it. So what would have mail signed in a way that it was not before - a selector, a domain, signing at all -
    is refused unless O(published) says that the records are out. What ends is done first, what begins last.
  - The playbook C(postmaster.mail.rotate_dkim) turns the key in that order, with C(mail_signer=pmg).
  - Without any domain in the list, a gateway signs for its relay domains.
  - Asks for what is there first and sends only what differs. Domains are compared without regard to case.
  - Made for Proxmox Mail Gateway 8 and 9.
extends_documentation_fragment:
  - postmaster.mail.pmg
  - postmaster.mail.pmg.list
options:
  domains:
    description:
      - The domains to sign for. Two that mean the same are refused.
      - Mail of domains below is signed with the name of the one that is listed.
    type: list
    elements: dict
    default: []
    suboptions:
      domain:
        description: The domain.
        type: str
        required: true
      comment:
        description: What the list says beside it. Without it, the comment stays as it is; an empty one is removed.
        type: str
  selector:
    description:
      - The selector to sign with. Without it, it stays as it is.
      - Without O(key), the gateway makes a key if it has none of that name. If it signs already, that is refused in any
        case, as nobody can have published it.
    type: str
  bits:
    description: Size of a key that the gateway makes, from 1024 to 4096. One that it has stays as it is.
    type: int
    default: 2048
  key:
    description:
      - File of the private key for O(selector), on the gateway, as M(postmaster.mail.dkim_key) returns it in
        RV(postmaster.mail.dkim_key#module:keys[].path). RSA only.
      - It is copied to C(/etc/pmg/dkim) before the gateway hears of the selector, so it needs O(api_transport=pmgsh).
    type: path
  published:
    description:
      - Whether all name servers have the records of what is to be signed from now on. Needed where mail is signed, or
        is to be, and the selector, its key or the domains change, or O(sign) or O(sign_all_mail) are new.
      - Check mode returns the records beforehand, if the key is there.
    type: bool
    default: false
  sign:
    description:
      - Whether outgoing mail is signed, C(dkim_sign) in the API. Without it, it stays as it is.
    type: bool
  sign_all_mail:
    description:
      - Whether mail of all domains is signed, C(dkim_sign_all_mail), and not that of the listed ones alone. Then a
        record is needed for every domain that somebody behind the gateway uses.
    type: bool
  use_domain:
    description: Which address names the domain, C(dkim-use-domain), that of the envelope or that of the From header.
    type: str
    choices: [envelope, header]
  ttl:
    description: Time to live of the records returned, in seconds.
    type: int
    default: 3600
seealso:
  - module: postmaster.mail.dkim_key
  - module: postmaster.mail.dns_records
  - name: Proxmox Mail Gateway API
    description: Reference of the API.
    link: https://pmg.proxmox.com/pmg-docs/api-viewer/
"""

EXAMPLES = r"""
- name: Have a key, and sign nothing yet
  postmaster.mail.pmg_dkim:
    api_host: pmg.example.org
    api_password: "{{ vault_pmg_password }}"
    selector: pmg1
    domains: [{domain: example.org}]
  delegate_to: localhost
  register: dkim

- name: Publish it
  postmaster.mail.dns_records:
    server: 198.18.10.11
    tsig_name: estate.
    tsig_secret: "{{ tsig_secret }}"
    records: "{{ dkim.records }}"
  delegate_to: localhost

- name: Sign, when all name servers have it
  postmaster.mail.pmg_dkim:
    api_host: pmg.example.org
    api_password: "{{ vault_pmg_password }}"
    sign: true
    published: true
  delegate_to: localhost

- name: On the gateway itself, sign with a key of dkim_key that is published
  postmaster.mail.pmg_dkim:
    api_transport: pmgsh
    selector: rsa-202611-k3f9
    key: /etc/dkimkeys/example.org.rsa-202611-k3f9.key
    domains: [{domain: example.org}]
    sign: true
    published: true
"""

RETURN = r"""
entries:
  description: The list of domains after the run, in check mode as it would be.
  returned: success
  type: list
  elements: dict
  sample: [{"domain": "example.org", "comment": ""}]
changed_entries:
  description: The domains that were (in check mode - would be) added, changed or removed.
  returned: success
  type: list
  elements: str
  sample: [example.org]
changed_options:
  description: What else was (in check mode - would be) changed.
  returned: success
  type: list
  elements: str
  sample: [key, selector, sign]
selector:
  description: The selector after the run, empty if there is none or the account may not see it.
  returned: success
  type: str
  sample: pmg1
bits:
  description: Size of its key, 0 if that is not known.
  returned: success
  type: int
  sample: 2048
records:
  description:
    - The records to publish, one for each domain that is signed for. None in check mode for a key that would be made,
      and none for an account without the role C(admin), which may not see the key.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the record, absolute.
      type: str
      sample: pmg1._domainkey.example.org.
    type:
      description: Always V(TXT).
      type: str
    ttl:
      description: Time to live in seconds.
      type: int
    rdata:
      description: The strings, quoted, as in a zone file.
      type: str
    strings:
      description: The strings of at most 255 bytes.
      type: list
      elements: str
    value:
      description: The strings joined, which is what web forms of DNS providers want.
      type: str
      sample: v=DKIM1; h=sha256; k=rsa; p=MIIBIjANBgkqh...
bind:
  description: The records as lines of a zone file for BIND or Knot DNS.
  returned: success
  type: list
  elements: str
requests:
  description: How many requests that took, logging in not counted.
  returned: success
  type: int
  sample: 4
"""

from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _files, _pmg, _pmg_dkim, _pmg_sections
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Api
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_dkim_run import KeyFiles, Signer
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_options import (
    LIST,
    comment_of,
    items_of,
    run_module,
    told,
)

OPTIONS: dict[str, Any] = {
    "domains": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"domain": {"type": "str", "required": True}, "comment": {"type": "str"}},
    },
    "selector": {"type": "str"},
    "bits": {"type": "int", "default": 2048},
    "key": {"type": "path", "no_log": False},
    "published": {"type": "bool", "default": False},
    "sign": {"type": "bool"},
    "sign_all_mail": {"type": "bool"},
    "use_domain": {"type": "str", "choices": ["envelope", "header"]},
    "ttl": {"type": "int", "default": 3600},
    **LIST,
}
IN_THE_API = {"sign": "dkim_sign", "sign_all_mail": "dkim_sign_all_mail", "use_domain": "dkim-use-domain"}


def wish_of(params: dict[str, Any]) -> _pmg_dkim.Wish:
    """What is asked for beside the list of domains; raises :class:`PmgError`."""
    given = {name: params[option] for option, name in IN_THE_API.items() if params[option] is not None}
    return _pmg_dkim.wish(
        params["selector"],
        params["bits"],
        key_of(params["key"], params["api_transport"]),
        _pmg_sections.read("admin", given),
        published=params["published"],
    )


def key_of(path: str | None, transport: str) -> tuple[str, bytes] | None:
    """The file of a private key; raises :class:`PmgError`."""
    if path is None:
        return None
    if transport != "pmgsh":
        raise _pmg.PmgError(f"key {path} is a file on the gateway: run the module there, with api_transport: pmgsh")
    try:
        found = _files.read(path)
    except _files.FileError as err:
        raise _pmg.PmgError(f"key: {err}") from err
    if found is None:
        raise _pmg.PmgError(f"key: there is no file {path}: dkim_key makes one")
    return path, found.content


def run(params: dict[str, Any], api: Api, check_mode: bool, files: KeyFiles | None = None) -> dict[str, Any]:
    """What the module returns; raises :class:`PmgError`."""

    def read(one: dict[str, Any]) -> _pmg.Item:
        return _pmg.Item(_pmg_dkim.domain_key(one["domain"]), comment_of(one))

    if not 0 <= params["ttl"] < 2**31:
        raise _pmg.PmgError(f"ttl {params['ttl']} is not between 0 and {2**31 - 1}")
    items, wish = items_of(_pmg.DKIM_DOMAINS, "domains", params["domains"], read), wish_of(params)
    absent = params["state"] == "absent"
    if absent and params["purge"]:
        raise _pmg.PmgError("purge goes with state present: name those that stay, or none")
    done = Signer(api, files or KeyFiles(), check_mode=check_mode).bring_about(
        wish, [] if absent else items, [item.key for item in items] if absent else [], purge=params["purge"]
    )
    listed, records = told(_pmg.DKIM_DOMAINS, done.outcome), _pmg_dkim.records(done.after, params["ttl"])
    options = {api_name: name for name, api_name in IN_THE_API.items()}
    texts = {options.get(name, name): pair for name, pair in done.options.items()}
    for side, index in (("before", 0), ("after", 1)):
        listed["diff"][side] += "".join(f"{name}: {pair[index] or '(not set)'}\n" for name, pair in texts.items())
    return {
        **listed,
        "changed": listed["changed"] or bool(texts),
        "changed_options": list(texts),
        "selector": done.after.selector,
        "bits": done.after.record.bits if done.after.record is not None else 0,
        "records": [record.as_dict() for record in records],
        "bind": [str(record) for record in records],
        "requests": api.requests,
    }


def main() -> None:
    """Run the module."""
    run_module(OPTIONS, run)


if __name__ == "__main__":
    main()
