"""``backpass flow``: how the error flows back, over depth and over the run."""

from __future__ import annotations

from backpass.cli.asking import Form, Step, ask


def flow(run: str, /, *, step: Step = None, form: Form | None = None) -> int:
    """Show how large the error, the gradients and the updates are from layer to layer, and over the run.

    Where it vanishes or explodes, and which units are dead or saturated, is said in words. --out flow.html
    has the pictures.

    Parameters
    ----------
    run
        A run folder.
    step
        The step whose layers are shown, counted from 1.
    """
    return ask(run, step, form, lambda found, number: found.flow(number))
