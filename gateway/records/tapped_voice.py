"""The gateway's own voice, and somebody who is told of all that it was asked for.

No socket of the call tells what it said: without this, a call that is replayed would be mute.
"""

from __future__ import annotations

from base64 import b64encode

import attrs
import trio

from actors.errors import Unspoken
from actors.ports import Voice
from gateway.records.tap import Tap


@attrs.frozen(eq=False)
class TappedVoice:
    """Fits the `Voice` port. The words are the call's own affair, as everything in its log."""

    voice: Voice
    tap: Tap

    async def speech(self, words: str) -> bytes:
        """See `Voice`."""
        began_s = trio.current_time()
        outcome: list[object] = ["never", None]  # Nobody waited for it any longer, or it is broken.
        try:
            ulaw = await self.voice.speech(words)
            audio = b64encode(ulaw).decode("ascii") if self.tap.with_audio else len(ulaw)
            outcome = ["is", audio]
        except Unspoken as unspoken:
            outcome = ["is not", unspoken.reason]
            raise
        finally:
            took_ms = round((trio.current_time() - began_s) * 1000, 3)
            self.tap.note("voice", [*outcome, words, took_ms])
        return ulaw
