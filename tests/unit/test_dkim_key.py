# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module dkim_key, started as Ansible starts it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_plan import Manifest, Want, rotated
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_run import CallError
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_store import host_suffix
from ansible_collections.postmaster.mail.plugins.modules import dkim_key

ERRORS = [
    ({}, "one of the following is required: domain, keys"),
    ({"domain": "a.example", "keys": []}, "parameters are mutually exclusive: domain|keys"),
    ({"domain": "a.example "}, "domain 'a.example ' at character 10: a domain holds no white space; remove it (RFC 6376 section 3.5)"),
    ({"keys": [{"domain": "a.example"}, {"domain": "b"}]}, "keys[1]: domain 'b' at character 1: a signing domain has at least "
        "two labels (RFC 6376 section 3.5)"),
    ({"domain": "a.example", "mode": "rw"}, "mode 'rw' is no octal number such as '0640'"),
    ({"domain": "a.example", "ttl": -1}, "ttl -1 is not between 0 and 2147483647"),
    ({"domain": "a.example", "now": "today"}, "now 'today' is no time such as 2026-11-20T11:00:00Z"),
    ({"domain": "a.example", "selector": "s1", "published": "now"}, "published 'now' is no time such as 2026-11-20T11:00:00Z"),
    ({"keys": [{"domain": "a.example", "selector": "s1", "settle": -1}]}, "keys[0]: settle -1 is not between 0 and 2147483647"),
    ({"domain": "a.example", "selector_suffix": "a_b"}, "selector_suffix 'a_b' is not made of up to 20 letters and digits"),
    ({"domain": "a.example", "state": "activated"}, "a.example has no rsa key to activate: make one with state=present or rotated"),
]  # fmt: skip


def start(scratch: Path, path: str = "", **options: object) -> dict[str, Any]:
    """What a call with ``options`` returns; ``path`` goes before the search path of Python."""
    options = {"directory": str(scratch / "keys"), "_ansible_remote_tmp": str(scratch), **options}
    searched = [path, *(entry for entry in sys.path if entry)] if path else [entry for entry in sys.path if entry]
    done = subprocess.run(
        [sys.executable, "-m", dkim_key.__name__],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": options}),
        env={**os.environ, "PYTHONPATH": ":".join(searched)},
        capture_output=True,
        text=True,
        check=False,
    )
    result = json.loads(done.stdout)
    assert isinstance(result, dict)
    return result


@pytest.mark.parametrize(("options", "message"), ERRORS)
def test_errors(tmp_path: Path, options: dict[str, object], message: str) -> None:
    result = start(tmp_path, **options)
    assert result["failed"]
    assert result["msg"] == message
    assert not list(tmp_path.iterdir())


def test_a_key(tmp_path: Path) -> None:
    result = start(tmp_path, domain="a.example", selector="s1", ttl=60)
    assert result["changed"]
    assert result["keys"] == [result["key"]]
    key = result["key"]
    assert (key["domain"], key["selector"], key["bits"], key["record"]["ttl"]) == ("a.example", "s1", 2048, 60)
    assert key["bind"] == f"s1._domainkey.a.example. 60 IN TXT {key['record']['rdata']}"
    assert max(len(string) for string in key["record"]["strings"]) == 255
    again = start(tmp_path, keys=[{"domain": "a.example"}], ttl=60)
    assert (again["changed"], again["keys"]) == (False, [key])
    assert "key" not in again


def test_the_end_of_a_key(tmp_path: Path) -> None:
    clock = {"domain": "a.example", "now": "2026-11-20T11:00:00Z"}
    start(tmp_path, **clock, selector="s1")
    start(tmp_path, **clock, selector="s2", state="rotated")
    start(tmp_path, **clock, state="activated")
    noted = start(tmp_path, **clock, selector="s1", published="2026-11-20T10:00:00Z", settle=60)
    assert (noted["changed"], noted["key"]["published"], noted["key"]["settle"]) == (True, "2026-11-20T10:00:00Z", 60)
    assert not start(tmp_path, keys=[{"domain": "a.example", "selector": "s1", "settle": 60}])["changed"]
    revoked = start(tmp_path, **clock, selector="s1", state="revoked")["key"]
    assert (revoked["record"]["value"], revoked["revoked"], revoked["published"]) == (
        "v=DKIM1; h=sha256; k=rsa; p=", clock["now"], "",
    )  # fmt: skip
    withdrawn = start(tmp_path, **clock, selector="s1", state="withdrawn")
    assert (withdrawn["changed"], withdrawn["key"]["record"], withdrawn["key"]["bind"]) == (True, None, None)
    assert withdrawn["diff"]["after"].splitlines()[0] == "a.example s1 rsa withdrawn (no record)"
    gone = start(tmp_path, **clock, selector="s1", state="absent")
    assert [key["selector"] for key in gone["keys"]] == ["s2"]
    assert not (tmp_path / "keys" / "a.example.s1.key").exists()


def test_without_the_library_nothing_is_written(tmp_path: Path) -> None:
    shadow = tmp_path / "shadow" / "cryptography"
    shadow.mkdir(parents=True)
    (shadow / "__init__.py").write_text("raise ImportError('not here')\n")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    result = start(scratch, str(shadow.parent), domain="a.example")
    assert result["failed"]
    assert "cryptography" in result["msg"]
    assert not list(scratch.iterdir())
    assert start(scratch, str(shadow.parent), domain="a.example", _ansible_check_mode=True)["changed"]
    start(scratch, domain="a.example")
    found = start(scratch, str(shadow.parent), domain="a.example")
    assert (found["changed"], found["key"]["bits"]) == (False, 2048)


@pytest.mark.parametrize(("given", "expected"), [(None, None), ("0640", 0o640), ("600", 0o600), (0o440, 0o440)])
def test_modes(given: object, expected: int | None) -> None:
    assert dkim_key.file_mode(given) == expected


@pytest.mark.parametrize("given", ["", "9", "u=rw", [6]])
def test_bad_modes(given: object) -> None:
    with pytest.raises(CallError):
        dkim_key.file_mode(given)


def test_what_the_suffix_does() -> None:
    assert re.fullmatch(r"[a-z2-7]{4}", host_suffix())
    assert host_suffix() == host_suffix()
    for suffix, expected in (("", "rsa-202611"), ("k3f9", "rsa-202611-k3f9")):
        want = Want("a.example", suffix=suffix)
        step = rotated(Manifest("a.example"), want, now="2026-11-20T11:00:00Z", found={})
        assert [key.selector for key in step.after.keys] == [expected]
