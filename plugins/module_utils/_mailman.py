# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values and plan: mailing lists of GNU Mailman 3, and the requests that bring them about. Private.

Facts: Mailman core 3.3.8 and 3.3.10, API 3.1. Its REST API takes forms and answers in JSON. It returns numbers, truth
values, names, texts, lists and periods, and takes each as text. A period comes back in days ("7d", "0d900.0s"),
whatever it was given in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

STYLES = ("legacy-default", "legacy-announce", "private-default")
ROLES = ("owner", "moderator", "member")

# Mailman's own rules: a list's name is narrower than an address (listname_chars), and no domain is a single label.
_LIST = re.compile(r"[-_.0-9a-z]+", re.ASCII)
_LOCAL = re.compile(r"[-0-9A-Za-z!#$%&'*+./=?_`{}~]+", re.ASCII)
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})+", re.ASCII)
_PERIOD = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?[wdhms])+", re.ASCII)
_PARTS = re.compile(r"([0-9]+(?:\.[0-9]+)?)([wdhms])", re.ASCII)
_SECONDS = {"w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_LONGEST = 36525 * 86400.0  # a century; Mailman's database takes no more than Python's timedelta
_LARGEST = 2**31 - 1  # what a column of PostgreSQL holds
_ADDRESS = 254  # characters (RFC 5321 section 4.5.3.1.3, less the two brackets)
_BREAKS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")
_UNSENT = re.compile(r"[\x00\ud800-\udfff]")  # neither a form nor the database takes them
_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class MailmanError(Exception):
    """What was asked for cannot be done, or was not; the message is a sentence that names the item."""


# -- addresses --------------------------------------------------------------------------------------------------------
def list_name(text: str) -> str:
    """A list's address in lower case. Raises :class:`MailmanError`."""
    local, at, domain = text.strip().lower().rpartition("@")
    if not at or len(text) > _ADDRESS or not _LIST.fullmatch(local) or not _DOMAIN.fullmatch(domain):
        raise MailmanError(
            f"{text!r} is no address of a list: write one such as news@lists.example.org, of letters, digits, - _ and ."
        )
    return f"{local}@{domain}"


def address(text: str) -> str:
    """Somebody's address as it was given, the domain in lower case. Raises :class:`MailmanError`."""
    local, at, domain = text.strip().rpartition("@")
    if not at or len(text) > _ADDRESS or not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(domain):
        raise MailmanError(f"{text!r} is no mail address that Mailman takes: write one such as ann@example.org")
    return f"{local}@{domain.lower()}"


# -- settings ---------------------------------------------------------------------------------------------------------
def seconds(text: str) -> float:
    """A period such as ``7d`` or ``1w12h``. Raises :class:`ValueError`."""
    plain = text.strip().lower().replace(" ", "")
    if not _PERIOD.fullmatch(plain):
        raise ValueError("write a period such as 7d or 12h")
    total = sum(float(number) * _SECONDS[unit] for number, unit in _PARTS.findall(plain))
    if total > _LONGEST:
        raise ValueError("write a period of a hundred years at most")
    return total


def _truth(value: Any) -> bool:
    known = _TRUTH.get(str(value).strip().lower())
    if known is None:
        raise ValueError("write true or false")
    return known


def _number(pattern: str, value: Any) -> str:
    text = str(value).strip()
    if not re.fullmatch(pattern, text, re.ASCII) or isinstance(value, bool) or float(text) > _LARGEST:
        raise ValueError(f"write a number from 0 to {_LARGEST}")
    return text


def _count(value: Any) -> int:
    return int(_number(r"[0-9]+", value))


def _size(value: Any) -> float:
    return float(_number(r"[0-9]+(\.[0-9]+)?", value))


def _text(value: Any) -> str:
    text = str(value)
    if _UNSENT.search(text):
        raise ValueError("write text without null bytes and halves of surrogate pairs")
    return text


def _line(value: Any) -> str:
    if _BREAKS.search(str(value)):
        raise ValueError("write a single line")
    return _text(value)


def _several(value: Any) -> list[str]:
    return [_line(item) for item in (value if isinstance(value, (list, tuple)) else [value] if value else [])]


def _one_of(*names: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        # YAML takes an unquoted "none" for a text, but "no" for a truth value.
        if str(value) not in names:
            raise ValueError(f"write one of {', '.join(names)}")
        return str(value)

    return read


_ACTION = _one_of("hold", "reject", "discard", "accept", "defer")
_RESPONSE = _one_of("none", "respond_and_discard", "respond_and_continue")
_POLICY = _one_of("open", "confirm", "moderate", "confirm_then_moderate")
# What can be set by the API, and what reads a value of it.
SETTINGS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        "admin_immed_notify admin_notify_mchanges administrivia advertised allow_list_posts anonymous_list"
        " bounce_notify_owner_on_bounce_increment bounce_notify_owner_on_disable bounce_notify_owner_on_removal"
        " collapse_alternatives convert_html_to_plaintext digest_send_periodic digests_enabled"
        " dmarc_mitigate_unconditionally emergency filter_content first_strip_reply_to gateway_to_mail gateway_to_news"
        " include_rfc2369_headers nntp_prefix_subject_too process_bounces require_explicit_destination"
        " respond_to_post_requests send_goodbye_message send_welcome_message".split(),
        _truth,
    ),
    **dict.fromkeys(
        "bounce_score_threshold bounce_you_are_disabled_warnings max_days_to_hold max_message_size"
        " max_num_recipients".split(),
        _count,
    ),
    **dict.fromkeys(
        "autoresponse_owner_text autoresponse_postings_text autoresponse_request_text dmarc_moderation_notice"
        " dmarc_wrapped_message_text info".split(),
        _text,
    ),
    **dict.fromkeys(
        "description display_name linked_newsgroup posting_pipeline preferred_language reply_to_address"
        " subject_prefix".split(),
        _line,
    ),
    **dict.fromkeys(
        "acceptable_aliases accept_these_nonmembers discard_these_nonmembers filter_extensions filter_types"
        " dmarc_addresses hold_these_nonmembers pass_extensions pass_types reject_these_nonmembers".split(),
        _several,
    ),
    **dict.fromkeys(
        "autoresponse_grace_period bounce_info_stale_after bounce_you_are_disabled_warnings_interval".split(),
        lambda value: seconds(str(value)),
    ),
    "digest_size_threshold": _size,
    "archive_policy": _one_of("never", "private", "public"),
    "archive_rendering_mode": _one_of("text", "markdown"),
    "autorespond_owner": _RESPONSE,
    "autorespond_postings": _RESPONSE,
    "autorespond_requests": _RESPONSE,
    "default_member_action": _ACTION,
    "default_nonmember_action": _ACTION,
    "digest_volume_frequency": _one_of("yearly", "monthly", "quarterly", "weekly", "daily"),
    "dmarc_mitigate_action": _one_of("no_mitigation", "munge_from", "wrap_message", "reject", "discard"),
    "filter_action": _one_of("hold", "reject", "discard", "accept", "defer", "forward", "preserve"),
    "forward_unrecognized_bounces_to": _one_of("discard", "administrators", "site_owner"),
    "member_roster_visibility": _one_of("public", "members", "moderators"),
    "newsgroup_moderation": _one_of("none", "open_moderated", "moderated"),
    "personalize": _one_of("none", "individual", "full"),
    "reply_goes_to_list": _one_of("no_munging", "point_to_list", "explicit_header", "explicit_header_only"),
    "subscription_policy": _POLICY,
    "unsubscription_policy": _POLICY,
}
# Their order means nothing, and the API returns some of them sorted.
_UNORDERED = frozenset(name for name, read in SETTINGS.items() if read is _several)


