"""Short eventful calls, each disturbed at every single step, and what the disturbance left behind.

`python -m tests.sweeps` sweeps all of them on all cores; `python -m tests.sweeps CALL STEP` does
one point again, and says what happened. Every run has its dice in one seed, so a point is the
same point in every process.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import sys
import time
from collections.abc import Iterable, MutableMapping
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from typing import Any, Final, Literal, TypeAlias, get_args

import attrs
import orjson
import trio
from structlog.testing import capture_logs

from actors.call import Plan, run_call
from actors.exits import Crashed, Killed
from actors.messages import CarrierFact, CarrierOrder, CreateResponse, SessionFact, SessionOrder
from actors.policy.journal import CallFacts
from actors.ports import Carrier, Transfer, TransferOutcome
from actors.wire.openai_session import ServerVad
from gateway.lab.rehearsing.scenario import Scenario, parse
from gateway.lab.simulator.determinism import run_seeded
from gateway.lab.world import World, _asgi_receive, _asgi_send
from gateway.records.recording import MemoryRecorder
from gateway.session.realtime import RealtimeSession
from gateway.twilio.media import TwilioCarrier
from tests.swept_calls import CALLS, SecondAttempt, SlowRecorder, SlowStore, toolbox
from tests.worlds import tone

LEG_S: Final = 0.25
"""Whatever ends a call, all of it is gone within this."""

CHUNK: Final = 60
"""Points a worker does at a time: few enough that both are busy to the end."""

Disturbance: TypeAlias = Literal["cancel", "cancel_twice", "past_deadline", "carrier", "session"]
"""What happens at a step: the call is cancelled; cancelled, and with the next step everything
around it too; finds its deadline in the past; or a port raises `OSError` instead of doing its
work. Steps are the scheduler's, and for a port the times it was called."""

Log: TypeAlias = MutableMapping[str, Any]


@attrs.define(eq=False)
class Trap:
    """Counts the calls of a port, and lets one of them fail."""

    fails_at: int
    count: int = 0
    fell_s: float | None = None
    """On trio's clock: when it failed."""

    def step(self) -> None:
        self.count += 1
        if self.count == self.fails_at:
            self.fell_s = trio.current_time()
            raise OSError(5, "Input/output error")


@attrs.define(eq=False)
class TrappedCarrier:
    """Stands for a carrier whose adapter lets an error of the system through."""

    carrier: Carrier
    trap: Trap

    async def receive(self) -> CarrierFact:
        self.trap.step()
        return await self.carrier.receive()

    async def send(self, order: CarrierOrder) -> None:
        self.trap.step()
        await self.carrier.send(order)

    async def hang_up(self) -> None:
        self.trap.step()
        await self.carrier.hang_up()

    async def press(self, digits: str) -> None:
        await self.carrier.press(digits)

    async def transfer(self, to: Transfer) -> TransferOutcome:
        return await self.carrier.transfer(to)

    def hide_keys(self, hidden: bool) -> None:
        self.carrier.hide_keys(hidden)

    async def aclose(self) -> None:
        # Closed, and then the error: an adapter that leaves sockets open is its own tests' matter.
        await self.carrier.aclose()
        self.trap.step()


@attrs.define(eq=False)
class TrappedSession:
    """Stands for such a session."""

    session: RealtimeSession
    trap: Trap

    async def run(self) -> None:
        await self.session.run()

    async def receive(self) -> SessionFact:
        self.trap.step()
        return await self.session.receive()

    async def send(self, order: SessionOrder) -> None:
        self.trap.step()
        await self.session.send(order)

    async def aclose(self) -> None:
        await self.session.aclose()
        self.trap.step()


