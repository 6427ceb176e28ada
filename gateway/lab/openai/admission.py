"""Who may open a session with the rehearsal model, and how the others are turned away.

Pure. Source: what people reported from the live server, 2025 and 2026: a missing key never gets as
far as a WebSocket; a wrong key, the beta header and an unknown model do, and are told there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs, urlsplit

import attrs

from gateway.lab.rehearsing.scenario import Fault

PATH: Final = "/v1/realtime"
AZURE_PATH: Final = "/openai/v1/realtime"
"""Where Azure has the same, with the key in a header `api-key`."""
WRONG_KEY: Final = "sk-wrong"
"""The one well-formed key that is refused."""


@attrs.frozen
class Rejected:
    """The upgrade is answered with an HTTP error."""

    status: int
    code: str
    message: str


@attrs.frozen
class TurnedAway:
    """The upgrade succeeds, and then comes an `error` event, or none, and a close."""

    close_code: int
    code: str
    message: str
    tells: bool = True
    """Whether the `error` event comes first."""

    @property
    def reason(self) -> str:
        """The reason in the close frame: type and code of the error."""
        return f"invalid_request_error.{self.code}"


@attrs.frozen
class Admitted:
    """A session with this model."""

    model: str


def admit(
    target: str, headers: Mapping[str, str], refusal: Fault | None
) -> Rejected | TurnedAway | Admitted:
    """Decide about an upgrade request.

    Args:
        target: Path and query, as they were asked for.
        headers: By lower-case name.
        refusal: What the scenario has against this connection, if anything.

    """
    url = urlsplit(target)
    model = parse_qs(url.query).get("model", [""])[0]
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if url.path == AZURE_PATH and "api-key" in headers:
        scheme, key = "bearer", headers["api-key"]
    if url.path not in (PATH, AZURE_PATH):
        return Rejected(404, "not_found", f"There is nothing here. Realtime is at {PATH}.")
    if scheme.lower() != "bearer" or not key.startswith(("sk-", "ek_")):
        return Rejected(401, "invalid_api_key", "Missing bearer authentication.")
    if refusal is not None:
        code = "rate_limit_exceeded" if refusal.http_status == 429 else "server_error"
        return Rejected(refusal.http_status, code, refusal.reason or "Refused by the scenario.")
    if not model:
        return Rejected(400, "missing_model", "The query has no `model`.")
    if key == WRONG_KEY:
        return TurnedAway(3000, "invalid_api_key", "Incorrect API key provided.", tells=False)
    if "openai-beta" in headers:
        message = "The Realtime beta API is no longer supported. Please use /v1/realtime (GA)."
        return TurnedAway(4000, "beta_api_shape_disabled", message)
    if not model.startswith("gpt-realtime"):
        return TurnedAway(4000, "model_not_found", f"The model '{model}' does not exist.")
    return Admitted(model)
