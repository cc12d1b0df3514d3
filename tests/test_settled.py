"""What docs/decisions settles, by the tests that would fail if it were not so.

Each part is named after its record. Ops defined here are a user's: they use the public door only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, final

import numpy as np
import pytest
import scipy.signal
from textbook import NETS, fed

from backpass.errors import BackpassError, GraphError, ShapeError
from backpass.exec.reference import Reference
from backpass.ir import REGISTRY, ArrayType, Graph, Node, Op, Sample, TupleType
from backpass.ir.tuples import Item
from backpass.ir.wire import from_json, to_json
from backpass.ir.xp import NUMPY
from backpass.ops import (
    Divide,
    Mean,
    Relu,
    Reshape,
    Scan,
    Size,
    Softmax,
    SoftmaxCrossEntropy,
    SquaredError,
    Sum,
    Tanh,
    constant,
    data,
    number,
    parameter,
    state,
)
from backpass.passes import backward, retyped, simplify, work
from backpass.testing import check_gradients, check_op, run_text, same_bits

EXECUTORS = {"reference": Reference}  # every executor with a loop joins here
RUN = Reference()


def assert_printed_and_written(graph: Graph, feeds: Mapping[str, np.ndarray]) -> None:
    """The program prints as one that computes the same, in both types, and survives JSON."""
    for dtype, kind in (("f64", np.float64), ("f32", np.float32)):
        program = retyped(graph, dtype)
        typed = {name: np.asarray(feeds[name], kind) for name in program.inputs}
        wanted = RUN.compile(program)(typed)
        assert same_bits(wanted, run_text(program, typed)) is None
        back = from_json(to_json(program))
        assert back.text() == program.text()
        assert same_bits(wanted, RUN.compile(back)(typed)) is None


# ---- 0001: backward is Graph to Graph in the same ops


def test_0001_a_backward_program_is_a_program_like_any_other() -> None:
    step = NETS["digits"]()
    feeds = fed(step, {"B": 4})
    assert_printed_and_written(step, feeds)
    assert work(step, {"B": 4}).flops > 0
    assert {n.op.name for n in step.nodes} <= set(REGISTRY.all())
    again = backward(Graph({"Q": Sum()(step["dW1"] * step["dW1"])}), "Q", ["W1"], prefix="dd")
    assert again["ddW1"].type == step["W1"].type


# ---- 0002: a value may be a tuple; Item takes a part of it


@final
@dataclass(frozen=True)
class SumAndProduct(Op):
    """Two values of one op."""

    name, notation, tex = "sum_and_product", "sum_and_product({0}, {1})", "({0} + {1}, {0}{1})"
    prelude = "def sum_and_product(a, b):\n    return a + b, a * b"
    samples = (Sample((("B", "n"), ("B", "n"))),)

    def infer(self, a: ArrayType, b: ArrayType) -> TupleType:
        if a != b:
            raise ShapeError(f"sum_and_product needs inputs of one type, got {a}, {b}")
        return TupleType((a, a))

    def forward(self, xp: Any, /, a: Any, b: Any) -> Any:
        return a + b, a * b

    def vjp(self, adj: tuple[Node, Node], y: Node, /, a: Node, b: Node) -> tuple[Node, Node]:
        return adj[0] + adj[1] * b, adj[0] + adj[1] * a


def test_0002_an_op_with_two_values_passes_every_test() -> None:
    assert check_op(SumAndProduct).second.error <= 1e-8


def test_0002_a_part_that_is_not_there_is_refused() -> None:
    both = SumAndProduct()(data("a", "f64[B]"), data("b", "f64[B]"))
    with pytest.raises(ShapeError, match="there is no part 2 of"):
        Item(2)(both)
    with pytest.raises(ShapeError, match=r"is a tuple; take a part of it with Item\(i\)"):
        _ = both + 1.0
    with pytest.raises(GraphError, match="is a tuple"):
        Graph({"both": both})


# ---- 0003: loops are ops with a body

T = 5


def cell(h: Node, x: Node, W: Node, b: Node) -> tuple[Node, Node]:
    new = Tanh()(h @ W + x + b)
    return new, new * h


def looped() -> Graph:
    h, x = data("h", "f64[B,3]"), data("x", "f64[B,3]")
    W, b = data("W", "f64[3,3]"), data("b", "f64[3]")
    new, y = cell(h, x, W, b)
    h0, xs = parameter("h0", "f64[B,3]"), parameter("xs", f"f64[{T},B,3]")
    loop = Scan(Graph({"h_new": new, "y": y}), ("h", "x", "W", "b"), 1, 1)
    out = loop(h0, xs, parameter("W", "f64[3,3]"), parameter("b", "f64[3]"), name="states")
    return Graph({"C": Sum()(Item(0)(out) * Item(0)(out)) + Sum()(Tanh()(Item(1)(out)))})


def unrolled() -> Graph:
    h, W, b = parameter("h0", "f64[B,3]"), parameter("W", "f64[3,3]"), parameter("b", "f64[3]")
    total = constant(0.0)
    for t in range(T):
        h, y = cell(h, parameter(f"x{t}", "f64[B,3]"), W, b)
        total = total + Sum()(Tanh()(y))
    return Graph({"C": Sum()(h * h) + total})


def loop_feeds() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    feeds = {"h0": rng.standard_normal((2, 3)), "W": rng.standard_normal((3, 3)), "b": rng.standard_normal(3)}
    return feeds | {"xs": rng.standard_normal((T, 2, 3))}


def by_time(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**{k: v for k, v in feeds.items() if k != "xs"}, **{f"x{t}": feeds["xs"][t] for t in range(T)}}


def curvature(step: Graph, names: list[str]) -> Graph:
    """Derivatives of the sum of squares of the gradients of `names`."""
    squares = [Sum()(step[f"d{n}"] * step[f"d{n}"]) for n in names]
    total = squares[0]
    for square in squares[1:]:
        total = total + square
    return backward(Graph({"Q": total, "C": step["C"]}), "Q", names, prefix="dd")


def test_0003_backpropagation_through_time_is_the_vjp_of_scan() -> None:
    feeds = loop_feeds()
    scan = backward(looped(), "C", ["h0", "W", "b", "xs"])
    flat = backward(unrolled(), "C", ["h0", "W", "b", *(f"x{t}" for t in range(T))])
    got, wanted = RUN.compile(scan)(feeds), RUN.compile(flat)(by_time(feeds))
    wanted["dxs"] = np.stack([wanted[f"dx{t}"] for t in range(T)])
    for name in got:
        assert np.max(np.abs(got[name] - wanted[name])) <= 1e-12 * max(1, np.max(np.abs(wanted[name]))), name


def test_0003_and_again_at_order_2() -> None:
    feeds, names = loop_feeds(), ["h0", "W", "b"]
    scan = curvature(backward(looped(), "C", names), names)
    flat = curvature(backward(unrolled(), "C", names), names)
    got, wanted = RUN.compile(scan)(feeds), RUN.compile(flat)(by_time(feeds))
    for name in ("Q", "ddh0", "ddW", "ddb"):
        assert np.max(np.abs(got[name] - wanted[name])) <= 1e-12 * np.max(np.abs(wanted[name])), name


def test_0003_a_loop_prints_its_body_and_the_print_executes() -> None:
    step = simplify(backward(looped(), "C", ["h0", "W", "b", "xs"]))
    text = step.text()
    assert re.search(r"^def body1\(h, x, W, b\):\n    h_new = tanh\(h @ W \+ x \+ b\)", text, re.MULTILINE), (
        text
    )
    assert "reverse=True" in text
    assert_printed_and_written(step, loop_feeds())


def test_0003_one_program_for_every_length() -> None:
    step = NETS["recurrent"]()
    for length in (1, 2, 9):
        report = check_gradients(step, "C", None, fed(step, {"B": 2, "T": length}))
        assert report.passed, str(report)


# ---- 0004: state is carried


@pytest.mark.parametrize("executor", EXECUTORS.values(), ids=EXECUTORS)
def test_0004_running_mean_and_step_counter_are_carried(executor: type[Reference]) -> None:
    """What is carried need not be learned: a running mean of the batch, and a counter that a rule reads."""
    x, w = data("x", "f64[B,2]"), parameter("w", "f64[2]")
    mean, steps, rate = state("mean", "f64[2]"), state("steps", "f64[]"), number("rate", "f64")
    mean_new = mean + rate * (Mean((0,))(x) - mean)
    steps_new = (steps + 1.0).named("steps_new")
    C = Mean()(SquaredError()(x, w * constant(1.0) + 0.0 * x), name="C")
    step = backward(Graph({"C": C}), "C", ["w"])
    step = step.extended(
        {"w_new": w - step["dw"] / steps_new, "mean_new": mean_new, "steps_new": steps_new},
        {"w_new": "w", "mean_new": "mean", "steps_new": "steps"},
    )
    rows = np.random.default_rng(0).standard_normal((20, 2))
    loop = executor().compile_loop(step, {"x": rows}, batch=6)
    loop.load({"w": np.zeros(2), "mean": np.zeros(2), "steps": np.array(0.0)})
    starts = np.array([0, 6, 12, 18, 20])
    done = loop.run(np.arange(20), starts, np.full((4, 1), 0.25)).done
    assert done == 4
    kept = loop.state()
    assert kept["steps"] == 4
    wanted = np.zeros(2)
    for a, b in pairwise(starts):
        wanted = wanted + 0.25 * (rows[a:b].mean(axis=0) - wanted)
    assert np.allclose(kept["mean"], wanted, rtol=1e-14)
    assert kept["w"].any()
    first = loop.state()
    loop.run(np.arange(20), starts, np.full((4, 1), 0.25))
    assert first["steps"] == 4, "what state() gave is a copy"


def test_0004_what_replaces_a_state_has_its_type() -> None:
    with pytest.raises(GraphError, match="cannot replace"):
        Graph({"n_new": state("n", "f64[]") + data("x", "f64[B]")}, {"n_new": "n"})


# ---- 0005: convolution is Pad, Windows, reshape, matmul; layout NHWC; padding explicit

Pairs = tuple[tuple[int, int], ...]


@final
@dataclass(frozen=True)
class Pad(Op):
    """Zeros before and after each axis; pairs (before, after), (0, 0) for a named dimension."""

    widths: Pairs
    name, notation, tex = "pad_pairs", "pad({0}, {widths})", r"\operatorname{pad}({0})"

    def infer(self, x: ArrayType) -> ArrayType:
        if x.ndim != len(self.widths):
            raise ShapeError(f"pad needs a pair for each axis of {x}, got {self.widths}")
        return ArrayType(
            tuple(_moved(d, a + b) for d, (a, b) in zip(x.shape, self.widths, strict=True)), x.dtype
        )

    def forward(self, xp: Any, /, x: Any) -> Any:
        return xp.pad(x, self.widths)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (Crop(self.widths)(adj),)


@final
@dataclass(frozen=True)
class Crop(Op):
    """What `Pad` added is taken off again: its adjoint."""

    widths: Pairs
    name, notation, tex = "crop", "crop({0}, {widths})", r"\operatorname{crop}({0})"
    prelude = "def crop(x, widths):\n    return x[tuple(slice(a, -b or None) for a, b in widths)]"

    def infer(self, x: ArrayType) -> ArrayType:
        if x.ndim != len(self.widths):
            raise ShapeError(f"crop needs a pair for each axis of {x}, got {self.widths}")
        return ArrayType(
            tuple(_moved(d, -a - b) for d, (a, b) in zip(x.shape, self.widths, strict=True)), x.dtype
        )

    def forward(self, xp: Any, /, x: Any) -> Any:
        return x[tuple(slice(a, -b or None) for a, b in self.widths)]

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (Pad(self.widths)(adj),)


def _moved(dim: int | str, by: int) -> int | str:
    if by and (isinstance(dim, str) or dim + by < 1):
        raise ShapeError(f"an axis of size {dim} cannot change by {by}")
    return dim + by if isinstance(dim, int) else dim


@final
@dataclass(frozen=True)
class Windows(Op):
    """All windows of an image: (B, H, W, C) gives (B, rows, columns, kh, kw, C). Linear."""

    size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    name, notation, tex = "windows", "windows({0}, {size}, {stride})", r"\operatorname{windows}({0})"
    prelude = """\
