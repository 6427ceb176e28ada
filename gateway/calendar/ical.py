"""Appointments as iCalendar has them, and the times that models write. Pure.

Source: RFC 5545. Whoever speaks on the telephone chooses every text and every time in here, and
anybody who may send the owner an invitation chooses what is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import attrs
from icalendar import Calendar, Event, vDDDTypes, vDuration

from actors.errors import ToolRefused

MINUTES_MIN: Final = 5
MINUTES_MAX: Final = 1440
YEARS_AHEAD: Final = 5
"""Later is a mistake of somebody's. The rules of time zones are not made so far ahead either."""

_YEARS_READ: Final = range(1900, 2200)
"""An invitation may be of any year. Of times near the first and the last that there are, Python
cannot say what they are elsewhere."""
_LASTS_MOST: Final = timedelta(days=3660)
"""Likewise."""

PRODUCT: Final = "-//offhook//offhook//EN"
WRITTEN_AS: Final = "write it as 2026-11-24T15:00"

_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?",
    re.ASCII,
)
_WEEKDAYS: Final = (
    "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday",
)  # fmt: skip
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


@attrs.frozen(kw_only=True)
class Appointment:
    """What is put into a calendar."""

    title: str = attrs.field(repr=False)
    starts: datetime
    """In the calendar's zone, as `moment_of` makes it."""
    minutes: int
    place: str | None = attrs.field(default=None, repr=False)
    notes: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class Change:
    """What becomes of an appointment; `None`: that stays."""

    title: str | None = attrs.field(default=None, repr=False)
    starts: datetime | None = None
    minutes: int | None = None
    place: str | None = attrs.field(default=None, repr=False)
    notes: str | None = attrs.field(default=None, repr=False)


def moment_of(text: str, zone: ZoneInfo, now: datetime) -> datetime:
    """The moment that a model means, in this zone. Without an offset it is the zone's own time.

    Raises:
        ToolRefused: It is no time, is past, does not exist, or there are two of it.

    """
    written = _written(text)
    if written is None:
        raise ToolRefused(f"this is no time: {WRITTEN_AS}")
    if not now.year - 1 <= written.year <= now.year + YEARS_AHEAD:
        raise ToolRefused(f"the time is past, or more than {YEARS_AHEAD} years ahead")
    moment = written.astimezone(zone) if written.tzinfo is not None else _local(written, zone)
    if moment.astimezone(UTC) <= now.astimezone(UTC):
        raise ToolRefused(f"that time is past: it is {now.astimezone(zone):%Y-%m-%dT%H:%M} now")
    return moment


def _written(text: str) -> datetime | None:
    """A time as a model writes it, with an offset or without; `None`: it is none."""
    if _TIME.fullmatch(text.strip()) is None:
        return None
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        return None


