"""The journal of a call: what its end record says about what happened."""

from __future__ import annotations

import tracemalloc

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import messages
from actors.exits import AgentHungUp, CallerHungUp
from actors.messages import (
    AppendAudio,
    BargedIn,
    CallerAudio,
    CallerTranscript,
    Clear,
    HangupAsked,
    ItemAudio,
    ItemAudioDone,
    ItemCut,
    ItemHeard,
    ItemTranscript,
    KeyPressed,
    Mark,
    MarkEchoed,
    OrderRefused,
    Play,
    PlayoutIdle,
    PlayoutStarted,
    ResponseFinished,
    ResponseStarted,
    SessionLive,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    ToolFinished,
    ToolStarted,
    Usage,
)
from actors.policy.journal import CallRecord, Journal
from actors.policy.record import CutItem, Said, TurnRecord
from tests.facts import FACTS


def told(*notes: tuple[int, object], journal: Journal | None = None) -> CallRecord:
    """Tell a journal of a call that lasted 60 s, and take its record."""
    journal = Journal(FACTS) if journal is None else journal
    for at_ms, message in notes:
        journal.note(at_ms, message)
    return journal.record(CallerHungUp(), ended_ms=60_000, drops={})


def audio(item_id: str, ms: int) -> ItemAudio:
    return ItemAudio("resp_1", item_id, bytes(ms * 8))


def only(record: CallRecord) -> Said:
    (said,) = record.transcript
    return said


def test_a_record_names_the_call_and_its_ending() -> None:
    journal = Journal(FACTS)
    why = AgentHungUp("all done", goodbye_heard=True)
    record = journal.record(why, ended_ms=1234, drops={"speech": 3})

    assert attrs.asdict(FACTS).items() <= attrs.asdict(record).items()
    assert (record.ending, record.duration_ms, record.drops) == (why, 1234, {"speech": 3})


def test_the_caller_is_put_where_they_spoke_when_their_words_come_after_the_answer() -> None:
    """A recogniser that is not the model is slower than the model."""
    record = told(
        (1000, SpeechStarted("ask", 900)),
        (2500, SpeechStopped("ask", 2400)),
        (3000, PlayoutStarted("answer", "resp_1")),
        (3100, ItemTranscript("answer", "At nine.")),
        (9000, CallerTranscript("ask", "When do you open?")),
    )

    assert [(said.who, said.text) for said in record.transcript] == [
        ("caller", "When do you open?"),
        ("agent", "At nine."),
    ]


def test_a_caller_whose_words_never_came_still_spoke() -> None:
    said = only(told((1000, SpeechStarted("ask", 0)), (2000, SpeechStopped("ask", 1000))))

    assert (said.began_ms, said.ended_ms, said.text) == (1000, 2000, None)


def test_a_caller_who_still_spoke_at_the_end_has_no_end() -> None:
    assert only(told((1000, SpeechStarted("ask", 0)))).ended_ms is None


def test_the_silence_window_is_not_part_of_speech() -> None:
    record = told(
        (1000, SpeechStarted("ask", 0)),
        (3000, SpeechStopped("ask", 2000)),
        journal=Journal(FACTS, silence_ms=500),
    )

    assert only(record).ended_ms == 2500
    assert record.turns[0].caller_stopped_ms == 2500


def test_positions_in_the_sessions_audio_are_put_on_the_calls_clock() -> None:
    """The session's first byte was the call's 700th ms, and its facts came 300 ms late."""
    record = told(
        (1300, SpeechStarted("ask", 300)),
        (3500, SpeechStopped("ask", 2500)),
        journal=Journal(FACTS, silence_ms=500, padding_ms=200, session_clock=lambda ms: ms + 700),
    )

    assert (only(record).began_ms, only(record).ended_ms) == (1200, 2700)


