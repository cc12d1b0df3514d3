"""A few training steps that textbooks print, built by hand from ops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from backpass.ir import Graph, Node
from backpass.ir.tuples import Item
from backpass.ops import (
    Mean,
    Relu,
    Scan,
    Sigmoid,
    SigmoidCrossEntropy,
    Softmax,
    SoftmaxCrossEntropy,
    SquaredError,
    Sum,
    Tanh,
    data,
    filled,
    number,
    parameter,
    state,
)
from backpass.passes import backward, simplify


def descended(graph: Graph, parameters: dict[str, Node], names: dict[str, str]) -> Graph:
    """One step of gradient descent."""
    step = backward(graph, "C", list(parameters), names=names)
    lr = number("lr", next(iter(parameters.values())).dtype)
    new = {f"{name}_new": w - lr * step[f"d{name}"] for name, w in parameters.items()}
    return simplify(step.extended(new, {f"{name}_new": name for name in parameters}), fold=True)


def linear_regression() -> Graph:
    x, t = data("x", "f64[B,3]"), data("t", "f64[B,1]")
    W, b = parameter("W1", "f64[3,1]"), parameter("b1", "f64[1]")
    z = (x @ W + b).named("z1")
    C = Mean()(SquaredError()(z, t, name="loss"), name="C")
    return descended(Graph({"C": C}), {"W1": W, "b1": b}, {"z1": "δ1"})


def exclusive_or() -> Graph:
    """2-2-1 with sigmoids, as in Rumelhart, Hinton and Williams (1986)."""
    x, t = data("x", "f32[B,2]"), data("t", "f32[B,1]")
    P = {"W1": parameter("W1", "f32[2,2]"), "b1": parameter("b1", "f32[2]")}
    P |= {"W2": parameter("W2", "f32[2,1]"), "b2": parameter("b2", "f32[1]")}
    a1 = Sigmoid()((x @ P["W1"] + P["b1"]).named("z1"), name="a1")
    a2 = Sigmoid()((a1 @ P["W2"] + P["b2"]).named("z2"), name="a2")
    C = Mean()(SquaredError()(a2, t, name="loss"), name="C")
    return descended(Graph({"C": C}), P, {"z1": "δ1", "z2": "δ2"})


def digits() -> Graph:
    """Softmax over a sigmoid layer."""
    x, t = data("x", "f32[B,64]"), data("t", "f32[B,10]")
    P = {"W1": parameter("W1", "f32[64,30]"), "b1": parameter("b1", "f32[30]")}
    P |= {"W2": parameter("W2", "f32[30,10]"), "b2": parameter("b2", "f32[10]")}
    a1 = Sigmoid()((x @ P["W1"] + P["b1"]).named("z1"), name="a1")
    z2 = (a1 @ P["W2"] + P["b2"]).named("z2")
    C = Mean()(SoftmaxCrossEntropy()(z2, t, name="loss"), name="C")
    return descended(Graph({"a2": Softmax()(z2, name="a2"), "C": C}), P, {"z1": "δ1", "z2": "δ2"})


def momentum() -> Graph:
    """ReLU, weight decay in the cost, momentum in the update, a step counter."""
    x, t = data("x", "f64[B,4]"), data("t", "f64[B,2]")
    W1, W2 = parameter("W1", "f64[4,5]"), parameter("W2", "f64[5,2]")
    lr, mu, decay = number("lr", "f64"), number("momentum", "f64"), number("decay", "f64")
    a1 = Relu()((x @ W1).named("z1"), name="a1")
    loss = SigmoidCrossEntropy()((a1 @ W2).named("z2"), t, name="loss")
    C = (Mean()(loss) + 0.5 * decay * (Sum()(W1 * W1) + Sum()(W2 * W2))).named("C")
    step = backward(Graph({"C": C}), "C", ["W1", "W2"], names={"z1": "δ1", "z2": "δ2"})
    steps = state("steps", "f64[]")
    outputs, carry = {"steps_new": steps + 1.0}, {"steps_new": "steps"}
    for w in (W1, W2):
        v = state(f"v_{w.name}", w.array_type)
        v_new = (mu * v - lr * step[f"d{w.name}"]).named(f"v_{w.name}_new")
        outputs |= {f"v_{w.name}_new": v_new, f"{w.name}_new": w + v_new}
        carry |= {f"v_{w.name}_new": f"v_{w.name}", f"{w.name}_new": str(w.name)}
    return simplify(step.extended(outputs, carry), fold=True)


def recurrent() -> Graph:
    """Elman's net over a sequence, trained by backpropagation through time."""
    x, t = data("x", "f64[T,B,2]"), data("t", "f64[B,1]")
    U, W, V = parameter("U", "f64[2,3]"), parameter("W", "f64[3,3]"), parameter("V", "f64[3,1]")
    h, u = data("h", "f64[B,3]"), data("u", "f64[B,2]")
    Ub, Wb = data("U", "f64[2,3]"), data("W", "f64[3,3]")
    body = Graph({"h_new": Tanh()((u @ Ub + h @ Wb).named("z"))})
    start = filled(0.0, h.array_type)
    last = Item(0)(Scan(body, ("h", "u", "U", "W"), 1, 1)(start, x, U, W, name="states"), name="a1")
    C = Mean()(SquaredError()((last @ V).named("z2"), t, name="loss"), name="C")
    return descended(Graph({"C": C}), {"U": U, "W": W, "V": V}, {"z2": "δ2"})


NETS: dict[str, Callable[[], Graph]] = {
    f.__name__: f for f in (linear_regression, exclusive_or, digits, momentum, recurrent)
}


def fed(graph: Graph, dims: dict[str, int], seed: int = 0) -> dict[str, np.ndarray]:
    """Random values for the inputs of a net; targets are distributions, numbers are small."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for name, type_ in graph.input_types.items():
        shape = type_.bind(dims).shape
        value = rng.uniform(-1, 1, shape)
        if name == "t":
            value = np.eye(shape[-1])[rng.integers(0, shape[-1], shape[:-1])]
        elif shape == ():
            value = rng.uniform(0.01, 0.5)
        feeds[name] = np.asarray(value, type_.numpy_dtype)
    return feeds