@attrs.define(eq=False)
class SweptWorld(World):
    """A world whose carrier may fail, and which looks at what is open when the call is over."""

    trap: Trap = attrs.field(kw_only=True)
    trapped: bool = attrs.field(kw_only=True)
    """Whether it is the carrier that falls into the trap."""
    left_open: list[str] = attrs.field(factory=list, init=False)

    async def _call(self) -> None:
        try:
            if self.trapped:
                await self._trapped_call()
            else:
                await super()._call()
        finally:
            self._look()

    async def _trapped_call(self) -> None:
        twilio = TwilioCarrier(
            lambda: _asgi_receive(self.carrier_end),
            lambda message: _asgi_send(self.carrier_end, message),
        )
        start = await twilio.introduce()
        facts = CallFacts(
            call_sid=start.call_sid,
            stream_sid=start.stream_sid,
            account_sid=start.account_sid,
            from_number="+15550001111",
            to_number="+15550002222",
            agent="rehearsal",
            model=self.model.model,
            voice="marin",
            started_at="2026-01-01T00:00:00.000+00:00",
        )
        self.began = True
        self._returned = await run_call(
            Plan(facts, CreateResponse("greeting")),
            TrappedCarrier(twilio, self.trap),
            self.session,
            tools=self.toolbox,
            recorder=self.recorder,
            store=self.store,
        )

    def _look(self) -> None:
        """Find what `run_call` left open. Afterwards the world closes everything itself."""
        recorder = self.recorder
        open_now = {
            "the carrier's stream": self.carrier_end.closed is None,
            "a socket to the model": self.open_sockets != 0,
            "the recording": isinstance(recorder, MemoryRecorder) and not recorder.closed,
        }
        self.left_open = [what for what, is_open in open_now.items() if is_open]


@attrs.define(eq=False)
class Steps(trio.abc.Instrument):
    """Counts the scheduler's steps while the call runs, and disturbs the call before one of them.

    The call runs until nothing of it is left, so its own goodbyes are disturbed too.
    """

    one: SweptWorld
    around: trio.CancelScope
    """Around the world, its phone and its networks."""
    disturbance: Disturbance
    at: int
    count: int = 0
    tasks: int = 0
    disturbed_s: float | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if not self.one.began or self.one.ended_s is not None:
            return
        self.count += 1
        if self.at and self.count == self.at:
            self._disturb()
        elif self.disturbance == "cancel_twice" and self.count == self.at + 1 > 1:
            self.around.cancel("the sweep, once more")

    def _disturb(self) -> None:
        match self.disturbance:
            case "cancel" | "cancel_twice":
                self.disturbed_s = trio.current_time()
                self.one.call_scope.cancel("the sweep")
            case "past_deadline":
                self.disturbed_s = trio.current_time()
                self.one.call_scope.deadline = trio.current_time() - 1
            case "carrier" | "session":
                pass

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.tasks += 1

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self.tasks -= 1


@attrs.frozen(kw_only=True)
class Point:
    """One run: which call, what happens to it, and when. Step 0: nothing."""

    call: str
    disturbance: Disturbance = "cancel"
    step: int = 0
    seed: int = 0
    """Of the order in which tasks take their turns."""

    def __str__(self) -> str:
        return f"{self.call}, {self.disturbance} at step {self.step}, seed {self.seed}"

    @property
    def command(self) -> str:
        """Does it again."""
        disturbance = "" if self.disturbance == "cancel" else f" --do {self.disturbance}"
        seed = f" --seed {self.seed}" if self.seed else ""
        return f"python -m tests.sweeps {self.call} {self.step}{disturbance}{seed}"


