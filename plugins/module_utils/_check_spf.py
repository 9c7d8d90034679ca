# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the mail check on SPF; section numbers without more are of RFC 7208. Private, pure.

They judge the whole tree of records that includes and redirects lead to, not the path that one address takes: what
receivers meet depends on who sends.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ansible_collections.postmaster.mail.plugins.module_utils import _spf
from ansible_collections.postmaster.mail.plugins.module_utils._check import Found, settled, unanswered, unknown
from ansible_collections.postmaster.mail.plugins.module_utils._check_view import View
from ansible_collections.postmaster.mail.plugins.module_utils._dns import DnsTimeout, is_under
from ansible_collections.postmaster.mail.plugins.module_utils._record import Record

NODE_LIMIT = 60  # records of one tree that are looked at; receivers give up after ten
ANSWER_LIMIT = 512  # octets of the whole answer, section 3.4
ANSWER_OVERHEAD = 12 + 6  # header, and type and class of the question, RFC 1035 section 4.1
RECORD_OVERHEAD = 12  # of each record, its name compressed


@dataclass(frozen=True)
class Node:
    """The SPF records at one name; ``path`` leads there by terms, ``record`` is the one that can be read.

    ``loop`` says that the name is its own ancestor, where the tree ends; ``silence`` why its records are not known.
    """

    domain: str
    path: tuple[str, ...]
    texts: tuple[str, ...]
    record: _spf.SpfRecord | None = None
    children: tuple[Node, ...] = ()
    loop: bool = False
    silence: str = ""

    def all(self) -> list[Node]:
        """This node and all below it."""
        return [self, *(node for child in self.children for node in child.all())]

    @property
    def lookups(self) -> int:
        """Lookups of a receiver that tries every term (section 4.6.4)."""
        own = len(self.record.lookup_terms) if self.record else 0
        return own + sum(child.lookups for child in self.children)

    @property
    def where(self) -> str:
        """How a person finds the record."""
        return self.domain if not self.path else f"{self.domain} (by {' '.join(self.path)})"


def tree(view: View) -> Node:
    """The SPF records of the domain and all they refer to. Raises :class:`DnsTimeout` for the domain's own alone."""
    return view.once("spf", lambda: _node(view, view.bare, (), (), [0]))


def _node(view: View, domain: str, path: tuple[str, ...], above: tuple[str, ...], count: list[int]) -> Node:
    count[0] += 1
    if domain in above:
        return Node(domain, path, (), loop=True)
    try:
        texts = tuple(text for text in view.query(domain + ".", "TXT") if _spf.is_spf(text))
    except DnsTimeout as err:
        if not path:
            raise
        return Node(domain, path, (), silence=str(err))
    if len(texts) != 1:
        return Node(domain, path, texts)
    try:
        record = _spf.parse(texts[0])
    except _spf.SpfError:
        return Node(domain, path, texts)
    wanted = [(term.text, term.domain.literal) for term in record.lookup_terms if _refers(term) and term.domain]
    below = [(text, name) for text, name in wanted if name][: max(NODE_LIMIT - count[0], 0)]
    children = view.each(lambda item: _node(view, item[1], (*path, item[0]), (*above, domain), count), below)
    return Node(domain, path, texts, record, tuple(children))


def _refers(term: _spf.Term) -> bool:
    return isinstance(term, _spf.Modifier) or term.mechanism == "include"


def _own(view: View) -> _spf.SpfRecord | None:
    """The domain's own record, where there is one that can be read."""
    return tree(view).record


def _publish(view: View, text: str) -> str:
    return str(Record.txt(view.domain, text))


def _silent(view: View) -> Iterator[Found]:
    """The records below the domain's that were not told: what a row says of the whole tree lacks them."""
    for node in tree(view).all():
        if node.silence:
            yield unanswered(node.silence, node.domain)


def _of_tree(judge: Callable[[View], Iterator[Found]]) -> Callable[[View], Iterator[Found]]:
    """A row on all records: what ``judge`` finds in those that are known, and which are not."""

    def row(view: View) -> Iterator[Found]:
        yield from judge(view)
        yield from _silent(view)

    row.__doc__ = judge.__doc__
    return row


# -- rows ---------------------------------------------------------------------------------------------


