"""Recorded calls, replayed: what is the same, what differs, and how that is said.

Rules of these tests: calls are recorded in virtual time, in a run of their own, and so replayed;
the one process at the end is real.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import attrs
import orjson
import pytest
import trio

from actors.call import Limits
from actors.control import CallControl
from actors.errors import ToolRefused, Unspoken
from actors.exits import CallerHungUp, Exit, PeerLost
from actors.policy.manners import Manners
from actors.ports import Transfer, Voice
from actors.toolbox import Toolbox
from gateway.configuration.config import agent_settings
from gateway.lab.faults.fault_plan import Fault, FaultPlan, Place, Striker
from gateway.lab.judges.evidence import NodeReport
from gateway.lab.memory_line import MemorySocket
from gateway.lab.rehearsing.demo_tools import demo_tools
from gateway.lab.rehearsing.scenario import load
from gateway.lab.replaying import replay_command
from gateway.lab.replaying.recorded_voice import RecordedVoice
from gateway.lab.replaying.replay import Replay, replay
from gateway.lab.simulator.determinism import run_seeded
from gateway.lab.simulator.node import run_node
from gateway.lab.simulator.simulation import Wish, compose
from gateway.lab.simulator.simulation import play as play_simulation
from gateway.lab.simulator.workload import SimulatedCall
from gateway.lab.world import Delays, World
from gateway.records.flight import FILE_NAME, MemoryFlight
from gateway.records.flight_log import (
    FORMAT,
    Entry,
    FlightLog,
    NotAFlightLog,
    compress,
    read_log,
    write_header,
)
from gateway.records.tapped_voice import TappedVoice
from gateway.session.realtime import Socket, Use
from tests.killed_sessions import FILLER
from tests.killed_sessions import one_call as one_killed
from tests.test_call_voice import Clerk
from tests.test_call_voice import scenario as booking
from tests.test_main import offhook
from tests.worlds import GOODBYE, LONG_ANSWER, at, play, world

EVENTFUL = """
model:
  answers:
    - items: [{say: "Good morning, and welcome to the front desk of Acme Dental."}]
    - items:
        - say: "Let me look that up."
        - call: {name: look_up, arguments: {}}
    - items: [{say: "We are open until six, every day but Sunday."}]
    - items:
        - say: "You are welcome, goodbye."
        - call: {name: hangup, arguments: {reason: done}}
caller:
  - {wait: agent_speaking, after_ms: 900, say: "Sorry, when are you open?"}
  - {wait: agent_quiet, quiet_ms: 1500, say: "Thank you, that was all."}
  - {wait: call_end}
"""
"""A greeting that is talked over, a tool, its answer, a goodbye, a hang-up."""

CALLER_LEAVES = f"""
{LONG_ANSWER}
caller:
  - {{wait: agent_speaking, after_ms: 700, say: "No no no no"}}
  - {{wait: agent_quiet, press: "1"}}
  - {{hang_up: true}}
"""

ASKS_FOR_A_TOOL = """
model:
  answers:
    - items: [{say: "Hello there."}]
    - items: [{call: {name: look_up, arguments: {}}}]
    - items: [{say: "That is how it is."}, {call: {name: hangup, arguments: {reason: done}}}]
caller:
  - {wait: agent_quiet, say: "Look it up, please."}
  - {wait: call_end}
"""

BRIEF = """
model:
  answers:
    - items: [{say: "Hello, and goodbye."}, {call: {name: hangup, arguments: {reason: done}}}]
