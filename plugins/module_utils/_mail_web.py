# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure: the web answers of mail domains as files, and nginx's configuration that serves them. Private.

Sources: RFC 8461 section 3.3 (MTA-STS policies), Thunderbird's autoconfig (two addresses for one file), [MS-OXDSCLI].

All is static but one thing: Outlook is told a login name, which nginx takes out of the question. The body of a request
is known to nginx only where it hands the request on, so it hands it on to itself, on loopback.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _client_settings as client
from ansible_collections.postmaster.mail.plugins.module_utils._mta_sts import (
    POLICY_HOST,
    POLICY_PATH,
    MtaStsError,
    MtaStsPolicy,
)

CONFIGURATION = "/etc/nginx/conf.d/mail_web.conf"
AUTOCONFIG, AUTODISCOVER = "autoconfig", "autodiscover"
AUTOCONFIG_PATH = "/mail/config-v1.1.xml"
BUCKET = 64  # nginx's own limit for the length of names, with what it adds to each
BODY_LIMIT = "16k"

_PATH = re.compile(r"(/[A-Za-z0-9_@=+.-]+)+")
_LISTEN = re.compile(r"(?:(?:[0-9.]+|\[[0-9a-fA-F:.]+\]):)?[0-9]{1,5}")


def names(domains: Iterable[str], policies: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names that the web server answers for, which its certificate has to hold."""
    wanted = [client.check_domain(domain) for domain in domains]
    found = [f"{label}.{domain}" for domain in wanted for label in (AUTOCONFIG, AUTODISCOVER)]
    return [*found, *(f"{POLICY_HOST}.{client.check_domain(str(policy['domain']))}" for policy in policies)]


def problems(given: Mapping[str, Any]) -> list[str]:
    """What is wrong with the values, each in a sentence."""
    found: list[str] = []
    for key in ("tls_certificate", "tls_key", "directory"):
        if not _PATH.fullmatch(given[key]):
            found.append(
                f"{key}: {given[key]!r} is no plain absolute path: use letters, digits, and . _ - between slashes"
            )
    for item in given["listen"]:
        if not _LISTEN.fullmatch(str(item)):
            found.append(f"listen: {item!r} is neither a port nor an address with one: write it as 443 or [::]:443")
    if not given["listen"]:
        found.append("listen is empty: name a port at least, such as 443")
    try:
        client.Settings.of(given)
        names(given["domains"], given["policies"])
        for policy in given["policies"]:
            MtaStsPolicy.parse(policy["content"])
    except client.SettingsError as err:
        found.append(str(err))
    except MtaStsError as err:
        found.append(f"policies: {err}")
    return found


def render(given: Mapping[str, Any]) -> dict[str, Any]:
    """Problems, or the files by path; and patterns of those that may be there from domains that are no more."""
    if found := problems(given):
        return {"problems": found, "files": {}, "others": []}
    files = {CONFIGURATION: configuration(given)} if given["domains"] or given["policies"] else {}
    directory = given["directory"]
    kinds = (f"{POLICY_HOST}.*{POLICY_PATH}", f"{AUTOCONFIG}.*{AUTOCONFIG_PATH}", f"{AUTODISCOVER}/*.xml")
    others = [CONFIGURATION, *(f"{directory}/{kind}" for kind in kinds)]
    return {"problems": [], "files": {**answers(given), **files}, "others": others}


def answers(given: Mapping[str, Any]) -> dict[str, str]:
    """The static files by path."""
    settings, directory = client.Settings.of(given), given["directory"]
    domains = [client.check_domain(domain) for domain in given["domains"]]
    found = {
        f"{directory}/{POLICY_HOST}.{policy['domain']}{POLICY_PATH}": policy["content"] for policy in given["policies"]
    }
    found |= {
        f"{directory}/{AUTOCONFIG}.{name}{AUTOCONFIG_PATH}": client.autoconfig(settings, name) for name in domains
    }
    if domains:
        found[f"{directory}/{AUTODISCOVER}/settings.xml"] = client.autodiscover(settings)
        found[f"{directory}/{AUTODISCOVER}/error.xml"] = client.autodiscover_error()
    return found


def configuration(given: Mapping[str, Any]) -> str:
    """nginx's configuration."""
    domains = sorted(client.check_domain(domain) for domain in given["domains"])
    hosts = sorted(name for name in names(domains, given["policies"]) if not name.startswith(f"{AUTODISCOVER}."))
    lines = ["# Managed by Ansible: changes made by hand are lost", *_buckets(names(domains, given["policies"]))]
    lines += _server(given, hosts, [
        f"    root {given['directory']}/$host;",
        f"    location = {AUTOCONFIG_PATH} {{ }}",
        f"    location = /.well-known/{AUTOCONFIG}{AUTOCONFIG_PATH} {{ try_files {AUTOCONFIG_PATH} =404; }}",
        f"    location = {POLICY_PATH} {{ }}",
        "    location / { return 404; }",
    ])  # fmt: skip
    return "\n".join([*lines, *(_autodiscover(given, domains) if domains else []), ""])


def _buckets(wanted: Iterable[str]) -> list[str]:
    """Debian's nginx refuses to start with longer names, unless it is told that there are some."""
    longest = max((len(name) for name in wanted), default=0)
    return [f"server_names_hash_bucket_size {BUCKET * 8};"] if longest > BUCKET - 24 else []


def _server(given: Mapping[str, Any], hosts: Iterable[str], rest: Iterable[str]) -> list[str]:
    return [
        "server {",
        *(f"    listen {item} ssl;" for item in given["listen"]),
        "    server_name",
        *(f"        {host}" for host in hosts),
        "        ;",
        f"    ssl_certificate {given['tls_certificate']};",
        f"    ssl_certificate_key {given['tls_key']};",
        "    ssl_protocols TLSv1.2 TLSv1.3;",
        "    server_tokens off;",
        *rest,
        "}",
    ]


def _autodiscover(given: Mapping[str, Any], domains: Iterable[str]) -> list[str]:
    known = list(domains)
    one_of = "|".join(re.escape(domain) for domain in known)
    address = rf'"~*<EMailAddress>\s*(?<mail_web_found>[a-z0-9.!#*+/=?^_~-]+@(?:{one_of}))\s*</EMailAddress>"'
    inner = f"127.0.0.1:{given['inner_port']}"
    outer = [
        "    location ~* ^/autodiscover/autodiscover\\.xml$ {",
        f"        client_max_body_size {BODY_LIMIT};",
        f"        client_body_buffer_size {BODY_LIMIT};",
        "        proxy_method GET;",
        '        proxy_set_body "";',
        "        proxy_set_header X-Mail-Address $mail_web_address;",
        f"        proxy_pass http://{inner};",
        "    }",
        "    location / { return 404; }",
    ]
    return [
        f'map $request_body $mail_web_address {{ default ""; {address} $mail_web_found; }}',
        'map $http_x_mail_address $mail_web_answer { default settings; "" error; }',
        *_server(given, [f"{AUTODISCOVER}.{domain}" for domain in known], outer),
        "server {",
        f"    listen {inner};",
        f"    root {given['directory']}/{AUTODISCOVER};",
        "    access_log off;",
        "    location / {",
        "        rewrite ^ /$mail_web_answer.xml break;",
        "        sub_filter_types text/xml;",
        "        sub_filter_once off;",
        f"        sub_filter {client.ADDRESS} $http_x_mail_address;",
        "    }",
        "}",
    ]
