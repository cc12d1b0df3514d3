"""How long it takes to read a table, against DuckDB's own scan of the same file to NumPy arrays.

    python benchmarks/reading.py [rows]

Two files of a million rows and 20 columns: numbers alone, and a mix of 14 columns of numbers (two with
holes), 4 of words, one of dates and one of yes and no. Each is read in turn by `backpass.data.read_table` and
by DuckDB (``read_csv`` with its own detection of kinds, ``fetchnumpy``), both with all cores, five rounds
after one that does not count; the figure is the ratio of a round's two times. DuckDB gives the columns as it
found them; backpass also tells holes from words, refuses what fits no kind, and gives each word once.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from backpass.data.tables import read_table

ROWS, COLUMNS, ROUNDS = 1_000_000, 20, 5


def write(path: Path, rows: int, mixed: bool) -> None:
    """A file of 20 columns, written by DuckDB from hashed row numbers."""
    import duckdb

    def drawn(k: int) -> str:
        return f"(hash(i * 31 + {k}) / 18446744073709551615.0)"

    columns = [f"round({drawn(k)} * 1000 - 500, 6) as n{k}" for k in range(14 if mixed else COLUMNS)]
    if mixed:
        for k in (0, 1):
            columns[k] = (
                f"case when {drawn(40 + k)} < 0.05 then null else {columns[k].split(' as ')[0]} end as n{k}"
            )
        columns += [
            f"'word ' || floor({drawn(50 + k)} * {size})::int as w{k}"
            for k, size in enumerate((3, 12, 40, 400))
        ]
        columns += ["strftime(date '2015-01-01' + (i % 3000)::int, '%Y-%m-%d') as day"]
        columns += [f"case when {drawn(60)} < 0.5 then 'true' else 'false' end as flag"]
    query = f"select {', '.join(columns)} from range({rows}) r(i) order by i"
    duckdb.connect().execute(f"copy ({query}) to '{path}' (header)")


def by_duckdb(path: Path) -> dict[str, Any]:
    import duckdb

    con = duckdb.connect(config={"threads": str(len(os.sched_getaffinity(0)))})
    found: dict[str, Any] = con.sql(f"select * from read_csv('{path}')").fetchnumpy()
    con.close()
    return found


def by_backpass(path: Path) -> dict[str, Any]:
    table = read_table(path, memory="8GB")
    return {name: table[name] for name in table.names}


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Whether both gave the same numbers."""
    numbers = [name for name in ours if ours[name].dtype.kind == "f"]
    filled = {name: np.ma.filled(np.ma.asarray(theirs[name], dtype=float), np.nan) for name in numbers}
    return list(ours) == list(theirs) and all(
        np.array_equal(ours[name], filled[name], equal_nan=True) for name in numbers
    )


def timed(read: Callable[[Path], Any], path: Path) -> float:
    began = time.perf_counter()
    read(path)
    return time.perf_counter() - began


def main(rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for mixed in (False, True):
            path = Path(folder) / "t.csv"
            write(path, rows, mixed)
            if not same(by_backpass(path), by_duckdb(path)):  # the round that does not count
                sys.exit("backpass and DuckDB read different numbers")
            ours, theirs = [], []
            for round_ in range(ROUNDS):
                pair = [(by_backpass, ours), (by_duckdb, theirs)]
                for read, times in pair if round_ % 2 else reversed(pair):
                    times.append(timed(read, path))
            ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
            print(
                f"{'mixed  ' if mixed else 'numbers'} {rows:,} x {COLUMNS}, "
                f"{path.stat().st_size / 1e6:,.0f} MB: "
                f"backpass {statistics.median(ours):.2f} s, DuckDB {statistics.median(theirs):.2f} s; "
                f"ratio {statistics.median(ratios):.2f} (each round: {', '.join(f'{r:.2f}' for r in ratios)})"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
