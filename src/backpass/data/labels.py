"""`Labels`: the words of a target column too long for memory, as the number of each row's class."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backpass.data.table import BLOCK, Table
from backpass.errors import DataError

Array = NDArray[Any]


class Labels:
    """An array of words, shape (n,), of which one byte a row is kept (more for more than 256 classes).

    What is read from it (``labels[rows]``) is the array that it stands for.

    Attributes
    ----------
    classes : tuple of str
        Sorted.
    places : ndarray of unsigned int, shape (n,)
        The place of each row's label in `classes`.
    """

    ndim = 1

    def __init__(self, classes: tuple[str, ...], places: Array) -> None:
        self.classes, self.places = classes, places
        self._words = np.array(classes)
        self.dtype, self.shape = self._words.dtype, places.shape

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: Any) -> Array:
        found: Array = self._words[self.places[rows]]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self[:] if dtype is None else self[:].astype(dtype)

    def blocks(self) -> Iterator[Array]:
        """The words, a block of rows at a time."""
        for start in range(0, len(self), BLOCK):
            yield self[start : start + BLOCK]


class _Numbers(dict[Any, int]):
    """A number for each word, in the order in which they come."""

    def __missing__(self, word: Any) -> int:
        self[word] = len(self)
        return self[word]


def labels_in(table: Table, column: str, what: str, many: int) -> Labels:
    """The labels in a column of words of a table on disk.

    Parameters
    ----------
    table : Table
    column : str
    what : str
        What to call it in an error.
    many : int
        More classes than these are warned of, where they are more than half of the rows.

    Raises
    ------
    DataError
        A row without a label.
    """
    number = _Numbers()
    places = np.empty(len(table), np.uint8)
    holes: list[int] = []
    for start, block in table.select([column]).blocks():
        words = block[column].tolist()
        here = np.fromiter(map(number.__getitem__, words), np.int64, len(words))
        if None in number:
            holes += (start + np.flatnonzero(here == number[None])).tolist()
        kind = np.min_scalar_type(max(len(number) - 1, 0))
        if kind.itemsize > places.itemsize:
            places = places.astype(kind)
        places[start : start + len(here)] = here
    if holes:
        shown = ", ".join(map(str, holes[:5])) + (", ..." if len(holes) > 5 else "")
        raise DataError(
            f"{what} is missing in {len(holes)} row{'s' if len(holes) > 1 else ''}: {shown} (counted from "
            "0).\n  Find those labels, or drop the rows from both arrays."
        )
    classes = tuple(sorted(number))
    if len(classes) > many and 2 * len(classes) > len(table):
        warnings.warn(
            f"{what} holds {len(classes)} different labels in {len(table)} rows, taken as so many classes. "
            "If it is a quantity, give task='regression'.",
            stacklevel=4,
        )
    turned = np.empty(len(classes), places.dtype)
    turned[[number[word] for word in classes]] = np.arange(len(classes))
    for start in range(0, len(places), BLOCK):
        places[start : start + BLOCK] = turned[places[start : start + BLOCK]]
    return Labels(classes, places)
