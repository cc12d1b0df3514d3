"""From a person's data to an answer: whole journeys through the public API, as short as they can be."""

import numpy as np
import pytest

import backpass as bp
import backpass.ops  # before a test: what joins the registry in one goes with it
from backpass.errors import DataError, UsageError

pandas = pytest.importorskip("pandas")


def visits(rows=240):
    """Visits to a doctor: a count, a quantity and a class to predict, forty people, in order of time."""
    random = np.random.default_rng(0)
    age, kind = random.normal(50, 10, rows), random.choice(["new", "old"], rows)
    return pandas.DataFrame(
        {
            "age": age,
            "kind": pandas.Categorical(kind),
            "person": random.integers(0, 40, rows),
            "day": pandas.date_range("2024-01-01", periods=rows, freq="D"),
            "count": random.poisson(np.exp((age - 50) / 15 + (kind == "new"))),
        }
    )


class TestTables:
    def test_counts_by_the_poisson_loss(self):
        run = bp.train(
            None,
            visits(),
            target="count",
            task="regression",
            loss="poisson",
            test=0.25,
            epochs=40,
            group="person",
            executor="reference",
        )
        assert run.settings.data.task == "regression"
        assert run.preparation.answers(np.array([[3.0]])).tolist() == [3.0]  # counts stay counts
        predicted = run.predict(visits())
        assert (predicted > 0).all()
        assert run.scores["test"]["r2"] > run.baselines["mean"]["parts"]["test"]["r2"] + 0.2

    def test_counts_given_a_net_that_predicts_rates(self):
        net = bp.Network([bp.Dense(8, "tanh"), bp.Dense(1, "exp")])
        run = bp.train(net, visits(), target="count", task="regression", epochs=30, executor="reference")
        assert run.settings.loss == "poisson"
        assert abs(np.mean(run.predict(visits())) - visits()["count"].mean()) < 1.0

    def test_a_loaded_run_has_the_same_targets(self, tmp_path):
        made = bp.train(
            None, visits(60), target="count", task="regression", loss="poisson", epochs=2, test=0.2
        )
        made.save(tmp_path / "run")
        loaded = bp.load(tmp_path / "run")
        assert loaded.verify() == made.steps
        assert np.array_equal(loaded.predict(visits(60)), made.predict(visits(60)))

    def test_quantities_without_bounds_are_standardised_still(self):
        run = bp.train(None, visits(60), target="age", epochs=1)
        assert any("standardised: (age" in line for line in run.preparation.summary())

    def test_parts_by_time(self):
        table = visits()
        run = bp.train(None, table, target="age", time="day", test=0.25, epochs=1)
        assert run.rows.numbers.max() < len(table) * 0.75 + 1

    def test_several_labels_of_a_matrix(self):
        random = np.random.default_rng(0)
        X = random.normal(size=(120, 3))
        run = bp.train(None, (X, X > 0), task="multilabel", epochs=30, executor="reference")
        assert run.settings.data.task == "multilabel"
        assert run.metrics["train"]["accuracy"] > 0.9

    def test_a_margin(self):
        run = bp.train(None, "iris", loss="hinge", epochs=30, executor="reference")
        assert run.metrics["train"]["accuracy"] > 0.9

    def test_targets_that_a_loss_cannot_compare(self):
        X, y = np.ones((4, 2)) * np.arange(4)[:, None], np.array([-1.5, 0.5, 2.0, 3.5])
        with pytest.raises(DataError, match="poisson needs counts"):
            bp.train(None, (X, y), loss="poisson")

    def test_load_is_for_files(self):
        from backpass.data import load

        with pytest.raises(UsageError, match=r"from_frame\(frame, target\)"):
            load(visits())
