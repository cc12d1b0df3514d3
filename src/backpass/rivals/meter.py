"""What a method has spent: counted work, told in passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Meter:
    """Adds up the work of the programs that a method runs.

    The work is that of `passes.work`: floating-point operations, counted from the types of the program.
    What a method calculates besides, with vectors of N numbers (drawing a direction, adding an update), is
    not counted, for none of them.

    Parameters
    ----------
    one : int
        The work of one forward pass over a whole batch: the unit.
    """

    def __init__(self, one: int) -> None:
        self.one, self.flops = one, 0
        self.runs: Counter[str] = Counter()  #: how often each program ran
        self._counts = True

    @property
    def passes(self) -> float:
        """Forward-pass equivalents."""
        return self.flops / self.one

    def add(self, program: str, flops: int) -> None:
        if self._counts:
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
