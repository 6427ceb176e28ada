"""What the model is given of an MCP server's answer: JSON text, bounded, whatever it is. Pure.

By hand, and not by the SDK's models: an answer may be made of thousands of parts, and whoever reads
it stands in the way of everybody's audio.
Source: "Tools", MCP 2025-06-18.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from actors.errors import EffectUnknown, ToolRefused
from gateway.mcp.schema import plain
from gateway.tools.http_tools import MAYBE_DONE

SAID_MAX_CHARS: Final = 2_000
"""Of an answer that says what was wrong."""
LEFT_OUT_MAX: Final = 16
_KIND_MAX_CHARS: Final = 80


def told(result: Mapping[str, Any]) -> str:
    """The answer of a tool that was run.

    Args:
        result: Of `tools/call`, as it came.

    Raises:
        ToolRefused: The tool itself says that it failed: it is believed.
        EffectUnknown: It is nothing that can be told.

    """
    content = result.get("content")
    blocks = content if isinstance(content, list) else []
    text = "\n".join(_texts(blocks))
    if result.get("isError") is True:
        said = plain(text, SAID_MAX_CHARS) or "it does not say why"
        raise ToolRefused(f"the tool failed, and says: {said}")
    structured = result.get("structuredContent")
    if structured is not None:
        return _json(structured)
    if not isinstance(content, list):
        raise EffectUnknown(f"its answer cannot be used; {MAYBE_DONE}")
    left_out = list(_left_out(blocks))
    if left_out:
        return _json({"text": text, "left_out": left_out[:LEFT_OUT_MAX]})
    try:
        # Servers of before 2025-06-18 write their JSON into a text.
        return _json(orjson.loads(text))
    except orjson.JSONDecodeError:
        return _json(text)


def _texts(blocks: list[Any]) -> Iterator[str]:
    for block in blocks:
        match block:
            case {"type": "text", "text": str(text)}:
                yield text
            case {"type": "resource", "resource": {"text": str(text)}}:
                yield text
            case _:
                pass


def _left_out(blocks: list[Any]) -> Iterator[str]:
    """What cannot be said on a telephone, by its kind."""
    for block in blocks:
        match block:
            case {"type": "text"} | {"type": "resource", "resource": {"text": str()}}:
                pass
            case {"type": "resource_link", "name": str(name)}:
                yield plain(f"link to {name}", _KIND_MAX_CHARS)
            case {"type": "resource", "resource": {"mimeType": str(kind)}}:
                yield plain(f"file, {kind}", _KIND_MAX_CHARS)
            case {"type": str(what), "mimeType": str(kind)}:
                yield plain(f"{what}, {kind}", _KIND_MAX_CHARS)
            case {"type": str(what)}:
                yield plain(what, _KIND_MAX_CHARS)
            case _:
                yield "something else"


def _json(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        # Numbers of any length, or half a surrogate pair: JSON has them, and nobody could send it.
        raise EffectUnknown(f"its answer cannot be told; {MAYBE_DONE}") from None
