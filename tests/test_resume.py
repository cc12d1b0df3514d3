"""A run that was stopped goes on, and becomes the run that it would have been."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import Command
from going import as_killed, assert_equal, data, interrupted, train

import backpass as bp
from backpass.errors import NonFinite, RecordError, StorageError, UsageError
from backpass.record import store
from backpass.record.checkpoints import Spacing
from backpass.record.lock import Lock


@pytest.fixture(scope="module")
def whole() -> bp.Run:
    return train()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backpass.fit.spacing_for", lambda *_: Spacing(9, 4))
    monkeypatch.setattr(store, "_PAUSE", 0.0)


_LONGER = (pytest.param(step, marks=pytest.mark.slow) for step in (11, 77, 150, 198))


@pytest.mark.parametrize("step", [1, 50, 319, *_LONGER])
def test_a_resumed_run_is_the_unbroken_one(step: int, tmp_path: Path, whole: bp.Run) -> None:
    """At epochs' ends and between them, at the best state and where the rate falls."""
    assert whole.status == "stopped early"
    assert len(whole.record.outcome.events) > 5
    interrupted(tmp_path / "a", step)
    assert bp.load(tmp_path / "a").steps == step
    run = bp.resume(tmp_path / "a", data())
    assert_equal(run, whole)
    loaded = bp.load(tmp_path / "a", data())
    assert_equal(loaded, whole)
    assert loaded.verify() == whole.steps
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        "checkpoints", "graph.json", "predict.json", "record.sqlite", "rows.safetensors", "run.json",
        "weights.safetensors",
    ]  # fmt: skip


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("step", [200, *(pytest.param(step, marks=pytest.mark.slow) for step in (40, 300))])
def test_what_did_not_reach_the_disk_is_computed_again(step: int, tmp_path: Path, whole: bp.Run) -> None:
    """Costs and looks lost, the last checkpoints torn, and the best state of a later one."""
    path = as_killed(interrupted(tmp_path / "a", step))
    marks = sorted((path / "checkpoints").glob("*.safetensors"))
    for mark in marks[-2:]:
        mark.write_bytes(mark.read_bytes()[:-3])
    with sqlite3.connect(path / "record.sqlite") as database:
        database.execute("DELETE FROM costs")
        database.execute("DELETE FROM hashes WHERE step > 20")
        database.execute("DELETE FROM monitors")
    (path / ".run.json.123.tmp").write_bytes(b"half of it")
    (path / "checkpoints" / "000000999.safetensors").write_bytes(b"of later")
    run = bp.resume(path, data())
    assert_equal(run, whole)
    assert_equal(bp.load(path, data()), whole)
    assert not list(path.rglob(".*tmp*"))
    assert bp.load(path).verify() == whole.steps


def test_a_best_state_that_is_lost_is_computed_again(tmp_path: Path, whole: bp.Run) -> None:
    path = as_killed(interrupted(tmp_path / "a", 300))
    best = bp.load(path).record.outcome.best_step
    assert best == whole.record.outcome.best_step == 198
    (path / "checkpoints" / f"{best:09d}.safetensors").unlink()
    assert_equal(bp.resume(path, data()), whole)


@pytest.mark.usefixtures("often")
def test_stopped_again_and_again(tmp_path: Path, whole: bp.Run) -> None:
    from going import Interrupt

    path = interrupted(tmp_path / "a", 30)
    for step in (31, 100, 101, 250):
        with pytest.raises(KeyboardInterrupt):
            bp.resume(path, data(), callbacks=[Interrupt(step)])
        assert bp.load(path).steps == step
    assert_equal(bp.resume(path, data()), whole)


def test_a_run_stopped_where_it_was_to_end_ends_there(tmp_path: Path, whole: bp.Run) -> None:
    path = interrupted(tmp_path / "a", whole.steps)
    assert_equal(bp.resume(path, data()), whole)
    path = as_killed(interrupted(tmp_path / "b", whole.steps))
    with sqlite3.connect(path / "record.sqlite") as database:
        database.execute("DELETE FROM monitors")
    assert_equal(bp.resume(path, data()), whole)
    assert bp.load(path).verify() == whole.steps


def test_a_time_limit_adds_up_and_is_over_when_it_has_ended_the_run(tmp_path: Path) -> None:
    limited = train(out=tmp_path / "a", time_limit=1e-6, stop=None, epochs=12)
    assert limited.status == "time limit"
    spent = limited.record.outcome.seconds
    run = bp.resume(tmp_path / "a", data())
    assert run.status == "finished"
    assert run.record.outcome.seconds > spent
    assert_equal(run, train(stop=None, epochs=12))


def test_a_run_of_a_file_is_resumed_from_the_file(tmp_path: Path) -> None:
    X, y = data()
    np.savez(tmp_path / "d.npz", X=X, y=y)
    path = interrupted(tmp_path / "a", 100, rows_of=str(tmp_path / "d.npz"))
    assert_equal(bp.resume(path), train(rows_of=str(tmp_path / "d.npz")))


