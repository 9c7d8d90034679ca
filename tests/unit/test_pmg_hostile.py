# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway that answers anything at all: what reads it ends in a result or a sentence, and writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _pmg_export, _pmg_sections, _pmg_service
from ansible_collections.postmaster.mail.plugins.module_utils._pmg import PmgError
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_client import Answer, Api
from ansible_collections.postmaster.mail.plugins.module_utils._pmg_tasks import Node
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NAMES = (
    "cidr comment domain host port protocol use_mx destination policy userid role enable expire email id type value "
    "regex selector dkim_sign service state active-state unit-state acme acmedomain0 acmedomain1 filename subject issuer san "
    "notafter fingerprint account contact directory name plugin api data"
).split()
TEXTS = st.sampled_from(
    [
        "1",
        "0",
        "192.0.2.0/24",
        "a.example",
        "root@pam",
        "domains=a.example",
        "postfix",
        "running",
        "UPID:x:",
        "stopped",
        "\n",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers(-5, 2**40) | TEXTS | st.text(max_size=8)
ANSWERS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=12,
)
ENTRIES = st.lists(st.fixed_dictionaries(dict.fromkeys(NAMES, SCALARS)), max_size=2)
FEW = st.lists(st.dictionaries(st.sampled_from(NAMES), SCALARS, min_size=1, max_size=4), max_size=2)
OPTIONS = [*NAMES, "int_port", "relay", "tls", "banner", "dkim_sign_all_mail", "digest"]
SECTIONS = st.dictionaries(st.sampled_from(OPTIONS), SCALARS, max_size=4)
SINGLE = ("/config", "/selector", *(f"/config/{name}" for name in _pmg_sections.SECTIONS))


def likely(path: str) -> st.SearchStrategy[Any]:
    """What a gateway has there, with the wrong values."""
    return SECTIONS if path.endswith(SINGLE) or "/account/" in path else ENTRIES


class Anything:
    """Answers each path with what ``draw`` gives."""

    login = "root@pam"

    def __init__(self, data: st.DataObject, kinds: Callable[[str], st.SearchStrategy[Any]] = likely) -> None:
        self.data, self.kinds = data, kinds
        self.writes: list[str] = []
        self.asked, self.odd = 0, data.draw(st.integers(0, 60), label="the answer that is no such thing at all")

    def lets_in(self, user: str, password: str) -> bool:
        return True

    def request(self, method: str, path: str, params: Mapping[str, str]) -> Answer:
        if method != "GET":
            self.writes.append(path)
        self.asked += 1
        if self.asked == self.odd:
            status = self.data.draw(st.sampled_from([200, 200, 403, 500, 501]), label=path)
            return Answer(status, "", {"data": self.data.draw(FEW | ANSWERS, label=path)})
        return Answer(200, "", {"data": self.data.draw(self.kinds(path), label=path)})


@settings(suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow])
@given(st.data())
def test_a_description(data: st.DataObject) -> None:
    gateway = Anything(data)
    try:
        made = _pmg_export.export(Node(Api(gateway), "localhost", patience=0, sleep=lambda dummy: None))
    except PmgError as err:
        assert str(err)
    else:
        assert all(isinstance(one, str) and one for one in made.left_out)
    assert gateway.writes == []


SERVICES = st.lists(
    st.fixed_dictionaries(
        {"service": st.sampled_from(["postfix", "ssh", 1]) | SCALARS},
        optional={"state": SCALARS, "active-state": SCALARS, "unit-state": SCALARS},
    ),
    max_size=4,
)


@given(st.data(), st.sampled_from([ANSWERS, SERVICES]), st.sampled_from([*_pmg_service.VERBS]), st.booleans())
def test_services(data: st.DataObject, kinds: st.SearchStrategy[Any], state: str, check_mode: bool) -> None:
    gateway = Anything(data, lambda dummy: kinds)
    node = Node(Api(gateway), "localhost", patience=0, sleep=lambda dummy: None)
    try:
        done = _pmg_service.bring_about(node, ["postfix"], state, check_mode=check_mode)
    except PmgError as err:
        assert str(err)
    else:
        assert {*done.after} == {"postfix"}
    assert gateway.writes == [] or not check_mode
    assert {*gateway.writes} <= {f"/nodes/localhost/services/postfix/{_pmg_service.VERBS[state]}"}
