"""The nets of 1986 that invent codes: parity, the encoder, four words through one unit."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backpass.classics.catalogue import Classic
from backpass.classics.measured import Measured, Told, ours
from backpass.classics.recipes.pdp.sweeps import Floats, Task, Trained, of_solved, soft, words
from backpass.classics.recipes.pdp.trainings import Training, layered
from backpass.explain.answer import Cell, Table


def parity(classic: Classic, told: Told) -> Measured:
    """Parity of four bits, and whether the hidden units count.

    Figures: ``solved`` (%), ``presentations``, ``counting`` (% of the solved nets whose hidden units all tell
    numbers of ones apart, each at a place of its own) and ``counts`` (1: some do).
    """
    training = Training.of(classic)
    rows = words(4)
    task = Task(rows, soft(rows.sum(axis=1, keepdims=True) % 2))
    runs = training.runs(layered(4, 1), task, "4-4-1", told)
    counts = training.counts(runs)
    good = [run for run, count in zip(runs, counts, strict=True) if count]
    codes = [sorted(counting_code(run.activations("a1") > 0.5, rows)) for run in good]
    counting = [run for run, code in zip(good, codes, strict=True) if code == [1, 2, 3, 4]]
    told(1.0, "done")
    tally = Counter(", ".join(f"{k - 1}|{k}" for k in code) or "do not count" for code in codes)
    figures = {
        "solved": ours(100.0 * len(good) / len(runs)),
        "presentations": of_solved(counts),
        "counting": ours(100.0 * len(counting) / max(1, len(good))),
        "counts": ours(bool(counting)),
    }
    title = "between which numbers of ones the four hidden units switch"
    table = Table(title, ("code", "nets"), tuple(tally.most_common()))
    return Measured(figures, blocks=(table, *(_counted(run, rows) for run in counting[:1])))


def counting_code(on: NDArray[Any], rows: Floats) -> list[int]:
    """At which number of ones each hidden unit switches; empty if a unit does anything else.

    Parameters
    ----------
    on : ndarray of bool, shape (n, units)
    rows : ndarray, shape (n, bits)

    Examples
    --------
    >>> rows = words(2)
    >>> counting_code(np.column_stack([rows.sum(1) >= 1, rows.sum(1) < 2]), rows)
    [1, 2]
    >>> counting_code(rows == 1, rows)
    []
    """
    ones = rows.sum(axis=1)
    found = []
    for unit in np.asarray(on, dtype=bool).T:
        places = [k for k in range(1, rows.shape[1] + 1) if len({*(unit ^ (ones >= k)).tolist()}) == 1]
        if not places:
            return []
        found.append(places[0])
    return found


def _counted(run: Trained, rows: Floats) -> Table:
    """The hidden units of one net by the number of ones, each turned so that it is on where there are few."""
    a, ones = run.activations("a1"), rows.sum(axis=1)
    order = np.argsort(counting_code(a > 0.5, rows))
    a = np.where(a[ones == 0] > 0.5, a, 1 - a)[:, order]
    shown: list[tuple[Cell, ...]] = [
        (str(k), *(round(float(v), 2) for v in a[ones == k].mean(axis=0))) for k in range(5)
    ]
    head = ("ones among the inputs", *(f"unit {k}" for k in range(1, 5)))
    title = "the mean activations of one that counts (a unit that is off for 0000 is turned round)"
    return Table(title, head, tuple(shown))


def encoder(classic: Classic, told: Told) -> Measured:
    """The encoder 8-3-8, and its codes.

    Figures: ``solved`` (%), ``presentations``, ``different`` (1 for each solved net: eight codes that are not
    the same), ``middle`` (1: some code uses a value between 0.25 and 0.75).
    """
    training = Training.of(classic)
    task = Task(np.eye(8), soft(np.eye(8)))
    runs = training.runs(layered(3, 8), task, "8-3-8", told)
    counts = training.counts(runs)
    good = [run for run, count in zip(runs, counts, strict=True) if count]
    codes = [run.activations("a1") for run in good]
    apart = [min(np.abs(a - b).max() for i, a in enumerate(code) for b in code[:i]) for code in codes]
    graded = [((code > 0.25) & (code < 0.75)).any() for code in codes]
    told(1.0, "done")
    figures = {
        "solved": ours(100.0 * len(good) / len(runs)),
        "presentations": of_solved(counts),
        "different": ours(*(gap > 0.25 for gap in apart)),
        "middle": ours(any(graded)),
        "graded": ours(100.0 * statistics.fmean(graded)),
    }
    chosen = codes[next((k for k, found in enumerate(graded) if found), 0)]
    lines: tuple[tuple[Cell, ...], ...] = tuple(
        (str(k + 1), *(round(float(v), 2) for v in code)) for k, code in enumerate(chosen)
    )
    head = ("unit that is on", "hidden 1", "hidden 2", "hidden 3")
    return Measured(figures, blocks=(Table("the codes of one net", head, lines),))


def bottleneck(classic: Classic, told: Told) -> Measured:
    """2-1-4-4: four words through one unit, which must take four values, after as many presentations as then.

    Figures: ``right`` (1 for each start after which all outputs are right), ``ends`` (1: the lowest and the
    highest value are of words that differ in both bits); where these are 10 and 01, as then, ``lowest``,
    ``second``, ``third`` and ``highest`` of the values, see `_as_published`.
    """
    training = Training.of(classic)
    runs = training.runs(layered(1, 4, 4), Task(words(2), np.eye(4)), "2-1-4-4", told)
    told(1.0, "done")
    values = [_as_published(run.activations("a1")[:, 0]) for run in runs]
    opposite = [int(np.argmin(v) + np.argmax(v)) == 3 for v in values]
    same = [v for v in values if np.argmin(v) == 2 and np.argmax(v) == 1]
    levels = np.round(np.sort(same, axis=1), 1)  # to one decimal, as they were printed
    figures = {key: ours(*levels[:, k]) for k, key in enumerate(("lowest", "second", "third", "highest"))}
    figures["right"] = ours(*(run.right for run in runs))
    figures["ends"] = ours(*opposite)
    rows: list[tuple[Cell, ...]] = [
        (f"seed {seed}", *(round(float(v), 2) for v in value[[2, 3, 0, 1]]), "yes" if run.right else "no")
        for seed, (value, run) in enumerate(zip(values, runs, strict=True))
    ]
    head = ("run", "10", "11", "00", "01", "all outputs right")
    table = Table("the single unit, by word", head, (("published", 0.0, 0.2, 0.6, 1.0, "yes"), *rows))
    return Measured(figures, blocks=(table,))


def _as_published(values: Floats) -> Floats:
    """The values of a unit for 00, 01, 10, 11, so that 10 is below 01 and 11 below 00.

    A unit turned round, and the two inputs exchanged, leave the same net under other names.

    Examples
    --------
    >>> _as_published(np.array([0.25, 1.0, 0.0, 0.5])).tolist()
    [0.75, 1.0, 0.0, 0.5]
    """
    if values[2] > values[1]:
        values = 1 - values
    return 1 - values[[0, 2, 1, 3]] if values[3] > values[0] else values
