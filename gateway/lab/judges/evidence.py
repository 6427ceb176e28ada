"""What was seen of each call of a simulated gateway at its own ends of the lines. No judgement.

Everything is on trio's clock, in seconds. Audio is kept until the call has been judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from math import inf
from typing import Any

import attrs

from actors.exits import Exit
from actors.policy.record import CallRecord
from gateway.lab.faults.fault_plan import Strike
from gateway.lab.faults.faulty_ports import FaultyRecorder, FaultyTools
from gateway.lab.judges.seen_move import MoveSeen
from gateway.lab.judges.seen_session import SessionSeen
from gateway.lab.judges.seen_stream import StreamSeen
from gateway.lab.judges.tagged_voice import Run, TaggedVoice, read
from gateway.lab.openai.progress import Progress
from gateway.lab.simulator.workload import SimulatedCall
from gateway.lab.twilio.call_report import CallReport
from gateway.lab.twilio.phone import Phone
from gateway.lab.twilio.twiml_reader import ConnectStream, TwimlFault, read_twiml


@attrs.define(eq=False, kw_only=True)
class CallSeen:
    """One call, from the first ring to the last word."""

    call: SimulatedCall
    call_sid: str
    agent_voice: TaggedVoice
    caller_voice: TaggedVoice
    tools: FaultyTools
    rang_s: float
    longest_s: float
    """That the gateway allows."""
    recorder: FaultyRecorder | None = attrs.field(default=None, init=False)
    """`None`: the call never began."""
    told_to_stop_s: float | None = attrs.field(default=None, init=False)
    """When the gateway was told to stop, if that was before the call was over."""
    jumped_s: float = attrs.field(default=0.0, init=False)
    """How much time was skipped while it was going on."""
    jumped_at_s: float = attrs.field(default=0.0, init=False)
    """When that was, the last time."""
    streams: list[StreamSeen] = attrs.field(factory=list[StreamSeen], init=False)
    sessions: list[SessionSeen] = attrs.field(factory=list[SessionSeen], init=False)
    progress: Progress = attrs.field(factory=Progress, init=False)
    """Of what the model has to say, over all its sessions."""
    attempts: int = attrs.field(default=0, init=False)
    """Attempts to connect to the model."""
    tokens: list[str] = attrs.field(factory=list[str], init=False)
    """Every stream token that was given out, oldest first."""
    moves: list[MoveSeen] = attrs.field(factory=list[MoveSeen], init=False)
    """Every time that Twilio was asked to let it go on elsewhere."""
    phone: Phone | None = attrs.field(default=None, init=False)
    told_over_s: float | None = attrs.field(default=None, init=False)
    """When the status callback said that it is over."""
    answers: list[bytes] = attrs.field(factory=list[bytes], init=False)
    """What the voice webhook answered, each time."""
    began_s: float | None = attrs.field(default=None, init=False)
    """The gateway began to run the call."""
    over_s: float | None = attrs.field(default=None, init=False)
    """It was done with it, its record included."""
    ending: Exit | None = attrs.field(default=None, init=False)
    """`None`: it was cancelled, or never began."""
    report: CallReport | None = attrs.field(default=None, init=False)
    """The phone's."""
    heard: list[tuple[float, Run]] = attrs.field(factory=list[tuple[float, Run]], init=False)
    """What the phone played, with the time in ms since the stream was opened."""
    records: list[CallRecord] = attrs.field(factory=list[CallRecord], init=False)
    finished_s: float | None = attrs.field(default=None, init=False)
    """The phone was done too."""

    @property
    def is_running(self) -> bool:
        """Whether the gateway still holds anything of it."""
        return self.open_sockets > 0 or (self.began_s is not None and self.over_s is None)

    @property
    def open_sockets(self) -> int:
        """Sockets of it that the gateway still has."""
        streams = sum(stream.done_s is None for stream in self.streams)
        return streams + sum(session.done_s is None for session in self.sessions)

    def says_itself(self, words: str | None) -> bytes:
        """A line of the gateway's own, in the voice of this call."""
        return self.agent_voice(words or "")

    def hang_up(self, report: CallReport) -> None:
        """Take over what the phone knows, once it is done."""
        self.heard = [
            (piece.at_ms + run.at_ms, run) for piece in report.heard for run in read(piece.ulaw)
        ]
        self.report = attrs.evolve(report, heard=())

    def given_out(self, document: bytes) -> None:
        """Take down the tokens of a document that the gateway wrote."""
        with suppress(TwimlFault):
            for verb in read_twiml(document, "text/xml"):
                if isinstance(verb, ConnectStream):
                    self.tokens += dict(verb.parameters).values()

    def left_s(self, stream: StreamSeen) -> float:
        """When Twilio took this stream away to move the call; never: infinity."""
        return min(
            (one.at_s for one in self.moves if one.obeyed and one.at_s > stream.opened_s),
            default=inf,
        )

    def is_away(self, at_s: float) -> bool:
        """Whether it had no stream then, because it was being moved."""
        before = [stream for stream in self.streams if stream.opened_s <= at_s]
        return bool(before) and all(self.left_s(stream) < at_s for stream in before)

    def forget_audio(self) -> None:
        """Keep what is small."""
        for stream in self.streams:
            stream.played.forget()
        for session in self.sessions:
            session.appended.forget()


@attrs.frozen(kw_only=True)
class NodeReport:
    """A whole simulated gateway, after its end."""

    calls: tuple[CallSeen, ...]
    """In the order of their numbers."""
    violations: tuple[str, ...]
    """What was found wrong with each call when it ended: its audio is gone since."""
    events: tuple[Mapping[str, Any], ...]
    """Everything that was logged."""
    strikes: tuple[Strike, ...]
    """What went wrong as planned."""
    secrets: tuple[str, ...]
    """What nobody may ever read in a log."""
    open_sockets: int
    """Sockets that the gateway still had at the end."""
    live_calls: int
    """Calls that it still had."""
    tasks_left: tuple[str, ...]
    """Names of the tasks that it had when all calls were over, and not when it started."""
    lasted_s: float
    """Virtual time."""
    intruders: tuple[str, ...]
    """What hostile sockets achieved that they should not."""

    @property
    def call_s(self) -> float:
        """Virtual time in which a call was live, added up over the calls."""
        return sum(
            seen.over_s - seen.began_s
            for seen in self.calls
            if seen.began_s is not None and seen.over_s is not None
        )

    @property
    def endings(self) -> Counter[str]:
        """How calls ended: the names of their exits, by the records."""
        return Counter(
            type(record.ending).__name__ for seen in self.calls for record in seen.records
        )
