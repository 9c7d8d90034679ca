# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every run of ansible-playbook imports, and each of its workers anew if it has not; see :mod:`lab.warm`."""

from __future__ import annotations

from ansible.plugins.loader import init_plugin_loader
from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder

MODULES = ("ansible.cli.playbook", "ansible.executor.playbook_executor", "ansible.parsing.vault")
PLUGINS = {
    "action": "add_host assert command copy debug fail group_by include_vars normal set_fact template "
    "validate_argument_spec wait_for_connection",
    "become": "sudo",
    "cache": "memory",
    "callback": "default",
    "connection": "local ssh",
    "filter": "core encryption mathstuff urls urlsplit",
    "inventory": "auto host_list ini script toml yaml",
    "lookup": "env file items list template vars",
    "shell": "sh",
    "strategy": "linear",
    "test": "core files mathstuff uri",
    "vars": "host_group_vars",
}

for _module in MODULES:
    __import__(_module)
for _kind, _names in PLUGINS.items():
    for _name in _names.split():
        __import__(f"ansible.plugins.{_kind}.{_name}")

# Its large table of plugins that moved is read when it is first imported, and that takes the finder, which each run
# wants to set up itself.
init_plugin_loader()
__import__("ansible_collections.ansible.builtin")
_AnsibleCollectionFinder._remove()
