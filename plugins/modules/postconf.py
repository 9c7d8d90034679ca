#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: postconf
short_description: Set Postfix parameters, services and maps in one step
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Sets many parameters of C(main.cf), services of C(master.cf), maps and companion files in one call.
    Only what is named is touched; comments and foreign entries stay.
  - Everything is tried in a private copy first, by C(postmap), C(postconf), C(postfix check) and a master
    process of its own that starts every C(smtpd) and talks SMTP to it. Any warning is an error. If the copy
    does not pass, the running configuration stays byte for byte as it was.
  - The module does not reload Postfix; it returns RV(reload_required) and RV(restart_required).
requirements:
  - Postfix 3.7 or newer
extends_documentation_fragment:
  - postmaster.mail.action_group.mail
  - postmaster.mail.configuration_files
  - postmaster.mail.pending
attributes:
  check_mode:
    support: full
    description:
      - On a host without Postfix it says what it would write, without the daemon's judgement.
      - Where the copy does not pass only because a file or a map type is missing that an earlier task would
        have installed, this becomes a warning.
  diff_mode:
    support: full
    description: Shows every parameter that changes, and of secret maps the keys only.
  idempotent:
    support: full
    description: An unchanged host costs no process.
options:
  config_directory:
    description: Directory of C(main.cf) and C(master.cf).
    type: str
    default: /etc/postfix
  main:
    description:
      - Parameters of C(main.cf) and their values. A boolean becomes V(yes) or V(no), a list is joined by commas.
      - V(null) removes a parameter, so that Postfix's default is in force again.
      - Put numbers with a point in quotes, as in C(compatibility_level).
    type: dict
    default: {}
  master:
    description: Services of C(master.cf). Only the fields given are changed; a new service needs O(master[].command).
    type: list
    elements: dict
    default: []
    suboptions:
      service:
        description: Name, port, or address and port.
        type: str
        required: true
      type:
        description: Kind of the service.
        type: str
        required: true
        choices: [inet, unix, unix-dgram, fifo, pass]
      command:
        description: Program and arguments, without its C(-o) options.
        type: str
      private:
        description: Whether access is restricted to the mail system.
        type: str
        choices: ['yes', 'no', default]
      unprivileged:
        description: Whether the service runs without root privileges.
        type: str
        choices: ['yes', 'no', default]
      chroot:
        description: Whether the service runs in the queue directory as its root.
        type: str
        choices: ['yes', 'no', default]
      wakeup:
        description: Seconds after which the service is woken, with C(?) only if it is in use; C(-) for never.
        type: str
      maxproc:
        description: The most processes that run at once; C(-) for the default.
        type: str
      options:
        description: Parameters overridden for this service (C(-o)). V(null) removes one; others stay.
        type: dict
      state:
        description:
          - Whether the service is there.
          - With V(absent), one that differs in a field which is given, or has other O(master[].options) than those, is
            somebody else's and stays.
        type: str
        choices: [present, absent]
        default: present
  protected:
    description:
      - Parameters that no server in C(master.cf) (C(smtpd), C(postscreen), C(qmqpd)) may override by C(-o). One that
        does is an error, unless it says the same as C(main.cf), or listens on the loopback interface only.
      - Name the parameters on which it rests who may send mail through the host.
    type: list
    elements: str
    default: []
  maps:
    description: Lookup tables, each with its source and, for indexed types, its compiled file.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path of the source.
        type: str
        required: true
      type:
        description: Type of the table. V(alias) is compiled by C(postalias) as O(maps[].alias_type).
        type: str
        default: lmdb
        choices: [lmdb, hash, btree, texthash, regexp, pcre, cidr, alias]
      alias_type:
        description: How an alias table is compiled.
        type: str
        default: lmdb
        choices: [lmdb, hash, btree]
      entries:
        description:
          - Keys and values as a dictionary, or as a list of dictionaries with C(key) and C(value), in whose
            order V(regexp), V(pcre) and V(cidr) tables are written. A value may be a list, which is joined by commas.
          - A V(null) value removes the key, which is of use with O(maps[].keep_foreign).
        type: raw
      keep_foreign:
        description: Keep entries and comments of an existing source that are not named here.
        type: bool
        default: false
      secret:
        description: The values are secret. Source and compiled file get mode 0600, the diff shows the keys only.
        type: bool
        default: false
      mode:
        description: Mode of source and compiled file. The default is 0644, or 0600 for a secret map.
        type: raw
      owner:
        description: Owner of source and compiled file.
        type: str
        default: root
      group:
        description: Group of source and compiled file.
        type: str
        default: root
      state:
        description: Whether the table is there.
        type: str
        choices: [present, absent]
        default: present
