"""What recording costs while a run goes on, and how much of it is written.

    python benchmarks/recording.py

Each net is trained several times in turn: with recording off (``record_mb=0``), with the defaults and no
folder, and with the defaults in a folder, as the command line does; by the compiled executor. Times are those
of the steps alone, as the run itself measures them. Each round compares its own neighbours, so that a machine
that others use, too, spreads the ratios but does not shift them.

Data: MNIST in $BACKPASS_DATA or shared/data beside the repository, else random numbers of its size; digits.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from visit import rows

import backpass as bp
from backpass.data import load

ROUNDS = 7


def digits() -> tuple[np.ndarray, np.ndarray]:
    data = load("digits")
    return (np.asarray(data.X).reshape(len(data), -1) / 16).astype(np.float32), np.asarray(data.y)


def measure(name: str, sizes: list[int], data: Any, batch: int, epochs: int, scratch: Path) -> None:
    """Print the cost of recording for one net."""
    net = bp.Network([*(bp.Dense(n, "sigmoid") for n in sizes[:-1]), bp.Dense(sizes[-1], "softmax")])

    def seconds(way: str, out: Path | None) -> tuple[float, bp.Run]:
        megabytes = 0.0 if way == "off" else 200.0
        run = bp.train(
            net, data, batch=batch, epochs=epochs, seed=1, executor="compiled", out=out, record_mb=megabytes
        )
        return run.record.outcome.seconds, run

    seconds("off", None)  # compiles
    ways = ("off", "in memory", "in a folder")
    extra: dict[str, list[float]] = {way: [] for way in ways[1:]}
    run, off = None, []
    for turn in range(ROUNDS):
        taken = {}
        for k in range(len(ways)):
            way = ways[(k + turn) % len(ways)]
            out = scratch / f"{len(sizes)}-{batch}-{epochs}-{turn}" if way == "in a folder" else None
            taken[way], found = seconds(way, out)
            run = found if out is not None else run
        off.append(taken["off"])
        for way in extra:
            extra[way].append(100 * (taken[way] / taken["off"] - 1))
    assert run is not None
    assert run.path is not None
    print(f"{name}, batch {batch}, {run.steps:,} steps, {statistics.median(off):.2f} s with recording off")
    for way, found in extra.items():
        low, high = min(found), max(found)
        print(f"  {way + ':':13s} {statistics.median(found):+.1f} %, from {low:+.1f} to {high:+.1f}")
    size = sum(path.stat().st_size for path in (run.path / "checkpoints").iterdir())
    marks, looks = len(run.record.checkpoints), run.monitors
    print(f"  {marks} checkpoints, {size / 1e6:.1f} MB, the first {run.settings.spacing:,} steps apart")
    print(f"  {len(looks)} looks at {len(looks.names)} numbers")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="backpass-recording-") as folder:
        scratch = Path(folder)
        print(rows(scratch / "rows.npz"))
        with np.load(scratch / "rows.npz") as found:
            X, y = found["X"].reshape(len(found["X"]), -1).astype(np.float32) / 255, found["y"]
        scale = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
        measure("784-100-10", [100, 10], (X, y), 32, max(1, int(12 * scale)), scratch)
        measure("64-32-10", [32, 10], digits(), 32, max(1, int(3000 * scale)), scratch)
        measure("64-32-10, as the command line trains digits", [32, 10], digits(), 32, 30, scratch)


if __name__ == "__main__":
    main()
