"""A registry of Python functions that a model may call, with schemas from their signatures."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final, Never, get_args

import attrs
import pydantic
import trio

from actors.control import CallControl
from actors.errors import ToolRefused
from actors.messages import HANGUP
from actors.policy.record import CallFacts
from actors.policy.result_text import RESULT_MAX_CHARS, pieces
from actors.policy.risk import Risk

ToolFunction = Callable[..., Awaitable[object]] | Callable[..., object]

ARGUMENTS_MAX_CHARS: Final = 16 * 1024
"""Arguments longer than this are not what a phone call is about."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
"""Of a function. Source: "function calling", OpenAI docs. One that is not of this form makes the
session refuse all of its settings."""

THREADS_MAX: Final = 16
"""Worker threads for tools that are plain functions, over all calls. A thread whose tool timed out
is abandoned and keeps its place until the function returns."""

STUCK_MAX: Final = 4
"""Abandoned threads of one tool that have not ended: then it is refused, or it would take every
other tool's place."""

STUCK: Final = (
    "not run: earlier runs of it have not ended yet; say that it does not work at the moment"
)

PIECES_AT_ONCE: Final = 500
"""Of a result that is written down: about 1 ms, and then it is everybody else's turn."""

PLACE: Final = re.compile(r"\{(\w+)\}")
"""Of an argument, in a sentence that is read back."""

ReadBack = str | Callable[[Mapping[str, Any]], str]
"""A sentence that says what will be done, in the caller's language: with `{argument}` in it, or
made of the arguments. What it leaves out is read behind it."""


MARK: Final = "__offhook_tool__"
"""The attribute by which a function carries its `Terms`."""


@attrs.frozen
class Terms:
    """On which a function is a tool. See `ToolSchema`."""

    risk: Risk = "high"
    read_back: ReadBack | None = None
    longest_s: float | None = None


@attrs.frozen
class ToolSchema:
    """What a model, and the policy, have to know of a function."""

    name: str
    description: str
    parameters: dict[str, Any]
    """JSON schema of the arguments, as an object."""
    risk: Risk = "high"
    """Not for the model. Likewise the rest."""
    read_back: ReadBack | None = None
    """What the caller confirms; `None`: name and arguments as they are."""
    longest_s: float | None = None
    """How long a run may take; `None`: as long as any other."""
    runs_at: tuple[str, str] | None = None
    """The server that the session asks by itself, and what the tool is called there. Nobody here
    knows what it takes. `None`: it is run here."""
    check: Callable[[str], object] | None = attrs.field(default=None, eq=False, repr=False)
    """Raises `ToolRefused` for arguments that do not fit, so that nobody is asked about them;
    `None`: only a run says."""


@attrs.frozen
class _Tool:
    schema: ToolSchema
    function: ToolFunction
    arguments: pydantic.TypeAdapter[Any]
    call: str | None
    """The parameter that is given the call; `None`: it wants none."""


@attrs.define(eq=False)
class _ThreadRun:
    """One run of a plain function, as the limiter of its own thread: so it knows how that is."""

    name: str
    places: trio.CapacityLimiter
    is_running: bool = attrs.field(default=False, init=False)

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        """The thread is about to begin."""
        await self.places.acquire_on_behalf_of(borrower)
        self.is_running = True

    def release_on_behalf_of(self, borrower: object) -> None:
        """The thread has ended, whoever still waited for it."""
        self.places.release_on_behalf_of(borrower)
        self.is_running = False


@attrs.frozen(eq=False)
class FromThread:
    """What a plain function, which runs in a thread, has of a `CallControl`.

    It may look at the facts and change the conversation. Everything else takes time and has to be
    awaited, which a plain function cannot.
    """

    call: CallControl

    @property
    def facts(self) -> CallFacts:
        """See `CallControl`."""
        return self.call.facts

    @property
    def tool_call_id(self) -> str:
        """See `CallControl`."""
        return self.call.tool_call_id

    def change(self, *, instructions: str | None = None, language: str | None = None) -> None:
        """See `CallControl`. Done in the call's own thread, and then returns."""
        trio.from_thread.run_sync(
            lambda: self.call.change(instructions=instructions, language=language)
        )

    def __getattr__(self, name: str) -> Never:
        raise AttributeError(f"a plain function has no {name}: only an `async def` can wait for it")


