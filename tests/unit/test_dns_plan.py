# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a DNS update: what changes, in which order, in how many messages."""

from __future__ import annotations

import dns.name
import dns.rdata
import dns.update
import pytest
from ansible_collections.postmaster.mail.plugins.module_utils._dns import (
    DomainError,
    TextError,
    check_name,
    is_under,
    txt_strings,
    txt_value,
)
from ansible_collections.postmaster.mail.plugins.module_utils._dns_plan import (
    Action,
    PlanError,
    RRset,
    Wanted,
    diff,
    ordered,
    pack,
    plan,
    satisfied,
)
from ansible_collections.postmaster.mail.plugins.module_utils._record import Record
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# A loaded machine is slow to make examples; that is no fault of what is tested.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

NAME = "a._domainkey.example.org."
APEX = "example.org."


def _record(text: str) -> Record:
    """A record from ``name ttl type rdata``."""
    name, ttl, rdtype, *rdata = text.split(" ", 3)
    return Record(name, rdtype, int(ttl), rdata[0] if rdata else "")


def _wanted(*lines: str) -> list[Wanted]:
    """Records; a line that begins with ``!`` is one to be absent."""
    return [Wanted(_record(line.lstrip("!")), not line.startswith("!")) for line in lines]


def _held(*lines: str) -> dict[tuple[str, str], RRset | None]:
    held: dict[tuple[str, str], RRset | None] = {}
    for record in map(_record, lines):
        key = (record.name, record.type)
        before = held.get(key)
        held[key] = RRset(*key, record.ttl, (*(before.values if before else ()), record.rdata))
    return held


def _actions(actions: tuple[Action, ...] | list[Action]) -> list[str]:
    return [f"{a.kind} {a.record.name} {a.record.ttl} {a.record.type} {a.record.rdata}" for a in actions]


PLANS = [
    # held, wanted, exclusive, actions
    ([], [f'{NAME} 60 TXT "x"'], True, [f'add {NAME} 60 TXT "x"']),
    ([f'{NAME} 60 TXT "x"'], [f'{NAME} 60 TXT "x"'], True, []),
    ([f'{NAME} 60 TXT "x"'], [f'{NAME} 60 TXT "y"'], True, [f'add {NAME} 60 TXT "y"', f'delete {NAME} 0 TXT "x"']),
    ([f'{NAME} 60 TXT "x"'], [f'{NAME} 60 TXT "y"'], False, [f'add {NAME} 60 TXT "y"']),
    # the same content, split otherwise or written with escapes
    ([f'{NAME} 60 TXT "hello" " world"'], [f'{NAME} 60 TXT "hello world"'], True, []),
    ([f'{NAME} 60 TXT "a\\098c"'], [f"{NAME} 60 TXT abc"], True, []),
    # another TTL
    ([f'{NAME} 60 TXT "x"'], [f'{NAME} 30 TXT "x"'], True, [f'replace {NAME} 30 TXT "x"']),
    (
        [f'{NAME} 60 TXT "hello" "x"'],
        [f'{NAME} 30 TXT "hellox"', f'{NAME} 30 TXT "y"'],
        True,
        [f'add {NAME} 30 TXT "y"', f'replace {NAME} 30 TXT "hello" "x"'],
    ),
    # others keep their TXT records at the domain's own name, and the TTL of the set
    (
        [f'{APEX} 300 TXT "v=spf1 a -all"', f'{APEX} 300 TXT "google-site-verification=1"', f'{APEX} 300 TXT "MS=ms1"'],
        [f'{APEX} 60 TXT "v=spf1 -all"'],
        True,
        [f'add {APEX} 300 TXT "v=spf1 -all"', f'delete {APEX} 0 TXT "v=spf1 a -all"'],
    ),
    (
        [f'{APEX} 300 TXT "V=SPF1 a"', f'{APEX} 300 TXT "v=spf1 b"'],
        [f'{APEX} 300 TXT "v=spf1 b"'],
        True,
        [f'delete {APEX} 0 TXT "V=SPF1 a"'],
    ),
    (
        [f'{APEX} 300 TXT "free text"', f'{APEX} 300 TXT "v=spf1 -all"'],
        [f'{APEX} 60 TXT "other text"'],
        True,
        [f'add {APEX} 300 TXT "other text"', f'delete {APEX} 0 TXT "free text"'],
    ),
    # other types are replaced as a whole
    (
        [f"{APEX} 60 MX 10 a.", f"{APEX} 60 MX 20 b."],
        [f"{APEX} 60 MX 0 ."],
        True,
        [f"add {APEX} 60 MX 0 .", f"delete {APEX} 0 MX 10 a.", f"delete {APEX} 0 MX 20 b."],
    ),
    # absent: one value, or the set
    ([f'{NAME} 60 TXT "x"', f'{NAME} 60 TXT "y"'], [f'!{NAME} 5 TXT "x"'], True, [f'delete {NAME} 0 TXT "x"']),
    (
        [f'{NAME} 60 TXT "x"', f'{NAME} 60 TXT "y"'],
        [f"!{NAME} 5 TXT"],
        True,
        [f'delete {NAME} 0 TXT "{c}"' for c in "xy"],
    ),
    ([], [f"!{NAME} 5 TXT"], True, []),
    ([f'{NAME} 60 TXT "x"'], [f'!{NAME} 5 TXT "z"'], True, []),
]


