# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port 80 of the public name leads to the gateway, and nginx never stops for a configuration that is broken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from edges import NAMES, run
from lab.probe import Lab

# Stands for the gateway: tells what it was asked.
GATEWAY = """
import http.server, json, socket
class Answer(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        size = len(self.rfile.read(int(self.headers.get('Content-Length') or 0)))
        said = json.dumps({'path': self.path, 'size': size, **{k.lower(): v for k, v in self.headers.items()}}).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(said)))
        self.end_headers()
        self.wfile.write(said)
    do_GET = do_POST
http.server.HTTPServer(('0.0.0.0', 80), Answer).serve_forever()
"""
ASK = """
import sys, urllib.error, urllib.request as u
name, where, size = sys.argv[1:]
challenge = f'http://{where}/.well-known/acme-challenge/x'
wanted = u.Request(challenge, data=b'x' * int(size) or None, headers={'Host': name})
try:
    said = u.urlopen(wanted, timeout=10).read().decode()
    print('{"code": 200}' if said.startswith('<') else said)
except urllib.error.HTTPError as err:
    print('{"code": %d}' % err.code)
except OSError:
    print('{}')
"""
SPOILT = "/etc/nginx/conf.d/spoilt.conf"


@pytest.fixture(scope="module", autouse=True)
def gateway(lab: Lab) -> Iterator[None]:
    """A gateway that answers on port 80."""
    lab.run("relay1", ["systemd-run", "--quiet", "--unit=gateway", "python3", "-c", GATEWAY])
    lab.run("relay1", "until ss -Hltn sport = :80 | grep -q .; do sleep .1; done")
    yield
    lab.run("relay1", "systemctl stop gateway")


def ask(lab: Lab, edge: str, *, name: str = "", version: int = 4, size: int = 0) -> dict[str, Any]:
    """What the gateway was asked when a stranger asks for the name; ``code`` where somebody else answered."""
    where = lab.address(edge, version=version)
    argv = ["python3", "-c", ASK, name or NAMES[edge], f"[{where}]" if version == 6 else where, str(size)]
    found: dict[str, Any] = json.loads(lab.run("stranger", argv).stdout)
    return found


def assert_passed_on(lab: Lab, edge: str, version: int) -> None:
    """The gateway is asked, with a large body, and knows by whom and for which name."""
    seen = ask(lab, edge, version=version, size=3_000_000)
    assert (seen["path"], seen["size"], seen["host"]) == ("/.well-known/acme-challenge/x", 3_000_000, NAMES[edge])
    stranger = lab.address("stranger", version=version)
    assert [seen[name] for name in ("x-real-ip", "x-forwarded-for", "x-forwarded-proto")] == [
        stranger,
        stranger,
        "http",
    ]
    assert f"{stranger} - - " in lab.run(edge, ["cat", f"/var/log/nginx/{NAMES[edge]}.access.log"]).stdout


@pytest.mark.parametrize("version", [4, 6])
def test_the_gateway_is_asked_and_knows_for_whom(lab: Lab, version: int) -> None:
    assert_passed_on(lab, "edge", version)


def test_a_broken_configuration_never_stops_nginx(lab: Lab) -> None:
    """Somebody else's file, which nginx would not start with. The twin is the run after its repair."""
    lab.run("edge", f"echo 'server {{ lissten 81; }}' > {SPOILT}")
    other = {"edge_web_port": 8080}
    try:
        failed = run(lab, "edge", limit="edge", extra=other, must_pass=False)
        assert "nginx does not accept the configuration that is there" in failed.failures["edge"]
        assert "lissten" in failed.failures["edge"] and failed.changed == {}
        assert ask(lab, "edge")["host"] == NAMES["edge"]
    finally:
        lab.run("edge", ["rm", SPOILT])
    run(lab, "edge", limit="edge", extra=other)
    assert ask(lab, "edge") == {"code": 502}, "nobody listens at that port of the gateway"


def test_it_is_off_unless_asked_for(lab: Lab) -> None:
    """The other way round: edge-12, which had none, gets it, and nginx on edge, which may have other work, stays."""
    assert lab.run("edge-12", "command -v nginx", check=False).returncode == 1
    assert ask(lab, "edge-12") == {}
    run(lab, "edge", extra={"web": ["edge-12"]})
    assert_passed_on(lab, "edge-12", 4)
    assert "host" not in ask(lab, "edge")
    assert lab.run("edge", ["systemctl", "is-active", "nginx"]).stdout == "active\n"
