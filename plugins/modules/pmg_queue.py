#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: pmg_queue
short_description: Messages that wait in the queues of a Proxmox Mail Gateway
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Says what waits in a queue of a gateway and why, deletes messages by sender, recipient or reason, as many as there
    are, or has them be delivered now.
  - In check mode it counts what would be deleted.
  - The gateway says of messages that are not there that they are deleted, so the queue is looked at again afterwards.
  - Looks at 100000 recipients at most. Run it again where a queue is longer.
  - Made for Proxmox Mail Gateway 8 and 9. Release 8 takes messages one by one, which for thousands takes minutes.
extends_documentation_fragment:
  - postmaster.mail.pmg
options:
  action:
    description:
      - V(list) changes nothing.
      - V(deliver) has the gateway try again now, all that waits without O(senders), O(recipients) and O(reason).
      - V(delete) removes messages for good.
    type: str
    choices: [list, deliver, delete]
    default: list
  queue:
    description: The queue. What cannot be delivered waits in V(deferred).
    type: str
    choices: [deferred, active, incoming, hold]
    default: deferred
  senders:
    description:
      - Messages of these alone are meant - addresses, or domains. A domain with a dot before it stands for all below.
      - Bounces have the sender C(<>).
    type: list
    elements: str
    default: []
  recipients:
    description:
      - Messages to these alone are meant, in the same form. One that goes to others too is spared.
    type: list
    elements: str
    default: []
  reason:
    description: Messages are meant alone where this is a part of what the next server said.
    type: str
    default: ""
  everything:
    description: Whether V(delete) goes without O(senders), O(recipients) and O(reason), and empties the queue.
    type: bool
    default: false
  show:
    description: How many of the messages that are meant are returned.
    type: int
    default: 100
  node:
    description: The node of a cluster that is meant. C(localhost) is the one that is asked.
    type: str
    default: localhost
attributes:
  idempotent:
    description: Delivering is a change each time, where something waits.
    support: partial
"""

EXAMPLES = r"""
- name: What waits, and why
  postmaster.mail.pmg_queue:
    api_host: pmg.example.org
    api_user: monitor@pmg
    api_password: "{{ vault_monitor_password }}"
  delegate_to: localhost
  register: queue

- name: A form on the web site was used to send to half the world (first with --check, which counts)
  postmaster.mail.pmg_queue:
    api_host: pmg.example.org
    api_password: "{{ vault_pmg_password }}"
    action: delete
    senders: [www-data@example.org]
  delegate_to: localhost

- name: A domain is gone for good
  postmaster.mail.pmg_queue:
    api_host: pmg.example.org
    api_password: "{{ vault_pmg_password }}"
    action: delete
    recipients: [gone.example, .gone.example]
  delegate_to: localhost

- name: The smarthost is back
  postmaster.mail.pmg_queue:
    api_host: pmg.example.org
    api_password: "{{ vault_pmg_password }}"
    action: deliver
  delegate_to: localhost
"""

RETURN = r"""
total:
  description: How many messages were in the queue before the run.
  returned: success
  type: int
  sample: 5120
matching:
  description: How many of them were meant.
  returned: success
  type: int
  sample: 5000
deleted:
  description: How many of them are gone after the run; none in check mode.
  returned: success
  type: int
  sample: 5000
spared:
  description: How many were left alone because they go to others than O(recipients) too.
  returned: success
  type: int
  sample: 3
remaining:
  description: How many messages were in the queue after the run, in check mode as it would be.
  returned: success
  type: int
  sample: 120
senders:
  description: How many messages each sender had in the queue before the run, the most first, a hundred at most.
  returned: success
  type: list
  elements: dict
  sample: [{"sender": "www-data@example.org", "count": 5000}]
