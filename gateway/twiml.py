"""The documents that tell Twilio what to do with a call. Pure.

Built as trees and never as text, so that nothing a caller or a model said can become a verb.
Source: "TwiML for Programmable Voice", Twilio docs.
"""

from __future__ import annotations

import re
from typing import Final, Literal
from xml.etree import ElementTree as ET

CONTENT_TYPE: Final = "text/xml; charset=utf-8"

_NOT_XML: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 (section 2.2) cannot hold, not even escaped."""


def connect_stream(url: str, token: str, action: str, status_callback: str | None = None) -> str:
    """Connect the call to a bidirectional stream, and hang up when nothing better comes after it.

    Args:
        url: Absolute, `wss://`, without a query: Twilio refuses others (error 31920).
        token: Comes back in `start.customParameters`. With its name under 500 characters.
        action: What Twilio requests when *we* close the stream; its answer decides what follows.
        status_callback: Where Twilio reports that the stream started, stopped or failed.

    """
    response = ET.Element("Response")
    connect = ET.SubElement(response, "Connect", action=_clean(action), method="POST")
    stream = ET.SubElement(connect, "Stream", url=_clean(url))
    if status_callback is not None:
        stream.set("statusCallback", _clean(status_callback))
    ET.SubElement(stream, "Parameter", name="token", value=_clean(token))
    # The backstop of every hangup: a stream that ends ends the call, even if `action` fails.
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


def _clean(text: str) -> str:
    return _NOT_XML.sub("", text)


def _document(response: ET.Element) -> str:
    body = ET.tostring(response, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'
