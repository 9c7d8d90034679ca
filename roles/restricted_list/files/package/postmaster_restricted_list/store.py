# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: what outlives the process, in SQLite or PostgreSQL: tokens, the mails that go out, and who wants none.

A mail that was taken in is a job with a copy for each recipient. Each copy has a state of its own, so that a process
that comes after one that was killed goes on where that one stood.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

WAITING, SENT, FAILED = "waiting", "sent", "failed"
LIST, NOTICE = "list", "notice"
REVOKED = 0.0  # what stands for the time at which a revoked token expires

_META = sa.MetaData()
_TOKENS = sa.Table(
    "tokens",
    _META,
    sa.Column("number", sa.String(64), primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),
    sa.Column("sender", sa.String(254), nullable=False),
    sa.Column("creator", sa.String(254), nullable=False),
    sa.Column("notify", sa.String(254), nullable=False),
    sa.Column("groups", sa.JSON, nullable=False),
    sa.Column("addresses", sa.JSON, nullable=False),
    sa.Column("shown", sa.String(16), nullable=False),
    sa.Column("expires", sa.Float, nullable=False),
    sa.Column("used", sa.Float),
)
_JOBS = sa.Table(
    "jobs",
    _META,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("token", sa.ForeignKey("tokens.number"), unique=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("raw", sa.LargeBinary, nullable=False),
    sa.Column("accepted", sa.Float, nullable=False),
    sa.Column("ended", sa.Float),
)
_COPIES = sa.Table(
    "copies",
    _META,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("job", sa.ForeignKey("jobs.id"), nullable=False, index=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("recipient", sa.String(254), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("answer", sa.Text, nullable=False, default=""),
    sa.Column("tries", sa.Integer, nullable=False, default=0),
    sa.Column("due", sa.Float, nullable=False),
    sa.Index("copies_due", "state", "due", "id"),
)
_OPTED_OUT = sa.Table("opted_out", _META, sa.Column("address", sa.String(254), primary_key=True))


class UsedError(Exception):
    """The token was used for another mail, or taken back."""


class UnknownError(ValueError):
    """There is no such token, or nothing can be done about it; the text says which."""


class BusyError(Exception):
    """Another process sends from this database."""


@dataclass(frozen=True)
class Token:
    """What a token allows: one mail of ``sender``. Times are in seconds since the epoch; ``used`` None: not yet."""

    number: str
    digest: str
    sender: str
    creator: str
    notify: str
    groups: list[str]
    addresses: list[str]
    shown: str
    expires: float
    used: float | None = None

    @property
    def revoked(self) -> bool:
        """Whether it was taken back."""
        return self.expires == REVOKED

    def state(self, now: float) -> str:
        """What has become of it: ``used``, ``revoked``, ``expired``, or else ``good``."""
        if self.used is not None:
            return "used"
        return "revoked" if self.revoked else "expired" if self.expires <= now else "good"


@dataclass(frozen=True)
class Job:
    """A mail that goes out. Notices have no token."""

    id: int
    kind: str
    raw: bytes
    accepted: float
    token: Token | None


@dataclass(frozen=True)
class Copy:
    """One recipient's."""

    id: int
    job: int
    number: int
    recipient: str
    tries: int


@dataclass(frozen=True)
class Outcome:
    """How many copies of a job were sent, and which were not, each with the reason."""

    sent: int
    failed: list[tuple[str, str]] = field(default_factory=list)
    waiting: int = 0


@dataclass(frozen=True)
class Notice:
    """A mail of the service's own, whole as it goes out."""

    recipient: str
    raw: bytes


Notices = Sequence[Notice]


class Store:
    """All methods raise sqlalchemy.exc.SQLAlchemyError; each is one transaction."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url, pool_pre_ping=True)
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _durable)
        self._lock: IO[str] | sa.Connection | None = None

    def prepare(self) -> None:
        """Make the tables that there are not yet."""
        _META.create_all(self._engine)

    def alone(self) -> None:
        """Be the only process that sends, until this one ends. Raises :class:`BusyError`."""
        path = self._engine.url.database
        if self._engine.dialect.name == "sqlite" and path:
            self._lock = open(Path(f"{path}.lock"), "w", encoding="ascii", opener=_private)  # noqa: SIM115
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BusyError(f"another process sends from {path}") from None
        elif self._engine.dialect.name == "postgresql":
            self._lock = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            if not self._lock.scalar(sa.text("SELECT pg_try_advisory_lock(725263)")):
                self._give_back()
                raise BusyError("another process sends from this database")

    def still_alone(self) -> None:
        """See that it is: PostgreSQL forgets who was, as it is started anew. Raises :class:`BusyError`."""
        if self._engine.dialect.name != "postgresql":
            return
        if isinstance(self._lock, sa.Connection):
            try:
                self._lock.scalar(sa.text("SELECT 1"))
            except OperationalError:
                self._give_back()
        if self._lock is None:
            self.alone()

    def _give_back(self) -> None:
        lock, self._lock = self._lock, None
        if isinstance(lock, sa.Connection):
            lock.invalidate()  # else the pool keeps it, and the server the lock with it
        if lock is not None:
            lock.close()

    def close(self) -> None:
        """Give back what is held."""
        self._give_back()
        self._engine.dispose()

    # -- tokens -----------------------------------------------------------------------------------

    def add(self, token: Token) -> None:
        """Keep a new token."""
        with self._engine.begin() as db:
            db.execute(_TOKENS.insert().values(vars(token)))

    def by_digest(self, digest: str) -> Token | None:
        """The token with this digest."""
        return self._token(_TOKENS.c.digest == digest)

    def by_number(self, number: str) -> Token | None:
        """The token with this number."""
        return self._token(_TOKENS.c.number == number)

    def _token(self, where: sa.ColumnElement[bool]) -> Token | None:
        with self._engine.connect() as db:
            row = db.execute(_TOKENS.select().where(where)).first()
        return None if row is None else Token(**row._mapping)

    def tokens(self, beginning: str = "") -> list[Token]:
        """Those whose number begins so, the one that expires last first."""
        where = _TOKENS.c.number.startswith(beginning, autoescape=True)
        with self._engine.connect() as db:
            rows = db.execute(_TOKENS.select().where(where).order_by(_TOKENS.c.expires.desc(), _TOKENS.c.number))
            return [Token(**row._mapping) for row in rows]

    def revoke(self, beginning: str) -> Token:
        """Take back the one token whose number begins so, as it was. Raises :class:`UnknownError`."""
        found = self.tokens(beginning) if beginning else []
        if len(found) != 1:
            many = f"{len(found)} tokens begin with {beginning}: give more of the number"
            raise UnknownError(many if found else f"there is no token {beginning}")
        free = (_TOKENS.c.number == found[0].number) & _TOKENS.c.used.is_(None)
        with self._engine.begin() as db:
            if db.execute(_TOKENS.update().where(free).values(expires=REVOKED)).rowcount != 1:
                raise UnknownError(f"the token {beginning} has been used: its mail is on its way")
        return found[0]

    def purge(self, before: float) -> tuple[int, int]:
        """Forget mails that ended before, tokens that were used or expired before, and revoked ones; the numbers.

        A mail that still goes out stays, and so does its token.
        """
        old = sa.select(_JOBS.c.id).where(_JOBS.c.ended < before)
        over = sa.case((_TOKENS.c.used.is_(None), _TOKENS.c.expires), else_=_TOKENS.c.used) < before
        kept = sa.select(_JOBS.c.token).where(_JOBS.c.token.is_not(None))
        with self._engine.begin() as db:
            mails = db.scalar(sa.select(sa.func.count()).select_from(old.where(_JOBS.c.kind == LIST).subquery()))
            db.execute(_COPIES.delete().where(_COPIES.c.job.in_(old)))
            db.execute(_JOBS.delete().where(_JOBS.c.ended < before))
            tokens = db.execute(_TOKENS.delete().where(over & _TOKENS.c.number.not_in(kept))).rowcount
        return tokens, mails or 0

    # -- jobs -------------------------------------------------------------------------------------

    def known(self, token: Token, digest: str) -> bool:
        """Whether the token was used for this very mail."""
        with self._engine.connect() as db:
            where = (_JOBS.c.token == token.number) & (_JOBS.c.digest == digest)
            return db.execute(sa.select(_JOBS.c.id).where(where)).first() is not None

    def accept(
        self,
        token: Token,
        raw: bytes,
        digest: str,
        recipients: Iterable[str],
        faults: Iterable[tuple[str, str]],
        now: float,
        notices: Notices = (),
    ) -> None:
        """Use the token up and have the mail go out, both or neither. Raises :class:`UsedError`: another was faster."""
        with self._engine.begin() as db:
            free = (_TOKENS.c.number == token.number) & _TOKENS.c.used.is_(None) & (_TOKENS.c.expires == token.expires)
            if db.execute(_TOKENS.update().where(free).values(used=now)).rowcount != 1:
                raise UsedError
            job = _job(db, LIST, raw, now, token=token.number, digest=digest)
            rows = [(one, WAITING, "") for one in recipients] + [(one, FAILED, why) for one, why in faults]
            _copies(db, job, rows, now)
            _notify(db, notices, now)

    def notify(self, notices: Notices, now: float) -> None:
        """Have notices go out."""
        if notices:
            with self._engine.begin() as db:
                _notify(db, notices, now)

    def waiting(self, now: float, limit: int) -> list[Copy]:
        """Copies to send, those that are due longest first."""
        columns = (_COPIES.c.id, _COPIES.c.job, _COPIES.c.number, _COPIES.c.recipient, _COPIES.c.tries)
        where = (_COPIES.c.state == WAITING) & (_COPIES.c.due <= now)
        with self._engine.connect() as db:
            rows = db.execute(sa.select(*columns).where(where).order_by(_COPIES.c.due, _COPIES.c.id).limit(limit))
            return [Copy(**row._mapping) for row in rows]

    def job(self, number: int) -> Job:
        """A job of a copy."""
        with self._engine.connect() as db:
            row = db.execute(_JOBS.select().where(_JOBS.c.id == number)).one()
        token = self.by_number(row.token) if row.token else None
        return Job(row.id, row.kind, row.raw, row.accepted, token)

    def put_off(self, copy: Copy, answer: str, due: float) -> None:
        """Try a copy again later."""
        with self._engine.begin() as db:
            changed = {"answer": answer, "tries": copy.tries + 1, "due": due}
            db.execute(_COPIES.update().where(_COPIES.c.id == copy.id).values(changed))

    def end(self, copy: Copy, state: str, answer: str, now: float, done: Callable[[Outcome], Notices]) -> None:
        """Have a copy at its end, and with the last of a job the job, with the notices that ``done`` makes of it."""
        with self._engine.begin() as db:
            db.execute(_COPIES.update().where(_COPIES.c.id == copy.id).values(state=state, answer=answer))
            left = (_COPIES.c.job == copy.job) & (_COPIES.c.state == WAITING)
            if db.execute(sa.select(_COPIES.c.id).where(left).limit(1)).first() is None:
                # Nobody needs the text any more.
                db.execute(_JOBS.update().where(_JOBS.c.id == copy.job).values(ended=now, raw=b""))
                _notify(db, done(_outcome(db, copy.job)), now)

    def outcomes(self, limit: int = 50) -> list[tuple[int, float, float | None, Token, Outcome]]:
        """The latest mails: number, time of acceptance, time of the end, token, and what became of the copies."""
        with self._engine.connect() as db:
            jobs = _JOBS.select().where(_JOBS.c.kind == LIST).order_by(_JOBS.c.id.desc()).limit(limit)
            found = [(row, _outcome(db, row.id)) for row in db.execute(jobs).all()]
        tokens = [(row, self.by_number(row.token), outcome) for row, outcome in found]
        return [(row.id, row.accepted, row.ended, token, outcome) for row, token, outcome in tokens if token]

    # -- who wants none ---------------------------------------------------------------------------

    def opt_out(self, address: str) -> None:
        """Send an address nothing any more."""
        with self._engine.begin() as db:
            db.execute(_OPTED_OUT.delete().where(_OPTED_OUT.c.address == address))
            db.execute(_OPTED_OUT.insert().values(address=address))

    def opt_in(self, address: str) -> bool:
        """Send to it again; whether it had opted out."""
        with self._engine.begin() as db:
            return bool(db.execute(_OPTED_OUT.delete().where(_OPTED_OUT.c.address == address)).rowcount)

    def opted_out(self) -> set[str]:
        """All who want nothing."""
        with self._engine.connect() as db:
            return set(db.execute(sa.select(_OPTED_OUT.c.address)).scalars())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _durable(connection: Any, dummy: object) -> None:
    """What was committed outlives a power cut; writers of several processes wait for each other."""
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _job(db: sa.Connection, kind: str, raw: bytes, now: float, *, token: str | None = None, digest: str = "") -> int:
    row = {"kind": kind, "raw": raw, "accepted": now, "token": token, "digest": digest}
    key = db.execute(_JOBS.insert().values(row)).inserted_primary_key
    return int(key[0]) if key else 0


def _copies(db: sa.Connection, job: int, rows: Iterable[tuple[str, str, str]], now: float) -> None:
    copies = [
        {"job": job, "number": number, "recipient": recipient[:254], "state": state, "answer": answer, "due": now}
        for number, (recipient, state, answer) in enumerate(rows, 1)
    ]
    db.execute(_COPIES.insert(), copies)


def _notify(db: sa.Connection, notices: Notices, now: float) -> None:
    for notice in notices:
        _copies(db, _job(db, NOTICE, notice.raw, now), [(notice.recipient, WAITING, "")], now)


def _outcome(db: sa.Connection, job: int) -> Outcome:
    columns = (_COPIES.c.recipient, _COPIES.c.state, _COPIES.c.answer)
    rows = db.execute(sa.select(*columns).where(_COPIES.c.job == job).order_by(_COPIES.c.number)).all()
    failed = [(row.recipient, row.answer) for row in rows if row.state == FAILED]
    count = {state: sum(row.state == state for row in rows) for state in (SENT, WAITING)}
    return Outcome(count[SENT], failed, count[WAITING])
