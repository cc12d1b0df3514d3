"""Steps as the networks of this library have them, as loops over data: for the tests of executors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from backpass.exec.base import Loop
from backpass.exec.compiled import Compiled
from backpass.exec.reference import Reference
from backpass.ir import Graph, Node
from backpass.ir.tuples import Item
from backpass.ir.types import parse_type
from backpass.ops import (
    Exp,
    Gather,
    Input,
    LogSoftmax,
    Mean,
    Reshape,
    Scan,
    SoftmaxCrossEntropy,
    Sqrt,
    Sum,
    Tanh,
    Transpose,
    Uniform,
    Where,
    data,
    filled,
    number,
    parameter,
    state,
)
from backpass.passes import backward, simplify
from backpass.training.batches import Batches
from backpass.training.optimisers import SGD, Adagrad, Adam, AdamW, Optimiser, RMSprop, number_inputs

KINDS = {"f32": np.float32, "f64": np.float64}
ROWS, BATCH = 50, 8  # the seventh batch of an epoch has two rows


@dataclass
class Case:
    """A step with its data, its starting values and the numbers of each step."""

    step: Graph
    rows: dict[str, np.ndarray]
    start: dict[str, np.ndarray]
    numbers: dict[str, float]

    def span(self, first: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        given = [self.numbers[name] for name in self.step.inputs_of_kind("number")]
        order, starts = Batches(ROWS, BATCH, 100, 0).span(first, stop)
        return order, starts, np.tile(np.array(given, float), (stop - first, 1))


def fixed(name: str, of: str) -> Node:
    return Input("fixed", parse_type(of))(name=name)


def finished(outputs: dict[str, Node], carry: dict[str, str], optimiser: Optimiser, dtype: str) -> Graph:
    """The forward outputs with gradients and the update."""
    forward = Graph(outputs, carry)
    parameters = forward.inputs_of_kind("parameter")
    step = backward(forward, "C", list(parameters))
    gradients = {name: step[f"d{name}"] for name in parameters}
    update = optimiser.update(parameters, gradients, number_inputs(optimiser, dtype))
    return simplify(step.extended(update.outputs, update.carry), fold=True)


def started(step: Graph, rows: dict[str, np.ndarray], optimiser: Optimiser, rng: np.random.Generator) -> Case:
    """Values for everything that a step holds: small parameters, slots at zero."""
    start: dict[str, np.ndarray] = {}
    for kind in ("parameter", "state", "fixed"):
        for name, node in step.inputs_of_kind(kind).items():
            type_ = node.array_type
            drawn = rng.standard_normal(type_.shape) * 0.3 if kind != "state" else np.zeros(type_.shape)
            start[name] = np.asarray(drawn, type_.numpy_dtype)
    return Case(step, rows, start, dict(optimiser.numbers))


def _perceptron(dtype: str, optimiser: Optimiser) -> Case:
    """Two dense layers."""
    rng = np.random.default_rng(0)
    x, t = data("x", f"{dtype}[B,12]"), data("t", f"{dtype}[B,3]")
    a = Tanh()((x @ parameter("W1", f"{dtype}[12,9]") + parameter("b1", f"{dtype}[9]")).named("z1"))
    z = (a @ parameter("W2", f"{dtype}[9,3]") + parameter("b2", f"{dtype}[3]")).named("z2")
    C = Mean()(SoftmaxCrossEntropy()(z, t), name="C")
    rows = {"x": rng.standard_normal((ROWS, 12)), "t": np.eye(3)[rng.integers(0, 3, ROWS)]}
    step = finished({"C": C}, {}, optimiser, dtype)
    return started(step, {k: v.astype(KINDS[dtype]) for k, v in rows.items()}, optimiser, rng)


def _normalised(dtype: str) -> Case:
    """Batch normalisation with running statistics that are carried, and a number of steps."""
    rng, optimiser = np.random.default_rng(1), SGD(0.05, 0.9)
    x, t = data("x", f"{dtype}[B,6]"), data("t", f"{dtype}[B,2]")
    z = x @ parameter("W", f"{dtype}[6,2]")
    mean = Mean((0,))(z)
    centred = z - mean
    variance = Mean((0,))(centred * centred)
    y = centred / Sqrt()(variance + 1e-5) * parameter("g", f"{dtype}[2]") + parameter("s", f"{dtype}[2]")
    running, spread = state("running", f"{dtype}[2]"), state("spread", f"{dtype}[2]")
    steps = state("steps", "i64[]")
    C = Mean()(Sum((1,))((y - t) * (y - t)), name="C")
    outputs = {
        "C": C,
        "running_new": 0.9 * running + 0.1 * mean,
        "spread_new": 0.9 * spread + 0.1 * variance,
        "steps_new": steps + 1,
    }
    carry = {f"{n}_new": n for n in ("running", "spread", "steps")}
    rows = {"x": rng.standard_normal((ROWS, 6)), "t": rng.standard_normal((ROWS, 2))}
    step = finished(outputs, carry, optimiser, dtype)
    return started(step, {k: v.astype(KINDS[dtype]) for k, v in rows.items()}, optimiser, rng)


def _dropped(dtype: str) -> Case:
    """Dropout before a layer: the mask depends on a counter that is carried."""
    rng, optimiser = np.random.default_rng(2), Adam(0.01)
    x, t, draws = data("x", f"{dtype}[B,6]"), data("t", f"{dtype}[B,3]"), state("draws", "i64[]")
    keep = (Uniform(7, ("B", 6), dtype)(draws) >= 0.4).named("keep")
    dropped = Where()(keep, x / 0.6, 0)
    z = Tanh()(dropped @ parameter("W1", f"{dtype}[6,8]"))
    kept = Where()(Uniform(8, ("B", 8), dtype)(draws) >= 0.2, z / 0.8, 0) @ parameter("W2", f"{dtype}[8,3]")
    C = Mean()(Sum((1,))(-(t * LogSoftmax()(kept))), name="C")
    rows = {"x": rng.standard_normal((ROWS, 6)), "t": np.eye(3)[rng.integers(0, 3, ROWS)]}
    step = finished({"C": C, "draws_new": draws + 1}, {"draws_new": "draws"}, optimiser, dtype)
    case = started(step, {k: v.astype(KINDS[dtype]) for k, v in rows.items()}, optimiser, rng)
    case.start["draws"] = np.asarray(2**40 + 5)
    return case


def _embedded(dtype: str) -> Case:
    """Rows of a table by number (two an example), a weight for each example, and a frozen layer."""
    rng, optimiser = np.random.default_rng(3), AdamW(0.01, clip_norm=0.5)
    word, t, w = data("word", "i64[B,2]"), data("t", f"{dtype}[B,4]"), data("w", f"{dtype}[B]")
    E = parameter("E", f"{dtype}[11,5]")
    x = Reshape(("B", 10))(Gather(0)(E, word))
    z = Tanh()(x @ fixed("F", f"{dtype}[10,6]") + fixed("f", f"{dtype}[]")) @ parameter("W", f"{dtype}[6,4]")
    C = Mean()(w * Sum((1,))((z - t) * (z - t)), name="C")
    rows = {
        "word": rng.integers(0, 11, (ROWS, 2)),
        "t": rng.standard_normal((ROWS, 4)).astype(KINDS[dtype]),
        "w": rng.random(ROWS).astype(KINDS[dtype]),
    }
    return started(finished({"C": C}, {}, optimiser, dtype), rows, optimiser, rng)


def _pictures(dtype: str) -> Case:
    """Data of rank 4, one of them true or false, and a penalty on the weights."""
    rng, optimiser = np.random.default_rng(4), RMSprop(0.01, decay=0.1)
    x, on = data("x", f"{dtype}[B,2,3,2]"), data("on", "bool[B]")
    W, l2 = parameter("W", f"{dtype}[12,10]"), number("l2", dtype)
    z = Reshape(("B", 12))(x) @ W
    loss = Where()(on, Sum((1,))(z * z), Sum((1,))(Exp()(-z)))
    C = (Mean()(loss) + 0.5 * l2 * Sum()(W * W)).named("C")
    rows = {"x": rng.standard_normal((ROWS, 2, 3, 2)).astype(KINDS[dtype]), "on": rng.random(ROWS) < 0.5}
    case = started(finished({"C": C}, {}, optimiser, dtype), rows, optimiser, rng)
    case.numbers["l2"] = 0.01
    return case


def _recurrent(dtype: str) -> Case:
    """Elman's net through five entries of a sequence; the loss reads all states, and the last one."""
    rng, optimiser = np.random.default_rng(5), Adam(0.01)
    x, t = data("x", f"{dtype}[B,5,3]"), data("t", f"{dtype}[B,2]")
    h, u = data("h", f"{dtype}[B,4]"), data("u", f"{dtype}[B,3]")
    weights = {"U": "[3,4]", "W": "[4,4]", "b": "[4]"}
    U, W, b = (data(name, f"{dtype}{shape}") for name, shape in weights.items())
    new = Tanh()((u @ U + h @ W + b).named("z"))
    body = Graph({"h_new": new, "y": new * 0.5})
    loop = Scan(body, ("h", "u", *weights), 1, 1)
    given = [parameter(name, f"{dtype}{shape}") for name, shape in weights.items()]
    states = loop(filled(0.0, h.array_type), Transpose((1, 0, 2))(x), *given, name="states")
    z = (Item(0)(states) @ parameter("V", f"{dtype}[4,2]")).named("scores")
    C = (Mean()(SoftmaxCrossEntropy()(z, t)) + 0.1 * Mean()(Item(1)(states) ** 2)).named("C")
    rows = {"x": rng.standard_normal((ROWS, 5, 3)), "t": np.eye(2)[rng.integers(0, 2, ROWS)]}
    step = finished({"C": C}, {}, optimiser, dtype)
    return started(step, {k: v.astype(KINDS[dtype]) for k, v in rows.items()}, optimiser, rng)


