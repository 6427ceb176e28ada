"""One rehearsal call through the gateway's own front door, shown live and judged."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import orjson
import trio
from quart_trio import QuartTrio
from rich.console import Console

from actors.policy.journal import Observer
from gateway.app import create_app
from gateway.calls import Calls
from gateway.config import Config, Secret
from gateway.lab.demo_tools import demo_tools
from gateway.lab.model_server import ModelServer, serve_model
from gateway.lab.phone import place_call
from gateway.lab.scenario import Expectation, Scenario
from gateway.lab.speech import Voice, prompt_path
from gateway.lab.verdict import judge
from gateway.store import call_folder
from gateway.terminal import TerminalView

REHEARSAL_KEY = "sk-rehearsal"
"""What the rehearsal model takes for a key."""
SILENCE_MS = 500


class Terminal(Console):
    """A console that says when nobody reads it any more, instead of ending the process."""

    def on_broken_pipe(self) -> None:
        """Rich calls this while it handles the error, and would raise `SystemExit`."""
        raise BrokenPipeError("nobody reads what the rehearsal says")


@attrs.define(eq=False)
class Rehearsal:
    """A gateway that is rehearsed: its app, and who plays the model.

    Without an `OPENAI_API_KEY` the rehearsal model is started beside the gateway; with one, the
    rehearsal caller talks to the real model, and only what must hold for any model is judged.
    """

    config: Config
    scenario: Scenario
    console: Console = attrs.field(factory=Terminal)
    _observer: Observer | None = attrs.field(default=None, init=False)

    @property
    def has_key(self) -> bool:
        """Whether the real model answers."""
        return self.config.openai.api_key is not None

    async def prepare(self, nursery: trio.Nursery) -> QuartTrio:
        """Start the model, if it is ours to start, and make the app to be served."""
        config = self.config
        if not self.has_key:
            server: ModelServer = await nursery.start(partial(serve_model, self.scenario))
            openai = attrs.evolve(
                config.openai, api_key=Secret(REHEARSAL_KEY), realtime_url=server.url
            )
            config = attrs.evolve(config, openai=openai)
            self._say(f"the rehearsal model listens on {server.url}")
            self._warn_of_placeholders()
        else:
            self._say(
                f"the model is {config.openai.realtime_url}, with your OPENAI_API_KEY: this costs "
                "money. What it says is its own, so the scenario's `expect` is not checked."
            )
        return create_app(config, toolbox=demo_tools(), observer=self._observe)

    async def call(self, app: QuartTrio, address: str) -> bool:
        """Place the call, show it, judge it. True when nothing in it went wrong."""
        calls: Calls = app.extensions["calls"]
        view = TerminalView(console=self.console, silence_ms=SILENCE_MS)
        self._observer = view.show
        self._say(f"calling http://{address}: {self.scenario.about or self.scenario.name}")
        report = await place_call(
            f"http://{address}",
            self.scenario,
            auth_token=self._token(),
            public_url=self.config.server.public_url,
        )
        self._observer = None
        why = await calls.how_ended(report.call_sid)
        folder = call_folder(self.config.calls.directory, report.call_sid)
        record = await trio.to_thread.run_sync(_read_record, folder)
        if why is not None:
            view.ended(why, folder if record is not None else None)
        expect = Expectation() if self.has_key else self.scenario.expect
        complaints = judge(expect, report, record)
        for complaint in complaints:
            self._say(f"wrong: {complaint}", style="bold red")
        if not complaints:
            self._say("Nothing went wrong in this call.", style="bold green")
        return not complaints

    def _warn_of_placeholders(self) -> None:
        lines: list[tuple[str, Voice]] = [
            *((line, "agent") for line in self.scenario.agent_lines()),
            *((line, "caller") for line in self.scenario.caller_lines()),
        ]
        missing = sum(not prompt_path(line, voice).exists() for line, voice in lines)
        if missing and shutil.which("espeak-ng") is None:
            self._say(f"espeak-ng is not installed: {missing} lines get a placeholder's voice")

    def _say(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, highlight=False, soft_wrap=True)

    def _token(self) -> str | None:
        token = self.config.twilio.auth_token
        return token.reveal() if token is not None else None

    def _observe(self, at_ms: int, message: object) -> None:
        if self._observer is not None:
            try:
                self._observer(at_ms, message)
            except OSError:
                self._observer = None  # Nobody looks any more; the call goes on.


def _read_record(folder: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = orjson.loads((folder / "call.json").read_bytes())
    except (OSError, ValueError):
        return None
    return record
