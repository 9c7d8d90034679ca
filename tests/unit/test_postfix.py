# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""main.cf, master.cf, map sources and the plan."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _postfix, _postfix_plan
from ansible_collections.postmaster.mail.plugins.module_utils._postfix import (
    Entry,
    MainCf,
    MapSource,
    MasterCf,
    MasterService,
    PostfixError,
)
from ansible_collections.postmaster.mail.plugins.module_utils._postfix_plan import Attributes, Current, OnDisk
from hypothesis import given
from hypothesis import strategies as st

MAIN = """\
# Debian's comment
smtpd_banner = $myhostname ESMTP

biff = no
mydestination = $myhostname,
# why this one
    localhost.localdomain,
  localhost

relayhost =
biff = yes
"""

MASTER = """\
# service type  private unpriv  chroot  wakeup  maxproc command + args
smtp      inet  n       -       y       -       -       smtpd
#submission inet n       -       y       -       -       smtpd
#  -o syslog_name=postfix/submission
smtp      unix  -       -       y       -       -       smtp
relay     unix  -       -       y       -       -       smtp
        -o syslog_name=${multi_instance_name?{$multi_instance_name}:{postfix}}/$service_name
#       -o smtp_helo_timeout=5
uucp      unix  -       n       n       -       -       pipe
  flags=Fqhu user=uucp argv=uux -r -n -z -a$sender - $nexthop!rmail ($recipient)
"""


# ---------------------------------------------------------------- logical lines


@pytest.mark.parametrize("text", [MAIN, MASTER, "", "\n", "a = b\n", "# only\n\n  \n", "  leading = x\na=b\n"])
def test_chunks_keep_every_byte(text: str) -> None:
    assert _postfix.join_chunks(_postfix.split_chunks(text)) == text


@given(st.lists(st.sampled_from(["a = b", "  more", "# note", "", "\t# in", "c=d,", "x", " ", "smtp inet n"])))
def test_chunks_keep_any_lines(lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    assert _postfix.join_chunks(_postfix.split_chunks(text)) == text


@given(st.text())
def test_chunks_keep_any_text(text: str) -> None:
    assert _postfix.join_chunks(_postfix.split_chunks(text)) == (
        text if text.endswith("\n") or not text else text + "\n"
    )


# ---------------------------------------------------------------- main.cf


def test_main_values_as_postfix_reads_them() -> None:
    values = MainCf.parse(MAIN).as_dict()
    assert values == {
        "smtpd_banner": "$myhostname ESMTP",
        "biff": "yes",
        "mydestination": "$myhostname,    localhost.localdomain,  localhost",
        "relayhost": "",
    }


@pytest.mark.parametrize(
    ("wanted", "removed", "added"),
    [
        ({"relayhost": "[a]:25"}, ["relayhost ="], ["relayhost = [a]:25"]),
        ({"relayhost": ""}, [], []),
        ({"mydestination": "$myhostname, localhost.localdomain, localhost"}, [], []),
        ({"biff": "yes"}, ["biff = no"], []),
        ({"biff": None}, ["biff = no", "biff = yes"], []),
        ({"new": "x"}, [], ["new = x"]),
        ({"absent": None}, [], []),
        (
            {"mydestination": "localhost"},
            ["mydestination = $myhostname,", "    localhost.localdomain,", "  localhost"],
            ["mydestination = localhost"],
        ),
    ],
)
def test_main_changes_only_what_is_named(wanted: dict[str, str | None], removed: list[str], added: list[str]) -> None:
    changed = str(MainCf.parse(MAIN).with_values(wanted))
    old, new = MAIN.splitlines(), changed.splitlines()
    assert [line for line in old if line not in new] == [line for line in removed if line not in new]
    assert [line for line in new if line not in old] == added
    assert [line for line in new if line.startswith("#")] == [line for line in old if line.startswith("#")]
    final = MainCf.parse(changed)
    for name, value in wanted.items():
        assert [_postfix.squeeze(text) for text in final.values(name)] == ([] if value is None else [value])


names = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True)
values = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=30)


