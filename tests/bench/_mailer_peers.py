# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the mailer stands on and beside: Postfix, its signers, Redis, and the design that the mailer replaces."""

from __future__ import annotations

import multiprocessing
import shutil
import smtplib
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.utils import formatdate, getaddresses, parseaddr
from pathlib import Path
from typing import Any

from _mailer_load import SINK_PORT

POSTFIX_PORT = 2500
MAIN = """
compatibility_level = 3.6
config_directory = {folder}/etc
queue_directory = {folder}/spool
data_directory = {folder}/data
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
mail_owner = postfix
setgid_group = postdrop
myhostname = bench.example.org
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relayhost = [127.0.0.1]:{sink}
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtp_tls_security_level = none
alias_maps =
alias_database =
message_size_limit = 104857600
mailbox_size_limit = 0
{more}
"""
# As the role sets the mailer's Postfix, where it costs or spares time.
OWN = """
local_header_rewrite_clients =
always_add_missing_headers = no
enable_long_queue_ids = yes
smtpd_forbid_bare_newline = normalize
smtpd_forbid_unauth_pipelining = yes
smtpd_client_connection_count_limit = 0
max_use = 1000
smtpd_command_filter = regexp:$config_directory/commands
notify_classes =
"""
# Beside the port the socket that the role has.
SERVICES = """
127.0.0.1:{port} inet n - n - - smtpd
mailer unix n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
RSPAMD = {
    "local.d/dkim_signing.conf": 'path = "{folder}/key.pem"; selector = "bench"; allow_username_mismatch = true;\n'
    "sign_local = true; use_esld = false; sign_networks = [127.0.0.0/8];\n",
    "local.d/options.inc": 'filters = [];\ndns {{ nameserver = ["127.0.0.1"]; timeout = 0.1s; retransmits = 1; }}\n',
    "local.d/worker-proxy.inc": 'bind_socket = "127.0.0.1:11332";\nmilter = yes;\nupstream "local" {{ default = yes; self_scan = yes; }}\n',
    "local.d/worker-normal.inc": "enabled = false;\n",
    "local.d/worker-controller.inc": "enabled = false;\n",
    "local.d/logging.inc": 'type = "file"; filename = "{folder}/rspamd.log"; level = "error";\n',
}


def wait_for_port(port: int) -> None:
    """Until something listens there. Raises TimeoutError."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")


