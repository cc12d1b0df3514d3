"""Trainings that are killed (SIGKILL): each can be read, and resumed becomes the one that it would have been.

A process kills itself at a fraction of all it does that another process could see: of its disk accesses and
steps. Which fraction is drawn from a seed. `benchmarks/kills.py` does the same by the clock, 200 times.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPO
from going import assert_equal, data, train

import backpass as bp
from backpass.record import store
from backpass.record.checkpoints import Spacing

CHILD = """
import os, signal, sys
sys.path.insert(0, sys.argv[4])
import backpass as bp
import backpass.fit
from going import data, train
from backpass.record import scalars, store
from backpass.record.checkpoints import Spacing
from backpass.record.record import Record

store._PAUSE = 0.0
backpass.fit.spacing_for = lambda *_: Spacing(9, 4)
limit, count = int(sys.argv[2]), 0

def counted(what):
    def call(*given, **more):
        global count
        for _ in range(2):  # before it and after it
            if _:
                found = what(*given, **more)
            count += 1
            if count == limit:
                os.kill(os.getpid(), signal.SIGKILL)
        return found
    return call

for name in ("fsync", "replace", "unlink", "open", "ftruncate"):
    setattr(os, name, counted(getattr(os, name)))
scalars.Scalars.write = counted(scalars.Scalars.write)
Record.run = counted(Record.run)
if sys.argv[3] == "again":
    bp.resume(sys.argv[1], data())
else:
    train(out=sys.argv[1])
print(count)
"""


def child(folder: Path, limit: int, what: str) -> int:
    """What it did that could be counted; 0 if it was killed."""
    words = [sys.executable, "-c", CHILD, str(folder), str(limit), what, str(REPO / "tests")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode in (0, -9), done.stderr
    return int(done.stdout) if done.returncode == 0 else 0


@pytest.fixture(scope="module")
def whole() -> bp.Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backpass.fit.spacing_for", lambda *_: Spacing(9, 4))
        return train()


@pytest.fixture(scope="module")
def count(tmp_path_factory: pytest.TempPathFactory) -> int:
    found = child(tmp_path_factory.mktemp("count") / "a", 0, "train")
    assert found > 200
    return found


def check(folder: Path, whole: bp.Run) -> int:
    """Read and resume what is left; the step that it was resumed from."""
    if not (folder / "run.json").exists():
        return -1  # it has not begun
    run = bp.load(folder, data())
    assert run.verify() == run.steps
    start = run.steps
    if run.status == "running":
        run = bp.resume(folder, data())
    assert_equal(run, whole)
    assert_equal(bp.load(folder, data()), whole)
    assert bp.load(folder).verify() == whole.steps
    return start


pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.mark.slow
def test_killed_in_the_middle(tmp_path: Path, whole: bp.Run, count: int) -> None:
    assert not child(tmp_path / "a", count // 2, "train")
    assert 0 < check(tmp_path / "a", whole) < whole.steps


@pytest.mark.slow
@pytest.mark.parametrize("number", range(20))
def test_killed_anywhere(
    number: int, tmp_path: Path, whole: bp.Run, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_PAUSE", 0.0)
    chance = random.Random(number)
    folder = tmp_path / "a"
    assert not child(folder, 1 + int(chance.random() * count * 0.95), "train")
    if number % 3 == 0 and (folder / "run.json").exists():  # and killed again while it is resumed
        child(folder, 1 + int(chance.random() * count / 4), "again")
    check(folder, whole)
