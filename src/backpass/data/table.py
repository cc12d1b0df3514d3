"""`Table`: named raw columns, as they came. Nothing is scaled, encoded or filled in here."""

from __future__ import annotations

import datetime
import hashlib
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backpass.errors import DataError, UsageError, nearest

Array = NDArray[Any]
Kind = Literal["number", "text", "date", "bool"]

#: Rows of a block, where a table is gone through in blocks.
BLOCK = 1 << 16

HUGE = 1e90
_WHOLE = 2.0**53  # beyond it neighbouring whole numbers share one float64


class Table:
    """Named columns of equal length. Made by `read_table` and `Table.from_columns`.

    A column is one of four kinds of array, each of shape (n,):

    ========  ===================  ===================
    kind      dtype                a hole is
    ========  ===================  ===================
    number    float64              NaN
    text      object (str)         None
    date      datetime64[us]       NaT
    bool      bool                 (has none)
    ========  ===================  ===================

    Parameters
    ----------
    columns : mapping of str to ndarray
        Already of these kinds; use `from_columns` for anything else.
    source : str
        The path that `read_table` needs to get it again; "" for columns that came from memory.
    stamp : (int, int), optional
        Size and time of change of that file when it was read.
    notes : sequence of str
        What was assumed in reading, in words.

    Examples
    --------
    >>> table = Table.from_columns({"age": [39, None, 21], "job": ["cook", "smith", None]})
    >>> table
    Table(3 rows x 2 columns: age (number), job (text))
    >>> table["age"]
    array([39., nan, 21.])
    """

    def __init__(
        self,
        columns: Mapping[str, Array],
        *,
        source: str = "",
        stamp: tuple[int, int] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self._columns = dict(columns)
        self.kinds: dict[str, Kind] = {name: kind_of(values) for name, values in self._columns.items()}
        self.source, self.notes, self.stamp = source, tuple(notes), stamp
        self._fingerprint = ""
        self._rows = len(next(iter(self._columns.values()))) if self._columns else 0

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any], *, what: str = "the table") -> Table:
        """Columns from memory, checked and brought to the four kinds.

        Parameters
        ----------
        columns : mapping of name to array-like, shape (n,)
            Numbers, bools, text, dates, with None or NaN for holes.
        what : str
            What to call it in an error.

        Raises
        ------
        DataError
            Columns of different length, a name twice, infinity, or values of a kind that has no meaning here.
        """
        names = [str(name) for name in columns]
        check_names(names, what)
        made: dict[str, Array] = {}
        for name, values in zip(names, columns.values(), strict=True):
            made[name] = as_column(values, name)
        lengths = {name: len(values) for name, values in made.items()}
        first = next(iter(lengths.items()), ("", 0))
        for name, length in lengths.items():
            if length != first[1]:
                raise DataError(
                    f"{what}: column {first[0]!r} has {first[1]} rows and column {name!r} has {length}: "
                    "all columns must have the same number."
                )
        return cls(made)

    def __len__(self) -> int:
        return self._rows

    def __contains__(self, name: object) -> bool:
        return name in self.kinds

    def __getitem__(self, name: str) -> Array:
        """The values of one column, shape (n,)."""
        self._known([name])
        return self._read(name)

    def _read(self, name: str) -> Array:
        return self._columns[name]

    def __repr__(self) -> str:
        shown = [f"{name} ({kind})" for name, kind in list(self.kinds.items())[:6]]
        more = f", and {len(self.kinds) - 6} more" if len(self.kinds) > 6 else ""
        return f"Table({len(self)} rows x {len(self.kinds)} columns: {', '.join(shown)}{more})"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(self.kinds)

    @property
    def in_memory(self) -> bool:
        """False for a table that is larger than the memory budget and stays on disk."""
        return True

    def select(self, names: Sequence[str]) -> Table:
        """Some of the columns, in the order asked for; no values are copied."""
        self._known(names)
        return Table(
            {name: self._columns[name] for name in names},
            source=self.source, stamp=self.stamp, notes=self.notes,
        )  # fmt: skip

    def drop(self, names: Sequence[str]) -> Table:
        """All columns but these."""
        self._known(names)
        return self.select([name for name in self.names if name not in set(names)])

    def take(self, rows: Any) -> Table:
        """Some of the rows, in memory.

        Parameters
        ----------
        rows : int array or slice
        """
        return Table({name: values[rows] for name, values in self._columns.items()}, notes=self.notes)

    def blocks(self, size: int = BLOCK) -> Iterator[tuple[int, Table]]:
        """The rows in order, at most `size` at a time: (number of the first row, Table in memory)."""
        for start in range(0, len(self), size):
            yield start, self.take(slice(start, start + size))

    def fingerprint(self) -> str:
        """The sha256, in hex, of the file's bytes and the names, or of the columns (names, kinds, values).

        The bytes of columns are taken in little-endian order, so that it is the same on every machine. A file
        is read again for it, once; some rows of a table (`take`) are columns in memory.

        Raises
        ------
        DataError
            The file has changed since it was read.

        Examples
        --------
        >>> Table.from_columns({"a": [1, 2]}).fingerprint()[:12]
        '61918554f0b3'
        """
        if self._fingerprint:
            return self._fingerprint
        digest = hashlib.sha256()
        if self.source and self.stamp is not None:
            now = os.stat(self.source) if os.path.exists(self.source) else None
            if now is None or (now.st_size, now.st_mtime_ns) != self.stamp:
                raise DataError(f"{self.source} has changed since it was read: load it again.")
            with open(self.source, "rb") as file:
                digest = hashlib.file_digest(file, "sha256")
            digest.update(repr(self.names).encode())
            self._fingerprint = digest.hexdigest()
            return self._fingerprint
        for name in self.names:
            digest.update(f"{name!r} {self.kinds[name]} {len(self)}\n".encode())
            values = self._columns[name]
            if self.kinds[name] == "text":
                for value in values:
                    raw = b"" if value is None else value.encode("utf-8", "surrogatepass")
                    digest.update(b"%d:" % (-1 if value is None else len(raw)) + raw)
            else:
                plain = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
                digest.update(plain.view(np.uint8).data)
        self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def _known(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self.kinds:
                raise UsageError(f"there is no column {name!r}. {nearest(str(name), self.names)}")


def kind_of(values: Array) -> Kind:
    """The kind of a column, by its dtype."""
    kinds: dict[str, Kind] = {"f": "number", "O": "text", "M": "date", "b": "bool"}
    return kinds[values.dtype.kind]


def check_names(names: Sequence[str], what: str) -> None:
    """Refuse an empty or a repeated name."""
    seen: dict[str, int] = {}
    for at, name in enumerate(names):
        if name in seen:
            raise DataError(
                f"{what} has two columns named {name!r}, columns {seen[name]} and {at} (counted from 0): "
                "rename one."
            )
        if not name.strip():
            raise DataError(
                f"{what}: column {at} (counted from 0) has no name: name it, or give names=[...]."
            )
        seen[name] = at


def as_column(values: Any, name: str) -> Array:
    """One column from memory as one of the four kinds.

    Parameters
    ----------
    values : array-like, shape (n,)
    name : str
        For messages.

    Raises
    ------
    DataError
    """
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.filled(values.astype(object), None)
    array = np.asarray(values) if isinstance(values, np.ndarray) else _gathered(values)
    if array.ndim != 1:
        raise DataError(f"column {name!r} must have one dimension, got shape {array.shape}.")
    kind = array.dtype.kind
    if kind == "b":
        return array
    if kind == "M":
        return array.astype("datetime64[us]")
    if kind in "iuf":
        return _floats(array, name)
    if kind == "m":
        raise DataError(
            f"column {name!r} holds time spans: turn them into numbers first, "
            "e.g. x / numpy.timedelta64(1, 's')."
        )
    if kind in "UT":
        return array.astype(object)
    if kind != "O":
        raise DataError(f"column {name!r} has the dtype {array.dtype}: give numbers, text, bools or dates.")
    return _objects(array, name)


def _gathered(values: Any) -> Array:
    """Any sequence as an array in which nothing has been made text or a number on the way."""
    plain = np.asarray(values) if hasattr(values, "__array__") else None
    if plain is not None:
        return plain
    values = list(values)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _floats(array: Array, name: str) -> Array:
    column = array.astype(np.float64)
    check_finite(column, name)
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8 and np.any(np.abs(column) > _WHOLE):
        warn_rounded(name)
    return column


def check_finite(column: Array, name: str) -> None:
    """Refuse infinity, by its row."""
    rows = np.flatnonzero(np.isinf(column))
    if rows.size:
        raise DataError(
            f"column {name!r} is infinite in row {rows[0]} (counted from 0"
            + (f"; {rows.size} rows in all" if rows.size > 1 else "")
            + ").\n  Correct the value, or make it a hole (an empty cell, NaN), which is filled in."
        )


def refuse_huge(values: Array, name: str, rows: Array) -> None:
    """Refuse what cannot be standardised: the squares and cubes of numbers as large as this are infinite.

    Parameters
    ----------
    values : ndarray of float, shape (n,)
        Holes are NaN.
    name : str
    rows : ndarray of int, shape (n,)
        Their numbers, for the message.
    """
    large = np.flatnonzero(np.abs(values) > HUGE)
    if large.size:
        raise DataError(
            f"column {name!r} is {values[large[0]]:.6g} in row {rows[large[0]]} (counted from 0): too large "
            f"to be standardised, the limit is {HUGE:g}.\n  Correct the value, or divide the column."
        )


def warn_rounded(name: str) -> None:
    """Warn that a column's whole numbers do not fit float64."""
    warnings.warn(
        f"column {name!r} holds numbers with more digits than float64 keeps (about 16): they are rounded. "
        "A column of identifiers is better left out.",
        stacklevel=4,
    )


def _hole(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return bool(np.isnat(value))
    return isinstance(value, (float, np.floating)) and value != value


def _objects(array: Array, name: str) -> Array:
    """A column of Python objects, by what all of them are."""
    holes = np.fromiter((_hole(v) for v in array), dtype=bool, count=len(array))
    rest = array[~holes]
    if all(isinstance(v, (str, np.str_)) for v in rest):
        column = array.copy()
        column[holes] = None
        return column
    if all(isinstance(v, (bool, np.bool_)) for v in rest):
        if not holes.any():
            return array.astype(bool)
        column = np.empty(len(array), dtype=object)  # bools have no holes: two words do
        column[~holes] = ["true" if v else "false" for v in rest]
        return column
    if all(isinstance(v, (int, float, Decimal, np.number, bool, np.bool_)) for v in rest) and not any(
        isinstance(v, (complex, np.complexfloating)) for v in rest
    ):
        column = np.full(len(array), np.nan)
        try:
            column[~holes] = [float(v) for v in rest]
        except OverflowError:
            raise DataError(f"column {name!r} holds a number too large for float64: rescale it.") from None
        check_finite(column, name)
        if any(isinstance(v, (int, np.integer)) and abs(int(v)) > _WHOLE for v in rest):
            warn_rounded(name)
        return column
    if all(isinstance(v, (datetime.date, np.datetime64)) for v in rest):
        column = np.full(len(array), np.datetime64("NaT"), dtype="datetime64[us]")
        column[~holes] = [_moment(v) for v in rest]
        return column
    usual = type(rest[0])
    row = next((int(i) for i in np.flatnonzero(~holes) if type(array[i]) is not usual), None)
    if row is None:
        raise DataError(
            f"column {name!r} holds values of type {usual.__name__}: give numbers, text, bools or dates."
        )
    raise DataError(
        f"column {name!r} mixes {usual.__name__} and {type(array[row]).__name__}: row {row} (counted from 0) "
        f"is {str(array[row])[:60]!r}.\n  Make all values of one kind, or leave the column out."
    )


def _moment(value: Any) -> Any:
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        value = value.astimezone(datetime.UTC).replace(tzinfo=None)
    return np.datetime64(value, "us")
