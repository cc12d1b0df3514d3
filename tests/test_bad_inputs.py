"""What people give by mistake, row by row of a list of fifty: each works, or ends in one error that helps.

`ROWS` has every number once: cases that are run here as a person meets them (`backpass.train`, `load`,
`run.predict`, `backpass.data.load`), the name of a test below, or the reason why the row does not apply yet.
Beside every case lies a run from before, which must stay as it was; NumPy must not warn by itself.
"""

# ruff: noqa: E501 (a case a line)
from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import backpass as bp
from backpass.data import Table, formats, load
from backpass.errors import (
    BackpassError,
    DataError,
    NonFinite,
    RecordError,
    ShapeError,
    StorageError,
    UsageError,
)
from backpass.record.folder import RunFolder
from backpass.record.settings import FORMAT

rng = np.random.default_rng(0)
X = rng.standard_normal((40, 3))
Y = (X[:, 0] > 0).astype(int)
Q = X @ [1.0, 2.0, 3.0] + 0.1  # a quantity
WORDS = np.where(Y == 1, "yes", "no")
FRAME = pd.DataFrame({
    "age": 40 + 10 * X[:, 0] + 9 * X[:, 1], "job": rng.choice(["cook", "smith", "baker"], 40), "pay": 100 * X[:, 2],
    "ill": WORDS,
})  # fmt: skip
CSV = "age,town,ill\n" + "".join(
    f"{a:.3f},{town},{b}\n"
    for a, town, b in zip(X[:, 0] + X[:, 1], ["Zürich", "Bern"] * 20, WORDS, strict=True)
)
LINES = CSV.splitlines()


def put(array: Any, where: Any, value: Any) -> np.ndarray:
    """A copy with another value at a place."""
    array = np.array(array)
    array[where] = value
    return array


def net(outputs: int = 2, activation: str = "softmax") -> bp.Network:
    return bp.Network([bp.Dense(4, "tanh"), bp.Dense(outputs, activation)])


def train(out: Path, x: Any = X, y: Any = Y, network: Any = None, **options: Any) -> bp.Run:
    settings = {"epochs": 2, "batch": 8, "executor": "reference", "dtype": "f64", "out": out, **options}
    return bp.train(network or net(), (x, y), **settings)


def quantities(out: Path, x: Any = X, y: Any = Q, **options: Any) -> bp.Run:
    return train(out, x, y, options.pop("network", None) or net(1, "identity"), **options)


def framed(out: Path, frame: pd.DataFrame = FRAME, target: Any = "ill", **options: Any) -> bp.Run:
    return bp.train(
        None, frame, target=target, **{"epochs": 2, "executor": "reference", "out": out, **options}
    )


def written(out: Path, name: str, content: str | bytes) -> Path:
    """A file beside the runs."""
    path = out.with_name(f"{out.name}-{name}")
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def from_csv(out: Path, content: str | bytes = CSV, name: str = "a.csv", **options: Any) -> bp.Run:
    path = written(out, name, content)
    return bp.train(None, load(path, target="ill", **options), epochs=2, executor="reference", out=out)


@dataclass
class Case:
    """One thing to do, and what must come of it: an error with these words, or a result and its warnings."""

    do: Callable[[Path], Any]
    error: type[BackpassError] | None = None
    words: tuple[str, ...] = ()
    warns: tuple[str, ...] = ()
    check: Callable[[Any], bool] = lambda result: True


@dataclass
class Reason:
    """Why a row does not apply yet."""

    why: str


ROWS: dict[int, list[Case] | str | Reason] = {}


def row(number: int, *what: Case | str | Reason) -> None:
    assert number not in ROWS, f"row {number} is there twice"
    ROWS[number] = list(what) if isinstance(what[0], Case) else what[0]  # type: ignore[arg-type,assignment]


def fails(error: type[BackpassError], do: Callable[[Path], Any], *words: str) -> Case:
    return Case(do, error, words)


def works(do: Callable[[Path], Any], *warns: str, check: Callable[[Any], bool] = lambda r: True) -> Case:
    return Case(do, None, (), warns, check)


def predicts(make: Callable[..., bp.Run], given: Any) -> Callable[[Path], Any]:
    return lambda out: make(out).predict(given)


def trained(run: bp.Run) -> bool:
    return run.status == "finished" and all(np.isfinite(w).all() for w in run.weights.values())


NAN, INF = put(X, (3, 1), np.nan), put(X, (3, 1), -np.inf)
HOLE = FRAME.assign(age=put(FRAME.age, 3, np.nan))
TWICE = FRAME.set_axis(["age", "age", "pay", "ill"], axis=1)

# ------------------------------------------------------------------------------------------------ data: X

