"""One weight: changed by trial and error, and by its derivative."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from backpass.exec.reference import ReferenceFunction
from backpass.explain.answer import Answer, Block, Check, Equations, Figure, Heading, Note, Table
from backpass.explain.words import signed
from backpass.ir import Graph
from backpass.nn import Dense, Network
from backpass.ops import data
from backpass.ops import functions as F
from backpass.passes import backward, simplify
from backpass.pictures.axes import figure
from backpass.pictures.curves import Line, Panel, line_chart
from backpass.rivals.counter import Search, counter
from backpass.rivals.lessons import Told, quiet

#: The example of the articles: the target is twice the input.
INPUTS, TARGETS = (0.0, 3.0, 9.0, 27.0), (0.0, 6.0, 18.0, 54.0)
#: The weight that they start from, and those that they try after it.
TRIED = (4.0, 3.0, 2.0, 1.0)
_STEPS = 5  # of gradient descent that are shown for each rate
#: The rates that are shown, in parts of the one that lands at once.
_PARTS = ((0.25, "small"), (1.0, "the right one"), (1.9, "large"), (2.2, "too large"))


@dataclass(frozen=True)
class Try:
    """A value of the weight.

    Attributes
    ----------
    w, error, gradient : float
        The weight, the sum of the squared errors, its derivative dE/dw.
    outputs : tuple of float
    """

    w: float
    outputs: tuple[float, ...]
    error: float
    gradient: float


@dataclass(frozen=True)
class Descent:
    """Steps of gradient descent with one rate.

    Attributes
    ----------
    rate : float
    words : str
    w, error : tuple of float
        From the start on.
    """

    rate: float
    words: str
    w: tuple[float, ...]
    error: tuple[float, ...]


class Net:
    """y = w x, with the squared errors added up; the derivative is backpropagation's."""

    def __init__(self, inputs: Sequence[float] = INPUTS, targets: Sequence[float] = TARGETS) -> None:
        self._rows = {"x": np.array(inputs)[:, None], "t": np.array(targets)[:, None]}
        network = Network([Dense(1, use_bias=False)])
        forward = network.forward(1, "f64")
        y = forward[network.prediction]
        E = F.sum((y - data("t", y.array_type)) ** 2).named("E")
        self.graph: Graph = simplify(backward(forward.extended({"E": E}), "E", ["W1"]), fold=True)
        self._prediction = network.prediction
        self._run = ReferenceFunction(self.graph)

    def at(self, w: float) -> Try:
        """One forward and one backward pass with a weight."""
        found = self._run({**self._rows, "W1": np.array([[w]])})
        outputs = tuple(float(y) for y in found[self._prediction][:, 0])
        return Try(w, outputs, float(found["E"]), float(found["dW1"][0, 0]))

    @cached_property
    def curvature(self) -> float:
        """d²E/dw²: how much the derivative changes for each unit of w, the same everywhere on a parabola."""
        return self.at(1.0).gradient - self.at(0.0).gradient

    def descent(self, start: float, rate: float, words: str) -> Descent:
        tries = [self.at(start)]
        for _ in range(_STEPS):
            tries.append(self.at(tries[-1].w - rate * tries[-1].gradient))
        return Descent(rate, words, tuple(t.w for t in tries), tuple(t.error for t in tries))


