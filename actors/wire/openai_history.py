"""What was said in a call, as client events that tell another session of it. Pure.

Source: "Realtime conversations", OpenAI docs: the caller's words are `input_text`, the agent's are
`output_text` (audio of the agent cannot be created), a tool call is followed by its output with
the same `call_id`; ids of a client's own have 32 characters at most.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import orjson

from actors.messages import (
    AgentSaid,
    CallerSaid,
    Remembered,
    TextAdded,
    ToolAnswered,
    ToolAsked,
)

ID_MAX: Final = 32

UNKNOWN_WORDS: Final = "[The caller said something that was not written down.]"


def create_item(remembered: Remembered, item_id: str, after: str | None = None) -> str:
    """Write the event that makes this part of a conversation.

    Args:
        remembered: What was said or done.
        item_id: What to call the item, in 32 characters at most.
        after: The item that it stands behind; `root`: it is the first; `None`: it is the last.

    """
    event: dict[str, Any] = {"type": "conversation.item.create"}
    if after is not None:
        event["previous_item_id"] = after
    event["item"] = {"id": item_id, **_item(remembered)}
    return orjson.dumps(event).decode()


def delete_item(item_id: str) -> str:
    """Write the event that takes an item out of a conversation."""
    return orjson.dumps({"type": "conversation.item.delete", "item_id": item_id}).decode()


def short_call_id(tool_call_id: str) -> str:
    """The same id, or one that stands for it, in the length that a client may give."""
    if len(tool_call_id) <= ID_MAX:
        return tool_call_id
    return "call_" + hashlib.sha256(tool_call_id.encode()).hexdigest()[: ID_MAX - 5]


def _item(remembered: Remembered) -> dict[str, Any]:
    match remembered:
        case CallerSaid(text):
            return _message("user", "input_text", UNKNOWN_WORDS if text is None else text)
        case AgentSaid(_, text):
            return _message("assistant", "output_text", text)
        case ToolAsked(tool_call_id, name, arguments):
            call_id = short_call_id(tool_call_id)
            call = {"call_id": call_id, "name": name, "arguments": arguments}
            return {"type": "function_call", **call}
        case ToolAnswered(tool_call_id, output):
            call_id = short_call_id(tool_call_id)
            return {"type": "function_call_output", "call_id": call_id, "output": output}
        case TextAdded(role, text):
            return _message(role, "input_text", text)


def _message(role: str, kind: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}
