"""The tools that write into the owner's calendar."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final
from zoneinfo import ZoneInfo

import attrs
import pydantic
import trio

from actors.control import CallControl
from actors.errors import EffectUnknown, ToolRefused
from actors.toolbox import ReadBack, ToolFunction
from gateway.calendar.caldav import DavDiary
from gateway.calendar.diary import AlreadyThere, Diary, DiaryFailed, Entry
from gateway.calendar.ical import (
    MINUTES_MAX,
    MINUTES_MIN,
    Appointment,
    Change,
    changed,
    has_guests,
    is_series,
    may_start_at,
    moment_of,
    new_event,
    plain_title,
    spoken_time,
    starts_on,
    titles_of,
)
from gateway.configuration.agents import AgentSettings
from gateway.tools.http_tools import MAYBE_DONE
from gateway.tools.words import many_lines, one_line

if TYPE_CHECKING:
    from gateway.tools.means import Means

WITHIN_S: Final = 8.0
"""For all that is asked of the calendar for one tool call."""
LONGEST_S: Final = 10.0
TITLE_MAX_CHARS: Final = 200
PLACE_MAX_CHARS: Final = 200
NOTES_MAX_CHARS: Final = 2_000
TIMES_MAX: Final = 10
"""Of a day, that are named when nothing starts at the one that was asked for."""
ANY_ZONE: Final = timedelta(hours=14)
"""No zone is further from UTC."""
TOO_SLOW: Final = "the calendar is too slow"

Title = Annotated[str, pydantic.Field(max_length=TITLE_MAX_CHARS, description="One line.")]
SomeTitle = Annotated[
    str | None,
    pydantic.Field(
        max_length=TITLE_MAX_CHARS,
        description="Its title, or a part of it, if there is more than one at that time.",
    ),
]
Time = Annotated[
    str,
    pydantic.Field(
        max_length=40,
        description=(
            "When it starts: 2026-11-24T15:00, where the owner lives. With an offset, as "
            "2026-11-24T15:00+02:00, only if the caller names another place's time."
        ),
    ),
]
NewTime = Annotated[
    str | None, pydantic.Field(max_length=40, description="Written likewise, if it changes.")
]
Minutes = Annotated[
    int, pydantic.Field(ge=MINUTES_MIN, le=MINUTES_MAX, description="How long it is.")
]
NewMinutes = Annotated[
    int | None, pydantic.Field(ge=MINUTES_MIN, le=MINUTES_MAX, description="If that changes.")
]
NewTitle = Annotated[
    str | None, pydantic.Field(max_length=TITLE_MAX_CHARS, description="If it changes.")
]
Place = Annotated[str | None, pydantic.Field(max_length=PLACE_MAX_CHARS, description="One line.")]
Notes = Annotated[str | None, pydantic.Field(max_length=NOTES_MAX_CHARS)]


@attrs.frozen(eq=False)
class _Book:
    """The owner's calendar, as these tools use it."""

    diary: Diary
    zone: ZoneInfo
    _means: Means

    @property
    def now(self) -> datetime:
        return self._means.utc_now()

    def moment(self, text: str) -> datetime:
        return moment_of(text, self.zone, self.now)

    def spoken(self, text: object) -> str:
        return spoken_time(self.moment(str(text)))

    def which(self, arguments: Mapping[str, Any]) -> str:
        title = arguments.get("title")
        called = "" if title is None else f", whose title has: {title}"
        return f"on {self.spoken(arguments['starts_at'])}{called}"


def _book(means: Means) -> _Book:
    settings = means.config.calendar
    diary = means.diary or DavDiary(settings, means.transport)
    return _Book(diary, ZoneInfo(settings.timezone), means)


