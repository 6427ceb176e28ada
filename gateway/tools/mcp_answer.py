"""What the model is given of an MCP server's answer: text, bounded, whatever it is. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

import orjson
from mcp_types import (
    AudioContent,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from actors.errors import EffectUnknown, ToolRefused
from gateway.tools.mcp_schema import plain

TEXT_MAX_CHARS: Final = 64 * 1024
"""The model is given less of it; how much is decided where all tools come together."""
SAID_MAX_CHARS: Final = 2_000
"""Of an answer that says what was wrong."""
LEFT_OUT_MAX: Final = 16
_KIND_MAX_CHARS: Final = 80


def told(result: CallToolResult) -> str:
    """The answer as JSON text.

    Raises:
        ToolRefused: The tool itself says that it failed: it is believed.
        EffectUnknown: It was run, and what it answers is nothing that can be told.

    """
    text = "\n".join(_texts(result.content))[:TEXT_MAX_CHARS]
    if result.is_error:
        said = plain(text, SAID_MAX_CHARS) or "it does not say why"
        raise ToolRefused(f"the tool failed, and says: {said}")
    if result.structured_content is not None:
        try:
            return json.dumps(result.structured_content, ensure_ascii=False, allow_nan=False)
        except (ValueError, RecursionError):
            raise EffectUnknown("it was run, and its answer is not JSON") from None
    left_out = list(_left_out(result.content))
    if left_out:
        return _json({"text": text, "left_out": left_out[:LEFT_OUT_MAX]})
    try:
        # Most servers of before 2025-06-18 write their JSON into a text.
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = text
    return _json(value)


def _texts(content: list[ContentBlock]) -> Iterator[str]:
    for block in content:
        match block:
            case TextContent(text=text):
                yield text
            case EmbeddedResource(resource=TextResourceContents(text=text)):
                yield text
            case _:
                pass


def _left_out(content: list[ContentBlock]) -> Iterator[str]:
    """What cannot be said on a telephone, by its kind."""
    for block in content:
        match block:
            case ImageContent() | AudioContent():
                yield plain(f"{block.type}, {block.mime_type}", _KIND_MAX_CHARS)
            case ResourceLink():
                yield plain(f"link to {block.name}", _KIND_MAX_CHARS)
            case EmbeddedResource() if not isinstance(block.resource, TextResourceContents):
                yield plain(f"file, {block.resource.mime_type}", _KIND_MAX_CHARS)
            case _:
                pass


def _json(value: object) -> str:
    # Half a surrogate pair is a Python string, and no text that could be sent.
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text.encode(errors="replace").decode()
