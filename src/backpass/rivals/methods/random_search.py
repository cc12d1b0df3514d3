"""Random search: draw all weights anew, and keep the best that was ever drawn."""

from __future__ import annotations

from backpass.exec.base import Array
from backpass.rivals.method import KeepBetter, grid_of_sizes
from backpass.rivals.problem import Problem


class RandomSearch(KeepBetter):
    """Weights from N(0, size²), all at once; it learns nothing from those that were not good."""

    name, title = "random-search", "random search"
    rule = "w' ~ N(0, s²); w = w' if C(w') < C(w)"
    right = "For a handful of numbers about which nothing is known, such as settings of a training run."

    @classmethod
    def sizes(cls, problem: Problem) -> tuple[float, ...]:
        return grid_of_sizes(1.0)

    @classmethod
    def sentence(cls, problem: Problem) -> str:
        return (
            f"A try costs a pass, but all N = {problem.N:,} weights must fall right together: the tries that "
            "it takes grow exponentially with N."
        )

    def propose(self) -> Array:
        return self.size * self.rng.standard_normal(len(self.weights))
