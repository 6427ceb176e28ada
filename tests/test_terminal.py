from __future__ import annotations

import io
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from actors import exits, messages
from actors.exits import AgentHungUp, CallerHungUp, Crashed, Exit, PeerLost
from actors.messages import (
    BargedIn,
    CallerTranscript,
    HangupAsked,
    ItemAudioDone,
    ItemCut,
    ItemHeard,
    ItemTranscript,
    KeyPressed,
    OrderRefused,
    PlayoutStarted,
    ResponseFinished,
    SessionLive,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    ToolFinished,
    ToolStarted,
)
from gateway.terminal import TerminalView


class Screen:
    """A view that writes into memory, as into a pipe unless told that it is a terminal."""

    def __init__(
        self, *, is_terminal: bool = False, silence_ms: int = 0, encoding: str = "utf-8"
    ) -> None:
        self._bytes = io.BytesIO()
        self._file = io.TextIOWrapper(self._bytes, encoding=encoding, write_through=True)
        console = Console(
            file=self._file,
            force_terminal=is_terminal,
            color_system="standard" if is_terminal else None,
            width=60 if is_terminal else None,
            highlight=False,
            _environ={},
        )
        self._encoding = encoding
        self.view = TerminalView(console, silence_ms=silence_ms)

    def shows(self, *pairs: tuple[int, object]) -> list[str]:
        for at_ms, message in pairs:
            self.view.show(at_ms, message)
        return self.lines()

    def lines(self) -> list[str]:
        return self._bytes.getvalue().decode(self._encoding).splitlines()


def test_the_agents_words_come_in_one_line_when_they_begin_to_play() -> None:
    lines = Screen().shows(
        (1000, ItemTranscript("item_1", "Hello, ")),
        (1010, ItemTranscript("item_1", "this is Acme.")),
        (1040, PlayoutStarted("item_1", "resp_1")),
        (1400, ItemAudioDone("resp_1", "item_1")),
        (3000, ItemHeard("item_1", 1960, whole=True)),
    )

    assert lines == ["   +1.40 s  agent     “Hello, this is Acme.”"]


def test_an_item_that_waits_behind_another_is_written_when_its_turn_comes() -> None:
    screen = Screen()
    waiting = screen.shows(
        (1000, ItemTranscript("item_2", "Second.")), (1100, ItemAudioDone("resp_1", "item_2"))
    )
    assert waiting == []

    assert screen.shows((4000, PlayoutStarted("item_2", "resp_1"))) == [
        "   +4.00 s  agent     “Second.”"
    ]


def test_the_caller_speaks_and_is_quoted_when_the_words_are_known() -> None:
    lines = Screen().shows(
        (12_340, SpeechStarted("item_3", 10_000)),
        (13_500, SpeechStopped("item_3", 11_100)),
        (13_700, CallerTranscript("item_3", "  Are you\nopen?\x1b[31m ")),
        (14_000, KeyPressed("#")),
    )

    assert lines == [
        "  +12.34 s  caller    speaks …",
        "  +13.70 s  caller    “Are you open? [31m”",
        "  +14.00 s  caller    presses #",
    ]


def test_the_latency_of_an_answer_counts_from_when_the_caller_really_stopped() -> None:
    lines = Screen(silence_ms=500).shows(
        (10_500, SpeechStopped("item_1", 0)),
        (10_412, PlayoutStarted("item_2", "resp_1")),
        (10_658, ItemHeard("item_2", 160, whole=False)),
        (10_820, ItemHeard("item_2", 320, whole=False)),
    )

    assert lines == ["  +10.66 s  turn      caller stopped → first audio 412 ms → heard 498 ms"]


def test_a_greeting_answers_nobody_and_has_no_latency() -> None:
    lines = Screen().shows(
        (500, PlayoutStarted("item_1", "resp_1")), (700, ItemHeard("item_1", 160, whole=False))
    )

    assert lines == []


