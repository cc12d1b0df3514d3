"""Numbers of a step under the names that people know: columns, rows, outputs, and the units of the data."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import backpass as bp
from backpass.explain.naming import Naming


@cache
def of_table() -> bp.Run:
    """Rents of flats by their size and town, in thousands."""
    rng = np.random.default_rng(0)
    size = rng.uniform(20, 120, 60)
    town = rng.choice(["Bath", "Ayr"], 60)
    pd = pytest.importorskip("pandas")
    rent = 100_000 + 3000 * size + 40_000 * (town == "Bath")
    frame = pd.DataFrame({"size": size, "town": town, "rent": rent})
    net = bp.Network([bp.Dense(4, "tanh"), bp.Dense(1)])
    options = {"epochs": 4, "batch": 10, "executor": "reference", "optimizer": bp.SGD(0.1)}
    return bp.train(net, frame, target="rent", **options)


@cache
def of_digits() -> bp.Run:
    pytest.importorskip("sklearn")
    return bp.train(
        bp.Network([bp.Dense(5, "tanh"), bp.Dense(10, "softmax")]), "digits", epochs=1, executor="reference"
    )


def test_terms_say_which_column_and_which_row() -> None:
    visit = of_table().at(7)
    columns = of_table().preparation.columns
    answer = visit.value("z1[3,1]")
    assert answer.meaning == f"z1[3,1] belongs to row {visit.rows[3]}."
    assert answer.names["x[3,0] * W1[0,1]"] == columns[0] == "size", "the row is told once"
    assert any(line.endswith("  size") for line in answer.text().split("\n"))
    cost = visit.value("C")
    assert cost.names["loss[4] / 10"] == f"row {visit.rows[4]}"
    gradient = visit.value("dW1[0,2]")
    assert gradient.names["x[5,0] * δ1[5,2]"] == f"row {visit.rows[5]}"
    for form in ("markdown", "latex", "html"):
        assert f"row {visit.rows[5]}" in getattr(gradient, form)()
    assert answer.to_dict()["names"]["x[3,0] * W1[0,1]"] == "size"


def test_a_weight_is_told_by_its_input_and_its_output() -> None:
    run = of_table()
    visit, town = run.at(7), run.preparation.columns[1]
    assert visit.why("W1[1,2]").meaning == f"W1[1,2] is the weight of the input {town}."
    assert visit.paths("W1[0,2]").meaning == "W1[0,2] is the weight of the input size."
    assert "of row" in visit.paths("W1[0,2]").text()
    assert run.blame("W2[1,0]").meaning == "W2[1,0] leads to the output rent."
    assert visit.why("b1[1]").meaning == ""


def test_pixels_and_classes_have_names() -> None:
    visit = of_digits().at(3)
    naming = Naming(of_digits().record, visit.rows)
    assert naming.column(11) == "pixel (1, 3)"
    assert naming.place("z2", (4, 7)) == ("output 7", f"row {visit.rows[4]:,}")
    assert naming.place("z1", (4, 3)) == (f"row {visit.rows[4]:,}",)
    assert naming.place("W2", (3, 7)) == ("output 7",)
    assert naming.column(64) == naming.output(10) == naming.row(99) == ""
    assert naming.target("C") == naming.target("b1[0]") == ""
    assert set(visit.delta("δ1[0,2]").names.values()) >= {f"output {k}" for k in range(10)}


def test_rows_without_columns_have_numbers_only() -> None:
    X = np.random.default_rng(1).standard_normal((20, 3))
    run = bp.train(bp.Network([bp.Dense(1)]), (X, X @ [1.0, 2.0, 0.0]), epochs=1, executor="reference")
    answer = run.at(1).value("dW1[0,0]")
    assert answer.names
    assert set(answer.names.values()) <= {f"row {r}" for r in run.at(1).rows}
    assert run.at(1).why("W1[0,0]").meaning == ""


def test_quantities_are_in_the_units_of_the_data() -> None:
    run = of_table()
    visit = run.at(7)
    share = visit.why("W1[0,2]").examples[0]
    t = run.preparation.in_units(visit["t"])[list(visit.rows).index(share.row), 0]
    assert share.label == f"{t:,.0f}"
    assert (
        f"Row {share.row}" in visit.why("W1[0,2]").claim or f"Rows {share.row}" in visit.why("W1[0,2]").claim
    )
    assert "answered" in visit.why("W1[0,2]").text()
    what = run.whatif(5, {"size": 200})
    raw = run.lookup.raw(5)[0]
    assert what.outputs[0].was == pytest.approx(float(run.predict(raw)[0]))
    assert what.outputs[0].now > what.outputs[0].was > 100_000
    assert "rent is " in what.claim
    assert "read as" not in what.claim
    table = visit.whatif("W1[0,2]", 3.0).text()
    assert "now answered" in table
    assert "read as" not in table


def test_several_quantities_and_one_probability_are_told_for_what_they_are() -> None:
    X = np.random.default_rng(1).standard_normal((20, 3))
    two = np.stack([X[:, 0], X[:, 1] * 5], axis=1)
    options = {"epochs": 1, "executor": "reference"}
    run = bp.train(bp.Network([bp.Dense(2)]), (X, two), **options)
    assert "read as" not in run.whatif(3, {"1": 4.0}).claim
    yes = bp.train(bp.Network([bp.Dense(1, "sigmoid")]), (X, X[:, 0] > 0), **options).whatif(3, {"0": 4.0})
    assert "read as" in yes.claim
    assert [p.name for p in yes.outputs] == ["False", "True"]
    assert sum(p.now for p in yes.outputs) == pytest.approx(1.0)


def test_a_worked_step_has_names_too() -> None:
    worked = of_table().at(7).worked(2)
    assert [o.name for o in worked.outputs] == ["rent"]
    assert ", answered " in worked.claim
    assert "size" in worked.names.values()
    assert "(a " in of_digits().at(3).worked(0).claim or "(an 8" in of_digits().at(3).worked(0).claim
