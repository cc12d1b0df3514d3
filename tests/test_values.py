"""Values and derivatives of ops against SciPy, NumPy, PyTorch and JAX, extreme inputs included."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats

import backpass.ops.functions as F
from backpass.errors import ShapeError, UsageError
from backpass.exec.reference import Reference
from backpass.ir import ArrayType, Graph, Node, Op
from backpass.ir.interpret import interpret
from backpass.ir.xp import ArrayNamespace
from backpass.ops import (
    Cast,
    Clip,
    Einsum,
    Elu,
    Gather,
    Gelu,
    HardTanh,
    LeakyRelu,
    LogSoftmax,
    LogSumExp,
    MatMul,
    ScatterAdd,
    Selu,
    Silu,
    Slice,
    Softplus,
    Softsign,
    StopGradient,
    Sum,
    Uniform,
    constant,
    data,
    parameter,
    state,
)
from backpass.passes import backward, retyped

RUN = Reference()
torch: Any = pytest.importorskip("torch")
F_torch = torch.nn.functional

#: From where everything is smooth to where anything that can overflow does, in f32 too.
EXTREME = np.array([0.0, -0.0, 1e-30, -1e-30, 1e-5, -1e-5, 0.3, -0.3, 3.0, -3.0, 20.0, -20.0, 90.0, -90.0])
FARTHER = np.array([1e3, -1e3, 1e10, -1e10, 1e20, -1e20, 3e38, -3e38])

ACTIVATIONS: list[tuple[Op, Callable[[Any], Any]]] = [
    (Softplus(), lambda x: torch.logaddexp(x, torch.zeros_like(x))),
    (Softsign(), F_torch.softsign),
    (LeakyRelu(), F_torch.leaky_relu),
    (LeakyRelu(0.3), lambda x: F_torch.leaky_relu(x, 0.3)),
    (Elu(), F_torch.elu),
    (Elu(0.7), lambda x: F_torch.elu(x, 0.7)),
    (Selu(), F_torch.selu),
    (Gelu(), F_torch.gelu),
    (Gelu("tanh"), lambda x: F_torch.gelu(x, approximate="tanh")),
    (Silu(), F_torch.silu),
    (HardTanh(), F_torch.hardtanh),
    (Clip(-1.0, 2.0), lambda x: torch.clamp(x, -1.0, 2.0)),
]


def with_slope(op: Op, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y = op(x), and the derivative entry by entry."""
    node = parameter("x", ArrayType(x.shape, {4: "f32", 8: "f64"}[x.itemsize]))
    y = op(node, name="y")
    got = RUN.compile(backward(Graph({"C": Sum()(y), "y": y}), "C", ["x"]))({"x": x})
    return got["y"], got["dx"]


