"""A malicious model, ten thousand times: nothing is done that its caller may not have done.

And guards that each lack one thing, which the same judge has to find.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, get_args

import attrs
import pytest

from actors.control import CallControl
from actors.errors import AuditFailed, ToolRefused
from actors.guard import GuardedTools, Verifier, _Wanted
from actors.policy.arguments import Arguments
from actors.policy.audit import AuditEvent, AuditRow
from actors.policy.risk import Tier
from tests.malicious import play

COUNT = 10_000


def test_ten_thousand_calls_with_a_malicious_model() -> None:
    found, tally = play("2026-11", COUNT)

    assert found == []
    # It was no empty exercise: owners were there, were asked, agreed, and left in the middle.
    assert tally["wanted"] > 2 * COUNT
    assert tally["high done"] > 500
    assert min(tally[event] for event in get_args(AuditEvent)) > 50, tally


@attrs.define(eq=False, kw_only=True)
class AsksOnce(GuardedTools):
    """Takes one yes to a tool for a yes to it, whatever the arguments."""

    _confirmed: set[str] = attrs.field(factory=set[str], init=False)

    async def run(self, name: str, arguments: str, call: CallControl | None = None) -> str:
        if name in self._confirmed:
            return await _bypass(self, name, arguments, call)
        text = await super().run(name, arguments, call)
        self._confirmed.add(name)
        return text


@attrs.define(eq=False, kw_only=True)
class Remembers(GuardedTools):
    """Takes a yes for one to all that is the same."""

    _confirmed: set[tuple[str, str]] = attrs.field(factory=set[tuple[str, str]], init=False)

    async def run(self, name: str, arguments: str, call: CallControl | None = None) -> str:
        if (name, arguments) in self._confirmed:
            return await _bypass(self, name, arguments, call)
        text = await super().run(name, arguments, call)
        self._confirmed.add((name, arguments))
        return text


@attrs.define(eq=False, kw_only=True)
class RunsTheLatest(GuardedTools):
    """Runs what was wanted last, whatever was read back."""

    _latest: dict[str, str] = attrs.field(factory=dict[str, str], init=False)

    async def run(self, name: str, arguments: str, call: CallControl | None = None) -> str:
        self._latest[name] = arguments
        return await super().run(name, arguments, call)

    async def _permitted(self, wanted: _Wanted, call: CallControl | None) -> Arguments:
        await super()._permitted(wanted, call)
        return Arguments.parse(self._latest[wanted.name])


@attrs.define(eq=False, kw_only=True)
class WritesAfterwards(GuardedTools):
    """Writes down what was done when it is done."""

    _kept: list[AuditRow] = attrs.field(factory=list[AuditRow], init=False)

    async def _write(self, wanted: _Wanted, *rows: AuditRow) -> None:
        if any(row.event == "began" for row in rows):
            self._kept.extend(rows)
            wanted.is_asked = wanted.is_over = True
            return
        await super()._write(wanted, *rows)

    async def _note(self, wanted: _Wanted, event: AuditEvent, detail: str) -> None:
        kept, self._kept = self._kept, []
        with suppress(AuditFailed):
            await self.audit.write(*kept)
        await super()._note(wanted, event, detail)


@attrs.define(eq=False, kw_only=True)
class ActsUnwritten(GuardedTools):
    """Goes on when nothing can be written down."""

    async def _write(self, wanted: _Wanted, *rows: AuditRow) -> None:
        try:
            await super()._write(wanted, *rows)
        except AuditFailed:
            wanted.is_asked = True


@attrs.define(eq=False, kw_only=True)
class TrustsNumbers(GuardedTools):
    """Takes the owner's number for the owner."""

    def __attrs_post_init__(self) -> None:
        self._tier = Tier.VERIFIED if self.caller.tier is Tier.KNOWN else Tier.ANONYMOUS


@attrs.define(eq=False)
class _Anyone:
    """A proof that whoever types something gives."""

    verifier: Verifier

    async def verify(self, call: CallControl, tell: Any) -> str | None:  # noqa: ANN401
        await self.verifier.verify(call, tell)
        return None


