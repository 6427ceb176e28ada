"""One simulated call as it is judged: what was seen of it, and what went wrong on purpose."""

from __future__ import annotations

from typing import Final

import attrs

from gateway.lab.faults.fault_plan import Fault, Place
from gateway.lab.faults.faulty_line import spoils_audio
from gateway.lab.judges.evidence import CallSeen

Complaint = tuple[str, str]
"""The name of a promise, and how it was broken."""

ROUNDING_S: Final = 0.002
"""Records tell whole milliseconds."""
DAMAGE: Final = frozenset({"truncate", "corrupt", "inject"})
CUTS_OFF: Final = frozenset({"hang", "half_close", "break"})
"""What ends a line."""


@attrs.frozen(eq=False)
class Case:
    """A call that is over, and its faults."""

    seen: CallSeen
    faults: tuple[Fault, ...]
    """Those of its own that took effect."""
    stopped: bool
    """Whether the gateway was told to stop, at any time."""

    @property
    def jumped(self) -> bool:
        """Whether time was skipped while it was going on."""
        return self.seen.jumped_s > 0

    def struck(self, *places: Place) -> list[Fault]:
        """Its faults at these places."""
        return [fault for fault in self.faults if fault.place in places]

    def damaged(self, *places: Place) -> bool:
        """Whether what came over a line could differ from what was said, in more than order."""
        return any(fault.do in DAMAGE for fault in self.struck(*places))

    def spoilt(self, *places: Place) -> bool:
        """Whether audio that came over a line could differ from what was said in any way."""
        faults = self.struck(*places)
        return any(spoils_audio(fault) or fault.do in DAMAGE for fault in faults)

    def cut_off(self, *places: Place) -> bool:
        """Whether a line was ended, or stood still."""
        return any(fault.do in CUTS_OFF for fault in self.struck(*places))
