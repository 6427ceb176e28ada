"""Servers of tools that a rehearsed session asks by itself: their lists, and leave for their runs.

Pure. Source: "Realtime API with MCP", OpenAI docs; `openai` 3.51 `types/realtime`.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

import attrs

from gateway.lab.openai.conversation import Conversation, Entry, Json
from gateway.lab.openai.outbox import Outbox
from gateway.lab.openai.shapes import Refusal
from gateway.lab.openai.timers import Timers
from gateway.lab.rehearsing.scenario import McpScript

_PLACES = ("server_url", "connector_id", "tunnel_id")


def servers_of(tools: list[Json]) -> dict[str, Json]:
    """Servers among the tools of a session, by their labels."""
    return {tool["server_label"]: tool for tool in tools if tool["type"] == "mcp"}


def check_servers(tools: list[Json]) -> None:
    """Accept servers whose shape was checked.

    Raises:
        Refusal: One cannot be had.

    """
    seen = set[str]()
    for index, tool in enumerate(tools):
        if tool["type"] != "mcp":
            continue
        path, label = f"session.tools[{index}]", tool["server_label"]
        if label in seen:
            raise Refusal(
                "invalid_value", f"Duplicate server_label '{label}'.", f"{path}.server_label"
            )
        seen.add(label)
        if sum(tool.get(place) is not None for place in _PLACES) != 1:
            message = f"One of {', '.join(_PLACES)} must be provided."
            raise Refusal("missing_required_parameter", message, f"{path}.server_url")
        if "connector_id" in tool:
            raise Refusal(
                "invalid_value",
                "'connector_id' is not supported by this model.",
                f"{path}.connector_id",
            )


def is_offered(tools: list[Json], script: McpScript) -> bool:
    """Whether the model was told of a tool."""
    server = servers_of(tools).get(script.server, {})
    allowed = server.get("allowed_tools") or ()
    names = allowed.get("tool_names", ()) if isinstance(allowed, dict) else allowed
    return bool(server) and (script.tool in names or not allowed)


def needs_leave(tools: list[Json], script: McpScript) -> bool:
    """Whether the session asks before it has a tool run. It does, unless it was told not to."""
    wanted: Any = servers_of(tools).get(script.server, {}).get("require_approval")
    if isinstance(wanted, dict):
        never: Collection[str] = (wanted.get("never") or {}).get("tool_names", ())
        return script.tool not in never
    return bool(wanted != "never")


def result_of(script: McpScript) -> Json:
    """What an item says of a run that is over."""
    if script.error is None:
        return {"output": script.output, "error": None}
    error = {"type": script.error_type, "message": script.error}
    return {"output": None, "error": error if script.error_type[0] == "t" else {**error, "code": 1}}


@attrs.define(eq=False)
class RemoteTools:
    """Asks for leave, and has tools run that got it."""

    outbox: Outbox
    timers: Timers
    conversation: Conversation
    down: Collection[str] = ()
    """Servers that do not say what they can do."""
    waiting: dict[str, tuple[McpScript, str]] = attrs.field(factory=dict, init=False)
    """What waits for leave, and its arguments, by the id of the request."""
    ran: list[McpScript] = attrs.field(factory=list, init=False)
    """What was run with leave."""

    def list_tools(self, before: list[Json], tools: list[Json]) -> None:
        """Ask each server that is new what it can do."""
        known = servers_of(before)
        for label, tool in servers_of(tools).items():
            if label not in known:
                self._list(label, tool)

    def _list(self, label: str, tool: Json) -> None:
        item: Json = {"id": self.outbox.new_id("mcpl"), "type": "mcp_list_tools"}
        entry = Entry({**item, "server_label": label, "tools": []})
        previous = self.conversation.add(entry)
        place = {"item_id": entry.item_id}
        added = {"item": entry.item, "previous_item_id": previous}
        self.outbox.emit("conversation.item.added", added)
        self.outbox.emit("mcp_list_tools.in_progress", place)
        if label in self.down:
            self.outbox.emit("mcp_list_tools.failed", place)
            return
        listed = [
            {"name": name, "input_schema": {"type": "object"}, "description": None}
            for name in tool.get("allowed_tools") or ()
        ]
        entry.item = {**entry.item, "tools": listed}
        self.outbox.emit("mcp_list_tools.completed", place)
        done = {"item": entry.item, "previous_item_id": previous}
        self.outbox.emit("conversation.item.done", done)

    def check_answer(self, item: Json) -> None:
        """Accept an answer to a request.

        Raises:
            Refusal: Nothing waits for it.

        """
        request_id = item["approval_request_id"]
        if request_id not in self.waiting:
            message = f"There is no open approval request '{request_id}'."
            raise Refusal("invalid_value", message, "item.approval_request_id")

    def answered(self, item: Json) -> None:
        """Leave was given, or was not."""
        request_id = item["approval_request_id"]
        script, arguments = self.waiting.pop(request_id)
        if not item["approve"]:
            return
        self.ran.append(script)
        entry = Entry(
            {
                "id": self.outbox.new_id("mcp"),
                "type": "mcp_call",
                "server_label": script.server,
                "name": script.tool,
                "arguments": arguments,
                "approval_request_id": request_id,
                "output": None,
                "error": None,
            }
        )
        previous = self.conversation.add(entry)
        added = {"item": entry.item, "previous_item_id": previous}
        self.outbox.emit("conversation.item.added", added)
        self.outbox.emit(
            "response.mcp_call.in_progress", {"item_id": entry.item_id, "output_index": 0}
        )
        self.timers.after(script.takes_ms, partial(self._end, entry, script, previous))

    def _end(self, entry: Entry, script: McpScript, previous: str | None) -> None:
        entry.item = {**entry.item, **result_of(script)}
        how = "completed" if script.error is None else "failed"
        self.outbox.emit(f"response.mcp_call.{how}", {"item_id": entry.item_id, "output_index": 0})
        done = {"item": entry.item, "previous_item_id": previous}
        self.outbox.emit("conversation.item.done", done)
