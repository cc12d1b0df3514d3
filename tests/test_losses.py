"""Losses and costs: values against formulas and peers, gradients of both orders, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_nn import TOLERANCE, check_both_orders, run

from backpass import ops
from backpass.errors import ShapeError, UsageError
from backpass.ir import Graph, Node
from backpass.nn import (
    LOSSES,
    BatchNorm,
    Dense,
    Embedding,
    Flatten,
    LayerNorm,
    Network,
    add_cost,
    default_loss,
)
from backpass.nn.losses import CrossEntropy, Hinge, Huber, Loss, Quantile, loss_named
from backpass.passes import backward
from backpass.testing import check_gradients

Floats = Any


def own_of_outputs(a: Node, t: Node) -> Node:
    return (a - t) * (a - t) * (1.0 + t * t)


def own_of_examples(a: Node, t: Node) -> Node:
    return ops.Sum((1,))(own_of_outputs(a, t))


def softmax(z: Floats) -> Floats:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def crammer_singer(z: Floats, a: Floats, t: Floats) -> Floats:
    """From the definition: over the classes other than the right one."""
    right = t.argmax(1)
    found = []
    for scores, r in zip(z, right, strict=True):
        others = [1 + s - scores[r] for j, s in enumerate(scores) if j != r]
        found.append(max(0.0, *others))
    return np.array(found)


def entropy_of_sigmoids(z: Floats, a: Floats, t: Floats) -> Floats:
    return -(t * np.log(a) + (1 - t) * np.log(1 - a)).sum(1)


def pinball(q: float) -> Callable[[Floats, Floats, Floats], Floats]:
    return lambda z, a, t: np.where(t >= a, q * (t - a), (1 - q) * (a - t)).sum(1)


def huber(d: float) -> Callable[[Floats, Floats, Floats], Floats]:
    def loss(z: Floats, a: Floats, t: Floats) -> Floats:
        e = np.abs(a - t)
        return np.where(e <= d, e * e / 2, d * (e - d / 2)).sum(1)

    return loss


def margins(z: Floats, a: Floats, t: Floats) -> Floats:
    return np.maximum(0, 1 - (2 * t - 1) * z).sum(1)


#: name -> loss, activations that fit, targets, formula in NumPy over (z, a, t)
CASES: dict[str, tuple[Any, tuple[str, ...], str, Callable[[Floats, Floats, Floats], Floats]]] = {
    "squared_error": (
        "squared_error", ("identity", "sigmoid", "tanh", "softmax"), "near",
        lambda z, a, t: 0.5 * ((a - t) ** 2).sum(1),
    ),
    "mean_squared_error": (
        "mean_squared_error", ("identity", "sigmoid", "softmax"), "near",
        lambda z, a, t: ((a - t) ** 2).mean(1),
    ),
    "absolute": ("absolute", ("identity", "tanh", "sigmoid"), "near", lambda z, a, t: np.abs(a - t).sum(1)),
    "huber": ("huber", ("identity", "softplus"), "near", huber(1.0)),
    "huber_0.5": (Huber(0.5), ("identity", "tanh"), "near", huber(0.5)),
    "log_cosh": ("log_cosh", ("identity", "tanh"), "near", lambda z, a, t: np.log(np.cosh(a - t)).sum(1)),
    "cross_entropy_softmax": (
        "cross_entropy", ("softmax",), "distribution", lambda z, a, t: -(t * np.log(a)).sum(1)
    ),
    "cross_entropy_sigmoid": ("cross_entropy", ("sigmoid",), "probability", entropy_of_sigmoids),
    "smoothed_softmax": (
        CrossEntropy(0.2), ("softmax",), "distribution",
        lambda z, a, t: -((0.8 * t + 0.2 / t.shape[1]) * np.log(a)).sum(1),
    ),
    "smoothed_sigmoid": (
        CrossEntropy(0.2), ("sigmoid",), "probability",
        lambda z, a, t: entropy_of_sigmoids(z, a, 0.8 * t + 0.1),
    ),
    "hinge": (
        "hinge", ("identity",), "class",
        lambda z, a, t: margins(z, a, t) if t.shape[1] == 1 else crammer_singer(z, a, t),
    ),
    "hinge_one_vs_rest": (Hinge("one_vs_rest"), ("identity",), "labels", margins),
    "poisson": ("poisson", ("identity", "exp"), "count", lambda z, a, t: (np.exp(z) - t * z).sum(1)),
    "quantile": ("quantile", ("identity",), "near", pinball(0.5)),
    "quantile_0.9": (Quantile(0.9), ("identity", "softplus"), "near", pinball(0.9)),
    "own_of_outputs": (
        own_of_outputs, ("identity", "sigmoid"), "near", lambda z, a, t: ((a - t) ** 2 * (1 + t**2)).sum(1)
    ),
    "own_of_examples": (
        own_of_examples, ("identity",), "near", lambda z, a, t: ((a - t) ** 2 * (1 + t**2)).sum(1)
    ),
}  # fmt: skip

ALL = [
    (name, activation, outputs)
    for name, (_, activations, _, _) in CASES.items()
    for activation in activations
    for outputs in (1, 2, 3)
    if not (activation == "softmax" and outputs == 1 and "squared" not in name)
]


def targets(kind: str, a: Floats, rng: np.random.Generator) -> Floats:
    n, k = a.shape
    if kind == "near":  # errors away from the kinks at 0, 0.5 and 1
        return a + rng.choice([-1.7, -0.75, -0.25, 0.25, 0.75, 1.7], a.shape)
    if kind == "distribution":
        return softmax(rng.standard_normal((n, k)))
    if kind == "probability":
        return rng.uniform(0, 1, (n, k))
    if kind == "class":
        return np.eye(k)[rng.integers(0, k, n)] if k > 1 else rng.integers(0, 2, (n, 1)).astype(float)
    if kind == "labels":
        return rng.integers(0, 2, (n, k)).astype(float)
    return rng.poisson(2.0, (n, k)).astype(float)


def away_from_kinks(kind: str, z: Floats, t: Floats) -> bool:
    if kind == "labels" or (kind == "class" and z.shape[1] == 1):
        return bool((np.abs(1 - (2 * t - 1) * z) > 0.2).all())
    if kind == "class":
        scores = np.sort(z + 1 - t, axis=1)
        return bool((scores[:, -1] - scores[:, -2] > 0.2).all())
    return True


def built(
    name: str, activation: str, outputs: int, rows: int = 4, smooth: bool = True, **options: bool
) -> tuple[Graph, dict[str, Floats]]:
    """A cost after one layer, and feeds at which it is (if asked for) smooth."""
    loss, _, kind, _ = CASES[name]
    net = Network([Dense(outputs, activation)])
    graph = add_cost(net.forward(2, "f64"), net, loss, **options)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        W = rng.choice([-1.0, 1.0], (2, outputs)) * rng.uniform(0.3, 1.0, (2, outputs))
        b = rng.uniform(-0.5, 0.5, outputs)
        x = rng.uniform(-1.5, 1.5, (rows, 2))
        z = x @ W + b
        a = run(net.forward(2, "f64"), {"x": x, "W1": W, "b1": b})["a1"]
        t = targets(kind, a, rng)
        if not smooth or away_from_kinks(kind, z, t):
            w = rng.uniform(0.2, 1.8, rows)
            feeds = {"x": x, "W1": W, "b1": b, "t": t, "w": w, "l1": np.array(0.03), "l2": np.array(0.2)}
            return graph, {k: v for k, v in feeds.items() if k in graph.inputs}
    raise AssertionError("no seed keeps away from the kinks")


OPTIONS: list[dict[str, bool]] = [
    {"weighted": weighted} | penalty
    for penalty in ({}, {"l1": True}, {"l2": True})
    for weighted in (False, True)
]


@pytest.mark.parametrize(
    ("name", "activation", "outputs", "options"),
    [
        pytest.param(*case, options, marks=[pytest.mark.slow] if (i + j) % len(OPTIONS) else [])
        for i, case in enumerate(ALL)
        for j, options in enumerate(OPTIONS)
    ],
)
def test_gradients_of_both_orders(name: str, activation: str, outputs: int, options: dict[str, bool]) -> None:
    """All of them, weighted or not, with each penalty; the fast tests take each with one of the options."""
    graph, values = built(name, activation, outputs, **options)
    check_both_orders(graph, values)


@pytest.mark.parametrize(("name", "activation", "outputs"), ALL)
def test_values(name: str, activation: str, outputs: int) -> None:
    graph, values = built(name, activation, outputs, rows=30, smooth=False)
    result = run(graph, values)
    z = values["x"] @ values["W1"] + values["b1"]
    expected = CASES[name][3](z, result["a1"], values["t"])
    np.testing.assert_allclose(result["loss"], expected, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(result["C"], expected.mean(), rtol=1e-11)
    assert str(graph["loss"].type) == "f64[B]"
    assert str(graph["C"].type) == "f64[]"


def test_values_against_torch() -> None:
    torch = pytest.importorskip("torch")
    F = torch.nn.functional

    def ours(name: str, activation: str, outputs: int) -> tuple[Floats, Any, Any, Any]:
        graph, values = built(name, activation, outputs, rows=9)
        z = values["x"] @ values["W1"] + values["b1"]
        result = run(graph, values)
        return result["loss"], *(torch.tensor(v) for v in (z, result["a1"], values["t"]))

    found, z, a, t = ours("huber_0.5", "identity", 3)
    np.testing.assert_allclose(
        found, F.huber_loss(a, t, reduction="none", delta=0.5).sum(1).numpy(), rtol=1e-12
    )
    found, z, a, t = ours("smoothed_softmax", "softmax", 3)
    np.testing.assert_allclose(
        found, F.cross_entropy(z, t, reduction="none", label_smoothing=0.2).numpy(), rtol=1e-12
    )
    found, z, a, t = ours("cross_entropy_sigmoid", "sigmoid", 2)
    theirs = F.binary_cross_entropy_with_logits(z, t, reduction="none").sum(1)
    np.testing.assert_allclose(found, theirs.numpy(), rtol=1e-12)
    found, z, a, t = ours("poisson", "identity", 2)
    theirs = F.poisson_nll_loss(z, t, log_input=True, full=False, reduction="none").sum(1)
    np.testing.assert_allclose(found, theirs.numpy(), rtol=1e-12)


def test_hinge_and_quantile_against_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    graph, values = built("hinge", "identity", 3, rows=7)
    z = values["x"] @ values["W1"] + values["b1"]
    labels = values["t"].argmax(1)
    theirs = metrics.hinge_loss(labels, z, labels=[0, 1, 2])
    np.testing.assert_allclose(run(graph, values)["C"], theirs, rtol=1e-12)
    graph, values = built("quantile_0.9", "identity", 2, rows=9)
    result = run(graph, values)
    theirs = metrics.mean_pinball_loss(values["t"], result["a1"], alpha=0.9)
    np.testing.assert_allclose(result["C"] / 2, theirs, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize(
    ("loss", "activation", "extreme", "expected"),
    [
        ("log_cosh", "identity", [-1e4, 1e4, 0.0], [1e4 - np.log(2), 1e4 - np.log(2), 0.0]),
        ("poisson", "identity", [-1e3, -200.0, 0.0], [0.0, 0.0, 1.0]),
        ("poisson", "exp", [-1e3, -200.0, 0.0], [0.0, 0.0, 1.0]),
        ("cross_entropy", "sigmoid", [-1e4, 1e4, 0.0], [0.0, 1e4, np.log(2)]),
        ("huber", "identity", [-1e30, 1e30, 0.0], [1e30, 1e30, 0.0]),
    ],
)
def test_extreme_outputs_stay_finite(
    loss: str, activation: str, extreme: list[float], expected: list[float], dtype: str
) -> None:
    net = Network([Dense(1, activation)])
    graph = backward(add_cost(net.forward(1, dtype), net, loss), "C", ["W1"])
    kind = np.float32 if dtype == "f32" else np.float64
    values = {
        "x": np.array(extreme, kind)[:, None], "t": np.zeros((3, 1), kind), "W1": np.ones((1, 1), kind),
        "b1": np.zeros(1, kind),
    }  # fmt: skip
    result = run(graph, values)
    np.testing.assert_allclose(result["loss"], expected, rtol=1e-6, atol=1e-6)
    assert np.isfinite(result["dW1"]).all()


def test_weights_of_examples_are_repetitions() -> None:
    net = Network([Dense(2)])
    rng = np.random.default_rng(0)
    start = net.initial(3, 0, "f64")
    x, t = rng.standard_normal((4, 3)), rng.standard_normal((4, 2))
    times = np.array([2, 0, 1, 1])
    weighted = backward(add_cost(net.forward(3, "f64"), net, "absolute", weighted=True), "C", ["W1"])
    plain = backward(add_cost(net.forward(3, "f64"), net, "absolute"), "C", ["W1"])
    one = run(weighted, start | {"x": x, "t": t, "w": times.astype(float)})
    other = run(plain, start | {"x": x.repeat(times, 0), "t": t.repeat(times, 0)})
    np.testing.assert_allclose(one["C"], other["C"], rtol=1e-14)
    np.testing.assert_allclose(one["dW1"], other["dW1"], rtol=1e-14)


def test_penalties_are_over_trained_weights_only() -> None:
    net = Network(
        [Embedding(3, 2), Flatten(), Dense(3, trainable=False), BatchNorm(), Dense(3), LayerNorm(), Dense(1)]
    )
    graph = add_cost(net.forward(2, "f64", training=True), net, "squared_error", l1=True, l2=True)
    assert list(graph.inputs_of_kind("number")) == ["l1", "l2"]
    rng = np.random.default_rng(0)
    values = {k: rng.standard_normal(v.shape) for k, v in net.initial(2, 0, "f64").items()}
    values |= {"x": np.array([[0.0, 1], [2, 2], [1, 0]]), "t": rng.standard_normal((3, 1))}
    values |= {"l1": np.array(0.5), "l2": np.array(0.25)}
    result = run(graph, values)
    weights = [values[k] for k in ("E1", "W4", "W6")]
    expected = 0.5 * sum(np.abs(w).sum() for w in weights) + 0.125 * sum((w * w).sum() for w in weights)
    np.testing.assert_allclose(result["C"] - result["loss"].mean(), expected, rtol=1e-12)
    check = check_gradients(graph, "C", None, values, tolerance=TOLERANCE)
    assert check.passed, check


def test_a_penalty_without_weights_to_train_is_none() -> None:
    net = Network([Dense(1, trainable=False), LayerNorm()])
    graph = add_cost(net.forward(2, "f64"), net, "squared_error", l1=True, l2=True)
    assert not graph.inputs_of_kind("number")


@pytest.mark.parametrize("name", LOSSES)
def test_descriptions_rebuild(name: str) -> None:
    loss = loss_named(name)
    assert loss_named(json.loads(json.dumps(loss.describe()))) == loss
    assert loss.describe()["name"] == name


def test_descriptions_with_settings_and_of_functions() -> None:
    for loss in (Huber(0.3), Quantile(0.1), CrossEntropy(0.1), Hinge("one_vs_rest")):
        assert loss_named(json.loads(json.dumps(loss.describe()))) == loss
    described = loss_named(own_of_outputs).describe()
    assert described == {"name": "function", "function": "own_of_outputs"}
    with pytest.raises(UsageError, match="function 'own_of_outputs', which a description does not hold"):
        loss_named(described)


def test_default_losses() -> None:
    known = {a: default_loss(a) for a in ("softmax", "sigmoid", "exp", "identity", "tanh", "relu")}
    assert known == {
        "softmax": "cross_entropy", "sigmoid": "cross_entropy", "exp": "poisson",
        "identity": "squared_error", "tanh": "squared_error", "relu": "squared_error",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("loss", "activation", "units", "words"),
    [
        ("cross_entropy", "identity", 2, "needs outputs that are probabilities"),
        ("cross_entropy", "tanh", 2, "or loss='squared_error'"),
        ("cross_entropy", "softmax", 1, "softmax over a single output is always 1"),
        ("hinge", "sigmoid", 1, "outputs that are scores"),
        ("hinge", "softmax", 3, "loss='cross_entropy'"),
        ("poisson", "relu", 1, "Use activation 'exp'"),
        ("quantile", "softmax", 3, "outputs that are quantities"),
        ("squared_eror", "identity", 1, "Did you mean 'squared_error'"),
        ("huberr", "identity", 1, "Did you mean 'huber'"),
        (3, "identity", 1, "there is no loss 3"),
        ({"name": "huber", "width": 2}, "identity", 1, "not the description of a loss"),
        (lambda a, t: 1.0, "identity", 1, "must give a node"),
    ],
)
def test_senseless_pairs_are_refused(loss: Any, activation: str, units: int, words: str) -> None:
    net = Network([Dense(units, activation)])
    with pytest.raises(UsageError, match=words):
        add_cost(net.forward(2, "f32"), net, loss)


def test_a_loss_of_another_shape_is_refused() -> None:
    net = Network([Dense(3)])
    with pytest.raises(ShapeError, match=r"for each example, \[B\]"):
        add_cost(net.forward(2, "f32"), net, lambda a, t: ops.Sum()(a - t))
    rough = Network([Embedding(3, 2)])
    with pytest.raises(ShapeError, match=r"End in Flatten"):
        add_cost(rough.forward(2, "f32"), rough, "squared_error")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Huber(0.0), lambda: Huber(True), lambda: Huber("wide"),
        lambda: Huber(np.inf), lambda: Quantile(0.0), lambda: Quantile(1.0),
        lambda: CrossEntropy(1.0), lambda: CrossEntropy(-0.1), lambda: Hinge("both"),
    ],
)  # fmt: skip
def test_bad_settings(make: Callable[[], Loss]) -> None:
    with pytest.raises(UsageError):
        make()


def test_a_loss_that_is_a_named_value_or_an_input() -> None:
    """What a function gives may have a name already."""
    net = Network([Dense(1)])
    graph = add_cost(net.forward(2, "f64"), net, lambda a, t: ((a - t) * (a - t)).named("e"))
    assert {"e", "loss"} <= set(graph.named)
    total = add_cost(net.forward(2, "f64"), net, lambda a, t: ops.Sum((1,))(a * t).named("s"))
    assert {"s", "loss"} <= set(total.named)


@pytest.mark.parametrize(("elsewhere", "here"), [("mse", "mean_squared_error"), ("BCE", "cross_entropy")])
def test_names_of_other_libraries_are_translated(elsewhere: str, here: str) -> None:
    with pytest.raises(UsageError, match=f"here it is called '{here}'"):
        loss_named(elsewhere)
