"""The net as circles and links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backpass.pictures.axes import figure
from backpass.pictures.svg import Svg, cut, number, width

_STEP, _GAP, _RADIUS, _LABEL = 30.0, 210.0, 8.0, 210.0


@dataclass(frozen=True)
class Layer:
    """A column of units.

    Attributes
    ----------
    name : str
    size : int
        How many units there are; `units` are those to show.
    units : sequence of (str, str)
        The label of each, or "", and its tooltip.
    levels : sequence of float
        In [-1, 1]: how full the circle of each is, orange where positive, blue where negative; may be empty.
    """

    name: str
    size: int
    units: Sequence[tuple[str, str]]
    levels: Sequence[float] = ()


@dataclass(frozen=True)
class Link:
    """A weight between two shown units, by their places in two columns that follow each other.

    Attributes
    ----------
    layer, start, stop : int
        From unit `start` of column `layer` to unit `stop` of the next.
    name : str
    weight : float
    part : float
        \\|weight\\| as a part of the largest one of its matrix: how thick it is drawn.
    """

    layer: int
    start: int
    stop: int
    name: str
    weight: float
    part: float


def net_picture(
    title: str,
    layers: Sequence[Layer],
    links: Sequence[Link],
    notes: Sequence[str] = (),
    *,
    carries: str = "weight",
) -> str:
    """Units as circles, weights as links: orange where positive, blue where negative, thick where large.

    `carries` is what the links show, for the legend.

    Examples
    --------
    >>> layers = [Layer("x", 2, [("a", ""), ("b", "")]), Layer("y", 1, [("y", "b1[0] = 0")])]
    >>> links = [Link(0, 0, 0, "W1[0,0]", 1.5, 1.0), Link(0, 1, 0, "W1[1,0]", -0.5, 0.33)]
    >>> "W1[1,0] = −0.5" in net_picture("n", layers, links)
    True
    """
    most = max(len(layer.units) + (layer.size > len(layer.units)) for layer in layers)
    first, last = (max([0.0, *(width(u[0], 11) for u in layers[k].units)]) for k in (0, -1))
    left, right = 40 + min(first, _LABEL), 40 + min(last, _LABEL)
    wide = max(left + _GAP * (len(layers) - 1) + right, 420, *(width(n, 11) + 32 for n in notes), 0)
    left += max(0.0, wide - left - right - _GAP * (len(layers) - 1)) / 2
    top = 92.0
    foot = top + most * _STEP + 8
    svg = Svg(title, wide, foot + 20 + 18 * (len(notes) + 1))
    place: dict[tuple[int, int], tuple[float, float]] = {}
    for k, layer in enumerate(layers):
        x, shown = left + k * _GAP, len(layer.units) + (layer.size > len(layer.units))
        # Every column is centred on the tallest one.
        y = top + (most - shown) * _STEP / 2 + _STEP / 2
        for j in range(len(layer.units)):
            place[k, j] = (x, y + j * _STEP)
    for link in sorted(links, key=lambda one: one.part):
        (x1, y1), (x2, y2) = place[link.layer, link.start], place[link.layer + 1, link.stop]
        svg.add(
            "path",
            tip=f"{link.name} = {figure(link.weight)}",
            d=f"M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}",
            class_="plus" if link.weight >= 0 else "minus",
            stroke_width=0.4 + 4.1 * link.part,
            stroke_opacity=0.2 + 0.75 * link.part,
        )
    for k, layer in enumerate(layers):
        x = left + k * _GAP
        svg.text(x, 56, cut(layer.name, _GAP - 12), "b m", tip=layer.name)
        svg.text(x, 73, f"{layer.size:,} unit{'s' * (layer.size != 1)}", "m s")
        for j, (label, tip) in enumerate(layer.units):
            cx, cy = place[k, j]
            svg.add("circle", tip=tip, cx=cx, cy=cy, r=_RADIUS, class_="unit")
            if layer.levels:
                fill = "fill-plus" if layer.levels[j] >= 0 else "fill-minus"
                full = min(1.0, abs(layer.levels[j]))
                svg.add("circle", tip=tip, cx=cx, cy=cy, r=_RADIUS - 1, class_=fill, fill_opacity=full)
            if label and k in (0, len(layers) - 1):
                at, anchor = (cx - 15, "e s") if k == 0 else (cx + 15, "s")
                svg.text(at, cy + 4, cut(label, _LABEL, 11), anchor, tip=label)
        if layer.size > len(layer.units):
            low = place[k, len(layer.units) - 1][1]
            svg.text(x, low + _STEP - 3, f"… {layer.size - len(layer.units):,} more", "m s halo")
    _legend(svg, foot + 14, carries)
    for k, note in enumerate(notes):
        svg.text(16, foot + 36 + 18 * k, note, "s")
    return str(svg)


def _legend(svg: Svg, y: float, carries: str) -> None:
    place = 16.0
    for class_, text in (("plus", f"positive {carries}"), ("minus", f"negative {carries}")):
        svg.add("path", d=f"M{number(place)} {number(y - 4)}h26", class_=class_, stroke_width=3.5)
        svg.text(place + 32, y, text, "s")
        place += 50 + width(text, 11)
    svg.text(place, y, "thicker: larger", "s")
