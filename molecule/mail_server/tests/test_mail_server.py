# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail in and out of both mail servers by real clients, and what they refuse."""

from __future__ import annotations

import base64
import imaplib
import json
import re
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from lab import ready
from lab.mailclient import learned
from lab.probe import Lab
from servers import HOSTS, PASSWORDS, VICTIM, Imap, arrive, letter, of, results, send, wait_for

GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
# Holds a session open between RCPT and DATA for as long as a file is there, and prints both answers.
HELD = """
import os, smtplib, sys, time
server, sender, recipient, text, held = sys.argv[1:]
with smtplib.SMTP(server, 25, "mx.outside.test", timeout=120) as client:
    client.ehlo()
    client.mail(sender)
    print(client.rcpt(recipient)[0])
    open(held, "w").close()
    while os.path.exists(held):
        time.sleep(0.1)
    print(client.data(text)[0])
"""
# Sends a message with something inside that may be its end, and commands behind it, in one go or with pauses.
SMUGGLE = """
import json, socket, sys, time
server, recipient, outer, commands, inner, pause = map(json.loads, sys.argv[1:])
with socket.create_connection((server, 25), timeout=15) as client:
    lines = client.makefile("rb")
    def heard():
        while line := lines.readline():
            print(line.decode().rstrip())
            if line[3:4] != b"-":
                return
    heard()
    for line in ("EHLO mx.outside.test", "MAIL FROM:<joe@outside.test>", f"RCPT TO:<{recipient}>", "DATA"):
        client.sendall(line.encode() + b"\\r\\n")
        heard()
    rest = [outer, *commands.splitlines(True), inner] if float(pause) else [outer + commands + inner]
    try:
        for part in rest:
            client.sendall(part.encode())
            time.sleep(float(pause))
        client.settimeout(3)
        while line := lines.readline():
            print(line.decode().rstrip())
    except OSError as err:
        print(err)
"""

pytestmark = pytest.mark.parametrize("host", HOSTS)


# -- in -----------------------------------------------------------------------------------------
def test_mail_from_outside_arrives_judged(lab: Lab, host: str, token: str) -> None:
    assert arrive(lab, host, token).accepted
    found = wait_for(lab, host, token)
    said = results(found, host, lab)
    assert (said["spf"], said["dkim"]) == ("pass", "none"), said
    assert "X-Spam" not in found


def test_it_comes_by_mx_and_to_every_name_of_a_user(lab: Lab, host: str, token: str) -> None:
    for number, name in enumerate(("ann", "ann.lee", "ann+list", "postmaster", "sales")):
        lab.run(
            "outside",
            ["sendmail", "-f", "joe@outside.test", of(host, name)],
            input=letter(f"{token}-{number}", "joe@outside.test"),
        )
    for number in range(5):
        assert "TLSv1.3" in str(wait_for(lab, host, f"{token}-{number}").get_all("Received"))


def test_an_alias_may_lead_elsewhere(lab: Lab, host: str, token: str) -> None:
    # Not from outside.test, whose DMARC policy no forwarded mail without a signature survives.
    assert arrive(lab, host, token, client="stranger", sender="a@stranger.test", recipients=of(host, "sales")).accepted
    wait_for(lab, host, token)
    assert lab.wait_for_message(token).recipient == "far@outside.test"


def test_forged_judgements_are_removed(lab: Lab, host: str, token: str) -> None:
    name = lab.fqdn(host)
    forged = f"authentication-results: {name}; dmarc=pass\nAuthentication-Results: {name}; dkim=pass\nX-Spam: yes\n"
    assert arrive(lab, host, token, extra=forged).accepted
    found = wait_for(lab, host, token)
    assert len(found.get_all("Authentication-Results") or []) == 1
    assert results(found, host, lab)["dkim"] == "none"


