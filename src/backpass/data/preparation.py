"""`Preparation`: what raw rows become before they enter a net, fitted on the training rows alone."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from backpass.data.columns import Encoding, Tally, column_names, encode
from backpass.data.dataset import Array, Dataset, Task, scaled
from backpass.data.sparse import is_sparse
from backpass.data.table import Table, as_column, refuse_huge
from backpass.errors import DataError, RecordError

Index = NDArray[np.int64]
Kind = Literal["table", "as_is", "standardise"]

#: Rows that are encoded at a time, so that a block and its inputs stay in the processor's cache.
_ROWS = 4096
#: Columns that a matrix may have: their names alone are lists of this length.
MOST_COLUMNS = 2**22


class Preparation:
    """How raw rows become the inputs of a net, and how its outputs become answers.

    Made by `fit_preparation`; `describe` and `from_description` are plain JSON and carry everything.

    ==============  ======================================================================================
    a column of     becomes
    ==============  ======================================================================================
    numbers         one column with mean 0 and standard deviation 1 over the training rows; if it has no
                    negative value and its skewness is above 2, of log(1 + x)
    words           a column of 0 and 1 for each word, in alphabetical order; of more than 50 words for the
                    50 most frequent, and one for all others
    bools           0 and 1
    dates           days, standardised; sine and cosine of the season, a column for each weekday, sine and
                    cosine of the time of day, where these differ
    holes           the median (numbers, dates) or all 0 (words), and a column "missing"
    one value, or   left out, with a warning
    names of rows
    ==============  ======================================================================================

    A word that the training rows did not have makes a row of zeros (or counts as "other", where there is such
    a column); `inputs` warns how many there were. Quantities to predict are standardised; `answers` takes
    them back to their units.

    Attributes
    ----------
    task : {"classification", "multilabel", "regression"}
    classes : tuple
        Of the outputs, in order; empty unless it is a classification.
    columns : tuple of str
        The names of the input columns of x.
    features : tuple of str
        The names of the raw columns that `inputs` needs.
    target_names : tuple of str
    outputs : int
        Columns of the targets.
    rows : int
        How many training rows it was fitted on.
    warnings : tuple of str
        What a person should know before trusting the result.

    Examples
    --------
    >>> from backpass.data.frames import table_dataset
    >>> ill = [True, False, True]
    >>> table = Table.from_columns({"age": [20, 40, None], "job": ["a", "b", "a"], "ill": ill})
    >>> data = table_dataset(table, ["ill"], name="people")
    >>> preparation = fit_preparation(data)
    >>> preparation.columns
    ('age', 'age: missing', 'job=a', 'job=b')
    >>> preparation.inputs(data)
    array([[-1.,  0.,  1.,  0.],
           [ 1.,  0.,  0.,  1.],
           [ 0.,  1.,  1.,  0.]])
    """

    def __init__(self, description: Mapping[str, Any]) -> None:
        made = dict(description)
        self._made = made
        self.kind: Kind = made["kind"]
        self.task: Task = made["task"]
        self.classes: tuple[Any, ...] = tuple(made["classes"])
        self.target_names: tuple[str, ...] = tuple(made["target_names"])
        self.outputs: int = made["outputs"]
        self.rows: int = made["rows"]
        self.warnings: tuple[str, ...] = tuple(made["warnings"])
        self._encodings: list[Encoding] = list(made.get("columns", ()))
        self._widths = [len(column_names(e)) for e in self._encodings]
        if self.kind == "table":
            self.features = tuple(e["name"] for e in self._encodings)
            self.columns = tuple(name for e in self._encodings for name in column_names(e))
        else:
            self.features = tuple(made["features"])
            self.columns = self.features

    # --------------------------------------------------------------------------------------------- to a file

    def describe(self) -> dict[str, Any]:
        """All of it as plain JSON."""
        return dict(self._made)

    def with_plain_targets(self) -> Preparation:
        """The same for the inputs, and quantities to predict in their own units.

        For outputs that cannot be any number: a count is not below 0, and would be once it is standardised.
        """
        if self.task != "regression" or not self._scaled_target:
            return self
        plain = {"target_mean": [0.0] * self.outputs, "target_std": [1.0] * self.outputs}
        return Preparation({**self._made, **plain})

    @classmethod
    def from_description(cls, made: Mapping[str, Any]) -> Preparation:
        """The preparation that `describe` described.

        Raises
        ------
        RecordError
            It is not one.
        """
        try:
            if made["kind"] not in ("table", "as_is", "standardise"):
                raise ValueError(f"kind {made['kind']!r}")
            return cls(made)
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError(
                f"this is no description of a preparation: {error!r} is missing or wrong"
            ) from None

    def __repr__(self) -> str:
        return f"Preparation({len(self.features)} columns -> {len(self.columns)} inputs, {self.task})"

    # --------------------------------------------------------------------------------------------- to the net

    def inputs(self, raw: Any, dtype: DTypeLike = np.float64, rows: Index | None = None) -> Array:
        """Raw rows as they enter the net.

        Parameters
        ----------
        raw : Dataset, Table, data frame, or array of shape (n, d)
            Columns of a table are found by name; their order does not matter, and others are ignored.
        dtype : float32 or float64
        rows : int array, optional
            Which rows; all if left out.

        Returns
        -------
        ndarray, shape (n, d), a new C-contiguous array

        Raises
        ------
        DataError
            Columns are missing, or hold another kind of value than the training rows.
        """
        if isinstance(raw, Dataset):
            if raw.table is None:
                return self._matrix(raw, dtype, rows)
            raw = raw.X
        if self.kind != "table":
            return self._plain(raw, dtype, rows)
        table = self._table(raw)
        count = len(table) if rows is None else len(rows)
        out = np.empty((count, len(self.columns)), dtype=dtype)
        unknown = Unknown()
        if rows is not None:
            table = table.take(rows)
        for start, block in table.blocks(_ROWS):
            self.fill(block, out[start : start + len(block)], unknown)
        unknown.warn()
        return out

    def fill(self, block: Table, out: Array, unknown: Unknown) -> None:
        """Encode the rows of a block into `out`, shape (n, d)."""
        at = 0
        with np.errstate(over="ignore"):  # looked for below, where it has a place
            for encoding, width in zip(self._encodings, self._widths, strict=True):
                values = _of_kind(block, encoding)
                unknown.count(encoding, *encode(encoding, values, out[:, at : at + width]))
                at += width
        if not np.isfinite(out).all():
            row, column = np.argwhere(~np.isfinite(out))[0]
            raise DataError(
                f"column {self.columns[column]!r} is too large for {out.dtype}: {out[row, column]} where the "
                "training rows are about 1. Correct the value, or train in float64."
            )

    def _table(self, raw: Any) -> Table:
        if not isinstance(raw, Table):
            if isinstance(raw, (np.ndarray, list, tuple)):
                from backpass.data.arrays import refuse_masked

                refuse_masked(raw, "the rows to predict")
                array = np.asarray(raw, dtype=object)
                if array.ndim != 2 or array.shape[1] != len(self.features):
                    raise DataError(
                        f"the rows must have the columns {_few(self.features)}, got an array of shape "
                        f"{array.shape}.\n  Give a data frame with these columns."
                    )
                warnings.warn(
                    "an array has no names of columns: they are taken in the order of the training columns "
                    f"({_few(self.features)}).",
                    stacklevel=4,
                )
                raw = Table({n: as_column(array[:, at], n) for at, n in enumerate(self.features)})
            else:
                from backpass.data.frames import as_table

                raw = as_table(raw, "the rows to predict")
        missing = [name for name in self.features if name not in raw]
        if missing:
            extra = [name for name in raw.names if name not in self.features]
            raise DataError(
                f"the rows have no column {_few(missing)}, which the net was trained with.\n"
                f"  Give all of: {_few(self.features, 40)}."
                + (f" These are there and not needed: {_few(extra)}." if extra else "")
            )
        if not len(raw):
            raise DataError("there are 0 rows to predict.")
        table: Table = raw.select(self.features)
        return table

    def ignored(self, raw: Table) -> tuple[str, ...]:
        """Columns of the rows that are not looked at, besides those that training left out or predicted."""
        known = {
            *self.features,
            *self.target_names,
            *self._made.get("left_out", {}),
            *self._made.get("roles", ()),
        }
        return tuple(name for name in raw.names if name not in known)

    def _matrix(self, data: Dataset, dtype: DTypeLike, rows: Index | None) -> Array:
        if self.kind == "table":
            return self.inputs(data.X if rows is None else data.X[rows], dtype)
        if self.kind == "as_is":
            return data.inputs(dtype, rows)
        return self._standardised(data.X if rows is None else data.X[rows], dtype)

    def _plain(self, raw: Any, dtype: DTypeLike, rows: Index | None) -> Array:
        from backpass.data.arrays import as_rows

        if isinstance(raw, Table):
            wrong = next((name for name in raw.names if raw.kinds[name] in ("text", "date")), None)
            if wrong is not None:
                raise DataError(
                    f"column {wrong!r} holds {raw.kinds[wrong]}, e.g. {str(raw[wrong][0])[:40]!r}, and the "
                    "net was trained with numbers alone.\n"
                    "  Drop the column, or encode it as it was for training."
                )
            raw = np.column_stack([raw[name].astype(np.float64) for name in raw.names])
        width = np.shape(raw)[1] if is_sparse(raw) and len(np.shape(raw)) == 2 else None
        array = None if width not in (None, self._made["width"]) else as_rows(raw, copy=False)[0]
        width = width if array is None else array.shape[1]
        if array is None or width != self._made["width"]:
            raise DataError(
                f"the rows have {width:,} columns, and the net was trained with {self._made['width']:,}.\n"
                "  Give the same columns, in the same order."
            )
        array = array if rows is None else array[rows]
        if self.kind == "as_is":
            return scaled(array, self._made["scale"], dtype)
        return self._standardised(array, dtype)

    def _standardised(self, array: Array, dtype: DTypeLike) -> Array:
        mean, std = np.array(self._made["mean"]), np.array(self._made["std"])
        return scaled((array.astype(np.float64) - mean) / std, 1.0, dtype)

    def targets(self, data: Dataset, dtype: DTypeLike = np.float64, rows: Index | None = None) -> Array:
        """What the net should answer, shape (n, k): one-hot rows, 0 and 1, or standardised quantities.

        Parameters
        ----------
        data : Dataset
            The one that was fitted, or a part with its classes.
        dtype : float32 or float64
        rows : int array, optional
        """
        if self.task == "classification":
            codes = data.codes(rows)
            hot = np.zeros((len(codes), len(self.classes)), dtype=dtype)
            hot[np.arange(len(codes)), codes] = 1
            return hot
        y = data.y if rows is None else data.y[rows]
        y = y.reshape(len(y), -1).astype(np.float64)
        if self.task == "regression":
            y = (y - np.array(self._made["target_mean"])) / np.array(self._made["target_std"])
        return scaled(y, 1.0, dtype, what="y")

    def answers(self, outputs: Array) -> Array:
        """Outputs of the net, shape (n, k), as labels or in the units of the data.

        Returns
        -------
        ndarray
            Labels, shape (n,); 0 and 1, shape (n, k), of a multilabel task; quantities, (n,) or (n, k).
        """
        outputs = np.asarray(outputs)
        if self.task == "classification":
            best = (outputs[:, 0] > 0.5).astype(int) if outputs.shape[1] == 1 else outputs.argmax(axis=1)
            labels: Array = np.asarray(self.classes)[best]
            return labels
        if self.task == "multilabel":
            return (outputs > 0.5).astype(np.int64)
        values = self.in_units(outputs)
        return values[:, 0] if values.shape[1] == 1 else values

    def in_units(self, values: Array) -> Array:
        """Standardised quantities, shape (n, k), in the units of the data, float64; others as they are."""
        if self.task != "regression":
            return np.asarray(values)
        mean, std = np.array(self._made["target_mean"]), np.array(self._made["target_std"])
        back: Array = np.asarray(values, dtype=np.float64) * std + mean
        return back

    # ----------------------------------------------------------------------------------------------- in words

    def summary(self) -> list[str]:
        """What was done, in words: one line on the inputs, more where there is more to know."""
        made = self._made
        if self.kind == "as_is":
            by = made["scale"]
            lines = [
                f"{made['width']:,} columns" + (f", multiplied by {by:.6g}" if by != 1 else ", as they are")
            ]
        elif self.kind == "standardise":
            lines = [
                f"{made['width']:,} columns of numbers, standardised over {made['rows']:,} training rows"
            ]
        else:
            lines = self._table_summary()
        if self.task == "regression" and self._scaled_target:
            for name, mean, std in zip(
                self.target_names or ("the target",), made["target_mean"], made["target_std"], strict=False
            ):
                lines.append(
                    f"{name} standardised: ({name} - {mean:.6g}) / {std:.6g}; answers are in its units"
                )
        return lines

    @property
    def _scaled_target(self) -> bool:
        return any(m != 0 for m in self._made["target_mean"]) or any(s != 1 for s in self._made["target_std"])

    def _table_summary(self) -> list[str]:
        by: dict[str, list[Encoding]] = {}
        for encoding in self._encodings:
            by.setdefault(encoding["how"], []).append(encoding)
        parts = []
        if numbers := by.get("number"):
            logs = [e["name"] for e in numbers if e["log"]]
            more = f" ({_few(logs)} as log(1 + x))" if logs else ""
            parts.append(f"{_count(len(numbers), 'number')} standardised{more}")
        if words := by.get("category"):
            width = sum(len(column_names(e)) for e in words)
            parts.append(
                f"{_count(len(words), 'category', 'categories')} as {_count(width, 'column')} of 0 and 1"
            )
        if bools := by.get("bool"):
            parts.append(f"{len(bools)} yes or no as 0 and 1")
        if dates := by.get("date"):
            width = sum(len(column_names(e)) for e in dates)
            parts.append(f"{_count(len(dates), 'date')} as {_count(width, 'column')}")
        total = _count(len(self.features), "column")
        lines = [f"{total} become {_count(len(self.columns), 'input')}: {', '.join(parts)}"]
        holes = [e["name"] for e in self._encodings if e.get("holes")]
        if holes:
            lines.append(
                f"holes in {_few(holes)} are filled (median, or no word) and marked in a column each"
            )
        if left := self._made["left_out"]:
            lines.append("left out: " + "; ".join(f"{name} {why}" for name, why in left.items()))
        return lines


class Unknown:
    """Counts words and holes that the training rows did not have."""

    def __init__(self) -> None:
        self.words: dict[str, list[Any]] = {}
        self.holes: dict[str, int] = {}

    def count(self, encoding: Encoding, rows: int, first: Any) -> None:
        name = encoding["name"]
        if rows and encoding["how"] == "category" and first is not None:
            self.words.setdefault(name, [0, first])[0] += rows
        elif rows:
            self.holes[name] = self.holes.get(name, 0) + rows

    def said(self) -> list[str]:
        """What was met, in words."""
        lines = [
            f"column {name!r}: {_count(rows, 'row')} with a word that the training rows did not have, such "
            f"as {str(first)[:40]!r}; it counts as none of the known words."
            for name, (rows, first) in self.words.items()
        ]
        return lines + [
            f"column {name!r}: {_count(rows, 'hole')}, and the training rows had none; filled in."
            for name, rows in self.holes.items()
        ]

    def warn(self) -> None:
        if lines := self.said():
            warnings.warn("\n".join(lines), stacklevel=4)


def _of_kind(block: Table, encoding: Encoding) -> Array:
    """The values of a column as the kind that it had in training."""
    name, how = encoding["name"], encoding["how"]
    values, kind = block[name], block.kinds[name]
    wanted = {"category": "text", "bool": "bool"}.get(how, how)
    if kind == wanted or (kind, wanted) in (("bool", "number"), ("number", "bool")):
        return values
    if kind == "number" and np.isnan(values).all():  # an empty column has no kind
        if wanted == "date":
            return np.full(len(values), np.datetime64("NaT"), dtype="datetime64[us]")
        return np.full(len(values), None, dtype=object) if wanted == "text" else values
    if wanted == "text" and kind in ("number", "bool"):  # the same words, read as numbers here
        as_word = np.empty(len(values), dtype=object)
        as_word[:] = [
            None if v != v else str(v).lower() if kind == "bool" else _digits(v) for v in values.tolist()
        ]
        return as_word
    if kind == "text" and all(v is None for v in values):
        return np.full(len(values), np.nan)
    if kind == "text" and wanted == "bool":
        answers = {"true": 1.0, "false": 0.0, None: np.nan}
        if all(v is None or v.lower() in answers for v in values):
            return np.array([answers[v if v is None else v.lower()] for v in values])
    example = next((v for v in values.tolist() if v is not None and v == v), None)
    raise DataError(
        f"column {name!r} holds {kind}, e.g. {str(example)[:40]!r}, and held {wanted} in the training rows.\n"
        "  Bring it to the same kind."
    )


def _digits(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _few(names: Sequence[str], limit: int = 8) -> str:
    return ", ".join(map(str, names[:limit])) + (
        f", and {len(names) - limit} more" if len(names) > limit else ""
    )


def _count(n: int, word: str, many: str = "") -> str:
    return f"{n:,} {word if n == 1 else many or word + 's'}"


# ---------------------------------------------------------------------------------------------------- fitting


def fit_preparation(data: Dataset, train_rows: Index | None = None) -> Preparation:
    """Fit a preparation on the training rows; no other row is looked at.

    Parameters
    ----------
    data : Dataset
    train_rows : int array, optional
        All rows if left out.

    Returns
    -------
    Preparation

    Raises
    ------
    DataError
        No column has anything to learn from.

    Notes
    -----
    A Dataset with ``prepare="none"`` enters as it is, times its scale. One with "auto" is prepared: a `Table`
    by column (see `Preparation`), a matrix by standardising each column, unless it is of bytes or has a scale
    of its own, or lies within [-1, 1] already. Means and deviations are over the training rows, in float64.
    """
    rows = np.arange(len(data)) if train_rows is None else np.asarray(train_rows)
    if not len(rows):
        raise DataError(f"{data.name} has no training rows: nothing can be fitted.")
    made: dict[str, Any] = {
        "task": data.task,
        "classes": [c.item() if isinstance(c, np.generic) else c for c in data.classes],
        "target_names": list(data.target),
        "outputs": _outputs(data),
        "rows": len(rows),
        "warnings": [],
    }
    if data.task == "regression":
        y = data.y[rows].reshape(len(rows), -1).astype(np.float64)
        auto = data.prepare == "auto"
        names = data.target or [f"y{at}" for at in range(y.shape[1])]
        if auto:
            for at, name in enumerate(names):
                refuse_huge(y[:, at], name, rows)
        std = y.std(axis=0) if auto else np.ones(y.shape[1])
        made["target_mean"] = (y.mean(axis=0) if auto else np.zeros(y.shape[1])).tolist()
        made["target_std"] = np.where(std > 0, std, 1.0).tolist()
    if data.table is not None:
        return _fit_table(data, rows, made)
    return _fit_matrix(data, rows, made)


def _outputs(data: Dataset) -> int:
    if data.task == "classification":
        return len(data.classes)
    return 1 if data.y.ndim == 1 else int(data.y.shape[1])


def _fit_matrix(data: Dataset, rows: Index, made: dict[str, Any]) -> Preparation:
    width = int(data.X.shape[1])
    if width > MOST_COLUMNS:
        raise DataError(
            f"X has {width:,} columns; the limit is {MOST_COLUMNS:,}, since each needs weights of its own.\n"
            "  Keep the most frequent ones, or reduce them, e.g. with sklearn.decomposition.TruncatedSVD."
        )
    names = list(data.feature_names) or [f"x{at}" for at in range(width)]
    made |= {"kind": "as_is", "features": names, "width": width, "scale": float(data.scale)}
    pixels = data.sparse or data.image_shape is not None or data.scale != 1 or data.X.dtype == np.uint8
    if data.prepare == "none" and not pixels and len(rows) > 1:  # pixels at the border are often constant
        made["warnings"] += _constant(data.X, rows, data.feature_names)
    standard = data.prepare == "auto" and not data.sparse and data.scale == 1 and data.X.dtype != np.uint8
    if standard and max(abs(float(data.X.min())), abs(float(data.X.max()))) > 1:
        X = data.X[rows].astype(np.float64)
        for at, name in enumerate(names):
            refuse_huge(X[:, at], name, rows)
        mean, spread = X.mean(axis=0), X.std(axis=0)
        low, high = X.min(axis=0), X.max(axis=0)
        constant = low == high
        if constant.all():
            raise DataError(
                f"{data.name}: all columns are constant in the training rows: nothing to learn from."
            )
        if constant.any():
            listed = [names[at] for at in np.flatnonzero(constant)]
            made["warnings"].append(f"constant in the training rows, and 0 in the net: {_few(listed)}.")
        spread = np.where(constant | (spread == 0), 1.0, spread)
        made |= {"kind": "standardise", "mean": mean.tolist(), "std": spread.tolist()}
    return Preparation(made)


def _constant(X: Array, rows: Index, names: Sequence[str]) -> list[str]:
    """What to say of columns of a matrix that are the same in all training rows."""
    first = X[rows[0]]
    same = np.ones(X.shape[1], dtype=bool)
    for start in range(0, len(rows), _ROWS):
        same &= (X[rows[start : start + _ROWS]] == first).all(axis=0)
    if not same.any() or (same.all() and len(rows) == len(X)):  # then all rows are equal: told before
        return []
    same &= first != 0  # a pixel of the border, or a word that does not occur, is no mistake
    if not same.any():
        return []
    listed = [names[at] if names else str(at) for at in np.flatnonzero(same).tolist()]
    several, counted = "s" if len(listed) > 1 else "", "" if names else " (counted from 0)"
    return [
        f"column{several} {_few(listed)}{counted}: one value in all training rows, so that nothing can be "
        "learned there."
    ]


def _fit_table(data: Dataset, rows: Index, made: dict[str, Any]) -> Preparation:
    table = data.X.select(data.feature_names)
    classes = data.task == "classification"
    target: Array = data.codes() if classes else data.y.reshape(len(data), -1).astype(np.float64)
    k = len(data.classes) if classes else target.shape[1]
    tallies = [Tally(name, table.kinds[name], len(rows), k, classes) for name in table.names]
    chosen = np.zeros(len(data), dtype=bool)
    chosen[rows] = True
    for start, block in table.blocks():
        here = chosen[start : start + len(block)]
        part = target[start : start + len(block)][here]
        if len(part):
            every = bool(here.all())
            numbers = start + np.flatnonzero(here)
            for tally in tallies:
                values = block[tally.name] if every else block[tally.name][here]
                if tally.kind == "number":
                    refuse_huge(values, tally.name, numbers)
                tally.add(values, part)
    warn: list[str] = []
    encodings: list[Encoding] = []
    left: dict[str, str] = {}
    for tally in tallies:
        result = tally.encoding(warn)
        if isinstance(result, str):
            left[tally.name] = result
        else:
            encodings.append(result)
    if not encodings:
        raise DataError(
            f"{data.name}: no column has anything to learn from.\n  "
            + "\n  ".join(f"{name} {why}." for name, why in list(left.items())[:8])
        )
    said = [f"column {name!r} {why}: it is left out." for name, why in left.items()]
    roles = [role for role in (data.group, data.time) if isinstance(role, str) and role]
    made |= {"kind": "table", "columns": encodings, "left_out": left, "roles": roles, "warnings": said + warn}
    return Preparation(made)
