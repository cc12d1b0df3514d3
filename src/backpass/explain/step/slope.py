"""The cost of a batch against one weight, with its tangent: what the gradient says, seen from outside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backpass.exec.reference import ReferenceFunction
from backpass.explain.answer import Figure
from backpass.passes import retyped
from backpass.pictures.curves import Line, Panel, line_chart
from backpass.record.replay import Moment

_POINTS = 41


@dataclass(frozen=True)
class Slope:
    """The cost along one weight, all others held.

    Attributes
    ----------
    weights, costs : tuple of float
        Points of the curve, calculated in f64 by the visited step's own forward program.
    at, after : float
        The weight before and after the step.
    cost, gradient : float
        The cost where the weight is, and the program's own ∂C/∂w: the tangent.
    """

    weights: tuple[float, ...]
    costs: tuple[float, ...]
    at: float
    after: float
    cost: float
    gradient: float

    def figure(self, target: str) -> Figure:
        """The curve and its tangent."""
        tangent = [self.cost + self.gradient * (w - self.at) for w in self.weights]
        low, high = min(self.costs), max(self.costs)
        room = 0.25 * (high - low)
        inside = [t if low - room <= t <= high + room else None for t in tangent]
        lines = [
            Line("cost of this batch", self.weights, self.costs),
            Line("tangent", self.weights, inside, "validation"),
        ]
        panel = Panel(
            f"slope {self.gradient:.4g} at {self.at:.4g}", target, "cost", lines,
            mark=(self.at, "here"), log=False,
        )  # fmt: skip
        best = int(np.argmin(self.costs))
        words = (
            f"at {target} = {self.at:.6g} the cost is {self.cost:.6g} and its slope {self.gradient:+.4g}; "
            f"with all else held it is lowest, {self.costs[best]:.6g}, near {self.weights[best]:.4g} "
            f"(of {self.weights[0]:.4g} to {self.weights[-1]:.4g})"
        )
        return Figure(f"the cost against {target}", line_chart(f"The cost against {target}", [panel]), words)


def slope(moment: Moment, name: str, entry: tuple[int, ...], after: float) -> Slope:
    """The cost of the step's batch for values of one weight around its own.

    The range is as wide as the weights of this parameter are, and holds the step that was taken.
    """
    graph = retyped(moment.graph.part(["C"]), "f64")
    feeds = {
        key: np.asarray(moment.feeds[key], np.float64 if node.dtype == "f64" else None)
        for key, node in graph.inputs.items()
    }
    values = feeds[name] = np.array(feeds[name])
    at = float(values[entry])
    half = max(2 * float(np.std(values)), abs(at), 3 * abs(after - at), 0.1)
    points = np.linspace(at - half, at + half, _POINTS)
    cost, costs = ReferenceFunction(graph), []
    for point in points:
        values[entry] = point
        costs.append(float(cost(feeds)["C"]))
    gradient = float(moment[f"d{name}"][entry])
    return Slope(tuple(points.tolist()), tuple(costs), at, after, costs[_POINTS // 2], gradient)
