"""Real data of the classics: sonar echoes, spoken vowels, and the digits of MNIST."""

from __future__ import annotations

import re
from dataclasses import replace

import msgspec
import numpy as np

from backpass.classics.catalogue import Classic
from backpass.classics.measured import Measured, Told, ours
from backpass.classics.places import folder_of
from backpass.classics.recipes.mnist import digits
from backpass.classics.recipes.training import Examples, train

#: Rows of the nets that learn labels by heart.
_BY_HEART = 5_000


def sonar() -> Examples:
    """60 energies of an echo, and whether it came from a rock (0) or a mine (1).

    The rows to train on are those that Gorman and Sejnowski marked with a star: each aspect angle is in both
    parts.
    """
    folder = folder_of("sonar")
    parts: dict[str, tuple[list[list[float]], list[int]]] = {"train": ([], []), "test": ([], [])}
    for label, file in enumerate(("sonar.rocks", "sonar.mines")):
        written = (folder / file).read_text(encoding="utf-8")
        for star, numbers in re.findall(r"^(\*?)C[RM]\d+:\s*\{([^}]*)\}", written, re.MULTILINE):
            X, y = parts["train" if star else "test"]
            X.append([float(number) for number in numbers.split()])
            y.append(label)
    train, test = ((np.array(X), np.array(y)) for X, y in parts.values())
    return Examples(train, {"test": test})


def vowels() -> Examples:
    """Ten numbers of a spoken vowel, and which of eleven it is; the speakers to test on are others."""
    rows = np.loadtxt(folder_of("vowel") / "vowel-context.data", delimiter=",")
    test, X, y = rows[:, 0] == 1, rows[:, 3:13], rows[:, 13].astype(np.int64)
    return Examples((X[~test], y[~test]), {"test": (X[test], y[test])})


def standardised_digits() -> Examples:
    """MNIST, each pixel less its mean and divided by its deviation, both over the 60,000 training digits."""
    X, y = digits("all")
    held, t = digits("test")
    mean, deviation = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
    deviation[deviation == 0] = 1.0  # pixels that are always white stay 0
    inside = ((X - mean) / deviation).astype(np.float32), ((held - mean) / deviation).astype(np.float32)
    return Examples((inside[0], y), {"test": (inside[1], t)})


def true_labels() -> Examples:
    """The first 5,000 training digits, and all test digits."""
    return Examples(digits("train", _BY_HEART), {"test": digits("test")})


def random_labels() -> Examples:
    """The same digits, each with a label drawn at random; those of the test digits are true."""
    X, y = digits("train", _BY_HEART)
    return Examples((X, np.random.default_rng(0).integers(0, 10, len(y))), {"test": digits("test")})


def vowel(classic: Classic, told: Told) -> Measured:
    """The nets of the general recipe, and beside them the nearest neighbour."""
    nets = tuple(figure for figure in classic.figures if figure.key != "nearest")
    found = train(msgspec.structs.replace(classic, figures=nets), told)
    (X, y), (held, t) = vowels().train, vowels().held["test"]
    nearest = y[((held[:, None, :] - X[None, :, :]) ** 2).sum(axis=2).argmin(axis=1)]
    return replace(found, figures=dict(found.figures) | {"nearest": ours(float(np.sum(nearest == t)))})
