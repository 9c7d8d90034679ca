# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exim4_config module's work on a real Exim. It rewrites this host's /etc/exim4!

Run it as root in a throw-away Debian container with exim4-daemon-light and python3-pytest, the
collection's tree on PYTHONPATH, and EXIM4_THROW_AWAY_HOST=1 set. It needs no Ansible.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import _exim as ex
from ansible_collections.postmaster.mail.plugins.module_utils import _exim_client as client
from ansible_collections.postmaster.mail.plugins.module_utils._command import CommandError, Result, Runner

pytestmark = pytest.mark.skipif(
    os.environ.get("EXIM4_THROW_AWAY_HOST") != "1" or os.geteuid() != 0, reason="only on a host to throw away"
)

SETTINGS = {
    "dc_eximconfig_configtype": "satellite",
    "dc_smarthost": "relay1.corp.example::25",
    "dc_other_hostnames": "host.corp.example",
    "dc_local_interfaces": "127.0.0.1 ; ::1",
    "dc_readhost": "corp.example",
    "dc_hide_mailname": "true",
    "dc_localdelivery": "mail_spool",
}
ALIASES = ex.Lookup("/etc/aliases", {"root": "ops@outside.test"}, keep_foreign=True)
PASSWD = ex.Lookup("/etc/exim4/passwd.client", {"relay1.corp.example": "host:x^y:z"}, secret=True)
MAILNAME = ex.PlainFile(ex.MAILNAME_FILE, "corp.example\n")
TLS = {"REMOTE_SMTP_SMARTHOST_HOSTS_REQUIRE_TLS": "*"}


def desired(*, split: bool, **more: object) -> ex.Desired:
    settings = {**SETTINGS, "dc_use_split_config": "true" if split else "false", **more.pop("settings", {})}  # type: ignore[dict-item]
    values: dict = {"macros": TLS, "lookups": (ALIASES, PASSWD), "files": (MAILNAME,), **more}
    return ex.Desired(settings=settings, **values)


def fingerprint() -> dict[str, tuple[str, int, int]]:
    """Content, mode and time of everything that Exim reads."""
    paths = [Path("/etc/aliases"), Path("/etc/mailname"), Path(client.GENERATED_FILE)]
    paths += [path for path in Path(ex.DIRECTORY).rglob("*") if path.is_file()]
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mode, path.stat().st_mtime_ns)
        for path in paths
    }


def says(*argv: str, stdin: str = "") -> str:
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False).stdout


@pytest.fixture(params=[False, True], ids=["whole", "split"])
def split(request: pytest.FixtureRequest) -> bool:
    """A configured host, whole or split."""
    chosen = bool(request.param)
    gone = ex.PlainFile("/etc/exim4/conf.d/retry/10_x", None)
    client.Exim().configure(desired(split=chosen, fragments=(gone,) if chosen else ()))
    return chosen


def test_second_run_changes_nothing(split: bool) -> None:
    before = fingerprint()
    outcome = client.Exim().configure(desired(split=split))
    assert (outcome.changed, outcome.checked) == (False, True)
    assert fingerprint() == before


def test_exim_sees_what_was_wanted(split: bool) -> None:
    assert "hosts_require_tls = *" in says("exim4", "-bP", "transport", "remote_smtp_smarthost")
    assert "ops@outside.test" in says("exim4", "-bt", "root@localhost")
    assert says("exim4", "-bP", "qualify_domain").strip() == "qualify_domain = corp.example"
    login = "${lookup{relay1.corp.example}nwildlsearch{/etc/exim4/passwd.client}}"
    assert says("exim4", "-be", login).strip() == "host:x^y:z"
    passwd = Path("/etc/exim4/passwd.client").stat()
    assert (passwd.st_mode & 0o777, Path("/etc/exim4/passwd.client").group()) == (0o640, "Debian-exim")


def test_a_dry_run_changes_nothing(split: bool) -> None:
    before = fingerprint()
    outcome = client.Exim().configure(desired(split=split, settings={"dc_readhost": "other.example"}), dry_run=True)
    assert (outcome.changed, outcome.checked, outcome.reload_required) == (True, True, True)
    assert fingerprint() == before


def test_what_was_generated_is_mended(split: bool) -> None:
    wanted = Path(client.GENERATED_FILE).read_text()
    Path(client.GENERATED_FILE).write_text("spoilt\n")
    outcome = client.Exim().configure(desired(split=split))
    assert (outcome.changed, outcome.plan.changes) == (True, ())
    assert Path(client.GENERATED_FILE).read_text() == wanted


