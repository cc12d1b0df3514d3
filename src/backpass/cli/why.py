"""``backpass why``: why a weight moved in one step of a run."""

from __future__ import annotations

from typing import Annotated

from backpass.cli.options import FLAG, WHOLE, default
from backpass.cli.output import Output
from backpass.cli.places import open_run
from backpass.errors import RecordError, UsageError


def why(
    run: str,
    target: str,
    /,
    *,
    step: Annotated[int | None, WHOLE, default("the last")] = None,
    json: Annotated[bool, FLAG] = False,
) -> None:
    """Say why a weight moved: which examples, and which parts of the update, asked for it.

    The step is computed again from the record of the run, bit for bit; nothing was logged for it.

    Parameters
    ----------
    run
        A run folder.
    target
        One entry of a parameter, in quotes: 'W2[3,1]' is from unit 3 of layer 1 to unit 1 of layer 2, 'b1[0]'
        a bias; counted from 0.
    step
        Which step, counted from 1.
    json
        Print the answer as one object as the last line of standard output.
    """
    output = Output(json)
    found = open_run(run)
    if found.steps == 0:
        raise RecordError(f"{run} has no completed step, so no weight has moved.")
    step = found.steps if step is None else step
    if not 1 <= step <= found.steps:
        raise UsageError(f"there is no step {step:,}: {run} has steps 1 to {found.steps:,}.")
    if found.status in ("running", "interrupted", "diverged"):
        output.note(f"note: this run is not finished ({found.status}); it has steps 1 to {found.steps:,}")
    answer = found.at(step).why(target)
    if json:
        output.result(answer.to_dict())
    else:
        output.program(answer.text())
