"""The audit log: every decision about a tool in one file, each row bound to the one before it.

Whoever changes, removes or inserts a row in the middle breaks the chain. What a chain cannot show
is that its newest rows were cut off: for that, keep a copy of the newest hash elsewhere.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Protocol

import attrs
import orjson
import structlog
import trio

from actors.errors import AuditFailed
from actors.policy.audit import ENDS, AuditRow
from actors.policy.risk import Tier
from actors.ports import Audit

log: structlog.stdlib.BoundLogger = structlog.get_logger()

FILE_NAME: Final = "audit.sqlite"
SCHEMA: Final = 1
"""`user_version` of the file. Another one is not written to."""
BUSY_S: Final = 2.0
"""For another process that is writing. It has a few milliseconds to do."""
WRITE_S: Final = 4.0
"""For a row, disk and all: half of what a tool has."""
ROWS_KEPT: Final = 10_000
"""In memory: a busy day, and 10 MB."""
NOTHING: Final = "0" * 64
"""What the first row is bound to."""
CRASHED: Final = "the process ended"

_MAKE: Final = """
CREATE TABLE IF NOT EXISTS audit (
    number INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    event TEXT NOT NULL,
    call_sid TEXT NOT NULL,
    tool_call_id TEXT NOT NULL,
    tool TEXT NOT NULL,
    digest TEXT NOT NULL,
    risk TEXT NOT NULL,
    tier TEXT NOT NULL,
    caller TEXT NOT NULL,
    arguments TEXT NOT NULL,
    detail TEXT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS audit_at ON audit (at);
CREATE INDEX IF NOT EXISTS audit_call ON audit (call_sid);
"""
_SELECT: Final = "SELECT * FROM audit"
_INSERT: Final = "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


@attrs.frozen
class Written:
    """A row as it stands in the log."""

    number: int
    at: str
    """UTC, ISO 8601."""
    row: AuditRow
    previous: str
    """The hash of the row before it."""
    hash: str

    @classmethod
    def behind(cls, last: Written | None, at: datetime, row: AuditRow) -> Written:
        """The next row of a log."""
        number = 1 if last is None else last.number + 1
        previous = NOTHING if last is None else last.hash
        stamp = at.isoformat(timespec="milliseconds")
        return cls(number, stamp, row, previous, _hash(number, stamp, row, previous))

    @property
    def is_whole(self) -> bool:
        """Whether it says what it said when it was written."""
        return self.hash == _hash(self.number, self.at, self.row, self.previous)


@attrs.frozen(kw_only=True)
class Wanted:
    """Which rows to count. What is `None` is whatever it is."""

    events: Collection[str]
    since: datetime | None = None
    caller: str | None = None
    tool: str | None = None
    detail: str | None = None


class AuditLog(Audit, Protocol):
    """An `Audit` that can be asked about its rows."""

    @property
    def alone(self) -> trio.Lock:
        """Held by who counts rows, and writes one that depends on how many there were."""

    async def count(self, wanted: Wanted) -> int:
        """How many of the rows are such. Cancellable.

        Raises:
            AuditFailed: They cannot be read.

        """

    async def recover(self) -> int:
        """Note of what earlier processes began and did not end that its outcome is unknown.

        As long as another process has the log, nothing is: it may yet end it.

        Returns:
            How many there were. A log that is not there yet is not made for it.

        Raises:
            AuditFailed: The log cannot be used.

        """

    async def aclose(self) -> None:
        """Let go of the file. Idempotent; a later write opens it again."""


def first_broken(rows: Iterable[Written]) -> int | None:
    """The number of the first row that is not what was written there; `None`: the chain holds."""
    last: Written | None = None
    for row in rows:
        number, previous = (1, NOTHING) if last is None else (last.number + 1, last.hash)
        if not row.is_whole or (row.number, row.previous) != (number, previous):
            return row.number
        last = row
    return None


def unended(rows: Iterable[AuditRow]) -> list[AuditRow]:
    """The rows that `began` and came to no end."""
    open_: dict[tuple[str, str, str], AuditRow] = {}
    for row in rows:
        key = (row.call_sid, row.tool_call_id, row.digest)
        if row.event == "began":
            open_[key] = row
        elif row.event in ENDS:
            open_.pop(key, None)
    return list(open_.values())


def given_up(row: AuditRow) -> AuditRow:
    """What is written of such a row when its process is gone."""
    return attrs.evolve(row, event="unknown", detail=CRASHED)


@attrs.define(eq=False)
class MemoryAudit:
    """An `AuditLog` that only remembers: virtual time has no place for threads.

    Args:
        utc_now: The clock on the wall.
        most: How many rows it keeps. The oldest make room, and are counted no more.

    """

    utc_now: Callable[[], datetime]
    most: int = attrs.field(default=ROWS_KEPT, kw_only=True)
    alone: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    written: list[Written] = attrs.field(factory=list[Written], init=False)

    @property
    def rows(self) -> list[AuditRow]:
        """All of them, in order."""
        return [one.row for one in self.written]

    async def write(self, *rows: AuditRow) -> None:
        """See the `Audit` port."""
        await trio.lowlevel.checkpoint()
        for row in rows:
            last = self.written[-1] if self.written else None
            self.written.append(Written.behind(last, self.utc_now(), row))
        del self.written[: -self.most]

    async def count(self, wanted: Wanted) -> int:
        """See `AuditLog`."""
        await trio.lowlevel.checkpoint()
        return sum(_is_such(one, wanted) for one in self.written)

    async def recover(self) -> int:
        """See `AuditLog`."""
        lost = unended(self.rows)
        await self.write(*map(given_up, lost))
        return len(lost)

    async def aclose(self) -> None:
        """See `AuditLog`."""
        await trio.lowlevel.checkpoint()


@attrs.define(eq=False)
class SqliteAudit:
    """An `AuditLog` in a file. A row is on the disk when `write` returns.

    Several processes may write to one file; each row is bound to the last one in it.
    """

    path: Path
    utc_now: Callable[[], datetime]
    alone: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _limiter: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(1), init=False
    )
    """One thread at a time: an abandoned one still finishes before the next begins."""
    _file: _File | None = attrs.field(default=None, init=False)
    """Only the thread's."""

    async def write(self, *rows: AuditRow) -> None:
        """See the `Audit` port. Cancelled, it ends in its thread."""
        now = self.utc_now()
        await self._in_thread(lambda: self._open().append(now, rows))

    async def count(self, wanted: Wanted) -> int:
        """See `AuditLog`."""
        return await self._in_thread(lambda: self._open().count(wanted))

    async def recover(self) -> int:
        """See `AuditLog`."""
        if not self.path.exists():
            await trio.lowlevel.checkpoint()
            return 0
        return await self._in_thread(lambda: self._open().lost)

    async def aclose(self) -> None:
        """See `AuditLog`."""
        if self._file is None:
            await trio.lowlevel.checkpoint()
            return
        await trio.to_thread.run_sync(self._close, abandon_on_cancel=True, limiter=self._limiter)

    async def _in_thread(self, do: Callable[[], int]) -> int:
        """Do something with the file.

        Raises:
            AuditFailed: It could not be done, or not in time.

        """
        result = None
        with trio.move_on_after(WRITE_S):
            try:
                result = await trio.to_thread.run_sync(
                    do, abandon_on_cancel=True, limiter=self._limiter
                )
            except sqlite3.Error as error:
                raise AuditFailed(error.sqlite_errorname or type(error).__name__) from error
            except (OSError, MemoryError, RuntimeError) as error:
                raise AuditFailed(type(error).__name__) from error
        if result is None:
            raise AuditFailed(f"it took longer than {WRITE_S:g} s")
        return result

    def _open(self) -> _File:
        if self._file is None:
            self._file = _File.open(self.path, self.utc_now())
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


@attrs.define(eq=False)
class _File:
    """The open file. Blocking; only ever one thread in it."""

    db: sqlite3.Connection
    lock: int
    """A descriptor that is locked as long as this process has the file."""
    lost: int = 0
    """Executions of earlier processes that had no end."""

    @classmethod
    def open(cls, path: Path, now: datetime) -> _File:
        """Open the log, or make it.

        Raises:
            AuditFailed: It is no audit log, or one of another version.
            OSError: It cannot be had. Likewise `sqlite3.Error`.

        """
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        os.close(os.open(path, flags, 0o600))  # SQLite would make it readable for everybody.
        lock = os.open(path.with_name(f"{path.name}.lock"), flags, 0o600)
        db = None
        try:
            is_alone = _is_alone(lock)
            db = sqlite3.connect(
                path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            _check_version(path, db, 0, SCHEMA)
            db.executescript(_MAKE)
            db.execute(f"PRAGMA user_version = {SCHEMA}")
            file = cls(db, lock)
            if is_alone:
                file.lost = file.recover(now)
            fcntl.flock(lock, fcntl.LOCK_SH)
        except (AuditFailed, OSError, sqlite3.Error):
            os.close(lock)
            if db is not None:
                db.close()
            raise
        return file

    def append(self, now: datetime, rows: Iterable[AuditRow]) -> int:
        """Write rows, all or none, and wait for the disk. Returns how many there are in all."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            last = next(self._read(f"{_SELECT} ORDER BY number DESC LIMIT 1"), None)
            for row in rows:
                last = Written.behind(last, now, row)
                self.db.execute(_INSERT, _cells(last))
            self.db.execute("COMMIT")
        except sqlite3.Error:
            # On a full disk SQLite may have done that already.
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            raise
        return 0 if last is None else last.number

    def count(self, wanted: Wanted) -> int:
        """See `AuditLog`."""
        marks = ", ".join("?" * len(wanted.events))
        where, values = [f"event IN ({marks})"], list[Any](wanted.events)
        since = None if wanted.since is None else wanted.since.isoformat(timespec="milliseconds")
        for test, value in (
            ("at >= ?", since),
            ("caller = ?", wanted.caller),
            ("tool = ?", wanted.tool),
            ("detail = ?", wanted.detail),
        ):
            if value is not None:
                where.append(test)
                values.append(value)
        query = f"SELECT count(*) FROM audit WHERE {' AND '.join(where)}"  # noqa: S608 (no values)
        (count,) = self.db.execute(query, values).fetchone()
        return int(count)

    def recover(self, now: datetime) -> int:
        """Write what became of executions that had no end: nobody knows."""
        lost = unended(one.row for one in self._read(f"{_SELECT} ORDER BY number"))
        if lost:
            self.append(now, map(given_up, lost))
            log.warning("audit.unknown_outcomes", executions=len(lost))
        return len(lost)

    def close(self) -> None:
        """Let go of everything."""
        self.db.close()
        os.close(self.lock)

    def _read(self, query: str) -> Iterator[Written]:
        return map(_written, self.db.execute(query))


def read_audit(path: Path, call_sid: str | None = None) -> Sequence[Written]:
    """All rows of a log, or those of one call, without changing anything. Blocking.

    Raises:
        AuditFailed: There is none, or it cannot be read.

    """
    where, values = ("", ()) if call_sid is None else (" WHERE call_sid = ?", (call_sid,))
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)
        try:
            _check_version(path, db, SCHEMA)
            return [*map(_written, db.execute(f"{_SELECT}{where} ORDER BY number", values))]
        finally:
            db.close()
    except (sqlite3.Error, ValueError) as error:
        raise AuditFailed(f"{path}: {type(error).__name__}") from error


def _check_version(path: Path, db: sqlite3.Connection, *known: int) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version not in known:
        raise AuditFailed(f"{path.name} is of version {version}, and this is {SCHEMA}")


def _is_alone(lock: int) -> bool:
    """Whether no other process has the log. What one of those began, it may yet end."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_such(one: Written, wanted: Wanted) -> bool:
    row = one.row
    since = wanted.since
    return (
        row.event in wanted.events
        and (since is None or one.at >= since.isoformat(timespec="milliseconds"))
        and all(
            asked is None or asked == found
            for asked, found in (
                (wanted.caller, row.caller),
                (wanted.tool, row.tool),
                (wanted.detail, row.detail),
            )
        )
    )


def _cells(one: Written) -> tuple[int | str, ...]:
    return (one.number, one.at, *_texts(one.row), one.previous, one.hash)


def _texts(row: AuditRow) -> tuple[str, ...]:
    return (
        *(row.event, row.call_sid, row.tool_call_id, row.tool, row.digest, row.risk),
        *(row.tier.name.lower(), row.caller, row.arguments, row.detail),
    )


def _written(cells: tuple[Any, ...]) -> Written:
    """A row from its cells.

    Raises:
        ValueError: They hold what none of ours would.

    """
    number, at, event, call_sid, tool_call_id, tool, digest, risk, tier, *rest = cells
    caller, arguments, detail, previous, hashed = rest
    try:
        known = Tier[tier.upper()]
    except KeyError:
        raise ValueError(f"row {number} has no tier") from None
    row = AuditRow(
        event=event, call_sid=call_sid, tool_call_id=tool_call_id, tool=tool, digest=digest,
        risk=risk, tier=known, caller=caller, arguments=arguments, detail=detail,
    )  # fmt: skip
    return Written(number, at, row, previous, hashed)


def _hash(number: int, at: str, row: AuditRow, previous: str) -> str:
    return sha256(orjson.dumps([number, at, *_texts(row), previous])).hexdigest()
