"""Backpropagation: the whole gradient by one pass forward and one pass back."""

from __future__ import annotations

from backpass.exec.base import Array
from backpass.rivals.method import Estimator, grid_of_sizes
from backpass.rivals.problem import Feeds, Problem


class Backprop(Estimator):
    """The gradient by the chain rule, last layer first (Rumelhart, Hinton & Williams 1986)."""

    name, title = "backprop", "backpropagation"
    rule = "W -= η dW, with dW = a.T @ δ and δ = (δ_next @ W_next.T) * f'(z)"
    right = "Wherever the loss has a derivative and there is memory for the values of one forward pass."

    @classmethod
    def sizes(cls, problem: Problem) -> tuple[float, ...]:
        return grid_of_sizes(1.0)

    @classmethod
    def sentence(cls, problem: Problem) -> str:
        passes = problem.price("backprop")
        return f"All {problem.N:,} derivatives cost {passes:.3g} passes, however many weights there are."

    def estimate(self, rows: Feeds) -> Array:
        return self.problem.gradient(self.weights, rows)[1]

    def variance_law(self, rows: Feeds) -> float:
        """Nothing: it is the gradient."""
        return 0.0
