# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the mail check on a message that was received: signature, alignment, format, bulk mail. Private, pure.

Signatures are verified by dkimpy, with keys from the view; without that library the rows that need it are unknown.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ansible_collections.postmaster.mail.plugins.module_utils import _spf
from ansible_collections.postmaster.mail.plugins.module_utils._check import WRONG, Found, settled, unanswered, unknown
from ansible_collections.postmaster.mail.plugins.module_utils._check_mail import Mail, moment
from ansible_collections.postmaster.mail.plugins.module_utils._check_view import View
from ansible_collections.postmaster.mail.plugins.module_utils._dmarc import aligned, discover
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsTimeout, DomainError, is_under
from ansible_collections.postmaster.mail.plugins.module_utils._signatures import (
    EXPIRED,
    PYNACL,
    SIGNATURE_LIMIT,
    NoLibrary,
    Signature,
    asking,
    key_name,
    verify,
)

LINE_LIMIT = 998  # octets without CR LF, RFC 5321 section 4.5.3.1.6 and RFC 5322 section 2.1.1
DATE_TOLERANCE = datetime.timedelta(days=2)
COMPLAINTS_BAD, COMPLAINTS_POOR = 0.3, 0.1  # per cent, Gmail sender guidelines
FREE_MAIL = frozenset(("gmail.com", "googlemail.com", "yahoo.com", "outlook.com", "hotmail.com", "live.com", "aol.com"))
ONCE = ("from", "date", "message-id", "subject", "to", "cc", "reply-to", "sender")  # RFC 5322 section 3.6
REQUIRED = {"from": "F", "date": "F", "message-id": "W", "subject": "W"}
ONE_CLICK = "list-unsubscribe=one-click"  # RFC 8058 section 3.1
FORGED = "forged.invalid"  # what marks a forged verdict, and the message that was sent with one; RFC 2606 section 2


@dataclass(frozen=True)
class Verified:
    """The signatures of a message, verified; ``silent`` says by the key's name why some could not be."""

    signatures: list[Signature]
    silent: dict[str, str]

    def why(self, one: Signature) -> str:
        """Why it is not known whether a signature is valid; empty where it is."""
        return self.silent.get(key_name(one.tags).lower(), "")

    @property
    def valid(self) -> list[Signature]:
        """Those that verify."""
        return [one for one in self.signatures if one.valid]


def verified(view: View, mail: Mail) -> Verified:
    """All signatures, verified with keys from the view. Raises :class:`NoLibrary`."""
    return view.once("signatures", lambda: _verified(view, mail))


def _verified(view: View, mail: Mail) -> Verified:
    names = filter(None, map(key_name, mail.signatures[:SIGNATURE_LIMIT]))
    view.prefetch([(name, "TXT") for name in names])
    silent: dict[str, str] = {}

    def key(name: str) -> list[str]:
        try:
            return view.query(name, "TXT")
        except DnsTimeout as err:
            silent[name.lower().rstrip(".") + "."] = str(err)
            return []

    return Verified(verify(mail, key), silent)


def _message(view: View) -> Mail | Found:
    """The message, or that there is none of this domain."""
    mail = view.options.mail
    if mail is None:
        return unknown("no message is given", "give message_file: a message as a receiver outside stored it")
    author = mail.from_domain
    if not author or not is_under(author + ".", view.domain):
        seen = f"the message is from {author or 'an address that cannot be read'}, not from {view.bare}"
        return unknown(seen, f"give a message with a From address in {view.bare}")
    return mail


def with_libraries(view: View, found: Iterator[Found]) -> Iterator[Found]:
    """``found``, or that the library is missing."""
    try:
        yield from found
    except NoLibrary as err:
        yield unknown(str(err), err.remedy)


def _holds(view: View, mail: Mail, fits: Callable[[Signature], bool] = lambda one: True) -> bool:
    """Whether a valid signature fits.

    Raises :class:`NoLibrary` or :class:`DnsTimeout` where only one does that cannot be judged.
    """
    known = verified(view, mail)
    fitting = [one for one in known.signatures if fits(one)]
    if any(one.valid for one in fitting):
        return True
    if any(one.valid is None for one in fitting):
        raise NoLibrary(PYNACL)
    for why in filter(None, map(known.why, fitting)):
        raise DnsTimeout(why)
    return False


# -- rows ---------------------------------------------------------------------------------------------


def signature(view: View) -> Iterator[Found]:
    """The domain's signature verifies and covers what it should (RFC 6376 sections 5.4 and 8)."""
    mail = _message(view)
    if isinstance(mail, Found):
        yield mail
        return
    yield from with_libraries(view, _signature(view, mail))


