"""Tools beside the conversation: exactly one output each, and one response after the last."""

from __future__ import annotations

import json

import pytest
import trio

from actors.call import Limits
from actors.exits import AgentHungUp, CallerHungUp
from actors.messages import (
    CreateResponse,
    ResponseFinished,
    ResponseStarted,
    ReturnToolOutput,
    SessionLive,
    ToolCall,
)
from actors.toolbox import Toolbox
from gateway.lab.twilio.line_facts import Cut
from gateway.lab.world import World
from tests.test_call_bargein import events
from tests.worlds import Scripted, play, world


def scenario(*calls: str, say: str = "One moment.", after: str = "") -> str:
    """An answer that says something and calls functions, another that ends it."""
    items = "".join(f"\n        - call: {call}" for call in calls)
    return f"""
model:
  answers:
    - items: [{{say: "Hello there."}}]
    - items:
        - say: "{say}"{items}
    - items: [{{say: "There you are."}}]
    - items: [{{say: "And again."}}]
caller:
  - {{wait: agent_quiet, say: "Look it up."}}
{after}  - {{wait: agent_quiet, quiet_ms: 12000, hang_up: true}}
"""


def outputs(one: World) -> dict[str, list[object]]:
    """Every output the model was given, by the function's name."""
    names = {run.tool_call_id: run.name for run in one.record.tool_calls}
    found: dict[str, list[object]] = {}
    for event in events(one, "conversation.item.create"):
        item = event["item"]
        if item["type"] == "function_call_output":
            found.setdefault(names[item["call_id"]], []).append(json.loads(item["output"]))
    return found


def purposes(one: World) -> list[str]:
    return [event["response"]["metadata"]["purpose"] for event in events(one, "response.create")]


def box() -> Toolbox:
    """Functions of every temper."""
    toolbox = Toolbox()

    @toolbox.add
    async def quick(n: int = 1) -> dict[str, int]:
        """Answers at once."""
        await trio.lowlevel.checkpoint()
        return {"n": n}

    @toolbox.add
    async def slow() -> str:
        """Takes five seconds."""
        await trio.sleep(5)
        return "at last"

    @toolbox.add
    async def broken() -> str:
        """Fails."""
        await trio.lowlevel.checkpoint()
        raise RuntimeError("a secret detail")

    @toolbox.add
    async def endless() -> str:
        """Never answers."""
        await trio.sleep_forever()

    return toolbox


