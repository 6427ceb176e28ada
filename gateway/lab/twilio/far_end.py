"""Who is on the phone in a rehearsed call: a caller with steps, or a phone menu with its rooms.

Pure values: a scenario's `caller` and `menu`.
"""

from __future__ import annotations

from typing import Final, Literal

import attrs

KEYS: Final = frozenset("0123456789*#ABCD")
QUIET_MS: Final = 500


@attrs.frozen
class Noise:
    """Sound on the line that is no speech: hold music, a street."""

    ms: int = attrs.field(validator=attrs.validators.ge(20))
    dbfs: float = attrs.field(
        default=-42.0,
        validator=attrs.validators.and_(attrs.validators.ge(-70), attrs.validators.le(-10)),
    )
    """Speech is around -20; the rehearsal model takes what is louder than -35 for speech."""


@attrs.frozen
class Step:
    """One thing the caller waits for and then does."""

    wait: Literal["agent_quiet", "agent_speaking", "key", "call_end"] | None = None
    wait_ms: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    """Without `wait`: from the end of the step before. The line is digital silence meanwhile, as
    that of a phone on mute."""
    quiet_ms: int = attrs.field(default=QUIET_MS, validator=attrs.validators.ge(0))
    """For `agent_quiet`: how long playout has been empty after the agent spoke."""
    after_ms: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    """For `agent_speaking`: how long the agent's audio has been playing."""
    key: str | None = None
    """For `key`: which one the agent presses; any, if it is not said."""
    say: str | None = None
    press: str | None = None
    """Keys: `0` to `9`, `*`, `#`, `A` to `D`."""
    noise: Noise | None = None
    hang_up: bool = False

    def __attrs_post_init__(self) -> None:
        acts = sum(act is not None for act in (self.say, self.press, self.noise)) + self.hang_up
        if acts > 1:
            raise ValueError("a step does one thing: `say`, `press`, `noise` or `hang_up`")
        if self.wait == "call_end" and acts:
            raise ValueError("after `call_end` there is nothing left to do")
        if self.wait is None and not self.wait_ms and not acts:
            raise ValueError("a step waits for something or does something")
        if self.wait is not None and self.wait_ms:
            raise ValueError("a step has either `wait` or `wait_ms`")
        if self.quiet_ms != QUIET_MS and self.wait != "agent_quiet":
            raise ValueError("`quiet_ms` goes with `wait: agent_quiet`")
        if self.after_ms and self.wait != "agent_speaking":
            raise ValueError("`after_ms` goes with `wait: agent_speaking`; `wait_ms` just waits")
        if self.key is not None and (self.wait != "key" or self.key not in KEYS):
            raise ValueError("`key` is one of 0 to 9, *, #, A to D, and goes with `wait: key`")
        if self.say is not None and not self.say.strip():
            raise ValueError("`say` has no words")
        if self.press is not None and (not self.press or set(self.press) - KEYS):
            raise ValueError("`press` takes the keys 0 to 9, *, #, A to D")


@attrs.frozen
class Room:
    """One place of a phone menu: what is played there, and where each key leads."""

    name: str
    hold_ms: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    """Hold music before anything else."""
    say: str | None = None
    """The prompt."""
    keys: dict[str, str] = attrs.field(factory=dict[str, str])
    """Key to the name of the room it leads to."""
    invalid: str = "That is not a valid option."
    """Said when another key is pressed, before the prompt comes again."""
    repeat_after_ms: int = attrs.field(default=4000, validator=attrs.validators.ge(100))
    """Of silence behind the prompt."""
    repeats: int = attrs.field(default=3, validator=attrs.validators.ge(0))
    """How often the prompt comes again before the menu hangs up."""
    then: tuple[Step, ...] = ()
    """A person answers here, and does this."""

    def __attrs_post_init__(self) -> None:
        if set(self.keys) - KEYS:
            raise ValueError("`keys` are 0 to 9, *, #, A to D, in quotes")
        if self.keys and self.then:
            raise ValueError("a room has either `keys` or a person with `then`")
        if self.keys and self.say is None:
            raise ValueError("a room with `keys` needs a prompt, `say`")


def check_rooms(rooms: tuple[Room, ...]) -> None:
    """Refuse a menu with keys that lead nowhere.

    Raises:
        ValueError: In words.

    """
    names = [room.name for room in rooms]
    for room in rooms:
        if names.count(room.name) > 1:
            raise ValueError(f"there are two rooms with the name `{room.name}`")
        for key, name in room.keys.items():
            if name not in names:
                raise ValueError(
                    f"key {key} of `{room.name}` leads to `{name}`, and there is no such room; "
                    f"there is: {', '.join(names)}"
                )
