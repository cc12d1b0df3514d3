"""Numbers of rows as people write them: ``17,40-60``."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backpass.errors import UsageError

Span = tuple[int, int]  #: the first and the last


def spans(written: str) -> list[Span]:
    """The stretches of a text such as ``17,40-60``.

    Raises
    ------
    UsageError
        It is not written like that.

    Examples
    --------
    >>> spans("17, 40-60")
    [(17, 17), (40, 60)]
    """
    found = []
    for word in written.split(",") if written.strip() else []:
        match = re.fullmatch(r"\s*([0-9]{1,18})\s*(?:-\s*([0-9]{1,18})\s*)?", word)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise UsageError(
                f"{word.strip()!r} is neither the number of a row nor a stretch of them.\n"
                "  Write numbers and stretches with commas between them, as in 17,40-60."
            )
        found.append((first, last))
    return found


def numbers_in(written: str, count: int) -> NDArray[np.int64]:
    """The numbers below `count` of a text such as ``17,40-60``, in order; nothing larger is ever made.

    Examples
    --------
    >>> numbers_in("3-5,0,5-99", 8).tolist()
    [0, 3, 4, 5, 6, 7]
    """
    chosen = np.zeros(count, bool)
    for first, last in spans(written):
        chosen[first : last + 1] = True
    return np.flatnonzero(chosen).astype(np.int64)


def as_text(numbers: ArrayLike) -> str:
    """Numbers as a text such as ``17,40-60``.

    Examples
    --------
    >>> as_text([41, 17, 40, 42, 17])
    '17,40-42'
    """
    sorted_ = np.unique(np.asarray(numbers, np.int64))
    if not len(sorted_):
        return ""
    starts = np.flatnonzero(np.diff(sorted_, prepend=sorted_[0] - 2) != 1)
    ends = np.append(starts[1:], len(sorted_)) - 1
    pairs = zip(sorted_[starts].tolist(), sorted_[ends].tolist(), strict=True)
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in pairs)
