"""Reads TwiML as Twilio would: known verbs, known attributes, or an error with its number.

Pure. Source: "TwiML for Programmable Voice" and the pages of the errors named, Twilio docs.
"""

from __future__ import annotations

import re
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


@attrs.frozen
class PlayDigits:
    """Send keys to the far end."""

    digits: str


@attrs.frozen
class Dial:
    """Call somebody else, and connect the two."""

    to: str
    """A number, or a SIP URI."""
    timeout_s: int
    caller_id: str | None
    action: str | None
    whisper_url: str | None
    """The document that the callee gets first."""
    status_callback: str | None
    """Told when the callee answers."""


@attrs.frozen
class Record:
    """Record what the caller says."""

    longest_s: int
    action: str | None
    status_callback: str | None


Verb = Say | Pause | Hangup | Reject | Redirect | ConnectStream | PlayDigits | Dial | Record

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
    "Play": {"digits"},
    "Dial": {"action", "method", "timeout", "callerId", "answerOnBridge", "timeLimit"},
    "Number": {"url", "method", "statusCallback", "statusCallbackEvent", "statusCallbackMethod"},
    "Sip": {"url", "method", "statusCallback", "statusCallbackEvent", "statusCallbackMethod"},
    "Record": {
        *("action", "method", "timeout", "finishOnKey", "maxLength", "playBeep", "trim"),
        *("recordingStatusCallback", "recordingStatusCallbackMethod"),
    },
}
_EMPTY: Final = {"Pause", "Hangup", "Reject", "Parameter", "Play", "Record"}
_KEYS: Final = re.compile(r"[0-9*#A-Dw]{1,100}")
_NUMBER: Final = re.compile(r"\+[1-9][0-9]{1,14}")
_SIP: Final = re.compile(r"sips?:[!-~]+@[!-~]+", re.IGNORECASE)


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
        case "Play":
            return _play(element)
        case "Dial":
            return _dial(element)
        case "Record":
            return _record(element)
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


def _play(element: ET.Element) -> PlayDigits:
    digits = element.get("digits", "")
    if not _KEYS.fullmatch(digits):
        raise TwimlFault(13326, "digits of <Play> are not 0 to 9, *, #, A to D and w")
    return PlayDigits(digits)


def _dial(element: ET.Element) -> Dial:
    if len(element) != 1 or element[0].tag not in {"Number", "Sip"}:
        raise TwimlFault(12200, "<Dial> does not have exactly one <Number> or <Sip>")
    noun = element[0]
    _check(noun)
    to = (noun.text or "").strip()
    form = _NUMBER if noun.tag == "Number" else _SIP
    if not form.fullmatch(to):
        raise TwimlFault(13223, f"<{noun.tag}> is not a number in E.164, or not a SIP URI")
    timeout_s = _whole(element, "timeout", "30")
    if not 5 <= timeout_s <= 600:
        raise TwimlFault(13212, "timeout of <Dial> is not 5 to 600")
    _one_of(element, "answerOnBridge", "false", "true")
    _one_of(element, "method", "POST", "GET")
    caller_id = element.get("callerId")
    if caller_id is not None and not (_NUMBER.fullmatch(caller_id) or _SIP.fullmatch(caller_id)):
        raise TwimlFault(13214, "callerId of <Dial> is not a number in E.164")
    if noun.get("statusCallback") is not None and noun.get("statusCallbackEvent") != "answered":
        raise TwimlFault(12200, "only statusCallbackEvent=answered is rehearsed")
    return Dial(
        to=to,
        timeout_s=timeout_s,
        caller_id=caller_id,
        action=_page(element, "action"),
        whisper_url=_page(noun, "url"),
        status_callback=_page(noun, "statusCallback"),
    )


def _record(element: ET.Element) -> Record:
    longest_s = _whole(element, "maxLength", "3600")
    if not 1 <= longest_s <= 14_400:
        raise TwimlFault(13612, "maxLength of <Record> is not 1 to 14400")
    _one_of(element, "playBeep", "true", "false")
    _one_of(element, "method", "POST", "GET")
    return Record(longest_s, _page(element, "action"), _page(element, "recordingStatusCallback"))


def _page(element: ET.Element, name: str) -> str | None:
    """Read an attribute that is the absolute address of a page."""
    url = element.get(name)
    if url is not None and urlsplit(url).scheme not in {"http", "https"}:
        raise TwimlFault(11100, f"{name} of <{element.tag}> is not an absolute URL")
    return url


def _whole(element: ET.Element, name: str, default: str) -> int:
    text = element.get(name, default)
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise TwimlFault(12200, f"{name} of <{element.tag}> is not a whole number")
    return int(text)


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
    if element.tag in {"Say", "Redirect", "Number", "Sip"}:
        return
    stray = (element.text or "") + "".join(child.tail or "" for child in element)
    if stray.strip():
        raise TwimlFault(12200, f"<{element.tag}> has text in it")
    if len(element) and element.tag in _EMPTY:
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