def read(name: str, value: Any) -> Any:
    """What a setting means, given by somebody or returned by the API. Raises :class:`MailmanError`."""
    if name not in SETTINGS:
        raise MailmanError(f"there is no setting {name!r}: Mailman's documentation of its REST API lists them")
    try:
        known = SETTINGS[name](value)
    except (TypeError, ValueError) as err:
        raise MailmanError(f"{name}: {value!r} will not do: {err}") from None
    return sorted(known) if name in _UNORDERED else known


def sent(name: str, value: Any) -> str | list[str]:
    """A setting as the API takes it. It has no empty list, and takes an empty text for one."""
    known = SETTINGS[name](value)
    if isinstance(known, list):
        return known or ""
    if isinstance(known, bool):
        return "true" if known else "false"
    return str(value).strip().lower().replace(" ", "") if isinstance(known, float) else str(known)


# -- lists ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Wanted:
    """A list as it should be. Rosters that are not named stay; members are added, never removed."""

    name: str
    style: str = STYLES[0]
    settings: Mapping[str, Any] = field(default_factory=dict)
    rosters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    absent: bool = False

    @property
    def domain(self) -> str:
        """What follows the @."""
        return self.name.rpartition("@")[2]

    @property
    def list_id(self) -> str:
        """What the API calls it (RFC 2919)."""
        return self.name.replace("@", ".")


