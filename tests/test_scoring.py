"""Metrics against scikit-learn, on random data and where a figure is not defined; baselines."""

import json
import time

import numpy as np
import pytest
from sklearn import metrics as sk

from backpass.errors import ShapeError, UsageError
from backpass.scoring import baselines, score
from backpass.scoring.baselines import sample


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def near(found: object, wanted: object) -> None:
    np.testing.assert_allclose(np.float64(found), np.float64(wanted), rtol=1e-12, atol=1e-15)


# ---- against scikit-learn


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_classes_as_scikit_learn_scores_them(seed: int, count: int, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, count, 60)
    codes[:count] = range(count)
    a = softmax(rng.normal(size=(60, count)) + 1.5 * np.eye(count)[codes]).astype(dtype)
    wide = a.astype(np.float64)
    wide /= wide.sum(axis=1, keepdims=True)
    names = [f"c{k}" for k in range(count)]
    found = score("classification", np.eye(count)[codes], a, names)
    said = a.argmax(axis=1)
    near(found["accuracy"], sk.accuracy_score(codes, said))
    near(found["log_loss"], sk.log_loss(codes, wide))
    if count == 2:
        # Of probabilities that sum to 1, the second says it all; f32 may tie where the difference does not.
        area = sk.roc_auc_score(codes, a[:, 1].astype(np.float64) - a[:, 0])
    else:
        area = sk.roc_auc_score(codes, wide, multi_class="ovr")
    np.testing.assert_allclose(found["auc"], area, rtol=1e-5)
    macro = sk.precision_recall_fscore_support(codes, said, average="macro", zero_division=0)
    near([found["precision"], found["recall"], found["f1"]], macro[:3])
    each = sk.precision_recall_fscore_support(codes, said, labels=range(count), zero_division=0)
    for k, key in enumerate(("precision", "recall", "f1", "support")):
        near([row[key] for row in found["by_class"]], each[k])
    assert found["confusion"] == sk.confusion_matrix(codes, said, labels=range(count)).tolist()
    assert [row["class"] for row in found["by_class"]] == names
    assert score("classification", codes, a, names) == found, "codes say the same as one-hot rows"
    json.dumps(found, allow_nan=False)


def test_one_output_is_the_probability_of_the_second_class() -> None:
    rng = np.random.default_rng(1)
    codes, p = rng.integers(0, 2, 50), rng.random(50)
    one = score("classification", codes[:, None], p[:, None], ["no", "yes"])
    two = score("classification", codes, np.stack([1 - p, p], axis=1), ["no", "yes"])
    near(one["log_loss"], sk.log_loss(codes, p))
    near(one["auc"], sk.roc_auc_score(codes, p))
    near(one["accuracy"], two["accuracy"])
    assert one["confusion"] == two["confusion"]


@pytest.mark.parametrize("seed", range(5))
def test_labels_as_scikit_learn_scores_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    t = (rng.random((40, 3)) < 0.4).astype(np.float32)
    a = np.clip(0.6 * t + 0.7 * rng.random((40, 3)) - 0.1, 0, 1)
    said = a > 0.5
    found = score("multilabel", t, a, ["x", "y", "z"])
    near(found["exact"], sk.accuracy_score(t, said))
    near(found["accuracy"], 1 - sk.hamming_loss(t, said))
    near(found["auc"], sk.roc_auc_score(t, a, average="macro"))
    macro = sk.precision_recall_fscore_support(t, said, average="macro", zero_division=0)
    near([found["precision"], found["recall"], found["f1"]], macro[:3])
    near(found["log_loss"], np.mean([sk.log_loss(t[:, k], a[:, k]) for k in range(3)]))
    near([row["accuracy"] for row in found["by_label"]], (t == said).mean(axis=0))
    near([row["support"] for row in found["by_label"]], t.sum(axis=0))
    assert [row["label"] for row in found["by_label"]] == ["x", "y", "z"]


@pytest.mark.parametrize("targets", [1, 3])
def test_quantities_as_scikit_learn_scores_them(targets: int) -> None:
    rng = np.random.default_rng(targets)
    t = rng.normal(size=(80, targets)) * 10.0 ** np.arange(targets)
    a = t + rng.normal(size=t.shape)
    found = score("regression", t, a)
    near(found["r2"], sk.r2_score(t, a))
    near(found["mae"], sk.mean_absolute_error(t, a))
    near(found["rmse"], sk.root_mean_squared_error(t, a))
    near([row["r2"] for row in found["by_target"]], sk.r2_score(t, a, multioutput="raw_values"))
    assert [row["target"] for row in found["by_target"]] == list(range(targets))


