"""How somebody on the phone proves to be the owner: a secret number, or an authenticator's code.

They are typed on the keypad: what is spoken can be overheard, recorded, and is heard by the model.
Tries are counted in the audit log, so that neither a new call nor a new process forgets them.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Literal

import argon2
import attrs
import pyotp
import trio

from actors.control import CallControl
from actors.errors import CarrierRefused, Unspoken
from actors.guard import Tell
from gateway.configuration.tool_settings import OwnerSettings
from gateway.permission.audit_log import AuditLog, Wanted
from gateway.permission.phrases import Phrases

TRIES_MOST: Final = 3
"""In one call."""
PER_NUMBER_MOST: Final = 5
"""Wrong ones of one number, in a day."""
PER_DAY_MOST: Final = 20
"""Wrong ones in all: who can forge a number can forge another. Of 10,000 PINs, 20 a day take
eight months for an even chance; so six digits are better than four."""
DAY: Final = timedelta(days=1)
DRIFT: Final = (0, -1, 1)
"""Steps of 30 s that a clock may be wrong by."""
LONGEST: Final = 12
FIRST_S: Final = 60.0
"""For the first key, from when keys count: the question is rendered and said meanwhile."""
PATIENCE_S: Final = 20.0
"""For all keys, from when the question was said."""
WAIT_S: Final = (1.0, 2.0, 4.0)
"""Before the next question, by how many were wrong already. It is the tool's own time."""
HASHED: Final = "$argon2id$"

LOCKED: Final = (
    "not run: there were too many wrong tries to prove who is calling. It cannot be done today. "
    "Say so, and offer to take a message"
)
NOT_PROVEN: Final = (
    "not run: the caller could not prove that they are the owner. Say so, and offer to take a "
    "message"
)
NOTHING_TYPED: Final = (
    "not run: the caller was asked for their secret number on the keypad, and typed none. Ask "
    "whether they want to go on"
)

Judgement = Literal["right", "wrong", "locked"]

_DIGITS: Final = re.compile(r"[0-9]{4,12}", re.ASCII)


@attrs.define(eq=False)
class Proofs:
    """Judges what was typed. Fits every call; tries of all of them are judged one by one.

    Args:
        owner: Has a PIN, a secret of an authenticator app, or both: then either will do.
        audit: Where tries are counted.
        utc_now: The clock on the wall, by which codes are made.

    """

    owner: OwnerSettings
    audit: AuditLog
    utc_now: Callable[[], datetime]

    async def is_locked(self, caller: str) -> bool:
        """Whether this number, or everybody, has had their tries. Cancellable.

        Raises:
            AuditFailed: Nobody knows.

        """
        since = self.utc_now() - DAY
        wrong = Wanted(events=("not_verified",), since=since)
        mine = await self.audit.count(attrs.evolve(wrong, caller=caller))
        return mine >= PER_NUMBER_MOST or await self.audit.count(wrong) >= PER_DAY_MOST

    async def judge(self, typed: str, caller: str, tell: Tell) -> Judgement:
        """Judge one try, and tell of it. Cancellable.

        Raises:
            AuditFailed: It could not be counted, or told. It was wrong then.

        """
        async with self.audit.alone:
            if await self.is_locked(caller):
                return "locked"
            proof = await self._proof(typed)
            if proof is None:
                await tell("not_verified", "wrong")
                return "wrong"
            if proof != "pin" and await self._was_used(proof):
                await tell("not_verified", "used before")
                return "wrong"
            await tell("verified", proof)
            return "right"

    async def _was_used(self, proof: str) -> bool:
        return await self.audit.count(Wanted(events=("verified",), detail=proof)) > 0

    async def _proof(self, typed: str) -> str | None:
        """What these digits prove it by; `None`: nothing."""
        if _DIGITS.fullmatch(typed) is None:
            return None
        if await self._is_pin(typed):
            return "pin"
        step = self._step(typed)
        return None if step is None else f"code {step}"

    async def _is_pin(self, typed: str) -> bool:
        if self.owner.pin is None:
            return False
        known = self.owner.pin.reveal()
        if not known.startswith(HASHED):
            return hmac.compare_digest(known.encode(), typed.encode())
        return await trio.to_thread.run_sync(_fits, known, typed, abandon_on_cancel=True)

    def _step(self, typed: str) -> int | None:
        """Which step of the authenticator's clock has this code."""
        if self.owner.totp_secret is None:
            return None
        totp = pyotp.TOTP(self.owner.totp_secret.reveal().upper())
        now = int(self.utc_now().timestamp()) // totp.interval
        # All of them, however early one fits: how long this takes says nothing.
        fitting = [
            step
            for step in (now + drift for drift in DRIFT)
            if hmac.compare_digest(totp.generate_otp(step), typed)
        ]
        return fitting[0] if fitting else None


@attrs.define(eq=False)
class OwnerVerifier:
    """Asks the caller of one call for a proof. Fits `actors.guard.Verifier`."""

    proofs: Proofs
    caller: str = attrs.field(repr=False)
    """As the rows have it."""
    words: Phrases
    _tries: int = attrs.field(default=0, init=False)

    async def verify(self, call: CallControl, tell: Tell) -> str | None:
        """See `actors.guard.Verifier`."""
        question = self.words.enter
        while self._tries < TRIES_MOST:
            if await self.proofs.is_locked(self.caller):
                return LOCKED
            typed = await _typed(call, question)
            if not typed:
                return NOTHING_TYPED
            self._tries += 1
            match await self.proofs.judge(typed, self.caller, tell):
                case "right":
                    return None
                case "locked":
                    return LOCKED
                case "wrong":
                    await trio.sleep(WAIT_S[self._tries - 1])
                    question = self.words.again
        return NOT_PROVEN


async def _typed(call: CallControl, question: str) -> str:
    """What the caller types, from the moment that they are asked for it; or nothing.

    Whoever knows the question types over it. So keys are private before its first word.

    Raises:
        Unspoken: There is no voice to ask by. Likewise `CarrierRefused`.

    """
    typed, failure = "", None

    async def ask() -> None:
        nonlocal failure
        try:
            await call.say(question)
        except (Unspoken, CarrierRefused) as error:
            failure = error
            both.cancel_scope.cancel("nobody can be asked")
        both.cancel_scope.deadline = trio.current_time() + PATIENCE_S

    async with trio.open_nursery() as both:
        both.start_soon(ask)
        try:
            typed = await call.collect_digits(
                most=LONGEST, first_s=FIRST_S, private=True, fresh=True
            )
        except CarrierRefused as error:
            failure = error
        both.cancel_scope.cancel("typed")
    if failure is not None and not typed:
        raise failure
    return typed


def _fits(known: str, typed: str) -> bool:
    """Whether a PIN is the one of a hash. Blocking: a tenth of a second, and 64 MiB."""
    try:
        return argon2.PasswordHasher().verify(known, typed)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False
