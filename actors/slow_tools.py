"""The actor that says that something takes a moment: a tool is slow, and nobody speaks."""

from __future__ import annotations

from typing import NoReturn

import attrs
import structlog
import trio

from actors.errors import Unspoken
from actors.lanes import Lane
from actors.messages import (
    LOCAL,
    BargeInFact,
    ItemAudio,
    ItemAudioDone,
    ItemTranscript,
)
from actors.notes import Notes
from actors.policy.slow_tools import SlowToolFact, SlowTools
from actors.ports import Voice

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@attrs.define(eq=False)
class SlowToolWatch:
    """Says one line of the gateway's own for the tools of one response, if they are slow.

    Args:
        inbox: What was noted of the call, as far as it says who does something.
        bargein: Plays the line. The caller may speak over it; what the tools bring follows it.
        notes: The call's clock.
        slow: When it is time.
        words: The line. `None`: nothing is ever said.
        voice: Makes the line into audio, as soon as the call begins. `None`: likewise.

    """

    inbox: Lane[SlowToolFact]
    bargein: Lane[BargeInFact]
    notes: Notes
    slow: SlowTools
    words: str | None
    voice: Voice | None
    _ulaw: bytes = attrs.field(default=b"", init=False)
    """Empty: it is not rendered, and is not said."""
    _said: int = attrs.field(default=0, init=False)

    @property
    def is_wanted(self) -> bool:
        """Whether there is anything to say, and to say it with."""
        return self.words is not None and self.voice is not None

    async def prepare(self) -> NoReturn:
        """Render the line, beside `run`. Until cancelled."""
        if self.words is not None and self.voice is not None:
            try:
                self._ulaw = await self.voice.speech(self.words)
            except Unspoken as error:
                log.info("tool_filler.not_rendered", why=error.reason)
        await trio.sleep_forever()
        raise AssertionError("it sleeps forever")

    async def run(self) -> NoReturn:
        """Serve the inbox and the clock until cancelled."""
        while True:
            due_ms = self.slow.due_ms() if self._ulaw else None
            due_s = float("inf") if due_ms is None else self.notes.trio_s(due_ms)
            with trio.move_on_at(due_s):
                self.slow.note(await self.inbox.take(), now_ms=self.notes.now_ms())
            if self._ulaw and self.slow.is_due(now_ms=self.notes.now_ms()):
                self._say(self.words or "")

    def _say(self, words: str) -> None:
        self._said += 1
        name = f"{LOCAL}slow_{self._said}"
        audio, done = ItemAudio(name, name, self._ulaw), ItemAudioDone(name, name)
        for fact in (ItemTranscript(name, words), audio, done):
            self.notes.note(fact)
        self.bargein.put(audio)
        self.bargein.put(done)
