"""The rehearsal caller: places one call through a gateway's own front door, as Twilio would."""

from __future__ import annotations

import math
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext, suppress
from functools import partial
from typing import Final, Literal, Protocol
from urllib.parse import urljoin

import attrs
import httpx
import trio
from trio_websocket import CloseReason, ConnectionClosed

from actors.messages import ULAW_BYTES_PER_MS
from gateway.lab.rehearsing import speech
from gateway.lab.rehearsing.scenario import Scenario
from gateway.lab.twilio.call_report import CallReport
from gateway.lab.twilio.carrier_work import CarrierWork
from gateway.lab.twilio.line import RehearsalLine
from gateway.lab.twilio.line_facts import (
    Cut,
    LineEnded,
    LineEnding,
    LineFact,
    Pressed,
    Said,
    Warned,
)
from gateway.lab.twilio.phone_menu import far_end_of
from gateway.lab.twilio.run_line import CutOff, run_line
from gateway.lab.twilio.scripted_caller import FarEnd
from gateway.lab.twilio.twilio_api import TwilioApi
from gateway.lab.twilio.twiml_reader import (
    ConnectStream,
    Dial,
    Hangup,
    Pause,
    PlayDigits,
    Record,
    Redirect,
    Reject,
    Say,
    TwimlFault,
    Verb,
)
from gateway.lab.twilio.webhooks import WEBHOOK_S, NotAnswered, Webhooks
from gateway.web.client_socket import CannotOpen, over_websocket

CALL_S: Final = 300.0
"""How long a rehearsal may take before the phone hangs up."""

DOCUMENTS: Final = 10
"""How many documents one call may go through. More means a redirect that goes in circles."""

REDIRECT_S: Final = 0.6
"""From the end of a stream to the document that the carrier was told to go on with. *Observed*,
once: 730 ms from there to the next WebSocket."""

ACCOUNT_SID: Final = "AC" + "0ff" * 10 + "00"
_NORMAL_CLOSES: Final = {None, 1000, 1001, 1005}
"""1005: a close frame without a code."""

FROM_NUMBER: Final = "+15005550006"
TO_NUMBER: Final = "+15005550001"


class StreamSocket(Protocol):
    """The part of a `WebSocketConnection` that a phone needs."""

    @property
    def closed(self) -> CloseReason | None:
        """Why it is closed; `None` while it is open."""

    async def send_message(self, message: str | bytes) -> None:
        """Send one message; `ConnectionClosed` when there is no connection any more."""

    async def get_message(self) -> str | bytes:
        """Wait for the next message; `ConnectionClosed` when there will be none."""


OpenStream = Callable[
    [str, Mapping[str, str], Callable[[StreamSocket], Awaitable[None]]], Awaitable[bool]
]
"""Open the WebSocket at a URL with these headers, let it be used and close it. Returns whether the
server took its part in the closing. Raises `CannotOpen`."""


@attrs.frozen
class Notices:
    """Where Twilio's status callbacks are made, beside the call. Their answers mean nothing."""

    nursery: trio.Nursery
    """Lives longer than the call."""
    status_url: str
    """What the number's owner entered for the status of calls."""


async def place_call(
    base_url: str,
    scenario: Scenario,
    *,
    auth_token: str | None = None,
    account_sid: str = ACCOUNT_SID,
    from_number: str = FROM_NUMBER,
    to_number: str = TO_NUMBER,
    public_url: str | None = None,
    voice: Callable[[str], bytes] | None = None,
    observe: Callable[[int, LineFact], None] | None = None,
    limit_s: float = CALL_S,
    api: TwilioApi | None = None,
    redirect_s: float = REDIRECT_S,
) -> CallReport:
    """Call, do what the scenario says, and report. Cancellable; every wait is bounded.

    Args:
        base_url: Where the gateway listens, such as `http://127.0.0.1:8080`.
        scenario: Only its `caller` steps are used.
        auth_token: Signs every request and the upgrade; `None` sends no signatures.
        account_sid: Whose call it is.
        from_number: The caller.
        to_number: The number that was called.
        public_url: What the gateway believes to be its address. Requests for it are signed as
            such and sent to `base_url`. `None`: the same as `base_url`.
        voice: Gives the mu-law of a line; the rehearsal's own speech when `None`.
        observe: Told of what happens on the line, with ms since the stream was opened.
        limit_s: How long the stream may take before the phone hangs up.
        api: Where the gateway can reach this call by REST.
        redirect_s: See `REDIRECT_S`.

    Whatever goes wrong is the report's `problem`.

    """
    if voice is None:
        await speech.prepare(scenario.caller_lines(), "caller")
        voice = partial(speech.speak, voice="caller")
    fields = call_fields(
        "CA" + secrets.token_hex(16), account_sid, from_number=from_number, to_number=to_number
    )
    base_url = base_url.rstrip("/")
    # Not from the environment: a proxy has no business between two addresses of one machine.
    async with httpx.AsyncClient(timeout=WEBHOOK_S, trust_env=False) as http:
        webhooks = Webhooks(
            base_url=base_url,
            public_url=(public_url or base_url).rstrip("/"),
            auth_token=auth_token,
            http=http,
        )
        phone = Phone(
            scenario=scenario,
            webhooks=webhooks,
            fields=fields,
            voice=voice,
            observe=observe,
            limit_s=limit_s,
            api=api,
            redirect_s=redirect_s,
        )
        return await phone.call()


