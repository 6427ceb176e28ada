"""One rehearsal call through the gateway's own front door, shown live and judged."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import orjson
import trio
from quart_trio import QuartTrio
from rich.console import Console

from actors.errors import AuditFailed
from actors.policy.journal import Observer
from actors.toolbox import Toolbox
from gateway.app import create_app
from gateway.calls import Calls
from gateway.configuration.agents import AgentSettings
from gateway.configuration.config import Config, Secret, TwilioSettings
from gateway.lab.openai.model_server import ModelServer, serve_model
from gateway.lab.openai.progress import Progress
from gateway.lab.rehearsing import speech
from gateway.lab.rehearsing.demo_tools import demo_tools
from gateway.lab.rehearsing.hearing import recognise
from gateway.lab.rehearsing.rehearse import with_agents_of
from gateway.lab.rehearsing.scenario import Expectation, Scenario
from gateway.lab.rehearsing.speech import Voice, prompt_path
from gateway.lab.rehearsing.spoken import Spoken
from gateway.lab.rehearsing.testimony import Testimony
from gateway.lab.rehearsing.verdict import judge
from gateway.lab.twilio.call_report import CallReport
from gateway.lab.twilio.phone import ACCOUNT_SID, FROM_NUMBER, TO_NUMBER, place_call
from gateway.lab.twilio.twilio_api import TwilioApi
from gateway.permission.audit_log import FILE_NAME as AUDIT_FILE
from gateway.permission.audit_log import read_audit
from gateway.phone_call import Outside
from gateway.records.flight_log import NotAFlightLog, read_log
from gateway.records.store import call_folder
from gateway.terminal import TerminalView

REHEARSAL_KEY = "sk-rehearsal"
"""What the rehearsal model takes for a key."""
CARRIER_KEY = "SK" + "0ff" * 10 + "00"
CARRIER_SECRET = "rehearsal-secret"  # noqa: S105 - of an account that does not exist.
SILENCE_MS = 500


def carrier_of_rehearsals() -> TwilioSettings:
    """An account that exists in rehearsals only."""
    secret = Secret(CARRIER_SECRET)
    return TwilioSettings(account_sid=ACCOUNT_SID, api_key=CARRIER_KEY, api_secret=secret)


class Terminal(Console):
    """A console that says when nobody reads it any more, instead of ending the process."""

    def on_broken_pipe(self) -> None:
        """Rich calls this while it handles the error, and would raise `SystemExit`."""
        raise BrokenPipeError("nobody reads what the rehearsal says")


@attrs.define(eq=False)
class _LocalVoice:
    """Says what the rehearsal model would. Fits the `Voice` port."""

    said: list[str] = attrs.field(factory=list[str], init=False)

    async def speech(self, words: str) -> bytes:
        """See `Voice`."""
        self.said.append(words)
        return await trio.to_thread.run_sync(speech.speak, words)


@attrs.define(eq=False)
class Rehearsal:
    """A gateway that is rehearsed: its app, and who plays the model.

    Without an `OPENAI_API_KEY` the rehearsal model is started beside the gateway; with one, the
    rehearsal caller talks to the real model, and only what must hold for any model is judged.
    """

    config: Config
    scenario: Scenario
    toolbox: Toolbox = attrs.field(factory=demo_tools)
    """Functions beside those in the agents' files."""
    is_alone: bool = False
    """Nobody else calls this gateway: what it asks of its carrier goes to the rehearsal's own."""
    console: Console = attrs.field(factory=Terminal)
    _observer: Observer | None = attrs.field(default=None, init=False)
    _server: ModelServer | None = attrs.field(default=None, init=False)
    _api: TwilioApi = attrs.field(
        factory=lambda: TwilioApi(ACCOUNT_SID, CARRIER_SECRET, CARRIER_KEY), init=False
    )
    _spoken: Spoken = attrs.field(factory=Spoken, init=False)
    _voice: _LocalVoice = attrs.field(factory=_LocalVoice, init=False)
    """The gateway's own, without a session that the scenario knows nothing of."""

    @property
    def has_key(self) -> bool:
        """Whether the real model answers."""
        return self.config.openai.api_key is not None

    async def prepare(self, nursery: trio.Nursery) -> QuartTrio:
        """Start the model, if it is ours to start, and make the app to be served."""
        config = self._configured()
        if not self.has_key:
            server: ModelServer = await nursery.start(
                partial(serve_model, self.scenario, progress=Progress(), caller_lines=self._spoken)
            )
            self._server = server
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
        return create_app(
            config,
            toolbox=self.toolbox,
            observer=self._observe,
            outside=self._outside(config),
            twilio_transport=self._api.transport() if self.is_alone else None,
        )

    def _outside(self, config: Config) -> Outside:
        outside = Outside.of(config)
        if self.has_key:
            return outside
        # The rehearsal model would take the request for a filler for the next turn of its script.
        return attrs.evolve(outside, line=_line, prepare=None, voice=lambda *_: self._voice)

    async def call(self, app: QuartTrio, address: str) -> bool:
        """Place the call, show it, judge it. True when nothing in it went wrong."""
        calls: Calls = app.extensions["calls"]
        view = TerminalView(console=self.console, silence_ms=SILENCE_MS)
        self._observer = view.show
        self._say(f"calling http://{address}: {self.scenario.about or self.scenario.name}")
        await speech.prepare(self.scenario.caller_lines(), "caller")
        await speech.prepare(self.scenario.menu_lines(), "caller")
        await speech.prepare(self._agent_lines())
        report = await place_call(
            f"http://{address}",
            self.scenario,
            auth_token=self._token(),
            from_number=self.scenario.calling or FROM_NUMBER,
            to_number=self.scenario.called or TO_NUMBER,
            public_url=self.config.server.public_url,
            voice=self._speak,
            api=self._api if self.is_alone else None,
        )
        self._observer = None
        why = await calls.how_ended(report.call_sid)
        folder = call_folder(self.config.calls.directory, report.call_sid)
        record = await trio.to_thread.run_sync(_read_record, folder)
        if why is not None:
            view.ended(why, folder if record is not None else None)
        expect = Expectation() if self.has_key else self.scenario.expect
        testimony = await self._testimony(report, folder)
        complaints = [*judge(expect, report, record, testimony), *self._breaches()]
        for complaint in complaints:
            self._say(f"wrong: {complaint}", style="bold red")
        if not complaints:
            self._say("Nothing went wrong in this call.", style="bold green")
        return not complaints

    async def _testimony(self, report: CallReport, folder: Path) -> Testimony | None:
        """What was heard and sent; `None`: the model is the real one, and tells nobody."""
        if self._server is None:
            return None
        lines = [*self._agent_lines(), *self._voice.said]
        voices = {line: speech.speak(line) for line in lines}
        heard = await trio.to_thread.run_sync(recognise, report.heard, voices)
        sessions = tuple(tuple(model.received) for model in self._server.sessions)
        left_behind = await trio.to_thread.run_sync(_left_in, folder)
        root = self.config.calls.directory
        rows = await trio.to_thread.run_sync(_audited, root / AUDIT_FILE, report.call_sid)
        return Testimony(
            heard=heard,
            sessions=sessions,
            left_behind=left_behind,
            audit=rows,
            messages=await trio.to_thread.run_sync(_messages_in, folder),
        )

    def _breaches(self) -> Iterator[str]:
        for model in () if self._server is None else self._server.sessions:
            yield from (f"the model's server was misused: {what}" for what in model.violations)

    def _agent_lines(self) -> list[str]:
        config = self._configured()
        agents = (config.agent, *config.agents.values())
        fillers = [line for agent in agents for line in (agent.filler, agent.tool_filler)]
        return list(dict.fromkeys([*self.scenario.agent_lines(), *filter(None, fillers)]))

    def _configured(self) -> Config:
        return with_agents_of(self.scenario, self.config, self.toolbox)

    def _speak(self, text: str) -> bytes:
        self._spoken.says(text)
        return speech.speak(text, "caller")

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


