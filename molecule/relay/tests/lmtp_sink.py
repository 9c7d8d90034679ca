# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a lab host: an LMTP server (RFC 2033) that knows everybody but nobody@, and keeps all in /run/lmtp-sink."""

import socketserver


class Session(socketserver.StreamRequestHandler):
    """One client. Of LMTP only what Postfix says to it: a reply after the data for each recipient."""

    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def handle(self):
        recipients, data, log = 0, False, []
        self.say("220 sink LMTP")
        for raw in self.rfile:
            line = raw.decode(errors="replace").rstrip("\r\n")
            log.append(line)
            if data:
                if line == ".":
                    with open("/run/lmtp-sink", "a") as file:
                        file.write("\n".join(log) + "\n")
                    for dummy in range(recipients):
                        self.say("250 2.0.0 kept")
                    recipients, data = 0, False
                continue
            verb = line.split(" ")[0].upper()
            if verb == "RCPT" and "<nobody@" in line:
                self.say("550 5.1.1 no such user here")
                continue
            recipients += verb == "RCPT"
            data = verb == "DATA"
            self.say({"DATA": "354 go on", "QUIT": "221 bye", "LHLO": "250 sink"}.get(verb, "250 2.0.0 fine"))
            if verb == "QUIT":
                return


socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("127.0.0.1", 2424), Session).serve_forever()
