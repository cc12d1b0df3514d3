"""One weight at a time: change it, and keep the change if the cost falls."""

from __future__ import annotations

import numpy as np

from backpass.rivals.method import Method, grid_of_sizes
from backpass.rivals.problem import Feeds, Problem


class OneWeight(Method):
    """A weight is moved up; if that does not lower the cost, down; if neither does, it is put back.

    A step is one weight. A sweep takes all weights in a random order, over the same rows, so that the cost of
    the weights as they are is known from the trial before.
    """

    name, title = "one-weight", "one weight at a time"
    rule = "w_i += d; if C has not fallen w_i -= 2d; if it has not fallen either, w_i += d again"
    right = "Where only the cost can be had, weights are few, and a change must be seen to help."

    def __init__(self, problem: Problem, size: float, seed: int = 0) -> None:
        super().__init__(problem, size, seed)
        self.sweeps = 0  #: begun so far
        self._order: list[int] = []
        self._rows: Feeds = {}
        self._here = np.inf

    @classmethod
    def sizes(cls, problem: Problem) -> tuple[float, ...]:
        return grid_of_sizes(0.1)

    @classmethod
    def sentence(cls, problem: Problem) -> str:
        return (
            f"One weight at a time needs N = {problem.N:,} passes for one sweep, and up to twice that; "
            f"backpropagation needs {problem.price('backprop'):.3g} for all weights."
        )

    def step(self) -> None:
        if not self._order:
            self._begin_sweep()
        i = self._order.pop()
        before = self.weights.flat[i]
        for change in (self.size, -self.size):
            self.weights.flat[i] = before + change
            there = self.problem.cost(self.weights, self._rows)
            if there < self._here:
                self._here = there
                break
        else:
            self.weights.flat[i] = before
        self.steps += 1

    def _begin_sweep(self) -> None:
        self._order = self.rng.permutation(len(self.weights)).tolist()
        rows = self.problem.batch(self.sweeps)
        self.sweeps += 1
        if rows is not self._rows:
            self._rows, self._here = rows, self.problem.cost(self.weights, rows)
