"""How well a network does on given rows, from its forward program."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from backpass.data import mapped
from backpass.exec.base import Array
from backpass.exec.reference import ReferenceFunction
from backpass.exec.threads import blas_threads, blas_threads_for
from backpass.ir import Graph

#: Rows of one pass: enough to be quick, few enough to fit in the processor's cache.
ROWS = 2048


class Evaluator:
    """Predictions and metrics from a program that has the prediction and the loss of each example.

    Parameters
    ----------
    program : Graph
        See `backpass.training.step.predict_graph`.
    prediction : str
        The name of the prediction (``a2``).
    task : {"classification", "multilabel", "regression"}
    """

    def __init__(self, program: Graph, prediction: str, task: str) -> None:
        self.prediction, self.task = prediction, task
        self._predict = ReferenceFunction(program.part([prediction]))
        self._score = ReferenceFunction(program.part([prediction, "loss"]))
        #: Of BLAS: no more than a pass is worth, and the same for few rows and for many.
        self.threads = blas_threads_for(program, {"B": ROWS})

    def predict(self, weights: Mapping[str, Array], x: Array, rows: NDArray[np.int64] | None = None) -> Array:
        """The prediction for each row, or for those of `rows` (sorted numbers), a block at a time."""
        needed = {name: weights[name] for name in self._predict.graph.inputs if name in weights}
        if rows is None:
            found = mapped.blocks(x, ROWS)
        else:
            found = ((i, mapped.take(x, rows[i : i + ROWS])) for i in range(0, len(rows), ROWS))
        with blas_threads(self.threads):
            answers = [self._predict({**needed, "x": block})[self.prediction] for _, block in found]
        return np.concatenate(answers)

    def metrics(self, weights: Mapping[str, Array], x: Array, t: Array) -> dict[str, float]:
        """The mean loss, and the accuracy or R², of all rows: a block at a time, none is kept."""
        with np.errstate(over="ignore", invalid="ignore"):  # a loss may be infinite, and then says so itself
            return self._metrics(weights, x, t)

    def _metrics(self, weights: Mapping[str, Array], x: Array, t: Array) -> dict[str, float]:
        needed = {name: weights[name] for name in self._score.graph.inputs if name in weights}
        regression = self.task == "regression"
        middle = t.mean(axis=0, dtype=np.float64) if regression else 0.0
        mapped.release(t)
        loss, right, rest, spread = 0.0, 0.0, 0.0, 0.0
        with blas_threads(self.threads):
            for (_, xs), (_, ts) in zip(mapped.blocks(x, ROWS), mapped.blocks(t, ROWS), strict=True):
                out = self._score({**needed, "x": xs, "t": ts})
                a = out[self.prediction]
                loss += float(np.sum(out["loss"], dtype=np.float64))
                if regression:
                    exact = ts.astype(np.float64)
                    rest += float(np.sum((exact - a) ** 2))
                    spread += float(np.sum((exact - middle) ** 2))
                elif self.task == "multilabel":
                    right += float(np.mean((a > 0.5) == (ts > 0.5), axis=1).sum())  # of all labels
                else:
                    right += int(np.sum(classes_of(a) == classes_of(ts)))
        found = {"loss": loss / len(x)}
        if regression:
            found["r2"] = 1.0 - rest / spread if spread > 0 else float("nan")
        else:
            found["accuracy"] = right / len(x)
        return found


def classes_of(a: Array) -> Array:
    """The class of each row: the largest output, or for a single output whether it is above one half."""
    found: Array = np.argmax(a, axis=1) if a.shape[1] > 1 else (a[:, 0] > 0.5).astype(np.int64)
    return found
