"""What a report asks of its run: a step worked through, the flow of the error, the rows to look at."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from backpass.errors import BackpassError
from backpass.report.weights import Images, Net, errors, gradient_images

if TYPE_CHECKING:
    from collections.abc import Callable

    from backpass.explain.answer import Answer

#: The report that a training writes follows the rows through the whole run only where there are so few steps;
#: ``backpass report`` always does.
QUICK_STEPS = 3000


@dataclass(frozen=True)
class Asked:
    """Answers and pictures of a run; what cannot be asked of it is not there.

    Attributes
    ----------
    step : int
        The step that is shown.
    worked, flow, suspects : Answer or None
    errors : Net or None
        What the worked example sends back through the net.
    gradients : Images or None
        Where that step wants the first layer's weights.
    left_out : str
        Why there are no `suspects`, if that was a choice.
    """

    step: int = 0
    worked: Answer | None = None
    flow: Answer | None = None
    suspects: Answer | None = None
    errors: Net | None = None
    gradients: Images | None = None
    left_out: str = ""


def asked(run: Any, *, full: bool = True, progress: Callable[[int, int], None] | None = None) -> Asked:
    """Ask a run what its report shows.

    Parameters
    ----------
    run : Run
    full : bool
        Follow the rows through the whole run, however many steps that is.
    progress : callable, optional
        Called with the steps done, and all of them.
    """
    if not run.steps or run.status == "diverged":
        return Asked()
    try:
        visit = run.at(run.steps)
        found: dict[str, Any] = {"step": run.steps, "flow": run.flow(run.steps)}
    except BackpassError:  # the rows cannot be had again: nothing can be computed
        return Asked()
    with contextlib.suppress(BackpassError):
        found["worked"] = visit.worked()
        found["gradients"] = gradient_images(run, visit)
        found["errors"] = errors(run, visit, int(np.nanargmax(visit["loss"])))
    if full or run.steps <= QUICK_STEPS:
        with contextlib.suppress(BackpassError):
            found["suspects"] = run.self_influence(progress)
    else:
        name = run.path if run.path is not None else "RUN"
        found["left_out"] = f"This takes as long as a few such trainings: backpass report {name} adds it."
    return Asked(**found)
