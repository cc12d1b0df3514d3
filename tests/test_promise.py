"""What a replay on this machine is worth; and `backpass replay`, which says it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command import Command
from going import data, train
from msgspec.structs import replace
from safetensors.numpy import load_file, save_file

import backpass as bp
from backpass.exec.machine import cpu_name
from backpass.record import promise as rule
from backpass.record.promise import promise
from backpass.record.settings import Settings


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> bp.Run:
    folder = tmp_path_factory.mktemp("runs")
    X, y = data()
    np.savez(folder / "d.npz", X=X, y=y)
    return train(rows_of=str(folder / "d.npz"), out=folder / "a", stop=None, epochs=12)


@pytest.fixture(scope="module")
def compiled() -> bp.Run:
    run = train(executor="compiled", epochs=2)
    assert run.settings.machine.blas == rule.OWN
    return run


def elsewhere(settings: Settings, **changed: object) -> Settings:
    return replace(settings, machine=replace(settings.machine, **changed))


def test_here_it_is_the_same_bits(run: bp.Run, compiled: bp.Run) -> None:
    for found in (run, compiled):
        kept = promise(found.settings, found.replay.loop.blas_name())
        assert (kept.level, kept.bitwise) == ("L1", True)
        assert promise(found.settings) == kept


def test_another_processor_counts_only_where_it_decides(
    run: bp.Run, compiled: bp.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = promise(elsewhere(compiled.settings, cpu="Z80"))
    assert (kept.level, kept.bitwise) == ("L4", True)
    assert "Z80" in kept.words
    assert "fused multiply-add" in kept.words
    assert promise(elsewhere(compiled.settings, threads=64)).level == "L1"
    kept = promise(elsewhere(run.settings, cpu="Z80"))
    assert (kept.level, kept.bitwise) == ("L5", False)
    assert f"Z80 then, {cpu_name()} now" in kept.words
    monkeypatch.setattr(rule, "_fused", lambda: False)
    assert promise(elsewhere(compiled.settings, cpu="Z80")).level == "L5"


def test_versions_and_blas_count_by_executor(run: bp.Run, compiled: bp.Run) -> None:
    def with_version(settings: Settings, name: str) -> Settings:
        return elsewhere(settings, versions=settings.machine.versions | {name: "0.0"})

    assert promise(with_version(run.settings, "numpy")).words.count("numpy 0.0 then") == 1
    assert promise(with_version(run.settings, "llvmlite")).bitwise
    assert promise(with_version(compiled.settings, "numpy")).bitwise
    assert not promise(with_version(compiled.settings, "llvmlite")).bitwise
    assert not promise(with_version(compiled.settings, "backpass")).bitwise
    assert not promise(elsewhere(run.settings, blas="another 1.0")).bitwise
    assert not promise(compiled.settings, "another 1.0").bitwise


def test_any_number_of_threads_gives_the_bits_that_are_promised() -> None:
    """What `promise` takes for granted of kernels without BLAS."""
    run = train(executor="compiled", epochs=3, stop=None, batch=60)
    for threads in (1, 2, 3):
        run.replay.loop.threads = threads
        assert run.verify() == run.steps


def test_replay_and_verify(run: bp.Run, backpass: Command) -> None:
    path = str(run.path)
    found = backpass("replay", path, "--verify", "--json")
    assert found.code == 0, found.err
    record = run.record
    told = found.object
    assert (told["steps"], told["level"], told["bitwise"]) == (run.steps, "L1", True)
    assert told["marks"] == len(record.hashes.keys() | set(record.checkpoints))
    assert "bit-equal at all" in found.err
    there = backpass("replay", path, "--to", "40", "--json").object
    assert there["cost"] == run.costs[39]
    from backpass.record.checkpoints import digest

    assert there["hash"] == digest(run.replay.state(40))
    assert there["checkpoint"] <= 40
    assert backpass("replay", path, "--to", "0", "--json").object["cost"] is None
    assert backpass("replay", path).out.count("\n") >= 5
    backpass("replay", path, "--to", "99999").fails(2, "there is no step 99,999")
    backpass("replay", path, "--to", "-1").fails(2, "there is no step -1")
    backpass("replay", path, "--to", "3", "--verify").fails(2, "leave --to out")
    backpass("replay", str(Path(path).parent)).fails(4, "is not a run folder")


def test_a_replay_that_parts_from_the_run_says_where(run: bp.Run, backpass: Command, tmp_path: Path) -> None:
    path = Path(shutil.copytree(run.path, tmp_path / "a"))
    file = json.loads((path / "run.json").read_text())
    file["settings"]["optimiser"]["beta1"] = 0.8  # as if this machine calculated something else
    file["settings"]["machine"]["cpu"] = "Z80"
    (path / "run.json").write_text(json.dumps(file))
    found = backpass("replay", str(path), "--verify", "--json")
    assert found.code == 4
    told = found.object
    assert told["error"]["type"] == "ReplayMismatch"
    assert (told["before"], told["level"]) == (0, "L5")
    assert told["step"] == 2 or told["step"] == 3
    assert "Z80" in found.err


def test_a_changed_checkpoint_is_named_with_its_tensor(
    run: bp.Run, backpass: Command, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(run.path, tmp_path / "a"))
    (path / "record.sqlite").unlink()
    mark = path / "checkpoints" / f"{run.steps:09d}.safetensors"
    arrays = load_file(mark)
    arrays["b1"][0] += np.float32(1e-3)
    save_file(arrays, mark)
    found = backpass("replay", str(path), "--verify", "--json")
    assert found.code == 4
    assert found.object["tensor"] == "b1"
    assert found.object["mark"] == run.steps
    assert found.object["step"] is None
