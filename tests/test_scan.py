"""Loops through a sequence in the compiled executor, against the reference.

Most kernels are run by Python here (tests/interpreted.py); the slow ones, and one of each kind, are compiled.
"""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Callable

import numpy as np
import pytest
import stages
from interpreted import _space as space_of
from interpreted import build
from test_settled import curvature, loop_feeds, looped
from textbook import NETS, fed

from backpass.errors import DataError, NotLowered
from backpass.exec.compiled import Compiled, executor
from backpass.exec.compiled.listing import listing, without_data
from backpass.exec.compiled.lower import lower
from backpass.ir import Graph, Node
from backpass.ir.tuples import Item
from backpass.ops import (
    Broadcast,
    Cast,
    Concatenate,
    Gather,
    LogSoftmax,
    Mean,
    Reshape,
    Scan,
    Sigmoid,
    Sign,
    Silu,
    Slice,
    Softmax,
    SoftmaxCrossEntropy,
    SquaredError,
    Sum,
    Tanh,
    Transpose,
    Uniform,
    Where,
    constant,
    count,
    data,
    filled,
    number,
    parameter,
)
from backpass.passes import backward, retyped
from backpass.testing import check_executor
from backpass.training.optimisers import SGD

KINDS = {"f32": np.float32, "f64": np.float64}
DIMS = {"B": 3, "T": 4}

Case = tuple[Graph, list[str]]  #: a program, and the inputs that C is differentiated by


def total(*values: Node) -> Node:
    """A number that every entry of the values has its own part in."""
    added = constant(0.0)
    for value in values:
        added = added + Sum()(Tanh()(value) * value)
    return added.named("C")


def parts(loop: Node, *numbers: int) -> list[Node]:
    return [Item(i)(loop) for i in numbers]


def gated() -> Case:
    """A net with two carried values, one product for all its gates, cut into its parts: from the end."""
    h, c, u, W = data("h", "f64[B,2]"), data("c", "f64[B,2]"), data("u", "f64[B,3]"), data("W", "f64[5,6]")
    gates = (Concatenate(1)(u, h) @ W).named("gates")
    forget, enter, leave = (Slice((0, a), (None, a + 2))(gates) for a in (0, 2, 4))
    c_new = (Sigmoid()(forget) * c + Tanh()(enter)).named("c_new")
    body = Graph({"h_new": Sigmoid()(leave) * Tanh()(c_new), "c_next": c_new, "seen": gates})
    given = [parameter("h0", "f64[B,2]"), filled(0.5, c.array_type), data("x", "f64[T,B,3]")]
    loop = Scan(body, ("h", "c", "u", "W"), 2, 1, reverse=True)(*given, parameter("w", "f64[5,6]"))
    return Graph({"C": total(*parts(loop, 0, 1, 2))}), ["w", "h0"]


def nested() -> Case:
    """For each entry of a sequence, a loop through the rows of that entry; both have a product."""
    s, v, V = data("s", "f64[2]"), data("v", "f64[2]"), data("V", "f64[2,2]")
    inner = Graph({"s_new": Tanh()(Reshape((2,))(Reshape((1, 2))(s) @ V) + v), "gone": s * v})
    h, u, W = data("h", "f64[2]"), data("u", "f64[3,2]"), data("W", "f64[2,2]")
    loop = Scan(inner, ("s", "v", "V"), 1, 1, reverse=True)(h, u @ W, W)
    last, every = parts(loop, 0, 1)
    outer = Graph({"h_new": last, "every": every, "most": Sum()(every), "u_too": u})
    whole = Scan(outer, ("h", "u", "W"), 1, 1)(parameter("h0", "f64[2]"), data("x", "f64[T,3,2]"),
                                               parameter("w", "f64[2,2]"))  # fmt: skip
    return Graph({"C": total(*parts(whole, 0, 1, 2, 3))}), ["w", "h0"]


