"""The silence watch: asks whether anybody is there, and then lets the call end."""

from __future__ import annotations

from typing import Final

import attrs
import trio

from actors.exits import AgentHungUp
from actors.lanes import Lane
from actors.messages import (
    AddText,
    CreateResponse,
    HangupAsked,
    HangupFact,
    ResponseWanted,
    SessionOrder,
    TurnFact,
)
from actors.notes import Notes
from actors.policy.activity import ActivityFact
from actors.policy.silence import GOODBYE, Silence, Step
from actors.policy.sound import Sound

REASON: Final = "silence"
"""Why the agent hung up then, as the record has it."""

# As text in the conversation, and not as instructions of one response: those would replace what
# the agent is, and the language it speaks.
ASK: Final = (
    "[Nobody has said anything for a while. Ask briefly, in the language of the conversation, "
    "whether the caller is still there.]"
)
SAY_GOODBYE: Final = (
    "[Still nobody says anything. Say goodbye in one short sentence; the call ends after it.]"
)


@attrs.define(eq=False)
class SilenceWatch:
    """Waits for nothing to happen.

    Args:
        inbox: What was noted of the call, as far as it says who does something.
        session: Is told why it is to speak.
        turns: Is told that it is to.
        hangup: Is asked to hang up behind the goodbye.
        notes: The call's clock.
        silence: When that is. `None`: never.
        sound: Whether the caller's line has sound on it.

    """

    inbox: Lane[ActivityFact]
    session: Lane[SessionOrder]
    turns: Lane[TurnFact]
    hangup: Lane[HangupFact]
    notes: Notes
    silence: Silence | None
    sound: Sound

    async def run(self) -> AgentHungUp:
        """Serve the inbox and the clock until cancelled, or until nobody even says goodbye."""
        if self.silence is None:
            await trio.sleep_forever()
            raise AssertionError("it sleeps forever")
        while True:
            due_ms = self.silence.due_ms(self.sound.heard_ms)
            due_s = float("inf") if due_ms is None else self.notes.trio_s(due_ms)
            with trio.move_on_at(due_s):
                self._follow(self.silence, await self.inbox.take())
            match self.silence.tick(self.sound.heard_ms, now_ms=self.notes.now_ms()):
                case Step.ASK:
                    self._want("silence", ASK)
                case Step.SAY_GOODBYE:
                    self._want(GOODBYE, SAY_GOODBYE)
                case Step.END:
                    return AgentHungUp(REASON, goodbye_heard=False)
                case None:
                    pass

    def _follow(self, silence: Silence, fact: ActivityFact) -> None:
        goodbye = silence.note(fact, now_ms=self.notes.now_ms())
        if goodbye is not None:
            self.hangup.put(HangupAsked("", REASON, goodbye))

    def _want(self, purpose: str, text: str) -> None:
        self.session.put(AddText("system", text))
        self.turns.put(ResponseWanted(CreateResponse(purpose)))
