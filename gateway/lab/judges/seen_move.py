"""What was seen of a call that was to go on elsewhere, at Twilio's end of REST. No judgement."""

from __future__ import annotations

from contextlib import suppress

import attrs

from gateway.lab.twilio.twiml_reader import Dial, PlayDigits, TwimlFault, read_twiml


@attrs.frozen(kw_only=True)
class MoveSeen:
    """One request to let a call go on with another document."""

    at_s: float
    """When it was obeyed, or was not."""
    obeyed: bool
    keys: str = ""
    """That are to be pressed."""
    dials: bool = False
    """Somebody is to be called."""

    @classmethod
    def of(cls, document: bytes, *, at_s: float, obeyed: bool) -> MoveSeen:
        """Read what is asked for."""
        keys, dials = "", False
        with suppress(TwimlFault):
            for verb in read_twiml(document, "text/xml"):
                keys += verb.digits if isinstance(verb, PlayDigits) else ""
                dials = dials or isinstance(verb, Dial)
        return cls(at_s=at_s, obeyed=obeyed, keys=keys, dials=dials)