@attrs.define(eq=False)
class Toolbox:
    """Functions by name. Fits the `Tools` port.

    An `async def` runs in the call's own task tree and is cancelled at its deadline; a plain `def`
    runs in a worker thread, which nothing can cancel.
    """

    _tools: dict[str, _Tool] = attrs.field(factory=dict[str, _Tool], init=False)
    _threads: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(THREADS_MAX), init=False
    )
    _abandoned: list[_ThreadRun] = attrs.field(factory=list[_ThreadRun], init=False)
    """Runs that nobody waits for, and that may not have ended."""

    def add(
        self,
        function: ToolFunction,
        *,
        risk: Risk | None = None,
        read_back: ReadBack | None = None,
        longest_s: float | None = None,
    ) -> ToolFunction:
        """Register a function under its own name; usable as a decorator.

        Its docstring's first paragraph is the description; its parameters, all of which need
        annotations, become the schema. One that is annotated `CallControl` is given the call, and
        the model does not know of it.

        Args:
            function: What is run.
            risk: See `Risk`. Without: as its mark says, or `high`.
            read_back: See `ToolSchema`. Without: as its mark says. Likewise `longest_s`.
            longest_s: In seconds.

        Raises:
            TypeError: A parameter has no annotation, no name of its own, or a type without a JSON
                schema; there are two for the call; or the function's name is taken, or none that
                a model could use.

        """
        name = function.__name__
        if name in self._tools:
            raise TypeError(f"tool {name}: there is another of that name")
        if (flaw := _flaw(function, name)) is not None:
            raise TypeError(f"tool {name}: {flaw}")
        signature = inspect.signature(function)
        for parameter in signature.parameters.values():
            if parameter.annotation is inspect.Parameter.empty:
                raise TypeError(f"tool {name}: parameter {parameter.name} has no annotation")
            if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                raise TypeError(
                    f"tool {name}: parameter {parameter.name} has no name to call it by"
                )
        try:
            hints = inspect.get_annotations(function, eval_str=True)
        except Exception as error:
            # As text, an annotation is code that was not run yet: it raises whatever it likes.
            raise TypeError(f"tool {name}: {type(error).__name__}: {error}") from error
        calls = [key for key in signature.parameters if hints[key] is CallControl]
        if others := [key for key in signature.parameters if CallControl in get_args(hints[key])]:
            raise TypeError(f"tool {name}: parameter {others[0]} has to be CallControl alone")
        if len(calls) > 1:
            raise TypeError(f"tool {name}: parameters {calls[0]} and {calls[1]} are both the call")
        fields: dict[str, Any] = {
            key: (hints[key], ... if parameter.default is parameter.empty else parameter.default)
            for key, parameter in signature.parameters.items()
            if key not in calls
        }
        try:
            model = pydantic.create_model(
                name, __config__=pydantic.ConfigDict(extra="forbid"), **fields
            )
            parameters = model.model_json_schema()
        except (pydantic.errors.PydanticUserError, NameError) as error:
            raise TypeError(f"tool {name}: {_sentence(error)}") from error
        for key, default in _defaults(signature).items():
            if key in fields and not _fits(default, hints[key]):
                raise TypeError(f"tool {name}: the default of {key} does not fit its annotation")
        if lost := sorted(fields.keys() - model.model_fields.keys()):
            raise TypeError(f"tool {name}: parameter {lost[0]} has no name to call it by")
        mark = getattr(function, MARK, None)
        terms = mark if isinstance(mark, Terms) else Terms()
        risk = terms.risk if risk is None else risk
        read_back = terms.read_back if read_back is None else read_back
        longest_s = terms.longest_s if longest_s is None else longest_s
        if (flaw := _flaw_of_read_back(read_back, fields)) is not None:
            raise TypeError(f"tool {name}: {flaw}")
        description = (inspect.getdoc(function) or "").partition("\n\n")[0]
        parameters.pop("title", None)
        parameters.setdefault("properties", {})
        arguments = pydantic.TypeAdapter[Any](model)
        schema = ToolSchema(
            *(name, description, parameters, risk, read_back, longest_s),
            # What is read back is to be what is run: no text is taken for a number.
            check=lambda text: _validated(arguments, text, strict=True),
        )
        self._tools[name] = _Tool(schema, function, arguments, next(iter(calls), None))
        return function

    def schemas(self) -> tuple[ToolSchema, ...]:
        """What the model is told, in the order of registration."""
        return tuple(tool.schema for tool in self._tools.values())

    async def run(self, name: str, arguments: str, call: CallControl | None = None) -> str:
        """See the `Tools` port."""
        tool = self._tools.get(name)
        if tool is None:
            names = ", ".join([*self._tools, HANGUP])
            raise ToolRefused(f"there is no tool {name!r}; there are: {names}")
        parsed = _validated(tool.arguments, arguments)
        values = {key: getattr(parsed, key) for key in type(parsed).model_fields}
        if tool.call is not None:
            if call is None:
                raise ToolRefused(f"{name} can only be run in a call")
            waits = inspect.iscoroutinefunction(tool.function)
            values[tool.call] = call if waits else FromThread(call)
        if inspect.iscoroutinefunction(tool.function):
            result: object = await tool.function(**values)
        else:
            result = await self._in_thread(name, lambda: tool.function(**values))
        return await _written(result)

    async def _in_thread(self, name: str, function: Callable[[], object]) -> object:
        """Run a plain function. Cancelled, its thread is abandoned and runs on."""
        stuck = [run for run in self._abandoned if run.is_running]
        self._abandoned = stuck
        if len(stuck) >= THREADS_MAX or sum(run.name == name for run in stuck) >= STUCK_MAX:
            await trio.lowlevel.checkpoint()
            raise ToolRefused(STUCK)
        run = _ThreadRun(name, self._threads)
        limiter: Any = run  # "Or any object with these methods": trio.to_thread.run_sync.
        try:
            return await trio.to_thread.run_sync(function, abandon_on_cancel=True, limiter=limiter)
        finally:
            if run.is_running:
                self._abandoned.append(run)

    def longest_s(self, name: str) -> float | None:
        """See the `Tools` port."""
        tool = self._tools.get(name)
        return None if tool is None else tool.schema.longest_s


