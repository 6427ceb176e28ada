"""A letter, as it is sent: a value, and its text on the wire. Pure."""

from __future__ import annotations

import hashlib
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final, Protocol

import attrs

from gateway.tools.http_tools import MAYBE_DONE

_ASCII: Final = SMTP.clone(cte_type="7bit")
"""Nothing is asked of servers that an old one might not have."""


@attrs.frozen(kw_only=True)
class Letter:
    """One mail, to one person. Addresses as `gateway.configuration.mail_address` has them."""

    message_id: str
    """By which two copies of it are one, for whoever gets it."""
    sender: str = attrs.field(repr=False)
    to: str = attrs.field(repr=False)
    subject: str = attrs.field(repr=False)
    """One line."""
    text: str = attrs.field(repr=False)
    at: datetime


class Mailer(Protocol):
    """Who takes letters to a mail server."""

    async def send(self, letter: Letter, *, within_s: float) -> None:
        """Return when the server has taken it. Cancellable; never tries twice.

        Raises:
            NotMailed: It has not, or nobody knows.

        """


@attrs.frozen
class NotMailed(Exception):
    """A letter was not taken, or it is not known that it was. Never quotes the server."""

    why: str
    maybe_done: bool = False
    """It was on its way when the connection was lost."""

    def __str__(self) -> str:
        return f"{self.why}; {MAYBE_DONE if self.maybe_done else 'nothing was sent'}"


def message_id_of(call_sid: str, tool_call_id: str, sender: str) -> str:
    """The same for the same tool call, whenever it is asked for; tells nobody anything else."""
    digest = hashlib.sha256(f"{call_sid}\n{tool_call_id}".encode(errors="replace")).hexdigest()
    return f"<{digest[:32]}@{sender.partition('@')[2]}>"


def wire_of(letter: Letter) -> bytes:
    r"""The letter by RFC 5322, in ASCII, its lines ended by `\r\n`.

    Raises:
        ValueError: A header would be more than one.

    """
    message = EmailMessage(policy=_ASCII)
    message["From"] = letter.sender
    message["To"] = letter.to
    message["Subject"] = letter.subject
    message["Date"] = format_datetime(letter.at)
    message["Message-ID"] = letter.message_id
    # Nobody's holiday notice answers it. Source: "5. The Auto-Submitted header field", RFC 3834.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text, charset="utf-8")
    return message.as_bytes()
