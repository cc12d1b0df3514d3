"""Images in a picture: the weights into a unit, the rows that are pixels."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from backpass.pictures.axes import figure
from backpass.pictures.svg import Svg, cut, width


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


def row_images(
    title: str, images: NDArray[np.float64], names: Sequence[str], notes: Sequence[str] = ()
) -> str:
    """Rows of a data set that are images, side by side, each in its own range from dark to light.

    Parameters
    ----------
    title : str
    images : ndarray, shape (n, h, w) or (n, h, w, channels)
        Of several channels, the mean is shown.
    names : sequence of str
        Under each, its lines divided by newlines.
    notes : sequence of str
        Lines under the title.

    Examples
    --------
    >>> row_images("digits", np.eye(8)[None], ["row 7\\na 3"]).count("<image")
    1
    """
    flat = images.mean(axis=-1) if images.ndim == 4 else images
    count, high, wide = flat.shape
    across, scale = min(count, 8), max(1.0, round(84 / max(high, wide)))
    tall, broad = high * scale, wide * scale
    lines = max((name.count("\n") + 1 for name in names), default=1)
    step = max(broad + 8, min(150.0, max(width(n, 11) for name in names for n in name.split("\n")) + 10))
    top, each = 46.0 + 18 * len(notes), tall + 14 * lines + 14
    svg = Svg(title, max(32 + across * step, 420), top + -(-count // across) * each)
    for k, note in enumerate(notes):
        svg.text(16, 46 + 18 * k, note, "s")
    for k, image in enumerate(flat):
        x, y = 16 + (k % across) * step, top + (k // across) * each
        place = x + (step - 8 - broad) / 2
        svg.add(
            "image", x=place, y=y, width=broad, height=tall, preserveAspectRatio="none", href=_grey(image)
        )
        svg.add("rect", x=place, y=y, width=broad, height=tall, class_="grid")
        for n, line in enumerate(names[k].split("\n")):
            svg.text(x + (step - 8) / 2, y + tall + 14 + 14 * n, cut(line, step, 11), "m s")
    return str(svg)


def _grey(image: NDArray[np.float64]) -> str:
    """An image as a PNG in grey, its smallest value black and its largest white."""
    low, high = float(image.min()), float(image.max())
    level = np.round(255 * (image - low) / (high - low or 1.0)).astype(np.uint8)
    pixels = np.stack([level, level, level, np.full_like(level, 255)], axis=-1)
    return f"data:image/png;base64,{base64.b64encode(png(pixels)).decode()}"


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