"""

EXAMPLES = r"""
- name: A satellite's settings in one task
  postmaster.mail.postconf:
    main:
      relayhost: "[relay1.corp.example]:25"
      inet_interfaces: loopback-only
      mydestination: [$myhostname, localhost]
      smtp_tls_security_level: encrypt
      smtp_sasl_auth_enable: true
      smtp_sasl_password_maps: lmdb:/etc/postfix/sasl_passwd
      alias_maps: lmdb:/etc/aliases
      relay_domains: null
    maps:
      - path: /etc/postfix/sasl_passwd
        secret: true
        entries:
          "[relay1.corp.example]:25": "satellite:{{ satellite_password }}"
      - path: /etc/aliases
        type: alias
        keep_foreign: true
        entries:
          root: ops@outside.test
    files:
      - path: /etc/mailname
        content: "corp.example\n"
  notify: Reload Postfix

- name: Submission with mandatory TLS
  postmaster.mail.postconf:
    master:
      - service: submission
        type: inet
        private: false
        command: smtpd
        options:
          syslog_name: postfix/submission
          smtpd_tls_security_level: encrypt
"""

RETURN = r"""
changed_parameters:
  description: Names of changed parameters, and of changed services as service/type.
  returned: success
  type: list
  elements: str
  sample: [relayhost, submission/inet]
changed_maps:
  description: Paths of maps whose source, compiled file or mode changed.
  returned: success
  type: list
  elements: str
  sample: [/etc/aliases]
reload_required:
  description: Whether running daemons see the change only after a reload.
  returned: success
  type: bool
restart_required:
  description: Whether a reload is not enough, as for C(inet_interfaces) or a change of C(master.cf).
  returned: success
  type: bool
checked:
  description: Whether Postfix's own programs judged the change; false where nothing changed but modes.
  returned: success
  type: bool
problems:
  description: What Postfix complains of.
  returned: failure of the check
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postmaster.mail.plugins.module_utils import _postfix_service as service
from ansible_collections.postmaster.mail.plugins.module_utils._file_options import FILES

_SWITCH = {"type": "str", "choices": ["yes", "no", "default"]}
_STATE = {"type": "str", "choices": ["present", "absent"], "default": "present"}
_OWNERSHIP: dict[str, Any] = {
    "mode": {"type": "raw"},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "secret": {"type": "bool", "default": False, "no_log": False},
}
_MASTER: dict[str, Any] = {
    "service": {"type": "str", "required": True},
    "type": {"type": "str", "required": True, "choices": ["inet", "unix", "unix-dgram", "fifo", "pass"]},
    "command": {"type": "str"},
    "private": _SWITCH,
    "unprivileged": _SWITCH,
    "chroot": _SWITCH,
    "wakeup": {"type": "str"},
    "maxproc": {"type": "str"},
    "options": {"type": "dict"},
    "state": _STATE,
}
_MAPS: dict[str, Any] = {
    "path": {"type": "str", "required": True},
    "type": {
        "type": "str",
        "default": "lmdb",
        "choices": ["lmdb", "hash", "btree", "texthash", "regexp", "pcre", "cidr", "alias"],
    },
    "alias_type": {"type": "str", "default": "lmdb", "choices": ["lmdb", "hash", "btree"]},
    "entries": {"type": "raw", "no_log": True},
    "keep_foreign": {"type": "bool", "default": False},
    "state": _STATE,
    **_OWNERSHIP,
}


def main() -> None:
    """Read the arguments, make the change or predict it, say what changed."""
    module = AnsibleModule(
        argument_spec={
            "config_directory": {"type": "str", "default": "/etc/postfix"},
            "main": {"type": "dict", "default": {}},
            "master": {"type": "list", "elements": "dict", "default": [], "options": _MASTER},
            "protected": {"type": "list", "elements": "str", "default": []},
            # Kept out of the host's log as a whole, for the reason that _file_options.py gives.
            "maps": {"type": "list", "elements": "dict", "default": [], "options": _MAPS, "no_log": True},
            "files": FILES,
            "pending_file": {"type": "path"},
        },
        supports_check_mode=True,
    )
    # From here on only what is secret is hidden, so that a diff of the other maps can be read.
    module.no_log_values = service.secrets(module.params)
    try:
        outcome = service.run(module.params, check_mode=module.check_mode)
    except service.ERRORS as err:
        module.fail_json(msg=str(err), problems=list(getattr(err, "problems", ())))
    for warning in outcome.warnings:
        module.warn(warning)
    module.exit_json(**outcome.as_result())


if __name__ == "__main__":
    main()
