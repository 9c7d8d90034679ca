# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: the API of a Proxmox Mail Gateway, by HTTPS from anywhere or by pmgsh on the node itself. Private.

Facts: pmg-api 8.2 and 9.1. It has no API tokens: a ticket is had for a password, and writes need a second secret that
comes with the ticket. What went wrong while it looked at a ticket stands in the reason phrase alone.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import time
import urllib.error
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlencode

from ansible.module_utils.urls import open_url
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError, Runner
from ansible_collections.postmaster.mail.plugins.module_utils._pmg import PmgError
from ansible_collections.postmaster.mail.plugins.module_utils._pmg import host as server

# What a proxy in front of the API answers where the one behind it went away; the request may have been carried out.
INTERRUPTED = range(595, 600)
# Seconds before each other attempt to read, which does no harm; a service that restarts is back by then.
READ_WAITS = (1, 3, 9)
VERBS = {"GET": "get", "POST": "create", "PUT": "set", "DELETE": "delete"}
NO_HANDLER = re.compile("no '.+' handler for ")
SECRET = frozenset({"password", "crypt_pass", "keys", "key", "data", "eab-hmac-key"})
_TASK = re.compile(r"UPID:[^\s]+:$")
# What pmgsh does not show, as its answer is not of the kind that the API itself declares; and where it stands.
UNSHOWN = "/config/tls-inbound-domains"
INBOUND_DOMAINS = "/etc/pmg/tls_inbound_domains"
_INBOUND_DOMAIN = re.compile(r"^(\S+) reject_plaintext_session$", re.MULTILINE)
NO_ANSWER = (urllib.error.URLError, http.client.HTTPException, OSError)


class Interrupted(PmgError):
    """The connection ended before the answer: nobody knows whether the request was carried out."""


class Forbidden(PmgError):
    """The account may not do this."""


class Unknown(PmgError):
    """This release has no such path."""


@dataclass(frozen=True)
class Answer:
    """What the API said to one request."""

    status: int
    reason: str
    body: Any = None

    @property
    def complaint(self) -> str:
        """Why a request failed, in one line."""
        body = self.body if isinstance(self.body, dict) else {}
        errors = body.get("errors")
        said = [f"{name}: {' '.join(str(text).split())}" for name, text in errors.items()] if errors else []
        return "; ".join(said) or " ".join(str(body.get("message") or self.reason or self.status).split())


class Transport(Protocol):
    """A way to the API. ``login`` is who asks."""

    login: str

    def request(self, method: str, path: str, params: Mapping[str, str]) -> Answer:
        """Ask once. Raises :class:`Interrupted` where the answer is lost, :class:`PmgError` where there is no way."""

    def lets_in(self, user: str, password: str) -> bool:
        """Whether a user could log in with a password. Raises what :meth:`request` raises."""

    def leave(self, session: Session) -> None:
        """Keep what lets in the next run."""


class Session:
    """A ticket on its way from one run of a module to the next, so that both need one login.

    It lies in a file of this user's alone, in a directory that ends with the task, from the end of the one run to the
    beginning of the other. Where that cannot be, the next one logs in again.
    """

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, "pmg-session")

    def leave(self, whose: str, headers: Mapping[str, str]) -> None:
        """Keep the headers for the next run; ``whose`` says where they belong."""
        try:
            self._remove()
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump([whose, dict(headers)], file)
        except OSError:
            self._remove()

    def take(self, whose: str) -> dict[str, str]:
        """What was left for the same gateway and login, once; else nothing."""
        try:
            with os.fdopen(os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW), encoding="utf-8") as file:
                own, content = os.fstat(file.fileno()).st_uid == os.geteuid(), file.read()
        except (OSError, ValueError):
            return {}
        finally:
            self._remove()
        try:
            left_for, headers = json.loads(content)
            return dict(headers) if own and left_for == whose else {}
        except (ValueError, TypeError):
            return {}

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._path)


