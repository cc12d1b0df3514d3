"""A table that is larger than the memory budget: it stays on disk, and is gone through in blocks."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backpass.data import cache, scan
from backpass.data.scan import Reading, Relation
from backpass.data.sniff import HOLES
from backpass.data.table import BLOCK, Array, Table
from backpass.errors import DataError

_FILE = "table.duckdb"
_BYTES = 64  # of one value in a block, with what it takes on its way through DuckDB and Python


class StoredTable(Table):
    """A `Table` in a file of the cache folder.

    Everything that a Table does it does as well; `blocks` and `take` read what they need, ``table[name]`` one
    column.

    Attributes
    ----------
    folder : Path
        The entry in the cache.
    key : str
        Its name there.
    budget : int
        Bytes.
    """

    def __init__(
        self,
        folder: Path,
        key: str,
        readings: dict[str, Reading],
        places: dict[str, int],
        rows: int,
        budget: int,
        holes: Sequence[str] = HOLES,
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__({}, notes=notes)
        self.folder, self.key, self.budget = folder, key, budget
        self._readings, self._places, self._rows, self._holes = readings, places, rows, tuple(holes)
        self.kinds = {name: readings[name][0] for name in places}
        self._con: Any = None
        self._pid = 0

    @property
    def in_memory(self) -> bool:
        return False

    @property
    def block(self) -> int:
        """Rows of a block that a sixteenth of the budget holds."""
        fits = self.budget // (16 * _BYTES * max(len(self._places), 1))
        return int(min(max(fits, 1024), BLOCK))

    def _connection(self) -> Any:
        if self._con is None or self._pid != os.getpid():  # a connection does not survive a fork
            self._con = scan.connect(self.budget // 4, self.folder, str(self.folder / _FILE), read_only=True)
            self._pid = os.getpid()
            weakref.finalize(self, self._con.close)
        return self._con

    def _query(self, names: Sequence[str], condition: str) -> dict[str, Array]:
        parts = ", ".join(f"c{self._places[name]}" for name in names)
        got = self._connection().sql(f"select {parts} from held {condition}").fetchnumpy()
        columns = {}
        for name in names:
            values = scan.finished(got.pop(f"c{self._places[name]}"), self._readings[name], self._holes)
            columns[name] = values.astype(bool) if values.dtype == "u1" else values
        return columns

    def _read(self, name: str) -> Array:
        column: Array | None = None
        same: dict[str, str] = {}  # each word once, also over the blocks
        for start, block in self.select([name]).blocks():
            values = block[name]
            if column is None:
                column = np.empty(len(self), values.dtype)
            if self.kinds[name] == "text":
                values[:] = [word if word is None else same.setdefault(word, word) for word in values]
            column[start : start + len(values)] = values
        assert column is not None  # a table without rows is refused when it is read
        return column

    def rest(self) -> None:
        """Give back what DuckDB holds of the file; it is opened again when it is needed."""
        if self._con is not None and self._pid == os.getpid():
            self._con.close()
        self._con = None

    def select(self, names: Sequence[str]) -> Table:
        self._known(names)
        places = {name: self._places[name] for name in names}
        table = StoredTable(
            self.folder, self.key, self._readings, places, self._rows, self.budget, self._holes, self.notes
        )
        table.source, table.stamp = self.source, self.stamp
        return table

    def take(self, rows: Any) -> Table:
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                # In order without saying so, by `preserve_insertion_order`: sorting takes as long again.
                between = f"where rowid >= {start} and rowid < {stop}"
                return Table(self._query(self.names, between), notes=self.notes)
            rows = np.arange(start, stop, step)
        rows = np.asarray(rows)
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        rows = np.where(rows < 0, rows + len(self), rows)
        order = np.argsort(rows, kind="stable")
        pieces: dict[str, list[Array]] = {name: [] for name in self.names}
        at = 0
        while at < len(rows):  # only the blocks in which there are rows
            start = int(rows[order[at]])
            end = int(np.searchsorted(rows[order], start + self.block))
            block = self.take(slice(start, start + self.block))
            for name in self.names:
                pieces[name].append(block[name][rows[order[at:end]] - start])
            at = end
        back = np.empty(len(rows), dtype=np.int64)
        back[order] = np.arange(len(rows))
        empty = {name: self.take(slice(0, 0))[name] for name in self.names} if not len(rows) else {}
        columns = {name: np.concatenate(pieces[name])[back] for name in self.names} if len(rows) else empty
        return Table(columns, notes=self.notes)

    def blocks(self, size: int = BLOCK) -> Iterator[tuple[int, Table]]:
        size = min(size, self.block)
        for start in range(0, len(self), size):
            yield start, self.take(slice(start, start + size))


def store(
    con: Any,
    relation: Relation,
    readings: dict[str, Reading],
    settings: dict[str, Any],
    budget: int,
    notes: tuple[str, ...],
) -> StoredTable:
    """Bring a relation to a file in the cache folder, or find it there.

    Raises
    ------
    DataError
        As `read_table`.
    StorageError
        No place, or no permission, in the cache folder.
    """
    key = cache.key_of(settings)
    there = cache.found(key)
    if there is None:
        with cache.making(key, str(relation.path)) as (work, made):
            count, readings = _written(con, relation, dict(readings), work)
            notes = notes + scan.said(relation, readings)
            made.update(
                rows=count, readings={n: list(r) for n, r in readings.items()}, notes=list(notes),
                stamp=list(settings["stamp"]),
            )  # fmt: skip
        there = cache.found(key)
        if there is None:
            raise DataError(f"the entry for {relation.path} in the cache folder was removed meanwhile.")
    folder, made = there
    kept: dict[str, Reading] = {name: (r[0], r[1]) for name, r in made["readings"].items()}
    places = {name: at for at, name in enumerate(relation.names)}
    return StoredTable(folder, key, kept, places, made["rows"], budget, relation.holes, made["notes"])


def _written(
    con: Any, relation: Relation, readings: dict[str, Reading], work: Path
) -> tuple[int, dict[str, Reading]]:
    """Write the columns in one scan, count what does not fit; again if a column is of another kind."""
    con.execute(f"attach {scan.quoted(str(work / _FILE))} as kept")
    while True:
        parts = [
            f"{scan.expression(relation, at, readings[name])} as c{at}"
            for at, name in enumerate(relation.names)
        ]
        with scan.explained(relation):
            con.execute(f"create or replace table kept.held as select {', '.join(parts)} from {relation.sql}")
        changed = False
        tests = {
            "number": "isinf(c{0})",
            "date": "c{0} = timestamp '9999-12-31 23:59:58'",
            "bool": "c{0} = 3",
        }
        for at, name in enumerate(relation.names):
            kind = readings[name][0]
            if kind == "text":
                query = f"select min(rowid) from kept.held where contains(c{at}, chr(0))"
                if (row := con.execute(query).fetchall()[0][0]) is not None:
                    raise scan.nul_in(name, row, relation.path)
                continue
            test = tests[kind].format(at)
            whole = {"number": f"not isnan(c{at})", "date": f"c{at} is not null", "bool": f"c{at} <> 2"}[kind]
            bad, full, row, holes = con.execute(
                f"select count(*) filter ({test}), count(*) filter ({whole}), min(rowid) filter ({test}), "
                f"count(*) filter (not ({whole})) from kept.held"
            ).fetchall()[0]
            if bad:
                readings[name] = scan.settle(con, relation, at, readings[name], bad, full, row)
                changed = True
            elif kind == "bool" and holes:
                readings[name] = "text", ""
                changed = True
        if not changed:
            break
    count = con.execute("select count(*) from kept.held").fetchall()[0][0]
    con.execute("detach kept")
    return int(count), readings