def test_data_that_have_changed_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    X, y = data()
    np.savez(tmp_path / "d.npz", X=X, y=y)
    path = interrupted(tmp_path / "a", 100, rows_of=str(tmp_path / "d.npz"))
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    np.savez(tmp_path / "d.npz", X=X + 1e-9, y=y)
    with pytest.raises(RecordError, match="have changed"):
        bp.resume(path)
    (tmp_path / "d.npz").unlink()
    with pytest.raises(Exception, match=r"d\.npz"):
        bp.resume(path)
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before


def test_rows_that_were_held_out_in_memory_are_asked_for(tmp_path: Path) -> None:
    path = interrupted(tmp_path / "a", 100)
    with pytest.raises(
        RecordError, match=r"validation rows of this run came from memory[\s\S]*data=\(X, y\)"
    ):
        bp.resume(path)
    assert not (path / "lock").exists()


def test_runs_that_have_ended_are_not_resumed(tmp_path: Path) -> None:
    train(out=tmp_path / "a", epochs=2)
    with pytest.raises(UsageError, match=r"is finished[\s\S]*backpass branch .*a --at 22 --epochs 4"):
        bp.resume(tmp_path / "a", data())
    train(out=tmp_path / "b")
    with pytest.raises(UsageError, match="ended by its own rule"):
        bp.resume(tmp_path / "b", data())
    X, y = data()
    net = bp.Network([bp.Dense(8, "relu"), bp.Dense(1)])
    with pytest.raises(NonFinite):
        bp.train(net, (X, y * 0.5), optimizer=bp.SGD(1e4), out=tmp_path / "c", executor="reference")
    with pytest.raises(UsageError, match=r"diverged[\s\S]*backpass branch"):
        bp.resume(tmp_path / "c")
    with pytest.raises(RecordError, match="no run folder"):
        bp.resume(tmp_path / "nowhere")


def test_two_processes_do_not_write_one_folder(tmp_path: Path) -> None:
    path = interrupted(tmp_path / "a", 100)
    held = Lock(path)
    with pytest.raises(StorageError, match=f"another process is writing .*: process {os.getpid()} on"):
        bp.resume(path, data())
    held.release()
    assert bp.resume(path, data()).status == "stopped early"


def test_a_run_that_is_going_on_is_not_resumed(tmp_path: Path) -> None:
    tried = []

    def begun(run: bp.Run) -> None:
        with pytest.raises(StorageError, match="another process is writing"):
            bp.resume(tmp_path / "a", data())
        tried.append(run)

    train(out=tmp_path / "a", epochs=2, begun=begun)
    assert tried


def test_the_lock_of_a_process_that_is_gone_does_not_count(tmp_path: Path) -> None:
    path = interrupted(tmp_path / "a", 100)
    code = "import sys, os, signal; from pathlib import Path; from backpass.record.lock import Lock\n"
    code += "held = Lock(Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert (path / "lock").read_text().startswith("process ")
    assert bp.resume(path, data()).status == "stopped early"
    assert not (path / "lock").exists()


def test_a_lock_of_another_machine_is_said(tmp_path: Path) -> None:
    path = interrupted(tmp_path / "a", 100)
    (path / "lock").write_text("process 17 on elsewhere.example\n")
    with pytest.raises(StorageError, match=r"process 17 on elsewhere[\s\S]*remove .*lock"):
        bp.resume(path, data())


def test_a_hostile_database_takes_no_part(tmp_path: Path) -> None:
    path = as_killed(interrupted(tmp_path / "a", 100))
    with sqlite3.connect(path / "record.sqlite") as database:
        database.execute("CREATE TRIGGER t AFTER INSERT ON costs BEGIN DELETE FROM hashes; END")
    run = bp.resume(path, data())
    with sqlite3.connect(path / "record.sqlite") as database:
        assert database.execute("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'").fetchone() == (
            0,
        )
        assert database.execute("SELECT count(*) FROM hashes").fetchone()[0] == len(run.record.hashes) > 0


def test_at_the_command_line(tmp_path: Path, backpass: Command) -> None:
    X, y = data()
    np.savez(tmp_path / "d.npz", X=X, y=y)
    options = {"rows_of": str(tmp_path / "d.npz")}
    path = interrupted(tmp_path / "a", 100, **options)
    shutil.copytree(path, tmp_path / "b")
    backpass("train", "--resume", str(path), "--lr", "0.1").fails(2, "--lr goes with a new training")
    backpass("train", "d.npz", "--resume", str(path)).fails(2, "'d.npz' goes with a new training")
    backpass("train", "--resume", str(path), "--seed", "3").fails(2, "--seed goes with a new training")
    backpass("train").fails(2, "something is missing after train")
    backpass("train", "--resume", str(tmp_path)).fails(4, "is not a run folder")
    said = backpass("train", "--resume", str(path), "--json")
    assert said.code == 0, said.err
    assert said.object["status"] == "stopped early"
    assert "after step 100 of" in said.err
    assert (path / "report.html").exists()
    assert_equal(bp.load(path), train(**options))
    backpass("train", "--resume", str(path)).fails(2, "nothing to resume")
    file = json.loads((tmp_path / "b" / "run.json").read_text())
    assert file["outcome"]["status"] == "interrupted"
