# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role pmg, run by ansible-playbook on this machine against the fake of a gateway, and what is written about it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible_collections.postmaster.mail.plugins.module_utils import _pmg_run, _pmg_tasks
from ansible_collections.postmaster.mail.plugins.modules import (
    pmg_acme,
    pmg_certificate,
    pmg_config,
    pmg_dkim,
    pmg_domain,
    pmg_info,
    pmg_network,
    pmg_tls_inbound_domain,
    pmg_tls_policy,
    pmg_transport,
    pmg_user,
    pmg_welcomelist,
)
from fake_pmg import certificate
from fake_pmg_node import issue
from pmg_gateway import AUDITOR, RELEASES, Gateway, gateway_of, needs_schema

ROLE = Path(__file__).resolve().parents[2] / "roles" / "pmg"
FULL = os.environ.get("MAIL_TEST_FULL") == "1"
HOST = "gateway.example.org"  # which nobody reaches: the API is asked from here
PLAY = """
- hosts: gateways
  gather_facts: false
  roles: [postmaster.mail.pmg]
"""
CERTIFICATE, KEY = issue(["mx.example.org"], issuer="An authority")
EXAMPLE = ROLE.parents[1] / "playbooks/inventories/example/group_vars/pmg_gateways/gateway.yml"
# The example that people copy, and a certificate of one's own instead of one by ACME.
DESCRIBED: dict[str, Any] = {
    **yaml.safe_load(EXAMPLE.read_text()),
    "pmg_certificates": [{"type": "api", "source": "acme"}, {"type": "smtp", "certificate": CERTIFICATE, "key": KEY, "names": ["mx.example.org"]}],
    "vault_pmg_password": "secret", "vault_pmg_monitor_password": "a long secret", "vault_pmg_nsupdate_key": "hunter2",
}  # fmt: skip


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["9.1"])
def gateway(request: pytest.FixtureRequest, pem: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setattr(_pmg_run, "WAITS", (0, 0, 0))
    monkeypatch.setattr(_pmg_tasks, "PAUSE", 0)
    with gateway_of(request.param, pem) as running:
        running.node.polls = 0
        yield running


def play(
    gateway: Gateway,
    folder: Path,
    variables: dict[str, Any],
    *words: str,
    fails: bool = False,
    environment: dict[str, str] | None = None,
) -> tuple[int, str]:
    """How many tasks changed something, and all that was said."""
    told = {
        "ansible_python_interpreter": sys.executable, "pmg_api_host": "127.0.0.1", "pmg_api_port": gateway.port,
        **variables, "pmg_ca_path": gateway.ca_path,
    }  # fmt: skip
    inventory = {"gateways": {"hosts": {HOST: {"ansible_host": "192.0.2.99", **told}}}}
    (folder / "hosts.json").write_text(json.dumps(inventory))
    (folder / "play.yml").write_text(PLAY)
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "hosts.json", "play.yml", "--diff", *words]
    around = {
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "PMG_PASSWORD": "secret",
        **(environment or {}),
    }
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **around}, capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    assert (done.returncode != 0) is fails, said[-6000:]
    counted = re.search(rf"^{HOST}\s+: .* changed=(\d+)", said, re.MULTILINE)
    assert counted, said[-3000:]
    return int(counted[1]), said


@needs_schema
@pytest.mark.parametrize("gateway", RELEASES if FULL else RELEASES[:1], indirect=True)
def test_a_whole_gateway(gateway: Gateway, tmp_path: Path) -> None:
    """Check, apply, check, apply; nothing is written by a check, nothing is changed twice, and no secret is said."""
    foreseen, told = play(gateway, tmp_path, DESCRIBED, "--check")
    assert gateway.writes() == 0
    done, said = play(gateway, tmp_path, DESCRIBED, "-v")
    assert foreseen == done == 12
    for text in (told, said):
        assert "hunter2" not in text and "a long secret" not in text and KEY.splitlines()[1] not in text
    fake, node = gateway.fake, gateway.node
    mail = {"int_port": 25, "ext_port": 26, "smarthost": "smtp-relay.example.net", "smarthostport": 587, "tls": 1}
    assert fake.sections["mail"] == mail
    assert gateway.networks == {"10.1.0.0/16": "servers", "2001:db8:1::/64": "servers"}
    assert node.keys["smtp"] == KEY and set(node.contacts) == {"default"} and len(node.backups) == 1
    _in_a_safe_order(gateway)
    writes = gateway.writes()
    for words in (["--check"], []):
        assert play(gateway, tmp_path, DESCRIBED, *words)[0] == 0
    assert gateway.writes() == writes