OPTIMISERS: dict[str, Optimiser] = {
    "SGD": SGD(0.1),
    "momentum": SGD(0.1, momentum=0.9),
    "nesterov": SGD(0.1, momentum=0.9, nesterov=True),
    "decay": SGD(0.1, momentum=0.9, decay=0.01),
    "clip": SGD(0.1, clip=0.01),
    "clip_norm": SGD(0.1, momentum=0.5, clip_norm=0.1),
    "adagrad": Adagrad(0.05),
    "rmsprop": RMSprop(0.01),
    "adam": Adam(0.01),
    "adamw": AdamW(0.01, decay=0.1, clip_norm=0.3),
}

LOOPS: dict[str, Callable[[str], Case]] = {
    **{name: lambda dtype, o=o: _perceptron(dtype, o) for name, o in OPTIMISERS.items()},  # type: ignore[misc]
    "batch normalisation": _normalised,
    "dropout": _dropped,
    "embedding": _embedded,
    "pictures": _pictures,
    "recurrent": _recurrent,
}


def loop_named(name: str, dtype: str) -> Case:
    return LOOPS[name](dtype)


def both(case: Case) -> tuple[Loop, Loop]:
    """The compiled loop and the reference, loaded."""
    loops = [e.compile_loop(case.step, case.rows, BATCH) for e in (Compiled(), Reference())]
    for loop in loops:
        loop.load(case.start)
    return loops[0], loops[1]


