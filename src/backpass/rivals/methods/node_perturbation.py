"""Node perturbation: units are shaken rather than weights, and what comes in shares out the credit."""

from __future__ import annotations

from backpass.exec.base import Array
from backpass.rivals.method import Estimator, grid_of_sizes
from backpass.rivals.problem import Feeds, Problem

#: s, the standard deviation of the noise on a pre-activation: the bias is of the order of s².
NOISE = 1e-4


class NodePerturbation(Estimator):
    """Gaussian noise on each pre-activation of each row guesses at δ; dW = a.T @ δ, as in backpropagation."""

    name, title = "node-perturbation", "node perturbation"
    rule = "δ = (loss(z + ξ) - loss(z)) ξ / s² for each row, with ξ ~ N(0, s²); dW = a.T @ δ; W -= η dW"
    right = "In hardware, or nerves, where units can be shaken and one number says how well it went."
    draws = True

    @classmethod
    def sizes(cls, problem: Problem) -> tuple[float, ...]:
        return grid_of_sizes(3.0 / (problem.M + 2))

    @classmethod
    def sentence(cls, problem: Problem) -> str:
        passes = sum(problem.price(program) for program in ("clean", "noisy", "credit"))
        return (
            f"An estimate costs {passes:.3g} passes and guesses at M = {problem.M:,} units instead of "
            f"N = {problem.N:,} weights: less noise, but for a single row still about M times the squared δ."
        )

    def estimate(self, rows: Feeds) -> Array:
        found = dict(self.problem.losses(self.weights, rows))
        clean = found.pop("loss")
        widths = (shape[1] for name, shape in self.weights.shapes.items() if name[0] == "W")
        noise = {
            f"noise{k}": NOISE * self.rng.standard_normal((len(clean), width))
            for k, width in enumerate(widths, start=1)
        }
        rise = self.problem.noisy_losses(self.weights, rows, noise) - clean
        # δ is the adjoint of the cost, the mean of the losses
        share = (rise / (len(clean) * NOISE**2))[:, None]
        guesses = {name.replace("noise", "guess"): share * shaken for name, shaken in noise.items()}
        return self.problem.credit(rows, found, guesses)

    def variance_law(self, rows: Feeds) -> float:
        """The law of a Gaussian direction, for the units of each row, carried on to the weights.

        A guess at δ_i is ξ_i (δ·ξ), over all M units of a row, and has the variance |δ|² + δ_i². Each weight
        of unit i takes it times what comes in; rows are shaken independently, so their variances add up.
        """
        deltas, incoming = self.problem.deltas(self.weights, rows)
        length = sum((d**2).sum(axis=1) for d in deltas.values())  # |δ|² of each row
        found = 0.0
        for k, (delta, a) in enumerate(zip(deltas.values(), incoming.values(), strict=True), start=1):
            entering = (a**2).sum(axis=1) + (f"b{k}" in self.weights.shapes)
            found += float(entering @ (delta.shape[1] * length + (delta**2).sum(axis=1)))
        with self.problem.meter.off():
            gradient = self.problem.gradient(self.weights, rows)[1]
        return found / float(gradient @ gradient)
