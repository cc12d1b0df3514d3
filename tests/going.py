"""Small trainings that are stopped, branched and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import backpass as bp
from backpass.training.optimisers import Adam
from backpass.training.schedules import OnPlateau
from backpass.training.stopping import EarlyStopping


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 90)
    return rng.standard_normal((90, 6)) + 2 * np.eye(3, 6)[y], y


def train(**options: Any) -> bp.Run:
    """330 steps, with a rate that falls seven times, and the best state kept of the middle."""
    usual = {
        "batch": 7,
        "epochs": 40,
        "executor": "reference",
        "optimizer": Adam(OnPlateau(0.05, patience=2)),
        "validation": 0.2,
        "stop": EarlyStopping(12),
    }
    net = options.pop("network", None) or bp.Network([bp.Dense(8, "sigmoid"), bp.Dense(3, "softmax")])
    return bp.train(net, options.pop("rows_of", data()), **{**usual, **options})


class Interrupt:
    """Ctrl-C after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, progress: Any) -> None:
        if progress.step == self.step:
            raise KeyboardInterrupt


def interrupted(path: Path, step: int, **options: Any) -> Path:
    try:
        train(out=path, callbacks=[Interrupt(step)], **options)
    except KeyboardInterrupt:
        return path
    raise AssertionError("it was not interrupted")


def as_killed(path: Path) -> Path:
    """A folder as a kill leaves it: the last outcome on the disk says that it is running."""
    file = path / "run.json"
    text = file.read_text().replace('"status": "interrupted"', '"status": "running"')
    file.write_text(text)
    return path


def assert_equal(run: bp.Run, other: bp.Run) -> None:
    """The same run, bit for bit, in all that is not a time."""
    for a, b in (
        (run.record.last(), other.record.last()),
        (run.record.result(), other.record.result()),
        (run.monitors.values, other.monitors.values),
    ):
        assert a.keys() == b.keys()
        assert all(a[name].tobytes() == b[name].tobytes() for name in a)
    assert run.monitors.steps.tolist() == other.monitors.steps.tolist()
    assert run.costs.tobytes() == other.costs.tobytes()
    assert run.history == other.history
    one, two = run.record.outcome, other.record.outcome
    assert (one.status, one.steps, one.best_step, one.message) == (
        two.status,
        two.steps,
        two.best_step,
        two.message,
    )
    assert one.events == two.events
    assert one.metrics == two.metrics
