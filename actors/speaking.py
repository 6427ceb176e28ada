"""The gateway's own voice in a call: said behind everything else, and known to be heard or not.

While it holds the floor the model says nothing: whoever is asked something by the gateway hears
only the gateway, and answers nobody else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import attrs
import trio

from actors.errors import Unspoken
from actors.lanes import Lane
from actors.messages import (
    LOCAL,
    ULAW_BYTES_PER_MS,
    BargedIn,
    BargeInFact,
    FloorGiven,
    FloorTaken,
    ItemAudio,
    ItemAudioDone,
    ItemHeard,
    ItemTranscript,
    PlayoutIdle,
    PlayoutStarted,
    SayingEnded,
    SessionLost,
    SpeechStarted,
    SpeechStopped,
    TurnFact,
)
from actors.notes import Notes
from actors.ports import Voice

WORDS_MAX: Final = 1_000
"""Characters said at a time: a minute. Nobody listens to more before they are asked."""

AUDIO_MAX_MS: Final = 60_000

FREE_MAX_S: Final = 30.0
"""For the agent and the caller to have finished, before anything is said. As for a goodbye."""

HEARD_SPARE_S: Final = 15.0
"""Beside its own length, for what is said to be heard: a line that fills a lost session's silence
may come before it, and marks are on their way."""


@attrs.define(eq=False)
class _Saying:
    item_id: str
    heard: Callable[[], object]
    has_begun: bool = False
    was_heard: bool = False
    over: trio.Event = attrs.field(factory=trio.Event)


@attrs.define(eq=False)
class Speaker:
    """Says words of the gateway's own, one after the other.

    Args:
        bargein: Plays them.
        turns: Is told when the model is to be silent.
        notes: The call's clock, and what became of what was said.
        when_quiet: Returns when all that was said has been heard.
        voice: Makes words into audio. `None`: nothing can be said.

    """

    bargein: Lane[BargeInFact]
    turns: Lane[TurnFact]
    notes: Notes
    when_quiet: Callable[[], Awaitable[None]]
    voice: Voice | None = None
    _holders: int = attrs.field(default=0, init=False)
    """Who wants the model to be silent."""
    _said: int = attrs.field(default=0, init=False)
    _saying: _Saying | None = attrs.field(default=None, init=False)
    _caller_is_silent: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._caller_is_silent.set()
        self.notes.listen((SpeechStarted, SpeechStopped, SessionLost), self._follow_caller)
        self.notes.listen((PlayoutStarted, ItemHeard, BargedIn, PlayoutIdle), self._follow_playout)

    async def render(self, words: str) -> bytes:
        """Make words into audio, ahead of `say`: that takes seconds. Cancellable.

        Raises:
            Unspoken: It cannot be had, or is too long to be listened to.

        """
        if self.voice is None or not words.strip() or len(words) > WORDS_MAX:
            await trio.lowlevel.checkpoint()
            has_words = 0 < len(words.strip()) <= WORDS_MAX
            raise Unspoken("there is no voice" if has_words else f"1 to {WORDS_MAX} characters")
        ulaw = await self.voice.speech(words)
        if not 0 < len(ulaw) <= AUDIO_MAX_MS * ULAW_BYTES_PER_MS:
            raise Unspoken(f"{len(ulaw) // ULAW_BYTES_PER_MS} ms of audio")
        return ulaw

    @contextmanager
    def floor(self) -> Iterator[None]:
        """Let the model say nothing more meanwhile. What it is saying just now, it may finish."""
        self._holders += 1
        if self._holders == 1:
            self._tell(FloorTaken())
        try:
            yield
        finally:
            self._holders -= 1
            if self._holders == 0:
                self._tell(FloorGiven())

    async def say(
        self, words: str, ulaw: bytes, *, heard: Callable[[], object] = lambda: None
    ) -> bool:
        """Say this when nobody speaks, within `floor`. One at a time. Bounded.

        Cancelled, it stops in the middle.

        Args:
            words: For the record.
            ulaw: Their audio.
            heard: Is told at the very moment at which the caller is known to have heard all of it.

        Returns:
            Whether that was so, and the caller did not speak over it.

        """
        if not await self._until_free():
            return False
        self._said += 1
        name = f"{LOCAL}said_{self._said}"
        saying = self._saying = _Saying(name, heard)
        audio, done = ItemAudio(name, name, ulaw), ItemAudioDone(name, name)
        for fact in (ItemTranscript(name, words), audio, done):
            self.notes.note(fact)
        self.bargein.put(audio)
        self.bargein.put(done)
        try:
            with trio.move_on_after(len(ulaw) / ULAW_BYTES_PER_MS / 1000 + HEARD_SPARE_S):
                await saying.over.wait()
        finally:
            self._saying = None
            if not saying.over.is_set():
                self.bargein.put(SayingEnded(name))
        return saying.was_heard

    async def _until_free(self) -> bool:
        """Wait until neither the agent nor the caller says anything. False: they do not stop."""
        with trio.move_on_after(FREE_MAX_S):
            while True:
                await self.when_quiet()
                if self._caller_is_silent.is_set():
                    return True
                await self._caller_is_silent.wait()
        return False

    def _tell(self, fact: FloorTaken | FloorGiven) -> None:
        # Both hear of it between the same two facts of the session's, and so agree on what began
        # before it and what behind.
        self.bargein.put(fact)
        self.turns.put(fact)
        self.notes.note(fact)

    def _follow_caller(self, fact: SpeechStarted | SpeechStopped | SessionLost) -> None:
        if not isinstance(fact, SpeechStarted):
            self._caller_is_silent.set()
        elif self._caller_is_silent.is_set():
            self._caller_is_silent = trio.Event()

    def _follow_playout(self, fact: PlayoutStarted | ItemHeard | BargedIn | PlayoutIdle) -> None:
        saying = self._saying
        if saying is None:
            return
        match fact:
            case PlayoutStarted(item_id) if item_id == saying.item_id:
                saying.has_begun = True
            case ItemHeard(item_id, _, whole) if item_id == saying.item_id and whole:
                self._finish(saying, was_heard=True)
            case BargedIn(items) if any(cut.item_id == saying.item_id for cut in items):
                self._finish(saying, was_heard=False)
            case PlayoutIdle() if saying.has_begun:
                # No echo of its last mark, and yet it was not cut: the caller began to speak when
                # it was over. Otherwise only the clock says so, which is not enough.
                self._finish(saying, was_heard=not self._caller_is_silent.is_set())
            case _:
                pass

    def _finish(self, saying: _Saying, *, was_heard: bool) -> None:
        if saying.over.is_set():
            return
        saying.was_heard = was_heard
        if was_heard:
            saying.heard()
        saying.over.set()
