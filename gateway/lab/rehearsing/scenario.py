"""The scenario file: what the rehearsal model says, what the caller does, what the verdict checks.

No sockets and no clock; the only thing read is the YAML file that was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import attrs

from gateway.configuration.agents import AgentSettings
from gateway.configuration.convert import UnknownNumbers
from gateway.configuration.rules import is_number
from gateway.configuration.settings import SECTIONS
from gateway.lab.rehearsing.expectation import Expectation
from gateway.lab.strict_yaml import YamlFileError, hint, read
from gateway.lab.twilio.callee import Callee
from gateway.lab.twilio.far_end import Noise, Room, Step, check_rooms

__all__ = [
    "OUT_OF_ANSWERS",
    "Answer",
    "Callee",
    "Expectation",
    "Failure",
    "Fault",
    "FaultPoint",
    "Item",
    "McpScript",
    "ModelScript",
    "Noise",
    "Room",
    "Scenario",
    "ScenarioError",
    "Step",
    "ToolScript",
    "load",
    "names",
    "parse",
    "shipped",
]

DEMONSTRATIONS: Final = "demonstrations"
"""The group whose lines are shipped as audio, so that they sound the same everywhere."""

_FILES: Final = {"instructions_file", "tools"}
"""Keys of an agent that name files: found from where the scenario is."""

RESETTABLE: Final = ("owner", "policy", "email", "calendar", "research", "knowledge")
"""Sections that a scenario can lay its own keys over."""

SHIPPED: Final = Path(__file__).parent / "scenarios"

SESSION_S: Final = 3600.0
"""Source: "Realtime conversations", OpenAI docs: a session lasts 60 minutes at most."""

OUT_OF_ANSWERS: Final = "I have nothing more to say."
"""What the model says when a response is asked for and the scenario has no answer left."""


class ScenarioError(YamlFileError):
    """A scenario cannot be used. Says which file, which key, and what would have been valid."""


@attrs.frozen
class ToolScript:
    """A function call by the model."""

    name: str
    arguments: Any = attrs.field(factory=dict)
    """Keys and values; anything else, such as a text that is no JSON, is sent as it stands."""


@attrs.frozen
class McpScript:
    """A tool of a server that the model's own server asks, and what the server answers."""

    server: str
    tool: str
    arguments: Any = attrs.field(factory=dict)
    """See `ToolScript`."""
    output: str = ""
    error: str | None = None
    """In place of an output."""
    error_type: Literal["tool_execution_error", "http_error", "protocol_error"] = (
        "tool_execution_error"
    )
    takes_ms: int = attrs.field(default=200, validator=attrs.validators.ge(0))
    """From when it may run to its answer."""


@attrs.frozen
class Item:
    """One conversation item of an answer: words to say, or a function to call."""

    say: str | None = None
    call: ToolScript | None = None
    mcp: McpScript | None = None

    def __attrs_post_init__(self) -> None:
        if (self.say is not None) + (self.call is not None) + (self.mcp is not None) != 1:
            raise ValueError("an item has either `say` or `call`, or `mcp`")
        if self.say is not None and not self.say.strip():
            raise ValueError("`say` has no words")


@attrs.frozen
class Failure:
    """What a failed response, or an `error` event, says."""

    code: str
    message: str = "The server had an error while processing your request."
    type: str = "server_error"


@attrs.frozen
class Answer:
    """What one response brings."""

    items: tuple[Item, ...] = ()
    after_ms: int = attrs.field(default=350, validator=attrs.validators.ge(0))
    """From the end of the caller's turn, or from `response.create`, to the first delta."""
    speed: float = attrs.field(default=4.5, validator=attrs.validators.gt(0))
    """Deltas are delivered this many times faster than they play."""
    fail: Failure | None = None
    silent: bool = False
    """It brings nothing: the model waits."""

    def __attrs_post_init__(self) -> None:
        if bool(self.items) + (self.fail is not None) + self.silent != 1:
            raise ValueError("an answer has either `items` or `fail`, or is `silent`")