row(
    1,
    fails(DataError, lambda out: train(out, NAN), "X", "NaN", "1 place", "row 3, column 1", "median"),
    fails(DataError, predicts(train, NAN), "NaN", "row 3, column 1", "Fill them"),
    fails(DataError, predicts(train, pd.DataFrame(NAN, columns=["a", "b", "c"])), "row 3", "column 'b'"),
    works(lambda out: framed(out, HOLE), check=lambda r: "age: missing" in r.preparation.columns),
    works(predicts(framed, HOLE), "column 'age': 1 hole", "filled in"),
)
row(
    2,
    fails(DataError, lambda out: train(out, INF), "infinity in 1 place", "row 3, column 1", "division"),
    fails(DataError, predicts(train, INF), "infinity", "row 3, column 1"),
    fails(DataError, lambda out: framed(out, FRAME.assign(pay=put(FRAME.pay, 5, np.inf))), "'pay'", "row 5", "hole"),
    fails(DataError, lambda out: train(out, put(X, (3, 1), 1e200), dtype="f32"), "row 3, column 1", "1e+200", "3.4e+38"),
)  # fmt: skip
row(
    3,
    fails(
        DataError, lambda out: quantities(out, y=put(Q, [7, 9], np.nan)), "y", "2 rows: 7, 9", "drop the rows"
    ),
    fails(DataError, lambda out: framed(out, HOLE, "age"), "column 'age'", "1 row: 3"),
)
row(
    4,
    fails(
        DataError, lambda out: train(out, y=[None, *WORDS[1:].tolist()]), "missing in 1 row: 0", "Find those"
    ),
    fails(
        DataError, lambda out: framed(out, FRAME.assign(ill=[None, *WORDS[1:]])), "column 'ill'", "1 row: 0"
    ),
)
row(
    5,
    works(
        lambda out: train(out, put(X, (slice(None), 1), 7.0)), "column 1 (counted", "one value", check=trained
    ),
    works(lambda out: framed(out, FRAME.assign(age=7.0)), "'age' is 7 in all", "left out", check=trained),
)
row(
    6,
    works(lambda out: train(out, np.ones((40, 3))), "no information in X", check=trained),
    fails(
        DataError, lambda out: framed(out, FRAME.assign(age=7, pay=1, job="x")),
        "no column has anything to learn from", "age is 7", "job is 'x'",
    ),
)  # fmt: skip
row(
    7,
    fails(
        DataError, lambda out: train(out, put(X.astype(object), (2, 1), "red")), "row 2, column 1", "'red'", "Encode"
    ),
    fails(
        DataError, predicts(train, Table.from_columns({"a": X[:, 0], "b": ["x"] * 40, "c": X[:, 2]})),
        "column 'b'", "'x'", "Drop the column",
    ),
    works(framed, check=lambda r: "job=cook" in r.preparation.columns),
)  # fmt: skip
row(
    8,
    works(lambda out: train(out, X.astype(str)), "numbers written as text", check=trained),
    works(
        lambda out: framed(out, FRAME.assign(age=FRAME.age.round(0).astype(str), pay=FRAME.pay.round(-1).astype(str))),
        "column 'pay' holds numbers written as text", "Convert the column",
    ),
)  # fmt: skip
row(
    9,
    fails(DataError, lambda out: train(out, X[:, 0]), "(40,)", "X.reshape(1, -1)", "X.reshape(-1, 1)"),
    fails(DataError, predicts(train, X[0]), "(3,)", "reshape(1, -1)"),
    fails(DataError, lambda out: train(out, X.reshape(40, 3, 1, 1, 1)), "5 dimensions", "(n, height, width)"),
    works(lambda out: train(out, X.reshape(40, 3, 1)), check=lambda r: r.settings.data.image_shape == (3, 1)),
)
row(
    10,
    fails(DataError, lambda out: train(out, y=Y[:-1]), "X has 40 rows and y has 39", "1 fewer"),
    fails(DataError, lambda out: train(out, FRAME[["age", "job"]], [1, 0, 1]), "40 rows", "3 labels"),
)
row(
    11,
    fails(DataError, lambda out: train(out, X[:0], Y[:0]), "0 rows"),
    fails(DataError, lambda out: train(out, X[:, :0]), "0 columns", "(40, 0)"),
    fails(DataError, predicts(train, X[:0]), "0 rows"),
    fails(DataError, predicts(framed, FRAME[:0]), "0 rows to predict"),
    fails(DataError, lambda out: framed(out, FRAME[:0]), "0 rows"),
    fails(DataError, lambda out: framed(out, FRAME[["ill"]]), "no column besides 'ill'"),
    fails(DataError, lambda out: from_csv(out, LINES[0] + "\n"), "a header and no rows", "header=False"),
)

# -------------------------------------------------------------------------------------- labels and batches

row(
    12,
    fails(DataError, lambda out: train(out, y=Y * 0), "y is 0 in all 40 rows", "two classes", "regression"),
    works(lambda out: quantities(out, y=Y * 0, task="regression"), check=trained),
)
row(
    13,
    works(lambda out: quantities(out, X[:1], Q[:1]), check=trained),
    works(lambda out: train(out, batch=10**6), check=lambda r: r.settings.batch == 40 and trained(r)),
    works(
        lambda out: train(
            out, batch=39,  # the last batch is one row: its variance is 0
            network=bp.Network([bp.Dense(4), bp.BatchNorm(), bp.Activation("relu"), bp.Dense(2, "softmax")]),
        ),
        check=lambda r: r.steps == 4 and trained(r),
    ),
    fails(UsageError, lambda out: train(out, batch=0), "batch", "at least 1", "got 0"),
)  # fmt: skip
row(
    14,
    fails(DataError, lambda out: train(out, y=None), "y is missing"),
    fails(UsageError, lambda out: bp.train(net(), X, out=out), "X alone, without labels", "(X, y)"),
    fails(UsageError, lambda out: framed(out, target=None), "which column", "age, job, pay, ill"),
    fails(UsageError, lambda out: framed(out, target="il"), "Did you mean 'ill'"),
)
row(
    15,
    fails(ShapeError, lambda out: train(out, y=Q), "quantities", "regression", "2 units", "Dense(1)"),
    fails(
        DataError,
        lambda out: train(out, y=Q, network=net(1, "sigmoid")),
        "quantities",
        "from 0 to 1",
        "classes",
    ),
    fails(
        DataError,
        lambda out: train(out, y=Q, task="classification"),
        "row 0",
        "a quantity",
        "task='regression'",
    ),
)
row(
    16,
    fails(DataError, lambda out: train(out, y=WORDS, test=(X[:2], ["yes", "maybe"])), "row 1", "'maybe'", "'no', 'yes'"),
    fails(DataError, lambda out: framed(out, test=FRAME.assign(ill="maybe")), "row 0 is 'maybe'", "'no', 'yes'"),
    works(predicts(framed, FRAME.assign(job="pilot")), "column 'job'", "40 rows", "'pilot'"),
)  # fmt: skip

