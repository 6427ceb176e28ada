"""The command line: `offhook serve`, `rehearse`, `doctor`, `audit`, `pin` and the lab's."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import structlog
import trio

from gateway import logs
from gateway.app import create_app
from gateway.calls import Calls
from gateway.configuration.config import Config, ConfigError, config_file, load, split_bind
from gateway.configuration.doctor import examine
from gateway.configuration.findings import Finding
from gateway.configuration.reload import Reloader
from gateway.configuration.tool_rules import offered_remarks
from gateway.lab.openai.model_server import ModelServer, serve_model
from gateway.lab.rehearsing import rehearse_command
from gateway.lab.rehearsing import scenario as scenarios
from gateway.lab.rehearsing.rehearse_command import toolbox_for, with_somebody
from gateway.lab.rehearsing.scenario import ScenarioError
from gateway.lab.replaying import replay_command
from gateway.lab.simulator import simulate_command
from gateway.lab.strict_yaml import YamlFileError
from gateway.permission import audit_command, pin_command
from gateway.phone_call import Outside
from gateway.rehearsal import REHEARSAL_KEY, Rehearsal, carrier_of_rehearsals
from gateway.web.file_limit import FILES_BESIDE, files_needed
from gateway.web.server import ServerLimits, serve

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Command = Callable[[trio.Event], Awaitable[int]]
"""Runs until it is done or the event is set; returns the exit status."""

USAGE_ERROR: Final = 2
AFTER_STREAM_S: Final = 1.5
"""After the last call ended: Twilio asks within one round trip what becomes of its caller."""
STOP_S: Final = 8.0
"""From the first signal to the end, whatever is still running. `docker stop` waits for 10 s."""
NO_KEY: Final = (
    "openai.api_key is not set, and no model would answer. Set OPENAI_API_KEY, or try "
    "`offhook serve --rehearse`, which brings a model of its own."
)


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command, and exit with its status."""
    arguments = _parser().parse_args(argv)
    if "load" in arguments and rehearse_command.is_virtual(arguments):
        arguments.in_virtual_time = partial(rehearse_command.run, load=arguments.load)
    if "in_virtual_time" in arguments:  # Without sockets and signals, in a trio of its own.
        logs.configure(sys.stderr, level=logging.CRITICAL)
        try:
            sys.exit(arguments.in_virtual_time(arguments))
        except (ConfigError, YamlFileError) as error:
            sys.exit(_refuse(error))
    # While a rehearsal is shown on the same screen, only what went wrong.
    is_shown = sys.stderr.isatty() and arguments.rehearse is not None
    logs.configure(sys.stderr, level=logging.ERROR if is_shown else logging.INFO)
    try:
        command: Command = arguments.prepare(arguments)
    except (ConfigError, ScenarioError) as error:
        sys.exit(_refuse(error))
    run = partial(_until_signal, command, if_stopped=int(arguments.once))
    try:
        status = trio.run(run, restrict_keyboard_interrupt_to_checkpoints=True)
    except* ConfigError as group:
        status = _complain(group, USAGE_ERROR)
    except* OSError as group:
        status = _complain(group, 1)
    sys.exit(status)


def _refuse(error: ConfigError | YamlFileError) -> int:
    """Say what was asked for and cannot be done, one line for each mistake."""
    problems = str(error).splitlines()
    sys.stderr.write("".join(f"offhook: {problem}\n" for problem in problems))
    return USAGE_ERROR


