"""Weights of rows, and given values to start from: checked, and as the run needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backpass.errors import DataError, ShapeError, UsageError, nearest
from backpass.exec.base import Array

ClassWeight = Mapping[Any, float] | Literal["balanced"]


def row_weights(
    sample_weight: ArrayLike | None,
    class_weight: ClassWeight | None,
    part: NDArray[np.int64],
    rows: int,
    codes: NDArray[np.int64] | None,
    classes: Sequence[Any],
    dtype: str,
) -> Array | None:
    """The weight of each training row, of mean 1; None where none was asked for.

    Parameters
    ----------
    sample_weight : array-like, shape (rows,), optional
        A weight for each row of the data set; those of rows that are held out are not used.
    class_weight : "balanced" or mapping of class to float, optional
        "balanced" makes all classes count the same, n / (k · n_c) [1]_; in a mapping, a class that is left
        out has weight 1. Multiplied with `sample_weight`.
    part : ndarray of int64
        Which rows of the data set are trained on.
    rows : int
        Of the data set.
    codes : ndarray of int64, or None
        For classes, the place in `classes` of each training row's.
    classes : sequence
    dtype : {"f32", "f64"}

    Raises
    ------
    DataError
        A weight is negative, infinite or NaN, or all are zero.
    UsageError
        A class that there is not; or there are no classes.

    References
    ----------
    .. [1] King & Zeng, Logistic regression in rare events data, Political Analysis 9 (2001).

    Examples
    --------
    >>> import numpy as np
    >>> row_weights(None, "balanced", np.arange(4), 4, np.array([0, 0, 0, 1]), ["no", "yes"], "f64").round(3)
    array([0.667, 0.667, 0.667, 2.   ])
    """
    if sample_weight is None and class_weight is None:
        return None
    found = np.ones(len(part))
    if sample_weight is not None:
        found *= _moderate(_checked(sample_weight, rows)[part])
    if class_weight is not None:
        found *= _moderate(_by_class(class_weight, codes, classes))
    total = float(found.sum())
    if not total > 0:
        raise DataError(
            "the weights of all training rows are zero, so there is nothing to learn from\n"
            "  Give at least one row, and one class that occurs, a weight above zero."
        )
    kind = np.float32 if dtype == "f32" else np.float64
    return np.ascontiguousarray(found * (len(found) / total), dtype=kind)


def _checked(sample_weight: ArrayLike, rows: int) -> NDArray[np.float64]:
    try:
        given = np.asarray(sample_weight, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError("sample_weight must be numbers, one for each row of the data") from None
    if given.shape != (rows,):
        raise DataError(
            f"sample_weight must be one number for each of the {rows:,} rows of the data, held-out rows "
            f"included; got shape {list(given.shape)}"
        )
    for wrong, what in ((~np.isfinite(given), "not finite"), (given < 0, "negative")):
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(
                f"sample_weight is {what} in {int(wrong.sum()):,} of {rows:,} rows, first in row {row}: "
                f"{given[row]:g}\n  A weight says how much a row counts: zero or more."
            )
    return given


def _moderate(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same weights, of which only the ratios matter, small enough that sums and products are finite."""
    return weights / weights.max() if weights.max() > 1e150 else weights


def _by_class(
    class_weight: ClassWeight, codes: NDArray[np.int64] | None, classes: Sequence[Any]
) -> NDArray[np.float64]:
    if codes is None:
        raise UsageError("class_weight is for data with classes; give sample_weight=, one number a row")
    counts = np.bincount(codes, minlength=len(classes))
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise UsageError(
                f"class_weight is 'balanced' or a mapping of class to weight, got {class_weight!r}"
            )
        return (len(codes) / (np.count_nonzero(counts) * np.maximum(counts, 1.0)))[codes]
    if not isinstance(class_weight, Mapping):
        raise UsageError(f"class_weight is 'balanced' or a mapping of class to weight, got {class_weight!r}")
    each = np.ones(len(classes))
    for key, value in class_weight.items():
        if key not in classes:
            hint = nearest(str(key), map(str, classes))
            raise UsageError(f"class_weight names the class {key!r}, which there is not. {hint}")
        number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        if not number or not np.isfinite(value) or value < 0:
            raise DataError(f"the weight of class {key!r} must be a number, at least 0; got {value!r}")
        each[list(classes).index(key)] = value
    return each[codes]


def started_from(
    given: Mapping[str, ArrayLike], initial: Mapping[str, Array], weights: Sequence[str]
) -> dict[str, Array]:
    """The values to start from, where a person gives them: every weight, and running statistics if given.

    Parameters
    ----------
    given : mapping of str to array
        By the names of the program, ``W1``, ``b1``.
    initial : mapping of str to array
        What the network would start from by itself. State that is not given stays as it is there.
    weights : sequence of str
        What must be given.

    Raises
    ------
    UsageError
        A weight is missing, or there is no such weight, or one is not finite.
    ShapeError
        A weight has another shape; the message names all of these.
    """
    missing = [name for name in weights if name not in given]
    unknown = [name for name in given if name not in initial]
    if missing:
        raise UsageError(
            f"start has no {', '.join(missing)}; it must hold every weight of the network, "
            f"{', '.join(weights)}"
        )
    if unknown:
        raise UsageError(
            f"start holds {unknown[0]!r}, which the network has not. {nearest(unknown[0], initial)}"
        )
    found, wrong = dict(initial), []
    for name in given:
        try:
            array = np.asarray(given[name])
            fits = array.shape == initial[name].shape and array.dtype.kind in "fiub"
        except ValueError:
            fits = False
        if not fits:
            wrong.append(f"{name} is {list(np.shape(given[name]))}, needed is {list(initial[name].shape)}")
            continue
        found[name] = np.array(array, dtype=initial[name].dtype, order="C")
        if not np.isfinite(found[name]).all():
            raise UsageError(
                f"start: {name} holds NaN or infinity, or a number too large for {found[name].dtype}"
            )
    if wrong:
        raise ShapeError("start does not fit the network: " + "; ".join(wrong))
    return found
