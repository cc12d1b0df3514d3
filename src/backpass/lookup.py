"""Rows that a question names: by their number in the data set, by part and place, from a file, or given."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from backpass.data import Dataset, Preparation, as_part, load, prepare
from backpass.data.table import Table
from backpass.errors import UsageError, nearest
from backpass.exec.base import Array
from backpass.record.rows import Rows, for_outputs, kind_of
from backpass.record.settings import Settings

_PART = re.compile(r"(\w+)/(\d+)")


@dataclass(frozen=True)
class Lookup:
    """Finds rows for the questions about a run.

    Parameters
    ----------
    settings : Settings
    preparation : Preparation
    rows : Rows
        The training rows, as they enter the network.
    parts : callable
        Gives (x, t) of each part that can be had, by its name; asked only where a part is named.
    known : Dataset or None
        The data set, where it is at hand; else it is read again, if it has a source.
    """

    settings: Settings
    preparation: Preparation
    rows: Rows
    parts: Callable[[], Mapping[str, tuple[Array, Array]]]
    known: Dataset | None

    @cached_property
    def dataset(self) -> Dataset | None:
        if self.known is None and self.settings.data.source:
            return load(self.settings.data.source, **self.settings.data.options)
        return self.known

    def raw(self, row: Any) -> tuple[Any, str]:
        """One row as the data have it, a Table or an array of shape (1, d), and what to call it.

        Raises
        ------
        UsageError
            There is no such row, or the raw rows were not kept.
        """
        if not isinstance(row, (int, np.integer)):
            if isinstance(row, (np.ndarray, Table)):
                return row[None] if isinstance(row, np.ndarray) and row.ndim == 1 else row, "the row"
            from backpass.data.frames import as_table

            return as_table(row, "the row"), "the row"
        data = self.dataset
        if data is None:
            raise UsageError(
                "the raw rows of this run came from memory and are not kept; give the row itself, or load "
                "the run with its data: backpass.load(path, data=(X, y))"
            )
        self._check(int(row), len(data))
        if data.table is not None:
            return data.table.take(np.array([row])), f"row {row:,}"
        return (data.X[[row]].toarray() if data.sparse else data.X[[row]]), f"row {row:,}"

    def entered(self, given: Any) -> tuple[Array, Array, str]:
        """Rows with their targets, as they enter the network, and what to call them.

        Parameters
        ----------
        given : int, "test/3", path, or (X, y)
            A number is that of a row in the data set; after the name of a part, the place in that part,
            counted from 0. A file, like rows from memory, has the columns of the data and their target.

        Raises
        ------
        UsageError
            There is no such row or part.
        DataError
            The file has other columns.
        """
        if isinstance(given, (int, np.integer)):
            return self._numbered(int(given))
        if isinstance(given, str) and (match := _PART.fullmatch(given)) and not os.path.exists(given):
            parts = self.parts()
            if match[1] not in parts:
                raise UsageError(f"there is no part {match[1]!r}. {nearest(match[1], parts)}")
            x, t = parts[match[1]]
            place = int(match[2])
            self._check(place, len(x), f"the {match[1]} part has")
            return x[place : place + 1], t[place : place + 1], given
        if self.dataset is None:
            raise UsageError("give the number of a training row: the data of this run are not at hand")
        part = as_part(self.dataset, given, "test")
        what = os.fspath(given) if isinstance(given, (str, os.PathLike)) else "the rows given"
        return *self._prepared(part, np.arange(len(part))), what

    def _numbered(self, row: int) -> tuple[Array, Array, str]:
        place = np.flatnonzero(self.rows.numbers == row)
        if len(place):
            k = int(place[0])
            x, t = (self.rows.arrays[name][k : k + 1] for name in ("x", "t"))
            return x, t, f"row {row:,}, a training row"
        if self.dataset is None:
            raise UsageError(f"row {row:,} is no training row, and the data of this run are not at hand")
        self._check(row, len(self.dataset))
        return *self._prepared(self.dataset, np.array([row])), f"row {row:,}"

    def _prepared(self, data: Dataset, rows: Any) -> tuple[Array, Array]:
        kind = kind_of(self.settings.dtype)
        x, t = prepare(data, {"asked": rows}, kind, preparation=self.preparation)[1]["asked"]
        return x, for_outputs(t, self.settings.data.outputs, self.preparation)

    def _check(self, row: int, count: int, what: str = "the data have") -> None:
        if not 0 <= row < count:
            raise UsageError(f"there is no row {row:,}: {what} rows 0 to {count - 1:,}")
