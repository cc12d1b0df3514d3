"""Axes: from values to pixels, round numbers to label them with, and how numbers are written."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backpass.pictures.svg import Svg, number, width

_UP = 8  # ticks of an upward axis, at most about


def figure(value: float | None, digits: int = 4) -> str:
    """A number for people: four digits, thousands apart, a true minus; a dash where there is none.

    Examples
    --------
    >>> figure(0.123456), figure(1234567.0), figure(-2.5), figure(None), figure(0.00001234), figure(12.0)
    ('0.1235', '1,234,567', '−2.5', '–', '1.234e−5', '12')
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if 1e4 <= abs(value) < 1e7:
        written = f"{value:,.0f}"
    else:
        written = f"{value:.{digits}g}"
        if "e" in written:
            mantissa, _, power = written.partition("e")
            written = f"{mantissa}e{int(power)}"
    return written.replace("-", "−")


def percent(value: float | None) -> str:
    """A share as a percentage.

    Examples
    --------
    >>> percent(0.98765), percent(1.0), percent(None)
    ('98.77 %', '100.00 %', '–')
    """
    return "–" if value is None or math.isnan(value) else f"{100 * value:.2f} %"


def fixed(value: float | None) -> str:
    """A score such as R² or AUC: four digits after the point.

    Examples
    --------
    >>> fixed(0.71754), fixed(-8.3e-5), fixed(-1e-9), fixed(None)
    ('0.7175', '−0.0001', '0.0000', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    return f"{round(value, 4) + 0.0:.4f}".replace("-", "−")


def count(value: float | None) -> str:
    """A whole number, thousands apart."""
    return "–" if value is None else f"{value:,.0f}"


@dataclass(frozen=True)
class Axis:
    """A range of values, laid on a range of pixels.

    Attributes
    ----------
    low, high : float
        Values at the ends.
    start, stop : float
        Pixels at the ends; ``stop < start`` for an axis that points upward.
    log : bool
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    @classmethod
    def of(
        cls,
        values: Iterable[float],
        start: float,
        stop: float,
        *,
        log: bool | None = False,
        tight: bool = False,
    ) -> Axis:
        """An axis that holds all values; ``log=None`` decides by how far they spread."""
        found = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
        low, high = min(found), max(found)
        if log is None:
            log = low > 1e-300 and high / low > 50
        if log and low < 1e-300:
            log = False
        if log:
            room = 1.0 if tight else (high / low) ** 0.04
            low, high = (low / 1.5, high * 1.5) if low == high else (low / room, high * room)
        elif low == high:
            room = abs(low) * 0.1 or 1.0
            low, high = (low - room, high + room) if not tight else (low - 0.5, high + 0.5)
        elif not tight:
            room = 0.04 * (high - low)
            low, high = low - room, high + room
        return cls(low, high, start, stop, log)

    def at(self, value: float) -> float:
        """The pixel of a value."""
        low, high, value = (math.log(v) for v in (self.low, self.high, value)) if self.log else (
            self.low, self.high, value
        )  # fmt: skip
        return self.start + (value - low) / (high - low) * (self.stop - self.start)

    def ticks(self, most: int = 6, whole: bool = False) -> list[float]:
        """Round values within the range, at most about `most` of them."""
        if self.log and len(powers := self._log_ticks(most)) >= 2:
            return powers
        span = self.high - self.low
        found: list[float] = []
        smallest = 10.0 ** math.floor(math.log10(span / most))
        for step in (smallest * k for k in (20, 10, 5, 2, 1)):
            step = max(1.0, step) if whole else step
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            if len(found) >= 2 and last - first + 1 > most:
                break
            found = [k * step for k in range(first, last + 1)]
        return found

    def _log_ticks(self, most: int) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        for heads in ((1, 2, 5), (1, 3), (1,)):
            every = [h * 10.0**p for p in range(first, last + 1) for h in heads]
            found = [v for v in every if self.low * 0.999 <= v <= self.high * 1.001]
            if len(found) <= most:
                return found
        return found[:: -(-len(found) // most)]


def labels(ticks: Sequence[float], share: bool = False) -> list[str]:
    """How the ticks of an axis are written: all with the same number of digits after the point.

    Examples
    --------
    >>> labels([0.0, 0.5, 1.0]), labels([0, 20000, 40000]), labels([0.9, 0.95], share=True)
    (['0.0', '0.5', '1.0'], ['0', '20,000', '40,000'], ['90 %', '95 %'])
    """
    values = [100 * t for t in ticks] if share else list(ticks)
    steps = [abs(b - a) for a, b in itertools.pairwise(values)]
    most = max(map(abs, values), default=0)
    even = not steps or max(steps) - min(steps) <= 1e-6 * max(steps)
    if not even or most >= 1e7 or 0 < most < 1e-3:  # a logarithmic axis, or numbers that need a power
        # As few digits as tell the ticks apart.
        choices = ([figure(v, digits) for v in values] for digits in range(4, 16))
        written = next((w for w in choices if len(set(w)) == len(w)), [figure(v) for v in values])
    else:
        digits = max(0, -math.floor(math.log10(min(steps)) + 1e-9)) if steps else 2
        written = [f"{v + 0.0:,.{digits}f}".replace("-", "−") for v in values]
    return [f"{w} %" for w in written] if share else written


def margin(y: Axis, share: bool = False) -> float:
    """The room that the numbers and the name of an upward axis need on its left."""
    return max([40.0, *(width(text, 11) for text in labels(y.ticks(_UP), share))]) + 36


def frame(
    svg: Svg,
    x: Axis,
    y: Axis,
    x_name: str,
    y_name: str,
    *,
    share: bool = False,
    whole: bool = False,
    thousands: bool = False,
) -> None:
    """Grid, ticks and names of a pair of axes."""
    across = x.ticks(max(2, int((x.stop - x.start) / 64)), whole)
    for value, text in zip(across, labels(across), strict=True):
        svg.line(x.at(value), y.start, x.at(value), y.stop, "grid")
        svg.text(x.at(value), y.start + 17, text, "m s")
    up = y.ticks(_UP)
    for value, text in zip(up, labels(up, share), strict=True):
        svg.line(x.start, y.at(value), x.stop, y.at(value), "grid")
        svg.text(x.start - 7, y.at(value) + 4, text, "e s")
    svg.add(
        "path",
        d=f"M{number(x.start)} {number(y.stop)}V{number(y.start)}H{number(x.stop)}",
        class_="frame",
    )
    svg.text((x.start + x.stop) / 2, y.start + 37, x_name, "m")
    svg.text(x.start - margin(y, share) + 22, (y.start + y.stop) / 2, y_name, "m", turn=-90)
