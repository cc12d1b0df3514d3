"""The part of an exported script for networks that learned from arrays: rows are read and scaled.

Everything below the line is copied into the script. The names IN_FEATURES, DTYPE, SCALE, MEAN and STD are
defined before it; the last two are None unless columns were standardised.
"""

# ruff: noqa: F821
# mypy: ignore-errors
import csv
import sys

import numpy as np

# --------------------------------------------------------------------------------------------- read, prepare

#: What the command line takes.
ACCEPTS = ["rows.csv", "rows.npy", "-"]


class BadRows(ValueError):
    """Rows that cannot be predicted; the message says which and why."""


def inputs(X):
    """Raw rows as they enter the network: scaled as the training rows were."""
    X = np.asarray(X)
    if X.dtype.kind not in "fiub":
        try:
            X = X.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise BadRows(f"the rows hold something that is not a number: {error}") from None
    if X.ndim > 2:
        X = X.reshape(len(X), -1)  # images
    if X.ndim != 2 or X.shape[1] != IN_FEATURES:
        raise BadRows(f"rows of {IN_FEATURES} values are needed, got an array of shape {X.shape}")
    with np.errstate(over="ignore"):
        # In double precision and rounded once, so that a byte of 255, times 1/255, enters as exactly 1.
        if MEAN is not None:
            x = ((X.astype(np.float64) - MEAN) / STD).astype(DTYPE)
        else:
            x = (X if SCALE == 1 else np.multiply(X, SCALE, dtype=np.float64)).astype(DTYPE)
    if not np.isfinite(x).all():
        row, column = np.argwhere(~np.isfinite(x))[0]
        raise BadRows(
            f"row {row}, column {column} (counted from 0) is {X[row, column]}, not a number in range"
        )
    return np.ascontiguousarray(x)


def read(where):
    """The rows of a file: .npy, or CSV with or without a first line of names; "-" is standard input, CSV."""
    if where.endswith(".npy"):
        return np.load(where, allow_pickle=False)
    with sys.stdin if where == "-" else open(where, newline="", encoding="utf-8-sig") as file:
        rows = [(file_line, row) for file_line, row in enumerate(csv.reader(file), start=1) if row]
    if rows and not all(is_number(cell) for cell in rows[0][1]):
        rows = rows[1:]  # the names of the columns
    for line, row in rows:
        if len(row) != IN_FEATURES:
            raise BadRows(f"line {line} has {len(row)} values; the network needs {IN_FEATURES}")
        for column, cell in enumerate(row):
            if not is_number(cell):
                raise BadRows(f"line {line}, column {column + 1} is {cell!r}, not a number")
    return np.array([[float(cell) for cell in row] for _, row in rows], np.float64).reshape(-1, IN_FEATURES)


def is_number(cell):
    """Whether a cell of a table is a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell
