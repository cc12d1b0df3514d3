"""Arrays from anywhere become rows and labels that a net can take, or an error that says what to do."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any, get_args

import numpy as np

from backpass.data.budget import memory_budget
from backpass.data.dataset import Array, Dataset, Task
from backpass.data.sparse import as_csr, dense, is_sparse
from backpass.errors import DataError, UsageError, nearest

MANY_CLASSES = 20
"""Floats with more different whole values than this are quantities, not classes."""

_REFUSED = {
    "c": "complex numbers: give the real and imaginary parts as two columns",
    "M": "dates: turn them into numbers first, e.g. days since the first one, or month and weekday",
    "m": "time spans: turn them into numbers first, e.g. x / numpy.timedelta64(1, 's')",
}


_LOSSY = (complex, np.complexfloating, np.datetime64, np.timedelta64)
"""Cells of which numpy makes floats without a word: it drops the imaginary part, and counts the days."""


def from_arrays(
    X: Any,
    y: Any,
    name: str = "arrays",
    *,
    task: Task | None = None,
    test: tuple[Any, Any] | None = None,
    validation: tuple[Any, Any] | None = None,
    scale: float | None = None,
    group: Any = None,
    time: Any = None,
) -> Dataset:
    """Check arrays and make them a `Dataset`. The Dataset has its own copy of them.

    Parameters
    ----------
    X : array-like, shape (n, d), or (n, height, width) or (n, height, width, channels) for images
        Numbers, bools, or numbers written as text (with a warning). Images are flattened. uint8, float32 and
        float64 stay what they are. Other kinds become float32 if that holds all their values, else float64;
        there is a warning if a value changes (longdouble, and integers beyond 2**53). A sparse matrix (of
        scipy.sparse) stays sparse until its rows enter a net.
    y : array-like, shape (n,) or (n, k)
        Labels or quantities; see Notes.
    name : str
    task : {"classification", "multilabel", "regression"}, optional
        Overrides what is recognised from `y`.
    test, validation : (X, y), optional
        Parts of their own. Their columns and classes must be those of X and y.
    scale : float, optional
        What X is multiplied by before it enters a net. Left out, 1/255 for uint8 and 1 for all else.
    group, time : array-like, shape (n,), optional
        What the rows are parted by; see `split`.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        Data that cannot be used; the message names the place.
    UsageError
        An unknown task.

    Notes
    -----
    How the task is recognised:

    - integers, bools and text of shape (n,) are classes;
    - rows that are all 0 but for one 1, shape (n, k), are the classes 0 to k - 1;
    - floats of shape (n,) are classes if all are whole numbers, with at most 20 different values and at most
      one for every two rows (so that 0.0, 1.0, 1.0, 0.0 is XOR, and 3.0, 7.0, 12.0 are three quantities);
    - all other floats are quantities: regression;
    - several yes-or-no answers for each row, shape (n, k) of 0 and 1, must be asked for: "multilabel".

    A shape of (n, 1) is read as (n,).

    Examples
    --------
    >>> from_arrays([[0.1, 2.0], [0.3, 1.0], [0.2, 4.0]], ["cat", "dog", "cat"]).classes
    ('cat', 'dog')
    >>> from_arrays([[0.1], [0.3], [0.2]], [1.5, 2.5, 2.0]).task
    'regression'
    """
    return build(X, y, name, task=task, test=test, validation=validation, scale=scale, group=group, time=time)


def build(
    X: Any,
    y: Any,
    name: str,
    *,
    task: Task | None = None,
    test: tuple[Any, Any] | None = None,
    validation: tuple[Any, Any] | None = None,
    scale: float | None = None,
    source: str = "",
    copy: bool = True,
    group: Any = None,
    time: Any = None,
) -> Dataset:
    """`from_arrays` for the readers, which own their arrays and need no copy of them."""
    check_task(task)
    rows, image_shape = _matrix(X, "X", copy)
    labels, task, classes = labels_of(y, rows.shape[0], task, "y", "X")
    refuse_one_class(labels, task, "y")
    if not is_sparse(rows) and len(rows) > 1 and (rows[:64] == rows[0]).all() and (rows == rows[0]).all():
        warnings.warn("all rows of X are equal: there is no information in X to learn from.", stacklevel=3)
    if scale is None:
        scale = 1 / 255 if rows.dtype == np.uint8 else 1.0
    elif not (np.isfinite(scale) and scale != 0):
        raise UsageError(f"scale={scale} must be a number other than 0: every X would become {0 * scale}.")
    data = Dataset(rows, labels, name, task, classes, image_shape, scale, None, source)
    parts: dict[str, Any] = {}
    for role, given in (("test", test), ("validation", validation)):
        if given is not None:
            parts[role] = array_part(data, *given, role=role, copy=copy)
    kinds = {rows.dtype, *(part.X.dtype for part in parts.values())}
    if len(kinds) > 1:  # float32 and float64: the wider one for all
        parts = {role: replace(part, X=part.X.astype(np.float64)) for role, part in parts.items()}
        data = replace(data, X=rows.astype(np.float64))
    for role, value in (("group", group), ("time", time)):
        if value is not None:
            parts[role] = by = np.array(value)
            if by.shape != (len(data),):
                raise DataError(
                    f"{role} must have a value for each of the {len(data)} rows of X, shape ({len(data)},), "
                    f"got {by.shape}."
                )
    return replace(data, **parts) if parts else data


def check_task(task: str | None) -> None:
    """Refuse a task that is not one of ours."""
    if task is not None and task not in get_args(Task):
        raise UsageError(f"task={task!r} is not a task. {nearest(str(task), get_args(Task))}")


def refuse_one_class(labels: Array, task: Task, what: str) -> None:
    """Refuse to learn from labels that are all the same."""
    if task == "classification" and len(present := np.unique(labels)) == 1:
        raise DataError(
            f"{what} is {present[0].item()!r} in all {len(labels)} rows: one class, and nothing to "
            f"tell apart.\n  Give rows of at least two classes, or task='regression' if {what} is a quantity."
        )


def array_part(data: Dataset, X: Any, y: Any, *, role: str, copy: bool = True) -> Dataset:
    """Rows given beside a Dataset of arrays, as a Dataset of the same columns and classes.

    Parameters
    ----------
    data : Dataset
    X, y : array-like
    role : str
        "test" or "validation", for names and messages.

    Raises
    ------
    DataError
    """
    rows, shape = _matrix(X, f"X_{role}", copy)
    flat = shape is None or data.image_shape is None
    if rows.shape[1] != data.X.shape[1] or not (flat or shape == data.image_shape):
        raise DataError(
            f"X_{role} has {_per_row(rows, shape)} and X has {_per_row(data.X, data.image_shape)}: "
            "both must have the same columns, in the same order."
        )
    if rows.dtype != data.X.dtype and np.uint8 in (rows.dtype, data.X.dtype):
        raise DataError(
            f"X is {data.X.dtype} and X_{role} is {rows.dtype}, and bytes are scaled but floats are not: "
            "give both as the same kind."
        )
    labels = part_labels(data, y, rows.shape[0], f"y_{role}", f"X_{role}")
    return Dataset(
        rows, labels, f"{data.name} ({role})", data.task, data.classes, data.image_shape, data.scale
    )


def part_labels(data: Dataset, y: Any, n: int, what: str, rows: str) -> Array:
    """The labels of rows given beside a Dataset: of its task, its classes and its columns."""
    wanted, _, seen = labels_of(y, n, data.task, what, rows)
    if data.task == "classification":
        wanted, seen = _respelled(wanted, seen, data.classes, what)
        new = [label for label in seen if label not in data.classes]
        if new:
            row = int(np.flatnonzero(wanted == new[0])[0])
            raise DataError(
                f"{what} in row {row} is {new[0]!r}, a class that y does not have "
                f"(y has {_few(data.classes)}). Train with rows of that class, or leave them out of the test."
            )
        if wanted.dtype.kind != data.y.dtype.kind:  # e.g. False against 0: equal, and found in classes
            wanted = wanted.astype(data.y.dtype)
    elif wanted.shape[1:] != data.y.shape[1:]:
        raise DataError(f"{what} has shape {wanted.shape} and y {data.y.shape}: give the same columns.")
    return wanted


def _respelled(
    labels: Array, seen: tuple[str | int, ...], classes: tuple[str | int, ...], what: str
) -> tuple[Array, tuple[str | int, ...]]:
    """Labels of text that differ from the classes by a full stop or by blanks alone, as UCI's adult.test."""
    new = [label for label in seen if label not in classes]
    plain = {label.strip(" ."): label for label in classes if isinstance(label, str)}
    same = {label: plain.get(label.strip(" .")) for label in new if isinstance(label, str)}
    if not new or len(plain) < len(classes) or len(same) < len(new) or None in same.values():
        return labels, seen
    old, known = next(iter(same.items()))
    warnings.warn(f"{what} writes {old!r} for {known!r}: they were taken for the same.", stacklevel=4)
    spelled = np.array([same.get(label) or label for label in labels.tolist()])
    return spelled, tuple(np.unique(spelled).tolist())