# ------------------------------------------------------------------------------------------------ numbers


def diverges(do: Callable[[Path], Any], *words: str) -> Case:
    return fails(NonFinite, do, "training diverged at step", "not finite", "last good ones", *words)


def one_layer() -> bp.Network:
    return bp.Network([bp.Dense(1)])


row(
    17,
    works(lambda out: train(out, put(X, (3, 1), 1e200)), check=trained),  # tanh takes it
    diverges(lambda out: quantities(out, put(X, (3, 1), 1e200), network=one_layer(), validation=0.2), "e+200", "scale"),
    diverges(lambda out: quantities(out, put(X, (3, 1), 3e38), network=one_layer(), dtype="f32"), "3e+38]", "lr ="),
    diverges(lambda out: quantities(out, y=1e200 * Q, validation=0.2), "t in [", "e+200]"),
    fails(DataError, lambda out: framed(out, FRAME.assign(pay=put(FRAME.pay, 6, 1e200))), "'pay'", "row 6", "1e+90"),
    fails(DataError, lambda out: framed(out, FRAME.assign(pay=put(FRAME.pay, 6, 1e200)), "pay"), "'pay'", "row 6"),
    works(predicts(quantities, put(X, (3, 1), 1e308)), check=lambda a: bool(np.isfinite(a).all())),
)  # fmt: skip
row(
    18,
    works(
        lambda out: quantities(out, optimizer=bp.Adam(1e6), epochs=60), "more than 10 times", "learning rate",
        check=lambda r: trained(r) and len(bp.load(r.path).record.outcome.notes) == 1,
    ),
)  # fmt: skip
row(
    19,
    diverges(
        lambda out: quantities(
            out, network=bp.Network([bp.Dense(4, "relu"), bp.Dense(1)]), optimizer=bp.SGD(1e6), epochs=60,
            validation=0.2,
        ),
        "lr = 1e+06", "smaller learning rate",
    ),
    diverges(
        lambda out: quantities(out, network=one_layer(), optimizer=bp.SGD(1e6), epochs=60, executor="compiled"),
        "lr = 1e+06",
    ),
)  # fmt: skip
row(
    20,
    *[
        works(lambda out, kind=kind: train(out, (X * 20).round().clip(-99, 99).astype(kind)), check=trained)
        for kind in ("f2", "f4", "f8", "g", "i1", "i8")
    ],
    works(
        lambda out: train(out, put(np.arange(120, dtype="u8").reshape(40, 3), (1, 2), 2**53 + 1)),
        "more digits than float64 keeps", "row 1, column 2", check=trained,
    ),
)  # fmt: skip
row(
    21,
    fails(DataError, lambda out: train(out, X * 1j), "complex", "two columns", "complex128"),
    fails(DataError, predicts(train, X * 1j), "complex"),
    fails(DataError, lambda out: train(out, sp.csr_array(X * 1j)), "sparse", "complex128"),
)
row(22, works(lambda out: train(out, X > 0), check=trained))
DATES = np.full((40, 3), "2020-01-01", dtype="M8[D]")
row(
    23,
    fails(DataError, lambda out: train(out, DATES), "dates", "numbers first", "datetime64[D]"),
    fails(DataError, predicts(train, DATES), "dates"),
    works(
        lambda out: framed(out, FRAME.assign(age=pd.date_range("2020", periods=40).to_numpy()[np.argsort(Q)])),
        check=lambda r: "1 date as" in r.preparation.summary()[0],
    ),
    fails(DataError, predicts(framed, FRAME.assign(age=pd.date_range("2020", periods=40))), "'age' holds date", "number"),
)  # fmt: skip
MASKED = np.ma.masked_greater(X, 1)
row(
    24,
    fails(DataError, lambda out: train(out, MASKED), "masked array (22 masked", ".filled", "drop the rows"),
    fails(DataError, lambda out: train(out, y=np.ma.masked_greater(Y, 0)), "y: this is a masked array"),
    fails(DataError, predicts(train, MASKED), "masked array"),
    fails(DataError, predicts(framed, MASKED), "the rows to predict", "masked array"),
)
STRUCTURED = np.zeros(40, dtype=[("a", "f8"), ("b", "f8")])
row(
    25,
    fails(
        DataError, lambda out: train(out, STRUCTURED), "structured", "'a', 'b'", "structured_to_unstructured"
    ),
    fails(DataError, predicts(framed, STRUCTURED), "age, job, pay", "(40,)", "data frame"),
)
row(26, "test_every_layout_trains_to_the_same_bits")


