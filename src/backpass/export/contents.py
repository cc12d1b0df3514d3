"""What every export starts from: the program that predicts, its weights, and how raw rows become x."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from backpass.errors import UsageError
from backpass.exec.base import Array
from backpass.ir import Graph
from backpass.record.record import Record
from backpass.record.settings import Settings


class Trained(Protocol):
    """What an export takes from a `backpass.Run`, which stands above this room."""

    record: Record

    @property
    def settings(self) -> Settings: ...


@dataclass(frozen=True)
class Contents:
    """A trained network without its training.

    Attributes
    ----------
    graph : Graph
        The program from the rows ``x`` to the prediction.
    output : str
        The name of the prediction (``a2``).
    weights : dict of str to array
        A value for every input of the program but ``x``, in the order of the program.
    dtype : {"f32", "f64"}
    preparation : dict
        How raw rows become x, as `Preparation.describe` gives it.
    """

    graph: Graph
    output: str
    weights: Mapping[str, Array]
    dtype: str
    preparation: Mapping[str, Any]
    run: Trained

    @property
    def summary(self) -> str:
        """One line for the head of a file: what the network is and what it learned from."""
        settings = self.run.settings
        text = f"{self.run.record.network!r}, trained on {settings.data.name}"
        return "".join(c if c.isprintable() else " " for c in text)


def contents(run: Trained) -> Contents:
    """Take from a run what a prediction needs.

    Raises
    ------
    UsageError
        The prediction reads something that the run does not keep.
    """
    record = run.record
    output = record.prediction
    graph = record.predict_graph.part([output])
    kept = record.result()
    needed = [name for name in graph.inputs if name != "x"]
    missing = [name for name in needed if name not in kept]
    if missing:
        raise UsageError(
            f"the prediction reads {', '.join(missing)}, which the run does not keep; such a network "
            "cannot be exported"
        )
    weights = {name: np.ascontiguousarray(kept[name]) for name in needed}
    return Contents(graph, output, weights, run.settings.dtype, run.settings.data.preparation, run)


def header(lines: list[str]) -> str:
    """Lines as comments of a program: whatever they hold, none of it can become code."""
    return "\n".join("# " + "".join(c if c.isprintable() else " " for c in line) for line in lines)


def plain(value: Any) -> Any:
    """A setting as JSON and Python literals have it: NumPy's numbers become Python's."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    return value
