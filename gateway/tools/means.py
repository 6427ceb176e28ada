"""What tools reach the world by: servers, stores, clocks. A value, made when the gateway starts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import attrs
import httpx

from actors.toolbox import Toolbox
from gateway.calendar.diary import Diary
from gateway.configuration.agents import AgentSettings
from gateway.configuration.settings import Config
from gateway.configuration.tool_settings import BuiltinTool
from gateway.knowledge.live import Knowledge
from gateway.mcp.tools import McpServers
from gateway.permission.caps import MemorySpending, Spending
from gateway.tools.mail import Mailer
from gateway.tools.research import Tally
from gateway.tools.taken import TakenMessages
from gateway.twilio.outgoing import OutgoingCalls
from gateway.twilio.twilio_rest import TwilioRest
from gateway.web.public_web import Web


@attrs.frozen(kw_only=True)
class Means:
    """What the tools of all agents reach the world by. One per process."""

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
    web: Web | None = None
    """What requests of an owner's making go over; `None`: they are refused."""
    mcp: McpServers | None = None
    """The servers of tools that the gateway is connected to; `None`: none."""
    made: dict[tuple[tuple[BuiltinTool, ...], AgentSettings], Toolbox] = attrs.field(
        factory=dict, init=False, eq=False, repr=False
    )
    """Tools that were made of these means, for the calls that come next: making them takes longer
    than a frame of audio may wait."""