@pytest.mark.parametrize(("held", "wanted", "exclusive", "actions"), PLANS)
def test_plan(held: list[str], wanted: list[str], exclusive: bool, actions: list[str]) -> None:
    result = plan(_held(*held), _wanted(*wanted), exclusive=exclusive)
    assert _actions(result.actions) == actions
    assert result.changed == bool(actions)
    after: dict[tuple[str, str], RRset | None] = {(rrset.name, rrset.type): rrset for rrset in result.after}
    after = {**_held(*held), **dict.fromkeys(result.keys), **after}
    assert not plan(after, _wanted(*wanted), exclusive=exclusive).changed


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([f"{APEX} 60 MX 1 a.", f"{APEX} 30 MX 2 b."], "the MX records of example.org. are given the TTLs 30, 60"),
        ([f'{NAME} 60 TXT "ab"', f'!{NAME} 60 TXT "a" "b"'], "present and absent at once"),
        ([f"{NAME} 60 CNAME a.", f"{NAME} 60 CNAME b."], "would have 2 CNAME records"),
        ([f'{NAME} 60 TXT "a'], "stray quote"),
    ],
)
def test_contradictions(wanted: list[str], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        plan({}, _wanted(*wanted))


def test_diff_lists_the_records_of_sets_that_change() -> None:
    result = plan(
        _held(f"{APEX} 60 MX 10 a.", f'{NAME} 60 TXT "x"'), _wanted(f"{APEX} 60 MX 0 .", f'{NAME} 60 TXT "x"')
    )
    assert diff(result, "ns1") == {
        "before_header": "ns1",
        "after_header": "ns1",
        "before": f"{APEX} 60 IN MX 10 a.\n",
        "after": f"{APEX} 60 IN MX 0 .\n",
    }


@pytest.mark.parametrize(
    ("found", "ttl", "expected"),
    [
        ([f'{NAME} 60 TXT "x"'], True, True),
        ([f'{NAME} 7 TXT "x"'], True, False),
        ([f'{NAME} 7 TXT "x"'], False, True),
        ([f'{NAME} 60 TXT "x"', f'{NAME} 60 TXT "old"'], True, False),
        ([], False, False),
    ],
)
def test_satisfied(found: list[str], ttl: bool, expected: bool) -> None:
    held = _held(*found).get((NAME, "TXT"))
    assert satisfied(_wanted(f'{NAME} 60 TXT "x"'), held, ttl=ttl) is expected


def test_removals_come_last_but_make_room_for_an_alias() -> None:
    names = ["a.example.", "b.example.", "c.example."]
    actions = [
        Action("delete", _record(f"{names[0]} 0 TXT x")),
        Action("add", _record(f"{names[1]} 60 CNAME d.")),
        Action("delete", _record(f"{names[1]} 0 TXT x")),
        Action("delete", _record(f"{names[2]} 0 TXT x")),
        Action("add", _record(f"{names[2]} 60 TXT y")),
    ]
    units = [[f"{a.kind} {a.record.name} {a.record.type}" for a in unit] for unit in ordered(actions)]
    assert units == [
        ["delete b.example. TXT", "add b.example. CNAME"],
        ["add c.example. TXT", "delete c.example. TXT"],
        ["delete a.example. TXT"],
    ]


def _wire_size(actions: list[Action], zone: str) -> int:
    message = dns.update.UpdateMessage(zone)
    for action in actions:
        rdata = dns.rdata.from_text("IN", action.record.type, action.record.rdata)
        owner = dns.name.from_text(action.record.name)
        if action.kind != "add":
            message.delete(owner, rdata)
        if action.kind != "delete":
            message.add(owner, action.record.ttl, rdata)
    return len(message.to_wire(max_size=65535))


def _size(record: Record) -> int:
    return len(dns.rdata.from_text("IN", record.type, record.rdata).to_wire() or b"")


@settings(patient, max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "replace", "delete"]),
            st.lists(st.sampled_from(["a", "b", "_domainkey", "rsa-2026", "x" * 40]), max_size=4),
            st.integers(1, 255),
        ),
        min_size=1,
        max_size=400,
    )
)
def test_messages_have_the_size_that_was_counted(items: list[tuple[str, list[str], int]]) -> None:
    actions = [
        Action(kind, Record(".".join([*labels, "example.org."]), "TXT", 60, '"' + "x" * size + '"'))  # type: ignore[arg-type]
        for kind, labels, size in items
    ]
    limit = 4096
    messages = pack(actions, zone=APEX, rdata_size=_size, limit=limit)
    assert sorted(map(id, actions)) == sorted(id(action) for message in messages for action in message)
    sizes = [_wire_size(message, APEX) for message in messages]
    assert all(size <= limit for size in sizes)


