#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: certbot_certificate
short_description: Have certbot hold a certificate
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Has certbot obtain a certificate where there is none, where the one that is there has other names or has expired,
    and where certbot would renew it in another way than it is described here.
  - Certbot's own timer renews it, and it keeps its key while it does so, so that TLSA records stay true.
  - If certbot fails, the module says why in one sentence, and the certificate that was there stays.
requirements:
  - certbot, with its plugin C(dns-rfc2136) for O(method=dns), and openssl
extends_documentation_fragment:
  - postmaster.mail.action_group.mail
attributes:
  check_mode:
    description: Can run in check mode, on a host without certbot too, and says why it would obtain a certificate.
    support: full
  diff_mode:
    description: Shows names and what certbot renews with.
    support: full
  idempotent:
    description: A second run asks nobody for anything.
    support: full
options:
  name:
    description: Certbot's name of the certificate, which is the name of its directory. The first of O(names) if empty.
    type: str
    default: ""
  names:
    description: Host names in the certificate.
    type: list
    elements: str
    required: true
  method:
    description:
      - How it is proven that the names are yours. V(http) answers on port 80 of this host (HTTP-01), V(dns) by a
        record that is published for a moment (DNS-01) by RFC 2136.
    type: str
    choices: [http, dns]
    default: http
  server:
    description: Directory of the certificate authority (RFC 8555).
    type: str
    default: https://acme-v02.api.letsencrypt.org/directory
  email:
    description: Address for the account at the authority, which is made with the first certificate.
    type: str
    default: ""
  key_type:
    description: Kind of the key.
    type: str
    choices: [ecdsa, rsa]
    default: ecdsa
  ca_bundle:
    description: Certificates by which the authority's own server is known, where Debian's do not do.
    type: path
    default: ""
  dns_credentials:
    description: File with server and TSIG key for O(method=dns).
    type: path
    default: ""
  dns_wait:
    description: Seconds between the record for O(method=dns) and the question for it.
    type: int
    default: 60
  pre_hook:
    description: Command before a certificate is obtained or renewed.
    type: str
    default: ""
  post_hook:
    description: Command after that, also where none came.
    type: str
    default: ""
  deploy_hook:
    description: Command after a certificate came.
    type: str
    default: ""
  directory:
    description: Certbot's directory.
    type: path
    default: /etc/letsencrypt
"""

EXAMPLES = r"""
- name: Have a certificate
  postmaster.mail.certbot_certificate:
    names: [mail.example.org, mta-sts.example.org]
    email: hostmaster@example.org
    deploy_hook: systemctl reload dovecot
  register: certificate

- name: Show what a TLSA record is made of
  ansible.builtin.debug:
    msg: "{{ certificate.public_key }}"
"""

RETURN = r"""
name:
  description: Certbot's name of the certificate.
  returned: success
  type: str
  sample: mail.example.org
reasons:
  description: Why a certificate was (in check mode - would be) obtained.
  returned: success
  type: list
  elements: str
  sample: [it does not hold mta-sts.example.org]
fullchain:
  description: Path of the certificate with its chain.
  returned: success
  type: str
  sample: /etc/letsencrypt/live/mail.example.org/fullchain.pem
private_key:
  description: Path of its key.
  returned: success
  type: str
  sample: /etc/letsencrypt/live/mail.example.org/privkey.pem
public_key:
  description: The public key in PEM. Empty in check mode where there is no certificate yet.
  returned: success
  type: str
expires:
  description: When it expires. Empty in check mode where there is none yet.
  returned: success
  type: str
  sample: "2027-02-26T08:00:00Z"
"""

from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postmaster.mail.plugins.module_utils._certbot import CertbotError, Held, Wanted, reasons
from ansible_collections.postmaster.mail.plugins.module_utils._certbot_client import Certbot
from ansible_collections.postmaster.mail.plugins.module_utils._files import FileError

ARGUMENT_SPEC: dict[str, Any] = {
    "name": {"type": "str", "default": ""},
    "names": {"type": "list", "elements": "str", "required": True},
    "method": {"type": "str", "choices": ["http", "dns"], "default": "http"},
    "server": {"type": "str", "default": "https://acme-v02.api.letsencrypt.org/directory"},
    "email": {"type": "str", "default": ""},
    "key_type": {"type": "str", "choices": ["ecdsa", "rsa"], "default": "ecdsa", "no_log": False},
    "ca_bundle": {"type": "path", "default": ""},
    "dns_credentials": {"type": "path", "default": ""},
    "dns_wait": {"type": "int", "default": 60},
    "pre_hook": {"type": "str", "default": ""},
    "post_hook": {"type": "str", "default": ""},
    "deploy_hook": {"type": "str", "default": ""},
    "directory": {"type": "path", "default": "/etc/letsencrypt"},
}


def wanted_of(params: dict[str, Any]) -> Wanted:
    """The certificate that the arguments describe."""
    names = tuple(dict.fromkeys(name.lower() for name in params["names"]))
    if not names:
        raise CertbotError("names is empty: name at least one host")
    if params["method"] == "dns" and not params["dns_credentials"]:
        raise CertbotError("method is dns and dns_credentials is empty: name the file with the TSIG key")
    hooks = {hook: params[f"{hook}_hook"] for hook in ("pre", "post", "deploy") if params[f"{hook}_hook"]}
    return Wanted(
        name=params["name"] or names[0],
        names=names,
        method=params["method"],
        server=params["server"],
        key_type=params["key_type"],
        email=params["email"],
        dns_credentials=params["dns_credentials"],
        dns_wait=params["dns_wait"],
        hooks=hooks,
    )


def described(held: Held | None, wanted: Wanted) -> str:
    """One side of the diff: the certificate that is there, as far as it is described."""
    if held is None:
        return ""
    settings = "".join(f"{key}: {held.settings.get(key, '')}\n" for key in wanted.settings)
    return f"names: {', '.join(sorted(held.names))}\n{settings}"


def run(params: dict[str, Any], certbot: Certbot, now: datetime, *, check_mode: bool) -> dict[str, Any]:
    """What the module returns. Raises the errors of what it uses."""
    wanted = wanted_of(params)
    before = held = certbot.held(wanted.name)
    why = reasons(wanted, held, now)
    if why and not check_mode:
        certbot.obtain(wanted, renew=held is not None, ca_bundle=params["ca_bundle"])
        held = certbot.held(wanted.name)
        left = reasons(wanted, held, now)
        if left:
            raise CertbotError(f"the certificate {wanted.name} came, but {' and '.join(left)}: see certbot's log")
    after = Held(frozenset(wanted.names), now, "", wanted.settings)
    return {
        "changed": bool(why),
        "name": wanted.name,
        "reasons": why,
        "fullchain": certbot.live(wanted.name, "fullchain"),
        "private_key": certbot.live(wanted.name, "privkey"),
        "public_key": held.public_key if held else "",
        "expires": f"{held.expires:%Y-%m-%dT%H:%M:%SZ}" if held else "",
        "diff": {"before": described(before, wanted), "after": described(after if why else before, wanted)},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        certbot = Certbot(module.params["directory"])
        now = datetime.now(UTC)
        module.exit_json(**run(module.params, certbot, now, check_mode=module.check_mode))
    except (CertbotError, FileError) as err:
        module.fail_json(msg=str(err))


if __name__ == "__main__":
    main()
