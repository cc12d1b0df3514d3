"""`Run`: a training that can be used, saved, visited at any step, and asked."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backpass.data import Dataset, as_rows, from_arrays, scaled
from backpass.errors import DataError
from backpass.exec.base import Array, Loop
from backpass.exec.choose import executor_named
from backpass.ir import Graph
from backpass.training.evaluate import Evaluator, classes_of
from backpass.training.folder import RunFolder
from backpass.training.record import Record
from backpass.training.replay import Moment, Replay
from backpass.training.rows import Rows
from backpass.training.settings import Settings
from backpass.training.store import Writer, read_record

if TYPE_CHECKING:
    from backpass.explain import Answer


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
        """How it ended: "finished", "stopped early", "time limit", "interrupted" or "diverged".

        It is "running" for a run that was killed.
        """
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
        """Metrics of the weights that the run ends with, by part: train, validation, test."""
        return self.record.outcome.metrics

    @cached_property
    def weights(self) -> dict[str, Array]:
        """The parameters after the last step, or the best ones where early stopping kept them."""
        result = self.record.result()
        return {name: result[name] for name in self.graph.inputs_of_kind("parameter")}

    def text(self, style: str = "python", **options: Any) -> str:
        """The program of a step, with the values of its numbers; see `backpass.ir.text.text`."""
        options.setdefault("values", self.record.number_values)
        return self.graph.text(style, **options)  # type: ignore[arg-type]

    # ---- use

    @cached_property
    def _evaluator(self) -> Evaluator:
        return Evaluator(self.record.predict_graph, self.record.prediction, self.settings.data.task)

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
        return self._evaluator.predict(self.record.result(), scaled(rows, self.settings.data.scale, kind))

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
        loop, data = self._loop, self.rows.arrays | self.record.row_data
        if loop is None:
            executor = executor_named(self.settings.executor)
            loop = executor.compile_loop(self.graph, data, self.settings.batch)
            loop.threads = max(1, self.settings.machine.threads)  # as the run had it: it can decide bits
        return Replay(self.record, loop, data)

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
        Writer(folder, self.record, self.rows if self._rows is not None else None).end()
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
    record = read_record(folder)
    rows = None
    if data is not None:
        dataset = data if isinstance(data, Dataset) else from_arrays(*data)
        rows = Rows.matching(dataset, record.settings)
    return Run(record, rows, folder.path)
