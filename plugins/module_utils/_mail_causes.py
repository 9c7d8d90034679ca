# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data: why mail is refused, deferred or stuck, by the words that servers use for it. Private to this collection.

To add a cause, add an entry to ``CATALOGUE``, a case to ``tests/logs/cases.py`` or a line to ``LINES`` in
``tests/unit/test_mail_log_info.py``, and its row to ``docs/explain.md``; tests compare them. The first entry with a
pattern that is found holds, so those of one provider stand before those of everybody. Patterns are regular
expressions, found anywhere and in either case in a reply on one line, whose lines after the first lost their codes.
One that a stranger's text can make slow has no place here: each repetition has a bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

LAST_LOOK = "2026-11-29"
KINDS = ("identity", "reputation", "content", "recipient", "limits", "access", "transport", "host")
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Cause:
    """Why mail does not arrive, in one sentence, and what mends it.

    ``kind`` is what it is about: who we are for the receiver (``identity``), what it thinks of our address
    (``reputation``) or of the message (``content``), the ``recipient``, ``limits``, ``access`` to a server that we
    send through, the way there (``transport``), or this ``host`` itself. ``by`` names who says so where it is one
    provider, and ``page`` the page where it can be taken up with them. ``patterns`` are described above.
    """

    kind: str
    title: str
    mend: str
    patterns: tuple[str, ...]
    by: str = ""
    page: str = ""
    compiled: tuple[re.Pattern[str], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "compiled", tuple(re.compile(_small(one)) for one in self.patterns))

    def explains(self, small: str) -> bool:
        """Whether one of the patterns is found in a reply in small letters, where they are found much faster."""
        return any(pattern.search(small) for pattern in self.compiled)


_LETTERS = re.compile(r"\\.|\(\?P|[A-Z]+", re.DOTALL)


def _small(pattern: str) -> str:
    """A pattern in small letters; what stands behind a backslash stays."""
    return _LETTERS.sub(lambda found: found[0] if found[0][0] in "\\(" else found[0].lower(), pattern)


def find(reply: str, catalogue: Mapping[str, Cause]) -> str:
    """The name of the first cause that explains a reply, or ``unknown``."""
    small = reply.lower()
    return next((name for name, cause in catalogue.items() if cause.explains(small)), UNKNOWN)


class CauseError(ValueError):
    """A cause of one's own makes no sense; the message names it and the remedy."""


def own_causes(items: Iterable[Mapping[str, str]]) -> dict[str, Cause]:
    """Causes given by a person, with ``name``, ``pattern``, ``title``, ``mend`` and ``kind``; before ours they hold."""
    found: dict[str, Cause] = {}
    for number, item in enumerate(items):
        name = item["name"].strip()
        if not re.fullmatch(r"[a-z0-9_]{1,60}", name) or name == UNKNOWN:
            raise CauseError(f"causes[{number}]: name: {name!r} is no name: use small letters, digits and _")
        if name in found:
            raise CauseError(f"causes[{number}]: name: {name!r} is there twice: give each cause a name of its own")
        if not item["pattern"]:
            raise CauseError(f"causes[{number}] ({name}): pattern: is empty, and would explain everything")
        try:
            cause = Cause(item["kind"], item["title"], item["mend"], (item["pattern"],))
        except re.error as err:
            raise CauseError(f"causes[{number}] ({name}): pattern: {err}: give a regular expression of Python") from err
        if cause.explains(""):
            raise CauseError(f"causes[{number}] ({name}): pattern: matches an empty text, and would explain everything")
        found[name] = cause
    return found


_WARM_UP = "send less at a time and only to people who asked for it, and raise the volume over weeks"

