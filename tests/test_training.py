"""Training: the steps are the textbook's, the orders are what was asked for, and failures are clear."""

import numpy as np
import pytest

import backpass as bp
from backpass.errors import DataError, NonFinite, ShapeError, UsageError
from backpass.training.batches import Batches

EXECUTORS = ("reference", "compiled")


def blobs(n: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    return rng.standard_normal((n, 4)) + 3 * np.eye(3, 4)[y], y


def small(activation: str = "tanh") -> bp.Network:
    return bp.Network([bp.Dense(5, activation), bp.Dense(3, "softmax")])


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_steps_are_those_of_the_textbook(executor: str, momentum: float) -> None:
    """Five steps against the delta equations written out by hand, f64."""
    X, y = blobs(20)
    order = np.arange(20)[::-1]
    run = bp.train(
        small(),
        (X, y),
        optimizer=bp.SGD(0.3, momentum),
        batch=4,
        epochs=1,
        order=order,
        dtype="f64",
        executor=executor,
    )
    w = {k: v.copy() for k, v in run.record.checkpoints[0].items() if not k.startswith("v_")}
    v = {k: np.zeros_like(a) for k, a in w.items()}
    T = np.eye(3)[y]
    for s in range(5):
        rows = order[4 * s : 4 * s + 4]
        x, t = X[rows], T[rows]
        a1 = np.tanh(x @ w["W1"] + w["b1"])
        z2 = a1 @ w["W2"] + w["b2"]
        e = np.exp(z2 - z2.max(1, keepdims=True))
        a2 = e / e.sum(1, keepdims=True)
        assert run.costs[s] == pytest.approx(-np.log(a2[t == 1]).mean(), rel=1e-12)
        d2 = (a2 - t) / 4
        d1 = d2 @ w["W2"].T * (1 - a1**2)
        g = {"W1": x.T @ d1, "b1": d1.sum(0), "W2": a1.T @ d2, "b2": d2.sum(0)}
        for k in w:
            v[k] = momentum * v[k] - 0.3 * g[k]
            w[k] = w[k] + v[k]
    for k in w:
        np.testing.assert_allclose(run.weights[k], w[k], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_same_seed_same_bits_other_seed_other_bits(executor: str) -> None:
    def go(seed: int) -> bytes:
        run = bp.train(small(), blobs(), batch=7, epochs=3, seed=seed, executor=executor)
        return run.weights["W1"].tobytes() + run.costs.tobytes()

    assert go(1) == go(1)
    assert go(1) != go(2)


def test_executors_agree_over_a_run() -> None:
    runs = [
        bp.train(
            small("relu"), blobs(), optimizer=bp.SGD(0.1, 0.5), batch=7, epochs=5, dtype="f64", executor=e
        )
        for e in EXECUTORS
    ]
    assert [r.settings.executor for r in runs] == list(EXECUTORS)
    np.testing.assert_allclose(runs[0].costs, runs[1].costs, rtol=1e-10)


def test_orders() -> None:
    seeded = Batches(10, 4, 3, seed=5)
    assert seeded.steps == 9
    order, starts = seeded.span(0, 9)
    assert list(np.diff(starts)) == [4, 4, 2] * 3
    for epoch in range(3):
        assert sorted(order[10 * epoch : 10 * epoch + 10]) == list(range(10))
    assert list(order[:10]) != list(order[10:20])
    for start in range(9):  # any stretch alone is the same stretch of the whole
        for stop in range(start + 1, 10):
            part, cuts = seeded.span(start, stop)
            assert list(part) == list(order[starts[start] : starts[stop]])
            assert list(cuts) == list(starts[start : stop + 1] - starts[start])
    given = Batches(
        10,
        4,
        2,
        0,
        order=lambda epoch: np.array([[1, 2, 3], [4, 5, 6, 7, 8]][epoch], dtype=object).astype(int),
    )
    assert given.steps == 3
    assert list(given.span(0, 3)[0]) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert list(Batches(3, 8, 2, 0, "sequential").span(0, 2)[0]) == [0, 1, 2, 0, 1, 2]


def test_held_out_rows_are_not_trained_on() -> None:
    X, y = blobs(100)
    run = bp.train(small(), (X, y), batch=8, epochs=4, validation=0.2, test=0.3, seed=3)
    used = set(run.rows.numbers)
    assert len(used) == 50
    assert set(run.metrics) == {"train", "validation", "test"}
    assert all({"loss", "accuracy"} <= set(m) for m in run.metrics.values())
    assert [row["epoch"] for row in run.history] == [1, 2, 3, 4]
    assert all("validation_accuracy" in row for row in run.history)
    again = bp.train(small(), (X, y), batch=8, epochs=4, validation=(X[:5], y[:5]), seed=3)
    assert set(again.metrics) == {"train", "validation"}
    assert len(again.rows.numbers) == 100


def test_validating_does_not_change_the_run() -> None:
    X, y = blobs(100)
    plain = bp.train(small(), (X, y), batch=8, epochs=4)
    watched = bp.train(small(), (X, y), batch=8, epochs=4, validation=(X, y))
    assert plain.costs.tobytes() == watched.costs.tobytes()


def test_regression_two_targets_and_one_sigmoid() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 3))
    Y = X @ rng.standard_normal((3, 2))
    run = bp.train(bp.Network([bp.Dense(2)]), (X, Y), optimizer=bp.SGD(0.1), epochs=40, test=0.2)
    assert run.metrics["test"]["r2"] > 0.999
    assert run.predict(X).shape == (80, 2)
    labels = np.where(X[:, 0] > 0, "yes", "no")
    one = bp.train(bp.Network([bp.Dense(1, "sigmoid")]), (X, labels), optimizer=bp.SGD(1.0), epochs=40)
    assert one.metrics["train"]["accuracy"] > 0.95
    assert set(one.predict(X)) == {"yes", "no"}


