# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same on PostgreSQL, where this machine has its programs."""

from __future__ import annotations

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

import pytest
import sqlalchemy as sa
from postmaster_restricted_list.config import SqlGroup
from postmaster_restricted_list.groups import GroupError, Person, members
from postmaster_restricted_list.intake import Intake
from postmaster_restricted_list.store import BusyError

from .conftest import ANNA, World, eventually, mail

FOLDERS = [*sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True), os.environ.get("PATH", "")]


@pytest.fixture
def database() -> Iterator[str]:
    """The URL of a server that only this test knows, on a socket."""
    initdb = shutil.which("initdb", path=os.pathsep.join(FOLDERS))
    if initdb is None:
        pytest.skip("no PostgreSQL here")
    # Not below pytest's folders, which are root's alone, as it does not run as root.
    with tempfile.TemporaryDirectory(prefix="restricted-list-") as name:
        folder, as_user = Path(name), {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid}
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        words = [initdb, "-D", folder / "data", "-U", "list", "--auth=trust", "-E", "UTF8"]
        subprocess.run(words, check=True, capture_output=True, cwd=folder, **as_user)
        words = [Path(initdb).parent / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses="]
        server = subprocess.Popen(words, cwd=folder, stderr=subprocess.DEVNULL, **as_user)
        try:
            eventually((folder / ".s.PGSQL.5432").exists, "PostgreSQL")
            yield f"postgresql+psycopg://list@/postgres?host={folder}"
        finally:
            server.send_signal(signal.SIGINT)  # without waiting for clients
            server.wait(60)


def test_a_mail_goes_out_once(world: World, database: str) -> None:
    world.data["database"] = database
    eventually(lambda: _answers(world), "the database")
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


def test_a_group_of_a_table(world: World, database: str) -> None:
    world.data["database"] = database
    eventually(lambda: _answers(world), "the database")
    engine = sa.create_engine(database)
    with engine.begin() as db:
        db.execute(sa.text("CREATE TABLE people (mail text, quiet boolean)"))
        db.execute(sa.text("INSERT INTO people VALUES ('one@a.example', false), ('two@b.example', true)"))
    query = "SELECT mail, quiet FROM people ORDER BY mail"
    group = SqlGroup(kind="sql", url=database, query=query)
    assert members("g", group) == [Person("one@a.example"), Person("two@b.example", True)]
    world.data["groups"]["table"] = {"kind": "sql", "url": database, "query": query}
    assert Intake(world.config, world.store, lambda: None).take(mail(world.token(groups=("table",)))) == (
        "250 2.0.0 it goes out to 1 recipients"
    )
    with pytest.raises(GroupError, match=r'^the group g cannot be read \(sql\): .*column "nobody" does not exist$'):
        members("g", group.model_copy(update={"query": "SELECT nobody FROM people"}))
    engine.dispose()


def _answers(world: World) -> bool:
    try:
        world.store.opted_out()
    except Exception:
        return False
    return True