caller: [{wait: call_end}]
"""

Meddler = Callable[[World], Awaitable[None]]


def toolbox(body: Callable[[], Awaitable[str]] | None = None) -> Toolbox:
    tools = Toolbox()

    @tools.add
    async def look_up() -> str:
        """Look something up."""
        if body is not None:
            return await body()
        await trio.sleep(0.3)
        return "until six"

    return tools


def record(
    yaml: str,
    *meddlers: Meddler,
    seed: int = 0,
    with_audio: bool = False,
    **arrangements: Any,  # noqa: ANN401 - whatever a world takes.
) -> tuple[FlightLog, Exit]:
    """Let a call happen, and return its log and how it ended."""
    flight = MemoryFlight(with_audio)
    arrangements.setdefault("toolbox", toolbox())

    async def main() -> Exit:
        return await play(world(yaml, flight=flight, **arrangements), *meddlers)

    why = run_seeded(main, seed=seed)
    return flight.read(), why


@cache
def eventful() -> FlightLog:
    return record(EVENTFUL)[0]


def edited(log: FlightLog, edit: Callable[[Entry], Entry | None]) -> FlightLog:
    """The same log with some entries changed, or left out."""
    kept = [changed for entry in log.entries if (changed := edit(entry)) is not None]
    return attrs.evolve(log, entries=tuple(kept))


def word(entry: Entry) -> object:
    return entry.content[0] if isinstance(entry.content, list) else entry.content["type"]


def same(played: Replay) -> None:
    assert played.differences == ()
    assert not played.went_on


# What is the same.


def test_a_call_with_everything_in_it_is_decided_the_same_way_again() -> None:
    log, why = record(EVENTFUL)
    played = replay(log)

    same(played)
    assert type(why).__name__ == "AgentHungUp"
    words = {str(word(entry)) for entry in log.entries}
    assert {"clear", "conversation.item.truncate", "begin", "play", "append"} <= words
    assert played.decided >= 15


@pytest.mark.parametrize("seed", range(12))
def test_whatever_the_network_and_the_scheduler_did_the_decisions_are_the_same(seed: int) -> None:
    draw = Random(f"{seed}/network")
    low, high = draw.randint(0, 60), draw.randint(60, 160)
    delays = Delays(
        phone_up_ms=partial(draw.randint, low, high),
        phone_down_ms=partial(draw.randint, low, high),
        model_up_ms=partial(draw.randint, 0, low),
        model_down_ms=partial(draw.randint, 0, high),
    )
    yaml = [EVENTFUL, CALLER_LEAVES, GOODBYE, ASKS_FOR_A_TOOL][seed % 4]
    log, _ = record(yaml, seed=seed, delays=delays)

    same(replay(log))


async def lose_the_phone(one: World) -> None:
    await one.phone_end.aclose(1006)


async def lose_the_model(one: World) -> None:
    assert one.model_end is not None
    await one.model_end.aclose(1011, "server_error.session_expired")


async def break_the_model(one: World) -> None:
    assert one.model_end is not None
    await trio.lowlevel.checkpoint()
    one.model_end.abort()


async def stall_the_phone(one: World) -> None:
    await trio.lowlevel.checkpoint()
    one.phone_end.stalled = True


async def stall_the_model(one: World) -> None:
    assert one.model_end is not None
    await trio.lowlevel.checkpoint()
    one.model_end.stalled = True


async def babble(one: World) -> None:
    for nonsense in ("?", '{"event": "media"}', '{"event": "start", "start": {"token": "x"}}'):
        await one.phone_end.send_message(nonsense)


async def babble_on(one: World) -> None:
    for number in range(12):
        await one.phone_end.send_message('{"event": "mark"}' if number % 2 else "nonsense")


async def say_too_much(one: World) -> None:
    await one.phone_end.send_message("?" * 20_000)


async def send_bytes(one: World) -> None:
    await one.phone_end.send_message(b"?")


async def kill(one: World) -> None:
    await trio.lowlevel.checkpoint()
    one.call_scope.cancel()


async def swallow(one: World) -> None:
    await trio.lowlevel.checkpoint()
    one.swallows_frames = True


async def lose_marks(one: World) -> None:
    await trio.lowlevel.checkpoint()
    one.loses_marks = True


@pytest.mark.parametrize(
    ("meddler", "ending"),
    [
        (lose_the_phone, "PeerLost"),
        (lose_the_model, "Refused"),
        (break_the_model, "PeerLost"),
        (kill, "Killed"),
        (swallow, "PeerLost"),
        (lose_marks, "AgentHungUp"),
        (stall_the_phone, "PeerLost"),
        (stall_the_model, "PeerLost"),
        (babble, "AgentHungUp"),
        (babble_on, "PeerLost"),
        (say_too_much, "PeerLost"),
        (send_bytes, "PeerLost"),
    ],
)
def test_a_call_that_goes_wrong_goes_wrong_again(meddler: Meddler, ending: str) -> None:
    log, why = record(EVENTFUL, at(1.7, meddler))

    assert type(why).__name__ == ending
    same(replay(log))


class Mute:
    """Stands for a socket that answers no ping; all else is the line's."""

    def __init__(self, socket: MemorySocket) -> None:
        self.send_message, self.get_message = socket.send_message, socket.get_message
        self.aclose = socket.aclose

    async def ping(self) -> None:
        await trio.sleep_forever()


