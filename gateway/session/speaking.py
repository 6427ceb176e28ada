"""The gateway's own voice: exactly these words, said by a session that never hears the caller.

What is to be said may have been chosen by whoever is on the phone, and may be an instruction to a
model. So the words of what was said are compared with the words that were to be said, and where
they differ espeak-ng speaks, if it is installed; or nobody does.
"""

from __future__ import annotations

import hashlib
import shutil
import unicodedata
from collections import OrderedDict
from typing import Final

import attrs
import structlog
import trio

from actors.errors import Unspoken
from actors.messages import ULAW_BYTES_PER_MS
from gateway.configuration.agents import AgentSettings
from gateway.session.filler import RENDER_S, Rendering, render_by_model, say_by_espeak
from gateway.session.realtime import Connect

log: structlog.stdlib.BoundLogger = structlog.get_logger()

WORDS_MAX: Final = 1_000
"""Characters at a time."""

AUDIO_MAX_BYTES: Final = 60_000 * ULAW_BYTES_PER_MS

KEPT_MAX_BYTES: Final = 4 * 2**20
"""Of all agents' lines: nine minutes. What asks for a PIN is said often, and is there at once."""

ATTEMPTS: Final = 2
"""By the model, within `RENDER_S`: it may stumble over one word."""


@attrs.define(eq=False)
class Voices:
    """What was said lately, for all agents of this process. In memory only: it may be personal."""

    espeak: str | None = attrs.field(factory=lambda: shutil.which("espeak-ng"))
    """The program; `None`: it is not installed."""
    kept_max_bytes: int = KEPT_MAX_BYTES
    _known: OrderedDict[str, bytes] = attrs.field(factory=OrderedDict[str, bytes], init=False)
    """The one used longest ago first."""
    _known_bytes: int = attrs.field(default=0, init=False)

    def of(self, agent: AgentSettings, connect: Connect) -> AgentVoice:
        """An agent's own voice. `connect` is how to reach their model."""
        return AgentVoice(self, agent, connect)

    def known(self, name: str) -> bytes | None:
        """What was said under this name, if it is kept."""
        ulaw = self._known.get(name)
        if ulaw is not None:
            self._known.move_to_end(name)
        return ulaw

    def keep(self, name: str, ulaw: bytes) -> None:
        """Keep this as long as there is room."""
        self._known_bytes += len(ulaw) - len(self._known.get(name, b""))
        self._known[name] = ulaw
        self._known.move_to_end(name)
        while self._known_bytes > self.kept_max_bytes:
            _, forgotten = self._known.popitem(last=False)
            self._known_bytes -= len(forgotten)


@attrs.frozen(eq=False)
class AgentVoice:
    """One agent's voice, without the agent. Fits the `Voice` port."""

    voices: Voices
    agent: AgentSettings
    connect: Connect

    async def speech(self, words: str) -> bytes:
        """See `Voice`. Bounded: `RENDER_S`, and ten seconds for espeak-ng."""
        if not _letters(words) or len(words) > WORDS_MAX:
            await trio.lowlevel.checkpoint()
            raise Unspoken(f"it has to be words, and {WORDS_MAX} characters at the most")
        name = self._name_of(words)
        ulaw = self.voices.known(name)
        if ulaw is not None:
            await trio.lowlevel.checkpoint()
            return ulaw
        ulaw = await self._by_model(words)
        if ulaw is None and self.voices.espeak is not None:
            ulaw = await say_by_espeak(words, self.voices.espeak, self.agent.language)
        if ulaw is None or len(ulaw) > AUDIO_MAX_BYTES:
            raise Unspoken("nobody said exactly these words")
        self.voices.keep(name, ulaw)
        return ulaw

    async def _by_model(self, words: str) -> bytes | None:
        with trio.move_on_after(RENDER_S):
            for _ in range(ATTEMPTS):
                said = await render_by_model(self.agent, words, self.connect, AUDIO_MAX_BYTES)
                if said is None:
                    return None
                if are_said_by(said, words):
                    return said.ulaw
                # Not the words: somebody's appointment, or an attempt to make it say another.
                log.info("voice.misspoken", characters=len(words), said=len(said.words))
        return None

    def _name_of(self, words: str) -> str:
        """Everything that a line sounds like is in it."""
        agent = self.agent
        sounds = "\n".join((words, agent.model, agent.voice, f"{agent.speed:g}"))
        return hashlib.sha256(sounds.encode(errors="replace")).hexdigest()


def are_said_by(said: Rendering, words: str) -> bool:
    """Whether exactly these words were said, whatever their case, spaces and punctuation."""
    return _letters(said.words) == _letters(words)


def _letters(words: str) -> str:
    plain = unicodedata.normalize("NFKC", words).casefold()
    return "".join(one for one in plain if one.isalnum())