def _complain(group: ExceptionGroup[Exception], status: int) -> int:
    """Say what is wrong, one line each, without a traceback: the world is at fault, or the user."""
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):  # One level for every nursery it came through.
            _complain(error, status)
        else:
            sys.stderr.write(f"offhook: {error}\n")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="offhook", description="Answers phone calls with a realtime model."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("serve", help="answer calls")
    command.add_argument("--config", type=Path, help="default: offhook.toml, if there is one")
    command.add_argument(
        "--rehearse",
        nargs="?",
        const="front-desk",
        metavar="SCENARIO",
        help="place one rehearsal call first; without OPENAI_API_KEY the rehearsal model answers",
    )
    command.add_argument(
        "--once", action="store_true", help="with --rehearse: stop after that call"
    )
    command.set_defaults(prepare=_prepare_serve)

    command = commands.add_parser("rehearse", help="whole calls from a script, and a verdict")
    rehearse_command.add_arguments(command)
    command.set_defaults(
        prepare=_prepare_rehearse,
        load=partial(load, environ=os.environ),
        once=True,
        rehearse="",
    )

    command = commands.add_parser("doctor", help="look at everything a call needs")
    command.add_argument("--config", type=Path, help="default: offhook.toml, if there is one")
    command.add_argument("--offline", action="store_true", help="leave out what needs the network")
    command.set_defaults(prepare=_prepare_doctor, once=False, rehearse=None)

    command = commands.add_parser("audit", help="what tools were asked for, and what was decided")
    audit_command.add_arguments(command)
    command.set_defaults(in_virtual_time=partial(audit_command.main, environ=os.environ))

    command = commands.add_parser("pin", help="make a secret number for the configuration")
    command.set_defaults(in_virtual_time=pin_command.main)

    command = commands.add_parser("model", help="the rehearsal model, as a server of its own")
    command.add_argument("scenario", nargs="?", default="front-desk", help="a name or a file")
    command.add_argument("--bind", default="127.0.0.1:8081", metavar="HOST:PORT")
    command.set_defaults(prepare=_prepare_model, once=False, rehearse=None)

    command = commands.add_parser("simulate", help="whole calls under faults, in virtual time")
    simulate_command.add_arguments(command)
    command.set_defaults(in_virtual_time=simulate_command.run)

    command = commands.add_parser("replay", help="today's code against a recorded call")
    replay_command.add_arguments(command)
    command.set_defaults(in_virtual_time=replay_command.main)
    return parser


def _load(path: Path | None) -> Config:
    """The settings, once it is certain that calls can leave their records.

    Raises:
        ConfigError: Something is wrong with them, or with that directory.

    """
    config = load(path, os.environ)
    directory = config.calls.directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        problem = f"calls.directory {directory} cannot be written: {error.strerror}"
        raise ConfigError((problem,)) from error
    return config


def _prepare_serve(arguments: argparse.Namespace) -> Command:
    config = _load(arguments.config)
    rehearsal = None
    if arguments.rehearse is not None:
        scenario = with_somebody(arguments.rehearse)
        rehearsal = Rehearsal(config, scenario, toolbox_for(arguments.rehearse))
    elif arguments.once:
        raise ConfigError(("--once goes with --rehearse: it is that call after which to stop",))
    elif config.openai.api_key is None:
        raise ConfigError((NO_KEY,))
    file, _ = config_file(arguments.config, os.environ)
    for remark in config.remarks():
        log.warning("config.remark", what=remark)
    return lambda stop: _serve(config, rehearsal, stop, once=arguments.once, file=file)


def _prepare_rehearse(arguments: argparse.Namespace) -> Command:
    """One call on loopback, in real time: what `rehearse_command` leaves."""
    (name,) = arguments.scenarios or ["front-desk"]
    config = _load(arguments.config)
    # The rehearsal model, on a free port, whatever is configured: this command costs nothing.
    config = attrs.evolve(
        config,
        server=attrs.evolve(
            config.server, bind="127.0.0.1:0", public_url=None, unknown_numbers="default"
        ),
        openai=attrs.evolve(config.openai, api_key=None),
        twilio=carrier_of_rehearsals(),
    )
    rehearsal = Rehearsal(config, with_somebody(name), toolbox_for(name), is_alone=True)
    return lambda stop: _serve(config, rehearsal, stop, once=True)


def _prepare_doctor(arguments: argparse.Namespace) -> Command:
    def say(finding: Finding) -> None:
        sys.stdout.write(f"{finding}\n")
        sys.stdout.flush()

    async def look(_stop: trio.Event) -> int:
        # The clock on the wall, as calls have it.
        utc_now = Outside.of(Config()).utc_now
        path, offline = arguments.config, arguments.offline
        healthy = await examine(path, os.environ, say, utc_now=utc_now, offline=offline)
        return 0 if healthy else 1

    logs.configure(sys.stderr, level=logging.CRITICAL)  # The findings say it in better words.
    return look


