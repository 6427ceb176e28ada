"""One call, live in the terminal: a line for everything that a listener would want to know.

Lines and not a full screen, so that it reads as well in a log or a pipe as on a screen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from actors.exits import (
    AgentHungUp,
    CallerHungUp,
    Crashed,
    Exit,
    Killed,
    PeerLost,
    Refused,
    Stalled,
    TimedOut,
    Transferred,
)
from actors.messages import (
    AddText,
    BargedIn,
    CallerTranscript,
    ChangeSession,
    HangupAsked,
    ItemAudioDone,
    ItemCut,
    ItemHeard,
    ItemTranscript,
    KeyPressed,
    KeysSent,
    OrderRefused,
    PlayoutStarted,
    ResponseFinished,
    ResponseStarted,
    SessionLive,
    SessionLost,
    SessionMoved,
    SpeechStarted,
    SpeechStopped,
    StreamLeft,
    StreamMoved,
    StreamStopped,
    ToolCall,
    ToolFinished,
    ToolStarted,
    TransferEnded,
)

ARGUMENTS_MOST: Final = 60
"""Characters of a tool's arguments; the record has all of them."""
OUTPUT_MOST: Final = 100

_WHO_WIDTH: Final = 8
_STYLES: Final = {
    "agent": "green",
    "caller": "cyan",
    "tool": "magenta",
    "barge-in": "bold yellow",
    "turn": "dim",
    "session": "dim",
    "refused": "red",
    "response": "red",
    "hang-up": "yellow",
    "transfer": "yellow",
    "ended": "bold",
}


@attrs.define(eq=False)
class _Item:
    """One of the agent's items, until its line is written."""

    text: str = ""
    is_playing: bool = False
    is_complete: bool = False


