# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _exim as ex
from ansible_collections.postmaster.mail.plugins.module_utils._files import FileState
from ansible_collections.postmaster.mail.plugins.modules import exim4_config
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("dc_eximconfig_configtype", "satellite", "satellite"),
        ("dc_minimaldns", False, "false"),
        ("dc_hide_mailname", "", ""),
        ("dc_local_interfaces", ["127.0.0.1", "::1"], "127.0.0.1 ; ::1"),
        ("dc_local_interfaces", "127.0.0.1.587", "127.0.0.1.587"),
        ("dc_local_interfaces", "[::1]:26 ; [127.0.0.1]:26", "[::1]:26 ; [127.0.0.1]:26"),
        ("dc_local_interfaces", "127.0.0.1 : ::::1", "127.0.0.1 : ::::1"),
        ("dc_local_interfaces", None, ""),
        ("dc_smarthost", "relay.example.org", "relay.example.org"),
        ("dc_smarthost", "relay.example.org::587", "relay.example.org::587"),
        ("dc_smarthost", "a.example::25;b.example::25", "a.example::25;b.example::25"),
        ("dc_smarthost", "192.0.2.25::25", "192.0.2.25::25"),
        ("dc_smarthost", "[2001::db8::::25]::25", "[2001::db8::::25]::25"),
        ("dc_relay_nets", ["192.0.2.0/24", "2001:db8::/64"], "192.0.2.0/24 ; 2001:db8::/64"),
        ("dc_other_hostnames", "host.example.org : localhost", "host.example.org : localhost"),
        ("dc_readhost", "example.org", "example.org"),
        ("CFILEMODE", 644, "644"),
        ("dc_localdelivery", "maildir_home", "maildir_home"),
    ],
)
def test_setting(name: str, value: object, expected: str) -> None:
    assert ex.setting_text(name, value) == expected


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("dc_smarthosts", "x", "there is no 'dc_smarthosts' (did you mean dc_smarthost?)"),
        ("dc_eximconfig_configtype", "satelite", "'satelite' (did you mean satellite?): choose from internet,"),
        ("dc_eximconfig_configtype", "none", "choose from internet, smarthost, satellite, local"),
        ("dc_minimaldns", "yes", "dc_minimaldns is 'yes': choose from true, false"),
        ("dc_local_interfaces", "127.0.0.300", "holds '127.0.0.300', which is no address"),
        ("dc_local_interfaces", "localhost", "holds 'localhost', which is no address"),
        ("dc_relay_nets", "0.0.0.0/0", "would make an open relay"),
        ("dc_relay_nets", "192.0.2.0/24 ; ::/0", "would make an open relay"),
        ("dc_relay_nets", "*", "would make an open relay"),
        ("dc_relay_nets", "192.0.2.0/33", "holds '192.0.2.0/33', which is no network"),
        ("dc_relay_domains", "*", "would make an open relay"),
        ("dc_other_hostnames", "a b", "holds 'a b', which is no domain name"),
        ("dc_readhost", "b\u00fccher.example", "holds characters that update-exim4.conf does not take"),
        ("dc_readhost", "x'; rm -rf /", "holds characters that update-exim4.conf does not take"),
        ("dc_readhost", "x\ny", "holds characters that update-exim4.conf does not take"),
        ("dc_smarthost", "relay.example.org::70000", "write host or host::port"),
        ("dc_smarthost", "192.0.2.300", "write host or host::port"),
        ("dc_localdelivery", "no-such", "give the name of a transport"),
        ("CFILEMODE", "999", "give a mode such as 644"),
    ],
)
def test_bad_setting(name: str, value: object, message: str) -> None:
    with pytest.raises(ex.EximError) as caught:
        ex.setting_text(name, value)
    assert message in str(caught.value)


SETTINGS = "# a comment\n\ndc_eximconfig_configtype='local'\ndc_smarthost=\"old\"\ndc_readhost=''\ndc_smarthost='x'\n"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, SETTINGS),
        ({"dc_readhost": ""}, SETTINGS),
        (
            {"dc_smarthost": "new", "dc_minimaldns": "true"},
            "# a comment\n\ndc_eximconfig_configtype='local'\ndc_smarthost='new'\ndc_readhost=''\n"
            "dc_minimaldns='true'\n",
        ),
    ],
)
def test_with_settings(wanted: dict[str, str], expected: str) -> None:
    once = ex.with_settings(SETTINGS, wanted)
    assert once == expected
    assert ex.with_settings(once, wanted) == once
    assert ex.parse_settings(once) == {**ex.parse_settings(SETTINGS), **wanted}


