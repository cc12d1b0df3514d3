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
BATCH = 32
#: Epochs at least, and steps at least: thirty looks at four batches teach little.
EPOCHS, STEPS = 30, 1500
#: Parts of the rows held out by the command line: to watch the training, and for the end.
VALIDATION, TEST = 0.1, 0.2


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