def _in_a_safe_order(gateway: Gateway) -> None:
    """The backup before everything, certificates before TLS, transports before domains."""
    steps = [
        "/nodes/localhost/backup", "/access/users", "/config/acme/account", "/nodes/localhost/config",
        "/nodes/localhost/certificates/acme/api", "/config/mail", "/config/transport", "/config/domains",
    ]  # fmt: skip
    places = [next(number for number, one in enumerate(written(gateway)) if one == step) for step in steps]
    assert places == sorted(places)


def written(gateway: Gateway) -> list[str]:
    """The paths of requests that may have changed something."""
    return [path for method, path, dummy, dummy2 in gateway.fake.log if method != "GET" and path != "/access/ticket"]


@needs_schema
@pytest.mark.parametrize("outside", [True, False])
def test_no_network_is_trusted_on_a_port_that_is_open_to_more(gateway: Gateway, tmp_path: Path, outside: bool) -> None:
    """Ports are the last, but where the port for one's own hosts is closed first."""
    described = {
        "pmg_networks": [{"cidr": "192.0.2.25" if outside else "10.0.0.0/8"}],
        "pmg_mail": {"int_port": 25, "ext_port": 26}, "pmg_backup": False, "pmg_reachable_from_outside": outside,
    }  # fmt: skip
    assert play(gateway, tmp_path, described)[0] == 2
    steps = ["/config/mynetworks", "/config/mail"]
    assert written(gateway) == (steps if outside else steps[::-1])


# A stand-in for the program on a gateway: it asks the fake, and prints as pmgsh does.
PMGSH = """#!{python}
import json, ssl, sys
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

def ask(method, path, given, headers):
    data = urlencode(given).encode() if given else None
    request = Request("https://127.0.0.1:{port}/api2/json" + path, data, headers, method=method)
    return json.load(urlopen(request, context=ssl.create_default_context(cafile="{ca}")))["data"]

verb, path, *words = sys.argv[1:]
who = ask("POST", "/access/ticket", {{"username": "root@pam", "password": "secret"}}, {{}})
headers = {{"Cookie": "PMGAuthCookie=" + quote(who["ticket"], safe=""), "CSRFPreventionToken": who["CSRFPreventionToken"]}}
given = {{name[2:]: text for name, text in zip(words[::2], words[1::2])}}
try:
    found = ask({{"get": "GET", "create": "POST", "set": "PUT", "delete": "DELETE"}}[verb], quote(path), given, headers)
except HTTPError as err:
    sys.exit(err.reason)
print("starting\\n" + found if isinstance(found, str) else json.dumps(found), end="")
"""


@needs_schema
def test_on_the_gateway_itself(gateway: Gateway, tmp_path: Path) -> None:
    """By pmgsh, of which there is a stand-in on this machine, and without a password; secrets are refused."""
    program = tmp_path / "pmgsh"
    program.write_text(PMGSH.format(python=sys.executable, port=gateway.port, ca=gateway.ca_path))
    program.chmod(0o755)
    described = {
        "ansible_connection": "local", "pmg_api_transport": "pmgsh", "ansible_become": False,
        **{name: DESCRIBED[name] for name in ("pmg_networks", "pmg_domains", "pmg_reachable_from_outside")},
    }  # fmt: skip
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert play(gateway, tmp_path, described, environment=path)[0] == 2
    assert len(gateway.node.backups) == 1 and set(gateway.networks) == {"10.1.0.0/16", "2001:db8:1::/64"}
    secret = {**described, "pmg_users": DESCRIBED["pmg_users"], "vault_pmg_monitor_password": "a long secret"}
    changed, said = play(gateway, tmp_path, secret, fails=True, environment=path)
    assert changed == 0 and "on its command line" in said and "a long secret" not in said


@needs_schema
def test_a_gateway_that_is_adopted_stays_as_it_is(gateway: Gateway, tmp_path: Path) -> None:
    """What pmg_info says of a gateway set up by hand, given to the role with purge, changes nothing."""
    by_hand(gateway)
    for name in ("/config/mynetworks", "/config/domains"):  # one of two spellings goes where a list is purged
        gateway.fake.lists[name].popitem() if name.endswith("domains") else gateway.fake.lists[name].pop("192.0.2.7/24")
    variables = gateway.run(module=pmg_info)["variables"]
    before = state(gateway)
    changed, said = play(gateway, tmp_path, {**variables, "pmg_purge": True})
    assert changed == 0, said
    assert (gateway.writes(), state(gateway)) == (0, before)


