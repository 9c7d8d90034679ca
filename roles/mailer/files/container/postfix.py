# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configure the Postfix of a container, which delivers for the stage ``postfix`` beside it and for nobody else.

    postfix.py --config FILE...

It listens on loopback alone, at ``postfixlog.string-replacer.master-cf.smtpd-port``; whatever stands under ``main-cf``
is taken over, but for the parameters that keep it private. All of it is made anew at each start.
The log alone tells of bounces: a mail about them would be a second event.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from postmaster_mailer.config import Config, ConfigError, load

CONFIGS, ETC = Path("/configs"), Path("/etc/postfix")
SPOOL = Path("/var/lib/postmaster-mailer/spool")
DATA = Path("/var/lib/postmaster-mailer/postfix")
LOG = Path("/var/lib/postmaster-mailer/log/mail.log")
SLOW = ("wanadoo.com", "wanadoo.fr", "orange.com", "orange.fr", "laposte.net", "free.fr")
COMMANDS = "/^(RCPT[[:space:]]+TO:.*)$/ $1 NOTIFY=NEVER\n"
# An open relay for whoever reaches it, so nobody shall but this container, or the containers of this pod; and what was
# signed goes on as it is.
FIXED = {
    "inet_interfaces": "loopback-only",
    "mynetworks": "127.0.0.0/8 [::1]/128",
    "smtpd_client_restrictions": "permit_mynetworks, reject",
    "smtpd_relay_restrictions": "permit_mynetworks, reject",
    "smtpd_recipient_restrictions": "",
    "smtpd_command_filter": f"regexp:{ETC}/mailer_commands",
    "smtp_discard_ehlo_keywords": "dsn",
    "local_header_rewrite_clients": "",
    "disable_mime_output_conversion": "yes",
    "content_filter": "",
    "enable_long_queue_ids": "yes",
    "mydestination": "",
    "local_transport": "error:there is no local mail here",
    "queue_directory": str(SPOOL),
    "maillog_file": str(LOG),
    "maillog_file_compressor": "/bin/true",  # the stage may still be reading what was put aside
    "data_directory": str(DATA),
}
OURS = {
    "compatibility_level": "3.6",
    "alias_maps": "",
    "alias_database": "",
    "header_size_limit": "1024000",
    "message_size_limit": "52428800",
    "mailbox_size_limit": "0",
    "smtpd_client_connection_count_limit": "0",
    "smtpd_junk_command_limit": "1000",
    "max_use": "1000",
    "smtp_tls_security_level": "may",
    "smtp_tls_CApath": "/etc/ssl/certs",
    "maximal_queue_lifetime": "12h",
    "bounce_queue_lifetime": "12h",
    "notify_classes": "",
    "transport_maps": "inline:{ " + ", ".join(f"{{ {domain} = slow: }}" for domain in SLOW) + " }",
    "slow_destination_concurrency_limit": "3",
    "slow_destination_recipient_limit": "20",
    "slow_destination_rate_delay": "5s",
    "slow_destination_concurrency_failed_cohort_limit": "10",
}


def parameters(settings: Config, legacy: Mapping[str, str]) -> dict[str, str]:
    """All of main.cf. ``legacy`` are names that stand in files of their own, as once they did."""
    given = {name: _value(value) for name, value in settings.postfixlog.string_replacer.main_cf.items()}
    names = {**legacy, **given}
    # No parameter of Postfix, but the file /etc/mailname, which Debian's myorigin reads.
    mailname = names.pop("mailname", None)
    origin = {"myorigin": mailname} if mailname else {}
    return {**OURS, **origin, **names, **FIXED}


def _value(value: str | int | bool) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def services(settings: Config) -> dict[str, str]:
    """Lines of master.cf by their service and type."""
    port = settings.postfixlog.string_replacer.master_cf.smtpd_port
    return {
        f"{port}/inet": f"{port} inet n - n - - smtpd",
        "slow/unix": "slow unix - - n - - smtp",
        "postlog/unix-dgram": "postlog unix-dgram n - n - 1 postlogd",
    }


def readable() -> dict[str, str]:
    """The stage beside it, which is not root, reads the log. Postfix 3.7 writes it for all to read."""
    known = subprocess.run(["postconf", "-d"], check=True, capture_output=True, text=True).stdout
    return {"maillog_file_permissions": "0644"} if "\nmaillog_file_permissions = " in known else {}


def _run(*words: str) -> None:
    subprocess.run(words, check=True)


def main() -> None:
    """Write main.cf and master.cf, and have Postfix check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, action="append", required=True)
    try:
        settings = load(parser.parse_args().config)
    except ConfigError as err:
        sys.exit(f"postfix: {err}")
    legacy = {
        name: path.read_text().strip() for name in ("myhostname", "mailname") if (path := CONFIGS / name).exists()
    }
    for folder in (SPOOL, LOG.parent):
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    DATA.mkdir(mode=0o700, exist_ok=True)
    shutil.chown(DATA, "postfix", "postfix")
    ETC.mkdir(exist_ok=True)
    shutil.copy("/usr/share/postfix/master.cf.dist", ETC / "master.cf")
    (ETC / "mailer_commands").write_text(COMMANDS)
    main_cf = {**parameters(settings, legacy), **readable()}
    (ETC / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in main_cf.items()))
    _run("postconf", "-MX", "smtp/inet")
    for service, line in services(settings).items():
        _run("postconf", "-Me", f"{service}={line}")
    # The names of the world are looked up with the container's own files, which no chroot has.
    _run("postconf", "-F", "*/*/chroot=n")
    _run("postfix", "check")


if __name__ == "__main__":
    main()