def _prepare_model(arguments: argparse.Namespace) -> Command:
    try:
        host, port = split_bind(arguments.bind)
    except ValueError as error:
        raise ConfigError((f"--bind {error}",)) from error
    return partial(_serve_model, scenarios.load(arguments.scenario), host, port)


async def _serve(
    config: Config,
    rehearsal: Rehearsal | None,
    stop: trio.Event,
    *,
    once: bool,
    file: Path | None = None,
) -> int:
    """Serve the gateway until `stop`; with a rehearsal, call it first. Returns the exit status.

    An edit of `file`, or of one that it names, is picked up for new calls.
    """
    good = True
    async with trio.open_nursery() as nursery:
        app = create_app(config) if rehearsal is None else await rehearsal.prepare(nursery)
        if rehearsal is None:
            for remark in offered_remarks(config, app.extensions["roster"].current.agents):
                log.warning("config.remark", what=remark)
        if file is not None and not once:
            reloader = Reloader(file, os.environ, app.extensions["roster"], config)
            nursery.start_soon(reloader.run)
        bind = config.server.bind
        server = partial(
            serve,
            app,
            [bind],
            shutdown=partial(_wind_down, app.extensions["calls"], stop),
            limits=_within_file_limit(config.calls.max_concurrent),
        )
        # What is there now stays. To look through all of it again and again, in the middle of a
        # call, takes longer than a frame of audio lasts.
        gc.collect()
        gc.freeze()
        async with trio.open_nursery() as serving:
            with _listening_on(bind):
                (address, *_) = await serving.start(server)
            if rehearsal is None or not once:
                sys.stderr.write(f"offhook answers on http://{address}\n")
            if rehearsal is not None:
                good = await rehearsal.call(app, address)
            if once:
                stop.set()
            elif rehearsal is not None and not stop.is_set():
                logs.configure(sys.stderr)
                rehearsal.console.print(
                    f"Serving on http://{address}; Ctrl-C stops.", highlight=False
                )
        nursery.cancel_scope.cancel("done")
    return 0 if good else 1


async def _wind_down(calls: Calls, stop: trio.Event) -> None:
    """Wait for `stop` and end all calls. Then Twilio asks how each of them goes on."""
    await stop.wait()
    live = len(calls)
    calls.close()
    if live:
        await trio.sleep(AFTER_STREAM_S)


def _within_file_limit(max_concurrent: int) -> ServerLimits:
    """Bounds that leave every call the files it needs, however many strangers connect."""
    limits = ServerLimits()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return limits
    left = hard - files_needed(max_concurrent)
    return attrs.evolve(limits, sockets=max(FILES_BESIDE, min(limits.sockets, left)))


async def _serve_model(scenario: scenarios.Scenario, host: str, port: int, stop: trio.Event) -> int:
    async with trio.open_nursery() as nursery:
        with _listening_on(f"{host}:{port}"):
            server: ModelServer = await nursery.start(
                partial(serve_model, scenario, host=host, port=port)
            )
        sys.stdout.write(
            f"The rehearsal model listens. Use it with:\n"
            f"  OPENAI_REALTIME_URL={server.url} OPENAI_API_KEY={REHEARSAL_KEY}\n"
        )
        sys.stdout.flush()
        await stop.wait()
        nursery.cancel_scope.cancel("a signal")
    return 0


@contextmanager
def _listening_on(bind: str) -> Iterator[None]:
    """Say in the error which address it is that cannot be had."""
    try:
        yield
    except OSError as error:
        raise OSError(f"cannot listen on {bind}: {error.strerror or error}") from error


async def _until_signal(command: Command, *, if_stopped: int) -> int:
    """Run a command until it ends, or until somebody wants it to. Calls end with their records.

    The first signal asks the command to stop, and gives it `STOP_S`; the second does not ask.

    Returns:
        The command's exit status; when it was stopped, `if_stopped` at least.

    """
    status = if_stopped
    stop = trio.Event()
    is_asked = False

    async def watch() -> None:
        nonlocal is_asked
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                if is_asked:
                    nursery.cancel_scope.cancel("a second signal")
                is_asked = True
                stop.set()
                nursery.cancel_scope.deadline = trio.current_time() + STOP_S

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        status = await command(stop)
        nursery.cancel_scope.cancel("done")
    return max(status, if_stopped) if is_asked else status


if __name__ == "__main__":
    main()
