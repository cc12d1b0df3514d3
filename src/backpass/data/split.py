"""Which rows train, which are held out, and in which order they are visited.

All of it is a function of the seed. The random bits come from Philox (Salmon and others, "Parallel random
numbers: as easy as 1, 2, 3", 2011), a function of a key and a counter: each epoch has its own key and needs
none of the epochs before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backpass.errors import DataError, UsageError, nearest

Index = NDArray[np.int64]
Order = Literal["sequential"] | ArrayLike | Callable[[int], ArrayLike] | None

# Streams of the same seed must not meet: a split must say nothing about the first epoch's order.
_SPLIT, _ORDER, _SOME = 1, 2, 3


def split(
    n_or_labels: int | ArrayLike,
    validation: float = 0.0,
    test: float = 0.0,
    *,
    seed: int,
    stratify: bool = True,
    group: ArrayLike | None = None,
    time: ArrayLike | None = None,
) -> tuple[Index, Index, Index]:
    """Part the rows into train, validation and test.

    Parameters
    ----------
    n_or_labels : int or array of shape (n,)
        How many rows there are, or their labels. Float labels are quantities and are never stratified.
    validation, test : float
        Fractions of the rows, in [0, 1); a part is rounded to the nearest whole row. 0 asks for no such part.
    seed : int
        From 0 to 2**64 - 1. The same seed gives the same parts.
    stratify : bool
        Give each class its proportion in each part. A class with as many rows as there are parts has a
        row in each of them, as long as each part has a place for every class; a class with fewer rows is
        in train first, then in test. The sizes of the parts are the same with or without it.
    group : array of shape (n,), optional
        The group of each row, e.g. the patient. Rows of one group are never parted: whole groups are held
        out, in an order drawn from the seed, until a part is as near to its size as it gets. Classes are
        not balanced then.
    time : array of shape (n,), optional
        When each row was: numbers or dates. The last rows are test and those before them validation; the
        seed does nothing. Rows of the same moment stay together, so sizes may differ a little.

    Returns
    -------
    train, validation, test : int64 arrays
        Sorted row numbers; each row is in exactly one of them.

    Raises
    ------
    UsageError
        Fractions outside [0, 1) or with no room for train.
    DataError
        A part that was asked for would be empty.

    Examples
    --------
    >>> train, validation, test = split(["a", "a", "a", "b", "b", "b"], 1 / 3, 1 / 3, seed=1)
    >>> len(train), len(validation), len(test)
    (2, 2, 2)
    >>> split(4, test=0.5, seed=1, time=[2024, 2022, 2023, 2021])
    (array([1, 3]), array([], dtype=int64), array([0, 2]))
    """
    labels: NDArray[Any] | None = None
    if isinstance(n_or_labels, (int, np.integer)) and not isinstance(n_or_labels, bool):
        n = int(n_or_labels)
    else:
        labels = np.asarray(n_or_labels)
        if labels.ndim == 0:
            raise UsageError(f"split takes a number of rows or an array of labels, got {n_or_labels!r}.")
        n = len(labels)
    _check_seed(seed)
    for name, fraction in (("validation", validation), ("test", test)):
        if not 0 <= fraction < 1:  # also catches NaN
            raise UsageError(f"{name}={fraction} is not a fraction of the rows: give 0 <= {name} < 1.")
    if validation + test >= 1:
        raise UsageError(
            f"validation={validation} and test={test} leave no rows to train on: their sum must be under 1."
        )
    if n < 1:
        raise DataError("there are no rows to split.")
    sizes = {"validation": int(n * validation + 0.5), "test": int(n * test + 0.5)}
    for name, fraction in (("validation", validation), ("test", test)):
        if fraction > 0 and sizes[name] == 0:
            raise DataError(
                f"{name}={fraction} of {n} rows is less than half a row, so {name} would be empty.\n"
                f"  Give more rows, a fraction of at least {0.5 / n:.2g}, or {name}=0 to do without."
            )
    if sum(sizes.values()) >= n:
        raise DataError(
            f"validation={validation} and test={test} of {n} rows round to {sizes['validation']} and "
            f"{sizes['test']} rows, so train would be empty. Give more rows or smaller fractions."
        )

    if group is not None and time is not None:
        raise UsageError("rows are parted by group or by time, not by both: give one of them.")
    if time is not None:
        return _by_time(_aligned(time, n, "time"), sizes["validation"], sizes["test"])
    if group is not None:
        return _by_group(_aligned(group, n, "group"), sizes["validation"], sizes["test"], seed)
    shuffled = _permutation(n, _philox(seed, 0, _SPLIT))
    if labels is None or not stratify or labels.ndim != 1 or labels.dtype.kind == "f":
        in_test, in_validation = shuffled[: sizes["test"]], shuffled[sizes["test"] :][: sizes["validation"]]
        parts = (shuffled[sizes["test"] + sizes["validation"] :], in_validation, in_test)
    else:
        parts = _stratified(labels, shuffled, sizes["validation"], sizes["test"])
    train, held, tested = (np.sort(part) for part in parts)
    return train, held, tested


def some_of(rows: Index, count: int, seed: int) -> Index:
    """So many of the rows, drawn by the seed; fewer of them are always among more of them.

    Examples
    --------
    >>> some_of(np.arange(10, 20), 2, seed=0), some_of(np.arange(10, 20), 4, seed=0)
    (array([10, 18]), array([10, 13, 17, 18]))
    """
    order = _permutation(len(rows), _philox(seed, 0, _SOME))
    return np.sort(rows[order[:count]])


def _stratified(
    labels: NDArray[Any], shuffled: Index, validation: int, test: int
) -> tuple[Index, Index, Index]:
    """The parts of `shuffled` so that each class has its proportion in each, with exact sizes."""
    codes, counts = _coded(labels)
    left = counts.astype(np.int64)
    # Test takes first, because a class with two rows goes to train and test; it leaves validation its row.
    spare_for_validation = np.where(counts >= 3, 1, 0) if validation else np.zeros_like(left)
    of_test = _take(counts, left, test, 1 + spare_for_validation)
    left = left - of_test
    of_validation = _take(counts, left, validation, np.ones_like(left))

    # Rows by class, each class in shuffled order: first those of test, then those of validation.
    by_class = shuffled[np.argsort(codes[shuffled], kind="stable")]
    ends = np.cumsum(counts)
    starts = ends - counts
    first, second = starts + of_test, starts + of_test + of_validation

    def joined(froms: Index, tos: Index) -> Index:
        return np.concatenate([by_class[a:b] for a, b in zip(froms, tos, strict=True)])

    return joined(second, ends), joined(first, second), joined(starts, first)


def _coded(labels: NDArray[Any]) -> tuple[NDArray[Any], Index]:
    """The place of each row's label among the sorted labels, in the fewest bytes, and how many have each."""
    if labels.dtype.kind in "iu" and labels.min() >= 0 and labels.max() < min(len(labels), 1 << 16):
        counts = np.bincount(labels)  # class numbers, as a Dataset gives them: nothing to sort
        if counts.all():
            return labels.astype(np.min_scalar_type(len(counts) - 1)), counts
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return codes, counts


