"""What a doctor says: a line for each thing that was looked at, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import attrs

Level = Literal["ok", "warn", "fail", "skip"]


@attrs.frozen
class Finding:
    """One thing that was looked at."""

    level: Level
    """`skip`: it was not looked at."""
    subject: str
    text: str
    """What was found; and unless that is well, what to do."""

    def __str__(self) -> str:
        return f"{self.level:<4}  {self.subject}: {self.text}"


def ok(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding("ok", subject, text)


def warn(subject: str, text: str) -> Finding:
    """Calls work, and somebody should look at this."""
    return Finding("warn", subject, text)


def fail(subject: str, text: str) -> Finding:
    """Calls do not work like this."""
    return Finding("fail", subject, text)


def skip(subject: str, text: str) -> Finding:
    """This was not looked at."""
    return Finding("skip", subject, text)


def is_healthy(findings: Iterable[Finding]) -> bool:
    """Whether nothing failed."""
    return all(finding.level != "fail" for finding in findings)
