"""The curse of dimensionality as a counter: how many combinations of weights there are, and their time.

With k values for each of N weights there are k^N combinations, and each is a forward pass. The numbers are
exact, whole ones: k^N of 79,510 weights has tens of thousands of digits, and no float holds it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from backpass.errors import UsageError
from backpass.explain.answer import Table
from backpass.rivals.problem import Problem

#: Years since the Big Bang, 13.8e9 (Planck Collaboration, A&A 641 (2020) A6), to two digits.
UNIVERSE_YEARS = 14 * 10**9
_YEAR = 31_557_600  # seconds of a Julian year, 365.25 days
_MEASURED = 0.2  # seconds of forward passes that tell the speed
#: The longest time that is told in each unit, and the seconds of that unit.
_UNITS = (
    (Fraction(1, 10**6), Fraction(1, 10**9), "ns"),
    (Fraction(1, 10**3), Fraction(1, 10**6), "µs"),
    (Fraction(1), Fraction(1, 10**3), "ms"),
    (Fraction(60), Fraction(1), "s"),
    (Fraction(3600), Fraction(60), "min"),
    (Fraction(86_400), Fraction(3600), "hours"),
    (Fraction(_YEAR), Fraction(86_400), "days"),
)


@dataclass(frozen=True)
class Search:
    """Every combination of so many values for each weight, tried one after the other.

    Attributes
    ----------
    values : int
        k, how many values each weight may have.
    weights : int
        N.
    speed : float
        Forward passes a second: combinations that are tried in a second.

    Raises
    ------
    UsageError
        A number that is none of these.

    Examples
    --------
    >>> search = Search(1000, 4, 1e9)
    >>> search.combinations, search.time
    (1000000000000, '16.7 min')
    >>> Search(5, 79_510, 20_000.0).time
    '2.0e55563 years'
    """

    values: int
    weights: int
    speed: float

    def __post_init__(self) -> None:
        for what, number in (("values a weight", self.values), ("weights", self.weights)):
            if type(number) is not int or number < 1:
                raise UsageError(f"{what}: a whole number from 1 up, got {number!r}")
        if not (math.isfinite(self.speed) and self.speed > 0):
            raise UsageError(f"passes a second: a number above 0, got {self.speed!r}")

    @property
    def combinations(self) -> int:
        """k^N, which is also how many forward passes it takes."""
        return int(self.values**self.weights)

    @property
    def seconds(self) -> Fraction:
        """Exactly, for no float holds it."""
        return self.combinations / Fraction(self.speed)

    @property
    def time(self) -> str:
        """How long it takes, in units that people read."""
        return told_time(self.seconds)

    def table_row(self) -> tuple[str, str, str, str]:
        """Values a weight, weights, combinations, time."""
        return f"{self.values:,}", f"{self.weights:,}", told_count(self.combinations), self.time


def told_count(count: int) -> str:
    """A whole number for people: in full up to a billion, then with two digits and a power of ten.

    Examples
    --------
    >>> told_count(1_953_125), told_count(5**17), told_count(1000**79_510)
    ('1,953,125', '7.6e11', '1.0e238530')
    """
    return f"{count:,}" if count <= 10**9 else _powered(Fraction(count))


def told_time(seconds: Fraction | int | float) -> str:
    """A time for people: in the unit in which it is a number that one can imagine, if there is one.

    Examples
    --------
    >>> [told_time(s) for s in (Fraction(1, 1000), 1, 1000, 10**6, 10**9, 10**30)]
    ['1 ms', '1 s', '16.7 min', '11.6 days', '31.7 years', '3.2e22 years']
    """
    exact = Fraction(seconds)
    for below, unit, name in _UNITS:
        if exact < below:
            return _counted(exact / unit, name)
    years = exact / _YEAR
    if years < 1000:
        return _counted(years, "years")
    return f"{round(years):,} years" if years < 10**6 else f"{_powered(years)} years"


def _counted(number: Fraction, unit: str) -> str:
    """Three digits and a unit: "16.7 min", "365 days", "1 hour"."""
    written = f"{float(number):.0f}" if number >= 100 else f"{float(number):.3g}"
    return f"{written} {unit.removesuffix('s') if written == '1' and len(unit) > 3 else unit}"


def _powered(number: Fraction) -> str:
    """Two digits and a power of ten, of a number from 1 up, by whole numbers alone."""
    top, under = number.numerator, number.denominator
    power = max(0, int((top.bit_length() - under.bit_length() - 1) * math.log10(2)) - 1)
    while top >= under * 10 ** (power + 1):
        power += 1
    digits = round(Fraction(top * 10, under * 10**power))  # 10 to 100
    if digits == 100:
        digits, power = 10, power + 1
    return f"{digits // 10}.{digits % 10}e{power}"


def speed_of(problem: Problem) -> float:
    """Forward passes of a batch a second that this machine does of a problem's net, measured now.

    The passes are not paid for: nothing is learned from them.
    """
    rows = problem.batch(0)
    with problem.meter.off():
        problem.cost(problem.start, rows)  # compiled by now
        done, began = 0, time.perf_counter()
        while (spent := time.perf_counter() - began) < _MEASURED:
            problem.cost(problem.start, rows)
            done += 1
    return done / spent


def counter(title: str, searches: Iterable[Search]) -> Table:
    """The searches as a block of an answer.

    Examples
    --------
    >>> for row in counter("k^N", [Search(1000, n, 1e9) for n in (2, 4, 5)]).rows:
    ...     print(*row, sep=" | ")
    1,000 | 2 | 1,000,000 | 1 ms
    1,000 | 4 | 1.0e12 | 16.7 min
    1,000 | 5 | 1.0e15 | 11.6 days
    """
    head = ("values a weight, k", "weights, N", "combinations, k^N", "time")
    return Table(title, head, tuple(search.table_row() for search in searches))


def curse(weights: int, speed: float, values: Iterable[int] = (2, 5, 10, 1000)) -> Table:
    """The counter for a net at hand: all its weights, with few values each and with many.

    Parameters
    ----------
    weights : int
    speed : float
        Forward passes a second, see `speed_of`.
    values : iterable of int
        Values of each weight.
    """
    title = f"every combination of {weights:,} weights, at {speed:,.0f} passes a second"
    return counter(title, [Search(k, weights, speed) for k in values])


def check_it_ends(search: Search, seconds: float) -> None:
    """Refuse a search that cannot end within a time.

    Parameters
    ----------
    search : Search
    seconds : float
        What there is.

    Raises
    ------
    UsageError
        It takes longer; the message has the count, the time, and what can be searched instead.

    Examples
    --------
    >>> check_it_ends(Search(5, 9, 1e5), 60.0)
    >>> check_it_ends(Search(5, 79_510, 1e5), 60.0)
    Traceback (most recent call last):
    ...
    backpass.errors.UsageError: an exhaustive grid of 79,510 weights with 5 values each has 1.3e55575 \
combinations; at 100,000 passes a second that is 4.0e55562 years (the universe is 1.4e10 years old), and \
there is 1 min.
      In that time 5 values are possible for up to 9 weights: leave grid out, or take a smaller net.
    """
    if search.seconds <= Fraction(seconds):
        return
    room = Fraction(seconds) * Fraction(search.speed)
    raise UsageError(
        f"an exhaustive grid of {search.weights:,} weights with {search.values:,} values each has "
        f"{told_count(search.combinations)} combinations; at {search.speed:,.0f} passes a second that is "
        f"{search.time}{_beside_the_universe(search)}, and there is {told_time(seconds)}.\n"
        f"  In that time {search.values:,} values are possible for up to "
        f"{_most_weights(search.values, room):,} weights: leave grid out, or take a smaller net."
    )


def _beside_the_universe(search: Search) -> str:
    older = search.seconds > UNIVERSE_YEARS * _YEAR
    return f" (the universe is {_powered(Fraction(UNIVERSE_YEARS))} years old)" if older else ""


def _most_weights(values: int, passes: Fraction) -> int:
    """The largest N with k^N passes."""
    found, count = 0, values
    while values > 1 and count <= passes:
        found, count = found + 1, count * values
    return found