def test_a_session_that_answers_no_ping_is_lost_again() -> None:
    flight = MemoryFlight()
    one = world(f"{LONG_ANSWER}\ncaller: [{{wait: call_end}}]", flight=flight)
    connect = one.session.connect

    async def connect_to_mute(use: Use) -> None:
        async def use_mute(socket: Socket) -> None:
            assert isinstance(socket, MemorySocket)
            await use(Mute(socket))

        await connect(use_mute)

    one.session.connect = connect_to_mute
    why = run_seeded(lambda: play(one), seed=0)

    assert isinstance(why, PeerLost)
    assert why.reason == "no pong within 5 s"
    same(replay(flight.read()))


def test_a_call_that_was_too_long_is_too_long_again() -> None:
    log, why = record(EVENTFUL, limits=Limits(call_s=4))

    assert type(why).__name__ == "TimedOut"
    same(replay(log))


@pytest.mark.parametrize("status", [401, 503])
def test_a_session_that_was_refused_is_refused_again(status: int) -> None:
    fault = f"faults: [{{at: connect, do: refuse, http_status: {status}}}]"
    log, _ = record(GOODBYE.replace("model:", f"model:\n  {fault}", 1))

    same(replay(log))


async def hang() -> str:
    await trio.sleep_forever()


async def fail() -> str:
    await trio.sleep(0.2)
    raise LookupError("nothing to be seen here")


async def refuse() -> str:
    await trio.sleep(0.2)
    raise ToolRefused("not today")


@pytest.mark.parametrize("body", [hang, fail, refuse])
def test_a_tool_that_failed_fails_again_in_the_same_way(
    body: Callable[[], Awaitable[str]],
) -> None:
    log, _ = record(ASKS_FOR_A_TOOL, toolbox=toolbox(body))

    same(replay(log))
    assert "nothing to be seen" not in str(log.entries)


def test_audio_is_in_a_log_that_wants_it_and_changes_no_decision() -> None:
    with_audio, _ = record(EVENTFUL, with_audio=True)

    played = replay(with_audio)

    same(played)
    assert played.decided == replay(eventful()).decided
    (audio, *_) = [entry.content[1] for entry in with_audio.entries if word(entry) == "play"]
    assert isinstance(audio, str)
    assert len(audio) > 200


@pytest.mark.parametrize("share", [0.03, 0.1, 0.2, 0.35, 0.5, 0.62, 0.75, 0.9, 0.97, 0.999])
def test_a_log_that_breaks_off_is_replayed_until_there(share: float) -> None:
    log = eventful()
    cut = attrs.evolve(log, entries=log.entries[: round(len(log.entries) * share)])

    assert not cut.is_whole
    same(replay(cut))


def test_an_echo_that_was_read_before_its_mark_was_logged_waits_for_it() -> None:
    log, _ = record(GOODBYE, delays=Delays(phone_up_ms=0, phone_down_ms=0))

    def sooner(entry: Entry) -> Entry:
        is_echo = entry.place == "phone.in" and word(entry) == "mark"
        return attrs.evolve(entry, at_ms=entry.at_ms - 15) if is_echo else entry

    same(replay(edited(log, sooner)))


@pytest.mark.parametrize("seed", range(1, 31))
def test_every_call_of_a_simulation_without_faults_is_decided_the_same_way_again(
    seed: int,
) -> None:
    played = play_simulation(compose(seed, Wish(only=())), keeps_flights=True)
    flights = dict(played.flights.begun())

    assert set(flights) == {seen.call_sid for seen in played.report.calls}
    for flight in flights.values():
        same(replay(flight.read()))


@pytest.mark.parametrize("seed", [61, 97, 99, 120, 147])
def test_every_call_that_was_moved_or_typed_into_is_decided_the_same_way_again(seed: int) -> None:
    """These have the lines of a log that once were replayed in another order: a key that made a
    number complete, a caller who spoke over a transfer, a callee who answered."""
    played = play_simulation(compose(seed, Wish(only=())), keeps_flights=True)

    assert any(seen.call.is_moved for seen in played.report.calls)
    for _, flight in played.flights.begun():
        same(replay(flight.read()))


# A call of several sessions.


def played_scenario(name: str, seed: int = 1) -> tuple[FlightLog, NodeReport]:
    """One of the shipped scenarios, in a gateway of its own."""
    scenario, flight = load(name), MemoryFlight()
    agent = agent_settings(scenario.agent)
    call = SimulatedCall(number=0, starts_ms=0, scenario=scenario)

    async def main() -> NodeReport:
        return await run_node(
            [call],
            Striker(FaultPlan(())),
            seed=seed,
            toolbox=demo_tools(),
            agent=agent,
            flight=lambda _: flight,
            max_call_s=600,
        )

    report = run_seeded(main, seed=seed)
    return flight.read(), report


