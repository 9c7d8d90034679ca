# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the mail check on DKIM keys; section numbers without more are of RFC 6376. Private, pure.

Nothing lists a domain's selectors: they are told by the user, by the signers' keys or by a message. Where none is
told, the usual ones are tried, and what is found there is judged.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ansible_collections.postmaster.mail.plugins.module_utils._check import Found, settled, unanswered, unknown
from ansible_collections.postmaster.mail.plugins.module_utils._check_view import NXDOMAIN, SignerKey, View
from ansible_collections.postmaster.mail.plugins.module_utils._dkim import (
    MAX_BITS,
    MIN_BITS,
    SOUND_BITS,
    DkimError,
    DkimRecord,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsTimeout
from ansible_collections.postmaster.mail.plugins.module_utils._record import Record
from ansible_collections.postmaster.mail.plugins.module_utils._senders import CATALOGUE

USUAL = tuple(
    dict.fromkeys(
        [
            *("default", "dkim", "k1", "k2", "mail", "s1", "s2", "selector1", "selector2"),
            *(sender.txt_selector for sender in CATALOGUE.values() if sender.txt_selector),
            *(alias.selector for sender in CATALOGUE.values() for alias in sender.aliases),
        ]
    )
)
NO_SUCH_SELECTOR = "no-such-selector-7f3a"
QUEUE_DAYS = 7  # a retired key must outlive the longest queue, RFC 6376 section 3.1; bounces take five days
OLD_DAYS = 366  # M3AAWG DKIM key rotation practices: a year at most
_DATED = re.compile(r"(20[2-9][0-9])-?(0[1-9]|1[0-2])")


@dataclass(frozen=True)
class Key:
    """What DNS holds under one selector: ``record`` where there is one text that can be read, else ``error``.

    ``silence`` says why it is not known.
    """

    selector: str
    texts: tuple[str, ...]
    record: DkimRecord | None = None
    error: DkimError | None = None
    silence: str = ""


def told(view: View) -> list[str]:
    """The selectors that the user, the signers' keys or a message say are in use."""
    keys = [key.selector for key in view.options.dkim_keys if key.domain == view.bare and key.state == "active"]
    mail = view.options.mail
    signed = mail.signatures if mail is not None else []
    said = [tags["s"] for tags in signed if tags.get("d", "").lower() == view.bare and tags.get("s")]
    return list(dict.fromkeys(name.lower() for name in (*view.options.selectors, *keys, *said)))


def record_name(view: View, selector: str) -> str:
    """Where a selector's key lies (section 3.6.2.1)."""
    return f"{selector}._domainkey.{view.domain}"


def keys(view: View) -> list[Key]:
    """What DNS holds under the selectors told, or else under the usual ones."""
    return view.once("dkim", lambda: _keys(view))


def _keys(view: View) -> list[Key]:
    selectors = told(view)
    guess = not selectors
    if guess:
        if _has_none(view):
            return []
        selectors = list(USUAL)
    view.prefetch([(record_name(view, selector), "TXT") for selector in selectors])
    found = [_key(view, selector) for selector in selectors]
    if not guess:
        return found
    if all(key.silence for key in found):
        raise DnsTimeout(found[0].silence)
    found = [key for key in found if key.texts]
    # By a wildcard all of them exist; only what differs from it was meant.
    wild = sorted(view.ask(_other_name(view), "TXT").values) if found else []
    return [key for key in found if sorted(key.texts) != wild]


def _has_none(view: View) -> bool:
    """Whether the domain has no selector at all, as RFC 8020 has it."""
    return view.ask(f"_domainkey.{view.domain}", "TXT").status == NXDOMAIN


def _is_meant_as_key(text: str) -> bool:
    try:
        DkimRecord.read(text)
    except DkimError:
        return text.lower().startswith("v=dkim1")
    return True


def _other_name(view: View) -> str:
    """The name of a selector that nobody uses: only a wildcard has a record for it."""
    return record_name(view, NO_SUCH_SELECTOR)


def _key(view: View, selector: str) -> Key:
    try:
        texts = tuple(view.query(record_name(view, selector), "TXT"))
    except DnsTimeout as err:
        return Key(selector, (), silence=str(err))
    if len(texts) != 1:
        return Key(selector, texts)
    try:
        return Key(selector, texts, DkimRecord.read(texts[0]))
    except DkimError as err:
        return Key(selector, texts, error=err)


def _each(judge: Callable[[View, Key], Iterator[Found]]) -> Callable[[View], Iterator[Found]]:
    """A row that judges every key that is there."""

    def row(view: View) -> Iterator[Found]:
        known = keys(view)
        if not known:
            yield unknown("no selector is named, and none of the usual ones is there", "give selectors: [...]")
        for key in known:
            if key.silence:
                yield unanswered(key.silence, _where(view, key))
            else:
                yield from judge(view, key)

    row.__doc__ = judge.__doc__
    return row


def _where(view: View, key: Key) -> str:
    return record_name(view, key.selector).rstrip(".")


# -- rows ---------------------------------------------------------------------------------------------


def present(view: View) -> Iterator[Found]:
    """Each selector has exactly one key (section 3.6.2.2), and not by a wildcard."""
    known = keys(view)
    for key in known:
        if key.silence:
            yield unanswered(key.silence, _where(view, key))
        elif not key.texts:
            remedy = (
                _wanted(view, key.selector) or f'{record_name(view, key.selector)} 3600 IN TXT "v=DKIM1; k=rsa; p=..."'
            )
            yield Found("F", "no key is published under this selector", remedy, _where(view, key))
        elif len(key.texts) > 1:
            seen = f"{len(key.texts)} TXT records under one selector: what verifiers take is undefined"
            yield Found("F", seen, "leave the one that the signer uses", _where(view, key))
    there = any(key.texts for key in known) if known else not _has_none(view)
    wild = view.query(_other_name(view), "TXT") if there else []
    if any(map(_is_meant_as_key, wild)):  # one that says that names send no mail is none
        seen = f"every selector exists, by a wildcard: {' | '.join(wild)}"
        remedy = "give each selector a record of its own, and delete the wildcard that covers _domainkey"
        yield Found("F", seen, remedy, f"*._domainkey.{view.bare}", "RFC 4592 2.2.1; RFC 6376 3.6.2.2")
    elif not known:
        yield unknown("no selector is named, and none of the usual ones is there", "give selectors: [...]")


def _wanted(view: View, selector: str) -> str:
    """The record that the signer wants, where its key is known."""
    for key in view.options.dkim_keys:
        if (key.domain, key.selector) == (view.bare, selector):
            return str(Record.txt(record_name(view, selector), key.value))
    return ""


def _syntax(view: View, key: Key) -> Iterator[Found]:
    """The record can be read (section 3.6.1)."""
    if key.record is not None:
        for fault in key.record.faults[:1]:
            remedy = _wanted(view, key.selector) or str(Record.txt(record_name(view, key.selector), str(key.record)))
            yield Found("W", f"{fault}; verifiers read past it, and none has to", remedy, _where(view, key))
    if key.error is None:
        return
    text = key.texts[0]
    seen = f"{key.error}"
    if len(text) == 255:
        seen += "; the text ends after 255 octets, where a second string should follow"
    elif '"' in text or "\\" in text:
        seen += "; quotes were published as a part of the text"
    remedy = (
        _wanted(view, key.selector) or "publish the signer's record again, split into strings of at most 255 octets"
    )
    yield Found("F", seen, remedy, _where(view, key))


def match(view: View) -> Iterator[Found]:
    """What is published is the signer's key."""
    mine = [key for key in view.options.dkim_keys if key.domain == view.bare and key.state == "active"]
    if not mine:
        yield unknown("no signer's key is named", "give dkim_keys, as postmaster.mail.dkim_key returns them")
    view.prefetch([(record_name(view, key.selector), "TXT") for key in mine])
    for key in mine:
        held = _key(view, key.selector)
        if held.silence:
            yield unanswered(held.silence, _where(view, held))
        if held.record is None or held.record.revoked:
            continue  # another row's finding
        try:
            wanted = DkimRecord.parse(key.value)
        except DkimError as err:
            yield unknown(f"the key given for {key.selector} cannot be read: {err}", "give its record's value")
            continue
        if (wanted.key_type, wanted.public_key) != (held.record.key_type, held.record.public_key):
            seen = "the published key is not the one that the signer holds: no signature verifies"
            yield Found("F", seen, _wanted(view, key.selector), _where(view, held))


def _keysize(view: View, key: Key) -> Iterator[Found]:
    """RSA keys of 2048 to 4096 bits (RFC 8301 section 3.2)."""
    record = key.record
    if record is None or record.revoked or record.key_type != "rsa":
        return
    remedy = f"make a key of {SOUND_BITS} bits under a new selector (postmaster.mail.dkim_key, state: rotated)"
    if record.bits < MIN_BITS:
        yield Found("F", f"the key has {record.bits} bits: verifiers refuse it", remedy, _where(view, key))
    elif record.bits < SOUND_BITS:
        yield Found("W", f"the key has {record.bits} bits, {SOUND_BITS} are advised", remedy, _where(view, key))
    elif record.bits > MAX_BITS:
        seen = f"the key has {record.bits} bits: verifiers need not take more than {MAX_BITS}"
        yield Found("W", seen, remedy, _where(view, key))


def algorithm(view: View) -> Iterator[Found]:
    """rsa-sha256 signs, Ed25519 only beside it: few receivers know it (RFC 8463 section 3, RFC 8301 section 3.1)."""
    known = keys(view)
    mail = view.options.mail
    signed = [tags for tags in mail.signatures if tags.get("d", "").lower() == view.bare] if mail else []
    if not known and not signed:
        yield unknown("no selector and no message is named", "give selectors: [...] or message_file")
    used = {tags.get("a", "").lower() for tags in signed}
    if "rsa-sha1" in used:
        remedy = "sign with rsa-sha256"
        yield Found(
            "F", "the message is signed with rsa-sha1, which verifiers must not take", remedy, reference="RFC 8301 3.1"
        )
    kinds = {key.record.key_type for key in known if key.record and not key.record.revoked}
    silent = [] if used else [key for key in known if key.silence]
    for key in silent:
        yield unanswered(key.silence, _where(view, key))
    if not silent and (used or kinds) and (used or kinds) <= {"ed25519", "ed25519-sha256"}:
        seen = "there is an Ed25519 key alone, which many receivers cannot verify"
        yield Found("F" if used else "W", seen, "sign with an RSA key of 2048 bits beside it", reference="RFC 8463 3")


def _flags(view: View, key: Key) -> Iterator[Found]:
    """Nothing in the record takes its effect away (section 3.6.1)."""
    record, where = key.record, _where(view, key)
    if record is None:
        return
    if record.revoked and key.selector in told(view):
        remedy = _wanted(view, key.selector) or "sign with another selector, or publish its key again"
        yield Found("F", "the key is revoked (p= is empty), and the selector in use", remedy, where)
        return
    if "y" in record.flags:
        yield Found("W", "t=y: receivers treat the mail as if it were not signed", "delete t=y", where)
    if record.hashes and "sha256" not in record.hashes:
        seen = f"h={':'.join(record.hashes)} forbids SHA-256, and SHA-1 must not be used"
        yield Found("F", seen, "write h=sha256, or leave h out", where, "RFC 8301 3.1")
    if not {"*", "email"} & set(record.services):
        yield Found("F", f"s={':'.join(record.services)}: the key is not for mail", "leave s out", where)
    if "s" in record.flags and any(_below(view, tags.get("i", "")) for tags in _signatures(view, key)):
        seen = "t=s wants i= of the signature to be in the domain itself, and the message has it in a subdomain"
        yield Found("F", seen, "delete s from t=", where)


def _signatures(view: View, key: Key) -> list[dict[str, str]]:
    mail = view.options.mail
    tags = [dict(one) for one in mail.signatures] if mail else []
    return [one for one in tags if (one.get("d", "").lower(), one.get("s", "").lower()) == (view.bare, key.selector)]


def _below(view: View, identity: str) -> bool:
    domain = identity.rpartition("@")[2].lower()
    return bool(domain) and domain != view.bare


def rotation(view: View) -> Iterator[Found]:
    """Keys are renewed within a year, and old ones stay as long as mail may wait (section 3.1)."""
    mine = [key for key in view.options.dkim_keys if key.domain == view.bare]
    dated = [(name, age) for name in told(view) if (age := _age_by_name(name, view)) is not None]
    if not mine and not dated:
        yield unknown("nothing says how old the keys are", "give dkim_keys, as postmaster.mail.dkim_key returns them")
    ages = {key.selector: _days(key.activated, view) for key in mine if key.state == "active"}
    for name, age in {**dict(dated), **{name: age for name, age in ages.items() if age is not None}}.items():
        if age > OLD_DAYS:
            where = record_name(view, name).rstrip(".")
            remedy = "ansible-playbook postmaster.mail.rotate_dkim"
            yield Found(
                "W", f"the key is {age} days old, and a year is advised", remedy, where, "M3AAWG DKIM key rotation"
            )
    view.prefetch([(record_name(view, key.selector), "TXT") for key in mine])
    for key in mine:
        yield from settled(_stage(view, key), record_name(view, key.selector).rstrip("."))


def _stage(view: View, key: SignerKey) -> Iterator[Found]:
    """Whether DNS holds a key as its state asks for; of active keys other rows tell."""
    where, held = record_name(view, key.selector).rstrip("."), _key(view, key.selector)
    if held.silence:
        raise DnsTimeout(held.silence)
    if key.state == "pending":
        yield from _pending(key, held, where)
    elif key.state == "retired":
        yield from _retired(key, held, where, _days(key.retired, view))
    elif key.state == "revoked" and held.texts and not (held.record and held.record.revoked):
        seen = "the key is revoked, and DNS still has it in full: what it signed is accepted"
        yield Found("W", seen, str(Record.txt(where, "v=DKIM1; p=")), where, "RFC 6376 3.6.1")
    elif key.state == "withdrawn" and held.texts:
        yield Found("W", "the key is withdrawn, and its record still there", f"delete {where}. TXT", where)


def _pending(key: SignerKey, held: Key, where: str) -> Iterator[Found]:
    """The next key must be found before it signs."""
    fault = "is not published yet" if not held.texts else _unlike(key, held)
    if fault:
        yield Found("W", f"the next key {fault}: signing must not begin", str(Record.txt(where, key.value)), where)


def _retired(key: SignerKey, held: Key, where: str, age: int | None) -> Iterator[Found]:
    """A key that no longer signs is needed for what waits in queues, and replaced by no other."""
    waited = age is not None and age >= QUEUE_DAYS
    faded = not held.texts or (held.record is not None and held.record.revoked)
    fault = ("is gone" if not held.texts else "is revoked already") if faded else _unlike(key, held)
    if fault and not (faded and waited):
        seen = f"the key was retired {age if age is not None else 'some'} days ago and {fault}: queued mail fails"
        yield Found("W", seen, f"{Record.txt(where, key.value)} (until {QUEUE_DAYS} days have passed)", where)


def _unlike(key: SignerKey, held: Key) -> str:
    """How the record in DNS is not that of the key; empty where it is."""
    if held.record is None:
        return f"has {len(held.texts)} records" if len(held.texts) > 1 else "cannot be read in DNS"
    if held.record.revoked:
        return "is revoked in DNS"
    try:
        wanted = DkimRecord.parse(key.value)
    except DkimError:
        return ""  # nothing to compare with
    same = (wanted.key_type, wanted.public_key) == (held.record.key_type, held.record.public_key)
    return "" if same else "is another one in DNS"


def _days(since: str, view: View) -> int | None:
    try:
        then = datetime.datetime.fromisoformat(since.replace("Z", "+00:00"))
    except ValueError:
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=datetime.UTC)
    return (view.options.now - then).days


def _age_by_name(selector: str, view: View) -> int | None:
    """Days since the end of the month that a selector is named after, e.g. rsa-202611-k3f9."""
    match_ = _DATED.search(selector)
    if not match_:
        return None
    year, month = int(match_.group(1)), int(match_.group(2))
    after = datetime.datetime(year + month // 12, month % 12 + 1, 1, tzinfo=datetime.UTC)
    return (view.options.now - after).days


ROWS = {
    "dkim.present": present,
    "dkim.syntax": _each(_syntax),
    "dkim.match": match,
    "dkim.keysize": _each(_keysize),
    "dkim.alg": algorithm,
    "dkim.flags": _each(_flags),
    "dkim.rotation": rotation,
}
