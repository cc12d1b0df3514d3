"""Wrong labels found: self-influence of one training beside cleanlab, which trains five times.

    pip install cleanlab                     # of the benchmark alone
    python benchmarks/labels.py              # digits, 10 % of the labels flipped, five seeds
    python benchmarks/labels.py --mnist DIR  # and 3,000 rows of MNIST, from the four files of idx

Of each set a tenth of the labels is flipped, each to another class, all equally likely. Every method ranks
the rows; counted is which part of the first n really was flipped, n the number of flipped labels.

cleanlab (Northcutt, Jiang & Chuang, JAIR 70, 2021) needs probabilities that were not learned from the row
itself: from 5-fold cross-validation of scikit-learn's logistic regression, and of the same network, trained
in the same way as ours. It has three scores; self-confidence is its default. `find_label_issues` ranks with
it and chooses by itself how many rows it flags; of these, the first n count. backpass trains once, on all
rows.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
import warnings
from pathlib import Path

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

import backpass as bp
from backpass.explain.self_influence import own_moves_of

FLIPPED, CLASSES, EPOCHS = 0.1, 10, 30
SCORES = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
Row = dict[str, float]


def flip(y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which some are wrong, and which these are."""
    rng = np.random.default_rng(1000 + seed)
    rows = rng.choice(len(y), round(FLIPPED * len(y)), replace=False)
    given, wrong = y.copy(), np.zeros(len(y), bool)
    given[rows] = (y[rows] + rng.integers(1, CLASSES, len(rows))) % CLASSES
    wrong[rows] = True
    return given, wrong


def precision(ranked: np.ndarray, wrong: np.ndarray) -> float:
    """Of as many rows as are wrong, the first of a ranking: which part is. Those left out are not found."""
    return float(wrong[ranked[: wrong.sum()]].sum() / wrong.sum())


def network(hidden: int) -> bp.Network:
    return bp.Network([bp.Dense(hidden, "relu"), bp.Dense(CLASSES, "softmax")])


def cleanlab(name: str, y: np.ndarray, wrong: np.ndarray, probabilities: np.ndarray) -> Row:
    found = {
        f"cleanlab, {name}, {score.replace('_', ' ')}": precision(
            np.argsort(get_label_quality_scores(y, probabilities, method=score), kind="stable"), wrong
        )
        for score in SCORES
    }
    flagged = find_label_issues(y, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    return found | {f"cleanlab, {name}, find_label_issues": precision(flagged, wrong)}


def one_seed(X: np.ndarray, y: np.ndarray, hidden: int, seed: int) -> tuple[Row, Row]:
    """The precision of each method, and the seconds that they take."""
    given, wrong = flip(y, seed)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    clock = [time.perf_counter()]

    def lap() -> float:
        clock.append(time.perf_counter())
        return clock[-1] - clock[-2]

    model = LogisticRegression(max_iter=2000)
    by_regression = cross_val_predict(model, X, given, cv=folds, method="predict_proba")
    seconds = {"logistic regression, five times": lap()}
    by_network = np.zeros((len(y), CLASSES))
    for train, test in folds.split(X, given):
        run = bp.train(network(hidden), (X[train], given[train]), epochs=EPOCHS, seed=seed)
        by_network[test] = run.predict_raw(X[test])
    seconds["network, five times"] = lap()
    found = cleanlab("logistic regression", given, wrong, by_regression)
    found |= cleanlab("same network", given, wrong, by_network)
    lap()
    run = bp.train(network(hidden), (X, given), epochs=EPOCHS, seed=seed)
    seconds["backpass, the one training"] = lap()
    own = own_moves_of(run.replay)
    seconds["backpass, self-influence"] = lap()
    score, through_all = np.empty(len(y)), np.empty(len(y))
    score[run.rows.numbers], through_all[run.rows.numbers] = own.score, own.own
    found["backpass, self-influence at the outputs"] = precision(np.argsort(-score, kind="stable"), wrong)
    found["backpass, self-influence through all weights"] = precision(
        np.argsort(through_all, kind="stable"), wrong
    )
    return found, seconds


def mnist(folder: Path, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The first rows of the training set."""
    images = gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((folder / "train-labels-idx1-ubyte.gz").read_bytes())[8:]
    X = np.frombuffer(images, np.uint8).reshape(-1, 784)[:rows].astype(np.float32) / 255
    return X, np.frombuffer(labels, np.uint8)[:rows].astype(np.int64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--mnist", type=Path, metavar="DIR", help="the four files of MNIST, gzipped")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to FILE")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    digits = load_digits()
    sets = {"digits, 64-32-10": ((digits.data / 16).astype(np.float32), digits.target, 32)}
    if asked.mnist:
        sets["3,000 rows of MNIST, 784-100-10"] = (*mnist(asked.mnist, 3000), 100)
    everything = {}
    for title, (X, y, hidden) in sets.items():
        runs = [one_seed(X, y, hidden, seed) for seed in range(asked.seeds)]
        everything[title] = [{"precision": p, "seconds": s} for p, s in runs]
        print(f"\n## {title}: precision at the true count, mean of {asked.seeds} seeds, and each\n")
        for name in runs[0][0]:
            each = [p[name] for p, _ in runs]
            print(f"| {name} | {np.mean(each):.4f} | {', '.join(f'{v:.3f}' for v in each)} |")
        print()
        for name in runs[0][1]:
            print(f"| {name} | median {np.median([s[name] for _, s in runs]):.2f} s |")
    if asked.json:
        asked.json.write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
