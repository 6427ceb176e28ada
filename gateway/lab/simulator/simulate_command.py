"""`offhook simulate`: one seed told in words, or very many of them counted."""

from __future__ import annotations

import argparse
import signal
import sys
import time  # noqa: TID251 - how long somebody waits who looks on.
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from gateway.lab.faults import fault_plan
from gateway.lab.faults.fault_catalogue import GENERATORS, NOT_SIMULATED
from gateway.lab.faults.fault_plan import FaultPlanError
from gateway.lab.rehearsing import scenario as scenarios
from gateway.lab.simulator.seeds import Tally, simulate_seeds
from gateway.lab.simulator.simulation import Flights, Outcome, Wish, compose, play
from gateway.lab.simulator.soak import soak
from gateway.lab.simulator.story import tell
from gateway.records.flight import FILE_NAME
from gateway.records.flight_log import compress

SEEDS_BY_DEFAULT: Final = range(1, 201)
FAILURES_SHOWN: Final = 10
TOLD_EVERY_S: Final = 60.0
"""Progress, where nobody watches a bar: in a log."""
LEAST_HITS: Final = 20
"""With `--bar`: in how many calls each fault must have taken effect."""
USAGE: Final = "a first and a last seed, such as 1:1000"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    which = command.add_mutually_exclusive_group()
    which.add_argument("--seed", type=int, metavar="N", help="this one, told in words")
    which.add_argument("--seeds", type=_seeds, metavar="A:B", help=f"{USAGE} (default: 1:200)")
    which.add_argument(
        "--soak", type=_hours, metavar="24h", help="keep lines busy for so long, and count objects"
    )
    command.add_argument(
        "--lines", type=_lines, default=10, metavar="N", help="for --soak: how many (default: 10)"
    )
    command.add_argument(
        "--faults", type=_ids, metavar="F17,F30", help='draw only from these, or "none"'
    )
    command.add_argument(
        "--plan", type=Path, metavar="FILE", help="the faults in this file instead"
    )
    command.add_argument("--scenario", metavar="NAME", help="what is said, instead of drawing it")
    command.add_argument("--show-plan", action="store_true", help="print a seed's faults as YAML")
    command.add_argument(
        "--flight",
        type=Path,
        metavar="DIR",
        help="with --seed: write each call's flight log there, for offhook replay",
    )
    command.add_argument("--jobs", type=int, metavar="N", help="processes (default: processors)")
    command.add_argument("--json", action="store_true", help="end with one line of JSON")
    command.add_argument(
        "--bar",
        action="store_true",
        help=f"fail as well when a fault took effect in fewer than {LEAST_HITS} calls",
    )
    command.add_argument("--list", action="store_true", help="what is simulated, and what is not")


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Returns its exit status: 0 when everything that must hold did.

    Raises:
        FaultPlanError: The plan cannot be used.
        ScenarioError: The scenario cannot be used.

    """
    console = Console(highlight=False, soft_wrap=True)
    if arguments.list:
        return _list(console)
    if arguments.soak is not None:
        return _soak(arguments.soak, arguments.lines, json=arguments.json)
    wish = Wish(
        only=arguments.faults,
        plan=None if arguments.plan is None else _read_plan(arguments.plan),
        scenario=None if arguments.scenario is None else scenarios.load(arguments.scenario),
    )
    if arguments.seed is not None:
        return _tell_one(
            arguments.seed,
            wish,
            console,
            plan_only=arguments.show_plan,
            flights_in=arguments.flight,
        )
    return _count_many(arguments, wish, console)


def _tell_one(
    seed: int, wish: Wish, console: Console, *, plan_only: bool, flights_in: Path | None
) -> int:
    setting = compose(seed, wish)
    if plan_only:
        sys.stdout.write(fault_plan.dump(setting.plan))
        return 0
    played = play(setting, keeps_flights=flights_in is not None)
    for line in tell(setting, played):
        console.print(line, markup=False)
    if flights_in is not None:
        for path in _write_flights(played.flights, flights_in):
            console.print(f"  offhook replay {path}", markup=False)
    return 1 if played.outcome.violations else 0


def _write_flights(flights: Flights, folder: Path) -> Iterator[Path]:
    """Write the flight log of every call that began.

    Raises:
        SystemExit: They cannot be written there.

    """
    for call_sid, flight in flights.begun():
        path = folder / call_sid / FILE_NAME
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(compress(flight.text()))
        except OSError as error:
            raise SystemExit(f"offhook: --flight {path}: {error.strerror}") from None
        yield path


def _count_many(arguments: argparse.Namespace, wish: Wish, console: Console) -> int:
    seeds: range = arguments.seeds or SEEDS_BY_DEFAULT
    began_s = time.monotonic()
    outcomes = simulate_seeds(seeds, wish, jobs=arguments.jobs)
    # Its processes would outlive a process that is ended without ado.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    tally = Tally()
    is_stopped = False
    try:
        _count(outcomes, tally, len(seeds), console if not arguments.json else None)
    except KeyboardInterrupt:
        is_stopped = True  # What was counted until then is worth telling.
        outcomes.close()
    wall_s = time.monotonic() - began_s
    rare = _rare(tally) if arguments.bar else {}
    passed = not tally.failed and not rare and not is_stopped
    if is_stopped:
        sys.stderr.write(f"offhook: stopped after {tally.simulations} of {len(seeds)} seeds\n")
    _report(tally, wall_s, rare, Console(stderr=True) if arguments.json else console)
    if arguments.json:
        summary = {
            "measured": _in_a_sentence(tally, wall_s),
            "passed": passed,
            "seeds": f"{seeds[0]}:{seeds[-1]}",
            "stopped": is_stopped,
            "calls": tally.calls,
            "call_s": round(tally.call_s),
            "wall_s": round(wall_s, 1),
            "repeated": tally.repeated,
            "violations": [[one.seed, *one.violations] for one in tally.failed],
            "calls_struck": dict(sorted(tally.calls_struck.items())),
            "endings": dict(sorted(tally.endings.items())),
            "rows": {
                "audio": _row(tally, "I3", "bytes unaccounted for"),
                "leaks": _row(tally, "I1", "things left behind"),
                "same-trace": {
                    "measured": f"{tally.repeated} of {tally.simulations:,} simulations run twice, "
                    f"{_broken(tally, 'determinism')} of them differed",
                    "passed": not _broken(tally, "determinism") and tally.repeated > 0,
                },
            },
        }
        sys.stdout.write(orjson.dumps(summary).decode() + "\n")
    return 0 if passed else 1


def _soak(hours: float, lines: int, *, json: bool) -> int:
    shown = Console(stderr=True, highlight=False)
    began_s = time.monotonic()
    soaked = soak(hours, lines, tell=lambda line: shown.print(line, markup=False))
    wall_s = time.monotonic() - began_s
    for violation in soaked.violations:
        shown.print(violation, style="bold red", markup=False)
    passed = not soaked.violations and soaked.looks > 1
    measured = (
        f"{soaked.hours:.1f} h of {lines} lines: {soaked.calls:,} calls, "
        f"{soaked.call_s / 3600:.1f} hours of calls, {soaked.timed_out} of them to the gateway's "
        f"limit of two hours, {soaked.moved} sessions taken over, in {wall_s:.0f} s; "
        f"objects counted {soaked.looks} times, {len(soaked.violations)} violations"
    )
    if soaked.looks < 2:
        shown.print("Never twice without a call, so nothing was compared: soak for longer.")
    summary = {"measured": measured, "passed": passed, "violations": soaked.violations}
    sys.stdout.write((orjson.dumps(summary).decode() if json else f"{measured}.") + "\n")
    return 0 if passed else 1


def _count(outcomes: Iterable[Outcome], tally: Tally, total: int, console: Console | None) -> None:
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[so_far]}"),
        TimeRemainingColumn(),
    )
    shown = console or Console(stderr=True)
    with Progress(*columns, console=shown, disable=not shown.is_terminal) as progress:
        task = progress.add_task("", total=total, so_far="")
        told_s = time.monotonic()
        for outcome in outcomes:
            tally.add(outcome)
            so_far = f"{tally.calls} calls, {tally.call_s / 3600:.1f} h, {len(tally.failed)} failed"
            progress.update(task, advance=1, so_far=so_far)
            if not shown.is_terminal and time.monotonic() - told_s > TOLD_EVERY_S:
                told_s = time.monotonic()
                shown.print(f"{tally.simulations} of {total} simulations: {so_far}")
            if outcome.violations and len(tally.failed) <= FAILURES_SHOWN:
                _complain(outcome, shown)


def _complain(outcome: Outcome, console: Console) -> None:
    for violation in outcome.violations:
        console.print(f"seed {outcome.seed}: {violation}", style="bold red", markup=False)
    console.print(f"  offhook simulate --seed {outcome.seed}", markup=False)


def _in_a_sentence(tally: Tally, wall_s: float) -> str:
    return (
        f"{tally.calls:,} calls in {tally.simulations:,} simulations, "
        f"{tally.call_s / 3600:.1f} hours of calls in {wall_s:.0f} s "
        f"({tally.call_s / max(wall_s, 0.001):.0f} times real time), "
        f"{len(tally.failed)} simulations with violations"
    )


def _report(tally: Tally, wall_s: float, rare: dict[str, int], console: Console) -> None:
    console.print(f"{_in_a_sentence(tally, wall_s)}.")
    console.print(f"{tally.repeated} simulations were run twice, to see the same happen twice.")
    endings = ", ".join(f"{name} {count:,}" for name, count in tally.endings.most_common())
    console.print(f"Endings: {endings}.")
    table = Table("fault", "calls", "times", box=None, padding=(0, 2, 0, 0))
    for fault_id in sorted(tally.struck):
        table.add_row(fault_id, f"{tally.calls_struck[fault_id]:,}", f"{tally.struck[fault_id]:,}")
    console.print(table)
    for fault_id, count in rare.items():
        console.print(f"{fault_id} took effect in {count} calls only", style="bold red")
    if tally.failed:
        console.print(f"{len(tally.failed)} simulations failed; replay one:", style="bold red")
        for outcome in tally.failed[:FAILURES_SHOWN]:
            console.print(f"  offhook simulate --seed {outcome.seed}", markup=False)
    else:
        console.print("Every invariant held.", style="bold green")


def _broken(tally: Tally, promise: str) -> int:
    """In how many simulations this promise was broken."""
    return sum(
        any(violation.partition(" ")[0].rstrip(":") == promise for violation in outcome.violations)
        for outcome in tally.failed
    )


def _row(tally: Tally, promise: str, what: str) -> dict[str, object]:
    broken = _broken(tally, promise)
    words = f"{what} in {broken} of {tally.simulations:,} simulations, {tally.calls:,} calls"
    return {"measured": words, "passed": not broken}


def _rare(tally: Tally) -> dict[str, int]:
    hits = {fault_id: tally.calls_struck[fault_id] for fault_id in sorted(GENERATORS)}
    return {fault_id: count for fault_id, count in hits.items() if count < LEAST_HITS}


def _list(console: Console) -> int:
    console.print(f"Simulated: {', '.join(sorted(GENERATORS))}")
    for fault_id, why in sorted(NOT_SIMULATED.items()):
        console.print(f"{fault_id}: {why}", markup=False)
    return 0


def _read_plan(path: Path) -> fault_plan.FaultPlan:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FaultPlanError(str(path), "", f"cannot be read: {error}") from error
    return fault_plan.parse(text, str(path))


def _seeds(text: str) -> range:
    first, colon, last = text.partition(":")
    try:
        seeds = range(int(first), int(last if colon else first) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not {USAGE}") from None
    if not seeds:
        raise argparse.ArgumentTypeError(f"{text!r} is empty: {USAGE}")
    return seeds


def _hours(text: str) -> float:
    try:
        hours = float(text.removesuffix("h"))
    except ValueError:
        hours = 0.0
    if not 0 < hours < 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is no time in hours, such as 24h")
    return hours


def _lines(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines, from 1 to 100")
    return int(text)


def _ids(text: str) -> tuple[str, ...]:
    ids = () if text == "none" else tuple(part.strip().upper() for part in text.split(","))
    for fault_id in ids:
        if fault_id in NOT_SIMULATED:
            raise argparse.ArgumentTypeError(
                f"{fault_id} is not simulated: {NOT_SIMULATED[fault_id]}"
            )
        if fault_id not in GENERATORS:
            known = ", ".join(sorted(GENERATORS))
            raise argparse.ArgumentTypeError(f"there is no fault {fault_id}; there is: {known}")
    return ids
