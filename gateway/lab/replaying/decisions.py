"""What a call decided, read off its flight log, and where two logs of one call differ.

Pure. A decision is what the gateway told a peer to do, except how it cut audio into portions, when
it measured the round trip, and which frames of the caller's it passed on: those are compared by
their sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any, Final, Literal

import attrs
import orjson

from actors.messages import ULAW_BYTES_PER_MS
from gateway.records.flight_log import Entry
from gateway.records.tap import base64_bytes

Leg = Literal["phone", "model", "tools", "call"]
LEGS: Final[tuple[Leg, ...]] = ("phone", "model", "tools", "call")

PAUSE_MS: Final = 500.0
"""After so much silence, it is a decision of its own to play something. Shorter pauses are the
model's pace."""
MARK_APART_MS: Final = 250.0
"""Where one log has a mark, the other has one this near: they are 200 ms apart by design, and move
with the portions."""
EDGE_MS: Final = 30.0
SENT_APART_MS: Final = 50.0
"""How far sums of audio played may be apart, beside what was sent within `EDGE_MS` of the end."""
SPEECH_APART_MS: Final = 100.0
"""How far sums of the caller's audio may be apart: frames under way when it ended."""
RUN: Final = "run"
RETURN: Final = "return the output of"
HEARD: Final = "take for the caller's answer"
SAID: Final = "say to the caller, who hears it:"
SENT: Final = "send until the end"
PASSED_ON: Final = "pass on of the caller's voice"

DETAIL_MAX: Final = 60
"""Characters of a value that is shown."""


@attrs.frozen
class Tolerance:
    """How far two runs of one call may be apart and still have decided the same."""

    at_ms: float = 30.0
    """When it was. A machine of yesterday had other things to do too."""
    heard_ms: float = 20.0
    """How much of an item was taken for heard: a frame."""


@attrs.frozen
class Decision:
    """One thing that was decided."""

    at_ms: float
    leg: Leg
    what: str
    """In words, with whatever names it; not what may differ a little."""
    detail: Any = None
    """JSON: the rest of it, to the last letter."""
    amount_ms: float | None = None
    """Audio it speaks of; may differ a little."""
    apart_ms: float | None = None
    """How little, if it is not what `Tolerance` says."""

    def __str__(self) -> str:
        return self.what if self.amount_ms is None else f"{self.what} {self.amount_ms:.0f} ms"


@attrs.frozen
class Difference:
    """One decision, then and now. `None`: it was not taken."""

    at_ms: float
    leg: Leg
    then: str | None
    now: str | None
    is_late: bool = False
    """It is the same decision in all but its time."""


@attrs.frozen
class Decisions:
    """Everything one call decided."""

    taken: tuple[Decision, ...]
    marks: tuple[tuple[float, ...], ...]
    """Between one `clear` and the next: behind how many ms of audio there was a mark."""


