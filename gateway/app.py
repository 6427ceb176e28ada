"""The gateway's front door as an ASGI application: webhooks, health, and the media stream.

`create_app(config)` is complete: served by `gateway.web.server`, by any Hypercorn on trio, or
mounted in a host's own application.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from functools import partial
from typing import Final
from urllib.parse import parse_qsl

import attrs
import structlog
import trio
from quart import Response, request
from quart_trio import QuartTrio

from actors.errors import AuditFailed
from actors.exits import (
    AgentHungUp,
    CallerHungUp,
    Crashed,
    PeerLost,
    Refused,
    Stalled,
    TimedOut,
    Transferred,
)
from actors.policy.journal import Observer
from actors.toolbox import Toolbox
from gateway import phone_call
from gateway.calls import Calls, Declined, IncomingCall, Offer, OpenSession, RunCall
from gateway.configuration.agents import AgentSettings
from gateway.configuration.config import Config, check_serving
from gateway.configuration.roster import LiveRoster, Roster
from gateway.knowledge.live import LiveKnowledge
from gateway.mcp.tools import McpServers
from gateway.permission.effects import Effects
from gateway.permission.numbers import Reach
from gateway.permission.numbers import prepare as prepare_numbers
from gateway.phone_call import Outside
from gateway.session.realtime import Connect
from gateway.tools.means import Means
from gateway.tools.smtp import SmtpMailer
from gateway.tools.taken import MessagesInFolders
from gateway.tools.toolset import tools_of
from gateway.twilio import twiml
from gateway.twilio.door import MediaDoor
from gateway.twilio.left_message import KeepMessage, keep_in_folders, left_message
from gateway.twilio.origin import Origin
from gateway.twilio.outgoing import PLACED, OutgoingCalls
from gateway.twilio.outgoing_end import KeepOutgoing, outgoing_end
from gateway.twilio.phone_line import (
    AFTER_DIAL_PATH,
    AFTER_STREAM_PATH,
    DIAL_STATUS_PATH,
    MEDIA_PATH,
    STREAM_STATUS_PATH,
    WHISPER_PATH,
    PhoneLine,
    is_over,
)
from gateway.twilio.tokens import StreamTokens
from gateway.twilio.twilio_rest import Transport, lacking, open_rest
from gateway.web.public_web import PublicWeb, Web

log: structlog.stdlib.BoundLogger = structlog.get_logger()

VOICE_PATH: Final = "/twilio/voice"
STATUS_PATH: Final = "/twilio/status"
RECORDING_PATH: Final = "/twilio/recording"
AFTER_MESSAGE_PATH: Final = "/twilio/after-message"

APOLOGY: Final = AgentSettings().apology
"""What an agent says that says nothing of its own, when it cannot go on."""
FALLBACK_RING_S: Final = 30
MESSAGE_MOST_S: Final = 120
NOT_SERVED: Final = "Sorry, nobody answers this number at the moment. Goodbye."
TOO_LONG: Final = "This call has reached its longest length. Please call again. Goodbye."
LARGEST_BODY_BYTES: Final = 64 * 1024
"""Of a webhook. Twilio's have 2 KiB."""
BODY_S: Final = 5.0
MOST_FIELDS: Final = 500
ANSWER_S: Final = 2.0
"""For TwiML, at the latest. The caller hears ringing meanwhile; Twilio gives up after 15 s."""

_CALL_SID: Final = re.compile(r"CA[0-9a-f]{32}")
_ACCOUNT_SID: Final = re.compile(r"AC[0-9a-f]{32}")
"""Exactly so: a signature covers names and values without what lies between them, and a longer or
shorter SID beside a field of one's own would be signed as well."""

Fields = list[tuple[str, str]]


