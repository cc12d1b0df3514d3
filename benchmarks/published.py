"""Nielsen's curves "overfitting" (Neural Networks and Deep Learning, ch. 3), number by number.

    python benchmarks/published.py                          # 400 epochs, the compiled executor
    python benchmarks/published.py --executor reference
    python benchmarks/published.py --epochs 20

A net 784-30-10 of sigmoids with cross-entropy learns the first 1,000 digits of MNIST in float64. After each
epoch there are four numbers, which the author published: cost and number of right answers on the 10,000 test
digits, and the same on the 1,000 training digits. Python 2.7 and NumPy of 2015 drew the start and the orders;
both are drawn again here, bit for bit.

Data: the folders "mnist" and "nielsen-figures" in $BACKPASS_DATA, or in shared/data beside the repository.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

import backpass as bp
from backpass.training.evaluate import Evaluator

SEED, ROWS, BATCH = 12345678, 1000, 10


@dataclass(frozen=True)
class Curves:
    """Four numbers an epoch."""

    test_cost: np.ndarray
    test_right: np.ndarray
    train_cost: np.ndarray
    train_right: np.ndarray

    def counts_equal(self, other: Curves) -> np.ndarray:
        """Whether both counts of an epoch are the same, for each epoch."""
        return (self.test_right == other.test_right) & (self.train_right == other.train_right)

    def gap(self, other: Curves) -> float:
        """The largest difference of a cost."""
        pairs = ((self.test_cost, other.test_cost), (self.train_cost, other.train_cost))
        return max(float(np.max(np.abs(a - b))) for a, b in pairs)


def data_folder() -> Path:
    """Where the data sets are."""
    return Path(os.environ.get("BACKPASS_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def published(folder: Path, epochs: int = 400) -> Curves:
    """The author's numbers."""
    curves = json.loads((folder / "nielsen-figures" / "overfitting.json").read_text())
    return Curves(*(np.array(curve[:epochs]) for curve in curves))


def digits(folder: Path, part: str, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The first rows of "train" or "t10k": pixels, byte / 256, and labels."""
    with gzip.open(folder / "mnist" / f"{part}-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(16 + rows * 784)[16:], np.uint8).reshape(rows, 784)
    with gzip.open(folder / "mnist" / f"{part}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(8 + rows)[8:], np.uint8)
    return pixels / 256.0, labels.astype(np.int64)


def start() -> bp.Network:
    """The net with the author's first weights.

    His program draws a small start, then throws it away for a large one. His matrices have an output a row.
    """
    rng, sizes = np.random.RandomState(SEED), (784, 30, 10)
    for _ in ("small", "large"):
        biases = [rng.randn(n, 1) for n in sizes[1:]]
        weights = [rng.randn(n, m) for m, n in pairwise(sizes)]
    return bp.Network(
        [
            bp.Dense(n, "sigmoid", weights=W.T, bias=b[:, 0])
            for n, W, b in zip(sizes[1:], weights, biases, strict=True)
        ]
    )


def orders(epochs: int) -> np.ndarray:
    """The rows of each epoch as Python 2.7 shuffled them: one list, in place, epoch after epoch.

    `random.random` gives the same numbers in Python 2 and 3 for a whole seed; `random.shuffle` does not.
    """
    rng, rows, found = random.Random(SEED), list(range(ROWS)), []
    for _ in range(epochs):
        for i in range(ROWS - 1, 0, -1):
            j = int(rng.random() * (i + 1))
            rows[i], rows[j] = rows[j], rows[i]
        found.append(list(rows))
    return np.array(found)


def reproduce(folder: Path, epochs: int, executor: str) -> tuple[Curves, bp.Run]:
    """Train as the author did.

    The test numbers are the run's validation after each epoch. The training numbers come from the state after
    each epoch, which is replayed afterwards.
    """
    with threadpool_limits(1, user_api="blas"):  # products this small gain nothing from a second thread
        return _reproduce(folder, epochs, executor)


def _reproduce(folder: Path, epochs: int, executor: str) -> tuple[Curves, bp.Run]:
    X, y = digits(folder, "train", ROWS)
    run = bp.train(
        start(),
        (X, y),
        loss="cross_entropy",
        optimizer=bp.SGD(0.5),
        batch=BATCH,
        epochs=epochs,
        order=orders(epochs),
        validation=digits(folder, "t10k", 10_000),
        dtype="f64",
        executor=executor,
    )
    evaluator = Evaluator(run.graph, "a2", "classification")
    ends = [round(row["step"]) for row in run.history]
    rows = run.rows.arrays
    train = [evaluator.metrics(run.replay.state(done), rows["x"], rows["t"]) for done in ends]
    return Curves(
        np.array([row["validation_loss"] for row in run.history]),
        np.array([round(row["validation_accuracy"] * 10_000) for row in run.history]),
        np.array([row["loss"] for row in train]),
        np.array([round(row["accuracy"] * ROWS) for row in train]),
    ), run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--executor", choices=["compiled", "reference"], default="compiled")
    options = parser.parse_args()
    if not (data_folder() / "nielsen-figures").is_dir():
        sys.exit(f"no data in {data_folder()}; set BACKPASS_DATA")
    theirs = published(data_folder(), options.epochs)
    began = time.perf_counter()
    ours, run = reproduce(data_folder(), options.epochs, options.executor)
    seconds = time.perf_counter() - began
    equal = ours.counts_equal(theirs)
    print(f"Nielsen's overfitting.json, {options.epochs} epochs, f64, executor {run.settings.executor}")
    print(f"  epochs with both counts identical: {equal.sum()} of {len(equal)}")
    if not equal.all():
        print(f"  first epoch that differs (from 0): {int(np.argmin(equal))}")
    print(f"  largest cost difference: {ours.gap(theirs):.2g}")
    print(f"  last epoch: test {ours.test_right[-1]}, cost {float(ours.test_cost[-1])!r}")
    print(f"              train {ours.train_right[-1]}, cost {float(ours.train_cost[-1])!r}")
    print(f"  seconds, training and {2 * options.epochs} evaluations: {seconds:.1f}")
    sys.exit(0 if equal.all() and ours.gap(theirs) < 1e-10 else 1)


if __name__ == "__main__":
    main()