def words() -> Case:
    """Rows of a table by number, a mask that is data, and the loss of each entry collected as a number."""
    h, i, on, t = data("h", "f64[B,3]"), data("i", "i64[B]"), data("on", "bool[B]"), data("t", "f64[B,3]")
    E, W, rate = data("E", "f64[4,3]"), data("W", "f64[3,3]"), data("rate", "f64[]")
    new = Tanh()(Gather(0)(E, i) + h @ W)
    z = Where()(Transpose((1, 0))(Broadcast((3, "B"), (1,))(on)), new, h * rate)
    loss = Mean()(Sum((1,))(-(t * LogSoftmax()(z @ W))))
    body = Graph({"h_new": z, "loss": loss, "guess": Softmax()(z), "B": count(("B",), "f64")})
    names = ("h", "i", "on", "t", "E", "W", "rate")
    given = [filled(0.1, h.array_type), data("word", "i64[T,B]"), data("there", "bool[T,B]")]
    given += [Softmax()(data("target", "f64[T,B,3]")), parameter("e", "f64[4,3]"), parameter("w", "f64[3,3]")]
    loop = Scan(body, names, 1, 3)(*given, number("r", "f64"))
    return Graph({"C": total(*parts(loop, 0, 1, 2, 3))}), ["e", "w"]


def dropped() -> Case:
    """Random numbers from a counter that is carried, and integers collected."""
    h, n, u, m = data("h", "f64[B,2]"), data("n", "i64[]"), data("u", "f64[B,2]"), data("m", "i64[]")
    keep = Uniform(3, ("B", 2))(n) < 0.6
    outputs = {"h_new": Where()(keep, h + u, h * 0.5), "n_new": n + m, "before": n * m, "kept": keep}
    body = Graph(outputs | {"sign": Sign()(Cast("i64")(4.0 * u) - 1)})
    given = [
        parameter("h0", "f64[B,2]"),
        constant(7.0, "i64"),
        data("x", "f64[T,B,2]"),
        data("steps", "i64[T]"),
    ]
    loop = Scan(body, ("h", "n", "u", "m"), 2, 2)(*given)
    h_last, n_last, before, kept, sign = parts(loop, 0, 1, 2, 3, 4)
    reals = [Cast("f64")(y) for y in (n_last, before, kept, sign)]
    bent = Silu()(Silu()(h_last))  # in the source, a variable holds the inner one
    return Graph({"C": total(h_last, *reals), "before": before, "bent": bent}), ["h0"]


def swapped() -> Case:
    """Carried values that replace each other, that nothing reads, and that have two tasks."""
    a, b, c, d, e = (data(k, "f64[2,2]") for k in "abcde")
    p, q, u = data("p", "f64[]"), data("q", "f64[]"), data("u", "f64[2,2]")
    both = u * p + 0.1 * a
    body = Graph(
        {
            "a_new": b, "b_new": Transpose((1, 0))(a), "c_new": both, "d_new": both, "e_new": u,
            "p_new": q, "q_new": 0.5 * p + 0.1,
            "u_same": u, "both_too": both, "flat": Reshape((4,))(c), "again": Reshape((4,))(c), "q_old": q,
            "half": constant(0.5), "wide": Broadcast((2, 2), ())(q), "turned": Transpose((1, 0))(d @ e),
        }
    )  # fmt: skip
    names = ("a", "b", "c", "d", "e", "p", "q", "u")
    starts = [parameter(f"{k}0", "f64[2,2]") for k in "abc"] * 2
    given = [*starts[:5], parameter("p0", "f64[]"), constant(0.25), data("x", "f64[T,2,2]")]
    loop = Scan(body, names, 7, 1)(*given)
    return Graph({"C": total(*parts(loop, *range(15)))}), ["a0", "b0", "p0"]


def sizes() -> Case:
    """Loops of two sizes over the same number of entries, whose products read what they replace."""
    found = []
    for k in (2, 4):
        h, u, W = data("h", f"f64[{k},{k}]"), data("u", f"f64[{k},{k}]"), data("W", f"f64[{k},{k}]")
        x, w = data(f"x{k}", f"f64[T,{k},{k}]"), parameter(f"w{k}", f"f64[{k},{k}]")
        for new in (h @ W, (u * 0.5) @ h):
            found.append(Item(0)(Scan(Graph({"h_new": new}), ("h", "u", "W"), 1, 1)(w, x, w)))
    return Graph({"C": total(*found)}), ["w4", "w2"]