def single(view: View) -> Iterator[Found]:
    """Exactly one record (section 4.5)."""
    texts = tree(view).texts
    if len(texts) > 1:
        seen = f"{len(texts)} SPF records, which is a permanent error for receivers: {' | '.join(texts)}"
        yield Found("F", seen, f"instead of all of them {_merged(view, texts)}")
    elif not texts and not view.null_mx:
        remedy = _publish(view, "v=spf1 mx ~all") + " (with the addresses that send)"
        yield Found("F", "no SPF record", remedy)


def _merged(view: View, texts: Sequence[str], *terms: str) -> str:
    """The one record that says what ``texts`` do, and ``terms``, as it is to be published."""
    try:
        return _publish(view, str(_spf.merge(texts, terms)))
    except _spf.SpfError:
        return f"one record with the terms {' '.join(terms) or 'of all'}"


def syntax(view: View) -> Iterator[Found]:
    """No syntax error anywhere, also behind ``all`` (section 4.6)."""
    for node in tree(view).all():
        for text in node.texts:  # each, as one of two may be the one that stays
            try:
                _spf.parse(text)
            except _spf.SpfError as err:
                remedy = f"correct the term {err.term} at {node.where}; until then the whole record is void"
                yield Found("F", f"{err}, in {text}", remedy, node.domain)


def lookups(view: View) -> Iterator[Found]:
    """Ten lookups at most (section 4.6.4)."""
    top = tree(view)
    for node in top.all():
        if node.loop:
            seen = f"{' '.join(node.path)} leads back to {node.domain}, until receivers give up with a permanent error"
            yield Found("F", seen, f"remove {node.path[-1]}", node.domain)
            return
    if top.lookups <= _spf.LOOKUP_LIMIT:
        return
    costs = ", ".join(f"{node.path[-1]} {1 + node.lookups}" for node in top.children)
    seen = f"{top.lookups} lookups in the worst case, where {_spf.LOOKUP_LIMIT} are allowed ({costs})"
    remedy = "remove includes that nobody sends through any more, or list their addresses by ip4 and ip6"
    known = [_evaluated(view, outbound.address) for outbound in view.options.outbound]
    if known and all(result.result == "pass" for result in known):
        counts = ", ".join(str(result.lookups) for result in known)
        yield Found("W", f"{seen}; your own addresses pass after {counts}", remedy)
    else:
        yield Found("F", seen, remedy)


def void(view: View) -> Iterator[Found]:
    """Two lookups at most that lead to nothing (section 4.6.4), counted for clients of one family."""
    terms = [(term, node) for node in tree(view).all() if node.record for term in node.record.lookup_terms]
    by_family = {rdtype: _voids(view, terms, rdtype) for rdtype in _spf.FAMILIES}
    rdtype = max(by_family, key=lambda one: (len(by_family[one].dead), one == "A"))
    dead = by_family[rdtype].dead
    if len(dead) > _spf.VOID_LIMIT:
        terms_shown = ", ".join(dict.fromkeys(dead))
        seen = f"{len(dead)} lookups of a client over {_spf.FAMILIES[rdtype]} lead to nothing: {terms_shown}"
        severity = "F" if _harms_senders(view) else "W"
        yield Found(severity, seen, "remove these terms, or give the names addresses")
    if any(len(one.dead) + len(one.silent) > _spf.VOID_LIMIT for one in by_family.values()):
        for name, why in {**by_family["AAAA"].silent, **by_family["A"].silent}.items():
            yield unanswered(why, name)


def _harms_senders(view: View) -> bool:
    """Whether senders may be among those who get permerror, and not strangers alone, who would get a fail."""
    record = tree(view).record
    return record is not None and _spf.survey(str(record), domain=view.bare, resolver=view).voids_harm


@dataclass(frozen=True)
class Voids:
    """Terms that lead to nothing for clients of one family, and the names of which that is not known, and why."""

    dead: list[str]
    silent: dict[str, str]


def _voids(view: View, terms: Sequence[tuple[_spf.Term, Node]], rdtype: str) -> Voids:
    asked = [(term.text, _spf.question(term, node.domain, rdtype)) for term, node in terms]
    keys = [(text, (found[0] + ".", found[1])) for text, found in asked if found is not None]
    view.prefetch([found for dummy, found in keys])
    dead: list[str] = []
    silent: dict[str, str] = {}
    for text, (name, kind) in keys:
        try:
            dead += [] if view.query(name, kind) else [text]
        except DnsTimeout as err:
            silent[name.rstrip(".")] = str(err)
    return Voids(dead, silent)