MACROS = "# mine\nA = 1\nLONG = x \\\n   y\nA = 2\nFOREIGN=*\n"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, MACROS),
        ({"FOREIGN": "*", "LONG": "x y"}, MACROS),
        ({"LONG": None}, "# mine\nA = 1\nA = 2\nFOREIGN=*\n"),
        ({"A": "3", "NEW": ""}, "# mine\nA = 3\nLONG = x \\\n   y\nFOREIGN=*\nNEW = \n"),
    ],
)
def test_with_macros(wanted: dict[str, str | None], expected: str) -> None:
    once = ex.with_macros(MACROS, wanted)
    assert once == expected
    assert ex.with_macros(once, wanted) == once


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lower", "x", "'lower' is no macro name"),
        ("A-B", "x", "'A-B' is no macro name"),
        ("A", "x\ny", "must be on one line"),
        ("A", "x\\", "must be on one line"),
    ],
)
def test_bad_macro(name: str, value: str, message: str) -> None:
    with pytest.raises(ex.EximError, match=message):
        ex.macro_text(name, value)


def test_a_macro_must_be_used() -> None:
    configuration = "HOSTS_REQUIRE_TLS = *\nOTHER = HOSTS_TRY_TLS\n# UNUSED_THING\n.ifdef HOSTS_REQUIRE_TLS\n.endif\n"
    ex.judge_macros(["HOSTS_REQUIRE_TLS", "HOSTS_TRY_TLS"], configuration)
    with pytest.raises(ex.EximError, match=r"uses HOST_REQUIRE_TLS: did you mean HOSTS_REQUIRE_TLS\?"):
        ex.judge_macros(["HOST_REQUIRE_TLS"], configuration)
    with pytest.raises(ex.EximError, match=r"uses UNUSED_THING"):
        ex.judge_macros(["UNUSED_THING"], configuration)


ALIASES = '# head\nroot: one\n  , two\n\nNews : root\n"odd key": x\nroot: never\n'


@pytest.mark.parametrize(
    ("wanted", "keep", "expected"),
    [
        ({}, True, ALIASES),
        ({"root": "one , two"}, True, '# head\nroot: one\n  , two\n\nNews : root\n"odd key": x\n'),
        ({"ROOT": "ops@example.org"}, True, '# head\nROOT: ops@example.org\n\nNews : root\n"odd key": x\n'),
        ({"news": None, "a b": "c"}, True, '# head\nroot: one\n  , two\n\n"odd key": x\nroot: never\n"a b": c\n'),
        ({"www": "root"}, False, "# head\n\nwww: root\n"),
        ({}, False, "# head\n\n"),
    ],
)
def test_with_entries(wanted: dict[str, str | None], keep: bool, expected: str) -> None:
    once = ex.with_entries("/etc/aliases", ALIASES, wanted, keep_foreign=keep)
    assert once == expected
    assert ex.with_entries("/etc/aliases", once, wanted, keep_foreign=keep) == once


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("root\n", "/etc/aliases, line 1: there is nothing after 'root': write `root: value`"),
        ("# x\n  root: a\n", "/etc/aliases, line 2: it continues nothing"),
        ("a: b\n: c\n", "/etc/aliases, line 2: there is no key before the colon"),
        ('a: b\n\n"c: d\n', "/etc/aliases, line 3: the quoted key does not end"),
        ("a: \0\n", "/etc/aliases, line 1: there is a control character"),
    ],
)
def test_bad_line(text: str, message: str) -> None:
    with pytest.raises(ex.EximError) as caught:
        ex.with_entries("/etc/aliases", text, {}, keep_foreign=True)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("key", ["", " a", "#a", "a\nb", "a\0"])
def test_bad_key(key: str) -> None:
    with pytest.raises(ex.EximError, match="will not do as a key"):
        ex.lookup_value("/etc/aliases", key, "x")


@pytest.mark.parametrize("value", ["", " a", "a\nroot: b", {"a": "b"}, True, []])
def test_bad_value(value: object) -> None:
    with pytest.raises(ex.EximError, match="^/etc/aliases: the value of 'root' must be"):
        ex.lookup_value("/etc/aliases", "root", value)


KEYS = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\x85\u2028\u2029"), min_size=1)
VALUES = KEYS.filter(lambda text: text == text.strip() and text)


@given(st.dictionaries(KEYS.filter(lambda key: key == key.strip() and key[0] != "#"), VALUES, max_size=4))
def test_entries_come_back(entries: dict[str, str]) -> None:
    unique = {key: value for key, value in entries.items() if [k.lower() for k in entries].count(key.lower()) == 1}
    text = ex.with_entries("/x", "", unique, keep_foreign=False)
    assert {item.key: item.value for item in ex.parse_lookup("/x", text)} == unique


