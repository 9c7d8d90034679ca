# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens, what waits and what From is written: as daemons tell it, and as a stranger behind a port might."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _mail_host as mh
from ansible_collections.postmaster.mail.plugins.module_utils import _mail_host_client as hc
from ansible_collections.postmaster.mail.plugins.module_utils import _mail_host_run as hr
from ansible_collections.postmaster.mail.plugins.module_utils import _mail_log as ml
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError, Result, Runner
from ansible_collections.postmaster.mail.plugins.module_utils._preflight import Holder, Listener
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
MASTER = Holder(7, ("master",), "/usr/lib/postfix/sbin/master", "postfix@-.service")
SSHD = Holder(8, ("sshd",), "/usr/sbin/sshd", "ssh.service")


def listener(address: str, port: int, inode: int) -> Listener:
    return Listener(ipaddress.ip_address(address), port, inode)


# --- doors -----------------------------------------------------------------------------------------


def test_addresses_of_one_program_at_one_port_are_one_door() -> None:
    found = mh.doors(
        [listener("::", 25, 2), listener("0.0.0.0", 25, 1), listener("127.0.0.1", 22, 3), listener("127.0.0.1", 9, 4)],
        {1: (MASTER,), 2: (MASTER,), 3: (SSHD,), 4: (MASTER, SSHD)},
    )
    assert [(door.port, door.addresses, door.program, door.is_mail, door.target) for door in found] == [
        (9, ("127.0.0.1",), "", False, "127.0.0.1"),  # of two who may hold it nobody knows which
        (22, ("127.0.0.1",), "OpenSSH", False, "127.0.0.1"),
        (25, ("0.0.0.0", "::"), "Postfix", True, "127.0.0.1"),
    ]
    assert mh.Door(25, ("::",), ()).target == "::1"


def test_of_several_who_may_hold_a_port_of_mail_the_only_one_of_mail_does() -> None:
    exim = Holder(9, ("exim4",))
    for holders, program in (
        ((SSHD, MASTER), "Postfix"),
        ((MASTER, Holder(70, ("master",))), "Postfix"),
        ((MASTER, exim), ""),
        ((), ""),
    ):
        (door,) = mh.doors([listener("::", 25, 1)], {1: holders})
        assert door.program == program


@pytest.mark.parametrize(
    ("holder", "expected"),
    [
        (Holder(9, ("perl", "spamd child"), "/usr/bin/perl", "spamd.service"), "SpamAssassin"),
        (Holder(9, ("postgrey --inet", "perl"), "/usr/bin/perl", "postgrey.service"), "Postgrey"),
        (Holder(9, ("rspamd",), "/usr/bin/rspamd", "rspamd-inbound.service"), "rspamd"),
        (Holder(9, ("python3",), "/usr/bin/python3", "postfix-policyd.service"), "python3"),
        (Holder(9, ("python3",)), "python3"),
    ],
)
def test_a_program_has_the_name_of_its_process_or_of_its_unit(holder: Holder, expected: str) -> None:
    assert mh.Door(10023, ("127.0.0.1",), (holder,)).program == expected


CERTIFICATE = mh.Certificate(("mail.example.org", "*.example.net"), NOW + timedelta(days=60), "CN = a", "CN = b")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mail.example.org", True),
        ("MAIL.example.org.", True),
        ("x.example.net", True),
        ("x.y.example.net", False),
        ("example.net", False),
    ],
)
def test_names_that_a_certificate_holds(name: str, expected: bool) -> None:
    assert CERTIFICATE.holds(name) is expected


def answer(**fields: Any) -> mh.Answer:
    return mh.Answer(
        **{"protocol": "smtp", "tls": "starttls", "version": "TLSv1.3", "certificate": CERTIFICATE, **fields}
    )


