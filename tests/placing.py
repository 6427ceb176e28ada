"""A whole gateway in memory, a model with a script for each call, and phones that are called.

For the tests of calls that go out: everything is the product's but sockets, threads and the disk.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import attrs
import trio
from structlog.testing import capture_logs

from actors.exits import Exit
from actors.policy.record import CallRecord
from actors.ports import Carrier
from gateway.app import create_app
from gateway.calls import Offer
from gateway.configuration.agents import AgentSettings
from gateway.configuration.config import (
    Config,
    OpenAISettings,
    Secret,
    ServerSettings,
    TwilioSettings,
)
from gateway.configuration.tool_settings import OwnerSettings, PolicySettings
from gateway.lab.memory_line import memory_line
from gateway.lab.openai.model import RehearsalModel
from gateway.lab.openai.model_line import serve_session
from gateway.lab.openai.progress import Progress
from gateway.lab.rehearsing.scenario import Answer, Item, ModelScript, Scenario, Step, ToolScript
from gateway.lab.simulator.asgi import AsgiServer
from gateway.lab.twilio.api_create import AccountRules, PlacedCall
from gateway.lab.twilio.callee import Callee
from gateway.lab.twilio.noise import babble
from gateway.lab.twilio.phone import Phone
from gateway.lab.twilio.ringing import Ringing
from gateway.lab.twilio.twilio_api import TwilioApi
from gateway.permission.caps import MemorySpending
from gateway.phone_call import Outside
from gateway.records.recording import MemoryRecorder
from gateway.records.store import MemoryStore
from gateway.session.realtime import Connect, Use
from gateway.twilio.outgoing_end import OutgoingEnd
from tests.moving import ACCOUNT_SID, PASSWORD, PUBLIC_URL, Stage

OURS = "+15550002222"
"""What `Stage.phone` calls."""
THEIRS = "+4930123456"
POLICY = PolicySettings(countries=("DE",), max_call_s=120.0, low=("make_call", "send_sms"))
"""Who may have them run is not what most of these tests look at."""
AGENT = AgentSettings(
    greeting=None, opening="caller", filler=None, builtin_tools=("make_call", "send_sms")
)
MORNING = datetime(2026, 1, 5, 9, tzinfo=UTC)
HANGS_UP = Item(call=ToolScript("hangup", {"reason": "done"}))


def says(*lines: str, call: ToolScript | None = None, hangs_up: bool = False) -> Answer:
    """An answer of the model's."""
    items = [*(Item(say=line) for line in lines)]
    items += [Item(call=call)] if call is not None else []
    return Answer((*items, HANGS_UP) if hangs_up else tuple(items))


@attrs.define(eq=False)
class KnownStore(MemoryStore):
    """Stands for the folder of records."""

    def has(self, call_sid: str) -> bool:
        return any(record.call_sid == call_sid for record in self.records)


@attrs.define(eq=False, kw_only=True)
class Placing:
    """Everybody."""

    stage: Stage
    ringing: Ringing
    store: KnownStore
    spending: MemorySpending
    ends: list[OutgoingEnd]
    models: list[RehearsalModel]

    def record(self, call_sid: str) -> CallRecord:
        """Of this call, the one there is."""
        (record,) = (one for one in self.store.records if one.call_sid == call_sid)
        return record


@asynccontextmanager
async def placing(
    scripts: Sequence[ModelScript],
    *,
    agent: AgentSettings = AGENT,
    owner: OwnerSettings | None = None,
    policy: PolicySettings = POLICY,
    callee: Callable[[PlacedCall], Callee] = lambda _: Callee(),
    steps: tuple[Step, ...] = (Step(wait="call_end"),),
    rules: AccountRules | None = None,
    max_concurrent: int = 100,
) -> AsyncIterator[Placing]:
    """A gateway that serves, until the end of the block.

    Args:
        scripts: What the model does in the first call, in the second, ...
        agent: Who answers, and calls.
        owner: Who may have tools of high risk run.
        policy: What it may do.
        callee: Whether and when somebody answers who is called.
        steps: What they do then.
        rules: What the account may do.
        max_concurrent: Calls at a time.

    """
    api = TwilioApi(ACCOUNT_SID, PASSWORD, rules=rules or AccountRules())
    store, spending = KnownStore(), MemorySpending()
    ends: list[OutgoingEnd] = []
    models: list[RehearsalModel] = []
    left = list(scripts)
    began_s = trio.current_time()
    config = Config(
        agent=agent,
        owner=owner or OwnerSettings(),
        policy=policy,
        server=ServerSettings(public_url=PUBLIC_URL),
        openai=OpenAISettings(api_key=Secret("sk-1")),
        twilio=TwilioSettings(account_sid=ACCOUNT_SID, auth_token=Secret(PASSWORD)),
    )
    config = attrs.evolve(config, calls=attrs.evolve(config.calls, max_concurrent=max_concurrent))

    async def keep(end: OutgoingEnd) -> None:
        await trio.lowlevel.checkpoint()
        ends.append(end)

    outside = Outside(
        store=store,
        recorder=lambda _: MemoryRecorder(),
        utc_now=lambda: MORNING + timedelta(seconds=trio.current_time() - began_s),
        spending=spending,
        keep_outgoing=keep,
    )

    def connect_for(_: str) -> Connect:
        async def connect(use: Use) -> None:
            client, server = memory_line(up_ms=20, down_ms=20)
            model = RehearsalModel(
                left.pop(0),
                voice=babble,
                seed=len(models),
                caller_lines=[],
                progress=Progress(),
                started_at_s=1,
            )
            models.append(model)
            world.start_soon(serve_session, model, server)
            try:
                await use(client)
                await client.aclose()
            finally:
                client.abort()

        return connect

    app = create_app(
        config, outside=outside, connect_for=connect_for, twilio_transport=api.transport()
    )
    server = AsgiServer(app)
    ready, stop = trio.Event(), trio.Event()
    with capture_logs():
        async with trio.open_nursery() as world:
            world.start_soon(server.run, ready, stop)
            await ready.wait()
            stage = Stage(_nobody, server, app, api, world, [])

            def phone(_: PlacedCall, fields: dict[str, str]) -> Phone:
                made = stage.phone()
                made.fields, made.scenario = fields, Scenario("callee", caller=steps)
                made.__attrs_post_init__()
                return made

            ringing = Ringing(world=world, api=api, phone=phone, callee=callee)
            api.place = ringing.place
            yield Placing(
                stage=stage,
                ringing=ringing,
                store=store,
                spending=spending,
                ends=ends,
                models=models,
            )
            stage.calls.close()
            stop.set()


async def _nobody(_: Offer, carrier: Carrier) -> Exit:
    await carrier.aclose()
    raise AssertionError("the product's own runs the calls")