@given(st.text(max_size=200))
def test_no_text_breaks_a_parser(text: str) -> None:
    ex.parse_settings(text)
    ex.parse_macros(text)
    ex.with_macros(text, {"A": "1"})
    ex.with_settings(text, {"dc_readhost": "x"})
    ex.mailname_word(text)
    try:
        items = ex.parse_lookup("/x", text)
    except ex.EximError as err:
        assert str(err).startswith("/x, line ")
    else:
        assert "\n".join(line for item in items for line in item.lines) == text.removesuffix("\n")


# --- the plan ---


def state(text: str, mode: int = 0o644, owner: str = "root", group: str = "root") -> FileState:
    return FileState(text.encode(), owner, group, mode)


def make_plan(desired: ex.Desired, **files: FileState) -> ex.Plan:
    current: dict[str, FileState | None] = dict.fromkeys(ex.files_of(desired))
    known = {"settings": ex.SETTINGS_FILE, "aliases": "/etc/aliases", "passwd": "/etc/exim4/passwd.client"}
    current.update({known[name]: value for name, value in files.items()})
    return ex.plan(current, desired)


BASE = state("dc_eximconfig_configtype='satellite'\ndc_smarthost='relay.example'\n")


def test_plan_changes_nothing_twice() -> None:
    desired = ex.Desired(
        settings={"dc_smarthost": "new.example"},
        lookups=(ex.Lookup("/etc/aliases", {"root": "ops@example.org"}, keep_foreign=True),),
    )
    first = make_plan(desired, settings=BASE)
    assert [change.path for change in first.changes] == [ex.SETTINGS_FILE, "/etc/aliases"]
    assert (first.settings, first.lookups) == (("dc_smarthost",), ("/etc/aliases",))
    texts = {change.path: state(change.content or "") for change in first.changes}
    second = make_plan(desired, settings=texts[ex.SETTINGS_FILE], aliases=texts["/etc/aliases"])
    assert second.changes == ()


def test_secret_lookup_is_hidden_and_tight() -> None:
    desired = ex.Desired(lookups=(ex.Lookup("/etc/exim4/passwd.client", {"*": "user:hidden"}, secret=True),))
    plan = make_plan(desired, settings=BASE, passwd=state("*: user:former\n", 0o644))
    (change,) = plan.changes
    assert (change.mode, change.group) == (0o640, "Debian-exim")
    assert change.shown == (
        "root:root 0644\n*: ...\n(old values)\n",
        "root:Debian-exim 0640\n*: ...\n(new values)\n",
    )


def test_macros_go_where_the_configuration_is() -> None:
    whole = make_plan(ex.Desired(macros={"A": "1"}), settings=BASE)
    assert [change.path for change in whole.changes] == [ex.MACROS_WHOLE]
    split = make_plan(ex.Desired(macros={"A": "1"}, settings={"dc_use_split_config": "true"}), settings=BASE)
    assert [change.path for change in split.changes] == [ex.SETTINGS_FILE, ex.MACROS_SPLIT]
    assert make_plan(ex.Desired(macros={"A": None}), settings=BASE).changes == ()


FRAGMENT = ex.PlainFile("/etc/exim4/conf.d/retry/10_x", "x\n")


@pytest.mark.parametrize(
    ("desired", "message"),
    [
        (ex.Desired(fragments=(FRAGMENT,)), "fragments: they take effect only if dc_use_split_config is true"),
        (ex.Desired(fragments=(ex.PlainFile("/etc/exim4/conf.d/retry/10_x.conf", ""),)), "would be ignored"),
        (ex.Desired(fragments=(ex.PlainFile("/etc/exim4/conf.d/router/../x", ""),)), "is no absolute path"),
        (ex.Desired(fragments=(ex.PlainFile("/etc/passwd", ""),)), "would be ignored"),
        (ex.Desired(files=(ex.PlainFile("etc/x", ""),)), "is no absolute path"),
        (ex.Desired(files=(ex.PlainFile(ex.SETTINGS_FILE, ""),)), "is named twice, or is written by this module"),
        (
            ex.Desired(files=(ex.PlainFile("/etc/aliases", ""),), lookups=(ex.Lookup("/etc/aliases", {}),)),
            "/etc/aliases is named twice",
        ),
        (ex.Desired(settings={"dc_smarthost": ""}), "dc_smarthost names no host to send to"),
        (ex.Desired(settings={"dc_hide_mailname": "true"}), "dc_readhost names no domain to show instead"),
    ],
)
def test_bad_plan(desired: ex.Desired, message: str) -> None:
    with pytest.raises(ex.EximError) as caught:
        make_plan(desired, settings=BASE)
    assert message in str(caught.value)


# --- the generated configuration ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Example.org\n", "example.org"), ("example.org # x\ny", "example.org"), ("", "")],
)
def test_mailname(text: str, expected: str) -> None:
    assert ex.mailname_word(text) == expected