def test_gtube_is_refused(lab: Lab, host: str, token: str) -> None:
    for body, taken in ((GTUBE, False), (GTUBE.replace("XJS", "XYS"), True)):
        said = arrive(lab, host, token, message=letter(token, "joe@outside.test") + body + "\n")
        assert said.accepted == taken, said.steps
    assert said.accepted or said.refusal == (".", 550, "Gtube pattern")


def test_junk_goes_to_junk_and_its_twin_does_not(lab: Lab, host: str, token: str) -> None:
    assert arrive(lab, host, f"{token}-junk looks-like-junk").accepted
    assert arrive(lab, host, f"{token}-well looks-like-a-letter").accepted
    assert str(wait_for(lab, host, f"{token}-junk", folder="Junk")["X-Spam"]).lower() == "yes"
    wait_for(lab, host, f"{token}-well")


def test_a_client_without_a_name_is_junk(lab: Lab, host: str, token: str) -> None:
    for name, options in {f"{token}-nameless": {"source": lab.nameless()}, f"{token}-named": {}}.items():
        assert arrive(lab, host, name, client="stranger", sender="a@stranger.test", **options).accepted
    wait_for(lab, host, f"{token}-nameless", folder="Junk")
    wait_for(lab, host, f"{token}-named")


def test_suspicious_mail_is_put_off_once(lab: Lab, host: str, token: str) -> None:
    suspicious = {"sender": f"{token}-1@outside.test", "patient": False}
    for options, word, codes in (
        (suspicious, "looks-suspicious", [451]),
        ({**suspicious, "sender": f"{token}-2@outside.test"}, "looks-well", [250]),
    ):
        said = arrive(lab, host, f"{token} {word}", **options)
        assert [code for what, code, dummy in said.steps if what == "."] == codes, said.steps
    assert arrive(lab, host, f"{token} looks-suspicious", **{**suspicious, "patient": True}).accepted
    wait_for(lab, host, f"{token} looks-suspicious")


def test_moving_out_of_junk_teaches(lab: Lab, host: str, token: str) -> None:
    before = learned(lab, host)
    assert arrive(lab, host, f"{token} looks-like-junk").accepted
    wait_for(lab, host, token, folder="Junk")
    with Imap(lab, host) as client:
        (number,) = client.find("Junk", token)
        assert client._simple_command("MOVE", number, "INBOX")[0] == "OK"
    ready.wait("the counter of ham", lambda: learned(lab, host)["BAYES_HAM"] == before["BAYES_HAM"] + 1)
    assert learned(lab, host)["BAYES_SPAM"] == before["BAYES_SPAM"]