@pytest.mark.parametrize(("op", "theirs"), ACTIVATIONS)
def test_activations_equal_those_of_pytorch(op: Op, theirs: Callable[[Any], Any]) -> None:
    x = np.concatenate([EXTREME, np.random.default_rng(0).uniform(-6, 6, 200)])
    ours, slope = with_slope(op, x)
    t = torch.tensor(x, requires_grad=True)
    y = theirs(t)
    y.sum().backward()
    np.testing.assert_allclose(ours, y.detach().numpy(), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(slope, t.grad.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("op", [op for op, _ in ACTIVATIONS], ids=lambda op: op.source())
def test_nothing_is_nan_however_large(op: Op, kind: Any) -> None:
    x = np.concatenate([EXTREME, FARTHER]).astype(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours, slope = with_slope(op, x)
    assert np.isfinite(ours).all()
    assert np.isfinite(slope).all()


SPECIAL: list[tuple[Callable[[Node], Node], Callable[[Any], Any]]] = [
    (F.erf, scipy.special.erf),
    (F.expm1, np.expm1),
    (F.log1p, np.log1p),
    (F.softplus, lambda x: np.logaddexp(x, 0)),
    (F.sqrt, np.sqrt),
    (F.square, np.square),
    (F.sign, np.sign),
    (lambda x: x**3, lambda x: np.power(x, 3)),
    (lambda x: x**-0.5, lambda x: np.power(x, -0.5)),
]


@pytest.mark.parametrize(("ours", "theirs"), SPECIAL)
@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1.0, 30.0])
def test_functions_equal_those_of_scipy(ours: Any, theirs: Any, scale: float) -> None:
    x = scale * np.random.default_rng(0).random(200)
    got = RUN.compile(Graph({"y": ours(data("x", "f64[200]"))}))({"x": x})["y"]
    np.testing.assert_allclose(got, theirs(x), rtol=1e-15)


@pytest.mark.parametrize("axis", [None, 0, 1, (0, 2), -1])
@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod", "logsumexp"])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions_equal_those_of_numpy(name: str, axis: Any, keepdims: bool) -> None:
    x = np.random.default_rng(0).standard_normal((4, 3, 5))
    theirs = scipy.special.logsumexp if name == "logsumexp" else getattr(np, name)
    node = getattr(F, name)(data("x", "f64[B,3,5]"), axis, keepdims)
    got = RUN.compile(Graph({"y": node}))({"x": x})["y"]
    np.testing.assert_allclose(got, theirs(x, axis=axis, keepdims=keepdims), rtol=1e-14)


def test_logsumexp_far_out() -> None:
    x = np.array([[1e4, 1e4 - 1, 0.0], [-1e4, -1e4, -1e4], [-np.inf, 0.0, 1.0], [np.inf, 0.0, 1.0]])
    x = np.concatenate([x, np.full((1, 3), -np.inf)])
    got = RUN.compile(Graph({"y": LogSumExp((1,))(data("x", "f64[B,3]"))}))({"x": x})["y"]
    np.testing.assert_allclose(got, scipy.special.logsumexp(x, axis=1), rtol=1e-15)
    z = np.array([[1e4, -1e4, 3.0]])
    got = RUN.compile(Graph({"y": LogSoftmax()(data("x", "f64[B,3]"))}))({"x": z})["y"]
    np.testing.assert_allclose(got, scipy.special.log_softmax(z, axis=1), rtol=1e-15)


def test_a_product_with_zeros_has_the_right_derivatives_of_both_orders() -> None:
    x = np.array([[0.0, 2.0, 3.0], [0.0, 0.0, 5.0], [1.0, 2.0, 4.0]])
    w = np.random.default_rng(0).standard_normal(x.shape)
    node, weights = parameter("x", "f64[B,3]"), data("w", "f64[B,3]")
    step = backward(Graph({"C": Sum()(F.prod(node, axis=1))}), "C", ["x"])
    again = backward(Graph({"Q": Sum()(step["dx"] * weights), "dx": step["dx"]}), "Q", ["x"], prefix="dd")
    got = RUN.compile(again)({"x": x, "w": w})
    others = np.stack([x[:, 1] * x[:, 2], x[:, 0] * x[:, 2], x[:, 0] * x[:, 1]], axis=1)
    second = np.stack([w[:, 1] * x[:, 2] + w[:, 2] * x[:, 1], w[:, 0] * x[:, 2] + w[:, 2] * x[:, 0],
                       w[:, 0] * x[:, 1] + w[:, 1] * x[:, 0]], axis=1)  # fmt: skip
    np.testing.assert_allclose(got["dx"], others)
    np.testing.assert_allclose(got["ddx"], second)


def test_the_branch_that_is_not_taken_leaves_no_nan_where_its_argument_is_safe() -> None:
    x = parameter("x", "f64[4]")
    safe = F.where(x > 0, F.sqrt(F.where(x > 0, x, 1.0)), 0.0)
    got = RUN.compile(backward(Graph({"C": F.sum(safe)}), "C", ["x"]))({"x": np.array([-1.0, 0.0, 1.0, 4.0])})
    assert got["dx"].tolist() == [0.0, 0.0, 0.5, 0.25]


def test_no_derivative_flows_where_it_is_stopped() -> None:
    x = parameter("x", "f64[3]")
    step = backward(Graph({"C": F.sum(StopGradient()(x) * x + Cast("f64")(Cast("i64")(x)))}), "C", ["x"])
    assert RUN.compile(step)({"x": np.array([1.5, -2.5, 3.0])})["dx"].tolist() == [1.5, -2.5, 3.0]


def test_a_conversion_between_precisions_converts_the_adjoint_back() -> None:
    x = parameter("x", "f32[3]")
    y = Cast("f64")(x)
    step = backward(Graph({"C": F.sum(y * y)}), "C", ["x"])
    assert str(step["dx"].type) == "f32[3]"
    values = np.array([0.1, 2.0, -3.0], np.float32)
    np.testing.assert_allclose(RUN.compile(step)({"x": values})["dx"], 2 * values)


# ---- indices


def test_gather_and_scatter_are_take_and_add_at() -> None:
    rng = np.random.default_rng(0)
    x, i = rng.standard_normal((4, 5, 3)), rng.integers(0, 5, (2, 6))
    got = RUN.compile(Graph({"y": Gather(1)(data("x", "f64[B,5,3]"), data("i", "i64[2,6]"))}))(
        {"x": x, "i": i}
    )
    assert np.array_equal(got["y"], np.take(x, i, axis=1))
    back = ScatterAdd(1, 5)(data("y", "f64[B,2,6,3]"), data("i", "i64[2,6]"))
    got = RUN.compile(Graph({"x": back}))({"y": got["y"], "i": i})["x"]
    np.testing.assert_allclose(got, x * np.bincount(i.ravel(), minlength=5)[:, None], rtol=1e-14)


@pytest.mark.parametrize(
    "key",
    [
        1,
        -1,
        np.s_[1:3],
        np.s_[:, 2],
        np.s_[:, -2:],
        np.s_[..., 1],
        np.s_[:, 1:, 0],
        np.s_[1:1],
        np.s_[2, ..., 3],
    ],
)
def test_indexing_is_that_of_numpy(key: Any) -> None:
    x = np.random.default_rng(0).standard_normal((4, 3, 5))
    got = RUN.compile(Graph({"y": data("x", "f64[4,3,5]")[key]}))({"x": x})["y"]
    assert np.array_equal(got, x[key])


def test_what_cannot_be_indexed_says_what_can() -> None:
    x = data("x", "f64[B,3]")
    with pytest.raises(ShapeError, match=r"the named dimension B of .* can only be kept whole"):
        x[1:]
    with pytest.raises(ShapeError, match="there is no entry 3 along axis 1"):
        x[:, 3]
    with pytest.raises(UsageError, match="indexed by slices without a step"):
        x[:, ::2]
    with pytest.raises(ShapeError, match="3 indices for the 2 axes"):
        x[:, 1, 2]
    with pytest.raises(ShapeError, match=r"slice 2:5 does not fit the 3 entries"):
        Slice((0, 2), (None, 5))(x)


# ---- products


@pytest.mark.parametrize(
    ("spec", "types"),
    [
        ("bi,ij->bj", ("f64[B,3]", "f64[3,4]")),
        ("bhqd,bhkd->bhqk", ("f64[B,2,3,4]", "f64[B,2,5,4]")),
        ("bi,bj,bk->ijk", ("f64[B,2]", "f64[B,3]", "f64[B,4]")),
        ("bij->", ("f64[B,2,3]",)),
        ("ij,kl->ij", ("f64[2,3]", "f64[4,5]")),
    ],
)
def test_einsum_equals_that_of_pytorch(spec: str, types: tuple[str, ...]) -> None:
    xs = [parameter(f"x{i}", t) for i, t in enumerate(types)]
    rng = np.random.default_rng(0)
    values = {str(x.name): rng.standard_normal(x.array_type.bind({"B": 6}).shape) for x in xs}
    y = Einsum(spec)(*xs)
    got = RUN.compile(backward(Graph({"C": F.sum(F.sin(y)), "y": y}), "C", list(values)))(values)
    ts = [torch.tensor(v, requires_grad=True) for v in values.values()]
    theirs = torch.einsum(spec, *ts)
    theirs.sin().sum().backward()
    np.testing.assert_allclose(got["y"], theirs.detach().numpy(), rtol=1e-12, atol=1e-13)
    for x, t in zip(xs, ts, strict=True):
        np.testing.assert_allclose(got[f"d{x.name}"], t.grad.numpy(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("bi,ij", "is told what to do as in"),
        ("ii,ij->j", "is told what to do as in"),
        ("b...,ij->j", "is told what to do as in"),
        ("bi->b", "does not fit"),
        ("bi,jk->bz", "no operand has z"),
        ("ij,ij->j", "i is both B and 3"),
    ],
)
def test_what_einsum_does_not_take(spec: str, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        Einsum(spec)(data("x", "f64[B,3]"), data("w", "f64[3,4]"))


def test_a_product_of_matrices_prints_as_ever_and_a_stack_of_them_alike() -> None:
    x, W = data("x", "f64[B,3]"), parameter("W", "f64[3,2]")
    step = backward(Graph({"C": F.sum(F.tanh((x @ W).named("z")))}), "C", ["W"], names={"z": "δ"})
    assert "dW = x.T @ δ" in step.text()
    a, b = parameter("a", "f64[B,4,3]"), parameter("b", "f64[B,3,5]")
    step = backward(Graph({"C": F.sum(F.tanh((a @ b).named("z")))}), "C", ["a", "b"], names={"z": "δ"})
    text = step.text()
    assert "da = δ @ b.mT" in text
    assert "db = a.mT @ δ" in text
    with pytest.raises(ShapeError, match=r"matmul needs \(..., m, k\) @ \(..., k, n\) with equal"):
        MatMul()(a, W)


# ---- dtypes


@pytest.mark.parametrize("op", ["exp", "softmax", "mean", "tanh", "logsumexp"])
def test_functions_of_real_numbers_refuse_integers(op: str) -> None:
    with pytest.raises(ShapeError, match=rf"{op} needs floating-point numbers, got i64\[B\]; cast i64 first"):
        getattr(F, op)(data("i", "i64[B]"))


def test_truths_are_no_numbers_and_halves_no_integers() -> None:
    i = data("i", "i64[B]")
    with pytest.raises(ShapeError, match="add needs numbers, got bool"):
        F.add(i > 1, i > 2)
    with pytest.raises(ShapeError, match=r"0\.5 beside integers"):
        i + 0.5
    got = RUN.compile(Graph({"y": i * 2 + 1, "n": F.sum(F.cast(i > 1, "i64"))}))({"i": np.array([0, 3])})
    assert got["y"].tolist() == [1, 7]
    assert got["y"].dtype == np.int64
    assert got["n"] == 1


# ---- random numbers


def uniform(counter: int, key: int, shape: tuple[int, ...], dtype: str = "f64") -> np.ndarray:
    graph = Graph({"u": Uniform(key, shape, dtype)(state("draws", "i64[]"))})
    return RUN.compile(graph)({"draws": np.asarray(counter)})["u"]


def test_random_numbers_are_spread_evenly() -> None:
    u = uniform(5, 3, (200_000,))
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 4 / np.sqrt(12 * u.size)
    assert abs(u.var() - 1 / 12) < 1e-3
    assert scipy.stats.kstest(u, "uniform").pvalue > 1e-3
    counts = np.bincount((u * 256).astype(int), minlength=256)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    pairs = np.bincount((u[:-1] * 16).astype(int) * 16 + (u[1:] * 16).astype(int), minlength=256)
    assert scipy.stats.chisquare(pairs).pvalue > 1e-3
    low_bits = (u * 2**24).astype(int) & 1
    assert abs(low_bits.mean() - 0.5) < 4 / np.sqrt(4 * u.size)


def test_rows_counters_and_keys_do_not_resemble_each_other() -> None:
    rows = uniform(0, 0, (400, 250))
    counters = np.stack([uniform(c, 7, (250,)) for c in range(400)])
    keys = np.stack([uniform(7, k, (250,)) for k in range(400)])
    swapped = np.stack([uniform(a, b, (250,)) for a in range(20) for b in range(20)])
    for values in (rows, counters, keys, swapped):
        correlation = np.corrcoef(values)
        off = correlation[~np.eye(len(values), dtype=bool)]
        assert np.abs(off).max() < 6 / np.sqrt(250)
        assert abs(off.std() - 1 / np.sqrt(250)) < 0.005
        assert abs(values.mean() - 0.5) < 0.005
        assert len(np.unique(values)) > 0.99 * values.size
        columns = np.corrcoef(values.T)
        assert np.abs(columns[~np.eye(250, dtype=bool)]).max() < 0.3


def test_an_entry_depends_on_its_own_row_and_column_only() -> None:
    assert np.array_equal(uniform(9, 2, (7, 5))[:3], uniform(9, 2, (3, 5)))
    assert np.array_equal(uniform(9, 2, (7, 5, 2))[:3], uniform(9, 2, (3, 5, 2)))
    assert not np.array_equal(uniform(9, 2, (3, 5)), uniform(10, 2, (3, 5)))
    assert not np.array_equal(uniform(9, 2, (3, 5)), uniform(9, 3, (3, 5)))


def test_random_numbers_are_the_same_in_both_precisions_and_forever() -> None:
    single, double = uniform(1, 0, (1000,), "f32"), uniform(1, 0, (1000,), "f64")
    assert single.dtype == np.float32
    assert np.array_equal(single, double)
    graph = Graph({"u": Uniform(0, (3,), "f32")(state("draws", "i64[]"))})
    assert str(retyped(graph, "f64")["u"].type) == "f64[3]"

    def mix(x: int) -> int:  # the documented formula, in Python's own integers
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    golden = 0x9E3779B97F4A7C15
    for counter, key in ((0, 0), (17, 5), (-1, 2**63 - 1), (2**63 - 1, 1)):
        start = mix((mix((key + golden) % 2**64) + counter) % 2**64)
        step = mix((start + golden) % 2**64) | 1
        wanted = [(mix((start + i * step) % 2**64) >> 40) / 2**24 for i in range(6)]
        assert uniform(counter, key, (2, 3)).ravel().tolist() == wanted
    assert uniform(17, 5, (3,)).tolist() == PINNED
    with pytest.raises(UsageError, match="the key of random numbers"):
        Uniform(-1, ())
    with pytest.raises(ShapeError, match="one integer to count with"):
        Uniform(1, ())(constant(1.0))


#: Runs that were recorded must be drawn again alike by any later version.
PINNED = [0.27625858783721924, 0.21533268690109253, 0.8087009191513062]


# ---- another array namespace


@pytest.mark.slow
def test_every_forward_rule_runs_on_jax() -> None:
    generator = np.random.get_state()  # which JAX draws from when it is imported
    jax: Any = pytest.importorskip("jax")
    from backpass.ir import REGISTRY
    from backpass.testing.drawing import drawn

    xp = ArrayNamespace(jax.numpy)
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        for op in REGISTRY.all().values():
            if not op.__module__.startswith("backpass.") or op.name == "scan":
                continue
            for sample in op.samples:
                d = drawn(op, sample, np.random.default_rng(0))
                graph = Graph({"y": d.op(*d.xs), **d.anchors})
                ours = RUN.compile(graph)(d.feeds)["y"]
                feeds = {name: jax.numpy.asarray(v) for name, v in d.feeds.items()}
                theirs = np.asarray(interpret(graph, feeds, d.dims, xp)[graph["y"]])
                assert theirs.dtype == ours.dtype, op.name
                np.testing.assert_allclose(theirs, ours, rtol=1e-12, atol=1e-13, err_msg=op.name)
    np.random.set_state(generator)
