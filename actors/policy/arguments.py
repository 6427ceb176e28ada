"""The arguments of a tool call, in the one form that is checked, read back, and run. Pure."""

from __future__ import annotations

import json
import math
from hashlib import sha256
from typing import Any, Final

import attrs

from actors.errors import ToolRefused

LONGEST_CHARS: Final = 16 * 1024
"""Arguments longer than this are not what a phone call is about."""

_EXACT: Final = range(-(2**63), 2**64)
"""Whole numbers that everybody reads alike."""


@attrs.frozen
class Arguments:
    """What a tool is to be run with. Of two that are equal, the text is the same."""

    text: str = attrs.field(repr=False)
    """JSON: sorted, without spaces, each name once."""
    values: dict[str, Any] = attrs.field(repr=False, eq=False)

    @classmethod
    def parse(cls, text: str) -> Arguments:
        """Read what the model wrote.

        Raises:
            ToolRefused: It can be read in no way, or in more than one. Quotes nothing of it.

        """
        if len(text) > LONGEST_CHARS:
            raise ToolRefused(f"the arguments are longer than {LONGEST_CHARS} characters")
        try:
            values = json.loads(
                text or "{}",
                object_pairs_hook=_once,
                parse_constant=_no,
                parse_float=_finite,
                parse_int=_exact,
            )
            if not isinstance(values, dict):
                raise ToolRefused("bad arguments: they are not an object")
            written = json.dumps(
                values, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
            )
            written.encode()  # Half a surrogate pair is a Python string, and no text.
        except (ValueError, RecursionError) as error:
            why = ": one has the same name twice" if isinstance(error, _Twice) else ""
            why = ": a number is too large" if isinstance(error, _TooLarge) else why
            raise ToolRefused(f"bad arguments: they are not JSON{why}") from None
        return cls(written, values)


def digest_of(call_sid: str, tool: str, arguments: str) -> str:
    """What a confirmation is bound to: this tool with these arguments, in this call."""
    bound = json.dumps([call_sid, tool, arguments])
    return sha256(bound.encode()).hexdigest()


class _Twice(ValueError):
    """A name comes twice: whoever checks might look at the one, and whoever runs at the other."""


class _TooLarge(ValueError):
    """Not everybody reads such a number alike: some take the nearest that they know."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Twice
    return found


def _no(constant: str) -> float:
    raise ValueError(constant)


def _exact(text: str) -> int:
    number = int(text)
    if number not in _EXACT:
        raise _TooLarge
    return number


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _TooLarge
    return number
