"""Metrics from plain arrays: what was right, what was wrong, and by how much.

A figure that the rows do not define is None (JSON's null), never NaN: R² of a constant target, the AUC where
only one class is there, anything of no rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backpass.errors import ShapeError, UsageError

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

TASKS = ("classification", "multilabel", "regression")

#: How far from 1 the outputs of a row may sum and still be probabilities of classes (f32 rounds).
_SUM_SLACK = 1e-3


def score(
    task: str,
    truth: ArrayLike,
    outputs: ArrayLike,
    classes: Sequence[Any] = (),
    probable: bool = True,
) -> dict[str, Any]:
    """Every usual metric of some predictions, as plain numbers.

    Parameters
    ----------
    task : {"classification", "multilabel", "regression"}
    truth : array-like
        Classification: the targets of the network, shape (n, k) one-hot or (n, 1) for a single output, or the
        place of each row's class in `classes`, shape (n,). Multilabel: zeros and ones, shape (n, k).
        Regression: quantities, shape (n,) or (n, k).
    outputs : array-like, shape (n, k)
        What the network said; (n, 1) for a single output, which stands for the second of two classes where it
        is above one half. For regression (n,) will do.
    classes : sequence, optional
        The names of classes, labels or target columns; by default their numbers.
    probable : bool
        Whether the outputs are meant as probabilities; otherwise there is no log loss.

    Returns
    -------
    dict
        ``task``, ``rows``, ``not_finite`` (rows with NaN or infinity; with any, every figure is None), and:

        classification: ``accuracy``, ``log_loss`` (nats), ``auc`` (the mean of each class against the rest
        where there are more than two), ``precision``, ``recall``, ``f1`` (means over the classes that occur
        or were predicted, as scikit-learn's "macro" with ``zero_division=0``), ``classes``, ``by_class``,
        ``confusion`` (a row for each true class, a column for each prediction).

        multilabel: ``accuracy`` (of all labels of all rows), ``exact`` (rows with every label right),
        ``log_loss`` (mean over labels), ``auc``, ``precision``, ``recall``, ``f1`` (macro), ``by_label``.

        regression: ``r2``, ``mae``, ``rmse``: the means over target columns that have one; ``by_target``.

    Raises
    ------
    UsageError
        There is no such task.
    ShapeError
        Truth and outputs do not fit each other.

    Notes
    -----
    Log loss takes probabilities of at least 2.2e-16 (one ulp of f64 at 1), as scikit-learn does; the AUC is
    `sklearn.metrics.roc_auc_score`. The rest follows from the confusion matrix, so that table and picture
    cannot disagree.

    Examples
    --------
    >>> found = score("classification", [0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], ["no", "yes"])
    >>> found["confusion"], round(found["accuracy"], 3), found["auc"]
    ([[1, 0], [1, 1]], 0.667, 1.0)
    >>> score("regression", [1.0, 2.0, 3.0], [1.0, 2.0, 4.0])["r2"]
    0.5
    """
    if task not in TASKS:
        raise UsageError(f"there is no task {task!r}; it is one of {', '.join(TASKS)}")
    t, a = np.asarray(truth), np.asarray(outputs, dtype=np.float64)
    if a.ndim == 1:
        a = a[:, None]
    if a.ndim != 2 or len(t) != len(a):
        raise ShapeError(
            f"truth {list(t.shape)} and outputs {list(a.shape)} must have a row for each example"
        )
    finite = np.isfinite(a).all(axis=1)
    finite &= np.isfinite(t.astype(np.float64)).all(axis=tuple(range(1, t.ndim)))
    found: dict[str, Any] = {"task": task, "rows": len(a), "not_finite": int(np.sum(~finite))}
    usable = len(a) > 0 and bool(finite.all())
    if task == "classification":
        return found | _classification(t, a, list(classes), probable, usable)
    if t.ndim == 1:
        t = t[:, None]
    if t.shape != a.shape:
        raise ShapeError(f"truth has shape {list(t.shape)}, but the outputs have {list(a.shape)}")
    names = list(classes) or list(range(a.shape[1]))
    _check_names(names, a.shape[1])
    if task == "multilabel":
        return found | _multilabel(t > 0.5, a, names, probable, usable)
    return found | _regression(t.astype(np.float64), a, names, usable)


# ---- classes


def _classification(
    t: NDArray[Any], a: Floats, names: list[Any], probable: bool, usable: bool
) -> dict[str, Any]:
    count = max(a.shape[1], 2)
    names = names or list(range(count))
    # A data set of one class has a net with one output: then there is only that class.
    if len(names) == 1 and a.shape[1] == 1:
        count = 1
    _check_names(names, count)
    figures = ("accuracy", "log_loss", "auc", "precision", "recall", "f1")
    found: dict[str, Any] = dict.fromkeys(figures) | {"classes": [_plain(x) for x in names]}
    if not usable:
        return found | {"by_class": [], "confusion": []}
    codes = _codes(t, count)
    predicted = _codes(a, count)
    if codes.min() < 0 or codes.max() >= count:
        raise ShapeError(
            f"truth holds class number {codes.max() if codes.max() >= count else codes.min()}; "
            f"there are {count} classes, numbered from 0"
        )
    confusion = np.bincount(codes * count + predicted, minlength=count * count).reshape(count, count)
    hits, support, answered = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall, f1 = _rates(hits, answered, support)
    there = (support > 0) | (answered > 0)
    share = _probabilities(a) if count > 1 else np.ones((len(a), 1))
    if probable and share is not None:
        right = np.clip(share[np.arange(len(codes)), codes], np.finfo(np.float64).eps, 1.0)
        found["log_loss"] = float(-np.mean(np.log(right)))
    # One number a row decides between two classes, so that the order of rows is that of the second class.
    if count > 2:
        areas = [_area(codes == k, a[:, k]) for k in range(count)]
    else:
        areas = [_area(codes == 1, a[:, 0] if a.shape[1] == 1 else a[:, 1] - a[:, 0])]
    found |= {
        "accuracy": float(hits.sum() / len(codes)),
        "auc": _mean(areas),
        "precision": float(precision[there].mean()),
        "recall": float(recall[there].mean()),
        "f1": float(f1[there].mean()),
        "by_class": [
            {
                "class": _plain(names[k]),
                "precision": float(precision[k]),
                "recall": float(recall[k]),
                "f1": float(f1[k]),
                "support": int(support[k]),
            }
            for k in range(count)
        ],
        "confusion": confusion.tolist(),
    }
    return found


def _codes(values: NDArray[Any], count: int) -> Codes:
    """The class of each row: given, the largest of several, or whether the only one is above one half."""
    if values.ndim == 1:
        return values.astype(np.int64)
    if values.shape[1] > 1:
        return np.asarray(np.argmax(values, axis=1), np.int64)
    return (values[:, 0] > 0.5).astype(np.int64) if count > 1 else np.zeros(len(values), np.int64)


def _probabilities(a: Floats) -> Floats | None:
    """The probability of each class, or None where the outputs are none (say, a sigmoid for each class)."""
    if a.min() < 0 or a.max() > 1:
        return None
    if a.shape[1] == 1:
        return np.hstack([1 - a, a])
    total = a.sum(axis=1, keepdims=True)
    return a / total if np.abs(total - 1).max() <= _SUM_SLACK else None


def _rates(
    hits: NDArray[np.int64], answered: NDArray[np.int64], support: NDArray[np.int64]
) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and F1; 0 where nothing can be divided."""
    f1 = 2 * hits / np.maximum(answered + support, 1)
    return hits / np.maximum(answered, 1), hits / np.maximum(support, 1), f1


def _area(positive: NDArray[np.bool_], ranks: Floats) -> float | None:
    """The area under the ROC curve; None where all rows are of one kind."""
    if positive.all() or not positive.any():
        return None
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positive, ranks))