@pytest.mark.parametrize(
    ("said", "name", "addresses", "expected"),
    [
        (answer(), "mail.example.org", ("0.0.0.0",), []),
        (answer(), "web.example.org", ("0.0.0.0",), ["its certificate does not hold web.example.org"]),
        (answer(chain="self-signed certificate"), "mail.example.org", ("::",),
         ["no authority vouches for its certificate: self-signed certificate"]),
        (answer(version="TLSv1.1"), "mail.example.org", ("::",), ["TLSv1.1 is too old"]),
        (answer(certificate=mh.Certificate(("mail.example.org",), NOW - timedelta(days=1))), "mail.example.org", ("::",),
         ["its certificate ended on 2026-11-28"]),
        (answer(certificate=mh.Certificate(("mail.example.org",), NOW + timedelta(days=3))), "mail.example.org", ("::",),
         ["its certificate ends on 2026-12-02"]),
        (mh.Answer("smtp", tls="none"), "mail.example.org", ("0.0.0.0",), ["it offers no TLS"]),
        (mh.Answer("smtp", tls="none"), "mail.example.org", ("127.0.0.1", "::1"), []),  # nobody else can come there
        (mh.Answer("smtp", error="it hangs up"), "mail.example.org", ("::",), []),
    ],
)  # fmt: skip
def test_troubles_with_tls(said: mh.Answer, name: str, addresses: tuple[str, ...], expected: list[str]) -> None:
    assert mh.troubles(mh.Door(25, addresses, (MASTER,), said), name, NOW) == expected


def test_what_openssl_says_of_a_certificate() -> None:
    text = (
        "subject=CN = mail.example.org\nissuer=C = US, O = Let's Encrypt, CN = R11\nnotAfter=Feb  1 10:00:00 2027 GMT\n"
        "X509v3 Subject Alternative Name: \n    DNS:Mail.example.org, DNS:*.example.net, IP Address:192.0.2.25\n"
    )
    found = mh.parse_certificate(text)
    assert found.names == ("mail.example.org", "*.example.net", "192.0.2.25")
    assert (found.expires, found.subject, found.issuer) == (
        datetime(2027, 2, 1, 10, tzinfo=UTC),
        "CN = mail.example.org",
        "C = US, O = Let's Encrypt, CN = R11",
    )
    assert mh.parse_certificate("notAfter=Feb 99 10:00:00 2027 GMT\n") == mh.Certificate((), None)


# --- the queue ---------------------------------------------------------------------------------------


def test_a_queue_by_age_and_cause() -> None:
    def queued(minutes: int, *reasons: str, held: bool = False) -> ml.Queued:
        return ml.Queued(f"A{minutes}", "", NOW - timedelta(minutes=minutes), reasons, held)

    found = mh.waiting(
        [
            queued(1),
            queued(90, "connect to a.example[192.0.2.1]:25: Connection refused"),
            queued(100, "connect to b.example[192.0.2.2]:25: Connection refused"),
            queued(20_000, "host x[192.0.2.3] said: 450 4.2.0 Greylisted (in reply to RCPT TO command)", held=True),
            queued(95, "host y[192.0.2.3] said: 450 The owl sleeps (in reply to RCPT TO command)"),
        ],
        NOW,
    )
    assert (found.count, found.held, found.oldest) == (5, 1, 1_200_000)
    assert found.ages == {"5 minutes": 1, "4 hours": 3, "longer": 1}
    assert [(name, count) for name, dummy, count in found.causes] == [
        ("connection_refused", 2),
        ("greylisted", 1),
        ("unknown", 1),
    ]
    told = found.as_dict()["causes"]
    assert told[0]["mend"].startswith("see that its mail program runs") and told[2]["reason"].startswith(
        "host y[192.0.2.3] said"
    )


