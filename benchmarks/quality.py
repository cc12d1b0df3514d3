"""How well the networks learn, beside scikit-learn's MLP with the same sizes, preparation and budget.

    python benchmarks/quality.py            # five bundled sets, repeated 10-fold cross-validation, paired
    python benchmarks/quality.py --repeats 10

On each fold both get the same rows, standardised by the training rows (digits: divided by 16), one hidden
layer of 100 ReLU units, and the same number of epochs. backpass trains as its command line does when it is
told nothing more: Adam, batches of 32, a tenth of the training rows held back to choose the epoch that is
kept.
scikit-learn trains as it does when it is told nothing more.

The differences of the folds are not independent, so their variance is corrected for that
(Nadeau & Bengio, Inference for the generalization error, Machine Learning 52, 2003).
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator

import numpy as np
from scipy import stats
from sklearn import datasets
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import RepeatedKFold, RepeatedStratifiedKFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

import backpass as bp
from backpass import defaults

SETS = {
    "digits": datasets.load_digits,
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast cancer": datasets.load_breast_cancer,
    "diabetes": datasets.load_diabetes,
}
FOLDS = 10


def folds(name: str, repeats: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Training and test rows of each fold, prepared."""
    bunch = SETS[name]()
    X, y = bunch.data, bunch.target
    kind = RepeatedKFold if name == "diabetes" else RepeatedStratifiedKFold
    for train, test in kind(n_splits=FOLDS, n_repeats=repeats, random_state=0).split(X, y):
        a, b = X[train], X[test]
        if name == "digits":
            a, b = a / 16, b / 16
        else:
            scaler = StandardScaler().fit(a)
            a, b = scaler.transform(a), scaler.transform(b)
        yield a, y[train], b, y[test]


def ours(name: str, fold: tuple[np.ndarray, ...], seed: int) -> tuple[float, int]:
    """The score of backpass, and the epochs that it was given."""
    X, y, X_test, y_test = fold
    rows = round(len(X) * (1 - defaults.VALIDATION))
    epochs = defaults.epochs_for(rows, defaults.BATCH)
    settings = {
        "optimizer": bp.Adam(defaults.LR["adam"]),
        "batch": defaults.BATCH,
        "epochs": epochs,
        "seed": seed,
        "validation": defaults.VALIDATION,
        "stop": bp.EarlyStopping(defaults.patience_for(epochs)),
        "l2": defaults.l2_for(rows),
    }
    hidden = bp.Dense(defaults.HIDDEN[0], defaults.ACTIVATION)
    if name == "diabetes":
        mean, spread = y.mean(), y.std()
        run = bp.train(bp.Network([hidden, bp.Dense(1)]), (X, (y - mean) / spread), **settings)
        return r2_score(y_test, run.predict(X_test) * spread + mean), epochs
    net = bp.Network([hidden, bp.Dense(len(np.unique(y)), "softmax")])
    run = bp.train(net, (X, y), **settings)
    return accuracy_score(y_test, run.predict(X_test)), epochs


def theirs(name: str, fold: tuple[np.ndarray, ...], seed: int, epochs: int) -> float:
    """The score of scikit-learn's MLP in as many epochs."""
    X, y, X_test, y_test = fold
    given = {"hidden_layer_sizes": defaults.HIDDEN, "max_iter": epochs, "random_state": seed}
    if name == "diabetes":
        mean, spread = y.mean(), y.std()
        net = MLPRegressor(**given).fit(X, (y - mean) / spread)
        return r2_score(y_test, net.predict(X_test) * spread + mean)
    return accuracy_score(y_test, MLPClassifier(**given).fit(X, y).predict(X_test))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sets", default=",".join(SETS))
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # of scikit-learn: the budget ends before its tolerance is reached
    print(f"{given.repeats} x {FOLDS} folds; difference: ours less theirs, with its 95 % interval")
    print(f"{'set':<14}{'ours':>9}{'sklearn':>9}{'difference':>12}{'interval':>20}{'ours':>8}{'sklearn':>9}")
    means = []
    for name in given.sets.split(","):
        pairs, seconds = [], [0.0, 0.0]
        for seed, fold in enumerate(folds(name, given.repeats)):
            begun = time.perf_counter()
            score, epochs = ours(name, fold, seed)
            between = time.perf_counter()
            pairs.append((score, theirs(name, fold, seed, epochs)))
            seconds[0] += between - begun
            seconds[1] += time.perf_counter() - between
        a, b = np.array(pairs).T
        d = a - b
        n = len(d)
        error = np.sqrt((1 / n + 1 / (FOLDS - 1)) * d.var(ddof=1))
        reach = stats.t.ppf(0.975, n - 1) * error
        means.append(d.mean())
        interval = f"[{d.mean() - reach:+.4f}, {d.mean() + reach:+.4f}]"
        print(
            f"{name:<14}{a.mean():>9.4f}{b.mean():>9.4f}{d.mean():>+12.4f}{interval:>20}"
            f"{seconds[0] / n:>6.2f} s{seconds[1] / n:>7.2f} s",
            flush=True,
        )
    print(f"{'mean':<14}{'':>18}{np.mean(means):>+12.4f}")


if __name__ == "__main__":
    main()