@attrs.frozen(kw_only=True)
class Run:
    """What became of one point."""

    point: Point
    one: SweptWorld
    steps: int
    """How many there were."""
    tasks_left: int
    disturbed_s: float | None
    over_s: float
    """On trio's clock, both: when it was disturbed, and when nothing of the call was left."""
    logs: list[Log]

    def violations(self) -> list[str]:
        """Everything this call left behind, or left undone."""
        one, call = self.one, CALLS[self.point.call]
        after_s = 0.0 if self.disturbed_s is None else self.over_s - self.disturbed_s
        records = one.store.records
        endings = {type(record.ending) for record in records}
        raised = self.point.disturbance in {"carrier", "session"}
        usual = {call.ending, Crashed if raised else Killed}
        events = {log["event"] for log in self.logs if log["log_level"] == "error"}
        allowed = {"actor.crashed", "call.goodbye_failed"} if raised else set[str]()
        events -= allowed | call.logs
        left = {
            f"{self.tasks_left} tasks left": self.tasks_left != 0,
            f"left open: {', '.join(one.left_open)}": bool(one.left_open),
            f"{len(records)} records": len(records) != 1,
            f"ended as {sorted(kind.__name__ for kind in endings)}": not endings <= usual,
            f"took {after_s:.3f} s to die": after_s > LEG_S,
            f"never came to step {self.point.step}": bool(self.point.step)
            and self.disturbed_s is None,
            f"the model saw {one.model.violations}": bool(one.model.violations),
            f"the model refused {one.model.errors}": bool(one.model.errors),
            f"logged {sorted(events)}": bool(events),
            "gave up its goodbyes": any(
                log["event"] == "call.cleanup_abandoned" for log in self.logs
            ),
        }
        return [what for what, is_left in left.items() if is_left]


@cache
def _scenario(call: str) -> Scenario:
    return parse(f"name: {call}\n{CALLS[call].yaml}")


_tone: Final = cache(tone)


def _world(point: Point, trap: Trap) -> SweptWorld:
    """The world of a call, with nothing in it that another run has touched."""
    call = CALLS[point.call]
    disk: dict[str, Any] = {}
    if call.slow_disk:
        disk = {"recorder": SlowRecorder(), "store": SlowStore()}
    made = SweptWorld(
        _scenario(point.call),
        _tone,
        toolbox=toolbox(),
        trap=trap,
        trapped=point.disturbance == "carrier",
        manners=call.manners,
        **disk,
    )
    made.session.settings = attrs.evolve(
        made.session.settings, turn_detection=ServerVad(silence_ms=200)
    )
    if call.first_attempt_fails:
        made.session.connect = SecondAttempt(made.session.connect)
    if point.disturbance == "session":
        made.session = TrappedSession(made.session, trap)  # type: ignore[assignment]
    return made


def run(point: Point) -> Run:
    """One call in a scheduler of its own, disturbed at one step of it.

    Raises:
        Exception: It did not end within a virtual minute, or without a record.

    """
    trap = Trap(point.step)
    one = _world(point, trap)
    around = trio.CancelScope()
    steps = Steps(one, around, point.disturbance, point.step)
    over_s = 0.0

    async def break_phone(after_s: float) -> None:
        await trio.sleep(after_s)
        one.phone_end.abort()

    async def main() -> None:
        nonlocal over_s
        breaks_s = CALLS[point.call].phone_breaks_s
        with trio.fail_after(60), around:
            async with trio.open_nursery() as nursery:
                if breaks_s is not None:
                    nursery.start_soon(break_phone, breaks_s)
                await one.run()
                nursery.cancel_scope.cancel("the call is over")
        over_s = trio.current_time() if one.ended_s is None else one.ended_s

    with capture_logs() as logs:
        run_seeded(main, seed=point.seed, instruments=[steps])
    by_itself = point.disturbance in {"carrier", "session"}
    return Run(
        point=point,
        one=one,
        steps=trap.count if by_itself else steps.count,
        tasks_left=steps.tasks,
        disturbed_s=trap.fell_s if by_itself else steps.disturbed_s,
        over_s=over_s,
        logs=logs,
    )


def violations(point: Point) -> list[str]:
    """Do one point. Returns what is wrong after it, and how to do it again."""
    try:
        wrong = run(point).violations()
    except Exception as error:  # noqa: BLE001 - the sweep goes on, and this is what it is for.
        wrong = [f"{type(error).__name__}: {error}"]
    return [f"{point}: {what} ({point.command})" for what in wrong]


