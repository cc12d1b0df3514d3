"""Wrong labels: how many of them a net can learn from all the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backpass.classics.catalogue import Classic
from backpass.classics.measured import Measured, Ours, Told, ours
from backpass.classics.recipes.mnist import digits
from backpass.fit import train
from backpass.nn import Dense, Network
from backpass.pictures.curves import Line, Panel
from backpass.training.optimisers import SGD

_CLASSES = 10
#: Rounds between two looks at the test digits.
_EVERY = 5


def diluted(classic: Classic, told: Told) -> Measured:
    """Each image once with its own label and many times with labels drawn at random, in one epoch.

    Six million rows of images need not be written down: the epoch goes through the images as often as there
    are labels, each time with the next label of each image. In which of the rounds an image has its own label
    is drawn; so a net that has seen all rounds has seen each image exactly once with it.

    Parameters
    ----------
    classic : Classic
        Options: `noise`, how many random labels an image has besides its own, a list; `hidden`, `rate`,
        `batch`; `rows`, of how many of the 60,000 images.
    told : Told

    Returns
    -------
    Measured
        For each noise n, "n.test": the accuracy on the 10,000 test digits, in %.
    """
    options = classic.options
    X, y = digits("all", options["rows"])
    held, t = digits("test")
    figures: dict[str, Ours] = {}
    lines = []
    every, done = sum(noise + 1 for noise in options["noise"]), 0
    for noise in options["noise"]:
        rng = np.random.default_rng(noise)
        own = rng.integers(0, noise + 1, len(y))
        weights: dict[str, NDArray[np.float32]] | None = None
        seen: dict[int, float] = {}
        for round_ in range(noise + 1):
            told(done / every, f"{noise} random labels for each true one, round {round_ + 1} of {noise + 1}")
            labels = np.where(own == round_, y, rng.integers(0, _CLASSES, len(y)))
            rate = options["rate"] * (
                1 - round_ / (noise + 1)
            )  # falls to 0: the noise of the last steps counts
            net = Network(
                [Dense(units, "relu") for units in options["hidden"]] + [Dense(_CLASSES, "softmax")]
            )
            run = train(
                net, (X, labels), optimizer=SGD(rate), batch=options["batch"], epochs=1, seed=round_,
                dtype="f32", start=weights, record_mb=0,
            )  # fmt: skip
            weights = run.weights
            done += 1
            if done % _EVERY == 0 or round_ == noise:
                seen[round_ + 1] = 100.0 * float(np.mean(run.predict(held) == t))
        figures[f"{noise}.test"] = ours(seen[noise + 1])
        lines.append((noise, seen))
    told(1.0, "done")
    panels = tuple(
        Panel(f"{noise} random labels for each true one", "round through the images", "test accuracy, %",
              [Line("ours", list(seen), list(seen.values()), "ours")])
        for noise, seen in lines
    )  # fmt: skip
    return Measured(figures, panels)