@attrs.frozen
class FaultPoint:
    """When a fault happens."""

    answer: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )
    """After the first audio of this answer, counted from 1; at its end if it has no audio."""
    at_ms: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(0))
    )
    """This long after the connection was made."""
    connect: bool = False
    """Instead of serving the connection at all."""

    def __attrs_post_init__(self) -> None:
        if (self.answer is not None) + (self.at_ms is not None) + self.connect != 1:
            raise ValueError('`at` is {answer: 2}, {at_ms: 3000} or "connect"')


@attrs.frozen
class Fault:
    """Misbehaviour of the model's server."""

    at: FaultPoint
    do: Literal["close", "silence", "refuse", "expire", "error", "ignore_close"]
    """`silence`: nothing more is sent, and the socket stays open. `error`: only the event."""
    code: int = 1011
    """WebSocket close code."""
    reason: str = ""
    http_status: int = attrs.field(
        default=429,
        validator=attrs.validators.and_(attrs.validators.ge(400), attrs.validators.le(599)),
    )
    """For `refuse`, which happens before there is a WebSocket."""
    connections: int | None = None
    """Only the first so many connections meet it; `None`: all of them."""
    model: str | None = None
    """Only connections that ask for this model meet it; `None`: whichever."""
    spares: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    """The first so many connections do not meet it."""
    error: Failure | None = None
    """An `error` event sent before `close` does its work; what `error` sends."""

    def __attrs_post_init__(self) -> None:
        if self.do == "refuse" and not self.at.connect:
            raise ValueError('`do: refuse` happens `at: "connect"` only')
        if self.do == "error" and self.error is None:
            raise ValueError("`do: error` needs an `error`")


@attrs.frozen
class ModelScript:
    """What the rehearsal model does."""

    answers: tuple[Answer, ...] = ()
    """Used up in order: every response takes the next."""
    faults: tuple[Fault, ...] = ()
    session_s: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.gt(0))
    )
    """How long a session lasts; `None`: 60 minutes, as the real one's."""
    mcp_down: tuple[str, ...] = ()
    """Servers of tools that do not say what they can do."""

    @property
    def lifetime_ms(self) -> int:
        """How long a session lasts."""
        return round(1000 * (SESSION_S if self.session_s is None else self.session_s))

    @property
    def refusal(self) -> Fault | None:
        """The fault that keeps the WebSocket from being opened at all, if there is one."""
        return next((fault for fault in self.faults if fault.do == "refuse"), None)

    def on_connection(self, number: int, model: str | None = None) -> ModelScript:
        """What the connection with this number, counted from 1, is going to meet.

        Args:
            number: Of all that are made in the call, or to the server.
            model: What it asks for; `None`: nobody knows.

        """
        met = (
            fault
            for fault in self.faults
            if number > fault.spares
            and (fault.connections is None or number <= fault.connections)
            and (fault.model is None or model is None or fault.model == model)
        )
        return attrs.evolve(self, faults=tuple(met))


@attrs.frozen
class Answering:
    """Keys of `[server]` that a rehearsal can change."""

    unknown_numbers: UnknownNumbers | None = None
    """`None`: as configured."""


