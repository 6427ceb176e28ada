"""Appointments as calendars keep them, and the times that models write."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from icalendar import Calendar

from actors.errors import ToolRefused
from gateway.calendar.ical import (
    YEARS_AHEAD,
    Appointment,
    Change,
    changed,
    end_of,
    has_guests,
    is_series,
    may_start_at,
    minutes_of,
    moment_of,
    new_event,
    overlaps,
    read_calendar,
    spoken_time,
    starts_of,
    starts_on,
)
from gateway.tools.words import many_lines, one_line

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ZONES = [ZoneInfo(name) for name in ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe")]
ZONES += [ZoneInfo(name) for name in ("Asia/Kathmandu", "Africa/Casablanca", "UTC")]


def parsed(text: bytes) -> Calendar:
    calendar = read_calendar(text)
    assert calendar is not None
    return calendar


def calendar_of(*lines: str) -> Calendar:
    head = ("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//other//EN")
    body = ("BEGIN:VEVENT", "UID:1", "DTSTAMP:20260101T000000Z", *lines, "END:VEVENT")
    return parsed("\r\n".join([*head, *body, "END:VCALENDAR", ""]).encode())


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-24T15:00", "2026-11-24T14:00Z"),
        ("2026-11-24 15:00", "2026-11-24T14:00Z"),
        ("2026-11-24T15:00:00", "2026-11-24T14:00Z"),
        ("2026-11-24T15:00Z", "2026-11-24T15:00Z"),
        ("2026-11-24T15:00-05:00", "2026-11-24T20:00Z"),
        ("2027-07-01T15:00", "2027-07-01T13:00Z"),
        ("2027-03-28T01:59", "2027-03-28T00:59Z"),
        ("2027-03-28T03:00", "2027-03-28T01:00Z"),
        ("2027-03-28T02:30+01:00", "2027-03-28T01:30Z"),
        ("2027-10-31T02:30+02:00", "2027-10-31T00:30Z"),
        ("2027-10-31T02:30+01:00", "2027-10-31T01:30Z"),
        ("2027-10-31T03:00", "2027-10-31T02:00Z"),
    ],
)
def test_a_time_is_the_calendars_own_unless_it_has_an_offset(text: str, moment: str) -> None:
    found = moment_of(text, BERLIN, NOW)

    assert found.astimezone(UTC) == datetime.fromisoformat(moment)
    assert found.tzinfo is BERLIN


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2027-03-28T02:00", "does not exist"),
        ("2027-03-28T02:59", "does not exist"),
        ("2027-10-31T02:00", r"comes twice, .*: add \+02:00 or \+01:00"),
        ("2026-11-20T13:00", "past: it is 2026-11-20T13:00 now"),
        ("2026-11-20T12:00Z", "past"),
        ("2020-01-01T00:00", "past"),
        ("0001-01-01T00:00+14:00", "past"),
        ("9999-12-31T23:59-14:00", "more than 5 years ahead"),
        ("2032-01-01T00:00", "more than 5 years ahead"),
        ("2026-02-30T15:00", "is no time: write it as"),
        ("2026-11-24T25:00", "is no time"),
        ("2026-11-24", "is no time"),
        ("15:00", "is no time"),
        ("tomorrow at 3", "is no time"),
        ("2026-W48-2T15:00", "is no time"),
        ("20261124T150000", "is no time"),
        ("2026-11-24T15:00\nDTEND:1", "is no time"),
        ("２０２６-11-24T15:00", "is no time"),  # noqa: RUF001 - full width.
        ("2026-11-24T15:00+99:00", "is no time"),
        ("", "is no time"),
    ],
)
def test_a_time_that_is_none_or_two_or_past_is_refused(text: str, why: str) -> None:
    with pytest.raises(ToolRefused, match=why):
        moment_of(text, BERLIN, NOW)


@given(
    st.datetimes(min_value=datetime(2026, 11, 22), max_value=datetime(2031, 12, 30)),  # noqa: DTZ001
    st.sampled_from(ZONES),
)
def test_every_local_time_is_one_moment_or_is_refused(written: datetime, zone: ZoneInfo) -> None:
    text = written.isoformat(timespec="minutes")
    moments = {
        moment.astimezone(UTC)
        for fold in (0, 1)
        if (moment := datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold))
        .astimezone(UTC)
        .astimezone(zone)
        .replace(tzinfo=None)
        == datetime.fromisoformat(text)
    }
    try:
        found = moment_of(text, zone, NOW)
    except ToolRefused:
        assert len(moments) != 1
    else:
        assert moments == {found.astimezone(UTC)}


def words(text: str) -> bool:
    try:
        many_lines(text, "text", 500)
    except ToolRefused:
        return False
    return True


TEXTS = st.one_of(
    st.text(min_size=1, max_size=300),
    st.lists(
        st.sampled_from(
            [
                *("\n", "\r\n", "\\n", "\\", ";", ",", ":", '"', "END:VEVENT", "END:VCALENDAR"),
                *("BEGIN:VALARM", "ATTENDEE:mailto:eve@example.net", "ü" * 40, "🙂" * 30, " ", "a"),
            ]
        ),
        min_size=1,
        max_size=10,
    ).map("".join),
).filter(words)


@given(TEXTS, TEXTS, st.integers(5, 1440), st.integers(3 * 60, 5 * 365 * 24 * 60), st.data())
def test_whatever_is_written_into_an_appointment_is_read_out_of_it_and_nothing_else(
    title: str, notes: str, minutes: int, ahead_minutes: int, data: st.DataObject
) -> None:
    zone = data.draw(st.sampled_from(ZONES))
    title = " ".join(title.split())
    notes = many_lines(notes, "notes", 500)
    if not title:
        return
    starts = (NOW + timedelta(minutes=ahead_minutes)).astimezone(zone)
    text = new_event(
        "offhook-1", Appointment(title=title, starts=starts, minutes=minutes, notes=notes), NOW
    )
    calendar = parsed(text)

    (event,) = calendar.events
    assert str(event["summary"]) == one_line(title, "title", 500)
    assert str(event["description"]) == notes
    assert set(event) == {
        *("UID", "DTSTAMP", "CREATED", "SEQUENCE", "SUMMARY", "DESCRIPTION", "DTSTART", "DTEND")
    }
    assert event.subcomponents == []
    assert {one.name for one in calendar.subcomponents} <= {"VEVENT", "VTIMEZONE"}
    at = starts_of(event, zone)
    assert at is not None
    assert at.astimezone(UTC) == starts.astimezone(UTC)
    assert minutes_of(event, zone) == minutes
    assert max(map(len, text.split(b"\r\n"))) <= 75
    assert may_start_at(calendar, starts, zone)


@pytest.mark.parametrize("fold", [0, 1])
def test_the_second_of_two_equal_times_is_kept_apart(fold: int) -> None:
    """A local time that comes twice means the first. Source: "3.3.5. Date-Time", RFC 5545."""
    starts = datetime(2027, 10, 31, 2, 30, tzinfo=BERLIN, fold=fold)
    text = new_event("1", Appointment(title="a", starts=starts, minutes=15), NOW)

    assert (b"DTSTART:20271031T013000Z" in text) == bool(fold)
    assert (b"DTSTART;TZID=Europe/Berlin:20271031T023000" in text) == (not fold)
    at = starts_of(parsed(text).events[0], BERLIN)
    assert at is not None
    assert at.astimezone(UTC) == starts.astimezone(UTC)


def test_a_length_is_time_that_passes_and_not_what_clocks_show() -> None:
    starts = datetime(2027, 3, 28, 1, 30, tzinfo=BERLIN)

    assert end_of(starts, 60).isoformat() == "2027-03-28T03:30:00+02:00"


OTHERS = (
    "DTSTART;TZID=Europe/Berlin:20261124T150000",
    "DURATION:PT45M",
    "SUMMARY:Dentist",
    "X-COLOUR:red",
    "CLASS:PRIVATE",
    "BEGIN:VALARM",
    "ACTION:DISPLAY",
    "DESCRIPTION:soon",
    "TRIGGER:-PT15M",
    "END:VALARM",
)


def test_what_is_not_changed_stays() -> None:
    starts = datetime(2026, 12, 1, 9, tzinfo=BERLIN)
    text = changed(calendar_of(*OTHERS), Change(starts=starts), BERLIN, NOW)

    (event,) = parsed(text).events
    assert starts_of(event, BERLIN) == starts
    assert minutes_of(event, BERLIN) == 45
    assert str(event["summary"]) == "Dentist"
    assert (str(event["x-colour"]), str(event["class"])) == ("red", "PRIVATE")
    assert [one.name for one in event.subcomponents] == ["VALARM"]
    assert event["sequence"] == 1
    assert "duration" not in event


def test_what_is_changed_is_changed_once_more_later() -> None:
    change = Change(title="New", place="Here", notes="a\nb", minutes=10)
    once = parsed(changed(calendar_of(*OTHERS), change, BERLIN, NOW))
    twice = parsed(changed(once, Change(title="Newer"), BERLIN, NOW))

    (event,) = twice.events
    assert [str(event[key]) for key in ("summary", "location", "description")] == [
        "Newer",
        "Here",
        "a\nb",
    ]
    assert minutes_of(event, BERLIN) == 10
    assert event["sequence"] == 2


@pytest.mark.parametrize(
    ("lines", "starts"),
    [
        (["DTSTART:20261124T140000Z"], True),
        (["DTSTART;TZID=Europe/Berlin:20261124T150000"], True),
        (["DTSTART;TZID=America/New_York:20261124T090000"], True),
        (["DTSTART:20261124T150000"], True),
        (["DTSTART:20261124T140000Z", "STATUS:CANCELLED"], False),
        (["DTSTART:20261124T140100Z"], False),
        (["DTSTART;TZID=Nowhere/Known:20261124T150000"], False),
        (["DTSTART;VALUE=DATE:20261124"], False),
        (["DTSTART:nonsense"], False),
        (["SUMMARY:no start"], False),
        (["DTSTART:20261123T140000Z", "RRULE:FREQ=DAILY"], True),
        (["DTSTART:20261123T143000Z", "RRULE:FREQ=DAILY"], False),
        (["DTSTART;TZID=Europe/Berlin:20260701T150000", "RRULE:FREQ=DAILY"], True),
    ],
)
def test_an_appointment_is_found_by_its_start(lines: list[str], starts: bool) -> None:
    at = datetime(2026, 11, 24, 15, tzinfo=BERLIN)

    assert may_start_at(calendar_of(*lines), at, BERLIN) == starts


@pytest.mark.parametrize(
    "lines",
    [
        ["DTSTART:00010101T000000", "DTEND:99991231T235959"],
        ["DTSTART:00010101T000000Z", "DTEND:99991231T235959Z"],
        ["DTSTART:99991231T235959Z"],
        ["DTSTART:20261124T140000Z", "DURATION:P999999999D"],
        ["DTSTART;TZID=Europe/Berlin:20261124T150000", "DTEND:00010101T000000"],
    ],
)
def test_an_invitation_to_the_end_of_time_hides_nothing_else(lines: list[str]) -> None:
    """It has time on every day: whoever may send one could keep the owner from all others."""
    calendar, starts = calendar_of(*lines), datetime(2026, 11, 24, 15, tzinfo=BERLIN)
    other = calendar_of("DTSTART:20261124T080000Z")
    may_start_at(calendar, starts, BERLIN)
    assert "09:00" in starts_on([calendar, other], starts.date(), BERLIN)
    overlaps(calendar, starts.astimezone(UTC), starts.astimezone(UTC), BERLIN)
    with suppress(ToolRefused):
        changed(calendar, Change(starts=starts + timedelta(days=1)), BERLIN, NOW)


@pytest.mark.parametrize(
    "line", ["RRULE:FREQ=DAILY", "RDATE:20261125T140000Z", "RECURRENCE-ID:20261124T140000Z"]
)
def test_a_series_is_known(line: str) -> None:
    assert is_series(calendar_of("DTSTART:20261124T140000Z", line))
    assert not is_series(calendar_of("DTSTART:20261124T140000Z"))


def test_guests_are_known() -> None:
    assert has_guests(calendar_of("DTSTART:20261124T140000Z", "ATTENDEE:mailto:a@example.com"))
    assert not has_guests(calendar_of("DTSTART:20261124T140000Z"))


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [(13, 14, False), (14, 15, True), (13, 16, True), (15, 16, False)],
)
def test_what_has_time_in_a_span_is_in_it(start: int, end: int, found: bool) -> None:
    calendar = calendar_of("DTSTART:20261124T140000Z", "DTEND:20261124T150000Z")
    first, last = (datetime(2026, 11, 24, hour, tzinfo=UTC) for hour in (start, end))

    assert overlaps(calendar, first, last, BERLIN) == found


@pytest.mark.parametrize(
    "text",
    ["", "x", "BEGIN:VCALENDAR", "BEGIN:VEVENT\r\nEND:VEVENT", "BEGIN:VCALENDAR\r\nEND:VCALENDAR"],
)
def test_what_is_no_calendar_with_events_is_none(text: str) -> None:
    assert read_calendar(text) is None


@given(st.text(max_size=200), st.text(max_size=50))
def test_no_text_of_a_server_breaks_anything(text: str, start: str) -> None:
    for one in (
        text,
        f"BEGIN:VCALENDAR\r\n{text}\r\nEND:VCALENDAR\r\n",
        f"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nDTSTART{start}\r\n{text}\r\nEND:VEVENT\r\nEND:VCALENDAR",
    ):
        calendar = read_calendar(one)
        if calendar is not None:
            at = datetime(2026, 11, 24, 15, tzinfo=BERLIN)
            may_start_at(calendar, at, BERLIN)
            overlaps(calendar, NOW, NOW + timedelta(days=1), BERLIN)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2026-11-24T15:00", "Tuesday, 24 November 2026, at 15:00"),
        ("2026-11-24T15:00-05:00", "Tuesday, 24 November 2026, at 21:00"),
        (
            "2027-10-31T02:30+02:00",
            "Sunday, 31 October 2027, at 02:30, the first of two such times",
        ),
        (
            "2027-10-31T02:30+01:00",
            "Sunday, 31 October 2027, at 02:30, the second of two such times",
        ),
    ],
)
def test_a_time_is_said_with_its_weekday_where_the_owner_lives(text: str, said: str) -> None:
    assert spoken_time(moment_of(text, BERLIN, NOW)) == said


def test_years_ahead_are_those_that_zones_are_known_for() -> None:
    starts = NOW.replace(year=NOW.year + YEARS_AHEAD).astimezone(BERLIN)
    text = new_event("1", Appointment(title="a", starts=starts, minutes=30), NOW)

    assert b"BEGIN:VTIMEZONE" in text
    assert b"2031" in text