@needs_schema
def test_and_so_it_does_module_by_module(pem: Path) -> None:
    """The same with two spellings of one thing, in both releases, by the modules alone and without purge."""
    for release in RELEASES:
        with gateway_of(release, pem) as gateway:
            by_hand(gateway)
            found = gateway.run(module=pmg_info)["variables"]
            before = state(gateway)
            for module, given in calls(found):
                assert gateway.run(module=module, **given)["changed"] is False, (release, module)
            assert (gateway.writes(), state(gateway)) == (0, before)


def calls(found: dict[str, Any]) -> list[tuple[ModuleType, dict[str, Any]]]:
    """What the role does with its variables."""
    sections = ("mail", "admin", "spam", "spamquar", "virusquar", "clamav")
    acme = {name: found[f"pmg_acme_{name}"] for name in ("account", "plugins", "domains")}
    return [
        (pmg_user, {"users": found["pmg_users"]}),
        (pmg_acme, acme),
        *((pmg_certificate, one) for one in found["pmg_certificates"]),
        (pmg_config, {section: found[f"pmg_{section}"] for section in sections}),
        (pmg_tls_policy, {"policies": found["pmg_tls_policies"]}),
        (pmg_tls_inbound_domain, {"domains": found["pmg_tls_inbound_domains"]}),
        (pmg_transport, {"transports": found["pmg_transports"]}),
        (pmg_domain, {"domains": found["pmg_domains"]}),
        (pmg_welcomelist, found["pmg_welcomelist"]),
        (pmg_dkim, found["pmg_dkim"]),
        (
            pmg_network,
            {"networks": found["pmg_networks"], "reachable_from_outside": found["pmg_reachable_from_outside"]},
        ),
    ]


def by_hand(gateway: Gateway) -> None:
    """As people leave a gateway: spellings of all kinds, and what no module would write."""
    fake, node = gateway.fake, gateway.node
    gateway.run(module=pmg_dkim, selector="old")
    someone = {"userid": "op@pmg", "role": "helpdesk", "password": "a long secret", "comment": "x", "enable": False}
    gateway.run(module=pmg_user, users=[someone, {"userid": "root@pam", "email": "ops@example.org"}])
    gateway.run(module=pmg_welcomelist, regexes=[r".*@partner\d+\.example"], networks=["192.0.2.0/24"])
    fake.log.clear()
    fake.sections["mail"] = {
        "int_port": 25,
        "ext_port": 26,
        "relay": "192.0.2.5",
        "tls": 1,
        "dnsbl_sites": "zen.example",
        "spf": 0,
    }
    fake.sections["admin"] = {
        "email": "ops@example.org",
        "dkim_selector": "old",
        "dkim_sign": 1,
        "dkim_sign_all_mail": 1,
        "http_proxy": "http://user:hunter2@proxy:3128",
        "dkim-use-domain": "header",
    }
    fake.sections["spamquar"] = {"viewimages": "on-demand" if fake.release == "9.1" else 0}
    fake.lists["/config/mynetworks"] = {
        "192.0.2.7/24": {"comment": "bits"},
        "192.0.2.0/24": {},
        "10.0.0.0/8": {},
        "2001:DB8::/32": {"comment": "höhere"},
    }
    fake.lists["/config/domains"] = {"Example.ORG": {"comment": "x"}, "example.org": {}}
    fake.lists["/config/transport"] = {
        "example.org": {"host": "192.0.2.5", "comment": "in"},
        "a@example.net": {"host": "mx.example.net", "protocol": "lmtp", "port": "24"},
    }
    fake.lists["/config/tlspolicy"] = {"[192.0.2.5]": {"policy": "dane"}}
    fake.lists["/config/tls-inbound-domains"] = {"Bank.example": {}}
    fake.lists["/config/dkim/domains"] = {"example.org": {"comment": ""}}
    node.contacts["mine"] = {"account": {"contact": ["mailto:a@example.org"]}, "directory": "https://acme.example/dir"}
    node.plugins["cf"] = {
        "type": "dns",
        "api": "cf",
        "data": "Q0ZfVG9rZW49aHVudGVyMg==",
        "validation-delay": 0,
        "disable": 1,
    }
    node.config = {"acme": "account=mine", "acmedomain3": "Pmg.example.org,usage=smtp;api,plugin=cf"}
    node.certificates = {
        "api": issue(["pmg.example.org"], issuer="X")[0],
        "smtp": issue(["mx.example.org"], issuer="X")[0],
    }


def state(gateway: Gateway) -> str:
    fake, node = gateway.fake, gateway.node
    return repr((fake.sections, fake.lists, fake.users, node.contacts, node.plugins, node.config, node.certificates))


