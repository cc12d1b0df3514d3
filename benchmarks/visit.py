"""How long it takes to visit a step of a run, and what recording costs.

    python benchmarks/visit.py

A net 784-30-10 takes 10,000 steps of 10 rows, several times: by the bare loop, with the record in memory, and
with the run folder. Then the run is loaded from its folder and 20 random steps are visited in random order;
each state is compared bit for bit with that of another loop, which went there from the start.

Data: 50,000 rows of the folder "mnist" in $BACKPASS_DATA, or in shared/data beside the repository; random
numbers of that size without it.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import backpass as bp
from backpass.data import Dataset, load
from backpass.exec.base import Loop
from backpass.exec.choose import compile_loop

ROWS, BATCH, EPOCHS, ROUNDS, VISITS = 50_000, 10, 2, 5, 20
STEPS = ROWS // BATCH * EPOCHS


def rows(path: Path) -> str:
    """Write the rows to a file, as a user has them; what they are."""
    shared = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("BACKPASS_DATA", shared)) / "mnist"
    if folder.is_dir():
        digits = load(folder)
        np.savez(path, X=digits.X[:ROWS], y=digits.y[:ROWS])
        return "MNIST"
    rng = np.random.default_rng(0)
    np.savez(path, X=rng.integers(0, 256, (ROWS, 784), dtype=np.uint8), y=rng.integers(0, 10, ROWS))
    return "random numbers"


def train(data: Dataset, out: Path | None) -> bp.Run:
    net = bp.Network([bp.Dense(30, "sigmoid"), bp.Dense(10, "softmax")])
    sgd = bp.SGD(0.5)
    return bp.train(
        net, data, optimizer=sgd, batch=BATCH, epochs=EPOCHS, seed=1, executor="compiled", out=out
    )


def at_the_start(run: bp.Run) -> Loop:
    """Another loop of the run's step, with the weights that the run started from."""
    loop, why = compile_loop(run.graph, run.rows.arrays, BATCH, STEPS, "compiled")
    if loop.name != "compiled":
        sys.exit(why)
    loop.load(run.record.checkpoints[0])
    return loop


def go(run: bp.Run, loop: Loop, start: int, stop: int) -> float:
    """Take steps by the bare loop; the seconds."""
    began = time.perf_counter()
    loop.run(*run.record.batches.span(start, stop), run.record.numbers(start, stop))
    return time.perf_counter() - began


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(a[k].tobytes() == b[k].tobytes() for k in a)


def spread(seconds: list[float]) -> str:
    return f"median {statistics.median(seconds):.4f} s, {min(seconds):.4f} to {max(seconds):.4f}"


def measure(scratch: Path) -> bool:
    """Print all numbers; whether every state was equal."""
    name = rows(scratch / "rows.npz")
    data = load(scratch / "rows.npz")
    print(f"784-30-10, sigmoid, batch {BATCH}, {STEPS:,} steps, f32, {name}")

    run = train(data, None)  # compiles

    def bare(_: Path) -> float:
        loop = at_the_start(run)
        run.record.batches.__dict__.pop("_orders", None)  # the bare loop draws its orders too
        return go(run, loop, 0, STEPS)

    ways: dict[str, Callable[[Path], float]] = {
        "bare loop": bare,
        "record in memory": lambda _: train(data, None).record.outcome.seconds,
        "record in a folder": lambda out: train(data, out).record.outcome.seconds,
    }
    taken: dict[str, list[float]] = {what: [] for what in ways}
    for turn in range(ROUNDS):
        for k in range(len(ways)):
            what = list(ways)[(k + turn) % len(ways)]
            taken[what].append(ways[what](scratch / f"run-{turn}"))
    kept = bp.load(scratch / "run-0")
    for what, seconds in taken.items():
        extra = statistics.median(seconds) / statistics.median(taken["bare loop"]) - 1
        print(f"  training, {what + ':':20s} {spread(seconds)}, {100 * extra:+.0f} %")
    files = [path for path in kept.path.rglob("*") if path.is_file()]
    checkpoints = len(kept.record.checkpoints)
    print(
        f"  run folder: {sum(path.stat().st_size for path in files) / 1e6:.1f} MB in {len(files)} files, "
        f"{checkpoints} checkpoints, one every {kept.settings.spacing} steps"
    )

    began = time.perf_counter()
    run = bp.load(kept.path)
    run.at(STEPS // 2)["δ1"]
    print(f"  load the run, read its rows, make the loop, first visit: {time.perf_counter() - began:.2f} s")
    rng = np.random.default_rng(7)
    chosen = rng.choice(np.arange(1, STEPS + 1), VISITS, replace=False)
    seconds, states = [], {}
    for step in chosen:
        began = time.perf_counter()
        visit = run.at(int(step))
        visit["δ1"]
        seconds.append(time.perf_counter() - began)
        states[int(step)] = visit.before
    print(f"  run.at(step)['δ1'], {VISITS} random steps: {spread(seconds)}")

    loop, done, equal = at_the_start(kept), 0, 0
    for step in sorted(states):
        go(kept, loop, done, step - 1)
        done = step - 1
        equal += same(states[step], loop.state())
    go(kept, loop, done, STEPS)
    end = same(loop.state(), kept.record.last())
    print(f"  states equal bit for bit to a replay from the start: {equal} of {VISITS}; final weights: {end}")

    asked, balanced = [], 0
    for step in chosen:
        visit = run.at(int(step))
        target = f"W2[{rng.integers(30)},{rng.integers(10)}]"
        began = time.perf_counter()
        answer = visit.why(target)
        asked.append(time.perf_counter() - began)
        balanced += abs(answer.rounding) <= answer.bound
    print(f"  why, at a visited step: {spread(asked)}; balance within its bound: {balanced} of {VISITS}")
    return equal == VISITS and end and balanced == VISITS


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="backpass-visit-") as scratch:
        sys.exit(0 if measure(Path(scratch)) else 1)


if __name__ == "__main__":
    main()
