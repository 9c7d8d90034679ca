# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host and asks for pages as a browser does; prints each answer as JSON: status, where it leads, text.

With ``login`` (name and password) it then fills the login page's form, and ``then`` asks for more pages.
"""

from __future__ import annotations

import base64
import gzip
import http.cookiejar
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request


class Stay(urllib.request.HTTPRedirectHandler):
    """Redirections are answers too."""

    def redirect_request(self, *dummy):
        """None follows."""
        return None


def plain(raw: bytes) -> bytes:
    """Archives come packed."""
    return gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw


def main() -> None:
    """Do what the argument says."""
    asked = json.loads(base64.b64decode(sys.argv[1]))
    cookies = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies), Stay)

    def ask(url: str, form: dict[str, str] | None = None) -> dict[str, object]:
        request = urllib.request.Request(url, urllib.parse.urlencode(form).encode() if form else None, {"Referer": url})
        try:
            answer = browser.open(request, timeout=60)
        except urllib.error.HTTPError as err:
            answer = err
        return {
            "status": answer.status,
            "location": answer.headers.get("Location") or "",
            "cookies": [cookie.name for cookie in cookies if cookie.secure],
            "text": plain(answer.read()).decode("utf-8", "replace"),
        }

    answers = [ask(url) for url in asked.get("urls", [])]
    if "login" in asked:
        page = ask(asked["login_url"])
        mark = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', str(page["text"]))
        name, password = asked["login"]
        form = {"csrfmiddlewaretoken": mark[1] if mark else "", "login": name, "password": password}
        answers.append(ask(asked["login_url"], form))
    answers += [ask(url) for url in asked.get("then", [])]
    print(json.dumps(answers))


main()
