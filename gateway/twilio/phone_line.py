"""One phone call as a `Carrier`, over one media stream after another.

Twilio sends keys and dials numbers only while the call has no stream: it is told by REST to stop
the stream, do its work, and open another into the same call. The call, its session and its records
go on meanwhile. Source: "Call resource: update a call", "TwiML: Play", "TwiML: Dial", Twilio docs.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Final, cast, get_args

import attrs
import structlog
import trio

from actors.errors import CarrierRefused, PeerGone, ProtocolError
from actors.messages import (
    CallerAudio,
    CarrierFact,
    CarrierOrder,
    MarkEchoed,
    StreamLeft,
    StreamMoved,
    StreamStopped,
)
from actors.ports import Transfer, TransferOutcome
from actors.wire.twilio import Start
from gateway.records.tap import Content, Place, Tap
from gateway.twilio import twiml
from gateway.twilio.line_time import LineTime
from gateway.twilio.media import TwilioCarrier
from gateway.twilio.mover import Mover
from gateway.twilio.twilio_rest import Unclear

log: structlog.stdlib.BoundLogger = structlog.get_logger()

MEDIA_PATH: Final = "/twilio/media"
AFTER_STREAM_PATH: Final = "/twilio/after-stream"
STREAM_STATUS_PATH: Final = "/twilio/stream-status"
AFTER_DIAL_PATH: Final = "/twilio/after-dial"
DIAL_STATUS_PATH: Final = "/twilio/dial-status"
WHISPER_PATH: Final = "/twilio/whisper"

MOVED_S: Final = 10.0
"""For another stream to come. Twilio needs about a second (measured once: 856 ms)."""
DOUBT_S: Final = 4.0
"""For the old stream to stop, when nobody knows whether Twilio has heard us."""
ASKING_S: Final = 6.0
"""For asking by REST, at the longest."""
KEY_S: Final = 0.25
"""One key, and the pause behind it."""
WAIT_S: Final = 0.5
"""One `w`. Source: "TwiML: Play", Twilio docs."""
LONGEST_KEYS: Final = 64
RING_MORE_S: Final = 5.0
"""Twilio adds so much to a dial's timeout. Source: "Call resource", Twilio docs."""
WHISPER_S: Final = 60.0
"""For saying it, at the longest."""
LONGEST_WHISPER: Final = 800
"""Characters, which take 53 s at the 15 a second of a machine's voice."""
LEAVE_S: Final = 30.0
"""For a call to end once its caller has been connected to somebody else."""

_KEYS: Final = re.compile(rf"[0-9*#A-Dw]{{1,{LONGEST_KEYS}}}")
_NUMBER: Final = re.compile(r"\+[1-9][0-9]{1,14}")
_SIP: Final = re.compile(r"sips?:[!-~]{1,500}", re.IGNORECASE)
_OVER: Final = frozenset({"completed", "busy", "failed", "no-answer", "canceled"})


@attrs.define(eq=False)
class Stream:
    """One media stream of a call."""

    carrier: TwilioCarrier
    released: trio.Event = attrs.field(factory=trio.Event)
    """The call does not need it any more: whoever serves its socket may close it."""
    end: StreamStopped | PeerGone | ProtocolError | None = None
    """How it ended, if it did while the call was being moved."""


@attrs.define(eq=False)
class _Dialled:
    """A transfer under way."""

    key: str
    """In every address that Twilio is given for it: a request about an earlier one, which its
    signature lets through for ever, is none about this."""
    whisper: str | None
    outcome: TransferOutcome | None = None
    answer: str | None = None
    """The document for the caller who is back: asked twice, it is the same with the same token."""


@attrs.define(eq=False)
class _Away:
    """The call has, or is about to have, no stream."""

    until_s: float
    patience_s: float
    """For another stream, from when the old one is known to have stopped."""
    dialled: _Dialled | None
    unclear: bool = False
    """Nobody knows whether Twilio did what it was asked."""
    over: trio.Event = attrs.field(factory=trio.Event)
    """There is a stream again, or somebody answered, or there will be none."""
    failure: str | None = None
    """Why nothing came of it."""


@attrs.frozen(eq=False)
class _Parting:
    """The tap of a stream that is being left: its end is not the end of the call."""

    tap: Tap

    @property
    def with_audio(self) -> bool:
        """See `Tap`."""
        return self.tap.with_audio

    def note(self, place: Place, content: Content) -> None:
        """See `Tap`."""
        if place == "phone.closed" or content == ["stop"]:
            self.tap.note("phone.in", ["parted"])
        else:
            self.tap.note(place, content)