CATALOGUE: dict[str, Cause] = {
    # --- who we are ---------------------------------------------------------------------------
    "no_ptr": Cause(
        "identity",
        "the sending address has no name in reverse DNS, or one that does not lead back to it",
        "have the provider of the address set its PTR to the server's full name, whose A or AAAA record leads back: "
        "dig -x ADDRESS, then dig NAME; IPv6 needs the same",
        (
            r"dns ptr",
            r"\bptr\b.{0,60}(?:record|missing|not |no )",
            r"(?:no|missing|without|invalid) (?:\w+ )?ptr\b",
            r"reverse (?:dns|hostname|lookup|name)",
            r"\brdns\b",
            r"cannot find your (?:reverse )?host",
            r"5\.7\.25\b",
            r"does not have a ptr",
            r"\bfcrdns\b",
            r"cannot resolve your address",
        ),
    ),
    "dmarc": Cause(
        "identity",
        "the domain in From has a DMARC policy, and neither SPF nor DKIM passes for that domain",
        "have the relay sign with DKIM for the domain in From, or send with an envelope sender of that domain from an "
        "address in its SPF record; mail_check shows both. If you forward, send as an address of your own",
        (r"\bdmarc\b", r"5\.7\.509\b"),
    ),
    "unauthenticated": Cause(
        "identity",
        "the receiver takes mail only with SPF or DKIM that passes, and neither does",
        "publish SPF and DKIM records for the domain and have the relay sign (roles relay and records); bulk senders "
        "need both, and DMARC",
        (
            r"sender is unauthenticated",
            r"authenticate with either spf or dkim",
            r"5\.7\.515\b",
            r"5\.7\.26\b",
            r"required authentication level",
            r"unauthenticated (?:email|mail|sender)",
            r"from: header .{0,40}isn't aligned",
        ),
    ),
    # --- providers' own lists and doubts ------------------------------------------------------
    "spamhaus_query": Cause(
        "host",
        "the receiver asks Spamhaus through a public resolver and takes the refusal to answer for a listing",
        "it is the receiver's to mend: tell its postmaster, by another way, to use a resolver of their own or a DQS "
        "key. Your address is not listed because of this",
        (r"spamhaus.{0,200}(?:open resolver|returnc|excessive number)", r"spamhaus\.org/returnc"),
        by="Spamhaus",
        page="https://www.spamhaus.org/returnc/pub/",
    ),
    "microsoft_blocked": Cause(
        "reputation",
        "Microsoft has the sending address, or its network, on its own list",
        "ask for it to be taken off at the page below (for 5.7.511 by mail to delist@microsoft.com) after the reason "
        "is mended; join SNDS and JMRP to see what Microsoft sees",
        (
            r"\(S3140\)",
            r"\(S3150\)",
            r"5\.7\.(?:511|60[6-9]|6[1-4]\d)\b",
            r"banned sending ip",
            r"network is on our block list",
            r"\((?:SC|DY|OU)-00\d\)",
            r"\b(?:SC|DY|OU)-00\d\b.{0,80}outlook",
            r"5\.7\.708\b",
        ),
        by="Microsoft",
        page="https://sender.office.com/",
    ),
    "microsoft_rate": Cause(
        "limits",
        "Microsoft takes little mail from the sending address for now, as it does not know or trust it",
        f"the queue tries again by itself; {_WARM_UP}",
        (
            r"\(S775\)",
            r"\(S77714\)",
            r"4\.7\.(?:500|650|651)\b",
            r"\(?RP-00\d\)?.{0,80}rate limit",
            r"rate limited due to ip reputation",
            r"exceeded the rate limit allowed",
        ),
        by="Microsoft",
        page="https://sendersupport.olc.protection.outlook.com/pm/",
    ),
    "microsoft_tenant": Cause(
        "access",
        "Microsoft 365 does not let this account or tenant send",
        "look in the admin center at restricted users and at the outbound limits of the tenant",
        (r"5\.1\.8\b.{0,80}outbound", r"5\.1\.90\b", r"5\.7\.70[45]\b", r"5\.7\.750\b", r"bad outbound sender"),
        by="Microsoft",
        page="https://security.microsoft.com/restrictedentities",
    ),
    "google_relay": Cause(
        "access",
        "smtp-relay.gmail.com does not know the sending address or the account",
        "in the admin console under Gmail, Routing, SMTP relay service: add the relay's public addresses, IPv6 too, or "
        "log in; send with an envelope sender of a domain of that account",
        (r"invalid credentials for relay", r"mail relay denied", r"smtp relay service"),
        by="Google",
        page="https://support.google.com/a/answer/2956491",
    ),
    "google_limit": Cause(
        "limits",
        "the Google account has sent what it may in a day",
        "wait until tomorrow, or send bulk mail by another way",
        (r"daily (?:user |smtp relay )?sending (?:limit|quota) exceeded", r"5\.4\.5\b.{0,60}daily"),
        by="Google",
        page="https://support.google.com/a/answer/166852",
    ),
    "google_rate": Cause(
        "limits",
        "Google sees more unwanted mail from the sending address or domain than it likes, and slows it down",
        f"the queue tries again by itself; {_WARM_UP}; see the spam rate in Postmaster Tools",
        (r"[45]\.7\.28\b", r"unusual rate of unsolicited"),
        by="Google",
        page="https://support.google.com/mail/answer/81126",
    ),
    "google_ip": Cause(
        "reputation",
        "Google takes no mail straight from this address, as it looks like that of a home or of nobody",
        "send through a relay with a static address and a name of its own in reverse DNS",
        (r"not authorized to send email directly",),
        by="Google",
        page="https://support.google.com/mail/answer/10336",
    ),
    "google_spam": Cause(
        "content",
        "Google takes the message, or the domain's or address's mail as a whole, for spam",
        "look at domain and address reputation in Postmaster Tools, at whether SPF, DKIM and DMARC pass "
        "(mail_score), and at what the message looks like",
        (r"likely (?:unsolicited|suspicious)", r"very low reputation of the sending"),
        by="Google",
        page="https://support.google.com/mail/answer/188131",
    ),
    "yahoo_deferred": Cause(
        "reputation",
        "Yahoo defers mail of this address after complaints of users or an unexpected volume",
        f"the queue tries again by itself; {_WARM_UP}; enrol in the complaint feedback loop. TSS11 is for good: ask "
        "for a review",
        (r"\[TS[SU]\d\d\]", r"unexpected volume or user complaints", r"permanently deferred"),
        by="Yahoo",
        page="https://senders.yahooinc.com/",
    ),
    "yahoo_policy": Cause(
        "content",
        "Yahoo refuses the message for what is in it, or for who it claims to be from",
        "see that SPF and DKIM pass and align, then at links and attachments; ask for a review with the whole reply",
        (r"5\.7\.9.{0,40}message not accepted for policy reasons", r"not accepted for policy reasons"),
        by="Yahoo",
        page="https://senders.yahooinc.com/smtp-error-codes/",
    ),
    "apple": Cause(
        "content",
        "Apple's iCloud refuses the message or the sending address by its own policy",
        "see that SPF, DKIM and DMARC pass and that nobody complains, then write to icloudadmin@apple.com with the "
        "whole reply",
        (r"\[(?:CS|HM|HME|PH|SH)\d\d\]", r"rejected due to local policy\. ?(?:please visit https?://support\.apple)?"),
        by="Apple",
        page="https://support.apple.com/en-us/102322",
    ),
    "t_online": Cause(
        "reputation",
        "T-Online takes no mail from addresses that it does not know",
        "the server's name must be that of the address in reverse DNS, and lead to a web page that says who runs it "
        "and how to reach them; then write to the address in the reply, with the sending address",
        (r"(?:tosa|tobr)@rx\.t-online", r"dialup/transient ip", r"IP=[0-9a-f.:]+ - a problem occurred"),
        by="T-Online",
        page="https://postmaster.t-online.de/",
    ),
    "gmx_policy": Cause(
        "reputation",
        "GMX, WEB.DE or IONOS refuses the sending address or domain",
        "open the link in the reply, which tells the reason, and fill in its form when that is mended",
        (
            r"(?:gmx|web\.de|1and1|kundenserver|ionos).{0,160}(?:block ?list|policy|restrict)",
            r"reject due to policy restrictions",
            r"nemesis esmtp service not available",
        ),
        by="GMX",
        page="https://postmaster.gmx.net/en/error-messages",
    ),
    "orange": Cause(
        "reputation",
        "Orange refuses or slows down the sending address",
        f"{_WARM_UP}; for OFR_4xx mend the authentication, else ask for a review with the code",
        (r"\bOFR[_0-9]{3,12}", r"\bOFR00\d", r"trop de connexions", r"service refuse\b"),
        by="Orange",
        page="https://postmaster.orange.fr/",
    ),
    "free_fr": Cause(
        "reputation",
        "Free sees too much spam from the sending address",
        f"{_WARM_UP}; a listing ends by itself after a day without complaints",
        (r"too many spams? from your ip", r"postmaster\.free\."),
        by="Free",
        page="https://postmaster.free.fr/",
    ),
    "laposte": Cause(
        "reputation",
        "La Poste refuses the sending address or the message",
        "look the code up at the page below and write to its postmaster",
        (r"\bLPN?\d{3}[_ ]\d+", r"\blaposte\.net\b.{0,80}refus"),
        by="La Poste",
        page="https://postmaster.laposte.net/",
    ),
    "comcast": Cause(
        "reputation",
        "Comcast blocks or slows down the sending address",
        "open the link in the reply and fill in its form when the reason is mended",
        (r"\b(?:BL|RL|PH|DM)0000\d{2}\b", r"postmaster\.comcast\.net"),
        by="Comcast",
        page="https://postmaster.comcast.net/",
    ),
    "charter": Cause(
        "reputation",
        "Spectrum blocks or slows down the sending address",
        "look the AUP code up at the page below and write to its postmaster",
        (r"\bAUP#[A-Z0-9-]+",),
        by="Spectrum",
        page="https://www.spectrum.net/support/internet/understanding-email-error-codes",
    ),
    "mail_ru": Cause(
        "content",
        "Mail.ru takes the message for spam",
        "see that SPF, DKIM and DMARC pass, then write to its support with the whole reply",
        (r"help\.mail\.ru", r"spam message rejected\. please visit"),
        by="Mail.ru",
        page="https://postmaster.mail.ru/",
    ),
    "yandex": Cause(
        "content",
        "Yandex takes the message for spam",
        "see that SPF, DKIM and DMARC pass, then fill in its form with the whole reply",
        (r"suspicion of spam", r"\bya\.cc/"),
        by="Yandex",
        page="https://postmaster.yandex.ru/",
    ),
    "qq": Cause(
        "reputation",
        "Tencent's QQ Mail refuses or slows down the sending address",
        f"{_WARM_UP}; open the link in the reply",
        (r"service\.mail\.qq\.com", r"\bmail content denied\b"),
        by="QQ Mail",
        page="https://service.mail.qq.com/",
    ),
    # --- lists of others ----------------------------------------------------------------------
    "spamhaus_pbl": Cause(
        "reputation",
        "the sending address is on Spamhaus PBL: its provider says that no mail comes straight from there",
        "send through a relay; if the address is static and a mail server's, take it off at the page below",
        (r"spamhaus\.org/pbl", r"pbl\.spamhaus\.org", r"spamhaus\.org.{0,80}\bPBL\d+"),
        by="Spamhaus",
        page="https://check.spamhaus.org/",
    ),
    "spamhaus_dbl": Cause(
        "reputation",
        "a domain in the message, or the sender's, is on Spamhaus DBL",
        "look every domain up that the message names; mend what got it listed, then ask at the page below",
        (r"dbl\.spamhaus\.org", r"spamhaus (?:dbl|domain block)", r"spamhaus\.org/(?:query/)?dbl"),
        by="Spamhaus",
        page="https://check.spamhaus.org/",
    ),
    "spamhaus": Cause(
        "reputation",
        "the sending address is on a list of Spamhaus",
        "look it up at the page below, which tells the list and the reason: often a machine behind the address that "
        "sends spam. Mend that first, then ask there to be taken off",
        (r"spamhaus", r"\[BL2[0-9]\]"),
        by="Spamhaus",
        page="https://check.spamhaus.org/",
    ),
    "barracuda": Cause(
        "reputation",
        "the sending address has a poor reputation at Barracuda",
        "ask to be taken off at the page below, which takes a day; mend first what sent spam",
        (r"barracuda(?:central|networks)?", r"permanent failure for one or more recipients \([^)]{1,200}:blocked\)"),
        by="Barracuda",
        page="https://www.barracudacentral.org/rbl/removal-request",
    ),
    "spamcop": Cause(
        "reputation",
        "people have reported mail of the sending address to SpamCop",
        "find what they reported; the listing ends by itself a day after the last report",
        (r"spamcop",),
        by="SpamCop",
        page="https://www.spamcop.net/bl.shtml",
    ),
    "proofpoint": Cause(
        "reputation",
        "Proofpoint, or Cloudmark, which is the same house, blocks the sending address",
        "look it up and ask for its release at the page below",
        (r"ipcheck\.proofpoint", r"proofpoint\.com", r"cloudmark", r"\bppe-hosted\b", r"pphosted"),
        by="Proofpoint",
        page="https://ipcheck.proofpoint.com/",
    ),
    "mimecast": Cause(
        "reputation",
        "the receiver's Mimecast refuses the sending address, the sender or the message",
        "look the number after # up at the page below; the receiver's administrator can permit the sender",
        (
            r"mimecast",
            r"administrative prohibition",
            r"rejected by header based",
            r"email rejected due to security policies",
            r"internal resources are temporarily unavailable",
        ),
        by="Mimecast",
        page="https://mimecastsupport.zendesk.com/",
    ),
    "cisco": Cause(
        "reputation",
        "the sending address has a poor reputation at Cisco Talos",
        "look it up at the page below and open a ticket there when the reason is mended",
        (r"sending mta's poor reputation", r"senderbase", r"talosintelligence"),
        by="Cisco",
        page="https://talosintelligence.com/reputation_center",
    ),
    "trend_micro": Cause(
        "reputation",
        "the sending address is on a list of Trend Micro",
        "look it up and ask to be taken off at the page below",
        (r"mail-abuse\.(?:com|org)", r"trend ?micro", r"ers\.trendmicro"),
        by="Trend Micro",
        page="https://servicecentral.trendmicro.com/en-us/ers/ip-lookup/",
    ),
    "uceprotect": Cause(
        "reputation",
        "the sending address, or its whole network, is on a list of UCEPROTECT",
        "level 1 ends by itself after a week; levels 2 and 3 blame the provider. Tell the receiver that these refuse "
        "mail of innocent neighbours; do not pay",
        (r"uceprotect",),
        by="UCEPROTECT",
        page="https://www.uceprotect.net/en/rblcheck.php",
    ),
    "abusix": Cause(
        "reputation",
        "the sending address is on a list of Abusix",
        "look it up and ask to be taken off at the page below",
        (r"abusix",),
        by="Abusix",
        page="https://lookup.abusix.com/",
    ),
    "blocklist": Cause(
        "reputation",
        "the sending address or domain is on a public list that the receiver asks",
        "the reply names the list: look the address up there, mend what got it listed, and ask to be taken off",
        (
            r"blocked using ",
            r"(?:listed|found) (?:in|on|at|by) [a-z0-9.-]{1,80}\.[a-z]{2,}",
            r"\b(?:rbl|dnsbl|surbl)\b",
            r"black ?list",
            r"block ?list",
            r"deny ?list",
        ),
    ),
    # --- what any server says of the sender ---------------------------------------------------
    "sender_null_mx": Cause(
        "identity",
        "the sender's domain says by a null MX (RFC 7505) that it takes no mail, so no mail is taken from it",
        "send with an envelope sender in a domain that takes mail, or give this one an MX that does; see "
        "/etc/mailname and masquerading",
        (r"sender address has null mx", r"sender.{0,60}null ?mx", r"5\.7\.27\b"),
    ),
    "null_mx": Cause(
        "recipient",
        "the recipient's domain says by a null MX (RFC 7505) that it takes no mail",
        "correct the address: nobody can be reached there",
        (
            r"does not accept mail \(nullmx\)",
            r"null ?mx",
            r"indicated no smtp service",
            r"domain does not accept mail",
            r"empty mx\b",
            r"\b556\b.{0,80}does not accept",
            r"5\.1\.10\b.{0,40}null",
        ),
    ),
    "sender_domain": Cause(
        "identity",
        "the receiver does not find the sender's domain, or no mail server for it, in DNS",
        "send with an envelope sender in a domain that exists and takes mail: /etc/mailname, masquerading, and the "
        "domain's MX or A record",
        (
            r"sender address rejected: (?:domain|undeliverable|unverified)",
            r"sender (?:domain|address).{0,60}(?:not exist|not found|resolve|invalid)",
            r"sender verify fail",
            r"domain of sender",
            r"[45]\.1\.8\b",
            r"no valid mx.{0,40}sender",
            r"sender verification",
            r"invalid dns mx or a",
        ),
    ),
    "spf": Cause(
        "identity",
        "SPF says that this address may not send for the envelope sender's domain",
        "add the sending address to the domain's SPF record (spf_record), or send through a host that is in it",
        (
            r"\bspf\b",
            r"sender policy framework",
            r"5\.7\.(?:23|24)\b",
            r"not (?:designate|permitted sender)",
            r"openspf",
        ),
    ),
    "dkim": Cause(
        "identity",
        "the message has no DKIM signature that verifies",
        "see that the relay signs, that the key is published, and that nothing changes the message after it "
        "(dkim_signature_info, mail_score)",
        (r"\bdkim\b", r"5\.7\.2[0-2]\b"),
    ),
    "helo": Cause(
        "identity",
        "the receiver does not like the name that this host greets with",
        "greet with a full name that has an address and is that of the address in reverse DNS: myhostname in Postfix, "
        "primary_hostname in Exim, hostname in OpenSMTPD",
        (
            r"\b(?:helo|ehlo)\b.{0,60}(?:reject|invalid|need|required|not |bad|mismatch|resolve)",
            r"(?:invalid|bad|need|forged) (?:helo|ehlo)",
            r"fully-qualified hostname",
        ),
    ),
    # --- access to a server that we send through ----------------------------------------------
    "authentication_failed": Cause(
        "access",
        "the server does not know the user name or takes another password",
        "set the password anew where it is kept (smtp_sasl_password_maps, passwd.client, a table of credentials); "
        "many providers want one made for the application",
        (
            r"authentication (?:failed|failure|unsuccessful|credentials invalid)",
            r"username and password not accepted",
            r"\b535\b",
            r"5\.7\.(?:8|139)\b",
            r"\b534\b",
            r"authenticator failed",
            r"incorrect authentication data",
            r"invalid credentials",
        ),
    ),
    "authentication_required": Cause(
        "access",
        "the server takes mail only after a login",
        "set user name and password for it, and TLS; or let it trust this host's address",
        (
            r"authentication (?:is )?required",
            r"\b530\b(?!.{0,60}starttls)",
            r"not authenticated",
            r"please (?:authenticate|log ?in)",
            r"relaying .{0,30}without auth",
            r"5\.7\.57\b",
            r"must authenticate",
            r"no (?:worthy|mechanism).{0,10}mech",
        ),
    ),
    "tls_required": Cause(
        "transport",
        "the server takes mail only over TLS",
        "let this host use TLS: smtp_tls_security_level = may in Postfix; Exim and OpenSMTPD do by themselves, unless "
        "told not to",
        (
            r"must issue a starttls",
            r"starttls (?:is )?required",
            r"(?:tls|encryption) (?:is )?required(?!, but)",
            r"required to use tls",
            r"requires? (?:tls|encryption)",
            r"5\.7\.29\b",
            r"starttls first",
        ),
    ),
    "relay_denied": Cause(
        "access",
        "the server takes mail neither for that recipient's domain nor from this client for others",
        "let it take mail from this host (relay_networks, pmg_network) or log in there; at a recipient's own server "
        "its list of domains or the MX record is wrong",
        (
            r"relay(?:ing)? (?:access )?(?:is )?(?:denied|not (?:permitted|allowed)|prohibited)",
            r"unable to relay",
            r"not permitted to relay",
            r"5\.7\.(?:54|64)\b",
            r"we do not relay",
            r"no relay",
            r"client host rejected: access denied",
            r"relaying (?:denied|prohibited)",
            r"rejected rcpt.{0,80}relay",
        ),
    ),
    # --- this host ----------------------------------------------------------------------------
    "milter": Cause(
        "host",
        "a filter (milter) that mail must pass does not answer",
        "see that it runs (rspamd, opendkim) and where it listens; milter_default_action says what happens meanwhile",
        (
            r"milter.{0,80}(?:connect|error|unavailable|timeout|can't)",
            r"service unavailable - try again later",
            r"4\.7\.1 service unavailable",
        ),
    ),
    "transport_down": Cause(
        "host",
        "the mail program cannot start, or reach, the part that delivers",
        "the lines just before say why (fatal:, error:); see master.cf, a socket of another program, or its "
        "permissions",
        (
            r"mail transport unavailable",
            r"unknown mail transport error",
            r"private/\S{1,80}: (?:no such file|connection refused|permission)",
            r"connect to \S{0,80}\[?private/",
            r"throttling",
            r"private/\S{1,80} socket: malformed response",
        ),
    ),
    "bad_port": Cause(
        "host",
        "a port in Postfix's configuration is no number and no name of a service",
        "look at what stands after the last colon in relayhost, transport_maps and master.cf: postconf -n; "
        "postmap -q DOMAIN TABLE",
        (
            r"garbage after numerical service",
            r"unknown service",
            r"bad port",
            r"invalid port",
            r"no such service",
            r"garbage after",
        ),
    ),
    "port_taken": Cause(
        "host",
        "another program has the port that the mail program wants",
        "ss -ltnp shows which; one of the two must go, or listen elsewhere",
        (r"address already in use", r"\bbind\b.{0,60}(?:failed|in use)"),
    ),
    "loop": Cause(
        "host",
        "mail goes round in a circle, or to a host that does not know that it is meant",
        "a recipient's domain must be in the destination's list of domains (mydestination, relay_domains, a router or "
        "a match), and an MX must not lead back to a host that sends it on",
        (
            r"loops? back to (?:myself|me)",
            r"too many hops",
            r"5\.4\.6\b",
            r"mail (?:forwarding )?loop",
            r"routing loop",
            r"hop count",
            r"lowest numbered mx record points to local host",
            r"remote host address is the local host",
            r"loop detected",
        ),
    ),
    "destinations_failed": Cause(
        "transport",
        "no server of the domain could be used; OpenSMTPD tells why in lines of their own",
        "see the other groups of the same time, or grep 'mta error' in the log",
        (r"network error on destination", r"all mxs? (?:failed|disabled)", r"no valid route"),
    ),
    # --- the recipient ------------------------------------------------------------------------
    "host_not_found": Cause(
        "recipient",
        "the recipient's domain, or the next server's name, is not in DNS",
        "correct the address, or the name in relayhost or its like: dig MX DOMAIN",
        (
            r"host or domain name not found(?!.{0,120}try again)",
            r"host not found(?!.{0,40}try again)",
            r"(?<!or )domain (?:name )?(?:not found|does not exist)",
            r"nxdomain",
            r"no mx (?:record )?found",
            r"unrouteable mail domain",
            r"unknown (?:host|domain)",
            r"all relevant mx records point to non-existent hosts",
            r"host lookup failed",
            r"no such domain",
            r"5\.4\.4\b",
            r"no (?:valid |usable )?mx",
        ),
    ),
    "greylisted": Cause(
        "limits",
        "the receiver lets the first try of an unknown sender wait",
        "nothing: the queue tries again by itself. If it lasts, send from one address, not from a changing one",
        (r"gr[ae]y-?list", r"postgrey", r"try again in \d+ (?:seconds|minutes)", r"please come back later"),
    ),
    "recipient_rate": Cause(
        "limits",
        "the recipient gets more mail than its provider delivers at a time",
        "the queue tries again by itself; if it is your mail, send less of it to that address",
        (r"receiving mail (?:at a rate|too quickly)", r"5\.2\.122\b", r"recipient.{0,40}(?:rate|too many messages)"),
    ),
    "mailbox_full": Cause(
        "recipient",
        "the recipient's mailbox is full",
        "tell the recipient by another way",
        (
            r"(?:mailbox|inbox|mail box|quota|mail quota).{0,40}(?:full|exceed|over|out of)",
            r"over ?quota",
            r"quota exceeded",
            r"exceeded .{0,30}(?:quota|storage)",
            r"out of storage",
            r"[45]\.2\.2\b",
            r"insufficient (?:space|storage) (?:in|for) (?:user|mailbox)",
        ),
    ),
    "mailbox_disabled": Cause(
        "recipient",
        "the recipient's mailbox exists and takes no mail",
        "take the address off your lists and ask the recipient for another",
        (
            r"(?:account|mailbox|user|address).{0,60}(?:disabled|inactive|suspended|deactivated|locked|expired)",
            r"5\.2\.1\b",
        ),
    ),
    "unrouteable": Cause(
        "recipient",
        "Exim finds no way to the address: its domain is not in DNS, or is that server's own and has no such user",
        "correct the address; exim4 -bt ADDRESS tells more on the host that says so",
        (r"unrout(?:e)?able",),
    ),
    "no_such_user": Cause(
        "recipient",
        "the receiver has no such recipient",
        "correct the address, or take it off your lists; many of these harm the sending address's reputation",
        (
            r"user (?:is )?unknown",
            r"unknown (?:user|recipient|mailbox|local)",
            r"no such (?:user|recipient|mailbox|address|person|local|domain)",
            r"(?:does not|doesn't|not) exist",
            r"5\.1\.(?:1|2|3|10)\b",
            r"invalid (?:recipient|mailbox|address|user)",
            r"recipient (?:address rejected|not found|rejected|unknown|invalid)",
            r"mailbox (?:not found|unavailable|unknown)",
            r"5\.4\.1\b",
            r"doesn't have an? .{0,40}account",
            r"address unknown",
            r"no mailbox here",
            r"user not found",
            r"unknown (?:or illegal )?alias",
            r"recipientnotfound",
            r"\b550\b.{0,20}user ",
        ),
    ),
    # --- limits -------------------------------------------------------------------------------
    "too_many_recipients": Cause(
        "limits",
        "a message has more recipients than the server takes at once",
        "lower the number for each session: default_destination_recipient_limit in Postfix, max_rcpt in Exim",
        (r"too many recipients", r"[45]\.5\.3\b", r"max(?:imum)? (?:number of )?recipients"),
    ),
    "too_big": Cause(
        "limits",
        "the message is larger than a server on the way takes",
        "send large files by a link; where it is your own server, raise message_size_limit or its like",
        (
            r"(?:message|size|mail|body).{0,40}(?:too (?:big|large|long)|exceeds)",
            r"5\.3\.4\b",
            r"5\.2\.3\b",
            r"max(?:imum)? (?:message |mail )?size",
        ),
    ),
    "too_many_connections": Cause(
        "limits",
        "the server has more connections of this host, or at all, than it likes",
        "lower the number for each destination: default_destination_concurrency_limit in Postfix, "
        "remote_max_parallel in Exim",
        (
            r"too many (?:concurrent |simultaneous )?(?:connections|sessions)",
            r"max(?:imum)? (?:number of )?connections",
            r"connection limit",
            r"connection (?:rate|frequency)",
            r"concurrency limit",
        ),
    ),
    "rate_limited": Cause(
        "limits",
        "the receiver takes only so much mail of this sender in a time",
        f"the queue tries again by itself; {_WARM_UP}",
        (
            r"rate.?limit",
            r"too (?:many|fast|much)\b.{0,40}(?:messages|mails?|e-?mails|errors)",
            r"throttl",
            r"sending too (?:fast|many|much)",
            r"(?:hourly|daily|message) (?:limit|quota|rate)",
            r"[45]\.7\.(?:28|3[12])\b",
            r"unusual(?:ly high)? (?:rate|volume)",
            r"exceeded.{0,40}(?:limit|rate)",
        ),
    ),
    # --- the message --------------------------------------------------------------------------
    "virus": Cause(
        "content",
        "the receiver's scanner finds a virus or a phishing link",
        "look for it on the machine that sent the message; if there is none, send the file in another form",
        (r"\bvirus\b", r"malware", r"eicar", r"infected", r"phish", r"clamav"),
    ),
    "attachment": Cause(
        "content",
        "the receiver takes no attachment of that kind",
        "send the file by a link, or in another form; programs in archives count as well",
        (
            r"attachment.{0,60}(?:not allowed|blocked|reject|prohibit|type|extension)",
            r"(?:blocked|banned|prohibited|illegal) (?:attachment|file)",
            r"potential security issue",
            r"executable",
        ),
    ),
    "bare_newline": Cause(
        "content",
        "a line of the message ends with LF alone, which no mail may have (RFC 5321 section 2.3.8)",
        "mend the program that made the message: lines end with CRLF in SMTP",
        (r"bare <?(?:lf|newline|linefeed|cr)", r"barelinefeeds", r"5\.6\.11\b", r"lone (?:lf|cr)"),
    ),
    "bad_headers": Cause(
        "content",
        "a header that each message must have is missing, doubled or malformed (RFC 5322 section 3.6)",
        "mend the program that made the message; mail_score names the header",
        (
            r"(?:missing|without|lacks?|no|multiple|duplicate|invalid|malformed).{0,30}(?:header|from:|message-id|date:)",
            r"rfc ?5322",
            r"5\.6\.0\b",
            r"header.{0,30}(?:missing|invalid|malformed|syntax)",
        ),
    ),
    "line_too_long": Cause(
        "content",
        "a line of the message is longer than the 998 characters that mail may have (RFC 5322 section 2.1.1)",
        "mend the program that made the message: encode the body, fold the headers",
        (r"line (?:is )?too long", r"(?:long|maximum allowed) line length", r"lines? longer than"),
    ),
    "smtputf8": Cause(
        "content",
        "an address has letters beyond ASCII, and the next server does not know SMTPUTF8 (RFC 6531)",
        "use an address in ASCII for this recipient",
        (r"smtputf8", r"5\.6\.[79]\b", r"internationalized"),
    ),
    "spam": Cause(
        "content",
        "the receiver takes the message for spam",
        "see what mail_score says of it, whether SPF, DKIM and DMARC pass, and whether all of its links are yours",
        (
            r"\bspam",
            r"unsolicited",
            r"\bbulk\b",
            r"junk",
            r"5\.7\.0\b.{0,60}content",
            r"content (?:reject|denied|filter)",
            r"high (?:spam )?score",
            r"suspicious",
        ),
    ),
    # --- the way there ------------------------------------------------------------------------
    "expired": Cause(
        "transport",
        "the message was tried for days and given up",
        "the tries before, in an older log, say why; give that log as well",
        (
            r"returned to sender",
            r"retry time(?:out)? exceeded",
            r"too (?:old|long in queue)",
            r"message expired",
            r"envelope expired",
            r"given up",
            r"4\.4\.7\b",
        ),
    ),
    "not_yet": Cause(
        "transport",
        "a server failed a while ago, and Exim does not try it again yet",
        "earlier lines say why it failed; exim4 -qff tries at once",
        (r"retry time not reached",),
    ),
    "tls_certificate": Cause(
        "transport",
        "the server's certificate does not hold: its name, its end or who signed it",
        "have the server's certificate mended; where it is your relay, name its authority (satellite_tls_ca_file); "
        "a policy of MTA-STS or DANE may demand it",
        (
            r"certificate (?:verif|expired|not trusted|unknown|invalid|name|mismatch)",
            r"server certificate (?:verif|not |expired|untrusted)",
            r"untrusted issuer",
            r"cannot authenticate .{0,60}server",
            r"self.signed",
            r"\bdane\b",
            r"\btlsa\b",
            r"mta-sts",
            r"certificate.{0,40}(?:failed|trust)",
        ),
    ),
    "tls_failed": Cause(
        "transport",
        "no TLS session can be had with the server",
        "see that both know a common version (TLS 1.2 or later) and that the server has a certificate: "
        "openssl s_client -starttls smtp -connect HOST:25",
        (
            r"tls (?:is )?(?:not available|required, but|session|error|handshake|negotiation)",
            r"cannot start tls",
            r"handshake fail",
            r"starttls.{0,40}(?:fail|not offered|not available|refused)",
            r"\bssl(?:_| )(?:error|connect|accept)",
            r"gnutls",
            r"4\.7\.[45]\b",
            r"temporar(?:y|ily) .{0,20}tls",
            r"tls is required",
            r"server did not accept (?:tls|starttls)",
        ),
    ),
    "connection_refused": Cause(
        "transport",
        "nothing listens at the port of the next server",
        "see that its mail program runs and listens on the outer address, and that name and port are right: "
        "nc -v HOST 25",
        (r"connection refused",),
    ),
    "unreachable": Cause(
        "transport",
        "there is no way to the next server: a firewall, a route or the provider blocks port 25",
        "nc -v HOST 25 from this host; many providers open port 25 only on request, or IPv6 is set up by halves "
        "(inet_protocols = ipv4 until it is mended)",
        (
            r"(?:connection|connect|operation|conversation)\b.{0,40}timed ?out",
            r"connection timeout",
            r"no route to host",
            r"(?:network|host) is unreachable",
            r"network (?:un|error)",
            r"timed out while (?:connecting|initial)",
            r"(?:could not|unable to|cannot|failed to) connect",
            r"timeout while connecting",
            r"permission denied.{0,20}connect",
        ),
    ),
    "lost_connection": Cause(
        "transport",
        "the other server hangs up in the middle of the session without a word",
        "see in its log why, if you can: a filter, a limit, or a firewall that inspects SMTP. A host that greets with "
        "a bad name or has no reverse DNS is often cut off like this. Else it passes by itself",
        (
            r"lost connection",
            r"connection (?:closed|lost|reset|dropped)",
            r"remote host closed",
            r"broken pipe",
            r"server (?:closed|disconnected)",
            r"unexpected(?:ly)? (?:disconnect|closed|eof)",
            r"malformed response",
            r"end.of.file",
        ),
    ),
    "timeout": Cause(
        "transport",
        "the other server stops answering in the middle of the session",
        "a path that loses large packets is a common reason (clamp the MSS to the path, let ICMP through); a slow "
        "filter there is another. The queue tries again by itself",
        (r"timed? ?out", r"no response"),
    ),
    "dns_trouble": Cause(
        "transport",
        "DNS gives no answer for the recipient's domain or the next server",
        "see whether this host's resolver answers at all (/etc/resolv.conf, and Postfix's copy in its chroot); if it "
        "does, the domain's own servers are ill: dig MX DOMAIN",
        (
            r"name service error",
            r"host lookup did not complete",
            r"not found,? try again",
            r"dns .{0,30}(?:failure|error|timeout)",
            r"\b(?:dns|mx|host) lookup (?:defer|fail|timeout)",
            r"servfail",
            r"dns (?:error|failure|timeout)",
            r"4\.4\.3\b",
            r"temporary failure in name resolution",
            r"no (?:a|dns) record",
            r"temporary failure.{0,20}mx",
        ),
    ),
    # --- what is left -------------------------------------------------------------------------
    "blocked": Cause(
        "reputation",
        "the receiver blocks the sending address, the sender or the domain, and does not say by which list",
        "look the sending address up at several lists (https://multirbl.valli.org/, mail_score asks some), mend what "
        "got it listed, then write to the receiver's postmaster",
        (
            r"(?:mail|message|ip|sender|host|address|connection|client)\b.{0,40}\b(?:banned|refused)",
            r"blocked\b",
            r"poor reputation",
            r"bad reputation",
            r"low reputation",
            r"reputation",
            r"access denied",
            r"banned",
            r"administratively",
        ),
    ),
    "remote_storage": Cause(
        "recipient",
        "the disk of a server on the way is full",
        "where it is your own, make room (df -h, the queue's own folder); else wait",
        (
            r"insufficient (?:system|disk) (?:storage|space)",
            r"[45]\.3\.1\b",
            r"no space left",
            r"queue file write error",
            r"disk (?:full|space)",
        ),
    ),
    "configuration": Cause(
        "host",
        "this host's mail program cannot use its own configuration or a table that it names",
        "run its checker (postfix check, exim4 -bV, smtpd -n), and postmap or newaliases for a table that is missing",
        (
            r"open database \S{1,200}",
            r"(?:unsupported|undefined|unknown) dictionary",
            r"table lookup (?:problem|error)",
            r"local configuration",
            r"parameter \S{1,60}:",
            r"server configuration",
            r"bad (?:command|string|numerical|boolean)",
            r"failed to (?:expand|open|read)",
            r"4\.3\.5\b",
            r"main\.cf",
            r"master\.cf",
        ),
    ),
    "local_command": Cause(
        "host",
        "a program or file that mail is delivered to on this host fails",
        "the reply holds what it said; see ~/.forward, /etc/aliases and who may write there",
        (
            r"command (?:died|time limit|output|failed)",
            r"(?:can't|cannot) (?:create|append|open|write)",
            r"unable to (?:create|open|write)",
            r"mailbox is (?:locked|owned)",
            r"local delivery",
            r"directory.{0,40}(?:not writable|permission)",
            r"error writing",
            r"retcode",
        ),
    ),
    "remote_trouble": Cause(
        "recipient",
        "the receiver's server has trouble of its own",
        "nothing here: the queue tries again by itself. If it lasts for hours, tell its postmaster by another way",
        (
            r"temporar(?:y|ily) (?:lookup failure|unavailable|failure|deferred|rejected)",
            r"temporary (?:local|system|server) (?:problem|error)",
            r"local error",
            r"internal (?:error|server error)",
            r"server (?:busy|unavailable|error)",
            r"service (?:not|temporarily|currently|is)? ?(?:un)?available",
            r"try (?:again )?later",
            r"4\.3\.[0-2]\b",
            r"system (?:not|resources|load)",
            r"maintenance",
            r"load average",
        ),
    ),
    "protocol": Cause(
        "transport",
        "the two servers do not understand each other's SMTP",
        "a firewall that inspects SMTP is a common reason: turn that off. Else see the command in the reply",
        (
            r"protocol error",
            r"protocol synchronization",
            r"pipelining",
            r"bad sequence",
            r"(?:command|syntax).{0,20}(?:error|not recognized|unrecognized)",
            r"command not (?:recognized|implemented)",
            r"5\.5\.[12]\b",
            r"improper command",
        ),
    ),
    "policy": Cause(
        "reputation",
        "the receiver refuses by a policy of its own that it does not tell",
        "see that reverse DNS, SPF, DKIM and DMARC are right (mail_check), look the address up at lists, then write to "
        "the receiver's postmaster with the whole reply",
        (r"policy", r"not accepted", r"prohibited", r"5\.7\.1\b.{0,20}(?:reject|refus|denied|not)", r"rejected for"),
    ),
}