def test_opensmtpd_s_queue() -> None:
    text = (
        "83c95f296da6735f|inet4|mta||alex@sender.example|sam@there.example|sam@there.example|1795953600|1796299200|1795953660|0|pending|340|"
        "451 4.7.1 Greylisting in action\n"
        "93c95f296da6735f|local|mda|hold||root@sender.example|root@sender.example|1795953600|1796299200|0|0|pending|0|\nnonsense|x\n"
    )
    moment = datetime.fromtimestamp(1795953600, UTC)
    assert ml.parse_smtpctl_queue(text) == [
        ml.Queued("83c95f296da6735f", "alex@sender.example", moment, ("451 4.7.1 Greylisting in action",)),
        ml.Queued("93c95f296da6735f", "", moment, (), held=True),
    ]


# --- From --------------------------------------------------------------------------------------------

TABLES = {
    ("hash:/etc/postfix/canonical", "root@web1.example.org"): "admin@web1.example.org",
    ("hash:/etc/postfix/local", "root"): "boss",
    ("hash:/etc/postfix/domain", "@web1.example.org"): "@example.org",
    ("inline:{ {@web1.example.org = @example.org} }", "@web1.example.org"): "@example.org",
    ("hash:/etc/postfix/generic", "root@web1.example.org"): "web1@provider.example",
}
BASE = {"myorigin": "web1.example.org"}


@pytest.mark.parametrize(
    ("values", "mailname", "expected"),
    [
        (BASE, None, ["root@web1.example.org"]),
        ({"myorigin": "/etc/mailname"}, "example.org", ["root@example.org"]),
        ({"myorigin": "/etc/mailname"}, None, ["root"]),
        ({**BASE, "masquerade_domains": "example.org"}, None, ["root@web1.example.org", "root@example.org"]),
        ({**BASE, "masquerade_domains": "example.org", "masquerade_exceptions": "root, daemon"}, None, ["root@web1.example.org"]),
        ({**BASE, "masquerade_domains": "!web1.example.org example.org"}, None, ["root@web1.example.org"]),
        ({**BASE, "canonical_maps": "hash:/etc/postfix/none, hash:/etc/postfix/canonical"}, None,
         ["root@web1.example.org", "admin@web1.example.org"]),
        ({**BASE, "sender_canonical_maps": "hash:/etc/postfix/local"}, None, ["root@web1.example.org", "boss@web1.example.org"]),
        ({**BASE, "canonical_maps": "hash:/etc/postfix/domain"}, None, ["root@web1.example.org", "root@example.org"]),
        ({**BASE, "sender_canonical_maps": "hash:/etc/postfix/none, inline:{ {@web1.example.org = @example.org} }"}, None,
         ["root@web1.example.org", "root@example.org"]),
        ({**BASE, "smtp_generic_maps": "hash:/etc/postfix/generic"}, None, ["root@web1.example.org", "web1@provider.example"]),
    ],
)  # fmt: skip
def test_from_with_postfix(values: dict[str, str], mailname: str | None, expected: list[str]) -> None:
    steps = mh.postfix_from("root", values, mailname, lambda table, key: TABLES.get((table, key)))
    assert [step.address for step in steps] == expected


REWRITTEN = "  sender: root@web1.example.org\n    from: {0}\n      to: root@web1.example.org\nenv-from: {0}\n"


@pytest.mark.parametrize(
    ("rewritten", "settings", "expected"),
    [
        (REWRITTEN.format("root@web1.example.org"), {}, ["root@web1.example.org"]),
        (REWRITTEN.format("ops@example.org"), {}, ["root@web1.example.org", "ops@example.org"]),
        ("", {"dc_eximconfig_configtype": "satellite", "dc_hide_mailname": "true", "dc_readhost": "example.org"},
         ["root@web1.example.org", "root@example.org"]),
        ("", {"dc_eximconfig_configtype": "internet", "dc_hide_mailname": "true", "dc_readhost": "example.org"}, ["root@web1.example.org"]),
    ],
)  # fmt: skip
def test_from_with_exim(rewritten: str, settings: dict[str, str], expected: list[str]) -> None:
    assert [step.address for step in mh.exim_from("root", "web1.example.org", rewritten, settings)] == expected


