# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys that sign, of those that a host holds."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.postmaster.mail.plugins.filter.signing_keys import signing_keys


def key(domain: str, selector: str, state: str) -> dict[str, object]:
    """An entry as dkim_key returns it."""
    path = f"/etc/dkimkeys/{domain}.{selector}.key"
    return {"domain": domain, "selector": selector, "algorithm": "rsa", "state": state, "path": path, "record": {}}


def test_active_only_and_sorted() -> None:
    keys = [key("b.test", "s2", "active"), key("b.test", "s1", "retired"), key("a.test", "s1", "active")]
    keys.append(key("a.test", "s2", "pending"))
    assert signing_keys(keys) == [
        {"domain": "a.test", "selector": "s1", "algorithm": "rsa", "path": "/etc/dkimkeys/a.test.s1.key"},
        {"domain": "b.test", "selector": "s2", "algorithm": "rsa", "path": "/etc/dkimkeys/b.test.s2.key"},
    ]
    assert signing_keys([]) == []


def test_a_key_that_check_mode_would_make_is_planned() -> None:
    made = key("a.test", "s1", "active")
    there, planned = signing_keys([made, made | {"selector": "s2", "record": None}])
    assert "planned" not in there
    assert planned == {field: there[field] for field in there} | {"selector": "s2", "planned": True}


@pytest.mark.parametrize("keys", [[{"domain": "a.test", "state": "active"}], [{}], ["text"]])
def test_what_is_no_key(keys: list[object]) -> None:
    with pytest.raises(AnsibleFilterError, match="takes the keys that dkim_key returns"):
        signing_keys(keys)  # type: ignore[arg-type]
