"""Runs of which Nielsen's book prints some epochs: a fan of seeds, with what he printed over it."""

from __future__ import annotations

import msgspec
import numpy as np

from backpass.classics.catalogue import Classic
from backpass.classics.measured import Measured, Ours, Told, ours
from backpass.classics.recipes.options import Options
from backpass.classics.recipes.training import examples_of, trained
from backpass.pictures.curves import Line, Panel
from backpass.running.loop import Progress


class Printed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A training, and what the book prints of it.

    Attributes
    ----------
    training : Options
        Of the general recipe.
    right : dict of str to int
        Right answers of the 10,000 test digits, by epoch, counted from 0.
    """

    training: Options
    right: dict[str, int] = {}


def printed(classic: Classic, told: Told) -> Measured:
    """Train with each seed, and count the right answers on the test digits after each epoch.

    Figures, a value for each seed unless said otherwise: "epoch 27", the count after it; "best", the largest
    count; "digits not learned", those of which most images are read wrong at the end; "chosen", the test
    accuracy in per cent after the epoch with the best validation accuracy, and "chosen, best run", the
    largest of these.
    """
    options = msgspec.convert(classic.options, type=Printed)
    training, wanted = options.training, {figure.key for figure in classic.figures}
    told(0.0, "reading the digits")
    examples, seeds = examples_of(training.data), training.each_seed
    chosen = any(key.startswith("chosen") for key in wanted)
    measures = ["test_right", *(["validation_right"] if chosen else [])]
    runs, unlearned = [], []
    X, y = examples.held["test"]
    for done, seed in enumerate(seeds):

        def show(now: Progress, done: int = done, seed: int = seed) -> None:
            share = (done + now.step / now.steps) / len(seeds)
            told(share, f"seed {seed}, epoch {now.epoch:,} of {now.epochs:,}")

        found = trained(training, examples, seed, measures, show, f"seed {seed}")
        runs.append(found.curves)
        right_now = found.run.predict(X) == y
        unlearned.append(sum(float(np.mean(right_now[y == digit])) < 0.5 for digit in range(10)))
    right = np.array([run["test_right"] for run in runs])  # [seeds, epochs]
    figures: dict[str, Ours] = {f"epoch {e}": ours(*right[:, e]) for e in range(right.shape[1])}
    figures |= {"best": ours(*right.max(axis=1)), "digits not learned": ours(*unlearned)}
    if chosen:
        epochs = np.argmax([run["validation_right"] for run in runs], axis=1)
        shares = [100 * row[e] / len(y) for row, e in zip(right, epochs, strict=True)]
        figures |= {"chosen": ours(*shares), "chosen, best run": ours(max(shares))}
    return Measured(figures, (_panel(right, {int(e): n for e, n in options.right.items()}),))


def _panel(right: np.ndarray, his: dict[int, int]) -> Panel:
    epochs = range(right.shape[1])
    lines = [Line("", epochs, run.tolist(), "seed") for run in right] if len(right) > 1 else []
    lines.append(Line("ours, median", epochs, np.median(right, axis=0).tolist(), "ours"))
    if his:
        lines.append(Line("Nielsen", epochs, [his.get(e) for e in epochs], "published"))
    return Panel("right answers, 10,000 test digits", "epoch", "right", lines, log=False)