def _matrix(X: Any, what: str, copy: bool) -> tuple[Any, tuple[int, ...] | None]:
    return (as_csr(X, what), None) if is_sparse(X) else as_rows(X, what=what, copy=copy)


def _per_row(rows: Any, shape: tuple[int, ...] | None) -> str:
    return f"images of {' x '.join(map(str, shape))}" if shape else f"{rows.shape[1]} columns"


def _few(values: tuple[Any, ...], limit: int = 10) -> str:
    shown = ", ".join(repr(v) for v in values[:limit])
    return shown + (f", and {len(values) - limit} more" if len(values) > limit else "")


# ------------------------------------------------------------------------------------------------------- X


def as_rows(X: Any, *, what: str = "X", copy: bool = True) -> tuple[Array, tuple[int, ...] | None]:
    """Check the rows of X alone, as for a prediction.

    Parameters
    ----------
    X : array-like
        As in `from_arrays`. A sparse matrix is made dense, if it is within the memory budget.
    what : str
        What to call it in an error.
    copy : bool
        False may return X itself where nothing has to change.

    Returns
    -------
    rows : ndarray, shape (n, d)
        uint8, float32 or float64; C-contiguous, native byte order. Not scaled.
    image_shape : tuple of int or None

    Raises
    ------
    DataError

    Examples
    --------
    >>> rows, image_shape = as_rows([[[1, 2], [3, 4]]])
    >>> rows, image_shape
    (array([[1., 2., 3., 4.]]), (2, 2))
    """
    if is_sparse(X):
        matrix = as_csr(X, what)
        return dense(matrix, matrix.dtype, what), None
    array, names = _array(X, what)
    if array.ndim < 2:
        kind = array.dtype if isinstance(X, np.ndarray) else type(X).__name__
        got = f"shape {array.shape}" if array.ndim else f"one value of type {kind}"
        help_ = f"  For one row of {array.size} values write {what}.reshape(1, -1); for one column, "
        raise DataError(
            f"{what} must have two dimensions, rows and columns, got {got}."
            + (f"\n{help_}{what}.reshape(-1, 1)." if array.ndim else "")
        )
    if array.ndim > 4:
        raise DataError(
            f"{what} has {array.ndim} dimensions: {array.shape}. "
            "Give rows and columns, or images as (n, height, width) or (n, height, width, channels)."
        )
    image_shape = tuple(array.shape[1:]) if array.ndim > 2 else None
    if len(array) == 0:
        raise DataError(f"{what} has 0 rows: there is nothing to learn from or to predict.")
    if array.size == 0:
        raise DataError(f"{what} has 0 columns: its shape is {array.shape}.")
    if isinstance(X, np.memmap) and array.nbytes > memory_budget():
        raise DataError(
            f"{what} is on disk and takes {array.nbytes:,} bytes; the limit on this machine is "
            f"{memory_budget():,} (the environment variable BACKPASS_MEMORY sets another).\n"
            f"  Give a part, e.g. {what}[:{len(array) * memory_budget() // array.nbytes:_}]."
        )
    flat = array.reshape(len(array), -1)
    rows = _numbers(flat, what, names)
    rows = np.array(rows, order="C") if copy else np.ascontiguousarray(rows)
    _finite(rows, what, names)
    return rows, image_shape


