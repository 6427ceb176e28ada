"""Faults in words, for people.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.lab.faults.fault_plan import CLOSE, Do, Fault, Place

_WHAT: Final[Mapping[Place, str]] = {
    "webhook": "webhook",
    "rest": "request to Twilio",
    "stream.open": "upgrade of the media socket",
    "phone.up": "frame from the phone",
    "phone.down": "frame to the phone",
    "model.open": "attempt to connect to the model",
    "model.up": "frame to the model",
    "model.down": "frame from the model",
    "tool": "run of a tool",
    "store": "write of the record",
    "recorder": "write of audio",
    "node": "",
    "script": "",
}

_LINE: Final[Mapping[Do, str]] = {
    "delay": "comes {ms} ms late, and everything behind it too",
    "drop": "is lost",
    "duplicate": "comes again {ms} ms later",
    "reorder": "is held up for {ms} ms, and later ones overtake it",
    "truncate": "is cut in half",
    "corrupt": "becomes {detail}",
    "inject": "is followed after {ms} ms by a foreign one: {detail}",
    "half_close": "is lost with everything behind it, and nobody is told",
    "break": "is lost: the line breaks there",
    "hang": "never comes to an end: nothing is taken in any more",
    "raise": "fails: {detail}",
}
_CALLED: Final[Mapping[Do, str]] = {
    "delay": "takes {ms} ms longer",
    "corrupt": "gives an odd result: {detail}",
    "hang": "never comes to an end",
}

_ASKED: Final[Mapping[Do, str]] = {
    "delay": "is obeyed, and answered {ms} ms late",
    "raise": "is answered with {detail}",
    "inject": "is obeyed, and {ms} ms later: {detail}",
}

_NODE: Final[Mapping[tuple[Do, str], str]] = {
    ("jump", "wall"): "the wall clock is set {ms} ms ahead",
    ("jump", "stall"): "the event loop stands still for {ms} ms",
    ("jump", "suspend"): "the machine sleeps for {ms} ms",
    ("stop", ""): "the gateway is told to stop",
}


def story(fault: Fault) -> str:
    """One sentence: what goes wrong, where, when."""
    if fault.place == "node":
        what = _NODE.get((fault.do, fault.detail), "a hostile socket comes: {detail}")
        when = f"at {fault.at_ms} ms"
        if fault.do == "inject":
            when += f", during call {fault.call}"
        return f"{fault.id}: {when} {_filled(what, fault)}"
    if fault.place == "script":
        return f"{fault.id}: in call {fault.call} {_filled('{detail}', fault)}"
    phrases = _LINE if fault.place.startswith(("phone", "webhook")) else {**_LINE, **_CALLED}
    if fault.place in ("model.up", "model.down"):
        phrases = _LINE
    if fault.place == "rest":
        phrases = _ASKED
    what = _WHAT[fault.place]
    if fault.kind == CLOSE:
        what = f"goodbye{what.removeprefix('frame')}"
    elif fault.kind != "*":
        what = f"`{fault.kind}` {what}"
    which = f"number {fault.nth}"
    if fault.times > 1:
        which += f" to {fault.nth + fault.times - 1}"
    return f"{fault.id}: in call {fault.call} {what} {which} {_filled(phrases[fault.do], fault)}"


def _filled(phrase: str, fault: Fault) -> str:
    return phrase.format(ms=fault.ms, detail=fault.detail)
