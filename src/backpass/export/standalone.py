"""The part of an exported script that is the same for every network: predict, answer, print.

The imports and everything below the line are copied into the script, after `standalone_matrix` or
`standalone_table`, which read rows and prepare them. So this may use NumPy, the standard library, what those
two define, and the names that the script defines before: DTYPE, OUTPUTS, TASK, CLASSES, PROBABLE, TARGETS,
TARGET_MEAN, TARGET_STD and `network`, from x to the outputs.
"""

# ruff: noqa: F821
# mypy: ignore-errors
import csv
import sys
from pathlib import Path

import numpy as np

# -------------------------------------------------------------------------------------------- predict, print

#: Rows of one pass. The run used the same number: it can decide the last bit of a matrix product.
ROWS = 2048


def predict_raw(X):
    """The outputs of the network for each row: probabilities, or quantities."""
    x = inputs(X)
    parts = [network(x[i : i + ROWS]) for i in range(0, len(x), ROWS)]
    return np.concatenate(parts) if parts else np.zeros((0, OUTPUTS), DTYPE)


def predict(X):
    """The class of each row, its answers 0 and 1, or quantities in the units of the data."""
    return answers(predict_raw(X))


def answers(raw):
    """The outputs of the network as classes, as 0 and 1, or as quantities in the units of the data."""
    if TASK == "classification":
        chosen = np.argmax(raw, axis=1) if raw.shape[1] > 1 else (raw[:, 0] > 0.5).astype(np.int64)
        return np.asarray(CLASSES)[chosen]
    if TASK == "multilabel":
        return (raw > 0.5).astype(np.int64)
    values = raw if TARGET_MEAN is None else raw.astype(np.float64) * TARGET_STD + TARGET_MEAN
    return values[:, 0] if values.shape[1] == 1 else values


def table(raw):
    """The predictions as the lines of a table."""
    found = answers(raw)
    names = TARGETS or [f"prediction_{k}" for k in range(raw.shape[1])]
    if TASK == "classification":
        if raw.shape[1] == 1:  # one output for two classes: is it the second?
            raw = np.concatenate([1 - raw, raw], axis=1)
        yield ["row", "prediction", *(f"{'p' if PROBABLE else 'output'}_{name}" for name in CLASSES)]
        for row, (value, others) in enumerate(zip(found.tolist(), raw, strict=True)):
            yield [row, value, *(str(v) for v in others)]
    elif TASK == "multilabel":
        yield ["row", *names, *(f"p_{name}" for name in names)]
        for row, (values, others) in enumerate(zip(found.tolist(), raw, strict=True)):
            yield [row, *values, *(str(v) for v in others)]
    else:
        quantities = found.reshape(len(raw), -1)
        yield ["row", *(["prediction"] if raw.shape[1] == 1 else names)]
        yield from ([row, *(str(v) for v in values)] for row, values in enumerate(quantities))


def main(arguments):
    """The command line: one file of rows in, a table of predictions out."""
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        print(f"usage: python {Path(__file__).name} {' | '.join(ACCEPTS)}", file=sys.stderr)
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
