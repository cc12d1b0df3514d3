"""`Run`: a training that can be used, saved, visited at any step, and asked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backpass.data import Dataset, as_rows, from_arrays, scaled, split
from backpass.data import load as load_data
from backpass.data.split import Order
from backpass.errors import DataError, RecordError, ShapeError
from backpass.exec.base import Array, Loop
from backpass.exec.choose import executor_named
from backpass.ir import Graph
from backpass.nn import Network
from backpass.training.batches import Batches
from backpass.training.evaluate import Evaluator, classes_of
from backpass.training.folder import RunFolder
from backpass.training.optimisers import SGD
from backpass.training.record import Record
from backpass.training.replay import Moment, Replay
from backpass.training.settings import RunFile, Settings

if TYPE_CHECKING:
    from backpass.explain import Answer

#: Training rows that came as arrays are kept in the run folder up to this size.
_KEPT_BYTES = 256_000_000


class Run:
    """A training: its result, its record, and the way back into it.

    Made by `backpass.train` and `backpass.load`.

    Attributes
    ----------
    graph : Graph
        The program of one step.
    path : Path or None
        The run folder, where there is one.
    """

    def __init__(self, record: Record, rows: Rows | None, path: Path | None = None) -> None:
        self.record, self.path = record, path
        self._rows = rows
        self._loop: Loop | None = None

    # ---- what came out

    @property
    def graph(self) -> Graph:
        return self.record.step

    @property
    def settings(self) -> Settings:
        return self.record.settings

    @property
    def status(self) -> str:
        """ "finished", "interrupted", "diverged", or "running" for a run that was killed."""
        return self.record.outcome.status

    @property
    def steps(self) -> int:
        """Completed steps."""
        return self.record.outcome.steps

    @property
    def costs(self) -> NDArray[np.float64]:
        """The cost of each completed step, shape (steps,)."""
        return self.record.all_costs()

    @property
    def history(self) -> list[dict[str, float]]:
        """One row an epoch, at most 1,000 rows: mean cost, and the metrics on the validation rows."""
        return self.record.outcome.epochs

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Metrics of the final weights by part: train, validation, test."""
        return self.record.outcome.metrics

    @cached_property
    def weights(self) -> dict[str, Array]:
        """The parameters after the last step."""
        carry = self.record.last()
        return {name: carry[name] for name in self.graph.inputs_of_kind("parameter")}

    def text(self, style: str = "python", **options: Any) -> str:
        """The program of a step, with the values of its numbers; see `backpass.ir.text.text`."""
        options.setdefault("values", self.record.optimiser.numbers)
        return self.graph.text(style, **options)  # type: ignore[arg-type]

    # ---- use

    @cached_property
    def _evaluator(self) -> Evaluator:
        return Evaluator(self.graph, self.record.network.prediction, self.settings.data.task)

    def predict_raw(self, X: ArrayLike) -> Array:
        """The outputs of the network for each row: probabilities, or quantities.

        Parameters
        ----------
        X : array-like, shape (n, in_features)
            Raw values, as the training data had them; they are scaled as the training data were.

        Returns
        -------
        ndarray, shape (n, outputs)
        """
        rows, _ = as_rows(X, copy=False)
        if rows.shape[1] != self.settings.in_features:
            raise DataError(
                f"each row has {rows.shape[1]} values, but this network was trained on rows of "
                f"{self.settings.in_features}"
            )
        kind = np.float32 if self.settings.dtype == "f32" else np.float64
        return self._evaluator.predict(self.weights, scaled(rows, self.settings.data.scale, kind))

    def predict(self, X: ArrayLike) -> Array:
        """The class of each row, or the predicted quantities.

        Returns
        -------
        ndarray, shape (n,) for classes and a single quantity, else (n, outputs)
        """
        raw = self.predict_raw(X)
        if self.settings.data.task == "classification":
            return np.asarray(self.settings.data.classes)[classes_of(raw)]
        return raw[:, 0] if raw.shape[1] == 1 else raw

    # ---- the way back

    @cached_property
    def rows(self) -> Rows:
        """The training rows; read again from where they came if need be."""
        if self._rows is None:
            self._rows = Rows.again(self.settings, self.path)
        return self._rows

    @cached_property
    def replay(self) -> Replay:
        """Replay of the record by the executor of the run."""
        loop = self._loop or executor_named(self.settings.executor).compile_loop(
            self.graph, self.rows.arrays, self.settings.batch
        )
        return Replay(self.record, loop, self.rows.arrays)

    def at(self, step: int) -> Visit:
        """Visit one step: every value of its forward, backward and update.

        Parameters
        ----------
        step : int
            Counted from 1. Its state is rebuilt by the run's own kernel, bit for bit.

        Raises
        ------
        UsageError
            There is no such step.
        """
        return Visit(self, step)

    def verify(self) -> int:
        """Run everything again and compare with each checkpoint bit for bit; the number of steps."""
        return self.replay.verify()

    # ---- keeping it

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the run to a new folder; `backpass.load` reads it.

        The training rows go with it where they came as arrays, up to 256 MB.
        """
        folder = RunFolder.create(path)
        write_start(folder, self.record, self.rows if self._rows is not None else None)
        for done, carry in self.record.checkpoints.items():
            folder.checkpoint(done, carry)
        write_end(folder, self.record)
        self.path = folder.path
        return folder.path

    def __repr__(self) -> str:
        best = self.metrics.get("test") or self.metrics.get("validation") or self.metrics.get("train") or {}
        shown = ", ".join(f"{k} {v:.4g}" for k, v in best.items())
        return f"<Run of {self.steps:,} steps on {self.settings.data.name}, {self.status}: {shown}>"


class Visit(Moment):
    """One step of a run. ``visit["δ1"]`` is a value by its printed name.

    Attributes
    ----------
    rows : ndarray of int64
        The rows of the batch, as they are numbered in the data set.
    """

    def __init__(self, run: Run, step: int) -> None:
        super().__init__(run.replay, step)
        self.run = run

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        return self.run.rows.numbers[super().rows]

    def why(self, target: str) -> Answer:
        """Why a weight moved in this step: by example, and by part of the update.

        Parameters
        ----------
        target : str
            One entry of a parameter: ``"W2[3,1]"``.
        """
        from backpass.explain import why

        return why(self, target, row_numbers=self.run.rows.numbers)

    def __repr__(self) -> str:
        return f"<step {self.step:,} of {self.run.steps:,}: {', '.join(self.keys())}>"


class Rows:
    """The training rows as the network sees them, and their numbers in the data set."""

    def __init__(self, arrays: Mapping[str, Array], numbers: NDArray[np.int64]) -> None:
        self.arrays, self.numbers = dict(arrays), numbers

    @classmethod
    def of(cls, dataset: Dataset, part: NDArray[np.int64], dtype: str, outputs: int) -> Rows:
        """Some rows of a data set, scaled and encoded for a network with so many outputs."""
        x, t = entered(dataset, dtype, outputs)
        return cls({"x": np.ascontiguousarray(x[part]), "t": np.ascontiguousarray(t[part])}, part)

    @classmethod
    def again(cls, settings: Settings, path: Path | None) -> Rows:
        """Read the training rows of a loaded run."""
        where = settings.data
        kept = RunFolder(path).read_arrays("rows") if path is not None else None
        if kept is not None:
            try:
                return cls({"x": kept["x"], "t": kept["t"]}, kept["numbers"])
            except KeyError as missing:
                raise RecordError(f"{path}: rows.safetensors lacks {missing}") from None
        if not where.source:
            raise RecordError(
                f"the training rows of this run came as arrays and were not kept with it (over "
                f"{_KEPT_BYTES // 10**6} MB). Give them: backpass.load(path, data=(X, y))"
            )
        return cls.matching(load_data(where.source), settings)

    @classmethod
    def matching(cls, dataset: Dataset, settings: Settings) -> Rows:
        """The training rows of a run from its data set, which must be the very same."""
        where = settings.data
        if dataset.fingerprint() != where.fingerprint:
            raise RecordError(
                f"the data of this run have changed: {where.source or where.name} is not what it was "
                "trained on, so its steps cannot be computed again"
            )
        train, _, _ = parts_of(dataset, where.validation, where.test, settings.seed)
        return cls.of(dataset, train, settings.dtype, int(settings.layers[-1]["units"]))


def entered(dataset: Dataset, dtype: str, outputs: int) -> tuple[Array, Array]:
    """What enters the network: scaled rows, and targets with one column an output."""
    kind = np.float32 if dtype == "f32" else np.float64
    x, t = dataset.inputs(kind), dataset.targets(kind)
    if outputs == 1 and t.shape[1] == 2 and dataset.task == "classification":
        t = np.ascontiguousarray(t[:, 1:])  # one output for two classes: is it the second?
    if t.shape[1] != outputs:
        classes = dataset.task == "classification"
        what = f"{len(dataset.classes)} classes" if classes else f"{t.shape[1]} targets"
        raise ShapeError(
            f"the data have {what}, but the last layer has {outputs} units\n"
            f"  Write Dense({t.shape[1]}, ...) as the last layer."
        )
    return x, t


def parts_of(
    dataset: Dataset, validation: float, test: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The rows of each part, as numbered in the data set."""
    labels = dataset.codes() if dataset.task == "classification" else len(dataset)
    return split(labels, validation, test, seed=seed)


