"""Charts of up to twelve lines: told apart by colour and dash, each with its name at its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from backpass.pictures.axes import Axis, figure, frame, margin
from backpass.pictures.svg import Svg, cut, number, width

#: Six of the colours of Okabe and Ito, dark enough for lines on white ground, and light ones for dark ground.
_LIGHT = ("#1d2128", "#0072b2", "#c24f00", "#00795a", "#b0478f", "#8a6a00")
_DARK = ("#e8eaee", "#56b4e9", "#f08a3c", "#2fc79a", "#e08fc4", "#e6c84a")
#: Twelve styles: no two share both colour and dash, and neighbours differ in both.
_DASHES = ("", "8 3", "2 3", "10 3 2 3")
MOST = 12

_GAP = 15  # pixels from name to name
_HIGH = 420


@dataclass(frozen=True)
class Curve:
    """A line of the chart.

    Attributes
    ----------
    name : str
    x, y : sequence of float
        What is not finite, or not above 0 on a logarithmic axis, is left out.
    style : int
        From 0 to 11: the same number looks the same in every chart; 0 is the thickest.
    bounds : set of int
        Which points say only that the value lies above: drawn hollow, with an arrow up.
    marks : set of int
        Which points have a dot.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: int = 0
    bounds: frozenset[int] = field(default_factory=frozenset)
    marks: frozenset[int] = field(default_factory=frozenset)


def many_lines(
    title: str,
    x_name: str,
    y_name: str,
    curves: Sequence[Curve],
    *,
    level: tuple[float, str] | None = None,
    log: bool = True,
) -> str:
    """A chart as SVG, both axes logarithmic (or neither).

    Parameters
    ----------
    title, x_name, y_name : str
    curves : sequence of Curve
    level : (float, str), optional
        A y to mark across, and what to call it.
    log : bool

    Examples
    --------
    >>> curves = [Curve("one", [1, 10], [2.0, 1.0]), Curve("two", [1, 10], [2.0, 1.5], style=1)]
    >>> many_lines("Cost", "passes", "cost", curves).count('class="name"')
    2
    """
    svg = Svg(title, 940, _HIGH)
    svg.add("style", inner=_STYLE)
    shown = [(curve, _points(curve, log)) for curve in curves]
    values = [y for _, points in shown for _, y, _ in points]
    if level is not None:
        values.append(level[0])
    y = Axis.of(values, _HIGH - 56, 52, log=log)
    names = max([60.0, *(width(curve.name) for curve in curves)])
    across = [x for _, points in shown for x, _, _ in points]
    x = Axis.of(across, margin(y), 940 - min(names, 250) - 64, log=log, tight=True)
    frame(svg, x, y, x_name + " (log)" * x.log, y_name + " (log)" * y.log)
    if level is not None:
        svg.line(x.start, y.at(level[0]), x.stop, y.at(level[0]), "mark")
        svg.text(x.start + 6, y.at(level[0]) - 5, level[1], "s halo")
    for curve, points in reversed(shown):  # the first lies on top
        _draw(svg, curve, points, x, y)
    _name_the_ends(svg, [(c, points[-1]) for c, points in shown if points], x, y)
    return str(svg)


def _points(curve: Curve, log: bool) -> list[tuple[float, float, int]]:
    pairs = enumerate(zip(curve.x, curve.y, strict=True))
    least = 0.0 if log else -math.inf
    return [
        (float(a), float(b), k)
        for k, (a, b) in pairs
        if math.isfinite(a) and math.isfinite(b) and min(a, b) > least
    ]


def _draw(svg: Svg, curve: Curve, points: list[tuple[float, float, int]], x: Axis, y: Axis) -> None:
    if len(points) > 1:
        path = "L".join(f"{number(x.at(a))} {number(y.at(b))}" for a, b, _ in points)
        svg.add("path", tip=curve.name, d=f"M{path}", class_=f"many m{curve.style}")
    for a, b, k in points:
        tip = f"{curve.name}: {figure(b)} at {figure(a)}"
        left, top = x.at(a), y.at(b)
        if k in curve.bounds:
            svg.add(
                "path",
                d=f"M{number(left)} {number(top - 4)}v-12m-4 5l4 -5l4 5",
                class_=f"arrow m{curve.style}",
            )
            svg.add(
                "circle", tip=f"{tip} and not reached", cx=left, cy=top, r=4, class_=f"hollow m{curve.style}"
            )
        elif k in curve.marks:
            svg.add("circle", tip=tip, cx=left, cy=top, r=4, class_=f"full f{curve.style}")
        else:
            svg.add("circle", tip=tip, cx=left, cy=top, r=5, class_="hit")


def _name_the_ends(
    svg: Svg, ends: Sequence[tuple[Curve, tuple[float, float, int]]], x: Axis, y: Axis
) -> None:
    """Each name beside the end of its line; names that would lie on each other are moved apart."""
    placed = sorted(ends, key=lambda end: y.at(end[1][1]))
    heights = spread([y.at(b) for _, (_, b, _) in placed], _GAP, 48, _HIGH - 50)
    for (curve, (a, b, _)), high in zip(placed, heights, strict=True):
        start = x.stop + 18
        svg.add(
            "path",
            d=f"M{number(x.at(a) + 5)} {number(y.at(b))}L{number(x.stop + 6)} {number(y.at(b))}"
            f"L{number(start)} {number(high)}",
            class_=f"leader m{curve.style}",
        )
        svg.line(start, high, start + 26, high, f"many m{curve.style}")
        svg.text(start + 31, high + 4, cut(curve.name, 250), "name")


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places near the wanted ones (in order), at least `gap` apart, from `low` to `high`.

    Examples
    --------
    >>> spread([10, 11, 50], 15, 0, 100)
    [3.0, 18.0, 50.0]
    >>> spread([90, 95, 99], 15, 0, 100)
    [70.0, 85.0, 100.0]
    """
    # Groups of touching names, each about the mean of what its members want.
    groups: list[list[float]] = []

    def first(group: list[float]) -> float:
        middle = sum(group) / len(group) - gap * (len(group) - 1) / 2
        return max(low, min(middle, high - gap * (len(group) - 1)))

    for place in wanted:
        groups.append([float(place)])
        while len(groups) > 1 and first(groups[-2]) + gap * len(groups[-2]) > first(groups[-1]):
            last = groups.pop()
            groups[-1] += last
    return [float(first(group) + gap * k) for group in groups for k in range(len(group))]


def _rules() -> str:
    rules = [
        ".bp .many{fill:none;stroke-width:1.9;stroke-linejoin:round}.bp .many.m0{stroke-width:3}",
        ".bp .leader{fill:none;stroke-width:1;stroke-opacity:.45;stroke-dasharray:none!important}",
        ".bp .arrow{fill:none;stroke-width:1.5;stroke-dasharray:none!important}",
        ".bp .hollow{fill:var(--page);stroke-width:1.6;stroke-dasharray:none!important}",
    ]
    for k in range(MOST):
        dash = _DASHES[(k + k // len(_LIGHT)) % len(_DASHES)]
        rules.append(f".bp .m{k}{{stroke:{_LIGHT[k % 6]}{f';stroke-dasharray:{dash}' if dash else ''}}}")
        rules.append(f".bp .f{k}{{fill:{_LIGHT[k % 6]}}}")
    dark = "".join(f".bp .m{k}{{stroke:{_DARK[k % 6]}}}.bp .f{k}{{fill:{_DARK[k % 6]}}}" for k in range(MOST))
    return "\n".join(rules) + f"\n@media (prefers-color-scheme:dark){{{dark}}}"


_STYLE = _rules()