def scored() -> Case:
    """Softmax and losses of the scores of each entry; the two of the same scores are calculated at once."""
    h, z, t = data("h", "f64[]"), data("z", "f64[B,3]"), data("t", "f64[B,3]")
    guess, loss = Softmax()(z), SoftmaxCrossEntropy()(z, t)
    body = Graph({"h_new": h + Mean()(SquaredError()(guess, t)), "guess": guess, "loss": loss, "h": h})
    given = [constant(0.5), data("x", "f64[T,B,3]"), Softmax()(data("target", "f64[T,B,3]"))]
    loop = Scan(body, ("h", "z", "t"), 1, 2, reverse=True)(*given)
    return Graph({"C": total(*parts(loop, 0, 1, 2, 3))}), []


def elman() -> Case:
    return looped(), ["h0", "W", "b", "xs"]


CASES: dict[str, Callable[[], Case]] = {
    f.__name__: f for f in (gated, nested, words, dropped, swapped, sizes, scored, elman)
}


def differentiated(name: str) -> Graph:
    graph, wrt = CASES[name]()
    return backward(graph, "C", wrt)


def feeds_of(graph: Graph, dims: dict[str, int] = DIMS, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    feeds = {}
    for name, type_ in graph.input_types.items():
        shape = type_.bind(dims).shape
        drawn = {"i64": rng.integers(0, 4, shape), "bool": rng.random(shape) < 0.5}
        feeds[name] = np.asarray(drawn.get(type_.dtype, rng.uniform(-1, 1, shape)), type_.numpy_dtype)
    return feeds


def check(graph: Graph, dims: dict[str, int] = DIMS, rtol: float = 1e-12) -> None:
    check_executor(Compiled(), graph, feeds_of(graph, dims), rtol=rtol)


@pytest.fixture
def by_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "build", build)


@pytest.mark.usefixtures("by_python")
@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("name", CASES)
def test_a_loop_and_its_derivatives(name: str, dtype: str) -> None:
    check(retyped(differentiated(name), dtype), rtol={"f32": 1e-5, "f64": 1e-12}[dtype])


@pytest.mark.usefixtures("by_python")
@pytest.mark.parametrize("length", [1, 2, 5])
def test_any_length(length: int) -> None:
    for name in ("gated", "nested", "words"):
        check(differentiated(name), {"B": 2, "T": length})


@pytest.mark.usefixtures("by_python")
def test_no_entries() -> None:
    """What was carried in comes out, and nothing is collected."""
    graph, _ = gated()
    loop = next(n for n in graph.nodes if isinstance(n.op, Scan))
    check(Graph(dict(zip("hc", parts(loop, 0, 1), strict=True))), {"B": 2, "T": 0})
    every = Graph({"seen": Item(2)(loop)})
    assert Compiled().compile(every)(feeds_of(every, {"B": 2, "T": 0}))["seen"].shape == (0, 2, 6)


