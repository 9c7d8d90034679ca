# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway that signs, by HTTPS and by pmgsh against the fake: nothing is signed that may not be published."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _pmg_options, _pmg_run
from ansible_collections.postmaster.mail.plugins.module_utils._dkim import DkimKey, DkimRecord, generate
from ansible_collections.postmaster.mail.plugins.module_utils._pmg import PmgError
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_dkim import record_of
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_dkim_run import KeyFiles
from ansible_collections.postmaster.mail.plugins.modules import pmg_dkim
from fake_pmg import certificate
from fake_pmg_lists import Dkim
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pmg_gateway import RELEASES, Gateway, Node, gateway_of, needs_schema

DOMAINS = "/config/dkim/domains"
EXAMPLE = {"domain": "example.org"}
KEY = generate("rsa", 1024)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=RELEASES)
def gateway(request: pytest.FixtureRequest, pem: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """Its keys lie where the module on the node looks for them."""
    monkeypatch.setattr(_pmg_run, "WAITS", (0, 0, 0))
    with gateway_of(request.param, pem) as running:
        monkeypatch.setattr(_pmg_options, "Runner", lambda: Node(running.fake))
        monkeypatch.setattr(pmg_dkim, "KeyFiles", partial(KeyFiles, str(part(running).folder)))
        yield running


def part(gateway: Gateway) -> Dkim:
    dkim: Dkim = gateway.fake.parts["dkim"]
    return dkim


def run(gateway: Gateway, **options: Any) -> dict[str, Any]:
    return gateway.run(module=pmg_dkim, **options)


def on_the_node(gateway: Gateway, **options: Any) -> dict[str, Any]:
    return run(gateway, api_transport="pmgsh", **options)


def signing(gateway: Gateway) -> None:
    """A gateway that signs for example.org under s1."""
    dkim = part(gateway)
    dkim.file("s1").write_bytes(KEY.pem)
    gateway.fake.sections["admin"] = {"dkim_sign": 1, "dkim_selector": "s1"}
    gateway.fake.lists[DOMAINS] = {"example.org": {}}


def written(gateway: Gateway) -> list[tuple[str, str]]:
    return [(entry[0], entry[1]) for entry in gateway.fake.log if entry[0] != "GET" and entry[1] != "/access/ticket"]


@pytest.fixture
def new(tmp_path: Path) -> tuple[Path, DkimKey]:
    """The next key, as dkim_key keeps it."""
    key = generate("rsa", 1024)
    path = tmp_path / "example.org.s2.key"
    path.write_bytes(key.pem)
    return path, key


@needs_schema
def test_from_nothing_to_signed_mail(gateway: Gateway) -> None:
    """A key is made while nothing is signed; what is returned can be published; then the gateway may sign."""
    wanted: dict[str, Any] = {
        "selector": "pmg1",
        "bits": 1024,
        "domains": [{"domain": "Example.org", "comment": "ours"}, {"domain": "b.example"}],
    }
    foreseen = run(gateway, check=True, **wanted)
    assert (foreseen["changed"], foreseen["records"], gateway.writes()) == (True, [], 0)
    made = run(gateway, **wanted)
    assert (made["changed_entries"], made["changed_options"]) == (["example.org", "b.example"], ["selector"])
    assert (foreseen["entries"], foreseen["diff"]) == (made["entries"], made["diff"])
    assert written(gateway) == [("POST", "/config/dkim/selector"), ("POST", DOMAINS), ("POST", DOMAINS)]
    public = part(gateway).public("pmg1")
    assert [record["name"] for record in made["records"]] == [
        "pmg1._domainkey.b.example.",
        "pmg1._domainkey.example.org.",
    ]
    assert {record["value"] for record in made["records"]} == {f"v=DKIM1; h=sha256; k=rsa; p={public}"}
    assert made["bind"][0] == f'pmg1._domainkey.b.example. 3600 IN TXT "v=DKIM1; h=sha256; k=rsa; p={public}"'
    assert (made["selector"], made["bits"], part(gateway).made) == ("pmg1", 1024, 1)
    gateway.fake.log.clear()
    for check in (True, False):
        again = run(gateway, check=check, **wanted)
        assert (again["changed"], again["records"], again["requests"]) == (False, made["records"], 3)
    assert gateway.writes() == 0
    said = run(gateway, sign=True, fails=True)["msg"]
    assert said == (
        "the gateway would sign for b.example, example.org with the selector pmg1 at once: publish the records (check mode "
        "returns them if the key is there), wait until all name servers have them, and say published: true"
    )
    assert gateway.writes() == 0
    assert run(gateway, sign=True, published=True, check=True)["records"] == made["records"]
    assert run(gateway, sign=True, published=True)["changed_options"] == ["sign"]
    assert gateway.fake.sections["admin"] == {"dkim_selector": "pmg1", "dkim_sign": 1}
    assert run(gateway, sign=True, **wanted)["changed"] is False  # it signs so already


@needs_schema
def test_strings_of_a_long_key_are_short(gateway: Gateway) -> None:
    result = run(gateway, selector="pmg1", bits=4096, domains=[EXAMPLE])
    (record,) = result["records"]
    assert [len(string) for string in record["strings"]] == [255, 255, 254]
    assert DkimRecord.parse(record["value"]).bits == result["bits"] == 4096


# What would have mail signed as it was not before, and is not asked for with it.
FRESH: dict[str, tuple[dict[str, Any], str]] = {
    "a domain": ({"domains": [{"domain": "b.example"}]}, "b.example with the selector s1"),
    "all domains": ({"sign_all_mail": True}, "every domain with the selector s1"),
    "no domain": ({"domains": [EXAMPLE], "state": "absent"}, "the relay domains with the selector s1"),
    "purged": ({"purge": True}, "the relay domains with the selector s1"),
    "a selector": ({"selector": "s0"}, "example.org with the selector s0"),
}


@needs_schema
@pytest.mark.parametrize("name", FRESH)
def test_what_nobody_may_be_able_to_verify_is_not_signed(gateway: Gateway, name: str) -> None:
    signing(gateway)
    part(gateway).file("s0").write_bytes(KEY.pem)
    options, said = FRESH[name]
    options = {"bits": 1024, **options}
    assert said in run(gateway, fails=True, **options)["msg"]
    assert gateway.writes() == 0
    assert run(gateway, published=True, **options)["changed"] is True
    # And the twin: where nothing is signed, it may be.
    gateway.fake.lists[DOMAINS] = {"example.org": {}}
    gateway.fake.sections["admin"] = {"dkim_selector": "s1"}
    assert run(gateway, **options)["changed"] is True


@needs_schema
def test_what_ends_needs_no_record(gateway: Gateway) -> None:
    signing(gateway)
    gateway.fake.lists[DOMAINS]["b.example"] = {}
    assert run(gateway, domains=[{"domain": "B.example"}], state="absent")["changed_entries"] == ["b.example"]
    assert run(gateway, domains=[{"domain": "example.org", "comment": "x"}])["changed_entries"] == ["example.org"]
    assert run(gateway, use_domain="header")["changed_options"] == ["use_domain"]
    gateway.fake.log.clear()
    # It ceases to sign first, so that what follows needs no record either.
    run(gateway, sign=False, purge=True, selector="s9", bits=1024)
    assert written(gateway) == [
        ("PUT", "/config/admin"),
        ("DELETE", f"{DOMAINS}/example.org"),
        ("POST", "/config/dkim/selector"),
    ]


@needs_schema
def test_a_key_of_which_nobody_knows_is_never_signed_with(gateway: Gateway) -> None:
    signing(gateway)
    said = run(gateway, selector="s2", published=True, fails=True)["msg"]
    assert said == (
        "the gateway has no key of the selector s2, and would sign at once with one that it makes: have it made while sign is "
        "false, or give the key that is published"
    )
    assert (gateway.writes(), part(gateway).made) == (0, 0)
    said = run(gateway, selector="s2", sign=False)
    assert part(gateway).made == 1
    gateway.fake.sections["admin"] = {}
    said = run(gateway, sign=True, fails=True)["msg"]
    assert said == "the gateway has no selector to sign with: give one, publish its records, and sign then"


@needs_schema
def test_the_next_key_on_the_node(gateway: Gateway, new: tuple[Path, DkimKey]) -> None:
    """The file is there before the gateway hears of the selector, which it signs with at once."""
    signing(gateway)
    path, key = new
    seen: list[bool] = []
    wanted: dict[str, Any] = {
        "selector": "s2",
        "key": str(path),
        "domains": [EXAMPLE, {"domain": "b.example"}],
        "purge": True,
        "sign": True,
    }
    assert "b.example, example.org with the selector s2 at once" in on_the_node(gateway, fails=True, **wanted)["msg"]
    assert not part(gateway).file("s2").exists()
    foreseen = on_the_node(gateway, check=True, published=True, **wanted)
    assert not part(gateway).file("s2").exists() and gateway.writes() == 0
    original = part(gateway)._set

    def watched(selector: str, size: int, force: bool) -> Any:
        seen.append(part(gateway).file("s2").exists() and "b.example" not in gateway.fake.lists[DOMAINS])
        return original(selector, size, force)

    part(gateway)._set = watched  # type: ignore[method-assign]
    done = on_the_node(gateway, published=True, **wanted)
    assert seen == [True]
    assert foreseen["changed_options"] == done["changed_options"] == ["key", "selector"]
    assert foreseen["records"] == done["records"] and done["records"][0]["value"] == str(key.record)
    assert (foreseen["diff"], foreseen["entries"]) == (done["diff"], done["entries"])
    placed = part(gateway).file("s2")
    assert (placed.stat().st_mode & 0o777, part(gateway).made) == (0o640, 0)
    assert gateway.fake.sections["admin"]["dkim_selector"] == "s2"
    assert [one.name for one in part(gateway).folder.iterdir()] != [] and not list(part(gateway).folder.glob(".*"))
    for check in (True, False):
        assert on_the_node(gateway, check=check, **wanted)["changed"] is False
    private = key.pem.decode().split("\n")[1]
    assert private not in str(done) and private not in str(foreseen)
    # And back, as a rotation does that cannot prove the new key.
    old = path.parent / "example.org.s1.key"
    old.write_bytes(KEY.pem)
    back = on_the_node(gateway, selector="s1", key=str(old), domains=[EXAMPLE], purge=True, sign=True, published=True)
    assert (back["changed_options"], back["changed_entries"]) == (["selector"], ["b.example"])


@needs_schema
def test_a_file_that_is_not_the_key_is_replaced(gateway: Gateway, new: tuple[Path, DkimKey]) -> None:
    signing(gateway)
    path, key = new
    wanted: dict[str, Any] = {"selector": "s1", "key": str(path)}
    assert "with the selector s1 at once" in on_the_node(gateway, fails=True, **wanted)["msg"]
    assert on_the_node(gateway, published=True, **wanted)["changed_options"] == ["key"]
    assert part(gateway).file("s1").read_bytes() == key.pem
    part(gateway).file("s1").write_text("garbage")
    assert on_the_node(gateway, published=True, **wanted)["changed_options"] == ["key"]
    assert on_the_node(gateway, **wanted)["changed"] is False


@needs_schema
@pytest.mark.parametrize("fault", ["596 before", "596 after", "drop before", "drop after"])
def test_lost_answers(gateway: Gateway, fault: str) -> None:
    gateway.fake.faults.extend([fault, fault])
    result = run(gateway, selector="pmg1", bits=1024, domains=[EXAMPLE, {"domain": "b.example"}])
    assert (part(gateway).made, sorted(gateway.fake.lists[DOMAINS])) == (1, ["b.example", "example.org"])
    assert len(result["records"]) == 2
    gateway.fake.faults.extend(["596 before"] * 4)
    said = run(gateway, selector="pmg2", bits=1024, fails=True)["msg"]
    assert said == "the selector pmg2: the gateway broke off (596 Broken pipe)"


@needs_schema
def test_an_auditor_sees_domains_and_selector_and_no_key(gateway: Gateway) -> None:
    signing(gateway)
    auditor = {"api_user": "auditor@pmg", "api_password": "reads", "check": True}
    seen = run(gateway, domains=[EXAMPLE, {"domain": "b.example"}], published=True, **auditor)
    assert (seen["selector"], seen["records"], seen["changed_entries"]) == ("s1", [], ["b.example"])
    said = run(gateway, domains=[{"domain": "b.example"}], published=True, fails=True, **{**auditor, "check": False})[
        "msg"
    ]
    assert said.startswith(
        "the signing domain b.example: the gateway says: Permission check failed (an account needs the role admin"
    )


@needs_schema
def test_another_size_is_told(gateway: Gateway) -> None:
    part(gateway).file("s1").write_bytes(KEY.pem)
    said = run(gateway, selector="s1", fails=True)["msg"]
    assert said == (
        "the selector s1: the gateway says: unable to set DKIM key (s1 - 2048 bits): /etc/pmg/dkim/s1.private already exists, "
        "but has different size (1024 bits)"
    )
    assert run(gateway, selector="s1", bits=1024)["changed"] is True


BAD: list[tuple[dict[str, Any], str]] = [
    ({"domains": [{"domain": ".example.org"}]}, "domains[0]: '.example.org' begins with a dot: name the domain, whose key signs for those below it as well"),
    ({"domains": [{"domain": "exämple.org"}]}, "domains[0]: 'exämple.org' is not ASCII"),
    ({"domains": [{"domain": "a.example", "comment": "a\nb"}]}, "domains[0]: the comment has a line break"),
    ({"domains": [EXAMPLE, EXAMPLE]}, "the signing domain example.org and example.org is given 2 times"),
    ({"selector": "../s"}, "selector: "),
    ({"selector": ""}, "selector: "),
    ({"selector": "s_1"}, "selector: "),
    ({"selector": "s1", "bits": 512}, "bits: an RSA key has 1024 to 4096 bits, not 512"),
    ({"selector": "s1", "key": "/nowhere"}, "key /nowhere is a file on the gateway: run the module there, with api_transport: pmgsh"),
    ({"selector": "s1", "key": "/nowhere", "api_transport": "pmgsh"}, "key: there is no file /nowhere: dkim_key makes one"),
    ({"ttl": -1}, "ttl -1 is not between 0 and 2147483647"),
    ({"state": "absent", "purge": True}, "purge goes with state present"),
]  # fmt: skip


@needs_schema
@pytest.mark.parametrize(("options", "said"), BAD)
def test_what_is_refused_is_not_sent(gateway: Gateway, options: dict[str, Any], said: str) -> None:
    assert run(gateway, fails=True, **options)["msg"].startswith(said)
    assert gateway.fake.log == []


@needs_schema
def test_keys_that_no_gateway_signs_with(gateway: Gateway, tmp_path: Path) -> None:
    path = tmp_path / "key"
    for content, said in (
        (
            generate("ed25519").pem,
            f"key: {path} holds an Ed25519 key, and the gateway signs with RSA alone: give one of RSA",
        ),
        (b"secret text", f"key: {path} is no private key in PEM"),
        (b"", f"key: {path} is no private key in PEM"),
    ):
        path.write_bytes(content)
        assert on_the_node(gateway, selector="s1", key=str(path), fails=True)["msg"] == said
    path.write_bytes(KEY.pem)
    assert (
        on_the_node(gateway, key=str(path), fails=True)["msg"]
        == f"key {path} has no selector: name the one under which its record is published"
    )
    assert gateway.fake.log == []


def test_a_host_that_is_no_gateway_gets_no_key(tmp_path: Path) -> None:
    with pytest.raises(PmgError, match=r"^there is no .+/dkim here, of a known group: give a key where"):
        KeyFiles(str(tmp_path / "dkim")).place("s1", KEY)


@needs_schema
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(
    domain=st.text() | st.from_regex(r"[a-z.-]{1,20}", fullmatch=True),
    selector=st.text() | st.from_regex(r"[a-z.-]{1,9}", fullmatch=True),
    comment=st.none() | st.text(),
)
def test_hostile_values_are_refused_or_taken_by_the_gateway(
    gateway: Gateway, domain: str, selector: str, comment: str | None
) -> None:
    for options in ({"domains": [{"domain": domain, "comment": comment}]}, {"selector": selector, "bits": 1024}):
        gateway.fake.log.clear()
        try:
            run(gateway, **options)
        except AssertionError:
            assert gateway.fake.log == [], f"{options} was sent and refused: {gateway.fake.log}"


@given(st.text() | st.from_regex(r'(?:"[ -~]{0,20}" ?){0,5}'))
def test_a_record_of_the_gateway_is_read_or_refused(text: str) -> None:
    try:
        record_of(text)
    except PmgError as err:
        assert "the gateway's own record of its key cannot be read" in str(err)
