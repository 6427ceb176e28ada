"""What a tool may do to the call it runs in."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Final, Literal, Protocol

import attrs
import trio

from actors.approvals import Approvals
from actors.errors import CarrierRefused, ToolRefused
from actors.lanes import Lane
from actors.messages import (
    LOCAL,
    ULAW_BYTES_PER_MS,
    BargedIn,
    BargeInFact,
    CallerTranscript,
    ChangeSession,
    HangupFact,
    ItemAudio,
    ItemAudioDone,
    ItemTranscript,
    KeyPressed,
    KeysSent,
    SessionOrder,
    SpeechStarted,
    SpeechStopped,
    ToolWaits,
    ToolWentOn,
    TransferEnded,
)
from actors.notes import Notes
from actors.policy.assent import meaning_of
from actors.policy.confirmation import Confirmation
from actors.policy.keypad import Collect
from actors.policy.record import CallFacts
from actors.ports import Carrier, Transfer, TransferOutcome
from actors.speaking import Speaker
from actors.wire.tones import key_tones

QUIET_MAX_S: Final = 30.0
"""For what was said to be heard, before keys are sent or the caller is connected. As for a goodbye:
an agent that speaks longer does not stop."""

TONES_SPARE_S: Final = 5.0
"""Beside their own length, for tones to be heard: marks on their way."""

SENDABLE: Final = re.compile(r"[0-9*#A-Dw]{1,32}")
"""What can be pressed in one go. Longer is no key sequence but a mistake of a model's."""

LANGUAGE: Final = re.compile(r"[a-z]{2}")

OBJECTED: Final = "the caller spoke over it, and is still there: go by what they say"
"""As with a hang-up: whoever says "wait" to "I will connect you" is not connected."""

CONFIRM_S: Final = 30.0
"""For an answer to a question that was heard."""

ASKED_MAX: Final = 2
"""So often, if the caller speaks over the question."""

KeyTones = Literal["redirect", "in_band"]
Reply = Literal["yes", "no", "other", "silence", "unheard"]
"""`other`: the caller said something else. `unheard`: the question was not heard to its end."""


class CallControl(Protocol):
    """One call, as its tools see it. Whatever it does ends with the call.

    The time that a tool waits in `press`, `transfer` and `collect_digits` does not count as its
    own: each of them is bounded by itself.
    """

    @property
    def facts(self) -> CallFacts:
        """Who calls whom, and the agent that answered."""

    @property
    def tool_call_id(self) -> str:
        """Which of the model's calls this run obeys. Empty: none."""

    async def say(self, words: str) -> bool:
        """Say exactly these words in the gateway's own voice. Bounded; cancelled, it stops.

        They come behind all that was said, when neither the agent nor the caller speaks. The model
        does not know of them, and says nothing meanwhile. One at a time: others wait.

        Args:
            words: 1,000 characters at the most.

        Returns:
            Whether the caller heard them to their end, and did not speak over them.

        Raises:
            Unspoken: There is no voice to be had for them.

        """

    async def confirm(self, question: str, *, within_s: float = CONFIRM_S) -> Reply:
        """Ask the caller something that is answered by yes or no. Cancellable.

        The question is said as `say` does. Only the caller is heard then, and only after it was
        heard to its end: key 1 or a spoken yes; key 2 or a spoken no. The model says nothing
        until there is a reply. What the caller spoke over is asked once more. Keys pressed ahead
        of the answer do not count, and the model is not told of them.

        Args:
            question: Says how to answer, too.
            within_s: For the answer, from when the question was heard.

        Raises:
            Unspoken: There is no voice to be had for it.

        """

    async def press(self, digits: str) -> None:
        """Send keys to the far end, once all that was said has been heard. Cancellable.

        Args:
            digits: `0` to `9`, `*`, `#`, `A` to `D`, and `w` for half a second of waiting; 32 at
                the most.

        Raises:
            CarrierRefused: The carrier cannot, or did not.

        """

    async def transfer(self, to: Transfer) -> TransferOutcome:
        """Connect the caller to somebody else, once all that was said has been heard.

        When somebody answers, the call ends, and the tool with it.

        Raises:
            CarrierRefused: The carrier cannot, or did not; or the caller spoke over what was said.

        """

    async def collect_digits(
        self,
        *,
        most: int,
        end_key: str | None = "#",
        first_s: float = 10.0,
        between_s: float = 4.0,
        private: bool = False,
        fresh: bool = False,
    ) -> str:
        """Wait for the caller to press keys, and return them without the end key. Cancellable.

        Args:
            most: Returns at once when there are so many.
            end_key: The key that says that there are no more; `None`: there is none.
            first_s: How long to wait for the first.
            between_s: How long to wait for each after that.
            private: Neither the model, nor any record or log, is told of them. Only the caller of
                this function ever has them. Meanwhile the session and the recording hear silence
                in place of the caller: some lines carry the keys' tones. And the model says
                nothing.
            fresh: Keys pressed before do not count, and nobody is told of them.

        Raises:
            CarrierRefused: Another tool waits for keys already.

        """

    async def approve(self, tool_call_id: str) -> str:
        """Let the session run by itself what it asked leave for, once, and wait for what comes.

        Args:
            tool_call_id: Of the run that calls this.

        Returns:
            The output, JSON text.

        Raises:
            ToolRefused: It asked for no such thing, or the tool says that it failed.
            EffectUnknown: Nobody knows whether it took effect.

        """

    def change(self, *, instructions: str | None = None, language: str | None = None) -> None:
        """Let the conversation go on by other instructions, or in another language.

        Args:
            instructions: Replace the agent's own; `None`: they stay.
            language: ISO 639-1, of what the caller speaks; `None`: it stays.

        Raises:
            ToolRefused: No session would take it.

        """


