"""`prepare`: raw rows become the arrays that training reads, in memory or, beyond the budget, in files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from backpass.data import cache
from backpass.data.budget import memory_budget
from backpass.data.dataset import Array, Dataset
from backpass.data.preparation import Index, Preparation, Unknown, fit_preparation
from backpass.data.stored import StoredTable
from backpass.errors import StorageError

Part = tuple[Array, Array]


def prepare(
    data: Dataset,
    parts: Mapping[str, Index],
    dtype: DTypeLike = np.float32,
    *,
    preparation: Preparation | None = None,
    memory: int | str | None = None,
) -> tuple[Preparation, dict[str, Part]]:
    """Fit on the training rows, and make of each part what enters the net.

    Parameters
    ----------
    data : Dataset
    parts : mapping of name to int array
        Row numbers; "train" is what the preparation is fitted on. An empty part is left out.
    dtype : float32 or float64
    preparation : Preparation, optional
        One that is fitted already, for instance by the run that is repeated.
    memory : int or str, optional
        See `memory_budget`.

    Returns
    -------
    preparation : Preparation
    arrays : dict of name to (x, t)
        x of shape (n, d), t of shape (n, k), rows in the order of the part. Arrays in memory; read-only
        memory-mapped files in the cache folder if the table is on disk, or all x and t together are over the
        budget. The files are used again for the same data, parts and preparation.

    Raises
    ------
    DataError
    StorageError
        The disk is full.

    Examples
    --------
    >>> from backpass.data import from_arrays
    >>> data = from_arrays([[1.0], [2.0], [3.0]], [0, 1, 0])
    >>> preparation, arrays = prepare(data, {"train": np.array([0, 1]), "test": np.array([2])})
    >>> arrays["test"]
    (array([[3.]], dtype=float32), array([[1., 0.]], dtype=float32))
    """
    fitted = preparation or fit_preparation(data, parts["train"])
    parts = {name: np.asarray(rows) for name, rows in parts.items() if len(rows)}
    table = data.table
    width = (len(fitted.columns) + fitted.outputs) * np.dtype(dtype).itemsize
    size = sum(len(rows) for rows in parts.values()) * width
    if table is None or (table.in_memory and size <= memory_budget(memory)):
        return fitted, {
            name: (fitted.inputs(data, dtype, rows), fitted.targets(data, dtype, rows))
            for name, rows in parts.items()
        }
    identity = table.key if isinstance(table, StoredTable) else table.fingerprint()
    keys = {
        name: cache.key_of(
            [identity, fitted.describe(), hashlib.sha256(_bytes(rows)).hexdigest(), np.dtype(dtype).str]
        )
        for name, rows in parts.items()
    }
    wanted = {name: key for name, key in keys.items() if cache.found(key) is None}
    with ExitStack() as stack:  # one go through the table for all parts that are not there
        folders = {}
        for name, key in wanted.items():
            folders[name], made = stack.enter_context(cache.making(key, table.source))
            made["stamp"] = list(table.stamp) if table.stamp else None
        if folders:
            _write(fitted, data, {name: parts[name] for name in folders}, np.dtype(dtype), folders)
    if isinstance(table, StoredTable):
        table.rest()
    return fitted, {name: (_mapped(key, "x"), _mapped(key, "t")) for name, key in keys.items()}


def _bytes(rows: Index) -> memoryview:
    """The row numbers as they are hashed."""
    return np.ascontiguousarray(rows, dtype="<i8").data


def _mapped(key: str, which: str) -> Array:
    there = cache.found(key)
    if there is None:
        raise StorageError("the prepared rows in the cache folder were removed meanwhile: try again.")
    array: Array = np.load(there[0] / f"{which}.npy", mmap_mode="r", allow_pickle=False)
    return array


class _File:
    """A part's rows of x or t on their way to a file, in order or not."""

    def __init__(self, path: Path, dtype: np.dtype[Any], shape: tuple[int, int]) -> None:
        self.array = np.lib.format.open_memmap(path, "w+", dtype, shape)
        self.start, self.row = self.array.offset, dtype.itemsize * shape[1]
        self.file = open(path, "r+b")  # noqa: SIM115

    def put(self, places: Index, rows: Array) -> None:
        """Write rows to their places. What goes through the file is not counted as memory of this process."""
        if np.array_equal(places, np.arange(places[0], places[0] + len(places))):
            self.file.seek(self.start + int(places[0]) * self.row)
            self.file.write(np.ascontiguousarray(rows).data)
        else:
            self.array[places] = rows

    def close(self) -> None:
        self.file.close()
        del self.array


def _write(
    fitted: Preparation,
    data: Dataset,
    parts: Mapping[str, Index],
    dtype: np.dtype[Any],
    folders: Mapping[str, Path],
) -> None:
    """Go through the table once, and write each part's rows to its files."""
    targets: list[tuple[Index, Index | None, _File, _File]] = []
    for name, rows in parts.items():
        order = None if (rows[1:] > rows[:-1]).all() else np.argsort(rows, kind="stable")
        x = _File(folders[name] / "x.npy", dtype, (len(rows), len(fitted.columns)))
        t = _File(folders[name] / "t.npy", dtype, (len(rows), fitted.outputs))
        targets.append((rows if order is None else rows[order], order, x, t))
    unknown = Unknown()
    table = data.X.select(fitted.features)
    try:
        for start, block in table.blocks():
            whole = np.empty((len(block), len(fitted.columns)), dtype=dtype)
            fitted.fill(block, whole, unknown)
            for rows, order, x, t in targets:
                first, last = np.searchsorted(rows, [start, start + len(block)])
                if first < last:
                    here = rows[first:last]
                    places = np.arange(first, last) if order is None else order[first:last]
                    x.put(places, whole[here - start])
                    t.put(places, fitted.targets(data, dtype, here))
    finally:
        for _, _, x, t in targets:
            x.close()
            t.close()
    unknown.warn()
