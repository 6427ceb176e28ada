"""One call that never was, for the tests of its records."""

from __future__ import annotations

from actors.policy.journal import CallFacts

FACTS = CallFacts(
    call_sid="CA1",
    stream_sid="MZ1",
    account_sid="AC1",
    from_number="+15550100",
    to_number="+15550199",
    agent="front desk",
    model="gpt-realtime",
    voice="marin",
    started_at="2025-11-20T08:00:00.000Z",
)
