"""What was said and done in one call, so that another session can be told of it.

Pure: no trio, no clock. It is told what the journal is told, and never raises for it. Bounded by
its text: of a very long call, the beginning is forgotten.
"""

from __future__ import annotations

from typing import Final

import attrs

from actors.messages import (
    LOCAL,
    ULAW_BYTES_PER_MS,
    AddText,
    AgentSaid,
    BargedIn,
    CallerSaid,
    CallerTranscript,
    DeleteItem,
    ItemAudio,
    ItemAudioDone,
    ItemTranscript,
    PlayoutIdle,
    PlayoutStarted,
    RanElsewhere,
    Remembered,
    ResponseFinished,
    SessionLost,
    SpeechStarted,
    TextAdded,
    ToolAnswered,
    ToolAsked,
    ToolFinished,
    ToolsAsked,
    TruncateItem,
)
from actors.policy.transcript import divide

CHARACTERS_MAX: Final = 100_000
"""An hour of speech by both sides is about 60 000 characters, 15 000 tokens: a session's context
has room for 28 000 at the least."""

ENTRIES_MAX: Final = 2_000
"""Whatever their length: each is an event to send when a session is told of them."""

MS_PER_CHARACTER: Final = 60
"""About as fast as a person speaks: for words that came ahead of audio that never came."""

FORGOTTEN: Final = TextAdded("system", "[The beginning of this call is not known any more.]")


@attrs.define(eq=False)
class _Caller:
    item_id: str
    text: str | None = None

    @property
    def size(self) -> int:
        return len(self.text or "")

    is_open = False


@attrs.define(eq=False)
class _Agent:
    item_id: str
    text: str = ""
    received_bytes: int = 0
    is_done: bool = False
    is_lost: bool = False
    """There was to be more of it, and its session was lost."""
    cut_ms: int | None = None
    """So much of it was heard. `None`: all that came."""
    cut_text: int = 0
    """Characters that there were when it was cut."""

    @property
    def size(self) -> int:
        return len(self.text)

    is_open = False

    def heard(self) -> str:
        """The words that reached the caller, or are going to."""
        if self.cut_ms is None:
            return self.whole()
        received_ms = self.received_bytes // ULAW_BYTES_PER_MS
        return divide(self.whole(), self.cut_ms, received_ms)[0]

    def whole(self) -> str:
        """The words of all the audio that came."""
        text = self.text if self.cut_ms is None else self.text[: self.cut_text]
        if not self.is_lost:
            return text
        received_ms = self.received_bytes // ULAW_BYTES_PER_MS
        whole_ms = max(received_ms, len(text) * MS_PER_CHARACTER)
        return divide(text, received_ms, whole_ms)[0]


@attrs.define(eq=False)
class _Tool:
    asked: ToolAsked
    output: str | None = None

    @property
    def size(self) -> int:
        return len(self.asked.arguments) + len(self.output or "")

    @property
    def is_open(self) -> bool:
        return self.output is None


@attrs.define(eq=False)
class _Text:
    added: TextAdded

    @property
    def size(self) -> int:
        return len(self.added.text)

    is_open = False


_Entry = _Caller | _Agent | _Tool | _Text


