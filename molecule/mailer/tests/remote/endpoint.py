# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a lab host: an endpoint for events, over HTTPS with the host's own certificate.

What is posted to /NAME is added to /run/endpoint/NAME.jsonl. It answers 200, or what stands in
/run/endpoint/NAME.answer.
"""

import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path("/run/endpoint")
LOCK = threading.Lock()


class Endpoint(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Keep it, and say so."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        name = self.path.strip("/").replace("/", "-")
        told = FOLDER / f"{name}.answer"
        status = int(told.read_text()) if told.exists() else 200
        headers = {key.lower(): value for key, value in self.headers.items()}
        with LOCK, (FOLDER / f"{name}.jsonl").open("a") as file:
            file.write(json.dumps({"status": status, "headers": headers, "body": body}) + "\n")
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class Server(ThreadingHTTPServer):
    """TLS is begun by the thread of a connection, so that a slow one holds up nobody."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("", 8443), Endpoint)
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.tls.load_cert_chain("/etc/ssl/certs/lab-host.pem", "/etc/ssl/private/lab-host.key")

    def finish_request(self, request, client_address):  # type: ignore[no-untyped-def]
        """One connection."""
        super().finish_request(self.tls.wrap_socket(request, server_side=True), client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """Who breaks off is nobody's concern."""


FOLDER.mkdir(exist_ok=True)
Server().serve_forever()