def test_from_with_opensmtpd_and_gnu_mail() -> None:
    assert mh.opensmtpd_from("root", "web1.example.org", "example.org", "") == [
        mh.Rewrite("root@example.org", "/etc/mailname says example.org")
    ]
    steps = mh.opensmtpd_from(
        "root", "web1.example.org", None, mh.smtpd_masquerade("listen on socket masquerade <senders>\nlisten on lo\n")
    )
    assert [step.why for step in steps] == [
        "the host's name is web1.example.org, and there is no /etc/mailname",
        "senders in the table <senders> are changed (masquerade)",
    ]
    assert mh.mailutils_from("root", "address {\n  email-domain example.org;\n};")[0].address == "root@example.org"
    assert mh.mailutils_from("root", "# nothing") == []


def test_settings_that_differ_hide_their_passwords() -> None:
    set_here = mh.parse_parameters(
        "relayhost = [r.example]\nmyorigin = a\nsmtp_sasl_password_maps = static:me:hunter2\nbad\n"
    )
    found = mh.differing(set_here, {"relayhost": "", "myorigin": "a"})
    assert found == [
        mh.Setting("relayhost", "[r.example]", ""),
        mh.Setting("smtp_sasl_password_maps", "static:***", ""),
    ]


# --- what is said at a port ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that signs itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.example.org")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("mail.example.org")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(plain + made.public_bytes(serialization.Encoding.PEM))
    return path


@contextmanager
def server(script: Sequence[tuple[str, str]], *, tls: Path | None = None, after: str = "") -> Iterator[int]:
    """Says the first item's second part, then, for each command that begins as a first part, its second. TLS follows ``after``."""
    door = socket.create_server(("127.0.0.1", 0))

    def encrypted(session: socket.socket) -> socket.socket:
        assert tls is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)
        return context.wrap_socket(session, server_side=True)

    def serve() -> None:
        while True:
            try:
                session, dummy = door.accept()
            except OSError:
                return
            try:
                with session, session.makefile("rb") as wire:
                    session.sendall(script[0][1].encode())
                    for command, reply in script[1:]:
                        if not wire.readline().decode().startswith(command):
                            break
                        session.sendall(reply.encode())
                        if after and command == after:
                            encrypted(session).close()
                            break
            except (OSError, ssl.SSLError):
                pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield door.getsockname()[1]
    finally:
        door.shutdown(socket.SHUT_RDWR)
        door.close()
        thread.join(60)


def ask(port: int, timeout: float = 30) -> mh.Answer:
    (door,) = hc.MailHost(timeout=timeout).ask([mh.Door(port, ("127.0.0.1",), (MASTER,))])
    assert door.answer is not None
    return door.answer


SMTP = [
    ("", "220 mail.example.org ESMTP\r\n"),
    ("EHLO", "250-mail.example.org\r\n250-STARTTLS\r\n250 SIZE\r\n"),
    ("STARTTLS", "220 go\r\n"),
]
IMAP = [
    ("", "* OK ready\r\n"),
    ("c CAPABILITY", "* CAPABILITY IMAP4rev1 STARTTLS\r\nc OK done\r\n"),
    ("a STARTTLS", "a OK go\r\n"),
]
POP3 = [("", "+OK ready\r\n"), ("CAPA", "+OK\r\nSTLS\r\n.\r\n"), ("STLS", "+OK go\r\n")]
SIEVE = [("", '"IMPLEMENTATION" "x"\r\n"STARTTLS"\r\nOK "ready"\r\n'), ("STARTTLS", 'OK "go"\r\n')]
LMTP = [
    ("", "220 mail.example.org LMTP\r\n"),
    ("LHLO", "250-mail.example.org\r\n250-STARTTLS\r\n250 SIZE\r\n"),
    ("STARTTLS", "220 go\r\n"),
]
ALL = {"smtp": SMTP, "imap": IMAP, "pop3": POP3, "managesieve": SIEVE, "lmtp": LMTP}