def _aligned(value: ArrayLike, n: int, what: str) -> NDArray[Any]:
    """The group or the time of each row, without holes."""
    array = np.asarray(value)
    if array.shape != (n,):
        raise DataError(
            f"{what} must have a value for each of the {n} rows, shape ({n},), got {array.shape}."
        )
    if array.dtype.kind == "O":
        bad = np.array([v is None or v != v for v in array], dtype=bool)
        array = np.where(bad, "", array).astype(str) if what == "group" else array
    else:
        bad = np.isnan(array) if array.dtype.kind == "f" else np.zeros(n, dtype=bool)
        bad = np.isnat(array) if array.dtype.kind in "mM" else bad
    if bad.any():
        raise DataError(
            f"{what} is missing in {int(bad.sum())} of {n} rows, the first is row {np.flatnonzero(bad)[0]} "
            "(counted from 0).\n  Fill these in, or drop the rows."
        )
    if what == "time" and array.dtype.kind not in "biufmM":
        raise DataError(
            f"time must be numbers or dates, got {array.dtype}: e.g. {str(array[0])[:40]!r} in row 0.\n"
            "  Write dates as 2024-12-31, or convert them with numpy.asarray(values, dtype='datetime64')."
        )
    return array


def _by_time(when: NDArray[Any], validation: int, test: int) -> tuple[Index, Index, Index]:
    """The last moments to test, those before them to validation."""
    order = np.argsort(when, kind="stable").astype(np.int64)
    n = len(order)
    # A part may begin only where the moment changes, else one moment would be in two parts.
    starts = np.flatnonzero(when[order][1:] != when[order][:-1]) + 1
    first = middle = n
    if test:
        first = middle = _border(starts, n, n - test, "test")
    if validation:
        middle = _border(starts, first, first - validation, "validation")
    return np.sort(order[:middle]), np.sort(order[middle:first]), np.sort(order[first:])


def _border(starts: Index, end: int, wanted: int, part: str) -> int:
    """Where a part that ends at `end` begins, as near to `wanted` as it gets."""
    open_ = starts[starts < end]
    if not open_.size:
        raise DataError(_too_few(part, "moments", len(starts) + 1))
    return int(open_[np.argmin(np.abs(open_ - wanted))])