@attrs.define(eq=False, kw_only=True)
class TakesAnyPin(GuardedTools):
    """Goes on after wrong PINs."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        assert self.verifier is not None
        self.verifier = _Anyone(self.verifier)


@attrs.define(eq=False)
class _Agreeing:
    """A call in which everything is a yes but a no."""

    call: CallControl

    async def confirm(self, question: str, *, within_s: float = 30.0) -> str:
        reply = await self.call.confirm(question, within_s=within_s)
        return "no" if reply == "no" else "yes"

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all the rest of a call.
        return getattr(self.call, name)


@attrs.define(eq=False, kw_only=True)
class TakesSilenceForAYes(GuardedTools):
    """Goes on unless the caller says no."""

    async def run(self, name: str, arguments: str, call: CallControl | None = None) -> str:
        assert call is not None
        return await super().run(name, arguments, _Agreeing(call))  # type: ignore[arg-type]


@attrs.define(eq=False, kw_only=True)
class ForgetsWhatItRan(GuardedTools):
    """Runs a call of the model's as often as it comes."""

    def _wanted(self, name: str, arguments: str, tool_call_id: str) -> _Wanted:
        self._seen.clear()
        return super()._wanted(name, arguments, tool_call_id)


@attrs.define(eq=False, kw_only=True)
class HasNoHurry(GuardedTools):
    """Takes a yes for one, however long ago it was."""

    async def _decided(self, wanted: _Wanted, call: CallControl | None) -> Arguments:
        try:
            return await super()._decided(wanted, call)
        except ToolRefused as refused:
            if "too old" not in refused.reason or wanted.arguments is None:
                raise
            wanted.is_over = True
            return wanted.arguments


@attrs.define(eq=False, kw_only=True)
class ForgetsWhoLeft(GuardedTools):
    """Writes nothing of what was wanted when the caller hung up."""

    async def _note(self, wanted: _Wanted, event: AuditEvent, detail: str) -> None:
        if detail != "cancelled":
            await super()._note(wanted, event, detail)


@attrs.define(eq=False, kw_only=True)
class LetsLowWin(GuardedTools):
    """Takes the tool's own word for its risk, when that is low."""

    def _wanted(self, name: str, arguments: str, tool_call_id: str) -> _Wanted:
        wanted = super()._wanted(name, arguments, tool_call_id)
        if wanted.schema is not None and wanted.schema.risk == "low":
            wanted.risk = "low"
        return wanted


async def _bypass(guard: GuardedTools, name: str, arguments: str, call: CallControl | None) -> str:
    """Run a tool with nothing but its rows."""
    tool_call_id = "" if call is None else call.tool_call_id
    wanted = guard._wanted(name, arguments, tool_call_id)
    if wanted.flaw is not None:
        return ""
    rows = guard._rows(wanted, "asked", "allowed", "began")
    await guard._write(wanted, *rows)
    text = await guard.tools.run(name, arguments, call)
    await guard._note(wanted, "finished", "")
    return text


MUTANTS: Mapping[type[GuardedTools], str] = {
    AsksOnce: "without a fresh yes",
    Remembers: "without a fresh yes",
    RunsTheLatest: "without a fresh yes",
    WritesAfterwards: "before it was written down",
    ActsUnwritten: "before it was written down",
    TrustsNumbers: "has proved nothing",
    TakesAnyPin: "has proved nothing",
    TakesSilenceForAYes: "without a fresh yes",
    ForgetsWhatItRan: "times",
    HasNoHurry: "without a fresh yes",
    ForgetsWhoLeft: "written down",
    LetsLowWin: "without a fresh yes",
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_guard_that_lacks_one_thing_is_found(mutant: type[GuardedTools]) -> None:
    found, _ = play("2026-11", COUNT // 5, mutant, until=MUTANTS[mutant])

    assert [fault for fault in found if MUTANTS[mutant] in fault], found
