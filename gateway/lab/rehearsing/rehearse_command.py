"""`offhook rehearse` in virtual time: scenarios told in words, or all of them in a table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path

from rich.console import Console

from actors.toolbox import Toolbox
from gateway.configuration.config import Config
from gateway.lab.rehearsing import scenario as scenarios
from gateway.lab.rehearsing.demo_tools import demo_tools
from gateway.lab.rehearsing.rehearse import Rehearsed, rehearse
from gateway.lab.rehearsing.scenario import Scenario, ScenarioError
from gateway.terminal import TerminalView

Load = Callable[[Path | None], Config]
"""Reads the configuration in this file, or wherever else one is."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    command.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="names or files")
    command.add_argument(
        "--config", type=Path, help="the agents; shipped scenarios have their own otherwise"
    )
    command.add_argument("--list", action="store_true", help="list the shipped scenarios")
    command.add_argument("--all", action="store_true", help="every shipped scenario, and SCENARIO")
    command.add_argument(
        "--virtual",
        action="store_true",
        help="in virtual time, without sockets; so it is with --all, and with several scenarios",
    )


def is_virtual(arguments: argparse.Namespace) -> bool:
    """Whether nothing of what is asked for takes real time."""
    wanted = arguments.list or arguments.all or arguments.virtual or len(arguments.scenarios) > 1
    return bool(wanted)


def run(arguments: argparse.Namespace, load: Load) -> int:
    """Do what is asked for. Returns the exit status: 0 when nothing went wrong in any call.

    Raises:
        ScenarioError: A scenario cannot be used.
        ConfigError: The configuration, or an agent over it, cannot.

    """
    console = Console(highlight=False, soft_wrap=True)
    if arguments.list:
        show_list(console, scenarios.shipped())
        return 0
    wanted = [*(scenarios.names() if arguments.all else ()), *arguments.scenarios]
    wanted = list(dict.fromkeys(wanted)) or ["front-desk"]
    chosen = [with_somebody(name) for name in wanted]
    shown = len(chosen) == 1
    wrong = 0
    for name, scenario in zip(wanted, chosen, strict=True):
        is_shipped = name in scenarios.names()
        config = Config() if is_shipped and arguments.config is None else load(arguments.config)
        view = TerminalView(console=console) if shown else None
        done = rehearse(
            scenario,
            toolbox=toolbox_for(name),
            config=config,
            observer=None if view is None else view.show,
        )
        if view is not None and done.ending is not None:
            view.ended(done.ending)
        wrong += bool(done.complaints)
        _show(console, done)
    if not shown:
        console.print(f"{len(chosen)} scenarios: {len(chosen) - wrong} ok, {wrong} wrong")
    sys.stdout.flush()
    return int(wrong > 0)


def toolbox_for(name: str) -> Toolbox:
    """The functions of a scenario: a user's has those of its agents' files, and no others."""
    return demo_tools() if name in scenarios.names() else Toolbox()


def show_list(console: Console, shipped: Iterable[Scenario]) -> None:
    """Write what there is, by groups."""
    for group, members in groupby(shipped, key=lambda one: one.group):
        console.print(group, style="bold")
        for scenario in members:
            console.print(f"  {scenario.name:<26} {' '.join(scenario.about.split())}")


def with_somebody(name: str) -> Scenario:
    """A scenario that can be rehearsed: one in which somebody is on the phone.

    Raises:
        ScenarioError: There is no such scenario, or nobody calls in it.

    """
    scenario = scenarios.load(name)
    if not scenario.caller and not scenario.menu:
        raise ScenarioError(name, "caller", "has no steps, so nobody would call")
    return scenario


def _show(console: Console, done: Rehearsed) -> None:
    verdict, style = ("wrong", "bold red") if done.complaints else ("ok", "green")
    console.print(f"{verdict:<6}", style=style, end="")
    console.print(f"{done.scenario.name:<26} {done.report.duration_s:4.0f} s")
    for complaint in done.complaints:
        console.print(f"       {complaint}", style="red", markup=False)