@pytest.mark.parametrize("protocol", ALL)
def test_each_protocol_up_to_tls(protocol: str, certificate: Path) -> None:
    script = ALL[protocol]
    with server(script, tls=certificate, after=script[-1][0]) as port:
        found = ask(port)
    assert (found.protocol, found.tls, found.version, found.error) == (protocol, "starttls", "TLSv1.3", "")
    assert found.banner == " ".join(script[0][1].partition("\r\n")[0].split())
    assert found.chain.replace("-", " ") == "self signed certificate"
    assert found.certificate is not None
    assert (found.certificate.names, found.certificate.expires) == (
        ("mail.example.org",),
        datetime(2120, 1, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize("protocol", ALL)
def test_each_protocol_without_tls(protocol: str) -> None:
    script = [
        (command, reply.replace("250-STARTTLS\r\n", "").replace("STARTTLS", "X").replace("STLS", "X"))
        for command, reply in ALL[protocol]
    ]
    with server([*script[:-1], ("", "bye\r\n")]) as port:
        found = ask(port)
    assert (found.protocol, found.tls, found.version, found.certificate, found.error) == (
        protocol,
        "none",
        "",
        None,
        "",
    )


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ([("", "")], "it hangs up without a word"),
        ([("", "220 x\r\n"), ("EHLO", "")], "it hangs up without a word"),
        ([*SMTP[:2], ("STARTTLS", "454 not now\r\n")], "STARTTLS is answered with 454 not now"),
        ([("", "220 x\r\n"), ("EHLO", "250-x\r\n" * 200)], "its answer does not end"),
    ],
)
def test_a_session_that_breaks_off_is_told(script: list[tuple[str, str]], error: str) -> None:
    with server(script) as port:
        assert ask(port).error == error


def test_what_greets_as_nothing_known_is_left_alone() -> None:
    with server([("", "hello\x1b[31m\r\n")]) as port:
        found = ask(port)
    assert (found.protocol, found.banner, found.tls, found.error) == ("", "hello\x1b[31m", "", "")


def test_nobody_and_nobody_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        assert ask(port, timeout=0.2).error == "it does not answer within 0.2 seconds"
    assert ask(port).error == "connection refused"


def test_one_who_talks_for_ever_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:

        def drip() -> None:
            with contextlib.suppress(OSError):
                session, dummy = door.accept()
                with session:
                    while True:
                        session.sendall(b"2")
                        time.sleep(0.01)

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        assert ask(door.getsockname()[1], timeout=0.1).error == "it does not answer within 0.1 seconds"
        thread.join(60)


CONTEXT = ssl.create_default_context()


