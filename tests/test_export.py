"""Exported networks: they predict without backpass what they predict with it."""

import csv
import dataclasses
import datetime
import json
import os
import random
import subprocess
import sys
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import backpass as bp
from backpass import functions as F
from backpass import ops
from backpass.data import from_arrays, load_rows
from backpass.errors import StorageError, UsageError
from backpass.export import export, standalone
from backpass.nn import ACTIVATIONS
from backpass.training import evaluate

#: Refuses every import but NumPy and the standard library: what a script promises to need.
ALONE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in ("numpy", "predict"):
            raise ModuleNotFoundError(f"predict.py imports {name}")
sys.meta_path.insert(0, Refuse())
sys.path.insert(0, sys.argv[1])
import numpy, predict
numpy.save(sys.argv[1] + "/raw.npy", predict.predict_raw(numpy.load(sys.argv[1] + "/rows.npy")))
numpy.save(sys.argv[1] + "/answers.npy", predict.predict(numpy.load(sys.argv[1] + "/rows.npy")))
"""


@lru_cache
def trained(kind: str, dtype: str = "f64") -> tuple[bp.Run, np.ndarray]:
    """A small run of one kind, and raw rows to predict."""
    rng = np.random.default_rng(1)
    X = load_digits().data
    if kind == "digits":
        net, data = bp.Network([bp.Dense(12, "relu"), bp.Dense(10, "softmax")]), "digits"
        X = np.concatenate([X] * 3)  # more rows than one pass takes
    elif kind == "bytes":
        X = rng.integers(0, 256, (60, 4, 3)).astype(np.uint8)
        net, data = bp.Network([bp.Dense(5, "tanh"), bp.Dense(3, "softmax")]), (X, np.arange(60) % 3)
    elif kind == "one output":
        labels = np.where(X[:, 20] > 7, "yes", "no")
        net, data = bp.Network([bp.Dense(4, "sigmoid"), bp.Dense(1, "sigmoid")]), (X, labels)
    elif kind == "quantities":
        Y = rng.normal(size=(len(X), 2))
        net, data = bp.Network([bp.Dense(6, "tanh"), bp.Dense(2)]), (X, Y)
    else:
        net, data = bp.Network([bp.Dense(4, "relu"), bp.Dense(1)]), (X, X[:, 3] * 0.31 + X[:, 7])
    return bp.train(net, data, optimizer=bp.SGD(0.01), epochs=1, dtype=dtype, executor="reference"), X


pytestmark = pytest.mark.filterwarnings("ignore:columns 0, 32, 39")  # blank pixels of the digits
KINDS = ["digits", "bytes", "one output", "quantities", "one quantity"]


def python(*arguments: str | Path, **options: str) -> subprocess.CompletedProcess[str]:
    one = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # as in the run
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, env=one, **options
    )


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("kind", KINDS)
def test_numpy_alone_gives_the_bits_of_the_run(kind: str, dtype: str, tmp_path: Path) -> None:
    run, X = trained(kind, dtype)
    assert [p.name for p in export(run, "numpy", tmp_path)] == ["predict.py", "weights.npz"]
    np.save(tmp_path / "rows.npy", X)
    shown = python("-c", ALONE, tmp_path)
    assert shown.returncode == 0, shown.stderr
    raw = np.load(tmp_path / "raw.npy")
    assert raw.dtype == run.predict_raw(X).dtype
    np.testing.assert_array_equal(raw, run.predict_raw(X))
    np.testing.assert_array_equal(np.load(tmp_path / "answers.npy"), run.predict(X))


def test_the_blocker_of_that_test_blocks(tmp_path: Path) -> None:
    (tmp_path / "predict.py").write_text("import scipy\n")
    assert "predict.py imports scipy" in python("-c", ALONE, tmp_path).stderr


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("kind", KINDS)
def test_torch_agrees(kind: str, dtype: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    run, X = trained(kind, dtype)
    assert [p.name for p in export(run, "torch", tmp_path)] == ["model.py", "weights.safetensors"]
    np.save(tmp_path / "rows.npy", X)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import model, numpy as np; import torch\n"
    code += "found = model.predict_raw(np.load(sys.argv[1] + '/rows.npy'))\n"
    code += "assert sum(isinstance(m, torch.nn.Linear) for m in model.load().modules()) == 2\n"
    code += "np.save(sys.argv[1] + '/raw.npy', found)"
    shown = python("-c", code, tmp_path)
    assert shown.returncode == 0, shown.stderr
    raw, expected = np.load(tmp_path / "raw.npy"), run.predict_raw(X)
    assert raw.dtype == expected.dtype
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(raw, expected, rtol=0, atol=scale * (1e-5 if dtype == "f32" else 1e-12))


@pytest.mark.parametrize("kind", KINDS)
def test_the_scripts_print_the_table_of_predict(kind: str, tmp_path: Path, capsys) -> None:
    from backpass.cli import main

    run, X = trained(kind)
    run.save(tmp_path / "run")
    export(run, "numpy", tmp_path / "out")
    flat = X.reshape(len(X), -1).astype(np.float64)[:20]
    np.save(tmp_path / "rows.npy", flat if kind != "bytes" else X[:20])
    assert main(["predict", str(tmp_path / "run"), str(tmp_path / "rows.npy")]) == 0
    expected = capsys.readouterr().out
    assert python(tmp_path / "out/predict.py", tmp_path / "rows.npy").stdout == expected
    if kind != "bytes":
        lines = "\n".join(",".join(repr(float(v)) for v in row) for row in flat)
        assert python(tmp_path / "out/predict.py", "-", input=lines).stdout == expected
        named = tmp_path / "rows.csv"
        named.write_text(",".join(f"c{i}" for i in range(flat.shape[1])) + "\n" + lines + "\n")
        assert python(tmp_path / "out/predict.py", named).stdout == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,2,3\n", "line 1 has 3 values; the network needs 64"),
        (",".join(["1"] * 63 + ["x"]) + "\n" + ",".join(["1"] * 63 + ["six"]) + "\n", "'six', not a number"),
        (",".join(["1"] * 63 + ["nan"]) + "\n", "row 0, column 63 (counted from 0) is nan"),
    ],
)
def test_bad_rows_are_named(text: str, said: str, tmp_path: Path) -> None:
    run, _ = trained("digits", "f32")
    export(run, "numpy", tmp_path)
    (tmp_path / "rows.csv").write_text(text)
    shown = python(tmp_path / "predict.py", tmp_path / "rows.csv")
    assert shown.returncode == 3
    assert said in shown.stderr
    assert "Traceback" not in shown.stderr
    assert python(tmp_path / "predict.py").returncode == 2
    assert "No such file" in python(tmp_path / "predict.py", tmp_path / "none.npy").stderr


# ------------------------------------------------------------------------------------------- kinds of layers


def networks() -> dict[str, bp.Network]:
    """Networks that between them use every kind of layer, on 4 columns with values from 0 to 4."""
    x = bp.Inputs()
    shared = bp.Dense(5, "relu")
    wired = bp.join(shared(x), shared(x + x), bp.Dense(4, "tanh")(x), x[1:3])
    functions = [bp.Dense(3, name) for name in sorted(ACTIVATIONS) if name != "softmax"]
    return {
        "norms": bp.Network(
            [
                bp.Dense(8, use_bias=False),
                bp.BatchNorm(),
                bp.Activation("relu"),
                bp.Dropout(0.3),
                bp.Dense(6, ops.Gelu("tanh")),
                bp.LayerNorm(),
                bp.Residual([bp.Dense(6, "silu")]),
                bp.BatchNorm(trainable=False),
                bp.Dense(3, "softmax"),
            ]
        ),
        "embedding": bp.Network([bp.Embedding(5, 3), bp.LayerNorm(), bp.Flatten(), bp.Dense(3, "softmax")]),
        "wires": bp.Network(bp.Dense(3, "softmax")(wired)),
        "activations": bp.Network([*functions, bp.Dense(3, "softmax")]),
        "functions": bp.Network(
            [
                bp.Dense(6, trainable=False),
                bp.Apply(lambda z: F.maximum(z, 0.5) * F.exp(-F.square(z))),
                bp.Apply(lambda z: z - F.max(z, axis=1, keepdims=True)),
                bp.Apply(lambda z: F.concatenate([F.clip(z, -1, 1), F.minimum(z, 0.0)], axis=1)),
                bp.Dense(3, "softmax"),
            ]
        ),
    }


#: What must appear in ``model.py``: layers of PyTorch where it has them.
MODULES = {
    "norms": ["nn.BatchNorm1d(8, eps=1e-05)", "nn.LayerNorm(6, eps=1e-05)", "bias=False", "eps=1e-05).requ"],
    "embedding": ["nn.Embedding(5, 3)"],
    "wires": ["z1_2 = self.layer1(sum0)", "torch.cat("],
    "activations": ["nn.functional.selu(", "nn.functional.leaky_relu("],
    "functions": ["nn.Linear(4, 6).requires_grad_(False)", "torch.clamp("],
}


@lru_cache
def trained_with_layers(name: str) -> tuple[bp.Run, np.ndarray]:
    rng = np.random.default_rng(2)
    X = rng.integers(0, 5, (40, 4)).astype(np.float64)
    net = networks()[name]
    data = (X, np.arange(40) % 3)
    return bp.train(net, data, optimizer=bp.SGD(0.01), epochs=2, dtype="f64", executor="reference"), X


@pytest.mark.parametrize("name", MODULES)
def test_every_kind_of_layer_is_exported(name: str, tmp_path: Path) -> None:
    run, X = trained_with_layers(name)
    np.save(tmp_path / "rows.npy", X)
    export(run, "numpy", tmp_path)
    shown = python("-c", ALONE, tmp_path)
    assert shown.returncode == 0, shown.stderr
    same = np.testing.assert_array_equal
    if "erf" in run.record.predict_graph.text():  # SciPy's erf and the standard library's differ in a bit
        same = partial(np.testing.assert_allclose, rtol=1e-14)
    same(np.load(tmp_path / "raw.npy"), run.predict_raw(X))


@pytest.mark.parametrize("name", MODULES)
def test_every_kind_of_layer_is_one_of_pytorch(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    run, X = trained_with_layers(name)
    export(run, "torch", tmp_path)
    text = (tmp_path / "model.py").read_text()
    assert [part for part in MODULES[name] if part not in text] == []
    np.save(tmp_path / "rows.npy", X)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import model, numpy as np\n"
    code += "np.save(sys.argv[1] + '/raw.npy', model.predict_raw(np.load(sys.argv[1] + '/rows.npy')))"
    shown = python("-c", code, tmp_path)
    assert shown.returncode == 0, shown.stderr
    np.testing.assert_allclose(np.load(tmp_path / "raw.npy"), run.predict_raw(X), rtol=0, atol=1e-12)


def test_what_pytorch_cannot_say_is_named(tmp_path: Path) -> None:
    net = bp.Network([bp.Dense(4), bp.Apply(ops.Pad(((0, 0), (1, 1)))), bp.Dense(2, "softmax")])
    run = bp.train(net, (np.eye(4), [0, 1, 0, 1]), epochs=1, executor="reference")
    with pytest.raises(UsageError, match="the program calls pad, for which PyTorch's export has no form"):
        export(run, "torch", tmp_path)
    assert not list(tmp_path.iterdir())


# ----------------------------------------------------------------------------------------------------- tables


def write_table(path: Path, rows: int, seed: int, *, sep: str = ",", strange: bool = False) -> None:
    """People with holes, words in blanks, two kinds of dates, a skewed number, yes and no."""
    rng = random.Random(seed)
    with open(path, "w", newline="") as file:
        table = csv.writer(file, delimiter=sep)
        table.writerow(["age", "income", "job", "member", "joined", "seen", "town", "group", "price"])
        for i in range(rows):
            day = datetime.datetime(2019, 1, 1) + datetime.timedelta(seconds=rng.randrange(900 * 86400))
            age, income = rng.randrange(18, 80), round(rng.lognormvariate(8, 1.4), 2)
            job = "pilot" if strange and not i % 7 else rng.choice(["cook", "smith", "clerk", " baker "])
            member = "" if strange and i == 3 else rng.choice(["true", "False"])
            cells = [age if i % 9 else "NA", income, job if i % 11 else "", member]
            cells += [day.isoformat(" "), day.strftime("%d.%m.%Y"), rng.choice(["a1", "1"])]
            table.writerow([*cells, "abc"[i % 3], 3 * age + income / 100 + 40 * (member == "true")])


@lru_cache
def trained_on_a_table(folder: Path, target: str, dtype: str) -> bp.Run:
    write_table(folder / "people.csv", 200, 0)
    net = None if target != "group" else bp.Network([bp.Dense(5, "tanh"), bp.Dense(3, "softmax")])
    return bp.train(net, folder / "people.csv", target=target, epochs=2, dtype=dtype, executor="reference")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@pytest.mark.filterwarnings("ignore:column")
@pytest.mark.parametrize("format", ["numpy", "torch"])
@pytest.mark.parametrize(("target", "dtype"), [("price", "f32"), ("price", "f64"), ("group", "f32")])
def test_tables_are_prepared_as_in_the_run(
    target: str, dtype: str, format: str, tables: Path, tmp_path
) -> None:
    if format == "torch":
        pytest.importorskip("torch")
    run = trained_on_a_table(tables, target, dtype)
    write_table(tmp_path / "new.csv", 30, 1, strange=True)
    write_table(tmp_path / "semicolon.csv", 30, 1, sep=";", strange=True)
    raw, answers = (f(load_rows(tmp_path / "new.csv")) for f in (run.predict_raw, run.predict))
    script = "predict" if format == "numpy" else "model"
    assert f"{script}.py" in [p.name for p in export(run, format, tmp_path)]
    code = f"""
