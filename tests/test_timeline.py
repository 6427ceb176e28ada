"""The picture of a call: always valid, and nothing that was said is missing from it."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.exits import AgentHungUp, CallerHungUp, Exit
from actors.messages import (
    AddText,
    BargedIn,
    CallerTranscript,
    ItemAudio,
    ItemCut,
    ItemHeard,
    ItemTranscript,
    KeyPressed,
    KeysSent,
    MarkEchoed,
    PlayoutStarted,
    ResponseFinished,
    ResponseStarted,
    SessionLost,
    SessionMoved,
    SpeechStarted,
    SpeechStopped,
    StreamLeft,
    StreamMoved,
    ToolFinished,
    ToolStarted,
    TransferEnded,
)
from actors.policy.journal import CallRecord, Journal
from gateway.records.timeline import STRIPS_MAX, WIDTH, WORDS_MAX, draw
from tests.facts import FACTS

SVG = "{http://www.w3.org/2000/svg}"


def recorded(
    *notes: tuple[int, object], ended_ms: int = 40_000, why: Exit | None = None
) -> CallRecord:
    journal = Journal(FACTS)
    for at_ms, message in notes:
        journal.note(at_ms, message)
    return journal.record(why or CallerHungUp(), ended_ms=ended_ms, drops={})


def exchange(at_ms: int, name: str, asked: str, answered: str) -> list[tuple[int, object]]:
    """A turn of nine seconds: two of asking, half of waiting, five of answer."""
    ask, answer, response = f"{name}?", f"{name}!", f"resp_{name}"
    return [
        (at_ms, SpeechStarted(ask, at_ms)),
        (at_ms + 2000, SpeechStopped(ask, at_ms + 2000)),
        (at_ms + 2100, ResponseStarted(response)),
        (at_ms + 2200, CallerTranscript(ask, asked)),
        (at_ms + 2400, ItemTranscript(answer, answered)),
        (at_ms + 2500, ItemAudio(response, answer, bytes(40_000))),
        (at_ms + 2500, PlayoutStarted(answer, response)),
        (at_ms + 3500, ResponseFinished(response, "completed")),
        (at_ms + 7500, MarkEchoed("m")),
        (at_ms + 7500, ItemHeard(answer, 5000, whole=True)),
    ]


def bars(svg: str, kind: str) -> list[ET.Element]:
    """What the picture has of a kind, its legend left out."""
    strips = ET.fromstring(svg).iter(f"{SVG}g")
    return [one for strip in strips for one in strip.iter() if one.get("class") == kind]


def texts(svg: str) -> str:
    return " ".join("".join(one.itertext()) for one in ET.fromstring(svg).iter(f"{SVG}text"))


def test_both_voices_are_drawn_where_they_spoke() -> None:
    svg = draw(recorded(*exchange(10_000, "a", "When?", "At nine.")))
    (caller,), (agent,) = bars(svg, "caller"), bars(svg, "agent")
    scale = (float(agent.get("x", 0)) - float(caller.get("x", 0))) / 2500

    assert float(caller.get("width", 0)) == pytest.approx(2000 * scale, abs=0.3)
    assert float(agent.get("width", 0)) == pytest.approx(5000 * scale, abs=0.3)
    assert float(caller.get("x", 0)) == pytest.approx(10_000 * scale, abs=3)


def test_what_was_said_can_be_read() -> None:
    words = texts(draw(recorded(*exchange(1000, "a", "When do you open?", "At nine."))))

    assert "When do you open?" in words
    assert "At nine." in words
    assert "0:01.0" in words
    assert "500 ms" in words


def test_the_part_that_was_never_heard_is_drawn_and_written_as_lost() -> None:
    svg = draw(
        recorded(
            (1000, PlayoutStarted("a", "r")),
            (1000, ItemTranscript("a", "one two three four")),
            (3000, BargedIn((ItemCut("a", 2000, 4000),))),
        )
    )
    lost = [one for one in ET.fromstring(svg).iter(f"{SVG}tspan") if one.get("class") == "lost"]

    assert ["".join(one.itertext()) for one in lost] == ["three four"]
    assert len(bars(svg, "unheard")) == 1
    assert len(bars(svg, "barge")) == 1
    assert "2000 of 4000 ms heard" in texts(svg)


def test_an_item_that_was_never_played_is_only_written() -> None:
    svg = draw(recorded((1000, ItemTranscript("a", "Never mind."))))

    assert bars(svg, "agent") == []
    assert "unplayed" in texts(svg)
    assert "Never mind." in texts(svg)


def test_tools_at_the_same_time_lie_below_each_other() -> None:
    svg = draw(
        recorded(
            (1000, ToolStarted("t1", "hours")),
            (1001, ToolStarted("t2", "slots")),
            (2000, ToolFinished("t1", "hours", "returned", "{}")),
            (9000, ToolFinished("t2", "slots", "timed_out", "{}")),
        )
    )

    assert len({one.get("y") for one in bars(svg, "tool")}) == 2
    assert "hours 1000 ms" in texts(svg)
    assert "slots 7999 ms" in texts(svg)


def test_what_happened_beside_the_talk_is_drawn_and_written() -> None:
    svg = draw(
        recorded(
            (1000, KeyPressed("4")),
            (1500, KeyPressed("#")),
            (9000, KeyPressed("1")),
            (14_000, AddText("system", "Nobody speaks.")),
            (19_000, StreamLeft()),
            (20_000, KeysSent("7w3")),
            (20_001, StreamMoved("MZ2")),
            (25_000, SessionLost("1011")),
            (30_000, SessionMoved("sess_2", "lost")),
            (35_000, TransferEnded("busy")),
        )
    )

    for words in (
        *("caller presses 4#", "caller presses 1", "told: Nobody speaks.", "agent presses 7w3"),
        *("session lost: 1011", "next session: lost", "transfer: busy"),
    ):
        assert words in texts(svg)
    phone, model = bars(svg, "gap")
    assert float(model.get("width", 0)) == pytest.approx(5 * float(phone.get("width", 0)), rel=0.02)


def test_a_phone_that_never_came_back_is_missing_to_the_end() -> None:
    svg = draw(recorded((30_000, StreamLeft()), ended_ms=40_000))

    (gap,) = bars(svg, "gap")
    assert float(gap.get("width", 0)) == pytest.approx(float(gap.get("x", 0)) / 3, abs=0.3)


def test_events_at_one_moment_are_all_there_to_be_pointed_at() -> None:
    svg = draw(recorded(*[(1000 + n, TransferEnded(f"outcome{n}")) for n in range(5)]))

    tips = ["".join(one.itertext()) for one in bars(svg, "event")]
    assert [f"outcome{n}" in tip for n, tip in enumerate(tips)] == [True] * 5


def test_a_failed_response_looks_like_one() -> None:
    svg = draw(
        recorded((1000, ResponseStarted("r")), (2000, ResponseFinished("r", "failed", "quota")))
    )

    assert len(bars(svg, "failed")) == 1
    assert bars(svg, "response") == []


def test_the_ending_stands_at_the_top() -> None:
    record = recorded(why=AgentHungUp("done", goodbye_heard=True))

    assert "ended by the agent (AgentHungUp)" in texts(draw(record))


def test_an_hour_is_laid_out_in_strips_and_stays_as_wide_as_a_page() -> None:
    notes = [note for turn in range(400) for note in exchange(turn * 9000, f"{turn}", "a", "b")]
    svg = draw(recorded(*notes, ended_ms=3_600_000))
    root = ET.fromstring(svg)

    assert root.get("width") == str(WIDTH)
    assert len(list(root.iter(f"{SVG}g"))) == 60
    assert len(svg) < 2_000_000


def test_a_voice_goes_on_in_the_next_strip() -> None:
    notes = [(58_000, PlayoutStarted("a", "r")), (63_000, ItemHeard("a", 5000, whole=True))]
    strips = bars(draw(recorded(*notes, ended_ms=120_000)), "agent")

    assert len(strips) == 2
    assert float(strips[1].get("x", 1)) == 0


def test_a_day_long_call_is_drawn_up_to_a_bound() -> None:
    root = ET.fromstring(draw(recorded(ended_ms=24 * 3_600_000)))

    assert len(list(root.iter(f"{SVG}g"))) == STRIPS_MAX


def test_a_call_of_a_thousand_words_a_second_is_written_up_to_a_bound() -> None:
    notes = [(10 + n, ItemTranscript(f"item{n}", f"word{n}")) for n in range(WORDS_MAX + 7)]

    assert "and 7 more, in call.json" in texts(draw(recorded(*notes)))


def test_an_empty_call_has_a_picture() -> None:
    ET.fromstring(draw(recorded(ended_ms=0)))


@pytest.mark.parametrize(
    "attack",
    [
        "</text><script>alert(1)</script>",
        "<![CDATA[ ]]> & &lt; &#0;",
        "\"' onload='alert(1)",
        "\0\x0b\ud800\uffff\x1b[31m",
    ],
)
def test_nothing_that_is_said_becomes_markup(attack: str) -> None:
    """Callers, models, carriers and tools all write into this file."""
    record = recorded(
        *exchange(1000, attack, attack, attack),
        (20_000, ToolStarted(attack, attack)),
        (20_100, ToolFinished(attack, attack, "failed", attack)),
        (21_000, TransferEnded(attack)),
        (22_000, KeyPressed(attack)),
    )
    record = attrs.evolve(
        record, call_sid=attack, from_number=attack, agent=attack, model=attack, started_at=attack
    )
    root = ET.fromstring(draw(record))

    kinds = {one.tag.removeprefix(SVG) for one in root.iter()}
    assert kinds <= {
        *("svg", "title", "style", "defs", "pattern", "rect", "g", "path", "text", "tspan")
    }
    names = {name for one in root.iter() for name in one.attrib}
    assert not {name for name in names if name.startswith("on") or "href" in name}


NAMES = st.sampled_from(["a", "b", "c"])
MS = st.integers(0, 400_000)
NOTES = st.one_of(
    st.builds(SpeechStarted, NAMES, MS),
    st.builds(SpeechStopped, NAMES, MS),
    st.builds(CallerTranscript, NAMES, st.text(max_size=20)),
    st.builds(ItemTranscript, NAMES, st.text(max_size=20)),
    st.builds(PlayoutStarted, NAMES, NAMES),
    st.builds(ItemHeard, NAMES, MS, st.booleans()),
    st.builds(ResponseStarted, NAMES),
    st.builds(ResponseFinished, NAMES, st.sampled_from(["completed", "failed"])),
    st.builds(ToolStarted, NAMES, NAMES),
    st.builds(ToolFinished, NAMES, NAMES, st.just("returned"), st.text(max_size=9)),
    st.builds(BargedIn, st.lists(st.builds(ItemCut, NAMES, MS, MS), max_size=2).map(tuple)),
    st.builds(MarkEchoed, NAMES),
    st.builds(KeyPressed, NAMES),
    st.builds(TransferEnded, st.text(max_size=20)),
    st.builds(SessionLost, NAMES),
    st.builds(SessionMoved, NAMES, NAMES),
    st.builds(StreamLeft),
    st.builds(StreamMoved, NAMES),
)


@given(st.lists(st.tuples(MS, NOTES), max_size=25), MS)
@settings(deadline=None)
def test_whatever_happened_in_a_call_it_has_a_valid_picture(
    notes: list[tuple[int, object]], ended_ms: int
) -> None:
    root = ET.fromstring(draw(recorded(*notes, ended_ms=ended_ms)))

    for one in root.iter(f"{SVG}rect"):
        assert float(one.get("width", 0)) > 0
