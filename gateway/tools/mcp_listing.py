"""What an MCP server says it can do, and what of it is offered to a model. Pure.

The names are the server's, and so are the descriptions: neither is trusted with more than its own
place. Its annotations (`readOnlyHint`) are its own word about itself, and change nothing here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import attrs
import orjson

from actors.toolbox import ToolSchema
from gateway.configuration.mcp_server import McpServer
from gateway.tools.mcp_schema import Unusable, plain, usable

if TYPE_CHECKING:
    from mcp_types import Tool

TOOLS_MAX: Final = 128
"""Of one server. Each is told to the model in every session."""
SCHEMAS_MAX_BYTES: Final = 256 * 1024
NAME_MAX_CHARS: Final = 64
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]")


@attrs.frozen
class Listed:
    """One tool of a server, fit to be offered."""

    name: str
    """As the server calls it."""
    schema: ToolSchema
    """As the model, and the policy, know it."""


@attrs.frozen
class Skipped:
    """One that is not offered."""

    name: str
    """Shown in a form that is safe to log."""
    why: str


def offered(
    server: McpServer, tools: Sequence[Tool]
) -> tuple[tuple[Listed, ...], tuple[Skipped, ...]]:
    """Those of a server's tools that an agent may be given, and those that cannot be.

    Args:
        server: Whose they are.
        tools: All that it listed.

    """
    good: list[Listed] = []
    bad: list[Skipped] = []
    wanted = [one for one in tools if server.has(one.name)]
    often = Counter(name_of(server, one.name) for one in wanted)
    room = SCHEMAS_MAX_BYTES
    for one in wanted:
        name = name_of(server, one.name)
        try:
            _judge(name, one, often[name], len(good))
            parameters = usable(one.input_schema)
            room -= len(orjson.dumps(parameters))
            _judge_room(room)
        except Unusable as unusable:
            bad.append(Skipped(name[:NAME_MAX_CHARS], unusable.why))
            continue
        schema = ToolSchema(
            name,
            plain(one.description) or plain(one.title) or server.description,
            parameters,
            risk="low" if one.name in server.low else "high",
            longest_s=server.longest_s,
        )
        good.append(Listed(one.name, schema))
    return tuple(good), tuple(bad)


def _judge(name: str, tool: Tool, often: int, before: int) -> None:
    if often > 1:
        # Nobody could say which of them was meant.
        raise Unusable("there are two of that name")
    if len(name) > NAME_MAX_CHARS or not tool.name:
        raise Unusable(f"its name is longer than {NAME_MAX_CHARS} characters, or none")
    if before >= TOOLS_MAX:
        raise Unusable(f"there are more than {TOOLS_MAX}")


def _judge_room(room: int) -> None:
    if room < 0:
        raise Unusable(f"the schemas are longer than {SCHEMAS_MAX_BYTES} bytes together")


def name_of(server: McpServer, tool: str) -> str:
    """What the model calls a tool of this server."""
    return f"{server.name}_{_NOT_IN_NAMES.sub('_', tool)}"
