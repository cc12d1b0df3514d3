"""How networks and data are put in words, the same in every command."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from backpass.cli.output import percent

if TYPE_CHECKING:
    from backpass.data import Dataset
    from backpass.ir import Graph
    from backpass.training.settings import Settings

LOSSES = {"cross_entropy": "cross-entropy", "squared_error": "squared error"}


def network(settings: Settings) -> str:
    """The network of a run in short."""
    return layers(settings.in_features, settings.layers)


def layers(in_features: int, described: Any) -> str:
    """A network in short.

    Examples
    --------
    >>> layers(64, [{"units": 30, "activation": "relu"}, {"units": 10, "activation": "softmax"}])
    '64 - 30 relu - 10 softmax'
    """
    words = [str(in_features)]
    for layer in described:
        activation = layer.get("activation")
        if "units" in layer:
            told = f"{layer['units']} {activation if isinstance(activation, str) else ''}".strip()
            words.append(told.removesuffix(" identity"))
        else:
            words.append(activation if isinstance(activation, str) else str(layer.get("layer", "?")))
    return " - ".join(words)


def weights(graph: Graph) -> int:
    """How many weights and biases a program has."""
    shapes = [node.array_type.bind({}).shape for node in graph.inputs_of_kind("parameter").values()]
    return sum(prod(int(size) for size in shape) for shape in shapes)


def named(settings: Any) -> str:
    """Something with settings in words: its name, and those that are not off."""
    if isinstance(settings, str):
        return settings.replace("_", " ")
    rest = {k: v for k, v in settings.items() if k != "name" and v not in (None, 0, False)}
    told = [f"{k} {named(v) if isinstance(v, Mapping) else format(v, 'g')}" for k, v in rest.items()]
    return ", ".join([str(settings.get("name", "")).replace("_", " "), *told]).strip()


def optimiser(described: Mapping[str, Any], numbers: Mapping[str, float]) -> str:
    """An optimiser in short.

    Examples
    --------
    >>> optimiser({"name": "sgd", "lr": 0.05}, {"lr": 0.05, "momentum": 0.9})
    'sgd, lr 0.05, momentum 0.9'
    """
    usual = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "rho": 0.9}
    told = [f"{name} {value:g}" for name, value in numbers.items() if usual.get(name) != value]
    lr = described.get("lr")
    if isinstance(lr, Mapping):
        told.append(f"schedule {named(lr)}")
    return ", ".join([str(described["name"]), *told])


def data(dataset: Dataset) -> str:
    """A data set in short."""
    columns = len(dataset.feature_names) if dataset.table is not None else dataset.X.shape[1]
    targets = 1 if dataset.y.ndim == 1 else dataset.y.shape[1]
    called = f" ({', '.join(dataset.target[:3])})" if dataset.target else ""
    if dataset.task == "classification":
        what = f"{len(dataset.classes)} classes"
    elif dataset.task == "multilabel":
        what = f"{targets} yes-or-no answers to predict"
    else:
        what = "a quantity to predict" if targets == 1 else f"{targets} quantities to predict"
    own = "".join(
        f", and {len(part):,} {word} rows of its own"
        for word, part in (("validation", dataset.validation), ("test", dataset.test))
        if part is not None
    )
    return f"{dataset.name}: {len(dataset):,} rows of {columns:,} columns, {what}{called}{own}"


def quick_score(metrics: Mapping[str, float]) -> str:
    """The figure that people look at first."""
    if "accuracy" in metrics:
        return percent(metrics["accuracy"])
    return f"R² {metrics['r2']:.4f}" if "r2" in metrics else f"{metrics['loss']:.4f}"


def signature(graph: Graph) -> dict[str, dict[str, str]]:
    """The types of what goes into a program and comes out."""
    return {
        "inputs": {name: str(node.type) for name, node in graph.inputs.items()},
        "outputs": {name: str(node.type) for name, node in graph.outputs.items()},
    }
