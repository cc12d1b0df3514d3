"""Arrays that lie in files: read piece by piece, so that the pages read do not pile up in memory.

The pages of a memory-mapped file count as memory of the process for as long as they are mapped. Whoever goes
through such an array says when it is done with what it has read (`release`); the pages then belong to the
system's cache alone, which gives them up when memory is short. All of this takes arrays in memory as well.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Index = NDArray[np.int64]

#: Bytes of a file that are mapped at a time.
WINDOW = 32 * 2**20


def in_file(array: Array) -> bool:
    """Whether an array lies in a file."""
    return isinstance(array, np.memmap)


def release(array: Array) -> None:
    """Forget the pages of a file that were read so far; they are read again when they are needed."""
    pages = getattr(array, "_mmap", None)
    if pages is not None and hasattr(mmap, "MADV_DONTNEED") and not array.flags.writeable:
        pages.madvise(mmap.MADV_DONTNEED)


def blocks(array: Array, size: int) -> Iterator[tuple[int, Array]]:
    """The rows in order, `size` at a time: (number of the first row, rows). Each is valid until the next."""
    row = max(1, array.nbytes // max(len(array), 1))
    since = 0
    for start in range(0, len(array), size):
        part = array[start : start + size]
        yield start, part
        since += len(part) * row
        if in_file(array) and (since >= WINDOW or start + size >= len(array)):
            release(array)
            since = 0


def take(array: Array, rows: Index, out: Array | None = None) -> Array:
    """Some of the rows in memory, in the order asked for. A file is gone through once, from front to back.

    Parameters
    ----------
    array : ndarray, shape (n, ...)
    rows : ndarray of int64
    out : ndarray, optional
        Where they go.

    Examples
    --------
    >>> take(np.array([[0.0], [1.0], [2.0]]), np.array([2, 0]))
    array([[2.],
           [0.]])
    """
    rows = np.asarray(rows)
    if out is None:
        out = np.empty((len(rows), *array.shape[1:]), array.dtype)
    if not in_file(array):
        out[...] = array[rows]
        return out
    order: Index | None = None if len(rows) < 2 or (rows[1:] >= rows[:-1]).all() else np.argsort(rows)
    ordered = rows if order is None else rows[order]
    window = max(1, WINDOW // max(1, array.nbytes // max(len(array), 1)))  # rows
    plain = array.view(np.ndarray)
    at = 0
    while at < len(ordered):
        end = int(np.searchsorted(ordered, ordered[at] + window))
        if order is None:
            out[at:end] = plain[ordered[at:end]]
        else:
            out[order[at:end]] = plain[ordered[at:end]]
        release(array)
        at = end
    return out


def some(array: Array, most: int, seed: int) -> Index | None:
    """The numbers of `most` rows of an array in a file, drawn by the seed; None for all of them.

    An array in memory is small enough to look at whole.
    """
    if not in_file(array) or len(array) <= most:
        return None
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0x5C0]))
    return np.sort(rng.choice(len(array), most, replace=False, shuffle=False).astype(np.int64, copy=False))
