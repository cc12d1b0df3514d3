"""What a recipe gives back, and what it tells while it runs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from backpass.explain.answer import Block
from backpass.pictures.curves import Panel


class Told(Protocol):
    """Takes in how far a recipe is, about twenty times a second at most."""

    def __call__(self, share: float, words: str) -> None:
        """`share` from 0 to 1; `words` such as "seed 2 of 5, epoch 7"."""


@dataclass(frozen=True)
class Ours:
    """A figure as it came out here, once or over several seeds; a truth value is 1 or 0."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float:
        """The sample standard deviation; 0 of a single value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0


def ours(*values: float) -> Ours:
    """A figure of one value, or of several seeds.

    Examples
    --------
    >>> ours(1.0, 3.0).mean
    2.0
    """
    return Ours(tuple(float(v) for v in values))


@dataclass(frozen=True)
class Measured:
    """What came out of a recipe.

    Attributes
    ----------
    figures : mapping of str to Ours
        By the keys of the published figures; each of these must be there.
    panels : tuple of Panel
        Curves: those of `part` "published" and "ours", and thin ones, "seed", for a fan of runs.
    blocks : tuple of Block
        What else is to be shown: tables, pictures, equations.
    notes : tuple of str
        Sentences on what came out.
    """

    figures: Mapping[str, Ours]
    panels: tuple[Panel, ...] = ()
    blocks: tuple[Block, ...] = ()
    notes: tuple[str, ...] = field(default=())
