"""Whether a request comes from Twilio: `X-Twilio-Signature`. Pure.

Source: "Webhooks Security" and "Media Streams: Configuration", Twilio docs.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit, urlunsplit

_DEFAULT_PORTS: Final = {"https": 443, "wss": 443, "http": 80, "ws": 80}


def sign(auth_token: str, url: str, pairs: Iterable[tuple[str, str]] = ()) -> str:
    """Sign a request as Twilio does.

    Args:
        auth_token: The primary token of the account that owns the call.
        url: What Twilio was told to request, to the letter; `wss://` for a stream.
        pairs: The decoded form fields of a POST, every one, as they came; none for a stream.

    """
    values: dict[str, set[str]] = {}
    for name, value in pairs:
        values.setdefault(name, set()).add(value)
    fields = "".join(name + value for name in sorted(values) for value in sorted(values[name]))
    message = (url + fields).encode(errors="surrogatepass")
    return b64encode(hmac.digest(auth_token.encode(), message, "sha1")).decode("ascii")


def is_signed(
    signature: str | None,
    *,
    auth_token: str,
    url: str,
    pairs: Iterable[tuple[str, str]] = (),
) -> bool:
    """Whether `signature` is Twilio's for this request, in constant time over all variants.

    A missing, empty or non-ASCII signature is simply not one.
    """
    # Bytes, because comparing non-ASCII text raises; whatever came, the answer is yes or no.
    given = (signature or "").encode(errors="surrogatepass")
    fields = list(pairs)
    found = False
    for variant in variants(url):
        found |= hmac.compare_digest(sign(auth_token, variant, fields).encode(), given)
    return found


def variants(url: str) -> list[str]:
    """Every way Twilio may have written `url` when it signed it.

    With and without the default port. For a stream also with and without the last slash, which
    is no documented rule but was met by several users. *Observed*, 2026.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    hosts = {parts.netloc.rpartition("@")[2], f"{host}:{port}"}
    if port == _DEFAULT_PORTS[parts.scheme]:
        hosts.add(host)
    paths = {parts.path}
    if parts.scheme in {"ws", "wss"}:
        paths.add(parts.path[:-1] if parts.path.endswith("/") else parts.path + "/")
    return sorted(
        urlunsplit((parts.scheme, netloc, path, parts.query, ""))
        for netloc in hosts
        for path in paths
    )