@attrs.define(eq=False)
class LiveCall:
    """A call that runs. Fits `CallControl`.

    Args:
        facts: Of the call.
        carrier: Where keys and callers go.
        session: Is told of changes.
        bargein: Plays tones.
        hangup: Is told that the caller has left, or was to leave and has not.
        notes: The call's clock and journal.
        when_quiet: Returns when all that was said has been heard.
        collect: Waits for the caller's keys.
        asking: Lets the caller's keys be answers meanwhile.
        speaker: Says what no model is to say.
        voice_ms: When the caller's voice began, on the call's clock.
        approvals: Give leave for what the session runs by itself.
        key_tones: How keys are sent.
        language: Of what the caller speaks, until a tool changes it.

    """

    facts: CallFacts
    carrier: Carrier
    session: Lane[SessionOrder]
    bargein: Lane[BargeInFact]
    hangup: Lane[HangupFact]
    notes: Notes
    when_quiet: Callable[[], Awaitable[None]]
    collect: Callable[[Collect], Awaitable[str]]
    asking: Callable[[Confirmation], AbstractContextManager[None]]
    speaker: Speaker
    voice_ms: Callable[[SpeechStarted], float]
    approvals: Approvals
    key_tones: KeyTones = "redirect"
    language: str | None = None
    tool_call_id: str = ""
    _one_at_a_time: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    """Two tools that move the call about would each take the other's stream away; two that ask the
    caller, the other's answer."""
    _confirmation: Confirmation | None = attrs.field(default=None, init=False)
    _news: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Something was heard of the caller."""
    _tones: int = attrs.field(default=0, init=False)
    _cut: set[str] = attrs.field(factory=set[str], init=False)
    """Tones that the far end spoke over."""
    _barge_ins: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.notes.listen((BargedIn,), self._barged_in)
        self.notes.listen(
            (KeyPressed, SpeechStarted, SpeechStopped, CallerTranscript), self._heard_caller
        )

    async def press(self, digits: str) -> None:
        """See `CallControl`."""
        if SENDABLE.fullmatch(digits) is None:
            raise CarrierRefused("keys are 0 to 9, *, #, A to D, and w to wait; 32 at the most")
        async with self._one_at_a_time:
            await self._until_quiet()
            if self.key_tones == "in_band":
                await self._play_tones(digits)
            else:
                await self.carrier.press(digits)
        self.notes.note(KeysSent(digits))

    async def say(self, words: str) -> bool:
        """See `CallControl`."""
        ulaw = await self.speaker.render(words)
        async with self._one_at_a_time:
            with self.speaker.floor():
                return await self.speaker.say(words, ulaw)

    async def confirm(self, question: str, *, within_s: float = CONFIRM_S) -> Reply:
        """See `CallControl`."""
        ulaw = await self.speaker.render(question)
        async with self._one_at_a_time:
            understand = partial(meaning_of, language=self.language)
            asked = self._confirmation = Confirmation(within_s * 1000, understand)
            try:
                with self.speaker.floor(), self.asking(asked):
                    return await self._ask(asked, question, ulaw)
            finally:
                self._confirmation = None

    async def transfer(self, to: Transfer) -> TransferOutcome:
        """See `CallControl`."""
        try:
            async with self._one_at_a_time:
                await self._until_heard()
                outcome = await self.carrier.transfer(to)
        except CarrierRefused:
            # A hang-up that was asked for beside it would leave the caller with nobody.
            self.hangup.put(TransferEnded("refused"))
            raise
        ended = TransferEnded(outcome)
        self.notes.note(ended)
        self.hangup.put(ended)
        if outcome == "answered":
            await trio.sleep_forever()
        return outcome

    async def collect_digits(
        self,
        *,
        most: int,
        end_key: str | None = "#",
        first_s: float = 10.0,
        between_s: float = 4.0,
        private: bool = False,
        fresh: bool = False,
    ) -> str:
        """See `CallControl`."""
        asked = Collect(
            most=most,
            end_key=end_key,
            first_s=first_s,
            between_s=between_s,
            private=private,
            fresh=fresh,
        )
        if not private:
            return await self.collect(asked)
        with self.speaker.floor():
            return await self.collect(asked)

    async def approve(self, tool_call_id: str) -> str:
        """See `CallControl`."""
        return await self.approvals.approve(tool_call_id)

    def change(self, *, instructions: str | None = None, language: str | None = None) -> None:
        """See `CallControl`."""
        # A session that refuses goes on as it was; but the next one would begin with it.
        if instructions is not None and not instructions.strip():
            raise ToolRefused("instructions have to say something")
        if language is not None and LANGUAGE.fullmatch(language) is None:
            raise ToolRefused("a language is two small letters of ISO 639-1, as en")
        self.language = language or self.language
        self.session.put(ChangeSession(instructions, language))

    async def _ask(self, asked: Confirmation, question: str, ulaw: bytes) -> Reply:
        """Say a question until it is heard, and wait for the caller's answer."""
        for _ in range(ASKED_MAX):
            if await self.speaker.say(
                question, ulaw, heard=lambda: asked.heard(now_ms=self.notes.now_ms())
            ):
                break
        else:
            return "unheard"
        while asked.reply is None:
            self._news = trio.Event()
            due_ms = asked.due_ms()
            with trio.move_on_at(math.inf if due_ms is None else self.notes.trio_s(due_ms)):
                await self._news.wait()
            asked.tick(now_ms=self.notes.now_ms())
        await trio.lowlevel.checkpoint()
        return asked.reply

    def _heard_caller(
        self, fact: KeyPressed | SpeechStarted | SpeechStopped | CallerTranscript
    ) -> None:
        self._news.set()
        asked, now_ms = self._confirmation, self.notes.now_ms()
        if asked is None:
            return
        match fact:
            case SpeechStarted(item_id):
                asked.speech_started(item_id, began_ms=self.voice_ms(fact))
            case SpeechStopped():
                asked.speech_stopped(now_ms=now_ms)
            case CallerTranscript(item_id, text):
                asked.understood(item_id, text, now_ms=now_ms)
            case KeyPressed():
                pass  # By way of the keypad: a tool that waits for keys already has them first.

    async def _until_quiet(self) -> None:
        with trio.move_on_after(QUIET_MAX_S) as patience:
            await self.when_quiet()
        if patience.cancelled_caught:
            raise CarrierRefused("what was said has not been heard to its end")

    async def _until_heard(self) -> None:
        barge_ins = self._barge_ins
        await self._until_quiet()
        if self._barge_ins != barge_ins:
            raise CarrierRefused(OBJECTED)

    async def _play_tones(self, digits: str) -> None:
        """Play keys as an item of the agent's that the session knows nothing of."""
        self._tones += 1
        name = f"{LOCAL}keys_{self._tones}"
        ulaw = key_tones(digits)
        words, audio = ItemTranscript(name, f"[{digits}]"), ItemAudio(name, name, ulaw)
        done = ItemAudioDone(name, name)
        for fact in (words, audio, done):
            self.notes.note(fact)
        self.bargein.put(audio)
        self.bargein.put(done)
        # They begin at once: nothing else plays. Quiet is asked for when they ought to be over.
        length_s = len(ulaw) / ULAW_BYTES_PER_MS / 1000
        with trio.move_on_after(length_s + TONES_SPARE_S):
            await trio.sleep(length_s)
            await self.when_quiet()
        if name in self._cut:
            raise CarrierRefused("the far end spoke, and the tones were cut short")

    def _barged_in(self, fact: BargedIn) -> None:
        self._barge_ins += 1
        self._cut.update(cut.item_id for cut in fact.items if cut.item_id.startswith(LOCAL))


