"""The owner's calendar over CalDAV.

Source: RFC 4791, and for what lies below it RFC 4918.
"""

from __future__ import annotations

import ssl
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import cache
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit
from xml.etree.ElementTree import Element, ParseError

import attrs
import httpx
import structlog
import trio
from defusedxml import ElementTree, common  # type: ignore[import-untyped] # has no types

from gateway.calendar.diary import CHANGED_MEANWHILE, AlreadyThere, DiaryFailed, Entry, Rewrite
from gateway.calendar.ical import read_calendar
from gateway.configuration.convert import is_loopback
from gateway.configuration.tool_settings import CalendarSettings

log: structlog.stdlib.BoundLogger = structlog.get_logger()

TRY_S: Final = 4.0
"""For each step of a request. Usually tens of milliseconds."""
ANSWER_MAX_BYTES: Final = 1024 * 1024
"""A day's appointments are some tens of kilobytes."""
ENTRIES_MAX: Final = 200
_DAV: Final = "{DAV:}"
_CALDAV: Final = "{urn:ietf:params:xml:ns:caldav}"
_QUERY: Final = """<?xml version="1.0" encoding="utf-8"?>
<c:calendar-query xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav">
<d:prop><d:getetag/><c:calendar-data/></d:prop>
<c:filter><c:comp-filter name="VCALENDAR"><c:comp-filter name="VEVENT">
<c:time-range start="{start}" end="{end}"/>
</c:comp-filter></c:comp-filter></c:filter>
</c:calendar-query>"""
"""Source: "7.8. CALDAV:calendar-query REPORT", RFC 4791. All values in it are times of ours."""