@dataclass(frozen=True, kw_only=True)
class OneWeight(Answer):
    """What trial and error needs for one weight, and what the derivative says.

    Attributes
    ----------
    program : tuple of str
        The net with its error and its derivative, as backpass runs it.
    tries : tuple of Try
        The weights that were tried, in order.
    curve : tuple of (float, float)
        Weights, and the error of each: the parabola.
    curvature : float
    descents : tuple of Descent
    """

    program: tuple[str, ...]
    tries: tuple[Try, ...]
    curve: tuple[tuple[float, float], ...]
    curvature: float
    descents: tuple[Descent, ...]

    @property
    def landing(self) -> Descent:
        """The descent with the rate that lands at once."""
        return next(d for d in self.descents if d.rate == 1 / self.curvature)

    @property
    def checks(self) -> tuple[Check, ...]:
        best = min(self.tries, key=lambda t: t.error)
        words = "the weight after one step with the right rate, and the best that was tried"
        return (Check("one step", self.landing.w[1] - best.w, 1e-12, words),)

    def blocks(self) -> list[Block]:
        return [
            Heading("Trial and error", "Change the weight, see what the error does, go on or go back."),
            Table(
                "y = w x for x = " + _listed(INPUTS) + "; wanted: " + _listed(TARGETS),
                ("w", "outputs", "error: sum of squares", "what it says"),
                tuple(
                    (_plain(t.w), _listed(t.outputs), _plain(t.error), words)
                    for t, words in zip(self.tries, _judged(self.tries), strict=True)
                ),
            ),
            Note(
                "Each try is a forward pass over all examples, and says only better or worse: not how far to "
                "go, and the first one not even which way. That the error grows again at w = 1 is how one "
                "learns that 2 was the place to stop."
            ),
            self._parabola(),
            Heading(
                "The derivative",
                "One pass forward and one pass back give the slope of the parabola where one stands. In the "
                "program the weight w is W1, and its derivative dW1.",
            ),
            Equations(self.program),
            Table(
                "",
                ("w", "error", "dE/dw", "its sign says", "the step -η dE/dw"),
                tuple(
                    (_plain(t.w), _plain(t.error), _plain(t.gradient), _way(t), signed(self._step(t)))
                    for t in self.tries
                ),
            ),
            Note(
                f"Direction and size at once: the further from the goal, the steeper the slope, so with the "
                f"rate η = 1/{_plain(self.curvature)} each of these steps ends at w = 2, from either side. "
                f"The slope of a parabola changes by the same amount for each unit of w, here by "
                f"{_plain(self.curvature)}, and one over that is the right rate. A net of many weights has "
                "no one rate that is right for all of them; so one takes a small one, and more steps."
            ),
            Heading("The rate", "How far to go along the slope."),
            self._rates(),
            self._paths(),
            Note(
                f"With a rate above 2/{_plain(self.curvature)} = {2 / self.curvature:.4g} each step ends "
                "further from the goal, on the other side, than it began: the error grows from step to step."
            ),
            Heading(
                "More than one weight",
                "One weight can be tried value by value. With k values for each of N weights there are k^N "
                "combinations; the articles reckon with 1,000 values and a billion combinations a second. "
                "The derivatives of all weights together cost about two forward passes more, however many "
                "there are.",
            ),
            counter("every combination", [Search(1000, n, 1e9) for n in range(1, 7)]),
        ]

    def _step(self, at: Try) -> float:
        return -at.gradient / self.curvature

    def _parabola(self) -> Figure:
        lines = [
            Line("error of every w", [w for w, _ in self.curve], [e for _, e in self.curve], "other"),
            Line("tried: 4, 3, 2, 1", [t.w for t in self.tries], [t.error for t in self.tries], "ours"),
        ]
        panel = Panel("error over w", "w", "sum of squared errors", lines, log=False)
        words = "a parabola with its lowest point at w = 2; " + ", ".join(
            f"{_plain(t.error)} at w = {_plain(t.w)}" for t in self.tries
        )
        return Figure("The error over the weight", line_chart("The error over the weight", [panel]), words)

    def _rates(self) -> Table:
        head = ("rate η", "", *(f"step {k}" for k in range(1, _STEPS + 1)), "error at the end")
        rows = tuple(
            (f"{d.rate:.4g}", d.words, *map(_plain, d.w[1:]), _plain(d.error[-1])) for d in self.descents
        )
        return Table(f"w, from {_plain(self.tries[0].w)}", head, rows)

    def _paths(self) -> Figure:
        parts = {"small": "train", "the right one": "validation", "too large": "test"}
        lines = [
            Line(f"η {d.rate:.2g}, {d.words}", range(len(d.w)), d.w, parts[d.words])
            for d in self.descents
            if d.words in parts
        ]
        panel = Panel("w from step to step", "step", "w", lines)
        words = "; ".join(f"{d.words}: {', '.join(f'{w + 0.0:.3g}' for w in d.w)}" for d in self.descents)
        return Figure("Gradient descent", line_chart("Gradient descent with three rates", [panel]), words)


def one_weight(*, seed: int = 0, told: Told = quiet) -> OneWeight:
    """The articles' example: y = w x, from w = 4 to 3, to 2, to 1; then the same by the derivative.

    Parameters
    ----------
    seed : int
        Nothing is drawn here: it is taken so that all lessons are called alike.
    told : callable

    Examples
    --------
    >>> lesson = one_weight()
    >>> [t.error for t in lesson.tries]
    [3276.0, 819.0, 0.0, 819.0]
    >>> lesson.landing.w[:2]
    (4.0, 2.0)
    """
    net = Net()
    tries = tuple(net.at(w) for w in TRIED)
    told(0.5, "the derivative")
    grid = [float(w) for w in np.linspace(0.5, 4.5, 81)]
    descents = tuple(net.descent(TRIED[0], part / net.curvature, words) for part, words in _PARTS)
    return OneWeight(
        question="race",
        target="one-weight",
        step=None,
        claim=(
            f"Trial and error takes {len(tries)} passes to find w = 2 and to know it: the error falls "
            f"from {' to '.join(_plain(t.error) for t in tries[:-1])} and then grows again to "
            f"{_plain(tries[-1].error)}. The derivative says direction and size at once: one step from "
            f"w = {_plain(tries[0].w)} with the right rate ends at w = {_plain(descents[1].w[1])}."
        ),
        evidence=("W1", "E", "dW1"),
        program=tuple(net.graph.text(prelude=False).splitlines()),
        tries=tries,
        curve=tuple((w, net.at(w).error) for w in grid),
        curvature=net.curvature,
        descents=descents,
    )


def _judged(tries: Sequence[Try]) -> list[str]:
    """What each try says to somebody who sees errors only."""
    found = ["the start"]
    for before, now in itertools.pairwise(tries):
        if now.error < before.error:
            found.append("smaller: go on" if now.error else "no error left; who sees only errors tries on")
        else:
            found.append(f"the error grows again: too far, back to {_plain(before.w)}")
    return found


def _way(at: Try) -> str:
    if not at.gradient:
        return "stay"
    return "w is too large: down" if at.gradient > 0 else "w is too small: up"


def _plain(value: float) -> str:
    return figure(value)


def _listed(values: Sequence[float]) -> str:
    return ", ".join(map(_plain, values))
