"""A calendar as tools use it: what lies in a span of time, and putting, replacing, removing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol
from zoneinfo import ZoneInfo

import attrs
import trio
from icalendar import Calendar

from gateway.calendar.ical import overlaps, read_calendar
from gateway.tools.http_tools import MAYBE_DONE


@attrs.frozen(eq=False)
class Entry:
    """One calendar object: an appointment, or a series of them."""

    name: str
    """Where it is, for the diary it came from."""
    version: str
    """Changes when anybody changes it: an entity tag."""
    calendar: Calendar = attrs.field(repr=False)


@attrs.frozen
class DiaryFailed(Exception):
    """The calendar did not do what it was asked. The reason is for the model, and quotes nobody."""

    why: str
    maybe_done: bool = False
    """It was asked, and its answer was not understood or never came."""

    def __str__(self) -> str:
        return f"{self.why}; {MAYBE_DONE}" if self.maybe_done else self.why


@attrs.frozen
class AlreadyThere(Exception):
    """There is an entry of this name, which was left alone."""


CHANGED_MEANWHILE: Final = DiaryFailed(
    "somebody changed that appointment in this moment; try once more"
)


Rewrite = Callable[[Calendar], bytes]
"""Makes another text of a calendar object. Pure; run in a thread where that matters."""


class Diary(Protocol):
    """The owner's calendar. Everything in it may raise `DiaryFailed`, and is cancellable."""

    async def between(self, start: datetime, end: datetime) -> tuple[Entry, ...]:
        """Find what has time in between, in UTC."""

    async def add(self, name: str, text: bytes) -> None:
        """Put a new entry. Harmless to repeat.

        Raises:
            AlreadyThere: There is one of this name.

        """

    async def replace(self, entry: Entry, change: Rewrite) -> None:
        """Put what this makes of it in its place, unless it was changed since it was found."""

    async def remove(self, entry: Entry) -> None:
        """Remove it, unless it was changed since it was found."""


@attrs.define(eq=False)
class DiaryInMemory:
    """A calendar that is only remembered. Knows no series but by their first. Fits `Diary`."""

    zone: ZoneInfo
    entries: dict[str, bytes] = attrs.field(factory=dict[str, bytes])

    async def between(self, start: datetime, end: datetime) -> tuple[Entry, ...]:
        """See `Diary`."""
        await trio.lowlevel.checkpoint()
        read = ((name, text, read_calendar(text)) for name, text in self.entries.items())
        return tuple(
            Entry(name, str(hash(text)), calendar)
            for name, text, calendar in read
            if calendar is not None and overlaps(calendar, start, end, self.zone)
        )

    async def add(self, name: str, text: bytes) -> None:
        """See `Diary`."""
        await trio.lowlevel.checkpoint()
        if name in self.entries:
            raise AlreadyThere
        self.entries[name] = text

    async def replace(self, entry: Entry, change: Rewrite) -> None:
        """See `Diary`."""
        await trio.lowlevel.checkpoint()
        self._check(entry)
        self.entries[entry.name] = change(entry.calendar)

    async def remove(self, entry: Entry) -> None:
        """See `Diary`."""
        await trio.lowlevel.checkpoint()
        self._check(entry)
        del self.entries[entry.name]

    def _check(self, entry: Entry) -> None:
        if str(hash(self.entries.get(entry.name))) != entry.version:
            raise CHANGED_MEANWHILE
