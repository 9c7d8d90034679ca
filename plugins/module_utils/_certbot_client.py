# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: certbot and its files. Private to this collection."""

from __future__ import annotations

from ansible_collections.postmaster.mail.plugins.module_utils import _files
from ansible_collections.postmaster.mail.plugins.module_utils._certbot import (
    CertbotError,
    Held,
    Wanted,
    arguments,
    complaint,
    parse_certificate,
    parse_settings,
)
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError, Runner

TIME_LIMIT = 900  # seconds; a challenge by DNS waits for all of its names in one go


class Certbot:
    """What certbot holds below ``directory``, and how it is told to obtain more."""

    def __init__(self, directory: str, runner: Runner | None = None) -> None:
        self.directory = directory
        self.runner = runner or Runner()

    def live(self, name: str, file: str) -> str:
        """Path of a file of the newest certificate."""
        return f"{self.directory}/live/{name}/{file}.pem"

    def held(self, name: str) -> Held | None:
        """The certificate of that name, if there is one that certbot would renew."""
        path = self.live(name, "cert")
        state = _files.read(f"{self.directory}/renewal/{name}.conf")
        if state is None or _files.read(path) is None:
            return None
        argv = ["openssl", "x509", "-in", path, "-noout", "-pubkey", "-enddate", "-ext", "subjectAltName"]
        try:
            said = self.runner.run(argv).stdout
        except CommandError as err:
            raise CertbotError(f"{err}: install openssl") from err
        return parse_certificate(said, parse_settings(state.text))

    def obtain(self, wanted: Wanted, *, renew: bool, ca_bundle: str = "") -> None:
        """Have certbot obtain the certificate. Raises :class:`CertbotError`."""
        env = {"REQUESTS_CA_BUNDLE": ca_bundle} if ca_bundle else {}
        options = ["--config-dir", self.directory]
        try:
            done = self.runner.run([*arguments(wanted, renew=renew), *options], env=env, timeout=TIME_LIMIT)
        except CommandError as err:
            raise CertbotError(f"no certificate {wanted.name}: {err}") from err
        if done.code != 0:
            raise CertbotError(complaint(wanted, done.output))
