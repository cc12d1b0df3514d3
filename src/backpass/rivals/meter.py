"""What a method has spent: counted work, told in passes."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Spent(Exception):
    """A method may not run its next program: its budget does not allow for it."""


class Meter:
    """Adds up the work of the programs that a method runs.

    The work is that of `passes.work`: floating-point operations, counted from the types of the program.
    What a method calculates besides, with vectors of N numbers (drawing a direction, adding an update), is
    not counted, for none of them.

    Parameters
    ----------
    one : int
        The work of one forward pass over a whole batch: the unit.

    Attributes
    ----------
    limit : float
        `flops` never exceed it: the program that would make them is refused (`Spent`).
    deadline : float
        No program begins after it, by `time.perf_counter`.
    """

    def __init__(self, one: int) -> None:
        self.one, self.flops = one, 0
        self.runs: Counter[str] = Counter()  #: how often each program ran
        self.limit = self.deadline = math.inf
        self._counts = True

    @property
    def passes(self) -> float:
        """Forward-pass equivalents."""
        return self.flops / self.one

    def add(self, program: str, flops: int) -> None:
        """Pay for a program before it runs."""
        if self._counts:
            if self.flops + flops > self.limit or time.perf_counter() > self.deadline:
                raise Spent
            self.flops += flops
            self.runs[program] += 1

    @contextmanager
    def off(self) -> Iterator[None]:
        """What is run within is not the method's doing: it is looked at from outside."""
        before, self._counts = self._counts, False
        try:
            yield
        finally:
            self._counts = before
