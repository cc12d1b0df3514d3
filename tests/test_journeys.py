"""From a person's data to an answer: whole journeys through the public API, as short as they can be."""

import subprocess
import sys

import numpy as np
import pytest

import backpass as bp
import backpass.ops  # before a test: what joins the registry in one goes with it
from backpass.errors import DataError, NonFinite, UsageError

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


OWN_OP = """
from dataclasses import dataclass
from typing import final

import backpass as bp
from backpass import ops
from backpass.ir.op import Elementwise, Sample

@final
@dataclass(frozen=True)
class Swishy(Elementwise):
    beta: float = 1.0
    name = "swishy"
    notation = tex = "swishy({0}, {beta})"
    samples = (Sample((("m", "n"),)),)

    def forward(self, xp, /, x):
        return x / (FACTOR + xp.exp(-self.beta * x))

    def vjp(self, adj, y, /, x):
        s = ops.Sigmoid()(self.beta * x)
        return (adj * (s + self.beta * x * s * (1 - s)),)
"""


class TestOwnOp:
    """An op of one's own, from its definition to a process that does not have it."""

    def trained(self, folder):
        space = {"__name__": "mine"}
        exec(OWN_OP.replace("FACTOR", "1"), space)
        Swishy = space["Swishy"]
        bp.check_op(Swishy)
        net = bp.Network([bp.Dense(4, Swishy(1.5)), bp.Apply(lambda a: Swishy()(a)), bp.Dense(3, "softmax")])
        run = bp.train(net, "iris", epochs=2, out=folder, executor="reference")
        return Swishy, run

    def fresh(self, folder, code):
        text = (
            f"import sys\n{code}\nimport backpass as bp\nrun = bp.load({str(folder)!r})\nprint(run.verify())"
        )
        return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)

    def test_it_goes_all_the_way(self, tmp_path):
        Swishy, run = self.trained(tmp_path / "run")
        assert "a1   = swishy(z1, 1.5)" in run.text(section="forward")
        assert "y1   = swishy(a1, 1.0)" in run.text(section="forward")
        answer = run.at(5).why("W1[0,0]")
        assert answer.second_route <= answer.second_route_bound
        assert bp.load(tmp_path / "run", ops=[Swishy]).verify() == run.steps
        again = self.fresh(tmp_path / "run", OWN_OP.replace("FACTOR", "1"))
        assert again.stdout.strip() == str(run.steps), again.stderr

    def test_a_process_that_does_not_have_it_says_what_to_do(self, tmp_path):
        self.trained(tmp_path / "run")
        again = self.fresh(tmp_path / "run", "")
        assert "no op named 'swishy'" in again.stderr
        assert "If it is one of your own, define its class" in again.stderr

    def test_another_rule_under_the_same_name_is_refused(self, tmp_path):
        self.trained(tmp_path / "run")
        again = self.fresh(tmp_path / "run", OWN_OP.replace("FACTOR", "2"))
        assert "the op swishy(beta=1.0) is not what it was when this run was made" in again.stderr

    def test_ops_are_classes_that_are_defined(self, tmp_path):
        self.trained(tmp_path / "run")
        with pytest.raises(UsageError, match="ops are classes"):
            bp.load(tmp_path / "run", ops=["swishy"])


class TestWhatIsShown:
    def test_progress_does_not_print_the_weights(self):
        seen = []
        bp.train(None, "xor", epochs=1, callbacks=[seen.append])
        assert len(repr(seen[0])) < 250
        assert "W1" in seen[0].values

    def test_a_run_of_one_step_and_one_that_diverged(self):
        assert "1 step on xor, finished: loss" in repr(bp.train(None, "xor", epochs=1))
        X = np.random.default_rng(0).normal(size=(40, 3))
        net = bp.Network([bp.Dense(8, "relu"), bp.Dense(1)])
        with pytest.raises(NonFinite) as raised:
            bp.train(net, (X, X[:, 0]), optimizer=bp.SGD(1e6), epochs=50)
        assert repr(raised.value.run).endswith("diverged>")