@given(
    st.dictionaries(names, values.filter(lambda text: not text.strip().startswith("#"))), st.just(MAIN) | st.just("")
)
def test_main_round_trip(wanted: dict[str, str], text: str) -> None:
    parsed = {name: _postfix.parse_value(value, name) for name, value in wanted.items()}
    written = str(MainCf.parse(text).with_values(parsed))
    found = MainCf.parse(written).as_dict()
    assert {name: _postfix.squeeze(found[name]) for name in parsed} == {
        n: _postfix.squeeze(v) for n, v in parsed.items()
    }
    assert str(MainCf.parse(written).with_values(parsed)) == written


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"),
        (False, "no"),
        (25, "25"),
        ("", ""),
        (" x ", "x"),
        (["a", "b"], "a, b"),
        ([], ""),
        ([True, 2], "yes, 2"),
        ("a # b", "a # b"),
        ("Grüße", "Grüße"),
    ],
)
def test_values(value: object, text: str) -> None:
    assert _postfix.parse_value(value, "main: x") == text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("a\nb", "main: x contains a line feed; write it as one line of plain text"),
        ("a\r", "main: x contains a carriage return; write it as one line of plain text"),
        ("a\0", "main: x contains a NUL; write it as one line of plain text"),
        ("a\x1b", "main: x contains a control character; write it as one line of plain text"),
        ("\udcff", "main: x contains bytes that are not UTF-8"),
        ("# x", "main: x: the value begins with '#', which reads as a comment; null removes a parameter"),
        (3.1, "main: x: 3.1 is a number with a point; put it in quotes to keep its digits"),
        ({"a": 1}, "main: x: dict is no value; give a text, a number, a boolean or a list"),
        ([["a"]], "main: x: a list may hold only texts and numbers"),
        ([None], "main: x: a list may hold only texts and numbers"),
        (["a\nb"], "main: x contains a line feed; write it as one line of plain text"),
    ],
)
def test_bad_values(value: object, message: str) -> None:
    with pytest.raises(PostfixError) as caught:
        _postfix.parse_value(value, "main: x")
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["", " a", "a b", "a=b", "#a", "a\n", "-x", "ä", None, 5, "a$b"])
def test_bad_names(name: object) -> None:
    with pytest.raises(PostfixError, match="is no parameter name"):
        _postfix.parse_name(name)


# ---------------------------------------------------------------- master.cf


def test_master_parses_debian() -> None:
    services = MasterCf.parse(MASTER).services()
    assert list(services) == [("smtp", "inet"), ("smtp", "unix"), ("relay", "unix"), ("uucp", "unix")]
    assert services["relay", "unix"].options == (
        ("syslog_name", "${multi_instance_name?{$multi_instance_name}:{postfix}}/$service_name"),
    )
    assert services["uucp", "unix"].command[:3] == ("pipe", "flags=Fqhu", "user=uucp")
    assert services["uucp", "unix"].options == ()


@pytest.mark.parametrize(
    ("text", "command", "options"),
    [
        ("x inet n - y - - smtpd", ("smtpd",), ()),
        ("x inet n - y - - smtpd -v -o a=b -o c=d", ("smtpd", "-v"), (("a", "b"), ("c", "d"))),
        ("x inet n - y - - smtpd -oa=b", ("smtpd",), (("a", "b"),)),
        ("x inet n - y - - smtpd -o { a = b c }", ("smtpd",), (("a", "b c"),)),
        ("x inet n - y - - smtpd -o a=b -o a=c", ("smtpd",), (("a", "c"),)),
        ("x unix - n n - - pipe flags=R argv=/bin/x -o y", ("pipe", "flags=R", "argv=/bin/x", "-o", "y"), ()),
    ],
)
def test_master_commands(text: str, command: tuple[str, ...], options: tuple[tuple[str, str], ...]) -> None:
    service = MasterService.parse(text)
    assert (service.command, service.options) == (command, options)
    assert MasterService.parse(str(service).replace("\n", "")) == service


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x inet n -", "master.cf: 'x inet n -' has 4 fields; a service needs 8"),
        ("x inet n - y - - smtpd -o", "master.cf: '-o' without name=value at the end"),
        ("x inet n - y - - smtpd -o a", "master.cf: '-o a' is no name=value"),
        ("x inet n - y - - smtpd -o { a = b", "master.cf: no '}' closes '{ a = b'"),
    ],
)
def test_bad_master_lines(text: str, message: str) -> None:
    with pytest.raises(PostfixError) as caught:
        MasterService.parse(text)
    assert str(caught.value) == message


