"""How runs end, what is kept of them, what rows count for, and where runs start."""

import json
from pathlib import Path

import numpy as np
import pytest

import backpass as bp
from backpass.errors import DataError, NonFinite, ShapeError, UsageError
from backpass.nn import BatchNorm, Dropout
from backpass.running.loop import Progress
from backpass.training.optimisers import SGD, Adam
from backpass.training.schedules import OnPlateau, WarmUp
from backpass.training.stopping import Best, EarlyStopping, divergence_note
from backpass.training.weights import row_weights


def noise(n: int = 60, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Labels that have nothing to do with the rows: whoever learns them overfits."""
    rng = np.random.default_rng(5)
    return rng.standard_normal((n, 8)), rng.integers(0, classes, n)


def train(**options: object) -> bp.Run:
    net = bp.Network([bp.Dense(12, "tanh"), bp.Dense(2, "softmax")])
    settings = {"batch": 10, "epochs": 60, "optimizer": SGD(0.5), "validation": 0.4, "executor": "reference"}
    return bp.train(net, options.pop("data", noise()), **{**settings, **options})


# ---- early stopping


def test_early_stopping_keeps_the_best_epoch(tmp_path: Path) -> None:
    run = train(stop=EarlyStopping(patience=3), out=tmp_path / "a")
    losses = [row["validation_loss"] for row in run.history]
    best = int(np.argmin(losses))
    assert run.status == "stopped early"
    assert len(losses) == best + 1 + 3 < 60
    assert f"was that of epoch {best + 1}" in run.record.outcome.message
    assert run.record.outcome.best_step == run.history[best]["step"] < run.steps
    assert run.metrics["validation"]["loss"] == pytest.approx(losses[best])
    state = run.replay.state(run.record.outcome.best_step)
    for name, array in run.weights.items():
        assert array.tobytes() == state[name].tobytes()
    assert run.verify() == run.steps  # every step, those after the best included
    loaded = bp.load(tmp_path / "a")
    assert loaded.weights["W1"].tobytes() == run.weights["W1"].tobytes()
    assert (loaded.status, loaded.steps, loaded.history) == (run.status, run.steps, run.history)
    assert loaded.verify() == run.steps
    marks = {int(p.stem) for p in (tmp_path / "a" / "checkpoints").iterdir()}
    assert marks == set(run.record.checkpoints) == {0, run.record.outcome.best_step, run.steps}


def test_the_last_weights_can_be_kept_instead() -> None:
    run = train(stop=EarlyStopping(patience=3, keep_best=False))
    assert run.status == "stopped early"
    assert run.record.outcome.best_step is None
    assert run.weights["W1"].tobytes() == run.record.last()["W1"].tobytes()


def test_stopping_does_not_change_the_steps() -> None:
    plain, stopped = train(), train(stop=EarlyStopping(patience=3))
    assert plain.costs[: stopped.steps].tobytes() == stopped.costs.tobytes()


def test_more_is_better_for_accuracy_and_less_for_losses() -> None:
    rows = [{"epoch": e, "validation_accuracy": v} for e, v in enumerate([0.5, 0.7, 0.7, 0.6], start=1)]
    best = Best("accuracy", 0.0)
    assert [best.see(row) for row in rows] == [True, True, False, False]
    assert best.waited(rows[-1]) == 2
    best = Best("cost", 0.1)
    seen = [
        best.see({"epoch": e, "cost": v}) for e, v in [(1.0, 2.0), (2.0, 1.95), (3.0, 1.8), (4.0, np.nan)]
    ]
    assert seen == [True, False, True, False]


def test_the_training_cost_can_be_looked_at_without_validation() -> None:
    run = train(stop=EarlyStopping(2, metric="cost"), validation=None, optimizer=SGD(0.0), epochs=9)
    assert run.status == "stopped early"
    assert len(run.history) < 9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stop": EarlyStopping(), "validation": None}, "there are no validation rows"),
        ({"stop": EarlyStopping(metric="acuracy")}, "Did you mean 'accuracy'"),
        ({"optimizer": SGD(OnPlateau(0.1)), "validation": None}, "OnPlateau looks at the validation loss"),
        ({"stop": 3}, "stop must be a rule"),
        ({"time_limit": 0}, "time_limit must be a number, above 0"),
        ({"callbacks": [7]}, "a callback is a function of a Progress"),
        ({"callbacks": [lambda p: False]}, "returns nothing, or 'stop'"),
        ({"l2": -1.0}, "l2 must be a number"),
    ],
)
def test_what_cannot_be_asked_for(options: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        train(**options)


# ---- plateaus


def test_a_plateau_lowers_the_rate_and_is_replayed(tmp_path: Path) -> None:
    run = train(optimizer=SGD(WarmUp(OnPlateau(0.5, factor=0.1, patience=2), steps=5)), epochs=12)
    events = run.record.outcome.events
    losses = [row["validation_loss"] for row in run.history]
    expected, best, since = [], np.inf, 0
    for epoch, loss in enumerate(losses, start=1):
        if loss < best:
            best, since = loss, epoch
        elif epoch - since >= 2:
            expected.append(int(run.history[epoch - 1]["step"]))
            since = epoch
    assert [e.step for e in events] == expected
    assert len(expected) > 1
    rates = run.record.numbers(0, run.steps)[:, 0]
    assert rates[expected[0] - 1] == pytest.approx(0.5)
    assert rates[expected[0]] == pytest.approx(0.05)
    assert run.verify() == run.steps
    run.save(tmp_path / "a")
    loaded = bp.load(tmp_path / "a")
    assert loaded.record.outcome.events == events
    assert loaded.verify() == run.steps
    loaded.record.outcome.events.clear()  # without them the steps would be others
    with pytest.raises(bp.errors.ReplayMismatch):
        loaded.verify()


# ---- time and callbacks


def test_a_time_limit_keeps_what_was_learned() -> None:
    run = train(epochs=1_000_000, time_limit=0.3)
    assert run.status == "time limit"
    assert 0 < run.steps < run.record.batches.steps
    assert 0.2 < run.record.outcome.seconds < 5
    assert "time limit of 0.3 s" in run.record.outcome.message
    assert run.verify() == run.steps


def test_callbacks_see_every_epoch_and_every_step_and_can_stop() -> None:
    seen: dict[str, list] = {"step": [], "epoch": [], "plain": []}

    class Watch:
        def on_step(self, progress: Progress) -> None:
            seen["step"].append((progress.step, progress.values["W1"].sum()))

        def on_epoch(self, progress: Progress) -> str | None:
            seen["epoch"].append((progress.step, progress.validation["loss"]))
            return "stop" if progress.epoch == 3 else None

    run = train(callbacks=[Watch(), lambda p: seen["plain"].append(p.epoch)])
    assert run.status == "stopped early"
    assert "a callback ended the run after step 12" in run.record.outcome.message
    assert [s for s, _ in seen["step"]] == list(range(1, 13))
    assert [s for s, _ in seen["epoch"]] == [4, 8, 12]
    assert seen["plain"] == [1, 2, 3]
    assert [v for _, v in seen["epoch"]] == [row["validation_loss"] for row in run.history]
    for step, total in seen["step"]:
        assert total == run.replay.state(step)["W1"].sum()
    assert run.costs.tobytes() == train().costs[:12].tobytes()


def test_a_callback_cannot_write_into_the_run() -> None:
    def meddle(progress: Progress) -> None:
        progress.values["W1"][:] = 0

    with pytest.raises(ValueError, match="read-only") as caught:
        train(callbacks=meddle)
    run = caught.value.run
    assert run.status == "interrupted"
    assert run.verify() == run.steps > 0


# ---- runs that get worse


def test_a_run_that_only_gets_worse_is_noted() -> None:
    """Adam bounds each step, so a learning rate of a million is finite, useless, and must not be silent."""
    with pytest.warns(UserWarning, match="the learning rate is probably too large"):
        run = train(optimizer=Adam(1e6), validation=None)
    assert run.status == "finished"
    (note,) = run.record.outcome.notes
    assert "more than 10 times that of step 1" in note
    assert "the learning rate is probably too large" in note
    assert train(optimizer=Adam(0.01), validation=None).record.outcome.notes == []


def test_the_note_says_from_where_to_where() -> None:
    costs = np.array([1.0] * 10 + [11.0] * 30 + [1.0] * 10)
    assert "from step 11 to step 40 " in divergence_note(costs, 5)
    assert "from step 11 to the end" in divergence_note(costs[:40], 5)
    assert divergence_note(costs, 31) == ""
    assert divergence_note(np.array([]), 5) == divergence_note(np.zeros(50), 5) == ""


def test_a_run_that_overflows_names_the_numbers_of_that_step() -> None:
    X = np.array([[1.0], [2.0]])
    with pytest.raises(NonFinite, match=r"lr = 1e\+10") as caught:
        bp.train(
            bp.Network([bp.Dense(1)]),
            (X, [1e30, 2e30]),
            optimizer=SGD(WarmUp(1e10, steps=1)),
            executor="reference",
        )
    assert caught.value.run.status == "diverged"


# ---- weights of rows


def test_weights_are_copies_of_rows() -> None:
    """A row of weight 2 counts as two rows, in full batches."""
    X, y = noise(12)
    weights = np.array([2.0] * 4 + [1.0] * 8)
    one = {"validation": None, "epochs": 5, "dtype": "f64"}
    weighted = train(data=(X, y), sample_weight=weights, batch=12, **one)
    twice = np.concatenate([np.arange(12), np.arange(4)])
    copied = train(data=(X[twice], y[twice]), batch=16, **one)
    for name in weighted.weights:
        np.testing.assert_allclose(weighted.weights[name], copied.weights[name], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(weighted.costs, copied.costs, rtol=1e-10)


def test_weights_are_those_of_the_training_rows(tmp_path: Path) -> None:
    X, y = noise()
    weights = np.arange(60.0)
    run = train(data=(X, y), sample_weight=weights, epochs=3)
    kept = run.record.row_data["w"]
    np.testing.assert_allclose(kept, weights[run.rows.numbers] / weights[run.rows.numbers].mean(), rtol=1e-6)
    assert run.verify() == run.steps
    run.save(tmp_path / "a")
    loaded = bp.load(tmp_path / "a")
    assert loaded.verify() == run.steps
    np.testing.assert_array_equal(loaded.at(2)["w"], run.at(2)["w"])
    assert run.at(4).why("W2[3,1]").balanced


def test_class_weights() -> None:
    codes, classes = np.array([0, 0, 0, 1, 2, 2]), ["a", "b", "c"]
    every = np.arange(6)
    balanced = row_weights(None, "balanced", every, 6, codes, classes, "f64")
    assert [balanced[codes == k].sum() for k in range(3)] == pytest.approx([2.0] * 3)
    given = row_weights(None, {"b": 3.0}, every, 6, codes, classes, "f64")
    np.testing.assert_allclose(given, np.array([1, 1, 1, 3, 1, 1]) / (8 / 6))
    both = row_weights([0, 1, 1, 1, 1, 1], {"b": 3.0}, every, 6, codes, classes, "f64")
    np.testing.assert_allclose(both, np.array([0, 1, 1, 3, 1, 1]) / (7 / 6))
    X, y = noise(40)
    assert train(data=(X, y), class_weight={0: 2.0, 1: 1.0}, epochs=1).settings.class_weight == "given"


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"sample_weight": [1.0] * 59}, DataError, r"60 rows of the data.*\[59\]"),
        ({"sample_weight": [1.0] * 59 + [-1.0]}, DataError, "negative in 1 of 60 rows, first in row 59: -1"),
        ({"sample_weight": [np.nan] + [1.0] * 59}, DataError, "not finite in 1 of 60 rows, first in row 0"),
        ({"sample_weight": [0.0] * 60}, DataError, "all training rows are zero"),
        ({"sample_weight": ["a"] * 60}, DataError, "must be numbers"),
        ({"class_weight": "balancd"}, UsageError, "'balanced' or a mapping"),
        ({"class_weight": {7: 1.0}}, UsageError, "names the class 7, which there is not"),
        ({"class_weight": {0: -1.0}}, DataError, "weight of class 0 must be"),
        ({"class_weight": {0: 0.0, 1: 0.0}}, DataError, "all training rows are zero"),
        (
            {"class_weight": "balanced", "data": (noise()[0], noise()[0][:, 0])},
            UsageError,
            "data with classes",
        ),
    ],
)
def test_bad_weights(options: dict, kind: type, words: str) -> None:
    net = bp.Network(
        [bp.Dense(1 if "data" in options else 2, "identity" if "data" in options else "softmax")]
    )
    with pytest.raises(kind, match=words):
        bp.train(net, options.pop("data", noise()), epochs=1, **options)


# ---- penalties


def test_penalties_pull_weights_to_zero_and_leave_biases() -> None:
    run = train(l1=0.01, l2=0.1, dtype="f64", epochs=2)
    visit = run.at(3)
    W, plain = visit["W1"], visit["x"].T @ visit["δ1"]
    np.testing.assert_allclose(visit["dW1"], plain + 0.1 * W + 0.01 * np.sign(W), rtol=1e-10)
    np.testing.assert_allclose(visit["db1"], visit["δ1"].sum(axis=0), rtol=1e-10)
    sizes = [
        sum(f(visit[w]) for w in ("W1", "W2")) for f in (lambda w: np.abs(w).sum(), lambda w: (w**2).sum())
    ]
    expected = visit["loss"].mean() + 0.01 * sizes[0] + 0.05 * sizes[1]
    assert visit["C"] == pytest.approx(expected, rel=1e-12)
    # Validation is judged without them.
    assert run.metrics["train"]["loss"] < run.costs[-1]
    answer = visit.why("W1[2,3]")
    assert answer.balanced
    penalty = next(p.value for p in answer.parts if p.name == "penalty")
    assert penalty == pytest.approx(-0.5 * (0.1 * W[2, 3] + 0.01 * np.sign(W[2, 3])), rel=1e-10)
    assert "+ penalty" in answer.text()
    assert {p.name for p in visit.why("b1[3]").parts} == {"fresh gradient"}


# ---- where a run starts


def test_a_run_starts_from_another() -> None:
    first = train(epochs=2)
    again = train(epochs=1, start=first)
    for name, array in first.weights.items():
        np.testing.assert_array_equal(again.record.checkpoints[0][name], array)
    by_name = train(epochs=1, start=first.weights)
    assert by_name.costs.tobytes() == again.costs.tobytes()
    assert by_name.settings.start == "given"


def test_a_start_with_running_statistics_and_frozen_weights(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frozen = bp.Dense(4, "tanh", weights=rng.standard_normal((8, 4)), trainable=False)
    net = bp.Network([frozen, BatchNorm(), bp.Dense(2, "softmax")])
    first = bp.train(net, noise(), epochs=2, executor="reference", validation=0.2)
    assert set(first.record.fixed) == {"W1", "b1"}
    assert "W1" not in first.record.last()
    np.testing.assert_array_equal(first.at(3)["W1"], np.asarray(frozen.weights, np.float32))
    again = bp.train(net, noise(), epochs=1, executor="reference", start=first)
    assert again.record.checkpoints[0]["mean2"].tobytes() == first.record.last()["mean2"].tobytes()
    first.save(tmp_path / "a")
    loaded = bp.load(tmp_path / "a")
    assert loaded.verify() == first.steps
    np.testing.assert_array_equal(loaded.predict_raw(noise()[0]), first.predict_raw(noise()[0]))
    (tmp_path / "a" / "fixed.safetensors").unlink()
    with pytest.raises(bp.errors.RecordError, match=r"fixed\.safetensors does not hold W1"):
        bp.load(tmp_path / "a")


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda w: w.pop("b2"), UsageError, "start has no b2; it must hold every weight"),
        (lambda w: w.update(W3=w["W2"]), UsageError, "start holds 'W3', which the network has not"),
        (lambda w: w.update(W1=w["W2"]), ShapeError, r"W1 is \[12, 2\], needed is \[8, 12\]"),
        (lambda w: w.update(b2=[np.nan, 1]), UsageError, "b2 holds NaN"),
    ],
)
def test_bad_starts(change: object, kind: type, words: str) -> None:
    weights = dict(train(epochs=1).weights)
    change(weights)  # type: ignore[operator]
    with pytest.raises(kind, match=words):
        train(epochs=1, start=weights)


# ---- prediction is a program of its own


def test_prediction_leaves_nothing_out_and_does_not_see_the_batch() -> None:
    net = bp.Network([bp.Dense(6, "tanh"), Dropout(0.5), BatchNorm(), bp.Dense(2, "softmax")])
    X, y = noise()
    run = bp.train(net, (X, y), epochs=3, executor="reference", validation=(X, y))
    whole = run.predict_raw(X)
    np.testing.assert_allclose(whole[:7], run.predict_raw(X[:7]), rtol=1e-5)
    assert run.history[-1]["validation_loss"] == pytest.approx(run.metrics["validation"]["loss"])
    masks = [run.at(s)["mask1"] for s in (1, 2)]
    assert not np.array_equal(*masks)
    assert "uniform" not in run.record.predict_graph.text()


def test_settings_say_what_was_asked_for(tmp_path: Path) -> None:
    run = train(stop=EarlyStopping(3), l2=0.1, class_weight="balanced", out=tmp_path / "a", time_limit=99)
    settings = json.loads((tmp_path / "a" / "run.json").read_text())["settings"]
    assert settings["stop"]["patience"] == 3
    assert (settings["l2"], settings["class_weight"], settings["time_limit"]) == (0.1, "balanced", 99)
    assert bp.load(tmp_path / "a").settings == run.settings
