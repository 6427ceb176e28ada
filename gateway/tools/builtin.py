"""The tools that come with the gateway: what each is made of, and what it may do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import attrs

from actors.policy.risk import Risk
from actors.toolbox import ReadBack, Toolbox, ToolFunction
from gateway.calendar import appointments
from gateway.configuration.agents import AgentSettings
from gateway.configuration.settings import Config
from gateway.configuration.tool_settings import BuiltinTool
from gateway.tools import messages, outgoing, send_email
from gateway.tools.knowledge import LOOK_UP_S, make_query_knowledge
from gateway.tools.means import Means
from gateway.tools.research import longest_s, make_web_research

MADE_KEPT: Final = 64
"""Sets of tools: one or two for each agent, and for those of a configuration before this one."""

ReadBackOf = Callable[[Means, AgentSettings], ReadBack]


@attrs.frozen
class Builtin:
    """One of them."""

    make: Callable[[Means, AgentSettings], ToolFunction]
    """The function, as an agent has it. Its name is the tool's."""
    risk: Risk
    read_back: ReadBackOf | None = None
    """What the owner confirms, as an agent has it: needed where the risk is high."""
    longest_s: float | Callable[[Config], float] | None = None


def _always(read_back: ReadBack) -> ReadBackOf:
    return lambda _means, _agent: read_back


def _of_means(make: Callable[[Means], ReadBack]) -> ReadBackOf:
    return lambda means, _agent: make(means)


BUILTIN: Final[Mapping[BuiltinTool, Builtin]] = {
    "make_call": Builtin(outgoing.make_call, "high", outgoing.call_read_back, outgoing.LONGEST_S),
    "send_sms": Builtin(outgoing.send_sms, "high", outgoing.sms_read_back, outgoing.LONGEST_S),
    "take_message": Builtin(messages.make_take_message, "low", longest_s=messages.LONGEST_S),
    "send_email": Builtin(
        send_email.make_send_email, "high", _always(send_email.read_back), send_email.LONGEST_S
    ),
    "calendar_create_event": Builtin(
        appointments.make_create,
        "high",
        _of_means(appointments.make_read_create),
        appointments.LONGEST_S,
    ),
    "calendar_update_event": Builtin(
        appointments.make_update,
        "high",
        _of_means(appointments.make_read_update),
        appointments.LONGEST_S,
    ),
    "calendar_cancel_event": Builtin(
        appointments.make_cancel,
        "high",
        _of_means(appointments.make_read_cancel),
        appointments.LONGEST_S,
    ),
    "query_knowledge": Builtin(make_query_knowledge, "low", longest_s=LOOK_UP_S),
    "web_research": Builtin(make_web_research, "low", longest_s=longest_s),
}


def builtin_tools(means: Means, agent: AgentSettings) -> Toolbox:
    """Those that an agent has by its settings."""
    return _made(agent.builtin_tools, means, agent)


def message_tool(means: Means, agent: AgentSettings) -> Toolbox:
    """The one that takes messages, for an agent whose settings may not name it."""
    return _made(("take_message",), means, agent)


def _made(names: Iterable[BuiltinTool], means: Means, agent: AgentSettings) -> Toolbox:
    key = (tuple(names), agent)
    if key not in means.made:
        while len(means.made) >= MADE_KEPT:
            del means.made[next(iter(means.made))]
        means.made[key] = _make(key[0], means, agent)
    return means.made[key]


def _make(names: Iterable[BuiltinTool], means: Means, agent: AgentSettings) -> Toolbox:
    box = Toolbox()
    for name in dict.fromkeys(names):
        one = BUILTIN[name]
        box.add(
            one.make(means, agent),
            risk=one.risk,
            read_back=None if one.read_back is None else one.read_back(means, agent),
            longest_s=one.longest_s(means.config) if callable(one.longest_s) else one.longest_s,
        )
    return box
