"""The ledger by itself and against a naive one; how well it guesses is in `test_heard`."""

from __future__ import annotations

from itertools import pairwise

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actors.messages import FRAME_BYTES, ULAW_BYTES_PER_MS, ULAW_SILENCE, ItemCut, ItemHeard
from actors.policy.playout import (
    DEAD_RESPONSES,
    LEAD_MS,
    MARK_EVERY_BYTES,
    PORTION_BYTES,
    QUEUED_MAX_BYTES,
    Playout,
    Portion,
)

SECOND = 1_000 * ULAW_BYTES_PER_MS


def voice(size: int) -> bytes:
    """Audio without silence in it, and not two frames alike."""
    return bytes(number % 251 for number in range(size))


def due(playout: Playout, now_ms: float) -> list[Portion]:
    """Everything that is due now."""
    portions = []
    while (portion := playout.take(now_ms=now_ms)) is not None:
        portions.append(portion)
    return portions


def played(playout: Playout, until_ms: float, from_ms: float = 0.0) -> list[Portion]:
    """Everything that gets due in a while, taken when it is."""
    portions = []
    now_ms = from_ms
    while now_ms <= until_ms:
        portions += due(playout, now_ms)
        now_ms += 20
    return portions


def marks(portions: list[Portion]) -> list[str]:
    return [portion.mark for portion in portions if portion.mark is not None]


def spoken(item_ids: str = "a", size: int = SECOND, *, done: bool = True) -> Playout:
    """A ledger with items of one response in it, all received at once."""
    playout = Playout()
    playout.head.probed(0.0)
    playout.response_started("r")
    for item_id in item_ids:
        playout.received("r", item_id, voice(size))
        if done:
            playout.item_done(item_id)
    return playout


def test_audio_goes_out_a_little_ahead_of_the_head_and_no_further() -> None:
    playout = spoken()
    portions = due(playout, 0.0)

    assert (
        sum(len(portion.ulaw) for portion in portions)
        == LEAD_MS * ULAW_BYTES_PER_MS + PORTION_BYTES
    )
    assert playout.due_ms() == PORTION_BYTES / ULAW_BYTES_PER_MS
    assert due(playout, 39.0) == []
    assert len(due(playout, 40.0)) == 1


def test_what_is_played_is_what_was_received_and_begins_with_its_item() -> None:
    playout = spoken("ab", 1_000)
    portions = played(playout, 500)

    for item_id in "ab":
        mine = [portion for portion in portions if portion.item_id == item_id]
        assert b"".join(c.ulaw for c in mine) == voice(1_000) + ULAW_SILENCE * (-1_000 % 160)
        assert [portion.first for portion in mine] == [True] + [False] * (len(mine) - 1)


def test_only_whole_frames_go_out_until_the_item_is_done() -> None:
    playout = spoken(size=250, done=False)

    assert [len(portion.ulaw) for portion in due(playout, 0.0)] == [160]
    assert playout.due_ms() is None
    playout.item_done("a")
    (last,) = due(playout, 0.0)
    assert last.ulaw == voice(250)[160:] + ULAW_SILENCE * 70


