"""What happened in one call, put together as it happens, for its end record."""

from __future__ import annotations

import attrs


@attrs.frozen
class CallRecord:
    """The end record of one call."""
