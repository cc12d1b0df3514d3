"""How networks and data are put in words, the same in every command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backpass.data import Dataset
    from backpass.ir import Graph

LOSSES = {"cross_entropy": "cross-entropy", "squared_error": "squared error"}


def network(in_features: int, layers: Sequence[Mapping[str, Any]]) -> str:
    """A network in short.

    Examples
    --------
    >>> network(64, [{"units": 30, "activation": "relu"}, {"units": 10, "activation": "softmax"}])
    '64 - 30 relu - 10 softmax'
    """
    words = [f"{x['units']} {x['activation']}".removesuffix(" identity") for x in layers]
    return " - ".join([str(in_features), *words])


def weights(graph: Graph) -> int:
    """How many weights and biases a program has."""
    shapes = [node.array_type.bind({}).shape for node in graph.inputs_of_kind("parameter").values()]
    return sum(prod(int(size) for size in shape) for shape in shapes)


def optimiser(numbers: Mapping[str, float]) -> str:
    """An optimiser in short.

    Examples
    --------
    >>> optimiser({"lr": 0.05, "momentum": 0.9})
    'lr 0.05, momentum 0.9'
    """
    return ", ".join(f"{name} {value:g}" for name, value in numbers.items())


def data(dataset: Dataset) -> str:
    """A data set in short."""
    rows, columns = dataset.X.shape
    if dataset.classes:
        what = f"{len(dataset.classes)} classes"
    else:
        targets = 1 if dataset.y.ndim == 1 else dataset.y.shape[1]
        what = "a quantity to predict" if targets == 1 else f"{targets} quantities to predict"
    own = f", and {len(dataset.test):,} test rows of its own" if dataset.test is not None else ""
    return f"{dataset.name}: {rows:,} rows of {columns:,} columns, {what}{own}"


def signature(graph: Graph) -> dict[str, dict[str, str]]:
    """The types of what goes into a program and comes out."""
    return {
        "inputs": {name: str(node.type) for name, node in graph.inputs.items()},
        "outputs": {name: str(node.type) for name, node in graph.outputs.items()},
    }
