"""A fault plan: what goes wrong in a simulation, where, and when; and the count of what struck.

Pure: no trio, no sockets, no clock. The places themselves carry their faults out: see `ABLE`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, get_args

import attrs
import yaml

from gateway.lab.faults.fault_values import ERRORS, REFUSALS, REST_ANSWERS, RESULTS
from gateway.lab.faults.frame_damage import DAMAGES
from gateway.lab.strict_yaml import YamlFileError, hint, read

Place = Literal[
    "webhook",
    "rest",
    "stream.open",
    "phone.up",
    "phone.down",
    "model.open",
    "model.up",
    "model.down",
    "tool",
    "store",
    "recorder",
    "node",
    "script",
]
"""Where a fault strikes, and what counts as one occurrence there.

* `webhook`: one request of Twilio's to the gateway; its kind is the last part of the path.
* `rest`: one request of the gateway's to Twilio; its kind is `redirect` or `hang_up`.
* `stream.open`: one upgrade of the media socket.
* `phone.up`, `phone.down`: one frame from the phone to the gateway, or back; its kind is Twilio's
  name of the event, or `close`.
* `model.open`: one attempt to connect to the model.
* `model.up`, `model.down`: one frame from the gateway to the model, or back; its kind is the
  event's type, or `close`.
* `tool`: one run of a tool; its kind is the tool's name.
* `store`: one attempt to write a record.
* `recorder`: one write of audio.
* `node`: the gateway's process. Its faults come by the clock, at `at_ms`.
* `script`: what caller and model do was changed when the plan was drawn. Nothing is left to do;
  a frame of this kind, on either line of the call, shows that it took effect.
"""

Do = Literal[
    "delay",
    "drop",
    "duplicate",
    "reorder",
    "truncate",
    "corrupt",
    "inject",
    "half_close",
    "break",
    "hang",
    "raise",
    "jump",
    "stop",
    "rewrite",
]
"""What a fault does to what it strikes.

* `delay`: it comes `ms` later, and so does everything behind it.
* `drop`: it is lost.
* `duplicate`: it comes a second time, `ms` later.
* `reorder`: it comes `ms` later, and what is sent after it may come before.
* `truncate`: only its first half comes.
* `corrupt`: something else comes in its place: see `detail`.
* `inject`: something comes beside it, `ms` later: see `detail`. At `node`: a hostile socket.
* `half_close`: this and everything behind it is lost, and nobody is told.
* `break`: the network between both ends breaks.
* `hang`: it never comes to an end. On a line: its receiver takes nothing in any more.
* `raise`: the gateway's own code meets an error: see `detail`.
* `jump`: a clock jumps by `ms`, which may be negative for the `wall` clock.
* `stop`: the gateway is told to stop. A second one: at once.
* `rewrite`: see the place `script`.
"""

CLOSE: Final = "close"
"""The kind of a WebSocket's goodbye. The kind `*` does not mean it."""

_LINE: Final[frozenset[Do]] = frozenset(
    {
        "delay",
        "drop",
        "duplicate",
        "reorder",
        "truncate",
        "corrupt",
        "inject",
        "half_close",
        "break",
        "hang",
    }
)
_SENT: Final[frozenset[Do]] = _LINE | {"raise"}
"""Where the gateway is the sender, its sending can fail for a reason of its own."""
_PORT: Final[frozenset[Do]] = frozenset({"delay", "hang", "raise"})

ABLE: Final[Mapping[Place, frozenset[Do]]] = {
    "webhook": frozenset({"delay", "drop", "duplicate"}),
    "rest": frozenset({"delay", "raise", "inject"}),
    "stream.open": frozenset({"delay", "drop", "duplicate"}),
    "phone.up": _LINE,
    "phone.down": _SENT,
    "model.open": _PORT,
    "model.up": _SENT,
    "model.down": _LINE,
    "tool": _PORT | {"corrupt"},
    "store": _PORT,
    "recorder": _PORT,
    "node": frozenset({"inject", "jump", "stop"}),
    "script": frozenset({"rewrite"}),
}
"""What can happen at each place."""

PROBES: Final = (
    "slowloris",
    "garbage",
    "oversized_header",
    "bad_upgrade",
    "bad_frames",
    "huge_message",
    "no_start",
    "no_token",
    "foreign_token",
    "used_token",
    "wrong_account",
    "second_stream",
    "binary_first",
)
"""Hostile sockets. Those about tokens are about the fault's call, which lives at that time."""

CLOCKS: Final = ("wall", "stall", "suspend")
"""What a jump is: the wall clock is set; the event loop stands still; the machine was asleep."""

BESIDE_REST: Final = ("caller_leaves",)
"""What may happen to a call in the moments after a request about it was obeyed."""

LINES: Final[tuple[Place, ...]] = ("phone.up", "phone.down", "model.up", "model.down")
"""Both ways of both lines of a call."""

DETAILS: Final[Mapping[tuple[Place, Do], Iterable[str]]] = {
    **{(place, "corrupt"): DAMAGES for place in LINES},
    **{(place, "inject"): DAMAGES for place in LINES},
    ("phone.down", "raise"): ERRORS,
    ("model.up", "raise"): ERRORS,
    ("tool", "raise"): ERRORS,
    ("store", "raise"): ERRORS,
    ("recorder", "raise"): ERRORS,
    ("model.open", "raise"): REFUSALS,
    ("tool", "corrupt"): RESULTS,
    ("rest", "raise"): REST_ANSWERS,
    ("rest", "inject"): BESIDE_REST,
    ("node", "inject"): PROBES,
    ("node", "jump"): CLOCKS,
}
"""What needs a detail, and which there are."""


