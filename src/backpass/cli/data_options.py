"""Options that say how data are read: which column is the target, what the columns are called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import Group, Parameter

from backpass.errors import UsageError

if TYPE_CHECKING:
    from backpass.data import Dataset

_GROUP = Group("Data", sort_key=1)


@Parameter(name="*", group=_GROUP)
@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How a table is read.

    Parameters
    ----------
    target
        The column to predict; several with commas between them.
    names
        What the columns are called, with commas between them, for a file without a line of names.
    task
        What kind of answer is wanted. By default it follows from the target's values.
    drop
        Columns to leave out, with commas between them.
    group
        A column whose rows are never parted: all rows of one patient, say, are in the same part.
    time
        A column by which rows are parted: the last rows in time are the test.
    size
        Width and height that images are brought to, as in 28x28.
    """

    target: str | None = None
    names: str | None = None
    task: Literal["classification", "multilabel", "regression"] | None = None
    drop: str | None = None
    group: str | None = None
    time: str | None = None
    size: str | None = None

    def load(self, spec: str, *, test: str | None = None, validation: str | None = None) -> Dataset:
        """Read the data; `test` and `validation` are files with rows of their own."""
        from backpass.data import load

        given: dict[str, Any] = {
            "target": _words(self.target),
            "names": _words(self.names),
            "task": self.task,
            "drop": _words(self.drop),
            "group": self.group,
            "time": self.time,
            "size": _size(self.size),
            "test": test,
            "validation": validation,
        }
        return load(spec, **{name: value for name, value in given.items() if value is not None})


def fraction_or_file(name: str, written: str | None) -> tuple[float | None, str | None]:
    """``--test 0.2`` or ``--test FILE``.

    Examples
    --------
    >>> fraction_or_file("--test", "0.2"), fraction_or_file("--test", "new.csv")
    ((0.2, None), (None, 'new.csv'))
    """
    if written is None:
        return None, None
    try:
        fraction = float(written)
    except ValueError:
        return None, written
    if not 0 <= fraction < 1:
        raise UsageError(
            f"{name} is a fraction of the rows, at least 0 and below 1 (such as 0.2), or a file; "
            f"got {written}"
        )
    return fraction, None


def _words(written: str | None) -> list[str] | None:
    """What stands between commas."""
    return None if written is None else [word.strip() for word in written.split(",")]


def _size(written: str | None) -> tuple[int, int] | None:
    if written is None:
        return None
    parts = written.lower().replace("×", "x").split("x")
    if len(parts) != 2 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--size is width x height in pixels, as in 28x28; got {written}")
    return int(parts[0]), int(parts[1])
