# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: who is in a group. A further kind of source is one function here and one section in the configuration."""

from __future__ import annotations

import csv
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import ldap3
import sqlalchemy as sa
import yaml
from ldap3.core.exceptions import LDAPException, LDAPOperationResult
from ldap3.core.results import RESULT_SUCCESS
from sqlalchemy.exc import SQLAlchemyError

from .config import FileGroup, Group, HttpGroup, LdapGroup, SqlGroup
from .message import address, same

SECONDS = 20  # that a source may take; ldap3 takes no fractions
_YES = ("1", "true", "yes", "y", "t")


class GroupError(Exception):
    """A source does not say who is in a group; the text names the group and the reason."""


@dataclass(frozen=True)
class Person:
    """An address as a source has it."""

    address: str
    opted_out: bool = False


@dataclass(frozen=True)
class Recipients:
    """Who gets a mail, each once; what a source has that is no address, with the reason; how many have opted out."""

    addresses: list[str]
    faults: list[tuple[str, str]]
    opted_out: int


def recipients(groups: Mapping[str, Group], named: Iterable[str], opted_out: set[str]) -> Recipients:
    """Everybody in the groups, and those who are named. Raises :class:`GroupError`."""
    people = [*(one for name, group in groups.items() for one in members(name, group)), *map(Person, named)]
    unwilling = {same(one) for one in opted_out} | {same(one.address.strip()) for one in people if one.opted_out}
    found: dict[str, str] = {}
    faults: dict[str, str] = {}
    skipped = set()
    for person in people:
        try:
            mailbox = address(person.address)
        except ValueError as err:
            faults[person.address.strip()[:100]] = str(err)
            continue
        if same(mailbox) in unwilling or same(person.address.strip()) in unwilling:
            skipped.add(same(mailbox))
        else:
            found.setdefault(same(mailbox), mailbox)
    return Recipients(list(found.values()), list(faults.items()), len(skipped))


def members(name: str, group: Group) -> list[Person]:
    """Everybody in a group. Raises :class:`GroupError`."""
    read: Callable[[Any], Iterable[Person]] = _SOURCES[group.kind]
    try:
        return list(read(group))
    except (OSError, ValueError, yaml.YAMLError, csv.Error, SQLAlchemyError, LDAPException, httpx.HTTPError) as err:
        # The first line alone: those that follow show the query, or the text.
        said = (str(err).splitlines() or [type(err).__name__])[0]
        raise GroupError(f"the group {name} cannot be read ({group.kind}): {said}") from None


def _file(group: FileGroup) -> Iterator[Person]:
    if group.path.suffix.lower() != ".csv":
        return _people(yaml.safe_load(group.path.read_text(encoding="utf-8")))
    with open(group.path, encoding="utf-8-sig", newline="") as file:
        return _people(list(csv.DictReader(file)))


def _sql(group: SqlGroup) -> Iterator[Person]:
    engine = sa.create_engine(group.url.get_secret_value(), poolclass=sa.NullPool)
    with engine.connect() as db:
        rows = db.execute(sa.text(group.query)).all()
    return (Person(str(row[0]), len(row) > 1 and _yes(row[1])) for row in rows)


def _ldap(group: LdapGroup) -> Iterator[Person]:
    tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=str(group.ca_file) if group.ca_file else None)
    server = ldap3.Server(group.url, tls=tls, connect_timeout=SECONDS, get_info=ldap3.NONE)
    login = {"user": group.user, "password": group.password.get_secret_value()} if group.user else {}
    bind = ldap3.AUTO_BIND_TLS_BEFORE_BIND if group.starttls else ldap3.AUTO_BIND_NO_TLS
    with ldap3.Connection(
        server, auto_bind=bind, read_only=True, receive_timeout=SECONDS, raise_exceptions=True, **login
    ) as link:
        found = link.extend.standard.paged_search(
            group.base, group.filter, attributes=[group.attribute], paged_size=500, generator=False
        )
        # ldap3 passes over what cuts an answer short, and those who are cut off would be missed.
        if link.result["result"] != RESULT_SUCCESS:
            raise LDAPOperationResult(link.result["result"], link.result["description"])
    values = (one["raw_attributes"].get(group.attribute, []) for one in found if one["type"] == "searchResEntry")
    return (Person(value.decode()) for several in values for value in several)


def _http(group: HttpGroup) -> Iterator[Person]:
    bearer = group.bearer.get_secret_value()
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    trust = ssl.create_default_context(cafile=group.ca_file) if group.ca_file else True
    answer = httpx.get(group.url, headers=headers, timeout=SECONDS, verify=trust)
    answer.raise_for_status()
    return _people(answer.json())


_SOURCES: Mapping[str, Callable[..., Iterator[Person]]] = {"file": _file, "sql": _sql, "ldap": _ldap, "http": _http}


def _people(data: object) -> Iterator[Person]:
    """What a list holds: addresses, or mappings with ``address`` and, by choice, ``opted_out``. Raises ValueError."""
    if not isinstance(data, list):
        raise ValueError("it must be a list of addresses, or of mappings with the key address")
    return (_person(one, number) for number, one in enumerate(data, 1))


def _person(one: object, number: int) -> Person:
    if isinstance(one, str):
        return Person(one)
    if isinstance(one, dict) and isinstance(one.get("address"), str):
        return Person(one["address"], _yes(one.get("opted_out")))
    raise ValueError(f"entry {number} has no address")


def _yes(value: object) -> bool:
    return value is True or str(value).strip().lower() in _YES
