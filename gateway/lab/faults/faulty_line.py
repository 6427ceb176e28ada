"""A line of memory on which the frame faults of a plan happen: the phone's, or the model's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import attrs
import orjson

from gateway.lab.faults.fault_plan import CLOSE, LINES, Fault, Place, Striker
from gateway.lab.faults.fault_values import ERRORS
from gateway.lab.faults.frame_damage import DAMAGES, Spoilt, truncated
from gateway.lab.memory_line import (
    Arrival,
    CloseReason,
    Delay,
    Frame,
    MemorySocket,
    Tamper,
    memory_line,
)

Leg = Literal["phone", "model"]

_UP: Final[dict[Leg, Place]] = {"phone": "phone.up", "model": "model.up"}
_DOWN: Final[dict[Leg, Place]] = {"phone": "phone.down", "model": "model.down"}
_NO_GOODBYE: Final = 1006
"""The line is torn down. Source: RFC 6455, section 7.4.1."""
_AUDIO: Final = {"*", "media", "response.output_audio.delta", "input_audio_buffer.append"}
_SPOILING: Final = {"drop", "duplicate", "reorder", "truncate", "corrupt"}


def faulty_line(
    striker: Striker, leg: Leg, call: int, *, up_ms: Delay = 0, down_ms: Delay = 0
) -> tuple[MemorySocket, MemorySocket]:
    """Make a line of a call. Returns its client's end and its server's end.

    The client is the phone, or towards the model the gateway. A line that reconnects is a new one,
    and the occurrences of its frames are counted on.

    Args:
        striker: Decides what happens to which frame.
        leg: Which line it is.
        call: Whose line it is.
        up_ms: From client to server, one way.
        down_ms: From server to client, one way.

    """
    up = _Way(striker, _UP[leg], call)
    down = _Way(striker, _DOWN[leg], call)
    client, server = memory_line(
        up_ms=up_ms, down_ms=down_ms, tamper_up=up.tamper(), tamper_down=down.tamper()
    )
    up.receiver, down.receiver = server, client
    return client, server


def spoils_audio(fault: Fault) -> bool:
    """Whether audio may be missing, doubled, out of order or wrong for no other reason."""
    return fault.place in LINES and fault.do in _SPOILING and fault.kind in _AUDIO


@attrs.define(eq=False)
class _Way:
    """One direction of a line."""

    striker: Striker
    place: Place
    call: int
    receiver: MemorySocket = attrs.field(init=False)
    _is_dead: bool = attrs.field(default=False, init=False)
    """Nothing arrives any more, and no goodbye either."""

    def tamper(self) -> Tamper | None:
        """What the line has to ask; `None` when nothing can happen here."""
        concerned = any(self.striker.concerns(place, self.call) for place in (self.place, "script"))
        return self._befall if concerned else None

    def _befall(self, frame: Frame) -> Sequence[Arrival]:
        if isinstance(frame, CloseReason) and frame.code == _NO_GOODBYE:
            # In the end TCP gives up on a dead line too: no simulated peer waits for ever.
            return (Arrival(frame),)
        kind = _kind(frame)
        self.striker.strikes("script", self.call, kind)
        return () if self._is_dead else self._strike(frame, kind)

    def _strike(self, frame: Frame, kind: str) -> Sequence[Arrival]:
        arrivals = [Arrival(frame)]
        for fault in self.striker.strikes(self.place, self.call, kind):
            arrivals = self._carry_out(fault, frame, arrivals)
        return () if self._is_dead else arrivals

    def _carry_out(self, fault: Fault, sent: Frame, arrivals: list[Arrival]) -> list[Arrival]:
        """What arrives after one more fault. Several faults on one frame add up."""
        match fault.do:
            case "drop":
                return []
            case "delay":
                return [attrs.evolve(one, late_ms=one.late_ms + fault.ms) for one in arrivals]
            case "reorder":
                return [
                    attrs.evolve(one, late_ms=one.late_ms + fault.ms, overtakes=True)
                    for one in arrivals
                ]
            case "duplicate":
                return [*arrivals, *(_later(one.frame, fault.ms) for one in arrivals)]
            case "truncate" | "corrupt":
                return [attrs.evolve(one, frame=_damaged(fault, one.frame)) for one in arrivals]
            case "inject":
                return [*arrivals, _later(_damaged(fault, sent), fault.ms)]
            case "half_close":
                self._is_dead = True
            case "hang":
                # What was sent before is still under way; the rest waits at its sender.
                self._is_dead = self.receiver.stalled = True
            case "break":
                self._is_dead = True
                self.receiver.break_off()
            case "raise":
                error = ERRORS[fault.detail]()
                raise error
            case _:
                raise AssertionError(f"nothing can {fault.do} on a line")
        return []


def _later(frame: Frame, late_ms: int) -> Arrival:
    return Arrival(frame, late_ms, overtakes=late_ms > 0)


def _damaged(fault: Fault, frame: Frame) -> Frame:
    """What comes in place of a frame, or beside it. There is nothing about a goodbye to damage."""
    if isinstance(frame, CloseReason):
        return frame
    if fault.do == "truncate":
        return truncated(frame)
    try:
        return DAMAGES[fault.detail](frame if isinstance(frame, str) else frame.decode())
    except (Spoilt, UnicodeDecodeError):
        return frame


def _kind(frame: Frame) -> str:
    """What a frame is: see `Place`."""
    if isinstance(frame, CloseReason):
        return CLOSE
    message = orjson.loads(frame)
    return str(message.get("event") or message.get("type"))