def _signature(view: View, mail: Mail) -> Iterator[Found]:
    known = verified(view, mail)
    own = [one for one in known.signatures if one.domain and _related(one.domain, view.bare)]
    if not own:
        others = ", ".join(one.domain for one in known.signatures) or "nobody"
        yield Found(
            "F", f"not signed by {view.bare}, but by {others}", f"sign with d={view.bare}", reference="RFC 6376 5.1"
        )
    for one in own:
        where = f"{one.tags.get('s', '?')}._domainkey.{one.domain}"
        if known.why(one):
            yield unanswered(known.why(one), where)
            continue
        if one.valid is None:
            lacking = NoLibrary(PYNACL)
            yield unknown(f"{where}: {lacking}", lacking.remedy)
        elif not one.valid and one.tags.get("a") != "rsa-sha1":  # of which another row tells
            remedy = "compare the key in DNS with the signer's, and let nothing change the message behind the signer"
            remedy = "sign for a week or more" if one.reason == EXPIRED else remedy
            yield Found("F", f"the signature is not valid: {one.reason}", remedy, where, "RFC 6376 6.1")
        if not one.valid:
            continue
        if one.signed.count("from") <= len(mail.all("from")):
            remedy = "name From once more than it occurs in h= (rspamd: (o)from; OpenDKIM: OversignHeaders From)"
            yield Found(
                "W", "a second From can be added without breaking the signature", remedy, where, "RFC 6376 8.15"
            )
        if "l" in one.tags:
            remedy = "turn the option for l= off in the signer"
            yield Found("W", f"l={one.tags['l']}: anyone can append to the message", remedy, where, "RFC 6376 8.2")
    if not mail.raw.endswith(b"\n"):
        yield Found("W", "the body does not end in CR LF", "end the last line", reference="RFC 6376 3.4.3")


def _related(one: str, other: str) -> bool:
    return is_under(one + ".", other + ".") or is_under(other + ".", one + ".")


def _received(mail: Mail, view: View) -> datetime.datetime:
    """When the last server took the message, by its Received field."""
    return mail.arrived or view.options.now


def alignment(view: View) -> Iterator[Found]:
    """DMARC passes by DKIM, which survives forwarding (RFC 9989 section 4.10.2)."""
    mail = _message(view)
    if isinstance(mail, Found):
        yield mail
        return
    yield from with_libraries(view, _alignment(view, mail))


def _alignment(view: View, mail: Mail) -> Iterator[Found]:
    known = verified(view, mail)
    valid = [one.domain for one in known.valid]
    if _aligned_dkim(view, mail):
        return
    record = discover(mail.from_domain, view).record
    strict = record is not None and record.adkim == "s"
    signed = f"valid signatures are those of {', '.join(valid)}" if valid else "no signature is valid"
    mode = ", and adkim=s wants the very domain" if strict else ""
    yield Found("F", f"From is in {mail.from_domain}, {signed}{mode}", f"sign with d={mail.from_domain}")


def _aligned_dkim(view: View, mail: Mail) -> bool:
    record = discover(mail.from_domain, view).record
    mode = (record.adkim if record else None) or "r"
    return _holds(view, mail, lambda one: _aligned(view, one.domain, mail.from_domain, mode))


def _aligned(view: View, identifier: str, author: str, mode: str) -> bool:
    try:
        return aligned(identifier, author, mode, view)
    except DomainError:
        return False


def bulk(view: View) -> Iterator[Found]:
    """SPF, DKIM and DMARC all pass, as large receivers want of bulk senders."""
    if not view.options.bulk:
        yield unknown("the message is not said to be bulk mail", "set bulk: true, and give message_file")
        return
    mail = _message(view)
    if isinstance(mail, Found):
        yield mail
        return
    yield from with_libraries(view, _bulk(view, mail))


def _bulk(view: View, mail: Mail) -> Iterator[Found]:
    if not mail.client or mail.envelope_sender is None:
        yield unknown("Received and Return-Path do not tell who sent it", "take a message as the receiver stored it")
        return
    result = _spf.check_host(ip=mail.client, sender=mail.envelope_sender, helo=mail.helo, resolver=view).result
    sender = mail.envelope_sender.rpartition("@")[2] or mail.helo
    parts = (_bulk_spf(result, sender, mail.client), _bulk_dkim(view, mail), dmarc_verdict(view, mail, result, sender))
    judged = view.each(lambda part: list(with_libraries(view, settled(part))), parts)
    missing = [found.seen for part in judged for found in part if found.verdict == WRONG]
    if missing:
        remedy = "see the findings of spf.covers-ip, dkim.sig and dmarc.align"
        yield Found("F", "; ".join(missing), remedy)
    yield from (found for part in judged for found in part if found.verdict != WRONG)


