"""Backward on random programs, against an independent autodiff; and the errors it gives."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import COMPARISONS, DIMS, MOVES, Program, is_tame, programs

from backpass.errors import GraphError, NotDifferentiable, RuleError
from backpass.exec.reference import Reference
from backpass.ir import REGISTRY, ArrayType, Elementwise, Graph
from backpass.ir.chain import pullback
from backpass.ir.interpret import interpret
from backpass.ir.tuples import Item
from backpass.ir.xp import ArrayNamespace
from backpass.ops import (
    Broadcast,
    Identity,
    Mean,
    Scan,
    Softmax,
    SoftmaxCrossEntropy,
    Sum,
    Tanh,
    data,
    parameter,
)
from backpass.passes import backward, simplify
from backpass.testing import check_gradients, same_bits

RUN = Reference()
#: What is not smooth everywhere.
KINKED = {
    "relu", "gate", "abs", "sign", "softsign", "leaky_relu", "elu", "selu", "hard_tanh", "clip", "maximum",
    "minimum", "max", "min", "argmax", "where", "cast", *COMPARISONS,
}  # fmt: skip
seen: dict[str, int] = {}


def used(program: Program) -> list[str]:
    return [name for name in program.wrt if name in program.graph.inputs]


class Autodiff(ArrayNamespace):
    """HIPS autograd, which would let derivatives through a conversion to integers."""

    def cast(self, x: Any, dtype: str) -> Any:
        while dtype in ("i64", "bool") and hasattr(x, "_value"):
            x = x._value
        return super().cast(x, dtype)


def by_autograd(program: Program, order: int, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Gradients of C, or of the weighted sum of its gradients."""
    autograd: Any = pytest.importorskip("autograd")
    xp = Autodiff(pytest.importorskip("autograd.numpy"))
    names = used(program)
    slots = tuple(range(len(names)))

    def cost(*xs: Any) -> Any:
        feeds = {**program.feeds, **dict(zip(names, xs, strict=True))}
        return interpret(program.graph, feeds, DIMS, xp)[program.graph.outputs["C"]]

    first = autograd.grad(cost, slots)

    def weighted(*xs: Any) -> Any:
        return sum(xp.sum(g * weights[name]) for name, g in zip(names, first(*xs), strict=True))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "output seems independent of input": then the gradient is zero
        found = (first if order == 1 else autograd.grad(weighted, slots))(*(program.feeds[n] for n in names))
    return dict(zip(names, found, strict=True))


def assert_close(ours: dict[str, Any], theirs: dict[str, Any], prefix: str, cost: float, rtol: float) -> None:
    for name, g in theirs.items():
        scale = max(float(np.max(np.abs(g))), 1e-3 * max(1.0, abs(cost)))
        error = float(np.max(np.abs(ours[prefix + name] - g))) / scale
        assert error <= rtol, (name, error)


@settings(max_examples=300)
@given(programs())
def test_gradients_equal_those_of_an_independent_autodiff(program: Program) -> None:
    agrees_with_autograd(program)


@pytest.mark.slow
@settings(max_examples=700)
@given(programs(most=12))
def test_gradients_of_larger_programs_equal_those_of_an_independent_autodiff(program: Program) -> None:
    agrees_with_autograd(program)


def agrees_with_autograd(program: Program) -> None:
    step = backward(program.graph, "C", used(program))
    function = RUN.compile(step)
    assume(is_tame(program, function.values(program.feeds)))
    got = function(program.feeds)
    assert_close(got, by_autograd(program, 1, {}), "d", float(got["C"]), 1e-10)
    assert same_bits(got, function(program.feeds)) is None
    for move in {*program.moves, "graphs"}:
        seen[move] = seen.get(move, 0) + 1


def test_random_programs_were_many_and_covered_every_move() -> None:
    if not seen:
        pytest.skip("the test before this one did not run")
    assert seen["graphs"] >= 195
    assert set(MOVES) - set(seen) == set()


def test_random_programs_cover_the_registry() -> None:
    covered = {*MOVES, "input", "item", "stop_gradient"}
    assert {n for n, op in REGISTRY.all().items() if op.__module__.startswith("backpass.")} == covered