def check_loop(case: Case, rtol: float, steps: int = 14) -> None:
    """Each step from the same state, short last batches included; then all steps in one call, twice."""
    compiled, reference = both(case)
    for s in range(steps):
        compiled.load(reference.state())
        one, two = (loop.run(*case.span(s, s + 1)) for loop in (compiled, reference))
        assert one.done == two.done == 1
        np.testing.assert_allclose(one.watched, two.watched, rtol=rtol)
        got, wanted = compiled.state(), reference.state()
        assert list(got) == list(wanted)
        for name, array in wanted.items():
            assert got[name].dtype == array.dtype
            assert got[name].shape == array.shape
            np.testing.assert_allclose(got[name], array, rtol=rtol, atol=rtol / 100, err_msg=name)
    results = []
    for _ in range(2):
        compiled.load(case.start)
        costs = compiled.run(*case.span(0, steps)).watched
        results.append(b"".join([costs.tobytes(), *(a.tobytes() for a in compiled.state().values())]))
    assert results[0] == results[1]


def check_random_bits(dtype: str) -> None:
    """Uniform numbers: the bits of the reference, for any counter, key and size."""
    n = data("n", "i64[]")
    shapes: list[tuple[int | str, ...]] = [("B", 3), (), (2, "B", 2)]
    graph = Graph(
        {f"u{k}": Uniform(2**k - 1, shape, dtype)(n) for k, shape in zip((0, 31, 63), shapes, strict=True)}
    )
    graph = graph.extended({"B": data("b", f"{dtype}[B]")})
    function, reference = Compiled().compile(graph), Reference().compile(graph)
    for count in (0, 1, -1, 2**40 + 7, 2**63 - 1, -(2**63)):
        feeds = {"n": np.asarray(count, np.int64), "b": np.zeros(5, KINDS[dtype])}
        got, wanted = function(feeds), reference(feeds)
        for name, array in wanted.items():
            assert got[name].tobytes() == array.tobytes()
            assert got[name].dtype == array.dtype