def call_fields(
    call_sid: str,
    account_sid: str,
    *,
    from_number: str,
    to_number: str,
    direction: Literal["inbound", "outbound-api"] = "inbound",
) -> dict[str, str]:
    """Every field that all webhooks about a call have."""
    return {
        "AccountSid": account_sid,
        "ApiVersion": "2010-04-01",
        "CallSid": call_sid,
        "Direction": direction,
        "From": from_number,
        "To": to_number,
        "Caller": from_number,
        "Called": to_number,
    }


@attrs.frozen
class _Next:
    """A document to go on with."""

    url: str
    method: str = "POST"
    call_status: str = "in-progress"
    more: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """Fields that this request has beside those of every one."""
    verbs: tuple[Verb, ...] | None = None
    """The document itself, when there is nothing to fetch."""
    after_s: float = 0.0
    """How long it takes until it is carried out."""


Stop = Literal["ended_by_api", "caller_hung_up"]


@attrs.define(eq=False, kw_only=True)
class Phone:
    """One call. Everything it learns goes into the report.

    Args:
        scenario: Only who is on the phone, and who the call may be transferred to, is used.
        fields: See `call_fields`.
        voice: Gives the mu-law of a line.
        observe: Told of what happens on the line, with ms since the stream was opened.
        limit_s: How long the stream may take before the phone hangs up.
        open_stream: How a stream is opened.
        new_id: Gives the 32 hexadecimal digits of a new SID.
        notices: `None`: Twilio was not asked to tell how the call and its stream are doing.

    """

    scenario: Scenario
    webhooks: Webhooks
    fields: dict[str, str]
    voice: Callable[[str], bytes]
    observe: Callable[[int, LineFact], None] | None
    limit_s: float
    open_stream: OpenStream = over_websocket
    new_id: Callable[[], str] = lambda: secrets.token_hex(16)
    notices: Notices | None = None
    api: TwilioApi | None = None
    """Where the gateway can reach this call by REST."""
    redirect_s: float = REDIRECT_S
    answered_at: tuple[str, str] | None = None
    """URL and method of the document for somebody who was called, and has just answered. `None`:
    they call, and the number's own document is asked for."""
    far_end: FarEnd = attrs.field(init=False)
    """Who is on the phone, from stream to stream."""
    report: CallReport = attrs.field(init=False)
    _began_s: float = attrs.field(factory=trio.current_time, init=False)
    _origin_s: float | None = attrs.field(default=None, init=False)
    """When the first stream was opened."""
    _order: _Next | Stop | None = attrs.field(default=None, init=False)
    """What the world wants, in place of what is being done."""
    _doing: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _cut_off: CutOff | None = attrs.field(default=None, init=False)
    """Of the stream that is open, or being opened."""

    def __attrs_post_init__(self) -> None:
        self.far_end = far_end_of(self.scenario)
        self.report = CallReport(self.fields["CallSid"])

    async def call(self) -> CallReport:
        """Run from the first webhook to the end."""
        document: _Next | None = _Next(
            self.webhooks.public_url + "/twilio/voice", call_status="ringing"
        )
        if self.answered_at is not None:
            document = _Next(*self.answered_at)
        with nullcontext() if self.api is None else self.api.reaching(self):
            try:
                fetched = 0
                while document is not None and fetched < DOCUMENTS:
                    fetched = 0 if document.verbs is not None else fetched + 1
                    document = await self._follow(document)
                if document is not None:
                    self._note(problem=f"the call went through more than {DOCUMENTS} documents")
            except (NotAnswered, TwimlFault) as error:
                self._note(problem=self.report.problem or str(error))
        self._note(duration_s=trio.current_time() - self._began_s)
        if self.report.problem is not None:
            self._note(ended="failed")
        if self.notices is not None:
            ended = {
                "CallStatus": "completed",
                "CallDuration": str(math.ceil(self.report.duration_s)),
                "CallbackSource": "call-progress-events",
                "SequenceNumber": "0",
            }
            self._notify(self.notices.status_url, {**self.fields, **ended})
        return self.report

    # What the world does to a call.

    @property
    def call_sid(self) -> str:
        """Whose phone this is."""
        return self.fields["CallSid"]

    def go_on_with(self, verbs: tuple[Verb, ...]) -> None:
        """Leave what is being done, and carry out this document."""
        url = self.webhooks.public_url
        self._interrupt(_Next(url, verbs=verbs, after_s=self.redirect_s), "redirected")

    def end(self) -> None:
        """Be told that the call is over."""
        self._interrupt("ended_by_api", "ended_by_api")

    def hang_up(self) -> None:
        """The caller hangs up, whatever is going on."""
        self._interrupt("caller_hung_up", "caller_hung_up")

    def _interrupt(self, order: _Next | Stop, ending: LineEnding) -> None:
        if self._order is None or isinstance(order, str):
            self._order = order
        if self._cut_off is not None:
            self._cut_off.now(ending)
        else:
            self._doing.cancel("there is something else to do")

    async def _follow(self, document: _Next) -> _Next | None:
        """Carry out one document, or what the world wants instead."""
        found: _Next | None = None
        with trio.CancelScope() as self._doing:
            if self._order is None:
                await trio.sleep(document.after_s)
                verbs = document.verbs
                if verbs is None:
                    verbs = await self._fetch(document)
                found = await self._carry_out(verbs, document.url)
        order, self._order = self._order, None
        match order:
            case None:
                return found
            case "caller_hung_up":
                self._note(ended="caller_hung_up")
                return None
            case "ended_by_api":
                self._note(ended="gateway_hung_up")
                return None
            case _Next():
                return order

    def _notify(self, url: str | None, form: Mapping[str, str]) -> None:
        """Tell the gateway something in the background, if anybody wants to know."""
        if self.notices is None or url is None:
            return

        async def tell() -> None:
            with suppress(NotAnswered):  # A warning in Twilio's debugger, and nothing else.
                await self.webhooks.request(url, "POST", form)

        self.notices.nursery.start_soon(tell, name="status callback")

    async def _fetch(self, document: _Next) -> tuple[Verb, ...]:
        form = {**self.fields, "CallStatus": document.call_status, **document.more}
        answer = await self.webhooks.request(document.url, document.method, form)
        self._note(requests=(*self.report.requests, answer.request))
        return answer.verbs()

    async def _carry_out(self, verbs: tuple[Verb, ...], url: str) -> _Next | None:
        """Carry out one document. Returns what to fetch next; `None`: the call is over."""
        for verb in verbs:
            self._note(verbs=(*self.report.verbs, verb))
            match verb:
                case Say():
                    pass  # The report has its text. Twilio's voice is not rehearsed.
                case Pause(length_s):
                    await trio.sleep(min(length_s, self.limit_s))
                case Reject():
                    self._note(ended="rejected")
                    return None
                case Hangup():
                    break
                case Redirect(target, method):
                    return _Next(urljoin(url, target), method, "in-progress")
                case PlayDigits() | Dial() | Record():
                    found = await self._carry_out_alone(verb)
                    if found is not None:
                        return found
                case ConnectStream():
                    if await self._stream(verb) in {"caller_hung_up", "ended_by_carrier"}:
                        # Whoever ended the call on this side is told of nothing more.
                        self._note(ended="caller_hung_up")
                        return None
                    if verb.action is not None:
                        return _Next(urljoin(url, verb.action), verb.method, "in-progress")
        self._note(ended="gateway_hung_up")
        return None

    async def _carry_out_alone(self, verb: PlayDigits | Dial | Record) -> _Next | None:
        """Carry out what needs no stream. Returns what to fetch next; `None`: the next verb."""
        work = CarrierWork(
            webhooks=self.webhooks,
            fields=self.fields,
            callee=self.scenario.callee,
            far_end=self.far_end,
            new_id=self.new_id,
            now_ms=self._now_ms,
            note=self._note,
            report=lambda: self.report,
        )
        match verb:
            case PlayDigits(digits):
                await work.play(digits)
                return None
            case Dial(action=action):
                more = await work.dial(verb)
                if more is None:
                    self._order = "caller_hung_up"
                return None if action is None else _Next(action, more=more or {})
            case Record(action=action):
                await work.record(verb)
                return None if action is None else _Next(action)

    def _now_ms(self) -> int:
        began_s = self._began_s if self._origin_s is None else self._origin_s
        return math.floor((trio.current_time() - began_s) * 1000)

    async def _stream(self, verb: ConnectStream) -> LineEnding | None:
        """Run one stream to its end. Returns how it ended; `None`: it never began."""
        line = RehearsalLine(
            caller=self.far_end,
            call_sid=self.fields["CallSid"],
            account_sid=self.fields["AccountSid"],
            stream_sid="MZ" + self.new_id(),
            parameters=dict(verb.parameters),
            voice=self.voice,
            observe=self.observe or (lambda _at_ms, _fact: None),
        )
        cut_off = self._cut_off = CutOff()
        sids = (*self.report.stream_sids, line.stream_sid)
        self._note(stream_sid=line.stream_sid, stream_sids=sids)
        # The signature is over the URL as the document wrote it; no form fields are in it.
        headers = self.webhooks.signed(verb.url, {})

        async def talk(socket: StreamSocket) -> None:
            self._tell_of_stream(verb, line, "stream-started")
            await self._talk(line, socket, cut_off)

        try:
            if not await self.open_stream(self.webhooks.reached(verb.url), headers, talk):
                self._note(problem="the gateway did not answer the close of the stream")
        except CannotOpen as error:
            self._note(problem=f"error 31920: the stream could not be opened: {error}")
            self._tell_of_stream(verb, line, "stream-error")
        finally:
            self._cut_off = None
        self._keep(line)
        if line.ending is not None:
            self._tell_of_stream(verb, line, "stream-stopped")
        return line.ending

    def _tell_of_stream(self, verb: ConnectStream, line: RehearsalLine, event: str) -> None:
        names = ("AccountSid", "CallSid")
        form = {name: self.fields[name] for name in names}
        form |= {"StreamSid": line.stream_sid, "StreamName": line.stream_sid, "StreamEvent": event}
        if event == "stream-error":
            form["StreamError"] = "31920"
        self._notify(verb.status_callback, form)

    async def _talk(self, line: RehearsalLine, socket: StreamSocket, cut_off: CutOff) -> None:
        if self._origin_s is None:
            self._origin_s = trio.current_time()
            self._note(answered_after_ms=math.floor((self._origin_s - self._began_s) * 1000))

        async def send_text(text: str) -> None:
            try:
                await socket.send_message(text)
            except ConnectionClosed as error:
                raise trio.BrokenResourceError from error

        async def receive_text() -> str | bytes:
            try:
                return await socket.get_message()
            except ConnectionClosed as error:
                raise trio.EndOfChannel from error

        await run_line(
            line,
            send_text,
            receive_text,
            limit_s=self.limit_s,
            origin_s=self._origin_s,
            cut_off=cut_off,
        )
        if line.ending == "closed_by_server" and socket.closed is not None:
            self._note(close_code=int(socket.closed.code), close_reason=socket.closed.reason or "")

    def _keep(self, line: RehearsalLine) -> None:
        """Take over into the report what the line knows."""
        if line.ending == "ended_by_carrier":
            self._note(problem=f"the call was still going after {self.limit_s:g} s")
        elif line.ending == "closed_by_server" and self.report.close_code not in _NORMAL_CLOSES:
            self._note(
                problem=f"error 31921: the gateway closed the stream with {self.report.close_code}"
            )
        facts, report = line.facts, self.report
        unplayed = sum(fact.unplayed_bytes for fact in facts if isinstance(fact, LineEnded))
        self._note(
            stream_ended=line.ending,
            heard=(*report.heard, *line.heard()),
            unplayed_ms=report.unplayed_ms + unplayed // ULAW_BYTES_PER_MS,
            said=(*report.said, *(fact for fact in facts if isinstance(fact, Said))),
            pressed=(*report.pressed, *(fact for fact in facts if isinstance(fact, Pressed))),
            cuts=(*report.cuts, *(fact for fact in facts if isinstance(fact, Cut))),
            warnings=(*report.warnings, *(fact for fact in facts if isinstance(fact, Warned))),
            marks=(*report.marks, *line.marks),
            steps_left=line.steps_left,
        )

    def _note(self, **changes: object) -> None:
        self.report = attrs.evolve(self.report, **changes)  # type: ignore[arg-type]
