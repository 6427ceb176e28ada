"""Reads TwiML as Twilio would: known verbs, known attributes, or an error with its number.

Pure. Source: "TwiML for Programmable Voice" and the pages of the errors named, Twilio docs.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import attrs

DOCUMENT_BYTES: Final = 64 * 1024
"""Twilio documents no bound for a fetched document; an honest one has a few hundred bytes."""

_LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}


@attrs.frozen
class TwimlFault(Exception):
    """Twilio would not carry this document out."""

    code: int
    """12100 not XML, 12200 not TwiML, 12300 content type, 319xx the stream's URL."""
    what: str

    def __str__(self) -> str:
        return f"error {self.code}: {self.what}"


@attrs.frozen
class Say:
    """Speak to the caller in Twilio's own voice."""

    text: str


@attrs.frozen
class Pause:
    """Wait."""

    length_s: float


@attrs.frozen
class Hangup:
    """End the call."""


@attrs.frozen
class Reject:
    """Do not answer the call."""

    reason: str


@attrs.frozen
class Redirect:
    """Go on with the document at another URL."""

    url: str
    method: str


@attrs.frozen
class ConnectStream:
    """Open a bidirectional stream."""

    url: str
    action: str | None
    method: str
    parameters: tuple[tuple[str, str], ...]
    status_callback: str | None


Verb = Say | Pause | Hangup | Reject | Redirect | ConnectStream

_ATTRIBUTES: Final = {
    "Response": set[str](),
    "Say": {"voice", "language", "loop"},
    "Pause": {"length"},
    "Hangup": set[str](),
    "Reject": {"reason"},
    "Redirect": {"method"},
    "Connect": {"action", "method"},
    "Stream": {"url", "name", "track", "statusCallback", "statusCallbackMethod"},
    "Parameter": {"name", "value"},
}


def read_twiml(body: bytes, content_type: str) -> tuple[Verb, ...]:
    """Read a document that a webhook answered.

    Raises:
        TwimlFault: Twilio would end the call over it.

    """
    if content_type.partition(";")[0].strip().lower() not in {"text/xml", "application/xml"}:
        raise TwimlFault(12300, f"the content type is {content_type!r} and not text/xml")
    if len(body) > DOCUMENT_BYTES:
        raise TwimlFault(12100, f"the document has more than {DOCUMENT_BYTES} bytes")
    if b"<!DOCTYPE" in body:
        raise TwimlFault(12100, "the document has a DOCTYPE")
    try:
        root = ET.fromstring(body)  # noqa: S314 (bounded, and without a DTD no entity can grow)
    except (ET.ParseError, ValueError, LookupError) as error:
        raise TwimlFault(12100, f"not XML: {error}") from error
    if root.tag != "Response":
        raise TwimlFault(12200, f"the root is <{root.tag}> and not <Response>")
    _check(root)
    verbs = tuple(_verb(element) for element in root)
    if any(isinstance(verb, Reject) for verb in verbs[1:]):
        raise TwimlFault(12200, "<Reject> is not the first verb")
    return verbs


def _verb(element: ET.Element) -> Verb:
    _check(element)
    text = "".join(element.itertext()).strip()
    match element.tag:
        case "Say" if text:
            return Say(text)
        case "Pause":
            return Pause(_seconds(element.get("length", "1")))
        case "Hangup":
            return Hangup()
        case "Reject":
            return Reject(_one_of(element, "reason", "rejected", "busy"))
        case "Redirect" if text:
            return Redirect(text, _one_of(element, "method", "POST", "GET"))
        case "Connect":
            return _connect(element)
        case "Say" | "Redirect":
            raise TwimlFault(12200, f"<{element.tag}> is empty")
        case tag:
            raise TwimlFault(12200, f"<{tag}> does not belong in <Response>")


def _connect(element: ET.Element) -> ConnectStream:
    if [child.tag for child in element] != ["Stream"]:
        raise TwimlFault(12200, "<Connect> does not have exactly one <Stream>")
    stream = element[0]
    _check(stream)
    if stream.get("track", "inbound_track") != "inbound_track":
        raise TwimlFault(31941, "a bidirectional stream has the inbound track only")
    return ConnectStream(
        url=_stream_url(stream.get("url", "")),
        action=element.get("action"),
        method=_one_of(element, "method", "POST", "GET"),
        parameters=tuple(_parameter(child) for child in stream),
        status_callback=stream.get("statusCallback"),
    )


def _stream_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port  # Raises when it is no number.
    except ValueError as error:
        raise TwimlFault(31923, "the stream's url is malformed") from error
    if parts.scheme not in {"ws", "wss"} or (parts.scheme == "ws" and host not in _LOOPBACK):
        raise TwimlFault(31922, "the stream's url is not wss:// (ws:// is for loopback)")
    if not host or not url.isascii() or any(c.isspace() for c in url):
        raise TwimlFault(31923, "the stream's url is malformed")
    if parts.query or parts.fragment or "?" in url:
        raise TwimlFault(31920, "the stream's url has a query, which Twilio drops")
    return url


def _parameter(element: ET.Element) -> tuple[str, str]:
    if element.tag != "Parameter":
        raise TwimlFault(12200, f"<{element.tag}> does not belong in <Stream>")
    _check(element)
    name, value = element.get("name"), element.get("value")
    if not name or value is None:
        raise TwimlFault(12200, "<Parameter> lacks its name or value")
    if len(name) + len(value) >= 500:
        raise TwimlFault(12200, "<Parameter> has a name and value of 500 characters or more")
    return name, value


def _check(element: ET.Element) -> None:
    """Refuse attributes and stray text that Twilio's schema does not know."""
    known = _ATTRIBUTES.get(element.tag)
    if known is None:
        raise TwimlFault(12200, f"<{element.tag}> is no known verb")
    for name in element.keys():  # noqa: SIM118 (an element iterates over its children)
        if name not in known:
            raise TwimlFault(12200, f"<{element.tag}> has no attribute {name}")
    if element.tag in {"Say", "Redirect"}:
        return
    stray = (element.text or "") + "".join(child.tail or "" for child in element)
    if stray.strip():
        raise TwimlFault(12200, f"<{element.tag}> has text in it")
    if len(element) and element.tag in {"Pause", "Hangup", "Reject", "Parameter"}:
        raise TwimlFault(12200, f"<{element.tag}> has something in it")


def _one_of(element: ET.Element, name: str, *values: str) -> str:
    """Read an attribute that has a closed set of values, the first one being the default."""
    value = element.get(name, values[0])
    if value not in values:
        raise TwimlFault(12200, f"{name} of <{element.tag}> is none of {', '.join(values)}")
    return value


def _seconds(text: str) -> float:
    if not (text.isascii() and text.isdigit() and len(text) < 5):
        raise TwimlFault(12200, "length of <Pause> is not a number of seconds")
    return float(text)
