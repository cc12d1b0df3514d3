"""How a race went, as an answer: table, charts, step sizes, quality of the guesses, and what was counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from backpass.explain.answer import Answer, Block, Cell, Equations, Figure, Heading, Note, Table
from backpass.pictures.many_lines import Curve, many_lines
from backpass.rivals.budget import Budget
from backpass.rivals.counter import curse, speed_of
from backpass.rivals.method import Estimator
from backpass.rivals.methods import METHODS
from backpass.rivals.methods.grid import Grid
from backpass.rivals.problem import Problem
from backpass.rivals.quality import Quality, quality
from backpass.rivals.race import GRID_VALUES, Result, Trial
from backpass.rivals.tasks import searched_seed
from backpass.rivals.words import claim, listed, number, passes

#: Lines of the charts end where the cost is that small a part of the goal: what follows says nothing more.
_FLOOR = 1e-2
#: With more weights than that, a gradient by finite differences takes too long for a table beside a race.
_MANY = 10_000


@dataclass(frozen=True, kw_only=True)
class Outcome(Answer):
    """How a race went.

    Attributes
    ----------
    words : str
        What the task is.
    goal : float
        The cost that counts as learned.
    weights, units : int
        N and M of the net.
    budget : Budget
        Of each method.
    seed : int
    results : tuple of Result
    qualities : tuple of Quality
        Of the methods that guess at the gradient, at the start.
    curse : Table or None
        How many combinations of weights there are.
    left_out : tuple of str
        Sentences on methods that did not take part.
    stopped : bool
        It was stopped before its budget was spent.
    """

    words: str
    goal: float
    weights: int
    units: int
    budget: Budget
    seed: int
    results: tuple[Result, ...]
    qualities: tuple[Quality, ...] = ()
    curse: Table | None = None
    left_out: tuple[str, ...] = ()
    stopped: bool = False

    def blocks(self) -> list[Block]:
        found: list[Block] = [_table(self), *_charts(self)]
        found += [Note(text) for text in (*self.left_out, *_cut_short(self))]
        found.append(_sizes(self))
        found += [Note(text) for text in _edges(self)]
        if self.qualities:
            found += [_quality_table(self), Note(_QUALITY)]
        if self.curse is not None:
            found.append(self.curse)
        found.append(Heading("The methods", "What each does, what it costs here, and where it is right."))
        for result in self.results:
            found.append(Heading(_capital(result.title), f"{result.sentence} {result.right}".strip()))
            found.append(Equations((result.rule,)))
        return [*found, Heading("What was counted"), *(Note(text) for text in _counted(self))]


def outcome(
    problem: Problem,
    budget: Budget,
    results: Sequence[Result],
    left_out: Sequence[str] = (),
    stopped: bool = False,
) -> Outcome:
    """The outcome of a race; measures the guesses at the gradient, unless it was stopped.

    Parameters
    ----------
    problem : Problem
    budget : Budget
    results : sequence of Result
        See `backpass.rivals.race.Race.run`.
    left_out : sequence of str
    stopped : bool
    """
    task = problem.task
    return Outcome(
        question="race",
        target=task.name,
        step=None,
        claim=claim(task.goal, results, budget, stopped),
        words=task.words,
        meaning=f"{task.words}; {problem.N:,} weights and biases. Learned means a cost of {task.goal:g}.",
        goal=task.goal,
        weights=problem.N,
        units=problem.M,
        budget=budget,
        seed=task.seed,
        results=tuple(results),
        qualities=() if stopped else tuple(_qualities(problem, results)),
        curse=None if stopped else curse(problem.N, speed_of(problem)),
        left_out=tuple(left_out),
        stopped=stopped,
    )


# ---- in words


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _counted(found: Outcome) -> list[str]:
    return [
        "A pass is the work of one forward pass over a batch, in floating-point operations counted from the "
        "program; each program that a method runs is paid for by its own work, counted in the same way, "
        "before it runs. What a method does besides with vectors of N numbers (drawing a direction, adding "
        "an update) is not counted, for none of them. Looking at the cost is free, and off the clock.",
        f"All methods have the same net, the same start and the same rows in the same order (seed "
        f"{found.seed}). Each has {found.budget}, shared equally by its seven step sizes; the best is the "
        "one that reached the goal in the fewest passes or, where none did, ended at the lowest cost.",
        "The cost over all rows is looked at twenty times for each tenfold of the budget, so that a count of "
        "passes to the goal is at most an eighth too large. Seconds are of this machine and of these "
        "programs; on a small net they are mostly the time of a call, whatever is called.",
        f"{_chosen(found)} It is one race: a method that draws may have been lucky, or not.",
    ]


def _chosen(found: Outcome) -> str:
    if why := searched_seed(found.target, found.seed):
        return f"The seed, {found.seed}, was searched for: {why}. The goal was chosen so that it does."
    return "The usual seed and goal are such that backpropagation gets there; from another start it may not."


_QUALITY = (
    "At the start, for the rows of the first step. Cosine: of one guess to the true gradient g, mean of all "
    "guesses. Squared error: the mean of |guess - g|² / |g|², and beside it what theory says it is. Bias: "
    "|mean of the guesses - g| / |g|, to be read beside what chance alone makes of it. Last: passes until "
    "the mean of many guesses is within 10 % of g."
)


# ---- tables


def _table(found: Outcome) -> Table:
    first = next((r for r in found.results if r.name == "backprop"), None)
    base = first.best.reached if first is not None else None
    rows = []
    for result in found.results:
        best, reached = result.best, result.best.reached
        rows.append(
            (
                result.title,
                f"{best.size:g}",
                round(reached.passes) if reached else "not reached",
                round(reached.passes / base.passes, 1) if reached and base else "",
                float(f"{reached.seconds:.2g}") if reached else "",
                "diverged" if best.diverged else float(number(best.end.cost)),
                _percent(best.train),
                *([_percent(best.test)] if _tested(found) else []),
            )
        )
    head = ("method", "step size", "passes to the goal", "backprop = 1", "seconds", "cost at the end")
    return Table(
        f"To the goal, a cost of {found.goal:g}, with the best of seven step sizes",
        (*head, "right, %", *(["of test, %"] if _tested(found) else [])),
        tuple(rows),
    )


def _tested(found: Outcome) -> bool:
    return any(not math.isnan(r.best.test) for r in found.results)


def _percent(share: float) -> float:
    return round(100 * share, 1)


def _sizes(found: Outcome) -> Table:
    def cell(result: Result, at: int) -> Cell:
        if not 0 <= at < len(result.trials):
            return ""
        return f"{result.trials[at].size:g}: {_ended(result.trials[at])}"

    rows = tuple(
        (
            r.title,
            f"{r.trials[0].size:g} to {r.trials[-1].size:g}",
            *(cell(r, r.best_at + k) for k in (-1, 0, 1)),
        )
        for r in found.results
    )
    head = ("method", "tried", "one smaller", "the best", "one larger")
    return Table("Step sizes: cost at the end, and passes to the goal", head, rows)


def _ended(trial: Trial) -> str:
    cost = "diverged" if trial.diverged else number(trial.end.cost)
    return f"{cost}, {passes(trial.reached)}" if trial.reached else cost


def _cut_short(found: Outcome) -> list[str]:
    """What the budget was too small for: a grid to its end, a single step."""
    said = []
    for result in found.results:
        steps = [trial.steps for trial in result.trials]
        if result.name == Grid.name and not all(trial.finished for trial in result.trials):
            said.append(
                f"The {result.title} was cut short by its budget: for each size at most {max(steps):,} of "
                f"{GRID_VALUES}^{found.weights} = {GRID_VALUES**found.weights:,} combinations were tried."
            )
        elif not any(steps):
            share = found.budget.share(len(steps))
            said.append(f"A single step of {result.title} costs more than {share}: it has not done one.")
    return said


def _edges(found: Outcome) -> list[str]:
    names = [r.title for r in found.results if r.at_the_edge and r.best.steps]
    if not names:
        return []
    return [
        f"The best of the sizes tried is the smallest or the largest for {listed(names)}: a better one may "
        "lie beyond."
    ]


def _quality_table(found: Outcome) -> Table:
    titles = {r.name: r.title for r in found.results}
    rows = tuple(
        (
            titles[q.method],
            q.estimates,
            round(q.cosine, 3) + 0.0,  # no -0
            float(number(q.error)),
            "" if q.law is None else float(number(q.law)),
            f"{q.bias:.2g}" + (f" ± {q.bias_error:.2g}" if q.bias_error else ""),
            float(f"{q.passes:.5g}"),
            "never" if math.isinf(q.passes_for(0.1)) else float(f"{q.passes_for(0.1):.3g}"),
        )
        for q in found.qualities
    )
    head = ("method", "guesses", "cosine", "sq. error", "in theory", "bias", "passes", "for 10 %")
    return Table("Guesses at the gradient", head, rows)


def _qualities(problem: Problem, results: Sequence[Result]) -> list[Quality]:
    estimates = 1000 if problem.N < 1000 else 200
    found = []
    for result in results:
        method = METHODS[result.name]
        if issubclass(method, Estimator) and not (problem.N > _MANY and result.name == "finite-differences"):
            found.append(quality(method(problem, result.best.size), problem.batch(0), estimates))
    return found


# ---- charts


def _charts(found: Outcome) -> list[Figure]:
    return [_chart(found, "passes", "passes"), _chart(found, "seconds", "seconds of its own")]


def _chart(found: Outcome, unit: str, x_name: str) -> Figure:
    least = min(
        (x for r in found.results for p in r.best.points if (x := getattr(p, unit)) > 0), default=1e-3
    )
    curves = [curve_of(result, unit, least, found.goal * _FLOOR) for result in found.results]
    title = f"{found.target}: cost over all rows against {unit}, each with its best step size"
    svg = many_lines(title, x_name, "cost", curves, level=(found.goal, f"goal {found.goal:g}"))
    ends = listed([f"{r.title} {number(r.best.end.cost)} at {_end(r, unit)}" for r in found.results])
    return Figure(title, svg, f"a line for each method; their ends: {ends}.")


def _end(result: Result, unit: str) -> str:
    end = result.best.end
    return f"{end.passes:,.0f}" if unit == "passes" else f"{end.seconds:.2g} s"


def curve_of(result: Result, unit: str, least: float, floor: float) -> Curve:
    """The line of a method: its tuned trial, up to where the cost falls below a floor.

    Parameters
    ----------
    result : Result
    unit : {"passes", "seconds"}
    least : float
        Where the start is drawn, which is at 0 and so on no logarithmic axis.
    floor : float
    """
    points = result.best.points
    below = next((k for k, p in enumerate(points) if p.cost < floor), None)
    points = points if below is None else points[: below + 1]
    reached = next((k for k, p in enumerate(points) if p.cost <= result.best.goal), None)
    return Curve(
        result.title,
        [max(getattr(p, unit), least) for p in points],
        [max(p.cost, floor) for p in points],
        style=list(METHODS).index(result.name),
        marks=frozenset() if reached is None else frozenset([reached]),
    )
