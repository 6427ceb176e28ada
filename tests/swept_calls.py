"""The short eventful calls that are swept: between them, everything that can happen on a call."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

import attrs
import trio

from actors.control import CallControl
from actors.exits import AgentHungUp, CallerHungUp, Exit, PeerLost, Refused
from actors.policy.manners import Manners
from actors.policy.record import CallRecord
from actors.toolbox import Toolbox
from gateway.lab.world import World
from gateway.records.recording import MemoryRecorder
from gateway.records.store import MemoryStore
from gateway.session.realtime import Connect, Use
from gateway.web.client_socket import CannotOpen


@attrs.frozen(kw_only=True)
class SweptCall:
    """One call, of a second or two."""

    about: str
    yaml: str
    ending: type[Exit]
    """How it ends when nobody disturbs it."""
    is_eventful: Callable[[World], bool]
    """Whether what it is about did happen."""
    phone_breaks_s: float | None = None
    """When the phone's network breaks."""
    slow_disk: bool = False
    manners: Manners = attrs.field(factory=Manners)
    first_attempt_fails: bool = False
    """To reach the model, after 300 ms."""
    logs: frozenset[str] = frozenset()
    """Errors that are logged when all goes as it should."""


def _outcomes(one: World) -> list[str | None]:
    return [tool.outcome for tool in one.record.tool_calls]


def _purposes(one: World) -> list[str | None]:
    return [response.purpose for response in one.record.responses]


def _whats(one: World) -> list[str]:
    return [moment.what for moment in one.record.moments]


