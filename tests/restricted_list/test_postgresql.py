# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same on PostgreSQL, where this machine has its programs."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from postmaster_restricted_list.config import SqlGroup
from postmaster_restricted_list.fanout import Fanout
from postmaster_restricted_list.groups import GroupError, Person, members
from postmaster_restricted_list.intake import Intake
from postmaster_restricted_list.relay import Relay
from postmaster_restricted_list.store import BusyError
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from .conftest import ANNA, World, eventually, mail

FOLDERS = [*sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True), os.environ.get("PATH", "")]


class Server:
    """PostgreSQL on a socket, which only one test knows. It does not run as root."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        self._process: subprocess.Popen[bytes] | None = None
        self._as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid}
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        words = [programs / "initdb", "-D", folder / "data", "-U", "list", "--auth=trust", "-E", "UTF8"]
        subprocess.run(words, check=True, capture_output=True, cwd=folder, **self._as_user)
        self.url = f"postgresql+psycopg://list@/postgres?host={folder}"

    def start(self) -> None:
        words = [
            self._programs / "postgres",
            "-D",
            self._folder / "data",
            "-k",
            self._folder,
            "-c",
            "listen_addresses=",
        ]
        self._process = subprocess.Popen(words, cwd=self._folder, stderr=subprocess.DEVNULL, **self._as_user)
        eventually(self._answers, "PostgreSQL")

    def _answers(self) -> bool:
        engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        with contextlib.suppress(OperationalError), engine.connect():
            return True
        return False

    def stop(self) -> None:
        """Without waiting for clients."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)


@pytest.fixture
def server(world: World) -> Iterator[Server]:
    """The database of the world."""
    initdb = shutil.which("initdb", path=os.pathsep.join(FOLDERS))
    if initdb is None:
        pytest.skip("no PostgreSQL here")
    # Not below pytest's folders, which are root's alone.
    with tempfile.TemporaryDirectory(prefix="restricted-list-") as name:
        made = Server(Path(initdb).parent, Path(name))
        made.start()
        world.data["database"] = made.url
        yield made
        made.stop()


def test_a_mail_goes_out_once(world: World, server: Server) -> None:
    token = world.token()
    raw = mail(token)
    with world.running():
        assert world.send(raw)[0] == (250, "2.0.0 it goes out to 2 recipients")
        assert world.send(raw)[0] == (250, "2.0.0 it goes out already")
        assert world.send(mail(token, subject="Again"))[0] == (550, "5.7.1 the token has been used: ask for a new one")
        eventually(lambda: world.relay.notices(ANNA), "the notice")
        with pytest.raises(BusyError, match="^another process sends from this database$"):
            world.store.alone()
    assert Counter(one.recipient for one in world.relay.copies()) == {"one@a.example": 1, "two@b.example": 1}
    world.store.opt_out("one@a.example")
    world.store.opt_out("one@a.example")
    assert world.store.opted_out() == {"one@a.example"}
    assert [outcome.sent for *dummy, outcome in world.store.outcomes()] == [2]
    assert world.store.waiting(time.time(), 9) == []


def test_a_group_of_a_table(world: World, server: Server) -> None:
    engine = sa.create_engine(server.url)
    with engine.begin() as db:
        db.execute(sa.text("CREATE TABLE people (mail text, quiet boolean)"))
        db.execute(sa.text("INSERT INTO people VALUES ('one@a.example', false), ('two@b.example', true)"))
    query = "SELECT mail, quiet FROM people ORDER BY mail"
    group = SqlGroup(kind="sql", url=server.url, query=query)
    assert members("g", group) == [Person("one@a.example"), Person("two@b.example", True)]
    world.data["groups"]["table"] = {"kind": "sql", "url": server.url, "query": query}
    assert Intake(world.config, world.store, lambda: None).take(mail(world.token(groups=("table",)))) == (
        "250 2.0.0 it goes out to 1 recipients"
    )
    with pytest.raises(GroupError, match=r'^the group g cannot be read \(sql\): .*column "nobody" does not exist$'):
        members("g", group.model_copy(update={"query": "SELECT nobody FROM people"}))
    engine.dispose()


def test_a_server_that_is_started_anew_has_one_process_send(world: World, server: Server) -> None:
    """It has forgotten who was the one, so the spare may be faster; who was the one sees that before it sends."""
    first, spare = world.store, world.store
    first.alone()
    with pytest.raises(BusyError, match="^another process sends from this database$"):
        spare.alone()
    config = world.config
    fanout = Fanout(config, config.secret(), first, Relay(config.relay))
    assert Intake(config, first, lambda: None).take(mail(world.token())).startswith("250 ")
    server.stop()
    with pytest.raises(SQLAlchemyError):
        fanout.send_due()
    server.start()
    spare.alone()
    with pytest.raises(BusyError, match="^another process sends from this database$"):
        fanout.send_due()
    assert world.relay.got == []
    spare.close()

    def sent() -> int:
        with contextlib.suppress(BusyError):  # the server sees a moment later that nobody is there any more
            return fanout.send_due()
        return 0

    assert eventually(sent, "the first one's turn") == 3  # two copies, and a notice
    assert len(world.relay.copies()) == 2
    with pytest.raises(BusyError):
        world.store.alone()
    first.close()
