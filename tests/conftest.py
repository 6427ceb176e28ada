"""Logs of the code under test: kept for `capture_logs`, plain, and without anybody's locals."""

from __future__ import annotations

import os

import hypothesis
import structlog

# The same examples in every run: a failure is then about the change, and not about luck. New ones
# are looked for with HYPOTHESIS_PROFILE=explore.
#
# Neither has a deadline, nor minds a slow start: a busy machine is no failure.
patient = hypothesis.settings(
    deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile("same", patient, derandomize=True)
hypothesis.settings.register_profile("explore", patient)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(key_order=["event"]),
    ],
)
