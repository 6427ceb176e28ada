"""`offhook replay`: what today's code does differently in a recorded call, in words."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.lab.replaying.decisions import Difference, Tolerance
from gateway.lab.replaying.replay import Replay, replay
from gateway.records.flight import FILE_NAME
from gateway.records.flight_log import (
    LARGEST_BYTES,
    FlightLog,
    NotAFlightLog,
    own_version,
    read_log,
)

SAME: Final = 0
DIFFERENT: Final = 1
UNREADABLE: Final = 2
SHOWN: Final = 40
"""Differences in the table. Behind so many, nobody learns anything more."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    usual = Tolerance()
    command.description = (
        "Let the caller and the model of a recorded call say once more what they said, in virtual "
        "time, to the code that is installed here; and compare what it decides with what was "
        "decided then. The call's own settings are kept: its agent, tools, limits and patience. "
        f"Exit status: {SAME} no difference, {DIFFERENT} some, {UNREADABLE} not a flight log."
    )
    command.add_argument(
        "file", type=Path, metavar="FILE", help=f"calls/<CallSid>/{FILE_NAME}, or that folder"
    )
    command.add_argument(
        "--tolerance-ms",
        type=_tolerance,
        default=usual,
        metavar="N",
        help=(
            "how far apart in time decisions may be and still be the same "
            f"(default: {usual.at_ms:.0f}, and {usual.heard_ms:.0f} of audio heard)"
        ),
    )


def run(arguments: argparse.Namespace, *, out: TextIO, complaints: TextIO) -> int:
    """Run the command. Returns its exit status: see `SAME`, `DIFFERENT`, `UNREADABLE`."""
    path: Path = arguments.file
    if path.is_dir():
        if not (path / FILE_NAME).exists():
            complaints.write(
                f"offhook: {path} has no {FILE_NAME} in it: give a call's own folder\n"
            )
            return UNREADABLE
        path /= FILE_NAME
    try:
        log = read_log(_read(path))
        played = replay(log, arguments.tolerance_ms)
    except (NotAFlightLog, OSError) as error:
        why = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
        complaints.write(f"offhook: {path} {why}\n")
        return UNREADABLE
    # As wide as its table where nobody looks on: a report in a file is not to be cut.
    width = None if out.isatty() else 160
    console = Console(file=out, highlight=False, soft_wrap=True, width=width)
    _tell(console, log, played)
    return DIFFERENT if played.differences else SAME


def _read(path: Path) -> bytes:
    """The file, unless it is too large to be one of ours.

    Raises:
        NotAFlightLog: It is.
        OSError: It cannot be read.

    """
    with path.open("rb") as file:
        data = file.read(LARGEST_BYTES + 1)
    if len(data) > LARGEST_BYTES:
        raise NotAFlightLog(f"is larger than {LARGEST_BYTES >> 20} MiB")
    return data


def _tell(console: Console, log: FlightLog, played: Replay) -> None:
    call_sid = _printable(log.header.facts.call_sid)
    audio = "with audio" if log.header.with_audio else "without audio"
    lasts_s = log.entries[-1].at_ms / 1000
    console.print(
        f"{call_sid}, {_printable(log.header.began_at)}: {lasts_s:.1f} s, "
        f"{len(log.entries)} entries {audio}, "
        f"written by offhook {_printable(log.header.offhook)}",
        markup=False,
    )
    for warning in _warnings(log):
        console.print(warning, style="yellow")
    count = len(played.differences)
    counted = f"{count} difference{'' if count == 1 else 's'} in {played.decided} decisions"
    if not played.differences:
        console.print(
            f"{counted}: this offhook ({own_version()}) does what was done then.",
            style="bold green",
        )
        return
    first, *others = played.differences
    console.print(f"{counted}.", style="bold red")
    console.print(
        f'"Then" is what the log says, "now" is this offhook ({own_version()}). The first:'
    )
    console.print(Text(f"  {_printable(_sentence(first))}"))
    if others:
        console.print(
            "What follows may only be its consequence: the recorded peers do not react to it."
        )
        console.print(_table(played.differences))
    if len(played.differences) > SHOWN:
        console.print(f"... and {len(played.differences) - SHOWN} more.")
    if all(one.is_late for one in played.differences):
        console.print(
            "These are the same decisions at other times. A busy machine is late; to forgive it: "
            "--tolerance-ms 200"
        )
    if played.went_on:
        console.print("Now the call was not over where the log says that it ended.")


def _warnings(log: FlightLog) -> Iterator[str]:
    """What makes a replay less certain, in words."""
    if log.is_full:
        yield "The log was full before the call was over; it is replayed until there."
    elif not log.is_whole:
        yield "The log breaks off before the end of the call; it is replayed until there."
    if log.lost:
        yield f"{log.lost} entries are missing: the disk was too slow. What differs may be theirs."
    if log.stood_still:
        first, *others = log.stood_still
        more = f", and {len(others)} more times" if others else ""
        yield (
            f"The gateway's process stood still until {first.at_ms / 1000:.3f} s{more}: "
            "no processor, or a paused machine. What was due meanwhile came late."
        )


def _sentence(difference: Difference) -> str:
    when = f"{difference.at_ms / 1000:.3f} s, {difference.leg}"
    match difference:
        case Difference(then=None):
            return f"{when}: now {difference.now}; then nothing of the kind"
        case Difference(now=None):
            return f"{when}: then {difference.then}; now nothing of the kind"
        case _:
            return f"{when}: then {difference.then}; now {difference.now}"


def _table(differences: tuple[Difference, ...]) -> Table:
    table = Table("when", "leg", "then", "now", box=box.SIMPLE_HEAD)
    for one in differences[:SHOWN]:
        row = (f"{one.at_ms / 1000:.3f} s", one.leg, one.then or "-", one.now or "-")
        table.add_row(*(Text(_printable(cell)) for cell in row))
    return table


def _printable(text: str) -> str:
    """Text that comes from a file, as a terminal may show it."""
    return "".join(filter(str.isprintable, text))


def _tolerance(text: str) -> Tolerance:
    try:
        apart_ms = float(text)
    except ValueError:
        apart_ms = -1.0
    if not 0 <= apart_ms < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of ms, not {text!r}")
    return Tolerance(apart_ms, apart_ms)


def main(arguments: argparse.Namespace) -> int:
    """Run the command on this process's own streams."""
    return run(arguments, out=sys.stdout, complaints=sys.stderr)