def test_nobody_is_heard_before_they_spoke() -> None:
    """Two clocks may disagree; the arrival of a fact bounds what it tells."""
    record = told(
        (1000, SpeechStarted("ask", 0)),
        (1500, SpeechStopped("ask", 0)),
        journal=Journal(FACTS, session_clock=lambda ms: ms + 90_000),
    )

    assert (only(record).began_ms, only(record).ended_ms) == (1000, 1500)


def test_an_interrupted_item_is_divided_between_the_words_where_it_was_cut() -> None:
    said = only(
        told(
            (0, ItemTranscript("a", "one two ")),
            (0, ItemTranscript("a", "three four")),
            (0, audio("a", 4000)),
            (100, PlayoutStarted("a", "resp_1")),
            (900, ItemHeard("a", 800, whole=False)),
            (2100, BargedIn((ItemCut("a", heard_ms=2000, received_ms=4000),))),
        )
    )

    assert (said.heard, said.unheard) == ("one two", "three four")
    assert (said.heard_ms, said.received_ms, said.interrupted) == (2000, 4000, True)
    assert (said.began_ms, said.ended_ms) == (100, 2100)


def test_marks_that_come_after_a_cut_are_not_heard() -> None:
    """After `clear` the carrier echoes every mark, of played audio or not."""
    said = only(
        told(
            (100, PlayoutStarted("a", "resp_1")),
            (2100, BargedIn((ItemCut("a", 2000, 4000),))),
            (2150, ItemHeard("a", 4000, whole=True)),
            (2200, PlayoutIdle(by_mark=True)),
        )
    )

    assert said.heard_ms == 2000


def test_words_and_audio_that_come_after_a_cut_are_unheard() -> None:
    """The session was still speaking when the caller was not listening any more."""
    said = only(
        told(
            (0, ItemTranscript("a", "one two")),
            (100, PlayoutStarted("a", "resp_1")),
            (1100, BargedIn((ItemCut("a", 1000, 1000),))),
            (1200, ItemTranscript("a", " three")),
            (1200, audio("a", 9000)),
        )
    )

    assert (said.heard, said.unheard, said.received_ms) == ("one two", "three", 1000)


def test_an_item_that_was_never_played_stands_behind_what_came_before_it() -> None:
    record = told(
        (0, audio("a", 3000)),
        (50, ItemTranscript("a", "First.")),
        (100, audio("b", 1000)),
        (150, ItemTranscript("b", "Second.")),
        (400, PlayoutStarted("a", "resp_1")),
        (1400, SpeechStarted("ask", 0)),
        (1400, BargedIn((ItemCut("a", 1000, 3000), ItemCut("b", 0, 1000)))),
    )

    assert [said.item_id for said in record.transcript] == ["a", "b", "ask"]
    second = record.transcript[1]
    assert (second.began_ms, second.heard, second.unheard) == (None, "", "Second.")
    assert second.interrupted


def test_an_item_that_arrived_and_never_played_was_not_interrupted() -> None:
    said = only(told((0, audio("a", 500)), (0, ItemTranscript("a", "Hello?"))))

    assert (said.unheard, said.received_ms, said.interrupted) == ("Hello?", 500, False)


def test_an_item_heard_to_its_last_mark_is_heard_whole() -> None:
    """Even when its last mark tells a few ms less than was received."""
    said = only(
        told(
            (0, audio("a", 1010)),
            (0, ItemTranscript("a", "Good morning.")),
            (10, PlayoutStarted("a", "resp_1")),
            (1100, ItemHeard("a", 1000, whole=True)),
        )
    )

    assert (said.heard, said.unheard, said.ended_ms) == ("Good morning.", "", 1100)


def test_an_item_whose_marks_were_lost_is_heard_by_the_clock() -> None:
    said = only(
        told(
            (0, audio("a", 1000)),
            (0, ItemTranscript("a", "Good morning.")),
            (10, PlayoutStarted("a", "resp_1")),
            (20, ItemAudioDone("resp_1", "a")),
            (1500, PlayoutIdle(by_mark=False)),
        )
    )

    assert (said.heard_ms, said.heard, said.ended_ms) == (1000, "Good morning.", 1500)


