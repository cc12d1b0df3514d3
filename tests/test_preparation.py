"""Preparation: what raw rows become, from the training rows alone, and what a person is told about it."""

from __future__ import annotations

import doctest
import importlib
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backpass.data import from_arrays
from backpass.data.dataset import Dataset
from backpass.data.frames import table_dataset
from backpass.data.preparation import Preparation, fit_preparation
from backpass.data.table import Table
from backpass.data.tables import read_table
from backpass.errors import DataError, RecordError

SHARED = Path(os.environ.get("BACKPASS_DATA", Path(__file__).parents[2] / "shared" / "data"))
N = 60
RNG = np.random.default_rng(0)


def dataset(target: str = "y", **columns: Any) -> Dataset:
    columns.setdefault("y", np.tile(["no", "yes", "no"], 2000)[: len(next(iter(columns.values())))])
    return table_dataset(Table.from_columns(columns), [target], name="t")


def noise(n: int = N) -> np.ndarray[Any, Any]:
    return RNG.normal(size=n)


def test_numbers_are_standardised_over_the_training_rows() -> None:
    values = noise() * 5 + 100
    data = dataset(a=values, b=noise())
    rows = np.arange(0, N, 2)
    preparation = fit_preparation(data, rows)
    x = preparation.inputs(data)
    np.testing.assert_allclose(x[:, 0], (values - values[rows].mean()) / values[rows].std(), rtol=1e-12)
    changed = values.copy()
    changed[1::2] = 1e6  # rows that are not of the training part
    assert fit_preparation(dataset(a=changed, b=data.X["b"]), rows).describe() == preparation.describe()
    assert preparation.inputs(data, np.float32).dtype == np.float32
    np.testing.assert_array_equal(preparation.inputs(data, rows=rows), x[rows])


def test_large_offsets_lose_no_precision() -> None:
    values = 1e9 + noise()
    x = fit_preparation(data := dataset(a=values, b=noise())).inputs(data)
    assert abs(x[:, 0].std() - 1) < 1e-6
    assert abs(x[:, 0].mean()) < 1e-6


def test_skewed_numbers_enter_as_logarithms() -> None:
    money = np.exp(RNG.normal(size=500) * 2 + 5)
    preparation = fit_preparation(data := dataset(money=money, a=noise(500), loss=-money))
    assert preparation.columns == ("log1p(money)", "a", "loss")
    log = np.log1p(money)
    np.testing.assert_allclose(preparation.inputs(data)[:, 0], (log - log.mean()) / log.std(), rtol=1e-9)
    assert "(money as log(1 + x))" in preparation.summary()[0]
    # below the range of training it goes on as a straight line: no logarithm of a negative number
    row = Table.from_columns({"money": [-5.0], "a": [0.0], "loss": [0.0]})
    assert preparation.inputs(row)[0, 0] == pytest.approx((-5 - log.mean()) / log.std())


def test_words_holes_and_what_was_never_seen() -> None:
    job = np.array(["b", "a", None, "c"] * 15, dtype=object)
    age = np.array([1.0, 2.0, np.nan, 4.0] * 15)
    preparation = fit_preparation(data := dataset(job=job, age=age, n=noise()))
    assert preparation.columns == ("job=a", "job=b", "job=c", "job: missing", "age", "age: missing", "n")
    x = preparation.inputs(data)
    assert x[:4, :4].tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]
    assert x[:4, 5].tolist() == [0, 0, 1, 0]
    known = age[~np.isnan(age)]
    assert x[2, 4] == pytest.approx((np.median(known) - known.mean()) / known.std())
    rows = Table.from_columns({"n": [0.0, np.nan], "job": ["z", "zz"], "age": [1.0, 1.0]})  # another order
    with pytest.warns(
        UserWarning, match=r"(?s)'job': 2 rows.*'z'.*'n': 1 hole, and the training rows had none"
    ):
        x = preparation.inputs(rows)
    assert x[:, :4].tolist() == [[0] * 4, [0] * 4]
    assert np.isfinite(x).all()


def test_many_words_are_grouped() -> None:
    words = [f"w{n:02d}" for n in range(80) for _ in range(100 - n)]
    data = dataset(word=words, n=noise(len(words)))
    preparation = fit_preparation(data)
    assert preparation.columns[:2] == ("word=w00", "word=w01")
    assert preparation.columns[50] == "word: other"
    assert preparation.inputs(data)[:, :51].sum(axis=1).tolist() == [1] * len(words)
    assert any("80 different words" in line for line in preparation.warnings)
    row = Table.from_columns({"word": ["new"], "n": [0.0]})
    assert preparation.inputs(row)[0, 50] == 1