def _by_group(group: NDArray[Any], validation: int, test: int, seed: int) -> tuple[Index, Index, Index]:
    """Whole groups to test, then to validation, as near to the sizes as they get."""
    _, codes, counts = np.unique(group, return_inverse=True, return_counts=True)
    left = _permutation(len(counts), _philox(seed, 0, _SPLIT)).tolist()
    asked = [(name, size) for name, size in (("test", test), ("validation", validation)) if size]
    if len(left) <= len(asked):
        raise DataError(_too_few("train", "groups", len(counts)))
    part = np.zeros(len(counts), dtype=np.int64)  # of each group: 0 train, 1 validation, 2 test
    for k, (name, size) in enumerate(asked):
        room = len(left) - (len(asked) - k)  # a group stays for each part that comes after, and for train
        have = 0
        taken: list[int] = []
        for g in left:
            if len(taken) < room and abs(have + counts[g] - size) < abs(have - size):
                have += int(counts[g])
                taken.append(g)
        taken = taken or [min(left, key=lambda h: int(counts[h]))]
        part[taken] = 2 if name == "test" else 1
        left = [g for g in left if not part[g]]
    of_row = part[codes.reshape(-1)]
    return np.flatnonzero(of_row == 0), np.flatnonzero(of_row == 1), np.flatnonzero(of_row == 2)


def _too_few(part: str, what: str, count: int) -> str:
    return (
        f"{part} would be empty: the rows have {count} different {what}, and those are never parted.\n"
        "  Ask for fewer parts or other sizes, or part the rows at random (no group, no time)."
    )


def _take(counts: Index, left: Index, size: int, keep: Index) -> Index:
    """How many rows of each class go to a part of `size` rows: near proportion, one at least, `keep` left."""
    if size == 0:
        return np.zeros_like(left)
    quota = counts * (size / counts.sum())
    room = np.maximum(left - keep, 0)
    least = np.minimum(room, 1)
    taken: Index = np.clip(np.floor(quota).astype(np.int64), least, room)
    while (missing := size - int(taken.sum())) > 0:
        if not (taken < room).any():  # only rows meant for other parts are left: sizes are promised, use them
            room = np.maximum(left - 1, 0) if (taken < left - 1).any() else left
        order = np.argsort(taken - quota, kind="stable")
        taken[order[taken[order] < room[order]][:missing]] += 1
    while (excess := int(taken.sum()) - size) > 0:
        floor = least if (taken > least).any() else np.zeros_like(least)  # more classes than places
        order = np.argsort(quota - taken, kind="stable")
        taken[order[taken[order] > floor[order]][:excess]] -= 1
    return taken


def epoch_order(n: int, seed: int, epoch: int, order: Order = None) -> Index:
    """The row numbers that an epoch visits, in order.

    Parameters
    ----------
    n : int
        How many rows there are.
    seed : int
        From 0 up to 2**64 - 1.
    epoch : int
        Counted from 0. Any epoch can be asked for without those before it.
    order : None, "sequential", array or callable
        None shuffles anew in each epoch, by (seed, epoch). An array of shape (m,) is used in each epoch; one
        of shape (epochs, m) has a row for each. A callable gets the epoch and returns an array of shape (m,).
        An explicit order may leave rows out or repeat them.

    Returns
    -------
    int64 array, shape (n,), or (m,) for an explicit order

    Raises
    ------
    UsageError
        An unknown word, or an epoch that the array has no row for.
    DataError
        An explicit order that is empty, not of integers, or that names a row that does not exist.

    Notes
    -----
    The shuffle sorts random bits that end in the row number. NumPy promises the raw bits of Philox for good
    but not the stream of ``Generator.permutation`` (NEP 19); a replay must not depend on NumPy's version.

    Examples
    --------
    >>> epoch_order(5, seed=0, epoch=0)
    array([1, 4, 3, 0, 2])
    >>> epoch_order(5, seed=0, epoch=1, order=[4, 4, 0])
    array([4, 4, 0])
    """
    _check_count("n", n)
    _check_seed(seed)
    if isinstance(epoch, bool) or not isinstance(epoch, (int, np.integer)) or not 0 <= epoch < 2**64:
        raise UsageError(f"epoch={epoch!r} must be a whole number, counted from 0.")
    if order is None:
        return _permutation(int(n), _philox(seed, int(epoch), _ORDER))
    if isinstance(order, str):
        if order != "sequential":
            raise UsageError(
                f"order={order!r} is not an order. {nearest(order, ['sequential'])} "
                "Leave it out to shuffle, or give an array of row numbers."
            )
        return np.arange(n, dtype=np.int64)
    if callable(order):
        return _checked(order(int(epoch)), int(n), f"order({epoch})", 0)
    rows = _array(order, "order")
    if rows.ndim == 2:
        if epoch >= len(rows):
            raise UsageError(
                f"order has rows for {len(rows)} epochs, and epoch {epoch} (counted from 0) was asked for.\n"
                "  Train for fewer epochs, give a row for each, or give one order of shape (m,) for all."
            )
        return _checked(rows[int(epoch)], int(n), "order", int(epoch), two=True)
    return _checked(rows, int(n), "order", 0)