@settings(max_examples=60)
@given(programs(most=6))
def test_order_2(program: Program) -> None:
    names = used(program)
    rng = np.random.default_rng(0)
    weights = {name: rng.uniform(-1, 1, program.feeds[name].shape) for name in names}
    step = backward(program.graph, "C", names)
    total = None
    for name in names:
        r = data(f"r_{name}", step["d" + name].array_type)
        total = Sum()(step["d" + name] * r) + (0.0 if total is None else total)
    again = backward(Graph({"Q": total, **program.graph.outputs}), "Q", names, prefix="dd")
    function = RUN.compile(again)
    feeds = {**program.feeds, **{f"r_{name}": w for name, w in weights.items()}}
    assume(is_tame(program, function.values(feeds)))
    got = function(feeds)
    assert_close(got, by_autograd(program, 2, weights), "dd", float(got["C"]), 1e-9)


@settings(max_examples=60)
@given(programs(most=6), st.floats(-2, 2), st.floats(-2, 2))
def test_linear_in_the_seed(program: Program, a: float, b: float) -> None:
    z = program.graph.nodes[-1].inputs[0] if program.graph.nodes[-1].inputs else program.graph.nodes[-1]
    assume(isinstance(z.type, ArrayType))
    graph = Graph({"z": z, "batch": program.graph.outputs["batch"]})
    names = [n for n in program.wrt if n in graph.inputs]
    function = RUN.compile(backward(graph, "z", names, seed="seed"))
    feeds = {k: v for k, v in program.feeds.items() if k in graph.inputs}
    assume(is_tame(program, function.values({**feeds, "seed": np.ones(z.array_type.bind(DIMS).shape)})))
    rng = np.random.default_rng(1)
    u, v = rng.uniform(-1, 1, (2, *z.array_type.bind(DIMS).shape))
    of = {
        s: function({**feeds, "seed": np.asarray(w)})
        for s, w in {"u": u, "v": v, "au+bv": a * u + b * v}.items()
    }
    for name in names:
        d = "d" + name
        combined = a * of["u"][d] + b * of["v"][d]
        size = 1.0 + np.abs(of["u"][d]).max() + np.abs(of["v"][d]).max()
        assert np.abs(combined - of["au+bv"][d]).max() <= 1e-11 * size


@settings(max_examples=40)
@given(programs(most=6))
def test_gradients_equal_finite_differences(program: Program) -> None:
    assume(is_tame(program, RUN.compile(program.graph).values(program.feeds)))
    assume(not KINKED & set(program.moves))  # a chain of them may sit exactly at a kink
    report = check_gradients(program.graph, "C", used(program), program.feeds, limit=6, tolerance=1e-5)
    assert report.passed, str(report)


@settings(max_examples=100)
@given(programs())
def test_every_node_of_the_backward_pass_says_what_it_serves(program: Program) -> None:
    step = backward(program.graph, "C", used(program))
    forward = set(program.graph.nodes)
    for node in step.nodes:
        assert (node in forward) != (node in step.origins), node
    assert all(o.primal in forward for served in step.origins.values() for o in served)
    for graph in (simplify(step), simplify(step, fold=True)):
        first = min((n.serial for n in graph.origins), default=0)
        assert all(n in graph.origins or n.serial < first for n in graph.nodes)


# ---- one thing at a time


def test_adjoints_of_a_value_with_several_uses_are_added() -> None:
    x = parameter("x", "f64[B]")
    step = backward(Graph({"C": Sum()(x * x + 3.0 * x)}), "C", ["x"])
    assert np.array_equal(RUN.compile(step)({"x": np.array([1.0, 2.0])})["dx"], [5.0, 7.0])


def test_a_sum_of_adjoints_serves_every_use() -> None:
    x = parameter("x", "f64[B]")
    uses = [Tanh()(x, name="a"), (x * 3.0).named("b"), (x * x).named("c")]
    step = backward(Graph({"C": Sum()(uses[0] + uses[1] + uses[2])}), "C", ["x"])
    served = [(o.primal.name, o.slot) for o in step.origins[step["dx"]]]
    assert sorted(served) == [("a", 0), ("b", 0), ("c", 0), ("c", 1)]


