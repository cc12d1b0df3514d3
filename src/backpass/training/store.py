"""A record in its folder: what is written when, and how it is read back and checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backpass.data.split import Order
from backpass.errors import RecordError
from backpass.ir import Graph
from backpass.nn import Network
from backpass.training.batches import Batches
from backpass.training.folder import RunFolder
from backpass.training.optimisers import SGD
from backpass.training.record import Record
from backpass.training.rows import KEPT_BYTES, Rows
from backpass.training.settings import Outcome, Settings


def write_start(folder: RunFolder, record: Record, rows: Rows | None) -> None:
    """Write what fixes the run: settings, program, and the rows and order if nothing else can give them."""
    folder.begin(record.settings, record.step)
    if not record.settings.data.source and rows is not None:
        size = sum(array.nbytes for array in rows.arrays.values())
        if size <= KEPT_BYTES:
            folder.arrays("rows", rows.arrays | {"numbers": rows.numbers})
    if record.settings.order == "explicit":
        batches = record.batches
        folder.arrays("order", {f"{e:06d}": batches.epoch(e) for e in range(batches.epochs)})


def write_end(folder: RunFolder, record: Record) -> None:
    """Write the last weights, the remaining costs and the outcome."""
    folder.arrays("weights", record.last())
    folder.costs(record.costs, final=True)
    folder.outcome(record.settings, record.outcome)
    folder.close()


def read_record(folder: RunFolder) -> Record:
    """Read a record, and check that its files belong together.

    Raises
    ------
    RecordError
        The folder is not there, torn, newer than this version, or not a run.
    """
    file, step = folder.read()
    _check_program(step, file.settings, folder.path)
    checkpoints, batches = folder.read_checkpoints(step), _batches(file.settings, folder)
    outcome = _settled(file.outcome, max(checkpoints))
    costs = folder.read_costs()[: outcome.steps]
    return Record(file.settings, step, batches, checkpoints, [costs], outcome)


def _check_program(step: Graph, settings: Settings, path: Path) -> None:
    """The program must be one of a training with these settings."""
    last = len(settings.layers)
    try:
        Network.from_description(settings.layers)
        numbers = SGD.from_description(settings.optimiser).numbers
        x, prediction = step["x"], step[f"a{last}"]
        fits = (
            x.shape == ("B", settings.in_features)
            and prediction.shape == ("B", settings.layers[-1]["units"])
            and step["C"].shape == ()
            and step["loss"].shape == ("B",)
            and step["t"].shape == prediction.shape
            and x.dtype == settings.dtype
            and numbers.keys() == step.inputs_of_kind("number").keys()
        )
    except Exception as error:  # anything that a changed file can cause
        raise RecordError(f"{path}: the program is not that of a training: {error}") from None
    if not fits:
        raise RecordError(f"{path}: graph.json and run.json do not belong together")


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
    return Batches(settings.data.rows, settings.batch, settings.epochs, settings.seed, order)


def _settled(outcome: Outcome, last: int) -> Outcome:
    """How far a run came that was killed, or whose last state is torn: to its last checkpoint."""
    if outcome.status == "running":
        outcome.message = f"stopped from outside; the last whole state is that after step {last:,}"
    elif last != outcome.steps:
        outcome.message = f"the state after step {outcome.steps:,} is torn; the last whole one is of {last:,}"
    outcome.steps = last
    return outcome