def test_a_call_that_ends_in_the_middle_of_a_sentence_says_what_was_heard_of_it() -> None:
    said = only(
        told(
            (58_000, audio("a", 4000)),
            (58_000, ItemTranscript("a", "one two three four")),
            (58_000, PlayoutStarted("a", "resp_1")),
            (59_900, ItemHeard("a", 2000, whole=False)),
        )
    )

    assert (said.heard, said.unheard, said.interrupted) == ("one two", "three four", False)


def test_a_turn_is_timed_from_the_end_of_speech_to_first_audio_and_first_mark() -> None:
    record = told(
        (1000, SpeechStarted("ask", 0)),
        (3000, SpeechStopped("ask", 2000)),
        (3050, ResponseStarted("resp_1")),
        (3400, PlayoutStarted("a", "resp_1")),
        (3650, ItemHeard("a", 200, whole=False)),
        (3850, ItemHeard("a", 400, whole=False)),
        journal=Journal(FACTS, silence_ms=500),
    )

    assert record.turns == (
        TurnRecord(caller_stopped_ms=2500, first_audio_ms=900, first_heard_ms=950, item_id="ask"),
    )


def test_the_tail_of_an_older_response_is_no_answer() -> None:
    record = told(
        (500, ResponseStarted("old")),
        (1000, SpeechStarted("ask", 0)),
        (2000, SpeechStopped("ask", 1000)),
        (2100, PlayoutStarted("tail", "old")),
        (2200, ResponseStarted("new")),
        (2600, PlayoutStarted("answer", "new")),
    )

    assert [turn.first_audio_ms for turn in record.turns] == [600]


def test_a_caller_who_goes_on_was_not_answered_the_first_time() -> None:
    record = told(
        (1000, SpeechStarted("well", 0)),
        (2000, SpeechStopped("well", 1000)),
        (2100, SpeechStarted("ask", 1100)),
        (3000, SpeechStopped("ask", 2000)),
        (3300, PlayoutStarted("answer", "resp_1")),
    )

    assert [turn.first_audio_ms for turn in record.turns] == [None, 300]


def test_a_greeting_answers_nobody() -> None:
    assert told((300, PlayoutStarted("hello", "resp_1"))).turns == ()


def test_a_tool_call_is_told_from_the_asking_to_its_output() -> None:
    record = told(
        (1000, ResponseFinished("r", "completed", tool_calls=(ToolCall("t", "hours", "{}"),))),
        (1010, ToolStarted("t", "hours")),
        (1500, ToolFinished("t", "hours", "returned", '{"open": 8}')),
    )

    (run,) = record.tool_calls
    assert attrs.astuple(run) == ("t", "hours", "{}", '{"open": 8}', "returned", 1010, 1500)


def test_a_tool_that_outlived_the_call_has_no_outcome() -> None:
    (run,) = told((1010, ToolStarted("t", "hours"))).tool_calls

    assert (run.outcome, run.finished_ms, run.output) == (None, None, None)


def test_responses_and_their_bill_are_summed() -> None:
    record = told(
        (100, ResponseStarted("r1", "greeting")),
        (900, ResponseFinished("r1", "completed", usage=Usage(10, 20, 3, 4, 5, 6))),
        (1000, ResponseStarted("r2")),
        (1900, ResponseFinished("r2", "cancelled", "turn_detected", usage=Usage(1, 1, 1, 1, 1, 1))),
        (2000, ResponseStarted("r3")),
    )

    assert record.usage == Usage(11, 21, 4, 5, 6, 7)
    assert [(one.purpose, one.started_ms, one.status, one.reason) for one in record.responses] == [
        ("greeting", 100, "completed", None),
        (None, 1000, "cancelled", "turn_detected"),
        (None, 2000, None, None),
    ]


def test_a_barge_in_keeps_every_cut() -> None:
    (cut,) = told((70, BargedIn((ItemCut("a", 5, 9), ItemCut("b", 0, 4))))).barge_ins

    assert cut.at_ms == 70
    assert cut.items == (
        CutItem(item_id="a", heard_ms=5, received_ms=9),
        CutItem(item_id="b", heard_ms=0, received_ms=4),
    )