option_values = st.text(st.characters(codec="ascii", min_codepoint=33, max_codepoint=126, exclude_characters="{}"))


@given(
    st.dictionaries(names, st.lists(option_values.filter(bool), max_size=3).map(" ".join), max_size=4),
    st.lists(st.from_regex(r"-[vDd]{1,2}", fullmatch=True), max_size=2),
)
def test_master_round_trip(options: dict[str, str], flags: list[str]) -> None:
    service = MasterService("x", "inet", command=("smtpd", *flags), options=tuple(options.items()))
    text = str(MasterCf.parse(MASTER).with_service(("x", "inet"), service))
    assert MasterCf.parse(text).services()["x", "inet"] == service
    assert text.startswith(MASTER)


def test_master_removal_keeps_inner_comments() -> None:
    text = "a inet n - y - - smtpd\n# why\n  -o x=y\nb inet n - y - - smtpd\n"
    assert str(MasterCf.parse(text).with_service(("a", "inet"), None)) == "# why\nb inet n - y - - smtpd\n"


# ---------------------------------------------------------------- maps


@pytest.mark.parametrize(
    ("kind", "text", "entries"),
    [
        ("lmdb", "a b\nc\td e\n", [Entry("a", "b"), Entry("c", "d e")]),
        ("lmdb", "a b,\n  c\n# x\n", [Entry("a", "b,  c")]),
        ("alias", 'root: a, b\n"x y": "|/bin/z -q"\n', [Entry("root", "a, b"), Entry("x y", '"|/bin/z -q"')]),
        ("alias", "list: :include:/etc/list\n", [Entry("list", ":include:/etc/list")]),
        ("pcre", "/^a b/i REJECT no\nif /x/\n/y\\/ z/ OK\nendif\n", [
            Entry("/^a b/i", "REJECT no"), Entry("if /x/"), Entry("/y\\/ z/", "OK"), Entry("endif")
        ]),
        ("pcre", "!/^a/ DUNNO\n", [Entry("!/^a/", "DUNNO")]),
        ("cidr", "10.0.0.0/8 OK\n[2001:db8::]/32 REJECT\n!192.0.2.1 X\n", [
            Entry("10.0.0.0/8", "OK"), Entry("[2001:db8::]/32", "REJECT"), Entry("!192.0.2.1", "X")
        ]),
    ],
)  # fmt: skip
def test_map_sources(kind: str, text: str, entries: list[Entry]) -> None:
    source = MapSource.parse(text, kind)
    assert source.entries() == entries
    assert str(source) == text


ALIASES = "# See man 5 aliases\npostmaster:    root\nRoot: old\nroot: older\n"


@pytest.mark.parametrize(
    ("entries", "removed", "text"),
    [
        ([Entry("root", "ops@a.test")], [], "# See man 5 aliases\npostmaster:    root\nroot: ops@a.test\n"),
        ([Entry("postmaster", "root")], [], ALIASES),
        ([], ["ROOT"], "# See man 5 aliases\npostmaster:    root\n"),
        ([Entry("x y", "z")], [], ALIASES + '"x y": z\n'),
    ],
)
def test_foreign_entries_stay(entries: list[Entry], removed: list[str], text: str) -> None:
    assert str(MapSource.parse(ALIASES, "alias").with_entries(entries, removed)) == text


keys = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Z")), min_size=1, max_size=12)
map_values = values.map(str.strip).filter(lambda text: text and not text.startswith("#") and text.count('"') % 2 == 0)


@pytest.mark.parametrize("kind", ["lmdb", "texthash", "alias"])
@given(raw=st.dictionaries(keys, map_values, max_size=5))
def test_map_round_trip(kind: str, raw: dict[str, str]) -> None:
    try:
        entries, removed = _postfix.parse_entries(raw, type=kind, what="map")
    except PostfixError:
        return
    wanted = {entry.key: _postfix.squeeze(entry.value) for entry in entries}
    for source in (MapSource.of(entries, kind), MapSource.parse(ALIASES, kind).with_entries(entries, removed)):
        found = {entry.key: _postfix.squeeze(entry.value) for entry in MapSource.parse(str(source), kind).entries()}
        assert {key: found.get(key) for key in wanted} == wanted