def mx_limits(view: View) -> Iterator[Found]:
    """Ten hosts at most for a term mx, and ten names of an address for a term ptr (section 4.6.4)."""
    terms = [(term, node) for node in tree(view).all() if node.record for term in node.record.reached]
    wanted = [
        (term.text, (node.domain if term.domain is None else term.domain.literal or ""))
        for term, node in terms
        if term.mechanism == "mx"
    ]
    view.prefetch([(name + ".", "MX") for dummy, name in wanted if name])
    for text, name in wanted:
        yield from settled(_hosts_of_term(view, text, name), name)
    if any(term.mechanism == "ptr" for term, dummy in terms):
        for outbound in view.options.outbound:
            yield from settled(_names_of_address(view, outbound.address), outbound.address)


def _names_of_address(view: View, address: str) -> Iterator[Found]:
    count = len(view.query(ipaddress.ip_address(address).reverse_pointer + ".", "PTR"))
    if count > _spf.HOSTS_LIMIT:
        seen = f"the address has {count} names, and for the term ptr receivers look at {_spf.HOSTS_LIMIT}, any of them"
        yield Found("W", seen, f"replace ptr by {_family(address)}:{address}", address)


def _hosts_of_term(view: View, text: str, name: str) -> Iterator[Found]:
    count = len(view.query(name + ".", "MX")) if name else 0
    if count > _spf.HOSTS_LIMIT:
        limit = _spf.HOSTS_LIMIT
        seen = f"the term {text} leads to {count} hosts, and receivers stop after {limit} with a permanent error"
        yield Found("F", seen, f"replace {text} by the addresses that send, as ip4 and ip6", name)