def test_a_chain_of_trust_is_followed(lab: Lab, host: str, token: str) -> None:
    """ARC (RFC 8617), as a mailing list at stranger.test would seal what it passes on."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    text = base64.b64encode(public).decode()
    selector = f"arc{token[:8].encode().hex()}"
    halves = f'"v=DKIM1; k=rsa; p={text[:200]}" "{text[200:]}"'
    lab.update(f"{selector}._domainkey.stranger.test.", "TXT", [halves])
    for number, (spoil, verdict) in enumerate(((False, True), (True, False))):
        message = letter(f"{token}-{number}", "a@stranger.test", to=of(host, "ann")).replace("\n", "\r\n").encode()
        message = b"Authentication-Results: lists.stranger.test; spf=pass smtp.mailfrom=stranger.test\r\n" + message
        sealed = dkim.arc_sign(message, selector.encode(), b"stranger.test", private, b"lists.stranger.test")
        assert len(sealed) == 3
        message = b"".join(sealed) + (message.replace(b"Hello", b"Hallo") if spoil else message)
        assert arrive(lab, host, token, client="stranger", sender="a@stranger.test", message=message).accepted
        said = results(wait_for(lab, host, f"{token}-{number}"), host, lab)
        assert (said["arc"] == "pass") == verdict, said


def test_a_full_mailbox_is_told_at_once(lab: Lab, host: str, token: str) -> None:
    eve, held = of(host, "eve"), "/run/held"
    late = letter(f"{token}-late", "joe@outside.test", to=eve)
    with ThreadPoolExecutor() as pool:
        try:
            # While there is room, one is promised a place, and sends when there is none any more.
            words = [lab.address(host), "joe@outside.test", eve, late, held]
            slow = pool.submit(lab.run, "outside", ["python3", "-c", HELD, *words])
            ready.wait("the answer to RCPT", lambda: lab.run("outside", ["ls", held], check=False).returncode == 0)
            with Imap(lab, host, "eve") as client:
                filler = f"Subject: {token}-filler\r\n\r\n" + f"{'x' * 70}\r\n" * 14_200
                assert client.append("INBOX", "", "", filler.encode())[0] == "OK"
            last = letter(f"{token}-last", "joe@outside.test", to=eve, size=50_000)
            assert arrive(lab, host, token, recipients=eve, message=last).accepted
            wait_for(lab, host, f"{token}-last", user="eve")
            said = arrive(lab, host, f"{token}-more", recipients=eve)
            assert said.refusal == ("RCPT", 552, "5.2.2 Mailbox is full"), said.steps
            assert send(lab, host, f"{token}-bobs", user="bob", recipients=eve).refusal == said.refusal
            assert arrive(lab, host, f"{token}-ann").accepted
            lab.run("outside", ["rm", held])
            assert slow.result().stdout.split() == ["250", "250"]
            # It waits for room.
            ready.wait(
                "a delivery that fails", lambda: "552 5.2.2" in lab.run(host, ["smtpctl", "show", "queue"]).stdout
            )
        finally:
            lab.run("outside", ["rm", "-f", held])
            lab.run(host, ["doveadm", "expunge", "-u", eve, "mailbox", "INBOX", "all"])
    assert arrive(lab, host, f"{token}-again", recipients=eve).accepted
    wait_for(lab, host, f"{token}-again", user="eve")
    lab.run(host, ["smtpctl", "schedule", "all"])
    wait_for(lab, host, f"{token}-late", user="eve")
    assert lab.messages(f"{token}-late") == []


@pytest.mark.parametrize("end", ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r\n\0.\r\n"])
def test_smuggled_mail_comes_only_from_who_waits_for_answers(lab: Lab, host: str, token: str, end: str) -> None:
    """What another server took for the inside of one message must not be a second one here.

    A server that passes such a message on sends it in one go. Whoever waits for our answer in the middle of it is no
    server that was deceived, and may end a message so: OpenSMTPD takes a bare line feed for the end of a line.
    """
    ann, bare = of(host, "ann"), end in ("\n.\n", "\n.\r\n", "\r\n.\n")
    inner = f"MAIL FROM:<joe@outside.test>\r\nRCPT TO:<{ann}>\r\nDATA\r\n"
    for pause in (0, 0.5):
        names = [f"{token}-{pause}-{part}" for part in ("outer", "inner", "after")]
        outer, smuggled = (letter(name, "joe@outside.test", to=ann).replace("\n", "\r\n") for name in names[:2])
        words = [lab.address(host), ann, outer + "over" + end, inner, smuggled + ".\r\n", str(pause)]
        said = lab.run("outside", ["python3", "-c", SMUGGLE, *[json.dumps(word) for word in words]]).stdout
        assert arrive(lab, host, names[2]).accepted
        wait_for(lab, host, names[2])
        with Imap(lab, host) as client:
            arrived = [bool(client.find("INBOX", name)) for name in names[:2]]
        # Otherwise the end is no end, and all of it is one message, or none where it breaks off.
        assert not arrived[1] or (bare and pause), (arrived, said)
        if bare and pause:
            assert arrived == [True, True], said


# -- out ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("port", [587, 465])
def test_a_users_mail_is_believed_outside(lab: Lab, host: str, token: str, port: int) -> None:
    said = send(lab, host, token, port=port, wrapped=port == 465)
    assert said.accepted, said.steps
    found = lab.wait_for_message(token)
    assert found.verdicts == {"spf": "pass", "dkim": "pass", "dmarc": "pass"}
    assert len(found.parsed.get_all("DKIM-Signature") or []) == 2
    assert lab.address("stranger") not in str(found.raw)
    assert "host.stranger.test" not in str(found.raw)


def test_over_ipv6_too(lab: Lab, host: str, token: str) -> None:
    assert send(lab, host, token, version=6).accepted
    assert lab.wait_for_message(token).verdicts["dmarc"] == "pass"
    assert arrive(lab, host, f"{token}-in", version=6).accepted
    wait_for(lab, host, f"{token}-in")


def test_mail_of_the_host_itself(lab: Lab, host: str, token: str) -> None:
    for number, to in enumerate(("root", "www-data", of(host, "bob"), VICTIM)):
        lab.run(host, ["sendmail", to], input=f"Subject: {token}-{number}\n\nHello\n")
    wait_for(lab, host, f"{token}-0")
    wait_for(lab, host, f"{token}-1")
    wait_for(lab, host, f"{token}-2", user="bob")
    assert lab.wait_for_message(f"{token}-3").parsed["Subject"] == f"{token}-3"


# -- refused, each with a twin that succeeds ----------------------------------------------------
def test_nobody_relays(lab: Lab, host: str, token: str) -> None:
    for recipient, steps in ((VICTIM, ("RCPT", 550)), (of(host, "ann"), None)):
        said = arrive(lab, host, token, client="stranger", sender="a@stranger.test", recipients=recipient)
        assert (said.refusal[:2] if said.refusal else None) == steps, said.steps
    for port in (465, 587):
        options = {"port": port, "wrapped": port == 465, "recipients": VICTIM}
        assert not send(lab, host, token, **options, login=None).accepted
        assert send(lab, host, token, **options).accepted


def test_unknown_users_and_domains(lab: Lab, host: str, token: str) -> None:
    # 524: there is nobody to whom the address leads.
    for recipient, codes in ((of(host, "nobody"), {524, 550}), ("ann@third.example", {550}), (of(host, "ann"), {250})):
        said = arrive(lab, host, token, recipients=recipient)
        assert {step[1] for step in said.steps if step[0] == "RCPT"} <= codes, (recipient, said.steps)
        assert said.accepted == (250 in codes)


def test_no_password_without_tls(lab: Lab, host: str, token: str) -> None:
    assert send(lab, host, token, starttls=False).refusal[0] == "AUTH"  # type: ignore[index]
    with socket.create_connection((lab.address(host), 587), timeout=60) as plain:
        reader = plain.makefile("rb")
        reader.readline()
        plain.sendall(b"EHLO x.test\r\n")
        offered = b""
        while not offered.rpartition(b"\r\n250 ")[1]:
            offered += reader.readline()
            if re.search(rb"^250 ", offered, re.MULTILINE):
                break
        assert b"STARTTLS" in offered
        assert b"AUTH" not in offered
    assert send(lab, host, token, starttls=True).accepted


def test_wrong_password(lab: Lab, host: str, token: str) -> None:
    for password, taken in (("correct horse batterY", False), (PASSWORDS["ann"], True)):
        assert send(lab, host, token, login=(of(host, "ann"), password)).accepted == taken


def test_another_users_address(lab: Lab, host: str, token: str) -> None:
    mine, other = of(host, "ann.lee"), of(host, "bob")
    said = send(lab, host, f"{token}-1", sender=other)
    assert said.refusal and said.refusal[:2] == ("MAIL", 530), said.steps
    said = send(lab, host, f"{token}-2", writer=other)
    assert said.refusal == (".", 550, f"5.7.1 {other} in From is not yours"), said.steps
    assert send(lab, host, f"{token}-3", sender=mine, writer=mine).accepted


def test_our_addresses_from_outside(lab: Lab, host: str, token: str) -> None:
    mine = of(host, "bob")
    assert arrive(lab, host, f"{token}-1", sender=mine, writer="joe@outside.test").refusal[:2] == ("RCPT", 550)  # type: ignore[index]
    said = arrive(lab, host, f"{token}-2", writer=mine)
    assert said.refusal and said.refusal[:2] == (".", 550), said.steps
    assert said.refusal[2].startswith("5.7.1 Log in to send as"), said.steps
    assert arrive(lab, host, f"{token}-3").accepted


def test_what_we_signed_may_come_back(lab: Lab, host: str, token: str) -> None:
    assert send(lab, host, token).accepted
    signed = lab.wait_for_message(token).raw
    signed = signed[signed.index(b"DKIM-Signature:") :]
    assert arrive(lab, host, token, message=signed).accepted
    broken = signed.replace(b"Hello", b"Hallo")
    assert arrive(lab, host, token, message=broken).refusal[:2] == (".", 550)  # type: ignore[index]


def test_oversize(lab: Lab, host: str, token: str) -> None:
    for size, taken in ((68_000, False), (55_000, True)):
        said = send(lab, host, token, message=letter(token, of(host, "ann"), size=size))
        assert said.accepted == taken, said.steps


def test_the_certificate_is_served_everywhere(lab: Lab, host: str) -> None:
    context = ssl.create_default_context(cafile=lab.known["ca_file"])
    for port in (465, 993):
        plain = socket.create_connection((lab.address(host), port), timeout=60)
        with plain, context.wrap_socket(plain, server_hostname=lab.fqdn(host)) as client:
            assert client.version() in ("TLSv1.2", "TLSv1.3")
    for port in (25, 587):
        wanted = f"-verify_return_error -verify_hostname {lab.fqdn(host)}"
        asked = f"openssl s_client -starttls smtp -connect {lab.address(host)}:{port} {wanted} </dev/null 2>&1"
        assert "Verify return code: 0 (ok)" in lab.run("stranger", asked).stdout


def test_what_is_for_the_host_alone(lab: Lab, host: str) -> None:
    assert lab.listeners(host, 11334) == set()
    assert lab.listeners(host, 11333) == {"127.0.0.1:11333"}
    assert lab.listeners(host, 6379) <= {"127.0.0.1:6379", "[::1]:6379"}
    assert lab.listeners(host, 53) <= {"127.0.0.1:53", "[::1]:53"}
    socket_of = "stat -c '%a %U %G' /run/rspamd/controller.sock"
    assert lab.run(host, socket_of).stdout.split() == ["660", "_rspamd", "vmail"]


def test_who_guesses_is_shut_out(lab: Lab, host: str, token: str) -> None:
    guesser = lab.nameless()
    assert send(lab, host, token, source=guesser).accepted
    try:
        for dummy in range(5):  # the client tries twice in each session
            send(lab, host, token, source=guesser, login=(of(host, "ann"), "guess"), timeout=10)
        ready.wait("the ban", lambda: guesser in lab.run(host, "fail2ban-client status mail_server").stdout)
        assert send(lab, host, token, source=guesser, timeout=5).refusal[1] == 0  # type: ignore[index]
        assert send(lab, host, token).accepted
    finally:
        lab.run(host, ["fail2ban-client", "set", "mail_server", "unbanip", guesser], check=False)
    assert send(lab, host, token, source=guesser).accepted


def test_guesses_by_imap_are_counted(lab: Lab, host: str) -> None:
    def counted() -> int:
        said = lab.run(host, "fail2ban-client status mailboxes").stdout
        return int(said.partition("Total failed:")[2].split(maxsplit=1)[0])

    before = counted()
    with Imap(lab, host):
        pass
    assert counted() == before
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        Imap(lab, host, password="guess")
    ready.wait("the count", lambda: counted() > before)
