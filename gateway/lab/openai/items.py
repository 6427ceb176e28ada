"""What a client may do to a rehearsed conversation's items, and which function calls are open.

Pure.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable

import attrs

from actors.messages import ULAW_BYTES_PER_MS
from gateway.lab.openai.conversation import Conversation, Entry, Json
from gateway.lab.openai.formats import encode
from gateway.lab.openai.remote_tools import is_offered
from gateway.lab.openai.shapes import Refusal
from gateway.lab.rehearsing.scenario import McpScript


@attrs.define(eq=False)
class Items:
    """Does to items what client events ask for. Every method takes events of sound shape."""

    conversation: Conversation
    new_id: Callable[[str], str]
    violations: list[str] = attrs.field(factory=list, init=False)
    """What no error tells and yet no client should do."""
    truncates: int = attrs.field(default=0, init=False)
    """Truncates that were carried out."""
    overlong_truncates: int = attrs.field(default=0, init=False)
    """Truncates beyond what was generated and sent."""
    _outputs: dict[str, int] = attrs.field(factory=dict, init=False)
    """Outputs received, by `call_id`."""

    @property
    def unanswered(self) -> list[str]:
        """The `call_id` of every function call that has no output."""
        return [call_id for call_id, outputs in self._outputs.items() if not outputs]

    def note_call(self, item: Json, tools: list[Json]) -> None:
        """Expect an output for a function call by the model, which was offered `tools`."""
        self._outputs.setdefault(item["call_id"], 0)
        if item["name"] not in {tool.get("name") for tool in tools}:
            self.violations.append(f"the script calls {item['name']}, which was not offered")

    def note_run(self, script: McpScript, tools: list[Json]) -> None:
        """The model, which was offered `tools`, has a server run this."""
        if not is_offered(tools, script):
            self.violations.append(
                f"the script has {script.server} run {script.tool}, which was not offered"
            )

    def create(self, event: Json) -> tuple[Entry, str | None]:
        """Add an item of the client's own. Returns it and the id of the item before it.

        Raises:
            Refusal: It fits nowhere.

        """
        item: Json = dict(event["item"])
        after = event.get("previous_item_id")
        if after not in (None, "root") and self.conversation.find(after) is None:
            message = f"The item '{after}' does not exist."
            raise Refusal("invalid_value", message, "previous_item_id")
        item.setdefault("id", self.new_id("item"))
        if self.conversation.find(item["id"]) is not None:
            message = f"The item '{item['id']}' already exists."
            raise Refusal("invalid_value", message, "item.id")
        self._match_call(item)
        item |= {"object": "realtime.item", "status": "completed"}
        if "content" in item:
            item["content"] = [without_audio(part) for part in item["content"]]
        entry = Entry(item)
        return entry, self.conversation.add(entry, after=after)

    def delete(self, item_id: str) -> None:
        """Forget an item.

        Raises:
            Refusal: There is no such item.

        """
        self.conversation.delete(self._known(item_id, "delete"))

    def retrieve(self, item_id: str, output_format: str) -> Json:
        """Return an item with its audio, the agent's in `output_format`.

        Raises:
            Refusal: There is no such item.

        """
        entry = self._known(item_id, "retrieve")
        item: Json = dict(entry.item)
        for part in item.get("content", ())[:1]:
            if part["type"] == "output_audio":
                audio = encode(output_format, entry.audio[: entry.sent_bytes])
            else:
                audio = entry.audio
            if audio:
                item["content"] = [{**part, "audio": b64encode(audio).decode("ascii")}]
        return item

    def truncate(self, event: Json) -> Json:
        """Cut an item to what the caller heard. Returns what `truncated` says of it.

        Raises:
            Refusal: There is no such audio.

        """
        entry = self._known(event["item_id"], "truncate")
        end_ms: int = event["audio_end_ms"]
        if not entry.sent_bytes or end_ms == 0:
            message = "Only model output audio messages can be truncated."
            raise Refusal("unsupported_content_type", message, "item_id")
        if event["content_index"] != 0:
            raise Refusal("invalid_value", "Invalid content_index: not 0.", "content_index")
        if end_ms > entry.sent_ms:
            self.overlong_truncates += 1
            message = f"Audio content of {entry.sent_ms}ms is already shorter than {end_ms}ms"
            raise Refusal("invalid_value", message, "audio_end_ms")
        self.truncates += 1
        entry.sent_bytes = end_ms * ULAW_BYTES_PER_MS
        # The server keeps no part of the transcript: it does not know which words were heard.
        content = [{**part, "transcript": None} for part in entry.item["content"]]
        entry.item = {**entry.item, "content": content}
        return {"item_id": entry.item_id, "content_index": 0, "audio_end_ms": end_ms}

    def _known(self, item_id: str, verb: str) -> Entry:
        entry = self.conversation.find(item_id)
        if entry is None:
            message = f"Error: the item with id '{item_id}' does not exist."
            raise Refusal(f"item_{verb}_invalid_item_id", message, "item_id")
        return entry

    def _match_call(self, item: Json) -> None:
        if item["type"] == "function_call":
            item.setdefault("call_id", self.new_id("call"))
            self._outputs.setdefault(item["call_id"], 0)
        elif item["type"] == "function_call_output":
            call_id = item["call_id"]
            if call_id not in self._outputs:
                message = f"There is no function call with call_id '{call_id}'."
                raise Refusal("invalid_value", message, "item.call_id")
            self._outputs[call_id] += 1
            if self._outputs[call_id] > 1:
                self.violations.append(f"a second output for {call_id}")


def without_audio(part: Json) -> Json:
    """A content part as it is remembered."""
    return {key: value for key, value in part.items() if key != "audio"}