@pytest.mark.parametrize(
    ("name", "sessions", "moved"),
    [
        ("session-lost", {1, 2, 3}, "lost"),
        ("session-rotation", {1, 2}, "expiring"),
        ("fallback-model", {1, 2}, "fallback"),
    ],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_call_of_several_sessions_is_decided_the_same_way_again(
    name: str, sessions: set[int], moved: str, seed: int
) -> None:
    log, report = played_scenario(name, seed)
    (record_of_it,) = report.calls[0].records

    assert {entry.session for entry in log.entries} == sessions
    assert any(
        one.what == "SessionMoved" and one.detail.startswith(moved) for one in record_of_it.moments
    )
    same(replay(log))


@pytest.mark.parametrize("after", [12, 26, 40, 57, 70])
def test_wherever_its_session_died_the_call_goes_on_in_the_same_way_again(after: int) -> None:
    flight = MemoryFlight()
    one = one_killed(after, flight=flight)
    log = flight.read()

    assert one.ending == CallerHungUp()
    assert {entry.session for entry in log.entries} >= {1, 2}
    same(replay(log))


def test_a_line_of_its_own_is_said_again_by_the_call() -> None:
    flight = MemoryFlight()
    one_killed(26, flight=flight, dead=frozenset({2, 3}))
    log = flight.read()
    without = edited(log, lambda entry: None if entry.place == "line" else entry)

    assert [entry.content[2] for entry in log.entries if entry.place == "line"] == [FILLER]
    same(replay(log))
    assert any(one.leg == "phone" for one in replay(without).differences)


def test_what_another_session_was_told_is_a_decision() -> None:
    log, _ = played_scenario("session-rotation")

    def without(entry: Entry) -> Entry | None:
        is_told = entry.place == "model.out" and word(entry) == "conversation.item.create"
        return None if is_told and entry.session == 2 else entry

    (first, *_) = replay(edited(log, without)).differences
    assert (first.leg, first.then) == ("model", None)
    assert first.now is not None
    assert first.now.startswith("session 2: conversation.item.create")


def test_a_session_that_nobody_opened_then_is_not_answered_now() -> None:
    log, _ = played_scenario("session-rotation")
    played = replay(edited(log, lambda entry: entry if entry.session == 1 else None))

    assert played.differences


def test_a_log_of_before_there_were_several_sessions_is_read_and_replayed() -> None:
    log = eventful()
    old = attrs.evolve(log.header, flight=1)
    first = orjson.loads(write_header(old))
    del first["lasting"]
    flight_lines = [
        orjson.dumps(first),
        *(orjson.dumps([entry.at_ms, entry.place, entry.content]) for entry in log.entries),
    ]
    read = read_log(compress(b"".join(line + b"\n" for line in flight_lines)))

    assert read.header.lasting is None
    assert {entry.session for entry in read.entries} == {1}
    same(replay(read))


def test_to_keep_the_flights_of_a_simulation_changes_nothing_in_it() -> None:
    for seed in range(1, 6):
        kept, not_kept = (
            play_simulation(compose(seed), keeps_flights=keeps) for keeps in (True, False)
        )
        assert kept.outcome == not_kept.outcome


def test_a_process_that_stood_still_stands_still_again() -> None:
    """Then as now, what was due meanwhile is due at once."""
    jump = Fault(id="F57", place="node", do="jump", at_ms=4000, ms=1500, detail="stall")
    wish = Wish(plan=FaultPlan((jump,)))
    noticed = 0
    for seed in range(1, 9):
        played = play_simulation(compose(seed, wish), keeps_flights=True)
        for log in (flight.read() for _, flight in played.flights.begun()):
            noticed += len(log.stood_still)
            same(replay(log))
    assert noticed >= 3


def test_marks_with_other_names_are_echoed_when_as_much_was_played() -> None:
    """Names are today's own: what an older offhook called its marks tells nobody anything."""

    def renamed(entry: Entry) -> Entry:
        if entry.place in {"phone.in", "phone.out"} and word(entry) == "mark":
            return attrs.evolve(entry, content=["mark", f"then-{entry.content[1]}"])
        return entry

    same(replay(edited(eventful(), renamed)))


@pytest.mark.parametrize("place", ["phone.down", "model.up"])
def test_a_socket_that_raised_what_no_socket_should_raises_it_again(place: Place) -> None:
    bug = Fault(id="F55", place=place, do="raise", nth=12, detail="RuntimeError")
    played = play_simulation(compose(4, Wish(plan=FaultPlan((bug,)))), keeps_flights=True)
    logs = [flight.read() for _, flight in played.flights.begun()]

    assert any(["raised", "RuntimeError"] in [e.content for e in log.entries] for log in logs)
    for log in logs:
        same(replay(log))


# What differs.


def test_a_shorter_patience_with_tools_is_found_and_named() -> None:
    log, _ = record(ASKS_FOR_A_TOOL)
    hasty = attrs.evolve(log.header, limits=attrs.evolve(log.header.limits, tool_s=0.1))
    first, *_ = replay(attrs.evolve(log, header=hasty)).differences

    assert first.leg == "model"
    assert "until six" in (first.then or "")
    assert "timed out" in (first.now or "")


def test_another_agent_is_found_and_named() -> None:
    log, _ = record(GOODBYE)
    session = attrs.evolve(log.header.session, instructions="Be rude.")
    (only,) = replay(
        attrs.evolve(log, header=attrs.evolve(log.header, session=session))
    ).differences

    assert only.now == 'session.update session.instructions = "Be rude."'


@pytest.mark.parametrize(("more_ms", "found"), [(20, 0), (21, 1)])
def test_how_much_was_heard_may_differ_by_a_frame_and_no_more(more_ms: int, found: int) -> None:
    log = eventful()

    def heard_more(entry: Entry) -> Entry:
        if word(entry) != "conversation.item.truncate":
            return entry
        heard_ms = entry.content["audio_end_ms"] + more_ms
        return attrs.evolve(entry, content={**entry.content, "audio_end_ms": heard_ms})

    differences = replay(edited(log, heard_more)).differences
    assert len(differences) == found
    assert all("truncate" in (one.then or "") for one in differences)


@pytest.mark.parametrize(("later_ms", "found"), [(29, 0), (31, 1)])
def test_when_something_was_decided_may_differ_by_the_tolerance(later_ms: int, found: int) -> None:
    log = eventful()

    def later(entry: Entry) -> Entry:
        is_it = word(entry) == "response.create"
        return attrs.evolve(entry, at_ms=entry.at_ms + later_ms) if is_it else entry

    differences = replay(edited(log, later)).differences
    assert bool(differences) == bool(found)
    assert all("response.create" in (one.then or "") for one in differences)
    assert all(one.is_late for one in differences)


@pytest.mark.parametrize("step", [1, 2, 3, 5, 8, 13, 40, 100, 300, 700])
def test_a_call_that_was_cancelled_at_any_step_is_replayed_to_there(step: int) -> None:
    """It leaves nothing behind, its flight log is whole, and tells it all again."""
    one, flight = world(EVENTFUL, toolbox=toolbox()), MemoryFlight()
    one.flight = one.session.flight = flight

    async def cancel() -> None:
        while not one.began:
            await trio.lowlevel.checkpoint()
            await trio.sleep(0.001)
        for _ in range(step):
            await trio.sleep(0.001)
            await trio.lowlevel.checkpoint()
        cancelled_s.append(trio.current_time())
        one.call_scope.cancel()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel)
            await play(one)

    cancelled_s: list[float] = []
    run_seeded(main, seed=step)
    log = flight.read()

    assert one.ended_s is not None
    assert one.ended_s - cancelled_s[0] <= 0.25
    assert one.open_sockets == 0
    assert log.is_whole
    same(replay(log))


