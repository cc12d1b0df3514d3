"""What kernels say, against the reference: every op, random programs, optimisers, everything that is carried.

The kernels are run by Python here (tests/interpreted.py); test_compiled.py compiles some of the same ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreted import interpreted  # noqa: F401  a fixture
from op_samples import programs_of_all_ops, refusals, samples
from stages import LOOPS, check_loop, check_random_bits, loop_named
from strategies import programs

from backpass.errors import DataError, NotLowered, UsageError
from backpass.exec.choose import compile_loop
from backpass.exec.compiled import Compiled
from backpass.exec.compiled.groups import Group, Read, shared
from backpass.exec.reference import Reference
from backpass.ir import REGISTRY, Elementwise, Graph
from backpass.ir.types import parse_type
from backpass.ops import (
    Abs,
    ArgMax,
    Broadcast,
    Cast,
    Clip,
    CumSum,
    Equal,
    Gate,
    Gather,
    Identity,
    Input,
    LeakyRelu,
    LogSumExp,
    Max,
    Maximum,
    Mean,
    Min,
    Minimum,
    NotEqual,
    Prod,
    Relu,
    Reshape,
    ScatterAdd,
    Sign,
    Silu,
    Slice,
    Softmax,
    SoftmaxCrossEntropy,
    Softplus,
    Sqrt,
    Sum,
    Tanh,
    Transpose,
    Where,
    constant,
    count,
    data,
    number,
    parameter,
    state,
)
from backpass.passes import backward
from backpass.testing import check_executor

#: Of functions that the C library has in other digits than NumPy, and of sums in another order.
BOUNDS = {"f32": 2e-6, "f64": 4e-15}

pytestmark = pytest.mark.usefixtures("interpreted")


@pytest.mark.parametrize("dtype", BOUNDS)
def test_every_op_and_its_derivatives(dtype: str) -> None:
    for graph, feeds in programs_of_all_ops(dtype, 10):
        check_executor(Compiled(), graph, feeds, rtol=BOUNDS[dtype])


def test_every_op_has_a_lowering() -> None:
    assert refusals("f64") == {}
    tested = {cls.name for _, cls, _ in samples()}
    assert len(tested) > 60
    for name, cls in REGISTRY.all().items():
        if not cls.__module__.startswith("backpass."):
            continue  # of other tests
        assert name in tested or cls.unsampled, name


def compare(program) -> None:
    """The program must agree with the reference."""
    step = backward(program.graph, "C", [name for name in program.wrt if name in program.graph.inputs])
    check_executor(Compiled(), step, program.feeds, rtol=1e-12)


@settings(max_examples=40)
@given(programs("f64"))
def test_random_programs(program) -> None:
    compare(program)


@pytest.mark.slow
@settings(max_examples=300)
@given(programs("f64"))
def test_many_random_programs(program) -> None:
    compare(program)


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_equals_the_reference(name: str) -> None:
    check_loop(loop_named(name, "f64"), rtol=1e-12)


# ---- what replaces what


X = data("x", "f64[B,3]")


def carried(outputs: dict, carry: dict[str, str], steps: int = 5) -> None:
    """A step over batches of 4 must leave what the reference leaves."""
    step = Graph({"C": Sum()(X), **outputs}, carry)
    rng = np.random.default_rng(0)
    rows = {"x": rng.standard_normal((20, 3))}
    start = {k: rng.standard_normal(n.shape) for k, n in step.inputs.items() if k != "x"}
    states = []
    for executor in (Compiled(), Reference()):
        loop = executor.compile_loop(step, rows, 4)
        loop.load(start)
        loop.run(np.arange(20), np.arange(0, 21, 4), np.zeros((steps, 0)))
        states.append(loop.state())
    for name, array in states[1].items():
        np.testing.assert_allclose(states[0][name], array, rtol=1e-12, err_msg=name)


def test_values_that_replace_each_other() -> None:
    x, m, w = X, parameter("m", "f64[3]"), parameter("w", "f64[3]")
    c, d = state("c", "f64[]"), state("d", "f64[]")
    mean = Sum((0,))(x)
    carried({"a": m + mean, "b": w * 2.0}, {"a": "w", "b": "m"})
    carried({"a": Identity()(m), "b": Identity()(w)}, {"a": "w", "b": "m"})
    carried({"a": m, "b": w}, {"a": "w", "b": "m"})  # inputs themselves
    carried({"a": d + 1.0, "b": c * 0.5, "e": m * c}, {"a": "c", "b": "d", "e": "m"})  # single numbers
    both = 0.5 * m + mean
    carried({"a": both, "b": both, "e": w + both}, {"a": "m", "b": "w"})  # one value for two
    carried({"a": m * 0.5}, {"a": "m"})
    carried({"a": Sum()(x) + 0.0 * c, "b": Identity()(d)}, {"a": "c", "b": "d"})
    chained = m * 0.9 + mean  # a new value that is read again, stored and not
    carried({"a": chained, "b": w - chained * chained, "e": Sum()(chained * w)}, {"a": "m", "b": "w"})
    bent = Tanh()(chained)  # stored before `chained` is; the sum that both read must live that long
    carried({"a": chained, "b": w + bent * bent}, {"a": "m", "b": "w"})


def test_a_value_that_reads_itself_out_of_place() -> None:
    x, W, V = X, parameter("W", "f64[3,3]"), parameter("V", "f64[3,3]")
    b = parameter("b", "f64[3]")
    carried({"a": Transpose((1, 0))(W)}, {"a": "W"})
    carried({"a": 0.5 * W + 0.1 * (W @ V)}, {"a": "W"})
    carried({"a": 0.5 * W + 0.1 * (x.T @ x), "b": V + 0.1 * (W @ V)}, {"a": "W", "b": "V"})
    carried({"a": 0.1 * W + Broadcast((3, 3), (1,))(Reshape((3,))(Slice((0, 0), (1, None))(W)))}, {"a": "W"})
    flat = Reshape((9,))(W)
    carried({"a": 0.5 * W, "b": V + Reshape((3, 3))(flat) * 2.0}, {"a": "W", "b": "V"})
    carried({"a": CumSum(0)(b) * 0.5, "e": CumSum(0)(b)}, {"a": "b"})
    carried({"a": Softmax()(W), "e": b + Sum((0,))(W)}, {"a": "W", "e": "b"})


def test_a_carried_value_that_only_other_outputs_read() -> None:
    x, m, c = data("x", "f64[B,3]"), state("m", "f64[3]"), state("c", "f64[]")
    step = Graph(
        {"C": Sum()(x), "m_new": Sum((0,))(x), "c_new": constant(2.0), "shown": m * c},
        {"m_new": "m", "c_new": "c"},
    )
    loop = Compiled().compile_loop(step, {"x": np.ones((6, 3))}, 2)
    loop.load({"m": np.zeros(3), "c": np.array(0.0)})
    loop.run(np.arange(4), np.array([0, 2, 4]), np.zeros((2, 0)))
    assert loop.state()["m"].tolist() == [2, 2, 2]
    assert loop.state()["c"] == 2


def test_what_a_loop_holds_and_gives() -> None:
    x, W, F = data("x", "f64[B,3]"), parameter("W", "f64[3]"), Input("fixed", parse_type("f64[3]"))(name="F")
    step = Graph({"C": Sum()(x * F), "W_new": W + F}, {"W_new": "W"})
    for executor in (Compiled(), Reference()):
        loop = executor.compile_loop(step, {"x": np.ones((6, 3))}, 2)
        with pytest.raises(UsageError, match="no value was given for F"):
            loop.load({"W": np.zeros(3)})
        given = {"W": np.zeros(3), "F": np.arange(3.0), "more": np.zeros(1)}
        loop.load(given)
        given["F"][:] = 7  # the loop has its own
        assert list(loop.state()) == ["W"]
        loop.load({"W": np.ones(3)})  # F stays
        assert loop.run(np.arange(2), np.array([0, 2]), np.zeros((1, 0))).watched.tolist() == [6]
        assert loop.state()["W"].tolist() == [1, 2, 3]


# ---- data


def test_rows_are_read_where_they_lie(tmp_path: Path) -> None:
    """In a file, read-only, of any rank; never copied and never written to."""
    file = np.memmap(tmp_path / "x", np.float64, "w+", shape=(10, 2, 3))
    file[:] = np.arange(60).reshape(10, 2, 3)
    file.flush()
    x = np.memmap(tmp_path / "x", np.float64, "r", shape=(10, 2, 3))
    w = np.arange(10.0)
    w.flags.writeable = False
    node, weight = data("x", "f64[B,2,3]"), data("w", "f64[B]")
    step = Graph({"C": Sum()(Sum((1, 2))(node) * weight)})
    for executor in (Compiled(), Reference()):
        loop = executor.compile_loop(step, {"x": x, "w": w, "not read": np.zeros(1)}, 4)
        loop.load({})
        costs = loop.run(np.array([3, 1, 9]), np.array([0, 2, 3]), np.zeros((2, 0))).watched
        assert costs.tolist() == [x[3].sum() * 3 + x[1].sum(), x[9].sum() * 9]
        kept = loop.rows["x"] if executor.name == "compiled" else loop.data["x"]
        assert np.shares_memory(kept, x)
        assert loop.state() == {}
    turned = np.memmap(tmp_path / "x", np.float64, "r", shape=(2, 3, 10)).transpose(2, 0, 1)
    with pytest.raises(NotLowered, match="not one after another"):
        Compiled().compile_loop(step, {"x": turned, "w": w}, 4)


def test_rows_that_differ_in_number_stop_at_the_fewest() -> None:
    x, t = data("x", "f64[B,3]"), data("t", "f64[B,3]")
    rows = {"x": np.ones((6, 3)), "t": np.ones((5, 3))}
    loop = Compiled().compile_loop(Graph({"C": Sum()(x * t)}), rows, 2)
    with pytest.raises(ValueError, match="outside"):
        loop.run(np.array([5]), np.array([0, 1]), np.zeros((1, 0)))


@pytest.mark.parametrize("wrong", [11, -12, 2**62])
def test_a_row_number_outside_of_a_table_never_reaches_memory(wrong: int) -> None:
    E, i, v = data("E", "f64[11,5]"), data("i", "i64[B]"), data("v", "f64[B,5]")
    feeds = {"E": np.ones((11, 5)), "i": np.array([3, wrong]), "v": np.ones((2, 5))}
    for node in (Gather(0)(E, i), ScatterAdd(0, 11)(v, i)):
        function = Compiled().compile(Graph({"y": node}))
        with pytest.raises(DataError, match="outside of the array"):
            function({k: v for k, v in feeds.items() if k in function.graph.inputs})
        fine = feeds | {"i": np.array([-11, 10])}
        check_executor(Compiled(), function.graph, fine)


# ---- numbers


def test_special_values() -> None:
    """Not a number, infinity and the sign of zero, through every choice between two values."""
    special = np.array([0.0, -0.0, 1.5, -1.5, np.inf, -np.inf, np.nan])
    a, b = (g.reshape(-1) for g in np.meshgrid(special, special))
    x, y = data("x", "f64[B]"), data("y", "f64[B]")
    outputs = [
        Maximum()(x, y), Minimum()(x, y), Clip(-1.0, 1.0)(x), Sign()(x), Abs()(x), x > y, x >= y, x < y,
        x <= y, Equal()(x, y), NotEqual()(x, y), Where()(x > y, x, y), Relu()(x), Gate()(x, y), x * y, x / y,
        Cast("bool")(x), Cast("f64")(x > y), LeakyRelu()(x), Sqrt()(x), Sqrt()(Abs()(x)), Softplus()(x), x**2,
        x * constant(-0.0), x + constant(0.0), Where()(x > y, -0.0, x), x * float("inf"),
    ]  # fmt: skip
    graph = Graph({f"y{i}": n for i, n in enumerate(outputs)})
    got, wanted = (e.compile(graph)({"x": a, "y": b}) for e in (Compiled(), Reference()))
    for name in wanted:
        np.testing.assert_allclose(got[name], wanted[name], rtol=1e-15, err_msg=graph[name].op.name)
    for name in ("y13", "y14", "y23", "y25"):  # of zero, too
        np.testing.assert_array_equal(np.signbit(got[name]), np.signbit(wanted[name]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_special_values_in_reductions(bad: float) -> None:
    x = data("x", "f64[3,4]")
    ops = [Max, Min, Prod, LogSumExp, Sum, Mean]
    outputs = [op(axis)(x) for op in ops for axis in ((), (0,), (1,))]
    outputs += [ArgMax(0)(x), ArgMax(1)(x), CumSum(1, True)(x)]
    graph = Graph({f"y{i}": n for i, n in enumerate(outputs)})
    for value in (np.zeros((3, 4)), np.full((3, 4), bad)):
        value[1, 2] = bad
        value[2, 3] = 1.0 if np.isnan(bad) else -bad
        check_executor(Compiled(), graph, {"x": value}, rtol=1e-15)


def test_a_buffer_is_used_again_for_its_own_dtype_only() -> None:
    half = Cast("f64")(CumSum(0)(data("n", "i64[B]"))) * 0.5
    check_executor(Compiled(), Graph({"y": half * half}), {"n": np.array([1, 2, 4])})


def test_integers_stay_integers() -> None:
    n, i = data("n", "i64[B]"), data("i", "i64[]")
    big = 2**53 + 1  # which f64 cannot hold
    outputs = {
        "a": n + 1,
        "b": Max()(n),
        "c": n * n - i,
        "d": Sum()(n),
        "e": Maximum()(n, i),
        "f": -n,
        "g": n**2,
    }
    outputs |= {
        "h": Where()(n > i, n, 0),
        "j": Cast("i64")(n > i),
        "k": CumSum(0)(n),
        "l": Prod()(n),
        "m": Sign()(n),
    }
    feeds = {"n": np.array([big, -3, 0, 2]), "i": np.array(big - 1)}
    got, wanted = (e.compile(Graph(outputs))(feeds) for e in (Compiled(), Reference()))
    for name, array in wanted.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got[name], array, err_msg=name)


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_random_numbers_have_the_same_bits(dtype: str) -> None:
    check_random_bits(dtype)


def test_a_value_that_is_read_twice_is_written_once() -> None:
    """Rules that read their input more than once, one inside the other: the source must not double."""
    y = x = data("x", "f64[B]")
    for _ in range(30):
        y = Silu()(y)
    loop_source = Compiled().compile(Graph({"y": y})).source
    assert len(loop_source) < 10_000
    check_executor(Compiled(), Graph({"y": y, "x": x}), {"x": np.linspace(-3, 3, 11)})


def test_outputs_without_an_array() -> None:
    """Bare numbers, sizes, inputs, and arrays of one entry."""
    x, n = data("x", "f64[B,3]"), number("n", "f64")
    outputs = {
        "half": constant(0.5), "B": count(("B", 3), "f64"), "n": n, "whole": constant(3.0, "i64"),
        "one": Reshape((1, 1))(n * 2.0), "back": Reshape(())(Reshape((1,))(Sum()(x))),
        "turned": Reshape((3, "B"))(x),
        "ones": Broadcast((2, "B"), ())(constant(1.0)), "true": Broadcast((2,), ())(constant(1.0, "bool")),
        "row": SoftmaxCrossEntropy()(Sum((0,))(x), Softmax()(Sum((0,))(x))),
    }  # fmt: skip
    feeds = {"x": np.arange(6.0).reshape(2, 3), "n": np.array(4.0)}
    check_executor(Compiled(), Graph(outputs), feeds)


def test_a_refusal_names_the_op() -> None:
    x = data("x", "f32[B]")
    both = Graph({"C": Sum()(Cast("f64")(x))})
    with pytest.raises(NotLowered, match="one of f32 and f64, this program in both: cast"):
        Compiled().compile(both)

    class Odd(Elementwise):
        name, notation, tex = "odd_one", "odd_one({0})", "?"
        __dataclass_fields__: ClassVar[dict] = {}

        def forward(self, xp, /, x):
            return xp.mystery(x)

        def vjp(self, adj, y, /, x):
            return (None,)

    step = Graph({"C": Sum()(Odd()(data("x", "f64[B]")))})
    loop, why = compile_loop(step, {"x": np.ones(4)}, 2, 10**9, "compiled")
    assert loop.name == "reference"
    assert why == "not compiled: odd_one calls mystery, which has no lowering"


# ---- where threads wait for each other

OWN, OTHER = True, False  # a thread reads its own entries, or those of others too


def group(name: str, reads: dict[str, bool] | None = None, writes: str = "", split: str | int | None = None,
          fence: bool = False) -> Group:  # fmt: skip
    """A group that reads and writes places; its line says so."""
    reads = reads or {}
    made = Group(lines=[f"{name} {writes} {' '.join(reads)}"], split=split, fence=fence)
    made.reads = [Read(place, own, False) for place, own in reads.items()]
    made.writes = set(writes.split())
    return made


def plan(*groups: Group) -> str:
    """The order of the groups, ``|`` for a barrier, ``(a)`` for what one thread does alone."""
    text = []
    for made in shared(groups):
        if made.lines == ["barrier(sync, threads)"]:
            text.append("|")
        elif made.lines[0] == "if thread == 0:":
            assert all(line.startswith("    ") for line in made.lines[1:])
            text.append(f"({made.lines[1].split()[0]})")
        else:
            text.append(made.lines[0].split()[0])
    return " ".join(text)


def test_threads_wait_for_what_others_write() -> None:
    a = group("a", writes="p", split="B")
    assert plan(a, group("b", {"p": OWN}, "q", "B")) == "a b"
    assert plan(a, group("b", {"p": OTHER}, "q", "B")) == "a | b"
    assert plan(a, group("b", {"p": OWN}, "q", 7)) == "a | b"  # its own entries of another dimension
    assert plan(a, group("b", {"p": OTHER})) == "a | b"  # done by each for itself
    assert plan(a, group("b", {"p": OTHER}, "q")) == "a | (b)"
    alone = group("a", writes="p")
    assert plan(alone, group("b", {"p": OTHER}, "q")) == "(a) (b)"
    assert plan(alone, group("b", {"p": OWN}, "q", "B")) == "(a) | b"
    assert plan(alone, group("b", {"p": OTHER})) == "(a) | b"


def test_threads_wait_before_they_overwrite_what_others_read() -> None:
    write = group("b", writes="p", split="B")
    assert plan(group("a", {"p": OWN}, "q", "B"), write) == "a b"
    assert plan(group("a", {"p": OTHER}, "q", "B"), write) == "a | b"
    assert plan(group("a", {"p": OWN}, "q", 7), write) == "a | b"
    assert plan(group("a", {"p": OTHER}), write) == "a | b"
    assert plan(group("a", {"p": OTHER}, "q"), write) == "(a) | b"
    assert plan(group("a", {"p": OTHER}, "q"), group("b", writes="p")) == "(a) (b)"
    assert plan(group("a", {"p": OTHER}), group("b", writes="p")) == "a | (b)"
    assert plan(group("a", writes="p", split="B"), group("b", writes="p", split=7)) == "a | b"
    assert plan(group("a", writes="p", split="B"), write) == "a b"


def test_threads_wait_once_for_all_that_came_before() -> None:
    a, b = group("a", writes="p", split="B"), group("b", writes="q", split="B")
    c, d = group("c", {"p": OTHER}, "r", 7), group("d", {"q": OTHER}, "s", 7)
    assert plan(a, b, c, d) == "a b | c d"
    assert plan(a, c, b, d) == "a b | c d"  # what needs no wait comes first
    assert plan(a, c, group("f", fence=True), b, d) == "a f b | c d"
    assert plan(group("f", {"p": OTHER}, fence=True), a) == "f | a"
    assert plan(a, group("f", {"p": OTHER}, fence=True), b) == "a | f b"  # not before the fence
    assert plan(c, d, group("e", {"r": OWN, "s": OWN}, "t", 7)) == "c d e"


_PLACES = st.sampled_from("pqr")
_SPLITS = st.sampled_from(["B", 7, None])
_GROUPS = st.lists(
    st.tuples(st.dictionaries(_PLACES, st.booleans(), max_size=2), st.sets(_PLACES, max_size=1), _SPLITS),
    min_size=2, max_size=7,
)  # fmt: skip


def touched(made: Group, thread: int) -> tuple[set[tuple[str, int]], set[tuple[str, int]]]:
    """The entries that a thread of two reads and writes, of four that each place has."""
    entries = {"B": ({0, 1}, {2, 3}), 7: ({0, 2}, {1, 3}), None: ({0, 1, 2, 3},) * 2}[made.split][thread]
    if made.sharing == "one" and thread == 1:
        return set(), set()
    reads = {(r.place, e) for r in made.reads for e in (entries if r.own else range(4))}
    return reads, {(place, e) for place in made.writes for e in entries}


@given(_GROUPS)
def test_no_thread_meets_another(drawn: list) -> None:
    """Between two barriers, no thread touches an entry that another writes; and what depends on each other
    stays in its order."""
    groups = [
        # What a group itself overwrites it reads entry by entry: `updates` sees to that.
        group(f"g{k}", {p: bool(split) and (own or p in writes) for p, own in reads.items()
                        if split or p not in writes}, " ".join(writes), split)
        for k, (reads, writes, split) in enumerate(drawn) if writes or not split
    ]  # fmt: skip
    numbers = {made.lines[0].split()[0]: k for k, made in enumerate(groups)}
    order, stretch = [], []
    for made in [*shared(groups), Group(lines=["barrier(sync, threads)"])]:
        if made.lines[0].startswith("barrier"):
            for i, j in ((i, j) for i in stretch for j in stretch):
                (reads, writes), (_, others) = touched(groups[i], 0), touched(groups[j], 1)
                assert not (reads | writes) & others
                assert not (touched(groups[i], 1)[0] & touched(groups[j], 0)[1])
            order, stretch = order + stretch, []
        else:
            stretch.append(numbers[made.lines[-1].split()[0]])
    assert sorted(order) == list(range(len(groups)))
    for at, i in enumerate(order):
        for j in order[at + 1 :]:
            if j < i:  # they changed places: neither writes what the other touches
                a, b = groups[i], groups[j]
                assert not a.writes & (b.writes | {r.place for r in b.reads})
                assert not b.writes & {r.place for r in a.reads}
