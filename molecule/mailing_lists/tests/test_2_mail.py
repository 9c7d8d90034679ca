# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail to the lists and from them, as outside sees it."""

from __future__ import annotations

import base64
import re

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from lab.probe import Lab, Message
from listhosts import ADMIN, DOMAINS, GONE, HOSTS, archived, browse, letter, post, rest, roster, settings, until

PASS = {"spf": "pass", "dkim": "pass", "dmarc": "pass"}


def signers(message: Message) -> set[str]:
    """The domains of all signatures."""
    headers = message.parsed.get_all("DKIM-Signature") or []
    tags = [tag.strip() for header in headers for tag in "".join(str(header).split()).split(";")]
    return {tag.removeprefix("d=") for tag in tags if tag.startswith("d=")}


@pytest.mark.parametrize("host", HOSTS)
def test_a_post_reaches_members_and_the_archive(lab: Lab, token: str, host: str) -> None:
    post(lab, host, "member@outside.test", token, from_host="outside")
    message = lab.wait_for_message(token)
    assert (message.recipient, message.verdicts) == ("member@outside.test", PASS)
    parsed = message.parsed
    assert message.sender == f"talk-bounces@{DOMAINS[host]}" and message.client["name"] == "relay1.corp.example"
    assert DOMAINS[host] in signers(message) and lab.dkim_verifies(message)
    assert parsed["Subject"] == f"[Talk] {token}"
    assert f"<talk.{DOMAINS[host]}>" in str(parsed["List-Id"])
    link = str(parsed["Archived-At"]).strip("<> ")
    assert link.startswith(f"https://{lab.fqdn(host)}/hyperkitty/list/talk@{DOMAINS[host]}/message/"), link
    until(f"{token} is in the archive of {host}", lambda: browse(lab, "stranger", urls=[link])[0]["status"] == 200)
    page = browse(lab, "stranger", urls=[link])[0]["text"]
    assert token in page and "Hello, all" in page


@pytest.mark.parametrize("host", HOSTS)
def test_an_author_whose_domain_rejects_is_munged_and_another_is_not(lab: Lab, token: str, host: str) -> None:
    strict, lax = f"ann-{token}@dmarc-reject.stranger.test", f"ann-{token}@stranger.test"
    post(lab, host, strict, f"{token}-strict")
    post(lab, host, lax, f"{token}-lax")
    munged, plain = lab.wait_for_message(f"{token}-strict"), lab.wait_for_message(f"{token}-lax")
    assert munged.verdicts == PASS
    assert (munged.parsed["From"].addresses[0].addr_spec, munged.parsed["Reply-To"].addresses[0].addr_spec) == (
        f"talk@{DOMAINS[host]}",
        strict,
    )
    assert (plain.parsed["From"].addresses[0].addr_spec, plain.parsed["Reply-To"]) == (lax, None)
    assert DOMAINS[host] not in signers(plain) and plain.verdicts["dmarc"] != "pass"


def strangers_key(lab: Lab, selector: str) -> bytes:
    """A new key of stranger.test, in PEM, published under this selector."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    text = base64.b64encode(public).decode()
    lab.update(f"{selector}._domainkey.stranger.test.", "TXT", [f'"v=DKIM1; k=rsa; p={text[:200]}" "{text[200:]}"'])
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def chain(message: Message) -> tuple[str, str, str]:
    """The newest seal's number, what it says of those before, and what outside says of the whole."""
    seals = [re.sub(r"\s", "", str(seal)) for seal in message.parsed.get_all("ARC-Seal") or []]
    number, verdict = max(re.findall(r"\bi=(\d+);.*?\bcv=(\w+)", " ".join(seals)) or [("", "")])
    judged = re.search(r"\barc=(\w+)", str(message.parsed.get_all("Authentication-Results")[0]))
    return number, verdict, judged[1] if judged else ""


@pytest.mark.parametrize("host", HOSTS)
def test_a_list_seals_what_it_passes_on_and_goes_on_with_a_chain(lab: Lab, token: str, host: str) -> None:
    """ARC (RFC 8617), made by Mailman and judged by outside's rspamd. Verdicts that come along are nobody's."""
    author, me, other = f"ann-{token}@stranger.test", lab.fqdn(host), "lists.stranger.test"
    selector = f"arc{token[:8].encode().hex()}".encode()
    key = strangers_key(lab, selector.decode())

    def written(kind: str, *verdicts: str) -> bytes:
        text = letter(author, f"talk@{DOMAINS[host]}", f"{token}-{kind}").replace("\n", "\r\n").encode()
        return "".join(f"Authentication-Results: {verdict}\r\n" for verdict in verdicts).encode() + text

    def sealed(message: bytes) -> bytes:
        seals = dkim.arc_sign(message, selector, b"stranger.test", key, other.encode())
        assert len(seals) == 3
        return b"".join(seals) + message

    lie = f"{me}; dkim=pass header.d=bank.test; arc=pass"
    believed = f"{other}; spf=pass smtp.mailfrom=stranger.test"
    posts = {
        "unsigned": written("unsigned", lie),
        "signed": dkim.sign(written("signed"), selector, b"stranger.test", key) + written("signed", lie),
        "chain": sealed(written("chain", believed)),
        "spoiled": sealed(written("spoiled", believed)).replace(b"Hello", b"Hallo"),
    }
    posts["broken"] = sealed(
        f"Authentication-Results: {other}; arc=fail\r\n".encode() + sealed(written("broken", believed))
    )
    assert b"cv=fail" in posts["broken"]
    for kind, message in posts.items():
        post(lab, host, author, f"{token}-{kind}", message=message)
    arrived = {kind: lab.wait_for_message(f"{token}-{kind}") for kind in posts}
    found = {kind: chain(message) for kind, message in arrived.items()}
    assert {kind: found[kind] for kind in ("unsigned", "signed", "chain")} == {
        "unsigned": ("1", "none", "pass"),
        "signed": ("1", "none", "pass"),
        "chain": ("2", "pass", "pass"),
    }
    assert "pass" not in (found["spoiled"][2], found["broken"][2]), found  # they are passed on as what they are
    said = {
        kind: " ".join(str(arrived[kind].parsed["ARC-Authentication-Results"]).split())
        for kind in ("unsigned", "signed")
    }
    assert all(text.startswith(f"i=1; {me};") and "bank.test" not in text for text in said.values()), said
    assert "dkim=pass header.d=stranger.test" in said["signed"] and "dkim=pass" not in said["unsigned"]


