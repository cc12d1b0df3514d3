"""The run folder: what is on disk while a run goes on and after it.

::

    runs/digits-1/
      run.json               settings, versions, outcome
      graph.json             the program of a step
      predict.json           the program of prediction
      weights.safetensors    what prediction needs: the last weights, or the best
      fixed.safetensors      weights that are not trained, where there are any
      record.sqlite          the cost of each step, hashes, monitors; see `scalars`
      checkpoints/           the carried values at some steps
      rows.safetensors       the training rows, where they came as arrays
      row_data.safetensors   the weights of rows, where they have some
      order.safetensors      the order of rows, where it was given
      lock                   which process writes here, while one does

A kill at any moment leaves a readable run: each file is written beside its place, flushed to the disk and
renamed; costs go through SQLite's write-ahead log. What ``run.json`` says is what holds: a checkpoint of a
later step than it knows of is not read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from backpass.errors import GraphError, RecordError, ShapeError, StorageError
from backpass.exec.base import Array
from backpass.ir import ArrayType, Graph
from backpass.ir.wire import from_json, to_json
from backpass.record.arrays import fits, layout, open_inside, read, to_bytes
from backpass.record.checkpoints import digest
from backpass.record.lock import Lock
from backpass.record.monitors import Monitors
from backpass.record.scalars import Scalars
from backpass.record.settings import FORMAT, Outcome, RunFile, Settings, decode, encode
from backpass.version import __version__

_MAX_TEXT = 256_000_000  # bytes of run.json or a program
_MAX_ARRAYS = 1_000_000_000  # bytes of arrays of which nothing else says how many they are
_RUN, _GRAPH, _PREDICT, _COSTS = "run.json", "graph.json", "predict.json", "record.sqlite"


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Turn the system's errors into ours."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
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


class RunFolder:
    """Writes and reads one run folder.

    Parameters
    ----------
    path : path-like
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.scalars: Scalars | None = None
        self._lock: Lock | None = None

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

    def lock(self) -> None:
        """Keep other processes from writing here until `close`; a StorageError where one does."""
        if self._lock is None:
            self._lock = Lock(self.path)

    def begin(self, step: Graph, predict: Graph) -> None:
        """Write the programs of a new run. Its first outcome makes it one: that comes last."""
        write_whole(self.path / _GRAPH, to_json(step).encode())
        write_whole(self.path / _PREDICT, to_json(predict).encode())
        self.scalars = Scalars(self.path / _COSTS)

    def go_on(
        self, marks: Iterable[int], costs: list[NDArray[Any]], hashes: Mapping[int, str], looks: Monitors
    ) -> None:
        """Make the folder one of a run that has just these checkpoints, costs, hashes and monitors."""
        kept = {(self.path / _checkpoint(mark)).name for mark in marks}
        with _disk(self.path):
            for path in (self.path / "checkpoints").glob("*.safetensors"):
                if path.name not in kept:
                    path.unlink(missing_ok=True)
            for path in (*self.path.glob(".*.tmp*"), *(self.path / "checkpoints").glob(".*.tmp*")):
                path.unlink(missing_ok=True)  # of a process that was killed: nobody else writes here
        self.scalars = Scalars.again(self.path / _COSTS, costs, hashes, looks)

    def outcome(self, settings: Settings, outcome: Outcome) -> None:
        """Write ``run.json``."""
        write_whole(self.path / _RUN, encode(RunFile(FORMAT, __version__, settings, outcome)))

    def arrays(self, name: str, arrays: Mapping[str, Array]) -> None:
        """Write arrays as ``<name>.safetensors``."""
        write_whole(self.path / f"{name}.safetensors", to_bytes(arrays))

    def checkpoint(self, done: int, carry: Mapping[str, Array]) -> None:
        """Write the carried values after `done` steps."""
        write_whole(self.path / _checkpoint(done), to_bytes(carry))

    def share(self, done: int, other: Path) -> bool:
        """Have the checkpoint of another run folder here too, without a copy where the disk can do that.

        Files of a run are replaced, never changed, so that neither run sees what becomes of the other's.
        """
        source, here = other / _checkpoint(done), self.path / _checkpoint(done)
        if source.is_symlink() or not source.is_file():
            return False
        try:
            os.link(source, here)
        except OSError:  # another disk, or one without links
            return False
        return True

    def forget(self, done: int) -> None:
        """Remove a checkpoint that nothing needs any more."""
        with _disk(self.path):
            (self.path / _checkpoint(done)).unlink(missing_ok=True)

    def close(self) -> None:
        """Give the database back, and let others write here."""
        try:
            if self.scalars is not None:
                self.scalars.close()
        finally:
            self.scalars = None
            if self._lock is not None:
                self._lock.release()
                self._lock = None

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
            with open_inside(self.path / name, self.path) as file:
                if os.fstat(file.fileno()).st_size > _MAX_TEXT:
                    raise RecordError(f"{self.path / name} has over {_MAX_TEXT:,} bytes; it is none of ours")
                return file.read(_MAX_TEXT)
        except RecordError as error:
            if (self.path / name).exists():
                raise
            raise RecordError(f"{self.path} is no run folder, or it is torn: no {name}") from error

    def read_arrays(self, name: str, most: int = _MAX_ARRAYS) -> dict[str, Array] | None:
        """Arrays that were written by `arrays`, of at most so many bytes; None where there are none."""
        path = self.path / f"{name}.safetensors"
        return read(path, self.path, most) if path.is_symlink() or path.exists() else None

    def marks(self, step: Graph, steps: int) -> list[int]:
        """The checkpoints of the first `steps` steps whose files are whole by their size; none is read.

        Raises
        ------
        RecordError
            One does not hold what the program carries, or there is none of the start.
        """
        wanted, found = _carried(step), []
        for path in sorted((self.path / "checkpoints").glob("*.safetensors")):
            if not (path.stem.isascii() and path.stem.isdecimal()) or int(path.stem) > steps:
                continue
            try:
                there = layout(path, self.path)
            except RecordError:
                continue  # replay starts from the one before
            if not fits(there, wanted):
                raise RecordError(f"{path} does not hold what {self.path / _GRAPH} carries")
            found.append(int(path.stem))
        if 0 not in found:
            raise RecordError(f"{self.path} has no readable checkpoint of its start; it cannot be replayed")
        return found

    def read_checkpoint(self, done: int, step: Graph, hash: str | None) -> dict[str, Array]:
        """One checkpoint, which must have this hash, if one is known.

        Raises
        ------
        RecordError
            It is torn, or was changed.
        """
        wanted = _carried(step)
        path = self.path / _checkpoint(done)
        if not fits(layout(path, self.path), wanted):
            raise RecordError(f"{path} does not hold what {self.path / _GRAPH} carries")
        found = read(path, self.path, sum(type_.nbytes for type_ in wanted.values()))
        state = {name: found[name] for name in wanted}
        if hash is not None and digest(state) != hash:
            raise RecordError(f"{path} is damaged: its values do not have the hash that the run wrote down")
        return state


def _checkpoint(done: int) -> str:
    return f"checkpoints/{done:09d}.safetensors"


def _carried(step: Graph) -> dict[str, ArrayType]:
    return {old: step.inputs[old].array_type for old in step.carry.values()}