def _bulk_spf(result: str, sender: str, client: str) -> Iterator[Found]:
    if result == "temperror":
        yield unanswered(f"the SPF verdict of {sender} cannot be had now (temperror)", sender)
    elif result != "pass":
        yield Found("F", f"SPF of {sender} for {client} gives {result}", "")


def _bulk_dkim(view: View, mail: Mail) -> Iterator[Found]:
    if not _holds(view, mail):
        yield Found("F", "no DKIM signature is valid", "")


def dmarc_verdict(view: View, mail: Mail, result: str, sender: str) -> Iterator[Found]:
    record = discover(mail.from_domain, view).record
    if record is None:
        yield Found("F", "DMARC does not pass", "")
        return
    by_spf = result == "pass" and _aligned(view, sender, mail.from_domain, record.aspf or "r")
    if not by_spf and not _aligned_dkim(view, mail) and result != "temperror":
        yield Found("F", "DMARC does not pass", "")


def one_click(view: View) -> Iterator[Found]:
    """One click unsubscribes (RFC 8058 sections 3.1 and 4)."""
    if not view.options.bulk:
        yield unknown("the message is not said to be bulk mail", "set bulk: true, and give message_file")
        return
    mail = _message(view)
    if isinstance(mail, Found):
        yield mail
        return
    yield from with_libraries(view, _one_click(view, mail))


def _one_click(view: View, mail: Mail) -> Iterator[Found]:
    uris = re.findall(r"<\s*([^>\s]+)\s*>", mail.first("list-unsubscribe"))
    post = "".join(mail.first("list-unsubscribe-post").split()).lower()
    if not any(uri.lower().startswith("https://") for uri in uris):
        remedy = (
            "List-Unsubscribe: <https://example.org/u/TOKEN>, and List-Unsubscribe-Post: List-Unsubscribe=One-Click"
        )
        yield Found("F", "no List-Unsubscribe with an https address", remedy)
    elif post != ONE_CLICK:
        yield Found("F", "no List-Unsubscribe-Post field", "List-Unsubscribe-Post: List-Unsubscribe=One-Click")
    elif not _holds(view, mail, lambda one: {"list-unsubscribe", "list-unsubscribe-post"} <= set(one.signed)):
        remedy = "add list-unsubscribe and list-unsubscribe-post to the fields that are signed"
        yield Found("F", "no valid signature covers both fields", remedy, reference="RFC 8058 4")


def spam_rate(view: View) -> Iterator[Found]:
    """Few complain; only the providers' own pages tell how many (Google Postmaster Tools)."""
    rate = view.options.spam_rate
    if rate is None:
        yield unknown("DNS does not tell how many complain", "give spam_rate, in per cent, from Postmaster Tools")
    elif rate >= COMPLAINTS_BAD:
        yield Found("F", f"{rate:g} % complain; from {COMPLAINTS_BAD} % on mail is refused", "stop, and clean the list")
    elif rate >= COMPLAINTS_POOR:
        yield Found(
            "W", f"{rate:g} % complain, less than {COMPLAINTS_POOR} % is wanted", "clean the list, unsubscribe at once"
        )


def form(view: View) -> Iterator[Found]:
    """The message is well-formed (RFC 5322 sections 2.1.1 and 3.6)."""
    mail = view.options.mail
    if mail is not None and mail.from_domain in FREE_MAIL and mail.from_domain != view.bare:
        seen = f"From is in {mail.from_domain}, which others may not send as"
        yield Found(
            "F",
            seen,
            "write From in a domain of your own, and the other address into Reply-To",
            reference="RFC 9989 4.4",
        )
        return
    message = _message(view)
    if isinstance(message, Found):
        yield message
        return
    yield from _fields(message)
    yield from _dates(message, view)
    yield from _lines(message)


def _fields(mail: Mail) -> Iterator[Found]:
    for name in ONCE:
        count = len(mail.all(name))
        if count > 1:
            yield Found(
                "F",
                f"{count} fields {name.title()}, where one is allowed",
                "leave one of them",
                reference="RFC 5322 3.6",
            )
        elif not count and name in REQUIRED:
            yield Found(
                REQUIRED[name],
                f"no field {name.title()}",
                "let the program that makes the message add it",
                reference="RFC 5322 3.6",
            )


