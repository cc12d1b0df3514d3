"""A branch shares the steps before it with another run, bit for bit, and goes its own way after them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from command import Command
from going import assert_equal, data, interrupted, train

import backpass as bp
from backpass.errors import RecordError, UsageError
from backpass.record.settings import FORMAT
from backpass.running.branching import rows_to_drop
from backpass.training.optimisers import SGD
from backpass.training.schedules import Cosine, OnPlateau


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bp.Run:
    return train(out=tmp_path_factory.mktemp("runs") / "whole")


def same_until(a: bp.Run, b: bp.Run, step: int) -> None:
    """The shared steps: states, costs, batches and numbers."""
    assert a.costs[:step].tobytes() == b.costs[:step].tobytes()
    for s in sorted({1, 2, step // 2, step - 1, step} - {0, -1}):
        one, other = a.at(s), b.at(s)
        assert one.rows.tolist() == other.rows.tolist()
        assert all(one.feeds[n].tobytes() == other.feeds[n].tobytes() for n in one.feeds)
        assert all(one.after[n].tobytes() == other.after[n].tobytes() for n in one.after)
    assert [row for row in a.history if row["step"] <= step] == [r for r in b.history if r["step"] <= step]
    assert [s for s in a.monitors.steps if s <= step] == [s for s in b.monitors.steps if s <= step]


@pytest.mark.parametrize("at", [0, 1, 11, 50, 198, 329])
def test_without_a_change_it_is_the_run_again(at: int, whole: bp.Run, tmp_path: Path) -> None:
    """At epochs' ends and between them, before and after the best state and where the rate falls."""
    branch = whole.branch(at, out=tmp_path / "b")
    assert_equal(branch, whole)
    loaded = bp.load(tmp_path / "b", data())
    assert_equal(loaded, whole)
    assert loaded.verify() == whole.steps
    (fork,) = loaded.settings.branches
    assert (fork.step, fork.run) == (at, str(whole.path))


def test_every_step_of_it_can_be_visited_and_asked(whole: bp.Run, tmp_path: Path) -> None:
    whole.branch(100, lr=0.01, drop_rows="0-20", epochs=50, out=tmp_path / "b")
    branch = bp.load(tmp_path / "b", data())
    assert branch.verify() == branch.steps > 100
    same_until(whole, branch, 100)
    dropped = set(range(21))
    for step in (100, 101, branch.steps):
        visit = branch.at(step)
        assert bool(dropped & set(visit.rows.tolist())) == (step == 100)
        assert float(visit.feeds["lr"]) == np.float32(0.01 if step > 100 else whole.at(step).feeds["lr"])
        assert visit.why("W2[3,1]").balanced
        assert visit["C"] == pytest.approx(branch.costs[step - 1], rel=1e-5)


def test_dropped_rows_leave_the_rest_in_its_order(whole: bp.Run) -> None:
    branch = whole.branch(15, drop_rows=[int(whole.rows.numbers[3])], epochs=4)
    batches, old = branch.record.batches, whole.record.batches
    for epoch in range(4):
        rows = batches.span(batches.first_step(epoch), batches.first_step(epoch + 1))[0].tolist()
        before = old.epoch(epoch).tolist()
        if epoch == 1 and 3 in before[:28]:  # used in the first four batches, which both share
            assert rows == before
        elif epoch:
            assert rows == [row for row in before if row != 3]
        else:
            assert rows == before


def test_numbers_of_the_program_change_there_and_not_before() -> None:
    run = train(optimizer=SGD(Cosine(0.2), 0.9, decay=0.01), epochs=6, stop=None, l2=0.1)
    branch = run.branch(20, numbers={"momentum": 0.0, "decay": 0.0, "l2": 0.5}, epochs=12)
    same_until(run, branch, 20)
    before, after = branch.at(20).feeds, branch.at(21).feeds
    assert [float(before[n]) for n in ("momentum", "decay", "l2")] == pytest.approx([0.9, 0.01, 0.1])
    assert [float(after[n]) for n in ("momentum", "decay", "l2")] == [0.0, 0.0, 0.5]
    rate = Cosine(0.2)
    longer = branch.record.batches.steps
    assert float(after["lr"]) == pytest.approx(0.1 * (1 + np.cos(np.pi * 20 / longer)), rel=1e-6)
    assert float(before["lr"]) == pytest.approx(0.1 * (1 + np.cos(np.pi * 19 / run.steps)), rel=1e-6)
    assert rate.lr == 0.2
    assert branch.verify() == longer


