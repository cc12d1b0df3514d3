"""Feedback alignment: the error comes back through fixed random weights."""

from __future__ import annotations

import numpy as np

from backpass.exec.base import Array
from backpass.rivals.method import Estimator, grid_of_sizes
from backpass.rivals.problem import Feeds, Problem


class FeedbackAlignment(Estimator):
    """Backpropagation with random B in place of W on the way back (Lillicrap and others 2016).

    B has the shape of W, and is drawn from N(0, 1 / units of its layer), so that the error keeps its size on
    the way back. With one hidden layer it is direct feedback alignment as well: the only hidden layer hears
    from the output layer itself.
    """

    name, title = "feedback-alignment", "feedback alignment"
    rule = "W -= η dW, with dW = a.T @ δ and δ = (δ_next @ B_next.T) * f'(z), B fixed and random"
    right = "In hardware, or nerves, where the way back cannot know the weights of the way forward."

    def __init__(self, problem: Problem, size: float, seed: int = 0) -> None:
        super().__init__(problem, size, seed)
        #: The weights of the way back, ``B2`` and so on.
        self.backwards = {
            f"B{name[1:]}": self.rng.standard_normal(shape) / np.sqrt(shape[1])
            for name, shape in problem.start.shapes.items()
            if name[0] == "W" and name != "W1"
        }

    @classmethod
    def sizes(cls, problem: Problem) -> tuple[float, ...]:
        return grid_of_sizes(1.0)

    @classmethod
    def sentence(cls, problem: Problem) -> str:
        return (
            f"A step costs {problem.price('feedback'):.3g} passes, as backpropagation does; it is no "
            "gradient, but the weights come to align with the way back."
        )

    def estimate(self, rows: Feeds) -> Array:
        return self.problem.feedback(self.weights, rows, self.backwards)[1]
