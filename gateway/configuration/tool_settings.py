"""The sections of the configuration that say what tools may do, and by what. Values; pure."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import attrs

from gateway.configuration.convert import Secret

BuiltinTool = Literal[
    "take_message", "make_call", "send_sms", "send_email",
    "calendar_create_event", "calendar_update_event", "calendar_cancel_event",
    "web_research", "query_knowledge",
]  # fmt: skip
"""Tools that come with the gateway, beside those that other settings bring."""
NumberType = Literal[
    "fixed_line", "mobile", "fixed_line_or_mobile", "toll_free", "voip", "personal_number"
]
"""Kinds of numbers that can be allowed. Source: `PhoneNumberType`, phonenumbers. What costs extra
(premium rate, shared cost, universal access, pagers, voice mail) never is."""
MailSecurity = Literal["tls", "starttls", "none"]


@attrs.frozen(kw_only=True)
class OwnerSettings:
    """Who may have more done than talking, and how they prove that it is them."""

    numbers: tuple[str, ...] = attrs.field(default=(), repr=False)
    """Theirs, in E.164. Numbers can be forged: they are a hint, and no proof."""
    pin: Secret | None = None
    """4 to 12 digits, or what `offhook pin` makes of them."""
    totp_secret: Secret | None = None
    """Of an authenticator app, in base32."""
    verify_anywhere: bool = False
    """Whether the proof may be given from any number."""


@attrs.frozen(kw_only=True)
class PolicySettings:
    """What tools may do."""

    low: tuple[str, ...] = ()
    """Tools that anybody who calls may have run, whatever they say of themselves."""
    high: tuple[str, ...] = ()
    """Tools that only the verified owner may, who confirms each run. Wins over `low`."""
    confirm_s: float = 30.0
    """For the owner's answer, from when the question was heard."""
    countries: tuple[str, ...] = ()
    """Where `make_call` and `send_sms` may reach, as ISO 3166 codes. Nowhere unless it is said."""
    number_types: tuple[NumberType, ...] = ("fixed_line", "mobile", "fixed_line_or_mobile")
    calls_per_day: int = 20
    """That `make_call` may place, over all callers. A day is the last 24 hours."""
    messages_per_day: int = 50
    """Likewise of `send_sms`."""
    usd_per_day: float = 5.0
    """What both may cost together, by the two estimates below."""
    call_usd_per_min: float = 0.05
    message_usd: float = 0.08
    max_call_s: float = 600.0
    """Of a call that `make_call` places."""


@attrs.frozen(kw_only=True)
class EmailSettings:
    """The mail server, for `send_email` and for messages that were taken."""

    host: str | None = None
    port: int | None = None
    """`None`: 465 with `tls`, 587 with `starttls`, 25 with `none`."""
    security: MailSecurity = "starttls"
    user: str | None = None
    password: Secret | None = None
    sender: str | None = None
    """The address that mail comes from."""
    recipients: tuple[str, ...] = ()
    """Whom `send_email` may write to: addresses, or `*@example.com`. Nobody unless it is said."""
    messages_to: str | None = None
    """Where messages that callers left go, beside the call's folder."""


@attrs.frozen(kw_only=True)
class CalendarSettings:
    """The calendar, over CalDAV."""

    url: str | None = None
    """Of the calendar's collection: `https://dav.example.com/calendars/me/work/`."""
    user: str | None = None
    password: Secret | None = None
    timezone: str = "UTC"
    """Where its appointments are: `Europe/Berlin`."""


@attrs.frozen(kw_only=True)
class ResearchSettings:
    """What `web_research` asks."""

    model: str = "gpt-5-mini"
    longest_s: float = 45.0
    per_call: int = 5
    """Questions that one phone call may ask."""


@attrs.frozen(kw_only=True)
class KnowledgeSettings:
    """What `query_knowledge` looks through."""

    folder: Path | None = None
    """Documents: Markdown, text, HTML, PDF. Read anew when they change."""