# ---- where a figure is not defined


def test_only_one_class_among_the_rows() -> None:
    found = score("classification", [1, 1], [[0.2, 0.8], [0.7, 0.3]], ["no", "yes"])
    assert found["auc"] is None
    assert (found["accuracy"], found["recall"]) == (0.5, 0.25)  # of "no", said once and never right: 0
    assert found["confusion"] == [[0, 0], [1, 1]]
    assert found["by_class"][0] == {"class": "no", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


def test_a_class_that_neither_occurs_nor_is_said_is_left_out_of_the_means() -> None:
    found = score("classification", [0, 1], [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    assert (found["precision"], found["recall"], found["f1"]) == (1.0, 1.0, 1.0)
    assert found["auc"] == 1.0


def test_a_data_set_of_one_class() -> None:
    found = score("classification", [[1.0], [1.0]], [[1.0], [1.0]], ["only"])
    assert (found["accuracy"], found["log_loss"], found["confusion"]) == (1.0, 0.0, [[2]])


def test_outputs_that_are_no_probabilities_have_no_log_loss_but_an_area() -> None:
    sums_to_more = score("classification", [0, 1, 2], np.full((3, 3), 0.2) + 0.7 * np.eye(3))
    assert sums_to_more["log_loss"] is None
    assert (sums_to_more["auc"], sums_to_more["accuracy"]) == (1.0, 1.0)
    scores = score("classification", [0, 1], [[3.0, -2.0], [-1.0, 5.0]])
    assert (scores["log_loss"], scores["auc"]) == (None, 1.0)
    asked = score("classification", [0, 1], [[0.9, 0.1], [0.1, 0.9]], probable=False)
    assert asked["log_loss"] is None


def test_a_certain_and_wrong_answer_costs_a_finite_log_loss() -> None:
    found = score("classification", [0, 1], [[0.0, 1.0], [0.0, 1.0]])
    near(found["log_loss"], sk.log_loss([0, 1], [[0.0, 1.0], [0.0, 1.0]]))
    near(found["log_loss"], -np.log(np.finfo(float).eps) / 2)


def test_a_constant_target_has_no_r2() -> None:
    found = score("regression", np.full((3, 1), 0.1), [0.1, 0.2, 0.3])
    assert found["r2"] is None
    near(found["mae"], 0.1)
    beside = score("regression", [[0.1, 1], [0.1, 2], [0.1, 3]], [[0.1, 1], [0.1, 2], [0.1, 3]])
    assert [row["r2"] for row in beside["by_target"]] == [None, 1.0]
    assert beside["r2"] == 1.0


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_no_rows_and_rows_that_are_not_finite(task: str) -> None:
    none = score(task, np.zeros((0, 2)), np.zeros((0, 2)))
    bad = np.array([[0.5, np.nan], [0.2, np.inf], [0.1, 0.9]])
    broken = score(task, np.eye(3)[:, :2], bad)
    assert (none["rows"], none["not_finite"], broken["rows"], broken["not_finite"]) == (0, 0, 3, 2)
    plain = {"task", "rows", "not_finite", "classes"}
    for found in (none, broken):
        assert {key for key, value in found.items() if value not in (None, [])} <= plain
    wrong_truth = score(task, [[1.0, np.nan]], [[0.5, 0.5]])
    assert wrong_truth["not_finite"] == 1


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="no task 'ranking'"):
        score("ranking", [1], [1])
    with pytest.raises(ShapeError, match="a row for each example"):
        score("regression", [1, 2], [1, 2, 3])
    with pytest.raises(ShapeError, match="3 names were given for 2 outputs"):
        score("classification", [0], [[0.5, 0.5]], ["a", "b", "c"])
    with pytest.raises(ShapeError, match="class number 2; there are 2 classes"):
        score("classification", [0, 2], [[0.5, 0.5], [0.5, 0.5]])
    with pytest.raises(ShapeError, match=r"truth has shape \[2, 1\]"):
        score("regression", [[1], [2]], [[1, 2], [3, 4]])


# ---- baselines


def test_the_baselines_of_classes() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2)).astype(np.float32)
    codes = (x[:, 0] + x[:, 1] > -0.5).astype(int)
    t = np.eye(2, dtype=np.float32)[codes]
    found = baselines("classification", x[:200], t[:200], {"test": (x[200:], t[200:])}, classes=["no", "yes"])
    share = codes[:200].mean()
    test = found["majority"]["parts"]["test"]
    assert found["majority"]["name"] == "always yes, the most frequent"
    near(test["accuracy"], codes[200:].mean())
    p = np.where(codes[200:] == 1, share, 1 - share)
    np.testing.assert_allclose(test["log_loss"], -np.log(p).mean(), rtol=1e-6)
    assert test["auc"] == 0.5
    linear = found["linear"]
    assert linear["parts"]["test"]["accuracy"] > 0.95
    assert (linear["rows"], linear["of"], linear["converged"]) == (200, 200, True)
    one = baselines("classification", x[:200], t[:200, 1:], {"test": (x[200:], t[200:, 1:])})
    assert one["linear"]["parts"]["test"]["confusion"] == linear["parts"]["test"]["confusion"]
    json.dumps(found, allow_nan=False)


