# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hand mail in until it is not taken any more. The uuids of what was taken lie in /out/accepted, one a line."""

from __future__ import annotations

import itertools
import os
import smtplib
import ssl
import time
from pathlib import Path

context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
while True:
    try:
        session = smtplib.SMTP("127.0.0.1", 587, timeout=30)
        break
    except OSError:  # it is starting
        time.sleep(0.5)
session.starttls(context=context)
session.login("someuser", "aDecentlyStrongPassword")
with Path("/out/accepted").open("a") as accepted:
    for number in itertools.count():
        uuid = f"m{os.getpid()}n{number}"
        text = f"From: shop@example.com\r\nTo: b@example.net\r\nX-Uuid: {uuid}\r\nSubject: x\r\n\r\nhello\r\n"
        session.sendmail("shop@example.com", ["b@example.net"], text)
        print(uuid, file=accepted, flush=True)
