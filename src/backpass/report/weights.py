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
    values = record.result()
    names = chain(record.predict_graph.part([record.prediction]))
    matrices = _matrices(names, values)
    if not matrices:
        return None
    picked = _picked(matrices)
    layers = []
    for k, title, labels in _columns(run, matrices):
        bias = values.get(f"b{names[k - 1][1:]}") if k else None
        units = tuple((labels[j], _tip(k, j, labels[j], names, bias)) for j in picked[k])
        layers.append(Layer(title, len(labels), units))
    links, notes = _links(matrices, picked, [f"{name}[{{}},{{}}]" for name in names], names)
    return Net(tuple(layers), links, notes)


def errors(run: Any, visit: Any, b: int) -> Net | None:
    """The same net with what one example sends back through it: ``δ[b,k] W[j,k]`` on each link.

    Parameters
    ----------
    run : Run
    visit : Visit
        The step.
    b : int
        The example's place in the batch.
    """
    names = chain(run.record.predict_graph.part([run.record.prediction]))
    deltas = [f"δ{name[1:]}" for name in names]
    if not all(name in visit.graph.named for name in deltas):
        return None
    matrices = _matrices(names, {name: visit.actual(name) for name in names})
    found = [visit[name][b].astype(np.float64) for name in deltas]
    if not matrices or any(d.shape != m.shape[1:] for d, m in zip(found, matrices, strict=True)):
        return None
    sent = [matrix * delta for matrix, delta in zip(matrices, found, strict=True)]
    if not all(np.isfinite(s).all() for s in sent):
        return None
    picked = _picked(sent)
    layers = []
    for k, title, labels in _columns(run, matrices):
        delta = found[k - 1] if k else np.zeros(0)
        largest = float(np.abs(delta).max(initial=0.0)) or 1.0
        units = tuple(
            (labels[j], f"{deltas[k - 1]}[{b},{j}] = {figure(float(delta[j]))}" if k else f"x[{b},{j}]")
            for j in picked[k]
        )
        levels = tuple(float(delta[j]) / largest for j in picked[k]) if k else ()
        layers.append(Layer(title, len(labels), units, levels))
    spelled = [f"{d}[{b},{{1}}] {name}[{{0}},{{1}}]" for d, name in zip(deltas, names, strict=True)]
    links, notes = _links(sent, picked, spelled, [f"{d} {n}" for d, n in zip(deltas, names, strict=True)])
    return Net(
        tuple(layers), links, ("a link shows δ W; a unit is as full as its δ is large in its layer", *notes)
    )


def _matrices(names: Sequence[str], values: Any) -> list[Floats]:
    """The weights layer by layer; none, where they do not fit each other or are not finite."""
    matrices = [np.asarray(values[name], dtype=np.float64) for name in names]
    fits = all(a.shape[1] == b.shape[0] for a, b in itertools.pairwise(matrices))
    return matrices if fits and all(np.isfinite(m).all() for m in matrices) else []


def _picked(matrices: Sequence[Floats]) -> list[list[int]]:
    """The units of each column to show."""
    return [_strongest(matrices, k) for k in range(len(matrices) + 1)]


def _columns(run: Any, matrices: Sequence[Floats]) -> Iterable[tuple[int, str, list[str]]]:
    """Each column of units: its number, its title and what its units are called."""
    sizes = [matrices[0].shape[0], *(m.shape[1] for m in matrices)]
    for k, size in enumerate(sizes):
        labels = _labels(k, size, len(sizes), run.preparation.columns, run.answers_named)
        yield k, "input x" if not k else "output" if k == len(sizes) - 1 else f"layer {k}", labels


def _links(
    matrices: Sequence[Floats], picked: Sequence[Sequence[int]], spelled: Sequence[str], names: Sequence[str]
) -> tuple[tuple[Link, ...], tuple[str, ...]]:
    """The largest links between shown units, and what to say of those that are not shown.

    `spelled` is how the link from unit 0 to unit 1 of a matrix is called, with places for both.
    """
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
            links.append(Link(k, i, j, spelled[k].format(row, column), weight, abs(weight) / largest))
    greatest = (f"|{n}| {figure(float(np.abs(m).max()), 3)}" for n, m in zip(names, matrices, strict=True))
    notes = [f"largest: {', '.join(greatest)}"]
    if max(size for m in matrices for size in m.shape) > UNITS:
        notes.append(f"of a layer with more than {UNITS} units, those with the largest are shown")
    if cut:
        notes.append(f"between two layers, the {LINKS} largest links of the shown units are drawn")
    return tuple(links), tuple(notes)


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
    name = _of_pixels(run)
    if not name:
        return None
    return _images(run, np.asarray(run.record.result()[name], dtype=np.float64), f"{name}: the", "weights")


def gradient_images(run: Any, visit: Any) -> Images | None:
    """Where a step's error wants the first layer's weights: −dW as images, if the inputs are pixels."""
    name = _of_pixels(run)
    if not name or f"d{name}" not in visit.graph.named:
        return None
    return _images(
        run, -visit[f"d{name}"].astype(np.float64), f"−d{name}: where the error wants the", "weights"
    )


def _of_pixels(run: Any) -> str | None:
    """The matrix that the pixels enter, if the inputs are pixels and a matrix is what they enter."""
    shape = run.settings.data.image_shape
    names = chain(run.record.predict_graph.part([run.record.prediction]))
    if not shape or len(shape) not in (2, 3) or not names:
        return None
    return names[0] if run.graph.inputs[names[0]].shape[0] == int(np.prod(shape)) else None


def _images(run: Any, matrix: Floats, what: str, of: str) -> Images | None:
    """The columns of a matrix as images."""
    shape = run.settings.data.image_shape
    if not np.isfinite(matrix).all():
        return None
    units = matrix.shape[1]
    shown = _most(np.abs(matrix).sum(axis=0), IMAGES)
    pictures = matrix.T[shown].reshape(len(shown), *shape)
    notes = [f"{what} {matrix.shape[0]:,} {of} into each unit, at the place of their pixel"]
    if len(shape) == 3:
        pictures = pictures.mean(axis=-1)
        notes.append(f"the mean over the {shape[-1]} channels")
    if len(shown) < units:
        notes.append(f"the {len(shown)} of {units:,} units with the largest {of}")
    # A few extreme weights would leave the others pale: the largest of a thousand is full colour.
    largest = float(np.quantile(np.abs(pictures), 0.999)) or 1.0
    tips = tuple(
        f"unit {j}: {of} from {figure(float(p.min()), 3)} to {figure(float(p.max()), 3)}"
        for j, p in zip(shown, pictures, strict=True)
    )
    return Images(
        np.clip(pictures / largest, -1, 1), tuple(str(j) for j in shown), tips, largest, tuple(notes)
    )


def _most(strength: Floats, most: int) -> list[int]:
    """The places of the largest, in their own order."""
    found: Iterable[int] = np.argsort(-strength, kind="stable")[:most].tolist()
    return sorted(found)
