"""Finite differences: change each weight a little, and see what the cost does."""

from __future__ import annotations

import numpy as np

from backpass.exec.base import Array
from backpass.rivals.method import Estimator, grid_of_sizes
from backpass.rivals.problem import Feeds, Problem

#: The change, for weights of about 1: the square root of the machine's precision, which balances the error of
#: the formula (~h) and of rounding (~1e-16 / h).
_CHANGE = 1e-8


class FiniteDifferences(Estimator):
    """One-sided differences: g_i = (C(w + h e_i) - C(w)) / h, one weight after the other."""

    name, title = "finite-differences", "finite differences"
    rule = "g_i = (C(w + h e_i) - C(w)) / h for each weight i, then w -= η g"
    right = "As the check of any other gradient; where the loss is a black box with few weights."

    @classmethod
    def sizes(cls, problem: Problem) -> tuple[float, ...]:
        return grid_of_sizes(1.0)

    @classmethod
    def sentence(cls, problem: Problem) -> str:
        return (
            f"One gradient costs N + 1 = {problem.N + 1:,} passes, one for each weight; "
            f"backpropagation needs {problem.price('backprop'):.3g} for all."
        )

    def estimate(self, rows: Feeds) -> Array:
        here = self.problem.cost(self.weights, rows)
        found = np.empty(len(self.weights))
        for i, weight in enumerate(self.weights.flat):
            change = _CHANGE * max(1.0, abs(weight))
            self.weights.flat[i] = weight + change
            found[i] = (self.problem.cost(self.weights, rows) - here) / (self.weights.flat[i] - weight)
            self.weights.flat[i] = weight
        return found

    def variance_law(self, rows: Feeds) -> float:
        """Nothing, in the limit of ever smaller changes."""
        return 0.0
