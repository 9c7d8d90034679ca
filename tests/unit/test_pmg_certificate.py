# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates of a gateway by HTTPS against the fake: what is fit to be sent, what is replaced, and what is ordered."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _pmg_certificate
from ansible_collections.postmaster.mail.plugins.module_utils._pmg import PmgError
from ansible_collections.postmaster.mail.plugins.modules import pmg_certificate
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fake_pmg_node import issue
from hypothesis import given
from hypothesis import strategies as st
from pmg_gateway import AUDITOR, Gateway, fixtures, needs_schema

pem, gateway = fixtures()

NAME = "pmg.example.org"
CA = "An authority"


def run(gateway: Gateway, kind: str = "smtp", **options: Any) -> dict[str, Any]:
    return gateway.run(module=pmg_certificate, type=kind, **options)


def mine(*names: str, **kind: Any) -> dict[str, Any]:
    """The options for a certificate of these names."""
    certificate, key = issue(list(names or (NAME,)), **{"issuer": CA, **kind})
    return {"certificate": certificate, "key": key, "names": list(names or (NAME,))}


@needs_schema
@pytest.mark.parametrize("kind", ["api", "smtp"])
def test_foreseen_done_and_done_with(gateway: Gateway, kind: str) -> None:
    sent = mine()
    foreseen = run(gateway, kind, check=True, **sent, **AUDITOR)
    assert (foreseen["changed"], gateway.writes()) == (True, 0)
    done = run(gateway, kind, **sent)
    assert foreseen["held"] == done["held"] and foreseen["diff"] == done["diff"]
    assert (done["held"]["names"], done["requests"]) == ([NAME], 3)
    assert f"names: {NAME}\nissued by: CN={CA}\n" in done["diff"]["after"]
    assert gateway.node.keys[kind] == sent["key"] and gateway.node.certificates[kind] == sent["certificate"]
    assert gateway.fake.sections["mail"].get("tls") == (1 if kind == "smtp" else None)
    for check in (True, False):
        again = run(gateway, kind, check=check, **sent)
        assert (again["changed"], again["requests"], again["diff"]) == (False, 1, {"before": "", "after": ""})
    assert gateway.writes() == 1
    for said in (foreseen, done, again):
        secret = "".join(sent["key"].splitlines()[1:-1])
        assert secret[10:40] not in str(said).replace("\\n", "").replace("\n", "")


KEYS: dict[str, Any] = {
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "EC": lambda: ec.generate_private_key(ec.SECP384R1()),
}


@pytest.mark.parametrize("kind", ["RSA", "EC"])
def test_keys_of_all_kinds_and_forms(kind: str) -> None:
    key = KEYS[kind]()
    certificate, pkcs8 = issue([NAME, "192.0.2.1"], issuer=CA, key=key)
    old = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    chain = f"subject=x\n{certificate}\nissuer\n{issue(['ca.example'], issuer=CA)[0]}"
    pair = _pmg_certificate.read_pair(chain, old.decode(), [NAME.upper(), "192.0.2.1"], datetime.now(UTC))
    assert pair.key == pkcs8 and pair.chain.count("BEGIN CERTIFICATE") == 2 and pair.chain.startswith(certificate)
    assert "subject=x" not in pair.chain and pkcs8[40:80] not in repr(pair)


def locked() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    made = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    return made.decode()