def _array(value: Any, what: str) -> tuple[Array, list[str] | None]:
    """A plain ndarray, and the column names if `value` has some; the kinds that cannot work are refused."""
    if value is None:
        raise DataError(f"{what} is missing (None).")
    refuse_masked(value, what)
    names = None
    if hasattr(value, "columns") and hasattr(value, "to_numpy"):  # a data frame, whoever made it
        names = [str(column) for column in value.columns]
        twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if twice is not None:
            raise DataError(f"{what} has two columns named {twice!r}: rename one.")
        value = value.to_numpy()
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(_ragged(value, what) or f"{what} cannot be read as an array: {error}.") from None
    if array.dtype.kind == "T":  # numpy's text of variable width
        array = array.astype(object)
    if array.dtype.names is not None:
        raise DataError(
            f"{what} is a structured array with the fields {_few(array.dtype.names)}.\n"
            f"  Give a plain 2-D array: numpy.lib.recfunctions.structured_to_unstructured({what})."
        )
    if array.dtype.kind == "V":
        raise DataError(f"{what} has the dtype {array.dtype}: convert it first, {what}.astype('float32').")
    if array.dtype.kind in _REFUSED:
        raise DataError(f"{what} holds {_REFUSED[array.dtype.kind]} (its dtype is {array.dtype}).")
    return array, names


