"""What an MCP server says it can do, and what of it is offered to a model. Pure.

The names are the server's, and so are the descriptions: neither is trusted with more than its own
place. Its annotations (`readOnlyHint`) are its own word about itself, and change nothing here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final, get_args

import attrs
import orjson

from actors.messages import HANGUP
from actors.toolbox import ToolSchema
from gateway.configuration.agent_rules import SEND_DTMF, TRANSFER_CALL
from gateway.configuration.mcp_server import McpServer
from gateway.configuration.tool_settings import BuiltinTool
from gateway.mcp.schema import Unusable, plain, usable

TOOLS_MAX: Final = 128
"""Of one server. Each is told to the model in every session."""
SCHEMAS_MAX_BYTES: Final = 256 * 1024
NAME_MAX_CHARS: Final = 64
RESERVED: Final = frozenset({*get_args(BuiltinTool), SEND_DTMF, TRANSFER_CALL, HANGUP})
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
    server: McpServer, tools: Sequence[object]
) -> tuple[tuple[Listed, ...], tuple[Skipped, ...]]:
    """Those of a server's tools that an agent may be given, and those that cannot be.

    Args:
        server: Whose they are.
        tools: All that it listed, as they came: a flaw in one of them is none in the others.

    """
    good: list[Listed] = []
    bad: list[Skipped] = []
    wanted = [_read(one) for one in tools]
    wanted = [one for one in wanted if server.has(one.name)]
    often = Counter(name_of(server, one.name) for one in wanted)
    room = SCHEMAS_MAX_BYTES
    for one in wanted:
        name = name_of(server, one.name)
        try:
            _judge(one.name, name, often[name], len(good))
            parameters = usable(one.schema)
            room -= len(orjson.dumps(parameters))
            _judge_room(room)
        except Unusable as unusable:
            bad.append(Skipped(name[:NAME_MAX_CHARS], unusable.why))
            continue
        schema = ToolSchema(
            name,
            one.description or server.description,
            parameters,
            risk="low" if one.name in server.low else "high",
            longest_s=server.longest_s,
        )
        good.append(Listed(one.name, schema))
    return tuple(good), tuple(bad)


@attrs.frozen
class _Raw:
    """One tool as it came, as far as we look at it."""

    name: str
    description: str
    schema: object


def _read(one: object) -> _Raw:
    if not isinstance(one, dict) or not isinstance(one.get("name"), str):
        return _Raw("", "", None)
    description = plain(one.get("description")) or plain(one.get("title"))
    return _Raw(one["name"], description, one.get("inputSchema"))


def _judge(own: str, name: str, often: int, before: int) -> None:
    if not own:
        raise Unusable("it is no tool, or has no name")
    if name in RESERVED:
        # Whoever lowered the risk of that one did not mean this one.
        raise Unusable("there is one of that name that comes with the gateway")
    if often > 1:
        # Nobody could say which of them was meant.
        raise Unusable("there are two of that name")
    if len(name) > NAME_MAX_CHARS:
        raise Unusable(f"its name is longer than {NAME_MAX_CHARS} characters")
    if before >= TOOLS_MAX:
        raise Unusable(f"there are more than {TOOLS_MAX}")


def _judge_room(room: int) -> None:
    if room < 0:
        raise Unusable(f"the schemas are longer than {SCHEMAS_MAX_BYTES} bytes together")


def name_of(server: McpServer, tool: str) -> str:
    """What the model calls a tool of this server."""
    return f"{server.name}_{_NOT_IN_NAMES.sub('_', tool)}"
