# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a lab host: the web server that has the policies of MTA-STS (RFC 8461, section 3.3), by domain.

/run/policies.json says which mail server each names.
"""

import json
import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SERVERS = {f"mta-sts.{domain}": server for domain, server in json.loads(Path("/run/policies.json").read_text()).items()}
PATH = "/.well-known/mta-sts.txt"


class Policy(BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self) -> None:
        """The policy of the domain that is asked for."""
        server = SERVERS.get(self.headers.get("Host", ""))
        found = self.path == PATH and server is not None
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        if found:
            self.wfile.write(f"version: STSv1\r\nmode: enforce\r\nmx: {server}\r\nmax_age: 86400\r\n".encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class Server(ThreadingHTTPServer):
    """TLS is begun by the thread of a connection, so that a slow one holds up nobody."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("", 443), Policy)
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.tls.load_cert_chain("/etc/ssl/certs/lab-host.pem", "/etc/ssl/private/lab-host.key")

    def finish_request(self, request, client_address):  # type: ignore[no-untyped-def]
        """One connection."""
        super().finish_request(self.tls.wrap_socket(request, server_side=True), client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """Who breaks off is nobody's concern."""


Server().serve_forever()
