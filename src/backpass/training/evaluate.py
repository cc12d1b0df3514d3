"""How well a network does on given rows, from its forward program."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from backpass.exec.base import Array
from backpass.exec.reference import ReferenceFunction
from backpass.ir import Graph

_ROWS = 4096  # of one pass: enough to be quick, few enough to fit in memory


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

    def predict(self, weights: Mapping[str, Array], x: Array) -> Array:
        """The prediction for each row."""
        needed = {name: weights[name] for name in self._predict.graph.inputs if name in weights}
        parts = [
            self._predict({**needed, "x": x[i : i + _ROWS]})[self.prediction] for i in range(0, len(x), _ROWS)
        ]
        return np.concatenate(parts)

    def metrics(self, weights: Mapping[str, Array], x: Array, t: Array) -> dict[str, float]:
        """The mean loss, and the accuracy or R²."""
        needed = {name: weights[name] for name in self._score.graph.inputs if name in weights}
        losses, predictions = [], []
        for i in range(0, len(x), _ROWS):
            out = self._score({**needed, "x": x[i : i + _ROWS], "t": t[i : i + _ROWS]})
            losses.append(out["loss"].astype(np.float64))
            predictions.append(out[self.prediction])
        a = np.concatenate(predictions)
        found = {"loss": float(np.mean(np.concatenate(losses)))}
        if self.task == "classification":
            found["accuracy"] = float(np.mean(classes_of(a) == classes_of(t)))
        elif self.task == "multilabel":
            found["accuracy"] = float(np.mean((a > 0.5) == (t > 0.5)))  # of all labels of all rows
        else:
            rest = float(np.sum((t.astype(np.float64) - a) ** 2))
            spread = float(np.sum((t.astype(np.float64) - t.mean(axis=0, dtype=np.float64)) ** 2))
            found["r2"] = 1.0 - rest / spread if spread > 0 else float("nan")
        return found


def classes_of(a: Array) -> Array:
    """The class of each row: the largest output, or for a single output whether it is above one half."""
    found: Array = np.argmax(a, axis=1) if a.shape[1] > 1 else (a[:, 0] > 0.5).astype(np.int64)
    return found