def test_dates() -> None:
    days = np.datetime64("2020-01-01T06:00", "m") + np.arange(N) * np.timedelta64(7 * 24 * 60 + 60, "m")
    preparation = fit_preparation(data := dataset(day=days, n=noise()))
    assert preparation.columns[0] == "day"
    assert "day: Wednesday" in preparation.columns
    x = preparation.inputs(data)
    assert x[0, preparation.columns.index("day: Wednesday")] == 1  # 1 January 2020 was one
    assert x[0, preparation.columns.index("day: sin(day)")] == pytest.approx(1)  # six in the morning
    assert x[0, preparation.columns.index("day: cos(year)")] == pytest.approx(1, abs=1e-3)
    assert abs(x[:, 0].mean()) < 1e-9
    plain = fit_preparation(dataset(day=np.array(["2020-01-01", "2020-01-08"] * 30, "M8[D]"), n=noise()))
    assert plain.columns == ("day", "n")  # one weekday, no season, no clock: nothing to tell apart


def test_what_is_left_out_is_told() -> None:
    data = dataset(
        same=[1] * N, word=["x"] * N, flag=[True] * N, name=[f"person {n}" for n in range(N)],
        customer_id=RNG.permutation(N), n=noise(), empty=[None] * N, counter=np.arange(N) * 3,
    )  # fmt: skip
    data = table_dataset(
        Table.from_columns({name: data.X[name] for name in data.X.names} | {"empty": [np.nan] * N}),
        ["y"],
        name="t",
    )
    many = [f"person {n}" for n in range(N)]
    assert len(set(many)) > 50
    preparation = fit_preparation(data)
    assert preparation.features == ("n", "counter")
    for name in ("same", "word", "flag", "name", "customer_id", "empty"):
        assert any(f"column {name!r}" in line and "left out" in line for line in preparation.warnings), name
    assert any("'counter' rises by every row" in line for line in preparation.warnings)
    assert "left out: same is 1" in preparation.summary()[-1]
    with pytest.raises(DataError, match="no column has anything to learn from"):
        fit_preparation(dataset(a=[1] * N, b=["x"] * N))


def test_a_column_that_gives_the_target_away() -> None:
    y = RNG.integers(0, 3, N)
    data = dataset(code=[f"k{v}" for v in y], number=y * 10.0 + noise(), fair=noise(), y=[f"c{v}" for v in y])
    telling = [line for line in fit_preparation(data).warnings if "alone tells the target" in line]
    assert len(telling) == 2
    assert "'code'" in telling[0]
    quantity = noise()
    data = dataset(copy=quantity * -3 + 1, near=quantity + noise(), y=quantity)
    telling = [line for line in fit_preparation(data).warnings if "alone tells" in line]
    assert [line.split("'")[1] for line in telling] == ["copy"]


def test_columns_at_prediction() -> None:
    preparation = fit_preparation(data := dataset(a=noise(), b=["u", "v"] * 30, zip=["1", "2"] * 30))
    frame = Table.from_columns({"b": ["u"], "extra": [1], "a": [0.0], "zip": [2]})  # read as a number here
    assert preparation.inputs(frame)[0, -2:].tolist() == [0, 1]
    assert preparation.ignored(frame) == ("extra",)
    assert preparation.ignored(data.X) == ()
    with pytest.raises(DataError, match=r"no column b, zip(.|\n)*There|no column b, zip(.|\n)*not needed: c"):
        preparation.inputs(Table.from_columns({"a": [1.0], "c": [1.0]}))
    with pytest.raises(DataError, match=r"'a' holds text, e\.g\. 'word', and held number"):
        preparation.inputs(Table.from_columns({"a": ["word"], "b": ["u"], "zip": ["1"]}))
    with pytest.warns(UserWarning, match="taken in the order"):
        assert preparation.inputs([[0.5, "v", "1"]]).shape == (1, 5)
    with pytest.raises(DataError, match=r"got an array of shape \(1, 2\)"):
        preparation.inputs([[0.5, "v"]])
    pandas = pytest.importorskip("pandas")
    assert preparation.inputs(pandas.DataFrame({"zip": ["1"], "b": ["u"], "a": [0.0]})).shape == (1, 5)


def test_quantities_come_back_in_their_units() -> None:
    y = noise() * 7 + 1000
    data = dataset(a=noise(), y=y)
    preparation = fit_preparation(data, rows := np.arange(40))
    t = preparation.targets(data)
    assert abs(t[rows].mean()) < 1e-12
    assert t[rows].std() == pytest.approx(1)
    np.testing.assert_allclose(preparation.answers(t), y, rtol=1e-12)
    assert any("answers are in its units" in line for line in preparation.summary())
    two = table_dataset(Table.from_columns({"a": noise(), "p": y, "q": -y}), ["p", "q"], name="t")
    both = fit_preparation(two)
    assert both.outputs == 2
    np.testing.assert_allclose(both.answers(both.targets(two)), np.column_stack([y, -y]), rtol=1e-12)


