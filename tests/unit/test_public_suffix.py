# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Organizational domains by a public suffix list."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _public_suffix
from ansible_collections.postmaster.mail.plugins.module_utils._public_suffix import (
    SuffixList,
    SuffixListMissing,
    ascii_name,
)
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

import _suites as suites
from _suites import DATA, needs_data

# The rules of the list's own documentation: plain, wildcard, exception; and one beyond ASCII.
LIST = SuffixList.parse(
    "// a comment\n\ncom\n*.jp\n!pref.hokkaido.jp  text after a space\nhokkaido.jp\n*.hokkaido.jp\n\u4e2d\u56fd\n"
)
CASES = [
    ("com", None),
    ("example.com", "example.com"),
    ("A.B.Example.COM.", "example.com"),
    ("foo.bar.jp", "foo.bar.jp"),
    ("a.foo.bar.jp", "foo.bar.jp"),
    ("bar.jp", None),
    ("a.b.hokkaido.jp", "a.b.hokkaido.jp"),
    ("a.pref.hokkaido.jp", "pref.hokkaido.jp"),
    ("pref.hokkaido.jp", "pref.hokkaido.jp"),
    ("a.unlisted", "a.unlisted"),
    ("b.a.unlisted", "a.unlisted"),
    ("unlisted", None),
    ("a.\u4e2d\u56fd", "a.xn--fiqs8s"),
    ("xn--fiqs8s", None),
    ("", None),
    (".com", None),
]


@pytest.mark.parametrize(("domain", "expected"), CASES)
def test_organizational_domains(domain: str, expected: str | None) -> None:
    assert LIST.organizational_domain(domain) == expected


def test_where_the_list_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [tmp_path / "none", tmp_path / "list"]
    monkeypatch.setattr(_public_suffix, "_places", lambda: places)
    _public_suffix.installed.cache_clear()
    with pytest.raises(SuffixListMissing, match="install Debian's package publicsuffix"):
        _public_suffix.organizational_domain("a.co.test")
    places[1].write_text("co.test\n", encoding="utf-8")
    assert _public_suffix.organizational_domain("b.a.co.test") == "a.co.test"
    _public_suffix.installed.cache_clear()


@given(st.text())
def test_any_text_has_an_answer(text: str) -> None:
    found = LIST.organizational_domain(text)
    assert found is None or ascii_name(text).endswith(found)


@needs_data
def test_given_cases() -> None:
    try:
        suffixes = _public_suffix.installed()
    except SuffixListMissing as err:
        pytest.skip(f"not run: {err}")
    text = Path(DATA, "test_psl.txt").read_text(encoding="utf-8")
    cases = re.findall(r"^checkPublicSuffix\('([^']*)', (?:'([^']*)'|null)\);", text, re.MULTILINE)
    assert len(cases) > 70
    differing = [
        domain
        for domain, expected in cases
        if suffixes.organizational_domain(domain) != (ascii_name(expected) if expected else None)
    ]
    suites.settle("test_psl.txt", [domain for domain, dummy in cases], differing)
