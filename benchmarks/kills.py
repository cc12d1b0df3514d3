"""Kill trainings at random moments, resume each, and compare with one that was never stopped.

    python benchmarks/kills.py 200

Each training is a process of its own that is killed (SIGKILL) after a random part of the time that it takes;
every third is killed a second time while it is resumed. Checkpoints are written as often as possible, so that
many kills fall into a write. Prints how many runs could not be read, and how many were not bit-equal to the
unbroken one.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHILD = """
import sys
import backpass as bp, backpass.fit
from backpass.record import store
from backpass.record.checkpoints import Spacing
store._PAUSE = 0.0
backpass.fit.spacing_for = lambda *_: Spacing(7, 5)
def go(folder, again):
    told = lambda run: print("begun", flush=True)
    if again:
        return bp.resume(folder, begun=told)
    net = bp.Network([bp.Dense(12, "tanh"), bp.Dense(10, "softmax")])
    lr = bp.schedules.OnPlateau(0.02, patience=2)
    return bp.train(net, "digits", optimizer=bp.Adam(lr), epochs=9, validation=0.2, out=folder,
                    stop=bp.EarlyStopping(6), executor="reference", begun=told)
if __name__ == "__main__":
    go(sys.argv[1], sys.argv[2] == "again")
"""


def killed(folder: Path, again: bool, seconds: float) -> bool:
    """Train in a process that is killed after so many seconds; whether it was still going then."""
    words = [sys.executable, "-c", CHILD, str(folder), "again" if again else "train"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    process.stdout.readline()  # the folder is there now: what Python needs to begin does not count
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def one(given: tuple[int, float, Path]) -> tuple[str, int]:
    """Kill one training, resume it, and compare: what came of it, and from which step it was resumed."""
    import backpass as bp
    from backpass.errors import BackpassError

    number, length, whole = given
    chance = random.Random(number)
    parent = Path(tempfile.mkdtemp())
    folder = parent / "run"
    try:
        hit = killed(folder, False, chance.random() * length)
        if hit and number % 3 == 0 and (folder / "run.json").exists():
            killed(folder, True, chance.random() * length)
        if not (folder / "run.json").exists():
            return "not begun", 0
        try:
            run = bp.load(folder)
            run.verify()
            start = run.steps
            if run.status == "running":
                run = bp.resume(folder)
        except BackpassError as error:
            return f"unreadable: {error}", 0
        same = equal(run, bp.load(whole)) and equal(bp.load(folder), bp.load(whole))
        return ("equal" if same else "different"), start
    finally:
        shutil.rmtree(parent)


def equal(run: object, other: object) -> bool:
    """Whether two runs have the same states, costs, history, events, looks and result, bit for bit."""
    a, b = run.record, other.record  # type: ignore[attr-defined]
    states = [{k: v.tobytes() for k, v in x.last().items()} for x in (a, b)]
    results = [{k: v.tobytes() for k, v in x.result().items()} for x in (a, b)]
    return (
        states[0] == states[1]
        and results[0] == results[1]
        and a.all_costs().tobytes() == b.all_costs().tobytes()
        and a.outcome.epochs == b.outcome.epochs
        and a.outcome.events == b.outcome.events
        and (a.outcome.status, a.outcome.best_step) == (b.outcome.status, b.outcome.best_step)
        and a.outcome.metrics == b.outcome.metrics
        and a.monitors.steps.tolist() == b.monitors.steps.tolist()
    )


def main(count: int) -> int:
    """Kill so many trainings; the exit code is 0 if all is well."""
    parent = Path(tempfile.mkdtemp())
    whole = parent / "whole"
    words = [sys.executable, "-c", CHILD, str(whole), "train"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        began = time.monotonic()
        process.wait()
        length = time.monotonic() - began
    print(f"an unbroken training takes {length:.1f} s")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        work = [(number, length, whole) for number in range(count)]
        found = []
        for what in pool.imap_unordered(one, work):
            found.append(what)
            print(f"{len(found)}/{count} {what[0]}", file=sys.stderr)
    shutil.rmtree(parent)
    words = [what for what, _ in found]
    for what in sorted(set(words)):
        print(f"{words.count(what):4d} {what}")
    steps = sorted(step for what, step in found if what == "equal")
    print(f"resumed from steps {steps[0] if steps else '-'} to {steps[-1] if steps else '-'}")
    return 0 if set(words) <= {"equal", "not begun"} else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