def test_generated_configuration_with_another_mailname() -> None:
    text = ".ifndef ETC_MAILNAME\nETC_MAILNAME=old\n.endif\nqualify_domain = ETC_MAILNAME\n"
    assert ex.with_mailname(text, r"new\1") == text.replace("old", r"new\1")


def test_redirected() -> None:
    text = (
        "CONFDIR = /etc/exim4\nx = /etc/aliases.db:/etc/aliases\ny = {/etc/exim4/passwd.client}\nz = /usr/etc/aliases\n"
    )
    assert ex.redirected(text, {"/etc/exim4": "/s/e", "/etc/aliases": "/s/a"}) == (
        "CONFDIR = /s/e\nx = /etc/aliases.db:/s/a\ny = {/s/e/passwd.client}\nz = /usr/etc/aliases\n"
    )


def test_restart_is_for_other_sockets_only() -> None:
    assert not ex.needs_restart("MAIN_LOCAL_INTERFACES=a\nx\n", "MAIN_LOCAL_INTERFACES=a\ny\n")
    assert ex.needs_restart("MAIN_LOCAL_INTERFACES=a\n", "MAIN_LOCAL_INTERFACES=b\n")


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("> a@b cannot be resolved at this time: error in redirect data: malformed address: <c", 1),
        ("421 Temporary local problem - please try later", 1),
        ("a@b cannot be resolved at this time: lookup failed for all hosts in smarthost router", 0),
        ("a@b is undeliverable: Unrouteable address", 0),
    ],
)
def test_trouble_of_the_configuration_and_of_the_network(output: str, expected: int) -> None:
    assert len(ex.trouble_in(output)) == expected


def test_a_fault_is_quoted() -> None:
    fault = "2026-01-02 03:04:05 Exim configuration error in line 2 of /x:\n  option unknown"
    quoted = ex.quote_line(fault, state("one\n two = 2\n"))
    assert quoted == "Exim configuration error in line 2 of /x:\n  option unknown, which is `two = 2`"


def test_transport_of_local_delivery() -> None:
    ex.judge_transport({"dc_localdelivery": "mail_spool"}, "mail_spool:\n  driver = appendfile\n")
    with pytest.raises(ex.EximError, match="has no such transport"):
        ex.judge_transport({"dc_localdelivery": "mail_spol"}, "mail_spool:\n  driver = appendfile\n")


# --- the module ---


def params(**more: object) -> dict:
    return {"settings": {}, "macros": {}, "lookups": [], "fragments": [], "files": [], **more}


def lookup_option(**more: object) -> dict:
    values = {"path": "/etc/aliases", "entries": {}, "keep_foreign": True, "secret": False}
    return {**values, "mode": None, "owner": None, "group": None, **more}


def test_options_become_a_request() -> None:
    desired = exim4_config.build_desired(
        params(
            settings={"dc_minimaldns": False},
            macros={"A": ["x", "y"], "B": None},
            lookups=[lookup_option(entries={"root": ["a@example.org", "b@example.org"], "news": None}, mode="0640")],
            fragments=[{"path": "/etc/exim4/conf.d/retry/10_x", "content": "x", "state": "absent"}],
        )
    )
    assert desired.settings == {"dc_minimaldns": "false"}
    assert desired.macros == {"A": "x : y", "B": None}
    assert desired.lookups[0].entries == {"root": "a@example.org, b@example.org", "news": None}
    assert desired.lookups[0].mode == 0o640
    assert desired.fragments[0].content is None


@pytest.mark.parametrize("mode", ["", "rw", "0999", "-1", "77777", 4096, True])
def test_bad_mode(mode: object) -> None:
    with pytest.raises(ex.EximError, match="^/etc/aliases: .* is no mode; write it in quotes, such as '0640'"):
        exim4_config.build_desired(params(lookups=[lookup_option(mode=mode)]))


@pytest.mark.parametrize(
    ("given", "mode"), [({}, 0o644), ({"secret": True}, 0o600), ({"mode": "0640", "secret": True}, 0o640)]
)
def test_plain_files_have_an_owner_and_a_mode(given: dict[str, object], mode: int) -> None:
    option = {"path": "/etc/x", "content": "x", "secret": False, "mode": None, "owner": "root", "group": "root"}
    (file,) = exim4_config.build_desired(params(files=[option | given])).files
    assert (file.mode, file.owner, file.group) == (mode, "root", "root")


def test_only_secret_values_are_kept_from_the_answer() -> None:
    lookups = [
        lookup_option(entries={"root": "ops@example.org"}),
        lookup_option(path="/p", secret=True, entries={"*": "user:hidden", "gone": None}),
    ]
    files = [{"path": "/x", "content": "plain", "secret": False}, {"path": "/y", "content": "hidden", "secret": True}]
    assert exim4_config.secrets(params(lookups=lookups, files=files)) == {"user:hidden", "hidden"}