@attrs.define(eq=False)
class _Reader:
    """Goes through a log once."""

    ended_ms: float
    taken: list[Decision] = attrs.field(factory=list)
    marks: list[list[float]] = attrs.field(factory=lambda: [[]])
    played_ms: float = 0.0
    """Since the last `clear`."""
    marked_ms: float = 0.0
    silent_from_ms: float = -PAUSE_MS
    """When all that was sent will have been played."""
    speech_ms: float = 0.0
    edge_ms: float = 0.0
    """Played so near to the end of what counts that it may count in one log only."""

    def read(self, entry: Entry, until_ms: float) -> None:
        at_ms, content = entry.at_ms, entry.content
        match entry.place, content:
            case "phone.out", ["play", audio] if abs(at_ms - until_ms) <= EDGE_MS:
                self.edge_ms += _length_ms(audio)
            case "phone.out", ["clear"] if abs(at_ms - until_ms) <= EDGE_MS:
                self.edge_ms += self.played_ms
            case _:
                pass
        match entry.place, content:
            case "phone.out", ["play", audio] if at_ms <= until_ms:
                self._play(at_ms, _length_ms(audio))
            case "phone.out", ["mark", _] if at_ms <= until_ms:
                if self.played_ms > self.marked_ms:  # Without audio, it is to measure the network.
                    self.marked_ms = self.played_ms
                    self.marks[-1].append(self.played_ms)
            case "phone.out", ["clear"]:
                self._add(at_ms, "phone", "clear, having sent", amount_ms=self.played_ms)
                self.played_ms = self.marked_ms = 0.0
                self.silent_from_ms = at_ms
                self.marks.append([])
            case "phone.hang_up", _:
                self._add(at_ms, "phone", "hang up")
            case "model.out", ["append", audio] if at_ms <= until_ms:
                self.speech_ms += _length_ms(audio)
            case "model.out", {"type": str(kind)}:
                self._order(at_ms, kind, content, entry.session)
            case "tool", list():
                self._tool(at_ms, content)
            case "call", ["ended", {"exit": "Crashed" as name, "error": str(error), **others}]:
                # The words of an exception of then are not always known.
                detail = {**others, "exit": name, "error": error.partition(":")[0]}
                self._add(self.ended_ms, "call", f"end as {name}", detail)
            case "call", ["ended", {"exit": name}]:
                self._add(self.ended_ms, "call", f"end as {name}", content[1])
            case _:
                pass

    def decisions(self) -> Decisions:
        """All that was read, and what is only known in the end."""
        sent = Decision(
            self.ended_ms, "phone", SENT, None, self.played_ms, SENT_APART_MS + self.edge_ms
        )
        passed_on = Decision(
            self.ended_ms, "model", PASSED_ON, None, self.speech_ms, SPEECH_APART_MS
        )
        return Decisions((*self.taken, sent, passed_on), tuple(map(tuple, self.marks)))

    def _play(self, at_ms: float, lasts_ms: float) -> None:
        if at_ms - self.silent_from_ms >= PAUSE_MS:
            self._add(at_ms, "phone", "begin to play")
        self.silent_from_ms = max(self.silent_from_ms, at_ms) + lasts_ms
        self.played_ms += lasts_ms

    def _order(self, at_ms: float, kind: str, event: dict[str, Any], session: int) -> None:
        if session > 1:
            kind = f"session {session}: {kind}"
        match event:
            case {"type": "conversation.item.truncate", "item_id": item, "audio_end_ms": heard_ms}:
                self._add(at_ms, "model", f"truncate {item} at", amount_ms=float(heard_ms))
            case {"type": "conversation.item.create", "item": {"call_id": call}}:
                self._add(at_ms, "model", f"{RETURN} {call}", event)
            case {"response": {"metadata": {"purpose": purpose}}}:
                self._add(at_ms, "model", f"{kind} ({purpose})", event)
            case {"response_id": name} | {"item_id": name}:
                self._add(at_ms, "model", f"{kind} {name}", event)
            case _:
                self._add(at_ms, "model", kind, event)

    def _tool(self, at_ms: float, content: list[Any]) -> None:
        match content:
            case ["begin", _, name, arguments, *_]:
                self._add(at_ms, "tools", f"{RUN} {name}", arguments)
            case ["did", _, "confirm", "returned", reply]:
                self._add(at_ms, "tools", HEARD, reply)
            case ["did", _, "say", "returned", was_heard]:
                self._add(at_ms, "tools", SAID, was_heard)
            case _:
                pass

    def _add(
        self,
        at_ms: float,
        leg: Leg,
        what: str,
        detail: object = None,
        amount_ms: float | None = None,
    ) -> None:
        self.taken.append(Decision(at_ms, leg, what, detail, amount_ms))


def ended_ms(entries: Sequence[Entry]) -> float:
    """When a call was over, and only its records were not: at its first goodbye.

    Where nobody said goodbye, the log breaks off.
    """
    goodbye = next(goodbyes(entries), len(entries) - 1)
    return entries[goodbye].at_ms if entries else 0.0


def goodbyes(entries: Sequence[Entry]) -> Iterator[int]:
    """Which entries are goodbyes of the call's own: we ended a connection, and the call with it.

    A connection to a model is no end of the call where another one goes on.
    """
    lasts = {
        entry.session: number
        for number, entry in enumerate(entries)
        if entry.place.startswith("model.") and entry.place != "model.closed"
    }
    for number, entry in enumerate(entries):
        match entry.place, entry.content:
            case ("phone.hang_up", _) | ("phone.closed", ["us", *_]):
                yield number
            case "model.closed", ["us", *_]:
                others = (last for session, last in lasts.items() if session != entry.session)
                if all(last < number for last in others):
                    yield number
            case _:
                pass


def decisions(entries: Sequence[Entry], *, until_ms: float = float("inf")) -> Decisions:
    """What a call decided.

    Args:
        entries: Its log.
        until_ms: Audio sent later than this is left out of the sums.

    """
    reader = _Reader(ended_ms(entries))
    for entry in entries:
        reader.read(entry, until_ms)
    return reader.decisions()


