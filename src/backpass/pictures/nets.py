"""The net as circles and links, and the weights of a unit as an image."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    """

    name: str
    size: int
    units: Sequence[tuple[str, str]]


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


def net_picture(title: str, layers: Sequence[Layer], links: Sequence[Link], notes: Sequence[str] = ()) -> str:
    """Units as circles, weights as links: orange where positive, blue where negative, thick where large.

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
            if label and k in (0, len(layers) - 1):
                at, anchor = (cx - 15, "e s") if k == 0 else (cx + 15, "s")
                svg.text(at, cy + 4, cut(label, _LABEL, 11), anchor, tip=label)
        if layer.size > len(layer.units):
            low = place[k, len(layer.units) - 1][1]
            svg.text(x, low + _STEP - 3, f"… {layer.size - len(layer.units):,} more", "m s halo")
    _legend(svg, foot + 14)
    for k, note in enumerate(notes):
        svg.text(16, foot + 36 + 18 * k, note, "s")
    return str(svg)


def _legend(svg: Svg, y: float) -> None:
    place = 16.0
    for class_, text in (("plus", "positive weight"), ("minus", "negative weight")):
        svg.add("path", d=f"M{number(place)} {number(y - 4)}h26", class_=class_, stroke_width=3.5)
        svg.text(place + 32, y, text, "s")
        place += 50 + width(text, 11)
    svg.text(place, y, "thicker: larger", "s")


def weight_images(
    title: str,
    images: NDArray[np.float64],
    names: Sequence[str],
    tips: Sequence[str],
    *,
    largest: float,
    notes: Sequence[str] = (),
) -> str:
    """The weights into each unit as an image: orange where positive, blue where negative, clear where zero.

    Parameters
    ----------
    title : str
    images : ndarray, shape (n, h, w)
        Weights over `largest`: in [-1, 1].
    names, tips : sequence of str
        Of each unit: under its image, and on hovering.
    largest : float
        The weight that is drawn in full colour.
    notes : sequence of str
        Lines under the title.
    """
    count, high, wide = images.shape
    across = min(count, 10)
    scale = max(1.0, round(84 / max(high, wide)))
    tall, broad = high * scale, wide * scale
    pad = max(1, round(8 / scale))  # clear columns between images, in their own pixels
    step = (wide + pad) * scale
    rows = -(-count // across)
    top = 66.0 + 18 * len(notes)
    total = max(32 + across * step, 420, *(width(n, 11) + 40 for n in notes), 0)
    svg = Svg(title, total, top + rows * (tall + 26) + 8)
    for k, note in enumerate(notes):
        svg.text(16, 46 + 18 * k, note, "s")
    _scale_bar(svg, 16, top - 26, largest)
    for row in range(rows):
        some = images[row * across : (row + 1) * across]
        strip = np.zeros((high, len(some) * (wide + pad)))
        for k, image in enumerate(some):
            strip[:, k * (wide + pad) : k * (wide + pad) + wide] = image
        y = top + row * (tall + 26)
        size = {"width": strip.shape[1] * scale, "height": tall}
        svg.add("image", x=16, y=y, **size, preserveAspectRatio="none", href=_data_uri(strip))
        for k in range(len(some)):
            x, unit = 16 + k * step, row * across + k
            svg.add("rect", x=x, y=y, width=broad, height=tall, class_="grid")
            svg.add("rect", tip=tips[unit], x=x, y=y, width=broad, height=tall, class_="hit")
            svg.text(x + broad / 2, y + tall + 14, cut(names[unit], step, 11), "m s")
    return str(svg)


def _scale_bar(svg: Svg, x: float, y: float, largest: float) -> None:
    low, high = figure(-largest, 2), figure(largest, 2)
    svg.text(x, y + 10, low, "s")
    start = x + width(low, 11) + 6
    for k in range(-10, 11):
        class_ = "fill-plus" if k > 0 else "fill-minus"
        place = start + (k + 10) * 8
        svg.add("rect", x=place, y=y, width=8, height=12, class_=class_, fill_opacity=abs(k) / 10)
    svg.add("rect", x=start, y=y, width=168, height=12, class_="grid")
    svg.text(start + 174, y + 10, f"{high}; 0 is clear", "s")


#: Orange and blue that stand out from white and from black: an image cannot follow the reader's scheme.
_PLUS, _MINUS = (224, 104, 20), (30, 132, 200)


def _data_uri(values: NDArray[np.float64]) -> str:
    """Values in [-1, 1] as a PNG whose colour is their sign and whose opacity is their size.

    So that it lies on light and on dark ground alike.
    """
    pixels = np.empty((*values.shape, 4), np.uint8)
    pixels[..., :3] = np.where(values[..., None] >= 0, _PLUS, _MINUS)
    pixels[..., 3] = np.round(255 * np.clip(np.abs(values), 0, 1))
    pixels[pixels[..., 3] == 0] = 0
    return f"data:image/png;base64,{base64.b64encode(png(pixels)).decode()}"


def png(pixels: NDArray[np.uint8]) -> bytes:
    """An image of shape (h, w, 4), red, green, blue and opacity, as a PNG file (ISO/IEC 15948).

    Examples
    --------
    >>> png(np.zeros((2, 3, 4), np.uint8))[:8]
    b'\\x89PNG\\r\\n\\x1a\\n'
    """
    high, wide, _ = pixels.shape

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    lines = np.concatenate([np.zeros((high, 1), np.uint8), pixels.reshape(high, wide * 4)], axis=1)
    head = struct.pack(">IIBBBBB", wide, high, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(lines.tobytes(), 9))
        + chunk(b"IEND", b"")
    )
