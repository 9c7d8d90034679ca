# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The staged copy, what is made of Postfix's complaints, and interrupted commits."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.postmaster.mail.plugins.module_utils import (
    _files,
    _postfix_client,
    _postfix_complaints,
    _postfix_plan,
    _postfix_service,
)
from ansible_collections.postmaster.mail.plugins.module_utils._command import Result, Runner
from ansible_collections.postmaster.mail.plugins.module_utils._postfix_client import CheckFailed, PostfixClient
from ansible_collections.postmaster.mail.plugins.module_utils._postfix_trial import Trial

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="main.cf belongs to root")
LMDB = b"\0" * 16 + struct.pack("=I", 0xBEEFC0DE) + b"\0" * 100


class FakePostfix(Runner):
    """postmap that writes a database, everything else is silent; remembers what was started."""

    def __init__(self, complaint: str = "") -> None:
        self.started: list[tuple[str, ...]] = []
        self.complaint = complaint

    def run(self, argv: Sequence[str], **options: Any) -> Result:
        self.started.append(tuple(argv))
        if argv[0] in ("postmap", "postalias") and "-q" not in argv:
            Path(argv[-1].partition(":")[2] + ".lmdb").write_bytes(LMDB)
        said = self.complaint if argv[0] == "postconf" else ""
        return Result(tuple(argv), 0, "daemon_directory = /nowhere\nmail_owner = root\n" if "-x" in argv else "", said)


class Client(PostfixClient):
    """A client on a host with a fake Postfix that always starts."""

    def installed(self) -> bool:
        return True

    def _judge_values(self, plan: _postfix_plan.Plan, daemons: str) -> list[str]:
        return []

    def _dialogue(self, trial: Trial, plan: _postfix_plan.Plan, settings: dict[str, str]) -> list[str]:
        return []


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    directory = tmp_path / "postfix"
    directory.mkdir()
    (directory / "main.cf").write_text("# ours\nrelayhost =\n")
    (directory / "master.cf").write_text("smtp inet n - y - - smtpd\n")
    return directory


def params(etc: Path, **changes: Any) -> dict[str, Any]:
    passwd = {"path": f"{etc}/passwd", "type": "lmdb", "secret": True, "entries": {"[relay]": "user:hidden"}}
    return {
        "config_directory": str(etc),
        "main": {"relayhost": "[relay]", "smtp_sasl_password_maps": f"lmdb:{etc}/passwd"},
        "master": [{"service": "smtp", "type": "inet", "chroot": "no"}],
        "maps": [passwd],
        "files": [{"path": f"{etc}/mailname", "content": "corp.example\n"}],
        **changes,
    }


def snapshot(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mode) for path in sorted(directory.iterdir())}


@needs_root
def test_once_and_again(etc: Path) -> None:
    runner = FakePostfix()
    outcome = _postfix_service.run(params(etc), check_mode=False, client=Client(runner=runner))
    assert outcome.as_result()["changed_parameters"] == ["smtp/inet", "relayhost", "smtp_sasl_password_maps"]
    assert (
        etc / "main.cf"
    ).read_text() == f"# ours\nrelayhost = [relay]\nsmtp_sasl_password_maps = lmdb:{etc}/passwd\n"
    assert [(etc / name).stat().st_mode & 0o777 for name in ("passwd", "passwd.lmdb")] == [0o600, 0o600]
    assert sum(argv[0] == "postmap" and "-q" not in argv for argv in runner.started) == 1
    assert not any("hidden" in word for argv in runner.started for word in argv)
    runner.started.clear()
    again = _postfix_service.run(params(etc), check_mode=False, client=Client(runner=runner))
    assert not again.plan.changed and runner.started == []


@needs_root
def test_check_mode_says_the_same_and_writes_nothing(etc: Path) -> None:
    before = snapshot(etc)
    predicted = _postfix_service.run(params(etc), check_mode=True, client=Client(runner=FakePostfix()))
    assert snapshot(etc) == before
    done = _postfix_service.run(params(etc), check_mode=False, client=Client(runner=FakePostfix()))
    assert predicted.as_result() == done.as_result()


@needs_root
def test_a_complaint_leaves_everything_as_it_was(etc: Path) -> None:
    before = snapshot(etc)
    runner = FakePostfix("postconf: warning: main.cf: unused parameter: relayhost=[relay]")
    with pytest.raises(CheckFailed) as caught:
        _postfix_service.run(params(etc), check_mode=False, client=Client(runner=runner))
    assert caught.value.problems == (
        "postconf: warning: main.cf: unused parameter: relayhost=[relay] [main.cf line 2: relayhost = [relay]]",
    )
    assert snapshot(etc) == before
    assert not [name for name in os.listdir("/run") if name.startswith("postmaster.mail-postconf-")]


