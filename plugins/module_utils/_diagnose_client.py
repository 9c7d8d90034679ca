# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: how a host sends its mail, and a session with its gateway that ends before a message would be sent. Private.

Nothing is written. A password is read where this user may, and is given to the gateway alone, over TLS with a
certificate that holds; it leaves this module in no other way.
"""

from __future__ import annotations

import os
import re
import smtplib
import socket
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _adopt_exim, _adopt_postfix
from ansible_collections.postmaster.mail.plugins.module_utils import _diagnose as dg
from ansible_collections.postmaster.mail.plugins.module_utils import _exim as ex
from ansible_collections.postmaster.mail.plugins.module_utils import _mail_log as ml
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError, Result, Runner
from ansible_collections.postmaster.mail.plugins.module_utils._diagnose_run import Ping
from ansible_collections.postmaster.mail.plugins.module_utils._preflight import explain_socket_error
from ansible_collections.postmaster.mail.plugins.module_utils._preflight_client import LocalHost
from ansible_collections.postmaster.mail.plugins.module_utils._probe_client import LOG_TAIL

LOG_FILES = ("mail.log", "mail.log.1", "maillog", "exim4/mainlog", "exim4/mainlog.1")  # below /var/log
JOURNAL_LINES = 50_000
ADDRESS_LIMIT = 4  # addresses of a gateway that are tried
FILE_LIMIT = 4 * 1024 * 1024  # octets of a file of configuration that are read
NO_LOGIN = "unseen: "  # before a reason why no login was tried
_ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
_POSTFIX = (
    "relayhost default_transport mail_version smtp_helo_name smtp_tls_security_level smtp_use_tls smtp_tls_CAfile "
    "smtp_sasl_auth_enable smtp_sasl_password_maps alias_maps inet_protocols"
).split()
_ALIAS_MAP = re.compile(r"(hash|lmdb|btree|cdb|texthash):(/[^\s,]+)")
_DATABASE = {"hash": ".db", "btree": ".db", "lmdb": ".lmdb", "cdb": ".cdb"}
_VERIFYING = ("verify", "secure", "fingerprint", "dane-only")
_TIME = re.compile(r"time=([0-9.]+ ?ms)")


class _Session(smtplib.SMTP):
    """A session with one address of a server, whose certificate must carry its name."""

    def __init__(self, address: str, name: str, **options: Any) -> None:
        self._address = address
        super().__init__(**options)
        self._host = name  # what starttls compares the certificate with

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return socket.create_connection((self._address, port), timeout)


class _TlsSession(smtplib.SMTP_SSL):
    """The same with TLS from the start."""

    def __init__(self, address: str, **options: Any) -> None:
        self._address = address
        super().__init__(**options)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        plain = socket.create_connection((self._address, port), timeout)
        return self.context.wrap_socket(plain, server_hostname=host)


class SatelliteHost:
    """The host this process runs on; ``root`` lets a test point at a made-up tree.

    ``timeout`` is in seconds, for each connection and each answer. ``ca_file`` stands in for what the program trusts.
    """

    def __init__(
        self, *, timeout: float = 10, ca_file: str = "", root: str = "/", runner: Runner | None = None
    ) -> None:
        self._timeout = timeout
        self._root = root
        self._runner = runner or Runner()
        self._local = LocalHost(root=root, runner=self._runner)
        self._ca_file = ca_file
        self._protocols = "all"
        self._domain = ""  # what relayhost names without brackets: Postfix takes its MX, where it has some
        self._alias_maps = ""
        self._helo = ""
        self._login: tuple[str, str] | None = None
        self._login_hidden = ""
        self._logs = 0  # of the journal and the files, those that are there
        self.notes: list[str] = []

    # --- files and programs ------------------------------------------------------------------

    def _path(self, path: str) -> str:
        return os.path.join(self._root, path.lstrip("/"))

    def _read(self, path: str) -> str | None:
        """The text of a file, None where there is none. Raises :class:`Unseen` where it may not be read."""
        try:
            with open(self._path(path), "rb") as handle:
                return handle.read(FILE_LIMIT).decode("utf-8", "replace")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as err:
            raise dg.Unseen(f"{path} cannot be read: {err.strerror}") from err

    def _run(self, *argv: str, timeout: float = 60) -> Result:
        """Raises :class:`Unseen` where a program is not there, does not end or fails."""
        try:
            return self._runner.check(argv, env=_ENV, timeout=timeout)
        except CommandError as err:
            raise dg.Unseen(self.hidden(str(err))) from err

    def hidden(self, text: str) -> str:
        """``text`` without the passwords that it holds."""
        return ml.redact(text, self._login[1:] if self._login else ())

    @property
    def secrets(self) -> set[str]:
        """What must not be shown."""
        return {self._login[1]} if self._login else set()

    def now(self) -> datetime:
        """The time, with the host's zone."""
        return datetime.now().astimezone()

    def name(self) -> str:
        """The host's full name."""
        return self._local.names()[1]

    # --- the program -------------------------------------------------------------------------

    def mta(self) -> dg.Mta:
        """What is installed, how it is configured and whether it runs."""
        packages = self._local.packages()
        found = tuple(sorted(name for name, one in packages.items() if "mail-transport-agent" in one.provides))
        version = next((packages[name].version.partition("-")[0] for name in found), "")
        if "postfix" in found:
            return self._postfix(dg.Mta("postfix", version, found, self._runs("master", "postfix")))
        if any(name.startswith("exim4-daemon") for name in found):
            return self._exim(dg.Mta("exim", version, found, self._runs("exim4", "-bd")))
        return dg.Mta(packages=found)

    def _runs(self, program: str, word: str) -> bool:
        """Whether a process is there whose command holds a word; everybody may see that."""
        try:
            pids = [name for name in os.listdir(self._path("/proc")) if name.isdigit()]
        except OSError:
            return False
        return any(
            (self._proc(pid, "comm") or "").strip() == program and word in (self._proc(pid, "cmdline") or "")
            for pid in pids
        )

    def _proc(self, pid: str, name: str) -> str | None:
        try:
            return self._read(f"/proc/{pid}/{name}")
        except dg.Unseen:
            return None

    def _postfix(self, mta: dg.Mta) -> dg.Mta:
        try:
            said = self._run("postconf", "-x", *_POSTFIX).stdout
        except dg.Unseen as err:
            return _with(mta, trouble=f"the configuration cannot be read: {err}", readable=False)
        values = {name.strip(): value.strip() for name, _equals, value in map(_halves, said.splitlines())}
        self._alias_maps = values.get("alias_maps", "")
        self._protocols = values.get("inet_protocols", "all")
        self._helo = values.get("smtp_helo_name", "")
        self._ca_file = self._ca_file or values.get("smtp_tls_CAfile", "")
        text = values.get("relayhost", "")
        if values.get("default_transport", "").startswith(("error", "retry", "discard")):
            trouble = f"no mail leaves: default_transport is {values['default_transport']}"
            return _with(mta, text=text, trouble=trouble)
        if not text:
            return mta
        host, port = _adopt_postfix.split_next_hop(text)
        self._domain = "" if text.startswith("[") else host
        if not host or port is None:
            return _with(mta, text=text, trouble=f"relayhost is {text!r}, which names no host and port")
        login = values.get("smtp_sasl_auth_enable") == "yes" and bool(values.get("smtp_sasl_password_maps"))
        if login:
            self._postfix_login(values["smtp_sasl_password_maps"], text, host)
        return _with(mta, text=text, hop=dg.Hop(host, port, _postfix_tls(values), login))

    def _postfix_login(self, maps: str, text: str, host: str) -> None:
        for table in filter(None, re.split(r"[\s,]+", maps)):
            for key in (text, host):
                try:
                    result = self._runner.run(["postmap", "-q", key, table], env=_ENV)
                except CommandError as err:
                    self._login_hidden = str(err)
                    continue
                if result.code == 0 and ":" in result.stdout:
                    username, _colon, password = result.stdout.rstrip("\n").partition(":")
                    self._login, self._login_hidden = (username, password), ""
                    return
                if result.stderr.strip():
                    self._login_hidden = f"the password in {table} cannot be read"

    def _exim(self, mta: dg.Mta) -> dg.Mta:
        try:
            if self._read(_adopt_exim.OVERRIDE) is not None:
                return _with(mta, trouble=f"{_adopt_exim.OVERRIDE} is a configuration of its own", readable=False)
            settings = ex.parse_settings(self._read(ex.SETTINGS_FILE) or "")
            macros = ex.parse_macros("\n".join(self._macro_files()))
        except dg.Unseen as err:
            return _with(mta, trouble=str(err), readable=False)
        self._helo = macros.get("MAIN_HARDCODE_PRIMARY_HOSTNAME", "")
        trusted = macros.get("REMOTE_SMTP_SMARTHOST_TLS_VERIFY_CERTIFICATES", "")
        self._ca_file = self._ca_file or (trusted if trusted.startswith("/") else "")
        kind, text = settings.get("dc_eximconfig_configtype", ""), settings.get("dc_smarthost", "")
        if kind in ("local", "none"):
            return _with(mta, text=text, trouble=f"no mail leaves: dc_eximconfig_configtype is {kind}")
        if kind not in ("satellite", "smarthost"):
            return _with(mta, text=text)
        host, port, _more = _adopt_exim.split_smarthost(text, ours=bool(macros))
        if not host or port is None:
            return _with(mta, text=text, trouble=f"dc_smarthost is {text!r}, which names no host and port")
        login = self._exim_login(host)
        return _with(mta, text=text, hop=dg.Hop(host, port, _exim_tls(macros), login))

    def _macro_files(self) -> Iterator[str]:
        yield self._read(ex.MACROS_WHOLE) or ""
        folder = f"{ex.FRAGMENT_DIRECTORY}/main"
        try:
            names = sorted(os.listdir(self._path(folder)))
        except OSError:
            names = []
        for name in names:
            if name.startswith("000"):
                yield self._read(f"{folder}/{name}") or ""

    def _exim_login(self, host: str) -> bool:
        try:
            items = ex.parse_lookup("passwd.client", self._read(f"{ex.DIRECTORY}/passwd.client") or "")
        except dg.Unseen as err:
            self._login_hidden = str(err)
            return False
        except ex.EximError:
            return False
        for item in items:
            username, colon, password = item.value.partition(":")
            wild = item.key is not None and item.key.startswith("*") and host.endswith(item.key[1:])
            if colon and (item.key == host or wild):
                self._login = (username, password)
                return True
        return False

    # --- other files -------------------------------------------------------------------------

    def mailname(self) -> str | None:
        """The first line of /etc/mailname, None where the file is not there."""
        text = self._read("/etc/mailname")
        return None if text is None else text.partition("\n")[0].strip()

    def aliases(self) -> dg.Aliases:
        """The alias file that the program reads, and whether its compiled form is up to date."""
        match = _ALIAS_MAP.search(self._alias_maps)
        path = match[2] if match else "/etc/aliases"
        text = self._read(path) or ""
        suffix = _DATABASE.get(match[1]) if match else None
        return dg.Aliases(path, text, self._stale(path, path + suffix) if suffix else "")

    def _stale(self, path: str, database: str) -> str:
        try:
            source, made = (os.stat(self._path(one)).st_mtime for one in (path, database))
        except FileNotFoundError:
            return f"{database} is not there"
        except OSError:
            return ""
        return f"{database} is older than {path}" if made < source else ""

    # --- the way -----------------------------------------------------------------------------

    def addresses(self, host: str) -> tuple[list[str], str]:
        """Addresses of the families that the program speaks, IPv4 first, and why there are none."""
        family = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}.get(self._protocols, socket.AF_UNSPEC)
        found, trouble = set(), ""
        for name in self._exchangers(host) or [host]:
            try:
                infos = socket.getaddrinfo(name, None, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
                found |= {str(info[4][0]) for info in infos}
            except (socket.gaierror, UnicodeError) as err:
                trouble = explain_socket_error(err) if isinstance(err, OSError) else "it is no host name"
        return sorted(found, key=lambda text: (":" in text, text))[:ADDRESS_LIMIT], trouble

    def _exchangers(self, host: str) -> list[str]:
        """The MX hosts of the lowest number, where the program would ask for them."""
        if not self._domain or host != self._domain:
            return []
        try:
            records = [record.partition(" ") for record in self._local.query(host, "MX")]
        except OSError:
            return []
        best = min((int(number) for number, _space, _name in records), default=0)
        return [name for number, _space, name in records if int(number) == best and name != "."]

    def ping(self, address: str) -> Ping:
        """One echo, by the program of that name."""
        try:
            result = self._runner.run(["ping", "-n", "-c", "1", "-W", "2", address], env=_ENV, timeout=10)
        except CommandError:
            return Ping(error="there is no program ping, so it was not tried", absent=True)
        match = _TIME.search(result.stdout)
        if result.code == 0:
            return Ping(match[1] if match else "")
        if "permitted" in result.stderr or "socket" in result.stderr:
            return Ping(error="this user may not send pings", absent=True)
        return Ping(error="no answer to ping")

    def connect(self, address: str, port: int) -> dg.Connection:
        """Open and close a connection."""
        try:
            with socket.create_connection((address, port), self._timeout) as opened:
                return dg.Connection(address, own=str(opened.getsockname()[0]))
        except OSError as err:
            return dg.Connection(address, error=explain_socket_error(err))

    # --- the dialogue ------------------------------------------------------------------------

    def talk(self, hop: dg.Hop, address: str, sender: str, recipient: str) -> dg.Dialogue:
        """A session up to RCPT, without DATA. Where the certificate does not hold, another that overlooks it."""
        known: dict[str, Any] = {}
        try:
            self._talk(known, hop, address, sender, recipient, _context(self._ca_file))
        except ssl.SSLCertVerificationError as err:
            known = {"trouble": str(err.verify_message)}
            self._guarded(known, hop, address, sender, recipient)
        except (smtplib.SMTPException, OSError, ValueError) as err:
            known.setdefault("error", _why(err))
        return dg.Dialogue(**known)

    def _guarded(self, known: dict[str, Any], hop: dg.Hop, address: str, sender: str, recipient: str) -> None:
        try:
            self._talk(known, hop, address, sender, recipient, _context("", verify=False))
        except (smtplib.SMTPException, OSError, ValueError) as err:
            known.setdefault("error", _why(err))

    def _talk(
        self, known: dict[str, Any], hop: dg.Hop, address: str, sender: str, recipient: str, context: ssl.SSLContext
    ) -> None:
        """Fills ``known`` with the fields of a :class:`Dialogue` as far as the session goes."""
        options: dict[str, Any] = {"local_hostname": self._helo or self.name(), "timeout": self._timeout}
        session: smtplib.SMTP = (
            _TlsSession(address, context=context, **options)
            if hop.port == 465
            else _Session(address, hop.host, **options)
        )
        try:
            code, banner = session.connect(hop.host, hop.port)
            if code != 220:
                known["error"] = f"greets with {code} {_text(banner)}" if code > 0 else "greets with what is no SMTP"
                return
            known["banner"] = _text(banner)
            self._greet(known, session)
            if "error" in known:
                return
            self._encrypt(known, session, hop, context)
            if known.get("tls_error") or not recipient:
                return
            self._log_in(known, session, hop)
            if known.get("login", "ok") == "ok":
                self._envelope(known, session, sender, recipient)
        finally:
            _leave(session)

    def _greet(self, known: dict[str, Any], session: smtplib.SMTP) -> None:
        code, text = session.ehlo()
        if code != 250:
            known["error"] = f"answers EHLO with {code} {_text(text)}"
            return
        known["extensions"] = (*known.get("extensions", ()), *(name.upper() for name in session.esmtp_features))

    def _encrypt(self, known: dict[str, Any], session: smtplib.SMTP, hop: dg.Hop, context: ssl.SSLContext) -> None:
        if hop.port != 465:
            if hop.tls == "none" or not session.has_extn("starttls"):
                return
            try:
                code, text = session.starttls(context=context)
            except ssl.SSLCertVerificationError:
                raise
            except (ssl.SSLError, OSError, smtplib.SMTPException) as err:
                known["tls_error"] = _why(err)
                return
            if code != 220:
                known["tls_error"] = f"{code} {_text(text)}"
                return
            self._greet(known, session)
        encrypted = session.sock
        if isinstance(encrypted, ssl.SSLSocket):
            known |= {"tls": encrypted.version() or "TLS", "expires": _expires(encrypted.getpeercert() or {})}

    def _log_in(self, known: dict[str, Any], session: smtplib.SMTP, hop: dg.Hop) -> None:
        if not hop.login:
            return
        if self._login is None:
            known["login"] = f"{NO_LOGIN}{self._login_hidden or 'there is no password for this gateway'}"
        elif not known.get("tls") or known.get("trouble"):
            known["login"] = f"{NO_LOGIN}a password is only sent to a gateway whose certificate holds"
        else:
            try:
                session.login(*self._login)
                known["login"] = "ok"
            except smtplib.SMTPAuthenticationError as err:
                known["login"] = f"{err.smtp_code} {_text(err.smtp_error)}"
            except smtplib.SMTPException as err:
                known["login"] = _why(err)

    def _envelope(self, known: dict[str, Any], session: smtplib.SMTP, sender: str, recipient: str) -> None:
        known["mail"] = dg.Reply(*_reply(session.docmd("MAIL", f"FROM:<{sender}>")))
        if known["mail"].code == 250:
            known["rcpt"] = dg.Reply(*_reply(session.docmd("RCPT", f"TO:<{recipient}>")))
            if known["rcpt"].code >= 500 and self._login_hidden and not known.get("login"):
                known["login"] = f"{NO_LOGIN}{known['rcpt']}, and {self._login_hidden}"

    # --- queue and log -----------------------------------------------------------------------

    def queue(self) -> list[ml.Queued]:
        """What waits, of whichever program is there."""
        if "postfix" in self._local.packages():
            return ml.parse_postqueue(self._run("postqueue", "-j").stdout)
        return ml.parse_exim_queue(self._run("exim4", "-bp").stdout, self.now())

    def log(self, hours: int) -> list[ml.Line]:
        """What was logged on mail, in the journal and in files; both may tell the same."""
        lines, now = [], self.now()
        since = now - timedelta(hours=hours)
        for text in self._journal(hours):
            lines += ml.parse_journal(text)
        for name in LOG_FILES:
            lines += ml.parse_log(self._tail(f"/var/log/{name}", since), now)
        found = [line for line in lines if line.time is None or line.time >= since]
        if not found and self.notes:
            raise dg.Unseen("; ".join(self.notes), ROOT_OR_GROUP)
        if not self._logs:
            raise dg.Unseen(
                "there is neither a journal nor a file such as /var/log/mail.log", "see where syslog writes"
            )
        return found

    def _journal(self, hours: int) -> Iterator[str]:
        argv = ["journalctl", "-o", "json", "--output-fields=MESSAGE,SYSLOG_IDENTIFIER", "--no-pager"]
        argv += [f"--since=-{hours}h", f"--lines={JOURNAL_LINES}", "SYSLOG_FACILITY=2"]  # mail, syslog(3)
        try:
            result = self._runner.run(argv, env=_ENV)
        except CommandError:
            return  # a host without systemd
        if "not seeing messages" in result.stderr or "ermission" in result.stderr:
            self.notes.append("the journal cannot be read by this user")
        self._logs += result.code == 0
        yield result.stdout

    def _tail(self, path: str, since: datetime) -> str:
        place = self._path(path)
        try:
            info = os.stat(place)
            self._logs += 1
            if datetime.fromtimestamp(info.st_mtime, UTC) < since:
                return ""
            with open(place, "rb") as handle:
                handle.seek(max(0, info.st_size - LOG_TAIL))
                return handle.read(LOG_TAIL).decode("utf-8", "replace")
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except OSError as err:
            self.notes.append(f"{path} cannot be read: {(err.strerror or '').lower()}")
            return ""


ROOT_OR_GROUP = f"{dg.ROOT}, or as a member of the group adm"


def _halves(line: str) -> tuple[str, str, str]:
    return line.partition("=")


def _with(mta: dg.Mta, **changes: Any) -> dg.Mta:
    return dg.Mta(**{**mta.__dict__, **changes})


def _postfix_tls(values: Mapping[str, str]) -> str:
    level = values.get("smtp_tls_security_level", "")
    if not level:
        return "may" if values.get("smtp_use_tls") == "yes" else "none"
    return "verify" if level in _VERIFYING else level if level in ("none", "encrypt") else "may"


def _exim_tls(macros: Mapping[str, str]) -> str:
    if macros.get("REMOTE_SMTP_SMARTHOST_HOSTS_AVOID_TLS"):
        return "none"
    if not macros.get("REMOTE_SMTP_SMARTHOST_HOSTS_REQUIRE_TLS"):
        return "may"
    return "verify" if macros.get("REMOTE_SMTP_SMARTHOST_TLS_VERIFY_HOSTS") else "encrypt"


def _context(ca_file: str, *, verify: bool = True) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file or None)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _expires(certificate: Mapping[str, Any]) -> datetime | None:
    try:
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
    except (KeyError, ValueError):
        return None


def _reply(answer: tuple[int, bytes]) -> tuple[int, str]:
    return answer[0], _text(answer[1])


def _text(said: bytes | str) -> str:
    return " ".join((said.decode("utf-8", "replace") if isinstance(said, bytes) else said).split())


def _why(err: Exception) -> str:
    if isinstance(err, smtplib.SMTPServerDisconnected):
        return "ends the session before it has answered"
    if isinstance(err, smtplib.SMTPResponseException):
        return f"answers {err.smtp_code} {_text(err.smtp_error)}"
    if isinstance(err, ssl.SSLError):
        return f"speaks no TLS that this host knows ({err.reason or 'an error'})"
    if isinstance(err, TimeoutError):
        return "does not answer in time"
    return f"breaks off: {err.strerror or err}" if isinstance(err, OSError) else f"breaks off: {err}"


def _leave(session: smtplib.SMTP) -> None:
    """Say good-bye where there is somebody to hear it; no answer is no fault."""
    try:
        session.quit()
    except (smtplib.SMTPException, OSError, ValueError):
        session.close()
