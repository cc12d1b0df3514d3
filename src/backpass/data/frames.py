"""Tables and data frames become Datasets: which columns are answers, which are inputs, and what the task is.

Frames of pandas, polars and pyarrow enter through narwhals, none of which backpass depends on at import.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from backpass.data.arrays import MANY_CLASSES, check_task, labels_of, part_labels, refuse_one_class
from backpass.data.dataset import Array, Dataset, Task
from backpass.data.labels import labels_in
from backpass.data.table import Table, check_names
from backpass.errors import DataError, UsageError

Names = str | Sequence[str]


def from_frame(
    frame: Any,
    target: Names,
    name: str = "frame",
    *,
    task: Task | None = None,
    group: str = "",
    time: str = "",
    test: Any = None,
    validation: Any = None,
) -> Dataset:
    """A data frame, or a `Table`, with its answers among its columns becomes a `Dataset`.

    Parameters
    ----------
    frame : data frame of pandas, polars or pyarrow, or Table
    target : str or sequence of str
        The column to predict, or several: all numbers, or all of 0 and 1 ("multilabel").
    name : str
        What to call it in print.
    task : {"classification", "multilabel", "regression"}, optional
        Overrides what is recognised from the target, as in `from_arrays`.
    group, time : str
        A column that the rows are parted by, see `split`. It is no input.
    test, validation : frame, optional
        Parts of their own, with the same columns.

    Raises
    ------
    UsageError
        A column that is not there.
    DataError
        A target with holes or of one class, values that have no meaning here.

    Examples
    --------
    >>> import pandas
    >>> people = {"age": [39, 21, None], "job": ["cook", None, "smith"], "ill": [True, False, True]}
    >>> frame = pandas.DataFrame(people)
    >>> from_frame(frame, "ill")
    Dataset('frame', classification, 3 rows x 2 columns, 2 classes)
    """
    return table_dataset(
        as_table(frame), columns_named(target), name=name, task=task, group=group, time=time,
        test=None if test is None else as_table(test, "the test frame"),
        validation=None if validation is None else as_table(validation, "the validation frame"),
    )  # fmt: skip


def columns_named(target: Names) -> tuple[str, ...]:
    """One name or several as a tuple."""
    several = isinstance(target, Iterable) and not isinstance(target, str)
    return tuple(str(name) for name in target) if several else (str(target),)  # frames count columns, too


def table_dataset(
    table: Table,
    target: Sequence[str],
    *,
    name: str,
    task: Task | None = None,
    source: str = "",
    group: str = "",
    time: str = "",
    test: Table | None = None,
    validation: Table | None = None,
) -> Dataset:
    """A Table whose columns `target` are the answers, as a Dataset that has to be prepared."""
    check_task(task)
    target = tuple(target)
    if not target:
        raise UsageError(f"which column is to be predicted? {_listed(table.names)}")
    if len(set(target)) < len(target):
        raise UsageError(f"a target is given twice: {', '.join(target)}.")
    table.select([*target, *filter(None, (group, time))])  # names the nearest of a name that is not there
    for role, column in (("group", group), ("time", time)):
        if column in target:
            raise UsageError(f"{column!r} is the target and cannot be the {role} as well.")
    inputs = tuple(n for n in table.names if n not in {*target, group, time})
    if not inputs:
        raise DataError(
            f"{name} has no column besides {', '.join(map(repr, target))}: nothing to predict from."
        )
    if len(table) == 0:
        raise DataError(f"{name} has 0 rows: there is nothing to learn from.")
    what = " and ".join(f"column {n!r}" for n in target[:3]) + (" ..." if len(target) > 3 else "")
    labels: Any
    if _long_words(table, target, task):
        labels, task = labels_in(table, target[0], what, MANY_CLASSES), "classification"
        classes: tuple[str | int, ...] = labels.classes
        if len(classes) == 1:
            refuse_one_class(labels[:], task, what)
    else:
        y, task = _answers(table, target, task)
        labels, task, classes = labels_of(y, len(table), task, what, name)
        refuse_one_class(labels, task, what)
    data = Dataset(
        table, labels, name, task, classes, source=source, prepare="auto", target=target,
        feature_names=inputs, group=group, time=time,
    )  # fmt: skip
    return with_parts(data, test=test, validation=validation)


def _long_words(table: Table, target: Sequence[str], task: Task | None) -> bool:
    """Whether the target is a column of words that is too long to be held as words."""
    alone = len(target) == 1 and table.kinds[target[0]] == "text"
    return alone and not table.in_memory and task in (None, "classification")


def with_parts(data: Dataset, *, test: Table | None = None, validation: Table | None = None) -> Dataset:
    """The Dataset of a Table with parts of their own, which must have its columns and classes."""
    for role, part in (("test", test), ("validation", validation)):
        if part is not None:
            data = data.with_part(role, table_part(data, part, role))
    return data


def table_part(data: Dataset, table: Table, role: str) -> Dataset:
    """Rows given beside the Dataset of a Table, as a Dataset of the same columns and classes."""
    missing = [n for n in (*data.feature_names, *data.target) if n not in table]
    if missing:
        raise DataError(
            f"the {role} part of {data.name} has no column {', '.join(map(repr, missing[:5]))}"
            + (f" (and {len(missing) - 5} more)" if len(missing) > 5 else "")
            + f".\n  {_listed(table.names)} Give the columns the names of the training rows."
        )
    raw = data.table
    assert raw is not None
    for n in data.feature_names:
        if table.kinds[n] != raw.kinds[n] and {table.kinds[n], raw.kinds[n]} != {"bool", "number"}:
            raise DataError(
                f"column {n!r} holds {raw.kinds[n]} in the training rows and {table.kinds[n]} in the {role} "
                f"part, e.g. {_example(table[n])}.\n  Bring both to one kind."
            )
    y, _ = _answers(table, data.target, data.task)
    labels = part_labels(data, y, len(table), f"y_{role}", f"the {role} part")
    return replace(
        data, X=table, y=labels, name=f"{data.name} ({role})", source="", test=None, validation=None,
        group="", time="", options={},
    )  # fmt: skip


def _example(values: Array) -> str:
    whole = [v for v in values[:1000].tolist() if v is not None and v == v]
    return repr(whole[0])[:60] if whole else "a hole"


def _answers(table: Table, target: Sequence[str], task: Task | None) -> tuple[Array, Task | None]:
    """The values of the target columns, (n,) or (n, k), and the task where several columns tell it."""
    if len(target) == 1:
        return table[target[0]], task
    for column in target:
        if table.kinds[column] not in ("number", "bool"):
            raise DataError(
                f"column {column!r} holds {table.kinds[column]}: several targets must be numbers, or 0 and "
                "1.\n"
                "  Give one target of classes, or write it as one column of 0 and 1 for each class."
            )
    y = np.column_stack([table[column] for column in target]).astype(np.float64)
    if task is None:
        task = "multilabel" if ((y == 0) | (y == 1)).all() else "regression"
    return y, task


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:30]) + (f", and {len(names) - 30} more" if len(names) > 30 else "")
    return f"The columns are: {shown}."


# -------------------------------------------------------------------------------------------------- frames


def is_frame(value: Any) -> bool:
    """Whether `value` is a Table, or a data frame that narwhals knows.

    Examples
    --------
    >>> import pandas
    >>> is_frame(pandas.DataFrame({"a": [1]})), is_frame([[1]])
    (True, False)
    """
    if isinstance(value, Table):
        return True
    if isinstance(value, (np.ndarray, list, tuple, dict, str, int, float, type(None))):
        return False
    import narwhals.stable.v2 as nw
    from narwhals.exceptions import NarwhalsError

    try:
        return isinstance(nw.from_native(value, pass_through=True), (nw.DataFrame, nw.LazyFrame))
    except NarwhalsError:  # a frame with two columns of one name, which `as_table` tells
        return True


def as_table(frame: Any, what: str = "the frame") -> Table:
    """A data frame as a `Table`; a Table as it is.

    Parameters
    ----------
    frame : data frame of pandas, polars or pyarrow, or Table
    what : str
        What to call it in an error.

    Raises
    ------
    UsageError
        It is no frame, or a lazy one.
    DataError
        Two columns of one name, or a column of lists, times or other things that a net cannot take.

    Examples
    --------
    >>> import pandas
    >>> as_table(pandas.DataFrame({"age": [39, 21], "job": pandas.Categorical(["cook", None])}))
    Table(2 rows x 2 columns: age (number), job (text))
    """
    if isinstance(frame, Table):
        return frame
    import narwhals.stable.v2 as nw
    from narwhals.exceptions import NarwhalsError

    if not hasattr(frame, "collect"):  # narwhals does not say which name comes twice
        own = getattr(frame, "column_names", getattr(frame, "columns", None))  # pyarrow; all others
        check_names([str(name) for name in ([] if own is None else own)], what)
    try:
        known = nw.from_native(frame, pass_through=True)
        if isinstance(known, nw.LazyFrame):
            raise UsageError(f"{what} is lazy: its rows are not read yet. Give {what}.collect().")
        if not isinstance(known, nw.DataFrame):
            raise UsageError(
                f"{what} must be a data frame (pandas, polars, pyarrow), got {type(frame).__name__}."
            )
        names = [str(name) for name in known.columns]
        columns = {}
        for name, series in zip(names, known.iter_columns(), strict=True):
            columns[name] = _values(series, name, nw)
    except NarwhalsError as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{what} cannot be read: {reason}.") from None
    return Table.from_columns(columns, what=what)


def _values(series: Any, name: str, nw: Any) -> Any:
    """One column as numbers, dates, or objects with None for holes."""
    kind = series.dtype
    if isinstance(kind, (nw.Categorical, nw.Enum)):
        return series.cast(nw.String).to_list()
    if isinstance(kind, nw.Datetime) and kind.time_zone is None:
        return np.asarray(series.to_numpy(), dtype="datetime64[us]")
    if isinstance(kind, (nw.Datetime, nw.Date, nw.String, nw.Boolean, nw.Object)):
        return series.to_list()
    if kind.is_numeric():
        if series.null_count():
            return np.asarray(series.cast(nw.Float64).to_numpy(), dtype=np.float64)
        return np.asarray(series.to_numpy())
    if isinstance(kind, nw.Duration):
        raise DataError(
            f"column {name!r} holds time spans: turn them into numbers first, e.g. their total seconds."
        )
    if isinstance(kind, nw.Unknown):
        values = series.to_numpy()
        if values.dtype.kind in "biufMOU":
            return values
        kind = values.dtype
    raise DataError(
        f"column {name!r} has the dtype {kind}, of which a net can make nothing.\n"
        "  Turn it into numbers, text, bools or dates, or leave the column out."
    )


def joined(X: Any, y: Any) -> tuple[Table, tuple[str, ...]]:
    """A frame of inputs and the answers beside it as one Table, and the names of the answers.

    Parameters
    ----------
    X : data frame or Table
    y : str or list of str (columns of X), or data frame, series, or array-like of shape (n,) or (n, k)

    Examples
    --------
    >>> import pandas
    >>> joined(pandas.DataFrame({"a": [1, 2]}), [True, False])
    (Table(2 rows x 2 columns: a (number), target (bool)), ('target',))
    """
    table = as_table(X, "X")
    if isinstance(y, str) or (isinstance(y, (list, tuple)) and y and all(n in table for n in y)):
        return table, columns_named(y)
    if is_frame(y):
        answers = as_table(y, "y")
        found = {n: answers[n] for n in answers.names}
    else:
        own = getattr(y, "name", None)
        array = y if hasattr(y, "shape") and hasattr(y, "dtype") else _listlike(y)
        if getattr(array, "ndim", 1) == 2 and array.shape[1] > 1:
            found = {f"target {k}": array[:, k] for k in range(array.shape[1])}
        else:
            values = np.asarray(array).reshape(-1) if getattr(array, "ndim", 1) == 2 else array
            found = {str(own) if own not in (None, "") else "target": values}
    columns: dict[str, Any] = {n: table[n] for n in table.names}
    names = []
    for n, values in found.items():
        while n in columns:  # a name of X keeps its column
            n += " (y)"
        length = len(values)
        if length != len(table):
            raise DataError(
                f"X has {len(table)} rows and y has {length} labels: each row needs its own label."
            )
        columns[n] = _series(values, n)
        names.append(n)
    return Table.from_columns(columns), tuple(names)


def _listlike(y: Any) -> Any:
    if isinstance(y, Iterable) and not isinstance(y, (str, bytes)):
        values = list(y)
        nested = values and isinstance(values[0], (list, tuple, np.ndarray))
        return np.asarray(values) if nested else values
    raise DataError(f"y must have a label for each row of X, got {type(y).__name__}.")


def _series(values: Any, name: str) -> Any:
    """A series of any library as a column; anything else as it is."""
    if isinstance(values, (np.ndarray, list)):
        return values
    import narwhals.stable.v2 as nw

    known = nw.from_native(values, pass_through=True, allow_series=True)
    return _values(known, name, nw) if isinstance(known, nw.Series) else values