@needs_root
@pytest.mark.parametrize("steps", range(7))
def test_a_kill_between_two_writes_is_mended(etc: Path, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    write, done = _files.write_atomic, []

    def killed(path: str, *args: Any, **options: Any) -> None:
        if len(done) == steps:
            raise KeyboardInterrupt
        done.append(os.path.basename(path))
        write(path, *args, **options)

    monkeypatch.setattr(_files, "write_atomic", killed)
    mark = etc.parent / "run" / "pending"
    wanted = params(etc, pending_file=str(mark))
    try:
        _postfix_service.run(wanted, check_mode=False, client=Client(runner=FakePostfix()))
    except KeyboardInterrupt:
        pass
    order = ["pending", "mailname", "passwd", "passwd.lmdb", "master.cf", "main.cf"]
    assert done == order[:steps]
    monkeypatch.undo()
    (etc / ".main.cf.abcd1234").write_text("left behind")
    again = _postfix_service.run(wanted, check_mode=False, client=Client(runner=FakePostfix()))
    assert again.plan.changed is (steps < len(order))
    # However far it came, this run or an earlier one has the daemon restarted, until somebody says that it was.
    for outcome in (again, _postfix_service.run(wanted, check_mode=True, client=Client(runner=FakePostfix()))):
        said = outcome.as_result()
        assert (said["changed"], said["reload_required"], said["restart_required"]) == (True, True, True)
    mark.unlink()
    assert (etc / "main.cf").read_text().splitlines()[1] == "relayhost = [relay]"
    assert (etc / "passwd.lmdb").stat().st_mtime_ns >= (etc / "passwd").stat().st_mtime_ns
    assert (etc / ".main.cf.abcd1234").exists() is (steps == len(order))
    assert not _postfix_service.run(params(etc), check_mode=True, client=Client(runner=FakePostfix())).plan.changed


@needs_root
def test_the_copy_never_shares_a_file_that_is_written(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_postfix_client, "COPY_LIMIT", 10)
    _postfix_service.run(params(etc), check_mode=False, client=Client(runner=FakePostfix()))
    os.utime(etc / "passwd")
    before = snapshot(etc)
    outcome = _postfix_service.run(params(etc), check_mode=True, client=Client(runner=FakePostfix()))
    assert [change.before for change in outcome.plan.changes] == ["older than its source\n"]
    assert snapshot(etc) == before


@needs_root
@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"path": "{etc}/no/t"}, "{etc}/no/t cannot be written: there is no directory {etc}/no; create it first"),
        ({"path": "{etc}/t", "owner": "nobody-here"}, "{etc}/t: no such user or group: "),
    ],
)
def test_what_would_fail_halfway_is_refused_first(etc: Path, entry: dict[str, str], message: str) -> None:
    before = snapshot(etc)
    item = {"type": "lmdb", "entries": {"a": "b"}, **{k: v.replace("{etc}", str(etc)) for k, v in entry.items()}}
    with pytest.raises(_files.FileError) as caught:
        _postfix_service.run(params(etc, maps=[item]), check_mode=False, client=Client(runner=FakePostfix()))
    assert str(caught.value).startswith(message.replace("{etc}", str(etc)))
    assert snapshot(etc) == before


@pytest.mark.parametrize(
    ("head", "kind", "sound"),
    [
        (LMDB, "lmdb", True),
        (b"", "lmdb", False),
        (b"not a database, truly", "lmdb", False),
        (b"\0" * 12 + struct.pack("=I", 0x061561), "hash", True),
        (b"\0" * 12 + struct.pack("=I", 0x053162), "btree", True),
        (b"\0" * 12 + struct.pack("=I", 0x053162), "hash", False),
    ],
)
def test_magic_numbers(tmp_path: Path, head: bytes, kind: str, sound: bool) -> None:
    path = tmp_path / "db"
    path.write_bytes(head)
    found = _postfix_client._read_compiled(str(path), kind)
    assert found is not None and found.sound is sound


# ---------------------------------------------------------------- paths of the copy


def test_paths_lead_into_the_copy_and_back() -> None:
    trial = Trial("/run/x", "/run/x/etc", "/run/x/queue", "/run/x/data", "/run/x/etc/.log")
    trial.moved = {"/etc/postfix": trial.etc, "/etc/aliases": "/run/x/etc/.outside/etc/aliases"}
    text = "a = lmdb:/etc/aliases, pcre:/etc/postfix/h, /opt/etc/postfix/h, /etc/aliases.d, /etc/postfixed"
    moved = "a = lmdb:/run/x/etc/.outside/etc/aliases, pcre:/run/x/etc/h, /opt/etc/postfix/h, /etc/aliases.d, /etc/postfixed"
    assert trial.redirect(text) == moved
    assert trial.restore(moved) == text
    assert trial.place("/etc/postfix/t") == "/run/x/etc/t"
    assert trial.place("/srv/t") == "/run/x/etc/.outside/srv/t"


