"""Hill climbing: a random step from the best weights so far, taken if it is one for the better."""

from __future__ import annotations

from backpass.exec.base import Array
from backpass.rivals.method import KeepBetter, grid_of_sizes
from backpass.rivals.problem import Problem


class HillClimbing(KeepBetter):
    """The best weights so far and Gaussian noise on all of them; kept if better."""

    name, title = "hill-climbing", "hill climbing"
    rule = "w' = w + s ξ, with ξ ~ N(0, I); w = w' if C(w') < C(w)"
    right = "Where the cost has no slope at all, such as a count of errors, and weights are few."

    @classmethod
    def sizes(cls, problem: Problem) -> tuple[float, ...]:
        return grid_of_sizes(1.0 / problem.N**0.5)  # so that the length of a step is about the same

    @classmethod
    def sentence(cls, problem: Problem) -> str:
        return (
            f"A try costs a pass and says yes or no: one bit, against {problem.N:,} derivatives for the "
            f"{problem.price('backprop'):.3g} passes of backpropagation."
        )

    def propose(self) -> Array:
        return self.weights.flat + self.size * self.rng.standard_normal(len(self.weights))