def _dates(mail: Mail, view: View) -> Iterator[Found]:
    if len(mail.all("date")) != 1:
        return
    date = moment(mail.first("date"))
    if date is None:
        yield Found(
            "F",
            f"the Date cannot be read: {mail.first('date')}",
            "write it as in RFC 5322 3.3",
            reference="RFC 5322 3.3",
        )
    elif abs(date - _received(mail, view)) > DATE_TOLERANCE:
        seen = f"the Date is {date:%Y-%m-%d}, the message arrived {_received(mail, view):%Y-%m-%d}"
        yield Found("W", seen, "set the clock of the machine that makes it", reference="RFC 5322 3.6.1")


def _lines(mail: Mail) -> Iterator[Found]:
    longest = max((len(line.rstrip(b"\r")) for line in mail.raw.split(b"\n")), default=0)
    if longest > LINE_LIMIT:
        remedy = "encode the text as quoted-printable or base64"
        yield Found(
            "F", f"a line has {longest} octets, {LINE_LIMIT} are allowed", remedy, reference="RFC 5321 4.5.3.1.6"
        )
    bare = len(re.findall(rb"\r(?!\n)", mail.raw))
    lone = len(re.findall(rb"(?<!\r)\n", mail.raw))
    crlf = mail.raw.count(b"\r\n")
    if bare or (crlf and lone):
        seen = f"{bare} CR without LF and {lone if crlf else 0} LF without CR"
        yield Found("F", seen, "end lines in CR LF alone", reference="RFC 5321 2.3.8")


def trust(view: View) -> Iterator[Found]:
    """Verdicts that came along with a message are gone (RFC 8601 section 5), and its ARC chain verifies."""
    mail, identity = view.options.inbound_mail, view.options.authserv_id.lower()
    if mail is None or not identity:
        remedy = "give inbound_message_file (one that was sent with a forged Authentication-Results) and authserv_id"
        yield unknown("no message and authserv-id are given", remedy)
        return
    yield from _own_results(mail, identity)
    yield from with_libraries(view, _chain(view, mail))


def _own_results(mail: Mail, identity: str) -> Iterator[Found]:
    """One field is the server's own, and the forged one is gone: only its mark tells them apart."""
    values = mail.all("authentication-results")
    owners = [value.partition(";")[0].split()[:1] for value in values]
    mine = [value for value, owner in zip(values, owners, strict=True) if owner and owner[0].lower() == identity]
    own = len(mine)
    if any(FORGED in value.lower() for value in mine):
        seen = f"the forged Authentication-Results of {identity} was left in, which whatever reads the message believes"
        yield Found("F", seen, "remove those that come from outside, and write your own (rspamd: milter_headers)")
    elif not own:
        seen = f"no Authentication-Results of {identity}: whatever else reads the message has nothing to trust"
        yield Found("F", seen, "let the filter write it (rspamd: milter_headers, authentication-results)")
    elif own > 1:
        seen = f"{own} fields Authentication-Results of {identity}: what a stranger wrote was left in"
        yield Found(
            "F", seen, "remove those that come from outside (rspamd: milter_headers, remove_upstream_spam_flag)"
        )
    elif not any(FORGED in value.lower() for name, value in mail.fields if name != "authentication-results"):
        forged = f"Authentication-Results: {identity}; spf=pass smtp.mailfrom=a@{FORGED}"
        remedy = f"send yourself a message from outside with Subject: {FORGED} and the field {forged}, and give that"
        yield unknown("nothing says that it was sent with a forged verdict, so whether one is removed is open", remedy)


def _chain(view: View, mail: Mail) -> Iterator[Found]:
    if not mail.all("arc-seal"):
        return
    try:
        import dkim
    except ImportError as err:
        raise NoLibrary from err
    try:
        result, dummy, reason = dkim.arc_verify(mail.raw, dnsfunc=asking(lambda name: view.query(name, "TXT")))
    except dkim.NaClNotFoundError as err:
        raise NoLibrary(PYNACL) from err
    except (dkim.DKIMException, ValueError, KeyError, IndexError, UnicodeError) as err:
        result, reason = b"fail", str(err)
    if result != b"pass":
        seen = f"the ARC chain does not verify ({(result or b'none').decode('ascii', 'replace')}): {reason}"
        yield Found(
            "F", seen, "do not trust its verdicts; the forwarder must seal after its changes", reference="RFC 8617 5.2"
        )


ROWS = {
    "dkim.sig": signature,
    "dmarc.align": alignment,
    "bulk.both": bulk,
    "bulk.oneclick": one_click,
    "bulk.spamrate": spam_rate,
    "msg.format": form,
    "ar.trust": trust,
}
