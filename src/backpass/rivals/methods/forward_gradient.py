"""The forward gradient: the exact slope along a random direction, without a backward pass."""

from __future__ import annotations

from backpass.exec.base import Array
from backpass.rivals.method import Estimator, grid_of_sizes
from backpass.rivals.problem import Feeds, Problem


class ForwardGradient(Estimator):
    """The slope along a Gaussian direction by forward mode (Baydin and others 2022)."""

    name, title = "forward-gradient", "forward gradient"
    rule = "w -= η (g·v) v, with v ~ N(0, I) and g·v from one pass of forward mode"
    right = "Where there is no memory to keep the values of a forward pass until the backward pass."
    draws = True

    @classmethod
    def sizes(cls, problem: Problem) -> tuple[float, ...]:
        return grid_of_sizes(10.0 / (problem.N + 2))

    @classmethod
    def sentence(cls, problem: Problem) -> str:
        N = problem.N
        return (
            f"An estimate costs {problem.price('slope'):.3g} passes and keeps nothing for a way back; "
            f"but its variance is N + 1 = {N + 1:,} times the squared gradient."
        )

    def estimate(self, rows: Feeds) -> Array:
        direction = self.weights.like(self.rng.standard_normal(len(self.weights)))
        _, slope = self.problem.slope(self.weights, direction, rows)
        return slope * direction.flat

    def variance_law(self, rows: Feeds) -> float:
        """N + 1: E v_i⁴ is 3 for a Gaussian, which adds 2 to the N - 1 of random signs."""
        return self.problem.N + 1.0
