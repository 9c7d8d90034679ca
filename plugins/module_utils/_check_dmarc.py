# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the mail check on the DMARC record; section numbers without more are of RFC 9989. Private, pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _public_suffix
from ansible_collections.postmaster.mail.plugins.module_utils._check import Found, settled, unknown
from ansible_collections.postmaster.mail.plugins.module_utils._check_view import View
from ansible_collections.postmaster.mail.plugins.module_utils._dmarc import (
    POLICIES,
    Discovery,
    DmarcError,
    DmarcRecord,
    discover,
    is_dmarc,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dns import is_under
from ansible_collections.postmaster.mail.plugins.module_utils._record import Record

TARGET_LIMIT = 10  # report addresses that are looked at


def _found(view: View) -> Discovery:
    labels = view.bare.split(".")
    above = [".".join(labels[start:]) for start in range(1, len(labels))][-7:]
    view.prefetch([(f"_dmarc.{name}.", "TXT") for name in (view.bare, *above)])
    return view.once("dmarc", lambda: discover(view.bare, view))


def _sample(view: View) -> str:
    return str(Record.txt(f"_dmarc.{view.domain}", f"v=DMARC1; p=none; rua=mailto:dmarc@{view.bare}"))


def present(view: View) -> Iterator[Found]:
    """One record, here or at the organisational domain (sections 4.7 and 4.10)."""
    found = _found(view)
    if found.steps[0].error:
        where = f"_dmarc.{view.bare}"
        seen = f"{found.steps[0].error}: {' | '.join(found.steps[0].texts)}"
        yield Found("F", seen, f"leave one valid record at {where}, such as {_sample(view)}", where)
    elif found.record is None:
        near = [text for text in view.query(f"_dmarc.{view.domain}", "TXT") if _nearly(text)]
        if near:
            seen = f"no receiver takes this for a DMARC record: {near[0]}"
            yield Found("F", seen, "it begins with v=DMARC1; in this case, as the first tag", f"_dmarc.{view.bare}")
        else:
            yield Found("F", "no DMARC record, neither here nor above", _sample(view))
    for text in view.text(view.domain, "v=dmarc1"):
        seen = f"a DMARC record at the domain itself, where nobody looks for it: {text}"
        yield Found("W", seen, f"delete it; what it says belongs to _dmarc.{view.bare}")


def _nearly(text: str) -> bool:
    return "dmarc1" in text.lower() and not is_dmarc(text)


def walk(view: View) -> Iterator[Found]:
    """Receivers after RFC 7489, which use the public suffix list, find the same record."""
    found = _found(view)
    if found.record is None or found.record_domain == view.bare:
        return
    try:
        old = _public_suffix.organizational_domain(view.bare)
    except _public_suffix.SuffixListMissing as err:
        seen, _semicolon, remedy = str(err).partition("; ")
        yield unknown(seen, remedy)
        return
    if old != found.organizational_domain:
        seen = (
            f"the organisational domain is {found.organizational_domain} by RFC 9989, and {old or 'none'} by RFC 7489"
        )
        remedy = str(Record.txt(f"_dmarc.{view.domain}", str(found.record)))
        yield Found("W", seen, f"publish a record at the domain itself, which all find: {remedy}")


def policy(view: View) -> Iterator[Found]:
    """What receivers do with forged mail (sections 4.7 and 4.10.1)."""
    found = _found(view)
    record = found.record
    if record is None or found.declared is None:
        return
    where = f"_dmarc.{found.record_domain}"
    for problem in record.problems:
        if problem.term.partition("=")[0] in ("p", "sp", "np"):
            yield Found("W", str(problem), "write p=reject, or what you mean", where)
            return
    if found.declared == "none":
        stepped = _instead(found, record, **{str(found.tag): _next(found.declared)})
        yield Found("W", f"{found.tag}=none only watches: forged mail is delivered", stepped, where, "RFC 9989 A.4")
        return
    if record.t == "y":
        plain = _instead(found, record, t=None)
        yield Found("W", f"t=y lowers {found.declared} to {found.policy}", plain, where, "RFC 9989 4.7")
    weaker = {
        tag: value
        for tag, value in (("sp", record.sp), ("np", record.np))
        if value and POLICIES.index(value) < POLICIES.index(record.p)
    }
    if weaker and found.tag == "p":
        named = " and ".join(f"{tag}={value}" for tag, value in weaker.items())
        seen = f"{named} is weaker than p={record.p}: forgers take a subdomain"
        yield Found("W", seen, _instead(found, record, **dict.fromkeys(weaker)), where)


def _instead(found: Discovery, record: DmarcRecord, **changes: Any) -> str:
    """The record that applies with other tags, as it is to be published."""
    return str(Record.txt(f"_dmarc.{found.record_domain}.", str(replace(record, **changes))))


def _next(declared: str) -> str:
    return POLICIES[min(POLICIES.index(declared) + 1, len(POLICIES) - 1)]


def removed(view: View) -> Iterator[Found]:
    """Tags without a meaning (appendix A.6)."""
    found = _found(view)
    record = found.record
    if record is None:
        return
    where = f"_dmarc.{found.record_domain}"
    if record.removed:
        names = ", ".join(f"{tag}={value}" for tag, value in record.removed)
        seen = f"{names}: removed from DMARC, receivers ignore it"
        yield Found("W", seen, f"{_instead(found, record)} (t=y is what lowers the policy for a trial)", where)
    if record.unknown:
        names = ", ".join(f"{tag}={value}" for tag, value in record.unknown)
        yield Found("I", f"{names}: no such tag", "delete it, or correct its name", where, "RFC 9989 4.7")


def reports(view: View) -> Iterator[Found]:
    """Reports go where they are taken (RFC 9990 section 4)."""
    found = _found(view)
    record = found.record
    if record is None:
        return
    where = f"_dmarc.{found.record_domain}"
    if not record.rua:
        remedy = _instead(found, record, rua=(f"mailto:dmarc@{found.record_domain}",))
        yield Found("W", "no rua: nobody sees what fails", remedy, where, "RFC 9989 4.7")
        return
    uris = record.rua[:TARGET_LIMIT]
    targets = {uri: uri.partition("?")[0].rpartition("@")[2].lower() for uri in uris if _is_mailto(uri)}
    for uri in uris:
        if uri not in targets:
            yield Found("W", f"{uri}: reports are sent by mail only", "write mailto:", where)
    distinct = list(dict.fromkeys(targets.values()))
    for judged in view.each(lambda target: list(settled(_judge_target(view, found, target), target)), distinct):
        yield from judged


def _is_mailto(uri: str) -> bool:
    return uri.lower().startswith("mailto:")


def _judge_target(view: View, found: Discovery, target: str) -> Iterator[Found]:
    domain = found.record_domain or view.bare
    hosts = view.query(target + ".", "MX")
    if not (hosts or view.addresses(target + ".")) or hosts == ["0 ."]:
        yield Found("W", f"reports go to {target}, which takes no mail", "name another address in rua", target)
        return
    if is_under(target + ".", domain + ".") or is_under(domain + ".", target + "."):
        return
    if is_under(target + ".", found.organizational_domain + "."):
        return
    name = f"{domain}._report._dmarc.{target}."
    if not any(_permits(text) for text in view.query(name, "TXT")):
        seen = f"reports go to {target}, which does not say that it takes them: they are not sent"
        yield Found("W", seen, str(Record.txt(name, "v=DMARC1;")), target)


def _permits(text: str) -> bool:
    """Whether a record is a consent: any record of the version will do (RFC 9990 section 4)."""
    if not is_dmarc(text):
        return False
    try:
        DmarcRecord.parse(text)
    except DmarcError:
        return text.partition(";")[2].strip() == ""
    return True


ROWS = {
    "dmarc.present": present,
    "dmarc.walk": walk,
    "dmarc.policy": policy,
    "dmarc.removed": removed,
    "dmarc.rua": reports,
}
