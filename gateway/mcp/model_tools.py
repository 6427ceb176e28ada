"""Tools of MCP servers that the model's own server asks: it has them run, and we give leave.

Nothing of a server is known here but what the owner declared: neither what its tools take, nor
what they say of themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import attrs

from actors.control import CallControl
from actors.errors import ToolRefused
from actors.policy.risk import Risk
from actors.toolbox import ToolSchema
from actors.wire.openai_items import tool_name
from actors.wire.openai_session import ToolServer
from gateway.configuration.mcp_server import McpServer
from gateway.mcp.listing import RESERVED

NOT_HERE: Final = "it is run by the model's server, and only in a call"
BEARER: Final = "bearer "


@attrs.frozen
class ModelTools:
    """What these servers can do, as it was declared. Fits `Toolset`."""

    _schemas: Mapping[str, ToolSchema]

    @classmethod
    def of(cls, servers: Sequence[McpServer]) -> ModelTools:
        """Those of the servers that the model's server asks.

        Of two with a name, there is neither: nobody could say which of them was meant.
        """
        schemas = [
            ToolSchema(
                tool_name(server.name, tool),
                server.description,
                {"type": "object"},
                risk="low" if tool in server.low else "high",
                runs_at=(server.name, tool),
            )
            for server in servers
            if server.run == "model"
            for tool in dict.fromkeys(server.tools)
        ]
        often = Counter(schema.name for schema in schemas)
        return cls(
            {
                schema.name: schema
                for schema in schemas
                if often[schema.name] == 1 and schema.name not in RESERVED
            }
        )

    def schemas(self) -> tuple[ToolSchema, ...]:
        """See `Toolset`."""
        return tuple(self._schemas.values())

    async def run(self, name: str, arguments: str, call: CallControl | None = None) -> str:
        """See the `Tools` port. Gives leave, and waits for what comes of it."""
        del arguments  # The model's server has those for which leave was asked.
        if name not in self._schemas or call is None:
            raise ToolRefused(NOT_HERE)
        return await call.approve(call.tool_call_id)

    def longest_s(self, name: str) -> float | None:
        """See the `Tools` port."""
        del name
        return None


def tool_servers(
    servers: Sequence[McpServer],
    schemas: Sequence[ToolSchema],
    decided: Mapping[str, Risk],
) -> tuple[ToolServer, ...]:
    """What a session is told of its own servers: secrets and all.

    Args:
        servers: Of an agent.
        schemas: Of all that it may call. What has lost its name to another tool is not offered.
        decided: Risks as the owner has them, by name; of others, the tool's own.

    """
    offered = {
        schema.runs_at: decided.get(schema.name, schema.risk)
        for schema in schemas
        if schema.runs_at is not None
    }
    return tuple(_told(server, offered) for server in servers if any(_tools(server, offered)))


def _tools(server: McpServer, offered: Mapping[tuple[str, str], Risk]) -> Iterator[str]:
    return (tool for name, tool in offered if name == server.name and server.run == "model")


def _told(server: McpServer, offered: Mapping[tuple[str, str], Risk]) -> ToolServer:
    low = tuple(one for one in _tools(server, offered) if offered[server.name, one] == "low")
    high = tuple(one for one in _tools(server, offered) if one not in low)
    headers = {name: value.reveal() for name, value in server.headers}
    token = None
    for name, value in server.headers:
        if name.lower() == "authorization" and value.reveal().lower().startswith(BEARER):
            token = headers.pop(name)[len(BEARER) :]
    return ToolServer(
        server.name,
        server.url,
        low,
        high,
        description=server.description,
        authorization=token,
        headers=tuple(headers.items()),
    )
