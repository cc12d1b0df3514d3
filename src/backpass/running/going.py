"""Going from step to step until a run ends, and leaving a whole record behind, whatever ends it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from msgspec.structs import replace
from numpy.typing import ArrayLike

from backpass.exec.base import Loop
from backpass.record.folder import RunFolder
from backpass.record.record import Record
from backpass.record.rows import Pair, Rows
from backpass.record.store import Writer
from backpass.running.branching import branched, rows_to_drop
from backpass.running.loop import Callbacks, Progress, train_steps
from backpass.running.resuming import check_held
from backpass.training.ahead import StreamedLoop
from backpass.training.evaluate import Evaluator
from backpass.training.schedules import Schedule
from backpass.training.stopping import EarlyStopping

if TYPE_CHECKING:
    from backpass.record.replay import Replay


class Going:
    """What a `backpass.Run` can do to get further: its steps, and a branch of them."""

    record: Record
    path: Path | None
    _loop: Loop | None

    if TYPE_CHECKING:

        @property
        def rows(self) -> Rows: ...

        @property
        def replay(self) -> Replay: ...

        @property
        def parts(self) -> dict[str, Pair]: ...

        def _new_loop(self) -> Loop: ...

        def _with(self, record: Record) -> Self: ...

    def branch(
        self,
        at: int,
        *,
        lr: float | Schedule | None = None,
        numbers: Mapping[str, float] | None = None,
        drop_rows: ArrayLike | str = (),
        epochs: int | None = None,
        out: str | os.PathLike[str] | RunFolder | None = None,
        time_limit: float | None = None,
        callbacks: Iterable[Any] = (),
        begun: Callable[[Self], None] | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> Self:
        """A new run that shares the first `at` steps of this one, and goes its own way from there.

        All of its steps can be visited and asked, the shared ones too. Without any change it is this run
        again, bit for bit. If something changes, early stopping has its patience anew from there on.

        Parameters
        ----------
        at : int
            Completed steps that both share; 0 is the start.
        lr : float or Schedule, optional
            The learning rate from there on. A schedule counts steps and epochs from the start of the run.
        numbers : mapping of str to float, optional
            Other numbers of the program: ``{"momentum": 0.5}``.
        drop_rows : array-like of int, or str
            Rows to leave out from there on, as they are numbered in the data set: ``[17, 40]``, or as in
            ``"17,40-60"``; of a stretch those that are held out do not matter.
        epochs : int, optional
            How many epochs the whole is to have, with those before `at`.
        out : path-like, optional
            A new folder for it. Its checkpoints of the shared steps take no room of their own there.
        time_limit, callbacks, begun, progress
            See `backpass.train`.

        Returns
        -------
        Run

        Raises
        ------
        UsageError
            There is no such step, number or row, or nothing is left to do.

        Examples
        --------
        >>> import backpass as bp
        >>> net = bp.Network([bp.Dense(4, "tanh"), bp.Dense(2, "softmax")])
        >>> run = bp.train(net, "xor", optimizer=bp.SGD(0.5), batch=4, epochs=20)
        >>> other = run.branch(at=10, lr=0.25)
        >>> [float(r.at(step).feeds["lr"]) for r in (run, other) for step in (10, 11)]
        [0.5, 0.5, 0.5, 0.25]
        """
        held, data = self._held(), self.record.settings.data
        dropped = rows_to_drop(drop_rows, self.rows.numbers, data.all_rows)
        record = branched(
            self.record, self.replay, at, lr=lr, numbers=numbers or {}, dropped=dropped,
            rows=self.rows.numbers, epochs=epochs, run="" if self.path is None else str(self.path),
        )  # fmt: skip
        record.settings = replace(record.settings, time_limit=time_limit)
        other, stop = self._with(record), record.settings.stop
        other._go(
            other._new_loop(), out, held, shared=self.path, begun=begun, progress=progress,
            stop=None if stop is None else EarlyStopping(**stop),
            time_limit=time_limit, callbacks=Callbacks(callbacks),
        )  # fmt: skip
        return other

    def _held(self) -> dict[str, Pair]:
        """The rows that are held out: all of them, or an error."""
        held = {name: part for name, part in self.parts.items() if name != "train"}
        check_held(self.record, held)
        return held

    def _go(
        self,
        loop: Loop,
        folder: str | os.PathLike[str] | RunFolder | None,
        held: Mapping[str, Pair],
        *,
        shared: Path | None = None,
        again: bool = False,
        begun: Callable[[Self], None] | None = None,
        progress: Callable[[Progress], None] | None = None,
        **events: Any,
    ) -> None:
        """Run the steps that are left, writing to the folder as they go.

        Parameters
        ----------
        loop : Loop
            Of the step, over the rows to train on.
        folder : path-like or RunFolder, optional
        held : mapping of str to (x, t)
            "validation" and "test", where there are any.
        shared, again
            See `Writer`.
        begun : callable, optional
            Called before the first step.
        progress : callable, optional
        **events
            What may end the run: ``stop``, ``time_limit``, ``callbacks``; see `train_steps`.
        """
        writer = None
        if folder is not None:
            folder = folder if isinstance(folder, RunFolder) else RunFolder.create(folder)
            writer = Writer(folder, self.record, self.rows, shared=shared, again=again)
            self.path = Path(folder.path)
        self._loop = (
            None if isinstance(loop, StreamedLoop) else loop
        )  # that has a buffer; replay makes its own
        try:
            self._steps(loop, held, writer, begun, progress, events)
        except BaseException as error:
            error.run = self  # type: ignore[attr-defined]
            raise

    def _steps(
        self,
        loop: Loop,
        held: Mapping[str, Pair],
        writer: Writer | None,
        begun: Callable[[Self], None] | None,
        progress: Callable[[Progress], None] | None,
        events: Mapping[str, Any],
    ) -> None:
        record, arrays, validation = self.record, self.rows.arrays, held.get("validation")
        evaluator = Evaluator(record.predict_graph, record.prediction, record.settings.data.task)
        validate = None if validation is None else lambda values: evaluator.metrics(values, *validation)
        wrote = None if writer is None else lambda done: writer.wrote()
        try:
            if begun is not None:
                begun(self)
            data = arrays | record.row_data
            for event in train_steps(record, loop, data, validate=validate, wrote=wrote, **events):
                if progress is not None:
                    progress(event)
        finally:
            if record.outcome.status == "running":  # it has not come to the first step
                record.outcome.status = "interrupted"
            try:
                if record.outcome.status != "diverged":
                    parts, result = {"train": (arrays["x"], arrays["t"]), **held}, record.result()
                    record.outcome.metrics = {
                        name: evaluator.metrics(result, *part) for name, part in parts.items()
                    }
            finally:
                if writer is not None:
                    writer.end()
