"""A stand-in for the Responses API: an ASGI application with scripted answers.

`gateway.web.server.serve` makes a server of it, and `httpx.ASGITransport` a transport in memory,
which is in virtual time as well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

import attrs
import orjson
import trio

from gateway.lab.openai.admission import WRONG_KEY
from gateway.lab.openai.responses_rules import MODELS, Json, Research, check, response
from gateway.lab.openai.shapes import Refusal

PATHS: Final = ("/v1/responses", "/openai/v1/responses")
"""The second is Azure's, with the key in a header `api-key`."""
MODEL_PATHS: Final = ("/v1/models", "/openai/v1/models")
NOTHING_FOUND: Final = Research("I found nothing about that.")
"""What is answered when the script has nothing left."""
_LARGEST_BODY_BYTES: Final = 16 * 1024 * 1024

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


@attrs.define(eq=False)
class ResponsesServer:
    """The application, and what it was asked.

    Args:
        script: An answer for each question, in order.
        created_at_s: The date in its answers, in Unix time.

    """

    script: list[Research] = attrs.field(factory=list[Research])
    created_at_s: int = 1_795_000_000
    asked: list[Json] = attrs.field(factory=list[Json], init=False)
    """The requests that it took."""
    refused: list[str] = attrs.field(factory=list[str], init=False)
    """The codes of those that it did not."""
    requests: int = attrs.field(default=0, init=False)

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Serve one request, or be started and stopped."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"there is no {scope['type']} here")
        body = await _read(receive)
        headers = {
            name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        status, answer, more = await self._answer(scope["method"], scope["path"], headers, body)
        fields = [(b"content-type", b"application/json")]
        fields += [(b"x-request-id", f"req_{self.requests:032x}".encode())]
        fields += [(name.encode(), value.encode()) for name, value in more]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": orjson.dumps(answer)})

    async def _answer(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, Json, Iterable[tuple[str, str]]]:
        """Status, body, and headers of its own."""
        self.requests += 1
        if path not in (*PATHS, *MODEL_PATHS):
            return 404, self._error("not_found", f"Invalid URL ({method} {path})"), ()
        if (refusal := _unauthorized(path, headers)) is not None:
            return 401, self._error("invalid_api_key", refusal), ()
        if path in MODEL_PATHS:
            data = [{"id": one, "object": "model", "created": 0, "owned_by": "-"} for one in MODELS]
            return 200, {"object": "list", "data": data}, ()
        if method != "POST":
            return 405, self._error("method_not_allowed", f"Not allowed to {method} {path}."), ()
        if headers.get("content-type", "").partition(";")[0] != "application/json":
            return 400, self._error("unsupported_content_type", "Use 'application/json'."), ()
        try:
            asked = check(orjson.loads(body))
        except orjson.JSONDecodeError:
            return 400, self._error("invalid_json", "We could not parse the JSON body."), ()
        except Refusal as refused:
            return 400, self._error(refused.code, refused.message, refused.param), ()
        self.asked.append(asked)
        research = self.script.pop(0) if self.script else NOTHING_FOUND
        await trio.sleep(research.after_s)
        if research.http_status != 200:
            error = self._error(research.code or "server_error", "Refused by the script.")
            return research.http_status, error, research.headers
        answer = response(asked, research, self.requests, self.created_at_s)
        return 200, answer, research.headers

    def _error(self, code: str, message: str, param: str | None = None) -> Json:
        self.refused.append(code)
        kind = "invalid_request_error"
        if code in ("rate_limit_exceeded", "server_error", "insufficient_quota"):
            kind = code
        return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _unauthorized(path: str, headers: dict[str, str]) -> str | None:
    """What is wrong with the key, if anything."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if path.startswith("/openai/") and "api-key" in headers:
        scheme, key = "bearer", headers["api-key"]
    if scheme.lower() != "bearer" or not key:
        return "You didn't provide an API key."
    if not key.startswith("sk-") or key == WRONG_KEY:
        return "Incorrect API key provided."
    return None


async def _read(receive: _Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return body
        body += bytes(message.get("body", b""))
        if not message.get("more_body") or len(body) > _LARGEST_BODY_BYTES:
            return body


async def _live(receive: _Receive, send: _Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