@contextmanager
def running(*words: str | Path, log: Path, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A program in the foreground, ended at the end."""
    with log.open("ab") as to:
        process = subprocess.Popen(words, stdout=to, stderr=to, env=env)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def postfix(folder: Path, *, more: str = "") -> Iterator[Path]:
    """A Postfix on ``POSTFIX_PORT`` that sends all to the sink; its log."""
    for name in ("etc", "spool", "data"):
        (folder / name).mkdir(parents=True)
    shutil.chown(folder / "data", "postfix", "postfix")
    (folder / "etc/main.cf").write_text(MAIN.format(folder=folder, sink=SINK_PORT, more=more))
    (folder / "etc/commands").write_text("/^(RCPT[[:space:]]+TO:.*)$/ $1 NOTIFY=NEVER\n")
    (folder / "etc/master.cf").write_text(SERVICES.format(port=POSTFIX_PORT))
    for one in (folder, *folder.parents):
        one.chmod(one.stat().st_mode | 0o055)
    subprocess.run(
        ["postfix", "-c", folder / "etc", "set-permissions", "create-missing"], check=False, capture_output=True
    )
    subprocess.run(["postfix", "-c", folder / "etc", "check"], check=False, capture_output=True)
    subprocess.run(["postfix", "-c", folder / "etc", "start"], check=True, capture_output=True)
    wait_for_port(POSTFIX_PORT)
    try:
        yield folder / "mail.log"
    finally:
        subprocess.run(["postfix", "-c", folder / "etc", "stop"], check=False, capture_output=True)


@contextmanager
def opendkim(folder: Path, key: Path) -> Iterator[str | None]:
    """OpenDKIM on a unix socket; what main.cf needs for it, None where there is no OpenDKIM."""
    if not shutil.which("opendkim"):
        yield None
        return
    folder.mkdir()
    place = folder / "opendkim.sock"
    (folder / "conf").write_text(
        f"Syslog no\nUserID root\nSocket local:{place}\nMode s\nDomain example.org\nSelector bench\nKeyFile {key}\n"
        "Canonicalization relaxed/relaxed\nOversignHeaders From\nInternalHosts 127.0.0.0/8\nRequireSafeKeys no\n"
    )
    with running("opendkim", "-f", "-x", folder / "conf", log=folder / "log"):
        _wait_for(place)
        place.chmod(0o777)
        yield f"smtpd_milters = unix:{place}\nmilter_default_action = tempfail"


@contextmanager
def rspamd(folder: Path, key: Path) -> Iterator[str | None]:
    """Rspamd that does nothing but sign, on a socket; None where there is no rspamd."""
    if not shutil.which("rspamd"):
        yield None
        return
    folder.mkdir()
    shutil.copy(key, folder / "key.pem")
    for name, text in RSPAMD.items():
        path = Path("/etc/rspamd", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(folder=folder))
    Path("/run/rspamd").mkdir(exist_ok=True)
    words = ["rspamd", "-f", "-i", "-c", "/etc/rspamd/rspamd.conf", "--var", f"DBDIR={folder}"]
    with running(*words, log=folder / "log"):
        wait_for_port(11332)
        yield "smtpd_milters = inet:127.0.0.1:11332\nmilter_default_action = tempfail"


@contextmanager
def redis(folder: Path) -> Iterator[Path]:
    """A Redis as durable as the mailer asks for; its socket."""
    folder.mkdir()
    place = folder / "redis.sock"
    words = ["redis-server", "--port", "0", "--unixsocket", str(place), "--dir", str(folder), "--save", ""]
    words += ["--appendonly", "yes", "--appendfsync", "always"]
    with running(*words, log=folder / "log"):
        _wait_for(place)
        yield place


def _wait_for(place: Path) -> None:
    deadline = time.monotonic() + 60
    while not place.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{place} does not appear")
        time.sleep(0.05)


# -- the design that the mailer replaces ---------------------------------------------------------------------
#
# Lists of Redis instead of streams: RPUSH, and BLPOP, which forgets at once. The receiver says 250 and leaves it to another
# process to push. The transformer sleeps for a second when it finds its list empty, has the message written anew by
# Python's email package and signs with dkimpy; the delivery opens a connection for each message.

INCOMING, OUTGOING = "incoming", "outgoing"
ORIGINAL_PORT = 2587


class _OldReceiver:
    """Says 250 at once. Its server is the mailer's own: faster than the one it had, for neither TLS nor logins are measured."""

    def __init__(self, to: Any) -> None:
        self._to = to

    def mail(self, dialogue: Any, sender: str) -> str:
        return "250 fine"

    def rcpt(self, dialogue: Any, recipient: str) -> str:
        return "250 fine"

    async def login(self, dialogue: Any, user: str, password: str) -> str | None:
        return None

    async def take(self, dialogue: Any, raw: bytes) -> str:
        self._to.put(raw)
        return "250 taken"


def _old_receive(to: Any) -> None:
    import asyncio

    import uvloop
    from postmaster_mailer.smtp_server import Manner, Server

    async def serve() -> None:
        server = Server(Manner("bench", 100_000_000, 100), _OldReceiver(to))
        await (await asyncio.get_running_loop().create_server(server, "127.0.0.1", ORIGINAL_PORT)).serve_forever()

    uvloop.run(serve())


def _old_write(come: Any, place: Path) -> None:
    from redis import Redis

    client = Redis(unix_socket_path=str(place))
    while True:
        raw = come.get()
        parsed = message_from_bytes(raw)
        for name in ("To", "Cc", "From"):
            getaddresses(parsed.get_all(name) or [])
        client.rpush(INCOMING, raw)


def _old_transform(place: Path, key: bytes) -> None:
    import dkim
    from redis import Redis

    client = Redis(unix_socket_path=str(place))
    while True:
        if not client.llen(INCOMING):
            time.sleep(1)
            continue
        found: Any = client.blpop([INCOMING], 1)
        if found is None:
            continue
        parsed = message_from_bytes(found[1])
        sender = parseaddr(parsed["From"])[1]
        uuid = parsed["X-Uuid"]
        for name in ("Message-ID", "Date", "X-Uuid", "X-Priority", "X-Stream-Id"):
            del parsed[name]
        parsed["Date"] = formatdate()
        parsed["X-Mailer"] = "bench"
        parsed["Message-ID"] = f"<{uuid}@example.org>"
        parsed["X-Return"] = f"bounce-{uuid}@rp.example.org"
        domain = sender.rpartition("@")[2].encode()
        signed = dkim.sign(parsed.as_bytes(), b"bench", domain, key, include_headers=[b"To", b"From", b"Subject"])
        parsed["DKIM-Signature"] = signed.decode().partition(": ")[2]
        client.rpush(OUTGOING, parsed.as_bytes())


def _old_deliver(place: Path) -> None:
    from redis import Redis

    client = Redis(unix_socket_path=str(place))
    while True:
        found: Any = client.blpop([OUTGOING], 1)
        if found is None:
            continue
        parsed = message_from_bytes(found[1])
        sender = parsed["X-Return"]
        del parsed["X-Return"]
        with smtplib.SMTP("127.0.0.1", POSTFIX_PORT, local_hostname="bench") as to:
            to.sendmail(sender, [one[1] for one in getaddresses(parsed.get_all("To") or [])], parsed.as_bytes())


@contextmanager
def original(place: Path, key: Path, *, each: int = 1) -> Iterator[int]:
    """The old design at work, so many of its transformer and of its delivery; the port it listens on."""
    context = multiprocessing.get_context("fork")
    between = context.Queue()
    pem = key.read_bytes()
    work: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
        (_old_receive, (between,)),
        (_old_write, (between, place)),
    ]
    work += [(_old_transform, (place, pem)), (_old_deliver, (place,))] * each
    processes = [context.Process(target=target, args=given, daemon=True) for target, given in work]
    for one in processes:
        one.start()
    try:
        wait_for_port(ORIGINAL_PORT)
        yield ORIGINAL_PORT
    finally:
        for one in processes:
            one.kill()
            one.join()