def test_other_moments_are_kept_as_they_came() -> None:
    record = told(
        (5, SessionLive("sess_1")),
        (10, KeyPressed("5")),
        (20, Clear()),
        (30, HangupAsked(tool_call_id="t", response_id="r", reason="done")),
    )

    assert [(one.at_ms, one.what, one.detail) for one in record.moments] == [
        (5, "SessionLive", "sess_1"),
        (10, "KeyPressed", "5"),
        (20, "Clear", ""),
        (30, "HangupAsked", "done"),
    ]
    assert record.session_id == "sess_1"


def test_refused_orders_are_counted_by_code() -> None:
    record = told((1, OrderRefused("x")), (2, OrderRefused("x")), (3, OrderRefused("y")))

    assert record.refused_orders == {"x": 2, "y": 1}


def test_audio_and_marks_are_counted() -> None:
    record = told(
        (0, CallerAudio("", bytes(160), 0)),
        (0, AppendAudio("/" * 427 + "=")),
        (0, audio("a", 40)),
        (0, Play(bytes(320))),
        (0, Mark("m")),
        (90, MarkEchoed("m")),
        (91, ItemHeard("a", 40, whole=True)),
    )

    assert attrs.astuple(record.audio) == (20, 40, 40, 40, 160, 320, 320, 320)
    assert attrs.astuple(record.marks) == (1, 1, (91,))


def test_a_mark_that_came_back_from_an_empty_buffer_is_not_in_the_picture() -> None:
    """It measures the line, and says nothing about what was heard."""
    assert told((0, Mark("probe")), (90, MarkEchoed("probe"))).marks.heard_at_ms == ()


def test_an_item_cannot_change_sides() -> None:
    record = told(
        (10, SpeechStarted("x", 0)), (20, PlayoutStarted("x", "r")), (30, ItemTranscript("x", "no"))
    )

    assert (only(record).who, only(record).text) == ("caller", None)


def test_an_observer_sees_every_note() -> None:
    seen: list[tuple[int, object]] = []
    told(
        (1, Mark("m")),
        (2, Clear()),
        journal=Journal(FACTS, observer=lambda at_ms, message: seen.append((at_ms, message))),
    )

    assert seen == [(1, Mark("m")), (2, Clear())]


def test_an_observer_that_raises_is_told_no_more_and_hurts_nobody() -> None:
    calls: list[int] = []

    def broken(at_ms: int, _message: object) -> None:
        calls.append(at_ms)
        raise RuntimeError("the terminal went away")

    record = told(
        (1, KeyPressed("1")), (2, KeyPressed("2")), journal=Journal(FACTS, observer=broken)
    )

    assert calls == [1]
    assert len(record.moments) == 2


def test_a_busy_hour_stays_under_one_mebibyte_and_leaves_nothing_out() -> None:
    """A turn every nine seconds with a tool, sixteen words a turn, and every mark."""
    tracemalloc.start()
    try:
        journal = Journal(FACTS)
        for turn in range(400):
            at_ms, item, response = turn * 9000, f"item_{turn:020}", f"resp_{turn:020}"
            journal.note(at_ms, SpeechStarted(f"{item}c", at_ms))
            journal.note(at_ms + 2000, SpeechStopped(f"{item}c", at_ms + 2000))
            journal.note(at_ms + 2100, ResponseStarted(response))
            journal.note(at_ms + 2200, CallerTranscript(f"{item}c", "some words of talk " * 4))
            journal.note(at_ms + 2500, PlayoutStarted(item, response))
            for part in range(20):
                journal.note(at_ms + 2500, ItemTranscript(item, "word "))
                journal.note(at_ms + 2600, ItemAudio(response, item, bytes(1600)))
                journal.note(at_ms + 2500 + part * 200, MarkEchoed(f"{item}:{part}"))
                journal.note(at_ms + 2500 + part * 200, ItemHeard(item, part * 200, whole=False))
            call = ToolCall(f"call_{turn}", "look_up", '{"day": "Tuesday"}')
            journal.note(at_ms + 2800, ResponseFinished(response, "completed", tool_calls=(call,)))
            journal.note(at_ms + 3000, ToolFinished(call.tool_call_id, "look_up", "returned", "{}"))
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    record = journal.record(CallerHungUp(), ended_ms=3_600_000, drops={})

    assert used < 1024 * 1024
    assert (record.left_out.entries, record.left_out.characters) == (0, 0)
    assert len(record.marks.heard_at_ms) <= 1001


