"""``backpass value``: the equation of one number of a step."""

from __future__ import annotations

from backpass.cli.asking import Checked, Form, Step, ask_visit


def value(
    run: str, target: str, /, *, step: Step = None, check: Checked = False, form: Form | None = None
) -> int:
    """Show the equation of one number of a step, with its terms filled in, the largest first.

    Parameters
    ----------
    run
        A run folder.
    target
        Any number of the step's forward, backward or update, in quotes: 'a1[12,7]' is unit 7 of layer 1 for
        the 13th example of the batch, 'a1[row 417,7]' the same for a row of the data set; 'dW1[5,2]', 'C'.
    step
        Which step, counted from 1.
    check
        Of a gradient or a delta: put a central difference in f64, through the same step, beside it.
    """
    return ask_visit(run, step, form, target, check, lambda visit: visit.value(target))
