"""The tool that sends mail, to whom the configuration names and to nobody else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import pydantic

from actors.control import CallControl
from actors.errors import EffectUnknown, ToolRefused
from actors.toolbox import ToolFunction
from gateway.configuration.agents import AgentSettings
from gateway.configuration.mail_address import address_of, allowed_recipient
from gateway.tools.mail import Letter, NotMailed, message_id_of
from gateway.tools.smtp import SmtpMailer
from gateway.tools.words import many_lines, one_line

if TYPE_CHECKING:
    from gateway.tools.means import Means

WITHIN_S: Final = 20.0
"""For the mail server. Its commands take tens of milliseconds, but for a first greeting that some
hold back against spam."""
LONGEST_S: Final = 25.0
SUBJECT_MAX_CHARS: Final = 200
TEXT_MAX_CHARS: Final = 5_000

NO_ADDRESS: Final = "this is no address of one person: write it as anna@example.com"

To = Annotated[
    str,
    pydantic.Field(max_length=320, description="One address and nothing else: anna@example.com."),
]
Subject = Annotated[str, pydantic.Field(max_length=SUBJECT_MAX_CHARS, description="One line.")]
Text = Annotated[
    str,
    pydantic.Field(
        max_length=TEXT_MAX_CHARS,
        description="Plain text. It is read to the caller before it is sent: keep it short.",
    ),
]


def make_send_email(means: Means, agent: AgentSettings) -> ToolFunction:
    """The function, over these means."""
    del agent
    settings = means.config.email
    mailer = means.mailer or SmtpMailer(settings)
    sender = None if settings.sender is None else address_of(settings.sender)

    async def send_email(to: To, subject: Subject, text: Text, call: CallControl) -> dict[str, str]:
        """Send an e-mail for the owner, to an address that is allowed."""
        if sender is None:
            raise ToolRefused("no mail can be sent here: the settings name no sender")
        if address_of(to) is None:
            raise ToolRefused(NO_ADDRESS)
        address = allowed_recipient(to, settings.recipients)
        if address is None:
            raise ToolRefused(
                "mail cannot be sent to this address: it is not among those that the settings allow"
            )
        letter = Letter(
            message_id=message_id_of(call.facts.call_sid, call.tool_call_id, sender),
            sender=sender,
            to=address,
            subject=one_line(subject, "subject", SUBJECT_MAX_CHARS),
            text=many_lines(text, "text", TEXT_MAX_CHARS),
            at=means.utc_now(),
        )
        try:
            await mailer.send(letter, within_s=WITHIN_S)
        except NotMailed as error:
            kind = EffectUnknown if error.maybe_done else ToolRefused
            raise kind(str(error)) from error
        return {"sent": "the mail server has taken it"}

    return send_email


def read_back(arguments: Mapping[str, Any]) -> str:
    """What the caller confirms: all of it.

    Raises:
        ToolRefused: It could not be sent. That an address is not among those that are allowed is
            not said here: who they are is nobody's business who has not proved to be the owner.

    """
    address = address_of(str(arguments["to"]))
    if address is None:
        raise ToolRefused(NO_ADDRESS)
    subject = one_line(str(arguments["subject"]), "subject", SUBJECT_MAX_CHARS)
    text = many_lines(str(arguments["text"]), "text", TEXT_MAX_CHARS)
    return f"Send an e-mail to {address}, with the subject: {subject}. It says: {text}"
