"""Training rows in an answer: what each of them is, what the net reads it as, its picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backpass.data import mapped
from backpass.exec.base import Array
from backpass.pictures.images import row_images
from backpass.training.evaluate import Evaluator, classes_of
from backpass.training.record import Record


def labels_of(record: Record, t: Array) -> list[str]:
    """The class of each target; empty words where there are no classes."""
    if record.settings.data.task != "classification":
        return [""] * len(t)
    return [str(record.settings.data.classes[int(c)]) for c in classes_of(t)]


def read_as(record: Record, x: Array) -> list[str]:
    """The class that the run's result takes each row for; empty words where there are no classes."""
    evaluator = Evaluator(record.predict_graph, record.prediction, record.settings.data.task)
    return labels_of(record, evaluator.predict(record.result(), x))


def described(label: str, read: str) -> str:
    """An example in words: ``a 7, read as 1``; nothing where there are no classes.

    Examples
    --------
    >>> described("7", "1"), described("7", "7"), described("", "")
    ('a 7, read as 1', 'a 7', '')
    """
    return "" if not label else f"a {label}" if label == read else f"a {label}, read as {read}"


def pictures(record: Record, title: str, x: Array, rows: Sequence[int], names: Sequence[str]) -> str:
    """Rows as images, where they are images; else nothing."""
    shape = record.settings.data.image_shape
    if shape is None or not len(rows) or int(np.prod(shape)) != x.shape[1]:
        return ""
    images = mapped.take(x, np.asarray(rows, np.int64)).astype(np.float64).reshape(len(rows), *shape)
    return row_images(title, images, names)