@needs_schema
@pytest.mark.parametrize("release", ["9.1", "8.2"])
def test_what_is_read_and_what_is_left_out(pem: Path, release: str) -> None:
    with gateway_of(release, pem) as gateway:
        by_hand(gateway)
        said = gateway.run(module=pmg_info, check=True)
        assert (said["changed"], said["release"], gateway.writes()) == (False, release, 0)
        assert (
            "hunter2" not in json.dumps(said)
            and "a long secret" not in json.dumps(said)
            and "Q0ZfVG9rZW49" not in json.dumps(said)
        )
        found = said["variables"]
        assert found["pmg_mail"] == {
            "dnsbl_sites": "zen.example",
            "ext_port": 26,
            "int_port": 25,
            "relay": "192.0.2.5",
            "spf": False,
            "tls": True,
        }
        assert found["pmg_admin"] == {"email": "ops@example.org"}
        assert [one["cidr"] for one in found["pmg_networks"]] == ["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"]
        assert found["pmg_reachable_from_outside"] is False
        assert found["pmg_users"] == [
            {"userid": "auditor@pmg", "role": "audit", "enable": True, "expire": 0},
            {"userid": "op@pmg", "comment": "x", "role": "helpdesk", "enable": False, "expire": 0},
            {"userid": "root@pam", "email": "ops@example.org"},
        ]
        assert found["pmg_welcomelist"] == {"regexes": [r".*@partner\d+\.example"], "networks": ["192.0.2.0/24"]}
        assert found["pmg_dkim"] == {
            "selector": "old", "sign": True, "sign_all_mail": True, "use_domain": "header", "domains": [{"domain": "example.org"}],
        }  # fmt: skip
        assert found["pmg_acme_account"] == {
            "name": "mine",
            "contact": ["a@example.org"],
            "directory": "https://acme.example/dir",
        }
        assert found["pmg_acme_plugins"] == [{"id": "cf", "api": "cf", "validation_delay": 0, "disable": True}]
        assert found["pmg_acme_domains"] == [{"domain": "pmg.example.org", "usage": ["api", "smtp"], "plugin": "cf"}]
        assert found["pmg_certificates"] == [{"type": "api", "source": "acme"}]
        left = [one.partition(":")[0] for one in said["left_out"]]
        assert left[:3] == ["admin.http_proxy", "the private key for DKIM stays on the gateway", "ACME plugin cf"]
        assert left[3].startswith("the certificate for smtp (mx.example.org, until ")
        specified = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
        assert set(found) <= set(specified)
        as_auditor = gateway.run(module=pmg_info, **AUDITOR)
        assert as_auditor["variables"]["pmg_acme_account"] == {"name": "mine"}
        assert "ACME plugins: only the role admin may see them" in as_auditor["left_out"]


BAD: list[tuple[dict[str, Any], str]] = [
    (
        {"pmg_keyring_checksum": "sha256:abc"},
        "pmg_keyring_checksum sha256:abc is no checksum: write sha256: and 64 digits",
    ),
    ({"pmg_repository_url": "mirror"}, "pmg_repository_url, pmg_keyring_url: mirror is no address: write one such as"),
    (
        {"pmg_certificates": [{"type": "imap"}]},
        "pmg_certificates: a gateway has no certificate for imap: say type: api or smtp",
    ),
    ({"pmg_certificates": [{"type": "api"}, {"type": "api"}]}, "pmg_certificates: each type is given once"),
]


@needs_schema
def test_variables_that_make_no_sense(gateway: Gateway, tmp_path: Path) -> None:
    """All of them are told at once, and nothing is asked."""
    merged = {**BAD[0][0], **BAD[1][0], "pmg_certificates": [{"type": "imap"}, {"type": "imap"}]}
    dummy, said = play(gateway, tmp_path, merged, fails=True)
    for sentence in (text for dummy2, text in BAD):
        assert sentence in said
    assert gateway.fake.log == []


# -- what is written about it -------------------------------------------------------------------


def options() -> dict[str, dict[str, Any]]:
    found = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert isinstance(found, dict)
    return found


def test_defaults_are_those_of_the_specification() -> None:
    assert yaml.safe_load((ROLE / "defaults/main.yml").read_text()) == {
        name: one["default"] for name, one in options().items()
    }


def test_the_readme_has_every_variable() -> None:
    rows = []
    for name, option in options().items():
        text = " ".join(option["description"]) if isinstance(option["description"], list) else option["description"]
        text = re.sub(r"\b[CVOMP]\(([^)#]*)(#[\w:]+)?\)", r"`\1`", " ".join(text.split()))
        default = yaml.safe_dump(option["default"], default_flow_style=True, width=200).split("\n", maxsplit=1)[0]
        rows.append(f"| `{name}` | {option['type']} | `{default}` | {text} |")
    text = (ROLE / "README.md").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("| `pmg_")] == rows
