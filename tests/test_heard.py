"""How wrong is "heard"? Simulated barge-ins, belief against truth.

One-way network times of 25 to 80 ms with jitter, answers of one to three items delivered at three
to eight times real time, marks late, lost and repeated: see `barge_in_world`.
"""

from __future__ import annotations

from statistics import mean

import pytest

from tests.barge_in_world import Verdict, one_call

CALLS = 350
"""Four interrupted answers each."""


def errors_ms(verdicts: list[Verdict]) -> list[float]:
    """How far belief and truth lie apart, sorted; items that neither heard do not flatter."""
    return sorted(
        abs(verdict.believed_ms - verdict.true_ms)
        for verdict in verdicts
        if verdict.believed_ms or verdict.true_ms
    )


@pytest.mark.parametrize("jitter_buffer_ms", [0.0, 60.0])
def test_over_a_thousand_barge_ins_belief_is_within_40_ms_and_80_at_p95(
    jitter_buffer_ms: float,
) -> None:
    """Also when the carrier holds audio back in a buffer nobody told us of."""
    verdicts = [
        verdict
        for seed in range(CALLS)
        for verdict in one_call(seed, jitter_buffer_ms=jitter_buffer_ms)
    ]
    errors = errors_ms(verdicts)

    assert len(errors) >= 1000
    assert mean(errors) <= 40
    assert errors[int(0.95 * len(errors))] <= 80
    assert all(verdict.believed_ms <= verdict.sent_ms for verdict in verdicts)