@cache
def count(call: str, disturbance: Disturbance = "cancel", seed: int = 0) -> int:
    """How many steps there are to disturb."""
    return run(Point(call=call, disturbance=disturbance, seed=seed)).steps


def orders(at_least: int) -> range:
    """The seeds with which the steps of all calls are so many points, with a little to spare.

    Every order of tasks is a sweep of its own: another task is at work when the call is cancelled.
    """
    one_order = sum(count(call) for call in CALLS)
    return range(math.ceil(1.05 * at_least / one_order))


def points(
    call: str, disturbance: Disturbance = "cancel", seeds: Iterable[int] = (0,)
) -> list[Point]:
    """Every step of a call."""
    return [
        Point(call=call, disturbance=disturbance, step=step, seed=seed)
        for seed in seeds
        for step in range(1, count(call, disturbance, seed) + 1)
    ]


def start_workers() -> ProcessPoolExecutor:
    """One per core. Processes, since trio's dice belong to their process.

    What they import is frozen: collecting it again and again is a tenth of their time.
    """
    return ProcessPoolExecutor(
        os.cpu_count(), mp_context=get_context("spawn"), initializer=gc.freeze
    )


def sweep(some: list[Point], workers: ProcessPoolExecutor) -> list[str]:
    """Do these points on all cores. Blocks. Returns what is wrong, in order of the points."""
    chunks = [some[at : at + CHUNK] for at in range(0, len(some), CHUNK)]
    return [wrong for found in workers.map(_do, chunks) for wrong in found]


def _do(some: list[Point]) -> list[str]:
    return [wrong for point in some for wrong in violations(point)]


def main(arguments: list[str]) -> int:
    """Sweep everything and print what was found, or do one point and tell its story."""
    parser = argparse.ArgumentParser(prog="python -m tests.sweeps", description=__doc__)
    parser.add_argument("call", nargs="?", choices=CALLS, help="one call; else all of them")
    parser.add_argument("step", nargs="?", type=int, help="one step of it; else all of them")
    parser.add_argument("--do", choices=get_args(Disturbance), default="cancel")
    parser.add_argument("--seed", type=int, default=0, help="of the order of tasks")
    parser.add_argument("--points", type=int, help="as many orders as make so many points")
    args = parser.parse_args(arguments)
    if args.step is not None:
        return _tell(Point(call=args.call, disturbance=args.do, step=args.step, seed=args.seed))
    began_s = time.monotonic()
    calls = [args.call] if args.call else list(CALLS)
    seeds = orders(args.points) if args.points else (args.seed,)
    some = [point for call in calls for point in points(call, args.do, seeds)]
    with start_workers() as workers:
        found = sweep(some, workers)
    took_s = time.monotonic() - began_s
    _say(*found)
    measured = (
        f"{len(some):,} points in {len(calls)} calls, {len(found)} violations, {took_s:.0f} s"
    )
    passed = not found and len(some) >= max(args.points or 0, len(calls))
    _say(orjson.dumps({"measured": measured, "passed": passed}).decode())
    return 0 if passed else 1


def _tell(point: Point) -> int:
    """Do one point and say what happened."""
    _say(f"{point}: {CALLS[point.call].about}")
    one = run(point)
    for log in one.logs:
        words = " ".join(f"{key}={value}" for key, value in log.items() if key != "event")
        _say(f"  {log['event']}: {words}")
    if one.disturbed_s is not None:
        _say(f"  disturbed at {one.disturbed_s:.3f} s, nothing left at {one.over_s:.3f} s")
    _say(*(f"  ended as {record.ending}" for record in one.one.store.records))
    wrong = one.violations()
    _say(*(f"  VIOLATION: {what}" for what in wrong), f"  {len(wrong)} violations")
    return 1 if wrong else 0


def _say(*lines: str) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