@attrs.define(eq=False)
class OwnTime:
    """A call as one run of a tool sees it. Fits `CallControl`.

    While the tool waits for the carrier or for the caller, its deadline waits with it.
    """

    call: CallControl
    scope: trio.CancelScope
    """Of the run, with its deadline."""
    tool_call_id: str = ""
    notes: Notes | None = None
    """Are told when it waits."""
    _waits: int = attrs.field(default=0, init=False)
    """At a time: a tool may have tasks of its own."""
    _left_s: float = attrs.field(default=0.0, init=False)

    @property
    def facts(self) -> CallFacts:
        """See `CallControl`."""
        return self.call.facts

    async def press(self, digits: str) -> None:
        """See `CallControl`."""
        with self._waiting():
            await self.call.press(digits)

    async def say(self, words: str) -> bool:
        """See `CallControl`."""
        with self._waiting():
            return await self.call.say(words)

    async def confirm(self, question: str, *, within_s: float = CONFIRM_S) -> Reply:
        """See `CallControl`."""
        with self._waiting():
            return await self.call.confirm(question, within_s=within_s)

    async def transfer(self, to: Transfer) -> TransferOutcome:
        """See `CallControl`."""
        with self._waiting():
            return await self.call.transfer(to)

    async def collect_digits(
        self,
        *,
        most: int,
        end_key: str | None = "#",
        first_s: float = 10.0,
        between_s: float = 4.0,
        private: bool = False,
        fresh: bool = False,
    ) -> str:
        """See `CallControl`."""
        with self._waiting():
            return await self.call.collect_digits(
                most=most,
                end_key=end_key,
                first_s=first_s,
                between_s=between_s,
                private=private,
                fresh=fresh,
            )

    async def approve(self, tool_call_id: str) -> str:
        """See `CallControl`. The tool works meanwhile, and its time goes on."""
        return await self.call.approve(tool_call_id)

    def change(self, *, instructions: str | None = None, language: str | None = None) -> None:
        """See `CallControl`."""
        self.call.change(instructions=instructions, language=language)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        self._waits += 1
        if self._waits == 1:
            self._left_s = self.scope.deadline - trio.current_time()
            self.scope.deadline = float("inf")
            self._note(ToolWaits(self.tool_call_id))
        try:
            yield
        finally:
            self._waits -= 1
            if self._waits == 0:
                self.scope.deadline = trio.current_time() + self._left_s
                self._note(ToolWentOn(self.tool_call_id))

    def _note(self, fact: ToolWaits | ToolWentOn) -> None:
        if self.notes is not None:
            self.notes.note(fact)
