"""A race: each method with seven step sizes, from the same start, over the same rows in the same order."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from backpass.errors import UsageError
from backpass.exec.threads import blas_threads, blas_threads_for
from backpass.rivals.budget import Budget
from backpass.rivals.counter import Search, check_it_ends, speed_of
from backpass.rivals.meter import Spent
from backpass.rivals.method import Method
from backpass.rivals.methods import METHODS
from backpass.rivals.methods.grid import Grid
from backpass.rivals.problem import Problem

#: An exhaustive grid may take an hour for each of its sizes; and how many values it tries for each weight.
_GRID_SECONDS, GRID_VALUES = 3600.0, 5


@dataclass(frozen=True)
class Point:
    """A look at a method on its way: what it has spent, and the cost over all rows."""

    passes: float
    seconds: float
    cost: float


@dataclass(frozen=True)
class Trial:
    """A method with one step size, as far as it came.

    Attributes
    ----------
    size : float
    points : tuple of Point
        The first is the start.
    steps : int
    diverged : bool
        The cost became NaN or infinite.
    finished : bool
        It had nothing left to try.
    goal : float
    train, test : float
        Accuracy at the end; NaN where there are no such rows.
    """

    size: float
    points: tuple[Point, ...]
    steps: int
    diverged: bool
    finished: bool
    goal: float
    train: float = math.nan
    test: float = math.nan

    @property
    def end(self) -> Point:
        return self.points[-1]

    @property
    def reached(self) -> Point | None:
        """The first look at which the goal was reached."""
        return next((point for point in self.points if point.cost <= self.goal), None)

    @property
    def rank(self) -> tuple[float, float]:
        """Less is better: passes to the goal; where it was not reached, the cost at the end."""
        if self.reached is not None:
            return self.reached.passes, self.end.cost if not self.diverged else math.inf
        return math.inf, math.inf if self.diverged else self.end.cost


@dataclass(frozen=True)
class Result:
    """A method with all its step sizes.

    Attributes
    ----------
    name, title, rule, sentence, right : str
        What `Method` says of itself.
    trials : tuple of Trial
        From the smallest step size to the largest.
    """

    name: str
    title: str
    rule: str
    sentence: str
    right: str
    trials: tuple[Trial, ...]

    @property
    def best_at(self) -> int:
        """Which trial is the tuned one; see `Trial.rank`."""
        return min(range(len(self.trials)), key=lambda k: self.trials[k].rank)

    @property
    def best(self) -> Trial:
        return self.trials[self.best_at]

    @property
    def at_the_edge(self) -> bool:
        """The best step size is the smallest or the largest that was tried: a better one may lie beyond."""
        return self.best_at in (0, len(self.trials) - 1) and len(self.trials) > 1


@dataclass
class Lane:
    """A method with one step size on its way. Its clock and its meter stand still while it is looked at.

    Attributes
    ----------
    method : Method
    share : Budget
        What it may spend.
    """

    method: Method
    share: Budget
    flops: int = 0
    seconds: float = 0.0
    points: list[Point] = field(default_factory=list)
    over: bool = False
    diverged: bool = False

    def __post_init__(self) -> None:
        self._look()

    @property
    def problem(self) -> Problem:
        return self.method.problem

    @property
    def passes(self) -> float:
        return self.flops / self.problem.meter.one

    @property
    def spent(self) -> float:
        """In the unit of its budget."""
        return self.passes if self.share.unit == "passes" else self.seconds

    def go(self, until: float) -> None:
        """Take steps until so much is spent, then look; no step that the budget does not allow."""
        if self.over or self.spent >= until:
            return
        steps = 0
        while self.spent < until and not self.over:
            steps += self._step()
        if steps == 1:  # until that step was done, nothing had changed
            self.points.append(Point(self.passes, self.seconds, self.points[-1].cost))
        self._look()
        self.over = self.over or self.diverged

    def _step(self) -> bool:
        """One step, or none; the weights are those after a whole step in any case."""
        method, meter = self.method, self.problem.meter
        if method.finished:
            self.over = True
            return False
        before, kept = meter.flops, method.weights.flat.copy()
        if self.share.unit == "passes":
            meter.limit = before + self.share.amount * meter.one - self.flops
        began = time.perf_counter()
        if self.share.unit == "seconds":
            meter.deadline = began + self.share.amount - self.seconds
        try:
            method.step()
            return True
        except BaseException as stop:  # amid a step: out of budget, or somebody has had enough
            method.weights.flat[:] = kept
            self.over = True
            if not isinstance(stop, Spent):
                raise
            return False
        finally:
            self.seconds += time.perf_counter() - began
            self.flops += meter.flops - before
            meter.limit = meter.deadline = math.inf

    def _look(self) -> None:
        cost = self.problem.cost_of_all(self.method.weights)
        self.points.append(Point(self.passes, self.seconds, cost))
        self.diverged = not math.isfinite(cost)

    def trial(self) -> Trial:
        """How far it has come."""
        train, test = (self.problem.accuracy(self.method.weights, part) for part in ("train", "test"))
        return Trial(
            size=self.method.size,
            points=tuple(self.points),
            steps=self.method.steps,
            diverged=self.diverged,
            finished=self.method.finished,
            goal=self.problem.task.goal,
            train=train,
            test=test,
        )


def entrants(
    problem: Problem, methods: Sequence[type[Method]] | None = None
) -> tuple[list[type[Method]], list[str]]:
    """Who takes part in a race, and a sentence on each that does not.

    Parameters
    ----------
    problem : Problem
    methods : sequence of Method types, optional
        Those that were asked for; all that can by default.

    Raises
    ------
    UsageError
        An exhaustive grid was asked for and cannot end: with its combinations and the years.
    """
    taking_part, left_out = [], []
    for method in METHODS.values() if methods is None else methods:
        if method is Grid:
            try:
                check_it_ends(Search(GRID_VALUES, problem.N, speed_of(problem)), _GRID_SECONDS)
            except UsageError as error:
                if methods is not None:
                    raise
                left_out.append(f"The {method.title} does not take part: {str(error).splitlines()[0]}")
                continue
        taking_part.append(method)
    return taking_part, left_out


class Race:
    """Methods side by side on a problem.

    Parameters
    ----------
    problem : Problem
    methods : sequence of Method types
    budget : Budget
        Of each method; its step sizes share it equally.
    seed : int
        Of what the methods draw.
    """

    def __init__(
        self, problem: Problem, methods: Sequence[type[Method]], budget: Budget, seed: int = 0
    ) -> None:
        self.problem, self.budget = problem, budget
        self.lanes: dict[type[Method], list[Lane]] = {}
        for method in methods:
            sizes = method.sizes(problem)
            share = budget.share(len(sizes))
            self.lanes[method] = [Lane(method(problem, size, seed), share) for size in sizes]

    def run(
        self, progress: Callable[[Race], None] | None = None, *, to_the_goal: bool = False
    ) -> list[Result]:
        """Let all of them run, each a little at a time, and return how they did.

        Parameters
        ----------
        progress : callable, optional
            Called after each little with the race as it is.
        to_the_goal : bool
            A method is done when one of its step sizes has reached the goal: the others have spent as much.
        """
        every = [lane for lanes in self.lanes.values() for lane in lanes]
        threads = blas_threads_for(self.problem.programs.forward, {"B": len(self.problem.batch(0)["x"])})
        with np.errstate(over="ignore", invalid="ignore"), blas_threads(threads):
            self._warm_up()
            for level in self._levels():
                for lane in every:
                    lane.go(level)
                    if progress is not None:
                        progress(self)
                if to_the_goal:
                    self._end_at_the_goal()
        return self.results()

    def _end_at_the_goal(self) -> None:
        for lanes in self.lanes.values():
            if any(lane.points[-1].cost <= self.problem.task.goal for lane in lanes):
                for lane in lanes:
                    lane.over = True

    @property
    def share(self) -> float:
        """The part of the whole budget that is spent, or will not be."""
        every = [lane for lanes in self.lanes.values() for lane in lanes]
        return sum(1.0 if lane.over else lane.spent / lane.share.amount for lane in every) / len(every)

    def _warm_up(self) -> None:
        """Have each method's programs compiled before a clock runs; nobody learns from it, or pays for it."""
        meter = self.problem.meter
        for lanes in self.lanes.values():
            first = lanes[0].method
            meter.limit = meter.flops + 10 * meter.one
            with suppress(Spent):
                type(first)(self.problem, first.size).step()
        meter.limit = math.inf
        self.problem.fresh()

    def _levels(self) -> list[float]:
        shares = {lanes[0].share for lanes in self.lanes.values()}
        return sorted({level for share in shares for level in share.looks()})

    def results(self) -> list[Result]:
        """How they have done so far."""
        with np.errstate(over="ignore", invalid="ignore"):
            return [self._result(method, lanes) for method, lanes in self.lanes.items()]

    def _result(self, method: type[Method], lanes: Sequence[Lane]) -> Result:
        return Result(
            name=method.name,
            title=method.title,
            rule=method.rule,
            sentence=method.sentence(self.problem),
            right=method.right,
            trials=tuple(lane.trial() for lane in lanes),
        )
