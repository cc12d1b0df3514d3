"""The compiled executor against the reference: random programs, training steps, the promises of a loop."""

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import test_lowering
from hypothesis import given
from op_samples import programs_of_all_ops
from stages import (
    BATCH,
    KINDS,
    LOOPS,
    ROWS,
    Case,
    check_loop,
    check_random_bits,
    finished,
    loop_named,
    started,
)
from strategies import programs

import backpass as bp
from backpass.errors import DataError, NotLowered, UsageError
from backpass.exec.choose import compile_loop
from backpass.exec.compiled import Compiled, CompiledLoop, executor, kernels
from backpass.exec.compiled.lower import lower
from backpass.exec.reference import Reference
from backpass.ir import Graph
from backpass.ops import Cast, Gather, Mean, Relu, Sum, Tanh, data, number, parameter
from backpass.passes import backward
from backpass.testing import check_executor
from backpass.training.batches import Batches
from backpass.training.step import step_graph

_FEW = hypothesis.settings(parent=hypothesis.settings.get_profile("dev"), max_examples=2)
_MANY = hypothesis.settings(parent=hypothesis.settings.get_profile("dev"), max_examples=80)

slow = pytest.mark.slow


@_FEW
@given(programs("f64"))
def test_random_programs(program) -> None:
    test_lowering.compare(program)


@slow
@_MANY
@given(programs("f64"))
def test_many_random_programs(program) -> None:
    test_lowering.compare(program)


@slow
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_every_op_and_its_derivatives(dtype: str) -> None:
    """Within the bounds of test_lowering.py, which runs the same kernels without compiling them."""
    for graph, feeds in programs_of_all_ops(dtype, 10):
        check_executor(Compiled(), graph, feeds, rtol={"f32": 2e-6, "f64": 4e-15}[dtype])


def test_a_loop_equals_the_reference() -> None:
    """With integers, booleans, numbers from a counter, and slots that read each other."""
    check_loop(loop_named("dropout", "f32"), rtol=1e-5)


@slow
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("name", LOOPS)
def test_all_loops_equal_the_reference(name: str, dtype: str) -> None:
    check_loop(loop_named(name, dtype), rtol={"f32": 1e-5, "f64": 1e-12}[dtype])


def test_random_numbers_have_the_same_bits() -> None:
    check_random_bits("f32")


@slow
def test_row_numbers_are_checked() -> None:
    E, i = data("E", "f32[11,5]"), data("i", "i64[B]")
    function = Compiled().compile(Graph({"y": Gather(0)(E, i)}))
    for wrong in (11, -12, 2**62):
        with pytest.raises(DataError, match="outside of the array"):
            function({"E": np.ones((11, 5), np.float32), "i": np.array([3, wrong])})


NETS = {
    "sigmoid": ([20, 7, 3], "sigmoid", "softmax", "cross_entropy", bp.SGD(0.5)),
    "momentum": ([20, 9, 5, 3], "tanh", "softmax", "cross_entropy", bp.SGD(0.1, 0.9)),
    "relu": ([20, 33, 3], "relu", "softmax", "cross_entropy", bp.SGD(0.1)),
    "each output": ([20, 7, 4], "sigmoid", "sigmoid", "cross_entropy", bp.SGD(0.3)),
    "squares": ([20, 7, 2], "tanh", "identity", "squared_error", bp.SGD(0.01, 0.5)),
    "no hidden layer": ([20, 3], "relu", "sigmoid", "squared_error", bp.SGD(0.3)),
    "wide": ([150, 90, 40, 3], "relu", "softmax", "cross_entropy", bp.SGD(0.05, 0.9)),
    "one unit": ([1, 1, 1], "sigmoid", "identity", "squared_error", bp.SGD(0.1)),
}


