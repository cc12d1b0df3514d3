"""`Dataset`: rows, their labels, and what a net must know about them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from backpass.data.labels import Labels
from backpass.errors import DataError, UsageError

if TYPE_CHECKING:
    from backpass.data.table import Table

Array = NDArray[Any]
Task = Literal["classification", "multilabel", "regression"]
Prepare = Literal["none", "auto"]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Raw rows and labels that have passed the checks. Made by `load` and its kin, not by hand.

    Nothing is fitted here: rows are as they came, and what they become is a `Preparation`'s affair.
    Two Datasets are equal only if they are the same object; compare contents by `fingerprint`.

    Attributes
    ----------
    X : ndarray or scipy.sparse.csr_array, shape (n, d), or Table
        Rows are examples. A matrix is float32 or float64, or uint8 as it came, not yet multiplied by
        `scale`. A Table has all columns of its source, those of `target`, `group` and `time` too.
    y : ndarray
        Labels, shape (n,): integers, bools or text. Of several yes-or-no answers, shape (n, k): 0 and 1.
        For regression floats, shape (n,) or (n, k). For a Table, the values of its target columns; for words
        of a Table on disk `Labels`, which give such an array for any rows.
    name : str
        What to call it in print.
    task : {"classification", "multilabel", "regression"}
    classes : tuple of str or int
        Sorted; column k of the one-hot targets is ``classes[k]``. Empty for the other tasks.
    image_shape : tuple of int or None
        Shape of one row as an image, e.g. ``(28, 28)``, or ``(28, 28, 3)`` in colour.
    scale : float
        What a matrix is multiplied by before it enters a net: 1/255 for bytes, 1/16 for "digits", else 1.
    test, validation : Dataset or None
        Parts that the source itself gives, with the same columns and classes.
    source : str
        What `load` needs to get it again: a bundled name or an absolute path; "" for arrays.
    prepare : {"none", "auto"}
        Whether rows enter a net as they are (times `scale`), or are standardised and encoded first.
    target : tuple of str
        Names of the columns of y. Empty where they have none.
    feature_names : tuple of str
        Names of the input columns, in order. Empty where they have none.
    group, time : str or ndarray, shape (n,)
        What the rows are parted by, see `split`: a column of the Table, or an array. "" for none.
        These columns are no inputs.
    options : dict
        What else `load` was given to read this source (names of columns, size of images ...), as JSON can
        hold it: ``load(source, **options)`` gives this Dataset again.
    story : str
        One line on what the data are, for a bundled set.
    suggests : tuple of int
        Hidden layers to begin with, for a set that is made for a small net; else empty.

    Examples
    --------
    >>> from backpass.data import from_arrays
    >>> from_arrays([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0], name="xor")
    Dataset('xor', classification, 4 rows x 2 columns, 2 classes)
    """

    X: Any
    y: Array
    name: str
    task: Task
    classes: tuple[str | int, ...] = ()
    image_shape: tuple[int, ...] | None = None
    scale: float = 1.0
    test: Dataset | None = None
    source: str = ""
    validation: Dataset | None = None
    prepare: Prepare = "none"
    target: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    group: str | Array = ""
    time: str | Array = ""
    options: dict[str, Any] = field(default_factory=dict)
    story: str = ""
    suggests: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.y)

    @property
    def table(self) -> Table | None:
        """X if it is a Table, else None."""
        return None if isinstance(self.X, np.ndarray) or self.sparse else self.X

    @property
    def sparse(self) -> bool:
        """Whether X is a `scipy.sparse.csr_array`."""
        return hasattr(self.X, "indptr")

    def with_part(self, role: str, part: Dataset) -> Dataset:
        """The same rows with a part of its own, "test" or "validation"."""
        return replace(self, test=part) if role == "test" else replace(self, validation=part)

    def __repr__(self) -> str:
        kind = f", {len(self.classes)} classes" if self.classes else ""
        parts = "".join(
            f", {len(part)} {word} rows"
            for word, part in (("validation", self.validation), ("test", self.test))
            if part is not None
        )
        columns = len(self.feature_names) if self.table is not None else self.X.shape[1]
        return f"Dataset({self.name!r}, {self.task}, {len(self)} rows x {columns} columns{kind}{parts})"

    def fingerprint(self) -> str:
        """The sha256, in hex, of shapes, dtypes and bytes of X and y (not of the other parts).

        The bytes are taken in little-endian order, so that the fingerprint is the same on every machine.
        Of a Table it is that of the Table, with the roles of its columns.

        Examples
        --------
        >>> from backpass.data import from_arrays
        >>> from_arrays([[0.5], [1.5]], ["a", "b"]).fingerprint()[:12]
        'a261c2df9f17'
        """
        digest = hashlib.sha256()
        if isinstance(self.y, Labels):  # the bytes of the array that they stand for, in blocks
            assert self.table is not None
            digest.update(f"{self.table.fingerprint()} {self.feature_names} {self.target}\n".encode())
            little = self.y.dtype.newbyteorder("<")
            digest.update(f"{little.str} {self.y.shape}\n".encode())
            for block in self.y.blocks():
                digest.update(block.astype(little, copy=False).view(np.uint8).data)
            return digest.hexdigest()
        arrays = [self.X, self.y]
        if self.table is not None:
            digest.update(f"{self.table.fingerprint()} {self.feature_names} {self.target}\n".encode())
            arrays = [self.y]
        elif self.sparse:
            digest.update(f"sparse {self.X.shape}\n".encode())
            arrays = [self.X.data, self.X.indices, self.X.indptr, self.y]
        for array in arrays:
            little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
            digest.update(f"{little.dtype.str} {little.shape}\n".encode())
            digest.update(little.reshape(-1).view(np.uint8).data)
        return digest.hexdigest()

    def codes(self, rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """The place of each row's label in `classes`, shape (n,). Classification only.

        Parameters
        ----------
        rows : int array, optional
            Which rows; all if left out.

        Examples
        --------
        >>> from backpass.data import from_arrays
        >>> from_arrays([[1.0], [2.0], [3.0]], ["no", "yes", "no"]).codes()
        array([0, 1, 0])
        """
        if self.task != "classification":
            raise UsageError(
                f"{self.name} is a {self.task} task: its targets are numbers and have no classes."
            )
        if isinstance(self.y, Labels):
            places = self.y.places if rows is None else self.y.places[rows]
            return places.astype(np.int64)
        labels = self.y if rows is None else self.y[rows]
        return np.searchsorted(np.asarray(self.classes), labels).astype(np.int64, copy=False)

    def targets(self, dtype: DTypeLike = np.float64) -> Array:
        """What the net should answer: one-hot rows for classes, else the columns of y as they are.

        Parameters
        ----------
        dtype : float32 or float64

        Returns
        -------
        ndarray, shape (n, k), a new C-contiguous array

        Examples
        --------
        >>> from backpass.data import from_arrays
        >>> from_arrays([[1.0], [2.0]], ["no", "yes"]).targets()
        array([[1., 0.],
               [0., 1.]])
        """
        kind = _float(dtype)
        if self.task == "classification":
            hot = np.zeros((len(self.y), len(self.classes)), dtype=kind)
            hot[np.arange(len(self.y)), self.codes()] = 1
            return hot
        return scaled(self.y.reshape(len(self.y), -1), 1.0, kind, what="y")

    def inputs(self, dtype: DTypeLike = np.float64, rows: NDArray[np.int64] | None = None) -> Array:
        """What enters the net of a matrix: X times `scale`. A sparse one is made dense here.

        Parameters
        ----------
        dtype : float32 or float64
        rows : int array, optional
            Which rows; all if left out. A sparse matrix can so be gone through by batches.

        Returns
        -------
        ndarray, shape (n, d), a new C-contiguous array

        Raises
        ------
        DataError
            A number is too large for `dtype`, or a sparse matrix too large to be made dense.
        UsageError
            X is a Table: a `Preparation` makes its inputs.

        Examples
        --------
        >>> import numpy as np
        >>> from backpass.data import from_arrays
        >>> from_arrays(np.array([[0, 255], [51, 0]], dtype=np.uint8), [0, 1]).inputs(np.float32)
        array([[0. , 1. ],
               [0.2, 0. ]], dtype=float32)
        """
        if self.table is not None:
            raise UsageError(
                f"{self.name} is a table of raw columns, and a net takes numbers.\n"
                "  Fit a preparation: fit_preparation(dataset, train_rows).inputs(dataset, dtype)."
            )
        part: Array = self.X if rows is None else self.X[rows]
        if self.sparse:
            from backpass.data.sparse import dense

            part = dense(part, _float(dtype))
        elif rows is not None and self.scale == 1 and part.dtype == _float(dtype):
            return part  # selecting rows has copied them
        return scaled(part, self.scale, dtype)

    def parts(
        self, validation: float = 0.0, test: float = 0.0, *, seed: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The rows of train, validation and test, by class, by group or by time; see `split`.

        Parameters
        ----------
        validation, test : float
            Fractions of the rows.
        seed : int

        Examples
        --------
        >>> from backpass.data import from_arrays
        >>> data = from_arrays([[1], [2], [3], [4]], [0, 0, 1, 1], group=["a", "a", "b", "b"])
        >>> train, _, test = data.parts(test=0.5, seed=0)
        >>> data.y[train].tolist() in ([0, 0], [1, 1])
        True
        """
        from backpass.data.split import split

        labels = self.codes() if self.task == "classification" else len(self)
        return split(
            labels, validation, test, seed=seed, group=self._column("group"), time=self._column("time")
        )

    def _column(self, role: Literal["group", "time"]) -> Array | None:
        """The values that the rows are parted by, shape (n,)."""
        value = getattr(self, role)
        if isinstance(value, str):
            return None if not value else self.X[value]
        return np.asarray(value)


def _float(dtype: DTypeLike) -> np.dtype[Any]:
    kind = np.dtype(dtype)
    if kind not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise UsageError(f"a net computes in float32 or float64, not in {kind}. Ask for one of these two.")
    return kind


def scaled(X: Array, scale: float, dtype: DTypeLike, *, what: str = "X") -> Array:
    """Raw rows times the scale, as the net takes them. Training and prediction both go through here.

    The product is taken in float64 and rounded once, so that a byte of 255 enters as exactly 1.

    Parameters
    ----------
    X : ndarray, shape (n, d)
        Rows that have passed `as_rows`.
    scale : float
    dtype : float32 or float64
    what : str
        What to call the array in an error.

    Returns
    -------
    ndarray, shape (n, d), a new C-contiguous array

    Raises
    ------
    DataError
        A number is too large for `dtype`.

    Examples
    --------
    >>> import numpy as np
    >>> scaled(np.array([[8.0, 16.0]]), 1 / 16, np.float32)
    array([[0.5, 1. ]], dtype=float32)
    """
    kind = _float(dtype)
    out: Array = np.empty(X.shape, dtype=kind)
    with np.errstate(over="ignore"):  # overflow is looked for below, where its place can be named
        if scale == 1:
            out[...] = X
        else:
            np.multiply(X, scale, out=out, dtype=np.float64, casting="unsafe")
    if X.dtype.kind == "f" and not np.isfinite(out).all():
        row, column = np.argwhere(~np.isfinite(out))[0]
        wider = ", or train in float64" if kind.itemsize == 4 else ""
        raise DataError(
            f"{what} in row {row}, column {column} (counted from 0) is {X[row, column]:.6g}: too large for "
            f"{kind}, which ends at {np.finfo(kind).max:.3g}.\n"
            f"  Divide the column by its largest value{wider}."
        )
    return out
