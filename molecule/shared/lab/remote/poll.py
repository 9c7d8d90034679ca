# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a lab host: asks servers again and again to relay a message, and counts what they answer.

Goes on until ``seconds`` have passed or the file ``while`` is gone, and once at least.
"""

import base64
import collections
import json
import os
import smtplib
import sys
import threading
import time
from typing import Any

options = json.loads(base64.b64decode(sys.argv[1]))
end = time.monotonic() + options["seconds"]


def ask(source: str, server: str) -> str:
    """How far the server goes along: ``refused``, or the step it said no to and its code, or ``taken``."""
    client = smtplib.SMTP(local_hostname=options["helo"], timeout=20, source_address=(source, 0))
    try:
        code = client.connect(server, 25)[0]
        if code != 220:
            return f"connect {code}"
        client.ehlo()
        for step in (f"MAIL FROM:<{options['sender']}>", f"RCPT TO:<{options['recipient']}>"):
            code = client.docmd(step)[0]
            if code >= 300:
                return f"{step[:4]} {code}"
        return "taken"
    except ConnectionRefusedError:
        return "refused"
    except (OSError, smtplib.SMTPException) as err:
        return type(err).__name__
    finally:
        client.close()


def watch(routes: list[list[str]], answers: "collections.Counter[str]") -> None:
    """One server, by each of its addresses in turn."""
    while True:
        for source, server in routes:
            answers[ask(source, server)] += 1
            time.sleep(options["pause"])
        if time.monotonic() > end or not os.path.exists(options["while"]):
            return


answers: dict[str, Any] = {name: collections.Counter() for name in options["servers"]}
threads = [threading.Thread(target=watch, args=(options["servers"][name], answers[name])) for name in answers]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(answers))