CALLS: Final[dict[str, SweptCall]] = {
    "greeting": SweptCall(
        about="a greeting is heard to its end, and the caller hangs up",
        yaml="""
model: {answers: [{items: [{say: "Hello, here I am."}], after_ms: 50}]}
caller: [{wait: agent_quiet, quiet_ms: 100, hang_up: true}]
""",
        ending=CallerHungUp,
        is_eventful=lambda one: [said.unheard for said in one.record.transcript] == [""],
    ),
    "barge-in": SweptCall(
        about="the caller speaks over the greeting, and is answered",
        yaml="""
model:
  answers:
    - {items: [{say: "Hello, ah."}], after_ms: 50}
    - {items: [{say: "So?"}], after_ms: 50}
caller:
  - {wait: agent_speaking, after_ms: 150, say: "No"}
  - {wait: agent_quiet, quiet_ms: 60, hang_up: true}
""",
        ending=CallerHungUp,
        is_eventful=lambda one: len(one.record.barge_ins) == 1 and len(one.record.responses) == 2,
    ),
    "two-items": SweptCall(
        about="the caller speaks over the first of two items, and the second is deleted",
        yaml="""
model:
  answers:
    - {items: [{say: "Hello, ah."}, {say: "Well, it is so."}], after_ms: 50}
    - {items: [{say: "So?"}], after_ms: 50}
caller:
  - {wait: agent_speaking, after_ms: 250, say: "No"}
  - {wait: agent_quiet, quiet_ms: 60, hang_up: true}
""",
        ending=CallerHungUp,
        is_eventful=lambda one: {"TruncateItem", "DeleteItem"} <= set(_whats(one)),
    ),
    "slow-tool": SweptCall(
        about="a tool takes its time, and the caller hangs up over its answer",
        yaml="""
model:
  answers:
    - items: [{say: "Um."}, {call: {name: look_up, arguments: {ms: 400}}}]
      after_ms: 50
    - {items: [{say: "There it is, by now."}], after_ms: 50}
caller: [{wait: agent_quiet, quiet_ms: 100}, {wait: agent_speaking, after_ms: 60, hang_up: true}]
""",
        ending=CallerHungUp,
        is_eventful=lambda one: _outcomes(one) == ["returned"] and len(one.record.responses) == 2,
    ),
    "parallel-tools": SweptCall(
        about="three tools at a time, one of which the call does not wait for",
        yaml="""
model:
  answers:
    - items:
        - call: {name: look_up, arguments: {ms: 300}}
        - call: {name: look_up, arguments: {ms: 10}}
        - call: {name: look_up, arguments: {ms: 60000}}
      after_ms: 50
caller: [{wait_ms: 1000, hang_up: true}]
""",
        ending=CallerHungUp,
        is_eventful=lambda one: _outcomes(one) == ["returned", "returned", None],
    ),
    "failing-tools": SweptCall(
        about="one tool raises, another is called with arguments that do not fit",
        yaml="""
model:
  answers:
    - items:
        - call: {name: break_down, arguments: {}}
        - call: {name: look_up, arguments: {ms: soon}}
      after_ms: 50
    - {items: [{say: "Oh."}], after_ms: 50}
caller: [{wait: agent_quiet, quiet_ms: 60, hang_up: true}]
""",
        ending=CallerHungUp,
        is_eventful=lambda one: sorted(map(str, _outcomes(one))) == ["failed", "refused"],
        logs=frozenset({"tool.failed"}),
    ),
    "goodbye": SweptCall(
        about="a tool, a goodbye that is heard, and the agent hangs up",
        yaml="""
model:
  answers:
    - items: [{call: {name: look_up, arguments: {}}}]
      after_ms: 50
    - items: [{say: "Bye."}, {call: {name: hangup, arguments: {reason: done}}}]
      after_ms: 50
caller: [{wait: call_end}]
""",
        ending=AgentHungUp,
        is_eventful=lambda one: one.record.ending == AgentHungUp("done", goodbye_heard=True),
    ),
    "hang-up-called-off": SweptCall(
        about="the caller speaks over the goodbye, and is answered",
        yaml="""
model:
  answers:
    - items: [{say: "Goodbye, now."}, {call: {name: hangup, arguments: {reason: done}}}]
      after_ms: 50
    - {items: [{say: "So?"}], after_ms: 50}
caller:
  - {wait: agent_speaking, after_ms: 250, say: "No"}
  - {wait: agent_quiet, quiet_ms: 60, hang_up: true}
""",
        ending=CallerHungUp,
        is_eventful=lambda one: (
            _outcomes(one) == ["interrupted"] and len(one.record.responses) == 2
        ),
    ),
    "mid-word": SweptCall(
        about="the caller hangs up in the middle of the agent's word",
        yaml="""
model: {answers: [{items: [{say: "Hello, here I am, and here I stay."}], after_ms: 50}]}
caller: [{wait: agent_speaking, after_ms: 500, hang_up: true}]
""",
        ending=CallerHungUp,
        is_eventful=lambda one: any(said.unheard for said in one.record.transcript),
    ),
    "model-dies": SweptCall(
        about="the model's server goes away in the middle of a response",
        yaml="""
model:
  answers: [{items: [{say: "Hello, here I am, and here I stay."}], after_ms: 50, speed: 1.2}]
  faults: [{at: {at_ms: 900}, do: close, code: 1011, reason: restart}]
caller: [{wait: call_end}]
""",
        ending=PeerLost,
        is_eventful=lambda one: one.record.ending == PeerLost("session", 1011, "restart"),
    ),
    "phone-dies": SweptCall(
        about="the phone's network breaks while the agent speaks and a tool runs",
        yaml="""
model:
  answers:
    - items: [{say: "Hello, here I am."}, {call: {name: look_up, arguments: {ms: 5000}}}]
      after_ms: 50
caller: [{wait: call_end}]
""",
        ending=PeerLost,
        is_eventful=lambda one: (
            isinstance(one.record.ending, PeerLost) and _outcomes(one) == [None]
        ),
        phone_breaks_s=0.9,
    ),
    "second-attempt": SweptCall(
        about="the model cannot be reached at first; the second attempt greets",
        yaml="""
model:
  answers: [{items: [{say: "Hi."}], after_ms: 50}]
caller: [{wait: agent_quiet, quiet_ms: 60, hang_up: true}]
""",
        ending=CallerHungUp,
        is_eventful=lambda one: (
            _purposes(one) == ["greeting"] and one.record.duration_ms > 300 + 250 + 200
        ),
        first_attempt_fails=True,
    ),
    "refused": SweptCall(
        about="the model is out of money",
        yaml="""
model: {answers: [{fail: {code: insufficient_quota}, after_ms: 50}]}
caller: [{wait: call_end}]
""",
        ending=Refused,
        is_eventful=lambda one: isinstance(one.record.ending, Refused),
    ),
    "keys": SweptCall(
        about="the caller presses keys while the agent speaks, and then some more",
        yaml="""
model: {answers: [{items: [{say: "Press it, if you can."}], after_ms: 50}]}
caller:
  - {wait: agent_speaking, after_ms: 60, press: "1"}
  - {wait_ms: 40, press: "2"}
  - {wait: agent_quiet, quiet_ms: 60, press: "#"}
  - {wait_ms: 60, hang_up: true}
""",
        ending=CallerHungUp,
        is_eventful=lambda one: _whats(one).count("KeyPressed") == 3,
    ),
    "keypad": SweptCall(
        about="keys for the model, keys for a tool, then nobody says anything, and the call ends",
        yaml="""
model:
  answers:
    - {items: [{say: "Hi."}], after_ms: 50}
    - {items: [{call: {name: ask_pin, arguments: {}}}], after_ms: 50}
    - {items: [{say: "So"}], after_ms: 50}
    - {items: [{say: "Eh"}], after_ms: 50}
    - {items: [{say: "By"}], after_ms: 50}
caller:
  - {wait_ms: 100, press: "#"}
  - {wait_ms: 200, press: "7#"}
  - {wait: call_end}
""",
        ending=AgentHungUp,
        is_eventful=lambda one: (
            one.record.ending == AgentHungUp("silence", goodbye_heard=True)
            and {"KeyPressed", "AddText"} <= set(_whats(one))
            and _outcomes(one) == ["returned"]
            and _purposes(one)[1:2] == ["keys"]
        ),
        manners=Manners(tells_keys=True, max_silence_s=0.3, wrap_up_s=30),
    ),
    "slow-disk": SweptCall(
        about="the recorder and the store take their time, and the agent hangs up",
        yaml="""
model:
  answers:
    - items: [{say: "Hello."}, {call: {name: hangup, arguments: {reason: done}}}]
      after_ms: 50
caller: [{wait: call_end}]
""",
        ending=AgentHungUp,
        is_eventful=lambda one: isinstance(one.recorder, SlowRecorder) and one.recorder.waited > 5,
        slow_disk=True,
    ),
}


