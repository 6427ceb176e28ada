"""Twilio's REST interface, as far as calls need it: ending, moving and placing them, and messages.

Source: "Call resource: update a call", "Call resource: create a call", "Messages resource", Twilio
docs.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import quote, urlsplit

import attrs
import httpx
import orjson
import structlog
import trio

from actors.errors import CarrierRefused
from actors.wire.twilio import Start
from gateway.configuration.config import TwilioSettings, is_loopback
from gateway.twilio.error_words import words_of

log: structlog.stdlib.BoundLogger = structlog.get_logger()

TOTAL_S: Final = 1.4
"""All tries together. The caller is listening to silence meanwhile; behind it stands the
`<Hangup/>` that ends the call when the stream does."""
TRY_S: Final = 1.0
"""One try. Usually 150 ms; a lost packet costs the first retransmission."""
FIRST_PAUSE_S: Final = 0.1
"""Doubles with each try, and is jittered, as Twilio asks for 429."""

MOVE_S: Final = 3.0
"""No try of sending a call elsewhere begins later than this after the first."""
MOVE_TRY_S: Final = 2.0
"""One of them. It is never repeated when it may have been obeyed: keys would be pressed twice."""
LONGEST_TWIML: Final = 4000
"""Characters of a document that goes along with a request."""

Transport = httpx.AsyncBaseTransport
"""What requests go over."""

CREATE_S: Final = 6.0
"""No try of placing a call or sending a message begins later than this after the first."""
CREATE_TRY_S: Final = 8.0
"""One of them. It is never repeated when it may have been obeyed: somebody would be rung twice."""
CONNECT_S: Final = 3.0
"""Of it. Whoever could not be reached was not asked for anything."""

_CREATE_TIMEOUT: Final = httpx.Timeout(CREATE_TRY_S, connect=CONNECT_S, pool=CONNECT_S)
_SID: Final = {
    "Calls": re.compile(r"CA[0-9a-f]{32}"),
    "Messages": re.compile(r"(?:SM|MM)[0-9a-f]{32}"),
}
_ALREADY_OVER: Final = {(404, 20404), (400, 21220)}
"""Status and code of "no such call" and "not in progress": what was wanted."""


@attrs.frozen
class Unclear(Exception):
    """Nobody knows whether Twilio did what it was asked."""

    outcome: str

    def __str__(self) -> str:
        return f"Twilio has not answered: {self.outcome}"


@attrs.frozen
class _Refused:
    """What was asked for was certainly not done."""

    why: str
    again: bool
    """Another try may do better."""


@attrs.define(eq=False)
class TwilioRest:
    """A client for one account.

    Resource handling: whoever makes it calls `aclose`.
    """

    _account_sid: str
    _client: httpx.AsyncClient = attrs.field(repr=False)
    total_s: float = TOTAL_S
    """All tries of one hangup together."""
    try_s: float = TRY_S

    async def hang_up_ours(self, start: Start) -> bool:
        """End the phone call of a stream, if it is this account's. Else nothing is asked."""
        if start.account_sid != self._account_sid:
            await trio.lowlevel.checkpoint()
            return False
        return await self.hang_up(start.call_sid)

    async def hang_up(self, call_sid: str) -> bool:
        """End a phone call, whatever it is doing. Idempotent, bounded by `total_s`, cancellable.

        Returns:
            Whether the call is known to be over.

        """
        outcome = "timed out"
        with trio.move_on_after(self.total_s):
            pause_s = FIRST_PAUSE_S
            while True:
                outcome, again = await self._try_to_hang_up(call_sid)
                if not again:
                    break
                await trio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 (jitter)
                pause_s *= 2
        if outcome == "done":
            return True
        log.warning("carrier.hangup_failed", outcome=outcome)
        return False

    async def redirect(self, start: Start, document: str) -> None:
        """Let the phone call of a stream go on with another document. Cancellable, bounded.

        Raises:
            CarrierRefused: It did not, and the call goes on as it was.
            Unclear: It may have.

        """
        if start.account_sid != self._account_sid:
            await trio.lowlevel.checkpoint()
            raise CarrierRefused("the call belongs to another account than TWILIO_ACCOUNT_SID")
        if len(document) > LONGEST_TWIML:
            await trio.lowlevel.checkpoint()
            raise CarrierRefused(f"the document has {len(document)} characters, and 4000 at most")
        until_s = trio.current_time() + MOVE_S
        pause_s = FIRST_PAUSE_S
        while True:
            outcome, again = await self._try_to_redirect(start.call_sid, document)
            if not outcome:
                return
            if not again or trio.current_time() > until_s:
                raise CarrierRefused(outcome)
            await trio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 (jitter)
            pause_s *= 2

    async def _try_to_redirect(self, call_sid: str, document: str) -> tuple[str, bool]:
        """What is wrong, if anything, and whether another try may do better. Raises `Unclear`."""
        try:
            with trio.fail_after(MOVE_TRY_S):
                response = await self._client.post(self._path(call_sid), data={"Twiml": document})
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            return f"Twilio could not be reached: {type(error).__name__}", True
        except (trio.TooSlowError, httpx.TimeoutException, httpx.TransportError) as error:
            raise Unclear(type(error).__name__) from error
        except httpx.HTTPError as error:
            return f"Twilio could not be asked: {type(error).__name__}", False
        if response.is_success:
            return "", False
        if response.status_code >= 500:
            raise Unclear(f"HTTP {response.status_code}")
        code = _code(response)
        log.warning("carrier.redirect_refused", status=response.status_code, code=code)
        return words_of(response.status_code, code), response.status_code == 429

    async def create(self, what: Literal["Calls", "Messages"], form: Mapping[str, str]) -> str:
        """Place a call, or send a message, and return its SID. Cancellable, bounded.

        Cancelled, it may have been done all the same.

        Raises:
            CarrierRefused: It was not, for certain.
            Unclear: It may have been.

        """
        path = f"/2010-04-01/Accounts/{_quoted(self._account_sid)}/{what}.json"
        until_s = trio.current_time() + CREATE_S
        pause_s = FIRST_PAUSE_S
        while True:
            tried = await self._try_to_create(path, form, _SID[what])
            if isinstance(tried, str):
                return tried
            if not tried.again or trio.current_time() + pause_s > until_s:
                raise CarrierRefused(tried.why)
            await trio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 (jitter)
            pause_s *= 2

    async def _try_to_create(
        self, path: str, form: Mapping[str, str], sid: re.Pattern[str]
    ) -> str | _Refused:
        """Ask once. Returns the SID of what was made. Raises `Unclear`."""
        try:
            with trio.fail_after(CREATE_TRY_S + CONNECT_S):
                response = await self._client.post(path, data=form, timeout=_CREATE_TIMEOUT)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            return _Refused(f"Twilio could not be reached: {type(error).__name__}", again=True)
        except (trio.TooSlowError, httpx.HTTPError) as error:
            raise Unclear(type(error).__name__) from error
        status = response.status_code
        if 200 <= status < 300:
            found = _body(response).get("sid")
            if not isinstance(found, str) or sid.fullmatch(found) is None:
                raise Unclear(f"HTTP {status} without a SID")
            return found
        # 408 comes from whatever stands between, and says nothing of what stands behind it.
        if status >= 500 or status == 408:
            raise Unclear(f"HTTP {status}")
        code = _code(response)
        log.warning("carrier.create_refused", status=status, code=code)
        return _Refused(words_of(status, code), again=status == 429)

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        await self._client.aclose()

    async def _try_to_hang_up(self, call_sid: str) -> tuple[str, bool]:
        """What came of one try, and whether another may do better."""
        try:
            with trio.fail_after(self.try_s):
                response = await self._client.post(
                    self._path(call_sid), data={"Status": "completed"}
                )
        except (trio.TooSlowError, httpx.TimeoutException):
            return "timed out", True
        except httpx.TransportError as error:
            return type(error).__name__, True
        except httpx.HTTPError as error:
            return type(error).__name__, False
        if response.is_success or (response.status_code, _code(response)) in _ALREADY_OVER:
            return "done", False
        again = response.status_code == 429 or response.status_code >= 500
        return f"HTTP {response.status_code}, code {_code(response)}", again

    def _path(self, call_sid: str) -> str:
        account = _quoted(self._account_sid)
        return f"/2010-04-01/Accounts/{account}/Calls/{_quoted(call_sid)}.json"


