"""The models of a simulated gateway: one at the end of every line of memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

import attrs
import trio

from gateway.lab.faults.fault_plan import Striker
from gateway.lab.faults.faulty_line import faulty_line
from gateway.lab.faults.faulty_ports import before_connecting
from gateway.lab.judges.evidence import CallSeen
from gateway.lab.judges.seen_session import SessionSeen
from gateway.lab.judges.watched_socket import Trace, WatchedSocket
from gateway.lab.memory_line import MemorySocket
from gateway.lab.openai.model import RehearsalModel
from gateway.lab.openai.model_line import serve_session
from gateway.lab.openai.unfinished import Unfinished
from gateway.session.realtime import Use
from gateway.web.client_socket import CannotOpen


@attrs.frozen(eq=False, kw_only=True)
class Models:
    """Answers whoever connects to a model."""

    striker: Striker
    seed: int
    world: trio.Nursery
    """The models live in it."""
    trace: Trace | None
    unix_s: Callable[[], float]
    """What the models' own clocks show: the gateway's may be wrong."""

    async def connect(self, seen: CallSeen, name: str, use: Use) -> None:
        """The gateway's way to this model: a line of memory with a model at its other end."""
        call = seen.call
        seen.attempts += 1
        random = Random(f"{self.seed}/model/{call.number}/{seen.attempts}")
        delay_ms = partial(random.randint, *call.model_ms)
        await before_connecting(self.striker, call.number)
        await trio.sleep(2 * delay_ms() / 1000)
        script = call.scenario.model.on_connection(seen.attempts, name)
        if seen.sessions:
            # Its faults are those of this connection; what it says is what the last one left.
            rest = seen.sessions[-1].unfinished.rest_of(seen.sessions[-1].model.script)
            script = attrs.evolve(script, answers=rest.answers)
        if script.refusal is not None:
            status = script.refusal.http_status
            raise CannotOpen(f"it was refused with {status}", status)
        client, server = faulty_line(
            self.striker, "model", call.number, up_ms=delay_ms, down_ms=delay_ms
        )
        model = RehearsalModel(
            script,
            voice=seen.agent_voice,
            seed=random.getrandbits(32),
            model=name,
            caller_lines=call.scenario.caller_lines(),
            progress=seen.progress,
            started_at_s=round(self.unix_s()),
            lifetime_ms=script.lifetime_ms,
        )
        session = SessionSeen(
            model=model, unfinished=Unfinished(seen.progress), opened_s=trio.current_time()
        )
        seen.sessions.append(session)
        self.world.start_soon(serve_session, model, _Speaking(server, session), name="model")
        try:
            await use(WatchedSocket(client, session, f"call {call.number} model", self.trace))
            await client.aclose()
        finally:
            client.abort()
            session.done_s = trio.current_time()


@attrs.frozen
class _Speaking:
    """The model's end of its line, which tells what it says."""

    socket: MemorySocket
    session: SessionSeen

    async def send_message(self, message: str | bytes) -> None:
        """See `MemorySocket`."""
        self.session.unfinished.speaks(message)
        self.session.speaks(message)
        await self.socket.send_message(message)

    async def get_message(self) -> str | bytes:
        """See `MemorySocket`."""
        return await self.socket.get_message()

    async def aclose(self, code: int = 1000, reason: str | None = None) -> None:
        """See `MemorySocket`."""
        await self.socket.aclose(code, reason)