def loops(name: str, dtype: str, batch: int = 8, rows: int = 50):
    sizes, hidden, last, loss, optimizer = NETS[name]
    net = bp.Network([*(bp.Dense(k, hidden) for k in sizes[1:-1]), bp.Dense(sizes[-1], last)])
    step = step_graph(net, loss, optimizer, sizes[0], dtype)
    kind = np.float32 if dtype == "f32" else np.float64
    rng = np.random.default_rng(0)
    rows_of = {
        "x": rng.standard_normal((rows, sizes[0])).astype(kind),
        "t": np.zeros((rows, sizes[-1]), kind),
    }
    rows_of["t"][np.arange(rows), rng.integers(0, sizes[-1], rows)] = 1
    carry = net.initial(sizes[0], 0, dtype)
    carry |= {k: np.zeros(n.shape, kind) for k, n in step.inputs_of_kind("state").items()}
    made = [e.compile_loop(step, rows_of, batch) for e in (Compiled(), Reference())]
    for loop in made:
        loop.load(carry)
    return (*made, Batches(rows, batch, 100, 0), list(optimizer.numbers.values()), step)


@pytest.mark.parametrize(
    "name", [n if n in ("momentum", "each output") else pytest.param(n, marks=slow) for n in NETS]
)
def test_steps_equal_the_reference(name: str) -> None:
    """f64, 1e-12 a step, each step from the same state; short last batches included."""
    compiled, reference, batches, numbers, step = loops(name, "f64")
    for s in range(14):  # 50 rows by 8: the seventh batch has two rows
        compiled.load(reference.state())
        span = batches.span(s, s + 1)
        a, b = (loop.run(*span, np.array([numbers])) for loop in (compiled, reference))
        assert a.done == b.done == 1
        np.testing.assert_allclose(a.watched, b.watched, rtol=1e-12)
        for key, array in reference.state().items():
            np.testing.assert_allclose(compiled.state()[key], array, rtol=1e-12, atol=1e-14, err_msg=key)
    for key in ("x", "δ1"):
        kept = compiled.peek(step[key])
        assert kept is not None
        np.testing.assert_allclose(kept, reference.peek(step[key]), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_one_call_is_many_calls_and_twice_is_the_same(dtype: str) -> None:
    compiled, _, batches, numbers, _ = loops("momentum", dtype)
    start = compiled.state()
    whole = compiled.run(*batches.span(0, 30), np.tile(numbers, (30, 1)))
    end = compiled.state()
    compiled.load(start)
    parts = [compiled.run(*batches.span(s, s + 10), np.tile(numbers, (10, 1))).watched for s in (0, 10, 20)]
    assert np.concatenate(parts).tobytes() == whole.watched.tobytes()
    for name, array in compiled.state().items():
        assert array.tobytes() == end[name].tobytes()


def test_a_number_can_change_at_each_step_without_compiling_again() -> None:
    compiled, reference, batches, _, _ = loops("sigmoid", "f64")
    rates = np.linspace(0.0, 1.0, 9)[:, None]
    for loop in (compiled, reference):
        loop.run(*batches.span(0, 9), rates)
    for name, array in reference.state().items():
        np.testing.assert_allclose(compiled.state()[name], array, rtol=1e-10, atol=1e-13)


def test_the_guard_stops_before_the_update() -> None:
    compiled, _, batches, numbers, _ = loops("sigmoid", "f64")
    compiled.data["x"][batches.span(0, 9)[0][20], 0] = (
        np.nan
    )  # the row is in the third batch; no copy is made
    before = compiled.state()
    result = compiled.run(*batches.span(0, 9), np.tile(numbers, (9, 1)))
    assert result.done == 2
    assert np.isnan(result.watched[2])
    assert len(result.watched) == 3
    compiled.load(before)
    compiled.run(*batches.span(0, 2), np.tile(numbers, (2, 1)))
    assert all(np.isfinite(a).all() for a in compiled.state().values())


def test_orders_outside_of_the_data_never_reach_the_kernel() -> None:
    compiled, *_ = loops("sigmoid", "f32")
    one = np.array([[0.1]])
    for order, starts in [([0, 50], [0, 2]), ([-1], [0, 1]), (range(9), [0, 9]), ([0], [0, 0])]:
        with pytest.raises(ValueError, match="outside"):
            compiled.run(np.array(order), np.array(starts), one)


def test_what_has_no_lowering_falls_back_and_says_so() -> None:
    x, w = data("x", "f32[B,3]"), parameter("w", "f64[3]")
    step = Graph({"C": Sum()(Cast("f64")(x) * w)})
    with pytest.raises(NotLowered, match="this program in both: cast"):
        lower(step, in_place=False, sizes={})
    loop, why = compile_loop(step, {"x": np.zeros((4, 3), "f4")}, 2, 10**9, "compiled")
    assert loop.name == "reference"
    assert why == "not compiled: a kernel calculates in one of f32 and f64, this program in both: cast"


def test_the_source_holds_no_name_of_the_program() -> None:
    """A file's names never reach the compiler."""
    x, w = data("evil_x", "f64[B,3]"), parameter("evil_w", "f64[3,2]")
    lr = number("evil_lr", "f64")
    C = Mean()(Relu()((x @ w).named("evil_z")), name="C")
    step = backward(Graph({"C": C}), "C", ["evil_w"])
    step = step.extended({"evil_new": w - lr * step["devil_w"]}, {"evil_new": "evil_w"})
    loop = Compiled().compile_loop(step, {"evil_x": np.zeros((4, 3))}, 2)
    assert "evil" not in loop.source


def test_a_fresh_process_loads_the_kernel_and_gets_the_same_bits(tmp_path: Path) -> None:
    code = (
        "import backpass as bp, numpy as np\n"
        "X = np.random.default_rng(0).standard_normal((40, 5)); y = np.arange(40) % 3\n"
        "net = bp.Network([bp.Dense(4, 'tanh'), bp.Dense(3, 'softmax')])\n"
        "run = bp.train(net, (X, y), epochs=3, executor='compiled')\n"
        "print(run.weights['W1'].tobytes().hex())\n"
    )
    environment = os.environ | {"BACKPASS_CACHE": str(tmp_path)}

    def go() -> str:
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
        ).stdout

    first = go()
    kernels = sorted(tmp_path.glob("*.kernel"))
    assert len(kernels) == 1
    stamp = kernels[0].stat().st_mtime_ns
    assert go() == first
    assert kernels[0].stat().st_mtime_ns == stamp
    kernels[0].write_bytes(kernels[0].read_bytes()[:-1])
    assert go() == first  # a damaged one is written again


