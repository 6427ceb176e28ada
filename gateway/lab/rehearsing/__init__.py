"""Scenarios: their language, their calls and their verdicts."""