def _local(written: datetime, zone: ZoneInfo) -> datetime:
    first, second = (written.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != written:
        raise ToolRefused(
            "that time does not exist: the clocks are put forward over it; choose another"
        )
    if first.utcoffset() != second.utcoffset():
        one, other = (moment.isoformat(timespec="minutes")[-6:] for moment in (first, second))
        raise ToolRefused(
            f"that time comes twice, as the clocks are put back: add {one} or {other} to it"
        )
    return first


def end_of(starts: datetime, minutes: int) -> datetime:
    """So many minutes later, as they pass and not as clocks show them; in the zone of the start."""
    return (starts.astimezone(UTC) + timedelta(minutes=minutes)).astimezone(starts.tzinfo)


def spoken_time(moment: datetime) -> str:
    """A moment as it is read to somebody who lives in its zone."""
    day = f"{_WEEKDAYS[moment.weekday()]}, {moment.day} {_MONTHS[moment.month - 1]} {moment.year}"
    is_twice = moment.utcoffset() != moment.replace(fold=1 - moment.fold).utcoffset()
    which = f", {('the first', 'the second')[moment.fold]} of two such times" if is_twice else ""
    return f"{day}, at {moment:%H:%M}{which}"


def new_event(uid: str, appointment: Appointment, now: datetime) -> bytes:
    """A calendar object that holds this appointment alone."""
    event = Event()
    event.add("uid", uid)
    event.add("dtstamp", _utc(now))
    event.add("created", _utc(now))
    event.add("sequence", 0)
    event.add("summary", appointment.title)
    for name, text in (("location", appointment.place), ("description", appointment.notes)):
        if text is not None:
            event.add(name, text)
    _put_times(event, appointment.starts, end_of(appointment.starts, appointment.minutes))
    calendar = Calendar()
    calendar.add("prodid", PRODUCT)
    calendar.add("version", "2.0")
    calendar.add_component(event)
    return _text(calendar)


def changed(calendar: Calendar, change: Change, zone: ZoneInfo, now: datetime) -> bytes:
    """The same calendar object with its one appointment changed, and everything else as it was."""
    copy = Calendar.from_ical(calendar.to_ical())
    (event,) = copy.events
    starts = starts_of(event, zone)
    if starts is None:
        raise ToolRefused("that appointment has no time that could be changed here")
    if change.starts is not None or change.minutes is not None:
        minutes = change.minutes if change.minutes is not None else minutes_of(event, zone)
        moved = change.starts or starts.astimezone(zone)
        _put_times(event, moved, end_of(moved, minutes))
    texts = (
        ("summary", change.title),
        ("location", change.place),
        ("description", change.notes),
    )
    for name, text in texts:
        if text is not None:
            event.pop(name, None)
            event.add(name, text)
    sequence = event.get("sequence", 0)
    stamps = (
        ("sequence", (sequence if isinstance(sequence, int) else 0) + 1),
        ("dtstamp", _utc(now)),
        ("last-modified", _utc(now)),
    )
    for name, value in stamps:
        event.pop(name, None)
        event.add(name, value)
    return _text(copy)


def read_calendar(text: str | bytes) -> Calendar | None:
    """A calendar object with events, as a server keeps it; `None`: it is none."""
    try:
        # Of another component, as an event alone, this is that component.
        calendar: object = Calendar.from_ical(text)
    # Whatever the library stumbles over in somebody else's text.
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None
    if not isinstance(calendar, Calendar):
        return None
    return calendar if calendar.events else None


def starts_of(event: Event, zone: ZoneInfo) -> datetime | None:
    """When it starts; `None`: it has no one such moment, as what lasts whole days or began in 1899.

    A time of no zone is the calendar's own. Source: "3.3.5. Date-Time", RFC 5545, form #1.
    """
    return _moment(event, "dtstart", zone)


def minutes_of(event: Event, zone: ZoneInfo) -> int:
    """How long it is; 0: it does not say."""
    starts, ends = starts_of(event, zone), _moment(event, "dtend", zone)
    if starts is not None and ends is not None:
        # In one zone, Python would subtract what the clocks show.
        said: object = ends.astimezone(UTC) - starts.astimezone(UTC)
    else:
        said = _value(event.get("duration"))
    lasts = min(said, _LASTS_MOST) if isinstance(said, timedelta) else timedelta()
    return max(0, round(lasts / timedelta(minutes=1)))


def is_series(calendar: Calendar) -> bool:
    """Whether it is more than one appointment."""
    return len(calendar.events) > 1 or any(
        name in calendar.events[0] for name in ("rrule", "rdate", "recurrence-id", "exrule")
    )


def has_guests(calendar: Calendar) -> bool:
    """Whether the server may tell others of a change. Source: "3.2. Scheduling", RFC 6638."""
    return any("attendee" in event for event in calendar.events)


def may_start_at(calendar: Calendar, starts: datetime, zone: ZoneInfo) -> bool:
    """Whether this is, or of a series may be, an appointment that starts then.

    Args:
        calendar: One that the server says has something at that time.
        starts: The moment.
        zone: Of the calendar.

    """
    # In UTC: of times that come twice, Python says that no other zone's is equal to them.
    return any(
        at.astimezone(UTC) == starts.astimezone(UTC)
        or (is_series(calendar) and _same_clock(at, starts))
        for event in calendar.events
        if str(event.get("status", "")).upper() != "CANCELLED"
        and (at := starts_of(event, zone)) is not None
    )


def titles_of(calendar: Calendar) -> Iterator[str]:
    """As they are compared: any case, any space."""
    for event in calendar.events:
        yield plain_title(str(event.get("summary", "")))


def plain_title(text: str) -> str:
    """A title as it is compared."""
    return " ".join(text.casefold().split())


def overlaps(calendar: Calendar, start: datetime, end: datetime, zone: ZoneInfo) -> bool:
    """Whether one of its events, each taken by itself, has time in between. Bounds in UTC."""
    for event in calendar.events:
        at = starts_of(event, zone)
        if at is not None and at.astimezone(UTC) < end:
            ends = at.astimezone(UTC) + timedelta(minutes=minutes_of(event, zone))
            if ends > start or at.astimezone(UTC) == start:
                return True
    return False


def starts_on(calendars: Iterable[Calendar], day: date, zone: ZoneInfo) -> list[str]:
    """What times of this day single appointments start at, as `15:00`, in order."""
    found = {
        at.astimezone(zone)
        for calendar in calendars
        if not is_series(calendar)
        for event in calendar.events
        if (at := starts_of(event, zone)) is not None
    }
    return [f"{at:%H:%M}" for at in sorted(found) if at.date() == day]


def _same_clock(at: datetime, starts: datetime) -> bool:
    """Whether both are at the same time of day, where the first one is."""
    return starts.astimezone(at.tzinfo).time() == at.time()


def _moment(event: Event, name: str, zone: ZoneInfo) -> datetime | None:
    found = event.get(name)
    at = _value(found)
    if not isinstance(at, datetime) or at.year not in _YEARS_READ:
        return None
    if at.tzinfo is not None:
        return at
    # Of a zone that nobody here knows.
    return None if "TZID" in getattr(found, "params", {}) else at.replace(tzinfo=zone)


def _value(found: object) -> object:
    """What a property says of time; `None`: nothing, or nothing that can be read, or twice."""
    return found.dt if isinstance(found, vDDDTypes | vDuration) else None


def _put_times(event: Event, starts: datetime, ends: datetime) -> None:
    for name in ("dtstart", "dtend", "duration"):
        event.pop(name, None)
    # A local time that comes twice means the first one. The second can only be said in UTC.
    if starts.fold or ends.fold:
        starts, ends = starts.astimezone(UTC), ends.astimezone(UTC)
    event.add("dtstart", starts)
    event.add("dtend", ends)


def _text(calendar: Calendar) -> bytes:
    years = [
        at.year for event in calendar.events if isinstance(at := _value(event.get("dtstart")), date)
    ]
    # Whole years around: a zone's rules are looked up in them. An appointment that is put off keeps
    # those it has.
    calendar.add_missing_timezones(
        first_date=date(min(years) - 1, 1, 1),
        last_date=date(max(years) + 2 * YEARS_AHEAD, 1, 1),
    )
    return bytes(calendar.to_ical())


def _utc(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(microsecond=0)
