"""The exhaustive grid: every combination of a few values for each weight."""

from __future__ import annotations

import numpy as np

from backpass.errors import UsageError
from backpass.exec.base import Array
from backpass.rivals.counter import Search, check_it_ends, told_count
from backpass.rivals.method import KeepBetter
from backpass.rivals.problem import Problem

#: k, how many values a weight has where nobody says.
VALUES = 5
#: Without a measured speed: passes a second, more than a machine does, and the seconds that are enough.
SPEED, ENOUGH = 1e6, 86_400.0


class Grid(KeepBetter):
    """All combinations of k values from -size to size, in order; the best is kept.

    Parameters
    ----------
    problem, size, seed
        As for each method; the size is the largest value of a weight.
    values : int
        k.
    speed : float
        Passes a second, with which it is judged whether the search can end; `speed_of` measures it.
    seconds : float
        How long it may take.

    Raises
    ------
    UsageError
        It cannot end within that time; with the count and the years.
    """

    name, title = "grid", "exhaustive grid"
    rule = "w = the best of all k^N combinations of k values for each of N weights"
    right = "For two or three numbers, where it finds the best on the grid for certain."

    def __init__(
        self,
        problem: Problem,
        size: float,
        seed: int = 0,
        *,
        values: int = VALUES,
        speed: float = SPEED,
        seconds: float = ENOUGH,
    ) -> None:
        super().__init__(problem, size, seed)
        search = Search(values, problem.N, speed)
        check_it_ends(search, seconds)
        self.combinations = search.combinations
        self._values = np.linspace(-size, size, values)

    @classmethod
    def sizes(cls, problem: Problem) -> tuple[float, ...]:
        return (1.0, 1.5, 2.2, 3.2, 4.6, 6.8, 10.0)

    @classmethod
    def sentence(cls, problem: Problem) -> str:
        count = told_count(Search(VALUES, problem.N, SPEED).combinations)
        return (
            f"{VALUES} values for each of N = {problem.N:,} weights are {count} combinations, a pass each; "
            f"backpropagation tries none: {problem.price('backprop'):.3g} passes tell which way is down."
        )

    @property
    def finished(self) -> bool:
        return self.steps >= self.combinations

    def propose(self) -> Array:
        """The next combination: the digits of the step's number, the last weight's changing fastest."""
        if self.finished:
            raise UsageError(f"all {self.combinations:,} combinations have been tried")
        found, k, values = np.empty(self.problem.N), self.steps, len(self._values)
        for weight in range(self.problem.N - 1, -1, -1):
            k, digit = divmod(k, values)
            found[weight] = self._values[digit]
        return found
