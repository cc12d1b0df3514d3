"""SPSA: two costs, on both sides along a random direction of plus and minus ones."""

from __future__ import annotations

from backpass.exec.base import Array
from backpass.rivals.method import Estimator, grid_of_sizes
from backpass.rivals.problem import Feeds, Problem

#: c, the length of the first trial along each weight. The costs carry no noise of their own, since both are
#: of the same rows; so it may be short, and the bias, of the order of c², small.
CHANGE = 1e-3
#: A, the steps by which the gains are held back at the start; Spall advises a tenth of the steps expected.
STABILITY = 100


class SPSA(Estimator):
    """Simultaneous perturbation stochastic approximation (Spall 1992).

    Its gains fall as he advises: a_k = a / (A + k + 1)^0.602 and c_k = c / (k + 1)^0.101, for the step k
    counted from 0. The step size is a_0.
    """

    name, title = "spsa", "SPSA"
    rule = "w -= a_k (C(w + c_k Δ) - C(w - c_k Δ)) / (2 c_k) Δ, with Δ_i = ±1"
    right = "Where the cost is a black box, noisy or with jumps, and has too many weights to try each."
    draws = True

    @classmethod
    def sizes(cls, problem: Problem) -> tuple[float, ...]:
        return grid_of_sizes(10.0 / (problem.N + 2))

    @classmethod
    def sentence(cls, problem: Problem) -> str:
        N = problem.N
        return (
            f"An estimate costs 2 passes, whatever N is; but for N = {N:,} its variance is N - 1 = {N - 1:,} "
            "times the squared gradient, so steps must be that much smaller."
        )

    def estimate(self, rows: Feeds) -> Array:
        change: float = CHANGE / (self.steps + 1) ** 0.101
        signs: Array = self.rng.choice((-1.0, 1.0), len(self.weights))
        flat = self.weights.flat
        up = self.problem.cost(self.weights.like(flat + change * signs), rows)
        down = self.problem.cost(self.weights.like(flat - change * signs), rows)
        return (up - down) / (2 * change) * signs

    def variance_law(self, rows: Feeds) -> float:
        """N - 1: each entry is its own derivative and those of all others, with random signs."""
        return self.problem.N - 1.0

    def step(self) -> None:
        gain = self.size * ((STABILITY + 1) / (STABILITY + self.steps + 1)) ** 0.602
        self.weights.flat -= gain * self.estimate(self.problem.batch(self.steps))
        self.steps += 1
