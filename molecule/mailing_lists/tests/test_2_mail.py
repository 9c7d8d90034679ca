# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail to the lists and from them, as outside sees it."""

from __future__ import annotations

import pytest
from lab.probe import Lab, Message
from listhosts import DOMAINS, GONE, HOSTS, browse, letter, post, rest, roster, settings, until

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


def test_an_announcement_of_others_is_held(lab: Lab, token: str) -> None:
    host = "mail-13"
    assert settings(lab, host, "news")["default_nonmember_action"] == "hold"
    post(lab, host, "a@stranger.test", token, name="news")
    held = f"/lists/news.{DOMAINS[host]}/held"
    until("the post is held", lambda: token in str(rest(lab, host, held)))
