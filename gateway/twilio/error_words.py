"""What Twilio's error codes mean, in words for a model and for whoever it talks to. Pure.

Only words: Twilio divides and renames its codes from time to time, so nothing is decided by them.
Source: "Error and Warning Dictionary", Twilio docs.
"""

from __future__ import annotations

from typing import Final

_WORDS: Final[dict[int | None, str]] = {
    10004: "too many calls at a time for this account",
    13224: "the number cannot be called",
    20003: "the credentials are not accepted",
    20404: "the call is over",
    20429: "too many requests",
    21205: "the gateway's public address is not accepted",
    21210: "our own number is not verified as a caller id",
    21211: "there is no such number",
    21212: "our own number is not accepted as a sender",
    21214: "the number cannot be reached",
    21215: "the account may not call that country: see its voice geographic permissions",
    21216: "the account may not call that number",
    21217: "the number is not valid",
    21218: "the document is not accepted",
    21219: "a trial account may only call verified numbers",
    21220: "the call is not in progress",
    21266: "the number called and our own are the same",
    21408: "the account may not send messages to that country: see its messaging permissions",
    21601: "our own number cannot send messages",
    21606: "our own number cannot send messages",
    21608: "a trial account may only write to verified numbers",
    21610: "whoever has that number does not want messages: they answered STOP",
    21611: "too many messages of our own number are waiting",
    21612: "messages cannot get from our own number to that one",
    21614: "that number cannot receive messages",
    21617: "the message is too long",
    30034: "our own number is not registered for messages to the United States (A2P 10DLC)",
}


def words_of(status: int, code: int | None) -> str:
    """Why Twilio did not do it.

    Args:
        status: Of the HTTP response.
        code: Twilio's own, if it gave one.

    """
    shown = f"HTTP {status}" if code is None else f"Twilio error {code}"
    return f"{_WORDS.get(code, 'the carrier refused')} ({shown})"
