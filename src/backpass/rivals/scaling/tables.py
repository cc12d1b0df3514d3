"""The tables and charts of `backpass race scaling`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from backpass.explain.answer import Cell, Figure, Table
from backpass.pictures.many_lines import Curve, many_lines
from backpass.rivals.methods import METHODS
from backpass.rivals.scaling.needs import PARTS, Need, slope

What = Callable[[Need], float]
#: What passes grow as, in words and as a function of N and M.
Law = tuple[str, Callable[[int, int], float]]


def names_in(needs: Sequence[Need]) -> list[str]:
    """The methods, each once, in the order in which they are told."""
    there = {need.method for need in needs}
    return [name for name in METHODS if name in there]


def of(needs: Sequence[Need], method: str) -> list[Need]:
    """What a method needs, from the fewest weights to the most."""
    return sorted((need for need in needs if need.method == method), key=lambda need: need.N)


def width_table(needs: Sequence[Need], laws: Mapping[str, Law]) -> Table:
    """Passes to the goal on the task of many sizes, slopes, and those of single starts."""

    def slopes(name: str) -> list[Cell]:
        return [
            power(slope([(n.N, n.to()) for n in of(needs, name)])),
            _single(of(needs, name)),
            _lawful(of(needs, name), laws.get(name)),
        ]

    title = "Passes to the goal on the linear task, by N"
    return _table(title, needs, Need.to, ("slope", "of one start", "expected"), slopes)


def task_table(needs: Sequence[Need]) -> Table:
    """Passes to the goal on tasks that differ, and slopes."""

    def slopes(name: str) -> list[Cell]:
        return [power(slope([(n.N, n.to()) for n in of(needs, name)])), power(_beside_backprop(needs, name))]

    title = "Passes to the goal, by tasks and their N"
    return _table(title, needs, Need.to, ("slope", "beside backprop"), slopes)


def gradient_table(needs: Sequence[Need]) -> Table:
    """Passes for one gradient within 10 %, and slopes."""
    known = [need for need in needs if not math.isnan(need.gradient)]

    def slopes(name: str) -> list[Cell]:
        return [power(slope([(n.N, n.gradient) for n in of(known, name)]))]

    title = "Passes for one gradient within 10 %, by tasks and their N"
    return _table(title, known, lambda need: need.gradient, ("slope",), slopes)


def parts_table(widths: Sequence[Need], needs: Sequence[Need]) -> Table:
    """The slopes for each of `PARTS` as the goal."""
    rows = []
    for name in names_in([*widths, *needs]):
        cells = [
            power(slope([(n.N, n.to(k)) for n in of(group, name)]))
            for group in (widths, needs)
            for k in range(len(PARTS))
        ]
        rows.append((METHODS[name].title, *cells))
    head = [f"{group}, 1/{1 / part:.0f}" for group in ("linear", "tasks") for part in PARTS]
    return Table("Slopes for other goals, in parts of the cost at the start", ("method", *head), tuple(rows))


def chart(needs: Sequence[Need], y_name: str, what: What) -> Figure:
    """A line for each method; where the goal was missed, a bound."""
    curves = []
    for name in names_in(needs):
        known = [n for n in of(needs, name) if math.isfinite(what(n)) or what is Need.to]
        if known:
            values = [what(need) for need in known]
            curves.append(
                Curve(
                    METHODS[name].title,
                    [need.N for need in known],
                    [
                        min(value, need.cap) if what is Need.to else value
                        for value, need in zip(values, known, strict=True)
                    ],
                    style=list(METHODS).index(name),
                    bounds=frozenset(k for k, value in enumerate(values) if math.isinf(value)),
                    marks=frozenset(range(len(known))),
                )
            )
    title = f"{y_name[:1].upper()}{y_name[1:]} against the number of weights"
    svg = many_lines(title, "weights and biases, N", y_name, curves)
    hollow = " Hollow, with an arrow: not reached, a lower bound." if any(c.bounds for c in curves) else ""
    return Figure(title, svg, f"a line for each method through the numbers of the table.{hollow}")


def power(grown: tuple[float, int]) -> str:
    """A slope, and through how many points.

    Examples
    --------
    >>> power((0.98, 5)), power((math.nan, 1))
    ('+0.98 (5)', '-')
    """
    return "-" if math.isnan(grown[0]) else f"{_signed(grown[0])} ({grown[1]})"


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}"  # no -0.00


def _table(
    title: str,
    needs: Sequence[Need],
    what: What,
    head: Sequence[str],
    slopes: Callable[[str], list[Cell]],
) -> Table:
    sizes = sorted({(need.N, need.task) for need in needs})
    rows: list[tuple[Cell, ...]] = []
    for name in names_in(needs):
        there = {need.task: need for need in of(needs, name)}
        cells = [_cell(there[task], what) if task in there else "-" for _, task in sizes]
        rows.append((METHODS[name].title, *cells, *slopes(name)))
    tasks = [f"{n:,}" if task.startswith("linear") else f"{task} {n:,}" for n, task in sizes]
    return Table(title, ("method", *tasks, *head), tuple(rows))


def _cell(need: Need, what: What) -> Cell:
    value = what(need)
    if math.isinf(value):
        return f"> {need.cap:,.0f}" if what is Need.to else "never"
    return float(f"{value:.3g}") if value < 1000 else round(float(f"{value:.3g}"))


def _single(needs: Sequence[Need]) -> str:
    """The least and the greatest slope that one start would have given, where each got there."""
    starts = min((len(need.starts) for need in needs), default=0)
    found = [slope([(need.N, need.starts[k][-1]) for need in needs])[0] for k in range(starts)]
    known = [value for value in found if math.isfinite(value)]
    return f"{_signed(min(known))} to {_signed(max(known))}" if known else "-"


def _lawful(needs: Sequence[Need], law: Law | None) -> str:
    """The slope of a law, at the sizes that were raced."""
    if law is None:
        return "exponential"
    expected, points = slope([(need.N, law[1](need.N, need.M)) for need in needs])
    return f"{abs(expected):.2f}, as {law[0]}" if points > 1 else f"as {law[0]}"


def _beside_backprop(needs: Sequence[Need], name: str) -> tuple[float, int]:
    """The slope of the passes to the goal in parts of those of backpropagation on the same task."""
    base = {need.task: need.to() for need in of(needs, "backprop")}
    return slope([(n.N, n.to() / base[n.task]) for n in of(needs, name) if n.task in base])