def make_create(means: Means, agent: AgentSettings) -> ToolFunction:
    """The function that puts an appointment into the calendar."""
    del agent
    book = _book(means)

    async def calendar_create_event(
        *,
        title: Title,
        starts_at: Time,
        minutes: Minutes,
        call: CallControl,
        place: Place = None,
        notes: Notes = None,
    ) -> dict[str, str]:
        """Put an appointment into the owner's calendar."""
        appointment = Appointment(
            title=one_line(title, "title", TITLE_MAX_CHARS),
            starts=book.moment(starts_at),
            minutes=minutes,
            place=_line(place, "place"),
            notes=_lines(notes),
        )
        uid = _uid(call)
        with trio.move_on_after(WITHIN_S):
            await _add(book.diary, f"{uid}.ics", new_event(uid, appointment, book.now))
            return {"created": appointment.starts.isoformat(timespec="minutes")}
        raise EffectUnknown(f"{TOO_SLOW}; {MAYBE_DONE}")

    return calendar_create_event


def make_update(means: Means, agent: AgentSettings) -> ToolFunction:
    """The function that changes an appointment."""
    del agent
    book = _book(means)

    async def calendar_update_event(
        *,
        starts_at: Time,
        title: SomeTitle = None,
        new_starts_at: NewTime = None,
        new_minutes: NewMinutes = None,
        new_title: NewTitle = None,
        new_place: Place = None,
        new_notes: Notes = None,
    ) -> dict[str, str]:
        """Change an appointment in the owner's calendar. What is not given stays as it is."""
        change = Change(
            title=_line(new_title, "new_title"),
            starts=None if new_starts_at is None else book.moment(new_starts_at),
            minutes=new_minutes,
            place=_line(new_place, "new_place"),
            notes=_lines(new_notes),
        )
        if change == Change():
            raise ToolRefused("say what is to change: new_starts_at, new_minutes, new_title, ...")
        starts, is_writing = book.moment(starts_at), False
        with trio.move_on_after(WITHIN_S):
            try:
                entry = await _find(book, starts, title)
                is_writing = True
                rewrite = partial(changed, change=change, zone=book.zone, now=book.now)
                await book.diary.replace(entry, rewrite)
            except DiaryFailed as error:
                raise _refusal(error) from error
            return {"changed": starts.isoformat(timespec="minutes")}
        raise _too_slow(is_writing=is_writing)

    return calendar_update_event


def make_cancel(means: Means, agent: AgentSettings) -> ToolFunction:
    """The function that takes an appointment out of the calendar."""
    del agent
    book = _book(means)

    async def calendar_cancel_event(starts_at: Time, title: SomeTitle = None) -> dict[str, str]:
        """Take an appointment out of the owner's calendar."""
        starts, is_writing = book.moment(starts_at), False
        with trio.move_on_after(WITHIN_S):
            try:
                entry = await _find(book, starts, title)
                is_writing = True
                await book.diary.remove(entry)
            except DiaryFailed as error:
                raise _refusal(error) from error
            return {"cancelled": starts.isoformat(timespec="minutes")}
        raise _too_slow(is_writing=is_writing)

    return calendar_cancel_event


def make_read_create(means: Means) -> ReadBack:
    """What the caller confirms: all of it, with the times as the calendar will have them.

    What is read back raises `ToolRefused` for times that the tool itself would refuse: nobody is
    asked about those.
    """
    book = _book(means)

    def read(arguments: Mapping[str, Any]) -> str:
        said = [
            f"Put an appointment into the calendar: {arguments['title']}",
            f"on {book.spoken(arguments['starts_at'])}",
            f"for {arguments['minutes']} minutes",
            *_named(arguments, place="place", notes="notes"),
        ]
        return "; ".join(said)

    return read


def make_read_update(means: Means) -> ReadBack:
    """See `make_read_create`."""
    book = _book(means)

    def read(arguments: Mapping[str, Any]) -> str:
        said = [f"Change the appointment {book.which(arguments)}"]
        if arguments.get("new_starts_at") is not None:
            said.append(f"its new start: {book.spoken(arguments['new_starts_at'])}")
        if arguments.get("new_minutes") is not None:
            said.append(f"its new length: {arguments['new_minutes']} minutes")
        named = _named(
            arguments,
            new_title="its new title",
            new_place="its new place",
            new_notes="its new notes",
        )
        return "; ".join([*said, *named])

    return read