@pytest.mark.parametrize(
    ("kind", "raw", "message"),
    [
        ("lmdb", {"A": "x", "a": "y"}, "map: the keys 'A' and 'a' are the same to Postfix; keep one"),
        ("alias", {"Root": "x", "root": "y"}, "map: the keys 'Root' and 'root' are the same to Postfix; keep one"),
        ("lmdb", {"a\n": "x"}, "map: the key 'a\\n' contains a line feed; write it as one line of plain text"),
        ("lmdb", {"a\rb": "x"}, "map: the key 'a\\rb' contains a carriage return; write it as one line of plain text"),
        ("lmdb", {"a": "x\ny"}, "map: the value of 'a' contains a line feed; write it as one line of plain text"),
        ("lmdb", {"a b": "x"}, "map: the key 'a b' contains white space or begins with a quote, which Postfix cannot hold"),
        ("lmdb", {" a": "x"}, "map: the key ' a' is empty or has white space at its end"),
        ("lmdb", {"": "x"}, "map: the key '' is empty or has white space at its end"),
        ("lmdb", {"#a": "x"}, "map: the key '#a' begins with '#', which makes it a comment"),
        ("lmdb", {"a": ""}, "map: the value of 'a' is empty; Postfix needs one, null leaves the key out"),
        ("lmdb", {"a": "#x"}, "map: the value of 'a': the value begins with '#', which reads as a comment; null removes a parameter"),
        ("lmdb", {True: "x"}, "map: True is no key; put it in quotes"),
        ("lmdb", "a b", "map: entries must be a dictionary, or a list of key and value"),
        ("lmdb", ["a"], "map: every entry of the list needs key and value, and nothing else"),
        ("lmdb", [{"key": "a", "velue": "b"}], "map: every entry of the list needs key and value, and nothing else"),
        ("pcre", {"/a/ b": "x"}, "map: '/a/ b' is no pattern; white space belongs inside its delimiters"),
        ("alias", {"a": '"|/bin/x'}, "map: the value of 'a' has a quotation mark that nothing closes"),
    ],
)  # fmt: skip
def test_bad_entries(kind: str, raw: object, message: str) -> None:
    with pytest.raises(PostfixError) as caught:
        _postfix.parse_entries(raw, type=kind, what="map")
    assert str(caught.value) == message


# ---------------------------------------------------------------- requests


def params(**changes: Any) -> dict[str, Any]:
    return {"config_directory": "/etc/postfix", "main": {}, "master": [], "maps": [], "files": [], **changes}


def table(**changes: Any) -> dict[str, Any]:
    return {"path": "/etc/postfix/t", "type": "lmdb", "alias_type": "lmdb", "entries": {"a": "b"}, **changes}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (params(config_directory="etc"), "config_directory: 'etc' is no absolute path in its plain form"),
        (params(maps=[table(path="/etc/../x")]), "maps: '/etc/../x' is no absolute path in its plain form"),
        (params(maps=[table(path="/etc/")]), "maps: '/etc/' is no absolute path in its plain form"),
        (params(maps=[table(path="/a b")]), "maps: the path '/a b' has characters that Postfix's configuration cannot hold"),
        (params(maps=[table(), table()]), "the path /etc/postfix/t is given twice, or is main.cf or master.cf itself"),
        (params(maps=[table(path="/etc/postfix/main.cf")]), "the path /etc/postfix/main.cf is given twice, or is main.cf or master.cf itself"),
        (params(files=[{"path": "/etc/postfix/t.lmdb", "content": ""}], maps=[table()]),
         "the path /etc/postfix/t.lmdb is given twice, or is main.cf or master.cf itself"),
        (params(maps=[table(secret=True, mode="0640")]),
         "map /etc/postfix/t: a secret map must not be readable by others; leave the mode out, or use '0600'"),
        (params(maps=[table(mode="rw")]), "map /etc/postfix/t: 'rw' is no mode; write it in quotes, such as '0640'"),
        (params(maps=[table(type="pcre", keep_foreign=True)]), "map /etc/postfix/t: the order of a pcre map matters, so keep_foreign cannot be used with it"),
        (params(files=[{"path": "/etc/mailname", "content": "a\0"}]), "file /etc/mailname: the content contains a NUL"),
        (params(master=[{"service": "a b", "type": "inet"}]), "master: 'a b' is no service name"),
        (params(master=[{"service": "x", "type": "inet", "maxproc": "many"}]), "master: x/inet: maxproc 'many' is neither a number nor '-'"),
        (params(master=[{"service": "x", "type": "inet", "command": "smtpd -o a=b"}]), "master: x/inet: put '-o a=...' under options, not into the command"),
        (params(master=[{"service": "x", "type": "inet", "command": "smtpd\n"}]),
         "master: x/inet: command contains a line feed; write it as one line of plain text"),
        (params(master=[{"service": "x", "type": "inet", "options": {"a": "} b"}}]), "master: x/inet: option a: the braces of '} b' do not match"),
        (params(master=[{"service": "x", "type": "inet"}] * 2), "master: the service x/inet is given twice"),
    ],
)  # fmt: skip
def test_bad_requests(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(PostfixError) as caught:
        _postfix_plan.parse_request(raw)
    assert str(caught.value) == message


hostile = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)  # fmt: skip


