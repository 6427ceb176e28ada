"""A phone menu: prompts that repeat, keys that lead on, hold music, and a person in the end.

Pure: time is an argument, in ms since the stream was opened. Fits `scripted_caller.FarEnd`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

import attrs

from gateway.lab.rehearsing.scenario import Scenario
from gateway.lab.twilio.far_end import Noise, Room, Step
from gateway.lab.twilio.key_ear import KeyEar
from gateway.lab.twilio.playout_buffer import PlayoutBuffer
from gateway.lab.twilio.scripted_caller import FarEnd, ScriptedCaller


def far_end_of(scenario: Scenario) -> FarEnd:
    """Who is on the phone in a scenario, from the beginning of the call."""
    if scenario.menu:
        return PhoneMenu(scenario.menu)
    return ScriptedCaller(deque(scenario.caller))


REACTS_MS: Final = 400
"""From a key to what it leads to, as of a quick machine. By then its tones are over."""


@attrs.define(eq=False)
class PhoneMenu:
    """Waits for keys, which come from the carrier or as tones in the agent's audio."""

    rooms: Sequence[Room]
    _room: Room = attrs.field(init=False)
    _todo: deque[Step] = attrs.field(factory=deque[Step], init=False)
    """What is played before the next key is waited for."""
    _ready_ms: float = attrs.field(default=math.inf, init=False)
    """Since when nothing is played."""
    _repeats: int = attrs.field(default=0, init=False)
    _keys: deque[tuple[str, float]] = attrs.field(factory=deque[tuple[str, float]], init=False)
    _ear: KeyEar = attrs.field(factory=KeyEar, init=False)
    _person: ScriptedCaller | None = attrs.field(default=None, init=False)
    _buffer: PlayoutBuffer = attrs.field(factory=PlayoutBuffer, init=False)

    def __attrs_post_init__(self) -> None:
        self._enter(self.rooms[0])

    def connect(self, buffer: PlayoutBuffer, now_ms: float) -> None:
        """See `FarEnd`. Keys that were pressed meanwhile are obeyed now."""
        self._buffer = buffer
        self._keys = deque((key, now_ms) for key, _ in self._keys)
        if self._person is not None:
            self._person.connect(buffer, now_ms)
        else:
            self.begin_step(now_ms)

    def begin_step(self, now_ms: float) -> None:
        """See `FarEnd`."""
        self._ready_ms = now_ms
        if self._person is not None:
            self._person.begin_step(now_ms)
        elif not self._todo and self._room.then:
            self._person = ScriptedCaller(deque(self._room.then), self._buffer)
            self._person.begin_step(now_ms)

    def forget_agent(self, now_ms: float) -> None:
        """See `FarEnd`."""
        if self._person is not None:
            self._person.forget_agent(now_ms)

    def heard_key(self, digit: str) -> None:
        """See `FarEnd`."""
        self._keys.append((digit, 0.0))

    def hears(self, ulaw: bytes, until_ms: float) -> None:
        """See `FarEnd`."""
        self._keys.extend((key, until_ms) for key in self._ear.hear(ulaw))

    def due_ms(self) -> float | None:
        """See `FarEnd`."""
        if self._person is not None:
            return self._person.due_ms()
        if self._keys:
            return max(self._keys[0][1] + REACTS_MS, self._ready_ms)
        if self._todo:
            return self._ready_ms
        return self._ready_ms + self._room.repeat_after_ms if self._room.keys else None

    def take_step(self) -> Step:
        """See `FarEnd`."""
        if self._person is not None:
            return self._person.take_step()
        if self._keys:
            self._obey(self._keys.popleft()[0])
        elif not self._todo:
            self._repeat()
        self._ready_ms = math.inf
        return self._todo.popleft()

    @property
    def steps_left(self) -> int:
        """How much of what the person does was not reached; all of it when nobody got there."""
        if self._person is not None:
            return self._person.steps_left
        people = [len(room.then) for room in self.rooms if room.then]
        return min(people, default=0)

    def _enter(self, room: Room) -> None:
        self._room, self._repeats = room, 0
        self._todo.clear()
        if room.hold_ms:
            self._todo.append(Step(noise=Noise(room.hold_ms)))
        self._prompt()

    def _prompt(self) -> None:
        if self._room.say is not None:
            self._todo.append(Step(say=self._room.say))

    def _obey(self, key: str) -> None:
        if (name := self._room.keys.get(key)) is not None:
            self._enter(next(room for room in self.rooms if room.name == name))
        elif self._room.keys:
            self._todo.clear()
            self._todo.append(Step(say=self._room.invalid))
            self._prompt()
        if not self._todo:  # A room without a word, or a key that nobody waits for.
            self._todo.append(Step(wait_ms=1))

    def _repeat(self) -> None:
        self._repeats += 1
        if self._repeats > self._room.repeats:
            self._todo.append(Step(hang_up=True))
        else:
            self._prompt()