def create_app(
    config: Config,
    *,
    toolbox: Toolbox | None = None,
    observer: Observer | None = None,
    open_session: OpenSession | None = None,
    connect_for: Callable[[str], Connect] | None = None,
    run_call: RunCall | None = None,
    outside: Outside | None = None,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    twilio_transport: Transport | None = None,
    keep_message: KeepMessage | None = None,
    web: Web | None = None,
) -> QuartTrio:
    """Make the application. What Twilio requests from it is all under `/twilio/`.

    Args:
        config: See `gateway.configuration.config`.
        toolbox: The functions the model may call; by default none but `hangup`.
        observer: Is told everything noteworthy in every call, as it happens.
        open_session: How to connect a session; by default to the OpenAI Realtime API.
        connect_for: How that reaches a model, by its name; by default as the configuration says.
        run_call: How to run a call; by default with this gateway's own agent.
        outside: Where recordings and records go; by default to `config.calls.directory`.
        random_bytes: What tokens are made of: a cryptographic source.
        twilio_transport: What requests to Twilio go over; by default the network.
        keep_message: Where it is noted that a caller left a message; by default beside the records.
        web: What tools that are HTTP requests go over; by default the network. Closed with this.
            With another one, no MCP server is connected to: they are reached over the network only.

    Raises:
        ConfigError: Nothing could tell Twilio's requests from anybody else's, or a file of tools
            cannot be loaded.

    """
    check_serving(config)
    if config.twilio.auth_token is None:
        log.warning(
            "gateway.unsigned",
            consequence="anybody on this machine can place calls; set TWILIO_AUTH_TOKEN",
        )
    tools = Toolbox() if toolbox is None else toolbox
    roster = LiveRoster(Roster.of(config))
    outside = Outside.of(config) if outside is None else outside
    public_web: Web = PublicWeb() if web is None else web
    mcp_web = PublicWeb()
    # Who brings a web of their own, as rehearsals in virtual time do, wants nobody to be asked.
    mcp = McpServers.of(config.mcp.values() if web is None else (), mcp_web)
    rest = open_rest(config.twilio, twilio_transport)
    prepare_numbers(Reach.of(config))
    outgoing = OutgoingCalls(random_bytes, has_room=lambda: calls.ready)
    folder = config.knowledge.folder
    knowledge = None if folder is None else LiveKnowledge(folder)
    means = outside.means(
        Means(
            config=config,
            utc_now=outside.utc_now,
            rest=rest,
            spending=outside.spending,
            outgoing=outgoing,
            own_numbers=roster.numbers,
            # One of each for all calls: they bound how many threads wait for a server or a disk.
            mailer=SmtpMailer(config.email),
            taken=MessagesInFolders(config.calls.directory),
            knowledge=knowledge,
            web=public_web,
            mcp=mcp,
        )
    )
    for agent in roster.current.agents:
        tools_of(agent, tools, means)  # Here it keeps no call waiting.
    effects = Effects()
    calls = Calls(
        open_session=open_session
        or partial(
            phone_call.open_session, config, tools, outside, connect_for=connect_for, means=means
        ),
        run_call=run_call
        or partial(
            phone_call.take_call,
            *(config, tools, outside),
            observer=observer,
            means=means,
            effects=effects,
        ),
        is_recorded=outside.store.has,
        tokens=StreamTokens(random_bytes),
        max_concurrent=config.calls.max_concurrent,
    )
    origin = Origin.of(config)
    app = QuartTrio("gateway", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY_BYTES
    app.config["BODY_TIMEOUT"] = BODY_S
    # For whoever serves this: `stop_admitting` is how a drain begins.
    app.extensions["calls"] = calls
    # And how agents are exchanged, for the calls that come from then on.
    app.extensions["roster"] = roster
    # And what tools reach the world by, for who opens sessions and runs calls itself.
    app.extensions["means"] = means
    messages = keep_message or keep_in_folders(config.calls.directory)
    door = FrontDoor(
        calls, origin, roster, messages, config.twilio.api_url, outgoing, outside.keep_outgoing
    )
    _route(app, door)
    app.asgi_app = MediaDoor(  # type: ignore[assignment,method-assign]
        app.asgi_app,
        origin,
        calls,
        hang_up_call=None if rest is None else rest.hang_up_ours,
        rest=rest,
        rest_lacks=lacking(config.twilio),
    )

    @app.before_serving
    async def start() -> None:
        try:
            await outside.audit.recover()
        except AuditFailed as error:
            log.warning("audit.unusable", consequence="no tool is run", reason=error.reason)
        if isinstance(means.knowledge, LiveKnowledge):
            await app.nursery.start(means.knowledge.serve)
        await app.nursery.start(effects.serve)
        await app.nursery.start(calls.serve)
        app.nursery.start_soon(mcp.run, name="mcp")

    @app.after_serving
    async def stop() -> None:
        calls.close()
        await effects.aclose()
        mcp.close()
        await public_web.aclose()
        await mcp_web.aclose()
        await outside.audit.aclose()
        if rest is not None:
            await rest.aclose()

    return app


@attrs.frozen
class FrontDoor:
    """The webhooks. Each takes fields whose origin was checked, and returns TwiML."""

    calls: Calls
    origin: Origin
    roster: LiveRoster
    keep_message: KeepMessage
    api_url: str
    """Of the carrier's REST interface: recordings are nowhere else."""
    outgoing: OutgoingCalls
    keep_outgoing: KeepOutgoing

    async def voice(self, fields: Fields) -> str:
        """Answer a call that is ringing."""
        values = dict(fields)
        account, call = values.get("AccountSid", ""), values.get("CallSid", "")
        if not (_CALL_SID.fullmatch(call) and _ACCOUNT_SID.fullmatch(account)):
            log.warning("webhook.refused", reason="no CallSid or no AccountSid")
            return twiml.reject("rejected")
        called = values.get("To", "")
        if PLACED in request.args:
            return await self._answered(request.args[PLACED], values)
        agent = self.roster.agent_for(called)
        if agent is None:
            log.info("call.not_served", call_sid=call)
            # Spoken, and not a busy signal: who hears that calls again.
            return twiml.say_and_hangup(NOT_SERVED)
        # Somebody else's program may have placed it. Whoever answered is not `From`.
        ours = values.get("Direction", "").startswith("outbound")
        incoming = IncomingCall(
            call,
            account,
            values.get("From", ""),
            called,
            agent,
            direction="outbound" if ours else "inbound",
        )
        return await self._announce(incoming)

    async def _answered(self, key: str, values: dict[str, str]) -> str:
        """Let the agent talk to somebody who was called."""
        call_sid, to = values.get("CallSid", ""), values.get("To", "")
        placed = self.outgoing.answered(
            key,
            call_sid,
            from_number=values.get("From", ""),
            to=to,
            now_s=trio.current_time(),
        )
        agent = None if placed is None else self.roster.agent_named(placed.agent)
        if agent is None or placed is None:
            await trio.lowlevel.checkpoint()
            log.warning("outgoing.refused", call_sid=call_sid)
            return twiml.hangup()
        incoming = IncomingCall(
            call_sid,
            values.get("AccountSid", ""),
            placed.from_number,
            to,
            agent,
            direction="outbound",
            placed=placed,
        )
        return await self._announce(incoming)

    async def _announce(self, incoming: IncomingCall) -> str:
        """Begin a call, and say where its stream goes; or say what becomes of it without one."""
        offer: Offer | Declined = "refused"
        with trio.move_on_after(ANSWER_S):
            offer = await self.calls.offer(incoming)
        match offer:
            case Offer():
                place = twiml.StreamPlace(
                    url=self._url(MEDIA_PATH, stream=True),
                    token=offer.token,
                    action=self._url(AFTER_STREAM_PATH),
                    status_callback=self._url(STREAM_STATUS_PATH),
                )
                return twiml.connect_stream(place)
            case "busy" | "closing" if incoming.placed is not None:
                return twiml.say_and_hangup(incoming.agent.settings.apology)
            case "busy" | "closing":
                return twiml.reject("busy")
            case "over":
                return twiml.hangup()
            case "refused":
                return self._on_failure(incoming)

    async def after_stream(self, fields: Fields) -> str:
        """Say what becomes of a call whose stream has ended."""
        values = dict(fields)
        call_sid = values.get("CallSid", "")
        # Twilio is done with the stream, if it ever was one, and will open no other by itself.
        self.calls.abandon(call_sid)
        line = self.calls.line(call_sid)
        if line is not None:
            line.stream_failed(values.get("StreamSid"))
        return await self._after_the_end(values)

    async def _after_the_end(self, values: dict[str, str]) -> str:
        """Say what becomes of a caller whose call with the agent is over."""
        ended = await self.calls.ended(values.get("CallSid", ""))
        match None if ended is None else ended.why:
            case AgentHungUp() | CallerHungUp() | Transferred():
                return twiml.hangup()
            case TimedOut():
                return twiml.say_and_hangup(TOO_LONG)
            case PeerLost(peer="session") | Refused() | Crashed() | Stalled() if ended is not None:
                return self._on_failure(ended.incoming)
            case _:
                known = None if ended is None else ended.incoming.agent
                agent = known or self.roster.agent_for(values.get("To", ""))
                return twiml.say_and_hangup(APOLOGY if agent is None else agent.settings.apology)

    async def after_dial(self, fields: Fields) -> str:
        """Say what becomes of a caller whose transfer is over, or came to nothing."""
        await trio.lowlevel.checkpoint()
        values = dict(fields)
        line = self.calls.line(values.get("CallSid", ""))
        status = values.get("DialCallStatus", "")
        log.info(
            "transfer.ended",
            call_sid=_shown(values, "CallSid"),
            status=_shown(values, "DialCallStatus"),
        )
        if is_over(values.get("CallStatus", "")):
            if line is not None:
                line.caller_left()
            return twiml.hangup()
        bridged = values.get("DialBridged") != "false"
        document = None
        if isinstance(line, PhoneLine):
            document = line.after_dial(_key(), status, bridged=bridged)
        if document is not None:
            return document
        if bridged and status in {"completed", "answered"}:
            return twiml.hangup()  # The two have talked.
        # It ended while the callee's phone rang, and whoever waited for that is still there.
        return await self._after_the_end(values)

    async def dial_status(self, fields: Fields) -> str:
        """Note that somebody picked up who is called for a caller of ours."""
        await trio.lowlevel.checkpoint()
        values = dict(fields)
        line = self.calls.line(values.get("ParentCallSid", ""))
        if isinstance(line, PhoneLine) and values.get("CallStatus") == "in-progress":
            line.callee_answered(_key())
        return ""

    async def whisper(self, fields: Fields) -> str:
        """Say to somebody who picked up whom they are going to talk to."""
        await trio.lowlevel.checkpoint()
        line = self.calls.line(dict(fields).get("ParentCallSid", ""))
        if not isinstance(line, PhoneLine):
            return twiml.hangup()
        return line.whisper(_key(), said="said" in request.args)

    async def recording(self, fields: Fields) -> str:
        """Note where the message is that a caller left."""
        message = left_message(dict(fields), self.api_url)
        if message is None:
            log.warning("recording.refused", reason="no CallSid, no RecordingSid or no status")
        else:
            log.info("recording.reported", call_sid=message.call_sid, status=message.status)
            await self.keep_message(message)
        await trio.lowlevel.checkpoint()
        return ""

    async def after_message(self, _: Fields) -> str:
        """Say what comes after a message: nothing."""
        await trio.lowlevel.checkpoint()
        return twiml.hangup()

    async def status(self, fields: Fields) -> str:
        """Note how a call, or a message, is doing."""
        values = dict(fields)
        if "MessageSid" in values:
            log.info(
                "message.status_reported",
                message_sid=_shown(values, "MessageSid"),
                status=_shown(values, "MessageStatus"),
                error=_shown(values, "ErrorCode"),
            )
            await trio.lowlevel.checkpoint()
            return ""
        log.info(
            "call.status_reported",
            call_sid=_shown(values, "CallSid"),
            status=_shown(values, "CallStatus"),
        )
        if is_over(values.get("CallStatus", "")):
            call_sid = values.get("CallSid", "")
            self.calls.abandon(call_sid)
            line = self.calls.line(call_sid)
            if line is not None:
                line.caller_left()
            placed = self.outgoing.ended(request.args.get(PLACED, ""), call_sid)
            if placed is not None and _CALL_SID.fullmatch(call_sid):
                end = outgoing_end(placed, call_sid, values)
                log.info("outgoing.ended", call_sid=call_sid, status=end.status)
                await self.keep_outgoing(end)
        await trio.lowlevel.checkpoint()
        return ""

    async def stream_status(self, fields: Fields) -> str:
        """Note how the stream is doing."""
        values = dict(fields)
        log.info(
            "stream.status_reported",
            call_sid=_shown(values, "CallSid"),
            event_type=_shown(values, "StreamEvent"),
            error=_shown(values, "StreamError"),
        )
        if values.get("StreamEvent") in {"stream-error", "stream-stopped"}:
            self.calls.abandon(values.get("CallSid", ""))
        if values.get("StreamEvent") == "stream-error":
            line = self.calls.line(values.get("CallSid", ""))
            if line is not None:
                line.stream_failed(values.get("StreamSid"))
        await trio.lowlevel.checkpoint()
        return ""

    def _on_failure(self, incoming: IncomingCall) -> str:
        """What becomes of a caller whose agent cannot go on."""
        agent = incoming.agent.settings
        if incoming.direction == "outbound":
            # Whom we rang has not asked for anybody, and has nothing to leave a message about.
            return twiml.say_and_hangup(agent.apology)
        match agent.on_failure:
            case "transfer" if agent.transfer_to is not None:
                plan = twiml.DialPlan(
                    to=agent.transfer_to, ring_s=FALLBACK_RING_S, caller_id=agent.transfer_by
                )
                return twiml.dial(plan, say=agent.apology)
            case "message":
                return twiml.take_message(
                    agent.apology,
                    most_s=MESSAGE_MOST_S,
                    status_callback=self._url(RECORDING_PATH),
                    action=self._url(AFTER_MESSAGE_PATH),
                )
            case _:
                return twiml.say_and_hangup(agent.apology)

    def _url(self, path: str, *, stream: bool = False) -> str:
        return self.origin.url(dict(request.scope), path, stream=stream)


def _route(app: QuartTrio, door: FrontDoor) -> None:
    """Give every webhook its path, and the check of its origin in front of it."""
    webhooks = {
        VOICE_PATH: door.voice,
        AFTER_STREAM_PATH: door.after_stream,
        STATUS_PATH: door.status,
        STREAM_STATUS_PATH: door.stream_status,
        AFTER_DIAL_PATH: door.after_dial,
        DIAL_STATUS_PATH: door.dial_status,
        WHISPER_PATH: door.whisper,
        RECORDING_PATH: door.recording,
        AFTER_MESSAGE_PATH: door.after_message,
    }

    async def webhook() -> Response:
        body = await request.get_data(cache=False, as_text=False, parse_form_data=False)
        fields = _fields(body)
        flaw = "the body is not a form"
        if fields is not None:
            flaw = door.origin.flaw(dict(request.scope), fields) or ""
        if fields is None or flaw:
            log.warning("webhook.refused", path=request.path, reason=flaw)
            return Response("", 403)
        document = await webhooks[request.path](fields)
        return Response(document, content_type=twiml.CONTENT_TYPE)

    async def healthy() -> Response:
        await trio.lowlevel.checkpoint()
        return Response("ok\n", content_type="text/plain")

    async def ready() -> Response:
        await trio.lowlevel.checkpoint()
        if door.calls.ready:
            return Response("ready\n", content_type="text/plain")
        return Response("not taking calls\n", 503, content_type="text/plain")

    for path in webhooks:
        app.add_url_rule(path, path, webhook, methods=["POST"])
    app.add_url_rule("/healthz", "healthz", healthy)
    app.add_url_rule("/readyz", "readyz", ready)


def _fields(body: bytes) -> Fields | None:
    """The decoded fields of a form, every one; `None` when it is none."""
    try:
        return parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MOST_FIELDS,
        )
    except ValueError:
        return None


def _key() -> str:
    """Which transfer the request is about, by the address that Twilio was given for it."""
    return request.args.get("key", "")


def _shown(values: dict[str, str], key: str) -> str:
    """A value of a webhook as a log may show it."""
    return "".join(filter(str.isprintable, values.get(key, "")))[:64]
