# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: the REST API of Mailman core on its own host. Private.

Address, user and password are read from Mailman's configuration, so that they are given nowhere else. What the
API does not take it answers with 400, or 409 for a member that is there, and a JSON object with a description.
"""

from __future__ import annotations

import configparser
import http.client
import json
import time
import urllib.error
from collections.abc import Callable, Mapping
from typing import Any, NoReturn
from urllib.parse import urlencode

from ansible.module_utils.urls import open_url
from ansible_collections.postmaster.mail.plugins.module_utils._mailman import MailmanError

# ValueError: a name or port in the configuration of which no URL can be made.
NO_ANSWER = (urllib.error.URLError, http.client.HTTPException, OSError, ValueError)
VERSION = "3.1"


class NoMailman(MailmanError):
    """There is no configuration of Mailman on this host."""


def webservice(path: str) -> dict[str, str]:
    """The section ``webservice`` of Mailman's configuration, completed. Raises :class:`MailmanError`."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
    except FileNotFoundError:
        raise NoMailman(f"{path} does not exist: install Mailman, or name its configuration") from None
    except (OSError, UnicodeDecodeError, configparser.Error) as err:
        raise MailmanError(f"{path} cannot be read: {err}") from err
    given = dict(parser["webservice"]) if parser.has_section("webservice") else {}
    known = {"hostname": "localhost", "port": "8001", "admin_user": "restadmin", "admin_pass": "restpass", **given}
    return {name: str(value or "") for name, value in known.items()}


class Api:
    """Asks the API. ``patience`` is for how many seconds it waits for one that does not answer yet."""

    def __init__(
        self,
        settings: Mapping[str, str],
        *,
        patience: float = 0,
        timeout: float = 60,
        opener: Callable[..., Any] = open_url,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._base = f"http://{settings['hostname']}:{settings['port']}/{VERSION}"
        self._login = {"url_username": settings["admin_user"], "url_password": settings["admin_pass"]}
        self._until = time.monotonic() + patience
        self._timeout, self._open, self._sleep = timeout, opener, sleep
        self.requests = 0

    def get(self, path: str) -> dict[str, Any] | None:
        """The object at ``path``, None if there is none. Raises :class:`MailmanError`."""
        status, body = self._ask("GET", path, {})
        if status == 404:
            return None
        if status != 200:
            raise MailmanError(f"Mailman does not show {path}: {_complaint(status, body)}")
        return body if isinstance(body, dict) else self._strange(path)

    def entries(self, path: str, key: str) -> list[str]:
        """What the members of the collection at ``path`` have under ``key``; an empty one has none.

        Raises :class:`MailmanError`.
        """
        found = (self.get(path) or {}).get("entries") or []
        items = found if isinstance(found, list) else [found]
        known = [one[key] for one in items if isinstance(one, dict) and isinstance(one.get(key), str)]
        return known if len(known) == len(items) else self._strange(path)

    def _strange(self, path: str) -> NoReturn:
        raise MailmanError(f"what answers at {self._base}{path} is not Mailman's REST API: see what listens there")

    def change(self, method: str, path: str, form: Mapping[str, Any], *, does: str) -> None:
        """Have something changed. Raises :class:`MailmanError` with what was to be done and what Mailman says."""
        status, body = self._ask(method, path, form)
        if status not in (200, 201, 202, 204):
            raise MailmanError(f"Mailman does not {does}: {_complaint(status, body)}")

    def _ask(self, method: str, path: str, form: Mapping[str, Any]) -> tuple[int, Any]:
        data = urlencode(form, doseq=True).encode() if form else None
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
        self.requests += 1
        while True:
            try:
                return self._exchange(method, path, data=data, headers=headers)
            except NO_ANSWER as err:
                # Nothing was carried out where nobody listens; anything else is told at once.
                if not _refused(err) or time.monotonic() >= self._until:
                    raise MailmanError(
                        f"Mailman's REST API at {self._base} does not answer: {getattr(err, 'reason', err)}"
                        " (systemctl status mailman3)"
                    ) from err
                self._sleep(0.5)

    def _exchange(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        try:
            answer = self._open(
                self._base + path,
                method=method,
                force_basic_auth=True,
                use_proxy=False,
                timeout=self._timeout,
                **options,
                **self._login,
            )
            return answer.status, _decoded(answer.read())
        except urllib.error.HTTPError as err:
            return err.code, _decoded(err.read())


def _refused(err: BaseException) -> bool:
    return isinstance(getattr(err, "reason", err), ConnectionRefusedError)


def _decoded(raw: bytes) -> Any:
    text = raw.decode("utf-8", "replace")
    try:
        return json.loads(text) if text.strip() else None
    except (ValueError, RecursionError):
        return text.strip()


def _complaint(status: int, body: Any) -> str:
    if status == 401:
        return "it does not take the password that stands in its configuration (has it been restarted since?)"
    if isinstance(body, dict):
        body = body.get("description") or body.get("title") or ""
    return str(body or f"it answers {status}").strip().rstrip(".")
