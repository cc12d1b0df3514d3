"""Programs in print: golden files, executed text against the reference, JSON and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Program, programs
from textbook import NETS, fed

from backpass.errors import GraphError
from backpass.exec.reference import Reference
from backpass.ir import Graph, Node, parse_type
from backpass.ir.text import Section, ascii_name, latex_name, sections
from backpass.ir.wire import FORMAT, from_json, to_json
from backpass.ops import (
    ArgMax,
    Broadcast,
    Cast,
    Concatenate,
    Constant,
    CumSum,
    Equal,
    Gate,
    Greater,
    Identity,
    Mean,
    Negate,
    Relu,
    Reshape,
    Scan,
    Sigmoid,
    Stack,
    Subtract,
    Sum,
    Tanh,
    Transpose,
    Where,
    constant,
    data,
    filled,
    number,
    parameter,
)
from backpass.passes import backward, retyped, simplify
from backpass.testing import run_text, same_bits

DIMS = {"B": 5, "T": 4}


def assert_executes(
    graph: Graph, feeds: dict[str, Any], styles: tuple[Any, ...] = ("python", "ascii")
) -> None:
    """The printed program, executed, is the reference bit for bit, in f64 and in f32."""
    for dtype in ("f64", "f32"):
        program = retyped(graph, dtype)
        typed = {name: np.asarray(feeds[name], t.numpy_dtype) for name, t in program.input_types.items()}
        wanted = Reference().compile(program)(typed)
        for style in styles:
            assert same_bits(wanted, run_text(program, typed, style)) is None


# ---- golden programs


@pytest.mark.parametrize("style", ["python", "ascii", "latex"])
@pytest.mark.parametrize("name", NETS)
def test_golden(name: str, style: Any, golden: Callable[[str, str], None]) -> None:
    golden(f"{name}.{style}.txt", NETS[name]().text(style, values={"lr": 0.5} if style != "latex" else None))


@pytest.mark.parametrize("name", NETS)
def test_textbook_program_executes(name: str) -> None:
    graph = NETS[name]()
    assert_executes(graph, fed(graph, DIMS))


# ---- random programs


@settings(max_examples=60)
@given(programs())
def test_executed_text_equals_the_reference_bit_for_bit(program: Program) -> None:
    step_executes(program)


@pytest.mark.slow
@settings(max_examples=500)
@given(programs())
def test_executed_text_of_many_programs_equals_the_reference_bit_for_bit(program: Program) -> None:
    step_executes(program)


def step_executes(program: Program) -> None:
    names = [n for n in program.wrt if n in program.graph.inputs]
    step = backward(program.graph, "C", names)
    for graph in (step, simplify(step, fold=True)):
        assert_executes(graph, program.feeds, ("python",))
    assert graph.text("latex").count("\n") >= 2


@settings(max_examples=100)
@given(programs())
def test_json_and_back(program: Program) -> None:
    names = [n for n in program.wrt if n in program.graph.inputs]
    step = backward(program.graph, "C", names)
    back = from_json(to_json(step))
    assert to_json(back) == to_json(step)
    assert back.text() == step.text()
    assert back.digest == step.digest
    assert list(sections(back).values()) == list(sections(step).values())
    assert (
        same_bits(Reference().compile(step)(program.feeds), Reference().compile(back)(program.feeds)) is None
    )


def test_json_keeps_bodies_carry_and_origins() -> None:
    step = NETS["recurrent"]()
    back = from_json(to_json(step))
    assert back.carry == step.carry
    bodies = [[n.op.body.text() for n in g.nodes if isinstance(n.op, Scan)] for g in (step, back)]
    assert bodies[0] == bodies[1]
    assert len(bodies[0]) >= 2
    served = [[(o.primal.name, o.slot) for n in g.nodes for o in g.origins.get(n, ())] for g in (step, back)]
    assert served[0] == served[1] != []


def test_the_digest_tells_programs_apart() -> None:
    x = data("x", "f64[B]")
    digests = [Graph({"y": y}).digest for y in (x + 1.0, x + 1.5, x - 1.0, x * -0.0, x * 0.0, Identity()(x))]
    assert len(set(digests)) == len(digests)
    assert Graph({"y": x + 1.0}).digest == digests[0]


# ---- what needs care in print

X, Y = data("x", "f64[B,3]"), data("y", "f64[B,3]")
S = data("s", "f64[]")
V = data("v", "f64[B]")

AWKWARD: dict[str, Node] = {
    "the square of minus": Negate()(X) ** 2,
    "minus the square": Negate()(X**2),
    "a power of a power": (Y**3) ** -1.5,
    "a power of a sum": (X + Y) ** 3,
    "two numbers to choose from": Where()(X > 0, filled(2.0, X.array_type), 0.1),
    "a choice by broadcasts": Where()(Broadcast(("B", 3), (0,))(V > 0.5), 0.1, Broadcast(("B", 3), ())(S)),
    "a comparison of numbers": Cast("f64")(Greater()(constant(0.1), constant(0.2))) * S,
    "a comparison of a comparison": Equal()(Cast("f64")(X > Y), Cast("f64")(Y > X)),
    "a slice of a sum": (X + Y)[:, 1:3],
    "rows of a sum, backwards": CumSum(0, reverse=True)(X + Y),
    "one array, joined": Concatenate(1)(X),
    "a sum of numbers in one array": Stack(0)(constant(0.1), constant(0.2)),
    "a gathered sum": (X + Y)[ArgMax(0)(X[:, 0] * 0.0)],
    "integers": ArgMax(1)(X) * 2 + 1_000_000,
    "-0.0": X * -0.0,
    "infinite": X + constant(float("-inf")),
    "nan": X * constant(float("nan")),
    "a number alone": Negate()(constant(2.0)),
    "numbers only": Tanh()(constant(0.1)) * constant(0.3),
    "two broadcasts": Broadcast(("B", 3), (0,))(V) + Broadcast(("B", 3), ())(S),
    "a broadcast number first": filled(2.0, X.array_type) / X,
    "nothing but a broadcast number has a dtype": Gate()(filled(1.0, X.array_type), X),
    "nothing but a number has a dtype": Gate()(constant(0.1), S),
    "two numbers, one compared": Gate()(constant(0.1), constant(0.2)),
    "an unnamed identity of a sum": Identity()(X + Y) * X,
    "an identity of a number": Identity()(constant(0.1)) * Identity()(constant(0.7)),
    "minus a sum": X - (Y - X) - Y,
    "a quotient of quotients": X / (Y / X) / Y * (X / Y),
    "minus minus": Negate()(Negate()(X)) - Negate()(Y),
    "a negative number": X - constant(-0.1),
    "a product and a matmul": (X * Y) @ ((X * X).T @ Y),
    "a transposed sum": (X + Y).T @ X,
    "a transposed call": Tanh()(X).T,
    "axes that swap": Transpose((2, 0, 1))(Broadcast(("B", 3, 2), (0, 1))(X)),
    "a mean over the batch": X - Broadcast(("B", 3), (1,))(Mean((0,))(X)),
    "merged dimensions": Reshape(("3*B",))(X),
    "the size of merged dimensions": Sum()(Broadcast(("3*B",), ())(Mean()(Reshape(("3*B",))(X)))),
    "0.1 in f32": X * 0.1 + 1e-7,
    "a long number": X * (1 / 3),
    "a view of something long, twice": (X + Y).T @ (X + Y),
}


@pytest.mark.parametrize("y", AWKWARD.values(), ids=AWKWARD)
def test_awkward_programs_execute(y: Node) -> None:
    rng = np.random.default_rng(0)
    feeds = {
        "x": rng.uniform(-1, 1, (5, 3)),
        "y": rng.uniform(1, 2, (5, 3)),
        "s": np.array(0.7),
        "v": rng.random(5),
    }
    assert_executes(Graph({"result": y, "also_x": X, "also_v": V}), feeds)


def test_what_is_written_twice_is_computed_once() -> None:
    big = Tanh()(X + Y)
    view = big.T  # written wherever it is used, and with it what it shows
    for y in (big.T @ big, view * view):
        text = Graph({"z": y}).text(prelude=False)
        assert text.count("tanh") == 1, text


def test_a_deep_program_is_cut_into_lines() -> None:
    y = X
    for i in range(3000):
        y = Tanh()(y) if i % 2 else y * 0.9
    graph = Graph({"y": y})
    assert max(map(len, graph.text().splitlines())) < 200
    assert_executes(graph, {"x": np.ones((2, 3))})
    assert to_json(from_json(to_json(graph))) == to_json(graph)


def test_a_loop_in_a_loop_executes() -> None:
    h, x = data("h", "f64[B]"), data("x", "f64[S,B]")
    inner_h, inner_x = data("h", "f64[B]"), data("u", "f64[B]")
    inner = Scan(Graph({"h_new": Tanh()(inner_h + Sigmoid()(inner_x))}), ("h", "u"), 1, 1)(h, x)
    from backpass.ir.tuples import Item

    outer = Scan(Graph({"h_new": Item(0)(inner) * 0.5}), ("h", "x"), 1, 1)
    start, xs = parameter("start", "f64[B]"), data("xs", "f64[T,S,B]")
    step = backward(Graph({"C": Sum()(Item(0)(outer(start, xs)))}), "C", ["start", "xs"])
    rng = np.random.default_rng(0)
    assert_executes(step, {"start": rng.random(2), "xs": rng.random((3, 4, 2))})
    assert from_json(to_json(step)).text() == step.text()


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("tanh", lambda x: Tanh()(x)),  # the function itself
        ("exp", lambda x: Sigmoid()(x)),  # one that its definition calls
        ("B", lambda x: Mean()(x)),
        ("inf", lambda x: x + constant(float("inf"))),
        ("float64", lambda x: Negate()(constant(2.0)) * x),
        ("scan", lambda x: Scan.samples[0].op(x, data("u", "f64[T,B,3]"), data("w", "f64[3]"))),
        ("body1", lambda x: Scan.samples[0].op(x, data("u", "f64[T,B,3]"), data("w", "f64[3]"))),
    ],
)
def test_a_value_may_not_hide_what_the_program_calls(name: str, build: Callable[[Node], Node]) -> None:
    x = parameter(name, "f64[B,3]")
    y = build(x)
    from backpass.ir.tuples import Item

    y = y if hasattr(y.type, "shape") else Item(0)(y)
    graph = backward(Graph({"C": Sum()(y)}), "C", [name])
    with pytest.raises(GraphError, match=f"the value '{name}' has a name that the printed program needs"):
        graph.text()


def test_names() -> None:
    for bad in ("1a", "a b", "", "lambda", "x;y", "None"):
        with pytest.raises(GraphError, match="must be a Python identifier"):
            data(bad, "f64[B]")
    assert data("ﬁne", "f64[B]").name == "fine"  # NFKC, as Python itself reads it
    x = data("x", "f64[B]")
    with pytest.raises(GraphError, match="two values are named 'x'"):
        Graph({"y": x + data("x", "f64[B]")})
    with pytest.raises(GraphError, match="in ascii, two values would be called 'delta_1'"):
        Graph({"δ1": x + 1.0, "delta_1": x + 2.0}).text("ascii")
    with pytest.raises(GraphError, match="there is no style 'html'"):
        Graph({"y": x}).text("html")  # type: ignore[arg-type]
    assert [ascii_name(n) for n in ("δ1", "W1_new", "Δw")] == ["delta_1", "W1_new", "delta_w"]
    assert latex_name("v_W1") == "v_{W^{1}}"


def test_an_output_may_be_an_input_or_have_two_names() -> None:
    x = parameter("x", "f64[B]")
    y = Relu()(x, name="y")
    graph = Graph({"x": x, "y": y, "same": y, "x_again": x})
    assert_executes(graph, {"x": np.array([-1.0, 2.0])})
    assert "same    = y" in graph.text(prelude=False)


@pytest.mark.parametrize("section", ["forward", "backward", "update"])
def test_sections_are_the_whole(section: Section) -> None:
    graph = NETS["digits"]()
    part = graph.text(section=section, prelude=False).splitlines()
    whole = " ".join(graph.text(prelude=False).split())
    assert all(" ".join(line.split()) in whole for line in part)
    assert len(part) == {"forward": 6, "backward": 7, "update": 4}[section]


def test_values_of_numbers_are_shown_where_they_are_used() -> None:
    w, lr = parameter("w", "f64[B]"), number("lr", "f64")
    assert (
        Graph({"w_new": w - lr * w}).text(prelude=False, values={"lr": 0.1})
        == "w_new = w - lr * w  # f64[B], lr = 0.1"
    )


# ---- JSON that is not ours


def damaged(change: Callable[[dict[str, Any]], object]) -> str:
    program = json.loads(to_json(NETS["recurrent"]()))
    change(program)
    return json.dumps(program)


def first(program: dict[str, Any], op: str) -> dict[str, Any]:
    return next(n for n in program["nodes"] if n["op"] == op)


HOSTILE: dict[str, tuple[str, str]] = {
    "no JSON": ("{", "not a program written by backpass"),
    "no object": ("[]", "not a program"),
    "null": ("null", "not a program"),
    "nothing in it": ("{}", "not a program"),
    "deep nesting": ("[" * 200_000, "not a program"),
    "deep nesting of objects": ('{"format":1,"nodes":' * 50_000, "not a program"),
    "a newer format": (
        damaged(lambda p: p.update(format=FORMAT + 1)),
        f"format {FORMAT + 1}; this version reads",
    ),
    "a format of words": (damaged(lambda p: p.update(format="new")), "not a program"),
    "an unknown op": (
        damaged(lambda p: p["nodes"][5].update(op="tanhh")),
        "no op named 'tanhh'. Did you mean 'tanh'",
    ),
    "an op that is no name": (damaged(lambda p: p["nodes"][5].update(op=["tanh"])), "not a program"),
    "a forward reference": (
        damaged(lambda p: first(p, "matmul").update(inputs=[0, 99])),
        "refers to node 99",
    ),
    "a negative reference": (
        damaged(lambda p: first(p, "matmul").update(inputs=[-1, 0])),
        "refers to node -1",
    ),
    "itself": (damaged(lambda p: p["nodes"][-1].update(inputs=[len(p["nodes"]) - 1] * 2)), "refers to node"),
    "a reference by name": (damaged(lambda p: first(p, "matmul").update(inputs="x")), "refers to node 'x'"),
    "too few inputs": (damaged(lambda p: first(p, "matmul").update(inputs=[0])), "not a program"),
    "an unknown setting": (
        damaged(lambda p: first(p, "mean")["settings"].update(axes=[0])),
        "has no setting 'axes'",
    ),
    "a setting of the wrong type": (
        damaged(lambda p: first(p, "scan")["settings"].update(carries="1")),
        "settings of scan",
    ),
    "a truth for a number": (
        damaged(lambda p: first(p, "scan")["settings"].update(carries=True)),
        "settings of scan",
    ),
    "a list for a number": (
        damaged(lambda p: first(p, "item")["settings"].update(index=[0])),
        "settings of item",
    ),
    "names that are no list": (
        damaged(lambda p: first(p, "scan")["settings"].update(names="hu")),
        "settings of scan",
    ),
    "half a pair": (damaged(lambda p: first(p, "scan")["settings"].update(dims=[["B"]])), "settings of scan"),
    "a missing setting": (damaged(lambda p: first(p, "scan")["settings"].pop("body")), "settings of scan"),
    "a body that is none": (damaged(lambda p: first(p, "scan")["settings"].update(body={})), "not a program"),
    "a kind of input that is none": (
        damaged(lambda p: first(p, "input")["settings"].update(kind="code")),
        "an input is one of",
    ),
    "a type that is none": (
        damaged(lambda p: first(p, "input")["settings"].update(of="f16[B]")),
        "not a type",
    ),
    "another type than its own": (
        damaged(lambda p: first(p, "matmul").update(type="f64[B,B]")),
        "in the file",
    ),
    "types that do not fit": (
        damaged(lambda p: first(p, "matmul").update(inputs=[0, 0])),
        "the program does not fit together",
    ),
    "a name that is code": (
        damaged(lambda p: first(p, "input").update(name="x=1;import os")),
        "Python identifier",
    ),
    "a name that is a number": (damaged(lambda p: first(p, "input").update(name=3)), "not a program"),
    "an input without a name": (damaged(lambda p: first(p, "input").pop("name")), "an input has no name"),
    "two of one name": (
        damaged(lambda p: [n.update(name="x") for n in p["nodes"] if n["op"] == "input"]),
        "two values are named",
    ),
    "carry of what is not there": (
        damaged(lambda p: p.update(carry={"C": "nothing"})),
        "carry names the input 'nothing'",
    ),
    "carry that is a list": (damaged(lambda p: p.update(carry=[["C"], ["W"]])), "not a program"),
    "an order of what is not there": (damaged(lambda p: p.update(order=["nothing"])), "not a program"),
    "infinite origins": (
        damaged(lambda p: p["nodes"][9].update(origins=[[0, float("inf")]])),
        "not a program",
    ),
    "origins from the future": (
        damaged(lambda p: p["nodes"][9].update(origins=[[400, 0]])),
        "refers to node 400",
    ),
    "origins of one": (damaged(lambda p: p["nodes"][9].update(origins=[[0]])), "not a program"),
    "a size of too many digits": (
        damaged(lambda p: first(p, "input")["settings"].update(of=f"f64[{'9' * 5000}]")),
        "",
    ),
}


@pytest.mark.parametrize(("text", "message"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(GraphError) as caught:
        from_json(text)
    assert message in str(caught.value)


@settings(max_examples=150)
@given(st.data())
def test_json_with_any_one_value_exchanged_is_a_program_or_a_graph_error(data: st.DataObject) -> None:
    program = json.loads(to_json(NETS["recurrent"]()))
    place: Any = program
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.integers(0, 5)) == 0:
            break
        place = place[key]
    place[key] = data.draw(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(-2, 40),
            st.floats(),
            st.sampled_from(["", "x", "scan", "f64[]", "f64[B,3]", "B", "1*B", "²", "-1", "nan"]),
            st.sampled_from([[], {}, [0], [[0]], {"x": 0}, [0, 0]]),
        )
    )
    try:
        graph = from_json(json.dumps(program))
    except GraphError:
        return
    assert to_json(from_json(to_json(graph))) == to_json(graph)


def test_types_read_what_they_wrote() -> None:
    for text in ("f32[B,784]", "f64[]", "i64[T,B]", "bool[2*B,3]", "f32[B*T]"):
        assert str(parse_type(text)) == text


@pytest.mark.parametrize(
    "value", [0.0, -0.0, 1e-300, 1 / 3, 1e22, float("inf"), float("-inf"), float("nan"), 2.0**53]
)
def test_every_number_survives(value: float) -> None:
    graph = Graph({"y": Constant(value)()})
    assert_executes(graph, {})
    assert to_json(from_json(to_json(graph))) == to_json(graph)
    assert Subtract()(constant(value), 1.0).type == constant(value).type