def test_what_nothing_reads_has_a_zero_gradient_of_its_type() -> None:
    x = parameter("x", "f32[B,3]")
    graph = Graph({"C": Sum()(Tanh()(x)), "loose": parameter("w", "f32[2,5]")})
    dw = backward(graph, "C", ["x", "w"])["dw"]
    assert str(dw.type) == "f32[2,5]"
    got = RUN.compile(Graph({"dw": dw}))({})["dw"]
    assert not got.any()


def test_gradients_come_in_the_order_asked_for_and_under_the_names_asked_for() -> None:
    x, w, v = data("x", "f64[B,2]"), parameter("w", "f64[2,2]"), parameter("v", "f64[2,2]")
    z = (x @ w).named("z")
    graph = Graph({"C": Sum()(z @ v)})
    step = backward(graph, "C", ["v", "w"], names={"z": "δ"}, prefix="grad_")
    assert list(step.outputs) == ["C", "grad_v", "grad_w", "δ"]


def test_an_adjoint_that_has_a_name_already_gets_a_second_one() -> None:
    a, b = parameter("a", "f64[2]"), parameter("b", "f64[2]")
    step = simplify(backward(Graph({"C": Sum()(a + b)}), "C", ["a", "b"]))
    got = RUN.compile(step)({"a": np.ones(2), "b": np.ones(2)})
    assert got["da"].tolist() == got["db"].tolist() == [1, 1]


def test_the_input_itself_may_be_the_cost() -> None:
    x = parameter("x", "f64[]")
    assert RUN.compile(backward(Graph({"C": x}), "C", ["x"]))({"x": np.array(3.0)})["dx"] == 1


def test_seeding_one_example_gives_its_share() -> None:
    """A seed that is zero but for one example gives that example's share; the shares add up."""
    x, t, w = data("x", "f64[B,4]"), data("t", "f64[B,3]"), parameter("W", "f64[4,3]")
    loss = SoftmaxCrossEntropy()(x @ w, t, name="loss")
    graph = Graph({"loss": loss, "C": Mean()(loss)})
    rng = np.random.default_rng(0)
    feeds = {
        "x": rng.standard_normal((5, 4)),
        "t": np.eye(3)[[0, 1, 2, 0, 1]],
        "W": rng.standard_normal((4, 3)),
    }
    whole = RUN.compile(backward(graph, "C", ["W"]))(feeds)["dW"]
    seeded = RUN.compile(backward(graph, "loss", ["W"], seed="seed"))
    shares = [seeded({**feeds, "seed": np.eye(5)[i] / 5})["dW"] for i in range(5)]
    assert np.allclose(sum(shares), whole, rtol=1e-13, atol=1e-15)
    assert np.linalg.matrix_rank(shares[2]) == 1


def test_a_thousand_uses_and_a_thousand_layers() -> None:
    x = parameter("x", "f64[]")
    y, total = x, x
    for _ in range(1000):
        y = Tanh()(y)
        total = total + x * 2.0
    graph = simplify(backward(Graph({"C": y + total}), "C", ["x"]))
    got = RUN.compile(graph)({"x": np.array(0.5)})
    assert abs(got["dx"] - 2001) < 1e-3


def test_backward_wants_one_number() -> None:
    x = parameter("x", "f64[B]")
    with pytest.raises(GraphError, match=r"the cost must be one number, but y is f64\[B\]"):
        backward(Graph({"y": x * x}), "y", ["x"])
    with pytest.raises(GraphError, match=r"there is no value named 'cost'\. Known: C, x"):
        backward(Graph({"C": Sum()(x)}), "cost", ["x"])


def test_the_path_to_an_obstacle_is_printed() -> None:
    x, w = data("x", "f64[B,2]"), parameter("W1", "f64[2,3]")
    soft = Softmax()((x @ w).named("z1"), name="a1")
    loss = SoftmaxCrossEntropy()(data("z2", "f64[B,3]"), soft, name="loss")
    with pytest.raises(NotDifferentiable) as caught:
        backward(Graph({"C": Mean()(loss)}), "C", ["W1"])
    assert str(caught.value) == (
        "softmax_cross_entropy has no derivative with respect to a1: targets are data.\n"
        "  the path: W1 -> z1 -> a1 -> loss"
    )


