#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_probe
short_description: Send one message, wait for it at the other end and judge its arrival
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Sends a message with a token through C(sendmail) of the host, or by SMTP to any server, and waits for it in a
    mailbox by IMAP, in a maildir, or in the receiver's log.
  - Verifies every DKIM signature of what arrived with dkimpy and by what its key allows, and tells the receiver's own
    verdicts on SPF, DKIM and DMARC, each hop, its TLS, and how long it took.
  - Fails when the message does not arrive in time, or when what O(require) names does not hold.
  - Sender and receiver may be different hosts. Then use O(action=send) on the one, and O(action=receive) with its
    RV(token) on the other.
requirements:
  - dkimpy >= 1.0 (Debian package python3-dkim) and dnspython >= 2.3 (python3-dnspython) where the message is read.
  - PyNaCl (python3-nacl) there for signatures by Ed25519, which else cannot be judged.
extends_documentation_fragment:
  - postmaster.mail.action_group.mail
  - postmaster.mail.imap
attributes:
  check_mode:
    description: Does nothing in check mode, as a probe is real mail.
    support: none
  diff_mode:
    description: There is nothing to show, as nothing of the host changes.
    support: none
  idempotent:
    description: Sends a message every time and changes nothing of the host.
    support: none
options:
  action:
    description: Send and wait, only send, or only wait for what was sent before.
    type: str
    choices: [probe, send, receive]
    default: probe
  sender:
    description: Address in the envelope and in From.
    type: str
    required: true
  recipient:
    description: Address to send to. Needed unless O(action=receive).
    type: str
  token:
    description: The word that marks the message. Made if not given; needed with O(action=receive).
    type: str
  sendmail:
    description: The program to hand the message to, unless O(smtp) is given.
    type: path
    default: /usr/sbin/sendmail
  smtp:
    description: A server to hand the message to.
    type: dict
    suboptions:
      host:
        description: Name of the server, which its certificate must carry.
        type: str
        required: true
      port:
        description: Port.
        type: int
        default: 587
      tls:
        description: V(starttls), V(implicit) (port 465) or V(none).
        type: str
        choices: [starttls, implicit, none]
        default: starttls
      username:
        description: Name to log in with, if any.
        type: str
      password:
        description: Password to log in with.
        type: str
      ca_path:
        description: File with the certificates of authorities to trust instead of the system's.
        type: path
  maildir:
    description: A maildir to look in.
    type: path
  log:
    description:
      - The receiver's log, where its mailboxes cannot be read. It shows that the message was delivered and no more, so
        there are no hops, verdicts and signatures.
    type: dict
    suboptions:
      path:
        description: A log file. Without it the journal is read.
        type: path
      unit:
        description: The unit whose journal is read.
        type: str
        default: postfix
  timeout:
    description: Seconds to wait for the message. A mail server that is away meanwhile is asked again until then.
    type: int
    default: 60
  authserv_id:
    description:
      - The name under which the receiver writes Authentication-Results, usually its host name. No other header counts,
        as anybody could have written it.
    type: str
  resolver:
    description: Address of the name server that DKIM keys are asked from, instead of the system's.
    type: str
  require:
    description:
      - What must hold. V(dkim) needs a signature that is valid, V(spf) and V(dmarc) the word of the receiver named by
        O(authserv_id), V(tls) every hop between hosts.
    type: list
    elements: str
    choices: [spf, dkim, dmarc, tls]
    default: []
seealso:
  - module: postmaster.mail.mail_check
  - module: postmaster.mail.mail_reports
"""

EXAMPLES = r"""
- name: Send from this host, and wait for it in a mailbox
  postmaster.mail.mail_probe:
    sender: probe@example.org
    recipient: probe@example.net
    imap:
      host: imap.example.net
      username: probe@example.net
      password: "{{ vault_probe_password }}"
    authserv_id: mx.example.net
    require: [spf, dkim, dmarc, tls]

- name: Send from a satellite
  postmaster.mail.mail_probe:
    action: send
    sender: root@example.org
    recipient: ops@example.org
  register: probe

- name: Wait for it at the mail server
  postmaster.mail.mail_probe:
    action: receive
    sender: root@example.org
    token: "{{ probe.token }}"
    maildir: /var/vmail/example.org/ops
  delegate_to: mail.example.org
