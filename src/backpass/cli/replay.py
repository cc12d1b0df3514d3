"""``backpass replay``: computes a run again from its record, and compares."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

from backpass.cli.options import FLAG, WHOLE, default
from backpass.cli.output import Output, clean, duration
from backpass.cli.places import open_run
from backpass.cli.progress import Waiting
from backpass.cli.words import counted
from backpass.errors import ReplayMismatch, UsageError

if TYPE_CHECKING:
    from backpass.record.promise import Promise
    from backpass.run import Run


def replay(
    run: str,
    /,
    *,
    to: Annotated[int | None, WHOLE, default("the last")] = None,
    verify: Annotated[bool, FLAG] = False,
    json: Annotated[bool, FLAG] = False,
) -> None:
    """Compute a run again from its record: to a step, or all of it and compare bit for bit.

    It says which level of promise holds on this machine: the same bits, or the same numbers within rounding.

    Parameters
    ----------
    run
        A run folder.
    to
        The step to go to, counted from 1; with --verify all of it is computed.
    verify
        Compare with every checkpoint and every hash that the run wrote down.
    json
        Print one object with the result as the last line of standard output.
    """
    from backpass.record.promise import promise

    if verify and to is not None:
        raise UsageError("--verify computes the whole run again; leave --to out.")
    output = Output(json)
    found = open_run(run)
    if not 0 <= (found.steps if to is None else to) <= found.steps:
        raise UsageError(f"there is no step {to:,}: {run} has steps 0 (its start) to {found.steps:,}.")
    kept = promise(found.settings, found.replay.loop.blas_name())
    with Waiting(output, "computing the run again") as waiting:
        found.replay.told = lambda wait: waiting.show(wait.done, wait.steps, wait.seconds)
        if verify:
            told = _verify(output, run, found, kept)
        else:
            told = _go_to(output, found, found.steps if to is None else to)
    output.field("promise", kept.words)
    if json:
        output.result({"run": run, **told, "level": kept.level, "bitwise": kept.bitwise})


def _verify(output: Output, spec: str, run: Run, kept: Promise) -> dict[str, Any]:
    from backpass.record.parting import first_cost_apart

    record = run.record
    checkpoints = [mark for mark in record.checkpoints if record.has(mark)]
    marks = sorted(record.hashes.keys() | set(checkpoints))
    began = time.perf_counter()
    try:
        steps = run.verify()
    except ReplayMismatch as error:
        step = first_cost_apart(run.replay, error.before, error.mark)
        if step is not None:
            error.add_note(
                f"  The cost of step {step:,} is the first that differs, so that the carried values do after "
                f"step {step - 1:,} at the latest."
            )
        else:
            error.add_note("  The costs of all these steps are the recorded ones.")
        error.add_note(f"  {kept.words}")
        details = {
            "run": spec, "before": error.before, "mark": error.mark, "tensor": error.tensor, "step": step,
            "level": kept.level, "bitwise": kept.bitwise,
        }  # fmt: skip
        error.details = clean(details)  # type: ignore[attr-defined]
        raise
    took = time.perf_counter() - began
    output.field(
        "verified",
        f"{counted(steps, 'step')} computed again in {duration(took)}, and bit-equal at all "
        f"{counted(len(marks), 'mark')}: {counted(len(checkpoints), 'checkpoint')}, and the hashes of "
        f"{counted(len(record.hashes), 'state')}",
    )
    return {
        "verified": True, "steps": steps, "marks": len(marks), "checkpoints": len(checkpoints),
        "hashes": len(record.hashes), "seconds": round(took, 6),
    }  # fmt: skip


def _go_to(output: Output, run: Run, step: int) -> dict[str, Any]:
    """The state after a step, and the cost of it."""
    from backpass.record.checkpoints import digest

    record, began = run.record, time.perf_counter()
    nearest = record.before(step)[0]
    known = record.all_costs()
    cost = None
    if step:
        cost = float(run.replay.tapped(step - 1, step, ()).watched[0])
        state = record.state(run.replay.loop)
    else:
        state = run.replay.state(0)
    found, took = digest(state), time.perf_counter() - began
    plan = record.batches
    where = f"after step {step:,} of {run.steps:,}" if step else "the start"
    if step:
        where += f", in epoch {plan.epoch_of(step - 1) + 1:,} of {run.settings.epochs:,}"
    output.field("state", where)
    if cost is not None:
        wrote = None if len(known) < step else float(known[step - 1])
        output.field("cost", f"{cost:.10g} in step {step:,}{_beside(wrote, cost)}")
    compared = record.hashes.get(step)
    output.field("hash", f"{found}{_beside(compared, found)}")
    way = "which is this state" if nearest == step else f"{counted(step - nearest, 'step')} before"
    output.field("nearest", f"the checkpoint after step {nearest:,}, {way}; it took {duration(took)}")
    return {
        "step": step, "cost": cost, "hash": found, "checkpoint": nearest, "seconds": round(took, 6),
        "as_recorded": None if compared is None else compared == found,
    }  # fmt: skip


def _beside(recorded: float | str | None, found: float | str) -> str:
    """What the run itself says of a number."""
    if recorded is None:
        return ""
    return ", as the run wrote it down" if recorded == found else f"; the run wrote down {recorded}"
