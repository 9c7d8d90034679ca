# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose mailboxes there are: what is refused, each with a twin that is not, and the tables that come out."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.postmaster.mail.plugins.filter.mail_accounts import mail_accounts
from ansible_collections.postmaster.mail.plugins.module_utils import _accounts, _hashes
from hypothesis import given
from hypothesis import strategies as st

B64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SHA512 = "$6$saltsalt$" + (B64 * 2)[:86]
SHA256 = "$5$rounds=5000$saltsalt$" + B64[:43]
BCRYPT = "$2y$10$" + B64[:53]
YESCRYPT = "$y$j9T$" + B64[:22] + "$" + B64[:43]


def user(name: str, **more: Any) -> dict[str, Any]:
    return {"address": name, "password": "secret", **more}


def described(*users: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A description that is well but for what a case changes."""
    return {
        "domains": ["post.example", "other.example"],
        "users": [user("ann@post.example"), user("bob@post.example"), *users],
        "role_address": "ann@post.example",
        **more,
    }


def problems(description: dict[str, Any]) -> list[str]:
    return _accounts.plan(description)["problems"]


def test_tables() -> None:
    found = _accounts.plan(
        {
            "domains": ["post.example", "other.example"],
            "users": [
                {"address": "bob@post.example", "password_hash": "{SHA512-CRYPT}" + SHA512},
                user("ann@post.example", quota="1G", aliases=["ann.lee@post.example"], send_as=["sales@post.example"]),
            ],
            "aliases": {"sales@post.example": ["ann+sales@post.example", "Far.Away+x@away.test"]},
            "catch_all": {"other.example": "bob@post.example"},
            "role_address": "ann@post.example",
        },
        directory="/srv/mail",
    )
    ann = {"address": "ann@post.example", "local": "ann", "domain": "post.example", "hash": "", "password": "secret"}
    bob = {"address": "bob@post.example", "local": "bob", "domain": "post.example", "hash": SHA512, "password": ""}
    roles = {f"{role}@{domain}" for role in _accounts.ROLES for domain in ("post.example", "other.example")}
    virtuals = found.pop("virtuals")
    assert {name: virtuals.pop(name) for name in roles} == {role: ["ann@post.example"] for role in roles}
    assert virtuals == {
        "@other.example": ["bob@post.example"],
        "ann.lee@post.example": ["ann@post.example"],
        "ann@post.example": ["ann@post.example"],
        "bob@post.example": ["bob@post.example"],
        "sales@post.example": ["ann+sales@post.example", "Far.Away+x@away.test"],
    }
    assert found == {
        "problems": [],
        "warnings": [],
        "domains": ["other.example", "post.example"],
        "users": [
            {**ann, "quota": 1 << 30, "home": "/srv/mail/post.example/ann"},
            {**bob, "quota": 0, "home": "/srv/mail/post.example/bob"},
        ],
        "senders": {
            "ann@post.example": ["ann.lee@post.example", "ann@post.example", "sales@post.example"],
            "bob@post.example": ["bob@post.example"],
        },
    }


WELL = [
    described(),
    described(aliases={"sales@post.example": ["ann@post.example"], "all@other.example": "sales@post.example"}),
    described(aliases={"sales@post.example": ["zoe@other.example"]}, catch_all={"other.example": "bob@post.example"}),
    described(user("zoe@other.example", aliases=["z@post.example"], quota=5, send_as=["bob@post.example"])),
    described(users=[], role_address="someone@away.test"),
    described(
        role_address="",
        aliases={f"{role}@{d}.example": ["bob@post.example"] for role in _accounts.ROLES for d in ("post", "other")},
    ),
    described(role_address="postmaster@post.example", aliases={"postmaster@post.example": ["ann@post.example"]}),
    described(aliases=None, catch_all=None),
]


@pytest.mark.parametrize("description", WELL)
def test_what_is_well(description: dict[str, Any]) -> None:
    found = _accounts.plan(description)
    assert (found["problems"], found["warnings"]) == ([], [])


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        (described(user("ann@post.example")), "ann@post.example is described twice in users: take one of them out"),
        (described(user("Zoe@post.example")), "Zoe@post.example has capitals: write zoe@post.example"),
        (described(user("zoe")), "'zoe' is no address: write it as name@post.example"),
        (described(user("@post.example")), "'@post.example' is no address: write it as name@post.example"),
        (described(user("zoe@third.example")),
         "zoe@third.example is in a domain that is not in domains: add third.example there, or take the address out"),
        (described(user("zoe+x@post.example")),
         "zoe+x@post.example holds a plus sign, and what follows one is taken off: write zoe@post.example"),
        (described(user("zo|e@post.example")), "zo|e@post.example may hold a-z, 0-9 and inner . - _ before the @, nothing else: rename it"),
        (described(user("../ann@post.example")), "../ann@post.example may hold a-z, 0-9 and inner . - _ before the @, nothing else: rename it"),
        (described(user("z:e@post.example")), "z:e@post.example may hold a-z, 0-9 and inner . - _ before the @, nothing else: rename it"),
        (described(user("zoe@post.example\n")),
         "zoe@post.example\n is in a domain that is not in domains: add post.example\n there, or take the address out"),
        (described(user("z" * 65 + "@post.example")), "z" * 65 + "@post.example has more than 64 characters before the @: shorten it"),
        (described({"address": "zoe@post.example"}), "zoe@post.example: give either password or password_hash"),
        (described(user("zoe@post.example", password_hash=SHA512)),
         "zoe@post.example: give either password or password_hash, not both"),
        (described(user("zoe@post.example", quota="lots")), "zoe@post.example: 'lots' is no size: write it as 500M or 2G"),
        (described(user("zoe@post.example", pasword="x")),
         "zoe@post.example: there is no pasword: choose from address, password, password_hash, quota, aliases, send_as"),
        (described(user("zoe@post.example", aliases="z@post.example")), "zoe@post.example: aliases must be a list, not str"),
        (described(user("zoe@post.example", aliases=["ann@post.example"])),
         "zoe@post.example: its alias ann@post.example is a user too: rename one of them"),
        (described(user("zoe@post.example", aliases=["z@post.example"]), user("zak@post.example", aliases=["z@post.example"])),
         "z@post.example is an alias of zoe@post.example and of zak@post.example: describe it in aliases, with both"),
        (described(user("zoe@post.example", aliases=["z@post.example"]), aliases={"z@post.example": ["ann@post.example"]}),
         "zoe@post.example: its alias z@post.example stands in aliases too: take one of them out"),
        (described(user("zoe@post.example", send_as=["ceo@bank.test"])),
         "zoe@post.example: ceo@bank.test is in a domain that is not in domains: add bank.test there, or take the address out"),
        (described("zoe@post.example"), "users: each is a mapping with an address"),
        (described(users={"ann": 1}, role_address="a@away.test"), "users must be a list, not dict"),
        (described(aliases={"ann@post.example": ["bob@post.example"]}),
         "aliases: ann@post.example is a user too: rename one, or have the user forward by Sieve"),
        (described(aliases={"sales@post.example": ["nobody@post.example"]}),
         "aliases: sales@post.example goes to nobody@post.example, which does not exist: describe it, or name another"),
        (described(aliases={"sales@post.example": []}), "aliases: sales@post.example has no target: name one, or take it out"),
        (described(aliases={"sales@post.example": ["/bin/sh"]}),
         "aliases: sales@post.example: '/bin/sh' is no address: write it as name@post.example"),
        (described(aliases={"sales@post.example": ["a b@away.test"]}),
         "aliases: sales@post.example: 'a b@away.test' is no address that mail can be sent on to: write it as name@example.org"),
        (described(aliases={"a@post.example": ["b@post.example"], "b@post.example": ["c@post.example"], "c@post.example": ["a@post.example"]}),
         "aliases: a@post.example -> b@post.example -> c@post.example -> a@post.example goes round in a circle: take one of them out"),
        (described(aliases={"a@post.example": ["a+x@post.example"]}),
         "aliases: a@post.example -> a@post.example goes round in a circle: take one of them out"),
        (described(aliases={"a@post.example": ["x@other.example"]}, catch_all={"other.example": "a@post.example"}),
         "aliases: a@post.example -> x@other.example -> a@post.example goes round in a circle: take one of them out"),
        (described(catch_all={"third.example": "ann@post.example"}),
         "catch_all: third.example is not in domains: add it there, or take it out here"),
        (described(catch_all={"other.example": "nobody@post.example"}),
         "catch_all: other.example goes to nobody@post.example, which does not exist: describe it, or name another"),
        (described(catch_all={"other.example": "zoe@other.example"}),
         "catch_all: other.example goes to zoe@other.example, which does not exist: describe it, or name another"),
        (described(role_address="boss@post.example"),
         "role_address goes to boss@post.example, which does not exist: describe it, or name another"),
        (described(role_address="", domains=["post.example"]),
         "nobody gets the mail for postmaster@post.example, abuse@post.example, hostmaster@post.example, noc@post.example, "
         "security@post.example: say who in role_address, or describe at least postmaster@post.example as a user or an alias"),
        ({"domains": ["post"], "role_address": "a@away.test"},
         "domains: 'post' is no domain name: write it as example.org, an international one as xn--..."),
        ({"domains": ["Post.example"], "role_address": "a@away.test"}, "domains: Post.example has capitals: write post.example"),
        ({}, "domains: name at least one, or nobody can have a mailbox"),
        (described(catchall={}), "there is no catchall: choose from domains, users, aliases, catch_all, role_address"),
    ],
)  # fmt: skip
def test_problems(description: dict[str, Any], expected: str) -> None:
    assert problems(description) == [expected]


def test_a_missing_role_address_other_than_postmaster_is_a_warning() -> None:
    users = [user("postmaster@post.example"), user("abuse@post.example")]
    found = _accounts.plan({"domains": ["post.example"], "users": users})
    assert found["problems"] == []
    assert found["warnings"] == [
        "nobody gets the mail for hostmaster@post.example, noc@post.example, security@post.example: say who in role_address"
    ]


@pytest.mark.parametrize(
    ("given_hash", "expected"),
    [
        (SHA512, SHA512),
        ("{sha512-crypt}" + SHA512, SHA512),
        ("{CRYPT}" + SHA256, SHA256),
        ("{BLF-CRYPT}" + BCRYPT, BCRYPT),
        (BCRYPT.replace("$2y", "$2b"), BCRYPT.replace("$2y", "$2b")),
        (YESCRYPT, YESCRYPT),
    ],
)
def test_hashes_that_are_read(given_hash: str, expected: str) -> None:
    assert _hashes.readable(given_hash) == expected
    assert _hashes.is_readable(expected)
    assert _hashes.is_readable(given_hash) is (given_hash == expected)


@pytest.mark.parametrize(
    ("given_hash", "expected"),
    [
        ("{SSHA}" + B64[:32], "Dovecot alone reads a hash of the scheme SSHA: make one with `doveadm pw -s BLF-CRYPT`"),
        ("{ARGON2ID}$argon2id$x", "Dovecot alone reads a hash of the scheme ARGON2ID: make one with `doveadm pw -s BLF-CRYPT`"),
        ("$1$salt$" + B64[:22], "MD5-CRYPT is too weak, and Dovecot 2.4 refuses it: make one with `doveadm pw -s BLF-CRYPT`"),
        ("{CRYPT}plain", "its hash is of no scheme that the daemons read (SHA512-CRYPT, SHA256-CRYPT, BLF-CRYPT, YESCRYPT): "
         "make one with `doveadm pw -s BLF-CRYPT`"),
        ("{BLF-CRYPT}" + SHA512, "its hash is said to be of the scheme BLF-CRYPT, but looks like SHA512-CRYPT: make one with `doveadm pw -s BLF-CRYPT`"),
        (SHA512[:-1], "its hash of the scheme SHA512-CRYPT is damaged, perhaps cut off: make one with `doveadm pw -s BLF-CRYPT`"),
        (SHA512 + ":0:0", "its hash of the scheme SHA512-CRYPT is damaged, perhaps cut off: make one with `doveadm pw -s BLF-CRYPT`"),
        (BCRYPT.replace("$10$", "$03$"), "its hash of the scheme BLF-CRYPT is damaged, perhaps cut off: make one with `doveadm pw -s BLF-CRYPT`"),
    ],
)  # fmt: skip
def test_hashes_that_are_refused(given_hash: str, expected: str) -> None:
    item = {"address": "zoe@post.example", "password_hash": given_hash}
    assert problems(described(item)) == [f"zoe@post.example: {expected}"]


@pytest.mark.parametrize(
    ("password", "expected"),
    [
        ("two\nlines", "its password holds a line end or another control character: take it out"),
        ("x" * 256, "its password has more than 255 octets: shorten it"),
    ],
)
def test_passwords_that_are_refused(password: str, expected: str) -> None:
    assert problems(described(user("zoe@post.example", password=password))) == [f"zoe@post.example: {expected}"]
    assert problems(described(user("zoe@post.example", password=password.replace("\n", " ")[:255]))) == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("500M", 500 << 20),
        ("1G", 1 << 30),
        ("2 GiB", 2 << 30),
        ("7kb", 7 << 10),
        (123, 123),
        ("1T", 1 << 40),
        ("", 0),
        (None, 0),
        (0, 0),
    ],
)
def test_sizes(value: object, expected: int) -> None:
    assert _accounts.size(value) == expected


@pytest.mark.parametrize("value", [True, "-1", "1.5G", "1P", []])
def test_no_sizes(value: object) -> None:
    with pytest.raises(_accounts.AccountError, match="is no size"):
        _accounts.size(value)


def test_a_password_stands_in_no_message_and_no_repr() -> None:
    found = _accounts.read(
        described(
            user("zoe@post.example", password="hunter2", quota="lots"), user("kim@post.example", password="hunter2")
        )
    )
    assert "hunter2" not in repr(found) and len(found.problems) == 1


def test_the_filter_says_what_it_needs() -> None:
    assert mail_accounts(described(), directory="/srv/")["users"][0]["home"] == "/srv/post.example/ann"
    with pytest.raises(AnsibleFilterError, match="mail_accounts needs a mapping, not list"):
        mail_accounts([])


NAMES = st.sampled_from(["a", "b", "c", "d"])
DOMAINS = ["p.example", "q.example"]
ADDRESSES = st.builds("{}@{}".format, NAMES, st.sampled_from(DOMAINS))
GOALS = st.one_of(ADDRESSES, st.builds("{}+t@{}".format, NAMES, st.sampled_from(DOMAINS)), st.just("x@away.test"))
DESCRIPTIONS = st.fixed_dictionaries(
    {
        "domains": st.just(DOMAINS),
        "users": st.lists(st.builds(user, ADDRESSES, aliases=st.lists(ADDRESSES, max_size=1)), max_size=4),
        "aliases": st.dictionaries(ADDRESSES, st.lists(GOALS, min_size=1, max_size=3), max_size=5),
        "catch_all": st.dictionaries(st.sampled_from(DOMAINS), GOALS, max_size=2),
        "role_address": st.one_of(GOALS, st.just("")),
    }
)


def followed(virtuals: dict[str, list[str]], name: str, steps: int = 0) -> list[str]:
    """Where a mail server that knows plus signs and catch-alls takes a message; it never gives up."""
    assert steps < 50, "a circle"
    local, dummy, domain = name.partition("@")
    keys = (name, f"{local.split('+', maxsplit=1)[0]}@{domain}", f"@{domain}")
    goals = next((virtuals[key] for key in keys if key in virtuals), None)
    if goals is None or goals == [keys[1]]:
        return [keys[1]]
    return [end for goal in goals for end in followed(virtuals, goal, steps + 1)]


@given(DESCRIPTIONS)
def test_what_is_accepted_ends_in_a_mailbox_or_elsewhere(description: dict[str, Any]) -> None:
    found = _accounts.plan(description)
    if found["problems"]:
        assert set(found) == {"problems", "warnings"}
        return
    users = {item["address"] for item in found["users"]}
    for name in [*found["virtuals"], *(f"postmaster@{domain}" for domain in DOMAINS)]:
        ends = followed(found["virtuals"], "nobody" + name if name.startswith("@") else name)
        assert ends and all(end in users or end.endswith("@away.test") for end in ends), name


@given(DESCRIPTIONS)
def test_the_order_means_nothing(description: dict[str, Any]) -> None:
    other = {key: value[::-1] if key == "users" else value for key, value in description.items()}
    other["aliases"] = dict(reversed(description["aliases"].items()))
    here, there = _accounts.plan(description), _accounts.plan(other)
    assert bool(here["problems"]) is bool(there["problems"])
    if not here["problems"]:
        assert here == there