class Api:
    """Reads and writes; counts the requests. ``before_write`` is called once, before the first write."""

    def __init__(
        self,
        transport: Transport,
        *,
        before_write: Callable[[Api], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._transport = transport
        self._before_write = before_write
        self._sleep = sleep
        self.requests = 0

    @property
    def login(self) -> str:
        """Who asks."""
        return self._transport.login

    def lets_in(self, user: str, password: str) -> bool:
        """Whether a user could log in with a password. Raises :class:`PmgError`."""
        self.requests += 1
        return self._transport.lets_in(user, password)

    def leave(self, session: Session) -> None:
        """Keep what lets in the next run."""
        self._transport.leave(session)

    def get(self, path: str) -> Any:
        """The data at ``path``. Raises :class:`PmgError`."""
        return self.call("GET", path, {})

    def call(self, method: str, path: str, params: Mapping[str, str]) -> Any:
        """The data that a request returns. Raises :class:`PmgError` with what the gateway says.

        What only reads is asked for again where the answer is lost; whoever writes has to look first.
        """
        if method != "GET" and self._before_write is not None:
            self._prepare(self._before_write)
        for wait in READ_WAITS if method == "GET" else ():
            try:
                return self._once(method, path, params)
            except Interrupted:
                self._sleep(wait)
        return self._once(method, path, params)

    def _once(self, method: str, path: str, params: Mapping[str, str]) -> Any:
        self.requests += 1
        answer = _whole(self._transport.request(method, path, params))
        if answer.status != 200:
            raise {403: Forbidden, 501: Unknown}.get(answer.status, PmgError)(_explained(answer))
        return answer.body.get("data") if isinstance(answer.body, dict) else None

    def _prepare(self, prepare: Callable[[Api], None]) -> None:
        self._before_write = None
        try:
            prepare(self)
        except PmgError:
            self._before_write = prepare  # it is still to be done
            raise


def _whole(answer: Answer) -> Answer:
    """An answer by the one that was asked. Raises :class:`Interrupted` for one by what stands before it."""
    if answer.status in INTERRUPTED:
        raise Interrupted(f"the gateway broke off ({answer.status} {answer.reason})")
    return answer


def _explained(answer: Answer) -> str:
    if answer.status == 403 and "root@pam" in answer.complaint:
        return f"the gateway says: {answer.complaint} (it lets nobody but root@pam do this: log in as that one)"
    if answer.status == 403:
        return f"the gateway says: {answer.complaint} (an account needs the role admin to write, audit to read)"
    return f"the gateway says: {answer.complaint}"


class Https:
    """The API on port 8006, with a ticket that is got with the first request and renewed when it has expired."""

    def __init__(
        self,
        host: str,
        user: str,
        password: str,
        *,
        port: int = 8006,
        ca_path: str | None = None,
        validate_certs: bool = True,
        timeout: float = 30,
        opener: Callable[..., Any] = open_url,
        session: Session | None = None,
    ) -> None:
        if "@" not in user:
            raise PmgError(
                f"the user {user!r} has no realm, which the gateway would take for a quarantine's: write {user}@pmg"
            )
        host = server(host)
        name = f"[{host}]" if ":" in host else host
        self._base = f"https://{name}:{port}/api2/json"
        self.login, self._password = user, password
        self._tls = {"ca_path": ca_path, "validate_certs": validate_certs}
        self._timeout, self._open = timeout, opener
        self._headers = session.take(self._whose) if session else {}
        self.logins = 0

    @property
    def _whose(self) -> str:
        return f"{self.login} {self._base}"

    def leave(self, session: Session) -> None:
        """See :class:`Transport`."""
        if self._headers:
            session.leave(self._whose, self._headers)

    def request(self, method: str, path: str, params: Mapping[str, str]) -> Answer:
        """See :class:`Transport`."""
        if not self._headers:
            self._log_in()
        answer = self._ask(method, path, params)
        if answer.status == 401:  # a ticket holds for two hours; nothing was done without one
            self._log_in()
            answer = self._ask(method, path, params)
        if answer.status == 401:
            raise PmgError(f"{self._base} refuses its own ticket: {answer.complaint}")
        return answer

    def lets_in(self, user: str, password: str) -> bool:
        """See :class:`Transport`."""
        return _whole(self._ask_for_ticket(user, password)).status == 200

    def _ask_for_ticket(self, user: str, password: str) -> Answer:
        return self._ask("POST", "/access/ticket", {"username": user, "password": password}, headers={})

    def _log_in(self) -> None:
        self._headers = {}
        try:
            answer = self._ask_for_ticket(self.login, self._password)
        except Interrupted as err:
            raise PmgError(f"{self._base} cannot be reached: {err}") from err
        _whole(answer)
        self.logins += 1
        body = answer.body if isinstance(answer.body, dict) else {}
        data = body.get("data") or {}
        if answer.status == 200 and data.get("NeedTFA"):
            raise PmgError(
                f"{self.login} has to show a second factor, which nobody is there to give: name an account without"
            )
        if answer.status != 200 or not data.get("ticket"):
            raise PmgError(f"{self._base} does not let {self.login} in: {answer.complaint}")
        self._headers = {
            "Cookie": f"PMGAuthCookie={quote(str(data['ticket']), safe='')}",
            "CSRFPreventionToken": str(data.get("CSRFPreventionToken") or ""),
        }

    def _ask(
        self, method: str, path: str, params: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> Answer:
        encoded = urlencode(params)
        url = self._base + path
        if encoded and method in ("GET", "DELETE"):  # a DELETE with a body is refused
            url, encoded = f"{url}?{encoded}", ""
        body = encoded if method in ("POST", "PUT") else None
        headers = {
            **(self._headers if headers is None else headers),
            **({"Content-Type": "application/x-www-form-urlencoded"} if body is not None else {}),
        }
        options = {"method": method, "headers": headers, "data": body, "timeout": self._timeout, "use_proxy": False}
        options["follow_redirects"] = "none"  # which could lead the ticket to somebody else
        try:
            with self._open(url, **options, **self._tls) as response:
                return _answer(response.status, response.reason, response.read())
        except urllib.error.HTTPError as err:
            with err:
                return _answer(err.code, str(err.reason), err.read())
        except NO_ANSWER as err:
            if "CERTIFICATE_VERIFY_FAILED" in str(err):
                raise PmgError(
                    f"{self._base} shows a certificate that nobody here knows: give its authority's file as ca_path"
                ) from err
            raise Interrupted(f"no answer ({getattr(err, 'reason', None) or err or type(err).__name__})") from err


def _answer(status: int, reason: str, content: bytes) -> Answer:
    try:
        body = json.loads(content) if content else None
    except ValueError:
        body = None
    return Answer(status, reason, body)


class Shell:
    """``pmgsh`` on the node, which asks for no password; the module has to run there as root.

    It waits for tasks: it shows what they say, and then prints their identifier without a line's end.
    """

    login = "root@pam"

    def __init__(self, runner: Runner, *, timeout: float = 60) -> None:
        self._runner, self._timeout = runner, timeout

    def leave(self, session: Session) -> None:
        """See :class:`Transport`. It takes no login."""

    def lets_in(self, user: str, password: str) -> bool:
        """It could not without a secret on its command line. Raises :class:`PmgError`."""
        self.request("POST", "/access/ticket", {"username": user, "password": password})
        return True

    def request(self, method: str, path: str, params: Mapping[str, str]) -> Answer:
        """See :class:`Transport`."""
        if secret := SECRET & {*params}:
            raise PmgError(
                f"pmgsh takes {' and '.join(sorted(secret))} on its command line, which all users of the host can "
                "read: use the transport https"
            )
        options = [word for name, value in params.items() for word in (f"--{name}", value)]
        try:  # it takes paths as they are, not as a URL has them
            done = self._runner.run(["pmgsh", VERBS[method], unquote(path), *options], timeout=self._timeout)
        except CommandError as err:
            if isinstance(err.__cause__, OSError):
                raise PmgError(f"{err}: on a host that is no Proxmox Mail Gateway, use the transport https") from err
            raise Interrupted(str(err)) from err
        if done.code:
            if (method, path) == ("GET", UNSHOWN) and "Result verification failed" in done.stderr:
                return Answer(200, "OK", {"data": _inbound_domains()})
            said = " ".join(done.stderr.split())  # Perl may have had something to say about its locale first
            return _answer(501 if NO_HANDLER.search(said) else 500, said, b"")
        return Answer(200, "OK", {"data": _shell_data(done.stdout.strip())})


def _inbound_domains() -> list[dict[str, str]]:
    try:
        with open(INBOUND_DOMAINS, encoding="utf-8", errors="replace") as file:
            content = file.read()
    except OSError as err:
        raise PmgError(f"{INBOUND_DOMAINS} cannot be read: {err.strerror}") from err
    return [{"domain": domain} for domain in _INBOUND_DOMAIN.findall(content)]


def _shell_data(text: str) -> Any:
    """What pmgsh prints: JSON, or a text as it is."""
    if task := _TASK.search(text):
        return task[0]
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text
