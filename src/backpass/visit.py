"""`Visit`: one step of a run, with every value of it, and the questions that can be asked of it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from backpass.record.replay import Moment, Replay

if TYPE_CHECKING:
    from backpass.explain.delta import Delta
    from backpass.explain.naming import Naming
    from backpass.explain.paths import Paths
    from backpass.explain.value import Value
    from backpass.explain.whatif import WhatIf
    from backpass.explain.why import Why
    from backpass.explain.worked import Worked


class Visit(Moment):
    """One step of a run. ``visit["δ1"]`` is a value by its printed name.

    Made by `Run.at`. Each question gives an `Answer`, which prints, and shows itself in a notebook.

    Attributes
    ----------
    step : int
        Counted from 1.
    rows : ndarray of int64
        The rows of the batch, as they are numbered in the data set.
    before, after : dict of str to ndarray
        What is carried from step to step, weights and the optimiser's slots, as the run had it.
    feeds : dict of str to ndarray
        Every input of the step: the batch, and numbers such as the learning rate.

    Parameters
    ----------
    replay : Replay
    numbers : ndarray of int64
        The number in the data set of each training row.
    step : int
    """

    def __init__(self, replay: Replay, numbers: NDArray[np.int64], step: int) -> None:
        super().__init__(replay, step)
        self.numbers = numbers

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        return self.numbers[super().rows]

    def why(self, target: str) -> Why:
        """Why a weight moved in this step: by example, and by part of the update.

        Parameters
        ----------
        target : str
            One entry of a parameter: ``"W2[3,1]"``.
        """
        from backpass.explain.why import why

        return self._naming.named(why(self, target, row_numbers=self.numbers))

    def value(self, target: str) -> Value:
        """The equation of a number of this step, with its terms filled in: ``"a1[12,7]"``, ``"C"``."""
        from backpass.explain.value import value

        return self._naming.named(value(self, target))

    def delta(self, target: str) -> Delta:
        """Where the error at a unit came from, and what was lost on the way: ``"δ1[12,7]"``."""
        from backpass.explain.delta import delta

        return self._naming.named(delta(self, target))

    def paths(self, target: str, top: int = 10, example: int | str | None = None) -> Paths:
        """The strongest paths from the cost to a weight, through named z and a: ``"W1[5,2]"``.

        Parameters
        ----------
        target : str
        top : int
            How many paths are listed; all of them are counted.
        example : int or str, optional
            Of this place in the batch only, or ``"row 417"`` as the data set numbers it.
        """
        from backpass.explain.paths import paths

        return self._naming.named(paths(self, target, top, example))

    def whatif(self, target: str, value: float) -> WhatIf:
        """This step with one number set otherwise, side by side: a weight, ``"lr"``, ``"a1[12,7]"``."""
        from backpass.explain.whatif import whatif

        return whatif(self, target, value, self.numbers)

    def worked(self, example: int | None = None) -> Worked:
        """This step worked through for one example of the batch: forward, error, backward, update."""
        from backpass.explain.worked import worked

        return self._naming.named(worked(self, self.numbers, example))

    @cached_property
    def _naming(self) -> Naming:
        from backpass.explain.naming import Naming

        return Naming(self.replay.record, self.rows)

    def __repr__(self) -> str:
        of = self.replay.record.outcome.steps
        return f"<step {self.step:,} of {of:,}: {', '.join(self.keys())}>"
