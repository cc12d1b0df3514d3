"""How long it takes to visit a step of a long run whose record has to keep to its budget.

    python benchmarks/visits.py [EPOCHS]

A net 784-300-100-10 learns MNIST with Adam, batch 128: 256 epochs of 391 steps, 100,096 in all, or as many as
are asked for, recorded in a folder within 200 MB. Then the run is loaded, 30 random steps are visited in any
order, and after them the neighbours of the last. The training takes minutes; random numbers take the place of
MNIST where it is not.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from visit import rows

import backpass as bp

VISITS = 30


def seconds(run: bp.Run, step: int) -> float:
    """The time of a visit."""
    began = time.perf_counter()
    run.at(step)["δ1"]
    return time.perf_counter() - began


def main() -> None:
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 256
    with tempfile.TemporaryDirectory(prefix="backpass-visits-") as folder:
        scratch = Path(folder)
        print(rows(scratch / "rows.npz"))
        net = bp.Network([bp.Dense(300, "relu"), bp.Dense(100, "relu"), bp.Dense(10, "softmax")])
        bp.train(
            net, scratch / "rows.npz", optimizer=bp.Adam(0.001), batch=128, epochs=epochs, seed=1,
            executor="compiled", out=scratch / "run",
        )  # fmt: skip
        began = time.perf_counter()
        run = bp.load(scratch / "run")
        loaded = time.perf_counter() - began
        first = seconds(run, run.steps // 2)
        size = sum(path.stat().st_size for path in (scratch / "run" / "checkpoints").iterdir())
        print(
            f"{run.steps:,} steps, {1e3 * run.record.outcome.seconds / run.steps:.2f} ms each; "
            f"{len(run.record.checkpoints)} checkpoints, {size / 1e6:.0f} MB"
        )
        print(f"load {loaded:.2f} s, the first visit, with rows and kernel, {first:.2f} s")
        chosen = np.random.default_rng(7).choice(np.arange(1, run.steps + 1), VISITS, replace=False)
        taken = [seconds(run, int(step)) for step in chosen]
        print(f"{VISITS} random steps: median {statistics.median(taken):.2f} s, worst {max(taken):.2f} s")
        near = [seconds(run, max(1, int(chosen[-1]) - d)) for d in (1, 2, 3, 50, 100)]
        print(f"neighbours of the last: {min(near):.3f} to {max(near):.3f} s")


if __name__ == "__main__":
    main()
