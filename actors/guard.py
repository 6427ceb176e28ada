"""The guard: the one way by which what a model wants is done.

The model proposes. Who is on the phone, what they confirmed, and what the owner allows decide; and
every decision is written down before its effect. Whatever goes wrong in here ends in a refusal.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import attrs
import structlog
import trio

from actors.control import CONFIRM_S, CallControl, Reply
from actors.errors import AuditFailed, CarrierRefused, EffectUnknown, ToolRefused, Unspoken
from actors.messages import HANGUP, RanElsewhere
from actors.policy.arguments import Arguments, digest_of
from actors.policy.audit import ENDS, AuditEvent, AuditRow, shown
from actors.policy.risk import Risk, Step, Tier, step_for
from actors.ports import Audit, Tools
from actors.toolbox import ToolSchema

log: structlog.stdlib.BoundLogger = structlog.get_logger()

ASKED_MOST: Final = 10
"""Questions to one caller, in one call: whoever is asked over and over says yes in the end."""
LAST_WORD_S: Final = 0.2
"""For the row that says how it ended, when the call is ending too. A call is gone in 250 ms."""

NOT_YOURS: Final = (
    "only the owner can have this done, and this caller is not known to be the owner. Say so, and "
    "offer to take a message"
)
NOT_WRITTEN: Final = "not run: what is decided could not be written down. Say that it failed"
NOT_DECIDED: Final = "not run: whether it may be could not be decided. Say that it failed"
NO_VOICE: Final = (
    "not run: the caller could not be asked to confirm it. Say that it cannot be done now"
)
BEING_VERIFIED: Final = (
    "not run: the caller is just being asked who they are. When that is answered, ask again"
)
TOO_MANY: Final = "not run: the caller was asked too often in this call. Do not try again"
BY_ITSELF: Final = "run by the model's server"
WITHOUT_LEAVE: Final = "run by the model's server, without leave"
TOO_LATE: Final = "not run: the confirmation is too old. Ask again if they still want it"
ANSWERS: Final[Mapping[Reply, str]] = {
    "no": "not done: the caller said no. Do not ask for it again unless they want it",
    "other": (
        "not done: the caller said neither yes nor no. Go by what they said, and ask for it again "
        "if they still want it"
    ),
    "silence": (
        "not done: the caller did not answer. Ask whether they are there, and ask for it again if "
        "they still want it"
    ),
    "unheard": (
        "not done: the caller did not hear the question to its end. Go by what they say, and ask "
        "for it again if they still want it"
    ),
}

Effect = Callable[[CallControl | None], Awaitable[str]]
"""Runs the tool, in the call that it is given."""
Ended = Callable[[AuditEvent, str], Awaitable[None]]
"""Writes down how that ended, and why. Never raises `AuditFailed`."""
Tell = Callable[[AuditEvent, str], Awaitable[None]]
"""Writes down a step. May raise `AuditFailed`."""
ReadOut = Callable[[ToolSchema, Mapping[str, Any]], str]
"""The question to the caller, with everything that will be done. May raise `ToolRefused`."""


class Offered(Tools, Protocol):
    """Tools that say what they are."""

    def schemas(self) -> tuple[ToolSchema, ...]:
        """What the model is told, and the policy."""


class Verifier(Protocol):
    """How the owner of one call can prove that it is them."""

    async def verify(self, call: CallControl, tell: Tell) -> str | None:
        """Ask the caller for the proof. Cancellable.

        Every try is told, as `verified` or `not_verified`.

        Returns:
            `None`: it is the owner. Otherwise why that is not known, for the model.

        Raises:
            AuditFailed: A try could not be written down.
            Unspoken: There is no voice to ask by. Likewise `CarrierRefused`.

        """


class Effects(Protocol):
    """Where what tools do is done."""

    async def run(self, effect: Effect, call: CallControl | None, ended: Ended) -> str:
        """Have an effect, and return or raise what it does. Cancellable.

        `ended` is called exactly once, however it ends.
        """

    async def afterwards(self, write: Callable[[], Awaitable[None]]) -> None:
        """Have something written, by somebody who has the time if there is one."""


@attrs.frozen
class Caller:
    """Who is on the phone, as far as the carrier knows."""

    number: str = attrs.field(default="", repr=False)
    tier: Tier = Tier.ANONYMOUS
    can_verify: bool = False
    """There is a proof that they may try to give."""


@attrs.define(eq=False)
class InCall:
    """Effects that end with their call, at the latest. Fits `Effects`."""

    async def run(self, effect: Effect, call: CallControl | None, ended: Ended) -> str:
        """See `Effects`."""
        event: AuditEvent = "unknown"
        detail = "it was cancelled"
        is_written = False
        try:
            text = await effect(call)
            event, detail = "finished", ""
            await ended(event, detail)
            is_written = True
        except (Exception, SystemExit) as error:
            event, detail = outcome_of(error)
            raise
        finally:
            if not is_written:
                with trio.move_on_after(LAST_WORD_S, shield=True):
                    await ended(event, detail)
        return text

    async def afterwards(self, write: Callable[[], Awaitable[None]]) -> None:
        """See `Effects`."""
        await write()


def outcome_of(error: BaseException) -> tuple[AuditEvent, str]:
    """What is written of an effect that raised. Not its words: they may be somebody's secret."""
    match error:
        case EffectUnknown():
            return "unknown", "no answer"
        case ToolRefused() | CarrierRefused():
            return "failed", "refused"
        case _:
            return "failed", type(error).__name__


