"""What a doctor learns of what tools need: documents, mail, a calendar. Nothing is changed.

Each is asked by what a call would ask it with. No letter is sent, and no appointment made.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import trio

from gateway.calendar.caldav import DavDiary
from gateway.calendar.diary import DiaryFailed
from gateway.configuration.config import Config
from gateway.configuration.findings import Finding, fail, ok, skip, warn
from gateway.knowledge.folder import list_folder
from gateway.tools.mail import NotMailed
from gateway.tools.smtp import SmtpMailer

PATIENCE_S: Final = 15.0
"""Mail servers hold their first word back for seconds, against spam."""
SHOWN: Final = 5

Say = Callable[[Finding], None]


async def tool_findings(
    config: Config, say: Say, *, utc_now: Callable[[], datetime], offline: bool = False
) -> None:
    """Look at everything that a section names; without the network, if `offline`."""
    if config.knowledge.folder is not None:
        say(await _documents(config))
    for name in config.mcp:
        why = "not asked: whether it answers, and with how many tools, is in the log of the gateway"
        say(skip(f"mcp.{name}", f"{why}, mcp.connected and mcp.disconnected"))
    if config.email.host is not None:
        say(skip("email", "not tried: --offline") if offline else await _mail(config))
    if config.calendar.url is not None:
        say(skip("calendar", "not tried: --offline") if offline else await _diary(config, utc_now))


async def _documents(config: Config) -> Finding:
    subject, folder = "knowledge.folder", config.knowledge.folder
    if folder is None:
        raise AssertionError("nobody asks then")
    try:
        listing = await trio.to_thread.run_sync(list_folder, folder)
    except OSError as error:
        why = error.strerror or type(error).__name__
        return fail(subject, f"{folder}: {why}. Create it, or correct the path")
    count = len(listing.documents)
    if listing.remarks:
        told = "; ".join(f"{name or folder} {why}" for name, why in listing.remarks[:SHOWN])
        more = len(listing.remarks) - SHOWN
        rest = f"; and {more} more" if more > 0 else ""
        return warn(subject, f"{count} documents, and not all that is there: {told}{rest}")
    if count == 0:
        return warn(subject, f"{folder} has no documents: put .md, .txt, .html or .pdf into it")
    return ok(subject, f"{count} documents")


async def _mail(config: Config) -> Finding:
    settings = config.email
    try:
        await SmtpMailer(settings).visit(within_s=PATIENCE_S)
    except NotMailed as error:
        return fail(
            "email",
            f"{settings.host}: {error.why}. Check email.host, email.port, email.security "
            f'("{settings.security}"), email.user and email.password',
        )
    if settings.user is None:
        return ok("email", f"{settings.host} answers; no login is set")
    return ok("email", f"{settings.host} accepts the login")


async def _diary(config: Config, utc_now: Callable[[], datetime]) -> Finding:
    now = utc_now()
    try:
        with trio.fail_after(PATIENCE_S):
            await DavDiary(config.calendar).between(now, now + timedelta(days=1))
    except trio.TooSlowError:
        why = f"nothing within {PATIENCE_S:g} s"
    except DiaryFailed as error:
        why = error.why
    else:
        return ok("calendar", "can be read")
    return fail(
        "calendar",
        f"{why}. Check calendar.url, which is the collection's own and not the server's, "
        "calendar.user and calendar.password",
    )
