"""Training rows in an answer: what each of them is, what the net reads it as, its picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backpass.data import mapped
from backpass.data.preparation import Preparation
from backpass.exec.base import Array
from backpass.pictures.images import row_images
from backpass.record.record import Record
from backpass.training.evaluate import Evaluator, classes_of

READ, ANSWERED = "read as", "answered"  #: what stands before a class, and before a quantity


def verb_of(record: Record) -> str:
    """What stands before that which the net took a row for."""
    return ANSWERED if record.settings.data.task == "regression" else READ


def labels_of(record: Record, t: Array) -> list[str]:
    """The class of each target, or its quantity in the units of the data; empty words of several."""
    data = record.settings.data
    if data.task == "regression" and t.shape[1:] == (1,):
        return list(map(quantity, Preparation.from_description(data.preparation).in_units(t)[:, 0]))
    if data.task != "classification":
        return [""] * len(t)
    return [str(data.classes[int(c)]) for c in classes_of(t)]


def quantity(value: float) -> str:
    """A quantity of the data, to four digits, large ones to the whole number.

    Examples
    --------
    >>> quantity(452600.0), quantity(0.123456), quantity(-3.0)
    ('452,600', '0.1235', '-3')
    """
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e12 else f"{value:.4g}"


def read_as(record: Record, x: Array) -> list[str]:
    """What the run's result takes each row for, as `labels_of` says it."""
    evaluator = Evaluator(record.predict_graph, record.prediction, record.settings.data.task)
    return labels_of(record, evaluator.predict(record.result(), x))


def described(label: str, read: str, verb: str = READ) -> str:
    """An example in words: ``a 7, read as 1``; nothing where there is no label.

    Examples
    --------
    >>> described("7", "1"), described("8", "8"), described("", ""), described("21", "20.5", ANSWERED)
    ('a 7, read as 1', 'an 8', '', '21, answered 20.5')
    """
    if not label:
        return ""
    named = label if verb == ANSWERED else article(label)
    return named if label == read else f"{named}, {verb} {read}"


def article(label: str) -> str:
    """A class with its article.

    Examples
    --------
    >>> article("8"), article("iris"), article("7"), article(">50K")
    ('an 8', 'an iris', 'a 7', 'a >50K')
    """
    vowel = label[:1].lower() in tuple("aeio8") or label in ("11", "18")
    return f"{'an' if vowel else 'a'} {label}"


def pictures(record: Record, title: str, x: Array, rows: Sequence[int], names: Sequence[str]) -> str:
    """Rows as images, where they are images; else nothing."""
    shape = record.settings.data.image_shape
    if shape is None or not len(rows) or int(np.prod(shape)) != x.shape[1]:
        return ""
    images = mapped.take(x, np.asarray(rows, np.int64)).astype(np.float64).reshape(len(rows), *shape)
    return row_images(title, images, names)
