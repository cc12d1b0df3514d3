"""`prepare`: raw rows become the arrays that training reads, in memory or, beyond the budget, in files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
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
    digests = {name: hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest() for name, rows in parts.items()}
    key = cache.key_of([identity, fitted.describe(), digests, np.dtype(dtype).str])
    there = cache.found(key)
    if there is None:
        with cache.making(key, table.source) as (work, made):
            made["stamp"] = list(table.stamp) if table.stamp else None
            _write(fitted, data, parts, np.dtype(dtype), work)
        there = cache.found(key)
        if there is None:
            raise StorageError("the prepared rows in the cache folder were removed meanwhile: try again.")
    return fitted, {name: (_mapped(there[0], name, "x"), _mapped(there[0], name, "t")) for name in parts}


def _mapped(folder: Path, part: str, which: str) -> Array:
    array: Array = np.load(folder / f"{part}.{which}.npy", mmap_mode="r", allow_pickle=False)
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
    fitted: Preparation, data: Dataset, parts: Mapping[str, Index], dtype: np.dtype[Any], work: Path
) -> None:
    """Go through the table once, and write each part's rows to its files."""
    targets: dict[str, tuple[Index, Index, _File, _File]] = {}
    for name, rows in parts.items():
        order = np.argsort(rows, kind="stable")
        x = _File(work / f"{name}.x.npy", dtype, (len(rows), len(fitted.columns)))
        t = _File(work / f"{name}.t.npy", dtype, (len(rows), fitted.outputs))
        targets[name] = rows[order], order, x, t
    unknown = Unknown()
    table = data.X.select(fitted.features)
    try:
        for start, block in table.blocks():
            whole = np.empty((len(block), len(fitted.columns)), dtype=dtype)
            fitted.fill(block, whole, unknown)
            for rows, order, x, t in targets.values():
                first, last = np.searchsorted(rows, [start, start + len(block)])
                if first < last:
                    here = rows[first:last]
                    x.put(order[first:last], whole[here - start])
                    t.put(order[first:last], fitted.targets(data, dtype, here))
    finally:
        for _, _, x, t in targets.values():
            x.close()
            t.close()
    unknown.warn()