async def test_a_result_goes_back_and_the_model_speaks_about_it(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(scenario("{name: quick, arguments: {n: 7}}"), toolbox=box())
    await play(one)

    assert outputs(one) == {"quick": [{"n": 7}]}
    assert purposes(one) == ["greeting", "tools"]
    assert one.model.errors == []


async def test_two_calls_in_one_response_bring_two_outputs_and_one_response(
    autojump_clock: trio.abc.Clock,
) -> None:
    one = world(
        scenario("{name: quick, arguments: {}}", "{name: slow, arguments: {}}"), toolbox=box()
    )
    await play(one)

    assert outputs(one) == {"quick": [{"n": 1}], "slow": ["at last"]}
    assert purposes(one) == ["greeting", "tools"]
    kinds = [event["type"] for event in one.model.received]
    assert kinds.index("response.create", 3) > len(kinds) - 2 - kinds[::-1].index(
        "conversation.item.create"
    )


async def test_every_call_has_exactly_one_output_however_it_goes_wrong(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Unknown name, arguments that do not fit, arguments that are no JSON, an error, a timeout."""
    one = world(
        scenario(
            "{name: no_such_tool, arguments: {}}",
            "{name: quick, arguments: {n: many}}",
            "{name: slow, arguments: 'not json'}",
            "{name: broken, arguments: {}}",
            "{name: endless, arguments: {}}",
        ),
        toolbox=box(),
    )
    await play(one)

    errors = {name: [output["error"] for output in found] for name, found in outputs(one).items()}  # type: ignore[index]
    assert {name: len(found) for name, found in errors.items()} == {
        "no_such_tool": 1,
        "quick": 1,
        "slow": 1,
        "broken": 1,
        "endless": 1,
    }
    assert "there are: quick, slow, broken, endless" in errors["no_such_tool"][0]
    assert "n: Input should be a valid integer" in errors["quick"][0]
    assert "a secret detail" not in errors["broken"][0]
    assert "timed out" in errors["endless"][0]
    assert one.model.unanswered == []
    assert one.model.violations == ["the script calls no_such_tool, which was not offered"]
    assert purposes(one) == ["greeting", "tools"]
    assert {run.name: run.outcome for run in one.record.tool_calls} == {
        "no_such_tool": "refused",
        "quick": "refused",
        "slow": "refused",
        "broken": "failed",
        "endless": "timed_out",
    }


@pytest.mark.parametrize(
    "raised",
    [
        SystemExit(3),
        BaseExceptionGroup("of a tool's own", [SystemExit(3), ValueError("a secret detail")]),
        ExceptionGroup("of a tool's own", [ValueError("a secret detail")]),
    ],
    ids=["exit", "group with an exit", "group"],
)
async def test_a_tool_that_wants_to_end_the_process_ends_only_itself(
    raised: BaseException, autojump_clock: trio.abc.Clock
) -> None:
    """The call goes on, its other tools as well, and the model is told without a word of it."""
    toolbox = box()

    @toolbox.add
    async def leave() -> None:
        """Raises what no function should."""
        await trio.lowlevel.checkpoint()
        raise raised

    one = world(
        scenario("{name: leave, arguments: {}}", "{name: slow, arguments: {}}"), toolbox=toolbox
    )
    why = await play(one)

    assert why == CallerHungUp()
    assert outputs(one) == {
        "leave": [{"error": f"the tool failed: {type(raised).__name__}"}],
        "slow": ["at last"],
    }
    assert {run.name: run.outcome for run in one.record.tool_calls} == {
        "leave": "failed",
        "slow": "returned",
    }


async def test_a_tool_may_take_its_whole_time_and_not_more(
    autojump_clock: trio.abc.Clock,
) -> None:
    for tool_s, outcome in ((5.1, "returned"), (4.9, "timed_out")):
        one = world(
            scenario("{name: slow, arguments: {}}"), toolbox=box(), limits=Limits(tool_s=tool_s)
        )
        await play(one)

        assert [run.outcome for run in one.record.tool_calls] == [outcome]


async def test_a_slow_tool_delays_neither_audio_nor_a_barge_in(
    autojump_clock: trio.abc.Clock,
) -> None:
    say = "One moment please, I am looking it up in the great book of everything there is."
    after = '  - {wait: agent_speaking, after_ms: 1500, say: "Hey you."}\n'
    one = world(scenario("{name: slow, arguments: {}}", say=say, after=after), toolbox=box())
    await play(one)

    (cut,) = [fact for fact in one.line.facts if isinstance(fact, Cut)]
    (run,) = one.record.tool_calls
    assert run.started_ms is not None
    assert run.finished_ms is not None
    assert run.started_ms < cut.at_ms < run.finished_ms
    assert outputs(one) == {"slow": ["at last"]}
    assert one.model.errors == []


async def test_calls_of_an_interrupted_response_are_not_run_and_yet_answered(
    autojump_clock: trio.abc.Clock,
) -> None:
    """The call was complete when the caller spoke; its response was not."""
    ran: list[str] = []
    toolbox = Toolbox()

    @toolbox.add
    async def order() -> str:
        """Has a side effect."""
        ran.append("order")
        await trio.lowlevel.checkpoint()
        return "ordered"

    one = world(
        """
model:
  answers:
    - items: [{say: "Hello there."}]
    - items:
        - call: {name: order, arguments: {}}
        - say: "I have ordered it, and now I am going to tell you a lot about what it is."
      speed: 1.1
    - items: [{say: "All right."}]
caller:
  - {wait: agent_quiet, say: "Order it."}
  - {wait: agent_speaking, after_ms: 1000, say: "No, wait."}
  - {wait: agent_quiet, hang_up: true}
""",
        toolbox=toolbox,
    )
    await play(one)

    assert ran == []
    assert outputs(one) == {"order": [{"error": "not run: the caller interrupted"}]}
    assert one.model.unanswered == []
    assert [run.outcome for run in one.record.tool_calls] == ["interrupted"]


async def test_no_response_is_asked_for_while_one_is_active(
    autojump_clock: trio.abc.Clock,
) -> None:
    """The tool returns in the middle of the answer to something else."""
    one = world(
        """
model:
  answers:
    - items: [{say: "Hello there."}]
    - items: [{call: {name: slow, arguments: {}}}]
    - items: [{say: "Meanwhile I am talking about something else, and at some length, too, I am."}]
      speed: 1.05
    - items: [{say: "There you are."}]
caller:
  - {wait: agent_quiet, say: "Look it up."}
  - {wait_ms: 1500, say: "And what else?"}
  - {wait: agent_quiet, quiet_ms: 9000, hang_up: true}
""",
        toolbox=box(),
    )
    await play(one)

    assert one.model.errors == []
    assert purposes(one) == ["greeting", "tools"]
    (run,) = one.record.tool_calls
    busy = one.record.responses[2]
    asked = one.record.responses[3]
    assert run.finished_ms is not None
    assert busy.started_ms is not None
    assert busy.finished_ms is not None
    assert asked.started_ms is not None
    assert busy.started_ms < run.finished_ms < busy.finished_ms <= asked.started_ms


async def test_a_tool_beside_a_hang_up_is_finished_before_the_line_drops(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Its side effect is begun, and a goodbye is short."""
    one = world(
        """
model:
  answers:
    - items:
        - say: "I save it. Bye."
        - call: {name: slow, arguments: {}}
        - call: {name: hangup, arguments: {reason: done}}
caller: [{wait: call_end}]
""",
        toolbox=box(),
    )
    why = await play(one)

    assert why == AgentHungUp("done", goodbye_heard=True)
    assert {run.name: run.outcome for run in one.record.tool_calls} == {
        "slow": "returned",
        "hangup": "returned",
    }
    assert one.model.unanswered == []
    assert purposes(one) == ["greeting"]


async def test_an_id_that_comes_twice_is_one_call(autojump_clock: trio.abc.Clock) -> None:
    twice = (ToolCall("c1", "quick", "{}"), ToolCall("c1", "quick", "{}"))
    session = Scripted(
        SessionLive("s"),
        ResponseStarted("r1"),
        ResponseFinished("r1", "completed", tool_calls=twice),
        ResponseStarted("r2"),
        ResponseFinished("r2", "completed", tool_calls=twice[:1]),
    )
    one = world("caller: [{wait_ms: 3000, hang_up: true}]", toolbox=box(), greet=False)
    one.session = session  # type: ignore[assignment]
    why = await play(one)

    assert why == CallerHungUp()
    outputs = [order for order in session.orders if isinstance(order, ReturnToolOutput)]
    assert outputs == [ReturnToolOutput("c1", '{"n": 1}')]


async def test_calls_of_a_response_cut_short_are_answered_and_spoken_about(
    autojump_clock: trio.abc.Clock,
) -> None:
    session = Scripted(
        SessionLive("s"),
        ResponseStarted("r1"),
        ResponseFinished(
            "r1", "incomplete", "max_output_tokens", (ToolCall("c1", "quick", '{"n"'),)
        ),
    )
    one = world("caller: [{wait_ms: 3000, hang_up: true}]", toolbox=box(), greet=False)
    one.session = session  # type: ignore[assignment]
    await play(one)

    (output, create) = session.orders[:2]
    assert isinstance(output, ReturnToolOutput)
    assert "cut short" in output.output
    assert create == CreateResponse("tools")
