"""How the caller's voice is joined; what the legs route is in the tests of whole calls."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
import trio.testing

from actors.lanes import Lane, OnFull
from actors.legs import SpeechWriter
from actors.messages import (
    FRAME_BYTES,
    FRAME_MS,
    ULAW_BYTES_PER_MS,
    ULAW_SILENCE,
    AppendAudio,
    CallerAudio,
    SessionFact,
    SessionOrder,
)
from actors.notes import Notes
from actors.policy.journal import CallFacts, Journal
from actors.policy.lineclock import LineClock

_NAMELESS: dict[str, Any] = {
    field.name: "" for field in attrs.fields(CallFacts) if field.default is attrs.NOTHING
}
FACTS = CallFacts(**_NAMELESS)
"""Of a call whose facts do not matter."""


@attrs.define(eq=False)
class SlowSession:
    """Stands for a session whose socket takes its time for every order."""

    takes_s: float = 0.0
    taken: list[SessionOrder] = attrs.field(factory=list[SessionOrder])

    async def send(self, order: SessionOrder) -> None:
        await trio.sleep(self.takes_s)
        self.taken.append(order)

    async def receive(self) -> SessionFact:
        await trio.sleep_forever()
        raise AssertionError("it sleeps forever")

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    def heard(self) -> list[bytes]:
        """The audio of each append."""
        payloads = [order.payload for order in self.taken if isinstance(order, AppendAudio)]
        return [base64.b64decode(payload, validate=True) for payload in payloads]


def frame(number: int, *, at_ms: int | None = None, payload: str | None = None) -> CallerAudio:
    """A frame that sounds like no other."""
    ulaw = bytes([number]) * FRAME_BYTES
    line_ms = number * FRAME_MS if at_ms is None else at_ms
    return CallerAudio(payload or base64.b64encode(ulaw).decode(), ulaw, line_ms)


@asynccontextmanager
async def writing(
    session: SlowSession, *, frames: int = 50
) -> AsyncIterator[tuple[Lane[CallerAudio], LineClock]]:
    """A writer at work, and the lane it reads."""
    speech = Lane[CallerAudio]("speech", frames, OnFull.DROP_OLDEST)
    line = LineClock()
    writer = SpeechWriter(speech, session, line, Notes(Journal(FACTS)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        yield speech, line
        nursery.cancel_scope.cancel()


async def test_a_frame_travels_as_the_very_text_the_carrier_sent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Not decoded and encoded again: a marker instead of base64 comes through."""
    session = SlowSession()
    async with writing(session) as (speech, _):
        for number in range(3):
            speech.put(frame(number, payload=f"untouched {number}"))
            await trio.sleep(0.02)

    assert session.taken == [AppendAudio(f"untouched {number}") for number in range(3)]


async def test_frames_that_wait_are_joined_into_one_append_in_order(
    autojump_clock: trio.testing.MockClock,
) -> None:
    session = SlowSession(takes_s=0.1)
    async with writing(session) as (speech, _):
        for number in range(11):
            speech.put(frame(number))
            await trio.sleep(0.02)
        await trio.sleep(1)

    assert [len(audio) // FRAME_BYTES for audio in session.heard()] == [1, 5, 5]
    assert b"".join(session.heard()) == b"".join(frame(number).ulaw for number in range(11))


async def test_what_was_dropped_while_the_session_stood_still_is_silence(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """So that everything after it stays where it belongs on the session's clock."""
    session = SlowSession(takes_s=1.0)
    async with writing(session, frames=3) as (speech, line):
        for number in range(10):
            speech.put(frame(number))
            await trio.sleep(0.02)
        await trio.sleep(5)
    first, rest = session.heard()

    assert speech.dropped == 6
    assert first == frame(0).ulaw
    assert rest[: 6 * FRAME_BYTES] == ULAW_SILENCE * (6 * FRAME_BYTES)
    assert rest[6 * FRAME_BYTES :] == b"".join(frame(number).ulaw for number in (7, 8, 9))
    assert line.filled_ms == 6 * FRAME_MS


async def test_a_hole_before_a_single_frame_is_filled_in_the_same_append(
    autojump_clock: trio.testing.MockClock,
) -> None:
    session = SlowSession()
    async with writing(session) as (speech, _):
        speech.put(frame(0))
        await trio.sleep(0.1)
        speech.put(frame(1, at_ms=60))
        await trio.sleep(0.1)

    assert session.heard()[1] == ULAW_SILENCE * (40 * ULAW_BYTES_PER_MS) + frame(1).ulaw


async def test_holes_inside_a_joined_append_are_filled_where_they_are(
    autojump_clock: trio.testing.MockClock,
) -> None:
    session = SlowSession()
    async with writing(session) as (speech, _):
        await trio.testing.wait_all_tasks_blocked()
        for number, at_ms in ((1, 0), (2, 20), (3, 80)):
            speech.put(frame(number, at_ms=at_ms))
        await trio.sleep(0.1)

    assert b"".join(session.heard()) == (
        frame(1).ulaw + frame(2).ulaw + ULAW_SILENCE * (40 * ULAW_BYTES_PER_MS) + frame(3).ulaw
    )


async def test_late_frames_are_left_out_and_alone_are_no_append(
    autojump_clock: trio.testing.MockClock,
) -> None:
    session = SlowSession()
    async with writing(session) as (speech, line):
        for number, at_ms in ((1, 100), (2, 40), (3, 100), (4, 120)):
            speech.put(frame(number, at_ms=at_ms))
            await trio.sleep(0.02)

    assert session.heard() == [frame(1).ulaw, frame(4).ulaw]
    assert line.late_frames == 2


async def test_a_late_frame_does_not_lend_its_text_to_another(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Both sound alike, as silence does; only one of the two is sent, and only once."""
    session = SlowSession(takes_s=0.1)
    async with writing(session) as (speech, _):
        speech.put(frame(7, at_ms=100))
        await trio.sleep(0.05)
        speech.put(frame(9, at_ms=0, payload="of the late one"))
        speech.put(frame(9, at_ms=120))
        await trio.sleep(1)

    assert session.heard() == [frame(7).ulaw, frame(9).ulaw]
