# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of Mailman, against a fake that answers as Mailman 3.3.8 and 3.3.10 do (seen on Debian 12 and 13)."""

from __future__ import annotations

import io
import itertools
import json
import urllib.error
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _mailman as mm
from ansible_collections.postmaster.mail.plugins.module_utils import _mailman_client as client
from ansible_collections.postmaster.mail.plugins.module_utils import _mailman_run
from ansible_collections.postmaster.mail.plugins.modules import mailman_list
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# What `GET /lists/<id>/config` of a new list returned, without the read-only part but for one, and what only 3.3.10 has.
NEW: dict[str, Any] = {
    "acceptable_aliases": [], "accept_these_nonmembers": [], "admin_immed_notify": True, "admin_notify_mchanges": False,
    "administrivia": True, "advertised": True, "allow_list_posts": True, "anonymous_list": False, "archive_policy": "public",
    "archive_rendering_mode": "text", "autorespond_owner": "none", "autorespond_postings": "none", "autorespond_requests": "none",
    "autoresponse_grace_period": "90d", "autoresponse_owner_text": "", "autoresponse_postings_text": "",
    "autoresponse_request_text": "", "bounce_info_stale_after": "7d", "bounce_notify_owner_on_bounce_increment": False,
    "bounce_notify_owner_on_disable": True, "bounce_notify_owner_on_removal": True, "bounce_score_threshold": 5,
    "bounce_you_are_disabled_warnings": 3, "bounce_you_are_disabled_warnings_interval": "7d", "collapse_alternatives": True,
    "convert_html_to_plaintext": False, "default_member_action": "defer", "default_nonmember_action": "hold", "description": "",
    "digest_send_periodic": True, "digest_size_threshold": 30.0, "digest_volume_frequency": "monthly", "digests_enabled": True,
    "display_name": "T", "discard_these_nonmembers": [], "dmarc_mitigate_action": "no_mitigation",
    "dmarc_mitigate_unconditionally": False, "dmarc_moderation_notice": "", "dmarc_wrapped_message_text": "", "emergency": False,
    "filter_action": "discard", "filter_content": False, "filter_extensions": [], "filter_types": [], "first_strip_reply_to": False,
    "forward_unrecognized_bounces_to": "administrators", "gateway_to_mail": False, "gateway_to_news": False,
    "hold_these_nonmembers": [], "include_rfc2369_headers": True, "info": "", "linked_newsgroup": "", "max_message_size": 40,
    "max_num_recipients": 10, "max_days_to_hold": 0, "member_roster_visibility": "moderators", "newsgroup_moderation": "none",
    "nntp_prefix_subject_too": True, "pass_types": [], "pass_extensions": [], "personalize": "none", "post_id": 1,
    "posting_pipeline": "default-posting-pipeline", "preferred_language": "en", "process_bounces": True,
    "reject_these_nonmembers": [], "reply_goes_to_list": "no_munging", "reply_to_address": "", "require_explicit_destination": True,
    "respond_to_post_requests": True, "send_goodbye_message": True, "send_welcome_message": True, "subject_prefix": "[T] ",
    "subscription_policy": "confirm", "unsubscription_policy": "confirm", "http_etag": '"c29c"',
}  # fmt: skip
CONFIGURATION = """[mailman]
site_owner: postmaster@lists.example
[webservice]
hostname: 127.0.0.1
port: 8001
admin_pass: s3cr%et
[archiver.hyperkitty]
enable: yes
"""


class Answer:
    """As open_url returns it."""

    def __init__(self, status: int, body: Any) -> None:
        self.status, self._body = status, b"" if body is None else json.dumps(body).encode()

    def read(self) -> bytes:
        return self._body