@attrs.define(eq=False)
class TerminalView:
    """Writes a line for every message worth reading. Any other message is ignored.

    Args:
        console: Where to write; standard output if not given, in colour if it is a terminal.
        silence_ms: The session's silence window: a caller stopped that long before it says so.

    """

    console: Console = attrs.field(factory=lambda: Console(highlight=False))
    silence_ms: int = 0
    _items: dict[str, _Item] = attrs.field(factory=dict[str, _Item], init=False)
    _calls: dict[str, ToolCall] = attrs.field(factory=dict[str, ToolCall], init=False)
    _tools_began_ms: dict[str, int] = attrs.field(factory=dict[str, int], init=False)
    _stopped_ms: int | None = attrs.field(default=None, init=False)
    """When the caller stopped speaking, until somebody answered."""
    _answer: tuple[str, int, int] | None = attrs.field(default=None, init=False)
    """The item that answers, when its playout began, and when the caller had stopped."""
    _last_ms: int = attrs.field(default=0, init=False)

    def show(self, at_ms: int, message: object) -> None:
        """Write what `message` means, if it means something to a listener.

        Args:
            at_ms: When, in ms since the call began.
            message: Anything of `actors.messages`, or anything else.

        """
        self._last_ms = at_ms
        match message:
            case ToolStarted() | ToolFinished() | ResponseFinished() | ResponseStarted():
                self._show_work(at_ms, message)
            case ItemTranscript() | ItemAudioDone() | PlayoutStarted() | ItemHeard() | BargedIn():
                self._show_agent(at_ms, message)
            case SpeechStarted() | SpeechStopped() | CallerTranscript() | KeyPressed():
                self._show_caller(at_ms, message)
            case SessionLive() | SessionLost() | SessionMoved() | AddText() | ChangeSession():
                self._show_session(at_ms, message)
            case StreamLeft() | StreamMoved() | KeysSent() | TransferEnded() | StreamStopped():
                self._show_carrier(at_ms, message)
            case HangupAsked(reason=reason):
                self._line(at_ms, "hang-up", f"the agent asks for it: {reason}")
            case OrderRefused(code):
                self._line(at_ms, "refused", f"by the session: {code}")
            case _:
                pass  # Audio, marks, orders: the record has what matters of them.

    def ended(self, why: Exit, folder: Path | None = None) -> None:
        """Write how the call ended, and where its records lie."""
        self._line(self._last_ms, "ended", _told(why))
        if folder is not None:
            self._line(self._last_ms, "records", str(folder))

    def _show_session(
        self,
        at_ms: int,
        message: SessionLive | SessionLost | SessionMoved | AddText | ChangeSession,
    ) -> None:
        match message:
            case SessionLive(session_id):
                self._line(at_ms, "session", f"live: {session_id}")
            case SessionLost(code):
                what = f"lost ({code}); another one is being opened"
                self._line(at_ms, "session", what, style="bold red")
            case SessionMoved(session_id, cause):
                self._line(at_ms, "session", f"goes on in {session_id}: {cause}")
            case AddText("system", text):
                self._line(at_ms, "session", f"told: {_shortened(text, OUTPUT_MOST)}")
            case ChangeSession(instructions, language):
                words = f"speak {language}; " if language is not None else ""
                words += _shortened(instructions or "", OUTPUT_MOST)
                self._line(at_ms, "session", f"changed: {words.removesuffix('; ')}")
            case AddText():
                pass  # The caller's keys, which have lines of their own.

    def _show_carrier(
        self,
        at_ms: int,
        fact: StreamLeft | StreamMoved | KeysSent | TransferEnded | StreamStopped,
    ) -> None:
        match fact:
            case StreamLeft():
                self._line(at_ms, "carrier", "takes the call elsewhere", style="dim")
            case StreamMoved():
                self._line(at_ms, "carrier", "is back, on another stream", style="dim")
            case KeysSent(digits):
                self._line(at_ms, "agent", f"presses {digits}")
            case TransferEnded(outcome):
                self._line(at_ms, "transfer", outcome)
            case StreamStopped():
                self._line(at_ms, "carrier", "the stream is over")

    def _show_caller(
        self, at_ms: int, fact: SpeechStarted | SpeechStopped | CallerTranscript | KeyPressed
    ) -> None:
        match fact:
            case SpeechStarted():
                self._stopped_ms = None
                self._line(at_ms, "caller", "speaks …", style="dim")
            case SpeechStopped():
                self._stopped_ms = at_ms - self.silence_ms
            case CallerTranscript(_, text):
                self._line(at_ms, "caller", _quoted(text))
            case KeyPressed(digit):
                self._line(at_ms, "caller", f"presses {digit}")

    def _show_agent(
        self,
        at_ms: int,
        fact: ItemTranscript | ItemAudioDone | PlayoutStarted | ItemHeard | BargedIn,
    ) -> None:
        match fact:
            case ItemTranscript(item_id, text):
                self._item(item_id).text += text
            case ItemAudioDone(_, item_id):
                self._item(item_id).is_complete = True
                self._say_item(at_ms, item_id)
            case PlayoutStarted(item_id):
                self._item(item_id).is_playing = True
                if self._stopped_ms is not None:
                    self._answer, self._stopped_ms = (item_id, at_ms, self._stopped_ms), None
                self._say_item(at_ms, item_id)
            case ItemHeard(item_id, heard_ms, whole):
                self._show_latency(at_ms, item_id, heard_ms)
                if whole:
                    self._item(item_id).is_complete = True
                    self._say_item(at_ms, item_id)
                    self._items.pop(item_id, None)
            case BargedIn(items):
                self._show_barge_in(at_ms, items)

    def _show_work(
        self,
        at_ms: int,
        fact: ToolStarted | ToolFinished | ResponseFinished | ResponseStarted,
    ) -> None:
        match fact:
            case ToolStarted(tool_call_id):
                self._tools_began_ms[tool_call_id] = at_ms
            case ToolFinished():
                self._show_tool(at_ms, fact)
            case ResponseFinished(_, status, reason, tool_calls):
                self._calls.update((call.tool_call_id, call) for call in tool_calls)
                if status in {"failed", "incomplete"}:
                    self._line(at_ms, "response", f"{status}: {reason or 'no reason given'}")
            case ResponseStarted():
                pass

    def _show_tool(self, at_ms: int, done: ToolFinished) -> None:
        began_ms = self._tools_began_ms.pop(done.tool_call_id, None)
        call = self._calls.pop(done.tool_call_id, None)
        took = "" if began_ms is None else f"  {_grouped(at_ms - began_ms)} ms"
        outcome = "" if done.outcome == "returned" else f"{done.outcome}: "
        arguments = _arguments(call.arguments) if call is not None else "…"
        output = _shortened(done.output, OUTPUT_MOST)
        self._line(at_ms, "tool", f"{done.name}({arguments}) → {outcome}{output}{took}")

    def _show_barge_in(self, at_ms: int, items: tuple[ItemCut, ...]) -> None:
        for cut in items:
            item = self._items.get(cut.item_id)
            if item is not None and cut.heard_ms:
                item.is_complete = True
                self._say_item(at_ms, cut.item_id)
            self._items.pop(cut.item_id, None)
            heard, received = _grouped(cut.heard_ms), _grouped(cut.received_ms)
            rest = "rest unheard" if cut.heard_ms else "all of it unheard"
            self._line(
                at_ms, "barge-in", f"heard {heard} of {received} ms of {cut.item_id}, {rest}"
            )
        self._answer = None

    def _show_latency(self, at_ms: int, item_id: str, heard_ms: int) -> None:
        if self._answer is None or self._answer[0] != item_id:
            return
        _, began_ms, stopped_ms = self._answer
        self._answer = None
        audio, heard = _grouped(began_ms - stopped_ms), _grouped(at_ms - heard_ms - stopped_ms)
        self._line(at_ms, "turn", f"caller stopped → first audio {audio} ms → heard {heard} ms")

    def _item(self, item_id: str) -> _Item:
        return self._items.setdefault(item_id, _Item())

    def _say_item(self, at_ms: int, item_id: str) -> None:
        """Write the agent's words once they are complete and beginning to be heard."""
        item = self._item(item_id)
        if item.is_playing and item.is_complete and item.text:
            self._line(at_ms, "agent", _quoted(item.text))
            item.text = ""

    def _line(self, at_ms: int, who: str, what: str, style: str | None = None) -> None:
        time = f"{f'+{at_ms / 1000:.2f} s':>10}"
        what = self._printable(what)
        style = style or _STYLES.get(who, "")
        if not self.console.is_terminal:
            self.console.print(Text(f"{time}  {who:<{_WHO_WIDTH}}  {what}"), soft_wrap=True)
            return
        row = Table.grid(padding=(0, 2))
        row.add_column(no_wrap=True)
        row.add_column(no_wrap=True, width=_WHO_WIDTH)
        row.add_column(overflow="fold")
        row.add_row(Text(time, "dim"), Text(who, style), Text(what, style))
        self.console.print(row)

    def _printable(self, text: str) -> str:
        """Only what this terminal can show: a model's words may hold anything."""
        text = "".join(char if char.isprintable() else " " for char in text)
        encoding = self.console.encoding
        return text.encode(encoding, "replace").decode(encoding)


