"""How networks and data are put in words, the same in every command."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from backpass.cli.output import percent

if TYPE_CHECKING:
    from backpass.data import Dataset
    from backpass.ir import Graph
    from backpass.record.settings import Settings

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
    told = [f"{k.replace('_', ' ')} {_value(v)}" for k, v in rest.items()]
    return ", ".join([str(settings.get("name", "")).replace("_", " "), *told]).strip()


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return named(value)
    return f"{value:g}" if isinstance(value, (int, float)) else str(value).replace("_", " ")


def optimiser(described: Mapping[str, Any], numbers: Mapping[str, float]) -> str:
    """An optimiser in short, with the penalties of the cost.

    Examples
    --------
    >>> optimiser({"name": "sgd", "lr": 0.05, "nesterov": True}, {"lr": 0.05, "momentum": 0.9})
    'sgd, lr 0.05, momentum 0.9, nesterov'
    >>> cosine = {"name": "cosine", "lr": 0.1, "low": 0.0}
    >>> optimiser({"name": "sgd", "lr": {"name": "warm_up", "around": cosine, "steps": 9}}, {"lr": 0.1})
    'sgd, lr 0.1 (warm up over 9 steps, then cosine)'
    """
    usual = {"beta1": 0.9, "beta2": 0.999, "rho": 0.9}
    lr = described.get("lr")
    told = [str(described["name"])]
    for name in sorted(numbers, key=lambda n: (n != "lr", n in ("l1", "l2"))):
        if usual.get(name) != numbers[name] and name != "eps":
            planned = f" ({schedule(lr)})" if name == "lr" and isinstance(lr, Mapping) else ""
            told.append(f"{name.replace('_', ' ')} {numbers[name]:g}{planned}")
    return ", ".join(told + (["nesterov"] if described.get("nesterov") else []))


def schedule(described: Mapping[str, Any]) -> str:
    """A schedule in short.

    Examples
    --------
    >>> schedule({"name": "step", "lr": 0.1, "factor": 0.5, "every": 10})
    'step, factor 0.5, every 10'
    """
    if described["name"] == "warm_up":
        around = described["around"]
        rest = "" if around["name"] == "constant" else f", then {schedule(around)}"
        return f"warm up over {described['steps']:,} steps{rest}"
    return named({name: value for name, value in described.items() if name != "lr"})


def counted(count: int, word: str) -> str:
    """A number and what it counts.

    Examples
    --------
    >>> counted(1, "step"), counted(1200, "step")
    ('1 step', '1,200 steps')
    """
    return f"{count:,} {word}{'' if count == 1 else 's'}"


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
    shape = f" ({' x '.join(map(str, dataset.image_shape))} images)" if dataset.image_shape else ""
    own = "".join(
        f", and {len(part):,} {word} rows of its own"
        for word, part in (("validation", dataset.validation), ("test", dataset.test))
        if part is not None
    )
    size = f"{counted(len(dataset), 'row')} of {counted(columns, 'column')}{shape}"
    return f"{dataset.name}: {size}, {what}{called}{own}"


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
