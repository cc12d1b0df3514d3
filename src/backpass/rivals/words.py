"""The outcome of a race in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from backpass.rivals.budget import Budget
from backpass.rivals.race import Point, Result


def claim(goal: float, results: Sequence[Result], budget: Budget, stopped: bool) -> str:
    """Who came to the goal, after how many passes; and who did not."""
    there = sorted((r for r in results if r.best.reached), key=lambda r: r.best.rank)
    others = [r for r in results if not r.best.reached]
    first = next((r for r in there if r.name == "backprop"), None)
    said = []
    if first is not None:
        rank = "" if there[0] is first else f", not first but {_ordinal(there.index(first) + 1)} of all"
        said.append(f"Backpropagation brought the cost to {goal:g} after {passes(_goal(first))} passes{rank}")
    rest = [f"{r.title} after {passes(_goal(r))}{_times(r, first)}" for r in there if r is not first]
    if rest:
        said.append(("; " if first else "To the goal: ") + listed(rest))
    text = "".join(said) + "." if said else ""
    share = budget.share(7)
    short = [f"{r.title} ({_where(r)})" for r in others]
    if short:
        until = "When it was stopped" if stopped else f"With {share} for each step size"
        text += f" {until}, these had not reached a cost of {goal:g}: {listed(short)}."
    return text.strip()


def _where(result: Result) -> str:
    """Where a method ended that did not reach the goal."""
    if not any(trial.steps for trial in result.trials):
        return "no step done"
    return "diverged" if result.best.diverged else f"cost {number(result.best.end.cost)}"


def _times(result: Result, first: Result | None) -> str:
    if first is None:
        return ""
    ratio = _goal(result).passes / _goal(first).passes
    if 0.95 <= ratio < 1.05:
        return " (as many)"
    return f" ({ratio:.2g} times as many)" if ratio < 99.5 else f" ({ratio:,.0f} times as many)"


def _goal(result: Result) -> Point:
    reached = result.best.reached
    assert reached is not None
    return reached


def _ordinal(place: int) -> str:
    return {2: "second", 3: "third", 4: "fourth", 5: "fifth"}.get(place, f"number {place}")


def listed(words: Sequence[str]) -> str:
    """Words in a row."""
    return ", ".join(words)


def passes(point: Point) -> str:
    """What has been spent, as it is told."""
    return f"{point.passes:,.0f}" if point.passes >= 10 else f"{point.passes:.2g}"


def number(value: float) -> str:
    """A cost, as it is told."""
    return f"{value:.3g}"