BAD = [
    ({"settings": {"dc_localdelivery": "maildir_hoem"}}, "dc_localdelivery is maildir_hoem"),
    ({"macros": {"REMOTE_SMTP_SMARTHOST_HOST_REQUIRE_TLS": "*"}}, "did you mean REMOTE_SMTP_SMARTHOST_HOSTS_REQUIRE"),
    ({"macros": {"MESSAGE_SIZE_LIMIT": "50X"}}, 'invalid message_size_limit: invalid integer "50X"'),
    ({"macros": {"MAIN_IGNORE_BOUNCE_ERRORS_AFTER": "2dd"}}, "invalid time value for ignore_bounce_errors_after"),
    ({"macros": {"CHECK_RCPT_LOCAL_ACL_FILE": "/etc/exim4/nosuch"}}, "/etc/exim4/nosuch"),
    ({"lookups": (ex.Lookup("/etc/aliases", {"root": "a@b <c"}),)}, "malformed address: <c may not follow a@b"),
    ({"lookups": (ex.Lookup(PASSWD.path, {"a": "b"}, mode=0o600),)}, "give it group Debian-exim and mode 0640"),
    ({"files": (ex.PlainFile("/etc/nosuch/x", "x"),)}, "/etc/nosuch/x cannot be written"),
]
BAD_FRAGMENTS = [
    ("main/000_x", "mesage_size_limit = 5\n", "which is `mesage_size_limit = 5`"),
    ("retry/10_x", "* * F,2x,15m\n", "which is `* * F,2x,15m`"),
    (
        "router/150_x",
        "x:\n  driver = redirect\n  local_parts = postmaster\n  data = ${if eq{a}{b}\n",
        "curly-bracket problem",
    ),
]


@pytest.mark.parametrize(("more", "message"), BAD)
def test_bad_input_is_named_and_changes_nothing(split: bool, more: dict, message: str) -> None:
    before = fingerprint()
    with pytest.raises(ex.EximError) as caught:
        client.Exim().configure(desired(split=split, **more))
    assert message in str(caught.value)
    after = fingerprint()
    if "/etc/nosuch" not in message:
        assert after == before
    assert {path: entry[:2] for path, entry in after.items()} == {path: entry[:2] for path, entry in before.items()}
    assert not list(Path("/run").glob("postmaster.mail.*"))


@pytest.mark.parametrize(("name", "content", "message"), BAD_FRAGMENTS)
def test_bad_fragment_is_quoted_and_changes_nothing(name: str, content: str, message: str) -> None:
    client.Exim().configure(desired(split=True))
    before = fingerprint()
    with pytest.raises(ex.EximError) as caught:
        client.Exim().configure(
            desired(split=True, fragments=(ex.PlainFile(f"/etc/exim4/conf.d/{name}", content, 0o644),))
        )
    assert message in str(caught.value)
    assert fingerprint() == before


class FailsAtTheEnd(Runner):
    """Everything works until the configuration is made for real."""

    def run(self, argv: object, **options: object) -> Result:
        if list(argv) == [client.GENERATOR]:  # type: ignore[call-overload]
            raise CommandError("no room")
        return super().run(argv, **options)  # type: ignore[arg-type]


def test_everything_is_put_back_if_the_last_step_fails(split: bool) -> None:
    before = {path: entry[:2] for path, entry in fingerprint().items()}
    new = ex.Lookup("/etc/email-addresses-new", {"root": "ops@outside.test"})
    with pytest.raises(ex.EximError, match="everything was put back as it was, because no room"):
        client.Exim(runner=FailsAtTheEnd()).configure(
            desired(split=split, settings={"dc_readhost": "other.example"}, lookups=(ALIASES, PASSWD, new))
        )
    assert {path: entry[:2] for path, entry in fingerprint().items()} == before
    assert not Path(new.path).exists()


def test_trials_leave_no_trace_in_the_logs(split: bool) -> None:
    before = {path: path.stat().st_size for path in Path("/var/log/exim4").iterdir()}
    with pytest.raises(ex.EximError):
        client.Exim().configure(desired(split=split, macros={"MESSAGE_SIZE_LIMIT": "50X"}))
    assert {path: path.stat().st_size for path in Path("/var/log/exim4").iterdir()} == before