@attrs.frozen
class Scenario:
    """One rehearsed call."""

    name: str
    about: str = ""
    group: str = ""
    """What it is listed under."""
    agent: dict[str, Any] = attrs.field(factory=dict[str, Any])
    """Keys of `[agent]` that are otherwise than configured."""
    agents: dict[str, dict[str, Any]] = attrs.field(factory=dict[str, dict[str, Any]])
    """Further agents, as `[agents.NAME]`."""
    config: dict[str, dict[str, Any]] = attrs.field(factory=dict[str, dict[str, Any]])
    """Keys of `[owner]`, `[policy]` and the like, by section."""
    server: Answering = attrs.field(factory=Answering)
    """What of `[server]` is otherwise than configured."""
    called: str | None = None
    """The number that is called; `None`: that of the rehearsal."""
    calling: str | None = None
    """The number it is called from, likewise."""
    model: ModelScript = ModelScript()
    caller: tuple[Step, ...] = ()
    menu: tuple[Room, ...] = ()
    """A phone menu, in place of a caller. The call begins in its first room."""
    callee: Callee = attrs.field(factory=Callee)
    """Whoever the call is transferred to."""
    expect: Expectation = attrs.field(factory=Expectation)

    def __attrs_post_init__(self) -> None:
        if self.caller and self.menu:
            raise ValueError("either a `caller` or a `menu` is on the phone")
        check_rooms(self.menu)
        _check_keys("agent", self.agent, AgentSettings)
        for name, table in self.agents.items():
            _check_keys(f"agents.{name}", table, AgentSettings)
        for section, table in self.config.items():
            if section not in RESETTABLE:
                raise ValueError(f"`config` has no `{section}`{hint(section, RESETTABLE)}")
            _check_keys(f"config.{section}", table, SECTIONS[section])
        if self.called is not None and not is_number(self.called):
            raise ValueError(
                f"`called` is a number as +4930123456, or a SIP URI, not {self.called!r}"
            )

    def agent_lines(self) -> list[str]:
        """Everything the model may say, in order, without repetitions."""
        said = [item.say for answer in self.model.answers for item in answer.items if item.say]
        return list(dict.fromkeys([*said, OUT_OF_ANSWERS]))

    def caller_lines(self) -> list[str]:
        """Everything the caller says, in order: one entry per step that speaks."""
        return [step.say for step in self.caller if step.say]

    def menu_lines(self) -> list[str]:
        """Everything a phone menu and the people behind it may say, without repetitions."""
        said = [line for room in self.menu for line in (room.say, room.invalid) if line]
        said += [step.say for room in self.menu for step in room.then if step.say]
        return list(dict.fromkeys(said))


def names() -> list[str]:
    """The scenarios that are shipped."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def shipped() -> list[Scenario]:
    """The scenarios that are shipped, by group: demonstrations first, then as the groups read."""
    scenarios = [load(name) for name in names()]
    return sorted(scenarios, key=lambda one: (one.group != DEMONSTRATIONS, one.group, one.name))


def load(name_or_path: str | Path) -> Scenario:
    """Read a shipped scenario by its name, or any other by the path of its file.

    Raises:
        ScenarioError: There is no such file, or what is in it is no scenario.

    """
    path = Path(name_or_path)
    if str(name_or_path) in names():
        path = SHIPPED / f"{name_or_path}.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = f"no such scenario{hint(str(name_or_path), names())}"
        if path.exists():
            problem = f"cannot be read: {error}"
        raise ScenarioError(str(name_or_path), "", problem) from error
    scenario = parse(text, source=str(path))
    return attrs.evolve(
        scenario,
        agent=_found_from(path.parent, scenario.agent),
        agents={n: _found_from(path.parent, table) for n, table in scenario.agents.items()},
    )


def parse(text: str, *, source: str = "scenario") -> Scenario:
    """Read a scenario from YAML text.

    Raises:
        ScenarioError: It is not YAML, or not a scenario.

    """
    return read(
        text, Scenario, source, error=ScenarioError, shorthands={FaultPoint: _connect_point}
    )


def _connect_point(written: object) -> FaultPoint | None:
    return FaultPoint(connect=True) if written == "connect" else None


def _check_keys(where: str, table: Mapping[str, Any], shape: type) -> None:
    """Values are for the configuration to check, which knows what they are laid over."""
    valid = attrs.fields_dict(shape)
    for key in table:
        if key not in valid:
            raise ValueError(f"`{where}` has no key `{key}`{hint(str(key), valid)}")


def _found_from(folder: Path, table: Mapping[str, Any]) -> dict[str, Any]:
    """The same table, whose files are found from wherever one is."""

    def found(path: object) -> object:
        return str(folder.absolute() / path) if isinstance(path, str) else path

    changed = dict(table)
    for key in _FILES & changed.keys():
        value = changed[key]
        changed[key] = [found(path) for path in value] if isinstance(value, list) else found(value)
    return changed
