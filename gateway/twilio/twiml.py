"""The documents that tell Twilio what to do with a call. Pure.

Built as trees and never as text, so that nothing a caller or a model said can become a verb.
Source: "TwiML for Programmable Voice", Twilio docs.
"""

from __future__ import annotations

import re
from typing import Final, Literal
from xml.etree import ElementTree as ET

import attrs

CONTENT_TYPE: Final = "text/xml; charset=utf-8"

_NOT_XML: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 (section 2.2) cannot hold, not even escaped."""


@attrs.frozen(kw_only=True)
class StreamPlace:
    """Where a call's stream goes, and what lets it in."""

    url: str
    """Absolute, `wss://`, without a query: Twilio refuses others (error 31920)."""
    token: str = attrs.field(repr=False)
    """Comes back in `start.customParameters`. With its name under 500 characters."""
    action: str
    """What Twilio requests when *we* close the stream; its answer decides what follows."""
    status_callback: str | None = None
    """Where Twilio reports that the stream started, stopped or failed."""


def connect_stream(place: StreamPlace) -> str:
    """Connect the call to a bidirectional stream; hang up when nothing better comes after it."""
    response = ET.Element("Response")
    _connect(response, place)
    return _document(response)


def press_and_connect(digits: str, place: StreamPlace) -> str:
    """Send keys to the far end, and then connect the call to a stream.

    Args:
        digits: `0` to `9`, `*`, `#`, `A` to `D`, and `w` for half a second of waiting.
        place: Where the stream goes then.

    """
    response = ET.Element("Response")
    ET.SubElement(response, "Play", digits=digits)
    _connect(response, place)
    return _document(response)


@attrs.frozen(kw_only=True)
class DialPlan:
    """Whom to connect a call to, and what to ask for as it happens."""

    to: str = attrs.field(repr=False)
    """A number in E.164, or a SIP URI."""
    ring_s: int
    caller_id: str | None = attrs.field(default=None, repr=False)
    action: str | None = None
    """What Twilio requests when it has come to an end. `None`: the next verb follows."""
    whisper_url: str | None = None
    """A document for the callee alone, before the two are connected."""
    status_callback: str | None = None
    """Where Twilio reports that the callee has answered."""


def dial(plan: DialPlan, *, say: str | None = None) -> str:
    """Connect the call to somebody else, and hang up when nothing better comes after it.

    Args:
        plan: To whom and how.
        say: Said to the caller first, in Twilio's own voice.

    """
    response = ET.Element("Response")
    if say:
        ET.SubElement(response, "Say").text = _clean(say)
    # Answered by whoever is called, and not by us: until then the caller hears it ringing.
    found = ET.SubElement(response, "Dial", answerOnBridge="true", timeout=str(plan.ring_s))
    if plan.action is not None:
        found.set("action", _clean(plan.action))
        found.set("method", "POST")
    if plan.caller_id:
        found.set("callerId", _clean(plan.caller_id))
    noun = ET.SubElement(found, "Sip" if is_sip(plan.to) else "Number")
    noun.text = _clean(plan.to)
    if plan.whisper_url is not None:
        noun.set("url", _clean(plan.whisper_url))
    if plan.status_callback is not None:
        noun.set("statusCallback", _clean(plan.status_callback))
        noun.set("statusCallbackEvent", "answered")
    ET.SubElement(response, "Hangup")
    return _document(response)


def sayable(text: str | None) -> str | None:
    """What can be said of a text; `None`: nothing. Twilio refuses a `<Say>` without words."""
    return _clean(text or "").strip() or None


def is_sip(to: str) -> bool:
    """Whether this is a SIP URI, and not a number."""
    return to.lower().startswith(("sip:", "sips:"))


def whisper(text: str, then: str) -> str:
    """Say something to a callee, then ask for what is at `then`."""
    response = ET.Element("Response")
    ET.SubElement(response, "Say").text = _clean(text)
    ET.SubElement(response, "Redirect", method="POST").text = _clean(then)
    return _document(response)


def nothing_more() -> str:
    """Carry on with what comes after this document: to a callee, the caller."""
    return _document(ET.Element("Response"))


def take_message(text: str, *, most_s: int, status_callback: str, action: str) -> str:
    """Say something, then record what the caller has to say after a tone.

    Args:
        text: Said in Twilio's own voice.
        most_s: How long the message may be.
        status_callback: Where Twilio reports where the recording is.
        action: What Twilio requests afterwards.

    """
    response = ET.Element("Response")
    ET.SubElement(response, "Say").text = _clean(text)
    ET.SubElement(
        response,
        "Record",
        action=_clean(action),
        method="POST",
        maxLength=str(most_s),
        playBeep="true",
        recordingStatusCallback=_clean(status_callback),
    )
    ET.SubElement(response, "Hangup")
    return _document(response)


def say_and_hangup(text: str) -> str:
    """Say one sentence in Twilio's own voice, then end the call."""
    response = ET.Element("Response")
    ET.SubElement(response, "Say").text = _clean(text)
    ET.SubElement(response, "Hangup")
    return _document(response)


def hangup() -> str:
    """End the call."""
    response = ET.Element("Response")
    ET.SubElement(response, "Hangup")
    return _document(response)


def reject(reason: Literal["rejected", "busy"] = "busy") -> str:
    """Do not answer the call; it is not billed."""
    response = ET.Element("Response")
    ET.SubElement(response, "Reject", reason=reason)
    return _document(response)


def _connect(response: ET.Element, place: StreamPlace) -> None:
    connect = ET.SubElement(response, "Connect", action=_clean(place.action), method="POST")
    stream = ET.SubElement(connect, "Stream", url=_clean(place.url))
    if place.status_callback is not None:
        stream.set("statusCallback", _clean(place.status_callback))
    ET.SubElement(stream, "Parameter", name="token", value=_clean(place.token))
    # The backstop of every hangup: a stream that ends ends the call, even if `action` fails.
    ET.SubElement(response, "Hangup")


def _clean(text: str) -> str:
    return _NOT_XML.sub("", text)


def _document(response: ET.Element) -> str:
    body = ET.tostring(response, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'
