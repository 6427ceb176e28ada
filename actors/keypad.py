"""The keypad: gathers the keys that the caller presses, for the model or for a tool."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import attrs
import trio

from actors.errors import CarrierRefused
from actors.lanes import Lane
from actors.messages import (
    AddText,
    CollectionEnded,
    CommitAudio,
    CreateResponse,
    KeypadFact,
    KeyPressed,
    ResponseWanted,
    SessionLost,
    SessionOrder,
    SpeechStarted,
    SpeechStopped,
    TurnFact,
)
from actors.notes import Notes
from actors.policy.confirmation import Confirmation
from actors.policy.ears import Ears
from actors.policy.keypad import Collect, Keypad, Told


@attrs.define(eq=False)
class KeypadWatch:
    """Every key that the caller presses comes here, and is noted here: or nowhere.

    Args:
        inbox: Keys, and when the caller speaks.
        session: Is told of keys.
        turns: Is told that the model should speak about them.
        notes: The call's clock and journal.
        keypad: What becomes of keys.
        hide: Keeps keys out of whatever the carrier logs, or no longer.
        ears: Is told to hear nothing while keys are private: some lines carry their tones.

    """

    inbox: Lane[KeypadFact]
    session: Lane[SessionOrder]
    turns: Lane[TurnFact]
    notes: Notes
    keypad: Keypad
    hide: Callable[[bool], None]
    ears: Ears
    _next_key: trio.Event = attrs.field(factory=trio.Event, init=False)
    _told: int = attrs.field(default=0, init=False)

    async def run(self) -> NoReturn:
        """Serve the inbox and the clock until cancelled."""
        while True:
            due_ms = self.keypad.due_ms()
            due_s = float("inf") if due_ms is None else self.notes.trio_s(due_ms)
            with trio.move_on_at(due_s):
                self._follow(await self.inbox.take())
            self._tell(self.keypad.tick(now_ms=self.notes.now_ms()))
            self._guard()

    async def collect(self, asked: Collect) -> str:
        """Wait for keys, in the task of the tool that wants them. Cancellable.

        Raises:
            CarrierRefused: Another tool waits for keys already.

        """
        if self.keypad.collection is not None or self.keypad.is_asking:
            raise CarrierRefused("another tool is waiting for keys")
        collection = self.keypad.collect(asked, now_ms=self.notes.now_ms())
        self._guard()
        try:
            while not collection.is_over:
                self._next_key = trio.Event()
                with trio.move_on_at(self.notes.trio_s(collection.due_ms())) as wait:
                    await self._next_key.wait()
                if wait.cancelled_caught:
                    break
        finally:
            self.keypad.collected(now_ms=self.notes.now_ms())
            # Its time begins to run for what trails behind: `run` has to look at the clock.
            self.inbox.put(CollectionEnded())
        await trio.lowlevel.checkpoint()
        return collection.digits

    @contextmanager
    def asking(self, confirmation: Confirmation) -> Iterator[None]:
        """Let keys be answers meanwhile. A collection that runs already has its keys first."""
        self.keypad.asks(confirmation)
        try:
            yield
        finally:
            self.keypad.asked(now_ms=self.notes.now_ms())
            self.inbox.put(CollectionEnded())

    def _follow(self, fact: KeypadFact) -> None:
        match fact:
            case KeyPressed(digit):
                if not self.keypad.is_private:
                    self.notes.note(fact)
                self._tell(self.keypad.press(digit, now_ms=self.notes.now_ms()))
                self._next_key.set()
            case SpeechStarted():
                self.keypad.caller_speaks = True
            case SpeechStopped() | SessionLost():
                self.keypad.caller_speaks = False
            case CollectionEnded():
                pass  # `run` looks at the clock anyway.

    def _tell(self, told: Told | None) -> None:
        if told is None:
            return
        self._told += 1
        if told.digits:
            keys = " ".join(told.digits)
            self.session.put(AddText("user", f"[The caller pressed {keys} on the keypad.]"))
        if told.ends_turn:
            self.session.put(CommitAudio())
        order = CreateResponse("turn" if told.ends_turn else "keys")
        # A response that began just before knows nothing of it.
        self.turns.put(ResponseWanted(order, frozenset({f"keys {self._told}"})))

    def _guard(self) -> None:
        """Let nobody hear or log what is private, from here on, or let them again."""
        is_private = self.keypad.is_private
        if is_private != self.ears.is_private:
            self.ears.is_private = is_private
            self.hide(is_private)
