from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from gateway.configuration.config import Secret
from gateway.logs import configure


class Terminal(io.StringIO):
    """Stands for a terminal with a person in front of it."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_a_machine_gets_one_json_object_per_event() -> None:
    stream = io.StringIO()
    configure(stream)
    with structlog.contextvars.bound_contextvars(call_sid="CA1"):
        structlog.get_logger().info("call.ended", after_s=1.5, why=object)

    entry = json.loads(stream.getvalue())
    assert (entry["event"], entry["call_sid"], entry["after_s"]) == ("call.ended", "CA1", 1.5)
    assert entry["level"] == "info"


def test_a_person_gets_a_line() -> None:
    stream = Terminal()
    configure(stream)
    structlog.get_logger().info("call.ended", call_sid="CA1")

    assert "call.ended" in stream.getvalue()
    assert "CA1" in stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_what_is_not_for_logs_is_hidden_at_any_depth(stream: io.StringIO) -> None:
    configure(stream)
    key = Secret("canary")
    structlog.get_logger().info(
        "x.happened", Token="canary", caller="canary", deep={"a": {"payload": "canary"}}, key=key
    )

    assert "canary" not in stream.getvalue()
    assert "(hidden)" in stream.getvalue()


def crash() -> None:
    word = "can" + "ary"
    raise RuntimeError(f"as asked with {len(word)} letters")


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_a_crash_has_its_traceback_and_no_values(stream: io.StringIO) -> None:
    """A traceback with local variables would show tokens and words."""
    configure(stream)
    with pytest.raises(RuntimeError) as crashed:
        crash()
    structlog.get_logger().error("call.crashed", exc_info=crashed.value)

    assert "as asked with 6 letters" in stream.getvalue()
    assert "test_logs.py" in stream.getvalue()
    assert "canary" not in stream.getvalue()