@given(st.binary(max_size=300))
def test_a_stranger_may_greet_as_it_likes(said: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(said + b"\r\n")
        theirs.shutdown(socket.SHUT_WR)
        session = hc.Session.__new__(hc.Session)
        session._socket, session._context, session._timeout, session._end = ours, CONTEXT, 60, time.monotonic() + 60
        try:
            found = session.talk("smtp")
            assert len(found.banner) <= 200
        except (hc._Broken, OSError):
            pass


# --- all of it -----------------------------------------------------------------------------------------


class Programs(Runner):
    """Says what Postfix and openssl would."""

    def __init__(self, said: dict[str, str]) -> None:
        self.said = said

    def run(self, argv: Any, **options: Any) -> Result:
        words = " ".join(argv)
        for start, text in self.said.items():
            if words.startswith(start):
                return Result(tuple(argv), 0, text, "")
        raise CommandError(f"{argv[0]} cannot be started: No such file or directory")


def tree(tmp_path: Path, **files: str) -> str:
    for name, text in {
        "var/lib/dpkg/status": "Package: postfix\nStatus: install ok installed\nVersion: 3.7.11-0+deb12u1\nProvides: mail-transport-agent\n\n",
        "etc/mailname": "web1.example.org\n",
        "proc/net/tcp": "head\n   0: 00000000:0019 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1\n",
        **files,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(tmp_path)


POSTFIX = {
    "postconf -h mail_version": "3.7.11\n",
    "postconf -n": "relayhost = [relay1.example.org]\nmyorigin = /etc/mailname\n",
    "postconf -d": "relayhost =\nmyorigin = $myhostname\n",
    "postconf -x": "myorigin = /etc/mailname\nmasquerade_domains = example.org\n",
    "postqueue -j": '{"queue_id": "18F891AA7F9", "arrival_time": 1795953600, "sender": "a@b.example", "recipients": [{"address": "c@d.example",'
    ' "delay_reason": "connect to d.example[192.0.2.1]:25: Connection refused"}]}\n',
}


def test_a_host_as_a_whole(tmp_path: Path) -> None:
    host = hc.MailHost(root=tree(tmp_path), runner=Programs(POSTFIX))
    view = hr.look(host, user="root", probe=False)
    told = view.as_dict()
    json.dumps(told)
    assert (told["mta"], told["version"], told["queue"]["causes"][0]["cause"]) == (
        "postfix",
        "3.7.11",
        "connection_refused",
    )
    assert told["settings"] == {
        "myorigin": {"value": "/etc/mailname", "default": "$myhostname"},
        "relayhost": {"value": "[relay1.example.org]", "default": ""},
    }
    assert [one["address"] for one in told["sender"]] == ["root@web1.example.org", "root@example.org"]
    assert [(one["port"], one["addresses"], one["program"]) for one in told["listeners"]] == [(25, ["0.0.0.0"], "")]
    assert told["unseen"] == ["whose port 25 is: that shows to root alone, in a container with CAP_SYS_PTRACE"]
    table = "\n".join(view.table())
    assert "  25  *  ?" in table and "Queue: 1 waiting" in table and "  1 x connection_refused" in table
    assert "  root@example.org       masquerade_domains is example.org" in table


def test_a_host_without_programs_of_mail_and_with_none_that_may_be_asked(tmp_path: Path) -> None:
    bare = hr.look(
        hc.MailHost(root=tree(tmp_path, **{"var/lib/dpkg/status": ""}), runner=Programs({})), user="root", probe=False
    )
    assert (bare.as_dict()["mta"], "queue" in bare.as_dict(), bare.sender) == ("", False, [])
    assert "Queue: there is no mail program" in bare.table()
    blind = hr.look(hc.MailHost(root=tree(tmp_path / "2"), runner=Programs({})), user="root", probe=False)
    assert "the queue: postqueue cannot be started: No such file or directory" in blind.unseen
    assert "Queue: not seen" in blind.table()


@pytest.mark.parametrize("user", ["", "a b", "-x", "a@b", "x" * 65])
def test_a_user_that_can_be_none_is_named(user: str, tmp_path: Path) -> None:
    host = hc.MailHost(root=tree(tmp_path), runner=Programs(POSTFIX))
    with pytest.raises(mh.HostError) as caught:
        hr.look(host, user=user, probe=False)
    assert str(caught.value) == f"user: {user!r} is no name of a user: give one of this host, such as root"
    hr.look(host, user="www-data", probe=False)


@given(st.text(max_size=300), st.text(max_size=80))
def test_hostile_text_is_no_error(text: str, more: str) -> None:
    mh.parse_certificate(text)
    ml.parse_smtpctl_queue(text)
    mh.smtpd_masquerade(text)
    mh.mailutils_from("root", text)
    mh.exim_from("root", more, text, {"dc_readhost": more})
    values = dict.fromkeys(mh.FROM_PARAMETERS, text)
    mh.postfix_from("root", values, more, lambda table, key: text)
    mh.waiting([ml.Queued("A", "", None, (text, more))], NOW).as_dict()
    mh.differing(mh.parse_parameters(text), {})