def windows(x, size, stride):
    rows, columns = ((n - k) // s + 1 for n, k, s in zip(x.shape[1:3], size, stride))
    parts = [
        x[:, i : i + stride[0] * rows : stride[0], j : j + stride[1] * columns : stride[1], :]
        for i in range(size[0]) for j in range(size[1])
    ]
    return reshape(transpose(stack(parts), (1, 2, 3, 0, 4)), (x.shape[0], rows, columns, *size, x.shape[3]))
"""

    def infer(self, x: ArrayType) -> ArrayType:
        if x.ndim != 4 or not all(isinstance(d, int) for d in x.shape[1:]):
            raise ShapeError(f"windows needs [B,height,width,channels] with sizes that are numbers, got {x}")
        batch, height, width, channels = x.shape
        rows, columns = (
            (int(n) - k) // s + 1 for n, k, s in zip((height, width), self.size, self.stride, strict=True)
        )
        if rows < 1 or columns < 1:
            raise ShapeError(f"windows of {self.size} do not fit into {x}")
        return ArrayType((batch, rows, columns, *self.size, channels), x.dtype)

    def forward(self, xp: Any, /, x: Any) -> Any:
        space = {"stack": xp.stack, "reshape": xp.reshape, "transpose": xp.transpose}
        exec(self.prelude, space)  # one source for the rule and its print
        return space["windows"](x, self.size, self.stride)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (Fold(x.shape[1:3], self.stride)(adj),)  # type: ignore[arg-type]


@final
@dataclass(frozen=True)
class Fold(Op):
    """Windows are added back where they were cut from an image: the adjoint of Windows."""

    image: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    name, notation, tex = "fold", "fold({0}, {image}, {stride})", r"\operatorname{fold}({0})"
    prelude = """\
def fold(y, image, stride):
    batch, rows, columns, height, width, channels = y.shape
    (sh, sw), total = stride, 0
    for i in range(height):
        for j in range(width):
            part = reshape(y[:, :, :, i, j, :], (batch, rows, 1, columns, 1, channels))
            part = pad(part, ((0, 0), (0, 0), (0, sh - 1), (0, 0), (0, sw - 1), (0, 0)))
            part = reshape(part, (batch, rows * sh, columns * sw, channels))
            part = part[:, : (rows - 1) * sh + 1, : (columns - 1) * sw + 1, :]
            below, right = image[0] - i - part.shape[1], image[1] - j - part.shape[2]
            total = total + pad(part, ((0, 0), (i, below), (j, right), (0, 0)))
    return total
"""

    def infer(self, y: ArrayType) -> ArrayType:
        if y.ndim != 6 or not all(isinstance(d, int) for d in y.shape[1:]):
            raise ShapeError(f"fold needs [B,rows,columns,kh,kw,channels], got {y}")
        batch, _, _, kh, kw, channels = y.shape
        image = ArrayType((batch, *self.image, channels), y.dtype)
        if Windows((int(kh), int(kw)), self.stride).infer(image) != y:
            raise ShapeError(f"fold of {y} does not give an image of {self.image}")
        return image

    def forward(self, xp: Any, /, y: Any) -> Any:
        space = {"pad": xp.pad, "reshape": xp.reshape}
        exec(self.prelude, space)
        return space["fold"](y, self.image, self.stride)

    def vjp(self, adj: Node, y: Node, /, x: Node) -> tuple[Node]:
        return (Windows(x.shape[3:5], self.stride)(adj),)  # type: ignore[arg-type]


_EDGES = ((0, 0), (1, 2), (0, 1), (0, 0))
Pad.samples = (Sample((("B", 2, 3, "c"),), op=Pad(_EDGES)),)
Crop.samples = (Sample((("B", 5, 4, "c"),), op=Crop(_EDGES)),)
Windows.samples = tuple(
    Sample((("B", 5, 4, "c"),), op=Windows(size, stride))
    for size, stride in (((2, 3), (1, 1)), ((3, 2), (2, 2)), ((1, 1), (3, 1)), ((2, 2), (2, 2)))
)
Fold.samples = (
    Sample((("B", 4, 2, 2, 3, "c"),), op=Fold((5, 4))),
    Sample((("B", 2, 2, 3, 2, "c"),), op=Fold((6, 4), (2, 2))),
)


def convolution(x: Node, K: Node, padding: Pairs, stride: tuple[int, int] = (1, 1)) -> Node:
    """A layer: x (B, H, W, C) and K (kh, kw, C, filters) give (B, rows, columns, filters)."""
    kh, kw, channels, filters = (int(n) for n in K.shape)
    cut = Windows((kh, kw), stride)(Pad(((0, 0), *padding, (0, 0)))(x))
    rows, columns = (int(n) for n in cut.shape[1:3])
    flat = Reshape((f"{rows * columns}*B", kh * kw * channels))(cut)
    return Reshape(("B", rows, columns, filters))(flat @ Reshape((kh * kw * channels, filters))(K))


@pytest.mark.parametrize("op", [Pad, Crop, Windows, Fold], ids=lambda op: op.name)
def test_0005_each_op_of_a_convolution_passes_every_test(op: type[Op]) -> None:
    found = check_op(op, np.random.default_rng(3))
    assert max(found.first.error, found.second.error) <= 1e-8
    assert found.autodiff is not None


@pytest.mark.parametrize(("padding", "stride"), [(((0, 0), (0, 0)), (1, 1)), (((1, 1), (1, 2)), (2, 1))])
def test_0005_convolution_is_that_of_scipy_and_its_backward_pass_is_right(
    padding: Pairs, stride: Any
) -> None:
    x, K, V = data("x", "f64[B,5,6,2]"), parameter("K", "f64[3,2,2,4]"), parameter("V", "f64[4]")
    z = convolution(x, K, padding, stride).named("z1")
    assert z.type.shape[0] == "B"  # type: ignore[union-attr]
    C = Mean()(Relu()(z, name="a1") * V, name="C")
    step = simplify(backward(Graph({"C": C}), "C", ["K", "V"], names={"z1": "δ1"}), fold=True)
    rng = np.random.default_rng(0)
    feeds = {
        "x": rng.standard_normal((3, 5, 6, 2)),
        "K": rng.standard_normal((3, 2, 2, 4)),
        "V": rng.random(4),
    }
    padded = np.pad(feeds["x"], ((0, 0), *padding, (0, 0)))
    wanted = sum(
        np.stack(
            [
                [
                    scipy.signal.correlate2d(image[..., c], feeds["K"][:, :, c, f], mode="valid")
                    for f in range(4)
                ]
                for image in padded
            ]
        )
        for c in range(2)
    )
    wanted = np.moveaxis(wanted, 1, -1)[:, :: stride[0], :: stride[1]]
    got = RUN.compile(Graph({"z1": z}))(feeds)["z1"]
    assert np.allclose(got, wanted, rtol=1e-12, atol=1e-12)
    report = check_gradients(step, "C", ["K", "V"], feeds)
    assert report.passed, str(report)
    assert report.checked == 52
    assert_printed_and_written(step, feeds)
    for size in (1, 7):  # one program for every batch size
        assert RUN.compile(step)({**feeds, "x": rng.standard_normal((size, 5, 6, 2))})["dK"].any()


def test_0005_what_does_not_fit_is_refused() -> None:
    x = data("x", "f64[B,5,6,2]")
    for build in (
        lambda: Pad(((1, 0), (0, 0), (0, 0), (0, 0)))(x),  # the batch
        lambda: Pad(((0, 0),))(x),
        lambda: Windows((6, 1))(x),
        lambda: Windows((2, 2))(data("y", "f64[B,H,W,2]")),  # spatial sizes are numbers
        lambda: Fold((5, 6))(Windows((2, 2))(x).T),
    ):
        with pytest.raises(ShapeError):
            build()
    text = to_json(Graph({"y": Pad(((0, 0), (1, 1), (1, 1), (0, 0)))(x)}))
    with pytest.raises(GraphError, match="the settings of pad_pairs do not fit: expected 2 entries"):
        from_json(text.replace("[1,1],[1,1]", "[1,1],[1,1,1]"))


# ---- 0006: sharding over named dimensions


class NotSharded(BackpassError):
    """An op of the program cannot run on parts of the batch."""


def means_as_sums(graph: Graph) -> Graph:
    """Mean is Sum / Size, which a shard can join."""
    new: dict[Node, Node] = {}
    for n in graph.nodes:
        inputs = tuple(new[x] for x in n.inputs)
        if isinstance(n.op, Mean):
            gone = n.op.axis or tuple(range(len(inputs[0].shape)))
            size: Node | None = None
            for i in gone:
                dim = inputs[0].shape[i]
                factor = Size(dim, n.dtype)() if isinstance(dim, str) else constant(dim, n.dtype)
                size = factor if size is None else size * factor
            assert size is not None
            made = Divide()(Sum(n.op.axis)(inputs[0]), size)
            new[n] = made.named(n.name) if n.name else made
        else:
            new[n] = Node(n.op, inputs, n.type, n.name)
    return Graph({k: new[n] for k, n in graph.outputs.items()}, graph.carry)


def run_sharded(
    graph: Graph, feeds: Mapping[str, np.ndarray], batch: int, workers: int, shards: int = 4, dim: str = "B"
) -> dict[str, np.ndarray]:
    """Run a program with `dim` cut into a fixed number of logical shards, dealt to workers.

    A value with `dim` in its type lives in shards; one without is whole. Where an op loses `dim`, its
    partial results are joined as the op declares, in the order of the shards, whoever computed them.
    """
    cuts = np.linspace(0, batch, shards + 1).astype(int)
    sizes = np.diff(cuts)
    dealt = [range(w, shards, workers) for w in range(workers)]
    values: dict[Node, Any] = {}
    for n in graph.nodes:
        types = [x.array_type for x in n.inputs]
        cut_in = any(dim in t.named for t in types)
        cut_out = dim in n.array_type.named
        if n.op.feeds:
            whole = feeds[str(n.name)]
            values[n] = [whole[a:b] for a, b in pairwise(cuts)] if cut_out else whole
        elif not cut_in and not cut_out:
            values[n] = n.op.bind({dim: batch}).forward(NUMPY, *(values[x] for x in n.inputs))
        else:
            if any(dim in str(d).split("*") for d in n.op.mixes(*types)):
                raise NotSharded(f"{n.op.name} mixes along {dim}, so it cannot run on a part of it")
            if not cut_out and n.op.joins is None:
                raise NotSharded(f"{n.op.name} loses {dim} and does not declare how to join its parts")
            parts: dict[int, Any] = {}
            for mine in dealt:  # each worker on its own shards
                for s in mine:
                    bound = n.op.bind({dim: int(sizes[s])})
                    xs = [values[x][s] if dim in x.array_type.named else values[x] for x in n.inputs]
                    parts[s] = bound.forward(NUMPY, *xs)
            if cut_out:
                values[n] = [parts[s] for s in range(shards)]
            else:
                assert n.op.joins == "add"
                total = parts[0]
                for s in range(1, shards):
                    total = total + parts[s]
                values[n] = total
    found = {}
    for name, n in graph.outputs.items():
        value = values[n]
        found[name] = np.concatenate(value) if dim in n.array_type.named else np.asarray(value)
    return found


@pytest.mark.parametrize("batch", [1, 3, 4, 10, 37])
@pytest.mark.parametrize("name", ["exclusive_or", "digits", "momentum", "linear_regression"])
def test_0006_a_step_in_four_shards_is_the_same_whatever_the_number_of_workers(name: str, batch: int) -> None:
    step = retyped(NETS[name](), "f64")
    feeds = fed(step, {"B": batch}, seed=batch)
    summed = means_as_sums(step)
    by_workers = [run_sharded(summed, feeds, batch, workers) for workers in (1, 2, 4)]
    assert same_bits(by_workers[0], by_workers[1]) is None
    assert same_bits(by_workers[0], by_workers[2]) is None
    whole = RUN.compile(step)(feeds)
    for key, value in whole.items():
        assert np.max(np.abs(value - by_workers[0][key])) <= 1e-12 * max(1, np.max(np.abs(value))), key


def test_0006_a_convolution_is_sharded_too() -> None:
    x, K = data("x", "f64[B,5,6,2]"), parameter("K", "f64[3,2,2,4]")
    C = Mean()(Tanh()(convolution(x, K, ((1, 1), (0, 0)))), name="C")
    step = backward(Graph({"C": C}), "C", ["K"])
    rng = np.random.default_rng(0)
    feeds = {"x": rng.standard_normal((6, 5, 6, 2)), "K": rng.standard_normal((3, 2, 2, 4))}
    got = run_sharded(means_as_sums(step), feeds, 6, 2)
    whole = RUN.compile(step)(feeds)
    assert all(np.allclose(got[k], whole[k], rtol=1e-12, atol=1e-15) for k in whole)


def test_0006_a_shard_divides_by_the_size_of_the_whole_batch() -> None:
    """Statistics of the batch (here: centred columns) are those of the whole batch, not of a shard."""
    x, w = data("x", "f64[B,3]"), parameter("w", "f64[3]")
    centred = x * w - Mean((0,))(x * w)
    step = backward(Graph({"C": Mean()(centred * centred)}), "C", ["w"])
    feeds = {"x": np.random.default_rng(0).standard_normal((10, 3)), "w": np.array([1.0, 2.0, 3.0])}
    got = run_sharded(means_as_sums(step), feeds, 10, 2)
    whole = RUN.compile(step)(feeds)
    assert all(np.allclose(got[k], whole[k], rtol=1e-12) for k in whole)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda x: Mean((0,))(x), "mean loses B and does not declare how to join its parts"),
        (lambda x: Sum()(Softmax()(x.T)), "softmax mixes along B"),
        (lambda x: Sum()(SoftmaxCrossEntropy()(x.T, x.T)), "softmax_cross_entropy loses B"),
    ],
    ids=["mean", "softmax", "cross-entropy"],
)
def test_0006_an_op_that_cannot_be_cut_is_refused(build: Any, message: str) -> None:
    y = build(data("x", "f64[B,3]"))
    with pytest.raises(NotSharded, match=message):
        run_sharded(Graph({"y": y}), {"x": np.ones((4, 3))}, 4, 2)


def test_0006_a_loop_mixes_along_time_and_along_what_its_body_adds_up() -> None:
    h, x = data("h", "f64[B,3]"), data("x", "f64[T,B,3]")
    plain = Scan.samples[0].op(h, x, parameter("w", "f64[3]"))
    assert plain.op.mixes(*(n.type for n in plain.inputs)) == ("T",)
    step = backward(Graph({"C": Sum()(Item(0)(plain))}), "C", ["w"])
    back = next(n for n in step.nodes if isinstance(n.op, Scan) and n.op.reverse)
    assert {"T", "B"} <= set(back.op.mixes(*(n.type for n in back.inputs)))


def test_0006_what_joins_is_declared_by_few() -> None:
    ours = {n: op.joins for n, op in REGISTRY.all().items() if op.__module__.startswith("backpass.")}
    assert {n for n, j in ours.items() if j == "add"} == {"sum", "matmul", "einsum", "scatter_add"}
    assert set(ours.values()) == {"add", None}


# ---- 0007: simplify. The rules are tested in test_passes.py


def test_0007_folding_is_asked_for_and_never_happens_by_itself() -> None:
    x = data("x", "f64[B]")
    graph = Graph({"y": 3.0 * (2.0 * x)})
    assert "3 * (2 * x)" in simplify(graph).text()
    assert "6 * x" in simplify(graph, fold=True).text()


# ---- 0008: the chain rule lives in ir


def test_0008_ir_and_ops_do_not_import_passes() -> None:
    import backpass.ir

    root = Path(backpass.ir.__file__).parents[1]
    for folder, above in (("ir", "ops|passes|exec"), ("ops", "passes|exec")):
        for path in (root / folder).glob("*.py"):
            found = re.search(rf"^\s*(from|import) backpass\.({above})\b", path.read_text(), re.MULTILINE)
            # Docstring examples show ops at work; those lines begin with a prompt.
            assert found is None, f"{path.name}: {found[0]}"