def refuse_masked(value: Any, what: str) -> None:
    """Refuse a masked array: numpy.asarray would drop the mask without a word."""
    if isinstance(value, np.ma.MaskedArray):
        holes = int(np.ma.getmaskarray(value).sum())
        raise DataError(
            f"{what}: this is a masked array ({holes} masked values), and a net has no way to leave values "
            "out.\n  Fill them with .filled(value), or drop the rows that have them."
        )


def _ragged(value: Any, what: str) -> str | None:
    try:
        lengths = [len(row) for row in value]
    except TypeError:
        return None
    row = next((i for i, length in enumerate(lengths) if length != lengths[0]), None)
    if row is None:
        return None
    return f"{what} has rows of different length: row 0 has {lengths[0]} values and row {row} {lengths[row]}."


def _place(row: int, column: int, names: list[str] | None) -> str:
    if names is not None and column < len(names):
        return f"row {row} (counted from 0), column {names[column]!r}"
    return f"row {row}, column {column} (counted from 0)"


def _numbers(array: Array, what: str, names: list[str] | None) -> Array:
    """A 2-D array as uint8, float32 or float64 with equal values."""
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind in "USO":
        return _from_text(array, what, names)
    if kind == "f" and size in (4, 8):
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if kind == "b" or (kind == "f" and size == 2) or (kind in "iu" and size <= 2):
        return array if array.dtype == np.uint8 else array.astype(np.float32)
    with np.errstate(over="ignore"):
        rows = array.astype(np.float64)
    if kind == "f":  # longdouble
        lost = (rows.astype(array.dtype) != array) & np.isfinite(array)
        huge = lost & ~np.isfinite(rows)
        if huge.any():
            row, column = (int(i) for i in np.argwhere(huge)[0])
            raise DataError(f"{what} in {_place(row, column, names)} is too large for float64: rescale it.")
    elif size < 8:
        return rows
    else:  # beyond 2**53 neighbours share one float64
        lost = array > 2**53 if kind == "u" else (array > 2**53) | (array < -(2**53))
    if lost.any():
        row, column = (int(i) for i in np.argwhere(lost)[0])
        warnings.warn(
            f"{what} holds numbers with more digits than float64 keeps (about 16), the first in "
            f"{_place(row, column, names)}: they are rounded. A column of identifiers is better left out.",
            stacklevel=4,
        )
    return rows


