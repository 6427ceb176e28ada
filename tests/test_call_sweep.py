"""A call is cancelled at every single step of its scheduler, and never leaves anything behind.

The strongest cheap test of structured cancellation: whatever an actor was in the middle of, the
sockets are closed, the record is written once, and it is over within the bound.
"""

from __future__ import annotations

import attrs
import trio
import trio.testing

from actors.exits import AgentHungUp
from actors.toolbox import Toolbox
from gateway.lab.world import World
from tests.worlds import world

EVENTFUL = """
model:
  answers:
    - items: [{say: "Hello, ah."}]
      after_ms: 50
    - items:
        - say: "Um."
        - call: {name: look_up, arguments: {}}
      after_ms: 50
    - items:
        - say: "By."
        - call: {name: hangup, arguments: {reason: done}}
      after_ms: 50
caller:
  - {wait: agent_speaking, after_ms: 150, say: "No"}
  - {wait: call_end}
"""
"""In two and a half seconds: a greeting, a barge-in, a tool, a goodbye, a hang-up."""


def eventful() -> World:
    toolbox = Toolbox()

    @toolbox.add
    async def look_up() -> str:
        """Takes its time."""
        await trio.sleep(0.05)
        return "found"

    one = world(EVENTFUL, toolbox=toolbox)
    one.session.settings = attrs.evolve(one.session.settings, silence_ms=200)
    return one


@attrs.define(eq=False)
class Steps(trio.abc.Instrument):
    """Counts the scheduler's steps while the call runs, and cancels the call before one of them."""

    one: World
    cancel_at: int = 0
    count: int = 0
    tasks: int = 0
    cancelled_s: float | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.one.began and self.one.ended_s is None:
            self.count += 1
            if self.count == self.cancel_at:
                self.cancelled_s = trio.current_time()
                self.one.call_scope.cancel("the sweep")

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.tasks += 1

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self.tasks -= 1


def run(cancel_at: int = 0) -> Steps:
    """One call in a scheduler of its own, cancelled before this step of it."""
    steps = Steps(eventful(), cancel_at)

    async def main() -> None:
        with trio.fail_after(60):
            await steps.one.run()

    clock = trio.testing.MockClock(autojump_threshold=0)
    trio.run(main, clock=clock, instruments=[steps])
    return steps


def violations(steps: Steps) -> list[str]:
    """Everything this call left behind, or left undone."""
    one = steps.one
    after_s = 0.0
    if steps.cancelled_s is not None and one.ended_s is not None:
        after_s = one.ended_s - steps.cancelled_s
    left = {
        "a task": steps.tasks != 0,
        "a socket to the model": one.open_sockets != 0,
        "the carrier's stream": one.carrier_end.closed is None,
        "not one record": len(one.store.records) != 1,
        f"{after_s:.3f} s of dying": after_s > 0.25,
        "a tool call with two outputs": bool(one.model.violations),
        "a refused order": bool(one.model.errors),
    }
    return [f"step {steps.cancel_at}: {what}" for what, is_left in left.items() if is_left]


async def test_the_call_of_the_sweep_is_eventful() -> None:
    """Else the sweep would prove nothing."""
    steps = await trio.to_thread.run_sync(run)

    record = steps.one.record
    assert record.ending == AgentHungUp("done", goodbye_heard=True)
    assert len(record.barge_ins) == 1
    assert [tool.name for tool in record.tool_calls] == ["look_up", "hangup"]
    assert steps.count > 1000
    assert violations(steps) == []


async def test_cancelled_at_any_step_a_call_leaves_nothing_behind() -> None:
    def sweep() -> list[str]:
        return [
            violation for step in range(1, run().count + 1) for violation in violations(run(step))
        ]

    assert await trio.to_thread.run_sync(sweep) == []