@slow
@pytest.mark.parametrize(
    "name",
    ["values_that_replace_each_other", "a_value_that_reads_itself_out_of_place", "special_values",
     "integers_stay_integers", "outputs_without_an_array", "a_value_that_is_read_twice_is_written_once",
     "a_carried_value_that_only_other_outputs_read", "a_buffer_is_used_again_for_its_own_dtype_only"],
)  # fmt: skip
def test_native_code_does_what_the_source_says(name: str) -> None:
    """Tests that run kernels in Python, once more with a compiler."""
    getattr(test_lowering, f"test_{name}")()


# ---- threads


class Always:
    """In place of `Pace`: as many threads as there are, at every step."""

    def __init__(self, least: int, most: int) -> None:
        self.most = most

    def next(self, steps: int) -> tuple[int, int]:
        return self.most, steps

    def saw(self, threads: int, steps: int, seconds: float) -> None:
        return


@pytest.fixture
def divided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any step is divided among threads, however short it is."""
    monkeypatch.setattr(executor, "is_worth_splitting", lambda step, dims: True)
    monkeypatch.setattr(executor, "Pace", Always)


def shared_weights(dtype: str) -> Case:
    """A matrix that is used twice, once turned, so that its gradient is a sum of two products."""
    rng, optimiser = np.random.default_rng(5), bp.Adam(0.01, clip_norm=0.1)
    x, W = data("x", f"{dtype}[B,6]"), parameter("W", f"{dtype}[6,7]")
    again = Tanh()((x @ W).named("z")) @ W.T
    C = Mean()(Sum((1,))((again - x) * (again - x)), name="C")
    rows = {"x": rng.standard_normal((ROWS, 6)).astype(KINDS[dtype])}
    return started(finished({"C": C}, {}, optimiser, dtype), rows, optimiser, rng)


def of_a_net(name: str) -> Case:
    sizes, hidden, last, loss, optimizer = NETS[name]
    net = bp.Network([*(bp.Dense(k, hidden) for k in sizes[1:-1]), bp.Dense(sizes[-1], last)])
    step = step_graph(net, loss, optimizer, sizes[0], "f32")
    rng = np.random.default_rng(0)
    rows = {
        "x": rng.standard_normal((ROWS, sizes[0])),
        "t": np.eye(sizes[-1])[rng.integers(0, sizes[-1], ROWS)],
    }
    start = net.initial(sizes[0], 0, "f32")
    start |= {k: np.zeros(n.shape, np.float32) for k, n in step.inputs_of_kind("state").items()}
    return Case(step, {k: v.astype(np.float32) for k, v in rows.items()}, start, dict(optimizer.numbers))


DIVIDED = {
    **{name: lambda name=name: loop_named(name, "f32") for name in LOOPS if name != "embedding"},
    **{f"net: {name}": lambda name=name: of_a_net(name) for name in NETS},
    "shared weights": lambda: shared_weights("f32"),
}
QUICK = ("adamw", "batch normalisation", "dropout", "shared weights", "net: momentum", "net: wide")


def result(loop: CompiledLoop, case: Case, steps: int) -> bytes:
    """All bits of what some steps from the start leave."""
    loop.load(case.start)
    chunk = loop.run(*case.span(0, steps))
    assert chunk.done == steps
    return b"".join([chunk.watched.tobytes(), *(a.tobytes() for a in loop.state().values())])


@pytest.mark.usefixtures("divided")
@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=slow) for n in DIVIDED])
def test_any_number_of_threads_gives_the_same_bits(name: str) -> None:
    """Last batches of two rows, which not every thread has a part of, included."""
    case = DIVIDED[name]()
    loop = Compiled().compile_loop(case.step, case.rows, BATCH)
    assert loop.lowered.split
    assert "barrier(" in loop.source
    assert "mm(" in loop.source or name != "net: wide"
    loop.threads = 1
    one = result(loop, case, 16)
    for count in (2, 3, 3):
        loop.threads = count
        assert loop.threads == count
        assert result(loop, case, 16) == one, count
    reference = Reference().compile_loop(case.step, case.rows, BATCH)
    for executor_ in (loop, reference):
        executor_.load(case.start)
        executor_.run(*case.span(0, 3))
    for key, array in reference.state().items():
        np.testing.assert_allclose(loop.state()[key], array, rtol=1e-4, atol=1e-5, err_msg=key)


@pytest.mark.usefixtures("divided")
def test_what_cannot_be_divided_is_done_by_one_thread() -> None:
    """A row number that is wrong ends a run, and would leave the other threads waiting."""
    case = loop_named("embedding", "f32")
    loop = Compiled().compile_loop(case.step, case.rows, BATCH)
    loop.threads = 3
    assert not loop.lowered.split
    assert loop.threads == 1
    assert "barrier(" not in loop.source
    assert result(loop, case, 9) == result(loop, case, 9)


@pytest.mark.usefixtures("divided")
def test_the_guard_stops_all_threads() -> None:
    case = loop_named("adamw", "f32")
    order = case.span(0, 9)[0]
    case.rows["x"][order[20], 0] = np.nan  # in the third batch
    loop = Compiled().compile_loop(case.step, case.rows, BATCH)
    for count in (1, 2, 3):
        loop.threads = count
        loop.load(case.start)
        chunk = loop.run(*case.span(0, 9))
        assert chunk.done == 2
        assert np.isfinite(chunk.watched).tolist() == [True, True, False]
        stopped = {name: array.copy() for name, array in loop.state().items()}
        loop.load(case.start)
        assert loop.run(*case.span(0, 2)).done == 2
        assert all(loop.state()[name].tobytes() == array.tobytes() for name, array in stopped.items())
        assert loop.run(*case.span(2, 3)).done == 0


def test_a_variable_of_the_system_limits_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "is_worth_splitting", lambda step, dims: True)
    monkeypatch.setattr("backpass.exec.threads.FLOPS_A_THREAD", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(5)), raising=False)
    case = loop_named("SGD", "f32")
    for limit, count in (("1", 1), ("2", 2), ("3", 3), ("64", 5), ("", 5)):
        monkeypatch.setenv("BACKPASS_THREADS", limit)
        assert CompiledLoop(case.step, case.rows, BATCH, "C").threads == count


# ---- memory


@slow
@pytest.mark.usefixtures("divided")
def test_a_step_allocates_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Native code calls nothing that allocates, and always works on the same memory; per step Python keeps
    some numbers, and no arrays."""
    made = []
    compiled = kernels.compiled
    monkeypatch.setattr(kernels, "compiled", lambda *given: made.append(compiled(*given)) or made[0])
    monkeypatch.setattr(kernels, "loaded", {})
    monkeypatch.setattr(kernels, "_read", lambda name: None)
    case = loop_named("adamw", "f32")
    loop = Compiled().compile_loop(case.step, case.rows, BATCH)
    loop.threads = 2
    (code,) = made
    assert b"kernel" in code
    assert b"backpass_yield" in code  # names of what it calls are found
    for name in (b"malloc", b"calloc", b"realloc", b"free", b"_Znw", b"mmap"):
        assert name not in code
    loop.load(case.start)

    def addresses() -> list[int]:
        every = [loop.rows, loop.memory, *loop._private]
        return [array.ctypes.data for arrays in every for array in arrays.values()]

    before, peaks = addresses(), []
    for steps in (10, 10, 300):  # the first fills what Python keeps
        span = case.span(0, steps)
        tracemalloc.start()
        loop.run(*span)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert addresses() == before
    assert peaks[2] - peaks[1] < 290 * 3 * 8 + 4000  # the watched numbers, and the sizes of batches


