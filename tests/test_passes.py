"""Simplify never changes a value, keeps names, carry and origins; work is what can be counted by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import DIMS, Program, is_tame, programs
from textbook import NETS, fed

from backpass.errors import GraphError, ShapeError
from backpass.exec.reference import Reference
from backpass.ir import Graph, Node
from backpass.ir.interpret import interpret
from backpass.ir.text import sections
from backpass.ir.xp import ArrayNamespace
from backpass.ops import (
    Broadcast,
    Constant,
    Gate,
    Identity,
    Input,
    Mean,
    Multiply,
    Negate,
    Reshape,
    Scan,
    Size,
    Sum,
    Tanh,
    Transpose,
    constant,
    data,
    parameter,
)
from backpass.passes import backward, retyped, simplify, work
from backpass.testing import same_bits

RUN = Reference()
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, np.inf, -np.inf, np.nan, 5e-324, 1.7e308, 1e-160]


def special(program: Program, seed: int) -> dict[str, np.ndarray]:
    """Feeds of zeros of both signs, infinities, NaN, and numbers that overflow when squared."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.choice(SPECIAL, value.shape).astype(value.dtype) if value.dtype.kind == "f" else value
        for name, value in program.feeds.items()
    }


class OneLayout(ArrayNamespace):
    """NumPy on operands that are always laid out row by row.

    NumPy chooses the order of a sum by the layout of its operand, so that a value which a rewriting leaves
    as it is may be added up in another order. That is not what the exactness of a rewriting is about.
    """

    def __init__(self) -> None:
        super().__init__(np)
        self.einsum = lambda spec, *xs: np.einsum(spec, *map(np.ascontiguousarray, xs))
        self.matmul = lambda a, b: np.matmul(np.ascontiguousarray(a), np.ascontiguousarray(b))

    def sum(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return super().sum(np.ascontiguousarray(x) if np.ndim(x) else x, axis, keepdims)

    def prod(self, x: Any, axis: Any = None) -> Any:
        return super().prod(np.ascontiguousarray(x) if np.ndim(x) else x, axis)

    def mean(self, x: Any, axis: Any = None) -> Any:
        return super().mean(np.ascontiguousarray(x) if np.ndim(x) else x, axis)


def in_one_layout(graph: Graph, feeds: dict[str, np.ndarray]) -> dict[str, Any]:
    with np.errstate(all="ignore"):
        values = interpret(graph, feeds, DIMS, OneLayout())
    return {name: np.asarray(values[n]) for name, n in graph.outputs.items()}


def step_of(program: Program) -> Graph:
    return backward(program.graph, "C", [n for n in program.wrt if n in program.graph.inputs], prefix="d")


@settings(max_examples=100)
@given(programs(), st.integers(0, 1000))
def test_exact_rewriting_never_changes_a_bit(program: Program, seed: int) -> None:
    step = step_of(program)
    simple = simplify(step)
    assert len(simple.nodes) <= len(step.nodes)
    for feeds in (program.feeds, special(program, seed)):
        assert same_bits(in_one_layout(step, feeds), in_one_layout(simple, feeds)) is None


@settings(max_examples=100)
@given(programs())
def test_folding_changes_rounding_only(program: Program) -> None:
    step = step_of(program)
    function, folded = RUN.compile(step), RUN.compile(simplify(step, fold=True))
    if not is_tame(program, function.values(program.feeds)):
        return
    a, b = function(program.feeds), folded(program.feeds)
    largest = max(1.0, *(float(np.max(np.abs(v), initial=0.0)) for v in a.values()))
    for name in a:
        assert np.max(np.abs(a[name] - b[name]), initial=0.0) <= 1e-12 * largest


@settings(max_examples=100)
@given(programs())
def test_simplify_keeps_what_it_must_and_is_done_when_it_returns(program: Program) -> None:
    step = step_of(program)
    for fold in (False, True):
        simple = simplify(step, fold=fold)
        assert list(simple.outputs) == list(step.outputs)
        assert {n: str(v.type) for n, v in simple.outputs.items()} == {
            n: str(v.type) for n, v in step.outputs.items()
        }
        assert set(simple.inputs) <= set(step.inputs)
        assert set(step.named) == set(simple.named)
        assert {o.primal.name for s in simple.origins.values() for o in s} <= {
            n.name for n in simple.nodes
        } | {None}
        again = simplify(simple, fold=fold)
        assert again.text() == simple.text()
        assert list(sections(again).values()) == list(sections(simple).values())


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_a_training_step_keeps_its_carry_names_and_sections(name: str, fold: bool) -> None:
    step = NETS[name]()
    simple = simplify(step, fold=fold)
    assert simple.carry == step.carry
    assert set(step.named) == set(simple.named)
    assert all(simple.origins.get(simple[n]) for n in simple.named if n.startswith("δ"))
    for n in simple.outputs:
        assert sections(simple)[simple[n]] == ("update" if n.endswith("_new") else sections(step)[step[n]])


# ---- one rewriting at a time

X, Y, S = data("x", "f64[B,3]"), data("y", "f64[B,3]"), data("s", "f64[]")

REWRITTEN: dict[str, tuple[Callable[[], Node], str]] = {
    "times one": (lambda: 1.0 * X * 1.0, "x"),
    "over one": (lambda: Tanh()(X) / 1.0, "tanh(x)"),
    "minus zero": (lambda: X - 0.0, "x"),
    "minus minus zero stays": (lambda: X - (-0.0), "x - -0.0"),
    "plus zero stays": (lambda: X + 0.0, "x + 0"),
    "plus minus": (lambda: X + -Y, "x - y"),
    "minus minus": (lambda: Negate()(Negate()(X)), "x"),
    "transposed twice": (lambda: X.T.T + Y, "x + y"),
    "three axes turned around": (
        lambda: Transpose((1, 2, 0))(Transpose((2, 0, 1))(Broadcast(("B", 3, 2), (0, 1))(X))) + 1.0,
        "broadcast_to(x[:, :, None], (B, 3, 2)) + 1",
    ),
    "reshaped twice": (lambda: Reshape(("3*B",))(Reshape((3, "B"))(X)), "reshape(x, (3 * B,))"),
    "reshaped to its own shape": (lambda: Reshape(("B", 3))(X) + Y, "x + y"),
    "repeated twice": (lambda: Broadcast(("B", 3), (1,))(Broadcast((3,), ())(S)) * Y, "s * y"),
    "the same twice": (lambda: Tanh()(X) * Tanh()(X), "v1 * v1"),
    "zeros of two signs": (lambda: (X + 0.0) * (X + -0.0), "(x + 0) * (x + -0.0)"),
    "identity": (lambda: Identity()(X) + Identity()(Y), "x + y"),
}


@pytest.mark.parametrize(("build", "wanted"), REWRITTEN.values(), ids=REWRITTEN)
def test_exact_rewriting(build: Callable[[], Node], wanted: str) -> None:
    graph = Graph({"z": build(), "also": X})
    simple = simplify(graph)
    last = next(line for line in simple.text(prelude=False).splitlines() if line.startswith("z "))
    assert last.split("=", 1)[1].split("#")[0].strip() == wanted
    feeds = {"x": np.array([SPECIAL[:3], SPECIAL[5:8]]), "y": np.ones((2, 3)), "s": np.array(-0.0)}
    assert same_bits(RUN.compile(graph)(feeds), RUN.compile(simple)(feeds)) is None


FOLDED: dict[str, tuple[Callable[[], Node], str]] = {
    "numbers": (lambda: (constant(2.0) + constant(3.0)) * S, "5 * s"),
    "numbers first": (lambda: X * 2.0, "2 * x"),
    "two factors": (lambda: 3.0 * (2.0 * X), "6 * x"),
    "two factors behind": (lambda: X * 2.0 * 3.0, "6 * x"),
    "one over s": (lambda: (1.0 / S) * X, "x / s"),
    "one over a full array stays": (lambda: (1.0 / Y) * X, "1 / y * x"),
    "division by zero": (lambda: constant(1.0) / constant(0.0) * S, "s / 0"),
    "factors that would overflow": (lambda: 1e200 * (1e200 * X), "1e+200 * (1e+200 * x)"),
    "factors that would underflow": (lambda: 1e-200 * (1e-200 * X), "1e-200 * (1e-200 * x)"),
}


@pytest.mark.parametrize(("build", "wanted"), FOLDED.values(), ids=FOLDED)
def test_folding(build: Callable[[], Node], wanted: str) -> None:
    simple = simplify(Graph({"z": build()}), fold=True)
    last = simple.text(prelude=False).splitlines()[-1]
    assert last.split("=", 1)[1].split("#")[0].strip() == wanted


def test_folding_knows_the_dtype() -> None:
    x = data("x", "f32[B]")
    assert "1e+30 * (1e+30 * x)" in simplify(Graph({"z": 1e30 * (1e30 * x)}), fold=True).text()


def test_a_twin_takes_the_name() -> None:
    """What was computed without a name and again with one is computed once, under the name."""
    y = Tanh()(X) * 2.0 + Tanh()(X, name="a1")
    simple = simplify(Graph({"y": y}))
    assert simple.text(prelude=False).count("tanh") == 1
    assert "a1" in simple.named


def test_what_the_update_shares_with_the_backward_pass_stays_a_part_of_it() -> None:
    W = parameter("W", "f64[3,2]")
    step = backward(Graph({"C": Sum()(Tanh()(X @ W))}), "C", ["W"])
    simple = simplify(step.extended({"extra": X.T @ X}))
    (turned,) = [n for n in simple.nodes if isinstance(n.op, Transpose)]
    assert len(simple.users[turned]) == 2
    assert sections(simple)[turned] == "backward"
    assert simple.origins[turned]


def test_two_names_of_one_value_both_stay() -> None:
    simple = simplify(
        Graph({"a": Tanh()(X, name="a"), "b": Tanh()(X, name="b"), "c": Identity()(X, name="c")})
    )
    assert {"a", "b", "c"} <= set(simple.named)


def test_dead_values_go() -> None:
    graph = Graph({"kept": X + 1.0, "dead": Tanh()(Y)})
    assert "tanh" not in simplify(graph.part(["kept"])).text()


# ---- a program in another type


@given(programs())
def test_retyped_there_and_back_is_the_same_program(program: Program) -> None:
    step = step_of(program)
    other = retyped(step, "f32")
    assert all("f64" not in str(n.type) for n in other.nodes)
    back = retyped(other, "f64")
    assert back.digest == step.digest
    assert list(sections(back).values()) == list(sections(step).values())


def test_retyped_leaves_integers_and_reaches_into_bodies() -> None:
    i = data("i", "i64[B]")
    assert str(retyped(Graph({"i": i}), "f32")["i"].type) == "i64[B]"
    step = retyped(NETS["recurrent"](), "f32")
    bodies = [n.op.body for n in step.nodes if isinstance(n.op, Scan)]
    assert bodies
    assert all("f64" not in body.text() for body in bodies)


# ---- work


def test_work_of_dense_layers_in_closed_form() -> None:
    """Forward 2BMN; backward twice that for every layer but the first, whose input needs no adjoint."""
    B, sizes = 17, [64, 30, 10]
    step = NETS["digits"]()
    counted = work(step, {"B": B})
    products = sum(v for n, v in counted.by_node.items() if n.op.name == "matmul")
    forward = [2 * B * m * n for m, n in pairwise(sizes)]
    assert products == sum(3 * f for f in forward) - forward[0]
    assert counted.flops == sum(counted.by_node.values())
    assert 1.0 < counted.flops / products < 1.3


@pytest.mark.parametrize(
    ("build", "flops", "moved"),
    [
        (lambda: X + Y, 5 * 3, 3 * 5 * 3 * 8),
        (lambda: X @ X.T, 2 * 5 * 3 * 5, (2 * 5 * 3 + 25) * 8),  # the transpose is a view
        (lambda: Sum((0,))(X), 5 * 3, (5 * 3 + 3) * 8),
        (lambda: Mean()(X), 5 * 3, (5 * 3 + 1) * 8),
        (lambda: Tanh()(X), 12 * 5 * 3, 2 * 5 * 3 * 8),
        (lambda: Broadcast(("B", 3), ())(S), 0, 0),
    ],
)
def test_work_in_closed_form(build: Callable[[], Node], flops: int, moved: int) -> None:
    counted = work(Graph({"out": build()}), {"B": 5})
    assert (counted.flops, counted.traffic) == (flops, moved)


def test_work_of_a_loop_is_that_of_its_body_each_time() -> None:
    graph = NETS["recurrent"]().part(["C"])
    once, twice = (work(graph, {"B": 5, "T": t}) for t in (4, 8))
    loop = {n.op.name: v for n, v in once.by_node.items()}["scan"]
    assert loop == 4 * (2 * 5 * 2 * 3 + 2 * 5 * 3 * 3 + 5 * 3 + 12 * 5 * 3)
    assert twice.flops - once.flops == loop


def test_work_needs_the_sizes() -> None:
    with pytest.raises(ShapeError, match="the size of dimension 'B' is not known"):
        work(Graph({"out": X + Y}), {})


# ---- graphs


@pytest.mark.parametrize(
    ("outputs", "carry", "message"),
    [
        ({"y": X + 1.0}, {"z": "x"}, "carry names the output 'z'"),
        ({"y": X + 1.0}, {"y": "z"}, "carry names the input 'z'"),
        ({"y": Sum()(X)}, {"y": "x"}, r"y \(f64\[\]\) cannot replace x \(f64\[B,3\]\)"),
        ({"x": X + 1.0, "z": X}, {}, "the output 'x' has the name of another value"),
    ],
)
def test_a_malformed_graph_is_refused(outputs: dict[str, Node], carry: dict[str, str], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        Graph(outputs, carry)


def test_part_and_extended() -> None:
    step = NETS["momentum"]()
    part = step.part(["W1_new"])
    assert part.carry == {"W1_new": "W1"}
    assert set(part.inputs) < set(step.inputs)
    longer = part.extended({"double": part["W1_new"] * 2.0})
    feeds = fed(step, {"B": 3})
    got = RUN.compile(longer)({name: feeds[name] for name in longer.inputs})
    assert np.array_equal(got["double"], 2 * got["W1_new"])


def test_leaves() -> None:
    with pytest.raises(
        GraphError, match="an input is one of data, parameter, fixed, state, number, not 'code'"
    ):
        Input("code", X.array_type)
    assert Size("2*B").bind({"B": 4}) == Constant(8.0)
    assert Multiply()(constant(2.0), S).shape == ()
    assert str(Gate()(S, X).type) == "f64[B,3]"
    with pytest.raises(ShapeError, match="a named dimension is a capitalised word such as B, not 'b'"):
        data("x", "f64[b]")
    with pytest.raises(ShapeError, match="not a type"):
        data("x", "f16[B]")


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, "no value was given for the input 'x'"),
        ({"x": np.ones((2, 3), np.float32), "m": np.ones(6)}, r"x must be f64\[B,3\], got float32\[2, 3\]"),
        ({"x": np.ones((2, 4)), "m": np.ones(6)}, r"x must be f64\[B,3\], got shape \[2, 4\]"),
        ({"x": np.ones((2, 3)), "m": np.ones(5)}, r"m must be f64\[3\*B\], got shape \[5\]"),
    ],
)
def test_feeds_must_fit(feeds: dict[str, Any], message: str) -> None:
    graph = Graph({"y": X + 1.0, "m2": data("m", "f64[3*B]") * 2.0})
    with pytest.raises(ShapeError, match=message):
        RUN.compile(graph)(feeds)