@attrs.define(eq=False)
class Memory:
    """Remembers one call in the order of its conversation."""

    characters_max: int = CHARACTERS_MAX
    is_playing: bool = attrs.field(default=False, init=False)
    """Whether the caller hears the agent at this moment."""
    changes: int = attrs.field(default=0, init=False)
    """Counts what makes `items` different."""
    _entries: list[_Entry] = attrs.field(factory=list[_Entry], init=False)
    _callers: dict[str, _Caller] = attrs.field(factory=dict[str, _Caller], init=False)
    _agents: dict[str, _Agent] = attrs.field(factory=dict[str, _Agent], init=False)
    _tools: dict[str, _Tool] = attrs.field(factory=dict[str, _Tool], init=False)
    _characters: int = attrs.field(default=0, init=False)
    _has_forgotten: bool = attrs.field(default=False, init=False)

    def note(self, at_ms: int, message: object) -> None:
        """Take in a message, as `Journal.note` does. Fits `Observer`."""
        del at_ms
        self._note_speech(message)
        self._note_amends(message)
        self._note_work(message)

    def _note_speech(self, message: object) -> None:
        match message:
            case PlayoutStarted():
                self.is_playing = True
            case PlayoutIdle():
                self.is_playing = False
            case SpeechStarted(item_id):
                self._caller(item_id)
            case CallerTranscript(item_id, text):
                caller = self._caller(item_id)
                self._grow(len(text) - caller.size)
                caller.text = text
            case ItemTranscript(item_id) | ItemAudio(_, item_id) | ItemAudioDone(_, item_id):
                if not item_id.startswith(LOCAL):
                    self._hear_agent(message, self._agent(item_id))
            case _:
                pass

    def _note_amends(self, message: object) -> None:
        """How much of the agent's was heard."""
        match message:
            case BargedIn(items):
                for cut in items:
                    self._cut(cut.item_id, cut.heard_ms)
            case TruncateItem(item_id, heard_ms):
                self._cut(item_id, heard_ms)
            case DeleteItem(item_id):
                self._cut(item_id, 0)
            case SessionLost():
                for agent in self._agents.values():
                    agent.is_lost = agent.is_lost or not agent.is_done
            case _:
                pass

    def _note_work(self, message: object) -> None:
        match message:
            case ResponseFinished(tool_calls=calls) | ToolsAsked(calls):
                for call in calls:
                    self._ask(ToolAsked(call.tool_call_id, call.name, call.arguments))
            case ToolFinished(tool_call_id, _, _, output):
                self._answer(tool_call_id, output)
            case RanElsewhere(run_id, name, arguments, _, output, None):
                self._ask(ToolAsked(run_id, name, arguments))
                self._answer(run_id, output)
            case AddText(role, text):
                self._add(_Text(TextAdded(role, text)))
            case _:
                pass

    def items(self, *, without: frozenset[str] = frozenset()) -> tuple[Remembered, ...]:
        """Everything a session has to know, in order; words as the caller heard them.

        Args:
            without: Turns of the caller that it is going to hear itself.

        """
        found: list[Remembered] = [FORGOTTEN] if self._has_forgotten else []
        for entry in self._entries:
            match entry:
                case _Caller():
                    text = entry.text
                    if text != "" and entry.item_id not in without:
                        found.append(CallerSaid(text))
                case _Agent():
                    if heard := entry.heard():
                        found.append(AgentSaid(entry.item_id, heard))
                case _Tool():
                    found.append(entry.asked)
                    if entry.output is not None:
                        found.append(ToolAnswered(entry.asked.tool_call_id, entry.output))
                case _Text():
                    found.append(entry.added)
        return tuple(found)

    def agent_items(self) -> frozenset[str]:
        """Every item of the agent's that is remembered, heard or not."""
        return frozenset(self._agents)

    def heard(self, item_id: str, *, up_to_ms: int) -> str:
        """The words of an item that are in so much of its audio."""
        agent = self._agents.get(item_id)
        if agent is None:
            return ""
        received_ms = agent.received_bytes // ULAW_BYTES_PER_MS
        return divide(agent.whole(), up_to_ms, received_ms)[0]

    def cut_off(self) -> str | None:
        """What is heard of the agent's last words, if their session was lost in the middle."""
        last = next((one for one in reversed(self._entries) if not isinstance(one, _Text)), None)
        if isinstance(last, _Agent) and last.is_lost and last.cut_ms is None:
            return last.heard()
        return None

    @property
    def tools_run(self) -> bool:
        """Whether a tool call has no output yet."""
        return any(tool.is_open for tool in self._tools.values())

    def _caller(self, item_id: str) -> _Caller:
        if item_id not in self._callers:
            self._callers[item_id] = _Caller(item_id)
            self._add(self._callers[item_id])
        return self._callers[item_id]

    def _agent(self, item_id: str) -> _Agent:
        if item_id not in self._agents:
            self._agents[item_id] = _Agent(item_id)
            self._add(self._agents[item_id])
        return self._agents[item_id]

    def _hear_agent(self, message: object, agent: _Agent) -> None:
        match message:
            case ItemTranscript(_, text):
                agent.text += text
                self._grow(len(text))
            case ItemAudio(ulaw=ulaw):
                agent.received_bytes += len(ulaw)
            case _:
                agent.is_done = True

    def _cut(self, item_id: str, heard_ms: int) -> None:
        agent = self._agents.get(item_id)
        if agent is not None:
            if agent.cut_ms is None:
                agent.cut_text = agent.size
            agent.cut_ms = heard_ms
            self.changes += 1

    def _ask(self, asked: ToolAsked) -> None:
        if asked.tool_call_id not in self._tools:
            self._tools[asked.tool_call_id] = _Tool(asked)
            self._add(self._tools[asked.tool_call_id])

    def _answer(self, tool_call_id: str, output: str) -> None:
        tool = self._tools.get(tool_call_id)
        if tool is not None and tool.output is None:
            tool.output = output
            self._grow(len(output))

    def _add(self, entry: _Entry) -> None:
        self._entries.append(entry)
        self._grow(entry.size)

    def _grow(self, characters: int) -> None:
        """So much more is remembered: forget the oldest, if that is too much."""
        self.changes += 1
        self._characters += characters
        while (
            self._characters > self.characters_max or len(self._entries) > ENTRIES_MAX
        ) and self._forget():
            self._has_forgotten = True

    def _forget(self) -> bool:
        """Forget the oldest entry but the latest, and no tool that still runs."""
        for place, entry in enumerate(self._entries[:-1]):
            if not entry.is_open:
                del self._entries[place]
                self._characters -= entry.size
                for known in (self._callers, self._agents, self._tools):
                    self._unlist(known, entry)
                return True
        return False

    @staticmethod
    def _unlist(
        known: dict[str, _Caller] | dict[str, _Agent] | dict[str, _Tool], entry: _Entry
    ) -> None:
        for name, other in known.items():
            if other is entry:
                del known[name]
                return
