"""How long the ledger of one weight over a whole run takes, beside the run itself.

    python benchmarks/blame.py [STEPS]

Nets of three sizes take 20,000 steps, with SGD and with Adam. Then, in turns, the run's own kernel takes all
the steps again, the whole training runs again, and `blame` gives the ledger of a weight of the first layer by
example. Kernels are compiled before; what compiling the one that keeps numbers takes is printed beside.
Data are random numbers.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

import backpass as bp
from backpass.explain.blame import blame
from backpass.explain.updates.ledger import carried_back

STEPS, ROUNDS = 20_000, 5
NETS = {"784-100-10, batch 32": (784, 100, 10, 32), "64-32-10, batch 32": (64, 32, 10, 32),
        "4-16-3, batch 16": (4, 16, 3, 16)}  # fmt: skip
OPTIMISERS = {"SGD": bp.SGD(0.1), "Adam": bp.Adam(0.001)}


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main(steps: int) -> int:
    good = True
    for net, (inputs, hidden, outputs, batch) in NETS.items():
        epoch = 250
        rng = np.random.default_rng(0)
        y = rng.integers(0, outputs, epoch * batch)
        X = rng.standard_normal((len(y), inputs)).astype(np.float32)
        X[:, : min(inputs, outputs)] += np.eye(outputs, dtype=np.float32)[y][:, : min(inputs, outputs)]
        layers = bp.Network([bp.Dense(hidden, "relu"), bp.Dense(outputs, "softmax")])
        for called, optimiser in OPTIMISERS.items():

            def train() -> bp.Run:
                return bp.train(
                    layers, (X, y), batch=batch, epochs=steps // epoch, executor="compiled", seed=1,  # noqa: B023
                    optimizer=optimiser, test=None, validation=None,  # noqa: B023
                )  # fmt: skip

            run = train()
            replay, numbers = run.replay, run.rows.numbers
            target = "W1[2,3]"
            spare = seconds(lambda: blame(replay, numbers, target))  # noqa: B023
            record, loop = run.record, replay.loop

            def bare() -> None:
                record.load(loop, record.checkpoints[0])  # noqa: B023
                for start in range(0, record.outcome.steps, 1000):  # noqa: B023
                    record.run(loop, start, min(start + 1000, record.outcome.steps))  # noqa: B023
                replay._at = -1  # noqa: B023

            taken: dict[str, list[float]] = {"steps": [], "run": [], "blame": [], "carried": []}
            for _ in range(ROUNDS):
                taken["steps"].append(seconds(bare))
                taken["run"].append(seconds(train))
                taken["blame"].append(seconds(lambda: blame(replay, numbers, target)))  # noqa: B023
                if called == "Adam":
                    replay.state(steps // 2 - 1)
                    back = lambda: carried_back(replay, "W1", (2, 3), steps // 2, "m_W1")  # noqa: B023, E731
                    taken["carried"].append(seconds(back))
            answer = blame(replay, numbers, target)
            good &= answer.balanced
            ratios = [
                statistics.median(b / r for b, r in zip(taken["blame"], taken[key], strict=True))
                for key in ("run", "steps")
            ]
            middle = {key: statistics.median(values) for key, values in taken.items() if values}
            print(
                f"{net}, {called}: run {middle['run']:.3f} s, its steps alone {middle['steps']:.3f} s, blame "
                f"{middle['blame']:.3f} s: {ratios[0]:.2f} and {ratios[1]:.2f} times those; "
                f"the first {spare:.2f} s; {'balanced' if answer.balanced else 'NOT BALANCED'}"
                + (f"; carried back in {middle['carried'] * 1000:.0f} ms" if "carried" in middle else ""),
                flush=True,
            )
    return 0 if good else 1


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache:
        os.environ["BACKPASS_CACHE"] = cache
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else STEPS))
