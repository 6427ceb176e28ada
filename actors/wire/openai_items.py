"""Conversation items of a Realtime session, and what they mean for the call. Pure.

Source: "Realtime API with MCP", OpenAI docs; `openai` 3.51 `types/realtime/realtime_mcp_*`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import attrs
import orjson

from actors.messages import RanElsewhere, ToolCall

OUTPUT_MAX_CHARS: Final = 16 * 1024
"""Of what a tool said that the session has run. The session has all of it; we keep so much."""
TOOL_FAILED: Final = "tool_execution_error"
"""The one kind of error that is the tool's own word. After others, nobody knows what it did."""


@attrs.frozen
class ItemInfo:
    """A conversation item, as far as we look at it."""

    type: str
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    server_label: str | None = None
    approval_request_id: str | None = None
    approve: Any = None
    status: str | None = None
    output: Any = None
    error: Any = None


def tool_name(label: str, tool: str) -> str:
    """What a tool of a server is called in the call: as those of servers that we ask ourselves."""
    return f"{label}_{tool}"


def tool_calls(output: Sequence[ItemInfo]) -> tuple[ToolCall, ...]:
    """What the items of a response ask for: functions of ours, and leave for what is not ours."""
    found: list[ToolCall] = []
    for item in output:
        match item:
            case ItemInfo("function_call", call_id=str(call_id), name=str(name)) if call_id:
                found.append(ToolCall(call_id, name, item.arguments or ""))
            case ItemInfo("mcp_approval_request", str(request_id), name=str(name)) if request_id:
                label = item.server_label or ""
                found.append(
                    ToolCall(request_id, tool_name(label, name), item.arguments or "", True)
                )
            case _:
                pass
    return tuple(found)


def unspoken_runs(output: Sequence[ItemInfo]) -> tuple[str, ...]:
    """What the session has run for a response that said nothing after it."""
    found: list[str] = []
    for item in output:
        if item.type == "message":
            found.clear()
        elif item.type == "mcp_call" and item.id:
            found.append(item.id)
    return tuple(found)


def run_of(item: ItemInfo) -> RanElsewhere | None:
    """What came of a tool that the session has run; `None`: it is none, or goes on."""
    if item.type != "mcp_call" or not item.id or not item.name:
        return None
    name = tool_name(item.server_label or "", item.name)
    asked = item.approval_request_id
    if item.error is not None:
        kind, said = _error(item.error)
        output = orjson.dumps({"error": said}).decode()
        certain = kind == TOOL_FAILED
        return RanElsewhere(
            item.id, name, item.arguments or "", "failed", output, asked, is_certain=certain
        )
    if item.output is None and item.status != "completed":
        return None
    output = _told(item.output)
    return RanElsewhere(item.id, name, item.arguments or "", "returned", output, asked)


def approval(request_id: str, *, approve: bool, reason: str | None = None) -> dict[str, Any]:
    """The item that answers a request for leave.

    Its id follows from the request: who answers twice makes an item that is there already.
    """
    digest = hashlib.sha256(request_id.encode()).hexdigest()
    item: dict[str, Any] = {"type": "mcp_approval_response", "id": f"apr_{digest[:28]}"}
    item |= {"approval_request_id": request_id, "approve": approve}
    return item if reason is None else {**item, "reason": reason}


def _error(error: object) -> tuple[str, str]:
    """The kind of an error, and what it says. It may be of any shape."""
    match error:
        case {"type": str(kind), "message": str(said)}:
            return kind, said[:OUTPUT_MAX_CHARS]
        case {"type": str(kind)}:
            return kind, kind
        case _:
            return "", "it failed"


def _told(output: object) -> str:
    """An output as JSON text: it is text, and as often as not JSON already."""
    if not isinstance(output, str):
        return "null"
    if len(output) > OUTPUT_MAX_CHARS:
        cut = {"truncated": output[: OUTPUT_MAX_CHARS // 2], "characters": len(output)}
        return orjson.dumps(cut).decode()
    try:
        orjson.loads(output)
    except orjson.JSONDecodeError:
        return orjson.dumps(output).decode()
    return output
