"""Numbers that a loop keeps of each step are those of `peek`, and keeping them does not change the run."""

from __future__ import annotations

import numpy as np
import pytest
from stages import BATCH, LOOPS, Case, both, loop_named

from backpass.errors import UsageError
from backpass.exec.base import Loop, Tap, rows_axis
from backpass.exec.compiled import Compiled, executor
from backpass.exec.reference import Reference
from backpass.ir import Node

STEPS = 14  # 50 rows by 8: the 7th and the 14th batch have two rows
slow = pytest.mark.slow
QUICK = ("adamw", "embedding", "recurrent")
NAMES = [n if n in QUICK else pytest.param(n, marks=slow) for n in LOOPS]


def all_taps(case: Case, loop: Loop) -> list[Tap]:
    """Of each value that the loop keeps, one entry or column."""
    rng = np.random.default_rng(0)
    taps = []
    for node in filter(loop.keeps, case.step.nodes):
        sizes = [n for axis, n in enumerate(node.shape) if axis != rows_axis(node)]
        taps.append(Tap(node, tuple(int(rng.integers(n)) for n in sizes)))
    return taps


def bits(loop: Loop, case: Case, taps: list[Tap]) -> bytes:
    loop.load(case.start)
    chunk = loop.run(*case.span(0, STEPS), taps)
    assert chunk.done == STEPS
    return b"".join([chunk.watched.tobytes(), *(a.tobytes() for a in loop.state().values())])


def after_one_step(loop: Loop, node: Node) -> np.ndarray | None:
    """What there is to see of a value when a step has ended."""
    state = loop.state()
    return state[str(node.name)] if node.op.feeds and node.name in state else loop.peek(node)


@pytest.mark.parametrize("dtype", ["f32", pytest.param("f64", marks=slow)])
@pytest.mark.parametrize("name", NAMES)
def test_tapped_steps_have_the_bits_of_others_and_taps_see_what_they_left(name: str, dtype: str) -> None:
    case = loop_named(name, dtype)
    order, starts, numbers = case.span(0, STEPS)
    for loop in both(case):
        taps = all_taps(case, loop)
        assert len(taps) > 10
        assert bits(loop, case, taps) == bits(loop, case, [])
        loop.load(case.start)
        found = loop.run(order, starts, numbers, taps).tapped
        loop.load(case.start)
        seen = 0
        for s in range(STEPS):
            loop.run(*case.span(s, s + 1))
            for tap, kept in zip(taps, found, strict=True):
                value = after_one_step(loop, tap.node)
                if value is None:
                    continue
                axis = rows_axis(tap.node)
                if axis is None:
                    assert kept[s] == value[tap.index], tap
                else:
                    column = np.moveaxis(value, axis, 0)[(slice(None), *tap.index)]
                    np.testing.assert_array_equal(kept[starts[s] : starts[s + 1]], column, str(tap))
                seen += 1
        assert seen > 8 * STEPS


@pytest.mark.parametrize("name", ["adamw", "dropout"])
def test_single_numbers_are_those_of_the_reference(name: str) -> None:
    """The norm, what clipping keeps, a cost: a kernel has them in no memory, so `peek` cannot see them."""
    case = loop_named(name, "f64")
    compiled, reference = both(case)
    alone = [n for n in case.step.nodes if compiled.keeps(n) and n.shape == () and not n.op.feeds]
    assert {"C"} <= {n.name for n in alone}
    assert name != "adamw" or {"norm", "kept"} <= {n.name for n in alone}
    one, two = (loop.run(*case.span(0, STEPS), [Tap(n) for n in alone]) for loop in (compiled, reference))
    for node, a, b in zip(alone, one.tapped, two.tapped, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, err_msg=str(node))
    np.testing.assert_array_equal(one.tapped[[n.name for n in alone].index("C")], one.watched)