def _array(value: ArrayLike, what: str) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except ValueError:  # ragged
        raise DataError(f"{what} must be one array of row numbers; its parts differ in length.") from None


def _checked(value: ArrayLike, n: int, what: str, epoch: int, *, two: bool = False) -> Index:
    rows = _array(value, what)
    if rows.ndim != 1:
        raise DataError(f"{what} must have shape (m,) or (epochs, m), got {rows.shape}.")
    if rows.size == 0:
        raise DataError(f"{what} is empty: an epoch needs at least one row.")
    if rows.dtype.kind not in "iu":
        hint = " For a mask, give numpy.flatnonzero(mask)." if rows.dtype.kind == "b" else ""
        raise DataError(f"{what} must hold whole row numbers (integers), got {rows.dtype}.{hint}")
    wrong = np.flatnonzero((rows < 0) | (rows >= n))
    if wrong.size:
        at = f"[{epoch}, {wrong[0]}]" if two else f"[{wrong[0]}]"
        raise DataError(
            f"{what}{at} is {rows[wrong[0]]}, but rows are numbered 0 to {n - 1}"
            + (f" ({wrong.size} numbers are out of range)." if wrong.size > 1 else ".")
        )
    return np.array(rows, dtype=np.int64, order="C")


def batch_starts(n: int, batch: int) -> Index:
    """Where the batches of `n` visits begin, and the end: batch i is ``[starts[i], starts[i + 1])``.

    Parameters
    ----------
    n : int
        Visits in the epoch, at least 1.
    batch : int
        Rows in a batch, at least 1. More than `n` means `n`. The last batch may be shorter, never empty.

    Returns
    -------
    int64 array, shape (batches + 1,)

    Raises
    ------
    UsageError

    Examples
    --------
    >>> batch_starts(10, 4)
    array([ 0,  4,  8, 10])
    """
    _check_count("n", n)
    _check_count("batch", batch)
    return np.append(np.arange(0, n, batch, dtype=np.int64), np.int64(n))


def orders(n: int, batch: int, epochs: int, seed: int, order: Order = None) -> Iterator[tuple[Index, Index]]:
    """For each epoch of a run, the rows it visits (`epoch_order`) and its batches (`batch_starts`).

    The settings, and an explicit array for all epochs, are checked at the call, not at the first epoch.

    Parameters
    ----------
    n, batch, epochs, seed : int
    order : see `epoch_order`

    Yields
    ------
    order, starts : int64 arrays

    Raises
    ------
    UsageError, DataError

    Examples
    --------
    >>> for rows, starts in orders(3, batch=2, epochs=2, seed=0, order="sequential"):
    ...     print(rows, starts)
    [0 1 2] [0 2 3]
    [0 1 2] [0 2 3]
    """
    batch_starts(n, batch)
    _check_seed(seed)
    if isinstance(epochs, bool) or not isinstance(epochs, (int, np.integer)) or epochs < 0:
        raise UsageError(f"epochs={epochs!r} must be a whole number, 0 or more.")
    if order is not None and not callable(order):
        for epoch in range(epochs):
            epoch_order(n, seed, epoch, order)

    def run() -> Iterator[tuple[Index, Index]]:
        for epoch in range(epochs):
            rows = epoch_order(n, seed, epoch, order)
            yield rows, batch_starts(len(rows), batch)

    return run()


def _check_seed(seed: int) -> None:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**64:
        raise UsageError(f"seed={seed!r} must be a whole number from 0 to 2**64 - 1.")


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise UsageError(f"{name}={value!r} must be a whole number, 1 or more.")


def _philox(seed: int, epoch: int, stream: int) -> np.random.Philox:
    return np.random.Philox(
        key=np.array([seed, epoch], dtype=np.uint64), counter=np.array([0, 0, 0, stream], dtype=np.uint64)
    )


def _permutation(n: int, bits: np.random.Philox) -> Index:
    """A shuffle of 0..n-1 from raw bits.

    Random bits above, the row number below: the keys differ, so every sorting algorithm gives one order.
    """
    width = np.uint64(max(n - 1, 1).bit_length())
    low = (np.uint64(1) << width) - np.uint64(1)
    keys = bits.random_raw(n)
    keys &= ~low
    keys |= np.arange(n, dtype=np.uint64)
    keys.sort()
    keys &= low
    return keys.view(np.int64)
