"""The tools that come with the gateway: what each is made of, and what it may do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import attrs
import httpx

from actors.policy.risk import Risk
from actors.toolbox import ReadBack, Toolbox, ToolFunction
from gateway.configuration.agents import AgentSettings
from gateway.configuration.settings import Config
from gateway.configuration.tool_settings import BuiltinTool
from gateway.knowledge.live import Knowledge
from gateway.permission.caps import MemorySpending, Spending
from gateway.tools import appointments, messages, outgoing, send_email
from gateway.tools.diary import Diary
from gateway.tools.knowledge import LOOK_UP_S, make_query_knowledge
from gateway.tools.mail import Mailer
from gateway.tools.research import Tally, longest_s, make_web_research
from gateway.tools.taken import TakenMessages
from gateway.twilio.outgoing import OutgoingCalls
from gateway.twilio.twilio_rest import TwilioRest


@attrs.frozen(kw_only=True)
class Means:
    """What they reach the world by. One per process."""

    config: Config
    utc_now: Callable[[], datetime]
    rest: TwilioRest | None = None
    """The carrier's account; `None`: there is none."""
    transport: httpx.AsyncBaseTransport | None = None
    """Of requests to servers that the configuration names; `None`: the network."""
    spending: Spending = attrs.field(factory=MemorySpending)
    """What calls and messages have cost."""
    outgoing: OutgoingCalls | None = None
    """The calls that were placed; `None`: none can be."""
    own_numbers: Callable[[], tuple[str, ...]] = tuple
    """What this gateway answers now, beside what the configuration said when it began."""
    mailer: Mailer | None = None
    """Takes letters to a mail server; `None`: to the one of the configuration, in a thread."""
    taken: TakenMessages | None = None
    """Keeps what callers left; `None`: in the folders of their calls, in a thread."""
    diary: Diary | None = None
    """The owner's calendar; `None`: the one of the configuration, over CalDAV."""
    knowledge: Knowledge | None = None
    """What `query_knowledge` looks into; `None`: there is nothing."""
    questions: Tally = attrs.field(factory=Tally)
    """Those that `web_research` asked."""


@attrs.frozen
class Builtin:
    """One of them."""

    make: Callable[[Means, AgentSettings], ToolFunction]
    """The function, as an agent has it. Its name is the tool's."""
    risk: Risk
    read_back: ReadBack | None = None
    longest_s: float | Callable[[Config], float] | None = None
    reads: Callable[[Means], ReadBack] | None = None
    """Makes `read_back`, of a tool whose own depends on more than its arguments."""


BUILTIN: Final[Mapping[BuiltinTool, Builtin]] = {
    "make_call": Builtin(outgoing.make_call, "high", outgoing.read_back_call, outgoing.LONGEST_S),
    "send_sms": Builtin(outgoing.send_sms, "high", outgoing.read_back_sms, outgoing.LONGEST_S),
    "take_message": Builtin(messages.make_take_message, "low", longest_s=messages.LONGEST_S),
    "send_email": Builtin(
        send_email.make_send_email, "high", send_email.read_back, send_email.LONGEST_S
    ),
    "calendar_create_event": Builtin(
        appointments.make_create,
        "high",
        longest_s=appointments.LONGEST_S,
        reads=appointments.make_read_create,
    ),
    "calendar_update_event": Builtin(
        appointments.make_update,
        "high",
        longest_s=appointments.LONGEST_S,
        reads=appointments.make_read_update,
    ),
    "calendar_cancel_event": Builtin(
        appointments.make_cancel,
        "high",
        longest_s=appointments.LONGEST_S,
        reads=appointments.make_read_cancel,
    ),
    "query_knowledge": Builtin(make_query_knowledge, "low", longest_s=LOOK_UP_S),
    "web_research": Builtin(make_web_research, "low", longest_s=longest_s),
}


def builtin_tools(means: Means, agent: AgentSettings) -> Toolbox:
    """Those that an agent has by its settings."""
    box = Toolbox()
    for name in dict.fromkeys(agent.builtin_tools):
        one = BUILTIN[name]
        box.add(
            one.make(means, agent),
            risk=one.risk,
            read_back=one.read_back if one.reads is None else one.reads(means),
            longest_s=one.longest_s(means.config) if callable(one.longest_s) else one.longest_s,
        )
    return box
