# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a mail server: stands in for a Dovecot that goes away in the middle of a message, and then lets it back.

Prints how many commands it had taken.
"""

import base64
import json
import os
import socket
import subprocess
import sys

options = json.loads(base64.b64decode(sys.argv[1]))
PATH = "/run/dovecot/lmtp"

subprocess.run(["systemctl", "stop", "dovecot"], check=True)
try:
    os.makedirs(os.path.dirname(PATH), exist_ok=True)
    if os.path.exists(PATH):
        os.unlink(PATH)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(PATH)
        os.chmod(PATH, 0o666)
        listener.listen()
        listener.settimeout(options["patience"])
        connection, _peer = listener.accept()
    with connection, connection.makefile("rwb", buffering=0) as stream:
        stream.write(b"220 here\r\n")
        commands = 1
        while not stream.readline().upper().startswith(b"DATA"):
            stream.write(b"250 yes\r\n")
            commands += 1
        # Nobody reads any more: the first byte of the message breaks the pipe.
        connection.shutdown(socket.SHUT_RD)
        stream.write(b"354 go on\r\n")
    os.unlink(PATH)
finally:
    subprocess.run(["systemctl", "start", "dovecot"], check=True)
print(json.dumps({"commands": commands}))