@dataclass(frozen=True)
class Current:
    """A list as it is: its settings as the API returns them, and the addresses of the rosters that were asked for."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    rosters: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """A request to the API, and what it does in words."""

    method: str
    path: str
    form: Mapping[str, str | list[str]]
    does: str


def wanted_list(item: Mapping[str, Any]) -> Wanted:
    """One list from the module's options. Raises :class:`MailmanError` that names the list."""
    name = list_name(item["name"])
    try:
        settings = {
            **(item["settings"] or {}),
            **{k: item[k] for k in ("description", "display_name") if item[k] is not None},
        }
        for setting, value in settings.items():
            read(setting, value)
        options = {role: item[f"{role}s"] for role in ROLES if item[f"{role}s"] is not None}
        rosters = {role: list(dict.fromkeys(map(address, given))) for role, given in options.items()}
    except MailmanError as err:
        raise MailmanError(f"{name}: {err}") from None
    return Wanted(name, item["style"], settings, rosters, item["state"] == "absent")


def wanted_lists(items: Iterable[Mapping[str, Any]]) -> list[Wanted]:
    """All lists. Raises :class:`MailmanError`, also for one that is named twice."""
    found: dict[str, Wanted] = {}
    for item in items:
        wanted = wanted_list(item)
        if wanted.name in found:
            raise MailmanError(f"{wanted.name} is named twice: leave one of the two out")
        found[wanted.name] = wanted
    return list(found.values())


def creation(wanted: Wanted, domains: Iterable[str]) -> list[Request]:
    """What makes a list that is not there, with its domain if that is new too."""
    found = []
    if wanted.domain not in domains:
        found.append(Request("POST", "/domains", {"mail_host": wanted.domain}, f"add domain {wanted.domain}"))
    form = {"fqdn_listname": wanted.name, "style_name": wanted.style}
    return [*found, Request("POST", "/lists", form, f"make {wanted.name}")]


def removal(name: str) -> Request:
    """What removes a list. Its archive stays."""
    return Request("DELETE", f"/lists/{quote(name, safe='@')}", {}, f"remove {name}")


def differing(wanted: Wanted, current: Current) -> dict[str, Any]:
    """The settings to be sent. Raises :class:`MailmanError` for one that this Mailman does not have."""
    strange = [name for name in wanted.settings if name not in current.settings]
    if strange:
        raise MailmanError(f"{wanted.name}: this Mailman has no setting {', '.join(strange)}: leave it out")
    return {
        name: value
        for name, value in wanted.settings.items()
        if read(name, value) != read(name, current.settings[name] if current.settings[name] is not None else "")
    }


def changes(wanted: Wanted, current: Current) -> list[Request]:
    """What brings a list that is there to what it should be."""
    found = []
    settings = differing(wanted, current)
    if settings:
        form = {name: sent(name, value) for name, value in settings.items()}
        does = f"set {', '.join(settings)} of {wanted.name}"
        found.append(Request("PATCH", f"/lists/{wanted.list_id}/config", form, does))
    for role, addresses in wanted.rosters.items():
        there = {one.lower() for one in current.rosters.get(role, ())}
        new = [one for one in addresses if one.lower() not in there]
        found += [_join(wanted, role, one) for one in new]
        if role != "member":
            gone = sorted(there - {one.lower() for one in addresses})
            found += [_leave(wanted, role, one) for one in gone]
    return found


def _join(wanted: Wanted, role: str, one: str) -> Request:
    form: dict[str, str | list[str]] = {"list_id": wanted.list_id, "subscriber": one, "role": role}
    if role == "member":
        form |= dict.fromkeys(("pre_verified", "pre_confirmed", "pre_approved"), "true")
        form["send_welcome_message"] = "false"
    return Request("POST", "/members", form, f"add {role} {one} to {wanted.name}")


def _leave(wanted: Wanted, role: str, one: str) -> Request:
    path = f"/lists/{wanted.list_id}/{role}/{quote(one, safe='@')}"
    return Request("DELETE", path, {}, f"remove {role} {one} from {wanted.name}")


def shown(wanted: Wanted, current: Current | None) -> str:
    """A list as a diff shows it: what was asked about alone."""
    if current is None:
        return ""
    lines = [f"name: {wanted.name}"]
    lines += [f"{name}: {current.settings.get(name)}" for name in sorted(wanted.settings)]
    lines += [
        f"{role}: {one}" for role in wanted.rosters for one in sorted(current.rosters.get(role, ()), key=str.lower)
    ]
    return "\n".join(lines) + "\n"


def after(wanted: Wanted, current: Current | None) -> Current | None:
    """A list as it is when all is done."""
    if wanted.absent:
        return None
    before = current or Current()
    changed = wanted.settings if current is None else differing(wanted, current)
    rosters = dict(before.rosters)
    for role, addresses in wanted.rosters.items():
        there = {one.lower(): one for one in before.rosters.get(role, ())}
        kept = there.values() if role == "member" else [there[o.lower()] for o in addresses if o.lower() in there]
        rosters[role] = [*kept, *(one for one in addresses if one.lower() not in there)]
    return Current({**before.settings, **changed}, rosters)
