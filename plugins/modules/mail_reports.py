#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_reports
short_description: Read DMARC and TLS reports and say who sends for a domain and what to do next
version_added: 0.1.0
author: The postmaster.mail authors (@postmaster-mail)
description:
  - Reads DMARC aggregate reports (RFC 9990, and those of RFC 7489) and TLS reports (RFC 8460) from files, folders,
    maildirs or a mailbox by IMAP, as XML or JSON, in gzip or zip, bare or attached to messages.
  - Sums them up for each domain as sources that are aligned, unaligned or unknown.
  - Advises the next step of the ladder from C(p=none) over C(p=quarantine) to C(p=reject) by that evidence, or what
    stands in its way; then that of C(sp) and C(np). A record with C(t=y) is advised to drop that first.
  - Refuses hostile reports (XML with a document type definition, archives that grow without end) in RV(problems) and
    reads on.
  - Changes nothing, neither in the mailbox nor anywhere else.
extends_documentation_fragment:
  - postmaster.mail.action_group.mail
  - postmaster.mail.imap
  - postmaster.mail.read_only
options:
  paths:
    description:
      - Files, folders (with all below them) and maildirs that hold reports or messages with reports.
      - What is no report and holds none is passed over in folders.
    type: list
    elements: path
    default: []
  days:
    description: Read the mailbox's messages of this many days, 0 for all.
    type: int
    default: 90
  domains:
    description: Tell of these domains only. Without it, of all that the reports are about.
    type: list
    elements: str
    default: []
  senders:
    description:
      - Who is meant to send for the domains. More of their mail failing than O(tolerance) stops a step up, and so does
        a sender of whom the reports have no mail.
      - Without it, nine tenths of all mail must pass before a step up, as nobody can tell strangers from your own.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What to call the sender.
        type: str
        required: true
      networks:
        description: Its addresses and networks.
        type: list
        elements: str
        default: []
      domains:
        description: Domains that it authenticates as by SPF or DKIM, each with all below it.
        type: list
        elements: str
        default: []
  ignore:
    description: Names of sources in RV(domains) that authenticate as somebody, send much and yet are none of yours.
    type: list
    elements: str
    default: []
  min_days:
    description:
      - Days that the reports must cover before a step up. Gaps do not count, nor what a report covers beyond a week.
    type: int
    default: 14
  min_messages:
    description: Messages that must pass DMARC before a step up.
    type: int
    default: 100
  tolerance:
    description:
      - Percentage of a sender's mail that may fail without standing in the way of a step up.
      - It is also how much mail that authenticates as somebody else, all of it together, there may be beside the mail
        that passes.
    type: float
    default: 1.0
seealso:
  - module: postmaster.mail.mail_records
"""

EXAMPLES = r"""
# ansible localhost -m postmaster.mail.mail_reports -a "paths=~/reports"
- name: See who sends for our domains
  postmaster.mail.mail_reports:
    paths: [/var/mail/dmarc]
    senders:
      - name: our relays
        networks: [192.0.2.25, "2001:db8::25"]
      - name: newsletters
        domains: [sendgrid.net]
  register: reports

- name: Show it as a table
  ansible.builtin.debug:
    msg: "{{ reports.table }}"

- name: Read a mailbox by IMAP
  postmaster.mail.mail_reports:
    imap:
      host: imap.example.org
      username: dmarc@example.org
      password: "{{ vault_dmarc_password }}"
"""

RETURN = r"""
domains:
  description:
    - What the DMARC reports say, by domain.
    - Of the advice, C(publish) holds the tags of the record to change, empty to stay.
  returned: success
  type: dict
  sample:
    example.org:
      begin: "2026-11-01T00:00:00+00:00"
      end: "2026-11-19T23:59:59+00:00"
      reporters: [google.com]
      messages: 1300
      aligned: 1290
      unaligned: 0
      unknown: 10
      sources:
        - {name: our relays, known: true, verdict: aligned, messages: 1290, aligned: 1290, forwarded: 0, failing: 0,
           addresses: [192.0.2.25], address_count: 1, authenticated_as: [example.org]}
        - {name: 198.51.100.7, known: false, verdict: unknown, messages: 10, aligned: 0, forwarded: 0, failing: 10,
           addresses: [198.51.100.7], address_count: 1, authenticated_as: []}
      advice:
        {current: none, next: quarantine, publish: {p: quarantine},
         reason: "mail of ours passes: 1290 of 1300 messages in 18 days", blockers: []}
