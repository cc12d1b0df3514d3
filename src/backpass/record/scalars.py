"""``record.sqlite``: the numbers of a run by step, in blocks; every size is checked when they are read.

===========  ==============================================================================================
table        holds
===========  ==============================================================================================
``costs``    the cost of each step, up to 4,096 a row, as bytes
``hashes``   the hash of the carried values after some steps; that of a checkpoint stays when it is gone
``monitors`` the looks of `monitors`, a row a column: its name and its numbers, as bytes; 64 looks a block
===========  ==============================================================================================

Numbers are little-endian bytes: a REAL column of SQLite would turn NaN into NULL. Everything goes through the
write-ahead log, so that a kill leaves what was written before.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backpass.errors import StorageError
from backpass.record.monitors import Monitors

_BLOCK = 4096
_LOOKS = 64
_TABLES = {
    "costs": "first INTEGER PRIMARY KEY, count INTEGER, cost BLOB",
    "hashes": "step INTEGER PRIMARY KEY, hash TEXT",
    "monitors": "block INTEGER, name TEXT, count INTEGER, value BLOB, PRIMARY KEY (block, name)",
}
_STEPS = ""  # the column of the steps: no value is called that
_MAX_VALUE = 64_000_000  # bytes of a value that a file may ask for
_MAX_WORK = 100_000_000  # instructions of SQLite for one question; a view could ask for any number


class Scalars:
    """The file, open for writing.

    Parameters
    ----------
    path : Path
        Made anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._costs = 0  # steps whose costs are on the disk
        self._hashes: set[int] = set()
        self._looks = 0
        with self._disk():
            self._open()
            for table, columns in _TABLES.items():
                self._database.execute(f"CREATE TABLE {table} ({columns})")
            self._database.commit()

    @classmethod
    def again(
        cls, path: Path, costs: list[NDArray[np.float64]], hashes: Mapping[int, str], looks: Monitors
    ) -> Scalars:
        """The file of a run that goes on, with just what is given: made beside the old one, in whose place it
        comes. Nothing that the old file holds, such as a trigger, takes part in that."""
        beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        made = cls(beside)
        made.write(costs, hashes, looks, final=True)
        made.close()
        with made._disk():
            _fold(path)
            for ending in ("-wal", "-shm"):
                path.with_name(path.name + ending).unlink(missing_ok=True)
            os.replace(beside, path)
            made.path = path
            made._open()
        return made

    def _open(self) -> None:
        self._database = sqlite3.connect(self.path)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise StorageError(
                f"cannot write {self.path}: {error}\n  Free some space or name another folder with --out; "
                "what was written before is whole."
            ) from None

    def write(
        self,
        costs: list[NDArray[np.float64]],
        hashes: Mapping[int, str],
        looks: Monitors,
        final: bool = False,
    ) -> None:
        """Write what is new: of costs, whole blocks until the last."""
        total = sum(map(len, costs))
        new = [(step, found) for step, found in hashes.items() if step not in self._hashes]
        full = final or total - self._costs >= _BLOCK
        if not (new or full or len(looks) > self._looks):
            return
        with self._disk():
            if full:
                rest = _tail(costs, total - self._costs)
                for start in range(0, len(rest), _BLOCK):
                    block = rest[start : start + _BLOCK].astype("<f8")
                    row = (self._costs + start, len(block), block.tobytes())
                    self._database.execute("INSERT OR REPLACE INTO costs VALUES (?, ?, ?)", row)
            self._database.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?)", new)
            for number in range(self._looks // _LOOKS, -(-len(looks) // _LOOKS)):  # the last may grow
                part = slice(number * _LOOKS, (number + 1) * _LOOKS)
                columns = {_STEPS: looks.steps.astype("<i8")} | {
                    name: values.astype("<f8") for name, values in looks.values.items()
                }
                rows = [(number, name, len(v[part]), v[part].tobytes()) for name, v in columns.items()]
                self._database.executemany("INSERT OR REPLACE INTO monitors VALUES (?, ?, ?, ?)", rows)
            self._database.commit()
        self._hashes |= {step for step, _ in new}
        self._costs, self._looks = total if full else self._costs, len(looks)

    def close(self) -> None:
        """Give the file back; the write-ahead log is folded in, and readers need none."""
        with self._disk():
            self._database.execute("PRAGMA journal_mode=DELETE")
            self._database.close()


def _fold(path: Path) -> None:
    """Bring what a killed process left in the write-ahead log into the file, if that can be done."""
    if path.is_symlink() or not path.exists():
        return
    try:
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error:
        pass  # it is torn; what could be read of it was read


def _tail(blocks: list[NDArray[np.float64]], count: int) -> NDArray[np.float64]:
    """The last `count` entries of a list of blocks."""
    if count <= 0:
        return np.zeros(0)
    found: list[NDArray[np.float64]] = []
    for block in reversed(blocks):
        found.append(block)
        count -= len(block)
        if count <= 0:
            break
    joined = np.concatenate(found[::-1])
    return joined[max(0, -count) :]


# ---- reading


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """The file, for reading only, with bounds on what it may make SQLite do."""
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        database.execute("PRAGMA trusted_schema=OFF")
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE)
        left = [_MAX_WORK // 1_000_000]

        def enough() -> bool:
            left[0] -= 1
            return left[0] < 0

        database.set_progress_handler(enough, 1_000_000)
        yield database


def _rows(database: sqlite3.Connection, table: str, columns: str, order: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a table of ours: no view, no virtual table."""
    found = database.execute("SELECT type, sql FROM sqlite_schema WHERE name = ?", (table,)).fetchall()
    if [kind for kind, _ in found] != ["table"] or "VIRTUAL" in str(found[0][1]).upper():
        raise ValueError(f"there is no table {table}")
    return iter(database.execute(f"SELECT {columns} FROM {table} ORDER BY {order}"))


def _numbers(blob: Any, count: Any, dtype: str) -> NDArray[Any] | None:
    """A column's bytes as numbers; None if they are not what their count says."""
    whole = isinstance(blob, bytes) and isinstance(count, int) and count >= 0 and len(blob) == 8 * count
    return np.frombuffer(blob, dtype).astype(dtype[1:]) if whole else None


def read_costs(path: Path) -> tuple[NDArray[np.float64], str]:
    """The costs that reached the disk, up to the first gap; and why no more can be read, if so."""
    found, end, why = [], 0, ""
    if not path.exists():
        return np.zeros(0), "is not there"
    try:
        with _reading(path) as database:
            for first, count, blob in _rows(database, "costs", "first, count, cost", "first"):
                block = _numbers(blob, count, "<f8")
                if first != end or block is None or not len(block):
                    why = "has a gap"
                    break
                found.append(block)
                end += len(block)
    except (sqlite3.Error, OSError, ValueError, OverflowError) as error:  # what came before it is good
        why = f"is torn ({error})"
    return np.concatenate(found) if found else np.zeros(0), why


def read_hashes(path: Path, steps: int) -> dict[int, str]:
    """The hashes of states of the first `steps` steps. Without the file there are none."""
    found: dict[int, str] = {}
    try:
        with _reading(path) as database:
            for step, told in _rows(database, "hashes", "step, hash", "step"):
                if isinstance(step, int) and 0 <= step <= steps and isinstance(told, str):
                    found[step] = told
    except (sqlite3.Error, OSError, ValueError, OverflowError):
        pass  # `read_costs`, of the same file, says that it is torn
    return found


def read_monitors(path: Path, steps: int) -> Monitors:
    """The looks at the first `steps` steps that reached the disk, up to the first block that is torn."""
    blocks: dict[int, dict[str, NDArray[Any]]] = {}
    try:
        with _reading(path) as database:
            for block, name, count, blob in _rows(
                database, "monitors", "block, name, count, value", "block, rowid"
            ):
                column = _numbers(blob, count, "<i8" if name == _STEPS else "<f8")
                named = isinstance(name, str) and len(name) < 300 and name.isprintable()
                if column is None or len(column) > _LOOKS or not named or block < 0:
                    blocks.pop(block, None)  # what it says of the other columns is good for nothing
                    break
                blocks.setdefault(block, {})[name] = column
    except (sqlite3.Error, OSError, ValueError, OverflowError, TypeError):
        pass
    looks = Monitors()
    for number, block in enumerate(sorted(blocks)):
        columns = blocks[block]
        at = columns.pop(_STEPS, np.zeros(0, np.int64)).tolist()
        if block != number or any(len(column) != len(at) for column in columns.values()):
            break
        if looks.names and set(looks.names) != columns.keys():
            break
        for i, step in enumerate(at):
            if not (looks.last < step <= steps):
                return looks
            looks.add(step, {name: column[i] for name, column in columns.items()})
    return looks
