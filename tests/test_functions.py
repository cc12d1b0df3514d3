"""Programs from Python functions: `functions`, `trace`, `grad`, `value_and_grad`."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest

import backpass as bp
from backpass import functions as F
from backpass.errors import NotDifferentiable, ShapeError, UsageError
from backpass.exec.reference import Reference
from backpass.ir import Node
from backpass.ops import Sqrt, Square, data

X = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]])
W = np.array([[0.1, -0.2], [0.3, 0.4], [-0.5, 0.6]])


def net(x: Node, w: Node) -> Node:
    return F.mean(F.tanh(x @ w) ** 2)


def test_trace_names_inputs_after_parameters_and_keeps_named_dimensions() -> None:
    graph = bp.trace(net, "f64[B,3]", "f64[3,2]")
    assert list(graph.inputs) == ["x", "w"]
    assert graph.text(prelude=False) == "y = mean(tanh(x @ w) ** 2)  # f64[]"
    assert list(bp.trace(net, "f64[B,3]", "f64[3,2]", names=["rows", "W1"]).inputs) == ["rows", "W1"]
    got = Reference().compile(graph)({"x": X, "w": W})["y"]
    assert got == pytest.approx(np.mean(np.tanh(X @ W) ** 2), rel=1e-15)


def test_trace_gives_what_the_function_gives() -> None:
    assert list(bp.trace(lambda x: (x, x * 2), "f64[B]").outputs) == ["y0", "y1"]
    assert list(bp.trace(lambda x: {"double": x * 2, "same": x}, "f64[B]").outputs) == ["double", "same"]
    assert list(bp.trace(lambda *parts: F.concatenate(parts), "f64[2]", "f64[3]").inputs) == [
        "parts0",
        "parts1",
    ]
    assert list(bp.trace(lambda y: y + 1, "f64[B]").outputs) == ["y_"]


def test_gradients_of_arrays_are_those_of_the_formula() -> None:
    value, (dx, dw) = bp.value_and_grad(net, wrt=(0, 1))(X, W)
    a = np.tanh(X @ W)
    delta = 2 * a * (1 - a**2) / a.size
    assert value == pytest.approx(np.mean(a**2), rel=1e-15)
    np.testing.assert_allclose(dx, delta @ W.T, rtol=1e-13)
    np.testing.assert_allclose(dw, X.T @ delta, rtol=1e-13)
    np.testing.assert_allclose(bp.grad(net, wrt=1)(X, W), dw, rtol=1e-15)
    np.testing.assert_allclose(bp.grad(net, wrt=-1)(X, W), dw, rtol=1e-15)


def test_derivatives_of_any_order() -> None:
    f = F.sin
    for order in range(1, 6):
        f = bp.grad(f)
        assert f(0.7) == pytest.approx(math.sin(0.7 + order * math.pi / 2), rel=1e-13)


def test_gradients_compose_with_functions_of_nodes() -> None:
    """A gradient penalty: the gradient of a function of a gradient."""

    def penalty(x: Node) -> Node:
        return F.sum(bp.grad(lambda z: F.sum(F.exp(z) * z))(x) ** 2)

    inside = np.exp(X) * (1 + X)
    np.testing.assert_allclose(bp.grad(penalty)(X), 2 * inside * np.exp(X) * (2 + X), rtol=1e-13)
    graph = bp.trace(bp.grad(penalty), "f64[B,3]")
    assert str(graph["y"].type) == "f64[B,3]"


def test_single_precision_stays_single() -> None:
    value, dw = bp.value_and_grad(net, wrt=1)(X.astype(np.float32), W.astype(np.float32))
    assert value.dtype == dw.dtype == np.float32
    assert bp.grad(lambda x: x * x)(3).dtype == np.float64


def test_a_function_is_traced_once_for_each_combination_of_types() -> None:
    calls = []

    def f(x: Node) -> Node:
        calls.append(x.type)
        return F.sum(x * x)

    g = bp.grad(f)
    for size in (2, 3, 2, 3, 3):
        assert np.array_equal(g(np.ones(size)), np.full(size, 2.0))
    g(np.ones(2, np.float32))
    assert list(map(str, calls)) == ["f64[2]", "f64[3]", "f32[2]"]


def test_integers_may_be_arguments_but_not_differentiated() -> None:
    E, i = np.arange(12.0).reshape(4, 3), np.array([1, 1, 3])
    pick = lambda table, rows: F.sum(table[rows] ** 2)  # noqa: E731
    got = bp.grad(pick)(E, i)
    wanted = np.zeros_like(E)
    np.add.at(wanted, i, 2 * E[i])
    assert np.array_equal(got, wanted)
    with pytest.raises(UsageError, match=r"argument 1 of the function is i64\[3\]; only floating-point"):
        bp.grad(pick, wrt=1)(E, i)


def test_what_is_wrong_is_said() -> None:
    def vector(x: Node) -> Node:
        return x * 2

    with pytest.raises(UsageError, match=r"vector\(\) gives f64\[2,3\]; add its entries up with backpass"):
        bp.grad(vector)(X)
    with pytest.raises(UsageError, match=r"must give a value .* not NoneType: has it no return"):
        bp.grad(lambda x: None)(X)
    with pytest.raises(UsageError, match=r"not float: it does not depend on its arguments"):
        bp.grad(lambda x: 1.0)(X)
    with pytest.raises(UsageError, match=r"net\(\) does not take 1 arguments: missing"):
        bp.trace(net, "f64[B,3]")
    with pytest.raises(UsageError, match="3 names for 2 arguments"):
        bp.trace(net, "f64[B,3]", "f64[3,2]", names=["a", "b", "c"])
    with pytest.raises(UsageError, match=r"wrt=2, but .* was given 2 arguments"):
        bp.grad(net, wrt=2)(X, W)
    with pytest.raises(UsageError, match="is an array of complex128; convert it"):
        bp.grad(F.sum)(X.astype(complex))
    with pytest.raises(UsageError, match="arrays and values of a program"):
        bp.grad(net)(data("x", "f64[2,3]"), W)
    with pytest.raises(NotDifferentiable, match="targets are data"):
        bp.grad(lambda t: F.sum(F.softmax_cross_entropy(t * 2, t)), wrt=0)(X)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: np.exp(x), "np.exp calculates with numbers, .*: use backpass.functions.exp"),
        (lambda x: np.abs(x), "use backpass.functions.abs"),
        (lambda x: np.sum(x), "np.sum .* use backpass.functions.sum"),
        (lambda x: np.concatenate([x, x]), "use backpass.functions.concatenate"),
        (lambda x: np.where(x > 0, x, 0), "use backpass.functions.where"),
        (lambda x: np.sinc(x), "there is no backpass.functions.sinc; there are abs, add,"),
        (lambda x: np.fmod(x, 2), "there is no backpass.functions.fmod"),
        (
            lambda x: np.ones(3) * x,
            "an array cannot be combined with x: .*: give it to the program as an input",
        ),
        (lambda x: x * np.ones(3), "multiply takes values of a program and numbers, not ndarray"),
        (lambda x: math.exp(x), "has no value while a program is written, so it is no Python number"),
        (lambda x: x if x > 0 else -x, "neither true nor false; write backpass.functions.where"),
        (lambda x: x**x, "the exponent of .* is a number; write exp"),
        (lambda x: F.exp(X), r"exp takes a value of a program \(a Node\), got ndarray"),
    ],
)
def test_numpy_on_a_node_is_told_what_to_use(wrong: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        wrong(data("x", "f64[3]"))


def test_a_node_is_not_a_sequence() -> None:
    with pytest.raises(TypeError, match="not iterable"):
        list(data("x", "f64[3]"))


def test_numbers_of_numpy_are_numbers() -> None:
    x = data("x", "f32[3]")
    for y in (np.float64(2) * x, x * np.float32(2), np.float64(1) / x, np.int64(3) - x, np.float64(0) < x):
        assert y.shape == (3,)
    assert str((np.float64(0) < x).type) == "bool[3]"


def test_powers_become_the_op_that_reads_best() -> None:
    x = data("x", "f64[B]")
    assert (x**2).op == Square()
    assert (x**0.5).op == Sqrt()
    assert bp.trace(lambda x: x**-3, "f64[B]").text(prelude=False) == "y = x ** -3  # f64[B]"


def test_axes_may_be_counted_from_the_end_and_wrong_ones_are_named() -> None:
    x = data("x", "f64[B,3,5]")
    assert F.sum(x, axis=-1).op == F.sum(x, axis=2).op
    assert str(F.mean(x, axis=(-1, 0), keepdims=True).type) == "f64[1,3,1]"
    assert str(F.softmax(x, axis=1).type) == "f64[B,3,5]"
    with pytest.raises(ShapeError, match="argmax along axis 3: there are 3 axes, so it is from -3 to 2"):
        F.argmax(x, axis=3)
    got = Reference().compile(bp.trace(lambda x: F.softmax(x, axis=0), "f64[3,2]"))({"x": W})["y"]
    np.testing.assert_allclose(got.sum(axis=0), 1.0, rtol=1e-15)


def test_functions_that_change_shapes_are_those_of_numpy() -> None:
    x = np.random.default_rng(0).standard_normal((4, 3))
    for name, ours, theirs in (
        ("reshape", lambda x: F.reshape(x, (2, 6)), lambda x: np.reshape(x, (2, 6))),
        ("transpose", lambda x: F.transpose(x, (-1, 0)), np.transpose),
        ("broadcast_to", lambda x: F.broadcast_to(x, (2, 4, 3)), lambda x: np.broadcast_to(x, (2, 4, 3))),
        ("expand_dims", lambda x: F.expand_dims(x, -1), lambda x: np.expand_dims(x, -1)),
        ("pad", lambda x: F.pad(x, 1), lambda x: np.pad(x, 1)),
        ("stack", lambda x: F.stack([x, x], axis=-1), lambda x: np.stack([x, x], axis=-1)),
        ("concatenate", lambda x: F.concatenate([x, x], -1), lambda x: np.concatenate([x, x], -1)),
        ("take", lambda x: F.take(x, 2, axis=1), lambda x: np.take(x, 2, axis=1)),
        ("clip", lambda x: F.clip(x, -0.5, np.inf), lambda x: np.clip(x, -0.5, np.inf)),
        ("cumsum", lambda x: F.cumsum(x, axis=0), lambda x: np.cumsum(x, axis=0)),
    ):
        got = Reference().compile(bp.trace(ours, "f64[4,3]"))({"x": x})["y"]
        assert np.array_equal(got, theirs(x)), name


def test_every_public_function_is_listed_and_described() -> None:
    public = {n for n, f in vars(F).items() if callable(f) and getattr(f, "__module__", "") == F.__name__}
    assert {n for n in public if not n.startswith("_")} == set(F.NAMES)
    assert [n for n in F.NAMES if not inspect.getdoc(getattr(F, n))] == []
