"""How data enter a run: taken apart, prepared by the training rows, and found again for a replay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backpass.data import Dataset, Preparation, prepare
from backpass.data import load as load_data
from backpass.data.split import some_of
from backpass.errors import RecordError, ShapeError, UsageError
from backpass.exec.base import Array
from backpass.record.folder import RunFolder
from backpass.record.settings import DataSettings, Settings

#: Training rows that came as arrays are kept in the run folder up to this size.
KEPT_BYTES = 256_000_000

Pair = tuple[Array, Array]
Index = NDArray[np.int64]


class Rows:
    """The training rows as the network sees them, and their numbers in the data set."""

    def __init__(self, arrays: Mapping[str, Array], numbers: Index) -> None:
        self.arrays, self.numbers = dict(arrays), numbers

    @classmethod
    def again(cls, settings: Settings, path: Path | None) -> Rows:
        """Read the training rows of a loaded run."""
        where = settings.data
        kept = RunFolder(path).read_arrays("rows") if path is not None else None
        if kept is not None:
            return cls._checked(kept, settings, f"{path}: rows.safetensors")
        if not where.source:
            raise RecordError(
                f"the training rows of this run came from memory and were not kept with it (over "
                f"{KEPT_BYTES // 10**6} MB). Give them: backpass.load(path, data=(X, y))"
            )
        return cls.matching(load_data(where.source, **where.options), settings)

    @classmethod
    def matching(cls, dataset: Dataset, settings: Settings) -> Rows:
        """The training rows of a run from its data set, which must be the very same."""
        where = settings.data
        if dataset.fingerprint() != where.fingerprint:
            raise RecordError(
                f"the data of this run have changed: {where.source or where.name} is not what it was "
                "trained on, so its steps cannot be computed again"
            )
        numbers = parts_of(dataset, where.validation, where.test, settings.seed, where.limit)["train"]
        known = Preparation.from_description(where.preparation)
        _, found = prepare(dataset, {"train": numbers}, kind_of(settings.dtype), preparation=known)
        x, t = found["train"]
        return cls({"x": x, "t": for_outputs(t, where.outputs, known)}, numbers)

    @classmethod
    def _checked(cls, kept: Mapping[str, Array], settings: Settings, where: str) -> Rows:
        """Rows that were kept in a folder, if they are what the settings say."""
        count, kind = settings.data.rows, kind_of(settings.dtype)
        wanted = {
            "x": ((count, settings.in_features), kind),
            "t": ((count, settings.data.outputs), kind),
            "numbers": ((count,), np.int64),
        }
        for name, (shape, dtype) in wanted.items():
            if name not in kept or kept[name].shape != shape or kept[name].dtype != dtype:
                raise RecordError(f"{where} does not hold the {count:,} training rows of this run")
        return cls({"x": kept["x"], "t": kept["t"]}, kept["numbers"])


@dataclass(frozen=True, eq=False)
class Entry:
    """The data of a run, as they enter the network.

    Attributes
    ----------
    dataset : Dataset
    preparation : Preparation
        Fitted on the training rows alone.
    rows : Rows
        The training rows.
    held : dict of str to (x, t)
        "validation" and "test", where there are any.
    settings : DataSettings
    """

    dataset: Dataset
    preparation: Preparation
    rows: Rows
    held: dict[str, Pair]
    settings: DataSettings

    def for_outputs(self, outputs: int) -> Entry:
        """The same for a network of so many outputs; see `for_outputs`."""
        if outputs == self.settings.outputs:
            return self
        t = for_outputs(self.rows.arrays["t"], outputs, self.preparation)
        held = {name: (x, for_outputs(t, outputs, self.preparation)) for name, (x, t) in self.held.items()}
        rows = Rows({"x": self.rows.arrays["x"], "t": t}, self.rows.numbers)
        changed: dict[str, Any] = {f: getattr(self.settings, f) for f in self.settings.__struct_fields__}
        return replace(self, rows=rows, held=held, settings=DataSettings(**changed | {"outputs": outputs}))


def enter(
    dataset: Dataset,
    validation: float | None,
    test: float | None,
    *,
    limit: int | None = None,
    seed: int,
    dtype: str,
    preparation: Preparation | None = None,
) -> Entry:
    """Take the rows apart, fit the preparation on the training rows, and apply it to all parts.

    Parameters
    ----------
    dataset : Dataset
    validation, test : float, optional
        Fractions of the rows to hold out. If left out, the part that the data set itself gives is used.
    limit : int, optional
        Train on so many of the training rows only; the other parts are the same for any limit.
    seed : int
    dtype : {"f32", "f64"}
    preparation : Preparation, optional
        One that was fitted on these training rows already.
    """
    parts = parts_of(dataset, validation, test, seed, limit)
    train = parts["train"]
    preparation, found = prepare(dataset, parts, kind_of(dtype), preparation=preparation)
    x, t = found.pop("train")
    held = found | _own(dataset, validation, test, preparation, dtype)
    settings = DataSettings(
        name=dataset.name,
        source=dataset.source,
        options=dataset.options,
        fingerprint=dataset.fingerprint(),
        preparation=preparation.describe(),
        task=preparation.task,
        classes=tuple(c.item() if isinstance(c, np.generic) else c for c in preparation.classes),
        outputs=t.shape[1],
        validation=validation,
        test=test,
        limit=limit,
        rows=len(train),
        all_rows=len(dataset),
        image_shape=dataset.image_shape,
    )
    return Entry(dataset, preparation, Rows({"x": x, "t": t}, train), held, settings)


def held_again(settings: Settings, dataset: Dataset | None = None) -> dict[str, Pair]:
    """The held-out rows of a loaded run, where they can be read again or are given; else nothing."""
    where = settings.data
    if dataset is None:
        if not where.source:
            return {}
        dataset = load_data(where.source, **where.options)
    known = Preparation.from_description(where.preparation)
    parts = parts_of(dataset, where.validation, where.test, settings.seed, where.limit)
    del parts["train"]
    return {
        name: (x, for_outputs(t, where.outputs, known))
        for name, (x, t) in _held(dataset, parts, where.validation, where.test, known, settings.dtype).items()
    }


def _held(
    dataset: Dataset,
    parts: Mapping[str, Index],
    validation: float | None,
    test: float | None,
    preparation: Preparation,
    dtype: str,
) -> dict[str, Pair]:
    """The rows that are held out, prepared: parts of the data, or those that the source itself gives."""
    found = prepare(dataset, parts, kind_of(dtype), preparation=preparation)[1]
    return found | _own(dataset, validation, test, preparation, dtype)


def _own(
    dataset: Dataset, validation: float | None, test: float | None, preparation: Preparation, dtype: str
) -> dict[str, Pair]:
    """Those that the source itself gives."""
    found: dict[str, Pair] = {}
    own = (("validation", validation, dataset.validation), ("test", test, dataset.test))
    for name, fraction, other in own:
        if fraction is None and other is not None:
            rows = {name: np.arange(len(other))}
            found |= prepare(other, rows, kind_of(dtype), preparation=preparation)[1]
    return found


def parts_of(
    dataset: Dataset, validation: float | None, test: float | None, seed: int, limit: int | None = None
) -> dict[str, Index]:
    """The rows of each part, as numbered in the data set."""
    train, held, tested = dataset.parts(validation or 0.0, test or 0.0, seed=seed)
    if limit is not None:
        if not 1 <= limit <= len(train):
            raise UsageError(
                f"rows={limit:,} is not possible: there are {len(train):,} rows to train on"
                f" ({len(held) + len(tested):,} are held out)."
            )
        train = some_of(train, limit, seed)
    return {"train": train, "validation": held, "test": tested}


def for_outputs(t: Array, outputs: int, preparation: Preparation) -> Array:
    """Targets for a network of so many outputs: two classes can have one, is it the second?"""
    if outputs == 1 and t.shape[1] == 2 and preparation.task == "classification":
        t = np.ascontiguousarray(t[:, 1:])
    if t.shape[1] != outputs and preparation.task == "regression" and outputs > 1:
        raise ShapeError(
            f"the data have {t.shape[1]} target{'s' if t.shape[1] > 1 else ''} of quantities, a regression, "
            f"and the last layer has {outputs} units.\n  Write Dense({t.shape[1]}) as the last layer; or "
            "give classes as whole numbers or words, where it is classes that are to be told apart."
        )
    if t.shape[1] != outputs:
        what = f"{t.shape[1]} {'classes' if preparation.task == 'classification' else 'targets'}"
        raise ShapeError(
            f"the data have {what}, but the last layer has {outputs} units\n"
            f"  Write Dense({t.shape[1]}, ...) as the last layer."
        )
    return t


def kind_of(dtype: str) -> type[np.floating[Any]]:
    """NumPy's type for one of ours."""
    return np.float32 if dtype == "f32" else np.float64
