"""Pictures of lines and clouds: learning curves, scores against rows, predicted against true."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from backpass.pictures.axes import Axis, figure, frame, margin, percent
from backpass.pictures.svg import Svg, cut, number, width

#: Solid, dashed and dotted, each with its colour: the same part looks the same in every panel.
_STYLES = {
    "train": "one",
    "validation": "two",
    "test": "three",
    "ours": "one",
    "published": "two",
    "other": "three",
    "seed": "faint",
}
_DOTS = 60  # with more points than that, a line has no dot for each
_HITS = 300  # with more points than that, a cloud has no tooltip for each


@dataclass(frozen=True)
class Line:
    """A line of a panel; a y of None or NaN leaves a gap. Its style follows from the part it is of."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    part: str = "train"


@dataclass(frozen=True)
class Panel:
    """A pair of axes with lines.

    Attributes
    ----------
    name, x_name, y_name : str
        The heading, and what the axes show, with their units.
    lines : sequence of Line
        At most one of each part, but of "seed" any number: a fan of faint lines. A line without a name is not
        in the legend.
    mark : (float, str), optional
        An x to mark, and what to call it.
    share : bool
        y is a share, written in per cent.
    log, x_log : bool or None
        A logarithmic axis; None decides by the values.
    """

    name: str
    x_name: str
    y_name: str
    lines: Sequence[Line]
    mark: tuple[float, str] | None = None
    share: bool = False
    log: bool | None = None
    x_log: bool | None = False


def line_chart(title: str, panels: Sequence[Panel]) -> str:
    """Panels side by side, as SVG.

    Examples
    --------
    >>> panel = Panel("cost", "epoch", "cost", [Line("train", [1, 2, 3], [0.9, 0.5, 0.3])])
    >>> line_chart("Learning curves", [panel]).count("<circle")
    4
    """
    wide = 620 if len(panels) < 2 else 490
    svg = Svg(title, wide * max(1, len(panels)), 360)
    for k, panel in enumerate(panels):
        _panel(svg, panel, k * wide, wide)
    return str(svg)


def _panel(svg: Svg, panel: Panel, left: float, wide: float) -> None:
    shown = [(line, _there(line)) for line in panel.lines]
    xs = [p[0] for _, points in shown for p in points]
    ys = [p[1] for _, points in shown for p in points]
    y = Axis.of(ys, 304, 98, log=panel.log)
    start = left + margin(y, panel.share)
    x = Axis.of(xs, start, left + wide - 24, log=panel.x_log, tight=True)
    svg.text(left + 16, 52, cut(panel.name, wide - 32), "b")
    whole = all(float(v).is_integer() for v in xs)
    scale = " (log)" if y.log else ""
    frame(svg, x, y, panel.x_name, panel.y_name + scale, share=panel.share, whole=whole)
    _legend(svg, [line for line, _ in shown if line.name], start, left + wide - 8)
    if panel.mark is not None and x.low <= panel.mark[0] <= x.high:
        at, name = x.at(panel.mark[0]), panel.mark[1]
        svg.line(at, y.start, at, y.stop, "mark")
        half = width(name, 11) / 2
        svg.text(min(max(at, x.start + half), x.stop - half), y.stop - 6, name, "m s")
    for line, points in shown:
        _curve(svg, line, points, _STYLES[line.part], x, y, panel)


def _legend(svg: Svg, lines: Sequence[Line], start: float, stop: float) -> None:
    """A name for each line, beside each other; on a second row what has no room in the first."""
    place, row = start, 70
    for line in lines:
        style, needed = _STYLES[line.part], 32 + width(line.name)
        if place > start and place + needed > stop:
            place, row = start, row + 16
        svg.line(place, row, place + 26, row, f"line {style}")
        svg.add("circle", cx=place + 13, cy=row, r=3, class_=f"dot-{style}")
        svg.text(place + 32, row + 4, line.name)
        place += 18 + needed


def _curve(
    svg: Svg, line: Line, points: list[tuple[float, float]], style: str, x: Axis, y: Axis, panel: Panel
) -> None:
    runs: list[list[str]] = [[]]
    present = dict(points)
    for value in line.x:
        if value in present:
            runs[-1].append(f"{number(x.at(value))} {number(y.at(present[value]))}")
        elif runs[-1]:
            runs.append([])
    drawn = "".join(f"M{'L'.join(run)}" for run in runs if run)
    if len(points) > 1:
        svg.add("path", d=drawn, class_=f"line {style}", tip=line.name)
    told = percent if panel.share else figure
    dotted = points if len(points) <= _DOTS else points[-1:]
    if line.part == "seed":
        dotted = []  # a fan of lines would be a cloud of dots
    for a, b in dotted:
        tip = f"{line.name}, {panel.x_name} {figure(a)}: {told(b)}"
        svg.add("circle", tip=tip, cx=x.at(a), cy=y.at(b), r=2.6, class_=f"dot-{style}")


def _there(line: Line) -> list[tuple[float, float]]:
    pairs = zip(line.x, line.y, strict=True)
    return [(float(a), float(b)) for a, b in pairs if b is not None and math.isfinite(b)]


def scatter(
    title: str, true: Sequence[float], predicted: Sequence[float], name: str = "", note: str = ""
) -> str:
    """Predicted against true quantities, with the line on which predictions are perfect.

    Parameters
    ----------
    title : str
    true, predicted : sequence of float
    name : str
        What is predicted, with its unit.
    note : str
        A line under the title: of how many rows these are, say.
    """
    svg = Svg(title, 580, 560)
    svg.text(16, 46, cut("; ".join(filter(None, [note, "dashed: predicted = true"])), 528, 11), "s")
    pairs = [(a, b) for a, b in zip(true, predicted, strict=True) if math.isfinite(a) and math.isfinite(b)]
    values = [v for pair in pairs for v in pair]
    y = Axis.of(values, 504, 64)
    x = Axis.of(values, margin(y), margin(y) + 440)
    what = cut(name, 300)
    frame(svg, x, y, f"true {what}".strip(), f"predicted {what}".strip())
    svg.line(x.start, y.start, x.stop, y.stop, "mark")
    if len(pairs) <= _HITS:
        for a, b in pairs:
            tip = f"true {figure(a)}, predicted {figure(b)}"
            svg.add("circle", tip=tip, cx=x.at(a), cy=y.at(b), r=3, class_="dot-one", fill_opacity=0.55)
    else:
        svg.add(
            "path", d="".join(f"M{number(x.at(a))} {number(y.at(b))}h0" for a, b in pairs), class_="cloud"
        )
    return str(svg)