def test_classes_and_labels() -> None:
    data = dataset(a=noise())
    preparation = fit_preparation(data)
    assert (preparation.outputs, preparation.classes) == (2, ("no", "yes"))
    np.testing.assert_array_equal(preparation.targets(data, np.float32), data.targets(np.float32))
    assert preparation.answers(preparation.targets(data)).tolist() == data.y.tolist()
    assert preparation.answers(np.array([[0.2], [0.9]])).tolist() == ["no", "yes"]
    several = table_dataset(
        Table.from_columns({"a": noise(), "p": [True, False] * 30, "q": [0, 1, 1] * 20}), ["p", "q"], name="t"
    )
    labels = fit_preparation(several)
    assert (labels.task, labels.outputs) == ("multilabel", 2)
    assert labels.answers(labels.targets(several)).tolist() == several.y.tolist()


def test_a_description_is_plain_json_and_enough() -> None:
    days = np.datetime64("2020-01-01") + np.arange(N)
    data = dataset(a=noise(), job=["b", None, "c"] * 20, day=days, flag=[True, False] * 30, y=noise())
    preparation = fit_preparation(data)
    again = Preparation.from_description(json.loads(json.dumps(preparation.describe())))
    np.testing.assert_array_equal(again.inputs(data), preparation.inputs(data))
    np.testing.assert_array_equal(again.targets(data), preparation.targets(data))
    assert (again.columns, again.summary()) == (preparation.columns, preparation.summary())
    for wrong in ({}, {"kind": "other"}, {**preparation.describe(), "columns": [{"how": "number"}]}):
        with pytest.raises(RecordError, match="no description of a preparation"):
            Preparation.from_description(wrong)


def test_matrices() -> None:
    X = RNG.normal(size=(20, 3)) * [1, 50, 0] + [0, 7, 3]
    plain = from_arrays(X, [0, 1] * 10)
    as_is = fit_preparation(plain)
    assert as_is.kind == "as_is"
    np.testing.assert_array_equal(as_is.inputs(plain), X)
    np.testing.assert_array_equal(as_is.inputs(X[:2]), X[:2])
    import dataclasses

    auto = dataclasses.replace(plain, prepare="auto")
    preparation = fit_preparation(auto, rows := np.arange(10))
    assert preparation.kind == "standardise"
    x = preparation.inputs(auto)
    np.testing.assert_allclose(x[:, 1], (X[:, 1] - X[rows, 1].mean()) / X[rows, 1].std(), rtol=1e-12)
    assert (x[:, 2] == 0).all()
    assert any("constant" in line and "x2" in line for line in preparation.warnings)
    np.testing.assert_array_equal(preparation.inputs(X), x)
    with pytest.raises(DataError, match="4 columns, and the net was trained with 3"):
        preparation.inputs(np.ones((2, 4)))
    small = dataclasses.replace(from_arrays(X / 1000, [0, 1] * 10), prepare="auto")
    assert fit_preparation(small).kind == "as_is"
    pixels = dataclasses.replace(
        from_arrays(np.array([[0, 255], [3, 9]] * 2, np.uint8), [0, 1] * 2, scale=1 / 255), prepare="auto"
    )
    assert fit_preparation(pixels).inputs(pixels).max() == 1


def test_no_warning_and_no_shift_on_the_rows_it_was_fitted_on() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = dataset(a=noise(), b=["u", None, "w"] * 20)
        fit_preparation(data).inputs(data)


def test_california_housing() -> None:
    """Prepared as it comes, a small net of scikit-learn reaches what is published for it."""
    from sklearn.linear_model import Ridge

    file = SHARED / "california-housing" / "housing.csv.gz"
    if not file.exists():
        pytest.skip(f"{file} is not there; set BACKPASS_DATA")
    data = table_dataset(read_table(file), ["median_house_value"], name="housing")
    rows = RNG.permutation(len(data))
    train, test = np.sort(rows[4000:]), np.sort(rows[:4000])
    preparation = fit_preparation(data, train)
    assert len(preparation.columns) == 14
    x, t = preparation.inputs(data), preparation.targets(data)
    model = Ridge(1e-6).fit(x[train], t[train, 0])
    answers = preparation.answers(model.predict(x[test])[:, None])
    r2 = 1 - ((answers - data.y[test]) ** 2).sum() / ((data.y[test] - data.y[test].mean()) ** 2).sum()
    assert 0.6 < r2 < 0.75  # a straight line; a net reaches 0.8


@pytest.mark.parametrize("name", ["preparation", "streaming"])
def test_examples(name: str) -> None:
    importlib.import_module(f"backpass.data.{name}")
    failed, tried = doctest.testmod(sys.modules[f"backpass.data.{name}"])
    assert tried > 0
    assert failed == 0