tls:
  description: What the TLS reports say, by domain.
  returned: success
  type: dict
  sample:
    example.org:
      begin: "2026-11-01T00:00:00+00:00"
      end: "2026-11-19T23:59:59+00:00"
      policies: [sts]
      successes: 5326
      failures: 3
      kinds: [{kind: certificate-expired, mx: mx.example.org, count: 3}]
problems:
  description: What looked like a report and could not be read, and rows of reports that make no sense.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The file or message.
      type: str
    problem:
      description: What is wrong with it.
      type: str
  sample: [{name: report.xml, problem: "has a document type definition, which no report needs and attacks are made of"}]
reports:
  description: How many reports were read; one that came twice counts once.
  returned: success
  type: int
  sample: 18
table:
  description: The same for people, as lines.
  returned: success
  type: list
  elements: str
  sample: ["example.org: 1300 messages", "  aligned 1290  our relays"]
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.postmaster.mail.plugins.module_utils import _report_evidence as evidence
from ansible_collections.postmaster.mail.plugins.module_utils._imap_client import ImapError, since
from ansible_collections.postmaster.mail.plugins.module_utils._mail_options import IMAP, mailbox, secrets
from ansible_collections.postmaster.mail.plugins.module_utils._networks import NetworkError, parse
from ansible_collections.postmaster.mail.plugins.module_utils._report_files import Found, find_reports
from ansible_collections.postmaster.mail.plugins.module_utils._reports import AggregateReport, TlsReport
from ansible_collections.postmaster.mail.plugins.module_utils._reports_client import SourceError, from_paths

SENDER = {
    "name": {"type": "str", "required": True},
    "networks": {"type": "list", "elements": "str", "default": []},
    "domains": {"type": "list", "elements": "str", "default": []},
}
ARGUMENTS = {
    "paths": {"type": "list", "elements": "path", "default": []},
    "imap": IMAP,
    "days": {"type": "int", "default": 90},
    "domains": {"type": "list", "elements": "str", "default": []},
    "senders": {"type": "list", "elements": "dict", "default": [], "options": SENDER},
    "ignore": {"type": "list", "elements": "str", "default": []},
    "min_days": {"type": "int", "default": 14},
    "min_messages": {"type": "int", "default": 100},
    "tolerance": {"type": "float", "default": 1.0},
}


def _fetch(params: dict[str, Any]) -> Iterator[Found]:
    for name, content in from_paths(params["paths"]):
        found = find_reports(content, name)
        if not found and name in params["paths"]:
            yield Found(name, problem="is no report, and no message with one")
        yield from found
    if params["imap"]:
        first = since(datetime.now(UTC).date() - timedelta(days=params["days"])) if params["days"] else "ALL"
        for name, content in mailbox(params["imap"]).messages(first):
            yield from find_reports(content, name)


def _known(senders: Iterable[dict[str, Any]]) -> list[evidence.KnownSender]:
    return [
        evidence.KnownSender(
            one["name"],
            tuple(parse(text) for text in one["networks"]),
            tuple(domain.lower().rstrip(".") for domain in one["domains"]),
        )
        for one in senders
    ]


def _problems(found: Iterable[Found]) -> Iterator[dict[str, str]]:
    for one in found:
        if one.problem:
            yield {"name": one.name, "problem": one.problem}
        if isinstance(one.report, AggregateReport):
            yield from ({"name": one.name, "problem": problem} for problem in one.report.problems)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True, required_one_of=[("paths", "imap")])
    params = module.params
    module.no_log_values = secrets(params["imap"])
    demand = evidence.Demand(
        params["min_days"], params["min_messages"], params["tolerance"] / 100, frozenset(params["ignore"])
    )
    try:
        senders = _known(params["senders"])
        found = list(_fetch(params))
    except (NetworkError, SourceError, ImapError) as err:
        module.fail_json(msg=str(err))
    reports = {one.report.key: one.report for one in found if one.report is not None}
    wanted = {domain.lower().rstrip(".") for domain in params["domains"]}
    dmarc = evidence.gather((one for one in reports.values() if isinstance(one, AggregateReport)), senders)
    tls = evidence.gather_tls(one for one in reports.values() if isinstance(one, TlsReport))
    summary = evidence.Summary(
        {domain: one for domain, one in dmarc.items() if not wanted or domain in wanted},
        {domain: one for domain, one in tls.items() if not wanted or domain in wanted},
        demand,
    )
    module.exit_json(
        changed=False, **summary.as_dict(), problems=list(_problems(found)), reports=len(reports), table=summary.lines()
    )


if __name__ == "__main__":
    main()