@attrs.define(eq=False)
class DavDiary:
    """A calendar collection on a server, as the configuration names it. Fits `Diary`.

    Args:
        settings: Of `[calendar]`.
        transport: What requests go over, and is not closed here; `None`: the network.
        tls: What proves the server; `None`: certificates that this machine trusts.

    """

    _settings: CalendarSettings
    _transport: httpx.AsyncBaseTransport | None = None
    _tls: ssl.SSLContext | None = None

    async def between(self, start: datetime, end: datetime) -> tuple[Entry, ...]:
        """See `Diary`."""
        span = (f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}" for moment in (start, end))
        body = _QUERY.format(**dict(zip(("start", "end"), span, strict=True)))
        headers = {"depth": "1", "content-type": "application/xml; charset=utf-8"}
        url = self._url()
        status, answer = await self._ask("REPORT", url, body.encode(), headers)
        if status != 207:
            raise _refused(status, writes=False)
        # In a thread: a hundred appointments take longer than a frame of audio may wait.
        return await trio.to_thread.run_sync(entries_of, answer, url, abandon_on_cancel=True)

    async def add(self, name: str, text: bytes) -> None:
        """See `Diary`."""
        status, _ = await self._put(urljoin(self._url(), name), text, {"if-none-match": "*"})
        if status == 412:
            raise AlreadyThere
        if status not in (200, 201, 204):
            raise _refused(status, writes=True)

    async def replace(self, entry: Entry, change: Rewrite) -> None:
        """See `Diary`."""
        text = await trio.to_thread.run_sync(change, entry.calendar, abandon_on_cancel=True)
        status, _ = await self._put(entry.name, text, {"if-match": entry.version})
        if status in (404, 410, 412):
            raise CHANGED_MEANWHILE
        if status not in (200, 201, 204):
            raise _refused(status, writes=True)

    async def remove(self, entry: Entry) -> None:
        """See `Diary`."""
        status, _ = await self._ask("DELETE", entry.name, None, {"if-match": entry.version})
        if status in (404, 410, 412):
            raise CHANGED_MEANWHILE
        if status not in (200, 202, 204):
            raise _refused(status, writes=True)

    async def _put(self, url: str, text: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        kind = {"content-type": "text/calendar; charset=utf-8"}
        return await self._ask("PUT", url, text, headers | kind)

    def _url(self) -> str:
        url = self._settings.url
        if url is None:
            raise DiaryFailed("there is no calendar in the settings")
        parts = urlsplit(url)
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise DiaryFailed("a calendar without https can be on this machine only")
        return url if url.endswith("/") else f"{url}/"

    async def _ask(
        self, method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        writes = method != "REPORT"
        user, password = self._settings.user, self._settings.password
        login = None
        if user is not None and password is not None:
            login = httpx.BasicAuth(user, password.reveal())
        try:
            async with AsyncExitStack() as stack:
                transport = self._transport or await stack.enter_async_context(
                    httpx.AsyncHTTPTransport(verify=await self._trust())
                )
                client = httpx.AsyncClient(transport=transport, trust_env=False)
                request = client.stream(
                    method,
                    url,
                    content=body,
                    # Compressed, a small answer could become a big one.
                    headers=headers | {"accept-encoding": "identity", "user-agent": "offhook"},
                    auth=login,
                    timeout=TRY_S,
                    follow_redirects=False,
                )
                response = await stack.enter_async_context(request)
                if writes or response.status_code != 207:
                    return response.status_code, b""
                return 207, await _body(response)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            log.warning("calendar.unreached", error=type(error).__name__)
            raise DiaryFailed("the calendar could not be reached") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            log.warning("calendar.unanswered", error=type(error).__name__, writes=writes)
            raise DiaryFailed("the calendar did not answer", writes) from error

    async def _trust(self) -> ssl.SSLContext:
        # In a thread: the first time, it reads files for tens of milliseconds.
        return await trio.to_thread.run_sync(_trust) if self._tls is None else self._tls


@cache
def _trust() -> ssl.SSLContext:
    return ssl.create_default_context()


def entries_of(answer: bytes, url: str) -> tuple[Entry, ...]:
    """The calendar objects of a server's answer to a query. Pure; blocks for as long as it takes.

    Raises:
        DiaryFailed: It is no such answer.

    """
    try:
        root: Element = ElementTree.fromstring(answer, forbid_dtd=True)
    except (ParseError, common.DefusedXmlException, LookupError, ValueError) as error:
        raise DiaryFailed("the calendar's answer cannot be read") from error
    found: list[Entry] = []
    for response in root.iterfind(f"{_DAV}response"):
        href = response.findtext(f"{_DAV}href", "").strip()
        place = _place(url, href)
        tag = text = ""
        for stat in response.iterfind(f"{_DAV}propstat"):
            if " 200 " in f"{stat.findtext(f'{_DAV}status', '')} ":
                tag = stat.findtext(f"{_DAV}prop/{_DAV}getetag", "").strip() or tag
                text = stat.findtext(f"{_DAV}prop/{_CALDAV}calendar-data", "") or text
        calendar = read_calendar(text) if text else None
        # Without a version there is no telling whether it is still what was found.
        if place is None or not _is_tag(tag) or calendar is None:
            continue
        if len(found) == ENTRIES_MAX:
            raise DiaryFailed("there is too much in the calendar at that time")
        found.append(Entry(place, tag, calendar))
    return tuple(found)


def _place(url: str, href: str) -> str | None:
    """Where an entry is; `None`: not on the calendar's own server, which is given a password."""
    try:
        found, home = urlsplit(urljoin(url, href)), urlsplit(url)
    except ValueError:
        return None
    ours = (found.scheme, found.netloc) == (home.scheme, home.netloc)
    parts = unquote(found.path).split("/")
    if not ours or not href or found.query or {".", ".."} & set(parts) or not parts[-1]:
        return None
    return found._replace(fragment="").geturl()


def _is_tag(tag: str) -> bool:
    """Whether it can be sent back in a header as it is."""
    return 0 < len(tag) <= 500 and tag.isascii() and tag.isprintable()


async def _body(response: httpx.Response) -> bytes:
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise DiaryFailed("the calendar's answer cannot be read")
    parts: list[bytes] = []
    size = 0
    with trio.CancelScope() as reading:
        async for part in response.aiter_raw():
            size += len(part)
            if size <= ANSWER_MAX_BYTES:
                parts.append(part)
            else:
                # Ends the innermost of several generators, and so each of them; a `break` would
                # leave them to the garbage collector.
                reading.cancel()
    if size > ANSWER_MAX_BYTES:
        raise DiaryFailed("there is too much in the calendar at that time")
    return b"".join(parts)


def _refused(status: int, *, writes: bool) -> DiaryFailed:
    log.warning("calendar.refused", status=status, writes=writes)
    if status == 401:
        return DiaryFailed("the calendar does not accept the login of the settings")
    if status == 403:
        return DiaryFailed("the calendar does not allow this with the login of the settings")
    if status in (404, 405, 409, 410) or 300 <= status < 400:
        return DiaryFailed("there is no calendar at the address of the settings")
    if status >= 500:
        return DiaryFailed("the calendar has a problem of its own", writes)
    return DiaryFailed(f"the calendar refused, with status {status}")
