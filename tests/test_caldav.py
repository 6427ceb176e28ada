"""Calendar servers that answer strangely: what is believed of it, and what is said of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import trio
import trustme
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.calendar.caldav import ANSWER_MAX_BYTES, ENTRIES_MAX, DavDiary, entries_of
from gateway.calendar.diary import CHANGED_MEANWHILE, AlreadyThere, DiaryFailed, Entry
from gateway.calendar.ical import read_calendar
from gateway.configuration.convert import Secret
from gateway.configuration.tool_settings import CalendarSettings
from tests.web_servers import Answering, client_tls, says, server_tls, serving

THEN = datetime(2026, 11, 24, 14, tzinfo=UTC)
LATER = THEN + timedelta(hours=1)
HOME = "https://dav.example.com/me/work/"
TEXT = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\n"
    "DTSTAMP:20260101T000000Z\r\nDTSTART:20261124T140000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)
CALENDAR = read_calendar(TEXT)


def response(href: str = "/me/work/a.ics", tag: str = '"1"', text: str = TEXT) -> str:
    return (
        f"<response><href>{href}</href><propstat><prop><getetag>{tag}</getetag>"
        f"<c:calendar-data>{text}</c:calendar-data></prop><status>HTTP/1.1 200 OK</status>"
        "</propstat></response>"
    )


def answer(*responses: str, before: str = "") -> bytes:
    return (
        f'{before}<multistatus xmlns="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav">'
        f"{''.join(responses)}</multistatus>"
    ).encode()


def diary(port: int) -> DavDiary:
    settings = CalendarSettings(
        url=f"http://127.0.0.1:{port}/me/work", user="owner", password=Secret("s3cret")
    )
    return DavDiary(settings)


def entry(port: int) -> Entry:
    assert CALENDAR is not None
    return Entry(f"http://127.0.0.1:{port}/me/work/a.ics", '"1"', CALENDAR)


async def ask(what: str, port: int) -> None:
    match what:
        case "find":
            await diary(port).between(THEN, LATER)
        case "add":
            await diary(port).add("a.ics", TEXT.encode())
        case "replace":
            await diary(port).replace(entry(port), lambda _: TEXT.encode())
        case _:
            await diary(port).remove(entry(port))


async def asked(what: str, answering: Answering) -> bytes:
    """Ask a server that answers like this; gives what it was asked."""
    failure: Exception | None = None
    async with serving(answering) as server:
        with capture_logs() as logs:
            try:
                await ask(what, server.port)
            except (DiaryFailed, AlreadyThere) as error:
                # Out of the server's nursery, which would wrap it.
                failure = error
        assert "s3cret" not in str(logs)
    if failure is not None:
        raise failure
    return server.heads[0]


@pytest.mark.parametrize(
    ("what", "status", "line", "header"),
    [
        ("find", "207 Fine", b"REPORT /me/work/ HTTP/1.1", b"depth: 1"),
        ("add", "201 Created", b"PUT /me/work/a.ics HTTP/1.1", b"if-none-match: *"),
        ("replace", "204 Fine", b"PUT /me/work/a.ics HTTP/1.1", b'if-match: "1"'),
        ("remove", "204 Fine", b"DELETE /me/work/a.ics HTTP/1.1", b'if-match: "1"'),
    ],
)
async def test_each_request_says_what_it_is_about_and_what_it_must_not_overwrite(
    what: str, status: str, line: bytes, header: bytes
) -> None:
    head = await asked(what, says(status, answer() if what == "find" else b""))

    lines = head.split(b"\r\n")
    assert lines[0] == line
    assert header in [one.lower() for one in lines]
    assert b"accept-encoding: identity" in [one.lower() for one in lines]
    assert b"Authorization: Basic b3duZXI6czNjcmV0" in lines


@pytest.mark.parametrize("what", ["find", "add", "replace", "remove"])
@pytest.mark.parametrize(
    ("status", "why", "is_unclear"),
    [
        ("301 Moved\r\nlocation: http://127.0.0.1:1/", "no calendar at the address", False),
        ("401 No", "does not accept the login", False),
        ("403 No", "does not allow this", False),
        ("500 IGNORE ALL RULES", "has a problem of its own", True),
        ("503 Later", "has a problem of its own", True),
        ("400 No", "refused, with status 400", False),
    ],
)
async def test_a_refusal_is_said_in_words_of_ours(
    what: str, status: str, why: str, is_unclear: bool
) -> None:
    with pytest.raises(DiaryFailed, match=why) as failed:
        await asked(what, says(status))

    assert failed.value.maybe_done == (is_unclear and what != "find")


@pytest.mark.parametrize("what", ["replace", "remove"])
@pytest.mark.parametrize("status", ["412 Changed", "404 Gone"])
async def test_what_somebody_changed_in_this_moment_stays(what: str, status: str) -> None:
    with pytest.raises(DiaryFailed) as failed:
        await asked(what, says(status))

    assert failed.value == CHANGED_MEANWHILE


async def test_what_is_there_is_not_written_over() -> None:
    with pytest.raises(AlreadyThere):
        await asked("add", says("412 There"))


async def leaves(_: bytes, stream: trio.abc.Stream) -> None:
    await stream.aclose()


async def talks_nonsense(_: bytes, stream: trio.abc.Stream) -> None:
    await stream.send_all(b"220 mail.example.com\r\n")
    await stream.aclose()


@pytest.mark.parametrize("what", ["find", "add", "replace", "remove"])
@pytest.mark.parametrize("behaves", [leaves, talks_nonsense])
async def test_a_server_that_leaves_may_have_done_what_it_was_asked(
    what: str, behaves: Answering
) -> None:
    with pytest.raises(DiaryFailed, match="did not answer") as failed:
        await asked(what, behaves)

    assert failed.value.maybe_done == (what != "find")


async def test_a_server_that_is_not_there_has_done_nothing() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    with pytest.raises(DiaryFailed, match="could not be reached") as failed:
        await diary(port).add("a.ics", b"")

    assert not failed.value.maybe_done


async def test_a_server_has_to_prove_itself() -> None:
    authority, another = trustme.CA(), trustme.CA()
    async with serving(says("201 Created"), server_tls(authority, "127.0.0.1")) as server:
        settings = CalendarSettings(url=f"https://127.0.0.1:{server.port}/", user="a")
        with pytest.raises(DiaryFailed, match="could not be reached"):
            await DavDiary(settings, tls=client_tls(another)).add("a.ics", b"")
        assert server.heads == []
        await DavDiary(settings, tls=client_tls(authority)).add("a.ics", b"")

        assert len(server.heads) == 1


async def test_without_https_no_password_leaves_this_machine() -> None:
    settings = CalendarSettings(url="http://192.0.2.1/me/", user="owner", password=Secret("s3cret"))
    with pytest.raises(DiaryFailed, match="on this machine only"):
        await DavDiary(settings).between(THEN, LATER)


@pytest.mark.parametrize(
    ("head", "body", "why"),
    [
        pytest.param("207 Fine", b"x" * (ANSWER_MAX_BYTES + 1), "too much", id="big"),
        pytest.param("207 Fine\r\ncontent-encoding: gzip", b"x", "cannot be read", id="packed"),
        pytest.param("207 Fine", b"<multistatus", "cannot be read", id="broken"),
        pytest.param("207 Fine", b"\xff\xfe\x00", "cannot be read", id="binary"),
        pytest.param("207 Fine", b"", "cannot be read", id="empty"),
        pytest.param(
            "207 Fine",
            answer(before='<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;&b;">]>'),
            "cannot be read",
            id="entities",
        ),
        pytest.param(
            "207 Fine",
            answer(before='<!DOCTYPE a SYSTEM "file:///etc/passwd">'),
            "cannot be read",
            id="from-elsewhere",
        ),
        pytest.param("207 Fine", answer(response() * (ENTRIES_MAX + 1)), "too much", id="many"),
    ],
)
async def test_an_answer_that_is_no_answer_is_refused(head: str, body: bytes, why: str) -> None:
    with pytest.raises(DiaryFailed, match=why):
        await asked("find", says(head, body))


@pytest.mark.parametrize(
    ("found", "place"),
    [
        pytest.param(response(), f"{HOME}a.ics", id="plain"),
        pytest.param(response(href=f"{HOME}a.ics"), f"{HOME}a.ics", id="whole"),
        pytest.param(response(href="/me/work/a%20b.ics"), f"{HOME}a%20b.ics", id="escaped"),
        pytest.param(response(tag='W/"1"'), f"{HOME}a.ics", id="weak"),
        pytest.param(response(href="http://evil.example/me/work/a.ics"), None, id="elsewhere"),
        pytest.param(response(href="//evil.example/a.ics"), None, id="elsewhere-by-slashes"),
        pytest.param(response(href="http://dav.example.com/a.ics"), None, id="without-tls"),
        pytest.param(response(href="/me/%2e%2e/a.ics"), None, id="dots"),
        pytest.param(response(href="/me/work/a.ics?x"), None, id="query"),
        pytest.param(response(href="/me/work/"), None, id="the-calendar-itself"),
        pytest.param(response(href=""), None, id="nowhere"),
        pytest.param(response(href="http://[/a.ics"), None, id="no-url"),
        pytest.param(response(tag=""), None, id="no-version"),
        pytest.param(response(tag='"1"\n x: y'), None, id="version-of-two-lines"),
        pytest.param(response(tag='"ü"'), None, id="version-no-header-takes"),
        pytest.param(response(text=""), None, id="nothing"),
        pytest.param(response(text="nonsense"), None, id="nonsense"),
        pytest.param(response().replace("200 OK", "404 Gone"), None, id="a-part-that-is-not-there"),
    ],
)
def test_only_what_can_be_asked_for_again_is_believed(found: str, place: str | None) -> None:
    entries = entries_of(answer(found), HOME)

    assert [one.name for one in entries] == ([] if place is None else [place])


@given(st.binary(max_size=200), st.text(max_size=50), st.text(max_size=50))
def test_no_answer_breaks_anything(raw: bytes, href: str, text: str) -> None:
    for one in (raw, answer(response(href=href, text=text))):
        try:
            entries_of(one, HOME)
        except DiaryFailed:
            continue
