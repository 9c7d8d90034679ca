#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: dkim_key
short_description: Make, adopt, rotate and remove DKIM keys
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Keeps the private keys that sign mail in one directory, each as C(<domain>.<selector>.key), and a manifest for each
    domain, C(<domain>.json), that says in which state each key is. Returns the DNS records to publish.
  - A domain has at most one active key of each algorithm, which signs, and at most one pending, which is made and
    to be published but signs nothing. Retired keys sign nothing any more and stay published for mail under way. The
    record of a revoked key says so by its empty C(p=), that of a withdrawn one is to be gone.
  - The playbook C(postmaster.mail.rotate_dkim) takes keys from state to state when their time has come.
  - One call takes a thousand keys as well as one, and makes them on all processors.
  - All items are checked before the first file is written. A key's file is there before its manifest lists it, and
    both are replaced in one step, so a run that was interrupted is continued by the next.
  - A key made elsewhere is adopted as it is, be it at O(path), or lying under the name this module would give it in a
    directory without a manifest for its domain. PKCS#1 and PKCS#8 in PEM are read, and bare Ed25519 keys in base64.
  - Private keys are never returned, shown or logged. Where etckeeper keeps a git history of C(/etc), O(directory) is
    put on the list of what it must not commit before a key is made there. An empty list of O(keys) does that alone.
requirements:
  - cryptography >= 38 on the host that holds the keys (Debian package python3-cryptography), to make keys and to read
    Ed25519 keys. Check mode and RSA keys that exist need no library.
extends_documentation_fragment:
  - postmaster.mail.action_group.mail
attributes:
  check_mode:
    description: Can run in check mode. Makes no key there, so RV(keys[].record) of a key that would be made is null.
    support: full
  diff_mode:
    description: Shows selectors, states, public records, and modes and owners of files. Never a private key.
    support: full
  idempotent:
    description:
      - A second run changes nothing. With O(state=rotated) that holds until the pending key is activated.
    support: full
