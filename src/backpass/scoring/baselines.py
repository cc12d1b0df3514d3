"""What a network has to beat: the answer that ignores the row, and a linear model of the same rows."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backpass.data import mapped
from backpass.scoring.metrics import score

Array = NDArray[Any]

#: A linear model sees at most so many training rows, ...
ROWS = 20_000
#: ... at most so many products of a row, a column and an output, so that it takes seconds also on images, ...
_PRODUCTS = 80_000_000
#: ... and is given at most so many iterations.
_ITERATIONS = 50

#: Of a part in files, at most so many rows are scored: a share is then right to 0.0005 (standard error).
SCORED = 1_000_000
_BLOCK = 1 << 16  # rows of a part in files that a model sees at a time


def baselines(
    task: str,
    x: Array,
    t: Array,
    parts: Mapping[str, tuple[Array, Array]],
    *,
    classes: Sequence[Any] = (),
    seed: int = 0,
    rows: int = ROWS,
    units: Callable[[Array], Array] | None = None,
) -> dict[str, dict[str, Any]]:
    """Metrics of simple models, fitted on the training rows.

    Parameters
    ----------
    task : {"classification", "multilabel", "regression"}
    x : ndarray, shape (n, d)
        Training rows as they enter the network.
    t : ndarray, shape (n, k)
        Their targets, as the network's outputs are compared with.
    parts : mapping of str to (x, t)
        The parts to score, in the same form: "validation", "test".
    classes : sequence, optional
        As for `score`.
    seed : int
        Fixes which rows a linear model sees where there are too many.
    rows : int
        How many it may see at most; wide rows or many outputs lower it further.
    units : callable, optional
        From targets and outputs to what is scored: quantities in the units of the data, say.

    Returns
    -------
    dict of str to dict
        "majority" (classes) or "mean" (quantities), and "linear" unless there is nothing to fit. Each has
        ``name`` (in words), ``rows`` (seen) ``of`` (training rows), ``seconds``, ``converged``, and
        ``parts``: for each part what `score` gives.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0], [1.0], [2.0], [3.0]]); t = 2 * x + 1
    >>> found = baselines("regression", x, t, {"test": (x, t)})
    >>> found["mean"]["parts"]["test"]["r2"], found["linear"]["parts"]["test"]["r2"] > 0.9
    (0.0, True)
    """
    if not len(x):
        return {}
    names, scaled = list(classes), units or (lambda values: values)

    def scored(name: str, seen: int, began: float, converged: bool, outputs: Any) -> dict[str, Any]:
        found = {}
        for part, (px, pt) in parts.items():
            rows = mapped.some(px, SCORED, seed)
            if rows is None and not mapped.in_file(px):
                found[part] = score(task, scaled(pt), scaled(outputs(px)), names)
                continue
            rows = np.arange(len(px)) if rows is None else rows
            answers = [outputs(mapped.take(px, rows[i : i + _BLOCK])) for i in range(0, len(rows), _BLOCK)]
            found[part] = score(task, scaled(mapped.take(pt, rows)), scaled(np.concatenate(answers)), names)
        seconds = time.perf_counter() - began
        told = {"name": name, "rows": seen, "of": len(x), "seconds": seconds, "converged": converged}
        return told | {"parts": found}

    began = time.perf_counter()
    mean = t.mean(axis=0, dtype=np.float64)
    mapped.release(t)
    name = _simple_name(task, mean, names)
    simple = scored(name, len(x), began, True, lambda px: np.tile(mean, (len(px), 1)))
    found = {"mean" if task == "regression" else "majority": simple}
    from threadpoolctl import threadpool_limits

    began = time.perf_counter()
    most = min(rows, max(200, _PRODUCTS // max(1, x.shape[1] * t.shape[1])))
    # Of rows in files first some, so that only these are looked at for their class.
    some = mapped.some(x, SCORED, seed)
    seen = t if some is None else mapped.take(t, some)
    chosen = sample(seen, most, seed, stratified=task == "classification")
    chosen = chosen if some is None else some[chosen]
    # One thread: the same bits however many cores there are, and no waiting for cores that others use.
    with threadpool_limits(1):
        model = _Linear(task, mapped.take(x, chosen), mapped.take(t, chosen))
    if model.fitted:
        found["linear"] = scored(model.name, len(chosen), began, model.converged, model.outputs)
    return found


def sample(t: Array, most: int, seed: int, *, stratified: bool) -> NDArray[np.int64]:
    """The numbers of at most `most` rows, sorted; of each class its share, where stratified.

    Examples
    --------
    >>> t = np.repeat(np.eye(2), [900, 100], axis=0)
    >>> t[sample(t, 50, 0, stratified=True)].sum(axis=0).tolist()
    [45.0, 5.0]
    """
    if len(t) <= most:
        return np.arange(len(t))
    order = np.random.default_rng(np.random.SeedSequence([seed, 0xBA5E])).permutation(len(t))
    if stratified:
        codes = np.argmax(t, axis=1) if t.shape[1] > 1 else t[:, 0] > 0.5
        order = order[np.argsort(codes[order], kind="stable")]
    # Evenly spaced places of rows that are ordered by class hit each class in proportion.
    return np.sort(order[(np.arange(most) * len(t) + len(t) // 2) // most])


def _simple_name(task: str, mean: NDArray[np.float64], names: list[Any]) -> str:
    if task == "regression":
        return "always the mean"
    if task == "multilabel":
        return "always the share of each label"
    if len(mean) == 1 and len(names) == 1:
        return f"always {names[0]}"
    place = int(np.argmax(mean)) if len(mean) > 1 else int(mean[0] > 0.5)
    return f"always {names[place] if names else f'class {place}'}, the most frequent"


class _Linear:
    """Logistic regression for classes and labels, ridge regression for quantities; scikit-learn's.

    Columns are centred, and those with a standard deviation above 1 are divided by it: solvers need that, and
    a baseline that fails for the lack of it would flatter the network.
    """

    def __init__(self, task: str, x: Array, t: Array) -> None:
        self.task, self.converged = task, True
        kind = x.dtype  # f32 stays f32: half the time, and far more digits than a baseline needs
        self.middle = x.mean(axis=0, dtype=np.float64).astype(kind)
        self.width = np.maximum(x.std(axis=0, dtype=np.float64), 1.0).astype(kind)
        self.columns = t.shape[1]
        self.name = "ridge regression" if task == "regression" else "logistic regression"
        rows = self._rows(x)
        self.models: list[Any] = []
        if task == "regression":
            from sklearn.linear_model import Ridge

            self.models = [Ridge(alpha=1.0).fit(rows, t.astype(np.float64))]
        elif task == "multilabel" or t.shape[1] == 1:
            self.models = [self._logistic(rows, t[:, k] > 0.5) for k in range(t.shape[1])]
        else:
            self.models = [self._logistic(rows, np.argmax(t, axis=1))]
        # Where all rows are of one class there is nothing to learn.
        self.fitted = task != "classification" or not isinstance(self.models[0], float)

    def _rows(self, x: Array) -> Array:
        rows: Array = (x - self.middle) / self.width
        return rows

    def _logistic(self, rows: Array, codes: Array) -> Any:
        """A model, or the share of rows where all have the same label."""
        if (codes == codes[0]).all():
            return float(codes[0])
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(max_iter=_ITERATIONS).fit(rows, codes)
        self.converged &= bool(np.max(model.n_iter_) < _ITERATIONS)
        return model

    def outputs(self, x: Array) -> Array:
        """In the form of the network's outputs, shape (n, k)."""
        rows = self._rows(x)
        if not len(rows):
            return np.zeros((0, self.columns))
        if self.task == "regression":
            return np.asarray(self.models[0].predict(rows)).reshape(len(rows), self.columns)
        found = np.zeros((len(rows), self.columns))
        if self.task == "classification" and self.columns > 1:
            found[:, self.models[0].classes_] = self.models[0].predict_proba(rows)
            return found
        for k, model in enumerate(self.models):
            found[:, k] = model if isinstance(model, float) else model.predict_proba(rows)[:, 1]
        return found
