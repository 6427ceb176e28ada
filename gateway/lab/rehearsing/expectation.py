"""What must be true of a rehearsed call afterwards: the `expect` of a scenario. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, get_args

import attrs

from actors.exits import Exit
from actors.ports import TransferOutcome
from gateway.lab.strict_yaml import hint

VERBS: Final = frozenset(
    {"Say", "Pause", "Play", "Connect", "Dial", "Record", "Redirect", "Reject", "Hangup"}
)
"""What a carrier can be asked to do."""
_OF_REFUSALS: Final = {"answered", "heard", "twiml", "within_ms"}
"""What can be expected of a call that no agent takes."""
_OF_PATTERNS: Final = (
    "heard", "unheard", "said", "instructions", "told", "primed", "untold",
    "audit", "unaudited", "messages",
)  # fmt: skip

Ending = str
"""The name of an `Exit` class."""


@attrs.frozen
class Expectation:
    """What must be true of the call afterwards. `None`, or nothing: not checked.

    Patterns are regular expressions that have to be found, in this order, whatever their case.
    """

    answered: bool = True
    """False: no agent is to take the call, and nothing but `heard` and `twiml` is checked."""
    ending: Ending | None = None
    tools: tuple[str, ...] | None = None
    """Names of the functions that the model called, in order."""
    barge_ins: int | None = None
    within_ms: int | None = None
    """From the first webhook until the call is over, at the most."""

    heard: tuple[str, ...] = ()
    """Patterns of what the caller heard: only the words that were really played."""
    unheard: tuple[str, ...] = ()
    """Patterns of what the caller must not have heard."""
    said: tuple[str, ...] = ()
    """Patterns of what the caller said, as the record has it."""
    max_gap_ms: int | None = None
    """The longest that the caller waits for the agent, from the end of its words."""
    pressed: str | None = None
    """Every key that the other end was sent by the agent."""
    transfer: TransferOutcome | None = None
    """What became of the last transfer."""
    whisper: str | None = None
    """A pattern of what the callee alone was told."""
    twiml: tuple[str, ...] = ()
    """The last verbs that the carrier carried out, such as `[Say, Record, Hangup]`."""

    sessions: int | None = None
    """How many sessions the model had in this call."""
    session: dict[str, Any] = attrs.field(factory=dict[str, Any])
    """Part of what the first `session.update` asked for."""
    changed: dict[str, Any] = attrs.field(factory=dict[str, Any])
    """Part of what the last one asked for."""
    instructions: tuple[str, ...] = ()
    """Patterns of the instructions that the first session was given."""
    told: tuple[str, ...] = ()
    """Patterns of the texts and tool outputs that the model was given, over all sessions."""
    primed: tuple[str, ...] = ()
    """The same of the last session alone: what it knew of what had been before it."""
    untold: tuple[str, ...] = ()
    """Patterns of what the model was given in no event at all."""

    audit: tuple[str, ...] = ()
    """Patterns of the rows of the audit log, each as `event tool`."""
    unaudited: tuple[str, ...] = ()
    """Patterns of rows that must not be there."""
    messages: tuple[str, ...] = ()
    """Patterns of the messages that were taken for the owner."""

    record: dict[str, Any] = attrs.field(factory=dict[str, Any])
    """Part of `call.json`."""
    nowhere: tuple[str, ...] = ()
    """Texts that the call left in no file and no log, and that the model was never sent."""

    def __attrs_post_init__(self) -> None:
        names = [exit_class.__name__ for exit_class in get_args(Exit)]
        if self.ending is not None and self.ending not in names:
            raise ValueError(f"no call ends in `{self.ending}`{hint(self.ending, names)}")
        values = attrs.asdict(self, recurse=False)
        written = {name for name, value in values.items() if value not in (None, (), {})}
        if not self.answered and written - _OF_REFUSALS:
            raise ValueError("with `answered: false` go `heard`, `twiml` and `within_ms` alone")
        for verb in self.twiml:
            if verb not in VERBS:
                raise ValueError(f"`twiml`: there is no verb `{verb}`{hint(verb, VERBS)}")
        for name in _OF_PATTERNS:
            _check_patterns(name, getattr(self, name))
        _check_patterns("whisper", [self.whisper] if self.whisper else [])


def _check_patterns(name: str, patterns: Iterable[str]) -> None:
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"`{name}`: {pattern!r} is no pattern: {error}") from error