options:
  domain:
    description:
      - The signing domain (d=). Exactly one of O(domain) and O(keys) is given.
      - An internationalised name is given as its A-label (C(xn--...)). Any other form is refused, with the A-label to
        use in the message where it is beyond doubt.
    type: str
  selector:
    description:
      - Selector of the key. Letters, digits and inner hyphens, in one or more labels.
      - Without it O(state=present) means the active key, whatever its selector, and a new key is named after its
        algorithm, the month and O(selector_suffix), C(rsa-202611-k3f9), then C(rsa-202611a-k3f9). A selector that had
        a key before is not chosen.
    type: str
  selector_suffix:
    description:
      - What the selectors end with that this module chooses, so that hosts that sign for the same domain choose
        different ones. Letters and digits, or empty for none.
      - If left out, four characters that follow from the host's name and machine identity.
    type: str
  selectors:
    description:
      - What a new key is to be called if O(selector) is left out, the first that no key of the domain has. A selector
        whose key is gone may be used again.
    type: list
    elements: str
  algorithm:
    description:
      - Algorithm of the key. A new key is V(rsa) unless something else is said.
      - Not all receivers verify V(ed25519) yet (RFC 8463), so have such a key beside an RSA key only.
      - With O(keys), what holds for the items that do not say it themselves.
    type: str
    choices: [rsa, ed25519]
  bits:
    description:
      - Size of a new RSA key, from 1024 to 4096. An existing key stays as it is, with a warning if it is smaller.
      - With O(keys), what holds for the items that do not say it themselves.
    type: int
    default: 2048
  path:
    description:
      - An existing private key to adopt. It stays where it is, and signers find it by the RV(keys[].path) returned.
      - O(selector) may be left out if the file is called C(<domain>.<selector>.key) or C(<selector>.private).
    type: path
  keys:
    description: Many keys in one call. All items must differ in their domain and selector, or in their algorithm.
    type: list
    elements: dict
    suboptions:
      domain:
        description: Like O(domain).
        type: str
        required: true
      selector:
        description: Like O(selector).
        type: str
      selectors:
        description: Like O(selectors).
        type: list
        elements: str
      algorithm:
        description: Like O(algorithm).
        type: str
        choices: [rsa, ed25519]
      bits:
        description: Like O(bits).
        type: int
      path:
        description: Like O(path).
        type: path
      published:
        description: Like O(published).
        type: str
      settle:
        description: Like O(settle).
        type: int
      retired:
        description: Like O(retired).
        type: str
  published:
    description:
      - With O(state=present) and the O(selector) of a key that exists, since when all name servers answer with what its
        state asks for, in UTC as C(2026-11-20T11:00:00Z). Empty where they do not.
      - It is kept in the manifest for the rotation and has no other effect.
    type: str
  settle:
    description:
      - With a key that exists, for how many seconds resolvers may keep what was at its record's name before.
      - It is kept in the manifest for the rotation and has no other effect.
    type: int
  retired:
    description: With a retired key, until when it signed after all, in UTC.
    type: str
  state:
    description:
      - V(present) makes sure that there is such a key. The first key of an algorithm is active at once, one under a
        further O(selector) is pending.
      - V(rotated) makes the next key, pending. Changes nothing while there is a pending one.
      - V(activated) makes the pending key active, or the one that O(selector) names, and retires the one that was.
        Name a retired key to go back to it.
      - V(revoked) says by an empty C(p=) in the record of the retired key O(selector) that nothing it signed is to be
        accepted any more. V(withdrawn) takes the record of a revoked key out of the records to publish.
      - V(absent) removes the key O(selector) and its file, or without a selector all keys of the domain, of
        O(algorithm) if that is given. The manifest stays and remembers the selectors, as resolvers may hold their
        records.
    type: str
    choices: [present, absent, rotated, activated, revoked, withdrawn]
    default: present
  now:
    description:
      - What counts as the present time, in UTC as C(2026-11-20T11:00:00Z), so that one clock decides for keys on
        several hosts. The host's own time if left out.
    type: str
  force:
    description: Whether O(state=absent) may remove an active key, and O(state=revoked) revoke one that is not retired.
    type: bool
    default: false
  allow_weak:
    description: Whether an RSA key may be made with less than 2048 bits.
    type: bool
    default: false
  directory:
    description:
      - Directory of keys and manifests. Made with mode 0700, or 0750 if a group is to read the keys.
      - Others must not be able to write in it, nor in a directory above it.
    type: str
    default: /etc/dkimkeys
  owner:
    description:
      - User who owns the directory and the keys. Without it existing files keep theirs, and a new key has the owner,
        group and mode of the domain's active key, or those of the directory.
    type: str
  group:
    description: Group of the directory and the keys, which may read them unless O(mode) says otherwise.
    type: str
  mode:
    description:
      - Mode of the keys, one of C(0400), C(0440), C(0600) and C(0640), the ones for a group only with O(group).
      - If left out, C(0640) with O(group) and C(0600) without. Without both, existing keys only lose what others could
        do with them.
    type: raw
  ed25519_format:
    description:
      - How a new Ed25519 key is stored. V(rspamd) is base64 of its 64 octets, the only form that rspamd reads.
        V(pem) is PKCS#8.
    type: str
    choices: [rspamd, pem]
    default: rspamd
  ttl:
    description: Time to live of the records returned, in seconds.
    type: int
    default: 3600
seealso:
  - module: postmaster.mail.dns_records
  - module: postmaster.mail.mail_records
"""

EXAMPLES = r"""
- name: A key for a domain, signed with by rspamd
  postmaster.mail.dkim_key:
    domain: corp.example
    group: _rspamd
  register: dkim

- name: Publish it
  postmaster.mail.dns_records:
    server: 198.18.10.11
    tsig_name: estate.
    tsig_secret: "{{ tsig_secret }}"
    records: "{{ dkim['keys'] | map(attribute='record') }}"