@given(main=st.dictionaries(st.text(), hostile), entries=hostile, content=st.text(), path=st.text())
def test_hostile_input_is_refused_in_words(main: dict[str, Any], entries: Any, content: str, path: str) -> None:
    raw = params(main=main, maps=[table(entries=entries)], files=[{"path": path, "content": content}])
    try:
        _postfix_plan.plan(Current({}), _postfix_plan.parse_request(raw))
    except PostfixError as err:
        assert "\n" not in str(err)


# ---------------------------------------------------------------- plan

ROOT = Attributes(0o644, "root", "root")
SECRET = Attributes(0o600, "root", "root")


def disk(content: str = "", attributes: Attributes = ROOT, mtime: int = 1, sound: bool = True) -> OnDisk:
    return OnDisk(content, attributes, mtime, sound)


def current(**files: OnDisk | None) -> Current:
    base = {"/etc/postfix/main.cf": disk(MAIN), "/etc/postfix/master.cf": disk(MASTER)}
    return Current({**base, **{f"/etc/postfix/{name}": found for name, found in files.items()}})


def planned(state: Current, **changes: Any) -> _postfix_plan.Plan:
    return _postfix_plan.plan(state, _postfix_plan.parse_request(params(**changes)))


def test_nothing_to_do() -> None:
    found = planned(current(), main={"relayhost": "", "mydestination": "$myhostname, localhost.localdomain, localhost"})
    assert not found.changed and not found.needs_check and found.diff() == []


def test_diff_shows_every_parameter() -> None:
    found = planned(current(), main={"relayhost": "[a]", "biff": None, "new": True})
    assert found.diff() == [
        {
            "before_header": "/etc/postfix/main.cf",
            "after_header": "/etc/postfix/main.cf",
            "before": "relayhost =\nbiff = no\nbiff = yes\n",
            "after": "relayhost = [a]\nnew = yes\n",
        }
    ]
    assert found.changed_parameters == ("relayhost", "biff", "new")
    assert (found.reload_required, found.restart_required) == (True, False)


def test_diff_of_a_secret_map_shows_keys_only() -> None:
    state = current(t=disk("a old\nb same\n", SECRET), **{"t.lmdb": disk(attributes=SECRET)})
    found = planned(state, maps=[table(secret=True, entries={"a": "new", "b": "same", "c": "more"})])
    assert found.diff()[0]["before"] == "a (secret)\nb (secret)\n"
    assert found.diff()[0]["after"] == "a (secret, changed)\nb (secret)\nc (secret, changed)\n"
    assert [write.attributes for write in found.maps] == [SECRET]


