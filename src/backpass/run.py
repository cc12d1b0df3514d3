"""`Run`: a training that can be used, saved, visited at any step, and asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backpass.data import READING, Dataset, as_dataset, load_rows, mapped
from backpass.data.preparation import Preparation
from backpass.data.table import Table
from backpass.errors import UsageError
from backpass.exec.base import Array, Loop
from backpass.exec.choose import executor_named
from backpass.ir import REGISTRY, Graph, Op
from backpass.lookup import Lookup
from backpass.record.folder import RunFolder
from backpass.record.monitors import Monitors
from backpass.record.record import Record
from backpass.record.replay import Replay
from backpass.record.rows import Entry, Pair, Rows, held_again, kind_of
from backpass.record.settings import Settings
from backpass.record.store import Writer, read_record
from backpass.running.going import Going
from backpass.training.ahead import Ahead
from backpass.training.evaluate import Evaluator
from backpass.training.rules import check_rules
from backpass.visit import Visit

if TYPE_CHECKING:
    from backpass.explain.blame import Blame
    from backpass.explain.compare import Difference
    from backpass.explain.flow import Flow
    from backpass.explain.influence import Influence
    from backpass.explain.self_influence import SelfInfluence
    from backpass.explain.whatif_input import WhatIfInput
    from backpass.pictures import Picture


class Run(Going):
    """A training: its result, its record, and the way back into it.

    Made by `backpass.train` and `backpass.load`.

    Attributes
    ----------
    graph : Graph
        The program of one step.
    path : Path or None
        The run folder, where there is one.
    """

    def __init__(
        self,
        record: Record,
        rows: Rows | None,
        path: Path | None = None,
        entry: Entry | None = None,
        dataset: Dataset | None = None,
    ) -> None:
        self.record, self.path = record, path
        self._rows, self._entry, self._dataset = rows, entry, dataset
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
    def monitors(self) -> Monitors:
        """Norms of gradients, updates and weights, activation statistics, dead units, at some steps."""
        return self.record.monitors

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

    @cached_property
    def preparation(self) -> Preparation:
        """What raw rows become before they enter the network, and how its outputs become answers."""
        return Preparation.from_description(self.settings.data.preparation)

    def predict_raw(self, X: Any) -> Array:
        """The outputs of the network for each row: probabilities, or quantities as they were trained.

        Parameters
        ----------
        X : array-like of shape (n, d), data frame, Table, or path
            Raw rows, as the training data had them; they are prepared as the training rows were. Columns of a
            frame or a table are found by name.

        Returns
        -------
        ndarray, shape (n, outputs)
        """
        if isinstance(X, (str, os.PathLike)):
            X = self.read_rows(X)
        x = self.preparation.inputs(X, kind_of(self.settings.dtype))
        return self._evaluator.predict(self.record.result(), x)

    def read_rows(self, path: str | os.PathLike[str]) -> Any:
        """Raw rows from a file, read as the training rows were; see `backpass.data.load_rows`."""
        data = self.settings.data
        options = {key: value for key, value in data.options.items() if key in READING}
        return load_rows(path, **options, image_shape=data.image_shape)

    def predict(self, X: Any) -> Array:
        """The class of each row, or the predicted quantities in the units of the data.

        Returns
        -------
        ndarray, shape (n,) for classes and a single quantity, else (n, outputs)
        """
        return self.preparation.answers(self.predict_raw(X))

    # ---- how good it is

    @cached_property
    def parts(self) -> dict[str, Pair]:
        """Rows and targets as the network sees them: train, and validation and test if there are any.

        Of a loaded run, held-out rows are read again from where they came, if they came from a file.
        """
        held = self._entry.held if self._entry is not None else held_again(self.settings, self._dataset)
        rows = self.rows.arrays
        return {"train": (rows["x"], rows["t"]), **held}

    @cached_property
    def scores(self) -> dict[str, dict[str, Any]]:
        """Every usual metric of each part, in the units of the data; see `backpass.scoring.score`.

        Of a part in files with more than a million rows, those of a million, drawn by the seed; ``of`` then
        says how many there are. `metrics` is always of all rows.
        """
        from backpass.scoring import SCORED, score

        data, units = self.settings.data, self.preparation.in_units
        found = {}
        for name, (x, t) in self.parts.items():
            rows = mapped.some(x, SCORED, self.settings.seed)
            outputs = self._evaluator.predict(self.record.result(), x, rows)
            t = t if rows is None else mapped.take(t, rows)
            found[name] = score(data.task, units(t), units(outputs), self.answers_named, self.probable)
            if rows is not None:
                found[name]["of"] = len(x)
        return found

    @cached_property
    def baselines(self) -> dict[str, dict[str, Any]]:
        """The same metrics of simple models, fitted on the same rows; see `backpass.scoring.baselines`."""
        from backpass.scoring import baselines

        data, (x, t) = self.settings.data, self.parts["train"]
        return baselines(
            data.task, x, t, self.parts, classes=self.answers_named, seed=self.settings.seed,
            units=self.preparation.in_units,
        )  # fmt: skip

    @property
    def answers_named(self) -> tuple[Any, ...]:
        """The classes, or the names of the target columns; empty where they have none."""
        return self.settings.data.classes or self.preparation.target_names

    @property
    def probable(self) -> bool:
        """Whether the outputs are probabilities."""
        return self.record.network.activation in ("softmax", "sigmoid")

    # ---- for people and for elsewhere

    def plot(self, what: str = "curves") -> Picture:
        """A picture of the run; see `backpass.report.plot`."""
        from backpass.report import plot

        return plot(self, what)

    def report(
        self,
        path: str | os.PathLike[str] | None = None,
        command: str = "",
        *,
        full: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> Path:
        """Write the report, one HTML file; into the run folder unless told otherwise.

        `full` and `progress` are those of `backpass.report.report_html`.
        """
        from backpass.report import write_report

        if path is None:
            if self.path is None:
                raise UsageError("the run has no folder: save it first, or name a file, run.report('r.html')")
            path = self.path / "report.html"
        return write_report(
            self, path, baselines=self.baselines, command=command, full=full, progress=progress
        )

    def export(self, format: str, out: str | os.PathLike[str], *, overwrite: bool = False) -> list[Path]:
        """Write the network for use elsewhere; see `backpass.export.export`."""
        from backpass.export import export

        return export(self, format, out, overwrite=overwrite)

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
        loop = self._loop if self._loop is not None else self._new_loop()
        return Replay(self.record, loop, self.rows.arrays | self.record.row_data)

    def _new_loop(self) -> Loop:
        """A loop like the one that the run had."""
        executor = executor_named(self.settings.executor)
        ahead = Ahead(self.rows.arrays | self.record.row_data, self.settings.batch)
        loop = ahead.loop(executor.compile_loop(self.graph, ahead.arrays, self.settings.batch))
        loop.threads = max(1, self.settings.machine.threads)  # as the run had it: it can decide bits
        return loop

    def _with(self, record: Record) -> Run:
        """A run of the same data with another record."""
        run = Run(record, self.rows, None, self._entry, self._dataset)
        run.__dict__["parts"] = self.parts  # the same rows need not be read once more
        return run

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
        return Visit(self.replay, self.rows.numbers, step)

    def verify(self) -> int:
        """Run everything again and compare with each checkpoint bit for bit; the number of steps."""
        return self.replay.verify()

    # ---- questions about the whole run; about a step, ask `at(step)`

    def flow(self, step: int | None = None) -> Flow:
        """How the error flows back in a step (the last one if left out), and how it did over the run."""
        from backpass.explain.flow import flow

        return flow(self.at(self.steps if step is None else step), self.monitors)

    def diff(self, other: Run) -> Difference:
        """Where another run parts from this one, and what each was told; see `backpass.explain.compare`."""
        from backpass.explain.compare import compare

        return compare(self, other)

    def whatif(self, row: Any, changes: Mapping[str, Any], step: int | None = None) -> WhatIfInput:
        """The same prediction with columns of its row changed, side by side.

        Parameters
        ----------
        row : int, or one raw row (frame, Table or array of shape (1, d))
            An int is the number of a row in the data set.
        changes : mapping of str to float or str
            By the name of the column; of a matrix without names, by its number.
        step : int, optional
            With the weights before this step; those of the result if left out.
        """
        from backpass.explain.whatif_input import whatif_input, with_columns

        raw, what = self.lookup.raw(row)
        names = () if isinstance(raw, Table) else self.preparation.features
        changed, told = with_columns(raw, changes, names)
        kind = kind_of(self.settings.dtype)
        values = self.record.result() if step is None else self.at(step).before | self.record.fixed
        return whatif_input(
            self.record.predict_graph,
            values,
            self.record.prediction,
            self.preparation.inputs(raw, kind),
            self.preparation.inputs(changed, kind),
            what=what,
            changes=told,
            columns=self.preparation.columns,
            outputs=[str(name) for name in self.answers_named],
            classes=self.settings.data.task == "classification",
            units=self.preparation.in_units,
            step=step,
        )

    def blame(
        self,
        target: str,
        by: str = "example",
        *,
        start: int | None = None,
        stop: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Blame:
        """What made a weight what it is: the ledger of the whole run; see `backpass.explain.blame.blame`.

        Parameters
        ----------
        target : str
            One entry of a parameter: ``"W2[3,1]"``.
        by : {"example", "class", "step", "epoch", "row"}
        start, stop : int, optional
            The first and the last step that count, counted from 1; all that made the result, if left out.
        progress : callable, optional
            Called with the steps done, and all of them.
        """
        from backpass.explain.blame import blame
        from backpass.explain.naming import Naming

        found = blame(self.replay, self.rows.numbers, target, by, start, stop, progress)
        return Naming(self.record).named(found)

    def influence(
        self, given: Any, *, verify: int = 0, progress: Callable[[int, int], None] | None = None
    ) -> Influence:
        """Which training rows moved the loss on an input, along the run as it was, every step of it.

        Parameters
        ----------
        given : int, "test/3", path, or (X, y)
            The input with its target: a row of the data set by its number, of a part by its place, rows of a
            file, or rows given; of several, the mean loss is meant.
        verify : int
            Train again without so many of the rows that lowered the loss most, and say what happened.
        progress : callable, optional
            Called with the steps done, and all of them.
        """
        from backpass.explain.influence import influence

        x, t, what = self.lookup.entered(given)
        numbers = self.rows.numbers
        return influence(self.replay, numbers, x, t, target=what, verify=verify, progress=progress)

    def self_influence(self, progress: Callable[[int, int], None] | None = None) -> SelfInfluence:
        """Rank the training rows by their influence on themselves: wrong labels come first."""
        from backpass.explain.self_influence import self_influence

        return self_influence(self.replay, self.rows.numbers, progress=progress)

    @cached_property
    def lookup(self) -> Lookup:
        """Finds the rows that questions name."""
        known = self._entry.dataset if self._entry is not None else self._dataset
        return Lookup(self.settings, self.preparation, self.rows, lambda: self.parts, known)

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
        steps = f"{self.steps:,} step{'s' * (self.steps != 1)}"
        return f"<Run of {steps} on {self.settings.data.name}, {self.status}{shown and f': {shown}'}>"


def load(path: str | os.PathLike[str], data: Any = None, *, ops: Iterable[type[Op]] = ()) -> Run:
    """Read a run folder.

    Nothing of it is executed: kernels are compiled from the typed program, with names of our own making.

    Parameters
    ----------
    path : path-like
    data : (X, y), data frame with its target, or Dataset, optional
        The data of the run, where the folder does not say where they are. They must be the very same.
    ops : iterable of Op classes, optional
        Ops of your own that the run uses. An op is known once its class is defined, so this is a place to
        say which, no more; a folder never holds their code.

    Raises
    ------
    RecordError
        The folder is not there, torn, newer than this version, or not a run.
    """
    for op in ops:
        if not (isinstance(op, type) and issubclass(op, Op)) or REGISTRY.all().get(op.name) is not op:
            raise UsageError(f"ops are classes of your own ops, as they are defined last; got {op!r}")
    folder = RunFolder(path)
    record = read_record(folder)
    check_rules(record.settings.rules, record.step, record.predict_graph)
    rows = dataset = None
    if data is not None:
        dataset = as_dataset(data)
        rows = Rows.matching(dataset, record.settings)
    return Run(record, rows, folder.path, dataset=dataset)