def make_read_cancel(means: Means) -> ReadBack:
    """See `make_read_create`."""
    book = _book(means)

    def read(arguments: Mapping[str, Any]) -> str:
        return f"Take out of the calendar the appointment {book.which(arguments)}"

    return read


def _named(arguments: Mapping[str, Any], **names: str) -> list[str]:
    return [
        f"{said}: {arguments[key]}" for key, said in names.items() if arguments.get(key) is not None
    ]


async def _add(diary: Diary, name: str, text: bytes) -> None:
    """Put it there, and be sure: its name is this tool call's own, so a repeat doubles nothing."""
    for is_last in (False, True):
        try:
            await diary.add(name, text)
        except AlreadyThere:
            return
        except DiaryFailed as error:
            if is_last or not error.maybe_done:
                raise _refusal(error) from error
        else:
            return


async def _find(book: _Book, starts: datetime, title: str | None) -> Entry:
    """The one appointment that starts then, and that may be changed here.

    Raises:
        DiaryFailed: The calendar cannot be read.
        ToolRefused: There is none or more than one, or it is not to be changed here.

    """
    around = await _around(book, starts)
    found = [
        one
        for one in around
        if may_start_at(one.calendar, starts, book.zone) and not is_series(one.calendar)
    ]
    found += await _series_at(book, starts, around)
    if title is not None:
        wanted = plain_title(title)
        named = {one: list(titles_of(one.calendar)) for one in found}
        # A title in full is meant before one that only holds it.
        found = [one for one, its in named.items() if wanted in its] or [
            one for one, its in named.items() if any(wanted in each for each in its)
        ]
    if len(found) > 1:
        raise ToolRefused("more than one appointment starts then: ask for its title, and give it")
    if not found:
        of_it = "" if title is None else " of that title"
        times = starts_on((one.calendar for one in around), starts.date(), book.zone)[:TIMES_MAX]
        # No titles: whoever sends the owner an invitation chooses those.
        there_are = f"appointments start at {', '.join(times)}" if times else "there are none"
        raise ToolRefused(f"no appointment{of_it} starts then; on that day {there_are}")
    (entry,) = found
    if is_series(entry.calendar):
        raise ToolRefused("it is one of a series, which can only be changed in the calendar itself")
    if has_guests(entry.calendar):
        raise ToolRefused(
            "others are invited to it, and would be told: it can only be changed in the calendar "
            "itself"
        )
    return entry


async def _around(book: _Book, starts: datetime) -> tuple[Entry, ...]:
    """What there is on that day, and some hours around it.

    Of appointments without a zone, a server may think that they are in any.
    """
    first, last = (
        datetime.combine(day, time(), book.zone).astimezone(UTC)
        for day in (starts.date(), starts.date() + timedelta(days=1))
    )
    return await book.diary.between(first - ANY_ZONE, last + ANY_ZONE)


async def _series_at(book: _Book, starts: datetime, around: Iterable[Entry]) -> list[Entry]:
    """Series of which one starts then: by the time of day, and by what the server says."""
    if not any(is_series(one.calendar) for one in around):
        return []
    at = starts.astimezone(UTC)
    then = await book.diary.between(at, at + timedelta(minutes=1))
    return [
        one
        for one in then
        if is_series(one.calendar) and may_start_at(one.calendar, starts, book.zone)
    ]


def _refusal(error: DiaryFailed) -> ToolRefused:
    return (EffectUnknown if error.maybe_done else ToolRefused)(str(error))


def _too_slow(*, is_writing: bool) -> ToolRefused:
    return _refusal(DiaryFailed(TOO_SLOW, is_writing))


def _uid(call: CallControl) -> str:
    """The same for the same tool call, whenever it is asked for; tells nobody anything else."""
    of = f"{call.facts.call_sid}\n{call.tool_call_id}".encode(errors="replace")
    return f"offhook-{hashlib.sha256(of).hexdigest()[:32]}"


def _line(text: str | None, what: str) -> str | None:
    return None if text is None else one_line(text, what, TITLE_MAX_CHARS)


def _lines(text: str | None) -> str | None:
    return None if text is None else many_lines(text, "notes", NOTES_MAX_CHARS)
