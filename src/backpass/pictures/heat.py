"""A table of numbers as colours: layers down, steps across."""

from __future__ import annotations

import math
from collections.abc import Sequence

from backpass.pictures.axes import figure
from backpass.pictures.svg import Svg, cut, width

#: From small to large, light enough and dark enough to be told apart without colour (after viridis).
_SHADES = ("#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725")


def heat(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float]],
    *,
    across: str = "",
    unit: str = "",
    notes: Sequence[str] = (),
) -> str:
    """A colour for each entry of a table, on a logarithmic scale; blank where zero or not finite.

    Parameters
    ----------
    title : str
    rows, columns : sequence of str
        What each row and each column is.
    values : sequence of sequence of float
        A row for each of `rows`. Negative numbers count by their size.
    across : str
        What the columns are: "step".
    unit : str
        What the numbers are.
    notes : sequence of str
        Lines under the title.

    Examples
    --------
    >>> heat("norms", ["δ2", "δ1"], ["1", "2"], [[1.0, 0.5], [0.1, 0.0]]).count("<rect")
    13
    """
    sizes = [[abs(v) if math.isfinite(v) else 0.0 for v in row] for row in values]
    present = [v for row in sizes for v in row if v]
    low, high = (math.log10(min(present)), math.log10(max(present))) if present else (0.0, 0.0)
    left = 24 + max((width(name) for name in rows), default=0.0)
    cell = max(3.0, min(34.0, 560 / max(1, len(columns))))
    top, tall = 54.0 + 18 * len(notes), 22.0
    first, last = figure(10**low, 2), f"{figure(10**high, 2)} {unit} (log); blank: 0 or not finite"
    legend = left + width(first, 11) + width(last, 11) + 16 * len(_SHADES) + 28
    wide = max(left + cell * len(columns) + 40, legend, *(width(n, 11) + 32 for n in notes), 0)
    svg = Svg(title, wide, top + tall * len(rows) + 74)
    for k, note in enumerate(notes):
        svg.text(16, 46 + 18 * k, note, "s")
    for i, name in enumerate(rows):
        y = top + tall * i
        svg.text(left - 8, y + 15, name, "e")
        for j, column in enumerate(columns):
            tip = f"{name}, {across} {column}: {figure(values[i][j])}"
            if sizes[i][j]:
                shade = _SHADES[_level(math.log10(sizes[i][j]), low, high)]
                svg.add("rect", tip=tip, x=left + cell * j, y=y, width=cell, height=tall - 3, fill=shade)
            else:
                svg.add("rect", tip=tip, x=left + cell * j, y=y, width=cell, height=tall - 3, class_="frame")
    foot = top + tall * len(rows) + 14
    for j in {0, len(columns) - 1} if columns else set():
        svg.text(left + cell * (j + 0.5), foot, columns[j], "m s")
    svg.text(left + cell * len(columns) / 2, foot, cut(across, 200, 11), "m s")
    _scale(svg, left, foot + 16, first, last)
    return str(svg)


def _level(value: float, low: float, high: float) -> int:
    part = (value - low) / (high - low) if high > low else 1.0
    return min(len(_SHADES) - 1, int(part * len(_SHADES)))


def _scale(svg: Svg, x: float, y: float, first: str, last: str) -> None:
    svg.text(x, y + 10, first, "s")
    x += width(first, 11) + 6
    for k, shade in enumerate(_SHADES):
        svg.add("rect", x=x + 16 * k, y=y, width=16, height=12, fill=shade)
    svg.text(x + 16 * len(_SHADES) + 6, y + 10, last, "s")