# ---- bad input


def trained(X: np.ndarray, y: np.ndarray, width: int = 4) -> dict[str, np.ndarray]:
    net = bp.Network([bp.Dense(width, "tanh"), bp.Dense(3, "softmax")])
    return bp.train(net, (X, y), epochs=2, seed=0, executor="compiled").weights


def test_rows_of_any_kind_and_order() -> None:
    X, y = np.random.default_rng(0).integers(-8, 8, (40, 5)) / 4.0, np.arange(40) % 3
    fixed = X.copy(), y.copy()
    for array in fixed:
        array.flags.writeable = False
    wanted = trained(X, y)
    for name, rows in {
        "strided": (np.repeat(X, 2, axis=1)[:, ::2], np.repeat(y, 2)[::2]),
        "column after column": (np.asfortranarray(X), y),
        "backwards": (X[::-1].copy()[::-1], y),
        "big-endian": (X.astype(">f8"), y.astype(">i4")),
        "float16": (X.astype(np.float16), y),
        "float32": (X.astype(np.float32), y.astype(np.int8)),
        "long double": (X.astype(np.longdouble), y),
        "objects": (X.astype(object), y),
        "read-only": fixed,
    }.items():
        weights = trained(*rows)
        assert all(weights[key].tobytes() == array.tobytes() for key, array in wanted.items()), name