def size(view: View) -> Iterator[Found]:
    """A record of 450 octets at most, in an answer that fits into a packet (section 3.4)."""
    for text in tree(view).texts[:1]:
        if len(text) > _spf.SIZE_ADVISED:
            seen = f"the record has {len(text)} octets, {_spf.SIZE_ADVISED} are advised"
            yield Found("W", seen, "shorten it, or move terms to a record of their own and include that")
            return
    values = view.query(view.domain, "TXT")
    total = ANSWER_OVERHEAD + len(view.domain) + sum(len(v) + len(v) // 255 + 1 + RECORD_OVERHEAD for v in values)
    if total > ANSWER_LIMIT and tree(view).texts:
        seen = f"the {len(values)} TXT records at the domain make an answer of some {total} octets"
        remedy = f"delete what is no longer needed of them, until {ANSWER_LIMIT} octets are enough"
        yield Found("W", seen, remedy)


def pointer(view: View) -> Iterator[Found]:
    """No term ptr (section 5.5)."""
    for node in tree(view).all():
        for term in node.record.reached if node.record else ():
            if term.mechanism == "ptr":
                seen = f"the term {term.text} makes receivers ask slowly, or is passed over"
                yield Found("W", seen, f"replace {term.text} at {node.where} by ip4 and ip6", node.domain)


def final(view: View) -> Iterator[Found]:
    """What is said of all other hosts (sections 5.1 and 6.1)."""
    record = _own(view)
    if record is None:
        return
    everyone = [term for term in record.directives if term.mechanism == "all"]
    redirect = record.modifier("redirect")
    wanted = _publish(view, " ".join([record.version, *_without(record, everyone), "~all"]))
    if not everyone:
        if redirect is None:
            yield Found(
                "W", "the record ends without all, so other hosts get no verdict", wanted, reference="RFC 7208 4.7"
            )
        return
    if everyone[0].qualifier == "+":
        yield Found("F", f"{everyone[0].text} lets the whole world send as this domain", wanted)
    elif everyone[0].qualifier == "?":
        yield Found("W", "?all says nothing of other hosts", wanted)
    dead = [term.text for term in record.directives[len(record.reached) :]]
    if dead:
        yield Found(
            "W", f"behind {everyone[0].text} these terms are never tried: {' '.join(dead)}", "move all to the end"
        )
    if redirect is not None:
        seen = f"{redirect.text} is ignored, as there is {everyone[0].text}"
        yield Found("W", seen, "delete one of them", reference="RFC 7208 6.1")


def _without(record: _spf.SpfRecord, left_out: Sequence[_spf.Term]) -> list[str]:
    return [term.text for term in record.terms if term not in left_out]


def include_target(view: View) -> Iterator[Found]:
    """Each include and redirect leads to exactly one record (sections 5.2 and 6.1)."""
    for node in tree(view).all():
        if node.path and len(node.texts) != 1 and not node.loop and not node.silence:
            what = f"{len(node.texts)} SPF records" if node.texts else "no SPF record"
            seen = f"{node.path[-1]} leads to {what} at {node.domain}, which is a permanent error for receivers"
            remedy = f"remove {node.path[-1]}" if not node.texts else f"have the records at {node.domain} merged"
            yield Found("F", seen, remedy, node.domain)


def covers(view: View) -> Iterator[Found]:
    """Each outbound address passes, as MAIL FROM and as HELO identity (sections 2.3 and 2.4)."""
    if not view.options.outbound:
        yield unknown("no sending address is named", "give outbound: [{address: ..., helo: ...}]")
        return
    for outbound in view.options.outbound:
        yield from settled(_covered(view, outbound.address), outbound.address)
        if outbound.helo:
            yield from settled(_covered_helo(view, outbound.address, outbound.helo), outbound.helo.rstrip("."))


def _covered(view: View, address: str) -> Iterator[Found]:
    result = _evaluated(view, address)
    if result.result == "temperror":
        yield unknown("its verdict cannot be had now (temperror)", "try again", address)
    elif result.result in ("none", "permerror") and _broken(view):
        return  # other rows say why
    elif result.result != "pass":
        by = f" by {result.term}" if result.term else ""
        # One record for all of them: of two, the second to be pasted would take the first one's address away.
        lacking = [one.address for one in view.options.outbound if _evaluated(view, one.address).result != "pass"]
        remedy = _merged(view, tree(view).texts, *(f"{_family(one)}:{one}" for one in lacking))
        yield Found("F", f"mail from {address} gets {result.result}{by}", remedy, address)


def _covered_helo(view: View, address: str, helo: str) -> Iterator[Found]:
    said = _spf.check_host(ip=address, sender="", helo=helo.rstrip("."), resolver=view)
    if said.result == "temperror":
        yield unknown(f"its verdict as HELO {helo} cannot be had now (temperror)", "try again", helo.rstrip("."))
    elif said.result in ("fail", "softfail", "permerror"):
        record = Record.txt(helo, f"v=spf1 {_family(address)}:{address} -all")
        yield Found("F", f"as HELO {helo} it gets {said.result}", str(record), helo.rstrip("."), "RFC 7208 2.3")


def _family(address: str) -> str:
    return "ip4" if "." in address else "ip6"


def _broken(view: View) -> bool:
    """Whether another row finds that no address can pass at all."""
    rows = (single, syntax, lookups, void, mx_limits, include_target)
    return not tree(view).texts or any(found.severity == "F" for row in rows for found in row(view))


def _evaluated(view: View, address: str) -> _spf.SpfResult:
    return _spf.check_host(ip=address, sender=f"postmaster@{view.bare}", helo=view.bare, resolver=view)


def nonsender(view: View) -> Iterator[Found]:
    """A domain that takes no mail, and the hosts that only take it, say that they send none (section 10.1.2)."""
    if view.null_mx:
        if not tree(view).texts:
            seen = "no SPF record: anyone can send as this domain, which takes no mail"
            yield Found("I", seen, _publish(view, "v=spf1 -all"))
        return
    own = [host for host in view.mx_hosts if is_under(host, view.domain) and host != view.domain]
    view.prefetch([(host, "TXT") for host in own])
    for host in own:
        yield from settled(_host_without(view, host), host.rstrip("."))


def _host_without(view: View, host: str) -> Iterator[Found]:
    if not view.text(host, _spf.VERSION):
        remedy = f"{Record.txt(host, 'v=spf1 -all')} (v=spf1 a -all if it also sends)"
        yield Found("I", "the mail server's own name has no SPF record", remedy, host.rstrip("."))


ROWS = {
    "spf.single": single,
    "spf.syntax": _of_tree(syntax),
    "spf.lookups": _of_tree(lookups),
    "spf.void": _of_tree(void),
    "spf.mx-ptr-limits": _of_tree(mx_limits),
    "spf.size": size,
    "spf.ptr": _of_tree(pointer),
    "spf.all": final,
    "spf.include-target": _of_tree(include_target),
    "spf.covers-ip": covers,
    "spf.nonsender": nonsender,
}
