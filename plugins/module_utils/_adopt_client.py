# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: reads how a host runs mail, and changes nothing. Private.

Of files with passwords the keys alone leave this module, of DKIM keys the algorithm and the size.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping

from ansible_collections.postmaster.mail.plugins.module_utils import _adopt as ad
from ansible_collections.postmaster.mail.plugins.module_utils import _adopt_dkim as dk
from ansible_collections.postmaster.mail.plugins.module_utils import _adopt_exim, _adopt_inbound, _adopt_postfix, _files
from ansible_collections.postmaster.mail.plugins.module_utils import _adopt_filter as af
from ansible_collections.postmaster.mail.plugins.module_utils import _exim as ex
from ansible_collections.postmaster.mail.plugins.module_utils import _postfix as pf
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError, Runner
from ansible_collections.postmaster.mail.plugins.module_utils._dkim import DkimKeyError, read_private
from ansible_collections.postmaster.mail.plugins.module_utils._dkim_plan import ACTIVE, Manifest, ManifestError
from ansible_collections.postmaster.mail.plugins.module_utils._preflight import is_public, parse_dpkg_status
from ansible_collections.postmaster.mail.plugins.module_utils._preflight_client import LocalHost

SIZE_LIMIT = 4 * 1024 * 1024  # bytes of a file that is read
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_TABLE = re.compile(r"(?:proxy:)?((?:hash|lmdb|btree|texthash):(/[^\s,{}]+))")
# Parameters with tables that a variable may tell; no other table is opened.
_TABLES = (
    "transport_maps",
    "smtp_tls_policy_maps",
    "virtual_alias_maps",
    "smtpd_sender_restrictions",
    "own_senders",
    "relay_recipient_maps",
)
_STOCK_MASTER = ("/usr/share/postfix/master.cf.dist", "/usr/share/postfix/master.cf.debian")
_RSPAMD_ROLE = "/etc/rspamd/relay.conf"
_RSPAMD_INBOUND = "/etc/rspamd/inbound.conf"
_RSPAMD_OWN = frozenset({"dkim_signing.conf", "worker-proxy.inc", "worker-proxy.conf"})


class AdoptError(Exception):
    """The host cannot be read; the message is a sentence with the remedy."""