def _told(why: Exit) -> str:
    """Say in words why the call ended."""
    match why:
        case CallerHungUp():
            return "the caller hung up"
        case AgentHungUp(reason, goodbye_heard):
            heard = "its goodbye was heard" if goodbye_heard else "its goodbye was NOT heard"
            return f"the agent hung up, {heard}: {reason}"
        case Transferred():
            return "the caller was connected to somebody else"
        case PeerLost(peer, code, reason):
            told = f": {reason}" if reason else ""
            return f"the {peer} was lost{'' if code is None else f' ({code})'}{told}"
        case Refused(code, message):
            return f"the session was refused ({code}): {message}"
        case Stalled(lane, size):
            return f"the gateway stopped keeping up: lane {lane} was full at {size}"
        case Crashed(actor, error):
            return f"a bug in {actor}: {error}"
        case TimedOut(limit_s, "cost"):
            return f"the call had cost as much as it may after {limit_s:g} s"
        case TimedOut(limit_s):
            return f"the call reached its longest allowed length, {limit_s:g} s"
        case Killed():
            return "the gateway was told to stop"


def _quoted(text: str) -> str:
    return f"“{' '.join(text.split())}”"


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _shortened(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"


def _arguments(text: str) -> str:
    """Write JSON arguments as a call has them: `day=Tuesday`."""
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError:
        values = None
    if isinstance(values, dict):
        text = ", ".join(f"{name}={_argument(value)}" for name, value in values.items())
    return _shortened(text, ARGUMENTS_MOST)


def _argument(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