@pytest.mark.parametrize(
    ("source", "built", "maps", "builds", "attributes"),
    [
        (disk(_postfix.HEADER + "a b\n"), disk(), 0, 0, 0),
        (disk(_postfix.HEADER + "a b\n", mtime=5), disk(mtime=5), 0, 0, 0),
        (disk(_postfix.HEADER + "a b\n", mtime=6), disk(mtime=5), 0, 1, 0),
        (disk(_postfix.HEADER + "a b\n"), None, 0, 1, 0),
        (disk(_postfix.HEADER + "a b\n"), disk(sound=False), 0, 1, 0),
        (disk("a c\n"), disk(), 1, 1, 0),
        (None, None, 1, 1, 0),
        (disk(_postfix.HEADER + "a b\n", Attributes(0o666, "root", "root")), disk(), 0, 0, 1),
        (disk(_postfix.HEADER + "a b\n"), disk(attributes=Attributes(0o644, "postfix", "root")), 0, 0, 1),
    ],
)
def test_maps_are_built_only_when_needed(
    source: OnDisk | None, built: OnDisk | None, maps: int, builds: int, attributes: int
) -> None:
    found = planned(current(t=source, **{"t.lmdb": built}), maps=[table()])
    assert (len(found.maps), len(found.builds), len(found.attributes)) == (maps, builds, attributes)
    assert found.changed_maps == (("/etc/postfix/t",) if found.changed else ())
    assert found.needs_check is bool(maps or builds)
    assert not found.reload_required


def test_text_maps_need_a_reload() -> None:
    found = planned(current(t=None), maps=[table(type="cidr", entries={"10.0.0.0/8": "OK"})])
    assert found.reload_required and [build.compile for build in found.builds] == [False]


@pytest.mark.parametrize(
    ("request_", "after"),
    [
        ({"service": "smtp", "type": "inet", "maxproc": "5"}, "smtp inet n - y - 5 smtpd\n"),
        ({"service": "smtp", "type": "inet", "chroot": "no", "options": {"a": True}}, "smtp inet n - n - - smtpd -o a=yes\n"),
        ({"service": "relay", "type": "unix", "options": {"syslog_name": None}}, "relay unix - - y - - smtp\n"),
        ({"service": "new", "type": "inet", "command": "smtpd -v", "private": "no"}, "new inet n - - - - smtpd -v\n"),
        ({"service": "uucp", "type": "unix", "state": "absent"}, ""),
        ({"service": "smtp", "type": "inet", "chroot": "yes"}, None),
        ({"service": "nope", "type": "inet", "state": "absent"}, None),
    ],
)  # fmt: skip
def test_services(request_: dict[str, Any], after: str | None) -> None:
    found = planned(current(), master=[request_])
    assert [change.after for change in found.changes] == ([] if after is None else [after])
    assert found.restart_required is (after is not None)
    again = planned(Current({"/etc/postfix/master.cf": disk(found.master_text)}), master=[request_])
    assert not again.changed


OURS = {
    "service": "465",
    "type": "inet",
    "command": "smtpd",
    "private": "no",
    "options": {"syslog_name": "postfix/smtps"},
}


@pytest.mark.parametrize(
    ("line", "stays"),
    [
        ("465 inet n - y - - smtpd -o syslog_name=postfix/smtps", False),
        ("465 inet n - n - - smtpd\n  -o syslog_name=postfix/smtps", False),  # what is not said of it does not count
        ("465 inet n - y - - smtpd -o syslog_name=postfix/smtps -o smtpd_sasl_auth_enable=yes", True),
        ("465 inet n - y - - smtpd -o syslog_name=mine", True),
        ("465 inet n - y - - smtpd", True),
        ("465 inet n - y - - postscreen -o syslog_name=postfix/smtps", True),
        ("465 inet - - y - - smtpd -o syslog_name=postfix/smtps", True),
    ],
)
def test_a_service_that_goes_is_the_one_that_is_meant(line: str, stays: bool) -> None:
    state = Current({"/etc/postfix/master.cf": disk(f"{line}\n")})
    assert planned(state, master=[{**OURS, "state": "absent"}]).changed is not stays
    bare = {"service": "465", "type": "inet", "state": "absent"}
    assert planned(state, master=[bare]).changed


def test_a_new_service_needs_a_command() -> None:
    with pytest.raises(PostfixError, match=r"there is no service x/inet in master.cf; give its command to add it"):
        planned(current(), master=[{"service": "x", "type": "inet"}])