@pytest.mark.parametrize("size", [1, 159, 160, 161, 320, 321])
def test_an_items_last_frame_is_padded_and_its_padding_is_not_counted(size: int) -> None:
    playout = spoken(size=size)
    portions = due(playout, 0.0)

    assert sum(len(portion.ulaw) for portion in portions) == -(-size // FRAME_BYTES) * FRAME_BYTES
    assert playout.echoed(marks(portions)[-1], now_ms=99) == (
        ItemHeard("a", size // ULAW_BYTES_PER_MS, whole=True),
    )
    assert playout.idle


def test_marks_go_out_every_200_ms_and_behind_each_item() -> None:
    playout = spoken("ab", SECOND + 10)
    portions = played(playout, 3_000)
    positions = []
    sent = 0
    for portion in portions:
        sent += len(portion.ulaw)
        if portion.mark is not None:
            positions.append(sent)

    assert all(b - a <= MARK_EVERY_BYTES + PORTION_BYTES for a, b in pairwise([0, *positions]))
    assert len(positions) == 2 * 6
    for item_id in "ab":
        assert [portion.mark for portion in portions if portion.item_id == item_id][-1] is not None


def test_a_done_that_comes_after_the_last_audio_gets_a_mark_of_its_own() -> None:
    playout = spoken(size=320, done=False)
    (portion,) = due(playout, 0.0)
    assert portion.mark is None
    assert due(playout, 1_000.0) == []
    playout.item_done("a")
    (last,) = due(playout, 1_000.0)

    assert (last.ulaw, last.first) == (b"", False)
    assert last.mark is not None
    assert playout.echoed(last.mark, now_ms=1_000) == (ItemHeard("a", 40, whole=True),)


def test_a_mark_put_behind_silence_says_nothing_about_the_carriers_lag() -> None:
    """It comes straight back, long after the audio before it was played."""
    playout = spoken(size=3_200, done=False)
    played(playout, 400)
    playout.item_done("a")
    (last,) = due(playout, 5_000.0)
    playout.echoed(last.mark or "", now_ms=5_000)

    assert playout.head.lag_ms == 0


def test_an_item_without_audio_is_nothing_to_wait_for() -> None:
    playout = spoken(size=0)
    (portion,) = due(playout, 0.0)

    assert portion.ulaw == b""
    assert playout.echoed(portion.mark or "", now_ms=9) == (ItemHeard("a", 0, whole=True),)
    assert playout.idle


def test_a_done_without_audio_is_forgotten() -> None:
    playout = Playout()
    playout.item_done("a")

    assert playout.idle
    assert playout.due_ms() is None


def test_items_are_played_one_after_the_other_however_they_arrive() -> None:
    """The second one's audio arrives before the first one's end."""
    playout = spoken("abab", 400, done=False)
    playout.response_finished("r")
    portions = played(playout, 600)

    assert [portion.item_id for portion in portions] == sorted(
        portion.item_id for portion in portions
    )
    assert b"".join(c.ulaw for c in portions if c.item_id == "b") == voice(400) * 2
    playout.echoed(marks(portions)[-1], now_ms=999)
    assert playout.idle


def test_an_item_that_is_not_done_holds_back_the_next() -> None:
    playout = spoken("a", 320, done=False)
    playout.received("r", "b", voice(320))

    assert [portion.item_id for portion in due(playout, 0.0)] == ["a"]
    playout.item_done("a")
    assert [portion.item_id for portion in due(playout, 0.0)] == ["a", "b"]


def test_an_echo_stands_for_those_before_it_and_counts_once() -> None:
    playout = spoken("ab", 3_200)
    names = marks(played(playout, 800))

    assert playout.echoed(names[-1], now_ms=1_000) == (
        ItemHeard("a", 400, whole=True),
        ItemHeard("b", 400, whole=True),
    )
    for name in [*names, "m0", "", "elsewhere"]:
        assert playout.echoed(name, now_ms=1_100) == ()


def test_more_audio_behind_an_items_end_is_played_too() -> None:
    """A second part of the item: it ends twice, and is heard as a whole once."""
    playout = spoken(size=320)
    (first,) = due(playout, 0.0)
    playout.received("r", "a", voice(160))
    (second,) = due(playout, 0.0)

    assert playout.echoed(first.mark or "", now_ms=40) == (ItemHeard("a", 40, whole=False),)
    assert playout.echoed(second.mark or "", now_ms=60) == (ItemHeard("a", 60, whole=True),)
    assert playout.idle


def test_more_audio_behind_an_items_end_is_heard_by_its_last_echo_alone() -> None:
    playout = spoken(size=320)
    due(playout, 0.0)
    playout.received("r", "a", voice(160))
    (second,) = due(playout, 0.0)

    assert playout.echoed(second.mark or "", now_ms=60) == (ItemHeard("a", 60, whole=True),)


@pytest.mark.parametrize(
    ("now_ms", "items"),
    [
        pytest.param(0.0, (ItemCut("a", 0, 1_000), ItemCut("b", 0, 1_000)), id="at-its-start"),
        pytest.param(999.0, (ItemCut("a", 999, 1_000), ItemCut("b", 0, 1_000)), id="in-the-first"),
        pytest.param(1_000.0, (ItemCut("b", 0, 1_000),), id="between"),
        pytest.param(1_250.0, (ItemCut("b", 250, 1_000),), id="in-the-second"),
        pytest.param(2_000.0, (), id="at-its-end"),
    ],
)
def test_items_are_cut_where_the_head_is(now_ms: float, items: tuple[ItemCut, ...]) -> None:
    playout = spoken("ab")
    played(playout, now_ms)
    cut = playout.cut(now_ms=now_ms)

    assert cut.items == items
    assert cut.dropped_bytes == 2 * SECOND - now_ms * ULAW_BYTES_PER_MS
    assert (cut.at_ms, playout.idle, playout.due_ms()) == (now_ms, True, None)


def test_what_is_heard_of_an_item_that_goes_on_is_cut_even_when_it_was_all_there_is() -> None:
    """The session is making more of it at this moment."""
    playout = spoken(size=320, done=False)
    due(playout, 0.0)

    assert playout.cut(now_ms=500).items == (ItemCut("a", 40, 40),)


def test_what_never_reached_the_wire_was_not_heard() -> None:
    playout = spoken()
    sent = sum(len(portion.ulaw) for portion in due(playout, 0.0))

    assert playout.cut(now_ms=5_000, unsent_bytes=sent - 320).items == (ItemCut("a", 40, 1_000),)


def test_echoes_after_a_cut_teach_nothing() -> None:
    playout = spoken()
    names = marks(due(playout, 0.0))
    playout.cut(now_ms=100)
    playout.received("s", "b", voice(SECOND))

    assert [playout.echoed(name, now_ms=110) for name in names] == [()] * len(names)
    assert playout.head.lag_ms == 0


def test_mark_names_are_never_used_twice() -> None:
    playout = spoken("abc")
    names = marks(played(playout, 1_000))
    playout.cut(now_ms=1_000)
    playout.received("s", "d", voice(SECOND))
    names += [*marks(played(playout, 2_000, 1_000)), playout.new_name()]

    assert len(names) == len(set(names))


def test_a_cut_response_is_dead_and_its_late_items_are_news_once() -> None:
    playout = spoken("ab")
    due(playout, 0.0)
    playout.cut(now_ms=100)

    assert playout.is_dead("r")
    assert not playout.is_dead("s")
    assert [playout.late(item_id) for item_id in "abcc"] == [False, False, True, False]


def test_a_response_without_audio_yet_can_be_killed_too() -> None:
    playout = Playout()
    playout.kill_active()
    playout.response_started("r")
    playout.kill_active()
    playout.response_finished("r")
    playout.response_started("s")

    assert (playout.is_dead("r"), playout.is_dead("s")) == (True, False)


def test_a_finished_response_cannot_be_killed_by_speech_after_it() -> None:
    playout = Playout()
    playout.response_started("r")
    playout.response_finished("r")
    playout.kill_active()

    assert not playout.is_dead("r")


def test_the_end_of_another_response_is_not_the_end_of_this_one() -> None:
    playout = spoken(size=320, done=False)
    playout.response_finished("other")
    playout.kill_active()

    assert playout.is_dead("r")


@pytest.mark.parametrize(("later", "known"), [(DEAD_RESPONSES - 1, True), (DEAD_RESPONSES, False)])
def test_dead_responses_are_remembered_for_a_while(later: int, known: bool) -> None:
    playout = Playout()
    for number in range(later + 1):
        playout.response_started(f"r{number}")
        playout.kill_active()

    assert playout.is_dead("r0") == known


def test_five_minutes_are_taken_in_and_not_a_byte_more() -> None:
    playout = Playout()

    assert playout.received("r", "a", bytes(QUEUED_MAX_BYTES - 1))
    assert playout.received("r", "b", b"\x00")
    assert not playout.received("r", "b", b"\x00")
    assert not playout.received("r", "c", b"\x00")


def test_there_is_room_again_for_other_items_when_some_was_played() -> None:
    playout = Playout()
    playout.received("r", "a", bytes(QUEUED_MAX_BYTES))
    playout.received("r", "b", b"\x00")
    due(playout, 0.0)

    assert not playout.received("r", "b", b"\x00")  # It has a hole: what follows is no use.
    assert playout.received("r", "c", b"\x00")


def test_what_was_clipped_is_cut_even_when_all_that_was_taken_in_was_heard() -> None:
    """The session believes that there was more."""
    playout = Playout()
    playout.received("r", "a", bytes(QUEUED_MAX_BYTES - 320))
    playout.received("r", "b", bytes(320))
    playout.received("r", "b", bytes(320))
    playout.response_finished("r")
    played(playout, 300_500)

    assert playout.cut(now_ms=400_000).items == (ItemCut("b", 40, 40),)


def test_an_overdue_mark_is_given_up_and_the_clock_believed() -> None:
    playout = spoken(size=SECOND)
    assert playout.overdue_ms(500.0) is None
    names = marks(played(playout, 1_000))

    assert playout.overdue_ms(500.0) == 1_500
    playout.give_up_on_marks()
    assert playout.idle
    assert playout.overdue_ms(500.0) is None
    assert playout.echoed(names[-1], now_ms=1_600) == ()


@attrs.define(eq=False)
class Model:
    """One item of the naive ledger."""

    response_id: str
    received: bytes = b""
    sent: bytes = b""
    done: bool = False
    pieces: list[tuple[int, int]] = attrs.field(factory=list[tuple[int, int]])
    """Where in all that was sent each piece lies, and how long it is without padding."""

    def heard(self, position: int) -> int:
        return sum(min(size, max(0, position - start)) for start, size in self.pieces)


@attrs.frozen
class LiveMark:
    """A mark of which an echo may teach something."""

    name: str
    item_id: str
    item_bytes: int
    last: bool


class Ledger(RuleBasedStateMachine):
    """A session, a carrier that echoes what it likes, and callers who interrupt."""

    @initialize(round_trip_ms=st.integers(0, 200))
    def begin(self, round_trip_ms: int) -> None:
        self.playout = Playout()
        self.playout.head.probed(round_trip_ms)
        self.now_ms = 0.0
        self.items: dict[str, Model] = {}
        self.live: list[LiveMark] = []
        self.names: list[str] = []
        self.all_received = self.all_heard = self.all_cut = self.sent = self.unmarked = 0
        self.numbered = 0
        self.response = "r0"
        self.playout.response_started("r0")

    def item(self, back: int) -> str:
        return f"i{max(0, self.numbered - back)}"

    @rule(size=st.integers(0, 5_000), back=st.integers(-1, 2))
    def audio(self, size: int, back: int) -> None:
        """More of one of the latest items, in whatever order; or of a new one."""
        self.numbered += back == -1
        item_id = self.item(max(0, back))
        response_id = self.items[item_id].response_id if item_id in self.items else self.response
        if self.playout.is_dead(response_id):
            return
        if item_id not in self.items and back != -1:
            return  # It was heard, or cut: nothing more comes of it.
        model = self.items.setdefault(item_id, Model(response_id))
        if model.done:
            return
        ulaw = voice(size)
        assert self.playout.received(response_id, item_id, ulaw)
        model.received += ulaw
        self.all_received += size

    @rule(back=st.integers(0, 2))
    def item_done(self, back: int) -> None:
        item_id = self.item(back)
        self.playout.item_done(item_id)
        if item_id in self.items:
            self.items[item_id].done = True

    @rule()
    def next_response(self) -> None:
        self.playout.response_finished(self.response)
        for model in self.items.values():
            model.done = model.done or model.response_id == self.response
        self.response = f"r{int(self.response[1:]) + 1}"
        self.playout.response_started(self.response)
        self.numbered += 1

    @rule(ms=st.sampled_from([0, 1, 20, 37, 200, 1_000]))
    def time(self, ms: int) -> None:
        until_ms = self.now_ms + ms
        while True:
            for portion in due(self.playout, self.now_ms):
                self.carry(portion)
            due_ms = self.playout.due_ms()
            if due_ms is None or due_ms > until_ms:
                break
            self.now_ms = max(due_ms, self.now_ms)
        self.now_ms = until_ms

    def carry(self, portion: Portion) -> None:
        model = self.items[portion.item_id]
        assert next(iter(self.unsent())) == portion.item_id
        assert len(portion.ulaw) % FRAME_BYTES == 0
        assert len(portion.ulaw) <= PORTION_BYTES
        assert portion.starts_ms <= self.now_ms + LEAD_MS + self.playout.head.lag_ms
        assert portion.response_id == model.response_id
        assert portion.first == (not model.sent)
        rest = model.received[len(model.sent) :]
        audio = rest[: len(portion.ulaw)]
        padding = len(portion.ulaw) - len(audio)
        assert portion.ulaw == audio + ULAW_SILENCE * padding
        assert padding < FRAME_BYTES
        assert not padding or model.done
        model.pieces.append((self.sent, len(audio)))
        model.sent += audio
        self.sent += len(portion.ulaw)
        self.unmarked += len(portion.ulaw)
        ended = model.done and model.sent == model.received
        assert (portion.mark is not None) == (ended or self.unmarked >= MARK_EVERY_BYTES)
        if portion.mark is not None:
            assert portion.mark not in self.names
            self.unmarked = 0
            self.names.append(portion.mark)
            self.live.append(LiveMark(portion.mark, portion.item_id, len(model.sent), last=ended))

    def unsent(self) -> list[str]:
        """Items with something to send, were it only their last mark, in the order of playout."""
        return [
            item_id
            for item_id, model in self.items.items()
            if not model.done
            or model.sent != model.received
            or not any(mark.last and mark.item_id == item_id for mark in self.live)
        ] or [""]

    @rule(data=st.data(), stray=st.booleans())
    def echo(self, data: st.DataObject, stray: bool) -> None:
        """Of any mark there ever was: early, late, out of order, again; or of none."""
        name = "stray" if stray or not self.names else data.draw(st.sampled_from(self.names))
        heard = self.playout.echoed(name, now_ms=self.now_ms)
        expected: dict[str, ItemHeard] = {}
        while any(name == mark.name for mark in self.live):
            _, item_id, size, last = attrs.astuple(self.live.pop(0))
            model = self.items[item_id]
            later = any(item_id == mark.item_id for mark in self.live)
            whole = last and size == len(model.received) and not later
            expected[item_id] = ItemHeard(item_id, size // ULAW_BYTES_PER_MS, whole)
            if whole:
                self.all_heard += len(model.received)
                del self.items[item_id]
        assert heard == tuple(expected.values())

    @rule(unsent=st.integers(0, 12))
    def interrupt(self, unsent: int) -> None:
        """The caller speaks; a few frames may not have reached the wire."""
        unsent_bytes = min(unsent * FRAME_BYTES, self.sent)
        position = min(self.sent - unsent_bytes, self.playout.head.position(now_ms=self.now_ms))
        self.playout.kill_active()
        cut = self.playout.cut(now_ms=self.now_ms, unsent_bytes=unsent_bytes)
        expected = []
        for item_id, model in self.items.items():
            heard = model.heard(position)
            assert heard <= len(model.sent) <= len(model.received)
            if not (model.done and heard == len(model.received)):
                expected.append(ItemCut(item_id, heard // 8, len(model.received) // 8))
            self.all_heard += heard
            self.all_cut += len(model.received) - heard
            assert self.playout.is_dead(model.response_id)
        assert cut.items == tuple(expected)
        queued = sum(len(model.received) - len(model.sent) for model in self.items.values())
        assert cut.dropped_bytes == queued + self.sent - position
        assert self.playout.is_dead(self.response)
        self.items.clear()
        self.live.clear()
        self.unmarked = 0
        self.numbered += 1
        assert due(self.playout, self.now_ms) == []

    @rule(lost=st.booleans())
    def give_up(self, lost: bool) -> None:
        """When nothing is left to send; as the actor does when the last mark is overdue."""
        overdue_ms = self.playout.overdue_ms(2_000.0)
        assert (overdue_ms is None) == (not self.items or self.unsent() != [""])
        if overdue_ms is not None and lost:
            self.now_ms = max(self.now_ms, overdue_ms)
            self.playout.give_up_on_marks()
            self.all_heard += sum(len(model.received) for model in self.items.values())
            self.items.clear()
            self.live.clear()

    @invariant()
    def nothing_is_lost_and_nothing_made_up(self) -> None:
        if hasattr(self, "playout"):
            assert self.playout.idle == (not self.items)
            assert self.playout.head.sent_bytes == self.sent
            pending = sum(len(model.received) for model in self.items.values())
            assert self.all_received == self.all_heard + self.all_cut + pending


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
