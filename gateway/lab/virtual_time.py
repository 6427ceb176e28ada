"""Virtual time: a clock that goes to the next event whenever nobody has anything to do.

Trio's `MockClock` does the same for deadlines; but a wait until a deadline costs a cancel scope
and an exception, and in a simulation nearly every step is such a wait. Here a task that waits for
its moment costs one turn of the scheduler.
"""

from __future__ import annotations

import heapq
from itertools import count
from math import inf

import attrs
import trio


@attrs.define(eq=False)
class VirtualClock(trio.abc.Clock):
    """Counts from 0, and never waits.

    For runs without sockets and threads, which it overtakes, and without
    `trio.testing.wait_all_tasks_blocked`: when all tasks are blocked, time has passed.
    """

    _now_s: float = 0.0
    _alarms: list[tuple[float, int, Nap]] = attrs.field(
        factory=list[tuple[float, int, "Nap"]], init=False
    )
    _order: count[int] = attrs.field(factory=count, init=False)

    def start_clock(self) -> None:
        """See `trio.abc.Clock`."""

    def current_time(self) -> float:
        """See `trio.abc.Clock`."""
        return self._now_s

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """See `trio.abc.Clock`. Trio asks when no task can run: the moment for time to pass."""
        alarms = self._alarms
        while alarms and alarms[0][2].due_s != alarms[0][0]:
            heapq.heappop(alarms)  # That nap ended, or was moved.
        next_s = min(deadline, alarms[0][0]) if alarms else deadline
        if next_s == inf:
            return inf
        self._now_s = max(self._now_s, next_s)
        while alarms and alarms[0][0] <= self._now_s:
            due_s, _, nap = heapq.heappop(alarms)
            if nap.due_s == due_s:
                nap.wake()
        return 0

    def jump(self, seconds: float) -> None:
        """Let time pass at once, as it does for a process that was stopped."""
        self._now_s += seconds

    def alarm(self, at_s: float, nap: Nap) -> None:
        """Wake `nap` at this time, unless it is moved until then."""
        heapq.heappush(self._alarms, (at_s, next(self._order), nap))


@attrs.define(eq=False)
class Nap:
    """One task's wait for a moment that others may bring forward. Works with any clock of trio's.

    A wake that comes while nobody naps is remembered: the next nap ends at once.
    """

    due_s: float = attrs.field(default=inf, init=False)
    """On trio's clock: when the nap ends; infinite when nobody naps, or only `wake` ends it."""
    _task: trio.lowlevel.Task | None = attrs.field(default=None, init=False)
    _scope: trio.CancelScope | None = attrs.field(default=None, init=False)
    _clock: VirtualClock | None = attrs.field(default=None, init=False)
    _woken: bool = attrs.field(default=False, init=False)

    async def until(self, due_s: float) -> None:
        """Wait until a moment of trio's clock, or until woken. One task only; cancellable."""
        if self._woken or due_s <= trio.current_time():
            self._woken = False
            await trio.lowlevel.checkpoint_if_cancelled()
            return
        clock = trio.lowlevel.current_clock()
        self.due_s = due_s
        try:
            if isinstance(clock, VirtualClock):
                self._clock, self._task = clock, trio.lowlevel.current_task()
                if due_s != inf:
                    clock.alarm(due_s, self)
                await trio.lowlevel.wait_task_rescheduled(self._give_up)
            else:
                with trio.CancelScope(deadline=due_s) as self._scope:
                    await trio.sleep_forever()
        finally:
            self.due_s = inf
            self._task = self._scope = None
            self._woken = False

    def move(self, due_s: float) -> None:
        """Bring the end of a nap forward. Nothing happens if it ends sooner, or nobody naps."""
        if due_s < self.due_s:
            if self._task is not None and self._clock is not None:
                self.due_s = due_s
                self._clock.alarm(due_s, self)
            elif self._scope is not None:
                self.due_s = self._scope.deadline = due_s

    def wake(self) -> None:
        """End the nap now, or the next one at once."""
        if self._task is not None:
            task, self._task, self.due_s = self._task, None, inf
            trio.lowlevel.reschedule(task)
        elif self._scope is not None:
            self._scope.cancel()
        else:
            self._woken = True

    def _give_up(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._task, self.due_s = None, inf
        return trio.lowlevel.Abort.SUCCEEDED