def over_the_budget(out: Path) -> Any:
    run = train(out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BACKPASS_MEMORY", "2MB")
        return run.predict(sp.csr_array((10**5, 3)))


row(
    27,
    works(lambda out: train(out, sp.csr_array(X)), check=trained),
    works(lambda out: train(out, sp.coo_array(X)), check=trained),
    works(predicts(train, sp.coo_array(X)), check=lambda a: a.shape == (40,)),
    fails(DataError, predicts(train, sp.csr_array(NAN)), "NaN", "row 3, column 1"),
    fails(DataError, over_the_budget, "dense copy takes 2,400,000 bytes", "limit", "fewer rows"),
    fails(DataError, predicts(train, sp.csr_array((40, 10**9))), "1,000,000,000 columns", "trained with 3"),
    fails(DataError, lambda out: train(out, sp.csr_array((40, 10**9))), "1,000,000,000 columns", "limit is"),
)
row(
    28,
    fails(DataError, lambda out: train(out, [[1, 2], [3]] * 20), "row 0 has 2 values and row 1 1"),
    fails(DataError, predicts(train, [[1, 2, 3], [3]]), "row 0 has 3 values and row 1 1"),
    fails(DataError, predicts(framed, [[1, 2, 3], [3]]), "age, job, pay"),
)

# ------------------------------------------------------------------------------------------ names of columns

row(
    29,
    fails(DataError, lambda out: framed(out, TWICE), "two columns named 'age'", "0 and 1", "rename one"),
    fails(DataError, predicts(framed, TWICE), "two columns named 'age'"),
    fails(DataError, lambda out: train(out, TWICE[["age", "pay"]]), "two columns named 'age'"),
    fails(DataError, lambda out: from_csv(out, CSV.replace("town", "age", 1)), "two columns named 'age'"),
)
row(
    30,
    works(
        lambda out: framed(out, FRAME.set_axis(["a", 1, 2, 3], axis=1), 3),
        check=lambda r: r.preparation.features == ("a", "1", "2"),
    ),
    fails(
        DataError,
        lambda out: framed(out, FRAME.set_axis([1, "1", 2, "ill"], axis=1)),
        "two columns named '1'",
    ),
)
row(
    31,
    works(
        lambda out: (lambda run: np.array_equal(run.predict(FRAME[FRAME.columns[::-1]]), run.predict(FRAME)))(
            framed(out)
        ),
        check=lambda same: same is True,
    ),
    fails(DataError, predicts(framed, FRAME[["pay", "job"]]), "no column age", "age, job, pay"),
    works(predicts(framed, FRAME.assign(more=1)), check=lambda a: a.shape == (40,)),
    fails(DataError, predicts(train, X[:, :2]), "2 columns", "trained with 3", "same order"),
    fails(DataError, predicts(framed, X[:, :2]), "age, job, pay", "(40, 2)"),
)  # fmt: skip
row(
    32,
    works(predicts(framed, FRAME[["age", "job", "pay"]].to_numpy()), "no names of columns", "age, job, pay"),
)
row(
    33,
    works(
        lambda out: framed(
            out,
            FRAME.assign(
                age=pd.array([1, None, 3, 4] * 10, "Int64"), job=pd.Categorical(FRAME.job), pay=FRAME.pay.astype(object)
            ),
        ),
        check=lambda r: "holes in age are filled" in " ".join(r.preparation.summary()),
    ),
    fails(DataError, lambda out: framed(out, FRAME.assign(pay=[1, "a"] * 20)), "column 'pay' mixes int and str", "row 1"),
    fails(DataError, lambda out: framed(out, FRAME.assign(pay=[[1, 2]] * 40)), "column 'pay'", "list"),
)  # fmt: skip

# ------------------------------------------------------------------------------------------------ settings

row(
    34,
    fails(UsageError, lambda out: train(out, loss="cros_entropy"), "Did you mean 'cross_entropy'", "huber"),
    fails(UsageError, lambda out: bp.Dense(3, "gelo"), "Did you mean 'gelu'", "tanh"),
    fails(UsageError, lambda out: bp.Dense(0), "at least one unit"),
    fails(UsageError, lambda out: bp.Dense(3, init="zeroes"), "Did you mean 'zeros'"),
    fails(UsageError, lambda out: bp.Dropout(1.0), "at least 0 and below 1", "1.0"),
    fails(UsageError, lambda out: bp.BatchNorm(momentum=2), "at least 0 and below 1", "2"),
    fails(UsageError, lambda out: bp.SGD(-1), "lr", "at least 0", "-1"),
    fails(UsageError, lambda out: bp.Adam(float("nan")), "lr", "nan"),
    fails(UsageError, lambda out: bp.Adam(0.1, beta1=1.0), "beta1", "below 1"),
    fails(UsageError, lambda out: bp.SGD(0.1, clip=-1), "clip", "above 0"),
    fails(UsageError, lambda out: bp.schedules.Step(0.1, factor=2), "factor", "at most 1"),
    fails(UsageError, lambda out: bp.schedules.Cosine(-1), "lr", "at least 0"),
    fails(UsageError, lambda out: bp.EarlyStopping(patience=0), "patience", "at least 1"),
    fails(
        UsageError, lambda out: train(out, stop=bp.EarlyStopping()), "no validation rows", "validation=0.2"
    ),
    *[
        fails(UsageError, lambda out, v=v: train(out, validation=v), "validation=", "0 <= validation < 1")
        for v in (1.0, -0.1, float("nan"), 1.5)
    ],
    works(lambda out: train(out, validation=np.float32(0.25)), check=lambda r: "validation" in r.metrics),
    fails(UsageError, lambda out: train(out, validation=0.6, test=0.5), "leave no rows to train on"),
    fails(DataError, lambda out: train(out, test=0.001), "less than half a row", "at least 0.013"),
    fails(UsageError, lambda out: train(out, optimizer="adam"), "SGD(0.5)", "'adam'"),
    fails(UsageError, lambda out: train(out, executor="gpu"), "compiled, reference"),
    fails(UsageError, lambda out: train(out, dtype="f16"), "'f32' or 'f64'"),
    fails(UsageError, lambda out: train(out, seed=-1), "seed=-1", "2**64"),
    fails(UsageError, lambda out: train(out, epochs=2.5), "epochs", "whole number", "2.5"),
    fails(UsageError, lambda out: train(out, rows=99), "rows=99", "40 rows to train on"),
    fails(UsageError, lambda out: train(out, order="random"), "sequential"),
    fails(UsageError, lambda out: train(out, time_limit=0), "time_limit", "above 0"),
    fails(UsageError, lambda out: train(out, l2=-1.0), "l2", "at least 0"),
    fails(UsageError, lambda out: train(out, progress=3), "progress must be a function", "3"),
    fails(UsageError, lambda out: bp.train([4, 2], (X, Y)), "network must be a Network", "[4, 2]"),
)
row(
    35,
    fails(UsageError, lambda out: train(out, network=lambda p: bp.network_for(p, (0,))), "at least one unit"),
    works(
        lambda out: train(out, network=lambda p: bp.network_for(p, ())),
        check=lambda r: sorted(r.weights) == ["W1", "b1"],
    ),
    fails(UsageError, lambda out: bp.Network([]), "at least one layer"),
)
ONES = np.ones(40)
row(
    36,
    *[
        fails(DataError, lambda out, w=w: train(out, sample_weight=w), *words)
        for w, words in (
            (put(ONES, 3, -1), ("negative in 1 of 40 rows", "row 3: -1", "zero or more")),
            (put(ONES, 3, np.nan), ("not finite", "row 3: nan")),
            (0 * ONES, ("all training rows are zero", "at least one row")),
            (ONES[1:], ("40 rows", "[39]")),
            (["a"] * 40, ("must be numbers",)),
        )
    ],
    works(lambda out: train(out, sample_weight=1e308 * ONES, class_weight={0: 1e308}), check=trained),
    works(lambda out: train(out, sample_weight=put(ONES, slice(0, 20), 0)), check=trained),
)
row(
    37, Reason("There is no estimator yet; a Run exists only once it is trained, so none can predict before.")
)

# --------------------------------------------------------------------------------------------------- files

row(
    38,
    works(lambda out: from_csv(out, b"\xef\xbb\xbf" + CSV.encode()), check=lambda r: r.preparation.features[0] == "age"),
    works(lambda out: from_csv(out, CSV.encode("utf-16")), check=lambda r: r.preparation.features[0] == "age"),
    works(
        lambda out: from_csv(out, CSV.encode("latin-1"), encoding="latin-1"),
        check=lambda r: "town=Zürich" in r.preparation.columns and len(r.predict(r.settings.data.source)) == 40,
    ),
    fails(DataError, lambda out: from_csv(out, CSV.encode("latin-1")), "line 2", "byte 2", "0xfc", "encoding='latin-1'"),
    fails(DataError, lambda out: from_csv(out, CSV.encode("utf-16-le")), "UTF-16 text without its mark", "UTF-8"),
    fails(DataError, lambda out: from_csv(out, CSV.replace("Bern", "Be\0rn", 1)), "line 3", "NUL"),
    fails(UsageError, lambda out: from_csv(out, encoding="latin-99"), "Did you mean 'latin-1'"),
)  # fmt: skip


def with_line(line: str) -> str:
    return "\n".join([*LINES[:9], line, *LINES[9:]]) + "\n"


row(
    39,
    fails(DataError, lambda out: from_csv(out, with_line("1,Bern,no,7")), "line 10", "expected 3 values, got 4", "quoted"),
    fails(DataError, lambda out: from_csv(out, with_line("1,Bern")), "line 10", "expected 3 values, got 2", "cut"),
    fails(DataError, lambda out: from_csv(out, with_line('1,"Bern,no')), "line 10", "not closed", "twice"),
    fails(DataError, lambda out: from_csv(out, with_line("abc,Bern,no")), "line 10", "'age'", "'abc'", "holes=['abc']"),
    fails(DataError, lambda out: from_csv(out, sep=";"), "one column", "sep=','"),
    works(lambda out: from_csv(out, CSV.replace(",", ";")), check=lambda r: r.preparation.features == ("age", "town")),
    fails(DataError, lambda out: from_csv(out, ""), "empty (0 bytes)", "cut short"),
)  # fmt: skip
row(40, "test_a_huge_file_is_refused_before_memory_is_given")


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def lying_npy() -> bytes:
    file = io.BytesIO()
    head = {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
    np.lib.format.write_array_header_1_0(file, head)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("X.npy", file.getvalue() + b"\0" * 64)
    return archive.getvalue()


def huge_png() -> bytes:
    """A header that says 50,000 x 50,000 pixels, and hardly any data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


def image_bomb(out: Path) -> Any:
    pytest.importorskip("PIL")
    for name in ("cats", "dogs"):
        folder = out.with_name(f"{out.name}-pictures") / name
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(huge_png())
    return bp.train(None, str(folder.parent), out=out)


row(
    41,
    fails(
        DataError, lambda out: bp.train(None, str(written(out, "a.npz", npz(X=np.zeros((3000, 3000)), y=Y)))),
        "X", "unpack from", "zip bomb", "savez",
    ),
    fails(DataError, lambda out: bp.train(None, str(written(out, "a.npz", lying_npy()))), "1000000000000", "there are 64"),
    fails(DataError, image_bomb, "a.png", "the limit is 25,000,000"),
    fails(DataError, lambda out: bp.train(None, str(written(out, "a.npz", b"PK\3\4 cut"))), "torn"),
    fails(DataError, lambda out: bp.train(None, str(written(out, "a.pkl", b"\x80\4K\1."))), "pickle", "numpy.savez"),
)  # fmt: skip


def pipe(out: Path, name: str) -> str:
    path = out.with_name(f"{out.name}-{name}")
    os.mkfifo(path)
    return str(path)


def beside(out: Path) -> str:
    """The path of a file that is not there, whose neighbour has nearly its name."""
    return str(written(out, "people.csv", CSV)).replace("people", "peple")


row(
    42,
    fails(DataError, lambda out: load(beside(out), target="ill"), "is not there", "people.csv"),
    fails(DataError, lambda out: framed(out).predict(beside(out)), "is not there", "people.csv"),
    fails(DataError, lambda out: load(pipe(out, "a.csv"), target="ill"), "is a pipe", "to a file first"),
    fails(DataError, lambda out: framed(out).predict(pipe(out, "a.npz")), "is a pipe"),
    fails(UsageError, lambda out: load("a\0b.csv"), "no name and no path"),
    fails(RecordError, lambda out: bp.load("x" * 5000), "no run folder"),
    fails(RecordError, lambda out: bp.load(out.parent / "nothing"), "there is no run folder"),
    fails(RecordError, lambda out: bp.load(written(out, "a.csv", CSV)), "no run folder"),
    fails(
        StorageError, lambda out: train(written(out, "file", "x") / "run"), "cannot write", "another folder"
    ),
    fails(StorageError, lambda out: train(Path("a\0b")), "cannot write"),
)
row(43, "test_a_full_disk_leaves_what_was_written_before")
row(44, "test_stopped_from_outside")
row(45, "test_sigterm_of_the_command")
row(46, "test_stopped_from_outside")
row(47, "test_two_runs_never_share_a_folder")
row(48, Reason("There is no estimator to hand to joblib yet, and backpass itself starts no process."))
row(49, Reason("Training on several machines is not there yet."))
row(50, "test_a_run_folder_that_is_newer_or_torn")


# --------------------------------------------------------------------------------------------------- tests


def test_every_row_is_here() -> None:
    assert sorted(ROWS) == list(range(1, 51))
    for number, what in ROWS.items():
        if isinstance(what, str):
            assert callable(globals()[what]), f"row {number}: there is no {what}"
    assert [n for n, what in ROWS.items() if isinstance(what, Reason)] == [37, 48, 49]


class Earlier:
    """A run from before, which nothing may touch."""

    def __init__(self, parent: Path) -> None:
        self.parent, self.path = parent, parent / "earlier"
        self.count = 0
        run = train(self.path)
        self.costs, self.weights = run.costs.tobytes(), {k: v.tobytes() for k, v in run.weights.items()}

    def fresh(self) -> Path:
        """A new place beside it."""
        self.count += 1
        return self.parent / f"run-{self.count}"

    def is_whole(self) -> bool:
        run = bp.load(self.path)
        same = {k: v.tobytes() for k, v in run.weights.items()} == self.weights
        return same and run.costs.tobytes() == self.costs and run.status == "finished"


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Earlier:
    return Earlier(tmp_path_factory.mktemp("runs"))


CASES = [
    pytest.param(case, id=f"{number}-{i}")
    for number, what in ROWS.items()
    if isinstance(what, list)
    for i, case in enumerate(what)
]


@pytest.mark.parametrize("case", CASES)
def test_rows(case: Case, earlier: Earlier) -> None:
    out, text, result = earlier.fresh(), "", None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = case.do(out)
        except BackpassError as error:  # anything else is a fault of ours, and fails here by itself
            text = str(error)
            if type(error) is not case.error:
                raise
            if isinstance(error, NonFinite):
                _check_divergence(error)
    assert not [w for w in caught if issubclass(w.category, (RuntimeWarning, DeprecationWarning))], caught
    warned = "\n".join(str(w.message) for w in caught)
    if case.error is not None:
        assert text, f"it worked: {result!r}"
        assert [word for word in case.words if word not in text] == [], text
        assert len(text) < 900, "an array was dumped into the message"
        assert len(text.splitlines()) <= 8
    else:
        assert case.check(result), repr(result)
        assert [word for word in case.warns if word not in warned] == [], warned
        assert bool(case.warns) == bool(caught), warned
    if out.exists():
        bp.load(out)
    assert earlier.is_whole()


def _check_divergence(error: NonFinite) -> None:
    run: bp.Run = error.run  # type: ignore[attr-defined]
    assert error.tensor
    assert (run.status, run.steps) == ("diverged", error.step - 1)
    assert all(np.isfinite(w).all() for w in run.weights.values())
    again = bp.load(run.path)
    assert (again.status, again.steps) == ("diverged", run.steps)
    assert again.weights["W1"].tobytes() == run.weights["W1"].tobytes()


def test_every_layout_trains_to_the_same_bits(tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", X)
    read_only = X.copy()
    read_only.flags.writeable = False
    wide = np.repeat(np.repeat(X, 2, axis=0), 2, axis=1)
    layouts = {
        "plain": X.copy(),
        "read-only": read_only,
        "fortran": np.asfortranarray(X),
        "strided": wide[::2, ::2],
        "negative": X[::-1, ::-1].copy()[::-1, ::-1],
        "big-endian": X.astype(">f8"),
        "memmap": np.load(tmp_path / "X.npy", mmap_mode="r"),
        "list": X.tolist(),
    }
    for executor in ("reference", "compiled"):
        found = {
            name: bp.train(net(), (x, Y), epochs=3, batch=7, executor=executor, validation=0.2)
            for name, x in layouts.items()
        }
        bits = {run.weights["W1"].tobytes() + run.weights["W2"].tobytes() for run in found.values()}
        assert len(bits) == 1
        assert len({run.predict_raw(layouts[name]).tobytes() for name, run in found.items()}) == 1
    assert np.array_equal(layouts["fortran"], X)  # nobody wrote into what was given
    labels = bp.train(
        net(),
        (X, Y[::-1].copy()[::-1].astype(">i4")),
        epochs=3,
        batch=7,
        executor="reference",
        validation=0.2,
    )
    plain = bp.train(net(), (X, Y), epochs=3, batch=7, executor="reference", validation=0.2)
    assert labels.weights["W1"].tobytes() == plain.weights["W1"].tobytes()


def test_a_huge_file_is_refused_before_memory_is_given(earlier: Earlier) -> None:
    """10 GB on paper: a file with a hole in it. (Long tables are streamed: tests/test_streaming.py.)"""
    path = earlier.parent / "huge.npy"
    with path.open("wb") as out:
        head = {"descr": "<f8", "fortran_order": False, "shape": (1_250_000, 1000)}
        np.lib.format.write_array_header_1_0(out, head)
        out.truncate(out.tell() + 10_000_000_000)
    run = bp.load(earlier.path)
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as error:
            run.predict(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        path.unlink()
    for word in ("huge.npy", "10,000,000,128 bytes", "the limit", "mmap_mode='r'"):
        assert word in str(error.value)
    assert peak < 100_000_000


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", X=X, y=Y)
    fill = formats._fill

    def slow(*arguments: Any) -> Any:
        with (tmp_path / "a.npz").open("ab") as file:
            file.write(b"more")
        return fill(*arguments)

    monkeypatch.setattr(formats, "_fill", slow)
    with pytest.raises(DataError, match=r"a\.npz changed while it was read"):
        bp.train(net(), str(tmp_path / "a.npz"), epochs=1)


def test_data_that_change_after_the_run(tmp_path: Path) -> None:
    run = from_csv(tmp_path / "run")
    path = Path(run.settings.data.source)
    path.write_text(CSV.replace("Bern", "Basel", 1))
    again = bp.load(tmp_path / "run")
    assert len(again.predict(FRAME.assign(town="Bern"))) == 40  # weights need no rows
    with pytest.raises(RecordError, match="the data of this run have changed"):
        again.at(1)["C"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_without_permission(tmp_path: Path) -> None:
    path = written(tmp_path / "run", "a.csv", CSV)
    path.chmod(0)
    with pytest.raises(DataError, match=r"permission denied.*chmod u\+r"):
        load(path, target="ill")
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(StorageError, match="cannot write"):
        train(tmp_path / "closed" / "run")


# ------------------------------------------------------------------------------- other processes, and folders

LONG = """
import sys
import numpy as np
import backpass as bp
{before}
rng = np.random.default_rng(0)
X = rng.standard_normal((400, 50))
net = bp.Network([bp.Dense(200, "tanh"), bp.Dense(2, "softmax")])
def begun(run):
    {begun}
def progress(event):
    if event.step > 200:
        print("going", flush=True)
try:
    bp.train(net, (X, (X[:, 0] > 0).astype(int)), epochs={epochs}, executor="reference", out=sys.argv[1],
             begun=begun, progress=progress)
except bp.errors.StorageError as error:
    print("StorageError:", error)
except KeyboardInterrupt as stop:
    print("stopped", stop.run.status, stop.run.steps)
"""


def started(path: Path, before: str = "", begun: str = "pass", epochs: int = 10**6) -> subprocess.Popen[str]:
    code = LONG.format(before=before, begun=begun, epochs=epochs).replace(
        "bp.errors", "__import__('backpass.errors').errors"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on files")
def test_a_full_disk_leaves_what_was_written_before(earlier: Earlier) -> None:
    path = earlier.fresh()
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"  # less than a checkpoint
    process = started(path, "import resource", limit, epochs=20)
    said, wrong = process.communicate(timeout=120)
    assert process.returncode == 0, wrong
    assert "StorageError: cannot write" in said
    assert "Free some space or name another folder" in said
    assert "what was written before is whole" in said
    assert "Warning" not in wrong
    run = bp.load(path)
    assert run.steps == 0  # the checkpoint of the start is whole; nothing later was promised
    assert len(run.predict(np.zeros((2, 50)))) == 2
    assert not list(path.rglob("*.tmp"))
    assert earlier.is_whole()


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_from_outside(number: signal.Signals, earlier: Earlier) -> None:
    path = earlier.fresh()
    process = started(path)
    assert process.stdout is not None
    assert process.stdout.readline() == "going\n"
    time.sleep(1.2)  # what is new is written once a second
    process.send_signal(number)
    said, wrong = process.communicate(timeout=60)
    run = bp.load(path)
    if number == signal.SIGINT:
        assert process.returncode == 0, wrong
        assert f"stopped interrupted {run.steps}" in said
        assert run.status == "interrupted"
        assert run.steps > 200
        assert len(run.costs) == run.steps
    else:
        assert process.returncode == -signal.SIGKILL
        assert run.status == "running"
        assert "stopped from outside; the last whole state is that after step" in run.record.outcome.message
    assert "Traceback" not in wrong
    state = run.weights["W1"].copy()
    assert run.verify() == run.steps  # to the bit
    on = bp.train(run.record.network, (np.eye(50), np.arange(50) % 2), start=run, epochs=1)
    assert on.record.checkpoints[0]["W1"].tobytes() == state.tobytes()  # and can be gone on with
    assert earlier.is_whole()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_sigterm_of_the_command(earlier: Earlier) -> None:
    path = earlier.fresh()
    words = ["train", "digits", "--epochs", "100000", "--executor", "reference", "--out", str(path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "backpass.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(600):
        if (path / "run.json").exists():
            break
        time.sleep(0.05)
    time.sleep(1)
    process.terminate()
    _, wrong = process.communicate(timeout=60)
    assert process.returncode == 143, wrong
    assert "Traceback" not in wrong
    run = bp.load(path)
    assert run.status == "interrupted"
    assert run.steps == len(run.costs) > 0
    assert earlier.is_whole()


def test_two_runs_never_share_a_folder(earlier: Earlier, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError, match=r"is there already and is not empty; name another folder"):
        train(earlier.path)
    with pytest.raises(StorageError, match="is there already"):
        bp.load(earlier.path).save(earlier.path)
    for _ in range(10):  # two at once: one gets it
        path, won, lost = earlier.fresh(), [], []
        both = threading.Barrier(4)

        def create(path: Path = path, won: list = won, lost: list = lost, both: Any = both) -> None:
            both.wait()
            try:
                won.append(RunFolder.create(path))
            except StorageError as error:
                lost.append(str(error))

        threads = [threading.Thread(target=create) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(won), len(lost)) == (1, 3)
        assert all("another folder" in text for text in lost)
    monkeypatch.setattr(time, "time", lambda: 0.0)  # a clock that was set back
    assert train(earlier.fresh()).record.outcome.seconds > 0
    assert earlier.is_whole()


def cut(path: Path, keep: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])


def test_a_run_folder_that_is_newer_or_torn(earlier: Earlier) -> None:
    def made() -> Path:
        path = earlier.fresh()
        train(path, epochs=20)
        return path

    path = made()
    file = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**file, "format": FORMAT + 1, "version": "99.0"}))
    with pytest.raises(RecordError) as error:
        bp.load(path)
    for word in ("written by backpass 99.0", bp.__version__, "Install the newer version"):
        assert word in str(error.value)
    for name in ("run.json", "graph.json", "predict.json"):
        path = made()
        cut(path / name, 0.6)
        with pytest.raises(RecordError, match=name):
            bp.load(path)
    path = made()
    last = max((path / "checkpoints").iterdir())
    cut(last, 0.5)
    run = bp.load(path)
    assert run.steps == 0  # of the start, the one before
    assert f"the state after step {int(last.stem)} is torn" in run.record.outcome.message
    path = made()
    cut(path / "record.sqlite", 0.5)
    run = bp.load(path)
    assert run.steps == 100
    assert "record.sqlite is torn" in run.record.outcome.notes[-1]
    assert f"the costs of {100 - len(run.costs)} of 100 steps are lost" in run.record.outcome.notes[-1]
    assert run.verify() == 100
    path = made()
    with sqlite3.connect(path / "record.sqlite") as database:
        database.execute("DELETE FROM costs")
    database.close()
    run = bp.load(path)
    assert len(run.costs) == 0
    assert run.verify() == 100
    path = made()
    for checkpoint in (path / "checkpoints").iterdir():
        cut(checkpoint, 0.5)
    with pytest.raises(RecordError, match="no readable checkpoint"):
        bp.load(path)
    assert earlier.is_whole()