def test_columns_far_from_1_do_not_spoil_the_linear_model() -> None:
    rng = np.random.default_rng(0)
    far = rng.normal(size=400)
    wide = 10.0 ** rng.uniform(2, 6, size=(1, 20)) * rng.normal(size=(400, 20))
    wide[:, 0] = 1e6 + 1e5 * far
    x = np.hstack([rng.normal(size=(400, 1)), wide])
    t = ((x[:, 0] > far) * 1.0)[:, None]
    found = baselines("classification", x[:300], t[:300], {"test": (x[300:], t[300:])})
    assert found["linear"]["parts"]["test"]["accuracy"] > 0.9


def test_the_baselines_of_labels_and_quantities() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    labels = np.stack([x[:, 0] > 0, np.ones(200), x[:, 1] > x[:, 2]], axis=1) * 1.0
    found = baselines("multilabel", x, labels, {"test": (x, labels)}, classes=["a", "always", "b"])
    by_label = found["linear"]["parts"]["test"]["by_label"]
    assert [row["label"] for row in by_label if row["accuracy"] > 0.95] == ["a", "always", "b"]
    t = np.stack([x @ [1.0, 2.0, 3.0], x[:, 0] ** 2], axis=1)
    found = baselines("regression", x, t, {"test": (x, t), "empty": (x[:0], t[:0])})
    near(found["mean"]["parts"]["test"]["r2"], 0)
    r2 = [row["r2"] for row in found["linear"]["parts"]["test"]["by_target"]]
    assert r2[0] > 0.999
    assert r2[1] < 0.5
    assert found["linear"]["parts"]["empty"]["rows"] == 0
    times = baselines("regression", x, t, {"test": (x, t)}, units=lambda values: 1000 * values)
    for model in ("mean", "linear"):
        one, other = found[model]["parts"]["test"], times[model]["parts"]["test"]
        near([other["mae"], other["r2"]], [1000 * one["mae"], one["r2"]])


def test_one_class_to_train_on_leaves_the_majority() -> None:
    x, t = np.zeros((5, 2)), np.eye(2)[[1] * 5]
    found = baselines("classification", x, t, {"test": (x, t)})
    assert list(found) == ["majority"]
    assert baselines("regression", x[:0], t[:0], {}) == {}


def test_the_rows_of_the_linear_model_are_a_fixed_share_of_each_class() -> None:
    rng = np.random.default_rng(0)
    t = np.eye(3)[rng.permutation(np.repeat([0, 1, 2], [700, 200, 100]))]
    rows = sample(t, 100, seed=3, stratified=True)
    assert t[rows].sum(axis=0).tolist() == [70, 20, 10]
    assert len(set(rows.tolist())) == 100
    np.testing.assert_array_equal(rows, sample(t, 100, seed=3, stratified=True))
    assert (rows != sample(t, 100, seed=4, stratified=True)).any()
    assert len(set(sample(np.zeros((1000, 1)), 999, 0, stratified=False).tolist())) == 999


def test_wide_rows_are_fewer_and_quick() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 2000)).astype(np.float32)
    t = np.eye(100, dtype=np.float32)[rng.integers(0, 100, 3000)]
    began = time.perf_counter()
    found = baselines("classification", x, t, {"test": (x[:50], t[:50])}, rows=20_000)
    assert found["linear"]["rows"] == 400
    assert time.perf_counter() - began < 60  # about 2 s on an idle machine
