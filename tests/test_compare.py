"""`diff`: the first step and value in which two runs part, and why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command import Command
from going import data, interrupted, train

import backpass as bp
from backpass.explain.compare import compare
from backpass.record.parting import first_cost_apart
from backpass.training.optimisers import SGD


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> bp.Run:
    folder = tmp_path_factory.mktemp("runs")
    X, y = data()
    np.savez(folder / "d.npz", X=X, y=y)
    return train(rows_of=str(folder / "d.npz"), out=folder / "a", stop=None, epochs=12)


def again(run: bp.Run, **options: object) -> bp.Run:
    return train(rows_of=run.settings.data.source, **{"stop": None, "epochs": 12, **options})


def first_by_hand(a: bp.Run, b: bp.Run) -> tuple[int, set[str]]:
    """The first step after which a carried value differs, step by step."""
    for step in range(1, min(a.steps, b.steps) + 1):
        one, other = a.replay.state(step), b.replay.state(step)
        apart = {name for name in one if one[name].tobytes() != other[name].tobytes()}
        if apart:
            return step, apart
    raise AssertionError("they are equal")


@pytest.mark.parametrize("at", [0, 1, 30, 77, 131])
def test_the_first_step_is_found(at: int, run: bp.Run) -> None:
    other = run.branch(at, lr=0.001)
    found = compare(run, other)
    step, names = first_by_hand(run, other)
    assert (found.step, {name for name, _ in found.gaps}) == (step, names)
    assert found.tensor in names
    assert (found.equal, found.apart) == (step - 1, step)
    assert found.reason.startswith("lr is ")
    assert found.gaps[0][1] > 0
    assert f"after step {at} of " in {name: value for name, _, value in found.settings}["branch 1"]
    assert "seed" in found.same


def test_dropped_rows_are_named(run: bp.Run) -> None:
    used = run.record.batches.span(60, 61)[0]
    row = int(run.rows.numbers[used[2]])
    found = compare(run, run.branch(60, drop_rows=[row]))
    assert found.step == 61
    assert "the batches have other rows: only A has row" in found.reason
    assert str(row) in found.reason


def test_a_run_is_equal_to_itself_and_to_its_like(run: bp.Run, tmp_path: Path) -> None:
    for other in (run, again(run), bp.load(run.path), run.branch(40)):
        found = compare(run, other)
        assert found.step is None
        assert found.claim == f"The runs are bit-equal to their end, step {run.steps:,}."
        assert found.marks >= 2
    shorter = interrupted(tmp_path / "a", 50, rows_of=run.settings.data.source, stop=None, epochs=12)
    found = compare(bp.load(shorter), run)
    assert found.claim == "The runs are bit-equal as long as both go on, 50 steps; B goes on to step 132."


def test_without_marks_or_costs_it_is_found_by_replay(run: bp.Run) -> None:
    a, b = bp.load(run.path), run.branch(70, lr=0.001)
    for record in (a.record, b.record):
        record.costs.clear()
        for mark in [mark for mark in record.checkpoints if mark]:
            del record.checkpoints[mark]
        record.hashes = {}
    assert compare(a, b).step == first_by_hand(run, b)[0]


def test_other_costs_with_the_same_weights(run: bp.Run) -> None:
    """A cost that differs need not mean that a weight does."""
    a, b = bp.load(run.path), run.branch(90, lr=0.001)
    b.record.costs = [b.costs]
    b.record.costs[0][20] += 1.0
    assert compare(a, b).step == first_by_hand(run, b)[0] > 90
    b = bp.load(run.path)
    b.record.costs[0] = b.costs + 1.0
    assert compare(a, b).step is None


def test_rounding_is_told_from_the_rest(run: bp.Run) -> None:
    found = compare(run, again(run, executor="compiled"))
    assert found.step == 1
    assert found.reason.startswith("of rounding: the inputs are the same")
    assert "reference and compiled" in found.reason
    assert ("executor", "reference", "compiled") in found.settings
    assert max(gap for _, gap in found.gaps) < 1e-6


def test_other_starts_programs_and_networks(run: bp.Run) -> None:
    found = compare(run, again(run, seed=1))
    assert (found.step, found.reason, found.tensor) == (0, "the start", "W1")
    found = compare(run, again(run, l2=0.1))
    assert found.step == 1
    assert found.reason == "their programs differ"
    assert any("l2" in line and line.startswith("+ ") for line in found.program)
    assert not any(line.startswith("- z1") for line in found.program)
    found = compare(run, again(run, optimizer=SGD(0.1)))
    assert not found.comparable
    assert "cannot be compared step by step: only A has c_m" in found.claim
    wide = bp.Network([bp.Dense(9, "sigmoid"), bp.Dense(3, "softmax")])
    found = compare(run, again(run, network=wide))
    assert "W1 is f32[6,8] in A and f32[6,9] in B" in found.claim


def test_other_data_are_said(run: bp.Run) -> None:
    X, y = data()
    X = X.copy()
    X[5] += 0.5
    found = compare(run, train(rows_of=(X, y), stop=None, epochs=12))
    assert {name for name, _, _ in found.settings} >= {"data.contents", "data.source"}
    assert found.step is not None
    assert found.reason.startswith("x differs (rows of the same numbers, with other contents)")


def test_data_that_are_gone_leave_what_the_records_say(run: bp.Run, tmp_path: Path) -> None:
    X, y = data()
    np.savez(tmp_path / "d.npz", X=X, y=y)
    other = train(rows_of=str(tmp_path / "d.npz"), out=tmp_path / "a", stop=None, epochs=12)
    other.branch(70, lr=0.001, out=tmp_path / "b")
    (tmp_path / "d.npz").unlink()
    found = compare(run, bp.load(tmp_path / "b"))
    assert found.step is None
    assert found.apart is not None
    assert found.apart > 70
    assert "The very step cannot be found here" in found.claim


def test_the_first_cost_that_differs_is_found(run: bp.Run) -> None:
    other = bp.load(run.path)
    assert first_cost_apart(other.replay, 0, other.steps) is None
    other.record.costs = [other.costs]
    other.record.costs[0][56] += 1e-12
    assert first_cost_apart(other.replay, 10, other.steps) == 57


def test_at_the_command_line_and_in_every_form(run: bp.Run, tmp_path: Path, backpass: Command) -> None:
    run.branch(60, lr=0.001, out=tmp_path / "b")
    found = backpass("diff", str(run.path), str(tmp_path / "b"), "--json")
    assert found.code == 0, found.err
    assert found.object["question"] == "diff"
    step = found.object["step"]
    shown = backpass("diff", str(run.path), str(tmp_path / "b")).out
    assert f"part in step {step:,}" in shown
    assert "Compared at" in shown
    for form in ("markdown", "latex", "html"):
        assert backpass("diff", str(run.path), str(tmp_path / "b"), "--format", form).code == 0
    backpass("diff", str(run.path), "nowhere").fails(4, "no run folder")
    assert run.diff(bp.load(tmp_path / "b")).step == step