"""

RETURN = r"""
token:
  description: The word that marks the message.
  returned: always
  type: str
  sample: probe-5f0c9a7be1d24c3a
arrived:
  description: Whether the message was found.
  returned: when it was waited for
  type: bool
  sample: true
seconds:
  description: Time from the sending, or from the start with O(action=receive), until it was found.
  returned: when it arrived
  type: float
  sample: 2.4
envelope_sender:
  description: The envelope sender as the receiver stored it, if it did.
  returned: when the message was read
  type: str
  sample: root@example.org
hops:
  description: The servers on its way, the first one first.
  returned: when the message was read
  type: list
  elements: dict
  sample:
    - {sender: web1.example.org, receiver: relay1.example.org, protocol: ESMTPS, tls: TLSv1.3, encrypted: true,
       time: "2026-11-20T12:00:01+00:00", seconds: 1.0}
tls:
  description: Whether every hop over a network says that it was encrypted.
  returned: when the message was read
  type: bool
  sample: true
verdicts:
  description: What the receiver named by O(authserv_id) says.
  returned: when the message was read
  type: dict
  sample: {spf: pass, dkim: pass, dmarc: pass}
signatures:
  description:
    - The DKIM signatures and whether they verify.
    - C(valid) is null where a library is missing to tell; C(reason) names it.
  returned: when the message was read
  type: list
  elements: dict
  sample: [{domain: example.org, selector: rsa-202611-k3f9, algorithm: rsa-sha256, valid: true, reason: ""}]
log:
  description: The log's lines on the message.
  returned: with O(log)
  type: list
  elements: str
  sample: ["4bXkQz1nTzz2x: message-id=<probe-5f0c9a7be1d24c3a@example.org>"]
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.postmaster.mail.plugins.module_utils import _probe, _probe_client
from ansible_collections.postmaster.mail.plugins.module_utils._check_mail import Mail
from ansible_collections.postmaster.mail.plugins.module_utils._command import Runner
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsError
from ansible_collections.postmaster.mail.plugins.module_utils._imap_client import ImapError
from ansible_collections.postmaster.mail.plugins.module_utils._mail_options import IMAP, mailbox, secrets
from ansible_collections.postmaster.mail.plugins.module_utils._probe import ProbeError
from ansible_collections.postmaster.mail.plugins.module_utils._signatures import NoLibrary, verify

try:
    import dns.exception
    import dns.resolver
except ImportError:
    dns = None  # type: ignore[assignment]

SMTP = {
    "host": {"type": "str", "required": True},
    "port": {"type": "int", "default": 587},
    "tls": {"type": "str", "default": "starttls", "choices": ["starttls", "implicit", "none"]},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "ca_path": {"type": "path"},
}
LOG = {"path": {"type": "path"}, "unit": {"type": "str", "default": "postfix"}}
ARGUMENTS: dict[str, Any] = {
    "action": {"type": "str", "default": "probe", "choices": ["probe", "send", "receive"]},
    "sender": {"type": "str", "required": True},
    "recipient": {"type": "str"},
    "token": {"type": "str", "no_log": False},
    "sendmail": {"type": "path", "default": "/usr/sbin/sendmail"},
    "smtp": {"type": "dict", "options": SMTP, "no_log": True},
    "imap": IMAP,
    "maildir": {"type": "path"},
    "log": {"type": "dict", "options": LOG},
    "timeout": {"type": "int", "default": 60},
    "authserv_id": {"type": "str"},
    "resolver": {"type": "str"},
    "require": {"type": "list", "elements": "str", "default": [], "choices": ["spf", "dkim", "dmarc", "tls"]},
}


def _send(params: dict[str, Any], token: str) -> None:
    sender, recipient = params["sender"], params["recipient"]
    content = _probe.compose(token, sender, recipient, datetime.now(UTC))
    if not params["smtp"]:
        program = params["sendmail"]
        _probe_client.send_by_sendmail(content, sender, recipient, program=program, runner=Runner())
        return
    given = {name: value for name, value in params["smtp"].items() if value is not None}
    _probe_client.Submission(**given).send(content, sender, recipient)


