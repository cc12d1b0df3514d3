"""How what a method needs grows with the number of weights: passes to a goal, passes for one gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from backpass.explain.answer import Answer, Block, Cell, Figure, Note, Table
from backpass.pictures.many_lines import Curve, many_lines
from backpass.rivals.budget import Budget
from backpass.rivals.method import Estimator, Method
from backpass.rivals.methods import METHODS
from backpass.rivals.problem import Problem
from backpass.rivals.quality import quality
from backpass.rivals.race import Race, entrants
from backpass.rivals.tasks import task_named

Told = Callable[[float, str], None]

#: What each step size may spend, in passes.
CAPS = {"xor": 10_000, "parity-4": 10_000, "iris": 10_000, "digits": 10_000, "mnist": 1_000}
#: The goal is this part of the cost at the start: the same for each task, and within reach of most methods.
_GOAL_PART = 1 / 5
#: The slopes that theory lets one expect, of log(passes to the goal) against log(N).
EXPECTED = {
    "backprop": "about 0",
    "feedback-alignment": "about 0",
    "one-weight": "1 or more",
    "finite-differences": "about 1",
    "spsa": "about 1",
    "weight-perturbation": "about 1",
    "forward-gradient": "about 1",
    "node-perturbation": "0.5 to 1, as M",
    "random-search": "exponential",
    "hill-climbing": "exponential",
    "grid": "exponential",
    "delta-rule": "the output layer only",
}
_ERROR = 0.1  # of a gradient that counts as known
_MANY = 10_000  # weights with which finite differences of one gradient take minutes


@dataclass(frozen=True)
class Need:
    """What a method needs on a task.

    Attributes
    ----------
    method, task : str
    N, M : int
    size : float
        The step size that reached the goal first, or came nearest.
    to_goal : float
        Passes to the goal; infinity where it was not reached.
    cap : float
        Passes that each step size had.
    gradient : float
        Passes for a gradient within 10 %; infinity for a method that never has one, NaN where not measured.
    """

    method: str
    task: str
    N: int
    M: int
    size: float
    to_goal: float
    cap: float
    gradient: float


@dataclass(frozen=True, kw_only=True)
class Scaling(Answer):
    """What each method needs on each task.

    Attributes
    ----------
    needs : tuple of Need
    left_out : tuple of str
    stopped : bool
    """

    needs: tuple[Need, ...]
    left_out: tuple[str, ...] = ()
    stopped: bool = False

    def blocks(self) -> list[Block]:
        return [
            _table(self, "to_goal", "Passes to the goal, by tasks and their N"),
            _chart(self, "to_goal", "passes to the goal"),
            Note(_GOAL),
            *(Note(text) for text in self.left_out),
            _table(self, "gradient", "Passes for one gradient within 10 %, by tasks and their N"),
            _chart(self, "gradient", "passes for one gradient within 10 %"),
            Note(_GRADIENT),
        ]

    def of(self, method: str) -> list[Need]:
        """What a method needs, from the fewest weights to the most."""
        return sorted((need for need in self.needs if need.method == method), key=lambda need: need.N)


_GOAL = (
    "The goal is a fifth of the cost at the start, on each task. The slope is that of a straight line "
    "through log(passes) against log(N), by least squares, through the tasks that were learned; in brackets "
    "how many. '>' says that no step size got there within so many passes: a lower bound, which is in no "
    "slope, so that a slope through few tasks is too small. Tasks differ in more than N: parity is harder "
    "than iris, which has more weights; the second slope is that of the passes in parts of those of "
    "backpropagation on the same task, which takes some of this out. A pass is the work of one forward pass "
    "over a batch."
)
_GRADIENT = (
    "Here the task's difficulty is out of it. Guesses at the gradient at the start, for one batch: how many "
    "must be averaged until the root mean square of the error is a tenth of the gradient, from the variance "
    "that was measured, times what one costs. Methods with a bias above that never get there. Node "
    "perturbation shakes the units for each row by itself, so that many rows help it: a batch has 4 rows of "
    "xor, 16 of parity, 105 of iris, 50 of digits. Expected: 0 "
    "for backpropagation; 1, as N, for finite differences, SPSA, weight perturbation and forward gradient."
)


def scaling(
    tasks: Sequence[str],
    methods: Sequence[type[Method]] | None = None,
    seed: int | None = None,
    folder: Callable[[str], Path] | None = None,
    told: Told | None = None,
) -> Scaling:
    """Race methods on tasks of growing size, each to the goal or to a cap.

    Parameters
    ----------
    tasks : sequence of str
        See `backpass.rivals.tasks.TASKS`.
    methods : sequence of Method types, optional
        All that can take part, by default.
    seed : int, optional
        Each task's own, by default.
    folder : callable, optional
        See `task_named`.
    told : callable, optional
        Called with how far it is, from 0 to 1, and words.

    Returns
    -------
    Scaling
        Of the tasks that were done when it was stopped, if it was (by Ctrl-C) and there are any.
    """
    needs: list[Need] = []
    left_out: list[str] = []
    stopped = False
    try:
        for k, name in enumerate(tasks):
            problem = Problem(task_named(name, seed, folder))
            goal = problem.cost_of_all(problem.start) * _GOAL_PART
            problem.task = replace(problem.task, goal=goal)
            taking_part, without = entrants(problem, methods)
            left_out += [f"{name}: {text}" for text in without]

            def show(race: Race, k: int = k, name: str = name) -> None:
                if told is not None:
                    told((k + race.share) / len(tasks), f"{name}, {race.problem.N:,} weights")

            needs += _needs(problem, taking_part, CAPS[name], show)
    except KeyboardInterrupt:
        if not needs:
            raise
        stopped = True
    return Scaling(
        question="race",
        target="scaling",
        step=None,
        claim=_claim(needs),
        needs=tuple(needs),
        left_out=tuple(left_out),
        stopped=stopped,
    )


def _needs(
    problem: Problem, methods: Sequence[type[Method]], cap: float, show: Callable[[Race], None]
) -> list[Need]:
    race = Race(problem, methods, Budget(cap * 7), problem.task.seed)
    found = []
    for method, result in zip(methods, race.run(show, to_the_goal=True), strict=True):
        reached = result.best.reached
        found.append(
            Need(
                method=method.name,
                task=problem.task.name,
                N=problem.N,
                M=problem.M,
                size=result.best.size,
                to_goal=math.inf if reached is None else reached.passes,
                cap=cap,
                gradient=_gradient(problem, method, result.best.size),
            )
        )
    return found


def _gradient(problem: Problem, method: type[Method], size: float) -> float:
    """Passes for a gradient within 10 %, from the variance of many guesses at the start."""
    if not issubclass(method, Estimator):
        return math.nan
    if problem.N > _MANY and method.name == "finite-differences":
        return math.nan
    estimates = 1000 if problem.N < 1000 else 300
    return quality(method(problem, size), problem.batch(0), estimates).passes_for(_ERROR)


def slope(needs: Sequence[Need], what: str) -> tuple[float, int]:
    """Of log(passes) against log(N), by least squares (NaN with fewer than two tasks); and of how many tasks.

    Parameters
    ----------
    needs : sequence of Need
        Of one method.
    what : {"to_goal", "gradient"}

    Examples
    --------
    >>> needs = [Need("a", "t", n, 1, 0.1, 5.0 * n, 1e6, math.inf) for n in (10, 100, 1000)]
    >>> slope(needs, "to_goal")[0].__round__(6), slope(needs, "gradient")
    (1.0, (nan, 0))
    """
    pairs = [(need.N, value) for need in needs if math.isfinite(value := getattr(need, what))]
    if len({n for n, _ in pairs}) < 2:
        return math.nan, len(pairs)
    x, y = np.log(np.array(pairs)).T
    return float(np.polyfit(x, y, 1)[0]), len(pairs)


def _claim(needs: Sequence[Need]) -> str:
    def told(what: str) -> str:
        grown = {name: slope([n for n in needs if n.method == name], what) for name in names}
        return ", ".join(
            f"{METHODS[name].title} {power:.2f}" for name, (power, _) in grown.items() if math.isfinite(power)
        )

    names = list(dict.fromkeys(need.method for need in needs))
    sizes = ", ".join(f"{task} {n:,}" for n, task in sorted({(need.N, need.task) for need in needs}))
    return (
        f"What a gradient within 10 % costs grows with the number of weights N ({sizes}) as N to the power: "
        f"{told('gradient')}. Passes until the cost is a fifth of that at the start, where it was reached: "
        f"{told('to_goal')}."
    )


def _beside_backprop(found: Scaling, name: str) -> tuple[float, int]:
    """The slope of the passes to the goal in parts of those of backpropagation on the same task."""
    base = {need.task: need.to_goal for need in found.of("backprop")}
    parts = [replace(n, to_goal=n.to_goal / base[n.task]) for n in found.of(name) if n.task in base]
    return slope(parts, "to_goal")


def _power(grown: tuple[float, int]) -> str:
    return "-" if math.isnan(grown[0]) else f"{grown[0]:+.2f} ({grown[1]})"


def _table(found: Scaling, what: str, title: str) -> Table:
    tasks = sorted({(need.N, need.task) for need in found.needs})
    rows: list[tuple[Cell, ...]] = []
    for name in dict.fromkeys(need.method for need in found.needs):
        needs = {need.task: need for need in found.of(name)}
        values = [getattr(need, what) for need in needs.values()]
        if all(math.isnan(value) for value in values):
            continue
        cells = [_cell(needs.get(task), what) for _, task in tasks]
        told = [_power(slope(found.of(name), what))]
        if what == "to_goal":
            told += [_power(_beside_backprop(found, name)), EXPECTED[name]]
        rows.append((METHODS[name].title, *cells, *told))
    head = ("method", *(f"{task} {n:,}" for n, task in tasks), "slope")
    return Table(title, (*head, *(["beside backprop", "expected"] if what == "to_goal" else [])), tuple(rows))


def _cell(need: Need | None, what: str) -> Cell:
    if need is None or math.isnan(value := getattr(need, what)):
        return "-"
    if math.isinf(value):
        return f"> {need.cap:,.0f}" if what == "to_goal" else "never"
    return float(f"{value:.3g}") if value < 1000 else round(float(f"{value:.3g}"))


def _chart(found: Scaling, what: str, y_name: str) -> Figure:
    curves = []
    for name in dict.fromkeys(need.method for need in found.needs):
        needs = [n for n in found.of(name) if what == "to_goal" or math.isfinite(n.gradient)]
        if needs:
            bounds = frozenset(k for k, need in enumerate(needs) if math.isinf(need.to_goal))
            curves.append(
                Curve(
                    METHODS[name].title,
                    [need.N for need in needs],
                    [
                        min(getattr(need, what), need.cap) if what == "to_goal" else need.gradient
                        for need in needs
                    ],
                    style=list(METHODS).index(name),
                    bounds=bounds if what == "to_goal" else frozenset(),
                    marks=frozenset(range(len(needs))),
                )
            )
    title = f"{y_name[:1].upper()}{y_name[1:]} against the number of weights"
    svg = many_lines(title, "weights and biases, N", y_name, curves)
    hollow = " Hollow, with an arrow: not reached, a lower bound." if what == "to_goal" else ""
    return Figure(title, svg, f"a line for each method through the numbers of the table.{hollow}")
