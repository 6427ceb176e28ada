"""Whatever a function returned, as JSON text, in pieces: who reads them may stop at any.

Pure. `json.dumps` does it all at once, 10 MB in 60 ms, and gives up on what JSON has no word for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

RESULT_MAX_CHARS: Final = 256 * 1024
"""Read of one result. What is longer ends there, in the middle of the JSON."""

DEPTH_MAX: Final = 64
"""Lists in lists beyond this are of no use to a model."""

INTEGER_MAX_BITS: Final = 4_096
"""Longer ones take quadratic time to write down."""

DEEPER: Final = '"..."'


def pieces(value: object, above: tuple[int, ...] = ()) -> Iterator[str]:
    """JSON text of a value, each piece at most `RESULT_MAX_CHARS` times six.

    What JSON has no word for is said as text: a date, a set, NaN, bytes by their number.

    Args:
        value: Anything. It may change while it is read, and then what comes is anybody's guess.
        above: Identities of what it is part of: what contains itself is left out.

    Raises:
        RuntimeError: A mapping changed its size meanwhile.

    """
    match value:
        case None | bool():
            yield "null" if value is None else "true" if value else "false"
        case str():
            yield _text(value)
        case int() if value.bit_length() > INTEGER_MAX_BITS:
            yield _text(f"a number of {value.bit_length()} bits")
        case int():
            yield int.__repr__(value)
        case float():
            yield float.__repr__(value) if math.isfinite(value) else _text(str(value))
        case bytes() | bytearray() | memoryview():
            yield _text(f"{len(value)} bytes")
        case dict() | list() | tuple() if id(value) in above or len(above) >= DEPTH_MAX:
            yield DEEPER
        case dict():
            yield from _mapping(value, (*above, id(value)))
        case list() | tuple():
            yield from _sequence(value, (*above, id(value)))
        case _:
            yield _text(str(value))


def _mapping(value: Mapping[Any, Any], above: tuple[int, ...]) -> Iterator[str]:
    lead = "{"
    for key, one in value.items():
        # As `json.dumps` has it: other keys of JSON are their own text.
        plain = isinstance(key, int | float | None)
        name = json.dumps("".join(pieces(key))) if plain else _text(str(key))
        yield f"{lead}{name}: "
        yield from pieces(one, above)
        lead = ", "
    yield "{}" if lead == "{" else "}"


def _sequence(value: list[Any] | tuple[Any, ...], above: tuple[int, ...]) -> Iterator[str]:
    lead = "["
    for one in value:
        yield lead
        yield from pieces(one, above)
        lead = ", "
    yield "[]" if lead == "[" else "]"


def _text(words: str) -> str:
    # Cut before it is written down: the text may have ten million characters.
    return json.dumps(words[:RESULT_MAX_CHARS], ensure_ascii=False)