def test_a_barge_in_says_what_was_heard_of_which_item() -> None:
    lines = Screen().shows(
        (1000, ItemTranscript("item_1", "A long story")),
        (1000, PlayoutStarted("item_1", "resp_1")),
        (
            2240,
            BargedIn((ItemCut("item_1", 1240, 3900), ItemCut("item_2", 0, 800))),
        ),
    )

    assert lines == [
        "   +2.24 s  agent     “A long story”",
        "   +2.24 s  barge-in  heard 1 240 of 3 900 ms of item_1, rest unheard",
        "   +2.24 s  barge-in  heard 0 of 800 ms of item_2, all of it unheard",
    ]


def test_a_tool_is_shown_as_a_call_with_its_result_and_its_time() -> None:
    call = ToolCall("call_1", "opening_hours", '{"day": "Tuesday", "week": 7}')
    lines = Screen().shows(
        (1000, ResponseFinished("resp_1", "completed", tool_calls=(call,))),
        (1001, ToolStarted("call_1", "opening_hours")),
        (
            1013,
            ToolFinished("call_1", "opening_hours", "returned", '{"from": 9}'),
        ),
    )

    assert lines == [
        '   +1.01 s  tool      opening_hours(day=Tuesday, week=7) → {"from": 9}  12 ms'
    ]


def test_a_tool_that_never_ran_says_why() -> None:
    lines = Screen().shows((5, ToolFinished("call_9", "fly", "refused", '{"error": "no"}')))

    assert lines == ['   +0.01 s  tool      fly(…) → refused: {"error": "no"}']


def test_arguments_that_are_no_json_are_shown_as_they_are_and_shortened() -> None:
    call = ToolCall("call_1", "f", '{"day": "' + "x" * 200)
    (line,) = Screen().shows(
        (0, ResponseFinished("resp_1", "cancelled", tool_calls=(call,))),
        (0, ToolFinished("call_1", "f", "interrupted", "{}")),
    )

    assert line.endswith("x…) → interrupted: {}")
    assert len(line) < 120


def test_what_else_matters_has_a_line_each() -> None:
    lines = Screen().shows(
        (150, SessionLive("sess_1")),
        (200, OrderRefused("response_cancel_not_active")),
        (300, ResponseFinished("resp_1", "failed", "rate_limit_exceeded")),
        (400, HangupAsked("call_1", "all questions answered", "resp_1")),
        (500, messages.StreamStopped()),
    )

    assert lines == [
        "   +0.15 s  session   live: sess_1",
        "   +0.20 s  refused   by the session: response_cancel_not_active",
        "   +0.30 s  response  failed: rate_limit_exceeded",
        "   +0.40 s  hang-up   the agent asks for it: all questions answered",
        "   +0.50 s  carrier   the stream is over",
    ]


def test_what_moves_a_call_about_has_a_line_each() -> None:
    lines = Screen().shows(
        (100, messages.SessionLost("1011")),
        (900, messages.SessionMoved("sess_2", "lost")),
        (1000, messages.AddText("system", "Nobody\nspeaks.")),
        (1100, messages.AddText("user", "[The caller pressed 1 on the keypad.]")),
        (1200, messages.ChangeSession("You are a pirate.", "de")),
        (2000, messages.StreamLeft()),
        (3000, messages.KeysSent("7w3")),
        (3000, messages.StreamMoved("MZ2")),
        (4000, messages.TransferEnded("busy")),
    )

    assert lines == [
        "   +0.10 s  session   lost (1011); another one is being opened",
        "   +0.90 s  session   goes on in sess_2: lost",
        "   +1.00 s  session   told: Nobody speaks.",
        "   +1.20 s  session   changed: speak de; You are a pirate.",
        "   +2.00 s  carrier   takes the call elsewhere",
        "   +3.00 s  agent     presses 7w3",
        "   +3.00 s  carrier   is back, on another stream",
        "   +4.00 s  transfer  busy",
    ]