messages:
  description: Messages that were meant, O(show) at most, the oldest first.
  returned: success
  type: list
  elements: dict
  contains:
    queue_id:
      description: Postfix's name of it.
      type: str
    sender:
      description: Who sent it, C(<>) for a bounce.
      type: str
    recipients:
      description: Who has not got it yet, and the last answer for each.
      type: list
      elements: dict
      sample: [{"recipient": "user@gone.example", "reason": "Host or domain name not found"}]
    arrival_time:
      description: When it came, in seconds since 1970.
      type: int
    size:
      description: Its size in bytes.
      type: int
shape:
  description: For V(list), how many messages for which domain are how old, as C(qshape) tells it.
  returned: success
  type: list
  elements: dict
requests:
  description: How many requests that took, logging in not counted.
  returned: success
  type: int
  sample: 3
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _pmg_queue
from ansible_collections.postmaster.mail.plugins.module_utils._pmg import PmgError
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Api
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_options import run_module
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_queue import Message
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_tasks import Node

SENDERS_SHOWN = 100
OPTIONS: dict[str, Any] = {
    "action": {"type": "str", "choices": ["list", "deliver", "delete"], "default": "list"},
    "queue": {"type": "str", "choices": list(_pmg_queue.QUEUES), "default": "deferred"},
    "senders": {"type": "list", "elements": "str", "default": []},
    "recipients": {"type": "list", "elements": "str", "default": []},
    "reason": {"type": "str", "default": ""},
    "everything": {"type": "bool", "default": False},
    "show": {"type": "int", "default": 100},
    "node": {"type": "str", "default": "localhost"},
}


def run(params: dict[str, Any], api: Api, check_mode: bool) -> dict[str, Any]:
    """What the module returns; raises :class:`PmgError`."""
    chosen = _pmg_queue.read_selection(params["senders"], params["recipients"], params["reason"])
    action = params["action"]
    if action == "delete" and chosen.is_empty is not params["everything"]:
        raise PmgError(
            "delete takes senders, recipients or a reason: name some, or say everything: true to empty the queue"
            if chosen.is_empty
            else "everything goes with no senders, recipients and reason: leave one of the two out"
        )
    queue = _pmg_queue.Queue(Node(api, params["node"]), params["queue"])
    before = queue.look()
    meant = [one for one in before if chosen.holds(one)]
    deleted, after = 0, before
    if action == "delete":
        after = [one for one in before if not chosen.holds(one)]
        if meant and not check_mode:
            deleted, after = queue.delete_all(before) if chosen.is_empty else queue.delete(chosen.holds, before)
    elif action == "deliver" and meant and not check_mode:
        queue.deliver_all() if chosen.is_empty else queue.deliver(meant)
    return {
        "changed": bool(meant) and action != "list",
        "total": len(before),
        "matching": len(meant),
        "deleted": deleted,
        "spared": sum(map(chosen.spares, before)),
        "remaining": len(after),
        "senders": _senders(before),
        "messages": _shown(meant, params["show"]),
        "shape": queue.shape() if action == "list" else [],
        "requests": api.requests,
        "diff": {"before": _lines(before), "after": _lines(after)},
    }


def _senders(messages: Iterable[Message]) -> list[dict[str, Any]]:
    counts = list(_pmg_queue.by_sender(messages).items())[:SENDERS_SHOWN]
    return [{"sender": sender, "count": count} for sender, count in counts]


def _shown(messages: Sequence[Message], limit: int) -> list[dict[str, Any]]:
    return [
        {
            "queue_id": one.queue_id,
            "sender": one.sender,
            "recipients": [{"recipient": to, "reason": reason} for to, reason in one.reasons.items()],
            "arrival_time": one.arrived,
            "size": one.size,
        }
        for one in sorted(messages, key=lambda one: one.arrived)[: max(limit, 0)]
    ]


def _lines(messages: Sequence[Message]) -> str:
    counts: Mapping[str, int] = _pmg_queue.by_sender(messages)
    lines = [f"{sender}: {count}\n" for sender, count in list(counts.items())[:SENDERS_SHOWN]]
    return "".join([f"messages: {len(messages)}\n", *lines])


def main() -> None:
    """Run the module."""
    run_module(OPTIONS, run)


if __name__ == "__main__":
    main()