def _from_text(array: Array, what: str, names: list[str] | None) -> Array:
    rows = np.empty(array.shape, dtype=np.float64)
    text = False
    for j in range(array.shape[1]):
        column = array[:, j]
        try:
            if array.dtype.kind == "O" and any(isinstance(value, _LOSSY) for value in column):
                raise TypeError
            rows[:, j] = column
        except (ValueError, TypeError, OverflowError):
            for i, value in enumerate(column):
                if _is_missing(value):
                    rows[i, j] = np.nan  # counted with all the others, unless a word further down is worse
                    continue
                try:
                    if isinstance(value, _LOSSY):
                        raise TypeError
                    rows[i : i + 1, j] = column[i : i + 1]  # by the same parser as above
                except (ValueError, TypeError, OverflowError):
                    shown = value.item() if isinstance(value, np.generic) else value
                    raise DataError(
                        f"{what} in {_place(i, j, names)} is {_short(shown)}, which is not a number.\n"
                        "  Encode the column as numbers (e.g. one column for each word), or drop it."
                    ) from None
        text = text or any(isinstance(value, (str, bytes)) for value in column)
    if text:
        warnings.warn(f"{what} holds numbers written as text; they were read as numbers.", stacklevel=4)
    return rows


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _finite(rows: Array, what: str, names: list[str] | None) -> None:
    if rows.dtype.kind != "f" or np.isfinite(rows).all():
        return
    bad = np.isnan(rows)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        count = int(bad.sum())
        raise DataError(
            f"{what} has missing values (NaN) in {count} place{'s' if count > 1 else ''}, the first in "
            f"{_place(row, column, names)}.\n"
            "  Fill them, e.g. with the column's median (sklearn.impute.SimpleImputer), or drop those rows."
        )
    bad = np.isinf(rows)
    row, column = (int(i) for i in np.argwhere(bad)[0])
    count = int(bad.sum())
    raise DataError(
        f"{what} has infinity in {count} place{'s' if count > 1 else ''}, the first in "
        f"{_place(row, column, names)}.\n"
        "  Look for a division by zero or an overflow before this point; drop those rows or cap the values."
    )


# ------------------------------------------------------------------------------------------------------- y


def labels_of(
    y: Any, n: int, task: Task | None, what: str, rows: str
) -> tuple[Array, Task, tuple[str | int, ...]]:
    """The labels as Dataset keeps them, the task, and the classes."""
    array, _ = _array(y, what)
    if array.ndim == 0:
        raise DataError(f"{what} must be an array, a label for each row of {rows}, got {type(y).__name__}.")
    if len(array) != n:
        fewer = f"{abs(n - len(array))} fewer" if len(array) < n else f"{len(array) - n} more"
        raise DataError(
            f"{rows} has {n} rows and {what} has {len(array)} labels, {fewer}: each row needs its own label."
        )
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim > 2 or array.size == 0:
        raise DataError(f"{what} must have shape (n,) or (n, columns), got {array.shape}.")
    if array.ndim == 2:
        return _columns(array, task, what)
    if task == "multilabel":
        raise DataError(
            f"{what} has one column, and a multilabel task has several answers for each row, shape (n, k).\n"
            "  Give a column of 0 and 1 for each answer, or task='classification'."
        )
    array = _typed(array, what)
    if array.dtype.kind == "f":
        _no_holes(~np.isfinite(array), array, what)
        whole = bool((array == np.trunc(array)).all()) and float(np.abs(array).max()) <= 2**53
        if task is None:
            distinct = len(np.unique(array))
            few = distinct <= MANY_CLASSES and 2 * distinct <= n
            task = "classification" if whole and few else "regression"
        elif task == "classification" and not whole:
            row = int(np.flatnonzero(array != np.trunc(array))[0]) if (array != np.trunc(array)).any() else 0
            raise DataError(
                f"{what} in row {row} is {array[row]:.6g}: a quantity, not a class.\n"
                "  Use task='regression', or sort the values into classes first (e.g. numpy.digitize)."
            )
        if task == "classification":
            array = array.astype(np.int64)
    elif task == "regression":
        if array.dtype.kind == "U":
            array = _numbers(array[:, None], what, None)[:, 0]
            _no_holes(~np.isfinite(array), array, what)
    elif task is None:
        task = "classification"
        distinct = len(np.unique(array))
        if distinct > MANY_CLASSES and 2 * distinct > n:
            warnings.warn(
                f"{what} holds {distinct} different labels in {n} rows, taken as so many classes. "
                "If it is a quantity, give task='regression'.",
                stacklevel=4,
            )
    if task == "regression":
        floats = array if array.dtype.kind == "f" else array.astype(np.float64)
        return np.array(floats, order="C"), "regression", ()
    classes = tuple(np.unique(array).tolist())
    return np.array(array, order="C"), "classification", classes


