"""The caller's own voice, given to a session a second time, and in whose time it is spoken of."""

from __future__ import annotations

from base64 import b64encode
from collections import deque
from typing import Final

import attrs

from actors.messages import (
    ULAW_BYTES_PER_MS,
    AppendAudio,
    CallerTranscript,
    CommitAudio,
    SessionFact,
    SpeechStarted,
    SpeechStopped,
)
from actors.policy.commits import Commits
from actors.policy.floor import Floor
from gateway.session.connections import One
from gateway.session.speech_ring import SpeechRing

SETTLED_MS: Final = 1_000
"""Audio before the end of what the old session took that the new one hears again: a voice that had
just begun is heard from its beginning."""

LONGEST_S: Final = 60.0
"""More than is kept: how long a session was silent is not known before its first word."""

REPLAY_BYTES: Final = 8_000 * ULAW_BYTES_PER_MS
"""In one event. The API takes 15 MiB."""

COMMIT_BYTES: Final = 100 * ULAW_BYTES_PER_MS
"""The API takes no turn that is shorter. Source: "Realtime API reference", `commit_empty`."""


@attrs.frozen
class Heard:
    """What a session was given to hear."""

    base_ms: int = 0
    """Where its audio begins in all of the call's."""
    spliced_ms: int = 0
    """Up to here, what it hears was said before."""
    turns: tuple[str, ...] = ()
    """The caller's, that it is to hear again, oldest first."""
    commits: int = 0
    """Turns whose end it was told of, or need not be, of all in the call."""


@attrs.define(eq=False)
class Rehearing:
    """Keeps the end of the caller's voice, and knows what the current session heard of it.

    Args:
        commits_turns: Turns end with `CommitAudio`: all that was said since the last one counts,
            however long ago that was.

    """

    commits_turns: bool = False
    _ring: SpeechRing = attrs.field(factory=SpeechRing, init=False)
    _commits: Commits = attrs.field(factory=Commits, init=False)
    _heard: Heard = attrs.field(factory=Heard, init=False)
    """By the current session."""
    _again: deque[str] = attrs.field(factory=deque[str], init=False)
    """Turns that it is to hear and has not heard yet."""
    _sent_bytes: int = attrs.field(default=0, init=False)
    """Up to here, the current session was given the audio, as far as one knows."""
    _aliases: dict[str, str] = attrs.field(factory=dict[str, str], init=False)
    """Turns that a second session heard, and how the call knows them."""

    def add(self, payload: str) -> None:
        """The caller said this, in base64 of mu-law."""
        self._ring.add(payload)

    def sent(self) -> None:
        """The current session took all of it."""
        self._sent_bytes = self._ring.end_bytes

    def lost(self, silent_s: float) -> None:
        """The current session is gone, whose last sign of life was so long ago.

        What was sent since then may have gone nowhere: a line can take in a lot before it fails.
        """
        silent_bytes = round(1000 * min(silent_s, LONGEST_S)) * ULAW_BYTES_PER_MS
        self._sent_bytes = min(self._sent_bytes, max(0, self._ring.end_bytes - silent_bytes))

    def commit(self) -> int:
        """The caller's turn ends here. Returns its number, for `has_committed`."""
        return self._commits.make(self._ring.end_bytes)

    def has_committed(self, number: int) -> bool:
        """Whether the current session was told of the end of this turn when it took over."""
        return number <= self._heard.commits

    @property
    def end_ms(self) -> int:
        """How much audio there ever was."""
        return self._ring.end_bytes // ULAW_BYTES_PER_MS

    async def play(self, session: One, floor: Floor) -> Heard:
        """Let a session hear what no session has understood yet.

        Returns:
            What that was, for `adopt`.

        Raises:
            PeerGone: It is gone already.
            SessionRefused: Likewise.

        """
        turns = tuple(turn.item_id for turn in floor.unheard)
        base = at = self._ring.clamp(self._from_bytes(floor))
        done = 0
        while (commit := self._commits.after(done)) is not None:  # One may come meanwhile.
            if commit.end_bytes - at >= COMMIT_BYTES:
                at = await self._play(session, at, commit.end_bytes)
                await session.send(CommitAudio())
            done = commit.number
        while at < self._ring.end_bytes:  # It grows meanwhile.
            at = await self._play(session, at, self._ring.end_bytes)
        commits = done or self._commits.made
        return Heard(base // ULAW_BYTES_PER_MS, at // ULAW_BYTES_PER_MS, turns, commits)

    def adopt(self, heard: Heard) -> None:
        """The session that was given this to hear is the current one."""
        self._heard, self._again = heard, deque(heard.turns)
        self.sent()
        self._commits.move()

    def in_call(self, fact: SessionFact) -> SessionFact:
        """A fact of the current session's, as the call understands it."""
        self._commits.take(fact)
        match fact:
            case SpeechStarted(item_id, start_ms):
                start_ms += self._heard.base_ms
                if self._again and start_ms < self._heard.spliced_ms:
                    self._aliases[item_id] = self._again.popleft()
                return SpeechStarted(self._name(item_id), start_ms)
            case SpeechStopped(item_id, end_ms):
                return SpeechStopped(self._name(item_id), end_ms + self._heard.base_ms)
            case CallerTranscript(item_id, text):
                return CallerTranscript(self._name(item_id), text)
            case _:
                return fact

    def give_up(self) -> bool:
        """The current session has had its time to hear. Returns whether it did not hear all."""
        is_waiting = bool(self._again)
        self._again.clear()
        return is_waiting

    def _from_bytes(self, floor: Floor) -> int:
        """From where on something may not have been understood."""
        if self.commits_turns:
            return self._commits.understood_bytes
        starts_ms = [turn.start_ms for turn in floor.unheard]
        settled_ms = min(self.end_ms, self._sent_bytes // ULAW_BYTES_PER_MS) - SETTLED_MS
        from_ms = min([max(floor.stopped_ms, settled_ms), *starts_ms])
        return from_ms * ULAW_BYTES_PER_MS

    async def _play(self, session: One, at: int, end: int) -> int:
        """Let a session hear this piece, as far as it is kept. Returns where that ended."""
        while at < end:
            heard = self._ring.read(at)[: min(REPLAY_BYTES, end - at)]
            await session.send(AppendAudio(b64encode(heard).decode("ascii")))
            at += len(heard)
        return at

    def _name(self, item_id: str) -> str:
        return self._aliases.get(item_id, item_id)
