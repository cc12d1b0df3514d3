"""``backpass paths``: the strongest paths from the cost to a weight."""

from __future__ import annotations

from typing import Annotated

from backpass.cli.asking import Checked, Form, Step, ask_visit
from backpass.cli.options import WHOLE, check_whole


def paths(
    run: str,
    target: str,
    /,
    *,
    step: Step = None,
    top: Annotated[int, WHOLE] = 10,
    example: str | None = None,
    check: Checked = False,
    form: Form | None = None,
) -> int:
    """List the strongest paths from the cost to a weight, through the units they pass.

    A gradient is the sum over all paths of the products of their links. All of them are counted, net and
    gross; the strongest are listed.

    Parameters
    ----------
    run
        A run folder.
    target
        One entry of a parameter, in quotes: 'W1[5,2]'.
    step
        Which step, counted from 1.
    top
        How many paths to list.
    example
        Only those of one example: its place in the batch, or 'row 417' as the data set numbers it.
    check
        Put a central difference in f64, through the same step, beside the gradient.
    """
    check_whole("--top", top, 1)

    place = int(example) if example is not None and example.strip().isdecimal() else example
    return ask_visit(run, step, form, target, check, lambda visit: visit.paths(target, top, place))
