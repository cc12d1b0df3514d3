"""Every error that backpass raises on purpose.

Each message says what went wrong, where, why, and what to do; the reader is a person. At the command
line no traceback is shown: the message is printed and the class's `exit_code` is the exit status.

::

    BackpassError
    ├── UsageError(ValueError)              an option, name or setting that is not one of ours        exit 2
    ├── ShapeError(ValueError)              shapes or dtypes of a program do not fit                  exit 2
    ├── GraphError(ValueError)              a malformed Graph: a name twice, an unknown output        exit 2
    ├── NotDifferentiable(TypeError)        prints the path from the cost to the obstacle             exit 2
    ├── RuleError(AssertionError)           an op broke its contract; addressed to the op's author    exit 1
    ├── NotLowered(Exception)               an executor has no lowering for a Graph; the caller falls back
    ├── DataError(ValueError)               data that cannot be used                                  exit 3
    ├── RecordError(OSError)                a run folder that is torn, newer, foreign or not there    exit 4
    │   └── ReplayMismatch                  a replay that is not bit-equal to its run                 exit 4
    ├── NonFinite(ArithmeticError)          NaN or infinity appeared; names step and tensor           exit 5
    └── StorageError(OSError)               the disk is full or not writable                          exit 6
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class BackpassError(Exception):
    """The root of all of them."""

    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:  # KeyError and OSError would otherwise quote or reorder the message
        return str(self.args[0]) if self.args else ""


class UsageError(BackpassError, ValueError):
    """An option, a name or a setting that is not one of ours."""

    exit_code = 2


class ShapeError(BackpassError, ValueError):
    """Shapes or dtypes of a program do not fit."""

    exit_code = 2


class GraphError(BackpassError, ValueError):
    """A malformed Graph."""

    exit_code = 2


class NotDifferentiable(BackpassError, TypeError):
    """A path from the cost to a parameter passes through something without a derivative."""

    exit_code = 2


class RuleError(BackpassError, AssertionError):
    """An op broke its contract. The reader is the author of that op."""


class NotLowered(BackpassError):
    """An executor cannot compile this Graph; the message names the op. The caller falls back, visibly."""


class DataError(BackpassError, ValueError):
    """Data that cannot be used: missing, torn, of the wrong shape, not finite, of one class."""

    exit_code = 3


class RecordError(BackpassError, OSError):
    """A run folder that is torn, newer than this version, foreign, or not there."""

    exit_code = 4


class ReplayMismatch(RecordError):
    """A replay that is not bit-equal to the run it repeats.

    Attributes
    ----------
    before, mark : int
        Completed steps: the last state compared that is equal, and the first that is not.
    tensor : str
        The first value that differs; "" where only its hash is known.
    """

    def __init__(self, message: str, *, before: int = 0, mark: int = 0, tensor: str = "") -> None:
        super().__init__(message)
        self.before, self.mark, self.tensor = before, mark, tensor


class NonFinite(BackpassError, ArithmeticError):
    """NaN or infinity appeared while training.

    Attributes
    ----------
    step : int
        The step (counted from 1) in which it first appeared.
    tensor : str
        The first value in program order that was not finite.
    """

    exit_code = 5

    def __init__(self, message: str, *, step: int = 0, tensor: str = "") -> None:
        super().__init__(message)
        self.step = step
        self.tensor = tensor


class StorageError(BackpassError, OSError):
    """The disk is full or may not be written."""

    exit_code = 6


def nearest(word: str, known: Iterable[str]) -> str:
    """A sentence that offers the nearest known word, for the end of an error message.

    Examples
    --------
    >>> nearest("sigmiod", ["relu", "sigmoid", "tanh"])
    "Did you mean 'sigmoid'? Known: relu, sigmoid, tanh."
    >>> nearest("zzz", ["relu", "tanh"])
    'Known: relu, tanh.'
    """
    names = sorted(known)
    same = [name for name in names if name.lower() == word.lower()]
    close = same or difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {', '.join(names)}."