# ---------------------------------------------------------------- complaints


def test_complaints_are_warnings_and_worse_without_time_and_process() -> None:
    log = (
        "Nov 20 11:17:25 host postfix/master[1]: daemon started -- version 3.7.11\n"
        'Nov  2 11:17:25 host postfix/smtpd[1572]: fatal: Invalid TLS level "mya"\n'
        "Nov 20 11:17:26 host postfix/master[1567]: warning: process /usr/lib/postfix/sbin/virtual pid 1579 exit status 1\n"
        "Nov 20 11:17:26 host postfix/smtpd[15]: warning: connect to Milter service inet:127.0.0.1:11332: Connection refused\n"
        "Nov 20 11:17:26 host postfix/smtpd[15]: warning: dict_nis_init: NIS domain name not set - NIS lookups disabled\n"
    )
    assert _postfix_complaints.complaints(log) == ['postfix/smtpd: fatal: Invalid TLS level "mya"']


MAIN = """\
smtpd_tls_security_level = mya
smtp_tls_CAfile = /etc/ssl/nope.pem
transport_maps = lmbd:/etc/postfix/transport
mydestination = $myhostnam, localhost
myhostname = a.test
"""


@pytest.mark.parametrize(
    ("problem", "place"),
    [
        ('postfix/smtpd: fatal: Invalid TLS level "mya"', "main.cf line 1: smtpd_tls_security_level = mya"),
        ("postfix/smtp: warning: calling fopen(/etc/ssl/nope.pem, r):", "main.cf line 2: smtp_tls_CAfile = /etc/ssl/nope.pem"),
        ("postfix/smtpd: error: unsupported dictionary type: lmbd", "main.cf line 3: transport_maps = lmbd:/etc/postfix/transport"),
        ("postfix/smtpd: error: open database /etc/postfix/transport.lmdb: No such file", "main.cf line 3: transport_maps = lmbd:/etc/postfix/transport"),
        ("postconf: warning: /etc/postfix/main.cf: undefined parameter: myhostnam", "main.cf line 4: mydestination = $myhostnam, localhost"),
        ("postmap: fatal: parameter myhostname: bad parameter value: x", "main.cf line 5: myhostname = a.test"),
        ("postfix/smtpd: fatal: something else", ""),
    ],
)  # fmt: skip
def test_complaints_name_parameter_and_line(problem: str, place: str) -> None:
    plan = _postfix_plan.Plan(_postfix_plan.Request(), MAIN, "")
    said = _postfix_complaints.explain(problem, plan)
    assert said.endswith(f" [{place}]") if place else said == problem


def test_each_complaint_once_and_no_echoes() -> None:
    said = [
        'postfix/smtp: fatal: Invalid TLS level "x"',
        'postfix/relay/smtp: fatal: Invalid TLS level "x"',
        "postfix/smtpd: warning: TLS library problem: error:80000002",
    ]
    assert _postfix_complaints.condense(said) == said[:1]
    assert _postfix_complaints.condense(said[2:]) == said[2:]


@pytest.mark.parametrize(
    ("said", "lacks"),
    [
        (["postfix/smtpd: error: open database /x.lmdb: No such file or directory"], True),
        (["postfix/smtpd: warning: disabling TLS support", "postfix/smtpd: warning: No such file or directory"], True),
        (["map /x: postmap: fatal: unsupported dictionary type: lmdb"], True),
        (["postfix/smtpd: warning: No such file or directory", 'postfix/smtp: fatal: Invalid TLS level "x"'], False),
        (["master.cf: x/inet: smtpd answers with an error: 451"], False),
    ],
)
def test_what_is_only_not_there_yet(said: list[str], lacks: bool) -> None:
    assert _postfix_complaints.lacking(said) is lacks


# ---------------------------------------------------------------- secrets


def test_only_secret_values_are_hidden() -> None:
    found = _postfix_service.secrets(
        {
            "maps": [
                {"entries": {"a": "open"}, "secret": False},
                {"entries": {"host": "user:hidden", "n": 5, "l": ["x1", "x2"], "none": None}, "secret": True},
                {"entries": [{"key": "/k/", "value": "hidden2"}], "secret": True},
            ],
            "files": [{"content": "open"}, {"content": "password = hidden3\n\n", "secret": True}],
        }
    )
    assert found == {"user:hidden", "5", "x1", "x2", "hidden2", "password = hidden3"}
