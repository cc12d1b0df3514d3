"""Weight perturbation: all weights are shaken at once, and follow the shaking by what the cost did."""

from __future__ import annotations

from backpass.exec.base import Array
from backpass.rivals.method import Estimator, grid_of_sizes
from backpass.rivals.problem import Feeds, Problem

#: s, the standard deviation of the noise: the bias is of the order of s².
NOISE = 1e-4


class WeightPerturbation(Estimator):
    """Gaussian noise on all weights at once; each is credited with the whole change of the cost."""

    name, title = "weight-perturbation", "weight perturbation"
    rule = "w -= η (C(w + ξ) - C(w)) ξ / s², with ξ ~ N(0, s²)"
    right = "In hardware where nothing but the cost can be measured and weights are few."
    draws = True

    @classmethod
    def sizes(cls, problem: Problem) -> tuple[float, ...]:
        return grid_of_sizes(10.0 / (problem.N + 2))

    @classmethod
    def sentence(cls, problem: Problem) -> str:
        N = problem.N
        return (
            f"An estimate costs 2 passes, but each of N = {N:,} weights is drowned by the noise of all "
            f"others: its variance is N + 1 = {N + 1:,} times the squared gradient."
        )

    def estimate(self, rows: Feeds) -> Array:
        noise = NOISE * self.rng.standard_normal(len(self.weights))
        here = self.problem.cost(self.weights, rows)
        there = self.problem.cost(self.weights.like(self.weights.flat + noise), rows)
        return (there - here) / NOISE**2 * noise

    def variance_law(self, rows: Feeds) -> float:
        """N + 1: E v_i⁴ is 3 for a Gaussian, which adds 2 to the N - 1 of random signs."""
        return self.problem.N + 1.0
