"""The part of an exported script that is the same for every network: read, prepare, predict, print.

The imports and everything below the line are copied into the script. So this may use NumPy, the standard
library, and the names that the script defines before it: DTYPE, IN_FEATURES, OUTPUTS, SCALE, TASK, CLASSES,
PROBABLE and `network`, from x to the outputs.
"""

# ruff: noqa: F821
# mypy: ignore-errors
import csv
import sys
from pathlib import Path

import numpy as np

# ---------------------------------------------------------------------------------------- read, prepare, use

#: Rows of one pass. The run used the same number: it can decide the last bit of a matrix product.
ROWS = 4096


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
        # Multiplied in double precision and rounded once, so that a byte of 255 enters as exactly 1.
        x = (X if SCALE == 1 else np.multiply(X, SCALE, dtype=np.float64)).astype(DTYPE)
    if not np.isfinite(x).all():
        row, column = np.argwhere(~np.isfinite(x))[0]
        raise BadRows(
            f"row {row}, column {column} (counted from 0) is {X[row, column]}, not a number in range"
        )
    return np.ascontiguousarray(x)


def predict_raw(X):
    """The outputs of the network for each row: probabilities, or quantities."""
    x = inputs(X)
    parts = [network(x[i : i + ROWS]) for i in range(0, len(x), ROWS)]
    return np.concatenate(parts) if parts else np.zeros((0, OUTPUTS), DTYPE)


def predict(X):
    """The class of each row, or the predicted quantities."""
    return answers(predict_raw(X))


def answers(raw):
    """The outputs of the network as classes or quantities."""
    if TASK == "classification":
        chosen = np.argmax(raw, axis=1) if raw.shape[1] > 1 else (raw[:, 0] > 0.5).astype(np.int64)
        return np.asarray(CLASSES)[chosen]
    return raw[:, 0] if raw.shape[1] == 1 else raw


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


def table(raw):
    """The predictions as the lines of a table."""
    found = answers(raw).tolist()
    if TASK == "classification":
        if raw.shape[1] == 1:  # one output for two classes: is it the second?
            raw = np.concatenate([1 - raw, raw], axis=1)
        yield ["row", "prediction", *(f"{'p' if PROBABLE else 'output'}_{name}" for name in CLASSES)]
        for row, (value, others) in enumerate(zip(found, raw, strict=True)):
            yield [row, value, *(str(v) for v in others)]
    elif raw.shape[1] == 1:
        yield ["row", "prediction"]
        yield from ([row, str(v)] for row, v in enumerate(raw[:, 0]))
    else:
        yield ["row", *(f"prediction_{k}" for k in range(raw.shape[1]))]
        yield from ([row, *(str(v) for v in values)] for row, values in enumerate(raw))


def main(arguments):
    """The command line: one file of rows in, a table of predictions out."""
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        print(f"usage: python {Path(__file__).name} rows.csv | rows.npy | -", file=sys.stderr)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    try:
        raw = predict_raw(read(arguments[0]))
    except (BadRows, OSError) as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)
        return 3
    try:
        csv.writer(sys.stdout, lineterminator="\n").writerows(table(raw))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough, as `head` has
        sys.stderr.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