def write_start(folder: RunFolder, record: Record, rows: Rows | None) -> None:
    """Write what fixes the run: settings, program, and the rows and order if nothing else can give them."""
    folder.begin(record.settings, record.step)
    if not record.settings.data.source and rows is not None:
        size = sum(array.nbytes for array in rows.arrays.values())
        if size <= _KEPT_BYTES:
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


def load(path: str | os.PathLike[str], data: tuple[Any, Any] | Dataset | None = None) -> Run:
    """Read a run folder.

    Nothing of it is executed: kernels are compiled from the typed program, with names of our own making.

    Parameters
    ----------
    path : path-like
    data : (X, y) or Dataset, optional
        The data of the run, where the folder does not say where they are. They must be the very same.

    Raises
    ------
    RecordError
        The folder is not there, torn, newer than this version, or not a run.
    """
    folder = RunFolder(path)
    file, step = folder.read()
    settings = file.settings
    check_program(step, settings, folder.path)
    checkpoints = folder.read_checkpoints(step)
    record = Record(
        settings, step, _batches(settings, folder), checkpoints, [folder.read_costs()], file.outcome
    )
    _complete(record, file, folder)
    rows = None
    if data is not None:
        dataset = data if isinstance(data, Dataset) else from_arrays(*data)
        rows = Rows.matching(dataset, settings)
    return Run(record, rows, folder.path)


def check_program(step: Graph, settings: Settings, path: Path) -> None:
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

        def given(epoch: int) -> NDArray[np.int64]:
            return epochs[epoch].astype(np.int64)

        order = given
    return Batches(settings.data.rows, settings.batch, settings.epochs, settings.seed, order)


def _complete(record: Record, file: RunFile, folder: RunFolder) -> None:
    """Settle how far a run came that was killed: to its last checkpoint."""
    outcome, costs = file.outcome, record.costs[0]
    last = max(record.checkpoints)
    if outcome.status == "running":
        outcome.steps = last
        outcome.message = f"stopped from outside; the last whole state is that after step {last:,}"
    elif last != outcome.steps:
        # Checkpoints are written before the outcome: a later one is missing or torn.
        outcome.message = f"the state after step {outcome.steps:,} is torn; the last whole one is of {last:,}"
        outcome.steps = last
    record.costs = [costs[: outcome.steps]]