@attrs.define(eq=False)
class SlowRecorder(MemoryRecorder):
    """Stands for a recorder on a busy disk: 8 ms for each piece, and more to finish."""

    waited: int = 0

    async def caller(self, at_ms: int, ulaw: bytes) -> None:
        self.waited += 1
        await trio.sleep(0.008)
        await super().caller(at_ms, ulaw)

    async def agent(self, at_ms: int, ulaw: bytes) -> None:
        self.waited += 1
        await trio.sleep(0.008)
        await super().agent(at_ms, ulaw)

    async def aclose(self) -> None:
        await trio.sleep(0.1)
        await super().aclose()


@attrs.define(eq=False)
class SlowStore(MemoryStore):
    """Stands for a store on the same disk."""

    async def finish(self, record: CallRecord) -> None:
        await trio.sleep(0.1)
        await super().finish(record)


@attrs.define(eq=False)
class SecondAttempt:
    """Stands for a model that cannot be reached at first."""

    connect: Connect
    attempts: int = 0

    async def __call__(self, use: Use) -> None:
        self.attempts += 1
        if self.attempts == 1:
            await trio.sleep(0.3)
            raise CannotOpen("busy", 503)
        await self.connect(use)


@cache
def toolbox() -> Toolbox:
    """The functions of all of them. They keep nothing, so one box serves every run."""
    box = Toolbox()

    @box.add
    async def look_up(ms: int = 50) -> str:
        """Takes its time."""
        await trio.sleep(ms / 1000)
        return "found"

    @box.add
    async def ask_pin(call: CallControl) -> int:
        """Has a number typed."""
        return len(await call.collect_digits(most=4, private=True))

    @box.add
    async def break_down() -> str:
        """Fails."""
        await trio.lowlevel.checkpoint()
        raise RuntimeError("broken")

    return box
