# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nobody but the host itself hands it mail; each refusal has a twin that differs in that point alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from lab.probe import Dialogue, Lab

SOMEONE = "someone@outside.test"
FORMS = (
    SOMEONE,
    f'"{SOMEONE}"@{{fqdn}}',
    "someone%outside.test@{fqdn}",
    "@{fqdn}:someone@outside.test",
    "outside.test!someone@{fqdn}",
    "someone@outside.test@{fqdn}",
    "root@{fqdn}",
    "root",
)


def hand_in(lab: Lab, from_host: str, host: str, recipient: str, token: str, *, server: str = "") -> Dialogue:
    text = f"From: alex@corp.example\nTo: {SOMEONE}\nSubject: {token}\n\nx\n"
    return lab.smtp(
        from_host, host, sender="alex@corp.example", recipients=recipient, message=text,
        server=server, source="127.0.0.1" if server == "127.0.0.1" else "",
    )  # fmt: skip


def test_listens_on_the_loopback_interface_alone(lab: Lab, host: str) -> None:
    assert lab.listeners(host) == {"127.0.0.1:25", "[::1]:25"}


@pytest.mark.parametrize("version", [4, 6])
def test_a_connection_from_elsewhere_is_refused_by_the_host_s_kernel(
    lab: Lab, host: str, version: int, token: str
) -> None:
    neighbour = "sat-exim-13" if host == "sat-postfix-12" else "sat-postfix-12"
    said = lab.smtp(neighbour, host, sender="", recipients=SOMEONE, message="x", version=version)
    assert "Connection refused" in said.steps[0][2]
    twin = lab.smtp(neighbour, host, sender="", recipients=SOMEONE, message="x", version=version, port=22)
    assert "Connection refused" not in twin.steps[0][2]


def test_its_own_programs_are_served(lab: Lab, host: str, token: str) -> None:
    assert hand_in(lab, host, host, SOMEONE, token, server="127.0.0.1").accepted
    lab.wait_for_message(token)


ENDINGS = {
    "proper": b"\r\n.\r\n",
    "lf-dot-lf": b"\n.\n",
    "lf-dot-crlf": b"\n.\r\n",
    "crlf-dot-lf": b"\r\n.\n",
    "cr-dot-cr": b"\r.\r",
    "crlf-dot-cr": b"\r\n.\r",
    "cr-dot-crlf": b"\r.\r\n",
    "lf-dot-cr-crlf": b"\n.\r\r\n",
    "nul": b"\r\n.\x00\r\n",
}


def two_in_one(ending: str, name: str) -> bytes:
    """A message in which another one is hidden behind ``ending``."""
    inner = f"From: ceo@corp.example\r\nSubject: inner-{name}\r\n\r\nx\r\n".encode()
    envelope = b"MAIL FROM:<ceo@corp.example>\r\nRCPT TO:<victim@outside.test>\r\nBDAT %d LAST\r\n" % len(inner)
    outer = f"From: alex@corp.example\r\nSubject: outer-{name}\r\n\r\nbefore".encode()
    return outer + ENDINGS[ending] + envelope + inner + b".\r\n"


def test_end_of_data_is_one_thing_only(lab: Lab, host: str, token: str) -> None:
    """A program on the host hands on a text in which a stranger hid a second message."""

    def hand_on(ending: str) -> Dialogue:
        return lab.smtp(
            host, host, server="127.0.0.1", source="127.0.0.1", sender="alex@corp.example",
            recipients=SOMEONE, message=two_in_one(ending, f"{token}-{ending}"), raw=True,
        )  # fmt: skip

    with ThreadPoolExecutor(4) as pool:
        said = dict(zip(ENDINGS, pool.map(hand_on, ENDINGS), strict=True))
    found = {str(message.parsed["Subject"]): message.raw for message in lab.wait_for_messages(token, len(ENDINGS) + 1)}
    expected = {f"inner-{token}-proper", *(f"outer-{token}-{ending}" for ending in ENDINGS)}
    assert set(found) == expected, said
    hidden = {ending: b"Subject: inner-" in found[f"outer-{token}-{ending}"] for ending in ENDINGS}
    assert hidden == {ending: ending != "proper" for ending in ENDINGS}


CHANGE = {
    "postfix": ("/etc/postfix/main.cf", "^inet_interfaces.*", "inet_interfaces = {}", ("loopback-only", "all")),
    "exim": (
        "/etc/exim4/update-exim4.conf.conf",
        "^dc_local_interfaces.*",
        "dc_local_interfaces='{}'",
        ("127.0.0.1 ; ::1", ""),
    ),
}
LISTENS = "for i in $(seq 500); do ss -Hltn sport = :25 | grep -qv -e 127.0.0.1 -e ::1 && exit; sleep .1; done; exit 1"


def listen(lab: Lab, host: str, *, everywhere: bool) -> None:
    """Do what somebody might do by hand, or undo it."""
    program = host.split("-")[1]
    path, old, new, values = CHANGE[program]
    unit = {"postfix": "postfix@-" if host.endswith("12") else "postfix", "exim": "exim4"}[program]
    lab.run(host, f'sed -i "s/{old}/{new.format(values[everywhere])}/" {path} && systemctl restart {unit}')


@pytest.fixture(scope="module")
def opened(lab: Lab) -> Iterator[None]:
    """The satellites as they would be if somebody had them listen everywhere."""
    for host in lab.hosts("satellites"):
        listen(lab, host, everywhere=True)
        lab.run(host, LISTENS)
    yield
    for host in lab.hosts("satellites"):
        listen(lab, host, everywhere=False)


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("form", FORMS)
def test_even_if_it_listened_it_would_take_nothing(lab: Lab, host: str, form: str, token: str) -> None:
    said = hand_in(lab, "stranger", host, form.format(fqdn=lab.fqdn(host)), token)
    assert not said.accepted
    assert said.refusal is not None and 500 <= said.refusal[1] < 600, said


@pytest.mark.usefixtures("opened")
def test_the_same_from_the_host_itself_is_taken(lab: Lab, host: str, token: str) -> None:
    for recipient in (SOMEONE, "root"):
        assert hand_in(lab, host, host, recipient, token, server="127.0.0.1").accepted
    lab.wait_for_messages(token, 2)