def unfit() -> dict[str, tuple[dict[str, Any], str]]:
    other, first = mine(), mine()
    return {
        "a key of another": ({**mine(), "key": other["key"]}, "the key does not belong to the certificate: give the key that it was made with"),
        "not first": ({**first, "certificate": other["certificate"] + first["certificate"]}, "the certificate of the key comes as number 2: put it first"),
        "expired": (mine(begins=-9, days=-2), "the certificate has expired on "),
        "not yet": (mine(begins=2), "the certificate does not hold before "),
        "foreign": ({**mine("mail.example.com"), "names": [NAME]}, "the certificate is not for pmg.example.org but for mail.example.com: give one"),
        "one of two": ({**mine(), "names": [NAME, "mx.example.org"]}, "the certificate is not for mx.example.org but for pmg.example.org"),
        "a deeper name": ({**mine("*.example.org"), "names": ["a.b.example.org"]}, "the certificate is not for a.b.example.org but for *.example.org"),
        "no certificate": ({**mine(), "certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, "the certificate is no PEM: give"),
        "no key": ({**mine(), "key": "hunter2"}, "the key is no private key in PEM: give the text with -----BEGIN PRIVATE KEY-----"),
        "a locked key": ({**mine(), "key": locked()}, "the key is locked with a passphrase, for which nobody is there: unlock it"),
        "half": ({"certificate": mine()["certificate"]}, "a certificate of your own takes certificate and key: give both, or say source: acme"),
        "no names": ({**mine(), "names": []}, "which names the certificate has to be for is not known: give names"),
        "by pmgsh": ({**mine(), "api_transport": "pmgsh"}, "pmgsh cannot be started"),
    }  # fmt: skip


@needs_schema
@pytest.mark.parametrize("case", list(unfit()))
def test_what_is_unfit_is_not_sent(gateway: Gateway, case: str) -> None:
    options, said = unfit()[case]
    result = run(gateway, fails=True, **options)
    assert result["msg"].startswith(said)
    assert gateway.fake.log == []
    assert "hunter2" not in str(result)


@needs_schema
@pytest.mark.parametrize(
    "options", [mine("*.example.org") | {"names": [NAME]}, mine("127.0.0.1") | {"names": None}, mine(issuer="")]
)
def test_twins_that_are_fit(gateway: Gateway, options: dict[str, Any]) -> None:
    assert run(gateway, **options)["changed"] is True


@needs_schema
@pytest.mark.parametrize(("there", "new", "replaced"), [
    ({"issuer": ""}, {}, True),  # the gateway's own
    ({"begins": -9, "days": -1}, {}, True),
    ({"days": 50}, {"days": 90}, True),  # a renewal
    ({"days": 90}, {"days": 50}, False),
])  # fmt: skip
def test_what_may_be_replaced(gateway: Gateway, there: dict[str, Any], new: dict[str, Any], replaced: bool) -> None:
    gateway.node.certificates["smtp"] = issue([NAME], **{"issuer": "Another", **there})[0]
    result = run(gateway, fails=not replaced, **mine(**new))
    if replaced:
        assert result["changed"] is True
        return
    assert result["msg"].startswith(f"the gateway has a certificate for {NAME} by CN=Another, valid until ")
    assert result["msg"].endswith("which the new one does not renew: say force: true to replace it")
    assert gateway.writes() == 0
    assert run(gateway, force=True, **mine(**new))["changed"] is True


@needs_schema
def test_a_name_that_would_be_lost(gateway: Gateway) -> None:
    gateway.node.certificates["smtp"] = issue([NAME, "mx.example.org"], issuer="Another", days=10)[0]
    assert "say force: true" in run(gateway, fails=True, **mine())["msg"]
    assert run(gateway, **mine("*.example.org"))["changed"] is True


@needs_schema
@pytest.mark.parametrize("fault", ["596 before", "596 after", "drop before", "drop after"])
@pytest.mark.parametrize("kind", ["api", "smtp"])
def test_a_lost_answer(gateway: Gateway, fault: str, kind: str) -> None:
    sent = mine()
    gateway.fake.faults.extend([fault, fault])
    assert run(gateway, kind, **sent)["changed"] is True
    assert gateway.node.keys[kind] == sent["key"]
    gateway.fake.faults.extend([fault, fault])
    assert run(gateway, kind, state="absent")["changed"] is True
    assert run(gateway, kind, state="absent")["changed"] is False


@needs_schema
def test_removing(gateway: Gateway) -> None:
    for kind in ("api", "smtp"):
        assert run(gateway, kind, state="absent")["changed"] is False
        run(gateway, kind, **mine())
        assert run(gateway, kind, state="absent", check=True, **AUDITOR)["changed"] is True
        done = run(gateway, kind, state="absent")
        assert (done["changed"], done["held"], done["diff"]["after"]) == (True, {}, "")
        assert run(gateway, kind, state="absent")["changed"] is False
    assert gateway.fake.sections["mail"]["tls"] == 0, "the fake is told to be as the gateway is"


@needs_schema
def test_an_auditor_sends_nothing(gateway: Gateway) -> None:
    said = run(gateway, fails=True, **mine(), **AUDITOR)["msg"]
    assert "an account needs the role admin to write" in said


# -- from an authority --------------------------------------------------------------------------


@pytest.fixture
def ready(gateway: Gateway) -> Gateway:
    """A gateway with an account and two domains."""
    gateway.node.contacts["default"] = {"account": {"contact": ["mailto:a@example.org"]}, "directory": "x"}
    gateway.node.config = {"acmedomain0": f"domain={NAME},usage=api;smtp", "acmedomain2": "mx.example.org,usage=smtp"}
    return gateway


@needs_schema
@pytest.mark.parametrize(("kind", "names"), [("api", [NAME]), ("smtp", ["mx.example.org", NAME])])
def test_ordered_once(ready: Gateway, kind: str, names: list[str]) -> None:
    foreseen = run(ready, kind, source="acme", check=True, **AUDITOR)
    assert (foreseen["changed"], ready.writes()) == (True, 0)
    assert foreseen["diff"]["after"] == f"names: {', '.join(names)}\nissued by: an ACME server\n"
    done = run(ready, kind, source="acme")
    assert (done["held"]["names"], done["reasons"]) == (names, foreseen["reasons"])
    assert done["reasons"] == ["nobody but the gateway stands for it" if kind == "api" else "there is none"]
    for check in (True, False):
        assert run(ready, kind, source="acme", check=check)["changed"] is False
    assert ready.writes() == 1


@needs_schema
@pytest.mark.parametrize(("there", "days", "method", "why"), [
    ([NAME], 20, "PUT", "it ends on "), ([NAME], 50, "PUT", "it ends on "),
    ([NAME, "old.example.org"], 80, "POST", "it holds old.example.org, which is not wanted"),
    (["old.example.org"], 80, "POST", "it does not hold pmg.example.org"),
])  # fmt: skip
def test_renewed_or_ordered_anew(ready: Gateway, there: list[str], days: int, method: str, why: str) -> None:
    ready.node.certificates["api"] = issue(there, issuer=CA, days=days)[0]
    done = run(ready, "api", source="acme", renew_before=60)
    assert done["reasons"][0].startswith(why) and done["held"]["names"] == [NAME]
    sent = [one[0] for one in ready.fake.log if one[0] != "GET" and "acme" in one[1]]
    assert sent == [method]
    assert run(ready, "api", source="acme", renew_before=60)["changed"] is False


@needs_schema
def test_an_authority_that_refuses_is_quoted(ready: Gateway) -> None:
    ready.node.fails["acmenewcert"] = "validating challenge failed - status: invalid, DNS problem: NXDOMAIN"
    said = run(ready, "smtp", source="acme", fails=True)["msg"]
    assert said.startswith(
        "the certificate for smtp failed on the gateway: validating challenge failed - status: invalid, DNS problem: NXDOMAIN "
        "(it said last: Loading ACME account details; Placing ACME order; Order URL: https://acme.example/order/0)"
    )
    ready.node.fails.clear()
    assert run(ready, "smtp", source="acme")["changed"] is True


@needs_schema
@pytest.mark.parametrize("fault", ["596 after", "drop after"])
def test_nothing_is_ordered_twice(ready: Gateway, fault: str) -> None:
    ready.fake.faults.append(fault)
    assert run(ready, "smtp", source="acme")["changed"] is True
    assert [task.kind for task in ready.node.tasks.values()] == ["acmenewcert"]


@needs_schema
def test_an_order_that_never_got_there(ready: Gateway) -> None:
    ready.fake.faults.append("drop before")
    said = run(ready, "smtp", source="acme", task_timeout=0, fails=True)["msg"]
    assert said.startswith("the certificate for smtp: no answer (")
    assert said.endswith("and none has come since: look at the gateway's tasks, then run again")
    assert run(ready, "smtp", source="acme")["changed"] is True


@needs_schema
def test_without_domains_there_is_nothing_to_order(gateway: Gateway) -> None:
    assert (
        run(gateway, "smtp", source="acme", fails=True)["msg"]
        == "no domain is to be used for smtp: name one with pmg_acme"
    )
    said = run(gateway, "smtp", source="acme", check=True)
    assert (said["changed"], said["reasons"]) == (True, ["no domain is to be used for it yet"])
    assert gateway.writes() == 0


VALUES = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text())


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["filename", "fingerprint", "san", "subject", "notbefore", "notafter"]),
            VALUES | st.just("pmg-tls.pem"),
        )
    )
)
def test_a_list_that_is_none(listed: list[dict[str, Any]]) -> None:
    try:
        _pmg_certificate.held_of(listed, "smtp")
    except PmgError as err:
        assert str(err) == "the gateway's certificate for smtp cannot be read: look at it on the gateway"


@given(st.text() | st.sampled_from(list(mine().values())[:2]), st.text())
def test_hostile_texts_are_refused(certificate: str, key: str) -> None:
    with pytest.raises(PmgError, match=r"^the (certificate|key) is no "):
        _pmg_certificate.read_pair(certificate, key, [NAME], datetime.now(UTC))


@pytest.mark.parametrize(
    ("told", "written"),
    [
        ("/C=US/O=Let's Encrypt/CN=R3", "CN=R3,O=Let's Encrypt,C=US"),
        ("/CN=pmg.example.org", "CN=pmg.example.org"),
        ("/O=a/b c/CN=x", "CN=x,O=a/b c"),
        ("", ""),
        ("no such form", "no such form"),
    ],
)
def test_a_name_is_written_in_one_way(told: str, written: str) -> None:
    """OpenSSL's and that of RFC 4514."""
    entry = {"filename": "pmg-tls.pem", "fingerprint": "AA", "notbefore": 0, "notafter": 1, "issuer": told}
    held = _pmg_certificate.held_of([entry], "smtp")
    assert held is not None
    assert held.issuer == written
