"""``backpass delta``: where the error at a unit came from."""

from __future__ import annotations

from backpass.cli.asking import Checked, Form, Step, ask_visit


def delta(
    run: str, target: str, /, *, step: Step = None, check: Checked = False, form: Form | None = None
) -> int:
    """Say where the error at a unit came from: which units above sent it, and what was lost on the way.

    Parameters
    ----------
    run
        A run folder.
    target
        One delta, in quotes: 'δ1[12,7]', or 'delta1[12,7]', is the error at unit 7 of layer 1 for the 13th
        example of the batch; 'δ1[row 417,7]' the same for a row of the data set.
    step
        Which step, counted from 1.
    check
        Put a central difference in f64, through the same step, beside it.
    """
    return ask_visit(run, step, form, target, check, lambda visit: visit.delta(target))
