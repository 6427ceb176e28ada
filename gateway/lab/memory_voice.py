"""A voice without a model: for calls in virtual time, and for tests."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio


@attrs.define(eq=False)
class MemoryVoice:
    """Makes words into audio by a function. Fits the `Voice` port.

    Args:
        make: Words to mu-law.
        takes_s: How long that takes; a real one, about two seconds.

    """

    make: Callable[[str], bytes]
    takes_s: float = 0.5
    said: list[str] = attrs.field(factory=list[str], init=False)
    """All that it was asked for, in order."""

    async def speech(self, words: str) -> bytes:
        """See `Voice`."""
        self.said.append(words)
        await trio.sleep(self.takes_s)
        return self.make(words)