@attrs.define(eq=False)
class PhoneLine:
    """Fits the `Carrier` port over one `TwilioCarrier` after another.

    Resource handling: `Stream.released` says when a stream's socket is not needed any more.
    """

    _stream: Stream
    _mover: Mover
    dropped_orders: int = attrs.field(default=0, init=False)
    """Given while there was no stream to give them to."""
    _facts: deque[CarrierFact] = attrs.field(factory=deque[CarrierFact], init=False)
    """Ours, and not the stream's. Two or three at most."""
    _away: _Away | None = attrs.field(default=None, init=False)
    _failure: PeerGone | None = attrs.field(default=None, init=False)
    _is_over: bool = attrs.field(default=False, init=False)
    _reading: trio.CancelScope | None = attrs.field(default=None, init=False)
    """Around the wait for the next fact."""
    _time: LineTime = attrs.field(factory=LineTime, init=False)

    def __attrs_post_init__(self) -> None:
        self._stream.carrier.place = self._place

    # What a call's flight log needs.

    @property
    def start(self) -> Start:
        """What the present stream said about itself."""
        return self._stream.carrier.start

    @property
    def tap(self) -> Tap | None:
        """Is told what crosses the sockets."""
        return self._stream.carrier.tap

    @tap.setter
    def tap(self, tap: Tap | None) -> None:
        self._stream.carrier.tap = tap

    # The port.

    async def receive(self) -> CarrierFact:
        """Wait for the next fact: see `Carrier`."""
        while True:  # noqa: ASYNC913 (it awaits a fact, or has one)
            if self._facts:
                await trio.lowlevel.checkpoint_if_cancelled()
                return self._facts.popleft()
            if self._failure is not None:
                raise self._failure
            until_s = float("inf") if self._away is None else self._away.until_s
            with trio.CancelScope(deadline=until_s) as self._reading:
                fact = await self._next()
                if fact is not None:
                    return fact
            if self._away is not None and trio.current_time() >= self._away.until_s:
                self._time_is_up(self._away)

    async def send(self, order: CarrierOrder) -> None:
        """Carry out one order: see `Carrier`. Without a stream, it is dropped and counted."""
        stream = self._stream
        if self._takes_orders(stream):
            try:
                await stream.carrier.send(order)
            except PeerGone:
                if self._takes_orders(stream):
                    raise
            else:
                return
        self.dropped_orders += 1
        await trio.lowlevel.checkpoint()

    async def hang_up(self) -> None:
        """End the phone call: see `Carrier`."""
        await self._stream.carrier.hang_up()

    async def press(self, digits: str) -> None:
        """Send keys: see `Carrier`. The stream is opened anew for it."""
        await trio.lowlevel.checkpoint()
        if not _KEYS.fullmatch(digits):
            raise CarrierRefused(
                f"keys are 0 to 9, *, #, A to D and w, and {LONGEST_KEYS} of them at most"
            )
        patience_s = MOVED_S + sum(WAIT_S if key == "w" else KEY_S for key in digits)
        self._check_movable()
        document = twiml.press_and_connect(digits, self._stream_place(ASKING_S + patience_s))
        away = await self._move(document, patience_s)
        await away.over.wait()
        if away.failure is not None:
            raise CarrierRefused(away.failure)

    async def transfer(self, to: Transfer) -> TransferOutcome:
        """Connect the caller to somebody else: see `Carrier`."""
        await trio.lowlevel.checkpoint()
        if not (_NUMBER.fullmatch(to.to) or _SIP.fullmatch(to.to)):
            raise CarrierRefused("it is neither a number such as +4930123456 nor a SIP URI")
        whisper = twiml.sayable(to.whisper)
        if whisper is not None and len(whisper) > LONGEST_WHISPER:
            raise CarrierRefused(
                f"what is said to the callee has {len(whisper)} characters, "
                f"and {LONGEST_WHISPER} at most"
            )
        self._check_movable()
        dialled = _Dialled(self._mover.new_key(), whisper)
        ring_s = min(600, max(5, round(to.ring_s)))
        url, key = self._mover.url, f"?key={dialled.key}"
        plan = twiml.DialPlan(
            to=to.to,
            ring_s=ring_s,
            caller_id=to.caller_id,
            action=url(AFTER_DIAL_PATH + key),
            whisper_url=url(WHISPER_PATH + key) if whisper else None,
            status_callback=url(DIAL_STATUS_PATH + key),
        )
        patience_s = ring_s + RING_MORE_S + MOVED_S + (WHISPER_S if whisper else 0.0)
        away = await self._move(twiml.dial(plan), patience_s, dialled)
        await away.over.wait()
        if dialled.outcome is None:
            raise CarrierRefused(away.failure or "nothing became of it")
        return dialled.outcome

    def hide_keys(self, hidden: bool) -> None:
        """Keep keys out of the log: see `Carrier`."""
        self._stream.carrier.hide_keys(hidden)

    async def aclose(self) -> None:
        """Close the stream: see `Carrier`. No other is let in from now on."""
        self._is_over = True
        await self._stream.carrier.aclose()

    # What the world tells.

    def join(self, carrier: TwilioCarrier) -> Stream | None:
        """Go on over this stream, which was introduced and let in.

        Returns:
            `None`: nobody waits for it, or no longer.

        """
        away, old = self._away, self._stream
        if away is None or self._is_over or self._failure is not None:
            return None
        carrier.tap = old.carrier.tap
        old.carrier.tap = None
        carrier.keys_hidden = old.carrier.keys_hidden
        carrier.place = self._place
        self._time.restarts()
        self._stream = Stream(carrier)
        old.end = old.end or StreamStopped()
        old.released.set()
        log.info("carrier.moved", dropped_orders=self.dropped_orders)
        self._is_back(away)
        return self._stream

    def release(self) -> None:
        """The call is over: no stream of it is needed any more."""
        self._is_over = True
        self._stream.released.set()

    def is_needed(self, stream: Stream) -> bool:
        """Whether the call cannot go on without this stream. If not, it is taken for ended."""
        if stream is not self._stream or stream.released.is_set():
            return False
        if self._away is None:
            return not self._is_over
        stream.end = stream.end or PeerGone("carrier", None, "its connection was given up")
        self._wake()
        return False

    def caller_left(self) -> None:
        """The carrier says that the call is over. With a stream, its `stop` says so too."""
        if self._away is not None:
            self._away.failure = "the caller hung up"
            self._away.over.set()
            self._tell(StreamStopped())

    def stream_failed(self, stream_sid: str | None) -> None:
        """The carrier says that a stream could not be opened, or is done with the one it had."""
        away = self._away
        if away is None or stream_sid == self.start.stream_sid:
            return
        if away.dialled is not None and away.dialled.outcome is None:
            return  # It speaks of an earlier stream: this call is where its callee is called.
        self._fail(away, "the carrier could not open another stream")

    def whisper(self, key: str, *, said: bool) -> str:
        """The document for a callee who has picked up."""
        away, dialled = self._away, self._dialled(key)
        if away is None or dialled is None or dialled.whisper is None:
            return twiml.hangup()
        if not said:
            again = self._mover.url(f"{WHISPER_PATH}?key={key}&said=1")
            return twiml.whisper(dialled.whisper, again)
        self._answered(away, dialled)
        return twiml.nothing_more()

    def callee_answered(self, key: str) -> None:
        """The carrier says that somebody picked up. With a whisper, they have yet to hear it."""
        away, dialled = self._away, self._dialled(key)
        if away is not None and dialled is not None and dialled.whisper is None:
            self._answered(away, dialled)

    def after_dial(self, key: str, status: str, *, bridged: bool) -> str | None:
        """The document for a caller whose callee is gone, or never was there.

        Args:
            key: Of the transfer it is about.
            status: `DialCallStatus`.
            bridged: Whether the two were connected.

        Returns:
            `None`: this call is over, and cannot take its caller back.

        """
        away, dialled = self._away, self._dialled(key)
        if self._is_over or self._failure is not None:
            return None
        if away is None or dialled is None or away.failure is not None:
            return twiml.hangup()
        if bridged and status in {"completed", "answered"}:
            self._answered(away, dialled)
        if dialled.outcome == "answered":
            return twiml.hangup()
        if dialled.answer is None:
            known = status in get_args(TransferOutcome) and status != "answered"
            dialled.outcome = cast("TransferOutcome", status) if known else "no-answer"
            try:
                dialled.answer = twiml.connect_stream(self._stream_place(MOVED_S))
            except CarrierRefused:
                return None
            self._wait_until(away, MOVED_S)
        return dialled.answer

    # Inside.

    def _dialled(self, key: str) -> _Dialled | None:
        """The transfer under way, if this is its key."""
        dialled = None if self._away is None else self._away.dialled
        return None if dialled is None or dialled.key != key else dialled

    def _takes_orders(self, stream: Stream) -> bool:
        return self._away is None and stream is self._stream

    async def _next(self) -> CarrierFact | None:
        """Wait for the stream's next fact; `None`: look again what there is."""
        stream = self._stream
        if stream.end is not None:
            await trio.sleep_forever()
        try:
            fact = await stream.carrier.receive()
        except (PeerGone, ProtocolError) as error:
            if self._away is None and stream is self._stream:
                raise
            self._stopped(stream, error)
            return None
        if stream is not self._stream:
            return None  # It came in the moment in which the other stream did.
        if self._away is None or not isinstance(fact, StreamStopped | MarkEchoed):
            return fact
        if isinstance(fact, StreamStopped):
            self._stopped(stream, fact)
        return None

    def _stopped(self, stream: Stream, end: StreamStopped | PeerGone | ProtocolError) -> None:
        """The stream we left has ended, as it should."""
        stream.end = end
        stream.released.set()

    def _check_movable(self) -> None:
        if self._mover.lacks is not None:
            raise CarrierRefused(f"it needs the carrier's REST interface, and {self._mover.lacks}")
        if self._away is not None:
            raise CarrierRefused("the call is being moved already")
        if self._is_over:
            raise CarrierRefused("the call is over")

    def _stream_place(self, ttl_s: float) -> twiml.StreamPlace:
        token = self._mover.new_token(ttl_s)
        if token is None:
            raise CarrierRefused("the call is over")
        return twiml.StreamPlace(
            url=self._mover.url(MEDIA_PATH, stream=True),
            token=token,
            action=self._mover.url(AFTER_STREAM_PATH),
            status_callback=self._mover.url(STREAM_STATUS_PATH),
        )

    async def _move(
        self, document: str, patience_s: float, dialled: _Dialled | None = None
    ) -> _Away:
        """Leave the stream, and have the carrier carry out a document.

        Cancelled, it may or may not have: then whoever reads finds out.
        """
        until_s = trio.current_time() + ASKING_S + patience_s
        away = self._away = _Away(until_s, patience_s, dialled)
        self._tell(StreamLeft())
        if self.tap is not None:
            self.tap = _Parting(self.tap)
        known = False
        try:
            await self._mover.redirect(self.start, document)
            known = True
        except CarrierRefused as refused:
            known = True
            if self._away is away:
                self._stay(away, refused.reason)
        except Unclear as unclear:
            log.warning("carrier.redirect_unclear", outcome=unclear.outcome)
        finally:
            away.unclear = not known and self._stream.end is None
            self._wait_until(away, DOUBT_S if away.unclear else patience_s)
        return away

    def _wait_until(self, away: _Away, patience_s: float) -> None:
        if self._away is away and not away.over.is_set():
            away.until_s = trio.current_time() + patience_s
            self._wake()

    def _time_is_up(self, away: _Away) -> None:
        """Another stream has not come in time."""
        if self._stream.end is None:
            # The old one never stopped, so the call was not moved at all.
            self._stay(away, "the carrier did not do it in time")
        elif away.unclear and self._stream.carrier.fell_silent:
            self._stay(away, "the stream was dead, and the carrier has not answered")
        elif away.unclear:
            away.unclear = False  # It has heard us, as the end of the old stream shows.
            self._wait_until(away, away.patience_s)
        else:
            self._fail(away, f"no other stream came within {away.patience_s:g} s")

    def _stay(self, away: _Away, failure: str) -> None:
        """The call was not moved: it goes on over the stream it had."""
        away.failure = failure
        match self._stream.end:
            case None:
                self._is_back(away)
            case StreamStopped() as stopped:
                away.over.set()
                self._tell(stopped)
            case PeerGone() as gone:
                self._fail(away, gone.reason)
            case ProtocolError(_, what):
                self._fail(away, what)

    def _is_back(self, away: _Away) -> None:
        self._away = None
        away.over.set()
        self._tell(StreamMoved(self.start.stream_sid))

    def _fail(self, away: _Away, reason: str) -> None:
        """No stream will come: the call is lost."""
        away.failure = reason
        away.over.set()
        self._note(["lost", reason])
        self._failure = PeerGone("carrier", None, reason)
        self._wake()

    def _answered(self, away: _Away, dialled: _Dialled) -> None:
        if dialled.outcome is None:
            dialled.outcome = "answered"
            self._note(["answered"])
            self._wait_until(away, LEAVE_S)
            away.over.set()

    def _tell(self, fact: CarrierFact) -> None:
        is_parting = self._away is not None and not isinstance(fact, StreamStopped)
        if not is_parting and isinstance(self.tap, _Parting):
            self.tap = self.tap.tap
        match fact:
            case StreamLeft():
                self._note(["left"])
            case StreamMoved(stream_sid):
                self._note(["moved", stream_sid])
            case StreamStopped():
                self._note(["stop"])
            case _:
                pass
        self._facts.append(fact)
        self._wake()

    def _note(self, content: Content) -> None:
        if self.tap is not None:
            self.tap.note("phone.in", content)

    def _wake(self) -> None:
        if self._reading is not None:
            self._reading.cancel("there is news")

    def _place(self, audio: CallerAudio) -> CallerAudio:
        line_ms = self._time.place(audio.line_ms, now_ms=trio.current_time() * 1000)
        if line_ms == audio.line_ms:
            return audio
        return CallerAudio(audio.payload, audio.ulaw, line_ms)


def is_over(call_status: str) -> bool:
    """Whether a `CallStatus` is the last there will be."""
    return call_status in _OVER
