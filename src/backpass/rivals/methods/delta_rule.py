"""The delta rule: the gradient of the output layer, and of nothing else."""

from __future__ import annotations

from backpass.exec.base import Array
from backpass.rivals.method import Estimator, grid_of_sizes
from backpass.rivals.problem import Feeds, Problem


class DeltaRule(Estimator):
    """The rule of Widrow & Hoff (1960). It has no rule for hidden units: their weights stay as they start."""

    name, title = "delta-rule", "delta rule"
    rule = "W_L -= η a.T @ δ_L, with δ_L from the targets; hidden weights stay"
    right = "With no hidden layer, where it is backpropagation; on top of features that are good as they are."

    @classmethod
    def sizes(cls, problem: Problem) -> tuple[float, ...]:
        return grid_of_sizes(1.0)

    @classmethod
    def sentence(cls, problem: Problem) -> str:
        layers = problem.programs.layers
        learned = sum(problem.start.named[name].size for name in problem.programs.parameters_of(layers))
        passes = f"{problem.price('output_layer'):.3g} passes"
        if layers == 1:
            return f"With no hidden layer it is backpropagation: all {problem.N:,} derivatives for {passes}."
        return (
            f"It learns {learned:,} of the {problem.N:,} weights, for {passes} a step: no target says what a "
            "hidden unit should do."
        )

    def estimate(self, rows: Feeds) -> Array:
        return self.problem.output_gradient(self.weights, rows)[1]
