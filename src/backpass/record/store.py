"""A record in its folder: what is written when, and how it is read back and checked."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from backpass.data.split import Order
from backpass.errors import DataError, RecordError, UsageError
from backpass.exec.base import Array
from backpass.ir import ArrayType, Graph
from backpass.ir.types import Dim
from backpass.record.checkpoints import Checkpoints, State
from backpass.record.folder import RunFolder
from backpass.record.forks import Stretch, batches_for, undropped
from backpass.record.record import Record
from backpass.record.rows import KEPT_BYTES, Rows
from backpass.record.scalars import read_costs, read_hashes, read_monitors
from backpass.record.settings import Settings
from backpass.training.batches import Batches

_PAUSE = 1.0  # seconds from one writing of what is new to the next


class Writer:
    """Writes a record into its folder as it grows.

    Parameters
    ----------
    folder : RunFolder
    record : Record
    rows : Rows or None
        Kept in the folder if nothing else can give them.
    shared : Path, optional
        A folder that has checkpoints of this record already.
    again : bool
        The folder has the earlier part of this run: what it has beyond the record goes.
    """

    def __init__(
        self,
        folder: RunFolder,
        record: Record,
        rows: Rows | None = None,
        *,
        shared: Path | None = None,
        again: bool = False,
    ) -> None:
        self.folder, self.record = folder, record
        self.marks = set(record.checkpoints)
        self._at = -math.inf
        folder.lock()
        try:
            if again:
                folder.go_on(self.marks, record.costs, record.hashes, record.monitors)
            else:
                self._start(rows, shared)
            folder.outcome(record.settings, replace(record.outcome, status="running"))
        except BaseException:
            folder.close()
            raise

    def _start(self, rows: Rows | None, shared: Path | None) -> None:
        """Write what fixes the run, and its record so far."""
        record, folder = self.record, self.folder
        folder.begin(record.step, record.predict_graph)
        if not record.settings.data.source and rows is not None:
            size = sum(array.nbytes for array in rows.arrays.values())
            if size <= KEPT_BYTES:
                folder.arrays("rows", rows.arrays | {"numbers": rows.numbers})
        for name, arrays in (("fixed", record.fixed), ("row_data", record.row_data)):
            if arrays:
                folder.arrays(name, arrays)
        if record.settings.order == "explicit":
            batches = undropped(record.batches)
            folder.arrays("order", {f"{e:06d}": batches.epoch(e) for e in range(batches.epochs)})
        for mark in sorted(self.marks):
            if shared is None or not folder.share(mark, shared):
                folder.checkpoint(mark, record.checkpoints[mark])
        self._scalars(final=True)

    def wrote(self, done: int = 0, final: bool = False) -> None:
        """Write what is new. The outcome comes after the checkpoints that it speaks of, and before those go
        that it no longer needs: whenever the process ends, what it says is there."""
        soon = time.monotonic() - self._at < _PAUSE
        if soon and not final:  # a better epoch every few milliseconds is not worth a disk access each
            return
        self._at = time.monotonic()
        record, folder, marks = self.record, self.folder, self.record.checkpoints
        now = marks.keys()
        new, old = sorted(now - self.marks), self.marks - now
        for mark in new:
            folder.checkpoint(mark, marks[mark])
        if new:
            folder.outcome(record.settings, record.outcome)
        self._scalars(final)
        for mark in old:
            folder.forget(mark)
        self.marks = set(now)
        if isinstance(marks, Checkpoints) and not final:  # what is on the disk need not be in memory, too
            for mark in new:
                marks.stored(mark, _reader(folder, record, mark))

    def _scalars(self, final: bool) -> None:
        record = self.record
        assert self.folder.scalars is not None
        self.folder.scalars.write(record.costs, record.hashes, record.monitors, final)

    def end(self) -> None:
        """Write the result, the remaining costs and the outcome."""
        try:
            self.wrote(final=True)
            result = self.record.result()
            needed = self.record.predict_graph.inputs
            self.folder.arrays("weights", {name: result[name] for name in needed if name in result})
            self.folder.outcome(self.record.settings, self.record.outcome)
        finally:
            self.folder.close()


def _reader(folder: RunFolder, record: Record, mark: int) -> Callable[[], State]:
    """What reads a checkpoint from the disk."""
    return lambda: folder.read_checkpoint(mark, record.step, record.hashes.get(mark))


def read_record(folder: RunFolder) -> Record:
    """Read a record, and check that its files belong together.

    Raises
    ------
    RecordError
        The folder is not there, torn, newer than this version, or not a run.
    """
    file, step, predict = folder.read()
    settings, outcome = file.settings, file.outcome
    record = Record(
        settings,
        step,
        _batches(settings, folder),
        predict,
        outcome=outcome,
        fixed=_kept(folder, "fixed", {n: x.array_type for n, x in step.inputs_of_kind("fixed").items()}),
        row_data=_kept(folder, "row_data", _row_types(settings)),
    )
    _check_programs(record, folder.path)
    scalars = folder.path / "record.sqlite"
    record.hashes = read_hashes(scalars, outcome.steps)
    marks = Checkpoints()
    for mark in folder.marks(step, outcome.steps):
        marks.stored(mark, _reader(folder, record, mark))
    record.checkpoints = marks
    _settle(record)
    record.monitors = read_monitors(scalars, outcome.steps)
    costs, why = read_costs(scalars)
    record.costs = [costs[: outcome.steps]]
    if why:
        outcome.notes.append(
            f"record.sqlite {why}: the costs of {outcome.steps - len(record.costs[0]):,} of "
            f"{outcome.steps:,} steps are lost; at(step) computes them again"
        )
    return record


def _kept(folder: RunFolder, name: str, wanted: dict[str, ArrayType]) -> dict[str, Array]:
    """Arrays that belong to the run, if they are what its program reads."""
    most = sum(type_.nbytes for type_ in wanted.values())
    found = (folder.read_arrays(name, most) or {}) if wanted else {}
    for key, type_ in wanted.items():
        array = found.get(key)
        if array is None or array.shape != type_.shape or array.dtype != type_.numpy_dtype:
            raise RecordError(f"{folder.path}: {name}.safetensors does not hold {key}, {type_}")
    return {key: found[key] for key in wanted}


def _row_types(settings: Settings) -> dict[str, ArrayType]:
    return {"w": ArrayType((settings.data.rows,), settings.dtype)} if settings.weighted else {}


def _check_programs(record: Record, path: Path) -> None:
    """The programs must be those of a training with these settings."""
    step, settings = record.step, record.settings
    try:
        predict = record.predict_graph
        x, prediction = predict["x"], predict.outputs[record.prediction]
        needed = {name: node for name, node in predict.inputs.items() if name != "t"}
        fits = (
            _outputs(record, prediction.shape[-1]) == prediction.shape[-1]
            and x.shape == ("B", settings.in_features)
            and x.dtype == settings.dtype
            and len(prediction.shape) == 2
            and prediction.shape[0] == "B"
            and step["C"].shape == ()
            and step["loss"].shape == predict["loss"].shape == ("B",)
            and step["t"].shape == prediction.shape
            and ("w" in step.inputs) == settings.weighted
            and all(name in step.inputs and step.inputs[name].type == n.type for name, n in needed.items())
            and all(map(partial(_knows, step=step), record.stretches))
            and set(record.carried)
            == step.inputs_of_kind("parameter").keys() | step.inputs_of_kind("state").keys()
        )
    except Exception as error:  # anything that a changed file can cause
        raise RecordError(f"{path}: the program is not that of a training: {error}") from None
    if not fits:
        raise RecordError(f"{path}: graph.json, predict.json and run.json do not belong together")


def _knows(held: Stretch, step: Graph) -> bool:
    """Whether the numbers of the program are those that settings have: an AttributeError if one is not."""
    numbers = step.inputs_of_kind("number").keys()
    return held.optimiser.numbers.keys() <= numbers == {n for n in numbers if held.number(n) >= 0}


def _outputs(record: Record, width: Dim) -> Dim:
    """How many outputs the described network has; `width` where a function of its own is not in the file."""
    try:
        return record.network.outputs
    except UsageError:
        if record.settings.layers and all("layer" in x or "units" in x for x in record.settings.layers):
            return width
        raise


def _batches(settings: Settings, folder: RunFolder) -> Batches:
    order: Order = None
    if settings.order == "sequential":
        order = "sequential"
    elif settings.order == "explicit":
        kept = folder.read_arrays("order")
        if kept is None:
            raise RecordError(f"{folder.path}: order.safetensors, the order of rows, is not there")
        epochs = [kept[name] for name in sorted(kept)]
        if len(epochs) != settings.epochs or any(e.ndim != 1 or e.dtype != np.int64 for e in epochs):
            raise RecordError(
                f"{folder.path}: order.safetensors is not the order of {settings.epochs} epochs"
            )

        def given(epoch: int) -> NDArray[np.int64]:
            return epochs[epoch]

        order = given
    marks = [0, *(branch.step for branch in settings.branches)]
    try:
        found = batches_for(settings, order)
        if marks != sorted(marks) or marks[-1] > found.steps:
            raise UsageError("its branches are not in order")
    except (UsageError, DataError) as error:
        raise RecordError(f"{folder.path}: run.json names branches that cannot be: {error}") from None
    return found


def _settle(record: Record) -> None:
    """How far a run came that was killed, or whose last state is torn: to its last whole checkpoint."""
    outcome = record.outcome
    last, _ = record.before(outcome.steps)
    if outcome.status == "running":
        outcome.message = f"stopped from outside; the last whole state is that after step {last:,}"
    elif last != outcome.steps:
        outcome.message = f"the state after step {outcome.steps:,} is torn; the last whole one is of {last:,}"
    outcome.steps = last
    record.hashes = {mark: hash for mark, hash in record.hashes.items() if mark <= last}
    outcome.epochs = [row for row in outcome.epochs if row.get("step", 0) <= last]
    best = outcome.best_step
    if best is not None and not record.has(best):
        outcome.notes.append(
            f"the best state, after step {outcome.best_step:,}, is torn; the last one is used"
        )
        outcome.best_step = None
