"""The run folder: what is on disk while a run goes on and after it.

::

    runs/digits-1/
      run.json               settings, versions, outcome
      graph.json             the program of a step
      predict.json           the program of prediction
      weights.safetensors    what prediction needs: the last weights, or the best
      fixed.safetensors      weights that are not trained, where there are any
      record.sqlite          the cost of each step, in blocks of up to 4,096
      checkpoints/           the carried values at some steps
      rows.safetensors       the training rows, where they came as arrays
      row_data.safetensors   the weights of rows, where they have some
      order.safetensors      the order of rows, where it was given

A kill at any moment leaves a readable run: each file is written beside its place, flushed to the disk and
renamed; costs go through SQLite's write-ahead log. What ``run.json`` says is what holds: a checkpoint of a
later step than it knows of is not read.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backpass.errors import GraphError, RecordError, ShapeError, StorageError
from backpass.exec.base import Array
from backpass.ir import Graph
from backpass.ir.wire import from_json, to_json
from backpass.training.settings import FORMAT, Outcome, RunFile, Settings, decode, encode
from backpass.version import __version__

_BLOCK = 4096
_MAX_HEADER = 1_000_000  # a hostile safetensors header can be 100 MB of work
_RUN, _GRAPH, _PREDICT, _COSTS = "run.json", "graph.json", "predict.json", "record.sqlite"


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Turn the system's errors into ours."""
    try:
        yield
    except (OSError, ValueError, sqlite3.Error) as error:  # ValueError: a NUL in the name
        if isinstance(error, (RecordError, StorageError)):
            raise
        raise StorageError(
            f"cannot write {path}: {error}\n  Free some space or name another folder with --out; "
            "what was written before is whole."
        ) from None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is either the old one or the new one, never half of it."""
    with _disk(path):
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        if os.name == "posix":
            handle = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _arrays_to_bytes(arrays: Mapping[str, Array]) -> bytes:
    from safetensors.numpy import save

    # Not ascontiguousarray: that makes a row of a single number.
    return save({name: np.asarray(array, order="C") for name, array in arrays.items()})


def _read_arrays(path: Path) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        raw = path.read_bytes()
        if int.from_bytes(raw[:8], "little") > _MAX_HEADER:
            raise RecordError(f"{path} has a header of over {_MAX_HEADER:,} bytes")
        found: dict[str, Array] = load(raw)
        return found
    except (OSError, SafetensorError, ValueError) as error:
        if isinstance(error, RecordError):
            raise
        raise RecordError(f"{path} is torn or not there: {error}") from None


class RunFolder:
    """Writes and reads one run folder.

    Parameters
    ----------
    path : path-like
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._written = 0  # steps whose costs are on disk
        self._database: sqlite3.Connection | None = None

    # ---- writing

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> RunFolder:
        """Make a new folder; one that is there must be empty."""
        folder = cls(path)
        with _disk(folder.path):
            if folder.path.exists() and (not folder.path.is_dir() or any(folder.path.iterdir())):
                raise StorageError(f"{folder.path} is there already and is not empty; name another folder")
            folder.path.mkdir(parents=True, exist_ok=True)
            try:
                (folder.path / "checkpoints").mkdir()  # of two that come at once, one gets the folder
            except FileExistsError:
                raise StorageError(f"{folder.path} is another run's; name another folder") from None
        return folder

    @classmethod
    def next(cls, parent: str | os.PathLike[str], name: str) -> RunFolder:
        """Make the first free folder ``parent/name-1``, ``name-2``, ..."""
        for number in range(1, 1_000_000):
            path = Path(parent) / f"{name}-{number}"
            with _disk(path):
                try:
                    path.mkdir(parents=True)
                except FileExistsError:
                    continue
            return cls.create(path)
        raise StorageError(f"there is no free name for a run in {parent}")

    def begin(self, settings: Settings, step: Graph, predict: Graph) -> None:
        """Write what fixes the run."""
        write_whole(self.path / _GRAPH, to_json(step).encode())
        write_whole(self.path / _PREDICT, to_json(predict).encode())
        self.outcome(settings, Outcome())
        with _disk(self.path):
            database = sqlite3.connect(self.path / _COSTS)
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            database.execute("CREATE TABLE costs (first INTEGER PRIMARY KEY, count INTEGER, cost BLOB)")
            database.commit()
            self._database = database

    def outcome(self, settings: Settings, outcome: Outcome) -> None:
        """Write ``run.json``."""
        write_whole(self.path / _RUN, encode(RunFile(FORMAT, __version__, settings, outcome)))

    def arrays(self, name: str, arrays: Mapping[str, Array]) -> None:
        """Write arrays as ``<name>.safetensors``."""
        write_whole(self.path / f"{name}.safetensors", _arrays_to_bytes(arrays))

    def checkpoint(self, done: int, carry: Mapping[str, Array]) -> None:
        """Write the carried values after `done` steps."""
        self.arrays(f"checkpoints/{done:09d}", carry)

    def forget(self, done: int) -> None:
        """Remove a checkpoint that nothing needs any more."""
        with _disk(self.path):
            (self.path / "checkpoints" / f"{done:09d}.safetensors").unlink(missing_ok=True)

    def costs(self, blocks: list[NDArray[np.float64]], final: bool = False) -> None:
        """Write the costs that are not on disk yet, in whole blocks until the last."""
        assert self._database is not None
        total = sum(map(len, blocks))
        if total - self._written < _BLOCK and not final:
            return
        rest = _tail(blocks, total - self._written)
        with _disk(self.path / _COSTS):
            for start in range(0, len(rest), _BLOCK):
                block = rest[start : start + _BLOCK].astype("<f8")
                row = (self._written + start, len(block), block.tobytes())
                self._database.execute("INSERT OR REPLACE INTO costs VALUES (?, ?, ?)", row)
            self._database.commit()
        self._written = total

    def close(self) -> None:
        """Give the database back; the write-ahead log is folded in."""
        if self._database is not None:
            with _disk(self.path / _COSTS):
                self._database.close()
            self._database = None

    # ---- reading

    def read(self) -> tuple[RunFile, Graph, Graph]:
        """The settings and the outcome, the program of a step, and that of prediction."""
        if not os.path.isdir(self.path):  # False, too, for a name that no system could have
            raise RecordError(f"there is no run folder {str(self.path)[:500]}")
        file = decode(self._bytes(_RUN), str(self.path / _RUN))
        return file, self._program(_GRAPH), self._program(_PREDICT)

    def _program(self, name: str) -> Graph:
        try:
            return from_json(self._bytes(name).decode())
        except (GraphError, ShapeError, UnicodeDecodeError) as error:
            raise RecordError(f"{self.path / name} is not a program of ours: {error}") from None

    def _bytes(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError:
            raise RecordError(f"{self.path} is no run folder, or it is torn: no {name}") from None

    def read_arrays(self, name: str) -> dict[str, Array] | None:
        """Arrays that were written by `arrays`; None where there are none."""
        path = self.path / f"{name}.safetensors"
        return _read_arrays(path) if path.exists() else None

    def read_checkpoints(self, step: Graph, steps: int) -> dict[int, dict[str, Array]]:
        """The checkpoints of the first `steps` steps, checked against the program; a torn one is left out."""
        wanted = {old: step.inputs[old].array_type for old in step.carry.values()}
        found = {}
        for path in sorted((self.path / "checkpoints").glob("*.safetensors")):
            if not path.stem.isdecimal() or int(path.stem) > steps:
                continue
            try:
                carry = _read_arrays(path)
            except RecordError:
                continue  # replay starts from the one before
            if any(
                name not in carry or carry[name].shape != t.shape or carry[name].dtype != t.numpy_dtype
                for name, t in wanted.items()
            ):
                raise RecordError(f"{path} does not hold what {self.path / _GRAPH} carries")
            found[int(path.stem)] = {name: carry[name] for name in wanted}
        if 0 not in found:
            raise RecordError(f"{self.path} has no readable checkpoint of its start; it cannot be replayed")
        return found

    def read_costs(self) -> tuple[NDArray[np.float64], str]:
        """The costs that reached the disk, up to the first gap; and why no more can be read, if so."""
        path, why = self.path / _COSTS, ""
        if not path.exists():
            return np.zeros(0), "is not there"
        found: list[NDArray[np.float64]] = []
        end = 0
        try:
            database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
            try:
                database.execute("PRAGMA trusted_schema=OFF")
                for first, count, blob in database.execute(
                    "SELECT first, count, cost FROM costs ORDER BY first"
                ):
                    if first != end or not isinstance(blob, bytes) or len(blob) != 8 * count:
                        why = "has a gap"
                        break
                    found.append(np.frombuffer(blob, "<f8").astype(np.float64))
                    end += count
            finally:
                database.close()
        except (sqlite3.Error, ValueError, TypeError) as error:  # torn: what came before it is good
            why = f"is torn ({error})"
        return np.concatenate(found) if found else np.zeros(0), why


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
