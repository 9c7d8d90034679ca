# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a lab host: prints the messages of a Maildir that contain a token, waiting for so many if asked."""

import base64
import json
import os
import sys
import time

options = json.loads(base64.b64decode(sys.argv[1]))
token = options["token"].encode()
seen: dict[str, tuple[int, bytes]] = {}
end = time.monotonic() + options["timeout"]
while True:
    for folder in ("new", "cur"):
        try:
            entries = list(os.scandir(os.path.join(options["maildir"], folder)))
        except FileNotFoundError:
            continue
        for entry in entries:
            # An IMAP server moves messages to cur and adds flags to their names, perhaps in this moment.
            name = entry.name.partition(":")[0]
            if name in seen:
                continue
            try:
                with open(entry.path, "rb") as file:
                    seen[name] = (os.stat(file.fileno()).st_mtime_ns, file.read())
            except FileNotFoundError:
                continue
    found = [content for dummy, content in sorted(seen.values()) if token in content]
    if len(found) >= options["count"] or time.monotonic() >= end:
        break
    time.sleep(0.1)
print(json.dumps([base64.b64encode(content).decode() for content in found]))
