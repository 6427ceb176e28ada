"""The tools that come with the gateway: keys to the far end, and a transfer to somebody else.

`hangup` is not among them: it is the call's own.
"""

from __future__ import annotations

from typing import Annotated, Protocol

import attrs
import pydantic

from actors.control import CallControl
from actors.errors import ToolRefused
from actors.messages import HANGUP
from actors.ports import Tools, Transfer
from actors.toolbox import Toolbox, ToolFunction, ToolSchema
from gateway.configuration.agents import Agent, AgentSettings
from gateway.configuration.tool_rules import decided
from gateway.mcp.model_tools import ModelTools
from gateway.tools.builtin import builtin_tools, message_tool
from gateway.tools.http_tools import HttpTools
from gateway.tools.means import Means

Keys = Annotated[
    str,
    pydantic.Field(
        pattern=r"^[0-9*#A-Dw]{1,32}$",
        description="0 to 9, *, #, A to D; w waits for half a second. For example 1 or 203#.",
    ),
]
Reason = Annotated[
    str, pydantic.Field(max_length=500, description="Why the caller is to be connected.")
]
Summary = Annotated[
    str,
    pydantic.Field(
        min_length=1,
        max_length=500,
        description=(
            "Who calls and what about, in a sentence or two, in the language of whoever is called: "
            "it is said to them before they are connected. The caller does not hear it."
        ),
    ),
]
NOT_REACHED = "the caller is back; say so, and offer to take a message"


class Toolset(Tools, Protocol):
    """Tools that can be shown to a model. A `Toolbox` is one."""

    def schemas(self) -> tuple[ToolSchema, ...]:
        """What the model is told."""


@attrs.define(eq=False)
class Layered:
    """Tools over tools: of two with a name, the upper is the one. Fits `Toolset`."""

    upper: Toolset
    lower: Toolset

    def schemas(self) -> tuple[ToolSchema, ...]:
        """See `Toolset`."""
        upper = self.upper.schemas()
        names = {schema.name for schema in upper}
        return (*(one for one in self.lower.schemas() if one.name not in names), *upper)

    async def run(self, name: str, arguments: str, call: CallControl | None = None) -> str:
        """See the `Tools` port."""
        for tools in (self.upper, self.lower):
            if any(schema.name == name for schema in tools.schemas()):
                return await tools.run(name, arguments, call)
        names = ", ".join([*(schema.name for schema in self.schemas()), HANGUP])
        raise ToolRefused(f"there is no tool {name!r}; there are: {names}")

    def longest_s(self, name: str) -> float | None:
        """See the `Tools` port."""
        for tools in (self.upper, self.lower):
            if any(schema.name == name for schema in tools.schemas()):
                return tools.longest_s(name)
        return None


def toolbox_of(agent: AgentSettings, base: Toolset) -> Toolset:
    """All that this agent may call: `base`, and under it what its settings bring.

    Args:
        agent: `phone_menus` brings `send_dtmf`; `transfer_to` brings `transfer_call`.
        base: Its own tools, which may take the place of those.

    """
    own = Toolbox()
    if agent.phone_menus:
        own.add(send_dtmf, risk="low")
    if agent.transfer_to is not None:
        own.add(_transfer_call(agent, agent.transfer_to), risk="low")
    return Layered(base, own) if own.schemas() else base


def tools_of(agent: Agent, base: Toolset, means: Means | None = None) -> Toolset:
    """All that this agent may call.

    Of two with a name, the earlier one is it: the tools of its files, `base`, HTTP requests,
    what its settings bring, what comes with the gateway, and those of MCP servers.

    Args:
        agent: Whose tools.
        base: Those of the host application.
        means: What tools reach the world by; `None`: those that need them are refused, or are
            not there.

    """
    tools = base
    if agent.http_tools:
        tools = Layered(tools, HttpTools(agent.http_tools, None if means is None else means.web))
    if agent.tools is not None:
        tools = Layered(agent.tools, tools)
    tools = toolbox_of(agent.settings, tools)
    elsewhere = ModelTools.of(agent.mcp)
    if means is None:
        return Layered(tools, elsewhere) if elsewhere.schemas() else tools
    tools = Layered(tools, builtin_tools(means, agent.settings))
    if agent.mcp and means.mcp is not None:
        # Below all others: whatever a server calls its tools, it takes nobody's place.
        tools = Layered(tools, means.mcp.tools_of(agent.mcp))
    tools = Layered(tools, elsewhere)
    risks = decided(means.config.policy)
    if any(risks.get(schema.name, schema.risk) == "high" for schema in tools.schemas()):
        # What a stranger is offered who asks for one of those.
        tools = Layered(tools, message_tool(means, agent.settings))
    return tools


async def send_dtmf(digits: Keys, call: CallControl) -> dict[str, str]:
    """Press keys on the telephone, to answer an automatic phone menu.

    Whatever the agent said before is heard to its end first.
    """
    await call.press(digits)
    return {"pressed": digits}


def _transfer_call(agent: AgentSettings, to: str) -> ToolFunction:
    """The function, as this agent has it."""

    async def connect(call: CallControl, whisper: str | None) -> dict[str, str]:
        outcome = await call.transfer(Transfer(to, agent.transfer_by, whisper))
        return {"outcome": outcome, "now": NOT_REACHED}

    async def with_summary(summary: Summary, call: CallControl) -> dict[str, str]:
        """Connect the caller to a human. Tell the caller so in the same response."""
        return await connect(call, summary)

    async def with_reason(reason: Reason, call: CallControl) -> dict[str, str]:
        """Connect the caller to a human. Tell the caller so in the same response."""
        del reason  # For the record, which has every argument.
        return await connect(call, None)

    function = with_summary if agent.transfer_whisper else with_reason
    function.__name__ = "transfer_call"
    return function
