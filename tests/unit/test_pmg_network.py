# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""pmg_network by HTTPS against the fake of a gateway: what it sends, how often, and what it says when that fails."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _pmg_client, _pmg_run
from ansible_collections.postmaster.mail.plugins.module_utils._command import Result, Runner
from ansible_collections.postmaster.mail.plugins.module_utils._pmg import PmgError
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Answer, Api, Https, Shell, Unknown
from ansible_collections.postmaster.mail.plugins.modules import pmg_network, pmg_tls_inbound_domain
from fake_pmg import FakePmg, certificate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pmg_gateway import NETWORKS, RELEASES, Gateway, Node, gateway_of, needs_schema

WEB = {"cidr": "192.0.2.25", "comment": "web"}
# What a module's options are if nobody says anything.
OTHERS = {"state": "present", "reachable_from_outside": True, "host_bits": "refuse"}


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=RELEASES)
def gateway(request: pytest.FixtureRequest, pem: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setattr(_pmg_run, "WAITS", (0, 0, 0))
    monkeypatch.setattr(_pmg_client, "READ_WAITS", (0, 0, 0))
    with gateway_of(request.param, pem) as running:
        yield running


@needs_schema
def test_foreseen_done_and_done_with(gateway: Gateway) -> None:
    gateway.networks = {"198.51.100.0/24": "old", "2001:DB8::/32": ""}
    wanted = {"networks": [WEB, {"cidr": "2001:db8::/32"}], "purge": True}
    foreseen = gateway.run(check=True, **wanted)
    assert (foreseen["changed"], gateway.writes()) == (True, 0)
    done = gateway.run(**wanted)
    for said in (foreseen, done):
        assert said["changed_entries"] == ["192.0.2.25/32", "198.51.100.0/24"]
        assert said["entries"] == [
            {"cidr": "192.0.2.25/32", "comment": "web"},
            {"cidr": "2001:DB8::/32", "comment": ""},
        ]
        assert said["diff"] == {
            "before": "198.51.100.0/24  old\n2001:DB8::/32\n",
            "after": "192.0.2.25/32  web\n2001:DB8::/32\n",
        }
    assert gateway.networks == {"192.0.2.25/32": "web", "2001:DB8::/32": ""}
    writes = gateway.writes()
    for check in (True, False):
        assert gateway.run(check=check, **wanted)["changed"] is False
    assert gateway.writes() == writes == 2


@needs_schema
def test_every_spelling_goes(gateway: Gateway) -> None:
    gateway.networks = {"192.0.2.7/24": "a", "192.0.2.0/24": "b", "2001:DB8::/32": "", "203.0.113.0/24": ""}
    leaving = {"networks": [{"cidr": "192.0.2.0/24"}, {"cidr": "2001:db8::/32"}], "state": "absent"}
    assert gateway.run(**leaving)["changed_entries"] == ["192.0.2.0/24", "192.0.2.7/24", "2001:DB8::/32"]
    assert gateway.networks == {"203.0.113.0/24": ""}
    assert gateway.run(**leaving)["changed"] is False


class Direct:
    """A way to the fake without TLS, as a thousand handshakes take their time."""

    def __init__(self, fake: FakePmg) -> None:
        self.fake = fake
        said = fake.handle("POST", "/access/ticket", {"username": "root@pam", "password": "secret"}, {})
        assert said is not None
        data = said.body["data"]
        cookie = f"PMGAuthCookie={quote(data['ticket'], safe='')}"
        self.headers = {"Cookie": cookie, "CSRFPreventionToken": data["CSRFPreventionToken"]}

    def request(self, method: str, path: str, params: Any) -> Answer:
        said = self.fake.handle(method, path, dict(params), self.headers)
        assert said is not None
        return Answer(said.status, said.reason, said.body)


@needs_schema
def test_a_thousand_networks(gateway: Gateway) -> None:
    many = [
        {"cidr": f"192.0.{number // 250}.{number % 250 + 1}", "comment": f"host {number}"} for number in range(1000)
    ]
    another = [{**many[0], "comment": "another"}, *many[1:]]
    for networks, changes in ((many, 1000), (many, 0), (another, 1)):
        gateway.fake.log.clear()
        params = {"networks": networks, "purge": True, **OTHERS}
        said = pmg_network.run(params, Api(Direct(gateway.fake)), False)
        assert (len(said["changed_entries"]), said["requests"]) == (changes, 1 + changes)
        assert (gateway.fake.logins, gateway.fake.count("GET"), gateway.writes()) == (1, 1, changes)


@needs_schema
@pytest.mark.parametrize("fault", ["596 before", "596 after", "drop before", "drop after"])
def test_a_lost_answer_is_no_change_too_many(gateway: Gateway, fault: str) -> None:
    gateway.networks = {"203.0.113.0/24": ""}
    gateway.fake.faults.extend([fault, fault, fault])
    wanted = [WEB, {"cidr": "192.0.2.26"}, {"cidr": "192.0.2.27"}]
    assert gateway.run(networks=wanted, purge=True)["changed"] is True
    assert gateway.networks == {"192.0.2.25/32": "web", "192.0.2.26/32": "", "192.0.2.27/32": ""}
    refused = [entry for entry in gateway.fake.log if entry[3] == 500]
    assert refused == [], "something was asked for twice"


@needs_schema
def test_an_answer_that_takes_too_long_may_have_been_carried_out(pem: Path) -> None:
    """The twin has the patience."""
    with gateway_of("9.1", pem) as gateway:
        gateway.fake.faults.append("slow")
        try:
            done = gateway.run(networks=[WEB, {"cidr": "192.0.2.26"}], api_timeout=5)
        finally:
            gateway.fake.released.set()
        assert done["changed_entries"] == ["192.0.2.25/32", "192.0.2.26/32"]
        assert (gateway.networks, gateway.writes()) == ({"192.0.2.25/32": "web", "192.0.2.26/32": ""}, 2)
        gateway.fake.log.clear()
        gateway.fake.faults.append("slow")  # which is let go of at once now
        assert gateway.run(networks=[WEB], state="absent")["changed"] is True
        assert (gateway.fake.count("GET"), gateway.writes()) == (1, 1)


@needs_schema
def test_answers_that_are_lost_now_and_then(gateway: Gateway) -> None:
    gateway.fake.faults.extend(["", "596 after", "drop before"] * 12)
    many = [{"cidr": f"192.0.2.{number}"} for number in range(20)]
    assert len(gateway.run(networks=many)["changed_entries"]) == 20
    assert len(gateway.networks) == 20


@needs_schema
def test_a_gateway_that_goes_on_breaking_off(gateway: Gateway) -> None:
    gateway.fake.faults.extend(["", *["596 before"] * 9])
    said = gateway.run(networks=[WEB, {"cidr": "192.0.2.26"}], fails=True)["msg"]
    expected = "the network 192.0.2.26/32: the gateway broke off (596 Broken pipe) (1 of 2 changes are done); the next run goes on"
    assert said == f"{expected} from there"
    gateway.fake.faults.clear()
    assert gateway.run(networks=[WEB, {"cidr": "192.0.2.26"}])["changed_entries"] == ["192.0.2.26/32"]


@needs_schema
@pytest.mark.parametrize(
    "faults",
    [
        ["596 before"] * 3,  # the login, which the proxy hands on as it does a write
        ["596 after"] * 3,
        ["", "596 before", "drop before", "drop after"],  # the list
        ["", "", "596 before", "drop before"],  # the look at what became of a change
    ],
)
def test_what_reads_is_asked_for_again(gateway: Gateway, faults: list[str]) -> None:
    gateway.fake.read_faults.extend(faults)
    gateway.fake.faults.append("596 after")
    assert gateway.run(networks=[WEB])["changed_entries"] == ["192.0.2.25/32"]
    assert (gateway.networks, gateway.writes()) == ({"192.0.2.25/32": "web"}, 1)
    assert list(gateway.fake.read_faults) == []


@needs_schema
def test_but_not_for_ever(gateway: Gateway) -> None:
    gateway.fake.read_faults.extend(["596 before"] * 4)
    assert gateway.run(networks=[WEB], fails=True)["msg"] == "the gateway broke off (596 Broken pipe)"
    gateway.fake.read_faults.extend(["", "", *["596 before"] * 4])
    gateway.fake.faults.extend(["", "596 after"])
    said = gateway.run(networks=[WEB, {"cidr": "192.0.2.26"}], fails=True)["msg"]
    expected = "the network 192.0.2.26/32: the gateway broke off (596 Broken pipe) (1 of 2 changes are done); the next run goes on"
    assert said == f"{expected} from there"


@needs_schema
def test_somebody_else_was_faster(gateway: Gateway) -> None:
    gateway.fake.faults.append(lambda: gateway.fake.lists[NETWORKS].update({"192.0.2.25/32": {"comment": "theirs"}}))
    said = gateway.run(networks=[WEB], fails=True)["msg"]
    assert said == (
        "the network 192.0.2.25/32: the gateway says: add trusted network failed: trusted network '192.0.2.25/32' "
        "already exists (0 of 1 changes are done)"
    )


@needs_schema
def test_a_ticket_that_expires_is_renewed(gateway: Gateway) -> None:
    gateway.fake.faults.append(gateway.fake.tickets.clear)
    assert len(gateway.run(networks=[WEB, {"cidr": "192.0.2.26"}])["changed_entries"]) == 2
    assert gateway.fake.logins == 2


@needs_schema
def test_an_auditor_foresees_and_changes_nothing(gateway: Gateway) -> None:
    who = {"api_user": "auditor@pmg", "api_password": "reads"}
    assert gateway.run(check=True, networks=[WEB], **who)["changed"] is True
    said = gateway.run(networks=[WEB], fails=True, **who)["msg"]
    assert said == (
        "the network 192.0.2.25/32: the gateway says: Permission check failed (an account needs the role admin to write, "
        "audit to read) (0 of 1 changes are done)"
    )


@needs_schema
def test_who_is_not_let_in_is_told_why(gateway: Gateway) -> None:
    at = f"https://127.0.0.1:{gateway.port}/api2/json"
    said = gateway.run(networks=[WEB], api_password="wrong", fails=True)["msg"]
    assert said == f"{at} does not let root@pam in: authentication failure"
    said = gateway.run(networks=[WEB], api_user="root", fails=True)["msg"]
    assert said == "the user 'root' has no realm, which the gateway would take for a quarantine's: write root@pmg"
    said = gateway.run(networks=[WEB], ca_path=None, fails=True)["msg"]
    assert said == f"{at} shows a certificate that nobody here knows: give its authority's file as ca_path"
    assert gateway.run(networks=[WEB], ca_path=None, validate_certs=False)["changed"] is True
    gateway.fake.second_factor = True
    said = gateway.run(networks=[WEB], fails=True)["msg"]
    assert said == "root@pam has to show a second factor, which nobody is there to give: name an account without"


def test_nobody_answers(pem: Path) -> None:
    nowhere = Gateway(FakePmg([]), 1, str(pem))
    said = nowhere.run(networks=[WEB], fails=True)["msg"]
    assert said.startswith("https://127.0.0.1:1/api2/json cannot be reached: no answer (")
    assert "Connection refused" in said


BAD: list[tuple[dict[str, Any], str]] = [
    ({"networks": [WEB, {"cidr": "192.0.2.7/24"}]}, "networks[1]: 192.0.2.7/24 has bits set beyond its prefix"),
    ({"networks": [{"cidr": "10.0.0.0/8"}]}, "networks[0]: 10.0.0.0/8 is private"),
    ({"networks": [{**WEB, "comment": "a\n10.0.0.0/8"}]}, "networks[0]: the comment has a line break"),
    (
        {"networks": [{**WEB, "comment": "5 €"}]},
        "networks[0]: the comment has letters beyond Latin-1, which the gateway would garble",
    ),
    ({"networks": [WEB, {"cidr": "192.0.2.25/32"}]}, "the network 192.0.2.25/32 and 192.0.2.25/32 is given 2 times"),
    ({"state": "absent", "purge": True}, "purge goes with state present"),
]


@needs_schema
@pytest.mark.parametrize(("options", "said"), BAD)
def test_what_is_refused_is_not_sent(gateway: Gateway, options: dict[str, Any], said: str) -> None:
    assert gateway.run(fails=True, **options)["msg"].startswith(said)
    assert gateway.fake.log == []


@needs_schema
@pytest.mark.parametrize("state", ["present", "absent"])
def test_bits_beyond_a_prefix_are_refused_or_warned_of(gateway: Gateway, state: str) -> None:
    given = {"networks": [{"cidr": "192.0.2.7/24"}], "state": state}
    gateway.networks = {} if state == "present" else {"192.0.2.0/24": "", "192.0.2.9/24": ""}
    said = gateway.run(fails=True, **given)["msg"]
    assert said == "networks[0]: 192.0.2.7/24 has bits set beyond its prefix: did you mean 192.0.2.0/24?"
    assert gateway.fake.log == []
    for changed in (True, False):
        done = gateway.run(host_bits="warn", **given)
        assert done["changed"] is changed
        assert "192.0.2.7/24 has bits set beyond its prefix: it is taken for 192.0.2.0/24" in str(done["warnings"])
    assert gateway.networks == ({"192.0.2.0/24": ""} if state == "present" else {})
    # What nobody may trust is not let in by that.
    wide = {"networks": [{"cidr": "10.0.0.1/8"}], "host_bits": "warn"}
    assert gateway.run(fails=True, **wide)["msg"].startswith("networks[0]: 10.0.0.0/8 is private")


@needs_schema
@pytest.mark.parametrize("comment", ["ü # x ;&=+%", "-x", "--", "\xb7\xff"])
def test_comments_that_look_like_something_else(gateway: Gateway, comment: str) -> None:
    """To a form, a command line or a file of lines."""
    for way in (gateway.run, partial(on_the_node, Node(gateway.fake))):
        gateway.networks = {}
        assert [way(networks=[{**WEB, "comment": comment}])["changed"] for dummy in range(2)] == [True, False]
        assert gateway.networks == {"192.0.2.25/32": comment}


@needs_schema
def test_private_networks_where_nobody_outside_comes(gateway: Gateway) -> None:
    private = [{"cidr": "10.0.0.0/8"}, {"cidr": "192.168.0.0/16"}]
    assert gateway.run(networks=private, reachable_from_outside=False)["changed"] is True
    # Taking them away needs no such word.
    assert gateway.run(networks=private, state="absent")["changed"] is True


@needs_schema
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(cidr=st.text(), comment=st.none() | st.text())
def test_hostile_values_never_end_in_a_traceback(gateway: Gateway, cidr: str, comment: str | None) -> None:
    before = gateway.networks
    result = gateway.run(networks=[{"cidr": cidr, "comment": comment}], check=True, fails=True)
    assert "Traceback" not in result["msg"]
    assert (gateway.networks, gateway.writes()) == (before, 0)


def on_the_node(node: Node, **options: Any) -> dict[str, Any]:
    params = {"purge": False, **OTHERS, **options}
    return pmg_network.run(params, Api(Shell(node)), False)


class Slow(Runner):
    """A node on which pmgsh takes its time, and does what it should."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def run(self, argv: Any, **options: Any) -> Any:
        done = self.node.run(argv, **options)
        if "create" in argv:
            Runner().run(["sleep", "60"], timeout=0.01)
        return done


@needs_schema
def test_pmgsh_that_does_not_end_in_time_may_have_done_it(gateway: Gateway) -> None:
    params = {"networks": [WEB], "purge": False, **OTHERS}
    assert pmg_network.run(params, Api(Shell(Slow(Node(gateway.fake)))), False)["changed"] is True
    assert (gateway.networks, gateway.writes()) == ({"192.0.2.25/32": "web"}, 1)


def test_what_perl_says_of_its_locale_hides_no_handler() -> None:
    class Warning(Runner):
        def run(self, argv: Any, **options: Any) -> Result:
            return Result(
                tuple(argv), 255, "", f"perl: warning: Setting locale failed.\nno 'get' handler for '{argv[2]}'\n"
            )

    with pytest.raises(Unknown):
        Api(Shell(Warning())).get("/config/welcomelist/objects")


@needs_schema
def test_the_list_that_pmgsh_does_not_show(gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "tls_inbound_domains"
    file.write_text("# by hand\nexample.org reject_plaintext_session\n\nodd line\n")
    monkeypatch.setattr(_pmg_client, "INBOUND_DOMAINS", str(file))
    gateway.fake.lists["/config/tls-inbound-domains"] = {"example.org": {}}
    api = Api(Shell(Node(gateway.fake)))
    params = {"domains": ["example.net"], "state": "present", "purge": True}
    assert pmg_tls_inbound_domain.run(params, api, False)["changed_entries"] == ["example.net", "example.org"]
    assert [*gateway.fake.lists["/config/tls-inbound-domains"]] == ["example.net"]
    file.unlink()
    with pytest.raises(PmgError, match="tls_inbound_domains cannot be read: No such file or directory$"):
        api.get("/config/tls-inbound-domains")


@needs_schema
def test_on_the_node_itself(gateway: Gateway) -> None:
    node = Node(gateway.fake)
    params = {"networks": [WEB], "purge": False, **OTHERS}
    for changed in (True, False):
        assert pmg_network.run(params, Api(Shell(node)), False)["changed"] is changed
    assert node.argvs[:2] == [
        ["pmgsh", "get", "/config/mynetworks"],
        ["pmgsh", "create", "/config/mynetworks", "--cidr", "192.0.2.25/32", "--comment", "web"],
    ]
    assert pmg_network.run({**params, "state": "absent"}, Api(Shell(node)), False)["changed"] is True
    assert node.argvs[-1] == ["pmgsh", "delete", "/config/mynetworks/192.0.2.25/32"]  # not as a URL has it
    assert gateway.networks == {}
    with pytest.raises(PmgError, match=r"^the gateway says: trusted network 'x' does not exist$"):
        Api(Shell(node)).get("/config/mynetworks/x")


def test_a_host_that_is_no_gateway_is_told() -> None:
    with pytest.raises(PmgError, match="pmgsh cannot be started: .+ use the transport https$"):
        Api(Shell(Runner())).get("/config/mynetworks")


def test_a_ticket_follows_no_other_address() -> None:
    """Somebody who answers with a redirection is not told the password or the ticket again."""
    seen: list[dict[str, Any]] = []

    def opener(url: str, **options: Any) -> Any:
        seen.append({"url": url, **options})
        raise OSError("nobody there")

    with pytest.raises(PmgError, match="cannot be reached"):
        Api(Https("2001:db8::1", "root@pam", "hunter2", opener=opener)).get("/version")
    (one,) = seen
    assert one["url"] == "https://[2001:db8::1]:8006/api2/json/access/ticket"
    assert (one["follow_redirects"], one["validate_certs"], one["use_proxy"]) == ("none", True, False)


@pytest.mark.parametrize("host", ["pmg.example.org/evil", "user@pmg.example.org", "pmg example", ".example.org", ""])
def test_a_host_that_is_none(host: str) -> None:
    with pytest.raises(PmgError, match="is no domain: write one such as"):
        Https(host, "root@pam", "x")


def test_secrets_are_not_shown() -> None:
    assert "hunter2" not in repr(Https("pmg.example.org", "root@pam", "hunter2"))
