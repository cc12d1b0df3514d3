"""``backpass whatif``: the same step, or the same prediction, with one number changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from backpass.cli.asking import Form, Step, ask
from backpass.errors import UsageError

if TYPE_CHECKING:
    from backpass.explain import Answer
    from backpass.run import Run


def whatif(
    run: str,
    target: str | None = None,
    /,
    *,
    set_: Annotated[str | None, Parameter(name="--set")] = None,
    input: str | None = None,
    step: Step = None,
    form: Form | None = None,
) -> int:
    """Take a step, or make a prediction, with one number set otherwise, and show both side by side.

    Parameters
    ----------
    run
        A run folder.
    target
        What to set, in quotes: a weight 'W2[3,1]', the rate 'lr', or a value in between, such as 'a1[12,7]'
        for a unit that is to be silent for one example.
    set_
        The number it is set to; with --input, columns and their values, as in age=52,job=cook.
    input
        Change an input instead: the number of a row in the data set, or a file whose first row is taken.
    step
        Which step, counted from 1; with --input, the weights before it, or those of the result if left out.
    """
    if set_ is None or (target is None) == (input is None):
        raise UsageError(
            "say what is changed, and to what:\n"
            f"  backpass whatif {run} 'W2[3,1]' --set 0.5\n"
            f"  backpass whatif {run} --input 17 --set age=52"
        )

    def question(found: Run, number: int) -> Answer:
        if target is not None:
            try:
                value = float(set_)
            except ValueError:
                raise UsageError(f"--set {set_} is no number; {target} can be set to one") from None
            return found.at(number).whatif(target, value)
        pairs = [word.partition("=") for word in set_.split(",")]
        wrong = next((name for name, sign, _ in pairs if not sign), None)
        if wrong is not None:
            raise UsageError(f"--set {wrong}: with --input, write column=value, as in --set age=52")
        changes = {name.strip(): value.strip() for name, _, value in pairs}
        assert input is not None
        row = int(input) if input.isdecimal() else _first(found.read_rows(input))
        return found.whatif(row, changes, step)

    return ask(run, step, form, question)


def _first(rows: Any) -> Any:
    """The first of rows that were read from a file."""
    import numpy as np

    from backpass.data.table import Table

    return rows.take(np.array([0])) if isinstance(rows, Table) else rows[:1]
