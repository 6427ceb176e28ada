"""Whether a request may be acted on: signed by Twilio, or unsigned from this very machine. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

import attrs

from gateway.configuration.config import Config, is_loopback
from gateway.twilio.signature import is_signed

_PROXY_HEADERS: Final = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-real-ip"})


@attrs.frozen
class Origin:
    """What the configuration says about who may ask."""

    auth_token: str | None = attrs.field(repr=False)
    public_url: str | None

    @classmethod
    def of(cls, config: Config) -> Origin:
        """Take from the settings what this needs."""
        token = config.twilio.auth_token
        return cls(None if token is None else token.reveal(), config.server.public_url)

    def flaw(self, scope: dict[str, Any], pairs: Iterable[tuple[str, str]] = ()) -> str | None:
        """Why this request must be refused, or `None`.

        Args:
            scope: ASGI's, of an HTTP request or a WebSocket.
            pairs: The decoded form fields of a POST.

        """
        if self.auth_token is None:
            return _unsigned_flaw(scope)
        signature = _header(scope, b"x-twilio-signature")
        if signature is None:
            return "no X-Twilio-Signature"
        url = self.url(scope, _as_written(scope), stream=scope["type"] == "websocket")
        if is_signed(signature, auth_token=self.auth_token, url=url, pairs=pairs):
            return None
        return "X-Twilio-Signature does not fit server.public_url and twilio.auth_token"

    def url(self, scope: dict[str, Any], path: str, *, stream: bool = False) -> str:
        """The address of one of our routes as Twilio is to request it.

        From the configuration, and without one from the address of the socket that the request
        came to; never from the Host header, which its sender chose.
        """
        base = self.public_url
        if base is None:
            host, port = scope["server"]
            base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        if stream:
            base = base.replace("http", "ws", 1)
        return base.rstrip("/") + path


def _unsigned_flaw(scope: dict[str, Any]) -> str | None:
    way_out = "set TWILIO_AUTH_TOKEN and OFFHOOK_PUBLIC_URL to serve Twilio"
    client = scope.get("client")
    if client is None or not is_loopback(client[0]):
        return f"unsigned, and not from this machine: {way_out}"
    # A tunnel or a proxy on this machine looks local and speaks for the whole world.
    if any(name in _PROXY_HEADERS for name, _ in scope["headers"]):
        return f"unsigned, and forwarded by a proxy: {way_out}"
    # A page that somebody looks at here can make their browser send forms anywhere.
    if any(name == b"origin" or name.startswith(b"sec-fetch-") for name, _ in scope["headers"]):
        return f"unsigned, and sent by a web page: {way_out}"
    host = _header(scope, b"host") or ""
    try:
        named = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        named = ""
    if not is_loopback(named):
        return f"unsigned, and addressed to another host than this machine: {way_out}"
    return None


def _as_written(scope: dict[str, Any]) -> str:
    """Path and query, byte by byte as they were requested: that is what was signed.

    Without the path this application is mounted at: that is part of the public URL.
    """
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    raw = raw.removeprefix(scope.get("root_path", "").encode())
    query: bytes = scope["query_string"]
    return (raw + b"?" + query if query else raw).decode("latin-1")


def _header(scope: dict[str, Any], wanted: bytes) -> str | None:
    """The header's value; `None` when there is not exactly one."""
    values: list[bytes] = [value for name, value in scope["headers"] if name.lower() == wanted]
    return values[0].decode("latin-1") if len(values) == 1 else None