@pytest.mark.usefixtures("by_python")
def test_second_derivatives() -> None:
    names = ["h0", "W", "b"]
    step = curvature(backward(looped(), "C", names), names)
    check_executor(Compiled(), step, loop_feeds(), rtol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", KINDS)
def test_native_code_of_all_of_them(dtype: str) -> None:
    for name in CASES:
        check(retyped(differentiated(name), dtype), rtol={"f32": 1e-5, "f64": 1e-12}[dtype])
    names = ["h0", "W", "b"]
    if dtype == "f64":
        step = curvature(backward(looped(), "C", names), names)
        check_executor(Compiled(), step, loop_feeds(), rtol=1e-11)


def test_native_code_of_a_loop_in_a_loop() -> None:
    check(differentiated("nested"))


@pytest.mark.usefixtures("by_python")
@pytest.mark.parametrize("wrong", [4, -5])
def test_a_wrong_row_number_stops_the_loop(wrong: int) -> None:
    graph, _ = words()
    feeds = feeds_of(graph)
    feeds["word"][2, 1] = wrong
    with pytest.raises(DataError, match="outside of the array"):
        Compiled().compile(graph)(feeds)


# ---- what the source says


def source(graph: Graph) -> str:
    lowered = lower(graph, in_place=False, sizes=dict.fromkeys(graph.dims, 8))
    return "\n".join(line for group in lowered.groups for line in group.lines)


def test_the_forward_loop_is_done_once() -> None:
    """A backward pass asks for it again, with what was carried into each turn."""
    step = differentiated("elman")
    assert sum(isinstance(n.op, Scan) for n in step.nodes) == 3
    code = source(step)
    assert code.count("_t in range(5)") == 1
    assert code.count("_s in range(5)") == 1


def test_a_value_that_is_carried_and_read_again_is_calculated_once() -> None:
    code = source(elman()[0])
    assert code[: code.index("v8")].count("tanh(") == 1


def test_what_nothing_reads_is_not_calculated() -> None:
    graph, _ = dropped()
    loop = next(n for n in graph.nodes if isinstance(n.op, Scan))
    assert "uniform_start" in source(Graph({"h": Item(0)(loop)}))
    assert "uniform_start" not in source(Graph({"n": Item(1)(loop)}))
    assert "uniform_start" not in source(Graph({"before": Item(2)(loop)}))


def test_a_sequence_is_read_where_it_lies_and_a_weight_is_updated_in_place() -> None:
    code = source(differentiated("elman"))
    (names,) = [line for line in code.splitlines() if "mm(" in line and ", 1, 3, 3, 1, K0, K0" in line]
    target = names.split("mm(")[1].split(",")[0]
    assert "_in" in target  # what is carried
    assert "_t*(3*n_B):]" in names  # entries of what was kept


def test_no_name_of_a_body_is_in_the_source() -> None:
    h, u = data("zebra", "f64[B,2]"), data("giraffe", "f64[B,2]")
    body = Graph({"lion": (h + u).named("ape"), "gnu": h * u})
    x = data("x", "f64[B,4,2]")
    loop = Scan(body, ("zebra", "giraffe"), 1, 1)(
        filled(0.0, h.array_type), Transpose((1, 0, 2))(x), name="herd"
    )
    step = Graph({"C": Sum()(Item(0)(loop)) + Sum()(Item(1)(loop))})
    found = listing(without_data(step, 8))
    for name in ("zebra", "giraffe", "lion", "gnu", "ape", "herd"):
        assert name not in found.source
        assert name in str(found) or name == "lion"  # a second name of ape
    inside = [block for block in found.blocks if any(line.startswith("gnu = ") for line in block.program)]
    assert all(line.startswith("        ") for block in inside for line in block.source)
    assert inside


# ---- threads


def nested_steps() -> stages.Case:
    """A loop in a loop over the rows of a batch, with numbers and rows carried, trained."""
    s, v, V = data("s", "f64[B,4]"), data("v", "f64[B,4]"), data("V", "f64[4,4]")
    inner = Scan(Graph({"s_new": Tanh()(s @ V + v), "out": s * v}), ("s", "v", "V"), 1, 1)
    h, u, W, n = data("h", "f64[B,4]"), data("u", "f64[2,B,4]"), data("W", "f64[4,4]"), data("n", "f64[]")
    last, out = parts(inner(h, u, W), 0, 1)
    rows = Sum((0,))(last)  # over what other threads wrote
    outer = Graph({"h_new": last + 0.1 * rows, "n_new": n + Mean()(out), "seen": Sum((0,))(out), "n_old": n})
    x = Transpose((1, 2, 0, 3))(data("x", "f64[B,3,2,4]"))
    loop = Scan(outer, ("h", "n", "u", "W"), 2, 1)(
        filled(0.0, h.array_type), constant(0.0), x, parameter("w", "f64[4,4]")
    )
    C = Mean()(Sum((1,))(Item(0)(loop) ** 2)) + Item(1)(loop)
    C = (C + Mean()(Tanh()(Item(2)(loop))) + Mean()(Item(3)(loop))).named("C")
    rng, optimiser = np.random.default_rng(6), SGD(0.05)
    step = stages.finished({"C": C}, {}, optimiser, "f64")
    return stages.started(step, {"x": rng.standard_normal((stages.ROWS, 3, 2, 4))}, optimiser, rng)


STEPS = {"recurrent": lambda: stages.loop_named("recurrent", "f64"), "nested": nested_steps}


class OneAfterAnother:
    """Threads that run in an order: up to a barrier the first of them alone, then the next."""

    def __init__(self, order: tuple[int, ...]) -> None:
        self.order, self.at, self.changed = order, 0, threading.Condition()

    def begin(self, thread: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.order[self.at] == thread, 20), "a thread waits for ever"

    def end(self) -> None:
        with self.changed:
            self.at = (self.at + 1) % len(self.order)
            self.changed.notify_all()

    def build(self, source: str, real: str, arguments: list, constants: dict, *rest: object, **more: object):
        def call(*given):
            thread = given[-2]

            def barrier(sync, threads):
                self.end()
                self.begin(thread)

            space = space_of(real) | {name: KINDS[real](value) for name, value in constants.items()}
            names = ", ".join(a.name for a in arguments)
            space["barrier"] = barrier
            exec(f"def kernel({names}):\n{textwrap.indent(source, chr(32) * 4)}", space)
            self.begin(thread)
            done = space["kernel"](*given)
            self.end()
            return done

        return call


class Always:
    """In place of `Pace`: as many threads as there are."""

    def __init__(self, least: int, most: int) -> None:
        self.most = most

    def next(self, steps: int) -> tuple[int, int]:
        return self.most, steps

    def saw(self, threads: int, steps: int, seconds: float) -> None:
        return


@pytest.mark.parametrize("name", STEPS)
def test_threads_in_any_order_give_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one thread needs of another is behind a barrier, in every turn of every loop."""
    monkeypatch.setattr(executor, "is_worth_splitting", lambda step, dims: True)
    monkeypatch.setattr(executor, "Pace", Always)
    case = STEPS[name]()
    found = []
    for order in [(0,), (0, 1, 2), (2, 1, 0), (1, 2, 0)]:
        monkeypatch.setattr(executor, "build", OneAfterAnother(order).build)
        loop = Compiled().compile_loop(case.step, case.rows, stages.BATCH)
        assert loop.lowered.split
        loop.threads = len(order)
        loop.load(case.start)
        costs = loop.run(*case.span(0, 8)).watched
        found.append(b"".join([costs.tobytes(), *(a.tobytes() for a in loop.state().values())]))
    assert found == found[:1] * 4


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.usefixtures("by_python")
def test_a_training_with_loops_equals_the_reference(split: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "is_worth_splitting", lambda step, dims: split)
    stages.check_loop(nested_steps(), rtol=1e-12, steps=8)


@pytest.mark.usefixtures("by_python")
def test_a_wrong_row_number_would_leave_threads_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "is_worth_splitting", lambda step, dims: True)
    h, i, E = data("h", "f64[B,3]"), data("i", "i64[B]"), data("E", "f64[4,3]")
    loop = Scan(Graph({"h_new": Tanh()(h + Gather(0)(E, i))}), ("h", "i", "E"), 1, 1)
    word = Transpose((1, 0))(data("word", "i64[B,5]"))
    step = Graph({"C": Sum()(Item(0)(loop(filled(0.0, h.array_type), word, parameter("e", "f64[4,3]"))))})
    assert not without_data(step, 8).lowered.split


# ---- what is refused


def test_a_body_of_another_type_is_refused() -> None:
    h, u = data("h", "f64[2]"), data("u", "f64[2]")
    body = Graph({"h_new": Cast("f64")(Cast("f32")(h)) + u})
    loop = Scan(body, ("h", "u"), 1, 1)(data("h0", "f64[2]"), data("x", "f64[3,2]"))
    with pytest.raises(NotLowered, match="one of f32 and f64, this program in both: cast"):
        Compiled().compile(Graph({"h": Item(0)(loop)}))


def test_a_training_over_two_named_dimensions_is_refused() -> None:
    step = NETS["recurrent"]()
    with pytest.raises(NotLowered, match="one named dimension"):
        without_data(step, 8)
    feeds = fed(step, {"B": 2, "T": 3})  # as a function it has a lowering
    check_executor(Compiled(), step, feeds, rtol=1e-12)
