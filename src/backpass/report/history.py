"""What the curves of a run are made of."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backpass.pictures.curves import Line, Panel

_BINS = 400  # points of a curve over single steps

_NAMES = {"train": "training"}

#: The score that goes with the cost, and what its axis is called.
SCORES = {"accuracy": "accuracy", "r2": "R²"}


def learning_panels(run: Any) -> list[Panel]:
    """Cost and score against epochs; against steps, where there are too few epochs for a curve."""
    rows = run.history
    if not run.steps:
        return []
    if len(rows) < 3:
        return [_by_step(run)]
    epochs = [row["epoch"] for row in rows]
    best = _best(run, rows)
    lines = [Line("training, mean of the epoch", epochs, [row.get("cost") for row in rows])]
    if any("validation_loss" in row for row in rows):
        lines.append(
            Line("validation, after it", epochs, [row.get("validation_loss") for row in rows], "validation")
        )
    panels = [Panel("Cost", "epoch", "cost", lines, mark=best)]
    for name, axis in SCORES.items():
        parts = {
            part: [row.get(f"{part}_{name}") for row in rows]
            for part in ("train", "validation")
            if any(f"{part}_{name}" in row for row in rows)
        }
        if parts:
            shown = [Line(_NAMES.get(p, p), epochs, y, p) for p, y in parts.items()]
            share = name == "accuracy"
            title = "Accuracy" if share else "R², the share of the variance that is explained"
            panels.append(Panel(title, "epoch", axis, shown, mark=best, share=share, log=False))
    return panels


def _by_step(run: Any) -> Panel:
    costs = np.asarray(run.costs)
    ends = np.unique(np.linspace(0, len(costs), min(len(costs), _BINS) + 1).astype(int))
    means = [float(np.mean(costs[a:b])) for a, b in itertools.pairwise(ends)]
    each = "each step" if len(means) == len(costs) else f"means of about {len(costs) / len(means):.0f} steps"
    return Panel("Cost", "step", "cost", [Line(f"training, {each}", ends[1:].tolist(), means)])


def _best(run: Any, rows: Sequence[Mapping[str, float]]) -> tuple[float, str] | None:
    """The epoch whose weights the run keeps, or the one of the lowest validation cost."""
    step = run.record.outcome.best_step
    if step is not None:
        row = next((row for row in rows if row["step"] == step), None)
        return (row["epoch"], f"kept: epoch {row['epoch']:.0f}") if row else None
    losses = {row["epoch"]: row["validation_loss"] for row in rows if "validation_loss" in row}
    losses = {epoch: loss for epoch, loss in losses.items() if np.isfinite(loss)}
    if not losses:
        return None
    epoch = min(losses, key=losses.__getitem__)
    return epoch, f"lowest validation cost: epoch {epoch:.0f}"


def rows_panels(results: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Score against how many rows were trained on.

    Parameters
    ----------
    results : sequence of mapping
        Each has ``rows``, and for each part the metrics, as `Run.metrics` has them:
        ``{"rows": 100, "train": {"loss": 0.2, "accuracy": 0.97}, "validation": {...}}``.
    """
    rows = sorted(results, key=lambda one: one["rows"])
    parts = [p for p in ("train", "validation", "test") if any(p in one for one in rows)]
    x = [float(one["rows"]) for one in rows]
    panels = []
    for name in ("loss", *SCORES):
        lines = [
            Line(_NAMES.get(part, part), x, [one.get(part, {}).get(name) for one in rows], part)
            for part in parts
        ]
        if any(y is not None for line in lines for y in line.y):
            title = {"loss": "Loss", "accuracy": "Accuracy"}.get(name, SCORES.get(name, name))
            share = name == "accuracy"
            log = None if name == "loss" else False
            axis = SCORES.get(name, name)
            panels.append(Panel(title, "training rows", axis, lines, share=share, log=log, x_log=None))
    return panels