def test_a_new_schedule_does_not_know_what_the_old_one_decided(whole: bp.Run, tmp_path: Path) -> None:
    before = [event for event in whole.record.outcome.events if event.step <= 100]
    assert before
    branch = whole.branch(100, lr=OnPlateau(0.02, patience=3), out=tmp_path / "b")
    assert float(branch.at(101).feeds["lr"]) == np.float32(0.02)
    assert float(branch.at(100).feeds["lr"]) == np.float32(0.005)
    assert branch.record.outcome.events[: len(before)] == before
    later = [event.step for event in branch.record.outcome.events[len(before) :]]
    assert min(later) > 100 + 3 * 11
    assert bp.load(tmp_path / "b", data()).verify() == branch.steps


def test_a_branch_of_a_branch(whole: bp.Run, tmp_path: Path) -> None:
    first = whole.branch(60, lr=0.02, drop_rows="0-9", out=tmp_path / "b")
    second = bp.load(first.path, data()).branch(90, lr=0.005, drop_rows="10-19", out=tmp_path / "c")
    loaded = bp.load(tmp_path / "c", data())
    same_until(whole, loaded, 60)
    same_until(first, loaded, 90)
    assert not set(range(20)) & set(loaded.at(loaded.steps).rows.tolist())
    assert loaded.verify() == second.steps
    earlier = loaded.branch(30)  # before all of that: what held there goes on
    assert_equal(earlier, whole)


def test_a_branch_of_a_finished_run_goes_on_longer() -> None:
    run = train(epochs=3, stop=None)
    branch = run.branch(run.steps, epochs=5)
    assert branch.steps == 55
    assert branch.verify() == 55
    longer = train(epochs=5, stop=None)
    assert branch.costs.tobytes() == longer.costs.tobytes()
    assert branch.history == longer.history
    assert branch.metrics == longer.metrics
    with pytest.raises(UsageError, match=r"nothing is left to do[\s\S]*--epochs 6"):
        run.branch(run.steps)


def test_a_branch_of_a_stopped_run_gets_its_patience_anew(whole: bp.Run) -> None:
    branch = whole.branch(whole.steps, lr=1e-4, epochs=60)
    assert branch.steps > whole.steps + 11 * 11
    assert branch.record.outcome.best_step is not None


def test_a_branch_is_stopped_and_resumed(whole: bp.Run, tmp_path: Path) -> None:
    from going import Interrupt

    with pytest.raises(KeyboardInterrupt):
        whole.branch(60, lr=0.01, drop_rows="3-9", out=tmp_path / "b", callbacks=[Interrupt(140)])
    assert_equal(bp.resume(tmp_path / "b", data()), whole.branch(60, lr=0.01, drop_rows="3-9"))