# ansible relay -m postmaster.mail.dkim_key -a "domain=corp.example state=rotated"
- name: Make the next key, to be published before anything signs with it
  postmaster.mail.dkim_key:
    domain: corp.example
    state: rotated

- name: Let it sign from now on
  postmaster.mail.dkim_key:
    domain: corp.example
    state: activated

- name: Keys of both algorithms for several domains, in one call
  postmaster.mail.dkim_key:
    group: _rspamd
    keys:
      - domain: corp.example
      - domain: corp.example
        algorithm: ed25519
      - domain: shop.example
        bits: 4096

- name: Adopt a key that opendkim-genkey made
  postmaster.mail.dkim_key:
    domain: corp.example
    path: /etc/opendkim/keys/corp.example/mail.private
"""

RETURN = r"""
keys:
  description: All keys of the domains named, in whatever state.
  returned: success
  type: list
  elements: dict
  contains:
    domain:
      description: The signing domain.
      type: str
      sample: corp.example
    selector:
      description: The selector.
      type: str
      sample: rsa-202611-k3f9
    algorithm:
      description: V(rsa) or V(ed25519).
      type: str
      sample: rsa
    bits:
      description: Size of the key.
      type: int
      sample: 2048
    state:
      description: V(pending), V(active), V(retired), V(revoked) or V(withdrawn).
      type: str
      sample: active
    path:
      description: File of the private key.
      type: str
      sample: /etc/dkimkeys/corp.example.rsa-202611-k3f9.key
    created:
      description: When the key was made, in UTC, for an adopted one its file's time.
      type: str
      sample: "2026-11-20T11:00:00Z"
    published:
      description: What O(published) noted, or an empty string.
      type: str
    settle:
      description: What O(settle) noted, or 0.
      type: int
    activated:
      description: When it began to sign, or an empty string.
      type: str
    retired:
      description: When it ceased to, or an empty string.
      type: str
    revoked:
      description: When it was revoked, or an empty string.
      type: str
    withdrawn:
      description: When its record was to go, or an empty string.
      type: str
    public_key:
      description: The public key as a record has it after C(p=), also of a key that is revoked or withdrawn.
      type: str
    record:
      description:
        - The DNS record to publish, null for a withdrawn key and in check mode for one that would be made.
      type: dict
      contains:
        name:
          description: Name of the record, absolute.
          type: str
          sample: rsa-202611-k3f9._domainkey.corp.example.
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
      description: The record as a line of a zone file for BIND or Knot DNS, null where RV(keys[].record) is.
      type: str
time:
  description: What the host's clock says, in UTC.
  returned: success
  type: str
  sample: "2026-11-20T11:00:00Z"
key:
  description: The one of RV(keys) that the call is about.
  returned: with O(domain), unless it is gone
  type: dict
