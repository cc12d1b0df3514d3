"""What a method needs on a task: passes to a goal, from several starts, and passes for one gradient."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from backpass.rivals.budget import Budget
from backpass.rivals.method import Estimator, Method
from backpass.rivals.problem import Problem
from backpass.rivals.quality import quality
from backpass.rivals.race import Race, Result
from backpass.rivals.task import Task

#: Parts of the cost at the start. The last is the goal; the others are read off the same runs, to see how
#: much the choice matters.
PARTS = (1 / 2, 1 / 3, 1 / 5)
_ERROR = 0.1  # of a gradient that counts as known
_MANY = 10_000  # weights with which finite differences of one gradient take minutes


@dataclass(frozen=True)
class Need:
    """What a method needs on a task.

    Attributes
    ----------
    method, task : str
    N, M : int
    starts : tuple of tuple of float
        For each start that was raced: passes until the cost was each of `PARTS` of that at the start, with
        the best of the step sizes; infinity where it never was. Fewer than `planned` where so many had
        missed the goal that the rest could not change the median.
    planned : int
        How many starts were to be raced; odd.
    cap : float
        Passes that each step size had.
    gradient : float
        Passes for a gradient within 10 %; infinity for a method that never has one, NaN where not measured.
    """

    method: str
    task: str
    N: int
    M: int
    starts: tuple[tuple[float, ...], ...]
    planned: int
    cap: float
    gradient: float = math.nan

    def to(self, part: int = -1) -> float:
        """The median over the starts of the passes to one of `PARTS`; infinity where most never got there.

        NaN where the starts that were spared could change it; for the goal they cannot.

        Examples
        --------
        >>> need = Need("spsa", "xor", 9, 3, ((1.0, 2.0, 4.0), (1.0, 3.0, 9.0), (1.0, 2.0, math.inf)), 3, 10)
        >>> need.to(), need.to(0)
        (9.0, 1.0)
        """
        known = [start[part] for start in self.starts]
        spared = self.planned - len(known)
        least, most = (statistics.median([*known, *[other] * spared]) for other in (0.0, math.inf))
        return least if least == most else math.nan

    @property
    def to_goal(self) -> float:
        """The median of the passes to the goal."""
        return self.to()

    @property
    def hopeless(self) -> bool:
        """So many starts have missed the goal that the median is known."""
        return sum(math.isinf(start[-1]) for start in self.starts) > self.planned // 2


def needs_of(
    make: Callable[[int], Task],
    seeds: Sequence[int],
    methods: Sequence[type[Method]],
    cap: float,
    show: Callable[[float], None],
) -> list[Need]:
    """Race methods from several starts, each with seven step sizes, until one of them is at the goal.

    Parameters
    ----------
    make : callable
        From a seed to the task: its start, its rows and their order. The goal it has is not asked for.
    seeds : sequence of int
        An odd number of them.
    methods : sequence of Method types
    cap : float
        Passes that each step size may spend.
    show : callable
        Called often with how much is done, from 0 to 1.

    Returns
    -------
    list of Need
        In the order of the methods; `gradient` is not measured yet.
    """
    found: dict[str, Need] = {}
    for k, seed in enumerate(seeds):
        running = [m for m in methods if m.name not in found or not found[m.name].hopeless]
        if not running:
            break
        problem = Problem(make(seed))
        begin = problem.cost_of_all(problem.start)
        problem.task = replace(problem.task, goal=begin * PARTS[-1])

        def progress(race: Race, done: int = k) -> None:
            show((done + race.share) / len(seeds))

        race = Race(problem, running, Budget(cap * 7), seed)
        results = race.run(progress, to_the_goal=True)
        for method, result in zip(running, results, strict=True):
            passes = tuple(_first(result, begin * part) for part in PARTS)
            before = found[method.name].starts if method.name in found else ()
            found[method.name] = Need(
                method.name, problem.task.name, problem.N, problem.M, (*before, passes), len(seeds), cap
            )
    return [found[method.name] for method in methods]


def _first(result: Result, cost: float) -> float:
    """Passes until the first of the step sizes was there."""
    looks = (point.passes for trial in result.trials for point in trial.points if point.cost <= cost)
    return min(looks, default=math.inf)


def gradient_price(problem: Problem, method: type[Method]) -> float:
    """Passes for a gradient within 10 %, from the variance of many guesses at the start; see `Need`."""
    if not issubclass(method, Estimator):
        return math.nan
    if problem.N > _MANY and method.name == "finite-differences":
        return math.nan
    estimates = 1000 if problem.N < 1000 else 300
    size = method.sizes(problem)[0]  # of no matter for a guess
    return quality(method(problem, size), problem.batch(0), estimates).passes_for(_ERROR)


def slope(pairs: Sequence[tuple[int, float]]) -> tuple[float, int]:
    """Of log(passes) against log(N), by least squares, and through how many points.

    Parameters
    ----------
    pairs : sequence of (int, float)
        N and passes; those that are not finite are left out.

    Returns
    -------
    slope : float
        NaN with fewer than two different N.
    points : int

    Examples
    --------
    >>> power, points = slope([(10, 50.0), (100, 500.0), (1000, math.inf)])
    >>> round(power, 6), points
    (1.0, 2)
    """
    known = [(n, value) for n, value in pairs if math.isfinite(value)]
    if len({n for n, _ in known}) < 2:
        return math.nan, len(known)
    x, y = np.log(np.array(known)).T
    return float(np.polyfit(x, y, 1)[0]), len(known)