class MailHost:
    """The host this runs on, as seen below ``root``."""

    def __init__(self, *, root: str = "/", runner: Runner | None = None) -> None:
        self.root = root
        self.runner = runner or Runner()
        self.local = LocalHost(root=root, runner=self.runner)

    # Files

    def _path(self, path: str) -> str:
        return os.path.join(self.root, path.lstrip("/"))

    def read(self, path: str) -> str:
        """The text of a file; empty where there is none, or no regular one of sensible size."""
        place = self._path(path)
        try:
            info = os.stat(place)
            if not stat.S_ISREG(info.st_mode) or info.st_size > SIZE_LIMIT:
                return ""
            state = _files.read(place)
        except (OSError, ValueError):
            return ""
        except _files.FileError as err:
            raise AdoptError(f"{err}: run this as root") from err
        return state.text if state else ""

    def _names(self, directory: str) -> list[str]:
        try:
            return sorted(os.listdir(self._path(directory)))
        except OSError:
            return []

    def _say(self, *argv: str) -> str:
        """What a program prints; empty where it fails or is not there."""
        try:
            result = self.runner.run(argv, env={"PATH": _PATH})
        except CommandError:
            return ""
        return result.stdout if result.code == 0 else ""

    # The whole

    def describe(self) -> ad.Description:
        """The host in the variables of a role."""
        facts = self.facts()
        if any(name.startswith("exim4-daemon") for name in facts.mtas):
            return _adopt_exim.describe(self.exim(), facts)
        if "postfix" in facts.mtas:
            return self._describe_postfix(facts)
        draft = ad.Description()
        names = ", ".join(facts.mtas)
        reason = "is neither Postfix nor Exim" if names else "no mail program is installed"
        draft.note("mail transport agent", names, reason, "describe the host by hand")
        return draft

    def facts(self) -> ad.HostFacts:
        """What is known whatever the mail program."""
        packages = parse_dpkg_status(self.read("/var/lib/dpkg/status"))
        mtas = tuple(sorted(name for name, one in packages.items() if "mail-transport-agent" in one.provides))
        mailname = ex.mailname_word(self.read("/etc/mailname"))
        return ad.HostFacts(
            fqdn=self.local.names()[1],
            mailname=mailname,
            mtas=mtas,
            packages=frozenset(packages),
            aliases=self.read("/etc/aliases"),
            addresses=tuple(filter(is_public, self.local.source_addresses().values())),
        )

    # Postfix

    def _describe_postfix(self, facts: ad.HostFacts) -> ad.Description:
        found = self.postfix()
        description = _adopt_postfix.describe(found, facts)
        if description.role == ad.RELAY and found.signer:
            signings = self._opendkim(description) if found.signer == dk.OPENDKIM else self._rspamd(description)
            dk.describe(description, self.dkim(signings))
        return description

    def postfix(self) -> _adopt_postfix.PostfixFound:
        """What postconf says. Raises :class:`AdoptError` where it cannot."""
        try:
            given, values, defaults = (
                _parameters(self.runner.check(["postconf", flag], env={"PATH": _PATH}).stdout)
                for flag in ("-n", "-x", "-d")
            )
        except CommandError as err:
            raise AdoptError(f"Postfix's configuration cannot be read: {ad.show(err)}") from err
        milters = f"{values.get('smtpd_milters', '')} {values.get('non_smtpd_milters', '')}"
        asked = " ".join([milters, *(values.get(name, "") for name in _adopt_inbound.LISTS)])
        socket = dk.parse_opendkim(self.read("/etc/opendkim.conf")).get("socket", "")
        signer = dk.signer_of(milters, socket)
        return _adopt_postfix.PostfixFound(
            given=given,
            values=values,
            defaults=defaults,
            tables=self._tables(values),
            login_keys=self._login_keys(values.get("smtp_sasl_password_maps", "")),
            master=self.read("/etc/postfix/master.cf"),
            master_stock=next((text for text in map(self.read, _STOCK_MASTER) if text), ""),
            signer=signer,
            filters=self._filters(asked, signer),
        )

    def _filters(self, asked: str, signer: str) -> af.FilterFacts:
        """The daemons that Postfix asks about mail from outside."""
        whole = signer == dk.RSPAMD and not os.path.exists(self._path(_RSPAMD_ROLE))
        scores: dict[str, af.Scores] = {}
        if "spamass" in asked:
            folder, unit = "/etc/spamassassin", "/etc/systemd/system/spamass-milter.service"
            texts = [self.read(f"{folder}/{name}") for name in self._names(folder) if name.endswith(".cf")]
            scores[af.SPAMASSASSIN] = af.spamassassin(texts, self._options(unit, "spamass-milter", "OPTIONS"))
        if whole or ":11336" in asked:
            more = ["-c", _RSPAMD_INBOUND] if ":11336" in asked else []
            if found := af.rspamd(self._say("rspamadm", "configdump", *more, "-j", "actions")):
                scores[af.RSPAMD] = found
        greylist = self._options("/etc/systemd/system/postgrey.service", "postgrey", "POSTGREY_OPTS")
        return af.FilterFacts(scores, af.postgrey(greylist) if af.POSTGREY.search(asked) else None, whole)

    def _options(self, unit: str, default: str, name: str) -> list[str]:
        """The words of a daemon that has an own unit, or a file beside the package's that says more."""
        units = [unit, *(f"{unit}.d/{one}" for one in self._names(f"{unit}.d"))]
        return af.options(map(self.read, units), self.read(f"/etc/default/{default}"), name)

    def _tables(self, values: Mapping[str, str]) -> dict[str, dict[str, str]]:
        found = {}
        for name in _TABLES:
            for table, path in _TABLE.findall(values.get(name, "")):
                entries = pf.MapSource.parse(self.read(path), "hash").entries()
                found[table] = {entry.key: entry.value for entry in entries}
        for table in (_adopt_inbound.CLIENTS, _adopt_inbound.HEADER_CHECKS):
            kind, _colon, path = table.partition(":")
            if any(table in values.get(name, "") for name in ("smtpd_client_restrictions", "header_checks")):
                entries = pf.MapSource.parse(self.read(path), kind).entries()
                found[table] = {entry.key: entry.value for entry in entries}
        return found

    def _login_keys(self, value: str) -> list[str]:
        tables = [pf.MapSource.parse(self.read(path), "hash") for _table, path in _TABLE.findall(value)]
        return [entry.key for table in tables for entry in table.entries()]

    # Exim

    def exim(self) -> _adopt_exim.EximFound:
        """What Debian's Exim is configured with."""
        settings = ex.parse_settings(self.read(ex.SETTINGS_FILE))
        split = settings.get("dc_use_split_config") == "true"
        changed, added = self._exim_files()
        paths = _adopt_exim.FRAGMENTS.values()
        return _adopt_exim.EximFound(
            settings=settings,
            macros=ex.parse_macros(self.read(ex.MACROS_SPLIT if split else ex.MACROS_WHOLE)),
            texts={path: self.read(path) for path in paths if os.path.exists(self._path(path))},
            generated=self.read("/var/lib/exim4/config.autogenerated"),
            login_hosts=self._lookup_keys("/etc/exim4/passwd.client"),
            email_addresses=self._lookup_keys("/etc/email-addresses"),
            changed_files=changed,
            added_files=added,
            overridden=os.path.exists(self._path(_adopt_exim.OVERRIDE)),
        )

    def _lookup_keys(self, path: str) -> list[str]:
        try:
            return [item.key for item in ex.parse_lookup(path, self.read(path)) if item.key is not None]
        except ex.EximError as err:
            raise AdoptError(f"{ad.show(str(err).partition(': ')[0])} cannot be read: mend this line first") from err

    def _exim_files(self) -> tuple[list[str], list[str]]:
        """Files of the package that were changed, and files that were added."""
        shipped = parse_conffiles(self.read("/var/lib/dpkg/status"), "exim4-config")
        shipped = {path: digest for path, digest in shipped.items() if path.startswith(f"{ex.DIRECTORY}/")}
        shipped.pop(f"{ex.DIRECTORY}/passwd.client", None)
        changed = [path for path, digest in shipped.items() if self._digest(path) != digest]
        present = [
            f"{ex.FRAGMENT_DIRECTORY}/{section}/{name}"
            for section in ex.SECTIONS
            for name in self._names(f"{ex.FRAGMENT_DIRECTORY}/{section}")
            if re.fullmatch(r"[A-Za-z0-9_-]+", name)
        ]
        return changed, [path for path in present if path not in shipped]

    def _digest(self, path: str) -> str:
        data = self.read(path).encode("utf-8", "surrogateescape")
        return hashlib.md5(data, usedforsecurity=False).hexdigest()

    # DKIM

    def _opendkim(self, draft: ad.Description) -> list[dk.Signing]:
        settings = dk.parse_opendkim(self.read("/etc/opendkim.conf"))
        paths = [dk.table_path(settings.get(name, "")) for name in ("keytable", "signingtable")]
        signings = dk.opendkim_signings(draft, settings, {path: self.read(path) for path in paths if path})
        dk.opendkim_leftovers(draft, settings)
        return signings

    def _rspamd(self, draft: ad.Description) -> list[dk.Signing]:
        ours = os.path.exists(self._path(_RSPAMD_ROLE))
        dump = self._say("rspamadm", "configdump", *(["-c", _RSPAMD_ROLE] if ours else []), "-j", "dkim_signing")
        paths, pattern = dk.map_files(dump)
        directory = os.path.dirname(pattern) if pattern.startswith("/") else ""
        plain = directory and "$" not in directory
        files = [f"{directory}/{name}" for name in self._names(directory)] if plain else []
        if not ours and draft.variables.get("relay_inbound_filter") != af.RSPAMD:
            self._note_rspamd(draft)
        return dk.rspamd_signings(draft, dump, maps={path: self.read(path) for path in paths}, files=files)

    def _note_rspamd(self, draft: ad.Description) -> None:
        files = [
            f"/etc/rspamd/{folder}/{name}"
            for folder in ("local.d", "override.d")
            for name in self._names(f"/etc/rspamd/{folder}")
            if name not in _RSPAMD_OWN and name.endswith((".conf", ".inc"))
        ]
        if files:
            reason = "the role's rspamd signs and does nothing else; these files are no longer read"
            draft.note("rspamd", ", ".join(files), reason, "see whether anything but signing is needed")

    def dkim(self, signings: Iterable[dk.Signing]) -> dk.DkimFound:
        """The files of keys and what manifests know of them."""
        signings = list(signings)
        files = {signing.path: self.key_file(signing.path) for signing in signings}
        directories = {dk.DEFAULT_DIRECTORY, *(os.path.dirname(file.path) for file in files.values())}
        listed: dict[tuple[str, str], dk.Listed] = {}
        for domain in {signing.domain for signing in signings}:
            for directory in sorted(directories):
                listed.update(self._manifest(directory, domain))
        return dk.DkimFound(signings, files, listed)

    def _manifest(self, directory: str, domain: str) -> dict[tuple[str, str], dk.Listed]:
        text = self.read(f"{directory}/{domain}.json") if ad.is_domain(domain) else ""
        try:
            entries = Manifest.parse(domain, text).keys if text else ()
        except ManifestError:
            entries = ()
        return {
            (domain, entry.selector): dk.Listed(
                entry.path or f"{directory}/{domain}.{entry.selector}.key", entry.state == ACTIVE
            )
            for entry in entries
        }

    def key_file(self, path: str) -> dk.KeyFile:
        """What kind of key lies at ``path``, symbolic links followed."""
        place = os.path.realpath(self._path(path))
        real = os.path.join("/", os.path.relpath(place, self.root)) if self.root != "/" else place
        text = self.read(real)
        if not text:
            return dk.KeyFile(real, problem="the file is not there or empty")
        try:
            key = read_private(text.encode("utf-8", "surrogateescape"))
        except DkimKeyError as err:
            return dk.KeyFile(real, problem=f"the file {err}")
        except ImportError:
            return dk.KeyFile(real, problem="is no RSA key; install python3-cryptography to have it read")
        return dk.KeyFile(real, key.algorithm, key.bits)


def _parameters(text: str) -> dict[str, str]:
    """What postconf prints, one parameter a line."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _equals, value in pairs}


def parse_conffiles(text: str, package: str) -> dict[str, str]:
    """The configuration files of a package and their MD5 sums, out of dpkg's status file."""
    for stanza in text.split("\n\n"):
        if stanza.startswith(f"Package: {package}\n"):
            lines = re.search(r"^Conffiles:\n((?: .*\n?)+)", stanza, re.MULTILINE)
            pairs = (line.split()[:2] for line in lines[1].splitlines()) if lines else ()
            return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
    return {}