class FakeMailman:
    """Answers as the REST API does; takes the place of open_url."""

    def __init__(self, release: str = "3.3.10", password: str = "s3cr%et") -> None:
        self.domains: set[str] = set()
        self.lists: dict[str, dict[str, Any]] = {}
        self.rosters: dict[tuple[str, str], list[str]] = {}
        self.extra = {"dmarc_addresses": []} if release == "3.3.10" else {}
        self.password = password
        self.refusals = 0  # how often nobody listens, before somebody does
        self.changes: list[str] = []

    def open(self, url: str, *, data: bytes | None, method: str, headers: dict[str, str], **options: Any) -> Answer:
        assert options["force_basic_auth"] and not options["use_proxy"]
        if self.refusals:
            self.refusals -= 1
            raise urllib.error.URLError(ConnectionRefusedError(111, "Connection refused"))
        assert url.startswith("http://127.0.0.1:8001/3.1/")
        path = [unquote(part) for part in urlsplit(url).path.split("/")[2:]]
        form = parse_qs((data or b"").decode(), keep_blank_values=True)
        status, body = self._answer(method, path, form)
        if (options["url_username"], options["url_password"]) != ("restadmin", self.password):
            status, body = 401, {"title": "401 Unauthorized", "description": "REST API authorization failed"}
        elif method != "GET" and status < 300:
            self.changes.append(f"{method} /{'/'.join(path)}")
        if status >= 400:
            raise urllib.error.HTTPError(url, status, "", Message(), io.BytesIO(json.dumps(body).encode()))
        return Answer(status, body)

    def _answer(self, method: str, path: list[str], form: dict[str, list[str]]) -> tuple[int, Any]:
        if path == ["domains"]:
            return self._domains(method, form)
        if path == ["lists"]:
            return self._lists(method, form)
        if path == ["members"]:
            return self._join(form)
        name = path[1] if "@" in path[1] else next((n for n in self.lists if n.replace("@", ".") == path[1]), "")
        if name not in self.lists:
            return 404, {"title": "404 Not Found"}
        if len(path) == 2:
            del self.lists[name]
            return 204, None
        if path[2] == "config":
            return (200, self.lists[name]) if method == "GET" else self._patch(self.lists[name], form)
        if path[2] == "roster":
            return 200, _collection([{"email": one, "role": path[3]} for one in self.rosters.get((name, path[3]), [])])
        self.rosters[name, path[2]].remove(path[3])
        return 204, None

    def _domains(self, method: str, form: dict[str, list[str]]) -> tuple[int, Any]:
        if method == "GET":
            return 200, _collection([{"mail_host": one} for one in sorted(self.domains)])
        if form["mail_host"][0] in self.domains:
            return _bad(f"Duplicate email host: {form['mail_host'][0]}")
        self.domains.add(form["mail_host"][0])
        return 201, None

    def _lists(self, method: str, form: dict[str, list[str]]) -> tuple[int, Any]:
        if method == "GET":
            return 200, _collection([{"fqdn_listname": one} for one in sorted(self.lists)])
        name = form["fqdn_listname"][0]
        if name.partition("@")[2] not in self.domains:
            return _bad(f"Domain does not exist: {name.partition('@')[2]}")
        self.lists[name] = {**NEW, **self.extra, "style": form["style_name"][0]}
        return 201, None

    def _join(self, form: dict[str, list[str]]) -> tuple[int, Any]:
        name = next(n for n in self.lists if n.replace("@", ".") == form["list_id"][0])
        one, role = form["subscriber"][0], form["role"][0]
        if any(one.lower() == other.lower() for other in self.rosters.get((name, role), [])):
            return (
                (409, {"description": "Member already subscribed"})
                if role == "member"
                else _bad(f"{one} is already an {role}")
            )
        self.rosters.setdefault((name, role), []).append(one.lower())  # seen: O@X.Example is returned as o@x.example
        return 201, None

    def _patch(self, known: dict[str, Any], form: dict[str, list[str]]) -> tuple[int, Any]:
        for setting, values in form.items():
            if setting not in known:
                return _bad(f"Unknown attribute: {setting}")
            if setting == "preferred_language" and values != ["en"]:
                return _bad("Unexpected parameters: preferred_language")
            if setting == "posting_pipeline" and not values[0].startswith("default-"):
                return _bad(f'Invalid Parameter "posting_pipeline": Unknown pipeline: {values[0]}.')
        for setting, values in form.items():
            known[setting] = _stored(known[setting], values, setting)
        return 204, None


