# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the data of Mailman's web pages up to date; runs as their user, in their folder, and prints what it changed.

Reads JSON from standard input: ``hostname``, ``domains`` (of lists), ``lists`` (as mailman_list takes them), ``admin``
(``name``, ``email``, ``password``, which is set when the account is made and not touched later; no name for none).
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

sys.path.insert(0, os.getcwd())
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"

import django
from django.core.management import call_command

django.setup()

from allauth.account.models import EmailAddress  # noqa: E402
from django.contrib.auth import get_user_model  # noqa: E402
from django.contrib.sites.models import Site  # noqa: E402
from django.db import connection  # noqa: E402
from django.db.migrations.executor import MigrationExecutor  # noqa: E402
from django_mailman3.models import MailDomain  # noqa: E402
from hyperkitty.models.mailinglist import ArchivePolicy, MailingList  # noqa: E402


def migrate() -> list[str]:
    """Bring the tables up to date."""
    executor = MigrationExecutor(connection)
    if not executor.migration_plan(executor.loader.graph.leaf_nodes()):
        return []
    call_command("migrate", interactive=False, verbosity=0)
    return ["tables"]


def name_site(hostname: str) -> list[str]:
    """The name in links of mails and of the archive."""
    site, made = Site.objects.get_or_create(id=1, defaults={"domain": hostname, "name": hostname})
    if not made and (site.domain, site.name) == (hostname, hostname):
        return []
    site.domain = site.name = hostname
    site.save()
    return ["site"]


def place_domains(domains: list[str]) -> list[str]:
    """Links to lists of these domains lead to the site."""
    done = []
    for domain in domains:
        place, made = MailDomain.objects.get_or_create(mail_domain=domain, defaults={"site_id": 1})
        if not made and place.site_id != 1:
            place.site_id = 1
            place.save()
            made = True
        done += [f"domain {domain}"] if made else []
    return done


def close_archives(lists: list[dict[str, Any]]) -> list[str]:
    """Archives that are not public are so from the first post on.

    HyperKitty takes each for public until it has asked Mailman, which it does some time after that.
    """
    done = []
    for one in lists:
        usual = "private" if one.get("style") == "private-default" else "public"
        policy = ArchivePolicy[(one.get("settings") or {}).get("archive_policy", usual)]
        if policy == ArchivePolicy.public or one.get("state") == "absent":
            continue
        name = one["name"].lower()
        archive, made = MailingList.objects.get_or_create(name=name, defaults={"archive_policy": policy.value})
        if archive.archive_policy == ArchivePolicy.public.value:
            archive.archive_policy, made = policy.value, True
            archive.save()
        done += [f"archive of {name}"] if made else []
    return done


def have_admin(admin: dict[str, str]) -> list[str]:
    """The administrator, whose address counts as verified, as the login pages ask for that."""
    users = get_user_model().objects
    user = users.filter(username=admin["name"]).first()
    done = [] if user and user.is_superuser and user.is_staff else ["administrator"]
    if user is None:
        user = users.create_superuser(admin["name"], admin["email"], admin["password"])
    elif done:
        user.is_superuser = user.is_staff = True
        user.save()
    address, made = EmailAddress.objects.get_or_create(
        user=user, email=admin["email"], defaults={"verified": True, "primary": True}
    )
    if not made and not address.verified:
        address.verified = made = True
        address.save()
    return done + (["administrator's address"] if made else [])


def main() -> None:
    """Do what standard input says."""
    wanted = json.load(sys.stdin)
    done = migrate() + name_site(wanted["hostname"]) + place_domains(wanted["domains"])
    done += close_archives(wanted["lists"])
    if wanted["admin"]["name"]:
        done += have_admin(wanted["admin"])
    print("\n".join(done), end="")


main()
