"""What a training does when it is told nothing more. Written here and nowhere else.

Chosen by the scores on digits, iris, wine, breast cancer, diabetes, adult and California housing
(`benchmarks/quality.py`). Adam, because with momentum a rate that is right for digits (0.05) diverges on
the heavy tails of tables; one hidden layer, because its weights can still be read.
"""

from __future__ import annotations

HIDDEN: tuple[int, ...] = (100,)
ACTIVATION = "relu"
OPTIMIZER = "adam"
#: The learning rate of each optimiser.
LR = {
    "sgd": 0.1,
    "momentum": 0.02,
    "nesterov": 0.02,
    "adagrad": 0.05,
    "rmsprop": 0.003,
    "adam": 0.003,
    "adamw": 0.003,
}
MOMENTUM = 0.9
#: Of the small nets that bundled sets suggest: a few units have few ways down, and a larger rate finds them.
SMALL_LR = 10
#: Under so many rows all are to be learned, as of a truth table: nothing is held out, and units are smooth.
FEW, FEW_ACTIVATION = 20, "tanh"
BATCH = 32
#: Epochs at least, and steps at least: thirty looks at four batches teach little.
EPOCHS, STEPS = 30, 1500
#: Parts of the rows held out by the command line: to watch the training, and for the end.
VALIDATION, TEST = 0.1, 0.2
#: Megabytes of checkpoints that a run may keep.
RECORD_MB = 200.0


def epochs_for(rows: int, batch: int) -> int:
    """How many epochs, for so many training rows.

    Examples
    --------
    >>> epochs_for(100_000, 32), epochs_for(100, 32)
    (30, 375)
    """
    each = -(-rows // min(batch, rows))
    return max(EPOCHS, -(-STEPS // each))


def patience_for(epochs: int) -> int:
    """Epochs without a better validation loss, after which a run ends.

    Examples
    --------
    >>> patience_for(30), patience_for(375)
    (10, 75)
    """
    return max(10, epochs // 5)


def l2_for(rows: int) -> float:
    """The penalty of the command line on the weights, for so many training rows.

    3 / n, as of a prior that says as much as three rows; more under a thousand rows, 3000 / n², up to 0.03;
    and nothing for a handful of rows, which are all there is to learn. It is printed, so it has one digit.

    Examples
    --------
    >>> l2_for(30_000), l2_for(1_000), l2_for(400), l2_for(100), l2_for(4)
    (0.0001, 0.003, 0.02, 0.03, 0.0)
    """
    return float(f"{min(0.03, max(3 / rows, 3000 / rows**2)):.1g}") if rows >= 50 else 0.0