@pytest.mark.parametrize("host", HOSTS)
def test_people_subscribe_by_mail_and_must_confirm(lab: Lab, token: str, host: str) -> None:
    join, new, other = f"talk-join@{DOMAINS[host]}", f"new-{token}@outside.test", f"other-{token}@outside.test"
    for address in (new, other):
        said = lab.smtp(
            "outside",
            host,
            sender=address,
            recipients=join,
            message=letter(address, join, f"join-{address[:5]}{token}"),
        )
        assert said.accepted, said.steps
    asked = lab.wait_for_message(new)
    assert lab.wait_for_message(other).verdicts == asked.verdicts == PASS
    back = asked.parsed["From"].addresses[0].addr_spec
    assert back.startswith("talk-confirm+") and new not in roster(lab, host, "talk")
    said = lab.smtp("outside", host, sender=new, recipients=back, message=letter(new, back, f"Re-{token}"))
    assert said.accepted, said.steps
    until(f"{new} is a member", lambda: new in roster(lab, host, "talk"))
    assert other not in roster(lab, host, "talk")


@pytest.mark.parametrize("host", HOSTS)
def test_a_member_whose_mail_comes_back_is_sent_no_more(lab: Lab, token: str, host: str) -> None:
    post(lab, host, "member@outside.test", token, from_host="outside")
    lab.wait_for_message(token)

    def stopped(address: str) -> bool:
        member = roster(lab, host, "talk")[address]["member_id"]
        return bool(rest(lab, host, f"/members/{member}/preferences").get("delivery_status") == "by_bounces")

    until(f"{GONE} gets no more", lambda: stopped(GONE))
    assert not stopped("member@outside.test")


@pytest.mark.parametrize("host", HOSTS)
def test_nobody_reaches_a_list_that_is_not_there(lab: Lab, host: str) -> None:
    for local, answer in (
        ("nosuch", ("RCPT", 550)),
        ("talk", None),
        ("talk-owner", None),
        ("talk-bounces+a=b.example", None),
    ):
        said = lab.smtp("stranger", host, sender="a@stranger.test", recipients=f"{local}@{DOMAINS[host]}")
        assert (said.refusal and said.refusal[:2]) == answer, (local, said.steps)


@pytest.mark.parametrize("host", HOSTS)
def test_the_host_sends_nobodys_mail_but_its_own(lab: Lab, host: str, token: str) -> None:
    said = lab.smtp("stranger", host, sender="a@stranger.test", recipients="victim@outside.test")
    assert said.refusal and said.refusal[:2] == ("RCPT", 554)
    said = lab.smtp(
        host, host, source="127.0.0.1", server="127.0.0.1", sender="root@corp.example", recipients="victim@outside.test"
    )
    assert said.refusal is None, said.steps


@pytest.mark.parametrize("host", HOSTS)
def test_each_domain_of_lists_has_a_postmaster(lab: Lab, token: str, host: str) -> None:
    post(lab, host, "a@stranger.test", token, name="postmaster")
    assert lab.wait_for_message(token).recipient == "ops@outside.test"


@pytest.mark.parametrize("host", HOSTS)
def test_an_announcement_of_others_is_held_and_a_private_archive_is_closed(lab: Lab, token: str, host: str) -> None:
    assert settings(lab, host, "news")["default_nonmember_action"] == "hold"
    author, held = "a@stranger.test", f"/lists/news.{DOMAINS[host]}/held"
    post(lab, host, author, token, name="news")
    until("the post is held", lambda: token in str(rest(lab, host, held)))
    (number,) = [entry["request_id"] for entry in rest(lab, host, held)["entries"] if token in str(entry)]
    rest(lab, host, f"{held}/{number}", {"action": "accept"})
    pages, login = archived(lab, host, "news", token, author), f"https://{lab.fqdn(host)}/accounts/login/"

    def shown(some: list[str]) -> list[dict[str, object]]:
        return browse(lab, "stranger", login_url=login, login=ADMIN, then=some)[1:]

    def whole() -> bool:
        return all(answer["status"] == 200 and token in str(answer["text"]) for answer in shown(pages))

    until(f"{token} is on all pages of the archive of {host}", whole)
    answers = browse(lab, "stranger", urls=pages)
    assert [answer["status"] for answer in answers] == [403] * len(pages)
    assert [page for page, answer in zip(pages, answers, strict=True) if token in str(answer["text"])] == []
    # HyperKitty's own API would show it to those who know the Message-ID.
    address, key = f"news@{DOMAINS[host]}", pages[0].split("/")[-2]
    for path in (f"email/{key}/", f"thread/{key}/", "emails/"):
        (answer,) = browse(lab, "stranger", urls=[f"https://{lab.fqdn(host)}/hyperkitty/api/list/{address}/{path}"])
        assert (answer["status"], token in answer["text"]) == (404, False)
