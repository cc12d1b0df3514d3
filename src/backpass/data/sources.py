"""The doors: a name, a path, arrays or a frame become a `Dataset`; paths become rows to predict."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from backpass.data import bundled, frames, images, readers
from backpass.data.arrays import array_part, check_task, from_arrays, labels_of
from backpass.data.dataset import Array, Dataset, Task
from backpass.data.frames import Names, columns_named, from_frame, table_dataset, table_part
from backpass.data.sparse import is_sparse
from backpass.data.table import Table
from backpass.errors import DataError, UsageError

#: Those options of `load` that say how a file is read; `load_rows` takes them too.
READING = ("names", "sep", "header", "encoding", "holes", "kinds", "size", "color")


def load(
    spec: str | os.PathLike[str],
    *,
    target: Names | None = None,
    task: Task | None = None,
    test: str | os.PathLike[str] | None = None,
    validation: str | os.PathLike[str] | None = None,
    group: str = "",
    time: str = "",
    drop: Names = (),
    names: Sequence[str] | None = None,
    sep: str | None = None,
    header: bool | None = None,
    encoding: str | None = None,
    holes: Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    size: images.Size | str | int | None = None,
    color: bool | None = None,
    memory: int | str | None = None,
) -> Dataset:
    """Read a data set. Nothing is fitted: rows stay as they are in the source.

    Parameters
    ----------
    spec : str or path
        - a bundled name: see `BUNDLED` and `describe`;
        - a table: CSV, TSV and other text (``.gz`` too), Parquet, JSON lines;
        - an ``.npz`` file with X (or x, inputs, X_train) and y (or t, labels, targets, y_train), and perhaps
          X_test and y_test; or an ``.npy`` file with X, and `target` the one with y;
        - a folder of images (PNG, JPEG, BMP, GIF, WebP) with a sub-folder for each class, or with ``train``
          and ``test`` and ``val`` that have these;
        - a folder with ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the same two of ``t10k``,
          each plain or ``.gz``, also spelled ``train-images.idx3-ubyte``.
    target : str or sequence of str
        The column of a table to predict, or several. Needed for a table from a file.
    task : {"classification", "multilabel", "regression"}, optional
        Overrides what is recognised, as in `from_arrays`.
    test, validation : str or path, optional
        A part in a source of its own, read in the same way.
    group, time : str
        A column of a table that the rows are parted by, see `split`. It is no input.
    drop : str or sequence of str
        Columns of a table to leave out.
    names, sep, header, encoding, holes, kinds, memory : optional
        How a table is read; see `read_table`.
    size : (width, height), int or "WxH", optional
        Resize images to this. Left out, all must be of one size.
    color : bool, optional
        Images as red, green and blue, or grey. Left out, in colour if one is.

    Returns
    -------
    Dataset

    Raises
    ------
    UsageError
        A name or a column that is not there, an option that this source does not take.
    DataError
        A file that is missing, unreadable, torn, too large, or whose contents cannot be used.

    Examples
    --------
    >>> load("digits")
    Dataset('digits', classification, 1797 rows x 64 columns, 10 classes)
    >>> load("iris", target="petal_width_cm")
    Dataset('iris', regression, 150 rows x 4 columns)
    """
    check_task(task)
    pixels = images.as_size(size)
    reading = _given(names=names, sep=sep, header=header, encoding=encoding, holes=holes, kinds=kinds)
    looking = _given(size=pixels, color=color)
    columns = _given(group=group, time=time, drop=columns_named(drop) if drop else ())
    make = bundled.find(spec) if isinstance(spec, str) else None
    if make is not None:  # not a Path: that is a folder of this name
        _unused(f"the bundled set {spec}", reading | looking)
        data = make()
        if data.table is not None and (target is not None or task is not None or columns):
            story, suggests = data.story, data.suggests
            kept = data.table.drop(columns.pop("drop", ()))
            data = table_dataset(
                kept, columns_named(target) if target is not None else data.target,
                name=data.name, task=task, source=data.source, **columns,
            )  # fmt: skip
            data = replace(data, story=story, suggests=suggests)
        elif data.table is None:
            if target is not None:
                columns["target"] = target
            _unused(f"the bundled set {spec}, which has no named columns,", columns)
            if task is not None:
                data = replace(
                    from_arrays(data.X, data.y, data.name, task=task, scale=data.scale),
                    source=data.source, image_shape=data.image_shape,
                )  # fmt: skip
    else:
        path = readers.path_of(spec)
        form = _form(path)
        if form == "table":
            _unused(f"the table {path.name}", looking)
            data = _table(path, target, task, reading, columns, memory)
        else:
            _unused(f"{path.name}, which is no table,", reading | columns)
            if form != "images":
                _unused(f"{path.name}, which is no folder of images,", looking)
            if form in ("images", "idx folder") and target is not None:
                _unused(f"{path.name}, which has no named columns,", {"target": target})
            if form == "images" and task not in (None, "classification"):
                raise UsageError(f"the classes of {path.name} are its folders: it has no task {task!r}.")
            if form == "images":
                data = readers.image_dataset(path, pixels, color)
            elif form == "idx folder":
                data = readers.idx_folder(path, task)
            else:
                file = target if target is None or isinstance(target, str) else str(target[0])
                data = readers.array_dataset(path, form, file, task)
    options = {**reading, **looking, **columns, **_given(drop=drop)}
    if target is not None:
        names_ = columns_named(target)
        options["target"] = list(names_) if data.table is not None else str(readers.path_of(names_[0]))
    if task is not None:
        options["task"] = task
    data = replace(data, options=_plain(options))
    for role, given in (("test", test), ("validation", validation)):
        if given is not None:
            options = {**data.options, role: str(readers.path_of(given))}
            data = replace(data.with_part(role, as_part(data, given, role)), options=options)
    return data


def load_rows(
    path: str | os.PathLike[str],
    *,
    names: Sequence[str] | None = None,
    sep: str | None = None,
    header: bool | None = None,
    encoding: str | None = None,
    holes: Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    size: images.Size | str | int | None = None,
    color: bool | None = None,
    memory: int | str | None = None,
    image_shape: Sequence[int] | None = None,
) -> Array | Table:
    """Read the rows to predict. They are raw: `scaled`, or a `Preparation`, makes of them what enters a net.

    Parameters
    ----------
    path : str or path
        An ``.npy`` file; an ``.npz`` file with X (or with one array of any name); one IDX file of images; one
        image, or a folder of them with or without classes; a table; or what `load` takes. Of a source that
        has a test part the test rows, else all.
    names, sep, header, encoding, holes, kinds, memory, size, color : optional
        As in `load`: give those that the training rows were read with.
    image_shape : (height, width) or (height, width, 3), optional
        What the net was trained on: images must be of this size, or `size` be given.

    Returns
    -------
    ndarray of shape (n, d), or Table
        uint8, float32 or float64. Images of shape (n, height, width) are flattened.

    Raises
    ------
    UsageError, DataError

    Examples
    --------
    >>> load_rows("digits").shape
    (1797, 64)
    """
    pixels = images.as_size(size)
    make = bundled.find(path) if isinstance(path, str) else None
    if make is not None:
        rows: Array | Table = make().X
        return rows
    where = readers.path_of(path)
    form = _form(where)
    if form == "table":
        from backpass.data.tables import read_table

        reading = _given(names=names, sep=sep, header=header, encoding=encoding, holes=holes, kinds=kinds)
        return read_table(where, **reading, memory=memory)
    if form in ("images", "image"):
        return readers.image_rows(where, pixels, color, image_shape)
    return readers.idx_rows(where) if form == "idx folder" else readers.array_rows(where, form)


def as_dataset(
    data: Any,
    target: Names | None = None,
    *,
    name: str = "",
    task: Task | None = None,
    test: Any = None,
    validation: Any = None,
    scale: float | None = None,
    group: Any = None,
    time: Any = None,
    **options: Any,
) -> Dataset:
    """Whatever a person may give as data, as a `Dataset`: the one door of `train`.

    Parameters
    ----------
    data : Dataset, str, path, (X, y), data frame or Table
        X and y are arrays, lists, sparse matrices (X), or frames and series of pandas, polars or pyarrow. A
        matrix enters a net as it is; a frame is prepared first. In ``(frame, "price")`` y is a column.
    target : str or sequence of str, optional
        The column to predict, or several, of a frame or a file.
    task, scale
        See `from_arrays`.
    test, validation : optional
        Parts of their own, given in any of these ways.
    group, time : str or array, optional
        What the rows are parted by, see `split`: a column, or for a matrix an array.
    **options
        How a file is read; see `load`.

    Raises
    ------
    UsageError, DataError

    Examples
    --------
    >>> import pandas
    >>> frame = pandas.DataFrame({"age": [39, 21, 45], "ill": ["no", "no", "yes"]})
    >>> as_dataset(frame, "ill")
    Dataset('frame', classification, 3 rows x 1 columns, 2 classes)
    >>> as_dataset(([[0.0], [1.0]], ["a", "b"]))
    Dataset('arrays', classification, 2 rows x 1 columns, 2 classes)
    """
    file = isinstance(data, (str, os.PathLike))
    if options and not file:
        _unused(f"data of type {type(data).__name__}", options)
    by = _given(group=group, time=time)
    if file:
        beside = {"test": test, "validation": validation}
        at: dict[str, Any] = {
            role: given for role, given in beside.items() if isinstance(given, (str, os.PathLike))
        }
        made = load(data, target=target, task=task, **by, **options, **at)
        test, validation = (None if role in at else given for role, given in beside.items())
    elif isinstance(data, Dataset):
        _unused("a Dataset", _given(target=target, task=task, scale=scale, **by))
        made = data
    elif frames.is_frame(data):
        if target is None:
            listed = ", ".join(frames.as_table(data).names[:30])
            raise UsageError(f"which column of the frame is to be predicted? Its columns: {listed}.")
        _unused("a frame", _given(scale=scale))
        made = from_frame(data, target, name or "frame", task=task, **by)
    elif isinstance(data, (tuple, list)) and len(data) == 2 and _pair(data):
        X, y = data
        if target is not None:
            raise UsageError("target= names a column, and here y is given beside X: leave one of them out.")
        if frames.is_frame(X):
            _unused("a frame", _given(scale=scale))
            table, columns = frames.joined(X, y)
            if task is None and not isinstance(y, str) and columns[0] not in frames.as_table(X):
                task = _task_of(y, len(table))
            made = table_dataset(table, columns, name=name or "frame", task=task, **by)
        else:
            made = from_arrays(X, y, name or "arrays", task=task, scale=scale, **by)
    else:
        what = "X alone, without labels" if hasattr(data, "shape") else type(data).__name__
        raise UsageError(
            f"data is (X, y), a data frame with a target, a Dataset, or a name or path; got {what}."
        )
    if name and made.name != name:
        made = replace(made, name=name)
    for role, given in (("test", test), ("validation", validation)):
        if given is not None:
            made = made.with_part(role, as_part(made, given, role))
    return made


def as_part(data: Dataset, given: Any, role: str = "test") -> Dataset:
    """Rows given beside a Dataset, as a Dataset of the same task, columns and classes.

    Parameters
    ----------
    data : Dataset
    given : (X, y), data frame or Table, Dataset, str or path
        A path is read as `data` was.
    role : {"test", "validation"}

    Raises
    ------
    DataError
        Other columns, or a class that `data` does not have.

    Examples
    --------
    >>> data = from_arrays([[0.0], [1.0], [2.0]], ["a", "b", "a"])
    >>> as_part(data, ([[3.0]], ["b"])).targets()
    array([[0., 1.]])
    """
    if isinstance(given, (str, os.PathLike)):
        given = _part_at(data, given, role)
    if data.table is not None:
        return table_part(data, _table_given(data, given, role), role)
    if isinstance(given, Dataset):
        if given.table is not None:
            raise UsageError(f"{data.name} is a matrix and the {role} part a table: give both as one kind.")
        shape = given.image_shape
        X = given.X if shape is None or is_sparse(given.X) else given.X.reshape(len(given), *shape)
        return array_part(data, X, given.y, role=role, copy=False)
    if isinstance(given, (tuple, list)) and len(given) == 2:
        return array_part(data, *given, role=role)
    raise UsageError(f"the {role} part is (X, y), a Dataset, or a name or path, got {type(given).__name__}.")


def _part_at(data: Dataset, spec: str | os.PathLike[str], role: str) -> Any:
    """What is at a path, read as the training rows were."""
    reading = {key: value for key, value in data.options.items() if key in READING}
    if data.table is not None:
        rows = load_rows(spec, **reading)
        if not isinstance(rows, Table):
            raise DataError(
                f"{os.fspath(spec)} is no table, and {data.name} is: its {role} part must be one, too."
            )
        other = {
            n: k
            for n, k in data.table.kinds.items()
            if n in rows and rows.kinds[n] != k and k != "bool" and not isinstance(spec, Dataset)
        }
        if other and bundled.find(os.fspath(spec)) is None:
            # A column may look otherwise in fewer rows: what the training rows have is what it must be.
            rows = load_rows(spec, **{**reading, "kinds": {**reading.get("kinds", {}), **other}})
        return rows
    shape, more = data.image_shape, dict(reading)
    where = readers.path_of(spec) if bundled.find(os.fspath(spec)) is None else None
    if shape is not None and where is not None and _form(where) == "images":
        more = {"size": reading.get("size"), "color": len(shape) == 3}
    return load(spec, task=data.task if where is not None and "color" not in more else None, **more)


def _table_given(data: Dataset, given: Any, role: str) -> Table:
    if isinstance(given, Dataset):
        if given.table is None:
            raise UsageError(f"{data.name} is a table and the {role} part a matrix: give both as one kind.")
        return given.table
    if frames.is_frame(given):
        return frames.as_table(given, f"the {role} frame")
    if isinstance(given, (tuple, list)) and len(given) == 2:
        X, y = given
        if not frames.is_frame(X):
            array = np.asarray(X)
            if array.ndim != 2 or array.shape[1] != len(data.feature_names):
                raise DataError(
                    f"X_{role} has the shape {array.shape}, and {data.name} has {len(data.feature_names)} "
                    "input columns: give those, in order, or a frame."
                )
            X = Table.from_columns(dict(zip(data.feature_names, array.T, strict=True)), what=f"X_{role}")
        table, columns = frames.joined(X, y)
        if len(columns) != len(data.target):
            raise DataError(
                f"y_{role} has {len(columns)} columns and {data.name} {len(data.target)} targets."
            )
        names = dict(zip(columns, data.target, strict=True))
        return Table({names.get(n, n): table[n] for n in table.names if n in names or n not in data.target})
    raise UsageError(f"the {role} part is a frame, (X, y), a Dataset or a path, got {type(given).__name__}.")


def _table(
    path: Path,
    target: Names | None,
    task: Task | None,
    reading: dict[str, Any],
    columns: dict[str, Any],
    memory: int | str | None,
) -> Dataset:
    from backpass.data.tables import read_table

    table = read_table(path, **reading, memory=memory)
    table = table.drop(columns.pop("drop", ()))
    if target is None:
        shown = ", ".join(table.names[:30]) + (", ..." if len(table.names) > 30 else "")
        raise UsageError(
            f"{path.name} is a table: which column is to be predicted? Its columns are: {shown}.\n"
            f"  Name it: target={table.names[-1]!r}, or --target {table.names[-1]} at the command line."
        )
    with readers.named(path):
        return table_dataset(
            table, columns_named(target), name=_stem(path), task=task, source=str(path), **columns
        )


def _stem(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).stem


def _form(path: Path) -> str:
    if not readers.is_folder(path):
        return readers.form_of(path)
    return "idx folder" if readers.is_idx_folder(path) else "images"


def _pair(data: Any) -> bool:
    """Whether two things are X and y. A list of two lists of numbers is one matrix, and no pair."""
    return isinstance(data, tuple) or hasattr(data[0], "shape") or frames.is_frame(data[0])


def _task_of(y: Any, n: int) -> Task | None:
    """The task that labels beside a frame mean, by the rules of `from_arrays`."""
    if frames.is_frame(y):
        return None
    values = y.to_numpy() if hasattr(y, "to_numpy") else np.asarray(y)
    if values.ndim == 2 and values.shape[1] > 1:
        return None
    kind = values.dtype.kind
    if kind == "f":
        return labels_of(values, n, None, "y", "X")[1]
    return "classification" if kind in "iubUS" else None


def _given(**options: Any) -> dict[str, Any]:
    """Those options that were given."""
    return {key: value for key, value in options.items() if value is not None and not _empty(value)}


def _empty(value: Any) -> bool:
    return isinstance(value, (str, tuple, list, dict)) and len(value) == 0


def _unused(what: str, options: Mapping[str, Any]) -> None:
    if options:
        words = ", ".join(f"{key}=" for key in options)
        raise UsageError(f"{what} takes no {words}: leave {'it' if len(options) == 1 else 'them'} out.")


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON can hold them."""
    plain = {}
    for key, value in options.items():
        pairs = isinstance(value, Mapping)
        plain[key] = dict(value) if pairs else list(value) if isinstance(value, (tuple, list)) else value
    return plain
