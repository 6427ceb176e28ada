"""Tools by which calls and messages go out: `make_call` and `send_sms`.

Whoever speaks on the phone chooses the arguments. What is asked of the carrier is therefore checked
here to the last character, whoever has allowed the tool to be run.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import attrs
import pydantic
import trio

from actors.control import CallControl
from actors.errors import CarrierRefused, EffectUnknown, ToolRefused
from actors.policy.record import CallFacts
from actors.toolbox import ReadBack, ToolFunction
from gateway.configuration.agents import AgentSettings
from gateway.permission.caps import MICROS, CapReached, Caps, Kind, SpendingFailed, Wish
from gateway.permission.numbers import Reach, dialable, is_e164
from gateway.tools.segments import segments
from gateway.twilio.outgoing import PLACED, RING_S, OutgoingCall, OutgoingCalls
from gateway.twilio.twilio_rest import TwilioRest, Unclear

if TYPE_CHECKING:
    from gateway.tools.means import Means

LONGEST_TASK: Final = 500
LONGEST_TEXT: Final = 1600
"""Characters of a message. Source: "Messages resource", Twilio docs."""
LONGEST_S: Final = 30.0
"""Of a run: the book, and all tries of the request."""
NO_CALLS: Final = "calls cannot be placed here"
NO_MESSAGES: Final = "messages cannot be sent here"
VOICE_PATH: Final = "/twilio/voice"
STATUS_PATH: Final = "/twilio/status"

_JOINERS: Final = frozenset("\u200c\u200d")
"""Of the characters that cannot be seen, those that words and pictures are made with."""

To = Annotated[
    str,
    pydantic.Field(
        min_length=1,
        max_length=40,
        description="The telephone number, internationally and in full: +4930123456.",
    ),
]
Task = Annotated[
    str,
    pydantic.Field(
        min_length=1,
        max_length=LONGEST_TASK,
        description=(
            "What to do in that call, with all that has to be known for it: whoever calls there "
            "knows nothing of this conversation."
        ),
    ),
]
Text = Annotated[
    str,
    pydantic.Field(min_length=1, max_length=LONGEST_TEXT, description="The message, as it is."),
]


def make_call(means: Means, agent: AgentSettings) -> ToolFunction:
    """Make the tool `make_call` as this agent has it."""
    policy = means.config.policy

    async def make_call(to: To, task: Task, call: CallControl) -> dict[str, object]:
        """Call somebody else, in a call of its own. What comes of it is not told in this one."""
        rest, base, book = _placing(means)
        number, ours = _numbers(means, agent, call.facts, to)
        plan = OutgoingCall(
            to=number,
            from_number=ours,
            task=_one_line(task),
            agent=call.facts.agent,
            placed_by=call.facts.call_sid,
            longest_s=policy.max_call_s,
        )
        if not book.has_room():
            raise ToolRefused("all lines are taken: try again later")
        key = book.plan(plan, trio.current_time())
        if key is None:
            raise ToolRefused("one call at a time: the one that was placed before is not over")
        form = {
            "To": number,
            "From": ours,
            "Url": f"{base}{VOICE_PATH}?{PLACED}={key}",
            "Method": "POST",
            "StatusCallback": f"{base}{STATUS_PATH}?{PLACED}={key}",
            "StatusCallbackMethod": "POST",
            "Timeout": str(RING_S),
            "TimeLimit": str(math.ceil(policy.max_call_s)),
        }
        minutes = math.ceil(policy.max_call_s / 60)
        try:
            sid = await _create(
                means, rest, _Request("Calls", "call", minutes * policy.call_usd_per_min, form)
            )
        except EffectUnknown:
            raise  # It may ring all the same, and then the agent is there.
        except ToolRefused:
            book.withdraw(key)
            raise
        book.placed(key, sid)
        return {"placed": True, "status": "queued"}

    return make_call


def send_sms(means: Means, agent: AgentSettings) -> ToolFunction:
    """Make the tool `send_sms` as this agent has it."""
    policy = means.config.policy

    async def send_sms(to: To, text: Text, call: CallControl) -> dict[str, object]:
        """Send somebody a text message (SMS)."""
        rest = _rest(means, NO_MESSAGES)
        number, ours = _numbers(means, agent, call.facts, to)
        body = _message(text)
        form = {"To": number, "From": ours, "Body": body}
        base = means.config.server.public_url
        if base is not None:
            form["StatusCallback"] = base.rstrip("/") + STATUS_PATH
        usd = segments(body) * policy.message_usd
        await _create(means, rest, _Request("Messages", "message", usd, form))
        return {"sent": True, "status": "queued"}

    return send_sms


def call_read_back(means: Means, _: AgentSettings) -> ReadBack:
    """What is confirmed before `make_call`; refuses what would be refused afterwards."""

    def read_back(arguments: Mapping[str, Any]) -> str:
        _placing(means)
        number, task = _number_said(means, arguments.get("to")), arguments.get("task")
        task = _one_line(task) if isinstance(task, str) else task
        return f"Call {number}, with this task: {task}"

    return read_back


def sms_read_back(means: Means, _: AgentSettings) -> ReadBack:
    """What is confirmed before `send_sms`, likewise."""

    def read_back(arguments: Mapping[str, Any]) -> str:
        _rest(means, NO_MESSAGES)
        number, text = _number_said(means, arguments.get("to")), arguments.get("text")
        text = _message(text) if isinstance(text, str) else text
        return f"Send a text message to {number}, which says: {text}"

    return read_back


@attrs.frozen
class _Request:
    """Something to ask of the carrier, and what it may cost."""

    what: Literal["Calls", "Messages"]
    kind: Kind
    usd: float
    form: Mapping[str, str] = attrs.field(repr=False)


async def _create(means: Means, rest: TwilioRest, request: _Request) -> str:
    """Reserve what it costs, and ask for it. Returns its SID.

    Cancelled, it stays reserved. Raises `ToolRefused` when it certainly was not done, and
    `EffectUnknown`.
    """
    wish = Wish(kind=request.kind, micros=math.ceil(request.usd * MICROS), at=means.utc_now())
    try:
        entry = await means.spending.reserve(wish, Caps.of(means.config.policy))
    except CapReached as reached:
        raise ToolRefused(f"{reached.what}; it can be tried again tomorrow") from None
    except SpendingFailed as failed:
        raise ToolRefused(f"nothing was sent: {failed}") from None
    try:
        return await rest.create(request.what, request.form)
    except CarrierRefused as refused:
        why = refused.reason
    except Unclear as unclear:
        # Not the key of another try: the carrier knows no two requests for the same.
        raise EffectUnknown(
            f"{unclear}: whether it took effect is not known. Do not try it again; say so"
        ) from None
    with suppress(SpendingFailed):  # It stays counted then, which is too much and not too little.
        await means.spending.release(entry)
    raise ToolRefused(f"it was not done: {why}")


def _placing(means: Means) -> tuple[TwilioRest, str, OutgoingCalls]:
    """What calls are placed by: the account, our own address, and the book of them."""
    rest, base = _rest(means, NO_CALLS), means.config.server.public_url
    if base is None:
        raise ToolRefused(f"{NO_CALLS}: the gateway has no public address")
    if means.outgoing is None:
        raise ToolRefused(f"{NO_CALLS}: there is no book of them")
    return rest, base.rstrip("/"), means.outgoing


def _rest(means: Means, what: str) -> TwilioRest:
    if means.rest is None:
        raise ToolRefused(f"{what}: the gateway has no access to the carrier's account")
    return means.rest


def _numbers(means: Means, agent: AgentSettings, facts: CallFacts, to: str) -> tuple[str, str]:
    """Whom to reach, and from which number of ours."""
    outbound = facts.direction == "outbound"
    called = facts.from_number if outbound else facts.to_number
    ours = next((one for one in (called, *agent.numbers) if is_e164(one)), None)
    if ours is None:
        raise ToolRefused("this line has no number of its own that others could be reached from")
    own = (called, ours, *means.own_numbers())
    return dialable(to, Reach.of(means.config), also_own=filter(None, own)), ours


def _number_said(means: Means, to: object) -> object:
    """The number as it will be dialled. What is no text is refused later, by its type."""
    if not isinstance(to, str):
        return to
    return dialable(to, Reach.of(means.config), also_own=means.own_numbers())


def _one_line(task: str) -> str:
    """A task without line breaks and without anything that cannot be read back."""
    line = " ".join(task.split())
    if not line or any(_is_unreadable(one) for one in line):
        raise ToolRefused("task: it is empty, or holds characters that cannot be read back")
    return line


def _message(text: str) -> str:
    """A message that says what can be read back of it, and nothing else."""
    body = text.replace("\r\n", "\n").strip()
    if not body or any(_is_unreadable(one) for one in body if one != "\n"):
        raise ToolRefused("text: it is empty, or holds characters that cannot be read back")
    return body


def _is_unreadable(one: str) -> bool:
    """Whether it is a control, an unseen format character, or no character at all."""
    return unicodedata.category(one)[0] == "C" and one not in _JOINERS