@pytest.mark.parametrize(
    "name",
    [n if n in ("adamw", "dropout") else pytest.param(n, marks=slow) for n in LOOPS if n != "embedding"],
)
def test_threads_do_not_change_what_is_kept(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "is_worth_splitting", lambda step, dims: True)
    case = loop_named(name, "f32")
    loop = Compiled().compile_loop(case.step, case.rows, BATCH)
    assert loop.lowered.split
    taps = all_taps(case, loop)
    found = []
    for count in (1, 2, 3):
        loop.threads = count
        loop._pace.least = count
        assert bits(loop, case, taps) == bits(loop, case, [])
        loop.load(case.start)
        found.append(b"".join(a.tobytes() for a in loop.run(*case.span(0, STEPS), taps).tapped))
    assert found[0] == found[1] == found[2]


def test_a_stretch_may_start_anywhere_in_its_order() -> None:
    case = loop_named("SGD", "f64")
    order, starts, numbers = case.span(0, STEPS)
    for loop in both(case):
        taps = all_taps(case, loop)
        whole = loop.run(order, starts, numbers, taps).tapped
        loop.load(case.start)
        loop.run(order, starts[:6], numbers[:5])
        rest = loop.run(order, starts[5:], numbers[5:], taps).tapped
        for tap, a, b in zip(taps, whole, rest, strict=True):
            np.testing.assert_array_equal(a[5:] if rows_axis(tap.node) is None else a[starts[5] :], b)


def test_only_completed_steps_are_told_of() -> None:
    case = loop_named("momentum", "f64")
    order, starts, numbers = case.span(0, STEPS)
    case.rows["x"][order[starts[4]], 0] = np.nan
    for loop in both(case):
        taps = [Tap(case.step["x"], (1,)), Tap(case.step["W2"], (3, 1)), Tap(case.step["C"])]
        chunk = loop.run(order, starts, numbers, taps)
        assert chunk.done == 4
        assert [len(a) for a in chunk.tapped] == [4 * BATCH, 4, 4]
        np.testing.assert_array_equal(chunk.tapped[2], chunk.watched[:4])


def test_another_entry_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    case = loop_named("momentum", "f64")
    loop, _ = both(case)
    loop.run(*case.span(0, 2), [Tap(case.step["W1"], (2, 3))])
    monkeypatch.setattr(executor, "build", None)
    for tap in (Tap(case.step["W1"], (4, 5)), Tap(case.step["b2"], (0,)), Tap(case.step["x"], (8,))):
        assert len(loop.run(*case.span(2, 4), [tap]).tapped) == 1


@pytest.mark.parametrize("which", [Compiled, Reference])
def test_what_cannot_be_kept_is_refused(which: type) -> None:
    case = loop_named("adam", "f32")
    loop = which().compile_loop(case.step, case.rows, BATCH)
    loop.load(case.start)
    span = case.span(0, 2)
    for index in ((), (12, 0), (0, -1), (0, 0, 0)):
        with pytest.raises(UsageError, match="has no entry"):
            loop.run(*span, [Tap(case.step["W1"], index)])
    stranger = loop_named("SGD", "f32").step["W1"]
    assert not loop.keeps(stranger)
    with pytest.raises(UsageError, match="keeps no value"):
        loop.run(*span, [Tap(stranger, (0, 0))])
    assert loop.run(*span).done == 2


def test_what_a_kernel_fuses_away_is_not_kept() -> None:
    case = loop_named("SGD", "f32")
    compiled, reference = both(case)
    fused = [n for n in case.step.nodes if reference.keeps(n) and not compiled.keeps(n)]
    assert case.step["dW1"] in fused  # the product adds to the weights at once


def test_no_line_of_the_kernel_changes() -> None:
    case = loop_named("adamw", "f32")
    loop = both(case)[0]
    plain, tapped = loop.source.splitlines(), loop.tapped_source().splitlines()
    assert tapped[: len(plain) - 1] == plain[:-1]
    assert tapped[-1] == plain[-1]


def test_threads_wait_before_and_after_one_of_them_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A race is seldom seen in a short run, so it is the source that is looked at."""
    monkeypatch.setattr(executor, "is_worth_splitting", lambda step, dims: True)
    case = loop_named("adamw", "f32")
    loop = Compiled().compile_loop(case.step, case.rows, BATCH)
    more = loop.tapped_source().splitlines()[len(loop.source.splitlines()) - 1 : -1]
    wait = "    barrier(sync, threads)"
    assert more[0] == more[-1] == wait
    assert more[1] == "    if thread == 0:"
    assert all(line.startswith("        ") for line in more[2:-1])
