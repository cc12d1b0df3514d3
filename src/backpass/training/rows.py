"""The training rows as a network sees them: scaled, encoded, and numbered as in the data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backpass.data import Dataset, split
from backpass.data import load as load_data
from backpass.errors import RecordError, ShapeError
from backpass.exec.base import Array
from backpass.training.folder import RunFolder
from backpass.training.settings import Settings

#: Training rows that came as arrays are kept in the run folder up to this size.
KEPT_BYTES = 256_000_000


class Rows:
    """The training rows as the network sees them, and their numbers in the data set."""

    def __init__(self, arrays: Mapping[str, Array], numbers: NDArray[np.int64]) -> None:
        self.arrays, self.numbers = dict(arrays), numbers

    @classmethod
    def taken(cls, x: Array, t: Array, part: NDArray[np.int64]) -> Rows:
        """Some of the rows that `entered` made."""
        if len(part) == len(x):
            return cls({"x": x, "t": t}, part)
        return cls({"x": x[part], "t": t[part]}, part)

    @classmethod
    def again(cls, settings: Settings, path: Path | None) -> Rows:
        """Read the training rows of a loaded run."""
        where = settings.data
        kept = RunFolder(path).read_arrays("rows") if path is not None else None
        if kept is not None:
            return cls._checked(kept, settings, f"{path}: rows.safetensors")
        if not where.source:
            raise RecordError(
                f"the training rows of this run came as arrays and were not kept with it (over "
                f"{KEPT_BYTES // 10**6} MB). Give them: backpass.load(path, data=(X, y))"
            )
        return cls.matching(load_data(where.source), settings)

    @classmethod
    def matching(cls, dataset: Dataset, settings: Settings) -> Rows:
        """The training rows of a run from its data set, which must be the very same."""
        where = settings.data
        if dataset.fingerprint() != where.fingerprint:
            raise RecordError(
                f"the data of this run have changed: {where.source or where.name} is not what it was "
                "trained on, so its steps cannot be computed again"
            )
        train, _, _ = parts_of(dataset, where.validation, where.test, settings.seed)
        x, t = entered(dataset, settings.dtype, int(settings.layers[-1]["units"]))
        return cls.taken(x, t, train)

    @classmethod
    def _checked(cls, kept: Mapping[str, Array], settings: Settings, where: str) -> Rows:
        """Rows that were kept in a folder, if they are what the settings say."""
        count, kind = settings.data.rows, np.float32 if settings.dtype == "f32" else np.float64
        wanted = {
            "x": ((count, settings.in_features), kind),
            "t": ((count, settings.layers[-1]["units"]), kind),
            "numbers": ((count,), np.int64),
        }
        for name, (shape, dtype) in wanted.items():
            if name not in kept or kept[name].shape != shape or kept[name].dtype != dtype:
                raise RecordError(f"{where} does not hold the {count:,} training rows of this run")
        return cls({"x": kept["x"], "t": kept["t"]}, kept["numbers"])


def entered(dataset: Dataset, dtype: str, outputs: int) -> tuple[Array, Array]:
    """What enters the network: scaled rows, and targets with one column an output."""
    kind = np.float32 if dtype == "f32" else np.float64
    x, t = dataset.inputs(kind), dataset.targets(kind)
    if outputs == 1 and t.shape[1] == 2 and dataset.task == "classification":
        t = np.ascontiguousarray(t[:, 1:])  # one output for two classes: is it the second?
    if t.shape[1] != outputs:
        classes = dataset.task == "classification"
        what = f"{len(dataset.classes)} classes" if classes else f"{t.shape[1]} targets"
        raise ShapeError(
            f"the data have {what}, but the last layer has {outputs} units\n"
            f"  Write Dense({t.shape[1]}, ...) as the last layer."
        )
    return x, t


def parts_of(
    dataset: Dataset, validation: float, test: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The rows of each part, as numbered in the data set."""
    labels = dataset.codes() if dataset.task == "classification" else len(dataset)
    return split(labels, validation, test, seed=seed)
