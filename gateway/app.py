"""The gateway's front door as an ASGI application: webhooks, health, and the media stream.

`create_app(config)` is complete: served by `gateway.server`, by any Hypercorn on trio, or mounted
in a host's own application.
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

from actors.exits import AgentHungUp, CallerHungUp, Exit, TimedOut
from actors.policy.journal import Observer
from actors.toolbox import Toolbox
from gateway import phone_call, twiml
from gateway.agents import Agent
from gateway.calls import Calls, Declined, IncomingCall, Offer, OpenSession, RunCall
from gateway.config import Config, check_serving
from gateway.door import MEDIA_PATH, MediaDoor
from gateway.origin import Origin
from gateway.phone_call import Outside
from gateway.tokens import StreamTokens
from gateway.twilio_rest import open_rest

log: structlog.stdlib.BoundLogger = structlog.get_logger()

APOLOGY: Final = "Sorry, we have a technical problem. Please call again later. Goodbye."
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
    run_call: RunCall | None = None,
    outside: Outside | None = None,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> QuartTrio:
    """Make the application. What Twilio requests from it is all under `/twilio/`.

    Args:
        config: See `gateway.config`.
        toolbox: The functions the model may call; by default none but `hangup`.
        observer: Is told everything noteworthy in every call, as it happens.
        open_session: How to connect a session; by default to the OpenAI Realtime API.
        run_call: How to run a call; by default with this gateway's own agent.
        outside: Where recordings and records go; by default to `config.calls.directory`.
        random_bytes: What tokens are made of: a cryptographic source.

    Raises:
        ConfigError: Nothing could tell Twilio's requests from anybody else's.

    """
    check_serving(config)
    if config.twilio.auth_token is None:
        log.warning(
            "gateway.unsigned",
            consequence="anybody on this machine can place calls; set TWILIO_AUTH_TOKEN",
        )
    tools = Toolbox() if toolbox is None else toolbox
    outside = Outside.of(config) if outside is None else outside
    calls = Calls(
        open_session=open_session or partial(phone_call.open_session, config, tools, outside),
        run_call=run_call
        or partial(phone_call.take_call, config, tools, outside, observer=observer),
        is_recorded=outside.store.has,
        tokens=StreamTokens(random_bytes),
        max_concurrent=config.calls.max_concurrent,
    )
    origin = Origin.of(config)
    rest = open_rest(config.twilio)
    app = QuartTrio("gateway", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY_BYTES
    app.config["BODY_TIMEOUT"] = BODY_S
    # For whoever serves this: `stop_admitting` is how a drain begins.
    app.extensions["calls"] = calls
    _route(app, FrontDoor(calls, origin, Agent(settings=config.agent)))
    hang_up_call = None if rest is None else rest.hang_up_ours
    app.asgi_app = MediaDoor(app.asgi_app, origin, calls, hang_up_call)  # type: ignore[assignment,method-assign]

    @app.before_serving
    async def start() -> None:
        await app.nursery.start(calls.serve)

    @app.after_serving
    async def stop() -> None:
        calls.close()
        if rest is not None:
            await rest.aclose()

    return app


@attrs.frozen
class FrontDoor:
    """The webhooks. Each takes fields whose origin was checked, and returns TwiML."""

    calls: Calls
    origin: Origin
    agent: Agent

    async def voice(self, fields: Fields) -> str:
        """Answer a call that is ringing."""
        values = dict(fields)
        incoming = IncomingCall(
            call_sid=values.get("CallSid", ""),
            account_sid=values.get("AccountSid", ""),
            caller=values.get("From", ""),
            called=values.get("To", ""),
            agent=self.agent,
        )
        account, call = incoming.account_sid, incoming.call_sid
        if not (_CALL_SID.fullmatch(call) and _ACCOUNT_SID.fullmatch(account)):
            log.warning("webhook.refused", reason="no CallSid or no AccountSid")
            return twiml.reject("rejected")
        offer: Offer | Declined = "refused"
        with trio.move_on_after(ANSWER_S):
            offer = await self.calls.offer(incoming)
        match offer:
            case Offer():
                url = partial(self.origin.url, dict(request.scope))
                return twiml.connect_stream(
                    url(MEDIA_PATH, stream=True),
                    offer.token,
                    action=url("/twilio/after-stream"),
                    status_callback=url("/twilio/stream-status"),
                )
            case "busy" | "closing":
                return twiml.reject("busy")
            case "over":
                return twiml.hangup()
            case "refused":
                return twiml.say_and_hangup(APOLOGY)

    async def after_stream(self, fields: Fields) -> str:
        """Say what becomes of a call whose stream has ended."""
        call_sid = dict(fields).get("CallSid", "")
        self.calls.abandon(call_sid)  # Twilio is done with the stream, if it ever was one.
        why: Exit | None = await self.calls.how_ended(call_sid)
        match why:
            case AgentHungUp() | CallerHungUp():
                return twiml.hangup()
            case TimedOut():
                return twiml.say_and_hangup(TOO_LONG)
            case _:
                return twiml.say_and_hangup(APOLOGY)

    async def status(self, fields: Fields) -> str:
        """Note how the call is doing."""
        values = dict(fields)
        log.info(
            "call.status_reported",
            call_sid=_shown(values, "CallSid"),
            status=_shown(values, "CallStatus"),
        )
        if values.get("CallStatus") in {"completed", "busy", "failed", "no-answer", "canceled"}:
            self.calls.abandon(values.get("CallSid", ""))
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
        await trio.lowlevel.checkpoint()
        return ""


def _route(app: QuartTrio, door: FrontDoor) -> None:
    """Give every webhook its path, and the check of its origin in front of it."""
    webhooks = {
        "/twilio/voice": door.voice,
        "/twilio/after-stream": door.after_stream,
        "/twilio/status": door.status,
        "/twilio/stream-status": door.stream_status,
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


def _shown(values: dict[str, str], key: str) -> str:
    """A value of a webhook as a log may show it."""
    return "".join(filter(str.isprintable, values.get(key, "")))[:64]