def open_rest(settings: TwilioSettings, transport: Transport | None = None) -> TwilioRest | None:
    """Make the client these settings allow; `None` without credentials for REST.

    Args:
        settings: The account and its credentials.
        transport: What requests go over; `None`: the network.

    """
    if settings.account_sid is None or lacking(settings) is not None:
        return None
    if settings.api_key is not None and settings.api_secret is not None:
        auth = (settings.api_key, settings.api_secret.reveal())
    else:
        token = settings.auth_token
        auth = (settings.account_sid, "" if token is None else token.reveal())
    client = httpx.AsyncClient(
        base_url=settings.api_url,
        auth=auth,
        timeout=MOVE_TRY_S,
        transport=transport,
        # A proxy of the environment is for the world, not for this machine.
        trust_env=not is_loopback(urlsplit(settings.api_url).hostname or ""),
    )
    return TwilioRest(settings.account_sid, client)


def lacking(settings: TwilioSettings) -> str | None:
    """Which setting is missing for REST; `None`: none is."""
    if settings.account_sid is None:
        return "TWILIO_ACCOUNT_SID is not set"
    has_key = settings.api_key is not None and settings.api_secret is not None
    if not has_key and settings.auth_token is None:
        return "neither TWILIO_AUTH_TOKEN nor TWILIO_API_KEY with TWILIO_API_SECRET is set"
    return None


def _quoted(sid: str) -> str:
    return quote(sid, safe="")


def _code(response: httpx.Response) -> int | None:
    """Twilio's own error code, if the body has one."""
    code = _body(response).get("code")
    return code if isinstance(code, int) else None


def _body(response: httpx.Response) -> dict[str, Any]:
    """What was answered, if it is an object of JSON; else nothing."""
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}
