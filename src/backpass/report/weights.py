"""What the pictures of weights are made of: which units and links are shown, and how large they are."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backpass.ir import Graph, Node
from backpass.pictures.axes import figure
from backpass.pictures.nets import Layer, Link

Floats = NDArray[np.float64]

UNITS, LINKS, IMAGES = 16, 120, 100  # shown of a layer, between two layers, and of the first layer


@dataclass(frozen=True)
class Net:
    """The parts of `nets.net_picture`."""

    layers: tuple[Layer, ...]
    links: tuple[Link, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Images:
    """The parts of `nets.weight_images`."""

    images: Floats
    names: tuple[str, ...]
    tips: tuple[str, ...]
    largest: float
    notes: tuple[str, ...]


def chain(program: Graph) -> list[str]:
    """The weight matrices of a program in order, if each layer follows the one before it; else none.

    Found from the program itself, so that it holds for any network: the rows ``x`` reach a first product, its
    result alone reaches the second one, and so on.
    """
    reaches: dict[Node, frozenset[str]] = {}
    before: dict[str, frozenset[str]] = {}
    for node in program.nodes:
        weight = _weight(node)
        if weight is not None:
            if weight in before:
                return []  # used twice
            before[weight] = reaches[node.inputs[0]]
            reaches[node] = frozenset([weight])
        elif node.op.settings().get("kind") == "data":
            reaches[node] = frozenset(["x"]) if node.name == "x" else frozenset()
        else:
            reaches[node] = frozenset().union(*(reaches[n] for n in node.inputs))
    order = list(before)
    for source, weight in zip(["x", *order], order, strict=False):
        if before[weight] != {source}:
            return []
    return order


def _weight(node: Node) -> str | None:
    """The name of the matrix, where a node is a product of rows with a parameter."""
    if node.op.name != "matmul" or len(node.inputs) != 2:
        return None
    right = node.inputs[1]
    kind = right.op.settings().get("kind")
    return right.name if kind in ("parameter", "fixed") and len(right.shape) == 2 else None


def net(run: Any) -> Net | None:
    """The net of a run, if it is layer after layer."""
    record = run.record
    program = record.predict_graph.part([record.prediction])
    names = chain(program)
    values = record.result()
    matrices = [np.asarray(values[name], dtype=np.float64) for name in names]
    fits = all(a.shape[1] == b.shape[0] for a, b in itertools.pairwise(matrices))
    if not matrices or not fits or not all(np.isfinite(m).all() for m in matrices):
        return None
    sizes = [matrices[0].shape[0], *(m.shape[1] for m in matrices)]
    picked = [_strongest(matrices, k) for k in range(len(sizes))]
    inputs, outputs = run.preparation.columns, run.answers_named
    layers = []
    for k, size in enumerate(sizes):
        labels = _labels(k, size, len(sizes), inputs, outputs)
        bias = values.get(f"b{names[k - 1][1:]}") if k else None
        units = tuple((labels[j], _tip(k, j, labels[j], names, bias)) for j in picked[k])
        title = "input x" if not k else "output" if k == len(sizes) - 1 else f"layer {k}"
        layers.append(Layer(title, size, units))
    links, cut = [], False
    for k, matrix in enumerate(matrices):
        shown = np.abs(matrix[np.ix_(picked[k], picked[k + 1])])
        largest = float(np.abs(matrix).max()) or 1.0
        strongest = np.argsort(-shown, axis=None, kind="stable")[:LINKS]
        cut |= shown.size > LINKS
        for place in strongest:
            i, j = divmod(int(place), shown.shape[1])
            row, column = picked[k][i], picked[k + 1][j]
            weight = float(matrix[row, column])
            links.append(Link(k, i, j, f"{names[k]}[{row},{column}]", weight, abs(weight) / largest))
    greatest = (f"|{n}| {figure(float(np.abs(m).max()), 3)}" for n, m in zip(names, matrices, strict=True))
    notes = [f"largest: {', '.join(greatest)}"]
    if max(sizes) > UNITS:
        notes.append(f"of a layer with more than {UNITS} units, those with the largest weights are shown")
    if cut:
        notes.append(f"between two layers, the {LINKS} largest weights of the shown units are drawn")
    return Net(tuple(layers), tuple(links), tuple(notes))


def _strongest(matrices: Sequence[Floats], k: int) -> list[int]:
    """The units of layer k to show: all, or those with the largest weights of a matrix, in their order."""
    size = matrices[k].shape[0] if k < len(matrices) else matrices[-1].shape[1]
    if size <= UNITS:
        return list(range(size))
    strength = np.zeros(size)
    for matrix, axis in (
        (matrices[k] if k < len(matrices) else None, 1),
        (matrices[k - 1] if k else None, 0),
    ):
        if matrix is not None:
            strength = np.maximum(strength, np.abs(matrix).max(axis=axis) / (np.abs(matrix).max() or 1.0))
    return sorted(np.argsort(-strength, kind="stable")[: UNITS - 1].tolist())


def _labels(k: int, size: int, layers: int, inputs: Sequence[Any], outputs: Sequence[Any]) -> list[str]:
    if k == 0:
        return [str(c) for c in inputs] if len(inputs) == size else [f"x[{i}]" for i in range(size)]
    if k < layers - 1:
        return [""] * size
    if len(outputs) == 2 and size == 1:
        return [f"is {outputs[1]}"]  # one output: is it the second class?
    return [str(c) for c in outputs] if len(outputs) == size else [f"output {j}" for j in range(size)]


def _tip(k: int, j: int, label: str, names: Sequence[str], bias: Any) -> str:
    if k == 0:
        return f"input {j}: {label}"
    number = names[k - 1][1:]
    told = f"unit {j} of layer {number}" + (f", {label}" if label else "")
    return told if bias is None else f"{told}: b{number}[{j}] = {figure(float(bias[j]))}"


def images(run: Any) -> Images | None:
    """The weights of the first layer as images, if the inputs are pixels."""
    shape = run.settings.data.image_shape
    record = run.record
    names = chain(record.predict_graph.part([record.prediction]))
    if not shape or len(shape) not in (2, 3) or not names:
        return None
    matrix = np.asarray(record.result()[names[0]], dtype=np.float64)
    if matrix.shape[0] != int(np.prod(shape)) or not np.isfinite(matrix).all():
        return None
    units = matrix.shape[1]
    shown = _most(np.abs(matrix).sum(axis=0), IMAGES)
    pictures = matrix.T[shown].reshape(len(shown), *shape)
    notes = [f"{names[0]}: the {matrix.shape[0]:,} weights into each unit, at the place of their pixel"]
    if len(shape) == 3:
        pictures = pictures.mean(axis=-1)
        notes.append(f"the mean over the {shape[-1]} channels")
    if len(shown) < units:
        notes.append(f"the {len(shown)} of {units:,} units with the largest weights")
    # A few extreme weights would leave the others pale: the largest of a thousand is full colour.
    largest = float(np.quantile(np.abs(pictures), 0.999)) or 1.0
    tips = tuple(
        f"unit {j}: weights from {figure(float(p.min()), 3)} to {figure(float(p.max()), 3)}"
        for j, p in zip(shown, pictures, strict=True)
    )
    return Images(
        np.clip(pictures / largest, -1, 1), tuple(str(j) for j in shown), tips, largest, tuple(notes)
    )


def _most(strength: Floats, most: int) -> list[int]:
    """The places of the largest, in their own order."""
    found: Iterable[int] = np.argsort(-strength, kind="stable")[:most].tolist()
    return sorted(found)
