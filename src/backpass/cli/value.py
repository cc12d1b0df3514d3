"""``backpass value``: the equation of one number of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backpass.cli.asking import Checked, Form, Step, ask, checked

if TYPE_CHECKING:
    from backpass.explain import Answer
    from backpass.run import Run


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

    def question(found: Run, number: int) -> Answer:
        visit = found.at(number)
        answer = visit.value(target)
        return checked(visit, target, answer) if check else answer

    return ask(run, step, form, question)
