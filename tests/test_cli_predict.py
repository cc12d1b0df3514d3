"""`backpass predict` and `export`."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from command import QUICK, Command, Said


def test_predict(backpass: Command, here: Path) -> None:
    x = np.load(here / "small.npz")["X"][:4]
    np.save(here / "new.npy", x)
    said = backpass("predict", "runs/small-1", "new.npy")
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert list(rows[0]) == ["row", "prediction", "p_no", "p_yes"]
    assert [row["row"] for row in rows] == ["0", "1", "2", "3"]
    from backpass.run import load

    run = load(here / "runs" / "small-1")
    assert [row["prediction"] for row in rows] == run.predict(x).tolist()
    given = np.array([[float(row["p_no"]), float(row["p_yes"])] for row in rows], np.float32)
    assert np.array_equal(given, run.predict_raw(x)), "the table has every digit"

    written = backpass("predict", "runs/small-1", "new.npy", "--out", "predictions.csv")
    assert (here / "predictions.csv").read_text() == said.out
    assert "predictions.csv" in written.out
    found = backpass("predict", "runs/small-1", "new.npy", "--json").object
    assert found["predictions"] == run.predict(x).tolist()
    assert found["classes"] == ["no", "yes"]
    assert np.allclose(np.sum(found["probabilities"], axis=1), 1)


def test_predict_refuses_what_does_not_fit(backpass: Command, here: Path) -> None:
    np.save(here / "wide.npy", np.zeros((2, 5)))
    backpass("predict", "runs/small-1", "wide.npy").fails(3, "wide.npy", "5 columns", "with 3")
    np.save(here / "nan.npy", np.array([[0, 0, np.nan]]))
    backpass("predict", "runs/small-1", "nan.npy").fails(3, "NaN")
    backpass("predict", "runs/small-1", "none.npy").fails(3, "none.npy")
    np.save(here / "new.npy", np.zeros((1, 3)))
    backpass("predict", "runs/small-1", "new.npy", "--out", "no/such/folder.csv").fails(6, "folder.csv")


@pytest.fixture
def shop(backpass: Command, tmp_path: Path) -> str:
    """A run on a table with names."""
    lines = [f"{n % 5},{['red', 'blue'][n % 2]},{['no', 'yes'][n % 5 > 2]}" for n in range(60)]
    (tmp_path / "shop.csv").write_text("size,colour,bought\n" + "\n".join(lines) + "\n")
    return backpass("train", "shop.csv", "--target", "bought", *QUICK, "--quiet").out.strip()


def test_columns_are_found_by_name(backpass: Command, tmp_path: Path, shop: str) -> None:
    (tmp_path / "new.csv").write_text("size,colour\n4,red\n0,blue\n")
    (tmp_path / "turned.csv").write_text("more,colour,bought,size\n9,red,no,4\n9,blue,,0\n")
    plain, turned = backpass("predict", shop, "new.csv"), backpass("predict", shop, "turned.csv")
    assert plain.out.startswith("row,prediction,p_no,p_yes\n0,")
    assert turned.out == plain.out
    assert plain.err == ""
    assert turned.err == "note: the network does not know these columns: more\n"
    (tmp_path / "less.csv").write_text("size\n4\n")
    backpass("predict", shop, "less.csv").fails(3, "less.csv", "colour", "size, colour")
    (tmp_path / "word.csv").write_text("size,colour\n4,mauve\n")
    assert "'mauve'" in backpass("predict", shop, "word.csv").err


def test_rows_on_standard_input(
    backpass: Command, tmp_path: Path, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def given(text: str) -> Said:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return backpass("predict", shop, "-")

    (tmp_path / "new.csv").write_text("size,colour\n4,red\n")
    assert given("size,colour\n4,red\n").out == backpass("predict", shop, "new.csv").out
    given("").fails(3, "standard input is empty")
    given("size\n4\n").fails(3, "standard input: ", "colour")
    monkeypatch.setattr("sys.stdin", None)
    backpass("predict", shop, "-").fails(2, "standard input", "< new.csv")


def test_export(backpass: Command, tmp_path: Path, shop: str) -> None:
    said = backpass("export", shop, "--format", "safetensors")
    assert said.out == f"wrote {shop}/export-safetensors/weights.safetensors\n" or "wrote " in said.out
    found = backpass("export", shop, "--json").object
    assert {Path(path).name for path in found["files"]} >= {"predict.py", "weights.npz"}
    assert all((tmp_path / path).exists() for path in found["files"])
    backpass("export", shop).fails(6, "already holds predict.py", "--overwrite")
    assert backpass("export", shop, "--overwrite").code == 0
    backpass("export", shop, "--format", "onnx").fails(2, "onnx", "safetensors")
    backpass("export", "runs/none").fails(4, "runs/none")