def _validated(
    adapter: pydantic.TypeAdapter[Any], arguments: str, *, strict: bool | None = None
) -> Any:  # noqa: ANN401 - a model.
    """The arguments of a function, as it is given them.

    Raises:
        ToolRefused: They do not fit it. Quotes none of them.

    """
    if len(arguments) > ARGUMENTS_MAX_CHARS:
        raise ToolRefused(f"the arguments are longer than {ARGUMENTS_MAX_CHARS} characters")
    try:
        return adapter.validate_json(arguments or "{}", strict=strict)
    except pydantic.ValidationError as error:
        raise ToolRefused(_complaints(error)) from None


async def _written(result: object) -> str:
    """A result as JSON text, `RESULT_MAX_CHARS` at most, in steps: nothing else waits for long."""
    parts: list[str] = []
    left = RESULT_MAX_CHARS
    for number, piece in enumerate(pieces(result), start=1):
        parts.append(piece[:left])
        left -= len(parts[-1])
        if left == 0:
            break
        if number % PIECES_AT_ONCE == 0:
            await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
    # Half a surrogate pair is a Python string, and no text that could be sent.
    return "".join(parts).encode(errors="replace").decode()


def _flaw(function: ToolFunction, name: str) -> str | None:
    """Why no model could call this, whatever its parameters are."""
    if name == HANGUP:
        return "every call has that one already"
    if _NAME.fullmatch(name) is None:
        return "a name is 1 to 64 letters of a to z, digits, - and _"
    if inspect.isclass(function):
        return "it is a class, and no function"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return "it yields, and a model waits for what it returns"
    return None


def _flaw_of_read_back(read_back: object, parameters: Collection[str]) -> str | None:
    """Why the owner could not be asked by it. What cannot be filled in would be said as it is."""
    if read_back is None or callable(read_back):
        return None
    if not isinstance(read_back, str) or not read_back.strip():
        return "read_back is a sentence, or a function that makes one of the arguments"
    for place in PLACE.findall(read_back):
        if place not in parameters:
            return f"read_back holds {{{place}}}, and there is no such parameter"
    if set(PLACE.sub("", read_back)) & {"{", "}"}:
        return "read_back holds a brace that is not around the name of a parameter"
    return None


def _sentence(error: Exception) -> str:
    """What pydantic says of a function; its further words are about models that somebody wrote."""
    unknown = re.search(r"you should define `([^`]+)`", str(error))
    if unknown is not None:
        return f"{unknown[1]} is not defined"
    return re.split(r"\. |[.;]?\n", str(error), maxsplit=1)[0]


def _defaults(signature: inspect.Signature) -> dict[str, object]:
    """Those that are values: `None` is everybody's way to say that there is none."""
    return {
        key: parameter.default
        for key, parameter in signature.parameters.items()
        if parameter.default not in (parameter.empty, None)
        and not isinstance(parameter.default, pydantic.fields.FieldInfo)
    }


def _fits(value: object, hint: Any) -> bool:  # noqa: ANN401 - any annotation.
    try:
        pydantic.TypeAdapter(hint).validate_python(value)
    except pydantic.ValidationError:
        return False
    return True


def _complaints(error: pydantic.ValidationError) -> str:
    """What is wrong with the arguments, for the model to do better. Quotes no values."""
    parts = (
        f"{'.'.join(map(str, detail['loc'])) or 'arguments'}: {detail['msg']}"
        for detail in error.errors(include_url=False, include_input=False, include_context=False)
    )
    return "bad arguments: " + "; ".join(parts)