def differences(
    then: Decisions, now: Decisions, tolerance: Tolerance, *, until_ms: float = float("inf")
) -> tuple[Difference, ...]:
    """Where two runs of one call differ, by time.

    Args:
        then: What was decided when the log was written.
        now: What is decided today.
        tolerance: See there.
        until_ms: What only one of them decided later than this is no difference.

    """
    found: list[Difference] = []
    for leg in LEGS:
        for one in _differing(_of(then, leg, tolerance), _of(now, leg, tolerance), tolerance):
            is_pair = one.then is not None and one.now is not None
            if is_pair or leg == "call" or one.at_ms <= until_ms:
                found.append(one)
    if not any(difference.leg == "phone" for difference in found):
        found += _marks_differing(then, now)
    return tuple(sorted(found, key=lambda difference: difference.at_ms))


def _of(decided: Decisions, leg: Leg, tolerance: Tolerance) -> list[Decision]:
    """The decisions about one leg. Tools that run side by side have no order among them."""
    ordered: list[Decision] = []
    beside: list[Decision] = []
    for decision in (one for one in decided.taken if one.leg == leg):
        is_free = decision.what.startswith((RUN, RETURN, HEARD, SAID))
        if beside and not (is_free and decision.at_ms - beside[-1].at_ms <= tolerance.at_ms):
            ordered += sorted(beside, key=_name)
            beside.clear()
        (beside if is_free else ordered).append(decision)
    return ordered + sorted(beside, key=_name)


def _name(decision: Decision) -> tuple[str, str]:
    return decision.what, str(decision.detail)


def _differing(
    then: list[Decision], now: list[Decision], tolerance: Tolerance
) -> Iterator[Difference]:
    names_then, names_now = [one.what for one in then], [one.what for one in now]
    matcher = SequenceMatcher(None, names_then, names_now, autojunk=False)
    for tag, then_from, then_to, now_from, now_to in matcher.get_opcodes():
        for old, new in zip_longest(then[then_from:then_to], now[now_from:now_to]):
            if tag != "equal" or old is None or new is None:
                yield _unpaired(old, new)
            elif (difference := _compare(old, new, tolerance)) is not None:
                yield difference


def _unpaired(old: Decision | None, new: Decision | None) -> Difference:
    sides = [one for one in (old, new) if one is not None]
    return Difference(
        min(one.at_ms for one in sides),
        sides[0].leg,
        None if old is None else str(old),
        None if new is None else str(new),
    )


def _compare(old: Decision, new: Decision, tolerance: Tolerance) -> Difference | None:
    """The same thing, twice: how it differs, if it does."""
    words: list[tuple[str, str]] = []
    if old.amount_ms is not None and new.amount_ms is not None:
        usual_ms = tolerance.heard_ms if old.leg == "model" else tolerance.at_ms + 20
        apart_ms = max(usual_ms, old.apart_ms or 0)
        if abs(old.amount_ms - new.amount_ms) > apart_ms:
            words.append((f"{old.amount_ms:.0f} ms", f"{new.amount_ms:.0f} ms"))
    words += _paths(old.detail, new.detail)
    is_sum = old.what in {SENT, PASSED_ON}
    is_late = not words
    if abs(old.at_ms - new.at_ms) > tolerance.at_ms and not is_sum:
        words.append((f"at {_clock(old.at_ms)}", f"at {_clock(new.at_ms)}"))
    if not words:
        return None
    return Difference(
        old.at_ms,
        old.leg,
        f"{old.what} " + ", ".join(then for then, _ in words),
        f"{new.what} " + ", ".join(now for _, now in words),
        is_late,
    )


def _paths(old: object, new: object, where: str = "") -> Iterator[tuple[str, str]]:
    """Where two values of JSON differ, then and now."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _paths(old.get(key), new.get(key), f"{where}.{key}" if where else key)
    elif old != new:
        name = f"{where} = " if where else ""
        yield name + _shown(old), name + _shown(new)


def _shown(value: object) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= DETAIL_MAX else f"{text[:DETAIL_MAX]}... ({len(text)} characters)"


def _marks_differing(then: Decisions, now: Decisions) -> Iterator[Difference]:
    """Marks that have none near them in the other log; one per stretch of audio is enough."""
    for old, new in zip(then.marks, now.marks, strict=True):
        lost = [at for at in old if all(abs(at - other) > MARK_APART_MS for other in new)]
        more = [at for at in new if all(abs(at - other) > MARK_APART_MS for other in old)]
        if lost or more:
            yield Difference(
                0.0,
                "phone",
                f"mark behind {lost[0]:.0f} ms of audio" if lost else None,
                f"mark behind {more[0]:.0f} ms of audio" if more else None,
            )


def _clock(at_ms: float) -> str:
    return f"{at_ms / 1000:.3f} s"


def _length_ms(audio: object) -> float:
    size = base64_bytes(audio) if isinstance(audio, str) else audio
    return size / ULAW_BYTES_PER_MS if isinstance(size, int | float) else 0.0
