# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration that the guide shows is one that loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from postmaster_mailer.config import load, parse

from .conftest import ROOT

GUIDE = (ROOT / "docs" / "mailer.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "block",
    [
        block
        for block in re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
        if not block.startswith("# inventory/")  # those are Ansible's
    ],
)
def test_what_the_guide_shows_loads(block: str) -> None:
    assert parse(yaml.safe_load(block))


# The keys of the two files that Inboxbooster-Mailer has one write, all of them.
GLOBAL = """
reliable-queue: {queue-names: {primary-queue: P0, default-queue: P1}}
backdata: {queue-name: EVENTS}
transformer: {x-mailer: Shop}
"""
CUSTOMER = """
receiver:
  bind: {inet-interface: localhost, inet-port: 8025}
  auth-logins: [{username: one, password: secret}, {username: two, password: another}]
  ignore-smtp-mail-from-rcpt-to: true
  reliable-queue: {redis: {hostname: localhost, port: 6379}}
  prometheus: {inet-interface: 0.0.0.0, inet-port: 9091}
transformer:
  email-headers: {inject: {List-Unsubscribe: "<mailto:unsub-{{uuid}}@{{from-domain}}>"}}
  reliable-queue: {redis: {hostname: localhost, port: 6379}}
  domain-settings:
    - domain: example.com
      dkim-private-key-file: ../dkim-example.com.pem
      return-path-domain: example.com
      selector: mailer
      beacon-url: "http://localhost:8090/{{ stream-id }}.gif"
  feedback-id: {campaign-id: campaign, mail-type: type, sender-id: sender}
  prometheus: {inet-interface: 0.0.0.0, inet-port: 9092}
postfixlog:
  logfile: /var/log/mail.log
  reliable-queue: {redis: {hostname: localhost, port: 6379}}
  postfix: {hostname: localhost, port: 25}
  prometheus: {inet-interface: 0.0.0.0, inet-port: 9093}
  string-replacer:
    main-cf: {myhostname: mxserver.example.com, mailname: example.com}
    master-cf: {smtpd-port: 25}
mxserver:
  bind: {inet-interface: localhost, inet-port: 8026}
  eml-directory: tmp
  abuse: {yahoo: {to: fbl@example.com}}
  reliable-queue: {redis: {hostname: localhost, port: 6379}}
  prometheus: {inet-interface: 0.0.0.0, inet-port: 9094}
backdata:
  reliable-queue: {redis: {hostname: localhost, port: 6379}}
  post-url: "http://localhost:8090"
  bounce-manager: {secret: secret, cid: 1, url: "http://localhost:8091"}
  prometheus: {inet-interface: 0.0.0.0, inet-port: 9095}
redis:
  reliable-queue: {redis: {hostname: localhost, port: 6379}}
  prometheus: {inet-interface: 0.0.0.0, inet-port: 9096}
common-config:
  object-storage:
    type: s3
    bucket: example
    region: us-east-1
    access-key-id: id
    secret-access-key: secret
    endpoint-url: https://s3.us-east-1.amazonaws.com
"""


def test_the_two_files_of_inboxbooster_mailer_load(tmp_path: Path) -> None:
    for name, text in (("global.yaml", GLOBAL), ("customer.yaml", CUSTOMER)):
        (tmp_path / name).write_text(text)
    found = load([tmp_path / "global.yaml", tmp_path / "customer.yaml"])
    assert (found.reliable_queue.queue_names.primary_queue, found.backdata.queue_name) == ("P0", "EVENTS")
    assert (found.transformer.x_mailer, found.receiver.ignore_smtp_mail_from_rcpt_to) == ("Shop", True)
    assert [one.username for one in found.receiver.auth_logins] == ["one", "two"]
    assert found.postfixlog.string_replacer.main_cf["mailname"] == "example.com"
    assert found.common_config.object_storage is not None and found.backdata.bounce_manager is not None
