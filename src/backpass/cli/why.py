"""``backpass why``: why a weight moved in one step of a run."""

from __future__ import annotations

from backpass.cli.asking import Checked, Form, Step, ask_visit


def why(
    run: str, target: str, /, *, step: Step = None, check: Checked = False, form: Form | None = None
) -> int:
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
    check
        Put a central difference in f64, through the same step, beside the gradient.
    """
    return ask_visit(run, step, form, target, check, lambda visit: visit.why(target))