def test_a_branch_of_a_torn_run_and_of_one_with_a_given_order(tmp_path: Path) -> None:
    path = interrupted(tmp_path / "a", 50)
    (path / "record.sqlite").unlink()
    branch = bp.load(path, data()).branch(40, out=tmp_path / "b")
    assert branch.costs.tobytes() == train().costs.tobytes()
    ordered = train(order=lambda e: np.roll(np.arange(72), e)[: 60 + e], epochs=5, stop=None)
    ordered.save(tmp_path / "o")
    other = ordered.branch(30, drop_rows=ordered.rows.numbers[[5, 6]], out=tmp_path / "p")
    loaded = bp.load(tmp_path / "p", data())
    assert loaded.verify() == other.steps
    same_until(ordered, loaded, 30)
    assert not {5, 6} & set(loaded.record.batches.span(30, other.steps)[0].tolist())
    with pytest.raises(UsageError, match="order of the rows was given for 5 epochs"):
        ordered.branch(30, epochs=9)


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_shared_checkpoints_take_no_room(whole: bp.Run, tmp_path: Path) -> None:
    branch, name = whole.branch(250, out=tmp_path / "b"), "checkpoints/000000000.safetensors"
    assert branch.path is not None
    assert whole.path is not None
    assert (branch.path / name).samefile(whole.path / name)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"at": 331}, "no step 331 to branch at: this run has steps 0"),
        ({"at": -1}, "no step -1"),
        ({"at": 1.5}, "no step 1.5"),
        ({"at": 9, "numbers": {"momentun": 0.5}}, "no number 'momentun'"),
        ({"at": 9, "numbers": {"bata1": 0.5}}, "Did you mean 'beta1'"),
        ({"at": 9, "numbers": {"beta1": 1.5}}, "beta1 must be a number"),
        ({"at": 9, "lr": -1.0}, "lr must be a number"),
        ({"at": 9, "epochs": 0}, "epochs must be a whole number"),
        ({"at": 30, "epochs": 2}, "nothing is left to do"),
        ({"at": 9, "drop_rows": "0-89"}, "nothing is left"),
        ({"at": 9, "drop_rows": "5-3"}, "neither the number of a row"),
        ({"at": 9, "drop_rows": "all"}, "neither the number of a row"),
        ({"at": 9, "drop_rows": [0.5]}, "whole numbers"),
        (
            {"at": 9, "drop_rows": [90]},
            r"row 90 is not among the 72 rows[\s\S]*rows 0 to 89[\s\S]*nearest that is: 88",
        ),
    ],
)
def test_what_cannot_be(options: dict, said: str, whole: bp.Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        whole.branch(**options, out=tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_row_that_is_held_out_is_told_with_the_nearest() -> None:
    numbers = np.array([8, 2, 5])
    with pytest.raises(UsageError, match=r"row 3 is not among the 3 rows .* held out[\s\S]*are: 2 and 5\."):
        rows_to_drop([3], numbers, 10)
    with pytest.raises(UsageError, match=r"the rows 6 to 7 are not among"):
        rows_to_drop("6-7", numbers, 10)
    assert rows_to_drop("3-8", numbers, 10).tolist() == [0, 2]


def test_a_branch_that_a_file_makes_up_is_refused(whole: bp.Run, tmp_path: Path) -> None:
    path = whole.branch(50, drop_rows="0-9", epochs=20, out=tmp_path / "b").path
    good = json.loads((path / "run.json").read_text())
    for field, value in (
        ("step", 10**15), ("step", -1), ("dropped", "0-99999999999"), ("dropped", "x"), ("epochs", -1),
        ("optimiser", {"name": "sgd", "lr": 0.1, "momentum": "much"}), ("l2", "x"), ("optimiser", {}),
    ):  # fmt: skip
        file = json.loads(json.dumps(good))
        file["settings"]["branches"][0][field] = value
        (path / "run.json").write_text(json.dumps(file))
        try:
            bp.load(path)
        except RecordError:
            continue
        assert field == "epochs", f"{field} = {value!r} was read"


def test_a_run_of_the_format_before_is_read(whole: bp.Run, tmp_path: Path) -> None:
    path = whole.save(tmp_path / "old")
    file = json.loads((path / "run.json").read_text())
    del file["settings"]["branches"]
    file["format"] = FORMAT - 1
    (path / "run.json").write_text(json.dumps(file))
    assert bp.load(path).verify() == whole.steps
    file["format"] = FORMAT + 1
    (path / "run.json").write_text(json.dumps(file))
    with pytest.raises(RecordError, match="Install the newer version"):
        bp.load(path)


def test_at_the_command_line(tmp_path: Path, backpass: Command) -> None:
    X, y = data()
    np.savez(tmp_path / "d.npz", X=X, y=y)
    run = train(rows_of=str(tmp_path / "d.npz"), out=tmp_path / "a", stop=None, epochs=6)
    rows = tmp_path / "rows.txt"
    rows.write_text("\n".join(map(str, run.rows.numbers[:3])) + "\n")
    out = tmp_path / "b"
    words = ("branch", str(run.path), "--at", "20", "--lr", "0.01", "--set", "beta1=0.5", "--drop-rows")
    said = backpass(*words, str(rows), "--epochs", "8", "--out", str(out), "--json")
    assert said.code == 0, said.err
    assert "lr 0.01" in said.err
    assert said.object["run"] == str(out)
    branch = bp.load(out)
    assert branch.verify() == said.object["steps"]
    assert branch.settings.epochs == 8
    assert float(branch.at(21).feeds["beta1"]) == 0.5
    assert (out / "report.html").exists()
    said = backpass("branch", str(run.path), "--at", "20", "--set", "momentum=1")
    said.fails(2, "no number 'momentum'")
    assert not list(Path.cwd().glob("runs/*"))
    backpass("branch", str(run.path), "--at", "20", "--set", "beta1").fails(2, "--set momentum=0.5")
    backpass("branch", str(run.path), "--at", "20", "--drop-rows", "no.txt").fails(3, "no file no.txt")
    backpass("branch", str(run.path)).fails(2, "--at")
    backpass("branch", "nowhere", "--at", "3").fails(4, "no run folder")