@pytest.mark.parametrize("gone", ["clear", "conversation.item.truncate", "response.create", "mark"])
def test_a_decision_that_was_not_taken_then_is_found(gone: str) -> None:
    log = eventful()
    without = edited(log, lambda e: None if e.place.endswith(".out") and word(e) == gone else e)
    differences = replay(without).differences

    assert differences
    assert any(one.then is None for one in differences) or gone == "clear"


def test_a_call_that_goes_on_beyond_its_recorded_end_is_found() -> None:
    log, _ = record(CALLER_LEAVES)
    deaf = edited(log, lambda e: None if e.place == "phone.in" and word(e) == "stop" else e)
    played = replay(deaf)

    assert played.went_on
    assert any("end as CallerHungUp" in (one.then or "") for one in played.differences)


def test_whatever_is_in_a_log_replaying_it_ends() -> None:
    log, _ = record(GOODBYE)
    odd: list[Any] = [
        None,
        7,
        "?",
        [],
        ["media"],
        ["media", -1, 10**15],
        ["mark", 3],
        {},
        ["start"],
    ]
    odd += [{"type": "response.output_audio.delta", "delta": 10**15}, ["refused", 1, "x"], ["open"]]
    draw = Random("odd")

    for _ in range(15):
        entries = list(log.entries)
        for at_index in draw.sample(range(2, len(entries) - 1), 8):
            entries[at_index] = attrs.evolve(entries[at_index], content=draw.choice(odd))
        with suppress(NotAFlightLog):
            replay(attrs.evolve(log, entries=tuple(entries)))


