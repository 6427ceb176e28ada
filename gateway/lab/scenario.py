"""The scenario file: what the rehearsal model says, what the caller does, what the verdict checks.

No sockets and no clock; the only thing read is the YAML file that was asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal, get_args

import attrs

from actors.exits import Exit
from gateway.lab.strict_yaml import YamlFileError, hint, read

SHIPPED: Final = Path(__file__).parent / "scenarios"

OUT_OF_ANSWERS: Final = "I have nothing more to say."
"""What the model says when a response is asked for and the scenario has no answer left."""

Ending = str
"""The name of an `Exit` class."""


class ScenarioError(YamlFileError):
    """A scenario cannot be used. Says which file, which key, and what would have been valid."""


@attrs.frozen
class ToolScript:
    """A function call by the model."""

    name: str
    arguments: Any = attrs.field(factory=dict)
    """Keys and values; anything else, such as a text that is no JSON, is sent as it stands."""


@attrs.frozen
class Item:
    """One conversation item of an answer: words to say, or a function to call."""

    say: str | None = None
    call: ToolScript | None = None

    def __attrs_post_init__(self) -> None:
        if (self.say is None) == (self.call is None):
            raise ValueError("an item has either `say` or `call`")
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

    def __attrs_post_init__(self) -> None:
        if bool(self.items) == (self.fail is not None):
            raise ValueError("an answer has either `items` or `fail`")


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

    @property
    def refusal(self) -> Fault | None:
        """The fault that keeps the WebSocket from being opened at all, if there is one."""
        return next((fault for fault in self.faults if fault.do == "refuse"), None)

    def on_connection(self, number: int) -> ModelScript:
        """What the connection with this number, counted from 1, is going to meet."""
        met = (f for f in self.faults if f.connections is None or number <= f.connections)
        return attrs.evolve(self, faults=tuple(met))


@attrs.frozen
class Step:
    """One thing the caller waits for and then does."""

    wait: Literal["agent_quiet", "agent_speaking", "call_end"] | None = None
    wait_ms: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    """Without `wait`: from the end of the step before."""
    quiet_ms: int = attrs.field(default=500, validator=attrs.validators.ge(0))
    """For `agent_quiet`: how long playout has been empty after the agent spoke."""
    after_ms: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    """For `agent_speaking`: how long the agent's audio has been playing."""
    say: str | None = None
    press: str | None = None
    """Keys: `0` to `9`, `*`, `#`, `A` to `D`."""
    hang_up: bool = False

    def __attrs_post_init__(self) -> None:
        acts = (self.say is not None) + (self.press is not None) + self.hang_up
        if acts > 1:
            raise ValueError("a step does one thing: `say`, `press` or `hang_up`")
        if self.wait == "call_end" and acts:
            raise ValueError("after `call_end` there is nothing left to do")
        if self.wait is None and not self.wait_ms and not acts:
            raise ValueError("a step waits for something or does something")
        if self.wait is not None and self.wait_ms:
            raise ValueError("a step has either `wait` or `wait_ms`")
        if self.say is not None and not self.say.strip():
            raise ValueError("`say` has no words")
        if self.press is not None and (not self.press or set(self.press) - set("0123456789*#ABCD")):
            raise ValueError("`press` takes the keys 0 to 9, *, #, A to D")


@attrs.frozen
class Expectation:
    """What must be true of the call afterwards. `None`: not checked."""

    ending: Ending | None = None
    tools: tuple[str, ...] | None = None
    """Names of the functions that the model called, in order."""
    barge_ins: int | None = None

    def __attrs_post_init__(self) -> None:
        names = [exit_class.__name__ for exit_class in get_args(Exit)]
        if self.ending is not None and self.ending not in names:
            raise ValueError(f"no call ends in `{self.ending}`{hint(self.ending, names)}")


@attrs.frozen
class Scenario:
    """One rehearsed call."""

    name: str
    about: str = ""
    model: ModelScript = ModelScript()
    caller: tuple[Step, ...] = ()
    expect: Expectation = Expectation()

    def agent_lines(self) -> list[str]:
        """Everything the model may say, in order, without repetitions."""
        said = [item.say for answer in self.model.answers for item in answer.items if item.say]
        return list(dict.fromkeys([*said, OUT_OF_ANSWERS]))

    def caller_lines(self) -> list[str]:
        """Everything the caller says, in order: one entry per step that speaks."""
        return [step.say for step in self.caller if step.say]


def names() -> list[str]:
    """The scenarios that are shipped."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


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
    return parse(text, source=str(path))


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
