"""The same step, or the same prediction, with one number changed."""

from __future__ import annotations

import numpy as np
import pytest

import backpass as bp
from backpass.data.table import Table
from backpass.errors import UsageError
from backpass.explain.whatif import whatif
from backpass.explain.whatif_input import whatif_input, with_columns


@pytest.fixture(scope="module")
def run() -> bp.Run:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(40, 5))
    y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
    network = bp.Network([bp.Dense(6, "tanh"), bp.Dense(3, "softmax")])
    return bp.train(network, (X, y), optimizer=bp.Adam(0.02), batch=8, epochs=10, dtype="f64")


def test_a_weight_that_is_set_is_a_step_from_that_weight(run: bp.Run) -> None:
    visit = run.at(20)
    found = whatif(visit, "W2[3,1]", 2.5)
    again = run.at(20)
    again.before["W2"] = again.before["W2"].copy()
    again.before["W2"][3, 1] = 2.5
    values = {p.name: p for p in found.values}
    assert values["W2[3,1]"].now == 2.5
    assert values["C"].was == visit["C"]
    assert values["C"].now == again["C"]
    assert values["dW2[3,1]"].now == again["dW2"][3, 1]
    assert values["W2_new[3,1]"].now == again["W2_new"][3, 1]
    assert values["norm of dW1"].now == pytest.approx(np.linalg.norm(again["dW1"]))
    was, now = visit["loss"], again["loss"]
    assert found.rows[0].row == visit.rows[np.argmax(np.abs(now - was))]
    assert "the cost of the batch is" in found.claim
    assert visit["C"] == run.at(20)["C"], "asking changes nothing"


def test_a_number_of_the_program(run: bp.Run) -> None:
    found = whatif(run.at(20), "lr", 0.0)
    values = {p.name: p for p in found.values}
    assert "the cost of the batch stays as it was" in found.claim
    moved = run.at(20)
    assert values["norm of W1_new"].now == pytest.approx(np.linalg.norm(moved["W1"]))


def test_a_unit_that_is_silent_for_one_row(run: bp.Run) -> None:
    visit = run.at(20)
    found = whatif(visit, "a1[2,4]", 0.0)
    assert [r.row for r in found.rows] == [visit.rows[2]]
    a1 = visit["a1"].copy()
    a1[2, 4] = 0.0
    z2 = a1 @ visit["W2"] + visit["b2"]
    p = np.exp(z2 - z2.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    loss = -np.log(p[2, np.argmax(visit["t"][2])])
    assert found.rows[0].now == pytest.approx(loss, rel=1e-12)


def test_rows_that_are_read_otherwise_are_named(run: bp.Run) -> None:
    found = whatif(run.at(20), "b2[0]", 50.0)
    assert "of its rows would be read otherwise" in found.claim
    assert all(r.read_now == "0" for r in found.rows)


@pytest.mark.parametrize(
    ("target", "value", "words"),
    [
        ("W2[9,9]", 1.0, "does not exist"),
        ("W9[0,0]", 1.0, "Did you mean"),
        ("W2[0,0]", float("nan"), "finite"),
        ("W2_new[0,0]", 1.0, "nothing is calculated from"),
    ],
)
def test_what_cannot_be_set(run: bp.Run, target: str, value: float, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        whatif(run.at(20), target, value)


def test_an_input_that_is_set(run: bp.Run) -> None:
    row = run.rows.arrays["x"][:1].astype(np.float64)
    changed, told = with_columns(row, {"0": -row[0, 0]}, ())
    record = run.record
    found = whatif_input(
        record.predict_graph, record.result(), record.prediction, row, changed,
        what="row 0", changes=told, columns=(), outputs=("none", "one", "both"),
    )  # fmt: skip
    assert [p.now for p in found.outputs] == run.predict_raw(changed)[0].tolist()
    assert [p.was for p in found.outputs] == run.predict_raw(row)[0].tolist()
    assert [p.name for p in found.inputs] == ["x[0]"]
    assert all(p.name.startswith(("z1", "a1", "z2")) for p in found.units)
    assert "row 0" in found.claim


def test_columns_of_a_table_keep_their_kind() -> None:
    row = Table.from_columns({"age": [39.0], "job": ["cook"]})
    changed, told = with_columns(row, {"age": "52", "job": "smith"}, ())
    assert changed["age"].tolist() == [52.0]
    assert changed["job"].tolist() == ["smith"]
    assert told == {"age": "52 (was 39)", "job": "smith (was cook)"}
    with pytest.raises(UsageError, match="Did you mean 'age'"):
        with_columns(row, {"agee": "52"}, ())
    with pytest.raises(UsageError, match="holds numbers"):
        with_columns(row, {"age": "old"}, ())
    with pytest.raises(UsageError, match="no column"):
        with_columns(np.zeros((1, 3)), {"7": 1.0}, ())
