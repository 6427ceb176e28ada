"""What must be true of every call and of the whole gateway, whatever goes wrong.

Every complaint begins with the name of the promise that was broken:

* I1: nothing is left: no task, no socket, no call.
* I2: a call that began has exactly one end record, with a cause.
* I3: audio is conserved to the byte, in both directions.
* I4: what is over is gone within its bound.
* I5: nothing grows beyond its limit.
* I6: nobody hears audio of a response that is dead, or anything twice or out of order.
* I7: a tool call has at most one output and is run at most once.
* I8: nothing of one call appears in another.
* I9: no secret and no spoken word is in any log, and no error without a cause.
* I10: what the phone sees makes sense.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from gateway.lab.faults.fault_plan import Strike, Striker
from gateway.lab.judges.case import Case
from gateway.lab.judges.evidence import CallSeen, NodeReport
from gateway.lab.judges.judged_audio import judge_audio
from gateway.lab.judges.judged_end import judge_end
from gateway.lab.judges.judged_gateway import judge_gateway
from gateway.lab.judges.judged_model import judge_model
from gateway.lab.judges.judged_move import judge_moves
from gateway.lab.judges.task_count import TaskCount

__all__ = ["TaskCount", "check", "judge_call"]


def check(
    report: NodeReport, striker: Striker | None = None, tasks: TaskCount | None = None
) -> list[str]:
    """Find everything that is wrong, in words; nothing when all is well.

    Args:
        report: Of a simulation that is over.
        striker: What went wrong as planned; by default what the report says of it.
        tasks: What counted the run's tasks.

    """
    if striker is not None:
        report = attrs.evolve(report, strikes=tuple(striker.log))
    return [
        *(tasks.complaints() if tasks is not None else ()),
        *report.violations,
        *judge_gateway(report),
    ]


def judge_call(seen: CallSeen, log: Sequence[Strike]) -> list[str]:
    """Find what is wrong with one call, once it is over and before its audio is forgotten.

    Args:
        seen: The call.
        log: What went wrong as planned, in the whole simulation and up to now.

    """
    faults = [one.fault for one in log]
    number = seen.call.number
    case = Case(
        seen,
        tuple(one for one in faults if one.place != "node" and one.call == number),
        any(fault.do == "stop" for fault in faults),
    )
    complaints = [*judge_end(case), *judge_audio(case), *judge_model(case), *judge_moves(case)]
    return [f"{name} call {number}: {what}" for name, what in complaints]
