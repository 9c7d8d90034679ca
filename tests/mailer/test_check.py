# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``mailerctl check-config``: every fault is named, nothing is made, nobody is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from postmaster_mailer import check, connect, ctl
from postmaster_mailer.__main__ import STAGES

Settings = dict[str, Any]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a configuration names."""
    folder = tmp_path_factory.mktemp("named")
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "dkim.pem").write_bytes(key)
    (folder / "other.pem").write_bytes(key)
    (folder / "secret").write_text("0" * 64)
    connect.tls_of(folder / "cert.pem", folder / "key.pem")
    (folder / "bad.pem").write_text("nothing\n")
    return folder


def good(files: Path) -> Settings:
    return {
        "receiver": {
            "certificate": str(files / "cert.pem"),
            "key": str(files / "key.pem"),
            "auth-logins": [{"username": "shop", "password-hash": "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA"}],
        },
        "transformer": {
            "secret-file": str(files / "secret"),
            "domain-settings": [
                {
                    "domain": f"{name}.example",
                    "return-path-domain": "rp.example",
                    "dkim-private-key-file": str(files / "dkim.pem"),
                }
                for name in ("a", "b")
            ],
        },
        "mxserver": {"certificate": str(files / "cert.pem"), "key": str(files / "key.pem")},
        "backdata": {
            "post-url": "https://app.example/events",
            "signing-secret": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",
        },
    }


def ask(tmp_path: Path, settings: Settings, *stages: str) -> int:
    path = tmp_path / "mailer.yaml"
    path.write_text(yaml.safe_dump(settings))
    return ctl.main(["--config", str(path), "check-config", *stages])


def test_all_stages_are_looked_at() -> None:
    assert check.LOOKS.keys() == STAGES.keys()


def test_what_is_right(tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(tmp_path, good(files)) == 0
    assert capsys.readouterr().out == "the configuration can be used\n"


def _login(settings: Settings, files: Path) -> None:
    settings["receiver"]["auth-logins"][0]["password-hash"] = "$6$salt$hash"


def _key(settings: Settings, files: Path) -> None:
    settings["transformer"]["domain-settings"][1]["dkim-private-key-file"] = str(files / "none.pem")


def _secret(settings: Settings, files: Path) -> None:
    settings["transformer"]["secret-file"] = str(files / "bad.pem")


def _hook(settings: Settings, files: Path) -> None:
    settings["backdata"]["signing-secret"] = "whsec_!"


def _certificate(settings: Settings, files: Path) -> None:
    settings["mxserver"]["certificate"] = str(files / "bad.pem")


def _unknown(settings: Settings, files: Path) -> None:
    settings["receiver"]["size-limi"] = 5000


@pytest.mark.parametrize(
    ("spoil", "stage", "other", "said"),
    [
        (_login, "receiver", "transformer", "the password-hash of shop is none of Argon2"),
        (_key, "transformer", "receiver", "{files}/none.pem cannot be read: No such file or directory"),
        (_secret, "mxserver", "receiver", "{files}/bad.pem must hold a secret of"),
        (_secret, "postfix", "backdata", "{files}/bad.pem must hold a secret of"),
        (_hook, "backdata", "mxserver", "backdata.signing-secret is no base64"),
        (_certificate, "mxserver", "receiver", "{files}/bad.pem and {files}/key.pem cannot be used"),
    ],
)
def test_a_fault_is_named_to_the_stage_that_has_it(
    tmp_path: Path,
    files: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Settings, Path], None],
    stage: str,
    other: str,
    said: str,
) -> None:
    settings = good(files)
    spoil(settings, files)
    assert ask(tmp_path, settings, stage) == 2
    assert said.format(files=files) in capsys.readouterr().err
    assert ask(tmp_path, settings, other) == 0


def test_all_faults_at_once(tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = good(files)
    for spoil in (_login, _key, _hook):
        spoil(settings, files)
    assert ask(tmp_path, settings) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in ("of shop is none", "none.pem cannot be read", "signing-secret is no base64"))
    assert "whsec_!" not in said and "$6$" not in said


def test_a_key_that_nobody_knows(tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = good(files)
    _unknown(settings, files)
    assert ask(tmp_path, settings, "receiver") == 2
    assert capsys.readouterr().err == "mailerctl: receiver.size-limi: there is no such key; did you mean size-limit?\n"


def test_no_certificate_is_made(tmp_path: Path, files: Path) -> None:
    settings = good(files)
    settings["receiver"] |= {"certificate": str(tmp_path / "new.pem"), "key": str(tmp_path / "new.key")}
    assert ask(tmp_path, settings, "receiver") == 0
    assert not (tmp_path / "new.pem").exists() and not (tmp_path / "new.key").exists()


def test_a_stage_that_there_is_not(tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ask(tmp_path, good(files), "sender")
    assert "sender is no stage: choose of receiver, " in capsys.readouterr().err
