"""How much may go out: calls, messages and money of the last 24 hours, over all callers.

Whatever is going to be spent is reserved before it is asked for, and stays reserved unless it is
certain that nothing went out. Who cannot reserve does not send.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal, Protocol

import attrs
import trio

from gateway.configuration.tool_settings import PolicySettings
from gateway.records.store import make_private

FILE_NAME: Final = "spending.sqlite"
DAY: Final = timedelta(hours=24)
KEPT: Final = 30 * DAY
"""How long it can be looked up what was spent."""
BUSY_S: Final = 2.0
"""For another process to let go of the file. Its transactions take milliseconds."""
MICROS: Final = 1_000_000
"""Of a dollar: sums of whole numbers are exact."""

Kind = Literal["call", "message"]

_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS spending (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    at_s REAL NOT NULL,
    micros INTEGER NOT NULL
)
"""


@attrs.frozen
class CapReached(Exception):
    """This would be more than is allowed in a day."""

    what: str

    def __str__(self) -> str:
        return self.what


@attrs.frozen
class SpendingFailed(Exception):
    """What was spent cannot be looked up or written down, so nothing may be."""

    reason: str

    def __str__(self) -> str:
        return f"the book of what was spent cannot be used: {self.reason}"


@attrs.frozen(kw_only=True)
class Caps:
    """What is allowed in 24 hours."""

    calls: int
    messages: int
    micros: int
    """Of a dollar, for both."""

    @classmethod
    def of(cls, policy: PolicySettings) -> Caps:
        """Take from the settings what this needs."""
        return cls(
            calls=policy.calls_per_day,
            messages=policy.messages_per_day,
            micros=round(policy.usd_per_day * MICROS),
        )


@attrs.frozen(kw_only=True)
class Wish:
    """What somebody wants to spend."""

    kind: Kind
    micros: int
    """Of a dollar: an estimate."""
    at: datetime
    """Now, with its time zone."""


class Spending(Protocol):
    """The book of what was spent. One for all calls."""

    async def reserve(self, wish: Wish, caps: Caps) -> int:
        """Count something as spent, and return the number of its entry. Cancellable.

        Cancelled, it may be counted all the same. Of two who want the last of it, one gets it.

        Raises:
            CapReached: It would be too much. Nothing is counted.
            SpendingFailed: Nobody knows how much it would be.

        """

    async def release(self, number: int) -> None:
        """Count it no longer: it is certain that nothing went out. Cancellable.

        Raises:
            SpendingFailed: It stays counted.

        """


def flaw(wish: Wish, entries: Sequence[tuple[Kind, int]], caps: Caps) -> str | None:
    """Why this is too much, beside what the day has; `None`: it is not. Pure.

    Args:
        wish: What is wanted.
        entries: Kind and micros of everything in the last 24 hours.
        caps: What is allowed.

    """
    most = caps.calls if wish.kind == "call" else caps.messages
    if sum(kind == wish.kind for kind, _ in entries) >= most:
        return f"no more than {most} {wish.kind}s are allowed in 24 hours, and so many there were"
    if wish.micros < 0 or sum(micros for _, micros in entries) + wish.micros > caps.micros:
        return f"{caps.micros / MICROS:.2f} dollars are allowed in 24 hours, and that is used up"
    return None


@attrs.define(eq=False)
class MemorySpending:
    """A `Spending` that a restart forgets: for calls in virtual time."""

    entries: dict[int, Wish] = attrs.field(factory=dict[int, Wish])
    _last: int = attrs.field(default=0, init=False)

    async def reserve(self, wish: Wish, caps: Caps) -> int:
        """See `Spending`."""
        await trio.lowlevel.checkpoint()
        since = wish.at - DAY
        # What is dated later than now counts as well: a clock that was set back opens nothing.
        counted = [(one.kind, one.micros) for one in self.entries.values() if one.at > since]
        if (what := flaw(wish, counted, caps)) is not None:
            raise CapReached(what)
        self._last += 1
        self.entries[self._last] = wish
        return self._last

    async def release(self, number: int) -> None:
        """See `Spending`."""
        await trio.lowlevel.checkpoint()
        self.entries.pop(number, None)


@attrs.define(eq=False)
class FileSpending:
    """A `Spending` in a SQLite file, which outlives the process and may be shared by several.

    Every step opens the file anew: there are few, and a file that comes back after its disk was
    full or gone is used again.
    """

    path: Path
    _limiter: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(2), init=False
    )
    """Its own threads, so that a stuck disk does not use up everybody's."""

    async def reserve(self, wish: Wish, caps: Caps) -> int:
        """See `Spending`."""
        return await trio.to_thread.run_sync(
            self._reserve, wish, caps, abandon_on_cancel=True, limiter=self._limiter
        )

    async def release(self, number: int) -> None:
        """See `Spending`."""
        await trio.to_thread.run_sync(
            self._release, number, abandon_on_cancel=True, limiter=self._limiter
        )

    def _reserve(self, wish: Wish, caps: Caps) -> int:
        try:
            with closing(self._open()) as book:
                # From here on nobody else writes: what is read is what it is written beside.
                book.execute("BEGIN IMMEDIATE")
                at_s = wish.at.timestamp()
                book.execute("DELETE FROM spending WHERE at_s <= ?", (at_s - KEPT.total_seconds(),))
                rows = book.execute(
                    "SELECT kind, micros FROM spending WHERE at_s > ?",
                    (at_s - DAY.total_seconds(),),
                ).fetchall()
                if (what := flaw(wish, rows, caps)) is not None:
                    book.execute("COMMIT")
                    raise CapReached(what)
                added = book.execute(
                    "INSERT INTO spending (kind, at_s, micros) VALUES (?, ?, ?)",
                    (wish.kind, at_s, wish.micros),
                )
                number = added.lastrowid
                book.execute("COMMIT")
        except (sqlite3.Error, OSError, OverflowError) as error:
            raise SpendingFailed(type(error).__name__) from error
        if number is None:
            raise SpendingFailed("it has no entry for it")
        return number

    def _release(self, number: int) -> None:
        try:
            with closing(self._open()) as book:
                book.execute("DELETE FROM spending WHERE number = ?", (number,))
        except (sqlite3.Error, OSError) as error:
            raise SpendingFailed(type(error).__name__) from error

    def _open(self) -> sqlite3.Connection:
        make_private(self.path.parent)
        # Without transactions of the module's own: those above say when they begin and end.
        book = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
        try:
            book.execute("PRAGMA synchronous = FULL")
            (version,) = book.execute("PRAGMA user_version").fetchone()
            if version == 0:
                book.execute(_SCHEMA)
                book.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
            elif version != _SCHEMA_VERSION:
                raise sqlite3.DatabaseError(f"its version is {version}")
        except sqlite3.Error:
            book.close()
            raise
        return book