def _line(agent: AgentSettings) -> bytes | None:
    return None if agent.filler is None else speech.speak(agent.filler)


def _left_in(folder: Path) -> tuple[tuple[str, bytes], ...]:
    """What lies in the folder of a call and can be read. A flight log is unpacked."""
    found: list[tuple[str, bytes]] = []
    for path in sorted(folder.glob("*")):
        content = path.read_bytes()
        if path.suffix == ".zst":
            with suppress(NotAFlightLog):
                content = b"".join(orjson.dumps(one.content) for one in read_log(content).entries)
        found.append((path.name, content))
    return tuple(found)


def _audited(path: Path, call_sid: str) -> tuple[str, ...] | None:
    """The rows of a call's in the audit log. `None`: it cannot be read."""
    try:
        return tuple(f"{one.row.event} {one.row.tool}" for one in read_audit(path, call_sid))
    except AuditFailed:
        return None


def _messages_in(folder: Path) -> tuple[str, ...]:
    """What a caller left for the owner."""
    messages = (orjson.loads(path.read_bytes()) for path in sorted(folder.glob("message-*.json")))
    return tuple(str(message["text"]) for message in messages)


def _read_record(folder: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = orjson.loads((folder / "call.json").read_bytes())
    except (OSError, ValueError):
        return None
    return record