import sys
sys.path.insert(0, sys.argv[1])
import {script} as script, numpy as np
for name in ("new", "semicolon"):
    columns = script.read(sys.argv[1] + f"/{{name}}.csv")
    np.savez(sys.argv[1] + f"/{{name}}.npz", raw=script.predict_raw(columns), answers=script.predict(columns))
"""
    blocked = ALONE.partition("sys.path.insert")[0] if format == "numpy" else ""
    shown = python("-c", blocked + code, tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "column 'job': 4 words that training did not have, such as 'pilot'" in shown.stderr
    assert "column 'member': 1 holes" in shown.stderr
    for name in ("new", "semicolon"):
        found = np.load(tmp_path / f"{name}.npz")
        if format == "numpy":
            np.testing.assert_array_equal(found["raw"], raw)
            np.testing.assert_array_equal(found["answers"], answers)
        else:
            np.testing.assert_allclose(found["raw"], raw, rtol=0, atol=1e-5 if dtype == "f32" else 1e-12)


def test_rows_of_a_table_that_cannot_be_used_are_named(tables: Path, tmp_path: Path) -> None:
    export(trained_on_a_table(tables, "price", "f32"), "numpy", tmp_path)
    good = (tables / "people.csv").read_text().split("\n")[:3]
    for text, said in (
        (good[0].replace("age,", "years,") + "\n" + good[1], "there is no column age"),
        ("\n".join([*good[:2], "old" + good[2][good[2].index(",") :]]), "column 'age', row 1"),
        ("\n".join([*good[:2], good[2] + ",9"]), "line 3 has 10 values, and there are 9 columns"),
        (
            "\n".join([good[0], good[1].replace("2020-", "x").replace("2019-", "x").replace("2021-", "x")]),
            "date",
        ),
    ):
        (tmp_path / "rows.csv").write_text(text + "\n")
        shown = python(tmp_path / "predict.py", tmp_path / "rows.csv")
        assert shown.returncode == 3
        assert said in shown.stderr
        assert "Traceback" not in shown.stderr


def test_columns_of_an_array_that_were_standardised(tmp_path: Path) -> None:
    X = np.random.default_rng(3).normal(50, 20, (30, 3))
    data = dataclasses.replace(from_arrays(X, X @ [1.0, 2.0, 3.0]), prepare="auto")
    run = bp.train(bp.Network([bp.Dense(1)]), data, epochs=1, executor="reference")
    assert run.preparation.kind == "standardise"
    export(run, "numpy", tmp_path)
    np.save(tmp_path / "rows.npy", X)
    assert python("-c", ALONE, tmp_path).returncode == 0
    np.testing.assert_array_equal(np.load(tmp_path / "raw.npy"), run.predict_raw(X))
    np.testing.assert_array_equal(np.load(tmp_path / "answers.npy"), run.predict(X))


# --------------------------------------------------------------------------------------------------- refusals


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    run, _ = trained("one quantity")
    (tmp_path / "weights.npz").write_text("mine")
    with pytest.raises(StorageError, match=r"already holds weights\.npz, and nothing was written"):
        export(run, "numpy", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["weights.npz"]
    assert (tmp_path / "weights.npz").read_text() == "mine"
    export(run, "numpy", tmp_path, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["predict.py", "weights.npz"]
    with pytest.raises(StorageError, match="cannot make the folder"):
        export(run, "numpy", tmp_path / "weights.npz" / "deeper")


def test_a_format_that_is_not_there_is_named(tmp_path: Path) -> None:
    run, _ = trained("one quantity")
    with pytest.raises(UsageError, match="Did you mean 'torch'"):
        export(run, "torhc", tmp_path)
    assert not list(tmp_path.iterdir())


def test_safetensors_say_what_they_belong_to(tmp_path: Path) -> None:
    from safetensors import safe_open

    run, _ = trained("one output")
    (path,) = export(run, "safetensors", tmp_path)
    with safe_open(path, "np") as file:
        about = file.metadata()
        assert sorted(file.keys()) == ["W1", "W2", "b1", "b2"]
        np.testing.assert_array_equal(file.get_tensor("W1"), run.weights["W1"])
    assert json.loads(about["classes"]) == ["no", "yes"]
    assert bp.Network.from_description(json.loads(about["network"])).outputs == 1
    assert about["dtype"] == "f64"
    assert "z1 = x @ W1 + b1" in about["program"]


def test_names_from_a_file_cannot_become_code(tmp_path: Path) -> None:
    bad = "x\nraise SystemExit('owned')\n'''\"\"\"\\"
    X, y = np.eye(4), [bad, "b", bad, "b"]
    net = bp.Network([bp.Dense(2, "softmax")])
    run = bp.train(net, from_arrays(X, y, name=bad), epochs=1)
    np.save(tmp_path / "rows.npy", X)
    for format, script in (("numpy", "predict.py"), ("torch", "model.py")):
        if format == "torch":
            pytest.importorskip("torch")
        export(run, format, tmp_path / format)
        shown = python(tmp_path / format / script, tmp_path / "rows.npy")
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout.startswith("row,prediction,p_b,")


def test_the_script_takes_as_many_rows_at_a_time_as_the_run() -> None:
    """The number can decide the last bit of a matrix product."""
    assert standalone.ROWS == evaluate.ROWS