# The command.


def command(path: Path) -> tuple[int, str, str]:
    """Exit status, output and complaints."""
    parser = argparse.ArgumentParser()
    replay_command.add_arguments(parser)
    out, complaints = io.StringIO(), io.StringIO()
    status = replay_command.run(parser.parse_args([str(path)]), out=out, complaints=complaints)
    return status, out.getvalue(), complaints.getvalue()


def written(folder: Path, flight: MemoryFlight) -> Path:
    path = folder / FILE_NAME
    path.write_bytes(compress(flight.text()))
    return path


def recorded_file(folder: Path) -> Path:
    flight = MemoryFlight()
    run_seeded(lambda: play(world(GOODBYE, flight=flight)), seed=0)
    return written(folder, flight)


def test_no_difference_is_said_in_one_sentence(tmp_path: Path) -> None:
    recorded_file(tmp_path)
    status, out, complaints = command(tmp_path)  # Its folder will do.

    assert status == 0, out
    assert "0 differences in 9 decisions: this offhook" in out
    assert complaints == ""


def test_differences_are_told_the_first_one_first(tmp_path: Path) -> None:
    flight = MemoryFlight()
    run_seeded(lambda: play(world(EVENTFUL, flight=flight, toolbox=toolbox())), seed=0)
    flight.lines = [line for line in flight.lines if b'"clear"' not in line]
    status, out, _ = command(written(tmp_path, flight))

    assert status == 1
    first = out.partition("The first:\n")[2].splitlines()[0]
    assert "clear, having sent" in first
    assert "may only be its consequence" in out


def test_what_is_no_flight_log_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = recorded_file(tmp_path)
    log, _ = record(GOODBYE)
    newer = compress(write_header(attrs.evolve(log.header, flight=FORMAT + 1)) + b"\n")
    unfinished = compress(write_header(log.header) + b"\n")
    refused = {
        b"": "is empty",
        b"RIFF....WAVE": "is not a flight log: it is not compressed with zstd",
        path.read_bytes()[:40]: "breaks off, or is damaged, in its first second",
        compress(b'{"a": 1}\n'): "its first line is no header",
        compress(b'{"flight": 1}\n'): "has a header that makes no sense",
        newer: "was written by a newer offhook (format 3; this one reads 2): upgrade",
        unfinished: "ends before its call began",
        compress(write_header(log.header) + b"\n[1,2]\n"): "has a line that makes no sense",
        compress(b"\0" * (129 << 20)): "holds more than 128 MiB",
    }
    for content, reason in refused.items():
        path.write_bytes(content)
        status, out, complaints = command(path)
        assert (status, out) == (2, "")
        assert reason in complaints

    status, _, complaints = command(tmp_path.parent)
    assert status == 2
    assert "give a call's own folder" in complaints
    status, _, complaints = command(tmp_path / "nowhere")
    assert status == 2
    assert "cannot be read: No such file" in complaints


async def test_a_rehearsal_leaves_a_flight_log_that_replays_without_a_difference(
    tmp_path: Path,
) -> None:
    scenario = tmp_path / "brief.yaml"
    scenario.write_text(f"name: brief\nabout: Hello and goodbye.\n{BRIEF}")
    rehearsed = await offhook(tmp_path, "rehearse", str(scenario))
    (path,) = (tmp_path / "calls").glob(f"*/{FILE_NAME}")
    # A busy machine is late; what it decided is what counts here.
    replayed = await offhook(tmp_path, "replay", str(path), "--tolerance-ms", "500")

    assert rehearsed.status == 0, rehearsed
    assert replayed.status == 0, replayed
    assert "0 differences in " in replayed.out


# What a tool did to the call.

WAITS_FOR_KEYS = """
model:
  answers:
    - items: [{say: "Hello there."}]
    - items: [{say: "Your number, please."}, {call: {name: ask, arguments: {}}}]
    - items: [{say: "Thank you."}]
    - items: [{say: "One, you say."}]
    - items: [{say: "I see."}]
caller:
  - {wait: agent_quiet, say: "My balance, please."}
  - {wait: agent_speaking, after_ms: 900, press: "739#"}
  - {wait: agent_quiet, quiet_ms: 1500, press: "1"}
  - {wait: agent_quiet, quiet_ms: 3000, hang_up: true}
"""


