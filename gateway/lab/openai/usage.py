"""What a rehearsed session would be billed for: plausible numbers in the real shape.

Pure.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from gateway.lab.openai.reply import AUDIO_MS_PER_TOKEN

Json = dict[str, Any]

_CALLER_MS_PER_TOKEN: Final = 100
_CHARACTERS_PER_TOKEN: Final = 4
_TOKENS_PER_MINUTE: Final = 40_000
"""Source: rate limits of the lowest paid tier; only ever counted down here, never enforced."""


@attrs.define
class Meter:
    """Counts the tokens of one session."""

    _used: int = 0
    _input_before: int = 0

    def nothing(self) -> Json:
        """The usage of a response that failed."""
        return _usage(0, 0, 0, 0, 0)

    def count(self, given: list[Any], caller_ms: int, said: str, said_ms: int) -> Json:
        """Count one response and return its `usage`.

        Args:
            given: Instructions and items: all of it is read again for every response.
            caller_ms: All caller audio so far.
            said: The words of the response.
            said_ms: The audio of the response.

        """
        input_text = sum(len(str(part)) for part in given) // _CHARACTERS_PER_TOKEN
        cached = min(input_text, self._input_before)
        self._input_before = input_text
        usage = _usage(
            input_text,
            caller_ms // _CALLER_MS_PER_TOKEN,
            cached,
            len(said) // _CHARACTERS_PER_TOKEN,
            -(-said_ms // AUDIO_MS_PER_TOKEN),
        )
        self._used += usage["total_tokens"]
        return usage

    def limit(self) -> Json:
        """The one entry of `rate_limits.updated` that the real server sends."""
        left = max(0, _TOKENS_PER_MINUTE - self._used)
        of_minute = {"name": "tokens", "limit": _TOKENS_PER_MINUTE, "remaining": left}
        return {**of_minute, "reset_seconds": 60.0}


def _usage(
    input_text: int, input_audio: int, cached: int, output_text: int, output_audio: int
) -> Json:
    return {
        "total_tokens": input_text + input_audio + output_text + output_audio,
        "input_tokens": input_text + input_audio,
        "output_tokens": output_text + output_audio,
        "input_token_details": {
            "text_tokens": input_text,
            "audio_tokens": input_audio,
            "image_tokens": 0,
            "cached_tokens": cached,
            "cached_tokens_details": {"text_tokens": cached, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": output_text, "audio_tokens": output_audio},
    }