# ---- labels


def _multilabel(
    t: NDArray[np.bool_], a: Floats, names: list[Any], probable: bool, usable: bool
) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys(
        ("accuracy", "exact", "log_loss", "auc", "precision", "recall", "f1")
    )
    if not usable:
        return found | {"by_label": []}
    said = a > 0.5
    precision, recall, f1 = _rates((t & said).sum(axis=0), said.sum(axis=0), t.sum(axis=0))
    areas = [_area(t[:, k], a[:, k]) for k in range(t.shape[1])]
    if probable and a.min() >= 0 and a.max() <= 1:
        right = np.clip(np.where(t, a, 1 - a), np.finfo(np.float64).eps, 1.0)
        found["log_loss"] = float(-np.mean(np.log(right)))
    return found | {
        "accuracy": float(np.mean(t == said)),
        "exact": float(np.mean((t == said).all(axis=1))),
        "auc": _mean(areas),
        "precision": float(precision.mean()),
        "recall": float(recall.mean()),
        "f1": float(f1.mean()),
        "by_label": [
            {
                "label": _plain(names[k]),
                "accuracy": float(np.mean(t[:, k] == said[:, k])),
                "auc": areas[k],
                "precision": float(precision[k]),
                "recall": float(recall[k]),
                "f1": float(f1[k]),
                "support": int(t[:, k].sum()),
            }
            for k in range(t.shape[1])
        ],
    }


# ---- quantities


def _regression(t: Floats, a: Floats, names: list[Any], usable: bool) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys(("r2", "mae", "rmse"))
    if not usable:
        return found | {"by_target": []}
    square = np.mean((t - a) ** 2, axis=0)
    spread = np.where(np.ptp(t, axis=0) > 0, np.var(t, axis=0), 0.0)  # rounding gives a constant a variance
    by_target = [
        {
            "target": _plain(name),
            "r2": float(1 - square[k] / spread[k]) if spread[k] > 0 else None,
            "mae": float(np.mean(np.abs(t[:, k] - a[:, k]))),
            "rmse": float(np.sqrt(square[k])),
        }
        for k, name in enumerate(names)
    ]
    return {key: _mean([row[key] for row in by_target]) for key in found} | {"by_target": by_target}


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean of those that are there."""
    there = [v for v in values if v is not None]
    return float(np.mean(there)) if there else None


def _check_names(names: list[Any], count: int) -> None:
    if len(names) != count:
        raise ShapeError(f"{len(names)} names were given for {count} outputs: {names[:5]}")


def _plain(name: Any) -> Any:
    return name.item() if isinstance(name, np.generic) else name