@attrs.define(eq=False)
class _Wanted:
    """One thing that the model wants."""

    tool_call_id: str
    name: str
    schema: ToolSchema | None
    arguments: Arguments | None
    digest: str
    risk: Risk
    flaw: str | None
    """Why it can be nothing, for the model."""
    is_asked: bool = False
    """That it is wanted is written down."""
    is_over: bool = False
    """How it ended is written down."""


@attrs.define(eq=False, kw_only=True)
class GuardedTools:
    """The tools of one call, behind its guard. Fits the `Tools` port.

    Args:
        tools: What is guarded.
        call_sid: Of the call.
        caller: Who is on the phone.
        audit: Where decisions are written down.
        read_out: See `ReadOut`.
        decided: Risks as the owner has them, by name; of others, the tool's own.
        verifier: How the caller proves to be the owner; `None`: not at all.
        confirm_s: For an answer, and as long as it holds.
        effects: Where the tools run.

    """

    tools: Offered
    call_sid: str
    caller: Caller
    audit: Audit
    read_out: ReadOut
    decided: Mapping[str, Risk] = attrs.field(factory=dict[str, Risk])
    verifier: Verifier | None = None
    confirm_s: float = CONFIRM_S
    effects: Effects = attrs.field(factory=InCall)
    _tier: Tier = attrs.field(init=False)
    _seen: set[str] = attrs.field(factory=set[str], init=False)
    """Calls of the model's that were decided: each is one execution at the most."""
    _asked: int = attrs.field(default=0, init=False)
    _is_verifying: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        # Nobody is verified before they proved it here.
        self._tier = min(self.caller.tier, Tier.KNOWN)

    def schemas(self) -> tuple[ToolSchema, ...]:
        """What the model is told."""
        return self.tools.schemas()

    def longest_s(self, name: str) -> float | None:
        """See the `Tools` port."""
        return self.tools.longest_s(name)

    async def run(self, name: str, arguments: str, call: CallControl | None = None) -> str:
        """See the `Tools` port. Refuses whatever the policy does not allow."""
        wanted = self._wanted(name, arguments, "" if call is None else call.tool_call_id)
        try:
            parsed = await self._permitted(wanted, call)
        finally:
            if not wanted.is_over:
                # Somebody is going away in the middle. Nothing was done.
                wanted.is_over = True
                with trio.move_on_after(LAST_WORD_S, shield=True):
                    await self.effects.afterwards(
                        lambda: self._note(wanted, "refused", "cancelled")
                    )
        return await self.effects.run(
            lambda to: self.tools.run(name, parsed.text, to),
            call,
            lambda event, detail: self._note(wanted, event, detail),
        )

    async def ran_unasked(self, fact: RanElsewhere) -> None:
        """Write down what the session had run without asking. Fits `RanUnasked`."""
        wanted = self._wanted(fact.name, fact.arguments, fact.run_id)
        detail = BY_ITSELF
        if wanted.schema is None or wanted.schema.runs_at is None or wanted.risk != "low":
            # It was told to ask. Nothing here could have kept it from that.
            log.error("guard.ran_without_leave", tool=wanted.name)
            detail = WITHOUT_LEAVE
        event: AuditEvent = "finished" if fact.outcome == "returned" else "failed"
        if not fact.is_certain:
            event = "unknown"
        await self.effects.afterwards(lambda: self._note(wanted, event, detail))

    def _wanted(self, name: str, arguments: str, tool_call_id: str) -> _Wanted:
        schema = next((one for one in self.tools.schemas() if one.name == name), None)
        parsed, flaw = None, None
        try:
            parsed = Arguments.parse(arguments)
        except ToolRefused as refused:
            flaw = refused.reason
        if schema is None:
            names = ", ".join([*(one.name for one in self.tools.schemas()), HANGUP])
            flaw = f"there is no tool {shown(name)!r}; there are: {names}"
        elif tool_call_id and tool_call_id in self._seen:
            flaw = "not run: this very call was answered before"
        self._seen.add(tool_call_id)
        text = arguments if parsed is None else parsed.text
        return _Wanted(
            tool_call_id=tool_call_id,
            name=shown(name),
            schema=schema,
            arguments=parsed,
            digest=digest_of(self.call_sid, name, text),
            risk="high" if schema is None else self.decided.get(name, schema.risk),
            flaw=flaw,
        )

    async def _permitted(self, wanted: _Wanted, call: CallControl | None) -> Arguments:
        """Return when it may be done, and that is written down.

        Raises:
            ToolRefused: It may not.

        """
        try:
            return await self._decided(wanted, call)
        except ToolRefused as refused:
            reason, detail = refused.reason, "refused"
        except AuditFailed as error:
            _cry(error, wanted.name, "asked")
            reason, detail = NOT_WRITTEN, "the audit log failed"
        except (Unspoken, CarrierRefused):
            reason, detail = NO_VOICE, "no voice"
        except Exception as error:  # noqa: BLE001 - ours, or a function of the owner's: no reason
            # for anything to run. Its words may be somebody's secret.
            log.warning("guard.failed", tool=wanted.name, error=type(error).__name__)
            reason, detail = NOT_DECIDED, type(error).__name__
        await self._refuse(wanted, detail)
        raise ToolRefused(reason)

    async def _decided(self, wanted: _Wanted, call: CallControl | None) -> Arguments:
        """Ask whatever has to be asked.

        Raises:
            ToolRefused: It may not be done. Written down, if `wanted.is_over`.

        """
        schema, arguments = wanted.schema, wanted.arguments
        asked = self._row(wanted, "asked")
        if schema is None or arguments is None or wanted.flaw is not None:
            await self._end(wanted, "refused", "not to be read or found", asked)
            raise ToolRefused(wanted.flaw or NOT_DECIDED)
        step = self._step(wanted)
        if step is Step.RUN:
            await self._write(wanted, asked, *self._rows(wanted, "allowed", "began"))
            wanted.is_over = True
            return arguments
        if step is Step.REFUSE or call is None:
            await self._end(wanted, "refused", "not the owner", asked)
            raise ToolRefused(NOT_YOURS)
        await self._write(wanted, asked)
        # Before anybody types a number for what cannot be done or asked.
        if schema.check is not None:
            schema.check(arguments.text)
        question = self.read_out(schema, arguments.values)
        if step is Step.VERIFY:
            await self._verify(wanted, call)
        if self._step(wanted) is not Step.CONFIRM:
            raise ToolRefused(NOT_YOURS)
        self._count_question()
        reply = await call.confirm(question, within_s=self.confirm_s)
        answered_s = trio.current_time()
        if reply != "yes":
            await self._end(wanted, "declined", reply)
            raise ToolRefused(ANSWERS[reply])
        await self._write(wanted, *self._rows(wanted, "confirmed", "began"))
        # A disk can take its time.
        if trio.current_time() - answered_s > self.confirm_s:
            raise ToolRefused(TOO_LATE)
        wanted.is_over = True
        return arguments

    async def _verify(self, wanted: _Wanted, call: CallControl) -> None:
        if self.verifier is None:
            raise ToolRefused(NOT_YOURS)
        if self._is_verifying:
            raise ToolRefused(BEING_VERIFIED)
        self._count_question()
        self._is_verifying = True
        try:
            why_not = await self.verifier.verify(
                call, lambda event, detail: self._write(wanted, self._row(wanted, event, detail))
            )
        finally:
            self._is_verifying = False
        if why_not is not None:
            raise ToolRefused(why_not)
        self._tier = Tier.VERIFIED

    def _count_question(self) -> None:
        if self._asked >= ASKED_MOST:
            raise ToolRefused(TOO_MANY)
        self._asked += 1

    def _step(self, wanted: _Wanted) -> Step:
        can_verify = self.caller.can_verify and self.verifier is not None
        return step_for(wanted.risk, self._tier, can_verify=can_verify)

    # What is written down.

    def _row(self, wanted: _Wanted, event: AuditEvent, detail: str = "") -> AuditRow:
        arguments = wanted.arguments if event == "asked" else None
        return AuditRow(
            event=event,
            call_sid=self.call_sid,
            tool_call_id=shown(wanted.tool_call_id),
            tool=wanted.name,
            digest=wanted.digest,
            risk=wanted.risk,
            tier=self._tier,
            caller=shown(self.caller.number),
            arguments="" if arguments is None else arguments.text,
            detail=detail,
        )

    def _rows(self, wanted: _Wanted, *events: AuditEvent) -> tuple[AuditRow, ...]:
        return tuple(self._row(wanted, event) for event in events)

    async def _write(self, wanted: _Wanted, *rows: AuditRow) -> None:
        await self.audit.write(*rows)
        wanted.is_asked = wanted.is_asked or any(row.event == "asked" for row in rows)
        wanted.is_over = wanted.is_over or any(row.event in ENDS for row in rows)

    async def _end(
        self, wanted: _Wanted, event: AuditEvent, detail: str, *before: AuditRow
    ) -> None:
        await self._write(wanted, *before, self._row(wanted, event, detail))
        self._tell(wanted, detail)

    def _tell(self, wanted: _Wanted, why: str) -> None:
        """Say that it was not run to whoever reads the log. An unknown name is the model's word."""
        if wanted.schema is not None:
            tier = self._tier.name.lower()
            log.info("tool.not_run", tool=wanted.name, risk=wanted.risk, tier=tier, why=why)

    async def _refuse(self, wanted: _Wanted, detail: str) -> None:
        """Write that it was refused, unless that is written. It is refused in any case."""
        if not wanted.is_over:
            wanted.is_over = True
            self._tell(wanted, detail)
            await self._note(wanted, "refused", detail)

    async def _note(self, wanted: _Wanted, event: AuditEvent, detail: str) -> None:
        """Write how it ended. It cannot be helped when that fails: opening the log will say."""
        before = () if wanted.is_asked else self._rows(wanted, "asked")
        try:
            await self._write(wanted, *before, self._row(wanted, event, detail))
        except AuditFailed as error:
            _cry(error, wanted.name, event)


def _cry(error: AuditFailed, tool: str, lost: AuditEvent) -> None:
    log.error("audit.failed", reason=error.reason, tool=tool, lost=lost)
