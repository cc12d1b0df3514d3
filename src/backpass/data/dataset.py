"""`Dataset`: rows, their labels, and what a net must know about them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from backpass.errors import DataError, UsageError

Array = NDArray[Any]
Task = Literal["classification", "regression"]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Rows and labels that have passed the checks. Made by `load` and `from_arrays`, not by hand.

    Two Datasets are equal only if they are the same object; compare contents by `fingerprint`.

    Attributes
    ----------
    X : ndarray, shape (n, d)
        Rows are examples. float32 or float64, or uint8 as it came; not yet multiplied by `scale`.
    y : ndarray
        Labels, shape (n,): integers, bools or text. For regression floats, shape (n,) or (n, k).
    name : str
        What to call it in print.
    task : {"classification", "regression"}
    classes : tuple of str or int
        Sorted; column k of the one-hot targets is ``classes[k]``. Empty for regression.
    image_shape : tuple of int or None
        Shape of one row as an image, e.g. ``(28, 28)``.
    scale : float
        What X is multiplied by before it enters a net: 1/255 for bytes, 1/16 for "digits", else 1.
    test : Dataset or None
        A test part that the source itself gives, with the same columns and classes.
    source : str
        What `load` needs to get it again: a bundled name or an absolute path; "" for arrays.

    Examples
    --------
    >>> from backpass.data import from_arrays
    >>> from_arrays([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0], name="xor")
    Dataset('xor', classification, 4 rows x 2 columns, 2 classes)
    """

    X: Array
    y: Array
    name: str
    task: Task
    classes: tuple[str | int, ...] = ()
    image_shape: tuple[int, ...] | None = None
    scale: float = 1.0
    test: Dataset | None = None
    source: str = ""

    def __len__(self) -> int:
        return len(self.X)

    def __repr__(self) -> str:
        kind = f", {len(self.classes)} classes" if self.classes else ""
        test = f", {len(self.test)} test rows" if self.test is not None else ""
        rows, columns = self.X.shape
        return f"Dataset({self.name!r}, {self.task}, {rows} rows x {columns} columns{kind}{test})"

    def fingerprint(self) -> str:
        """The sha256, in hex, of shapes, dtypes and bytes of X and y (not of the test part).

        The bytes are taken in little-endian order, so that the fingerprint is the same on every machine.

        Examples
        --------
        >>> from backpass.data import from_arrays
        >>> from_arrays([[0.5], [1.5]], ["a", "b"]).fingerprint()[:12]
        'a261c2df9f17'
        """
        digest = hashlib.sha256()
        for array in (self.X, self.y):
            little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
            digest.update(f"{little.dtype.str} {little.shape}\n".encode())
            digest.update(little.reshape(-1).view(np.uint8).data)
        return digest.hexdigest()

    def codes(self) -> NDArray[np.int64]:
        """The place of each row's label in `classes`, shape (n,). Classification only.

        Examples
        --------
        >>> from backpass.data import from_arrays
        >>> from_arrays([[1.0], [2.0], [3.0]], ["no", "yes", "no"]).codes()
        array([0, 1, 0])
        """
        if self.task != "classification":
            raise UsageError(f"{self.name} is a regression: its targets are numbers and have no classes.")
        return np.searchsorted(np.asarray(self.classes), self.y).astype(np.int64, copy=False)

    def targets(self, dtype: DTypeLike = np.float64) -> Array:
        """What the net should answer: one-hot rows for classes, a float column each for quantities.

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

    def inputs(self, dtype: DTypeLike = np.float64) -> Array:
        """What enters the net: X times `scale`.

        Parameters
        ----------
        dtype : float32 or float64

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
        >>> from backpass.data import from_arrays
        >>> from_arrays(np.array([[0, 255], [51, 0]], dtype=np.uint8), [0, 1]).inputs(np.float32)
        array([[0. , 1. ],
               [0.2, 0. ]], dtype=float32)
        """
        return scaled(self.X, self.scale, dtype)


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