@pytest.mark.parametrize("text", ["x", "é", "日", "😀"])
def test_whatever_comes_in_memory_stays_bounded(text: str) -> None:
    """Every list full, and the text as wide as Python stores it."""
    tracemalloc.start()
    try:
        journal = Journal(FACTS)
        for number in range(3000):
            name = f"i{number}"
            call = ToolCall(name, name, text * 400)
            for message in (
                ItemTranscript(name, text * 400),
                SpeechStopped(f"c{number}", 0),
                PlayoutStarted(name, name),
                BargedIn((ItemCut(name, 1, 2),)),
                ResponseFinished(name, "completed", tool_calls=(call,)),
                KeyPressed("1"),
                OrderRefused(name),
            ):
                journal.note(number * 1000, message)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    record = journal.record(CallerHungUp(), ended_ms=3_600_000, drops={})

    assert used < 2 * 1024 * 1024
    assert record.left_out.entries > 0
    assert record.left_out.characters > 0


VALUES = st.integers(0, 5000)
NAMES = st.sampled_from(["a", "b", "c"])
NOTES = st.one_of(
    st.builds(SpeechStarted, NAMES, VALUES),
    st.builds(SpeechStopped, NAMES, VALUES),
    st.builds(CallerTranscript, NAMES, st.text(max_size=20)),
    st.builds(ItemTranscript, NAMES, st.text(max_size=20)),
    st.builds(audio, NAMES, VALUES),
    st.builds(ItemAudioDone, NAMES, NAMES),
    st.builds(PlayoutStarted, NAMES, NAMES),
    st.builds(ItemHeard, NAMES, VALUES, st.booleans()),
    st.builds(PlayoutIdle, st.booleans()),
    st.builds(ResponseStarted, NAMES),
    st.builds(
        BargedIn,
        st.lists(st.builds(ItemCut, NAMES, VALUES, VALUES), min_size=1, max_size=2).map(tuple),
    ),
)


@given(st.lists(st.tuples(st.integers(0, 60_000), NOTES), max_size=30))
def test_whatever_order_things_come_in_no_word_is_lost_or_doubled(
    notes: list[tuple[int, object]],
) -> None:
    for said in told(*notes).transcript:
        if said.who == "agent":
            assert said.heard is not None
            assert said.unheard is not None
            words = "".join((said.heard + said.unheard).split())
            assert words == "".join((said.text or "").split())
            assert said.heard_ms is not None
            assert said.received_ms is not None
            assert said.heard_ms <= said.received_ms
        if said.began_ms is not None and said.ended_ms is not None and said.who == "caller":
            assert said.began_ms <= said.ended_ms


def test_every_message_there_is_can_be_noted() -> None:
    """A message nobody thought about is shown to the observer, and changes nothing else."""
    kinds = [kind for kind in vars(messages).values() if attrs.has(kind)]
    samples = {"int": 1, "bytes": b"\xff", "bool": True, "tuple": ()}
    journal = Journal(FACTS)
    for kind in kinds:
        types = [str(one.type) for one in attrs.fields(kind) if one.default is attrs.NOTHING]
        values = [samples.get(name.partition("[")[0], "completed") for name in types]
        journal.note(5, kind(*values))
    journal.note(6, object())

    assert journal.record(CallerHungUp(), ended_ms=10, drops={}).left_out.entries == 0
