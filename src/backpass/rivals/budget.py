"""What each method may spend: passes, which all machines count alike, or seconds of this machine."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from backpass.errors import UsageError

_WRITTEN = re.compile(r"\s*([0-9][0-9_,]*\.?[0-9]*(?:e[+-]?[0-9]+)?)\s*([a-z]*)\s*", re.IGNORECASE)
_SECONDS = {"s": 1, "sec": 1, "second": 1, "seconds": 1, "m": 60, "min": 60, "minute": 60, "minutes": 60}
_PASSES = ("", "pass", "passes")
#: The first look at the cost, in each unit, and how many follow for ten times as much.
_FIRST, _A_DECADE = {"passes": 1.0, "seconds": 1e-3}, 20


@dataclass(frozen=True)
class Budget:
    """What a method may spend.

    Attributes
    ----------
    amount : float
    unit : {"passes", "seconds"}

    Raises
    ------
    UsageError
        It is not above zero.
    """

    amount: float
    unit: Literal["passes", "seconds"] = "passes"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.amount) and self.amount > 0):
            raise UsageError(
                f"a budget of {self.amount:g} {self.unit} buys nothing: a race needs one above zero, "
                "such as 60s or 20000 passes."
            )

    def share(self, parts: int) -> Budget:
        """An equal part."""
        return Budget(self.amount / parts, self.unit)

    def looks(self) -> Iterator[float]:
        """After how much the cost is looked at: evenly on a logarithmic axis, and at the end."""
        k = 0
        while (level := _FIRST[self.unit] * 10 ** (k / _A_DECADE)) < self.amount * 0.999:
            yield level
            k += 1
        yield self.amount

    def __str__(self) -> str:
        if self.unit == "seconds":
            return f"{self.amount:.3g} s"
        return f"{self.amount:,.0f} passes" if self.amount >= 10 else f"{self.amount:.3g} passes"


def budget(text: str) -> Budget:
    """A budget as it is typed.

    Raises
    ------
    UsageError
        It is none.

    Examples
    --------
    >>> [str(budget(text)) for text in ("60s", "2 min", "20000", "20,000 passes")]
    ['60 s', '120 s', '20,000 passes', '20,000 passes']
    """
    found = _WRITTEN.fullmatch(text)
    if found is not None:
        amount, unit = float(found[1].replace(",", "").replace("_", "")), found[2].lower()
        if unit in _SECONDS:
            return Budget(amount * _SECONDS[unit], "seconds")
        if unit in _PASSES:
            return Budget(amount, "passes")
    raise UsageError(
        f"{text!r} is no budget. Give seconds or passes for each method: 60s, 2min, 20000, '20000 passes'."
    )
