"""The confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backpass.pictures.axes import percent
from backpass.pictures.svg import Svg, cut, width


def confusion_matrix(
    title: str,
    counts: Sequence[Sequence[int]],
    classes: Sequence[Any],
    *,
    shares: Sequence[Sequence[float]],
    note: str = "",
) -> str:
    """How often each class was taken for each, as SVG.

    Parameters
    ----------
    title : str
    counts : sequence of sequence of int
        A row for each true class, a column for each prediction.
    classes : sequence
        Their names.
    shares : sequence of sequence of float
        Each count as a share of its row: how dark the cell is.
    note : str
        A line under the title.

    Examples
    --------
    >>> picture = confusion_matrix("c", [[8, 2], [0, 5]], ["no", "yes"], shares=[[0.8, 0.2], [0.0, 1.0]])
    >>> "no taken for yes: 2 (20.00 % of no)" in picture
    True
    """
    count = len(classes)
    cell = max(20.0, min(64.0, 520 / max(count, 1)))
    names = [cut(c, 130, 11) for c in classes]
    side = max([40.0, *(width(n, 11) for n in names)]) + 10
    level = all(width(n, 11) <= cell - 4 for n in names)
    head = 18.0 if level else max(width(n, 11) for n in names) * 0.8 + 14
    left, top = 40 + side, 76 + head
    # Names at a slant reach to the right of their column.
    wide = max(
        left + count * cell + (70 if level else max(70.0, head + 12)),
        300,
        width(note, 11) + 40,
        width(title, 15) + 40,
    )
    svg = Svg(title, wide, top + count * cell + 24)
    svg.text(16, 46, note, "s")
    svg.text(left + count * cell / 2, 68, "predicted class", "m")
    svg.text(24, top + count * cell / 2, "true class", "m", turn=-90)
    svg.text(left + count * cell + 8, top - 6, "recall" if level else "", "s")
    for k, name in enumerate(names):
        tip = str(classes[k]) if name != str(classes[k]) else ""
        middle = left + (k + 0.5) * cell
        if level:
            svg.text(middle, top - 6, name, "m s", tip=tip)
        else:
            svg.text(middle + 2, top - 6, name, "s", tip=tip, turn=-45)
        svg.text(left - 8, top + (k + 0.5) * cell + 4, name, "e s", tip=tip)
        right = f"{100 * shares[k][k]:.1f} %" if sum(counts[k]) else "–"
        svg.text(
            left + count * cell + 8, top + (k + 0.5) * cell + 4, right, "s", tip=f"recall of {classes[k]}"
        )
    for i, row in enumerate(counts):
        for j, value in enumerate(row):
            x, y, share = left + j * cell, top + i * cell, shares[i][j]
            right = "right" if i == j else f"taken for {classes[j]}"
            tip = f"{classes[i]} {right}: {value:,} ({percent(share)} of {classes[i]})"
            class_ = "fill-minus" if i == j else "fill-plus"
            opacity = 0.06 + 0.9 * share if value else 0.0
            svg.add("rect", x=x, y=y, width=cell, height=cell, class_=class_, fill_opacity=opacity)
            size = min(13.0, (cell - 3) / max(1.0, width(f"{value:,}", 1)))
            # A count too wide for its cell is left to the tooltip.
            if size >= 7 and (value or count <= 12):
                look = "m on" if share > 0.55 else "m" if value else "m s"
                style = f"font-size:{size:.1f}px"
                middle, base = x + cell / 2, y + cell / 2 + 0.35 * size
                svg.add("text", inner=f"{value:,}", class_=look, style=style, x=middle, y=base)
            svg.add("rect", tip=tip, x=x, y=y, width=cell, height=cell, class_="hit")
    end = count * cell
    for k in range(count + 1):
        svg.line(left, top + k * cell, left + end, top + k * cell, "grid")
        svg.line(left + k * cell, top, left + k * cell, top + end, "grid")
    return str(svg)