class FaultPlanError(YamlFileError):
    """A fault plan cannot be used. Says which file, which key, and what would have been valid."""


@attrs.frozen(kw_only=True)
class Fault:
    """One thing that goes wrong."""

    id: str
    """What it is an example of, such as `F17`. Several faults may share it."""
    place: Place
    do: Do
    call: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    """The call it strikes, counted from 0."""
    kind: str = "*"
    """Of what it strikes: see `Place`. `*`: of any kind."""
    nth: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    """The first occurrence it strikes, counted from 1 among those of its place, call and kind."""
    times: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    """How many occurrences in a row it strikes."""
    at_ms: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(0))
    )
    """For `node`, and only there: when, since the simulation began."""
    ms: int = 0
    """How late, how long or how far: see `Do`."""
    detail: str = ""

    def __attrs_post_init__(self) -> None:
        able = ABLE[self.place]
        if self.do not in able:
            raise ValueError(f"nothing can `{self.do}` at `{self.place}`{hint(self.do, able)}")
        if (self.at_ms is not None) != (self.place == "node"):
            raise ValueError("`at_ms` is for faults at `node`, and they need it")
        if self.ms < 0 and self.detail != "wall":
            raise ValueError("only the `wall` clock jumps back: `ms` is negative")
        valid = DETAILS.get((self.place, self.do))
        if valid is not None and self.detail not in valid:
            raise ValueError(f"`detail: {self.detail}` is not known{hint(self.detail, valid)}")
        if not self.id:
            raise ValueError("a fault has an `id`")


@attrs.frozen
class FaultPlan:
    """Everything that goes wrong in one simulation."""

    faults: tuple[Fault, ...] = ()


def parse(text: str, source: str = "fault plan") -> FaultPlan:
    """Read a plan from YAML text.

    Raises:
        FaultPlanError: It is not YAML, or not a plan.

    """
    return read(text, FaultPlan, source, error=FaultPlanError)


def dump(plan: FaultPlan) -> str:
    """Write a plan as YAML, leaving out what is as usual."""
    faults = [attrs.asdict(fault, filter=_unusual) for fault in plan.faults]
    # Not as Unicode: PyYAML writes some line ends as they are, and reads them as spaces.
    return yaml.safe_dump({"faults": faults}, sort_keys=False)


def _unusual(field: attrs.Attribute[object], value: object) -> bool:
    return value != field.default


@attrs.frozen
class Strike:
    """A fault that took effect."""

    fault: Fault
    occurrence: int
    """Which occurrence of the fault's place, call and kind it was, counted from 1."""
    kind: str
    """Of what was struck."""
    at_s: float = 0.0
    """When, on the clock of the one who counts."""


@attrs.define(eq=False)
class Striker:
    """What every place asks whether something goes wrong now. One per simulation."""

    plan: FaultPlan
    now_s: Callable[[], float] = lambda: 0.0
    """The clock that is looked at when something strikes."""
    log: list[Strike] = attrs.field(factory=list[Strike], init=False)
    """What took effect, in order."""
    _placed: dict[tuple[Place, int], list[int]] = attrs.field(factory=dict, init=False)
    """The faults of a place and call that come by counting, by their index in the plan."""
    _seen: list[int] = attrs.field(init=False)
    """Occurrences so far, for each fault of the plan."""

    def __attrs_post_init__(self) -> None:
        self._seen = [0] * len(self.plan.faults)
        for index, fault in enumerate(self.plan.faults):
            if fault.at_ms is None:
                self._placed.setdefault((fault.place, fault.call), []).append(index)

    @property
    def struck(self) -> Counter[str]:
        """How often something took effect, by the faults' ids."""
        return Counter(strike.fault.id for strike in self.log)

    def concerns(self, place: Place, call: int) -> bool:
        """Whether anything may ever strike there. Where not, nobody needs to ask."""
        return (place, call) in self._placed

    def strikes(self, place: Place, call: int, kind: str = "*") -> list[Fault]:
        """Count one occurrence. Returns the faults that strike it, in the plan's order.

        They count as having taken effect: whoever asks carries them out.
        """
        struck = []
        for index in self._placed.get((place, call), ()):
            fault = self.plan.faults[index]
            if not _is_meant(fault, kind):
                continue
            self._seen[index] += 1
            if fault.nth <= self._seen[index] < fault.nth + fault.times:
                self.log.append(Strike(fault, self._seen[index], kind, self.now_s()))
                struck.append(fault)
        return struck

    def timed(self, place: Place = "node") -> list[Fault]:
        """The faults that come by the clock, earliest first, for whoever carries them out."""
        timed = [
            (fault.at_ms, fault)
            for fault in self.plan.faults
            if fault.place == place and fault.at_ms is not None
        ]
        return [fault for _, fault in sorted(timed, key=lambda pair: pair[0])]

    def strike(self, fault: Fault) -> None:
        """Count a timed fault as having taken effect."""
        self.log.append(Strike(fault, 1, fault.kind, self.now_s()))


def _is_meant(fault: Fault, kind: str) -> bool:
    return fault.kind == kind or (fault.kind == "*" and kind != CLOSE)


if set(ABLE) != set(get_args(Place)):
    raise AssertionError("every place says what can happen there")
