"""Twilio's REST interface, as far as a call needs it: ending one.

Source: "Call resource: update a call", Twilio docs.
"""

from __future__ import annotations

import random
from typing import Final
from urllib.parse import quote, urlsplit

import attrs
import httpx
import orjson
import structlog
import trio

from actors.wire.twilio import Start
from gateway.config import TwilioSettings, is_loopback

log: structlog.stdlib.BoundLogger = structlog.get_logger()

TOTAL_S: Final = 1.4
"""All tries together. The caller is listening to silence meanwhile; behind it stands the
`<Hangup/>` that ends the call when the stream does."""
TRY_S: Final = 1.0
"""One try. Usually 150 ms; a lost packet costs the first retransmission."""
FIRST_PAUSE_S: Final = 0.1
"""Doubles with each try, and is jittered, as Twilio asks for 429."""

_ALREADY_OVER: Final = {(404, 20404), (400, 21220)}
"""Status and code of "no such call" and "not in progress": what was wanted."""


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

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        await self._client.aclose()

    async def _try_to_hang_up(self, call_sid: str) -> tuple[str, bool]:
        """What came of one try, and whether another may do better."""
        path = f"/2010-04-01/Accounts/{_quoted(self._account_sid)}/Calls/{_quoted(call_sid)}.json"
        try:
            with trio.fail_after(self.try_s):
                response = await self._client.post(path, data={"Status": "completed"})
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


def open_rest(settings: TwilioSettings) -> TwilioRest | None:
    """Make the client these settings allow; `None` without credentials for REST."""
    if settings.account_sid is None:
        return None
    if settings.api_key is not None and settings.api_secret is not None:
        auth = (settings.api_key, settings.api_secret.reveal())
    elif settings.auth_token is not None:
        auth = (settings.account_sid, settings.auth_token.reveal())
    else:
        return None
    client = httpx.AsyncClient(
        base_url=settings.api_url,
        auth=auth,
        timeout=TRY_S,
        # A proxy of the environment is for the world, not for this machine.
        trust_env=not is_loopback(urlsplit(settings.api_url).hostname or ""),
    )
    return TwilioRest(settings.account_sid, client)


def _quoted(sid: str) -> str:
    return quote(sid, safe="")


def _code(response: httpx.Response) -> int | None:
    """Twilio's own error code, if the body has one."""
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return None
    code = body.get("code") if isinstance(body, dict) else None
    return code if isinstance(code, int) else None
