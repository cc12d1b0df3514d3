"""Sparse matrices: kept sparse, checked, and made dense where a net needs them."""

from __future__ import annotations

from typing import Any

import numpy as np

from backpass.data.budget import memory_budget
from backpass.data.dataset import Array
from backpass.errors import DataError


def is_sparse(value: Any) -> bool:
    """Whether `value` is a matrix or an array of scipy.sparse, whatever its format.

    Examples
    --------
    >>> import scipy.sparse
    >>> is_sparse(scipy.sparse.eye_array(3)), is_sparse([[1, 0]])
    (True, False)
    """
    return hasattr(value, "tocsr") and hasattr(value, "shape")


def as_csr(value: Any, what: str = "X") -> Any:
    """A copy of a sparse matrix as a checked `scipy.sparse.csr_array`, float32 or float64.

    Parameters
    ----------
    value : scipy.sparse matrix or array, shape (n, d)
    what : str
        What to call it in an error.

    Raises
    ------
    DataError
        Complex numbers, NaN or infinity, no rows or no columns.

    Examples
    --------
    >>> import scipy.sparse
    >>> as_csr(scipy.sparse.coo_array([[0, 2], [1, 0]])).toarray()
    array([[0., 2.],
           [1., 0.]])
    """
    from scipy.sparse import csr_array

    if len(value.shape) != 2 or 0 in value.shape:
        raise DataError(f"{what} must have rows and columns, got the shape {value.shape}.")
    if value.dtype.kind not in "biuf":
        raise DataError(f"{what} is sparse, of {value.dtype}: give numbers, {what}.astype('float64').")
    size = value.dtype.itemsize
    narrow = value.dtype.kind == "b" or size <= 2 or (value.dtype.kind == "f" and size == 4)
    # To CSR before any check: COO may give one place twice, and what counts is the sum.
    matrix = csr_array(value, dtype=np.float32 if narrow else np.float64, copy=True)
    matrix.sum_duplicates()
    matrix.sort_indices()
    bad = np.flatnonzero(~np.isfinite(matrix.data))
    if bad.size:
        row = int(np.searchsorted(matrix.indptr, bad[0], side="right")) - 1
        word = "missing values (NaN)" if np.isnan(matrix.data[bad]).any() else "infinity"
        raise DataError(
            f"{what} has {word}: {bad.size} of its entries are not finite, the first in row {row}, column "
            f"{matrix.indices[bad[0]]} (counted from 0).\n  Fill them, or drop those rows."
        )
    return matrix


def dense(matrix: Any, dtype: Any, what: str = "X") -> Array:
    """A dense copy, if it is within the memory budget.

    Parameters
    ----------
    matrix : scipy.sparse.csr_array, shape (n, d)
    dtype : float32 or float64

    Raises
    ------
    DataError
        It would take more than the budget.

    Examples
    --------
    >>> import scipy.sparse
    >>> dense(scipy.sparse.csr_array([[0, 2]]), "float32")
    array([[0., 2.]], dtype=float32)
    """
    rows, columns = (int(size) for size in matrix.shape)
    need = rows * columns * np.dtype(dtype).itemsize
    if need > memory_budget():
        raise DataError(
            f"{what} is sparse, {rows:,} x {columns:,}, and a dense copy takes {need:,} bytes; the limit on "
            f"this machine is {memory_budget():,}.\n"
            f"  Give fewer rows (up to {memory_budget() * rows // need:,}), or fewer columns: keep the "
            "most frequent, or reduce them with sklearn.decomposition.TruncatedSVD."
        )
    out: Array = matrix.astype(dtype).toarray(order="C")
    return out