@pytest.mark.parametrize("private", [False, True])
def test_keys_that_a_tool_was_given_are_given_to_it_again_and_to_nobody_else(
    private: bool,
) -> None:
    """And those that the model was told of, it is told of again; a log has no private one."""
    box = Toolbox()

    @box.add
    async def ask(call: CallControl) -> int:
        """Have a number typed."""
        digits = await call.collect_digits(most=8, private=private, fresh=private)
        call.change(instructions="You are Max now.")
        return len(digits)

    flight = MemoryFlight()
    manners = Manners(tells_keys=True, max_silence_s=20, wrap_up_s=30)
    one = world(WAITS_FOR_KEYS, toolbox=box, flight=flight, manners=manners)
    run_seeded(lambda: play(one), seed=0)
    log = flight.read()

    assert [run.outcome for run in one.record.tool_calls] == ["returned"]
    assert log.header.manners == manners
    same(replay(log))
    assert (b'"7"' in flight.text()) is not private


def test_keys_that_a_tool_sent_in_the_audio_are_sent_again() -> None:
    box = Toolbox()

    @box.add
    async def ask(call: CallControl) -> str:
        """Press a key."""
        await call.press("1")
        return "pressed"

    flight = MemoryFlight()
    manners = Manners(key_tones="in_band")
    script, _, _ = WAITS_FOR_KEYS.partition("caller:")
    caller = 'caller: [{wait: agent_quiet, say: "Press it."}, {wait_ms: 6000, hang_up: true}]'
    one = world(script + caller, toolbox=box, flight=flight, manners=manners)
    run_seeded(lambda: play(one), seed=0)

    assert [run.outcome for run in one.record.tool_calls] == ["returned"]
    same(replay(flight.read()))


def asked_for_keys(press: str = "#") -> FlightLog:
    """The log of a call whose tool waits for a key, half a second before it comes."""
    box = Toolbox()

    @box.add
    async def ask(call: CallControl) -> str:
        """Have a number typed."""
        return await call.collect_digits(most=8)

    flight = MemoryFlight()
    script, _, _ = WAITS_FOR_KEYS.partition("caller:")
    caller = f"""caller:
  - {{wait: agent_quiet, say: "My balance, please."}}
  - {{wait: agent_quiet, quiet_ms: 500, press: "{press}"}}
  - {{wait: agent_quiet, quiet_ms: 3000, hang_up: true}}
"""
    one = world(script + caller, toolbox=box, flight=flight, manners=Manners(tells_keys=True))
    run_seeded(lambda: play(one), seed=0)
    return flight.read()


@pytest.mark.parametrize(("is_before", "told"), [(False, False), (True, True)])
def test_a_key_in_the_moment_in_which_a_tool_asks_for_one_is_whose_the_log_says(
    is_before: bool, told: bool
) -> None:
    """`#` alone is told to the model at once, unless a tool waits for it."""
    log = asked_for_keys()
    (key,) = (one for one in log.entries if one.place == "phone.in" and word(one) == "dtmf")
    others = [entry for entry in log.entries if entry is not key]
    (asks,) = (
        at
        for at, one in enumerate(others)
        if one.place == "tool" and "collect" in one.content and word(one) == "does"
    )
    others.insert(asks if is_before else asks + 1, attrs.evolve(key, at_ms=others[asks].at_ms))
    differences = replay(attrs.evolve(log, entries=tuple(others))).differences

    same(replay(log))
    assert ("conversation.item.create" in {one.now for one in differences}) is told


def test_a_tool_that_was_refused_by_the_carrier_is_refused_in_the_same_words() -> None:
    box = Toolbox()

    @box.add
    async def look_up(call: CallControl) -> str:
        """Connect the caller."""
        return await call.transfer(Transfer("+4930123456"))

    log, _ = record(ASKS_FOR_A_TOOL, toolbox=box)
    told = [entry.content for entry in log.entries if entry.place == "tool"]

    assert ["did", 1, "transfer", "refused", None] in told
    assert told[-1][2] == "refused"
    same(replay(log))


def test_a_tool_of_its_own_tasks_that_took_too_long_takes_too_long_again() -> None:
    async def hang_in_a_nursery() -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()

    log, _ = record(ASKS_FOR_A_TOOL, toolbox=toolbox(hang_in_a_nursery))

    assert ["end", 1, "cancelled", "Cancelled"] in [one.content for one in log.entries]
    same(replay(log))


def test_a_tool_that_may_take_longer_than_others_may_again() -> None:
    box = Toolbox()

    async def look_up() -> str:
        """Look something up, slowly."""
        await trio.sleep(6)
        return "until six"

    box.add(look_up, longest_s=20)
    log, _ = record(ASKS_FOR_A_TOOL, toolbox=box, limits=Limits(tool_s=2))

    def without(entry: Entry) -> Entry:
        begins = entry.place == "tool" and word(entry) == "begin"
        return attrs.evolve(entry, content=entry.content[:4]) if begins else entry

    same(replay(log))
    (first, *_) = replay(edited(log, without)).differences
    assert "timed out" in (first.now or "")