def _wait(params: dict[str, Any], token: str, began: float) -> dict[str, Any]:
    """What is known of the message once it has come. Raises :class:`ProbeError` when it does not."""
    message_id = _probe.message_id(token, params["sender"])
    if params["log"]:
        return _wait_for_log(params, message_id)
    if params["imap"]:
        look = _probe_client.look_in_mailbox(mailbox(params["imap"]), message_id)
    else:
        # A clock that differs a little from the sender's must not hide it.
        look = _probe_client.look_in_maildir(params["maildir"], message_id, since=time.time() - 600)
    content = _probe_client.wait_for(look, timeout=params["timeout"])
    if content is None:
        raise ProbeError(f"the message {token} did not arrive within {params['timeout']} seconds")
    mail = Mail(content)
    signatures = verify(mail, _keys(params["resolver"]))
    arrival = _probe.Arrival(mail, time.monotonic() - began, signatures, params["authserv_id"] or "")
    result = arrival.as_dict()
    failings = arrival.failings(params["require"])
    if failings:
        raise Judged("; ".join(failings), result)
    return result


class Judged(ProbeError):
    """The message came, and not as it must; ``result`` is what is known of it."""

    def __init__(self, sentence: str, result: dict[str, Any]) -> None:
        super().__init__(sentence)
        self.result = result


def _wait_for_log(params: dict[str, Any], message_id: str) -> dict[str, Any]:
    began = time.monotonic()
    path, unit = params["log"]["path"] or "", params["log"]["unit"]

    def look() -> bytes | None:
        lines = _probe_client.lines_of(_probe_client.read_log(path, unit, Runner()), message_id)
        return "\n".join(lines).encode() if any(map(_probe_client.is_delivery, lines)) else None

    found = _probe_client.wait_for(look, timeout=params["timeout"])
    if found is None:
        raise ProbeError(f"the log shows no delivery of {message_id} within {params['timeout']} seconds")
    return {"seconds": round(time.monotonic() - began, 1), "log": found.decode("utf-8", "replace").splitlines()}


def _keys(server: str | None) -> Callable[[str], list[str]]:
    """Asks for TXT records; a name without any, or nobody answering, is an empty list."""
    resolver = dns.resolver.Resolver(configure=server is None)
    if server is not None:
        resolver.nameservers = [server]

    def txt(name: str) -> list[str]:
        try:
            answer = resolver.resolve(name, "TXT", search=False)
        except (dns.exception.DNSException, DnsError, ValueError):
            return []
        return [b"".join(rdata.strings).decode("latin-1") for rdata in answer]

    return txt


def _check(params: dict[str, Any]) -> None:
    """What the argument specification cannot say. Raises :class:`ProbeError`."""
    if params["token"] and not _probe.TOKEN.fullmatch(params["token"]):
        raise ProbeError(f"token {params['token']!r} is not 8 to 64 letters, digits and hyphens")
    for name in ("sender", "recipient"):
        value = params[name]
        if value and not _probe.is_address(value):
            raise ProbeError(f"{name} {value!r} is no address such as probe@example.org")
    places = [name for name in ("imap", "maildir", "log") if params[name]]
    if params["action"] != "send" and len(places) != 1:
        raise ProbeError("say where to wait for the message: exactly one of imap, maildir and log")
    if params["log"] and params["require"]:
        raise ProbeError("a log does not show what require asks for: use imap or maildir")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        ARGUMENTS,
        required_if=[
            ("action", "probe", ["recipient"]),
            ("action", "send", ["recipient"]),
            ("action", "receive", ["token"]),
        ],
    )
    params = module.params
    module.no_log_values = secrets(params["imap"], params["smtp"])
    token = params["token"] or _probe.new_token()
    known: dict[str, Any] = {"token": token, "changed": False}
    if dns is None and params["action"] != "send" and not params["log"]:
        module.fail_json(msg=missing_required_lib("dnspython"), **known)
    try:
        _check(params)
        began = time.monotonic()
        if params["action"] != "receive":
            _send(params, token)
        if params["action"] != "send":
            known |= {"arrived": False}
            known |= {"arrived": True, **_wait(params, token, began)}
    except Judged as err:
        module.fail_json(msg=str(err), **{**known, "arrived": True, **err.result})
    except (ProbeError, ImapError) as err:
        module.fail_json(msg=str(err), **known)
    except NoLibrary as err:
        module.fail_json(msg=missing_required_lib(err.name), **known)
    module.exit_json(**known)


if __name__ == "__main__":
    main()