def test_the_end_says_why_and_where_the_records_lie() -> None:
    screen = Screen()
    screen.view.show(41_200, messages.StreamStopped())
    screen.view.ended(AgentHungUp("goodbye", goodbye_heard=True), Path("calls/CA1"))

    assert screen.lines()[1:] == [
        "  +41.20 s  ended     the agent hung up, its goodbye was heard: goodbye",
        "  +41.20 s  records   calls/CA1",
    ]


@pytest.mark.parametrize(
    ("why", "words"),
    [
        (CallerHungUp(), "the caller hung up"),
        (AgentHungUp("x", goodbye_heard=False), "its goodbye was NOT heard: x"),
        (PeerLost("session", 1011, "timeout"), "the session was lost (1011): timeout"),
        (PeerLost("session", 1011, ""), "the session was lost (1011)"),
        (PeerLost("carrier", None, "silent"), "the carrier was lost: silent"),
        (Crashed("tools", "ValueError: x"), "a bug in tools: ValueError: x"),
        (exits.Refused("quota", "no money"), "the session was refused (quota): no money"),
        (exits.Stalled("turn", 7), "lane turn was full at 7"),
        (exits.TimedOut(3600.0), "its longest allowed length, 3600 s"),
        (exits.TimedOut(90.5, "cost"), "had cost as much as it may after 90.5 s"),
        (exits.Transferred(), "the caller was connected to somebody else"),
        (exits.Killed(), "the gateway was told to stop"),
    ],
)
def test_every_ending_is_told_in_words(why: Exit, words: str) -> None:
    screen = Screen()
    screen.view.ended(why)

    assert screen.lines()[0].endswith(words)


def test_every_ending_was_tried() -> None:
    tried = {CallerHungUp, AgentHungUp, PeerLost, Crashed}
    tried |= {exits.Refused, exits.Stalled, exits.TimedOut, exits.Transferred, exits.Killed}
    assert set(get_args(Exit)) == tried


@pytest.mark.parametrize(
    "message", [None, object(), 7, messages.Clear(), messages.CallerAudio("", b"", 0), ItemHeard]
)
def test_what_is_not_worth_a_line_is_ignored(message: object) -> None:
    assert Screen().shows((0, message)) == []


def test_a_terminal_gets_colour_and_long_lines_are_indented() -> None:
    lines = Screen(is_terminal=True).shows((100, CallerTranscript("item_1", "words " * 20)))

    assert "\x1b[36m" in lines[0]
    assert len(lines) > 1
    assert lines[1].replace("\x1b[36m", "").startswith(" " * 22 + "words")


def test_a_terminal_that_knows_only_ascii_shows_what_it_can() -> None:
    lines = Screen(encoding="ascii").shows((100, CallerTranscript("item_1", "Grüße")))

    assert lines == ["   +0.10 s  caller    ?Gr??e?"]


@settings(deadline=None)
@given(st.text(), st.text(), st.text(), st.integers(0, 10**7))
def test_no_words_of_a_peer_break_the_view(text: str, item_id: str, json: str, at_ms: int) -> None:
    """Terminal escapes, markup, lone surrogates: a line is one line, and it is printable."""
    call = ToolCall(item_id, text, json)
    lines = Screen().shows(
        (at_ms, CallerTranscript(item_id, text)),
        (at_ms, ItemTranscript(item_id, text + "[bold]")),
        (at_ms, PlayoutStarted(item_id, text)),
        (at_ms, ItemHeard(item_id, 1, whole=True)),
        (at_ms, ResponseFinished(text, "failed", text, tool_calls=(call,))),
        (at_ms, ToolFinished(item_id, text, "returned", json)),
        (at_ms, BargedIn((ItemCut(item_id, 1, 2),))),
        (at_ms, HangupAsked(item_id, text, item_id)),
    )

    assert len(lines) == 6
    assert all(line.isprintable() for line in lines)