"""

import re
from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.postmaster.mail.plugins.module_utils._dkim import ALGORITHMS, SOUND_BITS
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_plan import Want, is_time
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_run import CallError, Options, Outcome, ensure
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_store import (
    Access,
    KeyStore,
    StoreError,
    host_suffix,
)
from ansible_collections.postmaster.mail.plugins.module_utils._files import FileError

STATES = ("present", "absent", "rotated", "activated", "revoked", "withdrawn")
ITEM_SPEC = {
    "domain": {"type": "str", "required": True},
    "selector": {"type": "str"},
    "selectors": {"type": "list", "elements": "str"},
    "algorithm": {"type": "str", "choices": list(ALGORITHMS)},
    "bits": {"type": "int"},
    "path": {"type": "path"},
    "published": {"type": "str"},
    "settle": {"type": "int"},
    "retired": {"type": "str"},
}
ARGUMENT_SPEC = {
    **ITEM_SPEC,
    "domain": {"type": "str"},
    "bits": {"type": "int", "default": SOUND_BITS},
    "keys": {"type": "list", "elements": "dict", "options": ITEM_SPEC, "no_log": False},
    "state": {"type": "str", "choices": [*STATES], "default": "present"},
    "now": {"type": "str"},
    "selector_suffix": {"type": "str"},
    "force": {"type": "bool", "default": False},
    "allow_weak": {"type": "bool", "default": False},
    "directory": {"type": "str", "default": "/etc/dkimkeys"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "raw"},
    "ed25519_format": {"type": "str", "choices": ["rspamd", "pem"], "default": "rspamd"},
    "ttl": {"type": "int", "default": 3600},
}


def build_wants(params: dict[str, Any]) -> list[Want]:
    """The items of a call, each with the name it has in messages."""
    items = [params] if params["keys"] is None else params["keys"]
    suffix = host_suffix() if params["selector_suffix"] is None else params["selector_suffix"]
    if not re.fullmatch(r"[A-Za-z0-9]{0,20}", suffix):
        raise CallError(f"selector_suffix {suffix!r} is not made of up to 20 letters and digits")
    return [
        Want(
            domain=item["domain"],
            selector=item["selector"] or "",
            algorithm=item["algorithm"] or params["algorithm"] or "",
            bits=params["bits"] if item["bits"] is None else item["bits"],
            path=item["path"] or "",
            label=f"keys[{number}]" if params["keys"] is not None else "",
            suffix=suffix,
            selectors=tuple(item["selectors"] or ()),
            published=item["published"],
            settle=item["settle"],
            retired=item["retired"],
        )
        for number, item in enumerate(items)
    ]


def file_mode(value: object) -> int | None:
    """Permission bits of the option mode, which YAML may have read as a number already."""
    if value is None or isinstance(value, int):
        return value
    try:
        return int(str(value), 8)
    except ValueError as err:
        raise CallError(f"mode {value!r} is no octal number such as '0640'") from err


def utc_now() -> str:
    """This host's time as manifests have it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def run(module: AnsibleModule) -> Outcome:
    """The call that the module's options describe."""
    params = module.params
    if not 0 <= params["ttl"] < 2**31:
        raise CallError(f"ttl {params['ttl']} is not between 0 and {2**31 - 1}")
    if params["now"] is not None and not is_time(params["now"]):
        raise CallError(f"now {params['now']!r} is no time such as 2026-11-20T11:00:00Z")
    options = Options(
        state=params["state"],
        force=params["force"],
        allow_weak=params["allow_weak"],
        ed25519_format=params["ed25519_format"],
        ttl=params["ttl"],
        check=module.check_mode,
        now=params["now"] or utc_now(),
    )
    access = Access(params["owner"], params["group"], file_mode(params["mode"]))
    return ensure(KeyStore(params["directory"], access), build_wants(params), options)


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        mutually_exclusive=[
            ("domain", "keys"),
            ("selector", "keys"),
            ("selectors", "keys"),
            ("path", "keys"),
            ("published", "keys"),
            ("settle", "keys"),
            ("retired", "keys"),
        ],
        required_one_of=[("domain", "keys")],
        supports_check_mode=True,
    )
    try:
        outcome = run(module)
    except (CallError, StoreError, FileError) as err:
        module.fail_json(msg=str(err))
    except OSError as err:
        module.fail_json(msg=f"{err.filename}: {err.strerror}")
    except ImportError:
        module.fail_json(msg=missing_required_lib("cryptography"))
    for warning in outcome.warnings:
        module.warn(warning)
    result: dict[str, Any] = {"keys": outcome.keys, "time": utc_now()}
    if module.params["keys"] is None and outcome.named[0] is not None:
        result["key"] = outcome.named[0]
    diff = {name: "".join(f"{line}\n" for line in getattr(outcome, name)) for name in ("before", "after")}
    module.exit_json(changed=outcome.changed, diff=diff, **result)


if __name__ == "__main__":
    main()