def test_a_thousand_records_fill_their_messages() -> None:
    actions = [Action("add", Record(f"s{n}._domainkey.{APEX}", "TXT", 60, '"' + "x" * 250 + '"')) for n in range(1000)]
    messages = pack(actions, zone=APEX, rdata_size=_size, reserve=200)
    sizes = [_wire_size(message, APEX) for message in messages]
    assert len(messages) == 5 and all(65535 - 200 - 300 < size <= 65535 - 200 for size in sizes[:-1])


def test_a_name_stays_in_one_message_unless_it_alone_is_too_large() -> None:
    def swap(name: str, count: int) -> list[Action]:
        adds = [Action("add", Record(name, "TXT", 60, f'"{n:0200d}"')) for n in range(count)]
        return adds + [Action("delete", Record(name, "TXT", 0, f'"{n:0200d}"')) for n in range(500, 500 + count)]

    small = swap("a.example.org.", 8) + swap("b.example.org.", 8)
    messages = pack(small, zone=APEX, rdata_size=_size, limit=4096)
    assert [{action.record.name for action in message} for message in messages] == [
        {"a.example.org."},
        {"b.example.org."},
    ]
    large = pack(swap("a.example.org.", 20), zone=APEX, rdata_size=_size, limit=4096)
    kinds = [action.kind for message in large for action in message]
    assert len(large) == 3 and kinds == ["add"] * 20 + ["delete"] * 20


def test_a_record_larger_than_any_message_is_named() -> None:
    with pytest.raises(PlanError, match=r"the TXT record of a\.example\.org\. does not fit"):
        pack([Action("add", Record("a.example.org.", "TXT", 60, "x"))], zone=APEX, rdata_size=lambda _r: 65530)


@pytest.mark.parametrize(
    ("text", "strings"),
    [
        ('"a" "b"', [b"a", b"b"]),
        ("a b", [b"a", b"b"]),
        ('"a\\"b\\\\" c\\032d', [b'a"b\\', b"c d"]),
        ('""', [b""]),
        ('"\\195\\164"', "\u00e4".encode()),
        ("", []),
    ],
)
def test_txt_presentation(text: str, strings: list[bytes] | bytes) -> None:
    assert txt_strings(text) == (strings if isinstance(strings, list) else [strings])


@pytest.mark.parametrize("text", ['"a', 'a"', "\\", '"\\300"', 'a;b"'])
def test_txt_presentation_that_cannot_be_read(text: str) -> None:
    with pytest.raises(TextError):
        txt_strings(text)


@patient
@given(st.text())
def test_what_a_record_prints_reads_back(text: str) -> None:
    record = Record.txt("a.example", text.encode("ascii", "replace").decode())
    assert txt_value(record.rdata) == "".join(record.strings).encode()


@patient
@given(st.text())
def test_hostile_txt_data(text: str) -> None:
    try:
        txt_value(text)
    except TextError:
        pass


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (".", "is empty"),
        ("example.org ", "the label 'org '"),
        ("ex\u00e4mple.org", "xn--"),
        ("a..example", "an empty label"),
        ("-a.example", "the label '-a'"),
        ("a" * 64 + ".example", "the label"),
        (".".join(["a" * 60] * 5), "longer than 253"),
        ("a\nb.example", "the label"),
        ("a.*.example", "the label '*'"),
    ],
)
def test_names_that_are_none(text: str, message: str) -> None:
    with pytest.raises(DomainError) as caught:
        check_name(text)
    assert message in str(caught.value)


def test_names() -> None:
    assert check_name("A._DomainKey.Example.ORG.") == "a._domainkey.example.org."
    assert check_name("*.example.org") == "*.example.org."
    assert is_under("a.example.org.", "example.org.") and is_under("example.org.", "example.org.")
    assert not is_under("anexample.org.", "example.org.")
