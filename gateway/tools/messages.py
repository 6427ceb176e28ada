"""The tool that takes a message for the owner: anybody may leave one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import pydantic
import structlog

from actors.control import CallControl
from actors.errors import ToolRefused
from actors.toolbox import ToolFunction
from gateway.configuration.agents import AgentSettings
from gateway.configuration.mail_address import address_of
from gateway.tools.mail import Letter, NotMailed, message_id_of
from gateway.tools.smtp import SmtpMailer
from gateway.tools.taken import MessagesInFolders, NotKept, TakenMessage
from gateway.tools.words import many_lines, one_line

if TYPE_CHECKING:
    from gateway.tools.means import Means

log: structlog.stdlib.BoundLogger = structlog.get_logger()

MAILED_WITHIN_S: Final = 6.0
"""Shorter than for a mail that somebody asked for: the message is safe already, and the caller
waits to hear so."""
LONGEST_S: Final = 15.0
TEXT_MAX_CHARS: Final = 2_000
NAME_MAX_CHARS: Final = 100
NUMBER_MAX_CHARS: Final = 40

Name = Annotated[
    str | None, pydantic.Field(max_length=NAME_MAX_CHARS, description="Who leaves the message.")
]
Number = Annotated[
    str | None,
    pydantic.Field(
        max_length=NUMBER_MAX_CHARS,
        description="Where to call back, if that is not the number they call from.",
    ),
]
Text = Annotated[
    str,
    pydantic.Field(
        min_length=1,
        max_length=TEXT_MAX_CHARS,
        description="What the owner is to be told, with everything they need for an answer.",
    ),
]


def make_take_message(means: Means, agent: AgentSettings) -> ToolFunction:
    """The function, over these means."""
    del agent
    taken = means.taken or MessagesInFolders(means.config.calls.directory)
    settings = means.config.email
    mailer = means.mailer or SmtpMailer(settings)
    sender = None if settings.sender is None else address_of(settings.sender)
    to = None if settings.messages_to is None else address_of(settings.messages_to)

    async def take_message(
        text: Text, call: CallControl, name: Name = None, number: Number = None
    ) -> dict[str, str]:
        """Take a message for the owner, who will find it. Tell the caller when it is kept."""
        message = TakenMessage(
            call_sid=call.facts.call_sid,
            tool_call_id=call.tool_call_id,
            at=means.utc_now().isoformat(timespec="seconds"),
            agent=call.facts.agent,
            caller=call.facts.from_number,
            called=call.facts.to_number,
            name=one_line(name, "name", NAME_MAX_CHARS) if name else None,
            number=one_line(number, "number", NUMBER_MAX_CHARS) if number else None,
            text=many_lines(text, "text", TEXT_MAX_CHARS),
        )
        try:
            await taken.keep(message)
        except NotKept as error:
            log.warning("message.not_kept", error=type(error.__cause__).__name__)
            raise ToolRefused(error.reason) from error
        log.info("message.taken", characters=len(message.text))
        if sender is not None and to is not None:
            letter = Letter(
                message_id=message_id_of(message.call_sid, message.tool_call_id, sender),
                sender=sender,
                to=to,
                subject="A message was left on the phone",
                text=told(message),
                at=means.utc_now(),
            )
            try:
                await mailer.send(letter, within_s=MAILED_WITHIN_S)
            except NotMailed as error:
                # Nothing that the caller could do about; the message is in its folder.
                log.warning("message.not_mailed", why=error.why)
        return {"kept": "the owner will find it"}

    return take_message


def told(message: TakenMessage) -> str:
    """The mail that tells the owner. Says who said what: names are only what somebody claimed."""
    return "\n".join(
        [
            f"Called from: {message.caller or 'no number'}",
            f"Says their name is: {message.name or '-'}",
            f"Asks to be called back at: {message.number or '-'}",
            f"When: {message.at}",
            f"Agent: {message.agent}",
            f"Call: {message.call_sid}",
            "",
            message.text,
        ]
    )
