# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refusals that real daemons were given, and the cause that the log's reader must find. Needs nothing but Python.

Each is a domain ``<name>.example`` with a mail server of its own, which answers ``stage`` with ``reply``; see
``_stage.py``. The words are those of providers' short replies; addresses and names are reserved ones. An empty
``replies`` is a connection that ends without a word.
"""

from __future__ import annotations

from dataclasses import dataclass

GREETING, HELLO, MAIL, RCPT, DATA, MESSAGE, DNS, TLS = "greeting hello mail rcpt data message dns tls".split()
IP = "198.51.100.2"
OURS = "sender.example"


@dataclass(frozen=True)
class Case:
    """``replies`` are the lines of one reply."""

    name: str
    cause: str
    stage: str
    replies: tuple[str, ...]


def _case(name: str, cause: str, stage: str, *replies: str) -> Case:
    return Case(name, cause, stage, replies)


CASES = (
    # The four of the beginning.
    _case("gmx-ptr", "no_ptr", GREETING, "554-gmx.example (mxgmx116) Nemesis ESMTP Service not available",
          "554-No SMTP service", "554-Bad DNS PTR resource record.",
          f"554 For explanation visit https://postmaster.gmx.example/en/error-messages?ip={IP}&c=rdns"),
    _case("blocked", "blocked", RCPT, "550 Email blocked"),
    _case("null-mx-sender", "sender_null_mx", MAIL, "550-Requested action not taken: mailbox unavailable",
          "550 Sender address has null MX"),
    _case("google-dmarc", "dmarc", MESSAGE, f"550-5.7.26 Unauthenticated email from {OURS} is not accepted due to domain's",
          f"550-5.7.26 DMARC policy. Please contact the administrator of {OURS} domain",
          "550 5.7.26 if this was a legitimate mail. - gsmtp"),
    # Google.
    _case("google-unauthenticated", "unauthenticated", MESSAGE,
          "550-5.7.26 Your email has been blocked because the sender is unauthenticated.",
          "550 5.7.26 Gmail requires all senders to authenticate with either SPF or DKIM. - gsmtp"),
    _case("google-ptr", "no_ptr", MESSAGE, f"550-5.7.25 [{IP}] The IP address sending this message does not have a",
          "550 5.7.25 PTR record setup, or the corresponding forward DNS entry does not point to it. - gsmtp"),
    _case("google-rate", "google_rate", MESSAGE, f"421-4.7.28 [{IP}] Our system has detected an unusual rate of",
          "421 4.7.28 unsolicited mail originating from your IP address. - gsmtp"),
    _case("google-spam", "google_spam", MESSAGE, f"550-5.7.1 [{IP}      12] Our system has detected that this message is",
          "550 5.7.1 likely unsolicited mail. - gsmtp"),
    _case("google-attachment", "attachment", MESSAGE,
          "552-5.7.0 This message was blocked because its content presents a potential", "552 5.7.0 security issue. - gsmtp"),
    _case("google-nobody", "no_such_user", RCPT, "550-5.1.1 The email account that you tried to reach does not exist.",
          "550 5.1.1 Please try double-checking the recipient's email address for typos. - gsmtp"),
    _case("google-full", "mailbox_full", RCPT, "452-4.2.2 The recipient's inbox is out of storage space.",
          "452 4.2.2 Please direct the recipient to free some. - gsmtp"),
    _case("google-disabled", "mailbox_disabled", RCPT, "550 5.2.1 The email account that you tried to reach is disabled. - gsmtp"),
    _case("google-busy-user", "recipient_rate", RCPT,
          "450-4.2.1 The user you are trying to contact is receiving mail at a rate that", "450 4.2.1 prevents additional messages. - gsmtp"),
    _case("google-relay", "google_relay", MAIL,
          f"550-5.7.1 Invalid credentials for relay [{IP}]. The IP address you've registered", "550 5.7.1 doesn't match the account. - gsmtp"),
    # Microsoft.
    _case("outlook-s3150", "microsoft_blocked", MAIL, f"550 5.7.1 Unfortunately, messages from [{IP}] weren't sent. Please contact"
          " your Internet service provider since part of their network is on our block list (S3150)."),
    _case("outlook-banned", "microsoft_blocked", MAIL, f"550 5.7.606 Access denied, banned sending IP [{IP}]"),
    _case("outlook-s775", "microsoft_rate", MAIL,
          f"451 4.7.650 The mail server [{IP}] has been temporarily rate limited due to IP reputation. (S775)"),
    _case("outlook-busy", "microsoft_rate", MAIL, f"451 4.7.500 Server busy. Please try again later from [{IP}]. (S77714)"),
    _case("outlook-level", "unauthenticated", MESSAGE,
          f"550 5.7.515 Access denied, sending domain {OURS} does not meet the required authentication level."),
    _case("outlook-dmarc", "dmarc", MESSAGE,
          f"550 5.7.509 Access denied, sending domain {OURS} does not pass DMARC verification and has a DMARC policy of reject."),
    _case("outlook-spf", "spf", MESSAGE, "550 5.7.23 The message was rejected because of Sender Policy Framework violation"),
    _case("outlook-nobody", "no_such_user", RCPT, "550 5.4.1 Recipient address rejected: Access denied. For more information see"
          " https://aka.ms/EXOSmtpErrors"),
    _case("outlook-relay", "relay_denied", RCPT, "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain"),
    # Yahoo.
    _case("yahoo-tss04", "yahoo_deferred", GREETING, f"421 4.7.0 [TSS04] Messages from {IP} temporarily deferred due to unexpected"
          " volume or user complaints - 4.16.55.1"),
    _case("yahoo-policy", "yahoo_policy", MESSAGE, "554 5.7.9 Message not accepted for policy reasons."),
    _case("yahoo-nobody", "no_such_user", MESSAGE, "554 delivery error: dd This user doesn't have a yahoo.example account"),
    # Lists.
    _case("spamhaus-zen", "spamhaus", RCPT, f"554 5.7.1 Service unavailable; Client host [{IP}] blocked using zen.spamhaus.org;"
          f" https://www.spamhaus.org/query/ip/{IP}"),
    _case("spamhaus-pbl", "spamhaus_pbl", RCPT, f"550 5.7.1 Client host [{IP}] blocked: https://www.spamhaus.org/pbl/query/PBL000001"),
    _case("spamhaus-open", "spamhaus_query", RCPT, f"554 5.7.1 Service unavailable; Client host [{IP}] blocked using"
          " zen.spamhaus.org; Error: open resolver; https://www.spamhaus.org/returnc/pub/192.0.2.53"),
    _case("barracuda", "barracuda", RCPT, f"550 5.7.1 Service unavailable; client [{IP}] blocked using b.barracudacentral.org;"
          f" http://www.barracudacentral.org/reputation?pr=1&ip={IP}"),
    _case("spamcop", "spamcop", RCPT, f"554 5.7.1 Service unavailable; Client host [{IP}] blocked using bl.spamcop.net"),
    _case("some-list", "blocklist", RCPT, f"554 5.7.1 Service unavailable; Client host [{IP}] blocked using bl.lists.example"),
    # Filters of others.
    _case("proofpoint", "proofpoint", GREETING, f"554 Blocked - see https://ipcheck.proofpoint.com/?ip={IP}"),
    _case("mimecast", "mimecast", RCPT, "550 Administrative prohibition - envelope blocked -"
          " https://community.mimecast.com/docs/DOC-1369#550"),
    _case("cisco", "cisco", GREETING, "554-mx.cisco.example", "554 Your access to this mail system has been rejected due to the sending"
          " MTA's poor reputation. If you believe that this failure is in error, please contact the intended recipient"),
    # Others.
    _case("apple", "apple", MESSAGE, "554 5.7.1 [CS01] Message rejected due to local policy."),
    _case("t-online", "t_online", GREETING, f"554 IP={IP} - A problem occurred. (Ask your postmaster for help or to contact"
          " tosa@rx.t-online.example to clarify.)"),
    _case("orange", "orange", GREETING, f"550 5.7.1 {IP} Service refuse. Veuillez essayer plus tard. OFR004_104 [104]"),
    _case("free-fr", "free_fr", GREETING, f"421 Too many spams from your IP ({IP}), please visit http://postmaster.free.example/"),
    # What any server says.
    _case("greylist", "greylisted", RCPT, "450 4.2.0 Recipient address rejected: Greylisted, see"
          " https://postgrey.example/help/sender.html"),
    _case("greylist-2", "greylisted", RCPT, "451 4.7.1 Greylisting in action, please come back later"),
    _case("rate", "rate_limited", MAIL, "421 4.7.0 Too many messages from your host, try again later"),
    _case("full", "mailbox_full", MESSAGE, "552 5.2.2 Mailbox full, quota exceeded"),
    _case("nobody", "no_such_user", RCPT, "550 5.1.1 User unknown in virtual mailbox table"),
    _case("nobody-2", "no_such_user", RCPT, "550 No such user here"),
    _case("relay", "relay_denied", RCPT, "554 5.7.1 Relay access denied"),
    _case("login", "authentication_required", MAIL, "530 5.7.0 Authentication required"),
    _case("starttls", "tls_required", MAIL, "530 5.7.0 Must issue a STARTTLS command first"),
    _case("tls-broken", "tls_failed", TLS, "454 4.7.0 TLS not available due to local problem"),
    _case("helo", "helo", HELLO, "550 5.7.1 Helo command rejected: need fully-qualified hostname"),
    _case("sender-domain", "sender_domain", MAIL, "450 4.1.8 Sender address rejected: Domain not found"),
    _case("spf-fail", "spf", MAIL, f"550 5.7.1 SPF fail: {OURS} does not designate {IP} as permitted sender"),
    _case("dkim-fail", "dkim", MESSAGE, "550 5.7.20 No passing DKIM signature found"),
    _case("spam", "spam", MESSAGE, "554 5.7.1 Spam message rejected"),
    _case("virus", "virus", MESSAGE, "550 5.7.1 Message contains a virus (Eicar-Test-Signature)"),
    _case("too-big", "too_big", MAIL, "552 5.3.4 Message size exceeds fixed limit"),
    _case("many-recipients", "too_many_recipients", RCPT, "452 4.5.3 Too many recipients"),
    _case("bare-lf", "bare_newline", MESSAGE, "521 5.5.2 Error: bare <LF> received"),
    _case("loop", "loop", MESSAGE, "554 5.4.6 Too many hops"),
    _case("disk", "remote_storage", MAIL, "452 4.3.1 Insufficient system storage"),
    _case("headers", "bad_headers", MESSAGE, "550 5.7.1 Messages missing a valid From header are not accepted"),
    _case("down", "remote_trouble", MAIL, "451 4.3.0 Temporary lookup failure"),
    _case("lost-mail", "lost_connection", MAIL),
    _case("lost-greeting", "lost_connection", GREETING),
    _case("closed", "connection_refused", GREETING, "closed"),
    _case("no-domain", "host_not_found", DNS, "NXDOMAIN"),
    _case("sick-dns", "dns_trouble", DNS, "SERVFAIL"),
    _case("null-mx", "null_mx", DNS, "NULLMX"),
    # What nobody has foreseen: two that differ in numbers and codes alone, and another.
    _case("odd-1", "unknown", RCPT, "550 5.9.1 Our owl refuses parcel 88123 of mx7.sender.example (ref AB12CD34)"),
    _case("odd-2", "unknown", RCPT, "554 5.9.7 Our owl refuses parcel 91 of mx9.sender.example (ref 77EF0012)"),
    _case("odd-3", "unknown", RCPT, "550 Tea is being served"),
)  # fmt: skip

BY_DOMAIN = {f"{case.name}.example": case for case in CASES}