def test_an_obstacle_beside_the_path_does_no_harm() -> None:
    x, w, t = data("x", "f64[B,2]"), parameter("W1", "f64[2,3]"), data("t", "f64[B,3]")
    step = backward(Graph({"C": Mean()(SoftmaxCrossEntropy()(x @ w, t))}), "C", ["W1"])
    assert step["dW1"].type == w.type


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda adj, x: (), "crooked: vjp gave 0 adjoints for 1 inputs"),
        (lambda adj, x: (adj, adj), "crooked: vjp gave 2 adjoints for 1 inputs"),
        (lambda adj, x: (Sum()(adj),), r"crooked: the adjoint of input 0 is f64\[\], the input is f64\[B\]"),
        (lambda adj, x: (1.0,), r"crooked: the adjoint of input 0 is 1.0, the input is f64\[B\]"),
    ],
)
def test_a_broken_rule_is_named(rule: Any, message: str) -> None:
    @dataclass(frozen=True)
    class Crooked(Elementwise):
        name = "crooked"
        notation = tex = "crooked({0})"

        def forward(self, xp: Any, /, x: Any) -> Any:
            return x

        def vjp(self, adj: Any, y: Any, /, x: Any) -> Any:
            return rule(adj, x)

    x = parameter("x", "f64[B]")
    with pytest.raises(RuleError, match=message):
        backward(Graph({"C": Sum()(Crooked()(x))}), "C", ["x"])


def test_parts_of_a_tuple_collect_their_adjoints() -> None:
    """Uses of a part add up, and a part that nothing reads counts as zero."""
    h, x = parameter("h", "f64[B]"), parameter("x", "f64[T,B]")
    hb, xb = data("h", "f64[B]"), data("x", "f64[B]")
    loop = Scan(Graph({"h_new": hb + xb, "y": hb * xb}), ("h", "x"), 1, 1)(h, x)
    feeds = {"h": np.array([1.0, 2.0]), "x": np.array([[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])}
    last = Item(0)(loop)
    only = RUN.compile(backward(Graph({"C": Sum()(last)}), "C", ["h", "x"]))(feeds)
    twice = RUN.compile(backward(Graph({"C": Sum()(last + Item(0)(loop) * 2.0)}), "C", ["h", "x"]))(feeds)
    assert only["dh"].tolist() == [1, 1]
    assert np.array_equal(only["dx"], np.ones((3, 2)))
    assert np.array_equal(twice["dx"], np.full((3, 2), 3.0))


def test_an_output_is_never_a_tuple() -> None:
    loop = Scan.samples[0].op(data("h", "f64[B,3]"), data("x", "f64[T,B,3]"), data("w", "f64[3]"))
    with pytest.raises(GraphError, match=r"the output 's' is a tuple, .*; take its parts with Item\(i\)"):
        Graph({"s": loop})


def test_names_do_not_change_what_is_computed() -> None:
    x, w = data("x", "f64[B,2]"), parameter("W", "f64[2,2]")
    z = Tanh()(x @ w, name="z")
    graph = Graph({"C": Sum()(z * z + Identity()(z))})
    feeds = {"x": np.arange(6.0).reshape(3, 2) / 7, "W": np.array([[0.1, -0.2], [0.3, 0.4]])}
    plain = RUN.compile(backward(graph, "C", ["W"]))(feeds)
    named = RUN.compile(backward(graph, "C", ["W"], names={"z": "adj_z"}))(feeds)
    assert np.array_equal(plain["dW"], named["dW"])


def test_pullback_works_without_a_graph() -> None:
    x = parameter("x", "f64[B]")
    y = Tanh()(x)
    adjoints, _ = pullback({y: data("u", "f64[B]")}, [x])
    assert adjoints[x].type == x.type
    assert adjoints[y].name == "u"
    assert isinstance(Broadcast(("B", 2), (0,))(adjoints[x]).type, ArrayType)