def _bad(said: str) -> tuple[int, Any]:
    return 400, {"title": "400 Bad Request", "description": said}


def _collection(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """An empty collection has no entries at all."""
    return {"start": 0, "total_size": len(entries), **({"entries": entries} if entries else {})}


def _stored(before: Any, values: list[str], setting: str) -> Any:
    if isinstance(before, bool):
        return {"true": True, "false": False}[values[0]]
    if isinstance(before, list):
        return sorted(values) if setting == "acceptable_aliases" else [] if values == [""] else values
    if isinstance(before, (int, float)):
        return type(before)(values[0])
    if setting in ("autoresponse_grace_period", "bounce_info_stale_after", "bounce_you_are_disabled_warnings_interval"):
        days, rest = divmod(mm.seconds(values[0]), 86400)
        return f"{int(days)}d{rest}s" if rest else f"{int(days)}d"
    return values[0]


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def mailman() -> FakeMailman:
    return FakeMailman()


@pytest.fixture
def run(mailman: FakeMailman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The module, in check mode first: what it foresees is what it does, and then nothing is left to do."""
    (tmp_path / "mailman.cfg").write_text(CONFIGURATION, encoding="utf-8")
    real = client.Api

    def api(settings: dict[str, str], **options: Any) -> client.Api:
        return real(settings, **options, opener=mailman.open, sleep=lambda dummy: None)

    monkeypatch.setattr(client, "Api", api)

    def once(*lists: dict[str, Any], check_mode: bool = False, **options: Any) -> dict[str, Any]:
        filled = [
            {**dict.fromkeys(mailman_list.LISTS), "style": "legacy-default", "state": "present", **item}
            for item in lists
        ]
        given = {"lists": filled, "purge": False, "configuration": str(tmp_path / "mailman.cfg"), "wait": 60, **options}
        return mailman_list.perform(given, check_mode=check_mode)

    def thrice(*lists: dict[str, Any], **options: Any) -> dict[str, Any]:
        before = len(mailman.changes)
        foreseen = once(*lists, check_mode=True, **options)
        assert len(mailman.changes) == before
        done = once(*lists, **options)
        assert done == foreseen
        again = once(*lists, **options)
        assert (again["changed"], again["actions"]) == (False, [])
        return done

    thrice.once = once  # type: ignore[attr-defined]
    return thrice


NEWS = {"name": "News@Lists.example", "owners": ["Ann@a.example"], "settings": {"dmarc_mitigate_action": "munge_from"}}


def test_a_new_list_comes_with_its_domain_its_owners_and_its_settings(run: Run, mailman: FakeMailman) -> None:
    done = run({**NEWS, "style": "legacy-announce", "description": "What is new", "members": ["bob@b.example"]})
    assert (done["changed_lists"], mailman.domains) == (["news@lists.example"], {"lists.example"})
    made = mailman.lists["news@lists.example"]
    assert (made["style"], made["dmarc_mitigate_action"], made["description"]) == (
        "legacy-announce",
        "munge_from",
        "What is new",
    )
    assert mailman.rosters == {
        ("news@lists.example", "owner"): ["ann@a.example"],
        ("news@lists.example", "member"): ["bob@b.example"],
    }
    assert done["diff"] == [
        {
            "before_header": "news@lists.example",
            "after_header": "news@lists.example",
            "before": "",
            "after": "name: news@lists.example\ndescription: What is new\ndmarc_mitigate_action: munge_from\n"
            "owner: Ann@a.example\nmember: bob@b.example\n",
        }
    ]


def test_a_domain_is_added_once_for_all_its_lists(run: Run, mailman: FakeMailman) -> None:
    done = run({"name": "a@x.example"}, {"name": "b@x.example"})
    assert done["actions"] == ["add domain x.example", "make a@x.example", "make b@x.example"]
    assert mailman.changes == ["POST /domains", "POST /lists", "POST /lists"]


@pytest.mark.parametrize(
    ("setting", "first", "same", "other"),
    [
        ("advertised", False, "no", "yes"),
        ("max_message_size", 100, "100", 0),
        ("digest_size_threshold", 40, "40.0", 40.5),
        ("bounce_info_stale_after", "12h", "0.5d", "1w2d"),
        ("autoresponse_grace_period", "30d", "4w2d", "15m"),
        ("accept_these_nonmembers", ["^.*@a$", "b@b.example"], ["b@b.example", "^.*@a$"], []),
        ("acceptable_aliases", ["z@a.example", "a@a.example"], ["a@a.example", "z@a.example"], "z@a.example"),
        ("subject_prefix", "[News] ", "[News] ", ""),
        ("archive_policy", "private", "private", "never"),
        ("dmarc_addresses", ["a@a.example"], "a@a.example", []),
        ("description", "Ümläute & more=1", "Ümläute & more=1", "x"),
    ],
)
def test_a_setting_is_compared_by_what_it_means(run: Run, setting: str, first: Any, same: Any, other: Any) -> None:
    one = {"name": "news@lists.example"}
    assert run({**one, "settings": {setting: first}})["changed"]
    assert not run({**one, "settings": {setting: same}})["changed"]
    assert run({**one, "settings": {setting: other}})["actions"] == [f"set {setting} of news@lists.example"]


def test_owners_are_those_who_are_named_and_members_are_only_added(run: Run, mailman: FakeMailman) -> None:
    one = {"name": "news@lists.example"}
    run({**one, "owners": ["a@a.example", "b@a.example"], "moderators": ["m@a.example"], "members": ["x@a.example"]})
    done = run({**one, "owners": ["B@a.example", "c@a.example"], "moderators": [], "members": ["y@a.example"]})
    assert done["actions"] == [
        "add owner c@a.example to news@lists.example",
        "remove owner a@a.example from news@lists.example",
        "remove moderator m@a.example from news@lists.example",
        "add member y@a.example to news@lists.example",
    ]
    rosters = {role: mailman.rosters["news@lists.example", role] for role in mm.ROLES}
    assert rosters == {
        "owner": ["b@a.example", "c@a.example"],
        "moderator": [],
        "member": ["x@a.example", "y@a.example"],
    }
    assert not run(one)["changed"]  # what is not named stays


def test_others_stay_unless_they_are_purged(run: Run, mailman: FakeMailman) -> None:
    run({"name": "a@x.example"}, {"name": "b@x.example"})
    assert not run({"name": "a@x.example"})["changed"]
    done = run({"name": "a@x.example"}, purge=True)
    assert (done["actions"], list(mailman.lists)) == (["remove b@x.example"], ["a@x.example"])
    assert done["diff"][0]["after"] == "" and done["diff"][0]["before"] == "name: b@x.example\n"


def test_one_that_is_to_be_absent_goes_and_is_not_missed(run: Run, mailman: FakeMailman) -> None:
    run({"name": "a@x.example"})
    assert run({"name": "a@x.example", "state": "absent"})["actions"] == ["remove a@x.example"]
    assert mailman.lists == {}


@pytest.mark.parametrize(
    ("item", "complaint"),
    [
        ({"name": "news"}, "'news' is no address of a list: write one such as news@lists.example.org, of letters, digits, - _ and ."),
        ({"name": "a+b@x.example"}, "'a+b@x.example' is no address of a list: write one such as news@lists.example.org, of letters, digits, - _ and ."),
        ({"name": "a@x"}, "'a@x' is no address of a list: write one such as news@lists.example.org, of letters, digits, - _ and ."),
        ({"owners": ["ann"]}, "n@x.example: 'ann' is no mail address that Mailman takes: write one such as ann@example.org"),
        ({"members": ["a\n@b.example"]}, "n@x.example: 'a\\n@b.example' is no mail address that Mailman takes: write one such as ann@example.org"),
        ({"settings": {"nosuch": 1}}, "n@x.example: there is no setting 'nosuch': Mailman's documentation of its REST API lists them"),
        ({"settings": {"list_name": "z"}}, "n@x.example: there is no setting 'list_name': Mailman's documentation of its REST API lists them"),
        ({"settings": {"emergency": "maybe"}}, "n@x.example: emergency: 'maybe' will not do: write true or false"),
        ({"settings": {"max_message_size": -1}}, "n@x.example: max_message_size: -1 will not do: write a number from 0 to 2147483647"),
        ({"settings": {"max_message_size": True}}, "n@x.example: max_message_size: True will not do: write a number from 0 to 2147483647"),
        ({"settings": {"archive_policy": "maybe"}}, "n@x.example: archive_policy: 'maybe' will not do: write one of never, private, public"),
        ({"settings": {"bounce_info_stale_after": "soon"}}, "n@x.example: bounce_info_stale_after: 'soon' will not do: write a period such as 7d or 12h"),
        ({"settings": {"max_message_size": 2**31}}, "n@x.example: max_message_size: 2147483648 will not do: write a number from 0 to 2147483647"),
        ({"settings": {"bounce_info_stale_after": "9999w"}},
         "n@x.example: bounce_info_stale_after: '9999w' will not do: write a period of a hundred years at most"),
        ({"settings": {"info": "a\0b"}}, "n@x.example: info: 'a\\x00b' will not do: write text without null bytes and halves of surrogate pairs"),
        ({"display_name": "a\r\nBcc: b@b.example"}, "n@x.example: display_name: 'a\\r\\nBcc: b@b.example' will not do: write a single line"),
        ({"description": "a\nb"}, "n@x.example: description: 'a\\nb' will not do: write a single line"),
    ],
)  # fmt: skip
def test_what_is_no_list_is_refused_before_anything_is_done(
    run: Run, mailman: FakeMailman, item: dict[str, Any], complaint: str
) -> None:
    good = {"name": "good@x.example"}
    with pytest.raises(mm.MailmanError) as refused:
        run.once(good, {"name": "n@x.example", **item})  # type: ignore[attr-defined]
    assert (str(refused.value), mailman.changes) == (complaint, [])
    assert run(good, {"name": "n@x.example"})["changed"]


def test_a_list_named_twice_is_refused(run: Run) -> None:
    with pytest.raises(mm.MailmanError, match=r"^n@x\.example is named twice: leave one of the two out$"):
        run.once({"name": "n@x.example"}, {"name": "N@x.example"})  # type: ignore[attr-defined]


def test_a_new_list_that_mailman_refuses_is_taken_away(run: Run, mailman: FakeMailman) -> None:
    with pytest.raises(mm.MailmanError) as refused:
        run.once({"name": "n@x.example", "settings": {"preferred_language": "xx"}})  # type: ignore[attr-defined]
    said = "Mailman does not set preferred_language of n@x.example: Unexpected parameters: preferred_language"
    assert (str(refused.value), mailman.lists) == (said, {})
    assert run({"name": "n@x.example", "settings": {"preferred_language": "en"}})["changed"]


def test_a_setting_of_a_later_release_is_named() -> None:
    mailman = FakeMailman("3.3.8")
    api = client.Api(client_settings(), opener=mailman.open)
    item = {**dict.fromkeys(mailman_list.LISTS), "name": "n@x.example", "style": "legacy-default", "state": "present"}
    item["settings"] = {"dmarc_addresses": ["a@a.example"]}
    with pytest.raises(mm.MailmanError) as refused:
        _mailman_run.run(api, [item], purge=False, check_mode=False)
    said = "n@x.example: this Mailman has no setting dmarc_addresses: leave it out"
    assert (str(refused.value), mailman.lists) == (said, {})


def client_settings() -> dict[str, str]:
    return {"hostname": "127.0.0.1", "port": "8001", "admin_user": "restadmin", "admin_pass": "s3cr%et"}


def test_one_that_starts_is_waited_for(run: Run, mailman: FakeMailman) -> None:
    mailman.refusals = 3
    assert run({"name": "n@x.example"})["changed"]


def test_one_that_does_not_start_is_told(run: Run, mailman: FakeMailman) -> None:
    mailman.refusals = 10**9
    with pytest.raises(mm.MailmanError) as refused:
        run.once({"name": "n@x.example"}, wait=0)  # type: ignore[attr-defined]
    assert str(refused.value) == (
        "Mailman's REST API at http://127.0.0.1:8001/3.1 does not answer: [Errno 111] Connection refused (systemctl status mailman3)"
    )


def test_a_wrong_password_is_told_and_not_shown(run: Run, mailman: FakeMailman) -> None:
    mailman.password = "another"
    with pytest.raises(mm.MailmanError) as refused:
        run.once({"name": "n@x.example"})  # type: ignore[attr-defined]
    assert str(refused.value) == (
        "Mailman does not show /lists: it does not take the password that stands in its configuration (has it been restarted since?)"
    )


def test_a_host_without_mailman(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mailman.cfg").unlink()
    foreseen = run.once(NEWS, check_mode=True)  # type: ignore[attr-defined]
    assert foreseen["actions"] == ["add domain lists.example", "make news@lists.example"]
    with pytest.raises(mm.MailmanError) as refused:
        run.once(NEWS)  # type: ignore[attr-defined]
    assert str(refused.value) == f"{tmp_path}/mailman.cfg does not exist: install Mailman, or name its configuration"


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (CONFIGURATION, ("127.0.0.1", "8001", "restadmin", "s3cr%et")),
        ("[mailman]\nsite_owner: a@b.example\n", ("localhost", "8001", "restadmin", "restpass")),
        ("[webservice]\nport: 9001\nadmin_user: me\n[webservice]\nadmin_pass: x\n", ("localhost", "9001", "me", "x")),
    ],
)
def test_where_the_api_is(tmp_path: Path, text: str, known: tuple[str, ...]) -> None:
    (tmp_path / "m.cfg").write_text(text, encoding="utf-8")
    found = client.webservice(str(tmp_path / "m.cfg"))
    assert tuple(found[name] for name in ("hostname", "port", "admin_user", "admin_pass")) == known


ANY_TEXT = st.text(st.characters(codec=None)) | st.sampled_from(
    ["", "0" * 400, "9" * 400 + "w", "\0", "\ud800", "a@b.example"]
)
ANYTHING = st.recursive(
    ANY_TEXT | st.integers() | st.booleans() | st.none() | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=8,
)


@given(st.sampled_from(sorted(mm.SETTINGS)), ANYTHING)
def test_any_value_is_read_or_refused(name: str, value: Any) -> None:
    try:
        known = mm.read(name, value)
    except mm.MailmanError:
        return
    stored = mm.sent(name, value)
    assert mm.read(name, stored) == known  # what is sent means the same
    urlencode({name: stored}, doseq=True)


SOME_LIST = st.fixed_dictionaries(
    {"name": ANY_TEXT | st.just("news@lists.example")},
    optional={
        "state": st.sampled_from(["present", "absent"]),
        "settings": st.none() | st.dictionaries(st.sampled_from(sorted(mm.SETTINGS)) | ANY_TEXT, ANYTHING, max_size=4),
        "description": ANY_TEXT,
        "display_name": ANY_TEXT,
        **dict.fromkeys(("owners", "moderators", "members"), st.lists(ANY_TEXT, max_size=3)),
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(SOME_LIST, max_size=3), st.booleans())
def test_hostile_lists_are_foreseen_or_refused_and_nothing_is_written(
    run: Run, mailman: FakeMailman, lists: list[dict[str, Any]], purge: bool
) -> None:
    mailman.domains, mailman.lists = {"lists.example"}, {"news@lists.example": {**NEW, **mailman.extra}}
    try:
        foreseen = run.once(*lists, purge=purge, check_mode=True)  # type: ignore[attr-defined]
    except mm.MailmanError as refused:
        assert str(refused).isprintable() and mailman.changes == []
        with pytest.raises(mm.MailmanError):  # nor does a run that may write
            run.once(*lists, purge=purge)  # type: ignore[attr-defined]
    else:
        json.dumps(foreseen)
    assert mailman.changes == []


ANY_ANSWER = (
    ANYTHING
    | st.fixed_dictionaries({"entries": ANYTHING})
    | st.fixed_dictionaries(
        {"entries": st.lists(st.dictionaries(st.sampled_from(["fqdn_listname", "mail_host", "email"]), ANYTHING))}
    )
    | st.dictionaries(st.sampled_from(sorted(mm.SETTINGS)), ANYTHING)
)


@settings(deadline=None)
@given(
    st.lists(ANY_ANSWER, min_size=1),
    st.lists(st.sampled_from([200, 201, 204, 400, 401, 404, 409, 500]), min_size=1),
    st.booleans(),
)
def test_whatever_answers_in_mailmans_place_ends_in_a_sentence(
    answers: list[Any], statuses: list[int], check_mode: bool
) -> None:
    said, codes = itertools.cycle(answers), itertools.cycle(statuses)

    def opener(url: str, **options: Any) -> Answer:
        return Answer(next(codes), next(said))

    item = {
        **dict.fromkeys(mailman_list.LISTS),
        **NEWS,
        "members": ["a@a.example"],
        "style": "legacy-default",
        "state": "present",
    }
    try:
        _mailman_run.run(client.Api(client_settings(), opener=opener), [item], purge=True, check_mode=check_mode)
    except mm.MailmanError as refused:
        assert str(refused)


@pytest.mark.parametrize(
    "body",
    [
        "<html>",
        [],
        {"entries": [{}]},
        {"entries": ["a@b.example"]},
        {"entries": {"a": "b"}},
        {"entries": [{"fqdn_listname": 7}]},
    ],
)
def test_something_else_at_mailmans_port_is_told(body: Any) -> None:
    api = client.Api(client_settings(), opener=lambda url, **options: Answer(200, body))
    with pytest.raises(mm.MailmanError) as refused:
        _mailman_run.run(api, [], purge=False, check_mode=False)
    assert (
        str(refused.value)
        == "what answers at http://127.0.0.1:8001/3.1/lists is not Mailman's REST API: see what listens there"
    )
    good = client.Api(
        client_settings(),
        opener=lambda url, **options: Answer(
            200, {"entries": [{"fqdn_listname": "a@b.example", "mail_host": "b.example"}]}
        ),
    )
    assert not _mailman_run.run(good, [], purge=False, check_mode=False)["changed"]


@pytest.mark.parametrize(
    "where",
    [
        {"port": "x"},
        {"port": "99999"},
        {"hostname": "a..b"},
        {"hostname": "[::"},
        {"hostname": "a" * 70},
        {"hostname": "a b"},
    ],
)
def test_a_place_that_cannot_be_is_told(where: dict[str, str]) -> None:
    api = client.Api({**client_settings(), **where}, timeout=1)
    with pytest.raises(mm.MailmanError, match="^Mailman's REST API at http://.* does not answer: "):
        api.get("/lists")


@pytest.mark.parametrize(("length", "good"), [(254, True), (255, False)])
def test_an_address_has_254_characters_at_most(length: int, good: bool) -> None:
    text = "a" * (length - len("@x.example")) + "@x.example"
    for read in (mm.address, mm.list_name):
        if good:
            assert read(text) == text
        else:
            with pytest.raises(mm.MailmanError):
                read(text)