def test_no_rows_and_no_columns() -> None:
    X, y = np.arange(12.0).reshape(6, 2), np.arange(6) % 3
    with pytest.raises(DataError, match="X has 0 rows"):
        trained(X[:0], y[:0])
    with pytest.raises(DataError, match="X has 0 columns"):
        trained(X[:, :0], y)
    function = Compiled().compile(Graph({"y": Sum((0,))(Tanh()(data("x", "f64[B,3]")))}))
    assert function({"x": np.ones((0, 3))})["y"].tolist() == [0, 0, 0]
    x, W = data("x", "f64[B,3]"), parameter("W", "f64[3,5]")
    products = Compiled().compile(Graph({"z": x @ W, "dW": x.T @ (x @ W)}))
    got = products({"x": np.ones((0, 3)), "W": np.ones((3, 5))})
    assert got["z"].shape == (0, 5)
    assert got["dW"].tolist() == np.zeros((3, 5)).tolist()


@pytest.mark.parametrize("width", [10**13, 2**62, 2**63])
def test_more_memory_than_there_is(width: int) -> None:
    X, y = np.arange(12.0).reshape(6, 2), np.arange(6) % 3
    with pytest.raises(
        UsageError, match=r"need [\d,.]+ GB of memory, .*\n  Make the layers or the batch smaller"
    ):
        trained(X, y, width)