def _columns(array: Array, task: Task | None, what: str) -> tuple[Array, Task, tuple[str | int, ...]]:
    """Targets of shape (n, k), k > 1."""
    whole = array.dtype.kind in "biu"
    numbers = _numbers(array, what, None)
    numbers = numbers.astype(np.float64 if numbers.dtype == np.uint8 else numbers.dtype, copy=False)
    _no_holes(np.asarray((~np.isfinite(numbers)).any(axis=1)), numbers, what)
    answers = ((numbers == 0) | (numbers == 1)).all(axis=1)
    if task == "multilabel":
        if answers.all():
            return numbers.astype(np.uint8), "multilabel", ()
        row = int(np.flatnonzero(~answers)[0])
        raise DataError(
            f"{what} in row {row} is {_few(tuple(array[row].tolist()))}: a multilabel task has answers "
            "of 0 and 1.\n  Use task='regression' to predict numbers."
        )
    hot = answers & (numbers.sum(axis=1) == 1)
    if task != "regression" and hot.all():
        return numbers.argmax(axis=1).astype(np.int64), "classification", tuple(range(array.shape[1]))
    if task == "classification" or (task is None and whole):
        row = int(np.flatnonzero(~hot)[0])
        raise DataError(
            f"{what} has {array.shape[1]} columns, and row {row} is not one-hot (one 1, all else 0): "
            f"{_few(tuple(array[row].tolist()))}.\n"
            "  Give one label for each row or one-hot rows; or task='multilabel' for several answers of "
            "0 and 1 in each row, or task='regression' to predict numbers."
        )
    return np.array(numbers, order="C"), "regression", ()


def _is_missing(value: object) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):  # pandas.NA, pandas.NaT
        return True
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))


def _no_holes(bad: Array, array: Array, what: str) -> None:
    if not bad.any():
        return
    rows = np.flatnonzero(bad)
    word = "infinite" if np.isinf(array[rows[0]]).any() else "missing"
    raise DataError(_rows_without(what, rows.tolist(), word))


def _rows_without(what: str, rows: list[int], word: str = "missing") -> str:
    shown = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
    return (
        f"{what} is {word} in {len(rows)} row{'s' if len(rows) > 1 else ''}: {shown} (counted from 0).\n"
        "  Find those labels, or drop the rows from both arrays."
    )


def _typed(array: Array, what: str) -> Array:
    """Labels of shape (n,) as bool, int64, float32, float64 or text of the least width."""
    if array.dtype.kind == "O":
        array = _typed_objects(array, what)
    kind = array.dtype.kind
    if kind == "S":
        try:
            array = np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{what} holds bytes that are not UTF-8 ({error.reason}): decode it.") from None
        kind = "U"
    if kind == "U":  # the width must not depend on where the labels came from: it enters the fingerprint
        width = max(1, int(np.char.str_len(array).max()))
        return array.astype(f"=U{width}", copy=False)
    if kind in "iu":
        if kind == "u" and array.dtype.itemsize == 8 and int(array.max()) > np.iinfo(np.int64).max:
            raise DataError(f"{what} holds {int(array.max())}, beyond 64-bit integers: give it as text.")
        return array.astype(np.int64, copy=False)
    if kind == "f" and array.dtype.itemsize not in (4, 8):
        with np.errstate(over="ignore"):
            return array.astype(np.float32 if array.dtype.itemsize == 2 else np.float64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _typed_objects(array: Array, what: str) -> Array:
    values = array.tolist()
    holes = [i for i, value in enumerate(values) if _is_missing(value)]
    if holes:
        raise DataError(_rows_without(what, holes))
    values = [value.item() if isinstance(value, np.generic) else value for value in values]
    kinds = [type(value) for value in values]
    known = {"?": (bool,), "i8": (int,), "f8": (int, float), "U": (str,), "S": (bytes,)}
    for dtype, types in known.items():
        if all(kind in types for kind in kinds):
            try:
                return np.array(values, dtype=dtype)
            except OverflowError:
                raise DataError(f"{what} holds whole numbers beyond 64 bits: give them as text.") from None
    at = next((i for i, kind in enumerate(kinds) if kind is not kinds[0]), 0)
    if at == 0:
        raise DataError(f"{what} holds values of type {kinds[0].__name__}: give text or numbers.")
    raise DataError(
        f"{what} mixes kinds: row 0 is {_short(values[0])} ({kinds[0].__name__}), row {at} is "
        f"{_short(values[at])} ({kinds[at].__name__}).\n"
        "  Make them all text, e.g. [str(label) for label in y], or all numbers."
    )