def test_least_squares_reaches_its_closed_form() -> None:
    rng = np.random.default_rng(1)
    X = rng.standard_normal((50, 3))
    y = X @ [1.0, -2.0, 0.5] + 0.3 + 0.1 * rng.standard_normal(50)
    run = bp.train(
        bp.Network([bp.Dense(1)]), (X, y), optimizer=bp.SGD(0.2), batch=50, epochs=500, dtype="f64"
    )
    best = np.linalg.lstsq(np.column_stack([X, np.ones(50)]), y, rcond=None)[0]
    np.testing.assert_allclose([*run.weights["W1"][:, 0], run.weights["b1"][0]], best, rtol=1e-10)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_divergence_stops_at_the_step_and_names_the_tensor(executor: str) -> None:
    X, y = blobs(40)
    net = bp.Network([bp.Dense(5, "relu"), bp.Dense(1)])
    with pytest.raises(NonFinite) as caught:
        bp.train(
            net, (X, y.astype(float) + 0.5), optimizer=bp.SGD(50.0), batch=8, epochs=50, executor=executor
        )
    error = caught.value
    assert 1 < error.step < 250
    assert error.tensor in error.args[0]
    run = error.run
    assert run.status == "diverged"
    assert run.steps == error.step - 1  # everything before that step is kept, and finite
    assert all(np.isfinite(a).all() for a in run.record.last().values())
    assert np.isfinite(run.costs).all()
    assert len(run.costs) == run.steps
    assert run.at(run.steps)["C"] == pytest.approx(run.costs[-1], rel=1e-4)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_weight_that_overflows_stops_the_run_at_its_step(executor: str) -> None:
    """The cost may still be finite in the step whose update overflows a weight."""
    X = np.array([[1.0], [2.0]])
    y = np.array([1e30, 1e30])
    net = bp.Network([bp.Dense(1, weights=[[0.0]])])
    with pytest.raises(NonFinite, match="step 1 of") as caught:
        bp.train(
            net, (X, y), loss="squared_error", optimizer=bp.SGD(1e10), batch=2, epochs=9, executor=executor
        )
    assert caught.value.step == 1
    assert caught.value.run.steps == 0


def test_given_weights_are_where_the_run_starts() -> None:
    W = np.arange(12.0).reshape(4, 3)
    run = bp.train(bp.Network([bp.Dense(3, "softmax", weights=W, bias=[1, 2, 3])]), blobs(), epochs=1)
    np.testing.assert_array_equal(run.record.checkpoints[0]["W1"], W.astype(np.float32))
    np.testing.assert_array_equal(run.record.checkpoints[0]["b1"], [1, 2, 3])


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"batch": 0}, UsageError, "batch must be a whole number"),
        ({"epochs": -1}, UsageError, "epochs must be"),
        ({"optimizer": "sgd"}, UsageError, "optimizer"),
        ({"loss": "cross_entropie"}, UsageError, "Did you mean 'cross_entropy'"),
        ({"executor": "compild"}, UsageError, "Did you mean 'compiled'"),
        ({"dtype": "f16"}, UsageError, "dtype"),
        ({"validation": 0.7, "test": 0.5}, UsageError, "no rows to train on"),
        ({"order": np.array([0, 99])}, DataError, "99"),
    ],
)
def test_bad_settings(change: dict, kind: type, words: str) -> None:
    with pytest.raises(kind, match=words):
        bp.train(small(), blobs(), **{"epochs": 1, **change})


def test_bad_networks() -> None:
    with pytest.raises(UsageError, match="Did you mean 'sigmoid'"):
        bp.Dense(3, "sigmoyd")
    with pytest.raises(UsageError, match="at least one unit"):
        bp.Dense(0)
    with pytest.raises(UsageError, match="output layer only"):
        bp.Network([bp.Dense(3, "softmax"), bp.Dense(3)])
    with pytest.raises(UsageError, match="at least one layer"):
        bp.Network([])
    with pytest.raises(ShapeError, match="in_features=9"):
        bp.train(bp.Network([bp.Dense(3, "softmax", in_features=9)]), blobs())
    with pytest.raises(ShapeError, match="3 classes, but the last layer has 2"):
        bp.train(bp.Network([bp.Dense(2, "softmax")]), blobs())
    with pytest.raises(UsageError, match="outputs that are probabilities"):
        bp.train(bp.Network([bp.Dense(3, "tanh")]), blobs(), loss="cross_entropy")
    with pytest.raises(UsageError, match="momentum must be"):
        bp.SGD(0.1, 1.0)
    with pytest.raises(UsageError, match="lr must be"):
        bp.SGD(float("nan"))


def test_bad_data() -> None:
    X, y = blobs()
    for data, words in [
        ((X[:, 0], y), "two dimensions"),
        ((X, y[:-1]), "59"),
        ((np.where(X[3, 2] == X, np.nan, X), y), "row 3"),
        ((X, np.zeros(60, int)), "one class"),
        ((X[:0], y[:0]), "no rows|0 rows"),
    ]:
        with pytest.raises(DataError, match=words):
            bp.train(small(), data)
    run = bp.train(small(), (X, y), epochs=1)
    with pytest.raises(DataError, match="3 columns, and the net was trained with 4"):
        run.predict(X[:, :3])