def test_mode_and_owner_are_mended_without_a_check() -> None:
    state = Current({"/etc/postfix/main.cf": disk(MAIN, Attributes(0o666, "postfix", "root"))})
    found = planned(state, main={"relayhost": ""})
    assert found.attributes == (("/etc/postfix/main.cf", ROOT),)
    assert found.changed and not found.needs_check
    assert found.diff()[0]["before"] == "mode 0666, owner postfix, group root\n"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("permit_mynetworks, reject", ["permit_mynetworks", "reject"]),
        ("check_client_access lmdb:/x, check_policy_service { inet:h:1, timeout=2 } permit", ["check_client_access", "check_policy_service", "permit"]),
        ("reject_rbl_client zen.example.org=127.0.0.2, sleep 5, $mine", ["reject_rbl_client", "sleep"]),
        ("mine, reject", ["reject"]),
    ],
)  # fmt: skip
def test_restriction_words(value: str, words: list[str]) -> None:
    text = f"smtpd_restriction_classes = mine\nsmtpd_client_restrictions = {value}\n"
    assert [word for dummy, word in _postfix.restriction_words(_postfix.settings(text, ""))] == words


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("smtp_sasl_security_options = noanonymous, noplaintext", []),
        ("smtp_sasl_security_options = noanonymus", ["noanonymus"]),
        ("smtp_tls_mandatory_protocols = !SSLv2, !SSLv3, >=TLSv1.2", []),
        ("smtp_tls_mandatory_protocols = >=TLSv1.9", [">=TLSv1.9"]),
        ("smtp_tls_mandatory_ciphers = hihg", ["hihg"]),
        ("smtp_bind_address6 = 2001:db8::1", []),
        ("smtp_bind_address = 10.1.2", ["10.1.2"]),
        ("relayhost = [a.example]:587", []),
        ("relayhost = [a.example:587", ["[a.example:587"]),
        ("relayhost =", []),
        ("relayhost = $mydomain", []),
    ],
)
def test_bad_words(text: str, bad: list[str]) -> None:
    assert [word for dummy, word in _postfix.bad_words(_postfix.settings(text, ""))] == bad


@pytest.mark.parametrize(
    ("service", "named"),
    [
        ("smtp inet n - y - - smtpd -o smtpd_client_restrictions=", "smtp/inet overrides smtpd_client_restrictions"),
        ("10025 inet n - y - - smtpd -o { mynetworks = 0.0.0.0/0 }", "10025/inet overrides mynetworks"),
        ("192.0.2.1:26 inet n - y - - /x/smtpd -omynetworks=::/0", "192.0.2.1:26/inet overrides mynetworks"),
        ("smtpd pass - - y - - smtpd -o mynetworks=", "smtpd/pass overrides mynetworks"),
        ("smtp inet n - y - 1 postscreen -o mynetworks=", "smtp/inet overrides mynetworks"),
        # The twins: it says the same, it is no access parameter, it is no server, nobody else reaches it.
        ("smtp inet n - y - - smtpd -o smtpd_client_restrictions=permit_mynetworks,reject", None),
        ("smtp inet n - y - - smtpd -o { smtpd_client_restrictions = permit_mynetworks reject }", None),
        ("smtp inet n - y - - smtpd -o smtpd_banner=x", None),
        ("relay unix - - y - - smtp -o mynetworks=", None),
        ("127.0.0.1:10025 inet n - y - - smtpd -o mynetworks=", None),
        ("[::1]:10025 inet n - y - - smtpd -o mynetworks=", None),
        ("smtpd unix n - y - - smtpd -o mynetworks=", None),
    ],
)
def test_a_service_that_sets_access_aside(service: str, named: str | None) -> None:
    wanted = {
        "main": {"mynetworks": "192.0.2.0/24", "smtpd_client_restrictions": "permit_mynetworks, reject"},
        "protected": ["mynetworks", "smtpd_client_restrictions"],
    }
    state = current(**{"main.cf": disk(""), "master.cf": disk(f"{service}\n")})
    if named is None:
        assert planned(state, **wanted).changed
        return
    with pytest.raises(_postfix.PostfixError, match=named) as caught:
        planned(state, **wanted)
    assert "remove this option, or the service" in str(caught.value)
    # Without being asked to it says nothing.
    assert planned(state, main=wanted["main"]).changed