def test_a_log_of_before_deeds_had_an_outcome_is_replayed() -> None:
    def older(entry: Entry) -> Entry:
        match entry.place, entry.content:
            case "tool", ["did", number, verb, *_]:
                return attrs.evolve(entry, content=["did", number, verb])
            case "tool", ["begin", *rest, _]:
                return attrs.evolve(entry, content=["begin", *rest])
            case _:
                return entry

    same(replay(edited(asked_for_keys("739#"), older)))


class Speaks:
    """Stands for the gateway's own voice: quick, slow, or without some words."""

    async def speech(self, words: str) -> bytes:
        await trio.sleep(len(words) / 10)
        if words == "nothing":
            raise Unspoken("not these words")
        return words.encode() * 80


@pytest.mark.parametrize("with_audio", [False, True])
def test_the_gateway_s_own_voice_says_again_what_it_said_and_takes_as_long(
    with_audio: bool,
) -> None:
    flight = MemoryFlight(with_audio)
    said: list[object] = []

    async def say(voice: Voice, words: str) -> None:
        began_s = trio.current_time()
        with trio.move_on_after(3):
            try:
                said.append(await voice.speech(words))
            except Unspoken as unspoken:
                said.append(unspoken.reason)
        said.append(round(trio.current_time() - began_s, 3))

    async def main() -> None:
        for words in ("yes?", "no?", "nothing", "yes?", "x" * 40):
            await say(TappedVoice(Speaks(), flight), words)

    async def again() -> None:
        voice = RecordedVoice.of(log)
        for words in ("yes?", "no?", "nothing", "yes?", "x" * 40, "something new"):
            await say(voice, words)

    run_seeded(main, seed=0)
    then = said.copy()
    said.clear()
    entries = tuple(Entry(*orjson.loads(line)) for line in flight.lines)
    log = attrs.evolve(eventful(), entries=entries)
    run_seeded(again, seed=0)

    assert [entry.content[0] for entry in entries] == ["is", "is", "is not", "is", "never"]
    if not with_audio:
        then = [b"\xff" * len(one) if isinstance(one, bytes) else one for one in then]
    assert said == [*then, "the flight log has no such speech", 0.0]


def asked(*caller: str, seed: int = 0, with_audio: bool = False) -> tuple[FlightLog, Clerk]:
    """The log of a call in which the gateway itself asks the caller something."""
    flight, clerk = MemoryFlight(with_audio), Clerk(within_s=5)
    one = world(booking(*caller), toolbox=clerk.box(), flight=flight)
    run_seeded(lambda: play(one), seed=seed)
    return flight.read(), clerk


ANSWERS = {
    "{wait: agent_quiet, quiet_ms: 600, press: '1'}": "yes",
    "{wait: agent_quiet, quiet_ms: 600, press: '2'}": "no",
    "{wait: agent_quiet, quiet_ms: 600, say: 'Yes please.'}": "yes",
    "{wait: agent_quiet, quiet_ms: 600, say: 'But at four.'}": "other",
    "{wait: agent_speaking, after_ms: 300, say: 'Wait a moment.'}": None,
    "{wait_ms: 20000, say: 'Are you there?'}": "silence",
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("caller", ANSWERS)
def test_what_the_gateway_itself_asked_is_asked_again_and_answered_in_the_same_way(
    caller: str, seed: int
) -> None:
    log, clerk = asked(caller, seed=seed, with_audio=bool(seed))
    answers = [one.content for one in log.entries if one.place == "tool" and word(one) == "did"]

    assert any(one.place == "voice" for one in log.entries)
    assert [one[2:] for one in answers] == [["confirm", "returned", clerk.replies[0]]]
    assert ANSWERS[caller] in {None, clerk.replies[0]}
    same(replay(log))


def test_another_answer_than_then_is_found_and_named() -> None:
    log, _ = asked("{wait: agent_quiet, quiet_ms: 600, press: '1'}")

    def no(entry: Entry) -> Entry:
        is_key = entry.place == "phone.in" and word(entry) == "dtmf"
        return attrs.evolve(entry, content=["dtmf", "2"]) if is_key else entry

    (only,) = replay(edited(log, no)).differences
    assert (only.leg, only.then) == ("tools", 'take for the caller\'s answer "yes"')
    assert only.now == 'take for the caller\'s answer "no"'
