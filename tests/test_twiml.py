from __future__ import annotations

from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from gateway.twilio import twiml

PLACE = twiml.StreamPlace(
    url="wss://h/m", token="tok", action="https://h/after?a=1&b=2", status_callback="https://h/s"
)


def test_a_stream_is_connected_and_a_hangup_stands_behind_it() -> None:
    response = ET.fromstring(twiml.connect_stream(PLACE))

    assert [child.tag for child in response] == ["Connect", "Hangup"]
    connect = response[0]
    assert connect.attrib == {"action": "https://h/after?a=1&b=2", "method": "POST"}
    assert connect[0].attrib == {"url": "wss://h/m", "statusCallback": "https://h/s"}
    assert connect[0][0].attrib == {"name": "token", "value": "tok"}


@given(st.text())
def test_no_text_becomes_a_verb_or_breaks_the_document(text: str) -> None:
    """Control characters go, everything else is said as it is."""
    response = ET.fromstring(twiml.say_and_hangup(text).encode())
    kept = "".join(
        c for c in text
        if c in "\t\n\r" or "\x20" <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff"
    )  # fmt: skip

    assert [child.tag for child in response] == ["Say", "Hangup"]
    # XML readers turn every line end into a newline.
    assert (response[0].text or "") == kept.replace("\r\n", "\n").replace("\r", "\n")


def test_the_small_documents_are_what_twilio_expects() -> None:
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'

    assert twiml.hangup() == head + "<Response><Hangup /></Response>"
    assert twiml.reject() == head + '<Response><Reject reason="busy" /></Response>'
